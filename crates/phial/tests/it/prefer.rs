//! `Prefer`: what a client would rather have, and what is not to be had.

use phial_testkit::fixture::{self, BY_TEAM, id};
use phial_testkit::world::{Answer, Server, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

fn put(server: &Server, role: &str, body: &Value, prefer: &str) -> Answer {
    send(server.put_request(role, body).header("prefer", prefer))
}

#[test]
fn an_answer_to_a_write_carries_what_was_preferred() {
    let world = clinic();
    let server = world.serve();
    let role = "physician";
    let o = fixture::observation(BY_TEAM, 0);
    for (prefer, kind) in [
        ("return=minimal", ""),
        ("return=representation", "Observation"),
        ("return=OperationOutcome", "OperationOutcome"),
        ("return=nonsense", "Observation"),
        ("nonsense", "Observation"),
    ] {
        let answer = put(&server, role, &o, prefer).expect(200);
        let json = answer.json();
        assert_eq!(json["resourceType"].as_str().unwrap_or(""), kind, "{prefer}");
        assert_eq!(answer.body.is_empty(), kind.is_empty(), "{prefer}");
        assert!(answer.header("etag").starts_with("W/"), "{prefer}");
        assert!(answer.header("location").contains("/_history/"), "{prefer}");
        if kind == "OperationOutcome" {
            assert_eq!(json["issue"][0]["severity"], "information");
            assert_eq!(outcome(&answer)[0].2, "the record was replaced");
        }
    }
    let mut new = o.clone();
    new.as_object_mut().unwrap().remove("id");
    let request = server.request(role, Method::POST, "Observation");
    let made = send(fhir(request, &new).header("prefer", "return=OperationOutcome")).expect(201);
    assert_eq!(outcome(&made)[0].2, "the record was created");
    // A record that is given back was read.
    let entries = || world.ok(&["audit", "tail", "-n", "1"])[0].clone();
    let _ = put(&server, role, &o, "return=representation").expect(200);
    assert_eq!(entries()["kind"], "read");
    let _ = put(&server, role, &o, "return=minimal").expect(200);
    assert_ne!(entries()["kind"], "read");
}

#[test]
fn a_preference_holds_for_every_write_of_a_bundle() {
    let world = clinic();
    let server = world.serve();
    let (a, b) = (fixture::observation(BY_TEAM, 0), fixture::observation(BY_TEAM, 1));
    let entry = |o: &Value| {
        json!({"resource": o, "request": {"method": "PUT",
            "url": format!("Observation/{}", o["id"].as_str().unwrap())}})
    };
    let gone = json!({"request": {"method": "DELETE",
        "url": format!("Observation/{}", id("obs", BY_TEAM, 2))}});
    for kind in ["batch", "transaction"] {
        let bundle = json!({"resourceType": "Bundle", "type": kind,
            "entry": [entry(&a), entry(&b), gone]});
        let send = |prefer: &str| {
            let request = fhir(server.request("physician", Method::POST, ""), &bundle);
            let answer = send(request.header("prefer", prefer)).expect(200).json();
            let entries = answer["entry"].as_array().unwrap().clone();
            assert_eq!(entries.len(), 3);
            assert!(entries.iter().take(2).all(|e| e["response"]["status"] == "200 OK"));
            assert_eq!(entries[2]["response"]["status"], "204 No Content");
            assert!(entries[2].get("resource").is_none());
            entries
        };
        for e in send("x").iter().chain(&send("return=minimal")) {
            assert!(e.get("resource").is_none() && e["response"].get("outcome").is_none());
        }
        for (e, o) in send("return=representation").iter().zip([&a, &b]) {
            assert_eq!(e["resource"]["id"], o["id"], "{kind}");
            assert_eq!(e["resource"]["note"], o["note"], "{kind}");
        }
        for e in &send("return=OperationOutcome") {
            assert_eq!(e["response"]["outcome"]["issue"][0]["severity"], "information");
        }
    }
}

#[test]
fn a_lenient_search_leaves_out_what_it_does_not_know_and_says_so() {
    let world = clinic();
    let server = world.serve();
    let search = |prefer: &str, query: &str| {
        let request = server
            .request("physician", Method::POST, "Condition/_search")
            .header("content-type", "application/x-www-form-urlencoded");
        send(request.header("prefer", prefer).body(query.to_owned()))
    };
    let query = "nonsense=Xylocarp&code=44054006&_has:Observation:patient:code=1&_count=2";
    for prefer in ["handling=strict", "x"] {
        let refused = search(prefer, query).expect(400);
        assert_eq!(outcome(&refused)[0].1, "nonsense");
    }
    let page = search("handling=lenient", query).expect(200);
    assert_eq!(page.ids("match").len(), 2);
    assert_eq!(page.json()["total"], Value::Null, "not counted when it is paged");
    let told = page.entries("outcome");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["resourceType"], "OperationOutcome");
    let issues = told[0]["issue"].as_array().unwrap();
    assert!(issues.iter().all(|i| i["severity"] == "warning"), "{issues:?}");
    assert_eq!(issues[0]["expression"][0], "nonsense");
    assert_eq!(issues.len(), 2, "{issues:?}");
    assert!(!page.text().contains("Xylocarp"));
    // The links hold what was done: they need no lenience, and report nothing anew.
    let again = server.get("physician", &page.link("self").unwrap()).expect(200);
    assert_eq!(again.ids("match"), page.ids("match"));
    assert!(again.entries("outcome").is_empty());
    let rest = server.get("physician", &page.link("next").unwrap()).expect(200);
    assert_eq!(rest.ids("match").len(), 2);
    // A value or modifier that can't be used would change the meaning: still refused.
    for query in
        ["code:above=1", "onset-date=yesterday", "_sort=nonsense", "_count=x", "_summary=x"]
    {
        let _ = search("handling=lenient", query).expect(400);
    }
    // And so is what the role may never search by.
    let request = server
        .request("front-desk", Method::POST, "Condition/_search")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("prefer", "handling=lenient");
    let _ = send(request.body("code=44054006&nonsense=1")).expect(403);
}

#[test]
fn what_is_answered_later_is_not_to_be_had() {
    let world = clinic();
    let server = world.serve();
    let before = server.count("physician", "Observation", "");
    let mut o = fixture::observation(BY_TEAM, 0);
    o["id"] = json!("obs-later");
    let refused = put(&server, "physician", &o, "respond-async").expect(400);
    assert_eq!(outcome(&refused)[0].0, "not-supported");
    let request = server.request("physician", Method::GET, "Observation");
    let _ = send(request.header("prefer", "respond-async, return=minimal")).expect(400);
    assert_eq!(server.count("physician", "Observation", ""), before);
}
