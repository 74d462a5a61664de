//! Sealing an attachment anew, when its record goes on about fewer patients and so under
//! another key (design §3).

use phial_audit::EventKind;
use phial_fhir::{Doc, IssueCode, Limits};
use phial_policy::Action;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::write::Write;

impl Engine {
    /// Writes a new version of a record whose content is a blob: the JSON as `change`
    /// makes it, the content sealed under the key that it then has. Both are read under a
    /// permit and written down as read.
    pub(crate) async fn reseal_attachment(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        found: &Unopened,
        change: impl Fn(&Doc) -> Result<Vec<u8>, Failure>,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let Ok(permit) = self.decide(tenant, caller, Action::Read, found)? else {
            return Err(Failure::forbidden("this job may not read an attachment"));
        };
        let mut e = entry::of(caller, EventKind::Read);
        entry::target(&mut e, found, &permit);
        self.record(tenant, caller, vec![e], None).await?;
        let (opened, blob) = tenant.vessel.open_with_blob(&permit, found).map_err(&failed)?;
        let Some(blob) = blob else {
            return Err(Failure::invalid(
                IssueCode::NotFound,
                "",
                "the content is not for this job",
            ));
        };
        let parse = |text: &[u8]| {
            Doc::parse(text, &Limits::default())
                .map_err(|issues| Failure::Invalid(Refusal { issues }))
        };
        let text = change(&parse(opened.body())?)?;
        let write = || -> Result<Write, Failure> {
            let write = Write::update(found.header.ty, found.header.id.clone(), parse(&text)?);
            Ok(Write { if_match: Some(found.version), ..write })
        };
        let patients = self
            .rehearse(tenant, caller, EventKind::Update, write()?, None)
            .map_err(|(_, failure)| failure)?;
        let staged = tokio::task::block_in_place(|| {
            let mut incoming = tenant.vessel.receive(&patients)?;
            while incoming.text_len() < blob.text_len() {
                incoming.write(&blob.text(incoming.text_len(), blob.text_len())?)?;
            }
            incoming.finish()
        })
        .map_err(&failed)?;
        self.write_with(caller, EventKind::Update, vec![write()?], None, Some(staged)).await?;
        Ok(())
    }
}
