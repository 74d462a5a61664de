//! What every answer passes on its way out: the name of its format, its layout
//! (`_pretty`), its coding, the headers that keep it safe, and for HEAD the loss of its
//! body. It changes no word of what was released.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode};
use phial_base::{RequestId, Rng};

use super::answer::{self, FHIR_JSON};
use super::coding::{self, Coding};
use super::cors;
use super::negotiate::{self, Spoken};
use super::pretty::pretty;
use crate::config::Http;

/// What takes so many bytes to compress keeps no other request waiting.
const LONG: usize = 256 << 10;

/// What a request says about the form of its answer.
pub(super) struct Wants {
    /// `None`: no format that is spoken here.
    pub(super) spoken: Option<Spoken>,
    /// The page that asks, when it may.
    pub(super) origin: Option<HeaderValue>,
    origins: bool,
    pretty: bool,
    coding: Option<Coding>,
    head: bool,
}

impl Wants {
    pub(super) fn of(config: &Http, request: &Request<Body>) -> Self {
        let headers = request.headers();
        let query = request.uri().query().unwrap_or("");
        Wants {
            spoken: negotiate::wanted(headers, query),
            origin: cors::allowed(&config.cors_origins, headers),
            origins: !config.cors_origins.is_empty(),
            pretty: asks_pretty(query),
            coding: if config.compression { coding::wanted(headers) } else { None },
            head: request.method() == Method::HEAD,
        }
    }
}

impl Wants {
    /// For content that is nobody's business but its reader's: no format to agree on, no
    /// layout, no coding.
    pub(super) fn unchanged(self) -> Self {
        Wants { spoken: Some(Spoken::default()), pretty: false, coding: None, ..self }
    }
}

impl Wants {
    /// For what is in a format of its own, whatever is accepted.
    pub(super) fn in_its_own(self) -> Self {
        Wants { spoken: Some(self.spoken.unwrap_or_default()), ..self }
    }
}

fn asks_pretty(query: &str) -> bool {
    query.contains("_pretty")
        && form_urlencoded::parse(query.as_bytes()).any(|(k, v)| k == "_pretty" && v == "true")
}

/// The answer as it goes out.
pub(super) async fn finish(
    mut response: Response<Body>,
    wants: Wants,
    rng: &dyn Rng,
    id: RequestId,
) -> Response<Body> {
    if is_fhir(&response) && wants.spoken.is_some_and(|s| s != Spoken::default()) {
        let named = wants.spoken.unwrap_or_default().content_type();
        response.headers_mut().insert(header::CONTENT_TYPE, named);
    }
    if wants.pretty && kind(&response) == Some(Kind::Json) {
        response = laid_out(response).await;
    }
    if let Some(coding) = wants.coding {
        response = compressed(response, coding, rng).await;
    }
    answer::harden(&mut response, id);
    cors::mark(&mut response, wants.origin, wants.origins);
    if wants.head {
        // The length of what GET would have brought (RFC 9110 §8.6).
        if let Some(length) = response.body().size_hint().exact()
            && bears_content(response.status())
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    response
}

/// Whether an answer of this status has a body at all (RFC 9110 §15.3.5, §15.4.5).
fn bears_content(status: StatusCode) -> bool {
    ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

fn is_fhir(response: &Response<Body>) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes() == FHIR_JSON.as_bytes())
}

/// What of an answer's content counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// White space at its end means nothing.
    Json,
    /// One JSON a line: it does.
    Lines,
}

/// `None` of what is neither: images, documents and archives gain nothing.
fn kind(response: &Response<Body>) -> Option<Kind> {
    let text = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    match text.split(';').next().unwrap_or("").trim() {
        "application/fhir+json" | "application/json" | "text/json" => Some(Kind::Json),
        "application/fhir+ndjson" | "application/ndjson" | "application/x-ndjson" => {
            Some(Kind::Lines)
        }
        _ => None,
    }
}

/// The body of an answer that lies in memory whole, and the rest of it. One that comes
/// piece by piece is given back.
async fn whole(response: Response<Body>) -> Result<(Response<()>, Bytes), Response<Body>> {
    if response.body().size_hint().exact().is_none() {
        return Err(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    Ok((Response::from_parts(parts, ()), bytes))
}

/// With its JSON over several lines.
async fn laid_out(response: Response<Body>) -> Response<Body> {
    match whole(response).await {
        Err(pieces) => pieces,
        Ok((rest, bytes)) if bytes.is_empty() => rest.map(|()| Body::from(bytes)),
        Ok((mut rest, bytes)) => {
            rest.headers_mut().remove(header::CONTENT_LENGTH);
            rest.map(|()| Body::from(pretty(&bytes)))
        }
    }
}

/// In this coding, when that is of use and means nothing else: a range of bytes is one
/// of the bytes as they are.
async fn compressed(response: Response<Body>, coding: Coding, rng: &dyn Rng) -> Response<Body> {
    let headers = response.headers();
    let coded = headers.contains_key(header::CONTENT_ENCODING);
    let part = response.status() == StatusCode::PARTIAL_CONTENT
        || headers.contains_key(header::CONTENT_RANGE);
    let small = response.body().size_hint().exact().is_some_and(|n| n < coding::LEAST);
    let Some(kind) = kind(&response) else { return response };
    if coded || part || small || !bears_content(response.status()) {
        return response;
    }
    let mut packed = match whole(response).await {
        Ok((rest, bytes)) => {
            let tail = if kind == Kind::Json { coding::tail(rng) } else { Vec::new() };
            let source = bytes.clone();
            let work = move || coding::encode(coding, &source, &tail);
            let packed = match bytes.len() {
                ..LONG => work().ok(),
                _ => tokio::task::spawn_blocking(work).await.ok().and_then(Result::ok),
            };
            match packed {
                Some(packed) => rest.map(|()| Body::from(packed)),
                // It can't fail into memory; if it does, the answer goes as it is.
                None => return rest.map(|()| Body::from(bytes)),
            }
        }
        Err(pieces) => {
            let (parts, body) = pieces.into_parts();
            match coding::encode_stream(coding, body) {
                Ok(body) => Response::from_parts(parts, body),
                Err(_) => return answer::broken(),
            }
        }
    };
    let headers = packed.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    headers.insert(header::CONTENT_ENCODING, coding.header());
    // The bytes are others now: a strong tag would lie (RFC 9110 §8.8.1).
    if let Some(tag) = headers.get(header::ETAG).and_then(|v| v.to_str().ok())
        && tag.starts_with('"')
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        headers.insert(header::ETAG, weak);
    }
    packed
}
