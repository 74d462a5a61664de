//! The outbox: how far each subscription has come, and the events that were numbered
//! for it. `data/{tenant}/outbox.db`.
//!
//! | table | a row is |
//! |---|---|
//! | `place` | one subscription: an opaque name, and sealed what the engine keeps of it |
//! | `event` | one numbered event of one subscription, sealed |
//!
//! Names are HMACs, so that the file does not tell which rows of the record log are
//! subscriptions. What is kept is replaced, not appended: it grows with subscriptions,
//! not with what they are told. It refuses to know what it keeps, and holds no value of
//! a record.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use phial_base::step::Step;
use phial_base::{Rng, RowId, TenantId};
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use crate::durable;
use crate::error::Error;
use crate::home::Home;
use crate::keystore::Keystore;
use crate::open::{Db, Options, Schema, Slot, create_store, open_read_only, open_store};

const SCHEMA: Schema = Schema {
    store: "outbox",
    page_size: 4096,
    migrations: &["CREATE TABLE place(
        name BLOB PRIMARY KEY CHECK(length(name) = 16),
        sealed BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE event(
        name BLOB NOT NULL CHECK(length(name) = 16),
        number INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY(name, number)
    ) WITHOUT ROWID;"],
};

/// The least that sealed texts are padded to; from there on to powers of two.
const PAD: usize = 256;

/// How many events of a subscription are kept after they were told.
pub const KEPT: u64 = 1000;

/// An event's number, and what was kept of it.
pub type Numbered = (u64, Zeroizing<Vec<u8>>);

/// A name, and what is sealed under it.
type Sealed = ([u8; 16], Vec<u8>);

/// A tenant's outbox.
pub struct Outbox {
    tenant: TenantId,
    slot: Mutex<Slot>,
    keystore: Arc<Keystore>,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({})", self.tenant)
    }
}

impl Outbox {
    /// Makes the tenant's outbox, or opens the one that is there. A home that was made
    /// before there was one gets it at its next start.
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
        let path = home.outbox(tenant);
        let db = create_store(&path, options, &SCHEMA)?;
        Ok(Self::over(&path, db, tenant, keystore, rng, options))
    }

    /// Opens the tenant's outbox.
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
        let path = home.outbox(tenant);
        let db = open_store(&path, options, &SCHEMA)?;
        Ok(Self::over(&path, db, tenant, keystore, rng, options))
    }

    fn over(
        path: &Path,
        db: Db,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Self {
        let slot = Mutex::new(Slot::new(path, options, SCHEMA, db));
        Outbox { tenant: tenant.clone(), slot, keystore, rng }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Db) -> Result<T, Error>) -> Result<T, Error> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).with(work)
    }

    fn name(&self, row: RowId) -> Result<[u8; 16], Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let mac = phial_crypto::hmac_sha256(&keys.control, &[b"outbox name", &row.0]);
        let mut out = [0u8; 16];
        for (to, from) in out.iter_mut().zip(mac) {
            *to = from;
        }
        Ok(out)
    }

    fn seal(&self, name: &[u8; 16], number: u64, text: &[u8]) -> Result<Vec<u8>, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        // The length stands before, and what follows it is padding.
        let length = u32::try_from(text.len()).map_err(|_| Error::Invalid("too long to keep"))?;
        let whole = (text.len() + 4).next_power_of_two().max(PAD);
        let mut padded = Zeroizing::new(Vec::with_capacity(whole));
        padded.extend_from_slice(&length.to_be_bytes());
        padded.extend_from_slice(text);
        padded.resize(whole, 0);
        Ok(phial_crypto::seal_small(
            &keys.control,
            &[b"outbox", self.tenant.as_str().as_bytes(), name, &number.to_be_bytes()],
            &padded,
            self.rng.as_ref(),
        ))
    }

    /// What is kept of every subscription, in no particular order.
    ///
    /// # Errors
    /// [`Error`] when the store or the keys can't be had, or a row was altered.
    pub fn places(&self) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
        let rows = self.with(|db| places_of(db))?;
        let unseal =
            |(name, sealed): &Sealed| unseal(&self.keystore, &self.tenant, name, 0, sealed);
        rows.iter().map(unseal).collect()
    }

    /// Keeps `place` of the subscription `row`, and `events`, which were numbered from
    /// `first` on: all or nothing. Events long told are dropped; with `anew`, all that
    /// there were.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nothing was kept, or nobody knows.
    pub fn keep(
        &self,
        row: RowId,
        place: &[u8],
        first: u64,
        events: &[Vec<u8>],
        anew: bool,
    ) -> Result<(), Error> {
        let name = self.name(row)?;
        let sealed = self.seal(&name, 0, place)?;
        let mut rows = Vec::with_capacity(events.len());
        for (number, event) in (first..).zip(events) {
            rows.push((number, self.seal(&name, number, event)?));
        }
        self.with(|db| {
            let tx = db.transaction()?;
            tx.prepare_cached("INSERT OR REPLACE INTO place VALUES(?1, ?2)")?
                .execute(params![name, sealed])?;
            if anew {
                tx.prepare_cached("DELETE FROM event WHERE name=?1")?.execute([name])?;
            }
            for (number, sealed) in &rows {
                let n = i64::try_from(*number).map_err(|_| Error::Invalid("too many events"))?;
                tx.prepare_cached("INSERT OR REPLACE INTO event VALUES(?1, ?2, ?3)")?
                    .execute(params![name, n, sealed])?;
            }
            if let Some((last, _)) = rows.last() {
                let old = i64::try_from(last.saturating_sub(KEPT)).unwrap_or(0);
                tx.prepare_cached("DELETE FROM event WHERE name=?1 AND number<=?2")?
                    .execute(params![name, old])?;
            }
            durable::commit(Step::OutboxKeep, tx)
        })
    }

    /// Forgets a subscription and its events.
    ///
    /// # Errors
    /// As [`Outbox::keep`].
    pub fn forget(&self, row: RowId) -> Result<(), Error> {
        let name = self.name(row)?;
        self.with(|db| {
            let tx = db.transaction()?;
            tx.prepare_cached("DELETE FROM place WHERE name=?1")?.execute([name])?;
            tx.prepare_cached("DELETE FROM event WHERE name=?1")?.execute([name])?;
            durable::commit(Step::OutboxForget, tx)
        })
    }

    /// The events of a subscription with numbers from `first` to `last`, with their
    /// numbers, at most `limit`.
    ///
    /// # Errors
    /// As [`Outbox::places`].
    pub fn events(
        &self,
        row: RowId,
        first: u64,
        last: u64,
        limit: u32,
    ) -> Result<Vec<Numbered>, Error> {
        let name = self.name(row)?;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let rows: Vec<(i64, Vec<u8>)> = self.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT number, sealed FROM event WHERE name=?1 AND number>=?2 AND number<=?3 \
                 ORDER BY number LIMIT ?4",
            )?;
            let rows = statement
                .query_map(params![name, number(first), number(last), limit], |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        rows.iter()
            .map(|(n, sealed)| {
                let n = u64::try_from(*n).map_err(|_| Error::Corrupt("a row of the outbox"))?;
                Ok((n, unseal(&self.keystore, &self.tenant, &name, n, sealed)?))
            })
            .collect()
    }

    /// What SQLite finds wrong with the file; nothing when it is sound.
    ///
    /// # Errors
    /// [`Error`] when it can't be read.
    pub fn integrity(&self) -> Result<Vec<String>, Error> {
        self.with(|db| crate::verify::integrity(db))
    }
}

/// As [`Outbox::places`], from outside, writing nothing; none when there is no outbox yet.
///
/// # Errors
/// As [`Outbox::places`].
pub fn look(
    home: &Home,
    tenant: &TenantId,
    keystore: &Keystore,
    options: &Options,
) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
    let path = home.outbox(tenant);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let db = open_read_only(&path, options)?;
    let rows = places_of(&db)?;
    rows.iter().map(|(name, sealed)| unseal(keystore, tenant, name, 0, sealed)).collect()
}

fn places_of(db: &Connection) -> Result<Vec<Sealed>, Error> {
    let mut statement = db.prepare_cached("SELECT name, sealed FROM place")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn unseal(
    keystore: &Keystore,
    tenant: &TenantId,
    name: &[u8; 16],
    number: u64,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let keys = keystore.tenant_keys(tenant)?;
    let padded = phial_crypto::open_small(
        &keys.control,
        &[b"outbox", tenant.as_str().as_bytes(), name, &number.to_be_bytes()],
        sealed,
    )?;
    let (length, text) =
        padded.split_first_chunk::<4>().ok_or(Error::Corrupt("a row of the outbox"))?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let text = text.get(..length).ok_or(Error::Corrupt("a row of the outbox"))?;
    Ok(Zeroizing::new(text.to_vec()))
}
