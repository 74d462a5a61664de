//! The register of apps and services, one record each in the tenant's control log.
//!
//! It refuses a redirect URI that is not exact and safe, a confidential client or a
//! service without a way to prove itself, a public one with a secret, and a key set with
//! a private key. A secret is kept as its SHA-256: it has 256 random bits, so that there
//! is nothing to guess.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use phial_base::{Purpose, Rng, SubjectId};
use phial_crypto::{JwsAlg, constant_time_eq, sha256};
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::jwt::JwkSet;
use super::subject::CertificateName;
use super::wanted::Wanted;
use crate::error::Error;

const KIND: &str = "client";
/// How a client's secret begins, so that scanners for leaked secrets can know it.
const SECRET_PREFIX: &str = "phial_cs_";
/// The most redirect URIs of one app.
const MOST_URIS: usize = 16;

/// What kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// An app that can keep no secret: in a browser or on a phone.
    Public,
    /// An app with a server of its own, which proves itself.
    Confidential,
    /// A service that acts under an account of its own, without a person.
    Service,
}

impl ClientKind {
    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ClientKind::Public => "public",
            ClientKind::Confidential => "confidential",
            ClientKind::Service => "service",
        }
    }
}

/// An app or a service. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its unique name: `client_id`.
    pub id: String,
    /// What people read.
    pub name: String,
    /// What kind it is.
    pub kind: ClientKind,
    /// Where answers may go, letter by letter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// Where a launch from an EHR begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_uri: Option<String>,
    /// The most that it may ask for.
    pub scopes: String,
    /// Its public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where its public keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// SHA-256 of its secret, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// A service's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<SubjectId>,
    /// What a service acts for; its account's first purpose when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// SHA-256 of the certificates by which it may prove itself (RFC 8705), hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// The name of certificates by which it may prove itself, when a CA vouches for them
    /// (RFC 8705 section 2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_name: Option<CertificateName>,
    /// The algorithm of its id_tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token_alg: Option<String>,
    /// Whether it registered itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dynamic: bool,
    /// Whether it waits for an administrator's word: until then it may do nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// False once removed: its tickets open nothing.
    pub active: bool,
}

impl Client {
    /// Whether it is one that may ask: neither removed nor waiting for somebody's word.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.active && !self.waits
    }

    /// The most that it may ask for.
    #[must_use]
    pub fn limits(&self, is_query: &dyn Fn(&str, &str) -> bool) -> Wanted {
        Wanted::read(&self.scopes, is_query)
    }

    /// Its own keys, when they are in the record.
    #[must_use]
    pub fn keys(&self) -> Option<JwkSet> {
        JwkSet::read(self.jwks.as_ref()?).ok()
    }

    /// The algorithm of its id_tokens.
    #[must_use]
    pub fn id_token_alg(&self) -> JwsAlg {
        self.id_token_alg.as_deref().and_then(JwsAlg::from_name).unwrap_or(JwsAlg::RS256)
    }

    /// Whether this is its secret. Takes the same time whatever is given.
    #[must_use]
    pub fn knows_secret(&self, given: &str) -> bool {
        let digest = sha256(given.as_bytes());
        let kept = self.secret.as_deref().and_then(|s| hex::decode(s).ok()).unwrap_or_default();
        constant_time_eq(&digest, &kept)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let id = &self.id;
        let good = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !good {
            return Err("a client's name is 1 to 64 of A-Z a-z 0-9 - . _");
        }
        let text = self.name.trim();
        if text.is_empty() || text.chars().count() > 80 || text.chars().any(char::is_control) {
            return Err("say in 1 to 80 characters what people are to read (--name)");
        }
        if self.scopes.split(' ').any(|w| !Wanted::is_scope(w)) {
            return Err("a scope has not one of the forms that there are: \
                        openid fhirUser profile launch launch/patient launch/encounter \
                        online_access offline_access scim patient/TYPE.rs user/TYPE.cruds \
                        system/TYPE.rs");
        }
        if let Some(jwks) = &self.jwks {
            let set = JwkSet::read(jwks)?;
            if set.0.is_empty() {
                return Err("no key of the set can be used: RSA of 2,048 bits or more, P-256 or \
                            P-384");
            }
            if set.0.iter().any(|k| k.kid.is_none()) {
                return Err("every key needs a name (kid)");
            }
        }
        for certificate in &self.certificates {
            if certificate.len() != 64 || hex::decode(certificate).is_err() {
                return Err("a certificate is named by its SHA-256, 64 hexadecimal digits");
            }
        }
        if let Some(name) = &self.certificate_name {
            name.check()?;
        }
        let proofs = self.jwks.is_some()
            || self.jwks_uri.is_some()
            || !self.certificates.is_empty()
            || self.certificate_name.is_some();
        if self.jwks.is_some() && self.jwks_uri.is_some() {
            return Err("give the keys or where they are, not both");
        }
        match self.kind {
            ClientKind::Public if proofs || self.secret.is_some() => {
                return Err("a public app proves itself by nothing: make it confidential");
            }
            ClientKind::Confidential if !proofs && self.secret.is_none() => {
                return Err("a confidential app needs keys (--jwks, --jwks-uri) or a secret \
                            (--secret)");
            }
            ClientKind::Service if self.secret.is_some() => {
                return Err("a service proves itself by its keys or its certificate, not by a \
                            shared secret");
            }
            ClientKind::Service if !proofs => {
                return Err("a service needs keys (--jwks, --jwks-uri) or a certificate \
                            (--certificate, --certificate-name)");
            }
            ClientKind::Service if self.account.is_none() => {
                return Err("a service acts under an account: --account NAME");
            }
            ClientKind::Service if !self.redirect_uris.is_empty() => {
                return Err("a service has no redirect URIs");
            }
            _ => {}
        }
        if self.kind != ClientKind::Service {
            if self.account.is_some() {
                return Err("an app acts for whoever uses it, not under an account of its own");
            }
            if self.redirect_uris.is_empty() || self.redirect_uris.len() > MOST_URIS {
                return Err("an app needs 1 to 16 redirect URIs");
            }
        }
        for uri in &self.redirect_uris {
            redirect(uri)?;
        }
        if let Some(uri) = &self.launch_uri {
            web(uri).ok_or("a launch URI is https://...")?;
        }
        if let Some(alg) = &self.id_token_alg
            && !matches!(alg.as_str(), "RS256" | "ES384")
        {
            return Err("an id_token is signed by RS256 or ES384");
        }
        Ok(())
    }
}

/// Whether a URI is `https` with a host, without user, fragment or blanks; on this machine
/// itself `http` will do (RFC 8252 section 8.3).
fn web(uri: &str) -> Option<()> {
    let rest = match uri.strip_prefix("https://") {
        Some(rest) => rest,
        None => {
            let rest = uri.strip_prefix("http://")?;
            let host = rest.split(['/', '?']).next()?;
            let name = match host.strip_prefix('[') {
                Some(six) => six.split(']').next()?,
                None => host.split(':').next()?,
            };
            matches!(name, "localhost" | "127.0.0.1" | "::1").then_some(rest)?
        }
    };
    let host = rest.split(['/', '?']).next()?;
    (!host.is_empty() && !host.contains('@')).then_some(())
}

/// Whether answers may be sent there.
pub(super) fn redirect(uri: &str) -> Result<(), &'static str> {
    let plain = uri.len() <= 2048
        && uri.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    if !plain || uri.contains('#') || uri.contains('*') {
        return Err("a redirect URI has no fragment, no wildcard and no blank");
    }
    if web(uri).is_some() {
        return Ok(());
    }
    // A scheme of the app's own, which is a domain name backwards (RFC 8252 section 7.1).
    let (scheme, rest) = uri.split_once(':').ok_or("a redirect URI is https://...")?;
    let own = scheme.contains('.')
        && scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        && rest.starts_with('/');
    if own {
        Ok(())
    } else {
        Err(
            "a redirect URI is https://..., a scheme of the app's own such as com.example.app:/, or \
             http://127.0.0.1 on this machine itself",
        )
    }
}

/// What a registration came to.
pub struct New {
    /// The client.
    pub client: Client,
    /// Its secret, which can't be shown again.
    pub secret: Option<Zeroizing<String>>,
}

/// The register of one tenant.
pub struct Clients<'a> {
    control: &'a ControlLog,
}

impl<'a> Clients<'a> {
    /// The register in this control log.
    #[must_use]
    pub fn new(control: &'a ControlLog) -> Self {
        Clients { control }
    }

    /// Registers a client; with `with_secret` it gets one.
    ///
    /// # Errors
    /// [`Error::Client`] saying what is wrong with it, or a store's.
    pub fn add(&self, mut client: Client, with_secret: bool, rng: &dyn Rng) -> Result<New, Error> {
        let secret = with_secret.then(|| secret(rng));
        client.secret = secret.as_ref().map(|s| hex::encode(sha256(s.as_bytes())));
        client.check().map_err(Error::Client)?;
        if self.find(&client.id)?.is_some_and(|c| c.active) {
            return Err(Error::Client("there is a client of that name already"));
        }
        let before = self.control.get(KIND, &client.id)?.map(|r| r.version);
        self.write(&client, before)?;
        Ok(New { client, secret })
    }

    /// Changes a client.
    ///
    /// # Errors
    /// As [`Clients::add`], and [`Error::NoClient`].
    pub fn change(&self, client: &Client) -> Result<(), Error> {
        client.check().map_err(Error::Client)?;
        let before = self.control.get(KIND, &client.id)?.ok_or(Error::NoClient)?;
        self.write(client, Some(before.version))
    }

    /// Gives a client another secret; the one before is good no more.
    ///
    /// # Errors
    /// As [`Clients::change`].
    pub fn rotate(&self, id: &str, rng: &dyn Rng) -> Result<New, Error> {
        let mut client = self.find(id)?.filter(|c| c.active).ok_or(Error::NoClient)?;
        if client.secret.is_none() {
            return Err(Error::Client(
                "it has no secret: change its keys with --jwks, or at its jwks_uri",
            ));
        }
        let secret = secret(rng);
        client.secret = Some(hex::encode(sha256(secret.as_bytes())));
        self.change(&client)?;
        Ok(New { client, secret: Some(secret) })
    }

    fn write(&self, client: &Client, replaced: Option<phial_base::Version>) -> Result<(), Error> {
        let value = serde_json::to_value(client).map_err(|_| Error::DamagedClient)?;
        self.control.put(KIND, &client.id, &value, replaced)?;
        Ok(())
    }

    /// The client of this name, removed or not.
    ///
    /// # Errors
    /// A store's, or [`Error::DamagedClient`].
    pub fn find(&self, id: &str) -> Result<Option<Client>, Error> {
        match self.control.get(KIND, id)? {
            Some(record) => {
                serde_json::from_value(record.value).map(Some).map_err(|_| Error::DamagedClient)
            }
            None => Ok(None),
        }
    }

    /// All clients, by name.
    ///
    /// # Errors
    /// As [`Clients::find`].
    pub fn all(&self) -> Result<Vec<Client>, Error> {
        self.control
            .list(KIND)?
            .into_iter()
            .map(|r| serde_json::from_value(r.value).map_err(|_| Error::DamagedClient))
            .collect()
    }
}

fn secret(rng: &dyn Rng) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    rng.fill(bytes.as_mut());
    Zeroizing::new(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(kind: ClientKind) -> Client {
        Client {
            id: "app".into(),
            name: "An app".into(),
            kind,
            redirect_uris: vec!["https://app.example/cb".into()],
            launch_uri: None,
            scopes: "openid launch/patient patient/*.rs".into(),
            jwks: None,
            jwks_uri: None,
            secret: None,
            account: None,
            purpose: None,
            certificates: Vec::new(),
            certificate_name: None,
            id_token_alg: None,
            dynamic: false,
            waits: false,
            active: true,
        }
    }

    #[test]
    fn redirect_uris_are_safe_and_exact() {
        for good in [
            "https://app.example/cb",
            "https://app.example:8443/cb?x=1",
            "http://127.0.0.1:3000/cb",
            "http://localhost/cb",
            "http://[::1]:9/cb",
            "com.example.app:/cb",
        ] {
            assert_eq!(redirect(good), Ok(()), "{good}");
        }
        for bad in [
            "http://app.example/cb",
            "https://app.example/cb#x",
            "https://*.example/cb",
            "https://u@app.example/cb",
            "https://",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:/cb",
            "//app.example/cb",
            "https://app.example/a b",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1@evil.example/cb",
        ] {
            assert!(redirect(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_client_has_what_its_kind_needs_and_nothing_else() {
        assert_eq!(app(ClientKind::Public).check(), Ok(()));
        assert!(app(ClientKind::Confidential).check().is_err(), "nothing to prove itself by");
        assert!(app(ClientKind::Service).check().is_err());
        let mut secret = app(ClientKind::Confidential);
        secret.secret = Some(hex::encode(sha256(b"s")));
        assert_eq!(secret.check(), Ok(()));
        assert!(secret.knows_secret("s") && !secret.knows_secret("t"));
        assert!(!app(ClientKind::Public).knows_secret(""));
        let mut service = app(ClientKind::Service);
        service.redirect_uris.clear();
        service.certificates = vec!["ab".repeat(32)];
        service.account = Some(SubjectId::new("svc").unwrap());
        assert_eq!(service.check(), Ok(()));
        for change in [
            (|c: &mut Client| c.scopes = "openid admin".into()) as fn(&mut Client),
            |c| c.id = "a b".into(),
            |c| c.name = "\u{7}".into(),
            |c| c.certificates = vec!["zz".into()],
            |c| c.account = None,
            |c| c.id_token_alg = Some("HS256".into()),
            |c| c.launch_uri = Some("ftp://x".into()),
        ] {
            let mut bad = service.clone();
            change(&mut bad);
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let mut client = app(ClientKind::Public);
        client.dynamic = true;
        let text = concat!(
            r#"{"id":"app","name":"An app","kind":"public","#,
            r#""redirect_uris":["https://app.example/cb"],"#,
            r#""scopes":"openid launch/patient patient/*.rs","dynamic":true,"active":true}"#
        );
        assert_eq!(serde_json::to_string(&client).unwrap(), text);
        assert_eq!(serde_json::from_str::<Client>(text).unwrap(), client);
        client.certificate_name = Some(CertificateName::parse("subject_dn=CN=a").unwrap());
        client.waits = true;
        let text = serde_json::to_string(&client).unwrap();
        let later = concat!(
            r#""certificate_name":{"kind":"subject_dn","value":"CN=a"},"#,
            r#""dynamic":true,"waits":true,"active":true}"#
        );
        assert!(text.ends_with(later), "{text}");
    }
}
