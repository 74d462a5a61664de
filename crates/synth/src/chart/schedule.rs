//! Appointments, past and to come.

use jiff::civil::{Date, Weekday};
use serde_json::json;

use super::{Chart, Kind, Visit};
use crate::directory::{Clinic, Worker};
use crate::person::{TODAY, plus};
use crate::shape::{Resource, concept, hl7, reference, shown, snomed};

/// One appointment before it is written.
struct Slot<'a> {
    day: Date,
    minute: i64,
    minutes: i64,
    status: &'static str,
    kind: (&'static str, &'static str),
    worker: &'a Worker,
    clinic: &'a Clinic,
    about: Option<crate::person::Has>,
    text: String,
}

impl<'a> Chart<'a> {
    pub(super) fn appointments(&mut self) {
        let visits = self.visits.clone();
        let skipped = visits.len().saturating_sub(3);
        for visit in visits.iter().skip(skipped) {
            if matches!(visit.kind, Kind::Wellness | Kind::FollowUp | Kind::Home) {
                let slot = Slot {
                    day: visit.day,
                    minute: visit.minute,
                    minutes: visit.minutes,
                    status: "fulfilled",
                    kind: appointment_type(visit),
                    worker: visit.worker,
                    clinic: visit.clinic,
                    about: visit.about.clone(),
                    text: String::new(),
                };
                self.appointment(slot);
            }
        }
        if self.died.is_some() {
            return;
        }
        // A visit that came to nothing, for some.
        if self.dice.chance(260) {
            let back = self.dice.between(20, 300);
            let status = if self.dice.chance(500) { "noshow" } else { "cancelled" };
            self.with_doctor(plus(TODAY, -back).max(plus(self.person.birth, 3)), status);
        }
        let ahead = self.dice.between(3, 75);
        self.with_doctor(plus(TODAY, ahead), "booked");
        if let Some(visit) = visits.iter().rev().find(|v| v.kind == Kind::FollowUp) {
            let (ahead, quarter) = (self.dice.between(76, 170), self.dice.between(0, 30));
            let slot = Slot {
                day: weekday(plus(TODAY, ahead)),
                minute: 8 * 60 + quarter * 15,
                minutes: 30,
                status: "booked",
                kind: ("FOLLOWUP", "A follow up visit from a previous appointment"),
                worker: visit.worker,
                clinic: visit.clinic,
                about: visit.about.clone(),
                text: "Please bring all medicines.".to_owned(),
            };
            self.appointment(slot);
        }
    }

    fn with_doctor(&mut self, day: Date, status: &'static str) {
        let worker = match self.field {
            Some(field) if self.dice.chance(500) => field,
            _ => self.doctor,
        };
        let Some(clinic) = self.clinic_of(worker) else { return };
        let quarter = self.dice.between(0, 30);
        let text = *self.dice.pick(&[
            "Fasting, please: blood is drawn first.",
            "Arrive ten minutes early to update the address.",
            "An interpreter has been asked for.",
            "Bring the insurance card.",
        ]);
        let slot = Slot {
            day: weekday(day),
            minute: 8 * 60 + quarter * 15,
            minutes: 20,
            status,
            kind: ("ROUTINE", "Routine appointment - default if not valued"),
            worker,
            clinic,
            about: None,
            text: text.to_owned(),
        };
        self.appointment(slot);
    }

    fn appointment(&mut self, slot: Slot<'a>) {
        let labels = slot.about.as_ref().map_or(&[] as &[&str], |h| h.illness.labels);
        let mut r = Resource::new("Appointment", self.ids.uuid(), labels);
        r.set("status", slot.status);
        if slot.status == "cancelled" {
            r.set(
                "cancelationReason",
                concept(hl7("appointment-cancellation-reason", "pat", "Patient")),
            );
        }
        r.set(
            "serviceCategory",
            json!([concept(hl7("service-category", "17", "General Practice"))]),
        )
        .set(
            "specialty",
            json!([snomed("394814009", "General practice (specialty) (qualifier value)")]),
        )
        .set("appointmentType", concept(hl7("v2-0276", slot.kind.0, slot.kind.1)));
        if let Some(has) = &slot.about {
            r.set("reasonReference", json!([reference("Condition", &has.id)]));
        }
        let description = format!("{} with {}", self.person.name(), slot.worker.shown());
        let booked = plus(slot.day, -self.dice.between(4, 40)).min(TODAY);
        r.set("description", description)
            .set("start", self.at(slot.day, slot.minute))
            .set("end", self.at(slot.day, slot.minute + slot.minutes))
            .set("minutesDuration", slot.minutes)
            .set("created", self.at(booked, 9 * 60 + 5));
        if !slot.text.is_empty() {
            r.set("patientInstruction", slot.text);
        }
        let answer = if slot.status == "cancelled" { "declined" } else { "accepted" };
        r.set(
            "participant",
            json!([
                { "actor": self.subject_shown(), "required": "required", "status": answer },
                { "actor": slot.worker.reference(), "required": "required", "status": "accepted" },
                {
                    "actor": shown("Location", &slot.clinic.location, slot.clinic.name),
                    "required": "required",
                    "status": "accepted",
                },
            ]),
        );
        self.push(r);
    }
}

fn appointment_type(visit: &Visit<'_>) -> (&'static str, &'static str) {
    match visit.kind {
        Kind::Wellness => ("CHECKUP", "A routine check-up, such as an annual physical"),
        Kind::FollowUp => ("FOLLOWUP", "A follow up visit from a previous appointment"),
        _ => ("ROUTINE", "Routine appointment - default if not valued"),
    }
}

/// The day itself or, on a weekend, the Monday after.
fn weekday(day: Date) -> Date {
    match day.weekday() {
        Weekday::Saturday => plus(day, 2),
        Weekday::Sunday => plus(day, 1),
        _ => day,
    }
}
