//! Every search parameter of every type that HL7's examples have a value for, held
//! against brute force, when the examples are there.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use phial_testkit::world::{Server, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::conformance::{LOADER, difference, empty};
use crate::conformance_clinic::values;
use crate::oracle::{Facts, Oracle};

/// Not asked: what is no parameter of a record's content, and what is not supported.
const LEFT_OUT: [&str; 7] =
    ["_content", "_id", "_lastUpdated", "_query", "_text", "near", "phonetic"];

#[test]
fn every_parameter_that_the_examples_have_a_value_for_finds_it() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/examples/hl7-r4-instances");
    if !dir.is_dir() {
        eprintln!("skipped: ../shared/data/examples is not here");
        return;
    }
    let world = empty();
    let server = world.serve();
    let mut oracle = Oracle::at(server.base());
    let mut all: Vec<Value> = std::fs::read_dir(dir)
        .unwrap()
        .map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap())
        .map(|text| serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap())
        .filter(|r: &Value| r["id"].is_string())
        .collect();
    all.sort_by_key(|r| (r["resourceType"].to_string(), r["id"].to_string()));
    for some in all.chunks(50) {
        let entries: Vec<Value> = some
            .iter()
            .map(|r| {
                let name = |m: &str| r[m].as_str().unwrap().to_owned();
                let url = format!("{}/{}", name("resourceType"), name("id"));
                json!({"resource": r, "request": {"method": "PUT", "url": url}})
            })
            .collect();
        let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
        let done = send(fhir(server.request(LOADER, Method::POST, ""), &bundle)).expect(200).json();
        for (entry, r) in done["entry"].as_array().unwrap().iter().zip(some) {
            // What a strict server refuses is told by another test.
            if entry["response"]["status"].as_str().unwrap_or("").starts_with("201") {
                oracle.put(r.clone());
            }
        }
    }
    let types: Vec<String> = oracle.types().map(str::to_owned).collect();
    assert!(types.len() >= 130, "{}", types.len());
    // What is waited for is mostly a disk: several ask at once, each of types of its own.
    let turn = AtomicUsize::new(0);
    let asked_by_one = || {
        let mut mine = Asked::default();
        while let Some(ty) = types.get(turn.fetch_add(1, Ordering::Relaxed)) {
            ask(&oracle, &server, ty, &mut mine);
        }
        mine
    };
    let all = std::thread::scope(|s| {
        let several: Vec<_> = (0..AT_ONCE).map(|_| s.spawn(asked_by_one)).collect();
        several.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    let differences: String = all.iter().map(|a| a.differences.as_str()).collect();
    let (asked, params) =
        all.iter().fold((0, 0), |(asked, params), a| (asked + a.asked, params + a.params));
    assert!(differences.is_empty(), "\n{differences}");
    assert!(params > 500 && asked > 2_000, "{params} parameters, {asked} searches");
}

/// How many ask at once.
const AT_ONCE: usize = 4;

/// What was asked, and where the answers differ from brute force.
#[derive(Default)]
struct Asked {
    asked: usize,
    params: usize,
    differences: String,
}

/// Asks for values of every parameter of a type.
fn ask(oracle: &Oracle, server: &Server, ty: &str, out: &mut Asked) {
    for param in Facts::all().of(ty) {
        let code = param.code.as_str();
        if LEFT_OUT.contains(&code) || param.kind == "special" || param.path.deceased {
            continue;
        }
        let telecom = ["telecom", "phone", "email"].contains(&code);
        let forms: &[&str] = match param.kind.as_str() {
            "token" if telecom => &["code"],
            "token" => &["", "code"],
            "date" => &["", "month"],
            "string" => &["", "start"],
            "quantity" => &["", "value"],
            "reference" => &["", "id"],
            "uri" | "number" => &[""],
            _ => &[],
        };
        let mut requests = Vec::new();
        if param.kind != "composite" {
            requests.push(format!("{ty}?{code}:missing=true"));
        }
        for form in forms {
            let there =
                if param.kind == "number" { Vec::new() } else { values(oracle, ty, code, form) };
            // The first and one from the middle.
            for text in [there.first(), there.get(there.len() / 2)].into_iter().flatten() {
                let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                requests.push(format!("{ty}?{code}={text}"));
                if param.kind == "date" {
                    requests.push(format!("{ty}?{code}=gt{text}"));
                }
            }
        }
        out.params += usize::from(requests.len() > 1);
        requests.dedup();
        for request in requests {
            out.asked += 1;
            if let Some(what) = difference(oracle, server, &request) {
                let _ = writeln!(out.differences, "{request}\n    {what}");
            }
        }
    }
}
