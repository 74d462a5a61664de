//! The small FHIR shapes that every resource is made of. Every resource begins here,
//! so none can be without its HTEST label.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub(crate) const SNOMED: &str = "http://snomed.info/sct";
pub(crate) const LOINC: &str = "http://loinc.org";
pub(crate) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
pub(crate) const ICD10: &str = "http://hl7.org/fhir/sid/icd-10-cm";
pub(crate) const CVX: &str = "http://hl7.org/fhir/sid/cvx";
pub(crate) const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";
const UCUM: &str = "http://unitsofmeasure.org";
const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem/";

/// One resource under construction; members keep the order in which they are set.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    kind: &'static str,
    id: String,
    members: Map<String, Value>,
}

impl Resource {
    /// A resource of a type, labelled HTEST and with the sensitivity labels given
    /// (v3-ActCode codes).
    pub(crate) fn new(kind: &'static str, id: String, labels: &[&str]) -> Self {
        let mut members = Map::new();
        members.insert("resourceType".to_owned(), kind.into());
        members.insert("id".to_owned(), id.as_str().into());
        members.insert("meta".to_owned(), json!({ "security": security(labels) }));
        let mut resource = Resource { kind, id, members };
        if let Some(profile) = profile(kind) {
            resource.conforms_to(&format!("{US_CORE}{profile}"));
        }
        resource
    }

    /// Says in `meta.profile` which profile the resource keeps to.
    pub(crate) fn conforms_to(&mut self, profile: &str) -> &mut Self {
        if let Some(Value::Object(meta)) = self.members.get_mut("meta") {
            // Profile before security, as in the definition of Meta.
            let security = meta.shift_remove("security");
            meta.insert("profile".to_owned(), json!([profile]));
            meta.insert("security".to_owned(), security.unwrap_or_default());
        }
        self
    }

    /// Sets one member.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Sets one member when there is a value.
    pub(crate) fn set_some(&mut self, name: &str, value: Option<Value>) -> &mut Self {
        if let Some(value) = value {
            self.members.insert(name.to_owned(), value);
        }
        self
    }

    /// The reference to this resource.
    pub(crate) fn reference(&self) -> Value {
        reference(self.kind, &self.id)
    }

    /// The Bundle entry that stores it: a PUT, so that a second import changes nothing.
    pub(crate) fn entry(self) -> Value {
        let url = format!("{}/{}", self.kind, self.id);
        json!({ "resource": self.members, "request": { "method": "PUT", "url": url } })
    }
}

/// The US Core profile (version 3.1) that every resource of a type keeps to here.
/// Observations name their own.
fn profile(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "AllergyIntolerance" => "us-core-allergyintolerance",
        "CarePlan" => "us-core-careplan",
        "CareTeam" => "us-core-careteam",
        "Condition" => "us-core-condition",
        "DiagnosticReport" => "us-core-diagnosticreport-lab",
        "DocumentReference" => "us-core-documentreference",
        "Encounter" => "us-core-encounter",
        "Immunization" => "us-core-immunization",
        "Location" => "us-core-location",
        "MedicationRequest" => "us-core-medicationrequest",
        "Organization" => "us-core-organization",
        "Patient" => "us-core-patient",
        "Practitioner" => "us-core-practitioner",
        "PractitionerRole" => "us-core-practitionerrole",
        "Procedure" => "us-core-procedure",
        "Provenance" => "us-core-provenance",
        _ => return None,
    })
}

fn security(labels: &[&str]) -> Value {
    let mut codings = vec![json!({ "system": ACT_REASON, "code": "HTEST" })];
    codings.extend(labels.iter().map(|l| json!({ "system": ACT_CODE, "code": l })));
    codings.into()
}

/// A transaction Bundle of entries, as compact JSON.
pub(crate) fn bundle(id: &str, entries: Vec<Value>) -> String {
    json!({
        "resourceType": "Bundle",
        "id": id,
        "meta": { "security": security(&[]) },
        "type": "transaction",
        "entry": entries,
    })
    .to_string()
}

/// A relative literal reference.
pub(crate) fn reference(kind: &str, id: &str) -> Value {
    json!({ "reference": format!("{kind}/{id}") })
}

/// A relative literal reference with what to show for it.
pub(crate) fn shown(kind: &str, id: &str, display: &str) -> Value {
    json!({ "reference": format!("{kind}/{id}"), "display": display })
}

/// A Coding.
pub(crate) fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({ "system": system, "code": code, "display": display })
}

/// A Coding of an HL7 terminology code system, named by the end of its address.
pub(crate) fn hl7(system: &str, code: &str, display: &str) -> Value {
    json!({ "system": format!("{TERMINOLOGY}{system}"), "code": code, "display": display })
}

/// A CodeableConcept of one Coding.
pub(crate) fn concept(coding: Value) -> Value {
    json!({ "coding": [coding] })
}

/// A CodeableConcept of an HL7 code, without display.
pub(crate) fn status(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": format!("{TERMINOLOGY}{system}"), "code": code }] })
}

/// A CodeableConcept of one SNOMED CT code, with its display as text too.
pub(crate) fn snomed(code: &str, display: &str) -> Value {
    json!({ "coding": [coding(SNOMED, code, display)], "text": display })
}

/// A number counted in its last decimal, as a JSON number.
pub(crate) fn decimal(count: i64, decimals: u32) -> Value {
    if decimals == 0 { count.into() } else { (count as f64 / 10_f64.powi(decimals as i32)).into() }
}

/// A Quantity in UCUM.
pub(crate) fn quantity(count: i64, decimals: u32, unit: &str, ucum: &str) -> Value {
    json!({ "value": decimal(count, decimals), "unit": unit, "system": UCUM, "code": ucum })
}

/// Money in US dollars, from cents.
pub(crate) fn money(cents: i64) -> Value {
    json!({ "value": decimal(cents, 2), "currency": "USD" })
}

/// A dateTime or instant: a day, minutes after midnight, an offset such as `-05:00`.
pub(crate) fn moment(day: Date, minute: i64, offset: &str) -> String {
    format!("{day}T{:02}:{:02}:00{offset}", minute / 60, minute % 60)
}

/// Text as the value of an element that wants base64 (RFC 4648 section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = (word >> (18 - 6 * i) & 63) as usize;
            let shown = i <= chunk.len();
            text.push(char::from(if shown {
                DIGITS.get(digit).copied().unwrap_or(b'=')
            } else {
                b'='
            }));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_rfc_s_vectors() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn decimals_are_written_short() {
        assert_eq!(decimal(72, 1).to_string(), "7.2");
        assert_eq!(decimal(12345, 2).to_string(), "123.45");
        assert_eq!(decimal(88, 0).to_string(), "88");
    }
}
