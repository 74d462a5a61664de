//! Break-glass: sight of one patient's records in an emergency (164.312(a)(2)(ii)), for
//! those whose role allows asking, with a reason, for two hours or at most four.
//!
//! What is to be is written down, privacy officers have their alert, and only then does
//! the grant hold; it ends by itself, or earlier. It stays on the list of reviews until
//! somebody else has signed what they think of it. What a grant shows is said by policies,
//! never here.

use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{LogicalId, SubjectId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_policy::Action;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::alert::What;
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;

pub(crate) const KIND: &str = "glass";

/// How long a grant holds when nothing is said, minutes.
pub const DEFAULT_MINUTES: i64 = 120;
/// The longest that a grant holds, minutes.
pub const MOST_MINUTES: i64 = 240;
/// How long after a grant's end its review is due.
pub const DUE: SignedDuration = SignedDuration::from_hours(72);

/// Why the glass was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The patient needs treatment at once (v3-ActReason ETREAT).
    EmergencyTreatment,
    /// A colleague who treats the patient can't be reached, and care can't wait.
    CoverForColleague,
    /// Someone else is in danger from the patient's condition.
    DangerToOthers,
    /// The record that says who treats the patient is not there or not right.
    RecordWrong,
}

impl Reason {
    /// What it says, in words for whoever chooses it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Reason::EmergencyTreatment => "The patient needs treatment at once",
            Reason::CoverForColleague => {
                "A colleague who treats the patient can't be reached, and care can't wait"
            }
            Reason::DangerToOthers => "Somebody else is in danger from the patient's condition",
            Reason::RecordWrong => {
                "The record of who treats the patient is not there, or not right"
            }
        }
    }

    /// All reasons.
    pub const ALL: [Reason; 4] = [
        Reason::EmergencyTreatment,
        Reason::CoverForColleague,
        Reason::DangerToOthers,
        Reason::RecordWrong,
    ];

    /// Its code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Reason::EmergencyTreatment => "emergency-treatment",
            Reason::CoverForColleague => "cover-for-colleague",
            Reason::DangerToOthers => "danger-to-others",
            Reason::RecordWrong => "record-wrong",
        }
    }

    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.code() == code)
    }
}

/// What a reviewer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It was needed, and what was looked at was needed.
    Appropriate,
    /// It was not.
    Inappropriate,
    /// Somebody has to look into it.
    FollowUp,
}

impl Finding {
    /// All findings.
    pub const ALL: [Finding; 3] = [Finding::Appropriate, Finding::Inappropriate, Finding::FollowUp];

    /// What it says, in words for whoever signs it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Finding::Appropriate => "Appropriate: it was needed, and so was what was looked at",
            Finding::Inappropriate => "Not appropriate",
            Finding::FollowUp => "Somebody has to look into it",
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Finding::Appropriate => "appropriate",
            Finding::Inappropriate => "inappropriate",
            Finding::FollowUp => "follow-up",
        }
    }
}

impl std::str::FromStr for Finding {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = Finding::ALL.into_iter().find(|f| f.name() == s);
        found.ok_or_else(|| "appropriate, inappropriate or follow-up".to_owned())
    }
}

/// A signed review: the account that signed is one person's, the audit log says when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Who signed.
    pub by: SubjectId,
    /// When.
    pub at: Timestamp,
    /// What they found.
    pub finding: Finding,
    /// In their words.
    pub text: String,
}

/// A grant. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its name.
    pub id: String,
    /// Who asked.
    pub subject: SubjectId,
    /// The patient.
    pub patient: LogicalId,
    /// Why, as a code.
    pub reason: Reason,
    /// Why, in words. It may speak of the patient: it goes into no mail and no alert.
    pub text: String,
    /// Since when it holds.
    pub from: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// When it was ended before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

impl Grant {
    /// When it ends or ended.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.ended.map_or(self.until, |ended| ended.min(self.until))
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.ends()
    }

    /// How it stands, in a word: active, open (to be reviewed), overdue, reviewed.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> &'static str {
        if self.review.is_some() {
            "reviewed"
        } else if self.holds(at) {
            "active"
        } else if self.ends() + DUE <= at {
            "overdue"
        } else {
            "open"
        }
    }
}

/// Every grant in a control log. For the engine, and for who looks after the reviews.
///
/// # Errors
/// When the log can't be read, or one of them is not what was written.
pub fn all(control: &ControlLog) -> Result<Vec<Grant>, StoreError> {
    control.list(KIND)?.into_iter().map(|r| read(r.value)).collect()
}

/// The grant of this name, and the version of the record that it is.
pub(crate) fn one(
    control: &ControlLog,
    id: &str,
) -> Result<Option<(Grant, phial_base::Version)>, StoreError> {
    let record = control.get(KIND, id)?;
    record.map(|r| Ok((read(r.value)?, r.version))).transpose()
}

fn read(value: serde_json::Value) -> Result<Grant, StoreError> {
    let damaged = |_| StoreError::Corrupt("a break-glass grant in the control log");
    serde_json::from_value(value).map_err(damaged)
}

/// The latest first.
pub(crate) fn sort(grants: &mut [Grant]) {
    grants.sort_by(|a, b| b.from.cmp(&a.from).then_with(|| a.id.cmp(&b.id)));
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The patient.
    pub patient: LogicalId,
    /// Why, as a code.
    pub reason: Reason,
    /// Why, in words: 10 to 1,000 characters.
    pub text: String,
    /// For how many minutes, at most [`MOST_MINUTES`].
    pub minutes: i64,
}

fn words(text: &str, path: &str) -> Result<(), Failure> {
    let said = text.trim().chars().count();
    if (10..=1_000).contains(&said) && !text.chars().any(|c| c.is_control() && c != '\n') {
        return Ok(());
    }
    Err(Failure::invalid(IssueCode::Value, path, "say why, in 10 to 1,000 characters"))
}

impl Engine {
    /// Opens one patient's records to the caller for a while. Privacy officers are told
    /// before it holds.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] when no role of the caller may ask; [`Failure::Invalid`]
    /// without a reason or for longer than allowed; [`Failure::NotFound`] when there is no
    /// such patient; [`Failure::Busy`] when a store or the audit log can't be reached: then
    /// nothing was granted.
    pub async fn break_glass(&self, caller: &Caller, ask: Ask) -> Result<Grant, Failure> {
        let tenant = self.home(caller)?;
        let what = "ask for emergency access";
        self.must(tenant, caller, Action::BreakGlass, EventKind::BreakGlass, what).await?;
        words(&ask.text, "reason")?;
        if !(1..=MOST_MINUTES).contains(&ask.minutes) {
            let text = format!("for 1 to {MOST_MINUTES} minutes");
            return Err(Failure::invalid(IssueCode::Value, "minutes", text));
        }
        let failed = Self::store_failure(caller);
        let ty = ResourceType::from_name("Patient").ok_or(Failure::NotFound)?;
        let found = tenant.vessel.find(ty, &ask.patient).map_err(&failed)?;
        if found.is_none_or(|f| f.header.deleted) {
            let mut e = entry::of(caller, EventKind::BreakGlass);
            let row = tenant.vessel.row_id(ty, &ask.patient).map_err(&failed)?;
            entry::absent(&mut e, ty, row);
            let outcome = OutcomeCode::NotFound;
            return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
        }
        let now = self.clock().now();
        let grant = Grant {
            id: self.new_request_id().to_string(),
            subject: caller.subject.id.clone(),
            patient: ask.patient,
            reason: ask.reason,
            text: ask.text,
            from: now,
            until: now + SignedDuration::from_mins(ask.minutes),
            ended: None,
            review: None,
        };
        // Crash after this line: an alert about what was not granted.
        self.raise(tenant, caller, What::BreakGlass, &grant.subject, Some(&grant.id)).await?;
        self.put_access(tenant, caller, (KIND, &grant.id, None), &grant, &grant.patient, |e| {
            entry::note(e, DetailKey::Reason, grant.reason.code().to_owned());
            entry::note(e, DetailKey::Until, grant.until.to_string());
        })
        .await?;
        Ok(grant)
    }

    /// Ends the caller's grants for a patient, or (for a reviewer) one by its name, at once.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when there is none that holds; otherwise as
    /// [`Engine::break_glass`].
    pub async fn end_break_glass(
        &self,
        caller: &Caller,
        patient: Option<&LogicalId>,
        id: Option<&str>,
    ) -> Result<Vec<Grant>, Failure> {
        let tenant = self.home(caller)?;
        let failed = Self::store_failure(caller);
        let control = tenant.vessel.control();
        let now = self.clock().now();
        let reviewer = self.policy().allows(&caller.subject, Action::ReviewAccess);
        let mine: Vec<Grant> = all(control)
            .map_err(&failed)?
            .into_iter()
            .filter(|g| {
                g.holds(now) && (g.subject == caller.subject.id || reviewer && id.is_some())
            })
            .filter(|g| patient.is_none_or(|p| *p == g.patient))
            .filter(|g| id.is_none_or(|id| id == g.id))
            .collect();
        if mine.is_empty() || (patient.is_none() && id.is_none()) {
            return Err(Failure::NotFound);
        }
        let mut ended = Vec::new();
        for mut grant in mine {
            let current = control.get(KIND, &grant.id).map_err(&failed)?;
            let version = current.ok_or(Failure::NotFound)?.version;
            grant.ended = Some(now.max(grant.from));
            let (event, which) =
                (EventKind::BreakGlassEnded, (KIND, grant.id.as_str(), Some(version)));
            self.put_access_as(tenant, caller, event, which, &grant, &grant.patient, |e| {
                entry::note(e, DetailKey::Account, grant.subject.to_string());
            })
            .await?;
            ended.push(grant);
        }
        Ok(ended)
    }

    /// Every grant, the latest first: for those who review.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for others; [`Failure::Busy`] when a store can't be reached.
    pub async fn grants(&self, caller: &Caller) -> Result<Vec<Grant>, Failure> {
        let tenant = self.home(caller)?;
        let kind = EventKind::EmergencyReviewed;
        self.must(tenant, caller, Action::ReviewAccess, kind, "review access").await?;
        let mut all = all(tenant.vessel.control()).map_err(Self::store_failure(caller))?;
        let mut e = entry::of(caller, kind);
        entry::note(&mut e, DetailKey::Value, "list".to_owned());
        entry::note(&mut e, DetailKey::Count, all.len().to_string());
        self.record(tenant, caller, vec![e], None).await?;
        sort(&mut all);
        Ok(all)
    }

    /// Signs a review. Nobody reviews their own.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right, or for one's own grant;
    /// [`Failure::Conflict`] when it was signed already, or still holds;
    /// [`Failure::NotFound`] when there is none of this name.
    pub async fn review(
        &self,
        caller: &Caller,
        id: &str,
        finding: Finding,
        text: &str,
    ) -> Result<Grant, Failure> {
        let tenant = self.home(caller)?;
        let kind = EventKind::EmergencyReviewed;
        self.must(tenant, caller, Action::ReviewAccess, kind, "review access").await?;
        words(text, "text")?;
        let found = one(tenant.vessel.control(), id).map_err(Self::store_failure(caller))?;
        let (mut grant, version) = found.ok_or(Failure::NotFound)?;
        if grant.subject == caller.subject.id {
            let e = entry::of(caller, kind);
            let failure = Failure::forbidden("nobody reviews their own emergency access");
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        let now = self.clock().now();
        if grant.review.is_some() {
            return Err(Failure::precondition("it was reviewed and signed already"));
        }
        if grant.holds(now) {
            return Err(Failure::precondition("it still holds: end it first"));
        }
        let (by, text) = (caller.subject.id.clone(), text.trim().to_owned());
        grant.review = Some(Review { by, at: now, finding, text });
        let which = (KIND, id, Some(version));
        self.put_access_as(tenant, caller, kind, which, &grant, &grant.patient, |e| {
            entry::note(e, DetailKey::Account, grant.subject.to_string());
            entry::note(e, DetailKey::Value, finding.name().to_owned());
        })
        .await?;
        Ok(grant)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn grant() -> Grant {
        Grant {
            id: "g1".to_owned(),
            subject: SubjectId::new("ann").unwrap(),
            patient: LogicalId::new("p1").unwrap(),
            reason: Reason::EmergencyTreatment,
            text: "found unconscious".to_owned(),
            from: "2026-03-01T00:00:00Z".parse().unwrap(),
            until: "2026-03-01T02:00:00Z".parse().unwrap(),
            ended: None,
            review: None,
        }
    }

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let text = r#"{"id":"g1","subject":"ann","patient":"p1","reason":"emergency-treatment","text":"found unconscious","from":"2026-03-01T00:00:00Z","until":"2026-03-01T02:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&grant()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Grant>(text).unwrap(), grant());
    }

    #[test]
    fn a_grant_holds_from_its_beginning_to_its_end_and_stays_open_until_it_is_signed() {
        let at = |t: &str| -> Timestamp { format!("2026-03-{t}Z").parse().unwrap() };
        let g = grant();
        for (when, state) in [
            ("01T00:00:00", "active"),
            ("01T01:59:59", "active"),
            ("01T02:00:00", "open"),
            ("04T01:59:59", "open"),
            ("04T02:00:00", "overdue"),
        ] {
            assert_eq!(g.state(at(when)), state, "{when}");
            assert_eq!(g.holds(at(when)), state == "active");
        }
        let early = Grant { ended: Some(at("01T00:30:00")), ..g.clone() };
        assert!(!early.holds(at("01T00:30:00")));
        // Ending it later than it ends changes nothing.
        let late = Grant { ended: Some(at("01T03:00:00")), ..g };
        assert_eq!(late.ends(), late.until);
    }
}
