//! Medication requests, immunizations, procedures.

use super::Chart;
use super::plan::{Kind, Visit};
use crate::catalog::illness::{COPD, CORONARY, DIABETES, Drug, FIBRILLATION, HEART_FAILURE};
use crate::catalog::vaccine::{COVID, VACCINES, influenza};
use crate::day::{Day, TODAY};
use crate::json::set;
use crate::person::Has;
use crate::shape::{Concept, Quantity, Ref, Shown, Told, coding, hl7, sct};

/// The most immunizations that a chart keeps, the later ones.
const IMMUNIZATIONS: usize = 12;
/// Immunizations are on record for so many days back: twelve years.
const RECORDED: i64 = 4383;

const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
const CVX: &str = "http://hl7.org/fhir/sid/cvx";

impl<'a> Chart<'a> {
    pub(super) fn treatments(&mut self) {
        self.medicines();
        self.immunizations();
        self.procedures();
    }

    /// Whether a chronic drug is taken: the same answer wherever it is asked.
    pub(super) fn takes(&self, has: &Has, at: usize) -> bool {
        at == 0 || (has.id.low() >> (at * 7)) % 100 < 45
    }

    fn medicines(&mut self) {
        let p = self.p;
        for has in &p.chronic {
            let labels = has.illness.labels;
            let visit = self
                .visits
                .iter()
                .rev()
                .find(|v| v.about.is_some_and(|a| a.id == has.id) && v.worker.prescribes())
                .or_else(|| {
                    let own = self.doctor.id;
                    self.visits
                        .iter()
                        .rfind(|v| v.day >= has.onset && labels.is_empty() && v.worker.id == own)
                })
                .or_else(|| {
                    // What is specially protected is prescribed where it is treated.
                    self.visits.iter().rfind(|v| {
                        v.day >= has.onset
                            && labels.is_empty()
                            && v.kind != Kind::Emergency
                            && v.worker.prescribes()
                    })
                })
                .cloned();
            let Some(visit) = visit else { continue };
            for (at, drug) in has.illness.drugs.iter().enumerate().take(3) {
                if self.takes(has, at) {
                    self.prescribe(has, drug, &visit);
                }
            }
        }
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            let Some(has) = visit.about.filter(|h| !h.illness.chronic) else { continue };
            if visit.worker.prescribes() {
                for drug in has.illness.drugs {
                    self.prescribe(&has, drug, &visit);
                }
            }
        }
    }

    fn prescribe(&mut self, has: &Has, drug: &Drug, visit: &Visit<'a>) {
        let ended = !has.illness.chronic || !self.p.alive();
        let mut text = String::new();
        crate::json::Decimal(drug.amount, 0).write(&mut text);
        text.push(' ');
        text.push_str(drug.unit);
        text.push_str(if drug.amount > 1 { "s " } else { " " });
        let often = match (drug.daily, drug.days) {
            (_, 1) => "once",
            (1, 28) if drug.amount > 4 => "once a week",
            (1, _) => "once a day",
            (2, _) => "twice a day",
            (3, _) => "three times a day",
            _ => "four times a day",
        };
        text.push_str(often);
        let weekly = often == "once a week";
        if drug.as_needed {
            text.push_str(", as needed for ");
            text.push_str(has.illness.plain);
        }
        let (route, shown) = match drug.unit {
            "puff" | "inhalation" => ("447694001", "Respiratory tract route (qualifier value)"),
            "application" => ("6064005", "Topical route (qualifier value)"),
            _ if drug.display.contains("Sublingual") => {
                ("37839007", "Sublingual route (qualifier value)")
            }
            _ => ("26643006", "Oral route (qualifier value)"),
        };
        let unit = format!("{{{}}}", drug.unit);
        let count = if weekly { drug.amount * 4 } else { drug.amount * drug.daily * drug.days };
        let id = self.id();
        self.begin("MedicationRequest", id, "us-core-medicationrequest", has.illness.labels);
        self.identifier("prescription", "RX");
        set!(self.out,
            "status": (if ended { "completed" } else { "active" }),
            "intent": "order",
            "category": [(Told(hl7("medicationrequest-category", "community", "Community")))],
            "reportedBoolean": false,
            "medicationCodeableConcept": (Told(coding(RXNORM, drug.rxnorm, drug.display))),
            "subject": (self.subject_shown()),
            "encounter": (Ref("Encounter", visit.id)),
            "authoredOn": (self.at(visit.day, visit.minute + 12)),
            "requester": (visit.worker.reference()),
            "reasonReference": [(Ref("Condition", has.id))],
            "dosageInstruction": [{
                "sequence": 1_i64,
                "text": (text),
                "timing": { "repeat": {
                    "frequency": (drug.daily), "period": 1_i64,
                    "periodUnit": (if weekly { "wk" } else { "d" }),
                } },
                "asNeededBoolean": (drug.as_needed),
                "route": (Told(sct(route, shown))),
                "doseAndRate": [{
                    "type": (Concept(hl7("dose-rate-type", "ordered", "Ordered"))),
                    "doseQuantity": (Quantity(drug.amount, 0, drug.unit, &unit)),
                }],
            }],
            "dispenseRequest": {
                "validityPeriod": { "start": (visit.day), "end": (visit.day.plus(365)) },
                "numberOfRepeatsAllowed": (if has.illness.chronic { 3_i64 } else { 0 }),
                "quantity": (Quantity(count, 0, drug.unit, &unit)),
                "expectedSupplyDuration": (Quantity(drug.days, 0, "days", "d")),
            },
        );
        self.end("MedicationRequest", id);
    }

    fn immunizations(&mut self) {
        let p = self.p;
        let (birth, latest) = (p.member.birth, p.last());
        let mut given: Vec<(Day, &str, &str, bool)> = Vec::new();
        for vaccine in VACCINES {
            for months in vaccine.due {
                let day = birth.plus(months * 3044 / 100 + self.dice.between(1, 25)).open();
                if day < latest && vaccine.available(day) && self.dice.chance(880) {
                    given.push((day, vaccine.cvx, vaccine.display, vaccine.oral));
                }
            }
        }
        for year in 2022..=2025 {
            let day = Day::new(year, 9, 20).plus(self.dice.between(0, 70)).open();
            if day > birth.plus(190) && day < latest && self.dice.chance(560) {
                let (cvx, display) = influenza(year, p.age(day) >= 65);
                given.push((day, cvx, display, false));
            }
        }
        let willing = self.dice.chance(700);
        for (season, cvx, display) in COVID {
            let day = season.plus(self.dice.between(0, 18)).open();
            if willing && p.age(day) >= 12 && day < latest && self.dice.chance(800) {
                given.push((day, cvx, display, false));
            }
        }
        given.retain(|(day, ..)| *day > TODAY.plus(-RECORDED));
        given.sort_unstable();
        let skipped = given.len().saturating_sub(IMMUNIZATIONS);
        let (nurse, clinic) = (self.nurse, self.department_of(self.nurse));
        for (day, cvx, display, oral) in given.into_iter().skip(skipped) {
            let lot =
                format!("{}{}", self.dice.pick(&["AF", "BK", "CT", "DM"]), self.dice.digits(4));
            let id = self.id();
            self.begin("Immunization", id, "us-core-immunization", &[]);
            set!(self.out,
                "status": "completed",
                "vaccineCode": (Told(coding(CVX, cvx, display))),
                "patient": (self.subject_shown()),
                "occurrenceDateTime": (self.at(day, 10 * 60 + 30)),
                "primarySource": true,
                "location": (Shown("Location", clinic.location, clinic.name)),
                "lotNumber": (lot),
                "expirationDate": (day.plus(200)),
            );
            if oral {
                self.status("route", "v3-RouteOfAdministration", "PO", "Swallow, oral");
            } else {
                let (site, shown) =
                    if p.age(day) < 2 { ("LT", "left thigh") } else { ("LA", "left arm") };
                self.status("site", "v3-ActSite", site, shown);
                self.status("route", "v3-RouteOfAdministration", "IM", "Injection, intramuscular");
            }
            set!(self.out,
                "doseQuantity": (Quantity(5, 1, "mL", "mL")),
                "performer": [{
                    "function": (Concept(hl7("v2-0443", "AP", "Administering Provider"))),
                    "actor": (nurse.reference()),
                }],
            );
            self.end("Immunization", id);
        }
    }

    fn procedures(&mut self) {
        let female = self.p.member.female;
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            let age = self.p.age(visit.day);
            let mut done: Vec<(&str, &str)> = Vec::new();
            match visit.kind {
                Kind::Wellness => {
                    if age >= 18 {
                        done.push(("430193006", "Medication reconciliation (procedure)"));
                    }
                    if (45..=75).contains(&age) && self.dice.chance(200) {
                        done.push(("73761001", "Colonoscopy (procedure)"));
                    }
                    if (45..=74).contains(&age) && female && self.dice.chance(300) {
                        done.push(("71651007", "Mammography (procedure)"));
                    }
                    if age >= 12 && self.dice.chance(400) {
                        done.push(("171207006", "Depression screening (procedure)"));
                    }
                }
                Kind::Inpatient => {
                    done.push(("29303009", "Electrocardiographic procedure (procedure)"));
                    done.push(("399208008", "Plain chest X-ray (procedure)"));
                }
                Kind::Birth => done.push(("177184002", "Normal delivery procedure (procedure)")),
                Kind::Newborn => {
                    done.push(("5880005", "Physical examination following birth (procedure)"));
                }
                _ => {}
            }
            let about = visit.illness().map_or("", |i| i.snomed);
            let office = visit.kind == Kind::FollowUp;
            match about {
                DIABETES if office => {
                    done.push(("401191002", "Diabetic foot examination (regime/therapy)"));
                }
                "195967001" | COPD if office => done.push(("127783003", "Spirometry (procedure)")),
                FIBRILLATION | CORONARY | "29857009" if visit.kind != Kind::Virtual => {
                    done.push(("29303009", "Electrocardiographic procedure (procedure)"));
                }
                HEART_FAILURE if office => done.push(("40701008", "Echocardiography (procedure)")),
                "283371005" => done.push(("288086009", "Suture open wound (procedure)")),
                "195662009" | "43878008" => done.push(("117015009", "Throat culture (procedure)")),
                "13746004" | "370143000" | "21897009" | "58214004" => {
                    done.push(("228557008", "Cognitive and behavioral therapy (regime/therapy)"));
                }
                "7200002" => done.push(("24165007", "Alcoholism counseling (procedure)")),
                "5602001" | "31956009" => {
                    done.push(("60112009", "Drug addiction counseling (procedure)"));
                }
                "74400008" => done.push(("80146002", "Appendectomy (procedure)")),
                _ => {}
            }
            done.sort_unstable();
            done.dedup();
            for (code, display) in done {
                self.procedure(&visit, code, display);
            }
        }
    }

    fn procedure(&mut self, visit: &Visit<'a>, code: &str, display: &str) {
        let performer = match code {
            "117015009" => visit.nurse.unwrap_or(visit.worker),
            _ => visit.worker,
        };
        let start = visit.minute + 6;
        let id = self.id();
        self.begin("Procedure", id, "us-core-procedure", visit.labels());
        set!(self.out,
            "status": "completed",
            "code": (Told(sct(code, display))),
            "subject": (self.subject_shown()),
            "encounter": (Ref("Encounter", visit.id)),
            "performedPeriod": {
                "start": (self.at(visit.day, start)), "end": (self.at(visit.day, start + 14)),
            },
        );
        self.out.key("performer");
        self.out.open('[');
        self.out.open('{');
        self.out.key("function");
        crate::directory::put_occupation(performer.job, &mut self.out);
        set!(self.out, "actor": (performer.reference()));
        self.out.close('}');
        self.out.close(']');
        if visit.kind != Kind::Home {
            set!(self.out, "location": (Shown("Location", visit.dept.location, visit.dept.name)));
        }
        if let Some(has) = &visit.about {
            set!(self.out, "reasonReference": [(Ref("Condition", has.id))]);
        }
        self.end("Procedure", id);
    }
}
