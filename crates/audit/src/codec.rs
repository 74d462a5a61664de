//! The bytes of an entry before sealing: CBOR (RFC 8949) maps with numbered fields.
//!
//! An entry is one *core* and one *part* for each patient. Fields are append-only: a
//! reader skips numbers that it does not know, so a later version may add fields. No
//! field changes its meaning.
//!
//! Core:
//!
//! | field | content | field | content |
//! |---|---|---|---|
//! | 0 | kind | 14 | action |
//! | 1 | at, µs since 1970 | 15 | outcome |
//! | 2 | request id, 16 bytes | 16 | shapes, see below |
//! | 3 | surface: 1 fhir, 2 cli, 3 job | 17 | each target's shape; absent: all the first |
//! | 4 | user | 18 | rows: per target row id (16) and version (LEB128, 0: none) |
//! | 5 | roles | 19 | `[target, id, ...]` of targets without patients |
//! | 6 | unit | 20 | number of patients |
//! | 7 | session | 21 | query, unless in the one patient's part |
//! | 8 | factors | 22 | intent id, 16 bytes |
//! | 9 | client | 23 | writes: per row id (16), hash (32), version (LEB128) |
//! | 10 | device | 24 | committed |
//! | 11 | ip, 4 or 16 bytes | 25 | `[first seq, count]` |
//! | 12 | purpose, 1 to 10 | 26 | detail: number to text |
//! | 13 | grant | 27 | `[part, of]` |
//!
//! A *shape* is what many targets share, a map: 0 type (number or name), 1 classes given, 2 classes
//! withheld, 3 elements withheld, 4 patients, 5 action. Field 18 is absent when the
//! targets are the writes in the same order, so a write costs 49 bytes and its shape.
//!
//! Part: 0 the patient's id, 1 `[target, id, ...]` of the patient's records (null: the
//! record is the patient itself), 2 the query.
//!
//! A logical id that is a lower-case UUID is 16 bytes, any other is text.
mod read;
mod write;

use phial_base::{Purpose, Surface};

pub(crate) use self::read::{decode_core, decode_part};
pub(crate) use self::write::{encode_core, encode_part};

const fn surface_number(s: Surface) -> u8 {
    match s {
        Surface::Fhir => 1,
        Surface::Cli => 2,
        Surface::Job => 3,
        Surface::Page => 4,
    }
}

const fn surface_of(n: u8) -> Option<Surface> {
    match n {
        1 => Some(Surface::Fhir),
        2 => Some(Surface::Cli),
        3 => Some(Surface::Job),
        4 => Some(Surface::Page),
        _ => None,
    }
}

const fn purpose_number(p: Purpose) -> u8 {
    match p {
        Purpose::TREAT => 1,
        Purpose::ETREAT => 2,
        Purpose::BTG => 3,
        Purpose::HPAYMT => 4,
        Purpose::HOPERAT => 5,
        Purpose::HRESCH => 6,
        Purpose::PUBHLTH => 7,
        Purpose::PATRQT => 8,
        Purpose::HLEGAL => 9,
        Purpose::HTEST => 10,
    }
}

fn purpose_of(n: u8) -> Option<Purpose> {
    Purpose::ALL.into_iter().find(|p| purpose_number(*p) == n)
}
fn leb128(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u32> {
    let mut n = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return u32::try_from(n).ok();
        }
    }
    None
}

/// The bytes of a lower-case UUID, else `None`.
fn uuid_bytes(id: &str) -> Option<[u8; 16]> {
    let b = id.as_bytes();
    if b.len() != 36 {
        return None;
    }
    let mut out = [0u8; 16];
    let mut digits = 0usize;
    for (i, c) in b.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if *c != b'-' {
                return None;
            }
            continue;
        }
        let value = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        let byte = out.get_mut(digits / 2)?;
        *byte = *byte << 4 | value;
        digits += 1;
    }
    Some(out)
}

fn uuid_text(b: [u8; 16]) -> String {
    let mut s = hex::encode(b);
    for at in [20, 16, 12, 8] {
        s.insert(at, '-');
    }
    s
}
#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use minicbor::Encoder;

    use super::*;
    use crate::entry::{Entry, EventKind};

    #[test]
    fn a_uuid_is_sixteen_bytes_and_nothing_else_is() {
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(uuid_text(uuid_bytes(id).unwrap()), id);
        for other in
            ["0F8FAD5B-D9CB-469F-A165-70867728950E", "0f8fad5bd9cb469fa16570867728950e", "p-1"]
        {
            assert_eq!(uuid_bytes(other), None);
        }
        assert_eq!(uuid_bytes("0f8fad5b-d9cb-469f-a165-70867728950-"), None);
    }

    #[test]
    fn leb128_round_trips_and_refuses_overflow() {
        for n in [0, 1, 127, 128, 300, u32::MAX] {
            let mut b = Vec::new();
            leb128(&mut b, n);
            assert_eq!(read_leb128(&mut b.as_slice()), Some(n));
        }
        assert_eq!(read_leb128(&mut [0xff, 0xff, 0xff, 0xff, 0x7f].as_slice()), None);
        assert_eq!(read_leb128(&mut [0x80].as_slice()), None);
    }

    #[test]
    fn a_later_field_is_skipped() {
        let entry = Entry::system(EventKind::Start, Timestamp::UNIX_EPOCH);
        let bytes = encode_core(&entry).unwrap();
        // Before the closing break: field 200, an array with a map in it.
        let (last, head) = bytes.split_last().unwrap();
        assert_eq!(*last, 0xff);
        let mut later = head.to_vec();
        let mut e = Encoder::new(&mut later);
        e.u8(200).unwrap().array(2).unwrap().u8(1).unwrap().map(1).unwrap();
        e.u8(1).unwrap().str("x").unwrap().end().unwrap();
        assert_eq!(decode_core(&later).unwrap(), entry);
    }

    #[test]
    fn bytes_after_the_core_are_refused() {
        let entry = Entry::system(EventKind::Start, Timestamp::UNIX_EPOCH);
        let mut bytes = encode_core(&entry).unwrap().to_vec();
        bytes.push(0);
        assert!(decode_core(&bytes).is_err());
        assert!(decode_core(&[0xbf, 0xff]).is_err(), "kind and time are required");
    }
}
