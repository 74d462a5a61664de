//! What was done under a break-glass grant, counted from the audit log, for whoever reviews
//! it: how many accesses of which kinds, to how many records of which types. It gives
//! numbers and names of types, and no record.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{LogicalId, RowId};
use phial_fhir::definitions::ResourceType;
use phial_policy::Action;

use super::glass::{self, Grant};
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// What a grant's last access may take until it is in the log.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// Entries looked at for one review at most; a busy server writes them in minutes.
const MOST_ENTRIES: u64 = 2_000_000;
/// Entries opened between two pauses.
const AT_ONCE: u64 = 1_024;

/// What was done under a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Accesses by kind: read, search, create...
    pub kinds: BTreeMap<&'static str, u64>,
    /// Different records by type.
    pub types: BTreeMap<String, u64>,
    /// The first access.
    pub first: Option<Timestamp>,
    /// The last one.
    pub last: Option<Timestamp>,
    /// Whether the whole of the grant's time was looked at.
    pub whole: bool,
}

impl Accesses {
    /// How many accesses there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// How many different records were given or written.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.types.values().sum()
    }
}

/// A grant, with what a reviewer needs to judge it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The grant.
    pub grant: Grant,
    /// The patient, if policy lets the reviewer see who it is.
    pub patient: Option<LogicalId>,
    /// What was done under it.
    pub accesses: Accesses,
}

/// What waits for a reviewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Grants that hold now.
    pub active: usize,
    /// Grants that ended and are not reviewed, the overdue ones among them.
    pub open: usize,
    /// Those whose review is overdue.
    pub overdue: usize,
    /// Alerts that nobody has seen.
    pub alerts: usize,
}

impl Engine {
    /// The caller's grants that hold now, the latest first.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached.
    pub fn own_grants(&self, caller: &Caller) -> Result<Vec<Grant>, Failure> {
        let tenant = self.home(caller)?;
        let now = self.clock().now();
        let mut own = glass::all(tenant.vessel.control()).map_err(Self::store_failure(caller))?;
        own.retain(|g| g.subject == caller.subject.id && g.holds(now));
        glass::sort(&mut own);
        Ok(own)
    }

    /// What waits for the caller; nothing for those who don't review access. Numbers alone.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached.
    pub fn waiting(&self, caller: &Caller) -> Result<Waiting, Failure> {
        let tenant = self.home(caller)?;
        let mut waiting = Waiting::default();
        if !self.policy().allows(&caller.subject, Action::ReviewAccess) {
            return Ok(waiting);
        }
        let failed = Self::store_failure(caller);
        let now = self.clock().now();
        for grant in glass::all(tenant.vessel.control()).map_err(&failed)? {
            match grant.state(now) {
                "active" => waiting.active += 1,
                "open" => waiting.open += 1,
                "overdue" => {
                    waiting.open += 1;
                    waiting.overdue += 1;
                }
                _ => {}
            }
        }
        waiting.alerts = crate::alert::unseen(tenant.vessel.control()).map_err(&failed)?;
        Ok(waiting)
    }

    /// A grant and what was done under it. That somebody looked is written down.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for those who don't review access; [`Failure::NotFound`] when
    /// there is none of this name; [`Failure::Busy`] when a store can't be reached.
    pub async fn case(&self, caller: &Caller, id: &str) -> Result<Case, Failure> {
        let tenant = self.home(caller)?;
        let kind = EventKind::EmergencyReviewed;
        self.must(tenant, caller, Action::ReviewAccess, kind, "review access").await?;
        let found = glass::one(tenant.vessel.control(), id).map_err(Self::store_failure(caller))?;
        let (grant, _) = found.ok_or(Failure::NotFound)?;
        let patient = self.reviewed_patient(tenant, caller, &grant)?;
        let accesses = self.accesses(tenant, caller, &grant).await?;
        let mut e = entry::of(caller, EventKind::AuditRead);
        entry::note(&mut e, DetailKey::Account, grant.subject.to_string());
        entry::note(&mut e, DetailKey::Filter, format!("grant {}", grant.id));
        entry::note(&mut e, DetailKey::Count, accesses.total().to_string());
        self.record(tenant, caller, vec![e], None).await?;
        Ok(Case { grant, patient, accesses })
    }

    /// The patient of a grant, if the reviewer may see who it is.
    fn reviewed_patient(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        grant: &Grant,
    ) -> Result<Option<LogicalId>, Failure> {
        let Some(ty) = ResourceType::from_name("Patient") else { return Ok(None) };
        let found = tenant.vessel.find(ty, &grant.patient).map_err(Self::store_failure(caller))?;
        let Some(found) = found else { return Ok(None) };
        let sees = self.decide(tenant, caller, Action::Read, &found)?.is_ok();
        Ok(sees.then(|| grant.patient.clone()))
    }

    async fn accesses(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        grant: &Grant,
    ) -> Result<Accesses, Failure> {
        let failed = Self::store_failure(caller);
        let audit = tenant.vessel.audit();
        let mut from = audit.since(grant.from).map_err(&failed)?;
        let end = audit.behind(grant.ends() + LATE).map_err(&failed)?;
        let most = from.saturating_add(MOST_ENTRIES);
        let mut count = Counting { accesses: Accesses::default(), rows: HashSet::new() };
        count.accesses.whole = end <= most;
        let end = end.min(most);
        while from < end {
            let to = end.min(from + AT_ONCE);
            audit.walk(from..to, &mut |_, e| count.take(grant, &e)).map_err(&failed)?;
            from = to;
            // Others have their turn: this may take a while.
            tokio::task::yield_now().await;
        }
        Ok(count.accesses)
    }
}

struct Counting {
    accesses: Accesses,
    rows: HashSet<RowId>,
}

impl Counting {
    fn take(&mut self, grant: &Grant, e: &Entry) {
        // An outcome closes an intent, which was counted.
        if e.kind == EventKind::Outcome || e.outcome != OutcomeCode::Success || !under(grant, e) {
            return;
        }
        let kind = match e.kind {
            EventKind::Intent => e.action.unwrap_or(e.kind),
            kind => kind,
        };
        // An entry in several parts is one access.
        if e.part.is_none_or(|(n, _)| n == 1) {
            *self.accesses.kinds.entry(kind.name()).or_default() += 1;
        }
        let Accesses { first, last, .. } = &mut self.accesses;
        *first = Some(first.map_or(e.at, |at| at.min(e.at)));
        *last = Some(last.map_or(e.at, |at| at.max(e.at)));
        for target in &e.what {
            if self.rows.insert(target.row) {
                *self.accesses.types.entry(target.resource_type.clone()).or_default() += 1;
            }
        }
    }
}

/// Whether an entry is about what was done under the grant.
fn under(grant: &Grant, e: &Entry) -> bool {
    e.grant.as_deref().is_some_and(|named| named.split(',').any(|id| id == grant.id))
}

#[cfg(test)]
mod tests {
    use phial_audit::Target;
    use phial_base::Version;

    use super::*;
    use crate::access::glass::tests::grant;

    #[test]
    fn accesses_are_counted_by_kind_and_records_once() {
        let at = |m: i8| -> Timestamp { format!("2026-03-01T00:{m:02}:00Z").parse().unwrap() };
        let entry = |kind, m, row: u8, grant: Option<&str>| {
            let mut e = Entry::system(kind, at(m));
            e.grant = grant.map(str::to_owned);
            e.what.push(Target::new(RowId([row; 16]), Some(Version(1)), "Condition"));
            e
        };
        let mut intent = entry(EventKind::Intent, 4, 3, Some("g1"));
        intent.action = Some(EventKind::Update);
        let mut split = entry(EventKind::Search, 5, 4, Some("g1"));
        split.part = Some((2, 2));
        let all = [
            entry(EventKind::Read, 2, 1, Some("g1")),
            entry(EventKind::Read, 1, 1, Some("g0,g1")),
            entry(EventKind::Search, 3, 2, Some("g1")),
            intent,
            split,
            entry(EventKind::Outcome, 6, 3, Some("g1")),
            entry(EventKind::Read, 7, 9, Some("g2")),
            entry(EventKind::Read, 8, 9, None),
            entry(EventKind::Read, 9, 9, Some("g1")).with_outcome(OutcomeCode::Denied),
        ];
        let mut count = Counting { accesses: Accesses::default(), rows: HashSet::new() };
        for e in &all {
            count.take(&grant(), e);
        }
        let found = count.accesses;
        let kinds: Vec<_> = found.kinds.iter().map(|(k, n)| (*k, *n)).collect();
        assert_eq!(kinds, [("read", 2), ("search", 1), ("update", 1)]);
        assert_eq!((found.total(), found.records()), (4, 4));
        assert_eq!((found.first, found.last), (Some(at(1)), Some(at(5))));
    }
}
