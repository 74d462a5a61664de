//! `$validate`: R4, US Core, a tenant's own profiles; and nothing of what was posted
//! anywhere.

use std::path::Path;

use phial_testkit::canary::Scanner;
use phial_testkit::fixture::{self, BY_TEAM, id};
use phial_testkit::world::{Answer, Server};
use serde_json::{Value, json};

use crate::clinic::clinic;

const PATIENT: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient";

fn errors(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let all = json["issue"].as_array().unwrap().iter();
    let bad = all.filter(|i| i["severity"] == "error");
    bad.map(|i| i["expression"][0].as_str().unwrap_or("").to_owned()).collect()
}

fn parameters(all: &[(&str, Value)]) -> Value {
    let all: Vec<Value> = all
        .iter()
        .map(|(name, v)| match v {
            Value::String(_) => json!({"name": name, "valueString": v}),
            _ => json!({"name": name, "resource": v}),
        })
        .collect();
    json!({"resourceType": "Parameters", "parameter": all})
}

fn validate(server: &Server, ty: &str, body: &Value) -> Answer {
    server.post("physician", &format!("{ty}/$validate"), body)
}

#[test]
fn r4_us_core_and_profiles_of_ones_own_are_checked() {
    let world = clinic();
    let server = world.serve();
    let bare = json!({"resourceType": "Patient", "gender": "female"});
    assert_eq!(errors(&validate(&server, "Patient", &bare)), [""; 0]);
    // By parameter, in the URL, and as the resource itself claims.
    let missing = ["Patient.identifier", "Patient.name"];
    let asked = parameters(&[("resource", bare.clone()), ("profile", json!(PATIENT))]);
    assert_eq!(errors(&validate(&server, "Patient", &asked)), missing);
    let url = format!("Patient/$validate?profile={PATIENT}%7C6.1.0");
    assert_eq!(errors(&server.post("physician", &url, &bare)), missing);
    let mut claims = bare.clone();
    claims["meta"]["profile"] = json!([PATIENT]);
    assert_eq!(errors(&validate(&server, "Patient", &claims)), missing);
    // A write takes what R4 takes: profiles are for $validate.
    let _ = server.post("import-client", "Patient", &claims).expect(201);

    let ours = json!({"resourceType": "StructureDefinition", "id": "ours", "name": "Ours",
        "url": "https://clinic.example/StructureDefinition/ours", "status": "active",
        "kind": "resource", "abstract": false, "type": "Patient", "derivation": "constraint",
        "baseDefinition": PATIENT,
        "differential": {"element": [{"id": "Patient.birthDate", "path": "Patient.birthDate", "min": 1}]}});
    let asked = parameters(&[
        ("resource", bare.clone()),
        ("profile", ours["url"].clone()),
        ("mode", json!("profile")),
    ]);
    let _ = validate(&server, "Patient", &asked).expect(400);
    let _ = server.put("import-client", &ours).expect(201);
    assert_eq!(
        errors(&validate(&server, "Patient", &asked)),
        ["Patient.identifier", "Patient.name", "Patient.birthDate"]
    );
    // Structure, invariants and codes of R4 itself, with their places.
    let bad = json!({"resourceType": "Patient", "nonsense": 1, "gender": "x",
        "contact": [{"gender": "male"}]});
    let found = errors(&validate(&server, "Patient", &bad));
    assert_eq!(found, ["Patient.nonsense", "Patient.gender", "Patient.contact[0]"]);
    assert_eq!(errors(&validate(&server, "Observation", &bare))[0], "resourceType");
}

#[test]
fn a_stored_record_is_validated_as_far_as_it_may_be_read() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Condition/{}/$validate", id("cond", BY_TEAM, 0));
    assert_eq!(errors(&server.get("physician", &path)), [""; 0]);
    // Billing does not see the note, and is told that the check did not either.
    let part = server.get("billing", &path);
    assert_eq!(errors(&part), [""; 0]);
    assert!(part.text().contains("\"suppressed\""), "{}", part.text());
    let (denied, absent) =
        (server.get("front-desk", &path), server.get("front-desk", "Condition/no/$validate"));
    assert_eq!((denied.status, denied.text()), (absent.status, absent.text()));
    assert_eq!(denied.status, 404);
    // Whether it could be deleted is as hidden as the record.
    let delete = parameters(&[("mode", json!("delete"))]);
    let _ = server.post("physician", &path, &delete).expect(200);
    let _ = server.post("nurse", &path, &delete).expect(404);
    let mut other = fixture::condition(BY_TEAM, 0);
    other["id"] = json!("other");
    let update = parameters(&[("resource", other), ("mode", json!("update"))]);
    assert_eq!(errors(&server.post("physician", &path, &update)), ["id"]);
    let tail = world.ok(&["audit", "tail", "-n", "20"]);
    let all = tail.as_array().unwrap();
    let operations: Vec<&Value> = all.iter().filter(|e| e["kind"] == "operation").collect();
    assert!(operations.len() >= 6);
    assert!(operations.iter().all(|e| e["detail"]["operation"] == "$validate"), "{operations:?}");
}

#[test]
fn nothing_of_what_was_posted_is_in_any_answer_or_file() {
    const MARK: &str = "Qwobbleflux-88417";
    let mut world = clinic();
    world.user("olaf", "operator", None);
    let server = world.serve();
    let marked = json!({"resourceType": "Patient", "id": MARK,
        "meta": {"profile": [format!("urn:{MARK}"), PATIENT]},
        "name": [{"family": MARK, MARK: MARK}], "birthDate": MARK,
        "extension": [{"url": format!("urn:{MARK}"), "valueString": MARK}],
        "maritalStatus": {"coding": [{"system": MARK, "code": MARK}], "text": MARK},
        "managingOrganization": {"reference": format!("{MARK}/1")}});
    for body in [
        marked.clone(),
        parameters(&[("resource", marked.clone()), ("profile", json!(MARK))]),
        parameters(&[("resource", marked.clone()), ("mode", json!(MARK))]),
        parameters(&[("resource", marked.clone()), (MARK, json!("x"))]),
    ] {
        for role in ["physician", "billing", "auditor", "operator"] {
            let answer = server.post(role, "Patient/$validate", &body);
            assert!(!answer.text().contains(MARK), "{}", answer.text());
        }
    }
    let ran = server.stop().expect(0);
    let scanner = Scanner::new(&[MARK]).unwrap();
    let mut report = scanner.scan(&[world.dir()]).unwrap();
    scanner.bytes(Path::new("printed"), format!("{}{}", ran.out, ran.err).as_bytes(), &mut report);
    assert!(report.is_clean(), "{report:?}");
}
