//! A world is whole: every reference resolves, every resource is labelled, the staff
//! exist, and what the demo speaks of is there.

use std::collections::{BTreeMap, BTreeSet};

use phial_synth::World;
use serde_json::Value;

/// All resources of a world by `Type/id`.
pub(crate) fn resources(world: &World) -> BTreeMap<String, Value> {
    gather(world.bundles())
}

pub(crate) fn gather(bundles: impl Iterator<Item = (String, String)>) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (_, bundle) in bundles {
        let bundle: Value = serde_json::from_str(&bundle).unwrap();
        assert_eq!(bundle["type"], "transaction");
        for entry in bundle["entry"].as_array().unwrap() {
            let resource = &entry["resource"];
            let name = format!(
                "{}/{}",
                resource["resourceType"].as_str().unwrap(),
                resource["id"].as_str().unwrap()
            );
            assert_eq!(entry["request"]["method"], "PUT");
            assert_eq!(entry["request"]["url"], name.as_str());
            assert!(all.insert(name.clone(), resource.clone()).is_none(), "{name} twice");
        }
    }
    all
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str() {
                    Some(text) if name == "reference" => found.push(text),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

pub(crate) fn of<'a>(all: &'a BTreeMap<String, Value>, kind: &str) -> Vec<&'a Value> {
    all.values().filter(|r| r["resourceType"] == kind).collect()
}

fn labels(resource: &Value) -> BTreeSet<&str> {
    resource["meta"]["security"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["code"].as_str().unwrap())
        .collect()
}

#[test]
fn every_reference_resolves() {
    // More than one district.
    let world = World::new(9, 2010);
    let parts = world.directories().chain(world.charts(0..60)).chain(world.charts(1980..2010));
    let all = gather(parts);
    let mut seen = 0;
    for (name, resource) in &all {
        let mut found = Vec::new();
        references(resource, &mut found);
        for reference in found {
            assert!(
                all.contains_key(reference),
                "{name} refers to {reference}, which is not there"
            );
            seen += 1;
        }
    }
    assert!(seen > 20_000, "only {seen} references");
}

#[test]
fn every_resource_is_labelled_htest() {
    for (name, resource) in resources(&World::new(3, 60)) {
        let labelled = resource["meta"]["security"].as_array().unwrap().iter().any(|c| {
            c["system"] == "http://terminology.hl7.org/CodeSystem/v3-ActReason"
                && c["code"] == "HTEST"
        });
        assert!(labelled, "{name} is not labelled");
    }
}

#[test]
fn staff_are_practitioners_and_the_clinical_roles_exist() {
    let world = World::new(1, 3);
    let all = resources(&world);
    for staff in world.staff() {
        assert!(all.contains_key(&format!("Practitioner/{}", staff.practitioner)));
        assert!(!staff.name.is_empty());
    }
    for role in ["physician", "nurse", "field-clinician"] {
        assert!(world.staff().iter().any(|s| s.role == role), "no {role}");
    }
}

#[test]
fn the_first_patient_has_what_the_tour_shows() {
    for seed in 0..20 {
        let world = World::new(seed, 1);
        let all = resources(&world);
        let patient = format!("Patient/{}", world.patient_ids()[0]);
        assert_eq!(labels(&all[&patient]), BTreeSet::from(["HTEST"]));
        let conditions = of(&all, "Condition");
        assert!(conditions.len() >= 2);
        for condition in &conditions {
            assert_eq!(condition["subject"]["reference"], patient.as_str());
            assert!(!condition["note"][0]["text"].as_str().unwrap().is_empty());
            assert_eq!(labels(condition), BTreeSet::from(["HTEST"]));
        }
        assert!(conditions.iter().any(|c| c["code"]["coding"][0]["code"] == "44054006"));
        assert!(of(&all, "Appointment").iter().any(|a| a["status"] == "booked"));
    }
}

#[test]
fn a_chart_is_whole_and_small() {
    let world = World::new(1, 100);
    let all = resources(&world);
    let mut sizes = Vec::new();
    for (name, bundle) in world.bundles().skip(5) {
        let bundle: Value = serde_json::from_str(&bundle).unwrap();
        let entries = bundle["entry"].as_array().unwrap();
        sizes.push(entries.len());
        let kinds: BTreeSet<&str> =
            entries.iter().map(|e| e["resource"]["resourceType"].as_str().unwrap()).collect();
        for kind in [
            "Patient",
            "Coverage",
            "CareTeam",
            "Encounter",
            "Observation",
            "AllergyIntolerance",
            "DocumentReference",
            "Claim",
        ] {
            assert!(kinds.contains(kind), "{name} has no {kind}");
        }
    }
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    assert!((70..=130).contains(&mean), "{mean} resources a patient");
    for kind in [
        "Organization",
        "Location",
        "Practitioner",
        "PractitionerRole",
        "Condition",
        "MedicationRequest",
        "Immunization",
        "Procedure",
        "DiagnosticReport",
        "Appointment",
        "ExplanationOfBenefit",
        "CarePlan",
        "Provenance",
        "RelatedPerson",
        "Schedule",
        "Slot",
        "Goal",
        "EpisodeOfCare",
        "ServiceRequest",
        "ClinicalImpression",
        "FamilyMemberHistory",
    ] {
        assert!(!of(&all, kind).is_empty(), "no {kind}");
    }
}

#[test]
fn a_hundred_patients_hold_every_protected_kind() {
    let all = resources(&World::new(1, 100));
    let conditions = of(&all, "Condition");
    for label in ["ETHUD", "HIV", "PSY", "OPIOIDUD", "42CFRPart2", "SDV", "SEX", "GDIS", "MH"] {
        let labelled = conditions.iter().filter(|c| labels(c).contains(label)).count();
        assert!((1..=20).contains(&labelled), "{labelled} conditions labelled {label}");
    }
    for label in ["VIP", "EMP"] {
        let labelled = of(&all, "Patient").iter().filter(|p| labels(p).contains(label)).count();
        assert!((1..=6).contains(&labelled), "{labelled} patients labelled {label}");
    }
    assert!(of(&all, "DocumentReference").iter().any(|d| labels(d).contains("PSYTHPN")));
    let diabetic =
        conditions.iter().filter(|c| c["code"]["coding"][0]["code"] == "44054006").count();
    assert!(diabetic >= 5, "{diabetic} with diabetes");
}

#[test]
fn what_tells_of_a_protected_illness_is_labelled_too() {
    let all = resources(&World::new(1, 200));
    let protected: BTreeMap<&str, &Value> = all
        .iter()
        .filter(|(_, r)| r["resourceType"] == "Condition" && labels(r).len() > 1)
        .map(|(name, r)| (name.as_str(), r))
        .collect();
    assert!(!protected.is_empty());
    let mut told = 0;
    for (name, resource) in &all {
        let mut found = Vec::new();
        references(resource, &mut found);
        let text = resource.to_string();
        let codes = [
            ("7200002", "ETHUD"),
            ("F10.20", "ETHUD"),
            ("1483744", "ETHUD"),
            ("86406008", "HIV"),
            ("Z21", "HIV"),
            ("20447-9", "HIV"),
            ("13746004", "PSY"),
            ("F31.9", "PSY"),
            ("5602001", "42CFRPart2"),
            ("351266", "42CFRPart2"),
            ("370143000", "MH"),
            ("706893006", "SDV"),
            ("412734009", "GDIS"),
            ("14334-7", "PSY"),
            ("93461009", "SEX"),
            ("72892002", "PREGNANT"),
        ];
        for (code, label) in codes {
            let told = text.contains(&format!("\"{code}\""));
            assert!(!told || labels(resource).contains(label), "{name}: {code} without {label}");
        }
        for condition in found.iter().filter_map(|r| protected.get(r)) {
            assert!(
                labels(resource).is_superset(&labels(condition)),
                "{name} tells of a protected condition without its label"
            );
            told += 1;
        }
    }
    assert!(told > 20, "{told}");
}

#[test]
fn the_field_clinician_has_some_patients_and_not_all() {
    let world = World::new(1, 100);
    let all = resources(&world);
    let field = world.staff().iter().find(|s| s.role == "field-clinician").unwrap();
    let own = format!("Practitioner/{}", field.practitioner);
    let mut patients = BTreeSet::new();
    let mut others = BTreeSet::new();
    for team in of(&all, "CareTeam") {
        let member = team["participant"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["member"]["reference"] == own.as_str());
        let patient = team["subject"]["reference"].as_str().unwrap();
        if member {
            patients.insert(patient)
        } else {
            others.insert(patient)
        };
    }
    assert!((8..=40).contains(&patients.len()), "{} assigned", patients.len());
    for kind in ["Encounter", "Appointment", "Patient"] {
        for resource in of(&all, kind) {
            let mut found = Vec::new();
            references(resource, &mut found);
            if found.contains(&own.as_str()) {
                let about = found.iter().any(|r| others.contains(r));
                assert!(!about, "the field clinician meets a patient of somebody else");
            }
        }
    }
}

#[test]
fn identifiers_belong_to_nobody() {
    let mut numbers = BTreeSet::new();
    for patient in of(&resources(&World::new(6, 300)), "Patient") {
        for identifier in patient["identifier"].as_array().unwrap() {
            let value = identifier["value"].as_str().unwrap();
            if identifier["system"] == "http://hl7.org/fhir/sid/us-ssn" {
                assert!(value.starts_with("999-"));
            } else {
                assert!(numbers.insert(value.to_owned()), "two patients share a record number");
            }
        }
        for contact in patient["telecom"].as_array().unwrap() {
            let value = contact["value"].as_str().unwrap();
            let example = [".example.com", ".example.net", ".example.org"];
            assert!(
                value.contains(") 555-") || example.iter().any(|e| value.ends_with(e)),
                "somebody may have this number or address"
            );
        }
    }
}

#[test]
fn nothing_recorded_lies_after_today() {
    for (name, r) in resources(&World::new(8, 120)) {
        let recorded = match r["resourceType"].as_str().unwrap() {
            "Encounter" => &r["period"]["end"],
            "Condition" => &r["recordedDate"],
            "Observation" => &r["effectiveDateTime"],
            "Immunization" => &r["occurrenceDateTime"],
            "MedicationRequest" => &r["authoredOn"],
            "Claim" | "ExplanationOfBenefit" => &r["created"],
            "Appointment" => &r["created"],
            _ => continue,
        };
        let day = recorded.as_str().unwrap().get(..10).unwrap();
        assert!(("1925-01-01".."2026-07-01").contains(&day), "{name} is of {day}");
    }
}
