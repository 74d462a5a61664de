//! Extensions: what their own definitions say, and where they may stand.
//!
//! Source: <https://hl7.org/fhir/R4/defining-extensions.html#context>

use super::CORE;
use super::check::Checker;
use super::structure::Structure;
use crate::definitions::TypeId;
use crate::fhirpath::{Item, Place};
use crate::issue::{IssueCode, Severity};
use crate::json::Node;
use crate::terminology::canonical;

impl<'a> Checker<'a> {
    /// One extension on `owner`. `at` is the path of the element that it extends in its
    /// type: `Patient.contact`, `Patient`.
    pub(super) fn extension(
        &mut self,
        place: &Place<'a>,
        owner: &Place<'a>,
        at: &[String],
        modifier: bool,
    ) {
        let path = || place.path();
        let path_url = || format!("{}.url", place.path());
        let url = place.node().and_then(|n| n.member("url")).and_then(Node::as_str);
        let Some(url) = url else { return };
        if url.contains('|') {
            let text = "an extension is named without a version";
            return self.issue(Severity::Error, IssueCode::Extension, &path_url(), text);
        }
        // Parts of a complex extension are named within it.
        if !url.contains(':') {
            if owner.type_id().name() != "Extension" {
                let text = "an extension is named by an absolute URL";
                self.issue(Severity::Error, IssueCode::Extension, &path_url(), text);
            }
            return;
        }
        let Some(structure) = self.world.structure(&url, None) else {
            if let Some(name) = url.strip_prefix(CORE)
                && !name.contains('/')
            {
                // Later packages of HL7 add to them.
                let text = "R4 publishes no extension of this name: what is in it was not checked";
                let code = IssueCode::Extension;
                self.issue(Severity::Warning, code, &path_url(), text);
            } else if modifier {
                let text = "this modifier extension is not known here";
                self.issue(Severity::Error, IssueCode::Extension, &path(), text);
            } else {
                let text = "this extension is not known here: what is in it was not checked";
                self.issue(Severity::Information, IssueCode::Extension, &path(), text);
            }
            return;
        };
        if &*structure.ty != "Extension" {
            let text = "what is published under this URL is no extension";
            return self.issue(Severity::Error, IssueCode::Extension, &path_url(), text);
        }
        if !self.stands_right(&structure, owner, at) {
            let text = "this extension may not stand here";
            self.issue(Severity::Error, IssueCode::Extension, &path(), text);
        }
        self.against(place, &structure.root);
    }

    fn stands_right(&self, structure: &Structure, owner: &Place<'a>, at: &[String]) -> bool {
        if structure.contexts.is_empty() {
            return true;
        }
        let lineage = || owner.type_id().lineage().map(TypeId::name);
        structure.contexts.iter().any(|(kind, expression)| {
            let expression = canonical(expression).0;
            match &**kind {
                "element" => {
                    // A type may be named by its URL, an element after `#`.
                    let expression = expression.strip_prefix(CORE).unwrap_or(expression);
                    let expression = expression.split_once('#').map_or(expression, |(_, e)| e);
                    let resource = owner.node().is_some_and(|n| n.member("resourceType").is_some());
                    matches!(expression, "Element" | "Base")
                        || lineage().any(|t| t == expression)
                        || at.iter().any(|a| a == expression)
                        || expression == "Resource" && resource
                        // What R5 calls the types that have a canonical URL.
                        || matches!(expression, "CanonicalResource" | "MetadataResource")
                            && ["url", "status"].iter().all(|e| owner.type_id().element(e).is_some())
                        || expression.contains(':') && !expression.contains("hl7.org")
                }
                "extension" => {
                    let own = owner.node().and_then(|n| n.member("url")).and_then(Node::as_str);
                    own.is_some_and(|url| expression.split('#').next() == Some(&url))
                }
                _ => self.on_path(expression, owner),
            }
        })
    }

    /// A context that is an expression over the resource: what it gives has to be what is
    /// extended.
    fn on_path(&self, expression: &str, owner: &Place<'a>) -> bool {
        let found = self.evaluate(&self.focus, expression);
        let index = |p: &Place<'_>| p.node().or(p.side()).map(Node::index);
        found.iter().filter_map(Item::place).any(|p| index(p) == index(owner))
    }
}
