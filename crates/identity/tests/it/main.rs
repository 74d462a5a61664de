//! What the crate claims, tried from outside, on real stores and a clock that is moved by
//! hand.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

mod factors;
mod sessions;
mod sso;
mod throttle;
mod world;
