//! Keys, envelopes and sealed records: everything in Phial that touches a key.
//!
//! | module | owns |
//! |---|---|
//! | `key` | [`SecretKey`] and derivation |
//! | `root` | [`RootProvider`], the interface to a KMS, an HSM or a key file |
//! | `key_file` | [`KeyFile`], the development-grade root provider |
//! | `wrapped` | wrapped keys: a key sealed under the root or a tenant key |
//! | `names` | keyed names: row ids and keystore lookup names |
//! | `record` | sealed record versions, suite 2 |
//! | `pack` | compression of parts before sealing |
//! | `small` | small sealed things |
//! | `stream` | sealed streams of any length |
//! | `sign` | Ed25519 |
//! | `jose` | signatures of JSON Web Tokens |
//! | `harden` | core dumps off |
//!
//! The crate knows nothing of FHIR or SQL. It refuses to say more than "refused"
//! about a sealed thing that does not open, and no message of it holds a key, a
//! plaintext or an id. Every format has a number and is final: a change takes a
//! new number, and frozen bytes in the tests hold the old one in place.

mod aead;
mod encode;
mod error;
mod foreign;
mod harden;
mod hash;
mod jose;
mod key;
mod key_file;
mod names;
mod pack;
mod record;
mod root;
mod sign;
mod small;
mod stream;
mod wrapped;

pub use error::{Error, KeyFileProblem};
pub use foreign::ForeignKey;
pub use harden::{Hardening, harden_process};
pub use hash::{Digest, constant_time_eq, content_hash, hmac_sha1, hmac_sha256, sha256};
pub use jose::{Curve, JwsAlg, JwsKey, JwsSigner};
pub use key::SecretKey;
pub use key_file::KeyFile;
pub use names::{key_subject, row_id};
pub use pack::{DICTIONARIES, MAX_PART_BYTES, Plain, Text, packed_len};
pub use record::{
    Locator, OpenRecord, PartId, RecordKey, RecordName, SIZE_BUCKETS, locate, seal_record,
    unlock_record,
};
pub use root::RootProvider;
pub use sign::{SigningKey, VerifyingKey};
pub use small::{open_small, seal_small};
pub use stream::{
    OpenStream, SEALED_CHUNK, STREAM_CHUNK, STREAM_HEADER, Sealed, SealingWriter, StreamName,
    StreamOpener, StreamReader, StreamSealer, StreamShape, StreamTail, sealed_stream_len,
};
pub use wrapped::{KeyKind, KeyLabel, unwrap, unwrap_under_root, wrap, wrap_under_root};

/// What callers hold opened bytes in: overwritten when dropped.
pub use zeroize::Zeroizing;
