//! Sealing a record version.

use phial_base::Rng;
use zeroize::Zeroizing;

use super::{
    FIXED, HEAD, LOCATOR, MAX_BLOB_BYTES, PartId, RecordKey, RecordName, SUITE, Secrets, bucket,
    is_covered, locator_aad, locator_key as message_key,
};
use crate::aead::{self, TAG};
use crate::encode::{push_u24, push_varint};
use crate::pack::{self, Kind, Text};
use crate::{Error, MAX_PART_BYTES, SecretKey};

/// Room taken for a sealed text before its size is known.
const USUAL: usize = 1024;
/// What a u24 holds.
const MAX_U24: usize = (1 << 24) - 1;

/// Seals one record version: the header and each part under a key of its own,
/// each compressed when that makes it smaller. Part ids are unique and not 0;
/// their order is kept.
///
/// # Errors
/// [`Error::BadPart`], and [`Error::TooLarge`] for a header or part above
/// [`MAX_PART_BYTES`], more than 255 parts, a packed header of 16 MiB, a key version
/// of 2²⁴, or a blob above 512 MiB.
pub fn seal_record(
    name: &RecordName<'_>,
    key: &RecordKey<'_>,
    locator_key: &SecretKey,
    header: Text<'_>,
    parts: &[(PartId, Text<'_>)],
    rng: &dyn Rng,
) -> Result<Vec<u8>, Error> {
    check(header, parts)?;

    let mut salt = [0u8; 32];
    rng.fill(&mut salt);
    let (secrets, commitment) = Secrets::new(name, key.handle, key.version, key.key, &salt);

    // Pack and seal the parts first: the head covers them or holds their tags.
    let mut head = Zeroizing::new(Vec::with_capacity(USUAL));
    head.push(u8::try_from(parts.len()).map_err(|_| too_many_parts())?);
    let mut covered = Zeroizing::new(Vec::with_capacity(USUAL));
    let mut others = Zeroizing::new(Vec::new());
    for (part, text) in parts {
        let start = covered.len();
        let len = pack::pack(*text, Kind::of(*part), &mut covered);
        head.push(*part);
        push_varint(&mut head, u32::try_from(len).map_err(|_| too_large())?);
        let sealed = covered.get_mut(start..).unwrap_or_default();
        if is_covered(len, start) {
            secrets.cover(*part, sealed);
        } else {
            let tag = secrets.seal(*part, &secrets.aad(*part), sealed);
            head.extend_from_slice(&tag);
            others.extend_from_slice(sealed);
            covered.truncate(start);
        }
    }
    let mut packed_header = Zeroizing::new(Vec::with_capacity(USUAL));
    let len = u32::try_from(pack::pack(header, Kind::Header, &mut packed_header))
        .map_err(|_| too_large())?;
    push_varint(&mut head, len);
    head.extend_from_slice(&packed_header);

    let sealed = covered.len() + others.len();
    let size = bucket(FIXED + head.len() + TAG + sealed);
    if size > MAX_BLOB_BYTES {
        return Err(too_large());
    }
    let padded = size - FIXED - TAG - sealed;
    if padded + TAG > MAX_U24 {
        return Err(Error::TooLarge { what: "header", limit: MAX_U24 });
    }

    let mut text = Vec::with_capacity(LOCATOR);
    text.extend_from_slice(&key.handle.0);
    let limit = Error::TooLarge { what: "key version", limit: MAX_U24 };
    push_u24(&mut text, usize::try_from(key.version).ok().filter(|v| *v <= MAX_U24).ok_or(limit)?);
    push_u24(&mut text, padded + TAG);
    text.extend_from_slice(&u16::try_from(covered.len()).map_err(|_| too_large())?.to_be_bytes());
    let locator_tag =
        message_key(locator_key, name, &salt).seal(aead::ZERO, &locator_aad(name), &mut text);

    let mut blob = Vec::with_capacity(size);
    blob.push(SUITE);
    blob.extend_from_slice(&salt);
    blob.extend_from_slice(&commitment);
    blob.extend_from_slice(&text);
    blob.extend_from_slice(&locator_tag);
    blob.extend_from_slice(&head);
    blob.resize(FIXED + padded, 0);
    let aad = secrets.head_aad(&covered);
    let tag = secrets.seal(HEAD, &aad, blob.get_mut(FIXED..).unwrap_or_default());
    blob.extend_from_slice(&tag);
    blob.extend_from_slice(&covered);
    blob.extend_from_slice(&others);
    Ok(blob)
}

fn check(header: Text<'_>, parts: &[(PartId, Text<'_>)]) -> Result<(), Error> {
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
