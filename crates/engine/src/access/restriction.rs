//! Restrictions that a patient asked for and that were agreed to, or must be (45 CFR
//! 164.522(a)): what is paid for out of pocket in full is not disclosed to a health plan.
//!
//! They lie in the tenant's control log and hold like a consent that denies. A
//! restriction can be ended (164.522(a)(2)); what it denied until then stays so in the
//! log.

use jiff::Timestamp;
use phial_audit::{DetailKey, EventKind};
use phial_base::{Label, LabelSet, LogicalId, Purpose, SubjectId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use super::consent::Directives;
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;

pub(crate) const KIND: &str = "restriction";

/// A restriction. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    /// Its name.
    pub id: String,
    /// Whose records.
    pub patient: LogicalId,
    /// For which purposes they may not be used; all when empty.
    pub purposes: Vec<Purpose>,
    /// Records of which types; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Records with one of these labels; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// Since when.
    pub from: Timestamp,
    /// Until when, that moment not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who agreed to it.
    pub by: SubjectId,
}

impl Restriction {
    pub(crate) fn directives(&self) -> Directives {
        let known: Vec<ResourceType> =
            self.types.iter().filter_map(|t| ResourceType::from_name(t)).collect();
        // One that names types of another version of FHIR restricts them all.
        let types = if known.len() == self.types.len() { known } else { Vec::new() };
        let labels: LabelSet = self.labels.iter().copied().collect();
        Directives::denial(&self.purposes, &types, labels, self.from, self.until)
    }

    fn fault(&self) -> Option<&'static str> {
        if self.until.is_some_and(|until| until <= self.from) {
            return Some("a restriction can't end before it begins");
        }
        if self.types.iter().any(|t| ResourceType::from_name(t).is_none()) {
            return Some("one of the types is no resource type of R4");
        }
        None
    }
}

pub(crate) fn all(control: &ControlLog) -> Result<Vec<Restriction>, StoreError> {
    let damaged = |_| StoreError::Corrupt("a restriction in the control log");
    let read = |value| serde_json::from_value(value).map_err(damaged);
    control.list(KIND)?.into_iter().map(|r| read(r.value)).collect()
}

impl Engine {
    /// Writes down a restriction. Its name and who agreed to it are ours to say.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage access; [`Failure::Invalid`] for
    /// what can't be one; [`Failure::Busy`] when a store or the audit log can't be reached.
    pub async fn restrict(
        &self,
        caller: &Caller,
        mut restriction: Restriction,
    ) -> Result<Restriction, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_access(tenant, caller, EventKind::AccessChanged).await?;
        restriction.id = self.new_request_id().to_string();
        restriction.by = caller.subject.id.clone();
        if let Some(fault) = restriction.fault() {
            return Err(Failure::invalid(IssueCode::Value, "restriction", fault));
        }
        let r = &restriction;
        self.put_access(tenant, caller, (KIND, &r.id, None), r, &r.patient, |e| {
            let purposes: Vec<&str> = r.purposes.iter().map(|p| p.code()).collect();
            entry::note(e, DetailKey::Value, format!("restriction {}", purposes.join(" ")));
        })
        .await?;
        Ok(restriction)
    }

    /// Ends a restriction at once.
    ///
    /// # Errors
    /// As [`Engine::restrict`]; [`Failure::NotFound`] when there is none of this name.
    pub async fn end_restriction(&self, caller: &Caller, id: &str) -> Result<Restriction, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_access(tenant, caller, EventKind::AccessChanged).await?;
        let failed = Self::store_failure(caller);
        let control = tenant.vessel.control();
        let record = control.get(KIND, id).map_err(&failed)?.ok_or(Failure::NotFound)?;
        let mut r: Restriction = serde_json::from_value(record.value)
            .map_err(|_| failed(StoreError::Corrupt("a restriction in the control log")))?;
        let now = self.clock().now();
        if r.until.is_none_or(|until| now < until) {
            r.from = r.from.min(now);
            r.until = Some(now);
            let which = (KIND, id, Some(record.version));
            self.put_access(tenant, caller, which, &r, &r.patient, |e| {
                entry::note(e, DetailKey::Value, "restriction ended".to_owned());
            })
            .await?;
        }
        Ok(r)
    }

    /// All restrictions, by name.
    ///
    /// # Errors
    /// As [`Engine::restrict`].
    pub async fn restrictions(&self, caller: &Caller) -> Result<Vec<Restriction>, Failure> {
        let tenant = self.home(caller)?;
        self.may_manage_access(tenant, caller, EventKind::AccessChanged).await?;
        all(tenant.vessel.control()).map_err(Self::store_failure(caller))
    }
}
