//! Who has which text: for each pcode the distinct folded texts, each with its versions.
//!
//! A row's key is pcode, text and the first sequence; its value has the further ones, each
//! by its distance from the one before. So a walk over the texts of a parameter, which is
//! what `:contains` needs, reads each text once, however many records have it.

use rusqlite::{Connection, params};

use super::pack::put_ordered;
use super::values::{Cursor, put_uint};
use crate::error::Error;

/// Sequences of a row.
const MOST: usize = 128;

/// Between text and sequence. No stored text has it: see [`stored`].
const NUL: u8 = 0;

/// Folded text beyond this many bytes is left to the residual filter.
const LONGEST: usize = 48;

/// Text as the index orders it: short, and without what separates it from the rest.
pub(super) fn stored(folded: &str) -> &str {
    let mut end = folded.len().min(LONGEST);
    while !folded.is_char_boundary(end) {
        end -= 1;
    }
    let cut = folded.get(..end).unwrap_or(folded);
    cut.split('\0').next().unwrap_or(cut)
}

/// Whether a text that is stored like this may hold `part`, as far as the stored says.
fn may_hold(text: &str, part: &str) -> bool {
    // What is longer, or had a separator in it, was cut; it is at least so long.
    text.contains(part) || text.len() + 4 > LONGEST || part.contains('\0')
}

fn head(pcode: u32, text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(text.len() + 12);
    put_ordered(&mut key, u64::from(pcode));
    key.extend_from_slice(text.as_bytes());
    key
}

fn read<'k>(key: &'k [u8], value: &[u8], out: &mut Vec<i64>) -> Option<(u32, &'k str)> {
    let mut c = Cursor(key);
    let pcode = u32::try_from(c.ordered()?).ok()?;
    let end = c.0.iter().position(|b| *b == NUL)?;
    let text = std::str::from_utf8(c.bytes(end)?).ok()?;
    c.bytes(1)?;
    let mut last = c.ordered()?.cast_signed();
    out.clear();
    out.push(last);
    let mut c = Cursor(value);
    while !c.0.is_empty() {
        last = last.checked_add(c.uint()?.cast_signed())?;
        out.push(last);
    }
    Some((pcode, text))
}

fn put(conn: &Connection, list: &[u8], seqs: &[i64]) -> Result<(), Error> {
    let mut s = conn.prepare_cached("INSERT OR REPLACE INTO str VALUES(?1, ?2)")?;
    for piece in seqs.chunks(MOST) {
        let Some((first, rest)) = piece.split_first() else { continue };
        let mut key = list.to_vec();
        put_ordered(&mut key, first.cast_unsigned());
        let mut value = Vec::with_capacity(rest.len() * 2);
        let mut last = *first;
        for seq in rest {
            put_uint(&mut value, (seq - last).cast_unsigned());
            last = *seq;
        }
        s.execute(params![key, value])?;
    }
    Ok(())
}

fn blob<'r>(r: &'r rusqlite::Row<'_>, at: usize) -> Result<&'r [u8], Error> {
    r.get_ref(at)?.as_blob().map_err(|_| Error::Unusable)
}

/// A row's key, and its sequences.
type Found = (Vec<u8>, Vec<i64>);

/// The row of a list that holds or would hold `seq`: the last that starts at or before it.
fn holding(conn: &Connection, list: &[u8], seq: i64) -> Result<Option<Found>, Error> {
    let mut at = list.to_vec();
    put_ordered(&mut at, seq.cast_unsigned());
    let mut s =
        conn.prepare_cached("SELECT k, v FROM str WHERE k>=?1 AND k<=?2 ORDER BY k DESC LIMIT 1")?;
    let mut rows = s.query(params![list, at])?;
    let Some(r) = rows.next()? else { return Ok(None) };
    let mut seqs = Vec::new();
    let key = blob(r, 0)?.to_vec();
    read(&key, blob(r, 1)?, &mut seqs).ok_or(Error::Unusable)?;
    Ok(Some((key, seqs)))
}

fn delete(conn: &Connection, key: &[u8]) -> Result<(), Error> {
    conn.prepare_cached("DELETE FROM str WHERE k=?1")?.execute([key])?;
    Ok(())
}

/// Adds versions, sorted and none there yet, to a text.
pub(super) fn insert(conn: &Connection, pcode: u32, text: &str, seqs: &[i64]) -> Result<(), Error> {
    let mut list = head(pcode, text);
    list.push(NUL);
    let Some(first) = seqs.first() else { return Ok(()) };
    match holding(conn, &list, *first)? {
        None => put(conn, &list, seqs),
        // Sequences only grow, but for a rebuild in pieces: nothing starts after these.
        Some((key, mut row)) => {
            row.extend_from_slice(seqs);
            row.sort_unstable();
            delete(conn, &key)?;
            put(conn, &list, &row)
        }
    }
}

/// Takes versions out of a text, as far as they are there.
pub(super) fn remove(conn: &Connection, pcode: u32, text: &str, seqs: &[i64]) -> Result<(), Error> {
    let mut list = head(pcode, text);
    list.push(NUL);
    for seq in seqs {
        let Some((key, mut row)) = holding(conn, &list, *seq)? else { continue };
        let before = row.len();
        row.retain(|s| s != seq);
        if row.len() != before {
            delete(conn, &key)?;
            put(conn, &list, &row)?;
        }
    }
    Ok(())
}

/// Which texts of a pcode are wanted.
#[derive(Clone, Debug)]
pub(super) enum Like {
    /// Those that begin so.
    Starts(String),
    /// Those that may have this in them.
    Holds(String),
}

/// Calls `each` with the versions of the texts, until it says stop (false).
pub(super) fn scan(
    conn: &Connection,
    pcode: u32,
    like: &Like,
    each: &mut dyn FnMut(i64) -> Result<bool, Error>,
) -> Result<(), Error> {
    let low = match like {
        Like::Starts(prefix) => head(pcode, stored(prefix)),
        Like::Holds(_) => head(pcode, ""),
    };
    let mut high = low.clone();
    // No UTF-8 has this byte.
    high.push(0xff);
    let mut seqs = Vec::new();
    let mut s = conn.prepare_cached("SELECT k, v FROM str WHERE k>=?1 AND k<=?2 ORDER BY k")?;
    let mut rows = s.query(params![low, high])?;
    while let Some(r) = rows.next()? {
        let (_, text) = read(blob(r, 0)?, blob(r, 1)?, &mut seqs).ok_or(Error::Unusable)?;
        if matches!(like, Like::Holds(part) if !may_hold(text, part)) {
            continue;
        }
        for seq in &seqs {
            if !each(*seq)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Calls `each` with everything: sequence, pcode, text.
pub(super) fn all(
    conn: &Connection,
    each: &mut dyn FnMut(i64, u32, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut seqs = Vec::new();
    let mut s = conn.prepare_cached("SELECT k, v FROM str")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let key = blob(r, 0)?;
        let (pcode, text) = read(key, blob(r, 1)?, &mut seqs).ok_or(Error::Unusable)?;
        for seq in &seqs {
            each(*seq, pcode, text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(conn: &Connection, pcode: u32, like: Like) -> Vec<i64> {
        let mut out = Vec::new();
        scan(conn, pcode, &like, &mut |seq| {
            out.push(seq);
            Ok(true)
        })
        .unwrap();
        out.sort_unstable();
        out
    }

    #[test]
    fn a_text_has_what_was_put_in_and_not_taken_out() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE str(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID").unwrap();
        for (n, part) in (1..2000).collect::<Vec<i64>>().chunks(70).enumerate() {
            let of = |m: i64| part.iter().copied().filter(|s| s % 3 == m).collect::<Vec<_>>();
            insert(&conn, 300, "smith", &of(0)).unwrap();
            insert(&conn, 300, "smithers", &of(1)).unwrap();
            insert(&conn, 300 + u32::try_from(n % 2).unwrap(), "o'neil", &of(2)).unwrap();
        }
        let all = |m: i64| (1..2000).filter(|s| s % 3 == m).collect::<Vec<i64>>();
        assert_eq!(found(&conn, 300, Like::Starts("smithe".into())), all(1));
        let both: Vec<i64> = (1..2000).filter(|s| s % 3 != 2).collect();
        assert_eq!(found(&conn, 300, Like::Starts("smith".into())), both);
        assert_eq!(found(&conn, 300, Like::Holds("mith".into())), both);
        assert_eq!(found(&conn, 300, Like::Holds("thers".into())), all(1));
        assert_eq!(found(&conn, 300, Like::Holds("zz".into())), Vec::<i64>::new());
        remove(&conn, 300, "smith", &all(0)).unwrap();
        remove(&conn, 300, "smith", &[5]).unwrap();
        assert_eq!(found(&conn, 300, Like::Starts("smith".into())), all(1));
        let rows: i64 = conn.query_row("SELECT count(*) FROM str", [], |r| r.get(0)).unwrap();
        assert!(rows < 30, "{rows} rows for two thousand sequences");
    }

    #[test]
    fn a_cut_text_is_no_reason_to_miss_what_follows() {
        let long = format!("{}needle", "é".repeat(24));
        assert!(stored(&long).len() <= LONGEST);
        assert!(may_hold(stored(&long), "needle"));
        assert_eq!(stored("a\0b"), "a");
        assert!(!may_hold("short", "needle"));
    }
}
