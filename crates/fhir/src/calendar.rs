//! Days of the proleptic Gregorian calendar, by number and by date. Refuses nothing: a
//! caller who must know whether a date exists compares it with [`date_of`] of its number.

/// Days from 1970-01-01 to a date.
#[must_use]
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day ends them.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01.
#[must_use]
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// How many days a month has.
pub(crate) fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_with_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1900, 1, 1), -25_567),
            ((1950, 1, 1), -7_305),
            ((2000, 2, 29), 11_016),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(date_of(days), date);
            assert_eq!(days_of(date.0, date.1, date.2), days);
        }
        for days in -800_000..800_000 {
            let (y, m, d) = date_of(days);
            assert_eq!(days_of(y, m, d), days);
            assert!((1..=month_days(y, m)).contains(&d));
        }
    }
}
