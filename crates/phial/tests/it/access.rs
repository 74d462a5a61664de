//! Ties with a beginning and an end, restrictions, consents, what codes label, and
//! emergency access: by every door, and equal in reads and searches.

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, copy_dir, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, findings};

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

fn plain(p: &fixture::Person) -> String {
    format!("Condition/{}", id("cond", p, 0))
}

fn labelled(p: &fixture::Person) -> String {
    format!("Condition/{}", id("cond", p, 2))
}

/// Whether a record is seen: the same in a read, a version, a history, a search, a count,
/// a chain, a chart and an export of one patient, or the test fails.
#[track_caller]
fn sees(server: &Server, role: &str, path: &str, p: &fixture::Person) -> bool {
    let (ty, rid) = path.split_once('/').unwrap();
    let read = server.get(role, path).status == 200;
    let version = server.get(role, &format!("{path}/_history/1")).status == 200;
    let history = server.get(role, &format!("{path}/_history")).status == 200;
    let query = format!("_id={rid}");
    let found = server.search(role, ty, &query).expect(200);
    let searched = found.ids("match") == [rid];
    let counted = server.count(role, ty, &query) == 1;
    let about = server.search(role, ty, &format!("patient=Patient/{}&_count=100", p.id));
    let listed = about.expect(200).ids("match").contains(&rid.to_owned());
    let chart = server.get(role, &format!("Patient/{}/$everything?_count=1000", p.id));
    let in_chart = chart.status == 200 && chart.text().contains(rid);
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": path}}]});
    let batched = send(fhir(server.request(role, Method::POST, ""), &batch)).expect(200);
    let in_batch = batched.json()["entry"][0]["response"]["status"]
        .as_str()
        .is_some_and(|s| s.starts_with("200"));
    for (door, seen) in [
        ("vread", version),
        ("history", history),
        ("search", searched),
        ("count", counted),
        ("search by patient", listed),
        ("batch", in_batch),
    ] {
        assert_eq!(seen, read, "{role} {path}: {door} and read differ");
    }
    // The chart begins with the patient, who may be out of sight as well.
    assert!(!in_chart || read, "{role} {path}: in the chart and not to be read");
    read
}

fn consent(name: &str, p: &fixture::Person, provision: Value) -> Value {
    json!({"resourceType": "Consent", "id": name, "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope",
            "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": format!("Patient/{}", p.id)},
        "policyRule": {"coding": [{"system": ACT, "code": "HIPAAAuth"}]},
        "provision": provision})
}

#[test]
fn a_consent_that_denies_takes_the_records_away_by_every_door_and_gives_them_back() {
    let world = clinic();
    let server = world.serve();
    let (of, other) = (plain(BY_TEAM), plain(UNTIED));
    assert!(sees(&server, "physician", &of, BY_TEAM));
    let deny = consent(
        "c-deny",
        BY_TEAM,
        json!({"type": "deny",
        "purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}],
        "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]}),
    );
    let _ = server.put("import-client", &deny).expect(201);
    for role in ["physician", "nurse", "field-clinician"] {
        assert!(!sees(&server, role, &of, BY_TEAM), "{role}");
    }
    // A patch that asks what is there is answered as if nothing were.
    let ask = json!([{"op": "test", "path": "/code/coding/0/code", "value": "44054006"}]);
    let request = server.request("physician", Method::PATCH, &of);
    let request = request.header("content-type", "application/json-patch+json");
    assert_eq!(send(request.body(ask.to_string())).status, 404);
    // It speaks of conditions, of treatment and of this patient.
    assert!(sees(&server, "physician", &other, UNTIED));
    assert!(sees(&server, "billing", &of, BY_TEAM));
    let observation = format!("Observation/{}", id("obs", BY_TEAM, 0));
    assert!(sees(&server, "physician", &observation, BY_TEAM));
    // Whoever keeps the record, and whoever answers for who saw what, must see it.
    assert!(server.get("privacy-officer", &of).status == 200);
    assert!(server.get("interface-engine", &of).status == 200);
    let mut ended = deny.clone();
    ended["status"] = json!("inactive");
    let _ = server.put("import-client", &ended).expect(200);
    assert!(sees(&server, "physician", &of, BY_TEAM));
    // A start with consents in the log is as good as having seen them written.
    let _ = server.put("import-client", &deny).expect(200);
    let _ = server.stop();
    let server = world.serve();
    assert!(!sees(&server, "physician", &of, BY_TEAM));
    let _ = server.delete("interface-engine", "Consent/c-deny").expect(204);
    assert!(sees(&server, "physician", &of, BY_TEAM));
}

#[test]
fn records_of_a_part_2_program_take_a_consent_and_carry_the_notice() {
    let world = clinic();
    let server = world.serve();
    let mut record = fixture::condition(BY_TEAM, 1);
    record["meta"] = json!({"security": [{"system": ACT, "code": "42CFRPart2"}]});
    let _ = server.put("import-client", &record).expect(200);
    let path = format!("Condition/{}", id("cond", BY_TEAM, 1));
    let gone = |role| server.get(role, &path).status == 404;
    assert!(gone("field-clinician"), "a care relationship alone is not enough");
    let permit = consent(
        "c-part2",
        BY_TEAM,
        json!({"type": "permit",
        "purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}]}),
    );
    let _ = server.put("import-client", &permit).expect(201);
    let read = server.get("field-clinician", &path).expect(200);
    assert!(read.header("x-redisclosure-notice").contains("42 CFR part 2"), "{}", read.text());
    let found =
        server.search("field-clinician", "Condition", &format!("_id={}", id("cond", BY_TEAM, 1)));
    assert!(found.header("x-redisclosure-notice").contains("42 CFR part 2"));
    assert_eq!(server.get("field-clinician", &plain(BY_TEAM)).header("x-redisclosure-notice"), "");
    // A consent widens no role: without a care relationship there is nothing.
    assert!(gone("physician") && gone("billing"));
    let mut over = permit;
    over["provision"]["period"] = json!({"end": "2020-01-01"});
    let _ = server.put("import-client", &over).expect(200);
    assert!(gone("field-clinician"));
}

#[test]
fn a_tie_holds_from_its_beginning_to_its_end() {
    let mut world = clinic();
    world.user("sam", "security-administrator", None);
    let server = world.serve();
    let of = plain(UNTIED);
    assert!(!sees(&server, "field-clinician", &of, UNTIED));
    let tie = |more: &[&str]| {
        let mut args =
            vec!["access", "tie", "fiona", UNTIED.id, "--kind", "assignment", "--as", "sam"];
        args.extend(more);
        world.ok(&args)["id"].as_str().unwrap().to_owned()
    };
    let over = tie(&["--from", "2020-01-01T00:00:00Z", "--until", "2020-02-01T00:00:00Z"]);
    let later = tie(&["--from", "2090-01-01T00:00:00Z"]);
    assert!(!sees(&server, "field-clinician", &of, UNTIED));
    let now = tie(&[]);
    assert!(sees(&server, "field-clinician", &of, UNTIED));
    assert!(sees(&server, "field-clinician", &labelled(UNTIED), UNTIED));
    assert_eq!(server.count("field-clinician", "Patient", ""), 5);
    let _ = world.ok(&["access", "untie", &now, "--as", "sam"]);
    assert!(!sees(&server, "field-clinician", &of, UNTIED));
    assert_eq!(server.count("field-clinician", "Patient", ""), 4);
    let all = world.ok(&["access", "ties", "--as", "sam"]);
    let named: Vec<&str> =
        all.as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap()).collect();
    assert!([&over, &later, &now].into_iter().all(|id| named.contains(&id.as_str())));
    // Those who may not, and those who would tie themselves.
    for (who, whom) in [("ana", "nils"), ("sam", "sam")] {
        let ran =
            world.run(&["access", "tie", whom, UNTIED.id, "--kind", "assignment", "--as", who]);
        assert_eq!(ran.code, Some(1), "{who}: {}", ran.out);
    }
    let _ = server.stop();
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn nobody_looks_at_their_household_through_their_job() {
    let world = clinic();
    let server = world.serve();
    let of = plain(BY_TEAM);
    assert!(sees(&server, "physician", &of, BY_TEAM));
    let tie =
        world.ok(&["access", "tie", "ana", BY_TEAM.id, "--kind", "household", "--as", "petra"]);
    assert!(!sees(&server, "physician", &of, BY_TEAM));
    assert!(sees(&server, "nurse", &of, BY_TEAM));
    let _ = world.ok(&["access", "untie", tie["id"].as_str().unwrap(), "--as", "petra"]);
    assert!(sees(&server, "physician", &of, BY_TEAM));
}

#[test]
fn a_restriction_keeps_records_from_payment_until_it_ends() {
    let world = clinic();
    let server = world.serve();
    let of = plain(BY_TEAM);
    assert!(sees(&server, "billing", &of, BY_TEAM));
    let r = world.ok(&["access", "restrict", BY_TEAM.id, "--as", "petra"]);
    assert!(!sees(&server, "billing", &of, BY_TEAM));
    assert!(sees(&server, "physician", &of, BY_TEAM));
    assert!(sees(&server, "billing", &plain(UNTIED), UNTIED));
    let _ = world.ok(&["access", "unrestrict", r["id"].as_str().unwrap(), "--as", "petra"]);
    assert!(sees(&server, "billing", &of, BY_TEAM));
    let mut record = fixture::condition(BY_TEAM, 0);
    record["meta"] = json!({"security": [{"system": ACT, "code": "HIPAASelfPay"}]});
    let _ = server.put("import-client", &record).expect(200);
    assert!(!sees(&server, "billing", &of, BY_TEAM));
    assert!(sees(&server, "physician", &of, BY_TEAM));
}

#[test]
fn codes_label_a_record_that_nobody_labelled_however_it_is_written() {
    let world = clinic();
    let server = world.serve();
    let condition = |name: &str, system: &str, code: &str| {
        json!({"resourceType": "Condition", "id": name,
            "code": {"coding": [{"system": system, "code": code}]},
            "subject": {"reference": format!("Patient/{}", UNTIED.id)}})
    };
    let icd = "http://hl7.org/fhir/sid/icd-10-cm";
    let put = condition("l-put", icd, "F11.20");
    let _ = server.put("import-client", &put).expect(201);
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": condition("l-bundle", "http://snomed.info/sct", "86406008"),
         "request": {"method": "PUT", "url": "Condition/l-bundle"}}]});
    let _ = send(fhir(server.request("import-client", Method::POST, ""), &bundle)).expect(200);
    let _ = server.put("interface-engine", &condition("l-patch", icd, "I10")).expect(201);
    assert!(sees(&server, "physician", "Condition/l-patch", UNTIED));
    let patch = json!([{"op": "replace", "path": "/code/coding/0/code", "value": "F32.1"}]);
    let request = server.request("interface-engine", Method::PATCH, "Condition/l-patch");
    let request = request.header("content-type", "application/json-patch+json");
    let _ = send(request.body(patch.to_string())).expect(200);
    for name in ["l-put", "l-bundle", "l-patch"] {
        let path = format!("Condition/{name}");
        for role in ["physician", "billing"] {
            assert_eq!(server.get(role, &path).status, 404, "{role} {name}");
            let found = server.search(role, "Condition", &format!("_id={name}")).expect(200);
            assert!(found.ids("match").is_empty(), "{role} {name}");
        }
        assert_eq!(server.get("privacy-officer", &path).status, 200);
    }
    // A code that says nothing of the kind is no reason.
    let _ = server.put("import-client", &condition("l-plain", icd, "E11.9")).expect(201);
    assert!(sees(&server, "physician", "Condition/l-plain", UNTIED));
    let of = |code: &str| world.ok(&["label", "check", "--code", code])["labels"].clone();
    assert_eq!(of("http://hl7.org/fhir/sid/icd-10-cm|B20"), json!(["HIV"]));
    assert_eq!(of("http://loinc.org|2339-0"), json!([]));
}

fn break_glass(server: &Server, role: &str, patient: &str, parameters: &[(&str, Value)]) -> Answer {
    let parameter: Vec<Value> = parameters
        .iter()
        .map(|(name, value)| {
            let kind = if value.is_number() { "valueInteger" } else { "valueString" };
            json!({"name": name, kind: value})
        })
        .collect();
    let body = json!({"resourceType": "Parameters", "parameter": parameter});
    let path = format!("Patient/{patient}/$break-glass");
    send(fhir(server.request(role, Method::POST, &path), &body))
}

fn why() -> [(&'static str, Value); 2] {
    [("reason", json!("emergency-treatment")), ("text", json!("found unconscious in the hall"))]
}

fn entries(world: &World, kind: &str) -> Vec<Value> {
    let all = world.ok(&["audit", "tail", "-n", "400"]);
    all.as_array().unwrap().iter().filter(|e| e["kind"] == kind).cloned().collect()
}

#[test]
fn emergency_access_opens_one_patient_is_flagged_ends_and_is_reviewed_by_somebody_else() {
    let world = clinic();
    let server = world.serve();
    let (of, protected) = (plain(UNTIED), labelled(UNTIED));
    assert!(!sees(&server, "field-clinician", &of, UNTIED));
    let notes = json!({"resourceType": "Condition", "id": "psy",
        "meta": {"security": [{"system": ACT, "code": "PSYTHPN"}]},
        "code": {"text": "x"}, "subject": {"reference": format!("Patient/{}", UNTIED.id)}});
    let _ = server.put("import-client", &notes).expect(201);

    let granted = break_glass(&server, "field-clinician", UNTIED.id, &why()).expect(200);
    let grant = granted.json()["parameter"][0]["valueString"].as_str().unwrap().to_owned();
    assert!(sees(&server, "field-clinician", &of, UNTIED));
    assert!(sees(&server, "field-clinician", &protected, UNTIED));
    assert!(!sees(&server, "field-clinician", "Condition/psy", UNTIED), "psychotherapy notes");
    // The physician's grant is his own.
    assert!(!sees(&server, "physician", &protected, UNTIED));

    let flagged = entries(&world, "read");
    assert!(
        flagged.iter().any(|e| e["who"]["user"] == "fiona"
            && e["detail"]["obligations"].as_str().is_some_and(|o| o.contains("break-glass"))),
        "{flagged:?}"
    );
    let alerts = world.ok(&["alert", "list", "--as", "petra"]);
    let alert = &alerts[0];
    assert_eq!((&alert["what"], &alert["subject"]), (&json!("break-glass"), &json!("fiona")));
    assert!(!alert.to_string().contains(UNTIED.id), "an alert names no patient");
    let seen = world.ok(&["alert", "see", alert["id"].as_str().unwrap(), "--as", "petra"]);
    assert_eq!(seen["seen"]["by"], "petra");

    let review = |who: &str, id: &str| {
        world.run(&[
            "break-glass",
            "review",
            id,
            "--finding",
            "appropriate",
            "--text",
            "the chart shows the emergency",
            "--as",
            who,
        ])
    };
    assert_eq!(review("petra", &grant).code, Some(1), "it still holds");
    let end = format!("Patient/{}/$break-glass-end", UNTIED.id);
    let _ = send(server.request("field-clinician", Method::POST, &end)).expect(204);
    assert!(!sees(&server, "field-clinician", &of, UNTIED));
    assert_eq!(send(server.request("field-clinician", Method::POST, &end)).status, 404);

    let state = || world.ok(&["break-glass", "list", "--as", "petra"])[0]["state"].clone();
    assert_eq!(state(), "open");
    assert_eq!(review("fiona", &grant).code, Some(1), "nobody reviews their own");
    assert_eq!(review("bill", &grant).code, Some(1));
    assert_eq!(review("petra", &grant).code, Some(0));
    assert_eq!(state(), "reviewed");
    assert_eq!(review("petra", &grant).code, Some(1), "signed once");
    for kind in
        ["break-glass", "break-glass-ended", "emergency-reviewed", "alert-raised", "alert-seen"]
    {
        assert!(!entries(&world, kind).is_empty(), "{kind}");
    }
    let _ = server.stop();
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn emergency_access_takes_a_role_a_reason_and_a_patient_and_holds_for_four_hours_at_most() {
    let world = clinic();
    let server = world.serve();
    let ask =
        |role: &str, more: &[(&str, Value)]| break_glass(&server, role, UNTIED.id, more).status;
    for role in ["billing", "front-desk", "privacy-officer", "auditor", "import-client"] {
        assert_eq!(ask(role, &why()), 403, "{role}");
    }
    let text = ("text", json!("found unconscious in the hall"));
    let reason = ("reason", json!("emergency-treatment"));
    for bad in [
        vec![text.clone()],
        vec![reason.clone()],
        vec![("reason", json!("curiosity")), text.clone()],
        vec![reason.clone(), ("text", json!("short"))],
        vec![reason.clone(), text.clone(), ("minutes", json!(241))],
        vec![reason.clone(), text.clone(), ("minutes", json!(0))],
        vec![reason.clone(), text.clone(), ("color", json!("red"))],
    ] {
        assert_eq!(ask("physician", &bad), 400, "{bad:?}");
    }
    assert_eq!(break_glass(&server, "physician", "absent", &why()).status, 404);
    assert!(!sees(&server, "physician", &labelled(UNTIED), UNTIED));
    // An account that is suspended opens nothing, grant or no grant.
    assert_eq!(ask("physician", &why()), 200);
    assert!(sees(&server, "physician", &labelled(UNTIED), UNTIED));
    let _ = world.ok(&["user", "suspend", "ana"]);
    assert_eq!(server.get("physician", &labelled(UNTIED)).status, 401);
}

#[test]
fn an_emergency_opens_what_a_consent_denies() {
    let world = clinic();
    let server = world.serve();
    let _ =
        server.put("import-client", &consent("c-all", UNTIED, json!({"type": "deny"}))).expect(201);
    assert!(!sees(&server, "physician", &plain(UNTIED), UNTIED));
    let _ = break_glass(&server, "physician", UNTIED.id, &why()).expect(200);
    assert!(sees(&server, "physician", &plain(UNTIED), UNTIED));
    assert!(!sees(&server, "nurse", &plain(UNTIED), UNTIED));
}

#[test]
fn who_reached_their_cap_reads_on_by_somebody_elses_leave() {
    let world = clinic();
    let config = world.home().join("phial.toml");
    let mut text = std::fs::read_to_string(&config).unwrap_or_default();
    text.push_str("\n[caps]\npatients = { nurse = 2 }\n");
    std::fs::write(&config, text).unwrap();
    let server = world.serve();
    let patients = fixture::PEOPLE;
    let read = |p: &fixture::Person| server.get("nurse", &plain(p));
    for p in [patients[0], patients[1], patients[0]] {
        let _ = read(p).expect(200);
    }
    let over = read(patients[2]);
    assert_eq!(over.status, 429, "{}", over.text());
    assert_eq!(over.json()["issue"][0]["code"], "throttled");
    assert!(!over.text().contains(patients[2].id));
    // A page that would carry too many is refused whole; what was read stays to be read.
    assert_eq!(server.search("nurse", "Condition", "_count=50").status, 429);
    let _ = read(patients[1]).expect(200);
    // Others have their own cap, and systems none.
    let _ = server.get("physician", &plain(patients[2])).expect(200);
    let _ = server.get("interface-engine", &plain(patients[3])).expect(200);

    let asked = world.ok(&[
        "cap",
        "ask",
        "--as",
        "nils",
        "--patients",
        "3",
        "--text",
        "the ward was moved to this floor",
    ]);
    let id = asked["id"].as_str().unwrap();
    assert_eq!(read(patients[2]).status, 429, "asked is not granted");
    assert_eq!(world.run(&["cap", "grant", id, "--as", "nils"]).code, Some(1));
    let _ = world.ok(&["cap", "grant", id, "--as", "petra"]);
    let _ = read(patients[2]).expect(200);
    assert_eq!(read(patients[3]).status, 429);
    let alerts = world.ok(&["alert", "list", "--as", "petra"]);
    let what: Vec<&str> =
        alerts.as_array().unwrap().iter().map(|a| a["what"].as_str().unwrap()).collect();
    assert_eq!(what.iter().filter(|w| **w == "cap").count(), 1, "told once a window");
    assert!(what.contains(&"cap-request"));
}

#[test]
fn a_restart_gives_nobody_a_new_cap_however_the_server_ended() {
    let world = clinic();
    let config = world.home().join("phial.toml");
    let mut text = std::fs::read_to_string(&config).unwrap_or_default();
    text.push_str("\n[caps]\npatients = { nurse = 2 }\n");
    std::fs::write(&config, text).unwrap();
    let patients = fixture::PEOPLE;
    let read = |server: &Server, p: &fixture::Person| server.get("nurse", &plain(p)).status;
    let (sessions, older) = (world.home().join("sessions"), world.dir().join("older"));
    copy_dir(&sessions, &older);
    let server = world.serve();
    for p in [patients[0], patients[1]] {
        assert_eq!(read(&server, p), 200);
    }
    // Killed: what it counted is in the log alone.
    let _ = server.kill();
    let server = world.serve();
    assert_eq!(read(&server, patients[2]), 429);
    assert_eq!(read(&server, patients[1]), 200);
    // In order: it is kept, and the log is not read again.
    let _ = server.stop().expect(0);
    let server = world.serve();
    assert_eq!(read(&server, patients[2]), 429);
    assert_eq!(read(&server, patients[0]), 200);
    let _ = server.stop().expect(0);
    // The sessions come from an older copy, without what was kept: the log has it.
    std::fs::remove_dir_all(&sessions).unwrap();
    copy_dir(&older, &sessions);
    let server = world.serve();
    assert_eq!(read(&server, patients[2]), 429);
    // A cap that was not reached is not reached by a restart either.
    assert_eq!(server.get("physician", &plain(patients[2])).status, 200);
    let alerts = world.ok(&["alert", "list", "--as", "petra"]);
    assert_eq!(alerts.as_array().unwrap().len(), 1, "told once a window: {alerts}");
}

#[test]
fn an_explanation_says_which_roles_ties_consents_and_policies_decided() {
    let world = clinic();
    // Beside the server, which alone writes the index.
    let server = world.serve();
    let explain =
        |user: &str, path: &str| world.ok(&["policy", "explain", user, path, "--as", "petra"]);
    let generations = || {
        let dir = std::fs::read_dir(world.home().join("index/default")).unwrap();
        dir.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "db")).count()
    };
    let before = generations();
    let seen = explain("fiona", &labelled(BY_TEAM));
    assert_eq!(seen["relationships"], json!(["CareTeam"]));
    assert_eq!(seen["labels"], json!(["HIV"]));
    assert!(seen["sees"].as_array().unwrap().contains(&json!("clinical")));
    let ids = |v: &Value| -> Vec<String> {
        let all = v["policies"].as_array().unwrap().iter();
        all.map(|p| p["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(ids(&seen).contains(&"field-clinician.view".to_owned()));
    let hidden = explain("ana", &labelled(UNTIED));
    assert_eq!(hidden["sees"], json!([]));
    assert!(ids(&hidden).contains(&"labels.sensitive".to_owned()));
    let code = |args: &[&str]| world.run(args).code;
    let record = labelled(UNTIED);
    assert_eq!(code(&["policy", "explain", "ana", &record, "--as", "bill"]), Some(1));
    assert_eq!(code(&["policy", "explain", "ana", "Condition/absent", "--as", "petra"]), Some(1));
    assert_eq!(code(&["policy", "check"]), Some(0));
    // What was written a moment ago counts, and what was theirs and is not any more does not.
    let deny = consent("c-deny", BY_TEAM, json!({"type": "deny"}));
    let _ = server.put("import-client", &deny).expect(201);
    assert_eq!(explain("fiona", &plain(BY_TEAM))["consent"], "denies it");
    assert_eq!(explain("fiona", &plain(BY_TEAM))["sees"], json!([]));
    let _ = server.delete("interface-engine", "Consent/c-deny").expect(204);
    assert_eq!(explain("fiona", &plain(BY_TEAM))["consent"], "says nothing");
    let mut team = fixture::others(BY_TEAM)[0].clone();
    team["subject"]["reference"] = json!(format!("Patient/{}", UNTIED.id));
    let _ = server.put("import-client", &team).expect(200);
    assert_eq!(explain("fiona", &plain(BY_TEAM))["relationships"], json!([]));
    assert_eq!(explain("fiona", &labelled(UNTIED))["relationships"], json!(["CareTeam"]));
    assert_eq!(generations(), before, "what was made for a look is gone");
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}
