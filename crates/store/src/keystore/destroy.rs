//! Destroying keys: of a patient, of a joint set, of an audit period, of an index
//! generation. What was sealed under them is gone wherever it was copied to, except
//! for someone who holds an older copy of the keystore together with the root key;
//! the certificate says until when such copies exist.
//!
//! Refuses to call a destruction complete while old pages lie in the write-ahead log.

use jiff::{SignedDuration, Timestamp};
use phial_base::step::Step;
use phial_base::{KeyHandle, LogicalId, TenantId};
use phial_crypto::KeyKind;
use rusqlite::{Connection, params};

use super::rows::{self, KeyRow, Subject};
use super::{Keystore, generation_subject, padded};
use crate::durable;
use crate::error::Error;

/// What was destroyed: the content of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// The keys destroyed, now or by an earlier call. Empty when there never were any.
    pub handles: Vec<KeyHandle>,
    /// Joint keys that the patient shares with others. They still live: rewrite the
    /// records under them without the patient, then [`Keystore::destroy_joint`] each.
    pub joint_handles: Vec<KeyHandle>,
    /// When; of several, the latest.
    pub at: Timestamp,
    /// Until then at the latest, an older copy of the keystore together with the root
    /// key still opens what was sealed under these keys.
    pub copies_until: Timestamp,
    /// Whether no file of the keystore holds the wrapped keys any more. When false,
    /// another process was reading; [`Keystore::scrub`] finishes the work.
    pub scrubbed: bool,
}

/// A destroyed key, to be destroyed again in a keystore restored from an older copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The tenant whose key it was.
    pub tenant: TenantId,
    /// The key.
    pub handle: KeyHandle,
    /// When it was destroyed.
    pub at: Timestamp,
    /// When the last older copy of the keystore expires.
    pub copies_until: Timestamp,
}

fn at_us(us: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(us).map_err(|_| Error::Corrupt("a time is out of range"))
}

/// Erases the key and leaves a tombstone, inside the caller's transaction.
fn destroy_row(
    conn: &Connection,
    tenant_row: i64,
    kind: KeyKind,
    row: &KeyRow,
    at: Timestamp,
    copies_until: Timestamp,
) -> Result<(), Error> {
    rows::erase(conn, row)?;
    conn.prepare_cached(
        "INSERT INTO tombstone(handle, tenant, kind, subject, destroyed_at, copies_until)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        row.handle.0,
        tenant_row,
        kind as u8,
        row.subject,
        at.as_microsecond(),
        copies_until.as_microsecond()
    ])?;
    Ok(())
}

/// Erases the page keys of the index generations up to `last`.
fn erase_index_keys(conn: &Connection, tenant_row: i64, last: &Subject) -> Result<(), Error> {
    let subjects = {
        let mut statement = conn.prepare_cached(
            "SELECT subject FROM key WHERE tenant=?1 AND kind=?2 AND live=1 AND subject<=?3",
        )?;
        statement
            .query_map(params![tenant_row, KeyKind::IndexPages as u8, last], |r| {
                r.get::<_, Subject>(0)
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?
    };
    for subject in subjects {
        if let Some(row) = rows::by_subject(conn, tenant_row, KeyKind::IndexPages, &subject)? {
            rows::erase(conn, &row)?;
        }
    }
    Ok(())
}

impl Keystore {
    /// Destroys the patient's data key. The patient's audit key stays until audit
    /// retention ends. A second call gives the same certificate.
    /// `copy_retention` is how long copies of the keystore are kept by configuration.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn destroy_patient(
        &self,
        tenant: &TenantId,
        patient: &LogicalId,
        copy_retention: SignedDuration,
    ) -> Result<Destroyed, Error> {
        let subject = self.tenant_keys(tenant)?.patient_subject(patient);
        self.destroy(tenant, KeyKind::Patient, &subject, copy_retention)
    }

    /// The patient's keys that were destroyed, oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be read.
    pub fn destroyed_handles(
        &self,
        tenant: &TenantId,
        patient: &LogicalId,
    ) -> Result<Vec<KeyHandle>, Error> {
        let subject = self.tenant_keys(tenant)?.patient_subject(patient);
        self.slot().with(|db| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            let mut statement = db.prepare_cached(
                "SELECT k.handle FROM key k JOIN tombstone t ON t.handle = k.handle
                 WHERE k.tenant=?1 AND k.kind=?2 AND k.subject=?3 AND k.live=0 ORDER BY k.id",
            )?;
            let found = statement
                .query_map(params![id, KeyKind::Patient as u8, subject], |r| {
                    r.get(0).map(KeyHandle)
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(found)
        })
    }

    /// The live joint keys of sets that the patient belongs to.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be read.
    pub fn joint_handles(
        &self,
        tenant: &TenantId,
        patient: &LogicalId,
    ) -> Result<Vec<KeyHandle>, Error> {
        let subject = self.tenant_keys(tenant)?.patient_subject(patient);
        self.slot().with(|db| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            rows::joints_of(db, id, &subject)
        })
    }

    /// Destroys one joint key. Whatever is still sealed under it is lost for all its
    /// patients. Without effect on any other kind of key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn destroy_joint(
        &self,
        tenant: &TenantId,
        handle: KeyHandle,
        copy_retention: SignedDuration,
    ) -> Result<Destroyed, Error> {
        let found = self.slot().with(|db| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            Ok(db
                .prepare_cached(
                    "SELECT subject FROM key WHERE handle=?1 AND tenant=?2 AND kind=?3",
                )?
                .query_map(params![handle.0, id, KeyKind::Joint as u8], |r| r.get::<_, Subject>(0))?
                .next()
                .transpose()?)
        })?;
        match found {
            Some(subject) => self.destroy(tenant, KeyKind::Joint, &subject, copy_retention),
            None => Err(Error::Invalid("not a joint key of this tenant")),
        }
    }

    /// Destroys the key of an audit period, `YYYY-MM`, whose retention has ended.
    ///
    /// # Errors
    /// [`Error::Invalid`] for text of another form; [`Error::Unavailable`] when the
    /// keystore can't be written.
    pub fn destroy_audit_period(
        &self,
        tenant: &TenantId,
        period: &str,
        copy_retention: SignedDuration,
    ) -> Result<Destroyed, Error> {
        let shaped = period.len() == 7
            && period.bytes().enumerate().all(|(i, b)| match i {
                4 => b == b'-',
                _ => b.is_ascii_digit(),
            });
        if !shaped {
            return Err(Error::Invalid("an audit period is written YYYY-MM"));
        }
        self.destroy(tenant, KeyKind::AuditPeriod, &padded(period.as_bytes()), copy_retention)
    }

    /// Destroys a patient's audit key, when audit retention has ended.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn destroy_audit_patient(
        &self,
        tenant: &TenantId,
        patient: &LogicalId,
        copy_retention: SignedDuration,
    ) -> Result<Destroyed, Error> {
        let subject = self.tenant_keys(tenant)?.patient_subject(patient);
        self.destroy(tenant, KeyKind::AuditPatient, &subject, copy_retention)
    }

    /// Destroys the key of a job's files. What was sealed under it is gone, also for
    /// keys that are held.
    ///
    /// # Errors
    /// As [`Keystore::destroy_patient`].
    pub fn destroy_spool(
        &self,
        tenant: &TenantId,
        job: &str,
        copy_retention: SignedDuration,
    ) -> Result<Destroyed, Error> {
        let subject = self.tenant_keys(tenant)?.spool_subject(job);
        self.destroy(tenant, KeyKind::Spool, &subject, copy_retention)
    }

    /// Destroys the page keys of this index generation and of all before it, so that
    /// old copies of those files can't be read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn retire_index_key(&self, tenant: &TenantId, generation: u64) -> Result<(), Error> {
        let last = generation_subject(generation);
        self.slot().with(|db| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (id, _) = rows::tenant(&tx, tenant)?.ok_or(Error::NoTenant)?;
            erase_index_keys(&tx, id, &last)?;
            durable::commit(Step::KeysRetire, tx)?;
            durable::scrub(Step::KeysScrub, db)?;
            Ok(())
        })
    }

    fn destroy(
        &self,
        tenant: &TenantId,
        kind: KeyKind,
        subject: &Subject,
        copy_retention: SignedDuration,
    ) -> Result<Destroyed, Error> {
        let at = self.clock.now();
        let copies_until =
            at.checked_add(copy_retention.max(SignedDuration::ZERO)).unwrap_or(Timestamp::MAX);
        let done = self.slot().with(|db| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (id, _) = rows::tenant(&tx, tenant)?.ok_or(Error::NoTenant)?;
            if let Some(row) = rows::by_subject(&tx, id, kind, subject)? {
                destroy_row(&tx, id, kind, &row, at, copies_until)?;
            }
            let (mut handles, mut latest, mut until) = (Vec::new(), None, None);
            {
                let mut statement = tx.prepare_cached(
                    "SELECT t.handle, t.destroyed_at, t.copies_until
                     FROM key k JOIN tombstone t ON t.handle = k.handle
                     WHERE k.tenant=?1 AND k.kind=?2 AND k.subject=?3 AND k.live=0 ORDER BY k.id",
                )?;
                let mut found = statement.query(params![id, kind as u8, subject])?;
                while let Some(r) = found.next()? {
                    handles.push(KeyHandle(r.get(0)?));
                    latest = latest.max(Some(r.get::<_, i64>(1)?));
                    until = until.max(Some(r.get::<_, i64>(2)?));
                }
            }
            let joint_handles = match kind {
                KeyKind::Patient => rows::joints_of(&tx, id, subject)?,
                _ => Vec::new(),
            };
            durable::commit(Step::KeysDestroy, tx)?;
            // A crash here leaves the old pages in the log; opening empties it.
            let scrubbed = durable::scrub(Step::KeysScrub, db)?;
            Ok(Destroyed {
                handles,
                joint_handles,
                at: latest.map_or(Ok(at), at_us)?,
                copies_until: until.map_or(Ok(at), at_us)?,
                scrubbed,
            })
        });
        // Even when the answer was an error, the commit may have been made.
        self.forget(tenant);
        done
    }

    /// Empties the write-ahead log, so that no file holds a destroyed key. False when
    /// another process's reader held it up.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn scrub(&self) -> Result<bool, Error> {
        self.slot().with(|db| durable::scrub(Step::KeysScrub, db))
    }

    /// All destroyed keys of the tenant with their certificates' data, oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be read.
    pub fn tombstones(&self, tenant: &TenantId) -> Result<Vec<Tombstone>, Error> {
        let found = self.slot().with(|db| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            let mut statement = db.prepare_cached(
                "SELECT handle, destroyed_at, copies_until FROM tombstone
                 WHERE tenant=?1 ORDER BY destroyed_at, handle",
            )?;
            Ok(statement
                .query_map([id], |r| Ok((KeyHandle(r.get(0)?), r.get(1)?, r.get(2)?)))?
                .collect::<rusqlite::Result<Vec<(KeyHandle, i64, i64)>>>()?)
        })?;
        found
            .into_iter()
            .map(|(handle, at, until)| {
                Ok(Tombstone {
                    tenant: tenant.clone(),
                    handle,
                    at: at_us(at)?,
                    copies_until: at_us(until)?,
                })
            })
            .collect()
    }

    /// Destroys again what a keystore restored from an older copy has back. To be
    /// done before the restored store serves anything. The tenant's index goes too, so that
    /// the next start deletes the rows. Returns how many keys lived.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be written.
    pub fn replay_tombstones(&self, tombstones: &[Tombstone]) -> Result<u64, Error> {
        let replayed = self.slot().with(|db| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let mut lived = 0;
            for t in tombstones {
                let Some((id, _)) = rows::tenant(&tx, &t.tenant)? else { continue };
                let Some((kind, row)) = rows::by_handle(&tx, id, t.handle)? else { continue };
                let destructible =
                    [KeyKind::Patient, KeyKind::Joint, KeyKind::AuditPeriod, KeyKind::AuditPatient];
                let kind = destructible
                    .into_iter()
                    .find(|k| *k as u8 == kind)
                    .ok_or(Error::Invalid("a tombstone names a key that can't be destroyed"))?;
                destroy_row(&tx, id, kind, &row, t.at, t.copies_until)?;
                // The index knew the patient. Without its key the next start begins a new
                // one, and then looks for rows to delete.
                erase_index_keys(&tx, id, &Subject::from([0xff; 16]))?;
                lived += 1;
            }
            durable::commit(Step::KeysReplay, tx)?;
            durable::scrub(Step::KeysScrub, db)?;
            Ok(lived)
        });
        for t in tombstones {
            self.forget(&t.tenant);
        }
        replayed
    }
}
