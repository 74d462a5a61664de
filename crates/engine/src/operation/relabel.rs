//! Bringing the labels of what is stored up to the lists of codes that are in force.
//!
//! Labels stand in the sealed heads, put there when a record was written (decision 0075).
//! When the lists change, every stored version that they would label otherwise, old
//! versions and deletions too, is sealed again with the labels that it should have, in
//! its place: to clients it is the same version of the same time. It is done before
//! anything is served, so that nothing is ever decided by labels that the lists in force
//! don't give (decision 0089; 164.312(a)(1), 164.508(a)(2)).
//!
//! How far it has come stands in the control log. What a crash leaves is half of the
//! versions labelled, and the next start goes on; no index outlives it that knows the old
//! labels.

use std::collections::BTreeMap;

use phial_audit::{DetailKey, EventKind};
use phial_base::{ClassSet, LabelSet, Seq, Version};
use phial_fhir::{Doc, Valid};
use phial_policy::Action;
use phial_store::Error as StoreError;
use phial_store::vessel::{Differs, Looked};
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// The kind and the name of the record in the control log.
const KIND: &str = "labels";
const NAME: &str = "lists";
/// Versions looked at between two looks at the clock of progress.
const STRETCH: usize = 2048;
/// After so many versions how far it has come is kept.
const KEEP_EVERY: u64 = 65_536;

/// How far the stored versions have been held against lists. Field names are part of the
/// control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Walk {
    /// SHA-256 of what the lists say, hexadecimal; `none` when nothing is labelled.
    lists: String,
    /// Everything up to this place of the record log has the labels of these lists.
    after: u64,
    /// The last place that may have others.
    until: u64,
    /// Whether it is done.
    done: bool,
    /// How many versions were looked at.
    seen: u64,
    /// How many had other labels.
    changed: u64,
}

/// How many versions came to a label, and how many lost it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// They did not have it.
    pub added: u64,
    /// They had it.
    pub removed: u64,
}

/// What holding the stored versions against the lists came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Relabelled {
    /// Whether there was anything to look at: false when these lists are those of before.
    pub looked: bool,
    /// Versions looked at, by this process.
    pub versions: u64,
    /// Versions whose labels differed.
    pub changed: u64,
    /// Versions that do not open; `phial verify` names them.
    pub closed: u64,
    /// By label.
    pub labels: BTreeMap<&'static str, Moved>,
}

impl Relabelled {
    /// Adds a stretch.
    fn take(&mut self, looked: &Looked) {
        for d in &looked.differ {
            self.count(d.before, d.after);
        }
        self.versions += looked.seen;
        self.closed += looked.closed;
    }

    fn count(&mut self, before: LabelSet, after: LabelSet) {
        self.changed += 1;
        for label in before.or(after).iter() {
            let (had, has) = (before.has(label), after.has(label));
            let moved = self.labels.entry(label.code()).or_default();
            moved.added += u64::from(has && !had);
            moved.removed += u64::from(had && !has);
        }
        self.labels.retain(|_, m| *m != Moved::default());
    }
}

impl Engine {
    /// Gives every stored version of a tenant the labels of the lists in force, when those
    /// are not the lists of the last time. To be called before anything is served; again
    /// does no harm, and after a crash goes on where it stood.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store or the audit log can't be reached: then nothing may
    /// be served.
    pub async fn relabel(&self, tenant: &Tenant, caller: &Caller) -> Result<Relabelled, Failure> {
        let failed = Self::store_failure(caller);
        let lists = self.lists();
        let known = kept(tenant).map_err(&failed)?;
        let head = tenant.vessel.records().head().map_err(&failed)?;
        let mut said = Relabelled::default();
        let (mut walk, mut version) = match known {
            Some((walk, _)) if walk.lists == lists && walk.done => return Ok(said),
            Some((walk, version)) if walk.lists == lists => (walk, version),
            other => {
                let nothing = head == Seq(0);
                let walk =
                    Walk { lists, after: 0, until: head.0, done: nothing, seen: 0, changed: 0 };
                let replaced = other.map(|(_, version)| version);
                let version = self.keep_walk(tenant, caller, &walk, replaced).await?;
                if nothing {
                    return Ok(said);
                }
                (walk, version)
            }
        };
        said.looked = true;
        tracing::info!("the lists of codes changed: stored records are labelled by them");
        let mut unsaved = 0;
        while walk.after < walk.until {
            let stretch = self.stretch(tenant, caller, &walk)?;
            let Some(looked) = stretch else { break };
            said.take(&looked);
            walk.changed += u64::try_from(looked.differ.len()).unwrap_or(u64::MAX);
            walk.seen += looked.seen;
            walk.after = looked.last.0;
            if !looked.differ.is_empty() {
                self.put_labels(tenant, caller, looked.differ).await?;
            }
            unsaved += looked.seen;
            if unsaved >= KEEP_EVERY {
                unsaved = 0;
                version = self.keep_walk(tenant, caller, &walk, Some(version)).await?;
                tracing::info!(count = walk.seen, "stored versions have been looked at");
            }
        }
        if tenant.vessel.index_is_retired() {
            tokio::task::block_in_place(|| tenant.vessel.rebuild_index()).map_err(&failed)?;
        }
        // Crash before this line: the next start looks at the last stretch again and finds
        // nothing to change.
        walk.done = true;
        self.keep_walk(tenant, caller, &walk, Some(version)).await?;
        tracing::info!(count = walk.changed, "stored versions have other labels than before");
        Ok(said)
    }

    /// What [`Engine::relabel`] would come to with the lists in force, looking at every
    /// version and changing none.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage keys, as every work on all that
    /// is stored; [`Failure::Busy`] when a store can't be reached.
    pub async fn would_relabel(&self, caller: &Caller) -> Result<Relabelled, Failure> {
        let tenant = self.home(caller)?;
        let (kind, what) = (EventKind::Reseal, "label what is stored");
        self.must(tenant, caller, Action::ManageKeys, kind, what).await?;
        let until = tenant.vessel.records().head().map_err(Self::store_failure(caller))?;
        let mut walk = Walk {
            lists: self.lists(),
            after: 0,
            until: until.0,
            done: false,
            seen: 0,
            changed: 0,
        };
        let mut said = Relabelled { looked: true, ..Relabelled::default() };
        while let Some(looked) = self.stretch(tenant, caller, &walk)? {
            said.take(&looked);
            walk.after = looked.last.0;
        }
        let mut e = entry::of(caller, EventKind::Reseal);
        entry::note(&mut e, DetailKey::Reason, "looked".to_owned());
        entry::note(&mut e, DetailKey::Value, walk.lists);
        entry::note(&mut e, DetailKey::Count, said.changed.to_string());
        self.record(tenant, caller, vec![e], None).await?;
        Ok(said)
    }

    fn stretch(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        walk: &Walk,
    ) -> Result<Option<Looked>, Failure> {
        let label = |doc: Doc, before: LabelSet| self.labels_again(doc, before);
        tokio::task::block_in_place(|| {
            let (after, until) = (Seq(walk.after), Seq(walk.until));
            tenant.vessel.look_for_labels(after, until, STRETCH, &label)
        })
        .map_err(Self::store_failure(caller))
    }

    /// Announces the versions, puts them in their place and says what came of it.
    async fn put_labels(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        differ: Vec<Differs>,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        if !tenant.vessel.index_is_retired() {
            // From here on a crash leaves no index that knows the old labels.
            tenant.vessel.retire_index().map_err(&failed)?;
        }
        let intent = self.new_request_id().0;
        let mut e = entry::of(caller, EventKind::Reseal);
        let mut writes = Vec::with_capacity(differ.len());
        for d in &differ {
            let carried = (ClassSet::NONE, d.classes);
            entry::written(&mut e, d.ty, d.row, d.version, carried, EventKind::Reseal, &d.patients);
            writes.push(d.announcement());
            if d.ty.name() == "Subscription" {
                tenant.offer_again(d.row, d.version, &d.was, &d.hash).map_err(&failed)?;
            }
        }
        let announced = tenant.vessel.announce(intent);
        // Crash before this line: nothing is changed.
        let announcement = e.into_intent(intent, EventKind::Reseal, writes);
        self.record(tenant, caller, vec![announcement], None).await?;
        // Crash after it: the intent is open, and recovery closes it by what the record
        // log holds.
        let closing = entry::of(caller, EventKind::Outcome);
        tokio::task::block_in_place(|| tenant.vessel.put_labels(announced, closing, differ))
            .map_err(failed)
    }

    /// Keeps how far it has come. The log says so before and, with the control log's new
    /// state, after.
    async fn keep_walk(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        walk: &Walk,
        replaced: Option<Version>,
    ) -> Result<Version, Failure> {
        let failed = Self::store_failure(caller);
        let mut e = entry::of(caller, EventKind::Reseal);
        let state = if walk.done { "done" } else { "under way" };
        entry::note(&mut e, DetailKey::Reason, state.to_owned());
        entry::note(&mut e, DetailKey::Setting, "labels".to_owned());
        entry::note(&mut e, DetailKey::Value, walk.lists.clone());
        entry::note(&mut e, DetailKey::Count, walk.changed.to_string());
        self.record(tenant, caller, vec![e.clone()], None).await?;
        let value = serde_json::to_value(walk)
            .map_err(|_| failed(StoreError::Invalid("a record that can't be encoded")))?;
        let control = tenant.vessel.control();
        let version = control.put(KIND, NAME, &value, replaced).map_err(&failed)?;
        entry::note(&mut e, DetailKey::ControlHead, control.head().map_err(&failed)?);
        self.record(tenant, caller, vec![e], None).await?;
        Ok(version)
    }

    /// What names the lists in force.
    fn lists(&self) -> String {
        match &self.settings().labeller {
            Some(labeller) => hex::encode(phial_crypto::sha256(labeller.canonical().as_bytes())),
            None => "none".to_owned(),
        }
    }

    /// The labels of a document that is stored. Of one whose sender's labels can't be read
    /// any more, those that it has stay.
    fn labels_again(&self, doc: Doc, before: LabelSet) -> LabelSet {
        let brought = self.settings().labeller.as_ref().map(|l| l.labels(&doc));
        let brought = brought.unwrap_or_default();
        Valid::again(doc).map_or(before, |valid| valid.labels()).or(brought)
    }
}

fn kept(tenant: &Tenant) -> Result<Option<(Walk, Version)>, StoreError> {
    let Some(record) = tenant.vessel.control().get(KIND, NAME)? else { return Ok(None) };
    let walk = serde_json::from_value(record.value)
        .map_err(|_| StoreError::Corrupt("how far labels have come, in the control log"))?;
    Ok(Some((walk, record.version)))
}

#[cfg(test)]
mod tests {
    use phial_base::Label;

    use super::*;

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let walk =
            Walk { lists: "none".to_owned(), after: 3, until: 9, done: false, seen: 3, changed: 1 };
        let text = r#"{"lists":"none","after":3,"until":9,"done":false,"seen":3,"changed":1}"#;
        assert_eq!(serde_json::to_string(&walk).unwrap(), text);
        assert_eq!(serde_json::from_str::<Walk>(text).unwrap(), walk);
    }

    #[test]
    fn labels_that_came_and_went_are_counted_and_those_that_stayed_are_not() {
        let set = |labels: &[Label]| labels.iter().copied().collect::<LabelSet>();
        let mut said = Relabelled::default();
        said.count(set(&[Label::HIV, Label::VIP]), set(&[Label::VIP, Label::MH]));
        said.count(set(&[]), set(&[Label::MH]));
        assert_eq!(said.changed, 2);
        let all: Vec<_> = said.labels.iter().map(|(l, m)| (*l, m.added, m.removed)).collect();
        assert_eq!(all, [("HIV", 0, 1), ("MH", 2, 0)]);
    }
}
