//! Checks an expression against the tables, without a document: each element must exist
//! on some type that stands before it, and what has no order must not be taken by number.
//! Where types can't be told, it says nothing.

use super::ast::{Expr, Function, Kind, Operator, TypeName, TypeTest};
use super::error::{Error, ErrorKind};
use super::value::SystemType;
use crate::definitions::{TypeId, TypeKind};
use crate::json::path_name;

pub(super) fn check(root: &Expr, ty: TypeId) -> Result<(), Error> {
    let start = Known { types: Some(vec![Ty::Fhir(ty)]), unordered: false };
    Checker { root: start.clone() }.infer(root, &start).map(|_| ())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ty {
    Fhir(TypeId),
    System(SystemType),
}

/// What is known of a collection: its types, when they can be told.
#[derive(Debug, Clone, Default)]
struct Known {
    types: Option<Vec<Ty>>,
    unordered: bool,
}

impl Known {
    fn system(ty: SystemType) -> Known {
        Known { types: Some(vec![Ty::System(ty)]), unordered: false }
    }

    fn and(self, other: Known) -> Known {
        let types = match (self.types, other.types) {
            (Some(mut a), Some(b)) => {
                a.extend(b);
                Some(a)
            }
            _ => None,
        };
        Known { types, unordered: self.unordered || other.unordered }
    }
}

struct Checker {
    root: Known,
}

impl Checker {
    fn infer(&self, e: &Expr, focus: &Known) -> Result<Known, Error> {
        Ok(match &e.kind {
            Kind::Empty => Known { types: Some(Vec::new()), unordered: false },
            Kind::Literal(value) => Known::system(value.system_type()),
            Kind::This => focus.clone(),
            Kind::Index => Known::system(SystemType::Integer),
            Kind::Variable(name) if &**name == "context" => self.root.clone(),
            Kind::Total | Kind::Variable(_) => Known::default(),
            Kind::Name(name) => self.name(e.at, name, focus)?,
            Kind::Member(target, name) => {
                let of = self.infer(target, focus)?;
                member(e.at, name, &of)?
            }
            Kind::Item(target, index) => {
                self.infer(index, focus)?;
                ordered(e.at, self.infer(target, focus)?)?
            }
            Kind::Sign(inner, _) => self.infer(inner, focus)?,
            Kind::Binary(operator, left, right) => {
                let (a, b) = (self.infer(left, focus)?, self.infer(right, focus)?);
                match operator {
                    Operator::Union => a.and(b),
                    Operator::Concatenate => Known::system(SystemType::String),
                    Operator::Add
                    | Operator::Subtract
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Div
                    | Operator::Mod => Known::default(),
                    _ => Known::system(SystemType::Boolean),
                }
            }
            Kind::Type { target, test, ty } => {
                let of = match target {
                    Some(target) => self.infer(target, focus)?,
                    None => focus.clone(),
                };
                if *test == TypeTest::Is {
                    Known::system(SystemType::Boolean)
                } else {
                    cast(of, *ty)
                }
            }
            Kind::Call { target, function, arguments } => {
                let of = match target {
                    Some(target) => self.infer(target, focus)?,
                    None => focus.clone(),
                };
                self.call(e.at, of, *function, arguments, focus)?
            }
        })
    }

    fn name(&self, at: u32, name: &str, focus: &Known) -> Result<Known, Error> {
        let Some(types) = &focus.types else { return Ok(Known::default()) };
        let own = |ty: &Ty| match ty {
            Ty::Fhir(ty) => ty.lineage().any(|t| t.name() == name),
            Ty::System(_) => false,
        };
        if name.starts_with(|c: char| c.is_ascii_uppercase()) && types.iter().any(own) {
            return Ok(focus.clone());
        }
        member(at, name, focus)
    }

    fn call(
        &self,
        at: u32,
        of: Known,
        function: Function,
        arguments: &[Expr],
        focus: &Known,
    ) -> Result<Known, Error> {
        use Function as F;
        let each = matches!(
            function,
            F::Where | F::Select | F::All | F::Exists | F::Repeat | F::Iif | F::Sort | F::Aggregate
        );
        // What repeat() finds is asked again; its types are not followed.
        let inner = if function == F::Repeat { Known::default() } else { of.clone() };
        let inner = Known { unordered: false, ..inner };
        let mut given = Vec::with_capacity(arguments.len());
        for (n, argument) in arguments.iter().enumerate() {
            let traced = function == F::Trace && n == 1;
            given.push(self.infer(argument, if each || traced { &inner } else { focus })?);
        }
        let mut given = given.into_iter();
        Ok(match function {
            F::Where
            | F::Distinct
            | F::Trace
            | F::Exclude
            | F::Intersect
            | F::Sort
            | F::Single
            | F::CheckModifiers
            | F::Slice => of,
            F::First | F::Last | F::Tail | F::Skip | F::Take => ordered(at, of)?,
            F::Select => given.next().unwrap_or_default(),
            F::Union | F::Combine => of.and(given.next().unwrap_or_default()),
            F::Iif => {
                let criterion = given.next().and_then(|k| k.types).unwrap_or_default();
                let text = |ty: &Ty| matches!(ty, Ty::System(t) if *t != SystemType::Boolean);
                if criterion.iter().any(text) {
                    return Err(Error::new(at, ErrorKind::Type("a criterion")));
                }
                let then = given.next().unwrap_or_default();
                match given.next() {
                    Some(otherwise) => then.and(otherwise),
                    None => then,
                }
            }
            F::Children | F::Descendants => Known { types: None, unordered: true },
            F::Extension => member(at, "extension", &of)?,
            F::Repeat
            | F::Aggregate
            | F::Resolve
            | F::ElementDefinition
            | F::GetValue
            | F::LowBoundary
            | F::HighBoundary
            | F::Abs
            | F::Power
            | F::Type => Known::default(),
            F::Count
            | F::Length
            | F::IndexOf
            | F::LastIndexOf
            | F::Precision
            | F::ToInteger
            | F::Ceiling
            | F::Floor
            | F::Truncate => Known::system(SystemType::Integer),
            F::ToDecimal | F::Exp | F::Ln | F::Log | F::Round | F::Sqrt => {
                Known::system(SystemType::Decimal)
            }
            F::ToStringOf
            | F::Substring
            | F::Upper
            | F::Lower
            | F::Replace
            | F::ReplaceMatches
            | F::ToChars
            | F::Trim
            | F::Split
            | F::Join
            | F::Encode
            | F::Decode
            | F::Escape
            | F::Unescape => Known::system(SystemType::String),
            F::ToDate | F::Today => Known::system(SystemType::Date),
            F::ToDateTime | F::Now => Known::system(SystemType::DateTime),
            F::ToTime | F::TimeOfDay => Known::system(SystemType::Time),
            F::ToQuantity => Known::system(SystemType::Quantity),
            _ => Known::system(SystemType::Boolean),
        })
    }
}

fn ordered(at: u32, of: Known) -> Result<Known, Error> {
    if of.unordered { Err(Error::new(at, ErrorKind::Unordered)) } else { Ok(of) }
}

/// The types of an element of any of the types; an error when none has it.
fn member(at: u32, name: &str, of: &Known) -> Result<Known, Error> {
    let unordered = of.unordered;
    let Some(types) = &of.types else { return Ok(Known { types: None, unordered }) };
    let mut found = Vec::new();
    let mut open = types.is_empty();
    for ty in types {
        match ty {
            Ty::Fhir(ty) => {
                // Which resource stands there is not told.
                let any = ty.kind() == TypeKind::Abstract && ty.name().ends_with("Resource");
                match ty.element(name) {
                    Some(element) => found.extend(element.types.iter().map(|t| Ty::Fhir(*t))),
                    None => open |= any,
                }
            }
            Ty::System(SystemType::Type) if matches!(name, "namespace" | "name") => {
                found.push(Ty::System(SystemType::String));
            }
            Ty::System(_) => {}
        }
    }
    if open {
        return Ok(Known { types: None, unordered });
    }
    if found.is_empty() {
        return Err(Error::new(at, ErrorKind::UnknownElement(path_name(name).into())));
    }
    Ok(Known { types: Some(found), unordered })
}

/// The types that are left by `as` and `ofType`.
fn cast(of: Known, to: TypeName) -> Known {
    let mut types: Vec<Ty> = to.fhir.map(Ty::Fhir).into_iter().collect();
    let system = |ty: &Ty| matches!(ty, Ty::System(_));
    if to.fhir.is_none() || of.types.iter().flatten().any(system) {
        types.extend(to.system.map(Ty::System));
    }
    Known { types: Some(types), unordered: of.unordered }
}
