//! Tokens: who is recognised, for what, and until when.

use phial_testkit::world::send;
use reqwest::Method;
use serde_json::Value;

use crate::clinic::clinic;

fn tail(world: &phial_testkit::world::World, n: &str) -> Vec<Value> {
    world.ok(&["audit", "tail", "-n", n]).as_array().unwrap().clone()
}

#[test]
fn without_a_living_token_nothing_is_answered_and_the_attempt_is_on_record() {
    let world = clinic();
    let server = world.serve();
    let url = format!("{}/Patient", server.base());
    let attempts = [
        server.client().get(&url),
        server.client().get(&url).bearer_auth("not-a-token"),
        server.client().get(&url).bearer_auth(""),
        server.client().get(&url).basic_auth("ana", Some("ana")),
        server.client().get(&url).header("authorization", "Bearer"),
        server.client().delete(format!("{url}/x")),
        server.client().post(server.base()).body("{}"),
        server
            .client()
            .get(format!("{}/t/other/fhir/Patient", server.base().replace("/fhir", "")))
            .bearer_auth(world.token("physician")),
    ];
    let tried = attempts.len();
    for attempt in attempts {
        let answer = send(attempt).expect(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert_eq!(answer.json()["issue"][0]["code"], "login");
    }
    // An unknown tenant has no log of its own; all the others are written down.
    let refused = tail(&world, "30");
    let refused: Vec<_> = refused.iter().filter(|e| e["kind"] == "token-refused").collect();
    assert_eq!(refused.len(), tried - 1);
    for e in refused {
        assert_eq!(e["who"]["ip"], "127.0.0.1", "{e}");
    }
}

#[test]
fn a_suspended_account_is_refused_at_once_and_its_sessions_stay_dead() {
    let world = clinic();
    let server = world.serve();
    let _ = server.get("physician", "Patient?_count=1").expect(200);
    let _ = world.ok(&["user", "suspend", "ana"]);
    let _ = server.get("physician", "Patient?_count=1").expect(401);
    assert_eq!(world.run(&["token", "--user", "ana"]).code, Some(1));
    let _ = world.ok(&["user", "resume", "ana"]);
    let _ = server.get("physician", "Patient?_count=1").expect(401);
    let fresh = world.issue("ana");
    let url = format!("{}/Patient?_count=1", server.base());
    let _ = send(server.client().get(url).bearer_auth(fresh)).expect(200);
    let _ = server.get("billing", "Patient?_count=1").expect(200);
}

#[test]
fn a_role_acts_only_for_the_purposes_that_it_may_claim() {
    let world = clinic();
    assert_eq!(world.run(&["token", "--user", "bill", "--purpose", "TREAT"]).code, Some(1));
    assert_eq!(world.run(&["token", "--user", "bill", "--purpose", "CURIOSITY"]).code, Some(2));
    let issued = world.ok(&["token", "--user", "petra", "--purpose", "PATRQT"]);
    assert_eq!(issued["purpose"], "PATRQT");
    let server = world.serve();
    let request = server
        .client()
        .request(Method::GET, format!("{}/Patient?_count=1", server.base()))
        .bearer_auth(issued["token"].as_str().unwrap());
    let _ = send(request).expect(200);
    let seen = tail(&world, "10");
    let search = seen.iter().rev().find(|e| e["kind"] == "search").unwrap();
    assert_eq!(search["purpose"], "PATRQT", "{search}");
    assert_eq!(search["who"]["user"], "petra");
}

#[test]
fn a_token_is_stored_only_as_a_hash() {
    let world = clinic();
    let server = world.serve();
    let _ = server.get("physician", "Patient?_count=1").expect(200);
    let tokens: Vec<String> =
        ["physician", "billing", "auditor"].map(|r| world.token(r).to_owned()).to_vec();
    let scanner = phial_testkit::canary::Scanner::new(&tokens).unwrap();
    let report = scanner.scan(&[world.home()]).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn an_entry_says_who_what_whose_whence_and_why() {
    let world = clinic();
    let server = world.serve();
    let p = phial_testkit::fixture::BY_TEAM;
    let id = phial_testkit::fixture::id("cond", p, 0);
    let _ = server.get("billing", &format!("Condition/{id}")).expect(200);
    let _ = server.search("billing", "Condition", "code=44054006&_count=2").expect(200);
    let seen = tail(&world, "12");
    let read = seen.iter().find(|e| e["kind"] == "read").unwrap();
    assert_eq!(read["who"]["user"], "bill");
    assert_eq!(read["who"]["roles"][0], "billing");
    assert_eq!(read["who"]["ip"], "127.0.0.1");
    assert_eq!(read["purpose"], "HPAYMT");
    assert_eq!(read["outcome"], "success");
    assert_eq!(read["surface"], "fhir");
    assert_eq!(read["what"][0]["id"], id.as_str());
    assert_eq!(read["what"][0]["resource_type"], "Condition");
    assert_eq!(read["patients"][0]["id"], p.id);
    let list = |v: &Value| -> Vec<String> {
        v.as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect()
    };
    assert!(list(&read["what"][0]["classes_given"]).contains(&"clinical".to_owned()));
    assert!(list(&read["what"][0]["classes_withheld"]).contains(&"notes".to_owned()));
    let search = seen.iter().find(|e| e["kind"] == "search").unwrap();
    assert_eq!(search["what"].as_array().unwrap().len(), 2, "every record delivered is named");
    assert!(search["query"].as_str().unwrap().starts_with("Condition?code=44054006"));
    // Looking at the log is in the log.
    assert!(tail(&world, "3").iter().any(|e| e["kind"] == "audit-read"));
}
