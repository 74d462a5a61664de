//! `delete`: the end of a resource; its versions stay, sealed
//! (<https://hl7.org/fhir/R4/http.html#delete>).

use phial_audit::EventKind;
use phial_base::{LogicalId, Version};
use phial_fhir::definitions::ResourceType;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::write::{Method, Write, Written};

impl Engine {
    /// Deletes a record. Deleting what is already gone is no error.
    ///
    /// # Errors
    /// As [`Engine::update`].
    pub async fn delete(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: LogicalId,
        if_match: Option<Version>,
    ) -> Result<Written, Failure> {
        let write = Write {
            method: Method::Delete,
            ty,
            id: Some(id),
            body: None,
            if_match,
            if_none_match: false,
            if_none_exist: None,
            full_url: None,
            place: String::new(),
        };
        self.write_one(caller, EventKind::Delete, write).await
    }
}
