//! `$import`: NDJSON taken in by a job, from an upload or from sources that the operator
//! has listed (the bulk import that SMART proposes,
//! <https://github.com/smart-on-fhir/bulk-import>).
//!
//! What comes in lies sealed in the job's files until it is taken in, and is destroyed
//! then. Each line is a write like any other, under its owner's roles as they are at that
//! moment. A line with an id replaces the record of that name; one without gets an id
//! that depends on the line alone. So the same line again stores nothing twice, wherever
//! the job was cut off, and a step may be repeated.
//!
//! A line that can't be stored is left out and told of, as an OperationOutcome that names
//! the line and the place in it and repeats no value.

mod line;
mod work;

#[cfg(feature = "fuzz")]
pub(crate) use work::fuzz;

use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_policy::Action;
use phial_store::spool::Mark;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::interaction::batch::instant;
use crate::job::{Doing, Job};

pub use work::ImportWork;

/// The name of imports among jobs.
pub const KIND: &str = "import";

/// The number of the file that tells what was left out; inputs are numbered from 1.
pub(crate) const ERRORS: u32 = 0;
/// The most inputs of one import.
const MOST_INPUTS: usize = 1_000;

/// What an import was asked for and how far it is: [`crate::job::Job::work`]. Field names
/// are part of the control log's content: only append.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Import {
    /// The request as it came, for the manifest.
    pub(crate) request: String,
    /// When it was asked for, microseconds since the epoch.
    pub(crate) taken: i64,
    /// What is taken in, in this order.
    pub(crate) inputs: Vec<Input>,
    /// How many inputs are done.
    pub(crate) input: usize,
    /// Where the next line of the next input begins: in the frame behind this mark.
    pub(crate) at: Mark,
    /// So many bytes into that frame.
    pub(crate) offset: usize,
    /// Lines of the input before that.
    pub(crate) line: u64,
    /// Resources stored or found there already, by type.
    pub(crate) stored: std::collections::BTreeMap<String, u64>,
    /// Lines left out.
    pub(crate) rejected: u64,
    /// Where the file that tells of them ends.
    pub(crate) errors: Mark,
}

/// One input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Where it comes from; none for an upload.
    pub(crate) url: Option<String>,
    /// Where its copy ends, once there is one.
    pub(crate) end: Option<Mark>,
}

/// Fetches a source that the operator has listed.
pub trait Sources: Send + Sync {
    /// Whether the operator has listed it.
    fn listed(&self, url: &str) -> bool;

    /// Gives its bytes to `to`, piece by piece.
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        to: &'a mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Doing<'a, Result<(), Unfetched>>;
}

/// Why a source was not fetched.
#[derive(Debug)]
pub enum Unfetched {
    /// It does not answer, or not with NDJSON.
    Source,
    /// What came could not be kept.
    Kept(Failure),
}

impl Import {
    pub(crate) fn read(work: &Value) -> Option<Import> {
        serde_json::from_value(work.clone()).ok()
    }

    pub(crate) fn written(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// An import of these inputs, at its beginning.
    fn of(request: String, taken: i64, inputs: Vec<Input>) -> Self {
        Import {
            request,
            taken,
            inputs,
            input: 0,
            at: Mark::default(),
            offset: 0,
            line: 0,
            stored: std::collections::BTreeMap::new(),
            rejected: 0,
            errors: Mark::default(),
        }
    }

    pub(crate) fn manifest(&self, job: &Job, base: &str) -> Vec<u8> {
        let mut errors = Vec::new();
        if self.rejected > 0 {
            errors.push(json!({"type": "OperationOutcome", "count": self.rejected,
                "url": format!("{base}/$job/{}/{ERRORS}", job.id)}));
        }
        let stored: Vec<Value> =
            self.stored.iter().map(|(ty, n)| json!({"type": ty, "count": n})).collect();
        let manifest = json!({
            "transactionTime": instant(self.taken),
            "request": self.request,
            "requiresAccessToken": true,
            "output": [],
            "outcome": stored,
            "error": errors,
        });
        // A value of texts and numbers can be written.
        serde_json::to_vec(&manifest).unwrap_or_default()
    }
}

/// An upload on its way in: each piece is sealed as it comes.
pub struct Upload {
    engine: Engine,
    caller: Caller,
    job: String,
    request: String,
    end: Mark,
    held: zeroize::Zeroizing<Vec<u8>>,
}

impl Engine {
    /// Who may not import is told so before anything is taken.
    ///
    /// # Errors
    /// [`Failure::Forbidden`]; [`Failure::Busy`] when the log can't be reached.
    async fn importing(&self, caller: &Caller) -> Result<(), Failure> {
        if self.policy().allows(&caller.subject, Action::Import) {
            return Ok(());
        }
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Import);
        entry::note(&mut e, DetailKey::Operation, KIND.to_owned());
        let failure = Failure::forbidden("your role may not import");
        Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await)
    }

    /// Begins to take an upload.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for a role that may not import.
    pub async fn upload_ndjson(&self, caller: &Caller, request: String) -> Result<Upload, Failure> {
        self.importing(caller).await?;
        Ok(Upload {
            engine: self.clone(),
            caller: caller.clone(),
            job: self.new_request_id().to_string(),
            request,
            end: Mark::default(),
            held: zeroize::Zeroizing::default(),
        })
    }

    /// Begins an import from sources.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for a role that may not import, and for a source that the
    /// operator has not listed; [`Failure::Invalid`] for none or too many.
    pub async fn import_from(
        &self,
        caller: &Caller,
        request: String,
        urls: Vec<String>,
        sources: &dyn Sources,
    ) -> Result<Job, Failure> {
        self.importing(caller).await?;
        let refusal = if urls.is_empty() || urls.len() > MOST_INPUTS {
            Some(Failure::invalid(
                phial_fhir::issue::IssueCode::Value,
                "Parameters.parameter",
                format!("an import has 1 to {MOST_INPUTS} inputs, each with a url"),
            ))
        } else if !urls.iter().all(|url| sources.listed(url)) {
            Some(Failure::forbidden("a source is not among those that import.sources lists"))
        } else {
            None
        };
        if let Some(failure) = refusal {
            let tenant = self.home(caller)?;
            let mut e = entry::of(caller, EventKind::Import);
            entry::note(&mut e, DetailKey::Operation, KIND.to_owned());
            let outcome = match failure {
                Failure::Forbidden(_) => OutcomeCode::Denied,
                _ => OutcomeCode::Invalid,
            };
            return Err(self.refuse(tenant, caller, e, outcome, failure).await);
        }
        let inputs = urls.into_iter().map(|url| Input { url: Some(url), end: None }).collect();
        let import = Import::of(request, caller.request.at.as_microsecond(), inputs);
        self.start_job(caller, KIND, import.written()).await
    }
}

impl Upload {
    /// Takes a piece.
    ///
    /// # Errors
    /// [`Failure::Busy`] when it can't be kept.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.held.extend_from_slice(piece);
        if self.held.len() >= 4 * phial_store::spool::FRAME { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let failed = Engine::store_failure(&self.caller);
        let tenant = self.engine.home(&self.caller)?;
        let spool = tenant.vessel.spool(&self.job).map_err(&failed)?;
        self.end = spool.append(1, self.end, &self.held).map_err(&failed)?;
        self.held.clear();
        Ok(())
    }

    /// Everything has come: begins the job.
    ///
    /// # Errors
    /// As [`Engine::start_job`]; what was taken is destroyed then.
    pub async fn finish(mut self) -> Result<Job, Failure> {
        let kept = self.flush();
        if let Err(failure) = kept {
            self.discard();
            return Err(failure);
        }
        let inputs = vec![Input { url: None, end: Some(self.end) }];
        let taken = self.caller.request.at.as_microsecond();
        let import = Import::of(self.request.clone(), taken, inputs);
        let (engine, caller, id) = (self.engine.clone(), self.caller.clone(), self.job.clone());
        let started = engine.start_job_as(&caller, id, KIND, import.written()).await;
        if started.is_err() {
            self.discard();
        }
        started
    }

    /// It broke off: what was taken is destroyed.
    pub fn discard(&mut self) {
        self.held.clear();
        let Ok(tenant) = self.engine.home(&self.caller) else { return };
        // What can't be destroyed now, the next start destroys: no job bears its name.
        let _ = tenant.vessel.destroy_spool(&self.job, jiff::SignedDuration::ZERO);
    }
}
