//! Looking at the audit log. Reading it is itself written down (164.312(b)).

use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_policy::Action;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;

/// One entry with its place in the log.
pub struct Logged {
    /// Its index in the Merkle tree.
    pub index: u64,
    /// Its tenant, node and number.
    pub place: phial_audit::Place,
    /// The entry, with what the keys at hand could open.
    pub entry: Entry,
}

impl Logged {
    /// Where it stands, for the views.
    #[must_use]
    pub fn position(&self) -> phial_audit::view::Position<'_> {
        phial_audit::view::Position { index: Some(self.index), place: &self.place }
    }
}

impl Engine {
    /// The last `n` entries of the caller's tenant, oldest first.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to read the audit log;
    /// [`Failure::Busy`] when the log can't be reached.
    pub async fn audit_tail(&self, caller: &Caller, n: usize) -> Result<Vec<Logged>, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::AuditRead);
        if !self.policy().allows(&caller.subject, Action::ReadAudit) {
            let failure = Failure::forbidden("your role may not read the audit log");
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        let audit = tenant.vessel.audit();
        let entries = tokio::task::block_in_place(|| -> Result<Vec<Logged>, phial_store::Error> {
            let mut logged = Vec::new();
            for stored in audit.tail(n)? {
                let entry = audit.open_entry(&stored)?;
                let place = phial_audit::Place {
                    tenant: caller.subject.tenant.clone(),
                    node: stored.node,
                    number: stored.number,
                };
                logged.push(Logged { index: stored.index, place, entry });
            }
            Ok(logged)
        })
        .map_err(Self::store_failure(caller))?;
        entry::note(&mut e, DetailKey::Count, entries.len().to_string());
        self.record(tenant, caller, vec![e], None).await?;
        Ok(entries)
    }
}
