//! Days and moments: the proleptic Gregorian calendar as a count of days, and the
//! summer time of the United States. Refuses the clock: the world stands still.

use crate::json::{Json, Put};

/// The day on which the world stands still: nothing recorded is later. A Tuesday.
pub(crate) const TODAY: Day = Day::new(2026, 6, 30);

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(pub(crate) i32);

impl Day {
    /// The day of a year, month and day of the month.
    pub(crate) const fn new(year: i32, month: i32, day: i32) -> Day {
        // Days from civil, after Howard Hinnant: years begin in March.
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        Day(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    /// Year, month, day of the month.
    pub(crate) const fn parts(self) -> (i32, i32, i32) {
        let z = self.0 + 719_468;
        let era = z.div_euclid(146_097);
        let of_era = z.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
    }

    /// The day so many days later.
    pub(crate) const fn plus(self, days: i64) -> Day {
        Day(self.0 + days as i32)
    }

    /// Days from this one to another.
    pub(crate) const fn until(self, other: Day) -> i64 {
        (other.0 - self.0) as i64
    }

    /// Whole years from this day to another.
    pub(crate) const fn years_to(self, other: Day) -> i64 {
        let (y1, m1, d1) = self.parts();
        let (y2, m2, d2) = other.parts();
        let before = m2 < m1 || (m2 == m1 && d2 < d1);
        (y2 - y1) as i64 - if before { 1 } else { 0 }
    }

    /// Monday is 0.
    pub(crate) const fn weekday(self) -> i32 {
        (self.0 + 3).rem_euclid(7)
    }

    /// Whether offices are closed: weekends and the holidays that most clinics keep.
    pub(crate) fn closed(self) -> bool {
        let (_, month, day) = self.parts();
        let weekday = self.weekday();
        weekday >= 5
            || matches!((month, day), (1, 1) | (7, 4) | (12, 24 | 25))
            || (month == 11 && weekday == 3 && (22..=28).contains(&day))
    }

    /// This day, or the first one after it on which offices are open.
    pub(crate) fn open(self) -> Day {
        let mut day = self;
        while day.closed() {
            day = day.plus(1);
        }
        day
    }

    /// Whether clocks are an hour ahead at noon: from the second Sunday of March to
    /// the first of November.
    fn summer(self) -> bool {
        let (year, ..) = self.parts();
        let sunday = |from: Day| from.plus(i64::from((6 - from.weekday()).rem_euclid(7)));
        (sunday(Day::new(year, 3, 8))..sunday(Day::new(year, 11, 1))).contains(&self)
    }

    /// The day as `2026-06-30`.
    pub(crate) fn iso(self) -> String {
        let mut text = String::with_capacity(10);
        self.write(&mut text);
        text
    }

    pub(crate) fn write(self, to: &mut String) {
        let (year, month, day) = self.parts();
        two(to, year / 100);
        two(to, year % 100);
        to.push('-');
        two(to, month);
        to.push('-');
        two(to, day);
    }
}

/// A number below 100 in two digits.
pub(crate) fn two(to: &mut String, n: i32) {
    let n = n.rem_euclid(100) as u8;
    to.push(char::from(b'0' + n / 10));
    to.push(char::from(b'0' + n % 10));
}

impl Put for Day {
    fn put(&self, to: &mut Json) {
        to.bare(|out| {
            out.push('"');
            self.write(out);
            out.push('"');
        });
    }
}

/// A minute of a day in a place: an instant, written `2026-06-30T09:15:00-04:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    day: Day,
    minute: i64,
    /// Hours behind UTC in winter.
    behind: i32,
}

impl Moment {
    /// Minutes are counted from midnight and may run over into later days.
    pub(crate) const fn new(day: Day, minute: i64, behind: i32) -> Moment {
        let day = day.plus(minute.div_euclid(1440));
        Moment { day, minute: minute.rem_euclid(1440), behind }
    }

    pub(crate) fn write(self, to: &mut String) {
        self.day.write(to);
        to.push('T');
        two(to, (self.minute / 60) as i32);
        to.push(':');
        two(to, (self.minute % 60) as i32);
        to.push_str(":00-");
        two(to, self.behind - i32::from(self.day.summer()));
        to.push_str(":00");
    }

    /// The instant as text.
    pub(crate) fn iso(self) -> String {
        let mut text = String::with_capacity(25);
        self.write(&mut text);
        text
    }
}

impl Put for Moment {
    fn put(&self, to: &mut Json) {
        to.bare(|out| {
            out.push('"');
            self.write(out);
            out.push('"');
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_turn_into_dates_and_back() {
        assert_eq!(Day::new(1970, 1, 1).0, 0);
        assert_eq!(Day::new(2000, 3, 1).0, 11_017);
        for n in (-40_000..30_000).step_by(13) {
            let (year, month, day) = Day(n).parts();
            assert_eq!(Day::new(year, month, day), Day(n));
        }
        assert_eq!(TODAY.iso(), "2026-06-30");
        assert_eq!(TODAY.weekday(), 1);
    }

    #[test]
    fn ages_turn_on_the_birthday() {
        assert_eq!(Day::new(2000, 6, 30).years_to(TODAY), 26);
        assert_eq!(Day::new(2000, 7, 1).years_to(TODAY), 25);
    }

    #[test]
    fn summer_time_begins_and_ends_on_its_sundays() {
        for (day, text) in [
            (Day::new(2026, 3, 7), "2026-03-07T12:00:00-05:00"),
            (Day::new(2026, 3, 8), "2026-03-08T12:00:00-04:00"),
            (Day::new(2026, 10, 31), "2026-10-31T12:00:00-04:00"),
            (Day::new(2026, 11, 1), "2026-11-01T12:00:00-05:00"),
        ] {
            assert_eq!(Moment::new(day, 720, 5).iso(), text);
        }
        assert_eq!(Moment::new(TODAY, 1500, 5).iso(), "2026-07-01T01:00:00-04:00");
    }

    #[test]
    fn offices_close_on_weekends_and_holidays() {
        assert!(Day::new(2025, 11, 27).closed() && Day::new(2025, 12, 25).closed());
        assert!(!TODAY.closed());
        assert_eq!(Day::new(2026, 7, 4).open(), Day::new(2026, 7, 6));
    }
}
