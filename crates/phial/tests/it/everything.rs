//! `$everything`: what a chart holds for whom, how it is paged, and what is written
//! down.

use std::collections::BTreeSet;

use phial_testkit::fixture::{
    self, BY_ENCOUNTER, BY_TEAM, CONDITIONS, NOTE, OBSERVATIONS, OTHER_PRACTITIONER, UNTIED, id,
};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, face, outcome};

fn named(answer: &Answer, mode: &str) -> BTreeSet<String> {
    let named = answer
        .entries(mode)
        .into_iter()
        .map(|r| format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap()));
    named.collect()
}

fn chart(p: &fixture::Person) -> BTreeSet<String> {
    let mut all = BTreeSet::from([format!("Patient/{}", p.id)]);
    for (kind, ty) in
        [("team", "CareTeam"), ("enc", "Encounter"), ("appt", "Appointment"), ("claim", "Claim")]
    {
        all.insert(format!("{ty}/{}", id(kind, p, 0)));
    }
    all.extend((0..=CONDITIONS).map(|n| format!("Condition/{}", id("cond", p, n))));
    all.extend((0..OBSERVATIONS).map(|n| format!("Observation/{}", id("obs", p, n))));
    all
}

fn path(p: &fixture::Person, query: &str) -> String {
    format!("Patient/{}/$everything{query}", p.id)
}

/// All pages, each looked at.
fn pages(server: &Server, role: &str, first: &str, each: &mut dyn FnMut(&Answer)) {
    let mut next = Some(first.to_owned());
    while let Some(url) = next {
        let page = server.get(role, &url).expect(200);
        each(&page);
        next = page.link("next");
    }
}

fn last_entry(world: &World) -> Value {
    let tail = world.ok(&["audit", "tail", "-n", "60"]);
    let found = tail.as_array().unwrap().iter().rev().find(|e| e["kind"] == "operation");
    found.unwrap_or_else(|| panic!("no operation in {tail}")).clone()
}

#[test]
fn a_chart_is_whole_and_only_that_patients() {
    let world = clinic();
    let server = world.serve();
    let all = server.get("privacy-officer", &path(BY_TEAM, "")).expect(200);
    assert_eq!(named(&all, "match"), chart(BY_TEAM));
    assert_eq!(all.entries("match")[0]["resourceType"], "Patient", "the patient comes first");
    let with = named(&all, "include");
    assert!(with.contains(&format!("Practitioner/{OTHER_PRACTITIONER}")), "{with:?}");
    assert!(with.contains("Organization/org-clinic"), "{with:?}");
    // Each record is what a search gives of it.
    for r in all.entries("match") {
        let (ty, id) = (r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
        let read = server.get("privacy-officer", &format!("{ty}/{id}")).expect(200);
        assert_eq!(read.json(), r);
    }
    // By POST it is the same.
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "_type", "valueCode": "Condition"}]});
    let posted = server.post("privacy-officer", &path(BY_TEAM, ""), &body).expect(200);
    assert_eq!(named(&posted, "match").len(), CONDITIONS + 1);
    assert!(named(&posted, "include").is_empty(), "_type is about what comes with them, too");
    let nothing = server.request("privacy-officer", Method::POST, &path(BY_TEAM, ""));
    assert_eq!(named(&send(nothing).expect(200), "match"), chart(BY_TEAM));
}

#[test]
fn a_record_about_two_patients_brings_no_other_patient() {
    let world = clinic();
    let server = world.serve();
    let both = json!({"resourceType": "Appointment", "id": "both", "status": "booked",
        "start": "2031-02-03T10:00:00Z", "end": "2031-02-03T10:20:00Z", "participant": [
            {"actor": {"reference": format!("Patient/{}", BY_TEAM.id)}, "status": "accepted"},
            {"actor": {"reference": format!("Patient/{}", UNTIED.id)}, "status": "accepted"}]});
    let _ = server.put("import-client", &both).expect(201);
    let all = server.get("privacy-officer", &path(BY_TEAM, "")).expect(200);
    assert!(named(&all, "match").contains("Appointment/both"));
    let with = named(&all, "include");
    assert!(!with.contains(&format!("Patient/{}", UNTIED.id)), "{with:?}");
}

#[test]
fn each_role_gets_what_it_would_find_by_searching() {
    let world = clinic();
    let server = world.serve();
    for role in ["physician", "nurse", "billing", "field-clinician", "front-desk"] {
        for p in [BY_TEAM, UNTIED] {
            let answer = server.get(role, &path(p, ""));
            let read = server.get(role, &format!("Patient/{}", p.id));
            assert_eq!(answer.status, read.status, "{role}");
            if answer.status != 200 {
                let absent = server.get(role, "Patient/absent/$everything");
                assert_eq!(face(&answer), face(&absent), "{role}: denied looks absent");
                continue;
            }
            let mut found = BTreeSet::new();
            for ty in [
                "Patient",
                "CareTeam",
                "Encounter",
                "Appointment",
                "Claim",
                "Condition",
                "Observation",
            ] {
                let search = server.get(role, &format!("Patient/{}/{ty}?_count=100", p.id));
                found.extend(named(&search.expect(200), "match"));
            }
            assert_eq!(named(&answer, "match"), found, "{role}");
            if role == "billing" {
                assert!(!answer.text().contains(NOTE), "billing reads no notes");
            }
        }
    }
    let _ = server.get("auditor", &path(BY_TEAM, "")).expect(404);
}

#[test]
fn what_is_asked_for_narrows_it() {
    let world = clinic();
    let server = world.serve();
    let role = "privacy-officer";
    let of = |query: &str| named(&server.get(role, &path(BY_TEAM, query)).expect(200), "match");
    let two = of("?_type=Observation,Condition");
    assert_eq!(two.len(), OBSERVATIONS + CONDITIONS + 1);
    // Observations of February and March, the encounter of January not; what bears no
    // date stays, and so does the patient.
    let spring = of("?start=2024-02-01&end=2024-03-31");
    let observations = spring.iter().filter(|n| n.starts_with("Observation/")).count();
    assert_eq!(observations, 2, "{spring:?}");
    assert!(!spring.contains(&format!("Encounter/{}", id("enc", BY_TEAM, 0))));
    assert!(spring.contains(&format!("CareTeam/{}", id("team", BY_TEAM, 0))), "{spring:?}");
    assert!(spring.contains(&format!("Patient/{}", BY_TEAM.id)));
    let condition = server.get(role, &format!("Condition/{}", id("cond", BY_TEAM, 0))).json();
    let mut changed = fixture::condition(BY_TEAM, 1);
    changed["note"][0]["text"] = json!("later");
    let written = server.put("import-client", &changed).expect(200);
    let since = written.json()["meta"]["lastUpdated"].as_str().unwrap().to_owned();
    assert_ne!(condition["meta"]["lastUpdated"], since.as_str());
    let later = of(&format!("?_since={since}"));
    assert_eq!(later, BTreeSet::from([format!("Condition/{}", id("cond", BY_TEAM, 1))]));
    for bad in ["?code=1", "?_type=Nothing", "?_since=yesterday", "?start=x", "?_count=0"] {
        let refused = server.get(role, &path(BY_TEAM, bad)).expect(400);
        assert_eq!(outcome(&refused).len(), 1, "{bad}");
    }
    let _ = server.get(role, "Practitioner/prac-field/$everything").expect(404);
}

#[test]
fn pages_are_of_one_moment_and_hold_each_record_once() {
    let world = clinic();
    let server = world.serve();
    let role = "privacy-officer";
    let mut seen: Vec<String> = Vec::new();
    let mut count = 0;
    pages(&server, role, &path(BY_TEAM, "?_count=3"), &mut |page| {
        let here = named(page, "match");
        assert!(here.len() <= 3);
        seen.extend(here);
        count += 1;
        // Written between two pages: on none of them.
        let mut o = fixture::observation(BY_TEAM, 0);
        o["id"] = json!(format!("later-{count}"));
        let _ = server.put("import-client", &o).expect(201);
    });
    assert!(count > 6);
    assert_eq!(seen.len(), chart(BY_TEAM).len(), "none twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), chart(BY_TEAM));
}

#[test]
fn a_page_is_nobody_elses_and_obeys_what_has_become_of_its_records() {
    let world = clinic();
    let server = world.serve();
    let first = server.get("physician", &path(BY_TEAM, "?_count=1")).expect(200);
    let next = first.link("next").unwrap();
    let _ = server.get("privacy-officer", &next).expect(400);
    // Of another patient, and as a token of a search, it is none.
    let token = next.split("_page=").nth(1).unwrap();
    let _ = server.get("physician", &path(UNTIED, &format!("?_page={token}"))).expect(400);
    let _ = server.get("physician", &format!("Condition?_page={token}")).expect(400);
    // A label set since hides what the snapshot still has.
    let labelled = |n: usize| {
        let mut c = fixture::condition(BY_TEAM, n);
        c["meta"] = json!({"security": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]});
        c
    };
    for n in 0..CONDITIONS {
        let _ = server.put("import-client", &labelled(n)).expect(200);
    }
    let mut seen = BTreeSet::new();
    pages(&server, "physician", &next, &mut |page| seen.extend(named(page, "match")));
    assert!(!seen.iter().any(|n| n.starts_with("Condition/")), "{seen:?}");
    assert!(seen.iter().any(|n| n.starts_with("Observation/")));
}

#[test]
fn the_audit_entry_names_every_record_and_the_patient() {
    let world = clinic();
    let server = world.serve();
    let answer = server.get("billing", &path(BY_TEAM, "")).expect(200);
    let given: BTreeSet<String> =
        named(&answer, "match").union(&named(&answer, "include")).cloned().collect();
    let entry = last_entry(&world);
    assert_eq!(entry["outcome"], "success");
    assert_eq!(entry["detail"]["operation"], "everything");
    let told = entry["what"].as_array().unwrap();
    assert_eq!(told.len(), given.len());
    let conditions: Vec<&Value> =
        told.iter().filter(|t| t["resource_type"] == "Condition").collect();
    assert!(!conditions.is_empty(), "{entry}");
    for t in conditions {
        assert!(t["classes_withheld"].to_string().contains("notes"), "{t}");
    }
    assert_eq!(entry["patients"].as_array().unwrap().len(), 1);
    let _ = server.get("field-clinician", &path(UNTIED, "")).expect(404);
    assert_eq!(last_entry(&world)["outcome"], "denied");
    let _ = server.get("physician", "Patient/absent/$everything").expect(404);
    assert_eq!(last_entry(&world)["outcome"], "not-found");
}

#[test]
fn an_encounter_brings_what_belongs_to_it_and_whose_it_is() {
    let world = clinic();
    let server = world.serve();
    let enc = |p| format!("Encounter/{}/$everything", id("enc", p, 0));
    let all = server.get("privacy-officer", &enc(BY_ENCOUNTER)).expect(200);
    let mut expected = BTreeSet::from([format!("Encounter/{}", id("enc", BY_ENCOUNTER, 0))]);
    let observations = (0..OBSERVATIONS).map(|n| id("obs", BY_ENCOUNTER, n));
    expected.extend(observations.map(|id| format!("Observation/{id}")));
    assert_eq!(named(&all, "match"), expected);
    assert!(named(&all, "include").contains(&format!("Patient/{}", BY_ENCOUNTER.id)));
    let _ = server.get("field-clinician", &enc(UNTIED)).expect(404);
    // Deleted is gone, for those who could have seen it.
    let (request, path) = (server.request("physician", Method::DELETE, ""), id("enc", UNTIED, 0));
    drop(request);
    let _ = server.delete("physician", &format!("Encounter/{path}")).expect(204);
    let _ = server.get("physician", &enc(UNTIED)).expect(410);
}

#[test]
fn a_body_that_is_no_parameters_is_refused() {
    let world = clinic();
    let server = world.serve();
    for body in [
        json!({"resourceType": "Patient"}),
        json!({"resourceType": "Parameters",
        "parameter": [{"name": "_count", "valueString": BY_TEAM.family}]}),
    ] {
        let request = server.request("physician", Method::POST, &path(BY_TEAM, ""));
        let refused = send(fhir(request, &body)).expect(400);
        assert!(!refused.text().contains(BY_TEAM.family));
    }
}
