//! Phial's keys and envelopes, from outside: only what other crates can call.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod hardening;
mod hierarchy;
