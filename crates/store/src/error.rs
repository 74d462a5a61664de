//! What can go wrong in a store. No message holds a value that a caller sent, a
//! name of a person, or a key.
//!
//! The error is `Clone`, because one failed group commit answers many waiters.

use std::fmt;
use std::sync::Arc;

use phial_base::RowId;
use rusqlite::ErrorCode;

/// An error of the stores.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store can't be used now. Nothing was stored. It may come back by itself;
    /// until then the answer to everything is "not available" (invariant 7).
    #[error("the store is unavailable: {0}")]
    Unavailable(Fault),
    /// A commit was reported as failed, but may have been saved. Only a re-read
    /// after the log has settled tells (see `RecordLog::settle`).
    #[error("the outcome of the commit is unknown")]
    Unknown,
    /// The store's bytes are not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(&'static str),
    /// The file was made by another version of this program, or is another store.
    #[error("format {found} of the {store} store is not known here (known: up to {known})")]
    Format {
        /// Which store this should be.
        store: &'static str,
        /// The format that the file claims; 0 when it claims none.
        found: u32,
        /// The newest format that this program writes.
        known: u32,
    },
    /// The row's version is not the one that the caller built on.
    #[error("row {row} has moved on")]
    Conflict {
        /// The row.
        row: RowId,
    },
    /// The permit names another record or version than the one to be opened.
    #[error("the permit is for another record version")]
    WrongPermit,
    /// The keystore knows no such tenant.
    #[error("no such tenant")]
    NoTenant,
    /// The tenant exists already.
    #[error("the tenant exists already")]
    TenantExists,
    /// The keystore's tenant keys are wrapped under another root key.
    #[error("the keystore was wrapped under another root key than the one configured")]
    OtherRootKey,
    /// The directory is not a Phial home.
    #[error("not a Phial home: {0}")]
    NotAHome(&'static str),
    /// Another process works in this home.
    #[error("another phial process ({}) works in this home: stop it first, or send the work to it", HolderText(*.holder))]
    HomeLocked {
        /// Its process id, when it could be read.
        holder: Option<u32>,
    },
    /// Index file of another key, or damaged: delete and rebuild it.
    #[error("the index can't be used and must be rebuilt")]
    Unusable,
    /// A seal or a wrapped key did not open, or a key could not be made.
    #[error(transparent)]
    Crypto(Arc<phial_crypto::Error>),
    /// A file or directory operation failed.
    #[error("file operation failed: {0}")]
    File(Arc<std::io::Error>),
    /// A value does not fit where it must be stored.
    #[error("invalid input: {0}")]
    Invalid(&'static str),
}

/// Why a store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Its file is not there.
    Missing,
    /// Another file took its file's place.
    Replaced,
    /// Reading or writing failed; SQLite's extended result code.
    Io(i32),
    /// No space is left.
    Full,
    /// Another writer held it for longer than the busy timeout.
    Locked,
    /// The file's mode or the file system does not permit the access.
    Permission,
    /// The root key is gone, changed, or its provider does not answer.
    RootKey,
    /// Too much work waits already.
    Busy,
    /// Its thread has ended.
    Stopped,
    /// No memory.
    Memory,
    /// Another machine did not do what was asked of it.
    Remote,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("its file is missing"),
            Fault::Replaced => f.write_str("its file was replaced"),
            Fault::Io(code) => write!(f, "input or output failed (code {code})"),
            Fault::Full => f.write_str("no space is left"),
            Fault::Locked => f.write_str("it is locked by another writer"),
            Fault::Permission => f.write_str("access is not permitted"),
            Fault::RootKey => f.write_str("the root key can't be used"),
            Fault::Busy => f.write_str("too much work is waiting"),
            Fault::Stopped => f.write_str("it has been stopped"),
            Fault::Memory => f.write_str("out of memory"),
            Fault::Remote => f.write_str("the machine that holds it failed"),
        }
    }
}

struct HolderText(Option<u32>);

impl fmt::Display for HolderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("its number is unknown"),
        }
    }
}

impl Error {
    /// Whether the same call may succeed later without anybody's help but the
    /// fault's end.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

impl Error {
    /// The error that a failed file operation means.
    #[must_use]
    pub fn io(e: std::io::Error) -> Self {
        e.into()
    }
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(cause, _) = &e else {
            return Error::Corrupt("a row is not in the form it was written in");
        };
        match cause.code {
            ErrorCode::DiskFull => Error::Unavailable(Fault::Full),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Error::Unavailable(Fault::Locked)
            }
            ErrorCode::CannotOpen => Error::Unavailable(Fault::Missing),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                Error::Unavailable(Fault::Permission)
            }
            ErrorCode::OutOfMemory => Error::Unavailable(Fault::Memory),
            ErrorCode::SystemIoFailure
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationAborted
            | ErrorCode::OperationInterrupted
            | ErrorCode::SchemaChanged => Error::Unavailable(Fault::Io(cause.extended_code)),
            ErrorCode::NotADatabase => Error::Corrupt("not a database of ours"),
            ErrorCode::DatabaseCorrupt => Error::Corrupt("a page is damaged"),
            ErrorCode::ConstraintViolation => Error::Corrupt("a constraint does not hold"),
            ErrorCode::TooBig => Error::Invalid("too big"),
            _ => Error::Corrupt("the database does not have the tables it should have"),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match e.kind() {
            ErrorKind::NotFound => Error::Unavailable(Fault::Missing),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Unavailable(Fault::Full),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Error::Unavailable(Fault::Permission)
            }
            _ => match e.raw_os_error() {
                Some(code) => Error::Unavailable(Fault::Io(code)),
                None => Error::File(Arc::new(e)),
            },
        }
    }
}

impl From<phial_crypto::Error> for Error {
    fn from(e: phial_crypto::Error) -> Self {
        Error::Crypto(Arc::new(e))
    }
}

impl From<phial_fhir::Error> for Error {
    fn from(_: phial_fhir::Error) -> Self {
        Error::Corrupt("a stored plan or segment does not decode")
    }
}
