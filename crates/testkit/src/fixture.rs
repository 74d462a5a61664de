//! A small clinic of marked patients: the same records every time.
//!
//! It owns the records and the list of words in them that may be found nowhere
//! outside a seal. Five patients; one tied to the field clinician through a care
//! team, one through an encounter, one through an appointment, one by being its
//! general practitioner's, and one not at all. Everyone here is invented.

use std::path::Path;

use serde_json::{Value, json};

/// Logical id of the Practitioner that the field clinician is.
pub const FIELD_PRACTITIONER: &str = "prac-field";
/// Logical id of a Practitioner who treats those whom the field clinician does not.
pub const OTHER_PRACTITIONER: &str = "prac-other";
/// Observations of each patient.
pub const OBSERVATIONS: usize = 12;
/// Conditions of each patient that carry no label.
pub const CONDITIONS: usize = 2;

/// One patient.
#[derive(Debug)]
pub struct Person {
    /// Logical id.
    pub id: &'static str,
    /// Family name, which nobody else in the world has.
    pub family: &'static str,
    /// Given name.
    pub given: &'static str,
    /// Birth date.
    pub born: &'static str,
    /// Street line.
    pub street: &'static str,
    /// Phone number.
    pub phone: &'static str,
    /// Social security number.
    pub ssn: &'static str,
    /// Medical record number.
    pub mrn: &'static str,
}

/// Tied to the field clinician through a care team.
pub const BY_TEAM: &Person = &Person {
    id: "5d0c9b1e-7a43-4b0f-9d0e-31c6f1a2b7e1",
    family: "Quandrazel",
    given: "Ottoline",
    born: "1961-03-14",
    street: "17 Marrowglen Crescent",
    phone: "555-867-5309",
    ssn: "999-41-7719",
    mrn: "MRN-7Q0031",
};
/// Tied through an encounter.
pub const BY_ENCOUNTER: &Person = &Person {
    id: "a8f2c640-0be5-4c55-8f2b-60d4c5c8e4d2",
    family: "Vintergaten",
    given: "Ambrosia",
    born: "1978-11-02",
    street: "4 Thistledown Arcade",
    phone: "555-221-9947",
    ssn: "999-52-6630",
    mrn: "MRN-7Q0032",
};
/// Tied through an appointment.
pub const BY_APPOINTMENT: &Person = &Person {
    id: "c31b7f02-9e44-4fd0-b1f5-1f0f9a7d63a3",
    family: "Oyelowizki",
    given: "Casimir",
    born: "1990-06-21",
    street: "902 Pemberlake Row",
    phone: "555-640-1182",
    ssn: "999-63-2284",
    mrn: "MRN-7Q0033",
};
/// Tied by having the field clinician as general practitioner.
pub const BY_GP: &Person = &Person {
    id: "e7d4a913-2c68-4a9b-8e77-94b3d2f51b44",
    family: "Brindlethorn",
    given: "Philomena",
    born: "2001-01-30",
    street: "55 Harrowgate Spur",
    phone: "555-903-4471",
    ssn: "999-74-3391",
    mrn: "MRN-7Q0034",
};
/// Not tied to the field clinician; has the labelled condition too.
pub const UNTIED: &Person = &Person {
    id: "0b9e6d57-f1a3-4d36-9c08-7be21e40d955",
    family: "Zephyrhaugen",
    given: "Balthazar",
    born: "1955-09-09",
    street: "231 Cobblemere Wharf",
    phone: "555-118-7720",
    ssn: "999-85-4402",
    mrn: "MRN-7Q0035",
};

/// Everyone.
pub const PEOPLE: [&Person; 5] = [BY_TEAM, BY_ENCOUNTER, BY_APPOINTMENT, BY_GP, UNTIED];
/// Those tied to the field clinician.
pub const TIED: [&Person; 4] = [BY_TEAM, BY_ENCOUNTER, BY_APPOINTMENT, BY_GP];

/// Displays of codes: two conditions, the labelled one, the observation, the claim.
pub const DISPLAYS: [&str; 5] = [
    "Diabetes mellitus type 2 (disorder)",
    "Essential hypertension (disorder)",
    "Human immunodeficiency virus infection (disorder)",
    "Glucose [Mass/volume] in Blood",
    "Office consultation, established patient",
];
/// What stands in every note, before the patient's own words.
pub const NOTE: &str = "Patient confided about gambling debts";

/// Words that may stand nowhere but inside a seal.
#[must_use]
pub fn needles() -> Vec<String> {
    let mut all: Vec<String> = DISPLAYS.iter().map(|d| (*d).to_owned()).collect();
    all.push(NOTE.to_owned());
    for p in PEOPLE {
        all.extend([p.id, p.family, p.given, p.street, p.phone, p.ssn, p.mrn].map(str::to_owned));
    }
    all
}

/// Logical id of a patient's record of this kind.
#[must_use]
pub fn id(kind: &str, p: &Person, n: usize) -> String {
    format!("{kind}-{n}-{}", p.id.get(..8).unwrap_or(p.id))
}

fn coded(system: &str, code: &str, display: &str) -> Value {
    json!({"coding": [{"system": system, "code": code, "display": display}]})
}

const SNOMED: &str = "http://snomed.info/sct";
const LOINC: &str = "http://loinc.org";

/// The people and places that everything else refers to.
#[must_use]
pub fn directory() -> Vec<Value> {
    let practitioner = |id: &str, family: &str| {
        json!({"resourceType": "Practitioner", "id": id,
            "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": format!("npi-{id}")}],
            "name": [{"family": family, "given": ["Staff"]}]})
    };
    vec![
        json!({"resourceType": "Organization", "id": "org-clinic", "name": "Clinic of the tests"}),
        practitioner(FIELD_PRACTITIONER, "Fieldworthy"),
        practitioner(OTHER_PRACTITIONER, "Otherby"),
    ]
}

/// The Patient resource of `p`.
#[must_use]
pub fn patient(p: &Person) -> Value {
    let gp = if p.id == BY_GP.id { FIELD_PRACTITIONER } else { OTHER_PRACTITIONER };
    json!({"resourceType": "Patient", "id": p.id,
        "identifier": [
            {"system": "http://hl7.org/fhir/sid/us-ssn", "value": p.ssn},
            {"system": "urn:oid:1.2.36.146.595.217.0.1",
             "type": coded("http://terminology.hl7.org/CodeSystem/v2-0203", "MR", "Medical record number"),
             "value": p.mrn}],
        "name": [{"use": "official", "family": p.family, "given": [p.given]}],
        "telecom": [{"system": "phone", "value": p.phone}],
        "gender": "unknown", "birthDate": p.born,
        "address": [{"line": [p.street], "city": "Testopolis", "postalCode": "00000"}],
        "generalPractitioner": [{"reference": format!("Practitioner/{gp}")}]})
}

/// Condition number `n` of `p`: 0 and 1 are plain, 2 is labelled HIV.
#[must_use]
pub fn condition(p: &Person, n: usize) -> Value {
    let (code, display) = match n {
        0 => ("44054006", DISPLAYS[0]),
        1 => ("59621000", DISPLAYS[1]),
        _ => ("86406008", DISPLAYS[2]),
    };
    let mut c = json!({"resourceType": "Condition", "id": id("cond", p, n),
        "clinicalStatus": coded("http://terminology.hl7.org/CodeSystem/condition-clinical", "active", "Active"),
        "code": coded(SNOMED, code, display),
        "subject": {"reference": format!("Patient/{}", p.id)},
        "onsetDateTime": format!("201{n}-05-0{}", n + 1),
        "recordedDate": format!("201{n}-06-0{}", n + 1),
        "note": [{"text": format!("{NOTE}, {} times.", n + 3)}]});
    if n == 2
        && let Some(o) = c.as_object_mut()
    {
        o.insert(
            "meta".to_owned(),
            json!({"security": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]}),
        );
    }
    c
}

/// Observation number `n` of `p`: glucose, one a month, later ones higher.
#[must_use]
pub fn observation(p: &Person, n: usize) -> Value {
    json!({"resourceType": "Observation", "id": id("obs", p, n), "status": "final",
        "code": coded(LOINC, "2339-0", DISPLAYS[3]),
        "subject": {"reference": format!("Patient/{}", p.id)},
        "encounter": {"reference": format!("Encounter/{}", id("enc", p, 0))},
        "effectiveDateTime": format!("2024-{:02}-15T08:30:00Z", n % 12 + 1),
        "valueQuantity": {"value": 80 + n, "unit": "mg/dL",
            "system": "http://unitsofmeasure.org", "code": "mg/dL"},
        "note": [{"text": format!("{NOTE}, fasting {n} hours.")}]})
}

/// The other records of `p`.
#[must_use]
pub fn others(p: &Person) -> Vec<Value> {
    let subject = json!({"reference": format!("Patient/{}", p.id)});
    let who = |tied: &Person| {
        let id = if p.id == tied.id { FIELD_PRACTITIONER } else { OTHER_PRACTITIONER };
        json!({"reference": format!("Practitioner/{id}")})
    };
    let mut period = json!({"start": "2024-01-15T08:00:00Z", "end": "2024-01-15T09:00:00Z"});
    // One that goes on ties for as long as the tests are run.
    if p.id == BY_ENCOUNTER.id
        && let Some(o) = period.as_object_mut()
    {
        o.remove("end");
    }
    vec![
        json!({"resourceType": "CareTeam", "id": id("team", p, 0), "status": "active",
            "subject": subject, "participant": [{"member": who(BY_TEAM)}]}),
        json!({"resourceType": "Encounter", "id": id("enc", p, 0), "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "subject": subject, "participant": [{"individual": who(BY_ENCOUNTER)}],
            "period": period}),
        json!({"resourceType": "Appointment", "id": id("appt", p, 0), "status": "booked",
            "start": "2031-02-03T10:00:00Z", "end": "2031-02-03T10:20:00Z",
            "comment": format!("{NOTE} when booking."),
            "participant": [
                {"actor": subject, "status": "accepted"},
                {"actor": who(BY_APPOINTMENT), "status": "accepted"}]}),
        json!({"resourceType": "Claim", "id": id("claim", p, 0), "status": "active",
            "type": coded("http://terminology.hl7.org/CodeSystem/claim-type", "professional", "Professional"),
            "use": "claim", "patient": subject, "created": "2024-01-16",
            "provider": {"reference": "Organization/org-clinic"},
            "priority": coded("http://terminology.hl7.org/CodeSystem/processpriority", "normal", "Normal"),
            "insurance": [{"sequence": 1, "focal": true, "coverage": {"display": "self pay"}}],
            "item": [{"sequence": 1,
                "productOrService": coded("http://www.ama-assn.org/go/cpt", "99213", DISPLAYS[4]),
                "net": {"value": 120.50, "currency": "USD"}}]}),
    ]
}

/// All records, each after what it refers to.
#[must_use]
pub fn records() -> Vec<Value> {
    let mut all = directory();
    for p in PEOPLE {
        all.push(patient(p));
        all.extend(others(p));
        all.extend((0..=CONDITIONS).map(|n| condition(p, n)));
        all.extend((0..OBSERVATIONS).map(|n| observation(p, n)));
    }
    all
}

/// Writes the records as one NDJSON file into `dir`.
///
/// # Errors
/// When a file can't be written.
pub fn write(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let lines: Vec<String> = records().iter().map(ToString::to_string).collect();
    std::fs::write(dir.join("clinic.ndjson"), lines.join("\n"))
}
