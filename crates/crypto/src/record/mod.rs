//! Sealed record versions. Refuses any record that is not, bit for bit, the one
//! sealed under this tenant, key, row and version.
//!
//! # Suite 2
//!
//! A blob has one of the sizes in [`SIZE_BUCKETS`], or a multiple of the largest.
//! Apart from the first byte all of it looks random.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | suite, `02` |
//! | 1 | 32 | random salt |
//! | 33 | 32 | key commitment |
//! | 65 | 24 | locator, AES-256-GCM under the tenant's locator key |
//! | 89 | 16 | its tag |
//! | 105 | h | head, AES-256-GCM; its tag is the last 16 bytes |
//! | 105+h | c | the covered parts, one after the other, AES-256-CTR; the head's tag covers them |
//! | 105+h+c | to the end | the other parts, AES-256-GCM; their tags stand in the head |
//!
//! A part is covered when its sealed text is shorter than 1,024 bytes, unless more
//! than 65,535 bytes are covered already. Parts of either kind keep the order in
//! which they were given.
//!
//! Locator (24 bytes): key handle 16 ‖ key version u24 ‖ h as u24 ‖ c as u16.
//!
//! Head (h − 16 bytes):
//!
//! | bytes | what |
//! |---|---|
//! | 1 | number p of parts |
//! | per part | part id u8 ‖ length of its sealed text (varint) ‖ tag 16 unless covered |
//! | varint | length n of the packed header |
//! | n | the caller's header, packed (see `pack`) |
//! | rest | zeros up to the size bucket; checked on opening |
//!
//! A part's text is packed (see `pack`) before it is sealed. Integers are
//! big-endian; a varint is unsigned LEB128 in its shortest form.
//!
//! # Keys
//!
//! | key | made by |
//! |---|---|
//! | commitment ‖ record key (32 + 32) | HKDF-SHA-256(salt, ikm = patient key, info = `"phial record" 02` ‖ record version u32) |
//! | part key (32) | HKDF-Expand-SHA-256(record key, info = `"phial part" 02` ‖ part id u8 ‖ record version u32); part id 0 is the head |
//! | locator's message key | HKDF-Expand-SHA-256(locator key, info = `"phial locator" 02` ‖ row id 16 ‖ record version u32 ‖ salt 32) |
//!
//! Every one of these keys depends on a fresh salt and seals one text, so every
//! nonce and counter starts at zero and none is stored (decision 30).
//!
//! # AAD
//!
//! Items, each behind its length (u32, big-endian): suite, tenant name, key
//! handle, key version u32, row id, record version u32, part id u8; for the head
//! also the covered parts as sealed. For the locator: suite, tenant name, row id,
//! record version u32.
//!
//! # Worked
//!
//! Header of 3 bytes, one part of 5 bytes, both stored: the header is packed in
//! 4, the part in 6 bytes. Head: 1 + (1 + 1) + 1 + 4 = 8 bytes and the tag, h = 24.
//! So far 105 + 24 + 6 = 135; the smallest bucket is 288, so 153 zeros follow the
//! header inside the head and h = 177. The part stands at 282..288.

mod open;
mod seal;
#[cfg(test)]
mod tests;

use phial_base::{KeyHandle, RowId, TenantId, Version};
use zeroize::Zeroizing;

use crate::encode::push_item;
use crate::{SecretKey, aead};

pub use open::{Locator, OpenRecord, locate, unlock_record};
pub use seal::seal_record;

/// Number of a part: 16 + n for data class n. 0 is the head's and refused.
pub type PartId = u8;

/// The sizes that a blob may have, in bytes; above the largest, its multiples.
/// They are all that an onlooker learns of a record's size.
pub const SIZE_BUCKETS: &[usize] = &[288, 352, 480, 608, 832, 1056, 1536, LARGEST_BUCKET];

const LARGEST_BUCKET: usize = 4096;
const SUITE: u8 = 2;
const WHAT: &str = "record";
/// Suite, salt, commitment, locator with its tag.
const FIXED: usize = 105;
const LOCATOR: usize = 24;
const HEAD: PartId = 0;
/// A sealed text of so many bytes has a tag of its own, so that it need not be read
/// when another part is wanted.
const OWN_TAG_FROM: usize = 1024;
/// The most bytes that the head's tag covers; the locator has two bytes for them.
const MAX_COVERED: usize = u16::MAX as usize;
/// A blob stays far below what SQLite and a u32 hold.
const MAX_BLOB_BYTES: usize = 512 << 20;

/// Which record version it is: what the row says of itself in the record log.
#[derive(Clone, Copy, Debug)]
pub struct RecordName<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Which record.
    pub row: RowId,
    /// Which version of it.
    pub version: Version,
}

/// The key that a record is sealed under, with its name.
#[derive(Clone, Copy, Debug)]
pub struct RecordKey<'a> {
    /// The key's name in the keystore.
    pub handle: KeyHandle,
    /// The key's version, below 2²⁴.
    pub version: u32,
    /// The key.
    pub key: &'a SecretKey,
}

/// The smallest allowed blob size that holds `bytes`.
fn bucket(bytes: usize) -> usize {
    SIZE_BUCKETS
        .iter()
        .copied()
        .find(|size| *size >= bytes)
        .unwrap_or_else(|| bytes.next_multiple_of(LARGEST_BUCKET))
}

/// Whether the head's tag covers a sealed text of `len` bytes when it covers `covered`
/// bytes already.
fn is_covered(len: usize, covered: usize) -> bool {
    len < OWN_TAG_FROM && covered + len <= MAX_COVERED
}

fn locator_key(locator_key: &SecretKey, name: &RecordName<'_>, salt: &[u8; 32]) -> aead::Key {
    let version = name.version.0.to_be_bytes();
    let info: [&[u8]; 5] = [b"phial locator", &[SUITE], &name.row.0, &version, salt];
    aead::Key::expanded(locator_key.expose(), &info)
}

fn locator_aad(name: &RecordName<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    push_item(&mut out, &[SUITE]);
    push_item(&mut out, name.tenant.as_str().as_bytes());
    push_item(&mut out, &name.row.0);
    push_item(&mut out, &name.version.0.to_be_bytes());
    out
}

/// What one record version's keys and AAD are made from.
struct Secrets {
    key: Zeroizing<[u8; 32]>,
    version: Version,
    /// AAD without its last byte, the part id.
    aad: Vec<u8>,
}

impl Secrets {
    /// Also returns the key commitment.
    fn new(
        name: &RecordName<'_>,
        handle: KeyHandle,
        key_version: u32,
        key: &SecretKey,
        salt: &[u8; 32],
    ) -> (Self, [u8; 32]) {
        let version = name.version.0.to_be_bytes();
        let mut both = Zeroizing::new([0u8; 64]);
        aead::hkdf(salt, key.expose(), &[b"phial record", &[SUITE], &version], &mut both[..]);
        let mut commitment = [0u8; 32];
        let mut record_key = Zeroizing::new([0u8; 32]);
        let (first, second) = both.split_at(32);
        commitment.copy_from_slice(first);
        record_key.copy_from_slice(second);

        let mut aad = Vec::with_capacity(128);
        push_item(&mut aad, &[SUITE]);
        push_item(&mut aad, name.tenant.as_str().as_bytes());
        push_item(&mut aad, &handle.0);
        push_item(&mut aad, &key_version.to_be_bytes());
        push_item(&mut aad, &name.row.0);
        push_item(&mut aad, &version);
        // Of the last item only the length; the part id is added for each part.
        aad.extend_from_slice(&1u32.to_be_bytes());
        (Secrets { key: record_key, version: name.version, aad }, commitment)
    }

    fn key(&self, part: PartId) -> Zeroizing<[u8; 32]> {
        let version = self.version.0.to_be_bytes();
        let mut key = Zeroizing::new([0u8; 32]);
        aead::expand(&self.key, &[b"phial part", &[SUITE], &[part], &version], &mut key);
        key
    }

    fn aad(&self, part: PartId) -> Vec<u8> {
        let mut aad = Vec::with_capacity(self.aad.len() + 1);
        aad.extend_from_slice(&self.aad);
        aad.push(part);
        aad
    }

    /// The AAD of the head, which covers these sealed parts.
    fn head_aad(&self, covered: &[u8]) -> Vec<u8> {
        let mut aad = Vec::with_capacity(self.aad.len() + 5 + covered.len());
        aad.extend_from_slice(&self.aad);
        aad.push(HEAD);
        push_item(&mut aad, covered);
        aad
    }

    /// Seals `text` in place; the tag.
    fn seal(&self, part: PartId, aad: &[u8], text: &mut [u8]) -> [u8; aead::TAG] {
        aead::Key::new(&self.key(part)).seal(aead::ZERO, aad, text)
    }

    fn open(
        &self,
        part: PartId,
        aad: &[u8],
        text: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), aead::NotOpened> {
        aead::Key::new(&self.key(part)).open(aead::ZERO, aad, text, tag, out)
    }

    /// Seals or opens a covered part in place. Who authenticates it is the head.
    fn cover(&self, part: PartId, text: &mut [u8]) {
        aead::stream(&self.key(part), text);
    }
}
