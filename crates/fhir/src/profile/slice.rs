//! Slices: which items of a list belong to which, and what follows.
//!
//! Source: <https://hl7.org/fhir/R4/profiling.html#slicing>,
//! <https://hl7.org/fhir/R4/profiling.html#discriminator>

use std::borrow::Cow;
use std::sync::Arc;

use super::check::Checker;
use super::structure::{Elem, Rules, Slicing, Structure, Type};
use super::{CORE, values};
use crate::definitions::{Strength, TypeId};
use crate::fhirpath::{Collection, Item, Place};
use crate::issue::{IssueCode, Severity};
use crate::json::Node;
use crate::terminology::{self, Answer, canonical};

/// How deep a discriminator's path may lead through profiles.
const MOST_DEPTH: usize = 8;

impl<'a> Checker<'a> {
    /// The items of an element, or of one slice of it, against its slices.
    pub(super) fn slices(&mut self, parent: &Place<'a>, elem: &Elem, items: &[Place<'a>]) {
        if elem.slices.is_empty() {
            return;
        }
        let slicing = slicing(elem, parent);
        let mut members: Vec<Vec<Place<'a>>> = vec![Vec::new(); elem.slices.len()];
        let (mut last, mut open) = (0, false);
        for item in items {
            let found = elem.slices.iter().position(|s| self.belongs(item, s, &slicing));
            let Some(n) = found else {
                open = true;
                if slicing.rules == Rules::Closed {
                    let text = "this belongs to no slice, and the profile allows nothing else here";
                    self.issue(Severity::Error, IssueCode::Structure, &item.path(), text);
                }
                continue;
            };
            let misplaced =
                slicing.ordered && n < last || open && slicing.rules == Rules::OpenAtEnd;
            if misplaced {
                let text = "the slices are not in the profile's order here";
                self.issue(Severity::Error, IssueCode::Structure, &item.path(), text);
            }
            last = n;
            if let Some(list) = members.get_mut(n) {
                list.push(*item);
            }
        }
        for (slice, items) in elem.slices.iter().zip(&members) {
            self.count(parent, slice, items.len());
            for item in items {
                self.against(item, slice);
            }
            self.slices(parent, slice, items);
        }
    }

    fn belongs(&mut self, item: &Place<'a>, slice: &Elem, slicing: &Slicing) -> bool {
        if slicing.discriminators.is_empty() {
            return self.probe(|c| c.against(item, slice));
        }
        slicing.discriminators.iter().all(|(kind, path)| self.fits(item, slice, kind, path))
    }

    fn fits(&mut self, item: &Place<'a>, slice: &Elem, kind: &str, path: &str) -> bool {
        let steps = steps(path);
        let mut demands = Vec::new();
        self.demands(slice, &steps, &mut demands, 0);
        let nodes: Vec<Place<'a>> = if path == "$this" {
            vec![*item]
        } else {
            self.evaluate(item, path).iter().filter_map(|i| i.place().copied()).collect()
        };
        match kind {
            "exists" => demands.iter().all(|d| match (d.min, d.max) {
                (_, Some(0)) => nodes.is_empty(),
                (Some(1..), _) => !nodes.is_empty(),
                _ => true,
            }),
            "type" => {
                let types: Vec<&Type> = demands.iter().flat_map(|d| &d.types).collect();
                nodes.iter().any(|n| {
                    types.iter().any(|t| TypeId::from_name(&t.code).is_some_and(|ty| n.is(ty)))
                })
            }
            "profile" => {
                let urls: Vec<&str> = demands
                    .iter()
                    .flat_map(|d| &d.types)
                    .flat_map(|t| &t.profiles)
                    .map(|u| &**u)
                    .collect();
                nodes.iter().any(|n| urls.iter().any(|url| self.is_of(n, url)))
            }
            // "value" and "pattern".
            _ => {
                let mut told = false;
                for demand in &demands {
                    if demand.max == Some(0) && !nodes.is_empty() {
                        return false;
                    }
                    let answers: Vec<_> =
                        nodes.iter().map(|n| self.value_fits(n, demand, 0)).collect();
                    if !constrains(demand, 0) {
                        continue;
                    }
                    told = true;
                    if !answers.contains(&Some(true)) {
                        return false;
                    }
                }
                // A discriminator that tells nothing apart: only the whole slice does.
                told || self.probe(|c| c.against(item, slice))
            }
        }
    }

    fn is_of(&mut self, place: &Place<'a>, url: &str) -> bool {
        let (plain, version) = canonical(url);
        if let Some(ty) = plain.strip_prefix(CORE).and_then(TypeId::from_name) {
            return place.is(ty);
        }
        let Some(structure) = self.world.structure(plain, version) else { return false };
        place.node().is_some() && self.probe(|c| c.profile(place, &structure))
    }

    /// What a slice asks of the elements at a path.
    fn demands(&self, elem: &Elem, steps: &[Step<'_>], out: &mut Vec<Elem>, depth: usize) {
        if depth > MOST_DEPTH {
            return;
        }
        let Some((first, rest)) = steps.split_first() else {
            out.push(elem.clone());
            if !constrains(elem, 0) {
                for root in self.roots(elem) {
                    if constrains(&root.root, 0) {
                        out.push(root.root.clone());
                    }
                }
            }
            return;
        };
        let before = out.len();
        match first {
            Step::Name(name) => {
                for c in elem.children.iter().filter(|c| *c.name == **name) {
                    self.demands(c, rest, out, depth + 1);
                    // A list that is sliced again says what it asks in its own slices.
                    if !out.iter().skip(before).any(|d| constrains(d, 0)) {
                        for s in c.slices.iter().filter(|s| s.min.unwrap_or(0) > 0) {
                            self.demands(s, rest, out, depth + 1);
                        }
                    }
                }
                if !out.iter().skip(before).any(|d| constrains(d, 0)) {
                    for root in self.roots(elem) {
                        self.demands(&root.root, steps, out, depth + 1);
                    }
                }
            }
            Step::Type(ty) => {
                let fits = |e: &&Elem| e.types.iter().any(|t| *t.code == **ty);
                match elem.slices.iter().find(fits) {
                    Some(slice) => self.demands(slice, rest, out, depth + 1),
                    None => self.demands(elem, rest, out, depth + 1),
                }
            }
            Step::Extension(url) => {
                for c in elem.children.iter().filter(|c| &*c.name == "extension") {
                    for s in &c.slices {
                        if self.roots(s).iter().any(|r| *r.url == **url) {
                            self.demands(s, rest, out, depth + 1);
                        }
                    }
                }
            }
            Step::Resolve => {
                for url in elem.types.iter().flat_map(|t| &t.targets) {
                    let (plain, version) = canonical(url);
                    let ty = plain.strip_prefix(CORE).filter(|ty| TypeId::from_name(ty).is_some());
                    let (code, profiles) = match ty {
                        Some(ty) => (ty.into(), Vec::new()),
                        None => match self.world.structure(plain, version) {
                            Some(s) => (s.ty.clone(), vec![url.clone()]),
                            None => continue,
                        },
                    };
                    let types = vec![Type { code, profiles, targets: Vec::new() }];
                    self.demands(&Elem { types, ..Elem::default() }, rest, out, depth + 1);
                }
            }
        }
    }

    /// The definitions that an element's types name.
    fn roots(&self, elem: &Elem) -> Vec<Arc<Structure>> {
        let urls = elem.types.iter().flat_map(|t| &t.profiles);
        urls.filter_map(|url| {
            let (plain, version) = canonical(url);
            self.world.structure(plain, version)
        })
        .collect()
    }

    /// Whether an element has the values that are asked for; nothing when none are.
    fn value_fits(&self, place: &Place<'a>, elem: &Elem, depth: usize) -> Option<bool> {
        if depth > MOST_DEPTH {
            return None;
        }
        if let Some(fixed) = &elem.fixed {
            return Some(place.node().is_some_and(|n| values::equal(n, fixed.doc.root())));
        }
        if let Some(pattern) = &elem.pattern {
            return Some(place.node().is_some_and(|n| values::matches(n, pattern.doc.root())));
        }
        let mut answer = None;
        for child in &elem.children {
            let wanted: Vec<&Elem> = std::iter::once(child)
                .chain(child.slices.iter().filter(|s| s.min.unwrap_or(0) > 0))
                .filter(|e| constrains(e, depth + 1))
                .collect();
            for elem in wanted {
                let mut items = Collection::new();
                place.member(&child.name, &mut items);
                let found = items
                    .iter()
                    .filter_map(Item::place)
                    .any(|i| self.value_fits(i, elem, depth + 1) == Some(true));
                answer = Some(answer.unwrap_or(true) && found);
            }
        }
        if answer.is_none()
            && let Some((Strength::Required, url)) = &elem.binding
        {
            return Some(self.bound_to(place, url));
        }
        answer
    }

    fn bound_to(&self, place: &Place<'a>, url: &str) -> bool {
        let (plain, version) = canonical(url);
        let Some(set) = self.world.value_set(plain, version) else { return false };
        let Some(node) = place.node() else { return false };
        let is_in = |system: Option<Cow<'_, str>>, code: &str| {
            terminology::contains(self.world, &set, system.as_deref(), code) == Answer::Yes
        };
        let coding = |n: Node<'a>| {
            let code = n.member("code").and_then(Node::as_str);
            let system = n.member("system").and_then(Node::as_str);
            code.is_some_and(|code| is_in(system, &code))
        };
        if let Some(code) = node.as_str() {
            return is_in(None, &code);
        }
        match node.member("coding") {
            Some(all) => all.items().any(coding),
            None => coding(node),
        }
    }
}

/// Whether an element asks for values, itself or within.
fn constrains(elem: &Elem, depth: usize) -> bool {
    elem.fixed.is_some()
        || elem.pattern.is_some()
        || matches!(elem.binding, Some((Strength::Required, _)))
        || depth < MOST_DEPTH
            && elem.children.iter().any(|c| {
                constrains(c, depth + 1)
                    || c.slices.iter().any(|s| s.min.unwrap_or(0) > 0 && constrains(s, depth + 1))
            })
}

/// How an element is sliced. Extensions always are, by URL; choices by type.
fn slicing<'e>(elem: &'e Elem, parent: &Place<'_>) -> Cow<'e, Slicing> {
    let by = |kind: &str, path: &str| {
        Cow::Owned(Slicing {
            discriminators: vec![(kind.into(), path.into())],
            ordered: false,
            rules: Rules::Open,
        })
    };
    match &elem.slicing {
        Some(slicing) => Cow::Borrowed(slicing),
        None if matches!(&*elem.name, "extension" | "modifierExtension")
            && elem.slice.is_none() =>
        {
            by("value", "url")
        }
        None if parent.type_id().element(&elem.name).is_some_and(|e| e.choice) => {
            by("type", "$this")
        }
        None => Cow::Owned(Slicing { discriminators: vec![], ordered: false, rules: Rules::Open }),
    }
}

/// A step of a discriminator's path: the part of FHIRPath that may stand there.
enum Step<'p> {
    Name(&'p str),
    Type(&'p str),
    Extension(&'p str),
    Resolve,
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let mut out = Vec::new();
    let (mut depth, mut start) = (0usize, 0usize);
    let mut parts = Vec::new();
    for (at, c) in path.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '.' if depth == 0 => {
                parts.push(path.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(path.get(start..).unwrap_or_default());
    for part in parts {
        let argument = |name: &str| {
            let rest = part.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
            Some(rest.trim_matches(['\'', '"']))
        };
        if let Some(ty) = argument("ofType").or_else(|| argument("as")) {
            out.push(Step::Type(ty.strip_prefix("FHIR.").unwrap_or(ty)));
        } else if let Some(url) = argument("extension") {
            out.push(Step::Extension(url));
        } else if part == "resolve()" {
            out.push(Step::Resolve);
        } else if !matches!(part, "$this" | "" | "%resource") {
            out.push(Step::Name(part.trim_end_matches("[x]")));
        }
    }
    out
}
