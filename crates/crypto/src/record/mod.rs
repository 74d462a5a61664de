//! Sealed record versions. Refuses any record that is not, bit for bit, the one
//! sealed under this tenant, key, row and version.
//!
//! # Suite 1
//!
//! A blob has one of the sizes in [`SIZE_BUCKETS`], or a multiple of the largest.
//! Apart from the first byte all of it looks random.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | suite, `01` |
//! | 1 | 12 | random nonce of the locator |
//! | 13 | 24 | locator, AES-256-GCM under the tenant's locator key |
//! | 37 | 16 | its tag |
//! | 53 | 32 | random salt |
//! | 85 | 32 | key commitment |
//! | 117 | 12 | random nonce of the record version |
//! | 129 | h | head, AES-256-GCM; its tag is the last 16 bytes |
//! | 129+h | to the end | the parts, one after the other, AES-256-GCM; their tags stand in the head |
//!
//! Locator (24 bytes): key handle 16 ‖ key version u32 ‖ h as u32.
//!
//! Head (h − 16 bytes):
//!
//! | bytes | what |
//! |---|---|
//! | 1 | number p of parts |
//! | per part | part id u8 ‖ length of its sealed text (varint) ‖ tag 16 |
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
//! | commitment ‖ record key (32 + 32) | HKDF-SHA-256(salt, ikm = patient key, info = `"phial record" 01` ‖ record version u32) |
//! | part key (32) | HKDF-Expand-SHA-256(record key, info = `"phial part" 01` ‖ part id u8 ‖ record version u32); part id 0 is the head |
//! | locator's message key | HKDF-Expand-SHA-256(locator key, info = `"phial locator" 01` ‖ row id 16 ‖ record version u32) |
//!
//! The record's nonce is used once under each part key, and each part key seals
//! one text, so no nonce repeats under a key. The locator's key is per row and
//! version, so the locator key never nears a nonce limit either.
//!
//! # AAD
//!
//! Items, each behind its length (u32, big-endian): suite, tenant name, key
//! handle, key version u32, row id, record version u32, part id u8. For the
//! locator: suite, tenant name, row id, record version u32.
//!
//! # Worked
//!
//! Header of 3 bytes, one part of 5 bytes, both stored: the header is packed in
//! 4, the part in 6 bytes. Head: 1 + (1 + 1 + 16) + 1 + 4 = 24 bytes and the tag,
//! h = 40. So far 129 + 40 + 6 = 175; the bucket is 512, so 337 zeros follow the
//! header inside the head and h = 377. The part stands at 506..512.

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

/// Number of a part: 1 for the search block, 16 + n for data class n. 0 is the
/// head's and refused.
pub type PartId = u8;

/// The sizes that a blob may have, in bytes; above the largest, its multiples.
/// They are all that an onlooker learns of a record's size.
pub const SIZE_BUCKETS: &[usize] = &[512, 640, 832, 1056, 1600, 1920, 2560, LARGEST_BUCKET];

const LARGEST_BUCKET: usize = 8192;
const SUITE: u8 = 1;
const WHAT: &str = "record";
/// Suite, locator, salt, commitment, nonce.
const FIXED: usize = 129;
const LOCATOR: usize = 24;
const HEAD: PartId = 0;
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
    /// The key's version.
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

fn locator_key(locator_key: &SecretKey, name: &RecordName<'_>) -> aead::Key {
    let version = name.version.0.to_be_bytes();
    aead::Key::expanded(locator_key.expose(), &[b"phial locator", &[SUITE], &name.row.0, &version])
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
    nonce: [u8; aead::NONCE],
}

impl Secrets {
    /// Also returns the key commitment.
    fn new(
        name: &RecordName<'_>,
        handle: KeyHandle,
        key_version: u32,
        key: &SecretKey,
        salt: &[u8; 32],
        nonce: [u8; aead::NONCE],
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
        (Secrets { key: record_key, version: name.version, aad, nonce }, commitment)
    }

    fn part(&self, part: PartId) -> (aead::Key, Vec<u8>) {
        let version = self.version.0.to_be_bytes();
        let key = aead::Key::expanded(&self.key, &[b"phial part", &[SUITE], &[part], &version]);
        let mut aad = Vec::with_capacity(self.aad.len() + 1);
        aad.extend_from_slice(&self.aad);
        aad.push(part);
        (key, aad)
    }

    /// Seals `text` in place; the tag.
    fn seal(&self, part: PartId, text: &mut [u8]) -> [u8; aead::TAG] {
        let (key, aad) = self.part(part);
        key.seal(self.nonce, &aad, text)
    }

    fn open(
        &self,
        part: PartId,
        text: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), aead::NotOpened> {
        let (key, aad) = self.part(part);
        key.open(self.nonce, &aad, text, tag, out)
    }
}
