//! The official FHIRPath expressions, compiled: each alternative becomes a chain of JSON
//! member names that ends at a value of a known type, and all chains of a resource type
//! share one trie, so that a resource is gone through once.
//!
//! Understood is the part of FHIRPath that the official expressions use: paths, unions,
//! `as` in both spellings, `[n]`, `where(resolve() is T)`, `where(e='v')`, and
//! `p.exists() and p != false`. Anything else fails to compile, and a test says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use phial_base::{ClassSet, DataClass};

use super::composite::{self, Part};
use super::{ParamId, SearchType, params};
use crate::class::{classes_at, json_name};
use crate::definitions::{Element, ResourceType, Strength, TypeId};

/// A condition on the item that a member leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// A reference to a resource of this type.
    ResolveIs(ResourceType),
    /// An object with a member of this name and text.
    Equals(Box<str>, Box<str>),
    /// The item of this number.
    Index(usize),
}

/// What is done with the value at the end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// The value, by its type.
    Value(TypeId),
    /// Whether it is there and not `false`, as a boolean.
    ThereAndTrue,
}

/// A chain that ends here.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) param: ParamId,
    pub(super) kind: SearchType,
    pub(super) take: Take,
    pub(super) conditions: Vec<Condition>,
    /// That the value is one part of a composite, `param`; `kind` is the part's.
    pub(super) part: Option<Part>,
}

/// A member that some chain goes through.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) member: &'static str,
    pub(super) conditions: Vec<Condition>,
    pub(super) to: usize,
}

/// A place in a resource that some chain reaches.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) edges: Vec<Edge>,
    pub(super) ends: Vec<End>,
}

/// All that is extracted from resources of one type.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The first is the resource itself.
    pub(super) places: Vec<Place>,
    classes: HashMap<ParamId, ClassSet>,
    /// Of composites: the classes of each component.
    parts: HashMap<ParamId, Vec<ClassSet>>,
    /// What references of a parameter may point at; nothing when that is open.
    targets: HashMap<ParamId, Option<BTreeSet<ResourceType>>>,
    /// The code systems of parameters that read codes only, whose system is not written.
    systems: HashMap<ParamId, Option<Vec<&'static str>>>,
    /// Parameters with `p.exists() and p != false`: `false` when nothing is found.
    pub(super) booleans: Vec<ParamId>,
    /// What did not compile. Empty, or a test fails.
    pub(super) failures: Vec<String>,
}

impl Program {
    pub(super) fn classes(&self, param: ParamId) -> ClassSet {
        self.classes.get(&param).copied().unwrap_or(ClassSet::NONE)
    }

    /// The classes of each component of a composite.
    pub(super) fn parts(&self, param: ParamId) -> &[ClassSet] {
        self.parts.get(&param).map_or(&[], Vec::as_slice)
    }

    /// What references of the parameter may point at, where the elements say so.
    pub(super) fn targets(&self, param: ParamId) -> Option<&BTreeSet<ResourceType>> {
        self.targets.get(&param)?.as_ref()
    }

    /// The systems that the parameter's codes are of without saying so.
    pub(super) fn systems(&self, param: ParamId) -> &[&'static str] {
        self.systems.get(&param).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// The program for resources of type `ty`.
pub(super) fn programs(ty: ResourceType) -> &'static Program {
    static PROGRAMS: OnceLock<(Vec<Program>, Program)> = OnceLock::new();
    let (programs, none) = PROGRAMS
        .get_or_init(|| (ResourceType::all().map(compile_type).collect(), Program::default()));
    programs.get(usize::from(ty.number())).unwrap_or(none)
}

/// One step of a chain.
#[derive(Debug, Clone)]
struct Hop {
    member: &'static str,
    conditions: Vec<Condition>,
}

/// A chain from the resource to a value.
#[derive(Debug, Clone)]
struct Chain {
    hops: Vec<Hop>,
    ty: TypeId,
    /// The element that the last member is.
    element: Option<&'static Element>,
}

fn compile_type(ty: ResourceType) -> Program {
    let mut program = Program { places: vec![Place::default()], ..Program::default() };
    for param in params(ty) {
        if param.unsearchable().is_some() || matches!(param.code(), "_id" | "_lastUpdated") {
            continue;
        }
        if param.kind() == SearchType::Composite {
            compile_composite(&mut program, ty, param);
            continue;
        }
        let mut found = 0;
        for part in split_outside(param.def().expression, '|') {
            match compile(ty, part.trim()) {
                Ok(None) => {}
                Ok(Some((chains, boolean))) => {
                    if boolean {
                        program.booleans.push(param);
                    }
                    for chain in chains {
                        found += usize::from(add(&mut program, ty, param, chain, boolean, None));
                    }
                }
                Err(why) => program.failures.push(format!("{ty} {}: {why}", param.code())),
            }
        }
        if found == 0 {
            program.failures.push(format!("{ty} {}: nothing to extract", param.code()));
        }
    }
    program
}

/// Adds the chains of each component, marked with the element that they must share.
fn compile_composite(program: &mut Program, ty: ResourceType, param: ParamId) {
    let mut found = vec![false; param.def().components.len()];
    for root in split_outside(param.def().expression, '|') {
        let depth = match compile(ty, root.trim()) {
            Ok(None) => continue,
            Ok(Some((chains, _))) => chains.first().map_or(0, |c| c.hops.len()),
            Err(why) => {
                program.failures.push(format!("{ty} {}: {why}", param.code()));
                continue;
            }
        };
        for at in 0..param.def().components.len() {
            for text in split_outside(composite::expression(param, at), '|') {
                let (text, part) = composite::full(ty, root.trim(), text.trim(), at, depth);
                match compile(ty, &text) {
                    Ok(None) => {}
                    Ok(Some((chains, _))) => {
                        for chain in chains {
                            let used = add(program, ty, param, chain, false, Some(part));
                            if let Some(f) = found.get_mut(at) {
                                *f |= used;
                            }
                        }
                    }
                    Err(why) => program.failures.push(format!("{ty} {}: {why}", param.code())),
                }
            }
        }
    }
    if !found.iter().all(|f| *f) {
        program.failures.push(format!("{ty} {}: nothing to extract", param.code()));
    }
}

/// Adds a chain to the trie, unless its values are of no use to the parameter's kind.
fn add(
    program: &mut Program,
    ty: ResourceType,
    param: ParamId,
    chain: Chain,
    boolean: bool,
    part: Option<Part>,
) -> bool {
    let kind = match part {
        Some(part) => composite::kind(param, part),
        None => param.kind(),
    };
    if !boolean && !usable(kind, chain.ty) {
        return false;
    }
    let mut names: Vec<&str> = chain.hops.iter().map(|h| h.member).collect();
    // Only what is read of the value counts.
    let read = match chain.ty.name() {
        "Reference" => &["reference"][..],
        "CodeableConcept" => &["coding", "code"],
        _ => &[],
    };
    names.extend(read);
    let found = if chain.ty.name() == "Resource" {
        ClassSet::of(DataClass::Administrative)
    } else {
        classes_at(ty, &names)
    };
    let classes = program.classes.entry(param).or_insert(ClassSet::NONE);
    *classes = classes.or(found);
    if let Some(part) = part {
        let count = param.def().components.len();
        let parts = program.parts.entry(param).or_insert_with(|| vec![ClassSet::NONE; count]);
        if let Some(classes) = parts.get_mut(usize::from(part.component)) {
            *classes = classes.or(found);
        }
    } else {
        learn(program, param, &chain);
    }
    let mut at = 0;
    let mut conditions = Vec::new();
    let count = chain.hops.len();
    for (n, hop) in chain.hops.into_iter().enumerate() {
        let last = n + 1 == count;
        // Conditions on the last item go with the end, so that chains share the edge.
        let on_edge = if last {
            conditions = hop.conditions;
            Vec::new()
        } else {
            hop.conditions
        };
        let fresh = program.places.len();
        let Some(place) = program.places.get_mut(at) else { return false };
        let known = place.edges.iter().find(|e| e.member == hop.member && e.conditions == on_edge);
        at = if let Some(edge) = known {
            edge.to
        } else {
            place.edges.push(Edge { member: hop.member, conditions: on_edge, to: fresh });
            program.places.push(Place::default());
            fresh
        };
    }
    let take = if boolean { Take::ThereAndTrue } else { Take::Value(chain.ty) };
    if let Some(place) = program.places.get_mut(at) {
        place.ends.push(End { param, kind, take, conditions, part });
    }
    true
}

/// Notes what the chain tells about the parameter's targets and systems.
fn learn(program: &mut Program, param: ParamId, chain: &Chain) {
    let resolve = chain.hops.last().into_iter().flat_map(|h| &h.conditions).find_map(|c| match c {
        Condition::ResolveIs(ty) => Some(*ty),
        _ => None,
    });
    let targets: &[ResourceType] = match &resolve {
        Some(ty) => std::slice::from_ref(ty),
        None => chain.element.map_or(&[], |e| e.targets),
    };
    let all = program.targets.entry(param).or_insert_with(|| Some(BTreeSet::new()));
    if targets.is_empty() {
        *all = None;
    } else if let Some(all) = all {
        all.extend(targets);
    }
    let set = chain.element.and_then(|e| e.binding).filter(|b| b.strength == Strength::Required);
    let implied: Vec<&'static str> = match set {
        Some(binding) if chain.ty.name() == "code" => {
            binding.set().systems.iter().map(|(s, _)| *s).collect()
        }
        _ => Vec::new(),
    };
    let all = program.systems.entry(param).or_insert_with(|| Some(Vec::new()));
    if implied.is_empty() {
        *all = None;
    } else if let Some(all) = all {
        all.extend(implied);
    }
}

/// Whether values of the type mean something to the kind of parameter (the table at
/// <https://hl7.org/fhir/R4/search.html#ptypes>).
fn usable(kind: SearchType, ty: TypeId) -> bool {
    let name = ty.name();
    let text = ty.lineage().any(|t| matches!(t.name(), "string" | "uri"));
    match kind {
        SearchType::Token => {
            text || matches!(
                name,
                "Coding" | "CodeableConcept" | "Identifier" | "ContactPoint" | "boolean" | "id"
            )
        }
        SearchType::Date => matches!(name, "date" | "dateTime" | "instant" | "Period" | "Timing"),
        SearchType::String => text || matches!(name, "HumanName" | "Address"),
        SearchType::Reference => {
            name == "Reference" || name == "Resource" || ty.lineage().any(|t| t.name() == "uri")
        }
        SearchType::Quantity => {
            matches!(name, "Money" | "Range") || ty.lineage().any(|t| t.name() == "Quantity")
        }
        SearchType::Number => ty.lineage().any(|t| matches!(t.name(), "integer" | "decimal")),
        SearchType::Uri => ty.lineage().any(|t| t.name() == "uri"),
        SearchType::Composite | SearchType::Special => false,
    }
}

/// Splits at a character that is outside brackets and quotes.
fn split_outside(text: &str, at: char) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0_u32, false, 0);
    let mut parts = Vec::new();
    for (i, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            c if c == at && depth == 0 && !quoted => {
                parts.extend(text.get(start..i));
                start = i + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// The chains of one alternative and whether it is a presence test. `None` when the
/// alternative starts at another type.
fn compile(ty: ResourceType, text: &str) -> Result<Option<(Vec<Chain>, bool)>, String> {
    if let Some((left, right)) = text.split_once(" and ") {
        let path = left.trim().strip_suffix(".exists()").ok_or("unknown condition")?;
        if right.trim().strip_suffix(" != false") != Some(path) {
            return Err("unknown condition".to_owned());
        }
        return Ok(path_of(ty, path)?.map(|chains| (chains, true)));
    }
    Ok(path_of(ty, text)?.map(|chains| (chains, false)))
}

fn path_of(ty: ResourceType, text: &str) -> Result<Option<Vec<Chain>>, String> {
    // `(p as T).rest` and `(p as T)` are `p.as(T).rest`.
    let mut text = text.to_owned();
    while let Some(inner) = text.strip_prefix('(') {
        let close = inner.find(')').ok_or("unclosed bracket")?;
        let (inside, rest) = inner.split_at_checked(close).ok_or("unclosed bracket")?;
        let (path, cast) = inside.split_once(" as ").ok_or("unknown bracket")?;
        let rest = rest.strip_prefix(')').unwrap_or_default();
        text = format!("{path}.as({}){rest}", cast.trim());
    }
    if let Some((path, cast)) = text.split_once(" as ") {
        text = format!("{}.as({})", path.trim(), cast.trim());
    }
    let mut steps = split_outside(&text, '.').into_iter().map(str::trim);
    let mut chains = vec![Chain { hops: Vec::new(), ty: ty.type_id(), element: None }];
    let start = steps.next().unwrap_or_default();
    if start.starts_with(|c: char| c.is_ascii_uppercase()) {
        let start = TypeId::from_name(start).ok_or_else(|| format!("no type {start}"))?;
        if !ty.type_id().lineage().any(|t| t == start) {
            return Ok(None);
        }
    } else {
        // One expression leaves the type out: `name | alias`.
        chains = element(&chains, start, None, None)?;
    }
    let mut steps = steps.peekable();
    while let Some(step) = steps.next() {
        if let Some(condition) = call(step, "where") {
            let condition = where_clause(condition)?;
            for hop in chains.iter_mut().filter_map(|c| c.hops.last_mut()) {
                hop.conditions.push(condition.clone());
            }
            continue;
        }
        let (name, index) = match step.strip_suffix(']').and_then(|s| s.split_once('[')) {
            Some((name, n)) => (name, Some(n.parse().map_err(|_| "bad index")?)),
            None => (step, None),
        };
        let cast = steps.peek().and_then(|s| call(s, "as").or_else(|| call(s, "ofType")));
        let cast = match cast {
            Some(cast) => {
                steps.next();
                Some(TypeId::from_name(cast).ok_or_else(|| format!("no type {cast}"))?)
            }
            None => None,
        };
        chains = element(&chains, name, cast, index)?;
    }
    Ok(Some(chains))
}

fn call<'a>(step: &'a str, function: &str) -> Option<&'a str> {
    step.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')
}

fn where_clause(text: &str) -> Result<Condition, String> {
    if let Some(ty) = text.strip_prefix("resolve() is ") {
        let ty = ResourceType::from_name(ty.trim()).ok_or("no such resource type")?;
        return Ok(Condition::ResolveIs(ty));
    }
    let (name, value) = text.split_once('=').ok_or("unknown condition")?;
    let value = value.trim().strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    Ok(Condition::Equals(name.trim().into(), value.ok_or("unknown condition")?.into()))
}

/// Every chain one element further; a choice of types becomes a chain each.
fn element(
    chains: &[Chain],
    name: &str,
    cast: Option<TypeId>,
    index: Option<usize>,
) -> Result<Vec<Chain>, String> {
    let mut further = Vec::new();
    for chain in chains {
        let Some(element) = chain.ty.element(name) else { continue };
        for ty in element.types {
            if cast.is_some_and(|c| !ty.lineage().any(|t| t == c)) {
                continue;
            }
            let json = json_name(element.name, element.choice, *ty);
            let Some(member) = chain.ty.member(&json) else { continue };
            let mut hops = chain.hops.clone();
            let conditions = index.map(Condition::Index).into_iter().collect();
            hops.push(Hop { member: member.name, conditions });
            further.push(Chain { hops, ty: *ty, element: Some(element) });
        }
    }
    if further.is_empty() { Err(format!("no element {name}")) } else { Ok(further) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::search_params;

    #[test]
    fn every_official_expression_compiles() {
        let failures: Vec<&String> =
            ResourceType::all().flat_map(|t| &programs(t).failures).collect();
        assert_eq!(failures, Vec::<&String>::new());
    }

    #[test]
    fn what_no_query_can_use_is_named_with_its_reason() {
        let mut refused: Vec<String> = Vec::new();
        for def in search_params() {
            let param = ParamId::from_number(def.number).unwrap();
            if param.unsearchable().is_some() {
                refused.push(def.url.to_owned());
            }
        }
        refused.sort();
        assert_eq!(
            refused,
            ["DomainResource-text", "Location-near", "Resource-content", "Resource-query"]
        );
    }

    #[test]
    fn classes_follow_the_elements_that_are_read() {
        use phial_base::DataClass::*;
        let of = |t: &str, code: &str| {
            let ty = ResourceType::from_name(t).unwrap();
            super::super::param(ty, code).unwrap().classes(ty).iter().collect::<Vec<_>>()
        };
        assert_eq!(of("Condition", "code"), [Clinical]);
        assert_eq!(of("Condition", "patient"), of("Observation", "patient"));
        assert_eq!(of("Patient", "identifier"), [Identifier, GovernmentIdentifier]);
        assert_eq!(of("Patient", "family"), [Demographic]);
        assert_eq!(of("Patient", "phone"), [Contact]);
        assert_eq!(of("Observation", "combo-code"), [Laboratory]);
        assert_eq!(of("Observation", "date"), [Administrative]);
        assert_eq!(of("Patient", "_tag"), [Administrative]);
        assert_eq!(of("Appointment", "date"), [Scheduling]);
    }
}
