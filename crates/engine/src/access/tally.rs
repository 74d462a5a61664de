//! How much accounts read, across a restart. The counts of [`super::cap`] are in memory;
//! what they rest on is in the audit log, durably, before anything was released. So a start
//! counts anew what the log says of the window, and no kill makes a count smaller
//! (decision 0086). Whoever holds the sessions keeps a copy of the counts now and then, with
//! the place in the log up to which it goes, so that a start reads only what came after.

use jiff::SignedDuration;
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::SubjectId;
use phial_store::Error as StoreError;
use phial_store::sessions::tallies::Tallies;

use super::cap::Caps;
use crate::alert::What;
use crate::gate::{Engine, Tenant};

/// The counts are kept after so long, when there are new ones.
const OFTEN: SignedDuration = SignedDuration::from_secs(30);
/// And once so many entries were written since: the next start reads that many again.
const ENTRIES: u64 = 10_000;
/// Entries read at once.
const AT_ONCE: usize = 1_024;

/// The kinds of entries whose patients count: what is released to whoever asked.
const COUNTED: [EventKind; 6] = [
    EventKind::Read,
    EventKind::Vread,
    EventKind::Search,
    EventKind::History,
    EventKind::Operation,
    EventKind::Notification,
];

/// Whom an entry counts for, if it does.
fn counts(e: &Entry, caps: &Caps) -> Option<SubjectId> {
    let user = SubjectId::new(e.who.user.as_deref()?).ok()?;
    let released = e.outcome == OutcomeCode::Success && COUNTED.contains(&e.kind);
    (released && !e.patients.is_empty() && caps.of(&e.who.roles).is_some()).then_some(user)
}

impl Engine {
    /// Counts what accounts of a tenant read within the window: what was kept, and what the
    /// audit log says since. Gives how many entries were read. An entry that can't be opened
    /// counts for nobody; `verify` names it.
    ///
    /// # Errors
    /// When the log or the keys can't be had.
    pub fn recount(&self, tenant: &Tenant, kept: &Tallies) -> Result<u64, StoreError> {
        let caps = &self.settings().caps;
        let now = self.clock().now();
        let window = i64::try_from(caps.window.as_micros()).unwrap_or(i64::MAX);
        let oldest = now.as_microsecond().saturating_sub(window);
        let audit = tenant.vessel.audit();
        let size = audit.size()?;
        let counters = tenant.counters();
        let mut from = 0;
        // A place that the log does not have is of another log.
        if kept.up_to <= size {
            counters.restore(&kept.all, oldest);
            from = kept.up_to;
        }
        if let Ok(beginning) = now.checked_sub(caps.window) {
            from = from.max(audit.since(beginning)?);
        }
        let mut read = 0;
        while from < size {
            let some = match audit.scan(from, AT_ONCE) {
                Ok(some) => some,
                Err(StoreError::Corrupt(what)) => {
                    tracing::warn!(
                        error = what,
                        "the audit log can't be read on: run `phial verify`"
                    );
                    break;
                }
                Err(e) => return Err(e),
            };
            let Some(last) = some.last() else { break };
            from = last.index.saturating_add(1);
            for stored in &some {
                read += 1;
                let e = match audit.open_entry(stored) {
                    Ok(e) => e,
                    Err(StoreError::Corrupt(_)) => continue,
                    Err(e) => return Err(e),
                };
                let at = e.at.as_microsecond();
                if at < oldest {
                    continue;
                }
                if let Some(user) = counts(&e, caps) {
                    counters.add(&user, e.patients.iter().filter_map(|p| p.handle), at);
                }
                let told = e.kind == EventKind::AlertRaised
                    && e.detail.get(&DetailKey::Value).is_some_and(|v| v == What::Cap.name());
                let whom = e.detail.get(&DetailKey::Account).filter(|_| told);
                if let Some(user) = whom.and_then(|user| SubjectId::new(user).ok()) {
                    counters.told(&user, at);
                }
            }
        }
        Ok(read)
    }

    /// The counts that changed since they were given last, when it is time to keep them, or
    /// `at_once`. Whoever can't keep them says so: [`Engine::not_kept`].
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn to_be_kept(
        &self,
        tenant: &Tenant,
        at_once: bool,
    ) -> Result<Option<Tallies>, StoreError> {
        let counters = tenant.counters();
        // Before the counts are taken: whatever the log holds by now was counted before it
        // was written.
        let up_to = tenant.vessel.audit().size()?;
        let now = self.clock().now().as_microsecond();
        let often = i64::try_from(OFTEN.as_micros()).unwrap_or(i64::MAX);
        let (since, at) = counters.kept();
        let entries = up_to.saturating_sub(since);
        let due = at_once || entries >= ENTRIES || (entries > 0 && now.saturating_sub(at) >= often);
        if !due || entries == 0 {
            return Ok(None);
        }
        let all = counters.changed();
        if all.is_empty() && entries < ENTRIES && !at_once {
            return Ok(None);
        }
        counters.keep(up_to, now);
        Ok(Some(Tallies { up_to, all }))
    }

    /// Counts that could not be kept are to be kept again.
    pub fn not_kept(&self, tenant: &Tenant, lost: &Tallies) {
        tenant.counters().mark(lost.all.iter().map(|t| &t.user));
    }
}

#[cfg(test)]
mod tests {
    use phial_audit::{PatientPart, Who};
    use phial_base::{KeyHandle, LogicalId};

    use super::*;

    #[test]
    fn what_was_released_to_somebody_with_a_cap_counts_and_nothing_else() {
        let caps = Caps::default();
        let entry = |kind, role: &str| {
            let mut e = Entry::system(kind, "2026-03-01T00:00:00Z".parse().unwrap());
            e.who = Who {
                user: Some("ann".to_owned()),
                roles: vec![role.to_owned()],
                ..Who::default()
            };
            e.patients = vec![PatientPart {
                id: LogicalId::new("p1").ok(),
                handle: Some(KeyHandle([1; 16])),
            }];
            e
        };
        let counted = |e: &Entry| counts(e, &caps).is_some();
        for kind in COUNTED {
            assert!(counted(&entry(kind, "nurse")), "{}", kind.name());
        }
        for kind in [EventKind::Intent, EventKind::Outcome, EventKind::Denied, EventKind::Export] {
            assert!(!counted(&entry(kind, "nurse")), "{}", kind.name());
        }
        assert!(!counted(&entry(EventKind::Read, "interface-engine")), "no cap");
        let refused = entry(EventKind::Read, "nurse").with_outcome(OutcomeCode::Denied);
        assert!(!counted(&refused));
        let mut nobody = entry(EventKind::Read, "nurse");
        nobody.patients.clear();
        assert!(!counted(&nobody));
    }
}
