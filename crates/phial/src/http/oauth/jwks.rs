//! The key sets of clients and identity providers that say where theirs are (`jwks_uri`):
//! fetched, kept for five minutes, fetched again at most every 30 seconds for a key that is
//! not among them, or every ten where none could be had.
//!
//! A server that fetches whatever it is told to reaches what only it can reach (SSRF): the
//! address has the one strict form of [`Endpoint`], its host is one that the operator has
//! listed, redirects are not followed, no proxy of the environment is used, and what comes
//! is cut off at 256 KiB.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use phial_engine::Endpoint;
use phial_identity::oauth::{Client, JwkSet, Refused, RefusedCode};
use serde_json::Value;

use crate::config::{Config, Oauth};
use crate::trust;

const FRESH: SignedDuration = SignedDuration::from_mins(5);
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Where nothing could be had, it is not asked again so soon: whoever names a client makes
/// this server call nobody who does not answer.
const RESTS: SignedDuration = SignedDuration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: usize = 256 * 1024;
/// Key sets that are kept.
const KEPT: usize = 1_000;

/// Whom this server asks, and who vouches for them.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `HOST` or `HOST:PORT`.
    pub(crate) hosts: Vec<String>,
    /// PEM file with CAs; the system's list, when not given.
    pub(crate) ca: Option<PathBuf>,
}

impl From<&Oauth> for Asked {
    fn from(o: &Oauth) -> Self {
        Asked { hosts: o.hosts.clone(), ca: o.ca.clone() }
    }
}

/// Key sets that were fetched.
#[derive(Default)]
pub(crate) struct KeySets {
    kept: Mutex<HashMap<String, (Timestamp, Arc<JwkSet>)>>,
    failed: Mutex<HashMap<String, (Timestamp, &'static str)>>,
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
        self.at(&Asked::from(&config.oauth), uri, Some(kid), now).await.map_err(no)
    }

    /// The set at this address, with a key of this name if there is one; whichever it is
    /// when no name is asked for.
    pub(crate) async fn at(
        &self,
        asked: &Asked,
        uri: &str,
        kid: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<JwkSet>, &'static str> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().get(uri).cloned();
        if let Some((at, set)) = kept {
            let age = now.duration_since(at);
            if age < FRESH && (kid.is_none_or(|k| set.knows(k)) || age < AGAIN) {
                return Ok(set);
            }
        }
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failed().get(uri).copied();
        if let Some((_, why)) = before.filter(|(at, _)| now.duration_since(*at) < RESTS) {
            return Err(why);
        }
        let read = match fetch(asked, uri).await {
            Ok(value) => JwkSet::read(&value),
            Err(why) => Err(why),
        };
        let set = match read {
            Ok(set) => Arc::new(set),
            Err(why) => {
                let mut all = failed();
                if all.len() >= KEPT {
                    all.clear();
                }
                all.insert(uri.to_owned(), (now, why));
                return Err(why);
            }
        };
        let mut all = lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(uri.to_owned(), (now, Arc::clone(&set)));
        Ok(set)
    }
}

/// JSON from a host that may be asked.
pub(crate) async fn fetch(asked: &Asked, uri: &str) -> Result<Value, &'static str> {
    const ABSENT: &str = "what is asked for can't be fetched from where it is said to be";
    let endpoint = Endpoint::parse(uri).ok_or("an address has not the form https://")?;
    if !endpoint.is_among(&asked.hosts) {
        return Err("an address is on a host that this server does not ask (hosts)");
    }
    let client = client(asked.ca.as_deref()).map_err(|_| ABSENT)?;
    let sent = client.get(endpoint.to_string()).header("accept", "application/json").send().await;
    let answer = sent.map_err(|_| ABSENT)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(ABSENT);
    }
    read(answer).await
}

/// The JSON of an answer, if it is not too large.
pub(crate) async fn read(mut answer: reqwest::Response) -> Result<Value, &'static str> {
    let mut all = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|_| "an answer was cut off")? {
        all.extend_from_slice(&piece);
        if all.len() > LARGEST {
            return Err("an answer is too large");
        }
    }
    serde_json::from_slice(&all).map_err(|_| "an answer is no JSON")
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
