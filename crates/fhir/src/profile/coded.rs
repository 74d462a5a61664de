//! Codes against the value sets that elements are bound to, and against their own code
//! systems.
//!
//! Source: <https://hl7.org/fhir/R4/terminologies.html#strength>

use super::check::Checker;
use crate::definitions::Strength;
use crate::fhirpath::Place;
use crate::issue::{IssueCode, Severity};
use crate::json::Node;
use crate::terminology::{self, Answer, Content, HELD, NotHeld, ValueSet, canonical};

/// R4's vital signs require these units of components, which HL7's own examples and US
/// Core's pulse oximetry (litres a minute) do not keep to, nor does HL7's validator ask it.
const NOT_SO_REQUIRED: &str = "http://hl7.org/fhir/ValueSet/ucum-vitals-common";

impl<'a> Checker<'a> {
    /// A bound element against its value set.
    pub(super) fn binding(&mut self, place: &Place<'a>, strength: Strength, url: &str) {
        let severity = match strength {
            Strength::Required => Severity::Error,
            Strength::Extensible => Severity::Warning,
            Strength::Preferred | Strength::Example => return,
        };
        let (plain, version) = canonical(url);
        let severity = if plain == NOT_SO_REQUIRED { Severity::Warning } else { severity };
        let Some(set) = self.world.value_set(plain, version) else {
            return self.unchecked(&NotHeld::ValueSet(plain.into()), &place.path());
        };
        match self.in_set(place, &set, strength) {
            Answer::Yes => {}
            Answer::Unknown(what) => self.unchecked(&what, &place.path()),
            Answer::No => {
                let named = if HELD.speaks_of(plain) { plain } else { "that it is bound to" };
                let text = format!("no code of the value set {named} is here");
                self.issue(severity, IssueCode::CodeInvalid, &place.path(), text);
            }
        }
    }

    fn in_set(&self, place: &Place<'a>, set: &ValueSet, strength: Strength) -> Answer {
        let one =
            |system: Option<&str>, code: &str| terminology::contains(self.world, set, system, code);
        // A code that is not there is none of the set's, whatever the reason given.
        let Some(node) = place.node() else {
            return if strength == Strength::Required { Answer::No } else { Answer::Yes };
        };
        let text = |node: Node<'a>, name: &str| node.member(name).and_then(Node::as_str);
        let coding = |node: Node<'a>| match (text(node, "system"), text(node, "code")) {
            (Some(system), Some(code)) => one(Some(&system), &code),
            (None, Some(code)) if place.type_id().name() == "Quantity" => one(None, &code),
            // Without a system it is nobody's code.
            _ => Answer::No,
        };
        match place.type_id().name() {
            "CodeableConcept" => {
                let codings: Vec<_> =
                    node.member("coding").into_iter().flat_map(Node::items).collect();
                if codings.is_empty() && strength != Strength::Required {
                    // Text alone says that no code fits.
                    return Answer::Yes;
                }
                let mut found = Answer::No;
                for c in codings {
                    match coding(c) {
                        Answer::Yes => return Answer::Yes,
                        unknown @ Answer::Unknown(_) => found = unknown,
                        Answer::No => {}
                    }
                }
                found
            }
            "Coding" => coding(node),
            _ if node.is_object() => {
                // A quantity without any unit has no code to be in the set.
                if text(node, "code").is_none() { Answer::Yes } else { coding(node) }
            }
            _ => match node.as_str() {
                Some(code) => one(None, &code),
                None => Answer::Yes,
            },
        }
    }

    /// A Coding against its own code system, where that is held.
    pub(super) fn coding(&mut self, place: &Place<'a>) {
        let path = |name: &str| format!("{}.{name}", place.path());
        let Some(node) = place.node() else { return };
        let text = |name: &str| node.member(name).and_then(Node::as_str);
        let Some(system) = text("system") else { return };
        if !system.contains(':') {
            let text = "a code system is named by an absolute URI";
            self.issue(Severity::Error, IssueCode::CodeInvalid, &path("system"), text);
            return;
        }
        let version = text("version");
        let Some(held) = self.world.code_system(&system, version.as_deref()) else {
            if self.world.value_set(&system, None).is_some() {
                let text = "this is the URL of a value set, where a code system is needed";
                self.issue(Severity::Error, IssueCode::CodeInvalid, &path("system"), text);
            }
            return;
        };
        let Some(code) = text("code") else { return };
        let Some(concept) = held.concept(&code) else {
            if held.content == Content::Complete {
                let text = "the code system has no such code";
                self.issue(Severity::Error, IssueCode::CodeInvalid, &path("code"), text);
            }
            return;
        };
        let same = |name: &str| {
            let same = |d: &str| {
                let words =
                    |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
                words(d) == words(name)
            };
            concept.display.as_deref().is_none_or(same)
                || concept.designations.iter().any(|d| same(d))
        };
        if let Some(display) = text("display")
            && !same(&display)
            && !concept.code.eq_ignore_ascii_case(&display)
        {
            let text = "this is not the code's name in its code system";
            self.issue(Severity::Warning, IssueCode::Invalid, &path("display"), text);
        }
    }
}
