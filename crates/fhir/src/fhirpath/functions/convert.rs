//! Conversions between the `System` types.
//!
//! Source: <https://hl7.org/fhirpath/N1/#conversion>

use std::borrow::Cow;

use super::super::ast::{Expr, Function};
use super::super::decimal::Decimal;
use super::super::error::Error;
use super::super::eval::{Evaluator, Frame, truth};
use super::super::item::{Collection, Item};
use super::super::moment::{Moment, Span};
use super::super::value::{Measure, Quantity, Value};

impl<'a> Evaluator<'a, '_> {
    pub(super) fn convert(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        let Some(value) = self.input(at, items, function)? else { return Ok(Vec::new()) };
        if let Value::String(text) = &value {
            self.make(at, text.len())?;
        }
        let result = match function {
            F::ToBoolean | F::ConvertsToBoolean => to_boolean(&value).map(Value::Boolean),
            F::ToInteger | F::ConvertsToInteger => to_integer(&value).map(Value::Integer),
            F::ToDecimal | F::ConvertsToDecimal => to_decimal(&value).map(Value::Decimal),
            F::ToStringOf | F::ConvertsToString => {
                value.text().map(|t| Value::String(Cow::Owned(t.into_owned())))
            }
            F::ToDate | F::ConvertsToDate => match &value {
                Value::Date(m) | Value::DateTime(m) => Some(Value::Date(m.to_date())),
                Value::String(s) => Moment::date_time(s).map(|m| Value::Date(m.to_date())),
                _ => None,
            },
            F::ToDateTime | F::ConvertsToDateTime => match &value {
                Value::Date(m) | Value::DateTime(m) => Some(Value::DateTime(m.to_date_time())),
                Value::String(s) => Moment::date_time(s).map(Value::DateTime),
                _ => None,
            },
            F::ToTime | F::ConvertsToTime => match &value {
                Value::Time(_) => Some(value.clone()),
                Value::String(s) => Moment::time(s).map(Value::Time),
                _ => None,
            },
            _ => {
                let quantity = to_quantity(&value);
                let quantity = match arguments.first() {
                    Some(unit) => match (self.text(unit, f)?, quantity) {
                        (Some(unit), Some(q)) => q.in_unit(unit),
                        _ => None,
                    },
                    None => quantity,
                };
                quantity.map(Value::Quantity)
            }
        };
        let asked = matches!(
            function,
            F::ConvertsToBoolean
                | F::ConvertsToInteger
                | F::ConvertsToDecimal
                | F::ConvertsToString
                | F::ConvertsToDate
                | F::ConvertsToDateTime
                | F::ConvertsToTime
                | F::ConvertsToQuantity
        );
        if asked {
            return Ok(truth(Some(result.is_some())));
        }
        Ok(result.map(Item::Value).into_iter().collect())
    }
}

fn to_boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Boolean(b) => Some(*b),
        Value::Integer(1) => Some(true),
        Value::Integer(0) => Some(false),
        Value::Decimal(n) if *n == Decimal::ONE => Some(true),
        Value::Decimal(n) if n.is_zero() => Some(false),
        Value::String(s) => match s.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn to_integer(value: &Value<'_>) -> Option<i32> {
    match value {
        Value::Integer(n) => Some(*n),
        Value::Boolean(b) => Some(i32::from(*b)),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

fn to_decimal(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Boolean(b) => Some(Decimal::from(i32::from(*b))),
        Value::String(s) if !s.contains(['e', 'E']) => Decimal::parse(s),
        other => other.number(),
    }
}

fn to_quantity<'a>(value: &Value<'a>) -> Option<Quantity<'a>> {
    match value {
        Value::Quantity(q) => Some(q.clone()),
        Value::Boolean(b) => Some(Quantity::bare(Decimal::from(i32::from(*b)))),
        Value::String(s) => quantity_text(s),
        other => other.number().map(Quantity::bare),
    }
}

/// `4`, `4 days`, `4 'mg'`.
fn quantity_text<'a>(text: &str) -> Option<Quantity<'a>> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.'));
    let (number, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let value = Decimal::parse(number)?;
    let unit = rest.trim_start();
    if rest.is_empty() {
        return Some(Quantity::bare(value));
    }
    if let Some(code) = unit.strip_prefix('\'').and_then(|u| u.strip_suffix('\'')) {
        return Some(Quantity::of(value, Cow::Owned(code.to_owned())));
    }
    if unit.len() == rest.len() {
        return None;
    }
    Some(Quantity { value, measure: Measure::Calendar(Span::from_word(unit)?) })
}
