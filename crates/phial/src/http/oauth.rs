//! The authorization server over HTTP: SMART App Launch 2.2 and Backend Services, OAuth
//! 2.1, OpenID Connect. What may be given is decided in `phial_identity::oauth`; here are
//! the endpoints, and that every refusal is written down before it is answered.
//!
//! Each tenant has endpoints of its own, beside its FHIR base: `/oauth/token`, or
//! `/t/TENANT/oauth/token`. They answer under this server's own name alone
//! (`http.public_url`): an assertion for another server must not count here because
//! someone says that this one is that (RFC 9700 section 4.10).

mod jwks;
mod launch;
mod metadata;
mod proof;
mod register;
mod token;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode};
use jiff::SignedDuration;
use phial_audit::{DetailKey, EventKind};
use phial_base::{RequestId, RequestInfo, Subject, Surface, TenantId};
use phial_engine::{Caller, Failure, Tenant};
use phial_fhir::definitions::ResourceType;
use phial_identity::oauth::{Called, Client, Refused, RefusedCode, Wanted};
use phial_store::control::ControlLog;
use serde_json::{Value, json};

use super::finish::Wants;
use super::listen::Front;
use super::{answer, cors};
use crate::app::App;

pub(crate) use jwks::KeySets;

/// What this server asks of others for keys and log-ins.
pub(crate) mod outgoing {
    pub(crate) use super::jwks::{Asked, client, fetch, read};
}

/// The largest body.
const MAX_BODY: usize = 64 * 1024;

/// The certificate that a connection was made with.
#[derive(Clone, Debug)]
pub(crate) struct PeerCertificate {
    /// Its SHA-256, hexadecimal.
    pub(crate) sha256: Arc<str>,
    /// Whose it is, when a CA that the operator named vouches for it.
    pub(crate) called: Option<Arc<Called>>,
}

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Smart,
    OpenId,
    Jwks,
    Token,
    Introspect,
    Revoke,
    UserInfo,
    Launch,
    Register,
}

/// A row of the table of endpoints.
pub(crate) struct EndpointRow {
    pub(crate) methods: &'static [Method],
    /// Below the tenant's root.
    pub(crate) path: &'static str,
    pub(crate) endpoint: Endpoint,
    /// What it does, for the OpenAPI document.
    pub(crate) about: &'static str,
}

const fn row(
    methods: &'static [Method],
    path: &'static str,
    endpoint: Endpoint,
    about: &'static str,
) -> EndpointRow {
    EndpointRow { methods, path, endpoint, about }
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::POST];

/// The table.
pub(crate) static ENDPOINTS: &[EndpointRow] = &[
    row(
        GET,
        "/.well-known/smart-configuration",
        Endpoint::Smart,
        "Where and how apps authorize (SMART App Launch).",
    ),
    row(
        GET,
        "/fhir/.well-known/smart-configuration",
        Endpoint::Smart,
        "The same, below the FHIR base.",
    ),
    row(
        GET,
        "/.well-known/openid-configuration",
        Endpoint::OpenId,
        "The same in the words of OpenID Connect Discovery.",
    ),
    row(GET, "/oauth/jwks", Endpoint::Jwks, "The public keys of id_tokens."),
    row(
        POST,
        "/oauth/token",
        Endpoint::Token,
        "Tokens for a code, for a refresh token, or for a service's assertion.",
    ),
    row(POST, "/oauth/introspect", Endpoint::Introspect, "What a token stands for (RFC 7662)."),
    row(POST, "/oauth/revoke", Endpoint::Revoke, "A client gives a token back (RFC 7009)."),
    row(BOTH, "/oauth/userinfo", Endpoint::UserInfo, "Who a token's user is."),
    row(
        POST,
        "/oauth/launch",
        Endpoint::Launch,
        "An EHR begins a launch: an app, a patient, perhaps an encounter.",
    ),
    row(POST, "/oauth/register", Endpoint::Register, "An app registers itself (RFC 7591)."),
];

/// An endpoint that was found, of which tenant.
pub(crate) struct Found {
    tenant: TenantId,
    row: &'static EndpointRow,
}

/// The endpoint at this path.
pub(crate) fn find(path: &str) -> Option<Found> {
    let (tenant, rest) = match path.strip_prefix("/t/") {
        Some(rest) => {
            let at = rest.find('/')?;
            (TenantId::new(rest.get(..at)?).ok()?, rest.get(at..)?)
        }
        None => (TenantId::default_tenant(), path),
    };
    let row = ENDPOINTS.iter().find(|row| row.path == rest)?;
    Some(Found { tenant, row })
}

/// One request to an endpoint.
pub(crate) struct Ask<'a> {
    pub(crate) app: &'a App,
    pub(crate) tenant: &'a Tenant,
    pub(crate) tenant_id: TenantId,
    /// `https://host`, or `https://host/t/TENANT`: what endpoints lie below.
    pub(crate) root: String,
    pub(crate) info: RequestInfo,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) form: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) certificate: Option<PeerCertificate>,
}

/// How an endpoint ends otherwise than as asked.
pub(crate) enum Ends {
    /// A refusal that is to be written down, about this client.
    Refused(Refused, Option<String>),
    /// The engine's.
    Failure(Failure),
    /// Too many came from one network; what was to be written down is.
    TooMany(Option<SignedDuration>),
}

impl From<Refused> for Ends {
    fn from(r: Refused) -> Self {
        Ends::Refused(r, None)
    }
}

impl From<Failure> for Ends {
    fn from(f: Failure) -> Self {
        Ends::Failure(f)
    }
}

impl From<phial_identity::Error> for Ends {
    fn from(e: phial_identity::Error) -> Self {
        Ends::Refused(Refused::Failed(e), None)
    }
}

pub(crate) fn refused(code: RefusedCode, why: &'static str) -> Ends {
    Ends::Refused(Refused::new(code, why), None)
}

/// Answers a request to an endpoint.
pub(super) async fn answer(
    front: &Front,
    peer: SocketAddr,
    id: RequestId,
    found: Found,
    wants: &Wants,
    request: Request<Body>,
) -> Response<Body> {
    let app: &App = &front.app;
    let method = match *request.method() {
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    if method == Method::OPTIONS {
        return cors::options(found.row.methods, wants.origin.is_some());
    }
    if !found.row.methods.contains(&method) {
        return answer::wrong_method(found.row.methods);
    }
    let Some(tenant) = app.engine.tenant(&found.tenant) else {
        return error(StatusCode::NOT_FOUND, "invalid_request", "there is no such tenant");
    };
    let (parts, body) = request.into_parts();
    let Some(origin) = front.origin(&parts.headers, &parts.uri) else {
        return error(
            StatusCode::MISDIRECTED_REQUEST,
            "invalid_request",
            "this server does not go by that name: set http.public_url",
        );
    };
    let root = match found.tenant == TenantId::default_tenant() {
        true => origin,
        false => format!("{origin}/t/{}", found.tenant),
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "the body is too large");
    };
    let ask = Ask {
        app,
        tenant,
        root,
        info: RequestInfo {
            id,
            at: app.clock.now(),
            ip: Some(peer.ip()),
            device: parts
                .headers
                .get(header::USER_AGENT)
                .and_then(|v| v.to_str().ok())
                .map(|v| v.chars().take(128).collect()),
            surface: Surface::Fhir,
        },
        headers: &parts.headers,
        form: super::negotiate::form(&parts.headers, &body),
        body,
        certificate: parts.extensions.get::<PeerCertificate>().cloned(),
        tenant_id: found.tenant,
    };
    let endpoint = found.row.endpoint;
    let ended = match endpoint {
        Endpoint::Smart => metadata::smart(&ask),
        Endpoint::OpenId => metadata::openid(&ask),
        Endpoint::Jwks => metadata::jwks(&ask),
        Endpoint::Token => token::token(&ask).await,
        Endpoint::Introspect => tokens::introspect(&ask).await,
        Endpoint::Revoke => tokens::revoke(&ask).await,
        Endpoint::UserInfo => tokens::userinfo(&ask).await,
        Endpoint::Launch => launch::launch(&ask).await,
        Endpoint::Register => register::register(&ask).await,
    };
    match ended {
        Ok(response) => response,
        Err(Ends::Failure(failure)) => super::serve::fail(&failure),
        Err(Ends::TooMany(after)) => too_many(after),
        Err(Ends::Refused(refusal, client)) => ask.refuse(refusal, client.as_deref()).await,
    }
}

impl Ask<'_> {
    pub(crate) fn control(&self) -> &ControlLog {
        self.tenant.vessel.control()
    }

    /// SHA-256 of the certificate that the connection was made with.
    pub(crate) fn fingerprint(&self) -> Option<&str> {
        self.certificate.as_ref().map(|c| &*c.sha256)
    }

    /// A field of the form, given once.
    ///
    /// # Errors
    /// When it is given more than once (RFC 6749 section 3.2).
    pub(crate) fn field(&self, name: &str) -> Result<Option<&str>, Ends> {
        once(&self.form, name)
    }

    /// A caller for entries about this request.
    pub(crate) fn caller(&self, subject: Option<Arc<Subject>>) -> Result<Caller, Failure> {
        let subject = match subject {
            Some(subject) => subject,
            None => Arc::new(super::authn::nobody(&self.tenant_id)?),
        };
        Ok(Caller { subject, request: self.info.clone() })
    }

    /// Writes down what happened, durably.
    pub(crate) async fn note(
        &self,
        subject: Option<Arc<Subject>>,
        kind: EventKind,
        detail: &[(DetailKey, String)],
    ) -> Result<(), Failure> {
        let caller = self.caller(subject)?;
        self.app.engine.record_event(&caller, kind, detail).await
    }

    /// Writes a refusal down, and answers with it.
    async fn refuse(&self, refusal: Refused, client: Option<&str>) -> Response<Body> {
        let mut broken = false;
        let (code, why) = match refusal {
            Refused::For { code, why } => (code, why),
            Refused::Failed(phial_identity::Error::Store(e)) => {
                return super::serve::fail(&Failure::from_store(e, self.info.id));
            }
            Refused::Failed(e) => {
                tracing::error!(incident = %self.info.id, error = %e, "a client can't be read");
                broken = true;
                (RefusedCode::TemporarilyUnavailable, "something broke here")
            }
        };
        let mut detail = vec![(DetailKey::Reason, format!("{}: {why}", code.name()))];
        detail.extend(client.map(|c| (DetailKey::Client, c.to_owned())));
        if let Err(failure) = self.note(None, EventKind::ClientRefused, &detail).await {
            return super::serve::fail(&failure);
        }
        let status = match code {
            RefusedCode::InvalidClient | RefusedCode::InvalidToken => StatusCode::UNAUTHORIZED,
            RefusedCode::AccessDenied => StatusCode::FORBIDDEN,
            _ if broken => StatusCode::INTERNAL_SERVER_ERROR,
            RefusedCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = error(status, code.name(), why);
        if status == StatusCode::UNAUTHORIZED {
            let how = if code == RefusedCode::InvalidToken { "Bearer" } else { "Basic" };
            let value = HeaderValue::from_static(how);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }

    /// Reads scopes as this server understands them.
    pub(crate) fn wanted(text: &str) -> Wanted {
        let is_type = |ty: &str| ResourceType::from_name(ty).is_some();
        Wanted::read(text, &is_query).keep(|s| s.ty.as_deref().is_none_or(is_type))
    }

    /// The most that a client may ask for.
    pub(crate) fn limits(client: &Client) -> Wanted {
        client.limits(&is_query)
    }
}

/// Whether a scope's query is one that can be held against records of the type.
pub(crate) fn is_query(ty: &str, query: &str) -> bool {
    ResourceType::from_name(ty).is_some_and(|ty| phial_engine::scope_query(ty, query).is_some())
}

fn once<'p>(pairs: &'p [(String, String)], name: &str) -> Result<Option<&'p str>, Ends> {
    let mut all = pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let first = all.next();
    if all.next().is_some() {
        return Err(refused(RefusedCode::InvalidRequest, "a parameter is given more than once"));
    }
    Ok(first.filter(|v| !v.is_empty()))
}

/// An answer in JSON.
pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    answer::plain(status, Bytes::from(value.to_string()))
}

/// Too many requests (RFC 6585 section 4).
fn too_many(after: Option<SignedDuration>) -> Response<Body> {
    let code = RefusedCode::TemporarilyUnavailable.name();
    let mut response =
        error(StatusCode::TOO_MANY_REQUESTS, code, "too many came from this network: wait");
    let seconds = after.map_or(3600, |a| a.as_secs() + 1);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn error(status: StatusCode, code: &str, why: &str) -> Response<Body> {
    json_answer(status, &json!({"error": code, "error_description": why}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_by_tenant() {
        let check = |path: &str, expected: Option<(&str, Endpoint)>| {
            let found = find(path);
            let found = found.as_ref().map(|f| (f.tenant.as_str(), f.row.endpoint));
            assert_eq!(found, expected, "{path}");
        };
        check("/oauth/token", Some(("default", Endpoint::Token)));
        check("/oauth/register", Some(("default", Endpoint::Register)));
        check("/t/north/oauth/token", Some(("north", Endpoint::Token)));
        check("/t/north/fhir/.well-known/smart-configuration", Some(("north", Endpoint::Smart)));
        for nothing in ["/oauth", "/oauth/token/", "/t/oauth/token", "/t//oauth/token", "/fhir"] {
            check(nothing, None);
        }
    }

    #[test]
    fn a_query_of_a_scope_is_one_of_the_types_own() {
        assert!(is_query("Observation", "category=laboratory"));
        assert!(is_query("Observation", "code=http://loinc.org|8480-6&status=final"));
        for bad in ["subject.name=x", "_sort=date", "_count=1", "nonsense=1", "_include=*", ""] {
            assert!(!is_query("Observation", bad), "{bad}");
        }
        assert!(!is_query("Nothing", "category=laboratory"));
    }
}
