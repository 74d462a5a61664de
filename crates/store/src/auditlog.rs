//! The audit log's storage: durable, group-committed, chained, under a Merkle tree
//! with signed checkpoints (design §6, invariants 1, 6 and 7).
//!
//! It owns `audit/{tenant}/audit.db` and mints [`Receipt`]s: proof that entries are
//! on disk. It refuses to mint one before the commit returned and the file is still
//! there. What an entry, a chain and a tree are, `phial_audit` says.
//!
//! One thread appends. It takes everything that waits, seals, writes and commits it
//! together; a failure answers all of them with [`Error::Unavailable`] and the next
//! attempt starts from what the file says.

mod appender;
mod disk;
mod notes;
mod queue;
mod tray;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use phial_audit::chain::StoredRef;
use phial_audit::tree::{self, Hash, MemoryNodes};
use phial_audit::{Entry, IntentId, NodeId, NoteVerifier, OutcomeCode, Place};
use phial_base::step::Step;
use phial_base::{Clock, KeyHandle, LogicalId, Rng, RowId, TenantId, Version};
use phial_crypto::SecretKey;

use self::appender::{Job, Prepared, Reply};
pub(crate) use self::disk::{SCHEMA, Tail, checkpoints, each, open_intents, tail};
pub(crate) use self::notes::{beside_keys, origin_of};
use self::queue::Queue;
pub use self::tray::hand_out_receipts;
use crate::error::{Error, Fault};
use crate::home::Home;
use crate::keystore::Keystore;
use crate::open::{Options, Slot, create_store, open_store};

/// How long an append waits for company at most, in microseconds, when the appends before
/// it had some; a lone caller never waits, and nobody does once most of the company is
/// there. A commit costs a sync of the disk, hundreds of microseconds at best.
const LINGER_US: u64 = 300;

/// Entries read at once by whoever walks the log: others read between.
const AT_ONCE: usize = 1_024;

/// Proof that audit entries are durable. Only the audit log makes one, after the
/// commit that holds them (invariant 1).
pub struct Receipt {
    first: u64,
    count: u64,
    /// Sorted.
    records: Vec<(RowId, Version)>,
    output: Option<[u8; 32]>,
}

impl Receipt {
    fn new(first: u64, count: u64, entries: &[Entry], output: Option<[u8; 32]>) -> Self {
        // A refusal names records too; it must not help to release them.
        let mut records: Vec<_> = entries
            .iter()
            .filter(|e| {
                e.outcome == OutcomeCode::Success && e.kind != phial_audit::EventKind::Denied
            })
            .flat_map(|e| &e.what)
            .filter_map(|t| t.version.map(|v| (t.row, v)))
            .collect();
        records.sort_unstable();
        Receipt { first, count, records, output }
    }

    /// Whether the entries say that this very version of the record was given.
    #[must_use]
    pub fn covers(&self, row: RowId, version: Version) -> bool {
        self.records.binary_search(&(row, version)).is_ok()
    }

    /// SHA-256 of the bytes that the entries were written for, if any.
    #[must_use]
    pub fn output_digest(&self) -> Option<[u8; 32]> {
        self.output
    }

    /// Tree indexes of the entries.
    #[must_use]
    pub fn positions(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({:?})", self.positions())
    }
}

/// An entry as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its index in the tree, from 0.
    pub index: u64,
    /// The node that wrote it.
    pub node: NodeId,
    /// Its number on that node, from 1.
    pub number: u64,
    /// Leaf hash of the node's entry before.
    pub prev: Hash,
    /// The sealed entry.
    pub bytes: Vec<u8>,
}

impl Stored {
    /// For the chain and the verifier.
    #[must_use]
    pub fn as_ref(&self) -> StoredRef<'_> {
        StoredRef { node: &self.node, number: self.number, prev: &self.prev, bytes: &self.bytes }
    }
}

/// Where the files of a tenant's audit log lie.
#[derive(Clone, Debug)]
struct Files {
    db: PathBuf,
    /// The latest checkpoint, beside the keys.
    note: PathBuf,
    /// The public key, beside the keys and beside the log.
    public: [PathBuf; 2],
}

impl Files {
    fn of(home: &Home, tenant: &TenantId) -> Self {
        let db = home.audit(tenant);
        let public = [home.public_key(tenant), public_key_beside(&db)];
        Files { note: home.checkpoint(tenant), public, db }
    }
}

/// Where the log's public key lies, for those who verify offline.
#[must_use]
pub fn public_key_beside(audit_db: &Path) -> PathBuf {
    audit_db.with_file_name("log.pub")
}

struct Shared {
    queue: Queue,
    linger_us: AtomicU64,
    commits: AtomicU64,
    entries: AtomicU64,
}

/// How the appender has worked since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    /// Transactions committed.
    pub commits: u64,
    /// Entries in them.
    pub entries: u64,
}

/// A tenant's audit log.
pub struct AuditLog {
    tenant: TenantId,
    keystore: Arc<Keystore>,
    verifier: NoteVerifier,
    node: NodeId,
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    reader: Mutex<Slot>,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditLog({})", self.tenant)
    }
}

/// What an error of `phial_audit` means for a store.
pub(crate) fn audit_error(e: &phial_audit::Error) -> Error {
    use phial_audit::Error as A;
    match e {
        A::KeysUnavailable(_) | A::NoPeriodKey(_) => Error::Unavailable(Fault::RootKey),
        A::TooLarge { .. } => Error::Invalid("an audit entry is too large"),
        A::NoPatientKey | A::PatientIndex { .. } | A::Encode => {
            Error::Invalid("an audit entry does not name its patients")
        }
        _ => Error::Corrupt("an audit entry is not what was written"),
    }
}

/// The audit keys of one tenant, from the keystore.
pub(crate) struct KeysOf<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) keystore: &'a Keystore,
}

impl KeysOf<'_> {
    fn with(
        &self,
        handle: phial_base::KeyHandle,
        open: &mut dyn FnMut(&SecretKey),
    ) -> Result<(), phial_audit::Error> {
        match self.keystore.audit_key_by_handle(self.tenant, handle) {
            Ok(Some(held)) => {
                open(&held.key);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => Err(phial_audit::Error::KeysUnavailable(Box::new(e))),
        }
    }
}

impl phial_audit::AuditKeys for KeysOf<'_> {
    fn period(
        &self,
        handle: phial_base::KeyHandle,
        open: &mut dyn FnMut(&SecretKey),
    ) -> Result<(), phial_audit::Error> {
        self.with(handle, open)
    }

    fn patient(
        &self,
        handle: phial_base::KeyHandle,
        open: &mut dyn FnMut(&SecretKey),
    ) -> Result<(), phial_audit::Error> {
        self.with(handle, open)
    }
}

/// Opens a stored entry with the keys at hand.
pub(crate) fn open_stored(
    tenant: &TenantId,
    keys: &dyn phial_audit::AuditKeys,
    stored: StoredRef<'_>,
) -> Result<Entry, phial_audit::Error> {
    let place = Place { tenant: tenant.clone(), node: *stored.node, number: stored.number };
    phial_audit::open_entry(stored.bytes, &place, keys)
}

impl AuditLog {
    /// Makes the tenant's log and writes its public key beside the log and beside the
    /// keys; opens a log that is there.
    ///
    /// # Errors
    /// [`Error`] when files can't be made or keys can't be had.
    pub fn create(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let files = Files::of(home, tenant);
        drop(create_store(&files.db, options, &SCHEMA)?);
        let keys = keystore.tenant_keys(tenant)?;
        let vkey = format!("{}\n", notes::signer(&keys)?.verifier().vkey());
        for path in &files.public {
            crate::durable::write_whole(Step::PublicKey, path, vkey.as_bytes())?;
        }
        Self::open(home, tenant, keystore, clock, rng, options)
    }

    /// Opens the tenant's log. This process becomes a node of its own.
    ///
    /// # Errors
    /// [`Error`] when the file is missing, damaged or of an unknown format, or keys
    /// can't be had.
    pub fn open(
        home: &Home,
        tenant: &TenantId,
        keystore: Arc<Keystore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        options: &Options,
    ) -> Result<Self, Error> {
        let files = Files::of(home, tenant);
        let slot = || -> Result<Slot, Error> {
            let db = open_store(&files.db, options, &SCHEMA)?;
            Ok(Slot::new(&files.db, options, SCHEMA, db))
        };
        let (reader, writer) = (slot()?, slot()?);
        let verifier = notes::signer(&*keystore.tenant_keys(tenant)?)?.verifier();
        let mut node = [0u8; 16];
        rng.fill(&mut node);
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            linger_us: AtomicU64::new(LINGER_US),
            commits: AtomicU64::new(0),
            entries: AtomicU64::new(0),
        });
        let appender = appender::Appender::new(
            tenant.clone(),
            node,
            Arc::clone(&keystore),
            clock,
            rng,
            writer,
            files.note.clone(),
            Arc::clone(&shared),
        );
        let thread =
            thread::Builder::new().name(format!("audit-{tenant}")).spawn(move || appender.run())?;
        Ok(AuditLog {
            tenant: tenant.clone(),
            keystore,
            verifier,
            node,
            shared,
            thread: Mutex::new(Some(thread)),
            reader: Mutex::new(reader),
        })
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// This process's node id.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Who verifies this log's checkpoints; its name is the log's origin.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The public key in the text form of signed notes (vkey).
    #[must_use]
    pub fn public_key(&self) -> String {
        self.verifier.vkey()
    }

    /// How long an append waits for company at most when the appends before it had some.
    /// Zero commits at once.
    pub fn set_linger(&self, linger: Duration) {
        let us = u64::try_from(linger.as_micros()).unwrap_or(u64::MAX);
        self.shared.linger_us.store(us, Ordering::Relaxed);
    }

    /// How the appender has worked since this log was opened.
    #[must_use]
    pub fn throughput(&self) -> Throughput {
        Throughput {
            commits: self.shared.commits.load(Ordering::Relaxed),
            entries: self.shared.entries.load(Ordering::Relaxed),
        }
    }

    /// The handle of a patient's audit key, which is made when there is none: how the log
    /// names the patient.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when keys can't be had or stored.
    pub fn handle_of(&self, patient: &LogicalId) -> Result<KeyHandle, Error> {
        Ok(self.keystore.audit_patient_key(&self.tenant, patient)?.handle)
    }

    fn prepare(&self, entries: Vec<Entry>) -> Result<Vec<Prepared>, Error> {
        let mut prepared = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().flat_map(Entry::split) {
            let mut keys = Vec::with_capacity(entry.patients.len());
            for patient in &entry.patients {
                let id = patient
                    .id
                    .as_ref()
                    .ok_or(Error::Invalid("an audit entry does not name its patients"))?;
                keys.push(self.keystore.audit_patient_key(&self.tenant, id)?);
            }
            prepared.push(Prepared { entry, keys });
        }
        Ok(prepared)
    }

    fn submit(
        &self,
        entries: Vec<Entry>,
        output: Option<[u8; 32]>,
        reply: Reply,
    ) -> Result<(), Error> {
        let entries = self.prepare(entries)?;
        if entries.is_empty() {
            return Err(Error::Invalid("an append of no entry"));
        }
        self.shared.queue.put(Job::Append { entries, output, reply })
    }

    /// Appends entries, all in one commit, and waits until they are durable. `output`
    /// is the SHA-256 of the bytes that they allow to leave.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they are not known to be durable, whatever the
    /// reason: then nothing may be released. [`Error::Invalid`] for an entry that
    /// can't be sealed.
    pub async fn append(
        &self,
        entries: Vec<Entry>,
        output: Option<[u8; 32]>,
    ) -> Result<Receipt, Error> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let reply = match tray::here() {
            Some(tray) => Reply::Tray(tray, reply),
            None => Reply::Task(reply),
        };
        self.submit(entries, output, reply)?;
        answer.await.unwrap_or(Err(Error::Unavailable(Fault::Stopped)))
    }

    /// As [`AuditLog::append`], for threads. Never call it in an async task.
    ///
    /// # Errors
    /// As [`AuditLog::append`].
    pub fn append_blocking(
        &self,
        entries: Vec<Entry>,
        output: Option<[u8; 32]>,
    ) -> Result<Receipt, Error> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.submit(entries, output, Reply::Thread(reply))?;
        answer.recv().unwrap_or(Err(Error::Unavailable(Fault::Stopped)))
    }

    /// Queues entries that nobody waits for: outcomes of intents, which recovery would
    /// otherwise write. They go with the next commit or after 100 ms, are tried again
    /// while the log is unavailable, and are written at close.
    ///
    /// False when they were not taken, for want of keys say: then recovery has to close
    /// the intents.
    pub fn append_later(&self, entries: Vec<Entry>) -> bool {
        self.prepare(entries).and_then(|p| self.shared.queue.put(Job::Later(p))).is_ok()
    }

    /// Commits what is queued and makes a checkpoint over everything.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that fails.
    pub fn flush(&self) -> Result<(), Error> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.shared.queue.put(Job::Flush(reply))?;
        answer.recv().unwrap_or(Err(Error::Unavailable(Fault::Stopped)))
    }

    fn read<R>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).with(|db| work(db))
    }

    /// How many entries the log holds.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn size(&self) -> Result<u64, Error> {
        self.read(disk::size)
    }

    /// How many durable commits made the log.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn commits(&self) -> Result<u64, Error> {
        self.read(disk::commits)
    }

    /// Up to `n` entries from tree index `from` on.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn scan(&self, from: u64, n: usize) -> Result<Vec<Stored>, Error> {
        let mut out = Vec::new();
        if n > 0 {
            self.read(|db| {
                each(db, from, &mut |index, stored| {
                    out.push(Stored {
                        index,
                        node: *stored.node,
                        number: stored.number,
                        prev: *stored.prev,
                        bytes: stored.bytes.to_vec(),
                    });
                    Ok(out.len() < n)
                })
            })?;
        }
        Ok(out)
    }

    /// An index before which nothing was written after `at`: whatever was, lies from there
    /// on. Nearer than an hour, thanks to the checkpoints that are kept.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn since(&self, at: Timestamp) -> Result<u64, Error> {
        self.read(|db| disk::checkpointed_by(db, at.as_microsecond()))
    }

    /// An index behind everything that was written by `at`.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn behind(&self, at: Timestamp) -> Result<u64, Error> {
        match self.read(|db| disk::checkpointed_after(db, at.as_microsecond()))? {
            Some(size) => Ok(size),
            None => self.size(),
        }
    }

    /// Opens the entries of a range of indexes, in order.
    ///
    /// # Errors
    /// As [`AuditLog::scan`] and [`AuditLog::open_entry`].
    pub fn walk(
        &self,
        range: std::ops::Range<u64>,
        visit: &mut dyn FnMut(u64, Entry),
    ) -> Result<(), Error> {
        let mut from = range.start;
        while from < range.end {
            let n = usize::try_from(range.end - from).unwrap_or(AT_ONCE).min(AT_ONCE);
            let some = self.scan(from, n)?;
            let Some(last) = some.last() else { break };
            from = last.index.saturating_add(1);
            for stored in &some {
                visit(stored.index, self.open_entry(stored)?);
            }
        }
        Ok(())
    }

    /// The last `n` entries, oldest first.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn tail(&self, n: usize) -> Result<Vec<Stored>, Error> {
        let size = self.size()?;
        self.scan(size.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX)), n)
    }

    /// Opens an entry. Parts of patients whose audit key is gone stay closed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what was written, [`Error::Unavailable`]
    /// without keys.
    pub fn open_entry(&self, stored: &Stored) -> Result<Entry, Error> {
        let keys = KeysOf { tenant: &self.tenant, keystore: &self.keystore };
        open_stored(&self.tenant, &keys, stored.as_ref()).map_err(|e| audit_error(&e))
    }

    /// The latest checkpoint, a signed note; `None` before the first.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn checkpoint(&self) -> Result<Option<String>, Error> {
        self.read(disk::latest_checkpoint)
    }

    fn nodes(&self) -> Result<MemoryNodes, Error> {
        self.read(|db| {
            let mut nodes = MemoryNodes::default();
            each(db, 0, &mut |_, stored| {
                nodes.push(stored.leaf_hash());
                Ok(true)
            })?;
            Ok(nodes)
        })
    }

    /// The proof that entry `index` is in the tree of `size` entries (RFC 6962
    /// §2.1.1). Reads the whole log.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `index < size <= len`.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
        tree::inclusion_proof(index, size, &self.nodes()?)
            .map_err(|_| Error::Invalid("index or size outside the tree"))
    }

    /// The proof that the log of `old` entries is a prefix of the log of `new`
    /// entries (RFC 6962 §2.1.2). Reads the whole log.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `old <= new <= len`.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        tree::consistency_proof(old, new, &self.nodes()?)
            .map_err(|_| Error::Invalid("index or size outside the tree"))
    }

    /// Intents without outcome, oldest first, with the tree indexes of their entries.
    ///
    /// # Errors
    /// [`Error`] when the file can't be read.
    pub fn open_intents(&self) -> Result<Vec<(IntentId, Vec<u64>)>, Error> {
        self.read(open_intents)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        let _ = self.shared.queue.put(Job::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread has nobody left to tell of a failure; what it could not write
            // recovery writes at the next start.
            let _ = thread.join();
        }
    }
}
