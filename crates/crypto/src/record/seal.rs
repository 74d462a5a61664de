//! Sealing a record version.

use phial_base::Rng;
use zeroize::Zeroizing;

use super::{
    FIXED, HEAD, LOCATOR, MAX_BLOB_BYTES, PartId, RecordKey, RecordName, SUITE, Secrets, bucket,
    locator_aad, locator_key as message_key,
};
use crate::aead::{NONCE, TAG};
use crate::encode::push_varint;
use crate::{Error, MAX_PART_BYTES, SecretKey, pack};

/// Room taken for a sealed text before its size is known: one page.
const USUAL: usize = 4096;
/// Shorter headers are mostly ids and numbers, which do not compress.
const HEADER_TRY_FROM: usize = 256;

/// Seals one record version: the header and each part under a key of its own,
/// each compressed when that makes it smaller. Part ids are unique and not 0;
/// their order is kept.
///
/// # Errors
/// [`Error::BadPart`], and [`Error::TooLarge`] for a header or part above
/// [`MAX_PART_BYTES`], more than 255 parts, or a blob above 512 MiB.
pub fn seal_record(
    name: &RecordName<'_>,
    key: &RecordKey<'_>,
    locator_key: &SecretKey,
    header: &[u8],
    parts: &[(PartId, &[u8])],
    rng: &dyn Rng,
) -> Result<Vec<u8>, Error> {
    check(header, parts)?;

    let mut random = Random::default();
    rng.fill(&mut random.0);
    let (locator_nonce, salt, nonce) = random.split();
    let (secrets, commitment) = Secrets::new(name, key.handle, key.version, key.key, &salt, nonce);

    // Pack and seal the parts first: the head holds their tags.
    let mut sealed = Zeroizing::new(Vec::with_capacity(USUAL));
    let mut head = Zeroizing::new(Vec::with_capacity(USUAL));
    head.push(u8::try_from(parts.len()).map_err(|_| too_many_parts())?);
    for (part, text) in parts {
        let start = sealed.len();
        let len = pack::pack(text, pack::SHORTEST, &mut sealed);
        let tag = secrets.seal(*part, sealed.get_mut(start..).unwrap_or_default());
        head.push(*part);
        push_varint(&mut head, u32::try_from(len).map_err(|_| too_large())?);
        head.extend_from_slice(&tag);
    }
    let mut packed_header = Zeroizing::new(Vec::with_capacity(header.len() + 1));
    let len = u32::try_from(pack::pack(header, HEADER_TRY_FROM, &mut packed_header))
        .map_err(|_| too_large())?;
    push_varint(&mut head, len);
    head.extend_from_slice(&packed_header);

    let size = bucket(FIXED + head.len() + TAG + sealed.len());
    if size > MAX_BLOB_BYTES {
        return Err(too_large());
    }
    let padded = size - FIXED - TAG - sealed.len();
    let head_len = u32::try_from(padded + TAG).map_err(|_| too_large())?;

    let mut locator = [0u8; LOCATOR];
    fill(&mut locator, &[&key.handle.0, &key.version.to_be_bytes(), &head_len.to_be_bytes()]);
    let locator_tag =
        message_key(locator_key, name).seal(locator_nonce, &locator_aad(name), &mut locator);

    let mut blob = Vec::with_capacity(size);
    blob.push(SUITE);
    blob.extend_from_slice(&locator_nonce);
    blob.extend_from_slice(&locator);
    blob.extend_from_slice(&locator_tag);
    blob.extend_from_slice(&salt);
    blob.extend_from_slice(&commitment);
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(&head);
    blob.resize(FIXED + padded, 0);
    let tag = secrets.seal(HEAD, blob.get_mut(FIXED..).unwrap_or_default());
    blob.extend_from_slice(&tag);
    blob.extend_from_slice(&sealed);
    Ok(blob)
}

fn check(header: &[u8], parts: &[(PartId, &[u8])]) -> Result<(), Error> {
    let mut seen = [false; 256];
    for (part, text) in parts {
        match seen.get_mut(usize::from(*part)) {
            Some(seen) if !*seen && *part != HEAD => *seen = true,
            _ => return Err(Error::BadPart(*part)),
        }
        if text.len() > MAX_PART_BYTES {
            return Err(Error::TooLarge { what: "part", limit: MAX_PART_BYTES });
        }
    }
    if header.len() > MAX_PART_BYTES {
        return Err(Error::TooLarge { what: "header", limit: MAX_PART_BYTES });
    }
    Ok(())
}

fn too_large() -> Error {
    Error::TooLarge { what: "record", limit: MAX_BLOB_BYTES }
}

fn too_many_parts() -> Error {
    Error::TooLarge { what: "number of parts", limit: 255 }
}

/// Copies `from`, one after the other, to the front of `to`.
fn fill(to: &mut [u8], from: &[&[u8]]) {
    for (to, from) in to.iter_mut().zip(from.iter().copied().flatten()) {
        *to = *from;
    }
}

/// All randomness of a record version, drawn in one call.
struct Random([u8; NONCE + 32 + NONCE]);

impl Default for Random {
    fn default() -> Self {
        Random([0; NONCE + 32 + NONCE])
    }
}

impl Random {
    fn split(&self) -> ([u8; NONCE], [u8; 32], [u8; NONCE]) {
        let (mut a, mut b, mut c) = ([0; NONCE], [0; 32], [0; NONCE]);
        let mut rest = self.0.iter();
        for to in a.iter_mut().chain(b.iter_mut()).chain(c.iter_mut()) {
            *to = rest.next().copied().unwrap_or_default();
        }
        (a, b, c)
    }
}
