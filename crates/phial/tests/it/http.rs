//! HTTP: TLS alone, headers, refusals, versions, conditional writes, bundles.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use phial_testkit::fixture::{self, BY_TEAM};
use phial_testkit::world::{client_with, fhir, send};
use reqwest::Method;
use serde_json::json;

use crate::clinic::{clinic, outcome};

#[test]
fn only_tls_is_spoken() {
    let world = clinic();
    let server = world.serve();
    let mut plain = TcpStream::connect(server.authority()).unwrap();
    plain.write_all(b"GET /fhir/metadata HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|w| w == b"HTTP"), "an answer without TLS");
    let url = format!("{}/metadata", server.base());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client_with(server.ca(), &[version]);
        assert_eq!(send(client.get(&url)).status, 200, "{version:?}");
    }
}

#[test]
fn every_answer_carries_the_security_headers() {
    let world = clinic();
    let server = world.serve();
    let answers = [
        server.get("physician", &format!("Patient/{}", BY_TEAM.id)).expect(200),
        server.get("physician", "Patient/absent").expect(404),
        server.get("physician", "Patient?nonsense=1").expect(400),
        server.get("front-desk", "Condition?code=44054006").expect(403),
        server.get("physician", "metadata").expect(200),
        send(server.client().get(format!("{}/Patient", server.base()))).expect(401),
        send(server.request("physician", Method::PATCH, "Patient/x")).expect(415),
        send(server.client().get(format!("https://{}/absent", server.authority()))).expect(404),
    ];
    let mut numbers = std::collections::BTreeSet::new();
    for a in &answers {
        assert!(a.header("strict-transport-security").contains("max-age="), "{}", a.status);
        assert_eq!(a.header("x-content-type-options"), "nosniff");
        assert_eq!(a.header("cache-control"), "no-store");
        assert!(a.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(a.header("referrer-policy"), "no-referrer");
        assert!(a.headers.get("server").is_none());
        numbers.insert(a.header("x-request-id").to_owned());
    }
    assert_eq!(numbers.len(), answers.len(), "each request has a number of its own");
}

#[test]
fn what_is_not_spoken_here_is_refused_by_its_status() {
    let world = clinic();
    std::fs::write(world.home().join("phial.toml"), "[http]\nmax_body_mib = 1\n").unwrap();
    let server = world.serve();
    let patient = format!("Patient/{}", BY_TEAM.id);
    let as_ana = |method: Method, path: &str| server.request("physician", method, path);
    for (status, request) in [
        (415, as_ana(Method::PATCH, &patient)),
        (415, as_ana(Method::PUT, "Patient")),
        (403, as_ana(Method::DELETE, "Patient")),
        (405, as_ana(Method::POST, "metadata")),
        (405, as_ana(Method::GET, "_search")),
        (405, as_ana(Method::GET, "Patient/_search")),
        (405, as_ana(Method::POST, "Patient/_history")),
        (404, as_ana(Method::GET, "Patient/$nonsense")),
        (404, as_ana(Method::GET, "$nonsense")),
        (405, as_ana(Method::DELETE, &format!("{patient}/_history"))),
        (404, as_ana(Method::GET, "Nonsense/1")),
        (404, as_ana(Method::GET, "Nonsense")),
        (404, as_ana(Method::GET, &format!("{patient}/Observation/x/y/z"))),
        (400, as_ana(Method::GET, "Patient/with%20space")),
        (406, as_ana(Method::GET, &patient).header("accept", "application/fhir+xml")),
        (406, as_ana(Method::GET, &format!("{patient}?_format=xml"))),
        (415, as_ana(Method::POST, "Observation").header("content-type", "text/plain").body("x")),
        (415, as_ana(Method::POST, "Observation").body("{}")),
        (415, as_ana(Method::POST, "Patient/_search").body("name=a")),
        (415, as_ana(Method::POST, "").header("content-type", "application/xml").body("<a/>")),
        (400, fhir(as_ana(Method::POST, ""), &json!({"resourceType": "Patient"}))),
        (414, as_ana(Method::GET, &format!("Observation?code={}", "x".repeat(9000)))),
    ] {
        let answer = send(request);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(!outcome(&answer).is_empty());
        assert!(answer.header("content-type").starts_with("application/fhir+json"));
    }
    let long = json!({"resourceType": "Basic", "code": {"text": "x".repeat(1 << 20)}});
    assert_eq!(server.post("import-client", "Basic", &long).status, 413);
}

#[test]
fn bad_resources_are_named_by_path_and_never_by_value() {
    let world = clinic();
    let server = world.serve();
    let before = server.count("import-client", "Patient", "");
    for (text, path) in [
        (r#"{"resourceType":"Patient","birthDate":"Xylocarp"}"#, "Patient.birthDate"),
        (r#"{"resourceType":"Patient","gender":"Xylocarp"}"#, "Patient.gender"),
        (r#"{"resourceType":"Patient","Xylocarp":"Xylocarp"}"#, "Patient"),
        (
            r#"{"resourceType":"Patient","name":[{"family":["Xylocarp"]}]}"#,
            "Patient.name[0].family",
        ),
        (r#"{"resourceType":"Patient","name":{"family":"Xylocarp"}}"#, "Patient.name"),
        (r#"{"resourceType":"Patient","active":"Xylocarp"}"#, "Patient.active"),
        (r#"{"resourceType":"Patient","active":true,"active":false,"id":"Xylocarp"}"#, "active"),
        (r#"{"resourceType":"Observation","status":"Xylocarp"}"#, ""),
        (r#"{"resourceType":"Patient","name":[{"family":"Xylocarp"#, ""),
        (r#"{"resourceType":"Patient"} "Xylocarp""#, ""),
        (r#"["Xylocarp"]"#, ""),
        ("Xylocarp", ""),
        ("", ""),
    ] {
        let answer = send(
            server
                .request("import-client", Method::POST, "Patient")
                .header("content-type", "application/fhir+json")
                .body(text),
        )
        .expect(400);
        let issues = outcome(&answer);
        assert!(issues.iter().any(|(_, p, _)| p.contains(path)), "{text}: {issues:?}");
        // An element's own name may be told back; what stands in it may not.
        if !text.contains("\"Xylocarp\":") {
            assert!(!answer.text().contains("Xylocarp"), "{}", answer.text());
        }
    }
    assert_eq!(server.count("import-client", "Patient", ""), before);
}

#[test]
fn versions_are_tagged_and_held_to() {
    let world = clinic();
    let server = world.serve();
    let mut o = fixture::observation(BY_TEAM, 0);
    let path = format!("Observation/{}", o["id"].as_str().unwrap());
    let first = server.get("physician", &path).expect(200);
    assert_eq!(first.header("etag"), "W/\"1\"");
    assert!(first.header("last-modified").ends_with("GMT"));
    assert_eq!(first.json()["meta"]["versionId"], "1");
    let get = |tag: &str| {
        send(server.request("physician", Method::GET, &path).header("if-none-match", tag))
    };
    let unchanged = get("W/\"1\"").expect(304);
    assert!(unchanged.body.is_empty());
    let _ = get("W/\"7\"").expect(200);

    o["valueQuantity"]["value"] = json!(111);
    let put = |name: &'static str, value: &str, body: &serde_json::Value| {
        send(server.put_request("physician", body).header(name, value))
    };
    let _ = put("if-match", "W/\"9\"", &o).expect(412);
    let _ = put("if-match", "nine", &o).expect(400);
    let _ = put("if-none-match", "*", &o).expect(412);
    let second = put("if-match", "W/\"1\"", &o).expect(200);
    assert_eq!(second.header("etag"), "W/\"2\"");
    assert_eq!(second.json()["valueQuantity"]["value"], json!(111));
    let _ = put("if-match", "W/\"1\"", &o).expect(412);
    assert!(second.header("location").ends_with(&format!("{path}/_history/2")));

    let old = server.get("physician", &format!("{path}/_history/1")).expect(200);
    assert_eq!(old.json(), first.json());
    let _ = server.get("physician", &format!("{path}/_history/3")).expect(404);
    let _ = server.get("physician", &format!("{path}/_history/0")).expect(404);

    // Another id in the body than in the URL, another type, or none.
    let at = |body: &serde_json::Value| {
        send(fhir(server.request("physician", Method::PUT, &path), body)).status
    };
    o["id"] = json!("something-else");
    assert_eq!(at(&o), 400);
    o.as_object_mut().unwrap().remove("id");
    assert_eq!(at(&o), 400);
    assert_eq!(at(&fixture::condition(BY_TEAM, 0)), 400);

    assert_eq!(server.delete("physician", &path).status, 204);
    let _ = server.get("physician", &path).expect(410);
    assert_eq!(server.delete("physician", &path).status, 204);
    let _ = server.get("physician", &format!("{path}/_history/2")).expect(200);
    assert_eq!(
        server.count("physician", "Observation", &format!("patient={}", BY_TEAM.id)),
        fixture::OBSERVATIONS as u64 - 1
    );
}

#[test]
fn an_update_creates_under_the_callers_id() {
    let world = clinic();
    let server = world.serve();
    let org = json!({"resourceType": "Organization", "id": "org-new", "name": "New"});
    let made = server.put("import-client", &org).expect(201);
    assert_eq!(made.header("etag"), "W/\"1\"");
    assert!(made.header("location").ends_with("/Organization/org-new/_history/1"));
    let again = server.put("import-client", &org).expect(200);
    assert_eq!(again.header("etag"), "W/\"2\"");
    let minimal =
        send(server.put_request("import-client", &org).header("prefer", "return=minimal"));
    assert_eq!((minimal.status, minimal.body.len()), (200, 0));
}

#[test]
fn two_conditional_creates_at_once_make_one_record() {
    let world = clinic();
    let server = world.serve();
    for round in 0..4 {
        let org = json!({"resourceType": "Organization", "name": "Once",
            "identifier": [{"system": "urn:test", "value": format!("once-{round}")}]});
        let statuses: Vec<u16> = std::thread::scope(|s| {
            let handles: Vec<_> = (0..6)
                .map(|_| {
                    s.spawn(|| {
                        let request = server
                            .request("import-client", Method::POST, "Organization")
                            .header("if-none-exist", format!("identifier=urn:test|once-{round}"));
                        send(fhir(request, &org)).status
                    })
                })
                .collect();
            handles.into_iter().map(|h| h.join().unwrap()).collect()
        });
        let created = statuses.iter().filter(|s| **s == 201).count();
        let found = statuses.iter().filter(|s| **s == 200).count();
        assert_eq!((created, found), (1, 5), "{statuses:?}");
        let query = format!("identifier=urn:test|once-{round}");
        assert_eq!(server.count("import-client", "Organization", &query), 1);
    }
}

#[test]
fn of_two_updates_of_one_version_only_one_is_taken() {
    let world = clinic();
    let server = world.serve();
    for n in 0..4 {
        let o = fixture::observation(BY_TEAM, n);
        let statuses: Vec<u16> = std::thread::scope(|s| {
            let handles: Vec<_> = (0..6)
                .map(|_| {
                    s.spawn(|| {
                        send(server.put_request("physician", &o).header("if-match", "W/\"1\""))
                            .status
                    })
                })
                .collect();
            handles.into_iter().map(|h| h.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|s| [200, 409, 412].contains(s)), "{statuses:?}");
        let path = format!("Observation/{}", o["id"].as_str().unwrap());
        assert_eq!(server.get("physician", &path).expect(200).header("etag"), "W/\"2\"");
    }
}

#[test]
fn a_transaction_resolves_what_its_entries_refer_to() {
    let world = clinic();
    let server = world.serve();
    let npi = format!("npi-{}", fixture::FIELD_PRACTITIONER);
    let entry = |urn: &str, resource: serde_json::Value, ty: &str| json!({"fullUrl": urn, "resource": resource, "request": {"method": "POST", "url": ty}});
    let (p, e) = (
        "urn:uuid:7b1e7a30-13d5-4a4e-8a51-5a6c34e8f001",
        "urn:uuid:7b1e7a30-13d5-4a4e-8a51-5a6c34e8f002",
    );
    let practitioner = json!({"reference": format!("Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|{npi}")});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        entry(e, json!({"resourceType": "Encounter", "status": "finished",
            "class": {"code": "AMB"}, "subject": {"reference": p},
            "participant": [{"individual": practitioner}]}), "Encounter"),
        entry(p, json!({"resourceType": "Patient", "gender": "other"}), "Patient"),
        entry("urn:uuid:7b1e7a30-13d5-4a4e-8a51-5a6c34e8f003",
            json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                "subject": {"reference": p}, "encounter": {"reference": e}}), "Observation"),
    ]});
    let done = server.post("import-client", "", &bundle).expect(200).json();
    assert_eq!(done["type"], "transaction-response");
    let at = |i: usize| {
        let response = &done["entry"][i]["response"];
        assert_eq!(response["status"], "201 Created", "{done}");
        let location = response["location"].as_str().unwrap();
        let path = location.strip_prefix(&format!("{}/", server.base())).unwrap();
        path.split("/_history").next().unwrap().to_owned()
    };
    let (encounter, patient, observation) = (at(0), at(1), at(2));
    let read = |path: &str| server.get("import-client", path).expect(200).json();
    assert_eq!(read(&encounter)["subject"]["reference"], patient.as_str());
    assert_eq!(
        read(&encounter)["participant"][0]["individual"]["reference"],
        format!("Practitioner/{}", fixture::FIELD_PRACTITIONER)
    );
    assert_eq!(read(&observation)["subject"]["reference"], patient.as_str());
    assert_eq!(read(&observation)["encounter"]["reference"], encounter.as_str());
}

#[test]
fn a_transaction_stores_all_or_nothing() {
    let world = clinic();
    let server = world.serve();
    let before = server.count("import-client", "Organization", "");
    let org = |name: &str| json!({"resourceType": "Organization", "name": name});
    let post = |resource: serde_json::Value| {
        let ty = resource["resourceType"].clone();
        json!({"resource": resource, "request": {"method": "POST", "url": ty}})
    };
    let bundle = |entries: Vec<serde_json::Value>| json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    for (status, path, last) in [
        (400, "Bundle.entry[1]", post(json!({"resourceType": "Patient", "gender": "no such"}))),
        (
            412,
            "",
            post(json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "performer": [{"reference": "Practitioner?identifier=nobody-at-all"}]})),
        ),
        (400, "Bundle.entry[1]", json!({"resource": org("no request")})),
        (
            412,
            "",
            json!({"resource": {"resourceType": "Organization", "id": "org-clinic", "name": "x"},
            "request": {"method": "PUT", "url": "Organization/org-clinic", "ifMatch": "W/\"44\""}}),
        ),
    ] {
        let answer = server.post("import-client", "", &bundle(vec![post(org("one")), last]));
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(outcome(&answer).iter().any(|(_, p, _)| p.contains(path)), "{}", answer.text());
        assert_eq!(server.count("import-client", "Organization", ""), before);
    }
    let twice = json!({"resource": {"resourceType": "Organization", "id": "twice", "name": "x"},
        "request": {"method": "PUT", "url": "Organization/twice"}});
    let _ = server.post("import-client", "", &bundle(vec![twice.clone(), twice])).expect(400);
    assert_eq!(server.count("import-client", "Organization", ""), before);
}

#[test]
fn a_batch_keeps_its_entries_apart() {
    let world = clinic();
    let server = world.serve();
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": format!("Patient/{}", BY_TEAM.id)}},
        {"resource": {"resourceType": "Patient", "gender": "no such"},
            "request": {"method": "POST", "url": "Patient"}},
        {"resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{}", BY_TEAM.id)}},
            "request": {"method": "POST", "url": "Observation"}},
        {"request": {"method": "GET", "url": "Patient/absent"}},
        {"request": {"method": "GET", "url": format!("Condition?patient={}", BY_TEAM.id)}},
    ]});
    let done = server.post("physician", "", &batch).expect(200).json();
    let statuses: Vec<&str> = done["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["response"]["status"].as_str().unwrap().get(..3).unwrap())
        .collect();
    assert_eq!(statuses, ["200", "400", "201", "404", "200"], "{done}");
    assert_eq!(done["entry"][0]["resource"]["id"], BY_TEAM.id);
    assert_eq!(done["entry"][4]["resource"]["total"], fixture::CONDITIONS as u64);
    // Each entry passes policy by itself.
    let as_desk = server.post("front-desk", "", &batch).expect(200).json();
    assert_eq!(as_desk["entry"][4]["resource"]["total"], 0, "{as_desk}");
}
