//! The rows of numbers and quantities: one for each value of a version, ordered by the
//! number. A row is nothing but its key: pcode, number, sequence.

use rusqlite::Connection;

use super::pack::put_ordered;
use super::values::Cursor;
use crate::error::Error;

/// A number of a version.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Amount {
    pub pcode: u32,
    pub value: f64,
    pub seq: i64,
}

impl Amount {
    /// Its row.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = start(self.pcode, self.value);
        put_ordered(&mut key, self.seq.cast_unsigned());
        key
    }

    fn read(key: &[u8]) -> Option<Self> {
        let mut c = Cursor(key);
        let pcode = u32::try_from(c.ordered()?).ok()?;
        let value = u64::from_be_bytes(c.bytes(8)?.try_into().ok()?);
        let value = f64::from_bits(if value >> 63 == 1 { value ^ 1 << 63 } else { !value });
        Some(Amount { pcode, value, seq: c.ordered()?.cast_signed() })
    }
}

fn start(pcode: u32, value: f64) -> Vec<u8> {
    let mut key = Vec::with_capacity(20);
    put_ordered(&mut key, u64::from(pcode));
    // The two zeros are one number.
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    key.extend_from_slice(&ordered.to_be_bytes());
    key
}

/// Calls `each` with the rows of a pcode from `low` to `high`, in no order, until it says
/// stop (false).
pub(super) fn scan(
    conn: &Connection,
    pcode: u32,
    (low, high): (f64, f64),
    each: &mut dyn FnMut(Amount) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut end = start(pcode, high);
    end.extend_from_slice(&[0xff; 16]);
    let from = start(pcode, low);
    for sql in [
        "SELECT k FROM num WHERE k>=?1 AND k<=?2 ORDER BY k",
        "SELECT k FROM num_young WHERE k>=?1 AND k<=?2 ORDER BY k",
    ] {
        let mut s = conn.prepare_cached(sql)?;
        let mut rows = s.query([&from, &end])?;
        while let Some(r) = rows.next()? {
            let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
            if !each(Amount::read(key).ok_or(Error::Unusable)?)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Calls `each` with every row.
pub(super) fn all(
    conn: &Connection,
    each: &mut dyn FnMut(Amount) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut s = conn.prepare_cached("SELECT k FROM num UNION ALL SELECT k FROM num_young")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        each(Amount::read(key).ok_or(Error::Unusable)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_its_number_back_and_sorts_by_it() {
        let mut before = Vec::new();
        for value in [f64::NEG_INFINITY, -1e300, -2.5, -1e-300, 0.0, 1e-300, 0.5, 7.0, f64::MAX] {
            let a = Amount { pcode: 400, value, seq: 70_000 };
            assert_eq!(Amount::read(&a.key()), Some(a));
            assert!(before < a.key(), "{value}");
            before = a.key();
        }
        assert_eq!(start(3, -0.0), start(3, 0.0));
    }
}
