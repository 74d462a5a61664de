//! Passkeys on pages: challenges, the forms that a script fills in, and the log-in by one.
//!
//! A challenge is random, says when it was made, and carries our MAC over this browser and
//! what it is for, so that nothing is kept for whoever merely looks at a page. One that
//! was answered is remembered until it is too old anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use phial_base::SubjectId;
use phial_identity::passkey::{self, decoded, encoded};

use super::layout::form;
use super::visit::{Turn, Visit};
use super::{Answer, login};

/// For so long a challenge may be answered.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(5);

/// Challenges that were answered.
#[derive(Default)]
pub(crate) struct Answered(Mutex<HashMap<Vec<u8>, Timestamp>>);

impl Answered {
    /// Remembers one. False when it was answered before.
    fn once(&self, challenge: &[u8], now: Timestamp) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Each took a signature that was good: there are never many.
        all.retain(|_, at| now.duration_since(*at) < GOOD_FOR * 2);
        all.insert(challenge.to_vec(), now).is_none()
    }
}

/// A new challenge for this browser.
pub(super) fn challenge(visit: &Visit, purpose: &str, about: &str) -> Result<String, Turn> {
    let nonce = visit.app.tokens.sessions().random::<16>();
    let mut bytes = nonce.to_vec();
    bytes.extend_from_slice(&visit.request.at.as_second().to_be_bytes());
    let mac = mac(visit, purpose, about, &bytes)?;
    bytes.extend_from_slice(&mac);
    Ok(encoded(&bytes))
}

fn mac(visit: &Visit, purpose: &str, about: &str, head: &[u8]) -> Result<[u8; 32], Turn> {
    let parts: [&[u8]; 5] = [
        b"passkey challenge",
        purpose.as_bytes(),
        about.as_bytes(),
        visit.browser().as_bytes(),
        head,
    ];
    visit.app.tokens.sessions().mac(&visit.tenant, &parts).map_err(|e| visit.store(e))
}

/// The challenge that client data answer, when it is ours, for this, and not too old.
pub(super) fn answered(
    visit: &Visit,
    purpose: &str,
    about: &str,
    client_data: &[u8],
) -> Result<Option<Vec<u8>>, Turn> {
    let said: serde_json::Value = serde_json::from_slice(client_data).unwrap_or_default();
    let text = said.get("challenge").and_then(|c| c.as_str()).unwrap_or("");
    let Ok(challenge) = decoded(text) else { return Ok(None) };
    let Some((head, tag)) = challenge.split_at_checked(24) else { return Ok(None) };
    if !phial_crypto::constant_time_eq(&mac(visit, purpose, about, head)?, tag) {
        return Ok(None);
    }
    let made = head.last_chunk::<8>().map_or(0, |b| i64::from_be_bytes(*b));
    let age = visit.request.at.as_second().saturating_sub(made);
    Ok((0..=GOOD_FOR.as_secs()).contains(&age).then_some(challenge))
}

/// Whether the challenge is answered for the first time.
pub(super) fn once(visit: &Visit, challenge: &[u8]) -> bool {
    visit.app.answered.once(challenge, visit.request.at)
}

/// The form that asks for a passkey: any of this site, or one of these.
pub(super) fn ask(visit: &Visit, next: &str, ids: &[&str], button: Markup) -> Result<Markup, Turn> {
    let challenge = challenge(visit, "get", "")?;
    let content = html! {
        input type="hidden" name="next" value=(next);
        input type="hidden" name="credential";
        input type="hidden" name="client_data";
        input type="hidden" name="authenticator_data";
        input type="hidden" name="signature";
        (button)
        p.message.wrong.late role="alert" hidden {}
        noscript { p.hint { "Passkeys need JavaScript." } }
    };
    let form = form(visit, "/login/passkey", content)?;
    Ok(html! {
        div.passkey data-passkey="get" data-challenge=(challenge) data-site=(visit.site.id)
            data-allow=(ids.join(" ")) { (form) }
    })
}

/// `POST /login/passkey`: a passkey alone is two factors, since the authenticator checked
/// who was there (SP 800-63B-4 §3.1.7).
pub(crate) async fn submit(visit: Visit) -> Answer {
    let field = |name: &str| decoded(visit.field(name).unwrap_or("")).unwrap_or_default();
    let id = visit.field("credential").unwrap_or("").trim_end_matches('=').to_owned();
    let owner = visit.factors()?.owner(&id).map_err(|e| visit.identity(e))?;
    let client_data = field("client_data");
    let challenge = answered(&visit, "get", "", &client_data)?;
    let (Some((user, kept)), Some(challenge)) = (owner.clone(), challenge) else {
        let user = owner.as_ref().map(|(user, _)| user);
        return refused(&visit, user, "no answer to a challenge of this page").await;
    };
    let shown = passkey::assert(
        &visit.site,
        &challenge,
        &kept,
        &client_data,
        &field("authenticator_data"),
        &field("signature"),
    );
    let shown = match shown {
        Ok(shown) if shown.verified => shown,
        Ok(_) => {
            return refused(&visit, Some(&user), &passkey::Problem::Verification.to_string()).await;
        }
        Err(problem) => return refused(&visit, Some(&user), &problem.to_string()).await,
    };
    if !once(&visit, &challenge) {
        return refused(&visit, Some(&user), "an answer that was given before").await;
    }
    let counted = visit.factors()?.count_passkey(&user, &kept.id, shown.counter, visit.request.at);
    if !counted.map_err(|e| visit.identity(e))? {
        return refused(&visit, Some(&user), "the counter went back: there may be a copy").await;
    }
    let account = visit.accounts()?.find(&user).map_err(|e| visit.identity(e))?;
    if !account.is_some_and(|a| a.active) {
        return refused(&visit, Some(&user), "the account is suspended").await;
    }
    let old = visit.person()?;
    let issued = login::whole(&visit, &user, "passkey", old.as_ref()).await?;
    let to = visit.next().unwrap_or_else(|| visit.at("/"));
    Ok(visit.logged_in(&issued, &to))
}

async fn refused(visit: &Visit, user: Option<&SubjectId>, why: &str) -> Answer {
    login::failed(visit, user, &format!("passkey: {why}")).await?;
    Err(Turn::refused(
        StatusCode::FORBIDDEN,
        "This passkey did not work",
        "It is not known here, the page was open for too long, or the account is suspended. Try \
         again from the log-in page.",
    ))
}
