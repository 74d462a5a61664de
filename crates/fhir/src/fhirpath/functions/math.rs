//! Functions on numbers. What is no real number, or can't be held, is empty.
//!
//! Source: <https://hl7.org/fhirpath/N1/#math>

use super::super::ast::{Expr, Function};
use super::super::decimal::Decimal;
use super::super::error::{Error, ErrorKind};
use super::super::eval::{Evaluator, Frame, one};
use super::super::item::{Collection, Item};
use super::super::value::{Quantity, Value};

impl<'a> Evaluator<'a, '_> {
    pub(super) fn math(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        let wrong = || Error::new(at, ErrorKind::Type(function.name()));
        let Some(value) = self.input(at, items, function)? else { return Ok(Vec::new()) };
        if let (F::Abs, Value::Quantity(q)) = (function, &value) {
            let value = q.value.abs();
            return Ok(one(Value::Quantity(Quantity { value, measure: q.measure.clone() })));
        }
        let n = value.number().ok_or_else(wrong)?;
        let whole = matches!(value, Value::Integer(_));
        let argument = match arguments.first() {
            None => None,
            Some(e) => match self.single_value(e, f)? {
                None => return Ok(Vec::new()),
                Some(value) => Some(value.number().ok_or_else(wrong)?),
            },
        };
        let decimal = match function {
            F::Abs if whole => return Ok(integer(Some(n.abs()))),
            F::Abs => Some(n.abs()),
            F::Ceiling => return Ok(integer(Some(n.ceiling()))),
            F::Floor => return Ok(integer(Some(n.floor()))),
            F::Truncate => return Ok(integer(Some(n.truncate()))),
            F::Round => {
                let digits = argument.unwrap_or(Decimal::ZERO).to_integer();
                let bad = || Error::new(at, ErrorKind::Operation("a negative number of digits"));
                let digits = digits.filter(|d| *d >= 0).ok_or_else(bad)?;
                Some(n.round(u8::try_from(digits).unwrap_or(u8::MAX)))
            }
            F::Sqrt => n.sqrt(),
            F::Exp => n.exp(),
            F::Ln => n.ln(),
            F::Log => argument.and_then(|base| n.log(base)),
            _ => {
                let power = argument.and_then(|exponent| n.power(exponent));
                let fits = power.and_then(Decimal::to_integer).is_some();
                let integral = argument.is_some_and(|a| a.scale() == 0 && !a.is_negative());
                if whole && integral && fits {
                    return Ok(integer(power));
                }
                power
            }
        };
        Ok(decimal.map(|n| Item::Value(Value::Decimal(n))).into_iter().collect())
    }
}

fn integer<'a>(n: Option<Decimal>) -> Collection<'a> {
    let n = n.and_then(Decimal::to_integer);
    n.map(|n| Item::Value(Value::Integer(n))).into_iter().collect()
}
