//! Values of FHIRPath's own types (`System`), and quantities. A value has no place in a
//! document; `Debug` shows its type only.
//!
//! Source: <https://hl7.org/fhirpath/N1/#literals>

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use super::decimal::Decimal;
use super::moment::{Moment, Span};
use super::units::Unit;

/// A value of a `System` type.
#[derive(Clone)]
pub enum Value<'a> {
    /// True or false.
    Boolean(bool),
    /// A text.
    String(Cow<'a, str>),
    /// A whole number of 32 bits.
    Integer(i32),
    /// An exact decimal number.
    Decimal(Decimal),
    /// A date, known at least to the year.
    Date(Moment),
    /// A date with a time, known at least to the year.
    DateTime(Moment),
    /// A time of day.
    Time(Moment),
    /// An amount with its unit.
    Quantity(Quantity<'a>),
    /// A type, as `type()` gives it: namespace and name.
    Type(&'static str, &'static str),
}

/// The `System` types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the type of that name")]
pub enum SystemType {
    Any,
    Boolean,
    String,
    Integer,
    Decimal,
    Date,
    DateTime,
    Time,
    Quantity,
    Type,
}

impl SystemType {
    /// The type of this name in `System`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SystemType> {
        Some(match name {
            "Any" => SystemType::Any,
            "Boolean" => SystemType::Boolean,
            "String" => SystemType::String,
            "Integer" => SystemType::Integer,
            "Decimal" => SystemType::Decimal,
            "Date" => SystemType::Date,
            "DateTime" => SystemType::DateTime,
            "Time" => SystemType::Time,
            "Quantity" => SystemType::Quantity,
            _ => return None,
        })
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SystemType::Any => "Any",
            SystemType::Boolean => "Boolean",
            SystemType::String => "String",
            SystemType::Integer => "Integer",
            SystemType::Decimal => "Decimal",
            SystemType::Date => "Date",
            SystemType::DateTime => "DateTime",
            SystemType::Time => "Time",
            SystemType::Quantity => "Quantity",
            SystemType::Type => "TypeInfo",
        }
    }
}

impl Value<'_> {
    /// The type.
    #[must_use]
    pub fn system_type(&self) -> SystemType {
        match self {
            Value::Boolean(_) => SystemType::Boolean,
            Value::String(_) => SystemType::String,
            Value::Integer(_) => SystemType::Integer,
            Value::Decimal(_) => SystemType::Decimal,
            Value::Date(_) => SystemType::Date,
            Value::DateTime(_) => SystemType::DateTime,
            Value::Time(_) => SystemType::Time,
            Value::Quantity(_) => SystemType::Quantity,
            Value::Type(..) => SystemType::Type,
        }
    }

    /// The number, for Integer and Decimal.
    #[must_use]
    pub fn number(&self) -> Option<Decimal> {
        match self {
            Value::Integer(n) => Some(Decimal::from(*n)),
            Value::Decimal(n) => Some(*n),
            _ => None,
        }
    }

    /// The date, date-time or time.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        match self {
            Value::Date(m) | Value::DateTime(m) | Value::Time(m) => Some(*m),
            _ => None,
        }
    }

    /// The text that `toString()` gives; `None` for a type.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Value::Boolean(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
            Value::String(s) => Cow::Borrowed(s),
            Value::Integer(n) => Cow::Owned(n.to_string()),
            Value::Decimal(n) => Cow::Owned(n.to_string()),
            Value::Date(m) | Value::DateTime(m) | Value::Time(m) => Cow::Owned(m.to_string()),
            Value::Quantity(q) => Cow::Owned(q.to_string()),
            Value::Type(..) => return None,
        })
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.system_type().name())
    }
}

/// What an amount is counted in.
#[derive(Clone, PartialEq)]
pub enum Measure<'a> {
    /// A word of the calendar: `4 days`.
    Calendar(Span),
    /// A UCUM code; `1` for a bare number.
    Code(Cow<'a, str>),
}

/// An amount with its unit.
#[derive(Clone)]
pub struct Quantity<'a> {
    /// The number.
    pub value: Decimal,
    /// The unit.
    pub measure: Measure<'a>,
}

impl Span {
    /// The unit of this English word, singular or plural.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Span> {
        Some(match word.strip_suffix('s').unwrap_or(word) {
            "year" => Span::Year,
            "month" => Span::Month,
            "week" => Span::Week,
            "day" => Span::Day,
            "hour" => Span::Hour,
            "minute" => Span::Minute,
            "second" => Span::Second,
            "millisecond" => Span::Millisecond,
            _ => return None,
        })
    }

    /// The word, singular.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Span::Year => "year",
            Span::Month => "month",
            Span::Week => "week",
            Span::Day => "day",
            Span::Hour => "hour",
            Span::Minute => "minute",
            Span::Second => "second",
            Span::Millisecond => "millisecond",
        }
    }

    /// The UCUM unit that is nearest: equal to it from weeks down.
    #[must_use]
    pub const fn ucum(self) -> &'static str {
        match self {
            Span::Year => "a",
            Span::Month => "mo",
            Span::Week => "wk",
            Span::Day => "d",
            Span::Hour => "h",
            Span::Minute => "min",
            Span::Second => "s",
            Span::Millisecond => "ms",
        }
    }

    /// The calendar's word for a UCUM unit of time.
    #[must_use]
    pub fn from_ucum(code: &str) -> Option<Span> {
        Some(match code {
            "a" => Span::Year,
            "mo" => Span::Month,
            "wk" => Span::Week,
            "d" => Span::Day,
            "h" => Span::Hour,
            "min" => Span::Minute,
            "s" => Span::Second,
            "ms" => Span::Millisecond,
            _ => return None,
        })
    }
}

impl<'a> Quantity<'a> {
    /// A bare number as an amount: its unit is 1.
    #[must_use]
    pub fn bare(value: Decimal) -> Quantity<'a> {
        Quantity { value, measure: Measure::Code(Cow::Borrowed("1")) }
    }

    /// An amount of a unit given in quotes: a UCUM code, or a word of the calendar.
    #[must_use]
    pub fn of(value: Decimal, code: Cow<'a, str>) -> Quantity<'a> {
        let measure = match Span::from_word(&code) {
            Some(span) => Measure::Calendar(span),
            None => Measure::Code(code),
        };
        Quantity { value, measure }
    }

    fn code(&self) -> &str {
        match &self.measure {
            Measure::Calendar(span) => span.ucum(),
            Measure::Code(code) => code,
        }
    }

    /// Months of a calendar year or month, which are of no fixed length.
    fn months(&self) -> Option<Decimal> {
        match self.measure {
            Measure::Calendar(Span::Year) => self.value.checked_mul(Decimal::from(12)),
            Measure::Calendar(Span::Month) => Some(self.value),
            _ => None,
        }
    }

    fn in_units(&self, other: &Quantity<'_>) -> Option<(Unit, Unit)> {
        Some((Unit::parse(self.code())?, Unit::parse(other.code())?))
    }

    /// Which is less, when they can be compared.
    #[must_use]
    pub fn order(&self, other: &Quantity<'_>) -> Option<Ordering> {
        match (self.months(), other.months()) {
            (Some(a), Some(b)) => return Some(a.cmp(&b)),
            (None, None) => {}
            _ => return None,
        }
        if self.code() == other.code() {
            return Some(self.value.cmp(&other.value));
        }
        let (a, b) = self.in_units(other)?;
        if !a.alike(&b) {
            return None;
        }
        let left = self.value.checked_mul(a.factor.0)?.checked_mul(b.factor.1)?;
        let right = other.value.checked_mul(b.factor.0)?.checked_mul(a.factor.1)?;
        Some(left.cmp(&right))
    }

    /// Whether they are the same amount, rounded to the less precise of the two.
    #[must_use]
    pub fn equivalent(&self, other: &Quantity<'_>) -> bool {
        if self.code() == other.code() {
            return near(self.value, other.value);
        }
        let Some((a, b)) = self.in_units(other).filter(|(a, b)| a.alike(b)) else { return false };
        // The other's amount in this one's unit.
        let there = || other.value.checked_mul(b.factor.0)?.checked_mul(a.factor.1);
        let in_mine = || there()?.checked_div(b.factor.1.checked_mul(a.factor.0)?);
        let back = || self.value.checked_mul(a.factor.0)?.checked_mul(b.factor.1);
        let in_others = || back()?.checked_div(a.factor.1.checked_mul(b.factor.0)?);
        in_mine().is_some_and(|v| near(self.value, v))
            || in_others().is_some_and(|v| near(v, other.value))
    }

    /// Whether both are of one dimension.
    #[must_use]
    pub fn comparable(&self, other: &Quantity<'_>) -> bool {
        self.code() == other.code() || self.in_units(other).is_some_and(|(a, b)| a.alike(&b))
    }

    /// The sum, in the first one's unit; `None` where units don't go together.
    #[must_use]
    pub fn checked_add(&self, other: &Quantity<'a>) -> Option<Quantity<'a>> {
        let value = if self.measure == other.measure || self.code() == other.code() {
            other.value
        } else if self.months().is_some() || other.months().is_some() {
            let unit = match self.measure {
                Measure::Calendar(Span::Year) => Decimal::from(12),
                _ => Decimal::ONE,
            };
            self.months()?;
            other.months()?.checked_div(unit)?
        } else {
            let (a, b) = self.in_units(other).filter(|(a, b)| a.alike(b))?;
            other
                .value
                .checked_mul(b.factor.0)?
                .checked_mul(a.factor.1)?
                .checked_div(b.factor.1.checked_mul(a.factor.0)?)?
        };
        Some(Quantity { value: self.value.checked_add(value)?, measure: self.measure.clone() })
    }

    /// The amount in another unit; `None` where units don't go together.
    #[must_use]
    pub fn in_unit(&self, unit: Cow<'a, str>) -> Option<Quantity<'a>> {
        let none = Quantity::of(Decimal::ZERO, unit);
        let value = none.checked_add(self)?.value;
        Some(Quantity { value, measure: none.measure })
    }

    /// The same amount below zero, or above when it was below.
    #[must_use]
    pub fn negated(&self) -> Quantity<'a> {
        Quantity { value: self.value.negated(), measure: self.measure.clone() }
    }

    /// The product, or the quotient when `over`.
    #[must_use]
    pub fn times(&self, other: &Quantity<'a>, over: bool) -> Option<Quantity<'a>> {
        let plain = |a: Decimal, b: Decimal| if over { a.checked_div(b) } else { a.checked_mul(b) };
        if other.code() == "1" {
            let value = plain(self.value, other.value)?;
            return Some(Quantity { value, measure: self.measure.clone() });
        }
        if self.code() == "1" && !over {
            let value = plain(self.value, other.value)?;
            return Some(Quantity { value, measure: other.measure.clone() });
        }
        let (a, b) = self.in_units(other)?;
        a.times(&b, over)?;
        let value = plain(self.value, other.value)?;
        // The units are put together and not worked out, so that the number stays exact.
        let code = match (self.code(), other.code()) {
            (a, b) if over && a == b => "1".to_owned(),
            (a, b) => format!("{}{}{}", bracketed(a), if over { '/' } else { '.' }, bracketed(b)),
        };
        Some(Quantity { value, measure: Measure::Code(Cow::Owned(code)) })
    }
}

/// A unit as a part of another.
fn bracketed(code: &str) -> Cow<'_, str> {
    if code.contains(['.', '/']) { Cow::Owned(format!("({code})")) } else { Cow::Borrowed(code) }
}

/// Whether both numbers are the same, rounded to the less precise of the two.
pub(super) fn near(a: Decimal, b: Decimal) -> bool {
    let scale = a.trimmed().scale().min(b.trimmed().scale());
    a.round(scale) == b.round(scale)
}

/// What FHIRPath writes: `4 days`, `5 'mg'`.
impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.measure {
            Measure::Calendar(span) => {
                let plural = if self.value == Decimal::ONE { "" } else { "s" };
                write!(f, "{} {}{plural}", self.value, span.word())
            }
            Measure::Code(code) => write!(f, "{} '{code}'", self.value),
        }
    }
}

impl fmt::Debug for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quantity(..)")
    }
}
