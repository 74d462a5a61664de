//! Operations of FHIR, and ours on whole patients, keys, logs and files.

pub mod everything;
pub mod export;
pub mod import;
pub mod meta;
pub mod ndjson;
pub mod parameters;
pub mod purge;
pub mod recover;
pub mod relabel;
mod reseal;
pub mod rotate;
pub mod subscription;
pub mod tail;
pub mod terminology;
pub mod validate;

use phial_base::LogicalId;

use crate::job::{Job, State};

/// Whether files of this job may hold records of the patient.
pub(crate) fn may_hold(job: &Job, patient: &LogicalId) -> bool {
    if !matches!(job.state, State::Waiting | State::Running | State::Done) {
        return false;
    }
    match job.kind.as_str() {
        export::KIND => {
            export::Export::read(&job.work).is_none_or(|export| export.may_hold(patient))
        }
        // What comes in lies in them until it is taken in.
        ndjson::KIND => job.state != State::Done,
        _ => false,
    }
}
