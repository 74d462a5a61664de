//! The rows of dates: one for each value, ordered by its start.
//!
//! A row is nothing but its key: pcode, start, sequence, how it ends, patient column,
//! tag. The start is what [`put_moment`] makes of it; where that is not exact, or the
//! length is none of [`SPANS`], start and end follow in full.

use rusqlite::Connection;

use super::pack::{is_moment, put_moment, put_ordered, unzig, zig};
use super::values::{Cursor, NO_DATE, ODD_DATE, SPANS};
use super::young::{self, Order, Pair};
use crate::error::Error;

/// In the place of an index in [`SPANS`]: start and end in full.
const IN_FULL: u8 = 255;

/// A date of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dated {
    pub pcode: u32,
    pub low: i64,
    pub seq: i64,
    pub high: i64,
    pub patient: i64,
    pub tag: u32,
}

impl Dated {
    /// Its row.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = start(self.pcode, self.low);
        put_ordered(&mut key, self.seq.cast_unsigned());
        let exact = is_moment(self.low) && self.low != NO_DATE && self.low != ODD_DATE;
        let span = self.high.checked_sub(self.low);
        match SPANS.iter().position(|s| exact && Some(*s) == span) {
            Some(at) => key.push(at as u8),
            None => {
                key.push(IN_FULL);
                key.extend_from_slice(&self.low.to_be_bytes());
                key.extend_from_slice(&self.high.to_be_bytes());
            }
        }
        put_ordered(&mut key, zig(self.patient));
        put_ordered(&mut key, u64::from(self.tag));
        key
    }

    fn read(key: &[u8]) -> Option<Self> {
        let mut c = Cursor(key);
        let pcode = u32::try_from(c.ordered()?).ok()?;
        let mut low = c.moment()?;
        let seq = c.ordered()?.cast_signed();
        let [at] = c.bytes(1)? else { return None };
        let high = if *at == IN_FULL {
            low = i64::from_be_bytes(c.bytes(8)?.try_into().ok()?);
            i64::from_be_bytes(c.bytes(8)?.try_into().ok()?)
        } else {
            low.checked_add(*SPANS.get(usize::from(*at))?)?
        };
        let patient = unzig(c.ordered()?);
        Some(Dated { pcode, low, seq, high, patient, tag: u32::try_from(c.ordered()?).ok()? })
    }
}

fn start(pcode: u32, low: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    put_ordered(&mut key, u64::from(pcode));
    put_moment(&mut key, low);
    key
}

const UP: Pair = Pair {
    old: "SELECT k FROM dat WHERE k>=?1 AND k<=?2 ORDER BY k",
    young: "SELECT k FROM dat_young WHERE k>=?1 AND k<=?2 ORDER BY k",
};

const DOWN: Pair = Pair {
    old: "SELECT k FROM dat WHERE k>=?1 AND k<=?2 ORDER BY k DESC",
    young: "SELECT k FROM dat_young WHERE k>=?1 AND k<=?2 ORDER BY k DESC",
};

/// Calls `each` with the rows of a pcode that start from `low` to `high`, by start and
/// sequence, until it says stop (false).
pub(super) fn scan(
    conn: &Connection,
    pcode: u32,
    (low, high): (i64, i64),
    order: Order,
    each: &mut dyn FnMut(Dated) -> Result<bool, Error>,
) -> Result<(), Error> {
    let pair = match order {
        Order::Up => &UP,
        Order::Down => &DOWN,
    };
    let mut end = start(pcode, high);
    end.extend_from_slice(&[0xff; 16]);
    young::merged(conn, pair, (&start(pcode, low), &end), order, &mut |key| {
        let d = Dated::read(key).ok_or(Error::Unusable)?;
        if low <= d.low && d.low <= high { each(d) } else { Ok(true) }
    })
}

/// Calls `each` with every row.
pub(super) fn all(
    conn: &Connection,
    each: &mut dyn FnMut(Dated) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut s = conn.prepare_cached("SELECT k FROM dat UNION ALL SELECT k FROM dat_young")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        each(Dated::read(key).ok_or(Error::Unusable)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_its_date_back_and_sorts_by_it() {
        let mut before = Vec::new();
        for (low, high) in [
            (i64::MIN, 5),
            (-86_400_000_000, 0),
            (0, 1),
            (0, i64::MAX),
            (1_500_000, 1_500_007),
            (2_000_000, 3_000_000),
            (i64::MAX - 1, i64::MAX),
        ] {
            let d = Dated { pcode: 400, low, seq: 70_000, high, patient: -3, tag: 900 };
            let key = d.key();
            assert_eq!(Dated::read(&key), Some(d));
            assert!(before < key, "{d:?}");
            before = key;
        }
    }
}
