//! Counters that outlive a restart: failures of a budget, and the last time step of a
//! one-time code. They are kept under MACs of their names.
//!
//! A counter that only rises ([`Sessions::raise`]) is what makes a code good once: two
//! requests with the same step meet in one statement, and one of them loses.

use jiff::{SignedDuration, Timestamp};
use phial_base::TenantId;
use phial_base::step::Step;
use rusqlite::{OptionalExtension, params};

use super::{Sessions, short};
use crate::durable;
use crate::error::Error;

/// `counter`: one row a counter.
///
/// | column | is |
/// |---|---|
/// | tenant | the tenant's name |
/// | name | HMAC of the counter's name under the sessions key, 16 bytes |
/// | value | what it stands at |
/// | at | a time that goes with it, microseconds since the epoch |
/// | kept | removed once this time has passed, microseconds since the epoch |
pub(super) const TABLE: &str = "CREATE TABLE counter(
        tenant TEXT NOT NULL,
        name BLOB NOT NULL CHECK(length(name) = 16),
        value INTEGER NOT NULL,
        at INTEGER NOT NULL,
        kept INTEGER NOT NULL,
        PRIMARY KEY(tenant, name)
    ) WITHOUT ROWID;";

/// A counter as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Its value.
    pub value: i64,
    /// The time that goes with it, microseconds since the epoch.
    pub at: i64,
}

impl Sessions {
    /// A counter; zeros when there is none.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn counter(&self, tenant: &TenantId, name: &[&[u8]]) -> Result<Counter, Error> {
        let name = self.counter_name(tenant, name)?;
        self.state().slot.with(|db| {
            Ok(db
                .prepare_cached("SELECT value, at FROM counter WHERE tenant = ?1 AND name = ?2")?
                .query_row(params![tenant.as_str(), name], |r| {
                    Ok(Counter { value: r.get(0)?, at: r.get(1)? })
                })
                .optional()?
                .unwrap_or_default())
        })
    }

    /// Puts counters where they are said to stand, all of them or none, for as long as
    /// they count.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn set_counters(
        &self,
        tenant: &TenantId,
        all: &[(&[&[u8]], Counter)],
        now: Timestamp,
        keep: SignedDuration,
    ) -> Result<(), Error> {
        let named: Vec<_> = all
            .iter()
            .map(|(name, counter)| Ok((self.counter_name(tenant, name)?, *counter)))
            .collect::<Result<_, Error>>()?;
        let kept = now.as_microsecond().saturating_add(super::micros(keep));
        self.state().slot.with(|db| {
            let tx = db.unchecked_transaction()?;
            for (name, counter) in &named {
                tx.prepare_cached("INSERT OR REPLACE INTO counter VALUES(?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![tenant.as_str(), name, counter.value, counter.at, kept])?;
            }
            durable::commit(Step::CounterKeep, tx)
        })
    }

    /// Raises a counter to `value`. False, and nothing happens, when it stands there or
    /// higher already.
    ///
    /// # Errors
    /// When keys or the store can't be had.
    pub fn raise(
        &self,
        tenant: &TenantId,
        name: &[&[u8]],
        value: i64,
        now: Timestamp,
        keep: SignedDuration,
    ) -> Result<bool, Error> {
        let name = self.counter_name(tenant, name)?;
        let kept = now.as_microsecond().saturating_add(super::micros(keep));
        let changed = self.state().slot.with(|db| {
            durable::execute(Step::CounterRaise, db, || {
                Ok(db.execute(
                    "INSERT INTO counter VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE \
                     SET value = ?3, at = ?4, kept = ?5 WHERE value < ?3",
                    params![tenant.as_str(), name, value, now.as_microsecond(), kept],
                )?)
            })
        })?;
        Ok(changed == 1)
    }

    pub(super) fn counter_name(
        &self,
        tenant: &TenantId,
        name: &[&[u8]],
    ) -> Result<[u8; 16], Error> {
        let keys = self.keystore.tenant_keys(tenant)?;
        let mut parts: Vec<&[u8]> = vec![b"counter"];
        parts.extend_from_slice(name);
        Ok(short(phial_crypto::hmac_sha256(&keys.sessions, &parts)))
    }
}

pub(super) fn purge(db: &rusqlite::Connection, now: Timestamp) -> rusqlite::Result<usize> {
    db.execute("DELETE FROM counter WHERE kept <= ?1", [now.as_microsecond()])
}
