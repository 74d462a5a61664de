//! Rotating a tenant key: every key below it is wrapped anew, no record is
//! rewritten (design §3).

use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_policy::Action;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;

/// What a rotation did.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Rotated {
    /// The version before.
    pub from: u32,
    /// The version in force now.
    pub to: u32,
    /// How many keys were wrapped anew.
    pub rewrapped: u64,
}

impl Engine {
    /// Makes a new version of the caller's tenant key.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage keys; [`Failure::Busy`] when
    /// a store or the audit log can't be reached.
    pub async fn rotate_tenant_key(&self, caller: &Caller) -> Result<Rotated, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::KeyRotated);
        if !self.policy().allows(&caller.subject, Action::ManageKeys) {
            let failure = Failure::forbidden("your role may not manage keys");
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        // Written down before it happens: without the log no key is touched. The entry
        // after it says what came of it.
        let mut begun = e.clone();
        entry::note(&mut begun, DetailKey::Reason, "begun".to_owned());
        self.record(tenant, caller, vec![begun], None).await?;
        let keystore = tenant.vessel.keystore();
        let r = keystore
            .rotate_tenant_key(&caller.subject.tenant)
            .map_err(Self::store_failure(caller))?;
        entry::note(&mut e, DetailKey::FromVersion, r.from.to_string());
        entry::note(&mut e, DetailKey::ToVersion, r.to.to_string());
        entry::note(&mut e, DetailKey::Count, r.rewrapped.to_string());
        self.record(tenant, caller, vec![e], None).await?;
        Ok(Rotated { from: r.from, to: r.to, rewrapped: r.rewrapped })
    }
}
