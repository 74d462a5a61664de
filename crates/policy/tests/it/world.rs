//! Subjects and circumstances for the tests of this crate.

use std::sync::OnceLock;

use phial_base::{
    ClassSet, DataClass, Label, LabelSet, LogicalId, Purpose, RowId, Subject, SubjectId, TenantId,
    Version,
};
use phial_policy::{
    Action, Consent, Context, Facts, PolicySet, RecordRef, Relationship, RelationshipSet,
};

/// The shipped policies, loaded once.
pub(crate) fn shipped() -> &'static PolicySet {
    static SET: OnceLock<PolicySet> = OnceLock::new();
    SET.get_or_init(|| match PolicySet::shipped() {
        Ok(set) => set,
        Err(e) => unreachable!("the shipped policies are refused: {e}"),
    })
}

pub(crate) fn subject(roles: &[&str], purpose: Purpose) -> Subject {
    Subject {
        tenant: TenantId::default_tenant(),
        id: SubjectId::new("someone").unwrap(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        unit: None,
        practitioner: LogicalId::new("p1").ok(),
        patient: None,
        purpose,
        mfa: 0,
        session: None,
        client: None,
        scopes: None,
    }
}

pub(crate) fn labels(list: &[Label]) -> LabelSet {
    list.iter().copied().collect()
}

pub(crate) fn classes(list: &[DataClass]) -> ClassSet {
    list.iter().copied().collect()
}

pub(crate) fn related() -> Context {
    Context::new(RelationshipSet::of(Relationship::CareTeam))
}

/// A care relationship, and a consent that permits it.
pub(crate) fn consented() -> Context {
    Context { consent: Consent { denies: false, permits: true }, ..related() }
}

pub(crate) fn facts(ty: &'static str, classes: ClassSet, list: &[Label]) -> Facts {
    Facts { resource_type: ty, classes, labels: labels(list), about_patient: true }
}

pub(crate) const RECORD: RecordRef = RecordRef { row: RowId([7; 16]), version: Version(3) };

/// The mask of a record about a patient, without relationship.
pub(crate) fn sees(s: &Subject, action: Action, ty: &str, list: &[Label]) -> ClassSet {
    sees_in(s, action, ty, list, &Context::default())
}

pub(crate) fn sees_in(
    s: &Subject,
    action: Action,
    ty: &str,
    list: &[Label],
    ctx: &Context,
) -> ClassSet {
    shipped().mask(s, action, ty, labels(list), true, ctx).classes
}
