//! Scopes in plain words: what a person reads before he allows an app something.

use phial_base::Scope;
use phial_base::scope::{Letters, Reach};

/// What records of a type are called outside of FHIR.
fn of_type(ty: &str) -> Option<&'static str> {
    Some(match ty {
        "Patient" => "name, birth date, address and other personal details",
        "Observation" => "laboratory results, vital signs and other measurements",
        "Condition" => "illnesses and health problems",
        "AllergyIntolerance" => "allergies",
        "MedicationRequest" => "prescriptions",
        "MedicationStatement" | "MedicationAdministration" | "MedicationDispense" => {
            "medicines that were taken, given or handed out"
        }
        "Medication" => "what medicines are made of",
        "Immunization" => "vaccinations",
        "Procedure" => "operations and other treatments",
        "DiagnosticReport" => "reports of tests and examinations",
        "DocumentReference" | "Composition" => "letters, notes and other documents",
        "Binary" => "files",
        "Encounter" => "visits and stays",
        "Appointment" => "appointments",
        "CarePlan" => "care plans",
        "CareTeam" => "who takes part in the care",
        "Goal" => "goals of the treatment",
        "Coverage" => "insurance",
        "Claim" | "ExplanationOfBenefit" => "bills and what insurance paid",
        "Consent" => "consents",
        "FamilyMemberHistory" => "illnesses in the family",
        "QuestionnaireResponse" => "answers to questionnaires",
        "RelatedPerson" => "relatives and other close persons",
        "ServiceRequest" => "orders and referrals",
        "Device" => "devices and implants",
        "Specimen" => "samples that were taken",
        "ImagingStudy" | "Media" => "pictures and scans",
        "Communication" => "messages",
        "Task" => "tasks",
        "Provenance" => "where records come from",
        "Practitioner" | "PractitionerRole" => "doctors and other staff",
        "Organization" => "hospitals and practices",
        "Location" => "places",
        _ => return None,
    })
}

/// Whether the scope lets records be changed.
pub(super) fn writes(scope: &Scope) -> bool {
    !scope.letters.minus(Letters::R.or(Letters::S)).is_empty()
}

/// A scope in a sentence. `own`: the reader is the patient.
pub(super) fn scope(scope: &Scope, own: bool) -> String {
    let has = |l: Letters| !scope.letters.and(l).is_empty();
    let mut does: Vec<&str> = Vec::new();
    if has(Letters::R.or(Letters::S)) {
        does.push("see");
    }
    if has(Letters::C) {
        does.push("add");
    }
    if has(Letters::U) {
        does.push("change");
    }
    if has(Letters::D) {
        does.push("delete");
    }
    let does = match does.as_slice() {
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
        [] => "nothing of".to_owned(),
    };
    let what = match scope.ty.as_deref() {
        None => "the whole health record".to_owned(),
        Some(ty) => of_type(ty).map_or_else(|| format!("records of the kind {ty}"), str::to_owned),
    };
    let whose = match (scope.reach, own) {
        (Reach::Patient, true) => " of yours",
        (Reach::Patient, false) => " of the patient",
        (Reach::User, true) => " that you may see",
        (Reach::User, false) => " of all patients that you may see",
        (Reach::System, _) => "",
    };
    let only = match &scope.query {
        Some(query) => format!(", only those with {}", readable(query)),
        None => String::new(),
    };
    let mut text = format!("{does} {what}{whose}{only}");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    text
}

/// A query's names and codes, without the addresses of their systems.
fn readable(query: &str) -> String {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let one = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        let values: Vec<&str> =
            value.split(',').map(|v| v.rsplit('|').next().unwrap_or(v)).collect();
        format!("{name} {}", values.join(" or "))
    };
    pairs.map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_sentence() {
        for (text, own, expected) in [
            (
                "patient/Observation.rs",
                true,
                "See laboratory results, vital signs and other measurements of yours.",
            ),
            (
                "patient/*.cruds",
                false,
                "See, add, change and delete the whole health record of the patient.",
            ),
            (
                "user/Condition.cu",
                false,
                "Add and change illnesses and health problems of all patients that you may see.",
            ),
            (
                "patient/Observation.rs?category=http://x|vital-signs,http://x|survey",
                true,
                "See laboratory results, vital signs and other measurements of yours, only those \
              with category vital-signs or survey.",
            ),
            ("patient/Basic.r", true, "See records of the kind Basic of yours."),
        ] {
            assert_eq!(scope(&Scope::parse(text).unwrap(), own), expected);
        }
        assert!(writes(&Scope::parse("patient/*.c").unwrap()));
        assert!(!writes(&Scope::parse("patient/*.rs").unwrap()));
    }
}
