//! Clinical notes, as documents with the text attached.

use serde_json::json;

use super::{Chart, Kind, Visit};
use crate::person::TODAY;
use crate::shape::{LOINC, Resource, base64, coding, concept, reference, shown};

const CATEGORY: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category";

impl Chart<'_> {
    pub(super) fn documents(&mut self) {
        for visit in self.visits.clone() {
            let text = self.clinical_note(&visit);
            let (code, display) = match visit.kind {
                Kind::Wellness => ("34117-2", "History and physical note"),
                Kind::Emergency => ("34111-5", "Emergency department Note"),
                Kind::Inpatient => ("18842-5", "Discharge summary"),
                Kind::Home | Kind::FollowUp | Kind::Acute => ("11506-3", "Progress note"),
            };
            self.document(&visit, (code, display), &text, visit.labels());
            let psychiatric =
                visit.about.as_ref().is_some_and(|h| h.illness.labels.contains(&"PSY"));
            if psychiatric {
                let text = self.phrase(
                    "Session notes, kept apart from the record.\n{title} spoke at length about \
                     {his} father and the winter when {he} left home. Silence for some minutes; \
                     then anger, which {he} has not shown here before. To take up next time.\n",
                    visit.day,
                );
                self.document(
                    &visit,
                    ("34788-0", "Psychiatry Consult note"),
                    &text,
                    &["PSY", "PSYTHPN"],
                );
            }
        }
    }

    fn clinical_note(&mut self, visit: &Visit<'_>) -> String {
        let p = self.person;
        let mut text = format!(
            "{}\nPatient: {} {} {}   Born: {}   MRN: {}\nDate: {}   Seen by: {}\n\n",
            visit.clinic.name,
            p.given,
            p.middle,
            p.household.family,
            p.birth,
            p.mrn,
            visit.day,
            visit.worker.shown(),
        );
        text.push_str("REASON\n");
        match &visit.about {
            Some(has) => {
                text.push_str(&self.phrase(
                    &format!(
                        "{{name}}, {{age}} years old, comes because of {}.",
                        has.illness.plain
                    ),
                    visit.day,
                ));
                text.push_str("\n\nHISTORY\n");
                text.push_str(&self.note(has, visit.day));
            }
            None => {
                let opening = *self.dice.pick(&[
                    "{name}, {age} years old, comes for the yearly visit and feels well.",
                    "Yearly visit of {name}, {age} years old. No new complaints.",
                    "{title} comes for a check-up; {he} wants to know whether all is in order.",
                ]);
                text.push_str(&self.phrase(opening, visit.day));
            }
        }
        // What is specially protected is told of only in documents that carry its label.
        let others: Vec<&str> = p
            .chronic
            .iter()
            .filter(|h| h.onset <= visit.day)
            .filter(|h| h.illness.labels.iter().all(|l| visit.labels().contains(l)))
            .map(|h| h.illness.plain)
            .collect();
        if !others.is_empty() {
            text.push_str(&format!("\n\nPROBLEMS\n{}.", others.join(", ")));
        }
        if p.age(visit.day) >= 3 {
            let (systolic, diastolic) = self.pressure(visit.day);
            let weight = self.weight_on(visit.day);
            text.push_str(&format!(
                "\n\nEXAMINATION\nBlood pressure {systolic}/{diastolic}, weight {}.{} kg.",
                weight / 10,
                weight % 10
            ));
        }
        let closing = *self.dice.pick(&[
            "Continue as before. Next visit in three months, sooner if anything changes.",
            "Laboratory as ordered; will call {title} with the results.",
            "Discussed and agreed with {title}, who repeated the plan in {his} own words.",
            "No change today. {He} knows when to call.",
        ]);
        text.push_str("\n\nPLAN\n");
        text.push_str(&self.phrase(closing, visit.day));
        text.push('\n');
        text
    }

    fn document(
        &mut self,
        visit: &Visit<'_>,
        (code, display): (&str, &str),
        text: &str,
        labels: &[&str],
    ) {
        let written = self.at(visit.last_day(), visit.minute + visit.minutes + 3);
        let mut r = Resource::new("DocumentReference", self.ids.uuid(), labels);
        let number = self.identifier("document");
        r.set("identifier", number)
            .set("status", "current")
            .set("docStatus", if visit.day < TODAY { "final" } else { "preliminary" })
            .set("type", concept(coding(LOINC, code, display)))
            .set("category", json!([concept(coding(CATEGORY, "clinical-note", "Clinical Note"))]))
            .set("subject", self.subject())
            .set("date", written.as_str())
            .set("author", json!([visit.worker.reference()]))
            .set("custodian", shown("Organization", &visit.clinic.organization, visit.clinic.name))
            .set(
                "content",
                json!([{
                    "attachment": {
                        "contentType": "text/plain; charset=utf-8",
                        "language": "en-US",
                        "data": base64(text.as_bytes()),
                        "title": format!("{display}, {}", visit.day),
                        "creation": written,
                    },
                    "format": coding(
                        "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem",
                        "urn:ihe:iti:xds:2017:mimeTypeSufficient",
                        "mimeType Sufficient"
                    ),
                }]),
            )
            .set(
                "context",
                json!({
                    "encounter": [reference("Encounter", &visit.id)],
                    "period": {
                        "start": self.at(visit.day, visit.minute),
                        "end": self.at(visit.last_day(), visit.minute + visit.minutes),
                    },
                }),
            );
        self.push(r);
    }
}
