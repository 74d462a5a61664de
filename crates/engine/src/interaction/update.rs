//! `update`: a new version, or a new resource under the caller's id
//! (<https://hl7.org/fhir/R4/http.html#update>); also of what a condition finds
//! (<https://hl7.org/fhir/R4/http.html#cond-update>).
//!
//! It needs a permit for every class of the old and the new version; creating needs sight
//! of the whole type, so that a denied id and an absent id look the same.

use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_fhir::json::Doc;

use crate::write::{Method, Write};

impl Write {
    /// An update of, or a create under, this id.
    #[must_use]
    pub fn update(ty: ResourceType, id: LogicalId, body: Doc) -> Self {
        Write { body: Some(body), ..Write::new(Method::Update, ty, Some(id)) }
    }

    /// An update of the one record that satisfies a search, or a create when there is none.
    #[must_use]
    pub fn update_where(ty: ResourceType, condition: String, body: Doc) -> Self {
        let write = Write::new(Method::Update, ty, None);
        Write { body: Some(body), condition: Some(condition), ..write }
    }
}
