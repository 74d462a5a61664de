//! `$export`: what goes out for whom, what is written down, and how it ends.

use std::collections::{BTreeMap, BTreeSet};

use phial_testkit::fixture::{
    self, BY_ENCOUNTER, BY_TEAM, CONDITIONS, NOTE, OBSERVATIONS, UNTIED, id,
};
use phial_testkit::refusal::is_documented;
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, face, findings, pause};

/// The clinic with somebody who may export.
fn world() -> World {
    let mut world = clinic();
    world.user("exa", "export-client", None);
    world.user("olaf", "operator", None);
    world
}

fn ask(server: &Server, role: &str, path: &str) -> Answer {
    let answer = send(server.request(role, Method::GET, path).header("prefer", "respond-async"));
    is_documented(&answer);
    answer
}

/// The URL of the status.
fn kicked(answer: Answer) -> String {
    answer.expect(202).header("content-location").to_owned()
}

/// Asks for the status until it is other than "going on".
fn settled(server: &Server, role: &str, status: &str) -> Answer {
    loop {
        let answer = server.get(role, status);
        if answer.status != 202 {
            return answer;
        }
        assert!(!answer.header("x-progress").is_empty());
        assert!(!answer.header("retry-after").is_empty());
        pause();
    }
}

/// The manifest of a finished export.
pub(crate) fn exported(server: &Server, role: &str, path: &str) -> Value {
    let status = kicked(ask(server, role, path));
    let done = settled(server, role, &status).expect(200);
    assert!(done.header("expires").ends_with("GMT"));
    let manifest = done.json();
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!(manifest["error"], json!([]));
    assert!(manifest["request"].as_str().unwrap().contains("$export"));
    manifest
}

/// All lines of a manifest's files, by type; counts are held against them.
pub(crate) fn lines(server: &Server, role: &str, files: &Value) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for file in files.as_array().unwrap() {
        let answer = server.get(role, file["url"].as_str().unwrap()).expect(200);
        assert_eq!(answer.header("content-type"), "application/fhir+ndjson");
        let text = answer.text();
        assert!(text.ends_with('\n'));
        let found: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(file["count"], found.len());
        for r in &found {
            assert_eq!(r["resourceType"], file["type"]);
        }
        all.entry(file["type"].as_str().unwrap().to_owned()).or_default().extend(found);
    }
    all
}

pub(crate) fn names(all: &BTreeMap<String, Vec<Value>>) -> BTreeSet<String> {
    all.iter()
        .flat_map(|(ty, rs)| rs.iter().map(move |r| format!("{ty}/{}", r["id"].as_str().unwrap())))
        .collect()
}

#[test]
fn the_whole_system_goes_out_as_far_as_the_role_sees_it() {
    let world = world();
    let server = world.serve();
    for role in ["export-client", "privacy-officer"] {
        let manifest = exported(&server, role, "$export");
        let all = lines(&server, role, &manifest["output"]);
        let people = fixture::PEOPLE.len();
        assert_eq!(all["Patient"].len(), people);
        assert_eq!(all["Observation"].len(), people * OBSERVATIONS);
        assert_eq!(all["Practitioner"].len(), 2);
        // The labelled ones are absent, for both: what is specially protected does not
        // go out in bulk.
        assert_eq!(all["Condition"].len(), people * CONDITIONS);
        let text = serde_json::to_string(&all).unwrap();
        assert!(!text.contains(fixture::DISPLAYS[2]));
        let whole = role == "privacy-officer";
        assert_eq!(text.contains(NOTE), whole);
        assert_eq!(text.contains(BY_TEAM.ssn), whole);
        assert!(text.contains(BY_TEAM.family));
        assert_eq!(text.contains("SUBSETTED"), !whole);
        if whole {
            let first = &all["Patient"][0];
            let read = server.get(role, &format!("Patient/{}", first["id"].as_str().unwrap()));
            assert_eq!(read.expect(200).json(), *first);
        }
    }
}

#[test]
fn who_may_not_export_is_told_so_and_nothing_else() {
    let world = world();
    let server = world.serve();
    for role in ["physician", "nurse", "billing", "front-desk", "auditor", "import-client"] {
        for path in ["$export", "Patient/$export", "Group/absent/$export", "$export?_type=x"] {
            let _ = ask(&server, role, path).expect(403);
        }
    }
    let _ = server.get("export-client", "$export").expect(400);
    for bad in [
        "_type=Nothing",
        "_since=2024-01-01",
        "_since=x",
        "_outputFormat=csv",
        "_until=x",
        "_typeFilter=code",
        "_typeFilter=Observation?nonsense=1",
        "_elements=Patient.nonsense",
        "_type=Patient&_typeFilter=Observation?status=final",
        "patient=Patient/1",
    ] {
        let _ = ask(&server, "export-client", &format!("$export?{bad}")).expect(400);
    }
    // What the role never sees it may not filter by; a name does not belong into a URL.
    let _ = ask(&server, "export-client", "$export?_typeFilter=Patient?family=x").expect(400);
    let text = "$export?_typeFilter=DocumentReference?description=x";
    assert!([400, 403].contains(&ask(&server, "export-client", text).status));
    let _ = ask(&server, "export-client", "Group/absent/$export").expect(404);
    // Unknown parameters are ignored by those who ask for that.
    let lenient = server.request("export-client", Method::GET, "$export?_until=x&_type=Group");
    let _ = send(lenient.header("prefer", "respond-async, handling=lenient")).expect(202);
}

#[test]
fn an_export_is_its_owners_alone() {
    let mut world = world();
    world.user("exo", "export-client", None);
    let other = world.issue("exa");
    let server = world.serve();
    let status = kicked(ask(&server, "export-client", "$export?_type=Patient"));
    let done = settled(&server, "export-client", &status).expect(200);
    let file = done.json()["output"][0]["url"].as_str().unwrap().to_owned();
    let nobodys = format!("{}/$job/{}", server.base(), "0".repeat(32));
    let as_other =
        |url: &str, method: Method| send(server.client().request(method, url).bearer_auth(&other));
    for method in [Method::GET, Method::DELETE] {
        let absent = as_other(&nobodys, method.clone());
        assert_eq!(face(&as_other(&status, method.clone())), face(&absent));
    }
    let absent = as_other(&format!("{nobodys}/0"), Method::GET);
    assert_eq!(face(&as_other(&file, Method::GET)), face(&absent));
    let _ = server.get("privacy-officer", &file).expect(404);
    let _ = server.get("export-client", &file).expect(200);
    let _ = server.get("export-client", &format!("{status}/9")).expect(404);
    let _ = send(server.client().get(&file)).expect(401);
}

#[test]
fn every_record_that_goes_out_is_named_with_its_patient() {
    let world = world();
    let server = world.serve();
    let manifest = exported(&server, "export-client", "$export");
    let all = lines(&server, "export-client", &manifest["output"]);
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "2000"]);
    let log: Vec<&Value> = log.as_array().unwrap().iter().collect();
    let of = |operation: &str| -> Vec<&Value> {
        log.iter()
            .copied()
            .filter(|e| e["kind"] == "export" && e["detail"]["operation"] == operation)
            .collect()
    };
    let mut told = BTreeSet::new();
    let mut patients = BTreeSet::new();
    for e in of("export") {
        assert_eq!(e["who"]["user"], "exa");
        assert_eq!(e["surface"], "job");
        assert_eq!(e["purpose"], "HOPERAT");
        for t in e["what"].as_array().unwrap() {
            told.insert(format!(
                "{}/{}",
                t["resource_type"].as_str().unwrap(),
                t["id"].as_str().unwrap()
            ));
            assert!(!t["classes_given"].to_string().contains("notes"), "{t}");
        }
        for p in e["patients"].as_array().into_iter().flatten() {
            patients.insert(p["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(told, names(&all));
    let expected: BTreeSet<String> = fixture::PEOPLE.iter().map(|p| p.id.to_owned()).collect();
    assert_eq!(patients, expected);
    // Each file that was taken is written down, too.
    let taken = of("export-file");
    assert_eq!(taken.len(), manifest["output"].as_array().unwrap().len());
    for e in taken {
        assert_eq!(e["surface"], "fhir");
        assert!(e["detail"]["file_hash"].as_str().unwrap().len() == 64);
    }
    let jobs: Vec<String> = log
        .iter()
        .filter(|e| e["kind"] == "job")
        .map(|e| e["detail"]["value"].as_str().unwrap().to_owned())
        .collect();
    assert!(jobs.contains(&"waiting".to_owned()) && jobs.contains(&"done".to_owned()), "{jobs:?}");
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_is_asked_for_narrows_it() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let all = |path: &str| {
        let manifest = exported(&server, role, path);
        (lines(&server, role, &manifest["output"]), manifest)
    };
    let (two, _) = all("$export?_type=Patient,Claim&_outputFormat=application/fhir%2Bndjson");
    assert_eq!(two.keys().collect::<Vec<_>>(), ["Claim", "Patient"]);
    // Of patients there is no directory.
    let (patients, _) = all("Patient/$export");
    assert!(!patients.contains_key("Practitioner") && !patients.contains_key("Organization"));
    assert_eq!(patients["Patient"].len(), fixture::PEOPLE.len());
    // Filters of a type are alternatives; other types are whole.
    let (filtered, _) = all("$export?_type=Observation,Condition&_typeFilter=\
         Observation?date=lt2024-02-01,Observation?date=ge2024-12-01");
    assert_eq!(filtered["Observation"].len(), 2 * fixture::PEOPLE.len());
    assert_eq!(filtered["Condition"].len(), CONDITIONS * fixture::PEOPLE.len());
    let (elements, _) = all("$export?_type=Patient,Observation&_elements=Patient.gender");
    let patient = elements["Patient"][0].as_object().unwrap();
    assert!(patient.contains_key("gender") && !patient.contains_key("name"), "{patient:?}");
    assert!(elements["Observation"][0].get("valueQuantity").is_some());
    // By POST the same.
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "_type", "valueString": "Observation"},
        {"name": "patient", "valueReference": {"reference": format!("Patient/{}", BY_TEAM.id)}},
        {"name": "_typeFilter", "valueString": "Observation?date=lt2024-02-01"}]});
    let request = server.request(role, Method::POST, "Patient/$export");
    let status = kicked(send(fhir(request, &body).header("prefer", "respond-async")));
    let manifest = settled(&server, role, &status).expect(200).json();
    let one = lines(&server, role, &manifest["output"]);
    assert_eq!(names(&one), BTreeSet::from([format!("Observation/{}", id("obs", BY_TEAM, 0))]));
}

#[test]
fn provenances_go_with_their_records_when_asked() {
    let world = world();
    let server = world.serve();
    let role = "privacy-officer";
    let provenance = |name: &str, target: &str, recorded: &str| {
        let p = json!({"resourceType": "Provenance", "id": name, "recorded": recorded,
            "target": [{"reference": target}], "agent": [{"who": {"display": "x"}}]});
        let _ = server.put("import-client", &p).expect(201);
    };
    let observation = format!("Observation/{}", id("obs", BY_TEAM, 0));
    let condition = format!("Condition/{}", id("cond", BY_TEAM, 0));
    provenance("first", &observation, "2024-01-01T00:00:00Z");
    // Written later, and about earlier.
    provenance("last", &observation, "2024-03-01T00:00:00Z");
    provenance("middle", &observation, "2024-02-01T00:00:00Z");
    provenance("other", &condition, "2024-01-01T00:00:00Z");
    provenance("nobodys", "Device/elsewhere", "2024-01-01T00:00:00Z");
    let found = |query: &str| -> Vec<String> {
        let manifest = exported(&server, role, &format!("$export{query}"));
        let all = lines(&server, role, &manifest["output"]);
        let of = all.get("Provenance").into_iter().flatten();
        let mut ids: Vec<String> = of.map(|p| p["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let with = |query: &str, which: &str| {
        found(&format!("?{query}includeAssociatedData={which}ProvenanceResources"))
    };
    assert_eq!(found("?_type=Observation"), [""; 0]);
    assert_eq!(found("").len(), 5);
    assert_eq!(with("_type=Observation&", "Relevant"), ["first", "last", "middle"]);
    assert_eq!(with("_type=Observation&", "Latest"), ["last"]);
    assert_eq!(with("_type=Observation,Provenance&", "Latest"), ["last"]);
    let both = "_type=Observation&includeAssociatedData=LatestProvenanceResources&";
    assert_eq!(with(both, "Relevant"), ["first", "last", "middle"]);
    assert_eq!(with("", "Relevant"), ["first", "last", "middle", "other"]);
    // What a filter leaves out takes its Provenances with it.
    let late = "_type=Observation&_typeFilter=Observation?date=ge2024-06-01&";
    assert_eq!(with(late, "Relevant"), [""; 0]);
    // Of what a role does not see it gets none.
    let manifest = exported(
        &server,
        "export-client",
        "$export?_type=Condition&includeAssociatedData=RelevantProvenanceResources",
    );
    let all = lines(&server, "export-client", &manifest["output"]);
    assert!(all["Condition"].len() > 1);
    let _ = ask(&server, role, "$export?includeAssociatedData=_mine").expect(400);
    let lenient = server.request(role, Method::GET, "$export?includeAssociatedData=_mine");
    let _ = send(lenient.header("prefer", "respond-async, handling=lenient")).expect(202);
}

#[test]
fn filters_know_value_sets() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let count = |filter: &str| {
        let path = format!("$export?_type=Observation&_typeFilter=Observation?{filter}");
        let manifest = exported(&server, role, &path);
        let all = lines(&server, role, &manifest["output"]);
        all.get("Observation").map_or(0, Vec::len)
    };
    let all = fixture::PEOPLE.len() * OBSERVATIONS;
    let set = "http://hl7.org/fhir/ValueSet/observation-status";
    assert_eq!(count(&format!("status:in={set}")), all);
    assert_eq!(count(&format!("status:not-in={set}")), 0);
    assert_eq!(count("status:in=http://hl7.org/fhir/ValueSet/administrative-gender"), 0);
    // One that is not held is no empty one.
    let unknown = "$export?_typeFilter=Observation?code:in=http://a.example/ValueSet/none";
    let _ = ask(&server, role, unknown).expect(400);
}

#[test]
fn an_exported_binary_says_that_its_content_is_left_out() {
    let world = world();
    let server = world.serve();
    let sent = crate::attachments::content(70_000);
    let context = crate::attachments::context(BY_TEAM);
    let upload = crate::attachments::upload(&server, "physician", Some(&context), "a/b", &sent);
    let path = crate::attachments::path_of(&upload.expect(201));
    let inline = json!({"resourceType": "Binary", "id": "inline", "contentType": "a/b",
        "data": "YWJj", "securityContext": {"reference": context}});
    let _ = server.put("import-client", &inline).expect(201);
    let manifest = exported(&server, "privacy-officer", "$export?_type=Binary");
    let all = lines(&server, "privacy-officer", &manifest["output"]);
    let of = |id: &str| all["Binary"].iter().find(|b| b["id"] == id).unwrap();
    let uploaded = of(path.trim_start_matches("Binary/"));
    assert_eq!((&uploaded["data"], &uploaded["contentType"]), (&Value::Null, &json!("a/b")));
    assert_eq!(uploaded["meta"]["tag"][0]["code"], "SUBSETTED");
    assert_eq!(
        (&of("inline")["data"], &of("inline")["meta"]["tag"]),
        (&json!("YWJj"), &Value::Null)
    );
}

#[test]
fn since_gives_what_changed_and_says_what_was_deleted() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let first = exported(&server, role, "$export");
    let before = first["transactionTime"].as_str().unwrap().to_owned();
    let mut o = fixture::observation(BY_TEAM, 3);
    o["status"] = json!("amended");
    let _ = server.put("physician", &o).expect(200);
    let gone = format!("Observation/{}", id("obs", BY_TEAM, 4));
    let _ = server.delete("physician", &gone).expect(204);
    let hidden = format!("Condition/{}", id("cond", BY_TEAM, 2));
    let _ = server.delete("field-clinician", &hidden);
    let manifest = exported(&server, role, &format!("$export?_since={before}"));
    let changed = lines(&server, role, &manifest["output"]);
    assert_eq!(names(&changed), BTreeSet::from([format!("Observation/{}", id("obs", BY_TEAM, 3))]));
    let deleted = lines(&server, role, &manifest["deleted"]);
    let request = &deleted["Bundle"][0]["entry"][0]["request"];
    assert_eq!(request, &json!({"method": "DELETE", "url": gone}));
    assert_eq!(deleted["Bundle"].len(), 1, "a labelled one is not told of");
    // Without it nothing is said of deletions.
    assert_eq!(exported(&server, role, "$export")["deleted"], json!([]));
}

#[test]
fn a_groups_members_decide_what_goes_out_of_it() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let member =
        |p: &fixture::Person| json!({"entity": {"reference": format!("Patient/{}", p.id)}});
    let mut left = member(BY_ENCOUNTER);
    left["inactive"] = json!(true);
    let group = json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true,
        "member": [member(BY_TEAM), left, member(UNTIED)]});
    let _ = server.put("import-client", &group).expect(201);
    let manifest = exported(&server, role, "Group/g/$export");
    let all = lines(&server, role, &manifest["output"]);
    let ids: BTreeSet<&str> = all["Patient"].iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from([BY_TEAM.id, UNTIED.id]));
    assert_eq!(all["Observation"].len(), 2 * OBSERVATIONS);
    // The Group itself is about its members, and names who left it.
    let others: Vec<_> = all.iter().filter(|(ty, _)| *ty != "Group").collect();
    assert!(!serde_json::to_string(&others).unwrap().contains(BY_ENCOUNTER.id));
    // A Group that the role may not see is none.
    let mut hidden = group.clone();
    hidden["meta"] = json!({"security": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]});
    let _ = server.put("import-client", &hidden).expect(200);
    let _ = ask(&server, role, "Group/g/$export").expect(404);
}

#[test]
fn deleting_ends_it_and_destroys_its_files() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let jobs = world.home().join("data/default/jobs");
    let status = kicked(ask(&server, role, "$export"));
    let done = settled(&server, role, &status).expect(200);
    let file = done.json()["output"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(&jobs).unwrap().count(), 1);
    let _ = server.delete(role, &status).expect(202);
    let _ = server.get(role, &status).expect(404);
    let _ = server.get(role, &file).expect(404);
    let _ = server.delete(role, &status).expect(404);
    while std::fs::read_dir(&jobs).unwrap().count() > 0 {
        pause();
    }
    // An operator sees that there was one, and nothing of what it was about.
    let listed = world.ok(&["job", "list"]);
    assert_eq!(listed[0]["state"], "cancelled");
    assert_eq!(listed[0]["owner"], "exa");
    let text = listed.to_string();
    assert!(!text.contains("Patient") && !text.contains("request"), "{text}");
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(world.ok(&["job", "show", id])["kind"], "export");
    assert_eq!(world.ok(&["job", "cancel", id])["state"], "cancelled");
    assert_ne!(world.run(&["job", "show", "absent"]).code, Some(0));
}

#[test]
fn an_operator_ends_a_job_beside_the_running_server() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let status = kicked(ask(&server, role, "$export"));
    let _ = settled(&server, role, &status).expect(200);
    let id = status.rsplit('/').next().unwrap().to_owned();
    assert_eq!(world.ok(&["job", "cancel", &id])["state"], "cancelled");
    let _ = server.get(role, &status).expect(404);
    let jobs = world.home().join("data/default/jobs");
    while std::fs::read_dir(&jobs).unwrap().count() > 0 {
        pause();
    }
}

#[test]
fn a_suspended_owner_gets_nothing_more_and_the_job_stops() {
    let world = world();
    let server = world.serve();
    let role = "export-client";
    let status = kicked(ask(&server, role, "$export"));
    let done = settled(&server, role, &status).expect(200);
    let file = done.json()["output"][0]["url"].as_str().unwrap().to_owned();
    let _ = world.ok(&["user", "suspend", "exa"]);
    let _ = server.get(role, &file).expect(401);
    let _ = server.get(role, &status).expect(401);
    let _ = server.stop().expect(0);
    // One that is under way when its owner is suspended does no further step.
    let (world, id) = interrupted("$export");
    let _ = world.ok(&["user", "suspend", "exa"]);
    let server = world.serve();
    while world.ok(&["job", "show", &id])["state"] != "stopped" {
        pause();
    }
    let jobs = world.home().join("data/default/jobs");
    while jobs.exists() && std::fs::read_dir(&jobs).unwrap().count() > 0 {
        pause();
    }
    let _ = server.stop().expect(0);
}

/// A world whose server was killed while an export was under way, and the export's id.
fn interrupted(path: &str) -> (World, String) {
    for _ in 0..20 {
        let world = world();
        let server = world.serve();
        let status = kicked(ask(&server, "export-client", path));
        let _ = server.kill();
        let id = status.rsplit('/').next().unwrap().to_owned();
        let state = world.ok(&["job", "show", &id])["state"].clone();
        if state == "waiting" || state == "running" {
            return (world, id);
        }
    }
    panic!("every export was done before the server could be killed");
}

#[test]
fn a_restart_takes_an_export_up_and_nothing_is_lost_or_doubled() {
    let (world, id) = interrupted("$export");
    let server = world.serve();
    let role = "export-client";
    let done = settled(&server, role, &format!("$job/{id}")).expect(200);
    let all = lines(&server, role, &done.json()["output"]);
    let count: usize = all.values().map(Vec::len).sum();
    assert_eq!(names(&all).len(), count, "none twice");
    let fresh = exported(&server, role, "$export");
    assert_eq!(names(&all), names(&lines(&server, role, &fresh["output"])));
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn files_are_sealed_and_die_with_a_forgotten_patient() {
    let world = world();
    let role = "export-client";
    let server = world.serve();
    let status = kicked(ask(&server, role, "$export"));
    let _ = settled(&server, role, &status).expect(200);
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "patient", "valueReference": {"reference": format!("Patient/{}", UNTIED.id)}}]});
    let request = server.request(role, Method::POST, "Patient/$export");
    let others = kicked(send(fhir(request, &body).header("prefer", "respond-async")));
    let _ = settled(&server, role, &others).expect(200);
    let _ = server.stop().expect(0);
    let scanner = phial_testkit::canary::Scanner::new(&fixture::needles()).unwrap();
    let report = scanner.scan(&[world.home()]).unwrap();
    assert!(report.is_clean(), "{report}");
    let earlier = world.dir().join("earlier");
    world.copy_home(&earlier);
    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    // Its files are gone, and what is put back of them opens for nobody.
    let id = status.rsplit('/').next().unwrap();
    let dir = format!("data/default/jobs/{id}");
    assert!(!world.home().join(&dir).exists());
    phial_testkit::world::copy_dir(&earlier.join(&dir), &world.home().join(&dir));
    let server = world.serve();
    let _ = server.get(role, &format!("$job/{id}")).expect(410);
    let _ = server.get(role, &format!("$job/{id}/0")).expect(404);
    // An export that could not hold the patient is as it was.
    let others = others.rsplit('/').next().unwrap();
    let manifest = server.get(role, &format!("$job/{others}")).expect(200).json();
    let kept = lines(&server, role, &manifest["output"]);
    assert_eq!(kept["Patient"].len(), 1);
    let manifest = exported(&server, role, "$export");
    let all = lines(&server, role, &manifest["output"]);
    assert_eq!(all["Patient"].len(), fixture::PEOPLE.len() - 1);
    assert!(!serde_json::to_string(&all).unwrap().contains(BY_TEAM.id));
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn a_label_put_on_while_an_export_is_under_way_keeps_the_record_in() {
    let (world, id) = interrupted("$export?_type=Condition");
    let mut c = fixture::condition(BY_TEAM, 0);
    c["meta"] = json!({"security": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]});
    let file = world.dir().join("labelled.ndjson");
    std::fs::write(&file, c.to_string()).unwrap();
    let _ = world.ok(&["import", file.to_str().unwrap()]);
    let server = world.serve();
    let role = "export-client";
    let done = settled(&server, role, &format!("$job/{id}")).expect(200);
    let file = done.json()["output"][0]["url"].as_str().unwrap().to_owned();
    let text = server.get(role, &file).expect(200).text();
    assert_eq!(text.lines().count(), fixture::PEOPLE.len() * CONDITIONS - 1);
    assert!(!text.contains(&id_of(&c)), "the version before the label is hidden by it, too");
}

fn id_of(r: &Value) -> String {
    r["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_file_of_many_pieces_arrives_whole_and_each_piece_is_written_down() {
    let world = world();
    // 12 MiB of text that does not pack: three pieces, more or less.
    let mut state = 7u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{state:016x}")
    };
    let lines: Vec<String> = (0..300)
        .map(|n| {
            let text: String = (0..2_600).map(|_| word()).collect();
            json!({"resourceType": "Communication", "id": format!("long-{n}"),
                "status": "completed", "payload": [{"contentString": text}]})
            .to_string()
        })
        .collect();
    let file = world.dir().join("long.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let _ = world.ok(&["import", file.to_str().unwrap()]);
    let server = world.serve();
    let role = "privacy-officer";
    let manifest = exported(&server, role, "$export?_type=Communication");
    let all = communications(&server, role, &manifest);
    assert_eq!(all.len(), 300);
    for (line, sent) in all.iter().zip(&lines) {
        let sent: Value = serde_json::from_str(sent).unwrap();
        assert_eq!(line["id"], sent["id"]);
        assert_eq!(line["payload"], sent["payload"]);
    }
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "200"]);
    let pieces: BTreeSet<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["detail"]["operation"] == "export-file")
        .map(|e| e["detail"]["value"].as_str().unwrap())
        .collect();
    assert!(pieces.len() >= 3, "{pieces:?}");
}

fn communications(server: &Server, role: &str, manifest: &Value) -> Vec<Value> {
    let mut all = lines(server, role, &manifest["output"]);
    all.remove("Communication").unwrap()
}

#[test]
fn an_export_without_room_waits_and_writes_nothing_down() {
    let world = world();
    let spare = |mib: u64| {
        let toml = format!("[jobs]\nspare_mib = {mib}\n");
        std::fs::write(world.home().join("phial.toml"), toml).unwrap();
    };
    // More than any disk has.
    spare(1 << 40);
    let server = world.serve();
    let status = kicked(ask(&server, "export-client", "$export"));
    // It was begun, and tried: the job's start is written down, and nothing of a record.
    let path = status.split("/fhir/").nth(1).unwrap().to_owned();
    while world.ok(&["job", "list"])[0]["state"] != "running" {
        pause();
    }
    for _ in 0..5 {
        let going = server.get("export-client", &status).expect(202);
        assert_eq!(going.header("x-progress"), "0 records");
        pause();
    }
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let of = |kind: &str| log.as_array().unwrap().iter().filter(|e| e["kind"] == kind).count();
    assert_eq!(of("export"), 0, "{log}");
    assert!(of("job") > 0, "{log}");
    // With room it goes on.
    spare(0);
    let server = world.serve();
    let done = settled(&server, "export-client", &path).expect(200).json();
    assert!(!done["output"].as_array().unwrap().is_empty());
}
