//! `patch`: parts of a resource changed by name
//! (<https://hl7.org/fhir/R4/http.html#patch>); also of what a condition finds.
//!
//! Whoever sees a part of a record patches that part; the rest is carried over, and takes
//! no part in whether the patch fits (decision 0036).

use phial_base::LogicalId;
use phial_fhir::Patch;
use phial_fhir::definitions::ResourceType;

use crate::write::{Method, Write};

impl Write {
    /// A patch of this record.
    #[must_use]
    pub fn patch(ty: ResourceType, id: LogicalId, patch: Patch) -> Self {
        Write { patch: Some(patch), ..Write::new(Method::Patch, ty, Some(id)) }
    }

    /// A patch of the one record that satisfies a search.
    #[must_use]
    pub fn patch_where(ty: ResourceType, condition: String, patch: Patch) -> Self {
        let write = Write::new(Method::Patch, ty, None);
        Write { patch: Some(patch), condition: Some(condition), ..write }
    }
}
