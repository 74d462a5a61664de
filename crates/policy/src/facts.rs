//! What a decision is made from: facts about the record, and circumstances. Nothing
//! of the record's body is among them.

use phial_base::{ClassSet, LabelSet, RowId, Surface, Version};

use crate::RelationshipSet;

/// Which version of which record a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordRef {
    /// The record.
    pub row: RowId,
    /// The version read, or the version that a write will make.
    pub version: Version,
}

/// What policy may know of a record. For a write: over the old and the new version
/// together, so that nothing can be written over that may not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// FHIR resource type.
    pub resource_type: &'static str,
    /// For reads, the classes that occur in the record; for writes, the classes touched.
    pub classes: ClassSet,
    /// Sensitivity labels.
    pub labels: LabelSet,
    /// Whether the record is about at least one patient.
    pub about_patient: bool,
}

/// What consents and restrictions that are in force say of a record. For a record about
/// several patients: denied when one of them denies, permitted when each of them permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Consent {
    /// A provision denies it.
    pub denies: bool,
    /// A provision permits it, and none denies it.
    pub permits: bool,
}

impl Consent {
    /// There is no consent that speaks of it.
    pub const SILENT: Consent = Consent { denies: false, permits: false };

    /// What holds for a record about both patients.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let denies = self.denies || other.denies;
        Consent { denies, permits: self.permits && other.permits && !denies }
    }
}

/// The circumstances of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The subject's ties to the patients that the record is about.
    pub relationships: RelationshipSet,
    /// What the patients' consents and restrictions say of this record, for this subject
    /// and purpose.
    pub consent: Consent,
    /// What a proxy's grant reaches; counts for nobody else.
    pub scope: ClassSet,
    /// Through which door the request came.
    pub surface: Surface,
}

impl Context {
    /// The circumstances of an ordinary FHIR request with these relationships.
    #[must_use]
    pub const fn new(relationships: RelationshipSet) -> Self {
        Context {
            relationships,
            consent: Consent::SILENT,
            scope: ClassSet::ALL,
            surface: Surface::Fhir,
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Context::new(RelationshipSet::NONE)
    }
}
