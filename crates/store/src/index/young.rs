//! Rows that come in no order of their table: hashes, dates, timelines and numbers of all
//! patients mixed.
//! Put in one by one each would change a page of its own, and the more the larger the
//! table is. They wait in a small table of the same form, in which every page is changed
//! often, and settle a stretch of the order at a time, many to a page. Whoever reads
//! looks into both.

use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Error;

/// Rows that wait, at most, give or take a batch.
pub(super) const WAITING: i64 = 65_536;
/// Of these, one in so many goes on waiting while nothing is taken in.
const RESTING: i64 = 32;
/// Rows that settle at a time while nothing is taken in.
const STRETCH: i64 = 4_096;

/// How many rows wait in each table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    pub res_hash: i64,
    pub term_hash: i64,
    pub dat: i64,
    pub line: i64,
    pub num: i64,
    /// More than this, and a table's rows begin to settle.
    pub most: i64,
}

impl Waiting {
    fn tables(&self) -> [i64; 5] {
        [self.res_hash, self.term_hash, self.dat, self.line, self.num]
    }

    fn all(&self) -> i64 {
        self.tables().iter().sum()
    }

    /// Whether so many wait in some table that it is worth while to settle them.
    pub(super) fn is_restless(&self) -> bool {
        self.tables().into_iter().any(|waiting| waiting > self.most / RESTING)
    }

    pub(super) fn count(conn: &Connection, most: i64) -> Result<Self, Error> {
        let of = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0));
        Ok(Waiting {
            res_hash: of("SELECT count(*) FROM res_hash_young")?,
            term_hash: of("SELECT count(*) FROM term_hash_young")?,
            dat: of("SELECT count(*) FROM dat_young")?,
            line: of("SELECT count(*) FROM line_young")?,
            num: of("SELECT count(*) FROM num_young")?,
            most,
        })
    }
}

/// The statements of a table: where a stretch ends, its rows put down, and taken away.
struct Moves {
    table: &'static str,
    end: &'static str,
    put: &'static str,
    take: &'static str,
}

const RES: Moves = Moves {
    table: "settled res_hash",
    end: "SELECT hash FROM res_hash_young WHERE hash>=?1 ORDER BY hash LIMIT 1 OFFSET ?2",
    put: "INSERT OR IGNORE INTO res_hash SELECT hash, num FROM res_hash_young \
          WHERE hash>=?1 AND hash<=?2 ORDER BY hash, num",
    take: "DELETE FROM res_hash_young WHERE hash>=?1 AND hash<=?2",
};

const TERM: Moves = Moves {
    table: "settled term_hash",
    end: "SELECT hash FROM term_hash_young WHERE hash>=?1 ORDER BY hash LIMIT 1 OFFSET ?2",
    put: "INSERT OR IGNORE INTO term_hash SELECT hash, num FROM term_hash_young \
          WHERE hash>=?1 AND hash<=?2 ORDER BY hash, num",
    take: "DELETE FROM term_hash_young WHERE hash>=?1 AND hash<=?2",
};

const DAT: Moves = Moves {
    table: "settled dat",
    end: "SELECT k FROM dat_young WHERE k>=?1 ORDER BY k LIMIT 1 OFFSET ?2",
    put: "INSERT OR IGNORE INTO dat SELECT k FROM dat_young WHERE k>=?1 AND k<=?2 ORDER BY k",
    take: "DELETE FROM dat_young WHERE k>=?1 AND k<=?2",
};

const LINE: Moves = Moves {
    table: "settled line",
    end: "SELECT k FROM line_young WHERE k>=?1 ORDER BY k LIMIT 1 OFFSET ?2",
    put: "INSERT OR IGNORE INTO line SELECT k FROM line_young WHERE k>=?1 AND k<=?2 ORDER BY k",
    take: "DELETE FROM line_young WHERE k>=?1 AND k<=?2",
};

const NUM: Moves = Moves {
    table: "settled num",
    end: "SELECT k FROM num_young WHERE k>=?1 ORDER BY k LIMIT 1 OFFSET ?2",
    put: "INSERT OR IGNORE INTO num SELECT k FROM num_young WHERE k>=?1 AND k<=?2 ORDER BY k",
    take: "DELETE FROM num_young WHERE k>=?1 AND k<=?2",
};

/// Told between which keys rows are about to settle.
pub(super) type Leaving<'a, K> = &'a mut dyn FnMut(&K, &K) -> Result<(), Error>;

/// Settles a stretch of each table in which too many rows wait, after a batch of records.
/// `leaving` is told between which keys rows of timelines are about to settle.
pub(super) fn settle(
    conn: &Connection,
    waiting: &mut Waiting,
    batch: usize,
    leaving: Leaving<'_, Vec<u8>>,
) -> Result<(), Error> {
    // More than a batch brings, so that the tables get no larger.
    let rows = i64::try_from(batch).unwrap_or(i64::MAX).saturating_mul(4).min(WAITING);
    let most = waiting.most;
    stretches(conn, waiting, most, rows, leaving)
}

/// Settles a stretch of each table while nothing is taken in: a count looks at each row
/// that waits. What is left is few, so that a trickle of records does not change a page
/// for each of them.
pub(super) fn rest(
    conn: &Connection,
    waiting: &mut Waiting,
    leaving: Leaving<'_, Vec<u8>>,
) -> Result<(), Error> {
    let (most, before) = (waiting.most / RESTING, waiting.all());
    stretches(conn, waiting, most, STRETCH, leaving)?;
    if waiting.all() == before {
        // Rows that were taken out while they waited are still counted.
        *waiting = Waiting::count(conn, waiting.most)?;
    }
    Ok(())
}

fn stretches(
    conn: &Connection,
    waiting: &mut Waiting,
    most: i64,
    rows: i64,
    leaving: Leaving<'_, Vec<u8>>,
) -> Result<(), Error> {
    if waiting.res_hash > most {
        waiting.res_hash -=
            stretch::<i64>(conn, &RES, rows, (i64::MIN, i64::MAX), &mut |_, _| Ok(()))?;
    }
    if waiting.term_hash > most {
        waiting.term_hash -=
            stretch::<i64>(conn, &TERM, rows, (i64::MIN, i64::MAX), &mut |_, _| Ok(()))?;
    }
    let all = || (Vec::new(), vec![0xff; 64]);
    if waiting.dat > most {
        waiting.dat -= stretch::<Vec<u8>>(conn, &DAT, rows, all(), &mut |_, _| Ok(()))?;
    }
    if waiting.line > most {
        waiting.line -= stretch::<Vec<u8>>(conn, &LINE, rows, all(), leaving)?;
    }
    if waiting.num > most {
        waiting.num -= stretch::<Vec<u8>>(conn, &NUM, rows, all(), &mut |_, _| Ok(()))?;
    }
    Ok(())
}

/// Settles `rows` rows from where the last stretch ended. Says how many they were.
fn stretch<K: FromSql + ToSql>(
    conn: &Connection,
    moves: &Moves,
    rows: i64,
    (first, last): (K, K),
    leaving: Leaving<'_, K>,
) -> Result<i64, Error> {
    let from: K = place(conn, moves.table)?.unwrap_or(first);
    let end: Option<K> =
        conn.prepare_cached(moves.end)?.query_row(params![from, rows], |r| r.get(0)).optional()?;
    let to = end.as_ref().unwrap_or(&last);
    leaving(&from, to)?;
    conn.prepare_cached(moves.put)?.execute(params![from, to])?;
    let taken = conn.prepare_cached(moves.take)?.execute(params![from, to])?;
    keep_place(conn, moves.table, end)?;
    Ok(i64::try_from(taken).unwrap_or(i64::MAX))
}

/// Where the next stretch of a table begins.
fn place<T: FromSql>(conn: &Connection, name: &str) -> Result<Option<T>, Error> {
    Ok(conn
        .prepare_cached("SELECT value FROM meta WHERE name=?1")?
        .query_row([name], |r| r.get(0))
        .optional()?)
}

/// `None`: from the beginning.
fn keep_place<T: ToSql>(conn: &Connection, name: &str, at: Option<T>) -> Result<(), Error> {
    match at {
        Some(at) => conn
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES(?1, ?2)")?
            .execute(params![name, at])?,
        None => conn.prepare_cached("DELETE FROM meta WHERE name=?1")?.execute([name])?,
    };
    Ok(())
}

/// In which order rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Up,
    Down,
}

/// The statements that read the keys from ?1 to ?2 of a table and of those that wait for
/// it, in one and the same order.
pub(super) struct Pair {
    pub old: &'static str,
    pub young: &'static str,
}

/// Calls `each` with the keys that the statements give, merged in their order, until it
/// says stop (false).
pub(super) fn merged(
    conn: &Connection,
    pair: &Pair,
    (from, to): (&[u8], &[u8]),
    order: Order,
    each: &mut dyn FnMut(&[u8]) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut old = conn.prepare_cached(pair.old)?;
    let mut young = conn.prepare_cached(pair.young)?;
    let mut old = Keys::new(old.query([from, to])?)?;
    let mut young = Keys::new(young.query([from, to])?)?;
    loop {
        let first = match (&old.key, &young.key) {
            (None, None) => return Ok(()),
            (Some(_), None) => &mut old,
            (None, Some(_)) => &mut young,
            (Some(a), Some(b)) if (a < b) == (order == Order::Up) => &mut old,
            (Some(_), Some(_)) => &mut young,
        };
        if let Some(key) = &first.key
            && !each(key)?
        {
            return Ok(());
        }
        first.step()?;
    }
}

/// The keys of one table, the next one read.
struct Keys<'s> {
    rows: rusqlite::Rows<'s>,
    key: Option<Vec<u8>>,
}

impl<'s> Keys<'s> {
    fn new(rows: rusqlite::Rows<'s>) -> Result<Self, Error> {
        let mut all = Keys { rows, key: Some(Vec::new()) };
        all.step()?;
        Ok(all)
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.rows.next()? {
            None => self.key = None,
            Some(r) => {
                let found = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
                let key = self.key.get_or_insert_default();
                key.clear();
                key.extend_from_slice(found);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::db::SCHEMA;

    #[test]
    fn what_waits_settles_in_stretches_and_nothing_is_lost() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        let mut waiting = Waiting { most: WAITING, ..Waiting::default() };
        let mix = |n: i64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> 20;
        let (mut most, mut left, batch) = (0, 0, 4096);
        for round in 0..24 {
            for n in round * batch..(round + 1) * batch {
                let key = [mix(n).to_be_bytes(), n.to_be_bytes()].concat();
                // Some hashes are shared.
                let hash = mix(n / 3);
                for table in ["dat", "line", "num"] {
                    let sql = format!("INSERT INTO {table}_young VALUES(?1)");
                    conn.prepare_cached(&sql).unwrap().execute([&key]).unwrap();
                }
                for table in ["res", "term"] {
                    let sql = format!("INSERT INTO {table}_hash_young VALUES(?1, ?2)");
                    conn.prepare_cached(&sql).unwrap().execute([hash, n]).unwrap();
                }
            }
            waiting.res_hash += batch;
            waiting.term_hash += batch;
            waiting.dat += batch;
            waiting.line += batch;
            waiting.num += batch;
            let mut told = |from: &Vec<u8>, to: &Vec<u8>| {
                let sql = "SELECT count(*) FROM line_young WHERE k>=?1 AND k<=?2";
                left += conn.query_row(sql, [from, to], |r| r.get::<_, i64>(0)).unwrap();
                Ok(())
            };
            settle(&conn, &mut waiting, usize::try_from(batch).unwrap(), &mut told).unwrap();
            let now = Waiting::count(&conn, WAITING).unwrap();
            assert_eq!(
                (now.res_hash, now.term_hash, now.dat, now.line, now.num),
                (waiting.res_hash, waiting.term_hash, waiting.dat, waiting.line, waiting.num)
            );
            most = most.max(now.dat);
        }
        assert!(most <= WAITING + batch, "{most}");
        for table in ["res_hash", "term_hash", "dat", "line", "num"] {
            let of = |t: String| -> i64 {
                conn.query_row(&format!("SELECT count(*) FROM {t}"), [], |r| r.get(0)).unwrap()
            };
            let settled = of(table.to_owned());
            assert!(settled > 0, "{table}");
            assert!(table != "line" || settled == left);
            assert_eq!(settled + of(format!("{table}_young")), 24 * batch, "{table}");
        }
    }
}
