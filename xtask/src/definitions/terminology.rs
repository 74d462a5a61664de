//! Code systems and value sets as HL7 publishes them with R4 and US Core. Of a code
//! system: codes, hierarchy, names of codes (HL7's own systems only); of a value set: what
//! it is composed of.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{list, text};

/// Code systems whose names of codes are HL7's own.
const OWN: [&str; 2] = ["http://hl7.org/fhir/", "http://terminology.hl7.org/"];

/// `=url version content case`, then a line for each code: a space, one more for each level that it
/// stands below, `code name flags children`.
pub(super) fn systems(published: &[Value]) -> Result<String> {
    let mut out = String::from(
        "# Code systems of R4 and US Core, as far as they are published whole. Generated: cargo xtask definitions\n",
    );
    let mut seen = BTreeSet::new();
    for r in published.iter().filter(|r| text(r, "resourceType") == "CodeSystem") {
        let content = match text(r, "content") {
            "complete" => "complete",
            // What is there is there; of what is not there nothing is known.
            "example" | "fragment" => "part",
            _ => continue,
        };
        if list(r, "concept").is_empty() {
            continue;
        }
        // One code system of version 2 carries its version in its URL.
        let (url, version) = match text(r, "url").split_once('|') {
            Some(both) => both,
            None => (text(r, "url"), text(r, "version")),
        };
        if !seen.insert((url, version)) {
            continue;
        }
        let case = if r.get("caseSensitive") == Some(&Value::Bool(false)) { "any" } else { "" };
        writeln!(out, "{}", line(&[&format!("={url}"), version, content, case])?)?;
        let named = OWN.iter().any(|own| url.starts_with(own));
        concepts(&mut out, list(r, "concept"), 0, named)?;
    }
    Ok(out)
}

fn concepts(out: &mut String, all: &[Value], depth: usize, named: bool) -> Result<()> {
    for c in all {
        let code = text(c, "code");
        let display = text(c, "display").split_whitespace().collect::<Vec<_>>().join(" ");
        let display = if named && display != code { display.as_str() } else { "" };
        let (mut flags, mut children) = (String::new(), Vec::new());
        for p in list(c, "property") {
            match (text(p, "code"), text(p, "valueCode")) {
                ("notSelectable" | "abstract", _)
                    if p.get("valueBoolean") == Some(&true.into()) =>
                {
                    flags.push('a');
                }
                ("status", "retired" | "inactive") => flags.push('i'),
                ("child", child) => children.push(child),
                _ => {}
            }
        }
        let indent = " ".repeat(depth + 1);
        let columns = [code, display, flags.as_str(), &children.join(" ")];
        writeln!(out, "{indent}{}", line(&columns)?)?;
        concepts(out, list(c, "concept"), depth + 1, named)?;
    }
    Ok(())
}

/// `=url version`, then a line for each part: `+` what is included, `-` what is excluded,
/// the system (with `|version` or without), and columns `.code`, `?property op value`, `^value set`.
pub(super) fn sets(published: &[Value]) -> Result<String> {
    let mut out =
        String::from("# Value sets of R4 and US Core. Generated: cargo xtask definitions\n");
    let mut seen = BTreeSet::new();
    for r in published.iter().filter(|r| text(r, "resourceType") == "ValueSet") {
        let (url, version) = (text(r, "url"), text(r, "version"));
        if !seen.insert((url, version)) {
            continue;
        }
        writeln!(out, "{}", line(&[&format!("={url}"), version])?)?;
        let Some(compose) = r.get("compose") else { continue };
        for (sign, kind) in [("+", "include"), ("-", "exclude")] {
            for part in list(compose, kind) {
                let mut columns = vec![format!("{sign}{}", text(part, "system"))];
                let codes = list(part, "concept").iter().map(|c| format!(".{}", text(c, "code")));
                columns.extend(codes);
                for f in list(part, "filter") {
                    let (property, op) = (text(f, "property"), text(f, "op"));
                    columns.push(format!("?{property} {op} {}", text(f, "value")));
                }
                let imports = list(part, "valueSet").iter().filter_map(Value::as_str);
                columns.extend(imports.map(|url| format!("^{url}")));
                writeln!(out, "{}", line(&columns)?)?;
            }
        }
    }
    Ok(out)
}

/// Columns by tabs, empty ones at the end left out.
fn line<S: AsRef<str>>(columns: &[S]) -> Result<String> {
    if columns.iter().any(|c| c.as_ref().contains(['\t', '\n'])) {
        bail!("a code or name has a tab or a line's end");
    }
    let columns: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();
    Ok(columns.join("\t").trim_end_matches('\t').to_owned())
}
