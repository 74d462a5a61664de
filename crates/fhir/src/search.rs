//! Search: official parameters, what they extract from a resource, what a query may say.
//!
//! [`param`] names a parameter of a type, [`extract`] gives a resource's searchable
//! values, [`parse_query`] reads a query. Matching the two is the index's work; [`matches`]
//! holds a query against one resource. Whoever matches folds text with [`fold`].
//!
//! Source: <https://hl7.org/fhir/R4/search.html>

#[cfg(test)]
mod agree;
mod chain;
mod compare;
mod composite;
mod date;
mod expression;
mod extract;
mod filter;
mod fold;
mod matching;
mod param;
mod query;
mod query_value;
mod read;
mod term;
mod units;
mod words;

pub use crate::definitions::{SearchParam as ParamDef, SearchType};
pub use compare::{date_matches, number_matches, range_matches, unit_matches};
pub use date::{Span, span};
pub(crate) use extract::references;
pub use extract::{extract, extract_again, readable_classes};
pub use fold::fold;
pub use matching::{Candidate, is_local, matches};
pub use param::{ParamId, param, params, primary_date_param};
pub use query::{Criterion, Filter, Include, Look, Modifier, On, Query, SortKey, Summary, Total};
pub use query_value::{Operand, Prefix};
pub use read::{parse_criterion, parse_query, part_of};
pub use term::{Extracted, InnerValues, PartValues, Term};
pub use units::{UCUM, same_unit, unit_ratio};
pub use words::has_phrase;
