//! The official FHIRPath expressions, compiled from their trees ([`crate::fhirpath`]):
//! each alternative that is a chain of JSON member names (see [`super::chain`]) goes into
//! one trie for the resource type, so that a resource is gone through once. An alternative
//! that is no chain is evaluated as it is; none of R4's is such, and a test says so.
//!
//! 1,372 of R4's 1,375 parameters have an expression. `_content` and `_text` search by words
//! (see [`super::words`]); no query may use `_query`, nor `near`, whose kind is special. Source: <https://hl7.org/fhir/R4/search.html>

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use phial_base::{ClassSet, DataClass};

use super::chain::{Chain, Compiled, Condition, alternatives, compile, starts_at_resource};
use super::composite::{self, Part};
use super::{ParamId, SearchType, params};
use crate::class::classes_at;
use crate::definitions::{ResourceType, Strength, TypeId, search_params};
use crate::fhirpath::{Error, ErrorKind, Expr, Expression};

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
    /// Whether all that a token parameter reads is of type string.
    folds: HashMap<ParamId, bool>,
    /// Whether a parameter has one value at most.
    single: HashMap<ParamId, bool>,
    /// The code systems of parameters that read codes only, whose system is not written.
    systems: HashMap<ParamId, Option<Vec<&'static str>>>,
    /// Parameters with `p.exists() and p != false`: `false` when nothing is found.
    pub(super) booleans: Vec<ParamId>,
    /// Alternatives that are no chains.
    pub(super) evaluated: Vec<(ParamId, &'static Expr)>,
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

    /// The classes that any parameter reads.
    pub(super) fn all_classes(&self) -> ClassSet {
        self.classes.values().fold(ClassSet::NONE, |all, classes| all.or(*classes))
    }

    /// What references of the parameter may point at, where the elements say so.
    pub(super) fn targets(&self, param: ParamId) -> Option<&BTreeSet<ResourceType>> {
        self.targets.get(&param)?.as_ref()
    }

    /// Whether all that a token parameter reads is of type string.
    pub(super) fn folds(&self, param: ParamId) -> bool {
        self.folds.get(&param).copied().unwrap_or(false)
    }

    /// Whether a resource has one value of the parameter at most.
    pub(super) fn single(&self, param: ParamId) -> bool {
        self.single.get(&param).copied().unwrap_or(false)
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

fn compile_type(ty: ResourceType) -> Program {
    let mut program = Program { places: vec![Place::default()], ..Program::default() };
    for param in params(ty) {
        if param.unsearchable().is_some()
            || param.of_words()
            || matches!(param.code(), "_id" | "_lastUpdated")
        {
            continue;
        }
        match parsed(param) {
            Err(why) => program.failures.push(format!("{ty} {}: {why}", param.code())),
            Ok(parsed) if param.kind() == SearchType::Composite => {
                compile_composite(&mut program, ty, param, parsed);
            }
            Ok(parsed) => compile_plain(&mut program, ty, param, &parsed.whole),
        }
    }
    program
}

/// A parameter's expression and those of a composite's components.
pub(super) struct Parsed {
    pub(super) whole: Expression,
    pub(super) components: Vec<Expression>,
}

/// The trees of a parameter. Each is made once, for all types.
pub(super) fn parsed(param: ParamId) -> &'static Result<Parsed, Error> {
    static PARSED: OnceLock<HashMap<ParamId, Result<Parsed, Error>>> = OnceLock::new();
    let parse = |param: ParamId| {
        let whole = Expression::parse(param.def().expression)?;
        let components = 0..param.def().components.len();
        let components =
            components.map(|at| Expression::parse(&composite::expression(param, at))).collect();
        Ok(Parsed {
            whole,
            components: {
                let all: Result<_, _> = components;
                all?
            },
        })
    };
    let all = PARSED.get_or_init(|| {
        let every = search_params().iter().filter_map(|p| ParamId::from_number(p.number));
        every.map(|p| (p, parse(p))).collect()
    });
    static NONE: Result<Parsed, Error> =
        Err(Error { at: 0, kind: ErrorKind::Syntax("no such parameter") });
    all.get(&param).unwrap_or(&NONE)
}

/// Adds a parameter's expression: alternatives that are chains to the trie, others as they
/// are.
pub(super) fn compile_plain(
    program: &mut Program,
    ty: ResourceType,
    param: ParamId,
    expression: &'static Expression,
) {
    let mut found = 0;
    for part in alternatives(expression.root()) {
        let (chains, boolean) = match compile(ty, &[Chain::root(ty)], part) {
            Compiled::Elsewhere => continue,
            Compiled::Chains(chains) => (chains, false),
            Compiled::Presence(chains) => (chains, true),
            Compiled::Other => {
                found += 1;
                // Which values it will give is not known, and so may be of any class.
                program.classes.insert(param, ClassSet::ALL);
                program.targets.insert(param, None);
                program.single.insert(param, false);
                program.systems.insert(param, None);
                program.evaluated.push((param, part));
                continue;
            }
            Compiled::Wrong(why) => {
                program.failures.push(format!("{ty} {}: {why}", param.code()));
                continue;
            }
        };
        if boolean {
            program.booleans.push(param);
        }
        for chain in chains {
            found += usize::from(add(program, ty, param, chain, boolean, None));
        }
    }
    if found == 0 {
        program.failures.push(format!("{ty} {}: nothing to extract", param.code()));
    }
}

/// Adds the chains of each component, marked with the element that they must share.
fn compile_composite(
    program: &mut Program,
    ty: ResourceType,
    param: ParamId,
    parsed: &'static Parsed,
) {
    let mut found = vec![false; parsed.components.len()];
    let fail = |program: &mut Program, why: &str| {
        program.failures.push(format!("{ty} {}: {why}", param.code()));
    };
    for root in alternatives(parsed.whole.root()) {
        let roots = match compile(ty, &[Chain::root(ty)], root) {
            Compiled::Chains(chains) => chains,
            Compiled::Elsewhere => continue,
            _ => {
                fail(program, "no chain");
                continue;
            }
        };
        let depth = roots.first().map_or(0, |c| c.hops.len());
        for (at, expression) in parsed.components.iter().enumerate() {
            for text in alternatives(expression.root()) {
                let shared = starts_at_resource(text);
                let part = Part {
                    component: u8::try_from(at).unwrap_or(u8::MAX),
                    depth: if shared { None } else { u8::try_from(depth).ok() },
                };
                match compile(ty, &roots, text) {
                    Compiled::Chains(chains) => {
                        for chain in chains {
                            let used = add(program, ty, param, chain, false, Some(part));
                            if let Some(f) = found.get_mut(at) {
                                *f |= used;
                            }
                        }
                    }
                    Compiled::Elsewhere => {}
                    _ => fail(program, "no chain"),
                }
            }
        }
    }
    if !found.iter().all(|f| *f) {
        fail(program, "nothing to extract");
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
    } else if let Some(url) = extension_url(&chain) {
        ClassSet::of(crate::class::extension_class(url))
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

/// The url of the outermost extension that a chain goes through, if it asks for one: all
/// that is in it is of its class.
fn extension_url(chain: &Chain) -> Option<&str> {
    let hop = chain.hops.iter().find(|h| h.member == "extension")?;
    hop.conditions.iter().find_map(|c| match c {
        Condition::Equals(name, url) if &**name == "url" => Some(&**url),
        _ => None,
    })
}

/// Notes what the chain tells about the parameter's targets and systems.
fn learn(program: &mut Program, param: ParamId, chain: &Chain) {
    let string = param.kind() == SearchType::Token && chain.ty.name() == "string";
    let folds = program.folds.entry(param).or_insert(true);
    *folds = *folds && string;
    // Two chains may both have a value.
    let first = !program.single.contains_key(&param);
    program.single.insert(param, first && chain.single());
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
pub(super) fn usable(kind: SearchType, ty: TypeId) -> bool {
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
        assert_eq!(refused, ["Location-near", "Resource-query"]);
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
