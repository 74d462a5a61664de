//! The keystore: every key below the root key, wrapped, in a file of its own.
//!
//! Tenant keys are wrapped under the root key, all other keys under their tenant's.
//! Keys of patients are looked up by a keyed name, so the file holds no logical id,
//! and by a random handle, which is all that a record's locator tells.
//!
//! Table `key`, one row a key; what a row looks like (bytes shortened):
//!
//! | handle | tenant | kind | subject | version | created | live | wrapped |
//! |---|---|---|---|---|---|---|---|
//! | `9f02…` | 1 | 5 (patient) | `71c4…` HMAC of the logical id | 1 | µs | 1 | tenant-key version (4 bytes) ‖ wrap |
//! | `03aa…` | 1 | 7 (audit period) | `2026-11` and zeros | 1 | µs | 1 | … |
//! | `b1d7…` | 1 | 5 | `55e0…` | 1 | µs | 0 | zeros: destroyed |
//!
//! INVARIANT: a wrapped key lies in exactly one place. Rows are only appended (so
//! that SQLite never splits a leaf and leaves a copy behind) and never change size;
//! destroying a key overwrites it where it lies and then empties the write-ahead log.
//!
//! Refuses to answer from memory for longer than the lifetimes below: when the root
//! key or the keystore is gone, access ends (invariant 7).

mod destroy;
mod rotate;
mod rows;
mod tenant;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use moka::sync::Cache;
use phial_base::step::Step;
use phial_base::{Clock, KeyHandle, LogicalId, Rng, TenantId};
use phial_crypto::{KeyKind, KeyLabel, RootProvider, SecretKey, SigningKey};

pub use self::destroy::{Destroyed, Tombstone};
pub use self::rotate::Rotation;
use self::rows::{KeyRow, SINGLE, Subject};
use crate::durable;
use crate::error::Error;
use crate::open::{Db, Options, Schema, Slot, create_store, open_store};

/// How long tenant keys are held before the keystore and the root key are asked again.
pub const TENANT_KEYS_LIFE: SignedDuration = SignedDuration::from_secs(300);
/// How long keys of patients, joint keys and audit keys are held.
pub const RECORD_KEYS_LIFE: SignedDuration = SignedDuration::from_secs(60);
/// How many keys of records are held at most.
const HELD_KEYS: u64 = 20_000;

pub(crate) const SCHEMA: Schema =
    Schema { store: "keystore", page_size: 4096, migrations: &[rows::FORMAT_1] };

/// The kinds that a tenant has exactly one of.
const SINGLES: [KeyKind; 7] = [
    KeyKind::RowIds,
    KeyKind::Locator,
    KeyKind::Common,
    KeyKind::Control,
    KeyKind::Signing,
    KeyKind::Paging,
    KeyKind::Sessions,
];

/// A key with its name.
#[derive(Debug)]
pub struct HeldKey {
    /// Its random name.
    pub handle: KeyHandle,
    /// Its version, counted from 1.
    pub version: u32,
    /// The key.
    pub key: SecretKey,
}

/// A tenant's own keys, unwrapped.
#[derive(Debug)]
pub struct TenantKeys {
    /// The tenant.
    pub tenant: TenantId,
    /// Version of the tenant key, counted from 1.
    pub version: u32,
    /// Names rows and keystore subjects. Not rotated: names would change.
    pub row_ids: SecretKey,
    /// Seals locators.
    pub locator: SecretKey,
    /// Seals records about no patient.
    pub common: Arc<HeldKey>,
    /// Seals the control log.
    pub control: SecretKey,
    /// Seals paging tokens.
    pub paging: SecretKey,
    /// Seals what the sessions store holds.
    pub sessions: SecretKey,
    /// Seed of the key that signs audit checkpoints.
    pub signing: SecretKey,
    tenant_key: SecretKey,
    loaded: Timestamp,
}

impl TenantKeys {
    /// The key that signs audit checkpoints.
    ///
    /// # Errors
    /// [`Error::Crypto`] when the seed makes no key.
    pub fn signing_key(&self) -> Result<SigningKey, Error> {
        Ok(SigningKey::from_seed(&self.signing)?)
    }

    fn patient_subject(&self, patient: &LogicalId) -> Subject {
        phial_crypto::key_subject(&self.row_ids, "patient", &[patient.as_str().as_bytes()])
    }

    fn spool_subject(&self, job: &str) -> Subject {
        phial_crypto::key_subject(&self.row_ids, "spool", &[job.as_bytes()])
    }

    fn joint_subject(&self, patients: &[LogicalId]) -> Subject {
        let parts: Vec<&[u8]> = patients.iter().map(|p| p.as_str().as_bytes()).collect();
        phial_crypto::key_subject(&self.row_ids, "joint", &parts)
    }
}

/// A key in the cache, with what must still hold when it is found there.
struct Entry {
    tenant: TenantId,
    kind: KeyKind,
    loaded: Timestamp,
    held: Arc<HeldKey>,
}

/// What a piece of work under the tenant's keys came to.
enum Outcome<R> {
    Done(R),
    /// The rows are wrapped under another version of the tenant key than was held.
    StaleKeys,
}

/// The keystore of all tenants of a home.
pub struct Keystore {
    root: RwLock<Arc<dyn RootProvider>>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    slot: Mutex<Slot>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantKeys>>>,
    by_handle: Cache<KeyHandle, Arc<Entry>>,
    by_subject: Cache<(TenantId, u8, Subject), Arc<Entry>>,
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keystore(..)")
    }
}

fn fresh(loaded: Timestamp, now: Timestamp, life: SignedDuration) -> bool {
    // A clock that was set back must not lengthen a life.
    let age = now.duration_since(loaded);
    !age.is_negative() && age < life
}

impl Keystore {
    /// Makes a keystore file, or opens one that was made under the same root key.
    ///
    /// # Errors
    /// [`Error::OtherRootKey`] when the file belongs to another root key;
    /// [`Error::Unavailable`] when it can't be written.
    pub fn create(
        path: &Path,
        root: Arc<dyn RootProvider>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let db = create_store(path, options, &SCHEMA)?;
        rows::claim_root(&db, &root.key_id())?;
        Ok(Self::over(path, db, root, clock, rng, options))
    }

    /// Opens an existing keystore.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file is missing, [`Error::OtherRootKey`] when
    /// it belongs to another root key, [`Error::Format`] when it is of an unknown form.
    pub fn open(
        path: &Path,
        root: Arc<dyn RootProvider>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let db = open_store(path, options, &SCHEMA)?;
        if rows::root_of(&db)?.as_deref() != Some(root.key_id().as_str()) {
            return Err(Error::OtherRootKey);
        }
        // A destruction that was cut short by a crash may have left old pages in the log.
        durable::scrub(Step::KeysScrub, &db)?;
        Ok(Self::over(path, db, root, clock, rng, options))
    }

    fn over(
        path: &Path,
        db: Db,
        root: Arc<dyn RootProvider>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Self {
        // The injected clock decides; the cache's own clock only clears up.
        let life = Duration::from_secs(RECORD_KEYS_LIFE.as_secs().unsigned_abs());
        Keystore {
            root: RwLock::new(root),
            clock,
            rng,
            slot: Mutex::new(Slot::new(path, options, SCHEMA, db)),
            tenants: RwLock::new(HashMap::new()),
            by_handle: Cache::builder().max_capacity(HELD_KEYS).time_to_live(life).build(),
            by_subject: Cache::builder().max_capacity(HELD_KEYS).time_to_live(life).build(),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> Arc<dyn RootProvider> {
        Arc::clone(&self.root.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_us(&self) -> i64 {
        self.clock.now().as_microsecond()
    }

    fn handle(&self) -> KeyHandle {
        let mut bytes = [0u8; 16];
        self.rng.fill(&mut bytes);
        KeyHandle(bytes)
    }

    /// Makes a random key and its row.
    #[expect(clippy::too_many_arguments, reason = "each is one column of the row")]
    fn insert_new(
        &self,
        conn: &rusqlite::Connection,
        tenant_row: i64,
        tenant: &TenantId,
        tenant_key: &SecretKey,
        tenant_version: u32,
        kind: KeyKind,
        subject: &Subject,
        created: i64,
    ) -> Result<(i64, HeldKey), Error> {
        let key = SecretKey::random(self.rng.as_ref());
        let label = KeyLabel { tenant: tenant.clone(), kind, handle: self.handle(), version: 1 };
        let wrapped = phial_crypto::wrap(tenant_key, &label, &key, self.rng.as_ref());
        let id =
            rows::insert(conn, tenant_row, &label, subject, tenant_version, &wrapped, created)?;
        Ok((id, HeldKey { handle: label.handle, version: 1, key }))
    }

    /// The tenant's own keys. Held for at most [`TENANT_KEYS_LIFE`].
    ///
    /// # Errors
    /// [`Error::NoTenant`]; [`Error::Unavailable`] when the keystore or the root key
    /// is gone.
    pub fn tenant_keys(&self, tenant: &TenantId) -> Result<Arc<TenantKeys>, Error> {
        let now = self.clock.now();
        {
            let held = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(keys) = held.get(tenant)
                && fresh(keys.loaded, now, TENANT_KEYS_LIFE)
            {
                return Ok(Arc::clone(keys));
            }
        }
        let loaded = self.load_tenant(tenant, now);
        let mut held = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(keys) => {
                let keys = Arc::new(keys);
                held.insert(tenant.clone(), Arc::clone(&keys));
                Ok(keys)
            }
            Err(e) => {
                held.remove(tenant);
                Err(e)
            }
        }
    }

    fn load_tenant(&self, tenant: &TenantId, now: Timestamp) -> Result<TenantKeys, Error> {
        let root = self.root();
        self.slot().with(|db| {
            // One read transaction: a rotation elsewhere must not fall in between.
            let tx = db.transaction()?;
            let (id, version) = rows::tenant(&tx, tenant)?.ok_or(Error::NoTenant)?;
            let tenant_key = rows::open_tenant_key(&tx, id, tenant, version, root.as_ref())?;
            let open = |kind: KeyKind| -> Result<HeldKey, Error> {
                let row = rows::by_subject(&tx, id, kind, &SINGLE)?
                    .ok_or(Error::Corrupt("a tenant's key is missing"))?;
                open_row(tenant, &tenant_key, version, kind, &row)?
                    .ok_or(Error::Corrupt("a tenant's key is of another tenant-key version"))
            };
            Ok(TenantKeys {
                tenant: tenant.clone(),
                version,
                row_ids: open(KeyKind::RowIds)?.key,
                locator: open(KeyKind::Locator)?.key,
                common: Arc::new(open(KeyKind::Common)?),
                control: open(KeyKind::Control)?.key,
                paging: open(KeyKind::Paging)?.key,
                sessions: open(KeyKind::Sessions)?.key,
                signing: open(KeyKind::Signing)?.key,
                tenant_key,
                loaded: now,
            })
        })
    }

    /// Runs `work` with the tenant's keys and the open file; once more with fresh keys
    /// when another process rotated the tenant key meanwhile.
    fn with_keys<R>(
        &self,
        tenant: &TenantId,
        mut work: impl FnMut(&mut Db, &TenantKeys) -> Result<Outcome<R>, Error>,
    ) -> Result<R, Error> {
        for _ in 0..3 {
            let keys = self.tenant_keys(tenant)?;
            if let Outcome::Done(done) = self.slot().with(|db| work(db, &keys))? {
                return Ok(done);
            }
            self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        }
        Err(Error::Corrupt("a key is wrapped under a tenant key that is not the current one"))
    }

    fn cached(&self, tenant: &TenantId, kind: KeyKind, subject: &Subject) -> Option<Arc<HeldKey>> {
        let entry = self.by_subject.get(&(tenant.clone(), kind as u8, *subject))?;
        fresh(entry.loaded, self.clock.now(), RECORD_KEYS_LIFE).then(|| Arc::clone(&entry.held))
    }

    fn hold(
        &self,
        tenant: &TenantId,
        kind: KeyKind,
        subject: &Subject,
        held: HeldKey,
        loaded: Timestamp,
    ) -> Arc<HeldKey> {
        let held = Arc::new(held);
        let entry =
            Arc::new(Entry { tenant: tenant.clone(), kind, loaded, held: Arc::clone(&held) });
        self.by_handle.insert(held.handle, Arc::clone(&entry));
        self.by_subject.insert((tenant.clone(), kind as u8, *subject), entry);
        held
    }

    /// Forgets every key held for the tenant.
    fn forget(&self, tenant: &TenantId) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(tenant);
        self.by_handle.invalidate_all();
        self.by_subject.invalidate_all();
        self.by_handle.run_pending_tasks();
        self.by_subject.run_pending_tasks();
    }

    /// The key of this kind and subject, if there is one.
    fn lookup(
        &self,
        tenant: &TenantId,
        kind: KeyKind,
        subject: &Subject,
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        if let Some(held) = self.cached(tenant, kind, subject) {
            return Ok(Some(held));
        }
        let now = self.clock.now();
        let found = self.with_keys(tenant, |db, keys| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            let Some(row) = rows::by_subject(db, id, kind, subject)? else {
                return Ok(Outcome::Done(None));
            };
            Ok(match open_row(tenant, &keys.tenant_key, keys.version, kind, &row)? {
                Some(held) => Outcome::Done(Some(held)),
                None => Outcome::StaleKeys,
            })
        })?;
        Ok(found.map(|held| self.hold(tenant, kind, subject, held, now)))
    }

    /// The keys of these kinds and subjects; those that don't exist are made, all in
    /// one transaction. Of two processes or threads that make the same key, one does
    /// and both get it.
    fn ensure(
        &self,
        tenant: &TenantId,
        wanted: &[(KeyKind, Subject)],
        members: Option<&[Subject]>,
    ) -> Result<Vec<Arc<HeldKey>>, Error> {
        let cached: Option<Vec<_>> =
            wanted.iter().map(|(kind, subject)| self.cached(tenant, *kind, subject)).collect();
        if let Some(all) = cached {
            return Ok(all);
        }
        let now = self.clock.now();
        let found = self.with_keys(tenant, |db, keys| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            if let Some(done) = read_all(db, id, keys, wanted)? {
                return Ok(done);
            }
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (id, version) = rows::tenant(&tx, tenant)?.ok_or(Error::NoTenant)?;
            if version != keys.version {
                return Ok(Outcome::StaleKeys);
            }
            let mut out = Vec::with_capacity(wanted.len());
            for (kind, subject) in wanted {
                if let Some(row) = rows::by_subject(&tx, id, *kind, subject)? {
                    match open_row(tenant, &keys.tenant_key, version, *kind, &row)? {
                        Some(held) => out.push(held),
                        None => return Ok(Outcome::StaleKeys),
                    }
                    continue;
                }
                let (row, held) = self.insert_new(
                    &tx,
                    id,
                    tenant,
                    &keys.tenant_key,
                    version,
                    *kind,
                    subject,
                    now.as_microsecond(),
                )?;
                if *kind == KeyKind::Joint {
                    rows::insert_members(&tx, row, members.unwrap_or_default())?;
                }
                out.push(held);
            }
            durable::commit(Step::KeysNew, tx)?;
            Ok(Outcome::Done(out))
        })?;
        Ok(found
            .into_iter()
            .zip(wanted)
            .map(|(held, (kind, subject))| self.hold(tenant, *kind, subject, held, now))
            .collect())
    }

    /// The patient's key; `None` when the patient was never referred to, or the key
    /// was destroyed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had.
    pub fn patient_key(
        &self,
        tenant: &TenantId,
        patient: &LogicalId,
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        let subject = self.tenant_keys(tenant)?.patient_subject(patient);
        self.lookup(tenant, KeyKind::Patient, &subject)
    }

    /// The patients' keys, in the order given. New ones are made in one transaction,
    /// each together with its audit key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had or stored.
    pub fn ensure_patient_keys(
        &self,
        tenant: &TenantId,
        patients: &[LogicalId],
    ) -> Result<Vec<Arc<HeldKey>>, Error> {
        let keys = self.tenant_keys(tenant)?;
        let subjects: Vec<Subject> = patients.iter().map(|p| keys.patient_subject(p)).collect();
        let cached: Option<Vec<_>> =
            subjects.iter().map(|s| self.cached(tenant, KeyKind::Patient, s)).collect();
        if let Some(all) = cached {
            return Ok(all);
        }
        let wanted: Vec<(KeyKind, Subject)> = subjects
            .iter()
            .flat_map(|s| [(KeyKind::Patient, *s), (KeyKind::AuditPatient, *s)])
            .collect();
        Ok(self.ensure(tenant, &wanted, None)?.into_iter().step_by(2).collect())
    }

    /// The key under which a record about these patients is sealed: the tenant's
    /// common key for none, the patient's own for one, the joint key of the set for
    /// several. Made when it does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had or stored.
    pub fn record_key(
        &self,
        tenant: &TenantId,
        patients: &[LogicalId],
    ) -> Result<Arc<HeldKey>, Error> {
        let mut set: Vec<LogicalId> = patients.to_vec();
        set.sort_unstable();
        set.dedup();
        match set.as_slice() {
            [] => Ok(Arc::clone(&self.tenant_keys(tenant)?.common)),
            [_] => self
                .ensure_patient_keys(tenant, &set)?
                .pop()
                .ok_or(Error::Corrupt("a key that was made is missing")),
            several => {
                let keys = self.tenant_keys(tenant)?;
                let joint = keys.joint_subject(several);
                if let Some(held) = self.cached(tenant, KeyKind::Joint, &joint) {
                    return Ok(held);
                }
                // Each member's own key exists as well, so that destroying it finds the set.
                self.ensure_patient_keys(tenant, several)?;
                let members: Vec<Subject> =
                    several.iter().map(|p| keys.patient_subject(p)).collect();
                self.ensure(tenant, &[(KeyKind::Joint, joint)], Some(&members))?
                    .pop()
                    .ok_or(Error::Corrupt("a key that was made is missing"))
            }
        }
    }

    /// The key that a record's locator names; `None` when it was destroyed or is not a
    /// record key of this tenant. Held for at most [`RECORD_KEYS_LIFE`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had.
    pub fn by_handle(
        &self,
        tenant: &TenantId,
        handle: KeyHandle,
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        self.handle_of_kinds(tenant, handle, &[KeyKind::Patient, KeyKind::Joint, KeyKind::Common])
    }

    /// The audit key (of a period or of a patient) with this handle.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had.
    pub fn audit_key_by_handle(
        &self,
        tenant: &TenantId,
        handle: KeyHandle,
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        self.handle_of_kinds(tenant, handle, &[KeyKind::AuditPeriod, KeyKind::AuditPatient])
    }

    fn handle_of_kinds(
        &self,
        tenant: &TenantId,
        handle: KeyHandle,
        kinds: &[KeyKind],
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        let now = self.clock.now();
        if let Some(entry) = self.by_handle.get(&handle)
            && fresh(entry.loaded, now, RECORD_KEYS_LIFE)
        {
            let right = entry.tenant == *tenant && kinds.contains(&entry.kind);
            return Ok(right.then(|| Arc::clone(&entry.held)));
        }
        let found = self.with_keys(tenant, |db, keys| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            let Some((kind, row)) = rows::by_handle(db, id, handle)? else {
                return Ok(Outcome::Done(None));
            };
            let Some(kind) = kinds.iter().copied().find(|k| *k as u8 == kind) else {
                return Ok(Outcome::Done(None));
            };
            let subject = row.subject;
            Ok(match open_row(tenant, &keys.tenant_key, keys.version, kind, &row)? {
                Some(held) => Outcome::Done(Some((kind, subject, held))),
                None => Outcome::StaleKeys,
            })
        })?;
        Ok(found.map(|(kind, subject, held)| self.hold(tenant, kind, &subject, held, now)))
    }

    /// The key of the audit period that `now` falls in: a calendar month, UTC.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had or stored.
    pub fn audit_period_key(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Arc<HeldKey>, Error> {
        self.ensure(tenant, &[(KeyKind::AuditPeriod, period_subject(now))], None)?
            .pop()
            .ok_or(Error::Corrupt("a key that was made is missing"))
    }

    /// The patient's audit key, which outlives the patient's data key. Made when it
    /// does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had or stored.
    pub fn audit_patient_key(
        &self,
        tenant: &TenantId,
        patient: &LogicalId,
    ) -> Result<Arc<HeldKey>, Error> {
        let subject = self.tenant_keys(tenant)?.patient_subject(patient);
        self.ensure(tenant, &[(KeyKind::AuditPatient, subject)], None)?
            .pop()
            .ok_or(Error::Corrupt("a key that was made is missing"))
    }

    /// The key of a job's files, made when it does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had or stored.
    pub fn spool_key(&self, tenant: &TenantId, job: &str) -> Result<Arc<HeldKey>, Error> {
        let subject = self.tenant_keys(tenant)?.spool_subject(job);
        self.ensure(tenant, &[(KeyKind::Spool, subject)], None)?
            .pop()
            .ok_or(Error::Corrupt("a key that was made is missing"))
    }

    /// The key of a job's files; `None` when there is none or it was destroyed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had.
    pub fn spool_key_if_there(
        &self,
        tenant: &TenantId,
        job: &str,
    ) -> Result<Option<Arc<HeldKey>>, Error> {
        let subject = self.tenant_keys(tenant)?.spool_subject(job);
        self.lookup(tenant, KeyKind::Spool, &subject)
    }

    /// The page key of an index generation, made when it does not exist. Never cached.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the generation was retired.
    pub fn index_key(&self, tenant: &TenantId, generation: u64) -> Result<SecretKey, Error> {
        let subject = generation_subject(generation);
        let created = self.now_us();
        self.with_keys(tenant, |db, keys| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (id, version) = rows::tenant(&tx, tenant)?.ok_or(Error::NoTenant)?;
            if version != keys.version {
                return Ok(Outcome::StaleKeys);
            }
            let kind = KeyKind::IndexPages;
            if let Some(row) = rows::by_subject(&tx, id, kind, &subject)? {
                return Ok(match open_row(tenant, &keys.tenant_key, version, kind, &row)? {
                    Some(held) => Outcome::Done(held.key),
                    None => Outcome::StaleKeys,
                });
            }
            if rows::newest(&tx, id, kind)?.is_some_and(|(newest, _)| newest >= subject) {
                return Err(Error::Invalid("this index generation was retired"));
            }
            let (_, held) = self.insert_new(
                &tx,
                id,
                tenant,
                &keys.tenant_key,
                version,
                kind,
                &subject,
                created,
            )?;
            durable::commit(Step::KeysIndex, tx)?;
            Ok(Outcome::Done(held.key))
        })
    }

    /// The index generation to use: the newest whose key lives, or the one after the
    /// newest that was retired; 1 at first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the keystore can't be read.
    pub fn index_generation(&self, tenant: &TenantId) -> Result<u64, Error> {
        self.slot().with(|db| {
            let (id, _) = rows::tenant(db, tenant)?.ok_or(Error::NoTenant)?;
            Ok(match rows::newest(db, id, KeyKind::IndexPages)? {
                None => 1,
                Some((subject, true)) => generation_of(&subject),
                Some((subject, false)) => generation_of(&subject).saturating_add(1),
            })
        })
    }
}

/// Opens a row's key. `None` when it is wrapped under another tenant-key version.
fn open_row(
    tenant: &TenantId,
    tenant_key: &SecretKey,
    tenant_version: u32,
    kind: KeyKind,
    row: &KeyRow,
) -> Result<Option<HeldKey>, Error> {
    if row.tenant_version != tenant_version {
        return Ok(None);
    }
    let label = KeyLabel { tenant: tenant.clone(), kind, handle: row.handle, version: row.version };
    let key = phial_crypto::unwrap(tenant_key, &label, &row.wrapped)
        .map_err(|_| Error::Corrupt("a wrapped key does not open"))?;
    Ok(Some(HeldKey { handle: row.handle, version: row.version, key }))
}

/// All of the wanted keys, or `None` when at least one does not exist yet.
fn read_all(
    db: &Db,
    tenant_row: i64,
    keys: &TenantKeys,
    wanted: &[(KeyKind, Subject)],
) -> Result<Option<Outcome<Vec<HeldKey>>>, Error> {
    let mut out = Vec::with_capacity(wanted.len());
    for (kind, subject) in wanted {
        let Some(row) = rows::by_subject(db, tenant_row, *kind, subject)? else {
            return Ok(None);
        };
        match open_row(&keys.tenant, &keys.tenant_key, keys.version, *kind, &row)? {
            Some(held) => out.push(held),
            None => return Ok(Some(Outcome::StaleKeys)),
        }
    }
    Ok(Some(Outcome::Done(out)))
}

/// `YYYY-MM` and zeros.
fn period_subject(at: Timestamp) -> Subject {
    padded(at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m").to_string().as_bytes())
}

/// The generation, big-endian, and zeros: sorts as the number does.
fn generation_subject(generation: u64) -> Subject {
    padded(&generation.to_be_bytes())
}

fn generation_of(subject: &Subject) -> u64 {
    subject.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

fn padded(bytes: &[u8]) -> Subject {
    let mut subject = SINGLE;
    for (to, from) in subject.iter_mut().zip(bytes) {
        *to = *from;
    }
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_calendar_month_in_utc() {
        let at: Timestamp = "2026-11-30T23:59:59Z".parse().unwrap();
        assert_eq!(&period_subject(at)[..8], b"2026-11\0");
        let next: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        assert_eq!(&period_subject(next)[..7], b"2026-12");
    }

    #[test]
    fn generations_sort_as_numbers() {
        assert!(generation_subject(255) < generation_subject(256));
        assert_eq!(generation_of(&generation_subject(70_000)), 70_000);
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_a_life() {
        let at: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let life = RECORD_KEYS_LIFE;
        assert!(fresh(at, at, life));
        assert!(!fresh(at, at + life, life));
        assert!(!fresh(at, at - SignedDuration::from_secs(1), life));
    }
}
