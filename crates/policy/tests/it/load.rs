//! What a policy set is refused for, and that the refusal helps.

use phial_base::{ClassSet, DataClass, Label, LabelSet, Purpose};
use phial_policy::{Action, Consent, Context, DenialReason, Error, PolicySet, Problem};

use crate::world::{RECORD, facts, related, shipped, subject};

fn with(file: &str, text: &str) -> Result<PolicySet, Error> {
    let (schema, mut files, roles) = PolicySet::shipped_sources();
    files.push((file.to_owned(), text.to_owned()));
    PolicySet::from_sources(&schema, &files, &roles)
}

/// Only `text`, without the shipped files.
fn only(text: &str) -> Result<PolicySet, Error> {
    let (schema, _, roles) = PolicySet::shipped_sources();
    PolicySet::from_sources(&schema, &[("own.cedar".to_owned(), text.to_owned())], &roles)
}

fn refused(text: &str) -> Problem {
    match with("own.cedar", text) {
        Err(Error::Policy { file, problem, .. }) => {
            assert_eq!(file, "own.cedar");
            problem
        }
        Err(other) => panic!("another refusal: {other}"),
        Ok(_) => panic!("accepted: {text}"),
    }
}

#[test]
fn a_policy_says_its_id_and_its_classes() {
    let rest = "permit (principal in Role::\"nurse\", action == Action::\"read\", resource);";
    assert_eq!(refused(&format!("@classes(\"*\") {rest}")), Problem::NoId);
    assert_eq!(refused(&format!("@id(\"a\") {rest}")), Problem::NoClasses);
    assert_eq!(refused(&format!("@id(\"a\") @classes(\" \") {rest}")), Problem::NoClasses);
    assert_eq!(
        refused(&format!("@id(\"a\") @classes(\"clinical,note\") {rest}")),
        Problem::UnknownClass("note".into())
    );
    assert_eq!(
        refused(&format!("@id(\"a\") @classes(\"none\") {rest}")),
        Problem::NothingOnRecords
    );
    assert_eq!(
        refused(&format!("@id(\"nurse.view\") @classes(\"*\") {rest}")),
        Problem::DuplicateId
    );
    assert_eq!(refused(&format!("@id(\"floor.mine\") @classes(\"*\") {rest}")), Problem::FloorId);
    assert_eq!(
        refused(&format!("@id(\"a\") @class(\"*\") {rest}")),
        Problem::UnknownAnnotation("class".into())
    );
    assert_eq!(
        refused(&format!("@id(\"a\") @classes(\"*\") @obligation(\"shred\") {rest}")),
        Problem::UnknownObligation("shred".into())
    );
    assert!(with("own.cedar", &format!("@id(\"a\") @classes(\"clinical, notes\") {rest}")).is_ok());
}

#[test]
fn an_open_permit_does_not_reach_the_system() {
    let text =
        "@id(\"a\") @classes(\"*\") permit (principal in Role::\"nurse\", action, resource);";
    assert_eq!(refused(text), Problem::ClassesBeyondRecords);
    let forbid = "@id(\"a\") @classes(\"*\") @obligation(\"flag-access\") forbid (principal, action, resource);";
    assert_eq!(refused(forbid), Problem::ObligationOnForbid);
}

#[test]
fn what_nobody_knows_is_refused() {
    let role = "@id(\"a\") @classes(\"*\") permit (principal in Role::\"wizard\", action == Action::\"read\", resource);";
    assert_eq!(refused(role), Problem::UnknownRole("wizard".into()));
    let one = "@id(\"a\") @classes(\"*\") permit (principal == Subject::\"ana\", action == Action::\"read\", resource);";
    assert_eq!(refused(one), Problem::NamesIndividual("Subject".into()));
    let slot = "@id(\"a\") @classes(\"*\") permit (principal in ?principal, action == Action::\"read\", resource);";
    assert_eq!(refused(slot), Problem::Template);
    for condition in [
        "resource.labels.contains(Label::\"SUDD\")",
        "resource.resourceType == Type::\"Conditon\"",
        "context.purpose == Purpose::\"TREET\"",
        "context.relationships.contains(Relationship::\"Friend\")",
        "resource.author == \"x\"",
        "context.mfa == \"2\"",
        "context.mfa > 1 && false",
    ] {
        let text = format!(
            "@id(\"a\") @classes(\"*\") permit (principal, action == Action::\"read\", resource) when {{ {condition} }};"
        );
        assert!(matches!(refused(&text), Problem::Schema(_)), "{condition}");
    }
}

#[test]
fn a_refusal_names_file_policy_and_a_way_out() {
    let text = "@id(\"mine.read\") permit (principal, action == Action::\"read\", resource);";
    let message = with("site.cedar", text).unwrap_err().to_string();
    for part in ["site.cedar", "mine.read", "@classes("] {
        assert!(message.contains(part), "{message}");
    }
    let message = with("site.cedar", "permit (").unwrap_err().to_string();
    assert!(message.contains("site.cedar"), "{message}");
    let (schema, files, _) = PolicySet::shipped_sources();
    assert!(matches!(
        PolicySet::from_sources(&schema, &files, "[physician]"),
        Err(Error::Roles(_))
    ));
    assert!(matches!(PolicySet::from_sources("entity X;", &[], ""), Err(Error::Schema(_))));
}

#[test]
fn a_schema_without_a_label_is_refused_at_load() {
    let (schema, _, roles) = PolicySet::shipped_sources();
    let without = schema.replace("\"HIPAASelfPay\"\n];", "\"HIPAASelf\"\n];");
    assert_ne!(schema, without);
    assert!(matches!(PolicySet::from_sources(&without, &[], &roles), Err(Error::Schema(_))));
}

#[test]
fn no_file_removes_the_floor() {
    let set = only(
        "@id(\"a\") @classes(\"*\") permit (principal, action in Action::\"view\", resource);",
    )
    .unwrap();
    let s = subject(&["physician"], Purpose::TREAT);
    let ask = |s: &_, l| set.mask(s, Action::Read, "Condition", l, true, &related()).classes;
    assert_eq!(ask(&s, LabelSet::NONE), ClassSet::ALL);
    assert!(ask(&s, LabelSet::NONE.with(Label::Unknown)).is_empty());
    assert!(ask(&subject(&[], Purpose::TREAT), LabelSet::NONE).is_empty());
    assert!(ask(&subject(&["wizard"], Purpose::TREAT), LabelSet::NONE).is_empty());
    assert!(ask(&subject(&["physician"], Purpose::HPAYMT), LabelSet::NONE).is_empty());
    let e = set.explain(
        &subject(&[], Purpose::TREAT),
        Action::Read,
        "Condition",
        LabelSet::NONE,
        true,
        &related(),
    );
    assert!(e.satisfied.iter().any(|p| &*p.id == "floor.no-role"), "Cedar itself denies too");
    assert!(e.mask.classes.is_empty());
}

#[test]
fn a_policy_that_fails_denies_whatever_else_permits() {
    // Passes strict validation, and overflows when asked.
    let overflow = "9223372036854775807 + context.mfa > 0";
    for effect in ["permit", "forbid"] {
        let text = format!(
            "@id(\"own.broken\") @classes(\"notes\") {effect} (principal, action == Action::\"read\", resource is Record) when {{ {overflow} }};"
        );
        let set = with("own.cedar", &text).unwrap();
        let mut s = subject(&["physician"], Purpose::TREAT);
        let f = facts("Condition", ClassSet::of(DataClass::Administrative), &[]);
        s.mfa = 2;
        let mask = set.mask(&s, Action::Read, "Condition", f.labels, true, &Context::default());
        assert!(mask.failed && mask.classes.is_empty(), "{effect}");
        let denial = set.decide(&s, Action::Read, &RECORD, &f, &Context::default()).unwrap_err();
        assert_eq!(denial.reason, DenialReason::EvaluationFailed);
        let e = set.explain(&s, Action::Read, "Condition", f.labels, true, &Context::default());
        assert_eq!(e.failed.iter().map(|p| &**p).collect::<Vec<_>>(), ["own.broken"]);
        s.mfa = 0;
        assert!(set.decide(&s, Action::Read, &RECORD, &f, &Context::default()).is_ok());
    }
}

#[test]
fn an_action_without_records_fails_closed_too() {
    let text = "@id(\"own.broken\") @classes(\"*\") forbid (principal, action == Action::\"read-audit\", resource) when { 9223372036854775807 + context.mfa > 0 };";
    let set = with("own.cedar", text).unwrap();
    let mut s = subject(&["auditor"], Purpose::HOPERAT);
    s.mfa = 2;
    assert!(!set.allows(&s, Action::ReadAudit));
    assert!(shipped().allows(&s, Action::ReadAudit));
}

#[test]
fn half_a_log_in_holds_no_role_whatever_a_policy_says() {
    let text = "@id(\"own.wide\") @classes(\"*\") permit (principal, action == Action::\"read\", resource is Record);";
    let set = with("own.cedar", text).unwrap();
    let mut s = subject(&["physician", "auditor", "operator"], Purpose::HOPERAT);
    let f = facts("Condition", ClassSet::of(DataClass::Administrative), &[]);
    for (mfa, holds) in [(0, true), (1, false), (2, true)] {
        s.mfa = mfa;
        assert_eq!(set.allows(&s, Action::ReadAudit), holds, "{mfa}");
        s.purpose = Purpose::TREAT;
        let decided = set.decide(&s, Action::Read, &RECORD, &f, &Context::default());
        assert_eq!(decided.is_ok(), holds, "{mfa}");
        assert_eq!(set.ever(&s, Action::Read, "Condition").is_empty(), !holds, "{mfa}");
        s.purpose = Purpose::HOPERAT;
    }
}

#[test]
fn everything_a_policy_can_see_is_in_the_cache_key() {
    let base = "@id(\"a\") @classes(\"notes\") permit (principal in Role::\"nurse\", action == Action::\"read\", resource is Record) when";
    let same = subject(&["nurse"], Purpose::TREAT);
    let same_ctx = Context::default();
    let mut unit = same.clone();
    unit.unit = Some("ward".into());
    let mut mfa = same.clone();
    mfa.mfa = 2;
    let mut alone = same.clone();
    alone.practitioner = None;
    let mut patient = same.clone();
    patient.patient = same.practitioner.clone();
    let says = |denies, permits| Context { consent: Consent { denies, permits }, ..same_ctx };
    let (denied, consented) = (says(true, false), says(false, true));
    let job = Context { surface: phial_base::Surface::Job, ..same_ctx };
    for (condition, s, ctx) in [
        ("principal has unit && principal.unit == \"ward\"", &unit, &same_ctx),
        ("context.mfa > 1", &mfa, &same_ctx),
        ("!principal.isPractitioner", &alone, &same_ctx),
        ("principal.isPatient", &patient, &same_ctx),
        ("context.consentDenies", &same, &denied),
        ("context.consentPermits", &same, &consented),
        ("context.surface == Surface::\"job\"", &same, &job),
        ("context.relationships.contains(Relationship::\"CareTeam\")", &same, &related()),
    ] {
        let set = only(&format!("{base} {{ {condition} }};")).unwrap();
        let ask =
            |s: &_, c: &_| set.mask(s, Action::Read, "Condition", LabelSet::NONE, true, c).classes;
        for _ in 0..2 {
            assert!(ask(&same, &same_ctx).is_empty(), "{condition}");
            assert_eq!(ask(s, ctx), ClassSet::of(DataClass::Notes), "{condition}");
        }
    }
}

#[test]
fn the_policies_know_the_resource_types_of_r4() {
    let types: Vec<&str> = shipped().resource_types().collect();
    assert_eq!(types.len(), 146);
    for ty in ["Patient", "SubstanceSourceMaterial", "VisionPrescription"] {
        assert!(types.contains(&ty));
    }
}
