//! Randomness is a parameter.

use std::sync::Mutex;

use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::LogicalId;

/// Fills buffers with random bytes.
pub trait Rng: Send + Sync + 'static {
    /// Fills `buf` with random bytes. Implementations for production are
    /// cryptographically secure and never return without having filled it.
    fn fill(&self, buf: &mut [u8]);
}

/// The system's cryptographic generator (aws-lc).
#[derive(Clone, Debug)]
pub struct SystemRng(SystemRandom);

impl SystemRng {
    /// A handle to the generator.
    #[must_use]
    pub fn new() -> Self {
        SystemRng(SystemRandom::new())
    }
}

impl Default for SystemRng {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng for SystemRng {
    #[expect(clippy::panic, reason = "without randomness no key or nonce may be made: stop here")]
    fn fill(&self, buf: &mut [u8]) {
        if self.0.fill(buf).is_err() {
            panic!("the system's random generator failed");
        }
    }
}

/// A reproducible generator for tests and synthetic data: SHA-256 in counter
/// mode over a seed. Not for keys.
#[derive(Debug)]
pub struct SeededRng {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededRng {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SeededRng { seed, counter: Mutex::new(0) }
    }
}

impl Rng for SeededRng {
    fn fill(&self, buf: &mut [u8]) {
        let mut counter = self.counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in buf.chunks_mut(32) {
            *counter += 1;
            let mut input = [0u8; 16];
            let (a, b) = input.split_at_mut(8);
            a.copy_from_slice(&self.seed.to_be_bytes());
            b.copy_from_slice(&counter.to_be_bytes());
            let hash = digest::digest(&digest::SHA256, &input);
            for (to, from) in chunk.iter_mut().zip(hash.as_ref()) {
                *to = *from;
            }
        }
    }
}

/// A fresh logical id: a version 4 UUID in lower case (RFC 9562).
pub fn random_logical_id(rng: &dyn Rng) -> LogicalId {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    LogicalId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes() {
        let (a, b) = (SeededRng::new(7), SeededRng::new(7));
        let (mut x, mut y) = ([0u8; 77], [0u8; 77]);
        a.fill(&mut x);
        b.fill(&mut y);
        assert_eq!(x, y);
        a.fill(&mut x);
        assert_ne!(x, y);
    }
}
