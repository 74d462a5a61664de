//! Forgetting a patient: the data key is destroyed, the rows and index entries
//! go, and a certificate says until when older copies could still be read
//! (design §3; 164.310(d)(2)(i)).

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{KeyHandle, LogicalId, Surface};
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::{Doc, Edits, IssueCode, Kind, Limits, Node};
use phial_policy::Action;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::job::{self, Reason, State};
use crate::operation;
use crate::write::Write;

/// What was destroyed and until when copies of it may live.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Certificate {
    /// The certificate's id, also in the audit log.
    pub id: String,
    /// The tenant.
    pub tenant: String,
    /// Handles of the destroyed keys, hexadecimal.
    pub keys_destroyed: Vec<String>,
    /// Versions of records that became unreadable and were deleted.
    pub versions_deleted: usize,
    /// When the keys were destroyed.
    #[serde(serialize_with = "rfc3339")]
    pub destroyed_at: Timestamp,
    /// Until then a copy of the keystore made before, together with the root key,
    /// would still decrypt copies of the data made before.
    #[serde(serialize_with = "rfc3339")]
    pub older_copies_readable_until: Timestamp,
    /// What that means, in a sentence.
    pub statement: String,
}

/// Said when another process kept the keystore's write-ahead log from being emptied.
const NOT_SCRUBBED: &str = "The keystore's write-ahead log is still in use by another process \
     and holds the wrapped keys until it is emptied: stop that process and run this again. ";

fn rfc3339<S: serde::Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(at)
}

impl Engine {
    /// Destroys one patient's key: everything sealed under it becomes unreadable in
    /// every copy. `backup_retention` is how long backups of the keystore are kept.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage keys;
    /// [`Failure::NotFound`] when there never was a key of this patient;
    /// [`Failure::Busy`] when a store or the audit log can't be reached: run it again.
    pub async fn destroy_patient(
        &self,
        caller: &Caller,
        patient: &LogicalId,
        backup_retention: SignedDuration,
    ) -> Result<Certificate, Failure> {
        let tenant = self.home(caller)?;
        let vessel = &tenant.vessel;
        let mut asked = entry::of(caller, EventKind::KeyDestroyed);
        if !self.policy().allows(&caller.subject, Action::ManageKeys) {
            let failure = Failure::forbidden("your role may not manage keys");
            return Err(self.refuse(tenant, caller, asked, OutcomeCode::Denied, failure).await);
        }
        let failed = Self::store_failure(caller);
        let keystore = vessel.keystore();
        let live = keystore.patient_key(&caller.subject.tenant, patient).map_err(&failed)?;
        // Without a living key this finishes what was interrupted, and certifies again
        // what was done.
        let handle = match &live {
            Some(key) => Some(key.handle),
            None => {
                keystore.destroyed_handles(&caller.subject.tenant, patient).map_err(&failed)?.pop()
            }
        };
        let Some(handle) = handle else {
            return Err(self
                .refuse(tenant, caller, asked, OutcomeCode::NotFound, Failure::NotFound)
                .await);
        };
        // What was taken out of the record log goes first: the patient's records lie in
        // it under another key.
        self.end_jobs_about(tenant, caller, patient, backup_retention).await?;
        // Records about several patients go on without this one, under another key.
        self.rewrite_joint(tenant, caller, patient).await?;
        let _alone = tenant.writes.write().await;
        let joint = keystore.joint_handles(&caller.subject.tenant, patient).map_err(&failed)?;
        if !self.joint_records(tenant, caller, &joint)?.is_empty() {
            // One was written in between: run it again.
            return Err(Failure::Busy(None));
        }
        entry::note(&mut asked, DetailKey::KeyHandle, handle.to_string());
        asked.patient(patient);
        // Crash after this line: the log says that destruction was begun; running the
        // command again finishes it.
        self.record(tenant, caller, vec![asked.clone()], None).await?;
        // From here on a crash leaves no usable index, so the next start sweeps.
        if live.is_some() || !joint.is_empty() {
            vessel.retire_index().map_err(&failed)?;
        }
        // The patient's own key last: as long as it lives, so does the order to destroy
        // all of them.
        let mut handles = Vec::new();
        let mut scrubbed = true;
        for handle in joint {
            let gone = keystore
                .destroy_joint(&caller.subject.tenant, handle, backup_retention)
                .map_err(&failed)?;
            handles.extend(gone.handles);
            scrubbed &= gone.scrubbed;
        }
        let destroyed = keystore
            .destroy_patient(&caller.subject.tenant, patient, backup_retention)
            .map_err(&failed)?;
        handles.splice(0..0, destroyed.handles.iter().copied());
        scrubbed &= destroyed.scrubbed;
        // Crash after this line: the tombstones are durable, and the next start deletes
        // the rows and retires the index.
        let versions_deleted = self.sweep(tenant, caller).await?;
        let id = hex::encode(self.new_request_id().0);
        let until = destroyed.copies_until;
        let certificate = Certificate {
            id: id.clone(),
            tenant: caller.subject.tenant.to_string(),
            keys_destroyed: handles.iter().map(ToString::to_string).collect(),
            versions_deleted,
            destroyed_at: destroyed.at,
            older_copies_readable_until: until,
            statement: format!(
                "{}Everything sealed under these keys is unreadable in every copy of the data. \
                 A copy of the keystore made before {} together with the root key would still \
                 open copies of the data made before then; the last such copy expires by {}.",
                if scrubbed { "" } else { NOT_SCRUBBED },
                destroyed.at.strftime("%-d %B %Y %H:%M UTC"),
                until.strftime("%-d %B %Y %H:%M UTC"),
            ),
        };
        let mut done = entry::of(caller, EventKind::Purge);
        entry::note(&mut done, DetailKey::Certificate, id);
        entry::note(&mut done, DetailKey::KeyHandle, handle.to_string());
        entry::note(&mut done, DetailKey::Count, versions_deleted.to_string());
        entry::note(&mut done, DetailKey::Until, until.to_string());
        done.patient(patient);
        self.record(tenant, caller, vec![done], None).await?;
        Ok(certificate)
    }

    /// Deletes every row whose key was destroyed and retires the index that knew of
    /// it. Says how many versions went. Also run at start, so that a restored copy of
    /// the data does not bring anyone back.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store or the audit log can't be reached.
    pub async fn sweep(&self, tenant: &Tenant, caller: &Caller) -> Result<usize, Failure> {
        let failed = Self::store_failure(caller);
        let (swept, blobs) = tokio::task::block_in_place(|| {
            Ok((tenant.vessel.unreadable()?, tenant.vessel.unreadable_blobs()?))
        })
        .map_err(&failed)?;
        if swept.is_empty() && blobs.is_empty() {
            if tenant.vessel.index_is_retired() {
                tokio::task::block_in_place(|| tenant.vessel.rebuild_index()).map_err(&failed)?;
            }
            return Ok(0);
        }
        tenant.vessel.retire_index().map_err(&failed)?;
        let mut e = entry::of(caller, EventKind::Purge);
        entry::note(&mut e, DetailKey::Count, swept.len().to_string());
        for (row, version) in &swept {
            e.what.push(phial_audit::Target::new(*row, Some(*version), ""));
        }
        e.what.extend(blobs.iter().map(|name| phial_audit::Target::new(*name, None, "")));
        // Announced before the rows go, so that `verify` knows why they are missing.
        self.record(tenant, caller, vec![e], None).await?;
        tokio::task::block_in_place(|| {
            // Blobs first: their rows bring the next start here again, should one stay.
            tenant.vessel.forget_blobs(&blobs)?;
            tenant.vessel.records().delete_versions(&swept)?;
            tenant.vessel.rebuild_index()
        })
        .map_err(&failed)?;
        Ok(swept.len())
    }

    /// Ends every job whose files may hold the patient's records, and destroys its files.
    async fn end_jobs_about(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        patient: &LogicalId,
        backup_retention: SignedDuration,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        for mut found in job::all(tenant).map_err(&failed)? {
            if !operation::may_hold(&found.job, patient) {
                continue;
            }
            found.job.state = State::Failed;
            found.job.reason = Some(Reason::Purged);
            found.job.ended = Some(caller.request.at.as_microsecond());
            // Null: the next runner finds nothing left to clear, and forgets it.
            found.job.work = serde_json::Value::Null;
            found.job.until = None;
            // Crash after this line: the job is ended and its files are not; the command
            // again, or the next look at the job, destroys them.
            let saved = job::save(tenant, &found).map_err(&failed)?;
            tenant.vessel.destroy_spool(&found.job.id, backup_retention).map_err(&failed)?;
            self.note_job(tenant, caller, &saved.job, OutcomeCode::Failed, true).await?;
        }
        Ok(())
    }

    /// Current records about several patients that are sealed under these joint keys.
    fn joint_records(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        joint: &[KeyHandle],
    ) -> Result<Vec<Unopened>, Failure> {
        let failed = Self::store_failure(caller);
        let handles: HashSet<KeyHandle> = joint.iter().copied().collect();
        let under = tokio::task::block_in_place(|| tenant.vessel.versions_under(&handles))
            .map_err(&failed)?;
        let mut current = Vec::new();
        for (row, version) in under {
            let heads = tenant.vessel.records().heads(&[row]).map_err(&failed)?;
            if heads.first().and_then(|h| h.as_ref()).map(|h| h.version) != Some(version) {
                continue;
            }
            let found = tenant.vessel.find_version(row, version).map_err(&failed)?;
            current.extend(found.filter(|f| !f.header.deleted));
        }
        Ok(current)
    }

    /// Writes a new version, without `patient`, of every current record that is about
    /// this patient and others.
    async fn rewrite_joint(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        patient: &LogicalId,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let joint = tenant
            .vessel
            .keystore()
            .joint_handles(&caller.subject.tenant, patient)
            .map_err(&failed)?;
        if joint.is_empty() {
            return Ok(());
        }
        // Operators see no records: the rewriting is a job of its own, with the role
        // that may read and write all, and an audit record of each read.
        let mut job = caller.clone();
        job.subject_mut().roles = vec!["import-client".to_owned()];
        job.request.surface = Surface::Job;
        let mut found = self.joint_records(tenant, caller, &joint)?;
        // What is to be treated as another record takes its patients from that: later.
        found.sort_by_key(|f| f.header.context.is_some());
        for found in found {
            if found.header.blob.is_some() {
                self.reseal_attachment(tenant, &job, &found, |doc| without(doc, patient)).await?;
                continue;
            }
            let (ty, id, version) = (found.header.ty, found.header.id, found.version);
            let read = self.read(&job, ty, &id).await?;
            let doc = Doc::parse(read.body(), &Limits::default())
                .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
            let text = without(&doc, patient)?;
            let doc = Doc::parse(&text, &Limits::default())
                .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
            let write = Write { if_match: Some(version), ..Write::update(ty, id, doc) };
            self.write(&job, write, None).await?;
        }
        Ok(())
    }
}

/// What takes the place of a reference to a purged patient.
const REMOVED: &str = concat!(
    r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","#,
    r#""valueCode":"masked"}]}"#
);

/// The resource with every reference to `patient` taken out.
fn without(doc: &Doc, patient: &LogicalId) -> Result<Vec<u8>, Failure> {
    fn walk(node: Node<'_>, patient: &LogicalId, edits: &mut Edits) {
        let names = node.member("reference").and_then(|r| r.as_str()).is_some_and(|r| {
            matches!(classify(&r), RefKind::Relative { type_, id, .. }
                if type_.name() == "Patient" && id == patient.as_str())
        });
        if names {
            edits.replace(node.range(), REMOVED.to_owned());
            return;
        }
        match node.kind() {
            Kind::Object => node.members().for_each(|(_, n)| walk(n, patient, edits)),
            Kind::Array => node.items().for_each(|n| walk(n, patient, edits)),
            _ => {}
        }
    }
    let mut edits = Edits::default();
    walk(doc.root(), patient, &mut edits);
    edits.apply(doc).map_err(|_| {
        Failure::invalid(IssueCode::Exception, "", "a reference can't be taken out of this record")
    })
}
