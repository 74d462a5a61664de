//! The stores: record log, audit log, keystore, sessions and control log on
//! SQLite, and the local index derived from the record log. SQL appears in this
//! crate and nowhere else. It mints receipts.
//!
//! It refuses to speak HTTP, to hold rules of access, and to write a name, code,
//! date or logical id to a durable store outside a seal.

pub mod auditlog;
pub mod blobs;
pub mod control;
mod durable;
mod error;
pub mod header;
pub mod health;
pub mod home;
pub mod index;
pub mod keystore;
pub mod making;
pub mod open;
pub mod outbox;
pub mod records;
pub mod recovery;
pub mod sessions;
pub mod spool;
pub mod tickets;
pub mod verify;
pub mod vessel;

pub use durable::write_whole;
pub use error::{Error, Fault};
pub use open::Options;
