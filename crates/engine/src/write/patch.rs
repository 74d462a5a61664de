//! The plan of a patch: what the caller sees of the record is changed, the rest is carried
//! over (decision 0036). The record's own facts, its labels and the patients that it is
//! about, are changed by those alone who see all of it: with a PUT they could not be
//! changed by others either.

use phial_audit::Entry;
use phial_base::RowId;
use phial_fhir::patch::Unpatched;
use phial_policy::{Action, Facts, RecordRef};
use phial_store::vessel::{Ready, Sealing, Unopened};

use super::plan::Plan;
use super::settle::Settled;
use super::{Method, Planned};
use crate::entry;
use crate::failure::{Failure, Refusal};

impl Plan<'_> {
    /// The version that the patch makes; `None` when it changes nothing.
    pub(super) fn patched(
        &self,
        s: &Settled,
        row: RowId,
        old: &Unopened,
        refused: &mut Entry,
    ) -> Result<Option<Planned>, Failure> {
        let Plan { engine, tenant, caller, .. } = self;
        let ty = s.write.ty;
        let Some(patch) = &s.write.patch else { return Err(Failure::NotFound) };
        let permit = match engine.decide(tenant, caller, Action::Patch, old)? {
            Ok(permit) => permit,
            Err(denial) => {
                entry::denied(refused, old, &denial);
                return Err(Failure::NotFound);
            }
        };
        let led = |mut issues: Vec<phial_fhir::Issue>| {
            for issue in &mut issues {
                if !s.write.place.is_empty() {
                    issue.path = format!("{}.{}", s.write.place, issue.path);
                }
            }
            Refusal { issues }
        };
        let changed = match tenant.vessel.change(&permit, old, patch).map_err(self.failed())? {
            Ok(changed) => changed,
            Err(unpatched) => {
                entry::target(refused, old, &permit);
                return Err(match unpatched {
                    Unpatched::Unfit(issue) => Failure::Unprocessable(led(vec![issue])),
                    Unpatched::Withheld(issue) => Failure::Forbidden(led(vec![issue])),
                    Unpatched::Invalid(issues) => Failure::Unprocessable(led(issues)),
                });
            }
        };
        let touched = changed.touched();
        if touched.is_empty() {
            return Ok(None);
        }
        let version = old.version.next();
        let record = RecordRef { row, version };
        // What may not be written is refused before the rest is looked at: whether it can be
        // joined to what is there is not his to know.
        let now = Facts { classes: touched, ..old.facts() };
        self.permitted(s, &record, &now, &old.header.patients, refused)?;
        let (last_updated, stamp) = self.time(Some(old));
        let brought = changed.brought();
        let mut offered = None;
        let mut failed: Option<Failure> = None;
        let labels = &|whole: &phial_fhir::Valid| engine.labels_of(whole);
        let mut refer = |link: phial_fhir::Link<'_>| self.referred(s, link, &mut failed);
        let ready = if ty.name() == "Subscription" {
            // What is agreed with its endpoint is settled over the whole of it, and by whom
            // it is written: as when it is put.
            match changed.finish_seen(&s.id, version, &stamp, &mut refer) {
                None => {
                    entry::target(refused, old, &permit);
                    let text = "your role does not see all of this Subscription";
                    let code = phial_fhir::IssueCode::Forbidden;
                    let issue = phial_fhir::Issue::error(code, "", text);
                    return Err(Failure::Forbidden(led(vec![issue])));
                }
                Some(Ok(whole)) if whole.resource_type() == ty && failed.is_none() => {
                    match engine.subscribe(tenant, caller, row, whole)? {
                        Ok((whole, kept)) => {
                            offered = Some(kept);
                            Ok(Ready::of(&whole, labels))
                        }
                        Err(issues) => Err(issues),
                    }
                }
                Some(whole) => whole.map(|whole| Ready::of(&whole, labels)),
            }
        } else {
            changed.finish(&s.id, version, &stamp, &mut refer, labels)
        };
        if let Some(failure) = failed {
            return Err(failure);
        }
        let ready = match ready {
            Ok(ready) if ready.ty == ty => ready,
            Ok(_) => {
                entry::target(refused, old, &permit);
                let text = "a patch can't change the type of a resource";
                let issue =
                    phial_fhir::Issue::error(phial_fhir::IssueCode::Invalid, "resourceType", text);
                return Err(Failure::Unprocessable(led(vec![issue])));
            }
            Err(issues) => {
                entry::target(refused, old, &permit);
                return Err(Failure::Unprocessable(led(issues)));
            }
        };
        let mut patients = old.header.patients.clone();
        patients.sort();
        let moved = ready.labels != old.header.labels || ready.patients != patients;
        let whole = old.header.classes.or(ready.content.classes());
        let facts = Facts {
            resource_type: ty.name(),
            classes: if moved { touched.or(whole) } else { touched },
            labels: ready.labels.or(old.header.labels),
            about_patient: !ready.patients.is_empty(),
        };
        self.permitted(s, &record, &facts, &ready.patients, refused)?;
        Ok(Some(Planned {
            method: Method::Patch,
            created: false,
            wrote: touched,
            carried: old.header.classes.minus(permit.classes()),
            before: old.header.patients.clone(),
            offered,
            brought: Some(brought),
            sealing: Sealing {
                ty,
                id: s.id.clone(),
                version,
                patients: ready.patients,
                labels: ready.labels,
                last_updated,
                classes: ready.content.classes(),
                content: Some(ready.content),
                blob: None,
                kept: None,
                context: old.header.context.clone(),
            },
        }))
    }
}
