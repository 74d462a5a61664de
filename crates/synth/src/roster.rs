//! Who works when: rosters as pure functions of the day, so that any shift of any year
//! is known without writing it down.

use crate::day::Day;

/// A roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Weekdays from eight to half past five, with one weekday off (Monday is 0; 9 for none).
    Office(i32),
    /// Twelve-hour shifts in a cycle of eight days: two days, two off, two nights, two
    /// off. Four people two days apart leave no hour uncovered.
    Round(i32),
}

/// Minutes after midnight at which offices open, and how long they stay open.
pub(crate) const OFFICE: (i64, i64) = (8 * 60, 9 * 60 + 30);

impl Pattern {
    /// The shift that begins on a day: minutes after midnight, and how long it is.
    pub(crate) fn shift(self, day: Day) -> Option<(i64, i64)> {
        match self {
            Pattern::Office(off) => (!day.closed() && day.weekday() != off).then_some(OFFICE),
            Pattern::Round(phase) => match (day.0 + phase).rem_euclid(8) {
                0 | 1 => Some((7 * 60, 12 * 60)),
                4 | 5 => Some((19 * 60, 12 * 60)),
                _ => None,
            },
        }
    }

    /// Whether somebody on this roster is at work at a minute of a day.
    pub(crate) fn covers(self, day: Day, minute: i64) -> bool {
        let within = |day: Day, minute: i64| {
            self.shift(day).is_some_and(|(from, long)| (from..from + long).contains(&minute))
        };
        within(day, minute) || within(day.plus(-1), minute + 1440)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day::TODAY;

    #[test]
    fn four_people_in_turn_cover_every_hour() {
        for first in [0, 1] {
            for minute in (0..30 * 1440).step_by(60) {
                let (day, minute) = (TODAY.plus(minute / 1440), minute % 1440);
                let present = (0..4).filter(|n| Pattern::Round(first + 2 * n).covers(day, minute));
                assert_eq!(present.count(), 1, "{} {minute}", day.iso());
            }
        }
    }

    #[test]
    fn offices_are_empty_on_sunday_night() {
        let sunday = Day::new(2026, 6, 28);
        assert!(!Pattern::Office(9).covers(sunday, 22 * 60));
        assert!(Pattern::Office(9).covers(TODAY, 9 * 60));
        assert!(!Pattern::Office(1).covers(TODAY, 9 * 60), "Tuesday is off");
    }
}
