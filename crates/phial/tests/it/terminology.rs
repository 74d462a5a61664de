//! `$expand` and `$validate-code`: HL7's value sets, stored ones as far as the caller may
//! see them, and a clear refusal of all that is not held.

use phial_testkit::world::{Answer, Server};
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

const SET: &str = "https://clinic.example/ValueSet/wards";
const SYSTEM: &str = "https://clinic.example/wards";
/// A code that must not come back in any message.
const MARK: &str = "Zzyzx-4711";

fn system() -> Value {
    json!({"resourceType": "CodeSystem", "id": "wards", "url": SYSTEM, "status": "active",
        "content": "complete", "concept": [
            {"code": "in", "display": "Inpatient", "concept": [
                {"code": "icu", "display": "Intensive care"}, {"code": "obs", "display": "Obstetrics"}]},
            {"code": "out", "display": "Outpatient"}]})
}

fn set(label: Option<&str>) -> Value {
    let mut set = json!({"resourceType": "ValueSet", "id": "wards", "url": SET, "status": "active",
        "compose": {"include": [{"system": SYSTEM, "filter": [
            {"property": "concept", "op": "is-a", "value": "in"}]}]}});
    if let Some(code) = label {
        set["meta"]["security"] = json!([
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}]);
    }
    set
}

fn codes(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let all = json["expansion"]["contains"].as_array().cloned().unwrap_or_default();
    all.iter().map(|c| c["code"].as_str().unwrap().to_owned()).collect()
}

fn expand(server: &Server, role: &str, query: &str) -> Answer {
    server.get(role, &format!("ValueSet/$expand?{query}"))
}

/// `result` and `message`.
fn said(answer: &Answer) -> (bool, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let of = |name: &str| {
        let all = json["parameter"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).cloned().unwrap_or_default()
    };
    let message = of("message")["valueString"].as_str().unwrap_or("").to_owned();
    (of("result")["valueBoolean"].as_bool().unwrap(), message)
}

#[test]
fn value_sets_of_r4_and_stored_ones_are_expanded_alike() {
    let world = clinic();
    let server = world.serve();
    let gender = "url=http://hl7.org/fhir/ValueSet/administrative-gender";
    assert_eq!(codes(&expand(&server, "billing", gender)), ["male", "female", "other", "unknown"]);
    assert_eq!(
        codes(&expand(&server, "billing", &format!("{gender}&filter=ALE&count=1"))),
        ["male"]
    );
    assert_eq!(codes(&expand(&server, "billing", &format!("{gender}&offset=3"))), ["unknown"]);

    // Nothing is stored yet, which is said and no guess.
    let url = format!("url={SET}");
    let refused = expand(&server, "physician", &url).expect(400);
    assert_eq!(outcome(&refused)[0].0, "not-supported");
    let _ = server.put("import-client", &system()).expect(201);
    let _ = server.put("import-client", &set(None)).expect(201);
    assert_eq!(codes(&expand(&server, "physician", &url)), ["in", "icu", "obs"]);
    assert_eq!(codes(&server.get("physician", "ValueSet/wards/$expand")), ["in", "icu", "obs"]);
    let posted = json!({"resourceType": "Parameters", "parameter": [
        {"name": "valueSet", "resource": set(None)}, {"name": "count", "valueInteger": 2}]});
    assert_eq!(codes(&server.post("physician", "ValueSet/$expand", &posted)), ["in", "icu"]);

    // The records that took part are written down.
    let tail = world.ok(&["audit", "tail", "-n", "50"]);
    let entry = tail.as_array().unwrap().iter().rev().find(|e| e["kind"] == "operation").unwrap();
    let what = entry["what"].to_string();
    assert!(what.contains("CodeSystem"), "{entry}");
    // What is sent along in the request is no record.
    assert!(!what.contains("ValueSet"), "{entry}");
}

#[test]
fn a_value_set_that_the_role_may_not_see_is_answered_as_one_that_is_not_there() {
    let world = clinic();
    let server = world.serve();
    let _ = server.put("import-client", &system()).expect(201);
    let _ = server.put("import-client", &set(Some("PSYTHPN"))).expect(201);
    let url = format!("url={SET}");
    assert_eq!(codes(&expand(&server, "import-client", &url)), ["in", "icu", "obs"]);
    for (hidden, absent) in [
        (format!("ValueSet/$expand?{url}"), format!("ValueSet/$expand?{url}-absent")),
        ("ValueSet/wards/$expand".to_owned(), "ValueSet/absent/$expand".to_owned()),
        (
            format!("ValueSet/$validate-code?{url}&system={SYSTEM}&code=icu"),
            format!("ValueSet/$validate-code?{url}-absent&system={SYSTEM}&code=icu"),
        ),
    ] {
        let (hidden, absent) = (server.get("nurse", &hidden), server.get("nurse", &absent));
        assert!(hidden.status >= 400, "{}", hidden.text());
        assert_eq!((hidden.status, hidden.text()), (absent.status, absent.text()));
    }
    // Who may not search asks in vain, whatever the value set.
    let gender = "url=http://hl7.org/fhir/ValueSet/administrative-gender";
    let _ = expand(&server, "auditor", gender).expect(403);
}

#[test]
fn codes_are_validated_and_never_repeated() {
    let world = clinic();
    let server = world.serve();
    let _ = server.put("import-client", &system()).expect(201);
    let _ = server.put("import-client", &set(None)).expect(201);
    let genders = "http://hl7.org/fhir/administrative-gender";
    let of = |query: &str| server.get("physician", &format!("ValueSet/$validate-code?{query}"));
    let gender = format!("url=http://hl7.org/fhir/ValueSet/administrative-gender&system={genders}");
    assert_eq!(said(&of(&format!("{gender}&code=male"))), (true, String::new()));
    assert_eq!(said(&of(&format!("{gender}&code=male&display=Male"))), (true, String::new()));
    for wrong in [
        of(&format!("{gender}&code={MARK}")),
        of(&format!("{gender}&code=male&display={MARK}")),
        of(&format!("url={SET}&system={SYSTEM}&code={MARK}")),
        server.get("physician", &format!("CodeSystem/$validate-code?url={SYSTEM}&code={MARK}")),
    ] {
        assert!(!said(&wrong).0);
        assert!(!wrong.text().contains(MARK));
    }
    for refused in [
        of(&format!("url=urn:{MARK}&system={genders}&code=male")),
        of(&format!(
            "url=http://hl7.org/fhir/ValueSet/clinical-findings&system=http://snomed.info/sct&code={MARK}"
        )),
        of(&format!("{gender}&code=male&{MARK}=1")),
        of(&format!("{gender}&abstract={MARK}&code=male")),
        expand(&server, "physician", &format!("url={MARK}")),
    ] {
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(!refused.text().contains(MARK), "{}", refused.text());
    }
    let concept = json!({"resourceType": "Parameters", "parameter": [
        {"name": "codeableConcept", "valueCodeableConcept": {"coding": [
            {"system": "urn:other", "code": "x"}, {"system": SYSTEM, "code": "obs"}]}}]});
    let answer = server.post("physician", "ValueSet/wards/$validate-code", &concept);
    assert_eq!(said(&answer), (true, String::new()));
    let answer = server.get("physician", "CodeSystem/wards/$validate-code?code=icu");
    assert_eq!(answer.json()["parameter"][1]["valueString"], "Intensive care");
    // HL7's own cannot be widened by storing another under their URL.
    let mut widened = set(None);
    widened["id"] = json!("wide");
    widened["url"] = json!("http://hl7.org/fhir/ValueSet/administrative-gender");
    let _ = server.put("import-client", &widened).expect(201);
    let all =
        expand(&server, "physician", "url=http://hl7.org/fhir/ValueSet/administrative-gender");
    assert_eq!(codes(&all).len(), 4);
}
