//! What all writes share: settle ids and conditions, plan (validate, permit over old and
//! new facts), seal, announce durably, commit, answer (design §2).

mod overlay;
mod patch;
mod plan;
mod refer;
mod settle;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use phial_audit::{Entry, EventKind, OutcomeCode};
use phial_base::{ClassSet, LogicalId, Version};
use phial_fhir::Patch;
use phial_fhir::attachment::Brought;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, Severity};
use phial_fhir::json::Doc;
use phial_policy::Action;
use phial_store::blobs::Staged;
use phial_store::vessel::Sealing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::operation::subscription::Offered;

pub(crate) use plan::Plan;
pub(crate) use settle::Settled;

/// Which interaction one write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A new record under an id of ours.
    Create,
    /// A new version, or a new record under the caller's id.
    Update,
    /// A new version that differs in what a patch names.
    Patch,
    /// The end of a record.
    Delete,
}

impl Method {
    pub(crate) fn action(self) -> Action {
        match self {
            Method::Create => Action::Create,
            Method::Update => Action::Update,
            Method::Patch => Action::Patch,
            Method::Delete => Action::Delete,
        }
    }

    pub(crate) fn kind(self) -> EventKind {
        match self {
            Method::Create => EventKind::Create,
            Method::Update => EventKind::Update,
            Method::Patch => EventKind::Patch,
            Method::Delete => EventKind::Delete,
        }
    }
}

/// One write as it came in.
#[derive(Clone)]
pub struct Write {
    /// Which interaction.
    pub method: Method,
    /// The type named by the URL.
    pub ty: ResourceType,
    /// The id named by the URL; none for a create, and for what is named by a condition.
    pub id: Option<LogicalId>,
    /// The resource, of a create or update.
    pub body: Option<Doc>,
    /// The patch, of a patch.
    pub patch: Option<Patch>,
    /// `If-Match`: the version that must be current.
    pub if_match: Option<Version>,
    /// `If-None-Match: *`: there must be none yet.
    pub if_none_match: bool,
    /// A search. Of a create, `If-None-Exist`: it must match nothing. Of other writes
    /// what stands in the URL for an id: what it matches is meant.
    pub condition: Option<String>,
    /// Whether a conditional delete may end more than one record.
    pub many: bool,
    /// `fullUrl` of a bundle's entry, which other entries may refer to.
    pub full_url: Option<String>,
    /// This server's FHIR base, as the client names it: what points below it points here.
    pub base: Option<Arc<str>>,
    /// Where the write stands, to lead the path of its issues: empty, or
    /// `Bundle.entry[3].resource`.
    pub place: String,
}

impl Write {
    /// A write of this method with nothing else said.
    #[must_use]
    pub fn new(method: Method, ty: ResourceType, id: Option<LogicalId>) -> Self {
        Write {
            method,
            ty,
            id,
            body: None,
            patch: None,
            if_match: None,
            if_none_match: false,
            condition: None,
            many: false,
            full_url: None,
            base: None,
            place: String::new(),
        }
    }
}

/// What the answer to a write carries
/// (<https://hl7.org/fhir/R4/http.html#ops>, `Prefer: return`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Status and headers alone.
    Minimal,
    /// The record as it now is, as far as the writer may read it.
    Representation,
    /// A few words on what was done.
    Outcome,
}

/// What became of one write.
#[derive(Clone, Debug)]
pub struct Written {
    /// Type.
    pub ty: ResourceType,
    /// Logical id.
    pub id: LogicalId,
    /// The version now current; 0 where there is none to name.
    pub version: Version,
    /// When it was written, microseconds since the epoch.
    pub last_updated: i64,
    /// Whether a record came into being.
    pub created: bool,
    /// Whether anything was written: a conditional create that matched, a patch that
    /// changes nothing and a delete of what is already gone write nothing.
    pub stored: bool,
    /// Whether this is a deletion.
    pub deleted: bool,
    /// Whether parts were changed and the rest carried over.
    pub patched: bool,
    /// How many records it was: more than one when a condition ended several.
    pub count: usize,
}

impl Written {
    /// What was done, in words that hold nothing of the record.
    #[must_use]
    pub fn outcome(&self) -> Issue {
        let several;
        let text = match (self.stored, self.deleted, self.created) {
            (true, true, _) if self.count > 1 => {
                several = format!("{} records were deleted", self.count);
                several.as_str()
            }
            (false, true, _) => "there was nothing to delete",
            (false, false, _) if self.patched => "the patch changes nothing",
            (false, false, _) => "a record that satisfies the condition was there already",
            (true, true, _) => "the record was deleted",
            (true, false, true) => "the record was created",
            (true, false, false) if self.patched => "the record was changed",
            (true, false, false) => "the record was replaced",
        };
        Issue {
            severity: Severity::Information,
            code: IssueCode::Informational,
            path: String::new(),
            text: text.to_owned(),
        }
    }
}

/// One version, permitted and ready to seal.
struct Planned {
    sealing: Sealing,
    method: Method,
    created: bool,
    /// The classes that were written, and those of the record that the writer does not
    /// see and that were carried over.
    wrote: ClassSet,
    carried: ClassSet,
    /// The patients that the version before was about: when the subject changes, the
    /// log names both.
    before: Vec<LogicalId>,
    /// Of a subscription: what is kept beside its record.
    offered: Option<Offered>,
    /// Of a patch: the files that it brings, to be looked at.
    brought: Option<Brought>,
}

/// How often an unconditional update is tried again when someone else's came first.
const TRIES: usize = 4;

impl Engine {
    /// Does one write. `provenance` is a Provenance that is created with it, in the same
    /// commit, and is about what was written.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with every issue found, [`Failure::Unprocessable`] for a patch
    /// that does not fit; [`Failure::NotFound`] or [`Failure::Forbidden`] when policy
    /// refuses; [`Failure::Conflict`] when a version or condition does not hold;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached: then
    /// nothing was acknowledged.
    pub async fn write(
        &self,
        caller: &Caller,
        write: Write,
        provenance: Option<Doc>,
    ) -> Result<Written, Failure> {
        let kind = write.method.kind();
        let written = self.write_all(caller, kind, vec![write], provenance).await?;
        written.into_iter().next().ok_or(Failure::NotFound)
    }

    /// Writes all or nothing. Gives what became of each, in the order given.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub(crate) async fn write_all(
        &self,
        caller: &Caller,
        kind: EventKind,
        writes: Vec<Write>,
        provenance: Option<Doc>,
    ) -> Result<Vec<Written>, Failure> {
        self.write_with(caller, kind, writes, provenance, None).await
    }

    /// As [`Engine::write_all`]; `blob` is what the first write's content was received
    /// as.
    pub(crate) async fn write_with(
        &self,
        caller: &Caller,
        kind: EventKind,
        writes: Vec<Write>,
        provenance: Option<Doc>,
        blob: Option<Staged>,
    ) -> Result<Vec<Written>, Failure> {
        let tenant = self.home(caller)?;
        if let Err(failure) = self.inspect(tenant, caller, &writes).await {
            if matches!(failure, Failure::Unprocessable(_)) {
                // Written down with what was found.
                return Err(failure);
            }
            let e = entry::of(caller, EventKind::Denied);
            return Err(self.refuse_write(tenant, caller, kind, e, failure).await);
        }
        let conditional = writes.iter().any(|w| w.condition.is_some());
        // INVARIANT: while a condition holds the lock alone, nobody else commits, so
        // what was not there when it looked is not there when it commits.
        let (_shared, _alone) = if conditional {
            (None, Some(tenant.writes.write().await))
        } else {
            (Some(tenant.writes.read().await), None)
        };
        let settled = match self.settle(tenant, caller, writes, provenance) {
            Ok(settled) => settled,
            Err(failure) => {
                let e = entry::of(caller, EventKind::Denied);
                return Err(self.refuse_write(tenant, caller, kind, e, failure).await);
            }
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.attempt(tenant, caller, kind, &settled, blob.as_ref()).await;
            let retry = tries < TRIES
                // What was received is gone when its write failed.
                && blob.is_none()
                && settled.iter().all(|s| s.write.if_match.is_none())
                && matches!(result, Err(Failure::Conflict { precondition: false, .. }));
            if !retry {
                return result;
            }
        }
    }

    /// Plans a write and drops the plan: the patients whose key will seal it, or why it
    /// may not be.
    pub(crate) fn rehearse(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        write: Write,
        provenance: Option<Doc>,
    ) -> Result<Vec<LogicalId>, (Box<Entry>, Failure)> {
        let mut refused = entry::of(caller, EventKind::Denied);
        let planned = self
            .settle(tenant, caller, vec![write], provenance)
            .and_then(|s| Plan::new(self, tenant, caller, kind, &s).all(&mut refused));
        match planned {
            Ok((planned, _)) => {
                Ok(planned.into_iter().next().map(|p| p.sealing.patients).unwrap_or_default())
            }
            Err(failure) => Err((Box::new(refused), failure)),
        }
    }

    pub(crate) async fn refuse_write(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        mut e: Entry,
        failure: Failure,
    ) -> Failure {
        let outcome = match &failure {
            Failure::Forbidden(_) | Failure::NotFound => OutcomeCode::Denied,
            Failure::Invalid(_) | Failure::TooLarge(_) | Failure::Unprocessable(_) => {
                OutcomeCode::Invalid
            }
            Failure::Conflict { .. } | Failure::Gone => OutcomeCode::Conflict,
            _ => return failure,
        };
        e.action = Some(kind);
        self.refuse(tenant, caller, e, outcome, failure).await
    }

    /// Looks at the files that patches bring. What a patch comes to is known by its record
    /// alone, so they are looked at here and not with those that are put.
    async fn inspect_brought(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        settled: &[Settled],
        planned: &[Planned],
    ) -> Result<(), Failure> {
        for p in planned {
            let Some(brought) = &p.brought else { continue };
            let place = settled
                .iter()
                .find(|s| s.write.ty == p.sealing.ty && s.id == p.sealing.id)
                .map_or("", |s| s.write.place.as_str());
            for found in brought.files() {
                if let Err(failure) = self.inspect_one(tenant, caller, kind, place, &found).await {
                    if matches!(failure, Failure::Unprocessable(_)) {
                        // Written down with what was found.
                        return Err(failure);
                    }
                    let e = entry::of(caller, EventKind::Denied);
                    return Err(self.refuse_write(tenant, caller, kind, e, failure).await);
                }
            }
        }
        Ok(())
    }

    async fn attempt(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        settled: &[Settled],
        blob: Option<&Staged>,
    ) -> Result<Vec<Written>, Failure> {
        let intent = self.new_request_id().0;
        // Filled with the record concerned when a write is refused.
        let mut refused = entry::of(caller, EventKind::Denied);
        let plan = Plan::new(self, tenant, caller, kind, settled).all(&mut refused);
        let (planned, written) = match plan {
            Ok(planned) => planned,
            Err(failure) => {
                return Err(self.refuse_write(tenant, caller, kind, refused, failure).await);
            }
        };
        self.inspect_brought(tenant, caller, kind, settled, &planned).await?;
        let prepare = move || {
            let mut planned = planned;
            if let (Some(first), Some(blob)) = (planned.first_mut(), blob) {
                first.sealing.blob = Some(blob.clone());
            }
            let mut sealed = Vec::with_capacity(planned.len());
            let mut e = entry::of(caller, kind);
            let mut announced = Vec::with_capacity(planned.len());
            let mut consents = Vec::new();
            for p in planned {
                let (ty, mut patients) = (p.sealing.ty, p.sealing.patients.clone());
                patients.extend(p.before);
                let id = p.offered.as_ref().map(|_| p.sealing.id.clone());
                let s = tenant.vessel.seal(p.sealing).map_err(Self::store_failure(caller))?;
                if let (Some(offered), Some(id)) = (p.offered, id) {
                    let kept = tenant.offer(&id, s.row.row, s.row.version, &s.hash, offered);
                    kept.map_err(Self::store_failure(caller))?;
                }
                entry::written(
                    &mut e,
                    ty,
                    s.row.row,
                    s.row.version,
                    (p.wrote, p.carried),
                    p.method.kind(),
                    &patients,
                );
                if ty.name() == "Consent" {
                    consents.push((s.row.row, patients));
                }
                announced.extend(s.announcement());
                sealed.push(s);
            }
            Ok((sealed, e.into_intent(intent, kind, announced), written, consents))
        };
        let prepared = prepare();
        let (sealed, announcement, written, consents) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                return Err(self.refuse_write(tenant, caller, kind, refused, failure).await);
            }
        };
        let types: HashSet<ResourceType> = written.iter().map(|(_, w)| w.ty).collect();
        let written = by_entry(written);
        if sealed.is_empty() {
            // Nothing to store; that it was asked is still written down.
            self.record(tenant, caller, vec![entry::of(caller, kind)], None).await?;
            return Ok(written);
        }
        let announced = tenant.vessel.announce(intent);
        // Crash before this line: nothing is stored, nothing was acknowledged.
        self.record(tenant, caller, vec![announcement], None).await?;
        // Crash after it: the intent is open, and recovery closes it by what the record
        // log holds.
        let closing = entry::of(caller, EventKind::Outcome);
        let touch = || consents.iter().for_each(|(row, of)| tenant.consents().touch(*row, of));
        touch();
        let stored = tenant.vessel.append(announced, kind, closing, sealed).await;
        // What was read before the commit is not what holds after it.
        touch();
        // Of unknown fate is as good as stored for what was looked up before.
        let mut known = tenant.resolved();
        for ty in types {
            *known.writes.entry(ty).or_default() += 1;
        }
        drop(known);
        stored.map(|_| written).map_err(Self::store_failure(caller))
    }
}

/// What became of each entry: of one that ended several records, all together.
fn by_entry(written: Vec<(usize, Written)>) -> Vec<Written> {
    let mut all: BTreeMap<usize, Written> = BTreeMap::new();
    for (entry, one) in written {
        match all.get_mut(&entry) {
            None => {
                all.insert(entry, one);
            }
            Some(before) => {
                before.stored |= one.stored;
                before.count += one.count;
                // There is no one version to name.
                before.version = Version(0);
            }
        }
    }
    all.remove(&settle::PROVENANCE);
    all.into_values().collect()
}
