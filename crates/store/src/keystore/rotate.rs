//! Rotation: a new tenant key, or a new root key. Keys are wrapped anew; no key
//! changes its handle or its bytes, and no record is touched.
//!
//! A rotation is one transaction, so there is never a mixture.

use std::sync::{Arc, PoisonError};

use phial_base::TenantId;
use phial_base::step::Step;
use phial_crypto::{KeyKind, KeyLabel, RootProvider, SecretKey};
use rusqlite::params;

use super::rows::{self, SINGLE};
use super::{Keystore, open_row};
use crate::durable;
use crate::error::{Error, Fault};

/// How many keys are read at a time.
const PAGE: u32 = 1000;

/// What a rotation of the tenant key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The tenant key's version before.
    pub from: u32,
    /// The tenant key's version now.
    pub to: u32,
    /// How many keys were wrapped anew.
    pub rewrapped: u64,
}

impl Keystore {
    /// Gives the tenant a new tenant key, wraps all of its keys under it and erases
    /// the old one.
    ///
    /// # Errors
    /// [`Error::NoTenant`]; [`Error::Unavailable`] without the root key or when the
    /// keystore can't be written; the old key stays in use then.
    pub fn rotate_tenant_key(&self, tenant: &TenantId) -> Result<Rotation, Error> {
        let root = self.root();
        let created = self.now_us();
        let rotated = self.slot().with(|db| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (id, from) = rows::tenant(&tx, tenant)?.ok_or(Error::NoTenant)?;
            let old_key = rows::open_tenant_key(&tx, id, tenant, from, root.as_ref())?;
            let old_row = rows::by_subject(&tx, id, KeyKind::Tenant, &SINGLE)?
                .ok_or(Error::Corrupt("a tenant's key is missing"))?;
            let to = from.checked_add(1).ok_or(Error::Invalid("no version is left"))?;
            let new_key = SecretKey::random(self.rng.as_ref());
            let label = KeyLabel {
                tenant: tenant.clone(),
                kind: KeyKind::Tenant,
                handle: self.handle(),
                version: to,
            };
            let wrapped = phial_crypto::wrap_under_root(root.as_ref(), &label, &new_key)
                .map_err(|_| Error::Unavailable(Fault::RootKey))?;
            let (mut after, mut rewrapped) = (0, 0);
            loop {
                let page = rows::page(&tx, id, after, PAGE)?;
                let Some((_, last)) = page.last() else { break };
                after = last.id;
                for (kind, row) in &page {
                    let kind = ALL_BUT_TENANT
                        .into_iter()
                        .find(|k| *k as u8 == *kind)
                        .ok_or(Error::Corrupt("a key of an unknown kind"))?;
                    let held = open_row(tenant, &old_key, from, kind, row)?
                        .ok_or(Error::Corrupt("a key is wrapped under an older tenant key"))?;
                    let label = KeyLabel {
                        tenant: tenant.clone(),
                        kind,
                        handle: row.handle,
                        version: row.version,
                    };
                    let wrapped =
                        phial_crypto::wrap(&new_key, &label, &held.key, self.rng.as_ref());
                    rows::overwrite(&tx, row.id, &rows::stored_wrap(to, &wrapped))?;
                    rewrapped += 1;
                }
            }
            rows::erase(&tx, &old_row)?;
            rows::insert(&tx, id, &label, &SINGLE, to, &wrapped, created)?;
            tx.execute("UPDATE tenant SET version=?2 WHERE id=?1", params![id, to])?;
            durable::commit(Step::KeysRotate, tx)?;
            durable::scrub(Step::KeysScrub, db)?;
            Ok(Rotation { from, to, rewrapped })
        });
        self.forget(tenant);
        rotated
    }

    /// Wraps every tenant key under another root key, which is then the only one that
    /// opens this keystore. Returns how many tenant keys there are.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when either root key can't be used or the keystore can't
    /// be written. Whichever root key opens the file then is in use; the same call again
    /// finishes the rotation.
    pub fn rotate_root(&self, new_root: Arc<dyn RootProvider>) -> Result<u64, Error> {
        let root = self.root();
        let done = self.slot().with(|db| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let mut count = 0;
            for tenant in rows::tenants(&tx)? {
                let (id, version) = rows::tenant(&tx, &tenant)?.ok_or(Error::NoTenant)?;
                let key = rows::open_tenant_key(&tx, id, &tenant, version, root.as_ref())?;
                let row = rows::by_subject(&tx, id, KeyKind::Tenant, &SINGLE)?
                    .ok_or(Error::Corrupt("a tenant's key is missing"))?;
                let label = KeyLabel {
                    tenant: tenant.clone(),
                    kind: KeyKind::Tenant,
                    handle: row.handle,
                    version,
                };
                let wrapped = phial_crypto::wrap_under_root(new_root.as_ref(), &label, &key)
                    .map_err(|_| Error::Unavailable(Fault::RootKey))?;
                rows::overwrite(&tx, row.id, &rows::stored_wrap(row.tenant_version, &wrapped))?;
                count += 1;
            }
            tx.execute("UPDATE meta SET value=?1 WHERE name='root_key'", [new_root.key_id()])?;
            durable::commit(Step::KeysRotateRoot, tx)?;
            // Providers wrap to different lengths, so rows may have moved: the file is
            // built anew, and then holds nothing that the old root key opens.
            durable::execute(Step::KeysRebuild, db, || Ok(db.execute_batch("VACUUM")?))?;
            durable::scrub(Step::KeysScrub, db)?;
            Ok(count)
        });
        // Even when the answer was an error, the commit may have been made: the file says
        // which root key opens it.
        let now = self.slot().with(|db| rows::root_of(db)).ok().flatten();
        if done.is_ok() || now.as_deref() == Some(new_root.key_id().as_str()) {
            *self.root.write().unwrap_or_else(PoisonError::into_inner) = new_root;
        }
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).clear();
        done
    }
}

const ALL_BUT_TENANT: [KeyKind; 12] = [
    KeyKind::RowIds,
    KeyKind::Locator,
    KeyKind::Common,
    KeyKind::Patient,
    KeyKind::Joint,
    KeyKind::AuditPeriod,
    KeyKind::AuditPatient,
    KeyKind::IndexPages,
    KeyKind::Control,
    KeyKind::Signing,
    KeyKind::Paging,
    KeyKind::Sessions,
];
