//! What is looked at in the files that resources carry, before they are stored: size,
//! `Attachment.size`, `Attachment.hash`, and malware. It refuses to let a file in by the
//! side door: what is scanned when it is uploaded is scanned inside a resource too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phial_audit::EventKind;
use phial_base::LogicalId;
use phial_crypto::Digest;
use phial_fhir::attachment::{Attached, attachments};
use phial_fhir::issue::{Issue, IssueCode, Severity};
use phial_fhir::reference::{RefKind, classify};
use phial_policy::Action;

use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::download::{LENIENT, stand_in};
use crate::interaction::upload::not_scanned;
use crate::write::Write;

/// Size and SHA-1 of content.
struct Known {
    size: u64,
    sha1: Vec<u8>,
}

impl Engine {
    /// Looks at every file in these writes.
    pub(crate) async fn inspect(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        writes: &[Write],
    ) -> Result<(), Failure> {
        for write in writes {
            let Some(doc) = &write.body else { continue };
            for found in attachments(doc, write.ty) {
                self.inspect_one(tenant, caller, EventKind::Update, &write.place, &found).await?;
            }
        }
        Ok(())
    }

    /// Looks at one file of a write that stands at `lead` (empty, or an entry of a bundle).
    pub(crate) async fn inspect_one(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        lead: &str,
        found: &Attached<'_>,
    ) -> Result<(), Failure> {
        let place = |member: &str| {
            let dot = if lead.is_empty() { "" } else { "." };
            format!("{lead}{dot}{}.{member}", found.path)
        };
        let known = match found.data {
            Some(data) => {
                let text: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                // What is no base64 is named by validation.
                let Ok(bytes) = LENIENT.decode(text) else { return Ok(()) };
                let most = self.settings().attachments.max_inline;
                if bytes.len() as u64 > most && !found.stayed {
                    return Err(Failure::too_large(
                        place("data"),
                        "larger than attachments.max_inline_kib: upload it as a Binary \
                         (POST Binary with its own content type) and refer to it by url",
                    ));
                }
                // The stand-in of an upload, whose content was scanned as it came.
                let scans = self.settings().attachments.scanner.is_some();
                if scans && !found.stayed && data != stand_in() {
                    self.scan_inline(tenant, caller, kind, &bytes, &place("data")).await?;
                }
                let mut sha1 = Digest::sha1();
                sha1.update(&bytes);
                Some(Known { size: bytes.len() as u64, sha1: sha1.finish() })
            }
            None => self.known(tenant, caller, found.url.as_deref())?,
        };
        let Some(known) = known else { return Ok(()) };
        let wrong = |member: &str, text: &str| {
            Failure::Invalid(Refusal {
                issues: vec![Issue {
                    severity: Severity::Error,
                    code: IssueCode::Invariant,
                    path: place(member),
                    text: text.to_owned(),
                }],
            })
        };
        if found.size.is_some_and(|said| said.parse() != Ok(known.size)) {
            return Err(wrong("size", "this is not how many bytes the content has"));
        }
        if found.hash.is_some_and(|said| STANDARD.decode(said).ok() != Some(known.sha1)) {
            return Err(wrong("hash", "this is not the SHA-1 of the content, in base64"));
        }
        Ok(())
    }

    async fn scan_inline(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        bytes: &[u8],
        place: &str,
    ) -> Result<(), Failure> {
        let Some(scanner) = &self.settings().attachments.scanner else { return Ok(()) };
        let mut scan = scanner.begin().await.map_err(not_scanned)?;
        scan.write(bytes).await.map_err(not_scanned)?;
        let verdict = scan.finish().await.map_err(not_scanned)?;
        self.heed(tenant, caller, kind, &verdict, place).await
    }

    /// What is known of the content that `url` names, when it is an uploaded Binary of
    /// ours that the caller sees.
    fn known(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        url: Option<&str>,
    ) -> Result<Option<Known>, Failure> {
        let Some(RefKind::Relative { type_: ty, id, .. }) = url.map(classify) else {
            return Ok(None);
        };
        let Some(id) = LogicalId::new(id).ok().filter(|_| ty.name() == "Binary") else {
            return Ok(None);
        };
        let Some(found) = tenant.vessel.find(ty, &id).map_err(Self::store_failure(caller))? else {
            return Ok(None);
        };
        let Some(blob) = found.header.blob else { return Ok(None) };
        let seen = self.decide(tenant, caller, Action::Read, &found)?;
        let seen = seen.is_ok_and(|p| p.classes().has(phial_base::DataClass::Attachment));
        Ok(seen.then(|| Known { size: blob.len, sha1: blob.sha1.to_vec() }))
    }
}
