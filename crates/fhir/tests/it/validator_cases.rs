//! HL7's validator cases for R4 in JSON: error or no error, as HL7's own validator says.
//! Which of them apply stands in `validator-r4.txt`, with the reason for each that does
//! not; where this validator says otherwise stands in `validator-r4-otherwise.txt`, with
//! the class of the difference.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use phial_fhir::fhirpath::Moment;
use phial_fhir::profile::{Asked, Structure, World, held_structure, validate};
use phial_fhir::terminology::{CodeSystem, HELD, Source, ValueSet, canonical};
use phial_fhir::{Doc, Issue, Limits, Severity};
use serde_json::Value;

use crate::shared;

const APPLY: &str = include_str!("../suites/validator-r4.txt");
const OTHERWISE: &str = include_str!("../suites/validator-r4-otherwise.txt");
const ROOT: &str = "validator-cases/";

/// What is held, and what comes with a case.
#[derive(Default)]
struct Case {
    structures: HashMap<String, Doc>,
    sets: HashMap<String, Arc<ValueSet>>,
    systems: HashMap<String, Arc<CodeSystem>>,
}

impl Case {
    fn add(&mut self, doc: Doc) {
        let root = doc.root();
        let text = |name: &str| root.member(name).and_then(|n| n.as_str().map(|s| s.into_owned()));
        let Some(url) = text("url") else { return };
        match text("resourceType").as_deref() {
            Some("StructureDefinition") => {
                self.structures.insert(url, doc);
            }
            Some("ValueSet") => {
                self.sets.insert(url, Arc::new(ValueSet::of(root)));
            }
            Some("CodeSystem") => {
                if let Some(system) = CodeSystem::of(root) {
                    self.systems.insert(url, Arc::new(system));
                }
            }
            _ => {}
        }
    }
}

impl Source for Case {
    fn value_set(&self, url: &str, version: Option<&str>) -> Option<Arc<ValueSet>> {
        HELD.value_set(url, version).or_else(|| self.sets.get(url).cloned())
    }

    fn code_system(&self, url: &str, version: Option<&str>) -> Option<Arc<CodeSystem>> {
        HELD.code_system(url, version).or_else(|| self.systems.get(url).cloned())
    }
}

impl World for Case {
    fn structure(&self, url: &str, version: Option<&str>) -> Option<Arc<Structure>> {
        held_structure(url, version, self).or_else(|| {
            let doc = self.structures.get(url)?;
            Structure::of(doc.root(), self).ok().map(Arc::new)
        })
    }
}

/// All files of the archive.
fn files() -> Option<HashMap<String, Vec<u8>>> {
    let path = shared("data/suites/hl7-fhir-test-cases/validator-cases.tar.xz")?;
    let file = liblzma::read::XzDecoder::new(fs::File::open(path).unwrap());
    let mut all = HashMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        all.insert(name.trim_start_matches("./").to_owned(), bytes);
    }
    Some(all)
}

fn names(case: &Value, list: &str) -> Vec<String> {
    let all = case[list].as_array().into_iter().flatten();
    all.map(|n| n.as_str().unwrap().to_owned()).collect()
}

fn errors(outcome: &Value) -> usize {
    let all = outcome["issue"].as_array().into_iter().flatten();
    all.filter(|i| matches!(i["severity"].as_str(), Some("error" | "fatal"))).count()
}

fn run(files: &HashMap<String, Vec<u8>>, case: &Value, with_profile: bool) -> Vec<Issue> {
    let file = |name: &str| files.get(&format!("{ROOT}{name}")).cloned().unwrap_or_default();
    let mut world = Case::default();
    let mut loaded = [names(case, "supporting"), names(case, "profiles")].concat();
    let source = case["profile"]["source"].as_str().filter(|_| with_profile);
    if with_profile {
        loaded.extend(names(&case["profile"], "supporting"));
    }
    let mut asked =
        Asked { claimed: true, now: Moment::date_time("2026-01-01T00:00:00Z"), ..Asked::default() };
    for name in loaded {
        if let Ok(doc) = Doc::parse(&file(&name), &Limits::default()) {
            world.add(doc);
        }
    }
    if let Some(source) = source {
        let url = match Doc::parse(&file(source), &Limits::default()) {
            Ok(doc) => {
                let url = doc.root().member("url").unwrap().as_str().unwrap().into_owned();
                world.add(doc);
                url
            }
            Err(_) => source.to_owned(),
        };
        let (plain, version) = canonical(&url);
        asked.profiles.push(world.structure(plain, version).unwrap());
    }
    match Doc::parse(&file(case["file"].as_str().unwrap()), &Limits::default()) {
        Ok(doc) => validate(doc, &asked, &world),
        Err(issues) => issues,
    }
}

/// Runs by name: with what the list says of each.
fn list(text: &'static str) -> BTreeMap<&'static str, &'static str> {
    let lines = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    lines.map(|l| l.split_once('\t').unwrap()).collect()
}

#[test]
fn hl7s_validator_cases_end_as_hl7_says_or_as_listed() {
    let Some(files) = files() else { return };
    let manifest: Value = serde_json::from_slice(&files[&format!("{ROOT}manifest.json")]).unwrap();
    let apply = list(APPLY);
    let mut otherwise = list(OTHERWISE);
    let (mut asked, mut agreed, mut found) = (0, 0, String::new());
    let mut listed = 0;
    let mut seen: HashMap<String, usize> = HashMap::new();
    for case in manifest["test-cases"].as_array().unwrap() {
        let of_r4 = matches!(case["version"].as_str(), Some("4.0" | "4.0.1"));
        if !of_r4 || !case["file"].as_str().unwrap().ends_with(".json") {
            continue;
        }
        for (run_name, outcome) in [("base", &case["java"]), ("profile", &case["profile"]["java"])]
        {
            if run_name == "profile" && case["profile"].is_null() {
                continue;
            }
            let mut key = format!("{}#{run_name}", case["name"].as_str().unwrap());
            let n = seen.entry(key.clone()).and_modify(|n| *n += 1).or_insert(1);
            if *n > 1 {
                write!(key, " ({n})").unwrap();
            }
            // Nothing of the suite is left out in silence.
            let verdict = apply.get(key.as_str());
            assert!(verdict.is_some(), "{key} is not in the list");
            listed += 1;
            if verdict != Some(&"applies") {
                continue;
            }
            let outcome = match outcome.as_str() {
                Some(name) => {
                    serde_json::from_slice(&files[&format!("{ROOT}outcomes/{name}")]).unwrap()
                }
                None if outcome.get("outcome").is_some() => outcome["outcome"].clone(),
                None => outcome.clone(),
            };
            let theirs = errors(&outcome) > 0;
            let issues = run(&files, case, run_name == "profile");
            let ours: Vec<&Issue> =
                issues.iter().filter(|i| i.severity == Severity::Error).collect();
            asked += 1;
            if theirs != ours.is_empty() {
                agreed += 1;
                continue;
            }
            if otherwise.remove(key.as_str()).is_some() {
                continue;
            }
            let said = |v: &Value| {
                let text = v["details"]["text"].as_str().or(v["diagnostics"].as_str());
                text.unwrap_or("").chars().take(160).collect::<String>()
            };
            let all = outcome["issue"].as_array().into_iter().flatten();
            let theirs: Vec<String> = all
                .filter(|i| matches!(i["severity"].as_str(), Some("error" | "fatal")))
                .map(said)
                .take(3)
                .collect();
            let ours: Vec<String> = ours.iter().map(ToString::to_string).take(4).collect();
            writeln!(found, "{key}\n  HL7: {theirs:?}\n  here: {ours:?}").unwrap();
        }
    }
    println!("{listed} runs, {asked} apply, {agreed} agree ({} %)", agreed * 100 / asked);
    assert!(found.is_empty(), "not in the list of differences:\n{found}");
    assert!(otherwise.is_empty(), "listed as different, and they agree: {:?}", otherwise.keys());
    assert!(agreed * 10 >= asked * 9, "{agreed} of {asked}");
}
