//! The 32-byte symmetric key that every level of the hierarchy uses.

use std::fmt;

use phial_base::Rng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Error, aead};

/// Salt of [`SecretKey::derive`]. Fixed: the keys are uniformly random, and a
/// non-empty salt keeps the derivation inside the approved mode.
const DERIVE_SALT: &[u8; 32] = b"phial: derived keys, version 1.\0";
/// Prefix of the info, so that it is never empty.
const DERIVE_INFO: &[u8] = b"phial derive";

/// A 256-bit secret key. It lives in one boxed place that is overwritten on
/// drop, compares in constant time, and its `Debug` shows nothing.
///
/// | derived key | bytes |
/// |---|---|
/// | `derive(info)` | HKDF-SHA-256(salt = `"phial: derived keys, version 1." 00`, ikm = key, info = `"phial derive"` ‖ info), 32 bytes |
pub struct SecretKey(Box<Zeroizing<[u8; 32]>>);

impl SecretKey {
    /// A fresh key.
    #[must_use]
    pub fn random(rng: &dyn Rng) -> Self {
        let mut key = SecretKey(Box::new(Zeroizing::new([0; 32])));
        rng.fill(&mut key.0[..]);
        key
    }

    /// The key with these bytes. The caller overwrites its own copy.
    ///
    /// # Errors
    /// [`Error::KeyLength`] unless there are exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut key = SecretKey(Box::new(Zeroizing::new([0; 32])));
        if bytes.len() != key.0.len() {
            return Err(Error::KeyLength { expected: key.0.len() });
        }
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    /// The key's bytes. Every use is a place to look at in review.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one use, named by `info`. Knowing it says nothing of this key
    /// or of its other derived keys.
    #[must_use]
    pub fn derive(&self, info: &[u8]) -> SecretKey {
        let mut key = SecretKey(Box::new(Zeroizing::new([0; 32])));
        aead::hkdf(DERIVE_SALT, self.expose(), &[DERIVE_INFO, info], &mut key.0[..]);
        key
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use phial_base::SeededRng;

    use super::*;

    #[test]
    fn a_key_has_32_bytes_and_shows_none() {
        assert!(matches!(SecretKey::from_bytes(&[1; 31]), Err(Error::KeyLength { expected: 32 })));
        assert!(SecretKey::from_bytes(&[1; 33]).is_err());
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(..)");
        assert_eq!(key.expose(), &[1; 32]);
    }

    #[test]
    fn random_keys_differ() {
        let rng = SeededRng::new(1);
        assert_ne!(SecretKey::random(&rng), SecretKey::random(&rng));
    }

    #[test]
    fn derivation_depends_on_key_and_info_and_is_frozen() {
        let (a, b) =
            (SecretKey::from_bytes(&[1; 32]).unwrap(), SecretKey::from_bytes(&[2; 32]).unwrap());
        assert_eq!(a.derive(b"x"), a.derive(b"x"));
        assert_ne!(a.derive(b"x"), a.derive(b"y"));
        assert_ne!(a.derive(b"x"), b.derive(b"x"));
        assert_eq!(
            hex::encode(a.derive(b"x").expose()),
            "6c762d35b52ce8ad2d06f0bc2c95086dc5d3703362ca6c655bf5ddac4ed41584"
        );
    }
}
