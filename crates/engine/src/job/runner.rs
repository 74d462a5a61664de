//! The runner: takes every job that is under way to its end, a step at a time.
//!
//! One for a process that serves. It holds no state of its own that a crash could lose:
//! which jobs there are and where they stand, it reads from the control log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use phial_audit::OutcomeCode;
use phial_base::TenantId;
use phial_store::Error as StoreError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Found, Job, Next, Reason, State, Subjects, Turn, Work, all, one, save};
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// How often the control log is looked at when nobody wakes the runner.
const LOOK: Duration = Duration::from_millis(500);
/// How long a job rests whose step could not reach a store; twice as long after each such
/// step that follows, up to the longest rest. What a step wrote into the audit log before
/// it failed stays there: a store that is full must not be filled by trying.
const AGAIN: SignedDuration = SignedDuration::from_secs(2);
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// How long a step that failed for want of a store keeps its place, so that a store that
/// stays away is not asked without end.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many steps are done at once.
const AT_ONCE: usize = 4;
/// How long a job that ended is kept to be looked at.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

struct Inner {
    engine: Engine,
    subjects: Box<dyn Subjects>,
    works: BTreeMap<&'static str, Box<dyn Work>>,
    /// Jobs whose last steps could not reach a store. Not kept: a rest that can't be
    /// stored is one all the same.
    tired: Mutex<HashMap<Key, Tired>>,
}

/// How often in a row a job's step failed, and until when the job rests for it,
/// microseconds since the epoch.
#[derive(Clone, Copy, Default)]
struct Tired {
    failures: u32,
    until: i64,
}

/// How long a job rests after so many failures in a row.
fn rest(failures: u32) -> SignedDuration {
    let doubled = 2_i32.checked_pow(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    AGAIN.checked_mul(doubled).unwrap_or(LONGEST).min(LONGEST)
}

/// What does jobs. Cheap to clone.
#[derive(Clone)]
pub struct Runner(Arc<Inner>);

/// A job, for as long as a step of it is under way.
type Key = (TenantId, String);

impl Runner {
    /// A runner for these kinds of work. Jobs of another kind are left alone.
    #[must_use]
    pub fn new(engine: Engine, subjects: Box<dyn Subjects>, works: Vec<Box<dyn Work>>) -> Self {
        let works = works.into_iter().map(|w| (w.kind(), w)).collect();
        Runner(Arc::new(Inner { engine, subjects, works, tired: Mutex::default() }))
    }

    /// Works until `stop` says true or its sender is gone; then the steps that are under
    /// way end, and the jobs stay as they are until the next start.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut steps: JoinSet<Key> = JoinSet::new();
        let mut busy: HashSet<Key> = HashSet::new();
        let mut woken = true;
        while !*stop.borrow() {
            self.begin(&mut steps, &mut busy, woken);
            woken = false;
            tokio::select! {
                ended = stop.changed() => if ended.is_err() { break },
                () = self.0.engine.jobs_woken().notified() => woken = true,
                Some(done) = steps.join_next(), if !steps.is_empty() => {
                    match done {
                        Ok(key) => { busy.remove(&key); }
                        // Which step it was that panicked is not told; those that still
                        // run are known, so nothing is begun twice.
                        Err(_) if steps.is_empty() => busy.clear(),
                        Err(_) => {}
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        while steps.join_next().await.is_some() {}
    }

    /// Does everything that can be done now, one step after the other, and says how many
    /// steps that were. For processes that don't serve.
    ///
    /// # Errors
    /// The first failure of a store; what was done until then is kept.
    pub async fn drain(&self) -> Result<usize, Failure> {
        let mut steps = 0;
        loop {
            let due = self.due(false);
            if due.is_empty() {
                return Ok(steps);
            }
            for key in due {
                self.turn(&key).await?;
                steps += 1;
            }
        }
    }

    fn begin(&self, steps: &mut JoinSet<Key>, busy: &mut HashSet<Key>, woken: bool) {
        for key in self.due(woken) {
            if busy.len() >= AT_ONCE {
                return;
            }
            if busy.insert(key.clone()) {
                let runner = self.clone();
                steps.spawn(async move {
                    match runner.turn(&key).await {
                        Ok(()) => runner.rested(&key),
                        Err(failure) => {
                            match &failure {
                                // Which store, and what ails it.
                                Failure::Busy(Some(cause)) => {
                                    tracing::warn!(error = %cause, "a job's step is tried again");
                                }
                                _ => {
                                    tracing::warn!(error = %failure, "a job's step is tried again");
                                }
                            }
                            runner.tires(&key);
                            tokio::time::sleep(PATIENCE).await;
                        }
                    }
                    key
                });
            }
        }
    }

    fn tired(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Tired>> {
        self.0.tired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step failed for want of a store: when the next one may be.
    fn tires(&self, key: &Key) {
        let now = self.0.engine.clock().now();
        let mut all = self.tired();
        let tired = all.entry(key.clone()).or_default();
        tired.failures = tired.failures.saturating_add(1);
        let until = now.checked_add(rest(tired.failures));
        tired.until = until.map_or(i64::MAX, |t| t.as_microsecond());
    }

    fn rested(&self, key: &Key) {
        self.tired().remove(key);
    }

    /// Destroys files that no job bears: of an upload that broke off with the process. To
    /// be called at the start, before anything is served.
    pub fn sweep(&self) {
        for tenant in self.0.engine.tenants() {
            let swept = || -> Result<(), StoreError> {
                for name in tenant.vessel.spooled()? {
                    if one(tenant, &name)?.is_none() {
                        tenant.vessel.destroy_spool(&name, SignedDuration::ZERO)?;
                    }
                }
                Ok(())
            };
            if let Err(e) = tokio::task::block_in_place(swept) {
                tracing::warn!(error = %e, "files without a job stay for now");
            }
        }
    }

    /// Jobs with something to do now, those that waited longest first.
    fn due(&self, woken: bool) -> Vec<Key> {
        let at = self.0.engine.clock().now().as_microsecond();
        let tired = self.tired().clone();
        let mut due = Vec::new();
        for tenant in self.0.engine.tenants() {
            let jobs = match all(tenant) {
                Ok(jobs) => jobs,
                Err(e) => {
                    tracing::warn!(error = %e, "jobs can't be looked at now");
                    continue;
                }
            };
            for Found { job, .. } in jobs {
                let ours = self.0.works.contains_key(job.kind.as_str());
                let rests = job.rests.is_some_and(|until| until > at) && !woken;
                let over = job.until.is_some_and(|until| until <= at);
                let now = match job.state {
                    State::Waiting | State::Running => !rests,
                    State::Done | State::Expired => over,
                    // What it left is destroyed first; from then on it has an end.
                    State::Failed | State::Cancelled | State::Stopped => {
                        job.until.is_none() || over
                    }
                };
                let key = (tenant.vessel.tenant().clone(), job.id);
                let tired = tired.get(&key).is_some_and(|t| t.until > at) && !woken;
                if ours && now && !tired {
                    due.push(key);
                }
            }
        }
        due
    }

    /// One step of one job, or its clearing away.
    async fn turn(&self, (tenant, id): &Key) -> Result<(), Failure> {
        let engine = &self.0.engine;
        let Some(tenant) = engine.tenant(tenant) else { return Ok(()) };
        let nobody = engine.new_request_id();
        let failed = |e: StoreError| Failure::from_store(e, nobody);
        let Some(mut found) = one(tenant, id).map_err(failed)? else { return Ok(()) };
        let Some(work) = self.0.works.get(found.job.kind.as_str()) else { return Ok(()) };
        if found.job.state.ended() {
            return self.clear(tenant, work.as_ref(), found).await;
        }
        let owner = self
            .0
            .subjects
            .subject(
                tenant.vessel.control(),
                tenant.vessel.tenant(),
                &found.job.owner,
                found.job.purpose,
            )
            .map_err(failed)?;
        let Some(mut owner) = owner else {
            found.job.state = State::Stopped;
            return self.end(tenant, found).await;
        };
        owner.mfa = found.job.mfa;
        if let Some(through) = &found.job.through {
            let control = tenant.vessel.control();
            if !self.0.subjects.client_stands(control, &through.client).map_err(failed)? {
                found.job.state = State::Stopped;
                return self.end(tenant, found).await;
            }
            through.limit(&mut owner);
        }
        let caller = engine.as_owner(owner);
        if found.job.state == State::Waiting {
            found.job.state = State::Running;
            engine.note_job(tenant, &caller, &found.job, OutcomeCode::Success, false).await?;
            found = save(tenant, &found).map_err(failed)?;
        }
        let turn = Turn { engine, tenant, caller: &caller, job: &found.job };
        let now = engine.clock().now();
        match work.step(turn).await {
            Ok(Next::More { work, done, of }) => {
                found.job.work = work;
                found.job.done = done;
                found.job.of = of;
                found.job.rests = None;
            }
            Ok(Next::Rest { work, done, until }) => {
                found.job.work = work;
                found.job.done = done;
                found.job.rests = Some(until.as_microsecond());
            }
            Ok(Next::Done { work, done, keep }) => {
                found.job.work = work;
                found.job.done = done;
                found.job.rests = None;
                found.job.state = State::Done;
                found.job.until =
                    now.checked_add(keep.unwrap_or(REMEMBERED)).ok().map(|t| t.as_microsecond());
                return self.end(tenant, found).await;
            }
            Ok(Next::Failed(reason)) => {
                found.job.state = State::Failed;
                found.job.reason = Some(reason);
                return self.end(tenant, found).await;
            }
            Err(failure @ Failure::Busy(_)) => {
                // Nothing was lost: the same step again, a little later.
                return Err(failure);
            }
            Err(failure) => {
                tracing::error!(error = %failure, job = %found.job.id, "a job failed");
                found.job.state = State::Failed;
                found.job.reason = Some(reason_of(&failure));
                return self.end(tenant, found).await;
            }
        }
        match save(tenant, &found) {
            // It was ended from outside while the step was under way: that holds.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Writes down and stores that a job ended.
    async fn end(&self, tenant: &Tenant, mut found: Found) -> Result<(), Failure> {
        let engine = &self.0.engine;
        let caller = self.record_keeper(tenant, &found.job);
        let failed = |e: StoreError| Failure::from_store(e, caller.request.id);
        found.job.ended = Some(engine.clock().now().as_microsecond());
        let outcome = match found.job.state {
            State::Done | State::Expired => OutcomeCode::Success,
            State::Stopped => OutcomeCode::Denied,
            _ => OutcomeCode::Failed,
        };
        // Written down before it is so: a crash in between ends it once more.
        engine.note_job(tenant, &caller, &found.job, outcome, false).await?;
        match save(tenant, &found) {
            Ok(found) => engine.note_job(tenant, &caller, &found.job, outcome, true).await,
            // It was ended from outside meanwhile: that holds.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Destroys what a job left, and forgets it a day later.
    async fn clear(
        &self,
        tenant: &Tenant,
        work: &dyn Work,
        mut found: Found,
    ) -> Result<(), Failure> {
        let engine = &self.0.engine;
        let caller = self.record_keeper(tenant, &found.job);
        let failed = |e: StoreError| Failure::from_store(e, caller.request.id);
        tokio::task::block_in_place(|| work.clear(tenant, &found.job))?;
        let now = engine.clock().now();
        let over = found.job.until.is_some_and(|at| at <= now.as_microsecond());
        if over && found.job.state != State::Done {
            return match tenant.vessel.control().end(super::KIND, &found.job.id, found.version) {
                Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
                Err(e) => Err(failed(e)),
            };
        }
        if found.job.state == State::Done {
            found.job.state = State::Expired;
        }
        // What it worked on is of no use to anyone any more.
        found.job.work = serde_json::Value::Null;
        found.job.until = now.checked_add(REMEMBERED).ok().map(|t| t.as_microsecond());
        match save(tenant, &found) {
            Ok(found) => {
                engine.note_job(tenant, &caller, &found.job, OutcomeCode::Success, true).await
            }
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Under whose name the end of a job is written down: its owner's, who may be
    /// gone.
    fn record_keeper(&self, tenant: &Tenant, job: &Job) -> crate::caller::Caller {
        self.0.engine.as_owner(phial_base::Subject {
            tenant: tenant.vessel.tenant().clone(),
            id: job.owner.clone(),
            roles: Vec::new(),
            unit: None,
            practitioner: None,
            patient: None,
            purpose: job.purpose,
            mfa: job.mfa,
            session: None,
            client: None,
            scopes: None,
        })
    }
}

/// A failure in one of the words that operators see.
fn reason_of(failure: &Failure) -> Reason {
    match failure {
        Failure::Invalid(_)
        | Failure::Unprocessable(_)
        | Failure::TooLarge(_)
        | Failure::Conflict { .. } => Reason::Invalid,
        Failure::Forbidden(_) | Failure::Unauthenticated | Failure::TooMany(_) => Reason::Forbidden,
        Failure::NotFound | Failure::Gone => Reason::Gone,
        Failure::Busy(_) | Failure::Internal { .. } => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rest_is_longer_than_the_one_before_up_to_the_longest() {
        let rests: Vec<i64> = (1..=10).map(|n| rest(n).as_secs()).collect();
        assert_eq!(rests, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(rest(u32::MAX), LONGEST);
    }
}
