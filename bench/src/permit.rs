//! What authentication and the permit cost, measured within by `permit-cost`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::client::{self, Client};
use crate::report::Row;

/// Puts a consent of this patient into the store: it denies another organization, so that
/// it is read and weighed, and takes nothing away.
pub(crate) fn consent(writer: &Client, patient: &str) -> anyhow::Result<()> {
    const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
    let consent = json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope",
            "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": format!("Patient/{patient}")},
        "policyRule": {"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIPAAAuth"}]},
        "provision": {"type": "deny", "purpose": [{"system": ACT, "code": "HPAYMT"}],
            "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]},
    });
    let (head, _) = writer.whole(&client::post_json("/fhir/Consent", consent.to_string()))?;
    ensure!(head.starts_with("HTTP/1.1 201"), "the consent was not taken in");
    Ok(())
}

/// The rows; the home is used by nobody.
pub(crate) fn rows(home: &Path, token: &str, patients: &[String]) -> anyhow::Result<Vec<Row>> {
    let program = std::env::current_exe()?.with_file_name("permit-cost");
    let out = Command::new(&program)
        .arg(home)
        .arg(token)
        .args(patients.iter().take(50))
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} can't be started", program.display()))?;
    ensure!(out.status.success(), "permit-cost failed");
    let figures: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    let of = |name: &str| figures.get(name).and_then(serde_json::Value::as_f64).context("a figure");
    Ok(vec![
        Row::limit(
            "permit",
            "token recognised and permit given, cached",
            of("cached")?,
            30.0,
            "µs",
        ),
        Row::limit("permit, scoped", "the same under user/*.rs", of("scoped")?, 30.0, "µs"),
        Row::limit(
            "permit, consent",
            "the same of a patient with a consent",
            of("consented")?,
            30.0,
            "µs",
        ),
        Row::limit("permit, cold", "the first after a start, median", of("cold")?, 500.0, "µs"),
        Row::note("permit, coldest", "p95 of the same", of("coldest")?, "µs"),
        Row::note("permit, cold token", "of the median, the token", of("cold_token")?, "µs"),
    ])
}
