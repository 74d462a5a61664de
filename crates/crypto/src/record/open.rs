//! Opening a record version, one part at a time.

use std::fmt;
use std::ops::Range;

use phial_base::KeyHandle;
use zeroize::Zeroizing;

use super::{
    FIXED, HEAD, LOCATOR, PartId, RecordName, SUITE, Secrets, WHAT, bucket, is_covered,
    locator_aad, locator_key as message_key,
};
use crate::aead::{self, TAG};
use crate::encode::Reader;
use crate::pack::{self, Kind, Plain};
use crate::{Error, SecretKey, constant_time_eq};

/// What a blob's locator says: which key opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locator {
    /// The key's name in the keystore.
    pub handle: KeyHandle,
    /// The key's version.
    pub version: u32,
    /// Length of the sealed head, tag included.
    pub(super) head: u32,
    /// Length of the parts that the head's tag covers.
    pub(super) covered: u16,
}

/// The fixed fields at the front of a blob.
struct Front<'a> {
    salt: [u8; 32],
    commitment: [u8; 32],
    locator: &'a [u8],
    locator_tag: &'a [u8],
}

impl<'a> Front<'a> {
    fn read(blob: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(blob);
        match r.byte() {
            Some(SUITE) => {}
            Some(found) => return Err(Error::UnknownFormat { what: WHAT, found }),
            None => return Err(Error::Malformed(WHAT)),
        }
        if bucket(blob.len()) != blob.len() {
            return Err(Error::Malformed(WHAT));
        }
        let mut front = || {
            Some(Front {
                salt: r.array()?,
                commitment: r.array()?,
                locator: r.take(LOCATOR)?,
                locator_tag: r.take(TAG)?,
            })
        };
        front().ok_or(Error::Malformed(WHAT))
    }
}

/// Reads which key a blob is sealed under. Opens nothing else.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::Malformed`], and [`Error::Refused`] for
/// another locator key, tenant, row or version, or an altered locator.
pub fn locate(
    blob: &[u8],
    name: &RecordName<'_>,
    locator_key: &SecretKey,
) -> Result<Locator, Error> {
    let front = Front::read(blob)?;
    let mut text = [0u8; LOCATOR];
    message_key(locator_key, name, &front.salt)
        .open(aead::ZERO, &locator_aad(name), front.locator, front.locator_tag, &mut text)
        .map_err(|_| Error::Refused("record locator"))?;
    let mut r = Reader::new(&text);
    let mut locator = || {
        Some(Locator {
            handle: KeyHandle(r.array()?),
            version: r.u24()?,
            head: r.u24()?,
            covered: u16::from_be_bytes(r.array()?),
        })
    };
    locator().ok_or(Error::Malformed(WHAT))
}

/// Where a part stands, and its own tag if the head's does not cover it.
struct Entry {
    part: PartId,
    range: Range<usize>,
    tag: Option<[u8; TAG]>,
}

/// An unlocked record version: header read, parts still sealed. Its keys and its
/// header are overwritten on drop. It can't be cloned, and `Debug` shows the part
/// numbers only.
pub struct OpenRecord {
    blob: Vec<u8>,
    secrets: Secrets,
    header: Plain,
    entries: Vec<Entry>,
}

/// Unlocks a blob with the key that its locator names: checks the key commitment,
/// opens the head and with it authenticates the covered parts, checks that manifest
/// and padding account for every byte.
///
/// # Errors
/// [`Error::WrongKey`] when the commitment is another key's (or altered),
/// [`Error::Refused`] when name, locator, head or a covered part are not what was
/// sealed, [`Error::Malformed`] when lengths do not add up.
pub fn unlock_record(
    blob: Vec<u8>,
    name: &RecordName<'_>,
    locator: &Locator,
    key: &SecretKey,
) -> Result<OpenRecord, Error> {
    let front = Front::read(&blob)?;
    let (secrets, commitment) =
        Secrets::new(name, locator.handle, locator.version, key, &front.salt);
    if !constant_time_eq(&commitment, &front.commitment) {
        return Err(Error::WrongKey);
    }

    let malformed = || Error::Malformed(WHAT);
    let head_end = usize::try_from(locator.head)
        .ok()
        .and_then(|len| FIXED.checked_add(len))
        .ok_or_else(malformed)?;
    let covered_end = head_end.checked_add(usize::from(locator.covered)).ok_or_else(malformed)?;
    let sealed = blob.get(FIXED..head_end).ok_or_else(malformed)?;
    let covered = blob.get(head_end..covered_end).ok_or_else(malformed)?;
    let text_len = sealed.len().checked_sub(TAG).ok_or_else(malformed)?;
    let (text, tag) = sealed.split_at_checked(text_len).ok_or_else(malformed)?;
    let mut head = Zeroizing::new(vec![0u8; text_len]);
    secrets
        .open(HEAD, &secrets.head_aad(covered), text, tag, &mut head)
        .map_err(|_| Error::Refused("record head"))?;

    let mut r = Reader::new(&head);
    let (entries, ends) = manifest(&mut r, head_end, covered_end).ok_or_else(malformed)?;
    let packed = r.varint().and_then(|n| r.take(usize::try_from(n).ok()?)).ok_or_else(malformed)?;
    if ends != (covered_end, blob.len()) || r.rest().iter().any(|b| *b != 0) {
        return Err(malformed());
    }
    let header = pack::unpack(packed.len(), Kind::Header, "record header", |to| {
        to.copy_from_slice(packed);
        Ok(())
    })?;
    Ok(OpenRecord { blob, secrets, header, entries })
}

/// The manifest's entries, and where the last covered and the last other part end.
fn manifest(
    r: &mut Reader<'_>,
    head_end: usize,
    covered_end: usize,
) -> Option<(Vec<Entry>, (usize, usize))> {
    let count = usize::from(r.byte()?);
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let (mut covered, mut other) = (head_end, covered_end);
    for _ in 0..count {
        let part = r.byte()?;
        if part == HEAD || entries.iter().any(|e| e.part == part) {
            return None;
        }
        let len = usize::try_from(r.varint()?).ok()?;
        let (at, tag) = if is_covered(len, covered.checked_sub(head_end)?) {
            (&mut covered, None)
        } else {
            (&mut other, Some(r.array()?))
        };
        let end = at.checked_add(len)?;
        entries.push(Entry { part, range: *at..end, tag });
        *at = end;
    }
    Some((entries, (covered, other)))
}

impl OpenRecord {
    /// The header given to [`crate::seal_record`].
    #[must_use]
    pub fn header(&self) -> &Plain {
        &self.header
    }

    /// The parts that the record has, in the order in which they were sealed.
    pub fn parts(&self) -> impl Iterator<Item = PartId> {
        self.entries.iter().map(|e| e.part)
    }

    /// The sealed record, as stored.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Decrypts one part.
    ///
    /// # Errors
    /// [`Error::NoSuchPart`], and [`Error::Refused`] when the part was altered.
    pub fn open(&self, part: PartId) -> Result<Plain, Error> {
        let entry = self.entries.iter().find(|e| e.part == part).ok_or(Error::NoSuchPart(part))?;
        let text = self.blob.get(entry.range.clone()).ok_or(Error::Malformed(WHAT))?;
        pack::unpack(text.len(), Kind::of(part), "record part", |to| match &entry.tag {
            None => {
                // The head's tag was checked over these very bytes.
                to.copy_from_slice(text);
                self.secrets.cover(part, to);
                Ok(())
            }
            Some(tag) => self
                .secrets
                .open(part, &self.secrets.aad(part), text, tag, to)
                .map_err(|_| Error::Refused("record part")),
        })
    }
}

impl fmt::Debug for OpenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRecord")
            .field("parts", &self.parts().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
