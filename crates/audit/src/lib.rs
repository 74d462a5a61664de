//! The audit log without its storage: entries and their sealing, each node's hash
//! chain, the Merkle tree, tiles, checkpoints and proofs, verification, and views.
//!
//! Nothing here does I/O. `store` keeps the bytes and mints receipts; this crate says
//! what the bytes are and whether they are the ones that were signed (design §6,
//! invariants 1, 6 and 9).

pub mod chain;
pub mod checkpoint;
mod codec;
mod entry;
mod error;
mod ledger;
mod sealed;
mod split;
pub mod tiles;
pub mod tree;
mod types;
pub mod verify;
pub mod view;

pub use checkpoint::{Checkpoint, NoteSigner, NoteVerifier};
pub use entry::{
    DetailKey, Entry, EventKind, IntentId, NodeId, OutcomeCode, PatientPart, Seqs, Target, Who,
    Write,
};
pub use error::Error;
pub use ledger::{Expected, LedgerFinding, RecordLedger};
pub use sealed::{
    AuditKeys, HeldKeys, MAX_SEALED, Place, SUITE, key_handles, open_entry, seal_entry,
};
pub use view::balp;
