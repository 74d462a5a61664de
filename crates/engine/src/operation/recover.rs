//! After a crash: intents that were announced and never closed are closed from the
//! record log, before anything is served (design §2).

use phial_audit::{DetailKey, EventKind};

use phial_store::recovery::Recovered;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

impl Engine {
    /// Closes open intents of `tenant`. Says how many were found committed and how
    /// many not. Running it again changes nothing.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached: nothing may be served then.
    pub async fn recover(&self, tenant: &Tenant, caller: &Caller) -> Result<Recovered, Failure> {
        let closed = tokio::task::block_in_place(|| tenant.vessel.recover())
            .map_err(Self::store_failure(caller))?;
        self.told(tenant, caller, closed).await?;
        Ok(closed)
    }

    /// The same for writes of this process that ended without an answer of the record
    /// log: a commit of unknown fate, a request that went away.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached; the next call tries again.
    pub async fn close_intents(
        &self,
        tenant: &Tenant,
        caller: &Caller,
    ) -> Result<Recovered, Failure> {
        let closed = tokio::task::block_in_place(|| tenant.vessel.settle())
            .map_err(Self::store_failure(caller))?;
        self.told(tenant, caller, closed).await?;
        Ok(closed)
    }

    async fn told(&self, tenant: &Tenant, caller: &Caller, r: Recovered) -> Result<(), Failure> {
        if r == Recovered::default() {
            return Ok(());
        }
        let mut e = entry::of(caller, EventKind::Recovery);
        entry::note(&mut e, DetailKey::Count, (r.committed + r.abandoned).to_string());
        self.record(tenant, caller, vec![e], None).await.map(|_| ())
    }
}
