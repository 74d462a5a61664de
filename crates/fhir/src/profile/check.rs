//! The check of one resource: R4's invariants, bindings and extensions throughout, then
//! the profiles that are asked for or claimed. Structure and required codes of R4's own
//! types are [`crate::validate`]'s.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::host::Outside;
use super::structure::{Constraint, Elem, Structure};
use super::{CORE, World, invariants, rules, values};
use crate::definitions::{Element, Strength, TypeId, TypeKind};
use crate::fhirpath::{Collection, Context, Item, Limits, ManyAs, Moment, Place};
use crate::issue::{Issue, IssueCode, Severity};
use crate::json::{Doc, Node};
use crate::reference::{RefKind, classify};
use crate::terminology::{NotHeld, canonical};

/// Issues listed at most.
const MOST_ISSUES: usize = 200;
/// What one check may do, in steps of FHIRPath: slices and profiles within profiles can
/// multiply, and a stored definition may ask for anything.
const BUDGET: u64 = 100_000_000;
/// What it costs of that to hold one element against a definition.
const ELEMENT: u64 = 20;
/// Profiles that ask for each other by `conformsTo` in their invariants.
const MOST_NESTED: usize = 3;
/// How deep one profile may ask for another.
const MOST_DEPTH: usize = 12;
/// For one invariant; a resource has thousands.
const LIMITS: Limits = Limits { steps: 2_000_000, items: 100_000, text: 1 << 20 };

/// What a resource is to be checked against beside R4 itself.
#[derive(Default)]
pub struct Asked {
    /// These profiles.
    pub profiles: Vec<Arc<Structure>>,
    /// And those that it, and any resource in it, claims in `meta.profile`.
    pub claimed: bool,
    /// `now()` of invariants.
    pub now: Option<Moment>,
    /// Steps that the check may take; 100 million when nothing is said.
    pub budget: Option<u64>,
}

/// Checks a resource that is JSON. Issues name places, never values; they begin with errors.
#[must_use]
pub fn check(doc: &Doc, asked: &Asked, world: &dyn World) -> Vec<Issue> {
    let Some(root) = Place::resource(doc.root()) else { return Vec::new() };
    let host = Outside { world, left: Cell::new(asked.budget.unwrap_or(BUDGET)), depth: 0 };
    let mut checker = Checker::new(&host, root);
    checker.now = asked.now;
    checker.claimed = asked.claimed;
    checker.walk(&root, &[]);
    for profile in &asked.profiles {
        checker.profile(&root, profile);
    }
    if host.left.get() == 0 {
        let text = "there is too much in this resource to check all of it";
        checker.issues.push(Issue::error(IssueCode::TooCostly, "", text));
    }
    checker.issues.sort_by_key(|i| match i.severity {
        Severity::Fatal | Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Information => 2,
    });
    checker.issues
}

/// Checks a document against R4's types, R4's invariants and bindings, and profiles. Errors
/// first; nothing when all is well.
#[must_use]
pub fn validate(doc: Doc, asked: &Asked, world: &dyn World) -> Vec<Issue> {
    let more = check(&doc, asked, world);
    let mut all = crate::validate(doc).err().unwrap_or_default();
    for issue in more {
        // What two rules find of one place is said once.
        let said = |i: &Issue| i.path == issue.path && i.code == issue.code;
        if issue.severity != Severity::Error || !all.iter().any(said) {
            all.push(issue);
        }
    }
    all
}

/// Whether an element conforms to a profile; nothing when that leads too deep.
pub(super) fn conforms(
    place: &Place<'_>,
    structure: &Structure,
    outer: &Outside<'_>,
) -> Option<bool> {
    if outer.depth >= MOST_NESTED {
        return None;
    }
    let left = Cell::new(outer.left.get());
    let host = Outside { world: outer.world, left, depth: outer.depth + 1 };
    let mut checker = Checker::new(&host, *place);
    checker.depth = MOST_DEPTH / 2;
    checker.profile(place, structure);
    outer.left.set(host.left.get());
    Some(!checker.failed)
}

pub(super) struct Checker<'a> {
    pub(super) world: &'a dyn World,
    pub(super) host: &'a Outside<'a>,
    /// The resource that is walked.
    pub(super) focus: Place<'a>,
    issues: Vec<Issue>,
    /// Whether there was an error, listed or not.
    failed: bool,
    told: BTreeSet<NotHeld>,
    depth: usize,
    claimed: bool,
    now: Option<Moment>,
}

impl<'a> Checker<'a> {
    fn new(host: &'a Outside<'a>, focus: Place<'a>) -> Self {
        Checker {
            world: host.world,
            host,
            focus,
            issues: Vec::new(),
            failed: false,
            told: BTreeSet::new(),
            depth: 0,
            claimed: false,
            now: None,
        }
    }

    pub(super) fn issue(
        &mut self,
        severity: Severity,
        code: IssueCode,
        path: &str,
        text: impl Into<String>,
    ) {
        self.failed |= severity == Severity::Error;
        let full = self.issues.len() >= MOST_ISSUES;
        if full && severity != Severity::Error {
            return;
        }
        let issue = Issue { severity, code, path: path.to_owned(), text: text.into() };
        if self.issues.contains(&issue) {
            return;
        }
        if full {
            // An error is worth more than advice.
            let Some(n) = self.issues.iter().position(|i| i.severity != Severity::Error) else {
                return;
            };
            self.issues.remove(n);
        }
        self.issues.push(issue);
    }

    fn error(&mut self, code: IssueCode, path: &str, text: impl Into<String>) {
        self.issue(Severity::Error, code, path, text);
    }

    /// What can't be checked is said once.
    pub(super) fn unchecked(&mut self, what: &NotHeld, path: &str) {
        if self.told.insert(what.clone()) {
            let text = format!("not checked: {}", what.text());
            self.issue(Severity::Information, IssueCode::Incomplete, path, text);
        }
    }

    fn spend(&mut self) -> bool {
        self.host.left.set(self.host.left.get().saturating_sub(ELEMENT));
        self.host.left.get() > 0
    }

    /// Whether a probe finds no error. What it finds is not told.
    pub(super) fn probe(&mut self, look: impl FnOnce(&mut Checker<'a>)) -> bool {
        if self.depth >= MOST_DEPTH {
            return true;
        }
        let mut other = Checker::new(self.host, self.focus);
        other.depth = self.depth + 1;
        other.now = self.now;
        look(&mut other);
        !other.failed
    }

    // ------------------------------------------------------------ R4 itself

    /// What R4 says of an element that stands at `at` in its type, and of all within it.
    fn walk(&mut self, place: &Place<'a>, at: &[String]) {
        if !self.spend() {
            return;
        }
        let ty = place.type_id();
        let mut done: Vec<&str> = Vec::new();
        let mut names: Vec<&str> = at.iter().map(String::as_str).collect();
        for t in ty.lineage() {
            names.push(t.name());
        }
        for name in names {
            for invariant in invariants::at(name) {
                if !done.contains(&&*invariant.key) {
                    done.push(&invariant.key);
                    self.constraint(place, invariant, None);
                }
            }
        }
        if ty.name() == "Coding" {
            self.coding(place);
        }
        self.rules(place);
        let resource = ty.resource().is_some();
        let outer = self.focus;
        if resource {
            self.focus = *place;
        }
        let object = place.node().filter(|n| n.is_object()).or(place.side());
        let mut seen: Vec<usize> = Vec::new();
        for (name, _) in object.into_iter().flat_map(Node::members) {
            let plain = name.strip_prefix('_').unwrap_or(name);
            let Some(member) = ty.member(plain) else { continue };
            let element = member.element();
            if seen.contains(&element.id.index()) {
                continue;
            }
            seen.push(element.id.index());
            let mut items = Collection::new();
            place.member(element.name, &mut items);
            for item in items.iter().filter_map(Item::place) {
                self.element(item, element, place, at);
            }
        }
        if resource {
            if self.claimed {
                self.claims(place);
            }
            self.focus = outer;
        }
    }

    fn element(&mut self, item: &Place<'a>, element: &Element, owner: &Place<'a>, at: &[String]) {
        if let Some(b) = element.binding {
            // The other required ones were checked with the structure.
            let primitive = item.type_id().kind() == TypeKind::Primitive;
            let checked = primitive && b.set().listed() && item.node().is_some();
            if b.strength != Strength::Required || !checked {
                self.binding(item, b.strength, b.set().url);
            }
        }
        if item.type_id().name() == "Extension" {
            let mut here: Vec<String> = at.to_vec();
            here.extend(owner.type_id().lineage().map(|t| t.name().to_owned()));
            self.extension(item, owner, &here, element.name == "modifierExtension");
        }
        let mut paths: Vec<String> = Vec::new();
        for t in owner.type_id().lineage() {
            let x = if element.choice { "[x]" } else { "" };
            paths.push(format!("{}.{}{x}", t.name(), element.name));
        }
        self.walk(item, &paths);
    }

    fn claims(&mut self, place: &Place<'a>) {
        if place.type_id().name() == "Observation"
            && let Some(name) = place.node().and_then(rules::vital_sign)
            && let Some(structure) = self.world.structure(&format!("{CORE}{name}"), None)
        {
            self.profile(place, &structure);
        }
        let meta = place.node().and_then(|n| n.member("meta")).and_then(|m| m.member("profile"));
        for (n, url) in meta.into_iter().flat_map(Node::items).enumerate() {
            let Some(url) = url.as_str() else { continue };
            let (plain, version) = canonical(&url);
            let path = || format!("{}.meta.profile[{n}]", place.path());
            if let Some(name) = plain.strip_prefix(CORE)
                && let Some(ty) = TypeId::from_name(name)
            {
                if !place.is(ty) {
                    self.error(IssueCode::Structure, &path(), "this profile is of another type");
                }
                continue;
            }
            match self.world.structure(plain, version) {
                Some(structure) => self.profile(place, &structure),
                None => {
                    let text = "this profile is not held here: it was not checked";
                    self.issue(Severity::Warning, IssueCode::Incomplete, &path(), text);
                }
            }
        }
    }

    // ------------------------------------------------------------ profiles

    pub(super) fn profile(&mut self, place: &Place<'a>, structure: &Structure) {
        let is = TypeId::from_name(&structure.ty).is_none_or(|ty| place.is(ty));
        if !is {
            self.error(IssueCode::Structure, &place.path(), "the profile is of another type");
            return;
        }
        self.against(place, &structure.root);
    }

    /// An element against what a definition asks of it.
    pub(super) fn against(&mut self, place: &Place<'a>, elem: &Elem) {
        self.against_within(place, elem, None);
    }

    fn against_within(
        &mut self,
        place: &Place<'a>,
        elem: &Elem,
        within: Option<(Place<'a>, Place<'a>)>,
    ) {
        if !self.spend() {
            return;
        }
        self.of_types(place, elem);
        // What has no value has nothing to compare: a primitive with extensions alone.
        if let Some(node) = place.node() {
            if elem.fixed.as_ref().is_some_and(|f| !values::equal(node, f.doc.root())) {
                self.error(
                    IssueCode::Value,
                    &place.path(),
                    "this is not the value that the profile fixes",
                );
            }
            if elem.pattern.as_ref().is_some_and(|p| !values::matches(node, p.doc.root())) {
                self.error(
                    IssueCode::Value,
                    &place.path(),
                    "this does not fit the profile's pattern",
                );
            }
            let length = node.as_str().map(|s| s.chars().count());
            if elem.max_length.zip(length).is_some_and(|(most, length)| length > most) {
                self.error(
                    IssueCode::TooLong,
                    &place.path(),
                    "this is longer than the profile allows",
                );
            }
            self.bounds(place, elem);
        } else if elem.fixed.is_some() || elem.pattern.is_some() {
            self.error(IssueCode::Value, &place.path(), "the profile asks for a value here");
        }
        if let Some((strength, url)) = &elem.binding {
            self.binding(place, *strength, url);
        }
        for constraint in &elem.constraints {
            self.constraint(place, constraint, within);
        }
        for child in &elem.children {
            self.child(place, child);
        }
    }

    fn bounds(&mut self, place: &Place<'a>, elem: &Elem) {
        let beyond = |bound: &Option<super::structure::Value>, upper| {
            bound.as_ref().is_some_and(|b| values::beyond(place, b, upper))
        };
        let low = beyond(&elem.least, false);
        if low || beyond(&elem.most, true) {
            let text = if low {
                "this is less than the profile allows"
            } else {
                "this is more than the profile allows"
            };
            self.error(IssueCode::Value, &place.path(), text);
        }
    }

    fn child(&mut self, place: &Place<'a>, child: &Elem) {
        let mut items = Collection::new();
        place.member(&child.name, &mut items);
        let items: Vec<Place<'a>> = items.iter().filter_map(|i| i.place().copied()).collect();
        self.count(place, child, items.len());
        for item in &items {
            // To what a Bundle says of its entries, the Bundle is the resource.
            let resource = item.type_id().resource().is_some();
            let around = if resource { place.resources(&mut 0) } else { None };
            self.against_within(item, child, around);
        }
        self.slices(place, child, &items);
    }

    /// How often an element or slice is there.
    pub(super) fn count(&mut self, parent: &Place<'a>, elem: &Elem, count: usize) {
        let least = elem.min.is_some_and(|min| count < min);
        let most = elem.max.is_some_and(|max| count > max);
        if !least && !most {
            return;
        }
        let path = format!("{}.{}", parent.path(), elem.name);
        let what = match &elem.slice {
            Some(slice) => format!("the slice {slice}"),
            None => "this element".to_owned(),
        };
        if least {
            let min = elem.min.unwrap_or(0);
            let text = format!(
                "the profile asks for {what} at least {min} times, it is there {count} times"
            );
            self.error(IssueCode::Required, &path, text);
        } else {
            let max = elem.max.unwrap_or(0);
            let text =
                format!("the profile allows {what} at most {max} times, it is there {count} times");
            self.error(IssueCode::Structure, &path, text);
        }
    }

    /// Types, profiles on them, and what references may point at.
    fn of_types(&mut self, place: &Place<'a>, elem: &Elem) {
        if elem.types.is_empty() {
            return;
        }
        let fits = |code: &str| TypeId::from_name(code).is_none_or(|ty| place.is(ty));
        let types: Vec<_> = elem.types.iter().filter(|t| fits(&t.code)).collect();
        if types.is_empty() {
            self.error(
                IssueCode::Structure,
                &place.path(),
                "the profile does not allow this type here",
            );
            return;
        }
        // Each type with a profile is one way; one of them is enough.
        if self.depth < MOST_DEPTH && types.iter().all(|t| !t.profiles.is_empty()) {
            let mut known = Vec::new();
            for url in types.iter().flat_map(|t| &t.profiles) {
                let (plain, version) = canonical(url);
                match self.world.structure(plain, version) {
                    Some(structure) => known.push(structure),
                    // Anything may conform to what is not held.
                    None => return,
                }
            }
            if let [only] = known.as_slice() {
                let only = Arc::clone(only);
                self.depth += 1;
                self.profile(place, &only);
                self.depth -= 1;
            } else if !known.iter().any(|s| self.probe(|c| c.profile(place, s))) {
                let text = "this conforms to none of the profiles that are allowed here";
                self.error(IssueCode::Structure, &place.path(), text);
            }
        }
        if place.type_id().name() == "Reference" {
            let targets: Vec<Box<str>> =
                types.iter().flat_map(|t| t.targets.iter().cloned()).collect();
            self.targets(place, &targets);
        }
    }

    fn targets(&mut self, place: &Place<'a>, targets: &[Box<str>]) {
        if targets.is_empty() {
            return;
        }
        let Some(target) = self.target(place) else { return };
        let mut unknown = false;
        for url in targets {
            let (plain, version) = canonical(url);
            if let Some(ty) = plain.strip_prefix(CORE).and_then(TypeId::from_name) {
                if target.is(ty) {
                    return;
                }
                continue;
            }
            match self.world.structure(plain, version) {
                Some(structure) => {
                    if !TypeId::from_name(&structure.ty).is_none_or(|ty| target.is(ty)) {
                        continue;
                    }
                    // A record elsewhere is not fetched: of it only the type is known.
                    if target.node().is_none() || self.probe(|c| c.profile(&target, &structure)) {
                        return;
                    }
                }
                None => unknown = true,
            }
        }
        if !unknown {
            let text = "what this refers to is not what the profile allows";
            self.error(IssueCode::Structure, &place.path(), text);
        }
    }

    /// What a reference points at: in this document, or only its type.
    fn target(&self, place: &Place<'a>) -> Option<Place<'a>> {
        let found = self.evaluate(place, "resolve()");
        let found = found.iter().find_map(|i| i.place().copied());
        if found.is_some() {
            return found;
        }
        let node = place.node()?;
        let ty = node.member("type").and_then(Node::as_str);
        if let Some(ty) = ty.and_then(|t| crate::ResourceType::from_name(&t)) {
            return Some(Place::unseen(ty));
        }
        match classify(&node.member("reference")?.as_str()?) {
            RefKind::Relative { type_, .. } | RefKind::Conditional { type_, .. } => {
                Some(Place::unseen(type_))
            }
            _ => None,
        }
    }

    /// A path of a definition on an element; nothing when it can't be evaluated.
    pub(super) fn evaluate(&self, place: &Place<'a>, path: &str) -> Vec<Item<'a>> {
        let Ok(expression) = crate::fhirpath::Expression::parse(path) else { return Vec::new() };
        let context = self.context();
        let left = &self.host.left;
        expression.evaluate_within(&context, &[Item::from(*place)], left).unwrap_or_default()
    }

    fn context(&self) -> Context<'a> {
        Context {
            host: Some(self.host),
            many_as: ManyAs::Filter,
            limits: LIMITS,
            now: self.now,
            ..Context::default()
        }
    }

    /// `within` is `%resource` and `%rootResource`, where they are not those of the place.
    fn constraint(
        &mut self,
        place: &Place<'a>,
        constraint: &Constraint,
        within: Option<(Place<'a>, Place<'a>)>,
    ) {
        let key = &constraint.key;
        let severity = if constraint.error { Severity::Error } else { Severity::Warning };
        let held = constraint.expression.as_ref().map(|expression| {
            let (resource, root_resource) = within.unzip();
            let context = Context { resource, root_resource, ..self.context() };
            let left = &self.host.left;
            let found = expression.evaluate_within(&context, &[Item::from(*place)], left);
            found.map(|all| match all.as_slice() {
                [one] => one.boolean().unwrap_or(true),
                // What it asks of is not there: there is nothing that it does not hold for.
                _ => true,
            })
        });
        match held {
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                self.issue(
                    severity,
                    IssueCode::Invariant,
                    &place.path(),
                    format!("the invariant {key} does not hold"),
                );
            }
            Some(Err(_)) | None => {
                let text = format!("not checked: the invariant {key} can't be evaluated here");
                self.issue(Severity::Information, IssueCode::Incomplete, &place.path(), text);
            }
        }
    }
}
