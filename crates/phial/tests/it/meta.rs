//! `$meta`, `$meta-add` and `$meta-delete`: who may change labels, and what becomes of
//! the record.

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server};
use serde_json::{Value, json};

use crate::clinic::{clinic, face, outcome};

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

fn plain() -> String {
    format!("Condition/{}", id("cond", BY_TEAM, 0))
}

fn labelled(p: &fixture::Person) -> String {
    format!("Condition/{}", id("cond", p, 2))
}

fn parameters(meta: &Value) -> Value {
    json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]})
}

fn change(server: &Server, role: &str, path: &str, how: &str, meta: &Value) -> Answer {
    server.post(role, &format!("{path}/$meta-{how}"), &parameters(meta))
}

fn returned(answer: &Answer) -> Value {
    let json = answer.json();
    assert_eq!(json["resourceType"], "Parameters", "{json}");
    assert_eq!(json["parameter"][0]["name"], "return");
    json["parameter"][0]["valueMeta"].clone()
}

fn label(code: &str) -> Value {
    json!({"security": [{"system": ACT, "code": code}]})
}

#[test]
fn adding_and_removing_make_versions_and_change_nothing_else() {
    let world = clinic();
    let server = world.serve();
    let before = server.get("import-client", &plain()).expect(200).json();
    let meta = json!({"profile": ["http://example.org/p"],
        "tag": [{"system": "urn:t", "code": "ward", "display": "Ward 3"}]});
    let added = returned(&change(&server, "import-client", &plain(), "add", &meta).expect(200));
    assert_eq!(added["versionId"], "2");
    assert_eq!(added["tag"], meta["tag"]);
    assert_eq!(added["profile"], meta["profile"]);
    let mut after = server.get("import-client", &plain()).expect(200).json();
    assert_eq!(after["meta"], added);
    after["meta"] = before["meta"].clone();
    assert_eq!(after, before);
    // Again it changes nothing and makes no version.
    let again = returned(&change(&server, "import-client", &plain(), "add", &meta).expect(200));
    assert_eq!(again, added);
    // Found by it, as any tag is.
    assert_eq!(server.count("import-client", "Condition", "_tag=urn:t|ward"), 1);
    let meta = json!({"tag": [{"system": "urn:t", "code": "ward"}]});
    let less = returned(&change(&server, "import-client", &plain(), "delete", &meta).expect(200));
    assert_eq!(less["versionId"], "3");
    assert!(less.get("tag").is_none());
    assert_eq!(less["profile"], json!(["http://example.org/p"]));
    assert_eq!(server.count("import-client", "Condition", "_tag=urn:t|ward"), 0);
    let read = server.get("import-client", &format!("{}/$meta", plain())).expect(200);
    assert_eq!(returned(&read), less);
    let nothing =
        server.request("import-client", reqwest::Method::POST, &format!("{}/$meta", plain()));
    assert_eq!(returned(&phial_testkit::world::send(nothing).expect(200)), less);
}

#[test]
fn a_label_takes_effect_at_once_and_needs_leave_over_old_and_new() {
    let world = clinic();
    let server = world.serve();
    // A physician without a relationship to the patient may not write what would be
    // specially protected, nor take such a label off.
    let _ = change(&server, "physician", &plain(), "add", &label("HIV")).expect(403);
    let denied =
        change(&server, "physician", &labelled(UNTIED), "delete", &label("HIV")).expect(404);
    let absent = change(&server, "physician", "Condition/absent", "delete", &label("HIV"));
    assert_eq!(face(&denied), face(&absent), "denied looks absent");
    // Someone who has one may do both.
    let _ = change(&server, "field-clinician", &plain(), "add", &label("HIV")).expect(200);
    let _ = server.get("physician", &plain()).expect(404);
    let _ = server.get("physician", &format!("{}/$meta", plain())).expect(404);
    let _ = change(&server, "physician", &plain(), "delete", &label("HIV")).expect(404);
    let _ = change(&server, "field-clinician", &plain(), "delete", &label("HIV")).expect(200);
    let _ = server.get("physician", &plain()).expect(200);
    // Whoever sees a part of a record writes none of it this way.
    let tag = json!({"tag": [{"code": "x"}]});
    let _ = change(&server, "billing", &plain(), "add", &tag).expect(403);
    let _ = change(&server, "privacy-officer", &plain(), "add", &tag).expect(403);
    let _ = change(&server, "front-desk", &plain(), "add", &tag).expect(404);
    let _ = server.get("billing", &format!("{}/$meta", plain())).expect(200);
    let _ = server.get("front-desk", &format!("{}/$meta", plain())).expect(404);
}

#[test]
fn each_change_is_announced_and_written_down_like_an_update() {
    let world = clinic();
    let server = world.serve();
    let tag = json!({"tag": [{"code": "x"}]});
    let _ = change(&server, "physician", &plain(), "add", &tag).expect(200);
    let _ = change(&server, "billing", &plain(), "add", &tag).expect(403);
    let _ = server.stop().expect(0);
    let tail = world.ok(&["audit", "tail", "-n", "30"]);
    let said: Vec<String> = tail
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["who"]["user"] == "ana" || e["who"]["user"] == "bill")
        .map(|e| {
            let text = |name: &str| e[name].as_str().unwrap_or("").to_owned();
            format!("{} {} {}", text("kind"), text("action"), text("outcome"))
        })
        .collect();
    assert!(said.contains(&"intent update success".to_owned()), "{said:?}");
    assert!(said.contains(&"outcome update success".to_owned()), "{said:?}");
    assert!(said.contains(&"operation  success".to_owned()), "{said:?}");
    assert!(said.contains(&"denied update denied".to_owned()), "{said:?}");
    assert_eq!(crate::clinic::findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_is_no_meta_is_refused_without_repeating_it() {
    let world = clinic();
    let server = world.serve();
    let bodies = [
        json!({"resourceType": "Condition"}),
        json!({"resourceType": "Parameters"}),
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "meta", "valueString": BY_TEAM.family}]}),
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "meta", "valueMeta": {"tag": [{"code": [BY_TEAM.family]}]}}]}),
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "meta", "valueMeta": {"tag": [{"color": BY_TEAM.family}]}}]}),
    ];
    for body in bodies {
        let answer = server.post("physician", &format!("{}/$meta-add", plain()), &body);
        let refused = answer.expect(400);
        assert!(!refused.text().contains(BY_TEAM.family), "{}", refused.text());
        assert!(!outcome(&refused).is_empty());
    }
    let _ = server.get("physician", &format!("{}/$meta-add", plain())).expect(405);
    let read = server.get("physician", &plain()).expect(200);
    assert_eq!(read.json()["meta"]["versionId"], "1");
}

#[test]
fn labels_in_use_are_those_of_records_that_the_caller_sees() {
    let world = clinic();
    let server = world.serve();
    let codes = |role: &str, path: &str| -> Vec<String> {
        let meta = returned(&server.get(role, path).expect(200));
        let list = meta["security"].as_array().cloned().unwrap_or_default();
        list.iter().map(|c| c["code"].as_str().unwrap().to_owned()).collect()
    };
    // The one label of the clinic is on records that a physician without a relationship
    // does not see.
    for path in ["$meta", "Condition/$meta"] {
        assert_eq!(codes("privacy-officer", path), ["HIV"]);
        assert_eq!(codes("field-clinician", path), ["HIV"]);
        assert!(codes("physician", path).is_empty());
        assert!(codes("auditor", path).is_empty());
    }
    assert!(codes("privacy-officer", "Observation/$meta").is_empty());
    let tail = world.ok(&["audit", "tail", "-n", "30"]);
    let gave = tail.as_array().unwrap().iter().find(|e| {
        e["kind"] == "operation"
            && e["who"]["user"] == "petra"
            && e["detail"]["operation"] == "meta"
    });
    let what = gave.unwrap()["what"].as_array().unwrap();
    assert_eq!(what.len(), fixture::PEOPLE.len(), "every record looked at is named");
    for t in what {
        assert_eq!(t["classes_given"].to_string().matches("administrative").count(), 1, "{t}");
        assert!(!t["classes_given"].to_string().contains("clinical"), "{t}");
    }
}
