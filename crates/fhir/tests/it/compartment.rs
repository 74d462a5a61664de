//! Whom a record of each type is about: every parameter of R4's patient compartment
//! resolves a patient, in a resource that is made from the definitions.

use std::collections::BTreeSet;

use phial_fhir::compartment::{parameters_of, patients};
use phial_fhir::definitions::{
    Form, SearchParam, Strength, TypeId, TypeKind, compartment, search_params,
};
use phial_fhir::{Doc, Limits, ResourceType, Valid, validate};
use serde_json::{Map, Value, json};

/// A value of the type with no more in it than the definitions demand.
fn least(ty: TypeId) -> Value {
    if let Some(form) = ty.def().form() {
        return match form {
            Form::Boolean => json!(true),
            Form::Integer | Form::PositiveInt | Form::UnsignedInt | Form::Decimal => json!(1),
            Form::Date | Form::DateTime => json!("2026-01-01"),
            Form::Instant => json!("2026-01-01T00:00:00Z"),
            Form::Time => json!("08:00:00"),
            Form::Base64Binary => json!("AAAA"),
            Form::Oid => json!("urn:oid:1.2.3"),
            Form::Uuid => json!("urn:uuid:c757873d-ec9a-4326-a141-556f43239520"),
            Form::Uri | Form::Url | Form::Canonical => json!("http://example.org/x"),
            Form::Xhtml => json!("<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"),
            Form::Code | Form::Id | Form::Markdown | Form::String => json!("x"),
        };
    }
    let mut object = Map::new();
    if ty.resource().is_some() {
        object.insert("resourceType".to_owned(), json!(ty.name()));
    }
    for element in ty.elements().iter().filter(|e| e.min > 0) {
        let t = element.types[0];
        let name = if element.choice {
            let (head, tail) = t.name().split_at(1);
            format!("{}{}{tail}", element.name, head.to_ascii_uppercase())
        } else {
            element.name.to_owned()
        };
        let listed = element.binding.filter(|b| b.strength == Strength::Required);
        let code = listed.and_then(|b| b.set().systems.first().map(|(_, codes)| codes[0]));
        let value = match (code, t.name()) {
            (Some(code), "code") => json!(code),
            _ => least(t),
        };
        object.insert(name, if element.many { json!([value]) } else { value });
    }
    if object.is_empty() && ty.kind() == TypeKind::Complex {
        let text = if ty.name() == "Reference" { "display" } else { "id" };
        object.insert(text.to_owned(), json!("x"));
    }
    Value::Object(object)
}

/// Puts a reference to a patient where the path leads, in what is already there.
fn put(into: &mut Value, ty: TypeId, path: &[&str]) {
    let (name, rest) = path.split_first().unwrap();
    let member = ty.member(name).unwrap_or_else(|| panic!("{ty:?}.{name}"));
    let many = member.element().many;
    let slot = &mut into[*name];
    if rest.is_empty() {
        let reference = json!({"reference": "Patient/p9"});
        *slot = if many { json!([reference]) } else { reference };
        return;
    }
    if slot.is_null() {
        let value = least(member.ty);
        *slot = if many { json!([value]) } else { value };
    }
    put(if many { &mut slot[0] } else { slot }, member.ty, rest);
}

fn valid(value: &Value) -> Result<Valid, String> {
    Doc::parse(value.to_string().as_bytes(), &Limits::default())
        .and_then(validate)
        .map_err(|issues| format!("{value}: {issues:?}"))
}

/// The paths, below a resource of this type, that the parameter leads along.
fn paths(param: &SearchParam, ty: ResourceType) -> Vec<Vec<&'static str>> {
    let head = format!("{}.", ty.name());
    param
        .expression
        .split('|')
        .filter_map(|alternative| alternative.trim().strip_prefix(head.as_str()))
        .map(|path| path.split(".where(").next().unwrap().split('.').collect())
        .collect()
}

#[test]
fn every_parameter_of_the_compartment_resolves_a_patient() {
    let (mut types, mut places) = (BTreeSet::new(), 0);
    for ty in ResourceType::all() {
        for code in parameters_of(ty) {
            let param = search_params()
                .iter()
                .find(|p| p.code == *code && p.bases.contains(&ty.type_id()))
                .unwrap_or_else(|| panic!("{ty} has no parameter {code}"));
            let paths = paths(param, ty);
            assert!(!paths.is_empty(), "{ty} {code}: {}", param.expression);
            for path in paths {
                let mut resource = least(ty.type_id());
                let before = valid(&resource).map(|v| patients(&v)).unwrap_or_default();
                assert_eq!(before, [], "{ty} without a patient");
                put(&mut resource, ty.type_id(), &path);
                // Invariants may ask for more than the definitions' cardinalities do.
                let found = patients(&valid(&resource).unwrap());
                let found: Vec<&str> = found.iter().map(|p| p.as_str()).collect();
                assert_eq!(found, ["p9"], "{ty}.{}", path.join("."));
                places += 1;
            }
            types.insert(ty);
        }
    }
    assert_eq!((types.len(), places), (71, 109));
}

#[test]
fn the_compartment_is_hl7s() {
    let Some(file) = crate::shared("data/definitions/r4-core/CompartmentDefinition-patient.json")
    else {
        return;
    };
    let definition: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let patient = ResourceType::from_name("Patient").unwrap();
    let mut seen = 0;
    for entry in definition["resource"].as_array().unwrap() {
        let ty = ResourceType::from_name(entry["code"].as_str().unwrap()).unwrap();
        let codes: Vec<&str> =
            entry["param"].as_array().into_iter().flatten().map(|c| c.as_str().unwrap()).collect();
        assert_eq!(compartment(patient, ty), codes, "{ty}");
        if !codes.is_empty() {
            assert_eq!(parameters_of(ty), codes, "{ty}");
        }
        seen += 1;
    }
    assert_eq!(seen, ResourceType::all().len() - 1, "Parameters is in no compartment");
}

#[test]
fn records_beside_the_compartment_are_about_whom_they_name() {
    for (text, expected) in [
        (
            r#"{"resourceType":"Device","patient":{"reference":"Patient/a"},"serialNumber":"7"}"#,
            &["a"][..],
        ),
        (r#"{"resourceType":"Device","serialNumber":"7"}"#, &[]),
        (
            r#"{"resourceType":"Task","status":"draft","intent":"plan","for":{"reference":"Patient/a"},"owner":{"reference":"Patient/b"}}"#,
            &["a", "b"],
        ),
        (
            r#"{"resourceType":"Task","status":"draft","intent":"plan","for":{"reference":"Group/a"}}"#,
            &[],
        ),
    ] {
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let found = patients(&validate(doc).unwrap());
        assert_eq!(found.iter().map(|p| p.as_str()).collect::<Vec<_>>(), expected, "{text}");
    }
}
