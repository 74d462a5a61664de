//! The CapabilityStatement, tried: what it claims is served, what it does not claim is
//! not. What is claimed and unknown here fails, so that nothing is claimed untried.

use std::collections::BTreeSet;

use phial_fhir::definitions::{Element, Form, ResourceType, Strength, TypeId, TypeKind};
use phial_testkit::refusal::is_documented;
use phial_testkit::world::{Answer, Server, fhir, send};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::clinic::clinic;

/// Whoever finds and writes every type.
const WRITER: &str = "import-client";

/// A primitive's text of this form.
fn sample(form: Option<Form>) -> Value {
    match form {
        Some(Form::Boolean) => json!(true),
        Some(Form::Decimal | Form::Integer | Form::PositiveInt | Form::UnsignedInt) => json!(1),
        Some(Form::Date) => json!("2020-01-02"),
        Some(Form::DateTime | Form::Instant) => json!("2020-01-02T03:04:05Z"),
        Some(Form::Time) => json!("03:04:05"),
        Some(Form::Base64Binary) => json!("AAAA"),
        Some(Form::Oid) => json!("urn:oid:1.2.3"),
        Some(Form::Uuid) => json!("urn:uuid:7b1e7a30-13d5-4a4e-8a51-5a6c34e8f001"),
        Some(Form::Uri | Form::Url | Form::Canonical) => json!("https://a.example/x"),
        _ => json!("x"),
    }
}

/// The least that an element can hold.
fn value(e: &Element, depth: usize) -> (String, Value) {
    let ty = e.types[0];
    let name = if e.choice {
        let mut of = ty.name().to_owned();
        of[..1].make_ascii_uppercase();
        format!("{}{of}", e.name)
    } else {
        e.name.to_owned()
    };
    let coding = e.binding.filter(|b| b.strength == Strength::Required && b.set().listed());
    let coding = coding.map(|b| {
        let (system, codes) = &b.set().systems[0];
        (*system, codes[0])
    });
    let one = match (ty.name(), coding) {
        ("code" | "string" | "uri", Some((_, code))) => json!(code),
        ("Coding", Some((system, code))) => json!({"system": system, "code": code}),
        ("CodeableConcept", Some((system, code))) => {
            json!({"coding": [{"system": system, "code": code}]})
        }
        ("Reference", _) => json!({"display": "x"}),
        ("CodeableConcept", _) => json!({"text": "x"}),
        _ if ty.kind() == TypeKind::Primitive => sample(ty.def().form()),
        _ => Value::Object(object(ty, depth + 1)),
    };
    (name, if e.many { json!([one]) } else { one })
}

/// What an object of this type has to have, and something in any case.
fn object(ty: TypeId, depth: usize) -> Map<String, Value> {
    assert!(depth < 8, "{ty:?} has no end");
    let own = || ty.elements().iter().filter(|e| !["id", "extension"].contains(&e.name));
    let mut made: Map<String, Value> =
        own().filter(|e| e.min > 0).map(|e| value(e, depth)).collect();
    if made.is_empty() && ty.resource().is_none() {
        let simple = |e: &&Element| e.types[0].kind() == TypeKind::Primitive;
        let any = own().find(simple).or_else(|| own().next()).unwrap();
        made.extend([value(any, depth)]);
    }
    made
}

/// The least resource of a type.
fn least(ty: ResourceType) -> Value {
    let mut made = object(ty.type_id(), 0);
    made.insert("resourceType".to_owned(), json!(ty.name()));
    if ty.name() == "Binary" {
        // Content that is not there reads as content out of sight.
        made.insert("data".to_owned(), json!("AAAA"));
    }
    Value::Object(made)
}

fn strings<'a>(list: &'a Value, member: &str) -> BTreeSet<&'a str> {
    let text = |v: &'a Value| if member.is_empty() { v.as_str() } else { v[member].as_str() };
    list.as_array().into_iter().flatten().filter_map(text).collect()
}

/// Whether an answer says that nothing of the kind is done here.
fn not_served(answer: &Answer) -> bool {
    let refused = [404, 405, 422, 501].contains(&answer.status);
    refused && answer.json()["issue"][0]["code"] == "not-supported"
}

fn ask(server: &Server, role: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = if path.is_empty() {
        server.client().request(method, server.base()).bearer_auth(server.token(role))
    } else {
        server.request(role, method, path)
    };
    let answer = send(match body {
        Some(body) => fhir(request, body),
        None => request,
    });
    is_documented(&answer);
    answer
}

/// Tries an interaction of a type on the record `id`, of which there are versions. Gives
/// the answer and the statuses that it has when it is served.
fn interaction(server: &Server, code: &str, ty: &str, id: &str) -> (Answer, &'static [u16]) {
    let record = format!("{ty}/{id}");
    let body = |id: Option<&str>| {
        let mut body = least(ResourceType::from_name(ty).unwrap());
        if let Some(id) = id {
            body["id"] = json!(id);
        }
        body
    };
    let one =
        |role, method, path: &str, body: Option<&Value>| ask(server, role, method, path, body);
    match code {
        "read" => (one(WRITER, "GET", &record, None), &[200]),
        "vread" => (one("privacy-officer", "GET", &format!("{record}/_history/1"), None), &[200]),
        "history-instance" => {
            (one("privacy-officer", "GET", &format!("{record}/_history"), None), &[200])
        }
        "history-type" => {
            let path = format!("{ty}/_history?_count=1");
            (one("privacy-officer", "GET", &path, None), &[200])
        }
        "create" => (one(WRITER, "POST", ty, Some(&body(None))), &[201]),
        "update" => (one(WRITER, "PUT", &record, Some(&body(Some(id)))), &[200]),
        "patch" => {
            let patch = r#"[{"op":"add","path":"/language","value":"en"}]"#;
            let tried = by_some(&[200], |role| {
                let request = server.request(role, Method::PATCH, &record);
                let request = request.header("content-type", "application/json-patch+json");
                send(request.body(patch))
            });
            (tried, &[200])
        }
        "delete" => (by_some(&[204], |role| one(role, "DELETE", &record, None)), &[204]),
        "search-type" => (one(WRITER, "GET", &format!("{ty}?_count=1"), None), &[200]),
        _ => panic!("nobody knows how to try the interaction {code}: say it here"),
    }
}

/// The answer of a role that it is served to. No shipped role does everything to every
/// type; each thing that is claimed is done by some.
fn by_some(good: &[u16], ask: impl Fn(&'static str) -> Answer) -> Answer {
    let mut told: Option<Answer> = None;
    for role in ["interface-engine", "physician", WRITER, "billing"] {
        let answer = ask(role);
        if good.contains(&answer.status) {
            return answer;
        }
        // What says more than that the role may not is remembered.
        let by_policy = [403, 404].contains(&answer.status) && !not_served(&answer);
        if told.is_none() || !by_policy {
            told = Some(answer);
        }
    }
    told.unwrap()
}

/// What no role that ships may patch, replace by condition or delete.
const NOBODYS: [&str; 1] = ["AuditEvent"];

/// In the order in which they are tried on one record.
const OF_TYPES: [&str; 9] = [
    "read",
    "vread",
    "history-instance",
    "history-type",
    "create",
    "update",
    "patch",
    "search-type",
    "delete",
];

fn of_the_system(server: &Server, code: &str) -> (Answer, &'static [u16]) {
    let bundle = |kind: &str| {
        json!({"resourceType": "Bundle", "type": kind, "entry": [
        {"resource": {"resourceType": "Basic", "code": {"text": "x"}},
         "request": {"method": "POST", "url": "Basic"}}]})
    };
    match code {
        "transaction" | "batch" => (ask(server, WRITER, "POST", "", Some(&bundle(code))), &[200]),
        "search-system" => (ask(server, WRITER, "GET", "?_type=Basic&_count=1", None), &[200]),
        "history-system" => {
            (ask(server, "privacy-officer", "GET", "_history?_count=1", None), &[200])
        }
        _ => panic!("nobody knows how to try the interaction {code}: say it here"),
    }
}

const OF_THE_SYSTEM: [&str; 4] = ["transaction", "batch", "search-system", "history-system"];

/// Whether one of an operation's paths answers as an operation does. It is asked with no
/// parameters, so that it may well refuse what it is asked.
fn operation(server: &Server, places: &[String], name: &str) -> bool {
    let nothing = json!({"resourceType": "Parameters"});
    places.iter().any(|place| {
        let path = format!("{place}${name}");
        ["GET", "POST"].iter().any(|method| {
            let body = (*method == "POST").then_some(&nothing);
            let answer = ask(server, WRITER, method, &path, body);
            assert!(answer.status < 500, "{method} {path}: {}", answer.text());
            !not_served(&answer)
        })
    })
}

/// Operations that HL7 has defined (R4, Bulk Data, US Core): those that aren't claimed
/// must not be there.
const KNOWN: [&str; 30] = [
    "apply",
    "closure",
    "conforms",
    "convert",
    "data-requirements",
    "document",
    "docref",
    "evaluate",
    "evaluate-measure",
    "everything",
    "expand",
    "export",
    "find-matches",
    "graph",
    "graphql",
    "import",
    "implements",
    "lastn",
    "lookup",
    "match",
    "member-match",
    "meta",
    "meta-add",
    "meta-delete",
    "populate",
    "process-message",
    "stats",
    "subsumes",
    "validate",
    "validate-code",
];

#[test]
fn what_is_claimed_is_served_and_what_is_not_claimed_is_not() {
    let world = clinic();
    let server = world.serve();
    let said = server.get(WRITER, "metadata").expect(200).json();
    let rest = &said["rest"][0];
    let resources = rest["resource"].as_array().unwrap();
    assert!(resources.len() > 140, "{}", resources.len());

    for r in resources {
        let ty = r["type"].as_str().unwrap();
        if ty == "Subscription" {
            // What it may say and who may make one has rules of its own (see its own tests).
            for code in strings(&r["interaction"], "code") {
                let (answer, _) = interaction(&server, code, ty, "absent");
                assert!(!not_served(&answer), "{code} of {ty}: {}", answer.text());
            }
            continue;
        }
        let made = server.post(WRITER, ty, &least(ResourceType::from_name(ty).unwrap()));
        assert_eq!(made.status, 201, "{ty}: {}", made.text());
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let claimed = strings(&r["interaction"], "code");
        let unknown: Vec<_> = claimed.iter().filter(|c| !OF_TYPES.contains(c)).collect();
        assert!(unknown.is_empty(), "nobody knows how to try {unknown:?}: say it here");
        for code in OF_TYPES.iter().filter(|c| claimed.contains(*c)) {
            let (answer, good) = interaction(&server, code, ty, &id);
            // No role that ships changes or ends what is a log: policy says so, the route is
            // there.
            let barred = NOBODYS.contains(&ty) && [403, 404].contains(&answer.status);
            let served = (good.contains(&answer.status) || barred) && !not_served(&answer);
            assert!(served, "{code} of {ty}: {} {}", answer.status, answer.text());
        }
        features(&server, r, ty);
        let at_types = strings(&r["operation"], "name");
        for name in &at_types {
            let places = [format!("{ty}/"), format!("{ty}/{id}/")];
            assert!(operation(&server, &places, name), "${name} of {ty} is claimed");
        }
        if !["Patient", "Observation", "ValueSet", "Group", "Binary"].contains(&ty) {
            continue;
        }
        for code in OF_TYPES.iter().filter(|c| !claimed.contains(*c)) {
            // The record of before was deleted.
            let (answer, _) = interaction(&server, code, ty, "made-here");
            assert!(not_served(&answer), "{code} of {ty} is not claimed: {}", answer.text());
        }
        for name in KNOWN.iter().filter(|n| !at_types.contains(*n)) {
            let places = [format!("{ty}/"), format!("{ty}/{id}/")];
            assert!(!operation(&server, &places, name), "${name} of {ty} is not claimed");
        }
    }

    let claimed = strings(&rest["interaction"], "code");
    for code in claimed.iter().chain(&OF_THE_SYSTEM) {
        let (answer, good) = of_the_system(&server, code);
        let served = good.contains(&answer.status) && !not_served(&answer);
        assert_eq!(served, claimed.contains(code), "{code}: {} {}", answer.status, answer.text());
    }
    let claimed = strings(&rest["operation"], "name");
    for name in claimed.iter().chain(&KNOWN) {
        let served = operation(&server, &[String::new()], name);
        assert_eq!(served, claimed.contains(name), "${name} of the system");
    }
    for format in strings(&said["format"], "") {
        let asked = if format.contains('/') {
            send(server.request(WRITER, Method::GET, "metadata").header("accept", format))
        } else {
            server.get(WRITER, &format!("metadata?_format={format}"))
        };
        assert_eq!(asked.status, 200, "{format}");
    }
}

/// What is claimed of a type beside its interactions.
fn features(server: &Server, r: &Value, ty: &str) {
    let body = || least(ResourceType::from_name(ty).unwrap());
    if r["conditionalCreate"] == true {
        let request = server.request(WRITER, Method::POST, ty);
        let request = request.header("if-none-exist", "_lastUpdated=lt1990-01-01");
        assert_eq!(send(fhir(request, &body())).status, 201, "conditional create of {ty}");
    }
    if r["updateCreate"] == true {
        let mut body = body();
        body["id"] = json!("made-here");
        let made = server.put(WRITER, &body);
        assert_eq!(made.status, 201, "update as create of {ty}: {}", made.text());
    }
    let path = format!("{ty}/made-here");
    let read = |name: &str, value: &str| {
        send(server.request(WRITER, Method::GET, &path).header(name, value)).status
    };
    let (etag, date) = match r["conditionalRead"].as_str().unwrap() {
        "not-supported" => (200, 200),
        "not-match" => (304, 200),
        "modified-since" => (200, 304),
        "full-support" => (304, 304),
        other => panic!("conditionalRead {other}"),
    };
    assert_eq!(read("if-none-match", "W/\"1\""), etag, "If-None-Match of {ty}");
    let later = "Fri, 01 Jan 2100 00:00:00 GMT";
    assert_eq!(read("if-modified-since", later), date, "If-Modified-Since of {ty}");
    if NOBODYS.contains(&ty) {
        return;
    }
    // By condition: a record that is there is changed, and ended.
    let there = server.post(WRITER, ty, &body()).expect(201).json();
    let this = format!("{ty}?_id={}", there["id"].as_str().unwrap());
    let put = |role: &'static str| ask(server, role, "PUT", &this, Some(&body()));
    let updated = by_some(&[200], put);
    assert_eq!(r["conditionalUpdate"] == true, updated.status == 200, "{ty}: {}", updated.text());
    let deleted = by_some(&[204], |role| ask(server, role, "DELETE", &this, None));
    let claimed = r["conditionalDelete"] != "not-supported";
    assert_eq!(claimed, deleted.status == 204, "{ty}: {}", deleted.text());
    let gone = server.get(WRITER, &format!("{ty}/{}", there["id"].as_str().unwrap()));
    assert_eq!(gone.status == 410, claimed, "{ty}: {}", gone.text());
}

#[test]
fn every_search_that_is_claimed_is_answered() {
    let world = clinic();
    let server = world.serve();
    let said = server.get(WRITER, "metadata").expect(200).json();
    let (mut params, mut includes) = (0, 0);
    for r in said["rest"][0]["resource"].as_array().unwrap() {
        let ty = r["type"].as_str().unwrap();
        let check = |query: &str| {
            let answer = server.search(WRITER, ty, query);
            assert_eq!(answer.status, 200, "{ty}?{query}: {}", answer.text());
        };
        for p in r["searchParam"].as_array().into_iter().flatten() {
            let name = p["name"].as_str().unwrap();
            let of = |kind: &str| match kind {
                "date" => "2020",
                "number" | "quantity" => "1",
                _ => "a",
            };
            let value = match p["type"].as_str().unwrap() {
                "composite" => {
                    let ty = ResourceType::from_name(ty).unwrap();
                    let parts = phial_fhir::search::param(ty, name).unwrap().components();
                    let parts: Vec<_> = parts.iter().map(|c| of(c.kind().code())).collect();
                    parts.join("$")
                }
                kind => of(kind).to_owned(),
            };
            check(&format!("{name}={value}&_count=1"));
            params += 1;
        }
        for (name, list) in [("_include", "searchInclude"), ("_revinclude", "searchRevInclude")] {
            for value in strings(&r[list], "") {
                check(&format!("{name}={value}&_count=1"));
                includes += 1;
            }
        }
    }
    assert!(params > 1_000 && includes > 1_000, "{params} parameters, {includes} includes");
}
