//! `vread`: one version of a resource
//! (<https://hl7.org/fhir/R4/http.html#vread>).

use phial_audit::EventKind;
use phial_base::{LogicalId, Version};
use phial_fhir::Subset;
use phial_fhir::definitions::ResourceType;
use phial_policy::Action;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::interaction::read::fits;
use crate::released::Released;

impl Engine {
    /// One version, with what the caller's role may not see taken out.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub async fn vread(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
        version: Version,
    ) -> Result<Released, Failure> {
        self.vread_part(caller, ty, id, version, None).await
    }

    /// As [`Engine::vread`], and of that only the part asked for.
    ///
    /// # Errors
    /// As [`Engine::read_part`].
    pub async fn vread_part(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
        version: Version,
        part: Option<&Subset>,
    ) -> Result<Released, Failure> {
        fits(part, ty)?;
        let tenant = self.home(caller)?;
        let row = tenant.vessel.row_id(ty, id).map_err(Self::store_failure(caller))?;
        // A label set since then, or a change of patient, counts for old versions too:
        // whoever may not see the current one sees none.
        let current = tenant.vessel.find(ty, id).map_err(Self::store_failure(caller))?;
        let found = match current {
            Some(c) if self.decide(tenant, caller, Action::Vread, &c)?.is_err() => Some(c),
            _ => tenant.vessel.find_version(row, version).map_err(Self::store_failure(caller))?,
        };
        self.read_found(tenant, caller, ty, id, EventKind::Vread, found, part).await
    }
}
