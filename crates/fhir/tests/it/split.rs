//! Splitting and splicing: nothing is lost, nothing withheld comes through.
#![expect(clippy::panic, reason = "a helper of tests fails the test")]

use std::collections::BTreeMap;
use std::fs;

use phial_base::{ClassSet, DataClass};
use phial_fhir::class::{class_of, classes_possible};
use phial_fhir::search::{extract, extract_again, readable_classes};
use phial_fhir::split::{Known, Mark, Piece, Short, Split, shorten, splice, split};
use phial_fhir::{Doc, Limits, ResourceType, Valid, validate};
use proptest::prelude::*;
use serde_json::Value;

fn valid(text: &str) -> Valid {
    validate(Doc::parse(text.as_bytes(), &Limits::default()).unwrap())
        .unwrap_or_else(|issues| panic!("{issues:?}"))
}

fn known() -> Known {
    Known::new("9fa1e332-a3eb-52e2-d79a-62042a485967", None, 1_772_615_564_120_000)
}

fn give(s: &Split, classes: ClassSet) -> (String, ClassSet) {
    give_as(s, classes, Mark::Subsetted)
}

fn give_as(s: &Split, classes: ClassSet, mark: Mark) -> (String, ClassSet) {
    let known = known();
    let short: Vec<(DataClass, Short)> =
        s.segments.iter().map(|(c, bytes)| (*c, shorten(bytes, &known))).collect();
    let find = |c| {
        let segment = short.iter().find(|(k, _)| *k == c);
        segment.filter(|_| classes.has(c)).map(|(_, s)| Piece { dense: &s.dense, text: &s.text })
    };
    let spliced = splice(&s.plan, s.classes, &known, &find, mark).unwrap();
    (String::from_utf8(spliced.body).unwrap(), spliced.withheld)
}

/// The scalars of a value, and a failure for any empty container.
fn scalars(v: &Value) -> usize {
    match v {
        Value::Object(o) => {
            assert!(!o.is_empty(), "an empty object");
            o.values().map(scalars).sum()
        }
        Value::Array(a) => {
            assert!(!a.is_empty(), "an empty array");
            a.iter().map(scalars).sum()
        }
        _ => 1,
    }
}

fn subsetted(v: &Value) -> usize {
    let tags = v.get("meta").and_then(|m| m.get("tag")).and_then(Value::as_array);
    tags.into_iter().flatten().filter(|t| t["code"] == "SUBSETTED").count()
}

/// Takes out the tag that was added, as it was added.
fn without_tag(mut v: Value) -> Value {
    let Some(meta) = v.get_mut("meta").and_then(Value::as_object_mut) else { return v };
    let tags = meta.get_mut("tag").and_then(Value::as_array_mut).unwrap();
    assert_eq!(tags.pop().unwrap()["code"], "SUBSETTED");
    if tags.is_empty() {
        meta.shift_remove("tag");
    }
    if meta.is_empty() {
        v.as_object_mut().unwrap().shift_remove("meta");
    }
    v
}

/// Every scalar of `v` is of a class in `given`, by the path it stands at.
fn only(v: &Value, ty: ResourceType, path: &mut Vec<String>, given: ClassSet) {
    match v {
        Value::Array(items) => items.iter().for_each(|i| only(i, ty, path, given)),
        Value::Object(members) => {
            for (name, value) in members {
                if name.ends_with("xtension") || name.starts_with('_') {
                    // Known by their url, not by their place.
                    continue;
                }
                let inner = value.as_array().and_then(|a| a.first()).unwrap_or(value);
                let holds = matches!(name.as_str(), "contained" | "resource" | "outcome");
                if holds && inner.get("resourceType").is_some() {
                    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    for i in items {
                        // Where the administrative part is withheld, the type is not told.
                        let Some(ty) = i.get("resourceType").and_then(Value::as_str) else {
                            continue;
                        };
                        let ty = ResourceType::from_name(ty).unwrap();
                        only(i, ty, &mut Vec::new(), given);
                    }
                    continue;
                }
                if name == "contained" || name == "resource" {
                    continue;
                }
                path.push(name.clone());
                only(value, ty, path, given);
                path.pop();
            }
        }
        _ => {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            let class = class_of(ty, &names);
            let fine = given.has(class)
                // An identifier may be one that a government gave.
                || given.has(DataClass::GovernmentIdentifier) && path.iter().any(|p| p.to_lowercase().contains("identifier"));
            assert!(fine, "{ty}.{} is {class} and came through with {given:?}", path.join("."));
        }
    }
}

/// All that must hold for one resource. `every` also tries every subset of its classes.
fn check(v: &Valid, every: bool) {
    let s = split(v);
    assert!(s.segments.iter().map(|(c, _)| *c).eq(s.classes.iter()));
    // What the index reads of a stored record is what was read of it when it came.
    let readable = give_as(&s, readable_classes(v.resource_type()), Mark::Nothing).0;
    let again = Doc::parse(readable.as_bytes(), &Limits::default()).unwrap();
    assert!(extract_again(&again, v.resource_type()) == extract(v));
    let whole: Value = serde_json::from_str(v.text()).unwrap();
    let own = subsetted(&whole);
    let classes: Vec<DataClass> = s.classes.iter().collect();
    let (text, withheld) = give(&s, s.classes);
    assert_eq!(text, v.text());
    assert!(withheld.is_empty());
    let size: usize = s.segments.iter().map(|(_, b)| b.len()).sum();
    assert!(size <= v.text().len());

    let mut alone = 0;
    let mut sets: Vec<ClassSet> = classes.iter().map(|c| ClassSet::of(*c)).collect();
    sets.push(ClassSet::NONE);
    sets.extend(classes.iter().map(|c| s.classes.minus(ClassSet::of(*c))));
    if every {
        sets.extend((0..1_u32 << classes.len().min(9)).map(|bits| -> ClassSet {
            classes
                .iter()
                .enumerate()
                .filter(|(n, _)| bits & 1 << n != 0)
                .map(|(_, c)| *c)
                .collect()
        }));
    }
    for (n, set) in sets.into_iter().enumerate() {
        let (text, withheld) = give(&s, set);
        assert_eq!(withheld, s.classes.minus(set));
        assert!(Doc::parse(text.as_bytes(), &Limits::default()).is_ok(), "{text}");
        let part: Value = serde_json::from_str(&text).unwrap();
        if part.as_object().unwrap().is_empty() {
            assert!(set.is_empty());
            continue;
        }
        let count = scalars(&part);
        if own > 0 {
            continue;
        }
        assert_eq!(subsetted(&part), usize::from(!withheld.is_empty()), "{set:?}");
        let part = if withheld.is_empty() { part } else { without_tag(part) };
        if !part.as_object().unwrap().is_empty() {
            only(&part, v.resource_type(), &mut Vec::new(), set);
        }
        if n < classes.len() {
            alone += count - if withheld.is_empty() { 0 } else { 3 };
        }
    }
    if own == 0 {
        assert_eq!(alone, scalars(&whole), "each value is in one class");
    }
}

#[test]
fn every_hl7_example_splits_and_comes_back() {
    let Some(dir) = crate::shared("data/examples/hl7-r4-instances") else { return };
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let Ok(doc) = Doc::parse(&bytes, &Limits::default()) else { continue };
        let Ok(v) = validate(doc) else { continue };
        // Every subset of the smaller ones; of the larger, each class alone and left out.
        check(&v, bytes.len() < 12_000);
        let own = split(&v).classes.minus(classes_possible(v.resource_type()));
        let inner = v.doc().root().member("contained").is_some()
            || matches!(v.resource_type().name(), "Bundle" | "Parameters");
        let extended = v.text().contains("xtension\"");
        assert!(own.is_empty() || inner || extended, "{} {own:?}", v.resource_type());
        count += 1;
    }
    assert!(count >= 740, "{count}");
}

#[test]
fn every_synthea_resource_splits_and_comes_back() {
    let mut total = 0;
    let mut by_class: BTreeMap<&str, usize> = BTreeMap::new();
    crate::synthea(&mut |v| {
        if total % 40 == 0 {
            check(v, false);
        } else {
            let s = split(v);
            assert_eq!(give(&s, s.classes).0, v.text());
        }
        for c in split(v).classes.iter() {
            *by_class.entry(c.name()).or_default() += 1;
        }
        total += 1;
    });
    if total > 0 {
        assert_eq!(total, 92_114);
        assert_eq!(by_class["government-identifier"], 120);
    }
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"1","tag":[{"code":"x"}]},"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Peter</div>"},"extension":[{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex","valueCode":"M"},{"url":"http://acme.example/likes","valueString":"jazz"}],"identifier":[{"system":"http://acme.example/mrn","value":"123"},{"system":"http://hl7.org/fhir/sid/us-ssn","value":"999-00-1111"}],"active":true,"name":[{"family":"Chalmers","given":["Peter",null],"_given":[null,{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}]}],"telecom":[{"system":"phone","value":"555"}],"birthDate":"1974-12-25","_birthDate":{"extension":[{"url":"http://acme.example/secret","valueString":"hush"}]},"contact":[{"name":{"family":"Du Marché"},"telecom":[{"value":"556"}]},{"telecom":[{"value":"557"}]}],"managingOrganization":{"reference":"Organization/1","display":"Clinic"},"contained":[]}"#;

fn patient() -> Valid {
    valid(&PATIENT.replace(",\"contained\":[]", ""))
}

#[test]
fn a_reader_gets_the_classes_given_and_a_mark() {
    use DataClass::*;
    let v = patient();
    check(&v, true);
    let s = split(&v);
    for (given, want) in [
        (
            ClassSet::of(Demographic),
            r#"{"meta":{"tag":[TAG]},"extension":[{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex","valueCode":"M"}],"name":[{"family":"Chalmers","given":["Peter",null],"_given":[null,{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}]}],"birthDate":"1974-12-25","contact":[{"name":{"family":"Du Marché"}}],"managingOrganization":{"display":"Clinic"}}"#,
        ),
        (
            ClassSet::of(GovernmentIdentifier),
            r#"{"meta":{"tag":[TAG]},"identifier":[{"system":"http://hl7.org/fhir/sid/us-ssn","value":"999-00-1111"}]}"#,
        ),
        (
            ClassSet::of(Administrative).with(Identifier),
            r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"1","tag":[{"code":"x"},TAG]},"identifier":[{"system":"http://acme.example/mrn","value":"123"}],"active":true,"managingOrganization":{"reference":"Organization/1"}}"#,
        ),
        (ClassSet::NONE, r#"{"meta":{"tag":[TAG]}}"#),
    ] {
        let tag = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED","display":"subsetted"}"#;
        assert_eq!(give(&s, given).0, want.replace("TAG", tag), "{given:?}");
    }
}

#[test]
fn contained_resources_are_split_by_their_own_type() {
    use DataClass::*;
    let v = valid(
        r##"{"resourceType":"Condition","contained":[{"resourceType":"Patient","id":"c","name":[{"family":"Quiet"}]},{"resourceType":"Practitioner","id":"d","name":[{"family":"Loud"}]}],"code":{"text":"Asthma"},"subject":{"reference":"#c"},"note":[{"text":"Worse at night"}]}"##,
    );
    check(&v, true);
    let s = split(&v);
    let (text, _) = give(&s, ClassSet::of(Administrative).with(Clinical));
    assert!(text.contains("Asthma") && text.contains("Loud"));
    assert!(!text.contains("Quiet") && !text.contains("night"));
}

#[test]
fn the_plan_is_the_same_for_other_values() {
    let one = patient();
    let text = one.text();
    let other = [
        "Peter",
        "Chalmers",
        "Marché",
        "555",
        "556",
        "557",
        "1974-12-25",
        "123",
        "hush",
        "jazz",
        "Clinic",
    ]
    .iter()
    .fold(text.to_owned(), |t, word| {
        let quiet: String = word
            .chars()
            .map(|c| match c {
                '0'..='9' if word.contains('-') => c,
                '0'..='9' => '7',
                'é' => 'é',
                '-' | ' ' => c,
                _ => 'q',
            })
            .collect();
        t.replace(word, &quiet)
    });
    assert_ne!(other, text);
    assert_eq!(split(&valid(&other)).plan, split(&one).plan);
}

#[test]
fn a_tag_that_was_there_is_not_given_twice() {
    let v = valid(
        r#"{"resourceType":"Patient","meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]},"gender":"male"}"#,
    );
    let (text, _) = give(&split(&v), ClassSet::of(DataClass::Administrative));
    assert_eq!(text.matches("SUBSETTED").count(), 1);
}

proptest! {
    #[test]
    fn no_plan_breaks_the_splicer(
        plan in prop::collection::vec(prop_oneof![0u8..0x20, any::<u8>()], 0..60),
        bytes in prop::collection::vec(prop_oneof![0u8..0x20, any::<u8>()], 0..40),
    ) {
        let give = |_| Some(Piece { dense: &bytes, text: &bytes });
        let _ = splice(&plan, ClassSet::ALL, &known(), &give, Mark::Subsetted);
        let _ = splice(&plan, ClassSet::ALL, &known(), &|_| None, Mark::Subsetted);
    }
}
