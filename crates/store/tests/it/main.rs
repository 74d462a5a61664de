//! What the stores claim, tried from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that can't go on should stop"
)]

mod auditlog;
mod auditlog_world;
mod control;
mod failing_disk;
mod faults;
mod index;
mod index_model;
mod index_world;
mod keystore;
mod outbox;
mod records;
mod recovery;
mod sessions;
mod verify;
