//! The order of hits and the place where a page ends. Directions are baked into the
//! values, so that one comparison serves every sort; a record without a value comes
//! last in both directions; the place in the log breaks ties.

use std::cmp::Reverse;
use std::fmt;

use super::values::{Cursor, put_int, put_text, put_uint};

/// One sort value, direction included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RankVal {
    Int(i64),
    /// The bits of a number in their total order.
    Real(u64),
    Text(String),
    Reversed(Reverse<String>),
    Missing,
}

impl RankVal {
    pub(super) fn int(n: i64, descending: bool) -> Self {
        RankVal::Int(if descending { !n } else { n })
    }

    pub(super) fn real(x: f64, descending: bool) -> Self {
        let bits = x.to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        RankVal::Real(if descending { !ordered } else { ordered })
    }

    pub(super) fn text(s: String, descending: bool) -> Self {
        if descending { RankVal::Reversed(Reverse(s)) } else { RankVal::Text(s) }
    }
}

/// A hit's place in the order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub vals: Vec<RankVal>,
    /// The sequence, negated by complement when the first key is descending.
    pub tie: i64,
}

impl Rank {
    pub(super) fn new(vals: Vec<RankVal>, seq: i64, descending: bool) -> Self {
        Rank { vals, tie: if descending { !seq } else { seq } }
    }
}

/// What a hit was sorted by; comparable among the hits of one search. It may hold a
/// value of the record, so its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKeyValue(pub(super) Rank);

impl fmt::Debug for SortKeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SortKeyValue(..)")
    }
}

/// The last hit of a page. It may hold a value of the record: seal it before it
/// leaves the process.
#[derive(Clone, PartialEq, Eq)]
pub struct PageKey(pub(super) Rank);

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageKey(..)")
    }
}

const FORM: u8 = 1;

impl PageKey {
    /// The key as bytes, the same on every node.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        put_int(&mut out, self.0.tie);
        for v in &self.0.vals {
            match v {
                RankVal::Int(n) => {
                    out.push(0);
                    put_int(&mut out, *n);
                }
                RankVal::Real(n) => {
                    out.push(1);
                    put_uint(&mut out, *n);
                }
                RankVal::Text(s) => {
                    out.push(2);
                    put_text(&mut out, s);
                }
                RankVal::Reversed(Reverse(s)) => {
                    out.push(3);
                    put_text(&mut out, s);
                }
                RankVal::Missing => out.push(4),
            }
        }
        out
    }

    /// The key in these bytes; `None` when they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut c = Cursor(bytes);
        if c.bytes(1)? != [FORM] {
            return None;
        }
        let tie = c.int()?;
        let mut vals = Vec::new();
        while let Some((kind, rest)) = c.0.split_first() {
            c.0 = rest;
            vals.push(match kind {
                0 => RankVal::Int(c.int()?),
                1 => RankVal::Real(c.uint()?),
                2 => RankVal::Text(c.text()?.to_owned()),
                3 => RankVal::Reversed(Reverse(c.text()?.to_owned())),
                4 => RankVal::Missing,
                _ => return None,
            });
        }
        Some(PageKey(Rank { vals, tie }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_sort_as_their_direction_says_and_missing_is_last() {
        for (a, b) in [(-2.5, -1.0), (-0.5, 0.25), (1.0, 7e300)] {
            assert!(RankVal::real(a, false) < RankVal::real(b, false));
            assert!(RankVal::real(a, true) > RankVal::real(b, true));
        }
        assert!(RankVal::int(i64::MIN, true) > RankVal::int(i64::MAX, true));
        for descending in [false, true] {
            assert!(RankVal::int(0, descending) < RankVal::Missing);
            assert!(RankVal::text("z".into(), descending) < RankVal::Missing);
        }
    }

    #[test]
    fn a_page_key_round_trips_and_damage_is_refused() {
        let key = PageKey(Rank {
            vals: vec![
                RankVal::int(-7, true),
                RankVal::real(2.5, false),
                RankVal::text("é".into(), false),
                RankVal::text("b".into(), true),
                RankVal::Missing,
            ],
            tie: !99,
        });
        let bytes = key.encode();
        assert_eq!(PageKey::decode(&bytes), Some(key));
        assert_eq!(PageKey::decode(&[]), None);
        assert_eq!(PageKey::decode(&[9, 0]), None);
        assert_eq!(PageKey::decode(&bytes[..bytes.len() - 2]), None, "a text cut short");
    }
}
