//! Phial.
fn main() {}
