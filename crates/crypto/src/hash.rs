//! Hashes, MACs and comparison.

use aws_lc_rs::{digest, hmac};
use subtle::ConstantTimeEq;

use crate::SecretKey;

/// SHA-256 (FIPS 180-4) of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A hash of bytes that come piece by piece.
#[derive(Clone)]
pub struct Digest(digest::Context);

impl Digest {
    /// SHA-256 (FIPS 180-4).
    #[must_use]
    pub fn sha256() -> Self {
        Digest(digest::Context::new(&digest::SHA256))
    }

    /// SHA-1 (FIPS 180-4), which is not safe against collisions. Only for what FHIR R4
    /// says is a SHA-1: `Attachment.hash`
    /// (<https://hl7.org/fhir/R4/datatypes-definitions.html#Attachment.hash>).
    #[must_use]
    pub fn sha1() -> Self {
        Digest(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY))
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash: 32 bytes of SHA-256, 20 of SHA-1.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

/// What the audit log keeps of a sealed record: SHA-256 of the whole blob,
/// padding included, so any change of the stored bytes shows.
#[must_use]
pub fn content_hash(blob: &[u8]) -> [u8; 32] {
    sha256(blob)
}

/// HMAC-SHA-256 (RFC 2104) under `key` over `parts`, each behind its length
/// (u32, big-endian). So `["ab", "c"]` and `["a", "bc"]` differ; the first part
/// should name the use.
#[must_use]
pub fn hmac_sha256(key: &SecretKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut input = Vec::with_capacity(parts.iter().map(|p| p.len() + 4).sum());
    for part in parts {
        crate::encode::push_item(&mut input, part);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let tag = fixed(hmac::sign(&key, &input).as_ref());
    zeroize::Zeroize::zeroize(&mut input);
    tag
}

/// HMAC-SHA-1 (RFC 2104) of `message`: only for one-time codes (RFC 6238), whose
/// authenticator apps know no other. A MAC needs no safety against collisions.
#[must_use]
pub fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), message);
    let mut out = [0u8; 20];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

/// Whether `a` equals `b`, in a time that depends on their lengths only.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The 32 bytes of a SHA-256 output.
fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_sha1_is_the_published_one() {
        // RFC 2202, cases 1 and 2.
        assert_eq!(
            hex::encode(hmac_sha1(&[0x0b; 20], b"Hi There")),
            "b617318655057264e28bc0b6fb378c8ef146be00"
        );
        assert_eq!(
            hex::encode(hmac_sha1(b"Jefe", b"what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
    }

    #[test]
    fn sha256_is_the_published_one() {
        // FIPS 180-4 example "abc".
        assert_eq!(
            hex::encode(sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_hash_by_pieces_is_the_hash() {
        let mut d = Digest::sha256();
        d.update(b"a");
        d.update(b"bc");
        assert_eq!(d.finish(), sha256(b"abc"));
        let mut d = Digest::sha1();
        d.update(b"abc");
        // FIPS 180-4 example "abc".
        assert_eq!(hex::encode(d.finish()), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn parts_of_a_mac_do_not_run_into_each_other() {
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        assert_ne!(hmac_sha256(&key, &[b"ab", b"c"]), hmac_sha256(&key, &[b"a", b"bc"]));
        assert_ne!(hmac_sha256(&key, &[b"ab"]), hmac_sha256(&key, &[b"ab", b""]));
        assert_eq!(
            hex::encode(hmac_sha256(&key, &[b"use", b"value"])),
            "0cbff882b8847ca83f92000ccfa53dff2a68b54e0f961d45b43b149cf02df733"
        );
    }

    #[test]
    fn comparison_sees_length_and_content() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"samf"));
        assert!(!constant_time_eq(b"same", b"sam"));
    }
}
