//! `+ - * / div mod &` and signs. Numbers are exact, units are carried along, dates move
//! by the calendar. What can't be held is the empty collection.
//!
//! Source: <https://hl7.org/fhirpath/N1/#math-2>, `#datetime-arithmetic`

use super::ast::Operator;
use super::decimal::Decimal;
use super::error::{Error, ErrorKind};
use super::eval::{Evaluator, empty_primitive, one};
use super::item::{Collection, Item};
use super::moment::{Moment, Sort, Span};
use super::value::{Measure, Quantity, Value};

impl<'a> Evaluator<'a, '_> {
    pub(super) fn signed(
        &self,
        at: u32,
        items: &[Item<'a>],
        minus: bool,
    ) -> Result<Collection<'a>, Error> {
        let Some(item) = self.operand(at, items)? else { return Ok(Vec::new()) };
        let Some(value) = item.value() else { return self.no_value(at, item, "a sign") };
        Ok(match value {
            Value::Integer(n) if minus => integer(n.checked_neg()),
            Value::Decimal(n) if minus => one(Value::Decimal(n.negated())),
            Value::Quantity(q) if minus => one(Value::Quantity(q.negated())),
            Value::Integer(_) | Value::Decimal(_) | Value::Quantity(_) => one(value),
            _ => return Err(Error::new(at, ErrorKind::Type("a sign"))),
        })
    }

    fn no_value(
        &self,
        at: u32,
        item: &Item<'a>,
        what: &'static str,
    ) -> Result<Collection<'a>, Error> {
        if empty_primitive(item) {
            Ok(Vec::new())
        } else {
            Err(Error::new(at, ErrorKind::Type(what)))
        }
    }

    pub(super) fn concatenated(
        &self,
        at: u32,
        a: &[Item<'a>],
        b: &[Item<'a>],
    ) -> Result<Collection<'a>, Error> {
        let mut out = String::new();
        for items in [a, b] {
            let Some(item) = self.operand(at, items)? else { continue };
            let value = item.value();
            match value.as_ref().and_then(Value::text) {
                Some(text) => out.push_str(&text),
                None if empty_primitive(item) => {}
                None => return Err(Error::new(at, ErrorKind::Type("&"))),
            }
        }
        self.fits(at, out.len())?;
        self.make(at, out.len())?;
        Ok(one(Value::String(out.into())))
    }

    pub(super) fn arithmetic(
        &self,
        at: u32,
        operator: Operator,
        a: &Item<'a>,
        b: &Item<'a>,
    ) -> Result<Collection<'a>, Error> {
        let name = "this operator";
        let Some(x) = a.value() else { return self.no_value(at, a, name) };
        let Some(y) = b.value() else { return self.no_value(at, b, name) };
        match (operator, &x, &y) {
            (Operator::Add, Value::String(s), Value::String(t)) => {
                self.fits(at, s.len() + t.len())?;
                self.make(at, s.len() + t.len())?;
                return Ok(one(Value::String(format!("{s}{t}").into())));
            }
            (_, Value::Integer(m), Value::Integer(n)) => {
                let (m, n) = (*m, *n);
                match operator {
                    Operator::Add => return Ok(integer(m.checked_add(n))),
                    Operator::Subtract => return Ok(integer(m.checked_sub(n))),
                    Operator::Multiply => return Ok(integer(m.checked_mul(n))),
                    Operator::Div => return Ok(integer(m.checked_div(n))),
                    Operator::Mod => return Ok(integer(m.checked_rem(n))),
                    _ => {}
                }
            }
            (Operator::Add | Operator::Subtract, _, Value::Quantity(q)) => {
                if let Some(moment) = x.moment() {
                    return moved(at, moment, q, operator == Operator::Subtract);
                }
            }
            _ => {}
        }
        if let (Some(m), Some(n)) = (x.number(), y.number()) {
            let result = match operator {
                Operator::Add => m.checked_add(n),
                Operator::Subtract => m.checked_sub(n),
                Operator::Multiply => m.checked_mul(n),
                Operator::Divide => m.checked_div(n),
                Operator::Div => {
                    return Ok(integer(m.div_whole(n).and_then(Decimal::to_integer)));
                }
                Operator::Mod => m.checked_rem(n),
                _ => return Err(Error::new(at, ErrorKind::Type(name))),
            };
            return Ok(result.map(|n| Item::Value(Value::Decimal(n))).into_iter().collect());
        }
        let (Some(p), Some(q)) = (amount(&x), amount(&y)) else {
            return Err(Error::new(at, ErrorKind::Type(name)));
        };
        let result = match operator {
            Operator::Add => p.checked_add(&q),
            Operator::Subtract => p.checked_add(&q.negated()),
            Operator::Multiply => p.times(&q, false),
            Operator::Divide => p.times(&q, true),
            _ => return Err(Error::new(at, ErrorKind::Type(name))),
        };
        Ok(result.map(|q| Item::Value(Value::Quantity(q))).into_iter().collect())
    }
}

fn integer<'a>(n: Option<i32>) -> Collection<'a> {
    n.map(|n| Item::Value(Value::Integer(n))).into_iter().collect()
}

fn amount<'a>(value: &Value<'a>) -> Option<Quantity<'a>> {
    match value {
        Value::Quantity(q) => Some(q.clone()),
        other => other.number().map(Quantity::bare),
    }
}

/// A date, date-time or time later or earlier by a duration. Fractions of a unit are cut
/// off, for seconds too (so HL7's suite).
fn moved<'a>(
    at: u32,
    moment: Moment,
    by: &Quantity<'a>,
    back: bool,
) -> Result<Collection<'a>, Error> {
    let span = match &by.measure {
        Measure::Calendar(span) => Some(*span),
        // A definite year or month does not fit the calendar.
        Measure::Code(code) => {
            Span::from_ucum(code).filter(|s| !matches!(s, Span::Year | Span::Month))
        }
    };
    let clock = matches!(span, Some(Span::Hour | Span::Minute | Span::Second | Span::Millisecond));
    let Some(span) = span.filter(|_| moment.sort() != Sort::Time || clock) else {
        return Err(Error::new(at, ErrorKind::Operation("a unit that no date or time moves by")));
    };
    let amount = by.value.whole().map(|n| if back { n.saturating_neg() } else { n });
    let moved = amount.and_then(|n| moment.plus(n, span)).map(|m| match m.sort() {
        Sort::Date => Value::Date(m),
        Sort::DateTime => Value::DateTime(m),
        Sort::Time => Value::Time(m),
    });
    Ok(moved.map(Item::Value).into_iter().collect())
}
