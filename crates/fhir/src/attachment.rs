//! Where a resource holds files: its Attachments
//! (<https://hl7.org/fhir/R4/datatypes.html#Attachment>), those of contained and bundled
//! resources too, and the data of a Binary (<https://hl7.org/fhir/R4/binary.html>). It
//! finds them by the definitions; it refuses to decode or judge what they hold.

use crate::definitions::{ResourceType, TypeId, TypeKind};
use crate::json::{Doc, Kind, Node};
use crate::split::TAG;

/// A file that a resource holds or points at.
#[derive(Clone, Debug)]
pub struct Attached<'a> {
    /// Where it stands: `DocumentReference.content[0].attachment`. No value is in it.
    pub path: String,
    /// The content as base64, as it is written.
    pub data: Option<&'a str>,
    /// `Attachment.url`.
    pub url: Option<String>,
    /// `Attachment.size`: how many bytes the content is said to have.
    pub size: Option<&'a str>,
    /// `Attachment.hash`: base64 of the content's SHA-1.
    pub hash: Option<&'a str>,
    /// Whether the same data stood in the version that this one follows.
    pub stayed: bool,
}

impl Attached<'_> {
    /// Whether both hold and say the same, wherever they stand.
    fn says(&self, other: &Attached<'_>) -> bool {
        (self.data, &self.url, self.size, self.hash)
            == (other.data, &other.url, other.size, other.hash)
    }
}

/// The files in a resource of type `ty`, in the order in which they stand.
#[must_use]
pub fn attachments(doc: &Doc, ty: ResourceType) -> Vec<Attached<'_>> {
    let mut found = Vec::new();
    // Nothing else makes one, and nearly no resource has any of these.
    let text = doc.text();
    if ["\"data\"", "\"hash\"", "\"size\""].iter().any(|name| text.contains(name)) {
        let mut path = ty.name().to_owned();
        object(doc.root(), ty.type_id(), &mut path, &mut found);
    }
    found
}

/// What a change brings of files: those of the later document that the earlier one did
/// not have like that. Cheap to make; they are looked for when asked.
#[derive(Clone)]
pub struct Brought {
    ty: ResourceType,
    before: Doc,
    after: Doc,
}

impl std::fmt::Debug for Brought {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Brought({})", self.ty)
    }
}

impl Brought {
    /// Of these two versions of a resource of type `ty`.
    #[must_use]
    pub fn new(ty: ResourceType, before: Doc, after: Doc) -> Self {
        Brought { ty, before, after }
    }

    /// The files that are new or that something else is said of now. Of one whose data
    /// stayed as it was `stayed` is set: that was looked at when it came.
    #[must_use]
    pub fn files(&self) -> Vec<Attached<'_>> {
        let before = attachments(&self.before, self.ty);
        let mut found = attachments(&self.after, self.ty);
        found.retain(|now| !before.iter().any(|was| was.says(now)));
        for now in &mut found {
            now.stayed = now.data.is_some() && before.iter().any(|was| was.data == now.data);
        }
        found
    }
}

/// The text of a Binary whose content stays beside the record log: with `stand_in` as its
/// data, and without the tag by which a read said that the content was left out.
#[must_use]
pub fn kept(text: &[u8], stand_in: &str) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    let tag = String::from_utf8_lossy(TAG);
    // A quote inside a string is escaped, so none of these can stand in one.
    for (marked, plain) in [
        (format!(",\"tag\":[{tag}]"), ""),
        (format!("\"tag\":[{tag}],"), ""),
        (format!(",{tag}]"), "]"),
        (format!("[{tag},"), "["),
    ] {
        text = text.replace(&marked, plain);
    }
    if let Some(open) = text.strip_suffix('}') {
        text = format!("{open},\"data\":\"{stand_in}\"}}");
    }
    text.into_bytes()
}

fn object<'a>(node: Node<'a>, ty: TypeId, path: &mut String, found: &mut Vec<Attached<'a>>) {
    let ty = match ty.name() {
        // Contained, or an entry's: it says itself what it is.
        "Resource" | "DomainResource" => {
            let own = node.member("resourceType").and_then(Node::as_str);
            match own.and_then(|name| ResourceType::from_name(&name)) {
                Some(own) => own.type_id(),
                None => return,
            }
        }
        _ => ty,
    };
    if matches!(ty.name(), "Attachment" | "Binary") {
        let raw = |name| node.member(name).and_then(Node::raw_str);
        found.push(Attached {
            path: path.clone(),
            data: raw("data"),
            url: node.member("url").and_then(Node::as_str).map(Into::into),
            size: node.member("size").and_then(Node::number_text),
            hash: raw("hash"),
            stayed: false,
        });
    }
    for (name, inner) in node.members() {
        let Some(member) = ty.member(name) else { continue };
        if member.ty.kind() == TypeKind::Primitive {
            continue;
        }
        let len = path.len();
        path.push('.');
        path.push_str(name);
        if inner.kind() == Kind::Array {
            for (i, item) in inner.items().enumerate() {
                let len = path.len();
                path.push_str(&format!("[{i}]"));
                object(item, member.ty, path, found);
                path.truncate(len);
            }
        } else {
            object(inner, member.ty, path, found);
        }
        path.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn check(json: &str, expected: &[&str]) {
        let doc = Doc::parse(json.as_bytes(), &Limits::default()).unwrap();
        let ty = doc.root().member("resourceType").unwrap().as_str().unwrap();
        let found = attachments(&doc, ResourceType::from_name(&ty).unwrap());
        let told: Vec<String> =
            found.iter().map(|a| format!("{} {}", a.path, a.data.unwrap_or("-"))).collect();
        assert_eq!(told, expected, "{json}");
    }

    #[test]
    fn what_is_kept_is_neither_marked_nor_lost() {
        let tag = std::str::from_utf8(TAG).unwrap();
        for (sent, stored) in [
            (
                format!(r#"{{"a":1,"meta":{{"versionId":"1","tag":[{tag}]}}}}"#),
                r#"{"versionId":"1"}"#,
            ),
            (
                format!(r#"{{"a":1,"meta":{{"tag":[{tag}],"versionId":"1"}}}}"#),
                r#"{"versionId":"1"}"#,
            ),
            (format!(r#"{{"a":1,"meta":{{"tag":[{{}},{tag}]}}}}"#), r#"{"tag":[{}]}"#),
            (format!(r#"{{"a":1,"meta":{{"tag":[{tag},{{}}]}}}}"#), r#"{"tag":[{}]}"#),
        ] {
            let kept = kept(sent.as_bytes(), "AA==");
            let expected = format!(r#"{{"a":1,"meta":{stored},"data":"AA=="}}"#);
            assert_eq!(String::from_utf8(kept).unwrap(), expected);
        }
    }

    #[test]
    fn a_change_brings_what_was_not_there_like_that() {
        let doc = |content: &str| {
            let text = format!(r#"{{"resourceType":"DocumentReference","content":[{content}]}}"#);
            Doc::parse(text.as_bytes(), &Limits::default()).unwrap()
        };
        let one = r#"{"attachment":{"data":"QQ==","size":1}}"#;
        let ty = ResourceType::from_name("DocumentReference").unwrap();
        let brought = |after: &str| -> Vec<(String, bool)> {
            let brought = Brought::new(ty, doc(one), doc(after));
            brought.files().into_iter().map(|f| (f.path, f.stayed)).collect()
        };
        let at = |n: usize| format!("DocumentReference.content[{n}].attachment");
        assert_eq!(brought(one), []);
        // Where it stands says nothing of what it is.
        let other = r#"{"attachment":{"data":"Qg=="}}"#;
        assert_eq!(brought(&format!("{other},{one}")), [(at(0), false)]);
        // The same data under another hash is looked at, and not scanned again.
        let hashed = r#"{"attachment":{"data":"QQ==","size":1,"hash":"x"}}"#;
        assert_eq!(brought(&format!("{one},{hashed}")), [(at(1), true)]);
        // Of one without data, hash and size there is nothing to look at.
        assert_eq!(brought(r#"{"attachment":{"title":"t"}}"#), []);
    }

    #[test]
    fn every_place_that_holds_a_file_is_found_and_nothing_else() {
        check(
            r#"{"resourceType":"DocumentReference","content":[
                {"attachment":{"data":"QQ=="}},{"attachment":{"url":"Binary/b","hash":"x"}}]}"#,
            &[
                "DocumentReference.content[0].attachment QQ==",
                "DocumentReference.content[1].attachment -",
            ],
        );
        check(r#"{"resourceType":"Binary","contentType":"a/b","data":"QQ=="}"#, &["Binary QQ=="]);
        // Samples and signatures have data too, and are no files.
        check(
            r#"{"resourceType":"Observation","valueSampledData":{"data":"1 2 3"},
                "contained":[{"resourceType":"Patient","photo":[{"data":"Qg=="}]}],
                "extension":[{"url":"u","valueAttachment":{"data":"Qw=="}}]}"#,
            &[
                "Observation.contained[0].photo[0] Qg==",
                "Observation.extension[0].valueAttachment Qw==",
            ],
        );
        check(
            r#"{"resourceType":"Bundle","entry":[{"resource":
                {"resourceType":"Communication","payload":[{"contentAttachment":{"data":"RA=="}}]}}]}"#,
            &["Bundle.entry[0].resource.payload[0].contentAttachment RA=="],
        );
        check(r#"{"resourceType":"Patient","id":"data"}"#, &[]);
    }
}
