//! The control log: accounts, roles, grants and other records of our own, one log
//! a tenant (design §4).
//!
//! It owns `data/{tenant}/control.db`: append-only versions, each sealed under the
//! tenant's control key with the hash of the row before it, under names that say
//! nothing without that key. All of it is held in memory; every look first asks
//! SQLite whether another process wrote, so a change holds at once everywhere. It
//! refuses a row that is missing, moved or altered, and a write that builds on
//! another version than the current one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phial_base::step::Step;
use phial_base::{Rng, RowId, TenantId, Version};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::durable;
use crate::error::Error;
use crate::home::Home;
use crate::keystore::Keystore;
use crate::open::{Db, Glance, Options, Schema, Slot, create_store, open_read_only, open_store};

/// `entry`: one row a version. `n` counts from 1 without gaps, `name` is the HMAC of
/// kind and name, 16 bytes, and `sealed` holds [`Content`].
const SCHEMA: Schema = Schema {
    store: "control",
    page_size: 4096,
    migrations: &["CREATE TABLE entry(
        n INTEGER PRIMARY KEY,
        name BLOB NOT NULL CHECK(length(name) = 16),
        version INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE(name, version)
    );"],
};

/// Sealed texts are padded to a multiple of this, so that lengths say little.
const PAD: usize = 256;

/// What is sealed. Names are part of the format: only append.
#[derive(Serialize, Deserialize)]
struct Content {
    kind: String,
    name: String,
    /// SHA-256 of the row before, hexadecimal; zeros for the first.
    before: String,
    /// `null` when the record ends with this version.
    value: Value,
}

/// One record at one version.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is: `user`, `role`, ...
    pub kind: String,
    /// Its name within the kind.
    pub name: String,
    /// Counted from 1.
    pub version: Version,
    /// The content; `null` when the record was ended by this version.
    pub value: Value,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} v{})", self.kind, self.version)
    }
}

type Records = BTreeMap<String, BTreeMap<String, Record>>;

struct State {
    slot: Slot,
    records: Records,
    /// The last row of each kind.
    kinds: BTreeMap<String, u64>,
    /// The last row taken in and its hash.
    last: u64,
    hash: [u8; 32],
    data_version: Option<(i64, i64)>,
    /// As long as a glance equals this one, the records are those of the file.
    seen: Option<Glance>,
}

/// A tenant's control log.
pub struct ControlLog {
    tenant: TenantId,
    state: Mutex<State>,
    keystore: Arc<Keystore>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for ControlLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlLog({})", self.tenant)
    }
}

impl ControlLog {
    /// Makes the tenant's log, or opens the one that is there.
    ///
    /// # Errors
    /// [`Error`] when the file can't be made or does not read as it should.
    pub fn create(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::by(|p, o| create_store(p, o, &SCHEMA), home, tenant, keystore, rng, options)
    }

    /// Opens the tenant's log and reads all of it.
    ///
    /// # Errors
    /// [`Error`] when the file is missing or does not read as it should.
    pub fn open(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::by(|p, o| open_store(p, o, &SCHEMA), home, tenant, keystore, rng, options)
    }

    /// Opens the tenant's log for a look, and reads all of it; nothing can be written.
    ///
    /// # Errors
    /// As [`ControlLog::open`].
    pub fn look(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        Self::by(open_read_only, home, tenant, keystore, rng, options)
    }

    fn by(
        open: impl FnOnce(&Path, &Options) -> Result<Db, Error>,
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let path = home.control(tenant);
        let slot = Slot::new(&path, options, SCHEMA, open(&path, options)?);
        let state = State {
            slot,
            records: BTreeMap::new(),
            kinds: BTreeMap::new(),
            last: 0,
            hash: [0; 32],
            data_version: None,
            seen: None,
        };
        let log = ControlLog { tenant: tenant.clone(), state: Mutex::new(state), keystore, rng };
        log.refresh()?;
        Ok(log)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what other processes wrote. Cheap when they wrote nothing.
    ///
    /// # Errors
    /// [`Error`] when the store or the keys can't be had, or a row is not what was
    /// written: nothing may be decided on records that can't be trusted.
    pub fn refresh(&self) -> Result<(), Error> {
        self.fresh().map(|_| ())
    }

    fn fresh(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut guard = self.state();
        let State { slot, records, kinds, last, hash, data_version, seen } = &mut *guard;
        let glance = slot.glance();
        if glance.is_some() && glance == *seen {
            return Ok(guard);
        }
        let done = slot.with(|db| {
            let version = change_counter(db)?;
            if *data_version == Some(version) {
                return Ok(());
            }
            self.take_in(db, (records, kinds), last, hash)?;
            *data_version = Some(version);
            Ok(())
        });
        // Taken before the look, so that a commit during it shows at the next one.
        *seen = glance.filter(|_| done.is_ok());
        if done.is_err() {
            *data_version = None;
        }
        done?;
        Ok(guard)
    }

    fn take_in(
        &self,
        db: &Db,
        (records, kinds): (&mut Records, &mut BTreeMap<String, u64>),
        last: &mut u64,
        hash: &mut [u8; 32],
    ) -> Result<(), Error> {
        // The last row taken in must still be there as it was; otherwise the file
        // was exchanged for another one under the same name.
        let start = last.saturating_sub(1);
        let mut statement = db
            .prepare_cached("SELECT n, name, version, sealed FROM entry WHERE n > ?1 ORDER BY n")?;
        let mut rows = statement.query([i64::try_from(start).unwrap_or(i64::MAX)])?;
        let mut expected = start;
        while let Some(row) = rows.next()? {
            expected += 1;
            let raw = Raw {
                n: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                name: row.get(1)?,
                version: row.get(2)?,
                sealed: row.get(3)?,
            };
            if raw.n != expected {
                return Err(Error::Corrupt("a row of the control log is missing"));
            }
            if raw.n == *last {
                if raw.hash() != *hash {
                    return Err(Error::Corrupt("a row of the control log was exchanged"));
                }
                continue;
            }
            let (record, before) = self.open_row(&raw)?;
            if before != hex::encode(*hash) {
                return Err(Error::Corrupt("the control log's chain is broken"));
            }
            let of_kind = records.entry(record.kind.clone()).or_default();
            let current = of_kind.get(&record.name).map_or(Version(0), |r| r.version);
            if record.version != current.next() {
                return Err(Error::Corrupt("a version of the control log is missing"));
            }
            kinds.insert(record.kind.clone(), raw.n);
            of_kind.insert(record.name.clone(), record);
            *last = raw.n;
            *hash = raw.hash();
        }
        if expected < *last {
            return Err(Error::Corrupt("the control log was cut"));
        }
        Ok(())
    }

    fn open_row(&self, raw: &Raw) -> Result<(Record, String), Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let text = phial_crypto::open_small(
            &keys.control,
            &aad(&self.tenant, &raw.n.to_be_bytes(), &raw.name, &raw.version.to_be_bytes()),
            &raw.sealed,
        )?;
        let c: Content = serde_json::from_slice(&text)
            .map_err(|_| Error::Corrupt("a row of the control log"))?;
        if name_of(&keys.control, &c.kind, &c.name) != raw.name {
            return Err(Error::Corrupt("a row of the control log is under another name"));
        }
        let record =
            Record { kind: c.kind, name: c.name, version: Version(raw.version), value: c.value };
        Ok((record, c.before))
    }

    /// The current version of a record; `None` when there is none or it was ended.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Record>, Error> {
        let state = self.fresh()?;
        let found = state.records.get(kind).and_then(|k| k.get(name));
        Ok(found.filter(|r| !r.value.is_null()).cloned())
    }

    /// The current versions of all records of a kind that were not ended, by name.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn list(&self, kind: &str) -> Result<Vec<Record>, Error> {
        let state = self.fresh()?;
        let of_kind = state.records.get(kind).into_iter().flat_map(BTreeMap::values);
        Ok(of_kind.filter(|r| !r.value.is_null()).cloned().collect())
    }

    /// Every version of a record, oldest first.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn history(&self, kind: &str, name: &str) -> Result<Vec<Record>, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let opaque = name_of(&keys.control, kind, name);
        let raw = self.fresh()?.slot.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT n, name, version, sealed FROM entry WHERE name = ?1 ORDER BY version",
            )?;
            let rows = statement.query_map([opaque], |r| {
                Ok(Raw {
                    n: u64::try_from(r.get::<_, i64>(0)?).unwrap_or(0),
                    name: r.get(1)?,
                    version: r.get(2)?,
                    sealed: r.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        raw.iter().map(|r| self.open_row(r).map(|(record, _)| record)).collect()
    }

    /// How many versions the whole log holds. Whoever derives something from the log
    /// keeps it until this number changes.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn version(&self) -> Result<u64, Error> {
        Ok(self.fresh()?.last)
    }

    /// The place of the last version of any record of these kinds. Whoever derives
    /// something from them alone keeps it until this number changes.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn changed(&self, kinds: &[&str]) -> Result<u64, Error> {
        let state = self.fresh()?;
        Ok(kinds.iter().filter_map(|k| state.kinds.get(*k)).copied().max().unwrap_or(0))
    }

    /// SHA-256 over the whole log, by way of its chain; zeros when it is empty.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn head_hash(&self) -> Result<[u8; 32], Error> {
        Ok(self.fresh()?.hash)
    }

    /// Version and hash of the log as text, for the audit entry about a change:
    /// `verify` holds the log against the latest one.
    ///
    /// # Errors
    /// As [`ControlLog::refresh`].
    pub fn head(&self) -> Result<String, Error> {
        let state = self.fresh()?;
        Ok(format!("{} {}", state.last, hex::encode(state.hash)))
    }

    /// What SQLite finds wrong with the file; nothing when it is sound.
    ///
    /// # Errors
    /// [`Error`] when it can't be read.
    pub fn integrity(&self) -> Result<Vec<String>, Error> {
        self.state().slot.with(|db| crate::verify::integrity(db))
    }

    /// Appends a version durably. `expected` is the version it replaces; `None` when
    /// the record must be new or ended.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the current version is another one;
    /// [`Error::Invalid`] for a `null` value, which is what [`ControlLog::end`] is for.
    pub fn put(
        &self,
        kind: &str,
        name: &str,
        value: &Value,
        expected: Option<Version>,
    ) -> Result<Version, Error> {
        if value.is_null() {
            return Err(Error::Invalid("a control record can't be null"));
        }
        self.append(kind, name, value, expected)
    }

    /// Ends a record. Its history stays; its name may be used again.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the current version is not `expected`.
    pub fn end(&self, kind: &str, name: &str, expected: Version) -> Result<Version, Error> {
        self.append(kind, name, &Value::Null, Some(expected))
    }

    fn append(
        &self,
        kind: &str,
        name: &str,
        value: &Value,
        expected: Option<Version>,
    ) -> Result<Version, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let opaque = name_of(&keys.control, kind, name);
        let mut guard = self.state();
        let State { slot, records, kinds, last, hash, data_version, .. } = &mut *guard;
        let done = slot.with(|db| {
            // Holding the write lock, what is read here stays so until the commit.
            db.execute_batch("BEGIN IMMEDIATE")?;
            let written = (|| {
                self.take_in(db, (records, kinds), last, hash)?;
                let current = records.get(kind).and_then(|k| k.get(name));
                let live = current.filter(|r| !r.value.is_null()).map(|r| r.version);
                if live != expected {
                    return Err(Error::Conflict { row: RowId(opaque) });
                }
                let version = current.map_or(Version(0), |r| r.version).next();
                let content = Content {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    before: hex::encode(*hash),
                    value: value.clone(),
                };
                let mut text = serde_json::to_vec(&content)
                    .map_err(|_| Error::Invalid("a control record that can't be encoded"))?;
                text.resize(text.len().next_multiple_of(PAD), b' ');
                let text = Zeroizing::new(text);
                let n = *last + 1;
                let sealed = phial_crypto::seal_small(
                    &keys.control,
                    &aad(&self.tenant, &n.to_be_bytes(), &opaque, &version.0.to_be_bytes()),
                    &text,
                    self.rng.as_ref(),
                );
                let raw = Raw { n, name: opaque, version: version.0, sealed };
                db.prepare_cached("INSERT INTO entry VALUES(?1, ?2, ?3, ?4)")?.execute(params![
                    i64::try_from(n).map_err(|_| Error::Invalid("the control log is full"))?,
                    raw.name,
                    raw.version,
                    raw.sealed
                ])?;
                Ok(raw)
            })();
            match written {
                Ok(raw) => {
                    durable::commit_begun(Step::ControlAppend, db)?;
                    Ok(raw)
                }
                Err(e) => {
                    // The first error is the one to report; a handle that can't even
                    // roll back is closed by the slot or rolled back at its next use.
                    let _ = db.execute_batch("ROLLBACK");
                    Err(e)
                }
            }
        });
        let raw = match done {
            Ok(raw) => raw,
            Err(e) => {
                *data_version = None;
                return Err(e);
            }
        };
        let version = Version(raw.version);
        kinds.insert(kind.to_owned(), raw.n);
        records.entry(kind.to_owned()).or_default().insert(
            name.to_owned(),
            Record { kind: kind.to_owned(), name: name.to_owned(), version, value: value.clone() },
        );
        *last = raw.n;
        *hash = raw.hash();
        Ok(version)
    }
}

/// A number that changes when another connection committed, and when this handle is
/// not the one that was asked before: `data_version` says the former but starts at the
/// same number on every connection, so the connection's own temporary schema, which is
/// in memory, keeps a mark of the latter.
pub(crate) fn change_counter(db: &rusqlite::Connection) -> Result<(i64, i64), Error> {
    static HANDLES: AtomicI64 = AtomicI64::new(1);
    let mark: i64 = db.prepare_cached("PRAGMA temp.user_version")?.query_row([], |r| r.get(0))?;
    let mark = if mark == 0 {
        let mark = HANDLES.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff | 1 << 29;
        db.execute_batch(&format!("PRAGMA temp.user_version = {mark}"))?;
        mark
    } else {
        mark
    };
    let version = db.prepare_cached("PRAGMA data_version")?.query_row([], |r| r.get(0))?;
    Ok((mark, version))
}

struct Raw {
    n: u64,
    name: [u8; 16],
    version: u32,
    sealed: Vec<u8>,
}

impl Raw {
    fn hash(&self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(28 + self.sealed.len());
        bytes.extend_from_slice(&self.n.to_be_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&self.sealed);
        phial_crypto::sha256(&bytes)
    }
}

fn name_of(key: &phial_crypto::SecretKey, kind: &str, name: &str) -> [u8; 16] {
    let mac = phial_crypto::hmac_sha256(key, &[b"control name", kind.as_bytes(), name.as_bytes()]);
    let mut out = [0u8; 16];
    for (to, from) in out.iter_mut().zip(mac) {
        *to = from;
    }
    out
}

fn aad<'a>(
    tenant: &'a TenantId,
    n: &'a [u8; 8],
    name: &'a [u8; 16],
    version: &'a [u8; 4],
) -> [&'a [u8]; 5] {
    [b"control", tenant.as_str().as_bytes(), n, name, version]
}
