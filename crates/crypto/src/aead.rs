//! AES-256-GCM, AES-256-CTR and HKDF-SHA-256 over aws-lc. The only file that calls
//! any of them.
//!
//! Every AES key made here seals one message, or one message per 192-bit random
//! name, so no nonce is used twice under a key. CTR has no tag: it is for texts that
//! another message's tag covers.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

/// Length of a GCM tag, in bytes.
pub(crate) const TAG: usize = 16;
/// Length of a GCM nonce, in bytes.
pub(crate) const NONCE: usize = 12;

/// The nonce of a key that seals one message.
pub(crate) const ZERO: [u8; NONCE] = [0; NONCE];

/// The library did not open what it was given.
pub(crate) struct NotOpened;

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA-256 (RFC 5869): extract with `salt`, expand with `info` into `out`
/// (at most 8,160 bytes).
pub(crate) fn hkdf(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret);
    sure(prk.expand(info, Len(out.len())).and_then(|okm| okm.fill(out)));
}

/// HKDF-Expand (RFC 5869, 2.3) with a uniformly random `prk`.
pub(crate) fn expand(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8; 32]) {
    let prk = Prk::new_less_safe(HKDF_SHA256, prk);
    sure(prk.expand(info, Len(32)).and_then(|okm| okm.fill(out)));
}

/// Adds the key stream of AES-256-CTR, counted from zero, to `text`: seals it, or opens
/// it again. The key serves for one text, and whoever opens it has authenticated it.
pub(crate) fn stream(key: &[u8; 32], text: &mut [u8]) {
    let key = sure(UnboundCipherKey::new(&AES_256, key).and_then(EncryptingKey::ctr));
    let from_zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    sure(key.less_safe_encrypt(text, from_zero).map(drop));
}

/// An AES-256-GCM key.
pub(crate) struct Key(LessSafeKey);

impl Key {
    /// The key with these bytes.
    pub(crate) fn new(bytes: &[u8; 32]) -> Self {
        Key(LessSafeKey::new(sure(UnboundKey::new(&AES_256_GCM, bytes))))
    }

    /// The key that [`expand`] derives from `prk` with `info`.
    pub(crate) fn expanded(prk: &[u8; 32], info: &[&[u8]]) -> Self {
        let mut bytes = Zeroizing::new([0u8; 32]);
        expand(prk, info, &mut bytes);
        Key::new(&bytes)
    }

    /// Encrypts `text` in place and returns the tag.
    pub(crate) fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = sure(self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text));
        let mut out = [0u8; TAG];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        out
    }

    /// Decrypts `text` into `out`, which has the same length.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        text: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), NotOpened> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), text, tag, out)
            .map_err(|Unspecified| NotOpened)
    }
}

/// What the library can only refuse when lengths are wrong (all are fixed here)
/// or when it is broken.
#[expect(clippy::panic, reason = "a library that can't encrypt must not be worked around")]
fn sure<T>(result: Result<T, Unspecified>) -> T {
    match result {
        Ok(value) => value,
        Err(Unspecified) => panic!("the cryptographic library failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hkdf_is_the_published_one() {
        // RFC 5869, test case 1.
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let mut out = [0u8; 42];
        hkdf(&salt, &[0x0b; 22], &[&info], &mut out);
        assert_eq!(
            hex::encode(out),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
             34007208d5b887185865"
        );
        // Same case: expand alone from the published PRK, first block.
        let prk = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5";
        let prk: [u8; 32] = hex::decode(prk).unwrap().try_into().unwrap();
        let mut block = [0u8; 32];
        expand(&prk, &[&info], &mut block);
        assert_eq!(&block[..], &out[..32]);
    }

    #[test]
    fn aes_256_ctr_is_the_published_one() {
        // The block cipher's known answer (FIPS 197, C.3) gives one block of stream:
        // AES of the counter block zero under a key, here by GCM's H of test case 13 and
        // 14 in McGrew and Viega: AES-256 of zeros under zeros.
        let mut text = [0u8; 16];
        stream(&[0; 32], &mut text);
        assert_eq!(hex::encode(text), "dc95c078a2408989ad48a21492842087");
        // Two blocks of zeros are the blocks of counters 0 and 1; GCM's first block of
        // text is that of counter 2.
        let mut text = [0u8; 48];
        stream(&[0; 32], &mut text);
        assert_eq!(hex::encode(&text[32..]), "cea7403d4d606b6e074ec5d3baf39d18");
        stream(&[0; 32], &mut text);
        assert_eq!(text, [0; 48]);
    }

    #[test]
    fn aes_256_gcm_is_the_published_one() {
        // McGrew and Viega's GCM specification, test case 16.
        let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        let key = Key::new(&hex::decode(key).unwrap().try_into().unwrap());
        let nonce: [u8; 12] = hex::decode("cafebabefacedbaddecaf888").unwrap().try_into().unwrap();
        let aad = hex::decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
        let mut text = hex::decode(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        )
        .unwrap();
        let plain = text.clone();
        let tag = key.seal(nonce, &aad, &mut text);
        assert_eq!(hex::encode(tag), "76fc6ece0f4e1768cddf8853bb2d551b");
        assert!(hex::encode(&text).starts_with("522dc1f099567d07f47f37a32a84427d"));
        let mut out = vec![0u8; text.len()];
        assert!(key.open(nonce, &aad, &text, &tag, &mut out).is_ok());
        assert_eq!(out, plain);
        assert!(key.open(nonce, b"", &text, &tag, &mut out).is_err());
    }
}
