//! Binaries by their content: uploads in any media type, downloads in the one they have,
//! in parts too (<https://hl7.org/fhir/R4/binary.html#rest>, RFC 9110 sections 13 to 15).
//! It owns the grammar of `Range` and `X-Security-Context`. Neither way does it hold more
//! than a piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hyper::body::{Frame, SizeHint};
use phial_base::{LogicalId, Version};
use phial_engine::interaction::download::{Content, Download, Part};
use phial_engine::interaction::upload::Upload;
use phial_engine::{Caller, Failure, ReleasedFacts, ReleasedStream, Written};
use phial_fhir::Doc;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;

use super::answer;
use super::route::Route;
use crate::app::App;

static SECURITY_CONTEXT: HeaderName = HeaderName::from_static("x-security-context");

/// Media types that mean the resource, not its content.
const FHIR: [&str; 7] = [
    "application/fhir+json",
    "application/json",
    "text/json",
    "application/fhir+xml",
    "application/xml",
    "text/xml",
    "application/fhir+turtle",
];

fn is_fhir(media: &str) -> bool {
    let name = media.split(';').next().unwrap_or_default().trim();
    FHIR.iter().any(|f| name.eq_ignore_ascii_case(f))
}

fn is_binary(ty: ResourceType) -> bool {
    ty.name() == "Binary"
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether this writes a Binary by its content: with a media type that is not FHIR's.
pub(super) fn is_upload(route: &Route, headers: &HeaderMap) -> bool {
    matches!(route, Route::Create(ty) | Route::Update(ty, _) if is_binary(*ty))
        && text(headers, header::CONTENT_TYPE).is_some_and(|kind| !is_fhir(kind))
}

/// Whether this reads a Binary, in whichever form.
pub(super) fn is_download(route: &Route) -> bool {
    matches!(route, Route::Read(ty, _) | Route::Vread(ty, ..) if is_binary(*ty))
}

/// Whether this reads a Binary's content by itself: no form of FHIR is asked for.
pub(super) fn is_native(route: &Route, headers: &HeaderMap, query: &str) -> bool {
    if !is_download(route) {
        return false;
    }
    let format = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "_format")
        .map(|(_, format)| format.replace(' ', "+"));
    if let Some(format) = format {
        return !is_fhir(&format) && !["json", "xml", "ttl"].contains(&format.as_str());
    }
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    !lines.flat_map(|line| line.split(',')).any(is_fhir)
}

/// The first byte and the last of `Range: bytes=…`. `None` means all: there is no such
/// header, it has another unit, it is malformed, or it names several ranges, which a
/// server may ignore (RFC 9110 section 14.2).
fn range(headers: &HeaderMap) -> Option<Part> {
    let (first, last) = text(headers, header::RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    // More than a number holds is beyond every content.
    let number = |t: &str| t.parse().unwrap_or(u64::MAX);
    let (first, last) = (first.trim(), last.trim());
    match (first.is_empty(), last.is_empty()) {
        _ if !digits(first) || !digits(last) => None,
        (true, true) => None,
        (true, false) => Some(Part::Last(number(last))),
        (false, true) => Some(Part::From(number(first))),
        (false, false) if number(first) > number(last) => None,
        (false, false) => Some(Part::Between(number(first), number(last))),
    }
}

/// Whether `If-Range` lets a range be given. A version never changes, so its tag is as
/// good as a strong one (RFC 9110 section 13.1.5).
fn range_holds(headers: &HeaderMap, facts: &ReleasedFacts) -> bool {
    let Some(said) = text(headers, header::IF_RANGE) else { return true };
    let tag = said.trim().trim_start_matches("W/");
    tag == format!("\"{}\"", facts.version)
        || jiff::Timestamp::from_microsecond(facts.last_updated)
            .is_ok_and(|at| answer::http_date(at) == said.trim())
}

/// One upload.
pub(super) struct Uploader<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    pub(super) headers: &'a HeaderMap,
    pub(super) base: &'a str,
}

impl Uploader<'_> {
    /// Takes in a body and writes the Binary.
    pub(super) async fn upload(
        &self,
        id: Option<LogicalId>,
        if_match: Option<Version>,
        provenance: Option<Doc>,
        body: Body,
    ) -> Result<Written, Box<Refused>> {
        let mut pieces = body.into_data_stream();
        let upload = match self.announced(id, if_match, provenance) {
            Ok(upload) => upload,
            Err(failure) => return Err(Box::new(Refused { failure, rest: pieces })),
        };
        let mut begun = !self.headers.contains_key(header::EXPECT);
        match self.take_in(upload, &mut pieces, &mut begun).await {
            Ok(written) => Ok(written),
            Err(failure) => {
                // Who waits to be told to go on has sent nothing yet.
                if begun {
                    drain(&mut pieces).await;
                }
                Err(Box::new(Refused { failure, rest: pieces }))
            }
        }
    }

    fn announced(
        &self,
        id: Option<LogicalId>,
        if_match: Option<Version>,
        provenance: Option<Doc>,
    ) -> Result<Upload, Failure> {
        let coded = text(self.headers, header::CONTENT_ENCODING).map(str::trim);
        if coded.is_some_and(|c| !c.is_empty() && !c.eq_ignore_ascii_case("identity")) {
            return Err(Failure::invalid(
                IssueCode::NotSupported,
                "Content-Encoding",
                "send the content of a Binary as it is",
            ));
        }
        Ok(Upload {
            id,
            content_type: text(self.headers, header::CONTENT_TYPE).unwrap_or("").trim().to_owned(),
            security_context: self.security_context()?,
            if_match,
            if_none_match: text(self.headers, header::IF_NONE_MATCH).map(str::trim) == Some("*"),
            length: text(self.headers, header::CONTENT_LENGTH).and_then(|n| n.parse().ok()),
            provenance,
        })
    }

    async fn take_in(
        &self,
        upload: Upload,
        pieces: &mut BodyDataStream,
        begun: &mut bool,
    ) -> Result<Written, Failure> {
        let mut uploading = self.app.engine.upload(self.caller, upload).await?;
        *begun = true;
        let idle = Duration::from_secs(self.app.config().http.request_timeout_s);
        let cut = || {
            Failure::invalid(
                IssueCode::Incomplete,
                "",
                "the content was cut off, or nothing came for too long: nothing was stored",
            )
        };
        loop {
            match tokio::time::timeout(idle, pieces.next()).await {
                Ok(Some(Ok(piece))) => uploading.write(&piece).await?,
                Ok(None) => return uploading.finish().await,
                Ok(Some(Err(_))) | Err(_) => return Err(cut()),
            }
        }
    }

    /// `X-Security-Context`, as a reference within this server.
    fn security_context(&self) -> Result<Option<String>, Failure> {
        let Some(said) = self.headers.get(&SECURITY_CONTEXT) else { return Ok(None) };
        let said = said.to_str().unwrap_or_default().trim();
        let own = said.strip_prefix(self.base).map_or(said, |rest| rest.trim_start_matches('/'));
        if own.is_empty() {
            return Err(Failure::invalid(
                IssueCode::Value,
                "X-Security-Context",
                "name the record whose protection the content is to have: Type/id",
            ));
        }
        Ok(Some(own.to_owned()))
    }
}

/// An upload that was refused, and what was not read of it.
pub(super) struct Refused {
    pub(super) failure: Failure,
    rest: BodyDataStream,
}

impl Refused {
    /// The answer, which holds on to the rest until it is sent: HTTP/2 takes a request
    /// that is let go before for one that was given up, and the client sees no answer.
    pub(super) fn answer(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(Holding { body, _rest: self.rest }))
    }
}

struct Holding {
    body: Body,
    _rest: BodyDataStream,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads a little of what nobody wants any more: a client that still sends would miss the
/// answer when the connection closed under it.
async fn drain(pieces: &mut BodyDataStream) {
    const AT_MOST: usize = 64 << 20;
    let mut left = AT_MOST;
    let reading = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whether it came to an end or not, the answer is the same.
    let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
}

/// Reads a Binary's content, by itself when `native`, or else in its JSON. `None` when a
/// plain read gives the same.
pub(super) async fn download(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    (id, version): (&LogicalId, Option<Version>),
    native: bool,
) -> Result<Option<Response<Body>>, Failure> {
    let part = |facts: &ReleasedFacts| {
        if !native {
            return Part::Json;
        }
        range(headers).filter(|_| range_holds(headers, facts)).unwrap_or_default()
    };
    let content = match app.engine.download(caller, id, version, part).await? {
        Download::Resource => return Ok(None),
        Download::Unsatisfiable(total) => return Ok(Some(unsatisfiable(total))),
        Download::Content(content) => content,
    };
    let (facts, owed) = (content.stream.facts().clone(), content.stream.owes_notice());
    let etag = format!("W/\"{}\"", facts.version);
    let known = is_known(headers, &etag, facts.last_updated);
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        streamed(*content, native)
    };
    answer::stamp(&mut response, &etag, facts.last_updated);
    answer::notice(&mut response, owed);
    Ok(Some(response))
}

/// Whether the client has this version: by its tag, or when it names none, by its date,
/// which has no parts of seconds (RFC 9110 section 13.2.2).
fn is_known(headers: &HeaderMap, etag: &str, last_updated: i64) -> bool {
    if let Some(tags) = text(headers, header::IF_NONE_MATCH) {
        return tags.split(',').any(|t| t.trim() == etag || t.trim() == "*");
    }
    text(headers, header::IF_MODIFIED_SINCE)
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .is_some_and(|at| last_updated.div_euclid(1_000_000) <= at.timestamp().as_second())
}

fn unsatisfiable(total: u64) -> Response<Body> {
    let mut response = answer::refuse(
        StatusCode::RANGE_NOT_SATISFIABLE,
        IssueCode::Value,
        "the content has no such bytes: Content-Range says how many it has",
    );
    insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{total}"));
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn streamed(content: Content, native: bool) -> Response<Body> {
    let Content { stream, content_type, range, total } = content;
    let len = stream.len();
    let mut response = Response::new(pieces(stream));
    insert(&mut response, header::CONTENT_LENGTH, &len.to_string());
    if !native {
        insert(&mut response, header::CONTENT_TYPE, answer::FHIR_JSON);
        return response;
    }
    insert(&mut response, header::CONTENT_TYPE, &content_type);
    // Whatever it is, a browser is to keep it and not to show it.
    insert(&mut response, header::CONTENT_DISPOSITION, "attachment");
    insert(&mut response, header::ACCEPT_RANGES, "bytes");
    if let Some((first, last)) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        insert(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{total}"));
    }
    response
}

/// A body that is read piece by piece, as fast as the client takes it, by threads that may
/// wait for a disk. What fails on the way cuts the answer off: it is never whole then.
fn pieces(stream: ReleasedStream) -> Body {
    let threads = tokio::runtime::Handle::current();
    let pieces = stream::try_unfold(stream, move |mut stream| {
        let threads = threads.clone();
        async move {
            let read = threads.spawn_blocking(move || (stream.piece(), stream)).await;
            let (piece, stream) = read.map_err(|_| io::Error::other("cut off"))?;
            match piece {
                Ok(piece) => {
                    Ok::<Option<(Bytes, ReleasedStream)>, io::Error>(piece.map(|p| (p, stream)))
                }
                Err(e) => {
                    tracing::error!(error = %e, "an attachment was cut off");
                    Err(io::Error::other("cut off"))
                }
            }
        }
    });
    Body::from_stream(pieces.into_stream())
}

#[cfg(test)]
mod tests {
    use phial_base::LogicalId;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in all {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        for (text, expected) in [
            ("bytes=0-0", Some(Part::Between(0, 0))),
            ("bytes=10-19", Some(Part::Between(10, 19))),
            ("bytes=10-", Some(Part::From(10))),
            ("bytes=-5", Some(Part::Last(5))),
            ("bytes= 1 - 2 ", Some(Part::Between(1, 2))),
            ("bytes=99999999999999999999-", Some(Part::From(u64::MAX))),
            // Ignored, so that all is given.
            ("bytes=0-1,3-4", None),
            ("bytes=5-4", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("items=0-1", None),
            ("", None),
        ] {
            assert_eq!(range(&headers(&[("range", text)])), expected, "{text}");
        }
        assert_eq!(range(&HeaderMap::new()), None);
    }

    #[test]
    fn the_form_is_the_contents_own_unless_fhir_is_asked_for() {
        let ty = ResourceType::from_name("Binary").unwrap();
        let route = Route::Read(ty, LogicalId::new("b").unwrap());
        let native =
            |accept: &str, query: &str| is_native(&route, &headers(&[("accept", accept)]), query);
        for accept in ["*/*", "application/pdf", "image/*;q=0.8, */*;q=0.1", "text/html", ""] {
            assert!(native(accept, ""), "{accept}");
        }
        assert!(is_native(&route, &HeaderMap::new(), ""));
        assert!(native("application/fhir+json", "_format=application/pdf"));
        for accept in
            ["application/fhir+json", "application/pdf, application/json;q=0.5", "Text/JSON"]
        {
            assert!(!native(accept, ""), "{accept}");
        }
        for format in ["json", "application/fhir%2Bjson", "application/fhir+json", "xml"] {
            assert!(!native("*/*", &format!("_format={format}")), "{format}");
        }
        let other =
            Route::Read(ResourceType::from_name("Patient").unwrap(), LogicalId::new("b").unwrap());
        assert!(!is_native(&other, &HeaderMap::new(), ""));
    }

    #[test]
    fn an_upload_is_what_is_no_resource() {
        let ty = ResourceType::from_name("Binary").unwrap();
        let of = |kind: &str| is_upload(&Route::Create(ty), &headers(&[("content-type", kind)]));
        assert!(of("application/pdf") && of("text/plain; charset=utf-8") && of("image/png"));
        assert!(!of("application/fhir+json") && !of("application/json; charset=utf-8"));
        assert!(!of("application/fhir+xml"));
        assert!(!is_upload(&Route::Create(ty), &HeaderMap::new()));
    }
}
