//! Keys that others made, and their signatures: those of passkeys (WebAuthn Level 3 §5.8.5,
//! RFC 9053). Refuses every algorithm but the three that authenticators use.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use crate::Error;

/// A public key that somebody else holds the other half of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignKey {
    /// ECDSA on P-256 with SHA-256 (COSE -7): the two coordinates.
    P256([u8; 32], [u8; 32]),
    /// Ed25519 (COSE -8).
    Ed25519([u8; 32]),
    /// RSASSA-PKCS1-v1_5 with SHA-256 (COSE -257): modulus of 2,048 to 8,192 bits, exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

impl ForeignKey {
    /// Holds a signature against the message.
    ///
    /// # Errors
    /// [`Error::BadSignature`] when it is not this key's over these bytes, or the key is none.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let verified = match self {
            ForeignKey::P256(x, y) => {
                let point: Vec<u8> = [4u8].iter().chain(x).chain(y).copied().collect();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            ForeignKey::Ed25519(x) => {
                UnparsedPublicKey::new(&ED25519, x).verify(message, signature)
            }
            ForeignKey::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.map_err(|_| Error::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    };

    use super::*;

    fn check(key: &ForeignKey, message: &[u8], signature: &[u8]) {
        assert!(key.verify(message, signature).is_ok());
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut other = signature.to_vec();
            other[at] ^= 1;
            assert!(key.verify(message, &other).is_err());
        }
        assert!(key.verify(b"another message", signature).is_err());
        assert!(key.verify(message, b"").is_err());
    }

    #[test]
    fn signatures_of_the_three_kinds_are_known_and_no_others() {
        let (rng, message) = (SystemRandom::new(), b"what is signed");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (point[1..33].try_into().unwrap(), point[33..].try_into().unwrap());
        let signature = pair.sign(&rng, message).unwrap();
        check(&ForeignKey::P256(x, y), message, signature.as_ref());
        assert!(ForeignKey::P256(y, x).verify(message, signature.as_ref()).is_err());

        let pair = Ed25519KeyPair::generate().unwrap();
        let x = pair.public_key().as_ref().try_into().unwrap();
        check(&ForeignKey::Ed25519(x), message, pair.sign(message).as_ref());

        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).unwrap();
        // RSAPublicKey (RFC 8017 A.1.1): two integers, of 2,049 bits with the sign and of 24.
        let der = pair.public_key().as_ref();
        let (n, e) = (der[9..265].to_vec(), der[267..270].to_vec());
        check(&ForeignKey::Rsa(n, e), message, &signature);
    }
}
