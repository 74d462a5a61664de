//! Signatures of JSON Web Tokens: the five algorithms that are spoken here, and no other
//! (RFC 7518 section 3; RFC 8725 section 3.1). There is no `none`, no shared-secret
//! algorithm and no guessing of an algorithm from a key or of a key from a token.
//!
//! | name | key | signature |
//! |---|---|---|
//! | RS256, RS384 | RSA, 2,048 to 8,192 bits | PKCS #1 v1.5 |
//! | PS256 | RSA, 2,048 to 8,192 bits | PSS, salt as long as the hash |
//! | ES256, ES384 | P-256, P-384 | r ‖ s |

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::Error;

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the name of RFC 7518")]
pub enum JwsAlg {
    RS256,
    RS384,
    ES256,
    ES384,
    PS256,
}

impl JwsAlg {
    /// All of them.
    pub const ALL: [JwsAlg; 5] =
        [JwsAlg::RS256, JwsAlg::RS384, JwsAlg::ES256, JwsAlg::ES384, JwsAlg::PS256];

    /// The name in a token's header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            JwsAlg::RS256 => "RS256",
            JwsAlg::RS384 => "RS384",
            JwsAlg::ES256 => "ES256",
            JwsAlg::ES384 => "ES384",
            JwsAlg::PS256 => "PS256",
        }
    }

    /// The hash of the algorithm's family, over something else: what `at_hash` is the
    /// left half of (OpenID Connect Core 1.0 section 3.1.3.6).
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let how = match self {
            JwsAlg::RS256 | JwsAlg::ES256 | JwsAlg::PS256 => &digest::SHA256,
            JwsAlg::RS384 | JwsAlg::ES384 => &digest::SHA384,
        };
        digest::digest(how, bytes).as_ref().to_vec()
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is a curve of FIPS 186")]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    /// Bytes of a coordinate.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    /// The name in a JWK.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
        }
    }
}

/// A public key, as a JWK has it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum JwsKey {
    /// RSA: modulus and exponent, big-endian.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point of a curve.
    Ec {
        /// The curve.
        curve: Curve,
        /// Its first coordinate, of the curve's size.
        x: Vec<u8>,
        /// Its second.
        y: Vec<u8>,
    },
}

impl fmt::Debug for JwsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JwsKey::Rsa { n, .. } => write!(f, "JwsKey(RSA {} bits)", n.len() * 8),
            JwsKey::Ec { curve, .. } => write!(f, "JwsKey({})", curve.name()),
        }
    }
}

impl JwsKey {
    /// Whether the algorithm is one for this kind of key.
    #[must_use]
    pub const fn fits(&self, alg: JwsAlg) -> bool {
        match (self, alg) {
            (JwsKey::Rsa { .. }, JwsAlg::RS256 | JwsAlg::RS384 | JwsAlg::PS256) => true,
            (JwsKey::Ec { curve, .. }, JwsAlg::ES256) => matches!(curve, Curve::P256),
            (JwsKey::Ec { curve, .. }, JwsAlg::ES384) => matches!(curve, Curve::P384),
            _ => false,
        }
    }

    /// Checks that `signature` is this key's over `message`.
    ///
    /// # Errors
    /// [`Error::BadSignature`] when it is not, when the algorithm is not one for this
    /// kind of key, or the key is none.
    pub fn verify(&self, alg: JwsAlg, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        if !self.fits(alg) {
            return Err(Error::BadSignature);
        }
        match self {
            JwsKey::Rsa { n, e } => {
                let how = match alg {
                    JwsAlg::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    JwsAlg::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                let key = RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                key.verify(how, message, signature).map_err(|_| Error::BadSignature)
            }
            JwsKey::Ec { curve, x, y } => {
                if x.len() != curve.size() || y.len() != curve.size() {
                    return Err(Error::BadSignature);
                }
                let mut point = Vec::with_capacity(1 + 2 * curve.size());
                point.push(4);
                point.extend_from_slice(x);
                point.extend_from_slice(y);
                let how = match curve {
                    Curve::P256 => &ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &ECDSA_P384_SHA384_FIXED,
                };
                UnparsedPublicKey::new(how, point)
                    .verify(message, signature)
                    .map_err(|_| Error::BadSignature)
            }
        }
    }
}

/// A key that signs tokens.
pub struct JwsSigner {
    alg: JwsAlg,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Curve, Box<EcdsaKeyPair>),
}

impl fmt::Debug for JwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwsSigner({})", self.alg.name())
    }
}

impl JwsSigner {
    /// A new private key for the algorithm, in PKCS #8. RSA keys have 3,072 bits.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library can't make one.
    pub fn generate(alg: JwsAlg) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = |_| Error::Malformed("signing key");
        let bytes = match alg {
            JwsAlg::RS256 | JwsAlg::RS384 | JwsAlg::PS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?;
                pair.as_der().map_err(failed)?.as_ref().to_vec()
            }
            JwsAlg::ES256 => {
                let rng = SystemRandom::new();
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng);
                key.map_err(failed)?.as_ref().to_vec()
            }
            JwsAlg::ES384 => {
                let rng = SystemRandom::new();
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &rng);
                key.map_err(failed)?.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(bytes))
    }

    /// The key in these bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they are no key for the algorithm.
    pub fn from_pkcs8(alg: JwsAlg, bytes: &[u8]) -> Result<Self, Error> {
        let failed = |_| Error::Malformed("signing key");
        let pair = match alg {
            JwsAlg::RS256 | JwsAlg::RS384 | JwsAlg::PS256 => {
                Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(bytes).map_err(failed)?))
            }
            JwsAlg::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes);
                Pair::Ec(Curve::P256, Box::new(pair.map_err(failed)?))
            }
            JwsAlg::ES384 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, bytes);
                Pair::Ec(Curve::P384, Box::new(pair.map_err(failed)?))
            }
        };
        Ok(JwsSigner { alg, pair })
    }

    /// The algorithm.
    #[must_use]
    pub fn alg(&self) -> JwsAlg {
        self.alg
    }

    /// The public half.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library gives it in another form.
    pub fn public(&self) -> Result<JwsKey, Error> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = modulus_and_exponent(pair.public_key().as_ref())
                    .ok_or(Error::Malformed("public key"))?;
                Ok(JwsKey::Rsa { n, e })
            }
            Pair::Ec(curve, pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point
                    .strip_prefix(&[4])
                    .and_then(|p| p.split_at_checked(curve.size()))
                    .ok_or(Error::Malformed("public key"))?;
                Ok(JwsKey::Ec { curve: *curve, x: x.to_vec(), y: y.to_vec() })
            }
        }
    }

    /// The signature of `message`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Malformed("signature");
        let rng = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let how: &dyn signature::RsaEncoding = match self.alg {
                    JwsAlg::RS384 => &signature::RSA_PKCS1_SHA384,
                    JwsAlg::PS256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(how, &rng, message, &mut out).map_err(failed)?;
                Ok(out)
            }
            Pair::Ec(_, pair) => Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

/// Reads an `RSAPublicKey` (RFC 8017, appendix A.1.1): a sequence of two integers.
fn modulus_and_exponent(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    /// One element with this tag, and what follows it.
    fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (head, rest) = der.split_first_chunk::<2>()?;
        let [found, length] = *head;
        let (length, rest) = if length < 0x80 {
            (usize::from(length), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let of = |all: usize, b: &u8| all.checked_mul(256)?.checked_add(usize::from(*b));
            (bytes.iter().try_fold(0usize, of)?, rest)
        };
        (found == tag).then_some(())?;
        rest.split_at_checked(length)
    }
    let (sequence, _) = element(der, 0x30)?;
    let (n, rest) = element(sequence, 0x02)?;
    let (e, _) = element(rest, 0x02)?;
    let positive = |number: &[u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
    Some((positive(n), positive(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_signs_and_no_other_verifies() {
        for alg in JwsAlg::ALL {
            let bytes = JwsSigner::generate(alg).unwrap();
            let signer = JwsSigner::from_pkcs8(alg, &bytes).unwrap();
            let key = signer.public().unwrap();
            let mut signature = signer.sign(b"head.body").unwrap();
            for other in JwsAlg::ALL {
                let good = key.verify(other, b"head.body", &signature).is_ok();
                assert_eq!(good, other == alg, "{alg:?} as {other:?}");
            }
            assert!(key.verify(alg, b"head.bodY", &signature).is_err());
            signature[3] ^= 1;
            assert!(key.verify(alg, b"head.body", &signature).is_err());
            assert!(key.verify(alg, b"head.body", &[]).is_err());
        }
        assert_eq!(JwsAlg::from_name("none"), None);
        assert_eq!(JwsAlg::from_name("HS256"), None);
    }

    #[test]
    fn a_short_rsa_key_verifies_nothing() {
        let key = JwsKey::Rsa { n: vec![0xff; 128], e: vec![1, 0, 1] };
        assert!(key.verify(JwsAlg::RS384, b"m", &[0; 128]).is_err());
        let point = JwsKey::Ec { curve: Curve::P384, x: vec![1; 48], y: vec![1; 48] };
        assert!(point.verify(JwsAlg::ES384, b"m", &[0; 96]).is_err(), "no point of the curve");
    }

    #[test]
    fn a_signature_of_es256_is_the_published_one() {
        // RFC 7515, appendix A.3.
        let decode = |t: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(t).unwrap()
        };
        let key = JwsKey::Ec {
            curve: Curve::P256,
            x: decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
            y: decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
        };
        let message = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = decode(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        );
        assert!(key.verify(JwsAlg::ES256, message.as_bytes(), &signature).is_ok());
        assert!(key.verify(JwsAlg::ES256, &message.as_bytes()[1..], &signature).is_err());
    }
}
