//! Writing a Binary by its content (<https://hl7.org/fhir/R4/binary.html#rest>): piece
//! by piece, sealed as it comes, and never whole in memory.
//!
//! Policy decides before the first byte is taken in, over what will be stored but its
//! content, and again when all is there. Malware is looked for on the way; without a
//! verdict, where one is required, nothing is stored.

use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{LogicalId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::{Doc, Limits};
use phial_store::blobs::{Incoming, Staged};

use super::download::stand_in;
use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::scan::{NotScanned, Scan, Verdict};
use crate::write::{Write, Written};

/// Content as it is announced.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The Binary that is replaced, or made under this id; none for a new one.
    pub id: Option<LogicalId>,
    /// `Content-Type`, to be `Binary.contentType`.
    pub content_type: String,
    /// `X-Security-Context`: a reference to the record that it is to be treated as.
    pub security_context: Option<String>,
    /// `If-Match`.
    pub if_match: Option<Version>,
    /// `If-None-Match: *`.
    pub if_none_match: bool,
    /// `Content-Length`, when it is known.
    pub length: Option<u64>,
    /// `X-Provenance`: stored in the same commit.
    pub provenance: Option<Doc>,
}

impl Upload {
    fn kind(&self) -> EventKind {
        if self.id.is_some() { EventKind::Update } else { EventKind::Create }
    }

    /// The write that it will be, with a stand-in where the content belongs.
    fn write(&self, ty: ResourceType) -> Result<Write, Failure> {
        let mut json = serde_json::json!({
            "resourceType": ty.name(),
            "contentType": self.content_type,
        });
        if let Some(object) = json.as_object_mut() {
            if let Some(id) = &self.id {
                object.insert("id".into(), id.as_str().into());
            }
            if let Some(context) = &self.security_context {
                object.insert("securityContext".into(), serde_json::json!({"reference": context}));
            }
            object.insert("data".into(), stand_in().into());
        }
        let body = Doc::parse(json.to_string().as_bytes(), &Limits::default())
            .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
        let write = match &self.id {
            Some(id) => Write::update(ty, id.clone(), body),
            None => Write::create(ty, body, None),
        };
        Ok(Write { if_match: self.if_match, if_none_match: self.if_none_match, ..write })
    }
}

/// A Binary whose content is coming in. Dropped, it leaves nothing.
pub struct Uploading {
    engine: Engine,
    caller: Caller,
    upload: Upload,
    ty: ResourceType,
    incoming: Incoming,
    scan: Option<Scan>,
}

/// Whether `text` has the form of a media type (RFC 9110 section 8.3.1).
fn is_media_type(text: &str) -> bool {
    let token = |t: &str| {
        !t.is_empty()
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let kind = text.split(';').next().unwrap_or_default().trim_end();
    text.len() <= 255
        && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        && kind.split_once('/').is_some_and(|(a, b)| token(a) && token(b))
}

impl Engine {
    /// Asks whether this may be written, and begins to take it in.
    ///
    /// # Errors
    /// Those of [`Engine::create`] and [`Engine::update`]; [`Failure::TooLarge`] when it
    /// is announced to be; [`Failure::Busy`] when a scanner is required and can't be
    /// reached.
    pub async fn upload(&self, caller: &Caller, upload: Upload) -> Result<Uploading, Failure> {
        let tenant = self.home(caller)?;
        let ty = ResourceType::from_name("Binary").ok_or(Failure::NotFound)?;
        let kind = upload.kind();
        let refused = entry::of(caller, EventKind::Denied);
        if !is_media_type(&upload.content_type) {
            let failure = Failure::invalid(
                IssueCode::Value,
                "Content-Type",
                "name the content's media type, such as application/pdf",
            );
            return Err(self.refuse_write(tenant, caller, kind, refused, failure).await);
        }
        if upload.length.is_some_and(|n| n > self.settings().attachments.max_bytes) {
            let failure = too_large();
            return Err(self.refuse_write(tenant, caller, kind, refused, failure).await);
        }
        let write = upload.write(ty)?;
        let patients = match self.rehearse(tenant, caller, kind, write, upload.provenance.clone()) {
            Ok(patients) => patients,
            Err((e, failure)) => {
                return Err(self.refuse_write(tenant, caller, kind, *e, failure).await);
            }
        };
        let scan = match &self.settings().attachments.scanner {
            Some(scanner) => Some(scanner.begin().await.map_err(not_scanned)?),
            None => None,
        };
        let incoming = tokio::task::block_in_place(|| tenant.vessel.receive(&patients))
            .map_err(Self::store_failure(caller))?;
        let (engine, caller) = (self.clone(), caller.clone());
        Ok(Uploading { engine, caller, upload, ty, incoming, scan })
    }
}

impl Uploading {
    /// Takes in more.
    ///
    /// # Errors
    /// [`Failure::TooLarge`], and [`Failure::Busy`] when the store or the scanner fails.
    /// The upload is over then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let most = self.engine.settings().attachments.max_bytes;
        if self.incoming.text_len().saturating_add(bytes.len() as u64) > most {
            return Err(self.refuse(too_large()).await);
        }
        if let Some(scan) = &mut self.scan {
            scan.write(bytes).await.map_err(not_scanned)?;
        }
        tokio::task::block_in_place(|| self.incoming.write(bytes))
            .map_err(Engine::store_failure(&self.caller))
    }

    async fn refuse(&self, failure: Failure) -> Failure {
        let Ok(tenant) = self.engine.home(&self.caller) else { return failure };
        let e = entry::of(&self.caller, EventKind::Denied);
        let kind = self.upload.kind();
        self.engine.refuse_write(tenant, &self.caller, kind, e, failure).await
    }

    /// The end of the content: it is scanned, sealed, and written with its record.
    ///
    /// # Errors
    /// [`Failure::Unprocessable`] when the scanner found something; otherwise as
    /// [`Engine::upload`].
    pub async fn finish(mut self) -> Result<Written, Failure> {
        if self.incoming.text_len() == 0 {
            let text = "a Binary needs content: nothing was sent";
            return Err(self.refuse(Failure::invalid(IssueCode::Required, "", text)).await);
        }
        if let Some(scan) = self.scan.take() {
            let verdict = scan.finish().await.map_err(not_scanned)?;
            let tenant = self.engine.home(&self.caller)?;
            let kind = self.upload.kind();
            self.engine.heed(tenant, &self.caller, kind, &verdict, "").await?;
        }
        let Uploading { engine, caller, upload, ty, incoming, .. } = self;
        let staged: Staged = tokio::task::block_in_place(|| incoming.finish())
            .map_err(Engine::store_failure(&caller))?;
        let write = upload.write(ty)?;
        let kind = upload.kind();
        let written =
            engine.write_with(&caller, kind, vec![write], upload.provenance, Some(staged)).await?;
        written.into_iter().next().ok_or(Failure::NotFound)
    }
}

impl Engine {
    /// What a verdict means for a write: an infected one is refused, and the log says what
    /// was found.
    pub(crate) async fn heed(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        verdict: &Verdict,
        place: &str,
    ) -> Result<(), Failure> {
        let Verdict::Infected(name) = verdict else { return Ok(()) };
        let mut e = entry::of(caller, EventKind::Denied);
        e.action = Some(kind);
        entry::note(&mut e, DetailKey::Reason, format!("malware: {name}"));
        let failure = Failure::Unprocessable(Refusal::new(
            IssueCode::Security,
            place,
            "the malware scanner found something in this content: nothing was stored",
        ));
        Err(self.refuse(tenant, caller, e, OutcomeCode::Invalid, failure).await)
    }
}

fn too_large() -> Failure {
    Failure::too_large("", "the content is larger than attachments.max_mib: nothing was stored")
}

/// Without a verdict nothing is stored (invariant 7).
pub(crate) fn not_scanned(e: NotScanned) -> Failure {
    tracing::warn!(error = %e, "an attachment was not scanned");
    Failure::Busy(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_has_two_names() {
        for good in ["application/pdf", "text/plain; charset=utf-8", "a/b", "x.y+z/q-1;a=\"b c\""] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in ["", "pdf", "/pdf", "a/", "a b/c", "a/b\n", "a/b\u{e9}", &"a/".repeat(200)] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }
}
