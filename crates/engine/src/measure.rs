//! Single steps of a read, for measurements: a row found, and policy asked about it.
//! Nothing is opened and nothing leaves. Compiled for measurements only.

use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_policy::Action;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::Engine;

/// A record that was found and not opened.
pub struct Found(Unopened);

impl Engine {
    /// The current version's row and header.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when there is none; [`Failure::Busy`] without its store.
    pub fn find_to_measure(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
    ) -> Result<Found, Failure> {
        let found = self.home(caller)?.vessel.find(ty, id).map_err(Self::store_failure(caller))?;
        found.map(Found).ok_or(Failure::NotFound)
    }

    /// Asks policy as a read does, ties, consents and scopes looked up; whether it permits.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached.
    pub fn ask_to_measure(&self, caller: &Caller, found: &Found) -> Result<bool, Failure> {
        let tenant = self.home(caller)?;
        Ok(self.decide(tenant, caller, Action::Read, &found.0)?.is_ok())
    }
}
