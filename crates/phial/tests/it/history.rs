//! The versions of a record: who sees which, how they are paged, and what is written
//! down about it.

use phial_testkit::fixture::{self, BY_TEAM, NOTE, UNTIED, id};
use phial_testkit::world::{Answer, Server, World};
use serde_json::{Value, json};

use crate::clinic::{clinic, face, outcome};

/// Versions and methods of a history's entries, newest first.
fn listed(answer: &Answer) -> Vec<(String, String)> {
    let json = answer.json();
    assert_eq!(json["type"], "history", "{}", answer.text());
    json["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| {
            let etag = e["response"]["etag"].as_str().unwrap();
            let version = etag.trim_start_matches("W/\"").trim_end_matches('"').to_owned();
            if let Some(meta) = e["resource"].get("meta") {
                assert_eq!(meta["versionId"], version.as_str());
            }
            (version, e["request"]["method"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn versions(answer: &Answer) -> Vec<String> {
    listed(answer).into_iter().map(|(v, _)| v).collect()
}

/// A condition with `n` versions, each with a note of its own; gives its path.
fn revised(server: &Server, n: usize) -> String {
    let mut c = fixture::condition(BY_TEAM, 0);
    for i in 2..=n {
        c["note"][0]["text"] = json!(format!("{NOTE}, revision {i}"));
        let _ = server.put("import-client", &c).expect(200);
    }
    format!("Condition/{}", id("cond", BY_TEAM, 0))
}

fn last_entry(world: &World, kind: &str) -> Value {
    let tail = world.ok(&["audit", "tail", "-n", "40"]);
    let found = tail.as_array().unwrap().iter().rev().find(|e| e["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {tail}")).clone()
}

#[test]
fn every_version_is_listed_newest_first_with_what_made_it() {
    let world = clinic();
    let server = world.serve();
    let path = revised(&server, 2);
    let _ = server.delete("physician", &path).expect(204);
    let again = fixture::condition(BY_TEAM, 0);
    let _ = server.put("import-client", &again).expect(201);
    let history = server.get("physician", &format!("{path}/_history")).expect(200);
    let expected = [("4", "PUT"), ("3", "DELETE"), ("2", "PUT"), ("1", "PUT")]
        .map(|(v, m)| (v.to_owned(), m.to_owned()));
    assert_eq!(listed(&history), expected);
    let json = history.json();
    assert_eq!(json["total"], 4);
    let entries = json["entry"].as_array().unwrap();
    let statuses: Vec<&str> =
        entries.iter().map(|e| e["response"]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201 Created", "204 No Content", "200 OK", "201 Created"]);
    for e in entries {
        assert_eq!(e["fullUrl"], format!("{}/{path}", server.base()));
        assert_eq!(e["request"]["url"], path.as_str());
        assert!(e["response"]["lastModified"].as_str().unwrap().ends_with('Z'));
    }
    assert!(entries[1].get("resource").is_none(), "a deletion has no resource");
    // Each version is what vread gives.
    for (n, e) in [(4, &entries[0]), (2, &entries[2]), (1, &entries[3])] {
        let read = server.get("physician", &format!("{path}/_history/{n}")).expect(200);
        assert_eq!(e["resource"], read.json());
    }
    // The history of what is deleted is there as well.
    let _ = server.delete("physician", &path).expect(204);
    let history = server.get("physician", &format!("{path}/_history")).expect(200);
    assert_eq!(listed(&history)[0], ("5".to_owned(), "DELETE".to_owned()));
}

#[test]
fn a_history_says_which_versions_it_gave() {
    let world = clinic();
    let server = world.serve();
    let path = revised(&server, 3);
    let part = server.get("billing", &format!("{path}/_history?_count=2")).expect(200);
    assert!(!part.text().contains("gambling"), "billing reads no notes");
    assert!(part.text().contains("SUBSETTED"));
    let entry = last_entry(&world, "history");
    assert_eq!(entry["outcome"], "success");
    assert_eq!(entry["who"]["user"], "bill");
    let what = entry["what"].as_array().unwrap();
    let told: Vec<&Value> = what.iter().map(|t| &t["version"]).collect();
    assert_eq!(told, [&json!(3), &json!(2)], "{entry}");
    for t in what {
        let text = |name: &str| t[name].to_string();
        assert!(text("classes_withheld").contains("notes"), "{t}");
        assert!(!text("classes_given").contains("notes"), "{t}");
    }
    assert_eq!(entry["patients"].as_array().unwrap().len(), 1);
}

#[test]
fn pages_of_a_history_are_of_one_moment_and_nobody_elses() {
    let world = clinic();
    let server = world.serve();
    let path = revised(&server, 7);
    let mut page = server.get("physician", &format!("{path}/_history?_count=3")).expect(200);
    let first = page.link("next").unwrap();
    // What is written between two pages is on none.
    let _ = server.put("import-client", &fixture::condition(BY_TEAM, 0)).expect(200);
    let mut all = versions(&page);
    while let Some(next) = page.link("next") {
        page = server.get("physician", &next).expect(200);
        assert_eq!(page.json()["total"], 7);
        let again = server.get("physician", &page.link("self").unwrap()).expect(200);
        assert_eq!(versions(&again), versions(&page));
        all.extend(versions(&page));
    }
    assert_eq!(all, ["7", "6", "5", "4", "3", "2", "1"]);
    // A token opens nothing for another, nor for another record, nor in a search.
    let token = first.split("_page=").nth(1).unwrap();
    assert!(!token.contains("Condition"));
    for (role, place) in [
        ("nurse", format!("{path}/_history")),
        ("physician", format!("Condition/{}/_history", id("cond", BY_TEAM, 1))),
        ("physician", "Condition".to_owned()),
    ] {
        let refused = server.get(role, &format!("{place}?_page={token}")).expect(400);
        assert_eq!(outcome(&refused)[0].1, "_page");
    }
    let search = server.get("physician", "Condition?_count=2").expect(200).link("next").unwrap();
    let token = search.split("_page=").nth(1).unwrap();
    let _ = server.get("physician", &format!("{path}/_history?_page={token}")).expect(400);
}

#[test]
fn a_history_is_cut_by_time_and_count() {
    let world = clinic();
    let server = world.serve();
    let path = revised(&server, 3);
    let at = |n: usize| {
        let read = server.get("physician", &format!("{path}/_history/{n}")).expect(200);
        read.json()["meta"]["lastUpdated"].as_str().unwrap().to_owned()
    };
    let list = |query: &str| {
        let answer = server.get("physician", &format!("{path}/_history?{query}")).expect(200);
        let found = versions(&answer);
        (found, answer.json()["total"].as_u64().unwrap())
    };
    let said = |v: &[&str], total| (v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), total);
    assert_eq!(list(&format!("_since={}", at(2))), said(&["3", "2"], 2));
    assert_eq!(list(&format!("_at={}", at(1))), said(&["1"], 1));
    assert_eq!(list(&format!("_at={}", at(3))), said(&["3"], 1));
    assert_eq!(list("_at=2999"), said(&["3"], 1));
    assert_eq!(list("_at=1999"), said(&[], 0));
    assert_eq!(list("_since=2999-01-01T00:00:00Z"), said(&[], 0));
    assert_eq!(list("_count=0"), said(&[], 3));
    assert_eq!(list("_summary=count"), said(&[], 3));
    assert_eq!(list("_count=1"), said(&["3"], 3));
    for (query, path_) in [
        ("_since=x", "_since"),
        ("_at=2026-40", "_at"),
        ("_count=x", "_count"),
        ("code=x", "_history"),
    ] {
        let refused = server.get("physician", &format!("{path}/_history?{query}")).expect(400);
        assert_eq!(outcome(&refused)[0].1, path_);
    }
}

#[test]
fn a_hidden_version_is_neither_listed_nor_counted() {
    let world = clinic();
    let server = world.serve();
    // Plain, then labelled, then plain again.
    let mut c = fixture::condition(UNTIED, 0);
    let path = format!("Condition/{}", id("cond", UNTIED, 0));
    let mut labelled = c.clone();
    labelled["meta"] = fixture::condition(UNTIED, 2)["meta"].clone();
    labelled["note"][0]["text"] = json!("Whisperweald");
    let second = server.put("import-client", &labelled).expect(200).json();
    let (third, fourth) = {
        let third = server.put("import-client", &c).expect(200).json();
        c["note"][0]["text"] = json!("fourth");
        (third, server.put("import-client", &c).expect(200).json())
    };
    assert_eq!(fourth["meta"]["versionId"], "4");
    let whole = server.get("privacy-officer", &format!("{path}/_history")).expect(200);
    assert_eq!(versions(&whole), ["4", "3", "2", "1"]);
    let seen = server.get("physician", &format!("{path}/_history")).expect(200);
    assert_eq!(versions(&seen), ["4", "3", "1"]);
    assert_eq!(seen.json()["total"], 3);
    assert!(!seen.text().contains("Whisperweald"));
    let entry = last_entry(&world, "history");
    assert_eq!(entry["what"].as_array().unwrap().len(), 3);
    // Pages have no gap.
    let page = server.get("physician", &format!("{path}/_history?_count=2")).expect(200);
    assert_eq!(versions(&page), ["4", "3"]);
    let rest = server.get("physician", &page.link("next").unwrap()).expect(200);
    assert_eq!(versions(&rest), ["1"]);
    assert!(rest.link("next").is_none());
    // When it was current, the version before it seems to have been.
    let at = second["meta"]["lastUpdated"].as_str().unwrap();
    let seen = server.get("physician", &format!("{path}/_history?_at={at}")).expect(200);
    assert_eq!(versions(&seen), ["1"]);
    let seen = server.get("privacy-officer", &format!("{path}/_history?_at={at}")).expect(200);
    assert_eq!(versions(&seen), ["2"]);
    assert_eq!(third["meta"]["versionId"], "3");
}

#[test]
fn a_denied_history_is_an_absent_one() {
    let world = clinic();
    let server = world.serve();
    let labelled = format!("Condition/{}", id("cond", UNTIED, 2));
    let hidden = format!("Observation/{}", id("obs", UNTIED, 3));
    for (role, path) in [
        ("physician", &labelled),
        ("nurse", &labelled),
        ("billing", &hidden),
        ("front-desk", &hidden),
        ("field-clinician", &hidden),
        ("auditor", &hidden),
        ("import-client", &hidden),
    ] {
        let (ty, _) = path.split_once('/').unwrap();
        for query in ["", "?_count=1", "?_since=nonsense", "?_page=x"] {
            let denied = server.get(role, &format!("{path}/_history{query}"));
            let absent = server.get(role, &format!("{ty}/absent/_history{query}"));
            assert_eq!(face(&denied), face(&absent), "{role} {path}{query}");
            assert_eq!(denied.status, 404);
        }
    }
    let entries = world.ok(&["audit", "tail", "-n", "60"]);
    let of = |outcome: &str| {
        let all = entries.as_array().unwrap();
        all.iter().filter(|e| e["kind"] == "history" && e["outcome"] == outcome).count()
    };
    assert_eq!((of("denied"), of("not-found")), (28, 28));
    // A label set later hides every version.
    let mut c = fixture::condition(UNTIED, 0);
    c["meta"] = fixture::condition(UNTIED, 2)["meta"].clone();
    let path = format!("Condition/{}", id("cond", UNTIED, 0));
    let _ = server.get("physician", &format!("{path}/_history")).expect(200);
    let _ = server.put("import-client", &c).expect(200);
    let _ = server.get("physician", &format!("{path}/_history")).expect(404);
}

#[test]
fn a_patient_that_a_version_was_about_decides_over_that_version() {
    let world = clinic();
    let server = world.serve();
    // The field clinician sees assigned patients only: version 1 was about another.
    let mut o = fixture::observation(UNTIED, 0);
    let path = format!("Observation/{}", id("obs", UNTIED, 0));
    o["subject"]["reference"] = json!(format!("Patient/{}", BY_TEAM.id));
    o.as_object_mut().unwrap().remove("encounter");
    let _ = server.put("import-client", &o).expect(200);
    let seen = server.get("field-clinician", &format!("{path}/_history")).expect(200);
    assert_eq!(versions(&seen), ["2"]);
    assert_eq!(seen.json()["total"], 1);
    let whole = server.get("physician", &format!("{path}/_history")).expect(200);
    assert_eq!(versions(&whole), ["2", "1"]);
    let entry = last_entry(&world, "history");
    assert_eq!(entry["patients"].as_array().unwrap().len(), 2, "both patients are named");
}

#[test]
fn nothing_of_a_history_is_left_after_a_purge() {
    let world = clinic();
    let path = {
        let server = world.serve();
        let path = revised(&server, 3);
        let _ = server.delete("physician", &path).expect(204);
        let _ = server.stop();
        path
    };
    world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    let server = world.serve();
    for role in ["physician", "privacy-officer"] {
        let gone = server.get(role, &format!("{path}/_history")).expect(404);
        let absent = server.get(role, "Condition/absent/_history");
        assert_eq!(face(&gone), face(&absent));
    }
}

#[test]
fn a_history_is_an_entry_of_a_batch_too() {
    let world = clinic();
    let server = world.serve();
    let path = revised(&server, 3);
    let hidden = format!("Condition/{}", id("cond", UNTIED, 2));
    let get = |url: String| json!({"request": {"method": "GET", "url": url}});
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        get(format!("{path}/_history?_count=2")), get(format!("{hidden}/_history"))]});
    let answer = server.post("physician", "", &bundle).expect(200).json();
    assert_eq!(answer["entry"][0]["resource"]["type"], "history");
    assert_eq!(answer["entry"][0]["resource"]["total"], 3);
    assert_eq!(answer["entry"][0]["resource"]["entry"].as_array().unwrap().len(), 2);
    assert_eq!(answer["entry"][1]["response"]["status"], "404 Not Found");
}
