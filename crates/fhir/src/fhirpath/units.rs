//! Units of measure: what a UCUM code is in base units, exactly. It knows the units that
//! health records use; what it does not know, or what has a zero of its own (degrees
//! Celsius), compares only with itself.
//!
//! Source: <https://ucum.org/ucum>, tables 1 to 5; factors are exact by definition.

use super::decimal::Decimal;

/// Powers of metre, gram, second, mole, kelvin, coulomb, candela, radian, and of one
/// arbitrary unit.
pub(super) type Dimensions = [i8; 9];

/// A unit in base units: `factor.0 / factor.1` times the dimensions.
#[derive(Clone, PartialEq)]
pub(super) struct Unit {
    pub(super) factor: (Decimal, Decimal),
    pub(super) dimensions: Dimensions,
    /// The arbitrary unit or the unit of a special scale that the last dimension is.
    pub(super) arbitrary: Option<&'static str>,
}

const NONE: Dimensions = [0; 9];
const M: usize = 0;
const G: usize = 1;
const S: usize = 2;
const MOL: usize = 3;
const K: usize = 4;
const C: usize = 5;
const CD: usize = 6;
const RAD: usize = 7;
const ARBITRARY: usize = 8;

/// Units by name: numerator and denominator, powers, and whether prefixes go with it.
type Row = (&'static str, &'static str, &'static str, &'static [(usize, i8)], bool);

const UNITS: &[Row] = &[
    ("m", "1", "1", &[(M, 1)], true),
    ("g", "1", "1", &[(G, 1)], true),
    ("s", "1", "1", &[(S, 1)], true),
    ("mol", "1", "1", &[(MOL, 1)], true),
    ("K", "1", "1", &[(K, 1)], true),
    ("C", "1", "1", &[(C, 1)], true),
    ("cd", "1", "1", &[(CD, 1)], true),
    ("rad", "1", "1", &[(RAD, 1)], true),
    ("%", "1", "100", &[], false),
    ("[ppth]", "1", "1000", &[], false),
    ("[ppm]", "1", "1000000", &[], false),
    ("[ppb]", "1", "1000000000", &[], false),
    ("10*", "10", "1", &[], false),
    ("10^", "10", "1", &[], false),
    ("min", "60", "1", &[(S, 1)], false),
    ("h", "3600", "1", &[(S, 1)], false),
    ("d", "86400", "1", &[(S, 1)], false),
    ("wk", "604800", "1", &[(S, 1)], false),
    ("mo", "2629800", "1", &[(S, 1)], false),
    ("mo_j", "2629800", "1", &[(S, 1)], false),
    ("a", "31557600", "1", &[(S, 1)], false),
    ("a_j", "31557600", "1", &[(S, 1)], false),
    ("L", "0.001", "1", &[(M, 3)], true),
    ("l", "0.001", "1", &[(M, 3)], true),
    ("t", "1000000", "1", &[(G, 1)], true),
    ("Hz", "1", "1", &[(S, -1)], true),
    ("N", "1000", "1", &[(M, 1), (G, 1), (S, -2)], true),
    ("Pa", "1000", "1", &[(M, -1), (G, 1), (S, -2)], true),
    ("J", "1000", "1", &[(M, 2), (G, 1), (S, -2)], true),
    ("W", "1000", "1", &[(M, 2), (G, 1), (S, -3)], true),
    ("A", "1", "1", &[(C, 1), (S, -1)], true),
    ("V", "1000", "1", &[(M, 2), (G, 1), (S, -2), (C, -1)], true),
    ("Ohm", "1000", "1", &[(M, 2), (G, 1), (S, -1), (C, -2)], true),
    ("S", "0.001", "1", &[(M, -2), (G, -1), (S, 1), (C, 2)], true),
    ("F", "0.001", "1", &[(M, -2), (G, -1), (S, 2), (C, 2)], true),
    ("Bq", "1", "1", &[(S, -1)], true),
    ("Gy", "1", "1", &[(M, 2), (S, -2)], true),
    ("Sv", "1", "1", &[(M, 2), (S, -2)], true),
    ("lm", "1", "1", &[(CD, 1)], true),
    ("lx", "1", "1", &[(CD, 1), (M, -2)], true),
    ("bar", "100000000", "1", &[(M, -1), (G, 1), (S, -2)], true),
    ("atm", "101325000", "1", &[(M, -1), (G, 1), (S, -2)], false),
    // 133.3220 kPa a metre, as UCUM defines it.
    ("m[Hg]", "133322000", "1", &[(M, -1), (G, 1), (S, -2)], true),
    ("m[H2O]", "9806650", "1", &[(M, -1), (G, 1), (S, -2)], true),
    ("eq", "1", "1", &[(MOL, 1)], true),
    ("osm", "1", "1", &[(MOL, 1)], true),
    ("kat", "1", "1", &[(MOL, 1), (S, -1)], true),
    ("U", "0.000001", "60", &[(MOL, 1), (S, -1)], true),
    ("cal", "4184", "1", &[(M, 2), (G, 1), (S, -2)], true),
    ("[Cal]", "4184000", "1", &[(M, 2), (G, 1), (S, -2)], false),
    ("u", "0.00000000000000000000000166054018666", "1", &[(G, 1)], true),
    ("Ao", "0.0000000001", "1", &[(M, 1)], false),
    ("[in_i]", "0.0254", "1", &[(M, 1)], false),
    ("[ft_i]", "0.3048", "1", &[(M, 1)], false),
    ("[yd_i]", "0.9144", "1", &[(M, 1)], false),
    ("[mi_i]", "1609.344", "1", &[(M, 1)], false),
    ("[lb_av]", "453.59237", "1", &[(G, 1)], false),
    ("[oz_av]", "28.349523125", "1", &[(G, 1)], false),
    ("[gr]", "0.06479891", "1", &[(G, 1)], false),
    ("[stone_av]", "6350.29318", "1", &[(G, 1)], false),
    ("[gal_us]", "0.003785411784", "1", &[(M, 3)], false),
    ("[qt_us]", "0.000946352946", "1", &[(M, 3)], false),
    ("[pt_us]", "0.000473176473", "1", &[(M, 3)], false),
    ("[cup_us]", "0.0002365882365", "1", &[(M, 3)], false),
    ("[foz_us]", "0.0000295735295625", "1", &[(M, 3)], false),
    ("[tbs_us]", "0.00001478676478125", "1", &[(M, 3)], false),
    ("[tsp_us]", "0.00000492892159375", "1", &[(M, 3)], false),
    ("deg", "0.017453292519943295769236907684886", "1", &[(RAD, 1)], false),
];

/// Units that measure something of their own.
const ARBITRARIES: &[(&str, bool)] = &[
    ("[IU]", true),
    ("[iU]", true),
    ("[arb'U]", false),
    ("[CFU]", false),
    ("[GPL'U]", false),
    ("[MPL'U]", false),
    ("[APL'U]", false),
    ("[beth'U]", false),
    ("[USP'U]", false),
    ("[pH]", false),
    ("[drp]", false),
    ("[HPF]", false),
    ("[LPF]", false),
    ("Cel", true),
    ("[degF]", false),
    ("[diop]", false),
    ("dB", false),
    ("B", true),
    ("[Amb'a'1'U]", false),
    ("[FFU]", false),
    ("[PFU]", false),
];

const PREFIXES: [(&str, i8); 20] = [
    ("da", 1),
    ("Y", 24),
    ("Z", 21),
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("h", 2),
    ("d", -1),
    ("c", -2),
    ("m", -3),
    ("u", -6),
    ("n", -9),
    ("p", -12),
    ("f", -15),
    ("a", -18),
    ("z", -21),
    ("y", -24),
];

/// The most characters of a unit that is looked at.
const MAX_LENGTH: usize = 128;

impl Unit {
    /// The unit 1.
    pub(super) fn one() -> Unit {
        Unit { factor: (Decimal::ONE, Decimal::ONE), dimensions: NONE, arbitrary: None }
    }

    /// What a UCUM code means. `None` for what is not known here.
    pub(super) fn parse(code: &str) -> Option<Unit> {
        if code.is_empty() || code.len() > MAX_LENGTH {
            return None;
        }
        let mut reader = Reader { rest: code, depth: 0 };
        let unit = reader.product()?;
        reader.rest.is_empty().then_some(unit)
    }

    /// The product, or the quotient when `over`. `None` for two arbitrary units.
    pub(super) fn times(&self, other: &Unit, over: bool) -> Option<Unit> {
        let (top, bottom) = if over { (other.factor.1, other.factor.0) } else { other.factor };
        let mut dimensions = self.dimensions;
        for (a, b) in dimensions.iter_mut().zip(other.dimensions) {
            *a = if over { a.checked_sub(b)? } else { a.checked_add(b)? };
        }
        let arbitrary = match (self.arbitrary, other.arbitrary) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        Some(Unit {
            factor: (self.factor.0.checked_mul(top)?, self.factor.1.checked_mul(bottom)?),
            dimensions,
            arbitrary: arbitrary.filter(|_| dimensions.last() != Some(&0)),
        })
    }

    fn power(&self, exponent: i32) -> Option<Unit> {
        let mut out = Unit::one();
        for _ in 0..exponent.unsigned_abs() {
            out = out.times(self, exponent < 0)?;
        }
        Some(out)
    }

    /// Whether amounts of both can be compared.
    pub(super) fn alike(&self, other: &Unit) -> bool {
        self.dimensions == other.dimensions && self.arbitrary == other.arbitrary
    }
}

struct Reader<'t> {
    rest: &'t str,
    depth: u8,
}

impl<'t> Reader<'t> {
    fn eat(&mut self, what: char) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn product(&mut self) -> Option<Unit> {
        let mut out = if self.rest.starts_with('/') { Unit::one() } else { self.component()? };
        loop {
            let over = if self.eat('.') {
                false
            } else if self.eat('/') {
                true
            } else {
                return Some(out);
            };
            out = out.times(&self.component()?, over)?;
        }
    }

    fn component(&mut self) -> Option<Unit> {
        if self.eat('(') {
            self.depth += 1;
            if self.depth > 8 {
                return None;
            }
            let inner = self.product()?;
            self.depth -= 1;
            return self.eat(')').then_some(inner);
        }
        let text = self.atom();
        let annotated = self.annotation()?;
        if text.is_empty() {
            return annotated.then(Unit::one);
        }
        simple(text)
    }

    /// The characters up to the next operator, with those in square brackets.
    fn atom(&mut self) -> &'t str {
        let mut inside = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            match c {
                '[' => inside = true,
                ']' => inside = false,
                _ => {}
            }
            !inside && matches!(c, '.' | '/' | '(' | ')' | '{' | '}')
        });
        let (head, rest) =
            self.rest.split_at_checked(end.map_or(self.rest.len(), |e| e.0)).unwrap_or_default();
        self.rest = rest;
        head
    }

    /// `{...}` says something for people and nothing for the amount.
    fn annotation(&mut self) -> Option<bool> {
        if !self.eat('{') {
            return Some(false);
        }
        let (_, rest) = self.rest.split_once('}')?;
        self.rest = rest;
        Some(true)
    }
}

/// A unit with prefix and exponent, or a whole number.
fn simple(text: &str) -> Option<Unit> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let n = Decimal::parse(text).filter(|n| !n.is_zero())?;
        return Some(Unit { factor: (n, Decimal::ONE), ..Unit::one() });
    }
    if let Some(unit) = named(text) {
        return Some(unit);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = digits.strip_suffix(['+', '-']).unwrap_or(digits);
    let exponent: i32 = text.strip_prefix(name)?.parse().ok()?;
    if !(-24..=24).contains(&exponent) {
        return None;
    }
    named(name)?.power(exponent)
}

fn named(name: &str) -> Option<Unit> {
    if let Some(unit) = whole(name, false) {
        return Some(unit);
    }
    PREFIXES.into_iter().find_map(|(prefix, power)| {
        let unit = whole(name.strip_prefix(prefix)?, true)?;
        let ten = Decimal::from(10).power(Decimal::from(i32::from(power).abs()))?;
        let prefix = Unit { factor: (ten, Decimal::ONE), ..Unit::one() };
        unit.times(&prefix, power < 0)
    })
}

fn whole(name: &str, prefixed: bool) -> Option<Unit> {
    if let Some((_, top, bottom, powers, _)) =
        UNITS.iter().find(|u| u.0 == name && (u.4 || !prefixed))
    {
        let mut dimensions = NONE;
        for (dimension, power) in *powers {
            *dimensions.get_mut(*dimension)? = *power;
        }
        let factor = (Decimal::parse(top)?, Decimal::parse(bottom)?);
        return Some(Unit { factor, dimensions, arbitrary: None });
    }
    let (arbitrary, _) = ARBITRARIES.iter().find(|u| u.0 == name && (u.1 || !prefixed))?;
    let mut dimensions = NONE;
    *dimensions.get_mut(ARBITRARY)? = 1;
    Some(Unit { dimensions, arbitrary: Some(arbitrary), ..Unit::one() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_records_are_known() {
        for code in [
            "mg/dL",
            "mmol/L",
            "10*3/uL",
            "10*9/L",
            "{score}",
            "kg/m2",
            "mm[Hg]",
            "[lb_av]",
            "cm",
            "/min",
            "mL/min/{1.73_m2}",
            "meq/L",
            "U/L",
            "m[IU]/L",
            "Cel",
            "%",
            "fL",
            "pg",
            "1",
            "ng/mL",
            "{#}",
            "mL/(min.m2)",
            "dam",
            "g.m-1",
        ] {
            assert!(Unit::parse(code).is_some(), "{code}");
        }
        for bad in ["", "wibble", "mg/", "(m", "m)", "min-", "kmin", "0", "{x", "m99"] {
            assert!(Unit::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn units_of_one_dimension_are_alike() {
        let alike = |a: &str, b: &str| Unit::parse(a).unwrap().alike(&Unit::parse(b).unwrap());
        assert!(alike("cm", "[in_i]") && alike("g/L", "mg/dL") && alike("J", "N.m"));
        assert!(!alike("cm", "s") && !alike("[IU]", "Cel") && !alike("Cel", "K"));
    }
}
