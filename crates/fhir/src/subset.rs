//! A part of a resource, as `_elements` and `_summary` ask for it. It owns which elements
//! stay, and refuses to look inside data types: an element that stays, stays whole, but
//! for backbones in a summary.
//!
//! `resourceType`, `id` and `meta` always stay. So do mandatory elements, and those that
//! can change the meaning of others (modifiers), asked for or not; `_summary=text` keeps
//! the mandatory ones, as R4 says, with `implicitRules` and `modifierExtension`. The tag
//! `SUBSETTED` says that a part was asked for, even when nothing was left out.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#summary>,
//! <https://hl7.org/fhir/R4/search.html#elements>

use std::collections::BTreeSet;

use phial_base::ClassSet;

use crate::class::{classes_at, extension_classes};
use crate::definitions::{Element, ResourceType, TypeId, TypeKind};
use crate::issue::{Issue, IssueCode};
use crate::json::{Doc, Kind, Node};
use crate::split::{TAG, tagged};

/// Which part of a resource is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subset {
    /// `_elements`: these, by name in JSON or without the type of a choice.
    Elements(BTreeSet<String>),
    /// `_summary=true`: the elements that the definitions mark.
    Summary,
    /// `_summary=text`: the narrative, and what is mandatory.
    Text,
    /// `_summary=data`: all but the narrative.
    Data,
}

impl Subset {
    /// The part that `_elements` and `_summary` among these pairs ask for; `None` for the
    /// whole. `_summary=count` is no part and is left to whoever counts.
    ///
    /// # Errors
    /// An issue when one is given twice, both are given, or a value has no such form.
    pub fn of(pairs: &[(String, String)]) -> Result<Option<Subset>, Issue> {
        let refuse = |name: &str, code, text: &str| Err(Issue::error(code, name, text));
        let one = |name: &str| {
            let mut all = pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
            (all.next(), all.next().is_some())
        };
        let (elements, twice) = one("_elements");
        let (summary, summary_twice) = one("_summary");
        if twice {
            return refuse("_elements", IssueCode::Duplicate, "_elements may be given once");
        }
        if summary_twice {
            return refuse("_summary", IssueCode::Duplicate, "_summary may be given once");
        }
        let part = match summary {
            None | Some("false" | "count") => None,
            Some("true") => Some(Subset::Summary),
            Some("text") => Some(Subset::Text),
            Some("data") => Some(Subset::Data),
            Some(_) => {
                let text = "_summary is true, text, data, count or false";
                return refuse("_summary", IssueCode::Value, text);
            }
        };
        let Some(elements) = elements else { return Ok(part) };
        if part.is_some() {
            let text = "_elements and _summary can't be used together";
            return refuse("_elements", IssueCode::Invalid, text);
        }
        let plain = |name: &&str| {
            !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let names: Vec<&str> = elements.split(',').map(str::trim).collect();
        if !names.iter().all(plain) {
            let text = "_elements is a list of the names of elements of the resource itself";
            return refuse("_elements", IssueCode::Value, text);
        }
        // It is no element, always stays, and clients name it.
        let names = names.into_iter().filter(|n| *n != "resourceType");
        Ok(Some(Subset::Elements(names.map(str::to_owned).collect())))
    }

    /// Whether a resource of this type has every element that is named.
    ///
    /// # Errors
    /// An issue when it does not; a misspelt name would otherwise look like a record
    /// without the element.
    pub fn fits(&self, ty: ResourceType) -> Result<(), Issue> {
        let Subset::Elements(names) = self else { return Ok(()) };
        let ty_ = ty.type_id();
        let known = |n: &String| ty_.element(n).is_some() || ty_.member(n).is_some();
        if names.iter().all(known) {
            return Ok(());
        }
        let text = format!("_elements names something that is no element of {ty}");
        Err(Issue::error(IssueCode::Value, "_elements", text))
    }

    /// The classes in which the part can lie. A record's other segments need not be
    /// opened for it. Extensions can stand in any element, so theirs are always among them.
    #[must_use]
    pub fn classes(&self, ty: ResourceType) -> ClassSet {
        // Entries and parameters hold whole resources, of any class.
        if *self == Subset::Data || matches!(ty.name(), "Bundle" | "Parameters") {
            return ClassSet::ALL;
        }
        let mut set = extension_classes();
        for element in ty.type_id().elements().iter().filter(|e| self.keeps(e, e.name)) {
            if element.name == "contained" {
                return ClassSet::ALL;
            }
            for t in element.types {
                set = set.or(classes_at(
                    ty,
                    &[&crate::class::json_name(element.name, element.choice, *t)],
                ));
            }
        }
        for name in self.named() {
            set = set.or(classes_at(ty, &[name]));
        }
        set
    }

    fn named(&self) -> impl Iterator<Item = &str> {
        let names = if let Subset::Elements(names) = self { Some(names) } else { None };
        names.into_iter().flatten().map(String::as_str)
    }

    /// Whether an element of the resource itself stays. `name` is its name in JSON.
    fn keeps(&self, element: &Element, name: &str) -> bool {
        if matches!(element.name, "id" | "meta") {
            return true;
        }
        let needed = element.min > 0 || element.modifier;
        match self {
            Subset::Elements(names) => {
                needed || names.contains(element.name) || names.contains(name)
            }
            Subset::Summary => needed || element.summary,
            Subset::Text => {
                element.min > 0
                    || matches!(element.name, "text" | "implicitRules" | "modifierExtension")
            }
            Subset::Data => element.name != "text",
        }
    }
}

/// The part of a resource of type `ty` that is asked for, tagged. Members keep their
/// order, and what stays its text.
#[must_use]
pub fn subset(doc: &Doc, ty: ResourceType, part: &Subset) -> Vec<u8> {
    let mut out = Vec::with_capacity(doc.text().len() + TAG.len() + 24);
    out.push(b'{');
    let mut meta_seen = false;
    for (name, node) in doc.root().members() {
        if name == "meta" && node.is_object() {
            meta_seen = true;
            member(&mut out, name);
            meta(&mut out, node);
            continue;
        }
        let found = ty.type_id().member(name.strip_prefix('_').unwrap_or(name));
        let stays =
            name == "resourceType" || found.is_some_and(|m| part.keeps(m.element(), m.name));
        let Some(found) = found.filter(|_| stays) else {
            if stays {
                member(&mut out, name);
                out.extend_from_slice(node.text().as_bytes());
            }
            continue;
        };
        member(&mut out, name);
        if *part == Subset::Summary {
            summary(&mut out, node, found.ty);
        } else {
            out.extend_from_slice(node.text().as_bytes());
        }
    }
    if !meta_seen {
        member(&mut out, "meta");
        out.extend_from_slice(b"{\"tag\":[");
        out.extend_from_slice(TAG);
        out.extend_from_slice(b"]}");
    }
    out.push(b'}');
    out
}

/// A comma where one is needed, and the member's name.
fn member(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// `meta` with the tag, unless it has it.
fn meta(out: &mut Vec<u8>, node: Node<'_>) {
    let tags = node.member("tag").filter(|t| t.kind() == Kind::Array);
    if tags.is_some_and(tagged) {
        out.extend_from_slice(node.text().as_bytes());
        return;
    }
    out.push(b'{');
    for (name, value) in node.members() {
        member(out, name);
        match (name, value.text().strip_suffix(']')) {
            ("tag", Some(text)) => {
                out.extend_from_slice(text.as_bytes());
                if !value.is_empty() {
                    out.push(b',');
                }
                out.extend_from_slice(TAG);
                out.push(b']');
            }
            _ => out.extend_from_slice(value.text().as_bytes()),
        }
    }
    if tags.is_none() {
        member(out, "tag");
        out.push(b'[');
        out.extend_from_slice(TAG);
        out.push(b']');
    }
    out.push(b'}');
}

/// An element of a summary: of a backbone, again only what the definitions mark.
fn summary(out: &mut Vec<u8>, node: Node<'_>, ty: TypeId) {
    match node.kind() {
        Kind::Array => {
            out.push(b'[');
            for (n, item) in node.items().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                summary(out, item, ty);
            }
            out.push(b']');
        }
        Kind::Object if ty.kind() == TypeKind::Backbone => {
            let marked = |name: &str| {
                let found = ty.member(name.strip_prefix('_').unwrap_or(name))?;
                let e = found.element();
                (e.summary || e.modifier || e.min > 0).then_some(found.ty)
            };
            let kept: Vec<_> =
                node.members().filter_map(|(n, v)| Some((n, v, marked(n)?))).collect();
            if kept.is_empty() {
                // Without anything marked an object would be empty, which JSON in FHIR may
                // not be: it stays whole.
                out.extend_from_slice(node.text().as_bytes());
                return;
            }
            out.push(b'{');
            for (name, value, ty) in kept {
                member(out, name);
                if name.starts_with('_') {
                    out.extend_from_slice(value.text().as_bytes());
                } else {
                    summary(out, value, ty);
                }
            }
            out.push(b'}');
        }
        _ => out.extend_from_slice(node.text().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";

    fn part(query: &str) -> Result<Option<Subset>, String> {
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Subset::of(&pairs).map_err(|i| i.path)
    }

    fn check(query: &str, text: &str, expected: &str) {
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let ty = doc.root().member("resourceType").unwrap().as_str().unwrap().into_owned();
        let ty = ResourceType::from_name(&ty).unwrap();
        let asked = part(query).unwrap().unwrap();
        let got = String::from_utf8(subset(&doc, ty, &asked)).unwrap();
        let tag =
            format!("{{\"system\":\"{SYSTEM}\",\"code\":\"SUBSETTED\",\"display\":\"subsetted\"}}");
        assert_eq!(got, expected.replace('@', &tag), "{query}");
        let again = Doc::parse(got.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(subset(&again, ty, &asked), got.as_bytes(), "{query}: twice is once");
    }

    const PATIENT: &str = r#"{"name":[{"family":"A"}],"resourceType":"Patient","text":{"status":"generated","div":"<div/>"},"id":"p","meta":{"versionId":"1","tag":[{"code":"t"}]},"implicitRules":"urn:r","active":true,"_active":{"id":"a"},"birthDate":"1970-01-01","_birthDate":{"id":"b"},"deceasedBoolean":false,"contact":[{"gender":"other"}],"communication":[{"language":{"text":"l"}}],"link":[{"other":{"display":"o"},"type":"refer"}],"modifierExtension":[{"url":"urn:m","valueCode":"x"}],"extension":[{"url":"urn:e","valueCode":"x"}]}"#;

    #[test]
    fn named_elements_stay_with_what_is_mandatory_or_modifies() {
        check(
            "_elements=birthDate",
            PATIENT,
            r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"1","tag":[{"code":"t"},@]},"implicitRules":"urn:r","active":true,"_active":{"id":"a"},"birthDate":"1970-01-01","_birthDate":{"id":"b"},"deceasedBoolean":false,"link":[{"other":{"display":"o"},"type":"refer"}],"modifierExtension":[{"url":"urn:m","valueCode":"x"}]}"#,
        );
        check(
            "_elements=id",
            r#"{"resourceType":"Basic","code":{"text":"c"},"created":"2020"}"#,
            r#"{"resourceType":"Basic","code":{"text":"c"},"meta":{"tag":[@]}}"#,
        );
        let o = r#"{"resourceType":"Observation","meta":{"versionId":"1"},"status":"final","code":{"text":"c"},"valueQuantity":{"value":1.0},"note":[{"text":"n"}]}"#;
        for name in ["value", "valueQuantity", "resourceType,value", "value,id,resourceType"] {
            check(
                &format!("_elements={name}"),
                o,
                r#"{"resourceType":"Observation","meta":{"versionId":"1","tag":[@]},"status":"final","code":{"text":"c"},"valueQuantity":{"value":1.0}}"#,
            );
        }
    }

    #[test]
    fn a_summary_is_what_the_definitions_mark() {
        check(
            "_summary=true",
            PATIENT,
            r#"{"name":[{"family":"A"}],"resourceType":"Patient","id":"p","meta":{"versionId":"1","tag":[{"code":"t"},@]},"implicitRules":"urn:r","active":true,"_active":{"id":"a"},"birthDate":"1970-01-01","_birthDate":{"id":"b"},"deceasedBoolean":false,"link":[{"other":{"display":"o"},"type":"refer"}],"modifierExtension":[{"url":"urn:m","valueCode":"x"}]}"#,
        );
        // Inside a backbone, too.
        check(
            "_summary=true",
            r#"{"resourceType":"CarePlan","status":"active","intent":"plan","subject":{"display":"s"},"activity":[{"progress":[{"text":"x"}]}],"note":[{"text":"x"}]}"#,
            r#"{"resourceType":"CarePlan","status":"active","intent":"plan","subject":{"display":"s"},"meta":{"tag":[@]}}"#,
        );
        check(
            "_summary=true",
            r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"component":[{"code":{"text":"d"},"interpretation":[{"text":"high"}],"valueInteger":1}]}"#,
            r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"component":[{"code":{"text":"d"},"valueInteger":1}],"meta":{"tag":[@]}}"#,
        );
    }

    #[test]
    fn text_and_data_part_at_the_narrative() {
        check(
            "_summary=text",
            PATIENT,
            r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div/>"},"id":"p","meta":{"versionId":"1","tag":[{"code":"t"},@]},"implicitRules":"urn:r","modifierExtension":[{"url":"urn:m","valueCode":"x"}]}"#,
        );
        let without = PATIENT
            .replace(r#""text":{"status":"generated","div":"<div/>"},"#, "")
            .replace(r#"{"code":"t"}"#, r#"{"code":"t"},@"#);
        check("_summary=data", PATIENT, &without);
    }

    #[test]
    fn a_tag_that_is_there_is_not_added_again() {
        let tagged = format!(
            r#"{{"resourceType":"Basic","meta":{{"tag":[{{"code":"SUBSETTED","system":"{SYSTEM}"}}]}},"code":{{"text":"c"}}}}"#
        );
        check("_summary=data", &tagged, &tagged);
        check(
            "_summary=data",
            r#"{"resourceType":"Basic","code":{"text":"c"},"meta":{}}"#,
            r#"{"resourceType":"Basic","code":{"text":"c"},"meta":{"tag":[@]}}"#,
        );
    }

    #[test]
    fn what_is_no_part_is_refused() {
        assert_eq!(part("code=x&_summary=false"), Ok(None));
        assert_eq!(part("_summary=count"), Ok(None));
        for (query, path) in [
            ("_summary=all", "_summary"),
            ("_summary=true&_summary=true", "_summary"),
            ("_elements=a&_elements=b", "_elements"),
            ("_elements=id&_summary=data", "_elements"),
            ("_elements=", "_elements"),
            ("_elements=id,,status", "_elements"),
            ("_elements=Patient.name", "_elements"),
        ] {
            assert_eq!(part(query), Err(path.to_owned()), "{query}");
        }
        let patient = ResourceType::from_name("Patient").unwrap();
        let fits = |query: &str| part(query).unwrap().unwrap().fits(patient).is_ok();
        assert!(fits("_elements=name,deceased,deceasedBoolean,id,text"));
        assert!(!fits("_elements=name,nonsense"));
        assert!(fits("_summary=true"));
    }

    #[test]
    fn segments_that_hold_nothing_of_the_part_are_not_needed() {
        use phial_base::DataClass::*;
        let classes = |ty: &str, query: &str| {
            part(query).unwrap().unwrap().classes(ResourceType::from_name(ty).unwrap())
        };
        let name = classes("Patient", "_elements=name");
        assert!(name.has(Administrative) && name.has(Demographic) && name.has(Notes));
        assert!(!name.has(Attachment) && !name.has(Financial));
        // Only a reference, which can be by identifier, needs that class.
        let status = classes("Observation", "_elements=status");
        assert!(status.has(Laboratory) && !status.has(Identifier) && !status.has(Attachment));
        assert!(classes("Observation", "_elements=subject").has(Identifier));
        assert!(classes("Patient", "_elements=identifier").has(GovernmentIdentifier));
        let document = classes("DocumentReference", "_elements=date");
        assert!(document.has(Attachment), "content is mandatory");
        assert!(!classes("DiagnosticReport", "_elements=status").has(Attachment));
        assert!(classes("Bundle", "_elements=entry") == ClassSet::ALL);
        assert!(classes("Patient", "_elements=contained") == ClassSet::ALL);
        assert!(classes("Patient", "_summary=data") == ClassSet::ALL);
    }

    #[test]
    fn whole_resources_stand_where_all_classes_are_needed() {
        for t in (0..).map_while(TypeId::from_index) {
            for e in t.elements().iter().filter(|e| e.types.iter().any(|t| t.name() == "Resource"))
            {
                let root = t.name().split('.').next().unwrap();
                let known = ["Bundle", "Parameters"].contains(&root) || e.name == "contained";
                assert!(known, "{}", e.path());
            }
        }
    }

    #[test]
    fn nothing_of_a_part_lies_in_a_class_that_is_not_needed() {
        let asked = [part("_summary=true"), part("_summary=text"), part("_elements=code,name")];
        for ty in ResourceType::all() {
            for asked in asked.iter().map(|a| a.clone().unwrap().unwrap()) {
                let needed = asked.classes(ty);
                for e in ty.type_id().elements().iter().filter(|e| asked.keeps(e, e.name)) {
                    for t in e.types {
                        let name = crate::class::json_name(e.name, e.choice, *t);
                        assert!(needed.covers(classes_at(ty, &[&name])), "{ty}.{name}");
                    }
                }
            }
        }
    }
}
