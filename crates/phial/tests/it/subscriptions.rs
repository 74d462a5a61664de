//! Subscribers are told what happens, over real TLS, and nothing that they may not know.

use std::fs;
use std::time::{Duration, Instant};

use phial_testkit::canary::Scanner;
use phial_testkit::fixture::{self, BY_ENCOUNTER, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, findings};
use crate::hook::Hook;

const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
const SYS: &str = "system-client";

/// A clinic with a system that may be told of changes, which may call these hooks.
fn world(hooks: &[&Hook]) -> World {
    let mut world = clinic();
    world.user("sys", SYS, None);
    configure(&world, hooks);
    world
}

pub(crate) fn configure(world: &World, hooks: &[&Hook]) {
    let hosts: Vec<String> = hooks.iter().map(|h| h.host()).collect();
    let ca = world.dir().join("partners.pem");
    fs::write(&ca, hooks.iter().map(|h| h.ca()).collect::<String>()).unwrap();
    let toml = format!(
        "[subscriptions]\nhosts = {hosts:?}\nca = {ca:?}\nretry_first_ms = 20\nretry_most_s = 1\n\
         attempts = 8\ntimeout_s = 5\n"
    );
    fs::write(world.home().join("phial.toml"), toml).unwrap();
}

fn hook_dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) struct Ask<'a> {
    topic: &'a str,
    filters: &'a [&'a str],
    content: Option<&'a str>,
    url: String,
}

fn subscription(ask: &Ask<'_>) -> Value {
    let filters: Vec<Value> = ask
        .filters
        .iter()
        .map(|f| json!({"url": format!("{BACKPORT}backport-filter-criteria"), "valueString": f}))
        .collect();
    let mut s = json!({
        "resourceType": "Subscription", "status": "requested", "reason": "told in tests",
        "criteria": ask.topic,
        "channel": {"type": "rest-hook", "endpoint": ask.url, "payload": "application/fhir+json",
            "header": ["Authorization: Bearer s3cret-of-the-hook"]}});
    if !filters.is_empty() {
        s["_criteria"] = json!({"extension": filters});
    }
    if let Some(code) = ask.content {
        s["channel"]["_payload"] = json!({"extension": [
            {"url": format!("{BACKPORT}backport-payload-content"), "valueCode": code}]});
    }
    s
}

pub(crate) fn changed<'a>(ty: &'a str, hook: &Hook) -> Ask<'a> {
    Ask { topic: ty, filters: &[], content: None, url: hook.url("in") }
}

/// Asks for it, and gives its id.
fn ask(server: &Server, ask: &Ask<'_>) -> String {
    let made = server.post(SYS, "Subscription", &subscription(ask)).expect(201);
    assert_eq!(made.json()["status"], "requested");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Waits until its record says this.
fn stands(server: &Server, id: &str, status: &str) -> Value {
    let begun = Instant::now();
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    loop {
        let found = server.get("import-client", &format!("Subscription/{id}")).expect(200).json();
        if found["status"] == status {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "it is not {status}: {found}");
        let _ = wait.recv_timeout(Duration::from_millis(50));
    }
}

pub(crate) fn active(server: &Server, what: &Ask<'_>) -> String {
    let id = ask(server, what);
    let _ = stands(server, &id, "active");
    id
}

fn observe(server: &Server, p: &fixture::Person, n: usize) -> String {
    let mut o = fixture::observation(p, n);
    o["valueQuantity"]["value"] = json!(150);
    let _ = server.put("physician", &o).expect(200);
    format!("Observation/{}", id("obs", p, n))
}

fn condition(server: &Server, p: &fixture::Person, n: usize) -> String {
    let mut c = fixture::condition(p, n);
    c["onsetDateTime"] = json!("2015-01-01");
    let _ = server.put("import-client", &c).expect(200);
    format!("Condition/{}", id("cond", p, n))
}

fn numbers(told: &[(u64, Option<String>)]) -> Vec<u64> {
    told.iter().map(|(n, _)| *n).collect()
}

fn focuses(told: &[(u64, Option<String>)]) -> Vec<&str> {
    told.iter().map(|(_, f)| f.as_deref().unwrap_or("-")).collect()
}

fn notifications(world: &World) -> Vec<Value> {
    let tail = world.ok(&["audit", "tail", "-n", "2000"]);
    let all = tail.as_array().unwrap().clone();
    all.into_iter().filter(|e| e["kind"] == "notification").collect()
}

#[test]
fn after_a_handshake_a_subscriber_is_told_ids_and_nothing_more() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let what = Ask {
        topic: "urn:phial:topic:changed",
        filters: &["Observation?code=2339-0", "Encounter?status=finished"],
        ..changed("", &hook)
    };
    let id = ask(&server, &what);
    let shake = hook.taken("handshake", 0);
    assert_eq!(shake.line, "POST /in HTTP/1.1");
    assert_eq!(shake.header("authorization"), Some("Bearer s3cret-of-the-hook"));
    assert!(shake.events().is_empty());
    let shown = stands(&server, &id, "active");
    assert_eq!(shown["channel"]["header"], json!(["Authorization: ********"]));

    // A condition is of no type that was asked for; a patient neither.
    let _ = condition(&server, BY_TEAM, 0);
    let first = observe(&server, BY_TEAM, 3);
    hook.told_of(&first);
    let second = observe(&server, BY_ENCOUNTER, 4);
    hook.told_of(&second);
    let _ = server.delete("physician", &first).expect(204);
    hook.until("a deletion", |calls| {
        calls.iter().any(|c| c.body.contains("\"DELETE\"")).then_some(())
    });
    let told = hook.told();
    assert_eq!(numbers(&told), [1, 2, 3]);
    assert_eq!(focuses(&told), [&first, &second, &first]);
    for call in hook.calls() {
        assert!(!fixture::needles().iter().any(|n| call.body.contains(n)), "{}", call.body);
        assert_eq!(call.header("content-type"), Some("application/fhir+json; charset=utf-8"));
        for entry in call.json()["entry"].as_array().unwrap().iter().skip(1) {
            assert_eq!(entry["resource"], Value::Null);
        }
    }

    // Its owner may ask; nobody else is told.
    let status = server.get(SYS, &format!("Subscription/{id}/$status")).expect(200).json();
    let parameters = &status["entry"][0]["resource"]["parameter"];
    assert_eq!(parameters[4]["valueString"], "3", "{status}");
    let again = server.get(SYS, &format!("Subscription/{id}/$events?eventsSinceNumber=2"));
    let again = again.expect(200).json();
    assert_eq!(again["entry"].as_array().unwrap().len(), 3, "{again}");
    let more = server.get(SYS, &format!("Subscription/{id}/$events?content=full-resource"));
    let _ = more.expect(400);
    // Also posted, and of the type: its owner's own, as far as they are asked for.
    let post = |path: &str, parameters: &Value| {
        let body = json!({"resourceType": "Parameters", "parameter": parameters});
        send(fhir(server.request(SYS, Method::POST, path), &body))
    };
    let posted = post(&format!("Subscription/{id}/$status"), &json!([])).expect(200).json();
    assert_eq!(posted["entry"][0]["resource"]["parameter"], *parameters);
    let since = json!([{"name": "eventsSinceNumber", "valueString": "3"}]);
    let posted = post(&format!("Subscription/{id}/$events"), &since).expect(200).json();
    assert_eq!(posted["entry"].as_array().unwrap().len(), 2, "{posted}");
    let other = active(&server, &changed("urn:phial:topic:deleted:Device", &hook));
    let of_type = |query: &str| {
        let all = server.get(SYS, &format!("Subscription/$status{query}")).expect(200).json();
        let entries = all["entry"].as_array().cloned().unwrap_or_default();
        assert_eq!(all["total"], entries.len());
        let whose = |e: &Value| {
            let about = &e["resource"]["parameter"][0]["valueReference"]["reference"];
            about.as_str().unwrap().rsplit('/').next().unwrap().to_owned()
        };
        entries.iter().map(whose).collect::<std::collections::BTreeSet<_>>()
    };
    let both = std::collections::BTreeSet::from([id.clone(), other.clone()]);
    assert_eq!(of_type(""), both);
    assert_eq!(of_type(&format!("?id={id},absent&status=active")), [id.clone()].into());
    assert_eq!(of_type("?status=error"), [].into());
    let ids = json!([{"name": "id", "valueId": other}]);
    assert_eq!(post("Subscription/$status", &ids).expect(200).json()["total"], 1);
    let _ = post("Subscription/$status", &json!([{"name": "x", "valueId": "y"}])).expect(400);
    // Nobody else has any.
    let none = server.get("import-client", "Subscription/$status").expect(200).json();
    assert_eq!(none["total"], 0);
    for operation in ["$status", "$events"] {
        let path = format!("Subscription/{id}/{operation}");
        let _ = server.get("import-client", &path).expect(403);
        let _ = server.get("front-desk", "Subscription/absent/$status").expect(404);
    }
    let _ = server.stop().expect(0);

    // Each event was a disclosure on the owner's behalf, with its patients named.
    let log = notifications(&world);
    let events: Vec<&Value> =
        log.iter().filter(|e| e["detail"]["operation"] == "event-notification").collect();
    assert!(events.len() >= 3, "{log:#?}");
    for e in &events {
        assert_eq!((&e["who"]["user"], &e["outcome"]), (&json!("sys"), &json!("success")), "{e}");
        assert_eq!(e["detail"]["recipient"], hook.host());
        assert!(!e["patients"].as_array().unwrap().is_empty(), "{e}");
    }
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn a_record_itself_goes_only_where_an_agreement_is_in_force() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let what = Ask {
        content: Some("full-resource"),
        ..changed("urn:phial:topic:changed:Observation", &hook)
    };
    let refused = |why: &str| {
        let answer = server.post(SYS, "Subscription", &subscription(&what)).expect(403);
        assert!(answer.text().contains("agreement"), "{why}: {}", answer.text());
    };
    refused("nobody's address");
    let _ = world.ok(&["vendor", "add", "Acme", "--contact", "c", "--endpoint", &hook.url("in")]);
    refused("a vendor without an agreement");
    let until = ["--baa-from", "2020-01-01", "--baa-until", "2020-12-31"];
    let _ = world.ok(&[&["vendor", "change", "Acme"][..], &until].concat());
    refused("an agreement that is over");
    let _ = world.ok(&["vendor", "change", "Acme", "--baa-from", "2020-01-01"]);
    let elsewhere = Ask { url: hook.url("inn"), ..what };
    let other = server.post(SYS, "Subscription", &subscription(&elsewhere)).expect(403);
    assert!(other.text().contains("agreement"), "an address beside theirs");
    let what = Ask { url: hook.url("in"), ..elsewhere };
    let id = active(&server, &what);
    let first = observe(&server, BY_TEAM, 3);
    hook.told_of(&first);
    let call = hook.taken("event-notification", 0);
    let given = &call.json()["entry"][1]["resource"];
    assert_eq!(given["valueQuantity"]["value"], 150);
    assert_eq!(given["note"], Value::Null, "its owner sees no notes");
    assert_eq!(given["meta"]["tag"][0]["code"], "SUBSETTED");

    let _ = world.ok(&["vendor", "end", "Acme"]);
    let _ = observe(&server, BY_TEAM, 4);
    let over = stands(&server, &id, "error");
    assert!(over["error"].as_str().unwrap().contains("agreement"), "{over}");
    assert_eq!(focuses(&hook.told()), [&first], "nothing of the second left");
    let sent = hook.calls().iter().filter(|c| c.kind() == "event-notification").count();
    assert_eq!(sent, 1);
    // Signed again and asked for again, it goes on where it stood.
    let _ = world.ok(&["vendor", "change", "Acme", "--baa-from", "2020-01-01"]);
    let mut again = server.get(SYS, &format!("Subscription/{id}")).expect(200).json();
    again["status"] = json!("requested");
    let _ = server.put(SYS, &again).expect(200);
    hook.told_of(&format!("Observation/{}", fixture::id("obs", BY_TEAM, 4)));
    assert_eq!(numbers(&hook.told()), [1, 2]);
    let last = hook.calls().pop().unwrap();
    let secret = last.header("authorization");
    assert_eq!(secret, Some("Bearer s3cret-of-the-hook"), "a masked header keeps its value");
    let _ = server.stop().expect(0);
    let log = notifications(&world);
    let recipients: Vec<&str> =
        log.iter().filter_map(|e| e["detail"]["recipient"].as_str()).collect();
    assert!(recipients.contains(&format!("Acme ({})", hook.host()).as_str()), "{recipients:?}");
}

#[test]
fn an_endpoint_that_fails_is_tried_again_and_then_left_and_loses_nothing() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let id = active(&server, &changed("urn:phial:topic:changed:Observation", &hook));
    hook.answer(503);
    let first = observe(&server, BY_TEAM, 0);
    let failed = stands(&server, &id, "error");
    assert_eq!(failed["error"], "it answered with status 503");
    let tries: Vec<_> =
        hook.calls().into_iter().filter(|c| c.kind() == "event-notification").collect();
    assert_eq!(tries.len(), 8, "subscriptions.attempts");
    assert!(tries.iter().all(|c| c.events() == tries[0].events()), "under the same number");
    let status = server.get(SYS, &format!("Subscription/{id}/$status")).expect(200).text();
    assert!(status.contains("it answered with status 503"), "{status}");
    let shown = world.ok(&["subscription", "show", &id]);
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("error"), &json!(8)), "{shown}");
    assert_eq!(shown["endpoint"], hook.host());
    let doctor = world.run(&["doctor", "--only", "subscriptions"]).json();
    assert_eq!(doctor["worst"], "warning", "{doctor}");
    // While it is left, more happens.
    let second = observe(&server, BY_TEAM, 1);
    hook.answer(204);
    let mut again = server.get(SYS, &format!("Subscription/{id}")).expect(200).json();
    again["status"] = json!("requested");
    let _ = server.put(SYS, &again).expect(200);
    hook.told_of(&second);
    assert_eq!(focuses(&hook.told()), [&first, &second]);
    assert_eq!(numbers(&hook.told()), [1, 2]);
    let _ = server.stop().expect(0);
    let failures = notifications(&world);
    let failures = failures.iter().filter(|e| e["outcome"] == "failed").count();
    assert!(failures >= 8, "{failures}");
}

#[test]
fn a_crash_loses_no_event_and_keeps_their_order() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let mut server = world.serve();
    let _ = active(&server, &changed("urn:phial:topic:changed:Observation", &hook));
    let mut expected = Vec::new();
    for round in 0..3 {
        for n in 0..6 {
            if n == 3 {
                // What is under way may have been taken, or not.
                hook.answer(if round % 2 == 0 { 500 } else { 200 });
            }
            expected.push(observe(&server, BY_TEAM, (round * 4 + n) % 12));
        }
        let _ = server.kill();
        hook.answer(200);
        server = world.serve();
    }
    let last = observe(&server, BY_ENCOUNTER, 0);
    hook.told_of(&last);
    expected.push(last);
    let told = hook.told();
    assert_eq!(focuses(&told), expected);
    let count = u64::try_from(expected.len()).unwrap();
    assert_eq!(numbers(&told), (1..=count).collect::<Vec<_>>());
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_its_owner_may_not_see_makes_no_event() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let _ = active(&server, &changed("urn:phial:topic:changed:Condition", &hook));
    // Condition 2 is labelled, and the system has no care relationship.
    let _ = condition(&server, BY_TEAM, 2);
    let first = condition(&server, BY_TEAM, 0);
    let _ = condition(&server, UNTIED, 2);
    // Labelled from now on: what it was before is hidden with it.
    let mut hidden = fixture::condition(BY_TEAM, 1);
    hidden["meta"] = fixture::condition(BY_TEAM, 2)["meta"].clone();
    let _ = server.put("import-client", &hidden).expect(200);
    let second = condition(&server, UNTIED, 0);
    hook.told_of(&second);
    let told = hook.told();
    assert_eq!(focuses(&told), [&first, &second]);
    assert_eq!(numbers(&told), [1, 2], "no gap tells of what is hidden");
    // What the role may never search by is no filter.
    let by = |filter: &'static str| {
        let what = Ask { filters: &[filter], ..changed("urn:phial:topic:changed", &hook) };
        server.post(SYS, "Subscription", &subscription(&what)).status
    };
    assert_eq!(by("Patient?identifier=x"), 201);
    assert_eq!(by("ExplanationOfBenefit?disposition=x"), 403);
    let _ = server.stop().expect(0);
}

#[test]
fn an_owner_who_is_suspended_is_told_nothing_more() {
    let dir = hook_dir();
    let (hook, other) = (Hook::start(dir.path()), Hook::start(dir.path()));
    let world = world(&[&hook, &other]);
    let server = world.serve();
    let id = active(&server, &changed("urn:phial:topic:changed:Observation", &hook));
    let first = observe(&server, BY_TEAM, 0);
    hook.told_of(&first);
    let _ = world.ok(&["user", "suspend", "sys"]);
    let _ = observe(&server, BY_TEAM, 1);
    let over = stands(&server, &id, "off");
    assert!(over["error"].as_str().unwrap().contains("account"), "{over}");
    assert_eq!(focuses(&hook.told()), [&first]);
    // Somebody else who writes it becomes its owner, and is told nothing of before; nor
    // does he get at the secrets of whom he takes the place.
    let mut taken = over;
    taken["status"] = json!("requested");
    taken["channel"]["endpoint"] = json!(other.url("in"));
    let masked = server.put("import-client", &taken).expect(400);
    assert!(masked.text().contains("channel.header"), "{}", masked.text());
    taken["channel"]["header"] = json!(["X-Own: 1"]);
    let _ = server.put("import-client", &taken).expect(200);
    let _ = stands(&server, &id, "active");
    let third = observe(&server, BY_TEAM, 2);
    other.told_of(&third);
    assert_eq!(other.told(), [(1, Some(third))]);
    assert!(other.calls().iter().all(|c| c.header("authorization").is_none()));
    let _ = server.stop().expect(0);
}

#[test]
fn a_forgotten_patient_is_in_no_event_that_waits() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let _ = active(&server, &changed("urn:phial:topic:changed:Observation", &hook));
    hook.answer(503);
    let _ = observe(&server, BY_TEAM, 0);
    let kept = observe(&server, BY_ENCOUNTER, 0);
    hook.until("a failure", |calls| {
        calls.iter().any(|c| c.kind() == "event-notification").then_some(())
    });
    let _ = server.stop().expect(0);
    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    let before = hook.calls().len();
    hook.answer(200);
    let server = world.serve();
    hook.told_of(&kept);
    assert_eq!(focuses(&hook.told()), [&kept]);
    for call in hook.calls().iter().skip(before) {
        assert!(!call.body.contains(&id("obs", BY_TEAM, 0)), "{}", call.body);
    }
    let _ = server.stop().expect(0);
}

#[test]
fn a_slow_endpoint_keeps_nobody_else_waiting() {
    let dir = hook_dir();
    let (slow, quick) = (Hook::start(dir.path()), Hook::start(dir.path()));
    let world = world(&[&slow, &quick]);
    let server = world.serve();
    let _ = active(&server, &changed("urn:phial:topic:changed:Observation", &slow));
    let _ = active(&server, &changed("urn:phial:topic:changed:Observation", &quick));
    slow.hold(true);
    let mut all = Vec::new();
    for n in 0..4 {
        all.push(observe(&server, BY_TEAM, n));
        quick.told_of(all.last().unwrap());
    }
    assert_eq!(focuses(&quick.told()), all);
    assert!(slow.told().is_empty());
    slow.hold(false);
    slow.told_of(all.last().unwrap());
    assert_eq!(focuses(&slow.told()), all);
    let _ = server.stop().expect(0);
}

#[test]
fn nobody_is_called_but_who_is_allowed_and_vouched_for() {
    let dir = hook_dir();
    let (good, other, liar) =
        (Hook::start(dir.path()), Hook::start(dir.path()), Hook::start(dir.path()));
    let world = world(&[&good, &liar]);
    // The liar's CA is not among those that are trusted.
    fs::write(world.dir().join("partners.pem"), good.ca() + &other.ca()).unwrap();
    let server = world.serve();
    let topic = "urn:phial:topic:changed:Observation";
    let to = |url: String| {
        let what = Ask { url, ..changed(topic, &good) };
        server.post(SYS, "Subscription", &subscription(&what))
    };
    let _ = to(other.url("in")).expect(403);
    let _ = to("https://169.254.169.254/latest".to_owned()).expect(403);
    let _ = to(format!("http://{}/in", good.host())).expect(400);
    let _ = to(format!("https://{}/in?patient=1", good.host())).expect(400);
    let _ = to(format!("https://user@{}/in", good.host())).expect(400);
    // Who may not write subscriptions has none.
    let what = subscription(&changed(topic, &good));
    for role in ["physician", "nurse", "billing", "front-desk", "auditor"] {
        let _ = server.post(role, "Subscription", &what).expect(403);
    }
    good.redirect(&other.url("in"));
    let redirected = to(good.url("in")).expect(201).json()["id"].as_str().unwrap().to_owned();
    let lied = to(liar.url("in")).expect(201).json()["id"].as_str().unwrap().to_owned();
    let failed = stands(&server, &redirected, "error");
    assert_eq!(failed["error"], "it answered with status 307");
    let failed = stands(&server, &lied, "error");
    assert_eq!(failed["error"], "there was no connection to it");
    assert!(other.calls().is_empty() && liar.calls().is_empty());
    // A host that is taken off the list is called no more, without a restart.
    good.answer(200);
    let id = active(&server, &changed(topic, &good));
    configure(&world, &[]);
    phial_testkit::world::hang_up(server.pid());
    let stopped = stands(&server, &id, "error");
    assert!(stopped["error"].as_str().unwrap().contains("endpoint"), "{stopped}");
    let _ = server.stop().expect(0);
}

#[test]
fn a_subscription_ends_when_it_is_deleted_turned_off_or_over() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let topic = "urn:phial:topic:changed:Observation";
    let to = |path: &str| Ask { url: hook.url(path), ..changed(topic, &hook) };
    let (deleted, off) = (active(&server, &to("deleted")), active(&server, &to("off")));
    let _ = active(&server, &to("on"));
    let _ = server.delete(SYS, &format!("Subscription/{deleted}")).expect(204);
    let mut turned = server.get(SYS, &format!("Subscription/{off}")).expect(200).json();
    turned["status"] = json!("off");
    let _ = server.put(SYS, &turned).expect(200);
    let mut over = subscription(&to("over"));
    over["end"] = json!("2020-01-01T00:00:00Z");
    let made: Answer = server.post(SYS, "Subscription", &over).expect(201);
    let _ = stands(&server, made.json()["id"].as_str().unwrap(), "off");
    let last = observe(&server, BY_TEAM, 0);
    hook.told_of(&last);
    for call in hook.calls().iter().filter(|c| c.kind() == "event-notification") {
        assert_eq!(call.line, "POST /on HTTP/1.1");
    }
    let listed = world.ok(&["subscription", "list"]);
    let states: Vec<&str> =
        listed.as_array().unwrap().iter().map(|s| s["status"].as_str().unwrap()).collect();
    assert_eq!((states.len(), states.iter().filter(|s| **s == "active").count()), (3, 1));
    assert!(!listed.to_string().contains("s3cret"), "{listed}");
    let _ = server.stop().expect(0);
}

#[test]
fn bundles_are_no_way_around_the_checks() {
    let dir = hook_dir();
    let (hook, other) = (Hook::start(dir.path()), Hook::start(dir.path()));
    let world = world(&[&hook]);
    let server = world.serve();
    let topic = "urn:phial:topic:changed:Observation";
    let mut bad = subscription(&Ask { url: other.url("in"), ..changed(topic, &hook) });
    bad["id"] = json!("bundled");
    let bundle = |kind: &str| {
        json!({"resourceType": "Bundle", "type": kind, "entry": [{"resource": bad,
            "request": {"method": "POST", "url": "Subscription"}}]})
    };
    let sent = |kind: &str| send(fhir(server.request(SYS, Method::POST, ""), &bundle(kind)));
    assert_eq!(sent("transaction").status, 403);
    let batch = sent("batch").json();
    assert!(batch["entry"][0]["response"]["status"].as_str().unwrap().starts_with("403"));
    let good = active(&server, &changed(topic, &hook));
    // A status that is the server's to give is asked for anew.
    let mut again = server.get(SYS, &format!("Subscription/{good}")).expect(200).json();
    again["status"] = json!("active");
    let put = server.put(SYS, &again).expect(200).json();
    assert_eq!(put["status"], "requested");
    let _ = stands(&server, &good, "active");
    let _ = server.stop().expect(0);
}

#[test]
fn a_search_as_criteria_is_told_in_r4s_own_way() {
    let dir = hook_dir();
    let (bare, full) = (Hook::start(dir.path()), Hook::start(dir.path()));
    let world = world(&[&bare, &full]);
    let server = world.serve();
    let plain = |criteria: &str, hook: &Hook, payload: bool| {
        let mut s = json!({"resourceType": "Subscription", "status": "requested",
            "reason": "told in tests", "criteria": criteria,
            "channel": {"type": "rest-hook", "endpoint": hook.url("in"),
                "header": ["X-Whose: s3cret-of-the-hook"]}});
        if payload {
            s["channel"]["payload"] = json!("application/fhir+json");
        }
        server.post(SYS, "Subscription", &s)
    };
    let by_code = "Observation?code=2339-0&patient=Patient/";
    let by_code = format!("{by_code}{}", BY_TEAM.id);
    // The record itself goes only where an agreement is in force.
    let refused = plain(&by_code, &full, true).expect(403);
    assert!(refused.text().contains("agreement"), "{}", refused.text());
    let url = full.url("in");
    let vendor = ["vendor", "add", "Acme", "--contact", "c", "--baa-from", "2020-01-01"];
    let _ = world.ok(&[&vendor[..], &["--endpoint", &url]].concat());
    // What the role may never search by is no criterion, and no chain is one.
    let _ = plain("ExplanationOfBenefit?disposition=x", &bare, false).expect(403);
    let _ = plain("Observation?subject.name=x", &bare, false).expect(400);
    let id_of = |answer: Answer| answer.expect(201).json()["id"].as_str().unwrap().to_owned();
    let empty = id_of(plain(&by_code, &bare, false));
    let whole = id_of(plain(&by_code, &full, true));
    let _ = stands(&server, &empty, "active");
    let _ = stands(&server, &whole, "active");

    // Of another patient: nothing. Of this one: created and updated, not deleted.
    let _ = observe(&server, BY_ENCOUNTER, 1);
    let first = observe(&server, BY_TEAM, 1);
    let _ = server.delete("physician", &first).expect(204);
    let second = observe(&server, BY_TEAM, 2);
    let calls = full.until("two records", |calls| (calls.len() >= 2).then(|| calls.to_vec()));
    let lines: Vec<&str> = calls.iter().map(|c| c.line.as_str()).collect();
    let put = |path: &str| format!("PUT /in/{path} HTTP/1.1");
    assert_eq!(lines, [put(&first), put(&second)], "one record a request, and no handshake");
    assert_eq!(calls[0].json()["valueQuantity"]["value"], 150);
    assert_eq!(calls[0].json()["note"], Value::Null, "as its owner sees it");
    assert_eq!(calls[0].header("content-type"), Some("application/fhir+json; charset=utf-8"));
    let calls = bare.until("two requests", |calls| (calls.len() >= 2).then(|| calls.to_vec()));
    for call in &calls {
        assert_eq!((call.line.as_str(), call.body.as_str()), ("POST /in HTTP/1.1", ""));
        assert_eq!(call.header("content-type"), None);
        assert_eq!(call.header("x-whose"), Some("s3cret-of-the-hook"));
    }
    // Its owner asks how it stands, and for the events; nobody else does.
    let status = server.get(SYS, &format!("Subscription/{empty}/$status")).expect(200).json();
    let parameters = &status["entry"][0]["resource"]["parameter"];
    assert_eq!(parameters[4]["valueString"], "2", "{status}");
    let _ = server.get("import-client", &format!("Subscription/{empty}/$events")).expect(403);

    // When the agreement ends, nothing more is sent.
    let _ = world.ok(&["vendor", "end", "Acme"]);
    let _ = observe(&server, BY_TEAM, 3);
    let over = stands(&server, &whole, "error");
    assert!(over["error"].as_str().unwrap().contains("agreement"), "{over}");
    assert_eq!(full.calls().len(), 2);
    bare.until("a third", |calls| (calls.len() >= 3).then_some(()));
    let _ = server.stop().expect(0);
    let log = notifications(&world);
    let given: Vec<&Value> = log.iter().filter(|e| e["outcome"] == "success").collect();
    assert!(given.len() >= 5, "{log:#?}");
    for e in given {
        assert!(!e["patients"].as_array().unwrap().is_empty(), "each names its patient: {e}");
    }
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn a_patched_subscription_is_checked_and_owned_like_one_that_is_put() {
    let dir = hook_dir();
    let (hook, other) = (Hook::start(dir.path()), Hook::start(dir.path()));
    let world = world(&[&hook]);
    let server = world.serve();
    let id = active(&server, &changed("urn:phial:topic:changed:Observation", &hook));
    let patch = |role: &str, operations: Value| {
        let path = format!("Subscription/{id}");
        let request = server.request(role, Method::PATCH, &path);
        let request = request.header("content-type", "application/json-patch+json");
        send(request.body(operations.to_string()))
    };
    let replace =
        |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    // What a PUT would be refused for.
    let _ = patch(SYS, replace("/channel/endpoint", json!(other.url("in")))).expect(403);
    let _ = patch(SYS, replace("/channel/type", json!("websocket"))).expect(422);
    let _ = patch(SYS, replace("/criteria", json!("urn:phial:topic:nothing"))).expect(422);
    // Somebody else gets at no secret of its owner: its header is to be given anew.
    let masked = patch("interface-engine", replace("/reason", json!("mine"))).expect(422);
    assert!(masked.text().contains("channel.header"), "{}", masked.text());
    // Its owner changes a part, and the rest holds: header, events, numbers.
    let first = observe(&server, BY_TEAM, 0);
    hook.told_of(&first);
    let done = patch(SYS, replace("/reason", json!("told otherwise"))).expect(200).json();
    assert_eq!((&done["status"], &done["reason"]), (&json!("requested"), &json!("told otherwise")));
    assert_eq!(done["channel"]["header"], json!(["Authorization: ********"]));
    let _ = stands(&server, &id, "active");
    let second = observe(&server, BY_TEAM, 1);
    hook.told_of(&second);
    assert_eq!(numbers(&hook.told()), [1, 2]);
    let last = hook.calls().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer s3cret-of-the-hook"));
    // Off is off, and whoever turns it on with a header of his own is its owner.
    let _ = patch(SYS, replace("/status", json!("off"))).expect(200);
    let _ = stands(&server, &id, "off");
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn no_marked_word_and_no_secret_of_a_subscription_is_in_any_file_or_output() {
    let dir = hook_dir();
    let hook = Hook::start(dir.path());
    let world = world(&[&hook]);
    let server = world.serve();
    let _ = world.ok(&[
        "vendor",
        "add",
        "Acme",
        "--contact",
        "c",
        "--baa-from",
        "2020-01-01",
        "--endpoint",
        &hook.url("in"),
    ]);
    let by_name = format!("Patient?family={}", BY_TEAM.family);
    let by_number = format!("Patient?identifier={}", BY_TEAM.mrn);
    let what = Ask {
        topic: "urn:phial:topic:updated",
        filters: &[&by_name, &by_number, "Observation?code=2339-0"],
        content: Some("full-resource"),
        url: hook.url("in"),
    };
    let id = active(&server, &what);
    hook.answer(500);
    let mut patient = fixture::patient(BY_TEAM);
    patient["active"] = json!(true);
    let _ = server.put("import-client", &patient).expect(200);
    hook.until("a failure", |calls| {
        calls.iter().any(|c| c.kind() == "event-notification").then_some(())
    });
    hook.answer(200);
    hook.told_of(&format!("Patient/{}", BY_TEAM.id));
    let given = hook.taken("event-notification", 0).body;
    assert!(given.contains(BY_TEAM.family), "what is looked for was really sent");
    let _ = server.get(SYS, &format!("Subscription/{id}/$events")).expect(200);
    let refused = server.post(
        SYS,
        "Subscription",
        &subscription(&Ask {
            filters: &[&format!("Patient?birthdate={}", BY_TEAM.street)],
            ..changed("urn:phial:topic:updated", &hook)
        }),
    );
    let refused = refused.expect(400).body;
    let ended = server.kill();
    let mut printed = [ended.out.as_bytes(), ended.err.as_bytes(), &refused].concat();
    for args in [
        &["subscription", "list"][..],
        &["subscription", "show", &id],
        &["vendor", "list"],
        &["doctor"],
        &["verify"],
    ] {
        let ran = world.run(args);
        printed.extend_from_slice(ran.out.as_bytes());
        printed.extend_from_slice(ran.err.as_bytes());
    }
    let mut needles = fixture::needles();
    needles.push("s3cret-of-the-hook".to_owned());
    let scanner = Scanner::new(&needles).unwrap();
    let mut report = scanner.scan(&[world.dir()]).unwrap();
    scanner.bytes(std::path::Path::new("printed"), &printed, &mut report);
    assert!(report.is_clean(), "{report}");
}
