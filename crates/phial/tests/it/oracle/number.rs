//! Decimals, exact: digits and a power of ten, as they are written.

use std::cmp::Ordering;

/// `digits` × 10^-`scale`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    digits: i128,
    scale: i32,
}

impl Decimal {
    /// A FHIR decimal.
    pub(crate) fn read(text: &str) -> Option<Decimal> {
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((m, p)) => (m, p.trim_start_matches('+').parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { digits, scale: i32::try_from(fraction.len()).ok()? - power })
    }

    /// By sign, then by magnitude, then digit by digit: no power of ten is too high.
    fn cmp_to(self, other: Decimal) -> Ordering {
        if self.digits.signum() != other.digits.signum() || self.digits == 0 {
            return self.digits.signum().cmp(&other.digits.signum());
        }
        let text = |d: Decimal| d.digits.unsigned_abs().to_string();
        let (mut a, mut b) = (text(self), text(other));
        let magnitude = |t: &str, d: Decimal| i32::try_from(t.len()).unwrap() - d.scale;
        let order = magnitude(&a, self).cmp(&magnitude(&b, other)).then_with(|| {
            while a.len() < b.len() {
                a.push('0');
            }
            while b.len() < a.len() {
                b.push('0');
            }
            a.cmp(&b)
        });
        if self.digits < 0 { order.reverse() } else { order }
    }

    pub(crate) fn less(self, other: Decimal) -> bool {
        self.cmp_to(other) == Ordering::Less
    }

    pub(crate) fn same(self, other: Decimal) -> bool {
        self.cmp_to(other) == Ordering::Equal
    }

    pub(crate) fn order(self, other: Decimal) -> Ordering {
        self.cmp_to(other)
    }

    /// Half a unit of the last written digit either way. By R4 3.1.1.4.6, `1e2` has one
    /// significant digit, and yet the range given is 95 to 105.
    pub(crate) fn range(text: &str) -> Option<(Decimal, Decimal)> {
        let mut d = Decimal::read(text)?;
        if text.contains(['e', 'E']) && !text.contains('.') && d.scale < 0 {
            d = Decimal { digits: d.digits * 10, scale: d.scale + 1 };
        }
        let (ten, scale) = (d.digits * 10, d.scale + 1);
        Some((Decimal { digits: ten - 5, scale }, Decimal { digits: ten + 5, scale }))
    }

    /// A tenth of it either way.
    pub(crate) fn about(self) -> (Decimal, Decimal) {
        let (n, scale) = (self.digits * 10, self.scale + 1);
        let tenth = self.digits.abs();
        (Decimal { digits: n - tenth, scale }, Decimal { digits: n + tenth, scale })
    }

    /// Between two of them.
    pub(crate) fn middle(self, other: Decimal) -> Decimal {
        let scale = self.scale.max(other.scale);
        let at = |d: Decimal| d.digits * 10_i128.pow(u32::try_from(scale - d.scale).unwrap());
        Decimal { digits: (at(self) + at(other)) * 5, scale: scale + 1 }
    }
}
