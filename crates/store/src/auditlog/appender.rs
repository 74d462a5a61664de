//! The thread that appends: group commit, checkpoints, and entries that nobody
//! waits for.
//!
//! What a crash at each step means: before COMMIT returned, nothing is there or all
//! of it is, and nobody was told; the next start finds in the file where number, chain
//! and tree stand. After COMMIT and before the answer, the entries say more
//! than was released, never less.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use phial_audit::chain::NodeChain;
use phial_audit::{Checkpoint, Entry, EventKind, NodeId, Place, seal_entry};
use phial_base::step::Step;
use phial_base::{Clock, LogicalId, Rng, TenantId};

use super::disk::Tail;
use super::queue::{Enough, Queue};
use super::tray::Tray;
use super::{Receipt, Shared, audit_error, disk, notes};
use crate::durable;
use crate::error::Error;
use crate::keystore::{HeldKey, Keystore};
use crate::open::{Db, Slot};

/// The most entries that one transaction takes, unless one submission has more.
const MAX_ENTRIES: usize = 4096;
/// Entries that nobody waits for are written after so long.
const LATER: Duration = Duration::from_millis(100);
/// An entry is under a checkpoint after so long; with the commit itself below 1 s.
const CHECKPOINT: Duration = Duration::from_millis(900);
/// Pause after a failure before unasked work is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An entry with its patients' audit keys, in the order of `entry.patients`.
pub(super) struct Prepared {
    pub(super) entry: Entry,
    pub(super) keys: Vec<Arc<HeldKey>>,
}

/// Who waits for a receipt.
pub(super) enum Reply {
    Task(tokio::sync::oneshot::Sender<Result<Receipt, Error>>),
    /// A task of a thread that keeps a tray.
    Tray(Arc<Tray>, tokio::sync::oneshot::Sender<Result<Receipt, Error>>),
    Thread(Sender<Result<Receipt, Error>>),
}

/// Hands out the answers of one group; threads with a tray are woken when it is dropped,
/// once each.
#[derive(Default)]
struct Answers {
    trays: Vec<Arc<Tray>>,
}

impl Answers {
    fn send(&mut self, reply: Reply, answer: Result<Receipt, Error>) {
        // Whoever stopped waiting has released nothing.
        match reply {
            Reply::Task(to) => drop(to.send(answer)),
            Reply::Thread(to) => drop(to.send(answer)),
            Reply::Tray(tray, to) => {
                tray.put(to, answer);
                if !self.trays.iter().any(|t| Arc::ptr_eq(t, &tray)) {
                    self.trays.push(tray);
                }
            }
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for tray in &self.trays {
            tray.ring();
        }
    }
}

/// Closes the queue at the end.
struct Closing<'a>(&'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

pub(super) enum Job {
    Append { entries: Vec<Prepared>, output: Option<[u8; 32]>, reply: Reply },
    Later(Vec<Prepared>),
    Flush(Sender<Result<(), Error>>),
    Stop,
}

struct Submission {
    entries: Vec<Prepared>,
    output: Option<[u8; 32]>,
    reply: Option<Reply>,
}

/// An entry that nobody waits for.
struct Late {
    prepared: Prepared,
    /// Whether a commit with it failed, so that it may be there already.
    tried: bool,
}

pub(super) struct Appender {
    tenant: TenantId,
    node: NodeId,
    keystore: Arc<Keystore>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    slot: Slot,
    note_path: PathBuf,
    shared: Arc<Shared>,
    late: Vec<Late>,
    late_due: Option<Instant>,
    checkpoint_due: Option<Instant>,
    /// A checkpoint that is in the log but not yet beside the keys.
    note: Option<String>,
    /// How many callers there were lately.
    company: usize,
    /// Where the log ended after our last commit, unless that failed.
    tail: Option<Tail>,
}

/// What one transaction did for one submission.
struct Placed {
    first: u64,
    count: u64,
}

impl Appender {
    #[expect(clippy::too_many_arguments, reason = "one call, in AuditLog::open")]
    pub(super) fn new(
        tenant: TenantId,
        node: NodeId,
        keystore: Arc<Keystore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        slot: Slot,
        note_path: PathBuf,
        shared: Arc<Shared>,
    ) -> Self {
        Appender {
            tenant,
            node,
            keystore,
            clock,
            rng,
            slot,
            note_path,
            shared,
            late: Vec::new(),
            late_due: None,
            checkpoint_due: None,
            note: None,
            company: 0,
            tail: None,
        }
    }

    pub(super) fn run(mut self) {
        // However this thread ends, nobody is left waiting for it.
        let shared = Arc::clone(&self.shared);
        let _closed = Closing(&shared.queue);
        loop {
            let due = match (self.late_due, self.checkpoint_due) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            shared.queue.wait(Enough::Any, due);
            self.linger();
            let mut group = Vec::new();
            let mut flushes = Vec::new();
            let mut stop = false;
            for job in shared.queue.take(MAX_ENTRIES) {
                match job {
                    Job::Append { entries, output, reply } => {
                        group.push(Submission { entries, output, reply: Some(reply) });
                    }
                    Job::Later(prepared) => {
                        let fresh =
                            prepared.into_iter().map(|p| Late { prepared: p, tried: false });
                        self.late.extend(fresh);
                        self.late_due.get_or_insert_with(|| Instant::now() + LATER);
                    }
                    Job::Flush(reply) => flushes.push(reply),
                    Job::Stop => stop = true,
                }
            }
            let now = Instant::now();
            let checkpoint =
                stop || !flushes.is_empty() || self.checkpoint_due.is_some_and(|d| d <= now);
            let late = checkpoint || !group.is_empty() || self.late_due.is_some_and(|d| d <= now);
            let size = group.len();
            let done = self.commit(group, late, checkpoint);
            if size > 0 {
                self.learn(size);
            }
            for flush in flushes {
                let _ = flush.send(done.clone());
            }
            if stop {
                return;
            }
        }
    }

    /// Waits for more, when there was company lately and somebody waits.
    fn linger(&self) {
        let linger = Duration::from_micros(self.shared.linger_us.load(Ordering::Relaxed));
        if self.company > 1 && !linger.is_zero() && self.shared.queue.submissions() > 0 {
            // Half: while these are written, the others are computed.
            let most = self.company.div_ceil(2);
            self.shared.queue.wait(Enough::Company(most), Some(Instant::now() + linger));
        }
    }

    /// Learns from a group of this size how many callers there are: those that it had
    /// and those that came while it was written. Forgets slowly, for they do not all
    /// come every time, but at once when somebody came alone.
    fn learn(&mut self, group: usize) {
        let seen = group + self.shared.queue.submissions();
        self.company = if seen > 1 { seen.max(self.company - self.company.div_ceil(8)) } else { 0 };
    }

    fn commit(
        &mut self,
        mut group: Vec<Submission>,
        with_late: bool,
        with_checkpoint: bool,
    ) -> Result<(), Error> {
        let late = if with_late { std::mem::take(&mut self.late) } else { Vec::new() };
        if group.is_empty() && late.is_empty() && !with_checkpoint {
            return Ok(());
        }
        // Taken out for the transaction, which borrows the rest of `self`.
        let worker = Worker {
            tenant: &self.tenant,
            node: &self.node,
            keystore: &self.keystore,
            clock: self.clock.as_ref(),
            rng: self.rng.as_ref(),
        };
        let tail = self.tail.take();
        let done =
            self.slot.with(|db| worker.transaction(db, tail, &group, &late, with_checkpoint));
        match done {
            Ok(done) => {
                self.tail = Some(done.tail);
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.shared.entries.fetch_add(done.entries, Ordering::Relaxed);
                let mut answers = Answers::default();
                for (submission, placed) in group.iter_mut().zip(done.placed) {
                    let Some(reply) = submission.reply.take() else { continue };
                    let answer = placed.map(|p| {
                        let entries: Vec<Entry> =
                            submission.entries.drain(..).map(|p| p.entry).collect();
                        Receipt::new(p.first, p.count, &entries, submission.output)
                    });
                    answers.send(reply, answer);
                }
                drop(answers);
                if with_late {
                    self.late_due = None;
                }
                if done.entries > 0 && self.checkpoint_due.is_none() {
                    self.checkpoint_due = Some(Instant::now() + CHECKPOINT);
                }
                if with_checkpoint {
                    self.checkpoint_due = None;
                    if done.note.is_some() {
                        self.note = done.note;
                    }
                    return self.publish();
                }
                Ok(())
            }
            Err(e) => {
                let mut answers = Answers::default();
                for submission in group {
                    if let Some(reply) = submission.reply {
                        answers.send(reply, Err(e.clone()));
                    }
                }
                drop(answers);
                let again = Instant::now() + RETRY;
                if !late.is_empty() {
                    // Put back in front of what came meanwhile.
                    let newer = std::mem::take(&mut self.late);
                    self.late = late.into_iter().map(|l| Late { tried: true, ..l }).collect();
                    self.late.extend(newer);
                }
                self.late_due = (!self.late.is_empty()).then_some(again);
                // The commit may have been saved though it failed; a checkpoint over what
                // the file then holds does no harm.
                self.checkpoint_due = Some(again);
                Err(e)
            }
        }
    }

    /// Puts the latest checkpoint beside the keys.
    fn publish(&mut self) -> Result<(), Error> {
        let Some(note) = self.note.clone() else { return Ok(()) };
        let published = (|| {
            let keys = self.keystore.tenant_keys(&self.tenant)?;
            let verifier = notes::signer(&keys)?.verifier();
            let slot = &mut self.slot;
            notes::write_beside_keys(&self.note_path, &note, &verifier, |old| {
                slot.with(|db| disk::has_checkpoint(db, old))
            })
        })();
        match published {
            Ok(()) => {
                self.note = None;
                Ok(())
            }
            Err(e) => {
                self.checkpoint_due = Some(Instant::now() + RETRY);
                Err(e)
            }
        }
    }
}

struct Done {
    placed: Vec<Result<Placed, Error>>,
    entries: u64,
    note: Option<String>,
    tail: Tail,
}

/// One transaction's surroundings.
struct Worker<'a> {
    tenant: &'a TenantId,
    node: &'a NodeId,
    keystore: &'a Keystore,
    clock: &'a dyn Clock,
    rng: &'a dyn Rng,
}

/// What is being put together in one transaction.
struct Building {
    chain: NodeChain,
    frontier: phial_audit::tree::Frontier,
    bytes: Vec<u8>,
    count: u64,
}

impl Worker<'_> {
    fn transaction(
        &self,
        db: &mut Db,
        tail: Option<Tail>,
        group: &[Submission],
        late: &[Late],
        with_checkpoint: bool,
    ) -> Result<Done, Error> {
        // Prepared once: these run thousands of times a second.
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        match self.inside(db, tail, group, late, with_checkpoint) {
            Ok(done) => {
                // Crash or failure here: saved or not, nobody is told that it was.
                let step = match (group.is_empty(), late.is_empty()) {
                    (false, _) => Step::AuditAppend,
                    (true, false) => Step::AuditLater,
                    (true, true) => Step::AuditCheckpoint,
                };
                // The slot sees to it that the file then still bears the log's name.
                durable::commit_begun(step, db)?;
                Ok(done)
            }
            Err(e) => {
                // The first error is the one to report; the slot closes a handle that
                // failed, and with it the transaction.
                let _ = db.execute_batch("ROLLBACK");
                Err(e)
            }
        }
    }

    fn inside(
        &self,
        db: &Db,
        tail: Option<Tail>,
        group: &[Submission],
        late: &[Late],
        with_checkpoint: bool,
    ) -> Result<Done, Error> {
        // Another process may have appended; after a failure, our last commit may have
        // been saved all the same.
        let mut tail = match tail {
            Some(tail) if disk::size(db)? == tail.frontier.size() => tail,
            _ => disk::tail(db)?,
        };
        let mut placed = Vec::with_capacity(group.len());
        let mut entries = 0;
        if !(group.is_empty() && late.is_empty()) {
            let (row, chain) = tail.chain(db, self.node)?;
            let (first, number, prev) = (tail.frontier.size(), chain.next_number(), chain.hash);
            let frontier = tail.frontier.clone();
            let mut b = Building { chain, frontier, bytes: Vec::new(), count: 0 };
            let period = self.keystore.audit_period_key(self.tenant, self.clock.now())?;
            for l in late {
                if l.tried
                    && let Some(intent) = &l.prepared.entry.intent
                    && !disk::is_open(db, intent)?
                {
                    continue;
                }
                self.place(db, &mut b, std::slice::from_ref(&l.prepared), &period)?.ok();
            }
            for submission in group {
                placed.push(self.place(db, &mut b, &submission.entries, &period)?);
            }
            if b.count > 0 {
                let batch = disk::Batch { first, count: b.count, number, prev, entries: b.bytes };
                disk::write_batch(db, row, &batch)?;
                tail.advance(b.frontier, b.chain);
            }
            entries = b.count;
        }
        if with_checkpoint || tail.is_due() {
            tail.store(db)?;
        }
        let mut note = None;
        let frontier = &tail.frontier;
        if with_checkpoint && frontier.size() > disk::checkpointed_size(db)? {
            let signer = notes::signer(&*self.keystore.tenant_keys(self.tenant)?)?;
            let checkpoint = Checkpoint {
                origin: signer.name().to_owned(),
                size: frontier.size(),
                root: frontier.root(),
            };
            let text = checkpoint.sign(&signer);
            disk::write_checkpoint(db, checkpoint.size, self.clock.now().as_microsecond(), &text)?;
            note = Some(text);
        }
        Ok(Done { placed, entries, note, tail })
    }

    /// Seals the entries of one submission and adds them, all or none. The inner
    /// result is the submission's own; the outer one ends the transaction.
    fn place(
        &self,
        db: &Db,
        b: &mut Building,
        entries: &[Prepared],
        period: &HeldKey,
    ) -> Result<Result<Placed, Error>, Error> {
        let first = b.frontier.size();
        let (chain, length) = (b.chain, b.bytes.len());
        let mut leaves = Vec::with_capacity(entries.len());
        for p in entries {
            let sealed = self.seal(p, b.chain.next_number(), period).and_then(|sealed| {
                disk::push_entry(&mut b.bytes, &sealed)?;
                Ok(sealed)
            });
            match sealed {
                Ok(sealed) => leaves.push(b.chain.append(&sealed).leaf),
                Err(e) => {
                    b.chain = chain;
                    b.bytes.truncate(length);
                    return Ok(Err(e));
                }
            }
        }
        for (p, leaf) in entries.iter().zip(leaves) {
            match (p.entry.kind, &p.entry.intent) {
                (EventKind::Intent, Some(intent)) => {
                    disk::intent_opened(db, intent, b.frontier.size())?;
                }
                (EventKind::Outcome, Some(intent)) => disk::intent_closed(db, intent)?,
                _ => {}
            }
            b.frontier.push(leaf);
            b.count += 1;
        }
        Ok(Ok(Placed { first, count: b.frontier.size() - first }))
    }

    fn seal(&self, p: &Prepared, number: u64, period: &HeldKey) -> Result<Vec<u8>, Error> {
        let place = Place { tenant: self.tenant.clone(), node: *self.node, number };
        let pairs = || {
            let both = p.entry.patients.iter().zip(&p.keys);
            both.filter_map(|(patient, key)| patient.id.as_ref().map(|id| (id, key.as_ref())))
        };
        // A table is worth its making for many patients only.
        let table: Option<HashMap<&LogicalId, &HeldKey>> =
            (p.keys.len() > 8).then(|| pairs().collect());
        let key_of = |id: &LogicalId| match &table {
            Some(table) => table.get(id).copied(),
            None => pairs().find(|(found, _)| *found == id).map(|(_, key)| key),
        };
        seal_entry(
            &p.entry,
            &place,
            &(period.handle, &period.key),
            &|id| key_of(id).map(|k| (k.handle, &k.key)),
            self.rng,
        )
        .map_err(|e| audit_error(&e))
    }
}
