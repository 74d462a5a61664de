//! Tests: what a Subscription says, what is refused, what bundles hold.

use serde_json::{Value, json};

use super::*;
use crate::{Limits, validate};

fn subscription() -> Value {
    let url = |n: &str| format!("{BACKPORT}{n}");
    json!({
        "resourceType": "Subscription", "id": "s1", "status": "requested", "reason": "told",
        "end": "2030-01-01T00:00:00Z",
        "criteria": "urn:phial:topic:changed",
        "_criteria": {"extension": [
            {"url": url("backport-filter-criteria"), "valueString": "Observation?code=8480-6&patient=Patient/p1"},
            {"url": url("backport-filter-criteria"), "valueString": "Encounter?status=in-progress%2Cfinished"}]},
        "channel": {
            "extension": [
                {"url": url("backport-heartbeat-period"), "valueUnsignedInt": 3600},
                {"url": url("backport-timeout"), "valueUnsignedInt": 30},
                {"url": url("backport-max-count"), "valuePositiveInt": 7}],
            "type": "rest-hook", "endpoint": "https://ehr.example.org/hook",
            "payload": "application/fhir+json",
            "_payload": {"extension": [{"url": url("backport-payload-content"), "valueCode": "full-resource"}]},
            "header": ["Authorization: Bearer s3cret", "X-Site: 7"]
        }
    })
}

fn doc(v: &Value) -> Doc {
    let doc = Doc::parse(v.to_string().as_bytes(), &Limits::default()).unwrap();
    if let Err(issues) = validate(doc.clone()) {
        panic!("{issues:?}");
    }
    doc
}

#[test]
fn a_subscription_says_what_it_asks_for() {
    let asked = read(&doc(&subscription())).unwrap();
    assert!(asked.on);
    assert_eq!(asked.topic.url(), "urn:phial:topic:changed");
    assert_eq!(asked.filters.len(), 2);
    assert_eq!(asked.filters[1].filters[0].values.len(), 2);
    assert_eq!(asked.endpoint, "https://ehr.example.org/hook");
    assert_eq!(asked.content, Content::Full);
    assert_eq!((asked.heartbeat, asked.timeout, asked.most), (Some(3600), Some(30), 7));
    assert_eq!(asked.headers.len(), 2);
    assert_eq!(asked.end, span("2030-01-01T00:00:00Z").map(|s| s.low));
    let mut plain = subscription();
    plain["status"] = json!("off");
    let object = plain.as_object_mut().unwrap();
    object.remove("_criteria");
    object.remove("end");
    plain["channel"] = json!({"type": "rest-hook", "endpoint": "https://a.example/"});
    let asked = read(&doc(&plain)).unwrap();
    assert_eq!((asked.on, asked.content, asked.most), (false, Content::IdOnly, USUAL_EVENTS));
    assert!(asked.filters.is_empty() && asked.headers.is_empty());
}

#[test]
fn what_could_not_be_kept_is_refused_by_place() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut v = subscription();
        change(&mut v);
        read(&doc(&v)).err().map(|i| i.into_iter().map(|i| i.path).collect::<Vec<_>>())
    };
    let filter = |text: &'static str| {
        with(&move |v| v["_criteria"]["extension"][0]["valueString"] = json!(text))
    };
    let at = |path: &str| Some(vec![format!("Subscription.{path}")]);
    assert_eq!(
        with(&|v| v["criteria"] = json!("Nothing?code=1")).unwrap()[0],
        "Subscription.criteria"
    );
    assert_eq!(
        with(&|v| v["criteria"] = json!("urn:phial:topic:changed:Nothing")).unwrap()[0],
        "Subscription.criteria"
    );
    assert_eq!(
        with(&|v| v["criteria"] = json!("urn:phial:topic:changed:Subscription")),
        at("criteria")
    );
    assert_eq!(with(&|v| v["criteria"] = json!("urn:phial:topic:changedx")), at("criteria"));
    assert_eq!(
        with(&|v| v["criteria"] = json!("urn:phial:topic:created:Observation")),
        at("criteria.extension"),
        "the other filter is of Encounter"
    );
    assert_eq!(with(&|v| v["channel"]["type"] = json!("websocket")), at("channel.type"));
    assert_eq!(
        with(&|v| v["channel"]["payload"] = json!("application/fhir+xml")),
        at("channel.payload")
    );
    assert_eq!(
        with(&|v| v["channel"]["_payload"]["extension"][0]["valueCode"] = json!("all")),
        at("channel.payload.extension")
    );
    for header in
        ["Host: x", "Content-Type: x", "Proxy-Authorization: x", "no colon", "X: a\u{7f}", ": x"]
    {
        assert_eq!(
            with(&|v| v["channel"]["header"][1] = json!(header)),
            at("channel.header"),
            "{header}"
        );
    }
    for heartbeat in [0, 1, 9_999_999] {
        assert_eq!(
            with(&|v| v["channel"]["extension"][0]["valueUnsignedInt"] = json!(heartbeat)),
            at("channel.extension")
        );
    }
    for bad in [
        "Observation",
        "Nothing?code=1",
        "Observation?nonsense=1",
        "Observation?_sort=date",
        "Observation?_count=3",
        "Observation?subject.name=x",
        "Observation?date=yesterday",
        "Observation?_include=Observation:patient",
    ] {
        assert_eq!(filter(bad), at("criteria.extension"), "{bad}");
    }
}

#[test]
fn header_values_never_come_out_again() {
    let out = rewritten(&doc(&subscription()), Some("error"), Some("no answer")).unwrap();
    let v: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(v["channel"]["header"], json!(["Authorization: ********", "X-Site: ********"]));
    assert_eq!((&v["status"], &v["error"]), (&json!("error"), &json!("no answer")));
    let again = rewritten(&doc(&v), Some("active"), None).unwrap();
    let v: Value = serde_json::from_slice(&again).unwrap();
    assert_eq!((&v["status"], &v["error"]), (&json!("active"), &json!("none since")));
    assert!(!String::from_utf8(again).unwrap().contains("s3cret"));
}

#[test]
fn topics_are_about_kinds_of_change_and_types() {
    let ty = |n: &str| ResourceType::from_name(n).unwrap();
    let about = |url: &str, t: &str, c| Topic::from_url(url).unwrap().is_about(ty(t), c);
    assert!(about("urn:phial:topic:changed", "Patient", Change::Deleted));
    assert!(!about("urn:phial:topic:changed", "Subscription", Change::Created));
    assert!(about("urn:phial:topic:deleted:Patient", "Patient", Change::Deleted));
    assert!(!about("urn:phial:topic:deleted:Patient", "Patient", Change::Updated));
    assert!(!about("urn:phial:topic:updated:Patient", "Observation", Change::Updated));
}

#[test]
fn bundles_are_valid_and_say_no_more_than_was_asked_for() {
    let n = Notification {
        base: "https://phial.example/fhir",
        subscription: "s1",
        topic: "urn:phial:topic:changed",
        standing: Standing::Active,
        error: None,
        kind: Kind::Event,
        events: 4,
        at: "2026-03-01T00:00:00Z",
        ids: ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"],
    };
    let body = br#"{"resourceType":"Patient","id":"p1"}"#;
    let event = |number, record, body| Focus {
        number,
        at: "2026-03-01T00:00:00Z",
        change: Change::Updated,
        record,
        body,
    };
    let record = Some(("Patient", "p1"));
    let parsed = |bytes: Vec<u8>| -> Value {
        let v: Value = serde_json::from_slice(&bytes).unwrap();
        doc(&v);
        v
    };
    let full = parsed(notification(&n, &[event(3, record, Some(body)), event(4, record, None)]));
    assert_eq!(full["entry"].as_array().unwrap().len(), 3);
    assert_eq!(full["entry"][1]["resource"]["id"], "p1");
    assert_eq!(full["entry"][2]["resource"], Value::Null);
    let status = full["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let names: Vec<_> = status.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "subscription",
            "topic",
            "status",
            "type",
            "events-since-subscription-start",
            "notification-event",
            "notification-event"
        ]
    );
    let empty = parsed(notification(&n, &[event(3, None, None)]));
    assert_eq!(empty["entry"].as_array().unwrap().len(), 1);
    assert!(!empty.to_string().contains("Patient"));
    let failed = Notification {
        error: Some("no answer"),
        standing: Standing::Error,
        kind: Kind::QueryStatus,
        ..n
    };
    let status = parsed(status_bundle(failed.ids[0], failed.at, &[failed]));
    assert_eq!(status["type"], "searchset");
    assert_eq!(
        status["entry"][0]["resource"]["parameter"][5]["valueCodeableConcept"]["text"],
        "no answer"
    );
}

#[test]
fn a_search_as_criteria_is_told_as_r4_itself_has_it() {
    let plain = |change: &dyn Fn(&mut Value)| {
        let mut v = json!({"resourceType": "Subscription", "status": "requested",
            "reason": "told", "criteria": "Observation?code=http://loinc.org|1975-2",
            "channel": {"type": "rest-hook", "endpoint": "https://a.example/in"}});
        change(&mut v);
        read(&doc(&v))
    };
    let asked = plain(&|_| ()).unwrap();
    assert!(asked.topic.is_search());
    assert_eq!((asked.filters.len(), asked.content, asked.most), (1, Content::Empty, 1));
    let ty = |name| ResourceType::from_name(name).unwrap();
    let told = |of, change| asked.topic.is_about(ty(of), change);
    assert!(told("Observation", Change::Created) && told("Observation", Change::Updated));
    assert!(!told("Observation", Change::Deleted) && !told("Condition", Change::Created));
    // With a payload the record itself is sent.
    let full = plain(&|v| v["channel"]["payload"] = json!("application/fhir+json")).unwrap();
    assert_eq!(full.content, Content::Full);
    let refused = |change: &dyn Fn(&mut Value)| -> Vec<String> {
        plain(change).unwrap_err().into_iter().map(|i| i.path).collect()
    };
    for bad in [
        "Observation?nonsense=1",
        "Observation?subject.name=x",
        "Observation?_sort=date",
        "Subscription?status=off",
        "Observation",
    ] {
        assert_eq!(refused(&|v| v["criteria"] = json!(bad)), ["Subscription.criteria"], "{bad}");
    }
    let extension = |name: &str, value: Value| {
        let mut e = json!({"url": format!("{BACKPORT}{name}")});
        e.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        json!({"extension": [e]})
    };
    let filter =
        extension("backport-filter-criteria", json!({"valueString": "Observation?code=1"}));
    assert_eq!(refused(&|v| v["_criteria"] = filter.clone()), ["Subscription.criteria.extension"]);
    let content = extension("backport-payload-content", json!({"valueCode": "id-only"}));
    assert_eq!(
        refused(&|v| {
            v["channel"]["payload"] = json!("application/fhir+json");
            v["channel"]["_payload"] = content.clone();
        }),
        ["Subscription.channel.payload.extension"]
    );
    let beat = extension("backport-heartbeat-period", json!({"valueUnsignedInt": 60}));
    assert_eq!(
        refused(&|v| v["channel"]["extension"] = beat["extension"].clone()),
        ["Subscription.channel.extension"]
    );
    assert_eq!(
        refused(&|v| v["channel"]["payload"] = json!("application/fhir+xml")),
        ["Subscription.channel.payload"]
    );
}
