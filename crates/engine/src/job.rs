//! Jobs: work that takes longer than a request. It goes on behind the answer, a restart
//! takes it up where it stood, and whoever asked for it looks how far it is.
//!
//! A job is a record of the tenant's control log, sealed and durable as accounts are, and
//! it is done in steps. What the next step needs to know is in the record
//! ([`Job::work`]); after each step the record is replaced. So a crash loses at most the
//! step that was under way, and that one is done once more: a step must come to the same
//! when it is repeated.
//!
//! A job is no actor above the rules (invariant 9). Before each step its owner is looked
//! up anew: the step acts as that account with the roles that it has now, for the purpose
//! that was claimed when the job was asked for, and what it does is written down under
//! that name. When the account was suspended or has ended, the job is stopped.
//!
//! # How to use it
//!
//! Implement [`Work`] and give it to the [`Runner`] (`crates/phial/src/app.rs` does).
//! Start a job with [`Engine::start_job`]: from then on it is the runner's. In a step,
//! do a second's worth at most, keep places and counts in the value that you give back,
//! and nothing of a record: operators see a job's kind, state and counts, and the value
//! is sealed, but it stays in the control log's history. To wait (for a retry, for
//! something to deliver), give back [`Next::Rest`]; [`Engine::wake_jobs`] ends every
//! rest at once. A step that fails with [`Failure::Busy`] is tried again later; any
//! other failure ends the job.
//!
//! ```text
//! waiting ──► running ──► done ──► (expired: its files and its key are destroyed)
//!                │ ▲
//!                └─┴─ a step at a time; failed, cancelled or stopped end it
//! ```

mod list;
mod runner;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{
    LogicalId, Purpose, RequestInfo, Scope, Scopes, Subject, SubjectId, Surface, TenantId, Version,
};
use phial_fhir::issue::IssueCode;
use phial_store::Error as StoreError;
use phial_store::control::{ControlLog, Record};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

pub use runner::Runner;

/// The kind under which jobs lie in the control log.
pub(crate) const KIND: &str = "job";
/// The most jobs that one account may have under way.
const MOST_AT_ONCE: usize = 8;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Asked for, not begun.
    Waiting,
    /// Begun. After a restart it goes on.
    Running,
    /// As asked.
    Done,
    /// It could not be done; [`Job::reason`] says why in a word.
    Failed,
    /// Its owner or an operator ended it.
    Cancelled,
    /// Its owner may not act any more.
    Stopped,
    /// It was done, and what it left is destroyed.
    Expired,
}

impl State {
    /// Whether nothing is to be done any more.
    #[must_use]
    pub const fn ended(self) -> bool {
        !matches!(self, State::Waiting | State::Running)
    }

    /// The name, as `phial job` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Stopped => "stopped",
            State::Expired => "expired",
        }
    }
}

/// Why a job failed, in one of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The owner's role may not do this.
    Forbidden,
    /// What was asked can't be done.
    Invalid,
    /// What it works on is gone.
    Gone,
    /// An error of ours.
    Internal,
    /// A source can't be had.
    Source,
    /// A patient was forgotten whose records it held.
    Purged,
}

impl Reason {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Forbidden => "forbidden",
            Reason::Invalid => "invalid",
            Reason::Gone => "gone",
            Reason::Internal => "internal",
            Reason::Source => "source",
            Reason::Purged => "purged",
        }
    }
}

/// The app or service through which a job was asked for: its limits hold in every step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Through {
    /// Its name.
    pub client: String,
    /// Its scopes.
    pub scopes: String,
    /// The patient whom it was launched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
}

impl Through {
    /// Through which app the subject acts, if any.
    pub(crate) fn of(subject: &Subject) -> Option<Self> {
        let scopes = subject.scopes.as_ref()?;
        Some(Through {
            client: subject.client.as_deref().unwrap_or_default().to_owned(),
            scopes: scopes.to_string(),
            patient: scopes.patient().map(|p| p.as_str().to_owned()),
        })
    }

    /// The subject within the app's limits. What can't be read any more gives nothing.
    fn limit(&self, subject: &mut Subject) {
        let scopes = self.scopes.split(' ').filter_map(Scope::parse);
        let patient = self.patient.as_deref().and_then(|p| LogicalId::new(p).ok());
        subject.scopes = Some(Arc::new(Scopes::new(scopes, patient)));
        subject.client = Some(self.client.as_str().into());
    }
}

/// One job. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its random id, 32 hexadecimal digits.
    pub id: String,
    /// What kind of work: the name of a [`Work`].
    pub kind: String,
    /// The account that asked for it.
    pub owner: SubjectId,
    /// Why.
    pub purpose: Purpose,
    /// How the owner was authenticated when asking.
    pub mfa: u8,
    /// When it was asked for, microseconds since the epoch.
    pub created: i64,
    /// Where it stands.
    pub state: State,
    /// What its next step needs to know.
    pub work: Value,
    /// How much is done, in the work's own units.
    pub done: u64,
    /// Of how much, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Not before then, microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests: Option<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// When it ended, microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// Until when what it left is kept, microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The app through which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Through>,
}

/// A job with the version that a change of it replaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The job.
    pub job: Job,
    pub(crate) version: Version,
}

/// What a step came to.
#[derive(Debug)]
pub enum Next {
    /// There is more to do.
    More {
        /// For the next step.
        work: Value,
        /// How much is done.
        done: u64,
        /// Of how much.
        of: Option<u64>,
    },
    /// There is nothing to do until then, or until [`Engine::wake_jobs`].
    Rest {
        /// For the next step.
        work: Value,
        /// How much is done.
        done: u64,
        /// When to go on.
        until: Timestamp,
    },
    /// It is done.
    Done {
        /// What is to be known of it later.
        work: Value,
        /// How much was done.
        done: u64,
        /// How long what it leaves is kept. `None`: it leaves nothing, and its record
        /// is ended a day later.
        keep: Option<jiff::SignedDuration>,
    },
    /// It can't be done.
    Failed(Reason),
}

/// What a step of a job is given.
pub struct Turn<'a> {
    /// The gate.
    pub engine: &'a Engine,
    /// The tenant whose job it is.
    pub tenant: &'a Tenant,
    /// The owner, with the roles of this moment.
    pub caller: &'a Caller,
    /// The job.
    pub job: &'a Job,
}

/// A future of a step.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind of work.
pub trait Work: Send + Sync {
    /// Its name, which its jobs bear.
    fn kind(&self) -> &'static str;

    /// Does the next piece, a second's worth at most.
    fn step<'a>(&'a self, turn: Turn<'a>) -> Doing<'a, Result<Next, Failure>>;

    /// Destroys what a job left that failed, was cancelled or expired. May be called
    /// more than once.
    ///
    /// # Errors
    /// [`Failure::Busy`] to be called again.
    fn clear(&self, tenant: &Tenant, job: &Job) -> Result<(), Failure> {
        let _ = (tenant, job);
        Ok(())
    }
}

/// Who stands behind an account's name now.
pub trait Subjects: Send + Sync {
    /// The account, when it may act; `mfa` is 0 and there is no session.
    ///
    /// # Errors
    /// A store's: nobody can be recognised then.
    fn subject(
        &self,
        control: &ControlLog,
        tenant: &TenantId,
        id: &SubjectId,
        purpose: Purpose,
    ) -> Result<Option<Subject>, StoreError>;

    /// Whether the app or service of this name still stands.
    ///
    /// # Errors
    /// A store's: nothing may be done in its name then.
    fn client_stands(&self, control: &ControlLog, client: &str) -> Result<bool, StoreError>;
}

fn read(record: Record) -> Result<Found, StoreError> {
    let job =
        serde_json::from_value(record.value).map_err(|_| StoreError::Corrupt("a job's record"))?;
    Ok(Found { job, version: record.version })
}

fn written(job: &Job) -> Result<Value, StoreError> {
    serde_json::to_value(job).map_err(|_| StoreError::Invalid("a job that can't be encoded"))
}

/// The jobs of a tenant, oldest first.
pub(crate) fn all(tenant: &Tenant) -> Result<Vec<Found>, StoreError> {
    let mut all: Vec<Found> =
        tenant.vessel.control().list(KIND)?.into_iter().map(read).collect::<Result<_, _>>()?;
    all.sort_by(|a, b| (a.job.created, &a.job.id).cmp(&(b.job.created, &b.job.id)));
    Ok(all)
}

/// One job.
pub(crate) fn one(tenant: &Tenant, id: &str) -> Result<Option<Found>, StoreError> {
    tenant.vessel.control().get(KIND, id)?.map(read).transpose()
}

/// Replaces a job's record. [`StoreError::Conflict`]: it was changed meanwhile.
pub(crate) fn save(tenant: &Tenant, found: &Found) -> Result<Found, StoreError> {
    let control = tenant.vessel.control();
    let value = written(&found.job)?;
    let version = control.put(KIND, &found.job.id, &value, Some(found.version))?;
    Ok(Found { job: found.job.clone(), version })
}

impl Engine {
    /// Begins a job of this kind for the caller. It is the runner's from then on.
    ///
    /// # Errors
    /// [`Failure::Conflict`] when the caller has many jobs under way already;
    /// [`Failure::Busy`] when a store can't be reached.
    pub async fn start_job(
        &self,
        caller: &Caller,
        kind: &str,
        work: Value,
    ) -> Result<Job, Failure> {
        let mut id = [0u8; 16];
        self.rng().fill(&mut id);
        self.start_job_as(caller, hex::encode(id), kind, work).await
    }

    /// As [`Engine::start_job`], under an id that was drawn before, because something
    /// bears it already.
    ///
    /// # Errors
    /// As [`Engine::start_job`].
    pub async fn start_job_as(
        &self,
        caller: &Caller,
        id: String,
        kind: &str,
        work: Value,
    ) -> Result<Job, Failure> {
        let tenant = self.home(caller)?;
        let failed = Self::store_failure(caller);
        let mine = |f: &Found| f.job.owner == caller.subject.id && !f.job.state.ended();
        if all(tenant).map_err(&failed)?.iter().filter(|f| mine(f)).count() >= MOST_AT_ONCE {
            let text = "you have many jobs under way: wait for one to end, or end one";
            return Err(Failure::Conflict {
                precondition: false,
                refusal: Refusal::new(IssueCode::Throttled, "", text),
            });
        }
        let job = Job {
            id,
            kind: kind.to_owned(),
            owner: caller.subject.id.clone(),
            purpose: caller.subject.purpose,
            mfa: caller.subject.mfa,
            created: caller.request.at.as_microsecond(),
            state: State::Waiting,
            work,
            done: 0,
            of: None,
            rests: None,
            reason: None,
            ended: None,
            until: None,
            through: Through::of(&caller.subject),
        };
        // Written down before it can act; a crash in between leaves an entry about a job
        // that never was.
        self.note_job(tenant, caller, &job, OutcomeCode::Success, false).await?;
        tenant
            .vessel
            .control()
            .put(KIND, &job.id, &written(&job).map_err(&failed)?, None)
            .map_err(&failed)?;
        self.note_job(tenant, caller, &job, OutcomeCode::Success, true).await?;
        self.wake_jobs();
        Ok(job)
    }

    /// Ends the rest of every job that rests, and lets the runner look for new ones.
    pub fn wake_jobs(&self) {
        self.jobs_woken().notify_one();
    }

    /// Writes down where a job stands; `stored` when its record says so already.
    pub(crate) async fn note_job(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        job: &Job,
        outcome: OutcomeCode,
        stored: bool,
    ) -> Result<(), Failure> {
        let mut e = entry::of(caller, EventKind::Job);
        e.outcome = outcome;
        entry::note(&mut e, DetailKey::Job, job.id.clone());
        entry::note(&mut e, DetailKey::Operation, job.kind.clone());
        entry::note(&mut e, DetailKey::Value, job.state.name().to_owned());
        if let Some(reason) = job.reason {
            entry::note(&mut e, DetailKey::Reason, reason.name().to_owned());
        }
        if stored {
            let head = tenant.vessel.control().head().map_err(Self::store_failure(caller))?;
            entry::note(&mut e, DetailKey::ControlHead, head);
            entry::note(&mut e, DetailKey::Count, job.done.to_string());
        }
        self.record(tenant, caller, vec![e], None).await.map(|_| ())
    }

    /// A caller for a step of a job: its owner as of now, through the jobs' door.
    pub(crate) fn as_owner(&self, subject: Subject) -> Caller {
        let request = RequestInfo {
            id: self.new_request_id(),
            at: self.clock().now(),
            ip: None,
            device: None,
            surface: Surface::Job,
        };
        Caller { subject: Arc::new(subject), request }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            id: "00".into(),
            kind: "export".into(),
            owner: SubjectId::new("ana").unwrap(),
            purpose: Purpose::HOPERAT,
            mfa: 0,
            created: 1,
            state: State::Running,
            work: serde_json::json!({"after": 3}),
            done: 2,
            of: Some(9),
            rests: None,
            reason: None,
            ended: None,
            until: None,
            through: None,
        }
    }

    #[test]
    fn a_jobs_record_is_frozen() {
        let text = concat!(
            r#"{"id":"00","kind":"export","owner":"ana","purpose":"HOPERAT","mfa":0,"#,
            r#""created":1,"state":"running","work":{"after":3},"done":2,"of":9}"#
        );
        assert_eq!(serde_json::from_str::<Job>(text).unwrap(), job());
        let back: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(job()).unwrap(), back);
        let through = Through {
            client: "app".into(),
            scopes: "system/*.rs".into(),
            patient: Some("p".into()),
        };
        let text = r#"{"client":"app","scopes":"system/*.rs","patient":"p"}"#;
        assert_eq!(serde_json::to_string(&through).unwrap(), text);
    }

    #[test]
    fn states_are_named_as_they_are_written() {
        for state in [
            State::Waiting,
            State::Running,
            State::Done,
            State::Failed,
            State::Cancelled,
            State::Stopped,
            State::Expired,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
