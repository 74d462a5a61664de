//! Unambiguous encodings shared by the formats: length-prefixed items for AAD
//! and MAC input, and varints (unsigned LEB128, at most 5 bytes, shortest form
//! only). Refuses truncated, overlong and oversized numbers.

/// Appends `item` behind its length (u32, big-endian). A sequence of items so
/// encoded can be read back in one way only.
pub(crate) fn push_item(out: &mut Vec<u8>, item: &[u8]) {
    // No item comes near 4 GiB; saturating keeps the encoding total.
    let len = u32::try_from(item.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(item);
}

/// Appends `n` as a varint.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends the low 24 bits of `n`, big-endian.
pub(crate) fn push_u24(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&[(n >> 16) as u8, (n >> 8) as u8, n as u8]);
}

/// Reads fields from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(crate) fn u24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(crate) fn varint(&mut self) -> Option<u32> {
        let mut n = 0u32;
        for shift in [0u32, 7, 14, 21, 28] {
            let b = self.byte()?;
            let bits = u32::from(b & 0x7f);
            if shift == 28 && bits > 0x0f {
                return None;
            }
            n |= bits << shift;
            if b & 0x80 == 0 {
                // A trailing zero group would be a second spelling of the same number.
                return (b != 0 || shift == 0).then_some(n);
            }
        }
        None
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_round_trips_in_its_shortest_form_only() {
        for n in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_456, u32::MAX] {
            let mut out = Vec::new();
            push_varint(&mut out, n);
            assert_eq!(Reader::new(&out).varint(), Some(n));
        }
        let overlong: [&[u8]; 4] =
            [&[0x80, 0x00], &[0xff, 0x80, 0x00], &[0xff; 5], &[0xff, 0xff, 0xff, 0xff, 0x10]];
        for bytes in overlong {
            assert_eq!(Reader::new(bytes).varint(), None);
        }
        assert_eq!(Reader::new(&[0x80]).varint(), None);
    }

    #[test]
    fn items_do_not_run_into_each_other() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        push_item(&mut a, b"ab");
        push_item(&mut a, b"c");
        push_item(&mut b, b"a");
        push_item(&mut b, b"bc");
        assert_ne!(a, b);
    }
}
