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
use phial_engine::operation::export::Level;
use phial_engine::operation::meta::Change;
use phial_engine::operation::subscription::{EventsAsked, StatusAsked};
use phial_engine::operation::terminology::Sent;
use phial_engine::{Caller, Failure, Known, part_of_one};
use phial_fhir::capability::stored_types;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::{Doc, Limits};

use super::authn::authenticate;
use super::binary;
use super::coding::Undecoded;
use super::finish::{Wants, finish};
use super::health::Health;
use super::listen::Front;
use super::negotiate::BodyIs;
use super::oauth::PeerCertificate;
use super::prefer::{Prefer, prefer};
use super::route::{NoRoute, Route, route, tenant};
use super::surface::{self, Plain};
use super::urls;
use super::writes::written;
use super::{answer, coding, cors, negotiate, oauth, openapi, pages, scim};
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
        _ if oauth::find(request.uri().path()).is_some() => false,
        _ if scim::find(request.uri().path()).is_some() => false,
        // A page may wait for a password to be judged.
        None => !surface::is_page(request.uri().path()),
        Some((_, Err(_))) => true,
        Some((_, Ok(route))) => {
            matches!(route, Route::Read(..) | Route::Vread(..)) && !binary::is_download(route)
        }
    };
    if short {
        return within_limit(front, peer, asked, request).await;
    }
    let there = Arc::clone(front);
    let work = front.long.spawn(async move { within_limit(&there, peer, asked, request).await });
    let _ends_with_us = Abandon(work.abort_handle());
    // It fails by a panic, which was reported where it happened.
    work.await.unwrap_or_else(|_| answer::broken())
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
    let found = asked.as_ref().and_then(|(_, route)| route.as_ref().ok());
    let upload = found.is_some_and(|route| binary::is_upload(route, request.headers()));
    let query = request.uri().query().unwrap_or("");
    let native = found.is_some_and(|route| binary::is_native(route, request.headers(), query));
    let limit = Duration::from_secs({
        let config = front.app.config();
        if upload { config.attachments.timeout_s } else { config.http.request_timeout_s }
    });
    let wants = Wants::of(&front.app.config().http, &request);
    // Content goes out as it came in.
    let wants = match found {
        _ if native => wants.unchanged(),
        // A job's files are NDJSON.
        Some(Route::JobFile(..)) => wants.in_its_own(),
        _ => wants,
    };
    let one_by_one = request.version() < Version::HTTP_2;
    let work = dispatch(front, peer, id, asked, &wants, request);
    let response = match tokio::time::timeout(limit, work).await {
        Ok(response) => response,
        Err(_) => answer::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            IssueCode::Timeout,
            "the request took too long; whether a write was stored is not known: look before \
                 trying again",
        ),
    };
    let mut response = finish(response, wants, front.app.rng.as_ref(), id).await;
    // HTTP/2 says the same with GOAWAY.
    if one_by_one && front.health.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
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
    wants: &Wants,
    request: Request<Body>,
) -> Response<Body> {
    let app: &App = &front.app;
    if let Some(found) = oauth::find(request.uri().path()) {
        return oauth::answer(front, peer, id, found, wants, request).await;
    }
    if let Some(found) = scim::find(request.uri().path()) {
        return scim::answer(front, peer, id, found, request).await;
    }
    if request.uri().path_and_query().is_none_or(|p| p.as_str().len() <= MAX_URL)
        && let Some(found) = pages::find(request.uri().path())
    {
        return pages::answer(front, peer, id, found, request).await;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Some(route) = surface::plain(path) {
        return outside(front, route, &parts.method, wants).await;
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
    if parts.method == Method::OPTIONS
        && let Err(NoRoute::Method(methods)) = &route
    {
        return cors::options(methods, wants.origin.is_some());
    }
    let base = base(&parts.headers, &parts.uri, front.address, &tenant_id);
    let query = parts.uri.query().unwrap_or("");
    if wants.spoken.is_none() {
        return answer::refuse(
            StatusCode::NOT_ACCEPTABLE,
            IssueCode::NotSupported,
            "only FHIR R4 in JSON is spoken here, not XML or Turtle: accept application/fhir+json",
        );
    }
    if route == Ok(Route::Capabilities) {
        let surface = surface::surface(&app.config());
        return answer::json(StatusCode::OK, app.engine.capabilities(&base, &surface));
    }
    let info = RequestInfo {
        id,
        at: app.clock.now(),
        ip: Some(peer.ip()),
        device: device(&parts.headers),
        surface: Surface::Fhir,
    };
    let certificate = parts.extensions.get::<PeerCertificate>().map(|c| &*c.sha256);
    let caller = match authenticate(app, &tenant_id, &parts.headers, certificate, info).await {
        Ok(caller) => caller,
        Err(failure) => return fail(&failure),
    };
    let route = match route {
        Ok(route) => route,
        Err(none) => return no_route(none),
    };
    let prefer = prefer(&parts.headers);
    if prefer.asynchronous && !route.may_take_long() {
        return answer::refuse(
            StatusCode::BAD_REQUEST,
            IssueCode::NotSupported,
            "Prefer: respond-async is not supported: ask without it, the answer comes at once",
        );
    }
    let request = Incoming { app, caller, headers: &parts.headers, prefer, base, body };
    match request.answer(route, query).await {
        Ok(response) => response,
        Err(Stop::Failure(failure)) => fail(&failure),
        Err(Stop::Answer(response)) => *response,
    }
}

/// The answer of a route outside every FHIR base.
async fn outside(front: &Front, route: Plain, method: &Method, wants: &Wants) -> Response<Body> {
    match (method, route) {
        (&Method::OPTIONS, _) => cors::options(&[Method::GET], wants.origin.is_some()),
        (m, _) if m != Method::GET && m != Method::HEAD => answer::wrong_method(&[Method::GET]),
        (_, Plain::Alive) => Health::alive(),
        (_, Plain::Ready) => front.health.ready(&front.app).await,
        (_, Plain::OpenApi) => answer::plain(StatusCode::OK, openapi::served()),
    }
}

/// The client's own name for itself.
pub(super) fn device(headers: &HeaderMap) -> Option<String> {
    let named = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
    named.map(|v| v.chars().take(128).collect())
}

pub(super) fn fail(failure: &Failure) -> Response<Body> {
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
        NoRoute::Method(others) => return answer::wrong_method(&others),
        NoRoute::NotSupported => (
            StatusCode::NOT_FOUND,
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
    pub(super) body: Body,
}

impl Incoming<'_> {
    pub(super) fn header(&self, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    async fn answer(self, route: Route, query: &str) -> Result<Response<Body>, Stop> {
        if binary::is_upload(&route, self.headers) {
            return self.upload(route).await;
        }
        if binary::is_download(&route)
            && let Some(response) =
                downloaded(self.app, &self.caller, self.headers, &route, query).await?
        {
            return Ok(response);
        }
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
            Route::SubscriptionStatuses(posted) => {
                let (caller, app, base) = (self.caller.clone(), self.app, self.base.clone());
                let asked = statuses_asked(&self.asked(posted, query).await?)?;
                let all = app.engine.subscription_statuses(&caller, &asked, &base).await?;
                Ok(answer::released(all, None))
            }
            Route::SubscriptionEvents(id, posted) => {
                let (caller, app, base) = (self.caller.clone(), self.app, self.base.clone());
                let asked = events_asked(&self.asked(posted, query).await?)?;
                let events = app.engine.subscription_events(&caller, &id, &asked, &base).await?;
                Ok(answer::released(events, None))
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
            Route::Everything(ty, id, posted) => self.everything(ty, id, posted, query).await,
            Route::BreakGlass(id) => self.break_glass(id, query).await,
            Route::BreakGlassEnd(id) => self.end_break_glass(id).await,
            Route::Meta(ty, id) => {
                Ok(answer::released(engine.meta(&self.caller, ty, &id).await?, None))
            }
            Route::MetaOfType(ty) => {
                Ok(answer::released(engine.meta_in_use(&self.caller, Some(ty)).await?, None))
            }
            Route::MetaOfAll => {
                Ok(answer::released(engine.meta_in_use(&self.caller, None).await?, None))
            }
            Route::ExportSystem(posted) => self.export(Level::System, posted, query).await,
            Route::ExportPatients(posted) => self.export(Level::Patient, posted, query).await,
            Route::ExportGroup(id, posted) => self.export(Level::Group(id), posted, query).await,
            Route::Import => self.import(query).await,
            Route::JobStatus(job) => self.job_status(&job),
            Route::JobCancel(job) => self.cancel_job(&job).await,
            Route::JobFile(job, file) => self.job_file(&job, file).await,
            Route::MetaAdd(ty, id) => self.change_meta(ty, id, Change::Add).await,
            Route::MetaDelete(ty, id) => self.change_meta(ty, id, Change::Delete).await,
        }
    }

    async fn changes(self, ty: Option<ResourceType>, query: &str) -> Result<Response<Body>, Stop> {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let changes = Changes { ty, pairs, base: self.base };
        Ok(answer::released(self.app.engine.changes(&self.caller, changes).await?, None))
    }

    /// Writes a Binary by its content.
    async fn upload(self, route: Route) -> Result<Response<Body>, Stop> {
        let if_match = self.if_match()?;
        let provenance = self.provenance()?;
        let id = match route {
            Route::Update(_, id) => Some(id),
            _ => None,
        };
        let (app, caller, base) = (self.app, self.caller, self.base);
        let uploader =
            binary::Uploader { app, caller: &caller, headers: self.headers, base: &base };
        let w = match uploader.upload(id, if_match, provenance, self.body).await {
            Ok(w) => w,
            Err(refused) => {
                let response = fail(&refused.failure);
                return Err(Stop::answer(refused.answer(response)));
            }
        };
        written(app, &caller, &w, &base, self.prefer.returning).await
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
                return Err(Stop::answer(answer::unsupported(
                    (header::ACCEPT, "application/x-www-form-urlencoded"),
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

    /// The body, unpacked.
    pub(super) async fn bytes(self) -> Result<bytes::Bytes, Stop> {
        let limit = self.app.max_bytes();
        let too_large = || {
            Stop::answer(answer::refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                IssueCode::TooLong,
                "the body is larger than http.max_body_mib, or was cut off",
            ))
        };
        let refused = |undecoded| match undecoded {
            Undecoded::TooLarge => too_large(),
            Undecoded::Unknown => Stop::answer(answer::unsupported(
                (header::ACCEPT_ENCODING, coding::UNDERSTOOD),
                "this Content-Encoding is not read here: send one of zstd, gzip, br, or none",
            )),
            Undecoded::Broken => Stop::answer(answer::refuse(
                StatusCode::BAD_REQUEST,
                IssueCode::Structure,
                "the body is not what its Content-Encoding says",
            )),
        };
        let coding = coding::sent(self.headers).map_err(refused)?;
        let body = axum::body::to_bytes(self.body, limit).await.map_err(|_| too_large())?;
        match coding {
            Some(coding) => coding::decode(coding, &body, limit).map_err(refused),
            None => Ok(body),
        }
    }

    pub(super) async fn resource(self) -> Result<Doc, Stop> {
        let refused = match negotiate::sent(self.headers) {
            BodyIs::Json => None,
            BodyIs::OtherFhir => {
                Some("XML and Turtle are not read here: send application/fhir+json")
            }
            BodyIs::OtherVersion => Some("only FHIR R4 is read here: fhirVersion is 4.0"),
            BodyIs::OtherCharset => Some("FHIR is UTF-8: send application/fhir+json"),
            BodyIs::Unknown => Some("send application/fhir+json"),
        };
        if let Some(text) = refused {
            let takes = (header::ACCEPT, "application/fhir+json, application/json");
            return Err(Stop::answer(answer::unsupported(takes, text)));
        }
        let limit = self.app.max_bytes();
        let body = self.bytes().await?;
        let limits = Limits { max_bytes: limit, ..Limits::default() };
        Doc::parse(&body, &limits)
            .map_err(|issues| Failure::Invalid(phial_engine::Refusal { issues }).into())
    }
}

/// The parameters of `$events`; any other is refused by name.
fn events_asked(pairs: &[(String, String)]) -> Result<EventsAsked, Failure> {
    let mut asked = EventsAsked::default();
    for (name, value) in pairs {
        let number = || {
            value.parse().map(Some).map_err(|_| {
                Failure::invalid(IssueCode::Value, name, "expected a number of an event")
            })
        };
        match name.as_str() {
            "eventsSinceNumber" => asked.since = number()?,
            "eventsUntilNumber" => asked.until = number()?,
            "content" => asked.content = Some(value.clone()),
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

/// The parameters of `$status` of the type; any other is refused by name.
fn statuses_asked(pairs: &[(String, String)]) -> Result<StatusAsked, Failure> {
    let mut asked = StatusAsked::default();
    for (name, value) in pairs {
        let each = value.split(',').map(str::to_owned);
        match name.as_str() {
            "id" => {
                for id in each {
                    let id = phial_base::LogicalId::new(&id);
                    asked.ids.push(id.map_err(|_| {
                        Failure::invalid(IssueCode::Value, "id", "expected a logical id")
                    })?);
                }
            }
            "status" => asked.statuses.extend(each),
            "_format" | "_pretty" => {}
            _ => {
                let text = "$status takes id and status";
                return Err(Failure::invalid(IssueCode::NotSupported, "$status", text));
            }
        }
    }
    Ok(asked)
}

/// A Binary's content, by itself or in its JSON; `None` when a plain read will do.
async fn downloaded(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    route: &Route,
    query: &str,
) -> Result<Option<Response<Body>>, Stop> {
    let which = match route {
        Route::Read(_, id) => (id, None),
        Route::Vread(_, id, version) => (id, Some(*version)),
        _ => return Ok(None),
    };
    let native = binary::is_native(route, headers, query);
    if !native && part_of_one(query)?.is_some() {
        return Ok(None);
    }
    Ok(binary::download(app, caller, headers, which, native).await?)
}
