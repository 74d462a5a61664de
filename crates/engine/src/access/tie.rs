//! Ties between an account and a patient that stand in no record: who is assigned, who
//! stands in for the patient, who is of the household, who is of the Part 2 program that
//! treats them; each from and until a day.
//!
//! They lie in the tenant's control log. Whoever writes one may not write it for
//! themselves.

use jiff::Timestamp;
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{DataClass, LogicalId, SubjectId};
use phial_fhir::issue::IssueCode;
use phial_policy::{Action, Relationship};
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

pub(crate) const KIND: &str = "tie";

/// What kind of tie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Assigned to the patient.
    Assignment,
    /// Stands in for the patient: a personal representative or caregiver (164.502(g)).
    Proxy,
    /// Of the patient's household.
    Household,
    /// Of the Part 2 program that treats the patient (42 CFR 2.12(c)(3)).
    Program,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::Assignment, Kind::Proxy, Kind::Household, Kind::Program];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Assignment => "assignment",
            Kind::Proxy => "proxy",
            Kind::Household => "household",
            Kind::Program => "program",
        }
    }

    /// The relationship that policies know it by.
    #[must_use]
    pub const fn relationship(self) -> Relationship {
        match self {
            Kind::Assignment => Relationship::Assignment,
            Kind::Proxy => Relationship::Proxy,
            Kind::Household => Relationship::Household,
            Kind::Program => Relationship::Program,
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = Kind::ALL.into_iter().find(|k| k.name() == s);
        found.ok_or_else(|| "assignment, proxy, household or program".to_owned())
    }
}

/// A tie. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tie {
    /// Its name.
    pub id: String,
    /// The account.
    pub subject: SubjectId,
    /// The patient.
    pub patient: LogicalId,
    /// What kind of tie.
    pub kind: Kind,
    /// Of a proxy: whether what is specially protected is included.
    #[serde(default)]
    pub protected: bool,
    /// Of a proxy: the classes that the grant reaches; all when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<DataClass>>,
    /// Since when it holds.
    pub from: Timestamp,
    /// Until when, that moment not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who wrote it down.
    pub by: SubjectId,
}

impl Tie {
    /// What is wrong with it, in words.
    fn fault(&self) -> Option<&'static str> {
        if self.until.is_some_and(|until| until <= self.from) {
            return Some("a tie can't end before it begins");
        }
        if self.kind != Kind::Proxy && (self.protected || self.classes.is_some()) {
            return Some("classes and protected records are said of a proxy alone");
        }
        if self.classes.as_ref().is_some_and(|c| !c.contains(&DataClass::Administrative)) {
            return Some("without the class administrative a proxy sees nothing at all");
        }
        if self.subject == self.by {
            return Some("nobody ties themselves to a patient: somebody else writes it down");
        }
        None
    }
}

pub(crate) fn all(control: &ControlLog) -> Result<Vec<Tie>, StoreError> {
    let damaged = |_| StoreError::Corrupt("a tie in the control log");
    let read = |value| serde_json::from_value(value).map_err(damaged);
    control.list(KIND)?.into_iter().map(|r| read(r.value)).collect()
}

impl Engine {
    /// Ties an account to a patient. Its name and who wrote it are ours to say.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage access; [`Failure::Invalid`] for
    /// what can't be a tie; [`Failure::Busy`] when a store or the audit log can't be
    /// reached.
    pub async fn tie(&self, caller: &Caller, mut tie: Tie) -> Result<Tie, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_access(tenant, caller, EventKind::AccessChanged).await?;
        tie.id = self.new_request_id().to_string();
        tie.by = caller.subject.id.clone();
        if let Some(fault) = tie.fault() {
            return Err(Failure::invalid(IssueCode::Value, "tie", fault));
        }
        self.put_access(tenant, caller, (KIND, &tie.id, None), &tie, &tie.patient, |e| {
            entry::note(e, DetailKey::Account, tie.subject.to_string());
            entry::note(e, DetailKey::Value, tie.kind.name().to_owned());
            if let Some(until) = tie.until {
                entry::note(e, DetailKey::Until, until.to_string());
            }
        })
        .await?;
        Ok(tie)
    }

    /// Ends a tie at once.
    ///
    /// # Errors
    /// As [`Engine::tie`]; [`Failure::NotFound`] when there is none of this name.
    pub async fn untie(&self, caller: &Caller, id: &str) -> Result<Tie, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_access(tenant, caller, EventKind::AccessChanged).await?;
        let failed = Self::store_failure(caller);
        let control = tenant.vessel.control();
        let record = control.get(KIND, id).map_err(&failed)?.ok_or(Failure::NotFound)?;
        let mut tie: Tie = serde_json::from_value(record.value)
            .map_err(|_| failed(StoreError::Corrupt("a tie in the control log")))?;
        let now = self.clock().now();
        if tie.until.is_none_or(|until| now < until) {
            // One that had not begun never holds.
            tie.from = tie.from.min(now);
            tie.until = Some(now);
            let which = (KIND, id, Some(record.version));
            self.put_access(tenant, caller, which, &tie, &tie.patient, |e| {
                entry::note(e, DetailKey::Account, tie.subject.to_string());
                entry::note(e, DetailKey::Value, format!("{} ended", tie.kind.name()));
            })
            .await?;
        }
        Ok(tie)
    }

    /// All ties, by name.
    ///
    /// # Errors
    /// As [`Engine::tie`].
    pub async fn all_ties(&self, caller: &Caller) -> Result<Vec<Tie>, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_access(tenant, caller, EventKind::AccessChanged).await?;
        all(tenant.vessel.control()).map_err(Self::store_failure(caller))
    }

    pub(crate) async fn may_manage_access(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        kind: EventKind,
    ) -> Result<(), Failure> {
        self.must(tenant, caller, Action::ManageAccess, kind, "manage access").await
    }

    /// Refuses, and writes down that it did, when the caller may not do this.
    pub(crate) async fn must(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        action: Action,
        kind: EventKind,
        what: &str,
    ) -> Result<(), Failure> {
        if self.policy().allows(&caller.subject, action) {
            return Ok(());
        }
        let e = entry::of(caller, kind);
        let failure = Failure::forbidden(format!("your role may not {what}"));
        Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await)
    }

    /// Writes a record of ours that is about one patient. The log says what is to be, then
    /// it is, then the log says how the control log stands: a crash between leaves an
    /// announcement that did not come true.
    pub(crate) async fn put_access<T: Serialize>(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        (kind, name, replaced): (&str, &str, Option<phial_base::Version>),
        value: &T,
        patient: &LogicalId,
        note: impl Fn(&mut phial_audit::Entry),
    ) -> Result<(), Failure> {
        let event = match kind {
            super::glass::KIND => EventKind::BreakGlass,
            _ => EventKind::AccessChanged,
        };
        self.put_access_as(tenant, caller, event, (kind, name, replaced), value, patient, note)
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "one record has these parts")]
    pub(crate) async fn put_access_as<T: Serialize>(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        event: EventKind,
        (kind, name, replaced): (&str, &str, Option<phial_base::Version>),
        value: &T,
        patient: &LogicalId,
        note: impl Fn(&mut phial_audit::Entry),
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let mut e = entry::of(caller, event);
        // A patient who is merely named may not exist: no key is made for them.
        if let Some(ty) = phial_fhir::definitions::ResourceType::from_name("Patient")
            && let Some(found) = tenant.vessel.find(ty, patient).map_err(&failed)?
        {
            e.target(
                phial_audit::Target::new(found.row, Some(found.version), ty.name()),
                &found.header.patients,
            );
        }
        note(&mut e);
        self.record(tenant, caller, vec![e.clone()], None).await?;
        let value = serde_json::to_value(value)
            .map_err(|_| failed(StoreError::Invalid("a record that can't be encoded")))?;
        let control = tenant.vessel.control();
        control.put(kind, name, &value, replaced).map_err(&failed)?;
        entry::note(&mut e, DetailKey::ControlHead, control.head().map_err(&failed)?);
        self.record(tenant, caller, vec![e], None).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let tie = Tie {
            id: "t1".to_owned(),
            subject: SubjectId::new("ann").unwrap(),
            patient: LogicalId::new("p1").unwrap(),
            kind: Kind::Proxy,
            protected: false,
            classes: Some(vec![DataClass::Administrative, DataClass::Scheduling]),
            from: "2026-03-01T00:00:00Z".parse().unwrap(),
            until: Some("2026-04-01T00:00:00Z".parse().unwrap()),
            by: SubjectId::new("pia").unwrap(),
        };
        let text = r#"{"id":"t1","subject":"ann","patient":"p1","kind":"proxy","protected":false,"classes":["administrative","scheduling"],"from":"2026-03-01T00:00:00Z","until":"2026-04-01T00:00:00Z","by":"pia"}"#;
        assert_eq!(serde_json::to_string(&tie).unwrap(), text);
        assert_eq!(serde_json::from_str::<Tie>(text).unwrap(), tie);
        assert_eq!(tie.fault(), None);
    }

    #[test]
    fn what_can_be_no_tie_is_named() {
        let good = Tie {
            id: String::new(),
            subject: SubjectId::new("ann").unwrap(),
            patient: LogicalId::new("p1").unwrap(),
            kind: Kind::Assignment,
            protected: false,
            classes: None,
            from: "2026-03-01T00:00:00Z".parse().unwrap(),
            until: None,
            by: SubjectId::new("pia").unwrap(),
        };
        assert_eq!(good.fault(), None);
        let classes = Some(vec![DataClass::Clinical]);
        for bad in [
            Tie { until: Some(good.from), ..good.clone() },
            Tie { protected: true, ..good.clone() },
            Tie { classes: classes.clone(), ..good.clone() },
            Tie { kind: Kind::Proxy, classes, ..good.clone() },
            Tie { by: good.subject.clone(), ..good.clone() },
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
    }
}
