//! `read`: the current version of a resource
//! (<https://hl7.org/fhir/R4/http.html#read>).

use phial_audit::{EventKind, OutcomeCode};
use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_policy::Action;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::released::{Released, ReleasedFacts};

impl Engine {
    /// The current version, with what the caller's role may not see taken out.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when it is absent or invisible, the same in both cases;
    /// [`Failure::Gone`] when it was deleted and the caller could have seen it;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn read(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let found = tenant.vessel.find(ty, id).map_err(Self::store_failure(caller))?;
        self.read_found(tenant, caller, ty, id, EventKind::Read, found).await
    }

    /// What `read` and `vread` share once the row was looked up.
    pub(crate) async fn read_found(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
        kind: EventKind,
        found: Option<Unopened>,
    ) -> Result<Released, Failure> {
        let action = if kind == EventKind::Vread { Action::Vread } else { Action::Read };
        let mut e = entry::of(caller, kind);
        let Some(found) = found else {
            let row = tenant.vessel.row_id(ty, id).map_err(Self::store_failure(caller))?;
            entry::absent(&mut e, ty, row);
            return Err(self
                .refuse(tenant, caller, e, OutcomeCode::NotFound, Failure::NotFound)
                .await);
        };
        let permit = match self.decide(tenant, caller, action, &found)? {
            Ok(permit) => permit,
            Err(denial) => {
                entry::denied(&mut e, &found, &denial);
                return Err(self
                    .refuse(tenant, caller, e, OutcomeCode::Denied, Failure::NotFound)
                    .await);
            }
        };
        if found.header.deleted {
            entry::target(&mut e, &found, &permit);
            return Err(self.refuse(tenant, caller, e, OutcomeCode::NotFound, Failure::Gone).await);
        }
        let opened =
            tenant.vessel.open_record(&permit, &found).map_err(Self::store_failure(caller))?;
        entry::target(&mut e, &found, &permit);
        let facts =
            ReleasedFacts { ty, version: found.version, last_updated: found.header.last_updated };
        let body = bytes::Bytes::from_owner(opened.into_body());
        self.release(tenant, caller, e, &[permit], body, Some(facts)).await
    }
}
