//! The table of routes: who may, what a denial looks like, which entries it writes. Made
//! by asking the real server as each role, and held against a committed text, so that a
//! change of it is read before it is accepted. A test beside the routes themselves holds
//! that every one of them has a row.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::refusal::is_documented;
use phial_testkit::world::{Answer, PEOPLE, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::clinic;

/// Who asks: every role that ships, and somebody without a token.
pub(crate) const NOBODY: &str = "(no token)";

/// How a route is asked once: as a role, which is the n-th of them.
pub(crate) type Ask = fn(&Server, &str, usize) -> Answer;

/// One route's row: its heading, and what is asked of it in which words.
pub(crate) struct Row {
    pub(crate) route: &'static str,
    pub(crate) asks: &'static [(&'static str, Ask)],
}

pub(crate) fn ask(
    server: &Server,
    role: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let request = if role == NOBODY {
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        server.client().request(method, format!("{}{path}", server.base()))
    } else {
        server.request(role, method, path)
    };
    send(match body {
        Some(body) => fhir(request, body),
        None => request,
    })
}

pub(crate) fn get(server: &Server, role: &str, path: &str) -> Answer {
    ask(server, role, Method::GET, path, None)
}

fn form(server: &Server, role: &str, path: &str, body: &'static str) -> Answer {
    let request = if role == NOBODY {
        server.client().post(format!("{}/{path}", server.base()))
    } else {
        server.request(role, Method::POST, path)
    };
    send(request.header("content-type", "application/x-www-form-urlencoded").body(body))
}

/// A JSON Patch of what the front desk, too, would see of a condition, were it to see any.
fn patch(server: &Server, role: &str, path: &str, n: usize) -> Answer {
    let day = format!("2020-01-{:02}", n + 1);
    let patch = json!([{"op": "replace", "path": "/recordedDate", "value": day}]);
    let request = if role == NOBODY {
        server.client().patch(format!("{}/{path}", server.base()))
    } else {
        server.request(role, Method::PATCH, path)
    };
    send(request.header("content-type", "application/json-patch+json").body(patch.to_string()))
}

/// Content of the patient's, uploaded by itself.
fn content(server: &Server, role: &str, method: Method, path: &str) -> Answer {
    let request = if role == NOBODY {
        server.client().request(method, format!("{}/{path}", server.base()))
    } else {
        server.request(role, method, path)
    };
    let about = format!("Patient/{}", BY_TEAM.id);
    send(request.header("content-type", "text/plain").header("x-security-context", about).body("x"))
}

pub(crate) fn plain() -> String {
    format!("Condition/{}", id("cond", BY_TEAM, 0))
}

pub(crate) fn labelled() -> String {
    format!("Condition/{}", id("cond", UNTIED, 2))
}

fn bundle(kind: &str, condition: &Value) -> Value {
    let url = format!("Condition/{}", condition["id"].as_str().unwrap());
    json!({"resourceType": "Bundle", "type": kind, "entry": [
        {"resource": condition, "request": {"method": "PUT", "url": url}}]})
}

fn new(mut condition: Value) -> Value {
    condition.as_object_mut().unwrap().remove("id");
    condition
}

const GENDER: &str = "url=http://hl7.org/fhir/ValueSet/administrative-gender";
const GENDERS: &str = "url=http://hl7.org/fhir/administrative-gender";
const FINDINGS: &str = "url=http://hl7.org/fhir/ValueSet/clinical-findings";

/// A Parameters resource; of a value, what follows the first `=`.
fn parameters(all: &[(&str, &str)]) -> Value {
    let value = |v: &str| v.split_once('=').map_or(json!(5), |(_, v)| json!(v));
    let kind = |v: &str| if v.contains('=') { "valueString" } else { "valueInteger" };
    let all: Vec<Value> =
        all.iter().map(|(name, v)| json!({"name": name, kind(v): value(v)})).collect();
    json!({"resourceType": "Parameters", "parameter": all})
}

const ROWS: &[Row] = &[
    Row { route: "GET /healthz", asks: &[("as it is", |s, r, _| get(s, r, "../healthz"))] },
    Row { route: "GET /readyz", asks: &[("as it is", |s, r, _| get(s, r, "../readyz"))] },
    Row {
        route: "GET /openapi.json",
        asks: &[("as it is", |s, r, _| get(s, r, "../openapi.json"))],
    },
    Row {
        route: "GET /.well-known/smart-configuration",
        asks: &[("as it is", |s, r, _| get(s, r, "../.well-known/smart-configuration"))],
    },
    Row {
        route: "GET /fhir/.well-known/smart-configuration",
        asks: &[("as it is", |s, r, _| get(s, r, ".well-known/smart-configuration"))],
    },
    Row {
        route: "GET /.well-known/openid-configuration",
        asks: &[("as it is", |s, r, _| get(s, r, "../.well-known/openid-configuration"))],
    },
    Row { route: "GET /oauth/jwks", asks: &[("as it is", |s, r, _| get(s, r, "../oauth/jwks"))] },
    Row {
        route: "POST /oauth/token",
        asks: &[("for a client that there is not", |s, _, _| {
            form(s, NOBODY, "../oauth/token", "grant_type=client_credentials&client_id=x")
        })],
    },
    Row {
        route: "POST /oauth/introspect",
        asks: &[("by a client that there is not", |s, _, _| {
            form(s, NOBODY, "../oauth/introspect", "token=x&client_id=x")
        })],
    },
    Row {
        route: "POST /oauth/revoke",
        asks: &[("by a client that there is not", |s, _, _| {
            form(s, NOBODY, "../oauth/revoke", "token=x&client_id=x")
        })],
    },
    Row {
        route: "GET /oauth/userinfo",
        asks: &[("with a token of no app", |s, r, _| get(s, r, "../oauth/userinfo"))],
    },
    Row {
        route: "POST /oauth/userinfo",
        asks: &[("with a token of no app", |s, r, _| form(s, r, "../oauth/userinfo", ""))],
    },
    Row {
        route: "POST /oauth/launch",
        asks: &[("of an app that there is not", |s, r, _| {
            let body = json!({"client": "x", "patient": BY_TEAM.id});
            ask(s, r, Method::POST, "../oauth/launch", Some(&body))
        })],
    },
    Row {
        route: "POST /oauth/register",
        asks: &[("where apps do not register themselves", |s, _, _| {
            let body = json!({"client_name": "x", "redirect_uris": ["https://app.example/cb"]});
            ask(s, NOBODY, Method::POST, "../oauth/register", Some(&body))
        })],
    },
    Row {
        route: "GET /scim/v2/ServiceProviderConfig",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/ServiceProviderConfig", None)
        })],
    },
    Row {
        route: "GET /scim/v2/ResourceTypes",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/ResourceTypes", None)
        })],
    },
    Row {
        route: "GET /scim/v2/Schemas",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/Schemas", None)
        })],
    },
    Row {
        route: "GET /scim/v2/Users",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/Users", None)
        })],
    },
    Row {
        route: "POST /scim/v2/Users",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::POST, "../scim/v2/Users", None)
        })],
    },
    Row {
        route: "GET /scim/v2/Users/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/Users/x", None)
        })],
    },
    Row {
        route: "PUT /scim/v2/Users/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::PUT, "../scim/v2/Users/x", None)
        })],
    },
    Row {
        route: "PATCH /scim/v2/Users/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::PATCH, "../scim/v2/Users/x", None)
        })],
    },
    Row {
        route: "DELETE /scim/v2/Users/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::DELETE, "../scim/v2/Users/x", None)
        })],
    },
    Row {
        route: "GET /scim/v2/Groups",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/Groups", None)
        })],
    },
    Row {
        route: "GET /scim/v2/Groups/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::GET, "../scim/v2/Groups/x", None)
        })],
    },
    Row {
        route: "PUT /scim/v2/Groups/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::PUT, "../scim/v2/Groups/x", None)
        })],
    },
    Row {
        route: "PATCH /scim/v2/Groups/[id]",
        asks: &[("with a token that is no service's", |s, r, _| {
            ask(s, r, Method::PATCH, "../scim/v2/Groups/x", None)
        })],
    },
    Row {
        route: "GET [base]/metadata",
        asks: &[("the capability statement", |s, r, _| get(s, r, "metadata"))],
    },
    Row {
        route: "POST [base]",
        asks: &[
            ("a transaction that replaces a condition", |s, r, _| {
                let bundle = bundle("transaction", &fixture::condition(BY_TEAM, 1));
                ask(s, r, Method::POST, "", Some(&bundle))
            }),
            ("a transaction that replaces a labelled condition of no own patient", |s, r, _| {
                let bundle = bundle("transaction", &fixture::condition(UNTIED, 2));
                ask(s, r, Method::POST, "", Some(&bundle))
            }),
            ("a batch that replaces a condition", |s, r, _| {
                let bundle = bundle("batch", &fixture::condition(BY_TEAM, 1));
                ask(s, r, Method::POST, "", Some(&bundle))
            }),
        ],
    },
    Row {
        route: "GET [base]/[type]/[id]",
        asks: &[
            ("a condition", |s, r, _| get(s, r, &plain())),
            ("a labelled condition of no own patient", |s, r, _| get(s, r, &labelled())),
            ("what is absent", |s, r, _| get(s, r, "Condition/absent")),
            ("content of a patient's", |s, r, _| get(s, r, "Binary/content")),
        ],
    },
    Row {
        route: "GET [base]/[type]/[id]/_history/[vid]",
        asks: &[
            ("content of a patient's", |s, r, _| get(s, r, "Binary/content/_history/1")),
            ("a condition", |s, r, _| get(s, r, &format!("{}/_history/1", plain()))),
            ("a labelled condition of no own patient", |s, r, _| {
                get(s, r, &format!("{}/_history/1", labelled()))
            }),
            ("what is absent", |s, r, _| get(s, r, "Condition/absent/_history/1")),
        ],
    },
    Row {
        route: "GET [base]/[type]/[id]/_history",
        asks: &[
            ("a condition", |s, r, _| get(s, r, &format!("{}/_history", plain()))),
            ("a labelled condition of no own patient", |s, r, _| {
                get(s, r, &format!("{}/_history", labelled()))
            }),
            ("what is absent", |s, r, _| get(s, r, "Condition/absent/_history")),
        ],
    },
    Row {
        route: "GET [base]/[type]/_history",
        asks: &[
            ("conditions", |s, r, _| get(s, r, "Condition/_history?_count=1")),
            ("what is no history's", |s, r, _| get(s, r, "Condition/_history?code=x")),
        ],
    },
    Row {
        route: "GET [base]/_history",
        asks: &[("everything", |s, r, _| get(s, r, "_history?_count=1"))],
    },
    Row {
        route: "GET [base]/[type]",
        asks: &[
            ("conditions", |s, r, _| get(s, r, "Condition?_count=1")),
            ("conditions by code", |s, r, _| get(s, r, "Condition?code=44054006&_count=1")),
        ],
    },
    Row {
        route: "POST [base]/[type]/_search",
        asks: &[
            ("conditions", |s, r, _| form(s, r, "Condition/_search", "_count=1")),
            ("conditions by code", |s, r, _| form(s, r, "Condition/_search", "code=44054006")),
        ],
    },
    Row {
        route: "GET [base]",
        asks: &[
            ("conditions and patients", |s, r, _| get(s, r, "?_type=Condition,Patient&_count=1")),
            ("conditions by code", |s, r, _| get(s, r, "?_type=Condition&code=44054006&_count=1")),
        ],
    },
    Row {
        route: "POST [base]/_search",
        asks: &[("conditions by code", |s, r, _| {
            form(s, r, "_search", "_type=Condition&code=44054006")
        })],
    },
    Row {
        route: "GET [base]/[compartment]/[id]/[type]",
        asks: &[("a patient's conditions", |s, r, _| {
            get(s, r, &format!("Patient/{}/Condition?_count=1", BY_TEAM.id))
        })],
    },
    Row {
        route: "POST [base]/[compartment]/[id]/[type]/_search",
        asks: &[("a patient's conditions by code", |s, r, _| {
            form(s, r, &format!("Patient/{}/Condition/_search", BY_TEAM.id), "code=44054006")
        })],
    },
    Row {
        route: "POST [base]/[type]",
        asks: &[
            ("a condition", |s, r, _| {
                let condition = new(fixture::condition(BY_TEAM, 0));
                ask(s, r, Method::POST, "Condition", Some(&condition))
            }),
            ("a labelled condition of no own patient", |s, r, _| {
                let condition = new(fixture::condition(UNTIED, 2));
                ask(s, r, Method::POST, "Condition", Some(&condition))
            }),
            ("content of a patient's", |s, r, _| content(s, r, Method::POST, "Binary")),
            ("what is not valid", |s, r, _| {
                let bad = json!({"resourceType": "Condition", "nonsense": 1});
                ask(s, r, Method::POST, "Condition", Some(&bad))
            }),
        ],
    },
    Row {
        route: "PUT [base]/[type]/[id]",
        asks: &[
            ("a condition", |s, r, _| {
                ask(s, r, Method::PUT, &plain(), Some(&fixture::condition(BY_TEAM, 0)))
            }),
            ("a labelled condition of no own patient", |s, r, _| {
                ask(s, r, Method::PUT, &labelled(), Some(&fixture::condition(UNTIED, 2)))
            }),
            ("content of a patient's", |s, r, _| content(s, r, Method::PUT, "Binary/content")),
            ("under an id that is free", |s, r, n| {
                let mut condition = fixture::condition(BY_TEAM, 0);
                condition["id"] = json!(format!("free-{n}"));
                ask(s, r, Method::PUT, &format!("Condition/free-{n}"), Some(&condition))
            }),
        ],
    },
    Row {
        route: "PUT [base]/[type]",
        asks: &[("the observation that a condition finds", |s, r, _| {
            let path = format!("Observation?_id={}", id("obs", BY_TEAM, 11));
            ask(s, r, Method::PUT, &path, Some(&fixture::observation(BY_TEAM, 11)))
        })],
    },
    Row {
        route: "PATCH [base]/[type]/[id]",
        asks: &[
            ("a condition", |s, r, n| patch(s, r, &plain(), n)),
            ("a labelled condition of no own patient", |s, r, n| patch(s, r, &labelled(), n)),
            ("what is absent", |s, r, n| patch(s, r, "Condition/absent", n)),
        ],
    },
    Row {
        route: "PATCH [base]/[type]",
        asks: &[("the condition that a condition finds", |s, r, n| {
            patch(s, r, &format!("Condition?_id={}", id("cond", BY_TEAM, 1)), n)
        })],
    },
    Row {
        route: "DELETE [base]/[type]/[id]",
        asks: &[
            ("an observation", |s, r, n| {
                let path = format!("Observation/{}", id("obs", BY_TEAM, n));
                ask(s, r, Method::DELETE, &path, None)
            }),
            ("a labelled condition of no own patient", |s, r, _| {
                ask(s, r, Method::DELETE, &labelled(), None)
            }),
            ("what is absent", |s, r, _| ask(s, r, Method::DELETE, "Condition/absent", None)),
        ],
    },
    Row {
        route: "DELETE [base]/[type]",
        asks: &[("the observation that a condition finds", |s, r, _| {
            let path = format!("Observation?_id={}", id("obs", BY_TEAM, 11));
            ask(s, r, Method::DELETE, &path, None)
        })],
    },
    Row {
        route: "GET [base]/[type]/[id]/$validate",
        asks: &[
            ("a condition", |s, r, _| get(s, r, &format!("{}/$validate", plain()))),
            ("a labelled condition of no own patient", |s, r, _| {
                get(s, r, &format!("{}/$validate", labelled()))
            }),
            ("what is absent", |s, r, _| get(s, r, "Condition/absent/$validate")),
        ],
    },
    Row {
        route: "POST [base]/[type]/$validate",
        asks: &[
            ("a condition", |s, r, _| {
                let condition = fixture::condition(BY_TEAM, 0);
                ask(s, r, Method::POST, "Condition/$validate", Some(&condition))
            }),
            ("what is not valid", |s, r, _| {
                let bad = json!({"resourceType": "Condition", "nonsense": 1});
                ask(s, r, Method::POST, "Condition/$validate", Some(&bad))
            }),
        ],
    },
    Row {
        route: "POST [base]/[type]/[id]/$validate",
        asks: &[
            ("a condition", |s, r, _| {
                let condition = fixture::condition(BY_TEAM, 0);
                let path = format!("{}/$validate", plain());
                ask(s, r, Method::POST, &path, Some(&condition))
            }),
            ("whether it could be deleted", |s, r, _| {
                let mode = parameters(&[("mode", "mode=delete")]);
                ask(s, r, Method::POST, &format!("{}/$validate", plain()), Some(&mode))
            }),
        ],
    },
    Row {
        route: "GET [base]/ValueSet/$expand",
        asks: &[
            ("a value set of R4", |s, r, _| get(s, r, &format!("ValueSet/$expand?{GENDER}"))),
            ("one that hangs on what is not held", |s, r, _| {
                get(s, r, &format!("ValueSet/$expand?{FINDINGS}"))
            }),
        ],
    },
    Row {
        route: "GET [base]/ValueSet/[id]/$expand",
        asks: &[("what is absent", |s, r, _| get(s, r, "ValueSet/absent/$expand"))],
    },
    Row {
        route: "POST [base]/ValueSet/$expand",
        asks: &[("a value set of R4", |s, r, _| {
            let p = parameters(&[("url", GENDER)]);
            ask(s, r, Method::POST, "ValueSet/$expand", Some(&p))
        })],
    },
    Row {
        route: "POST [base]/ValueSet/[id]/$expand",
        asks: &[("what is absent", |s, r, _| {
            let p = parameters(&[("count", "")]);
            ask(s, r, Method::POST, "ValueSet/absent/$expand", Some(&p))
        })],
    },
    Row {
        route: "GET [base]/ValueSet/$validate-code",
        asks: &[("a code of R4", |s, r, _| {
            get(
                s,
                r,
                &format!(
                    "ValueSet/$validate-code?{GENDER}&system=http://hl7.org/fhir/administrative-gender&code=male"
                ),
            )
        })],
    },
    Row {
        route: "GET [base]/ValueSet/[id]/$validate-code",
        asks: &[("what is absent", |s, r, _| {
            get(
                s,
                r,
                "ValueSet/absent/$validate-code?system=http://hl7.org/fhir/administrative-gender&code=male",
            )
        })],
    },
    Row {
        route: "GET [base]/CodeSystem/$validate-code",
        asks: &[("a code of R4", |s, r, _| {
            get(s, r, &format!("CodeSystem/$validate-code?{GENDERS}&code=male"))
        })],
    },
    Row {
        route: "GET [base]/CodeSystem/[id]/$validate-code",
        asks: &[("what is absent", |s, r, _| {
            get(s, r, "CodeSystem/absent/$validate-code?code=male")
        })],
    },
    Row {
        route: "POST [base]/ValueSet/$validate-code",
        asks: &[("a code of R4", |s, r, _| {
            let p = parameters(&[("url", GENDER), ("system", GENDERS), ("code", "code=male")]);
            ask(s, r, Method::POST, "ValueSet/$validate-code", Some(&p))
        })],
    },
    Row {
        route: "POST [base]/ValueSet/[id]/$validate-code",
        asks: &[("what is absent", |s, r, _| {
            let p = parameters(&[("system", GENDERS), ("code", "code=male")]);
            ask(s, r, Method::POST, "ValueSet/absent/$validate-code", Some(&p))
        })],
    },
    Row {
        route: "POST [base]/CodeSystem/$validate-code",
        asks: &[("a code of R4", |s, r, _| {
            let p = parameters(&[("url", GENDERS), ("code", "code=male")]);
            ask(s, r, Method::POST, "CodeSystem/$validate-code", Some(&p))
        })],
    },
    Row {
        route: "POST [base]/CodeSystem/[id]/$validate-code",
        asks: &[("what is absent", |s, r, _| {
            let p = parameters(&[("code", "code=male")]);
            ask(s, r, Method::POST, "CodeSystem/absent/$validate-code", Some(&p))
        })],
    },
    Row {
        route: "GET [base]/Subscription/$status",
        asks: &[("one's own", |s, r, _| get(s, r, "Subscription/$status"))],
    },
    Row {
        route: "POST [base]/Subscription/$status",
        asks: &[("one's own", |s, r, _| {
            let p = parameters(&[("status", "code=active")]);
            ask(s, r, Method::POST, "Subscription/$status", Some(&p))
        })],
    },
    Row {
        route: "GET [base]/Subscription/[id]/$status",
        asks: &[
            ("a subscription of the system client", |s, r, _| {
                get(s, r, &format!("Subscription/{}/$status", subscribed(s)))
            }),
            ("what is absent", |s, r, _| get(s, r, "Subscription/absent/$status")),
        ],
    },
    Row {
        route: "POST [base]/Subscription/[id]/$status",
        asks: &[("a subscription of the system client", |s, r, _| {
            let path = format!("Subscription/{}/$status", subscribed(s));
            ask(s, r, Method::POST, &path, Some(&parameters(&[])))
        })],
    },
    Row {
        route: "GET [base]/Subscription/[id]/$events",
        asks: &[
            ("a subscription of the system client", |s, r, _| {
                get(s, r, &format!("Subscription/{}/$events", subscribed(s)))
            }),
            ("what is absent", |s, r, _| get(s, r, "Subscription/absent/$events")),
        ],
    },
    Row {
        route: "POST [base]/Subscription/[id]/$events",
        asks: &[("a subscription of the system client", |s, r, _| {
            let path = format!("Subscription/{}/$events", subscribed(s));
            ask(s, r, Method::POST, &path, Some(&parameters(&[])))
        })],
    },
];

/// A subscription of the system client, which is told nothing: it is off.
fn subscribed(server: &Server) -> String {
    let made = server.post(
        "system-client",
        "Subscription",
        &json!({"resourceType": "Subscription", "status": "off", "reason": "to be asked about",
            "criteria": "urn:phial:topic:changed:Observation",
            "channel": {"type": "rest-hook", "endpoint": "https://nobody.example/in"}}),
    );
    made.expect(201).json()["id"].as_str().unwrap().to_owned()
}

/// All rows, in the order of the routes.
fn rows() -> impl Iterator<Item = &'static Row> {
    let first = ROWS.iter().position(|r| r.route == "GET [base]/metadata").unwrap();
    let (plain, fhir) = ROWS.split_at(first);
    plain.iter().chain(crate::routes_pages::ROWS).chain(fhir).chain(&crate::routes_operations::ROWS)
}

/// Status and, of a refusal, the code of its first issue; of a bundle's answer, those of
/// its one entry.
fn shown(answer: &Answer) -> String {
    let to = answer.header("location");
    if answer.status == 303 {
        return format!("303 to {}", to.split('?').next().unwrap());
    }
    if answer.header("content-type").starts_with("text/html") {
        return answer.status.to_string();
    }
    is_documented(answer);
    let json = answer.json();
    let entry = &json["entry"][0]["response"];
    let bundled = ["batch-response", "transaction-response"]
        .contains(&json["type"].as_str().unwrap_or(""))
        .then(|| entry["status"].as_str().unwrap());
    let outcome = if bundled.is_some() { &entry["outcome"] } else { &json };
    let mut text = answer.status.to_string();
    if let Some(status) = bundled {
        let _ = write!(text, " of {}", status.get(..3).unwrap());
    }
    if outcome["resourceType"] == "OperationOutcome" {
        let _ = write!(text, " {}", outcome["issue"][0]["code"].as_str().unwrap());
    }
    text
}

/// What was written down under the request's number.
fn entries(log: &[Value], request: &str) -> String {
    let text = |e: &Value| {
        let mut said = e["kind"].as_str().unwrap().to_owned();
        if let Some(action) = e["action"].as_str() {
            let _ = write!(said, "({action})");
        }
        format!("{said} {}", e["outcome"].as_str().unwrap())
    };
    let all: Vec<String> = log.iter().filter(|e| e["request"] == request).map(text).collect();
    if all.is_empty() { "nothing is written down".to_owned() } else { all.join(", ") }
}

fn table(world: &mut World) -> String {
    world.user("olaf", "operator", None);
    world.user("sys", "system-client", None);
    let server = world.serve();
    crate::routes_pages::log_everybody_in(world, &server);
    let mut roles: Vec<&str> = PEOPLE.iter().map(|(_, role, _)| *role).collect();
    roles.extend(["operator", "system-client", NOBODY]);
    let _ = content(&server, "import-client", Method::PUT, "Binary/content").expect(201);
    let mut asked = Vec::new();
    for row in rows() {
        for (what, ask) in row.asks {
            for (n, role) in roles.iter().enumerate() {
                let answer = ask(&server, role, n);
                let request = answer.header("x-request-id").to_owned();
                asked.push((row.route, *what, *role, shown(&answer), request));
            }
        }
    }
    // Outcomes are written behind the answers: an end in order waits for them.
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "20000"]);
    let log = log.as_array().unwrap();
    let mut out = String::from(
        "# Who may use which route, what the others are answered, and what is written down.\n\
         # Made by asking the server; do not edit. Regenerate and read the difference:\n\
         #   UPDATE_GOLDEN=1 cargo test -p phial --test it routes\n\
         # Each line: status, code of the refusal | the audit entries | who is answered so.\n\
         # \"200 of 404\" is a Bundle's status and that of its entry. The clinic is that of\n\
         # crates/testkit/src/fixture.rs.\n",
    );
    for row in rows() {
        let _ = write!(out, "\n## {}\n", row.route);
        for (what, _) in row.asks {
            let _ = writeln!(out, "{what}");
            let mut lines: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
            for (_, _, role, status, request) in
                asked.iter().filter(|a| a.0 == row.route && a.1 == *what)
            {
                lines.entry((status.clone(), entries(log, request))).or_default().push(role);
            }
            for ((status, written), who) in lines {
                let _ = writeln!(out, "  {status} | {written} | {}", who.join(", "));
            }
        }
    }
    out
}

#[test]
fn routes_are_those_of_the_golden_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/routes.txt");
    let now = table(&mut clinic());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), now.lines().collect());
    let changed: Vec<String> = (0..old.len().max(new.len()))
        .filter(|i| old.get(*i) != new.get(*i))
        .take(30)
        .map(|i| format!("line {}: {:?} is now {:?}", i + 1, old.get(i), new.get(i)))
        .collect();
    assert!(
        changed.is_empty(),
        "routes answer otherwise than tests/golden/routes.txt says:\n{}\nIf that is what you \
         want: UPDATE_GOLDEN=1 cargo test -p phial --test it routes, and read its difference",
        changed.join("\n")
    );
}
