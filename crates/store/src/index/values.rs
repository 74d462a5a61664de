//! The values of one version in the index's own terms, and the compact block in which
//! a `version` row carries them: what residual filters, sort keys, includes and
//! deletions read. Numbers in it mean something only inside one index file.

use phial_fhir::search::{InnerValues, UCUM};

use super::inner;
use super::pack::{pack_uuid, unzig, uuid_text, zig};
use crate::error::Error;

/// Date ranges longer than this (32 days, microseconds) have pcodes of their own, so
/// that an overlap search looks back no further.
pub(super) const LONG: i64 = 32 * DAY;
pub(super) const DAY: i64 = 86_400_000_000;

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
    /// A row of `num` at an end that is finite.
    Range { pcode: u32, low: f64, high: f64, unit: Option<Box<Unit>> },
    /// Of a composite, no row: for each component, where its values stand among those of
    /// the version.
    Parts { pcode: u32, parts: Box<[Box<[u16]>]> },
    /// No row: from when until when the version's reference to this resource holds.
    Held { pcode: u32, who: i64, low: i64, high: i64 },
    /// Of words, no row: for each in its order its place among the values of the version,
    /// from 1; 0 where a text ends.
    Order { pcode: u32, at: Box<[u16]> },
    /// What a reference leads to within the record, of this type: an entry of the list of
    /// such. Its values are written out, since no row uses them.
    Inner { pcode: u32, ty: u8, values: InnerValues },
}

/// The unit of a quantity. Written out: a number would need a dictionary that keeps
/// a purged patient's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    pub system: Option<Box<str>>,
    pub code: Option<Box<str>>,
    pub unit: Option<Box<str>>,
}

impl Val {
    pub(super) const fn pcode(&self) -> u32 {
        match self {
            Val::Post { pcode, .. }
            | Val::Own { pcode }
            | Val::Str { pcode, .. }
            | Val::Date { pcode, .. }
            | Val::Num { pcode, .. }
            | Val::Range { pcode, .. }
            | Val::Parts { pcode, .. }
            | Val::Held { pcode, .. }
            | Val::Order { pcode, .. }
            | Val::Inner { pcode, .. } => *pcode,
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

pub(super) fn put_optional(out: &mut Vec<u8>, s: Option<&str>) {
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

    pub(super) fn optional(&mut self) -> Option<Option<&'a str>> {
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

/// What follows a head of sort 4.
const RARE_DATE: u8 = 0;
const RARE_NUMBER: u8 = 1;
const RARE_QUANTITY: u8 = 2;
const RARE_PARTS: u8 = 3;
const RARE_RANGE: u8 = 4;
const RARE_HELD: u8 = 5;
const RARE_ORDER: u8 = 6;
const RARE_INNER: u8 = 7;

/// The number as scale and digits, where these give it back to the bit.
fn decimal(value: f64) -> Option<(u64, i64)> {
    for scale in 0..10_u8 {
        let digits = (value * 10_f64.powi(i32::from(scale))).round();
        if digits.abs() > 1e15 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
        let digits = digits as i64;
        if undecimal(scale, digits).to_bits() == value.to_bits() {
            return Some((u64::from(scale), digits));
        }
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn undecimal(scale: u8, digits: i64) -> f64 {
    digits as f64 / 10_f64.powi(i32::from(scale))
}

/// Units in their order of frequency; append only within a format.
const UNITS: [&str; 56] = [
    "mg/dL",
    "mm[Hg]",
    "%",
    "mmol/L",
    "kg",
    "cm",
    "kg/m2",
    "/min",
    "{score}",
    "g/dL",
    "fL",
    "pg",
    "10*3/uL",
    "10*6/uL",
    "U/L",
    "Cel",
    "mL/min/{1.73_m2}",
    "mg/g",
    "ng/mL",
    "pg/mL",
    "g/L",
    "1",
    "{nominal}",
    "mL/min",
    "a",
    "d",
    "h",
    "min",
    "mo",
    "wk",
    "g",
    "mg",
    "ug",
    "mL",
    "L",
    "mm",
    "m",
    "meq/L",
    "mmol",
    "ug/dL",
    "ug/mL",
    "ng/dL",
    "[IU]/L",
    "[IU]/mL",
    "m[IU]/L",
    "mm/h",
    "kPa",
    "[degF]",
    "[lb_av]",
    "[in_i]",
    "{count}",
    "{#}",
    "/[HPF]",
    "10*9/L",
    "10*12/L",
    "umol/L",
];

/// A unit. Most are a code of UCUM whose text is the same: one byte. The first number is
/// 0 for one written out, 1 for a UCUM code as its own text, which follows, else a unit of
/// the list: in twos, with its text the same and without one.
fn put_unit(out: &mut Vec<u8>, u: &Unit) {
    let ucum = u.system.as_deref() == Some(UCUM);
    let same = u.unit == u.code;
    if ucum && let Some(code) = u.code.as_deref() {
        let known = UNITS.iter().position(|k| *k == code);
        match known {
            Some(at) if same => return put_uint(out, 2 + 2 * at as u64),
            Some(at) if u.unit.is_none() => return put_uint(out, 3 + 2 * at as u64),
            None if same => {
                put_uint(out, 1);
                return put_text(out, code);
            }
            _ => {}
        }
    }
    put_uint(out, 0);
    put_optional(out, if ucum { Some("") } else { u.system.as_deref() });
    put_optional(out, u.code.as_deref());
    // Mostly the same text twice.
    let twice = u.unit.is_some() && same;
    put_optional(out, if twice { Some("") } else { u.unit.as_deref() });
}

fn unit(c: &mut Cursor<'_>) -> Option<Unit> {
    let ucum = |code: &str, unit: Option<&str>| Unit {
        system: Some(UCUM.into()),
        code: Some(code.into()),
        unit: unit.map(Into::into),
    };
    match c.uint()? {
        0 => {}
        1 => {
            let code = c.text()?;
            return Some(ucum(code, Some(code)));
        }
        n => {
            let code = UNITS.get(usize::try_from((n - 2) / 2).ok()?)?;
            return Some(ucum(code, (n % 2 == 0).then_some(*code)));
        }
    }
    let system = c.optional()?.map(|s| if s.is_empty() { UCUM } else { s });
    let code = c.optional()?;
    let unit = c.optional()?.map(|s| match code {
        Some(code) if s.is_empty() => code,
        _ => s,
    });
    Some(Unit {
        system: system.map(Into::into),
        code: code.map(Into::into),
        unit: unit.map(Into::into),
    })
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
                        out.push(RARE_DATE);
                        put_int(out, *low);
                        put_int(out, *high);
                    }
                }
            }
            Val::Num { value, unit, .. } => {
                match decimal(*value) {
                    Some((scale, digits)) => {
                        put_uint(out, head(if unit.is_some() { 6 } else { 5 }));
                        // Up to nine decimals, and few digits: two bytes or three.
                        put_uint(out, zig(digits) * 10 + scale);
                    }
                    None => {
                        put_uint(out, head(4));
                        out.push(if unit.is_some() { RARE_QUANTITY } else { RARE_NUMBER });
                        out.extend_from_slice(&value.to_le_bytes());
                    }
                }
                if let Some(u) = unit {
                    put_unit(out, u);
                }
            }
            Val::Range { low, high, unit, .. } => {
                put_uint(out, head(4));
                out.push(RARE_RANGE);
                out.extend_from_slice(&low.to_le_bytes());
                out.extend_from_slice(&high.to_le_bytes());
                put_uint(out, u64::from(unit.is_some()));
                if let Some(u) = unit {
                    put_unit(out, u);
                }
            }
            Val::Parts { parts, .. } => {
                put_uint(out, head(4));
                out.push(RARE_PARTS);
                put_uint(out, parts.len() as u64);
                for part in parts {
                    put_uint(out, part.len() as u64);
                    for at in part {
                        put_uint(out, u64::from(*at));
                    }
                }
            }
            Val::Held { who, low, high, .. } => {
                put_uint(out, head(4));
                out.push(RARE_HELD);
                put_int(out, *who);
                put_int(out, *low);
                put_int(out, *high);
            }
            Val::Inner { ty, values, .. } => {
                put_uint(out, head(4));
                out.push(RARE_INNER);
                out.push(*ty);
                inner::put(values, out);
            }
            Val::Order { at, .. } => {
                put_uint(out, head(4));
                out.push(RARE_ORDER);
                put_uint(out, at.len() as u64);
                for at in at {
                    put_uint(out, u64::from(*at));
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

/// Reads the block of a version, given the same `primary`, and adds its values to `vals`.
pub(super) fn decode(
    block: &[u8],
    primary: Option<(i64, i64)>,
    vals: &mut Vec<Val>,
) -> Result<(), Error> {
    let mut c = Cursor(block);
    let mut last = 0;
    while !c.0.is_empty() {
        let val = decode_one(&mut c, last, primary).ok_or(Error::Unusable)?;
        last = val.pcode();
        vals.push(val);
    }
    Ok(())
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
        4 => rare(c, pcode)?,
        5 | 6 => {
            let n = c.uint()?;
            let value = undecimal(u8::try_from(n % 10).ok()?, unzig(n / 10));
            let unit = if head & 7 == 6 { Some(Box::new(unit(c)?)) } else { None };
            Val::Num { pcode, value, unit }
        }
        _ => {
            let (low, high) = primary?;
            Val::Date { pcode, low, high }
        }
    })
}

fn rare(c: &mut Cursor<'_>, pcode: u32) -> Option<Val> {
    Some(match *c.bytes(1)? {
        [RARE_DATE] => Val::Date { pcode, low: c.int()?, high: c.int()? },
        [RARE_NUMBER] => Val::Num { pcode, value: c.real()?, unit: None },
        [RARE_QUANTITY] => Val::Num { pcode, value: c.real()?, unit: Some(Box::new(unit(c)?)) },
        [RARE_RANGE] => {
            let (low, high) = (c.real()?, c.real()?);
            let unit = if c.uint()? == 0 { None } else { Some(Box::new(unit(c)?)) };
            Val::Range { pcode, low, high, unit }
        }
        [RARE_PARTS] => {
            let mut parts = Vec::new();
            for _ in 0..c.uint()? {
                let mut part = Vec::new();
                for _ in 0..c.uint()? {
                    part.push(u16::try_from(c.uint()?).ok()?);
                }
                parts.push(part.into_boxed_slice());
            }
            Val::Parts { pcode, parts: parts.into_boxed_slice() }
        }
        [RARE_HELD] => Val::Held { pcode, who: c.int()?, low: c.int()?, high: c.int()? },
        [RARE_INNER] => {
            let [ty] = *c.bytes(1)? else { return None };
            Val::Inner { pcode, ty, values: inner::values(c)? }
        }
        [RARE_ORDER] => {
            let mut at = Vec::new();
            for _ in 0..c.uint()? {
                at.push(u16::try_from(c.uint()?).ok()?);
            }
            Val::Order { pcode, at: at.into_boxed_slice() }
        }
        _ => return None,
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
        let of = |code: &str, unit: Option<&str>| {
            let (system, unit) = (Some(UCUM.into()), unit.map(Into::into));
            Some(Box::new(Unit { system, code: Some(code.into()), unit }))
        };
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
            Val::Num { pcode: 4, value: -0.0, unit: None },
            Val::Num { pcode: 4, value: 0.1 + 0.2, unit: None },
            Val::Num { pcode: 4, value: 1e300, unit: of("mm[Hg]", None) },
            Val::Num { pcode: 4, value: 120.5, unit: of("mm[Hg]", Some("mm[Hg]")) },
            Val::Num { pcode: 4, value: 120.5, unit: of("mm[Hg]", None) },
            Val::Num { pcode: 4, value: 120.5, unit: of("mm[Hg]", Some("mmHg")) },
            Val::Num { pcode: 4, value: 120.5, unit: of("{odd}", Some("{odd}")) },
            Val::Num { pcode: 4, value: 120.5, unit: of("{odd}", None) },
            Val::Parts { pcode: 9, parts: [[0, 300].into(), [7].into()].into() },
            Val::Held { pcode: 11, who: 1 << 40, low: i64::MIN, high: 1_500_000 },
            Val::Order { pcode: 12, at: [1, 2, 0, 300, 1].into() },
        ];
        let mut out = Vec::new();
        let primary = Some((-86_400_000_000, 0));
        encode(&vals, primary, &mut out);
        let mut back = Vec::new();
        decode(&out, primary, &mut back).unwrap();
        assert_eq!(back, vals);
        assert!(decode(&out, None, &mut back).is_err(), "the date stands elsewhere");
        for cut in 1..out.len() {
            // A cut block is an error or a shorter list, never a panic.
            drop(decode(&out[..cut], primary, &mut Vec::new()));
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
