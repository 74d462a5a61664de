//! Who sees which records, and that the others look absent in every way.

use std::collections::BTreeSet;

use phial_testkit::fixture::{self, BY_TEAM, CONDITIONS, OBSERVATIONS, TIED, UNTIED, id};
use phial_testkit::world::{Server, fhir, send};
use reqwest::Method;
use serde_json::json;

use crate::clinic::{clinic, face, outcome};

/// Both paths give the same answer, but for the request's number.
fn alike(server: &Server, role: &str, method: Method, denied: &str, absent: &str, status: u16) {
    let ask = |path: &str| {
        let (ty, id) = path.split_once('/').unwrap();
        let body = json!({"resourceType": ty, "id": id, "status": "final", "code": {"text": "x"}});
        let request = server.request(role, method.clone(), path);
        send(if method == Method::PUT { fhir(request, &body) } else { request })
    };
    let (a, b) = (ask(denied), ask(absent));
    assert_eq!(a.status, status, "{role} {method} {denied}: {}", a.text());
    assert_eq!(face(&a), face(&b), "{role} {method} {denied}");
}

#[test]
fn a_field_clinician_sees_assigned_patients_alone() {
    let world = clinic();
    let server = world.serve();
    let role = "field-clinician";
    let tied: BTreeSet<String> = TIED.iter().map(|p| p.id.to_owned()).collect();
    let found = server.search(role, "Patient", "").expect(200);
    assert_eq!(found.ids("match").into_iter().collect::<BTreeSet<_>>(), tied);
    assert_eq!(found.json()["total"], 4);
    for p in TIED {
        for path in [format!("Patient/{}", p.id), format!("Condition/{}", id("cond", p, 2))] {
            let _ = server.get(role, &path).expect(200);
        }
    }
    for (ty, of_each) in [
        ("Observation", OBSERVATIONS),
        ("Condition", CONDITIONS + 1),
        ("Encounter", 1),
        ("CareTeam", 1),
        ("Appointment", 1),
    ] {
        assert_eq!(server.count(role, ty, ""), 4 * of_each as u64, "{ty}");
        assert_eq!(server.count(role, ty, &format!("_id={}", id("obs", UNTIED, 0))), 0);
        let about = if ty == "Appointment" { "actor" } else { "patient" };
        let query = format!("{about}=Patient/{}", UNTIED.id);
        assert_eq!(server.count(role, ty, &query), 0, "{ty}");
        let hidden = server.search(role, ty, &query).expect(200);
        // An id of the same length: even the answer's size tells nothing.
        let absent = format!("{about}=Patient/{}", UNTIED.id.replace('0', "f"));
        let absent = server.search(role, ty, &absent).expect(200);
        assert_eq!(hidden.json()["total"], 0);
        assert_eq!(hidden.body.len(), absent.body.len(), "{ty}");
        assert_eq!(hidden.ids("match"), absent.ids("match"));
    }
    let compartment = server.get(role, &format!("Patient/{}/Observation", UNTIED.id)).expect(200);
    assert_eq!(compartment.json()["total"], 0);
    // The directory is open to all.
    assert_eq!(server.count(role, "Practitioner", ""), 2);
}

#[test]
fn a_tie_that_ends_takes_the_patient_away_and_a_new_one_gives() {
    let world = clinic();
    let server = world.serve();
    let role = "field-clinician";
    let patient = format!("Patient/{}", BY_TEAM.id);
    let _ = server.get(role, &patient).expect(200);
    let mut team = fixture::others(BY_TEAM).remove(0);
    team["status"] = json!("inactive");
    let _ = server.put("import-client", &team).expect(200);
    let _ = server.get(role, &patient).expect(404);
    assert_eq!(server.count(role, "Patient", ""), 3);
    let mut team = fixture::others(UNTIED).remove(0);
    team["participant"] = json!([{"member": {"reference":
        format!("Practitioner/{}", fixture::FIELD_PRACTITIONER)}}]);
    let _ = server.put("import-client", &team).expect(200);
    let _ = server.get(role, &format!("Patient/{}", UNTIED.id)).expect(200);
    assert_eq!(server.count(role, "Patient", ""), 4);
}

#[test]
fn denied_and_absent_are_answered_alike() {
    let world = clinic();
    let server = world.serve();
    let hidden = format!("Observation/{}", id("obs", UNTIED, 3));
    let labelled = format!("Condition/{}", id("cond", UNTIED, 2));
    for (role, denied, absent) in [
        ("field-clinician", hidden.as_str(), "Observation/absent"),
        ("physician", &labelled, "Condition/absent"),
        ("nurse", &labelled, "Condition/absent"),
        ("billing", &labelled, "Condition/absent"),
        ("billing", &hidden, "Observation/absent"),
        ("front-desk", &labelled, "Condition/absent"),
        ("front-desk", &hidden, "Observation/absent"),
        ("auditor", &hidden, "Observation/absent"),
    ] {
        alike(&server, role, Method::GET, denied, absent, 404);
        alike(&server, role, Method::HEAD, denied, absent, 404);
        alike(&server, role, Method::PUT, denied, absent, 404);
        alike(&server, role, Method::DELETE, denied, absent, 404);
        let version = |path: &str| format!("{path}/_history/1");
        let (a, b) = (server.get(role, &version(denied)), server.get(role, &version(absent)));
        assert_eq!(face(&a), face(&b), "{role} vread");
        assert_eq!(a.status, 404);
    }
    // They are there all the same.
    let _ = server.get("physician", &hidden).expect(200);
    let _ = server.get("privacy-officer", &labelled).expect(200);
}

#[test]
fn conditional_writes_tell_nothing_of_hidden_records() {
    let world = clinic();
    let server = world.serve();
    let role = "field-clinician";
    let write = |id: &str, header: &'static str, value: &str| {
        let mut o = fixture::observation(UNTIED, 3);
        o["id"] = json!(id);
        send(server.put_request(role, &o).header(header, value))
    };
    let hidden = id("obs", UNTIED, 3);
    for (header, value) in
        [("if-match", "W/\"1\""), ("if-match", "W/\"2\""), ("if-none-match", "*"), ("prefer", "x")]
    {
        let (a, b) = (write(&hidden, header, value), write("absent", header, value));
        assert_eq!(face(&a), face(&b), "{header}: {value}");
        assert_eq!(a.status, 404, "{}", a.text());
    }
    // Conditions on what exists need sight of every record of the type.
    let create = |role: &str, condition: String| {
        let request =
            server.request(role, Method::POST, "Condition").header("if-none-exist", condition);
        send(fhir(request, &fixture::condition(BY_TEAM, 0)))
    };
    for role in ["field-clinician", "physician"] {
        let hit = create(role, format!("patient=Patient/{}&code=86406008", UNTIED.id));
        let miss = create(role, "patient=Patient/absent&code=86406008".to_owned());
        assert_eq!(face(&hit), face(&miss), "{role}");
        assert_eq!(hit.status, 403, "{role}: {}", hit.text());
    }
    // A reference by search is the same question.
    let refer = |value: &str| {
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [{
            "resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                "subject": {"reference": format!("Patient?identifier={value}")}},
            "request": {"method": "POST", "url": "Observation"}}]});
        server.post(role, "", &bundle)
    };
    let (hit, miss) = (refer(UNTIED.mrn), refer("nobody"));
    assert_eq!(face(&hit), face(&miss));
    assert_eq!(hit.status, 403, "{}", hit.text());
    assert_eq!(server.count("physician", "Observation", ""), 5 * OBSERVATIONS as u64);
}

#[test]
fn labelled_records_are_hidden_counted_nowhere_and_leave_no_gap_in_pages() {
    let world = clinic();
    let server = world.serve();
    let plain = 5 * CONDITIONS as u64;
    for (role, seen) in [
        ("physician", plain),
        ("nurse", plain),
        ("billing", plain),
        ("front-desk", 0),
        ("auditor", 0),
        ("privacy-officer", plain + 5),
        ("import-client", plain + 5),
    ] {
        assert_eq!(server.count(role, "Condition", ""), seen, "{role}");
        if role == "front-desk" || role == "auditor" {
            continue;
        }
        assert_eq!(server.count(role, "Condition", "code=86406008"), seen - plain, "{role}");
        let mut page = server.search(role, "Condition", "_count=3").expect(200);
        let mut sizes = vec![page.ids("match").len() as u64];
        while let Some(next) = page.link("next") {
            page = server.get(role, &next).expect(200);
            sizes.push(page.ids("match").len() as u64);
        }
        let full = usize::try_from(seen / 3).unwrap();
        let mut expected = vec![3; full];
        if !seen.is_multiple_of(3) {
            expected.push(seen % 3);
        }
        assert_eq!(sizes, expected, "{role}");
    }
}

#[test]
fn an_unknown_label_hides_a_record_from_everyone() {
    let world = clinic();
    let server = world.serve();
    let mut c = fixture::condition(BY_TEAM, 0);
    c["id"] = json!("cond-strange");
    c["meta"] = json!({"security": [{"system": "urn:our-own", "code": "ULTRA"}]});
    let made = server.put("import-client", &c);
    for (_, role, _) in phial_testkit::world::PEOPLE {
        let _ = server.get(role, "Condition/cond-strange").expect(404);
        if !["front-desk", "auditor"].contains(&role) {
            assert_eq!(server.count(role, "Condition", "_id=cond-strange"), 0, "{role}");
        }
    }
    assert_eq!(made.status, 403, "{}", made.text());
}

#[test]
fn an_include_does_not_reveal_what_is_hidden() {
    let world = clinic();
    let server = world.serve();
    let encounter = json!({"resourceType": "Encounter", "id": "enc-secret", "status": "finished",
        "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "PSY"}]},
        "class": {"code": "AMB"}, "subject": {"reference": format!("Patient/{}", UNTIED.id)}});
    let _ = server.put("import-client", &encounter).expect(201);
    let mut o = fixture::observation(UNTIED, 0);
    o["id"] = json!("obs-pointing");
    o["encounter"]["reference"] = json!("Encounter/enc-secret");
    let _ = server.put("import-client", &o).expect(201);
    let query = "_id=obs-pointing&_include=Observation:encounter";
    let as_officer = server.search("privacy-officer", "Observation", query).expect(200);
    assert_eq!(as_officer.ids("include"), ["enc-secret"]);
    let hidden = server.search("physician", "Observation", query).expect(200);
    assert_eq!(hidden.ids("match"), ["obs-pointing"]);
    assert!(hidden.ids("include").is_empty());
    assert_eq!(hidden.json()["total"], 1);
}

#[test]
fn the_front_desk_has_appointments_and_nothing_clinical() {
    let world = clinic();
    let server = world.serve();
    let role = "front-desk";
    let patient = format!("patient=Patient/{}", BY_TEAM.id);
    let booked = server.search(role, "Appointment", &patient).expect(200);
    assert_eq!(booked.ids("match"), [id("appt", BY_TEAM, 0)]);
    assert!(!booked.text().contains(fixture::NOTE), "the comment of a booking is a note");
    for ty in ["Condition", "Observation", "Encounter", "CareTeam"] {
        let none = server.search(role, ty, &patient).expect(200);
        assert_eq!(none.json()["total"], 0, "{ty}");
        assert!(none.ids("match").is_empty());
        assert_eq!(server.count(role, ty, ""), 0, "{ty}");
    }
    for (ty, query) in [
        ("Condition", "code=44054006"),
        ("Condition", "code=never-stored"),
        ("Condition", "code:not=44054006"),
        ("Condition", "code:missing=true"),
        ("Condition", "clinical-status=active"),
        ("Condition", "_sort=onset-date"),
        ("Observation", "value-quantity=gt1"),
        ("Observation", "_sort=value-quantity"),
        ("Appointment", "reason-code=x"),
        ("Appointment", "_sort=reason-code"),
    ] {
        let refused = server.search(role, ty, query).expect(403);
        assert!(!refused.text().contains("44054006"), "{}", refused.text());
        assert_eq!(outcome(&refused)[0].0, "forbidden");
    }
    let _ = server.post(role, "Condition", &fixture::condition(BY_TEAM, 0)).expect(403);
    let mut visit = fixture::others(BY_TEAM).remove(2);
    visit.as_object_mut().unwrap().remove("id");
    visit.as_object_mut().unwrap().remove("comment");
    let _ = server.post(role, "Appointment", &visit).expect(201);
}

#[test]
fn an_auditor_sees_no_record_and_a_clinician_no_audit_log() {
    let world = clinic();
    let server = world.serve();
    for ty in ["Patient", "Condition", "Appointment", "Practitioner"] {
        assert_eq!(server.count("auditor", ty, ""), 0, "{ty}");
    }
    let _ = server.get("auditor", &format!("Patient/{}", BY_TEAM.id)).expect(404);
    let _ = world.run(&["audit", "tail", "--user", "aude"]).expect(0);
    let refused = world.run(&["audit", "tail", "--user", "ana"]).expect(1);
    assert!(!refused.out.contains("\"kind\""), "{}", refused.out);
    let tail = world.ok(&["audit", "tail", "-n", "3"]);
    let denied = tail.as_array().unwrap().iter().rev().find(|e| e["outcome"] == "denied").unwrap();
    assert_eq!(denied["who"]["user"], "ana", "the refusal is on record");
}

#[test]
fn a_label_set_later_hides_the_earlier_versions_too() {
    let world = clinic();
    let server = world.serve();
    let mut c = fixture::condition(UNTIED, 0);
    let path = format!("Condition/{}", id("cond", UNTIED, 0));
    let _ = server.get("physician", &format!("{path}/_history/1")).expect(200);
    c["meta"] = fixture::condition(UNTIED, 2)["meta"].clone();
    let _ = server.put("import-client", &c).expect(200);
    let _ = server.get("physician", &path).expect(404);
    let hidden = server.get("physician", &format!("{path}/_history/1"));
    let absent = server.get("physician", "Condition/absent/_history/1");
    assert_eq!(face(&hidden), face(&absent));
    let _ = server.get("privacy-officer", &format!("{path}/_history/1")).expect(200);
    let query = format!("patient={}", UNTIED.id);
    assert_eq!(server.count("physician", "Condition", &query), CONDITIONS as u64 - 1);
}

#[test]
fn a_label_set_between_two_pages_hides_the_record_from_the_second() {
    let world = clinic();
    let server = world.serve();
    let first = server.search("physician", "Condition", "_count=3").expect(200);
    let shown = first.ids("match");
    let mut hidden = Vec::new();
    for p in fixture::PEOPLE {
        let mut c = fixture::condition(p, 0);
        if !shown.contains(&id("cond", p, 0)) {
            c["meta"] = fixture::condition(p, 2)["meta"].clone();
            let _ = server.put("import-client", &c).expect(200);
            hidden.push(id("cond", p, 0));
        }
    }
    assert!(hidden.len() >= 2);
    let mut page = first;
    while let Some(next) = page.link("next") {
        page = server.get("physician", &next).expect(200);
        assert!(page.ids("match").iter().all(|i| !hidden.contains(i)), "{:?}", page.ids("match"));
    }
}

#[test]
fn a_record_is_not_moved_to_a_patient_whom_the_writer_does_not_see() {
    let world = clinic();
    let server = world.serve();
    let role = "field-clinician";
    let to = |patient: &str| {
        let mut o = fixture::observation(BY_TEAM, 0);
        o["subject"]["reference"] = json!(format!("Patient/{patient}"));
        let moved = server.put(role, &o);
        o.as_object_mut().unwrap().remove("id");
        (moved, server.post(role, "Observation", &o))
    };
    let (hidden, absent) = (to(UNTIED.id), to("absent"));
    assert_eq!(face(&hidden.0), face(&absent.0));
    assert_eq!(face(&hidden.1), face(&absent.1));
    assert_eq!((hidden.0.status, hidden.1.status), (403, 403), "{}", hidden.0.text());
    let own = to(BY_TEAM.id);
    assert_eq!((own.0.status, own.1.status), (200, 201), "{}", own.0.text());
}
