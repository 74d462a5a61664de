//! Alerts to privacy officers: that something happened that somebody has to look at.
//!
//! They lie in the tenant's control log until somebody has seen them. An alert names an
//! account and what to look at, and nothing of a patient: it is what goes out by mail.

use jiff::Timestamp;
use phial_audit::{DetailKey, EventKind};
use phial_base::SubjectId;
use phial_policy::Action;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

const KIND: &str = "alert";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Somebody asked for emergency access.
    BreakGlass,
    /// Somebody reached the cap on how much they may read.
    Cap,
    /// Somebody asks to read more than their cap.
    CapRequest,
}

impl What {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            What::BreakGlass => "break-glass",
            What::Cap => "cap",
            What::CapRequest => "cap-request",
        }
    }

    /// What it says, in a sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            What::BreakGlass => "has broken the glass: emergency access to one patient's records",
            What::Cap => "has reached the cap on how much they may read",
            What::CapRequest => "asks to read more than their cap",
        }
    }
}

/// Who has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Who.
    pub by: SubjectId,
    /// When.
    pub at: Timestamp,
}

/// An alert. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Its name.
    pub id: String,
    /// What happened.
    pub what: What,
    /// Whose doing it was.
    pub subject: SubjectId,
    /// The record of ours to look at: a grant, a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Who has seen it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// When it went out by mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailed: Option<Timestamp>,
}

/// Every alert in a control log. For the engine, and for who looks whether they are seen.
///
/// # Errors
/// When the log can't be read, or one of them is not what was written.
pub fn all(control: &ControlLog) -> Result<Vec<Alert>, StoreError> {
    let damaged = |_| StoreError::Corrupt("an alert in the control log");
    let read = |value| serde_json::from_value(value).map_err(damaged);
    control.list(KIND)?.into_iter().map(|r| read(r.value)).collect()
}

/// How many nobody has seen.
pub(crate) fn unseen(control: &ControlLog) -> Result<usize, StoreError> {
    Ok(all(control)?.iter().filter(|a| a.seen.is_none()).count())
}

impl Engine {
    /// Writes an alert down.
    pub(crate) async fn raise(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        what: What,
        subject: &SubjectId,
        about: Option<&str>,
    ) -> Result<(), Failure> {
        let alert = Alert {
            id: self.new_request_id().to_string(),
            what,
            subject: subject.clone(),
            about: about.map(str::to_owned),
            at: self.clock().now(),
            seen: None,
            mailed: None,
        };
        let mut e = entry::of(caller, EventKind::AlertRaised);
        entry::note(&mut e, DetailKey::Value, what.name().to_owned());
        entry::note(&mut e, DetailKey::Account, subject.to_string());
        self.record(tenant, caller, vec![e], None).await?;
        self.put_alert(tenant, caller, &alert, None)
    }

    fn put_alert(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        alert: &Alert,
        replaced: Option<phial_base::Version>,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let value = serde_json::to_value(alert)
            .map_err(|_| failed(StoreError::Invalid("an alert that can't be encoded")))?;
        tenant.vessel.control().put(KIND, &alert.id, &value, replaced).map_err(&failed)?;
        self.alerted().notify_one();
        Ok(())
    }

    /// All alerts, the latest first.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for those who don't review access; [`Failure::Busy`] when a
    /// store can't be reached.
    pub async fn alerts(&self, caller: &Caller) -> Result<Vec<Alert>, Failure> {
        let tenant = self.home(caller)?;
        let kind = EventKind::AlertSeen;
        self.must(tenant, caller, Action::ReviewAccess, kind, "see alerts").await?;
        let mut all = all(tenant.vessel.control()).map_err(Self::store_failure(caller))?;
        all.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.id.cmp(&b.id)));
        Ok(all)
    }

    /// Writes down who has seen an alert first.
    ///
    /// # Errors
    /// As [`Engine::alerts`]; [`Failure::NotFound`] when there is none of this name.
    pub async fn see_alert(&self, caller: &Caller, id: &str) -> Result<Alert, Failure> {
        let tenant = self.home(caller)?;
        let kind = EventKind::AlertSeen;
        self.must(tenant, caller, Action::ReviewAccess, kind, "see alerts").await?;
        let failed = Self::store_failure(caller);
        let record = tenant.vessel.control().get(KIND, id).map_err(&failed)?;
        let record = record.ok_or(Failure::NotFound)?;
        let mut alert: Alert = serde_json::from_value(record.value)
            .map_err(|_| failed(StoreError::Corrupt("an alert in the control log")))?;
        if alert.seen.is_none() {
            let mut e = entry::of(caller, kind);
            entry::note(&mut e, DetailKey::Value, alert.what.name().to_owned());
            entry::note(&mut e, DetailKey::Account, alert.subject.to_string());
            self.record(tenant, caller, vec![e], None).await?;
            alert.seen = Some(Seen { by: caller.subject.id.clone(), at: self.clock().now() });
            self.put_alert(tenant, caller, &alert, Some(record.version))?;
        }
        Ok(alert)
    }

    /// Alerts of a tenant that did not go out by mail yet, the oldest first. For the
    /// server's own mailer alone: it gives nothing of a patient.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached.
    pub fn unmailed(&self, tenant: &Tenant, caller: &Caller) -> Result<Vec<Alert>, Failure> {
        let mut all = all(tenant.vessel.control()).map_err(Self::store_failure(caller))?;
        all.retain(|a| a.mailed.is_none());
        all.sort_by_key(|a| a.at);
        Ok(all)
    }

    /// Writes down that an alert went out.
    ///
    /// # Errors
    /// As [`Engine::unmailed`]: it goes out once more then.
    pub fn mailed(&self, tenant: &Tenant, caller: &Caller, id: &str) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let record = tenant.vessel.control().get(KIND, id).map_err(&failed)?;
        let record = record.ok_or(Failure::NotFound)?;
        let mut alert: Alert = serde_json::from_value(record.value)
            .map_err(|_| failed(StoreError::Corrupt("an alert in the control log")))?;
        alert.mailed = Some(self.clock().now());
        self.put_alert(tenant, caller, &alert, Some(record.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let at = "2026-03-01T00:00:00Z".parse().unwrap();
        let ann = || SubjectId::new("ann").unwrap();
        let alert = Alert {
            id: "a1".to_owned(),
            what: What::BreakGlass,
            subject: ann(),
            about: Some("g1".to_owned()),
            at,
            seen: Some(Seen { by: ann(), at }),
            mailed: None,
        };
        let text = r#"{"id":"a1","what":"break-glass","subject":"ann","about":"g1","at":"2026-03-01T00:00:00Z","seen":{"by":"ann","at":"2026-03-01T00:00:00Z"}}"#;
        assert_eq!(serde_json::to_string(&alert).unwrap(), text);
        assert_eq!(serde_json::from_str::<Alert>(text).unwrap(), alert);
    }
}
