//! The data-class map: which class every element of every R4 type is of (design §5).
//!
//! The map itself is `class/map.txt`. It is versioned, because a record keeps the split
//! it was sealed under. This module does not decide who sees what. What it does not know
//! is notes, the class that fewest may see.

mod states;

use std::sync::OnceLock;

use phial_base::{ClassSet, DataClass};

use crate::definitions::ResourceType;
use crate::json::Node;
pub(crate) use states::{Child, StateId, States, Within, json_name};

/// The version of the map. Raise it with every change of `map.txt` that moves an element
/// from one class to another: records sealed under the older one are then resealed.
pub const CLASS_MAP_VERSION: u16 = 1;

pub(crate) fn states() -> &'static States {
    static STATES: OnceLock<States> = OnceLock::new();
    STATES.get_or_init(states::build)
}

/// Every class that an element of the type can have, and identifiers may turn out to be
/// a government's. Contained resources and extensions are not counted: a contained
/// resource has its own type's classes, an unknown extension is notes.
#[must_use]
pub fn classes_possible(ty: ResourceType) -> ClassSet {
    states().possible(ty)
}

/// The class of the element at a path of JSON member names below a resource of type
/// `ty`, such as `["contact", "name"]`. For an identifier that depends on its content,
/// see [`is_government`]. An unknown path, and any extension, is notes.
#[must_use]
pub fn class_of(ty: ResourceType, path: &[&str]) -> DataClass {
    child_at(ty, path).map_or(DataClass::Notes, |c| c.class)
}

/// Every class that the element at the path, or anything in it, can have.
#[must_use]
pub fn classes_at(ty: ResourceType, path: &[&str]) -> ClassSet {
    let notes = ClassSet::of(DataClass::Notes);
    child_at(ty, path).map_or(notes, |c| states().under(c))
}

/// As [`classes_at`], where identifiers on the way and within are none of a government's:
/// whoever sees one knows.
pub(crate) fn classes_seen_at(ty: ResourceType, path: &[&str]) -> ClassSet {
    let notes = ClassSet::of(DataClass::Notes);
    child_at(ty, path).map_or(notes, |c| states().under_plain(c))
}

/// The class of an extension by its url.
pub(crate) fn extension_class(url: &str) -> DataClass {
    states().extension(url)
}

/// Every class that an extension can have, known by its url or not.
#[must_use]
pub(crate) fn extension_classes() -> ClassSet {
    states().extension_classes()
}

pub(crate) fn child_at(ty: ResourceType, path: &[&str]) -> Option<Child> {
    let all = states();
    let (last, head) = path.split_last()?;
    let mut at = all.root(ty);
    for name in head {
        at = match all.child(at, name)?.within {
            Within::Object(s) | Within::Identifier(s, _) => s,
            Within::Primitive(_) | Within::Extension | Within::Resource => return None,
        };
    }
    all.child(at, last)
}

/// Systems of numbers that a government gives to a person.
const GOVERNMENT_SYSTEMS: [&str; 14] = [
    "http://hl7.org/fhir/sid/us-ssn",
    "http://hl7.org/fhir/sid/us-mbi",
    "http://hl7.org/fhir/sid/us-medicare",
    "http://hl7.org/fhir/sid/us-medicaid",
    "http://hl7.org/fhir/sid/us-itin",
    "http://terminology.hl7.org/NamingSystem/cmsMBI",
    "http://terminology.hl7.org/NamingSystem/ssn",
    "http://standardhealthrecord.org/fhir/StructureDefinition/passportNumber",
    "urn:oid:2.16.840.1.113883.4.1",
    "urn:oid:2.16.840.1.113883.4.2",
    "urn:oid:2.16.840.1.113883.4.572",
    "urn:oid:2.16.840.1.113883.4.927",
    "2.16.840.1.113883.4.1",
    "urn:us-ssn",
];

/// Roots under which each state or country has its own number: driving licences,
/// passports.
const GOVERNMENT_ROOTS: [&str; 5] = [
    "urn:oid:2.16.840.1.113883.4.3",
    "urn:oid:2.16.840.1.113883.4.330",
    "http://hl7.org/fhir/sid/passport-",
    "urn:us-dl",
    "http://hl7.org/fhir/sid/us-driver",
];

/// Identifier types (HL7 v2 table 0203) of numbers that a government gives to a person:
/// social security, driving licence, passport, social beneficiary, Medicare, Medicaid,
/// tax, national and citizen's numbers, military and resident ids.
const GOVERNMENT_TYPES: [&str; 16] = [
    "SS", "SB", "DL", "PPN", "DP", "MC", "MA", "TAX", "NI", "NNxxx", "CZ", "MI", "PRC", "WP", "VS",
    "BCT",
];

/// Whether this Identifier is one that a government gave to a person.
#[must_use]
pub fn is_government(identifier: Node<'_>) -> bool {
    let system = identifier.member("system").and_then(Node::as_str);
    if let Some(system) = system {
        let rooted = |root: &&str| {
            system.strip_prefix(*root).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('.') || !root.starts_with("urn:oid:")
            })
        };
        if GOVERNMENT_SYSTEMS.contains(&&*system) || GOVERNMENT_ROOTS.iter().any(rooted) {
            return true;
        }
    }
    let codings = identifier.member("type").and_then(|t| t.member("coding"));
    codings.into_iter().flat_map(Node::items).any(|c| {
        c.member("code").and_then(Node::as_str).is_some_and(|code| {
            GOVERNMENT_TYPES.contains(&&*code) || code.starts_with("NN") && code.len() == 5
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_of_every_type_is_classed() {
        assert_eq!(states().unclassified, Vec::<String>::new(), "give these a line in map.txt");
    }

    #[test]
    fn every_line_of_the_map_speaks_of_something() {
        assert_eq!(states().idle, Vec::<String>::new());
    }

    #[test]
    fn elements_have_the_class_that_policies_count_on() {
        use DataClass::*;
        for (path, class) in [
            ("Patient.name", Demographic),
            ("Patient.name.family", Demographic),
            ("Patient.telecom.value", Contact),
            ("Patient.address.line", Contact),
            ("Patient.birthDate", Demographic),
            ("Patient.photo", Attachment),
            ("Patient.identifier.value", Identifier),
            ("Patient.text.div", Notes),
            ("Patient.contact.name.family", Demographic),
            ("Patient.contact.telecom.value", Contact),
            ("Patient.generalPractitioner.reference", Administrative),
            ("Patient.generalPractitioner.display", Demographic),
            ("Condition.code.coding.display", Clinical),
            ("Condition.code.text", Clinical),
            ("Condition.note.text", Notes),
            ("Condition.note.authorReference.display", Notes),
            ("Condition.subject.reference", Administrative),
            ("Condition.subject.display", Demographic),
            ("Condition.recordedDate", Administrative),
            ("Condition.onsetDateTime", Clinical),
            ("Condition.id", Administrative),
            ("Condition.meta.security", Administrative),
            ("Observation.valueQuantity.value", Laboratory),
            ("Observation.component.valueString", Laboratory),
            ("Observation.code.coding.code", Laboratory),
            ("Claim.diagnosis.diagnosisCodeableConcept.coding.code", Clinical),
            ("Claim.item.unitPrice.value", Financial),
            ("Claim.item.productOrService.coding.code", Financial),
            ("Claim.item.bodySite", Clinical),
            ("Claim.total.value", Financial),
            ("Claim.identifier.value", Identifier),
            ("MedicationRequest.medicationCodeableConcept.coding", Medication),
            ("MedicationRequest.dosageInstruction.text", Notes),
            ("MedicationRequest.dosageInstruction.doseAndRate.doseQuantity.value", Medication),
            ("DiagnosticReport.presentedForm.data", Attachment),
            ("DocumentReference.content.attachment.data", Attachment),
            ("Binary.data", Attachment),
            ("Communication.payload.contentString", Notes),
            ("Communication.payload.contentAttachment.url", Attachment),
            ("Appointment.start", Scheduling),
            ("Appointment.comment", Notes),
            ("Appointment.reasonCode.text", Clinical),
            ("Encounter.period.start", Scheduling),
            ("Encounter.type.coding.code", Clinical),
            ("Encounter.class.code", Administrative),
            ("Practitioner.name.family", Administrative),
            ("Practitioner.address.city", Administrative),
            ("Organization.contact.name.family", Administrative),
            ("Organization.contact.telecom.value", Administrative),
            ("Location.address.line", Administrative),
            ("ValueSet.description", Administrative),
            ("QuestionnaireResponse.item.item.answer.valueString", Notes),
            ("QuestionnaireResponse.item.answer.item.answer.valueCoding.code", Clinical),
            ("Patient.nothing", Notes),
            ("Patient.extension", Notes),
        ] {
            let parts: Vec<&str> = path.split('.').collect();
            let ty = ResourceType::from_name(parts[0]).unwrap();
            assert_eq!(class_of(ty, &parts[1..]), class, "{path}");
        }
    }

    #[test]
    fn possible_classes_are_those_of_the_elements() {
        let of = |t| classes_possible(ResourceType::from_name(t).unwrap());
        assert!(of("Patient").has(DataClass::GovernmentIdentifier));
        assert!(!of("Patient").has(DataClass::Laboratory));
        assert!(of("Condition").has(DataClass::Notes));
        assert!(!of("Condition").has(DataClass::Financial));
        assert!(of("Claim").covers(ClassSet::of(DataClass::Financial).with(DataClass::Clinical)));
    }

    #[test]
    fn numbers_of_a_government_are_told_by_system_or_type() {
        for (json, is) in [
            (r#"{"system":"http://hl7.org/fhir/sid/us-ssn","value":"1"}"#, true),
            (r#"{"system":"urn:oid:2.16.840.1.113883.4.3.25","value":"1"}"#, true),
            (r#"{"system":"urn:oid:2.16.840.1.113883.4.36","value":"1"}"#, false),
            (r#"{"system":"http://hl7.org/fhir/sid/passport-USA","value":"1"}"#, true),
            (r#"{"type":{"coding":[{"code":"DL"}]},"system":"http://x","value":"1"}"#, true),
            (r#"{"type":{"coding":[{"code":"MR"}]},"value":"1"}"#, false),
            (r#"{"system":"http://hospital.example/mrn","value":"1"}"#, false),
            (r#"{"value":"1"}"#, false),
        ] {
            let doc = crate::Doc::parse(json.as_bytes(), &crate::Limits::default()).unwrap();
            assert_eq!(is_government(doc.root()), is, "{json}");
        }
    }
}
