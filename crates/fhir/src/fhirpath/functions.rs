//! Which function does what. Those with conditions evaluate their argument for each item;
//! arguments of others are evaluated once, with the focus that surrounds the call.

mod boundary;
mod collections;
mod convert;
mod fhir;
mod math;
mod text;

use super::ast::{Expr, Function};
use super::error::{Error, ErrorKind};
use super::eval::{Evaluator, Frame, empty_primitive, one};
use super::item::{Collection, Item, type_info};
use super::moment::Moment;
use super::value::Value;

impl<'a> Evaluator<'a, '_> {
    pub(super) fn call(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        use Function as F;
        match function {
            F::Empty
            | F::Exists
            | F::All
            | F::AllTrue
            | F::AnyTrue
            | F::AllFalse
            | F::AnyFalse
            | F::SubsetOf
            | F::SupersetOf
            | F::Count
            | F::IsDistinct
            | F::Not => self.existence(at, items, function, arguments, f),
            F::Where | F::Select | F::Repeat | F::Aggregate | F::Iif | F::Sort => {
                self.each(at, items, function, arguments, f)
            }
            F::Distinct
            | F::Single
            | F::First
            | F::Last
            | F::Tail
            | F::Skip
            | F::Take
            | F::Intersect
            | F::Exclude
            | F::Union
            | F::Combine => self.subset(at, items, function, arguments, f),
            F::Children | F::Descendants => self.tree(at, items, function == F::Descendants),
            F::ToBoolean
            | F::ConvertsToBoolean
            | F::ToInteger
            | F::ConvertsToInteger
            | F::ToDecimal
            | F::ConvertsToDecimal
            | F::ToStringOf
            | F::ConvertsToString
            | F::ToDate
            | F::ConvertsToDate
            | F::ToDateTime
            | F::ConvertsToDateTime
            | F::ToTime
            | F::ConvertsToTime
            | F::ToQuantity
            | F::ConvertsToQuantity => self.convert(at, items, function, arguments, f),
            F::IndexOf
            | F::LastIndexOf
            | F::Substring
            | F::StartsWith
            | F::EndsWith
            | F::Contains
            | F::Upper
            | F::Lower
            | F::Replace
            | F::Matches
            | F::MatchesFull
            | F::ReplaceMatches
            | F::Length
            | F::ToChars
            | F::Trim
            | F::Split
            | F::Join
            | F::Encode
            | F::Decode
            | F::Escape
            | F::Unescape => self.on_text(at, items, function, arguments, f),
            F::Abs
            | F::Ceiling
            | F::Exp
            | F::Floor
            | F::Ln
            | F::Log
            | F::Power
            | F::Round
            | F::Sqrt
            | F::Truncate => self.math(at, items, function, arguments, f),
            F::LowBoundary | F::HighBoundary | F::Precision | F::Comparable => {
                self.boundaries(at, items, function, arguments, f)
            }
            F::Now | F::Today | F::TimeOfDay => {
                let now = self.context.now.ok_or(Error::new(at, ErrorKind::Missing("the time")))?;
                Ok(one(match function {
                    F::Now => Value::DateTime(now.to_date_time()),
                    F::Today => Value::Date(Moment::to_date(now)),
                    _ => Value::Time(now.to_time()),
                }))
            }
            F::Type => {
                let info = items.iter().map(|item| match item {
                    Item::Place(place) => place.type_info(),
                    Item::Value(value) => type_info(value),
                });
                Ok(info.map(Item::Value).collect())
            }
            F::Trace => self.trace(items, arguments, f),
            F::Extension
            | F::HasValue
            | F::GetValue
            | F::Resolve
            | F::ElementDefinition
            | F::Slice
            | F::CheckModifiers
            | F::ConformsTo
            | F::MemberOf
            | F::Subsumes
            | F::SubsumedBy
            | F::HtmlChecks => self.of_fhir(at, items, function, arguments, f),
        }
    }

    fn trace(
        &self,
        items: &[Item<'a>],
        arguments: &[Expr],
        f: Frame<'_, 'a>,
    ) -> Result<Collection<'a>, Error> {
        let name = match arguments.first() {
            Some(name) => self.text(name, f)?.unwrap_or_default(),
            None => Default::default(),
        };
        if let Some(host) = self.context.host {
            match arguments.get(1) {
                Some(projection) => {
                    let mut seen = Vec::new();
                    for (n, item) in items.iter().enumerate() {
                        seen.extend(self.eval(projection, f.on(item, n))?);
                    }
                    host.trace(&name, &seen);
                }
                None => host.trace(&name, items),
            }
        }
        Ok(items.to_vec())
    }

    /// The one value that a function works on; none for an empty collection.
    fn input(
        &self,
        at: u32,
        items: &[Item<'a>],
        function: Function,
    ) -> Result<Option<Value<'a>>, Error> {
        match items {
            [] => Ok(None),
            [item] => match item.value() {
                Some(value) => Ok(Some(value)),
                None if empty_primitive(item) => Ok(None),
                None => Err(Error::new(at, ErrorKind::Type(function.name()))),
            },
            _ => Err(Error::new(at, ErrorKind::Singleton(function.name()))),
        }
    }
}
