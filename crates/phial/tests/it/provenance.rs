//! `X-Provenance`: a Provenance stored together with what it is about.

use phial_testkit::fixture::{self, BY_TEAM, id};
use phial_testkit::world::{Answer, fhir, send};
use reqwest::Method;
use reqwest::blocking::RequestBuilder;
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

fn provenance() -> Value {
    json!({"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"display": "the sender"}}]})
}

fn with(request: RequestBuilder, provenance: &Value) -> Answer {
    send(request.header("x-provenance", provenance.to_string()))
}

#[test]
fn it_is_stored_in_the_same_commit_and_names_the_version() {
    let world = clinic();
    let server = world.serve();
    let role = "physician";
    let obs = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let mut new = fixture::observation(BY_TEAM, 0);
    new.as_object_mut().unwrap().remove("id");
    let created =
        with(fhir(server.request(role, Method::POST, "Observation"), &new), &provenance())
            .expect(201)
            .json();
    let created = format!("Observation/{}/_history/1", created["id"].as_str().unwrap());
    let mut changed = fixture::observation(BY_TEAM, 0);
    changed["status"] = json!("amended");
    let _ = with(server.put_request(role, &changed), &provenance()).expect(200);
    let patch = json!([{"op": "replace", "path": "/status", "value": "final"}]);
    let request = server.request(role, Method::PATCH, &obs);
    let request =
        request.header("content-type", "application/json-patch+json").body(patch.to_string());
    let _ = with(request, &provenance()).expect(200);
    let _ = with(server.request(role, Method::DELETE, &obs), &provenance()).expect(204);
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": new, "request": {"method": "POST", "url": "Observation"}},
        {"resource": new, "request": {"method": "POST", "url": "Observation"}},
        {"request": {"method": "DELETE", "url": obs}}]});
    let done =
        with(fhir(server.request(role, Method::POST, ""), &bundle), &provenance()).expect(200);
    let made: Vec<String> = done.json()["entry"].as_array().unwrap()[..2]
        .iter()
        .map(|e| {
            e["response"]["location"].as_str().unwrap().split("/fhir/").nth(1).unwrap().to_owned()
        })
        .collect();
    assert_eq!(done.json()["entry"].as_array().unwrap().len(), 3, "an answer for each entry sent");
    let all = server.search(role, "Provenance", "_sort=_lastUpdated").expect(200);
    let mut targets: Vec<Vec<String>> = all
        .entries("match")
        .iter()
        .map(|p| {
            p["target"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t["reference"].as_str().unwrap().to_owned())
                .collect()
        })
        .collect();
    targets.sort();
    let version = |n: usize| vec![format!("{obs}/_history/{n}")];
    let mut wanted = vec![vec![created], version(2), version(3), version(4), made];
    wanted.sort();
    assert_eq!(targets, wanted);
    // One intent names both rows.
    let _ = server.stop();
    let log = world.ok(&["audit", "tail", "-n", "40"]);
    let intents: Vec<usize> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "intent")
        .map(|e| e["what"].as_array().unwrap().len())
        .collect();
    assert_eq!(intents.iter().filter(|n| **n == 2).count(), 4);
    assert_eq!(intents.iter().filter(|n| **n == 3).count(), 1);
}

#[test]
fn neither_is_stored_without_the_other() {
    let world = clinic();
    let server = world.serve();
    let role = "physician";
    let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let mut changed = fixture::observation(BY_TEAM, 0);
    changed["status"] = json!("amended");
    let mut with_target = provenance();
    with_target["target"] = json!([{"reference": path}]);
    for (bad, place) in [
        (with_target, "X-Provenance.target"),
        (json!({"resourceType": "Provenance"}), "X-Provenance.Provenance.recorded"),
        (json!({"resourceType": "Patient"}), "X-Provenance.resourceType"),
        (json!([]), "X-Provenance.resourceType"),
    ] {
        let refused = with(server.put_request(role, &changed), &bad).expect(400);
        assert_eq!(outcome(&refused)[0].1, place, "{bad}");
    }
    let unread = server.put_request(role, &changed).header("x-provenance", "{");
    let _ = send(unread).expect(400);
    let mut invalid = changed.clone();
    invalid["status"] = json!("nonsense");
    let _ = with(server.put_request(role, &invalid), &provenance()).expect(400);
    // Who may write the record and no Provenance writes neither.
    let mut patient = fixture::patient(BY_TEAM);
    patient["active"] = json!(true);
    patient.as_object_mut().unwrap().remove("id");
    patient["identifier"].as_array_mut().unwrap().remove(0);
    let request = fhir(server.request("front-desk", Method::POST, "Patient"), &patient);
    let _ = with(request, &provenance()).expect(403);
    assert_eq!(server.get(role, &path).header("etag"), "W/\"1\"");
    assert_eq!(server.count(role, "Provenance", ""), 0);
    // What writes nothing has no provenance.
    let absent = server.request(role, Method::DELETE, "Observation/absent");
    assert_eq!(with(absent, &provenance()).status, 404);
    let mut once = fixture::directory()[0].clone();
    once.as_object_mut().unwrap().remove("id");
    let request = fhir(server.request("interface-engine", Method::POST, "Organization"), &once);
    let _ = with(request.header("if-none-exist", "name=Clinic of the tests"), &provenance())
        .expect(200);
    assert_eq!(server.count(role, "Provenance", ""), 0);
    // Entries of a batch have nothing in common.
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": []});
    let _ = with(fhir(server.request(role, Method::POST, ""), &batch), &provenance()).expect(400);
}
