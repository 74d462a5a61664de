//! Segments in short: ids, dates and times, which hardly compress, leave the text and
//! stand as they are, in binary; what the record's head knows is only pointed at.
//! Expanding gives back the very bytes. Refuses codes that it would not have written,
//! and to expand beyond [`MAX_BODY`].
//!
//! JSON text has no byte below `20`, so these stand for something else:
//!
//! | byte | stands for | dense bytes |
//! |---|---|---|
//! | `00` | end of a leaf, more follow | |
//! | `01` | the record's id, when it is a UUID | |
//! | `02` | the first patient's id, when it is a UUID | |
//! | `03` | the time of the version, as `meta.lastUpdated` has it | |
//! | `04` | a lower-case UUID | 16 |
//! | `05` | a date `2020-02-29` | u16, days since 1900-01-01 |
//! | `06` | a time `2020-02-29T01:02:03`; fraction and zone follow as text | u32, seconds since 1950-01-01 |
//! | `07` | the time before, in this segment, again | |
//! | `08` | a time after it | u16, seconds |
//! | `09`, varint n, n bytes | the bytes in base64 with padding: a whole string of at least 64 characters | |
//! | `1f` | the next byte, which is below `20`, itself | |
//!
//! Numbers are little-endian, the varint is LEB128. The format is final: version 1, which the head's version
//! implies.

use zeroize::{Zeroize, Zeroizing};

use crate::Error;
use crate::calendar::{date_of, days_of};

/// Ends a leaf when others of its class follow.
pub(super) const SEPARATOR: u8 = 0;
const ID: u8 = 1;
const PATIENT: u8 = 2;
const UPDATED: u8 = 3;
const UUID: u8 = 4;
const DATE: u8 = 5;
const TIME: u8 = 6;
const SAME: u8 = 7;
const LATER: u8 = 8;
const DATA: u8 = 9;
const LITERAL: u8 = 0x1f;

/// The most bytes that a body may have: twelve parts of 64 MiB and more.
const MAX_BODY: usize = 1 << 30;
const DAMAGED: Error = Error::Stored { what: "segment" };

/// Shorter strings of base64's letters are words.
const SHORTEST_DATA: usize = 64;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const UUID_LEN: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];
/// 1900-01-01 and 1950-01-01 in days since 1970-01-01.
const DATES_FROM: i64 = -25_567;
const TIMES_FROM: i64 = -7_305;
const DAY: i64 = 86_400;

/// A segment in short, overwritten on drop.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Short {
    /// What does not compress.
    pub dense: Vec<u8>,
    /// The text with codes.
    pub text: Vec<u8>,
}

impl Drop for Short {
    fn drop(&mut self) {
        self.dense.zeroize();
        self.text.zeroize();
    }
}

/// A segment in short, as it was opened.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// What does not compress.
    pub dense: &'a [u8],
    /// The text with codes.
    pub text: &'a [u8],
}

/// What the head says and segments need not repeat. Everyone who may open any segment
/// of the record knows it.
#[derive(Clone)]
pub struct Known {
    id: Option<[u8; UUID_LEN]>,
    patient: Option<[u8; UUID_LEN]>,
    updated: Option<[u8; 24]>,
}

impl Known {
    /// From the record's id, its first patient and the time of the version in
    /// microseconds since the epoch.
    #[must_use]
    pub fn new(id: &str, patient: Option<&str>, last_updated: i64) -> Self {
        let uuid = |id: &str| <[u8; UUID_LEN]>::try_from(id.as_bytes()).ok();
        Known { id: uuid(id), patient: patient.and_then(uuid), updated: instant(last_updated) }
    }
}

/// The segment of a class, its leaves parted by [`SEPARATOR`], in short.
#[must_use]
pub fn shorten(segment: &[u8], known: &Known) -> Short {
    // Neither grows, which would leave a copy of the old memory behind.
    let mut out = Short {
        dense: Vec::with_capacity(segment.len() / 2),
        text: Vec::with_capacity(segment.len()),
    };
    let mut before: Option<u32> = None;
    // Everything in front of `done` is in `out`.
    let (mut done, mut at) = (0, 0);
    while let Some(&b) = segment.get(at) {
        if b == b'"'
            && let Some((len, data)) = data(segment, at + 1)
        {
            at += 1;
            out.text.extend_from_slice(segment.get(done..at).unwrap_or_default());
            out.text.push(DATA);
            push_varint(data.len(), &mut out.text);
            out.text.extend_from_slice(&data);
            at += len;
            done = at;
            continue;
        }
        let found = match b {
            b'-' => replaced(segment, done, at, known, &mut before, &mut out.dense),
            SEPARATOR | 0x20.. => None,
            _ => Some((at, 0, LITERAL)),
        };
        at += 1;
        if let Some((start, len, code)) = found {
            out.text.extend_from_slice(segment.get(done..start).unwrap_or_default());
            out.text.push(code);
            done = start + len;
            at = at.max(done);
        }
    }
    out.text.extend_from_slice(segment.get(done..).unwrap_or_default());
    out
}

/// What a hyphen at `dash` belongs to, if it begins at `from` or later: start, length,
/// code.
fn replaced(
    text: &[u8],
    from: usize,
    dash: usize,
    known: &Known,
    before: &mut Option<u32>,
    dense: &mut Vec<u8>,
) -> Option<(usize, usize, u8)> {
    if let Some(start) = dash.checked_sub(8).filter(|s| *s >= from)
        && let Some(uuid) = text.get(start..start + UUID_LEN)
        && let Some(bytes) = packed_uuid(uuid)
    {
        let code = if known.id.is_some_and(|id| id == uuid) {
            ID
        } else if known.patient.is_some_and(|id| id == uuid) {
            PATIENT
        } else {
            dense.extend_from_slice(&bytes);
            UUID
        };
        return Some((start, UUID_LEN, code));
    }
    let start = dash.checked_sub(4).filter(|s| *s >= from)?;
    let days = read_date(text.get(start..start + 10)?)?;
    let Some(second) = text.get(start + 10..start + 19).and_then(read_time) else {
        let days = u16::try_from(days - DATES_FROM).ok()?;
        dense.extend_from_slice(&days.to_le_bytes());
        return Some((start, 10, DATE));
    };
    if let Some(updated) = &known.updated
        && text.get(start..start + updated.len()) == Some(updated)
    {
        return Some((start, updated.len(), UPDATED));
    }
    let time = u32::try_from((days - TIMES_FROM) * DAY + second).ok()?;
    let code = match before.and_then(|b| time.checked_sub(b)).map(u16::try_from) {
        Some(Ok(0)) => SAME,
        Some(Ok(later)) => {
            dense.extend_from_slice(&later.to_le_bytes());
            LATER
        }
        _ => {
            dense.extend_from_slice(&time.to_le_bytes());
            TIME
        }
    };
    *before = Some(time);
    Some((start, 19, code))
}

/// The bytes of a base64 string that begins at `start`, and the string's length.
fn data(text: &[u8], start: usize) -> Option<(usize, Zeroizing<Vec<u8>>)> {
    let rest = text.get(start..)?;
    if !rest.get(..SHORTEST_DATA)?.iter().all(|b| sextet(*b).is_some() || *b == b'=') {
        return None;
    }
    let len = rest.iter().position(|b| *b == b'"')?;
    let (groups, []) = rest.get(..len)?.as_chunks::<4>() else { return None };
    let (last, whole) = groups.split_last()?;
    let mut out = Zeroizing::new(Vec::with_capacity(groups.len() * 3));
    for [a, b, c, d] in whole {
        let [a, b, c, d] = [sextet(*a)?, sextet(*b)?, sextet(*c)?, sextet(*d)?];
        out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    }
    let [a, b, c, d] = last;
    let (a, b) = (sextet(*a)?, sextet(*b)?);
    match (*c, *d) {
        (b'=', b'=') if b & 15 == 0 => out.push(a << 2 | b >> 4),
        (c, b'=') => {
            let c = sextet(c).filter(|c| c & 3 == 0)?;
            out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]);
        }
        (c, d) => {
            let (c, d) = (sextet(c)?, sextet(d)?);
            out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
        }
    }
    Some((len, out))
}

/// What a letter of base64 stands for.
fn sextet(b: u8) -> Option<u8> {
    Some(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

fn push_base64(data: &[u8], out: &mut Vec<u8>) {
    let letter = |n: u8| BASE64.get(usize::from(n & 63)).copied().unwrap_or(b'A');
    let (groups, rest) = data.as_chunks::<3>();
    for [a, b, c] in groups {
        let group = [a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, *c];
        out.extend_from_slice(&group.map(letter));
    }
    match rest {
        [a] => out.extend_from_slice(&[letter(a >> 2), letter(a << 4), b'=', b'=']),
        [a, b] => {
            let group = [letter(a >> 2), letter(a << 4 | b >> 4), letter(b << 2), b'='];
            out.extend_from_slice(&group);
        }
        _ => {}
    }
}

fn push_varint(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or_default());
}

/// A segment on its way back to text, leaf by leaf.
pub(super) struct Expander<'a> {
    text: &'a [u8],
    dense: &'a [u8],
    before: Option<u32>,
    /// The last leaf has been given.
    ended: bool,
}

impl<'a> Expander<'a> {
    pub(super) fn new(piece: Piece<'a>) -> Self {
        Expander { text: piece.text, dense: piece.dense, before: None, ended: false }
    }

    /// Whether every byte has been used.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.dense.is_empty()
    }

    /// Appends the next leaf.
    pub(super) fn leaf(&mut self, known: &Known, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.ended {
            return Err(DAMAGED);
        }
        loop {
            let run = self.text.iter().position(|b| *b < 0x20).unwrap_or(self.text.len());
            let (plain, rest) = self.text.split_at_checked(run).ok_or(DAMAGED)?;
            out.extend_from_slice(plain);
            let Some((code, rest)) = rest.split_first() else {
                self.text = rest;
                self.ended = true;
                return Ok(());
            };
            self.text = rest;
            if *code == SEPARATOR {
                return Ok(());
            }
            self.code(*code, known, out)?;
            if out.len() > MAX_BODY {
                return Err(DAMAGED);
            }
        }
    }

    fn code(&mut self, code: u8, known: &Known, out: &mut Vec<u8>) -> Result<(), Error> {
        match code {
            ID => out.extend_from_slice(known.id.as_ref().ok_or(DAMAGED)?),
            PATIENT => out.extend_from_slice(known.patient.as_ref().ok_or(DAMAGED)?),
            UPDATED => out.extend_from_slice(known.updated.as_ref().ok_or(DAMAGED)?),
            UUID => out.extend_from_slice(&unpacked_uuid(self.dense()?)),
            DATE => {
                let days = i64::from(u16::from_le_bytes(self.dense()?));
                write_date(days + DATES_FROM, out);
            }
            TIME => {
                let time = u32::from_le_bytes(self.dense()?);
                self.time(time, out);
            }
            SAME => {
                let time = self.before.ok_or(DAMAGED)?;
                self.time(time, out);
            }
            LATER => {
                let later = u32::from(u16::from_le_bytes(self.dense()?));
                let time = self.before.and_then(|b| b.checked_add(later)).ok_or(DAMAGED)?;
                self.time(time, out);
            }
            DATA => {
                let len = self.varint()?;
                let (data, rest) = self.text.split_at_checked(len).ok_or(DAMAGED)?;
                push_base64(data, out);
                self.text = rest;
            }
            LITERAL => {
                let (byte, rest) = self.text.split_first().ok_or(DAMAGED)?;
                if *byte >= 0x20 {
                    return Err(DAMAGED);
                }
                out.push(*byte);
                self.text = rest;
            }
            _ => return Err(DAMAGED),
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<usize, Error> {
        let mut n = 0_usize;
        for shift in (0..35).step_by(7) {
            let (b, rest) = self.text.split_first().ok_or(DAMAGED)?;
            self.text = rest;
            n |= usize::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(DAMAGED)
    }

    fn dense<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, rest) = self.dense.split_first_chunk().ok_or(DAMAGED)?;
        self.dense = rest;
        Ok(*bytes)
    }

    fn time(&mut self, time: u32, out: &mut Vec<u8>) {
        self.before = Some(time);
        let time = i64::from(time);
        write_date(time / DAY + TIMES_FROM, out);
        write_time(time % DAY, out);
    }
}

/// The 16 bytes of a UUID in its lower-case hyphenated form; `None` for any other text.
fn packed_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut packed = [0u8; 16];
    let mut digits = 0;
    for (i, b) in text.iter().enumerate() {
        if DASHES.contains(&i) {
            if *b != b'-' {
                return None;
            }
            continue;
        }
        let value = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        let slot = packed.get_mut(digits / 2)?;
        *slot = *slot << 4 | value;
        digits += 1;
    }
    (digits == 32).then_some(packed)
}

fn unpacked_uuid(bytes: [u8; 16]) -> [u8; UUID_LEN] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).copied().unwrap_or(b'0');
    let mut out = [b'-'; UUID_LEN];
    let mut slots = out.iter_mut().enumerate().filter(|(i, _)| !DASHES.contains(i));
    for b in bytes {
        for n in [b >> 4, b] {
            if let Some((_, slot)) = slots.next() {
                *slot = digit(n);
            }
        }
    }
    out
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, b| match b {
        b'0'..=b'9' => Some(n * 10 + i64::from(b - b'0')),
        _ => None,
    })
}

/// `2020-02-29` as days since the epoch; `None` for what [`write_date`] would not write.
fn read_date(text: &[u8]) -> Option<i64> {
    let [a, b, c, d, b'-', e, f, b'-', g, h] = text else { return None };
    let (year, month, day) = (number(&[*a, *b, *c, *d])?, number(&[*e, *f])?, number(&[*g, *h])?);
    let days = days_of(year, month, day);
    ((1..=12).contains(&month) && date_of(days) == (year, month, day)).then_some(days)
}

/// `T01:02:03` as seconds.
fn read_time(text: &[u8]) -> Option<i64> {
    let [b'T', a, b, b':', c, d, b':', e, f] = text else { return None };
    let (hour, minute, second) = (number(&[*a, *b])?, number(&[*c, *d])?, number(&[*e, *f])?);
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 60 + minute) * 60 + second)
}

fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_of(days);
    push_digits(year, 1000, out);
    out.push(b'-');
    push_digits(month, 10, out);
    out.push(b'-');
    push_digits(day, 10, out);
}

fn write_time(second: i64, out: &mut Vec<u8>) {
    for (mark, n) in [(b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)] {
        out.push(mark);
        push_digits(n, 10, out);
    }
}

fn push_digits(n: i64, mut unit: i64, out: &mut Vec<u8>) {
    while unit > 0 {
        out.push(b'0' + u8::try_from(n / unit % 10).unwrap_or_default());
        unit /= 10;
    }
}

/// A time in microseconds as `meta.lastUpdated` has it; `None` when it has no such form.
fn instant(micros: i64) -> Option<[u8; 24]> {
    let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    if rest % 1000 != 0 {
        return None;
    }
    let mut out = Vec::with_capacity(24);
    write_date(seconds.div_euclid(DAY), &mut out);
    write_time(seconds.rem_euclid(DAY), &mut out);
    out.push(b'.');
    push_digits(rest / 1000, 100, &mut out);
    out.push(b'Z');
    out.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SELF: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
    const PATIENT_ID: &str = "00112233-4455-6677-8899-aabbccddeeff";
    const OTHER: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

    fn known() -> Known {
        Known::new(SELF, Some(PATIENT_ID), 1_772_615_564_120_000)
    }

    fn leaves(piece: Piece<'_>, known: &Known) -> Result<Vec<Vec<u8>>, Error> {
        let mut e = Expander::new(piece);
        let mut all = Vec::new();
        while !e.ended {
            let mut out = Vec::new();
            e.leaf(known, &mut out)?;
            all.push(out);
        }
        if e.is_done() { Ok(all) } else { Err(DAMAGED) }
    }

    fn round(text: &[u8]) -> Short {
        let short = shorten(text, &known());
        let piece = Piece { dense: &short.dense, text: &short.text };
        let back = leaves(piece, &known()).unwrap();
        assert_eq!(back.join(&SEPARATOR), text);
        short
    }

    #[test]
    fn the_codes_of_version_1_are_frozen() {
        let text = format!(
            "\"id\":\"{SELF}\"\0\"a\":\"Patient/{PATIENT_ID}\",\"u\":\"urn:uuid:{OTHER}\",\
             \"m\":\"2026-03-04T09:12:44.120Z\",\"d\":\"2020-02-29\",\
             \"t\":\"2020-02-29T01:02:03-05:00\",\"s\":\"2020-02-29T01:02:03.4Z\",\
             \"l\":\"2020-02-29T01:17:03Z\""
        );
        let short = round(text.as_bytes());
        assert_eq!(
            std::str::from_utf8(&short.text).unwrap(),
            "\"id\":\"\u{1}\"\0\"a\":\"Patient/\u{2}\",\"u\":\"urn:uuid:\u{4}\",\
             \"m\":\"\u{3}\",\"d\":\"\u{5}\",\"t\":\"\u{6}-05:00\",\"s\":\"\u{7}.4Z\",\
             \"l\":\"\u{8}Z\""
        );
        assert_eq!(
            short.dense.iter().fold(String::new(), |s, b| s + &format!("{b:02x}")),
            format!("{}{}{}{}", OTHER.replace('-', ""), "70ab", "8b55f883", "8403")
        );
    }

    #[test]
    fn what_would_not_come_back_stays_as_it_is() {
        for text in [
            "2020-02-30",
            "2021-02-29",
            "2020-13-01",
            "2020-00-01",
            "0000-01-01",
            "1899-12-31",
            "2079-06-07",
            "1949-12-31T00:00:00",
            "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0",
            "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f",
            "0f1e2d3c-4b5a-6978-8796_a5b4c3d2e1f0",
            "+1-800-555-0100",
            "-",
            "----",
        ] {
            let short = round(text.as_bytes());
            assert!(short.dense.is_empty(), "{text}");
            assert_eq!(short.text, text.as_bytes());
        }
        // A time that no clock shows is a date and the rest.
        for text in ["2020-02-29T24:00:00", "2020-02-29T23:59:60", "2020-02-29T23:5"] {
            assert_eq!(round(text.as_bytes()).text[0], DATE, "{text}");
        }
    }

    #[test]
    fn base64_is_kept_as_what_it_says() {
        let plain = b"Patient: feels well today, and better than a week ago.\n\x01\xff";
        for n in 46..=plain.len() {
            let mut text = b"\"data\":\"".to_vec();
            push_base64(&plain[..n], &mut text);
            text.extend_from_slice(b"\",\"title\":\"x\"");
            let short = round(&text);
            let at = short.text.iter().position(|b| *b == DATA).unwrap();
            assert_eq!(short.text[at + 1..at + 2 + n], [&[n as u8], &plain[..n]].concat());
        }
        let letters = "QUJD".repeat(16);
        for (text, is) in [
            (format!("\"{letters}\""), true),
            (format!("\"{letters}QQ==\""), true),
            (format!("\"{letters}QUI=\""), true),
            // Bits that decoding would lose.
            (format!("\"{letters}QR==\""), false),
            (format!("\"{letters}QUJ=\""), false),
            (format!("\"{letters}Q===\""), false),
            (format!("\"{letters}====\""), false),
            (format!("\"{letters}=QQQ\""), false),
            (format!("\"{letters}Q=Q=\""), false),
            (format!("\"{letters}QQ\""), false),
            (format!("\"{letters}Q-Q=\""), false),
            (format!("\"{letters}"), false),
            (format!("\"{}\"", "QUJD".repeat(15)), false),
        ] {
            assert_eq!(round(text.as_bytes()).text.contains(&DATA), is, "{text}");
        }
    }

    #[test]
    fn a_byte_that_is_a_code_stands_behind_another() {
        assert_eq!(round(b"a\x01b\x1f").text, b"a\x1f\x01b\x1f\x1f");
    }

    #[test]
    fn short_forms_begin_with_these_dates() {
        assert_eq!(date_of(DATES_FROM), (1900, 1, 1));
        assert_eq!(date_of(TIMES_FROM), (1950, 1, 1));
    }

    #[test]
    fn the_time_of_the_version_is_written_as_the_server_does() {
        assert_eq!(&instant(1_772_615_564_120_000).unwrap(), b"2026-03-04T09:12:44.120Z");
        assert_eq!(&instant(-1_000).unwrap(), b"1969-12-31T23:59:59.999Z");
        assert_eq!(instant(1), None);
    }

    #[test]
    fn damaged_segments_are_refused() {
        let bad: [(&[u8], &[u8]); 12] = [
            (b"", b"\x04"),
            (&[0; 15], b"\x04"),
            (&[0; 17], b"\x04"),
            (b"", b"\x05"),
            (b"", b"\x07"),
            (&[1, 0], b"\x08"),
            (b"", b"\x09"),
            (b"", b"\x09\x02a"),
            (b"", b"\x09\xff\xff\xff\xff\xff\x01"),
            (b"", b"\x0a"),
            (b"", b"\x1f"),
            (b"", b"\x1fa"),
        ];
        for (dense, text) in bad {
            assert!(leaves(Piece { dense, text }, &known()).is_err(), "{text:?}");
        }
        let nothing = Known::new("p1", None, 1);
        for text in [b"\x01", b"\x02", b"\x03"] {
            assert!(leaves(Piece { dense: b"", text }, &nothing).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(pieces in prop::collection::vec(
            prop_oneof![
                "\\PC{0,12}",
                "[0-9-]{1,12}",
                Just(SELF.to_owned()),
                Just(PATIENT_ID.to_owned()),
                Just("2026-03-04T09:12:44.120Z".to_owned()),
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9](T[012][0-9]:[0-6][0-9]:[0-6][0-9])?",
                "\"[A-Za-z0-9+/]{60,76}={0,2}\"",
                prop::collection::vec(0u8..0x20, 0..4).prop_map(|b| String::from_utf8(b).unwrap()),
            ],
            0..12,
        )) {
            round(pieces.concat().as_bytes());
        }

        #[test]
        fn no_bytes_break_the_expander(
            text in prop::collection::vec(prop_oneof![0u8..0x20, any::<u8>()], 0..60),
            dense in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = leaves(Piece { dense: &dense, text: &text }, &known());
        }
    }
}
