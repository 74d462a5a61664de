//! Rewriting before validation: the id and version that the server assigns, and the
//! references that a transaction resolves, links in a Narrative among them. Text is edited
//! in place; order, other members and number text stay as sent.
//!
//! Source: <https://hl7.org/fhir/R4/http.html#transaction>

use std::ops::Range;

use phial_base::{LogicalId, Version};

use crate::definitions::{Form, ResourceType, TypeId, TypeKind};
use crate::error::Error;
use crate::issue::{Issue, IssueCode, write_string};
use crate::json::{Doc, Kind, Node};

/// What points at a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link<'a> {
    /// The text of `Reference.reference`.
    Reference(&'a str),
    /// A `uri`, `url` or `canonical`, or the target of a link or image in a Narrative: it
    /// may name anything.
    Uri(&'a str),
}

impl<'a> Link<'a> {
    /// The text.
    #[must_use]
    pub const fn text(self) -> &'a str {
        match self {
            Link::Reference(text) | Link::Uri(text) => text,
        }
    }
}

/// Says what a link is to be instead; `None` leaves it as it is.
pub type Rewrite<'r> = &'r mut dyn FnMut(Link<'_>) -> Option<String>;

/// Edits to a document's text, applied together.
#[derive(Default)]
pub struct Edits {
    list: Vec<(Range<usize>, String)>,
}

impl Edits {
    /// No edits.
    #[must_use]
    pub fn new() -> Self {
        Edits::default()
    }

    /// Puts `text` in the place of a range of [`Doc::text`]; an empty range inserts.
    pub fn replace(&mut self, range: Range<usize>, text: String) {
        self.list.push((range, text));
    }

    /// Sets `id`, `meta.versionId` and `meta.lastUpdated` of the outermost resource.
    /// What is missing is inserted so that `resourceType`, `id`, `meta` follow each other.
    ///
    /// # Errors
    /// An issue when the document is no resource or its `meta` is no object.
    pub fn set_id_and_meta(
        &mut self,
        doc: &Doc,
        id: &LogicalId,
        version: Version,
        last_updated: &str,
    ) -> Result<(), Vec<Issue>> {
        let root = doc.root();
        let Some(type_node) = root.member("resourceType") else {
            let text = "the resource does not say its type";
            return Err(vec![Issue::error(IssueCode::Required, "resourceType", text)]);
        };
        // LogicalId has nothing that JSON would escape.
        let id_text = format!("\"{}\"", id.as_str());
        let mut after_type = String::new();
        let meta_at = match root.member("id") {
            Some(node) => {
                self.replace(node.range(), id_text);
                node.range().end
            }
            None => {
                after_type.push_str(",\"id\":");
                after_type.push_str(&id_text);
                type_node.range().end
            }
        };
        let version = format!("\"{version}\"");
        let mut updated = String::new();
        write_string(&mut updated, last_updated);
        match root.member("meta") {
            None => {
                let meta =
                    format!(",\"meta\":{{\"versionId\":{version},\"lastUpdated\":{updated}}}");
                if meta_at == type_node.range().end {
                    after_type.push_str(&meta);
                } else {
                    self.replace(meta_at..meta_at, meta);
                }
            }
            Some(meta) if meta.is_object() => {
                let mut inserted = Vec::new();
                for (name, value) in [("versionId", version), ("lastUpdated", updated)] {
                    match meta.member(name) {
                        Some(node) => self.replace(node.range(), value),
                        None => inserted.push(format!("\"{name}\":{value}")),
                    }
                }
                if !inserted.is_empty() {
                    let mut text = inserted.join(",");
                    if !meta.is_empty() {
                        text.push(',');
                    }
                    let at = meta.range().start + 1;
                    self.replace(at..at, text);
                }
            }
            Some(_) => {
                let name = type_node.as_str().and_then(|n| ResourceType::from_name(&n));
                let path = name.map_or_else(|| "meta".to_owned(), |n| format!("{n}.meta"));
                let text = "an object (Meta) is expected";
                return Err(vec![Issue::error(IssueCode::Structure, path, text)]);
            }
        }
        if !after_type.is_empty() {
            let at = type_node.range().end;
            self.replace(at..at, after_type);
        }
        Ok(())
    }

    /// Offers what points at resources to `rewrite` and notes its answers: the text of
    /// each `Reference.reference`; each `uri`, `url` or `canonical`, and each `href` and
    /// `src` in a Narrative, that begins with a scheme.
    pub fn rewrite_references(&mut self, doc: &Doc, rewrite: Rewrite<'_>) {
        let reference = TypeId::from_name("Reference");
        let mut walk = Walk { edits: self, reference, rewrite };
        walk.resource(doc.root());
    }

    /// The edited text.
    ///
    /// # Errors
    /// [`Error::Overlap`] when two edits touch the same bytes or one lies outside.
    pub fn apply(mut self, doc: &Doc) -> Result<Vec<u8>, Error> {
        self.list.sort_by_key(|(range, _)| (range.start, range.end));
        let text = doc.text();
        let added: usize = self.list.iter().map(|(_, new)| new.len()).sum();
        let mut out = Vec::with_capacity(text.len() + added);
        let mut at = 0;
        for (range, new) in &self.list {
            let kept = text.get(at..range.start).ok_or(Error::Overlap)?;
            out.extend_from_slice(kept.as_bytes());
            out.extend_from_slice(new.as_bytes());
            at = range.end;
        }
        out.extend_from_slice(text.get(at..).ok_or(Error::Overlap)?.as_bytes());
        Ok(out)
    }
}

/// Gives a resource its id, version and time, and rewrites its references as
/// [`Edits::rewrite_references`] says. The result is text that [`Doc::parse`] takes.
///
/// # Errors
/// Issues when the document is no resource or its `meta` is no object.
pub fn stamp(
    doc: &Doc,
    id: &LogicalId,
    version: Version,
    last_updated: &str,
    reference: Rewrite<'_>,
) -> Result<Vec<u8>, Vec<Issue>> {
    let mut edits = Edits::new();
    edits.set_id_and_meta(doc, id, version, last_updated)?;
    edits.rewrite_references(doc, reference);
    edits.apply(doc).map_err(|e| vec![Issue::error(IssueCode::Structure, "", e.to_string())])
}

struct Walk<'w> {
    edits: &'w mut Edits,
    reference: Option<TypeId>,
    rewrite: Rewrite<'w>,
}

impl Walk<'_> {
    fn resource(&mut self, node: Node<'_>) {
        let name = node.member("resourceType").and_then(Node::as_str);
        if let Some(ty) = name.and_then(|n| ResourceType::from_name(&n)) {
            self.object(node, ty.type_id());
        }
    }

    fn object(&mut self, node: Node<'_>, ty: TypeId) {
        for (name, value) in node.members() {
            if Some(ty) == self.reference && name == "reference" {
                self.offer(value, true);
            } else if let Some(plain) = name.strip_prefix('_') {
                // Extensions of a primitive.
                if let (Some(_), Some(element)) = (ty.member(plain), TypeId::from_name("Element")) {
                    self.values(value, element);
                }
            } else if let Some(member) = ty.member(name) {
                self.values(value, member.ty);
            }
        }
    }

    fn values(&mut self, value: Node<'_>, ty: TypeId) {
        let def = ty.def();
        let is_link = matches!(def.form(), Some(Form::Uri | Form::Url | Form::Canonical));
        if def.form() == Some(Form::Xhtml) {
            return self.narrative(value);
        }
        if def.form().is_some() && !is_link {
            return;
        }
        let mut one = |node: Node<'_>| {
            if is_link {
                if node.raw_str().is_some_and(offered) {
                    self.offer(node, false);
                }
            } else if def.kind == TypeKind::Abstract && def.name == "Resource" {
                self.resource(node);
            } else {
                self.object(node, ty);
            }
        };
        if value.kind() == Kind::Array {
            value.items().for_each(one);
        } else {
            one(value);
        }
    }

    /// Links and images of a Narrative
    /// (<https://hl7.org/fhir/R4/http.html#transaction>, replacing references).
    fn narrative(&mut self, node: Node<'_>) {
        let Some(text) = node.as_str() else { return };
        let mut out = String::new();
        let mut rest: &str = &text;
        let mut changed = false;
        while let Some((before, value, after)) = next_target(rest) {
            out.push_str(before);
            let new = if offered(value) {
                let plain = value.replace("&amp;", "&");
                (self.rewrite)(Link::Uri(&plain))
            } else {
                None
            };
            match new {
                Some(new) => {
                    changed = true;
                    out.push_str(&new.replace('&', "&amp;").replace('"', "&quot;"));
                }
                None => out.push_str(value),
            }
            rest = after;
        }
        if changed {
            out.push_str(rest);
            let mut quoted = String::with_capacity(out.len() + 2);
            write_string(&mut quoted, &out);
            self.edits.replace(node.range(), quoted);
        }
    }

    fn offer(&mut self, node: Node<'_>, reference: bool) {
        let Some(text) = node.as_str() else { return };
        let link = if reference { Link::Reference(&text) } else { Link::Uri(&text) };
        if let Some(new) = (self.rewrite)(link) {
            let mut quoted = String::with_capacity(new.len() + 2);
            write_string(&mut quoted, &new);
            self.edits.replace(node.range(), quoted);
        }
    }
}

/// Whether a URI may name a resource of a Bundle by its `fullUrl`.
fn offered(uri: &str) -> bool {
    ["urn:uuid:", "urn:oid:", "http://", "https://"].iter().any(|scheme| uri.starts_with(scheme))
}

/// The next value of `href` or `src` in XHTML: what stands before it, itself, what follows.
fn next_target(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let found = [" href=", " src="]
            .iter()
            .filter_map(|name| Some((text.get(from..)?.find(name)? + from, name.len())))
            .min()?;
        let start = found.0 + found.1;
        let quote = text.get(start..)?.chars().next()?;
        if quote != '"' && quote != '\'' {
            from = start;
            continue;
        }
        let (before, rest) = text.split_at_checked(start + 1)?;
        let (value, _) = rest.split_once(quote)?;
        return Some((before, value, rest.get(value.len()..)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn stamped(input: &str) -> Result<String, Vec<Issue>> {
        let doc = Doc::parse(input.as_bytes(), &Limits::default()).unwrap();
        let id = LogicalId::new("p1").unwrap();
        let out = stamp(&doc, &id, Version(3), "2026-01-02T03:04:05Z", &mut |r| {
            (r.text() == "urn:uuid:a").then(|| "Patient/new".to_owned())
        })?;
        Ok(String::from_utf8(out).unwrap())
    }

    const META: &str = r#""versionId":"3","lastUpdated":"2026-01-02T03:04:05Z""#;

    #[test]
    fn id_and_meta_are_set_where_they_belong() {
        for (input, want) in [
            (
                r#"{"resourceType":"Patient","active":true}"#,
                r#"{"resourceType":"Patient","id":"p1","meta":{@},"active":true}"#,
            ),
            (
                r#"{"active":true,"resourceType":"Patient"}"#,
                r#"{"active":true,"resourceType":"Patient","id":"p1","meta":{@}}"#,
            ),
            (
                r#"{"resourceType":"Patient","active":true,"id":"old"}"#,
                r#"{"resourceType":"Patient","active":true,"id":"p1","meta":{@}}"#,
            ),
            (
                r#"{"resourceType":"Patient","meta":{"tag":[{"code":"x"}]}}"#,
                r#"{"resourceType":"Patient","id":"p1","meta":{@,"tag":[{"code":"x"}]}}"#,
            ),
            (
                r#"{"resourceType":"Patient","meta":{}}"#,
                r#"{"resourceType":"Patient","id":"p1","meta":{@}}"#,
            ),
            (
                r##"{"resourceType":"Patient","id":"o","meta":{"lastUpdated":"x","source":"#a","versionId":"9"}}"##,
                r##"{"resourceType":"Patient","id":"p1","meta":{"lastUpdated":"2026-01-02T03:04:05Z","source":"#a","versionId":"3"}}"##,
            ),
        ] {
            assert_eq!(stamped(input).unwrap(), want.replace('@', META), "{input}");
        }
    }

    #[test]
    fn references_and_links_are_rewritten_and_nothing_else() {
        let input = r#"{"resourceType":"Provenance","id":"x","meta":{},
            "text":{"status":"generated","div":"<div><a href=\"urn:uuid:a\">urn:uuid:a</a></div>"},
            "contained":[{"resourceType":"Observation","subject":{"reference":"urn:uuid:a"}}],
            "target":[{"reference":"urn:uuid:a"},{"reference":"Patient/7"}],
            "policy":["urn:uuid:a","http://a"],
            "_recorded":{"extension":[{"url":"u","valueCanonical":"urn:uuid:a"}]},
            "activity":{"text":"urn:uuid:a"}, "signature":[{"onBehalfOf":{"display":"urn:uuid:a"}}]}"#;
        let out = stamped(input).unwrap();
        assert_eq!(out.matches("Patient/new").count(), 5, "{out}");
        assert_eq!(out.matches("urn:uuid:a").count(), 3, "{out}");
        assert!(out.contains(r#"<div><a href=\"Patient/new\">urn:uuid:a</a></div>"#), "{out}");
        assert!(
            out.contains(r#""target":[{"reference":"Patient/new"},{"reference":"Patient/7"}]"#)
        );
        assert!(out.contains(r#""policy":["Patient/new","http://a"]"#));
    }

    #[test]
    fn targets_of_a_narrative_are_found_in_either_quotes() {
        let all = |text: &str| {
            let (mut found, mut rest) = (Vec::new(), text.to_owned());
            while let Some((_, value, after)) = next_target(&rest) {
                found.push(value.to_owned());
                rest = after.to_owned();
            }
            found
        };
        assert_eq!(all("<a href=\"x\"/><img alt='' src='y'/>"), ["x", "y"]);
        assert_eq!(all("<a href=x href=\"\">src=\"z\"</a>"), [""]);
        assert_eq!(all("<a href="), [""; 0]);
        assert_eq!(all("<a href=\"x"), [""; 0]);
    }

    #[test]
    fn number_text_stays_as_sent() {
        let out = stamped(r#"{"resourceType":"Observation","valueQuantity":{"value": 1.50e+1}}"#);
        assert!(out.unwrap().ends_with(r#""valueQuantity":{"value":1.50e+1}}"#));
    }

    #[test]
    fn what_is_no_resource_is_refused_with_its_place() {
        let path = |input| stamped(input).unwrap_err().remove(0).path;
        assert_eq!(path("[]"), "resourceType");
        assert_eq!(path(r#"{"id":"a"}"#), "resourceType");
        assert_eq!(path(r#"{"resourceType":"Patient","meta":[]}"#), "Patient.meta");
    }

    #[test]
    fn edits_that_overlap_are_refused() {
        let doc = Doc::parse(b"[1,2]", &Limits::default()).unwrap();
        let mut edits = Edits::new();
        edits.replace(1..3, String::new());
        edits.replace(2..4, String::new());
        assert_eq!(edits.apply(&doc), Err(Error::Overlap));
    }
}
