//! The rules that the shipped roles stand for, one claim each.

use phial_base::{ClassSet, DataClass, Label, Purpose};
use phial_policy::{Action, Context, Obligation, PolicySet, Relationship, RelationshipSet};

use crate::world::{classes, labels, related, sees, sees_in, shipped, subject};

const SENSITIVE: [Label; 19] = [
    Label::ETH,
    Label::SUD,
    Label::ETHUD,
    Label::OPIOIDUD,
    Label::HIV,
    Label::STD,
    Label::MH,
    Label::PSY,
    Label::PSYTHPN,
    Label::BH,
    Label::SDV,
    Label::SEX,
    Label::GDIS,
    Label::PREGNANT,
    Label::ADOL,
    Label::PRS,
    Label::Part2,
    Label::Restricted,
    Label::VeryRestricted,
];

fn all_but(without: &[DataClass]) -> ClassSet {
    ClassSet::ALL.minus(classes(without))
}

#[test]
fn every_label_is_sensitive_personal_harmless_or_unknown() {
    let others = [Label::Unknown, Label::VIP, Label::EMP, Label::HTEST, Label::TBOO];
    for l in Label::ALL {
        assert!(SENSITIVE.contains(&l) ^ others.contains(&l), "{}: decide what it means", l.code());
    }
}

#[test]
fn physician_sees_the_chart_without_government_ids_and_money() {
    let s = subject(&["physician"], Purpose::TREAT);
    let expected = all_but(&[DataClass::GovernmentIdentifier, DataClass::Financial]);
    for ty in ["Patient", "Condition", "Observation", "DocumentReference"] {
        assert_eq!(sees(&s, Action::Read, ty, &[]), expected);
        assert_eq!(sees(&s, Action::Read, ty, &[Label::HTEST]), expected);
    }
    assert!(sees(&s, Action::Read, "AuditEvent", &[]).is_empty());
}

#[test]
fn sensitive_records_take_a_care_relationship() {
    let s = subject(&["physician"], Purpose::TREAT);
    for l in SENSITIVE {
        for action in [Action::Read, Action::Search, Action::Update] {
            assert!(sees(&s, action, "Condition", &[l]).is_empty(), "{}", l.code());
            assert!(!sees_in(&s, action, "Condition", &[l], &related()).is_empty());
        }
    }
}

#[test]
fn a_taboo_is_for_those_who_treat_and_not_for_the_patient() {
    let it = &[Label::TBOO];
    for role in ["physician", "nurse"] {
        let s = subject(&[role], Purpose::TREAT);
        assert_eq!(
            sees(&s, Action::Read, "Condition", it),
            sees(&s, Action::Read, "Condition", &[])
        );
        let own = Context::new(RelationshipSet::of(Relationship::SelfPatient));
        assert!(sees_in(&s, Action::Read, "Condition", it, &own).is_empty(), "{role}");
    }
    for (role, purpose) in [("billing", Purpose::HPAYMT), ("front-desk", Purpose::HOPERAT)] {
        let s = subject(&[role], purpose);
        assert!(sees(&s, Action::Read, "Condition", it).is_empty(), "{role}");
        assert!(sees(&s, Action::Read, "Appointment", it).is_empty(), "{role}");
    }
    let officer = subject(&["privacy-officer"], Purpose::HOPERAT);
    assert!(!sees(&officer, Action::History, "Condition", it).is_empty());
    assert!(sees(&officer, Action::Update, "Condition", it).is_empty());
}

#[test]
fn being_the_patient_is_no_care_relationship() {
    let ctx = Context::new(RelationshipSet::of(Relationship::SelfPatient));
    for role in ["physician", "nurse", "field-clinician"] {
        let s = subject(&[role], Purpose::TREAT);
        assert!(sees_in(&s, Action::Read, "Condition", &[Label::SUD], &ctx).is_empty());
        assert!(sees_in(&s, Action::Read, "Patient", &[Label::VIP], &ctx).is_empty());
    }
    let field = subject(&["field-clinician"], Purpose::TREAT);
    assert!(sees_in(&field, Action::Read, "Condition", &[], &ctx).is_empty());
}

#[test]
fn psychotherapy_notes_are_for_the_treating_physician() {
    let ctx = related();
    for role in ["nurse", "field-clinician"] {
        let s = subject(&[role], Purpose::TREAT);
        assert!(sees_in(&s, Action::Read, "DocumentReference", &[Label::PSYTHPN], &ctx).is_empty());
        assert!(!sees_in(&s, Action::Read, "DocumentReference", &[Label::MH], &ctx).is_empty());
    }
    let s = subject(&["physician"], Purpose::TREAT);
    assert!(!sees_in(&s, Action::Read, "DocumentReference", &[Label::PSYTHPN], &ctx).is_empty());
}

#[test]
fn nurse_writes_care_and_no_diagnoses_or_orders() {
    let s = subject(&["nurse"], Purpose::TREAT);
    assert!(!sees(&s, Action::Create, "Observation", &[]).is_empty());
    for ty in ["Condition", "MedicationRequest", "ServiceRequest", "Patient", "Claim"] {
        assert!(sees(&s, Action::Create, ty, &[]).is_empty(), "{ty}");
    }
    assert!(sees(&s, Action::Delete, "Observation", &[]).is_empty());
}

#[test]
fn field_clinician_sees_assigned_patients_and_the_directory() {
    let s = subject(&["field-clinician"], Purpose::TREAT);
    for ty in ["Patient", "Condition", "Observation", "Encounter", "Claim"] {
        for action in [Action::Read, Action::Search, Action::Create] {
            assert!(sees(&s, action, ty, &[]).is_empty(), "{action} {ty}");
        }
    }
    for r in Relationship::of_policies() {
        let ctx = Context::new(RelationshipSet::of(r));
        let mask = sees_in(&s, Action::Read, "Condition", &[], &ctx);
        assert_eq!(mask.is_empty(), r == Relationship::SelfPatient, "{r}");
    }
    let none = Context::default();
    let alone = |ty| shipped().mask(&s, Action::Read, ty, labels(&[]), false, &none).classes;
    for ty in ["Practitioner", "Organization", "Location", "Medication"] {
        assert!(alone(ty).has(DataClass::Administrative), "{ty}");
        assert!(!alone(ty).has(DataClass::GovernmentIdentifier));
    }
    assert!(alone("Condition").is_empty());
}

#[test]
fn billing_sees_codes_and_no_notes_or_results() {
    let s = subject(&["billing"], Purpose::HPAYMT);
    let expected = classes(&[
        DataClass::Administrative,
        DataClass::Demographic,
        DataClass::Contact,
        DataClass::Identifier,
        DataClass::Financial,
        DataClass::Scheduling,
        DataClass::Clinical,
    ]);
    for ty in ["Condition", "Procedure", "Encounter", "Claim", "Patient"] {
        assert_eq!(sees(&s, Action::Read, ty, &[]), expected, "{ty}");
    }
    for ty in ["Observation", "DiagnosticReport", "MedicationRequest", "DocumentReference"] {
        assert!(sees(&s, Action::Read, ty, &[]).is_empty(), "{ty}");
    }
    for l in SENSITIVE {
        assert!(sees_in(&s, Action::Read, "Condition", &[l], &related()).is_empty());
    }
    assert!(sees(&s, Action::Create, "Condition", &[]).is_empty());
}

#[test]
fn front_desk_sees_no_clinical_record() {
    for purpose in [Purpose::HOPERAT, Purpose::TREAT] {
        let s = subject(&["front-desk"], purpose);
        for ty in shipped().resource_types() {
            let mask = shipped().ever(&s, Action::Search, ty);
            assert!(!mask.has(DataClass::Clinical), "{ty}");
            assert!(!mask.has(DataClass::Notes), "{ty}");
            assert!(!mask.has(DataClass::GovernmentIdentifier), "{ty}");
        }
        for ty in ["Condition", "Observation", "Encounter", "MedicationRequest", "Claim"] {
            assert!(shipped().ever(&s, Action::Read, ty).is_empty(), "{ty}");
        }
        assert!(sees(&s, Action::Read, "Appointment", &[]).has(DataClass::Scheduling));
        assert!(sees_in(&s, Action::Read, "Appointment", &[Label::PSY], &related()).is_empty());
    }
}

#[test]
fn privacy_officer_reads_everything_known_and_writes_nothing() {
    let s = subject(&["privacy-officer"], Purpose::HOPERAT);
    for ty in shipped().resource_types() {
        assert_eq!(sees(&s, Action::Read, ty, &[Label::PSYTHPN, Label::VIP]), ClassSet::ALL);
        for action in Action::ALL.into_iter().filter(|a| a.writes()) {
            assert!(sees(&s, action, ty, &[]).is_empty());
        }
    }
    assert!(sees(&s, Action::Read, "Condition", &[Label::Unknown]).is_empty());
    assert!(shipped().allows(&s, Action::ReadAudit));
}

#[test]
fn auditor_and_operator_see_no_record() {
    for role in ["auditor", "operator"] {
        let s = subject(&[role], Purpose::HOPERAT);
        for ty in shipped().resource_types() {
            for action in Action::ALL {
                assert!(sees_in(&s, action, ty, &[], &related()).is_empty());
            }
        }
    }
    let allowed = |role| {
        let s = subject(&[role], Purpose::HOPERAT);
        Action::ALL.into_iter().filter(|a| shipped().allows(&s, *a)).collect::<Vec<_>>()
    };
    assert_eq!(allowed("auditor"), [Action::ReadAudit, Action::Verify]);
    let operator = [
        Action::Verify,
        Action::ManageUsers,
        Action::ManageKeys,
        Action::ManageVendors,
        Action::ManageJobs,
    ];
    assert_eq!(allowed("operator"), operator);
    assert_eq!(allowed("import-client"), [Action::Transaction, Action::Import]);
    assert!(allowed("physician").is_empty());
}

#[test]
fn import_client_finds_and_writes_every_type_and_deletes_none() {
    for purpose in [Purpose::HOPERAT, Purpose::TREAT, Purpose::HTEST] {
        let s = subject(&["import-client"], purpose);
        for ty in shipped().resource_types() {
            for action in [Action::Read, Action::Search, Action::Create, Action::Update] {
                assert_eq!(sees(&s, action, ty, &[Label::SUD, Label::VIP]), ClassSet::ALL);
                assert!(shipped().every_record(&s, action, ty));
            }
            assert!(sees(&s, Action::Delete, ty, &[]).is_empty());
            assert!(sees(&s, Action::History, ty, &[]).is_empty());
        }
    }
}

#[test]
fn interface_engine_may_ask_by_condition_for_every_type_but_the_log() {
    for purpose in [Purpose::TREAT, Purpose::HOPERAT, Purpose::HPAYMT] {
        let s = subject(&["interface-engine"], purpose);
        for ty in shipped().resource_types() {
            let every = ty != "AuditEvent";
            for action in [Action::Search, Action::Update, Action::Patch, Action::Delete] {
                assert_eq!(shipped().every_record(&s, action, ty), every, "{ty}");
            }
        }
        assert!(!shipped().allows(&s, Action::Import));
    }
}

#[test]
fn public_persons_and_staff_take_a_relationship() {
    for l in [Label::VIP, Label::EMP] {
        for role in ["physician", "nurse"] {
            let s = subject(&[role], Purpose::TREAT);
            assert!(sees(&s, Action::Read, "Patient", &[l]).is_empty());
            assert!(!sees_in(&s, Action::Read, "Patient", &[l], &related()).is_empty());
        }
        let s = subject(&["front-desk"], Purpose::TREAT);
        assert!(sees(&s, Action::Read, "Patient", &[l]).is_empty());
    }
}

#[test]
fn a_role_counts_only_for_its_purposes() {
    let both = ["physician", "billing"];
    let treat = subject(&both, Purpose::TREAT);
    let pay = subject(&both, Purpose::HPAYMT);
    assert!(!sees(&treat, Action::Read, "Claim", &[]).has(DataClass::Financial));
    assert!(!sees(&pay, Action::Read, "Condition", &[]).has(DataClass::Notes));
    assert!(sees(&pay, Action::Read, "Claim", &[]).has(DataClass::Financial));
    assert!(shipped().may_claim(both, Purpose::HPAYMT));
    assert!(!shipped().may_claim(["physician"], Purpose::HPAYMT));
}

#[test]
fn obligations_come_with_what_they_are_about() {
    let s = subject(&["physician"], Purpose::TREAT);
    let ask = |l: &[Label], ctx: &Context| {
        shipped().mask(&s, Action::Read, "Condition", labels(l), true, ctx).obligations
    };
    assert!(ask(&[], &related()).is_empty());
    assert!(ask(&[Label::Part2], &related()).has(Obligation::RedisclosureNotice));
    assert!(ask(&[Label::VIP], &related()).has(Obligation::FlagAccess));
    assert!(ask(&[Label::Part2], &Context::default()).is_empty(), "nothing given, nothing owed");
}

#[test]
fn ever_is_the_most_a_role_could_see() {
    let field = subject(&["field-clinician"], Purpose::TREAT);
    assert!(shipped().ever(&field, Action::Search, "Condition").has(DataClass::Clinical));
    assert!(!shipped().whole_type(&field, Action::Search, "Condition"));
    let physician = subject(&["physician"], Purpose::TREAT);
    assert!(shipped().whole_type(&physician, Action::Search, "Condition"));
    assert!(!shipped().every_record(&physician, Action::Search, "Condition"));
    let desk = subject(&["front-desk"], Purpose::TREAT);
    assert!(!shipped().whole_type(&desk, Action::Search, "Condition"));
    assert!(shipped().whole_type(&desk, Action::Search, "Slot"));
    assert!(shipped().ever(&physician, Action::Search, "NoSuchType").is_empty());
}

#[test]
fn reading_searching_and_history_show_the_same() {
    for role in
        ["physician", "nurse", "field-clinician", "billing", "front-desk", "privacy-officer"]
    {
        let purpose = shipped().role(role).and_then(|r| r.default_purpose()).unwrap();
        let s = subject(&[role], purpose);
        for ty in shipped().resource_types() {
            let read = sees_in(&s, Action::Read, ty, &[], &related());
            for action in [Action::Vread, Action::Search, Action::History] {
                assert_eq!(sees_in(&s, action, ty, &[], &related()), read, "{role} {action} {ty}");
            }
        }
    }
}

#[test]
fn an_explanation_names_the_policies() {
    let s = subject(&["physician"], Purpose::TREAT);
    let e = shipped().explain(
        &s,
        Action::Read,
        "Condition",
        labels(&[Label::SUD]),
        true,
        &Context::default(),
    );
    let ids: Vec<&str> = e.satisfied.iter().map(|p| &*p.id).collect();
    assert_eq!(ids, ["labels.part2-notice", "physician.view", "labels.sensitive"]);
    assert_eq!(&*e.satisfied[1].file, "physician.cedar");
    assert!(e.mask.classes.is_empty());
    assert!(e.failed.is_empty());
    assert_eq!(e.roles.iter().map(|r| &**r).collect::<Vec<_>>(), ["physician"]);
}

#[test]
fn the_shipped_hash_does_not_depend_on_the_order_of_files() {
    let (schema, mut files, roles) = PolicySet::shipped_sources();
    files.reverse();
    let again = PolicySet::from_sources(&schema, &files, &roles).unwrap();
    assert_eq!(again.hash(), shipped().hash());
    files[0].1.push('\n');
    let other = PolicySet::from_sources(&schema, &files, &roles).unwrap();
    assert_ne!(other.hash(), shipped().hash());
}
