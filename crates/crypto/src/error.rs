//! The one error of this crate. No message holds a key, a plaintext or an id;
//! paths of key files are shown, since an operator must find them.

use std::io;
use std::path::PathBuf;

/// Why something was not sealed, opened, wrapped, signed or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Key bytes of another length than the algorithm's.
    #[error("a key of this kind has {expected} bytes")]
    KeyLength {
        /// The right length, in bytes.
        expected: usize,
    },
    /// A format number that this version does not know.
    #[error("unknown format {found} of {what}")]
    UnknownFormat {
        /// The kind of sealed thing.
        what: &'static str,
        /// The number found.
        found: u8,
    },
    /// Bytes that can't be what they claim to be, seen before or after opening.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Authentication failed: another key, another context, or altered bytes.
    /// Which of these is not said.
    #[error("{0} could not be opened: other key, other place, or altered")]
    Refused(&'static str),
    /// The key is not the one that the record was sealed under.
    #[error("the key is not the one that the record was sealed under")]
    WrongKey,
    /// A wrapped key that opened, but is the key of another tenant, kind, handle
    /// or version than asked for.
    #[error("the wrapped key has another label than asked for")]
    WrongLabel,
    /// Wrapped under a root key that the provider does not hold.
    #[error("wrapped under another root key")]
    WrongRoot,
    /// The record has no part of this number.
    #[error("the record has no part {0}")]
    NoSuchPart(u8),
    /// Two parts of the same number, or a part numbered 0, given to be sealed.
    #[error("part {0} can't be sealed: given twice, or a reserved number")]
    BadPart(u8),
    /// More than a format carries.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A signature that does not verify, or a key that is none.
    #[error("the signature does not verify")]
    BadSignature,
    /// The root key file can't be used.
    #[error("root key file {path}: {problem}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyFileProblem,
    },
    /// The root key file or its directory could not be read or written.
    #[error("root key file {path} could not be read or written")]
    KeyFileIo {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A root provider (KMS, HSM) could not be reached or refused.
    #[error("root key provider {provider} failed")]
    Provider {
        /// The provider's name.
        provider: &'static str,
        /// Its own error; it holds no secret.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is wrong with a root key file. Each message says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// It is already there; a root key is never overwritten.
    #[error("already exists and is never overwritten")]
    Exists,
    /// It is not there.
    #[error("is missing; restore it from its own backup")]
    Missing,
    /// It is a directory, a symbolic link or a device.
    #[error("is not a regular file (links are not followed)")]
    NotAFile,
    /// Others may read or write it.
    #[error("has mode {0:04o}; run chmod 600 on it")]
    Mode(u32),
    /// It belongs to another user.
    #[error("belongs to user {0}, not to the user that runs this program")]
    Owner(u32),
    /// Others may enter or write its directory.
    #[error("lies in a directory of mode {0:04o}; run chmod 700 on the directory")]
    DirectoryMode(u32),
    /// Its directory belongs to another user.
    #[error("lies in a directory of user {0}, not of the user that runs this program")]
    DirectoryOwner(u32),
    /// It lies inside a directory that holds data, so a copy of the data would
    /// carry the key.
    #[error("lies inside the data directory {0}; keep keys apart from data")]
    InsideData(PathBuf),
    /// Its path has no directory or no file name.
    #[error("is not the path of a file in a directory")]
    NoDirectory,
    /// Its content is not a root key line.
    #[error("is not a root key file")]
    Content,
    /// Its content has a checksum that does not match: cut or mistyped.
    #[error("is damaged: the checksum does not match; restore it from its own backup")]
    Checksum,
    /// It has a format that this version does not know.
    #[error("has an unknown format")]
    Format,
    /// It is no longer the file that was opened.
    #[error("holds another key than when it was opened")]
    Changed,
}
