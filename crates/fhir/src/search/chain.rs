//! What of a FHIRPath tree is a chain: JSON member names from a resource to values of
//! known types, with simple conditions on the way. Chains are what extraction runs on.
//! Whatever is no chain is left to the evaluator, see `super::expression`.
//!
//! A chain is: names, unions, `as` and `ofType`, `[n]` on the first repeating element,
//! `where(resolve() is T)`, `where(e = 'v')`.

use crate::class::json_name;
use crate::definitions::{Element, ResourceType, TypeId, TypeKind};
use crate::fhirpath::{Expr, Function, Kind, Operator, TypeName, TypeTest, Value};

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

/// One step of a chain.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) member: &'static str,
    pub(super) conditions: Vec<Condition>,
    many: bool,
}

/// A chain from the resource to a value.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) hops: Vec<Hop>,
    pub(super) ty: TypeId,
    /// The element that the last member is.
    pub(super) element: Option<&'static Element>,
}

impl Chain {
    /// Whether no element on the way repeats, so that it ends at one value at most.
    pub(super) fn single(&self) -> bool {
        self.hops.iter().all(|h| !h.many)
    }

    /// The resource itself.
    pub(super) fn root(ty: ResourceType) -> Chain {
        Chain { hops: Vec::new(), ty: ty.type_id(), element: None }
    }
}

/// What became of an expression.
#[derive(Debug)]
pub(super) enum Compiled {
    /// It starts at another type and gives nothing here.
    Elsewhere,
    /// It is these chains.
    Chains(Vec<Chain>),
    /// It is `p.exists() and p != false` of these chains.
    Presence(Vec<Chain>),
    /// It is no chain.
    Other,
    /// It names what the type does not have.
    Wrong(String),
}

/// The alternatives of a union, from left to right.
pub(super) fn alternatives(expr: &'static Expr) -> Vec<&'static Expr> {
    match &expr.kind {
        Kind::Binary(Operator::Union, left, right) => {
            let mut all = alternatives(left);
            all.extend(alternatives(right));
            all
        }
        _ => vec![expr],
    }
}

/// Compiles one alternative for resources of type `ty`; names at its start are those of
/// `from`: the resource, or the element of a composite.
pub(super) fn compile(ty: ResourceType, from: &[Chain], expr: &Expr) -> Compiled {
    let compiler = Compiler { ty, from };
    if let Some(path) = presence(expr) {
        return match compiler.chains(path) {
            Ok(Some(chains)) => Compiled::Presence(chains),
            Ok(None) => Compiled::Elsewhere,
            Err(Unfit::Other) => Compiled::Other,
            Err(Unfit::Wrong(why)) => Compiled::Wrong(why),
        };
    }
    match compiler.chains(expr) {
        Ok(Some(chains)) => Compiled::Chains(chains),
        Ok(None) => Compiled::Elsewhere,
        Err(Unfit::Other) => Compiled::Other,
        Err(Unfit::Wrong(why)) => Compiled::Wrong(why),
    }
}

/// Whether an expression starts at `%resource`.
pub(super) fn starts_at_resource(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Variable(name) => &**name == "resource",
        Kind::Member(inner, _) | Kind::Item(inner, _) => starts_at_resource(inner),
        Kind::Type { target: Some(inner), .. } | Kind::Call { target: Some(inner), .. } => {
            starts_at_resource(inner)
        }
        _ => false,
    }
}

/// The `p` of `p.exists() and p != false`.
fn presence(expr: &Expr) -> Option<&Expr> {
    let Kind::Binary(Operator::And, left, right) = &expr.kind else { return None };
    let Kind::Call { target: Some(path), function: Function::Exists, arguments } = &left.kind
    else {
        return None;
    };
    let Kind::Binary(Operator::NotEqual, other, literal) = &right.kind else { return None };
    let is_false = matches!(literal.kind, Kind::Literal(Value::Boolean(false)));
    (arguments.is_empty() && is_false && same_path(path, other)).then_some(&**path)
}

fn same_path(a: &Expr, b: &Expr) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::Name(x), Kind::Name(y)) => x == y,
        (Kind::Member(p, x), Kind::Member(q, y)) => x == y && same_path(p, q),
        _ => false,
    }
}

enum Unfit {
    Other,
    Wrong(String),
}

struct Compiler<'c> {
    ty: ResourceType,
    from: &'c [Chain],
}

impl Compiler<'_> {
    /// The chains of an expression; `None` when it starts at another type.
    fn chains(&self, expr: &Expr) -> Result<Option<Vec<Chain>>, Unfit> {
        let further = |inner: &Expr, step: &dyn Fn(Vec<Chain>) -> Result<Vec<Chain>, Unfit>| {
            self.chains(inner)?.map(step).transpose()
        };
        match &expr.kind {
            Kind::Variable(name) if &**name == "resource" => Ok(Some(vec![Chain::root(self.ty)])),
            Kind::Name(name) => {
                let at_root = self.from.iter().all(|c| c.hops.is_empty());
                let start = TypeId::from_name(name).filter(|_| at_root);
                match start.filter(|s| s.kind() != TypeKind::Primitive) {
                    Some(s) if self.ty.type_id().lineage().any(|t| t == s) => {
                        Ok(Some(self.from.to_vec()))
                    }
                    Some(_) => Ok(None),
                    None => element(self.from, name).map(Some),
                }
            }
            Kind::Member(inner, name) => further(inner, &|chains| element(&chains, name)),
            Kind::Type { target: Some(inner), test: TypeTest::As | TypeTest::OfType, ty } => {
                further(inner, &|chains| cast(chains, *ty))
            }
            Kind::Item(inner, n) => {
                let Kind::Literal(Value::Integer(n)) = n.kind else { return Err(Unfit::Other) };
                further(inner, &|chains| index(chains, n))
            }
            Kind::Call { target: Some(inner), function: Function::Where, arguments } => {
                let [criteria] = arguments.as_slice() else { return Err(Unfit::Other) };
                let condition = condition(criteria).ok_or(Unfit::Other)?;
                further(inner, &|mut chains| {
                    for chain in &mut chains {
                        if !fits(chain, &condition) {
                            return Err(Unfit::Other);
                        }
                        let hop = chain.hops.last_mut().ok_or(Unfit::Other)?;
                        hop.conditions.push(condition.clone());
                    }
                    Ok(chains)
                })
            }
            _ => Err(Unfit::Other),
        }
    }
}

fn condition(criteria: &Expr) -> Option<Condition> {
    match &criteria.kind {
        Kind::Type { target: Some(inner), test: TypeTest::Is, ty } => {
            let Kind::Call { target: None, function: Function::Resolve, .. } = inner.kind else {
                return None;
            };
            Some(Condition::ResolveIs(ty.fhir?.resource()?))
        }
        Kind::Binary(Operator::Equal, left, right) => {
            let (Kind::Name(name), Kind::Literal(Value::String(text))) = (&left.kind, &right.kind)
            else {
                return None;
            };
            Some(Condition::Equals(name.clone(), text.as_ref().into()))
        }
        _ => None,
    }
}

/// Whether the condition asks of the chain's type what it can have.
fn fits(chain: &Chain, condition: &Condition) -> bool {
    match condition {
        Condition::Equals(name, _) => chain.ty.element(name).is_some_and(|e| !e.many && !e.choice),
        Condition::ResolveIs(_) => chain.ty.name() == "Reference",
        Condition::Index(_) => true,
    }
}

/// Every chain one element further; a choice of types becomes a chain each.
fn element(chains: &[Chain], name: &str) -> Result<Vec<Chain>, Unfit> {
    let mut further = Vec::new();
    for chain in chains {
        let Some(element) = chain.ty.element(name) else { continue };
        for ty in element.types {
            let json = json_name(element.name, element.choice, *ty);
            let Some(member) = chain.ty.member(&json) else { continue };
            let mut hops = chain.hops.clone();
            hops.push(Hop { member: member.name, conditions: Vec::new(), many: element.many });
            further.push(Chain { hops, ty: *ty, element: Some(element) });
        }
    }
    if further.is_empty() { Err(Unfit::Wrong(format!("no element {name}"))) } else { Ok(further) }
}

/// The chains that end at the type, as `ofType` has it.
fn cast(mut chains: Vec<Chain>, to: TypeName) -> Result<Vec<Chain>, Unfit> {
    let to = to.fhir.ok_or(Unfit::Other)?;
    chains.retain(|chain| {
        if chain.ty.kind() == TypeKind::Primitive {
            chain.ty == to
        } else {
            chain.ty.lineage().any(|t| t == to)
        }
    });
    if chains.is_empty() {
        return Err(Unfit::Wrong(format!("no element of type {}", to.name())));
    }
    Ok(chains)
}

/// The item of this number: a chain only where no element before it repeats.
fn index(mut chains: Vec<Chain>, n: i32) -> Result<Vec<Chain>, Unfit> {
    let ([chain], Ok(n)) = (chains.as_mut_slice(), usize::try_from(n)) else {
        return Err(Unfit::Other);
    };
    let Some((last, before)) = chain.hops.split_last_mut() else { return Err(Unfit::Other) };
    if before.iter().any(|h| h.many) || !last.conditions.is_empty() {
        return Err(Unfit::Other);
    }
    last.conditions.push(Condition::Index(n));
    Ok(chains)
}
