//! Search over HTTP: parameters, sorting, including, paging, and identifiers in URLs.

use std::collections::BTreeSet;

use phial_testkit::fixture::{self, BY_GP, BY_TEAM, OBSERVATIONS, UNTIED, id};
use phial_testkit::world::send;
use reqwest::Method;
use serde_json::json;

use crate::clinic::{clinic, outcome};

#[test]
fn identifiers_of_people_do_not_pass_in_urls() {
    let world = clinic();
    let server = world.serve();
    for query in [
        format!("Patient?family={}", BY_TEAM.family),
        format!("Patient?name:exact={}", BY_TEAM.family),
        format!("Patient?birthdate={}", BY_TEAM.born),
        format!("Patient?identifier={}", BY_TEAM.mrn),
        format!("Patient?address={}", "17%20Marrowglen"),
        format!("Patient?phone={}", BY_TEAM.phone),
    ] {
        let answer = server.get("physician", &query).expect(400);
        let (_, _, text) = outcome(&answer).remove(0);
        assert!(text.contains("_search"), "{text}");
        let value = query.split('=').nth(1).unwrap();
        assert!(!answer.text().contains(value), "the answer repeats the identifier");
        let (ty, form) = query.split_once('?').unwrap();
        let found = server.search("physician", ty, form).expect(200);
        assert_eq!(found.ids("match").len(), 1, "{ty} {form}: {}", found.text());
    }
    let _ = server.get("physician", &format!("Condition?patient={}", BY_TEAM.id)).expect(200);
}

#[test]
fn parameters_find_what_they_say() {
    let world = clinic();
    let server = world.serve();
    let n = OBSERVATIONS as u64;
    let patient = format!("patient={}", BY_TEAM.id);
    for (ty, query, expected) in [
        ("Patient", String::new(), 5),
        ("Patient", "family=quandra".to_owned(), 1),
        ("Patient", "family:exact=quandrazel".to_owned(), 0),
        ("Patient", "family:exact=Quandrazel".to_owned(), 1),
        ("Patient", "birthdate=lt1980&birthdate=ge1961-03-14".to_owned(), 2),
        ("Patient", "birthdate=1961".to_owned(), 1),
        ("Patient", "birthdate=1961-03-15".to_owned(), 0),
        ("Patient", format!("identifier=urn:oid:1.2.36.146.595.217.0.1|{}", BY_GP.mrn), 1),
        ("Patient", format!("identifier=urn:other|{}", BY_GP.mrn), 0),
        ("Patient", format!("_id={},{}", BY_GP.id, UNTIED.id), 2),
        ("Patient", "gender:not=unknown".to_owned(), 0),
        ("Patient", "gender=unknown".to_owned(), 5),
        ("Patient", "death-date:missing=true".to_owned(), 5),
        ("Patient", "death-date:missing=false".to_owned(), 0),
        (
            "Patient",
            format!("general-practitioner=Practitioner/{}", fixture::FIELD_PRACTITIONER),
            1,
        ),
        ("Condition", "code=44054006".to_owned(), 5),
        ("Condition", "code=http://snomed.info/sct|44054006".to_owned(), 5),
        ("Condition", "code=http://loinc.org|44054006".to_owned(), 0),
        ("Condition", "code=44054006,59621000".to_owned(), 10),
        ("Condition", format!("{patient}&code=44054006&code=59621000"), 0),
        ("Condition", "onset-date=ge2011".to_owned(), 5),
        ("Observation", patient.clone(), n),
        ("Observation", format!("subject=Patient/{}", BY_TEAM.id), n),
        ("Observation", format!("subject:Patient={}", BY_TEAM.id), n),
        ("Observation", format!("{patient}&date=2024-03"), 1),
        ("Observation", format!("{patient}&date=gt2024-10-01"), 3),
        ("Observation", format!("{patient}&date=2024-03-15T08:30:00Z"), 1),
        ("Observation", format!("{patient}&value-quantity=gt88"), 3),
        ("Observation", format!("{patient}&value-quantity=80|http://unitsofmeasure.org|mg/dL"), 1),
        ("Observation", format!("{patient}&value-quantity=80|http://unitsofmeasure.org|g"), 0),
        ("Observation", format!("{patient}&_lastUpdated=gt2020-01-01"), n),
        ("Observation", format!("{patient}&_lastUpdated=lt2020-01-01"), 0),
        ("Patient", "family:contains=ANDRAZ".to_owned(), 1),
        ("Patient", "family:contains=andrazq".to_owned(), 0),
        ("Observation", format!("{patient}&code-value-quantity=2339-0$gt88"), 3),
        (
            "Observation",
            format!("{patient}&combo-code-value-quantity=http://loinc.org|2339-0$80||mg/dL"),
            1,
        ),
        ("Observation", format!("{patient}&code-value-quantity=2339-1$gt88"), 0),
        ("Observation", format!("{patient}&component-code-value-quantity=2339-0$gt88"), 0),
        ("Appointment", "date=ge2031-02-03&date=lt2031-02-04".to_owned(), 5),
    ] {
        assert_eq!(server.count("physician", ty, &query), expected, "{ty}?{query}");
        let all = server.search("physician", ty, &format!("{query}&_count=100")).expect(200);
        assert_eq!(all.ids("match").len() as u64, expected, "{ty}?{query}");
        assert_eq!(all.json()["total"], expected, "{ty}?{query}");
    }
    for (ty, query) in [
        ("Patient", "nonsense=1"),
        ("Patient", "family:nonsense=a"),
        ("Patient", "birthdate=xx1961"),
        ("Patient", "birthdate=yesterday"),
        ("Observation", "value-quantity=many"),
        ("Patient", "_count=many"),
        ("Patient", "_sort=nonsense"),
        ("Patient", "_revinclude=Observation:encounter"),
        ("Patient", "_revinclude:recurse=Observation:patient"),
        ("Patient", "_total=many"),
        ("Observation", "code-value-quantity=2339-0"),
        ("Observation", "code:contains=2339"),
        ("Patient", "_page=AAAA"),
    ] {
        let answer = server.search("physician", ty, query).expect(400);
        let name = query.split(['=', ':']).next().unwrap();
        assert!(answer.text().contains(name), "the answer names the parameter: {}", answer.text());
    }
}

#[test]
fn matches_come_in_the_order_asked_for() {
    let world = clinic();
    let server = world.serve();
    let dates = |query: &str| -> Vec<String> {
        server
            .search(
                "physician",
                "Observation",
                &format!("patient={}&_count=50&{query}", BY_TEAM.id),
            )
            .expect(200)
            .entries("match")
            .iter()
            .map(|o| o["effectiveDateTime"].as_str().unwrap().to_owned())
            .collect()
    };
    let up = dates("_sort=date");
    assert_eq!(up.len(), OBSERVATIONS);
    assert!(up.is_sorted());
    let down: Vec<String> = dates("_sort=-date").into_iter().rev().collect();
    assert_eq!(up, down);
    // Who asks for a time and names no order gets them by time.
    assert_eq!(dates("date=ge1900"), up);
}

#[test]
fn includes_follow_references_once() {
    let world = clinic();
    let server = world.serve();
    let query = format!(
        "patient={}&_count=4&_include=Observation:patient&_include=Observation:encounter",
        BY_TEAM.id
    );
    let page = server.search("physician", "Observation", &query).expect(200);
    assert_eq!(page.ids("match").len(), 4);
    let included: BTreeSet<String> = page.ids("include").into_iter().collect();
    let expected = BTreeSet::from([BY_TEAM.id.to_owned(), id("enc", BY_TEAM, 0)]);
    assert_eq!(included, expected);
    assert_eq!(page.ids("include").len(), 2, "each only once");
}

#[test]
fn what_refers_to_the_matches_can_come_with_them() {
    let world = clinic();
    let server = world.serve();
    let one = format!("_id={}", BY_TEAM.id);
    let all = format!(
        "{one}&_revinclude=Observation:patient&_revinclude=Encounter:subject:Patient\
         &_revinclude=Observation:subject&_include=Patient:general-practitioner"
    );
    let page = server.search("physician", "Patient", &all).expect(200);
    assert_eq!(page.ids("match"), [BY_TEAM.id]);
    assert_eq!(page.json()["total"], 1, "what is added is not counted");
    let mut added = page.ids("include");
    added.sort();
    let mut expected: Vec<String> = (0..OBSERVATIONS).map(|n| id("obs", BY_TEAM, n)).collect();
    expected.push(id("enc", BY_TEAM, 0));
    expected.push(fixture::OTHER_PRACTITIONER.to_owned());
    expected.sort();
    assert_eq!(added, expected, "each only once");

    // A type that the role never sees is not there; nor is a person's that is not seen.
    let desk = server.search("front-desk", "Patient", &all).expect(200);
    assert_eq!(desk.ids("match"), [BY_TEAM.id]);
    assert!(desk.ids("include").iter().all(|i| !i.starts_with("obs")), "{}", desk.text());
    let other = format!("_id={}&_revinclude=Observation:patient", UNTIED.id);
    let page = server.search("field-clinician", "Patient", &other).expect(200);
    assert_eq!((page.ids("match").len(), page.ids("include").len()), (0, 0));
    // By the practitioner, whom everybody sees: only the encounters of tied patients.
    let by = format!("_id={}&_revinclude=Encounter:participant", fixture::OTHER_PRACTITIONER);
    let all = server.search("physician", "Practitioner", &by).expect(200).ids("include");
    let some = server.search("field-clinician", "Practitioner", &by).expect(200).ids("include");
    assert!(some.len() < all.len(), "{some:?} of {all:?}");
}

#[test]
fn the_total_is_there_as_asked_for() {
    let world = clinic();
    let server = world.serve();
    let search = |query: &str| {
        let query = format!("patient={}&{query}", BY_TEAM.id);
        server.search("physician", "Observation", &query).expect(200).json()
    };
    let n = OBSERVATIONS as u64;
    for (query, total) in [
        ("_count=100", Some(n)),
        ("_count=4", None),
        ("_count=4&_total=accurate", Some(n)),
        ("_count=4&_total=estimate", Some(n)),
        ("_count=100&_total=none", None),
        ("_count=0", Some(n)),
        ("_summary=count", Some(n)),
        ("_summary=count&_total=none", Some(n)),
    ] {
        let page = search(query);
        assert_eq!(page["total"].as_u64(), total, "{query}");
        let counted = query.contains("_count=0") || query.contains("_summary");
        assert_eq!(page.get("entry").is_none(), counted, "{query}");
        let links = page["link"].as_array().unwrap();
        assert_eq!(links.len(), if query.contains("_count=4") { 2 } else { 1 }, "{query}");
    }
}

#[test]
fn a_composite_needs_every_component_in_sight() {
    let world = clinic();
    let server = world.serve();
    let answer = server.search("front-desk", "Observation", "code-value-quantity=2339-0$gt1");
    let _ = answer.expect(403);
}

#[test]
fn pages_are_of_one_moment_while_others_write() {
    let world = clinic();
    let server = world.serve();
    let query = format!("patient={}&_sort=-date&_count=5", BY_TEAM.id);
    let before: Vec<String> = server
        .search(
            "physician",
            "Observation",
            &format!("patient={}&_sort=-date&_count=50", BY_TEAM.id),
        )
        .expect(200)
        .ids("match");
    let mut page = server.search("physician", "Observation", &query).expect(200);
    let mut seen = page.ids("match");
    let mut round = 0;
    while let Some(next) = page.link("next") {
        // New ones at both ends, and one that was already delivered moves.
        for day in ["2019-01-01", "2030-01-01"] {
            let mut new = fixture::observation(BY_TEAM, 0);
            new.as_object_mut().unwrap().remove("id");
            new["effectiveDateTime"] = json!(day);
            let _ = server.post("physician", "Observation", &new).expect(201);
        }
        let mut moved = fixture::observation(BY_TEAM, 11 - round);
        moved["effectiveDateTime"] = json!("2018-01-01");
        let _ = server.put("physician", &moved).expect(200);
        page = server.get("physician", &next).expect(200);
        seen.extend(page.ids("match"));
        round += 1;
    }
    assert_eq!(seen, before);
    assert_eq!(round, 2);
    let now = server.search("physician", "Observation", &query).expect(200);
    assert_ne!(now.ids("match").first(), before.first(), "a new search sees what is new");
}

#[test]
fn a_paging_token_serves_only_whom_it_was_made_for() {
    let world = clinic();
    let server = world.serve();
    let page = server.search("physician", "Condition", "_count=3").expect(200);
    let next = page.link("next").unwrap();
    let _ = server.get("physician", &next).expect(200);
    for other in ["billing", "nurse", "field-clinician", "privacy-officer"] {
        let _ = server.get(other, &next).expect(400);
    }
    let token = next.split("_page=").nth(1).unwrap();
    let at = token.len() / 2;
    let (head, tail) = token.split_at(at);
    let swapped = if tail.starts_with('A') { 'B' } else { 'A' };
    let bent: String = format!("{head}{swapped}{}", tail.get(1..).unwrap());
    let _ = server.get("physician", &next.replace(token, &bent)).expect(400);
    // Nothing of the search can be read from the token.
    let word = "44054006";
    let page =
        server.search("physician", "Condition", &format!("code={word}&_count=1")).expect(200);
    let scanner = phial_testkit::canary::Scanner::new(&[word]).unwrap();
    let mut report = phial_testkit::canary::Report::default();
    scanner.bytes(std::path::Path::new("link"), page.link("next").unwrap().as_bytes(), &mut report);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_compartment_holds_what_is_about_its_patient() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Patient/{}/Observation", BY_TEAM.id);
    let all = server.get("physician", &format!("{path}?_count=100")).expect(200);
    assert_eq!(all.ids("match").len(), OBSERVATIONS);
    assert!(all.ids("match").iter().all(|i| i.ends_with(BY_TEAM.id.get(..8).unwrap())));
    let some = server.get("physician", &format!("{path}?date=2024-03")).expect(200);
    assert_eq!(some.ids("match").len(), 1);
    let posted = send(
        server
            .request("physician", Method::POST, &format!("{path}/_search"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("date=2024-03"),
    )
    .expect(200);
    assert_eq!(posted.ids("match"), some.ids("match"));
    let none = server.get("physician", "Patient/absent/Observation").expect(200);
    assert_eq!(none.json()["total"], 0);
}

#[test]
fn what_was_acknowledged_is_found_at_once() {
    let world = clinic();
    let server = world.serve();
    for n in 0..10 {
        let body = json!({"resourceType": "Observation", "status": "final",
            "code": {"coding": [{"system": "urn:test", "code": format!("fresh-{n}")}]},
            "subject": {"reference": format!("Patient/{}", BY_TEAM.id)}});
        let made = server.post("physician", "Observation", &body).expect(201);
        let found =
            server.search("physician", "Observation", &format!("code=fresh-{n}")).expect(200);
        assert_eq!(found.ids("match"), [made.json()["id"].as_str().unwrap()]);
    }
}

#[test]
fn the_capability_statement_names_what_works() {
    let world = clinic();
    let server = world.serve();
    let answer = send(server.client().get(format!("{}/metadata", server.base()))).expect(200);
    let json = answer.json();
    assert_eq!(json["resourceType"], "CapabilityStatement");
    assert_eq!(json["fhirVersion"], "4.0.1");
    let types = json["rest"][0]["resource"].as_array().unwrap();
    assert!(types.len() > 140, "{}", types.len());
    let patient = types.iter().find(|t| t["type"] == "Patient").unwrap();
    let names = |v: &serde_json::Value, key: &str| -> BTreeSet<String> {
        v.as_array().unwrap().iter().map(|x| x[key].as_str().unwrap().to_owned()).collect()
    };
    let interactions = names(&patient["interaction"], "code");
    for wanted in ["read", "vread", "create", "update", "delete", "search-type"] {
        assert!(interactions.contains(wanted), "{wanted}: {interactions:?}");
    }
    let params = names(&patient["searchParam"], "name");
    for wanted in ["family", "birthdate", "identifier", "general-practitioner"] {
        assert!(params.contains(wanted), "{wanted}");
    }
}
