//! What to ask for, found by asking; and bundles to write.

use anyhow::ensure;

use crate::client::{Client, get};

/// What the store was found to hold.
pub(crate) struct Known {
    pub(crate) patients: Vec<String>,
    /// Patient and an observation code that the patient has.
    pub(crate) codes: Vec<(String, String)>,
    /// Family name and birth date.
    pub(crate) names: Vec<(String, String)>,
}

fn text(v: &serde_json::Value, at: &str) -> Option<String> {
    v.pointer(at).and_then(|v| v.as_str()).map(str::to_owned)
}

pub(crate) fn discover(client: &Client) -> anyhow::Result<Known> {
    let mut known = Known { patients: Vec::new(), codes: Vec::new(), names: Vec::new() };
    let page = client.json(&get("/fhir/Patient?_count=500"))?;
    for entry in page.pointer("/entry").and_then(|e| e.as_array()).into_iter().flatten() {
        let Some(id) = text(entry, "/resource/id") else { continue };
        if let (Some(family), Some(born)) =
            (text(entry, "/resource/name/0/family"), text(entry, "/resource/birthDate"))
        {
            known.names.push((family, born));
        }
        known.patients.push(id);
    }
    ensure!(!known.patients.is_empty(), "no patients");
    for id in known.patients.iter().take(100) {
        let page =
            client.json(&get(&format!("/fhir/Observation?patient=Patient/{id}&_count=50")))?;
        for entry in page.pointer("/entry").and_then(|e| e.as_array()).into_iter().flatten() {
            if let Some(code) = text(entry, "/resource/code/coding/0/code") {
                known.codes.push((id.clone(), code));
            }
        }
    }
    known.codes.sort();
    known.codes.dedup();
    ensure!(!known.codes.is_empty(), "no observations");
    Ok(known)
}

/// A transaction of one patient, an encounter and 53 observations.
pub(crate) fn bundle(n: usize) -> String {
    let mut entries = vec![
        serde_json::json!({
            "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001",
            "resource": {
                "resourceType": "Patient",
                "name": [{ "family": format!("Bench{n}"), "given": ["Load"] }],
                "birthDate": "1970-01-01",
                "gender": "other"
            },
            "request": { "method": "POST", "url": "Patient" }
        }),
        serde_json::json!({
            "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000002",
            "resource": {
                "resourceType": "Encounter",
                "status": "finished",
                "class": { "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB" },
                "subject": { "reference": "urn:uuid:00000000-0000-4000-8000-000000000001" },
                "period": { "start": "2026-01-01T09:00:00Z", "end": "2026-01-01T09:30:00Z" }
            },
            "request": { "method": "POST", "url": "Encounter" }
        }),
    ];
    for i in 0..53 {
        entries.push(serde_json::json!({
            "fullUrl": format!("urn:uuid:00000000-0000-4000-8000-0000000001{i:02}"),
            "resource": {
                "resourceType": "Observation",
                "status": "final",
                "category": [{ "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                    "code": "vital-signs", "display": "vital-signs" }] }],
                "code": { "coding": [{
                    "system": "http://loinc.org", "code": "8867-4", "display": "Heart rate" }],
                    "text": "Heart rate" },
                "subject": { "reference": "urn:uuid:00000000-0000-4000-8000-000000000001" },
                "encounter": { "reference": "urn:uuid:00000000-0000-4000-8000-000000000002" },
                "effectiveDateTime": format!("2026-01-{:02}T09:{:02}:00Z", i % 28 + 1, i),
                "issued": "2026-01-01T09:00:00.000Z",
                "valueQuantity": { "value": 60 + i, "unit": "/min",
                    "system": "http://unitsofmeasure.org", "code": "/min" }
            },
            "request": { "method": "POST", "url": "Observation" }
        }));
    }
    serde_json::json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries })
        .to_string()
}
