//! Why somebody sees what they see of a record: which roles counted, what ties them to its
//! patients, what consents say, and which policies decided. For those who review access;
//! that they looked is written down. Nothing of the record is opened.

use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{ClassSet, LabelSet, LogicalId, Subject};
use phial_fhir::definitions::ResourceType;
use phial_policy::{Action, Consent, Explanation, RelationshipSet};

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;

/// What a decision rested on, and what it was.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The record's labels.
    pub labels: LabelSet,
    /// The classes that are in the record.
    pub has: ClassSet,
    /// How many patients it is about.
    pub patients: usize,
    /// What ties the subject to every one of them now.
    pub relationships: RelationshipSet,
    /// What consents and restrictions say.
    pub consent: Consent,
    /// What a proxy's grant reaches; everything for others.
    pub scope: ClassSet,
    /// Roles, policies and the mask.
    pub explanation: Explanation,
    /// The classes that the subject sees of the record; none when it looks absent.
    pub sees: ClassSet,
}

impl Engine {
    /// Explains what `subject` may do to the current version of a record.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for those who don't review access; [`Failure::NotFound`] when
    /// there is no such record; [`Failure::Busy`] when a store can't be reached.
    pub async fn explain(
        &self,
        caller: &Caller,
        subject: Subject,
        action: Action,
        ty: ResourceType,
        id: &LogicalId,
    ) -> Result<Explained, Failure> {
        let tenant = self.home(caller)?;
        let kind = EventKind::EmergencyReviewed;
        self.must(tenant, caller, Action::ReviewAccess, kind, "review access").await?;
        let failed = Self::store_failure(caller);
        let mut e = entry::of(caller, kind);
        entry::note(&mut e, DetailKey::Account, subject.id.to_string());
        let found = tenant.vessel.find(ty, id).map_err(&failed)?;
        let Some(found) = found.filter(|f| !f.header.deleted) else {
            let row = tenant.vessel.row_id(ty, id).map_err(&failed)?;
            entry::absent(&mut e, ty, row);
            let outcome = OutcomeCode::NotFound;
            return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
        };
        let target = phial_audit::Target::new(found.row, Some(found.version), ty.name());
        e.target(target, &found.header.patients);
        self.record(tenant, caller, vec![e], None).await?;
        // Beside a server the ties and consents of these patients are read from the log.
        let _aside = tenant.vessel.look_at(&found.header.patients).map_err(&failed)?;
        let who = Caller { subject: std::sync::Arc::new(subject), request: caller.request.clone() };
        let facts = found.facts();
        let context = self.context(tenant, &who, action, &facts, &found.header.patients)?;
        // The context has only those ties that can make a difference; people want all.
        let relationships =
            context.relationships.or(self.ties(tenant, &who, &found.header.patients)?);
        let (labels, about) = (facts.labels, facts.about_patient);
        let policy = self.policy();
        let explanation =
            policy.explain(&who.subject, action, facts.resource_type, labels, about, &context);
        let mask = policy.mask(&who.subject, action, facts.resource_type, labels, about, &context);
        let visible = mask.classes.has(phial_base::DataClass::Administrative);
        let seen = self.decide(tenant, &who, action, &found)?.is_ok() && visible;
        Ok(Explained {
            labels,
            has: facts.classes,
            patients: found.header.patients.len(),
            relationships,
            consent: context.consent,
            scope: context.scope,
            explanation,
            sees: if seen { mask.classes.and(facts.classes) } else { ClassSet::NONE },
        })
    }
}
