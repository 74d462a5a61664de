//! What an invariant may ask that is not in the document: terminology, profiles, the types
//! of what references say that they point at.

use std::cell::Cell;

use super::World;
use super::check::conforms;
use crate::definitions::{ResourceType, TypeKind};
use crate::fhirpath::{Host, Item, Place};
use crate::json::Node;
use crate::reference::{RefKind, classify};
use crate::terminology::{self, Answer, canonical};

pub(super) struct Outside<'w> {
    pub(super) world: &'w dyn World,
    /// What may still be done: one budget for the whole check, whatever asks for what.
    pub(super) left: Cell<u64>,
    /// How many profiles asked for each other from within invariants.
    pub(super) depth: usize,
}

impl<'a> Host<'a> for Outside<'_> {
    /// A reference that is not to be found here still says a type.
    fn resolve(&self, _item: &Item<'a>, url: Option<&str>) -> Option<Place<'a>> {
        let url = url?;
        if let RefKind::Relative { type_, .. } | RefKind::Conditional { type_, .. } = classify(url)
        {
            return Some(Place::unseen(type_));
        }
        let mut parts = url.split('/').rev();
        let last = parts.next()?;
        if last.starts_with("urn:") {
            return None;
        }
        let ty = match parts.next()? {
            "_history" => parts.nth(1)?,
            ty => ty,
        };
        ResourceType::from_name(ty).map(Place::unseen)
    }

    fn member_of(&self, item: &Item<'a>, value_set: &str) -> Option<bool> {
        let (url, version) = canonical(value_set);
        let set = self.world.value_set(url, version)?;
        let known = |system: Option<&str>, code: &str| match terminology::contains(
            self.world, &set, system, code,
        ) {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Unknown(_) => None,
        };
        let coding = |node: Node<'_>| {
            let text = |name: &str| node.member(name).and_then(Node::as_str);
            match (text("system"), text("code")) {
                (Some(system), Some(code)) => known(Some(&system), &code),
                _ => Some(false),
            }
        };
        match item {
            Item::Place(place) if place.type_id().kind() != TypeKind::Primitive => {
                let node = place.node()?;
                if place.type_id().name() != "CodeableConcept" {
                    return coding(node);
                }
                let mut answer = Some(false);
                for c in node.member("coding").into_iter().flat_map(Node::items) {
                    match coding(c) {
                        Some(true) => return Some(true),
                        None => answer = None,
                        Some(false) => {}
                    }
                }
                answer
            }
            other => known(None, &other.string()?),
        }
    }

    fn subsumes(&self, above: &Item<'a>, below: &Item<'a>) -> Option<bool> {
        let part = |item: &Item<'a>, name: &str| {
            let node = item.place()?.node()?;
            let node = node.member("coding").and_then(|c| c.items().next()).unwrap_or(node);
            node.member(name)?.as_str().map(std::borrow::Cow::into_owned)
        };
        let system = part(above, "system")?;
        if part(below, "system")? != system {
            return Some(false);
        }
        let (upper, lower) = (part(above, "code")?, part(below, "code")?);
        match terminology::subsumes(self.world, &system, &upper, &lower) {
            Answer::Yes => Some(true),
            Answer::No => Some(false),
            Answer::Unknown(_) => None,
        }
    }

    fn conforms_to(&self, item: &Item<'a>, profile: &str) -> Option<bool> {
        let (url, version) = canonical(profile);
        let structure = self.world.structure(url, version)?;
        conforms(item.place()?, &structure, self)
    }
}
