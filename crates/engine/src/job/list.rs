//! Looking at jobs and ending them: by their owner, and by operators, who see kind,
//! state and counts and nothing of what a job works on.

use phial_audit::{EventKind, OutcomeCode};
use phial_policy::Action;
use phial_store::Error as StoreError;

use super::{Found, Job, State, all, one, save};
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

impl Engine {
    /// The caller's own job. What is another's, or of another purpose, looks absent.
    ///
    /// # Errors
    /// [`Failure::NotFound`]; [`Failure::Busy`] when a store can't be reached.
    pub fn own_job(&self, caller: &Caller, kind: &str, id: &str) -> Result<Job, Failure> {
        let tenant = self.home(caller)?;
        let found = one(tenant, id).map_err(Self::store_failure(caller))?;
        found
            .map(|f| f.job)
            .filter(|job| job.kind == kind && job.owner == caller.subject.id)
            .filter(|job| job.purpose == caller.subject.purpose)
            // One app's job is not another's, nor its user's own.
            .filter(|job| {
                job.through.as_ref().map(|t| t.client.as_str()) == caller.subject.client.as_deref()
            })
            .ok_or(Failure::NotFound)
    }

    /// Ends the caller's own job, and lets the runner destroy what it left.
    ///
    /// # Errors
    /// As [`Engine::own_job`].
    pub async fn cancel_own_job(
        &self,
        caller: &Caller,
        kind: &str,
        id: &str,
    ) -> Result<Job, Failure> {
        self.own_job(caller, kind, id)?;
        let tenant = self.home(caller)?;
        self.cancelled(tenant, caller, id).await
    }

    /// All jobs of the caller's tenant, oldest first, for an operator.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage jobs.
    pub async fn jobs(&self, caller: &Caller) -> Result<Vec<Job>, Failure> {
        let tenant = self.operating(caller).await?;
        let all = all(tenant).map_err(Self::store_failure(caller))?;
        Ok(all.into_iter().map(|f| f.job).collect())
    }

    /// One job of the caller's tenant, for an operator.
    ///
    /// # Errors
    /// As [`Engine::jobs`], and [`Failure::NotFound`].
    pub async fn job(&self, caller: &Caller, id: &str) -> Result<Job, Failure> {
        let tenant = self.operating(caller).await?;
        let found = one(tenant, id).map_err(Self::store_failure(caller))?;
        found.map(|f| f.job).ok_or(Failure::NotFound)
    }

    /// Ends a job of the caller's tenant, for an operator. The process that serves
    /// notices before the job's next step.
    ///
    /// # Errors
    /// As [`Engine::job`].
    pub async fn cancel_job(&self, caller: &Caller, id: &str) -> Result<Job, Failure> {
        let tenant = self.operating(caller).await?;
        self.cancelled(tenant, caller, id).await
    }

    async fn operating(&self, caller: &Caller) -> Result<&Tenant, Failure> {
        let tenant = self.home(caller)?;
        if self.policy().allows(&caller.subject, Action::ManageJobs) {
            return Ok(tenant);
        }
        let failure = Failure::forbidden("your role may not manage jobs");
        let e = entry::of(caller, EventKind::Job);
        Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await)
    }

    async fn cancelled(&self, tenant: &Tenant, caller: &Caller, id: &str) -> Result<Job, Failure> {
        let failed = Self::store_failure(caller);
        loop {
            let Some(mut found) = one(tenant, id).map_err(&failed)? else {
                return Err(Failure::NotFound);
            };
            let done = found.job.state == State::Done;
            if found.job.state.ended() && !done {
                return Ok(found.job);
            }
            found.job.state = State::Cancelled;
            found.job.ended = Some(caller.request.at.as_microsecond());
            // What it left is to go now.
            found.job.until = None;
            self.note_job(tenant, caller, &found.job, OutcomeCode::Success, false).await?;
            match save(tenant, &found) {
                Ok(Found { job, .. }) => {
                    self.note_job(tenant, caller, &job, OutcomeCode::Success, true).await?;
                    self.wake_jobs();
                    return Ok(job);
                }
                // A step ended in between: its record is the one to end.
                Err(StoreError::Conflict { .. }) => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }
}
