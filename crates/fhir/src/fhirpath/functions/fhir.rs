//! The functions that FHIR adds. What lies outside the document is asked of the host.
//!
//! Source: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use super::super::ast::{Expr, Function};
use super::super::error::{Error, ErrorKind};
use super::super::eval::{Evaluator, Frame, one, truth};
use super::super::item::{Collection, Item, Place};
use crate::definitions::{TypeId, TypeKind, value_set};
use crate::json::Node;
use crate::reference::{RefKind, classify};
use crate::validate::narrative;

/// Where R4 publishes its types.
const CORE: &str = "http://hl7.org/fhir/StructureDefinition/";

impl<'a> Evaluator<'a, '_> {
    pub(super) fn of_fhir(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        let missing = |what| Error::new(at, ErrorKind::Missing(what));
        let text = |n: usize| match arguments.get(n) {
            Some(e) => self.text(e, f),
            None => Ok(None),
        };
        match function {
            F::Extension => {
                let Some(url) = text(0)? else { return Ok(Vec::new()) };
                let found = self.member(at, items, "extension")?;
                Ok(found.into_iter().filter(|e| has_url(e, &url)).collect())
            }
            F::HasValue => Ok(truth(Some(match items {
                [Item::Place(place)] => place.has_value(),
                [Item::Value(_)] => true,
                _ => false,
            }))),
            F::GetValue => match items {
                [] => Ok(Vec::new()),
                [item] => Ok(item.value().map_or_else(Vec::new, one)),
                _ => Err(Error::new(at, ErrorKind::Singleton("getValue"))),
            },
            F::Resolve => self.resolve(at, items),
            F::HtmlChecks => match items {
                [] => Ok(Vec::new()),
                [item] => {
                    let held = item.string().is_some_and(|div| narrative::check(&div).is_ok());
                    Ok(truth(Some(held)))
                }
                _ => Err(Error::new(at, ErrorKind::Singleton("htmlChecks"))),
            },
            F::ElementDefinition => {
                let mut out = Vec::new();
                for place in items.iter().filter_map(Item::place) {
                    let known = self.context.host.and_then(|h| h.element_definition(place));
                    out.push(Item::Place(known.ok_or_else(|| missing("a profile"))?));
                }
                Ok(out)
            }
            F::Slice => {
                let (Some(profile), Some(name)) = (text(0)?, text(1)?) else {
                    return Ok(Vec::new());
                };
                let mut out = Vec::new();
                for item in items {
                    let Item::Place(place) = item else { continue };
                    let host = self.context.host;
                    let inside = host.and_then(|h| h.in_slice(place, &profile, &name));
                    if inside.ok_or_else(|| missing("a profile"))? {
                        out.push(item.clone());
                    }
                }
                Ok(out)
            }
            F::CheckModifiers => {
                let mut allowed = Vec::new();
                for n in 0..arguments.len() {
                    allowed.extend(text(n)?);
                }
                let found = self.member(at, items, "modifierExtension")?;
                if found.iter().all(|e| allowed.iter().any(|url| has_url(e, url))) {
                    return Ok(items.to_vec());
                }
                Err(Error::new(at, ErrorKind::Operation("a modifier extension that is not known")))
            }
            F::ConformsTo => {
                let [item] = items else { return self.nothing_or(at, items, "conformsTo") };
                let Some(url) = text(0)? else { return Ok(Vec::new()) };
                let ty = url.strip_prefix(CORE).and_then(TypeId::from_name);
                let answer = match (ty, item) {
                    (Some(ty), Item::Place(place)) => Some(place.is(ty)),
                    (Some(_), Item::Value(_)) => Some(false),
                    _ => self.context.host.and_then(|h| h.conforms_to(item, &url)),
                };
                Ok(truth(Some(answer.ok_or_else(|| missing("this profile"))?)))
            }
            F::MemberOf => {
                let [item] = items else { return self.nothing_or(at, items, "memberOf") };
                let Some(url) = text(0)? else { return Ok(Vec::new()) };
                let answer = self.context.host.and_then(|h| h.member_of(item, &url));
                let answer = answer.or_else(|| listed(item, &url));
                Ok(truth(Some(answer.ok_or_else(|| missing("this value set"))?)))
            }
            _ => {
                let [item] = items else { return self.nothing_or(at, items, "subsumes") };
                let Some(argument) = arguments.first() else { return Ok(Vec::new()) };
                let other = self.eval(argument, f)?;
                let Some(other) = self.operand(at, &other)? else { return Ok(Vec::new()) };
                let (above, below) =
                    if function == F::Subsumes { (item, other) } else { (other, item) };
                let answer = self.context.host.and_then(|h| h.subsumes(above, below));
                // A concept is above itself whatever the terminology.
                let answer = match answer {
                    None if self.equal(at, above, below)? == Some(true) => Some(true),
                    answer => answer,
                };
                Ok(truth(Some(answer.ok_or_else(|| missing("terminology"))?)))
            }
        }
    }

    fn nothing_or(
        &self,
        at: u32,
        items: &[Item<'a>],
        what: &'static str,
    ) -> Result<Collection<'a>, Error> {
        if items.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Error::new(at, ErrorKind::Singleton(what)))
        }
    }

    /// What references point at: in the container, in the Bundle around, or as the host
    /// knows. What is not found is left out.
    fn resolve(&self, at: u32, items: &[Item<'a>]) -> Result<Collection<'a>, Error> {
        let mut out = Vec::new();
        for item in items {
            self.step(at)?;
            let text = match item {
                Item::Place(place) if place.type_id().name() == "Reference" => {
                    place.node().and_then(|n| n.member("reference")).and_then(Node::as_str)
                }
                other => other.string(),
            };
            let inside = match &text {
                Some(text) => self.target(at, item, text)?,
                None => None,
            };
            let found =
                inside.or_else(|| self.context.host.and_then(|h| h.resolve(item, text.as_deref())));
            out.extend(found.map(Item::Place));
        }
        Ok(out)
    }

    fn target(
        &self,
        at: u32,
        item: &Item<'a>,
        reference: &str,
    ) -> Result<Option<Place<'a>>, Error> {
        let mut seen = 0;
        let own = item.place().and_then(|p| p.resources(&mut seen));
        self.spend(at, seen)?;
        let resources = own.or_else(|| self.resources());
        let container = self.context.root_resource.or_else(|| Some(resources?.1));
        if let RefKind::Contained(id) = classify(reference) {
            let Some(node) = container.and_then(|c| c.node()) else { return Ok(None) };
            if id.is_empty() {
                return Ok(container);
            }
            let all = node.member("contained");
            self.spend(at, all.map_or(0, |a| a.items().count()))?;
            let mut all = all.into_iter().flat_map(Node::items);
            let named =
                |n: &Node<'a>| n.member("id").and_then(Node::as_str).is_some_and(|i| i == id);
            return Ok(all.find(named).and_then(Place::resource));
        }
        if let Some(root) = container.and_then(|c| c.node()).map(Node::root) {
            let bundle = Place::resource(root).filter(|p| p.type_id().name() == "Bundle");
            let entries = bundle.and_then(|_| root.member("entry"));
            for entry in entries.into_iter().flat_map(Node::items) {
                self.step(at)?;
                let url = entry.member("fullUrl").and_then(Node::as_str);
                let of = url.is_some_and(|url| match url.strip_suffix(reference) {
                    Some(base) => base.is_empty() || base.ends_with('/'),
                    None => false,
                });
                if of && let Some(place) = entry.member("resource").and_then(Place::resource) {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }
}

fn has_url(extension: &Item<'_>, url: &str) -> bool {
    let node = extension.place().and_then(Place::node);
    node.and_then(|n| n.member("url")).and_then(Node::as_str).is_some_and(|u| u == url)
}

/// Whether a code, Coding or CodeableConcept is in a value set that the tables list.
fn listed(item: &Item<'_>, url: &str) -> Option<bool> {
    let set = value_set(url.split('|').next().unwrap_or_default()).filter(|s| s.listed())?;
    let coding = |node: Node<'_>| {
        let text = |name: &str| node.member(name).and_then(Node::as_str);
        match (text("system"), text("code")) {
            (Some(system), Some(code)) => set.has_coding(&system, &code),
            _ => false,
        }
    };
    match item {
        Item::Place(place) if place.type_id().kind() != TypeKind::Primitive => {
            let node = place.node()?;
            match place.type_id().name() {
                "Coding" | "Quantity" => Some(coding(node)),
                "CodeableConcept" => {
                    let mut all = node.member("coding").into_iter().flat_map(Node::items);
                    Some(all.any(coding))
                }
                _ => None,
            }
        }
        other => other.string().map(|code| set.has_code(&code)),
    }
}
