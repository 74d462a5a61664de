//! `delete`: the end of a resource; its versions stay, sealed
//! (<https://hl7.org/fhir/R4/http.html#delete>). Deleting what is already gone is no
//! error. Also of what a condition finds (<https://hl7.org/fhir/R4/http.html#3.1.0.7.1>):
//! one record, or several where that is allowed.

use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;

use crate::write::{Method, Write};

impl Write {
    /// A delete of this record.
    #[must_use]
    pub fn delete(ty: ResourceType, id: LogicalId) -> Self {
        Write::new(Method::Delete, ty, Some(id))
    }

    /// A delete of the record that satisfies a search, or of all that do when `many`.
    #[must_use]
    pub fn delete_where(ty: ResourceType, condition: String, many: bool) -> Self {
        Write { condition: Some(condition), many, ..Write::new(Method::Delete, ty, None) }
    }
}
