//! What R4's text demands and no invariant says: of attachments, ids of elements, bundles.
//!
//! Source: <https://hl7.org/fhir/R4/datatypes.html#Attachment>,
//! <https://hl7.org/fhir/R4/element.html#id>, <https://hl7.org/fhir/R4/bundle.html#bundle-unique>

use std::collections::HashSet;

use super::check::Checker;
use crate::fhirpath::Place;
use crate::issue::{IssueCode, Severity};
use crate::json::{Kind, Node};

/// LOINC codes that make an Observation a vital sign, which then has to conform to R4's
/// profile whether it says so or not (<https://hl7.org/fhir/R4/observation-vitalsigns.html>).
const VITAL_SIGNS: [(&str, &str); 10] = [
    ("85353-1", "vitalspanel"),
    ("9279-1", "resprate"),
    ("8867-4", "heartrate"),
    ("2708-6", "oxygensat"),
    ("8310-5", "bodytemp"),
    ("8302-2", "bodyheight"),
    ("9843-4", "headcircum"),
    ("29463-7", "bodyweight"),
    ("39156-5", "bmi"),
    ("85354-9", "bp"),
];

/// The profile of a vital sign, by its code.
pub(super) fn vital_sign(observation: Node<'_>) -> Option<&'static str> {
    let codings = observation.member("code")?.member("coding")?;
    codings.items().find_map(|c| {
        let text = |name: &str| c.member(name).and_then(Node::as_str);
        if text("system")? != "http://loinc.org" {
            return None;
        }
        let code = text("code")?;
        VITAL_SIGNS.iter().find(|(known, _)| *known == code).map(|(_, profile)| *profile)
    })
}

impl<'a> Checker<'a> {
    pub(super) fn rules(&mut self, place: &Place<'a>) {
        let Some(node) = place.node() else { return };
        match place.type_id().name() {
            "Attachment" => self.attachment(place, node),
            "Bundle" => self.bundle(place, node),
            _ => {}
        }
        if place.type_id().resource().is_some() {
            self.ids(place, node);
        }
    }

    fn wrong(&mut self, code: IssueCode, path: &str, text: &str) {
        self.issue(Severity::Error, code, path, text);
    }

    fn attachment(&mut self, place: &Place<'a>, node: Node<'a>) {
        let size = node.member("size").and_then(Node::number_text);
        let size: Option<usize> = size.and_then(|n| n.parse().ok());
        let Some((size, data)) = size.zip(node.member("data").and_then(Node::as_str)) else {
            return;
        };
        let held = data.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=').count();
        if held * 3 / 4 != size {
            let text = "the size is not that of the data";
            self.wrong(IssueCode::Value, &format!("{}.size", place.path()), text);
        }
    }

    /// Ids of elements tell them apart within their resource.
    fn ids(&mut self, place: &Place<'a>, resource: Node<'a>) {
        let mut seen = HashSet::new();
        let mut open: Vec<Node<'a>> = resource.members().map(|(_, n)| n).collect();
        while let Some(node) = open.pop() {
            match node.kind() {
                Kind::Array => open.extend(node.items()),
                Kind::Object if node.member("resourceType").is_none() => {
                    if let Some(id) = node.member("id").and_then(Node::as_str)
                        && !seen.insert(id)
                    {
                        let path = Place::of(node, place.type_id()).path();
                        self.wrong(
                            IssueCode::Duplicate,
                            &path,
                            "two elements of the resource have one id",
                        );
                    }
                    open.extend(node.members().map(|(_, n)| n));
                }
                _ => {}
            }
        }
    }

    fn bundle(&mut self, place: &Place<'a>, node: Node<'a>) {
        let path = place.path();
        let mut relations = HashSet::new();
        for (n, link) in node.member("link").into_iter().flat_map(Node::items).enumerate() {
            if let Some(relation) = link.member("relation").and_then(Node::as_str)
                && !relations.insert(relation)
            {
                let text = "a relation is linked once";
                self.wrong(IssueCode::Duplicate, &format!("{path}.link[{n}]"), text);
            }
        }
        let kind = node.member("type").and_then(Node::as_str).unwrap_or_default();
        for (n, entry) in node.member("entry").into_iter().flat_map(Node::items).enumerate() {
            let at = || format!("{path}.entry[{n}]");
            let url = entry.member("fullUrl").and_then(Node::as_str);
            if url.is_some_and(|url| !url.contains(':')) {
                self.wrong(
                    IssueCode::Value,
                    &format!("{}.fullUrl", at()),
                    "this is no absolute URL",
                );
            }
            let Some(resource) = entry.member("resource") else { continue };
            let outcome = resource.member("resourceType").and_then(Node::as_str).as_deref()
                == Some("OperationOutcome");
            if kind == "searchset" && !outcome && resource.member("id").is_none() {
                let text = "what a search found has an id";
                self.wrong(IssueCode::Required, &format!("{}.resource.id", at()), text);
            }
        }
    }
}
