//! Marked patients, every route and many failures, and then a search through every
//! byte that was written anywhere (invariants 3 and 8).

use std::fs;
use std::io::Write as _;
use std::path::Path;

use phial_testkit::browser::{Browser, invite};
use phial_testkit::canary::{Report, Scanner};
use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send, try_send};
use reqwest::Method;
use serde_json::json;

use crate::attachments::{path_of, upload};
use crate::clinic::{clinic, pause};

/// Everything under the world's directory and all that was printed.
fn scan(world: &World, printed: &[u8]) -> Report {
    let scanner = Scanner::new(&fixture::needles()).unwrap();
    let mut report = scanner.scan(&[world.dir()]).unwrap();
    scanner.bytes(Path::new("printed"), printed, &mut report);
    report
}

/// Reads, searches and writes that succeed.
fn work(server: &Server) {
    for p in fixture::PEOPLE {
        for role in ["physician", "billing", "front-desk", "field-clinician", "privacy-officer"] {
            let _ = server.get(role, &format!("Patient/{}", p.id));
            let _ = server.get(role, &format!("Condition/{}", id("cond", p, 0)));
            let _ = server.search(role, "Patient", &format!("family={}&_sort=family", p.family));
            let _ = server.search(role, "Patient", &format!("identifier={}", p.ssn));
            let _ = server.search(role, "Patient", &format!("phone={}", p.phone));
            let _ = server.search(role, "Patient", "address=17&_count=1");
            for (ty, query) in [
                ("Observation", format!("patient.family={}&_count=2", p.family)),
                ("Observation", format!("subject:Patient.identifier={}&_count=2", p.ssn)),
                ("Patient", format!("_has:RelatedPerson:patient:name={}", p.family)),
                ("Patient", format!("_filter=family+eq+{}+or+phone+eq+{}", p.family, p.phone)),
                ("Condition", "_content=gambling+debts&code:text=diabetes&_count=2".to_owned()),
                ("Patient", format!("_id={}&_revinclude=*&_include:iterate=*", p.id)),
            ] {
                let _ = server.search(role, ty, &query);
            }
            let whole = server.request(role, Method::POST, "_search");
            let form = format!("_type=Patient,Condition&_id={}&_count=1", p.id);
            let _ =
                send(whole.header("content-type", "application/x-www-form-urlencoded").body(form));
            let packed = server.request(role, Method::GET, &format!("Patient/{}/_history", p.id));
            let _ = send(packed.header("accept-encoding", "gzip, br;q=0.5"));
            let _ = server.search(
                role,
                "Observation",
                &format!("patient={}&_sort=-date&_include=Observation:patient", p.id),
            );
        }
        for role in ["physician", "billing", "privacy-officer"] {
            let _ = server.get(role, &format!("Patient/{}/$everything", p.id)).expect(200);
            let _ = server.get(role, &format!("Patient/{}/$meta", p.id)).expect(200);
        }
        let tag = json!({"resourceType": "Parameters", "parameter": [
            {"name": "meta", "valueMeta": {"tag": [{"code": "x", "display": p.family}]}}]});
        let path = format!("Observation/{}/$meta-add", id("obs", p, 2));
        let _ = server.post("physician", &path, &tag).expect(200);
        let mut o = fixture::observation(p, 0);
        o["valueQuantity"]["value"] = json!(99);
        let _ = server.put("physician", &o).expect(200);
        let mut again = fixture::patient(p);
        again["active"] = json!(true);
        let _ = server.put("import-client", &again).expect(200);
        let _ = server.delete("physician", &format!("Observation/{}", id("obs", p, 1)));
        let moved = json!([{"op": "replace", "path": "/address/0/line/0",
            "value": format!("{} again", p.street)},
            {"op": "test", "path": "/telecom/0/value", "value": p.phone}]);
        let _ = patch(server, "front-desk", &format!("Patient/{}", p.id), &moved).expect(200);
        for role in ["physician", "front-desk", "billing", "interface-engine"] {
            let _ = server.get(role, "Patient/_history?_count=3").expect(200);
            let _ = server.get(role, "_history?_count=30").expect(200);
        }
        // Content of its own, small and in several chunks, read in every way.
        let line = format!("{} {} {} {}\n", p.family, p.ssn, p.street, fixture::NOTE);
        for lines in [1, 3000] {
            let sent = line.repeat(lines).into_bytes();
            let context = crate::attachments::context(p);
            let written =
                upload(server, "physician", Some(&context), "text/plain", &sent).expect(201);
            let path = path_of(&written);
            assert!(server.get("physician", &path).expect(200).body == sent);
            let part = server.request("physician", Method::GET, &path);
            let _ = send(part.header("range", "bytes=5-40")).expect(206);
            let json = server.request("physician", Method::GET, &path);
            let _ = send(json.header("accept", "application/fhir+json")).expect(200);
        }
    }
    // Conditions that the entries of a transaction satisfy, about marked people.
    let p = BY_TEAM;
    let mut twin = fixture::patient(p);
    twin.as_object_mut().unwrap().remove("id");
    twin["identifier"] = json!([{"system": "urn:x", "value": format!("{}-2", p.mrn)}]);
    let mut about = fixture::observation(p, 0);
    about.as_object_mut().unwrap().remove("id");
    about["subject"]["reference"] = json!(format!("Patient?identifier=urn:x|{}-2", p.mrn));
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": twin, "request": {"method": "POST", "url": "Patient",
            "ifNoneExist": format!("identifier=urn:x|{}-2", p.mrn)}},
        {"resource": about, "request": {"method": "POST", "url": "Observation"}}]});
    let whose = json!({"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"display": p.family}}]});
    let request = fhir(server.request("interface-engine", Method::POST, ""), &bundle);
    let _ = send(request.header("x-provenance", whose.to_string())).expect(200);
}

fn patch(server: &Server, role: &str, path: &str, body: &serde_json::Value) -> Answer {
    let request = server.request(role, Method::PATCH, path);
    send(request.header("content-type", "application/json-patch+json").body(body.to_string()))
}

/// Exports and imports, whose files lie on the disk while they are looked through.
fn bulk(server: &Server) {
    let settled = |role: &str, answer: phial_testkit::world::Answer| {
        let status = answer.expect(202).header("content-location").to_owned();
        loop {
            let answer = server.get(role, &status);
            if answer.status != 202 {
                return answer.expect(200).json();
            }
            pause();
        }
    };
    let role = "privacy-officer";
    let filter = format!("Patient?family={}", BY_TEAM.family);
    let asked = json!({"resourceType": "Parameters", "parameter": [
        {"name": "patient", "valueReference": {"reference": format!("Patient/{}", BY_TEAM.id)}},
        {"name": "_typeFilter", "valueString": filter}]});
    for (path, body) in
        [("$export", json!({"resourceType": "Parameters"})), ("Patient/$export", asked)]
    {
        let request = fhir(server.request(role, Method::POST, path), &body);
        let manifest = settled(role, send(request.header("prefer", "respond-async")));
        for file in manifest["output"].as_array().unwrap() {
            let _ = server.get(role, file["url"].as_str().unwrap()).expect(200);
        }
    }
    let role = "import-client";
    let mut lines: Vec<String> = fixture::records().iter().map(ToString::to_string).collect();
    lines.extend([
        format!("{} {}", BY_TEAM.ssn, BY_TEAM.phone),
        json!({"resourceType": "Patient", "gender": BY_TEAM.family}).to_string(),
        json!({"resourceType": BY_TEAM.family}).to_string(),
    ]);
    let request = server.request(role, Method::POST, "$import");
    let request = request.header("content-type", "application/fhir+ndjson");
    let manifest = settled(role, send(request.body(lines.join("\n"))));
    let told = server.get(role, manifest["error"][0]["url"].as_str().unwrap()).expect(200);
    let scanner = Scanner::new(&fixture::needles()).unwrap();
    let mut report = Report::default();
    scanner.bytes(Path::new("what an import left out"), &told.body, &mut report);
    assert!(report.is_clean(), "{report}");
}

/// Requests that fail in as many ways as there are, each holding marked words. What
/// is answered to them is given back.
fn fail(server: &Server) -> Vec<u8> {
    let mut answers = Vec::new();
    let p = BY_TEAM;
    let ask = |role: &str, method: Method, path: &str| server.request(role, method, path);
    let bodies = [
        json!({"resourceType": "Patient", "id": p.id, "gender": p.family}).to_string(),
        json!({"resourceType": "Patient", "birthDate": p.street}).to_string(),
        json!({"resourceType": "Patient", "name": p.family}).to_string(),
        json!({"resourceType": "Patient", "name": [{"family": [p.family]}]}).to_string(),
        json!({"resourceType": p.family}).to_string(),
        json!({"resourceType": "Observation", "subject": {"reference": p.street}}).to_string(),
        format!("{{\"resourceType\":\"Patient\",\"name\":\"{}\"", p.family),
        format!("{} {}", p.ssn, p.phone),
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"resource": {"resourceType": "Observation", "status": "final",
                "code": {"text": fixture::DISPLAYS[0]},
                "subject": {"reference": format!("Patient?identifier={}", p.ssn)}},
             "request": {"method": "POST", "url": "Observation"}},
            {"request": {"method": "PUT", "url": format!("Patient/{}", p.family)}},
            {"request": {"method": p.family, "url": p.street}}]})
        .to_string(),
    ];
    for body in bodies {
        for (method, path) in [
            (Method::POST, "Patient"),
            (Method::POST, ""),
            (Method::PUT, "Patient/other"),
            (Method::POST, "Patient/$validate"),
            (Method::POST, "ValueSet/$expand"),
        ] {
            for role in ["import-client", "billing", "auditor"] {
                answers.push(send(
                    ask(role, method.clone(), path)
                        .header("content-type", "application/fhir+json")
                        .body(body.clone()),
                ));
            }
        }
    }
    let street = p.street.replace(' ', "%20");
    for (method, path) in [
        (Method::GET, format!("Patient?family={}", p.family)),
        (Method::GET, format!("Patient?birthdate={}", p.family)),
        (Method::GET, format!("Patient?_sort={}", p.family)),
        (Method::GET, format!("Patient?_include={}", p.family)),
        (Method::GET, format!("Patient?_page={}", p.family)),
        (Method::GET, format!("Patient?_filter=family%20eq%20{}", p.family)),
        (Method::GET, format!("Patient?_filter=family%20{}", p.family)),
        (Method::GET, format!("Patient?_filter={0}%20eq%20%22{0}%22", p.family)),
        (Method::GET, format!("Observation?patient.family={}", p.family)),
        (Method::GET, format!("Observation?code:in={}", p.family)),
        (Method::GET, format!("Observation?code:below={0}|{0}", p.family)),
        (Method::GET, format!("Patient?identifier:of-type={}", p.ssn)),
        (Method::GET, format!("Patient?_list=${}", p.family)),
        (Method::GET, format!("Condition?_text=(%22{}", p.family)),
        (Method::GET, format!("?_type={}", p.family)),
        (Method::GET, format!("Patient/{}/{}", p.id, p.family)),
        (Method::GET, format!("{}/{}", p.family, p.id)),
        (Method::GET, format!("Patient/{street}")),
        (Method::PATCH, format!("Patient/{}", p.id)),
        (Method::GET, format!("Patient/{}/$everything?_type={}", p.id, p.family)),
        (Method::GET, format!("Patient/{}/$everything?_page={}", p.id, p.family)),
        (Method::GET, format!("$export?_typeFilter=Patient?family={}", p.family)),
        (Method::GET, format!("Observation/{}", id("obs", UNTIED, 2))),
    ] {
        for role in ["physician", "field-clinician", "auditor"] {
            answers.push(send(ask(role, method.clone(), &path)));
        }
    }
    for (role, body) in [
        ("front-desk", json!([{"op": "test", "path": "/name/0/family", "value": p.street}])),
        ("front-desk", json!([{"op": "add", "path": format!("/{}", p.family), "value": p.ssn}])),
        ("front-desk", json!([{"op": p.family, "path": p.street}])),
        ("front-desk", json!([{"op": "replace", "path": "/gender", "value": p.phone}])),
        ("interface-engine", json!([{"op": "replace", "path": "/birthDate", "value": p.mrn}])),
        ("interface-engine", json!({"resourceType": p.family})),
    ] {
        for path in [format!("Patient/{}", p.id), format!("Patient?_id={}", p.id)] {
            answers.push(patch(server, role, &path, &body));
        }
    }
    let by_path = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": format!("Patient.name.where(family = '{}').{}", p.family, p.given)},
        {"name": "value", "valueString": p.ssn}]}]});
    answers.push(send(fhir(
        ask("interface-engine", Method::PATCH, &format!("Patient/{}", p.id)),
        &by_path,
    )));
    let wrong = json!({"resourceType": "Provenance", "recorded": p.family, "agent": [p.ssn]});
    let request = server.put_request("interface-engine", &fixture::patient(p));
    answers.push(send(request.header("x-provenance", wrong.to_string())));
    answers.push(send(ask(
        "interface-engine",
        Method::DELETE,
        &format!("Patient?birthdate={}", p.family),
    )));
    answers.push(send(ask(
        "interface-engine",
        Method::GET,
        &format!("_history?_since={}", p.family),
    )));
    answers.push(send(ask(
        "interface-engine",
        Method::GET,
        &format!("_history?_page={}", p.family),
    )));
    let update = || {
        server.put_request(
            "import-client",
            &json!({
        "resourceType": "Patient", "id": p.id, "name": [{"family": p.family}]}),
        )
    };
    answers.push(send(update().header("if-match", p.family)));
    answers.push(send(update().header("if-match", "W/\"77\"")));
    answers.push(send(
        fhir(ask("import-client", Method::POST, "Patient"), &fixture::patient(p))
            .header("if-none-exist", format!("identifier={}", p.ssn)),
    ));
    // Words in headers about form, and in bodies that come compressed.
    let read = || ask("physician", Method::GET, &format!("Patient/{}", p.id));
    for name in ["accept", "accept-encoding", "origin", "prefer", "range"] {
        answers.push(send(read().header(name, p.family)));
    }
    for (coding, body) in [
        ("zstd", zstd_of(fixture::patient(p).to_string().as_bytes())),
        ("zstd", zstd_of(p.street.as_bytes())),
        ("gzip", p.street.as_bytes().to_vec()),
        (p.family, p.street.as_bytes().to_vec()),
    ] {
        let request = ask("auditor", Method::POST, "Patient").header("content-encoding", coding);
        answers.push(send(request.header("content-type", "application/fhir+json").body(body)));
    }
    let typed = ask("import-client", Method::POST, "Patient").header("content-type", p.family);
    answers.push(send(typed.body(p.street)));
    // Uploads that are refused, and one that is cut off in the middle.
    let note = format!("{} {}", p.family, fixture::NOTE);
    for (role, context, kind) in [
        ("billing", "Patient/x", "text/plain"),
        ("physician", p.family, "text/plain"),
        ("physician", "Patient/x", p.family),
    ] {
        answers.push(upload(server, role, Some(context), kind, note.as_bytes()));
    }
    let mut tls = crate::attachments::raw(server);
    let head = format!(
        "POST /fhir/Binary HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: \
         text/plain\r\nContent-Length: 900000\r\n\r\n{}",
        server.authority(),
        server.token("physician"),
        note.repeat(2000)
    );
    tls.write_all(head.as_bytes()).unwrap();
    drop(tls);
    // Outside the bases, where nobody is known yet.
    let root = server.base().trim_end_matches("/fhir");
    let named = json!({"client_name": p.family, "redirect_uris": [p.street]}).to_string();
    answers.push(send(server.client().post(format!("{root}/oauth/register")).body(named)));
    for query in [format!("state={}&code={}", p.family, p.ssn), format!("error={}", p.family)] {
        answers.push(send(server.client().get(format!("{root}/login/sso/x/back?{query}"))));
    }
    let unknown = server.client().get(format!("{}/Patient/{}", server.base(), p.id));
    answers.push(send(unknown.bearer_auth(p.family).header("user-agent", "ua")));
    // A parameter that nobody knows is named to the one who sent it, so these two
    // answers may hold what was put in its place; files and output may not.
    let _ = send(ask("physician", Method::GET, &format!("Patient?{}={}", p.family, p.ssn)));
    let _ = send(
        fhir(ask("import-client", Method::POST, "Patient"), &fixture::patient(p))
            .header("if-none-exist", format!("{}={}", p.family, p.ssn)),
    );
    let mut text = Vec::new();
    for a in answers {
        assert!(a.status < 500, "{}", a.text());
        if a.status >= 400 {
            text.extend_from_slice(&a.body);
            text.push(b'\n');
        }
    }
    text
}

/// Emergency access by the pages, with marked words in all that is typed.
fn emergency(world: &World, server: &Server) {
    let mut ana = Browser::new(server);
    let _ = ana.accept(&invite(world, "ana", &[]));
    let why = format!("{} {} of {}", UNTIED.given, UNTIED.family, UNTIED.street);
    let fields =
        |patient| [("patient", patient), ("reason", "emergency-treatment"), ("text", why.as_str())];
    for (patient, status) in [(UNTIED.phone, 404), (UNTIED.ssn, 404), (UNTIED.mrn, 303)] {
        let answer = ana.post("/break-glass/new", "/break-glass", &fields(patient));
        let to = answer.expect(status).header("location").to_owned();
        if status == 303 {
            assert!(ana.get(&to).expect(200).text().contains(UNTIED.family));
        }
    }
    let mut petra = Browser::new(server);
    let _ = petra.accept(&invite(world, "petra", &[]));
    let all = world.ok(&["break-glass", "list", "--as", "petra"]);
    let case = format!("/break-glass/reviews/{}", all[0]["id"].as_str().unwrap());
    let _ = petra.post(&case, &format!("{case}/end"), &[]).expect(303);
    let sign = [("finding", "follow-up"), ("text", why.as_str())];
    let _ = petra.post(&case, &case, &sign).expect(303);
    let record = format!("Condition/{}", id("cond", UNTIED, 0));
    let _ = world.ok(&["policy", "explain", "ana", &record, "--as", "petra"]);
}

#[test]
fn no_marked_word_is_in_any_file_or_any_output() {
    let world = clinic();
    let server = world.serve();
    work(&server);
    emergency(&world, &server);
    bulk(&server);
    let answers = fail(&server);
    let scanner = Scanner::new(&fixture::needles()).unwrap();
    let mut said = Report::default();
    scanner.bytes(Path::new("answers to failures"), &answers, &mut said);
    assert!(said.is_clean(), "an error repeats a value: {said}");

    let while_serving = scan(&world, &server.printed());
    assert!(while_serving.is_clean(), "{while_serving}");
    assert!(while_serving.files > 10 && while_serving.bytes > 500_000, "{while_serving}");

    // A crash in the middle of writing.
    std::thread::scope(|s| {
        let writing = s.spawn(|| {
            (0..usize::MAX)
                .take_while(|n| {
                    let mut o = fixture::observation(BY_TEAM, n % 12);
                    o["note"] = json!([{"text": format!("{} again {n}", fixture::NOTE)}]);
                    try_send(server.put_request("physician", &o)).is_some()
                })
                .count()
        });
        let pid = server.pid();
        for p in fixture::PEOPLE {
            let _ = server.get("physician", &format!("Patient/{}", p.id));
        }
        phial_testkit::world::kill(pid);
        let _ = writing.join().unwrap();
    });
    let ended = server.kill();
    let printed = [ended.out.as_bytes(), ended.err.as_bytes()].concat();
    let after_crash = scan(&world, &printed);
    assert!(after_crash.is_clean(), "{after_crash}");

    // The operator's commands print no more.
    let mut printed = Vec::new();
    for args in [
        &["verify"][..],
        &["audit", "verify"],
        &["user", "list"],
        &["job", "list"],
        &["keys", "rotate"],
    ] {
        let ran = world.run(args);
        printed.extend_from_slice(ran.out.as_bytes());
        printed.extend_from_slice(ran.err.as_bytes());
    }
    let _ = world.serve().stop().expect(0);
    let at_rest = scan(&world, &printed);
    assert!(at_rest.is_clean(), "{at_rest}");
}

#[test]
fn a_deliberately_unsealed_store_fails_the_scan() {
    let world = clinic();
    assert!(scan(&world, &[]).is_clean());
    let decoy = world.home().join("data/default/decoy.db");
    let record = fixture::patient(BY_TEAM).to_string();
    let hidden: [(&str, Vec<u8>); 4] = [
        ("plain", record.clone().into_bytes()),
        ("zstd", zstd_of(record.as_bytes())),
        ("hex", hex::encode(&record).into_bytes()),
        ("utf-16", record.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    for (how, bytes) in hidden {
        fs::write(&decoy, bytes).unwrap();
        assert!(!scan(&world, &[]).is_clean(), "{how}");
    }
    fs::remove_file(&decoy).unwrap();
    assert!(!scan(&world, BY_TEAM.ssn.as_bytes()).is_clean(), "what is printed counts too");
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    phial_testkit::canary::pack(bytes).unwrap()
}

#[test]
fn the_policy_refuses_without_touching_names() {
    // The names of the accounts and roles may be read; that is what tells this test
    // from one that scans an empty directory.
    let world = clinic();
    let server = world.serve();
    let _ = send(fhir(
        server.request("billing", Method::POST, "Condition"),
        &fixture::condition(BY_TEAM, 0),
    ))
    .expect(403);
    let printed = server.printed();
    let text = String::from_utf8_lossy(&printed);
    assert!(text.contains("https://127.0.0.1"), "the server's own line is in what was kept");
    assert!(!text.contains(BY_TEAM.family));
}
