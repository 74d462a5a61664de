//! `$import`: what is stored, what is left out, and from where.

use phial_testkit::fixture::{self, BY_TEAM, UNTIED};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, findings, pause};

const ROLE: &str = "import-client";

fn post(server: &Server, role: &str, lines: &str) -> Answer {
    let request = server.request(role, Method::POST, "$import");
    send(request.header("content-type", "application/fhir+ndjson").body(lines.to_owned()))
}

fn settled(server: &Server, status: &str) -> Answer {
    loop {
        let answer = server.get(ROLE, status);
        if answer.status != 202 {
            return answer;
        }
        pause();
    }
}

fn imported(server: &Server, lines: &str) -> Value {
    let status = post(server, ROLE, lines).expect(202).header("content-location").to_owned();
    settled(server, &status).expect(200).json()
}

fn count(manifest: &Value, ty: &str) -> u64 {
    let list = manifest["outcome"].as_array().unwrap();
    list.iter().find(|o| o["type"] == ty).map_or(0, |o| o["count"].as_u64().unwrap())
}

/// Patients of nobody's, one a line; every tenth without an id.
fn people(n: usize) -> String {
    let one = |i: usize| {
        let mut p = json!({"resourceType": "Patient", "id": format!("p{i}"), "active": true,
            "name": [{"family": format!("Zweig{i}")}]});
        if i.is_multiple_of(10) {
            p.as_object_mut().unwrap().remove("id");
        }
        p.to_string()
    };
    (0..n).map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn lines_are_stored_and_again_they_are_stored_once() {
    let world = clinic();
    let server = world.serve();
    let before = server.count(ROLE, "Patient", "");
    let manifest = imported(&server, &people(300));
    assert_eq!(count(&manifest, "Patient"), 300);
    assert_eq!(manifest["error"], json!([]));
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!(server.count(ROLE, "Patient", ""), before + 300);
    // The same once more: nothing new, no new version.
    let manifest = imported(&server, &format!("\n{}\r\n", people(300)));
    assert_eq!(count(&manifest, "Patient"), 300);
    assert_eq!(server.count(ROLE, "Patient", ""), before + 300);
    let one = server.get(ROLE, "Patient/p1").expect(200).json();
    assert_eq!(one["meta"]["versionId"], "1");
    // Two lines of one record: the later one is the current version.
    let twice = [1, 2].map(|n| {
        json!({"resourceType": "Basic", "id": "twice", "code": {"text": format!("{n}")}})
            .to_string()
    });
    let _ = imported(&server, &twice.join("\n"));
    let basic = server.get(ROLE, "Basic/twice").expect(200).json();
    assert_eq!((&basic["code"]["text"], &basic["meta"]["versionId"]), (&json!("2"), &json!("2")));
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn a_line_that_cannot_be_stored_is_told_of_without_its_values() {
    let world = clinic();
    let server = world.serve();
    let good = json!({"resourceType": "Patient", "id": "good", "active": true}).to_string();
    let bad = [
        format!("{{\"resourceType\":\"Patient\",\"gender\":\"{}\"}}", BY_TEAM.family),
        format!("{} {}", BY_TEAM.ssn, BY_TEAM.phone),
        json!({"resourceType": BY_TEAM.family}).to_string(),
        json!({"resourceType": "Patient", "id": BY_TEAM.street}).to_string(),
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient?identifier={}", UNTIED.ssn.replace('9', "8"))}})
        .to_string(),
    ];
    let lines = format!("{good}\n{}\n\n{good}", bad.join("\n"));
    let manifest = imported(&server, &lines);
    assert_eq!(count(&manifest, "Patient"), 2, "{manifest}");
    let error = &manifest["error"][0];
    assert_eq!(error["type"], "OperationOutcome");
    assert_eq!(error["count"], bad.len());
    let told = server.get(ROLE, error["url"].as_str().unwrap()).expect(200).text();
    assert_eq!(told.lines().count(), bad.len());
    let mut places: Vec<String> = told
        .lines()
        .map(|line| {
            let outcome: Value = serde_json::from_str(line).unwrap();
            assert_eq!(outcome["resourceType"], "OperationOutcome");
            let place = outcome["issue"][0]["expression"][0].as_str().unwrap();
            place.split_inclusive(']').next().unwrap().to_owned()
        })
        .collect();
    places.sort();
    let expected: Vec<String> = (2..bad.len() + 2).map(|n| format!("line[{n}]")).collect();
    assert_eq!(places, expected);
    for needle in fixture::needles() {
        assert!(!told.contains(&needle), "{told}");
    }
    let _ = server.get(ROLE, "Patient/good").expect(200);
}

#[test]
fn who_may_not_import_is_told_so_before_a_byte_is_kept() {
    let world = clinic();
    let server = world.serve();
    for role in ["physician", "billing", "privacy-officer", "auditor"] {
        let _ = post(&server, role, &people(3)).expect(403);
        let body = json!({"resourceType": "Parameters"});
        let _ = server.post(role, "$import", &body).expect(403);
    }
    assert!(!world.home().join("data/default/jobs").exists());
    let _ = server.get(ROLE, "$import").expect(405);
    let plain = server.request(ROLE, Method::POST, "$import").header("content-type", "text/csv");
    let _ = send(plain.body("a,b")).expect(415);
}

#[test]
fn a_source_that_is_not_listed_is_not_fetched() {
    let world = clinic();
    let server = world.serve();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let of = |url: &str| {
        json!({"resourceType": "Parameters", "parameter": [
            {"name": "inputFormat", "valueCode": "application/fhir+ndjson"},
            {"name": "inputSource", "valueUri": "https://other.example.org/fhir"},
            {"name": "input", "part": [
                {"name": "type", "valueCode": "Patient"}, {"name": "url", "valueUrl": url}]}]})
    };
    for url in [
        format!("https://127.0.0.1:{port}/a.ndjson"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let _ = server.post(ROLE, "$import", &of(&url)).expect(403);
    }
    assert!(listener.accept().is_err(), "nobody came");
    let none = json!({"resourceType": "Parameters", "parameter": []});
    let _ = server.post(ROLE, "$import", &none).expect(400);
    let odd = json!({"resourceType": "Parameters", "parameter": [{"name": "mode"}]});
    let _ = server.post(ROLE, "$import", &odd).expect(400);
    let _ = server.stop().expect(0);
    // What is listed and does not answer as it should fails the job, and says so.
    let toml = world.home().join("phial.toml");
    std::fs::write(&toml, format!("[import]\nsources = [\"https://127.0.0.1:{port}/in/\"]\n"))
        .unwrap();
    let server = world.serve();
    let asked = of(&format!("https://127.0.0.1:{port}/in/a.ndjson"));
    let request = fhir(server.request(ROLE, Method::POST, "$import"), &asked);
    let status = send(request.header("prefer", "respond-async")).expect(202);
    listener.set_nonblocking(false).unwrap();
    drop(listener.accept().unwrap());
    let failed = settled(&server, status.header("content-location"));
    assert_eq!(failed.status, 502);
}

#[test]
fn an_import_that_was_killed_goes_on_and_stores_nothing_twice() {
    let (world, id) = interrupted(2_000);
    let server = world.serve();
    let manifest = settled(&server, &format!("$job/{id}")).expect(200).json();
    assert_eq!(count(&manifest, "Patient"), 2_000, "{manifest}");
    assert_eq!(server.count(ROLE, "Patient", "family=Zweig"), 2_000);
    for n in [1, 777, 1_999] {
        let one = server.get(ROLE, &format!("Patient/p{n}")).expect(200).json();
        assert_eq!(one["meta"]["versionId"], "1");
    }
    // What came in is gone once it is taken in.
    let dir = world.home().join("data/default/jobs").join(&id);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

/// A world whose server was killed while an import was under way, and the import's id.
fn interrupted(lines: usize) -> (World, String) {
    for _ in 0..20 {
        let world = clinic();
        let server = world.serve();
        let status = post(&server, ROLE, &people(lines)).expect(202);
        let id = status.header("content-location").rsplit('/').next().unwrap().to_owned();
        let _ = server.kill();
        let state = world.ok(&["job", "show", &id])["state"].clone();
        if state == "waiting" || state == "running" {
            return (world, id);
        }
    }
    panic!("every import was done before the server could be killed");
}

#[test]
fn what_waits_to_be_taken_in_is_sealed_and_dies_with_a_forgotten_patient() {
    let world = clinic();
    let server = world.serve();
    let lines: Vec<String> = fixture::records().iter().map(ToString::to_string).collect();
    let status = post(&server, ROLE, &lines.join("\n")).expect(202);
    let id = status.header("content-location").rsplit('/').next().unwrap().to_owned();
    let _ = server.kill();
    let scanner = phial_testkit::canary::Scanner::new(&fixture::needles()).unwrap();
    let report = scanner.scan(&[world.home()]).unwrap();
    assert!(report.is_clean(), "{report}");
    let before = world.ok(&["job", "show", &id])["state"].clone();
    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    if before == "done" {
        return;
    }
    assert!(!world.home().join("data/default/jobs").join(&id).exists());
    let server = world.serve();
    let _ = server.get(ROLE, &format!("$job/{id}")).expect(410);
    let _ = server.get("privacy-officer", &format!("Patient/{}", BY_TEAM.id)).expect(404);
}
