//! What a client would rather have (`Prefer`, RFC 7240;
//! <https://hl7.org/fhir/R4/http.html#ops>). It owns the header's grammar. What it does
//! not know is ignored, as the RFC demands.

use axum::http::HeaderMap;
use phial_engine::Return;

/// The preferences that mean something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// `return`: what the answer to a write carries; `None` leaves it to the interaction.
    pub(crate) returning: Option<Return>,
    /// `handling=lenient`: unknown search parameters are left out and named.
    pub(crate) lenient: bool,
    /// `respond-async`.
    pub(crate) asynchronous: bool,
}

/// The preferences of a request. Of one that is given twice, the first counts (RFC 7240,
/// section 2).
pub(crate) fn prefer(headers: &HeaderMap) -> Prefer {
    let mut found = Prefer::default();
    let (mut returning, mut handling) = (false, false);
    let lines = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
    for preference in lines.flat_map(|line| line.split(',')) {
        // What follows a semicolon are parameters of the preference; none has any here.
        let said = preference.split(';').next().unwrap_or("").trim();
        let (name, value) = said.split_once('=').unwrap_or((said, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "return" if !returning => {
                returning = true;
                found.returning = match value {
                    "minimal" => Some(Return::Minimal),
                    "representation" => Some(Return::Representation),
                    "OperationOutcome" => Some(Return::Outcome),
                    _ => None,
                };
            }
            "handling" if !handling => {
                handling = true;
                found.lenient = value == "lenient";
            }
            "respond-async" => found.asynchronous = true,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], returning: Option<Return>, lenient: bool, asynchronous: bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("prefer", line.parse().unwrap());
        }
        assert_eq!(prefer(&headers), Prefer { returning, lenient, asynchronous }, "{lines:?}");
    }

    #[test]
    fn what_is_known_is_taken_and_what_is_not_is_ignored() {
        use Return::{Minimal, Outcome, Representation};
        check(&[], None, false, false);
        check(&["return=minimal"], Some(Minimal), false, false);
        check(&["return=representation, handling=lenient"], Some(Representation), true, false);
        check(
            &["handling = \"lenient\"; x=1", "Return=OperationOutcome"],
            Some(Outcome),
            true,
            false,
        );
        check(&["respond-async"], None, false, true);
        check(&["return=everything, handling=loose, wait=10, ,=, x"], None, false, false);
        check(&["return=x-return=minimal"], None, false, false);
    }

    #[test]
    fn of_two_the_first_counts() {
        check(&["return=minimal", "return=representation"], Some(Return::Minimal), false, false);
        check(&["handling=strict, handling=lenient"], None, false, false);
    }
}
