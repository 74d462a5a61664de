//! The rows of `tests/conformance/clinic.tsv`, over synthetic patients of our own and
//! over the Synthea set, when it is there: zero differences from brute force.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::conformance::{difference, empty};
use crate::oracle::value::{quantities, references, strings, tokens};
use crate::oracle::{Facts, Oracle, words};

/// Synthetic patients of our own, and patients of Synthea's.
const PEOPLE: u32 = 6;
/// Bundles of Synthea's: the directory, and small ones of patients.
const FILES: [&str; 6] = ["0-hosp", "0-prac", "085e81c0", "098fc002", "0ef7a3b5", "0f2074a0"];

/// The resources of transaction Bundles under the ids that they bring, with references
/// between entries and by search put right.
fn resources(bundles: &[Value]) -> Vec<Value> {
    let (mut urns, mut identifiers) = (HashMap::new(), HashMap::new());
    let mut all: Vec<Value> = Vec::new();
    for entry in bundles.iter().flat_map(|b| b["entry"].as_array().into_iter().flatten()) {
        let url = entry["fullUrl"].as_str().unwrap_or("");
        let mut r = entry["resource"].clone();
        if r["id"].is_null() {
            r["id"] = url.rsplit([':', '/']).next().unwrap().into();
        }
        let name = format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
        urns.insert(url.to_owned(), name.clone());
        for i in r["identifier"].as_array().into_iter().flatten() {
            let text = |m: &str| i[m].as_str().unwrap_or("").to_owned();
            let ty = r["resourceType"].as_str().unwrap();
            let by = format!("{ty}?identifier={}|{}", text("system"), text("value"));
            identifiers.insert(by, name.clone());
        }
        all.push(r);
    }
    for r in &mut all {
        put_right(r, &|text| urns.get(text).or_else(|| identifiers.get(text)).cloned());
    }
    all
}

fn put_right(v: &mut Value, known: &dyn Fn(&str) -> Option<String>) {
    match v {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(s) if name == "reference" => {
                        if let Some(found) = known(s) {
                            *s = found;
                        }
                    }
                    other => put_right(other, known),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|i| put_right(i, known)),
        _ => {}
    }
}

/// The values of a parameter, as a query would have them, without form.
pub(crate) fn values(oracle: &Oracle, ty: &str, code: &str, form: &str) -> Vec<String> {
    let param = Facts::all().param(ty, code).unwrap_or_else(|| panic!("{ty}.{code}"));
    let escape = |s: &str| {
        s.chars()
            .flat_map(|c| ['\\'].into_iter().filter(move |_| "\\,$|".contains(c)).chain([c]))
            .collect::<String>()
    };
    let mut all = BTreeSet::new();
    if ["_text", "_content"].contains(&code) {
        return oracle
            .of(ty)
            .flat_map(|r| words::samples(r, code, form))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
    }
    for r in oracle.of(ty) {
        for at in Oracle::elements(param, r) {
            match param.kind.as_str() {
                "token" if form == "text" => {
                    all.extend(crate::oracle::value::token_texts(&at).iter().map(|s| escape(s)));
                }
                "token" => all.extend(tokens(&at).into_iter().filter_map(|(system, code)| {
                    let (system, code) = (system.map(|s| escape(&s)), escape(&code?));
                    match (form, system) {
                        ("code", _) | ("", None) => Some(code),
                        ("bare", _) => Some(format!("|{code}")),
                        ("system", system) => Some(format!("{}|", system?)),
                        (_, Some(system)) => Some(format!("{system}|{code}")),
                        (form, None) => panic!("{form}"),
                    }
                })),
                "date" => {
                    let texts = [at.value, &at.value["start"], &at.value["end"]];
                    for text in texts.iter().filter_map(|t| t.as_str()) {
                        let n = match form {
                            "day" => 10,
                            "month" => 7,
                            "year" => 4,
                            _ => text.len(),
                        };
                        all.insert(text.chars().take(n).collect());
                    }
                }
                "string" => all.extend(strings(&at).iter().map(|s| {
                    let (first, second) = match form {
                        "start" => (0, 3),
                        "inside" => (1, 5),
                        "two" => (2, 2),
                        _ => (0, usize::MAX),
                    };
                    let part: String = s.chars().skip(first).take(second).collect();
                    escape(&if form == "upper" { part.to_uppercase() } else { part })
                })),
                "quantity" => all.extend(quantities(&at).iter().filter_map(|q| {
                    let number = at.value["value"].as_number()?.to_string();
                    let text = |t: &Option<String>| escape(t.as_deref().unwrap_or(""));
                    Some(match form {
                        "value" => number,
                        "unit" => format!("{number}||{}", text(&q.code)),
                        _ => format!("{number}|{}|{}", text(&q.system), text(&q.code)),
                    })
                })),
                "uri" => all.extend(at.value.as_str().map(&escape)),
                "reference" => all.extend(references(&at, "").into_iter().filter_map(|f| {
                    let (ty, id) = (f.ty?, f.id?);
                    Some(if form == "id" { id } else { format!("{ty}/{id}") })
                })),
                other => panic!("{other}"),
            }
        }
    }
    all.retain(|s: &String| !s.trim().is_empty());
    all.into_iter().collect()
}

/// The request with its places filled; `None` where the set has no such value.
fn filled(oracle: &Oracle, request: &str) -> Option<String> {
    let mut out = String::new();
    for (n, piece) in request.split(['{', '}']).enumerate() {
        if n % 2 == 0 {
            out.push_str(piece);
            continue;
        }
        let (what, form) = piece.split_once('/').unwrap_or((piece, ""));
        let (param, nth) = what.split_once('#').unwrap();
        let (ty, code) = param.split_once('.').unwrap();
        let all = values(oracle, ty, code, form);
        let nth: usize = nth.parse().unwrap();
        let value = all.get(nth * all.len().checked_sub(1)? / 9)?;
        out.extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }
    Some(out)
}

/// Imports the resources, then asks every row.
fn compare(all: Vec<Value>) {
    let world = empty();
    let files = tempfile::tempdir().unwrap();
    let lines: Vec<String> = all.iter().map(Value::to_string).collect();
    std::fs::write(files.path().join("all.ndjson"), lines.join("\n")).unwrap();
    let done = world.ok(&["import", files.path().to_str().unwrap()]);
    assert_eq!(done["rejected"].as_array().map(Vec::len), Some(0), "{done}");
    assert_eq!(done["failed"].as_array().map(Vec::len), Some(0), "{done}");
    let server = world.serve();
    let mut oracle = Oracle::at(server.base());
    for mut r in all {
        r["meta"]["lastUpdated"] = "2026-01-01T00:00:00Z".into();
        oracle.put(r);
    }
    let (mut asked, mut left_out, mut matched, mut differences) = (0, 0, 0, String::new());
    for line in include_str!("../conformance/clinic.tsv").lines().filter(|l| !l.starts_with('#')) {
        let f: Vec<&str> = line.split('\t').collect();
        let [id, pending, request] = f.as_slice() else { panic!("not a row: {line}") };
        let Some(request) = filled(&oracle, request) else {
            left_out += 1;
            continue;
        };
        asked += 1;
        let (ty, form) = request.split_once('?').unwrap();
        matched += usize::from(oracle.search(ty, form).is_ok_and(|a| !a.matches.is_empty()));
        match (difference(&oracle, &server, &request), *pending) {
            (Some(what), "-") => {
                let _ = writeln!(differences, "{id}: {request}\n    {what}");
            }
            (None, "pending") => {
                let _ = writeln!(differences, "{id}: {request}\n    passes: take its mark off");
            }
            _ => {}
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    assert!(asked >= 500, "{asked} rows were asked, {left_out} had no value to ask for");
    assert!(matched * 10 >= asked * 6, "only {matched} of {asked} rows match anything");
}

#[test]
fn searches_find_what_brute_force_finds() {
    let bundles: Vec<Value> = phial_synth::World::new(7, PEOPLE)
        .bundles()
        .map(|(_, text)| serde_json::from_str(&text).unwrap())
        .collect();
    compare(resources(&bundles));
}

#[test]
fn searches_of_the_synthea_set_find_what_brute_force_finds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/synthea/synthea-blaze-120.tar.xz");
    if !path.is_file() {
        eprintln!("skipped: ../shared/data/synthea is not here");
        return;
    }
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut tar = tar::Archive::new(liblzma::read::XzDecoder::new(file));
    let mut bundles = Vec::new();
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        if FILES.iter().any(|f| name.starts_with(f)) {
            bundles.push(serde_json::from_reader(entry).unwrap());
        }
    }
    assert_eq!(bundles.len(), FILES.len());
    compare(resources(&bundles));
}
