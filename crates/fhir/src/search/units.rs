//! Amounts in units of one dimension: how a UCUM code stands to another. What the table
//! of units does not know compares only with itself.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#quantity> ("canonical form").

use crate::fhirpath::unit_factor;

/// The code system of UCUM.
pub const UCUM: &str = "http://unitsofmeasure.org";

/// Whether the code is of a unit that amounts can be converted from.
#[must_use]
pub fn same_unit(code: &str) -> bool {
    unit_factor(code, code).is_some()
}

/// How an amount in `from` becomes one in `to`: times the first, by the second. One of
/// the two is 1 wherever the units differ by a whole factor, so that the result is rounded
/// once, as a number read from text is. `None` for units that don't compare.
#[must_use]
pub fn unit_ratio(from: &str, to: &str) -> Option<(f64, f64)> {
    let (times, by) = unit_factor(from, to)?;
    let (times, by) = (times.to_f64(), by.to_f64());
    let whole = |x: f64| x.fract() == 0.0 && x < 9e15;
    Some(if whole(by / times) {
        (1.0, by / times)
    } else if whole(times / by) {
        (times / by, 1.0)
    } else {
        (times, by)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_one_dimension_convert_and_others_do_not() {
        for (value, from, to, want) in [
            (5400.0, "ug", "mg", 5.4),
            (5350.0, "ug", "mg", 5.35),
            (5.4, "mg", "ug", 5400.0),
            (0.0054, "g", "mg", 5.4),
            (95.0, "mg/dL", "g/L", 0.95),
            (1.0, "L", "mL", 1000.0),
            (2.0, "h", "min", 120.0),
            (7.0, "mg", "mg", 7.0),
        ] {
            let (times, by) = unit_ratio(from, to).unwrap();
            assert_eq!(value * times / by, want, "{value} {from} in {to}");
        }
        for (from, to) in
            [("mg", "mL"), ("Cel", "K"), ("wibble", "wibble"), ("[IU]", "U"), ("{score}", "%")]
        {
            assert_eq!(unit_ratio(from, to), None, "{from} {to}");
        }
        assert!(same_unit("mm[Hg]") && !same_unit("tablets"));
    }
}
