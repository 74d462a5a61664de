//! Attachments beside the record log: sealed blobs, each written once under a random
//! name, in a directory or in an S3-compatible bucket. It refuses to hold more of one in
//! memory than a piece, to show one before its intent is durable, and to open one
//! without a permit for the record version that names it.
//!
//! # Format 1
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format, `01` |
//! | 1 | 61 | locator: small sealed thing (`phial_crypto::seal_small`) under the tenant's locator key |
//! | 62 | to the end | sealed stream, suite 1 (`phial_crypto::StreamSealer`), under the record's key |
//!
//! Locator (20 bytes): key handle 16 ‖ key version u32, big-endian. Its AAD: `blob`,
//! tenant name, the blob's name. The stream's purpose is `attachment`, its owner the 20
//! bytes of the locator, its file the blob's name.
//!
//! Worked: a text of 5 bytes makes a stream of 4,185 bytes and a blob of 4,247.
//!
//! # Life
//!
//! A blob is received under a name that no reader looks for, and synced. The intent that
//! announces its record announces it too: as a write of version 0, which no record has,
//! with the SHA-256 of all its bytes. Then it takes its name, then the record version is
//! committed. Whatever ends the write in between, its intent is closed as not stored and
//! the blob goes first: at once when the failure is seen, by recovery after a crash. The
//! key is the record's, so that a blob dies with its patient; its locator says which that
//! is when the key is gone and the blob is to be swept.

mod bucket;
mod directory;
mod opened;
mod place;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use phial_base::{KeyHandle, Rng, RowId, TenantId, Version};
use phial_crypto::{Digest, SecretKey, StreamName, StreamSealer};

pub use self::bucket::{Bucket, BucketSettings};
pub use self::opened::OpenBlob;
use self::place::{Kept, Place, Sink};
use crate::error::Error;
use crate::keystore::HeldKey;

/// The version by which intents and purges speak of a blob: no record has it.
pub const BLOB: Version = Version(0);

const FORMAT: u8 = 1;
/// Key handle and key version.
const OWNER: usize = 20;
/// Format and locator: what stands before the stream.
const HEAD: usize = 62;
const PURPOSE: &str = "attachment";

/// A blob as a record's header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// Its name in the store.
    pub name: RowId,
    /// How many bytes the text has.
    pub len: u64,
    /// SHA-1 of the text, for `Attachment.hash`.
    pub sha1: [u8; 20],
}

fn owner_of(handle: KeyHandle, version: u32) -> [u8; OWNER] {
    let mut owner = [0u8; OWNER];
    let (first, second) = owner.split_at_mut(16);
    first.copy_from_slice(&handle.0);
    second.copy_from_slice(&version.to_be_bytes());
    owner
}

fn locator_aad<'a>(tenant: &'a TenantId, name: &'a RowId) -> [&'a [u8]; 3] {
    [b"blob", tenant.as_str().as_bytes(), &name.0]
}

fn stream_name<'a>(
    tenant: &'a TenantId,
    owner: &'a [u8; OWNER],
    name: &'a RowId,
) -> StreamName<'a> {
    StreamName { purpose: PURPOSE, tenant, owner, file: &name.0 }
}

/// A tenant's blobs.
pub struct Blobs {
    tenant: TenantId,
    place: Place,
}

impl Blobs {
    /// The blobs of `tenant`: in `bucket`, or else in the directory `root`, which need not
    /// be there yet.
    #[must_use]
    pub fn of(tenant: &TenantId, root: PathBuf, bucket: Option<&Bucket>) -> Self {
        Blobs { tenant: tenant.clone(), place: Place::of(tenant, root, bucket) }
    }

    /// Begins to receive a blob that is to be sealed under `key`.
    ///
    /// # Errors
    /// [`Error`] when the store can't be written.
    pub(crate) fn receive(
        &self,
        locator_key: &SecretKey,
        key: &HeldKey,
        rng: &dyn Rng,
    ) -> Result<Incoming, Error> {
        let mut name = RowId([0; 16]);
        rng.fill(&mut name.0);
        let owner = owner_of(key.handle, key.version);
        let (sealer, header) =
            StreamSealer::new(&stream_name(&self.tenant, &owner, &name), &key.key, rng);
        let aad = locator_aad(&self.tenant, &name);
        let mut out = vec![FORMAT];
        out.extend_from_slice(&phial_crypto::seal_small(locator_key, &aad, &owner, rng));
        out.extend_from_slice(&header);
        let mut incoming = Incoming {
            handle: key.handle,
            name,
            sealer,
            out,
            sealed: Digest::sha256(),
            text: Digest::sha1(),
            sink: self.place.begin(name)?,
        };
        incoming.drain()?;
        Ok(incoming)
    }

    /// Opens the blob `blob` with the key that its locator names.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is not there; [`Error::Crypto`] when it is not what
    /// was sealed under this name.
    pub(crate) fn open(
        &self,
        blob: &BlobRef,
        locator_key: &SecretKey,
        key_of: impl FnOnce(KeyHandle) -> Result<Option<Arc<HeldKey>>, Error>,
    ) -> Result<Option<OpenBlob>, Error> {
        let source = self.place.open(blob.name)?;
        let head = source.read(0, HEAD)?;
        let (handle, version) = self.locate(&blob.name, &head, locator_key)?;
        let Some(key) = key_of(handle)? else { return Ok(None) };
        if key.version != version {
            return Err(Error::Corrupt("a blob is sealed under another version of its key"));
        }
        let owner = owner_of(handle, version);
        let name = stream_name(&self.tenant, &owner, &blob.name);
        OpenBlob::new(source, blob, &name, &key.key).map(Some)
    }

    fn locate(
        &self,
        name: &RowId,
        head: &[u8],
        locator_key: &SecretKey,
    ) -> Result<(KeyHandle, u32), Error> {
        let (format, sealed) =
            head.split_first().ok_or(Error::Corrupt("a blob is shorter than its head"))?;
        if *format != FORMAT {
            return Err(Error::Corrupt("a blob is of an unknown format"));
        }
        let aad = locator_aad(&self.tenant, name);
        let owner = phial_crypto::open_small(locator_key, &aad, sealed)?;
        let damaged = Error::Corrupt("a blob's locator has another length");
        let (handle, version) = owner.split_first_chunk().ok_or_else(|| damaged.clone())?;
        let version = <[u8; 4]>::try_from(version).map_err(|_| damaged)?;
        Ok((KeyHandle(*handle), u32::from_be_bytes(version)))
    }

    /// The names of all blobs, in no order.
    ///
    /// # Errors
    /// [`Error`] when the store can't be read.
    pub(crate) fn names(&self) -> Result<Vec<RowId>, Error> {
        self.place.names()
    }

    /// Which key a blob is sealed under, and the SHA-256 of all its bytes. `None` when it
    /// is not there. The key is `None` when the locator does not open.
    ///
    /// # Errors
    /// [`Error`] when the store can't be read.
    pub(crate) fn examine(
        &self,
        name: RowId,
        locator_key: &SecretKey,
    ) -> Result<Option<Examined>, Error> {
        let Some(source) = self.place.find(name)? else { return Ok(None) };
        let mut digest = Digest::sha256();
        let mut head = Vec::new();
        let mut at = 0;
        while at < source.len() {
            let len = usize::try_from((source.len() - at).min(PIECE)).unwrap_or(0);
            let piece = source.read(at, len)?;
            if at == 0 {
                head = piece.get(..HEAD).unwrap_or_default().to_vec();
            }
            digest.update(&piece);
            at += len as u64;
        }
        let handle = self.locate(&name, &head, locator_key).ok().map(|(handle, _)| handle);
        let hash = digest.finish().try_into().unwrap_or_default();
        Ok(Some(Examined { handle, hash, len: source.len() }))
    }

    /// The blobs that are sealed under any of these keys.
    ///
    /// # Errors
    /// [`Error`] when the store can't be read.
    pub(crate) fn under(
        &self,
        handles: &HashSet<KeyHandle>,
        locator_key: &SecretKey,
    ) -> Result<Vec<RowId>, Error> {
        let mut found = Vec::new();
        if handles.is_empty() {
            return Ok(found);
        }
        for name in self.names()? {
            let Some(source) = self.place.find(name)? else { continue };
            // A damaged one is `verify`'s to name; it is under no key that anyone knows.
            let Ok(head) = source.read(0, HEAD) else { continue };
            if self.locate(&name, &head, locator_key).is_ok_and(|(h, _)| handles.contains(&h)) {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Deletes blobs, whether they are there or not.
    ///
    /// # Errors
    /// [`Error`] when one can't be deleted; asking again is safe.
    pub(crate) fn remove(&self, names: &[RowId]) -> Result<(), Error> {
        names.iter().try_for_each(|name| self.place.remove(*name))
    }

    /// Deletes what uploads of an earlier process left behind. For the process that holds
    /// the home's lock, before it receives anything.
    ///
    /// # Errors
    /// [`Error`] when it can't be deleted.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        self.place.sweep()
    }
}

/// How much is read at a time where all of a blob is read.
const PIECE: u64 = 1 << 20;

/// What can be said of a blob without its key.
pub(crate) struct Examined {
    pub(crate) handle: Option<KeyHandle>,
    pub(crate) hash: [u8; 32],
    pub(crate) len: u64,
}

/// A blob that is coming in. Dropped, it leaves nothing.
pub struct Incoming {
    name: RowId,
    handle: KeyHandle,
    sealer: StreamSealer,
    out: Vec<u8>,
    sealed: Digest,
    text: Digest,
    sink: Sink,
}

impl Incoming {
    /// Takes in more of the text.
    ///
    /// # Errors
    /// [`Error`] when the store can't be written.
    pub fn write(&mut self, text: &[u8]) -> Result<(), Error> {
        self.text.update(text);
        self.sealer.push(text, &mut self.out)?;
        self.drain()
    }

    /// How much text came in so far, in bytes.
    #[must_use]
    pub fn text_len(&self) -> u64 {
        self.sealer.text_len()
    }

    fn drain(&mut self) -> Result<(), Error> {
        if !self.out.is_empty() {
            self.sealed.update(&self.out);
            self.sink.write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// The end of the text: what came in is durable, under no name yet.
    ///
    /// # Errors
    /// [`Error`] when the store can't be written.
    pub fn finish(mut self) -> Result<Staged, Error> {
        let len = self.sealer.text_len();
        for chunk in self.sealer.finish() {
            self.sealed.update(&chunk);
            self.sink.write(&chunk)?;
        }
        let kept = self.sink.finish()?;
        let hash = self.sealed.finish().try_into().unwrap_or_default();
        let sha1 = self.text.finish().try_into().unwrap_or_default();
        let blob = BlobRef { name: self.name, len, sha1 };
        Ok(Staged(Arc::new(Waiting { blob, handle: self.handle, hash, kept })))
    }
}

/// A blob that was received and waits for its record. When the last of it is dropped and
/// it was not published, it goes.
#[derive(Clone)]
pub struct Staged(Arc<Waiting>);

struct Waiting {
    blob: BlobRef,
    handle: KeyHandle,
    hash: [u8; 32],
    kept: Kept,
}

impl Staged {
    /// What the record's header says of it.
    #[must_use]
    pub fn blob(&self) -> &BlobRef {
        &self.0.blob
    }

    /// SHA-256 of all its bytes, for the intent.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// The key that it is sealed under.
    pub(crate) fn handle(&self) -> KeyHandle {
        self.0.handle
    }

    /// Gives it its name. Its intent is durable.
    pub(crate) fn publish(&self) -> Result<(), Error> {
        self.0.kept.publish()
    }
}
