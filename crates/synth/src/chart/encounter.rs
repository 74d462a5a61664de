//! Encounters, the episodes that they belong to, and appointments past and to come.

use super::Chart;
use super::plan::{Kind, Visit, ward};
use crate::day::{Day, TODAY};
use crate::directory::{Dept, Job, Worker};
use crate::json::{put, set};
use crate::note::Text;
use crate::person::Has;
use crate::shape::{Concept, Id, Ref, Shown, Told, hl7, sct};

impl Visit<'_> {
    /// The type of the visit: SNOMED CT code, display.
    pub(super) fn kind_code(&self, child: bool) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Wellness if child => ("410620009", "Well child visit (procedure)"),
            Kind::Wellness => ("162673000", "General examination of patient (procedure)"),
            Kind::FollowUp if self.labels().contains(&"PREGNANT") => {
                ("424619006", "Prenatal visit (regime/therapy)")
            }
            Kind::FollowUp => ("390906007", "Follow-up encounter (procedure)"),
            Kind::Virtual => ("185317003", "Telephone encounter (procedure)"),
            Kind::Acute => ("185345009", "Encounter for symptom (procedure)"),
            Kind::Emergency => ("50849002", "Emergency room admission (procedure)"),
            Kind::Home => ("439708006", "Home visit (procedure)"),
            Kind::Inpatient | Kind::Newborn => ("32485007", "Hospital admission (procedure)"),
            Kind::Birth => ("183460006", "Obstetric emergency hospital admission (procedure)"),
        }
    }

    const fn class(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Emergency => ("EMER", "emergency"),
            Kind::Home => ("HH", "home health"),
            Kind::Virtual => ("VR", "virtual"),
            Kind::Inpatient | Kind::Birth | Kind::Newborn => ("IMP", "inpatient encounter"),
            _ => ("AMB", "ambulatory"),
        }
    }
}

/// One appointment before it is written.
struct Slot<'a> {
    id: Id,
    day: Day,
    minute: i64,
    minutes: i64,
    status: &'static str,
    kind: (&'static str, &'static str),
    worker: &'a Worker,
    about: Option<Has>,
    instruction: &'static str,
}

const ROUTINE: (&str, &str) = ("ROUTINE", "Routine appointment - default if not valued");
const FOLLOW_UP: (&str, &str) = ("FOLLOWUP", "A follow up visit from a previous appointment");
const CHECKUP: (&str, &str) = ("CHECKUP", "A routine check-up, such as an annual physical");

impl<'a> Chart<'a> {
    pub(super) fn encounters(&mut self) {
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            self.encounter(&visit);
        }
        self.episodes();
    }

    fn encounter(&mut self, visit: &Visit<'a>) {
        let child = self.p.age(visit.day) < 18;
        let (code, display) = visit.kind_code(child);
        let (class, class_display) = visit.class();
        let start = self.at(visit.day, visit.minute);
        let end = self.at(visit.day, visit.end_minute());
        self.begin("Encounter", visit.id, "us-core-encounter", visit.labels());
        self.identifier("visit", "V");
        set!(self.out,
            "status": "finished",
            "class": (hl7("v3-ActCode", class, class_display)),
            "type": [(Told(sct(code, display)))],
            "subject": (self.subject_shown()),
        );
        self.out.key("participant");
        self.out.open('[');
        let (kind, kind_display) =
            if visit.stays() { ("ATND", "attender") } else { ("PPRF", "primary performer") };
        put!(self.out, {
            "type": [(Concept(hl7("v3-ParticipationType", kind, kind_display)))],
            "period": { "start": (start), "end": (end) },
            "individual": (visit.worker.reference()),
        });
        if let Some(nurse) = visit.nurse {
            put!(self.out, {
                "type": [(Concept(hl7("v3-ParticipationType", "SPRF", "secondary performer")))],
                "period": { "start": (start), "end": (self.at(visit.day, visit.minute + visit.minutes.min(660))) },
                "individual": (nurse.reference()),
            });
        }
        self.out.close(']');
        if let Some(appointment) = visit.appointment {
            set!(self.out, "appointment": [(Ref("Appointment", appointment))]);
        }
        set!(self.out, "period": { "start": (start), "end": (end) });
        if let Some(has) = &visit.about {
            set!(self.out,
                "reasonCode": [(Told(sct(has.illness.snomed, has.illness.display)))],
                "diagnosis": [{
                    "condition": (Ref("Condition", has.id)),
                    "use": (Concept(if visit.stays() {
                        hl7("diagnosis-role", "AD", "Admission diagnosis")
                    } else {
                        hl7("diagnosis-role", "billing", "Billing")
                    })),
                    "rank": 1_i64,
                }],
            );
        }
        if visit.stays() {
            let (source, from) = match visit.kind {
                Kind::Newborn => ("born", "Born in hospital"),
                Kind::Birth => ("gp", "General Practitioner referral"),
                _ => ("emd", "From accident/emergency department"),
            };
            let (to, left) = if visit.fatal { ("exp", "Expired") } else { ("home", "Home") };
            set!(self.out, "hospitalization": {
                "admitSource": (Concept(hl7("admit-source", source, from))),
                "dischargeDisposition": (Told(hl7("discharge-disposition", to, left))),
            });
        }
        if !matches!(visit.kind, Kind::Home | Kind::Virtual)
            && let Some((room, name)) = visit.dept.rooms.get(visit.room)
        {
            let (kind, shown) = if ward(visit) { ("wa", "Ward") } else { ("ro", "Room") };
            set!(self.out, "location": [
                { "location": (Shown("Location", visit.dept.location, visit.dept.name)), "status": "completed",
                  "period": { "start": (start), "end": (end) } },
                { "location": (Shown("Location", *room, name)), "status": "completed",
                  "physicalType": (Concept(hl7("location-physical-type", kind, shown))) },
            ]);
        }
        set!(self.out, "serviceProvider": (Shown("Organization", visit.dept.organization, visit.dept.name)));
        self.end("Encounter", visit.id);
    }

    /// An episode for what a specialist follows, and for a pregnancy.
    fn episodes(&mut self) {
        let p = self.p;
        let mut told: Vec<Id> = Vec::new();
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            let Some(has) = visit.about else { continue };
            let special =
                !matches!(has.illness.by, Job::Family | Job::Internist | Job::Hospitalist)
                    && (has.illness.chronic || has.illness.by == Job::Obstetrician);
            if visit.kind != Kind::FollowUp || !special || told.contains(&has.id) {
                continue;
            }
            told.push(has.id);
            let over = self.ended(&has).or(p.died);
            let id = self.id();
            self.begin("EpisodeOfCare", id, "", has.illness.labels);
            set!(self.out,
                "status": (if over.is_some() { "finished" } else { "active" }),
                "type": [{ "text": (visit.dept.name) }],
                "diagnosis": [{ "condition": (Ref("Condition", has.id)), "rank": 1_i64 }],
                "patient": (self.subject_shown()),
                "managingOrganization": (Shown("Organization", visit.dept.organization, visit.dept.name)),
            );
            self.out.key("period");
            self.out.open('{');
            set!(self.out, "start": (visit.day));
            if let Some(over) = over {
                set!(self.out, "end": (over.max(visit.day)));
            }
            self.out.close('}');
            set!(self.out, "careManager": (visit.worker.reference()));
            self.end("EpisodeOfCare", id);
        }
    }

    /// When an illness that passes was over, if it is.
    pub(super) fn ended(&self, has: &Has) -> Option<Day> {
        if has.illness.chronic {
            return None;
        }
        let days = if has.illness.labels.contains(&"PREGNANT") {
            let birth = self.visits.iter().find(|v| v.kind == Kind::Birth);
            return birth.filter(|v| v.about.is_some_and(|a| a.id == has.id)).map(|v| v.day);
        } else {
            6 + i64::from(has.onset.0.rem_euclid(15))
        };
        let day = has.onset.plus(days);
        (day <= self.p.last()).then_some(day)
    }

    pub(super) fn appointments(&mut self) {
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            let Some(id) = visit.appointment else { continue };
            let slot = Slot {
                id,
                day: visit.day,
                minute: visit.minute - visit.minute % 5,
                minutes: visit.minutes,
                status: "fulfilled",
                kind: match visit.kind {
                    Kind::Wellness => CHECKUP,
                    Kind::FollowUp | Kind::Virtual => FOLLOW_UP,
                    _ => ROUTINE,
                },
                worker: visit.worker,
                about: visit.about,
                instruction: "",
            };
            self.appointment(&slot);
        }
        // A visit that came to nothing, for some.
        let (since, last) = (self.p.member.birth.plus(9), self.p.last());
        if self.dice.chance(260) {
            let day = last.plus(-self.dice.between(20, 500));
            let status = if self.dice.chance(500) { "noshow" } else { "cancelled" };
            if day > since {
                self.booked(day, status, self.doctor, None);
            }
        }
        if !self.p.alive() {
            return;
        }
        let ahead = self.dice.between(3, 75);
        let worker = match self.field {
            Some(field) if self.dice.chance(500) => field,
            _ => self.doctor,
        };
        self.booked(TODAY.plus(ahead), "booked", worker, None);
        let due = self.visits.iter().rev().find(|v| v.kind == Kind::FollowUp).cloned();
        if let Some(visit) = due.filter(|v| v.about.is_some_and(|h| self.ended(&h).is_none())) {
            let ahead = self.dice.between(14, 130);
            self.booked(TODAY.plus(ahead), "booked", visit.worker, visit.about);
        }
    }

    /// An appointment that has not led to an encounter.
    fn booked(&mut self, day: Day, status: &'static str, worker: &'a Worker, about: Option<Has>) {
        let minute = 8 * 60 + self.dice.between(0, 33) * 15;
        let mut day = day.open();
        while !worker.pattern.covers(day, minute) || day.closed() {
            day = day.plus(1);
        }
        let instruction = *self.dice.pick(&[
            "Fasting, please: blood is drawn first.",
            "Arrive ten minutes early to confirm address and insurance.",
            "An interpreter has been asked for.",
            "Bring the insurance card.",
            "Please bring all medicines.",
            "",
        ]);
        let id = self.id();
        let kind = if about.is_some() { FOLLOW_UP } else { ROUTINE };
        self.appointment(&Slot {
            id,
            day,
            minute,
            minutes: 20,
            status,
            kind,
            worker,
            about,
            instruction,
        });
    }

    fn appointment(&mut self, slot: &Slot<'a>) {
        let labels = slot.about.as_ref().map_or(&[] as &[&str], |h| h.illness.labels);
        let dept = self.department_of(slot.worker);
        let record = ("Appointment", slot.id);
        self.begin("Appointment", slot.id, "", labels);
        set!(self.out, "status": (slot.status));
        if slot.status == "cancelled" {
            self.status("cancelationReason", "appointment-cancellation-reason", "pat", "Patient");
        }
        let (code, display) = match dept.dept {
            Dept::Behavioral | Dept::Recovery => ("22", "Mental Health"),
            Dept::Heart | Dept::Specialty | Dept::Women => ("27", "Specialist Medical"),
            _ => ("17", "General Practice"),
        };
        self.out.key("serviceCategory");
        put!(self.out, [(Concept(hl7("service-category", code, display)))]);
        self.status("appointmentType", "v2-0276", slot.kind.0, slot.kind.1);
        if let Some(has) = &slot.about {
            set!(self.out, "reasonReference": [(Ref("Condition", has.id))]);
        }
        let mut text = Text::default();
        let scene = self.scene(slot.day, slot.worker);
        self.phrase(&mut text, "{name} with {signed}", scene);
        self.told("description", text, record, "Appointment.description");
        set!(self.out,
            "start": (self.at(slot.day, slot.minute)),
            "end": (self.at(slot.day, slot.minute + slot.minutes)),
            "minutesDuration": (slot.minutes),
        );
        if let Some(shift) = self.d.slot(slot.worker, slot.day) {
            set!(self.out, "slot": [(Ref("Slot", shift))]);
        }
        let made = slot.day.plus(-self.dice.between(4, 40)).min(TODAY.plus(-1)).open().min(TODAY);
        let made = made.max(self.p.member.birth).min(slot.day);
        set!(self.out, "created": (self.at(made, 9 * 60 + 5)));
        if self.dice.chance(300) {
            let template = self.choose(
                &[
                    "Call {mobile} if a seat comes free earlier.",
                    "Wants a reminder by e-mail: {email}.",
                    "{kin} made the call from {kinphone}.",
                    "Rescheduled from {prev}. Confirmed DOB {dob}.",
                    "Prefers to be called {nick}.",
                ],
                scene.worker,
            );
            let mut text = Text::default();
            self.phrase(&mut text, template, scene);
            self.told("comment", text, record, "Appointment.comment");
        }
        if !slot.instruction.is_empty() {
            set!(self.out, "patientInstruction": (slot.instruction));
        }
        let answer = if slot.status == "cancelled" { "declined" } else { "accepted" };
        set!(self.out, "participant": [
            { "actor": (self.subject_shown()), "required": "required", "status": (answer) },
            { "actor": (slot.worker.reference()), "required": "required", "status": "accepted" },
            { "actor": (Shown("Location", dept.location, dept.name)), "required": "required", "status": "accepted" },
        ]);
        self.end("Appointment", slot.id);
    }
}
