//! Small forms of what the index stores many times: numbers whose bytes sort as they
//! do, dates, codes, and the hash under which a code or a resource is looked up.

use super::values::{Cursor, NO_DATE, ODD_DATE, put_uint};

const SECOND: i64 = 1_000_000;
/// Added to seconds so that they are positive: dates up to 17,000 years from 1970.
const SHIFT: i64 = 1 << 39;
const LAST: i64 = (1 << 40) - 2;
/// 2026-01-01: times of writing count from here.
const WRITTEN: i64 = 1_767_225_600 * SECOND;

/// One byte below this.
const ONE: u64 = 192;
/// Two bytes below this.
const TWO: u64 = ONE + 48 * 256;
/// Three bytes below this.
const THREE: u64 = TWO + 8 * 65_536;

fn put_end(out: &mut Vec<u8>, n: u64, bytes: usize) {
    let all = n.to_be_bytes();
    out.extend_from_slice(all.get(8 - bytes..).unwrap_or(&all));
}

/// Appends a number below 2^56 so that longer byte strings with it sort as it does, and
/// none begins another.
pub(super) fn put_ordered(out: &mut Vec<u8>, n: u64) {
    if n < ONE {
        out.push(n as u8);
    } else if n < TWO {
        let n = n - ONE;
        out.push(192 + (n >> 8) as u8);
        out.push(n as u8);
    } else if n < THREE {
        let n = n - TWO;
        out.push(240 + (n >> 16) as u8);
        put_end(out, n, 2);
    } else {
        let bytes = 8 - (n.leading_zeros() / 8) as usize;
        out.push(248 + bytes as u8);
        put_end(out, n, bytes);
    }
}

impl Cursor<'_> {
    fn big_endian(&mut self, bytes: usize) -> Option<u64> {
        Some(self.bytes(bytes)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Reads what [`put_ordered`] wrote.
    pub(super) fn ordered(&mut self) -> Option<u64> {
        let first = self.big_endian(1)?;
        Some(match first {
            0..192 => first,
            192..240 => ONE + ((first - 192) << 8 | self.big_endian(1)?),
            240..248 => TWO + ((first - 240) << 16 | self.big_endian(2)?),
            _ => self.big_endian(usize::try_from(first - 248).ok()?)?,
        })
    }

    /// Reads what [`put_moment`] wrote.
    pub(super) fn moment(&mut self) -> Option<i64> {
        let seconds = self.big_endian(5)?.cast_signed();
        let micros = match self.big_endian(1)? {
            0 => 0,
            _ => self.big_endian(3)?.cast_signed(),
        };
        Some(match seconds {
            0 => NO_DATE,
            1 => ODD_DATE,
            s => (s - SHIFT) * SECOND + micros,
        })
    }

    /// Reads what [`put_date`] wrote.
    pub(super) fn date(&mut self) -> Option<i64> {
        let n = self.uint()?;
        Some(match n.checked_sub(2) {
            None if n == 0 => NO_DATE,
            None => ODD_DATE,
            Some(n) => {
                let signed = unzig(n >> 1);
                if n & 1 == 0 { signed.checked_mul(SECOND)? } else { signed }
            }
        })
    }

    /// Reads what [`put_written`] wrote.
    pub(super) fn written(&mut self) -> Option<i64> {
        self.int()?.checked_add(WRITTEN)
    }
}

/// Small numbers of both signs as small positive ones.
pub(super) const fn zig(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// The other way.
pub(super) const fn unzig(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

/// Whether [`put_moment`] keeps the date as it is.
pub(super) const fn is_moment(date: i64) -> bool {
    let seconds = date.div_euclid(SECOND);
    date == NO_DATE || date == ODD_DATE || (seconds + SHIFT >= 2 && seconds + SHIFT <= LAST)
}

/// Appends a date so that it sorts by time; what is out of range becomes the nearest.
/// No string of eight 0xff bytes sorts below one.
pub(super) fn put_moment(out: &mut Vec<u8>, date: i64) {
    let (seconds, micros) = match date {
        NO_DATE => (0, 0),
        ODD_DATE => (1, 0),
        _ => {
            let seconds = date.div_euclid(SECOND) + SHIFT;
            let kept = seconds.clamp(2, LAST);
            (kept, if kept == seconds { date.rem_euclid(SECOND) } else { 0 })
        }
    };
    put_end(out, seconds.cast_unsigned(), 5);
    out.push(u8::from(micros != 0));
    if micros != 0 {
        put_end(out, micros.cast_unsigned(), 3);
    }
}

/// Appends a date for which [`is_moment`] holds, short and in no order.
pub(super) fn put_date(out: &mut Vec<u8>, date: i64) {
    put_uint(
        out,
        match date {
            NO_DATE => 0,
            ODD_DATE => 1,
            d if d % SECOND == 0 => 2 + (zig(d / SECOND) << 1),
            d => 2 + (zig(d) << 1 | 1),
        },
    );
}

/// Appends the time of a version's writing.
pub(super) fn put_written(out: &mut Vec<u8>, at: i64) {
    put_uint(out, zig(at.saturating_sub(WRITTEN)));
}

/// What a text is looked up by; equal hashes do not yet mean equal texts.
pub(super) fn hash(packed: &[u8]) -> i64 {
    let [a, b, c, d, ..] = phial_crypto::sha256(packed);
    i64::from(i32::from_be_bytes([a, b, c, d]))
}

const URN_UUID: &str = "urn:uuid:";
const URN_OID: &str = "urn:oid:";
const SIGNS: &[u8; 12] = b"0123456789.-";

/// A code in few bytes: UUIDs in sixteen, digits and dots two to the byte. Equal codes
/// have equal bytes.
pub(super) fn pack_code(code: &str) -> Vec<u8> {
    if let Some(uuid) = pack_uuid(code) {
        return [&[1][..], &uuid].concat();
    }
    if let Some(uuid) = code.strip_prefix(URN_UUID).and_then(pack_uuid) {
        return [&[2][..], &uuid].concat();
    }
    if let Some(signs) = pack_signs(code) {
        return [&[3][..], &signs].concat();
    }
    if let Some(signs) = code.strip_prefix(URN_OID).and_then(pack_signs) {
        return [&[4][..], &signs].concat();
    }
    [&[0][..], code.as_bytes()].concat()
}

/// The code in the bytes; `None` when they are none.
pub(super) fn unpack_code(packed: &[u8]) -> Option<String> {
    let (form, rest) = packed.split_first()?;
    match form {
        0 => Some(std::str::from_utf8(rest).ok()?.to_owned()),
        1 => uuid_text(rest),
        2 => Some(format!("{URN_UUID}{}", uuid_text(rest)?)),
        3 => unpack_signs(rest),
        4 => Some(format!("{URN_OID}{}", unpack_signs(rest)?)),
        _ => None,
    }
}

fn pack_signs(text: &str) -> Option<Vec<u8>> {
    let sign = |b: &u8| SIGNS.iter().position(|s| s == b).and_then(|n| u8::try_from(n).ok());
    text.as_bytes()
        .chunks(2)
        .map(|two| {
            let low = two.get(1).map_or(Some(15), sign)?;
            Some(sign(two.first()?)? << 4 | low)
        })
        .collect()
}

fn unpack_signs(packed: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(packed.len() * 2);
    for b in packed {
        out.push(char::from(*SIGNS.get(usize::from(b >> 4))?));
        if b & 15 != 15 {
            out.push(char::from(*SIGNS.get(usize::from(b & 15))?));
        }
    }
    Some(out)
}

/// The sixteen bytes of a UUID in its usual form, small letters only.
pub(super) fn pack_uuid(id: &str) -> Option<[u8; 16]> {
    let b = id.as_bytes();
    if b.len() != 36 {
        return None;
    }
    let mut out = [0u8; 16];
    let mut n = 0usize;
    for (i, c) in b.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if *c != b'-' {
                return None;
            }
            continue;
        }
        let digit = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        let byte = out.get_mut(n / 2)?;
        *byte = *byte << 4 | digit;
        n += 1;
    }
    (n == 32).then_some(out)
}

/// The UUID of sixteen bytes.
pub(super) fn uuid_text(packed: &[u8]) -> Option<String> {
    if packed.len() != 16 {
        return None;
    }
    let h = hex::encode(packed);
    let part = |a: usize, b: usize| h.get(a..b).unwrap_or_default();
    Some([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_sort_as_their_bytes() {
        let mut before = Vec::new();
        for n in [0, 1, 191, 192, 12_479, 12_480, 536_767, 536_768, 1 << 24, (1 << 56) - 1] {
            let mut bytes = Vec::new();
            put_ordered(&mut bytes, n);
            assert_eq!(Cursor(&bytes).ordered(), Some(n));
            assert!(before < bytes, "{n}");
            before = bytes;
        }
        before.clear();
        let dates =
            [NO_DATE, ODD_DATE, -62_135_596_800_000_000, -1, 0, 1, 999_999, 1_000_000, 1 << 52];
        for date in dates {
            let mut bytes = Vec::new();
            put_moment(&mut bytes, date);
            assert!(is_moment(date));
            assert_eq!(Cursor(&bytes).moment(), Some(date));
            assert!(before < bytes, "{date}");
            before = bytes;
            let mut short = Vec::new();
            put_date(&mut short, date);
            assert_eq!(Cursor(&short).date(), Some(date));
        }
        assert!(!is_moment(i64::MAX) && !is_moment(i64::MIN + 2));
        put_moment(&mut before, i64::MAX);
        assert!(before.as_slice() < &[0xff; 8][..]);
    }

    #[test]
    fn every_code_comes_back() {
        for (code, bytes) in [
            ("", 1),
            ("final", 6),
            ("718-7", 4),
            ("260385009", 6),
            ("1.2.840.99999999.1.85234511", 15),
            ("0f8fad5b-d9cb-469f-a165-70867728950e", 17),
            ("urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e", 17),
            ("urn:uuid:0F8FAD5B-d9cb-469f-a165-70867728950e", 46),
            ("urn:oid:2.16.840.1", 6),
            ("Zoë", 5),
        ] {
            let packed = pack_code(code);
            assert_eq!(unpack_code(&packed).as_deref(), Some(code));
            assert_eq!(packed.len(), bytes, "{code}");
        }
        assert_eq!(unpack_code(&[]), None);
        assert_eq!(unpack_code(&[3, 0xde]), None);
    }
}
