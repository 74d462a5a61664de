//! From settled writes to versions that may be sealed: each is validated, and policy is
//! asked over what was and what will be.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use phial_audit::{Entry, EventKind};
use phial_base::{ClassSet, LogicalId, RowId, Version};
use phial_fhir::Edits;
use phial_fhir::attachment;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, Severity};
use phial_fhir::json::Doc;
use phial_policy::{Action, Facts, RecordRef};
use phial_store::blobs::BlobRef;
use phial_store::vessel::{Content, Sealing, Unopened};

use super::overlay::Overlay;
use super::refer::Names;
use super::settle::{PROVENANCE, Settled};
use super::{Method, Planned, Write, Written};
use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::download::stand_in;

/// The planning of one commit.
pub(crate) struct Plan<'p> {
    pub(crate) engine: &'p Engine,
    pub(crate) tenant: &'p Tenant,
    pub(crate) caller: &'p Caller,
    kind: EventKind,
    now: jiff::Timestamp,
    pub(crate) settled: &'p [Settled],
    pub(crate) names: Names,
    /// What conditional references see and what they were found to mean.
    pub(crate) overlay: RefCell<Overlay>,
    pub(crate) answers: RefCell<HashMap<String, LogicalId>>,
}

/// What became of one write, by its entry.
type Outcome = (usize, Written);

/// A version that was planned, or the issues that it has.
pub(super) type Tried = Result<Planned, Vec<Issue>>;

impl<'p> Plan<'p> {
    pub(super) fn new(
        engine: &'p Engine,
        tenant: &'p Tenant,
        caller: &'p Caller,
        kind: EventKind,
        settled: &'p [Settled],
    ) -> Self {
        Plan {
            engine,
            tenant,
            caller,
            kind,
            now: engine.clock().now(),
            settled,
            names: Names::of(settled),
            overlay: RefCell::default(),
            answers: RefCell::default(),
        }
    }

    /// Plans all of it; `refused` is filled with the record concerned when policy refuses.
    pub(super) fn all(&self, refused: &mut Entry) -> Result<(Vec<Planned>, Vec<Outcome>), Failure> {
        let mut rows = HashSet::new();
        let mut issues = Vec::new();
        let mut planned: Vec<Planned> = Vec::with_capacity(self.settled.len());
        let mut written: Vec<Outcome> = Vec::with_capacity(self.settled.len());
        for s in self.settled {
            let ty = s.write.ty;
            if s.nothing {
                written.push((s.entry, unchanged(&s.write, &s.id, None)));
                continue;
            }
            if s.entry == PROVENANCE && planned.is_empty() {
                // Nothing was written for it to be about.
                continue;
            }
            let old = match s.write.method {
                // An id of ours is new, unless it was given for an import.
                Method::Create if !s.existing && s.write.id.is_none() => None,
                _ => self.engine_find(s)?,
            };
            let row = self.tenant.vessel.row_id(ty, &s.id).map_err(self.failed())?;
            if s.existing {
                written.push((s.entry, unchanged(&s.write, &s.id, old.as_ref())));
                continue;
            }
            if !rows.insert(row) {
                return Err(Failure::invalid(
                    IssueCode::Invariant,
                    s.write.place.clone(),
                    "the same record is written twice in one transaction",
                ));
            }
            self.visible(s, row, old.as_ref(), refused)?;
            if self.kind == EventKind::Import
                && let Some(old) = &old
                && self.imported_before(s, old)?
            {
                written.push((s.entry, unchanged(&s.write, &s.id, Some(old))));
                continue;
            }
            check_version(&s.write, old.as_ref())?;
            let tried = match (s.write.method, old) {
                (Method::Delete, old) => match old.filter(|o| !o.header.deleted) {
                    Some(old) => Ok(self.deletion(s, old)),
                    None => {
                        written.push((s.entry, unchanged(&s.write, &s.id, None)));
                        continue;
                    }
                },
                (Method::Patch, None) => return Err(Failure::NotFound),
                (Method::Patch, Some(old)) if old.header.deleted => return Err(Failure::Gone),
                (Method::Patch, Some(_)) if ty.name() == "Binary" => {
                    return Err(Failure::Unprocessable(Refusal::new(
                        IssueCode::NotSupported,
                        s.write.place.clone(),
                        "a Binary is replaced, not patched: its content lies apart",
                    )));
                }
                (Method::Patch, Some(old)) => match self.patched(s, row, &old, refused)? {
                    Some(planned) => Ok(planned),
                    None => {
                        written.push((s.entry, unchanged(&s.write, &s.id, Some(&old))));
                        continue;
                    }
                },
                (Method::Create | Method::Update, old) => {
                    self.content(s, row, old, &planned, &written, refused)?
                }
            };
            match tried {
                Ok(p) => {
                    written.push((s.entry, outcome(&p)));
                    planned.push(p);
                }
                Err(mut found) => issues.append(&mut found),
            }
        }
        if !issues.is_empty() {
            issues.truncate(50);
            return Err(Failure::Invalid(Refusal { issues }));
        }
        self.of_this_commit(&planned, &mut written);
        Ok((planned, written))
    }

    /// A condition that was satisfied by an entry of the same transaction is answered with
    /// what that entry makes.
    fn of_this_commit(&self, planned: &[Planned], written: &mut [Outcome]) {
        for (_, w) in written.iter_mut().filter(|(_, w)| !w.stored && w.version.0 == 0) {
            let made = planned.iter().find(|p| p.sealing.ty == w.ty && p.sealing.id == w.id);
            if let Some(made) = made {
                w.version = made.sealing.version;
                w.last_updated = made.sealing.last_updated;
            }
        }
    }

    pub(crate) fn failed(&self) -> impl Fn(phial_store::Error) -> Failure + '_ {
        Engine::store_failure(self.caller)
    }

    pub(super) fn engine_find(&self, s: &Settled) -> Result<Option<Unopened>, Failure> {
        self.tenant.vessel.find(s.write.ty, &s.id).map_err(self.failed())
    }

    /// What the caller may not see he may not write over or delete, nor learn of: a
    /// denied id and an absent id get the same answer.
    fn visible(
        &self,
        s: &Settled,
        row: RowId,
        old: Option<&Unopened>,
        refused: &mut Entry,
    ) -> Result<(), Failure> {
        let Plan { engine, tenant, caller, .. } = self;
        let action = s.write.method.action();
        match old {
            Some(old) => match engine.decide(tenant, caller, action, old)? {
                Ok(_) => Ok(()),
                Err(denial) => {
                    entry::denied(refused, old, &denial);
                    let readable = engine.decide(tenant, caller, Action::Read, old)?.is_ok();
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
                let name = s.write.ty.name();
                let whole = engine.policy().every_record(&caller.subject, action, name);
                if whole { Ok(()) } else { Err(Failure::NotFound) }
            }
        }
    }

    fn deletion(&self, s: &Settled, old: Unopened) -> Planned {
        let last_updated = self.now.as_microsecond().max(old.header.last_updated + 1);
        Planned {
            method: Method::Delete,
            before: Vec::new(),
            offered: None,
            brought: None,
            wrote: old.header.classes,
            carried: ClassSet::NONE,
            created: false,
            sealing: Sealing {
                ty: s.write.ty,
                id: s.id.clone(),
                version: old.version.next(),
                patients: old.header.patients,
                labels: old.header.labels,
                last_updated,
                content: None,
                classes: old.header.classes,
                blob: None,
                kept: None,
                context: old.header.context,
            },
        }
    }

    /// When a version that follows `old` is written, microseconds since the epoch.
    pub(super) fn time(&self, old: Option<&Unopened>) -> (i64, String) {
        let floor = old.map_or(i64::MIN, |o| o.header.last_updated + 1);
        let last_updated = floor.max(self.now.as_microsecond() / 1000 * 1000);
        let stamp = jiff::Timestamp::from_microsecond(last_updated).unwrap_or(self.now);
        (last_updated, format!("{stamp:.3}"))
    }

    fn content(
        &self,
        s: &Settled,
        row: RowId,
        old: Option<Unopened>,
        planned: &[Planned],
        written: &[Outcome],
        refused: &mut Entry,
    ) -> Result<Tried, Failure> {
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
        let about;
        let doc = if s.entry == PROVENANCE {
            about = match with_target(doc, written) {
                Ok(about) => about,
                Err(issues) => return Ok(Err(led(issues))),
            };
            &about
        } else {
            doc
        };
        let version = old.as_ref().map_or(Version(1), |o| o.version.next());
        let (last_updated, stamp) = self.time(old.as_ref());
        let mut failed: Option<Failure> = None;
        let text = phial_fhir::stamp(doc, &s.id, version, &stamp, &mut |link| {
            self.referred(s, link, &mut failed)
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        let kept = old.as_ref().and_then(|old| kept(doc, old));
        let text = text.map(|t| if kept.is_some() { attachment::kept(&t, &stand_in()) } else { t });
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
            match self.engine.subscribe(self.tenant, self.caller, row, valid)? {
                Ok((valid, offered)) => (valid, Some(offered)),
                Err(issues) => return Ok(Err(led(issues))),
            }
        } else {
            (valid, None)
        };
        let content = Content::of(&valid);
        let mut patients = phial_fhir::compartment::patients(&valid);
        let earlier = planned.iter().map(|p| &p.sealing);
        let inherited = self.engine.inherited(self.tenant, self.caller, &valid, earlier)?;
        patients.extend(inherited.patients);
        patients.sort();
        patients.dedup();
        let labels = self.engine.labels_of(&valid).or(inherited.labels);
        if kept.is_some() && old.as_ref().is_some_and(|o| o.header.patients != patients) {
            return Err(Failure::invalid(
                IssueCode::BusinessRule,
                "Binary.securityContext",
                "the content is sealed for other patients: upload it again with this context",
            ));
        }
        let before = old.as_ref().map_or(ClassSet::NONE, |o| o.header.classes);
        let facts = Facts {
            resource_type: ty.name(),
            classes: content.classes().or(before),
            labels: labels.or(old.as_ref().map_or_else(Default::default, |o| o.header.labels)),
            about_patient: !patients.is_empty(),
        };
        self.permitted(s, &RecordRef { row, version }, &facts, &patients, refused)?;
        Ok(Ok(Planned {
            method: s.write.method,
            created: old.as_ref().is_none_or(|o| o.header.deleted),
            before: old.map(|o| o.header.patients).unwrap_or_default(),
            offered,
            // Looked at before it was settled.
            brought: None,
            wrote: content.classes(),
            carried: ClassSet::NONE,
            sealing: Sealing {
                ty,
                id: s.id.clone(),
                version,
                patients,
                labels,
                last_updated,
                classes: content.classes(),
                content: Some(content),
                blob: None,
                kept,
                context: inherited.context,
            },
        }))
    }

    /// Asks policy whether this may be written.
    pub(super) fn permitted(
        &self,
        s: &Settled,
        record: &RecordRef,
        facts: &Facts,
        patients: &[LogicalId],
        refused: &mut Entry,
    ) -> Result<(), Failure> {
        let Plan { engine, tenant, caller, .. } = self;
        let action = s.write.method.action();
        let context = engine.context(tenant, caller, action, facts, patients)?;
        let decided = engine.policy().decide(&caller.subject, action, record, facts, &context);
        if let Err(denial) = decided {
            entry::not_written(refused, record, facts, &denial, patients);
            return Err(Failure::forbidden(format!(
                "your role may not {} a {} with this content",
                action.name(),
                s.write.ty.name()
            )));
        }
        Ok(())
    }
}

/// The Provenance about the versions that are written.
fn with_target(doc: &Doc, written: &[Outcome]) -> Result<Doc, Vec<Issue>> {
    let targets: Vec<String> = written
        .iter()
        .filter(|(_, w)| w.stored)
        .map(|(_, w)| {
            let (ty, id) = (w.ty.name(), w.id.as_str());
            format!("{{\"reference\":\"{ty}/{id}/_history/{}\"}}", w.version)
        })
        .collect();
    let mut edits = Edits::new();
    if let Some(name) = doc.root().member("resourceType") {
        let at = name.range().end;
        edits.replace(at..at, format!(",\"target\":[{}]", targets.join(",")));
    }
    let text = edits
        .apply(doc)
        .map_err(|e| vec![Issue::error(IssueCode::Structure, "", e.to_string())])?;
    Doc::parse(&text, &phial_fhir::Limits::default())
}

fn outcome(p: &Planned) -> Written {
    Written {
        ty: p.sealing.ty,
        id: p.sealing.id.clone(),
        version: p.sealing.version,
        last_updated: p.sealing.last_updated,
        created: p.created,
        stored: true,
        deleted: p.method == Method::Delete,
        patched: p.method == Method::Patch,
        count: 1,
    }
}

fn unchanged(write: &Write, id: &LogicalId, old: Option<&Unopened>) -> Written {
    let ty: ResourceType = write.ty;
    Written {
        ty,
        id: id.clone(),
        version: old.map_or(Version(0), |o| o.version),
        last_updated: old.map_or(0, |o| o.header.last_updated),
        created: false,
        stored: false,
        deleted: write.method == Method::Delete,
        patched: write.method == Method::Patch,
        count: 0,
    }
}

/// The content that stays when a Binary is written without any: reads leave out what lies
/// beside the record log, and what was left out is not to be lost.
fn kept(doc: &Doc, old: &Unopened) -> Option<BlobRef> {
    old.header.blob.filter(|_| !old.header.deleted && doc.root().member("data").is_none())
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
