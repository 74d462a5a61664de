//! Values that a definition fixes, patterns and bounds.
//!
//! Source: <https://hl7.org/fhir/R4/elementdefinition-definitions.html#ElementDefinition.fixed_x_>

use super::structure::Value;
use crate::fhirpath::{Context, Expression, Item, Place};
use crate::json::{Kind, Node};

/// Whether the value is exactly this one, members in any order.
pub(super) fn equal(a: Node<'_>, b: Node<'_>) -> bool {
    if a.kind() != b.kind() {
        return false;
    }
    match a.kind() {
        Kind::Object => {
            a.members().count() == b.members().count()
                && a.members().all(|(n, v)| b.member(n).is_some_and(|w| equal(v, w)))
        }
        Kind::Array => {
            a.items().count() == b.items().count()
                && a.items().zip(b.items()).all(|(v, w)| equal(v, w))
        }
        Kind::String => a.as_str() == b.as_str(),
        // 1.0 is not 1.00: precision is part of a decimal.
        _ => a.text() == b.text(),
    }
}

/// Whether the value has everything that the pattern has.
pub(super) fn matches(value: Node<'_>, pattern: Node<'_>) -> bool {
    match pattern.kind() {
        Kind::Object => {
            value.is_object()
                && pattern.members().all(|(n, p)| value.member(n).is_some_and(|v| matches(v, p)))
        }
        Kind::Array => {
            value.kind() == Kind::Array
                && pattern.items().all(|p| value.items().any(|v| matches(v, p)))
        }
        _ => equal(value, pattern),
    }
}

/// Whether a value is beyond a bound: less than it or, for `upper`, more. Values that can't
/// be compared are not: a date and the time that it may lie away from today neither, since
/// HL7's texts and validator don't say in which direction.
pub(super) fn beyond<'a>(value: &Place<'a>, bound: &'a Value, upper: bool) -> bool {
    let Some(ty) = bound.ty else { return false };
    let op = if upper { '>' } else { '<' };
    let Ok(beyond) = Expression::parse(&format!("%value {op} %bound")) else { return false };
    let bound = Place::of(bound.doc.root(), ty);
    let context = Context {
        variables: vec![
            ("value".into(), vec![Item::from(*value)]),
            ("bound".into(), vec![Item::from(bound)]),
        ],
        ..Context::default()
    };
    beyond.holds(&context, &[Item::from(*value)]).unwrap_or(false)
}
