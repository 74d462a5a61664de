//! Ed25519 (RFC 8032): checkpoints, certificates.
//!
//! | thing | bytes |
//! |---|---|
//! | signing key | the 32-byte seed of RFC 8032, kept as a [`SecretKey`] |
//! | verifying key | 32 |
//! | signature | 64: R ‖ S |

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{Error, SecretKey};

/// A key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key of this seed.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library refuses the seed.
    pub fn from_seed(seed: &SecretKey) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map_err(|_| Error::Malformed("signing key"))?;
        let public = VerifyingKey::from_bytes(pair.public_key().as_ref())?;
        Ok(SigningKey { pair, public })
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        self.public
    }

    /// The signature of `message`. The same message gets the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0u8; 64];
        for (to, from) in out.iter_mut().zip(self.pair.sign(message).as_ref()) {
            *to = *from;
        }
        out
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A key that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(VerifyingKey).map_err(|_| Error::KeyLength { expected: 32 })
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks that `signature` is this key's over `message`.
    ///
    /// # Errors
    /// [`Error::BadSignature`] when it is not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .map_err(|_| Error::BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_the_published_ones() {
        // RFC 8032, 7.1, test 2.
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let seed = SecretKey::from_bytes(&hex::decode(seed).unwrap()).unwrap();
        let key = SigningKey::from_seed(&seed).unwrap();
        assert_eq!(
            hex::encode(key.public().as_bytes()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            hex::encode(key.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn a_flipped_bit_anywhere_does_not_verify() {
        let key = SigningKey::from_seed(&SecretKey::from_bytes(&[9; 32]).unwrap()).unwrap();
        let signature = key.sign(b"message");
        assert!(key.public().verify(b"message", &signature).is_ok());
        assert!(key.public().verify(b"messagf", &signature).is_err());
        assert!(key.public().verify(b"message", &signature[..63]).is_err());
        for bit in 0..512 {
            let mut bad = signature;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.public().verify(b"message", &bad).is_err(), "bit {bit}");
        }
        let other = SigningKey::from_seed(&SecretKey::from_bytes(&[8; 32]).unwrap()).unwrap();
        assert!(other.public().verify(b"message", &signature).is_err());
    }

    #[test]
    fn debug_shows_the_public_half_only() {
        let seed = SecretKey::from_bytes(&[9; 32]).unwrap();
        let shown = format!("{:?}", SigningKey::from_seed(&seed).unwrap());
        assert!(!shown.contains(&hex::encode([9; 32])) && shown.contains("VerifyingKey("));
    }
}
