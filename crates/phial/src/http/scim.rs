//! SCIM 2.0: joiners, movers and leavers, told by the organization's directory (RFC 7643,
//! RFC 7644; 164.308(a)(3)(ii)(C)).
//!
//! A User is an account. A Group is a role: its members hold it. Which roles a directory
//! may give and take stands in `scim.roles`, so that nobody becomes an operator by way of
//! a directory; an account that holds any other role is not the directory's to change, and
//! looks absent. Whoever is deactivated or deleted loses every session and every app at
//! once. Only a service with the scope `scim` is answered. It refuses passwords: people
//! set their own.

mod filter;
mod groups;
mod schemas;
mod users;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode};
use phial_audit::{DetailKey, EventKind};
use phial_base::{RequestId, RequestInfo, Surface, TenantId, Version};
use phial_engine::{Caller, Failure, Tenant};
use phial_identity::oauth::Special;
use phial_identity::{Account, Accounts, Error};
use phial_store::control::ControlLog;
use serde_json::{Value, json};

use super::answer;
use super::listen::Front;
use super::oauth::PeerCertificate;
use crate::app::App;

/// The largest body.
const MAX_BODY: usize = 256 * 1024;
const MEDIA: &str = "application/scim+json";

/// What a path below `/scim/v2` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Config,
    Types,
    Schemas,
    Users,
    User(String),
    Groups,
    Group(String),
}

impl What {
    fn methods(&self) -> &'static [Method] {
        const GET: &[Method] = &[Method::GET];
        const LIST: &[Method] = &[Method::GET, Method::POST];
        const USER: &[Method] = &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE];
        const GROUP: &[Method] = &[Method::GET, Method::PUT, Method::PATCH];
        match self {
            What::Users => LIST,
            What::User(_) => USER,
            What::Group(_) => GROUP,
            What::Config | What::Types | What::Schemas | What::Groups => GET,
        }
    }
}

/// The routes, for the golden table and the OpenAPI document.
pub(crate) const ROUTES: &[(&str, &[&str])] = &[
    ("/scim/v2/ServiceProviderConfig", &["GET"]),
    ("/scim/v2/ResourceTypes", &["GET"]),
    ("/scim/v2/Schemas", &["GET"]),
    ("/scim/v2/Users", &["GET", "POST"]),
    ("/scim/v2/Users/[id]", &["GET", "PUT", "PATCH", "DELETE"]),
    ("/scim/v2/Groups", &["GET"]),
    ("/scim/v2/Groups/[id]", &["GET", "PUT", "PATCH"]),
];

/// What is at this path, and of which tenant.
pub(crate) fn find(path: &str) -> Option<(TenantId, What)> {
    let (tenant, rest) = match path.strip_prefix("/t/") {
        Some(rest) => {
            let (name, rest) = rest.split_once('/')?;
            (TenantId::new(name).ok()?, rest)
        }
        None => (TenantId::default_tenant(), path.strip_prefix('/')?),
    };
    let what = match *rest.strip_prefix("scim/v2/")?.split('/').collect::<Vec<_>>() {
        ["ServiceProviderConfig"] => What::Config,
        ["ResourceTypes"] => What::Types,
        ["Schemas"] => What::Schemas,
        ["Users"] => What::Users,
        ["Users", id] if !id.is_empty() => What::User(id.to_owned()),
        ["Groups"] => What::Groups,
        ["Groups", id] if !id.is_empty() => What::Group(id.to_owned()),
        _ => return None,
    };
    Some((tenant, what))
}

/// A refusal in SCIM's form (RFC 7644 section 3.12).
#[derive(Debug)]
pub(crate) enum No {
    /// Status, `scimType`, words.
    Said(StatusCode, &'static str, String),
    /// The engine's.
    Failure(Failure),
}

impl From<Failure> for No {
    fn from(f: Failure) -> Self {
        No::Failure(f)
    }
}

fn no(status: StatusCode, kind: &'static str, text: impl Into<String>) -> No {
    No::Said(status, kind, text.into())
}

fn bad(text: impl Into<String>) -> No {
    no(StatusCode::BAD_REQUEST, "invalidValue", text)
}

fn absent() -> No {
    no(StatusCode::NOT_FOUND, "", "there is no such resource")
}

/// One request.
pub(crate) struct Scim<'a> {
    app: &'a App,
    tenant: &'a Tenant,
    caller: Caller,
    /// `https://host[/t/TENANT]/scim/v2`
    base: String,
    headers: &'a HeaderMap,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// Answers a request below `/scim/v2`.
pub(super) async fn answer(
    front: &Front,
    peer: SocketAddr,
    id: RequestId,
    (tenant_id, what): (TenantId, What),
    request: Request<Body>,
) -> Response<Body> {
    let method = match *request.method() {
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    if !what.methods().contains(&method) {
        return answer::wrong_method(what.methods());
    }
    match answered(front, peer, id, tenant_id, what, method, request).await {
        Ok(response) => response,
        Err(No::Failure(Failure::Unauthenticated)) => {
            let text = "a living access token of a service with the scope scim is needed";
            let mut response = said(StatusCode::UNAUTHORIZED, &error(401, "", text));
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            response
        }
        Err(No::Failure(failure)) => super::serve::fail(&failure),
        Err(No::Said(status, kind, text)) => said(status, &error(status.as_u16(), kind, &text)),
    }
}

async fn answered(
    front: &Front,
    peer: SocketAddr,
    id: RequestId,
    tenant_id: TenantId,
    what: What,
    method: Method,
    request: Request<Body>,
) -> Result<Response<Body>, No> {
    let app: &App = &front.app;
    let tenant = app.engine.tenant(&tenant_id).ok_or_else(absent)?;
    let (parts, body) = request.into_parts();
    let origin = front.origin(&parts.headers, &parts.uri).ok_or_else(|| {
        no(StatusCode::MISDIRECTED_REQUEST, "", "this server does not go by that name")
    })?;
    let info = RequestInfo {
        id,
        at: app.clock.now(),
        ip: Some(peer.ip()),
        device: super::serve::device(&parts.headers),
        surface: Surface::Fhir,
    };
    let certificate = parts.extensions.get::<PeerCertificate>().map(|c| Arc::clone(&c.sha256));
    let caller =
        super::authn::authenticate(app, &tenant_id, &parts.headers, certificate.as_deref(), info)
            .await?;
    // A person's own token has no scopes, and an app's other ones are not this.
    let token = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .map_or("", |(_, t)| t.trim());
    let (control, policy) = (tenant.vessel.control(), app.engine.policy());
    let (alive, now) = (app.log_ins(&tenant_id, caller.request.at), caller.request.at);
    let found = app.apps.inspect(control, policy, &tenant_id, token, &alive, now);
    let found = found.map_err(|e| failed(&caller, e))?;
    if !found.is_some_and(|(_, s)| s.wanted().has(Special::Scim)) {
        let detail = [(DetailKey::Reason, "no scope scim".to_owned())];
        app.engine.record_event(&caller, EventKind::ClientRefused, &detail).await?;
        return Err(no(StatusCode::FORBIDDEN, "", "the token has not the scope scim"));
    }
    let body = axum::body::to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| no(StatusCode::PAYLOAD_TOO_LARGE, "", "the body is too large"))?;
    let root = match tenant_id == TenantId::default_tenant() {
        true => origin,
        false => format!("{origin}/t/{tenant_id}"),
    };
    let query = parts.uri.query().unwrap_or("");
    let scim = Scim {
        app,
        tenant,
        caller,
        base: format!("{root}/scim/v2"),
        headers: &parts.headers,
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        body,
    };
    match (what, method) {
        (What::Config, _) => Ok(said(StatusCode::OK, &schemas::config(&scim.base))),
        (What::Types, _) => Ok(said(StatusCode::OK, &schemas::types(&scim.base))),
        (What::Schemas, _) => Ok(said(StatusCode::OK, &schemas::all(&scim.base))),
        (What::Users, Method::POST) => scim.add_user().await,
        (What::Users, _) => scim.users().await,
        (What::User(id), Method::PUT) => scim.replace_user(&id).await,
        (What::User(id), Method::PATCH) => scim.patch_user(&id).await,
        (What::User(id), Method::DELETE) => scim.end_user(&id).await,
        (What::User(id), _) => scim.user(&id).await,
        (What::Groups, _) => scim.groups().await,
        (What::Group(id), Method::PUT | Method::PATCH) => scim.change_group(&id).await,
        (What::Group(id), _) => scim.group(&id).await,
    }
}

fn failed(caller: &Caller, e: Error) -> Failure {
    match e {
        Error::Store(e) => Failure::from_store(e, caller.request.id),
        e => {
            let incident = caller.request.id;
            tracing::error!(incident = %incident, error = %e, "an account can't be read");
            Failure::Internal { incident, source: phial_store::Error::Corrupt("an account") }
        }
    }
}

fn error(status: u16, kind: &str, text: &str) -> Value {
    let mut said = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": status.to_string(),
        "detail": text,
    });
    if let Some(said) = said.as_object_mut().filter(|_| !kind.is_empty()) {
        said.insert("scimType".to_owned(), kind.into());
    }
    said
}

fn said(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    response
}

/// An account as the control log has it.
struct Held {
    account: Account,
    version: Version,
}

impl Scim<'_> {
    fn control(&self) -> &ControlLog {
        self.tenant.vessel.control()
    }

    fn accounts(&self) -> Accounts<'_> {
        Accounts::new(self.control(), self.app.engine.policy())
    }

    fn failed(&self, e: Error) -> No {
        match e {
            e @ (Error::UnknownRole(..) | Error::NoRole | Error::Purpose(..)) => bad(e.to_string()),
            Error::Exists => {
                no(StatusCode::CONFLICT, "uniqueness", "there is an account of that name already")
            }
            e => No::Failure(failed(&self.caller, e)),
        }
    }

    /// The roles that a directory gives and takes.
    fn roles(&self) -> Vec<String> {
        self.app.config().scim.roles.clone()
    }

    /// Whether an account is the directory's: it holds no role that is not.
    fn is_ours(&self, account: &Account) -> bool {
        let roles = self.roles();
        !account.ended && account.roles.iter().all(|r| roles.contains(r))
    }

    fn held(&self, id: &str) -> Result<Held, No> {
        let id = phial_base::SubjectId::new(id).map_err(|_| absent())?;
        let account = self.accounts().find(&id).map_err(|e| self.failed(e))?;
        let account = account.filter(|a| self.is_ours(a)).ok_or_else(absent)?;
        let record = self.control().get("user", id.as_str());
        let record = record.map_err(|e| self.failed(e.into()))?.ok_or_else(absent)?;
        Ok(Held { account, version: record.version })
    }

    /// Refuses a change that was made over another version (RFC 7644 section 3.14).
    fn if_match(&self, version: Version) -> Result<(), No> {
        let Some(tags) = self.headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok()) else {
            return Ok(());
        };
        let ours = format!("\"{version}\"");
        let fits = |t: &str| t.trim() == "*" || t.trim().trim_start_matches("W/") == ours;
        if tags.split(',').any(fits) {
            return Ok(());
        }
        Err(no(StatusCode::PRECONDITION_FAILED, "", "the account was changed since: read it again"))
    }

    fn json(&self) -> Result<Value, No> {
        let invalid = || no(StatusCode::BAD_REQUEST, "invalidSyntax", "the body is no JSON object");
        let value: Value = serde_json::from_slice(&self.body).map_err(|_| invalid())?;
        if value.is_object() { Ok(value) } else { Err(invalid()) }
    }

    /// Writes down what is about to change and, with the control log's head, that it has.
    async fn changed(
        &self,
        kind: EventKind,
        account: &Account,
        before: Option<&Account>,
        change: impl FnOnce(&Accounts<'_>) -> Result<(), Error> + Send,
    ) -> Result<(), No> {
        let mut detail = vec![
            (DetailKey::Account, account.id.to_string()),
            (DetailKey::RolesAfter, account.roles.join(",")),
            (DetailKey::Value, account.standing().to_owned()),
        ];
        detail.extend(before.map(|b| (DetailKey::RolesBefore, b.roles.join(","))));
        self.app.engine.record_event(&self.caller, kind, &detail).await?;
        change(&self.accounts()).map_err(|e| self.failed(e))?;
        let head = self.control().head().map_err(|e| self.failed(e.into()))?;
        detail.push((DetailKey::ControlHead, head));
        self.app.engine.record_event(&self.caller, kind, &detail).await?;
        if !account.active {
            let (tenant, now) = (&self.caller.subject.tenant, self.caller.request.at);
            let sessions = self.app.tokens.sessions();
            sessions.revoke_user(tenant, &account.id, now).map_err(|e| self.failed(e.into()))?;
            self.app
                .apps
                .withdraw(tenant, Some(&account.id), None, now)
                .map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// A page of a list (RFC 7644 section 3.4.2.4).
    fn listed(&self, all: Vec<Value>) -> Result<Response<Body>, No> {
        let number = |name: &str, default: usize| -> Result<usize, No> {
            match self.query.iter().find(|(n, _)| n == name) {
                None => Ok(default),
                Some((_, text)) => text
                    .parse::<i64>()
                    .map(|n| usize::try_from(n).unwrap_or(0))
                    .map_err(|_| bad("startIndex and count are numbers")),
            }
        };
        let (start, count) = (number("startIndex", 1)?.max(1), number("count", 100)?.min(1000));
        let total = all.len();
        let page: Vec<Value> = all.into_iter().skip(start - 1).take(count).collect();
        Ok(said(
            StatusCode::OK,
            &json!({
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                "totalResults": total,
                "startIndex": start,
                "itemsPerPage": page.len(),
                "Resources": page,
            }),
        ))
    }

    /// Looking is written down, too: who has an account is nobody's business.
    async fn looked(&self, what: &str) -> Result<(), No> {
        let detail = [(DetailKey::Operation, format!("scim {what}"))];
        Ok(self.app.engine.record_event(&self.caller, EventKind::Operation, &detail).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_rfc_7644() {
        let check = |path: &str, expected: Option<(&str, What)>| {
            let expected = expected.map(|(t, w)| (TenantId::new(t).unwrap(), w));
            assert_eq!(find(path), expected, "{path}");
        };
        check("/scim/v2/Users", Some(("default", What::Users)));
        check("/t/north/scim/v2/Users/ana", Some(("north", What::User("ana".into()))));
        check("/scim/v2/Groups/nurse", Some(("default", What::Group("nurse".into()))));
        for nothing in ["/scim/v2", "/scim/v2/Users/", "/scim/v2/Users/a/b", "/scim/v1/Users"] {
            check(nothing, None);
        }
    }
}
