//! Leaks that other servers had, each tried against this one over HTTP. The table in
//! docs/threat-model.md ("What others leaked") says which test answers which report;
//! reports that a test elsewhere answers are named there and not repeated here.

use std::collections::BTreeSet;

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{PHIAL, clinic, face, findings};

fn log(world: &World, n: usize) -> Vec<Value> {
    world.ok(&["audit", "tail", "-n", &n.to_string()]).as_array().unwrap().clone()
}

/// `Type/id` of every record that an entry names.
fn named(entry: &Value) -> BTreeSet<String> {
    let all = entry["what"].as_array().into_iter().flatten();
    all.map(|t| format!("{}/{}", t["resource_type"].as_str().unwrap(), t["id"].as_str().unwrap()))
        .collect()
}

/// Two answers that must tell the same: status, headers and text, but for the length of
/// what was asked for.
fn same(a: &Answer, b: &Answer, what: &str) {
    let plain = |answer: &Answer| {
        let (status, headers, text) = face(answer);
        let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        (status, headers, json["total"].clone(), json["entry"].clone(), json["issue"].clone())
    };
    assert_eq!(plain(a), plain(b), "{what}");
}

// hapi-fhir#6065: `_has` told whether forbidden Observations exist.
#[test]
fn has_reveals_no_forbidden_record() {
    let world = clinic();
    let server = world.serve();
    // The labelled condition of every patient; a code of the same length that nobody has.
    let has = |role: &str, code: &str, of: &str| {
        let query = format!("_has:Condition:patient:code={code}&_id={of}");
        server.search(role, "Patient", &query)
    };
    for role in ["physician", "nurse", "field-clinician", "billing", "front-desk", "auditor"] {
        for p in [BY_TEAM, UNTIED] {
            // Who treats the patient may read it, and so find by it.
            let path = format!("Condition/{}", id("cond", p, 2));
            if server.get(role, &path).status == 200 {
                continue;
            }
            same(&has(role, "86406008", p.id), &has(role, "86406999", p.id), role);
        }
    }
    // Whom the field clinician does not treat is not found by what is seen of others.
    for code in ["44054006", "44054999"] {
        let found = has("field-clinician", code, UNTIED.id);
        assert!(found.ids("match").is_empty(), "{}", found.text());
    }
    // It does find what may be seen, once it is there at all.
    let seen = has("physician", "44054006", UNTIED.id);
    assert!(seen.status != 200 || seen.ids("match") == [UNTIED.id], "{}", seen.text());
    let officer = has("privacy-officer", "86406008", UNTIED.id);
    assert!(officer.status != 200 || officer.ids("match") == [UNTIED.id], "{}", officer.text());
}

// medplum#9973: chained subqueries ran without the policy's filters.
#[test]
fn chains_obey_the_policy_at_every_link() {
    let world = clinic();
    let server = world.serve();
    let hidden = json!({"resourceType": "Encounter", "id": "enc-hidden", "status": "finished",
        "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "PSY"}]},
        "class": {"system": "urn:c", "code": "SECRET"}, "subject": {"reference": format!("Patient/{}", BY_TEAM.id)},
        "serviceProvider": {"reference": "Organization/org-clinic"}});
    let _ = server.put("import-client", &hidden).expect(201);
    let mut o = fixture::observation(BY_TEAM, 0);
    o["id"] = json!("obs-pointing");
    o["encounter"]["reference"] = json!("Encounter/enc-hidden");
    let _ = server.put("import-client", &o).expect(201);
    let ask = |role: &str, ty: &str, query: &str| server.search(role, ty, query);
    for role in ["physician", "nurse", "field-clinician", "billing", "front-desk"] {
        for (ty, hit, miss) in [
            ("Observation", "encounter.class=SECRET", "encounter.class=ABSENT"),
            (
                "Observation",
                "_id=obs-pointing&encounter.service-provider.name=Clinic",
                "_id=obs-pointing&encounter.service-provider.name=Nobody",
            ),
            // A number that is the privacy officer's alone.
            ("Condition", "patient.identifier=999-41-7719", "patient.identifier=999-41-0000"),
            (
                "Observation",
                "patient.identifier=http://hl7.org/fhir/sid/us-ssn|999-41-7719",
                "patient.identifier=http://hl7.org/fhir/sid/us-ssn|999-41-0000",
            ),
        ] {
            // Who treats the patient may read it, and so find by it.
            let labelled = hit.contains("encounter");
            if labelled && server.get(role, "Encounter/enc-hidden").status == 200 {
                continue;
            }
            same(&ask(role, ty, hit), &ask(role, ty, miss), &format!("{role} {ty}?{hit}"));
        }
    }
    let untied = format!("patient.family={}", UNTIED.family);
    let nobody = format!("patient.family={}", "Nobodyatall1");
    for ty in ["Observation", "Condition", "Encounter"] {
        same(&ask("field-clinician", ty, &untied), &ask("field-clinician", ty, &nobody), ty);
    }
    let officer = ask("privacy-officer", "Observation", "encounter.class=SECRET");
    assert!(
        officer.status != 200 || officer.ids("match") == ["obs-pointing"],
        "{}",
        officer.text()
    );
}

/// A second tenant with an importer, a privacy officer and nothing else.
struct Annexe {
    officer: String,
    import: String,
}

impl Annexe {
    fn of(world: &World) -> Annexe {
        let _ = world.ok(&["init", "--tenant", "annexe"]);
        let account = |name: &str, role: &str| -> String {
            let _ = world.ok(&["user", "add", name, "--role", role, "--tenant", "annexe"]);
            let issued = world.ok(&["token", "--user", name, "--tenant", "annexe"]);
            issued["token"].as_str().unwrap().to_owned()
        };
        Annexe {
            officer: account("petra", "privacy-officer"),
            import: account("ivo", "import-client"),
        }
    }

    fn ask(&self, server: &Server, path: &str) -> Answer {
        let url = format!("https://{}/t/annexe/fhir/{path}", server.authority());
        send(server.client().get(url).bearer_auth(&self.officer))
    }

    fn search(&self, server: &Server, ty: &str, query: &str) -> Answer {
        let url = format!("https://{}/t/annexe/fhir/{ty}/_search", server.authority());
        send(
            server
                .client()
                .post(url)
                .bearer_auth(&self.officer)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(query.to_owned()),
        )
    }

    fn write(
        &self,
        server: &Server,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let url = format!("https://{}/t/annexe/fhir/{path}", server.authority());
        let mut request = server.client().request(method, url).bearer_auth(&self.import);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(fhir(request, body))
    }
}

// hapi-fhir#2220 (searches leaked over partitions, `_id` first), #2853 (`_source`).
#[test]
fn no_search_of_one_tenant_finds_what_is_anothers() {
    let world = clinic();
    let annexe = Annexe::of(&world);
    let server = world.serve();
    let mut marked = fixture::condition(BY_TEAM, 0);
    marked["id"] = json!("cond-marked");
    marked["meta"] = json!({"source": "http://acme.org/aaa",
        "tag": [{"system": "urn:t", "code": "mark"}],
        "profile": ["http://acme.org/profile"]});
    let _ = server.put("import-client", &marked).expect(201);
    for query in [
        "",
        "_id=cond-marked",
        "_tag=urn:t|mark",
        "_profile=http://acme.org/profile",
        "_source=http://acme.org/aaa",
        "_security=HIV",
        "_lastUpdated=gt2000-01-01",
        "code=44054006",
        "code:not=never",
        "subject:missing=false",
        &format!("patient={}", BY_TEAM.id),
        "_sort=-onset-date",
        "_include=Condition:patient",
        "_revinclude=Observation:focus",
        "patient.gender=unknown",
        "_has:Observation:focus:code=2339-0",
        "_list=visible-list",
        "_filter=code eq 44054006",
        "_text=Diabetes",
        "_content=gambling",
        "code:text=Diabetes",
    ] {
        let there = annexe.search(&server, "Condition", query);
        if there.status == 200 {
            assert_eq!(there.json()["total"], 0, "{query}: {}", there.text());
            assert!(there.ids("match").is_empty() && there.ids("include").is_empty(), "{query}");
        } else {
            assert_eq!(there.status, 400, "{query}: {}", there.text());
        }
    }
    assert_eq!(server.count("privacy-officer", "Condition", "_tag=urn:t|mark"), 1, "it is here");
    for path in [
        "Condition/cond-marked",
        "Condition/cond-marked/_history",
        "Condition/cond-marked/_history/1",
        "Condition/cond-marked/$everything",
        "Condition/cond-marked/$meta",
    ] {
        let absent = path.replace("cond-marked", "cond-absent");
        same(&annexe.ask(&server, path), &annexe.ask(&server, &absent), path);
    }
}

// hapi-fhir#5184: a table of search URLs shared by all tenants made conditional creates
// of one fail on those of another.
#[test]
fn a_conditional_create_in_one_tenant_says_nothing_in_another() {
    let world = clinic();
    let annexe = Annexe::of(&world);
    let server = world.serve();
    let new = |family: &str| {
        json!({"resourceType": "Patient", "name": [{"family": family}],
        "identifier": [{"system": "urn:shared", "value": "foo"}]})
    };
    let condition = "identifier=urn:shared|foo";
    let here = |body: &Value| {
        let request = server.request("import-client", Method::POST, "Patient");
        send(fhir(request.header("if-none-exist", condition), body))
    };
    let there = |body: &Value| {
        annexe.write(&server, Method::POST, "Patient", &[("if-none-exist", condition)], body)
    };
    let first = here(&new("Here")).expect(201);
    let second = there(&new("There")).expect(201);
    assert_ne!(first.json()["id"], second.json()["id"]);
    assert_eq!(here(&new("Again")).status, 200);
    assert_eq!(there(&new("Again")).status, 200);
    let found = annexe.search(&server, "Patient", condition).expect(200);
    assert_eq!(found.entries("match")[0]["name"][0]["family"], "There");
    assert_eq!(server.count("import-client", "Patient", condition), 1);
    // In a transaction as well.
    let bundle = |family: &str| {
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [{
        "resource": {"resourceType": "Patient", "name": [{"family": family}],
            "identifier": [{"system": "urn:shared", "value": "bar"}]},
        "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:shared|bar"}}]})
    };
    let _ = server.post("import-client", "", &bundle("Here")).expect(200);
    let done = annexe.write(&server, Method::POST, "", &[], &bundle("There")).expect(200);
    assert!(done.json()["entry"][0]["response"]["status"].as_str().unwrap().starts_with("201"));
}

// hapi-fhir#7778: looking versions of references up over all partitions linked to, and
// included, another tenant's records.
#[test]
fn a_reference_to_another_tenants_record_leads_nowhere() {
    let world = clinic();
    let annexe = Annexe::of(&world);
    let server = world.serve();
    let pointing = |id: &str, patient: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final",
            "code": {"coding": [{"code": "x"}]},
            "subject": {"reference": format!("Patient/{patient}")}})
    };
    // An id that is the other tenant's, by its version and without, and one that is nobody's.
    let foreign = BY_TEAM.id;
    let nobody = "5d0c9b1e-0000-4b0f-9d0e-31c6f1a2b7e1";
    for (id, patient) in [
        ("to-foreign", foreign.to_owned()),
        ("to-nobody", nobody.to_owned()),
        ("to-foreign-version", format!("{foreign}/_history/1")),
        ("to-nobody-version", format!("{nobody}/_history/1")),
    ] {
        let body = pointing(id, &patient);
        let made = annexe
            .write(&server, Method::PUT, &format!("Observation/{id}"), &[], &body)
            .expect(201);
        let read = annexe.ask(&server, &format!("Observation/{id}")).expect(200);
        assert_eq!(
            read.json()["subject"]["reference"],
            format!("Patient/{patient}"),
            "as it was sent"
        );
        assert!(!made.text().contains(BY_TEAM.family));
        let found = annexe
            .search(&server, "Observation", &format!("_id={id}&_include=Observation:subject"))
            .expect(200);
        assert_eq!(found.ids("match"), [id]);
        assert!(found.ids("include").is_empty(), "{}", found.text());
        assert!(!found.text().contains(BY_TEAM.family));
    }
    let include = annexe.search(&server, "Patient", &format!("_id={foreign}")).expect(200);
    assert_eq!(include.json()["total"], 0);
    // Nor does a reference by search find what is the other tenant's.
    let by_search = |value: &str| {
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [{
            "resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                "subject": {"reference": format!("Patient?identifier={value}")}},
            "request": {"method": "POST", "url": "Observation"}}]});
        annexe.write(&server, Method::POST, "", &[], &bundle)
    };
    let (hit, miss) = (by_search(BY_TEAM.mrn), by_search("MRN-0Z0000"));
    assert_eq!(face(&hit), face(&miss));
    assert!(hit.status >= 400, "{}", hit.text());
}

// hapi-fhir#7888: the id of a search's result was good at another tenant's endpoint.
#[test]
fn a_page_of_one_tenant_opens_in_no_other() {
    let world = clinic();
    let annexe = Annexe::of(&world);
    let server = world.serve();
    let page = server.search("privacy-officer", "Patient", "_count=2").expect(200);
    for relation in ["self", "next"] {
        let token = page.link(relation).unwrap();
        let token = token.split("_page=").nth(1).unwrap();
        for ty in ["Patient", "Condition"] {
            let there = annexe.ask(&server, &format!("{ty}?_page={token}"));
            assert_eq!(there.status, 400, "{relation}: {}", there.text());
            assert!(!there.text().contains(BY_TEAM.family));
        }
    }
}

// LinuxForHealth#2090, medplum#10390: the log did not say which resources a search gave.
#[test]
fn the_log_names_every_record_that_a_search_gave() {
    let world = clinic();
    let server = world.serve();
    let mut page = server
        .search(
            "physician",
            "Observation",
            &format!(
                "patient={}&_count=5&_include=Observation:patient&_include=Observation:encounter",
                BY_TEAM.id
            ),
        )
        .expect(200);
    let mut pages = 0;
    loop {
        let given: BTreeSet<String> = ["match", "include"]
            .iter()
            .flat_map(|mode| page.entries(mode))
            .map(|r| {
                format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap())
            })
            .collect();
        let entries = log(&world, 3);
        let entry = entries.iter().rev().find(|e| e["kind"] == "search").unwrap();
        assert_eq!(named(entry), given);
        assert!(given.len() >= 3);
        assert_eq!(entry["who"]["user"], "ana");
        let patients: Vec<&str> =
            entry["patients"].as_array().unwrap().iter().filter_map(|p| p["id"].as_str()).collect();
        assert_eq!(patients, [BY_TEAM.id]);
        pages += 1;
        let Some(next) = page.link("next") else { break };
        page = server.get("physician", &next).expect(200);
    }
    assert_eq!(pages, 3);
    // One that gave nothing is in the log too, and a count is.
    let none = server.search("physician", "Observation", "code=never").expect(200);
    assert_eq!(none.json()["total"], 0);
    let count = server.count("physician", "Observation", "");
    assert!(count > 0);
    let entries = log(&world, 6);
    let searches: Vec<&Value> = entries.iter().filter(|e| e["kind"] == "search").collect();
    let given: Vec<_> = searches.iter().rev().take(3).map(|e| named(e).len()).collect();
    assert_eq!(given, [0, 0, 4], "the count, what found nothing, and the last page");
}

// medplum#6641 (reads are logged only when asked for), Firely (off by default): a home as
// `phial init` makes it logs every look, service accounts' too.
#[test]
fn a_home_as_it_is_made_logs_every_look_of_people_and_services() {
    let mut world = World::empty(PHIAL);
    world.user("ivo", "import-client", None);
    world.user("ana", "physician", None);
    let server = world.serve();
    let patient = json!({"resourceType": "Patient", "id": "p1", "gender": "other"});
    let _ = server.put("import-client", &patient).expect(201);
    for (role, user) in [("import-client", "ivo"), ("physician", "ana")] {
        for (kind, path) in [
            ("read", "Patient/p1"),
            ("search", "Patient"),
            ("search", "Patient?_summary=count"),
            ("read", "Patient/absent"),
            ("search", "Patient/p1/Condition"),
        ] {
            let answer = server.get(role, path);
            assert!([200, 404].contains(&answer.status), "{}", answer.text());
            let entries = log(&world, 2);
            let entry = entries.iter().rev().find(|e| e["kind"] != "audit-read").unwrap();
            assert_eq!(
                (&entry["kind"], &entry["who"]["user"]),
                (&json!(kind), &json!(user)),
                "{path}"
            );
        }
    }
}

// Aidbox leaves imports, token issue and configuration out of its log; nobody found logs
// looks at the log.
#[test]
fn accounts_tokens_imports_configuration_and_looks_at_the_log_are_in_the_log() {
    let world = World::empty(PHIAL);
    let kinds = |world: &World| -> Vec<String> {
        let all = log(world, 100);
        all.iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect()
    };
    let step = |args: &[&str]| -> Vec<String> {
        let before = kinds(&world).len();
        let _ = world.run(args).expect(0);
        kinds(&world).split_off(before)
    };
    let added = step(&["user", "add", "ana", "--role", "physician"]);
    assert!(added.len() > 1, "an account: {added:?}");
    let token = step(&["token", "--user", "ana"]);
    assert!(token.len() > 1, "a token: {token:?}");
    let file = world.dir().join("one.ndjson");
    std::fs::write(&file, json!({"resourceType": "Patient", "id": "p1"}).to_string()).unwrap();
    let import = step(&["import", file.to_str().unwrap()]);
    assert!(
        import.iter().any(|k| k == "intent") && import.iter().any(|k| k == "outcome"),
        "{import:?}"
    );
    let look = step(&["audit", "tail", "-n", "1"]);
    assert!(look.iter().any(|k| k == "audit-read"), "{look:?}");
    let toml = "[http]\nphi_in_urls = \"allow\"\nphi_in_urls_rationale = \"an old client\"\n";
    std::fs::write(world.home().join("phial.toml"), toml).unwrap();
    let before = kinds(&world).len();
    let _ = world.serve().stop().expect(0);
    let start = kinds(&world).split_off(before);
    for kind in ["config", "start", "stop"] {
        assert!(start.iter().any(|k| k == kind), "{kind}: {start:?}");
    }
}

// hapi-fhir#4787 (what waited to be logged was lost at shutdown), Firely (events beyond
// 10,000 waiting are dropped): whatever was answered is in the log, however it ended.
#[test]
fn every_answer_given_before_a_shutdown_or_a_kill_is_in_the_log() {
    for killed in [false, true] {
        let world = clinic();
        let server = world.serve();
        let path = format!("Condition/{}", id("cond", BY_TEAM, 0));
        let answered: usize = std::thread::scope(|s| {
            let (send, given) = std::sync::mpsc::channel();
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let (server, path, send) = (&server, &path, send.clone());
                    s.spawn(move || {
                        let client = phial_testkit::world::client(server.ca());
                        let mut given = 0;
                        loop {
                            let request = client
                                .get(format!("{}/{path}", server.base()))
                                .bearer_auth(server.token("nurse"));
                            let Some(answer) = phial_testkit::world::try_send(request) else {
                                return given;
                            };
                            if answer.status != 200 {
                                return given;
                            }
                            given += 1;
                            let _ = send.send(());
                        }
                    })
                })
                .collect();
            for _ in 0..60 {
                given.recv().unwrap();
            }
            if killed {
                phial_testkit::world::kill(server.pid());
            } else {
                phial_testkit::world::terminate(server.pid());
            }
            readers.into_iter().map(|r| r.join().unwrap()).sum()
        });
        let _ = server.wait();
        assert!(answered > 0);
        let logged = log(&world, answered * 2 + 200)
            .iter()
            .filter(|e| {
                e["kind"] == "read" && e["who"]["user"] == "nils" && e["outcome"] == "success"
            })
            .count();
        assert!(logged >= answered, "{answered} answers, {logged} entries, killed: {killed}");
        // Who was cut off may be in the log without an answer: four at most.
        assert!(logged <= answered + 4, "{answered} answers, {logged} entries, killed: {killed}");
        assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    }
}
