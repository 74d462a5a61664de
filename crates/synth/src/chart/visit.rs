//! Encounters.

use serde_json::json;

use super::{Chart, Kind, Visit};
use crate::shape::{Resource, concept, hl7, reference, shown, snomed};

impl Visit<'_> {
    /// The type of the visit: SNOMED CT code, display.
    pub(super) fn kind_code(&self, child: bool) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Wellness if child => ("410620009", "Well child visit (procedure)"),
            Kind::Wellness => ("162673000", "General examination of patient (procedure)"),
            Kind::FollowUp => ("390906007", "Follow-up encounter (procedure)"),
            Kind::Acute => ("185345009", "Encounter for symptom (procedure)"),
            Kind::Emergency => ("50849002", "Emergency room admission (procedure)"),
            Kind::Home => ("439708006", "Home visit (procedure)"),
            Kind::Inpatient => ("32485007", "Hospital admission (procedure)"),
        }
    }

    const fn class(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Emergency => ("EMER", "emergency"),
            Kind::Home => ("HH", "home health"),
            Kind::Inpatient => ("IMP", "inpatient encounter"),
            _ => ("AMB", "ambulatory"),
        }
    }
}

impl Chart<'_> {
    pub(super) fn encounters(&mut self) {
        for visit in self.visits.clone() {
            let child = self.person.age(visit.day) < 18;
            let (code, display) = visit.kind_code(child);
            let (class, class_display) = visit.class();
            let mut r = Resource::new("Encounter", visit.id.clone(), visit.labels());
            let number = self.identifier("visit");
            let start = self.at(visit.day, visit.minute);
            let end = self.at(visit.last_day(), visit.minute + visit.minutes);
            let mut participants = vec![json!({
                "type": [concept(hl7("v3-ParticipationType", "PPRF", "primary performer"))],
                "period": { "start": start, "end": end },
                "individual": visit.worker.reference(),
            })];
            if matches!(visit.kind, Kind::Wellness | Kind::Acute) {
                participants.push(json!({
                    "type": [concept(hl7("v3-ParticipationType", "SPRF", "secondary performer"))],
                    "individual": self.nurse.reference(),
                }));
            }
            r.set("identifier", number)
                .set("status", "finished")
                .set("class", hl7("v3-ActCode", class, class_display))
                .set("type", json!([snomed(code, display)]))
                .set("subject", self.subject_shown())
                .set("participant", participants)
                .set("period", json!({ "start": start, "end": end }));
            if let Some(has) = &visit.about {
                r.set("reasonCode", json!([snomed(has.illness.snomed, has.illness.display)])).set(
                    "diagnosis",
                    json!([{
                        "condition": reference("Condition", &has.id),
                        "use": concept(hl7("diagnosis-role", "AD", "Admission diagnosis")),
                        "rank": 1,
                    }]),
                );
            }
            if visit.kind == Kind::Inpatient {
                r.set(
                    "hospitalization",
                    json!({
                        "admitSource": concept(hl7("admit-source", "emd", "From accident/emergency department")),
                        "dischargeDisposition": concept(hl7("discharge-disposition", "home", "Home")),
                    }),
                );
            }
            if visit.kind != Kind::Home {
                r.set(
                    "location",
                    json!([{
                        "location": shown("Location", &visit.clinic.room, visit.clinic.name),
                        "status": "completed",
                    }]),
                );
            }
            let house = if visit.kind == Kind::Inpatient {
                reference("Organization", &self.district.hospital)
            } else {
                shown("Organization", &visit.clinic.organization, visit.clinic.name)
            };
            r.set("serviceProvider", house);
            self.push(r);
        }
    }
}
