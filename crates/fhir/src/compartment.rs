//! Whom a record is about: the patients in whose compartments R4 puts it, and those whom
//! types outside that compartment name as their subject (decision 0023). Their keys seal
//! it, so that it can be forgotten with them.
//!
//! A reference counts as it stands in `Reference.reference`, relative; nothing is looked
//! up, and a URL of another server names none of our patients.
//!
//! Source: <https://hl7.org/fhir/R4/compartmentdefinition-patient.html>

use std::collections::BTreeSet;

use phial_base::LogicalId;

use crate::definitions::{ResourceType, compartment};
use crate::json::Node;
use crate::search::references;
use crate::validate::Valid;

/// Types that R4's patient compartment leaves out though they can be about a patient, and
/// the parameters that say about whom.
const BESIDE: [(&str, &[&str]); 5] = [
    ("Contract", &["subject", "signer"]),
    ("Device", &["patient"]),
    ("GuidanceResponse", &["subject"]),
    ("Task", &["subject", "owner", "requester"]),
    ("VerificationResult", &["target"]),
];

/// The codes of the parameters that say which patients a record of this type is about,
/// beside the Patient itself.
#[must_use]
pub fn parameters_of(ty: ResourceType) -> &'static [&'static str] {
    let listed =
        ResourceType::from_name("Patient").map_or(&[][..], |patient| compartment(patient, ty));
    if listed.is_empty() {
        BESIDE.iter().find(|(name, _)| *name == ty.name()).map_or(&[], |(_, codes)| codes)
    } else {
        listed
    }
}

/// The patients that the record is about: the Patient itself, and those that
/// [`parameters_of`] its type lead to, in the record, its contained resources
/// and the resources of a Bundle or Parameters. Sorted, each once.
#[must_use]
pub fn patients(v: &Valid) -> Vec<LogicalId> {
    let mut found = BTreeSet::new();
    if let Some(patient) = ResourceType::from_name("Patient") {
        collect(v.doc().root(), v.resource_type(), patient, &mut found);
    }
    found.into_iter().collect()
}

fn collect(
    resource: Node<'_>,
    ty: ResourceType,
    patient: ResourceType,
    found: &mut BTreeSet<LogicalId>,
) {
    let mut add = |id: &str| {
        if let Ok(id) = LogicalId::new(id) {
            found.insert(id);
        }
    };
    if ty == patient
        && let Some(id) = resource.member("id").and_then(Node::as_str)
    {
        add(&id);
    }
    let codes = parameters_of(ty);
    if !codes.is_empty() {
        for (target, id) in references(resource, ty, codes) {
            if target == patient {
                add(&id);
            }
        }
    }
    for inner in resource.member("contained").into_iter().flat_map(Node::items) {
        if let Some(ty) = type_of(inner) {
            // The id of a contained Patient is local to its container.
            if ty != patient {
                collect(inner, ty, patient, found);
            }
        }
    }
    match ty.name() {
        "Bundle" => {
            for entry in resource.member("entry").into_iter().flat_map(Node::items) {
                embedded(entry.member("resource"), patient, found);
            }
        }
        "Parameters" => parameters(resource.member("parameter"), patient, found),
        _ => {}
    }
}

fn parameters(list: Option<Node<'_>>, patient: ResourceType, found: &mut BTreeSet<LogicalId>) {
    for parameter in list.into_iter().flat_map(Node::items) {
        embedded(parameter.member("resource"), patient, found);
        parameters(parameter.member("part"), patient, found);
    }
}

fn embedded(resource: Option<Node<'_>>, patient: ResourceType, found: &mut BTreeSet<LogicalId>) {
    if let Some((resource, ty)) = resource.and_then(|r| Some((r, type_of(r)?))) {
        collect(resource, ty, patient, found);
    }
}

fn type_of(resource: Node<'_>) -> Option<ResourceType> {
    ResourceType::from_name(&resource.member("resourceType")?.as_str()?)
}
