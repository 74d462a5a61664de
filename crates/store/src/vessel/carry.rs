//! Changing a part of a record: what its patcher does not see is opened here to be sealed
//! again under the new version's keys, and leaves this module in no other form
//! (decision 0036).
//!
//! It refuses a permit that is not for patching this very version, and it hands out
//! whether a patch fits what is seen, never what is not.

use phial_base::{ClassSet, LabelSet, LogicalId, Version};
use phial_fhir::attachment::Brought;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::Issue;
use phial_fhir::patch::{Patch, Patched, Unpatched};
use phial_fhir::search::{Extracted, extract};
use phial_fhir::split::{Mark, Split, split};
use phial_fhir::{Doc, Valid, compartment};
use phial_policy::{Action, Permit};
use zeroize::Zeroizing;

use super::unopened::NO_LIMITS;
use super::{Unopened, Vessel};
use crate::error::Error;

/// What a version is to hold: its text by class and its values to index. It can be
/// sealed, and not looked at.
pub struct Content {
    pub(super) split: Split,
    pub(super) values: Extracted,
}

impl Content {
    /// The content of a resource.
    #[must_use]
    pub fn of(valid: &Valid) -> Self {
        Content { split: split(valid), values: extract(valid) }
    }

    /// The classes that occur.
    #[must_use]
    pub fn classes(&self) -> ClassSet {
        self.split.classes
    }
}

/// A record version, patched and not yet given its version.
pub struct Changed(Patched);

/// What a patched record is, as far as policy and the log need to know.
pub struct Ready {
    /// All of it, to be sealed.
    pub content: Content,
    /// The patients that it is about now, sorted.
    pub patients: Vec<LogicalId>,
    /// The labels that it has now.
    pub labels: LabelSet,
    /// The type that it says it is.
    pub ty: ResourceType,
}

impl Vessel {
    /// Applies a patch to what `permit` lets its holder see of a record.
    ///
    /// # Errors
    /// [`Error::WrongPermit`] when the permit is for something else; other errors when a
    /// segment is damaged. The inner result says why the patch does not fit.
    pub fn change(
        &self,
        permit: &Permit,
        found: &Unopened,
        patch: &Patch,
    ) -> Result<Result<Changed, Unpatched>, Error> {
        let this = permit.row() == found.row && permit.version() == found.version;
        if !this || permit.action() != Action::Patch || permit.tenant() != self.tenant() {
            return Err(Error::WrongPermit);
        }
        let whole = Zeroizing::new(found.join(found.header.classes, Mark::Nothing)?.body);
        let doc = Doc::parse(&whole, &NO_LIMITS)
            .map_err(|_| Error::Corrupt("a record's segments join to no JSON"))?;
        Ok(patch.apply_seeing(&doc, found.header.ty, permit.classes()).map(Changed))
    }
}

impl Changed {
    /// The classes that the patch changed something of, as far as is seen.
    #[must_use]
    pub fn touched(&self) -> ClassSet {
        self.0.touched()
    }

    /// The files that the patch brings, as far as its sender sees them.
    #[must_use]
    pub fn brought(&self) -> Brought {
        self.0.brought()
    }

    /// Gives it its id, version and time, as [`Changed::finish`] does, when its sender sees
    /// all of it: then nothing is hidden in it. `None` when not.
    ///
    /// # Errors
    /// As [`Changed::finish`].
    pub fn finish_seen(
        self,
        id: &LogicalId,
        version: Version,
        last_updated: &str,
        reference: phial_fhir::Rewrite<'_>,
    ) -> Option<Result<Valid, Vec<Issue>>> {
        (!self.0.is_partial()).then(|| self.0.finish(id, version, last_updated, reference))
    }

    /// Gives it its id, version and time, and resolves its references, as
    /// [`phial_fhir::stamp`] does. `labels` says which labels the whole of it has.
    ///
    /// # Errors
    /// The issues of what is seen of it.
    pub fn finish(
        self,
        id: &LogicalId,
        version: Version,
        last_updated: &str,
        reference: phial_fhir::Rewrite<'_>,
        labels: &dyn Fn(&Valid) -> LabelSet,
    ) -> Result<Ready, Vec<Issue>> {
        self.0.finish(id, version, last_updated, reference).map(|whole| Ready::of(&whole, labels))
    }
}

impl Ready {
    /// What a resource is; `labels` says which labels it has.
    #[must_use]
    pub fn of(whole: &Valid, labels: &dyn Fn(&Valid) -> LabelSet) -> Self {
        let mut patients = compartment::patients(whole);
        patients.sort();
        patients.dedup();
        Ready {
            content: Content::of(whole),
            patients,
            labels: labels(whole),
            ty: whole.resource_type(),
        }
    }
}
