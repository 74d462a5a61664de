//! One tenant's stores held together: records that are found but not yet
//! opened, the only way to open them, sealing, committing, and the index that
//! follows behind.
//!
//! It refuses to open a segment without a [`Permit`] that names the very record
//! version, and it never hands index values out.

mod aside;
mod attachment;
mod carry;
mod changes;
mod overlay;
mod past;
mod relabel;
mod sealing;
mod spooled;
mod unopened;
mod unseal;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use phial_audit::{Entry, EventKind, IntentId, OutcomeCode};
use phial_base::step::Step;
use phial_base::{
    ClassSet, Clock, DataClass, KeyHandle, LogicalId, Rng, RowId, Seq, TenantId, Version,
};
use phial_crypto::RecordName;
use phial_fhir::definitions::ResourceType;
use phial_fhir::search::{Include, Query};
use phial_fhir::split::{Mark, Spliced};
use phial_policy::{Permit, RelationshipSet};
use zeroize::Zeroizing;

use crate::auditlog::AuditLog;
use crate::blobs::{Blobs, Staged};
use crate::control::ControlLog;
use crate::error::Error;
use crate::home::Home;
use crate::index::{Access, Hit, Index, Indexed, Page, PageKey, Viewer};
use crate::keystore::Keystore;
use crate::open::Options;
use crate::outbox::Outbox;
use crate::records::{Place, RecordLog, Row};
use crate::recovery::{Announced, Fate, Recovered, Unclosed, close_open_intents, outcome};
pub use aside::Aside;
pub use carry::{Changed, Content, Ready};
pub use changes::Stretch;
pub use overlay::Among;
pub use past::Back;
use past::Kinds;
pub use relabel::{Differs, Labelling, Looked};
pub use sealing::{SealedVersion, Sealing};
pub use unopened::{Unopened, facts_of};

/// A record version opened under a permit: only the permitted segments were
/// decrypted. It is not released yet.
pub struct Opened {
    /// Its name in the record log.
    pub row: RowId,
    /// Its version.
    pub version: Version,
    body: Zeroizing<Vec<u8>>,
    /// Classes decrypted.
    pub given: ClassSet,
    /// Classes of the record that stayed sealed.
    pub withheld: ClassSet,
}

impl Opened {
    /// The JSON of what the permit allows.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The JSON, to be bound to a receipt. It is overwritten when dropped.
    #[must_use]
    pub fn into_body(self) -> Zeroizing<Vec<u8>> {
        self.body
    }
}

/// Whether this process keeps an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// It does, and is the only one to do so in this home.
    Local,
    /// It does not: it looks nothing up by content.
    None,
}

/// How many versions the indexer takes at a time.
const BATCH: usize = 1000;
/// How many locally written versions wait in memory for the indexer.
const PENDING: usize = 20_000;
/// How long superseded versions stay searchable for paging, in microseconds.
pub const SNAPSHOT_LIFE_US: i64 = 15 * 60 * 1_000_000;

/// One tenant's stores.
pub struct Vessel {
    tenant: TenantId,
    keystore: Arc<Keystore>,
    records: RecordLog,
    audit: AuditLog,
    control: ControlLog,
    outbox: Outbox,
    blobs: Blobs,
    index: RwLock<Option<Arc<Index>>>,
    index_dir: PathBuf,
    spool_dir: PathBuf,
    options: Options,
    generation: AtomicU64,
    fresh: bool,
    retired: AtomicBool,
    pending: Mutex<BTreeMap<Seq, Indexed>>,
    catching_up: Mutex<()>,
    unclosed: Unclosed,
    kinds: Mutex<Kinds>,
    rng: Arc<dyn Rng>,
    clock: Arc<dyn Clock>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vessel {
    /// Makes the empty stores of a new tenant, whose keys exist already, and says that
    /// it is ready. Whatever of them an interrupted call left is taken up.
    ///
    /// # Errors
    /// [`Error`] when a file can't be made.
    pub fn create(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<(), Error> {
        RecordLog::create(&home.records(tenant), options)?;
        AuditLog::create(home, tenant, Arc::clone(&keystore), clock, Arc::clone(&rng), options)?;
        ControlLog::create(home, tenant, Arc::clone(&keystore), Arc::clone(&rng), options)?;
        Outbox::create(home, tenant, Arc::clone(&keystore), rng, options)?;
        keystore.tenant_ready(tenant)
    }

    /// Opens the stores of `tenant`. The index is opened when it can be, and
    /// rebuilt from the record log when it can't.
    ///
    /// # Errors
    /// [`Error`] when a store is missing, damaged or of an unknown format.
    pub fn open(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
        indexing: Indexing,
    ) -> Result<Self, Error> {
        let records = RecordLog::open(&home.records(tenant), options)?;
        let audit = AuditLog::open(
            home,
            tenant,
            Arc::clone(&keystore),
            Arc::clone(&clock),
            Arc::clone(&rng),
            options,
        )?;
        let control =
            ControlLog::open(home, tenant, Arc::clone(&keystore), Arc::clone(&rng), options)?;
        let outbox =
            Outbox::create(home, tenant, Arc::clone(&keystore), Arc::clone(&rng), options)?;
        let blobs = Blobs::of(tenant, home.blobs(tenant), options.bucket.as_ref());
        let index_dir = home.index(tenant);
        let generation = keystore.index_generation(tenant)?;
        let index = match indexing {
            Indexing::Local => {
                let head = records.head()?;
                let mut index = open_index(&index_dir, tenant, &keystore, generation, options)?;
                if index.applied() > head {
                    // The record log is an older copy than the one indexed.
                    drop(index);
                    remove_generations(&index_dir, u64::MAX)?;
                    index = open_index(&index_dir, tenant, &keystore, generation, options)?;
                }
                Some(Arc::new(index))
            }
            Indexing::None => None,
        };
        let fresh = index.as_ref().is_some_and(|i| i.applied() == Seq(0));
        Ok(Vessel {
            tenant: tenant.clone(),
            keystore,
            records,
            audit,
            control,
            outbox,
            blobs,
            index: RwLock::new(index),
            index_dir,
            spool_dir: home.spool(tenant),
            options: options.clone(),
            generation: AtomicU64::new(generation),
            fresh,
            retired: AtomicBool::new(false),
            pending: Mutex::new(BTreeMap::new()),
            catching_up: Mutex::new(()),
            unclosed: Unclosed::default(),
            kinds: Mutex::new(Kinds::default()),
            rng,
            clock,
        })
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether the index was begun anew at opening: then the record log may be a
    /// restored copy, or a destruction may have been interrupted, and rows whose key
    /// was destroyed are to be looked for before anything is served.
    pub fn has_fresh_index(&self) -> bool {
        self.fresh
    }

    /// The tenant's audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// The tenant's control log.
    pub fn control(&self) -> &ControlLog {
        &self.control
    }

    /// How far the tenant's subscriptions have come.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The tenant's record log.
    pub fn records(&self) -> &RecordLog {
        &self.records
    }

    /// The keystore that serves all tenants.
    pub fn keystore(&self) -> &Arc<Keystore> {
        &self.keystore
    }

    /// What the record log calls `ty/id`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without keys.
    pub fn row_id(&self, ty: ResourceType, id: &LogicalId) -> Result<RowId, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        Ok(phial_crypto::row_id(&keys.row_ids, ty.name(), id.as_str()))
    }

    /// The id of what entry `entry` of this bundle creates: the same for the same bundle,
    /// and one that nobody without the tenant's key can foretell.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without keys.
    pub fn import_id(&self, bundle: &[u8; 32], entry: usize) -> Result<LogicalId, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let number = u64::try_from(entry).unwrap_or(u64::MAX).to_be_bytes();
        Ok(LogicalId::derived(phial_crypto::key_subject(
            &keys.row_ids,
            "import",
            &[bundle, &number],
        )))
    }

    /// The latest version of `ty/id`, unopened. `None` when there is none or its
    /// key was destroyed.
    ///
    /// # Errors
    /// [`Error`] when a store fails or the row is damaged.
    pub fn find(&self, ty: ResourceType, id: &LogicalId) -> Result<Option<Unopened>, Error> {
        self.find_row(self.row_id(ty, id)?)
    }

    /// The latest version of a row, unopened.
    ///
    /// # Errors
    /// As [`Vessel::find`].
    pub fn find_row(&self, row: RowId) -> Result<Option<Unopened>, Error> {
        match self.records.get(row)? {
            Some(found) => self.unseal_head(found),
            None => Ok(None),
        }
    }

    /// One version of a row, unopened.
    ///
    /// # Errors
    /// As [`Vessel::find`].
    pub fn find_version(&self, row: RowId, version: Version) -> Result<Option<Unopened>, Error> {
        match self.records.get_version(row, version)? {
            Some(found) => self.unseal_head(found),
            None => Ok(None),
        }
    }

    /// The versions at these places of the log, unopened, in the order asked. `None` where
    /// one was purged or its key destroyed.
    ///
    /// # Errors
    /// As [`Vessel::find`].
    pub fn find_at(&self, places: &[Place]) -> Result<Vec<Option<Unopened>>, Error> {
        let found = self.records.at_each(places)?;
        found.into_iter().map(|f| f.map_or(Ok(None), |f| self.unseal_head(f))).collect()
    }

    /// Decrypts the segments that `permit` allows and splices them together.
    ///
    /// # Errors
    /// [`Error::WrongPermit`] when the permit is for another record or version;
    /// other errors when a segment is damaged.
    pub fn open_record(&self, permit: &Permit, found: &Unopened) -> Result<Opened, Error> {
        self.open_part(permit, found, ClassSet::ALL)
    }

    /// As [`Vessel::open_record`], and of what `permit` allows only the segments of these
    /// classes: what is not asked for stays sealed.
    ///
    /// # Errors
    /// As [`Vessel::open_record`].
    pub fn open_part(
        &self,
        permit: &Permit,
        found: &Unopened,
        wanted: ClassSet,
    ) -> Result<Opened, Error> {
        if permit.row() != found.row || permit.version() != found.version {
            return Err(Error::WrongPermit);
        }
        let mut allowed = permit.classes().and(found.header.classes).and(wanted);
        if found.header.blob.is_some() {
            // What stands there is a blob's, which has a door of its own.
            allowed = allowed.minus(ClassSet::of(DataClass::Attachment));
        }
        let Spliced { body, withheld } = found.join(allowed, Mark::Subsetted)?;
        Ok(Opened {
            row: found.row,
            version: found.version,
            body: Zeroizing::new(body),
            given: allowed,
            withheld,
        })
    }

    /// Begins a write: to be called before its intent is written down. A write that is
    /// dropped, or whose commit is of unknown fate, is closed by [`Vessel::settle`].
    pub fn announce(&self, intent: IntentId) -> Announced<'_> {
        self.unclosed.announce(intent)
    }

    /// Appends the announced versions, all or none, and writes down what came of it:
    /// `entry` says who, `action` what for. Remembers the index values, so that the
    /// indexer need not open the versions again.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a row moved on meanwhile; [`Error::Unknown`] when
    /// the commit failed in a way that may or may not have stored it.
    pub async fn append(
        &self,
        mut announced: Announced<'_>,
        action: EventKind,
        entry: Entry,
        versions: Vec<SealedVersion>,
    ) -> Result<Vec<Seq>, Error> {
        let mut blobs = Vec::new();
        let (rows, indexed): (Vec<_>, Vec<_>) = versions
            .into_iter()
            .map(|v| {
                blobs.extend(v.blob);
                (v.row, v.indexed)
            })
            .unzip();
        let count = rows.len();
        let published = if blobs.is_empty() {
            Ok(())
        } else {
            tokio::task::block_in_place(|| blobs.iter().try_for_each(Staged::publish))
        };
        let stored = match published {
            Ok(()) => self.records.append(rows).await,
            Err(e) => Err(e),
        };
        // Crash here: the intent is open, and the record log tells what became of it.
        let fate = match &stored {
            Ok(seqs) => Some(Fate::Stored(seqs.clone())),
            Err(Error::Unknown) => None,
            Err(Error::Conflict { .. }) => Some(Fate::NotStored(OutcomeCode::Conflict)),
            Err(_) => Some(Fate::NotStored(OutcomeCode::Unavailable)),
        };
        let mut known = fate;
        if matches!(known, Some(Fate::NotStored(_))) && !blobs.is_empty() {
            let names: Vec<RowId> = blobs.iter().map(|b| b.blob().name).collect();
            // What can't be deleted now is deleted when the intent is closed.
            if tokio::task::block_in_place(|| self.blobs.remove(&names)).is_err() {
                known = None;
            }
        }
        if let Some(fate) = known {
            let closing = outcome(entry, announced.intent(), Some(action), count, &fate);
            if self.audit.append_later(vec![closing]) {
                announced.closed();
            }
        }
        let seqs = stored?;
        let mut pending = lock(&self.pending);
        if pending.len() + seqs.len() <= PENDING {
            for (seq, mut ix) in seqs.iter().copied().zip(indexed) {
                ix.seq = seq;
                pending.insert(seq, ix);
            }
        }
        Ok(seqs)
    }

    fn index(&self) -> Result<Arc<Index>, Error> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.as_ref().map(Arc::clone).ok_or(Error::Invalid("this process keeps no index"))
    }

    /// Brings the index up to the head of the record log as it is now, and says
    /// which sequence that was. Single-flight: those who wait share the work.
    ///
    /// # Errors
    /// [`Error`] when a store fails.
    pub fn catch_up(&self) -> Result<Seq, Error> {
        match self.follow() {
            // Derived data: whatever is wrong with it, the record log makes it anew.
            Err(Error::Unusable) => {
                self.rebuild_index()?;
                self.follow()
            }
            done => done,
        }
    }

    /// Puts some of what the index keeps waiting into its place, if the index is up to the
    /// head of the record log. Says whether there is more of it.
    ///
    /// # Errors
    /// [`Error`] when a store fails.
    pub fn rest_index(&self) -> Result<bool, Error> {
        let index = self.index()?;
        let _turn = lock(&self.catching_up);
        if index.applied() < self.records.head()? {
            return Ok(false);
        }
        index.rest()
    }

    fn follow(&self) -> Result<Seq, Error> {
        let head = self.records.head()?;
        let index = self.index()?;
        if index.applied() >= head {
            return Ok(index.applied());
        }
        let _turn = lock(&self.catching_up);
        while index.applied() < head {
            let after = index.applied();
            let mut batch = self.take_pending(after);
            if batch.is_empty() {
                let rows = self.records.changes(after, BATCH)?;
                let Some(last) = rows.last().map(|r| r.seq) else { break };
                for found in rows {
                    let seq = found.seq;
                    if let Some(ix) = self.indexed(seq, found)? {
                        batch.push(ix);
                    }
                }
                index.apply(&batch)?;
                index.advance(last)?;
            } else {
                index.apply(&batch)?;
            }
        }
        Ok(index.applied())
    }

    /// The run of locally known versions that follows `after` without a gap.
    fn take_pending(&self, after: Seq) -> Vec<Indexed> {
        let mut pending = lock(&self.pending);
        while pending.first_key_value().is_some_and(|(s, _)| *s <= after) {
            pending.pop_first();
        }
        let mut batch = Vec::new();
        let mut want = after.0 + 1;
        while batch.len() < BATCH * 4 {
            match pending.remove(&Seq(want)) {
                Some(ix) => batch.push(ix),
                None => break,
            }
            want += 1;
        }
        batch
    }

    fn indexed(&self, seq: Seq, found: Row) -> Result<Option<Indexed>, Error> {
        let Some(un) = self.unseal_head(found)? else { return Ok(None) };
        let values = un.values()?;
        let h = un.header;
        Ok(Some(Indexed {
            seq,
            row: un.row,
            version: un.version,
            ty: h.ty,
            id: h.id,
            patients: h.patients,
            labels: h.labels,
            classes: h.classes,
            deleted: h.deleted,
            last_updated: h.last_updated,
            values,
        }))
    }

    /// Searches the index as it stood at `at`. The caller has caught up before.
    ///
    /// # Errors
    /// [`Error`] when the index fails.
    #[expect(clippy::too_many_arguments, reason = "one search has these parts")]
    pub fn search(
        &self,
        query: &Query,
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
        after: Option<&PageKey>,
        limit: u32,
        count: bool,
    ) -> Result<Page, Error> {
        self.index()?.search(query, viewer, access, at, after, limit, count)
    }

    /// What `_include` adds to `hits`.
    ///
    /// # Errors
    /// [`Error`] when the index fails.
    pub fn includes(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
    ) -> Result<Vec<Hit>, Error> {
        self.index()?.includes(include, hits, viewer, access, at)
    }

    /// What `_revinclude` adds to `hits`; `None` when that is more than `most` records.
    ///
    /// # Errors
    /// [`Error`] when the index fails.
    pub fn referring(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
        most: usize,
    ) -> Result<Option<Vec<Hit>>, Error> {
        self.index()?.referring(include, hits, viewer, access, at, most)
    }

    /// How `viewer` relates to all of `patients` at this moment (microseconds since the
    /// epoch), after catching up.
    ///
    /// # Errors
    /// [`Error`] when a store fails.
    pub fn relationships(
        &self,
        viewer: &Viewer,
        patients: &[LogicalId],
        now: i64,
    ) -> Result<RelationshipSet, Error> {
        if patients.is_empty() || *viewer == Viewer::default() {
            return Ok(RelationshipSet::NONE);
        }
        self.catch_up()?;
        self.index()?.relationships_at(viewer, patients, now)
    }

    /// Closes intents that a crash left open, from the record log. To be run by the
    /// process that holds the home's lock, before it serves.
    ///
    /// # Errors
    /// [`Error`] when a log can't be read or written.
    pub fn recover(&self) -> Result<Recovered, Error> {
        self.blobs.sweep()?;
        close_open_intents(&self.audit, &self.records, &self.blobs, self.clock.as_ref())
    }

    /// The same for writes of this process whose end nobody could say, while others are
    /// under way. Costs nothing when there are none.
    ///
    /// # Errors
    /// As [`Vessel::recover`]; they are tried again at the next call.
    pub fn settle(&self) -> Result<Recovered, Error> {
        self.unclosed.close(&self.audit, &self.records, &self.blobs, self.clock.as_ref())
    }

    /// Drops superseded versions from the index once no paging token can name them.
    ///
    /// # Errors
    /// [`Error`] when the index fails.
    pub fn expire_snapshots(&self) -> Result<(), Error> {
        self.index()?.expire(self.clock.now().as_microsecond() - SNAPSHOT_LIFE_US)
    }

    /// Destroys the page key of the index in use: should the process end now, the next
    /// one begins a new index. To be followed by [`Vessel::rebuild_index`].
    ///
    /// # Errors
    /// [`Error`] when the keystore can't be written.
    pub fn retire_index(&self) -> Result<(), Error> {
        self.retired.store(true, Ordering::SeqCst);
        let generation = self.generation.load(Ordering::SeqCst);
        self.keystore.retire_index_key(&self.tenant, generation)
    }

    /// Whether the index was retired and none was built in its place yet, because a step
    /// failed: [`Vessel::rebuild_index`] finishes it.
    pub fn index_is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Retires the index with its page key and builds a new one under a new key:
    /// what an old copy of the file holds is then unreadable.
    ///
    /// # Errors
    /// [`Error`] when a store fails; the old index stays in use then.
    pub fn rebuild_index(&self) -> Result<(), Error> {
        let _turn = lock(&self.catching_up);
        self.retired.store(true, Ordering::SeqCst);
        let old = self.generation.load(Ordering::SeqCst);
        let new = old + 1;
        let index = open_index(&self.index_dir, &self.tenant, &self.keystore, new, &self.options)?;
        {
            let mut current = self.index.write().unwrap_or_else(PoisonError::into_inner);
            *current = Some(Arc::new(index));
        }
        lock(&self.pending).clear();
        self.generation.store(new, Ordering::SeqCst);
        self.keystore.retire_index_key(&self.tenant, old)?;
        remove_generations(&self.index_dir, new)?;
        self.retired.store(false, Ordering::SeqCst);
        drop(_turn);
        self.follow()?;
        Ok(())
    }

    /// Versions whose key was destroyed.
    ///
    /// # Errors
    /// [`Error`] when a store fails.
    pub fn unreadable(&self) -> Result<Vec<(RowId, Version)>, Error> {
        let destroyed =
            self.keystore.tombstones(&self.tenant)?.into_iter().map(|t| t.handle).collect();
        self.versions_under(&destroyed)
    }

    /// Versions sealed under any of these keys, found by opening every locator.
    ///
    /// # Errors
    /// [`Error`] when a store fails.
    pub fn versions_under(
        &self,
        handles: &HashSet<KeyHandle>,
    ) -> Result<Vec<(RowId, Version)>, Error> {
        let mut found = Vec::new();
        if handles.is_empty() {
            return Ok(found);
        }
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        self.records.all(&mut |_, row, version, blob| {
            let name = RecordName { tenant: &self.tenant, row, version };
            if let Ok(l) = phial_crypto::locate(blob, &name, &keys.locator)
                && handles.contains(&l.handle)
            {
                found.push((row, version));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Sorted canonical content of the index, for comparing it with a rebuild.
    ///
    /// # Errors
    /// [`Error`] when the index fails.
    pub fn index_dump(&self) -> Result<Vec<String>, Error> {
        self.catch_up()?;
        self.index()?.dump()
    }
}

fn open_index(
    dir: &std::path::Path,
    tenant: &TenantId,
    keystore: &Keystore,
    generation: u64,
    options: &Options,
) -> Result<Index, Error> {
    let key = keystore.index_key(tenant, generation)?;
    match Index::open(dir, generation, &key, options) {
        Ok(index) => {
            remove_generations(dir, generation)?;
            Ok(index)
        }
        Err(Error::Unusable) => {
            // Derived data: whatever is wrong with it, the record log makes it anew.
            remove_generations(dir, u64::MAX)?;
            Index::open(dir, generation, &key, options)
        }
        Err(e) => Err(e),
    }
}

/// Deletes every index file but those of generation `keep`.
fn remove_generations(dir: &std::path::Path, keep: u64) -> Result<(), Error> {
    let keep = format!("gen-{keep}.db");
    let Ok(files) = std::fs::read_dir(dir) else { return Ok(()) };
    for file in files.flatten() {
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("gen-") && !name.starts_with(&keep) {
            crate::durable::remove(Step::IndexRemove, &file.path())?;
        }
    }
    Ok(())
}
