//! `cargo xtask definitions`: reads HL7's R4 definitions, and what US Core adds to their
//! search parameters, and writes the compact fact
//! tables that `phial-fhir` compiles in. Facts only (names, types, cardinalities,
//! codes, expressions); no prose is taken over. The output is deterministic.
//!
//! The formats are described where they are read: `crates/fhir/src/definitions.rs`.

mod profiles;
mod terminology;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

const OUT: &str = "crates/fhir/src/definitions";
const STRUCTURE: &str = "http://hl7.org/fhir/StructureDefinition/";
const PARAMETER: &str = "http://hl7.org/fhir/SearchParameter/";
/// A value set with more codes than this is not held: it is no small closed list.
const MOST_CODES: usize = 300;

/// US Core's packages, the older first.
const US_CORE: [&str; 2] = ["us_core_610.tgz", "us_core_700.tgz"];

/// Runs the chore. `from` holds `r4-core/`; the working directory is the project's root.
pub(crate) fn run(from: &Path) -> Result<()> {
    let out = Path::new(OUT);
    fs::create_dir_all(out)?;
    for (name, content) in generate(from, out)? {
        let path = out.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(path, content).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// The tables by file name; `old` holds the number list to extend.
fn generate(from: &Path, old: &Path) -> Result<Vec<(&'static str, String)>> {
    let core = from.join("r4-core");

    let mut structures = BTreeMap::new();
    for file in ["Bundle-types.json.xz", "Bundle-resources.json.xz"] {
        for r in entries(&read(&core.join(file))?) {
            let keep = text(&r, "resourceType") == "StructureDefinition"
                && text(&r, "kind") != "logical"
                && text(&r, "derivation") != "constraint";
            if keep {
                structures.insert(text(&r, "type").to_owned(), r);
            }
        }
    }
    let mut terms = Terms::default();
    let mut published = Vec::new();
    for file in
        ["Bundle-valuesets.json.xz", "Bundle-v2-valuesets.json.xz", "Bundle-v3-valuesets.json.xz"]
    {
        for r in entries(&read(&core.join(file))?) {
            published.push(r.clone());
            let url = text(&r, "url").to_owned();
            match text(&r, "resourceType") {
                "ValueSet" => terms.sets.insert(url, r),
                "CodeSystem" => terms.systems.insert(url, r),
                _ => None,
            };
        }
    }

    let mut profiles = Vec::new();
    for file in ["Bundle-extensions.json.xz", "Bundle-profiles-others.json.xz"] {
        profiles.extend(entries(&read(&core.join(file))?));
    }
    for file in US_CORE {
        for r in package(&from.join(file))? {
            let defines = text(&r, "resourceType") == "StructureDefinition";
            if defines { &mut profiles } else { &mut published }.push(r);
        }
    }

    let (elements, sets) = elements(&structures)?;
    let mut params: Vec<Value> = entries(&read(&core.join("Bundle-searchParams.json"))?);
    params.extend(us_core(&from.join("us_core_610.tgz"), &params)?);
    let numbers = number_list(&old.join("param-numbers.txt"), &params)?;
    Ok(vec![
        ("elements.txt", elements),
        ("valuesets.txt", terms.table(&sets)),
        ("params.txt", search_params(&params, &numbers.by_url)?),
        ("param-numbers.txt", numbers.text),
        ("compartments.txt", compartments(&core)?),
        ("../terminology/tables/systems.txt", terminology::systems(&published)?),
        ("../terminology/tables/sets.txt", terminology::sets(&published)?),
        ("../profile/tables/invariants.txt", profiles::invariants(&structures)?),
        ("../profile/tables/structures.txt", profiles::structures(&profiles)?),
    ])
}

fn read(path: &Path) -> Result<Value> {
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|e| e == "xz") {
        liblzma::read::XzDecoder::new(file).read_to_end(&mut bytes)?;
    } else {
        std::io::BufReader::new(file).read_to_end(&mut bytes)?;
    }
    serde_json::from_slice(&bytes).with_context(|| format!("parsing {}", path.display()))
}

/// The definitions in an npm package of FHIR, in the order of their files' names.
fn package(path: &Path) -> Result<Vec<Value>> {
    let wanted = ["StructureDefinition", "ValueSet", "CodeSystem"];
    let out = std::process::Command::new("tar")
        .args(["-xzO", "--wildcards", "-f"])
        .arg(path)
        .args(wanted.map(|kind| format!("package/{kind}-*.json")))
        .output()
        .with_context(|| format!("unpacking {}", path.display()))?;
    if !out.status.success() {
        bail!("tar could not unpack {}", path.display());
    }
    let all = serde_json::Deserializer::from_slice(&out.stdout).into_iter::<Value>();
    let mut all: Vec<Value> =
        all.collect::<Result<_, _>>().with_context(|| format!("parsing {}", path.display()))?;
    all.sort_by_key(|r| text(r, "url").to_owned());
    Ok(all)
}

fn entries(bundle: &Value) -> Vec<Value> {
    list(bundle, "entry").iter().filter_map(|e| e.get("resource").cloned()).collect()
}

fn text<'a>(v: &'a Value, name: &str) -> &'a str {
    v.get(name).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(v: &'a Value, name: &str) -> &'a [Value] {
    v.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

// ---------------------------------------------------------------- elements

/// One line per type (`=name kind base`) and per own element
/// (`name card types flags binding`), tab-separated.
fn elements(structures: &BTreeMap<String, Value>) -> Result<(String, Vec<String>)> {
    // The numbers of value sets are positions in the sorted list of all that are bound.
    let mut sets = BTreeSet::new();
    for s in structures.values() {
        for e in snapshot(s) {
            if let Some(url) = e.get("binding").map(|b| text(b, "valueSet"))
                && !url.is_empty()
            {
                sets.insert(unversioned(url).to_owned());
            }
        }
    }
    let sets: Vec<String> = sets.into_iter().collect();

    // Concrete resources first, so that a resource type's number is its type's number.
    let rank = |s: &Value| match (text(s, "kind"), s.get("abstract") == Some(&Value::Bool(true))) {
        ("resource", false) => 0,
        ("resource", true) => 1,
        ("primitive-type", _) => 2,
        _ => 3,
    };
    let mut order: Vec<&Value> = structures.values().collect();
    order.sort_by_key(|s| (rank(s), text(s, "type").to_owned()));

    let mut out = String::from(
        "# R4 types and elements, from HL7's definitions. Generated: cargo xtask definitions\n",
    );
    let mut backbones = String::new();
    for s in order {
        let name = text(s, "type");
        let base = text(s, "baseDefinition").strip_prefix(STRUCTURE).unwrap_or("");
        let kind = match rank(s) {
            0 => "resource",
            1 => "abstract",
            2 => "primitive",
            _ if name == "Element" || name == "BackboneElement" => "abstract",
            _ => "complex",
        };
        writeln!(out, "={name}\t{kind}\t{base}")?;
        let elements = snapshot(s);
        let parents: BTreeSet<&str> = elements
            .iter()
            .filter_map(|e| text(e, "path").rsplit_once('.').map(|(parent, _)| parent))
            .collect();
        for e in elements.iter().filter(|e| is_child(name, e)) {
            element(&mut out, name, e, &parents, &sets)?;
        }
        for e in elements {
            let path = text(e, "path");
            if path == name || !parents.contains(path) {
                continue;
            }
            let base = list(e, "type").first().map_or("", |t| text(t, "code"));
            writeln!(backbones, "={path}\tbackbone\t{base}")?;
            for child in elements.iter().filter(|c| is_child(path, c)) {
                element(&mut backbones, path, child, &parents, &sets)?;
            }
        }
    }
    out.push_str(&backbones);
    Ok((out, sets))
}

fn snapshot(s: &Value) -> &[Value] {
    s.get("snapshot").map_or(&[], |s| list(s, "element"))
}

fn unversioned(url: &str) -> &str {
    url.split_once('|').map_or(url, |(url, _)| url)
}

fn is_child(parent: &str, e: &Value) -> bool {
    text(e, "path").rsplit_once('.').is_some_and(|(p, _)| p == parent)
}

fn element(
    out: &mut String,
    owner: &str,
    e: &Value,
    parents: &BTreeSet<&str>,
    sets: &[String],
) -> Result<()> {
    let path = text(e, "path");
    let (_, name) = path.rsplit_once('.').ok_or_else(|| anyhow!("no owner: {path}"))?;
    // Inherited elements stand with the type that brings them in.
    let origin = e.get("base").map_or("", |b| text(b, "path"));
    if origin != path && !origin.is_empty() {
        return Ok(());
    }
    let min = e.get("min").and_then(Value::as_u64).unwrap_or(0);
    let max = text(e, "max");
    if !matches!(max, "1" | "*") {
        bail!("{path}: unexpected maximum {max}");
    }
    let mut types = Vec::new();
    if let Some(shared) = e.get("contentReference").and_then(Value::as_str) {
        types.push(format!("@{}", shared.trim_start_matches('#')));
    } else if parents.contains(path) {
        types.push(format!("@{path}"));
    } else {
        for t in list(e, "type") {
            types.push(type_of(owner, name, t));
        }
    }
    // `value` of a primitive type is the JSON value itself, not a member.
    if types.is_empty() || types == ["-"] {
        return Ok(());
    }
    let mut flags = String::new();
    for (key, flag) in [("isSummary", 's'), ("isModifier", 'm')] {
        if e.get(key) == Some(&Value::Bool(true)) {
            flags.push(flag);
        }
    }
    let mut line = format!("{name}\t{min}..{max}\t{}\t{flags}", types.join("|"));
    if let Some(b) = e.get("binding") {
        let url = unversioned(text(b, "valueSet"));
        if let Ok(n) = sets.binary_search(&url.to_owned()) {
            let strength = text(b, "strength").chars().next().unwrap_or('x');
            write!(line, "\t{strength}{n}")?;
        }
    }
    writeln!(out, "{}", line.trim_end())?;
    Ok(())
}

fn type_of(owner: &str, name: &str, t: &Value) -> String {
    let code = text(t, "code");
    if code.starts_with("http://hl7.org/fhirpath/") {
        return match (owner, name) {
            ("Resource", "id") => "id",
            ("Element", "id") => "string",
            ("Extension", "url") => "uri",
            _ => "-",
        }
        .to_owned();
    }
    let targets: BTreeSet<&str> = list(t, "targetProfile")
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|u| u.strip_prefix(STRUCTURE))
        .collect();
    if targets.is_empty() || targets.contains("Resource") {
        code.to_owned()
    } else {
        format!("{code}({})", targets.into_iter().collect::<Vec<_>>().join(","))
    }
}

// ---------------------------------------------------------------- value sets

#[derive(Default)]
struct Terms {
    sets: HashMap<String, Value>,
    systems: HashMap<String, Value>,
}

impl Terms {
    /// One line per bound value set, in the order of their numbers: the URL and, when
    /// the set is small and closed, a column per code system: `system|code|code...`.
    fn table(&self, urls: &[String]) -> String {
        let mut out = String::from(
            "# Value sets bound in R4, with their codes where small and closed. Generated: cargo xtask definitions\n",
        );
        for url in urls {
            out.push_str(url);
            let mut codes = BTreeMap::new();
            let closed = self.expand(url, &mut codes, 0);
            let count: usize = codes.values().map(BTreeSet::len).sum();
            if closed && (1..=MOST_CODES).contains(&count) {
                for (system, codes) in codes {
                    out.push('\t');
                    out.push_str(&system);
                    for c in codes {
                        out.push('|');
                        out.push_str(&c);
                    }
                }
            }
            out.push('\n');
        }
        out
    }

    /// Adds the codes of a value set; false when the set can't be listed from what is here.
    fn expand(&self, url: &str, codes: &mut BTreeMap<String, BTreeSet<String>>, depth: u8) -> bool {
        let Some(compose) = self.sets.get(unversioned(url)).and_then(|s| s.get("compose")) else {
            return false;
        };
        if depth > 4 || compose.get("exclude").is_some() {
            return false;
        }
        list(compose, "include").iter().all(|i| self.include(i, codes, depth))
    }

    fn include(
        &self,
        include: &Value,
        codes: &mut BTreeMap<String, BTreeSet<String>>,
        depth: u8,
    ) -> bool {
        let system = text(include, "system");
        if include.get("valueSet").is_some() {
            // Several value sets in one include mean their intersection; none bound has that.
            return system.is_empty()
                && list(include, "valueSet").len() == 1
                && list(include, "valueSet")
                    .iter()
                    .filter_map(Value::as_str)
                    .all(|u| self.expand(u, codes, depth + 1));
        }
        if include.get("filter").is_some() {
            return false;
        }
        let into = codes.entry(system.to_owned()).or_default();
        if let Some(concepts) = include.get("concept").and_then(Value::as_array) {
            return concepts.iter().all(|c| add(text(c, "code"), into));
        }
        match self.systems.get(system) {
            Some(s) if text(s, "content") == "complete" => add_all(list(s, "concept"), into),
            _ => false,
        }
    }
}

fn add_all(concepts: &[Value], into: &mut BTreeSet<String>) -> bool {
    concepts.iter().all(|c| add(text(c, "code"), into) && add_all(list(c, "concept"), into))
}

/// A code that the table's separators can't carry makes the set unlisted.
fn add(code: &str, into: &mut BTreeSet<String>) -> bool {
    let good = !code.is_empty() && !code.contains(['|', '\t', '\n']);
    if good {
        into.insert(code.to_owned());
    }
    good
}

// ---------------------------------------------------------------- search parameters

struct Numbers {
    text: String,
    by_url: HashMap<String, u16>,
}

/// The committed number list, extended by the parameters that are not in it yet. A
/// number, once given, stays: files of the index carry it.
fn number_list(path: &Path, params: &[Value]) -> Result<Numbers> {
    let mut by_url = HashMap::new();
    let mut next = 0u16;
    let mut text_out = String::from(
        "# Search parameter numbers. Append only: files of the index carry them. Extended by cargo xtask definitions\n",
    );
    if let Ok(old) = fs::read_to_string(path) {
        for line in old.lines().filter(|l| !l.starts_with('#')) {
            let (n, url) =
                line.split_once('\t').ok_or_else(|| anyhow!("bad line in the number list"))?;
            let n: u16 = n.parse().context("number list")?;
            if n != next || by_url.insert(url.to_owned(), n).is_some() {
                bail!("the number list is not in order at {n}");
            }
            next = n.checked_add(1).ok_or_else(|| anyhow!("out of numbers"))?;
            writeln!(text_out, "{line}")?;
        }
    }
    let urls: BTreeSet<&str> = params.iter().map(|p| short(text(p, "url"))).collect();
    if urls.len() != params.len() {
        bail!("two search parameters share a url");
    }
    for url in urls {
        if !by_url.contains_key(url) {
            by_url.insert(url.to_owned(), next);
            writeln!(text_out, "{next}\t{url}")?;
            next = next.checked_add(1).ok_or_else(|| anyhow!("out of numbers"))?;
        }
    }
    Ok(Numbers { text: text_out, by_url })
}

/// The search parameters that US Core has and R4 has not. The others say again what R4 says.
fn us_core(package: &Path, params: &[Value]) -> Result<Vec<Value>> {
    let out = std::process::Command::new("tar")
        .args(["--wildcards", "-xzOf"])
        .arg(package)
        .arg("package/SearchParameter-*.json")
        .output()
        .context("running tar")?;
    if !out.status.success() {
        bail!("tar can't read {}", package.display());
    }
    let bases = |p: &Value| -> Vec<String> {
        list(p, "base").iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let there: BTreeSet<(String, String)> = params
        .iter()
        .flat_map(|p| bases(p).into_iter().map(|b| (b, text(p, "code").to_owned())))
        .collect();
    let mut new = Vec::new();
    for p in serde_json::Deserializer::from_slice(&out.stdout).into_iter::<Value>() {
        let mut p = p.context("parsing a search parameter of US Core")?;
        let code = text(&p, "code").to_owned();
        let known = bases(&p)
            .into_iter()
            .chain(["Resource".to_owned(), "DomainResource".to_owned()])
            .any(|base| there.contains(&(base, code.clone())));
        if !known {
            let expression = in_fhirpath(text(&p, "expression"));
            if let Some(p) = p.as_object_mut() {
                p.insert("expression".to_owned(), Value::from(expression));
            }
            new.push(p);
        }
    }
    new.sort_by(|a, b| text(a, "url").cmp(text(b, "url")));
    Ok(new)
}

/// An expression with FHIRPath's names where it has JSON's (`valueDateTime`), and with the
/// whole coding where it takes only the code, so that a search may say the system too.
fn in_fhirpath(expression: &str) -> String {
    [
        (".valueDateTime", ".value.ofType(dateTime)"),
        (".value.coding.code", ".value.ofType(CodeableConcept)"),
        (".value.code", ".value.ofType(Coding)"),
    ]
    .into_iter()
    .find_map(|(end, instead)| Some(format!("{}{instead}", expression.strip_suffix(end)?)))
    .unwrap_or_else(|| expression.to_owned())
}

fn short(url: &str) -> &str {
    url.strip_prefix(PARAMETER).unwrap_or(url)
}

/// One line per parameter, by number: number, code, type, bases, targets, expression,
/// then per component `number expression` in a column of its own.
fn search_params(params: &[Value], numbers: &HashMap<String, u16>) -> Result<String> {
    let number = |url: &str| {
        numbers.get(short(url)).copied().ok_or_else(|| anyhow!("no such parameter: {url}"))
    };
    let mut lines = BTreeMap::new();
    for p in params {
        let n = number(text(p, "url"))?;
        let mut line = format!(
            "{n}\t{}\t{}\t{}\t{}\t{}",
            text(p, "code"),
            text(p, "type"),
            strings(p, "base"),
            strings(p, "target"),
            one_line(text(p, "expression"))
        );
        for c in list(p, "component") {
            write!(
                line,
                "\t{} {}",
                number(text(c, "definition"))?,
                one_line(text(c, "expression"))
            )?;
        }
        lines.insert(n, line);
    }
    let mut out = String::from(
        "# R4 search parameters and those of US Core, from HL7's definitions. Generated: cargo xtask definitions\n",
    );
    for line in lines.into_values() {
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}

fn strings(v: &Value, name: &str) -> String {
    let sorted: BTreeSet<&str> = list(v, name).iter().filter_map(Value::as_str).collect();
    sorted.into_iter().collect::<Vec<_>>().join(",")
}

fn one_line(s: &str) -> String {
    s.split_whitespace().collect::<Vec<_>>().join(" ")
}

// ---------------------------------------------------------------- compartments

/// One line per compartment and resource type that is in it: compartment, type, codes.
fn compartments(core: &Path) -> Result<String> {
    let mut out = String::from(
        "# R4 compartments, from HL7's definitions. Generated: cargo xtask definitions\n",
    );
    for name in ["device", "encounter", "patient", "practitioner", "relatedPerson"] {
        let c = read(&core.join(format!("CompartmentDefinition-{name}.json")))?;
        for r in list(&c, "resource") {
            let codes: Vec<&str> = list(r, "param").iter().filter_map(Value::as_str).collect();
            if !codes.is_empty() {
                writeln!(out, "{}\t{}\t{}", text(&c, "code"), text(r, "code"), codes.join(","))?;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_tables_are_what_the_definitions_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let from = root.join("../shared/data/definitions");
        if !from.exists() {
            println!("skipped: ../shared/data/definitions is not here");
            return;
        }
        let out = root.join(OUT);
        for (name, content) in generate(&from, &out).unwrap() {
            let committed = fs::read_to_string(out.join(name)).unwrap();
            assert!(committed == content, "{name} differs: run cargo xtask definitions");
        }
    }

    #[test]
    fn a_number_once_given_stays() {
        let dir = std::env::temp_dir().join(format!("phial-numbers-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let list = dir.join("param-numbers.txt");
        fs::write(&list, "0\tZ-last\n1\tgone\n").unwrap();
        let param = |url: &str| serde_json::json!({"url": format!("{PARAMETER}{url}")});
        let numbers = number_list(&list, &[param("A-first"), param("Z-last")]).unwrap();
        assert!(numbers.text.ends_with("0\tZ-last\n1\tgone\n2\tA-first\n"));
        assert_eq!(numbers.by_url.get("A-first"), Some(&2));
        fs::write(&list, "1\tb\n").unwrap();
        assert!(number_list(&list, &[]).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
