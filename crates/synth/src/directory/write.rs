//! The district as resources: organizations, locations, practitioners, their roles,
//! and the roster of the fortnight around today.

use super::{Address, Department, District, Job, Worker};
use crate::catalog::place::PAYERS;
use crate::day::{Day, TODAY};
use crate::dice::Dice;
use crate::json::{Decimal, Json, put, set};
use crate::shape::{Concept, Id, Ref, Shown, Sid, Told, begin, coding, end, hl7, sct};

/// The days whose shifts are written as Slots, counted from today: a week back, a week
/// ahead.
pub(crate) const ROSTER: std::ops::Range<i64> = -7..7;

const NUCC: &str = "http://nucc.org/provider-taxonomy";

/// An occupation, coded where a code is known.
pub(crate) fn put_occupation(job: Job, to: &mut Json) {
    let (code, display) = job.occupation();
    if code.is_empty() {
        put!(*to, { "text": (display) });
    } else {
        put!(*to, (Told(sct(code, display))));
    }
}

impl District {
    /// Which shift of a worker begins on a day, as a Slot.
    pub(crate) fn slot(&self, worker: &Worker, day: Day) -> Option<Id> {
        let near = ROSTER.contains(&TODAY.until(day));
        near.then(|| worker.pattern.shift(day))?;
        let number = (day.0 as u64) << 32 | u64::from(self.number);
        worker.pattern.shift(day).map(|_| Id::of(self.seed ^ worker.id.low(), "slot", number))
    }

    /// Organizations: the system, its hospital and departments, the payers.
    pub(crate) fn organizations(&self, to: &mut Json) {
        let prov = ("prov", "Healthcare Provider");
        let home = &self.hospital_home;
        self.organization(to, self.system, &self.system_name, prov, None, home);
        let parent = Some((self.system, self.system_name.as_str()));
        self.organization(to, self.hospital, &self.hospital_name, prov, parent, home);
        let within = Some((self.hospital, self.hospital_name.as_str()));
        for d in &self.departments {
            let row = d.row();
            let (kind, over) = if row.hospital {
                (("dept", "Hospital Department"), within)
            } else {
                (prov, parent)
            };
            let home = if row.hospital { home } else { &d.home };
            self.organization(to, d.organization, d.name, kind, over, home);
        }
        for (id, payer) in self.payers.iter().zip(PAYERS) {
            self.organization(to, *id, payer.name, ("pay", "Payer"), None, home);
        }
    }

    fn organization(
        &self,
        to: &mut Json,
        id: Id,
        name: &str,
        kind: (&str, &str),
        parent: Option<(Id, &str)>,
        home: &super::Home,
    ) {
        let mut dice = Dice::new(self.seed ^ id.low(), "organization", 0);
        begin(to, "Organization", id, "us-core-organization", &[]);
        let line = if kind.0 == "pay" { super::street(&mut dice) } else { home.line.clone() };
        let phone = super::phone(&mut dice, home.town);
        set!(*to,
            "identifier": [{ "system": (Sid("organization")), "value": (format!("ORG-{}", dice.digits(7))) }],
            "active": true,
            "type": [(Told(hl7("organization-type", kind.0, kind.1)))],
            "name": (name),
            "telecom": [{ "system": "phone", "value": (phone), "use": "work" }],
            "address": [(Address("work", &line, home.town, &home.zip, self.region))],
        );
        if let Some((id, name)) = parent {
            set!(*to, "partOf": (Shown("Organization", id, name)));
        }
        end(to, "Organization", id);
    }

    /// Locations: the hospital, each department, the rooms in it.
    pub(crate) fn locations(&self, to: &mut Json) {
        let place = self.hospital_place;
        self.location(
            to,
            (place, &self.hospital_name),
            ("HOSP", "Hospital"),
            ("bu", "Building"),
            &self.hospital_home,
            (self.hospital, &self.hospital_name),
            None,
        );
        for (at, d) in self.departments.iter().enumerate() {
            let row = d.row();
            let (home, over) = if row.hospital {
                (&self.hospital_home, Some(Shown("Location", place, &self.hospital_name)))
            } else {
                (&d.home, None)
            };
            let owner = (d.organization, d.name);
            let kind = (row.code, row.display);
            self.location(to, (d.location, d.name), kind, row.physical, home, owner, over);
            for (id, name) in &d.rooms {
                begin(to, "Location", *id, "us-core-location", &[]);
                set!(*to,
                    "identifier": [{ "system": (Sid("room")), "value": (format!("{:02}{at:02}-{name}", self.number)) }],
                    "status": "active",
                    "name": (name),
                    "mode": "instance",
                    "physicalType": (Told(hl7("location-physical-type", "ro", "Room"))),
                    "managingOrganization": (Shown("Organization", d.organization, d.name)),
                    "partOf": (Shown("Location", d.location, d.name)),
                );
                end(to, "Location", *id);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the members of one Location")]
    fn location(
        &self,
        to: &mut Json,
        (id, name): (Id, &str),
        (code, display): (&str, &str),
        physical: (&str, &str),
        home: &super::Home,
        owner: (Id, &str),
        over: Option<Shown<'_>>,
    ) {
        let mut dice = Dice::new(self.seed ^ id.low(), "location", 0);
        let (east, north) = (dice.between(-900, 900), dice.between(-900, 900));
        begin(to, "Location", id, "us-core-location", &[]);
        set!(*to,
            "status": "active",
            "name": (name),
            "mode": "instance",
            "type": [(Told(hl7("v3-RoleCode", code, display)))],
            "telecom": [{ "system": "phone", "value": (home.phone), "use": "work" }],
            "address": (Address("work", &home.line, home.town, &home.zip, self.region)),
            "physicalType": (Told(hl7("location-physical-type", physical.0, physical.1))),
            "position": {
                "longitude": (Decimal(self.region.longitude + east, 4)),
                "latitude": (Decimal(self.region.latitude + north, 4)),
            },
            "managingOrganization": (Shown("Organization", owner.0, owner.1)),
        );
        if let Some(over) = over {
            set!(*to, "partOf": (over));
        }
        end(to, "Location", id);
    }

    /// Practitioners.
    pub(crate) fn practitioners(&self, to: &mut Json) {
        for w in &self.workers {
            begin(to, "Practitioner", w.id, "us-core-practitioner", &[]);
            set!(*to, "identifier": [
                { "use": "official", "type": (Concept(hl7("v2-0203", "NPI", "National provider identifier"))),
                  "system": "http://hl7.org/fhir/sid/us-npi", "value": (w.npi) },
                { "use": "secondary", "type": (Concept(hl7("v2-0203", "EI", "Employee number"))),
                  "system": (Sid("employee")), "value": (w.employee),
                  "assigner": (Shown("Organization", self.system, &self.system_name)) },
            ], "active": true);
            to.key("name");
            to.open('[');
            to.open('{');
            set!(*to, "use": "official", "text": (w.shown), "family": (w.family), "given": [(w.given)]);
            if w.title == "MD" {
                set!(*to, "prefix": ["Dr."]);
            }
            if !w.title.is_empty() {
                set!(*to, "suffix": [(w.title)]);
            }
            to.close('}');
            to.close(']');
            set!(*to,
                "telecom": [
                    { "system": "email", "value": (w.mail), "use": "work" },
                    { "system": "phone", "value": (w.home.phone), "use": "home" },
                ],
                "address": [(Address("home", &w.home.line, w.home.town, &w.home.zip, self.region))],
                "gender": (if w.female { "female" } else { "male" }),
                "birthDate": (w.birth),
            );
            if let Some((code, display)) = degree(w.title) {
                set!(*to, "qualification": [{ "code": (Told(hl7("v2-0360", code, display))) }]);
            }
            end(to, "Practitioner", w.id);
        }
    }

    /// The role of each practitioner in one department.
    pub(crate) fn practitioner_roles(&self, to: &mut Json) {
        for w in &self.workers {
            let d = self.department(w.dept);
            begin(to, "PractitionerRole", w.role_id, "us-core-practitionerrole", &[]);
            set!(*to,
                "active": true,
                "period": { "start": (w.birth.plus(i64::from(w.birth.0.rem_euclid(900)) + 9200)) },
                "practitioner": (w.reference()),
                "organization": (Shown("Organization", d.organization, d.name)),
            );
            to.key("code");
            to.open('[');
            put_occupation(w.job, to);
            to.close(']');
            if let Some((code, display)) = w.job.specialty() {
                set!(*to, "specialty": [(Told(coding(NUCC, code, display)))]);
            }
            set!(*to,
                "location": [(Shown("Location", d.location, d.name))],
                "telecom": [
                    { "system": "phone", "value": (d.home.phone), "use": "work" },
                    { "system": "email", "value": (w.mail), "use": "work" },
                ],
            );
            end(to, "PractitionerRole", w.role_id);
        }
    }

    /// A Schedule for everyone, and a Slot for each shift of the fortnight.
    pub(crate) fn rosters(&self, to: &mut Json) {
        for w in &self.workers {
            let d = self.department(w.dept);
            begin(to, "Schedule", w.schedule, "", &[]);
            set!(*to,
                "identifier": [{ "system": (Sid("roster")), "value": (format!("R-{}", w.employee)) }],
                "active": true,
                "actor": [
                    (w.reference()),
                    (Ref("PractitionerRole", w.role_id)),
                    (Shown("Location", d.location, d.name)),
                ],
                "planningHorizon": {
                    "start": (TODAY.plus(ROSTER.start)), "end": (TODAY.plus(ROSTER.end - 1)),
                },
            );
            end(to, "Schedule", w.schedule);
        }
        for day in ROSTER.map(|n| TODAY.plus(n)) {
            for w in &self.workers {
                let (Some((from, long)), Some(id)) = (w.pattern.shift(day), self.slot(w, day))
                else {
                    continue;
                };
                begin(to, "Slot", id, "", &[]);
                set!(*to,
                    "schedule": (Ref("Schedule", w.schedule)),
                    "status": "busy-unavailable",
                    "start": (self.at(day, from)),
                    "end": (self.at(day, from + long)),
                    "comment": (if from >= 18 * 60 { "Night shift" } else { "Day shift" }),
                );
                end(to, "Slot", id);
            }
        }
    }
}

impl Department {
    pub(crate) fn row(&self) -> &'static super::department::DepartmentRow {
        #[expect(clippy::indexing_slicing, reason = "the departments stand in the order of Dept")]
        &super::DEPARTMENTS[self.dept as usize]
    }
}

/// The degree behind a title (HL7 table 0360).
const fn degree(title: &str) -> Option<(&'static str, &'static str)> {
    Some(match title.as_bytes() {
        b"MD" => ("MD", "Doctor of Medicine"),
        b"RN" => ("RN", "Registered Nurse"),
        b"NP" => ("NP", "Nurse Practitioner"),
        b"CNM" => ("CNM", "Certified Nurse Midwife"),
        b"PhD" => ("PHD", "Doctor of Philosophy"),
        b"PharmD" => ("PharmD", "Doctor of Pharmacy"),
        b"MT" => ("MT", "Medical Technician"),
        _ => return None,
    })
}
