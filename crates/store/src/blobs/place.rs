//! The two places that hold blobs, as one: a directory of files, a bucket of objects. It
//! refuses to know what is in them.

use std::path::PathBuf;

use phial_base::{RowId, TenantId};

use super::bucket::{self, Bucket, Objects};
use super::directory::{self, Directory};
use crate::error::{Error, Fault};

/// Where blobs are.
pub(super) enum Place {
    Directory(Directory),
    Bucket(Objects),
}

impl Place {
    pub(super) fn of(tenant: &TenantId, root: PathBuf, bucket: Option<&Bucket>) -> Self {
        match bucket {
            Some(bucket) => Place::Bucket(Objects::new(bucket.clone(), tenant, root)),
            None => Place::Directory(Directory::new(root)),
        }
    }

    /// Begins a blob that no reader finds.
    pub(super) fn begin(&self, name: RowId) -> Result<Sink, Error> {
        match self {
            Place::Directory(d) => d.begin(name).map(Sink::File),
            Place::Bucket(b) => Ok(Sink::Object(b.begin(name))),
        }
    }

    pub(super) fn open(&self, name: RowId) -> Result<Source, Error> {
        self.find(name)?.ok_or(Error::Unavailable(Fault::Missing))
    }

    pub(super) fn find(&self, name: RowId) -> Result<Option<Source>, Error> {
        Ok(match self {
            Place::Directory(d) => d.find(name)?.map(Source::File),
            Place::Bucket(b) => b.find(name)?.map(Source::Object),
        })
    }

    pub(super) fn names(&self) -> Result<Vec<RowId>, Error> {
        match self {
            Place::Directory(d) => d.names(),
            Place::Bucket(b) => b.names(),
        }
    }

    pub(super) fn remove(&self, name: RowId) -> Result<(), Error> {
        match self {
            Place::Directory(d) => d.remove(name),
            Place::Bucket(b) => b.remove(name),
        }
    }

    pub(super) fn sweep(&self) -> Result<(), Error> {
        match self {
            Place::Directory(d) => d.sweep(),
            // An upload that was not ended shows nothing; a rule of the bucket ends it.
            Place::Bucket(_) => Ok(()),
        }
    }
}

/// What a blob is written to.
pub(super) enum Sink {
    File(directory::Sink),
    Object(bucket::Upload),
}

impl Sink {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Sink::File(f) => f.write(bytes),
            Sink::Object(o) => o.write(bytes),
        }
    }

    pub(super) fn finish(self) -> Result<Kept, Error> {
        match self {
            Sink::File(f) => f.finish().map(Kept::File),
            Sink::Object(o) => o.finish().map(Kept::Object),
        }
    }
}

/// A blob that is whole and has no name yet.
pub(super) enum Kept {
    File(directory::Kept),
    Object(bucket::Pending),
}

impl Kept {
    pub(super) fn publish(&self) -> Result<(), Error> {
        match self {
            Kept::File(f) => f.publish(),
            Kept::Object(o) => o.publish(),
        }
    }
}

/// What a blob is read from.
pub(super) enum Source {
    File(directory::Source),
    Object(bucket::Found),
}

impl Source {
    pub(super) fn len(&self) -> u64 {
        match self {
            Source::File(f) => f.len(),
            Source::Object(o) => o.len(),
        }
    }

    /// `len` bytes from `at`.
    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        match self {
            Source::File(f) => f.read(at, len),
            Source::Object(o) => o.read(at, len),
        }
    }
}
