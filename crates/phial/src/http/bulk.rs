//! Bulk data over HTTP: the kick-off, the status, the files
//! (<https://hl7.org/fhir/uv/bulkdata/STU2/export.html>).

use std::io;

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use phial_engine::job::Reason;
use phial_engine::operation::export::{Kickoff, Level, Status, filters};
use phial_engine::operation::ndjson::Upload;
use phial_engine::{Failure, Released};
use phial_fhir::Doc;
use phial_fhir::issue::IssueCode;
use phial_fhir::json::Node;

use super::answer;
use super::serve::{Incoming, Stop};
use super::urls;
use crate::sources::Listed;

pub(super) const NDJSON: &str = "application/fhir+ndjson";
static PROGRESS: HeaderName = HeaderName::from_static("x-progress");

/// How soon to ask again, seconds.
const AGAIN: &str = "2";

fn with(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Takes a body piece by piece.
async fn taken(upload: &mut Upload, body: Body, most: u64) -> Result<(), Stop> {
    let too_large = |text: &str| {
        Stop::answer(answer::refuse(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, text))
    };
    let mut pieces = body.into_data_stream();
    let mut all: u64 = 0;
    while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
        let piece = piece.map_err(|_| too_large("the body was cut off"))?;
        all += piece.len() as u64;
        if all > most {
            return Err(too_large("the body is larger than import.max_mib"));
        }
        tokio::task::block_in_place(|| upload.take(&piece))?;
    }
    Ok(())
}

/// The sources that Parameters name: `input`, each with a part `url`
/// (<https://github.com/smart-on-fhir/bulk-import>).
fn inputs(doc: &Doc) -> Result<Vec<String>, Failure> {
    let refused = |text: &str| Failure::invalid(IssueCode::Value, "Parameters.parameter", text);
    let text = |node: Node<'_>| {
        let value = node.members().find(|(name, _)| name.starts_with("value"));
        value.and_then(|(_, v)| v.as_str().map(std::borrow::Cow::into_owned))
    };
    let root = doc.root();
    if root.member("resourceType").and_then(Node::as_str).as_deref() != Some("Parameters") {
        return Err(refused("$import takes application/fhir+ndjson, or a Parameters resource"));
    }
    let mut urls = Vec::new();
    for parameter in root.member("parameter").into_iter().flat_map(Node::items) {
        match parameter.member("name").and_then(Node::as_str).as_deref() {
            Some("input") => {
                let parts = parameter.member("part").into_iter().flat_map(Node::items);
                let url = parts
                    .filter(|p| p.member("name").and_then(Node::as_str).as_deref() == Some("url"))
                    .find_map(text);
                urls.push(url.ok_or_else(|| refused("each input has a url"))?);
            }
            Some("inputFormat") => {
                let format = text(parameter);
                if !matches!(format.as_deref(), Some(NDJSON | "application/ndjson")) {
                    return Err(refused("inputFormat is application/fhir+ndjson"));
                }
            }
            // Whose data it is, in words; and how the sources are kept.
            Some("inputSource" | "storageDetail") => {}
            _ => return Err(refused("$import takes inputFormat, inputSource and input")),
        }
    }
    Ok(urls)
}

impl Incoming<'_> {
    pub(super) async fn export(
        self,
        level: Level,
        posted: bool,
        query: &str,
    ) -> Result<Response<Body>, Stop> {
        if !self.prefer.asynchronous {
            return Err(Failure::invalid(
                IssueCode::Required,
                "Prefer",
                "an export takes its time: ask with Prefer: respond-async",
            )
            .into());
        }
        let in_url: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mode = self.app.config().http.phi_in_urls;
        for (_, value) in in_url.iter().filter(|(name, _)| name == "_typeFilter") {
            for (ty, filter) in filters(value).into_iter().flatten() {
                let pairs: Vec<(String, String)> =
                    form_urlencoded::parse(filter.as_bytes()).into_owned().collect();
                if let Some(name) = urls::offending(mode, &[ty], &pairs) {
                    let text = format!(
                        "{name} identifies people and may not stand in a URL: POST the parameters \
                         (http.phi_in_urls)"
                    );
                    return Err(Failure::invalid(IssueCode::Forbidden, name, text).into());
                }
            }
        }
        let (app, caller, base) = (self.app, self.caller.clone(), self.base.clone());
        let lenient = self.prefer.lenient;
        let place = match &level {
            Level::System => String::new(),
            Level::Patient => "/Patient".to_owned(),
            Level::Group(id) => format!("/Group/{}", id.as_str()),
        };
        let mut request = format!("{base}{place}/$export");
        if !query.is_empty() {
            request.push('?');
            request.push_str(query);
        }
        let pairs = self.asked(posted, query).await?;
        let asked = Kickoff { level, pairs, request, lenient };
        let job = app.engine.export(&caller, asked).await?;
        Ok(with(
            answer::empty(StatusCode::ACCEPTED),
            header::CONTENT_LOCATION,
            &format!("{base}/$job/{}", job.id),
        ))
    }

    /// `$import`: NDJSON as it comes, or Parameters that name sources.
    pub(super) async fn import(self, query: &str) -> Result<Response<Body>, Stop> {
        if !query.is_empty() {
            let text = "$import takes its parameters in the body";
            return Err(Failure::invalid(IssueCode::NotSupported, "", text).into());
        }
        let (app, caller, base) = (self.app, self.caller.clone(), self.base.clone());
        let kind = self.content_type();
        let kind = kind.split(';').next().unwrap_or("").trim();
        let request = format!("{base}/$import");
        let job = if matches!(kind, NDJSON | "application/ndjson" | "application/x-ndjson") {
            let mut upload = app.engine.upload_ndjson(&caller, request).await?;
            let most = app.config().import.max_mib << 20;
            match taken(&mut upload, self.body, most).await {
                Ok(()) => upload.finish().await?,
                Err(stop) => {
                    upload.discard();
                    return Err(stop);
                }
            }
        } else {
            let config = app.config().import.clone();
            let sources = Listed::new(&config.sources, config.max_mib);
            let urls = inputs(&self.resource().await?)?;
            app.engine.import_from(&caller, request, urls, &sources).await?
        };
        Ok(with(
            answer::empty(StatusCode::ACCEPTED),
            header::CONTENT_LOCATION,
            &format!("{base}/$job/{}", job.id),
        ))
    }

    pub(super) fn job_status(self, id: &str) -> Result<Response<Body>, Stop> {
        match self.app.engine.bulk_status(&self.caller, id, &self.base)? {
            Status::Going { progress } => {
                let response = answer::empty(StatusCode::ACCEPTED);
                let response = with(response, PROGRESS.clone(), &progress);
                Ok(with(response, header::RETRY_AFTER, AGAIN))
            }
            Status::Done { manifest, until } => {
                let mut response = Response::new(Body::from(manifest));
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                let until = until.and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
                Ok(match until {
                    Some(at) => with(response, header::EXPIRES, &answer::http_date(at)),
                    None => response,
                })
            }
            Status::Failed(reason) => {
                let (status, code, text) = match reason {
                    Some(Reason::Forbidden) => (
                        StatusCode::FORBIDDEN,
                        IssueCode::Forbidden,
                        "your roles or the policies changed meanwhile: ask again",
                    ),
                    Some(Reason::Invalid) => (
                        StatusCode::BAD_REQUEST,
                        IssueCode::Invalid,
                        "what was asked for can't be done",
                    ),
                    Some(Reason::Gone) => (
                        StatusCode::NOT_FOUND,
                        IssueCode::NotFound,
                        "what was asked about is not there any more",
                    ),
                    Some(Reason::Purged) => (
                        StatusCode::GONE,
                        IssueCode::Deleted,
                        "a patient was forgotten meanwhile: ask again",
                    ),
                    Some(Reason::Source) => {
                        (StatusCode::BAD_GATEWAY, IssueCode::Transient, "a source could not be had")
                    }
                    Some(Reason::Internal) | None => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        IssueCode::Exception,
                        "the job failed; the operator sees why: phial job show",
                    ),
                };
                Ok(answer::refuse(status, code, text))
            }
        }
    }

    pub(super) async fn cancel_job(self, id: &str) -> Result<Response<Body>, Stop> {
        self.app.engine.cancel_bulk(&self.caller, id).await?;
        Ok(answer::empty(StatusCode::ACCEPTED))
    }

    pub(super) async fn job_file(self, id: &str, file: u32) -> Result<Response<Body>, Stop> {
        let mut download = self.app.engine.bulk_file(&self.caller, id, file).await?;
        // The first piece before the answer begins, so that a failure has a status.
        let first = download.next().await?.map(Released::into_body).unwrap_or_default();
        let (to, pieces) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
        // Opened here and not on the connection's thread, which must keep nobody waiting.
        // Whoever goes away takes no further piece, and none is written down as taken.
        tokio::spawn(async move {
            loop {
                let piece = match download.next().await {
                    Ok(Some(released)) => Ok(released.into_body()),
                    Ok(None) => return,
                    Err(_) => Err(io::Error::other("the file ended early")),
                };
                let last = piece.is_err();
                if to.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        let rest = futures_util::stream::unfold(pieces, |mut pieces| async move {
            pieces.recv().await.map(|piece| (piece, pieces))
        });
        let first = futures_util::stream::once(async move { Ok(first) });
        let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        Ok(response)
    }
}
