//! `create`: a new resource under an id of ours
//! (<https://hl7.org/fhir/R4/http.html#create>), also conditional
//! (`If-None-Exist`).

use phial_fhir::definitions::ResourceType;
use phial_fhir::json::Doc;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::released::Released;
use crate::write::{Method, Write, Written};

impl Write {
    /// A create, unless `if_none_exist` (a search without the `?`) matches.
    #[must_use]
    pub fn create(ty: ResourceType, body: Doc, if_none_exist: Option<String>) -> Self {
        let write = Write::new(Method::Create, ty, None);
        Write { body: Some(body), condition: if_none_exist, ..write }
    }
}

impl Engine {
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
