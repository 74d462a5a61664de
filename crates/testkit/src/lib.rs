//! A world for tests: a real server on a free port, actors by role, faults, canaries.
//!
//! Nothing here is linked into the product. It may break things on purpose
//! ([`faults`]), may look at every byte that was written ([`canary`]), and runs the
//! real program over a home of its own ([`world`]) with invented patients ([`fixture`]),
//! and kills it a thousand times ([`torture`]).

pub mod browser;
pub mod bucket;
pub mod canary;
pub mod clamd;
pub mod faults;
pub mod fixture;
pub mod points;
pub mod refusal;
pub mod smtp;
pub mod torture;
pub mod world;
