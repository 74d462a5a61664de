//! Patient and CareTeam.

use super::Chart;
use crate::day::TODAY;
use crate::directory::Address;
use crate::household::Place;
use crate::json::{put, set};
use crate::note::{SpanKind, Text};
use crate::shape::{Concept, Ref, Shown, Sid, Told, US_CORE, coding, hl7, loinc, sct};

const CDC: &str = "urn:oid:2.16.840.1.113883.6.238";
/// The minute of the day at which the dead have died.
pub(super) const DEATH_MINUTE: i64 = 5 * 60 + 12;

impl Chart<'_> {
    pub(super) fn demographics(&mut self) {
        self.patient();
        self.related_persons();
        self.team();
    }

    fn patient(&mut self) {
        let (p, d) = (self.p, self.d);
        let (m, home) = (p.member, &p.household.home);
        let age = p.age(TODAY);
        self.begin("Patient", p.id, "us-core-patient", p.labels);
        let mut text = Text::default();
        text.plain("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>")
            .mark(SpanKind::PatientName, &p.name)
            .plain(", born ")
            .mark(SpanKind::BirthDate, &m.birth.iso())
            .plain(", record ")
            .mark(SpanKind::RecordNumber, &p.mrn)
            .plain("</p></div>");
        self.out.key("text");
        self.out.open('{');
        set!(self.out, "status": "generated");
        self.told("div", text, ("Patient", p.id), "Patient.text.div");
        self.out.close('}');
        self.background();
        self.out.key("identifier");
        self.out.open('[');
        put!(self.out, {
            "use": "usual",
            "type": (Told(hl7("v2-0203", "MR", "Medical record number"))),
            "system": (Sid("mrn")), "value": (p.mrn),
            "assigner": (Shown("Organization", d.system, &d.system_name)),
        });
        put!(self.out, {
            "use": "official",
            "type": (Told(hl7("v2-0203", "SS", "Social Security number"))),
            "system": "http://hl7.org/fhir/sid/us-ssn", "value": (p.ssn),
        });
        if (17..=84).contains(&age) && self.dice.chance(450) {
            let number = format!("S99{}", self.dice.digits(6));
            put!(self.out, {
                "use": "official",
                "type": (Told(hl7("v2-0203", "DL", "Driver's license number"))),
                "system": (Sid("drivers-license")), "value": (number),
            });
        }
        if let Some(worker) = m.worker.and_then(|at| d.workers.get(at)) {
            put!(self.out, {
                "use": "secondary",
                "type": (Told(hl7("v2-0203", "EI", "Employee number"))),
                "system": (Sid("employee")), "value": (worker.employee),
                "assigner": (Shown("Organization", d.system, &d.system_name)),
            });
        }
        self.out.close(']');
        set!(self.out, "active": (p.alive()));
        self.names();
        self.out.key("telecom");
        self.out.open('[');
        put!(self.out, { "system": "phone", "value": (home.phone), "use": "home", "rank": 2_i64 });
        if age >= 14 {
            put!(self.out, { "system": "phone", "value": (m.mobile), "use": "mobile", "rank": 1_i64 });
            put!(self.out, { "system": "email", "value": (p.email), "use": "home" });
        }
        self.out.close(']');
        set!(self.out,
            "gender": (if m.female { "female" } else { "male" }),
            "birthDate": (m.birth),
        );
        match p.died {
            Some(day) => set!(self.out, "deceasedDateTime": (self.at(day, DEATH_MINUTE))),
            None if self.dice.chance(400) => set!(self.out, "deceasedBoolean": false),
            None => {}
        }
        set!(self.out,
            "address": [(Address("home", &home.line, home.town, &home.zip, d.region))],
        );
        let (code, display) = self.marital();
        set!(self.out, "maritalStatus": (Told(hl7("v3-MaritalStatus", code, display))));
        let twin = p.household.members.iter().filter(|o| o.birth == m.birth).count() > 1;
        if m.place == Place::Child {
            set!(self.out, "multipleBirthBoolean": (twin));
        }
        self.contact();
        self.languages();
        let practice = self.department_of(self.doctor);
        set!(self.out,
            "generalPractitioner": [
                (self.doctor.reference()),
                (Shown("Organization", practice.organization, practice.name)),
            ],
            "managingOrganization": (Shown("Organization", d.system, &d.system_name)),
        );
        // The relative whom another chart knows as a RelatedPerson is not linked here:
        // a link would tell one patient's reader of the other. The record numbers do.
        self.end("Patient", p.id);
    }

    fn names(&mut self) {
        let p = self.p;
        let m = p.member;
        self.out.key("name");
        self.out.open('[');
        put!(self.out, {
            "use": "official", "text": (format!("{} {} {}", m.given, m.middle, m.family)),
            "family": (m.family), "given": [(m.given), (m.middle)],
        });
        if let Some(maiden) = &m.maiden {
            put!(self.out, { "use": "maiden", "family": (maiden), "given": [(m.given), (m.middle)] });
        }
        if p.nick != m.given && self.dice.chance(500) {
            put!(self.out, { "use": "nickname", "given": [(p.nick)] });
        }
        self.out.close(']');
    }

    fn marital(&self) -> (&'static str, &'static str) {
        let m = self.p.member;
        let age = self.p.age(TODAY);
        match m.place {
            _ if m.married => ("M", "Married"),
            Place::Head | Place::Partner if self.p.household.members.len() > 1 && age < 48 => {
                ("S", "Never Married")
            }
            _ if age >= 70 => ("W", "Widowed"),
            _ if age >= 45 => ("D", "Divorced"),
            _ => ("S", "Never Married"),
        }
    }

    /// US Core race, ethnicity, birth sex and sex.
    fn background(&mut self) {
        let p = self.p;
        let (code, race) = p.race;
        let (origin, ethnicity) = if p.member.heritage.hispanic {
            ("2135-2", "Hispanic or Latino")
        } else {
            ("2186-5", "Not Hispanic or Latino")
        };
        self.out.key("extension");
        self.out.open('[');
        for (name, code, display) in
            [("us-core-race", code, race), ("us-core-ethnicity", origin, ethnicity)]
        {
            put!(self.out, {
                "url": (format!("{US_CORE}{name}")),
                "extension": [
                    { "url": "ombCategory", "valueCoding": (coding(CDC, code, display)) },
                    { "url": "text", "valueString": (display) },
                ],
            });
        }
        put!(self.out, {
            "url": (format!("{US_CORE}us-core-birthsex")),
            "valueCode": (if p.member.female { "F" } else { "M" }),
        });
        put!(self.out, {
            "url": (format!("{US_CORE}us-core-sex")),
            "valueCode": (if p.member.female { "248152002" } else { "248153007" }),
        });
        self.out.close(']');
    }

    fn languages(&mut self) {
        self.out.key("communication");
        self.out.open('[');
        let own = self.p.language;
        for (code, display, preferred) in
            own.map(|(c, d)| (c, d, true)).into_iter().chain([("en", "English", own.is_none())])
        {
            put!(self.out, {
                "language": (Told(coding("urn:ietf:bcp:47", code, display))),
                "preferred": (preferred),
            });
        }
        self.out.close(']');
    }

    fn team(&mut self) {
        let p = self.p;
        let mut staff = vec![self.doctor, self.nurse];
        staff.extend(self.field);
        // No psychiatrist and the like: who stands here is no secret, and would tell one.
        if p.chronic.len() > 4 {
            staff.extend(self.d.of(crate::directory::Job::Coordinator).next());
        }
        let since = self.visits.first().map_or(p.member.birth, |v| v.day);
        let id = self.care_team;
        self.begin("CareTeam", id, "us-core-careteam", &[]);
        set!(self.out,
            "status": (if p.alive() { "active" } else { "inactive" }),
            "category": [(Told(loinc("LA27976-2", "Encounter-focused care team")))],
            "name": (format!("Care team of {}", p.name)),
            "subject": (self.subject_shown()),
        );
        self.out.key("period");
        self.out.open('{');
        set!(self.out, "start": (since));
        if let Some(died) = p.died {
            set!(self.out, "end": (died));
        }
        self.out.close('}');
        self.out.key("participant");
        self.out.open('[');
        put!(self.out, {
            "role": [(Told(sct("116154003", "Patient (person)")))],
            "member": (self.subject_shown()),
        });
        for worker in staff {
            let house = self.department_of(worker);
            self.out.open('{');
            self.out.key("role");
            self.out.open('[');
            if worker.id == self.doctor.id {
                put!(self.out, (Told(sct("453231000124104", "Primary care provider"))));
            } else {
                crate::directory::put_occupation(worker.job, &mut self.out);
            }
            self.out.close(']');
            set!(self.out,
                "member": (worker.reference()),
                "onBehalfOf": (Shown("Organization", house.organization, house.name)),
            );
            self.out.close('}');
        }
        let carer = self.relatives.first().filter(|_| p.age(TODAY) >= 75 || p.age(TODAY) < 18);
        if let Some(kin) = carer.filter(|k| k.grown()) {
            let name = kin.name();
            let id = kin.id;
            put!(self.out, {
                "role": [(Told(sct("133932002", "Caregiver (person)")))],
                "member": (Shown("RelatedPerson", id, &name)),
            });
        }
        self.out.close(']');
        set!(self.out, "managingOrganization": [(Ref("Organization", self.d.system))]);
        self.end("CareTeam", id);
    }

    /// A concept of a code whose system HL7 keeps, without text.
    pub(super) fn status(&mut self, member: &str, system: &str, code: &str, display: &str) {
        self.out.key(member);
        put!(self.out, (Concept(hl7(system, code, display))));
    }
}
