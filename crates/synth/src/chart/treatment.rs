//! Medication requests, immunizations, procedures.

use jiff::civil::{Date, date};
use serde_json::json;

use super::{Chart, Kind, Visit};
use crate::catalog::illness::{DIABETES, Drug};
use crate::catalog::vaccine::{INFLUENZA, VACCINES};
use crate::directory::Job;
use crate::person::{Has, TODAY, plus};
use crate::shape::{
    CVX, RXNORM, Resource, coding, concept, hl7, quantity, reference, shown, snomed,
};

/// The most immunizations that a chart keeps, the later ones.
const IMMUNIZATIONS: usize = 9;
/// Immunizations are on record for so many days back: twelve years.
const RECORDED: i64 = 4383;

impl Chart<'_> {
    pub(super) fn treatments(&mut self) {
        self.medicines();
        self.immunizations();
        self.procedures();
    }

    fn medicines(&mut self) {
        let person = self.person;
        for has in &person.chronic {
            for drug in has.illness.drugs.iter().take(2) {
                if self.dice.chance(820) {
                    let visit = self
                        .visits
                        .iter()
                        .rev()
                        .find(|v| v.about.as_ref().is_some_and(|a| a.id == has.id))
                        .or_else(|| self.visits.iter().rfind(|v| v.day >= has.onset))
                        .cloned();
                    self.prescribe(has, drug, visit.as_ref());
                }
            }
        }
        for visit in self.visits.clone() {
            if let Some(has) = visit.about.as_ref().filter(|h| !h.illness.chronic) {
                for drug in has.illness.drugs {
                    self.prescribe(has, drug, Some(&visit));
                }
            }
        }
    }

    fn prescribe(&mut self, has: &Has, drug: &Drug, visit: Option<&Visit<'_>>) {
        let Some(visit) = visit else { return };
        let ended = !has.illness.chronic || self.died.is_some();
        let often = match drug.daily {
            1 => "once a day".to_owned(),
            2 => "twice a day".to_owned(),
            n => format!("{n} times a day"),
        };
        let several = if drug.amount > 1 { "s" } else { "" };
        let text = format!(
            "{} {}{several} {often}{}",
            drug.amount,
            drug.unit,
            if drug.as_needed { ", as needed" } else { "" }
        );
        let mut r = Resource::new("MedicationRequest", self.ids.uuid(), has.illness.labels);
        let number = self.identifier("prescription");
        let unit = format!("{{{}}}", drug.unit);
        let (amount, count) = (i64::from(drug.amount), i64::from(drug.daily * drug.days));
        let mut dosage = json!({
            "sequence": 1,
            "text": text,
            "timing": { "repeat": { "frequency": drug.daily, "period": 1, "periodUnit": "d" } },
            "asNeededBoolean": drug.as_needed,
            "route": snomed("26643006", "Oral route (qualifier value)"),
            "doseAndRate": [{
                "type": concept(hl7("dose-rate-type", "ordered", "Ordered")),
                "doseQuantity": quantity(amount, 0, drug.unit, &unit),
            }],
        });
        let route = match drug.unit {
            "puff" | "inhalation" => {
                Some(("447694001", "Respiratory tract route (qualifier value)"))
            }
            "application" => Some(("6064005", "Topical route (qualifier value)")),
            _ => None,
        };
        if let (Some((code, display)), Some(map)) = (route, dosage.as_object_mut()) {
            map.insert("route".to_owned(), snomed(code, display));
        }
        r.set("identifier", number)
            .set("status", if ended { "completed" } else { "active" })
            .set("intent", "order")
            .set(
                "category",
                json!([concept(hl7("medicationrequest-category", "community", "Community"))]),
            )
            .set(
                "medicationCodeableConcept",
                json!({
                    "coding": [coding(RXNORM, drug.rxnorm, drug.display)],
                    "text": drug.display,
                }),
            )
            .set("subject", self.subject())
            .set("encounter", reference("Encounter", &visit.id))
            .set("authoredOn", self.at(visit.day, visit.minute + 12))
            .set("requester", visit.worker.reference())
            .set("reasonReference", json!([reference("Condition", &has.id)]))
            .set("dosageInstruction", json!([dosage]))
            .set(
                "dispenseRequest",
                json!({
                    "validityPeriod": {
                        "start": visit.day.to_string(),
                        "end": plus(visit.day, 365).to_string(),
                    },
                    "numberOfRepeatsAllowed": if has.illness.chronic { 3 } else { 0 },
                    "quantity": quantity(count * amount, 0, drug.unit, &unit),
                    "expectedSupplyDuration": quantity(drug.days.into(), 0, "days", "d"),
                }),
            );
        self.push(r);
    }

    fn immunizations(&mut self) {
        let person = self.person;
        let latest = self.died.unwrap_or(TODAY);
        let mut given: Vec<(Date, &str, &str)> = Vec::new();
        for vaccine in VACCINES {
            for months in vaccine.due {
                let late = self.dice.between(0, 25);
                let day = plus(person.birth, i64::from(*months) * 3044 / 100 + late);
                if day < latest && self.dice.chance(880) {
                    given.push((day, vaccine.cvx, vaccine.display));
                }
            }
        }
        for year in 2023..=2025 {
            let day = plus(date(year, 9, 20), self.dice.between(0, 70));
            let old_enough = day > plus(person.birth, 190);
            if old_enough && day < latest && self.dice.chance(620) {
                given.push((day, INFLUENZA.cvx, INFLUENZA.display));
            }
        }
        given.retain(|(day, ..)| *day > plus(TODAY, -RECORDED));
        given.sort();
        let skipped = given.len().saturating_sub(IMMUNIZATIONS);
        for (day, cvx, display) in given.into_iter().skip(skipped) {
            let lot =
                format!("{}{}", self.dice.pick(&["AF", "BK", "CT", "DM"]), self.dice.digits(4));
            let clinic = self.clinic_of(self.nurse);
            let mut r = Resource::new("Immunization", self.ids.uuid(), &[]);
            r.set("status", "completed")
                .set(
                    "vaccineCode",
                    json!({ "coding": [coding(CVX, cvx, display)], "text": display }),
                )
                .set("patient", self.subject())
                .set("occurrenceDateTime", self.at(day, 10 * 60 + 30))
                .set("primarySource", true)
                .set_some("location", clinic.map(|c| shown("Location", &c.location, c.name)))
                .set("lotNumber", lot)
                .set("site", concept(hl7("v3-ActSite", "LA", "left arm")))
                .set(
                    "route",
                    concept(hl7("v3-RouteOfAdministration", "IM", "Injection, intramuscular")),
                )
                .set("doseQuantity", quantity(5, 1, "mL", "mL"))
                .set("performer", json!([{ "actor": self.nurse.reference() }]));
            self.push(r);
        }
    }

    fn procedures(&mut self) {
        let person = self.person;
        for visit in self.visits.clone() {
            let age = person.age(visit.day);
            let mut done: Vec<(&str, &str)> = Vec::new();
            match visit.kind {
                Kind::Wellness => {
                    if age >= 18 {
                        done.push(("430193006", "Medication reconciliation (procedure)"));
                    }
                    if age >= 50 && self.dice.chance(250) {
                        done.push(("73761001", "Colonoscopy (procedure)"));
                    }
                    if age >= 45 && person.female && self.dice.chance(400) {
                        done.push(("71651007", "Mammography (procedure)"));
                    }
                    if age >= 12 && self.dice.chance(500) {
                        done.push(("171207006", "Depression screening (procedure)"));
                    }
                }
                Kind::Inpatient => {
                    done.push(("29303009", "Electrocardiographic procedure (procedure)"));
                    done.push(("399208008", "Plain chest X-ray (procedure)"));
                }
                _ => {}
            }
            match visit.about.as_ref().map_or("", |h| h.illness.snomed) {
                DIABETES => done.push(("401191002", "Diabetic foot examination (regime/therapy)")),
                "195967001" | "13645005" => done.push(("127783003", "Spirometry (procedure)")),
                "49436004" | "53741008" => {
                    done.push(("29303009", "Electrocardiographic procedure (procedure)"));
                }
                "88805009" => done.push(("40701008", "Echocardiography (procedure)")),
                "283371005" => done.push(("288086009", "Suture open wound (procedure)")),
                "195662009" | "43878008" => done.push(("117015009", "Throat culture (procedure)")),
                "13746004" | "370143000" => {
                    done.push(("228557008", "Cognitive and behavioral therapy (regime/therapy)"));
                }
                _ => {}
            }
            done.sort_unstable();
            done.dedup();
            for (code, display) in done {
                self.procedure(&visit, code, display);
            }
        }
    }

    fn procedure(&mut self, visit: &Visit<'_>, code: &str, display: &str) {
        let performer = if code == "117015009" { self.one_of(Job::Nurse) } else { visit.worker };
        let (occupation, occupation_display) = performer.job.occupation();
        let start = visit.minute + 6;
        let mut r = Resource::new("Procedure", self.ids.uuid(), visit.labels());
        r.set("status", "completed")
            .set("code", snomed(code, display))
            .set("subject", self.subject())
            .set("encounter", reference("Encounter", &visit.id))
            .set(
                "performedPeriod",
                json!({
                    "start": self.at(visit.day, start),
                    "end": self.at(visit.day, start + 14),
                }),
            )
            .set(
                "performer",
                json!([{
                    "function": snomed(occupation, occupation_display),
                    "actor": performer.reference(),
                }]),
            )
            .set("location", shown("Location", &visit.clinic.location, visit.clinic.name));
        if let Some(has) = &visit.about {
            r.set("reasonReference", json!([reference("Condition", &has.id)]));
        }
        self.push(r);
    }
}
