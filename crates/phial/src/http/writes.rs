//! Requests that write: what their headers, URL and body ask for
//! (<https://hl7.org/fhir/R4/http.html>). It holds no rule of its own but those of HTTP:
//! media types, and what may stand in a URL.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use phial_base::LogicalId;
use phial_engine::{
    BundleKind, Caller, Failure, Refusal, Return, Terms, Write, Written, bundle_kind,
};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{IssueCode, operation_outcome};
use phial_fhir::{Doc, Limits, Patch};

use super::answer;
use super::route::Route;
use super::serve::{Incoming, Stop};
use super::urls;
use crate::app::App;

/// The media types of patches (RFC 5789 §3.1).
const PATCHES: &str = "application/json-patch+json, application/fhir+json";
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

impl Incoming<'_> {
    pub(super) async fn write(self, route: Route, query: &str) -> Result<Response<Body>, Stop> {
        let (app, caller) = (self.app, self.caller.clone());
        let base: Arc<str> = self.base.as_str().into();
        let returning = self.prefer.returning;
        let provenance = self.provenance()?;
        let if_match = self.if_match()?;
        let if_none_match = self.header(header::IF_NONE_MATCH).map(str::trim) == Some("*");
        let delete_many = app.config().fhir.delete_many();
        let condition = match &route {
            Route::UpdateWhere(ty) | Route::PatchWhere(ty) | Route::DeleteWhere(ty) => {
                self.condition(*ty, query)?
            }
            _ => String::new(),
        };
        let mut write = match route {
            Route::Create(ty) => {
                let condition = self.header("if-none-exist").map(str::to_owned);
                Write::create(ty, self.resource().await?, condition)
            }
            Route::Update(ty, id) => {
                let doc = self.resource().await?;
                same_id(&doc, &id)?;
                Write::update(ty, id, doc)
            }
            Route::UpdateWhere(ty) => Write::update_where(ty, condition, self.resource().await?),
            Route::Patch(ty, id) => Write::patch(ty, id, self.patch().await?),
            Route::PatchWhere(ty) => Write::patch_where(ty, condition, self.patch().await?),
            Route::Delete(ty, id) => Write::delete(ty, id),
            Route::DeleteWhere(ty) => Write::delete_where(ty, condition, delete_many),
            _ => {
                let returning = returning.unwrap_or(Return::Minimal);
                let terms = Terms { base, returning, delete_many };
                return self.bundle(&terms, provenance).await;
            }
        };
        write.base = Some(Arc::clone(&base));
        write.if_match = if_match;
        write.if_none_match = if_none_match;
        let deleting = write.method == phial_engine::Method::Delete;
        let w = app.engine.write(&caller, write, provenance).await?;
        if deleting {
            // What ended has nothing to show.
            return Ok(answer::written(&w, &base, None));
        }
        written(app, &caller, &w, &base, returning).await
    }

    async fn bundle(self, terms: &Terms, provenance: Option<Doc>) -> Result<Response<Body>, Stop> {
        let (app, caller) = (self.app, self.caller.clone());
        let doc = self.resource().await?;
        let engine = &app.engine;
        let released = match (bundle_kind(&doc)?, provenance) {
            (BundleKind::Transaction, provenance) => {
                engine.transaction(&caller, &doc, terms, provenance).await?
            }
            (BundleKind::Batch, None) => engine.batch(&caller, &doc, terms).await?,
            (BundleKind::Batch, Some(_)) => {
                return Err(Failure::invalid(
                    IssueCode::NotSupported,
                    "X-Provenance",
                    "the entries of a batch have nothing in common: send their Provenance as \
                     entries, or a transaction",
                )
                .into());
            }
        };
        Ok(answer::released(released, None))
    }

    /// The condition that stands in the URL for an id.
    fn condition(&self, ty: ResourceType, query: &str) -> Result<String, Failure> {
        let mut pairs: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        pairs.retain(|(name, _)| name != "_format" && name != "_pretty");
        if let Some(name) = urls::offending(self.app.config().http.phi_in_urls, &[ty], &pairs) {
            let text = format!(
                "{name} identifies people and may not stand in a URL: send this as the entry of \
                 a transaction (http.phi_in_urls)"
            );
            return Err(Failure::invalid(IssueCode::Forbidden, name, text));
        }
        Ok(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    }

    /// The Provenance that comes with a write
    /// (<https://hl7.org/fhir/R4/provenance.html#header>).
    pub(super) fn provenance(&self) -> Result<Option<Doc>, Failure> {
        let Some(value) = self.headers.get("x-provenance") else { return Ok(None) };
        match Doc::parse(value.as_bytes(), &Limits::default()) {
            Ok(doc) => Ok(Some(doc)),
            Err(mut issues) => {
                for issue in &mut issues {
                    issue.path = format!("X-Provenance.{}", issue.path);
                }
                Err(Failure::Invalid(Refusal { issues }))
            }
        }
    }

    async fn patch(self) -> Result<Patch, Stop> {
        let kind = self.content_type();
        let kind = kind.split(';').next().unwrap_or("").trim().to_owned();
        let read: fn(&Doc) -> Result<Patch, Vec<phial_fhir::Issue>> = match kind.as_str() {
            "application/json-patch+json" => Patch::json,
            "application/fhir+json" => Patch::parameters,
            _ => {
                let text = "a patch is application/json-patch+json, or application/fhir+json with \
                            the Parameters of a FHIRPath Patch";
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                let mut refused = answer::refuse(status, IssueCode::NotSupported, text);
                refused.headers_mut().insert(&ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
                return Err(Stop::answer(refused));
            }
        };
        let limit = self.app.max_bytes();
        let body = self.bytes().await?;
        let limits = Limits { max_bytes: limit, ..Limits::default() };
        let invalid = |issues| Failure::Invalid(Refusal { issues });
        let doc = Doc::parse(&body, &limits).map_err(invalid)?;
        Ok(read(&doc).map_err(invalid)?)
    }
}

fn same_id(doc: &Doc, id: &LogicalId) -> Result<(), Failure> {
    let given = doc.root().member("id").and_then(|n| n.as_str().map(|s| s == id.as_str()));
    match given {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::invalid(
            IssueCode::Value,
            "id",
            "the id in the resource is not the id in the URL",
        )),
        None => Err(Failure::invalid(
            IssueCode::Required,
            "id",
            "an update needs the id in the resource too",
        )),
    }
}

/// The answer to a write: by default with the record, when the writer may read it.
pub(super) async fn written(
    app: &App,
    caller: &Caller,
    w: &Written,
    base: &str,
    returning: Option<Return>,
) -> Result<Response<Body>, Stop> {
    let body = match returning.unwrap_or(Return::Representation) {
        Return::Minimal => None,
        Return::Outcome => Some(bytes::Bytes::from(operation_outcome(&[w.outcome()]))),
        Return::Representation => {
            app.engine.read_back(caller, w).await?.map(phial_engine::Released::into_body)
        }
    };
    Ok(answer::written(w, base, body))
}
