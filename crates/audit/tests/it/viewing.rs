//! Views: what they show, and what they must not.

use phial_audit::balp::to_audit_event;
use phial_audit::view::{Position, json, line};
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode, Target, Write, open_entry};
use phial_base::{Sensitive, Version};
use serde_json::Value;

use crate::world::{PATIENT, id, place, read, row, seal};

#[test]
fn a_line_says_it_all() {
    let place = place(42);
    let at = Position { index: Some(7), place: &place };
    assert_eq!(line(&read(), Some(at)), include_str!("../frozen/read.line.txt").trim_end());
}

#[test]
fn json_says_it_all() {
    let place = place(42);
    let at = Position { index: Some(7), place: &place };
    let text = serde_json::to_string_pretty(&json(&read(), Some(at))).unwrap();
    assert_eq!(text, include_str!("../frozen/read.json").trim_end());
}

#[test]
fn closed_parts_show_no_id_in_any_view() {
    let mut e = read();
    e.query = Some(Sensitive::new("name=canary".into()));
    let (sealed, mut keys) = seal(&e, &place(1), 1);
    keys.patients.clear();
    let opened = open_entry(&sealed, &place(1), &keys).unwrap();
    let views = [
        line(&opened, None),
        json(&opened, None).to_string(),
        Value::from(to_audit_event(&opened)).to_string(),
    ];
    for view in views {
        for secret in [PATIENT, "5b1c7a0e", "canary"] {
            assert!(!view.contains(secret), "{view}");
        }
        assert!(view.contains("dr.ana"));
    }
}

#[test]
fn outside_text_can_not_forge_a_line() {
    let mut e = read();
    e.who.user = Some("x\n2026 read success user=\u{1b}[2Jroot".into());
    e.detail.insert(DetailKey::Reason, "a b\r\nc".into());
    let text = line(&e, None);
    assert!(!text.contains(['\n', '\r', '\u{1b}']), "{text:?}");
}

fn codes(event: &Value, path: &str) -> Vec<String> {
    let found = event.pointer(path).unwrap_or(&Value::Null);
    let one = |v: &Value| v["code"].as_str().unwrap_or("").to_owned();
    match found {
        Value::Array(all) => all.iter().map(one).collect(),
        v => vec![one(v)],
    }
}

#[test]
fn a_read_is_a_patient_read_event() {
    let events = to_audit_event(&read());
    assert_eq!(events.len(), 1);
    let text = serde_json::to_string_pretty(&events[0]).unwrap();
    assert_eq!(text, include_str!("../frozen/read.auditevent.json").trim_end());
}

#[test]
fn a_search_gives_an_event_for_each_patient() {
    let mut e = Entry { kind: EventKind::Search, what: vec![], patients: vec![], ..read() };
    e.query = Some(Sensitive::new("code=8867-4".into()));
    for (n, p) in [(1, "a"), (2, "b"), (3, "a")] {
        e.target(Target::new(row(n), Some(Version(1)), "Observation"), &[id(p)]);
    }
    let events = to_audit_event(&e);
    let patient = |e: &Value| {
        let all = e["entity"].as_array().unwrap();
        let found = all.iter().find(|x| x["role"]["code"] == "1").unwrap();
        found["what"]["reference"].as_str().unwrap().to_owned()
    };
    assert_eq!(events.iter().map(patient).collect::<Vec<_>>(), ["Patient/a", "Patient/b"]);
    for event in &events {
        assert_eq!(event["action"], "E");
        let profile = event["meta"]["profile"][0].as_str().unwrap();
        assert!(profile.ends_with("IHE.BasicAudit.PatientQuery"));
        let query = event["entity"].as_array().unwrap().iter().find(|x| !x["query"].is_null());
        assert_eq!(query.unwrap()["query"], "Y29kZT04ODY3LTQ=");
        assert_eq!(codes(event, "/agent/0/type/coding"), ["110153"], "the client sends");
    }
}

#[test]
fn a_search_that_found_nobody_is_an_event_too() {
    let mut e = Entry { kind: EventKind::Search, what: vec![], patients: vec![], ..read() };
    e.query = Some(Sensitive::new("code=1".into()));
    let events = to_audit_event(&e);
    assert_eq!(events.len(), 1);
    assert!(events[0]["meta"]["profile"][0].as_str().unwrap().ends_with("BasicAudit.Query"));
}

#[test]
fn a_transaction_gives_an_event_for_each_write() {
    let mut e = Entry { what: vec![], patients: vec![], ..read() };
    let mut writes = Vec::new();
    for (n, action) in [(1, EventKind::Create), (2, EventKind::Update), (3, EventKind::Delete)] {
        let mut t = Target::new(row(n), Some(Version(n)), "Condition");
        t.action = Some(action);
        e.target(t, &[id("a")]);
        writes.push(Write { row: row(n), version: Version(n), hash: [0; 32] });
    }
    let intent = e.into_intent([1; 16], EventKind::Transaction, writes);
    let events = to_audit_event(&intent);
    let actions: Vec<_> = events.iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["C", "U", "D"]);
    assert_eq!(codes(&events[2], "/agent/0/type/coding"), ["110150"]);
    assert_eq!(codes(&events[2], "/agent/1/type/coding"), ["custodian"]);

    let closed = Entry { what: vec![], patients: vec![], ..read() };
    assert_eq!(to_audit_event(&closed.clone().into_outcome([1; 16], true, None)).len(), 0);
    let failed = to_audit_event(&closed.into_outcome([1; 16], false, None));
    assert_eq!(failed[0]["outcome"], "8");
}

#[test]
fn a_refusal_claims_no_profile_and_says_why() {
    let mut e = read().with_outcome(OutcomeCode::Denied);
    e.kind = EventKind::Denied;
    e.action = Some(EventKind::Read);
    e.detail.insert(DetailKey::Reason, "no relationship".into());
    let events = to_audit_event(&e);
    assert_eq!(events[0].get("meta"), None);
    assert_eq!(events[0]["outcome"], "4");
    assert_eq!(events[0]["outcomeDesc"], "denied: no relationship");
    assert_eq!(codes(&events[0], "/subtype"), ["read"]);
}

#[test]
fn every_kind_has_a_valid_event() {
    for kind in EventKind::ALL {
        let mut e = read();
        e.kind = *kind;
        for event in to_audit_event(&e) {
            // Required by R4: type, recorded, agent (with requestor), source.observer.
            assert!(!codes(&event, "/type")[0].is_empty(), "{kind:?}");
            assert!(event["recorded"].is_string());
            assert!(event["source"]["observer"].is_object());
            let agents = event["agent"].as_array().unwrap();
            assert!(agents.iter().all(|a| a["requestor"].is_boolean()));
            assert_eq!(agents.iter().filter(|a| a["requestor"] == true).count(), 1);
        }
    }
}
