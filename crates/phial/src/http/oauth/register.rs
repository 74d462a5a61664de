//! `POST /oauth/register`: an app registers itself (RFC 7591), where the operator lets it.
//!
//! Anybody may send one, so that it counts little: only so many from one network, only so
//! many that wait, and what is registered may do nothing before an administrator says so,
//! unless the operator lets apps of patients act at once (decision 0083). Keys at an address
//! are for hosts of `oauth.hosts` alone.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use phial_audit::{DetailKey, EventKind};
use phial_engine::{Endpoint, Failure};
use phial_identity::oauth::{Clients, RefusedCode, registration};
use phial_identity::throttle::{Guess, Trier};
use serde_json::Value;

use super::{Ask, Ends, is_query, json_answer, refused};
use crate::config::Registration;

/// Apps that may wait at once.
const MOST_WAITING: usize = 100;
/// Apps that registered themselves and were not removed.
const MOST: usize = 1_000;

pub(super) async fn register(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let mode = ask.app.config().oauth.registration;
    if mode == Registration::Off {
        let why = "apps do not register themselves here (oauth.registration)";
        return Err(refused(RefusedCode::AccessDenied, why));
    }
    within_budget(ask).await?;
    let value: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    let mut client = registration::read(&value, &is_query, ask.app.rng.as_ref())?;
    // Cut to types that there are.
    client.scopes = Ask::wanted(&client.scopes).to_string();
    if let Some(uri) = &client.jwks_uri {
        let hosts = ask.app.config().oauth.hosts.clone();
        if !Endpoint::parse(uri).is_some_and(|e| e.is_among(&hosts)) {
            let why = "jwks_uri is on a host that this server does not ask: send jwks";
            return Err(refused(RefusedCode::InvalidClientMetadata, why));
        }
    }
    let clients = Clients::new(ask.control());
    let all = clients.all()?;
    let theirs = all.iter().filter(|c| c.dynamic && c.active);
    let (count, waiting) = (theirs.clone().count(), theirs.filter(|c| c.waits).count());
    let at_once =
        mode == Registration::PatientApps && registration::is_patients_own(&client, &is_query);
    client.waits = !at_once;
    if count >= MOST || client.waits && waiting >= MOST_WAITING {
        let why = "too many apps have registered themselves: an administrator has to look at them";
        return Err(refused(RefusedCode::TemporarilyUnavailable, why));
    }
    let said = if client.waits { "registered itself and waits" } else { "registered itself" };
    let mut detail = vec![
        (DetailKey::Client, client.id.clone()),
        (DetailKey::Value, said.to_owned()),
        (DetailKey::Scope, client.scopes.chars().take(1000).collect()),
    ];
    ask.note(None, EventKind::ClientChanged, &detail).await?;
    let new = clients.add(client, false, ask.app.rng.as_ref())?;
    let head = ask.control().head().map_err(|e| Failure::from_store(e, ask.info.id))?;
    detail.push((DetailKey::ControlHead, head));
    ask.note(None, EventKind::ClientChanged, &detail).await?;
    let said = registration::written(&new.client, ask.info.at.as_second());
    Ok(json_answer(StatusCode::CREATED, &Value::Object(said)))
}

/// Each registration takes from its network's budget, whatever comes of it.
async fn within_budget(ask: &Ask<'_>) -> Result<(), Ends> {
    let (app, now) = (ask.app, ask.info.at);
    let sessions = app.tokens.sessions();
    let trier = Trier {
        tenant: &ask.tenant_id,
        name: "",
        ip: ask.info.ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
        known: None,
        guess: Guess::Registration,
    };
    match app.throttle.begin(sessions, &trier, now)? {
        // Nothing is given back.
        Ok(attempt) => Ok(attempt.failed(&app.throttle, sessions, now)?),
        Err(wait) => {
            if let Some(count) = wait.tell {
                let detail = [(DetailKey::Count, count.to_string())];
                ask.note(None, EventKind::Throttled, &detail).await?;
            }
            Err(Ends::TooMany(wait.after))
        }
    }
}
