//! Breaking the glass on pages, from the form to the signed review: who may, what is
//! refused, what others are told, and that it ends.

use phial_testkit::browser::{Browser, invite};
use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id, needles};
use phial_testkit::world::{Answer, Server, World};
use serde_json::{Value, json};

use crate::clinic::{clinic, findings};

const WHY: &str = "found unconscious in the hall";
const TREAT: &str = "emergency-treatment";

fn come_in(world: &World, server: &Server, user: &str) -> Browser {
    let mut browser = Browser::new(server);
    let _ = browser.accept(&invite(world, user, &[]));
    browser
}

fn entries(world: &World, kind: &str) -> Vec<Value> {
    let all = world.ok(&["audit", "tail", "-n", "500"]);
    all.as_array().unwrap().iter().filter(|e| e["kind"] == kind).cloned().collect()
}

fn labelled() -> String {
    format!("Condition/{}", id("cond", UNTIED, 2))
}

fn ask(who: &mut Browser, patient: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("patient", patient)];
    let given = |name: &str| more.iter().any(|(n, _)| *n == name);
    for (name, value) in [("reason", TREAT), ("text", WHY), ("minutes", "120")] {
        if !given(name) {
            fields.push((name, value));
        }
    }
    fields.extend_from_slice(more);
    who.post("/break-glass/new", "/break-glass", &fields)
}

/// The only grant that there is.
fn grant(world: &World) -> Value {
    let all = world.ok(&["break-glass", "list", "--as", "petra"]);
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    all[0].clone()
}

#[test]
fn the_glass_is_broken_on_a_page_and_the_review_is_signed_on_another() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    let mut petra = come_in(&world, &server, "petra");
    assert!(!petra.get("/").text().contains("class=\"notice\""));
    let form = ana.get("/break-glass/new").expect(200).text();
    for said in ["Privacy officers are told at once", "flagged in the audit log", "ends by itself"]
    {
        assert!(form.contains(said), "{said}");
    }
    assert_eq!(server.get("physician", &labelled()).status, 404);

    // By the record number that the patient can state.
    let done = ask(&mut ana, UNTIED.mrn, &[]).expect(303);
    let to = done.header("location").to_owned();
    assert!(to.starts_with("/break-glass?opened="), "{to}");
    let shown = ana.get(&to).expect(200).text();
    assert!(shown.contains(UNTIED.family) && shown.contains("Is this the right patient?"));
    assert!(shown.contains(UNTIED.id));
    let plain = ana.get("/break-glass").expect(200).text();
    assert!(!plain.contains(UNTIED.family), "the name is shown once, not at each visit");
    let _ = server.get("physician", &labelled()).expect(200);
    let found = server.search("physician", "Condition", &format!("_id={}", id("cond", UNTIED, 2)));
    assert_eq!(found.expect(200).ids("match").len(), 1);
    // Other patients are as they were.
    assert_eq!(
        server.get("physician", &format!("Condition/{}", id("cond", BY_TEAM, 0))).status,
        200
    );

    let granted = grant(&world);
    let name = granted["id"].as_str().unwrap();
    let read = entries(&world, "read");
    let under: Vec<&Value> = read.iter().filter(|e| e["grant"] == name).collect();
    assert_eq!(under.len(), 2, "the page's look at the patient and the record: {read:?}");
    assert!(under.iter().all(|e| {
        e["detail"]["obligations"].as_str().is_some_and(|o| o.contains("break-glass"))
    }));

    // The privacy officer is told on every page, and names no patient before it is asked.
    let start = petra.get("/").expect(200).text();
    assert!(start.contains("1 alert has not been seen"), "{start}");
    let list = petra.get("/break-glass/reviews").expect(200).text();
    assert!(list.contains("ana") && list.contains("has broken the glass"), "{list}");
    for needle in needles().iter().map(String::as_str).chain([WHY, UNTIED.id]) {
        assert!(!list.contains(needle), "{needle}");
    }
    let alert = world.ok(&["alert", "list", "--as", "petra"])[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/break-glass/alerts/{alert}");
    let _ = petra.post("/break-glass/reviews", &path, &[]).expect(303);
    assert!(!petra.get("/").text().contains("class=\"notice\""));

    // While it holds there is nothing to sign; ended early, the sight is gone at once.
    let case = format!("/break-glass/reviews/{name}");
    let sign = [("finding", "appropriate"), ("text", "the chart shows the emergency")];
    let open = petra.get(&case).expect(200).text();
    assert!(open.contains("It still holds") && !open.contains("Sign the review"), "{open}");
    let _ = petra.post(&case, &case, &sign).expect(409);
    let _ = ana.post("/break-glass", "/break-glass/end", &[("grant", name)]).expect(303);
    assert_eq!(server.get("physician", &labelled()).status, 404);
    assert!(ana.get("/break-glass").text().contains("You have none at this moment"));

    let open = petra.get(&case).expect(200).text();
    assert!(open.contains(WHY) && open.contains(&format!("Patient/{}", UNTIED.id)), "{open}");
    assert!(open.contains("3 (read 2, search 1)"), "{open}");
    assert!(open.contains("2 (Condition 1, Patient 1)"), "{open}");
    assert!(!open.contains(UNTIED.family));
    let unfit = petra.post(&case, &case, &[("finding", "appropriate"), ("text", "short")]);
    assert!(unfit.expect(422).text().contains("10 to 1,000 characters"));
    let none = petra.post(&case, &case, &[("text", "the chart shows the emergency")]);
    assert!(none.expect(422).text().contains("Choose what you found"));
    let _ = petra.post(&case, &case, &sign).expect(303);
    let signed = petra.get(&case).expect(200).text();
    assert!(
        signed.contains("the chart shows the emergency") && !signed.contains("Sign the review")
    );
    let _ = petra.post("/break-glass/reviews", &case, &sign).expect(409);
    assert_eq!(grant(&world)["review"]["by"], "petra");

    for kind in
        ["break-glass", "break-glass-ended", "emergency-reviewed", "alert-raised", "alert-seen"]
    {
        assert!(!entries(&world, kind).is_empty(), "{kind}");
    }
    let looked = entries(&world, "audit-read");
    assert!(looked.iter().any(|e| e["who"]["user"] == "petra" && e["surface"] == "page"));
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_the_form_asks_for_is_held_to_and_nothing_is_opened_without_it() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    for (patient, more, status, said) in [
        (UNTIED.mrn, &[("minutes", "241")][..], 422, "4 hours at most"),
        (UNTIED.mrn, &[("minutes", "0")], 422, "4 hours at most"),
        (UNTIED.mrn, &[("minutes", "soon")], 422, "4 hours at most"),
        (UNTIED.mrn, &[("reason", "curiosity")], 422, "Choose a reason"),
        (UNTIED.mrn, &[("text", "short")], 422, "10 to 1,000 characters"),
        ("absent", &[], 404, "There is no such patient"),
        ("MRN-7Q9999", &[], 404, "There is no such patient"),
        ("", &[], 404, "There is no such patient"),
        ("a|b|c", &[], 404, "There is no such patient"),
        // What the role never sees finds nobody.
        (UNTIED.ssn, &[], 404, "There is no such patient"),
    ] {
        let answer = ask(&mut ana, patient, more).expect(status);
        assert!(answer.text().contains(said), "{patient} {more:?}: {}", answer.text());
        assert!(answer.text().contains("role=\"alert\""));
    }
    assert_eq!(world.ok(&["break-glass", "list", "--as", "petra"]), json!([]));
    assert_eq!(world.ok(&["alert", "list", "--as", "petra"]), json!([]));
    // What was typed stays in the form, and in no detail of the log.
    let kept = ask(&mut ana, "MRN-7Q9999", &[("minutes", "30")]).text();
    assert!(kept.contains(WHY) && kept.contains("MRN-7Q9999"));
    let tail = world.ok(&["audit", "tail", "-n", "400"]);
    let details = tail.as_array().unwrap().iter().map(|e| e["detail"].to_string());
    assert!(details.into_iter().all(|d| !d.contains("MRN-7Q9999") && !d.contains(WHY)));

    // A number that two patients have tells neither; with its system it does.
    let twin = json!({"resourceType": "Patient", "id": "twin", "identifier": [
        {"system": "urn:other", "value": UNTIED.mrn}], "name": [{"family": "Twin"}]});
    let _ = server.put("import-client", &twin).expect(201);
    assert!(ask(&mut ana, UNTIED.mrn, &[]).expect(422).text().contains("system|value"));
    let whole = format!("urn:other|{}", UNTIED.mrn);
    let _ = ask(&mut ana, &whole, &[("minutes", "240")]).expect(303);
    assert_eq!(grant(&world)["patient"], "twin");
}

#[test]
fn pages_of_emergency_access_are_for_those_whose_role_allows_it() {
    let world = clinic();
    let server = world.serve();
    let path = "/break-glass/reviews";
    // Nobody, and those who may not.
    let mut nobody = Browser::new(&server);
    assert!(nobody.get("/break-glass").expect(303).header("location").starts_with("/login?"));
    let mut bill = come_in(&world, &server, "bill");
    for page in ["/break-glass", "/break-glass/new", path] {
        assert!(bill.get(page).expect(403).text().contains("None of your roles"), "{page}");
    }
    assert!(!bill.get("/").text().contains("/break-glass"));
    let fields = [("patient", UNTIED.id), ("reason", TREAT), ("text", WHY)];
    let _ = bill.post("/", "/break-glass", &fields).expect(403);
    let mut petra = come_in(&world, &server, "petra");
    let _ = petra.get("/break-glass").expect(403);
    let _ = petra.post("/", "/break-glass", &fields).expect(403);
    let mut ana = come_in(&world, &server, "ana");
    let _ = ana.get(path).expect(403);
    // A form of another page, or of none.
    let _ = ana.bare("/break-glass", &fields).expect(403);
    assert_eq!(world.ok(&["break-glass", "list", "--as", "petra"]), json!([]));

    // Somebody else's grant is not theirs to end, and looks like none.
    let _ = ask(&mut ana, UNTIED.id, &[]).expect(303);
    let name = grant(&world)["id"].as_str().unwrap().to_owned();
    let mut nils = come_in(&world, &server, "nils");
    let other = nils.post("/break-glass", "/break-glass/end", &[("grant", &name)]).expect(303);
    assert_eq!(other.header("location"), "/break-glass");
    let absent = nils.post("/break-glass", "/break-glass/end", &[("grant", "absent")]).expect(303);
    assert_eq!(absent.header("location"), "/break-glass");
    assert_eq!(grant(&world)["state"], "active");
    assert!(!nils.get(&format!("/break-glass?opened={name}")).text().contains(UNTIED.family));
    let _ = petra.get("/break-glass/reviews/absent").expect(404);

    // Whoever is suspended opens nothing more, and what was open is closed.
    let shown = ana.get("/break-glass/new").expect(200).text();
    let _ = world.ok(&["user", "suspend", "ana"]);
    let answer = ana.answer(&shown, "/break-glass", &fields).expect(303);
    assert!(answer.header("location").starts_with("/login?"), "{}", answer.header("location"));
    assert_eq!(server.get("physician", &labelled()).status, 401);
    // The privacy officer ends what is left of it.
    let end = format!("/break-glass/reviews/{name}/end");
    let _ = petra.post(&format!("/break-glass/reviews/{name}"), &end, &[]).expect(303);
    assert_eq!(grant(&world)["state"], "open");
}

#[test]
fn nobody_signs_their_own_and_psychotherapy_notes_stay_closed() {
    let world = clinic();
    // Somebody who treats and reviews.
    let _ = world.ok(&["user", "add", "pam", "--role", "physician", "--role", "privacy-officer"]);
    let server = world.serve();
    let notes = json!({"resourceType": "Condition", "id": "psy",
        "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "PSYTHPN"}]},
        "code": {"text": "x"}, "subject": {"reference": format!("Patient/{}", UNTIED.id)}});
    let _ = server.put("import-client", &notes).expect(201);
    let mut pam = come_in(&world, &server, "pam");
    let _ = ask(&mut pam, UNTIED.id, &[]).expect(303);
    let mut ana = come_in(&world, &server, "ana");
    let _ = ask(&mut ana, UNTIED.id, &[]).expect(303);
    let _ = server.get("physician", &labelled()).expect(200);
    assert_eq!(server.get("physician", "Condition/psy").status, 404);
    let all = world.ok(&["break-glass", "list", "--as", "petra"]);
    let all = all.as_array().unwrap();
    let name = |user: &str| {
        let one = all.iter().find(|g| g["subject"] == user).unwrap();
        one["id"].as_str().unwrap().to_owned()
    };
    let sign = [("finding", "appropriate"), ("text", "I know that it was needed")];
    let own = format!("/break-glass/reviews/{}", name("pam"));
    let _ = pam.post("/break-glass", "/break-glass/end", &[("grant", &name("pam"))]).expect(303);
    assert!(pam.get(&own).expect(200).text().contains("somebody else has to review it"));
    let _ = pam.post("/", &own, &sign).expect(403);
    let other = format!("/break-glass/reviews/{}", name("ana"));
    let _ = pam.post(&other, &format!("{other}/end"), &[]).expect(303);
    let _ = pam.post(&other, &other, &sign).expect(303);
    let denied = entries(&world, "emergency-reviewed");
    assert!(denied.iter().any(|e| e["outcome"] == "denied" && e["who"]["user"] == "pam"));
}

#[test]
fn what_is_written_under_a_grant_names_it_too() {
    let world = clinic();
    let server = world.serve();
    let mut ana = come_in(&world, &server, "ana");
    let _ = ask(&mut ana, UNTIED.id, &[]).expect(303);
    let name = grant(&world)["id"].as_str().unwrap().to_owned();
    let mut record = fixture::observation(UNTIED, 0);
    record["issued"] = json!("2021-01-01T00:00:00Z");
    let _ = server.put("physician", &record).expect(200);
    // What somebody else writes is under no grant.
    let _ = server.put("import-client", &fixture::observation(UNTIED, 1)).expect(200);
    let written = entries(&world, "intent");
    let under: Vec<&Value> = written.iter().filter(|e| !e["grant"].is_null()).collect();
    assert_eq!(under.len(), 1, "{written:?}");
    assert_eq!((&under[0]["grant"], &under[0]["who"]["user"]), (&json!(name), &json!("ana")));
    assert!(under[0]["detail"]["obligations"].as_str().unwrap().contains("break-glass"));
    let mut petra = come_in(&world, &server, "petra");
    let case = petra.get(&format!("/break-glass/reviews/{name}")).expect(200).text();
    assert!(case.contains("update 1"), "{case}");
}
