//! The pages of the authorization server: an app asks, a person looks at what it would
//! see, leaves out what it shall not, and later takes it back (SMART App Launch 2.2,
//! OAuth 2.1; 164.522, 170.315(g)(10)).
//!
//! Who may use the app is whoever may log in; what it sees is never more than that person
//! sees. It refuses to send anybody to an address that is not registered, letter by
//! letter, for the app.

pub(crate) mod authorize;
pub(crate) mod consent;
pub(crate) mod encounter;
pub(crate) mod granted;
pub(crate) mod patient;
mod words;

use std::sync::Arc;

use super::layout;
use super::visit::{Turn, Visit, see_other};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use phial_audit::{DetailKey, EventKind};
use phial_base::Subject;
use phial_identity::Person;
use phial_identity::oauth::{Asking, Client, Clients};
use phial_store::tickets::TicketKind;

/// An answer to the app, by way of the browser.
pub(super) struct Reply<'a> {
    pub(super) redirect_uri: &'a str,
    pub(super) state: Option<&'a str>,
    /// Who answers (RFC 9207).
    pub(super) issuer: &'a str,
}

impl Reply<'_> {
    fn with(&self, pairs: &[(&str, &str)]) -> Response<Body> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        if let Some(state) = self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", self.issuer);
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        see_other(&format!("{}{joint}{}", self.redirect_uri, query.finish()))
    }

    pub(super) fn code(&self, code: &str) -> Response<Body> {
        self.with(&[("code", code)])
    }

    pub(super) fn refused(&self, code: &str, why: &str) -> Response<Body> {
        self.with(&[("error", code), ("error_description", why)])
    }
}

/// Where forms of a page lead in the end, for `form-action`.
pub(super) fn origin_of(redirect_uri: &str) -> String {
    let Some((scheme, rest)) = redirect_uri.split_once(':') else { return String::new() };
    match rest.strip_prefix("//") {
        Some(rest) => {
            let host = rest.split(['/', '?']).next().unwrap_or("");
            format!("{scheme}://{host}")
        }
        None => format!("{scheme}:"),
    }
}

impl Visit {
    /// What endpoints of this tenant lie below; who answers.
    pub(super) fn issuer(&self) -> String {
        format!("{}{}", self.site.origin, self.prefix)
    }

    /// A client that there is.
    pub(super) fn app_named(&self, id: &str) -> Result<Option<Client>, Turn> {
        let found = Clients::new(self.control()?).find(id).map_err(|e| self.identity(e))?;
        Ok(found.filter(Client::may_ask))
    }

    /// Writes down that an app was refused something, and why.
    pub(super) async fn note_refused(
        &self,
        subject: Option<&Arc<Subject>>,
        client: Option<&Client>,
        (code, why): (&str, &str),
    ) -> Result<(), Turn> {
        let mut detail = vec![(DetailKey::Reason, format!("{code}: {why}"))];
        detail.extend(client.map(|c| (DetailKey::Client, c.id.clone())));
        self.note(subject, EventKind::ClientRefused, &detail).await
    }

    /// The request that a form speaks of, when it waits for this person's word. It is
    /// looked at, or taken up for good.
    pub(super) fn asking(&self, person: &Person, take: bool) -> Result<(Asking, Client), Turn> {
        let gone = || {
            Turn::refused(
                StatusCode::BAD_REQUEST,
                "This request is over",
                "The app's request was answered already, or it waited for too long. Go back to \
                 the app and begin again.",
            )
        };
        let text = self.field("ask").unwrap_or("");
        let (apps, tenant, now) = (&self.app.apps, &self.tenant, self.request.at);
        let found: Option<Asking> = if take {
            apps.take(tenant, TicketKind::Asked, text, now)
        } else {
            apps.kept(tenant, TicketKind::Asked, text, now)
        }
        .map_err(|e| self.identity(e))?;
        let asking = found.filter(|a| a.user == person.subject.id).ok_or_else(gone)?;
        let client = self.app_named(&asking.client)?.ok_or_else(gone)?;
        Ok((asking, client))
    }

    /// Keeps a request until the person has said a word. Gives what forms name it by.
    pub(super) fn keep_asking(&self, person: &Person, asking: &Asking) -> Result<String, Turn> {
        let kept = self.app.apps.keep(
            &self.tenant,
            TicketKind::Asked,
            &person.subject.id,
            &asking.client,
            asking,
            self.request.at,
        );
        kept.map(|t| t.token.as_str().to_owned()).map_err(|e| self.identity(e))
    }
}

/// A page that says why an app's request leads nowhere: there is nobody to be sent back to.
pub(super) fn nowhere(text: &str) -> Turn {
    Turn::refused(StatusCode::BAD_REQUEST, "This app's request can't be answered", text)
}

/// Lets the forms of the page lead back to the app.
pub(super) fn leads_back(mut page: Response<Body>, redirect_uri: &str) -> Response<Body> {
    layout::forms_to(&mut page, &origin_of(redirect_uri));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_may_lead_to_the_apps_origin_and_nowhere_else() {
        for (uri, origin) in [
            ("https://app.example/cb?x=1", "https://app.example"),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1:3000"),
            ("https://app.example?x=1", "https://app.example"),
            ("com.example.app:/cb", "com.example.app:"),
        ] {
            assert_eq!(origin_of(uri), origin);
        }
    }

    #[test]
    fn an_answer_keeps_the_address_as_it_was_registered() {
        let reply = |redirect_uri, state| Reply { redirect_uri, state, issuer: "https://us" };
        let to = |r: Response<Body>| r.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(
            to(reply("https://a/cb", Some("s t")).code("c")),
            "https://a/cb?code=c&state=s+t&iss=https%3A%2F%2Fus"
        );
        assert_eq!(
            to(reply("https://a/cb?x=1", None).refused("access_denied", "no")),
            "https://a/cb?x=1&error=access_denied&error_description=no&iss=https%3A%2F%2Fus"
        );
    }
}
