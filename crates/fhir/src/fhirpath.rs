//! FHIRPath: expressions over resources, for search parameters, invariants, patches and
//! de-identification. An expression is parsed once into one tree and evaluated over a
//! [`crate::Doc`]; what it gives are places in that document, or values.
//!
//! It does no I/O and reads no clock: what lies outside the document (other resources,
//! terminology, profiles, the time) is the caller's to give through [`Context`] and
//! [`Host`]. Every evaluation ends: depth, steps, items and lengths have limits. An error
//! names the place in the expression and never a value.
//!
//! Language: FHIRPath N1 (<https://hl7.org/fhirpath/N1>) with the functions of FHIR R4
//! (<https://hl7.org/fhir/R4/fhirpath.html>) and those later ones that HL7's suite for R4
//! tests. `docs/decisions/0018-one-fhirpath-tree.md` says where texts leave a choice.

mod arithmetic;
mod ast;
mod check;
mod compare;
mod decimal;
mod error;
mod eval;
mod functions;
mod item;
mod lex;
mod moment;
mod parse;
mod units;
mod value;

pub(crate) use ast::{Expr, Function, Kind, Operator, TypeName, TypeTest};
pub use decimal::Decimal;
pub use error::{Error, ErrorKind};
pub use item::{Collection, Item, Place};
pub use moment::{Moment, Precision, Sort, Span};
pub use value::{Measure, Quantity, SystemType, Value};

use crate::definitions::TypeId;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Box<str>,
    root: Expr,
}

impl Expression {
    /// Parses an expression of at most 64 KiB, nested at most 128 deep.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Expression, Error> {
        Ok(Expression { root: parse::parse(text)?, text: text.into() })
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tree.
    pub(crate) fn root(&self) -> &Expr {
        &self.root
    }

    /// Evaluates with `input` as the focus, which is also `%context` and the first
    /// `$this`.
    ///
    /// # Errors
    /// Where the expression asks for what has no meaning, what the caller did not give, or
    /// more than the limits allow.
    pub fn evaluate<'a>(
        &self,
        context: &Context<'a>,
        input: &[Item<'a>],
    ) -> Result<Collection<'a>, Error> {
        eval::evaluate(&self.root, context, input)
    }

    /// Evaluates within what is left of a budget of steps that many expressions share.
    pub(crate) fn evaluate_within<'a>(
        &self,
        context: &Context<'a>,
        input: &[Item<'a>],
        left: &std::cell::Cell<u64>,
    ) -> Result<Collection<'a>, Error> {
        let steps = context.limits.steps.min(left.get());
        let context = Context { limits: Limits { steps, ..context.limits }, ..context.clone() };
        let (found, used) = eval::counted(&self.root, &context, input);
        left.set(left.get().saturating_sub(used));
        found
    }

    /// Evaluates and asks whether that is true: an empty collection is not, a single item
    /// that is no boolean is.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], and when there is more than one item.
    pub fn holds<'a>(&self, context: &Context<'a>, input: &[Item<'a>]) -> Result<bool, Error> {
        let found = self.evaluate(context, input)?;
        eval::singleton_boolean(self.root.at, &found).map(|b| b == Some(true))
    }

    /// Checks the expression for inputs of type `ty`, without any: every element exists
    /// on the type that it is asked of, and nothing takes items by number that have no
    /// order.
    ///
    /// # Errors
    /// The first thing that can't be meant.
    pub fn check(&self, ty: TypeId) -> Result<(), Error> {
        check::check(&self.root, ty)
    }
}

/// Evaluates a part of an expression, as [`Expression::evaluate`] the whole.
pub(crate) fn evaluate<'a>(
    part: &Expr,
    context: &Context<'a>,
    input: &[Item<'a>],
) -> Result<Collection<'a>, Error> {
    eval::evaluate(part, context, input)
}

/// How much an evaluation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Evaluated parts, visited items, compared values; and 16 bytes of text that is made.
    pub steps: u64,
    /// Items of one collection.
    pub items: usize,
    /// Bytes of one text that is made.
    pub text: usize,
}

impl Default for Limits {
    /// 10 million steps, 500,000 items, texts of 4 MiB.
    fn default() -> Self {
        Limits { steps: 10_000_000, items: 500_000, text: 4 << 20 }
    }
}

/// What `as` does with more than one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManyAs {
    /// An error, as FHIRPath has it.
    #[default]
    Error,
    /// It keeps those of the type, as `ofType` does. R4's own search parameters and
    /// invariants were written for this.
    Filter,
}

/// What surrounds an evaluation.
#[derive(Clone, Default)]
pub struct Context<'a> {
    /// `now()`, and from it `today()` and `timeOfDay()`: a date-time with an offset.
    pub now: Option<Moment>,
    /// `%resource`; by default the resource that the input stands in.
    pub resource: Option<Place<'a>>,
    /// `%rootResource`; by default the one that contains that, or else the same.
    pub root_resource: Option<Place<'a>>,
    /// Further variables by name.
    pub variables: Vec<(Box<str>, Collection<'a>)>,
    /// What lies outside the document.
    pub host: Option<&'a dyn Host<'a>>,
    /// How much may be done.
    pub limits: Limits,
    /// What `as` does with more than one item.
    pub many_as: ManyAs,
}

/// What lies outside the document. Each answer may be "not known", which is the default.
pub trait Host<'a> {
    /// What an item points at, when that is not in the document itself: a Reference, or a
    /// canonical or other URL. `url` is its text, if it has one.
    fn resolve(&self, item: &Item<'a>, url: Option<&str>) -> Option<Place<'a>> {
        let _ = (item, url);
        None
    }

    /// Whether a code, Coding or CodeableConcept is in a value set.
    fn member_of(&self, item: &Item<'a>, value_set: &str) -> Option<bool> {
        let _ = (item, value_set);
        None
    }

    /// Whether the first concept is the second or above it.
    fn subsumes(&self, above: &Item<'a>, below: &Item<'a>) -> Option<bool> {
        let _ = (above, below);
        None
    }

    /// Whether an element conforms to the profile of this URL; not asked for R4's types.
    fn conforms_to(&self, item: &Item<'a>, profile: &str) -> Option<bool> {
        let _ = (item, profile);
        None
    }

    /// The ElementDefinition of an element.
    fn element_definition(&self, place: &Place<'a>) -> Option<Place<'a>> {
        let _ = place;
        None
    }

    /// Whether an element is of the slice of this name in a profile.
    fn in_slice(&self, place: &Place<'a>, profile: &str, slice: &str) -> Option<bool> {
        let _ = (place, profile, slice);
        None
    }

    /// Is told of what `trace(name)` sees. What it keeps may be PHI.
    fn trace(&self, name: &str, items: &[Item<'a>]) {
        let _ = (name, items);
    }
}
/// What an amount in one UCUM unit is times, and by, to be one in another. `None` when
/// either is unknown, or they are of two dimensions.
pub(crate) fn unit_factor(from: &str, to: &str) -> Option<(Decimal, Decimal)> {
    let same = from == to;
    let (from, to) = (units::Unit::parse(from)?, units::Unit::parse(to)?);
    // Amounts of no dimension (scores, shares, counts) are the same thing only by name.
    let bare = from.dimensions.iter().all(|d| *d == 0);
    if !from.alike(&to) || bare && !same {
        return None;
    }
    let times = from.factor.0.checked_mul(to.factor.1)?;
    let by = from.factor.1.checked_mul(to.factor.0)?;
    (!times.is_zero() && !by.is_zero()).then_some((times, by))
}
