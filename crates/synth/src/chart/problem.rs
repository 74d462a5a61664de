//! Conditions, allergies and the care plan.

use serde_json::{Value, json};

use super::{Chart, Visit};
use crate::catalog::illness::{DIABETES, HYPERTENSION};
use crate::person::{Has, TODAY, plus};
use crate::shape::{ICD10, Resource, SNOMED, coding, concept, hl7, reference, snomed, status};

/// What people are allergic to: substance, kind, what it does, how badly.
const ALLERGENS: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "764146007",
        "Penicillin (substance)",
        "medication",
        "271807003",
        "Eruption of skin (disorder)",
        "moderate",
    ),
    (
        "387406002",
        "Sulfonamide (substance)",
        "medication",
        "126485001",
        "Urticaria (disorder)",
        "mild",
    ),
    (
        "387458008",
        "Aspirin (substance)",
        "medication",
        "56018004",
        "Wheezing (finding)",
        "moderate",
    ),
    (
        "256349002",
        "Peanut - dietary (substance)",
        "food",
        "39579001",
        "Anaphylaxis (disorder)",
        "severe",
    ),
    ("735029006", "Shellfish (substance)", "food", "126485001", "Urticaria (disorder)", "moderate"),
    (
        "102263004",
        "Eggs (edible) (substance)",
        "food",
        "271807003",
        "Eruption of skin (disorder)",
        "mild",
    ),
    (
        "256277009",
        "Grass pollen (substance)",
        "environment",
        "76067001",
        "Sneezing (finding)",
        "mild",
    ),
    (
        "260147004",
        "House dust mite (organism)",
        "environment",
        "56018004",
        "Wheezing (finding)",
        "mild",
    ),
    (
        "111088007",
        "Latex (substance)",
        "environment",
        "271807003",
        "Eruption of skin (disorder)",
        "mild",
    ),
];

/// What a care plan asks for, beyond advice.
fn activities(illness: &str) -> &'static [(&'static str, &'static str)] {
    match illness {
        DIABETES => &[
            ("698360004", "Diabetes self management plan (record artifact)"),
            ("160670007", "Diabetic diet (finding)"),
            ("229065009", "Exercise therapy (regime/therapy)"),
        ],
        HYPERTENSION => &[
            ("443402002", "Lifestyle education regarding hypertension (procedure)"),
            ("1151000175103", "Dietary approaches to stop hypertension diet (regime/therapy)"),
        ],
        "195967001" | "13645005" => &[
            ("699728000", "Asthma self management (regime/therapy)"),
            ("15081005", "Pulmonary rehabilitation (regime/therapy)"),
        ],
        "53741008" | "88805009" | "49436004" => &[
            ("385715006", "Cardiac care (regime/therapy)"),
            ("423475008", "Heart failure education (procedure)"),
        ],
        _ => &[
            ("311401005", "Patient education (procedure)"),
            ("384758001", "Self-care interventions (procedure)"),
        ],
    }
}

impl Chart<'_> {
    pub(super) fn problems(&mut self) {
        let person = self.person;
        for has in &person.chronic {
            let visit = self
                .visits
                .iter()
                .find(|v| v.about.as_ref().is_some_and(|a| a.id == has.id))
                .cloned();
            self.condition(has, visit.as_ref());
        }
        for visit in self.visits.clone() {
            if let Some(has) = visit.about.as_ref().filter(|h| !h.illness.chronic) {
                self.condition(has, Some(&visit));
            }
        }
        self.allergies();
        self.care_plan();
        self.provenance();
    }

    fn condition(&mut self, has: &Has, visit: Option<&Visit<'_>>) {
        let illness = has.illness;
        let chronic = illness.chronic;
        let over = (!chronic)
            .then(|| plus(has.onset, self.dice.between(6, 20)))
            .filter(|end| *end <= TODAY);
        let recorder = visit.map_or(self.doctor, |v| v.worker);
        let recorded = visit.map_or_else(
            || has.onset.max(plus(TODAY, -3000)),
            |v| if chronic { has.onset } else { v.day },
        );
        let mut r = Resource::new("Condition", has.id.clone(), illness.labels);
        let clinical = if over.is_some() { "resolved" } else { "active" };
        let category = if chronic {
            hl7("condition-category", "problem-list-item", "Problem List Item")
        } else {
            hl7("condition-category", "encounter-diagnosis", "Encounter Diagnosis")
        };
        r.set("clinicalStatus", status("condition-clinical", clinical))
            .set("verificationStatus", status("condition-ver-status", "confirmed"))
            .set("category", json!([concept(category)]));
        if self.dice.chance(450) {
            let (code, display) = *self.dice.pick(&[
                ("255604002", "Mild (qualifier value)"),
                ("6736007", "Moderate (severity modifier) (qualifier value)"),
                ("24484000", "Severe (severity modifier) (qualifier value)"),
            ]);
            r.set("severity", snomed(code, display));
        }
        r.set(
            "code",
            json!({
                "coding": [
                    coding(SNOMED, illness.snomed, illness.display),
                    coding(ICD10, illness.icd, illness.icd_display),
                ],
                "text": illness.icd_display,
            }),
        )
        .set("subject", self.subject());
        if let Some(visit) = visit {
            r.set("encounter", reference("Encounter", &visit.id));
        }
        r.set("onsetDateTime", has.onset.to_string())
            .set_some("abatementDateTime", over.map(|d| d.to_string().into()))
            .set("recordedDate", recorded.to_string())
            .set("recorder", recorder.reference());
        if self.person.index == 0 || self.dice.chance(750) {
            let (day, minute) = visit.map_or((recorded, 615), |v| (v.day, v.minute + 9));
            let text = self.note(has, day);
            r.set(
                "note",
                json!([{
                    "authorReference": recorder.reference(),
                    "time": self.at(day, minute),
                    "text": text,
                }]),
            );
        }
        self.push(r);
    }

    /// What a clinician wrote about an illness.
    pub(super) fn note(&mut self, has: &Has, day: jiff::civil::Date) -> String {
        let phrase = *self.dice.pick(has.illness.notes);
        self.phrase(phrase, day)
    }

    fn allergies(&mut self) {
        let count = if self.dice.chance(380) { self.dice.between(1, 2) } else { 0 };
        let since = self.visits.first().map_or(TODAY, |v| v.day);
        let start = self.dice.below(ALLERGENS.len() as u64) as usize;
        for allergen in ALLERGENS.iter().cycle().skip(start).take(count as usize) {
            let (code, display, category, sign, sign_display, severity) = *allergen;
            let mut r = self.allergy(code, display);
            r.set("type", "allergy")
                .set("category", json!([category]))
                .set("criticality", if severity == "severe" { "high" } else { "low" })
                .set("recordedDate", since.to_string())
                .set("recorder", self.nurse.reference())
                .set(
                    "reaction",
                    json!([{ "manifestation": [snomed(sign, sign_display)], "severity": severity }]),
                );
            self.push(r);
        }
        if count == 0 {
            let mut r = self.allergy("716186003", "No known allergy (situation)");
            r.set("recordedDate", since.to_string());
            self.push(r);
        }
    }

    fn allergy(&mut self, code: &str, display: &str) -> Resource {
        let mut r = Resource::new("AllergyIntolerance", self.ids.uuid(), &[]);
        r.set("clinicalStatus", status("allergyintolerance-clinical", "active"))
            .set("verificationStatus", status("allergyintolerance-verification", "confirmed"))
            .set("code", snomed(code, display))
            .set("patient", self.subject());
        r
    }

    fn care_plan(&mut self) {
        let person = self.person;
        // Plans are about what is not specially protected, so that whoever helps may know.
        let Some(has) = person.chronic.iter().find(|h| h.illness.labels.is_empty()) else { return };
        let activity: Vec<Value> = activities(has.illness.snomed)
            .iter()
            .map(|(code, display)| {
                json!({ "detail": {
                    "code": snomed(code, display),
                    "status": if self.died.is_some() { "completed" } else { "in-progress" },
                    "location": { "display": self.district.system_name() },
                } })
            })
            .collect();
        let mut r = Resource::new("CarePlan", self.ids.uuid(), &[]);
        r.set(
            "text",
            json!({
                "status": "generated",
                "div": format!(
                    "<div xmlns=\"http://www.w3.org/1999/xhtml\">Care plan for {}: {}</div>",
                    person.name(),
                    has.illness.plain
                ),
            }),
        )
        .set("status", if self.died.is_some() { "completed" } else { "active" })
        .set("intent", "plan")
        .set(
            "category",
            json!([
                concept(coding(
                    "http://hl7.org/fhir/us/core/CodeSystem/careplan-category",
                    "assess-plan",
                    "Assessment and Plan of Treatment"
                )),
                snomed("734163000", "Care plan (record artifact)"),
            ]),
        )
        .set("subject", self.subject())
        .set("period", json!({ "start": has.onset.to_string() }))
        .set("author", self.doctor.reference())
        .set("careTeam", json!([reference("CareTeam", &self.care_team)]))
        .set("addresses", json!([reference("Condition", &has.id)]))
        .set("activity", activity);
        self.push(r);
    }

    fn provenance(&mut self) {
        let Some(visit) = self.visits.last().cloned() else { return };
        let mut r = Resource::new("Provenance", self.ids.uuid(), visit.labels());
        let clinic = reference("Organization", &visit.clinic.organization);
        r.set("target", json!([self.subject(), reference("Encounter", &visit.id)]))
            .set("recorded", self.at(visit.last_day(), visit.minute + visit.minutes + 5))
            .set(
                "agent",
                json!([{
                    "type": concept(hl7("provenance-participant-type", "author", "Author")),
                    "who": visit.worker.reference(),
                    "onBehalfOf": clinic,
                }]),
            );
        self.push(r);
    }
}
