//! What a decision rests on beside the record: ties and restrictions that were written
//! down, break-glass grants, and what patients' consents say.
//!
//! One place makes it for a single record ([`Engine::context`]) and for a search
//! ([`Engine::access`]), so that a search shows what each record by itself says. It
//! refuses to take a caller's word for any of it.

pub mod accesses;
pub mod cap;
pub(crate) mod consent;
pub mod explain;
pub mod glass;
pub mod restriction;
pub mod standing;
pub mod tally;
pub mod tie;
pub(crate) mod whom;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use phial_base::{ClassSet, LogicalId};
use phial_policy::{Action, Consent, Context, Facts, Relationship, RelationshipSet};
use phial_store::index::{Shape, Sight, Tie};

use self::consent::{About, Directives};
use self::standing::Standing;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// Relationships that stand in records about a practitioner.
const OF_PRACTITIONERS: RelationshipSet = RelationshipSet::of(Relationship::CareTeam)
    .with(Relationship::Encounter)
    .with(Relationship::Appointment)
    .with(Relationship::GeneralPractitioner)
    .with(Relationship::Assignment);

/// What is decided patient by patient beside relationships.
#[derive(Clone, Default)]
struct Decided {
    directives: Vec<Arc<Directives>>,
    /// What a proxy's grant reaches.
    scope: ClassSet,
}

impl Decided {
    fn says(&self, about: &About<'_>) -> Consent {
        self.directives.iter().fold(Consent::SILENT, |all, d| {
            let one = d.says(about);
            let denies = all.denies || one.denies;
            Consent { denies, permits: (all.permits || one.permits) && !denies }
        })
    }
}

impl Engine {
    /// The context of a decision about records with these facts and patients. Care
    /// relationships are looked up only when the answer can depend on them.
    pub(crate) fn context(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        action: Action,
        facts: &Facts,
        patients: &[LogicalId],
    ) -> Result<Context, Failure> {
        if patients.is_empty() {
            return Ok(Context::default());
        }
        let standing = tenant.standing().map_err(Self::store_failure(caller))?;
        let own = standing.of(&caller.subject.id);
        let at = caller.request.at;
        let (mut scope, mut consent) = (ClassSet::ALL, None::<Consent>);
        let mut ties = Vec::with_capacity(patients.len());
        for patient in patients {
            let tie = own.map_or_else(Default::default, |own| own.tie(patient, at));
            scope = scope.and(tie.scope);
            ties.push(tie.relationships);
            let decided = Decided {
                directives: self.directives(tenant, caller, &standing, patient)?,
                scope: ClassSet::ALL,
            };
            let says = if decided.directives.is_empty() {
                Consent::SILENT
            } else {
                decided.says(&About {
                    subject: &caller.subject,
                    action,
                    ty: facts.resource_type,
                    labels: facts.labels,
                    at,
                })
            };
            consent = Some(consent.map_or(says, |c| c.and(says)));
        }
        let all =
            |sets: &[RelationshipSet]| sets.iter().fold(RelationshipSet::ALL, |a, b| a.and(*b));
        let base = Context {
            relationships: all(&ties),
            consent: consent.unwrap_or_default(),
            scope,
            ..Context::default()
        };
        let viewer = caller.viewer();
        let mut could = RelationshipSet::NONE;
        if viewer.practitioner.is_some() {
            could = could.or(OF_PRACTITIONERS);
        }
        if viewer.patient.is_some() {
            could = could.with(Relationship::SelfPatient);
        }
        if viewer.launch.is_some() {
            could = could.with(Relationship::Launch);
        }
        // Of several patients a written tie with one may meet a found tie with another.
        if patients.len() > 1 {
            let any = ties.iter().fold(RelationshipSet::NONE, |a, b| a.or(*b));
            if !could.is_empty() {
                could = could.or(any);
            }
        }
        let mask = |more: RelationshipSet| {
            let relationships = base.relationships.or(more);
            let (ty, labels) = (facts.resource_type, facts.labels);
            let context = Context { relationships, ..base };
            self.policy().mask(&caller.subject, action, ty, labels, facts.about_patient, &context)
        };
        let differs = || {
            let without = mask(RelationshipSet::NONE).classes;
            let own = could.and(RelationshipSet::OWN);
            let other = |more: RelationshipSet| mask(more).classes != without;
            other(could) || !own.is_empty() && (other(own) || other(could.minus(own)))
        };
        if could.is_empty() || !differs() {
            return Ok(base);
        }
        let mut found = Vec::with_capacity(patients.len());
        for (patient, tie) in patients.iter().zip(&ties) {
            let one = std::slice::from_ref(patient);
            let related = tenant
                .vessel
                .relationships(&viewer, one, at.as_microsecond())
                .map_err(Self::store_failure(caller))?;
            found.push(related.or(*tie));
        }
        Ok(Context { relationships: all(&found), ..base })
    }

    /// What ties the caller to each of these patients, found and written down.
    pub(crate) fn ties(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        patients: &[LogicalId],
    ) -> Result<RelationshipSet, Failure> {
        let failed = Self::store_failure(caller);
        let standing = tenant.standing().map_err(&failed)?;
        let (own, at) = (standing.of(&caller.subject.id), caller.request.at);
        let mut all: Option<RelationshipSet> = None;
        for patient in patients {
            let written = own.map_or_else(Default::default, |own| own.tie(patient, at));
            let one = std::slice::from_ref(patient);
            let viewer = caller.viewer();
            let found = tenant.vessel.relationships(&viewer, one, at.as_microsecond());
            let tie = written.relationships.or(found.map_err(&failed)?);
            all = Some(all.map_or(tie, |a| a.and(tie)));
        }
        Ok(all.unwrap_or_default())
    }

    /// What the caller sees, for a search: the mask of a record version by its access
    /// shape and what ties the caller to its patients.
    pub(crate) fn access<'a>(
        &'a self,
        tenant: &'a Tenant,
        caller: &'a Caller,
        action: Action,
    ) -> Result<Sees<'a>, Failure> {
        let standing = tenant.standing().map_err(Self::store_failure(caller))?;
        self.know_consents(tenant, caller)?;
        let more = standing.of(&caller.subject.id).is_some()
            || standing.restricts()
            || tenant.consents().any();
        Ok(Sees {
            engine: self,
            tenant,
            caller,
            action,
            standing,
            more,
            decided: RefCell::default(),
        })
    }

    /// The directives of a patient: consents in the record log and restrictions in the
    /// control log.
    fn directives(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        standing: &Standing,
        patient: &LogicalId,
    ) -> Result<Vec<Arc<Directives>>, Failure> {
        let consents = self.consents_of(tenant, caller, patient)?;
        Ok(consents.into_iter().chain(standing.restrictions(patient)).collect())
    }
}

/// What one caller sees in one search.
pub(crate) struct Sees<'a> {
    engine: &'a Engine,
    tenant: &'a Tenant,
    caller: &'a Caller,
    action: Action,
    standing: Arc<Standing>,
    more: bool,
    decided: RefCell<Numbered>,
}

#[derive(Default)]
struct Numbered {
    /// For each number, from 1, what was decided of which patients; `None`: it can't be
    /// told, and nothing is seen.
    of: Vec<Option<Vec<Decided>>>,
    both: HashMap<(u32, u32), u32>,
}

impl Numbered {
    fn number(&mut self, decided: Option<Vec<Decided>>) -> u32 {
        self.of.push(decided);
        u32::try_from(self.of.len()).unwrap_or(u32::MAX)
    }

    fn at(&self, number: u32) -> Option<&Option<Vec<Decided>>> {
        self.of.get((number as usize).checked_sub(1)?)
    }
}

impl Sight for Sees<'_> {
    fn mask(&self, shape: &Shape, tie: Tie) -> ClassSet {
        let Sees { engine, caller, action, .. } = self;
        let mut context = Context { relationships: tie.relationships, ..Context::default() };
        if tie.decided != 0 {
            let numbered = self.decided.borrow();
            let Some(Some(decided)) = numbered.at(tie.decided) else { return ClassSet::NONE };
            let about = About {
                subject: &caller.subject,
                action: *action,
                ty: shape.ty.name(),
                labels: shape.labels,
                at: caller.request.at,
            };
            let says = decided.iter().map(|d| d.says(&about)).reduce(Consent::and);
            context.consent = says.unwrap_or_default();
            context.scope = decided.iter().fold(ClassSet::ALL, |all, d| all.and(d.scope));
        }
        let (ty, labels) = (shape.ty.name(), shape.labels);
        let policy = engine.policy();
        policy.mask(&caller.subject, *action, ty, labels, shape.about_patient, &context).classes
    }

    fn now(&self) -> Option<i64> {
        Some(self.caller.request.at.as_microsecond())
    }

    fn ties(&self) -> bool {
        self.more
    }

    fn tied(&self, patient: &LogicalId) -> Tie {
        let Sees { engine, tenant, caller, standing, .. } = self;
        let own = standing.of(&caller.subject.id);
        let tie = own.map_or_else(Default::default, |own| own.tie(patient, caller.request.at));
        let decided = match engine.directives(tenant, caller, standing, patient) {
            Ok(directives) if directives.is_empty() && tie.scope == ClassSet::ALL => {
                return Tie { relationships: tie.relationships, decided: 0 };
            }
            Ok(directives) => Some(vec![Decided { directives, scope: tie.scope }]),
            // What can't be read can't permit.
            Err(_) => None,
        };
        let number = self.decided.borrow_mut().number(decided);
        Tie { relationships: tie.relationships, decided: number }
    }

    fn both(&self, a: u32, b: u32) -> u32 {
        if a == 0 && b == 0 {
            return 0;
        }
        let mut numbered = self.decided.borrow_mut();
        if let Some(n) = numbered.both.get(&(a, b)) {
            return *n;
        }
        // A patient of whom nothing is decided is one who permits nothing that takes it.
        let part = |n: u32, numbered: &Numbered| match n {
            0 => Some(vec![Decided { directives: Vec::new(), scope: ClassSet::ALL }]),
            n => numbered.at(n).cloned().flatten(),
        };
        let joined = match (part(a, &numbered), part(b, &numbered)) {
            (Some(mut a), Some(b)) => {
                a.extend(b);
                Some(a)
            }
            _ => None,
        };
        let n = numbered.number(joined);
        numbered.both.insert((a, b), n);
        n
    }
}
