//! Sealed streams: texts of any length, sealed and opened in chunks, so that neither
//! side ever holds more than one. Refuses a stream that was cut, grown, reordered, mixed
//! with another or moved to another place, and gives no byte of a chunk that it has not
//! authenticated.
//!
//! The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, "Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015): the
//! nonce of each chunk says where it stands and whether it is the last.
//!
//! # Suite 1
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | suite, `01` |
//! | 1 | 32 | random salt |
//! | 33 | 32 | key commitment |
//! | 65 | 65,560 each | chunks, AES-256-GCM, each with its tag behind it; the last may be shorter |
//!
//! A chunk before it is sealed, k being its number from 0:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | bytes of text in this chunk and all before it (u64) |
//! | 65,536, or fewer in the last | text; zeros where there is no more |
//!
//! The last chunk so tells the length of the whole text. Integers are big-endian.
//!
//! # Sizes
//!
//! Text and zeros together have one of few lengths: at least 4,096 bytes, then the next
//! multiple of 2^(e−s), where e = ⌊log₂ length⌋ and s = ⌊log₂ e⌋ + 1 (Padmé: Nikitin,
//! Barman, Lueks, Underwood, Hubaux and Ford, "Reducing Metadata Leakage from Encrypted
//! Files and Communication with PURBs", PoPETs 2019). An onlooker learns the length to
//! about 6% at 64 KiB and 3% at 1 GiB, where it costs as much room at the most.
//!
//! # Keys
//!
//! commitment ‖ stream key (32 + 32) = HKDF-SHA-256(salt, ikm = the given key, info =
//! `"phial stream" 01` ‖ purpose). The salt is fresh, so the key seals one stream, and the
//! number of a chunk is nonce enough: `00 00 00` ‖ k (u64) ‖ `01` for the last chunk, `00`
//! for others.
//!
//! # AAD
//!
//! Items, each behind its length (u32, big-endian): suite, purpose, tenant name, owner,
//! file. The same for all chunks of a stream.
//!
//! # Worked
//!
//! The text `hello`: 65 bytes of header; one chunk, the last, nonce `00…00 01`. It holds
//! `00 00 00 00 00 00 00 05`, the 5 bytes and 4,091 zeros, and a tag of 16: 8 + 4,096 + 16
//! = 4,120 bytes. The stream has 4,185.
//!
//! A text of 70,000 bytes: e = 16, s = 5, so it is filled up to a multiple of 2,048:
//! 71,680 bytes. Chunk 0 begins with `00 00 00 00 00 01 00 00` and carries 65,536 bytes;
//! chunk 1 is the last, begins with `00 00 00 00 00 01 11 70` and carries 4,464 bytes and
//! 1,680 zeros. The stream has 65 + 65,560 + (8 + 6,144 + 16) = 71,793 bytes.

mod open;
mod seal;
#[cfg(test)]
mod tests;

use phial_base::TenantId;
use zeroize::Zeroizing;

use crate::encode::push_item;
use crate::{Error, SecretKey, aead};

pub use open::{OpenStream, StreamOpener, StreamReader};
pub use seal::{Sealed, SealingWriter, StreamSealer, StreamTail};

/// Length of what stands before the chunks: suite, salt, commitment.
pub const STREAM_HEADER: usize = 65;
/// How much text a chunk carries, in bytes.
pub const STREAM_CHUNK: usize = 64 * 1024;
/// Length of a whole sealed chunk.
pub const SEALED_CHUNK: usize = COUNT + STREAM_CHUNK + aead::TAG;

const SUITE: u8 = 1;
const WHAT: &str = "stream";
/// Length of the count that each chunk begins with.
const COUNT: usize = 8;
const CHUNK: u64 = STREAM_CHUNK as u64;
/// What a chunk has beside its text and zeros.
const BESIDE: u64 = (COUNT + aead::TAG) as u64;
/// 1 TiB: 2²⁴ chunks, far below what one key may seal.
const MAX_TEXT: u64 = 1 << 40;
const SMALLEST: u64 = 4096;

/// Which stream it is. A stream opens under the name that it was sealed under alone.
#[derive(Clone, Copy, Debug)]
pub struct StreamName<'a> {
    /// What streams of this kind are for: `attachment`, `export`...
    pub purpose: &'a str,
    /// Whose.
    pub tenant: &'a TenantId,
    /// Who or what in the tenant it belongs to: a key handle, a job.
    pub owner: &'a [u8],
    /// Which of the owner's.
    pub file: &'a [u8],
}

impl StreamName<'_> {
    fn aad(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        push_item(&mut out, &[SUITE]);
        push_item(&mut out, self.purpose.as_bytes());
        push_item(&mut out, self.tenant.as_str().as_bytes());
        push_item(&mut out, self.owner);
        push_item(&mut out, self.file);
        out
    }

    /// The stream's key, and its commitment.
    fn key(&self, key: &SecretKey, salt: &[u8; 32]) -> (aead::Key, [u8; 32]) {
        let mut both = Zeroizing::new([0u8; 64]);
        let info: [&[u8]; 3] = [b"phial stream", &[SUITE], self.purpose.as_bytes()];
        aead::hkdf(salt, key.expose(), &info, &mut both[..]);
        let mut commitment = [0u8; 32];
        let mut own = Zeroizing::new([0u8; 32]);
        let (first, second) = both.split_at(32);
        commitment.copy_from_slice(first);
        own.copy_from_slice(second);
        (aead::Key::new(&own), commitment)
    }
}

fn nonce(chunk: u64, last: bool) -> [u8; aead::NONCE] {
    let mut nonce = [0u8; aead::NONCE];
    let (_, at) = nonce.split_at_mut(3);
    let (number, flag) = at.split_at_mut(8);
    number.copy_from_slice(&chunk.to_be_bytes());
    flag.fill(u8::from(last));
    nonce
}

/// The length of a text of `len` bytes with its zeros.
fn padded(len: u64) -> u64 {
    if len <= SMALLEST {
        return SMALLEST;
    }
    let e = len.ilog2();
    let s = e.ilog2() + 1;
    len.next_multiple_of(1 << (e - s))
}

/// The length of the stream that holds a text of `len` bytes.
#[must_use]
pub fn sealed_stream_len(len: u64) -> u64 {
    let body = padded(len);
    STREAM_HEADER as u64 + body + body.div_ceil(CHUNK) * BESIDE
}

/// Where the chunks of a stream stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamShape {
    /// How many chunks there are, at least one.
    pub chunks: u64,
    /// The sealed length of the last.
    last: u64,
}

impl StreamShape {
    /// The shape of a stream of `len` bytes in all.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a length that no stream has.
    pub fn of(len: u64) -> Result<Self, Error> {
        let body = len.checked_sub(STREAM_HEADER as u64).ok_or(Error::Malformed(WHAT))?;
        let chunks = body.div_ceil(SEALED_CHUNK as u64);
        let last = body.wrapping_sub(chunks.saturating_sub(1) * SEALED_CHUNK as u64);
        if chunks == 0 || last <= BESIDE || chunks > MAX_TEXT.div_ceil(CHUNK) {
            return Err(Error::Malformed(WHAT));
        }
        Ok(StreamShape { chunks, last })
    }

    /// The offset of chunk `chunk` in the stream and its sealed length; `None` when
    /// there is no such chunk.
    #[must_use]
    pub fn place(&self, chunk: u64) -> Option<(u64, usize)> {
        let at = STREAM_HEADER as u64 + chunk.checked_mul(SEALED_CHUNK as u64)?;
        match (chunk + 1).cmp(&self.chunks) {
            std::cmp::Ordering::Less => Some((at, SEALED_CHUNK)),
            std::cmp::Ordering::Equal => Some((at, usize::try_from(self.last).ok()?)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// The number of the last chunk.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.chunks - 1
    }
}
