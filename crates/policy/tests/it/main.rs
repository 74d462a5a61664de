//! What the shipped policies decide, and what no policy set may do.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod golden;
mod load;
mod permit;
mod properties;
mod rules;
mod tool;
mod world;
