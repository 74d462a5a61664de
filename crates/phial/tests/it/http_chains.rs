//! Searches that lead to other records: chains, `_has`, `_filter`, `_list`, includes that go
//! on, all types at once. What they find, and that none of them is a way to what is out of
//! sight.

use std::collections::BTreeSet;

use phial_testkit::fixture::{self, BY_ENCOUNTER, BY_GP, BY_TEAM, OBSERVATIONS, UNTIED, id};
use phial_testkit::world::{Server, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

const N: u64 = OBSERVATIONS as u64;

/// Each finds so many, whether counted or fetched.
#[track_caller]
fn check(server: &Server, role: &str, rows: &[(&str, String, u64)]) {
    for (ty, query, expected) in rows {
        assert_eq!(server.count(role, ty, query), *expected, "{role}: {ty}?{query}");
        let all = server.search(role, ty, &format!("{query}&_count=200")).expect(200);
        assert_eq!(all.ids("match").len() as u64, *expected, "{role}: {ty}?{query}");
    }
}

#[test]
fn chains_find_what_they_say() {
    let world = clinic();
    let server = world.serve();
    let s = |t: &str| t.to_owned();
    check(
        &server,
        "physician",
        &[
            ("Observation", s("patient.family=quandrazel"), N),
            ("Observation", s("subject.family=quandrazel"), N),
            ("Observation", s("subject:Patient.family:exact=quandrazel"), 0),
            ("Observation", format!("subject:Patient.birthdate={}", BY_TEAM.born), N),
            ("Observation", s("subject:Patient.birthdate=lt1970"), 2 * N),
            ("Observation", format!("patient.identifier={},{}", BY_TEAM.mrn, BY_GP.mrn), 2 * N),
            ("Observation", s("patient.gender=unknown"), 5 * N),
            ("Observation", s("patient.gender:not=unknown"), 0),
            ("Observation", s("patient.family=quandrazel&date=2024-03"), 1),
            ("Observation", s("patient.general-practitioner.name=fieldworthy"), N),
            ("Observation", s("encounter.subject:Patient.family=quandrazel"), N),
            ("Observation", s("encounter.participant:Practitioner.name=fieldworthy"), N),
            ("Observation", s("subject:Device.device-name=x"), 0),
            ("Condition", s("subject:Patient.family=quandrazel&code=44054006"), 1),
            ("Encounter", s("patient.family=nobody"), 0),
            ("Patient", s("general-practitioner:Practitioner.name=fieldworthy"), 1),
            ("Patient", s("_has:Observation:patient:code=2339-0"), 5),
            ("Patient", s("_has:Observation:patient:code=2339-1"), 0),
            ("Patient", s("_has:Observation:subject:value-quantity=gt90"), 5),
            ("Patient", format!("_has:Observation:patient:_id={}", id("obs", BY_GP, 3)), 1),
            ("Patient", s("_has:Observation:patient:code=2339-0&family=quandrazel"), 1),
            ("Encounter", s("_has:Observation:encounter:date=2024-03"), 5),
            ("Practitioner", s("_has:Encounter:participant:patient.family=vintergaten"), 1),
            ("Practitioner", s("_has:Patient:general-practitioner:family=brindlethorn"), 1),
            (
                "Practitioner",
                s("_has:Patient:general-practitioner:_has:Observation:patient:code=2339-0"),
                2,
            ),
            ("Observation", s("patient._has:Condition:patient:code=44054006"), 5 * N),
        ],
    );
}

#[test]
fn filters_find_what_they_say() {
    let world = clinic();
    let server = world.serve();
    let team = BY_TEAM.id;
    let rows: Vec<(&str, String, u64)> = [
        ("Patient", "family eq \"QUANDRAZEL\"".to_owned(), 1),
        ("Patient", "family co \"andraz\"".to_owned(), 1),
        ("Patient", "family sw quan".to_owned(), 1),
        ("Patient", "family ew RAZEL".to_owned(), 1),
        ("Patient", "family eq quan".to_owned(), 0),
        ("Patient", "family ne quandrazel".to_owned(), 4),
        ("Patient", "birthdate lt 1970-01-01 or birthdate gt 2000-01-01".to_owned(), 3),
        // From left to right: neither binds closer.
        (
            "Patient",
            "family eq quandrazel or gender eq unknown and birthdate lt 1960-01-01".to_owned(),
            1,
        ),
        (
            "Patient",
            "family eq quandrazel or (gender eq unknown and birthdate lt 1960-01-01)".to_owned(),
            2,
        ),
        ("Patient", "not (family eq quandrazel)".to_owned(), 4),
        ("Patient", "not(family eq quandrazel or family eq vintergaten)".to_owned(), 3),
        ("Patient", format!("id eq {team}"), 1),
        ("Patient", format!("_id ne {team}"), 4),
        ("Patient", "death-date pr false".to_owned(), 5),
        ("Patient", "birthdate pr true".to_owned(), 5),
        ("Patient", format!("identifier eq urn:oid:1.2.36.146.595.217.0.1|{}", BY_TEAM.mrn), 1),
        ("Observation", "subject.family co \"andraz\"".to_owned(), N),
        ("Observation", "patient.family eq quandrazel and date ge 2024-10-01".to_owned(), 3),
        ("Observation", "subject[gender eq unknown].family eq quandrazel".to_owned(), N),
        ("Observation", "subject[gender eq male].family eq quandrazel".to_owned(), 0),
        ("Observation", format!("subject re Patient/{team}"), N),
        ("Observation", format!("not (subject re Patient/{team})"), 4 * N),
        ("Observation", "not (patient.family eq quandrazel)".to_owned(), 4 * N),
        ("Observation", "code eq http://loinc.org|2339-0".to_owned(), 5 * N),
        ("Observation", "code ne 2339-0".to_owned(), 0),
        ("Observation", "value-quantity gt 90".to_owned(), 5),
        ("Observation", "date po 2024-03".to_owned(), 5),
        ("Patient", "_has:Observation:patient:value-quantity gt 200".to_owned(), 0),
        (
            "Patient",
            "_has:Condition:patient:code eq 44054006 and family eq quandrazel".to_owned(),
            1,
        ),
    ]
    .into_iter()
    .map(|(ty, filter, n)| {
        let text: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        (ty, format!("_filter={text}"), n)
    })
    .collect();
    check(&server, "physician", &rows);
}

/// hapi-fhir#6065: `_has` told which patients have observations that the asker may not
/// see. medplum#9973: chained conditions were looked up without the access policy.
#[test]
fn no_link_is_a_way_to_what_is_out_of_sight() {
    let world = clinic();
    let server = world.serve();
    let labelled = id("cond", UNTIED, 2);
    let s = |t: &str| t.to_owned();
    let hidden = [
        ("Patient", s("_has:Condition:patient:code=86406008")),
        ("Patient", format!("_has:Condition:patient:_id={labelled}")),
        ("Patient", s("_filter=_has:Condition:patient:code+eq+86406008")),
        (
            "Practitioner",
            s("_has:Patient:general-practitioner:_has:Condition:patient:code=86406008"),
        ),
        ("Observation", s("patient._has:Condition:patient:code=86406008")),
        ("Condition", s("_filter=code+eq+86406008")),
        ("Condition", s("code:text=human+immunodeficiency")),
    ];
    for (ty, query) in &hidden {
        assert_eq!(server.count("physician", ty, query), 0, "{ty}?{query}");
        let page = server.search("physician", ty, query).expect(200);
        assert_eq!((page.ids("match").len(), &page.json()["total"]), (0, &json!(0)));
        assert_ne!(server.count("privacy-officer", ty, query), 0, "{ty}?{query}");
    }
    // What looks absent is absent under `not`, too: nobody stands out.
    let not = "_filter=not+(_has:Condition:patient:code+eq+86406008)";
    assert_eq!(server.count("physician", "Patient", not), 5);
    let seen = server.count("privacy-officer", "Patient", not);
    assert!(seen < 5, "{seen}");

    // A patient who is out of sight leads nowhere, be the record that names them visible.
    for (ty, query) in [
        ("Observation", format!("patient.family={}", UNTIED.family)),
        ("Practitioner", format!("_has:Patient:general-practitioner:family={}", UNTIED.family)),
        ("Practitioner", format!("_has:Encounter:participant:patient.family={}", UNTIED.family)),
        ("Observation", format!("_filter=patient.family+eq+{}", UNTIED.family)),
    ] {
        assert_eq!(server.count("field-clinician", ty, &query), 0, "{ty}?{query}");
        assert_ne!(server.count("physician", ty, &query), 0, "{ty}?{query}");
    }
    let tied = format!("_has:Encounter:participant:patient.family={}", BY_ENCOUNTER.family);
    assert_eq!(server.count("field-clinician", "Practitioner", &tied), 1);
}

#[test]
fn what_a_role_may_never_use_is_refused_through_every_link() {
    let world = clinic();
    let server = world.serve();
    for (role, ty, query) in [
        ("billing", "Patient", "_has:Observation:patient:code=2339-0"),
        ("billing", "Patient", "_has:Observation:patient:value-quantity=gt1"),
        ("billing", "Patient", "_has:Condition:patient:_content=gambling"),
        ("billing", "Condition", "_content=gambling"),
        ("billing", "Condition", "_text=gambling"),
        ("front-desk", "Patient", "_has:Condition:patient:code=44054006"),
        ("front-desk", "Patient", "_has:Condition:patient:code=absent"),
        ("front-desk", "Appointment", "patient._has:Condition:patient:code=44054006"),
        ("front-desk", "Patient", "_filter=_has:Condition:patient:code+eq+44054006"),
        ("front-desk", "Patient", "_filter=gender+eq+male+or+_has:Condition:patient:code+eq+x"),
        ("front-desk", "Encounter", "_has:Observation:encounter:code=2339-0"),
        ("front-desk", "Claim", "patient._has:Observation:patient:_content=gambling"),
        ("physician", "Patient", "_filter=not+(identifier+eq+x)"),
        ("physician", "Observation", "patient.identifier:not=x"),
        ("physician", "Observation", "_filter=patient.identifier+ne+x"),
    ] {
        let refused = server.search(role, ty, query);
        assert_eq!(refused.status, 403, "{role} {ty}?{query}: {}", refused.text());
        let (code, _, text) = outcome(&refused).remove(0);
        assert_eq!(code, "forbidden");
        assert!(!text.contains("44054006") && !text.contains("gambling"), "{text}");
    }
}

#[test]
fn a_page_hangs_on_what_is_in_sight_now() {
    let world = clinic();
    let server = world.serve();
    let of = |p: &fixture::Person| p.id.get(..8).unwrap().to_owned();
    for query in [
        "patient.gender=unknown&_sort=-date&_count=8",
        "_filter=patient.gender+eq+unknown+or+patient.gender+eq+male&_sort=-date&_count=8",
    ] {
        let mut page = server.search("physician", "Observation", query).expect(200);
        let mut seen: Vec<String> = page.ids("match");
        // From now on this patient's record is for those who are tied to them; their
        // observations are not labelled, but what leads to them is.
        let mut patient = fixture::patient(BY_TEAM);
        patient["meta"] = json!({"security": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]});
        let _ = server.put("import-client", &patient).expect(200);
        let first = seen.clone();
        while let Some(next) = page.link("next") {
            page = server.get("physician", &next).expect(200);
            seen.extend(page.ids("match"));
        }
        let later: BTreeSet<&String> = seen.iter().skip(first.len()).collect();
        assert!(!later.is_empty() && later.iter().all(|i| !i.ends_with(&of(BY_TEAM))), "{query}");
        let others = seen.iter().filter(|i| !i.ends_with(&of(BY_TEAM))).count();
        assert_eq!(others, 4 * OBSERVATIONS, "{query}: the others stay");
        let _ = server.put("import-client", &fixture::patient(BY_TEAM)).expect(200);
    }
}

#[test]
fn includes_go_on_as_far_as_asked() {
    let world = clinic();
    let server = world.serve();
    let one = format!("_id={}", id("obs", BY_GP, 0));
    let added = |role: &str, ty: &str, query: &str| -> BTreeSet<String> {
        let page = server.search(role, ty, query).expect(200);
        let all = page.ids("include");
        let set: BTreeSet<String> = all.iter().cloned().collect();
        assert_eq!(set.len(), all.len(), "each only once");
        set
    };
    let set = |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(|i| (*i).to_owned()).collect() };
    let enc = id("enc", BY_GP, 0);
    let patient = format!("{one}&_include=Observation:patient");
    assert_eq!(added("physician", "Observation", &patient), set(&[BY_GP.id]));
    let query = format!("{patient}&_include:iterate=Patient:general-practitioner");
    assert_eq!(
        added("physician", "Observation", &query),
        set(&[BY_GP.id, fixture::FIELD_PRACTITIONER])
    );
    let all = set(&[BY_GP.id, &enc]);
    assert_eq!(added("physician", "Observation", &format!("{one}&_include=*")), all);
    assert_eq!(added("physician", "Observation", &format!("{one}&_include=Observation:*")), all);
    let query = format!("_id={}&_revinclude=Encounter:*", BY_GP.id);
    assert_eq!(added("physician", "Patient", &query), set(&[&enc]));
    // From the patient to the encounter, and from there to what was observed.
    let query = format!(
        "_id={}&_revinclude=Encounter:patient&_revinclude:iterate=Observation:encounter",
        BY_GP.id
    );
    assert_eq!(added("physician", "Patient", &query).len(), 1 + OBSERVATIONS);
    // Who never sees observations is not led to them, nor through them.
    let desk = added("front-desk", "Patient", &format!("_id={}&_revinclude=*", BY_GP.id));
    assert!(desk.iter().all(|i| !i.starts_with("obs") && !i.starts_with("cond")), "{desk:?}");
    let whole = added("physician", "Patient", &format!("_id={}&_revinclude=*", BY_GP.id));
    assert!(whole.iter().any(|i| i.starts_with("obs")), "{whole:?}");
}

#[test]
fn all_types_are_searched_in_one_order() {
    let world = clinic();
    let server = world.serve();
    let get = |role: &str, query: &str| server.get(role, &format!("?{query}"));
    let all = get("physician", "_type=Patient,Encounter&_count=100").expect(200);
    assert_eq!(all.ids("match").len(), 10);
    assert_eq!(all.json()["total"], 10);
    let ids = |query: &str| -> Vec<String> {
        let mut page = get("physician", query).expect(200);
        let mut seen = page.ids("match");
        while let Some(next) = page.link("next") {
            page = server.get("physician", &next).expect(200);
            seen.extend(page.ids("match"));
        }
        seen
    };
    assert_eq!(ids("_type=Patient,Encounter&_count=3"), all.ids("match"), "in pieces as whole");
    let sorted = ids("_type=Patient,Encounter&_sort=_id&_count=3");
    assert!(sorted.is_sorted() && sorted.len() == 10, "{sorted:?}");
    let counted = get("physician", "_type=Patient,Encounter&_summary=count").expect(200);
    assert_eq!((&counted.json()["total"], counted.ids("match").len()), (&json!(10), 0));
    let total = get("physician", "_summary=count").expect(200).json()["total"].clone();
    // Everything but what is labelled: directory, and of each person one patient, four
    // others, two conditions and the observations.
    assert_eq!(total, json!(3 + 5 * (1 + 4 + 2 + OBSERVATIONS)));
    let posted = send(
        server
            .request("physician", Method::POST, "_search")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("_id={}", BY_TEAM.id)),
    )
    .expect(200);
    assert_eq!(posted.ids("match"), [BY_TEAM.id]);
    // What a role never sees is not there, and not counted.
    let desk = get("front-desk", "_type=Patient,Observation&_summary=count").expect(200);
    assert_eq!(desk.json()["total"], 5);
    for bad in ["_type=Nothing", "_type=Patient&_type=Group", "_type=Patient,Group&family=x"] {
        let _ = get("physician", bad).expect(400);
    }
    let _ = get("physician", "_type=Patient&family=x").expect(400);
    assert_eq!(get("billing", "_type=Condition,Claim&_content=x").status, 400, "no word in a URL");
    let page = get(
        "physician",
        &format!(
            "_type=Observation,Patient&_id={}&_include=Observation:patient",
            id("obs", BY_TEAM, 1)
        ),
    )
    .expect(200);
    assert_eq!(page.ids("include"), [BY_TEAM.id]);
}

#[test]
fn lists_find_their_items() {
    let world = clinic();
    let server = world.serve();
    let list = json!({"resourceType": "List", "id": "mine", "status": "current", "mode": "working",
        "entry": [
            {"item": {"reference": format!("Patient/{}", BY_TEAM.id)}},
            {"item": {"reference": format!("Patient/{}", BY_GP.id)}},
            {"item": {"reference": format!("Observation/{}", id("obs", BY_GP, 0))}}]});
    let _ = server.put("import-client", &list).expect(201);
    let s = |t: &str| t.to_owned();
    check(
        &server,
        "physician",
        &[
            ("Patient", s("_list=mine"), 2),
            ("Patient", s("_list=mine&family=quandrazel"), 1),
            ("Observation", s("_list=mine"), 1),
            ("Condition", s("_list=mine"), 0),
            ("Patient", s("_list=absent"), 0),
        ],
    );
    let _ = server.search("physician", "Patient", "_list=$current-problems").expect(400);
}

#[test]
fn codes_are_found_by_value_set_hierarchy_text_and_type() {
    let world = clinic();
    let server = world.serve();
    let put = |body: Value| {
        let _ = server.put("import-client", &body).expect(201);
    };
    put(json!({"resourceType": "ValueSet", "id": "vs", "url": "http://example.org/vs",
        "status": "active", "compose": {"include": [
            {"system": "http://snomed.info/sct", "concept": [{"code": "44054006"}, {"code": "1"}]},
            {"valueSet": ["http://example.org/inner"]}]}}));
    put(json!({"resourceType": "ValueSet", "id": "inner", "url": "http://example.org/inner",
        "status": "active", "compose": {"include": [
            {"system": "http://loinc.org", "concept": [{"code": "2339-0"}]}]}}));
    put(json!({"resourceType": "ValueSet", "id": "odd", "url": "http://example.org/odd",
        "status": "active", "compose": {"include": [{"system": "http://snomed.info/sct",
            "filter": [{"property": "x", "op": "regex", "value": "y"}]}]}}));
    put(json!({"resourceType": "CodeSystem", "id": "cs", "url": "http://snomed.info/sct",
        "status": "active", "content": "complete", "concept": [
            {"code": "73211009", "concept": [{"code": "44054006"}, {"code": "46635009"}]},
            {"code": "59621000"}]}));
    let s = |t: &str| t.to_owned();
    let mr = "http://terminology.hl7.org/CodeSystem/v2-0203|MR";
    check(
        &server,
        "physician",
        &[
            ("Condition", s("code:in=http://example.org/vs"), 5),
            ("Condition", s("code:in=ValueSet/vs"), 5),
            ("Condition", s("code:not-in=http://example.org/vs"), 5),
            ("Observation", s("code:in=http://example.org/vs"), 5 * N),
            ("Observation", s("code:in=http://example.org/inner"), 5 * N),
            ("Condition", s("code:below=http://snomed.info/sct|73211009"), 5),
            ("Condition", s("code:below=http://snomed.info/sct|59621000"), 5),
            ("Condition", s("code:above=http://snomed.info/sct|46635009"), 0),
            ("Condition", s("code:above=http://snomed.info/sct|44054006"), 5),
            ("Patient", s("_has:Condition:patient:code:in=http://example.org/vs"), 5),
            ("Condition", s("_filter=code+in+http://example.org/vs"), 5),
            ("Condition", s("_filter=code+ss+http://snomed.info/sct|73211009"), 5),
            ("Condition", s("code:text=diabetes"), 5),
            ("Condition", s("code:text=mellitus"), 0),
            ("Observation", s("code:text=GLUCOSE"), 5 * N),
            ("Patient", format!("identifier:of-type={mr}|{}", BY_TEAM.mrn), 1),
            ("Patient", format!("identifier:of-type={mr}|{}", BY_TEAM.ssn), 0),
            ("ValueSet", s("url:below=http://example.org/"), 3),
            ("ValueSet", s("url:above=http://example.org/vs/1/2"), 1),
        ],
    );
    for query in [
        "code:in=http://example.org/absent",
        "code:below=http://loinc.org|2339-0",
        "code:below=44054006",
    ] {
        let answer = server.search("physician", "Condition", query).expect(400);
        assert!(!answer.text().contains("44054006") && !answer.text().contains("example.org"));
    }
}

#[test]
fn amounts_are_found_in_other_units() {
    let world = clinic();
    let server = world.serve();
    let ucum = "http://unitsofmeasure.org";
    check(
        &server,
        "physician",
        &[
            ("Observation", format!("value-quantity=0.80|{ucum}|g/L"), 5),
            ("Observation", format!("value-quantity=800|{ucum}|ug/mL"), 5),
            ("Observation", format!("value-quantity=gt0.9|{ucum}|g/L"), 5),
            ("Observation", format!("value-quantity=ap0.80|{ucum}|g/L"), 45),
            ("Observation", format!("value-quantity=80|{ucum}|g/L"), 0),
            ("Observation", format!("value-quantity=80|{ucum}|mmol/L"), 0),
            ("Observation", "value-quantity=80||mg/dL".to_owned(), 5),
            ("Observation", format!("code-value-quantity=2339-0$0.80|{ucum}|g/L"), 5),
        ],
    );
}

#[test]
fn words_of_notes_are_found_by_who_may_read_them() {
    let world = clinic();
    let server = world.serve();
    let mut told = fixture::condition(BY_TEAM, 0);
    told["text"] = json!({"status": "generated",
        "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Sugar<b>y</b> &amp; na\u{ef}ve</p></div>"});
    let _ = server.put("physician", &told).expect(200);
    let s = |t: &str| t.to_owned();
    check(
        &server,
        "physician",
        &[
            ("Condition", s("_content=gambling"), 10),
            ("Condition", s("_content=GAMBLING+debts"), 10),
            ("Condition", s("_content=gambling+absent"), 0),
            ("Condition", s("_content=absent+OR+debts"), 10),
            ("Condition", s("_content=absent,debts"), 10),
            ("Condition", s("_content=gamb"), 0),
            ("Condition", s("_content=gambling+AND+NOT+naive"), 9),
            ("Condition", s("_content=debts+(naive+OR+absent)"), 1),
            ("Condition", s("_text=naive"), 1),
            ("Condition", s("_text=sugar"), 1),
            ("Condition", s("_text=gambling"), 0),
            ("Patient", s("_has:Condition:patient:_text=naive"), 1),
            ("Condition", format!("patient={}&_content=gambling", BY_TEAM.id), 2),
            ("Condition", s("_content=%22gambling+debts%22"), 10),
            ("Condition", s("_content=%22debts+gambling%22"), 0),
            ("Condition", s("_content=%22confided+about+GAMBLING%22+naive"), 1),
            ("Condition", s("_content=NOT+%22gambling+debts%22"), 0),
            ("Condition", s("_content=%22debts,+3+times%22,absent"), 5),
            ("Condition", s("_content=%22naive+patient%22"), 0),
            ("Condition", s("_text=%22sugar+y+naive%22"), 1),
            ("Condition", s("_content=gamb*"), 10),
            ("Condition", s("_content=confided-ab*"), 10),
            ("Condition", format!("patient={}&_content=%22gambling+debts%22", BY_TEAM.id), 2),
            ("Patient", s("_has:Condition:patient:_content=%22gambling+debts%22"), 5),
        ],
    );
    // Of those who are tied also what is labelled, and of nobody else.
    check(
        &server,
        "field-clinician",
        &[
            ("Condition", s("_content=%22gambling+debts%22"), 12),
            ("Condition", s("_content=%22debts+5+times%22"), 4),
        ],
    );
    assert_eq!(server.count("privacy-officer", "Condition", "_content=gambling"), 15);
    for role in ["billing", "front-desk"] {
        for words in ["gambling", "gamb*", "%22gambling+debts%22"] {
            let refused = server.search(role, "Condition", &format!("_content={words}"));
            assert_eq!(refused.status, 403, "{role} {words}");
        }
    }
    for query in ["Condition?_content=gambling", "Condition?_text=naive"] {
        let _ = server.get("physician", query).expect(400);
    }
}

#[test]
fn references_are_found_in_every_form_and_through_hierarchies() {
    let world = clinic();
    let server = world.serve();
    let put = |body: Value| {
        let _ = server.put("import-client", &body).expect(201);
    };
    let own = format!("{}/Patient/{}", server.base(), BY_TEAM.id);
    put(json!({"resourceType": "Observation", "id": "absolute", "status": "final",
        "code": {"text": "x"}, "subject": {"reference": own}}));
    for (id, of) in [("site", None), ("ward", Some("site")), ("bed", Some("ward"))] {
        let mut location = json!({"resourceType": "Location", "id": id});
        if let Some(of) = of {
            location["partOf"] = json!({"reference": format!("Location/{of}")});
        }
        put(location);
        put(json!({"resourceType": "Procedure", "id": format!("in-{id}"), "status": "completed",
            "subject": {"reference": format!("Patient/{}", BY_TEAM.id)},
            "location": {"reference": format!("Location/{id}")}}));
    }
    for (id, version) in [("a", "|1.0"), ("b", "|1.1"), ("c", "|2.0"), ("d", "")] {
        put(json!({"resourceType": "QuestionnaireResponse", "id": id, "status": "completed",
            "questionnaire": format!("http://example.org/q{version}")}));
    }
    for (id, kind) in
        [("text", "text/xml"), ("set", "text/xml; charset=UTF-8"), ("other", "text/xmlx")]
    {
        put(json!({"resourceType": "DocumentReference", "id": id, "status": "current",
            "content": [{"attachment": {"contentType": kind, "title": id}}]}));
    }
    let s = |t: &str| t.to_owned();
    check(
        &server,
        "privacy-officer",
        &[
            ("Observation", format!("subject={}", BY_TEAM.id), N + 1),
            ("Observation", format!("subject=Patient/{}", BY_TEAM.id), N + 1),
            ("Observation", format!("subject:Patient={}", BY_TEAM.id), N + 1),
            ("Observation", format!("subject={own}"), N + 1),
            ("Procedure", s("location=Location/ward"), 1),
            ("Procedure", s("location:below=Location/site"), 3),
            ("Procedure", s("location:below=ward"), 2),
            ("Procedure", s("location:above=Location/bed"), 3),
            ("Procedure", s("location:above=Location/ward"), 2),
            ("Procedure", s("location:below=Location/absent"), 0),
            ("QuestionnaireResponse", s("questionnaire:below=http://example.org/q"), 4),
            ("QuestionnaireResponse", s("questionnaire:below=http://example.org/q|1"), 2),
            ("QuestionnaireResponse", s("questionnaire:below=http://example.org/q|1.1"), 1),
            ("QuestionnaireResponse", s("questionnaire=http://example.org/q"), 1),
            ("DocumentReference", s("contenttype=text/xml"), 1),
            ("DocumentReference", s("contenttype:below=text/xml"), 2),
        ],
    );
}

#[test]
fn a_chain_into_what_is_contained_sees_what_its_container_shows_and_no_more() {
    let world = clinic();
    let server = world.serve();
    let procedure = |name: &str, p: &fixture::Person, label: Option<&str>, value: u32| {
        let mut r = json!({"resourceType": "Procedure", "id": name, "status": "completed",
            "code": {"text": "x"}, "subject": {"reference": format!("Patient/{}", p.id)},
            "reasonReference": [{"reference": "#o"}],
            "contained": [{"resourceType": "Observation", "id": "o", "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
                "valueQuantity": {"value": value, "unit": "mg/dL",
                    "system": "http://unitsofmeasure.org", "code": "mg/dL"}}]});
        if let Some(label) = label {
            r["meta"] = json!({"security": [{"code": label,
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode"}]});
        }
        let _ = server.put("import-client", &r).expect(201);
    };
    procedure("c-tied", BY_TEAM, None, 90);
    procedure("c-untied", UNTIED, None, 95);
    procedure("c-hidden", UNTIED, Some("HIV"), 99);
    let by = |chain: &str| format!("reason-reference:Observation.{chain}");
    let found = |role: &str, query: &str| {
        let answer = server.search(role, "Procedure", query).expect(200);
        let mut ids = answer.ids("match");
        ids.sort();
        assert_eq!(server.count(role, "Procedure", query), ids.len() as u64, "{role} {query}");
        ids
    };
    for (role, all) in [
        ("physician", &["c-tied", "c-untied"][..]),
        ("field-clinician", &["c-tied"]),
        ("privacy-officer", &["c-hidden", "c-tied", "c-untied"]),
    ] {
        assert_eq!(found(role, &by("code=2345-7")), all, "{role}");
        let over: Vec<&str> = all.iter().copied().filter(|id| *id != "c-tied").collect();
        assert_eq!(found(role, &by("value-quantity=gt92")), over, "{role}");
        let about = format!("{}&patient=Patient/{}", by("code=2345-7"), BY_TEAM.id);
        assert_eq!(found(role, &about), ["c-tied"], "{role}");
        assert_eq!(found(role, &by("code=2345-8")), [""; 0], "{role}");
        // Nobody finds it alone, nor is it included.
        assert_eq!(server.count(role, "Observation", "code=2345-7"), 0, "{role}");
        let with = server.search(role, "Procedure", "_include=Procedure:reason-reference");
        assert_eq!(with.expect(200).ids("include"), [""; 0], "{role}");
    }
    // Whoever never sees results never asks by them.
    let refused = server.search("billing", "Procedure", &by("value-quantity=gt92"));
    assert_eq!(refused.status, 403, "{}", refused.text());
    // It changes with its container, and goes with it.
    procedure_changes(&server, &by("code=2345-7"));
    let _ = server.stop();
    assert_eq!(world.ok(&["index", "check"])["findings"], json!([]));
}

fn procedure_changes(server: &Server, query: &str) {
    let mut r = server.get("privacy-officer", "Procedure/c-tied").expect(200).json();
    r["contained"][0]["code"]["coding"][0]["code"] = json!("2339-0");
    let _ = server.put("import-client", &r).expect(200);
    assert_eq!(server.count("physician", "Procedure", query), 1);
    let changed = query.replace("2345-7", "2339-0");
    assert_eq!(server.count("physician", "Procedure", &changed), 1);
    let _ = server.delete("interface-engine", "Procedure/c-tied").expect(204);
    assert_eq!(server.count("physician", "Procedure", &changed), 0);
}
