//! `$export`: records in bulk, as FHIR Bulk Data Access 2 describes it
//! (<https://hl7.org/fhir/uv/bulkdata/STU2/export.html>): of the whole system, of all
//! patients, or of the members of a Group.
//!
//! An export is a job. It reads the record log in order, so that nothing is looked up by
//! content, and every record passes policy by itself, under its owner's roles as they are
//! at that moment; segments that are not permitted stay sealed. Each piece is named in the
//! audit log, record by record with its patients, before it is written, sealed, to the
//! job's files. From there it leaves only for the one who asked, piece by piece, each with
//! a receipt of its own.
//!
//! The files expire, and with their key they are gone. So are they when a patient is
//! forgotten: an export that may hold the patient's records is ended.

mod ask;
mod files;
mod open;
mod work;

use phial_base::{LogicalId, Seq};
use phial_fhir::definitions::ResourceType;
use phial_store::spool::Mark;
use serde::{Deserialize, Serialize};

pub use ask::{Kickoff, Level, filters};
pub use files::{Download, Status};
pub use work::ExportWork;

/// The name of exports among jobs.
pub const KIND: &str = "export";

/// What an export was asked for and how far it is: [`crate::job::Job::work`]. Field names
/// are part of the control log's content: only append.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Export {
    /// The request as it came, for the manifest.
    pub(crate) request: String,
    /// The FHIR instant that the export is of, microseconds since the epoch.
    pub(crate) taken: i64,
    /// The last place of the record log at that time.
    pub(crate) at: u64,
    /// Only what is about a patient.
    pub(crate) patients: bool,
    /// Only what is about these.
    pub(crate) only: Option<Vec<String>>,
    /// Only what is about the members of this Group, as it was at this version.
    pub(crate) group: Option<(String, u32)>,
    /// `_type`
    pub(crate) types: Option<Vec<String>>,
    /// `_since`, microseconds since the epoch.
    pub(crate) since: Option<i64>,
    /// `_typeFilter`: type and query.
    pub(crate) filters: Vec<(String, String)>,
    /// `_elements`: a type, or none for all types, and the name of an element.
    pub(crate) elements: Vec<(Option<String>, String)>,
    /// `includeAssociatedData`: which Provenances go with the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) associated: Option<Associated>,
    /// Under what it was made: roles and policies. When they change, it is void.
    pub(crate) under: String,
    /// Everything up to here is done.
    pub(crate) after: u64,
    /// The files.
    pub(crate) files: Vec<File>,
}

/// Which Provenances go with the records of an export
/// (<https://hl7.org/fhir/uv/bulkdata/STU2/export.html#query-parameters>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Associated {
    /// The most recent one about each record.
    Latest,
    /// Every one about a record.
    Relevant,
}

/// One file of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct File {
    /// The type of its resources; of deletions, that of the deleted.
    pub(crate) ty: String,
    /// Whether it says what was deleted.
    pub(crate) deleted: bool,
    /// Where it ends.
    pub(crate) end: Mark,
    /// Lines in it.
    pub(crate) count: u64,
}

impl Export {
    pub(crate) fn read(work: &serde_json::Value) -> Option<Export> {
        serde_json::from_value(work.clone()).ok()
    }

    fn written(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn at(&self) -> Seq {
        Seq(self.at)
    }

    fn types(&self) -> Option<Vec<ResourceType>> {
        let types = self.types.as_ref()?;
        Some(types.iter().filter_map(|t| ResourceType::from_name(t)).collect())
    }

    /// Whether it may hold records of the patient.
    pub(crate) fn may_hold(&self, patient: &LogicalId) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|id| id == patient.as_str()))
    }
}
