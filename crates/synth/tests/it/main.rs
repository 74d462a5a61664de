//! The synthetic world from outside: same bytes from the same seed, valid, whole, labelled.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod truth;
mod whole;
mod world;
