//! The history of a type and of the system: each version decided by itself, pages of one
//! moment, nothing counted.

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server};
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

/// `Type/id` and version of each entry, in order.
fn listed(answer: &Answer) -> Vec<(String, String)> {
    let json = answer.json();
    assert_eq!(json["type"], "history", "{}", answer.text());
    assert!(json.get("total").is_none(), "nothing is counted");
    json["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| {
            let etag = e["response"]["etag"].as_str().unwrap();
            let url = e["request"]["url"].as_str().unwrap().to_owned();
            (url, etag.trim_matches(['W', '/', '"']).to_owned())
        })
        .collect()
}

/// All pages of a history.
fn all(server: &Server, role: &str, path: &str) -> Vec<(String, String)> {
    let mut page = server.get(role, path).expect(200);
    let mut found = listed(&page);
    while let Some(next) = page.link("next") {
        page = server.get(role, &next).expect(200);
        found.extend(listed(&page));
    }
    found
}

fn revise(server: &Server, n: usize, note: &str) -> String {
    let mut c = fixture::condition(BY_TEAM, n);
    c["note"][0]["text"] = json!(note);
    let _ = server.put("import-client", &c).expect(200);
    format!("Condition/{}", id("cond", BY_TEAM, n))
}

#[test]
fn all_versions_of_a_type_are_listed_newest_first() {
    let world = clinic();
    let server = world.serve();
    let (a, b) = (revise(&server, 0, "second"), revise(&server, 1, "second"));
    let _ = server.delete("interface-engine", &a).expect(204);
    let _ = server.put("import-client", &fixture::condition(BY_TEAM, 0)).expect(201);
    let history = server.get("interface-engine", "Condition/_history?_count=4").expect(200);
    let at = |name: &str, v: &str| (name.to_owned(), v.to_owned());
    assert_eq!(listed(&history), [at(&a, "4"), at(&a, "3"), at(&b, "2"), at(&a, "2")]);
    let json = history.json();
    let statuses: Vec<&str> = json["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["response"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["201 Created", "204 No Content", "200 OK", "200 OK"]);
    // As many as there are: 3 a patient, and the four made here.
    assert_eq!(all(&server, "interface-engine", "Condition/_history?_count=4").len(), 15 + 4);
    // Each is what vread gives.
    for e in json["entry"].as_array().unwrap() {
        let url = e["request"]["url"].as_str().unwrap();
        let version = e["response"]["etag"].as_str().unwrap().trim_matches(['W', '/', '"']);
        let read = server.get("interface-engine", &format!("{url}/_history/{version}"));
        match e.get("resource") {
            Some(resource) => assert_eq!(*resource, read.expect(200).json()),
            None => assert_eq!(read.status, 410),
        }
    }
    // Of the system: every type, in the order of the log.
    let system = all(&server, "interface-engine", "_history?_count=50");
    assert_eq!(system[..4], [at(&a, "4"), at(&a, "3"), at(&b, "2"), at(&a, "2")]);
    assert_eq!(system.len(), fixture::records().len() + 4);
    assert!(system.iter().any(|(url, _)| url.starts_with("Patient/")));
    let entry = world.ok(&["audit", "tail", "-n", "1"])[0].clone();
    assert_eq!((&entry["kind"], &entry["outcome"]), (&json!("history"), &json!("success")));
    assert!(!entry["what"].as_array().unwrap().is_empty());
}

#[test]
fn what_is_hidden_is_in_no_page_of_a_type_or_of_the_system() {
    let world = clinic();
    let server = world.serve();
    // Plain, then labelled, then plain again.
    let plain = fixture::condition(UNTIED, 0);
    let path = format!("Condition/{}", id("cond", UNTIED, 0));
    let mut labelled = plain.clone();
    labelled["meta"] = fixture::condition(UNTIED, 2)["meta"].clone();
    labelled["note"][0]["text"] = json!("Whisperweald");
    let _ = server.put("import-client", &labelled).expect(200);
    let _ = server.put("import-client", &plain).expect(200);
    let of = |role: &str, from: &str| -> Vec<String> {
        all(&server, role, from).into_iter().filter(|(u, _)| *u == path).map(|(_, v)| v).collect()
    };
    for from in ["Condition/_history?_count=2", "_history?_count=7"] {
        assert_eq!(of("privacy-officer", from), ["3", "2", "1"]);
        assert_eq!(of("physician", from), ["3", "1"]);
    }
    // Labelled now: none of its versions is there.
    let _ = server.put("import-client", &labelled).expect(200);
    for from in ["Condition/_history?_count=2", "_history?_count=7"] {
        assert_eq!(of("physician", from), [""; 0]);
        let hidden = format!("Condition/{}", id("cond", UNTIED, 2));
        assert!(all(&server, "physician", from).iter().all(|(url, _)| *url != hidden));
    }
    // A page is full as long as there is more to see, whatever lies between.
    let mut page = server.get("physician", "Condition/_history?_count=3").expect(200);
    while let Some(next) = page.link("next") {
        assert_eq!(listed(&page).len(), 3);
        page = server.get("physician", &next).expect(200);
    }
    // The field clinician sees assigned patients alone, billing no notes, others nothing.
    let tied = all(&server, "field-clinician", "Condition/_history");
    assert!(!tied.is_empty() && tied.iter().all(|(url, _)| !url.contains(&UNTIED.id[..8])));
    let part = server.get("billing", "Condition/_history?_count=5").expect(200);
    assert!(!part.text().contains(fixture::NOTE) && part.text().contains("SUBSETTED"));
    for (role, path) in [
        ("front-desk", "Condition/_history"),
        ("auditor", "Condition/_history"),
        ("auditor", "_history"),
        ("import-client", "_history"),
    ] {
        let empty = server.get(role, path).expect(200);
        assert_eq!(listed(&empty), []);
        assert!(empty.link("next").is_none());
    }
    let desk = all(&server, "front-desk", "_history?_count=9");
    let types = ["Patient/", "Appointment/", "Practitioner/", "Organization/"];
    assert!(!desk.is_empty());
    assert!(desk.iter().all(|(url, _)| types.iter().any(|t| url.starts_with(t))), "{desk:?}");
}

#[test]
fn pages_are_of_one_moment_and_nobody_elses() {
    let world = clinic();
    let server = world.serve();
    for n in 0..5 {
        let _ = revise(&server, 0, &format!("n{n}"));
    }
    for (from, other) in [("Condition/_history", "_history"), ("_history", "Condition/_history")] {
        let before = all(&server, "interface-engine", &format!("{from}?_count=3"));
        let mut page = server.get("interface-engine", &format!("{from}?_count=3")).expect(200);
        let first = page.link("next").unwrap();
        // What is written between two pages is on none.
        let _ = revise(&server, 1, "between");
        let mut found = listed(&page);
        while let Some(next) = page.link("next") {
            page = server.get("interface-engine", &next).expect(200);
            let again = server.get("interface-engine", &page.link("self").unwrap()).expect(200);
            assert_eq!(listed(&again), listed(&page));
            found.extend(listed(&page));
        }
        assert_eq!(found, before);
        let token = first.split("_page=").nth(1).unwrap();
        for (role, place) in [
            ("physician", from.to_owned()),
            ("interface-engine", other.to_owned()),
            ("interface-engine", "Patient/_history".to_owned()),
            ("interface-engine", format!("Condition/{}/_history", id("cond", BY_TEAM, 0))),
            ("interface-engine", "Condition".to_owned()),
        ] {
            let refused = server.get(role, &format!("{place}?_page={token}")).expect(400);
            assert_eq!(outcome(&refused)[0].1, "_page");
        }
    }
}

#[test]
fn a_history_of_many_records_is_cut_by_time() {
    let world = clinic();
    let server = world.serve();
    let path = revise(&server, 0, "second");
    let second = server.get("physician", &path).json();
    let second = second["meta"]["lastUpdated"].as_str().unwrap().to_owned();
    let _ = revise(&server, 0, "third");
    let of = |query: &str| -> Vec<String> {
        let from = format!("Condition/_history?{query}&_count=100");
        all(&server, "physician", &from)
            .into_iter()
            .filter(|(url, _)| *url == path)
            .map(|(_, v)| v)
            .collect()
    };
    assert_eq!(of(&format!("_since={second}")), ["3", "2"]);
    assert_eq!(all(&server, "physician", &format!("_history?_since={second}")).len(), 2);
    assert_eq!(of(&format!("_at={second}")), ["2"]);
    assert_eq!(of("_at=2999"), ["3"]);
    assert_eq!(of("_at=1999"), [""; 0]);
    assert_eq!(of("_since=2999-01-01T00:00:00Z"), [""; 0]);
    for (query, place) in [
        ("_since=x", "_since"),
        ("_at=2026-40", "_at"),
        ("_count=x", "_count"),
        ("_count=0", "_count"),
        ("_summary=count", "_count"),
        ("code=x", "_history"),
        ("_elements=nonsense", "_elements"),
    ] {
        let refused = server.get("physician", &format!("Condition/_history?{query}")).expect(400);
        assert_eq!(outcome(&refused)[0].1, place, "{query}");
    }
    let part = server.get("physician", "Condition/_history?_elements=code&_count=2").expect(200);
    assert!(!part.text().contains(fixture::NOTE));
    assert!(part.json()["entry"][0]["resource"]["code"].is_object());
}

#[test]
fn nothing_is_left_of_what_was_purged() {
    let world = clinic();
    {
        let server = world.serve();
        let _ = revise(&server, 0, "second");
        // What a walk remembers of the log holds no more than the log.
        let _ = all(&server, "interface-engine", "_history?_count=100");
        let _ = server.stop();
    }
    world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    let server = world.serve();
    for from in ["_history?_count=20", "Condition/_history", "Patient/_history"] {
        let left = all(&server, "interface-engine", from);
        assert!(!left.is_empty());
        assert!(left.iter().all(|(url, _)| !url.contains(&BY_TEAM.id[..8])), "{from}");
    }
}

#[test]
fn histories_are_entries_of_a_batch_too() {
    let world = clinic();
    let server = world.serve();
    let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        get("Condition/_history?_count=2"), get("_history?_count=3"), get("_history?_count=0")]});
    let answer = server.post("physician", "", &bundle).expect(200).json();
    let count = |n: usize| {
        let entries: &Value = &answer["entry"][n]["resource"]["entry"];
        entries.as_array().map_or(0, Vec::len)
    };
    assert_eq!((count(0), count(1)), (2, 3));
    assert_eq!(answer["entry"][2]["response"]["status"], "400 Bad Request");
}
