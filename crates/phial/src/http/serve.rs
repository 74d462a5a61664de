//! Each request from its first byte to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode, Version};
use phial_base::{RequestId, RequestInfo, Surface, TenantId};
use phial_engine::interaction::batch::parse_etag;
use phial_engine::interaction::changes::Changes;
use phial_engine::interaction::history::History;
use phial_engine::interaction::search::Search;
use phial_engine::interaction::search_system::SystemSearch;
use phial_engine::operation::subscription::EventsAsked;
use phial_engine::operation::terminology::Sent;
use phial_engine::{Caller, Failure, Known, part_of_one};
use phial_fhir::capability::stored_types;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::{Doc, Limits};

use super::answer;
use super::authn::authenticate;
use super::listen::Front;
use super::prefer::{Prefer, prefer};
use super::pretty::pretty;
use super::route::{NoRoute, Route, route, tenant};
use super::urls;
use crate::app::App;
use crate::config::PhiInUrls;

/// Answers one request. Reads are answered on the connection's own thread; all else,
/// which may take long, goes to the threads for that, and ends with its connection.
pub(super) async fn handle(
    front: &Arc<Front>,
    peer: SocketAddr,
    request: Request<Body>,
) -> Response<Body> {
    let asked =
        tenant(request.uri().path()).map(|(tenant, rest)| (tenant, route(request.method(), rest)));
    let short = match &asked {
        None | Some((_, Err(_))) => true,
        Some((_, Ok(route))) => {
            matches!(route, Route::Read(..) | Route::Vread(..) | Route::Capabilities)
        }
    };
    if short {
        return within_limit(front, peer, asked, request).await;
    }
    let there = Arc::clone(front);
    let work = front.long.spawn(async move { within_limit(&there, peer, asked, request).await });
    let _ends_with_us = Abandon(work.abort_handle());
    // It fails by a panic, which was reported where it happened.
    work.await.unwrap_or_else(|_| {
        answer::refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            IssueCode::Exception,
            "the request failed; whether a write was stored is not known: look before trying \
             again",
        )
    })
}

/// Ends a task when whoever waits for it goes away.
struct Abandon(tokio::task::AbortHandle);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is asked for, of which tenant; `None` when the path is outside every FHIR base.
type Asked = Option<(TenantId, Result<Route, NoRoute>)>;

/// Answers one request, within the time that requests have.
async fn within_limit(
    front: &Front,
    peer: SocketAddr,
    asked: Asked,
    request: Request<Body>,
) -> Response<Body> {
    let id: RequestId = front.app.engine.new_request_id();
    let limit = Duration::from_secs(front.app.config().http.request_timeout_s);
    let head = request.method() == Method::HEAD;
    let one_by_one = request.version() < Version::HTTP_2;
    let work = dispatch(front, peer, id, asked, request);
    let mut response = match tokio::time::timeout(limit, work).await {
        Ok(response) => response,
        Err(_) => answer::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            IssueCode::Timeout,
            "the request took too long; whether a write was stored is not known: look before \
                 trying again",
        ),
    };
    answer::harden(&mut response, id);
    // HTTP/2 says the same with GOAWAY.
    if one_by_one && front.health.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if head {
        *response.body_mut() = Body::empty();
    }
    response
}

/// How long a request may be in its URL.
const MAX_URL: usize = 8 * 1024;

async fn dispatch(
    front: &Front,
    peer: SocketAddr,
    id: RequestId,
    asked: Asked,
    request: Request<Body>,
) -> Response<Body> {
    let app: &App = &front.app;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Some(answer) = front.health.answer(&front.app, path).await {
        return answer;
    }
    if path.len() + parts.uri.query().map_or(0, str::len) > MAX_URL {
        return answer::refuse(
            StatusCode::URI_TOO_LONG,
            IssueCode::TooLong,
            "the URL is too long: use POST _search",
        );
    }
    let Some((tenant_id, route)) = asked else {
        return answer::refuse(
            StatusCode::NOT_FOUND,
            IssueCode::NotFound,
            "nothing is here; the FHIR base is /fhir",
        );
    };
    let base = base(&parts.headers, &parts.uri, front.address, &tenant_id);
    if let Some(refusal) = wants_other_format(&parts.headers, parts.uri.query()) {
        return refusal;
    }
    if route == Ok(Route::Capabilities) {
        return answer::json(
            StatusCode::OK,
            app.engine.capabilities(&base, app.config().fhir.delete_many()),
        );
    }
    let info = RequestInfo {
        id,
        at: app.clock.now(),
        ip: Some(peer.ip()),
        device: parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .map(|v| v.chars().take(128).collect()),
        surface: Surface::Fhir,
    };
    let caller = match authenticate(app, &tenant_id, &parts.headers, info).await {
        Ok(caller) => caller,
        Err(failure) => return fail(&failure),
    };
    let route = match route {
        Ok(route) => route,
        Err(none) => return no_route(none),
    };
    let prefer = prefer(&parts.headers);
    if prefer.asynchronous {
        return answer::refuse(
            StatusCode::BAD_REQUEST,
            IssueCode::NotSupported,
            "Prefer: respond-async is not supported: ask without it, the answer comes at once",
        );
    }
    let request = Incoming { app, caller, headers: &parts.headers, prefer, base, body };
    let query = parts.uri.query().unwrap_or("");
    match request.answer(route, query).await {
        Ok(response) if asks_pretty(query) => laid_out(response).await,
        Ok(response) => response,
        Err(Stop::Failure(failure)) => fail(&failure),
        Err(Stop::Answer(response)) => *response,
    }
}

fn asks_pretty(query: &str) -> bool {
    query.contains("_pretty")
        && form_urlencoded::parse(query.as_bytes()).any(|(k, v)| k == "_pretty" && v == "true")
}

/// The answer with its JSON over several lines.
async fn laid_out(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // It is in memory already: released bytes are one piece.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    if bytes.is_empty() {
        return Response::from_parts(parts, Body::from(bytes));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(pretty(&bytes)))
}

fn fail(failure: &Failure) -> Response<Body> {
    match failure {
        // The chain of causes holds codes and names of stores, never a value.
        Failure::Internal { incident, source } => {
            tracing::error!(incident = %incident, error = %source, "internal error");
        }
        Failure::Busy(Some(cause)) => tracing::warn!(error = %cause, "a store is unavailable"),
        _ => {}
    }
    answer::failed(failure)
}

fn no_route(none: NoRoute) -> Response<Body> {
    let (status, code, text) = match none {
        NoRoute::NotFound => (StatusCode::NOT_FOUND, IssueCode::NotFound, "nothing is here"),
        NoRoute::UnknownType => {
            (StatusCode::NOT_FOUND, IssueCode::NotSupported, "FHIR R4 has no such resource type")
        }
        NoRoute::Method => (
            StatusCode::METHOD_NOT_ALLOWED,
            IssueCode::NotSupported,
            "this method is not for this path",
        ),
        NoRoute::NotSupported => (
            StatusCode::METHOD_NOT_ALLOWED,
            IssueCode::NotSupported,
            "this interaction is not supported: see the CapabilityStatement at metadata",
        ),
        NoRoute::BadId => {
            (StatusCode::BAD_REQUEST, IssueCode::Value, "the path has no valid id or version")
        }
    };
    answer::refuse(status, code, text)
}

/// The FHIR base URL as the client names this server.
fn base(
    headers: &HeaderMap,
    uri: &axum::http::Uri,
    address: SocketAddr,
    tenant: &TenantId,
) -> String {
    let named = headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
        .filter(|h| {
            h.len() <= 255 && h.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
        });
    let host = named.map_or_else(|| address.to_string(), str::to_owned);
    if *tenant == TenantId::default_tenant() {
        format!("https://{host}/fhir")
    } else {
        format!("https://{host}/t/{tenant}/fhir")
    }
}

/// XML and other formats are refused with a clear answer.
fn wants_other_format(headers: &HeaderMap, query: Option<&str>) -> Option<Response<Body>> {
    let refused = || {
        Some(answer::refuse(
            StatusCode::NOT_ACCEPTABLE,
            IssueCode::NotSupported,
            "only JSON is spoken here: accept application/fhir+json",
        ))
    };
    if let Some(query) = query
        && let Some((_, format)) =
            form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "_format")
    {
        return if format.contains("json") { None } else { refused() };
    }
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    let json =
        accept.contains("json") || accept.contains("*/*") || accept.contains("application/*");
    if json || accept.trim().is_empty() { None } else { refused() }
}

/// Why a request ends early.
pub(super) enum Stop {
    Failure(Failure),
    Answer(Box<Response<Body>>),
}

impl From<Failure> for Stop {
    fn from(f: Failure) -> Self {
        Stop::Failure(f)
    }
}

impl Stop {
    pub(super) fn answer(response: Response<Body>) -> Self {
        Stop::Answer(Box::new(response))
    }
}

/// One authenticated request.
pub(super) struct Incoming<'a> {
    pub(super) app: &'a App,
    pub(super) caller: Caller,
    pub(super) headers: &'a HeaderMap,
    pub(super) prefer: Prefer,
    pub(super) base: String,
    body: Body,
}

impl Incoming<'_> {
    pub(super) fn header(&self, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    async fn answer(self, route: Route, query: &str) -> Result<Response<Body>, Stop> {
        let engine = &self.app.engine;
        match route {
            Route::Capabilities => Err(Failure::NotFound.into()),
            Route::Read(ty, id) => {
                let part = part_of_one(query)?;
                let found = engine.read_part(&self.caller, ty, &id, part.as_ref()).await?;
                Ok(answer::released(found, Some(&self.known())))
            }
            Route::Vread(ty, id, version) => {
                let part = part_of_one(query)?;
                let found =
                    engine.vread_part(&self.caller, ty, &id, version, part.as_ref()).await?;
                Ok(answer::released(found, Some(&self.known())))
            }
            Route::History(ty, id) => {
                let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                let history = History { ty, id, pairs, base: self.base };
                Ok(answer::released(engine.history(&self.caller, history).await?, None))
            }
            Route::Search(ty, posted) => self.search(Some(ty), None, posted, query).await,
            Route::SearchSystem(posted) => self.search(None, None, posted, query).await,
            Route::Compartment(ct, id, ty, posted) => {
                self.search(Some(ty), Some((ct, id)), posted, query).await
            }
            Route::Validate(ty, id, posted) => {
                let (caller, app) = (self.caller.clone(), self.app);
                let sent = self.sent(posted, query).await?;
                Ok(answer::released(app.engine.validate(&caller, ty, id, sent).await?, None))
            }
            Route::Expand(id, posted) => {
                let (caller, app) = (self.caller.clone(), self.app);
                let sent = self.sent(posted, query).await?;
                Ok(answer::released(app.engine.expand(&caller, id, sent).await?, None))
            }
            Route::ValidateCode(ty, id, posted) => {
                let (caller, app) = (self.caller.clone(), self.app);
                let sent = self.sent(posted, query).await?;
                Ok(answer::released(app.engine.validate_code(&caller, ty, id, sent).await?, None))
            }
            Route::SubscriptionStatus(id) => {
                let status = engine.subscription_status(&self.caller, &id, &self.base).await?;
                Ok(answer::released(status, None))
            }
            Route::SubscriptionEvents(id) => {
                let asked = events_asked(query)?;
                let events = engine.subscription_events(&self.caller, &id, &asked, &self.base);
                Ok(answer::released(events.await?, None))
            }
            Route::TypeHistory(ty) => self.changes(Some(ty), query).await,
            Route::SystemHistory => self.changes(None, query).await,
            Route::Create(_)
            | Route::Update(..)
            | Route::UpdateWhere(_)
            | Route::Patch(..)
            | Route::PatchWhere(_)
            | Route::Delete(..)
            | Route::DeleteWhere(_)
            | Route::Bundle => self.write(route, query).await,
        }
    }

    async fn changes(self, ty: Option<ResourceType>, query: &str) -> Result<Response<Body>, Stop> {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let changes = Changes { ty, pairs, base: self.base };
        Ok(answer::released(self.app.engine.changes(&self.caller, changes).await?, None))
    }

    async fn search(
        self,
        ty: Option<ResourceType>,
        compartment: Option<(ResourceType, phial_base::LogicalId)>,
        posted: bool,
        query: &str,
    ) -> Result<Response<Body>, Stop> {
        let mut pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mode = self.app.config().http.phi_in_urls;
        let types = ty.map_or_else(|| stored_types().collect(), |ty| vec![ty]);
        if let Some(name) = urls::offending(mode, &types, &pairs) {
            let path = ty.map(|ty| format!("{ty}/")).unwrap_or_default();
            let text = format!(
                "{name} identifies people and may not stand in a URL: send it in the body of POST \
                 {path}_search (http.phi_in_urls)"
            );
            return Err(Failure::invalid(IssueCode::Forbidden, name, text).into());
        }
        let (app, caller, base) = (self.app, self.caller.clone(), self.base.clone());
        let lenient = self.prefer.lenient;
        if posted {
            if !self.content_type().starts_with("application/x-www-form-urlencoded") {
                return Err(Stop::answer(answer::refuse(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    IssueCode::NotSupported,
                    "POST _search takes application/x-www-form-urlencoded",
                )));
            }
            let body = self.bytes().await?;
            pairs.extend(form_urlencoded::parse(&body).into_owned());
        }
        let released = match ty {
            Some(ty) => {
                let search = Search { ty, pairs, compartment, base, lenient };
                app.engine.search(&caller, search).await?
            }
            None => {
                let search = SystemSearch { pairs, base, lenient };
                app.engine.search_system(&caller, search).await?
            }
        };
        Ok(answer::released(released, None))
    }

    /// The parameters of an operation.
    async fn sent(self, posted: bool, query: &str) -> Result<Sent, Stop> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        // The codes that are asked of may be someone's.
        let mode = self.app.config().http.phi_in_urls;
        let plain = ["url", "mode", "profile", "filter", "offset", "count", "_format", "_pretty"];
        if mode == PhiInUrls::Strict
            && let Some(n) = pairs.iter().position(|(name, _)| !plain.contains(&name.as_str()))
        {
            let text =
                format!("parameter {} may not stand in a URL: POST it (http.phi_in_urls)", n + 1);
            return Err(Failure::invalid(IssueCode::Forbidden, "", text).into());
        }
        let body = if posted { Some(self.resource().await?) } else { None };
        Ok(Sent { pairs, body })
    }

    /// What the client has already (RFC 9110 §13.1).
    fn known(&self) -> Known {
        let since = self.header(header::IF_MODIFIED_SINCE);
        Known {
            tag: self.header(header::IF_NONE_MATCH).map(str::to_owned),
            since: since
                .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
                .map(|at| at.timestamp().as_microsecond()),
        }
    }

    pub(super) fn content_type(&self) -> String {
        self.header(header::CONTENT_TYPE).unwrap_or("").trim().to_ascii_lowercase()
    }

    pub(super) fn if_match(&self) -> Result<Option<phial_base::Version>, Failure> {
        match self.header(header::IF_MATCH) {
            None => Ok(None),
            Some(tag) => parse_etag(tag).map(Some).ok_or_else(|| {
                Failure::invalid(IssueCode::Value, "If-Match", "expected an ETag such as W/\"3\"")
            }),
        }
    }

    pub(super) async fn bytes(self) -> Result<bytes::Bytes, Stop> {
        let limit = self.app.max_bytes();
        axum::body::to_bytes(self.body, limit).await.map_err(|_| {
            Stop::answer(answer::refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                IssueCode::TooLong,
                "the body is larger than http.max_body_mib, or was cut off",
            ))
        })
    }

    pub(super) async fn resource(self) -> Result<Doc, Stop> {
        let kind = self.content_type();
        let kind = kind.split(';').next().unwrap_or("").trim();
        if !matches!(kind, "application/fhir+json" | "application/json" | "text/json") {
            return Err(Stop::answer(answer::refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                IssueCode::NotSupported,
                "send application/fhir+json",
            )));
        }
        let limit = self.app.max_bytes();
        let body = self.bytes().await?;
        let limits = Limits { max_bytes: limit, ..Limits::default() };
        Doc::parse(&body, &limits)
            .map_err(|issues| Failure::Invalid(phial_engine::Refusal { issues }).into())
    }
}

/// The parameters of `$events`; any other is refused by name.
fn events_asked(query: &str) -> Result<EventsAsked, Failure> {
    let mut asked = EventsAsked::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = || {
            value.parse().map(Some).map_err(|_| {
                Failure::invalid(IssueCode::Value, name.as_ref(), "expected a number of an event")
            })
        };
        match name.as_ref() {
            "eventsSinceNumber" => asked.since = number()?,
            "eventsUntilNumber" => asked.until = number()?,
            "content" => asked.content = Some(value.into_owned()),
            "_format" | "_pretty" => {}
            _ => {
                return Err(Failure::invalid(
                    IssueCode::NotSupported,
                    "$events",
                    "$events takes eventsSinceNumber, eventsUntilNumber and content",
                ));
            }
        }
    }
    Ok(asked)
}
