//! Conditional reads, updates and deletes, and what conditions within a transaction see.

use phial_testkit::fixture::{self, BY_TEAM, id};
use phial_testkit::world::{Answer, Server, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, findings, outcome};

/// The role that sees every record, and so may ask by condition.
const ROLE: &str = "interface-engine";

fn put_where(server: &Server, condition: &str, body: &Value) -> Answer {
    let ty = body["resourceType"].as_str().unwrap();
    send(fhir(server.request(ROLE, Method::PUT, &format!("{ty}?{condition}")), body))
}

fn device(tag: &str) -> Value {
    json!({"resourceType": "Device", "status": "active",
        "identifier": [{"system": "urn:d", "value": tag}]})
}

/// Entries of a transaction, each `method url`, with what it carries.
fn bundle(entries: &[(&str, Value)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(request, resource)| {
            let (method, url) = request.split_once(' ').unwrap();
            let mut entry = json!({"request": {"method": method, "url": url}});
            if resource.is_object() {
                entry["resource"] = resource.clone();
            }
            entry
        })
        .collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

fn responses(answer: &Answer) -> Vec<(String, String)> {
    let json = answer.json();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    json["entry"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", answer.text()))
        .iter()
        .map(|e| {
            let location = text(&e["response"]["location"]);
            let id = location.split("/fhir/").nth(1).unwrap_or("").to_owned();
            (text(&e["response"]["status"])[..3].to_owned(), id)
        })
        .collect()
}

#[test]
fn what_the_client_has_is_not_sent_again_and_is_written_down() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let first = server.get("physician", &path).expect(200);
    let (tag, date) = (first.header("etag").to_owned(), first.header("last-modified").to_owned());
    let ask = |headers: &[(&'static str, &str)], path: &str| {
        let mut request = server.request("physician", Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request)
    };
    let (none_match, since) = ("if-none-match", "if-modified-since");
    let (old, new) = ("Tue, 01 Jan 2019 00:00:00 GMT", "Fri, 31 Dec 2100 00:00:00 GMT");
    for (headers, status) in [
        (vec![(none_match, tag.as_str())], 304),
        (vec![(none_match, "\"1\"")], 304),
        (vec![(none_match, "W/\"7\", W/\"1\"")], 304),
        (vec![(none_match, "*")], 304),
        (vec![(none_match, "W/\"7\"")], 200),
        (vec![(since, date.as_str())], 304),
        (vec![(since, new)], 304),
        (vec![(since, old)], 200),
        (vec![(since, "yesterday")], 200),
        // The tag decides when both are given (RFC 9110 §13.2.2).
        (vec![(none_match, "W/\"7\""), (since, new)], 200),
        (vec![(none_match, tag.as_str()), (since, old)], 304),
    ] {
        for path in [path.clone(), format!("{path}/_history/1")] {
            let answer = ask(&headers, &path).expect(status);
            assert_eq!(answer.body.is_empty(), status == 304, "{headers:?}");
            assert_eq!(answer.header("etag"), tag);
        }
    }
    let log = world.ok(&["audit", "tail", "-n", "30"]);
    let reads = log.as_array().unwrap().iter().filter(|e| e["outcome"] == "success");
    assert_eq!(reads.filter(|e| e["kind"] == "read" || e["kind"] == "vread").count(), 23);
    // In a bundle too.
    let get =
        |key: &str, value: &str| json!({"request": {"method": "GET", "url": path, key: value}});
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        get("ifNoneMatch", &tag), get("ifNoneMatch", "W/\"9\""),
        get("ifModifiedSince", "2100-01-01T00:00:00Z"), get("ifModifiedSince", "2019-01-01T00:00:00Z")]});
    let answer = server.post("physician", "", &batch).expect(200).json();
    let entries = answer["entry"].as_array().unwrap();
    let told: Vec<(&str, bool)> = entries
        .iter()
        .map(|e| (&e["response"]["status"].as_str().unwrap()[..3], e["resource"].is_object()))
        .collect();
    assert_eq!(told, [("304", false), ("200", true), ("304", false), ("200", true)]);
}

#[test]
fn a_conditional_update_follows_the_table_of_the_specification() {
    let world = clinic();
    let server = world.serve();
    // No match, no id: created.
    let first = put_where(&server, "identifier=urn:d|a", &device("a")).expect(201).json();
    let a = first["id"].as_str().unwrap().to_owned();
    // One match, no id or its own: updated.
    let mut body = device("a");
    body["manufacturer"] = json!("x");
    let again = put_where(&server, "identifier=urn:d|a", &body).expect(200).json();
    assert_eq!((again["id"].as_str(), again["meta"]["versionId"].as_str()), (Some(&*a), Some("2")));
    body["id"] = json!(a);
    body["manufacturer"] = json!("y");
    let _ = put_where(&server, "identifier=urn:d|a", &body).expect(200);
    // One match, another id: refused.
    body["id"] = json!("other");
    let refused = put_where(&server, "identifier=urn:d|a", &body).expect(400);
    assert_eq!(outcome(&refused)[0].1, "id");
    // No match, an id: created under it, unless it is another's.
    let mut body = device("b");
    body["id"] = json!("bee");
    let made = put_where(&server, "identifier=urn:d|b", &body).expect(201);
    assert_eq!(made.json()["id"], "bee");
    body["identifier"][0]["value"] = json!("c");
    let _ = put_where(&server, "identifier=urn:d|c", &body).expect(409);
    // Several matches: refused.
    let _ = server.post(ROLE, "Device", &device("b")).expect(201);
    let _ = put_where(&server, "identifier=urn:d|b", &device("b")).expect(412);
    // No condition, and one that filters nothing.
    let _ = send(fhir(server.request(ROLE, Method::PUT, "Device"), &device("z"))).expect(400);
    let _ = put_where(&server, "_count=1", &device("z")).expect(400);
    let _ = put_where(&server, "_format=json", &device("z")).expect(400);
    // Versions are held against the one that matches.
    let with = |tag: &str| {
        let request = server.request(ROLE, Method::PUT, "Device?identifier=urn:d|a");
        send(fhir(request, &device("a")).header("if-match", tag))
    };
    let _ = with("W/\"1\"").expect(412);
    let _ = with("W/\"3\"").expect(200);
    assert_eq!(server.count(ROLE, "Device", ""), 3);
}

#[test]
fn conditional_updates_made_at_once_make_one_record() {
    let world = clinic();
    let server = world.serve();
    for round in 0..5 {
        std::thread::scope(|s| {
            for n in 0..4 {
                let server = &server;
                s.spawn(move || {
                    let tag = format!("round-{round}");
                    let mut body = device(&tag);
                    body["manufacturer"] = json!(format!("m{n}"));
                    let done = put_where(server, &format!("identifier=urn:d|{tag}"), &body);
                    assert!([200, 201].contains(&done.status), "{}", done.text());
                });
            }
        });
        assert_eq!(server.count(ROLE, "Device", &format!("identifier=urn:d|round-{round}")), 1);
    }
}

#[test]
fn a_conditional_delete_ends_one_or_all_as_configured() {
    let world = clinic();
    {
        let server = world.serve();
        for tag in ["a", "b", "b"] {
            let _ = server.post(ROLE, "Device", &device(tag)).expect(201);
        }
        let _ = server.delete(ROLE, "Device?identifier=urn:d|a").expect(204);
        assert_eq!(server.count(ROLE, "Device", ""), 2);
        // Nothing to delete is no error, as for any delete.
        let _ = server.delete(ROLE, "Device?identifier=urn:d|a").expect(204);
        let refused = server.delete(ROLE, "Device?identifier=urn:d|b").expect(412);
        assert_eq!(outcome(&refused)[0].0, "multiple-matches");
        let _ = server.delete(ROLE, "Device").expect(400);
        let _ = server.delete("physician", "Device?identifier=urn:d|b").expect(403);
        assert_eq!(server.count(ROLE, "Device", ""), 2);
        let statement = server.get(ROLE, "metadata").json();
        assert_eq!(statement["rest"][0]["resource"][0]["conditionalDelete"], "single");
        let _ = server.stop();
    }
    let config = "[fhir]\nconditional_delete = \"multiple\"\n";
    std::fs::write(world.home().join("phial.toml"), config).unwrap();
    let server = world.serve();
    let statement = server.get(ROLE, "metadata").json();
    assert_eq!(statement["rest"][0]["resource"][0]["conditionalDelete"], "multiple");
    let _ = server.delete(ROLE, "Device?identifier=urn:d|b").expect(204);
    assert_eq!(server.count(ROLE, "Device", ""), 0);
    let log = world.ok(&["audit", "tail", "-n", "10"]);
    let intent = log.as_array().unwrap().iter().find(|e| e["kind"] == "intent").unwrap();
    assert_eq!(intent["what"].as_array().unwrap().len(), 2, "each is named");
    // In a transaction one entry answers for all.
    for _ in 0..3 {
        let _ = server.post(ROLE, "Device", &device("c")).expect(201);
    }
    let all = bundle(&[("DELETE Device?identifier=urn:d|c", Value::Null)]);
    let done = server.post(ROLE, "", &all).expect(200);
    assert_eq!(responses(&done), [("204".to_owned(), String::new())]);
    assert_eq!(server.count(ROLE, "Device", ""), 0);
}

#[test]
fn conditions_of_a_transaction_see_its_own_entries() {
    let world = clinic();
    let server = world.serve();
    let once = |tag: &str| {
        let mut entry = json!({"resource": device(tag),
            "request": {"method": "POST", "url": "Device"}});
        entry["request"]["ifNoneExist"] = json!(format!("identifier=urn:d|{tag}"));
        entry
    };
    let uses = |tag: &str| {
        json!({"resource": {"resourceType": "DeviceUseStatement", "status": "active",
                "subject": {"reference": format!("Patient/{}", BY_TEAM.id)},
                "device": {"reference": format!("Device?identifier=urn:d|{tag}")}},
            "request": {"method": "POST", "url": "DeviceUseStatement"}})
    };
    let transaction = |entries: Vec<Value>| json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    // Two creates on one condition make one record, and a reference finds it.
    let done =
        server.post(ROLE, "", &transaction(vec![uses("a"), once("a"), once("a")])).expect(200);
    let told = responses(&done);
    assert_eq!(told[1].0, "201");
    assert_eq!(told[2], ("200".to_owned(), told[1].1.clone()));
    let used = told[0].1.split("/_history").next().unwrap();
    let device_id = told[1].1.split("/_history").next().unwrap();
    assert_eq!(server.get(ROLE, used).json()["device"]["reference"], device_id);
    // What the transaction deletes is matched no more, what it updates by what it will be.
    let mut changed = device("b");
    changed["id"] = json!(device_id.strip_prefix("Device/").unwrap());
    let done = server
        .post(
            ROLE,
            "",
            &transaction(vec![
                json!({"resource": changed, "request": {"method": "PUT", "url": device_id}}),
                uses("b"),
            ]),
        )
        .expect(200);
    let used = responses(&done)[1].1.clone();
    assert_eq!(server.get(ROLE, &used).json()["device"]["reference"], device_id);
    let refused = server
        .post(
            ROLE,
            "",
            &transaction(vec![
                json!({"request": {"method": "DELETE", "url": device_id}}),
                uses("b"),
            ]),
        )
        .expect(412);
    assert_eq!(outcome(&refused)[0].1, "Bundle.entry[1].resource");
    let done = server
        .post(
            ROLE,
            "",
            &transaction(vec![
                once("b"),
                json!({"request": {"method": "DELETE", "url": device_id}}),
            ]),
        )
        .expect(200);
    // Deletes come first, wherever they stand.
    assert_eq!(responses(&done)[0].0, "201");
    assert_eq!(server.count(ROLE, "Device", "identifier=urn:d|b"), 1);
    // Updates by condition see what was created before them.
    let done = server
        .post(
            ROLE,
            "",
            &bundle(&[
                ("PUT Device?identifier=urn:d|n", device("n")),
                ("POST Device", device("m")),
            ]),
        )
        .expect(200);
    assert_eq!(responses(&done)[0].0, "201");
    let refused = server
        .post(
            ROLE,
            "",
            &bundle(&[
                ("PUT Device?identifier=urn:d|o", device("o")),
                ("POST Device", device("o")),
            ]),
        )
        .expect(400);
    assert!(refused.text().contains("twice"), "{}", refused.text());
    let _ = server.stop();
    assert_eq!(findings(&world, world.home(), &[]), [""; 0]);
}

#[test]
fn every_form_of_a_reference_between_entries_is_resolved() {
    let world = clinic();
    let server = world.serve();
    let (urn, url) =
        ("urn:uuid:9a1f0b52-3a07-4d2b-9a0b-2a5f6a1f8f01", "http://other.example/fhir/Device/77");
    let base = server.base().to_owned();
    let mut list = json!({"resourceType": "List", "status": "current", "mode": "working",
        "text": {"status": "generated", "div": format!(
            "<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"{urn}\">{urn}</a><img src=\"{url}\" alt=\"\"/></div>")},
        "identifier": [{"system": url, "value": "1"}]});
    list["entry"] = [
        urn.to_owned(),
        url.to_owned(),
        "Device/77".to_owned(),
        format!("{urn}/_history/9"),
        format!("{url}/_history/9"),
        format!("{base}/Device/here"),
        format!("{base}/Device/here/_history/3"),
        "Device?identifier=urn:d|one".to_owned(),
        "Device/elsewhere".to_owned(),
        "http://third.example/fhir/Device/1".to_owned(),
    ]
    .into_iter()
    .map(|r| json!({"item": {"reference": r}}))
    .collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "http://other.example/fhir/List/1", "resource": list,
         "request": {"method": "POST", "url": "List"}},
        {"fullUrl": urn, "resource": device("one"), "request": {"method": "POST", "url": "Device"}},
        {"fullUrl": url, "resource": device("two"), "request": {"method": "POST", "url": "Device"}}]});
    let done = responses(&server.post(ROLE, "", &bundle).expect(200));
    let name = |n: usize| done[n].1.split("/_history").next().unwrap().to_owned();
    let (one, two) = (name(1), name(2));
    let list = server.get(ROLE, &name(0)).expect(200).json();
    let found: Vec<&str> = list["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["item"]["reference"].as_str().unwrap())
        .collect();
    let (one_1, two_1) = (format!("{one}/_history/1"), format!("{two}/_history/1"));
    assert_eq!(
        found,
        [
            one.as_str(),
            &two,
            &two,
            &one_1,
            &two_1,
            "Device/here",
            "Device/here/_history/3",
            &one,
            "Device/elsewhere",
            "http://third.example/fhir/Device/1",
        ]
    );
    let div = list["text"]["div"].as_str().unwrap();
    assert!(div.contains(&format!("<a href=\"{one}\">{urn}</a><img src=\"{two}\"")), "{div}");
    // A reference that names no entry is refused.
    let mut lost = device("x");
    lost["patient"] = json!({"reference": "urn:uuid:9a1f0b52-3a07-4d2b-9a0b-000000000000"});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": urn, "resource": lost, "request": {"method": "POST", "url": "Device"}}]});
    let _ = server.post(ROLE, "", &bundle).expect(400);
    // This server's own URL of a patient is that patient, whose key seals the record.
    let mut own = fixture::observation(BY_TEAM, 0);
    own.as_object_mut().unwrap().remove("id");
    own["subject"]["reference"] = json!(format!("{base}/Patient/{}", BY_TEAM.id));
    let made = server.post("physician", "Observation", &own).expect(201).json();
    assert_eq!(made["subject"]["reference"], format!("Patient/{}", BY_TEAM.id));
}
