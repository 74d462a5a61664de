//! What the audit crate claims, tried from outside.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a wrong index or value fails the test, as it should"
)]

mod ledger;
mod sealing;
mod trees;
mod verifying;
mod viewing;
mod world;
