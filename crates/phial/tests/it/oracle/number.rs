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

    fn cmp_to(self, other: Decimal) -> Ordering {
        let scale = self.scale.max(other.scale);
        let at = |d: Decimal| d.digits * 10_i128.pow(u32::try_from(scale - d.scale).unwrap());
        at(self).cmp(&at(other))
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
