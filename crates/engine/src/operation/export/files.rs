//! What becomes of an export or import: its status, its manifest, and its files on their
//! way out.
//! A file leaves piece by piece; before each piece the key is asked for anew and the log
//! holds durably who takes it.

use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_store::spool::Mark;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Export, KIND};
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::interaction::batch::instant;
use crate::job::{Job, Reason, State};
use crate::operation::ndjson::{self, Import};
use crate::released::{Output, Released};

/// Frames of a file in one piece of a download.
const PIECE: u64 = 4;

/// How an export stands.
#[derive(Debug)]
pub enum Status {
    /// It is being done.
    Going {
        /// In words, for `X-Progress`.
        progress: String,
    },
    /// It is done.
    Done {
        /// The manifest.
        manifest: Vec<u8>,
        /// When the files are destroyed, microseconds since the epoch.
        until: Option<i64>,
    },
    /// It could not be done.
    Failed(Option<Reason>),
}

/// A file on its way out.
pub struct Download {
    engine: Engine,
    caller: Caller,
    job: String,
    file: u32,
    at: Mark,
    end: Mark,
}

impl Engine {
    /// How the caller's export stands.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for one that is none, another's, ended or expired.
    pub fn bulk_status(&self, caller: &Caller, id: &str, base: &str) -> Result<Status, Failure> {
        let job = self.own_bulk_job(caller, id)?;
        Ok(match job.state {
            State::Waiting => Status::Going { progress: "not begun".to_owned() },
            State::Running => Status::Going {
                progress: match job.of {
                    Some(of) if of > 0 => {
                        format!("{} of about {of} records", job.done.min(of))
                    }
                    _ => format!("{} records", job.done),
                },
            },
            State::Done if job.kind == ndjson::KIND => {
                let import = Import::read(&job.work).ok_or(Failure::NotFound)?;
                Status::Done { manifest: import.manifest(&job, base), until: job.until }
            }
            State::Done => {
                let export = Export::read(&job.work).ok_or(Failure::NotFound)?;
                self.still_under(caller, &export)?;
                Status::Done { manifest: manifest(&job, &export, base), until: job.until }
            }
            State::Failed => Status::Failed(job.reason),
            State::Cancelled | State::Stopped | State::Expired => return Err(Failure::NotFound),
        })
    }

    /// Ends the caller's export and has its files destroyed.
    ///
    /// # Errors
    /// As [`Engine::bulk_status`].
    pub async fn cancel_bulk(&self, caller: &Caller, id: &str) -> Result<(), Failure> {
        let job = self.own_bulk_job(caller, id)?;
        if matches!(job.state, State::Cancelled | State::Stopped | State::Expired) {
            return Err(Failure::NotFound);
        }
        self.cancel_own_job(caller, &job.kind, id).await.map(|_| ())
    }

    /// The caller's own export or import.
    fn own_bulk_job(&self, caller: &Caller, id: &str) -> Result<Job, Failure> {
        self.own_job(caller, KIND, id).or_else(|_| self.own_job(caller, ndjson::KIND, id))
    }

    /// A file of the caller's export, to be taken piece by piece.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for a file or export that is none, another's, not done or
    /// destroyed; [`Failure::Forbidden`] when the caller's roles or the policies have
    /// changed since.
    pub async fn bulk_file(
        &self,
        caller: &Caller,
        id: &str,
        file: u32,
    ) -> Result<Download, Failure> {
        let tenant = self.home(caller)?;
        let found = self.own_bulk_job(caller, id).and_then(|job| {
            if job.kind == ndjson::KIND {
                let import = Import::read(&job.work).filter(|_| job.state == State::Done);
                let errors = import.filter(|i| file == ndjson::ERRORS && i.rejected > 0);
                return errors.map(|i| i.errors).ok_or(Failure::NotFound);
            }
            let export = Export::read(&job.work).filter(|_| job.state == State::Done);
            let export = export.ok_or(Failure::NotFound)?;
            self.still_under(caller, &export)?;
            let end = export.files.get(file as usize).map(|f| f.end);
            end.ok_or(Failure::NotFound)
        });
        match found {
            Ok(end) => Ok(Download {
                engine: self.clone(),
                caller: caller.clone(),
                job: id.to_owned(),
                file,
                at: Mark::default(),
                end,
            }),
            Err(failure) => {
                let mut e = entry::of(caller, EventKind::Export);
                entry::note(&mut e, DetailKey::Operation, "export-file".to_owned());
                let outcome = match &failure {
                    Failure::Forbidden(_) => OutcomeCode::Denied,
                    Failure::NotFound => OutcomeCode::NotFound,
                    _ => return Err(failure),
                };
                Err(self.refuse(tenant, caller, e, outcome, failure).await)
            }
        }
    }

    /// What was exported under other roles or policies is not handed out under these.
    fn still_under(&self, caller: &Caller, export: &Export) -> Result<(), Failure> {
        if export.under == self.standing(caller) {
            Ok(())
        } else {
            Err(Failure::forbidden("your roles or the policies changed since: export again"))
        }
    }
}

impl Download {
    /// The next piece, once the log holds that it is taken; `None` behind the last.
    ///
    /// # Errors
    /// [`Failure::Gone`] when the file was destroyed meanwhile; [`Failure::Busy`] when a
    /// store, the keys or the audit log can't be reached.
    pub async fn next(&mut self) -> Result<Option<Released>, Failure> {
        if self.at == self.end {
            return Ok(None);
        }
        let (engine, caller) = (self.engine.clone(), &self.caller);
        let tenant = engine.home(caller)?;
        let failed = Engine::store_failure(caller);
        let from = self.at.frames;
        let mut text = Zeroizing::new(Vec::new());
        tokio::task::block_in_place(|| {
            // Asked for each piece: what is destroyed ends in the middle.
            let spool = tenant.vessel.spool_if_there(&self.job).map_err(&failed)?;
            let spool = spool.ok_or(Failure::Gone)?;
            while self.at != self.end && self.at.frames < from + PIECE {
                let (part, next) = spool.read(self.file, self.at).map_err(&failed)?;
                text.extend_from_slice(&part);
                self.at = next;
            }
            Ok::<(), Failure>(())
        })?;
        let mut e = entry::of(caller, EventKind::Export);
        entry::note(&mut e, DetailKey::Operation, "export-file".to_owned());
        entry::note(&mut e, DetailKey::Job, self.job.clone());
        entry::note(&mut e, DetailKey::Value, format!("file {}, piece {from}", self.file));
        // The digest of what leaves stands in the log as well.
        let output = Output::new(bytes::Bytes::from_owner(text));
        entry::note(&mut e, DetailKey::FileHash, hex::encode(output.digest()));
        let receipt = engine.record(tenant, caller, vec![e], Some(output.digest())).await?;
        // Its records were permitted and named when they were put into the file.
        Released::new(&[], &receipt, output, None).map(Some).map_err(|_| Failure::Internal {
            incident: caller.request.id,
            source: phial_store::Error::WrongPermit,
        })
    }
}

fn manifest(job: &Job, export: &Export, base: &str) -> Vec<u8> {
    let files = |deleted: bool| -> Vec<Value> {
        let all = export.files.iter().zip(0u32..).filter(|(f, _)| f.deleted == deleted);
        all.map(|(f, n)| {
            let ty = if deleted { "Bundle" } else { f.ty.as_str() };
            json!({"type": ty, "url": format!("{base}/$job/{}/{n}", job.id),
                "count": f.count})
        })
        .collect()
    };
    let manifest = json!({
        "transactionTime": instant(export.taken),
        "request": export.request,
        "requiresAccessToken": true,
        "output": files(false),
        "deleted": files(true),
        "error": [],
    });
    // A value of texts and numbers can be written.
    serde_json::to_vec(&manifest).unwrap_or_default()
}
