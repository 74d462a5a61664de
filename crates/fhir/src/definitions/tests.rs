//! The tables hold what HL7's definitions hold.

use super::*;

fn ty(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap()
}

#[test]
fn the_counts_are_those_of_r4() {
    assert_eq!(ResourceType::all().len(), 146);
    // Seven are US Core's.
    assert_eq!(search_params().len(), 1375 + 7);
    assert!(elements().len() < usize::from(u16::MAX));
    let of = |k| types().iter().filter(|t| t.kind == k).count();
    assert_eq!(of(TypeKind::Abstract), 4);
    assert_eq!(of(TypeKind::Primitive), 20);
    assert_eq!(of(TypeKind::Complex), 39);
}

#[test]
fn every_line_of_the_tables_is_read() {
    let own = include_str!("elements.txt").lines().filter(|l| !l.starts_with(['#', '='])).count();
    let read: usize = (0..types().len())
        .filter_map(TypeId::from_index)
        .map(|t| t.elements().len() - t.def().base.map_or(0, |b| b.elements().len()))
        .sum();
    assert_eq!(own, read);
    assert!(elements().iter().all(|e| !e.types.is_empty()));
    assert!(types().iter().all(|t| t.base.is_some() || matches!(t.name, "Element" | "Resource")));
}

#[test]
fn every_primitive_has_a_form_and_every_type_fits_a_set_of_128() {
    for t in types() {
        assert_eq!(t.form.is_some(), t.kind == TypeKind::Primitive, "{}", t.name);
        assert!(t.elements.len() <= 128, "{}", t.name);
    }
    assert_eq!(ty("Patient.link").def().required.count_ones(), 2);
    let element = ty("Patient").element("birthDate").unwrap();
    assert_eq!(ty("Patient").elements()[element.position()].id, element.id);
}

#[test]
fn resource_numbers_stay_as_sealed() {
    for (n, name) in
        [(0, "Account"), (13, "CarePlan"), (102, "Patient"), (145, "VisionPrescription")]
    {
        let t = ResourceType::from_number(n).unwrap();
        assert_eq!(t.name(), name);
        assert_eq!(ResourceType::from_name(name), Some(t));
    }
    assert_eq!(ResourceType::from_number(146), None);
    assert_eq!(ResourceType::from_name("DomainResource"), None);
    assert_eq!(ResourceType::from_name("HumanName"), None);
}

#[test]
fn parameter_numbers_stay_as_sealed() {
    let numbers = [
        (0, "Account-identifier"),
        (500, "Evidence-composed-of"),
        (1374, "medications-status"),
        (1381, "http://hl7.org/fhir/us/core/SearchParameter/us-core-race"),
    ];
    for (n, url) in numbers {
        assert_eq!(search_param(n).unwrap().url, url);
    }
    assert!(search_param(1382).is_none());
    for (i, p) in search_params().iter().enumerate() {
        assert_eq!(usize::from(p.number), i);
        assert!(!p.bases.is_empty(), "{}", p.url);
    }
}

#[test]
fn members_are_found_by_type_and_name() {
    let m = ty("Observation").member("valueQuantity").unwrap();
    assert_eq!((m.ty, m.element().name, m.element().choice), (ty("Quantity"), "value", true));
    assert_eq!(m.element().path(), "Observation.value[x]");
    let m = ty("Patient.contact").member("name").unwrap();
    assert_eq!(m.ty, ty("HumanName"));
    let shared = ty("Observation.component").member("referenceRange").unwrap();
    assert_eq!(shared.ty, ty("Observation.referenceRange"));
    assert_eq!(ty("Patient").member("id").unwrap().ty, ty("id"));
    assert_eq!(ty("HumanName").member("id").unwrap().ty, ty("string"));
    assert!(ty("Patient").member("value").is_none());
    assert!(ty("Observation").member("value").is_none());
    assert!(ty("Age").member("code").is_some());
    for e in elements() {
        if !e.choice {
            assert_eq!(e.owner.member(e.name).map(|m| m.element().id), Some(e.id));
        }
    }
}

#[test]
fn bindings_name_listed_sets() {
    let gender = ty("Patient").element("gender").unwrap().binding.unwrap();
    assert_eq!(gender.strength, Strength::Required);
    assert!(gender.set().has_code("female") && !gender.set().has_code("F"));
    assert!(gender.set().has_coding("http://hl7.org/fhir/administrative-gender", "female"));
    let mime = ty("Attachment").element("contentType").unwrap().binding.unwrap();
    assert!(!mime.set().listed());
}

#[test]
fn references_know_their_targets() {
    let gp = ty("Patient").element("generalPractitioner").unwrap();
    let names: Vec<&str> = gp.targets.iter().map(|t| t.name()).collect();
    assert_eq!(names, ["Organization", "Practitioner", "PractitionerRole"]);
    assert!(ty("List.entry").element("item").unwrap().targets.is_empty());
}

#[test]
fn compartments_are_read() {
    let of = |name| ResourceType::from_name(name).unwrap();
    assert_eq!(
        compartment(of("Patient"), of("AllergyIntolerance")),
        ["patient", "recorder", "asserter"]
    );
    assert!(compartment(of("Patient"), of("Organization")).is_empty());
    assert_eq!(compartment(of("Practitioner"), of("Account")), ["subject"]);
}

#[test]
fn composites_know_their_parts() {
    let p = search_params()
        .iter()
        .find(|p| p.code == "code-value-quantity" && p.bases == [ty("Observation")])
        .unwrap();
    let parts: Vec<_> =
        p.components.iter().map(|c| (search_param(c.number).unwrap().code, c.expression)).collect();
    assert_eq!(parts, [("code", "code"), ("value-quantity", "value.as(Quantity)")]);
}
