//! Invariants of R4's types, and the profiles and extensions of R4 and US Core: what their
//! differentials constrain, without any prose.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Map, Value};

use super::{STRUCTURE, list, snapshot, text};

/// A line for each invariant: path, key, severity's letter, expression. What a type states
/// for itself is not repeated where the type is used or derived from.
pub(super) fn invariants(structures: &BTreeMap<String, Value>) -> Result<String> {
    let mut out = String::from("# Invariants of R4's types. Generated: cargo xtask definitions\n");
    let of_type = |name: &str| -> BTreeSet<&str> {
        let root = structures.get(name).and_then(|s| snapshot(s).first());
        root.into_iter().flat_map(|r| list(r, "constraint")).map(|c| text(c, "key")).collect()
    };
    for (name, s) in structures {
        let base = text(s, "baseDefinition").strip_prefix(STRUCTURE).unwrap_or("");
        for e in snapshot(s) {
            let path = text(e, "path");
            let mut inherited = BTreeSet::new();
            if path == name {
                inherited.extend(of_type(base));
            }
            let types = list(e, "type").iter().map(|t| text(t, "code"));
            for ty in types.filter(|ty| *ty != name) {
                inherited.extend(of_type(ty));
            }
            if !matches!(path, "Element" | "Extension") {
                inherited.extend(["ele-1", "ext-1"]);
            }
            for c in list(e, "constraint") {
                let (key, expression) = (text(c, "key"), text(c, "expression"));
                if expression.is_empty() || inherited.contains(key) {
                    continue;
                }
                let severity = text(c, "severity").get(..1).unwrap_or("e");
                let expression = expression.split_whitespace().collect::<Vec<_>>().join(" ");
                writeln!(out, "{path}\t{key}\t{severity}\t{expression}")?;
            }
        }
    }
    Ok(out)
}

/// A line of JSON for each profile and extension.
pub(super) fn structures(all: &[Value]) -> Result<String> {
    let mut out = String::from(
        "# Profiles and extensions of R4 and US Core. Generated: cargo xtask definitions\n",
    );
    let urls: BTreeSet<&str> = all.iter().map(|r| text(r, "url")).collect();
    let mut seen = BTreeSet::new();
    for r in all.iter().filter(|r| text(r, "resourceType") == "StructureDefinition") {
        // One that rests on another guide's can't be read.
        let base = text(r, "baseDefinition");
        if !base.starts_with(STRUCTURE) && !urls.contains(base) {
            continue;
        }
        if !seen.insert((text(r, "url"), text(r, "version"))) {
            continue;
        }
        let mut line = Map::new();
        for name in ["url", "version", "type", "kind", "derivation", "baseDefinition"] {
            if let Some(v) = r.get(name) {
                line.insert(name.to_owned(), v.clone());
            }
        }
        let contexts: Vec<Value> =
            list(r, "context").iter().map(|c| pick(c, &["type", "expression"])).collect();
        if !contexts.is_empty() {
            line.insert("context".to_owned(), contexts.into());
        }
        let differential = r.get("differential").map_or(&[][..], |d| list(d, "element"));
        let elements: Vec<Value> = differential.iter().filter_map(element).collect();
        let mut of = Map::new();
        of.insert("element".to_owned(), elements.into());
        line.insert("differential".to_owned(), of.into());
        writeln!(out, "{}", Value::Object(line))?;
    }
    Ok(out)
}

fn pick(v: &Value, names: &[&str]) -> Value {
    let all = names.iter().filter_map(|n| Some(((*n).to_owned(), v.get(n)?.clone())));
    Value::Object(all.collect())
}

/// What an element constrains; nothing when it only speaks.
fn element(e: &Value) -> Option<Value> {
    let mut out = Map::new();
    for (name, v) in e.as_object()? {
        let v = match name.as_str() {
            "id" | "sliceName" | "min" | "max" | "contentReference" | "maxLength" => v.clone(),
            "type" => {
                let names = ["code", "profile", "targetProfile"];
                list(e, "type").iter().map(|t| pick(t, &names)).collect()
            }
            "binding" => pick(v, &["strength", "valueSet"]),
            "slicing" => pick(v, &["discriminator", "ordered", "rules"]),
            "constraint" => {
                let names = ["key", "severity", "expression"];
                list(e, "constraint").iter().map(|c| pick(c, &names)).collect()
            }
            n if ["fixed", "pattern", "minValue", "maxValue"].iter().any(|p| n.starts_with(p)) => {
                v.clone()
            }
            _ => continue,
        };
        out.insert(name.clone(), v);
    }
    (out.len() > 1).then_some(Value::Object(out))
}
