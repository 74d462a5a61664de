//! Compression of parts before sealing. Refuses to unpack more than
//! [`MAX_PART_BYTES`] and frames that do not say how long they are.
//!
//! # A packed text
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | method: `00` stored, `01` zstd, `02` zstd with dictionary 1 |
//! | 1 | n | stored: the text. zstd: one frame (RFC 8878) without its 4-byte magic number `28b52ffd`, with content size, without checksum and dictionary id |
//!
//! Worked: the text `hi` is `00 6869`. The checksum would repeat what the GCM
//! tag says, and the magic number and dictionary id what the method says; in
//! segments of a hundred bytes their twelve bytes count.
//!
//! Which method is chosen is not part of the format: whichever gives fewer bytes.
//! Compression happens per part, so what one class compresses to depends on no
//! text of another class, and sizes are hidden by the record's bucket.
//!
//! zstd's own working memory is per thread and is not overwritten after use.

use std::cell::RefCell;
use std::sync::LazyLock;

use zeroize::Zeroize;
use zstd::zstd_safe::{
    CCtx, CDict, CParameter, DCtx, DDict, compress_bound, get_frame_content_size,
};

use crate::Error;

/// Dictionary 1, part of the format of method 2: never replaced once data exists;
/// a better one gets method 3. Trained by `examples/train_dictionary.rs` on
/// synthetic records.
pub const DICTIONARY_1: &[u8] = include_bytes!("../assets/dictionary-1.zstd");

/// The most bytes that a part, or a header, may have before compression.
pub const MAX_PART_BYTES: usize = 64 << 20;

const STORED: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_DICTIONARY_1: u8 = 2;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LEVEL: i32 = 3;
/// Below this no frame can be smaller than the text.
pub(crate) const SHORTEST: usize = 12;
/// Above this the dictionary no longer helps.
const DICTIONARY_UP_TO: usize = 32 << 10;
/// Scratch memory larger than this is given back.
const SCRATCH_KEPT: usize = 1 << 20;

static ENCODER: LazyLock<CDict<'static>> = LazyLock::new(|| CDict::create(DICTIONARY_1, LEVEL));
static DECODER: LazyLock<DDict<'static>> = LazyLock::new(|| DDict::create(DICTIONARY_1));

struct Context {
    plain: Option<CCtx<'static>>,
    with_dictionary: Option<CCtx<'static>>,
    decoder: Option<DCtx<'static>>,
    scratch: Vec<u8>,
}

thread_local! {
    static CONTEXT: RefCell<Context> = const {
        RefCell::new(Context { plain: None, with_dictionary: None, decoder: None, scratch: Vec::new() })
    };
}

/// Appends `text`, packed, to `out`. Returns how many bytes that took. A text
/// shorter than `try_from` bytes is stored without trying to compress it.
pub(crate) fn pack(text: &[u8], try_from: usize, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    if text.len() >= try_from {
        let method = if text.len() <= DICTIONARY_UP_TO { ZSTD_DICTIONARY_1 } else { ZSTD };
        if compress(method, text, out).is_some_and(|n| n < text.len()) {
            return out.len() - start;
        }
        out.truncate(start);
    }
    out.push(STORED);
    out.extend_from_slice(text);
    out.len() - start
}

/// Appends method and frame; `None` when zstd fails, with `out` in any state.
fn compress(method: u8, text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    let room = compress_bound(text.len());
    // The frame is written so that its magic number ends where the method stands.
    out.resize(start + room + 1, 0);
    let written = CONTEXT.with_borrow_mut(|c| {
        let slot = if method == ZSTD { &mut c.plain } else { &mut c.with_dictionary };
        let context = match slot {
            Some(context) => context,
            None => slot.insert(new_encoder(method == ZSTD_DICTIONARY_1)?),
        };
        context.compress2(out.get_mut(start + 1..)?, text).ok()
    })?;
    let frame = out.get(start + 1..start + 1 + written)?;
    if !frame.starts_with(&MAGIC) {
        return None;
    }
    // method, then the frame without its magic number
    out.copy_within(start + 5..start + 1 + written, start + 1);
    *out.get_mut(start)? = method;
    let len = written - MAGIC.len();
    out.truncate(start + 1 + len);
    Some(len)
}

fn new_encoder(dictionary: bool) -> Option<CCtx<'static>> {
    let mut context = CCtx::try_create()?;
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        context.set_parameter(parameter).ok()?;
    }
    if dictionary {
        context.ref_cdict(&ENCODER).ok()?;
    }
    Some(context)
}

/// Decrypts into memory of this thread, then appends the unpacked text to `out`.
/// `decrypt` is given `len` bytes to fill. The memory is overwritten afterwards.
/// When it fails, `out` is as before.
pub(crate) fn unpack_into(
    len: usize,
    what: &'static str,
    out: &mut Vec<u8>,
    decrypt: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    // Taken out, not borrowed: `decrypt` is foreign code and might come back here.
    let mut scratch = CONTEXT.with_borrow_mut(|c| std::mem::take(&mut c.scratch));
    let start = out.len();
    let gap = MAGIC.len() - 1;
    scratch.clear();
    scratch.resize(gap + len, 0);
    let result = match scratch.get_mut(gap..) {
        Some(packed) => decrypt(packed).and_then(|()| unpack(&mut scratch, what, out)),
        None => Err(Error::Malformed(what)),
    };
    if result.is_err() {
        if let Some(written) = out.get_mut(start..) {
            written.zeroize();
        }
        out.truncate(start);
    }
    scratch.as_mut_slice().zeroize();
    if scratch.capacity() <= SCRATCH_KEPT {
        CONTEXT.with_borrow_mut(|c| c.scratch = scratch);
    }
    result
}

/// `scratch` holds three free bytes and then the packed text.
fn unpack(scratch: &mut [u8], what: &'static str, out: &mut Vec<u8>) -> Result<(), Error> {
    let malformed = || Error::Malformed(what);
    let (front, body) = scratch.split_at_mut_checked(MAGIC.len()).ok_or_else(malformed)?;
    let method = front.last().copied().ok_or_else(malformed)?;
    match method {
        STORED => {
            out.extend_from_slice(body);
            return Ok(());
        }
        ZSTD | ZSTD_DICTIONARY_1 => front.copy_from_slice(&MAGIC),
        found => return Err(Error::UnknownFormat { what: "packed part", found }),
    }
    let size = get_frame_content_size(scratch).ok().flatten().ok_or_else(malformed)?;
    let size = usize::try_from(size)
        .ok()
        .filter(|n| *n <= MAX_PART_BYTES)
        .ok_or(Error::TooLarge { what: "part", limit: MAX_PART_BYTES })?;
    let start = out.len();
    out.resize(start + size, 0);
    let written = CONTEXT.with_borrow_mut(|c| {
        let context = match &mut c.decoder {
            Some(context) => context,
            none => none.insert(DCtx::try_create()?),
        };
        let to = out.get_mut(start..)?;
        if method == ZSTD {
            context.decompress(to, scratch).ok()
        } else {
            context.decompress_using_ddict(to, scratch, &DECODER).ok()
        }
    });
    if written == Some(size) { Ok(()) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let n = pack(text, SHORTEST, &mut out);
        assert_eq!(out.len(), 6 + n);
        out.split_off(6)
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = b"before".to_vec();
        let result = unpack_into(bytes.len(), "test", &mut out, |to| {
            to.copy_from_slice(bytes);
            Ok(())
        });
        assert!(out.starts_with(b"before"));
        if result.is_err() {
            assert_eq!(out, b"before");
        }
        result.map(|()| out.split_off(6))
    }

    #[test]
    fn each_method_is_chosen_where_it_is_smallest() {
        assert_eq!(packed(b""), [0]);
        assert_eq!(packed(b"hi"), [0, b'h', b'i']);
        let fhir = br#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]}}"#;
        let small = packed(fhir);
        assert_eq!(small[0], ZSTD_DICTIONARY_1);
        assert!(small.len() < fhir.len());
        assert_eq!(unpacked(&small).unwrap(), fhir);
        let large = vec![b'x'; DICTIONARY_UP_TO + 1];
        assert_eq!(packed(&large)[0], ZSTD);
        let random: Vec<u8> =
            (0u32..4000).flat_map(|n| crate::sha256(&n.to_be_bytes())).take(1000).collect();
        assert_eq!(packed(&random)[0], STORED);
    }

    #[test]
    fn the_magic_number_is_not_stored() {
        for text in [vec![b'x'; 200], vec![b'x'; DICTIONARY_UP_TO + 1]] {
            assert!(!packed(&text).windows(4).any(|w| w == MAGIC));
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_memory_is_taken() {
        // Frame header: single segment, 8-byte content size of 2^40.
        let mut bomb = vec![ZSTD, 0b1110_0000];
        bomb.extend_from_slice(&(1u64 << 40).to_le_bytes());
        bomb.extend_from_slice(&[1, 0, 0]);
        assert!(matches!(unpacked(&bomb), Err(Error::TooLarge { .. })));
        // No content size: window descriptor instead.
        assert!(matches!(unpacked(&[ZSTD, 0, 0x58, 1, 0, 0]), Err(Error::Malformed("test"))));
        assert!(matches!(
            unpacked(&[3, 1, 2]),
            Err(Error::UnknownFormat { what: "packed part", found: 3 })
        ));
        assert!(matches!(unpacked(&[]), Err(Error::Malformed("test"))));
        assert!(unpacked(&[ZSTD]).is_err());
        assert!(unpacked(&[ZSTD_DICTIONARY_1, 0x20]).is_err());
    }

    #[test]
    fn a_failed_decryption_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let result = unpack_into(40, "test", &mut out, |to| {
            to.fill(7);
            Err(Error::Refused("test"))
        });
        assert!(matches!(result, Err(Error::Refused(_))));
        assert_eq!(out, b"before");
        CONTEXT.with_borrow(|c| assert!(c.scratch.iter().all(|b| *b == 0)));
    }

    #[test]
    fn unpacked_text_is_wiped_from_the_thread() {
        unpacked(&packed(b"a name that must not stay")).unwrap();
        CONTEXT.with_borrow(|c| {
            assert!(!c.scratch.is_empty());
            assert!(c.scratch.iter().all(|b| *b == 0));
        });
    }

    #[test]
    fn dictionary_1_is_at_most_32_kib() {
        assert!((256..=32 << 10).contains(&DICTIONARY_1.len()));
    }

    proptest! {
        #[test]
        fn any_text_round_trips(text in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(unpacked(&packed(&text)).unwrap(), text);
        }

        #[test]
        fn any_repetitive_text_round_trips(
            piece in proptest::collection::vec(any::<u8>(), 1..50),
            times in 1usize..2000,
        ) {
            let text = piece.repeat(times);
            prop_assert_eq!(unpacked(&packed(&text)).unwrap(), text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpacked(&bytes);
        }
    }
}
