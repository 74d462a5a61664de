//! One question to Cedar: two evaluations, permits and forbids.
//!
//! Everything that an answer can depend on is in the [`Question`], which is the
//! cache's key: a policy can't see what is not in there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context as CedarContext, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicyId, PolicySet, PrincipalConstraint, Request, RestrictedExpression, Schema,
};
use phial_base::{ClassSet, Label, LabelSet, Purpose, Surface};

use crate::facts::Consent;
use crate::load::Loaded;
use crate::mask::{Effect, Mask, ObligationSet, Satisfied};
use crate::relationship::{Relationship, RelationshipSet};
use crate::{Action, Error};

const SURFACES: [Surface; 4] = [Surface::Fhir, Surface::Cli, Surface::Job, Surface::Page];

/// What is known of the record in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Position in the schema's list of resource types.
    pub(crate) ty: u16,
    pub(crate) labels: LabelSet,
    pub(crate) about_patient: bool,
}

/// Everything that a policy can see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// The roles that count, as bits.
    pub(crate) roles: u64,
    pub(crate) unit: Option<Arc<str>>,
    pub(crate) practitioner: bool,
    pub(crate) patient: bool,
    pub(crate) purpose: Purpose,
    pub(crate) mfa: u8,
    pub(crate) action: Action,
    /// `None` for actions that are not about records.
    pub(crate) record: Option<Shape>,
    pub(crate) relationships: RelationshipSet,
    pub(crate) consent: Consent,
    pub(crate) surface: Surface,
}

/// Which policies are satisfied, and which failed.
pub(crate) struct Outcome {
    pub(crate) satisfied: Vec<Satisfied>,
    pub(crate) failed: Vec<Arc<str>>,
}

impl Outcome {
    fn failure() -> Self {
        Outcome { satisfied: Vec::new(), failed: vec!["the request".into()] }
    }

    pub(crate) fn has(&self, effect: Effect) -> bool {
        self.satisfied.iter().any(|s| s.effect == effect)
    }

    /// Permits without forbids; nothing if anything failed.
    pub(crate) fn mask(&self) -> Mask {
        let union = |effect| {
            self.satisfied
                .iter()
                .filter(|s| s.effect == effect)
                .fold(ClassSet::NONE, |all, s| all.or(s.classes))
        };
        let failed = !self.failed.is_empty();
        let classes = if failed {
            ClassSet::NONE
        } else {
            union(Effect::Permit).minus(union(Effect::Forbid))
        };
        let obligations = if classes.is_empty() {
            ObligationSet::NONE
        } else {
            self.satisfied.iter().flat_map(|s| s.obligations.iter()).collect()
        };
        let mut policies: Vec<Arc<str>> =
            self.satisfied.iter().map(|s| Arc::clone(&s.id)).collect();
        policies.sort_unstable();
        Mask { classes, obligations, policies: policies.into(), failed }
    }
}

/// Cedar with everything prepared that does not change from question to question.
pub(crate) struct Evaluator {
    authorizer: Authorizer,
    schema: Schema,
    permits: PolicySet,
    forbids: PolicySet,
    known: HashMap<PolicyId, Satisfied>,
    actions: Entities,
    action_uids: Vec<EntityUid>,
    role_uids: Vec<EntityUid>,
    types: Vec<RestrictedExpression>,
    labels: Vec<RestrictedExpression>,
    purposes: Vec<RestrictedExpression>,
    relationships: Vec<RestrictedExpression>,
    surfaces: Vec<RestrictedExpression>,
    subject: EntityUid,
    record: EntityUid,
    tenant: EntityUid,
}

struct Names {
    kinds: HashMap<&'static str, EntityTypeName>,
}

impl Names {
    fn new() -> Result<Self, Error> {
        let mut kinds = HashMap::new();
        for k in [
            "Subject",
            "Record",
            "Tenant",
            "Role",
            "Action",
            "Type",
            "Label",
            "Purpose",
            "Relationship",
            "Surface",
        ] {
            let name = k.parse().map_err(|_| Error::Schema(format!("{k} is no type name")))?;
            kinds.insert(k, name);
        }
        Ok(Names { kinds })
    }

    fn uid(&self, kind: &'static str, id: &str) -> Result<EntityUid, Error> {
        let name = self.kinds.get(kind).cloned();
        let name = name.ok_or_else(|| Error::Schema(format!("no entity type {kind}")))?;
        Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
    }

    fn values<'a>(
        &self,
        kind: &'static str,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<RestrictedExpression>, Error> {
        ids.into_iter()
            .map(|id| self.uid(kind, id).map(RestrictedExpression::new_entity_uid))
            .collect()
    }
}

const fn surface_name(s: Surface) -> &'static str {
    match s {
        Surface::Fhir => "fhir",
        Surface::Cli => "cli",
        Surface::Job => "job",
        Surface::Page => "page",
    }
}

impl Evaluator {
    pub(crate) fn new(loaded: Loaded) -> Result<Self, Error> {
        let Loaded { schema, permits, forbids, known, roles, types, hash: _ } = loaded;
        let names = Names::new()?;
        let actions = schema.action_entities().map_err(|e| Error::Schema(e.to_string()))?;
        let uids = |kind, ids: Vec<&str>| {
            ids.into_iter().map(|id| names.uid(kind, id)).collect::<Result<Vec<_>, _>>()
        };
        let evaluator = Evaluator {
            authorizer: Authorizer::new(),
            action_uids: uids("Action", Action::ALL.iter().map(|a| a.name()).collect())?,
            role_uids: uids("Role", roles.iter().map(|r| &*r.name).collect())?,
            types: names.values("Type", types.iter().map(String::as_str))?,
            labels: names.values("Label", Label::ALL.iter().map(|l| l.code()))?,
            purposes: names.values("Purpose", Purpose::ALL.iter().map(|p| p.code()))?,
            relationships: names
                .values("Relationship", Relationship::ALL.iter().map(|r| r.name()))?,
            surfaces: names.values("Surface", SURFACES.map(surface_name))?,
            subject: names.uid("Subject", "this")?,
            record: names.uid("Record", "this")?,
            tenant: names.uid("Tenant", "this")?,
            schema,
            permits,
            forbids,
            known,
            actions,
        };
        evaluator.fits_the_schema()?;
        Ok(evaluator)
    }

    /// Every request that can be asked must fit the schema; found out at load, not
    /// when someone's chart does not open.
    fn fits_the_schema(&self) -> Result<(), Error> {
        let question = |action: Action, purpose, surface| Question {
            roles: 0,
            unit: Some("unit".into()),
            practitioner: true,
            patient: true,
            purpose,
            mfa: 0,
            action,
            record: action.on_records().then_some(Shape {
                ty: 0,
                labels: Label::ALL.into_iter().collect(),
                about_patient: true,
            }),
            relationships: RelationshipSet::ALL.without(Relationship::Launch),
            consent: Consent::SILENT,
            surface,
        };
        let check = |q: &Question| match self.request(q) {
            Ok(_) => Ok(()),
            Err(m) => Err(Error::Schema(m)),
        };
        for action in Action::ALL {
            check(&question(action, Purpose::TREAT, Surface::Fhir))?;
        }
        for purpose in Purpose::ALL {
            check(&question(Action::Read, purpose, Surface::Fhir))?;
        }
        for surface in SURFACES {
            check(&question(Action::Read, Purpose::TREAT, surface))?;
        }
        Ok(())
    }

    /// The texts of the policies that can apply to someone with this role.
    pub(crate) fn rules_of(&self, role: &str) -> std::collections::BTreeSet<String> {
        let about = |p: &cedar_policy::Policy| match p.principal_constraint() {
            PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) => {
                let of: &str = uid.id().unescaped();
                of == role
            }
            _ => true,
        };
        let all = self.permits.policies().chain(self.forbids.policies());
        all.filter(|p| about(p)).map(ToString::to_string).collect()
    }

    /// Asks Cedar twice.
    pub(crate) fn ask(&self, q: &Question) -> Outcome {
        let Ok((request, entities)) = self.request(q) else { return Outcome::failure() };
        let (mut satisfied, mut failed) = (Vec::new(), Vec::new());
        for set in [&self.permits, &self.forbids] {
            let response = self.authorizer.is_authorized(&request, set, &entities);
            for id in response.diagnostics().reason() {
                match self.known.get(id) {
                    Some(s) => satisfied.push(s.clone()),
                    None => failed.push(id.to_string().into()),
                }
            }
            for e in response.diagnostics().errors() {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(e) = e;
                failed.push(e.policy_id().to_string().into());
            }
        }
        satisfied.sort_unstable_by(|a, b| (a.effect, &a.id).cmp(&(b.effect, &b.id)));
        failed.sort_unstable();
        Outcome { satisfied, failed }
    }

    /// The request and its entities, both checked against the schema.
    fn request(&self, q: &Question) -> Result<(Request, Entities), String> {
        let absent = || "a value that the schema does not list".to_owned();
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let roles: Vec<&EntityUid> = self
            .role_uids
            .iter()
            .enumerate()
            .filter(|(i, _)| q.roles & (1u64 << i) != 0)
            .map(|(_, uid)| uid)
            .collect();
        let mut attributes = HashMap::from([
            (
                "roles".to_owned(),
                RestrictedExpression::new_set(
                    roles.iter().map(|r| RestrictedExpression::new_entity_uid((*r).clone())),
                ),
            ),
            ("isPractitioner".to_owned(), RestrictedExpression::new_bool(q.practitioner)),
            ("isPatient".to_owned(), RestrictedExpression::new_bool(q.patient)),
        ]);
        if let Some(unit) = &q.unit {
            attributes
                .insert("unit".to_owned(), RestrictedExpression::new_string(unit.to_string()));
        }
        let parents: HashSet<EntityUid> = roles.into_iter().cloned().collect();
        let mut entities =
            vec![Entity::new(self.subject.clone(), attributes, parents).map_err(|e| text(&e))?];
        let resource = match q.record {
            None => self.tenant.clone(),
            Some(shape) => {
                let ty = self.types.get(usize::from(shape.ty)).ok_or_else(absent)?;
                let labels = shape
                    .labels
                    .iter()
                    .map(|l| self.labels.get(l as usize).cloned().ok_or_else(absent))
                    .collect::<Result<Vec<_>, _>>()?;
                let attributes = HashMap::from([
                    ("resourceType".to_owned(), ty.clone()),
                    ("labels".to_owned(), RestrictedExpression::new_set(labels)),
                    (
                        "aboutPatient".to_owned(),
                        RestrictedExpression::new_bool(shape.about_patient),
                    ),
                ]);
                entities.push(
                    Entity::new(self.record.clone(), attributes, HashSet::new())
                        .map_err(|e| text(&e))?,
                );
                self.record.clone()
            }
        };
        let relationships = q
            .relationships
            .iter()
            .map(|r| self.relationships.get(r as usize).cloned().ok_or_else(absent))
            .collect::<Result<Vec<_>, _>>()?;
        let purpose = self.purposes.get(q.purpose as usize).cloned().ok_or_else(absent)?;
        let surface = SURFACES.iter().position(|s| *s == q.surface).ok_or_else(absent)?;
        let surface = self.surfaces.get(surface).cloned().ok_or_else(absent)?;
        let context = CedarContext::from_pairs([
            ("purpose".to_owned(), purpose),
            ("relationships".to_owned(), RestrictedExpression::new_set(relationships)),
            ("consentDenies".to_owned(), RestrictedExpression::new_bool(q.consent.denies)),
            ("consentPermits".to_owned(), RestrictedExpression::new_bool(q.consent.permits)),
            ("mfa".to_owned(), RestrictedExpression::new_long(i64::from(q.mfa))),
            ("surface".to_owned(), surface),
        ])
        .map_err(|e| text(&e))?;
        let action = self.action_uids.get(q.action as usize).cloned().ok_or_else(absent)?;
        let request =
            Request::new(self.subject.clone(), action, resource, context, Some(&self.schema))
                .map_err(|e| text(&e))?;
        let entities = self
            .actions
            .clone()
            .add_entities(entities, Some(&self.schema))
            .map_err(|e| text(&e))?;
        Ok((request, entities))
    }
}
