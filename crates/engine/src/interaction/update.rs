//! `update`: a new version, or a new resource under the caller's id
//! (<https://hl7.org/fhir/R4/http.html#update>).

use phial_audit::EventKind;
use phial_base::{LogicalId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::json::Doc;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::write::{Method, Write, Written};

impl Engine {
    /// Replaces a record, or creates it under this id. Needs a permit for every class
    /// of the old and the new version; creating needs sight of the whole type, so
    /// that a denied id and an absent id look the same.
    ///
    /// # Errors
    /// As [`Engine::create`], and [`Failure::Conflict`] when `if_match` or
    /// `if_none_match` (`*`) does not hold.
    pub async fn update(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: LogicalId,
        body: Doc,
        if_match: Option<Version>,
        if_none_match: bool,
    ) -> Result<Written, Failure> {
        let write = Write {
            method: Method::Update,
            ty,
            id: Some(id),
            body: Some(body),
            if_match,
            if_none_match,
            if_none_exist: None,
            full_url: None,
            place: String::new(),
        };
        self.write_one(caller, EventKind::Update, write).await
    }
}
