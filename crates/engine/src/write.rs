//! What all writes share: plan (validate, permit over old and new facts), seal,
//! announce durably, commit, answer (design §2).

use std::collections::{HashMap, HashSet};

use phial_audit::{Entry, EventKind, OutcomeCode, Write as Announced};
use phial_base::{ClassSet, LogicalId, RowId, Version, random_logical_id};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, Severity};
use phial_fhir::json::Doc;
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::search::Extracted;
use phial_policy::{Action, Facts, RecordRef};
use phial_store::vessel::{Sealing, Unopened};

use crate::caller::Caller;
use crate::condition::Match;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::operation::subscription::Offered;

/// Which interaction one write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A new record under an id of ours.
    Create,
    /// A new version, or a new record under the caller's id.
    Update,
    /// The end of a record.
    Delete,
}

impl Method {
    fn action(self) -> Action {
        match self {
            Method::Create => Action::Create,
            Method::Update => Action::Update,
            Method::Delete => Action::Delete,
        }
    }

    fn kind(self) -> EventKind {
        match self {
            Method::Create => EventKind::Create,
            Method::Update => EventKind::Update,
            Method::Delete => EventKind::Delete,
        }
    }
}

/// One write as it came in.
pub struct Write {
    /// Which interaction.
    pub method: Method,
    /// The type named by the URL.
    pub ty: ResourceType,
    /// The id named by the URL; none for a create.
    pub id: Option<LogicalId>,
    /// The resource; none for a delete.
    pub body: Option<Doc>,
    /// `If-Match`: the version that must be current.
    pub if_match: Option<Version>,
    /// `If-None-Match: *`: there must be none yet.
    pub if_none_match: bool,
    /// `If-None-Exist`: create only when this search matches nothing.
    pub if_none_exist: Option<String>,
    /// `fullUrl` of a bundle's entry, which other entries may refer to.
    pub full_url: Option<String>,
    /// Where the write stands, to lead the path of its issues: empty, or
    /// `Bundle.entry[3].resource`.
    pub place: String,
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
    /// The version now current.
    pub version: Version,
    /// When it was written, microseconds since the epoch.
    pub last_updated: i64,
    /// Whether a record came into being.
    pub created: bool,
    /// Whether anything was written: a conditional create that matched and a delete
    /// of what is already gone write nothing.
    pub stored: bool,
    /// Whether this is a deletion.
    pub deleted: bool,
}

impl Written {
    /// What was done, in words that hold nothing of the record.
    #[must_use]
    pub fn outcome(&self) -> Issue {
        let text = match (self.stored, self.deleted, self.created) {
            (false, true, _) => "there was nothing to delete",
            (false, false, _) => "a record that satisfies the condition was there already",
            (true, true, _) => "the record was deleted",
            (true, false, true) => "the record was created",
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

/// A write with its id settled, before it is planned.
pub(crate) struct Settled {
    pub(crate) write: Write,
    pub(crate) id: LogicalId,
    /// Set when `If-None-Exist` matched: nothing is to be written.
    existing: bool,
}

/// One version, permitted and ready to seal.
struct Planned {
    sealing: Sealing,
    method: Method,
    created: bool,
    /// The patients that the version before was about: when the subject changes, the
    /// log names both.
    before: Vec<LogicalId>,
    /// Of a subscription: what is kept beside its record.
    offered: Option<Offered>,
}

/// How often an unconditional update is tried again when someone else's came first.
const TRIES: usize = 4;

impl Engine {
    /// Writes all or nothing.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with every issue found; [`Failure::NotFound`] or
    /// [`Failure::Forbidden`] when policy refuses one of them; [`Failure::Conflict`]
    /// when a version or condition does not hold; [`Failure::Busy`] when a store, the
    /// keys or the audit log can't be reached: then nothing was acknowledged.
    pub(crate) async fn write_all(
        &self,
        caller: &Caller,
        kind: EventKind,
        writes: Vec<Write>,
    ) -> Result<Vec<Written>, Failure> {
        let tenant = self.home(caller)?;
        let conditional = writes.iter().any(|w| w.if_none_exist.is_some());
        // INVARIANT: while a condition holds the lock alone, nobody else commits, so
        // what was not there when it looked is not there when it commits.
        let (_shared, _alone) = if conditional {
            (None, Some(tenant.writes.write().await))
        } else {
            (Some(tenant.writes.read().await), None)
        };
        let settled = match self.settle(tenant, caller, writes) {
            Ok(settled) => settled,
            Err(failure) => {
                let e = entry::of(caller, EventKind::Denied);
                return Err(self.refuse_write(tenant, caller, kind, e, failure).await);
            }
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.attempt(tenant, caller, kind, &settled).await;
            let retry = tries < TRIES
                && settled.iter().all(|s| s.write.if_match.is_none())
                && matches!(result, Err(Failure::Conflict { precondition: false, .. }));
            if !retry {
                return result;
            }
        }
    }

    async fn refuse_write(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        mut e: Entry,
        failure: Failure,
    ) -> Failure {
        let outcome = match &failure {
            Failure::Forbidden(_) | Failure::NotFound => OutcomeCode::Denied,
            Failure::Invalid(_) => OutcomeCode::Invalid,
            Failure::Conflict { .. } | Failure::Gone => OutcomeCode::Conflict,
            _ => return failure,
        };
        e.action = Some(kind);
        self.refuse(tenant, caller, e, outcome, failure).await
    }

    async fn attempt(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        settled: &[Settled],
    ) -> Result<Vec<Written>, Failure> {
        let intent = self.new_request_id().0;
        // Filled with the record concerned when a write is refused.
        let mut refused = entry::of(caller, EventKind::Denied);
        let prepare = |refused: &mut Entry| {
            let (planned, written) = self.plan(tenant, caller, kind, settled, refused)?;
            let mut sealed = Vec::with_capacity(planned.len());
            let mut e = entry::of(caller, kind);
            let mut announced = Vec::with_capacity(planned.len());
            for p in planned {
                let classes = p.sealing.split.as_ref().map_or(p.sealing.classes, |s| s.classes);
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
                    classes,
                    p.method.kind(),
                    &patients,
                );
                announced.push(Announced { row: s.row.row, version: s.row.version, hash: s.hash });
                sealed.push(s);
            }
            Ok((sealed, e.into_intent(intent, kind, announced), written))
        };
        let prepared = prepare(&mut refused);
        let (sealed, announcement, written) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                return Err(self.refuse_write(tenant, caller, kind, refused, failure).await);
            }
        };
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
        let types: HashSet<ResourceType> = written.iter().map(|w| w.ty).collect();
        let closing = entry::of(caller, EventKind::Outcome);
        let stored = tenant.vessel.append(announced, kind, closing, sealed).await;
        // Of unknown fate is as good as stored for what was looked up before.
        let mut known = tenant.resolved();
        for ty in types {
            *known.writes.entry(ty).or_default() += 1;
        }
        drop(known);
        stored.map(|_| written).map_err(Self::store_failure(caller))
    }

    /// Gives every write its id, evaluating `If-None-Exist`.
    fn settle(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        writes: Vec<Write>,
    ) -> Result<Vec<Settled>, Failure> {
        let mut settled = Vec::with_capacity(writes.len());
        for write in writes {
            let mut existing = false;
            let id = match (&write.id, &write.if_none_exist) {
                (Some(id), _) => id.clone(),
                (None, None) => random_logical_id(self.rng()),
                (None, Some(condition)) => {
                    match self.matching(tenant, caller, write.ty, condition, &write.place)? {
                        Match::None => random_logical_id(self.rng()),
                        Match::One(id) => {
                            existing = true;
                            id
                        }
                        Match::Many => {
                            return Err(Failure::precondition(
                                "If-None-Exist matches more than one record",
                            ));
                        }
                    }
                }
            };
            settled.push(Settled { write, id, existing });
        }
        Ok(settled)
    }

    /// Validates, asks policy over old and new facts, and splits by class.
    fn plan(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
        settled: &[Settled],
        refused: &mut Entry,
    ) -> Result<(Vec<Planned>, Vec<Written>), Failure> {
        let now = self.clock().now();
        let mut names: HashMap<&str, String> = HashMap::new();
        for s in settled {
            if let Some(url) = &s.write.full_url {
                names.insert(url, format!("{}/{}", s.write.ty.name(), s.id.as_str()));
            }
        }
        let mut rows = HashSet::new();
        let mut issues = Vec::new();
        let mut planned = Vec::with_capacity(settled.len());
        let mut written = Vec::with_capacity(settled.len());
        for s in settled {
            let ty = s.write.ty;
            let old = match s.write.method {
                // An id of ours is new, unless it was given for an import.
                Method::Create if !s.existing && s.write.id.is_none() => None,
                _ => tenant.vessel.find(ty, &s.id).map_err(Self::store_failure(caller))?,
            };
            let row = tenant.vessel.row_id(ty, &s.id).map_err(Self::store_failure(caller))?;
            if s.existing {
                written.push(unchanged(ty, &s.id, old.as_ref(), false));
                continue;
            }
            if !rows.insert(row) {
                return Err(Failure::invalid(
                    IssueCode::Invariant,
                    s.write.place.clone(),
                    "the same record is written twice in one transaction",
                ));
            }
            self.visible(tenant, caller, s, row, old.as_ref(), refused)?;
            if kind == EventKind::Import
                && let Some(old) = &old
                && self.imported_before(tenant, caller, s, old, &names)?
            {
                written.push(unchanged(ty, &s.id, Some(old), false));
                continue;
            }
            check_version(&s.write, old.as_ref())?;
            if s.write.method == Method::Delete {
                let Some(old) = old.filter(|o| !o.header.deleted) else {
                    written.push(unchanged(ty, &s.id, None, true));
                    continue;
                };
                let version = old.version.next();
                let last_updated = now.as_microsecond().max(old.header.last_updated + 1);
                planned.push(Planned {
                    method: Method::Delete,
                    created: false,
                    before: Vec::new(),
                    offered: None,
                    sealing: Sealing {
                        ty,
                        id: s.id.clone(),
                        version,
                        patients: old.header.patients,
                        labels: old.header.labels,
                        last_updated,
                        split: None,
                        classes: old.header.classes,
                        values: Extracted::default(),
                    },
                });
                written.push(Written {
                    ty,
                    id: s.id.clone(),
                    version,
                    last_updated,
                    created: false,
                    stored: true,
                    deleted: true,
                });
                continue;
            }
            match self.plan_content(tenant, caller, now, s, row, old, &names, refused)? {
                Ok(p) => {
                    written.push(Written {
                        ty,
                        id: s.id.clone(),
                        version: p.sealing.version,
                        last_updated: p.sealing.last_updated,
                        created: p.created,
                        stored: true,
                        deleted: false,
                    });
                    planned.push(p);
                }
                Err(mut found) => issues.append(&mut found),
            }
        }
        if issues.is_empty() {
            Ok((planned, written))
        } else {
            issues.truncate(50);
            Err(Failure::Invalid(Refusal { issues }))
        }
    }

    /// What the caller may not see he may not replace or delete, nor learn of: a
    /// denied id and an absent id get the same answer.
    fn visible(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        s: &Settled,
        row: RowId,
        old: Option<&Unopened>,
        refused: &mut Entry,
    ) -> Result<(), Failure> {
        let action = s.write.method.action();
        match old {
            Some(old) => match self.decide(tenant, caller, action, old)? {
                Ok(_) => Ok(()),
                Err(denial) => {
                    entry::denied(refused, old, &denial);
                    let readable = self.decide(tenant, caller, Action::Read, old)?.is_ok();
                    if readable && !old.header.deleted {
                        Err(Failure::forbidden(format!(
                            "your role may not {} this {}",
                            action.name(),
                            s.write.ty.name()
                        )))
                    } else {
                        Err(Failure::NotFound)
                    }
                }
            },
            None if s.write.method == Method::Create => Ok(()),
            // Whoever does not see the whole type must not learn that the id is free.
            None => {
                entry::absent(refused, s.write.ty, row);
                let whole = self.policy().every_record(&caller.subject, action, s.write.ty.name());
                if whole { Ok(()) } else { Err(Failure::NotFound) }
            }
        }
    }

    /// What a reference is stored as, when not as it was sent.
    pub(crate) fn referred(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        s: &Settled,
        names: &HashMap<&str, String>,
        reference: &str,
        failed: &mut Option<Failure>,
    ) -> Option<String> {
        if let Some(name) = names.get(reference) {
            return Some(name.clone());
        }
        match classify(reference) {
            RefKind::Conditional { type_, query } => {
                match self.resolve(tenant, caller, type_, query, &s.write.place) {
                    Ok(id) => Some(format!("{}/{}", type_.name(), id.as_str())),
                    Err(f) => {
                        failed.get_or_insert(f);
                        None
                    }
                }
            }
            RefKind::UrnUuid(_) if s.write.full_url.is_some() => {
                failed.get_or_insert_with(|| {
                    Failure::invalid(
                        IssueCode::NotFound,
                        s.write.place.clone(),
                        "a urn:uuid reference names no entry of this bundle",
                    )
                });
                None
            }
            _ => None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one plan is made from all of these")]
    fn plan_content(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        now: jiff::Timestamp,
        s: &Settled,
        row: RowId,
        old: Option<Unopened>,
        names: &HashMap<&str, String>,
        refused: &mut Entry,
    ) -> Result<Result<Planned, Vec<Issue>>, Failure> {
        let ty = s.write.ty;
        let led = |mut issues: Vec<Issue>| {
            for issue in &mut issues {
                if !s.write.place.is_empty() {
                    issue.path = format!("{}.{}", s.write.place, issue.path);
                }
            }
            issues
        };
        let Some(doc) = &s.write.body else {
            return Err(Failure::invalid(
                IssueCode::Required,
                s.write.place.clone(),
                "a resource is needed",
            ));
        };
        let version = old.as_ref().map_or(Version(1), |o| o.version.next());
        let floor = old.as_ref().map_or(i64::MIN, |o| o.header.last_updated + 1);
        let last_updated = floor.max(now.as_microsecond() / 1000 * 1000);
        let stamp = jiff::Timestamp::from_microsecond(last_updated).unwrap_or(now);
        let mut failed: Option<Failure> = None;
        let text =
            phial_fhir::stamp(doc, &s.id, version, &format!("{stamp:.3}"), &mut |reference| {
                self.referred(tenant, caller, s, names, reference, &mut failed)
            });
        if let Some(failure) = failed {
            return Err(failure);
        }
        let valid = match text
            .and_then(|t| Doc::parse(&t, &phial_fhir::Limits::default()))
            .and_then(phial_fhir::validate)
        {
            Ok(valid) => valid,
            Err(issues) => return Ok(Err(led(issues))),
        };
        if valid.resource_type() != ty {
            return Ok(Err(led(vec![Issue {
                severity: Severity::Error,
                code: IssueCode::Invalid,
                path: "resourceType".to_owned(),
                text: format!("the URL says {}, the resource does not", ty.name()),
            }])));
        }
        let (valid, offered) = if ty.name() == "Subscription" {
            match self.subscribe(tenant, caller, row, valid)? {
                Ok((valid, offered)) => (valid, Some(offered)),
                Err(issues) => return Ok(Err(led(issues))),
            }
        } else {
            (valid, None)
        };
        let split = phial_fhir::split::split(&valid);
        let mut patients = phial_fhir::compartment::patients(&valid);
        patients.sort();
        patients.dedup();
        let labels = valid.labels();
        let before = old.as_ref().map_or(ClassSet::NONE, |o| o.header.classes);
        let facts = Facts {
            resource_type: ty.name(),
            classes: split.classes.or(before),
            labels: labels.or(old.as_ref().map_or_else(Default::default, |o| o.header.labels)),
            about_patient: !patients.is_empty(),
        };
        let created = old.as_ref().is_none_or(|o| o.header.deleted);
        let action = s.write.method.action();
        let context = self.context(tenant, caller, action, &facts, &patients)?;
        let record = RecordRef { row, version };
        let decided = self.policy().decide(&caller.subject, action, &record, &facts, &context);
        if let Err(denial) = decided {
            entry::not_written(refused, &record, &facts, &denial, &patients);
            return Err(Failure::forbidden(format!(
                "your role may not {} a {} with this content",
                action.name(),
                ty.name()
            )));
        }
        let values = phial_fhir::search::extract(&valid);
        Ok(Ok(Planned {
            method: s.write.method,
            created,
            before: old.map(|o| o.header.patients).unwrap_or_default(),
            offered,
            sealing: Sealing {
                ty,
                id: s.id.clone(),
                version,
                patients,
                labels,
                last_updated,
                classes: split.classes,
                split: Some(split),
                values,
            },
        }))
    }
}

fn unchanged(ty: ResourceType, id: &LogicalId, old: Option<&Unopened>, deleted: bool) -> Written {
    Written {
        ty,
        id: id.clone(),
        version: old.map_or(Version(0), |o| o.version),
        last_updated: old.map_or(0, |o| o.header.last_updated),
        created: false,
        stored: false,
        deleted,
    }
}

fn check_version(write: &Write, old: Option<&Unopened>) -> Result<(), Failure> {
    let current = old.filter(|o| !o.header.deleted);
    if let Some(wanted) = write.if_match
        && current.map(|o| o.version) != Some(wanted)
    {
        return Err(Failure::precondition("If-Match names a version that is not the current one"));
    }
    if write.if_none_match && current.is_some() {
        return Err(Failure::precondition("If-None-Match: * and the record exists"));
    }
    Ok(())
}
