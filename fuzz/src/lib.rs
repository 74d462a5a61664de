//! What is fuzzed: everything that reads bytes from outside, one function a target.
//!
//! Each takes any bytes and panics only when a promise is broken; that it ends, and
//! within its memory, the fuzzer itself watches. `cargo xtask fuzz` runs them under
//! libFuzzer; `cargo test -p phial-fuzz` replays the committed corpora. Refuses to
//! know how the bytes were found.
#![expect(clippy::expect_used, reason = "a broken promise ends the run: that is the finding")]

mod bundle;
mod envelope;
mod fhir;
mod ndjson;
mod page;
mod patch;
mod proof;

pub use bundle::bundle;
pub use envelope::envelope;
pub use fhir::{fhirpath, filter, json, search};
pub use ndjson::ndjson;
pub use page::page;
pub use patch::patch;
pub use proof::proof;

/// A target, by the name of its corpus.
pub type Target = fn(&[u8]);

/// All targets.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", json),
    ("fhirpath", fhirpath),
    ("search", search),
    ("filter", filter),
    ("page", page),
    ("patch", patch),
    ("bundle", bundle),
    ("envelope", envelope),
    ("proof", proof),
    ("ndjson", ndjson),
];

/// Takes a fuzzer's bytes apart: small numbers and pieces; zeros and nothing at the end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte()))
    }

    /// A piece as long as its first two bytes say, or what is left.
    fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()) << 8 | usize::from(self.byte());
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
