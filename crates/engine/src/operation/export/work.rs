//! The job: batches of the record log, opened, written down and put into files.
//!
//! While one batch is written down and sealed, the next is being opened.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use phial_audit::{DetailKey, EventKind};
use phial_base::Seq;
use phial_fhir::definitions::ResourceType;
use phial_store::spool::Mark;
use phial_store::{Error as StoreError, Fault};
use zeroize::Zeroizing;

use super::open::{Batch, Scope, Texts, behind};
use super::{Export, File, KIND};
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::job::{Doing, Job, Next, Reason, Turn, Work};
use crate::released::{Output, Released};

/// Records in one batch: one audit entry names them all.
const BATCH: usize = 500;
/// Batches in one step of the job, and bytes of text that end it earlier. The files are
/// synced once a step.
const BATCHES: usize = 40;
const STEP_BYTES: usize = 32 << 20;

/// Exports as a kind of work.
pub struct ExportWork {
    keep: SignedDuration,
    copies: SignedDuration,
    spare: u64,
    scopes: Mutex<HashMap<String, Arc<Scope>>>,
}

impl ExportWork {
    /// Exports whose files are kept for `keep`. `copies` is how long backups of the
    /// keystore are kept, for the tombstones of their keys. `spare` bytes of the file
    /// system are left to others: without room for the audit log everything stops.
    #[must_use]
    pub fn new(keep: SignedDuration, copies: SignedDuration, spare: u64) -> Self {
        ExportWork { keep, copies, spare, scopes: Mutex::default() }
    }

    fn scopes(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Scope>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn advance(&self, turn: Turn<'_>) -> Result<Next, Failure> {
        let Turn { engine, tenant, caller, job } = turn;
        let Some(mut export) = Export::read(&job.work) else {
            return Ok(Next::Failed(Reason::Internal));
        };
        // What was exported under other roles or policies must not be mixed with this.
        if export.under != engine.standing(caller) {
            return Ok(Next::Failed(Reason::Forbidden));
        }
        // Before anything is written down: a step that can't be put anywhere is not one.
        let room = tenant.vessel.room().map_err(|e| Failure::Busy(Some(e)))?;
        if room < self.spare.saturating_add(STEP_BYTES as u64) {
            return Err(Failure::Busy(Some(StoreError::Unavailable(Fault::Full))));
        }
        let known = self.scopes().get(&job.id).cloned();
        let scope = match known {
            Some(scope) => scope,
            None => {
                let e = named(caller, job);
                let mut scope = tokio::task::block_in_place(|| {
                    engine.export_scope(tenant, caller, &export, e)
                })?;
                if let Some(looked_at) = scope.looked_at.take() {
                    engine.record(tenant, caller, vec![looked_at], None).await?;
                }
                let scope = Arc::new(scope);
                self.scopes().insert(job.id.clone(), Arc::clone(&scope));
                scope
            }
        };
        let more =
            tokio::task::block_in_place(|| step(engine, tenant, caller, job, &mut export, &scope))?;
        let done = export.files.iter().map(|f| f.count).sum();
        let (after, at) = (export.after, export.at);
        let work = export.written();
        if more {
            // Records are counted; how many there will be, the place in the log tells.
            let of = (after > 0).then(|| {
                u64::try_from(u128::from(done) * u128::from(at) / u128::from(after)).unwrap_or(done)
            });
            return Ok(Next::More { work, done, of });
        }
        self.scopes().remove(&job.id);
        Ok(Next::Done { work, done, keep: Some(self.keep) })
    }
}

impl Work for ExportWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn step<'a>(&'a self, turn: Turn<'a>) -> Doing<'a, Result<Next, Failure>> {
        Box::pin(self.advance(turn))
    }

    fn clear(&self, tenant: &Tenant, job: &Job) -> Result<(), Failure> {
        self.scopes().remove(&job.id);
        tenant.vessel.destroy_spool(&job.id, self.copies).map_err(|e| Failure::Busy(Some(e)))
    }
}

/// Some batches. False when there are no more.
fn step(
    engine: &Engine,
    tenant: &Tenant,
    caller: &Caller,
    job: &Job,
    export: &mut Export,
    scope: &Scope,
) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Handle::current();
    let (at, asked) = (export.at(), export.clone());
    let mut held: Vec<(Released, Parts)> = Vec::new();
    // Opening takes one core and writing down the other. One thread opens all batches, so
    // that each has the memory of the one before.
    let (read, more) = std::thread::scope(|s| {
        let (opened, batches) = sync_channel::<Batch>(0);
        let opening = s.spawn(move || -> Result<(Seq, bool), Failure> {
            let (mut read, mut bytes) = (Seq(asked.after), 0);
            for _ in 0..BATCHES {
                let rows = tenant.vessel.records().current(read, at, BATCH);
                let rows = rows.map_err(Engine::store_failure(caller))?;
                if rows.is_empty() {
                    return Ok((read, false));
                }
                let behind = behind(&rows, read);
                let e = named(caller, job);
                let batch = engine.export_batch(tenant, caller, &asked, scope, e, rows)?;
                bytes += batch.body.len();
                // Nobody takes it when the one before could not be written down.
                if opened.send(batch).is_err() {
                    break;
                }
                read = behind;
                if bytes >= STEP_BYTES {
                    break;
                }
            }
            Ok((read, true))
        });
        let written = (|| -> Result<(), Failure> {
            for batch in batches {
                held.extend(runtime.block_on(release(engine, tenant, caller, batch))?);
            }
            Ok(())
        })();
        // A thread that panicked has told why.
        let end = opening.join().map_err(|_| Failure::Busy(None))?;
        written.and(end)
    })?;
    store(tenant, caller, job, export, held)?;
    export.after = read.0;
    Ok(more)
}

fn named(caller: &Caller, job: &Job) -> phial_audit::Entry {
    let mut e = entry::of(caller, EventKind::Export);
    entry::note(&mut e, DetailKey::Operation, KIND.to_owned());
    entry::note(&mut e, DetailKey::Job, job.id.clone());
    e
}

/// Which part of a batch belongs to which file.
type Parts = Vec<(ResourceType, bool, std::ops::Range<usize>, u64)>;

/// Writes a batch down; only then may it be put anywhere.
async fn release(
    engine: &Engine,
    tenant: &Tenant,
    caller: &Caller,
    batch: Batch,
) -> Result<Option<(Released, Parts)>, Failure> {
    let Batch { body, parts, entry, permits } = batch;
    if permits.is_empty() {
        return Ok(None);
    }
    let output = Output::new(body);
    let receipt = engine.record(tenant, caller, vec![entry], Some(output.digest())).await?;
    let released = Released::new(&permits, &receipt, output, None).map_err(|_| {
        Failure::Internal { incident: caller.request.id, source: StoreError::WrongPermit }
    })?;
    Ok(Some((released, parts)))
}

/// Puts what was released into the files. A crash before the job's record says so: the
/// log says more than was done, never less, and the step is done once more.
fn store(
    tenant: &Tenant,
    caller: &Caller,
    job: &Job,
    export: &mut Export,
    held: Vec<(Released, Parts)>,
) -> Result<(), Failure> {
    let failed = Engine::store_failure(caller);
    // Also an export of nothing has a key to be destroyed.
    let spool = tenant.vessel.spool(&job.id).map_err(&failed)?;
    // As long as they will be: what grows leaves copies behind.
    let mut lengths: BTreeMap<_, usize> = BTreeMap::new();
    for (ty, deleted, range, _) in held.iter().flat_map(|(_, parts)| parts) {
        *lengths.entry((*ty, *deleted)).or_default() += range.len();
    }
    let empty = |(to, length)| (to, (Zeroizing::new(Vec::with_capacity(length)), 0));
    let mut texts: Texts = lengths.into_iter().map(empty).collect();
    for (released, parts) in held {
        for (ty, deleted, range, count) in parts {
            let (text, lines) = texts.entry((ty, deleted)).or_default();
            text.extend_from_slice(released.body().get(range).unwrap_or_default());
            *lines += count;
        }
    }
    for ((ty, deleted), (text, lines)) in texts {
        let known = export.files.iter().position(|f| f.ty == ty.name() && f.deleted == deleted);
        let at = known.unwrap_or(export.files.len());
        if known.is_none() {
            let ty = ty.name().to_owned();
            export.files.push(File { ty, deleted, end: Mark::default(), count: 0 });
        }
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(file) = export.files.get_mut(at) {
            file.end = spool.append(number, file.end, &text).map_err(&failed)?;
            file.count += lines;
        }
    }
    Ok(())
}
