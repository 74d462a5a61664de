//! HL7's FHIRPath suite for R4, held against the list in
//! `crates/fhir/tests/suites/fhirpath-r4.txt`: a case that passes or fails against the
//! list fails the test. Inputs that the suite has as XML only are read as JSON here, by
//! the element tables.
#![expect(clippy::panic, reason = "a helper of tests fails the test")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use phial_fhir::definitions::TypeKind;
use phial_fhir::fhirpath::{Context, Expression, Item, Moment, Place, Value};
use phial_fhir::{Doc, Limits, TypeId};
use roxmltree::{Document, Node};

use crate::shared;

const LIST: &str = include_str!("../suites/fhirpath-r4.txt");
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// A FHIR resource in XML as JSON text.
pub(crate) fn json_of_xml(text: &str) -> String {
    let document = Document::parse(text).unwrap();
    let mut out = String::new();
    resource(document.root_element(), text, &mut out);
    out
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn resource(node: Node<'_, '_>, source: &str, out: &mut String) {
    let name = node.tag_name().name();
    let ty = TypeId::from_name(name).unwrap();
    write!(out, "{{\"resourceType\":{}", quoted(name)).unwrap();
    members(node, ty, source, out);
    out.push('}');
}

/// The members of an object, each behind a comma.
fn members(node: Node<'_, '_>, ty: TypeId, source: &str, out: &mut String) {
    if let Some(id) = node.attribute("id") {
        write!(out, ",\"id\":{}", quoted(id)).unwrap();
    }
    if let Some(url) = node.attribute("url") {
        write!(out, ",\"url\":{}", quoted(url)).unwrap();
    }
    let children: Vec<Node<'_, '_>> = node.children().filter(Node::is_element).collect();
    let mut done: Vec<&str> = Vec::new();
    for child in &children {
        let name = child.tag_name().name();
        if done.contains(&name) {
            continue;
        }
        done.push(name);
        if child.tag_name().namespace() == Some(XHTML) {
            write!(out, ",\"div\":{}", quoted(&source[child.range()])).unwrap();
            continue;
        }
        let member = ty.member(name).unwrap_or_else(|| panic!("{} {name}", ty.name()));
        let same: Vec<Node<'_, '_>> =
            children.iter().filter(|c| c.tag_name().name() == name).copied().collect();
        let many = member.element().many;
        let mut list = |name: &str, items: Vec<String>| {
            if items.iter().any(|i| i != "null") {
                let items = items.join(",");
                let items = if many { format!("[{items}]") } else { items };
                write!(out, ",\"{name}\":{items}").unwrap();
            }
        };
        if member.ty.kind() == TypeKind::Primitive {
            list(name, same.iter().map(|n| primitive(*n, member.ty)).collect());
            list(&format!("_{name}"), same.iter().map(|n| side(*n, source)).collect());
        } else {
            let objects = same.iter().map(|n| object(*n, member.ty, source)).collect();
            list(name, objects);
        }
    }
}

fn primitive(node: Node<'_, '_>, ty: TypeId) -> String {
    let Some(value) = node.attribute("value") else { return "null".to_owned() };
    let bare = ty.lineage().any(|t| matches!(t.name(), "boolean" | "integer" | "decimal"));
    if bare { value.to_owned() } else { quoted(value) }
}

fn side(node: Node<'_, '_>, source: &str) -> String {
    let mut out = String::new();
    let element = TypeId::from_name("Element").unwrap();
    members(node, element, source, &mut out);
    if out.is_empty() { "null".to_owned() } else { format!("{{{}}}", &out[1..]) }
}

fn object(node: Node<'_, '_>, ty: TypeId, source: &str) -> String {
    let mut out = String::new();
    if ty.name() == "Resource" {
        resource(node.first_element_child().unwrap(), source, &mut out);
        return out;
    }
    members(node, ty, source, &mut out);
    format!("{{{}}}", out.get(1..).unwrap_or_default())
}

/// An input of the suite, from its JSON or its XML.
fn input(dir: &Path, name: &str) -> Doc {
    let text = fs::read_to_string(dir.join("r4-root").join(name)).unwrap();
    let text = if name.ends_with(".xml") { json_of_xml(&text) } else { text };
    Doc::parse(text.as_bytes(), &Limits::default()).unwrap()
}

/// The type's name and the text that the suite writes for an item.
fn shown(item: &Item<'_>) -> (String, String) {
    let value = item.value();
    let text = value.as_ref().and_then(Value::text).map(|t| t.into_owned()).unwrap_or_default();
    let ty = match item {
        Item::Place(place) => place.type_id().name().to_owned(),
        Item::Value(value) => {
            let name = value.system_type().name();
            if name == "Quantity" {
                name.to_owned()
            } else {
                name[..1].to_ascii_lowercase() + &name[1..]
            }
        }
    };
    (ty, text)
}

/// Why a case does not pass; `None` when it does.
fn failure(case: Node<'_, '_>, doc: Option<&Doc>) -> Option<String> {
    let attribute = |name: &str| case.attribute(name).unwrap_or_default();
    let expression = case.children().find(|c| c.has_tag_name("expression")).unwrap();
    let text = expression.text().unwrap_or_default();
    let invalid = expression.attribute("invalid").unwrap_or_default();
    let place = doc.map(|d| Place::resource(d.root()).unwrap());
    let input: Vec<Item<'_>> = place.map(Item::Place).into_iter().collect();
    let context =
        Context { now: Moment::date_time("2026-11-22T20:00:00.000+01:00"), ..Context::default() };

    let found = Expression::parse(text).and_then(|parsed| {
        if let Some(place) = place {
            parsed.check(place.type_id())?;
        }
        if attribute("predicate") == "true" {
            let holds = parsed.holds(&context, &input)?;
            return Ok(vec![Item::Value(Value::Boolean(holds))]);
        }
        parsed.evaluate(&context, &input)
    });
    if !invalid.is_empty() {
        return found.is_ok().then(|| format!("no {invalid} error"));
    }
    let found = match found {
        Ok(found) => found,
        Err(error) => return Some(format!("error: {error}")),
    };
    let mut got: Vec<(String, String)> = found.iter().map(shown).collect();
    let mut want: Vec<(String, String)> = case
        .children()
        .filter(|c| c.has_tag_name("output"))
        .map(|o| {
            let text = o.text().unwrap_or_default();
            let text = text.strip_prefix("@T").or(text.strip_prefix('@')).unwrap_or(text);
            (o.attribute("type").unwrap_or_default().to_owned(), text.to_owned())
        })
        .collect();
    if attribute("ordered") == "false" {
        got.sort();
        want.sort();
    }
    let same = got.len() == want.len()
        && got.iter().zip(&want).all(|(g, w)| g.1 == w.1 && (w.0.is_empty() || g.0 == w.0));
    (!same).then(|| format!("got {got:?}, not {want:?}"))
}

fn list() -> Vec<(&'static str, &'static str, &'static str)> {
    LIST.lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .map(|l| {
            let columns: Vec<&str> = l.split('\t').collect();
            (columns[0], columns[1], columns[2])
        })
        .collect()
}

#[test]
fn every_case_of_the_list_has_a_state_and_a_reason_where_it_needs_one() {
    let list = list();
    assert_eq!(list.len(), 937);
    let state = |of: &str| list.iter().filter(|c| c.2.starts_with(of)).count();
    assert_eq!(state("left out: "), 2);
    assert_eq!(
        list.iter().filter(|c| c.2 == "applies").count() + state("applies, fails: ") + 2,
        937
    );
    // At least 97 of a hundred.
    assert!(list.iter().filter(|c| c.2 == "applies").count() >= 909);
}

#[test]
fn hl7s_suite_passes_as_the_list_says() {
    let Some(dir) = shared("data/suites/hl7-fhir-test-cases") else { return };
    let text = fs::read_to_string(dir.join("r4/fhirpath/tests-fhir-r4.xml")).unwrap();
    let suite = Document::parse(&text).unwrap();
    let mut expected: HashMap<(String, String), &str> = list()
        .into_iter()
        .map(|(group, name, state)| ((group.to_owned(), name.to_owned()), state))
        .collect();
    let mut inputs: HashMap<String, Doc> = HashMap::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let (mut passed, mut wrong) = (0, Vec::new());
    for case in suite.descendants().filter(|n| n.has_tag_name("test")) {
        let group = case.parent_element().unwrap().attribute("name").unwrap();
        let mut name = case.attribute("name").unwrap().to_owned();
        let count = names.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name}#{count}");
        }
        let file = case.attribute("inputfile");
        if let Some(file) = file {
            inputs.entry(file.to_owned()).or_insert_with(|| input(&dir, file));
        }
        let why = failure(case, file.map(|f| &inputs[f]));
        passed += usize::from(why.is_none());
        match (expected.remove(&(group.to_owned(), name.clone())), why) {
            (Some("applies"), None) => {}
            (Some("applies"), Some(why)) => wrong.push(format!("{name} fails: {why}")),
            (Some(state), None) if state.starts_with("applies, fails") => {
                wrong.push(format!("{name} passes, the list says that it fails"));
            }
            (Some(state), Some(_)) if state.starts_with("applies, fails") => {}
            _ => wrong.push(format!("{name} is not in the list as a case that is run")),
        }
    }
    expected.retain(|_, state| !state.starts_with("left out: "));
    println!("{passed} of 937 cases pass");
    assert!(wrong.is_empty(), "{}\n", wrong.join("\n"));
    assert!(expected.is_empty(), "in the list and not in the suite: {:?}", expected.keys());
}
