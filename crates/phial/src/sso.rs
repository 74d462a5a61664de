//! Identity providers as this server asks them: what they say of themselves (OpenID Connect
//! Discovery 1.0), and what they give for a code (OpenID Connect Core 1.0 section 3.1.3).
//! What is believed of it is decided in `phial_identity::sso`; who may log in, by the page.
//!
//! It asks the issuer's own host and those that the operator listed beside it, over TLS
//! whose CAs the operator named, follows no redirect, and reads a secret from a file that is
//! for its owner alone, each time anew. It refuses a provider that calls itself otherwise
//! than it was configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use phial_base::{Sensitive, TenantId};
use phial_crypto::JwsAlg;
use phial_engine::Endpoint;
use phial_identity::sso::{Expected, Proven};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use reqwest::Url;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::app::{App, private_file};
use crate::config::{Authentication, Config, Provider};
use crate::http::outgoing::{self, Asked};

/// How long what a provider says of itself is believed.
const FRESH: SignedDuration = SignedDuration::from_mins(15);
/// When it can't be had anew, the one before counts for so long.
const STALE: SignedDuration = SignedDuration::from_hours(24);
/// It is asked again no sooner.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// How long an assertion of ours holds, seconds.
const ASSERTION_S: i64 = 60;

/// Whether the roles that providers may give are roles.
///
/// # Errors
/// Naming the one that is none.
pub(crate) fn check(config: &Config, policy: &PolicySet) -> anyhow::Result<()> {
    for (name, provider) in &config.sso {
        for role in provider.roles.values() {
            let known = policy.roles().any(|r| *r.name == **role);
            ensure!(known, "phial.toml: sso.{name}.roles gives {role}, which is no role");
        }
    }
    Ok(())
}

/// What a provider says of itself, as far as it is used.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Where browsers are sent.
    pub(crate) authorization: Url,
    /// As the provider writes it: assertions of ours name it letter by letter.
    token: String,
    keys: String,
    /// Whether its answers say who answers (RFC 9207).
    pub(crate) says_issuer: bool,
    /// Algorithms that assertions may be signed by; none are said when all will do.
    algs: Vec<String>,
}

/// Whom to ask about a provider.
pub(crate) fn asked(app: &App, provider: &Provider) -> Asked {
    let own = Endpoint::parse(&provider.issuer).map(|e| e.authority());
    let hosts = own.into_iter().chain(provider.hosts.iter().cloned()).collect();
    Asked { hosts, ca: provider.ca.as_ref().map(|ca| app.home.root().join(ca)) }
}

impl Metadata {
    fn read(value: &Value, provider: &Provider, asked: &Asked) -> Result<Self, &'static str> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if text("issuer") != Some(provider.issuer.as_str()) {
            return Err("the provider calls itself otherwise than it is configured (issuer)");
        }
        let endpoint = |name: &str, why: &'static str| {
            let among = |t: &&str| Endpoint::parse(t).is_some_and(|e| e.is_among(&asked.hosts));
            text(name).filter(among).map(str::to_owned).ok_or(why)
        };
        const PLACE: &str = "authorization_endpoint has not the form of one, or is on a host that \
                             is not listed (hosts)";
        let authorization = text("authorization_endpoint").and_then(|t| Url::parse(t).ok());
        let authorization = authorization.filter(|u| is_page(u, asked)).ok_or(PLACE)?;
        let algs = value.get("token_endpoint_auth_signing_alg_values_supported");
        Ok(Metadata {
            authorization,
            token: endpoint("token_endpoint", "token_endpoint is on no host that is listed")?,
            keys: endpoint("jwks_uri", "jwks_uri is on no host that is listed")?,
            says_issuer: value
                .get("authorization_response_iss_parameter_supported")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            algs: algs
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|a| a.as_str().map(str::to_owned))
                .collect(),
        })
    }

    /// What an assertion of ours is signed by.
    fn alg(&self) -> Option<JwsAlg> {
        let takes = |a: JwsAlg| self.algs.is_empty() || self.algs.iter().any(|n| n == a.name());
        [JwsAlg::RS256, JwsAlg::ES384].into_iter().find(|a| takes(*a))
    }
}

/// Whether browsers may be sent there: a query it may have of its own.
fn is_page(url: &Url, asked: &Asked) -> bool {
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    let port = url.port_or_known_default().unwrap_or(443);
    let place = url.host_str().and_then(|h| Endpoint::parse(&format!("https://{h}:{port}/")));
    plain && place.is_some_and(|p| p.is_among(&asked.hosts))
}

#[derive(Clone)]
struct Kept {
    /// When it was asked last.
    tried: Timestamp,
    /// What it said last, and when; or why nothing is known.
    said: Result<(Timestamp, Arc<Metadata>), &'static str>,
}

/// What providers said of themselves.
#[derive(Default)]
pub(crate) struct Discovered {
    kept: Mutex<HashMap<String, (Provider, Kept)>>,
}

impl Discovered {
    /// What the provider of this name says.
    ///
    /// # Errors
    /// Why nothing is known of it.
    pub(crate) async fn of(
        &self,
        app: &App,
        name: &str,
        provider: &Provider,
    ) -> Result<Arc<Metadata>, &'static str> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = app.clock.now();
        // Configured otherwise, it is another one.
        let kept = lock().get(name).filter(|(p, _)| p == provider).map(|(_, kept)| kept.clone());
        let mut old = None;
        if let Some(kept) = kept {
            let rests = now.duration_since(kept.tried) < AGAIN;
            match kept.said {
                Ok((at, metadata))
                    if now.duration_since(at) < if rests { STALE } else { FRESH } =>
                {
                    return Ok(metadata);
                }
                // Whoever tries makes this server call nobody who is out of order.
                Err(why) if rests => return Err(why),
                Ok(said) => old = Some(said),
                Err(_) => {}
            }
        }
        let asked = asked(app, provider);
        let base = provider.issuer.trim_end_matches('/');
        let uri = format!("{base}/.well-known/openid-configuration");
        let read = match outgoing::fetch(&asked, &uri).await {
            Ok(value) => Metadata::read(&value, provider, &asked),
            Err(why) => Err(why),
        };
        let said = match (read, old) {
            (Ok(metadata), _) => Ok((now, Arc::new(metadata))),
            (Err(_), Some((at, metadata))) if now.duration_since(at) < STALE => Ok((at, metadata)),
            (Err(why), _) => Err(why),
        };
        let kept = Kept { tried: now, said: said.clone() };
        lock().insert(name.to_owned(), (provider.clone(), kept));
        said.map(|(_, metadata)| metadata)
    }
}

/// A code, and what went with the request for it.
pub(crate) struct Answer<'a> {
    pub(crate) code: &'a str,
    pub(crate) verifier: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) nonce: &'a str,
    /// When the person has to have shown who it is, at the earliest.
    pub(crate) since: Option<Timestamp>,
}

/// Who came: a code is exchanged, and what is given for it looked through.
///
/// # Errors
/// Why that is nobody, in words that hold no value.
pub(crate) async fn proven(
    app: &App,
    control: &ControlLog,
    tenant: &TenantId,
    (provider, metadata): (&Provider, &Metadata),
    answer: &Answer<'_>,
) -> Result<Proven, &'static str> {
    let given = exchange(app, control, tenant, provider, metadata, answer).await?;
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    let token = text("id_token").ok_or("the provider gives no id_token")?;
    let kid = phial_identity::oauth::Jwt::read(token)?.kid().map(str::to_owned);
    let now = app.clock.now();
    let asked = asked(app, provider);
    let keys = app.key_sets.at(&asked, &metadata.keys, kid.as_deref(), now).await?;
    let expected = Expected {
        issuer: &provider.issuer,
        client_id: &provider.client_id,
        nonce: answer.nonce,
        access_token: text("access_token"),
        since: answer.since,
        now,
    };
    Proven::read(token, &keys, &expected)
}

async fn exchange(
    app: &App,
    control: &ControlLog,
    tenant: &TenantId,
    provider: &Provider,
    metadata: &Metadata,
    answer: &Answer<'_>,
) -> Result<Value, &'static str> {
    const ABSENT: &str = "the provider's token endpoint can't be reached";
    let client = outgoing::client(asked(app, provider).ca.as_deref()).map_err(|_| ABSENT)?;
    let (form, header) = asked_for(app, control, tenant, provider, metadata, answer)?;
    let mut request = client
        .post(&metadata.token)
        .header("accept", "application/json")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    if let Some(header) = &header {
        request = request.header("authorization", header.as_str());
    }
    let said = request.send().await.map_err(|_| ABSENT)?;
    let status = said.status();
    let value = outgoing::read(said).await;
    if status == reqwest::StatusCode::OK {
        return value;
    }
    // Its words may be anything: only those of RFC 6749 are known.
    let code = value.ok().and_then(|v| v.get("error")?.as_str().map(str::to_owned));
    Err(match code.as_deref() {
        Some("invalid_client") => "the provider does not take this server's proof (invalid_client)",
        Some("invalid_grant") => "the provider does not take the code (invalid_grant)",
        Some("unauthorized_client") => "the provider lets this server do no such thing",
        _ => "the provider's token endpoint refuses",
    })
}

/// The form of a token request, and the header that it goes with.
fn asked_for(
    app: &App,
    control: &ControlLog,
    tenant: &TenantId,
    provider: &Provider,
    metadata: &Metadata,
    answer: &Answer<'_>,
) -> Result<(String, Option<Zeroizing<String>>), &'static str> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", answer.code)
        .append_pair("redirect_uri", answer.redirect_uri)
        .append_pair("code_verifier", answer.verifier);
    let mut header = None;
    match provider.authentication {
        Authentication::PrivateKeyJwt => {
            let assertion = assertion(app, control, tenant, provider, metadata)?;
            form.append_pair("client_id", &provider.client_id)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", &assertion);
        }
        Authentication::ClientSecretPost => {
            form.append_pair("client_id", &provider.client_id)
                .append_pair("client_secret", secret(app, provider)?.reveal());
        }
        Authentication::ClientSecretBasic => {
            let secret = secret(app, provider)?;
            let plain = |t: &str| form_urlencoded::byte_serialize(t.as_bytes()).collect::<String>();
            let pair = Zeroizing::new(format!(
                "{}:{}",
                plain(&provider.client_id),
                plain(secret.reveal())
            ));
            header = Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))));
        }
    }
    Ok((form.finish(), header))
}

fn assertion(
    app: &App,
    control: &ControlLog,
    tenant: &TenantId,
    provider: &Provider,
    metadata: &Metadata,
) -> Result<String, &'static str> {
    let alg = metadata.alg().ok_or("the provider takes neither RS256 nor ES384 of this server")?;
    let mut number = [0u8; 16];
    app.rng.fill(&mut number);
    let now = app.clock.now();
    let claims = json!({
        "iss": provider.client_id,
        "sub": provider.client_id,
        "aud": metadata.token,
        "iat": now.as_second(),
        "exp": now.as_second() + ASSERTION_S,
        "jti": hex::encode(number),
    });
    let signed = app.token_keys.sign(control, tenant, alg, &claims, app.rng.as_ref(), now);
    signed.map_err(|_| "this server can't sign now")
}

fn secret(app: &App, provider: &Provider) -> Result<Sensitive<String>, &'static str> {
    let file = provider.client_secret_file.as_ref().ok_or("there is no client_secret_file")?;
    private_file(&app.home.root().join(file), "client_secret_file").map_err(|e| {
        tracing::error!(error = %e, "an identity provider can't be asked");
        "client_secret_file can't be read, or may be read by others"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        let text = json!({"label": "Clinic", "issuer": "https://idp.example:8443/realms/c",
            "client_id": "phial"});
        serde_json::from_value(text).unwrap()
    }

    fn said() -> Value {
        json!({"issuer": "https://idp.example:8443/realms/c",
            "authorization_endpoint": "https://idp.example:8443/auth?p=1",
            "token_endpoint": "https://idp.example:8443/token",
            "jwks_uri": "https://keys.example/jwks"})
    }

    #[test]
    fn a_provider_is_the_one_that_was_configured_and_leads_nowhere_else() {
        let asked = Asked {
            hosts: vec!["idp.example:8443".to_owned(), "keys.example".to_owned()],
            ca: None,
        };
        let read = |value: &Value| Metadata::read(value, &provider(), &asked).map(drop);
        assert_eq!(read(&said()), Ok(()));
        for (name, value, place) in [
            ("issuer", "https://idp.example:8443/realms/c/", "issuer"),
            ("issuer", "https://idp.example:8443/realms/d", "issuer"),
            ("authorization_endpoint", "https://evil.example/auth", "authorization_endpoint"),
            ("authorization_endpoint", "http://idp.example:8443/auth", "authorization_endpoint"),
            ("authorization_endpoint", "https://u@idp.example:8443/", "authorization_endpoint"),
            ("authorization_endpoint", "javascript:alert(1)", "authorization_endpoint"),
            ("authorization_endpoint", "https://idp.example/auth", "authorization_endpoint"),
            ("token_endpoint", "https://169.254.169.254/token", "token_endpoint"),
            ("jwks_uri", "https://idp.example:8443/../x", "jwks_uri"),
        ] {
            let mut other = said();
            other[name] = value.into();
            assert!(read(&other).unwrap_err().contains(place), "{name}={value}");
        }
    }

    #[test]
    fn an_assertion_is_signed_by_what_the_provider_takes() {
        let asked = Asked {
            hosts: vec!["idp.example:8443".to_owned(), "keys.example".to_owned()],
            ca: None,
        };
        for (list, alg) in [
            (json!(null), Some(JwsAlg::RS256)),
            (json!(["ES384", "RS256"]), Some(JwsAlg::RS256)),
            (json!(["ES384"]), Some(JwsAlg::ES384)),
            (json!(["EdDSA"]), None),
        ] {
            let mut value = said();
            value["token_endpoint_auth_signing_alg_values_supported"] = list;
            assert_eq!(Metadata::read(&value, &provider(), &asked).unwrap().alg(), alg);
        }
    }
}
