//! HL7's patch cases for R4, held against the lists in `crates/fhir/tests/suites`: a case
//! that passes or fails against its list fails the test. The FHIRPath cases are XML, and
//! are read as JSON by the element tables.

use std::collections::BTreeMap;
use std::fs;

use phial_fhir::{Doc, Limits, Patch};
use roxmltree::Document;
use serde_json::Value;

use crate::fhirpath_suite::json_of_xml;
use crate::shared;

const FHIRPATH: &str = include_str!("../suites/fhirpath-patch-r4.txt");
const JSON: &str = include_str!("../suites/json-patch-r4.txt");

fn doc(text: &str) -> Doc {
    Doc::parse(text.as_bytes(), &Limits::default()).unwrap()
}

/// JSON, in which XHTML is the same however its quotation marks and line ends are written.
fn value(text: &str) -> Value {
    let text = text.replace("&quot;", "\\\"").replace("\\r\\n", "\\n");
    serde_json::from_str(&text).unwrap()
}

/// Case by case: the name, and nothing or the reason why it does not pass.
fn list(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|l| l.split_once('\t').unwrap()).collect()
}

fn hold(listed: &str, outcomes: &[(String, Result<(), String>)]) {
    let listed = list(listed);
    let names: Vec<&str> = listed.iter().map(|(n, _)| *n).collect();
    let found: Vec<&str> = outcomes.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, found, "the list names the suite's cases, in its order");
    for ((name, state), (_, outcome)) in listed.iter().zip(outcomes) {
        match outcome {
            Ok(()) => assert_eq!(*state, "passes", "{name} passes: say so"),
            Err(why) => assert!(state.starts_with("fails: "), "{name}: {why}"),
        }
    }
}

/// The XML of a resource within the suite's file, by itself.
fn inner(node: roxmltree::Node<'_, '_>, text: &str) -> String {
    let resource = node.first_element_child().unwrap();
    json_of_xml(&text[resource.range()])
}

#[test]
fn hl7s_fhirpath_patch_cases_pass_as_listed() {
    let Some(file) = shared("data/suites/hl7-fhir-test-cases/r4/patch/fhir-patch-tests.xml") else {
        return;
    };
    let text = fs::read_to_string(file).unwrap();
    let suite = Document::parse(&text).unwrap();
    let mut outcomes = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for case in suite.root_element().children().filter(|n| n.has_tag_name("case")) {
        let name = case.attribute("name").unwrap().to_owned();
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        let name = if *times > 1 { format!("{name}#{times}") } else { name };
        let part = |tag: &str| case.children().find(|n| n.has_tag_name(tag));
        let (input, diff) =
            (inner(part("input").unwrap(), &text), inner(part("diff").unwrap(), &text));
        let wanted = part("output").map(|n| value(&inner(n, &text)));
        let outcome = match (Patch::parameters(&doc(&diff)), wanted) {
            (Err(issues), _) => Err(format!("{issues:?}")),
            (Ok(patch), wanted) => match (patch.apply(&doc(&input)), wanted) {
                (Ok(done), Some(wanted)) if value(done.text()) == wanted => Ok(()),
                (Ok(done), _) => Err(done.text().to_owned()),
                (Err(_), None) => Ok(()),
                (Err(why), Some(_)) => Err(format!("{why:?}")),
            },
        };
        outcomes.push((name, outcome));
    }
    hold(FHIRPATH, &outcomes);
}

#[test]
fn hl7s_json_patch_cases_pass_as_listed() {
    let Some(file) = shared("data/suites/hl7-fhir-test-cases/r4/patch/json-patch-tests.json")
    else {
        return;
    };
    let text = fs::read_to_string(file).unwrap();
    let mut outcomes = Vec::new();
    for case in value(&text).as_array().unwrap() {
        let outcome = match Patch::json(&doc(&case["patch"].to_string())) {
            Err(issues) => Err(format!("{issues:?}")),
            Ok(patch) => {
                match (patch.apply(&doc(&case["doc"].to_string())), case.get("expected")) {
                    (Ok(done), Some(wanted)) if value(done.text()) == *wanted => Ok(()),
                    (Ok(done), _) => Err(done.text().to_owned()),
                    (Err(_), None) => Ok(()),
                    (Err(why), Some(_)) => Err(format!("{why:?}")),
                }
            }
        };
        outcomes.push((case["comment"].as_str().unwrap().to_owned(), outcome));
    }
    hold(JSON, &outcomes);
}
