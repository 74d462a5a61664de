//! Dates, date-times and times that may be known only in part: `2014`, `2014-03`,
//! `T10:30`. Comparing two of them may have no answer, and then there is none.
//!
//! Seconds and their fraction are one precision, as FHIRPath has it. A date-time without
//! an offset is of an unknown zone: against one with an offset it is compared by the span
//! of all zones, from -12:00 to +14:00.
//!
//! Source: <https://hl7.org/fhirpath/N1/#datetime-arithmetic>, `#comparison`, `#equals`

use std::cmp::Ordering;
use std::fmt;

use crate::calendar;

/// How much of a moment is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the unit of that name")]
pub enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// Seconds with a fraction.
    Fraction,
}

/// What sort of moment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the System type of that name")]
pub enum Sort {
    Date,
    DateTime,
    Time,
}

/// A date, a date-time or a time of day, known up to its precision.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moment {
    sort: Sort,
    precision: Precision,
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
    /// Digits of the fraction as written.
    digits: u8,
    /// Minutes east of UTC.
    offset: Option<i16>,
}

/// A unit of calendar or clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the unit of that name")]
pub enum Span {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

fn days_in(year: i32, month: u8) -> u8 {
    u8::try_from(calendar::month_days(year.into(), month.into())).unwrap_or(31)
}

/// Days since 1970-01-01.
fn day_number(year: i32, month: u8, day: u8) -> i64 {
    calendar::days_of(year.into(), month.into(), day.into())
}

fn date_of(number: i64) -> (i64, u8, u8) {
    let (year, month, day) = calendar::date_of(number);
    (year, u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

/// Reads digits from the front of a text.
struct Reader<'t>(&'t str);

impl Reader<'_> {
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (head, rest) = self.0.split_at_checked(count)?;
        if !head.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.0 = rest;
        head.parse().ok()
    }

    fn eat(&mut self, what: char) -> bool {
        match self.0.strip_prefix(what) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn two(&mut self, max: u32) -> Option<u8> {
        self.digits(2).filter(|n| *n <= max).and_then(|n| u8::try_from(n).ok())
    }
}

impl Moment {
    const START: Moment = Moment {
        sort: Sort::Date,
        precision: Precision::Year,
        year: 1,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        digits: 0,
        offset: None,
    };

    /// Reads `2014`, `2014-03`, `2014-03-01`.
    #[must_use]
    pub fn date(text: &str) -> Option<Moment> {
        let mut reader = Reader(text);
        let date = Moment::START.with_date(&mut reader)?;
        reader.0.is_empty().then_some(date)
    }

    /// Reads a date, or a date with `T` and perhaps a time and an offset.
    #[must_use]
    pub fn date_time(text: &str) -> Option<Moment> {
        let mut reader = Reader(text);
        let date = Moment::START.with_date(&mut reader)?;
        let mut out = Moment { sort: Sort::DateTime, ..date };
        if reader.eat('T') && !reader.0.is_empty() {
            if out.precision != Precision::Day {
                return None;
            }
            out = out.with_time(&mut reader)?;
            if reader.eat('Z') {
                out.offset = Some(0);
            } else if let Some(east) = [('+', 1_i16), ('-', -1)]
                .into_iter()
                .find_map(|(c, sign)| reader.eat(c).then_some(sign))
            {
                let hours = i16::from(reader.two(14)?);
                if !reader.eat(':') {
                    return None;
                }
                out.offset = Some(east * (hours * 60 + i16::from(reader.two(59)?)));
            }
        }
        reader.0.is_empty().then_some(out)
    }

    /// Reads `10`, `10:30`, `10:30:00.5`.
    #[must_use]
    pub fn time(text: &str) -> Option<Moment> {
        let mut reader = Reader(text);
        let time = Moment { sort: Sort::Time, ..Moment::START }.with_time(&mut reader)?;
        reader.0.is_empty().then_some(time)
    }

    fn with_date(self, reader: &mut Reader<'_>) -> Option<Moment> {
        let mut out = self;
        out.year = i32::try_from(reader.digits(4)?).ok().filter(|y| *y > 0)?;
        if reader.eat('-') {
            out.month = reader.two(12).filter(|m| *m > 0)?;
            out.precision = Precision::Month;
            if reader.eat('-') {
                out.day = reader.two(31).filter(|d| *d > 0)?;
                out.precision = Precision::Day;
                if out.day > days_in(out.year, out.month) {
                    return None;
                }
            }
        }
        Some(out)
    }

    fn with_time(self, reader: &mut Reader<'_>) -> Option<Moment> {
        let mut out = self;
        out.hour = reader.two(23)?;
        out.precision = Precision::Hour;
        if reader.eat(':') {
            out.minute = reader.two(59)?;
            out.precision = Precision::Minute;
            if reader.eat(':') {
                // A leap second is kept as written.
                out.second = reader.two(60)?;
                out.precision = Precision::Second;
                if reader.eat('.') {
                    let count = reader.0.bytes().take_while(u8::is_ascii_digit).count();
                    if count == 0 {
                        return None;
                    }
                    let kept = count.min(9);
                    let nanos = reader.digits(kept)?;
                    reader.0 = reader.0.trim_start_matches(|c: char| c.is_ascii_digit());
                    let up = 10_u32.pow(u32::try_from(9 - kept).ok()?);
                    out.nanos = nanos * up;
                    out.digits = u8::try_from(kept).ok()?;
                    out.precision = Precision::Fraction;
                }
            }
        }
        Some(out)
    }

    /// What sort it is.
    #[must_use]
    pub fn sort(self) -> Sort {
        self.sort
    }

    /// How much of it is known.
    #[must_use]
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// The date alone, as a Date.
    #[must_use]
    pub fn to_date(self) -> Moment {
        Moment {
            sort: Sort::Date,
            precision: self.precision.min(Precision::Day),
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            digits: 0,
            offset: None,
            ..self
        }
    }

    /// The same as a DateTime.
    #[must_use]
    pub fn to_date_time(self) -> Moment {
        Moment { sort: Sort::DateTime, ..self }
    }

    /// The time of day alone, as a Time.
    #[must_use]
    pub fn to_time(self) -> Moment {
        Moment {
            sort: Sort::Time,
            precision: self.precision.max(Precision::Hour),
            year: 1,
            month: 1,
            day: 1,
            offset: None,
            ..self
        }
    }

    /// Nanoseconds from 1970-01-01 to the first instant it may mean, zone left out.
    fn start(self) -> i128 {
        let seconds =
            i128::from(self.hour) * 3600 + i128::from(self.minute) * 60 + i128::from(self.second);
        i128::from(day_number(self.year, self.month, self.day)) * DAY
            + seconds * SECOND
            + i128::from(self.nanos)
    }

    /// The instant after the last one that it may mean, zone left out; for seconds it is
    /// the start, since seconds are exact with or without a fraction.
    fn end(self) -> i128 {
        let days = |year, month| i128::from(day_number(year, month, 1)) * DAY;
        match self.precision {
            Precision::Year => days(self.year + 1, 1),
            Precision::Month if self.month == 12 => days(self.year + 1, 1),
            Precision::Month => days(self.year, self.month + 1),
            Precision::Day => self.start() + DAY,
            Precision::Hour => self.start() + 3600 * SECOND,
            Precision::Minute => self.start() + 60 * SECOND,
            Precision::Second | Precision::Fraction => self.start(),
        }
    }

    /// Which is earlier, when that is certain. `None` when one is less precise and the
    /// other lies within it, or when a zone is unknown and could decide.
    #[must_use]
    pub fn order(self, other: Moment) -> Option<Ordering> {
        let minute = 60 * SECOND;
        let (mut a, mut b) = ((self.start(), self.end()), (other.start(), other.end()));
        if self.precision.min(other.precision) >= Precision::Hour {
            let shift = |m: Moment, s: (i128, i128), spread: bool| match m.offset {
                Some(east) => (s.0 - i128::from(east) * minute, s.1 - i128::from(east) * minute),
                None if spread => (s.0 - 14 * 60 * minute, s.1 + 12 * 60 * minute),
                None => s,
            };
            let spread = self.offset.is_some() != other.offset.is_some();
            (a, b) = (shift(self, a, spread), shift(other, b, spread));
        }
        if a == b {
            let exact = self.precision >= Precision::Second || self.precision == other.precision;
            return exact.then_some(Ordering::Equal);
        }
        // An end stands after the last instant, except where it is the only one.
        let before = |x: (i128, i128), y: (i128, i128)| x.1 < y.0 || (x.1 == y.0 && x.0 != x.1);
        if before(a, b) {
            Some(Ordering::Less)
        } else if before(b, a) {
            Some(Ordering::Greater)
        } else {
            None
        }
    }

    /// Whether both say the same with the same precision.
    #[must_use]
    pub fn equivalent(self, other: Moment) -> bool {
        let level = |m: Moment| m.precision.min(Precision::Second);
        self.sort == other.sort
            && level(self) == level(other)
            && self.order(other) == Some(Ordering::Equal)
    }

    /// Later by so many units, or earlier when negative. Units finer than the precision
    /// count as whole units of it; a day that the month does not have becomes its last.
    /// `None` beyond the years 1 to 9999, and for years to days of a time.
    #[must_use]
    pub fn plus(self, amount: i64, span: Span) -> Option<Moment> {
        use Precision as P;
        let nanos = |unit: i128| i128::from(amount).checked_mul(unit);
        if self.sort == Sort::Time {
            let by = match span {
                Span::Hour => nanos(3600 * SECOND)?,
                Span::Minute => nanos(60 * SECOND)?,
                Span::Second => nanos(SECOND)?,
                Span::Millisecond => nanos(SECOND / 1000)?,
                _ => return None,
            };
            return self.moved(by, true);
        }
        let months = match span {
            Span::Year => Some(amount.checked_mul(12)?),
            Span::Month => Some(amount),
            _ => None,
        };
        let days = match span {
            Span::Week => amount.checked_mul(7)?,
            Span::Day => amount,
            Span::Hour => amount / 24,
            Span::Minute => amount / (24 * 60),
            Span::Second => amount / 86_400,
            Span::Millisecond => amount / 86_400_000,
            _ => 0,
        };
        match (self.precision, months) {
            (P::Year, Some(months)) => self.months_on(months / 12 * 12),
            (P::Year, None) => self.months_on(days / 365 * 12),
            (_, Some(months)) => self.months_on(months),
            (P::Month, None) => self.months_on(days / 30),
            (P::Day, None) => self.moved(i128::from(days) * DAY, false),
            (_, None) => {
                let by = match span {
                    Span::Week => nanos(7 * DAY)?,
                    Span::Day => nanos(DAY)?,
                    Span::Hour => nanos(3600 * SECOND)?,
                    Span::Minute => nanos(60 * SECOND)?,
                    Span::Second => nanos(SECOND)?,
                    _ => nanos(SECOND / 1000)?,
                };
                let unit = match self.precision {
                    P::Hour => 3600 * SECOND,
                    P::Minute => 60 * SECOND,
                    P::Second => SECOND,
                    _ => 1,
                };
                self.moved(by / unit * unit, false)
            }
        }
    }

    fn months_on(self, months: i64) -> Option<Moment> {
        let all = i64::from(self.year).checked_mul(12)?.checked_add(i64::from(self.month) - 1)?;
        let all = all.checked_add(months)?;
        let year = i32::try_from(all.div_euclid(12)).ok().filter(|y| (1..=9999).contains(y))?;
        let month = u8::try_from(all.rem_euclid(12) + 1).ok()?;
        Some(Moment { year, month, day: self.day.min(days_in(year, month)), ..self })
    }

    fn moved(self, by: i128, around: bool) -> Option<Moment> {
        let at = self.start().checked_add(by)?;
        let (day, rest) = (at.div_euclid(DAY), at.rem_euclid(DAY));
        let (year, month, day) = if around { (1, 1, 1) } else { date_of(i64::try_from(day).ok()?) };
        let year = i32::try_from(year).ok().filter(|y| (1..=9999).contains(y))?;
        let seconds = rest / SECOND;
        Some(Moment {
            year,
            month,
            day,
            hour: u8::try_from(seconds / 3600).ok()?,
            minute: u8::try_from(seconds / 60 % 60).ok()?,
            second: u8::try_from(seconds % 60).ok()?,
            nanos: u32::try_from(rest % SECOND).ok()?,
            ..self
        })
    }

    /// The digits of what is known: 4 for a year, 17 for a date-time to the millisecond,
    /// 9 for such a time.
    #[must_use]
    pub fn digits(self) -> i32 {
        let date = match self.precision {
            Precision::Year => 4,
            Precision::Month => 6,
            Precision::Day => 8,
            Precision::Hour => 10,
            Precision::Minute => 12,
            Precision::Second => 14,
            Precision::Fraction => 17,
        };
        if self.sort == Sort::Time { date - 8 } else { date }
    }

    /// The first or the last moment of this precision (in digits) that it may mean. A
    /// date-time of an unknown zone gets the zone that makes it the earliest or latest.
    /// `None` for digits that no precision has.
    #[must_use]
    pub fn boundary(self, high: bool, digits: i32) -> Option<Moment> {
        let wanted = match if self.sort == Sort::Time { digits + 8 } else { digits } {
            4 => Precision::Year,
            6 => Precision::Month,
            8 => Precision::Day,
            10 => Precision::Hour,
            12 => Precision::Minute,
            14 => Precision::Second,
            17 => Precision::Fraction,
            _ => return None,
        };
        let allowed = match self.sort {
            Sort::Date => wanted <= Precision::Day,
            Sort::DateTime => true,
            Sort::Time => wanted >= Precision::Hour,
        };
        if !allowed {
            return None;
        }
        let mut out = self;
        // FHIR has no hour without a minute: `T08` is 08:00 (so the suite of HL7).
        let known =
            if self.precision == Precision::Hour { Precision::Minute } else { self.precision };
        if high {
            if known < Precision::Month {
                out.month = 12;
            }
            if known < Precision::Day {
                out.day = days_in(out.year, out.month);
            }
            if known < Precision::Hour {
                out.hour = 23;
            }
            if known < Precision::Minute {
                out.minute = 59;
            }
            if known < Precision::Second {
                out.second = 59;
            }
            if known < Precision::Fraction {
                out.nanos = 999_000_000;
            }
        }
        out.precision = wanted;
        out.digits = if wanted == Precision::Fraction { 3 } else { 0 };
        if wanted < Precision::Hour {
            out.offset = None;
        } else if self.sort == Sort::DateTime && out.offset.is_none() {
            out.offset = Some(if high { -12 * 60 } else { 14 * 60 });
        }
        Some(out)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sort != Sort::Time {
            write!(f, "{:04}", self.year)?;
            if self.precision >= Precision::Month {
                write!(f, "-{:02}", self.month)?;
            }
            if self.precision >= Precision::Day {
                write!(f, "-{:02}", self.day)?;
            }
            if self.precision >= Precision::Hour {
                f.write_str("T")?;
            }
        }
        if self.precision >= Precision::Hour {
            write!(f, "{:02}", self.hour)?;
        }
        if self.precision >= Precision::Minute {
            write!(f, ":{:02}", self.minute)?;
        }
        if self.precision >= Precision::Second {
            write!(f, ":{:02}", self.second)?;
        }
        if self.precision >= Precision::Fraction {
            let digits = usize::from(self.digits.clamp(1, 9));
            // Arithmetic may need more digits than were written.
            let text = format!("{:09}", self.nanos);
            let needed = text.trim_end_matches('0').len().max(digits);
            write!(f, ".{}", text.get(..needed).unwrap_or_default())?;
        }
        match self.offset.filter(|_| self.precision >= Precision::Hour) {
            Some(0) => f.write_str("Z"),
            Some(east) => {
                let (sign, of) = if east < 0 { ('-', -east) } else { ('+', east) };
                write!(f, "{sign}{:02}:{:02}", of / 60, of % 60)
            }
            None => Ok(()),
        }
    }
}

/// A value of a resource may be in it.
impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(..)", self.sort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dt(text: &str) -> Moment {
        Moment::date_time(text).unwrap()
    }

    #[test]
    fn text_comes_back_as_it_was() {
        for text in
            ["2014", "2014-03", "2014-02-28", "2014-02-28T10:30:00.250+02:00", "2014-01-01T08Z"]
        {
            assert_eq!(dt(text).to_string(), text);
        }
        for bad in [
            "",
            "14",
            "2014-13",
            "2014-02-29",
            "2014-1-1",
            "2014T10:00",
            "2014-01-01T25",
            "2014-01-01T10:00:00.",
        ] {
            assert!(Moment::date_time(bad).is_none(), "{bad}");
        }
        assert!(Moment::date("2014-01-01T10").is_none());
        assert_eq!(Moment::time("10:30").unwrap().to_string(), "10:30");
    }

    #[test]
    fn what_is_not_certain_has_no_order() {
        use Ordering::*;
        let check = |a: &str, b: &str, want: Option<Ordering>| {
            assert_eq!(dt(a).order(dt(b)), want, "{a} {b}");
            assert_eq!(dt(b).order(dt(a)), want.map(Ordering::reverse), "{b} {a}");
        };
        check("2012", "2012-04", None);
        check("2012", "2013-04", Some(Less));
        check("2012-04-15", "2012-04-15", Some(Equal));
        check("2012-04-15", "2012-04-15T10:00:00", None);
        check("2012-04-15T10:00", "2012-04-15T10:00:00", None);
        check("2012-04-15T10:00:00", "2012-04-15T10:00:00.0", Some(Equal));
        check("2012-04-15T15:00:00Z", "2012-04-15T10:00:00", None);
        check("2012-04-15T15:00:00Z", "2012-04-17T10:00:00", Some(Less));
        check("2012-04-15T15:00:00+02:00", "2012-04-15T16:00:00+03:00", Some(Equal));
        check("2017-11-05T01:30:00.0-04:00", "2017-11-05T01:15:00.0-05:00", Some(Less));
    }

    #[test]
    fn arithmetic_keeps_to_the_calendar_and_the_precision() {
        let check = |a: &str, n: i64, span: Span, want: &str| {
            assert_eq!(dt(a).plus(n, span).unwrap().to_string(), want);
        };
        check("2016-01-31", 1, Span::Month, "2016-02-29");
        check("2016-02-29", 1, Span::Year, "2017-02-28");
        check("1973-12-25", 7, Span::Day, "1974-01-01");
        check("2014", 24, Span::Month, "2016");
        check("2014", 23, Span::Month, "2015");
        check("2014-03", -1, Span::Year, "2013-03");
        check("2014-03-01", 25, Span::Hour, "2014-03-02");
        check("2014-03-01T23:59:59.500Z", 600, Span::Millisecond, "2014-03-02T00:00:00.100Z");
        check("2014-03-01T23:59", 61, Span::Second, "2014-03-02T00:00");
        assert!(dt("9999-12-31").plus(1, Span::Day).is_none());
        assert!(dt("2014").plus(i64::MAX, Span::Year).is_none());
        let time = Moment::time("23:30").unwrap();
        assert_eq!(time.plus(1, Span::Hour).unwrap().to_string(), "00:30");
        for n in [-719_468, -1, 0, 59, 60, 11_016, 2_932_896] {
            let (y, m, d) = date_of(n);
            assert_eq!(day_number(i32::try_from(y).unwrap(), m, d), n);
        }
    }
}
