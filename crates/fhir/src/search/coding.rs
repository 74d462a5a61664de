//! Bytes of the search block: varints, and texts with a list of common ones.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The common texts by number, one a line. Append only: sealed blocks carry the numbers.
fn common() -> &'static (Vec<&'static str>, HashMap<&'static str, u64>) {
    static COMMON: OnceLock<(Vec<&'static str>, HashMap<&'static str, u64>)> = OnceLock::new();
    COMMON.get_or_init(|| {
        let list: Vec<&str> = include_str!("common.txt").lines().collect();
        let by_text = (0_u64..).zip(&list).map(|(n, t)| (*t, n)).collect();
        (list, by_text)
    })
}

#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn byte(&mut self, b: u8) {
        self.bytes.push(b);
    }

    pub(super) fn varint(&mut self, n: u64) {
        self.wide(u128::from(n));
    }

    pub(super) fn wide(&mut self, mut n: u128) {
        while n >= 0x80 {
            self.bytes.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
            n >>= 7;
        }
        self.bytes.push(u8::try_from(n).unwrap_or_default());
    }

    pub(super) fn signed(&mut self, n: i64) {
        self.varint((n << 1 ^ n >> 63).cast_unsigned());
    }

    pub(super) fn text(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.byte(0) };
        if let Some(n) = common().1.get(text) {
            self.varint(n * 2 + 1);
        } else if let Some(uuid) = uuid(text) {
            self.byte(2);
            self.bytes.extend_from_slice(&uuid);
        } else {
            self.varint((text.len() as u64 + 2) * 2);
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }
}

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn wide(&mut self) -> Option<u128> {
        let mut n = 0_u128;
        for shift in (0..77).step_by(7) {
            let b = self.byte()?;
            n |= u128::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        u64::try_from(self.wide()?).ok()
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let n = self.varint()?;
        Some((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    pub(super) fn float(&mut self) -> Option<f64> {
        let bytes: [u8; 8] = self.take(8)?.try_into().ok()?;
        Some(f64::from_le_bytes(bytes))
    }

    /// The outer `None` is damage.
    pub(super) fn text(&mut self) -> Option<Option<Box<str>>> {
        let head = self.varint()?;
        if head == 0 {
            return Some(None);
        }
        if head & 1 == 1 {
            let text = common().0.get(usize::try_from(head / 2).ok()?)?;
            return Some(Some((*text).into()));
        }
        if head == 2 {
            let bytes: [u8; 16] = self.take(16)?.try_into().ok()?;
            return Some(Some(uuid_text(bytes).into()));
        }
        let len = usize::try_from(head / 2).ok()?.checked_sub(2)?;
        let text = std::str::from_utf8(self.take(len)?).ok()?;
        Some(Some(text.into()))
    }
}

/// The bytes of a UUID written in lower case with hyphens; only such come back the same.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let b = text.as_bytes();
    if b.len() != 36 {
        return None;
    }
    let mut out = [0; 16];
    let mut nibbles = 0_usize;
    for (i, c) in b.iter().enumerate() {
        let value = match (i, c) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => c - b'0',
            (_, b'a'..=b'f') => c - b'a' + 10,
            _ => return None,
        };
        let slot = out.get_mut(nibbles / 2)?;
        *slot = *slot << 4 | value;
        nibbles += 1;
    }
    Some(out)
}

fn uuid_text(bytes: [u8; 16]) -> String {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut out = String::with_capacity(36);
    for (i, b) in bytes.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.extend(HEX.get(usize::from(b >> 4)));
        out.extend(HEX.get(usize::from(b & 15)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_common_text_stands_twice() {
        let (list, by_text) = common();
        assert_eq!(list.len(), by_text.len());
        assert!(list.iter().all(|t| !t.is_empty() && t.trim() == *t));
    }

    #[test]
    fn common_texts_keep_their_numbers() {
        // FNV-1a of the texts that blocks may already carry. Append; never change these.
        let first = common().0.get(..129).unwrap().join("\n");
        let sum = first.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(
            sum, 7420934162600677761,
            "a text moved: blocks sealed before would read wrongly"
        );
    }
}
