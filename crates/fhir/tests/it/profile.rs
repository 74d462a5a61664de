//! Profiles: data-driven rules, HL7's and US Core's own examples, and messages without
//! values.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use phial_fhir::fhirpath::Moment;
use phial_fhir::profile::{Asked, Structure, World, claimable, held_structure, validate};
use phial_fhir::terminology::{CodeSystem, HELD, Source, ValueSet};
use phial_fhir::{Doc, Issue, Limits, ResourceType, Severity};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shared;

/// Definitions that somebody stored, beside what is held.
#[derive(Default)]
struct Stored(HashMap<String, Doc>);

impl Source for Stored {
    fn value_set(&self, url: &str, version: Option<&str>) -> Option<Arc<ValueSet>> {
        HELD.value_set(url, version)
    }

    fn code_system(&self, url: &str, version: Option<&str>) -> Option<Arc<CodeSystem>> {
        HELD.code_system(url, version)
    }
}

impl World for Stored {
    fn structure(&self, url: &str, version: Option<&str>) -> Option<Arc<Structure>> {
        held_structure(url, version, self)
            .or_else(|| Structure::of(self.0.get(url)?.root(), self).ok().map(Arc::new))
    }
}

fn doc(v: &Value) -> Doc {
    Doc::parse(v.to_string().as_bytes(), &Limits::default()).unwrap()
}

fn asked(world: &Stored, profiles: &[&str]) -> Asked {
    let profiles = profiles.iter().map(|url| world.structure(url, None).unwrap()).collect();
    let now = Moment::date_time("2026-01-01T00:00:00Z");
    Asked { profiles, claimed: true, now, budget: None }
}

/// The errors, each as path and code.
fn errors(issues: &[Issue]) -> Vec<String> {
    let bad = issues.iter().filter(|i| i.severity == Severity::Error);
    bad.map(|i| format!("{} {}", i.path, i.code.code())).collect()
}

const OURS: &str = "urn:profile";

/// A profile on Observation with these elements.
fn profile(elements: Value) -> Stored {
    let v = json!({"resourceType": "StructureDefinition", "url": OURS, "type": "Observation",
        "kind": "resource", "derivation": "constraint", "name": "P", "status": "active",
        "abstract": false, "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "differential": {"element": elements}});
    Stored(HashMap::from([(OURS.to_owned(), doc(&v))]))
}

fn observation(more: Value) -> Value {
    let mut v = json!({"resourceType": "Observation", "status": "final",
        "text": {"status": "empty", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "1"}]}});
    for (name, value) in more.as_object().unwrap() {
        v[name] = value.clone();
    }
    v
}

fn check(elements: &Value, more: Value, expected: &[&str]) {
    let world = profile(elements.clone());
    let found = validate(doc(&observation(more.clone())), &asked(&world, &[OURS]), &world);
    assert_eq!(errors(&found), expected, "{elements}\n{more}\n{found:?}");
}

fn quantity(code: &str) -> Value {
    json!({"value": 1, "system": "http://unitsofmeasure.org", "code": code})
}

#[test]
fn cardinality_fixed_values_patterns_and_bounds_are_held() {
    let e = json!([{"id": "Observation.subject", "path": "Observation.subject", "min": 1},
        {"id": "Observation.note", "path": "Observation.note", "max": "1"},
        {"id": "Observation.issued", "path": "Observation.issued", "max": "0"}]);
    let subject = json!({"reference": "Patient/1"});
    check(&e, json!({"subject": subject}), &[]);
    check(&e, json!({}), &["Observation.subject required"]);
    check(
        &e,
        json!({"subject": subject, "note": [{"text": "a"}, {"text": "b"}],
            "issued": "2020-01-01T00:00:00Z"}),
        &["Observation.note structure", "Observation.issued structure"],
    );
    let e =
        json!([{"id": "Observation.status", "path": "Observation.status", "fixedCode": "amended"}]);
    check(&e, json!({}), &["Observation.status value"]);
    let e = json!([{"id": "Observation.code", "path": "Observation.code", "patternCodeableConcept":
        {"coding": [{"system": "http://loinc.org", "code": "2"}]}}]);
    check(&e, json!({}), &["Observation.code value"]);
    let two = json!({"text": "more", "coding": [{"system": "urn:x", "code": "9"},
        {"system": "http://loinc.org", "code": "2", "display": "d"}]});
    check(&e, json!({"code": two}), &[]);
    let e = json!([{"id": "Observation.value[x]", "path": "Observation.value[x]",
        "minValueInteger": 3, "maxValueInteger": 5}]);
    check(&e, json!({"valueInteger": 4}), &[]);
    check(&e, json!({"valueInteger": 2}), &["Observation.valueInteger value"]);
    check(&e, json!({"valueInteger": 6}), &["Observation.valueInteger value"]);
}

#[test]
fn types_targets_and_bindings_are_held() {
    let e = json!([{"id": "Observation.value[x]", "path": "Observation.value[x]",
        "type": [{"code": "Quantity"}, {"code": "string"}]}]);
    check(&e, json!({"valueString": "a"}), &[]);
    check(&e, json!({"valueInteger": 1}), &["Observation.valueInteger structure"]);
    let e = json!([{"id": "Observation.subject", "path": "Observation.subject", "type": [
        {"code": "Reference", "targetProfile":
            ["http://hl7.org/fhir/StructureDefinition/Patient"]}]}]);
    check(&e, json!({"subject": {"reference": "Patient/1"}}), &[]);
    check(&e, json!({"subject": {"reference": "https://a.example/fhir/Patient/1"}}), &[]);
    check(&e, json!({"subject": {"reference": "Group/1"}}), &["Observation.subject structure"]);
    let gender = "http://hl7.org/fhir/ValueSet/administrative-gender";
    let bound = |strength: &str| {
        json!([{"id": "Observation.method", "path": "Observation.method",
        "binding": {"strength": strength, "valueSet": gender}}])
    };
    let of = |code: &str| {
        json!({"method": {"coding": [
        {"system": "http://hl7.org/fhir/administrative-gender", "code": code}]}})
    };
    check(&bound("required"), of("male"), &[]);
    check(
        &bound("required"),
        json!({"method": {"coding": [{"system": "urn:x", "code": "y"}]}}),
        &["Observation.method code-invalid"],
    );
    check(
        &bound("required"),
        json!({"method": {"text": "x"}}),
        &["Observation.method code-invalid"],
    );
    // An extensible binding warns, and text alone is allowed there.
    for (more, warned) in [
        (json!({"method": {"coding": [{"system": "urn:x", "code": "y"}]}}), true),
        (json!({"method": {"text": "x"}}), false),
    ] {
        let world = profile(bound("extensible"));
        let found = validate(doc(&observation(more)), &asked(&world, &[OURS]), &world);
        assert_eq!(errors(&found), [""; 0]);
        assert_eq!(
            found.iter().any(|i| i.severity == Severity::Warning && i.path == "Observation.method"),
            warned
        );
    }
    // A code that its own code system does not have.
    let world = Stored::default();
    let found = validate(doc(&observation(of("nonsense"))), &asked(&world, &[]), &world);
    assert_eq!(errors(&found), ["Observation.method.coding[0].code code-invalid"]);
    // What is not held is said, and is no error.
    let e = json!([{"id": "Observation.method", "path": "Observation.method", "binding":
        {"strength": "required", "valueSet": "http://hl7.org/fhir/ValueSet/clinical-findings"}}]);
    let world = profile(e);
    let coded = json!({"method": {"coding": [{"system": "http://snomed.info/sct", "code": "1"}]}});
    let found = validate(doc(&observation(coded)), &asked(&world, &[OURS]), &world);
    assert_eq!(errors(&found), [""; 0]);
    assert!(found.iter().any(|i| i.text == "not checked: SNOMED CT is not held here"), "{found:?}");
}

#[test]
fn invariants_are_evaluated_and_what_cant_be_is_said() {
    let with = |expression: &str, severity: &str| {
        json!([{"id": "Observation", "path": "Observation",
        "constraint": [{"key": "x-1", "severity": severity, "human": "h", "expression": expression}]}])
    };
    check(&with("status = 'amended'", "error"), json!({}), &["Observation invariant"]);
    check(&with("status = 'final'", "error"), json!({}), &[]);
    check(&with("status = 'amended'", "warning"), json!({}), &[]);
    check(&with("%resource.subject.exists() or status = 'final'", "error"), json!({}), &[]);
    check(&with("nonsense((", "error"), json!({}), &[]);
    let world = Stored::default();
    let period =
        observation(json!({"effectivePeriod": {"start": "2020-02-01", "end": "2020-01-01"}}));
    let found = validate(doc(&period), &asked(&world, &[]), &world);
    assert_eq!(errors(&found), ["Observation.effectivePeriod invariant"]);
}

fn sliced(kind: &str, path: &str, rules: &str, slices: Value) -> Value {
    let mut all = vec![json!({"id": "Observation.component", "path": "Observation.component",
        "slicing": {"discriminator": [{"type": kind, "path": path}], "rules": rules, "ordered": rules == "openAtEnd"}})];
    all.extend(slices.as_array().unwrap().iter().cloned());
    Value::from(all)
}

fn component(code: &str, more: Value) -> Value {
    let mut v = json!({"code": {"coding": [{"system": "http://loinc.org", "code": code}]}});
    for (name, value) in more.as_object().unwrap() {
        v[name] = value.clone();
    }
    v
}

#[test]
fn slices_are_told_apart_by_every_kind_of_discriminator() {
    let slice = |name: &str, more: Value| {
        let mut v = json!({"id": format!("Observation.component:{name}"),
            "path": "Observation.component", "sliceName": name});
        for (n, value) in more.as_object().unwrap() {
            v[n] = value.clone();
        }
        v
    };
    let code = |name: &str, code: &str| {
        json!({"id": format!("Observation.component:{name}.code"),
        "path": "Observation.component.code", "patternCodeableConcept":
            {"coding": [{"system": "http://loinc.org", "code": code}]}})
    };
    let by_value = sliced(
        "pattern",
        "code",
        "open",
        json!([
        slice("a", json!({"min": 1, "max": "1"})), code("a", "A"),
        {"id": "Observation.component:a.value[x]", "path": "Observation.component.value[x]", "min": 1},
        slice("b", json!({"max": "1"})), code("b", "B")]),
    );
    let one = component("A", json!({"valueInteger": 1}));
    check(&by_value, json!({"component": [one]}), &[]);
    check(&by_value, json!({}), &["Observation.component required"]);
    check(
        &by_value,
        json!({"component": [component("A", json!({}))]}),
        &["Observation.component[0].value required"],
    );
    check(
        &by_value,
        json!({"component": [one, component("B", json!({})), component("B", json!({})), component("C", json!({}))]}),
        &["Observation.component structure"],
    );
    // Nothing but the slices, or nothing before their end.
    let closed =
        sliced("pattern", "code", "closed", json!([slice("a", json!({})), code("a", "A")]));
    check(
        &closed,
        json!({"component": [one, component("C", json!({}))]}),
        &["Observation.component[1] structure"],
    );
    let at_end = sliced(
        "pattern",
        "code",
        "openAtEnd",
        json!([slice("a", json!({})), code("a", "A"), slice("b", json!({})), code("b", "B")]),
    );
    check(
        &at_end,
        json!({"component": [one, component("B", json!({})), component("C", json!({}))]}),
        &[],
    );
    check(
        &at_end,
        json!({"component": [component("C", json!({})), one]}),
        &["Observation.component[1] structure"],
    );
    check(
        &at_end,
        json!({"component": [component("B", json!({})), one]}),
        &["Observation.component[1] structure"],
    );
    // By type, by what is there, by a code deep within.
    let by_type = sliced(
        "type",
        "value",
        "closed",
        json!([slice("q", json!({})),
        {"id": "Observation.component:q.value[x]", "path": "Observation.component.value[x]", "type": [{"code": "Quantity"}]}]),
    );
    check(
        &by_type,
        json!({"component": [component("A", json!({"valueQuantity": quantity("g")}))]}),
        &[],
    );
    check(&by_type, json!({"component": [one]}), &["Observation.component[0] structure"]);
    let by_presence = sliced(
        "exists",
        "value",
        "open",
        json!([
        slice("with", json!({"max": "1"})),
        {"id": "Observation.component:with.value[x]", "path": "Observation.component.value[x]", "min": 1},
        slice("without", json!({"max": "0"})),
        {"id": "Observation.component:without.value[x]", "path": "Observation.component.value[x]", "max": "0"}]),
    );
    check(&by_presence, json!({"component": [one]}), &[]);
    check(
        &by_presence,
        json!({"component": [component("A", json!({}))]}),
        &["Observation.component structure"],
    );
    let deep = sliced(
        "value",
        "code.coding.code",
        "closed",
        json!([slice("a", json!({})),
        {"id": "Observation.component:a.code.coding.code", "path": "Observation.component.code.coding.code", "fixedCode": "A"}]),
    );
    check(&deep, json!({"component": [one]}), &[]);
    check(
        &deep,
        json!({"component": [component("B", json!({}))]}),
        &["Observation.component[0] structure"],
    );
    // By profile, and by the type of what is referred to.
    let members = |kind: &str, targets: Value| {
        json!([
        {"id": "Observation.hasMember", "path": "Observation.hasMember", "slicing":
            {"discriminator": [{"type": kind, "path": "resolve()"}], "rules": "closed"}},
        {"id": "Observation.hasMember:m", "path": "Observation.hasMember", "sliceName": "m",
         "type": [{"code": "Reference", "targetProfile": targets}]}])
    };
    let quantity = "http://hl7.org/fhir/StructureDefinition/Observation";
    let by_target = members("type", json!([quantity]));
    check(&by_target, json!({"hasMember": [{"reference": "Observation/1"}]}), &[]);
    check(
        &by_target,
        json!({"hasMember": [{"reference": "MolecularSequence/1"}]}),
        &["Observation.hasMember[0] structure"],
    );
    let by_profile =
        members("profile", json!(["http://hl7.org/fhir/StructureDefinition/bodyweight"]));
    let contained = json!({"contained": [{"resourceType": "Observation", "id": "o", "status": "final",
        "code": {"text": "x"}}], "hasMember": [{"reference": "#o"}]});
    check(&by_profile, contained, &["Observation.hasMember[0] structure"]);
}

#[test]
fn a_profile_may_speak_of_a_choice_by_its_short_name_and_rest_on_another() {
    let e = json!([{"path": "Observation.valueQuantity", "min": 1},
        {"path": "Observation.valueQuantity.code", "fixedCode": "g"}]);
    check(&e, json!({"valueQuantity": quantity("g")}), &[]);
    check(&e, json!({"valueQuantity": quantity("kg")}), &["Observation.valueQuantity.code value"]);
    check(&e, json!({}), &["Observation.value required"]);
    let mut world = profile(json!([{"path": "Observation.subject", "min": 1}]));
    let derived = json!({"resourceType": "StructureDefinition", "url": "urn:derived",
        "type": "Observation", "baseDefinition": OURS,
        "differential": {"element": [{"path": "Observation.issued", "min": 1}]}});
    world.0.insert("urn:derived".to_owned(), doc(&derived));
    let found = validate(doc(&observation(json!({}))), &asked(&world, &["urn:derived"]), &world);
    assert_eq!(errors(&found), ["Observation.subject required", "Observation.issued required"]);
    // One that rests on what is not held is none.
    let lost = json!({"resourceType": "StructureDefinition", "url": "urn:lost",
        "type": "Observation", "baseDefinition": "urn:nowhere", "differential": {"element": []}});
    world.0.insert("urn:lost".to_owned(), doc(&lost));
    assert!(world.structure("urn:lost", None).is_none());
}

#[test]
fn definitions_that_ask_for_too_much_come_to_an_end() {
    // One that asks for itself, by type, by invariant and by discriminator.
    let itself = json!([
        {"id": "Observation", "path": "Observation", "constraint": [{"key": "x-1",
            "severity": "error", "human": "h", "expression": format!("conformsTo('{OURS}')")}]},
        {"id": "Observation.contained", "path": "Observation.contained", "slicing":
            {"discriminator": [{"type": "profile", "path": "$this"}], "rules": "closed"}},
        {"id": "Observation.contained:o", "path": "Observation.contained", "sliceName": "o",
         "type": [{"code": "Observation", "profile": [OURS]}]}]);
    let contained = json!({"resourceType": "Observation", "id": "o", "status": "final",
        "code": {"text": "x"}});
    let world = profile(itself);
    let body = observation(json!({"contained": [contained], "hasMember": [{"reference": "#o"}]}));
    let found = validate(doc(&body), &asked(&world, &[OURS]), &world);
    assert!(found.iter().all(|i| i.severity != Severity::Fatal));
    // Invariants that never tire, on many elements.
    let heavy = json!([{"id": "Observation.component", "path": "Observation.component",
        "constraint": [{"key": "x-1", "severity": "error", "human": "h", "expression":
            "repeat(%resource.component).where(%resource.component.all(code.coding.code = 'q')).empty()"}]}]);
    let world = profile(heavy);
    let many: Vec<Value> = (0..3000).map(|n| component(&n.to_string(), json!({}))).collect();
    let little = Asked { budget: Some(2_000_000), ..asked(&world, &[OURS]) };
    let found = validate(doc(&observation(json!({"component": many}))), &little, &world);
    assert!(found.iter().any(|i| i.code.code() == "too-costly"));
    // A path deeper than any resource.
    let path = format!("Observation{}", ".component".repeat(50_000));
    let deep = json!([{"path": path, "min": 1}]);
    assert!(profile(deep).structure(OURS, None).is_none());
    let slices = format!("a{}", "/a".repeat(50_000));
    let deep = json!([{"id": format!("Observation.component:{slices}"), "path": "Observation.component", "sliceName": slices}]);
    assert!(profile(deep).structure(OURS, None).is_none());
}

#[test]
fn extensions_are_held_to_their_definitions() {
    let with = |extension: Value| {
        json!({"resourceType": "Patient", "extension": [extension],
        "text": {"status": "empty", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}})
    };
    let world = Stored::default();
    let run = |v: &Value| errors(&validate(doc(v), &asked(&world, &[]), &world));
    let sex = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex";
    assert_eq!(run(&with(json!({"url": sex, "valueCode": "F"}))), [""; 0]);
    assert_eq!(
        run(&with(json!({"url": sex, "valueString": "F"}))),
        ["Patient.extension[0].valueString structure"]
    );
    let status = "http://hl7.org/fhir/StructureDefinition/structuredefinition-standards-status";
    assert_eq!(run(&with(json!({"url": status, "valueCode": "trial-use"}))), [""; 0]);
    assert_eq!(
        run(&with(json!({"url": status, "valueCode": "Q"}))),
        ["Patient.extension[0].valueCode code-invalid"]
    );
    assert_eq!(run(&with(json!({"url": "urn:mine", "valueCode": "Q"}))), [""; 0]);
    // It stands on a patient and nowhere else.
    let place = observation(json!({"extension": [{"url": sex, "valueCode": "F"}]}));
    assert_eq!(run(&place), ["Observation.extension[0] extension"]);
    let race = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race";
    let part = |n: &str, v: Value| {
        let mut e = json!({"url": n});
        let name = if v.is_string() { "valueString" } else { "valueCoding" };
        e[name] = v;
        e
    };
    let whole = with(json!({"url": race, "extension": [
        part("ombCategory", json!({"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"})),
        part("text", json!("x"))]}));
    assert_eq!(run(&whole), [""; 0]);
    let without = with(json!({"url": race, "extension": [
        part("ombCategory", json!({"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}))]}));
    assert_eq!(run(&without), ["Patient.extension[0].extension required"]);
}

#[test]
fn no_message_repeats_a_value() {
    const MARK: &str = "Zzyzx";
    let v = json!({"resourceType": "Patient", "id": MARK, "meta": {"profile": [format!("urn:{MARK}"),
            "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]},
        "extension": [{"url": format!("urn:{MARK}"), "valueString": MARK},
            {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex", "valueCode": MARK}],
        "maritalStatus": {"coding": [{"system": MARK, "code": MARK, "display": MARK},
            {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": MARK}]},
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": MARK}], "text": MARK}}],
        "contact": [{"period": {"start": "2020-01-02", "end": "2020-01-01"}}],
        "managingOrganization": {"reference": format!("Practitioner/{MARK}")}});
    let world = Stored::default();
    let us_core = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient";
    let found = validate(doc(&v), &asked(&world, &[us_core]), &world);
    assert!(errors(&found).len() >= 6, "{found:?}");
    for i in &found {
        assert!(!i.path.contains(MARK) && !i.text.contains(MARK), "{i:?}");
    }
}

#[test]
fn every_claimable_profile_is_read() {
    let world = Stored::default();
    let mut n = 0;
    for ty in ResourceType::all() {
        for url in claimable(ty) {
            let (url, version) = url.split_once('|').unwrap();
            let structure = world.structure(url, Some(version));
            assert!(structure.is_some(), "{url}");
            let structure = structure.unwrap();
            assert_eq!((&*structure.ty, structure.version.as_deref()), (ty.name(), Some(version)));
            n += 1;
        }
    }
    assert!(n > 80, "{n}");
}

/// Any JSON made of FHIR's own names and values that are none.
fn anything(word: &'static str) -> impl Strategy<Value = Value> {
    let names = vec![
        "id",
        "path",
        "sliceName",
        "min",
        "max",
        "type",
        "code",
        "profile",
        "targetProfile",
        "slicing",
        "discriminator",
        "rules",
        "binding",
        "strength",
        "valueSet",
        "constraint",
        "key",
        "expression",
        "patternCoding",
        "fixedString",
        "extension",
        "url",
        "concept",
        "filter",
        "include",
        "system",
        "value",
        "resourceType",
        "contained",
        "meta",
    ];
    let words = vec![
        word,
        "Observation",
        "Observation.value[x]",
        "Observation.component:a.code",
        "value",
        "$this",
        "resolve()",
        "extension('urn:x')",
        "closed",
        "required",
        OURS,
        "1",
        "Coding",
        "Reference",
        "conformsTo('urn:profile')",
        "http://hl7.org/fhir/ValueSet/age-units",
    ];
    let leaf = prop_oneof![
        proptest::sample::select(words).prop_map(Value::from),
        (0..3u8).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(proptest::sample::select(names.clone()), inner, 0..6)
                .prop_map(|m| Value::Object(
                    m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
                )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_stored_or_sent_ends_in_issues_without_values(
        elements in prop::collection::vec(anything("a"), 0..6),
        compose in anything("a"),
        more in anything("Zzyzx"),
    ) {
        let mut world = profile(Value::from(elements));
        let mut body = observation(json!({"component": [more.clone()], "contained": [more.clone()]}));
        body["code"] = more;
        let set = ValueSet::of(doc(&json!({"compose": {"include": [compose.clone()]}, "expansion": compose.clone()})).root());
        let _ = phial_fhir::terminology::expand(&world, &set);
        let _ = CodeSystem::of(doc(&json!({"url": "u", "content": "complete", "concept": [compose]})).root());
        let profiles = world.structure(OURS, None).into_iter().collect();
        let asked = Asked { profiles, claimed: true, now: None, budget: Some(1_000_000) };
        for i in validate(doc(&body), &asked, &world) {
            prop_assert!(!i.text.contains("Zzyzx") && !i.path.contains("Zzyzx"), "{i:?}");
        }
        world.0.clear();
    }
}

/// What these examples get wrong: file, path and code of the error, why.
const KNOWN: &str = include_str!("../suites/profile-examples.txt");

#[test]
fn hl7s_and_us_cores_own_examples_hold_but_for_the_listed() {
    let Some(us_core) = shared("data/examples/us-core-examples.tar.xz") else { return };
    let Some(r4) = shared("data/examples/hl7-r4-instances") else { return };
    let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let xz = liblzma::read::XzDecoder::new(fs::File::open(us_core).unwrap());
    for entry in tar::Archive::new(xz).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if name.ends_with(".json")
            && (name.starts_with("us-core-700/") || name.starts_with("us-core-610/"))
        {
            all.insert(name, bytes);
        }
    }
    assert!(all.len() > 100);
    for file in fs::read_dir(r4).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        all.insert(format!("r4/{name}"), fs::read(&path).unwrap());
    }
    let world = Stored::default();
    let mut known: BTreeMap<&str, &str> = KNOWN
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.split_once('\t').unwrap())
        .collect();
    let (mut new, mut good, mut claimed) = (String::new(), 0, 0);
    for (name, bytes) in &all {
        let Ok(doc) = Doc::parse(bytes, &Limits::default()) else { continue };
        let mut against = asked(&world, &[]);
        if name.starts_with("us-core-610/") {
            // A claim without a version means the newest: here it means this one.
            against.claimed = false;
            let claims = doc.root().member("meta").and_then(|m| m.member("profile"));
            let urls: Vec<String> = claims
                .into_iter()
                .flat_map(|c| c.items())
                .map(|c| c.as_str().unwrap().into_owned())
                .collect();
            against.profiles =
                urls.iter().filter_map(|u| held_structure(u, Some("6.1.0"), &world)).collect();
            claimed += against.profiles.len();
        }
        let found = validate(doc, &against, &world);
        // Whatever an invariant asks, it can be evaluated.
        let open = found.iter().find(|i| i.text.contains("can't be evaluated"));
        assert!(open.is_none(), "{name}: {open:?}");
        let found = found.iter().find(|i| i.severity == Severity::Error);
        match found {
            None => good += 1,
            Some(i) => {
                if known.remove(name.as_str()).is_none() {
                    new.push_str(&format!("{name}\t{} {}: {}\n", i.path, i.code.code(), i.text));
                }
            }
        }
    }
    println!("{good} of {} examples are without error", all.len());
    assert!(claimed > 100, "{claimed} profiles of US Core 6.1.0");
    assert!(new.is_empty(), "not in the list:\n{new}");
    assert!(known.is_empty(), "in the list, and they hold: {known:?}");
}
