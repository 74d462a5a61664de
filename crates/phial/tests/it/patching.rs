//! PATCH: JSON Patch and FHIRPath Patch, by those who see all of a record and by those who
//! see a part, alone and in bundles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use phial_testkit::fixture::{BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, face, findings, outcome};

const JSON_PATCH: &str = "application/json-patch+json";

fn patch_as(server: &Server, role: &str, path: &str, kind: &str, body: &Value) -> Answer {
    let request = server.request(role, Method::PATCH, path).header("content-type", kind);
    send(request.body(body.to_string()))
}

fn patch(server: &Server, role: &str, path: &str, operations: &Value) -> Answer {
    patch_as(server, role, path, JSON_PATCH, operations)
}

/// A FHIRPath Patch with one operation.
fn parameters(parts: &Value) -> Value {
    json!({"resourceType": "Parameters",
        "parameter": [{"name": "operation", "part": parts}]})
}

fn patient() -> String {
    format!("Patient/{}", BY_TEAM.id)
}

fn whole(server: &Server, path: &str) -> Value {
    let mut v = server.get("privacy-officer", path).expect(200).json();
    v.as_object_mut().unwrap().remove("meta");
    v
}

#[test]
fn both_kinds_of_patch_change_what_they_name_and_nothing_else() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let before = whole(&server, &path);
    let done = patch(
        &server,
        "physician",
        &path,
        &json!([
        {"op": "test", "path": "/status", "value": "final"},
        {"op": "replace", "path": "/status", "value": "amended"}]),
    )
    .expect(200);
    assert_eq!(done.header("etag"), "W/\"2\"");
    assert_eq!(done.json()["status"], "amended");
    let mut wanted = before.clone();
    wanted["status"] = json!("amended");
    assert_eq!(whole(&server, &path), wanted);
    let done = patch_as(
        &server,
        "physician",
        &path,
        "application/fhir+json; charset=utf-8",
        &parameters(&json!([
            {"name": "type", "valueCode": "add"},
            {"name": "path", "valueString": "Observation"},
            {"name": "name", "valueString": "interpretation"},
            {"name": "value", "valueCodeableConcept": {"text": "high"}}])),
    )
    .expect(200);
    assert_eq!(done.header("etag"), "W/\"3\"");
    wanted["interpretation"] = json!([{"text": "high"}]);
    assert_eq!(whole(&server, &path), wanted);
    // It is found by what it is now, and not by what it was.
    assert_eq!(
        server.count(
            "physician",
            "Observation",
            &format!("_id={}&status=amended", id("obs", BY_TEAM, 0))
        ),
        1
    );
    // Nothing changed is nothing stored.
    let same = patch(
        &server,
        "physician",
        &path,
        &json!([
        {"op": "replace", "path": "/status", "value": "amended"}]),
    )
    .expect(200);
    assert_eq!(same.header("etag"), "W/\"3\"");
    let _ = server.stop();
    assert_eq!(findings(&world, world.home(), &[]), [""; 0]);
}

#[test]
fn whoever_sees_a_part_patches_that_part_and_the_rest_is_carried_over() {
    let world = clinic();
    let server = world.serve();
    let before = whole(&server, &patient());
    // The front desk sees no number that a government issued, so it can't PUT.
    let seen = server.get("front-desk", &patient()).expect(200);
    assert!(!seen.text().contains(BY_TEAM.ssn));
    let mut put = seen.json();
    put["telecom"][0]["value"] = json!("555-000-0000");
    let _ = server.put("front-desk", &put).expect(403);
    let done = patch(
        &server,
        "front-desk",
        &patient(),
        &json!([
        {"op": "replace", "path": "/telecom/0/value", "value": "555-000-0000"},
        {"op": "add", "path": "/identifier/-", "value": {"system": "urn:x", "value": "2nd"}}]),
    )
    .expect(200);
    assert!(!done.text().contains(BY_TEAM.ssn), "the answer is what the desk may read");
    assert!(done.text().contains("SUBSETTED"));
    let mut wanted = before.clone();
    wanted["telecom"][0]["value"] = json!("555-000-0000");
    wanted["identifier"].as_array_mut().unwrap().push(json!({"system": "urn:x", "value": "2nd"}));
    assert_eq!(whole(&server, &patient()), wanted, "the number is where it was");
    // What was carried over is still searched by those who may.
    assert_eq!(
        server.count("privacy-officer", "Patient", &format!("identifier={}", BY_TEAM.ssn)),
        1
    );
    // The log says what was written and what was not seen.
    let log = world.ok(&["audit", "tail", "-n", "30"]);
    let intent = log.as_array().unwrap().iter().find(|e| e["kind"] == "intent").unwrap();
    assert_eq!(intent["action"], "patch");
    let target = &intent["what"][0];
    let given = target["classes_given"].to_string();
    assert!(given.contains("contact") && given.contains("identifier"), "{target}");
    assert!(!given.contains("demographic"), "{target}");
    assert!(target["classes_withheld"].to_string().contains("government"), "{target}");
}

#[test]
fn a_test_is_no_oracle_for_what_is_withheld() {
    let world = clinic();
    let server = world.serve();
    let ask = |path: &str, operation: Value| {
        let answer = patch(&server, "front-desk", path, &json!([operation]));
        (answer.status, answer.text())
    };
    // Right and wrong guesses of a number that the desk does not see.
    let guess = |value: &str| {
        ask(&patient(), json!({"op": "test", "path": "/identifier/1/value", "value": value}))
    };
    assert_eq!(guess(BY_TEAM.ssn), guess("999-00-0000"));
    assert_eq!(guess(BY_TEAM.ssn).0, 422);
    for operation in [
        json!({"op": "copy", "from": "/identifier/1/value", "path": "/language"}),
        json!({"op": "move", "from": "/identifier/1", "path": "/identifier/0"}),
        json!({"op": "remove", "path": "/identifier/1"}),
    ] {
        let (status, text) = ask(&patient(), operation);
        assert_eq!(status, 422, "{text}");
        assert!(!text.contains(BY_TEAM.ssn));
    }
    // By an expression neither.
    let delete = |number: &str| {
        let path = format!("Patient.where(identifier.value.startsWith('{number}')).telecom");
        let done = patch_as(
            &server,
            "front-desk",
            &patient(),
            "application/fhir+json",
            &parameters(&json!([{"name": "type", "valueCode": "delete"},
                {"name": "path", "valueString": path}])),
        );
        (done.status, done.header("etag").to_owned())
    };
    assert_eq!(delete("999"), delete("000"));
    // What can't be seen can't be written, whether or not something is there.
    for path in [patient(), format!("Patient/{}", UNTIED.id)] {
        let (status, _) = ask(
            &path,
            json!({"op": "add", "path": "/text", "value":
            {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}}),
        );
        assert_eq!(status, 403);
        let (status, _) = ask(
            &path,
            json!({"op": "replace", "path": "/identifier/0/system",
            "value": "http://hl7.org/fhir/sid/us-ssn"}),
        );
        assert_eq!(status, 403);
    }
    assert_eq!(server.get("privacy-officer", &patient()).expect(200).header("etag"), "W/\"1\"");
}

#[test]
fn labels_and_patients_are_changed_by_those_who_see_the_whole() {
    let world = clinic();
    let server = world.serve();
    let label = json!([{"op": "add", "path": "/meta", "value": {"security": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "VIP"}]}}]);
    let _ = patch(&server, "front-desk", &patient(), &label).expect(403);
    let _ = patch(&server, "interface-engine", &patient(), &label).expect(200);
    let claim = format!("Claim/{}", id("claim", BY_TEAM, 0));
    let moved = json!([{"op": "replace", "path": "/patient/reference",
        "value": format!("Patient/{}", UNTIED.id)}]);
    let before = server.get("interface-engine", &claim).expect(200).json();
    let _ = patch(&server, "interface-engine", &claim, &moved).expect(200);
    let after = server.get("interface-engine", &claim).expect(200).json();
    assert_ne!(before["patient"], after["patient"]);
    let obs = format!("Observation/{}", id("obs", BY_TEAM, 1));
    let moved = json!([{"op": "replace", "path": "/subject/reference",
        "value": format!("Patient/{}", UNTIED.id)}]);
    let _ = patch(&server, "physician", &obs, &moved).expect(200);
}

#[test]
fn what_does_not_fit_is_422_and_names_no_value() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Condition/{}", id("cond", BY_TEAM, 0));
    let ask = |body: Value| patch(&server, "physician", &path, &body);
    let unfit = [
        json!([{"op": "test", "path": "/recordedDate", "value": "2000-01-01"}]),
        json!([{"op": "remove", "path": "/nonsense"}]),
        json!([{"op": "replace", "path": "/subject", "value": 7}]),
        json!([{"op": "remove", "path": "/subject"}]),
        json!([{"op": "replace", "path": "/resourceType", "value": "Patient"}]),
        json!([{"op": "add", "path": "/secretword", "value": "secretword"}]),
    ];
    for body in unfit {
        let refused = ask(body.clone()).expect(422);
        assert!(!refused.text().contains("2000-01-01"), "{body}");
        assert_eq!(refused.json()["resourceType"], "OperationOutcome");
    }
    for body in [json!({}), json!([{"op": "x", "path": ""}]), json!([{"op": "add", "path": "/a"}])]
    {
        let _ = ask(body).expect(400);
    }
    let refused = ask(json!([{"op": "test", "path": "/a", "value": 1},
        {"op": "test", "path": "/b", "value": 1}]));
    assert_eq!(outcome(&refused)[0].1, "patch[0]");
    for kind in ["application/json", "application/xml-patch+xml", "text/plain"] {
        let refused = patch_as(&server, "physician", &path, kind, &json!([])).expect(415);
        assert!(refused.header("accept-patch").contains(JSON_PATCH));
    }
    let log = world.ok(&["audit", "tail", "-n", "60"]);
    let refused =
        log.as_array().unwrap().iter().filter(|e| {
            e["kind"] == "denied" && e["action"] == "patch" && e["outcome"] == "invalid"
        });
    assert_eq!(refused.count(), 7);
}

#[test]
fn versions_and_absent_records_are_answered_as_for_updates() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let body = json!([{"op": "replace", "path": "/status", "value": "amended"}]);
    let with = |tag: &str| {
        let request = server.request("physician", Method::PATCH, &path);
        send(
            request
                .header("content-type", JSON_PATCH)
                .header("if-match", tag)
                .body(body.to_string()),
        )
    };
    let _ = with("W/\"2\"").expect(412);
    let _ = with("W/\"1\"").expect(200);
    let _ = with("W/\"1\"").expect(412);
    let _ = with("nonsense").expect(400);
    // A denied record looks absent, whatever the patch.
    let hidden = format!("Condition/{}", id("cond", UNTIED, 2));
    for body in [body.clone(), json!([]), json!([{"op": "remove", "path": "/none"}])] {
        let denied = patch(&server, "physician", &hidden, &body).expect(404);
        let absent = patch(&server, "physician", "Condition/absent", &body).expect(404);
        assert_eq!(face(&denied), face(&absent));
    }
    let _ = patch(&server, "interface-engine", "Observation/absent", &body).expect(404);
    let _ = server.delete("physician", &path).expect(204);
    let _ = patch(&server, "interface-engine", &path, &body).expect(410);
    let readable = format!("Organization/{}", "org-clinic");
    let _ = patch(&server, "physician", &readable, &json!([])).expect(403);
}

#[test]
fn patches_made_at_once_are_all_made() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
    std::thread::scope(|s| {
        for n in 0..3 {
            let (server, path) = (&server, &path);
            s.spawn(move || {
                let body =
                    json!([{"op": "add", "path": "/note/-", "value": {"text": format!("n{n}")}}]);
                let done = patch(server, "physician", path, &body);
                assert!([200, 409].contains(&done.status), "{}", done.text());
                done.status == 200
            });
        }
    });
    let notes = server.get("physician", &path).expect(200).json()["note"].as_array().unwrap().len();
    let version = server.get("physician", &path).expect(200).header("etag").to_owned();
    assert_eq!(version, format!("W/\"{notes}\""), "a version for each note");
}

#[test]
fn patches_are_entries_of_bundles_too() {
    let world = clinic();
    let server = world.serve();
    let obs = |n: usize| format!("Observation/{}", id("obs", BY_TEAM, n));
    let binary = |operations: Value| {
        json!({"resourceType": "Binary", "contentType": JSON_PATCH,
            "data": STANDARD.encode(operations.to_string())})
    };
    let status = |value: &str| {
        parameters(&json!([{"name": "type", "valueCode": "replace"},
            {"name": "path", "valueString": "Observation.status"},
            {"name": "value", "valueCode": value}]))
    };
    let entry = |url: String, resource: Value| json!({"resource": resource, "request": {"method": "PATCH", "url": url}});
    let bundle = |kind: &str, entries: Vec<Value>| json!({"resourceType": "Bundle", "type": kind, "entry": entries});
    let by_json = binary(json!([{"op": "replace", "path": "/status", "value": "amended"}]));
    let done = server
        .post(
            "physician",
            "",
            &bundle(
                "transaction",
                vec![entry(obs(0), by_json.clone()), entry(obs(1), status("corrected"))],
            ),
        )
        .expect(200);
    assert_eq!(done.json()["entry"][1]["response"]["etag"], "W/\"2\"");
    assert_eq!(server.get("physician", &obs(0)).json()["status"], "amended");
    assert_eq!(server.get("physician", &obs(1)).json()["status"], "corrected");
    // All or none.
    let wrong = binary(json!([{"op": "remove", "path": "/none"}]));
    let refused = server
        .post(
            "physician",
            "",
            &bundle(
                "transaction",
                vec![entry(obs(2), by_json.clone()), entry(obs(3), wrong.clone())],
            ),
        )
        .expect(422);
    assert_eq!(outcome(&refused)[0].1, "Bundle.entry[1].resource.patch[0]");
    assert_eq!(server.get("physician", &obs(2)).header("etag"), "W/\"1\"");
    // Each by itself.
    let done = server
        .post(
            "physician",
            "",
            &bundle(
                "batch",
                vec![
                    entry(obs(2), by_json),
                    entry(obs(3), wrong),
                    entry(obs(4), json!({"resourceType": "Binary", "contentType": "text/plain"})),
                    entry("Observation?_id=x".to_owned(), status("final")),
                ],
            ),
        )
        .expect(200);
    let statuses: Vec<String> = done.json()["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["response"]["status"].as_str().unwrap()[..3].to_owned())
        .collect();
    assert_eq!(statuses, ["200", "422", "400", "403"], "{}", done.text());
}

#[test]
fn a_patch_of_what_a_search_finds_needs_one_match() {
    let world = clinic();
    let server = world.serve();
    let body = json!([{"op": "replace", "path": "/status", "value": "amended"}]);
    let (one, role) = (id("obs", BY_TEAM, 0), "interface-engine");
    let done = patch(&server, role, &format!("Observation?_id={one}"), &body).expect(200);
    assert_eq!(done.json()["id"], one.as_str());
    let _ = patch(&server, role, "Observation?_id=absent", &body).expect(404);
    let refused = patch(&server, role, "Observation?code=2339-0", &body).expect(412);
    assert_eq!(outcome(&refused)[0].0, "multiple-matches");
    let _ = patch(&server, role, "Observation", &body).expect(400);
    let _ = patch(&server, role, "Observation?_count=1", &body).expect(400);
    let _ = patch(&server, role, "Observation?nonsense=1", &body).expect(400);
    // Without sight of every record it would tell what exists.
    for condition in [format!("_id={}", id("obs", UNTIED, 0)), "_id=absent".to_owned()] {
        let _ = patch(&server, "physician", &format!("Observation?{condition}"), &body).expect(403);
    }
    // Who is meant does not go into a URL.
    let refused = patch(&server, role, &format!("Patient?identifier={}", BY_TEAM.mrn), &json!([]));
    assert_eq!(refused.expect(400).json()["issue"][0]["code"], "forbidden");
}
