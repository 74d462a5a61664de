//! Laboratory results with their reference ranges, the orders that asked for them, and
//! reports: panels and imaging.

use super::Chart;
use super::finding::Sort;
use super::plan::{Kind, Visit};
use crate::catalog::illness::{
    ANEMIA, DIABETES, FIBRILLATION, GOUT, HEART_FAILURE, KIDNEY, LIPIDS as HIGH_LIPIDS, THYROID,
};
use crate::catalog::laboratory::{COUNT, LIPIDS, METABOLIC, Panel, TROPONIN, Test};
use crate::day::Day;
use crate::directory::{Dept, Job};
use crate::json::{Decimal, put, set};
use crate::note::Text;
use crate::shape::{Concept, Id, Labels, Quantity, Ref, Shown, Told, hl7, loinc};

const LABORATORY: Sort = ("laboratory", "Laboratory", "us-core-observation-lab");

impl<'a> Chart<'a> {
    /// Everything that was drawn or pictured at a visit.
    pub(super) fn laboratory_of(&mut self, visit: &Visit<'a>) {
        let age = self.p.age(visit.day);
        let wellness = visit.kind == Kind::Wellness && age >= 18;
        if wellness && (age >= 35 || self.dice.chance(350)) && self.dice.chance(620) {
            self.panel(visit, &METABOLIC);
            let second = if self.dice.chance(600) { &LIPIDS } else { &COUNT };
            self.panel(visit, second);
        }
        if visit.kind == Kind::Inpatient {
            self.panel(visit, &METABOLIC);
            self.panel(visit, &COUNT);
        }
        let (tests, snomed): (&[Test], &str) =
            visit.illness().map_or((&[], ""), |i| (i.tests, i.snomed));
        if visit.kind != Kind::Virtual {
            for test in tests {
                let (id, _) = self.result(visit, test);
                self.end("Observation", id);
            }
        }
        if snomed == "29857009" {
            for _ in 0..2 {
                let (id, _) = self.result(visit, &TROPONIN);
                self.end("Observation", id);
            }
        }
        let screened = wellness && self.p.member.female && (45..=74).contains(&age);
        if snomed == "233604007" || snomed == "33737001" || visit.kind == Kind::Inpatient {
            self.picture(visit, ("36643-5", "XR Chest 2 Views"), CHEST);
        } else if screened && self.dice.chance(400) {
            self.picture(visit, ("24606-6", "MG Breast Screening"), BREAST);
        } else if snomed == HEART_FAILURE && self.dice.chance(400) {
            self.picture(visit, ("42148-7", "US Heart"), HEART);
        }
    }

    /// The value of a test for this patient, in its last decimal.
    fn level(&mut self, test: &Test, day: Day) -> i64 {
        let p = self.p;
        let age = p.age(day);
        let (mut mean, mut deviation) = (test.mean, test.deviation);
        let mut shift = |by: i64, spread: i64| {
            mean += by;
            deviation = deviation.max(spread);
        };
        match test.loinc {
            // Sugar comes down in the years after it is found.
            "4548-4" if p.has(DIABETES, day) => shift(self.trend(DIABETES, day, 28, 14), 6),
            "2345-7" if p.has(DIABETES, day) => shift(self.trend(DIABETES, day, 75, 45), 20),
            "2160-0" if p.has(KIDNEY, day) => shift(75, 15),
            "98979-8" if p.has(KIDNEY, day) => shift(-48, 6),
            "98979-8" => shift(-((age - 40).max(0) / 2), 8),
            "2093-3" if p.has(HIGH_LIPIDS, day) => shift(self.trend(HIGH_LIPIDS, day, 70, 25), 14),
            "13457-7" if p.has(HIGH_LIPIDS, day) => shift(self.trend(HIGH_LIPIDS, day, 62, 18), 12),
            "2571-8" if p.has(HIGH_LIPIDS, day) || p.has(DIABETES, day) => shift(58, 35),
            "2085-9" if p.has(DIABETES, day) => shift(-10, 6),
            "718-7" if p.has(ANEMIA, day) => shift(-37, 8),
            "4544-3" if p.has(ANEMIA, day) => shift(-98, 22),
            "2276-4" if p.has(ANEMIA, day) => shift(-50, 4),
            "718-7" if p.member.female => shift(-10, 8),
            "4544-3" if p.member.female => shift(-30, 20),
            "3016-3" if p.has(THYROID, day) => shift(self.trend(THYROID, day, 500, 90), 110),
            "3084-1" if p.has(GOUT, day) => shift(20, 9),
            "33762-6" if p.has(HEART_FAILURE, day) => shift(720, 230),
            "10230-1" if p.has(HEART_FAILURE, day) => shift(-22, 6),
            "14959-1" if p.has(DIABETES, day) => shift(16, 12),
            "6301-6" if !p.has(FIBRILLATION, day) => shift(-15, 1),
            _ => {}
        }
        self.dice.around(mean, deviation).max(test.mean / 10)
    }

    /// An excess that falls from `first` to `last` within two years of treatment.
    fn trend(&self, snomed: &str, day: Day, first: i64, last: i64) -> i64 {
        let onset = self.p.chronic.iter().find(|h| h.illness.snomed == snomed).map(|h| h.onset);
        let months = onset.map_or(24, |o| (o.until(day) / 30).clamp(0, 24));
        first + (last - first) * months / 24
    }

    /// Begins one result, and whether it lies within the reference range.
    fn result(&mut self, visit: &Visit<'a>, test: &Test) -> (Id, bool) {
        let value = self.level(test, visit.day);
        let id =
            self.observation(visit, LABORATORY, &[loinc(test.loinc, test.display)], visit.labels());
        let (flag, meaning) = if test.high.is_some_and(|high| value > high) {
            ("H", "High")
        } else if test.low.is_some_and(|low| value < low) {
            ("L", "Low")
        } else {
            ("N", "Normal")
        };
        set!(self.out,
            "issued": (self.at(visit.day, visit.minute + 60 + (id.low() % 300) as i64)),
            "performer": [(self.laboratory_shown())],
            "valueQuantity": (Quantity(value, test.decimals, test.unit, test.ucum)),
            "interpretation": [(Told(hl7("v3-ObservationInterpretation", flag, meaning)))],
        );
        self.out.key("referenceRange");
        self.out.open('[');
        self.out.open('{');
        for (name, bound) in [("low", test.low), ("high", test.high)] {
            if let Some(bound) = bound {
                self.out.key(name);
                put!(self.out, (Quantity(bound, test.decimals, test.unit, test.ucum)));
            }
        }
        if let (Some(low), Some(high)) = (test.low, test.high) {
            let mut text = String::new();
            Decimal(low, test.decimals).write(&mut text);
            text.push('-');
            Decimal(high, test.decimals).write(&mut text);
            set!(self.out, "text": (text));
        }
        self.out.close('}');
        self.out.close(']');
        (id, flag == "N")
    }

    /// The order behind a panel or picture.
    fn order(&mut self, visit: &Visit<'a>, (code, display): (&str, &str), imaging: bool) -> Id {
        let id = self.id();
        let labels = visit.labels();
        self.begin("ServiceRequest", id, "us-core-servicerequest", labels);
        let (kind, shown) = if imaging {
            ("363679005", "Imaging (procedure)")
        } else {
            ("108252007", "Laboratory procedure (procedure)")
        };
        set!(self.out,
            "status": "completed",
            "intent": "order",
            "category": [(Told(crate::shape::sct(kind, shown)))],
            "priority": (if visit.stays() { "urgent" } else { "routine" }),
            "code": (Told(loinc(code, display))),
            "subject": (self.subject()),
            "encounter": (Ref("Encounter", visit.id)),
            "occurrenceDateTime": (self.at(visit.day, visit.minute + 3)),
            "authoredOn": (self.at(visit.day, visit.minute + 2)),
            "requester": (visit.worker.reference()),
        );
        if let Some(has) = &visit.about {
            set!(self.out, "reasonReference": [(Ref("Condition", has.id))]);
        }
        self.end("ServiceRequest", id);
        id
    }

    fn report(
        &mut self,
        visit: &Visit<'a>,
        profile: &str,
        category: crate::shape::Coding<'static>,
        (code, display): (&str, &str),
        order: Id,
    ) -> Id {
        let id = self.id();
        let labels: Labels = visit.labels();
        self.begin("DiagnosticReport", id, profile, labels);
        self.identifier("report", "A");
        set!(self.out,
            "basedOn": [(Ref("ServiceRequest", order))],
            "status": "final",
            "category": [(Concept(category))],
            "code": (Told(loinc(code, display))),
            "subject": (self.subject_shown()),
            "encounter": (Ref("Encounter", visit.id)),
            "effectiveDateTime": (self.at(visit.day, visit.minute + 4)),
            "issued": (self.at(visit.day, visit.minute + 380)),
        );
        id
    }

    fn panel(&mut self, visit: &Visit<'a>, panel: &Panel) {
        let order = self.order(visit, (panel.loinc, panel.display), false);
        let mut results: Vec<Id> = Vec::with_capacity(panel.tests.len());
        let mut abnormal: Vec<&str> = Vec::new();
        for test in panel.tests {
            let (id, normal) = self.result(visit, test);
            self.end("Observation", id);
            if !normal {
                abnormal.push(test.display.split(" [").next().unwrap_or(test.display));
            }
            results.push(id);
        }
        let lab = hl7("v2-0074", "LAB", "Laboratory");
        let code = (panel.loinc, panel.display);
        let id = self.report(visit, "us-core-diagnosticreport-lab", lab, code, order);
        set!(self.out, "performer": [(self.laboratory_shown())]);
        self.out.key("result");
        self.out.open('[');
        for result in results {
            put!(self.out, (Ref("Observation", result)));
        }
        self.out.close(']');
        let mut text = Text::default();
        if abnormal.is_empty() {
            text.plain("All values within the reference ranges.");
        } else {
            text.plain("Outside the reference range: ").plain(&abnormal.join("; ")).plain(".");
            if self.dice.chance(250) {
                let scene = self.scene(visit.day, visit.worker);
                self.phrase(
                    &mut text,
                    " Called to {doctor} for {name}, DOB {dob}, on {date}.",
                    scene,
                );
            }
        }
        self.told("conclusion", text, ("DiagnosticReport", id), "DiagnosticReport.conclusion");
        self.end("DiagnosticReport", id);
    }

    fn picture(
        &mut self,
        visit: &Visit<'a>,
        code: (&'static str, &'static str),
        findings: &'static [&'static str],
    ) {
        let order = self.order(visit, code, true);
        let category = loinc("LP29684-5", "Radiology");
        let id = self.report(visit, "us-core-diagnosticreport-note", category, code, order);
        let house = self.d.department(Dept::Imaging);
        let reader = self.d.of(Job::Radiologist).next().unwrap_or(visit.worker);
        set!(self.out,
            "performer": [(Shown("Organization", house.organization, house.name))],
            "resultsInterpreter": [(reader.reference())],
        );
        let scene = self.scene(visit.day, reader);
        let mut text = Text::default();
        let opening = *self.dice.pick(&[
            "{CAPS}  MRN {mrn}  DOB {dob}\nExam of {date}, compared with {prev}.\n",
            "Patient {name}, born {dob}. Ordered by {gp}. Exam {date}.\n",
            "{years} {person}. Comparison: {prev}.\n",
        ]);
        self.phrase(&mut text, opening, scene);
        let finding = self.choose(findings, scene.worker);
        self.phrase(&mut text, finding, scene);
        self.phrase(&mut text, "\nRead by {signed}, {clinic}.", scene);
        self.told("conclusion", text, ("DiagnosticReport", id), "DiagnosticReport.conclusion");
        self.end("DiagnosticReport", id);
    }
}

const CHEST: &[&str] = &[
    "Heart size normal. No focal consolidation, effusion or pneumothorax.",
    "Patchy opacity at the right base, in keeping with pneumonia. Follow-up film advised after {next}.",
    "Mild cardiomegaly with a little fluid in the fissures. No change since {prev}.",
];
const BREAST: &[&str] = &[
    "Scattered fibroglandular densities. No suspicious finding. BI-RADS 1. Letter sent to {street}, {city}.",
    "Benign calcifications, unchanged. BI-RADS 2. Next screening in a year; reminder goes to {email}.",
];
const HEART: &[&str] = &[
    "Left ventricle mildly dilated, ejection fraction about 40 percent. Mild mitral regurgitation. Discussed with {gp} by phone.",
    "Ejection fraction 38 percent, as on {prev}. No thrombus.",
];
