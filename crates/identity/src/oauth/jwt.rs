//! JSON Web Tokens in compact form and JSON Web Key Sets (RFC 7515, 7517, 7519, with
//! RFC 8725's advice: the algorithm is the caller's choice, never the token's).
//!
//! It refuses `alg: none` and every algorithm that is not asked for, `crit`, keys with a
//! private half, and tokens of more than 16 KiB.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use phial_crypto::{Curve, JwsAlg, JwsKey, JwsSigner};
use serde_json::{Map, Value, json};

/// The longest token, bytes.
const LONGEST: usize = 16 * 1024;
/// The most keys of a set.
const MOST_KEYS: usize = 64;

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// Its name; a set may have keys without.
    pub kid: Option<String>,
    /// The algorithm that it is for, when it says so.
    pub alg: Option<JwsAlg>,
    /// The key.
    pub key: JwsKey,
}

impl Jwk {
    /// Reads one key of a set. `None` for one that is not for checking signatures of the
    /// kinds spoken here; what it can't use, a reader of a set passes over (RFC 7517,
    /// section 5).
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|u| u != "sig") {
            return None;
        }
        if let Some(ops) = value.get("key_ops").and_then(Value::as_array)
            && !ops.iter().any(|o| o == "verify")
        {
            return None;
        }
        let alg = match text("alg") {
            Some(name) => Some(JwsAlg::from_name(name)?),
            None => None,
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let key = match text("kty")? {
            "RSA" => {
                let n = bytes("n")?;
                // 2,048 to 8,192 bits.
                if !(256..=1024).contains(&n.len()) {
                    return None;
                }
                JwsKey::Rsa { n, e: bytes("e")? }
            }
            "EC" => {
                let curve = match text("crv")? {
                    "P-256" => Curve::P256,
                    "P-384" => Curve::P384,
                    _ => return None,
                };
                JwsKey::Ec { curve, x: bytes("x")?, y: bytes("y")? }
            }
            _ => return None,
        };
        if alg.is_some_and(|alg| !key.fits(alg)) {
            return None;
        }
        Some(Jwk { kid: text("kid").map(str::to_owned), alg, key })
    }

    /// As a member of a set.
    #[must_use]
    pub fn written(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut out = match &self.key {
            JwsKey::Rsa { n, e } => json!({"kty": "RSA", "n": b64(n), "e": b64(e)}),
            JwsKey::Ec { curve, x, y } => {
                json!({"kty": "EC", "crv": curve.name(), "x": b64(x), "y": b64(y)})
            }
        };
        if let Some(out) = out.as_object_mut() {
            out.insert("use".to_owned(), "sig".into());
            if let Some(kid) = &self.kid {
                out.insert("kid".to_owned(), kid.as_str().into());
            }
            if let Some(alg) = self.alg {
                out.insert("alg".to_owned(), alg.name().into());
            }
        }
        out
    }
}

/// A set of public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSet(pub Vec<Jwk>);

impl JwkSet {
    /// Reads a set. Keys of other kinds are passed over.
    ///
    /// # Errors
    /// What is wrong with it: it is no set, it has too many keys, or one has a private
    /// half, which belongs with nobody but its owner.
    pub fn read(value: &Value) -> Result<Self, &'static str> {
        let keys = value
            .get("keys")
            .and_then(Value::as_array)
            .ok_or("a key set is an object with an array \"keys\"")?;
        if keys.len() > MOST_KEYS {
            return Err("a key set has 64 keys at most");
        }
        let private = ["d", "p", "q", "dp", "dq", "qi", "k"];
        if keys.iter().any(|k| private.iter().any(|name| k.get(name).is_some())) {
            return Err("the key set has a private key in it: give its public half alone");
        }
        Ok(JwkSet(keys.iter().filter_map(Jwk::read).collect()))
    }

    /// The keys that a token of this header may have been signed with.
    fn fitting(&self, alg: JwsAlg, kid: Option<&str>) -> impl Iterator<Item = &Jwk> {
        self.0.iter().filter(move |k| {
            k.key.fits(alg)
                && k.alg.is_none_or(|a| a == alg)
                && match kid {
                    Some(kid) => k.kid.as_deref() == Some(kid),
                    None => true,
                }
        })
    }

    /// Whether there is a key of this name.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.0.iter().any(|k| k.kid.as_deref() == Some(kid))
    }
}

/// A token that was taken apart; nothing in it is to be believed before
/// [`Jwt::verify`].
#[derive(Debug)]
pub struct Jwt<'t> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Jwt<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn read(token: &'t str) -> Result<Self, &'static str> {
        const FORM: &str = "the token has not the form of a signed JSON Web Token";
        if token.len() > LONGEST {
            return Err("the token is too long");
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
        let (header, claims) = signed.split_once('.').ok_or(FORM)?;
        if claims.contains('.') {
            return Err(FORM);
        }
        let object = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| FORM)?;
            match serde_json::from_slice(&bytes) {
                Ok(Value::Object(map)) => Ok(map),
                _ => Err(FORM),
            }
        };
        let header = object(header)?;
        if header.contains_key("crit") {
            return Err("the token's header has crit, of which nothing is understood here");
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| FORM)?;
        Ok(Jwt { header, claims: object(claims)?, signed, signature })
    }

    /// The name of the key that it says it was signed with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// The algorithm that it says it was signed by, when that is one that is spoken here.
    #[must_use]
    pub fn alg(&self) -> Option<JwsAlg> {
        self.header("alg").and_then(JwsAlg::from_name)
    }

    /// A member of the header, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// A claim that nobody has vouched for yet: whose keys to look for.
    #[must_use]
    pub fn claimed(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Checks the signature by one of the algorithms that are allowed, and gives the
    /// claims.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(
        &self,
        keys: &JwkSet,
        allowed: &[JwsAlg],
    ) -> Result<&Map<String, Value>, &'static str> {
        let name = self.header.get("alg").and_then(Value::as_str).unwrap_or("");
        if name.eq_ignore_ascii_case("none") {
            return Err("the token is not signed (alg none)");
        }
        let alg = JwsAlg::from_name(name)
            .filter(|a| allowed.contains(a))
            .ok_or("the token is signed by an algorithm that is not taken here")?;
        let mut fitting = keys.fitting(alg, self.kid()).peekable();
        if fitting.peek().is_none() {
            return Err("no registered key has the name (kid) and kind that the token says");
        }
        if fitting.any(|k| k.key.verify(alg, self.signed.as_bytes(), &self.signature).is_ok()) {
            Ok(&self.claims)
        } else {
            Err("the token's signature does not verify")
        }
    }
}

/// Whether the claim `aud` names this audience and nobody else.
pub(crate) fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => all.len() == 1 && all.iter().all(|a| a == audience),
        _ => false,
    }
}

/// A claim that is a time: seconds since the epoch.
pub(crate) fn moment(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let number = claims.get(name)?;
    let seconds = match number.as_i64() {
        Some(n) => n,
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second counts not")]
        None => number.as_f64().filter(|f| f.abs() < 1e12)? as i64,
    };
    Timestamp::from_second(seconds).ok()
}

/// A signed token with these claims.
///
/// # Errors
/// [`phial_crypto::Error`] when the library fails.
pub(crate) fn signed(
    signer: &JwsSigner,
    kid: &str,
    claims: &Value,
) -> Result<String, phial_crypto::Error> {
    let header = json!({"alg": signer.alg().name(), "kid": kid, "typ": "JWT"});
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes())?);
    Ok(format!("{message}.{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(alg: JwsAlg, kid: &str) -> (JwsSigner, Jwk) {
        let signer = JwsSigner::from_pkcs8(alg, &JwsSigner::generate(alg).unwrap()).unwrap();
        let key = signer.public().unwrap();
        (signer, Jwk { kid: Some(kid.into()), alg: Some(alg), key })
    }

    #[test]
    fn a_token_verifies_by_its_own_key_and_algorithm_only() {
        let (signer, jwk) = key(JwsAlg::ES384, "a");
        let (_, other) = key(JwsAlg::ES384, "b");
        let set = JwkSet::read(&json!({"keys": [jwk.written(), other.written()]})).unwrap();
        assert_eq!(set.0, [jwk.clone(), other.clone()]);
        let token = signed(&signer, "a", &json!({"iss": "me"})).unwrap();
        let jwt = Jwt::read(&token).unwrap();
        assert_eq!(jwt.verify(&set, &[JwsAlg::ES384]).unwrap()["iss"], "me");
        assert!(jwt.verify(&set, &[JwsAlg::RS384]).is_err(), "not an algorithm that is taken");
        assert!(jwt.verify(&JwkSet(vec![other]), &[JwsAlg::ES384]).is_err(), "no such kid");
        let same_name = Jwk { kid: Some("a".into()), ..set.0[1].clone() };
        assert!(jwt.verify(&JwkSet(vec![same_name]), &[JwsAlg::ES384]).is_err());
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        for header in [json!({"alg": "none"}), json!({"alg": "HS384", "kid": "a"}), json!({})] {
            let forged = format!("{}.{}.", part(&header), part(&json!({"iss": "me"})));
            assert!(Jwt::read(&forged).unwrap().verify(&set, &JwsAlg::ALL).is_err(), "{header}");
        }
        let crit = json!({"alg": "ES384", "kid": "a", "crit": ["x"]});
        assert!(Jwt::read(&format!("{}.{}.", part(&crit), part(&json!({})))).is_err());
        let other_claims = format!(
            "{}.{}.{}",
            token.split('.').next().unwrap(),
            part(&json!({"iss": "you"})),
            token.rsplit('.').next().unwrap()
        );
        assert!(Jwt::read(&other_claims).unwrap().verify(&set, &JwsAlg::ALL).is_err());
    }

    #[test]
    fn a_set_with_a_private_key_is_refused_and_foreign_keys_are_passed_over() {
        let (_, jwk) = key(JwsAlg::ES256, "a");
        let mut private = jwk.written();
        private["d"] = "AAAA".into();
        assert!(JwkSet::read(&json!({"keys": [private]})).is_err());
        assert!(JwkSet::read(&json!({"kty": "EC"})).is_err());
        let foreign = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
            {"kty": "RSA", "n": "AAAA", "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "use": "enc"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "alg": "ES384"},
            jwk.written(),
        ]});
        assert_eq!(JwkSet::read(&foreign).unwrap().0, [jwk]);
    }

    #[test]
    fn an_audience_is_one() {
        let for_us = |aud: Value| {
            let claims = json!({"aud": aud});
            is_for(claims.as_object().unwrap(), "https://us/token")
        };
        assert!(for_us(json!("https://us/token")) && for_us(json!(["https://us/token"])));
        for bad in [json!("https://us"), json!([]), json!(["https://us/token", "x"]), json!(1)] {
            assert!(!for_us(bad));
        }
    }
}
