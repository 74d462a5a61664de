//! Caps: how many patients' records one account may read in a window of time (164.308(a)(4),
//! 502(b)). A role that needs more has a higher cap or none; a person who needs more for a
//! while asks, and somebody else lets them.
//!
//! What was read is counted in this process, per account, as it is about to leave: a read,
//! a page of a search, a history, a chart. A restart counts anew what the audit log says
//! ([`super::tally`]). It refuses the whole of an answer that would
//! carry too much, and says so to privacy officers, once a window. Systems have no cap:
//! what leaves in bulk has rules of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{KeyHandle, LogicalId, SubjectId};
use phial_fhir::issue::IssueCode;
use phial_policy::Action;
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;
use phial_store::sessions::tallies::Tally;
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
    pub(crate) fn of(&self, roles: &[String]) -> Option<u32> {
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

/// What was read, by account. A patient is named by the handle of their audit key, as in
/// the log.
#[derive(Default)]
pub(crate) struct Counters(Mutex<Counting>);

#[derive(Default)]
struct Counting {
    all: HashMap<SubjectId, Counter>,
    /// How far the log had come when the counts were kept, and when that was.
    kept: (u64, i64),
}

#[derive(Default)]
struct Counter {
    /// When each patient was read first within the window, microseconds.
    seen: HashMap<KeyHandle, i64>,
    /// Handles of patients that were read, so that a read does not ask the keystore again.
    named: HashMap<LogicalId, KeyHandle>,
    /// When privacy officers were told.
    told: Option<i64>,
    /// Whether it is otherwise than it was kept.
    changed: bool,
}

/// What counting came to.
#[derive(Debug)]
enum Counted {
    Within,
    /// Too many; whether it is to be told.
    Over {
        tell: bool,
    },
}

impl Counters {
    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handles of patients that the account read before.
    fn named(&self, subject: &SubjectId, patients: &[LogicalId]) -> Vec<Option<KeyHandle>> {
        let counting = self.counting();
        let counter = counting.all.get(subject);
        patients.iter().map(|p| counter.and_then(|c| c.named.get(p)).copied()).collect()
    }

    /// Counts what is about to leave, or nothing of it when that is too much.
    fn count(
        &self,
        subject: &SubjectId,
        patients: &[(LogicalId, KeyHandle)],
        cap: u32,
        now: i64,
        window: i64,
    ) -> Counted {
        let mut counting = self.counting();
        let counter = counting.all.entry(subject.clone()).or_default();
        let fresh = |at: &i64| now - *at < window;
        let new = patients.iter().filter(|(_, p)| !counter.seen.get(p).is_some_and(fresh)).count();
        if new == 0 {
            for (id, handle) in patients {
                if !counter.named.contains_key(id) {
                    counter.named.insert(id.clone(), *handle);
                }
            }
            return Counted::Within;
        }
        let most = usize::try_from(cap).unwrap_or(usize::MAX);
        if counter.seen.len() + new > most {
            counter.seen.retain(|_, at| fresh(&*at));
            let Counter { seen, named, .. } = &mut *counter;
            named.retain(|_, handle| seen.contains_key(handle));
        }
        if counter.seen.len() + new > most {
            let tell = !counter.told.as_ref().is_some_and(fresh);
            if tell {
                counter.told = Some(now);
                counter.changed = true;
            }
            return Counted::Over { tell };
        }
        for (id, handle) in patients {
            let at = counter.seen.entry(*handle).or_insert(now);
            if now - *at >= window {
                *at = now;
            }
            counter.named.insert(id.clone(), *handle);
        }
        counter.changed = true;
        Counted::Within
    }

    /// Takes up what was kept, but what is older than the window.
    pub(crate) fn restore(&self, kept: &[Tally], oldest: i64) {
        let mut counting = self.counting();
        for tally in kept {
            let counter = counting.all.entry(tally.user.clone()).or_default();
            counter.told = tally.told.filter(|at| *at > oldest).max(counter.told);
            for (patient, at) in tally.seen.iter().filter(|(_, at)| *at > oldest) {
                let first = counter.seen.entry(*patient).or_insert(*at);
                *first = (*first).min(*at);
            }
        }
    }

    /// Adds what the log says that an account read. It is as good as counted already when
    /// the patient is.
    pub(crate) fn add(
        &self,
        subject: &SubjectId,
        patients: impl Iterator<Item = KeyHandle>,
        at: i64,
    ) {
        let mut counting = self.counting();
        let counter = counting.all.entry(subject.clone()).or_default();
        for patient in patients {
            counter.seen.entry(patient).or_insert(at);
        }
        counter.changed = true;
    }

    /// Adds when others were told of an account.
    pub(crate) fn told(&self, subject: &SubjectId, at: i64) {
        let mut counting = self.counting();
        let counter = counting.all.entry(subject.clone()).or_default();
        counter.told = counter.told.max(Some(at));
        counter.changed = true;
    }

    /// How far the log had come when the counts were kept, and when that was.
    pub(crate) fn kept(&self) -> (u64, i64) {
        self.counting().kept
    }

    /// They are kept now.
    pub(crate) fn keep(&self, up_to: u64, at: i64) {
        self.counting().kept = (up_to, at);
    }

    /// What is otherwise than it was kept. From here on it is as kept.
    pub(crate) fn changed(&self) -> Vec<Tally> {
        let mut counting = self.counting();
        let changed = counting.all.iter_mut().filter(|(_, c)| c.changed);
        changed
            .map(|(user, counter)| {
                counter.changed = false;
                let seen = counter.seen.iter().map(|(p, at)| (*p, *at)).collect();
                Tally { user: user.clone(), told: counter.told, seen }
            })
            .collect()
    }

    /// These were not kept after all.
    pub(crate) fn mark<'a>(&self, users: impl Iterator<Item = &'a SubjectId>) {
        let mut counting = self.counting();
        counting.kept = (0, 0);
        for user in users {
            if let Some(counter) = counting.all.get_mut(user) {
                counter.changed = true;
            }
        }
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
        let counters = tenant.counters();
        let known = counters.named(subject, &patients);
        let mut named = Vec::with_capacity(patients.len());
        for (id, known) in patients.into_iter().zip(known) {
            let handle = match known {
                Some(handle) => handle,
                // The entry about it will be sealed under this key in a moment.
                None => tenant.vessel.audit().handle_of(&id).map_err(&failed)?,
            };
            named.push((id, handle));
        }
        let Counted::Over { tell } = counters.count(subject, &named, cap, at, window) else {
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

    fn ids(list: &[&str]) -> Vec<(LogicalId, KeyHandle)> {
        let one = |id: &&str| (LogicalId::new(id).unwrap(), KeyHandle([id.as_bytes()[0]; 16]));
        list.iter().map(one).collect()
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
    fn counts_that_were_kept_or_are_in_the_log_count_as_if_nothing_had_ended() {
        let ann = SubjectId::new("ann").unwrap();
        let within = |counters: &Counters, list: &[&str], now: i64| {
            matches!(counters.count(&ann, &ids(list), 3, now, 100), Counted::Within)
        };
        let before = Counters::default();
        assert!(within(&before, &["a", "b"], 10));
        let kept = before.changed();
        assert!(before.changed().is_empty(), "kept is kept");
        before.mark(kept.iter().map(|t| &t.user));
        assert_eq!(before.changed().len(), 1, "what could not be kept is to be kept again");
        let c = || ids(&["b", "c"]).into_iter().map(|(_, handle)| handle);
        let after = Counters::default();
        after.restore(&kept, 0);
        after.add(&ann, c(), 20);
        after.add(&ann, c(), 20);
        assert!(within(&after, &["a", "b", "c"], 30));
        assert!(!within(&after, &["d"], 30));
        assert!(!within(&after, &["d"], 109));
        assert!(within(&after, &["d", "e"], 110), "a and b are of an earlier window");
        // What is older than the window is not taken up.
        let late = Counters::default();
        late.restore(&kept, 10);
        assert!(within(&late, &["d", "e", "f"], 111));
        // Told is told, also after a restart.
        late.told(&ann, 105);
        let over = late.count(&ann, &ids(&["g"]), 3, 112, 100);
        assert!(matches!(over, Counted::Over { tell: false }), "{over:?}");
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
