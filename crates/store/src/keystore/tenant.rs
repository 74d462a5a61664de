//! The tenants of a keystore: made, then ready once their stores are whole.
//!
//! Refuses to list a tenant whose making was interrupted: it is not served, and the
//! same command again takes it up.

use phial_base::TenantId;
use phial_base::step::Step;
use phial_crypto::{KeyKind, KeyLabel, SecretKey};

use super::rows::{self, SINGLE};
use super::{Keystore, SINGLES};
use crate::durable;
use crate::error::{Error, Fault};

impl Keystore {
    /// Makes a tenant and its own keys. It is not among [`Keystore::tenants`] until
    /// [`Keystore::tenant_ready`]; making it again until then changes nothing, so that
    /// what was interrupted can be taken up.
    ///
    /// # Errors
    /// [`Error::TenantExists`], or [`Error::Unavailable`] without the root key.
    pub fn create_tenant(&self, tenant: &TenantId) -> Result<(), Error> {
        let root = self.root();
        let created = self.now_us();
        self.slot().with(|db| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let Some(id) = rows::insert_tenant(&tx, tenant)? else {
                return if rows::is_unfinished(&tx, tenant)? {
                    Ok(())
                } else {
                    Err(Error::TenantExists)
                };
            };
            rows::mark_unfinished(&tx, tenant)?;
            let tenant_key = SecretKey::random(self.rng.as_ref());
            let label = KeyLabel {
                tenant: tenant.clone(),
                kind: KeyKind::Tenant,
                handle: self.handle(),
                version: 1,
            };
            let wrapped = phial_crypto::wrap_under_root(root.as_ref(), &label, &tenant_key)
                .map_err(|_| Error::Unavailable(Fault::RootKey))?;
            rows::insert(&tx, id, &label, &SINGLE, 1, &wrapped, created)?;
            for kind in SINGLES {
                self.insert_new(&tx, id, tenant, &tenant_key, 1, kind, &SINGLE, created)?;
            }
            durable::commit(Step::KeysTenant, tx)
        })
    }

    /// Says that the tenant's stores are whole: from now on it is served, and a store
    /// of it that is missing is a failure.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn tenant_ready(&self, tenant: &TenantId) -> Result<(), Error> {
        self.slot().with(|db| rows::mark_ready(db, tenant))
    }

    /// The tenants whose stores are whole, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be read.
    pub fn tenants(&self) -> Result<Vec<TenantId>, Error> {
        self.slot().with(|db| {
            let mut ready = Vec::new();
            for tenant in rows::tenants(db)? {
                if !rows::is_unfinished(db, &tenant)? {
                    ready.push(tenant);
                }
            }
            Ok(ready)
        })
    }
}
