//! Caps: how many patients' records one account may read in a window of time (164.308(a)(4),
//! 502(b)). A role that needs more has a higher cap or none; a person who needs more for a
//! while asks, and somebody else lets them.
//!
//! What was read is counted in this process, per account, as it is about to leave: a read,
//! a page of a search, a history, a chart. It refuses the whole of an answer that would
//! carry too much, and says so to privacy officers, once a window. Systems have no cap:
//! what leaves in bulk has rules of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{LogicalId, SubjectId};
use phial_fhir::issue::IssueCode;
use phial_policy::Action;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::alert::What;
use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

pub(crate) const KIND: &str = "leave";

/// The longest that a leave to read more holds, hours.
pub const MOST_HOURS: i64 = 72;

/// The caps in force.
#[derive(Clone, Debug)]
pub struct Caps {
    /// The window.
    pub window: SignedDuration,
    /// The most patients in a window, by role. A role that is not named has no cap.
    pub patients: BTreeMap<String, u32>,
}

/// Roles that ship with a cap, and what it is.
pub const SHIPPED: [(&str, u32); 8] = [
    ("physician", 500),
    ("nurse", 500),
    ("field-clinician", 200),
    ("pharmacist", 1_000),
    ("laboratory", 2_000),
    ("care-coordinator", 500),
    ("front-desk", 2_000),
    ("billing", 2_000),
];

impl Default for Caps {
    fn default() -> Self {
        let patients = SHIPPED.iter().map(|(role, n)| ((*role).to_owned(), *n)).collect();
        Caps { window: SignedDuration::from_hours(24), patients }
    }
}

impl Caps {
    /// The cap of someone with these roles: the largest of theirs, none if one of them has
    /// none.
    fn of(&self, roles: &[String]) -> Option<u32> {
        let each = roles.iter().map(|r| self.patients.get(r).copied());
        each.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten()
    }
}

/// Leave to read more than one's cap. Field names are part of the control log's content:
/// only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// Its name.
    pub id: String,
    /// Who asks.
    pub subject: SubjectId,
    /// How many patients in a window instead.
    pub patients: u32,
    /// For how many hours from when it is granted.
    pub hours: i64,
    /// Why.
    pub text: String,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Who granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SubjectId>,
    /// Since when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

impl Leave {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from
            .is_some_and(|from| from <= at && at < from + SignedDuration::from_hours(self.hours))
    }
}

pub(crate) fn all(control: &ControlLog) -> Result<Vec<Leave>, StoreError> {
    let damaged = |_| StoreError::Corrupt("a leave in the control log");
    let read = |value| serde_json::from_value(value).map_err(damaged);
    control.list(KIND)?.into_iter().map(|r| read(r.value)).collect()
}

/// What was read, by account.
#[derive(Default)]
pub(crate) struct Counters(Mutex<HashMap<SubjectId, Counter>>);

#[derive(Default)]
struct Counter {
    /// When each patient was read first within the window, microseconds.
    seen: HashMap<LogicalId, i64>,
    /// When privacy officers were told.
    told: Option<i64>,
}

/// What counting came to.
enum Counted {
    Within,
    /// Too many; whether it is to be told.
    Over {
        tell: bool,
    },
}

impl Counters {
    /// Counts what is about to leave, or nothing of it when that is too much.
    fn count(
        &self,
        subject: &SubjectId,
        patients: &[LogicalId],
        cap: u32,
        now: i64,
        window: i64,
    ) -> Counted {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = all.entry(subject.clone()).or_default();
        let fresh = |at: &i64| now - *at < window;
        let new = patients.iter().filter(|p| !counter.seen.get(p).is_some_and(fresh)).count();
        if new == 0 {
            return Counted::Within;
        }
        let most = usize::try_from(cap).unwrap_or(usize::MAX);
        if counter.seen.len() + new > most {
            counter.seen.retain(|_, at| fresh(&*at));
        }
        if counter.seen.len() + new > most {
            let tell = !counter.told.as_ref().is_some_and(fresh);
            if tell {
                counter.told = Some(now);
            }
            return Counted::Over { tell };
        }
        for p in patients {
            let at = counter.seen.entry(p.clone()).or_insert(now);
            if now - *at >= window {
                *at = now;
            }
        }
        Counted::Within
    }
}

impl Engine {
    /// Refuses what would carry more patients to the caller than their cap leaves. `e` is
    /// the entry about it, which names them.
    pub(crate) async fn within_cap(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        e: &Entry,
    ) -> Result<(), Failure> {
        let caps = &self.settings().caps;
        let Some(mut cap) = caps.of(&caller.subject.roles) else { return Ok(()) };
        let patients: Vec<LogicalId> = e.patients.iter().filter_map(|p| p.id.clone()).collect();
        if patients.is_empty() {
            return Ok(());
        }
        let failed = Self::store_failure(caller);
        let now = self.clock().now();
        let standing = tenant.standing().map_err(&failed)?;
        if let Some(leave) = standing.leave(&caller.subject.id, now) {
            cap = cap.max(leave);
        }
        let window = i64::try_from(caps.window.as_micros()).unwrap_or(i64::MAX);
        let (subject, at) = (&caller.subject.id, now.as_microsecond());
        let Counted::Over { tell } = tenant.counters().count(subject, &patients, cap, at, window)
        else {
            return Ok(());
        };
        if tell {
            self.raise(tenant, caller, What::Cap, subject, None).await?;
        }
        let mut refused = entry::of(caller, EventKind::Cap);
        entry::note(&mut refused, DetailKey::Count, cap.to_string());
        let failure = Failure::TooMany(Refusal::new(
            IssueCode::Throttled,
            "",
            "you have read as many patients' records as you may for now: ask for leave to read \
             more (phial cap ask)",
        ));
        Err(self.refuse(tenant, caller, refused, OutcomeCode::Denied, failure).await)
    }

    /// Asks for leave to read more. Its name and who asks are ours to say.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for more hours than may be or without a reason;
    /// [`Failure::Busy`] when a store or the audit log can't be reached.
    pub async fn ask_leave(&self, caller: &Caller, mut leave: Leave) -> Result<Leave, Failure> {
        let tenant = self.home(caller)?;
        let said = leave.text.trim().chars().count();
        if !(1..=MOST_HOURS).contains(&leave.hours) || !(10..=1_000).contains(&said) {
            let text = format!("for 1 to {MOST_HOURS} hours, and why in 10 to 1,000 characters");
            return Err(Failure::invalid(IssueCode::Value, "leave", text));
        }
        leave.id = self.new_request_id().to_string();
        leave.subject = caller.subject.id.clone();
        leave.asked = self.clock().now();
        (leave.by, leave.from) = (None, None);
        let subject = leave.subject.clone();
        self.raise(tenant, caller, What::CapRequest, &subject, Some(&leave.id)).await?;
        self.put_leave(tenant, caller, &leave, None, "asked").await?;
        Ok(leave)
    }

    /// Grants a leave from now on. Nobody grants their own.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right, or for one's own; [`Failure::Conflict`] when
    /// it was granted already; [`Failure::NotFound`] when there is none of this name.
    pub async fn grant_leave(&self, caller: &Caller, id: &str) -> Result<Leave, Failure> {
        let tenant = self.home(caller)?;
        self.must(tenant, caller, Action::ReviewAccess, EventKind::Cap, "grant leave").await?;
        let failed = Self::store_failure(caller);
        let record = tenant.vessel.control().get(KIND, id).map_err(&failed)?;
        let record = record.ok_or(Failure::NotFound)?;
        let mut leave: Leave = serde_json::from_value(record.value)
            .map_err(|_| failed(StoreError::Corrupt("a leave in the control log")))?;
        if leave.subject == caller.subject.id {
            let e = entry::of(caller, EventKind::Cap);
            let failure = Failure::forbidden("nobody grants leave to themselves");
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        if leave.by.is_some() {
            return Err(Failure::precondition("it was granted already"));
        }
        leave.by = Some(caller.subject.id.clone());
        leave.from = Some(self.clock().now());
        self.put_leave(tenant, caller, &leave, Some(record.version), "granted").await?;
        Ok(leave)
    }

    /// Every leave that was asked for, the latest first.
    ///
    /// # Errors
    /// As [`Engine::grant_leave`].
    pub async fn leaves(&self, caller: &Caller) -> Result<Vec<Leave>, Failure> {
        let tenant = self.home(caller)?;
        self.must(tenant, caller, Action::ReviewAccess, EventKind::Cap, "see leaves").await?;
        let mut all = all(tenant.vessel.control()).map_err(Self::store_failure(caller))?;
        all.sort_by(|a, b| b.asked.cmp(&a.asked).then_with(|| a.id.cmp(&b.id)));
        Ok(all)
    }

    async fn put_leave(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        leave: &Leave,
        replaced: Option<phial_base::Version>,
        what: &str,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(caller);
        let mut e = entry::of(caller, EventKind::Cap);
        entry::note(&mut e, DetailKey::Account, leave.subject.to_string());
        entry::note(&mut e, DetailKey::Count, leave.patients.to_string());
        entry::note(&mut e, DetailKey::Value, what.to_owned());
        self.record(tenant, caller, vec![e.clone()], None).await?;
        let value = serde_json::to_value(leave)
            .map_err(|_| failed(StoreError::Invalid("a leave that can't be encoded")))?;
        let control = tenant.vessel.control();
        control.put(KIND, &leave.id, &value, replaced).map_err(&failed)?;
        entry::note(&mut e, DetailKey::ControlHead, control.head().map_err(&failed)?);
        self.record(tenant, caller, vec![e], None).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[&str]) -> Vec<LogicalId> {
        list.iter().map(|id| LogicalId::new(id).unwrap()).collect()
    }

    #[test]
    fn patients_count_once_a_window_and_what_is_refused_counts_not_at_all() {
        let counters = Counters::default();
        let ann = SubjectId::new("ann").unwrap();
        let ask = |list: &[&str], now: i64| match counters.count(&ann, &ids(list), 3, now, 100) {
            Counted::Within => 'w',
            Counted::Over { tell: true } => 't',
            Counted::Over { tell: false } => 'o',
        };
        assert_eq!(ask(&["a", "b"], 0), 'w');
        assert_eq!(ask(&["a", "b"], 10), 'w');
        assert_eq!(ask(&["c", "d"], 20), 't', "four patients");
        assert_eq!(ask(&["c"], 30), 'w', "the refused ones were not counted");
        assert_eq!(ask(&["d"], 40), 'o', "told once a window");
        assert_eq!(ask(&["d"], 99), 'o');
        assert_eq!(ask(&["d"], 100), 'w', "the first ones are of an earlier window");
        assert_eq!(ask(&["a", "b"], 100), 'o');
        assert_eq!(ask(&["a", "b"], 125), 't', "a new window is told anew");
    }

    #[test]
    fn the_largest_cap_counts_and_a_role_without_one_lifts_it() {
        let caps = Caps::default();
        let of =
            |roles: &[&str]| caps.of(&roles.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["physician"]), Some(500));
        assert_eq!(of(&["physician", "pharmacist"]), Some(1_000));
        assert_eq!(of(&["physician", "privacy-officer"]), None);
        assert_eq!(of(&["import-client"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let leave = Leave {
            id: "l1".to_owned(),
            subject: SubjectId::new("ann").unwrap(),
            patients: 900,
            hours: 8,
            text: "the ward was moved".to_owned(),
            asked: "2026-03-01T00:00:00Z".parse().unwrap(),
            by: Some(SubjectId::new("pia").unwrap()),
            from: Some("2026-03-01T01:00:00Z".parse().unwrap()),
        };
        let text = r#"{"id":"l1","subject":"ann","patients":900,"hours":8,"text":"the ward was moved","asked":"2026-03-01T00:00:00Z","by":"pia","from":"2026-03-01T01:00:00Z"}"#;
        assert_eq!(serde_json::to_string(&leave).unwrap(), text);
        assert_eq!(serde_json::from_str::<Leave>(text).unwrap(), leave);
        assert!(leave.holds("2026-03-01T08:59:59Z".parse().unwrap()));
        assert!(!leave.holds("2026-03-01T09:00:00Z".parse().unwrap()));
        assert!(!leave.holds("2026-03-01T00:59:59Z".parse().unwrap()));
    }
}
