//! The key sets of clients that say where theirs are (`jwks_uri`): fetched, kept for five
//! minutes, fetched again at most every 30 seconds for a key that is not among them.
//!
//! A server that fetches whatever it is told to reaches what only it can reach (SSRF): the
//! address has the one strict form of [`Endpoint`], its host stands in `oauth.hosts`,
//! redirects are not followed, no proxy of the environment is used, and what comes is cut
//! off at 256 KiB.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use phial_engine::Endpoint;
use phial_identity::oauth::{Client, JwkSet, Refused, RefusedCode};
use serde_json::Value;

use crate::config::Config;
use crate::trust;

const FRESH: SignedDuration = SignedDuration::from_mins(5);
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: usize = 256 * 1024;
/// Key sets that are kept.
const KEPT: usize = 1_000;

/// Key sets that were fetched.
#[derive(Default)]
pub(crate) struct KeySets {
    kept: Mutex<HashMap<String, (Timestamp, Arc<JwkSet>)>>,
}

fn no(why: &'static str) -> Refused {
    Refused::new(RefusedCode::InvalidClient, why)
}

impl KeySets {
    /// The keys of a client, with one of this name if there is one anywhere.
    pub(crate) async fn of(
        &self,
        config: &Config,
        client: &Client,
        kid: &str,
        now: Timestamp,
    ) -> Result<Arc<JwkSet>, Refused> {
        if let Some(own) = client.keys() {
            return Ok(Arc::new(own));
        }
        let uri = client.jwks_uri.as_deref().ok_or(no("the client has no keys"))?;
        self.at(config, uri, kid, now).await
    }

    /// The set at this address.
    pub(crate) async fn at(
        &self,
        config: &Config,
        uri: &str,
        kid: &str,
        now: Timestamp,
    ) -> Result<Arc<JwkSet>, Refused> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().get(uri).cloned();
        if let Some((at, set)) = kept {
            let age = now.duration_since(at);
            if age < FRESH && (set.knows(kid) || age < AGAIN) {
                return Ok(set);
            }
        }
        let value = fetch(config, uri).await.map_err(no)?;
        let set = Arc::new(JwkSet::read(&value).map_err(no)?);
        let mut all = lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(uri.to_owned(), (now, Arc::clone(&set)));
        Ok(set)
    }
}

/// JSON from a host of `oauth.hosts`.
pub(crate) async fn fetch(config: &Config, uri: &str) -> Result<Value, &'static str> {
    const ABSENT: &str = "the keys can't be fetched from where they are said to be";
    let endpoint =
        Endpoint::parse(uri).ok_or("the address of the keys has not the form https://")?;
    if !endpoint.is_among(&config.oauth.hosts) {
        return Err("the keys lie on a host that this server does not ask (oauth.hosts)");
    }
    let client = client(config.oauth.ca.as_deref()).map_err(|_| ABSENT)?;
    let sent = client.get(endpoint.to_string()).header("accept", "application/json").send().await;
    let mut answer = sent.map_err(|_| ABSENT)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(ABSENT);
    }
    let mut all = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|_| ABSENT)? {
        all.extend_from_slice(&piece);
        if all.len() > LARGEST {
            return Err("what lies where the keys are said to be is too large");
        }
    }
    serde_json::from_slice(&all).map_err(|_| "what lies where the keys are said to be is no JSON")
}

/// A client that trusts the configured CAs, or the system's.
pub(crate) fn client(ca: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE);
    let Some(ca) = ca else {
        // Another part of the program may have named it before: it is the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        return Ok(builder.build()?);
    };
    Ok(builder.tls_backend_preconfigured(trust::client(trust::own(ca)?)?).build()?)
}
