//! Pages for people: HTML made here, forms that need no script, and one small script for
//! passkeys. It owns how a visit is taken in and answered; which pages there are stands in
//! the table of `surface.rs`.
//!
//! Every page is under a policy that lets nothing in from elsewhere, every form carries a
//! token that only this browser's page has and must come from this origin, and a page
//! that needs a person says so by [`Visit::need`]. What of a patient is on one came out of
//! the engine as everything does: released, with a receipt. It refuses hosts that are not this server's: `http.public_url`.
//!
//! **To add a page**: a function `async fn name(visit: Visit) -> Answer`, and its row in
//! [`PAGES`](super::surface::PAGES); forms with [`layout::form`].

pub(crate) mod account;
pub(crate) mod again;
pub(crate) mod apps;
pub(crate) mod assets;
pub(crate) mod break_glass;
pub(crate) mod emergency_reviews;
pub(crate) mod enrol;
pub(crate) mod hashing;
pub(crate) mod home;
pub(crate) mod invite;
pub(crate) mod layout;
pub(crate) mod login;
pub(crate) mod passkeys;
pub(crate) mod people;
pub(crate) mod review;
pub(crate) mod second;
pub(crate) mod sso;
pub(crate) mod visit;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use phial_base::{RequestId, RequestInfo, Surface, TenantId};

use super::answer;
use super::listen::Front;
use super::surface::{Kind, PAGES, PageRow};
pub(crate) use visit::{Turn, Visit};

/// How a page answers.
pub(crate) type Answer = Result<Response<Body>, Turn>;

/// What answers a row.
pub(crate) type Handler = fn(Visit) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a path outside the FHIR bases is, and for which tenant.
pub(crate) struct Found {
    tenant: TenantId,
    /// Rows of this path, each with its method.
    rows: Vec<&'static PageRow>,
    /// What the path's placeholders stand for.
    words: Vec<String>,
}

/// The page at this path.
pub(crate) fn find(path: &str) -> Option<Found> {
    let (tenant, rest) = match path.strip_prefix("/t/").and_then(|r| r.split_once('/')) {
        Some((name, rest)) => (TenantId::new(name).ok()?, rest),
        None => (TenantId::default_tenant(), path.strip_prefix('/')?),
    };
    let asked: Vec<&str> = rest.split('/').collect();
    let mut rows = Vec::new();
    let mut words = Vec::new();
    for row in PAGES {
        let form: Vec<&str> = row.path.trim_start_matches('/').split('/').collect();
        let is_word = |part: &str| part.starts_with('[');
        let fits = form.len() == asked.len()
            && form.iter().zip(&asked).all(|(f, a)| f == a || is_word(f) && !a.is_empty());
        if fits {
            if rows.is_empty() {
                let pairs = form.iter().zip(&asked);
                words = pairs.filter(|(f, _)| is_word(f)).map(|(_, a)| (*a).to_owned()).collect();
            }
            rows.push(row);
        }
    }
    (!rows.is_empty()).then_some(Found { tenant, rows, words })
}

/// Answers a visit.
pub(super) async fn answer(
    front: &Front,
    peer: SocketAddr,
    id: RequestId,
    found: Found,
    request: Request<Body>,
) -> Response<Body> {
    let method = match *request.method() {
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    let Some(row) = found.rows.iter().find(|r| r.method == method) else {
        let methods: Vec<Method> = found.rows.iter().map(|r| r.method.clone()).collect();
        return answer::wrong_method(&methods);
    };
    let row: &PageRow = row;
    if front.app.engine.tenant(&found.tenant).is_none() {
        return layout::refused(StatusCode::NOT_FOUND, "Nothing is here", "There is no such page.");
    }
    let (parts, body) = request.into_parts();
    let info = RequestInfo {
        id,
        at: front.app.clock.now(),
        ip: Some(peer.ip()),
        device: super::serve::device(&parts.headers),
        surface: Surface::Page,
    };
    let app = Arc::clone(&front.app);
    let visit =
        Visit::take_in(app, front.address, found.tenant, found.words, info, parts, body).await;
    let visit = match visit {
        Ok(visit) => visit,
        Err(response) => return *response,
    };
    let browser = visit.new_browser_cookie();
    let forbidden = row.kind == Kind::Form && !visit.comes_from_our_page();
    let prefix = visit.prefix.clone();
    let answered = if forbidden {
        Err(Turn::refused(
            StatusCode::FORBIDDEN,
            "This form is too old",
            "Open the page again and send the form once more. A form is good for the browser and \
             the log-in that it was shown to.",
        ))
    } else {
        (row.answer)(visit).await
    };
    let mut response = answered.unwrap_or_else(|turn| turn.into_response(&prefix, row.kind));
    if row.kind != Kind::Asset
        && let Some(cookie) = browser
    {
        visit::set_cookie(&mut response, &cookie);
    }
    if row.kind != Kind::Api {
        layout::mark(&mut response);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_page_and_tenant() {
        let check = |path: &str, expected: Option<(&str, &str, &[&str])>| {
            let found = find(path);
            let found = found.as_ref().map(|f| {
                let words: Vec<&str> = f.words.iter().map(String::as_str).collect();
                (f.tenant.as_str(), f.rows[0].path, words)
            });
            assert_eq!(found, expected.map(|(t, p, w)| (t, p, w.to_vec())), "{path}");
        };
        check("/login", Some(("default", "/login", &[])));
        check("/t/north/login", Some(("north", "/login", &[])));
        check("/invite/abc", Some(("default", "/invite/[token]", &["abc"])));
        check("/admin/people/ana", Some(("default", "/admin/people/[user]", &["ana"])));
        for nothing in ["/logins", "/login/", "/invite/", "/fhir/Patient", "/t/north", "/t//login"]
        {
            check(nothing, None);
        }
    }
}
