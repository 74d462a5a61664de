//! The values of one version in the index's own terms, and the compact block in which
//! a `version` row carries them: what residual filters, sort keys, includes and
//! deletions read. Numbers in it mean something only inside one index file.

use super::pack::{pack_uuid, unzig, uuid_text, zig};
use crate::error::Error;

/// Date ranges longer than this (32 days, microseconds) have pcodes of their own, so
/// that an overlap search looks back no further.
pub(super) const LONG: i64 = 32 * DAY;
const DAY: i64 = 86_400_000_000;

/// No value of the primary date: last in both directions.
pub(super) const NO_DATE: i64 = i64::MIN;
/// Several values, or one that is open at its start: the column can't stand for them.
pub(super) const ODD_DATE: i64 = i64::MIN + 1;

/// Lengths of a primary date that a tag can state, microseconds.
pub(super) const SPANS: [i64; 14] = [
    0,
    1,
    1_000,
    1_000_000,
    60_000_000,
    3_600_000_000,
    DAY,
    28 * DAY,
    29 * DAY,
    30 * DAY,
    31 * DAY,
    365 * DAY,
    366 * DAY,
    7 * DAY,
];
/// Another length: only `low` is known from the column.
pub(super) const SPAN_OTHER: u8 = 255;

/// A value of a version. `pcode` says of which parameters and class.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val {
    /// An entry of a list.
    Post { pcode: u32, term: i64 },
    /// A reference to the record's only patient: no row.
    Own { pcode: u32 },
    /// A row of `str`, as sent.
    Str { pcode: u32, text: Box<str> },
    /// A row of `dat`.
    Date { pcode: u32, low: i64, high: i64 },
    /// A row of `num`; a quantity has a unit.
    Num { pcode: u32, value: f64, unit: Option<Box<Unit>> },
}

/// The unit of a quantity. Written out: a number would need a dictionary that keeps
/// a purged patient's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    pub system: Option<Box<str>>,
    pub code: Option<Box<str>>,
    pub unit: Option<Box<str>>,
}

const UCUM: &str = "http://unitsofmeasure.org";

impl Val {
    pub(super) const fn pcode(&self) -> u32 {
        match self {
            Val::Post { pcode, .. }
            | Val::Own { pcode }
            | Val::Str { pcode, .. }
            | Val::Date { pcode, .. }
            | Val::Num { pcode, .. } => *pcode,
        }
    }
}

pub(super) fn put_uint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_int(out: &mut Vec<u8>, n: i64) {
    put_uint(out, zig(n));
}

pub(super) fn put_text(out: &mut Vec<u8>, s: &str) {
    put_uint(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

fn put_optional(out: &mut Vec<u8>, s: Option<&str>) {
    match s {
        None => put_uint(out, 0),
        Some(s) => {
            put_uint(out, s.len() as u64 + 1);
            out.extend_from_slice(s.as_bytes());
        }
    }
}

/// Reads what the functions above wrote. Every read fails softly at the end.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn uint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (b, rest) = self.0.split_first()?;
            self.0 = rest;
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub(super) fn int(&mut self) -> Option<i64> {
        self.uint().map(unzig)
    }

    pub(super) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let n = usize::try_from(self.uint()?).ok()?;
        std::str::from_utf8(self.bytes(n)?).ok()
    }

    fn optional(&mut self) -> Option<Option<&'a str>> {
        let n = usize::try_from(self.uint()?).ok()?;
        match n.checked_sub(1) {
            None => Some(None),
            Some(n) => Some(Some(std::str::from_utf8(self.bytes(n)?).ok()?)),
        }
    }

    pub(super) fn real(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
}

/// Writes the block of a version. A date that is `primary`, what the version's date
/// column and its tag's span say, is not written again.
pub(super) fn encode(vals: &[Val], primary: Option<(i64, i64)>, out: &mut Vec<u8>) {
    let mut last = 0;
    for v in vals {
        // The pcodes of a type lie together: one byte for most.
        let step = zig(i64::from(v.pcode()) - i64::from(std::mem::replace(&mut last, v.pcode())));
        let head = |sort: u64| step << 3 | sort;
        match v {
            Val::Post { term, .. } => {
                put_uint(out, head(0));
                // System above, code below (see `write`): small numbers both.
                put_uint(out, (term >> 32).cast_unsigned());
                put_uint(out, (term & 0xffff_ffff).cast_unsigned());
            }
            Val::Own { .. } => put_uint(out, head(1)),
            Val::Str { text, .. } => {
                put_uint(out, head(2));
                put_text(out, text);
            }
            Val::Date { low, high, .. } if primary == Some((*low, *high)) => {
                put_uint(out, head(7));
            }
            Val::Date { low, high, .. } => {
                let whole = low % 1_000_000 == 0 && *low != i64::MIN;
                let span = high.checked_sub(*low).filter(|s| *s >= 0);
                match span {
                    // Seconds and a known length: five bytes and one.
                    Some(span) if whole && SPANS.contains(&span) => {
                        put_uint(out, head(3));
                        put_int(out, low / 1_000_000);
                        let at = SPANS.iter().position(|s| *s == span).unwrap_or(0);
                        put_uint(out, at as u64);
                    }
                    _ => {
                        put_uint(out, head(4));
                        put_int(out, *low);
                        put_int(out, *high);
                    }
                }
            }
            Val::Num { value, unit, .. } => {
                put_uint(out, head(if unit.is_some() { 6 } else { 5 }));
                out.extend_from_slice(&value.to_le_bytes());
                if let Some(u) = unit {
                    let ucum = u.system.as_deref() == Some(UCUM);
                    put_optional(out, if ucum { Some("") } else { u.system.as_deref() });
                    put_optional(out, u.code.as_deref());
                    // Mostly the same text twice.
                    let same = u.unit.is_some() && u.unit == u.code;
                    put_optional(out, if same { Some("") } else { u.unit.as_deref() });
                }
            }
        }
    }
}

/// The span that a date column and a tag's span code state in full.
pub(super) fn primary_span(date: i64, span: u8) -> Option<(i64, i64)> {
    if date == NO_DATE || date == ODD_DATE {
        return None;
    }
    Some((date, date.checked_add(*SPANS.get(usize::from(span))?)?))
}

/// Reads the block of a version, given the same `primary`.
pub(super) fn decode(block: &[u8], primary: Option<(i64, i64)>) -> Result<Vec<Val>, Error> {
    let mut c = Cursor(block);
    let mut vals: Vec<Val> = Vec::with_capacity(12);
    while !c.0.is_empty() {
        let last = vals.last().map_or(0, Val::pcode);
        vals.push(decode_one(&mut c, last, primary).ok_or(Error::Unusable)?);
    }
    Ok(vals)
}

fn decode_one(c: &mut Cursor<'_>, last: u32, primary: Option<(i64, i64)>) -> Option<Val> {
    let head = c.uint()?;
    let pcode = u32::try_from(i64::from(last).checked_add(unzig(head >> 3))?).ok()?;
    Some(match head & 7 {
        0 => {
            let system = c.uint()?;
            let code = c.uint()?;
            Val::Post { pcode, term: (system << 32 | code).cast_signed() }
        }
        1 => Val::Own { pcode },
        2 => Val::Str { pcode, text: c.text()?.into() },
        3 => {
            let low = c.int()?.checked_mul(1_000_000)?;
            let span = SPANS.get(usize::try_from(c.uint()?).ok()?)?;
            Val::Date { pcode, low, high: low.checked_add(*span)? }
        }
        4 => Val::Date { pcode, low: c.int()?, high: c.int()? },
        5 => Val::Num { pcode, value: c.real()?, unit: None },
        6 => {
            let value = c.real()?;
            let system = c.optional()?.map(|s| if s.is_empty() { UCUM } else { s });
            let code = c.optional()?;
            let unit = c.optional()?.map(|s| match code {
                Some(code) if s.is_empty() => code,
                _ => s,
            });
            let unit = Unit {
                system: system.map(Into::into),
                code: code.map(Into::into),
                unit: unit.map(Into::into),
            };
            Val::Num { pcode, value, unit: Some(Box::new(unit)) }
        }
        _ => {
            let (low, high) = primary?;
            Val::Date { pcode, low, high }
        }
    })
}

/// The key of a resource in `res`: type, then the id, packed when it is a UUID in its
/// usual form.
pub(super) fn res_key(ty: u8, id: &str, out: &mut Vec<u8>) {
    out.clear();
    out.push(ty);
    if let Some(packed) = pack_uuid(id) {
        out.push(1);
        out.extend_from_slice(&packed);
    } else {
        out.push(0);
        out.extend_from_slice(id.as_bytes());
    }
}

/// The type number and id of a key.
pub(super) fn res_name(key: &[u8]) -> Option<(u8, String)> {
    match key {
        [ty, 0, id @ ..] => Some((*ty, std::str::from_utf8(id).ok()?.to_owned())),
        [ty, 1, packed @ ..] => Some((*ty, uuid_text(packed)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_round_trips() {
        let vals = vec![
            Val::Post { pcode: 3, term: 7 << 32 | 12 },
            Val::Own { pcode: 900 },
            Val::Str { pcode: 1, text: "Zoë".into() },
            Val::Date { pcode: 2, low: -86_400_000_000, high: 0 },
            Val::Date { pcode: 2, low: i64::MIN, high: 5 },
            Val::Date { pcode: 2, low: 1_500_000, high: i64::MAX },
            Val::Num { pcode: 4, value: -0.5, unit: None },
            Val::Num {
                pcode: 4,
                value: 1e9,
                unit: Some(Box::new(Unit {
                    system: Some(UCUM.into()),
                    code: Some("mg".into()),
                    unit: Some("mg".into()),
                })),
            },
            Val::Num { pcode: 4, value: 2.0, unit: Some(Box::default()) },
        ];
        let mut out = Vec::new();
        let primary = Some((-86_400_000_000, 0));
        encode(&vals, primary, &mut out);
        assert_eq!(decode(&out, primary).unwrap(), vals);
        assert!(decode(&out, None).is_err(), "the date stands elsewhere");
        for cut in 1..out.len() {
            // A cut block is an error or a shorter list, never a panic.
            drop(decode(&out[..cut], primary));
        }
    }

    #[test]
    fn a_resource_key_gives_its_name_back() {
        let mut key = Vec::new();
        for id in
            ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-d9cb-469f-a165-70867728950e"]
        {
            res_key(9, id, &mut key);
            assert_eq!(res_name(&key), Some((9, id.to_owned())));
        }
    }
}
