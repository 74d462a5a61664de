//! A batch: each entry stands by itself, whatever becomes of the others.

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::Answer;
use serde_json::{Value, json};

use crate::clinic::clinic;

fn batch(entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": "batch", "entry": entries})
}

fn put(resource: &Value) -> Value {
    let (ty, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    json!({"resource": resource, "request": {"method": "PUT", "url": format!("{ty}/{id}")}})
}

fn get(url: &str) -> Value {
    json!({"request": {"method": "GET", "url": url}})
}

fn statuses(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    assert_eq!(json["type"], "batch-response", "{}", answer.text());
    let entries = json["entry"].as_array().unwrap();
    entries.iter().map(|e| e["response"]["status"].as_str().unwrap()[..3].to_owned()).collect()
}

fn noted(n: usize, note: &str) -> Value {
    let mut o = fixture::observation(BY_TEAM, n);
    o["note"] = json!([{"text": note}]);
    o
}

#[test]
fn every_way_to_fail_leaves_the_entries_around_it_alone() {
    let world = clinic();
    let server = world.serve();
    let hidden = fixture::condition(UNTIED, 2);
    let obs = |n: usize| format!("Observation/{}", id("obs", BY_TEAM, n));
    let mut stale = put(&noted(1, "stale"));
    stale["request"]["ifMatch"] = json!("W/\"7\"");
    let mut invalid = noted(2, "invalid");
    invalid["status"] = json!("no such");
    let mut conditional = json!({"resource": fixture::observation(BY_TEAM, 3),
        "request": {"method": "POST", "url": "Observation", "ifNoneExist": "code=2339-0"}});
    conditional["resource"].as_object_mut().unwrap().remove("id");
    let failing: Vec<(&str, Value)> = vec![
        ("412", stale),
        ("400", put(&invalid)),
        ("403", conditional),
        ("404", put(&hidden)),
        ("404", get(&format!("Condition/{}", id("cond", UNTIED, 2)))),
        ("404", json!({"request": {"method": "DELETE", "url": "Observation/absent"}})),
        ("400", json!({"request": {"method": "GET", "url": "Nonsense/1"}})),
        ("400", json!({"request": {"method": "TRACE", "url": "Patient/1"}})),
        ("400", json!({"request": {"method": "PATCH", "url": "Patient/1"}})),
        ("400", json!({"resource": 7, "request": {"method": "POST", "url": "Patient"}})),
        ("400", json!({})),
        ("400", get("Observation?nonsense=1")),
        ("400", get(&format!("{}?_elements=nonsense", obs(0)))),
    ];
    // A success before, between and after all of them.
    let mut entries = Vec::new();
    let mut expected = Vec::new();
    for (n, (status, entry)) in failing.iter().enumerate() {
        entries.push(put(&noted(4, &format!("round {n}"))));
        entries.push(entry.clone());
        expected.extend(["200", *status]);
    }
    entries.push(get(&obs(4)));
    expected.push("200");
    let done = server.post("field-clinician", "", &batch(&entries)).expect(200);
    let last = done.json()["entry"].as_array().unwrap().last().unwrap().clone();
    // The read sees what was done by then, and every success made a version of its own.
    assert_eq!(last["resource"]["note"][0]["text"], format!("round {}", failing.len() - 1));
    let version = (1 + failing.len()).to_string();
    assert_eq!(last["resource"]["meta"]["versionId"], version.as_str());
    assert_eq!(statuses(&done), expected);
    for n in [1, 2] {
        let kept = server.get("physician", &obs(n)).expect(200);
        assert_eq!(kept.header("etag"), "W/\"1\"", "what failed changed nothing");
    }
    // Each entry was written down by itself, under the one request's number.
    let request = done.header("x-request-id").to_owned();
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "200"]);
    let of = |kind: &str, outcome: &str| {
        let all = log.as_array().unwrap().iter();
        all.filter(|e| e["request"] == request && e["kind"] == kind && e["outcome"] == outcome)
            .count()
    };
    assert_eq!(of("intent", "success"), failing.len());
    assert_eq!(of("outcome", "success"), failing.len());
    assert_eq!(of("read", "success"), 1);
    assert_eq!(of("read", "denied"), 1);
    assert_eq!(of("search", "invalid"), 1);
    assert_eq!(of("denied", "conflict"), 1, "the stale update");
    assert_eq!(of("denied", "invalid"), 1, "the invalid one");
    assert_eq!(of("denied", "denied"), 3, "condition, hidden update, absent deletion");
}

#[test]
fn what_is_searched_in_a_batch_is_searched_as_by_itself() {
    let world = clinic();
    let server = world.serve();
    let own = server.base().to_owned();
    let urls = [
        "?_type=Patient,Encounter&_count=200".to_owned(),
        "/?_type=Patient&_id=absent".to_owned(),
        format!("{own}?_type=Encounter&_count=200"),
        format!("Patient/{}/Condition?_count=200", BY_TEAM.id),
        format!("Patient/{}/Observation?code=2339-0", BY_TEAM.id),
        format!("Patient/{}/Condition?_count=200", UNTIED.id),
        "Condition?_count=200".to_owned(),
    ];
    let entries: Vec<Value> = urls.iter().map(|url| get(url)).collect();
    for role in ["physician", "field-clinician", "billing"] {
        let done = server.post(role, "", &batch(&entries)).expect(200).json();
        for (url, entry) in urls.iter().zip(done["entry"].as_array().unwrap()) {
            let url = url.trim_start_matches(own.as_str()).trim_start_matches('/');
            let alone = match url.strip_prefix('?') {
                Some(query) => server.get(role, &format!("{own}?{query}")),
                None => server.get(role, url),
            };
            let ids = |bundle: &Value| -> Vec<String> {
                let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
                entries.iter().map(|e| e["fullUrl"].as_str().unwrap().to_owned()).collect()
            };
            if alone.status == 200 {
                assert_eq!(ids(&entry["resource"]), ids(&alone.json()), "{role}: {url}");
            }
            let status = entry["response"]["status"].as_str().unwrap();
            assert!(status.starts_with(&alone.status.to_string()), "{role}: {url}: {entry}");
        }
    }
    let found = server.post("physician", "", &batch(&entries)).expect(200).json();
    assert!(found["entry"][0]["resource"]["entry"].as_array().unwrap().len() > 2);
    let bad = [get("?_type=Nothing"), get(&format!("Patient/{}/Nothing?x=1", BY_TEAM.id))];
    assert_eq!(statuses(&server.post("physician", "", &batch(&bad)).expect(200)), ["400", "400"]);
}

#[test]
fn an_entry_of_a_batch_can_not_refer_to_another() {
    let world = clinic();
    let server = world.serve();
    let role = "import-client";
    let (patient, other) = (
        "urn:uuid:0d9c0a52-3a07-4d2b-9a0b-2a5f6a1f8f01",
        "urn:uuid:0d9c0a52-3a07-4d2b-9a0b-2a5f6a1f8f02",
    );
    let condition = |subject: &str| {
        json!({"resource": {"resourceType": "Condition", "subject": {"reference": subject}},
            "request": {"method": "POST", "url": "Condition"}})
    };
    let entries = [
        json!({"fullUrl": patient, "resource": {"resourceType": "Patient", "gender": "other"},
            "request": {"method": "POST", "url": "Patient"}}),
        condition(patient),
        condition(other),
        condition(&format!("Patient/{}", BY_TEAM.id)),
    ];
    let before = server.count(role, "Condition", "");
    let done = server.post(role, "", &batch(&entries)).expect(200);
    assert_eq!(statuses(&done), ["201", "400", "201", "201"], "{}", done.text());
    let refused = &done.json()["entry"][1]["response"]["outcome"]["issue"][0];
    assert_eq!(refused["code"], "business-rule");
    assert_eq!(refused["expression"][0], "Bundle.entry[1].resource");
    assert_eq!(server.count(role, "Condition", ""), before + 2);
    // As a transaction it is one, and the reference is resolved.
    let mut bundle = batch(&entries[..2]);
    bundle["type"] = json!("transaction");
    let _ = server.post(role, "", &bundle).expect(200);
    assert_eq!(server.count(role, "Condition", ""), before + 3);
}

#[test]
fn who_sends_no_bundles_is_refused_before_its_entries_are_looked_at() {
    let world = clinic();
    let server = world.serve();
    for role in ["privacy-officer", "auditor"] {
        for kind in ["batch", "transaction"] {
            let mut bundle = batch(&[get(&format!("Patient/{}", BY_TEAM.id)), json!({})]);
            bundle["type"] = json!(kind);
            let refused = server.post(role, "", &bundle).expect(403);
            assert!(!refused.text().contains("Bundle.entry"), "{}", refused.text());
            let entry = world.ok(&["audit", "tail", "-n", "1"])[0].clone();
            assert_eq!((&entry["kind"], &entry["action"]), (&json!("denied"), &json!(kind)));
        }
    }
}
