//! The closed set of ways in which an interaction can fail. HTTP and the CLI each
//! map it in one place.

use phial_base::RequestId;
use phial_fhir::issue::{Issue, IssueCode, Severity};

/// What was refused and why, in words that carry no value.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// FHIR issues, at least one.
    pub issues: Vec<Issue>,
}

impl Refusal {
    /// A refusal with one issue.
    pub fn new(code: IssueCode, path: impl Into<String>, text: impl Into<String>) -> Self {
        Refusal {
            issues: vec![Issue {
                severity: Severity::Error,
                code,
                path: path.into(),
                text: text.into(),
            }],
        }
    }
}

/// Why an interaction did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request is not valid FHIR or breaks a rule (400).
    #[error("the request is not valid")]
    Invalid(Refusal),
    /// More than is taken in (413).
    #[error("too large")]
    TooLarge(Refusal),
    /// The request is well formed and can't be done to this record (422).
    #[error("the request can't be applied")]
    Unprocessable(Refusal),
    /// More than this account may read for now (429).
    #[error("more than may be read for now")]
    TooMany(Refusal),
    /// Nobody is known to be asking (401).
    #[error("authentication is required")]
    Unauthenticated,
    /// The role may never do this, whatever the data (403).
    #[error("not permitted")]
    Forbidden(Refusal),
    /// Absent, or invisible to this subject: the same answer (404).
    #[error("not found")]
    NotFound,
    /// Deleted (410).
    #[error("deleted")]
    Gone,
    /// The record moved on, or a condition does not hold.
    #[error("conflict")]
    Conflict {
        /// Whether a precondition that the caller stated failed (412), rather than
        /// two writes meeting (409).
        precondition: bool,
        /// What failed.
        refusal: Refusal,
    },
    /// A store or the keys can't be reached; nothing was released (503).
    #[error("temporarily unavailable")]
    Busy(#[source] Option<phial_store::Error>),
    /// A defect or damage; only the incident's number is shown (500).
    #[error("internal error, incident {incident}")]
    Internal {
        /// The request's number, to find it in the log.
        incident: RequestId,
        /// The cause, for the log alone.
        #[source]
        source: phial_store::Error,
    },
}

impl Failure {
    /// An invalid request with one issue.
    pub fn invalid(code: IssueCode, path: impl Into<String>, text: impl Into<String>) -> Self {
        Failure::Invalid(Refusal::new(code, path, text))
    }

    /// A refusal from role and parameters alone.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Failure::Forbidden(Refusal::new(IssueCode::Forbidden, "", text))
    }

    /// More than is taken in.
    pub fn too_large(path: impl Into<String>, text: impl Into<String>) -> Self {
        Failure::TooLarge(Refusal::new(IssueCode::TooLong, path, text))
    }

    /// A precondition of the caller's that does not hold.
    pub fn precondition(text: impl Into<String>) -> Self {
        Failure::Conflict {
            precondition: true,
            refusal: Refusal::new(IssueCode::Conflict, "", text),
        }
    }

    /// What a failing store means for the request with this number.
    pub fn from_store(e: phial_store::Error, incident: RequestId) -> Self {
        use phial_store::Error as E;
        match e {
            E::Unavailable { .. } | E::Unknown => Failure::Busy(Some(e)),
            E::Conflict { .. } => Failure::Conflict {
                precondition: false,
                refusal: Refusal::new(
                    IssueCode::Conflict,
                    "",
                    "the record was changed by someone else at the same time",
                ),
            },
            other => Failure::Internal { incident, source: other },
        }
    }
}
