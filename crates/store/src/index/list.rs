//! Lists of versions: who has these codes, who refers to that resource, what is about a
//! patient. A list is the versions with one pcode, term and patient column, in the order
//! of date and sequence, cut into rows of at most [`MOST`] entries.
//!
//! A row's key is the list, then date and sequence of its first entry; its value has the
//! tag of that one and the further entries, each by its distance from the one before:
//!
//! | key | value |
//! |---|---|
//! | pcode, system, code, patient \| date, sequence | tag, (sequence + flags, date?, tag?)* |
//! | 0, 0, type, patient \| date, sequence | the same: everything about a patient |
//! | 0, type + 1, facet, patient \| date, sequence | the same: what has the facet's codes |

use rusqlite::{Connection, OptionalExtension, params};

use super::pack::{put_moment, put_ordered, unzig, zig};
use super::values::{Cursor, put_int, put_uint};
use crate::error::Error;

/// Entries of a row.
const MOST: usize = 64;

const SECOND: i64 = 1_000_000;

/// A version in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub date: i64,
    pub seq: i64,
    pub tag: u32,
}

/// What the versions of a list have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct List {
    /// 0: everything of a type about the patient, or what of it has a facet.
    pub pcode: u32,
    /// System above, code below; or the number of a resource; or, with pcode 0, the type,
    /// or one more than the type above and the facet below.
    pub term: i64,
    pub patient: i64,
}

/// The pcode of the lists of everything about a patient and of facets.
pub(super) const ABOUT: u32 = 0;

/// Above the key of every row that begins with what stands before it.
const END: [u8; 16] = [0xff; 16];

impl List {
    /// Everything of a type about a patient column.
    pub(super) fn about(patient: i64, ty: u8) -> Self {
        List { pcode: ABOUT, term: i64::from(ty), patient }
    }

    /// What of a type has the codes of a facet.
    pub(super) fn of_facet(patient: i64, ty: u8, facet: u32) -> Self {
        List { pcode: ABOUT, term: facet_term(ty, facet), patient }
    }

    fn key(&self) -> Vec<u8> {
        let mut key = term_key(self.pcode, self.term);
        put_ordered(&mut key, zig(self.patient));
        key
    }
}

impl List {
    /// The number of the facet whose list it is.
    pub(super) fn facet(&self) -> Option<u32> {
        (self.pcode == ABOUT && self.term >> 32 > 0)
            .then(|| u32::try_from(self.term & 0xffff_ffff).ok())?
    }
}

/// What stands in the place of the term in the lists of a facet: those of a type lie
/// together.
pub(super) fn facet_term(ty: u8, facet: u32) -> i64 {
    (i64::from(ty) + 1) << 32 | i64::from(facet)
}

fn term_key(pcode: u32, term: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    put_ordered(&mut key, u64::from(pcode));
    put_ordered(&mut key, (term >> 32).cast_unsigned());
    put_ordered(&mut key, (term & 0xffff_ffff).cast_unsigned());
    key
}

fn start_key(list: &[u8], e: &Entry) -> Vec<u8> {
    let mut key = list.to_vec();
    put_moment(&mut key, e.date);
    put_ordered(&mut key, e.seq.cast_unsigned());
    key
}

fn ended(mut key: Vec<u8>) -> Vec<u8> {
    key.extend_from_slice(&END);
    key
}

/// Reads a row: the list and its entries.
fn read(key: &[u8], value: &[u8], out: &mut Vec<Entry>) -> Option<List> {
    let mut c = Cursor(key);
    let pcode = u32::try_from(c.ordered()?).ok()?;
    let system = c.ordered()?;
    let term = (system << 32 | c.ordered()?).cast_signed();
    let patient = unzig(c.ordered()?);
    let (date, seq) = (c.moment()?, c.ordered()?.cast_signed());
    let mut c = Cursor(value);
    let mut last = Entry { date, seq, tag: u32::try_from(c.uint()?).ok()? };
    out.clear();
    out.push(last);
    while !c.0.is_empty() {
        let head = c.uint()?;
        last.seq = last.seq.checked_add(unzig(head >> 3))?;
        match head >> 1 & 3 {
            0 => {}
            1 => {
                let seconds = i64::try_from(c.uint()?).ok()?;
                last.date = last.date.checked_add(seconds.checked_mul(SECOND)?)?;
            }
            _ => last.date = c.int()?,
        }
        if head & 1 == 0 {
            last.tag = u32::try_from(c.uint()?).ok()?;
        }
        out.push(last);
    }
    Some(List { pcode, term, patient })
}

fn write(entries: &[Entry], out: &mut Vec<u8>) {
    out.clear();
    let Some(mut last) = entries.first() else { return };
    put_uint(out, u64::from(last.tag));
    for e in entries.iter().skip(1) {
        let whole = last.date % SECOND == 0 && e.date % SECOND == 0 && e.date > last.date;
        let form = match e.date == last.date {
            true => 0,
            false if whole => 1,
            false => 2,
        };
        let same = u64::from(e.tag == last.tag);
        put_uint(out, zig(e.seq - last.seq) << 3 | form << 1 | same);
        match form {
            0 => {}
            1 => put_uint(out, ((e.date - last.date) / SECOND).cast_unsigned()),
            _ => put_int(out, e.date),
        }
        if same == 0 {
            put_uint(out, u64::from(e.tag));
        }
        last = e;
    }
}

/// Writes the entries of a row, as several rows when they are too many.
fn put(conn: &Connection, list: &[u8], entries: &[Entry], appended: bool) -> Result<(), Error> {
    let pieces = entries.len().div_ceil(MOST).max(1);
    // What is appended leaves full rows behind; what comes between, rows with room.
    let size = if appended { MOST } else { entries.len().div_ceil(pieces).max(1) };
    let mut value = Vec::new();
    let mut s = conn.prepare_cached("INSERT OR REPLACE INTO list VALUES(?1, ?2)")?;
    for piece in entries.chunks(size) {
        let Some(first) = piece.first() else { continue };
        write(piece, &mut value);
        s.execute(params![start_key(list, first), value])?;
    }
    Ok(())
}

/// A row's key, and its entries.
type Found = (Vec<u8>, Vec<Entry>);

/// The row in which the entry with this key is or belongs: the last that starts at or
/// before it, else the first of the list.
fn holding(conn: &Connection, list: &[u8], at: &[u8]) -> Result<Option<Found>, Error> {
    let mut s = conn.prepare_cached(
        "SELECT k, v FROM list WHERE k=coalesce(\
         (SELECT max(k) FROM list WHERE k>=?1 AND k<=?2), \
         (SELECT min(k) FROM list WHERE k>?2 AND k<=?3))",
    )?;
    let mut rows = s.query(params![list, at, ended(list.to_vec())])?;
    let Some(r) = rows.next()? else { return Ok(None) };
    let key = blob(r, 0)?;
    let mut entries = Vec::with_capacity(MOST);
    read(key, blob(r, 1)?, &mut entries).ok_or(Error::Unusable)?;
    Ok(Some((key.to_vec(), entries)))
}

fn blob<'r>(r: &'r rusqlite::Row<'_>, at: usize) -> Result<&'r [u8], Error> {
    r.get_ref(at)?.as_blob().map_err(|_| Error::Unusable)
}

/// Adds entries, sorted and none there yet, to a list.
pub(super) fn insert(conn: &Connection, list: &List, entries: &[Entry]) -> Result<(), Error> {
    let list = list.key();
    let mut left = entries;
    while let Some(first) = left.first() {
        let Some((key, mut row)) = holding(conn, &list, &start_key(&list, first))? else {
            return put(conn, &list, left, true);
        };
        // The row takes what comes before the next one.
        let mut taken = left.len();
        if taken > 1 {
            let next: Option<Vec<u8>> = conn
                .prepare_cached("SELECT min(k) FROM list WHERE k>?1 AND k<=?2")?
                .query_row(params![key, ended(list.clone())], |r| r.get(0))?;
            if let Some(next) = next {
                taken = left.partition_point(|e| start_key(&list, e) < next).max(1);
            }
        }
        let (now, later) = left.split_at_checked(taken).unwrap_or((left, &[]));
        left = later;
        let appended = row.last().is_some_and(|last| last < first);
        row.extend_from_slice(now);
        row.sort_unstable();
        if row.first().is_some_and(|e| start_key(&list, e) != key) {
            delete(conn, &key)?;
        }
        put(conn, &list, &row, appended)?;
    }
    Ok(())
}

fn delete(conn: &Connection, key: &[u8]) -> Result<(), Error> {
    conn.prepare_cached("DELETE FROM list WHERE k=?1")?.execute([key])?;
    Ok(())
}

/// Takes entries out of a list, as far as they are there.
pub(super) fn remove(conn: &Connection, list: &List, entries: &[Entry]) -> Result<(), Error> {
    let list = list.key();
    for e in entries {
        let Some((key, mut row)) = holding(conn, &list, &start_key(&list, e))? else { continue };
        let before = row.len();
        row.retain(|o| (o.date, o.seq) != (e.date, e.seq));
        if row.len() == before {
            continue;
        }
        if row.first().is_none_or(|e| start_key(&list, e) != key) {
            delete(conn, &key)?;
        }
        put(conn, &list, &row, false)?;
    }
    Ok(())
}

/// Lists to read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    One(List),
    /// Those of a pcode with terms in this closed range.
    Terms {
        pcode: u32,
        low: i64,
        high: i64,
    },
    /// All lists, those of everything about a patient among them.
    All,
}

/// Calls `each` with every entry, list by list, until it says stop (false).
pub(super) fn scan(
    conn: &Connection,
    which: Which,
    each: &mut dyn FnMut(&List, Entry) -> Result<bool, Error>,
) -> Result<(), Error> {
    let (low, high) = match which {
        Which::One(list) => (list.key(), ended(list.key())),
        Which::Terms { pcode, low, high } => (term_key(pcode, low), ended(term_key(pcode, high))),
        Which::All => (Vec::new(), END.to_vec()),
    };
    let mut entries = Vec::with_capacity(MOST);
    let mut s = conn.prepare_cached("SELECT k, v FROM list WHERE k>=?1 AND k<=?2 ORDER BY k")?;
    let mut rows = s.query([low, high])?;
    while let Some(r) = rows.next()? {
        let list = read(blob(r, 0)?, blob(r, 1)?, &mut entries).ok_or(Error::Unusable)?;
        for e in &entries {
            if !each(&list, *e)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How many entries the lists have, counted up to `cap`.
pub(super) fn count(conn: &Connection, which: Which, cap: u32) -> Result<u32, Error> {
    let mut n = 0;
    if cap > 0 {
        scan(conn, which, &mut |_, _| {
            n += 1;
            Ok(n < cap)
        })?;
    }
    Ok(n)
}

/// Adds the terms that have entries under a pcode. Each is found by one step, however many
/// entries it has.
pub(super) fn terms(
    conn: &Connection,
    pcode: u32,
    out: &mut std::collections::BTreeSet<i64>,
) -> Result<(), Error> {
    let mut s = conn.prepare_cached("SELECT min(k) FROM list WHERE k>=?1 AND k<=?2")?;
    let mut low = Vec::with_capacity(24);
    put_ordered(&mut low, u64::from(pcode));
    let high = ended(low.clone());
    loop {
        let key: Option<Vec<u8>> = s.query_row(params![low, high], |r| r.get(0))?;
        let Some(key) = key else { return Ok(()) };
        let mut c = Cursor(&key);
        c.ordered().ok_or(Error::Unusable)?;
        let system = c.ordered().ok_or(Error::Unusable)?;
        let term = (system << 32 | c.ordered().ok_or(Error::Unusable)?).cast_signed();
        out.insert(term);
        low = ended(term_key(pcode, term));
    }
}

/// Whether a term has an entry under a pcode.
pub(super) fn any(conn: &Connection, pcode: u32, term: i64) -> Result<bool, Error> {
    Ok(count(conn, Which::Terms { pcode, low: term, high: term }, 1)? > 0)
}

/// Up to `limit` entries of one list, with dates from `low` to `high`, in the order of
/// date and sequence or the other way (`down`), after the place `after`.
pub(super) fn piece(
    conn: &Connection,
    list: &List,
    (low, high): (i64, i64),
    after: Option<(i64, i64)>,
    down: bool,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let wanted = |e: &Entry| {
        low <= e.date
            && e.date <= high
            && after.is_none_or(|a| if down { (e.date, e.seq) < a } else { (e.date, e.seq) > a })
    };
    let list = list.key();
    let (from, to) = match after {
        Some((date, _)) if down => (low, high.min(date)),
        Some((date, _)) => (low.max(date), high),
        None => (low, high),
    };
    let mut first = list.clone();
    put_moment(&mut first, from);
    let mut last = list.clone();
    put_moment(&mut last, to);
    let last = ended(last);
    // The row that starts before `from` may reach beyond it.
    let mut s = conn.prepare_cached(if down {
        "SELECT k, v FROM list WHERE k>=coalesce(\
         (SELECT max(k) FROM list WHERE k>=?1 AND k<=?2), ?1) AND k<=?3 ORDER BY k DESC"
    } else {
        "SELECT k, v FROM list WHERE k>=coalesce(\
         (SELECT max(k) FROM list WHERE k>=?1 AND k<=?2), ?1) AND k<=?3 ORDER BY k"
    })?;
    let mut out = Vec::new();
    let mut entries = Vec::with_capacity(MOST);
    let mut rows = s.query(params![list, first, last])?;
    while out.len() < limit
        && let Some(r) = rows.next()?
    {
        read(blob(r, 0)?, blob(r, 1)?, &mut entries).ok_or(Error::Unusable)?;
        let room = limit - out.len();
        if down {
            out.extend(entries.iter().rev().filter(|e| wanted(e)).take(room));
        } else {
            out.extend(entries.iter().filter(|e| wanted(e)).take(room));
        }
    }
    Ok(out)
}

/// The types of which there is something about a patient column.
pub(super) fn types_about(conn: &Connection, patient: i64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let mut s = conn.prepare_cached("SELECT min(k) FROM list WHERE k>=?1 AND k<=?2")?;
    for ty in 0..=u8::MAX {
        let key = List::about(patient, ty).key();
        let found: Option<Vec<u8>> =
            s.query_row([key.clone(), ended(key)], |r| r.get(0)).optional()?.flatten();
        if found.is_some() {
            out.push(ty);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::values::{NO_DATE, ODD_DATE};

    fn mix(n: u64) -> u64 {
        let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 7
    }

    fn entry(n: u64) -> Entry {
        let date = match mix(n) % 9 {
            0 => NO_DATE,
            1 => ODD_DATE,
            2 => i64::try_from(mix(n + 1) % 1000).unwrap(),
            _ => (i64::try_from(mix(n + 2) % 400).unwrap() - 200) * 86_400 * SECOND,
        };
        Entry { date, seq: i64::try_from(n).unwrap(), tag: u32::try_from(mix(n) % 3).unwrap() }
    }

    fn all(conn: &Connection, which: Which) -> Vec<Entry> {
        let mut out = Vec::new();
        scan(conn, which, &mut |_, e| {
            out.push(e);
            Ok(true)
        })
        .unwrap();
        out
    }

    #[test]
    fn a_list_is_what_was_put_in_and_not_taken_out() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE list(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID").unwrap();
        let list = List { pcode: 300, term: 7 << 32 | 70_000, patient: -4 };
        let others = [
            List { patient: -5, ..list },
            List { patient: 4, ..list },
            List { term: list.term + 1, ..list },
            List { pcode: 299, ..list },
            List::about(-4, 7),
        ];
        for o in &others {
            insert(&conn, o, &[entry(1), entry(70)]).unwrap();
        }
        let mut want: Vec<Entry> = Vec::new();
        let mut n = 1;
        for batch in 1..40 {
            let mut new: Vec<Entry> = (n..n + mix(batch) % 60 + 1).map(entry).collect();
            n += 61;
            new.sort();
            insert(&conn, &list, &new).unwrap();
            want.extend(new);
            want.sort();
            if batch % 3 == 0 {
                let gone: Vec<Entry> = want
                    .iter()
                    .copied()
                    .filter(|e| mix(e.seq.cast_unsigned()).is_multiple_of(4))
                    .collect();
                remove(&conn, &list, &gone).unwrap();
                remove(&conn, &list, &[entry(1 << 30)]).unwrap();
                want.retain(|e| !gone.contains(e));
            }
            assert_eq!(all(&conn, Which::One(list)), want);
        }
        for down in [false, true] {
            let (mut after, mut got) = (None, Vec::new());
            let range = (-100 * 86_400 * SECOND, 500);
            loop {
                let part = piece(&conn, &list, range, after, down, 7).unwrap();
                let Some(last) = part.last() else { break };
                after = Some((last.date, last.seq));
                got.extend(part);
            }
            let mut some: Vec<Entry> =
                want.iter().copied().filter(|e| (range.0..=range.1).contains(&e.date)).collect();
            if down {
                some.reverse();
            }
            assert!(some.len() > 50);
            assert_eq!(got, some);
        }
        let terms = Which::Terms { pcode: 300, low: 7 << 32, high: list.term };
        assert_eq!(all(&conn, terms).len(), want.len() + 4);
        assert_eq!(count(&conn, terms, 9).unwrap(), 9);
        assert_eq!(types_about(&conn, -4).unwrap(), [7]);
        remove(&conn, &list, &want).unwrap();
        assert!(all(&conn, Which::One(list)).is_empty());
        assert_eq!(all(&conn, Which::All).len(), others.len() * 2);
        let rows: i64 = conn.query_row("SELECT count(*) FROM list", [], |r| r.get(0)).unwrap();
        assert_eq!(rows, 5);
    }
}
