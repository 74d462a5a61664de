//! Patient, Coverage, CareTeam.

use serde_json::{Value, json};

use super::Chart;
use crate::catalog::place::PAYERS;
use crate::person::{Place, TODAY, plus};
use crate::shape::{Resource, US_CORE, coding, concept, hl7, reference, shown, snomed};

const CDC: &str = "urn:oid:2.16.840.1.113883.6.238";

impl Chart<'_> {
    pub(super) fn demographics(&mut self) {
        self.patient();
        self.cover();
        self.team();
    }

    fn patient(&mut self) {
        let p = self.person;
        let home = &p.household;
        let age = p.age(TODAY);
        let grown = age >= 18;
        let mut r = Resource::new("Patient", p.id.clone(), p.labels);
        r.set(
            "text",
            json!({
                "status": "generated",
                "div": format!(
                    "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{}, born {}</p></div>",
                    p.name(),
                    p.birth
                ),
            }),
        );
        r.set("extension", self.background());
        r.set(
            "identifier",
            json!([
                {
                    "use": "usual",
                    "type": concept(hl7("v2-0203", "MR", "Medical record number")),
                    "system": "https://phial.example/sid/mrn",
                    "value": p.mrn,
                    "assigner": shown("Organization", &self.district.health_system, &self.district.system_name()),
                },
                {
                    "use": "official",
                    "type": concept(hl7("v2-0203", "SS", "Social Security number")),
                    "system": "http://hl7.org/fhir/sid/us-ssn",
                    "value": p.ssn,
                },
            ]),
        );
        r.set("active", self.died.is_none());
        let mut names = vec![json!({
            "use": "official",
            "family": home.family,
            "given": [p.given, p.middle],
        })];
        if grown && p.female && p.married && self.dice.chance(400) {
            let maiden = self.dice.pick(home.heritage.families);
            names.push(json!({ "use": "maiden", "family": maiden, "given": [p.given, p.middle] }));
        }
        r.set("name", names);
        let mut telecom = vec![json!({ "system": "phone", "value": home.phone, "use": "home" })];
        if age >= 14 {
            telecom.push(json!({ "system": "phone", "value": p.mobile, "use": "mobile" }));
            telecom.push(json!({ "system": "email", "value": p.email }));
        }
        r.set("telecom", telecom)
            .set("gender", if p.female { "female" } else { "male" })
            .set("birthDate", p.birth.to_string())
            .set_some("deceasedDateTime", self.died.map(|d| self.at(d, 60 * 5 + 12).into()))
            .set(
                "address",
                json!([{
                    "use": "home",
                    "type": "both",
                    "line": [home.line],
                    "city": home.town.city,
                    "district": home.town.county,
                    "state": self.district.region.state,
                    "postalCode": format!("{:05}", home.zip),
                    "country": "US",
                }]),
            );
        let (code, display) = match (grown, p.married) {
            (true, true) => ("M", "Married"),
            (true, false) if age > 60 => ("W", "Widowed"),
            _ => ("S", "Never Married"),
        };
        r.set("maritalStatus", concept(hl7("v3-MaritalStatus", code, display)));
        if self.dice.chance(600) {
            r.set("contact", self.contact());
        }
        r.set("communication", self.languages())
            .set("generalPractitioner", json!([self.doctor.reference()]))
            .set(
                "managingOrganization",
                shown("Organization", &self.district.health_system, &self.district.system_name()),
            );
        self.push(r);
    }

    /// US Core race, ethnicity and birth sex.
    fn background(&self) -> Value {
        let p = self.person;
        let (code, race) = p.race;
        let (origin, ethnicity) = if p.household.heritage.hispanic {
            ("2135-2", "Hispanic or Latino")
        } else {
            ("2186-5", "Not Hispanic or Latino")
        };
        let omb = |code: &str, display: &str| {
            json!([
                { "url": "ombCategory", "valueCoding": coding(CDC, code, display) },
                { "url": "text", "valueString": display },
            ])
        };
        json!([
            { "url": format!("{US_CORE}us-core-race"), "extension": omb(code, race) },
            { "url": format!("{US_CORE}us-core-ethnicity"), "extension": omb(origin, ethnicity) },
            {
                "url": format!("{US_CORE}us-core-birthsex"),
                "valueCode": if p.female { "F" } else { "M" },
            },
        ])
    }

    /// Whom to call.
    fn contact(&mut self) -> Value {
        let p = self.person;
        let female = self.dice.chance(500);
        let heritage = p.household.heritage;
        let given = *self.dice.pick(if female { heritage.female } else { heritage.male });
        let (code, display) = match p.place {
            Place::Child => ("PRN", "parent"),
            _ if p.married => ("SPS", "spouse"),
            _ => ("SIB", "sibling"),
        };
        json!([{
            "relationship": [concept(hl7("v3-RoleCode", code, display))],
            "name": { "family": p.household.family, "given": [given] },
            "telecom": [{
                "system": "phone",
                "value": crate::directory::phone(&mut self.dice, p.household.town),
            }],
            "gender": if female { "female" } else { "male" },
        }])
    }

    fn languages(&self) -> Value {
        let p = self.person;
        let entry = |code: &str, display: &str, preferred: bool| {
            json!({
                "language": {
                    "coding": [coding("urn:ietf:bcp:47", code, display)],
                    "text": display,
                },
                "preferred": preferred,
            })
        };
        match p.household.heritage.language.filter(|_| p.spanish_or_other) {
            Some((code, display)) => {
                json!([entry(code, display, true), entry("en", "English", false)])
            }
            None => json!([entry("en", "English", true)]),
        }
    }

    /// Index into the payers.
    pub(super) fn payer(&self) -> usize {
        if self.person.age(TODAY) >= 65 { 0 } else { self.person.household.payer }
    }

    pub(super) fn payer_reference(&self) -> Value {
        let at = self.payer();
        let name = PAYERS.get(at).map_or("", |p| p.0);
        let id = self.district.payers.get(at).map_or("", String::as_str);
        shown("Organization", id, name)
    }

    fn cover(&mut self) {
        let p = self.person;
        let at = self.payer();
        let (name, code, display) = PAYERS.get(at).copied().unwrap_or_default();
        // Relatives are insured through the head of the household.
        let through = p.head.as_ref().filter(|_| at >= 2);
        let (relation, shown_relation) = match (through, p.place) {
            (None, _) => ("self", "Self"),
            (Some(_), Place::Child) => ("child", "Child"),
            (Some(_), _) => ("spouse", "Spouse"),
        };
        let dependent =
            if through.is_some() { format!("{:02}", p.index % 4 + 1) } else { "01".to_owned() };
        let start = plus(TODAY, -self.dice.between(181, 2400)).max(p.birth);
        let mut r = Resource::new("Coverage", self.coverage.clone(), &[]);
        r.set(
            "identifier",
            json!([{
                "type": concept(hl7("v2-0203", "MB", "Member Number")),
                "system": format!("https://phial.example/sid/member/{}", crate::directory::ascii(name)),
                "value": format!("{}-{dependent}", p.household.member_number),
            }]),
        )
        .set("status", "active")
        .set("type", concept(hl7("v3-ActCode", code, display)))
        .set("subscriber", through.map_or_else(|| self.subject(), |id| reference("Patient", id)))
        .set("subscriberId", p.household.member_number.as_str())
        .set("beneficiary", self.subject())
        .set("dependent", dependent)
        .set("relationship", concept(hl7("subscriber-relationship", relation, shown_relation)))
        .set("period", json!({ "start": start.to_string() }))
        .set("payor", json!([self.payer_reference()]))
        .set(
            "class",
            json!([{
                "type": concept(hl7("coverage-class", "plan", "Plan")),
                "value": format!("{code}-{}", 10 + at),
                "name": name,
            }]),
        )
        .set("order", 1);
        self.push(r);
    }

    fn team(&mut self) {
        let p = self.person;
        let mut r = Resource::new("CareTeam", self.care_team.clone(), &[]);
        let mut members = vec![json!({
            "role": [snomed("116154003", "Patient (person)")],
            "member": self.subject_shown(),
        })];
        let mut staff = vec![self.doctor, self.nurse];
        staff.extend(self.field);
        // No psychiatrist and the like: who stands here is no secret, and would tell one.
        if p.chronic.len() > 4 {
            staff.push(self.one_of(crate::directory::Job::Coordinator));
        }
        staff.dedup_by(|a, b| a.id == b.id);
        for worker in staff {
            let (code, display) = worker.job.occupation();
            let house = self.clinic_of(worker);
            let mut member = json!({
                "role": [snomed(code, display)],
                "member": worker.reference(),
            });
            if let (Some(map), Some(clinic)) = (member.as_object_mut(), house) {
                map.insert(
                    "onBehalfOf".to_owned(),
                    shown("Organization", &clinic.organization, clinic.name),
                );
            }
            members.push(member);
        }
        let since = self.visits.first().map_or(TODAY, |v| v.day);
        r.set("status", if self.died.is_some() { "inactive" } else { "active" })
            .set(
                "category",
                json!([concept(coding(
                    "http://loinc.org",
                    "LA27976-2",
                    "Encounter-focused care team"
                ))]),
            )
            .set("name", format!("Care team of {}", p.name()))
            .set("subject", self.subject_shown())
            .set("period", json!({ "start": since.to_string() }))
            .set("participant", members)
            .set(
                "managingOrganization",
                json!([reference("Organization", &self.district.health_system)]),
            );
        self.push(r);
    }
}
