//! The rows of `$everything`, `$meta`, exports, imports and their jobs in the table of
//! routes. No rules of its own.

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::routes::{NOBODY, Row, ask, get, labelled, plain};

/// The job that nobody asked for.
const NO_JOB: &str = "$job/00000000000000000000000000000000";

/// Asks for an answer that may come later.
fn later(server: &Server, role: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = if role == NOBODY {
        server.client().request(method, format!("{}/{path}", server.base()))
    } else {
        server.request(role, method, path)
    };
    let request = request.header("prefer", "respond-async");
    send(match body {
        Some(body) => fhir(request, body),
        None => request,
    })
}

/// Asks for emergency access.
fn glass(server: &Server, role: &str, patient: &str, reason: bool) -> Answer {
    let mut parameter = vec![json!({"name": "text", "valueString": "found unconscious"})];
    if reason {
        parameter.push(json!({"name": "reason", "valueCode": "emergency-treatment"}));
    }
    let body = json!({"resourceType": "Parameters", "parameter": parameter});
    ask(server, role, Method::POST, &format!("Patient/{patient}/$break-glass"), Some(&body))
}

/// A tag that each role has for itself.
fn tag(n: usize) -> Value {
    json!({"resourceType": "Parameters", "parameter": [
        {"name": "meta", "valueMeta": {"tag": [{"code": format!("t{n}")}]}}]})
}

pub(crate) static ROWS: [Row; 24] = [
    Row {
        route: "GET [base]/Patient/[id]/$everything",
        asks: &[
            ("a patient's chart", |s, r, _| {
                get(s, r, &format!("Patient/{}/$everything?_count=1", BY_TEAM.id))
            }),
            ("the chart of no own patient", |s, r, _| {
                get(s, r, &format!("Patient/{}/$everything?_count=1", UNTIED.id))
            }),
            ("what is absent", |s, r, _| get(s, r, "Patient/absent/$everything")),
        ],
    },
    Row {
        route: "GET [base]/Encounter/[id]/$everything",
        asks: &[
            ("an encounter", |s, r, _| {
                get(s, r, &format!("Encounter/{}/$everything?_count=1", id("enc", BY_TEAM, 0)))
            }),
            ("an encounter of no own patient", |s, r, _| {
                get(s, r, &format!("Encounter/{}/$everything?_count=1", id("enc", UNTIED, 0)))
            }),
        ],
    },
    Row {
        route: "POST [base]/Patient/[id]/$everything",
        asks: &[("a patient's chart", |s, r, _| {
            let path = format!("Patient/{}/$everything", BY_TEAM.id);
            ask(s, r, Method::POST, &path, Some(&json!({"resourceType": "Parameters"})))
        })],
    },
    Row {
        route: "POST [base]/Encounter/[id]/$everything",
        asks: &[("an encounter", |s, r, _| {
            let path = format!("Encounter/{}/$everything", id("enc", BY_TEAM, 0));
            ask(s, r, Method::POST, &path, Some(&json!({"resourceType": "Parameters"})))
        })],
    },
    Row {
        route: "POST [base]/Patient/[id]/$break-glass",
        asks: &[
            ("with a reason", |s, r, _| glass(s, r, BY_TEAM.id, true)),
            ("without a reason", |s, r, _| glass(s, r, BY_TEAM.id, false)),
            ("a patient who is absent", |s, r, _| glass(s, r, "absent", true)),
        ],
    },
    Row {
        route: "POST [base]/Patient/[id]/$break-glass-end",
        asks: &[
            ("one that holds", |s, r, _| {
                ask(s, r, Method::POST, &format!("Patient/{}/$break-glass-end", BY_TEAM.id), None)
            }),
            ("none that holds", |s, r, _| {
                ask(s, r, Method::POST, "Patient/absent/$break-glass-end", None)
            }),
        ],
    },
    Row {
        route: "GET [base]/[type]/[id]/$meta",
        asks: &[
            ("a condition", |s, r, _| get(s, r, &format!("{}/$meta", plain()))),
            ("a labelled condition of no own patient", |s, r, _| {
                get(s, r, &format!("{}/$meta", labelled()))
            }),
            ("what is absent", |s, r, _| get(s, r, "Condition/absent/$meta")),
        ],
    },
    Row {
        route: "POST [base]/[type]/[id]/$meta",
        asks: &[("a condition", |s, r, _| {
            ask(s, r, Method::POST, &format!("{}/$meta", plain()), None)
        })],
    },
    Row {
        route: "GET [base]/[type]/$meta",
        asks: &[("conditions", |s, r, _| get(s, r, "Condition/$meta"))],
    },
    Row {
        route: "POST [base]/[type]/$meta",
        asks: &[("conditions", |s, r, _| ask(s, r, Method::POST, "Condition/$meta", None))],
    },
    Row { route: "GET [base]/$meta", asks: &[("all", |s, r, _| get(s, r, "$meta"))] },
    Row {
        route: "POST [base]/$meta",
        asks: &[("all", |s, r, _| ask(s, r, Method::POST, "$meta", None))],
    },
    Row {
        route: "POST [base]/[type]/[id]/$meta-add",
        asks: &[
            ("a tag to a condition", |s, r, n| {
                ask(s, r, Method::POST, &format!("{}/$meta-add", plain()), Some(&tag(n)))
            }),
            ("a tag to a labelled condition of no own patient", |s, r, n| {
                ask(s, r, Method::POST, &format!("{}/$meta-add", labelled()), Some(&tag(n)))
            }),
        ],
    },
    Row {
        route: "POST [base]/[type]/[id]/$meta-delete",
        asks: &[
            ("a tag from a condition", |s, r, n| {
                ask(s, r, Method::POST, &format!("{}/$meta-delete", plain()), Some(&tag(n)))
            }),
            ("what is absent", |s, r, n| {
                ask(s, r, Method::POST, "Condition/absent/$meta-delete", Some(&tag(n)))
            }),
        ],
    },
    Row {
        route: "GET [base]/$export",
        asks: &[
            ("everything", |s, r, _| later(s, r, Method::GET, "$export", None)),
            ("without Prefer: respond-async", |s, r, _| get(s, r, "$export")),
        ],
    },
    Row {
        route: "POST [base]/$export",
        asks: &[("everything", |s, r, _| {
            later(s, r, Method::POST, "$export", Some(&json!({"resourceType": "Parameters"})))
        })],
    },
    Row {
        route: "GET [base]/Patient/$export",
        asks: &[("all patients", |s, r, _| later(s, r, Method::GET, "Patient/$export", None))],
    },
    Row {
        route: "POST [base]/Patient/$export",
        asks: &[("one patient", |s, r, _| {
            let patient = format!("Patient/{}", BY_TEAM.id);
            let body = json!({"resourceType": "Parameters", "parameter": [
                {"name": "patient", "valueReference": {"reference": patient}}]});
            later(s, r, Method::POST, "Patient/$export", Some(&body))
        })],
    },
    Row {
        route: "GET [base]/Group/[id]/$export",
        asks: &[("a group that is absent", |s, r, _| {
            later(s, r, Method::GET, "Group/absent/$export", None)
        })],
    },
    Row {
        route: "POST [base]/Group/[id]/$export",
        asks: &[("a group that is absent", |s, r, _| {
            let body = json!({"resourceType": "Parameters"});
            later(s, r, Method::POST, "Group/absent/$export", Some(&body))
        })],
    },
    Row {
        route: "POST [base]/$import",
        asks: &[
            ("one line", |s, r, _| {
                let request = if r == NOBODY {
                    s.client().post(format!("{}/$import", s.base()))
                } else {
                    s.request(r, Method::POST, "$import")
                };
                let line = fixture::condition(BY_TEAM, 0).to_string();
                send(request.header("content-type", "application/fhir+ndjson").body(line))
            }),
            ("a source that is not listed", |s, r, _| {
                let body = json!({"resourceType": "Parameters", "parameter": [
                    {"name": "input", "part": [
                        {"name": "url", "valueUrl": "https://127.0.0.1/a"}]}]});
                later(s, r, Method::POST, "$import", Some(&body))
            }),
        ],
    },
    Row {
        route: "GET [base]/$job/[job]",
        asks: &[("a job that is absent", |s, r, _| get(s, r, NO_JOB))],
    },
    Row {
        route: "DELETE [base]/$job/[job]",
        asks: &[("a job that is absent", |s, r, _| ask(s, r, Method::DELETE, NO_JOB, None))],
    },
    Row {
        route: "GET [base]/$job/[job]/[file]",
        asks: &[("a file that is absent", |s, r, _| get(s, r, &format!("{NO_JOB}/0")))],
    },
];
