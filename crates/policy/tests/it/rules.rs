//! The rules that the shipped roles stand for, one claim each.

use phial_base::{ClassSet, DataClass, Label, Purpose};
use phial_policy::{
    Action, Consent, Context, Obligation, PolicySet, Relationship, RelationshipSet,
};

use crate::world::{classes, consented, labels, related, sees, sees_in, shipped, subject};

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
    let others =
        [Label::Unknown, Label::VIP, Label::EMP, Label::HTEST, Label::TBOO, Label::HIPAASelfPay];
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
            let with = sees_in(&s, action, "Condition", &[l], &consented());
            assert!(!with.is_empty(), "{}", l.code());
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
        let none = [
            Relationship::SelfPatient,
            Relationship::Proxy,
            Relationship::ProxyProtected,
            Relationship::Household,
        ];
        assert_eq!(mask.is_empty(), none.contains(&r), "{r}");
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
    for role in ["auditor", "operator", "security-administrator"] {
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
    assert_eq!(
        allowed("security-administrator"),
        [Action::Verify, Action::ManageUsers, Action::ManageAccess]
    );
    for role in ["billing", "front-desk", "laboratory", "care-coordinator", "patient"] {
        assert!(!allowed(role).contains(&Action::BreakGlass), "{role}");
    }
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
    assert!(ask(&[Label::Part2], &consented()).has(Obligation::RedisclosureNotice));
    assert!(ask(&[Label::Part2], &related()).is_empty(), "nothing without a consent");
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

fn tied(list: &[Relationship]) -> Context {
    Context::new(list.iter().copied().collect())
}

#[test]
fn a_patient_sees_their_own_record_but_what_is_apart() {
    let s = subject(&["patient"], Purpose::PATRQT);
    let own = tied(&[Relationship::SelfPatient]);
    for ty in ["Patient", "Condition", "Observation", "Claim", "DocumentReference"] {
        assert_eq!(sees_in(&s, Action::Read, ty, &[], &own), ClassSet::ALL, "{ty}");
        assert!(sees(&s, Action::Read, ty, &[]).is_empty(), "{ty} of somebody else");
        assert!(sees_in(&s, Action::Read, ty, &[], &related()).is_empty(), "{ty}");
    }
    for l in [Label::SUD, Label::Part2, Label::HIV, Label::VIP, Label::VeryRestricted] {
        assert_eq!(sees_in(&s, Action::Read, "Condition", &[l], &own), ClassSet::ALL);
    }
    let denied = Context { consent: Consent { denies: true, permits: false }, ..own };
    assert_eq!(sees_in(&s, Action::Read, "Condition", &[], &denied), ClassSet::ALL);
    for l in [Label::PSYTHPN, Label::TBOO] {
        assert!(sees_in(&s, Action::Read, "Condition", &[l], &own).is_empty());
    }
    assert!(sees_in(&s, Action::Update, "Condition", &[], &own).is_empty());
    assert!(sees_in(&s, Action::Read, "AuditEvent", &[], &own).is_empty());
}

#[test]
fn a_proxy_sees_what_the_grant_reaches() {
    let s = subject(&["proxy"], Purpose::PATRQT);
    let plain = tied(&[Relationship::Proxy]);
    let all = tied(&[Relationship::Proxy, Relationship::ProxyProtected]);
    let chart = all_but(&[DataClass::GovernmentIdentifier]);
    assert_eq!(sees_in(&s, Action::Read, "Condition", &[], &plain), chart);
    for l in [Label::SUD, Label::HIV, Label::MH, Label::ADOL, Label::SEX] {
        assert!(sees_in(&s, Action::Read, "Condition", &[l], &plain).is_empty());
        assert_eq!(sees_in(&s, Action::Read, "Condition", &[l], &all), chart);
    }
    for l in [Label::PSYTHPN, Label::TBOO, Label::Part2] {
        assert!(sees_in(&s, Action::Read, "Condition", &[l], &all).is_empty(), "{}", l.code());
    }
    let scope = classes(&[DataClass::Administrative, DataClass::Scheduling]);
    let narrow = Context { scope, ..plain };
    assert_eq!(sees_in(&s, Action::Read, "Appointment", &[], &narrow), scope);
    assert!(sees(&s, Action::Read, "Condition", &[]).is_empty());
}

#[test]
fn nobody_looks_at_themselves_or_their_own_through_their_job() {
    for r in [Relationship::SelfPatient, Relationship::Household] {
        let ctx = tied(&[r, Relationship::CareTeam]);
        for (role, purpose) in [
            ("physician", Purpose::TREAT),
            ("nurse", Purpose::TREAT),
            ("pharmacist", Purpose::TREAT),
            ("billing", Purpose::HPAYMT),
            ("front-desk", Purpose::HOPERAT),
            ("privacy-officer", Purpose::HOPERAT),
        ] {
            let s = subject(&[role], purpose);
            for action in [Action::Read, Action::Search, Action::Update] {
                assert!(sees_in(&s, action, "Patient", &[], &ctx).is_empty(), "{role} {r}");
            }
        }
    }
}

#[test]
fn a_researcher_sees_no_record_of_a_patient() {
    let s = subject(&["researcher"], Purpose::HRESCH);
    for ty in shipped().resource_types() {
        for action in Action::ALL {
            for ctx in [Context::default(), Context::new(RelationshipSet::ALL)] {
                assert!(sees_in(&s, action, ty, &[], &ctx).is_empty(), "{action} {ty}");
            }
        }
    }
}

#[test]
fn a_laboratory_sees_orders_and_results_and_no_medicines() {
    let s = subject(&["laboratory"], Purpose::TREAT);
    for ty in ["ServiceRequest", "Specimen", "Observation", "DiagnosticReport"] {
        assert!(sees(&s, Action::Read, ty, &[Label::HIV]).has(DataClass::Administrative), "{ty}");
        assert!(sees(&s, Action::Read, ty, &[Label::Part2]).is_empty(), "{ty}");
    }
    for ty in ["MedicationRequest", "Condition", "DocumentReference", "Claim", "Encounter"] {
        assert!(sees(&s, Action::Read, ty, &[]).is_empty(), "{ty}");
    }
    assert!(!sees(&s, Action::Read, "Patient", &[]).has(DataClass::Contact));
    assert!(sees(&s, Action::Create, "ServiceRequest", &[]).is_empty());
}

#[test]
fn a_pharmacist_sees_medicines_with_their_words_and_no_documents() {
    let s = subject(&["pharmacist"], Purpose::TREAT);
    assert!(sees(&s, Action::Read, "MedicationRequest", &[]).has(DataClass::Notes));
    assert!(!sees(&s, Action::Read, "Condition", &[]).has(DataClass::Notes));
    assert!(sees(&s, Action::Read, "DocumentReference", &[]).is_empty());
    assert!(sees(&s, Action::Create, "MedicationRequest", &[]).is_empty());
    assert!(!sees(&s, Action::Create, "MedicationDispense", &[]).is_empty());
    assert!(sees(&s, Action::Read, "MedicationRequest", &[Label::SUD]).is_empty());
    assert!(!sees_in(&s, Action::Read, "MedicationRequest", &[Label::SUD], &related()).is_empty());
}

#[test]
fn an_emergency_opens_what_is_protected_and_no_psychotherapy_notes() {
    let ctx = tied(&[Relationship::BreakGlass]);
    for role in ["physician", "nurse", "field-clinician", "pharmacist"] {
        let s = subject(&[role], Purpose::TREAT);
        for l in [Label::SUD, Label::Part2, Label::HIV, Label::VIP] {
            assert!(!sees_in(&s, Action::Read, "Condition", &[l], &ctx).is_empty(), "{role}");
        }
        assert!(sees_in(&s, Action::Read, "Condition", &[Label::PSYTHPN], &ctx).is_empty());
        let owed = shipped().mask(&s, Action::Read, "Condition", labels(&[]), true, &ctx);
        assert!(owed.obligations.has(Obligation::BreakGlass), "{role}");
        assert!(owed.obligations.has(Obligation::FlagAccess), "{role}");
        assert!(shipped().allows(&s, Action::BreakGlass));
    }
    for (role, purpose) in [("billing", Purpose::HPAYMT), ("laboratory", Purpose::TREAT)] {
        let s = subject(&[role], purpose);
        assert!(sees_in(&s, Action::Read, "Condition", &[Label::SUD], &ctx).is_empty(), "{role}");
        assert!(!shipped().allows(&s, Action::BreakGlass), "{role}");
    }
}

#[test]
fn what_is_paid_out_of_pocket_is_not_for_payment() {
    let it = &[Label::HIPAASelfPay];
    let pay = subject(&["billing"], Purpose::HPAYMT);
    assert!(sees(&pay, Action::Read, "Claim", it).is_empty());
    let treat = subject(&["physician"], Purpose::TREAT);
    assert_eq!(
        sees(&treat, Action::Read, "Condition", it),
        sees(&treat, Action::Read, "Condition", &[])
    );
}
