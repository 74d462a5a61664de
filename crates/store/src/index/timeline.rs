//! The timeline of each facet: the versions with its codes, of all patients, in the order
//! of their primary date. Who asks for a code and a time finds just those, however many
//! others have the code or the time; whoever is in a list of a facet (see `list`) is here
//! too, if its type has a primary date.
//!
//! A row is nothing but its key: facet, date column, sequence, patient column, tag.

use rusqlite::Connection;

use super::pack::{put_moment, put_ordered, unzig, zig};
use super::values::Cursor;
use super::young::{self, Order, Pair};
use crate::error::Error;

/// A version in the timeline of its facet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub facet: u32,
    /// The date column, `NO_DATE` and `ODD_DATE` included.
    pub date: i64,
    pub seq: i64,
    pub patient: i64,
    pub tag: u32,
}

impl Moment {
    /// Its row.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = start(self.facet, self.date);
        put_ordered(&mut key, self.seq.cast_unsigned());
        put_ordered(&mut key, zig(self.patient));
        put_ordered(&mut key, u64::from(self.tag));
        key
    }

    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let mut c = Cursor(key);
        Some(Moment {
            facet: u32::try_from(c.ordered()?).ok()?,
            date: c.moment()?,
            seq: c.ordered()?.cast_signed(),
            patient: unzig(c.ordered()?),
            tag: u32::try_from(c.ordered()?).ok()?,
        })
    }
}

fn start(facet: u32, date: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    put_ordered(&mut key, u64::from(facet));
    put_moment(&mut key, date);
    key
}

const UP: Pair = Pair {
    old: "SELECT k FROM line WHERE k>=?1 AND k<=?2 ORDER BY k",
    young: "SELECT k FROM line_young WHERE k>=?1 AND k<=?2 ORDER BY k",
};

const DOWN: Pair = Pair {
    old: "SELECT k FROM line WHERE k>=?1 AND k<=?2 ORDER BY k DESC",
    young: "SELECT k FROM line_young WHERE k>=?1 AND k<=?2 ORDER BY k DESC",
};

/// Calls `each` with the versions of a facet whose date column is from `low` to `high`, by
/// date and sequence, until it says stop (false).
pub(super) fn scan(
    conn: &Connection,
    facet: u32,
    (low, high): (i64, i64),
    order: Order,
    each: &mut dyn FnMut(Moment) -> Result<bool, Error>,
) -> Result<(), Error> {
    let pair = match order {
        Order::Up => &UP,
        Order::Down => &DOWN,
    };
    let mut end = start(facet, high);
    end.extend_from_slice(&[0xff; 16]);
    young::merged(conn, pair, (&start(facet, low), &end), order, &mut |key| {
        let m = Moment::read(key).ok_or(Error::Unusable)?;
        if low <= m.date && m.date <= high { each(m) } else { Ok(true) }
    })
}

/// Which rows of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Settled,
    Waiting,
}

/// As [`scan`], upwards, of the rows that have settled or of those that still wait.
pub(super) fn part(
    conn: &Connection,
    part: Part,
    facet: u32,
    (low, high): (i64, i64),
    each: &mut dyn FnMut(Moment) -> Result<(), Error>,
) -> Result<(), Error> {
    let sql = match part {
        Part::Settled => UP.old,
        Part::Waiting => UP.young,
    };
    let mut end = start(facet, high);
    end.extend_from_slice(&[0xff; 16]);
    let mut s = conn.prepare_cached(sql)?;
    let mut rows = s.query([start(facet, low), end])?;
    while let Some(r) = rows.next()? {
        let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        let m = Moment::read(key).ok_or(Error::Unusable)?;
        if low <= m.date && m.date <= high {
            each(m)?;
        }
    }
    Ok(())
}

/// Calls `each` with every row.
pub(super) fn all(
    conn: &Connection,
    each: &mut dyn FnMut(Moment) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut s = conn.prepare_cached("SELECT k FROM line UNION ALL SELECT k FROM line_young")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        each(Moment::read(key).ok_or(Error::Unusable)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::db::SCHEMA;
    use crate::index::values::{NO_DATE, ODD_DATE};

    #[test]
    fn a_row_gives_its_version_back_and_sorts_by_its_date() {
        let mut before = Vec::new();
        for date in [NO_DATE, ODD_DATE, -86_400_000_000, 0, 1_500_000, 2_000_000_000_000_000] {
            let m = Moment { facet: 300, date, seq: 70_000, patient: -3, tag: 900 };
            let key = m.key();
            assert_eq!(Moment::read(&key), Some(m));
            assert!(before < key, "{m:?}");
            before = key;
        }
    }

    #[test]
    fn a_stretch_of_a_timeline_is_that_facets_alone_settled_or_not() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        let mut want = Vec::new();
        for n in 0..300_i64 {
            let m = Moment {
                facet: u32::try_from(n % 3).unwrap() + 126,
                date: n / 3 * 1_000_000,
                seq: 1000 - n,
                patient: n,
                tag: 1,
            };
            let table = if n % 2 == 0 { "line" } else { "line_young" };
            conn.execute(&format!("INSERT INTO {table} VALUES(?1)"), [m.key()]).unwrap();
            if m.facet == 127 && (10_000_000..=20_000_000).contains(&m.date) {
                want.push(m);
            }
        }
        let found = |order| {
            let mut found = Vec::new();
            scan(&conn, 127, (10_000_000, 20_000_000), order, &mut |m| {
                found.push(m);
                Ok(true)
            })
            .unwrap();
            found
        };
        assert_eq!(found(Order::Up), want);
        want.reverse();
        assert_eq!(found(Order::Down), want);
        let mut n = 0;
        all(&conn, &mut |_| {
            n += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(n, 300);
    }
}
