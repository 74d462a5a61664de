//! Patients, those who stand in for them, and staff who are patients too: their own
//! compartment by every door, what is held back from them, and that what is not theirs
//! looks absent.

use phial_testkit::fixture::{self, BY_APPOINTMENT, BY_TEAM, OBSERVATIONS, Person, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, face};

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// A token of an account of this role, which is this patient.
fn token(world: &World, name: &str, roles: &[&str], patient: Option<&Person>) -> String {
    let mut args = vec!["user", "add", name];
    for role in roles {
        args.extend(["--role", role]);
    }
    if let Some(patient) = patient {
        args.extend(["--patient", patient.id]);
    }
    let _ = world.ok(&args);
    world.issue(name)
}

/// The same account, for another purpose.
fn token_for(world: &World, name: &str, purpose: &str) -> String {
    let made = world.ok(&["token", "--user", name, "--purpose", purpose]);
    made["token"].as_str().unwrap().to_owned()
}

fn ask(server: &Server, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let slash = if path.is_empty() { "" } else { "/" };
    let url = format!("{}{slash}{path}", server.base());
    let request = server.client().request(method, url).bearer_auth(token);
    send(match body {
        Some(body) => fhir(request, body),
        None => request,
    })
}

fn get(server: &Server, token: &str, path: &str) -> Answer {
    ask(server, token, Method::GET, path, None)
}

/// A search by POST, as identifiers ask for.
fn search(server: &Server, token: &str, ty: &str, query: &'static str) -> Answer {
    let url = format!("{}/{ty}/_search", server.base());
    let request = server.client().post(url).bearer_auth(token);
    send(request.header("content-type", "application/x-www-form-urlencoded").body(query))
}

fn tie(world: &World, who: &str, patient: &Person, more: &[&str]) -> String {
    let mut args = vec!["access", "tie", who, patient.id, "--kind", "proxy", "--as", "petra"];
    args.extend_from_slice(more);
    world.ok(&args)["id"].as_str().unwrap().to_owned()
}

fn condition(p: &Person, n: usize) -> String {
    format!("Condition/{}", id("cond", p, n))
}

fn observation(p: &Person, n: usize) -> String {
    format!("Observation/{}", id("obs", p, n))
}

/// Everything that names somebody by whom nothing may be told.
fn names_of(others: &[&Person]) -> Vec<String> {
    others
        .iter()
        .flat_map(|p| [p.id, p.family, p.given, p.mrn, p.ssn, p.phone, p.street].map(str::to_owned))
        .collect()
}

/// Every door, asked about what is `theirs` and about what is another patient's: the one is
/// there, and the other is answered as what does not exist.
#[track_caller]
fn is_theirs_alone(server: &Server, token: &str, own: &Person) {
    let others: Vec<&Person> = fixture::PEOPLE.into_iter().filter(|p| p.id != own.id).collect();
    let other = others[0];
    let needles = names_of(&others);
    let tells_nothing = |answer: &Answer, what: &str| {
        let text = answer.text();
        for needle in &needles {
            assert!(!text.contains(needle.as_str()), "{what} tells {needle}");
        }
    };
    // Read, version, history.
    for path in [format!("Patient/{}", own.id), condition(own, 0), observation(own, 3)] {
        for door in ["", "/_history/1", "/_history"] {
            let _ = get(server, token, &format!("{path}{door}")).expect(200);
        }
    }
    for (path, absent) in [
        (format!("Patient/{}", other.id), "Patient/absent"),
        (condition(other, 0), "Condition/absent"),
        (observation(other, 3), "Observation/absent"),
        (format!("Encounter/{}", id("enc", other, 0)), "Encounter/absent"),
        (format!("Claim/{}", id("claim", other, 0)), "Claim/absent"),
    ] {
        for door in ["", "/_history/1", "/_history"] {
            let hidden = get(server, token, &format!("{path}{door}"));
            let none = get(server, token, &format!("{absent}{door}"));
            assert_eq!(face(&hidden), face(&none), "{path}{door}");
            assert_eq!(hidden.status, 404);
        }
        let (ty, rid) = path.split_once('/').unwrap();
        let found = get(server, token, &format!("{ty}?_id={rid}")).expect(200);
        assert_eq!((found.json()["total"].as_u64(), found.ids("match").len()), (Some(0), 0));
    }
    // Searches show and count what is theirs.
    let all = get(server, token, "Observation?_count=500").expect(200);
    let of: Vec<Value> =
        all.entries("match").iter().map(|r| r["subject"]["reference"].clone()).collect();
    let whose = json!(format!("Patient/{}", own.id));
    assert_eq!(of.len(), OBSERVATIONS);
    assert!(of.iter().all(|r| *r == whose), "{of:?}");
    let total =
        get(server, token, "Observation?_summary=count").expect(200).json()["total"].clone();
    assert_eq!(total, OBSERVATIONS);
    let patients = get(server, token, "Patient?_count=500").expect(200);
    assert_eq!(patients.ids("match"), [own.id]);
    tells_nothing(&patients, "a search for patients");
    // By chains, in both directions, and by what is included.
    let count = |query: &str| {
        let (ty, query) = query.split_once('?').unwrap();
        get(server, token, &format!("{ty}?{query}&_summary=count")).expect(200).json()["total"]
            .clone()
    };
    assert_eq!(count("Patient?_has:Condition:patient:code=44054006"), 1);
    assert_eq!(count("Patient?_has:Observation:patient:status=final"), 1);
    assert_eq!(count(&format!("Condition?patient=Patient/{}", other.id)), 0);
    assert_eq!(count(&format!("Condition?subject:Patient._id={}", other.id)), 0);
    let included =
        get(server, token, "Condition?_include=Condition:subject&_revinclude=Provenance:target");
    let included = included.expect(200);
    assert_eq!(included.ids("include"), [own.id]);
    tells_nothing(&included, "an include");
    let back =
        get(server, token, "Patient?_revinclude=Condition:subject&_revinclude=Claim:patient");
    let back = back.expect(200);
    assert!(!back.ids("include").is_empty());
    tells_nothing(&back, "a reverse include");
    // Names and numbers of others find nobody.
    let found = search(server, token, "Patient", "family=Quandrazel,Vintergaten,Zephyrhaugen");
    tells_nothing(&found.expect(200), "a search by name");
    // The chart, a batch, everything at once.
    let chart =
        get(server, token, &format!("Patient/{}/$everything?_count=1000", own.id)).expect(200);
    assert!(chart.text().contains(&id("obs", own, 3)));
    tells_nothing(&chart, "the chart");
    let theirs = get(server, token, &format!("Patient/{}/$everything", other.id));
    assert_eq!(face(&theirs), face(&get(server, token, "Patient/absent/$everything")));
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": condition(other, 0)}},
        {"request": {"method": "GET", "url": format!("Patient/{}", other.id)}}]});
    let batched = ask(server, token, Method::POST, "", Some(&batch));
    if batched.status == 200 {
        for entry in batched.json()["entry"].as_array().unwrap() {
            assert!(entry["response"]["status"].as_str().unwrap().starts_with("404"), "{entry}");
        }
    }
    tells_nothing(&batched, "a batch");
    for path in ["$export", "Patient/$export", "_history", "Condition/_history"] {
        let url = format!("{}/{path}", server.base());
        let asked = server.client().get(url).bearer_auth(token).header("prefer", "respond-async");
        let answer = send(asked);
        assert!(!(200..300).contains(&answer.status), "{path}: {}", answer.status);
        tells_nothing(&answer, path);
    }
    // What is not theirs is not theirs to write.
    let mut record = fixture::condition(other, 0);
    record["recordedDate"] = json!("2021-01-01");
    let written = ask(server, token, Method::PUT, &condition(other, 0), Some(&record));
    assert!(matches!(written.status, 403..=405), "{}", written.status);
    tells_nothing(&written, "a write");
}

#[test]
fn a_patient_has_their_own_record_and_nothing_of_others() {
    let world = clinic();
    let server = world.serve();
    let pat = token(&world, "pat", &["patient"], Some(BY_TEAM));
    is_theirs_alone(&server, &pat, BY_TEAM);
    // All of it (164.524): also what is specially protected.
    let _ = get(&server, &pat, &condition(BY_TEAM, 2)).expect(200);
    // They answer what they are asked, about themselves alone, and write nothing else.
    let answers = |p: &Person| {
        json!({"resourceType": "QuestionnaireResponse", "status": "completed",
            "subject": {"reference": format!("Patient/{}", p.id)}})
    };
    let own = ask(&server, &pat, Method::POST, "QuestionnaireResponse", Some(&answers(BY_TEAM)));
    let _ = own.expect(201);
    let other = ask(&server, &pat, Method::POST, "QuestionnaireResponse", Some(&answers(UNTIED)));
    assert!(matches!(other.status, 403 | 404), "{}", other.text());
    let mut record = fixture::condition(BY_TEAM, 0);
    record.as_object_mut().unwrap().remove("id");
    let made = ask(&server, &pat, Method::POST, "Condition", Some(&record));
    assert_eq!(made.status, 403, "{}", made.text());
    // Suspended: nothing more.
    let _ = world.ok(&["user", "suspend", "pat"]);
    assert_eq!(get(&server, &pat, &condition(BY_TEAM, 0)).status, 401);
}

#[test]
fn a_result_is_held_from_the_patient_until_it_is_released_by_every_door() {
    let world = clinic();
    let server = world.serve();
    let pat = token(&world, "pat", &["patient"], Some(BY_TEAM));
    let prue = token(&world, "prue", &["proxy"], None);
    let _ = tie(&world, "prue", BY_TEAM, &["--protected"]);
    let mut held = fixture::observation(BY_TEAM, 4);
    held["meta"] = json!({"security": [{"system": ACT, "code": "TBOO"}]});
    let path = observation(BY_TEAM, 4);
    let sees = |token: &str| {
        let read = get(&server, token, &path).status == 200;
        let rid = path.split_once('/').unwrap().1;
        let found = get(&server, token, &format!("Observation?_id={rid}")).expect(200);
        assert_eq!(found.ids("match").len(), usize::from(read));
        let count =
            get(&server, token, "Observation?_summary=count").expect(200).json()["total"].clone();
        assert_eq!(count, OBSERVATIONS - usize::from(!read));
        let chart = format!("Patient/{}/$everything?_count=1000", BY_TEAM.id);
        assert_eq!(get(&server, token, &chart).expect(200).text().contains(rid), read);
        let back = get(&server, token, "Patient?_revinclude=Observation:subject").expect(200);
        assert_eq!(back.ids("include").contains(&rid.to_owned()), read);
        read
    };
    assert!(sees(&pat) && sees(&prue));
    let _ = server.put("import-client", &held).expect(200);
    assert!(!sees(&pat) && !sees(&prue));
    // What was readable before it was held is in the history as the version that it was;
    // the version that is held is not.
    assert_eq!(get(&server, &pat, &format!("{path}/_history/2")).status, 404);
    // Whoever treats has it at once.
    let _ = server.get("physician", &path).expect(200);
    let _ = server.put("import-client", &fixture::observation(BY_TEAM, 4)).expect(200);
    assert!(sees(&pat) && sees(&prue));
}

#[test]
fn a_proxy_sees_as_far_and_as_long_as_the_grant_says() {
    let world = clinic();
    let server = world.serve();
    let prue = token(&world, "prue", &["proxy"], None);
    let none = |token: &str| {
        assert_eq!(get(&server, token, &condition(UNTIED, 0)).status, 404);
        let all = get(&server, token, "Condition?_summary=count").expect(200);
        assert_eq!(all.json()["total"], 0);
    };
    none(&prue);
    let whole = tie(&world, "prue", UNTIED, &[]);
    is_theirs_alone(&server, &prue, UNTIED);
    // What is specially protected takes a grant that says so, numbers of the government stay.
    assert_eq!(get(&server, &prue, &condition(UNTIED, 2)).status, 404);
    let patient = get(&server, &prue, &format!("Patient/{}", UNTIED.id)).expect(200).text();
    assert!(patient.contains(UNTIED.mrn) && !patient.contains(UNTIED.ssn), "{patient}");
    let _ = world.ok(&["access", "untie", &whole, "--as", "petra"]);
    none(&prue);
    let over = ["--from", "2020-01-01T00:00:00Z", "--until", "2020-02-01T00:00:00Z"];
    let _ = tie(&world, "prue", UNTIED, &over);
    none(&prue);
    let _ = tie(&world, "prue", UNTIED, &["--from", "2090-01-01T00:00:00Z"]);
    none(&prue);
    let protected = tie(&world, "prue", UNTIED, &["--protected"]);
    let _ = get(&server, &prue, &condition(UNTIED, 2)).expect(200);
    let _ = world.ok(&["access", "untie", &protected, "--as", "petra"]);
    // A grant of some classes: appointments, and no more of the patient than that needs.
    let some = ["--class", "administrative", "--class", "scheduling"];
    let _ = tie(&world, "prue", BY_APPOINTMENT, &some);
    let visit = format!("Appointment/{}", id("appt", BY_APPOINTMENT, 0));
    let shown = get(&server, &prue, &visit).expect(200).text();
    assert!(shown.contains("2031-02-03") && !shown.contains("gambling"), "{shown}");
    let patient = get(&server, &prue, &format!("Patient/{}", BY_APPOINTMENT.id));
    assert!(!patient.text().contains(BY_APPOINTMENT.family), "{}", patient.text());
    let found = get(&server, &prue, "Condition?_elements=code&code=44054006");
    assert!(!found.text().contains("44054006\",\"display"), "{}", found.text());
}

#[test]
fn staff_look_at_their_own_record_as_patients_and_never_through_their_job() {
    let world = clinic();
    let server = world.serve();
    let _ = token(&world, "sue", &["physician", "patient"], Some(BY_TEAM));
    let treats = token_for(&world, "sue", "TREAT");
    let own = condition(BY_TEAM, 0);
    assert_eq!(get(&server, &treats, &own).status, 404);
    assert_eq!(get(&server, &treats, &format!("Patient/{}", BY_TEAM.id)).status, 404);
    let listed = get(&server, &treats, "Condition?_count=100").expect(200);
    assert!(!listed.text().contains(BY_TEAM.id), "nor in a list");
    let _ = get(&server, &treats, &condition(UNTIED, 0)).expect(200);
    // Nor by breaking the glass.
    let why = json!({"resourceType": "Parameters", "parameter": [
        {"name": "reason", "valueString": "emergency-treatment"},
        {"name": "text", "valueString": "I would like to see it myself"}]});
    let path = format!("Patient/{}/$break-glass", BY_TEAM.id);
    let _ = ask(&server, &treats, Method::POST, &path, Some(&why));
    assert_eq!(get(&server, &treats, &own).status, 404);
    // As the patient that she is, and nothing of others then.
    let herself = token_for(&world, "sue", "PATRQT");
    is_theirs_alone(&server, &herself, BY_TEAM);
}

#[test]
fn an_employees_record_is_for_those_who_treat_and_each_look_is_flagged() {
    let world = clinic();
    let server = world.serve();
    let _ = token(&world, "eve", &["billing", "patient"], Some(BY_TEAM));
    let eve = token_for(&world, "eve", "HPAYMT");
    let path = condition(BY_TEAM, 0);
    for label in ["EMP", "VIP"] {
        let mut record = fixture::condition(BY_TEAM, 0);
        record["meta"] = json!({"security": [{"system": ACT, "code": label}]});
        let _ = server.put("import-client", &record).expect(200);
        // Colleagues who don't treat, whatever their role.
        for role in ["physician", "nurse", "billing", "front-desk"] {
            assert_eq!(server.get(role, &path).status, 404, "{label} {role}");
            let found =
                server.search(role, "Condition", &format!("_id={}", id("cond", BY_TEAM, 0)));
            assert!(found.status == 403 || found.ids("match").is_empty(), "{label} {role}");
        }
        assert_eq!(get(&server, &eve, &path).status, 404, "through the job");
        let own = token_for(&world, "eve", "PATRQT");
        let _ = get(&server, &own, &path).expect(200);
        // Who treats has it, and the log says that it was looked at.
        let _ = server.get("field-clinician", &path).expect(200);
        let log = world.ok(&["audit", "tail", "-n", "5"]);
        let read = log.as_array().unwrap().iter().rfind(|e| e["who"]["user"] == "fiona").unwrap();
        let said = read["detail"]["obligations"].as_str().unwrap_or("");
        assert!(said.contains("flag-access"), "{label}: {read}");
    }
}
