//! Value sets and code systems: those held, and those that somebody stores.

use std::collections::HashMap;
use std::sync::Arc;

use phial_fhir::definitions;
use phial_fhir::terminology::{
    Answer, CodeSystem, HELD, NotHeld, Source, Trouble, ValueSet, above, below, contains, expand,
    subsumes,
};
use phial_fhir::{Doc, Limits};
use serde_json::{Value, json};

/// What somebody stored, beside what is held.
#[derive(Default)]
struct Stored {
    sets: HashMap<String, Arc<ValueSet>>,
    systems: HashMap<String, Arc<CodeSystem>>,
}

impl Source for Stored {
    fn value_set(&self, url: &str, version: Option<&str>) -> Option<Arc<ValueSet>> {
        self.sets.get(url).cloned().or_else(|| HELD.value_set(url, version))
    }

    fn code_system(&self, url: &str, version: Option<&str>) -> Option<Arc<CodeSystem>> {
        self.systems.get(url).cloned().or_else(|| HELD.code_system(url, version))
    }
}

fn doc(v: &Value) -> Doc {
    Doc::parse(v.to_string().as_bytes(), &Limits::default()).unwrap()
}

const ANIMALS: &str = "urn:animals";

fn stored() -> Stored {
    let mut out = Stored::default();
    let system = json!({"resourceType": "CodeSystem", "url": ANIMALS, "content": "complete",
        "caseSensitive": false,
        "property": [
            {"code": "up", "uri": "http://hl7.org/fhir/concept-properties#parent", "type": "code"},
            {"code": "legs", "type": "integer"}],
        "concept": [
            {"code": "animal", "property": [{"code": "notSelectable", "valueBoolean": true}],
             "concept": [
                {"code": "bird", "display": "Bird", "property": [{"code": "legs", "valueInteger": 2}],
                 "concept": [{"code": "owl", "display": "Owl"}]},
                {"code": "dog", "display": "Dog", "property": [{"code": "legs", "valueInteger": 4}]}]},
            {"code": "pet"},
            {"code": "parrot", "property": [{"code": "up", "valueCode": "bird"},
                {"code": "up", "valueCode": "pet"}, {"code": "status", "valueCode": "retired"}]}]});
    let system = CodeSystem::of(doc(&system).root()).unwrap();
    out.systems.insert(ANIMALS.to_owned(), Arc::new(system));
    out
}

fn set(compose: Value) -> ValueSet {
    ValueSet::of(
        doc(&json!({"resourceType": "ValueSet", "url": "urn:set", "compose": compose})).root(),
    )
}

fn filter(property: &str, op: &str, value: &str) -> Value {
    json!({"include": [{"system": ANIMALS,
        "filter": [{"property": property, "op": op, "value": value}]}]})
}

/// The codes of the set; of one that has none because of what is missing, that.
fn codes(source: &Stored, set: &ValueSet) -> String {
    match expand(source, set) {
        Ok(codes) => {
            for c in &codes {
                assert_eq!(contains(source, set, Some(&c.system), &c.code), Answer::Yes, "{c:?}");
                assert_eq!(contains(source, set, None, &c.code), Answer::Yes, "{c:?}");
            }
            codes.iter().map(|c| &*c.code).collect::<Vec<_>>().join(" ")
        }
        Err(Trouble::TooMany) => "too many".to_owned(),
        Err(Trouble::NotHeld(what)) => {
            let what: std::collections::BTreeSet<_> = what.iter().map(NotHeld::text).collect();
            what.into_iter().collect::<Vec<_>>().join("; ")
        }
    }
}

fn check(compose: Value, expected: &str) {
    let shown = compose.to_string();
    assert_eq!(codes(&stored(), &set(compose)), expected, "{shown}");
}

#[test]
fn a_composition_means_what_the_specification_says() {
    let whole = json!({"system": ANIMALS});
    check(json!({"include": [whole]}), "bird owl dog pet parrot");
    check(
        json!({"include": [{"system": ANIMALS, "concept": [{"code": "dog"}, {"code": "owl"}]}]}),
        "dog owl",
    );
    check(
        json!({"include": [whole], "exclude": [{"system": ANIMALS, "concept": [{"code": "dog"}]}]}),
        "bird owl pet parrot",
    );
    check(filter("concept", "is-a", "bird"), "bird owl parrot");
    check(filter("concept", "descendent-of", "animal"), "bird owl dog parrot");
    check(filter("concept", "is-not-a", "bird"), "dog pet");
    check(filter("concept", "generalizes", "parrot"), "bird pet parrot");
    check(filter("legs", "=", "4"), "dog");
    check(filter("legs", "in", "2, 4"), "bird dog");
    check(filter("legs", "exists", "true"), "bird dog");
    check(filter("parent", "=", "bird"), "owl parrot");
    check(filter("code", "regex", "[a-d].*"), "bird dog");
    check(filter("display", "regex", "O.l"), "owl");
    // A part of a match is no match.
    check(filter("code", "regex", "ow"), "");
    check(filter("concept", "is-a", "stone"), "");
    check(
        filter("concept", "child-of", "x"),
        "a code system that is needed is not held in such a way that it can be filtered so",
    );
    // The two conditions of one part hold at once, the value sets of one part as well.
    check(
        json!({"include": [{"system": ANIMALS, "filter": [
            {"property": "concept", "op": "is-a", "value": "bird"},
            {"property": "concept", "op": "is-not-a", "value": "pet"}]}]}),
        "bird owl",
    );
    check(
        json!({"include": [{"valueSet": ["http://hl7.org/fhir/ValueSet/administrative-gender"]}],
            "exclude": [{"system": "http://hl7.org/fhir/administrative-gender",
                "concept": [{"code": "other"}]}]}),
        "male female unknown",
    );
    check(
        json!({"include": [{"system": "http://hl7.org/fhir/administrative-gender",
            "concept": [{"code": "male"}, {"code": "nonsense"}],
            "valueSet": ["http://hl7.org/fhir/ValueSet/administrative-gender"]}]}),
        "male",
    );
}

#[test]
fn what_is_not_held_is_no_answer() {
    let sct = json!({"include": [{"system": "http://snomed.info/sct"}]});
    check(sct.clone(), "SNOMED CT is not held here");
    // A name that a caller made up does not come back.
    check(
        json!({"include": [{"system": "urn:made-up"}]}),
        "a code system that is needed is not held here",
    );
    check(json!({"include": [{"valueSet": ["urn:made-up"]}]}), "this value set is not held here");
    let s = stored();
    let both = set(json!({"include": [
        {"system": "http://snomed.info/sct"}, {"system": ANIMALS}]}));
    assert_eq!(contains(&s, &both, Some(ANIMALS), "dog"), Answer::Yes);
    assert_eq!(contains(&s, &both, Some(ANIMALS), "stone"), Answer::No);
    assert!(matches!(contains(&s, &both, Some("http://snomed.info/sct"), "1"), Answer::Unknown(_)));
    assert!(matches!(contains(&s, &both, None, "stone"), Answer::Unknown(_)));
    // What is excluded by something unknown is unknown too.
    let without = set(json!({"include": [{"system": ANIMALS}],
        "exclude": [{"valueSet": ["urn:made-up"]}]}));
    assert!(matches!(contains(&s, &without, Some(ANIMALS), "dog"), Answer::Unknown(_)));
    assert_eq!(contains(&s, &without, Some(ANIMALS), "stone"), Answer::No);
    // An expansion that came along answers instead, unless it is a page.
    for (total, expected) in [(1, "7"), (2, "SNOMED CT is not held here")] {
        let v = json!({"resourceType": "ValueSet", "url": "urn:set", "compose": sct, "expansion": {
            "timestamp": "2026-01-01", "total": total,
            "contains": [{"system": "http://snomed.info/sct", "code": "7"}]}});
        assert_eq!(codes(&s, &ValueSet::of(doc(&v).root())), expected);
    }
}

#[test]
fn value_sets_that_import_each_other_come_to_an_end() {
    let mut s = stored();
    for (name, other) in [("urn:a", "urn:b"), ("urn:b", "urn:a")] {
        let v = json!({"resourceType": "ValueSet", "url": name, "compose": {"include": [
            {"valueSet": [other]}, {"valueSet": [other]}, {"valueSet": [other]}]}});
        s.sets.insert(name.to_owned(), Arc::new(ValueSet::of(doc(&v).root())));
    }
    let a = s.sets["urn:a"].clone();
    assert_eq!(codes(&s, &a), "this value set is not held here");
    assert!(matches!(contains(&s, &a, Some(ANIMALS), "dog"), Answer::Unknown(_)));
}

#[test]
fn hierarchies_are_walked_both_ways() {
    let s = stored();
    let list = |r: Result<Vec<Box<str>>, Trouble>| r.unwrap().join(" ");
    assert_eq!(list(below(&s, ANIMALS, "bird")), "bird owl parrot");
    assert_eq!(list(above(&s, ANIMALS, "parrot")), "animal bird pet parrot");
    assert_eq!(list(below(&s, ANIMALS, "stone")), "stone");
    assert!(below(&s, "http://snomed.info/sct", "1").is_err());
    assert_eq!(subsumes(&s, ANIMALS, "animal", "owl"), Answer::Yes);
    assert_eq!(subsumes(&s, ANIMALS, "owl", "animal"), Answer::No);
    let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    assert!(list(below(&HELD, act, "_ActEncounterCode")).split(' ').any(|c| c == "IMP"));
    // More parents than one, which v3 says by a property.
    assert_eq!(subsumes(&HELD, act, "IMP", "ACUTE"), Answer::Yes);
}

#[test]
fn the_tables_say_of_bound_value_sets_what_the_definitions_list() {
    let mut listed = 0;
    for e in definitions::elements() {
        let Some(binding) = e.binding else { continue };
        let set = binding.set();
        if !set.listed() {
            continue;
        }
        listed += 1;
        let held = HELD.value_set(set.url, None).unwrap();
        let mut codes: Vec<(String, String)> = set
            .systems
            .iter()
            .flat_map(|(s, codes)| codes.iter().map(|c| ((*s).to_owned(), (*c).to_owned())))
            .collect();
        // The older table has a version in the place of a code there.
        codes.retain(|(_, code)| code != "2.7");
        for (system, code) in &codes {
            assert_eq!(
                contains(&HELD, &held, Some(system), code),
                Answer::Yes,
                "{} {code}",
                set.url
            );
        }
        // An abstract code is a code of the set, and stands in no list to choose from.
        let Ok(all) = expand(&HELD, &held) else { continue };
        codes.retain(|(s, c)| {
            !HELD.code_system(s, None).is_some_and(|s| s.concept(c).is_some_and(|c| c.abstract_))
        });
        assert_eq!(all.len(), codes.len(), "{}", set.url);
    }
    assert!(listed > 500, "{listed}");
}

#[test]
fn every_table_entry_is_read_and_most_value_sets_can_be_listed() {
    let (mut lists, mut codes, mut missing) = (0, 0, 0);
    for url in HELD.value_sets() {
        let set = HELD.value_set(url, None).unwrap();
        assert_eq!(&*set.url, url);
        match expand(&HELD, &set) {
            Ok(all) => {
                lists += 1;
                codes += all.len();
            }
            Err(Trouble::NotHeld(_)) => missing += 1,
            Err(Trouble::TooMany) => unreachable!("{url}"),
        }
    }
    let systems: Vec<_> = HELD.code_systems().collect();
    for url in &systems {
        assert!(!HELD.code_system(url, None).unwrap().concepts().is_empty(), "{url}");
    }
    println!(
        "{lists} value sets with {codes} codes, {missing} hang on what is not held; {} systems",
        systems.len()
    );
    assert!(lists > 1100 && missing < 230, "{lists} {missing}");
    // Both versions of US Core.
    let race = "http://hl7.org/fhir/us/core/ValueSet/omb-race-category";
    assert!(
        HELD.value_set(race, Some("6.1.0")).is_some() && HELD.value_set(race, Some("9")).is_none()
    );
    assert_eq!(HELD.value_set(race, None).unwrap().version.as_deref(), Some("7.0.0"));
}
