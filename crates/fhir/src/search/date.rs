//! FHIR dates as spans of time: what is written to some precision stands for all the
//! instants that it may mean. A date without zone is taken in UTC.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#date>

use crate::calendar::{days_of, month_days};

/// Microseconds since the epoch, UTC: `low` inclusive, `high` exclusive. An open end is
/// `i64::MIN` or `i64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first microsecond.
    pub low: i64,
    /// The microsecond after the last.
    pub high: i64,
}

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const DAY: i64 = 86_400 * SECOND;

/// The span that a FHIR date, dateTime or instant stands for: `2020`, `2020-02`,
/// `2020-02-29`, and times to the minute or finer with or without zone. `None` for
/// anything else, also for days that no month has.
#[must_use]
pub fn span(text: &str) -> Option<Span> {
    let mut at = Cursor { rest: text.as_bytes() };
    let year = at.digits(4)?;
    if year == 0 {
        return None;
    }
    if at.rest.is_empty() {
        return Some(Span { low: days_of(year, 1, 1) * DAY, high: days_of(year + 1, 1, 1) * DAY });
    }
    at.byte(b'-')?;
    let month = at.digits(2)?;
    if !(1..=12).contains(&month) {
        return None;
    }
    if at.rest.is_empty() {
        let (y, m) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        return Some(Span { low: days_of(year, month, 1) * DAY, high: days_of(y, m, 1) * DAY });
    }
    at.byte(b'-')?;
    let day = at.digits(2)?;
    if day < 1 || day > month_days(year, month) {
        return None;
    }
    let midnight = days_of(year, month, day) * DAY;
    if at.rest.is_empty() {
        return Some(Span { low: midnight, high: midnight + DAY });
    }
    at.byte(b'T')?;
    let hour = at.digits(2)?;
    at.byte(b':')?;
    let minute = at.digits(2)?;
    // 24:00 is not a FHIR time; a leap second is the instant after it.
    if hour > 23 || minute > 59 {
        return None;
    }
    let mut low = midnight + (hour * 60 + minute) * MINUTE;
    let mut width = MINUTE;
    if at.byte(b':').is_some() {
        let second = at.digits(2)?;
        if second > 60 {
            return None;
        }
        low += second * SECOND;
        width = SECOND;
        if at.byte(b'.').is_some() {
            let (micros, digits) = at.fraction()?;
            low += micros;
            width = 10_i64.pow(6_u32.saturating_sub(digits.min(6)));
        }
    }
    low -= at.zone()? * MINUTE;
    Some(Span { low, high: low + width })
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn byte(&mut self, b: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        if *first != b {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    fn digits(&mut self, n: usize) -> Option<i64> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        let mut value = 0;
        for b in head {
            value = value * 10 + i64::from(digit(*b)?);
        }
        self.rest = rest;
        Some(value)
    }

    /// Microseconds and how many digits were written. Digits beyond the sixth are cut.
    fn fraction(&mut self) -> Option<(i64, u32)> {
        let (mut micros, mut digits) = (0, 0_u32);
        while let Some((d, rest)) = self.rest.split_first().and_then(|(b, r)| Some((digit(*b)?, r)))
        {
            if digits < 6 {
                micros = micros * 10 + i64::from(d);
            }
            digits += 1;
            self.rest = rest;
        }
        let scale = 10_i64.pow(6_u32.saturating_sub(digits.min(6)));
        (digits > 0).then_some((micros * scale, digits))
    }

    /// Minutes east of UTC; nothing written means UTC. Must be all that is left.
    fn zone(&mut self) -> Option<i64> {
        let Some((sign, rest)) = self.rest.split_first() else { return Some(0) };
        self.rest = rest;
        let sign = match sign {
            b'Z' => return self.rest.is_empty().then_some(0),
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.digits(2)?;
        self.byte(b':')?;
        let minutes = self.digits(2)?;
        (self.rest.is_empty() && hours <= 14 && minutes <= 59)
            .then_some(sign * (hours * 60 + minutes))
    }
}

fn digit(b: u8) -> Option<u8> {
    b.is_ascii_digit().then(|| b - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_stands_for_all_it_may_mean() {
        for (text, low, high) in [
            ("1970", "1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z"),
            ("2000-02", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z"),
            ("2000-12", "2000-12-01T00:00:00Z", "2001-01-01T00:00:00Z"),
            ("2000-02-29", "2000-02-29T00:00:00Z", "2000-03-01T00:00:00Z"),
            ("2013-01-14T10:00", "2013-01-14T10:00:00Z", "2013-01-14T10:01:00Z"),
            ("2013-01-14T10:00:07+01:00", "2013-01-14T09:00:07Z", "2013-01-14T09:00:08Z"),
            ("2013-01-14T23:00:07.25-05:30", "2013-01-15T04:30:07.25Z", "2013-01-15T04:30:07.26Z"),
            ("1874-06-20", "1874-06-20T00:00:00Z", "1874-06-21T00:00:00Z"),
        ] {
            let t = |s: &str| s.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            assert_eq!(span(text), Some(Span { low: t(low), high: t(high) }), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for bad in [
            "",
            "20",
            "0000",
            "2001-13",
            "2001-02-29",
            "2001-00",
            "2001-01-32",
            "2001-01-01T",
            "2001-01-01T24:00:00Z",
            "2001-01-01T10",
            "2001-01-01T10:00:00.Z",
            "2001-01-01 10:00",
            "2001-01-01T10:00:00+15:00",
            "2001-1-1",
            "2001-01-01T10:00:00Zx",
            "-001",
        ] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
