//! Observations at the bedside: vital signs, smoking, work, questionnaires.

use super::Chart;
use super::plan::{Kind, Visit};
use crate::catalog::illness::{COPD, DEPRESSION, FIBRILLATION, HEART_FAILURE, HYPERTENSION};
use crate::day::Day;
use crate::directory::Worker;
use crate::json::{put, set};
use crate::note::Text;
use crate::shape::{Coding, Concept, Id, Labels, Quantity, Ref, Shown, Told, hl7, loinc, sct};

/// What kind of observation: category code, display, US Core profile.
pub(super) type Sort = (&'static str, &'static str, &'static str);

const fn vital(profile: &'static str) -> Sort {
    ("vital-signs", "Vital Signs", profile)
}

/// One vital sign: profile, LOINC code, display, value in its last decimal, decimals,
/// unit, UCUM.
type Sign = (&'static str, &'static str, &'static str, i64, u32, &'static str, &'static str);

/// What was measured at one visit, for the note to repeat.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    pub(super) systolic: i64,
    pub(super) diastolic: i64,
    pub(super) rate: i64,
    pub(super) weight: i64,
    pub(super) warm: i64,
    pub(super) saturation: i64,
}

impl<'a> Chart<'a> {
    pub(super) fn findings(&mut self) {
        let mut asked = false;
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            self.vital_signs(&visit);
            let age = self.p.age(visit.day);
            if !asked && age >= 16 && visit.kind == Kind::Wellness {
                asked = true;
                self.smoking(&visit);
                self.occupation(&visit);
            }
            self.screening(&visit, age);
            self.laboratory_of(&visit);
        }
    }

    /// Begins an Observation up to its value; [`Chart::end`] ends it.
    pub(super) fn observation(
        &mut self,
        visit: &Visit<'a>,
        (category, shown, profile): Sort,
        codes: &[Coding<'_>],
        labels: Labels,
    ) -> Id {
        let id = self.id();
        self.begin("Observation", id, profile, labels);
        set!(self.out,
            "status": "final",
            "category": [(Told(hl7("observation-category", category, shown)))],
        );
        self.out.key("code");
        self.out.open('{');
        self.out.key("coding");
        self.out.open('[');
        for code in codes {
            put!(self.out, (*code));
        }
        self.out.close(']');
        if let Some(first) = codes.first() {
            set!(self.out, "text": (first.shown()));
        }
        self.out.close('}');
        set!(self.out,
            "subject": (self.subject()),
            "encounter": (Ref("Encounter", visit.id)),
            "effectiveDateTime": (self.at(visit.day, visit.minute + 4)),
        );
        id
    }

    fn by(&mut self, visit: &Visit<'a>) -> &'a Worker {
        visit.nurse.unwrap_or(visit.worker)
    }

    /// Systolic and diastolic pressure on a day, in mm[Hg].
    fn pressure(&mut self, day: Day) -> (i64, i64) {
        let p = self.p;
        let age = p.age(day);
        let (mut systolic, mut diastolic) =
            if age < 18 { (92 + age, 56 + age / 2) } else { (110 + age / 5, 71 + age / 20) };
        if let Some(has) = p.chronic.iter().find(|h| h.illness.snomed == HYPERTENSION) {
            // High before it is found, lower with each year of treatment.
            let treated = has.onset.until(day) / 365;
            let excess = if treated < 0 { 14 } else { (22 - treated * 3).max(4) };
            (systolic, diastolic) = (systolic + excess, diastolic + excess / 2);
        }
        let (up, down) =
            (self.dice.around(systolic + p.tense, 6), self.dice.around(diastolic + p.tense / 2, 4));
        (up, down.min(up - 25))
    }

    /// What the vital signs are: drawn once a visit, for chart and note alike.
    pub(super) fn measure(&mut self, visit: &Visit<'a>) -> Measured {
        let p = self.p;
        // Its own stream, so that whoever asks gets the same answer.
        let keep = self.dice.clone();
        self.dice = crate::dice::Dice::new(self.d.seed ^ visit.id.low(), "measure", 0);
        let age = p.age(visit.day);
        let (systolic, diastolic) = self.pressure(visit.day);
        let quick =
            72 + (14 - age).max(0) * 4 + if p.has(FIBRILLATION, visit.day) { 10 } else { 0 };
        let lungs = p.has(COPD, visit.day) || p.has(HEART_FAILURE, visit.day);
        let sick = matches!(visit.kind, Kind::Acute | Kind::Emergency | Kind::Inpatient);
        let rate = self.dice.around(if sick { quick + 8 } else { quick }, 6);
        let usual = p.weight(visit.day);
        let carried = self.carried(visit.day);
        let weight = self.dice.around(usual, (usual / 120).max(1)) + carried;
        let measured = Measured {
            systolic,
            diastolic,
            rate,
            weight,
            warm: self.dice.around(if sick { 375 } else { 368 }, if sick { 6 } else { 2 }),
            saturation: self.dice.around(if lungs { 93 } else { 98 }, 1).min(100),
        };
        self.dice = keep;
        measured
    }

    /// What a pregnancy weighs on a day, in tenths of a kilogram.
    fn carried(&self, day: Day) -> i64 {
        let with_child = self.visits.iter().filter_map(|v| v.about).find(|h| {
            h.illness.labels.contains(&"PREGNANT") && h.onset <= day && h.onset.until(day) < 285
        });
        with_child.map_or(0, |h| h.onset.until(day) * 120 / 280)
    }

    fn vital_signs(&mut self, visit: &Visit<'a>) {
        if visit.kind == Kind::Virtual {
            return;
        }
        let p = self.p;
        let age = p.age(visit.day);
        let labels = visit.labels();
        let m = self.measure(visit);
        let by = self.by(visit);
        if age >= 3 && visit.kind != Kind::Newborn {
            let id = self.observation(
                visit,
                vital("us-core-blood-pressure"),
                &[loinc("85354-9", "Blood pressure panel with all children optional")],
                labels,
            );
            set!(self.out,
                "performer": [(by.reference())],
                "component": [
                    { "code": (Told(loinc("8480-6", "Systolic blood pressure"))),
                      "valueQuantity": (Quantity(m.systolic, 0, "mmHg", "mm[Hg]")) },
                    { "code": (Told(loinc("8462-4", "Diastolic blood pressure"))),
                      "valueQuantity": (Quantity(m.diastolic, 0, "mmHg", "mm[Hg]")) },
                ],
            );
            self.end("Observation", id);
        }
        let mut signs: Vec<Sign> =
            vec![("us-core-heart-rate", "8867-4", "Heart rate", m.rate, 0, "beats/minute", "/min")];
        let quick = matches!(visit.kind, Kind::Emergency | Kind::Birth);
        if !quick {
            signs.push(("us-core-body-weight", "29463-7", "Body weight", m.weight, 1, "kg", "kg"));
        }
        if matches!(visit.kind, Kind::Wellness | Kind::Newborn) {
            let height = p.height(visit.day);
            signs.push(("us-core-body-height", "8302-2", "Body height", height, 1, "cm", "cm"));
            if age >= 2 {
                // Kilograms in tenths over metres squared, from millimetres: in tenths.
                let index = m.weight * 1_000_000 / (height * height).max(1);
                let name = "Body mass index (BMI) [Ratio]";
                signs.push(("us-core-bmi", "39156-5", name, index, 1, "kg/m2", "kg/m2"));
            } else {
                let days = p.member.birth.until(visit.day);
                let round = 350 + 125 * days.min(730) * (1460 - days.min(730)) / (730 * 730);
                let name = "Head Occipital-frontal circumference";
                signs.push(("us-core-head-circumference", "9843-4", name, round, 1, "cm", "cm"));
            }
        }
        let sick = matches!(visit.kind, Kind::Acute | Kind::Emergency | Kind::Inpatient);
        if sick {
            signs.push((
                "us-core-body-temperature",
                "8310-5",
                "Body temperature",
                m.warm,
                1,
                "Cel",
                "Cel",
            ));
        }
        if sick || m.saturation < 95 {
            let breaths = 15 + (12 - age).max(0) + i64::from(m.saturation < 95) * 3 + m.rate % 4;
            signs.push((
                "us-core-respiratory-rate",
                "9279-1",
                "Respiratory rate",
                breaths,
                0,
                "breaths/minute",
                "/min",
            ));
            let name = "Oxygen saturation in Arterial blood by Pulse oximetry";
            signs.push(("us-core-pulse-oximetry", "59408-5", name, m.saturation, 0, "%", "%"));
        }
        if matches!(visit.kind, Kind::Emergency) && age >= 5 {
            let pain = self.dice.between(1, 8);
            let name = "Pain severity - 0-10 verbal numeric rating [Score] - Reported";
            signs.push(("us-core-vital-signs", "72514-3", name, pain, 0, "{score}", "{score}"));
        }
        for (profile, code, display, value, decimals, unit, ucum) in signs {
            let pulse = [
                loinc("2708-6", "Oxygen saturation in Arterial blood"),
                loinc("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
            ];
            let own = [loinc(code, display)];
            let codes: &[Coding<'_>] = if code == "59408-5" { &pulse } else { &own };
            let id = self.observation(visit, vital(profile), codes, labels);
            set!(self.out,
                "performer": [(by.reference())],
                "valueQuantity": (Quantity(value, decimals, unit, ucum)),
            );
            self.end("Observation", id);
        }
    }

    fn smoking(&mut self, visit: &Visit<'a>) {
        let (code, display) = match self.p.smoker {
            0..=5 => ("266919005", "Never smoked tobacco (finding)"),
            6..=7 => ("8517006", "Ex-smoker (finding)"),
            _ => ("449868002", "Smokes tobacco daily (finding)"),
        };
        let sort = ("social-history", "Social History", "us-core-smokingstatus");
        let id = self.observation(visit, sort, &[loinc("72166-2", "Tobacco smoking status")], &[]);
        set!(self.out, "valueCodeableConcept": (Told(sct(code, display))));
        self.end("Observation", id);
    }

    fn occupation(&mut self, visit: &Visit<'a>) {
        if self.p.job.is_empty() {
            return;
        }
        let sort = ("social-history", "Social History", "us-core-observation-occupation");
        let id = self.observation(visit, sort, &[loinc("11341-5", "History of Occupation")], &[]);
        set!(self.out, "valueCodeableConcept": { "text": (self.p.job) });
        if !matches!(self.p.job, "retired") && !self.p.employer.is_empty() {
            let scene = self.scene(visit.day, visit.worker);
            let mut text = Text::default();
            self.phrase(&mut text, "{job} at {employer}", scene);
            self.out.key("note");
            self.out.open('[');
            self.out.open('{');
            self.told("text", text, ("Observation", id), "Observation.note.text");
            self.out.close('}');
            self.out.close(']');
        }
        self.end("Observation", id);
    }

    /// Questionnaires: depression in the yearly visit, and under its label in treatment.
    fn screening(&mut self, visit: &Visit<'a>, age: i64) {
        let about = visit.illness().map_or("", |i| i.snomed);
        let treated = about == DEPRESSION;
        if !(treated || (visit.kind == Kind::Wellness && age >= 12 && self.dice.chance(400))) {
            return;
        }
        let known = self.p.has(DEPRESSION, visit.day);
        if known && !treated {
            return;
        }
        let score = if treated { self.dice.between(3, 14) } else { self.dice.between(0, 4) };
        let sort = ("survey", "Survey", "us-core-observation-screening-assessment");
        let display = "Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]";
        let id = self.observation(visit, sort, &[loinc("44261-6", display)], visit.labels());
        set!(self.out,
            "performer": [(visit.worker.reference())],
            "valueQuantity": (Quantity(score, 0, "{score}", "{score}")),
            "interpretation": [(Concept(if score >= 5 {
                hl7("v3-ObservationInterpretation", "POS", "Positive")
            } else {
                hl7("v3-ObservationInterpretation", "NEG", "Negative")
            }))],
        );
        self.end("Observation", id);
    }

    /// The laboratory as a performer.
    pub(super) fn laboratory_shown(&self) -> Shown<'a> {
        let house = self.d.department(crate::directory::Dept::Laboratory);
        Shown("Organization", house.organization, house.name)
    }
}
