//! `create`: a new resource under an id of ours
//! (<https://hl7.org/fhir/R4/http.html#create>), also conditional
//! (`If-None-Exist`).

use phial_audit::EventKind;
use phial_fhir::definitions::ResourceType;
use phial_fhir::json::Doc;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::released::Released;
use crate::write::{Method, Write, Written};

impl Engine {
    /// Creates a record, unless `if_none_exist` (a search without the `?`) matches.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with every issue found; [`Failure::Forbidden`] when the
    /// role may not; [`Failure::Conflict`] when the condition matches several;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn create(
        &self,
        caller: &Caller,
        ty: ResourceType,
        body: Doc,
        if_none_exist: Option<String>,
    ) -> Result<Written, Failure> {
        let write = Write {
            method: Method::Create,
            ty,
            id: None,
            body: Some(body),
            if_match: None,
            if_none_match: false,
            if_none_exist,
            full_url: None,
            place: String::new(),
        };
        self.write_one(caller, EventKind::Create, write).await
    }

    pub(crate) async fn write_one(
        &self,
        caller: &Caller,
        kind: EventKind,
        write: Write,
    ) -> Result<Written, Failure> {
        let written = self.write_all(caller, kind, vec![write]).await?;
        written.into_iter().next().ok_or(Failure::NotFound)
    }
    /// The version that was just written, when the writer may read it. A newer one that
    /// came meanwhile is not the answer to this write.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn read_back(
        &self,
        caller: &Caller,
        written: &Written,
    ) -> Result<Option<Released>, Failure> {
        if written.deleted || written.version.0 == 0 {
            return Ok(None);
        }
        match self.read(caller, written.ty, &written.id).await {
            Ok(released) => {
                Ok(Some(released)
                    .filter(|r| r.facts().is_some_and(|f| f.version == written.version)))
            }
            Err(Failure::NotFound | Failure::Gone) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
