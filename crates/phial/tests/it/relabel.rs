//! Lists of codes that change: what is stored gets the labels that they give, as if it had
//! been written under them, and stays the same version to everybody else.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use phial_testkit::fixture::{BY_TEAM, UNTIED};
use phial_testkit::world::{Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, findings};

const SNOMED: &str = "http://snomed.info/sct";
/// A code that no shipped list has.
const LISTED: &str = "271737000";

fn condition(name: &str, code: &str) -> Value {
    json!({"resourceType": "Condition", "id": name,
        "code": {"coding": [{"system": SNOMED, "code": code}]},
        "subject": {"reference": format!("Patient/{}", UNTIED.id)}})
}

/// The file of one's own list, with these lines.
fn list(world: &World, text: &str) -> PathBuf {
    let path = world.dir().join("own-codes.txt");
    fs::write(&path, text).unwrap();
    path
}

/// Configures the home to label by the list as well.
fn configure(world: &World, path: &std::path::Path) {
    let config = world.home().join("phial.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[labels]\nlist = \"{}\"\n", path.display())).unwrap();
}

fn put(server: &Server, body: &Value) {
    let done = server.put("interface-engine", body);
    assert!([200, 201].contains(&done.status), "{}", done.text());
}

/// What a role sees of the records of this test, by every door: one line each.
fn seen(server: &Server, role: &str) -> Vec<String> {
    let mut out = Vec::new();
    for path in [
        "Condition/r-plain",
        "Condition/r-plain/_history/1",
        "Condition/r-plain/_history/2",
        "Condition/r-was",
        "Condition/r-was/_history/1",
        "Condition/r-gone",
        "Condition/r-gone/_history/1",
        "Condition/r-gone/_history/2",
        "MedicationRequest/r-inside",
        "Condition/r-sent",
        "Binary/r-file",
    ] {
        let request = server.request(role, Method::GET, path);
        let read = send(request.header("accept", "application/fhir+json"));
        out.push(format!("{path} {}", read.status));
    }
    for path in
        ["Condition/r-plain/_history", "Condition/r-was/_history", "Condition/r-gone/_history"]
    {
        let answer = server.get(role, path);
        out.push(format!("{path} {} {}", answer.status, answer.json()["total"]));
    }
    for (ty, query) in [
        ("Condition", format!("code={SNOMED}|{LISTED}")),
        ("Condition", "_id=r-plain,r-was,r-gone,r-sent".to_owned()),
        ("MedicationRequest", "_id=r-inside".to_owned()),
        ("Patient", format!("_id={}&_has:Condition:patient:code={LISTED}", UNTIED.id)),
    ] {
        let found = server.search(role, ty, &query).expect(200);
        let mut ids = found.ids("match");
        ids.sort();
        let counted = server.count(role, ty, &query);
        assert_eq!(counted, ids.len() as u64, "{role} {ty}?{query}");
        out.push(format!("{ty}?{query} {ids:?}"));
    }
    out
}

/// A record as the interface engine reads it, with its ETag and its time.
fn faces(server: &Server) -> Vec<(String, String, String)> {
    ["Condition/r-plain", "Condition/r-plain/_history/1", "MedicationRequest/r-inside"]
        .map(|path| {
            let read = server.get("interface-engine", path).expect(200);
            let of = |name: &str| read.header(name).to_owned();
            (of("etag"), of("last-modified"), read.text())
        })
        .into()
}

fn is_sound(world: &World) {
    assert_eq!(findings(world, world.home(), &[]), Vec::<String>::new());
    let checked = world.ok(&["index", "check"]);
    assert_eq!(checked["findings"], json!([]), "{checked}");
}

#[test]
fn a_code_newly_listed_hides_what_is_stored_and_unlisted_shows_it_again() {
    let world = clinic();
    let server = world.serve();
    let plain = condition("r-plain", LISTED);
    put(&server, &plain);
    let mut second = plain.clone();
    second["recordedDate"] = json!("2024-02-03");
    put(&server, &second);
    put(&server, &condition("r-was", LISTED));
    put(&server, &condition("r-was", "44054006"));
    put(&server, &condition("r-gone", LISTED));
    let _ = server.delete("interface-engine", "Condition/r-gone").expect(204);
    let mut sent = condition("r-sent", LISTED);
    sent["meta"] = json!({"security": [{"code": "HIV",
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode"}]});
    put(&server, &sent);
    let of = json!({"reference": format!("Patient/{}", UNTIED.id)});
    let mut inside = condition("c", LISTED);
    inside["id"] = json!("c");
    inside["subject"] = of.clone();
    put(
        &server,
        &json!({"resourceType": "MedicationRequest", "id": "r-inside", "status": "active",
            "intent": "order", "medicationCodeableConcept": {"text": "x"}, "subject": of,
            "reasonReference": [{"reference": "#c"}], "contained": [inside]}),
    );
    put(
        &server,
        &json!({"resourceType": "Binary", "id": "r-file", "contentType": "text/plain",
            "data": "aGVsbG8=", "securityContext": {"reference": "Condition/r-plain"}}),
    );
    let before = seen(&server, "physician");
    assert!(before.contains(&"Condition/r-plain 200".to_owned()), "{before:?}");
    assert!(before.contains(&"Condition/r-sent 404".to_owned()), "a sender's label: {before:?}");
    assert!(before.contains(&"Binary/r-file 200".to_owned()), "{before:?}");
    let all = seen(&server, "interface-engine");
    let face = faces(&server);
    let _ = server.stop();

    // What would change is said before anything is.
    let own = list(&world, &format!("label HIV\nsnomed {LISTED}\n"));
    let check = ["relabel", "--check", "--list", own.to_str().unwrap()];
    let would = world.ok(&check);
    // Two versions, one that was, one that was ended and its end, what contains it, the file.
    assert_eq!(would["changed"], 7, "{would}");
    assert_eq!(would["labels"], json!({"HIV": {"added": 7, "removed": 0}}));
    let server = world.serve();
    assert_eq!(seen(&server, "physician"), before, "a look changes nothing");
    let _ = server.stop();

    configure(&world, &own);
    let server = world.serve();
    let hidden = seen(&server, "physician");
    let shown: Vec<&String> =
        hidden.iter().filter(|l| l.ends_with(" 200") || l.contains("200 ")).collect();
    // What has the code no more is there, and its history is of that version alone.
    assert_eq!(shown, ["Condition/r-was 200", "Condition/r-was/_history 200 1"], "{hidden:?}");
    assert_eq!(
        hidden
            .iter()
            .filter(|l| l.contains('?'))
            .map(|l| l.rsplit(' ').next().unwrap())
            .collect::<Vec<_>>(),
        ["[]", "[\"r-was\"]", "[]", "[]"],
        "{hidden:?}"
    );
    // Whoever sees everything sees the same versions of the same time.
    assert_eq!(seen(&server, "interface-engine"), all);
    assert_eq!(faces(&server), face);
    let _ = server.stop();
    is_sound(&world);
    let log = world.ok(&["audit", "tail", "-n", "500"]);
    let about = |kind: &str, reason: &str| {
        let all = log.as_array().unwrap().iter();
        all.filter(|e| e["kind"] == kind && e["detail"]["reason"] == reason).count()
    };
    assert!(about("reseal", "done") > 0 && about("reseal", "looked") > 0, "{log}");
    let intents: Vec<&Value> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "intent" && e["action"] == "reseal")
        .collect();
    assert_eq!(intents.len(), 1, "{log}");
    assert_eq!(intents[0]["what"].as_array().unwrap().len(), 7);

    // Nothing is left to do, and the next start does nothing.
    assert_eq!(world.ok(&["relabel"])["looked"], false);
    // Written under the lists, and then under lists without it: both are shown again.
    let server = world.serve();
    put(&server, &condition("r-late", LISTED));
    assert_eq!(server.get("physician", "Condition/r-late").status, 404);
    let _ = server.stop();
    let _ = list(&world, "# nothing\n");
    let done = world.ok(&["relabel"]);
    assert_eq!(done["labels"], json!({"HIV": {"added": 0, "removed": 8}}), "{done}");
    let server = world.serve();
    let mut late = before;
    for line in &mut late {
        *line = line.replace("[\"r-plain\"]", "[\"r-late\", \"r-plain\"]");
    }
    assert_eq!(seen(&server, "physician"), late);
    assert_eq!(server.get("physician", "Condition/r-late").status, 200);
    assert_eq!(faces(&server), face);
    let _ = server.stop();
    is_sound(&world);
}

#[test]
fn a_tie_opens_what_a_list_labels_as_if_it_had_been_written_so() {
    let world = clinic();
    let server = world.serve();
    for (name, of) in [("r-tied", BY_TEAM), ("r-untied", UNTIED)] {
        let mut body = condition(name, LISTED);
        body["subject"] = json!({"reference": format!("Patient/{}", of.id)});
        put(&server, &body);
    }
    let _ = server.stop();
    configure(&world, &list(&world, &format!("label MH\nsnomed {LISTED}\n")));
    let server = world.serve();
    let status = |role: &str, name: &str| server.get(role, &format!("Condition/{name}")).status;
    assert_eq!(status("field-clinician", "r-tied"), 200);
    assert_eq!(status("field-clinician", "r-untied"), 404);
    assert_eq!(status("nurse", "r-tied"), 404);
    assert_eq!(status("billing", "r-tied"), 404);
    assert_eq!(status("privacy-officer", "r-tied"), 200);
    // To write over it takes what it takes to see it.
    let body = condition("r-untied", "44054006");
    assert_eq!(send(server.put_request("physician", &body)).status, 404);
}

#[test]
fn killed_at_any_moment_it_goes_on_and_ends_as_if_it_had_not_been() {
    let world = clinic();
    let files = world.dir().join("many");
    fs::create_dir_all(&files).unwrap();
    let many = 4000;
    let lines: Vec<String> =
        (0..many).map(|n| condition(&format!("m-{n}"), LISTED).to_string()).collect();
    fs::write(files.join("many.ndjson"), lines.join("\n")).unwrap();
    let _ = world.ok(&["import", files.to_str().unwrap()]);
    let own = list(&world, &format!("label HIV\nsnomed {LISTED}\n"));
    configure(&world, &own);
    for round in 0..8 {
        let running = world.start(&["serve", "--listen", "127.0.0.1:0"]);
        std::thread::park_timeout(Duration::from_millis(40 + 35 * round));
        let _ = running.kill();
    }
    let server = world.serve();
    let code = format!("code={SNOMED}|{LISTED}");
    for role in ["physician", "billing", "nurse"] {
        assert_eq!(server.count(role, "Condition", &code), 0, "{role}");
    }
    assert_eq!(server.count("privacy-officer", "Condition", &code), many);
    for n in [0, 1, many / 2, many - 1] {
        let path = format!("Condition/m-{n}");
        assert_eq!(server.get("physician", &path).status, 404, "{path}");
        let etag = server.get("privacy-officer", &path).expect(200).header("etag").to_owned();
        assert_eq!(etag, "W/\"1\"");
    }
    let _ = server.stop();
    is_sound(&world);
    // And back, with a second set of kills.
    let _ = list(&world, "");
    for round in 0..4 {
        let running = world.start(&["relabel"]);
        std::thread::park_timeout(Duration::from_millis(30 + 60 * round));
        let _ = running.kill();
    }
    let server = world.serve();
    assert_eq!(server.count("physician", "Condition", &code), many);
    let _ = server.stop();
    is_sound(&world);
}

#[test]
fn a_list_that_can_t_be_read_starts_nothing_and_changes_nothing() {
    let world = clinic();
    let server = world.serve();
    put(&server, &condition("r-plain", LISTED));
    let _ = server.stop();
    configure(&world, &list(&world, "label NOPE\nsnomed 1\n"));
    let ran = world.try_serve().err().unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(world.run(&["relabel"]).code, Some(1));
    let _ = list(&world, "");
    let server = world.serve();
    assert_eq!(server.get("physician", "Condition/r-plain").status, 200);
    let body = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Condition/r-plain"}}]});
    let _ = send(fhir(server.request("physician", Method::POST, ""), &body)).expect(200);
}
