//! What an id_token has to be before anything in it counts (OpenID Connect Core 1.0
//! sections 2, 3.1.3.7 and 3.1.3.8).
//!
//! Each refusal is a sentence about a place in the token; none repeats what stands there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use phial_crypto::{JwsAlg, constant_time_eq};
use serde_json::{Map, Value};

use crate::oauth::{JwkSet, Jwt};

/// How far the provider's clock may be from this one's.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// The longest name of a person at a provider (OpenID Connect Core section 2).
const LONGEST_SUBJECT: usize = 255;

/// What an id_token is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The provider's own name, letter by letter.
    pub issuer: &'a str,
    /// This server's name at the provider.
    pub client_id: &'a str,
    /// The mark that went with the request.
    pub nonce: &'a str,
    /// The access token that came along.
    pub access_token: Option<&'a str>,
    /// When the person has to have shown who it is, at the earliest.
    pub since: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Who came, as the provider says.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The person's name there, which is nobody else's ever (`sub`).
    pub subject: String,
    claims: Map<String, Value>,
}

impl Proven {
    /// Reads and checks a token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Self, &'static str> {
        let jwt = Jwt::read(token)?;
        let claims = jwt.verify(keys, &JwsAlg::ALL)?;
        let alg = jwt.alg().ok_or("the token is signed by an algorithm that is not taken here")?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(expected.issuer) {
            return Err("iss is not the provider");
        }
        audience(claims, expected.client_id)?;
        times(claims, expected)?;
        let nonce = text("nonce").ok_or("the id_token has no nonce")?;
        if !constant_time_eq(nonce.as_bytes(), expected.nonce.as_bytes()) {
            return Err("nonce is that of another request");
        }
        if let Some(said) = claims.get("at_hash") {
            let token = expected.access_token.ok_or("at_hash, and no access token came along")?;
            let digest = alg.digest(token.as_bytes());
            let half = digest.get(..digest.len() / 2).unwrap_or_default();
            let ours = URL_SAFE_NO_PAD.encode(half);
            let said = said.as_str().unwrap_or("");
            if !constant_time_eq(said.as_bytes(), ours.as_bytes()) {
                return Err("at_hash is not that of the access token");
            }
        }
        let subject = text("sub").unwrap_or("");
        let good = (1..=LONGEST_SUBJECT).contains(&subject.len())
            && subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if !good {
            return Err("sub is missing, or has not the form of one");
        }
        Ok(Proven { subject: subject.to_owned(), claims: claims.clone() })
    }

    /// What the provider says under this name: a claim, or with a slash before it a place in
    /// a claim (RFC 6901), such as `/realm_access/roles`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        match self.claims.get(name) {
            Some(found) => Some(found),
            None => {
                let rest = name.strip_prefix('/')?;
                let (first, rest) = rest.split_once('/')?;
                let first = first.replace("~1", "/").replace("~0", "~");
                self.claims.get(&first)?.pointer(&format!("/{rest}"))
            }
        }
    }

    /// Whether the person showed a second factor there: by one of these classes (`acr`), or
    /// one of these methods (`amr`, RFC 8176). Nothing listed, nothing believed.
    #[must_use]
    pub fn showed_second(&self, classes: &[String], methods: &[String]) -> bool {
        let class = self.claims.get("acr").and_then(Value::as_str);
        let used = self.claims.get("amr").and_then(Value::as_array);
        class.is_some_and(|c| classes.iter().any(|known| known == c))
            || used
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .any(|u| methods.iter().any(|known| known == u))
    }
}

/// It is for this server, and if for others too, it was given to this one.
fn audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), &'static str> {
    let all: Vec<&Value> = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    if !all.iter().any(|a| *a == client_id) {
        return Err("aud is not this server");
    }
    let party = claims.get("azp").and_then(Value::as_str);
    if all.len() > 1 && party.is_none() {
        return Err("aud names others too, and no azp says whom it was given to");
    }
    if claims.contains_key("azp") && party != Some(client_id) {
        return Err("azp is not this server");
    }
    Ok(())
}

fn times(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), &'static str> {
    let at = |name: &str| crate::oauth::moment(claims, name);
    let now = expected.now;
    let expires = at("exp").ok_or("the id_token does not say when it ends (exp)")?;
    if now.duration_since(expires) >= LEEWAY {
        return Err("the id_token has ended (exp)");
    }
    let issued = at("iat").ok_or("the id_token does not say when it was made (iat)")?;
    if issued.duration_since(now) > LEEWAY {
        return Err("the id_token is of a time to come (iat)");
    }
    if at("nbf").is_some_and(|from| from.duration_since(now) > LEEWAY) {
        return Err("the id_token is of a time to come (nbf)");
    }
    if let Some(since) = expected.since {
        let shown = at("auth_time").ok_or("nothing says when the person logged in (auth_time)")?;
        if since.duration_since(shown) > LEEWAY {
            return Err("the person logged in too long ago (auth_time)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use phial_crypto::JwsSigner;
    use serde_json::json;

    use super::*;
    use crate::oauth::{Jwk, signed};

    struct Provider {
        signer: JwsSigner,
        keys: JwkSet,
    }

    fn provider(alg: JwsAlg) -> Provider {
        let signer = JwsSigner::from_pkcs8(alg, &JwsSigner::generate(alg).unwrap()).unwrap();
        let key = signer.public().unwrap();
        Provider { signer, keys: JwkSet(vec![Jwk { kid: Some("k".into()), alg: None, key }]) }
    }

    const NOW: i64 = 1_800_000_000;

    fn expected() -> Expected<'static> {
        Expected {
            issuer: "https://idp.example",
            client_id: "phial",
            nonce: "n-1",
            access_token: Some("at-1"),
            since: None,
            now: Timestamp::from_second(NOW).unwrap(),
        }
    }

    fn good() -> Value {
        json!({"iss": "https://idp.example", "aud": "phial", "sub": "248289761001",
            "exp": NOW + 300, "iat": NOW, "nonce": "n-1"})
    }

    fn read(p: &Provider, claims: &Value, e: &Expected<'_>) -> Result<Proven, &'static str> {
        Proven::read(&signed(&p.signer, "k", claims).unwrap(), &p.keys, e)
    }

    #[test]
    fn a_token_that_is_as_it_should_be_names_a_person_by_every_algorithm() {
        for alg in JwsAlg::ALL {
            let p = provider(alg);
            let mut claims = good();
            let digest = alg.digest(b"at-1");
            claims["at_hash"] = URL_SAFE_NO_PAD.encode(&digest[..digest.len() / 2]).into();
            let proven = read(&p, &claims, &expected()).unwrap();
            assert_eq!(proven.subject, "248289761001", "{alg:?}");
            claims["at_hash"] = "AAAA".into();
            assert!(read(&p, &claims, &expected()).unwrap_err().contains("at_hash"));
        }
    }

    #[test]
    fn whatever_is_otherwise_is_refused_by_its_place() {
        let p = provider(JwsAlg::ES256);
        let e = expected();
        for (name, value, place) in [
            ("iss", json!("https://idp.example/"), "iss"),
            ("iss", Value::Null, "iss"),
            ("aud", json!("other"), "aud"),
            ("aud", json!(["phial", "other"]), "azp"),
            ("aud", json!([]), "aud"),
            ("azp", json!("other"), "azp"),
            ("azp", json!(1), "azp"),
            ("exp", json!(NOW - 61), "exp"),
            ("exp", Value::Null, "exp"),
            ("exp", json!("soon"), "exp"),
            ("iat", json!(NOW + 62), "iat"),
            ("iat", Value::Null, "iat"),
            ("nbf", json!(NOW + 62), "nbf"),
            ("nonce", json!("n-2"), "nonce"),
            ("nonce", Value::Null, "nonce"),
            ("at_hash", json!("xx"), "at_hash"),
            ("sub", json!(""), "sub"),
            ("sub", json!("a\nb"), "sub"),
            ("sub", json!("x".repeat(256)), "sub"),
            ("sub", json!(7), "sub"),
        ] {
            let mut claims = good();
            match value.clone() {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value,
            }
            let why = read(&p, &claims, &e).unwrap_err();
            assert!(why.contains(place), "{name}={value}: {why}");
        }
        // A little apart the clocks may be.
        let mut claims = good();
        claims["exp"] = json!(NOW - 59);
        claims["iat"] = json!(NOW + 59);
        claims["aud"] = json!(["phial", "other"]);
        claims["azp"] = json!("phial");
        assert!(read(&p, &claims, &e).is_ok());
        let other = provider(JwsAlg::ES256);
        let token = signed(&other.signer, "k", &good()).unwrap();
        assert!(Proven::read(&token, &p.keys, &e).unwrap_err().contains("signature"));
        let token = signed(&p.signer, "q", &good()).unwrap();
        assert!(Proven::read(&token, &p.keys, &e).unwrap_err().contains("kid"));
    }

    #[test]
    fn a_person_who_is_to_prove_it_once_more_did_so_just_now() {
        let p = provider(JwsAlg::ES384);
        let since = Some(Timestamp::from_second(NOW - 300).unwrap());
        let e = Expected { since, ..expected() };
        for (auth_time, good_enough) in
            [(json!(NOW - 10), true), (json!(NOW - 359), true), (json!(NOW - 361), false)]
        {
            let mut claims = good();
            claims["auth_time"] = auth_time.clone();
            assert_eq!(read(&p, &claims, &e).is_ok(), good_enough, "{auth_time}");
        }
        assert!(read(&p, &good(), &e).unwrap_err().contains("auth_time"));
    }

    #[test]
    fn claims_are_found_by_name_or_by_place_and_a_second_factor_only_where_listed() {
        let p = provider(JwsAlg::ES256);
        let mut claims = good();
        claims["https://x.example/roles"] = json!(["a"]);
        claims["realm_access"] = json!({"roles": ["b"]});
        claims["acr"] = json!("urn:mfa");
        claims["amr"] = json!(["pwd", "otp"]);
        let proven = read(&p, &claims, &expected()).unwrap();
        assert_eq!(proven.claim("https://x.example/roles"), Some(&json!(["a"])));
        assert_eq!(proven.claim("/realm_access/roles"), Some(&json!(["b"])));
        assert_eq!(proven.claim("/absent/roles"), None);
        assert_eq!(proven.claim("roles"), None);
        let list = |all: &[&str]| all.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        for (acr, amr, shown) in [
            (list(&["urn:mfa"]), list(&[]), true),
            (list(&[]), list(&["otp", "hwk"]), true),
            (list(&["urn:other"]), list(&["hwk"]), false),
            (list(&[]), list(&[]), false),
        ] {
            assert_eq!(proven.showed_second(&acr, &amr), shown, "{acr:?} {amr:?}");
        }
    }
}
