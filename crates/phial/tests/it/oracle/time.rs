//! Dates as spans of microseconds, counted from 1970 by Julian day numbers.

/// The first microsecond and the one after the last.
pub(crate) type Span = (i128, i128);

/// Before any date, and after any.
pub(crate) const EVER: Span = (i128::MIN, i128::MAX);

const DAY: i128 = 86_400_000_000;

/// The Julian day number of a Gregorian date (Fliegel and Van Flandern 1968).
fn julian(y: i128, m: i128, d: i128) -> i128 {
    let a = (14 - m) / 12;
    let (y, m) = (y + 4800 - a, m + 12 * a - 3);
    d + (153 * m + 2) / 5 + 365 * y + y / 4 - y / 100 + y / 400 - 32045
}

fn midnight(y: i128, m: i128, d: i128) -> i128 {
    (julian(y, m, d) - julian(1970, 1, 1)) * DAY
}

fn number(text: &str, digits: usize) -> Option<i128> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// All that a FHIR date, dateTime or instant may mean; without zone it is in UTC.
pub(crate) fn span(text: &str) -> Option<Span> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let year = number(parts.first()?, 4)?;
    let month = match parts.get(1) {
        Some(m) => Some(number(m, 2).filter(|m| (1..=12).contains(m))?),
        None => None,
    };
    let next =
        |y: i128, m: i128| if m == 12 { midnight(y + 1, 1, 1) } else { midnight(y, m + 1, 1) };
    let day = match parts.get(2) {
        Some(d) => Some(number(d, 2).filter(|d| *d >= 1)?),
        None => None,
    };
    let (y, m, d) = match (month, day) {
        _ if parts.len() > 3 || day.is_none() && time.is_some() => return None,
        (None, _) => return Some((midnight(year, 1, 1), midnight(year + 1, 1, 1))),
        (Some(m), None) => return Some((midnight(year, m, 1), next(year, m))),
        (Some(m), Some(d)) => (year, m, d),
    };
    let start = midnight(y, m, d);
    if start >= next(y, m) {
        return None;
    }
    let Some(time) = time else { return Some((start, start + DAY)) };
    let at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(at);
    let offset = match zone {
        "" | "Z" => 0,
        zone => {
            let (h, m) = zone[1..].split_once(':')?;
            let minutes = number(h, 2)? * 60 + number(m, 2)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let mut low =
        start + (number(parts.first()?, 2)? * 60 + number(parts.get(1)?, 2)?) * 60_000_000;
    let width = match parts.get(2) {
        None => 60_000_000,
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            low += number(whole, 2)? * 1_000_000;
            let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
            low += number(&digits, 6)?;
            10_i128.pow(6 - u32::try_from(fraction.len().min(6)).unwrap())
        }
    };
    low -= offset * 60_000_000;
    Some((low, low + width))
}
