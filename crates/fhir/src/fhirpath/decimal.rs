//! Decimal numbers, exact: up to 38 digits and a scale that is kept, so that `1.10` stays
//! `1.10`. Made from text and turned into text; binary floating point is used only for
//! functions whose results are irrational anyway (`exp`, `ln`, `log`, fractional powers).
//!
//! What does not fit is `None`: FHIRPath answers an overflow with the empty collection.
//!
//! Source: <https://hl7.org/fhirpath/N1/#decimal>, which asks for 28 digits.

use std::cmp::Ordering;
use std::fmt;

/// A decimal number: `mantissa` divided by ten to the `scale`.
#[derive(Clone, Copy)]
pub struct Decimal {
    mantissa: i128,
    scale: u8,
}

/// The most digits after the point; ten to this power fits 127 bits.
const MAX_SCALE: u8 = 38;
/// How many digits after the point a quotient has at most.
const QUOTIENT_SCALE: u8 = 28;

fn ten(power: u8) -> Option<i128> {
    10_i128.checked_pow(u32::from(power))
}

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal { mantissa: 0, scale: 0 };
    /// One.
    pub const ONE: Decimal = Decimal { mantissa: 1, scale: 0 };

    /// `mantissa` divided by ten to the `scale`; `None` when the scale is beyond 38.
    #[must_use]
    pub fn new(mantissa: i128, scale: u8) -> Option<Decimal> {
        (scale <= MAX_SCALE).then_some(Decimal { mantissa, scale })
    }

    /// Reads `-12.50` or `1.5e3`. `None` for other text and for more than 38 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (number, ""),
        };
        if whole.is_empty() {
            return None;
        }
        let mut mantissa: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            if !digit.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        if mantissa == 0 {
            return Decimal::new(0, u8::try_from(scale.max(0)).ok()?);
        }
        if scale < 0 {
            let up = ten(u8::try_from(scale.unsigned_abs()).ok()?)?;
            return Decimal::new(mantissa.checked_mul(up)?, 0);
        }
        Decimal::new(mantissa, u8::try_from(scale).ok()?)
    }

    /// The digits after the point.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Whether it is less than zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// The number without zeros at the end of its fraction.
    #[must_use]
    pub fn trimmed(self) -> Decimal {
        let mut out = self;
        while out.scale > 0 && out.mantissa % 10 == 0 {
            out.mantissa /= 10;
            out.scale -= 1;
        }
        out
    }

    /// The same value with more digits after the point.
    fn widened(self, scale: u8) -> Option<i128> {
        self.mantissa.checked_mul(ten(scale.checked_sub(self.scale)?)?)
    }

    /// Both mantissas at one scale.
    fn aligned(self, other: Decimal) -> Option<(i128, i128, u8)> {
        let scale = self.scale.max(other.scale);
        if let (Some(a), Some(b)) = (self.widened(scale), other.widened(scale)) {
            return Some((a, b, scale));
        }
        let (a, b) = (self.trimmed(), other.trimmed());
        let scale = a.scale.max(b.scale);
        Some((a.widened(scale)?, b.widened(scale)?, scale))
    }

    /// The sum.
    #[must_use]
    pub fn checked_add(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        Decimal::new(a.checked_add(b)?, scale)
    }

    /// The difference.
    #[must_use]
    pub fn checked_sub(self, other: Decimal) -> Option<Decimal> {
        self.checked_add(other.negated())
    }

    /// The product; digits after the 28th of the fraction are rounded only when it
    /// would not fit otherwise.
    #[must_use]
    pub fn checked_mul(self, other: Decimal) -> Option<Decimal> {
        let exact = |a: Decimal, b: Decimal| {
            Decimal::new(a.mantissa.checked_mul(b.mantissa)?, a.scale.checked_add(b.scale)?)
        };
        if let Some(product) = exact(self, other) {
            return Some(product);
        }
        let (mut a, mut b) = (self.trimmed(), other.trimmed());
        loop {
            if let Some(product) = exact(a, b) {
                return Some(product);
            }
            if a.scale < b.scale {
                std::mem::swap(&mut a, &mut b);
            }
            // Digits that can't be kept fall off the longer fraction.
            a = a.round(a.scale.checked_sub(1).filter(|s| *s >= 8)?);
        }
    }

    /// The quotient, to 28 digits after the point or what fits; `None` for a division by
    /// zero.
    #[must_use]
    pub fn checked_div(self, other: Decimal) -> Option<Decimal> {
        if other.mantissa == 0 {
            return None;
        }
        let (a, b) = (self.trimmed(), other.trimmed());
        let (mut top, bottom) = (a.mantissa, b.mantissa);
        // scale of the quotient = a.scale - b.scale + digits added to the top.
        let mut scale = i32::from(a.scale) - i32::from(b.scale);
        while scale < i32::from(QUOTIENT_SCALE) {
            let Some(more) = top.checked_mul(10) else { break };
            top = more;
            scale += 1;
        }
        // Below zero only where the number before the division fills all digits.
        let scale = u8::try_from(scale).ok()?;
        let (mut quotient, rest) = (top.checked_div(bottom)?, top.checked_rem(bottom)?);
        if rest.unsigned_abs() >= bottom.unsigned_abs().div_ceil(2) {
            quotient = quotient.checked_add(if (top < 0) == (bottom < 0) { 1 } else { -1 })?;
        }
        Some(Decimal::new(quotient, scale)?.trimmed())
    }

    /// The whole part of the quotient; `None` for a division by zero.
    #[must_use]
    pub fn div_whole(self, other: Decimal) -> Option<Decimal> {
        let (a, b, _) = self.aligned(other)?;
        Decimal::new(a.checked_div(b)?, 0)
    }

    /// What is left after [`Decimal::div_whole`]; `None` for a division by zero.
    #[must_use]
    pub fn checked_rem(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        Decimal::new(a.checked_rem(b)?, scale)
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(self) -> Decimal {
        Decimal { mantissa: self.mantissa.saturating_neg(), ..self }
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(self) -> Decimal {
        if self.is_negative() { self.negated() } else { self }
    }

    /// Rounded, half away from zero, to at most so many digits after the point.
    #[must_use]
    pub fn round(self, scale: u8) -> Decimal {
        let Some(unit) = self.scale.checked_sub(scale).filter(|n| *n > 0).and_then(ten) else {
            return self;
        };
        let (mut mantissa, rest) = (self.mantissa / unit, self.mantissa % unit);
        if rest.unsigned_abs() >= unit.unsigned_abs() / 2 {
            mantissa += if self.mantissa < 0 { -1 } else { 1 };
        }
        Decimal { mantissa, scale }
    }

    /// With exactly so many digits after the point; what is beyond falls down (`up`
    /// false) or up to the next unit of that scale.
    #[must_use]
    pub fn directed(self, scale: u8, up: bool) -> Option<Decimal> {
        let Some(less) = self.scale.checked_sub(scale) else {
            return Decimal::new(self.widened(scale)?, scale);
        };
        let unit = ten(less)?;
        let (mut mantissa, rest) = (self.mantissa.div_euclid(unit), self.mantissa.rem_euclid(unit));
        if up && rest != 0 {
            mantissa += 1;
        }
        Decimal::new(mantissa, scale)
    }

    /// Half of the last digit's place: 0.005 for 1.25, 0.5 for 3.
    #[must_use]
    pub fn half_unit(self) -> Option<Decimal> {
        Decimal::new(5, self.scale.checked_add(1)?)
    }

    /// The whole part.
    #[must_use]
    pub fn truncate(self) -> Decimal {
        Decimal { mantissa: ten(self.scale).map_or(0, |unit| self.mantissa / unit), scale: 0 }
    }

    /// The greatest whole number that is not above it.
    #[must_use]
    pub fn floor(self) -> Decimal {
        self.directed(0, false).unwrap_or(self)
    }

    /// The least whole number that is not below it.
    #[must_use]
    pub fn ceiling(self) -> Decimal {
        self.directed(0, true).unwrap_or(self)
    }

    /// A whole number of 32 bits, when it is one.
    #[must_use]
    pub fn to_integer(self) -> Option<i32> {
        let n = self.trimmed();
        if n.scale == 0 { i32::try_from(n.mantissa).ok() } else { None }
    }

    /// A whole number of 64 bits, the fraction cut off.
    #[must_use]
    pub fn whole(self) -> Option<i64> {
        i64::try_from(self.truncate().mantissa).ok()
    }

    /// The square root, exact where it is rational within 19 digits; `None` below zero.
    #[must_use]
    pub fn sqrt(self) -> Option<Decimal> {
        if self.is_negative() {
            return None;
        }
        let mut n = self.trimmed();
        if n.scale % 2 == 1 {
            n = Decimal::new(n.mantissa.checked_mul(10)?, n.scale + 1)?;
        }
        while n.scale < 34 {
            let Some(more) = n.mantissa.checked_mul(100) else { break };
            n = Decimal { mantissa: more, scale: n.scale + 2 };
        }
        let root = n.mantissa.unsigned_abs().isqrt();
        Some(Decimal::new(i128::try_from(root).ok()?, n.scale / 2)?.trimmed())
    }

    /// The power; whole exponents are exact. `None` where it is no real number.
    #[must_use]
    pub fn power(self, exponent: Decimal) -> Option<Decimal> {
        let Some(mut left) = exponent.to_integer().filter(|n| *n >= 0) else {
            return Decimal::from_f64(self.to_f64().powf(exponent.to_f64()));
        };
        let (mut out, mut base) = (Decimal::ONE, self);
        while left > 0 {
            if left % 2 == 1 {
                out = out.checked_mul(base)?;
            }
            left /= 2;
            if left > 0 {
                base = base.checked_mul(base)?;
            }
        }
        Some(out)
    }

    /// e to this power, to 15 digits.
    #[must_use]
    pub fn exp(self) -> Option<Decimal> {
        Decimal::from_f64(self.to_f64().exp())
    }

    /// The natural logarithm, to 15 digits.
    #[must_use]
    pub fn ln(self) -> Option<Decimal> {
        Decimal::from_f64(self.to_f64().ln())
    }

    /// The logarithm to a base, to 12 digits after the point.
    #[must_use]
    pub fn log(self, base: Decimal) -> Option<Decimal> {
        let n = Decimal::from_f64(self.to_f64().ln() / base.to_f64().ln())?;
        Some(n.round(12).trimmed())
    }

    /// The nearest binary number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    fn from_f64(n: f64) -> Option<Decimal> {
        if !n.is_finite() {
            return None;
        }
        Some(Decimal::parse(&format!("{n:.14e}"))?.trimmed())
    }

    /// The mantissa without zeros at its end, and their count: equal values are equal.
    #[must_use]
    pub fn key(self) -> (i128, u8) {
        let n = self.trimmed();
        (n.mantissa, n.scale)
    }
}

impl From<i32> for Decimal {
    fn from(n: i32) -> Self {
        Decimal { mantissa: i128::from(n), scale: 0 }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // Whole parts first; then fractions, which fit at the greatest scale.
        let parts = |n: &Decimal| {
            let unit = ten(n.scale).unwrap_or(i128::MAX);
            let rest = n.mantissa.rem_euclid(unit);
            (
                n.mantissa.div_euclid(unit),
                rest.saturating_mul(ten(MAX_SCALE - n.scale).unwrap_or(1)),
            )
        };
        parts(self).cmp(&parts(other))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = ten(self.scale).unwrap_or(i128::MAX).unsigned_abs();
        let (whole, rest) =
            (self.mantissa.unsigned_abs() / unit, self.mantissa.unsigned_abs() % unit);
        if self.mantissa < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if self.scale > 0 {
            write!(f, ".{rest:0width$}", width = usize::from(self.scale))?;
        }
        Ok(())
    }
}

/// A value of a resource may be in it.
impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decimal(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn number_text_comes_back_as_it_was() {
        for text in ["0", "1.10", "-0.0034", "12345678901234567890123456.7890", "0.000"] {
            assert_eq!(d(text).to_string(), text);
        }
        assert_eq!(d("1.5e3").to_string(), "1500");
        assert_eq!(d("1.50E-2").to_string(), "0.0150");
        for bad in
            ["", ".", "1.", ".5", "1..2", "1e", "--1", "1e999999999999", "9".repeat(40).as_str()]
        {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_is_exact() {
        assert_eq!(d("0.1").checked_add(d("0.2")).unwrap().to_string(), "0.3");
        assert_eq!(d("1.8").checked_sub(d("1.2")).unwrap(), d("0.6"));
        assert_eq!(d("1.2").checked_mul(d("1.8")).unwrap().to_string(), "2.16");
        assert_eq!(
            d("1").checked_div(d("3")).unwrap().to_string(),
            format!("0.{}", "3".repeat(28))
        );
        assert_eq!(
            d("2").checked_div(d("-3")).unwrap().to_string(),
            format!("-0.{}7", "6".repeat(27))
        );
        assert_eq!(d("2.2").checked_rem(d("1.8")).unwrap(), d("0.4"));
        assert_eq!(d("-7").div_whole(d("2")).unwrap(), d("-3"));
        assert!(d("1").checked_div(Decimal::ZERO).is_none());
        assert!(d("1").checked_rem(Decimal::ZERO).is_none());
        assert_eq!(d("81").sqrt().unwrap(), d("9"));
        assert_eq!(d("0.25").sqrt().unwrap().to_string(), "0.5");
        assert_eq!(d("2.5").power(d("2")).unwrap(), d("6.25"));
        assert!(d("-1").power(d("0.5")).is_none());
        assert_eq!(d("16").log(d("2")).unwrap(), d("4"));
        assert_eq!(d("0").exp().unwrap(), d("1"));
    }

    #[test]
    fn rounding_is_half_away_from_zero_and_floors_go_down() {
        assert_eq!(d("2.5").round(0), d("3"));
        assert_eq!(d("-2.5").round(0), d("-3"));
        assert_eq!(d("3.14159").round(3), d("3.142"));
        assert_eq!(d("-1.1").ceiling(), d("-1"));
        assert_eq!(d("-2.1").floor(), d("-3"));
        assert_eq!(d("-1.56").truncate(), d("-1"));
    }

    #[test]
    fn order_holds_at_the_ends_of_the_range() {
        let big = Decimal::new(i128::MAX, 0).unwrap();
        let small = Decimal::new(1, 38).unwrap();
        assert!(big > small && small > Decimal::ZERO && big.negated() < small.negated());
        assert_eq!(d("1.0"), d("1.000"));
        assert!(d("-1.5") < d("-1.4"));
        assert!(big.checked_add(big).is_none());
    }
}
