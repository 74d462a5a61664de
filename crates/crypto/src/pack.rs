//! Compression of parts before sealing. Refuses to unpack more than
//! [`MAX_PART_BYTES`] and frames that do not say how long they are.
//!
//! # A packed text
//!
//! A text comes with dense bytes (ids, times: what does not compress), which are kept
//! as they are. Numbers are varints (unsigned LEB128 in its shortest form).
//!
//! | bytes | what |
//! |---|---|
//! | 1 | method in the low 2 bits: 0 stored, 1 one block, 2 zstd; above them the number d of dense bytes, 63 for more |
//! | varint | d − 63, when the 6 bits are 63 |
//! | varint | length of the text, for method 1 |
//! | d | the dense bytes |
//! | rest | stored: the text. One block: the content of the one compressed block of a zstd frame (RFC 8878, 3.1.1.2) made with the dictionary of the part's kind. zstd: one frame without its 4-byte magic number `28b52ffd` and without dictionary, with content size, without checksum and dictionary id |
//!
//! Worked: the text `hi` is `00 6869`; with the dense byte `ff` it is `04 ff 6869`. In
//! texts of a hundred bytes the nine bytes of frame and block header count; a checksum
//! would repeat what the GCM tag says.
//!
//! Which method is chosen is not part of the format: whichever gives fewer bytes.
//! Compression happens per part, so what one class compresses to depends on no
//! text of another class, and sizes are hidden by the record's bucket.
//!
//! zstd's own working memory is per thread and is not overwritten after use.

use std::cell::RefCell;
use std::fmt;
use std::sync::OnceLock;

use zeroize::{Zeroize, Zeroizing};
use zstd::zstd_safe::{
    CCtx, CDict, CParameter, DCtx, DDict, compress_bound, get_frame_content_size,
};

use crate::Error;
use crate::encode::{Reader, push_varint};
use crate::record::PartId;

/// The most bytes that a part, or a header, may have before compression.
pub const MAX_PART_BYTES: usize = 64 << 20;

const STORED: u8 = 0;
const BLOCK: u8 = 1;
const ZSTD: u8 = 2;
const METHOD_BITS: u32 = 2;
/// Says that the number of dense bytes follows.
const MORE_DENSE: usize = 63;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Chosen for speed: sealing is part of every write.
const BLOCK_LEVEL: i32 = 6;
const FRAME_LEVEL: i32 = 3;
/// Below this no block can be smaller than the text.
const SHORTEST: usize = 6;
/// Above this the dictionary no longer helps, and a frame may need several blocks.
const BLOCK_UP_TO: usize = 32 << 10;
/// Magic number, descriptor, content size of at most 2 bytes, block header.
const LONGEST_FRONT: usize = 10;
/// Scratch memory larger than this is given back.
const SCRATCH_KEPT: usize = 1 << 20;

/// A text to be sealed, with dense bytes that go before it and are not compressed.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// Ids, times and the like.
    pub dense: &'a [u8],
    /// What is compressed.
    pub text: &'a [u8],
}

impl<'a> Text<'a> {
    /// A text without dense bytes.
    #[must_use]
    pub const fn plain(text: &'a [u8]) -> Self {
        Text { dense: &[], text }
    }

    pub(crate) fn len(&self) -> usize {
        self.dense.len() + self.text.len()
    }
}

/// A text that was opened; overwritten on drop. `Debug` shows nothing of it.
pub struct Plain {
    bytes: Zeroizing<Vec<u8>>,
    dense: usize,
}

impl Plain {
    /// The dense bytes.
    #[must_use]
    pub fn dense(&self) -> &[u8] {
        self.bytes.get(..self.dense).unwrap_or_default()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.bytes.get(self.dense..).unwrap_or_default()
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}

/// What a text is, as far as its dictionary goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record's header.
    Header,
    /// A part.
    Part(PartId),
}

impl Kind {
    pub(crate) fn of(part: PartId) -> Self {
        Kind::Part(part)
    }

    /// The dictionary's place in [`DICTIONARIES`].
    fn dictionary(self) -> usize {
        match self {
            // One for each class of data, see `PartId`.
            Kind::Part(part @ 16..28) => usize::from(part) - 15,
            Kind::Part(_) | Kind::Header => 0,
        }
    }
}

macro_rules! dictionaries {
    ($($name:literal)*) => {
        [$(include_bytes!(concat!("../assets/dictionaries/", $name, ".zstd"))),*]
    };
}

/// The dictionaries of method 1, part of the format: of the header, then of the parts 16
/// to 27. Trained by `examples/train_dictionary.rs` on synthetic records.
pub const DICTIONARIES: [&[u8]; 13] = dictionaries!(
    "header" "administrative" "demographic" "contact" "identifier" "identifier" "financial"
    "scheduling" "clinical" "medication" "laboratory" "notes" "attachment"
);

/// A dictionary made ready for use, which takes a few times its size: when first needed.
struct Ready {
    encoder: OnceLock<CDict<'static>>,
    decoder: OnceLock<DDict<'static>>,
}

static READY: [Ready; DICTIONARIES.len()] =
    [const { Ready { encoder: OnceLock::new(), decoder: OnceLock::new() } }; DICTIONARIES.len()];

fn encoder(kind: Kind) -> Option<&'static CDict<'static>> {
    let at = kind.dictionary();
    let (ready, bytes) = (READY.get(at)?, DICTIONARIES.get(at)?);
    Some(ready.encoder.get_or_init(|| CDict::create(bytes, BLOCK_LEVEL)))
}

fn decoder(kind: Kind) -> Option<&'static DDict<'static>> {
    let at = kind.dictionary();
    let (ready, bytes) = (READY.get(at)?, DICTIONARIES.get(at)?);
    Some(ready.decoder.get_or_init(|| DDict::create(bytes)))
}

struct Context {
    plain: Option<CCtx<'static>>,
    block: Option<CCtx<'static>>,
    decoder: Option<DCtx<'static>>,
    scratch: Vec<u8>,
}

thread_local! {
    static CONTEXT: RefCell<Context> = const {
        RefCell::new(Context { plain: None, block: None, decoder: None, scratch: Vec::new() })
    };
}

/// Appends `text`, packed, to `out`. Returns how many bytes that took.
pub(crate) fn pack(text: Text<'_>, kind: Kind, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let stored = 1 + text.len() + usize::from(text.dense.len() >= MORE_DENSE);
    if text.text.len() >= SHORTEST {
        if text.text.len() <= BLOCK_UP_TO
            && block(text, kind, out).is_some()
            && out.len() - start < stored
        {
            return out.len() - start;
        }
        out.truncate(start);
    }
    if text.text.len() > BLOCK_UP_TO {
        if frame(text, out).is_some() && out.len() - start < stored {
            return out.len() - start;
        }
        out.truncate(start);
    }
    front(STORED, text, out);
    out.extend_from_slice(text.dense);
    out.extend_from_slice(text.text);
    out.len() - start
}

/// How long a part, or the header when there is none, is once packed. For measurements.
#[must_use]
pub fn packed_len(part: Option<PartId>, text: Text<'_>) -> usize {
    pack(text, part.map_or(Kind::Header, Kind::of), &mut Vec::new())
}

/// Appends method and number of dense bytes.
fn front(method: u8, text: Text<'_>, out: &mut Vec<u8>) {
    let dense = text.dense.len();
    let short = u8::try_from(dense.min(MORE_DENSE)).unwrap_or_default();
    out.push(method | short << METHOD_BITS);
    if let Some(more) = dense.checked_sub(MORE_DENSE) {
        push_varint(out, u32::try_from(more).unwrap_or(u32::MAX));
    }
}

/// Frame header and block header of the frame that holds one block of `block` bytes
/// for a text of `len`, magic number included.
fn frame_front(len: usize, block: usize) -> Option<([u8; LONGEST_FRONT], usize)> {
    let mut out = [0; LONGEST_FRONT];
    let size = u32::try_from(block).ok().filter(|n| *n < 1 << 21)? << 3;
    // Last block, compressed.
    let [a, b, c, _] = (size | 1 | 2 << 1).to_le_bytes();
    let bytes: &[u8] = if let Ok(len) = u8::try_from(len) {
        &[0x20, len, a, b, c]
    } else {
        let [low, high] = u16::try_from(len - 256).ok()?.to_le_bytes();
        &[0x60, low, high, a, b, c]
    };
    let all = MAGIC.iter().chain(bytes);
    for (to, from) in out.iter_mut().zip(all) {
        *to = *from;
    }
    Some((out, MAGIC.len() + bytes.len()))
}

/// Appends the text as one block; `None` when zstd made no such block, with `out` in
/// any state.
fn block(text: Text<'_>, kind: Kind, out: &mut Vec<u8>) -> Option<()> {
    front(BLOCK, text, out);
    push_varint(out, u32::try_from(text.text.len()).ok()?);
    out.extend_from_slice(text.dense);
    let start = out.len();
    out.resize(start + compress_bound(text.text.len()), 0);
    let written = CONTEXT.with_borrow_mut(|c| {
        let context = match &mut c.block {
            Some(context) => context,
            none => none.insert(new_encoder(None)?),
        };
        context.ref_cdict(encoder(kind)?).ok()?;
        context.compress2(out.get_mut(start..)?, text.text).ok()
    })?;
    let frame = out.get(start..start + written)?;
    // The front's length does not depend on the block's.
    let (_, skip) = frame_front(text.text.len(), 0)?;
    let content = written.checked_sub(skip)?;
    let (expected, _) = frame_front(text.text.len(), content)?;
    if content == 0 || frame.get(..skip) != expected.get(..skip) {
        return None;
    }
    out.copy_within(start + skip..start + written, start);
    out.truncate(start + content);
    Some(())
}

/// Appends the text as a frame; `None` as for [`block`].
fn frame(text: Text<'_>, out: &mut Vec<u8>) -> Option<()> {
    front(ZSTD, text, out);
    out.extend_from_slice(text.dense);
    let start = out.len();
    out.resize(start + compress_bound(text.text.len()), 0);
    let written = CONTEXT.with_borrow_mut(|c| {
        let context = match &mut c.plain {
            Some(context) => context,
            none => none.insert(new_encoder(Some(FRAME_LEVEL))?),
        };
        context.compress2(out.get_mut(start..)?, text.text).ok()
    })?;
    let frame = out.get(start..start + written)?;
    if !frame.starts_with(&MAGIC) {
        return None;
    }
    out.copy_within(start + MAGIC.len()..start + written, start);
    out.truncate(start + written - MAGIC.len());
    Some(())
}

/// Without a level the dictionary says it.
fn new_encoder(level: Option<i32>) -> Option<CCtx<'static>> {
    let mut context = CCtx::try_create()?;
    for parameter in [
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        context.set_parameter(parameter).ok()?;
    }
    if let Some(level) = level {
        context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    }
    Some(context)
}

/// Decrypts into memory of this thread and unpacks from there. `decrypt` is given `len`
/// bytes to fill. The memory is overwritten afterwards.
pub(crate) fn unpack(
    len: usize,
    kind: Kind,
    what: &'static str,
    decrypt: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) -> Result<Plain, Error> {
    // Taken out, not borrowed: `decrypt` is foreign code and might come back here.
    let mut scratch = CONTEXT.with_borrow_mut(|c| std::mem::take(&mut c.scratch));
    scratch.clear();
    scratch.resize(LONGEST_FRONT + len, 0);
    let result = match scratch.get_mut(LONGEST_FRONT..) {
        Some(packed) => decrypt(packed).and_then(|()| unpacked(&mut scratch, kind, what)),
        None => Err(Error::Malformed(what)),
    };
    scratch.as_mut_slice().zeroize();
    if scratch.capacity() <= SCRATCH_KEPT {
        CONTEXT.with_borrow_mut(|c| c.scratch = scratch);
    }
    result
}

/// `scratch` holds room for a frame's front and then the packed text.
fn unpacked(scratch: &mut [u8], kind: Kind, what: &'static str) -> Result<Plain, Error> {
    let malformed = || Error::Malformed(what);
    let mut r = Reader::new(scratch.get(LONGEST_FRONT..).ok_or_else(malformed)?);
    let first = r.byte().ok_or_else(malformed)?;
    let method = first & ((1 << METHOD_BITS) - 1);
    let mut dense = usize::from(first >> METHOD_BITS);
    let mut number = || r.varint().and_then(|n| usize::try_from(n).ok()).ok_or_else(malformed);
    if dense == MORE_DENSE {
        dense = number()?.checked_add(MORE_DENSE).ok_or_else(malformed)?;
    }
    let told = if method == BLOCK { number()? } else { 0 };
    let dense_bytes = r.take(dense).ok_or_else(malformed)?;
    let rest = r.rest();
    let mut bytes = Zeroizing::new(Vec::new());
    // The frame's front is written over what stands before its blocks.
    let (len, front, front_len) = match method {
        STORED => {
            bytes.reserve_exact(dense + rest.len());
            bytes.extend_from_slice(dense_bytes);
            bytes.extend_from_slice(rest);
            return Ok(Plain { bytes, dense });
        }
        BLOCK if told > BLOCK_UP_TO => {
            return Err(Error::TooLarge { what: "part", limit: BLOCK_UP_TO });
        }
        BLOCK => {
            let (front, n) = frame_front(told, rest.len()).ok_or_else(malformed)?;
            (told, front, n)
        }
        ZSTD => {
            let mut front = [0; LONGEST_FRONT];
            for (to, from) in front.iter_mut().zip(MAGIC) {
                *to = from;
            }
            (frame_size(rest, what)?, front, MAGIC.len())
        }
        found => return Err(Error::UnknownFormat { what: "packed part", found }),
    };
    bytes.reserve_exact(dense + len);
    bytes.extend_from_slice(dense_bytes);
    bytes.resize(dense + len, 0);
    let at = scratch.len().checked_sub(rest.len() + front_len).ok_or_else(malformed)?;
    let frame = scratch.get_mut(at..).ok_or_else(malformed)?;
    for (to, from) in frame.iter_mut().zip(front.iter().take(front_len)) {
        *to = *from;
    }
    let written = CONTEXT.with_borrow_mut(|c| {
        let context = match &mut c.decoder {
            Some(context) => context,
            none => none.insert(DCtx::try_create()?),
        };
        let to = bytes.get_mut(dense..)?;
        if method == ZSTD {
            context.decompress(to, frame).ok()
        } else {
            context.decompress_using_ddict(to, frame, decoder(kind)?).ok()
        }
    });
    if written == Some(len) { Ok(Plain { bytes, dense }) } else { Err(malformed()) }
}

/// What a frame without its magic number says of its content's length.
fn frame_size(rest: &[u8], what: &'static str) -> Result<usize, Error> {
    // The longest frame header has 14 bytes.
    let mut frame = MAGIC.to_vec();
    frame.extend(rest.iter().take(14));
    let size = get_frame_content_size(&frame).ok().flatten().ok_or(Error::Malformed(what))?;
    usize::try_from(size)
        .ok()
        .filter(|n| *n <= MAX_PART_BYTES)
        .ok_or(Error::TooLarge { what: "part", limit: MAX_PART_BYTES })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind::Part(16);

    fn packed(text: &[u8]) -> Vec<u8> {
        packed_with(b"", text)
    }

    fn packed_with(dense: &[u8], text: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let n = pack(Text { dense, text }, KIND, &mut out);
        assert_eq!(out.len(), 6 + n);
        out.split_off(6)
    }

    fn opened(bytes: &[u8]) -> Result<Plain, Error> {
        unpack(bytes.len(), KIND, "test", |to| {
            to.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let plain = opened(bytes)?;
        assert!(plain.dense().is_empty());
        Ok(plain.text().to_vec())
    }

    fn noise(n: usize) -> Vec<u8> {
        (0u32..4000).flat_map(|n| crate::sha256(&n.to_be_bytes())).take(n).collect()
    }

    #[test]
    fn each_method_is_chosen_where_it_is_smallest() {
        assert_eq!(packed(b""), [0]);
        assert_eq!(packed(b"hi"), [0, b'h', b'i']);
        assert_eq!(packed_with(b"\xff", b"hi"), [4, 0xff, b'h', b'i']);
        let fhir = br#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]}}"#;
        let small = packed(fhir);
        assert_eq!(small[0], BLOCK);
        assert!(small.len() < fhir.len());
        assert_eq!(unpacked(&small).unwrap(), fhir);
        let large = vec![b'x'; BLOCK_UP_TO + 1];
        assert_eq!(packed(&large)[0], ZSTD);
        assert_eq!(packed(&noise(1000))[0], STORED);
        assert_eq!(packed(&noise(BLOCK_UP_TO + 1))[0], STORED);
    }

    #[test]
    fn dense_bytes_stand_as_they_are() {
        for (n, text) in
            [(62, &b"short"[..]), (63, b"short"), (64, &[b'x'; 300]), (5000, &[b'x'; 40_000])]
        {
            let dense = noise(n);
            let bytes = packed_with(&dense, text);
            assert!(bytes.windows(n).any(|w| w == dense));
            let plain = opened(&bytes).unwrap();
            assert_eq!((plain.dense(), plain.text()), (&dense[..], text));
        }
    }

    #[test]
    fn neither_magic_number_nor_block_header_is_stored() {
        for text in [vec![b'x'; 200], vec![b'x'; 300], vec![b'x'; BLOCK_UP_TO + 1]] {
            assert!(!packed(&text).windows(4).any(|w| w == MAGIC));
        }
        let text = b"\"status\":\"final\",\"status\":\"final\",\"status\":\"final\"";
        let bytes = packed(text);
        assert_eq!(bytes[..2], [BLOCK, u8::try_from(text.len()).unwrap()]);
        // The same, as a frame: magic number, descriptor, content size, block header.
        let (front, n) = frame_front(text.len(), bytes.len() - 2).unwrap();
        let frame = [&front[..n], &bytes[2..]].concat();
        assert_eq!(n, 9);
        let mut out = vec![0; text.len()];
        let dictionary = decoder(KIND).unwrap();
        DCtx::create().decompress_using_ddict(&mut out[..], &frame, dictionary).unwrap();
        assert_eq!(out, text);
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_memory_is_taken() {
        // Frame header: single segment, 8-byte content size of 2^40.
        let mut bomb = vec![ZSTD, 0b1110_0000];
        bomb.extend_from_slice(&(1u64 << 40).to_le_bytes());
        bomb.extend_from_slice(&[1, 0, 0]);
        assert!(matches!(unpacked(&bomb), Err(Error::TooLarge { .. })));
        assert!(matches!(
            unpacked(&[BLOCK, 0xff, 0xff, 0xff, 0x7f, 1]),
            Err(Error::TooLarge { .. })
        ));
        // No content size: window descriptor instead.
        assert!(matches!(unpacked(&[ZSTD, 0, 0x58, 1, 0, 0]), Err(Error::Malformed("test"))));
        assert!(matches!(
            unpacked(&[3, 1, 2]),
            Err(Error::UnknownFormat { what: "packed part", found: 3 })
        ));
        assert!(matches!(unpacked(&[]), Err(Error::Malformed("test"))));
        assert!(unpacked(&[ZSTD]).is_err());
        assert!(unpacked(&[BLOCK]).is_err());
        assert!(unpacked(&[BLOCK, 0x20]).is_err());
        // More dense bytes than there are.
        assert!(unpacked(&[2 << METHOD_BITS, 1]).is_err());
        assert!(unpacked(&[0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }

    #[test]
    fn a_failed_decryption_leaves_nothing_behind() {
        let result = unpack(40, KIND, "test", |to| {
            to.fill(7);
            Err(Error::Refused("test"))
        });
        assert!(matches!(result, Err(Error::Refused(_))));
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
    fn debug_shows_nothing() {
        let plain = opened(&packed(b"a name")).unwrap();
        assert_eq!(format!("{plain:?}"), "Plain { .. }");
    }

    proptest! {
        #[test]
        fn any_text_round_trips(
            dense in proptest::collection::vec(any::<u8>(), 0..200),
            text in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let plain = opened(&packed_with(&dense, &text)).unwrap();
            prop_assert_eq!((plain.dense(), plain.text()), (&dense[..], &text[..]));
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
            let _ = opened(&bytes);
        }

        #[test]
        fn a_damaged_block_never_panics(at in 0usize..200, to in any::<u8>()) {
            let mut bytes = packed(&br#"{"status":"final","code":{"text":"x"}}"#.repeat(9));
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = opened(&bytes);
        }
    }
}
