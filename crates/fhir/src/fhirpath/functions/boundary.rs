//! What a value may be at least and at most, given how precisely it is known.
//!
//! Source: <https://hl7.org/fhirpath/#lowboundaryprecision-integer-decimal--date--datetime--time>

use super::super::ast::{Expr, Function};
use super::super::decimal::Decimal;
use super::super::error::{Error, ErrorKind};
use super::super::eval::{Evaluator, Frame, one, truth};
use super::super::item::{Collection, Item};
use super::super::moment::{Moment, Sort};
use super::super::value::{Quantity, Value};

/// The most digits after the point of a boundary.
const MAX_DIGITS: i32 = 28;

impl<'a> Evaluator<'a, '_> {
    pub(super) fn boundaries(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let wrong = || Error::new(at, ErrorKind::Type(function.name()));
        let Some(value) = self.input(at, items, function)? else { return Ok(Vec::new()) };
        match function {
            Function::Comparable => {
                let Value::Quantity(q) = &value else { return Err(wrong()) };
                let Some(argument) = arguments.first() else { return Ok(Vec::new()) };
                return match self.single_value(argument, f)? {
                    None => Ok(Vec::new()),
                    Some(Value::Quantity(other)) => Ok(truth(Some(q.comparable(&other)))),
                    Some(_) => Err(wrong()),
                };
            }
            Function::Precision => {
                let digits = match (value.number(), value.moment()) {
                    (Some(n), _) => i32::from(n.scale()),
                    (_, Some(m)) => m.digits(),
                    _ => return Err(wrong()),
                };
                return Ok(one(Value::Integer(digits)));
            }
            _ => {}
        }
        let high = function == Function::HighBoundary;
        let digits = match arguments.first() {
            None => None,
            Some(e) => match self.integer(e, f)? {
                None => return Ok(Vec::new()),
                digits => digits,
            },
        };
        let result = if let Some(n) = value.number() {
            boundary(n, high, digits).map(Value::Decimal)
        } else if let Value::Quantity(q) = &value {
            boundary(q.value, high, digits)
                .map(|value| Value::Quantity(Quantity { value, measure: q.measure.clone() }))
        } else if let Some(moment) = value.moment() {
            of_moment(moment, high, digits)
        } else {
            return Err(wrong());
        };
        Ok(result.map(Item::Value).into_iter().collect())
    }
}

fn boundary(n: Decimal, high: bool, digits: Option<i32>) -> Option<Decimal> {
    let digits = digits.unwrap_or(8);
    let scale = u8::try_from(digits).ok().filter(|_| digits <= MAX_DIGITS)?;
    let half = n.half_unit()?;
    let exact = if high { n.checked_add(half)? } else { n.checked_sub(half)? };
    exact.directed(scale, high)
}

fn of_moment<'a>(moment: Moment, high: bool, digits: Option<i32>) -> Option<Value<'a>> {
    let whole = match moment.sort() {
        Sort::Date => 8,
        Sort::DateTime => 17,
        Sort::Time => 9,
    };
    let bound = moment.boundary(high, digits.unwrap_or(whole))?;
    Some(match bound.sort() {
        Sort::Date => Value::Date(bound),
        Sort::DateTime => Value::DateTime(bound),
        Sort::Time => Value::Time(bound),
    })
}
