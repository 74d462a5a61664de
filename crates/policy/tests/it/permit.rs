//! What it takes to get a permit, and what a denial says to the audit log.

use phial_base::{ClassSet, DataClass, Label, Purpose};
use phial_policy::{Action, Context, DenialReason};

use crate::world::{RECORD, classes, facts, related, shipped, subject};

const CONDITION: [DataClass; 3] =
    [DataClass::Administrative, DataClass::Clinical, DataClass::Notes];

fn denied(
    roles: &[&str],
    purpose: Purpose,
    action: Action,
    ty: &'static str,
    touched: &[DataClass],
    list: &[Label],
) -> DenialReason {
    let f = facts(ty, classes(touched), list);
    match shipped().decide(&subject(roles, purpose), action, &RECORD, &f, &Context::default()) {
        Ok(p) => panic!("permitted: {:?}", p.classes()),
        Err(d) => d.reason,
    }
}

#[test]
fn a_permit_names_record_subject_action_and_reasons() {
    let s = subject(&["billing"], Purpose::HPAYMT);
    let f = facts("Condition", classes(&CONDITION), &[]);
    let p = shipped().decide(&s, Action::Read, &RECORD, &f, &Context::default()).unwrap();
    assert_eq!((p.row(), p.version()), (RECORD.row, RECORD.version));
    assert_eq!((p.subject(), p.tenant()), (&s.id, &s.tenant));
    assert_eq!((p.action(), p.purpose()), (Action::Read, Purpose::HPAYMT));
    assert_eq!(p.given(&f), classes(&[DataClass::Administrative, DataClass::Clinical]));
    assert_eq!(p.withheld(&f), ClassSet::of(DataClass::Notes));
    assert_eq!(p.policies().iter().map(|i| &**i).collect::<Vec<_>>(), ["billing.view"]);
    assert_eq!(*p.policy_hash(), shipped().hash());
    assert!(p.obligations().is_empty());
}

#[test]
fn nobody_writes_over_what_they_may_not_see() {
    let s = subject(&["front-desk"], Purpose::TREAT);
    let seen = [DataClass::Administrative, DataClass::Demographic, DataClass::Contact];
    let f = facts("Patient", classes(&seen), &[]);
    for action in [Action::Create, Action::Update, Action::Patch] {
        assert!(shipped().decide(&s, action, &RECORD, &f, &Context::default()).is_ok());
        let with_ssn = [seen.as_slice(), &[DataClass::GovernmentIdentifier]].concat();
        let reason = denied(&["front-desk"], Purpose::TREAT, action, "Patient", &with_ssn, &[]);
        assert_eq!(reason, DenialReason::ClassesWithheld);
    }
}

#[test]
fn a_read_with_withheld_classes_is_permitted_in_part() {
    let s = subject(&["physician"], Purpose::TREAT);
    let f = facts("Patient", ClassSet::ALL, &[]);
    let p = shipped().decide(&s, Action::Read, &RECORD, &f, &Context::default()).unwrap();
    assert!(p.withheld(&f).has(DataClass::GovernmentIdentifier));
    assert!(!p.given(&f).has(DataClass::GovernmentIdentifier));
}

#[test]
fn a_denial_says_why() {
    use Purpose::{HOPERAT, TREAT};
    let c = &CONDITION;
    let read = Action::Read;
    for (reason, expected) in [
        (denied(&[], TREAT, read, "Condition", c, &[]), DenialReason::NoRole),
        (denied(&["wizard"], TREAT, read, "Condition", c, &[]), DenialReason::NoRole),
        (denied(&["physician"], HOPERAT, read, "Condition", c, &[]), DenialReason::Purpose),
        (denied(&["nurse"], TREAT, Action::Delete, "Condition", c, &[]), DenialReason::Action),
        (
            denied(&["auditor"], HOPERAT, Action::ReadAudit, "Condition", c, &[]),
            DenialReason::Action,
        ),
        (denied(&["physician"], TREAT, read, "Potion", c, &[]), DenialReason::ResourceType),
        (
            denied(&["physician"], TREAT, read, "Condition", c, &[Label::Unknown]),
            DenialReason::UnknownLabel,
        ),
        (
            denied(&["physician"], TREAT, read, "Condition", c, &[Label::SUD]),
            DenialReason::Forbidden,
        ),
        (
            denied(&["field-clinician"], TREAT, read, "Condition", c, &[]),
            DenialReason::NotPermitted,
        ),
    ] {
        assert_eq!(reason, expected);
    }
    let f = facts("Condition", classes(c), &[Label::SUD]);
    let s = subject(&["physician"], TREAT);
    let d = shipped().decide(&s, read, &RECORD, &f, &Context::default()).unwrap_err();
    assert!(d.policies.iter().any(|p| &**p == "labels.sensitive"));
    assert!(shipped().decide(&s, read, &RECORD, &f, &related()).is_ok());
}

#[test]
fn a_bundle_or_an_import_is_no_permit_for_its_records() {
    let s = subject(&["import-client"], Purpose::HOPERAT);
    let f = facts("Condition", classes(&CONDITION), &[]);
    for action in [Action::Transaction, Action::Import] {
        assert!(shipped().allows(&s, action));
        let d = shipped().decide(&s, action, &RECORD, &f, &Context::default()).unwrap_err();
        assert_eq!(d.reason, DenialReason::Action);
    }
    assert!(!shipped().allows(&s, Action::Create), "records are decided one by one");
}
