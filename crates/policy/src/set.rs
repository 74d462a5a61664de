//! A set of policies in force: what others ask.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use moka::sync::Cache;
use phial_base::scope::About;
use phial_base::{ClassSet, DataClass, Label, LabelSet, Purpose, Subject};

use crate::evaluate::{Evaluator, Question, Shape};
use crate::load;
use crate::mask::{Effect, Explanation, Mask};
use crate::permit::{Denial, DenialReason, Permit};
use crate::relationship::{Relationship, RelationshipSet};
use crate::role::Role;
use crate::{Action, Consent, Context, Error, Facts, RecordRef};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const ROLES: &str = include_str!("../policies/roles.toml");
const FILES: [(&str, &str); 24] = [
    ("auditor.cedar", include_str!("../policies/auditor.cedar")),
    ("billing.cedar", include_str!("../policies/billing.cedar")),
    ("care-coordinator.cedar", include_str!("../policies/care-coordinator.cedar")),
    ("consent.cedar", include_str!("../policies/consent.cedar")),
    ("consent-keeper.cedar", include_str!("../policies/consent-keeper.cedar")),
    ("export-client.cedar", include_str!("../policies/export-client.cedar")),
    ("field-clinician.cedar", include_str!("../policies/field-clinician.cedar")),
    ("front-desk.cedar", include_str!("../policies/front-desk.cedar")),
    ("import-client.cedar", include_str!("../policies/import-client.cedar")),
    ("interface-engine.cedar", include_str!("../policies/interface-engine.cedar")),
    ("labels.cedar", include_str!("../policies/labels.cedar")),
    ("laboratory.cedar", include_str!("../policies/laboratory.cedar")),
    ("nurse.cedar", include_str!("../policies/nurse.cedar")),
    ("operator.cedar", include_str!("../policies/operator.cedar")),
    ("own.cedar", include_str!("../policies/own.cedar")),
    ("patient.cedar", include_str!("../policies/patient.cedar")),
    ("pharmacist.cedar", include_str!("../policies/pharmacist.cedar")),
    ("physician.cedar", include_str!("../policies/physician.cedar")),
    ("privacy-officer.cedar", include_str!("../policies/privacy-officer.cedar")),
    ("proxy.cedar", include_str!("../policies/proxy.cedar")),
    ("researcher.cedar", include_str!("../policies/researcher.cedar")),
    ("security-administrator.cedar", include_str!("../policies/security-administrator.cedar")),
    ("subscription-keeper.cedar", include_str!("../policies/subscription-keeper.cedar")),
    ("system-client.cedar", include_str!("../policies/system-client.cedar")),
];

/// How many masks are kept. A mask is some hundred bytes; a tenant has a few
/// thousand shapes times roles.
const MASKS: u64 = 65_536;

/// The relationships under which a mask is asked for, to know its bounds.
const NOBODY: RelationshipSet = RelationshipSet::NONE;
/// Everything that can only widen it.
const TIED: RelationshipSet = RelationshipSet::ALL.minus(RelationshipSet::OWN);
const ITSELF: RelationshipSet = RelationshipSet::of(Relationship::SelfPatient);
const EVERY: RelationshipSet = RelationshipSet::ALL;

struct Inner {
    evaluator: Evaluator,
    roles: Vec<Role>,
    role_numbers: HashMap<Arc<str>, u32>,
    /// Per purpose, the roles that may claim it, as bits.
    claims: [u64; Purpose::ALL.len()],
    /// Per action, the roles that may do it, as bits.
    does: [u64; Action::ALL.len()],
    types: HashMap<Box<str>, u16>,
    hash: [u8; 32],
    masks: Cache<Question, Mask>,
}

/// A checked, unchanging set of policies and roles. Cheap to clone. The cache of
/// masks belongs to the set, so a changed policy never meets an old answer.
#[derive(Clone)]
pub struct PolicySet(Arc<Inner>);

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicySet({})", hex::encode(self.0.hash))
    }
}

impl PolicySet {
    /// The policies and roles that ship with the program.
    ///
    /// # Errors
    /// [`Error`] when they are refused, which a test rules out.
    pub fn shipped() -> Result<Self, Error> {
        let (schema, files, roles) = Self::shipped_sources();
        Self::from_sources(&schema, &files, &roles)
    }

    /// The sources of the shipped set: schema, files (name and text), `roles.toml`.
    /// What an administrator starts from.
    #[must_use]
    pub fn shipped_sources() -> (String, Vec<(String, String)>, String) {
        let files = FILES.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        (SCHEMA.to_owned(), files, ROLES.to_owned())
    }

    /// Policies and roles of one's own. The floor is added whatever the files say.
    ///
    /// # Errors
    /// [`Error`] naming file, policy and a hint, when anything is unknown, does not
    /// fit the schema under Cedar's strict validation, or says nothing of classes.
    pub fn from_sources(
        schema: &str,
        files: &[(String, String)],
        roles_toml: &str,
    ) -> Result<Self, Error> {
        let loaded = load::load(schema, files, roles_toml)?;
        let roles = loaded.roles.clone();
        let hash = loaded.hash;
        let types = loaded.types.iter().zip(0u16..).map(|(t, i)| (t.as_str().into(), i)).collect();
        let role_numbers =
            roles.iter().zip(0u32..).map(|(r, i)| (Arc::clone(&r.name), i)).collect();
        let bits = |has: &dyn Fn(&Role) -> bool| {
            roles.iter().zip(0u32..).fold(0u64, |b, (r, i)| b | u64::from(has(r)) << i)
        };
        let claims = Purpose::ALL.map(|p| bits(&|r: &Role| r.purposes.contains(&p)));
        let does = Action::ALL.map(|a| bits(&|r: &Role| r.actions.contains(&a)));
        Ok(PolicySet(Arc::new(Inner {
            evaluator: Evaluator::new(loaded)?,
            roles,
            role_numbers,
            claims,
            does,
            types,
            hash,
            masks: Cache::new(MASKS),
        })))
    }

    /// SHA-256 over schema, floor, files and roles.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// The roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.0.roles.iter()
    }

    /// One role.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.0.role_numbers.get(name).and_then(|i| self.0.roles.get(*i as usize))
    }

    /// Whether one of these roles may claim the purpose.
    #[must_use]
    pub fn may_claim<'a>(
        &self,
        roles: impl IntoIterator<Item = &'a str>,
        purpose: Purpose,
    ) -> bool {
        roles.into_iter().filter_map(|r| self.role(r)).any(|r| r.purposes.contains(&purpose))
    }

    /// The resource types that the policies know; any other is denied.
    pub fn resource_types(&self) -> impl Iterator<Item = &str> {
        self.0.types.keys().map(|t| &**t)
    }

    /// What the subject sees of records of this shape. Nothing, if anything is
    /// unknown or fails.
    #[must_use]
    pub fn mask(
        &self,
        subject: &Subject,
        action: Action,
        resource_type: &str,
        labels: LabelSet,
        about_patient: bool,
        ctx: &Context,
    ) -> Mask {
        let roles = self.active_roles(subject, action);
        let Some(q) =
            self.about_record(subject, roles, action, resource_type, labels, about_patient, ctx)
        else {
            return Mask::nothing();
        };
        if roles == 0 || !within_scopes(subject, action, resource_type, about_patient, ctx) {
            return Mask::nothing();
        }
        let mut mask = self.answer(q);
        if subject.purpose == Purpose::PATRQT && ctx.relationships.has(Relationship::Proxy) {
            mask.classes = mask.classes.and(ctx.scope);
        }
        mask
    }

    /// Decides about one version of one record.
    ///
    /// A read is permitted when the mask has [`DataClass::Administrative`], without
    /// which a record can't even be named. A write needs in addition every class of
    /// `facts.classes`: nobody writes over what they may not see.
    ///
    /// # Errors
    /// [`Denial`], for the audit log; to the caller the record looks absent.
    pub fn decide(
        &self,
        subject: &Subject,
        action: Action,
        record: &RecordRef,
        facts: &Facts,
        ctx: &Context,
    ) -> Result<Permit, Denial> {
        let mask =
            self.mask(subject, action, facts.resource_type, facts.labels, facts.about_patient, ctx);
        let visible = mask.classes.has(DataClass::Administrative);
        if visible && (action.reads() || action.writes() && mask.classes.covers(facts.classes)) {
            return Ok(Permit::mint(subject, *record, action, mask, self.0.hash));
        }
        let reason = if visible {
            DenialReason::ClassesWithheld
        } else {
            self.why(subject, action, facts, &mask, ctx)
        };
        Err(Denial { reason, policies: mask.policies })
    }

    fn why(
        &self,
        subject: &Subject,
        action: Action,
        facts: &Facts,
        mask: &Mask,
        ctx: &Context,
    ) -> DenialReason {
        let known = self.known_roles(subject);
        let claiming = known & self.claims(subject.purpose);
        if known == 0 {
            DenialReason::NoRole
        } else if claiming == 0 {
            DenialReason::Purpose
        } else if !action.on_records() || claiming & self.does(action) == 0 {
            DenialReason::Action
        } else if !self.0.types.contains_key(facts.resource_type) {
            DenialReason::ResourceType
        } else if !within_scopes(subject, action, facts.resource_type, facts.about_patient, ctx) {
            DenialReason::Scope
        } else if mask.failed {
            DenialReason::EvaluationFailed
        } else if facts.labels.has(Label::Unknown) {
            DenialReason::UnknownLabel
        } else if mask.policies.is_empty() {
            DenialReason::NotPermitted
        } else {
            DenialReason::Forbidden
        }
    }

    /// Whether one of the subject's roles lists the action. Only what touches no record
    /// may rest on this alone.
    #[must_use]
    pub fn lists(&self, subject: &Subject, action: Action) -> bool {
        self.active_roles(subject, action) != 0 && begun_with_scopes(subject, action)
    }

    /// Whether the subject may do an action that is not about records. Always false
    /// for those that are.
    #[must_use]
    pub fn allows(&self, subject: &Subject, action: Action) -> bool {
        let roles = self.active_roles(subject, action);
        if roles == 0 || action.on_records() || !begun_with_scopes(subject, action) {
            return false;
        }
        let q = self.question(subject, roles, action, None, &Context::default());
        let outcome = self.0.evaluator.ask(&q);
        outcome.failed.is_empty() && outcome.has(Effect::Permit) && !outcome.has(Effect::Forbid)
    }

    /// The most that the subject could ever see of the type: over no and all
    /// relationships, records about patients and others, unlabelled. What is not in
    /// here can be refused from role and parameters alone, before data is touched.
    #[must_use]
    pub fn ever(&self, subject: &Subject, action: Action, resource_type: &str) -> ClassSet {
        let mut all = ClassSet::NONE;
        for about in [false, true] {
            for related in [NOBODY, TIED, ITSELF, EVERY] {
                all = all.or(self.plain(subject, action, resource_type, about, related));
            }
        }
        all
    }

    /// Whether the subject sees every unlabelled record of the type without any
    /// relationship, and as much of it as with all of them.
    #[must_use]
    pub fn whole_type(&self, subject: &Subject, action: Action, resource_type: &str) -> bool {
        let narrowed = subject.scopes.as_ref().is_some_and(|scopes| {
            action.letters().each().any(|l| scopes.narrowed(l, resource_type).is_some())
        });
        if narrowed {
            return false;
        }
        [false, true].into_iter().all(|about| {
            let without = self.plain(subject, action, resource_type, about, NOBODY);
            without.has(DataClass::Administrative)
                && without == self.plain(subject, action, resource_type, about, TIED)
        })
    }

    /// Whether the subject sees every record of the type, labelled or not (save
    /// those with an unknown label, which nobody sees), without any relationship.
    /// Only then does an answer about existence tell nothing new: a create with an id
    /// or a condition must not tell a hidden record from an absent one (invariant 2).
    ///
    /// Asks with all labels at once, which is the narrowest mask wherever labels only
    /// narrow (the shipped policies are tested for that), under a consent that denies, and
    /// of the subject's own people too.
    #[must_use]
    pub fn every_record(&self, subject: &Subject, action: Action, resource_type: &str) -> bool {
        if !self.whole_type(subject, action, resource_type) {
            return false;
        }
        let labels: LabelSet = Label::ALL.into_iter().filter(|l| *l != Label::Unknown).collect();
        let consent = Consent { denies: true, permits: false };
        let worst = |relationships| Context { relationships, consent, ..Context::default() };
        [(false, NOBODY), (true, NOBODY), (true, EVERY)].into_iter().all(|(about, related)| {
            self.mask(subject, action, resource_type, labels, about, &worst(related)).classes
                == self.plain(subject, action, resource_type, about, NOBODY)
        })
    }

    /// Everything that can make a difference for a role: its own definition, and each policy
    /// that is not about another role alone. Equal texts decide alike.
    pub(crate) fn rules_of(&self, role: &str) -> std::collections::BTreeSet<String> {
        let mut rules = self.0.evaluator.rules_of(role);
        rules.extend(self.role(role).map(|r| format!("{r:?}")));
        rules
    }

    /// Why the mask is what it is, uncached.
    #[must_use]
    pub fn explain(
        &self,
        subject: &Subject,
        action: Action,
        resource_type: &str,
        labels: LabelSet,
        about_patient: bool,
        ctx: &Context,
    ) -> Explanation {
        let roles = self.active_roles(subject, action);
        let names = self
            .0
            .roles
            .iter()
            .zip(0u32..)
            .filter(|(_, i)| roles & (1u64 << i) != 0)
            .map(|(r, _)| Arc::clone(&r.name))
            .collect();
        let q =
            self.about_record(subject, roles, action, resource_type, labels, about_patient, ctx);
        match q {
            None => Explanation {
                roles: names,
                satisfied: Vec::new(),
                failed: Vec::new(),
                mask: Mask::nothing(),
            },
            Some(q) => {
                let outcome = self.0.evaluator.ask(&q);
                let mask = outcome.mask();
                Explanation {
                    roles: names,
                    satisfied: outcome.satisfied,
                    failed: outcome.failed,
                    mask,
                }
            }
        }
    }

    /// The mask of unlabelled records, under these relationships.
    fn plain(
        &self,
        subject: &Subject,
        action: Action,
        resource_type: &str,
        about_patient: bool,
        related: RelationshipSet,
    ) -> ClassSet {
        let ctx = Context::new(related);
        self.mask(subject, action, resource_type, LabelSet::NONE, about_patient, &ctx).classes
    }

    fn answer(&self, q: Question) -> Mask {
        if let Some(mask) = self.0.masks.get(&q) {
            return mask;
        }
        let mask = self.0.evaluator.ask(&q).mask();
        self.0.masks.insert(q, mask.clone());
        mask
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one question")]
    fn about_record(
        &self,
        subject: &Subject,
        roles: u64,
        action: Action,
        resource_type: &str,
        labels: LabelSet,
        about_patient: bool,
        ctx: &Context,
    ) -> Option<Question> {
        if !action.on_records() {
            return None;
        }
        let ty = *self.0.types.get(resource_type)?;
        Some(self.question(subject, roles, action, Some(Shape { ty, labels, about_patient }), ctx))
    }

    fn question(
        &self,
        subject: &Subject,
        roles: u64,
        action: Action,
        record: Option<Shape>,
        ctx: &Context,
    ) -> Question {
        Question {
            roles,
            unit: subject.unit.as_deref().map(Arc::from),
            practitioner: subject.practitioner.is_some(),
            patient: subject.patient.is_some(),
            purpose: subject.purpose,
            mfa: subject.mfa,
            action,
            record,
            relationships: ctx.relationships.without(Relationship::Launch),
            consent: ctx.consent,
            surface: ctx.surface,
        }
    }

    fn known_roles(&self, subject: &Subject) -> u64 {
        subject
            .roles
            .iter()
            .filter_map(|r| self.0.role_numbers.get(r.as_str()))
            .fold(0, |bits, i| bits | 1u64 << i)
    }

    fn claims(&self, purpose: Purpose) -> u64 {
        self.0.claims.get(purpose as usize).copied().unwrap_or(0)
    }

    fn does(&self, action: Action) -> u64 {
        self.0.does.get(action as usize).copied().unwrap_or(0)
    }

    /// The subject's roles that are known, may claim the purpose and may do the
    /// action. Compiled in: no policy file can give a role a purpose back.
    ///
    /// Nor can any give one to a log-in that showed one factor of two (164.312(d)): it holds
    /// no role. A local token (0) was issued at the machine itself and is another matter.
    fn active_roles(&self, subject: &Subject, action: Action) -> u64 {
        if subject.mfa == 1 {
            return 0;
        }
        self.known_roles(subject) & self.claims(subject.purpose) & self.does(action)
    }
}

/// Whether the app's scopes, if there is an app, reach records of this shape. An app
/// never does what is not about records.
fn within_scopes(
    subject: &Subject,
    action: Action,
    resource_type: &str,
    about_patient: bool,
    ctx: &Context,
) -> bool {
    let Some(scopes) = &subject.scopes else { return true };
    let about = match (about_patient, ctx.relationships.has(Relationship::Launch)) {
        (false, _) => About::Nobody,
        (true, true) => About::Launched,
        (true, false) => About::Others,
    };
    scopes.admit(action.letters(), resource_type, about)
}

fn begun_with_scopes(subject: &Subject, action: Action) -> bool {
    subject.scopes.as_ref().is_none_or(|scopes| action.begun_with(scopes))
}
