//! `read`: the current version of a resource
//! (<https://hl7.org/fhir/R4/http.html#read>).

use phial_audit::{EventKind, OutcomeCode};
use phial_base::LogicalId;
use phial_fhir::Subset;
use phial_fhir::definitions::ResourceType;
use phial_policy::Action;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
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
        self.read_part(caller, ty, id, None).await
    }

    /// As [`Engine::read`], and of that only the part asked for.
    ///
    /// # Errors
    /// As [`Engine::read`], and [`Failure::Invalid`] for a part that no record of the
    /// type has.
    pub async fn read_part(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
        part: Option<&Subset>,
    ) -> Result<Released, Failure> {
        fits(part, ty)?;
        let tenant = self.home(caller)?;
        let found = tenant.vessel.find(ty, id).map_err(Self::store_failure(caller))?;
        self.read_found(tenant, caller, ty, id, EventKind::Read, found, part).await
    }

    /// What `read` and `vread` share once the row was looked up.
    #[expect(clippy::too_many_arguments, reason = "one look-up has these parts")]
    pub(crate) async fn read_found(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
        kind: EventKind,
        found: Option<Unopened>,
        part: Option<&Subset>,
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
        let view = Self::view(tenant, caller, &permit, &found, part)?;
        entry::delivered(&mut e, &found, &permit, view.given);
        let facts =
            ReleasedFacts { ty, version: found.version, last_updated: found.header.last_updated };
        let body = bytes::Bytes::from_owner(view.body);
        self.release(tenant, caller, e, &[permit], body, Some(facts)).await
    }
}

/// Refuses a part that no record of the type has, whether or not there is a record.
pub(crate) fn fits(part: Option<&Subset>, ty: ResourceType) -> Result<(), Failure> {
    match part.map(|p| p.fits(ty)) {
        Some(Err(issue)) => Err(Failure::Invalid(Refusal { issues: vec![issue] })),
        _ => Ok(()),
    }
}
