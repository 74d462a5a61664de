//! What a prefix means: how a value stands to the one that is searched for
//! (<https://hl7.org/fhir/R4/search.html#prefix>). One place for the index and for what
//! is looked at once.
//!
//! Numbers and quantities compare by their value; only the searched number has a
//! precision (R4 3.1.1.5.3). Dates compare as spans (3.1.1.5.4), and so do ranges of
//! numbers (3.1.1.4.5).

use super::Prefix;

/// Whether a span of time stands to the searched one as the prefix says.
#[must_use]
pub fn date_matches(prefix: Prefix, low: i64, high: i64, of: (i64, i64)) -> bool {
    let within = low <= of.0 && of.1 <= high;
    match prefix {
        Prefix::Eq => within,
        Prefix::Ne => !within,
        Prefix::Gt => of.1 > high,
        Prefix::Lt => of.0 < low,
        Prefix::Ge => of.1 > high || within,
        Prefix::Le => of.0 < low || within,
        Prefix::Sa => of.0 >= high,
        Prefix::Eb => of.1 <= low,
        Prefix::Ap => of.0 < high && of.1 > low,
    }
}

/// Whether a number stands to the searched one, `value` with what its digits imply, as the
/// prefix says.
#[must_use]
pub fn number_matches(prefix: Prefix, value: f64, low: f64, high: f64, of: f64) -> bool {
    let within = low <= of && of < high;
    match prefix {
        Prefix::Eq => within,
        // A tenth is what R4 recommends.
        Prefix::Ap => within || (of - value).abs() <= value.abs() / 10.0,
        Prefix::Ne => !within,
        Prefix::Gt | Prefix::Sa => of > value,
        Prefix::Lt | Prefix::Eb => of < value,
        Prefix::Ge => of >= value,
        Prefix::Le => of <= value,
    }
}

/// Whether a range of numbers stands to the searched one as the prefix says: as two spans
/// of time do.
#[must_use]
pub fn range_matches(prefix: Prefix, value: f64, (low, high): (f64, f64), of: (f64, f64)) -> bool {
    let within = low <= of.0 && of.1 < high;
    match prefix {
        Prefix::Eq => within,
        Prefix::Ne => !within,
        Prefix::Gt => of.1 > value,
        Prefix::Lt => of.0 < value,
        Prefix::Ge => of.1 > value || within,
        Prefix::Le => of.0 < value || within,
        Prefix::Sa => of.0 > value,
        Prefix::Eb => of.1 < value,
        Prefix::Ap => {
            let tenth = value.abs() / 10.0;
            of.0 < high.max(value + tenth) && of.1 >= low.min(value - tenth)
        }
    }
}

/// Whether a unit is the one that is searched for. Without a system any will do, and the
/// code may be the unit's text.
#[must_use]
pub fn unit_matches(
    (system, code): (Option<&str>, Option<&str>),
    (of_system, of_code, of_text): (Option<&str>, Option<&str>, Option<&str>),
) -> bool {
    let system_fits = system.is_none_or(|s| Some(s) == of_system);
    let code_fits =
        code.is_none_or(|c| of_code == Some(c) || (system.is_none() && of_text == Some(c)));
    system_fits && code_fits
}
