//! Who asks and through which request: the context that every interaction takes.

use std::sync::Arc;

use phial_base::{RequestInfo, Subject};
use phial_store::index::Viewer;

/// One authenticated request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks, and why.
    pub subject: Arc<Subject>,
    /// When, from where, under which number.
    pub request: RequestInfo,
}

impl Caller {
    /// The subject, to be changed for this request alone.
    pub fn subject_mut(&mut self) -> &mut Subject {
        Arc::make_mut(&mut self.subject)
    }

    /// The part of the subject that care relationships hang on.
    pub(crate) fn viewer(&self) -> Viewer {
        Viewer {
            practitioner: self.subject.practitioner.clone(),
            patient: self.subject.patient.clone(),
            launch: self.subject.scopes.as_ref().and_then(|s| s.patient().cloned()),
        }
    }
}
