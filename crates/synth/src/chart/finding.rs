//! Observations (vital signs, laboratory, smoking) and diagnostic reports.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::{Chart, Kind, Visit};
use crate::catalog::illness::{DIABETES, HYPERTENSION};
use crate::catalog::laboratory::{COUNT, LIPIDS, METABOLIC, Panel, Test};
use crate::person::TODAY;
use crate::shape::{
    LOINC, Resource, US_CORE, coding, concept, decimal, hl7, quantity, reference, snomed,
};

const HL7: &str = "http://hl7.org/fhir/StructureDefinition/";

/// One vital sign: LOINC code, display, value in its last decimal, decimals, unit, UCUM.
type Sign = (&'static str, &'static str, i64, u32, &'static str, &'static str);

impl Chart<'_> {
    pub(super) fn findings(&mut self) {
        let visits = self.visits.clone();
        let bloods = visits.iter().rposition(|v| v.kind == Kind::Wellness);
        for (i, visit) in visits.iter().enumerate() {
            self.vital_signs(visit);
            if i == 0 && self.person.age(visit.day) >= 14 {
                self.smoking(visit);
            }
            if Some(i) == bloods && self.person.age(visit.day) >= 18 {
                self.panel(visit, &METABOLIC);
                let second = if self.dice.chance(600) { &LIPIDS } else { &COUNT };
                self.panel(visit, second);
            }
            let tests = visit.about.as_ref().map_or(&[] as &[Test], |h| h.illness.tests);
            for test in tests {
                let (resource, _) = self.laboratory(visit, test);
                self.push(resource);
            }
        }
    }

    fn observation(
        &mut self,
        visit: &Visit<'_>,
        category: (&str, &str),
        code: (&str, &str),
        labels: &[&str],
    ) -> Resource {
        let mut r = Resource::new("Observation", self.ids.uuid(), labels);
        r.conforms_to(&match category.0 {
            "laboratory" => format!("{US_CORE}us-core-observation-lab"),
            "social-history" => format!("{US_CORE}us-core-smokingstatus"),
            _ if code.0 == "85354-9" => format!("{HL7}bp"),
            _ => format!("{HL7}vitalsigns"),
        });
        r.set("status", "final")
            .set("category", json!([concept(hl7("observation-category", category.0, category.1))]))
            .set("code", json!({ "coding": [coding(LOINC, code.0, code.1)], "text": code.1 }))
            .set("subject", self.subject())
            .set("encounter", reference("Encounter", &visit.id))
            .set("effectiveDateTime", self.at(visit.day, visit.minute + 4))
            .set("issued", self.at(visit.day, visit.minute + 5));
        r
    }

    /// Systolic and diastolic pressure on a day, in mm[Hg].
    pub(super) fn pressure(&mut self, day: Date) -> (i64, i64) {
        let p = self.person;
        let age = i64::from(p.age(day));
        let (mut systolic, mut diastolic) =
            if age < 18 { (94 + age, 58 + age / 2) } else { (110 + age / 5, 72 + age / 20) };
        if p.has(HYPERTENSION, day) {
            (systolic, diastolic) = (systolic + 17, diastolic + 8);
        }
        (self.dice.around(systolic, 8), self.dice.around(diastolic, 5))
    }

    fn vital_signs(&mut self, visit: &Visit<'_>) {
        const CATEGORY: (&str, &str) = ("vital-signs", "Vital Signs");
        let p = self.person;
        let age = i64::from(p.age(visit.day));
        let labels = visit.labels();
        let sick = matches!(visit.kind, Kind::Acute | Kind::Emergency);
        if age >= 3 {
            let (systolic, diastolic) = self.pressure(visit.day);
            let part = |code: &str, display: &str, value: i64| {
                json!({
                    "code": { "coding": [coding(LOINC, code, display)], "text": display },
                    "valueQuantity": quantity(value, 0, "mmHg", "mm[Hg]"),
                })
            };
            let mut r = self.observation(
                visit,
                CATEGORY,
                ("85354-9", "Blood pressure panel with all children optional"),
                labels,
            );
            r.set(
                "component",
                json!([
                    part("8480-6", "Systolic blood pressure", systolic),
                    part("8462-4", "Diastolic blood pressure", diastolic),
                ]),
            );
            self.push(r);
        }
        let quick = 74 + (14 - age).max(0) * 3 + if p.has("49436004", visit.day) { 10 } else { 0 };
        let rate = self.dice.around(quick, 7);
        let weight = self.weight_on(visit.day);
        let mut signs: Vec<Sign> = vec![
            ("8867-4", "Heart rate", rate, 0, "beats/minute", "/min"),
            ("29463-7", "Body weight", weight, 1, "kg", "kg"),
        ];
        if visit.kind == Kind::Wellness {
            let height = self.height_on(visit.day);
            signs.push(("8302-2", "Body height", height, 1, "cm", "cm"));
            // Kilograms in tenths over metres squared, from millimetres: in tenths.
            let index = weight * 1_000_000 / (height * height).max(1);
            signs.push(("39156-5", "Body mass index (BMI) [Ratio]", index, 1, "kg/m2", "kg/m2"));
        }
        if sick {
            let warm = self.dice.around(374, 5);
            signs.push(("8310-5", "Body temperature", warm, 1, "Cel", "Cel"));
            let pain = self.dice.between(1, 7);
            signs.push((
                "72514-3",
                "Pain severity - 0-10 verbal numeric rating [Score] - Reported",
                pain,
                0,
                "{score}",
                "{score}",
            ));
        }
        let lungs = p.has("13645005", visit.day) || p.has("88805009", visit.day);
        if sick || lungs {
            let mean = if lungs { 93 } else { 98 };
            let saturation = self.dice.around(mean, 1).min(100);
            let breaths = self.dice.around(16 + (12 - age).max(0), 2);
            signs.push((
                "59408-5",
                "Oxygen saturation in Arterial blood by Pulse oximetry",
                saturation,
                0,
                "%",
                "%",
            ));
            signs.push(("9279-1", "Respiratory rate", breaths, 0, "breaths/minute", "/min"));
        }
        for (code, display, value, decimals, unit, ucum) in signs {
            let mut r = self.observation(visit, CATEGORY, (code, display), labels);
            r.set("valueQuantity", quantity(value, decimals, unit, ucum));
            self.push(r);
        }
    }

    /// Weight on a day, in tenths of a kilogram.
    pub(super) fn weight_on(&mut self, day: Date) -> i64 {
        let p = self.person;
        let now = self.dice.around(p.weight, p.weight / 60);
        self.scaled(now, day, 2)
    }

    fn height_on(&self, day: Date) -> i64 {
        self.scaled(self.person.height, day, 1)
    }

    /// Children were smaller before: by a share for each year that has passed.
    fn scaled(&self, now: i64, day: Date, power: i64) -> i64 {
        let (then, age) = (i64::from(self.person.age(day)), i64::from(self.person.age(TODAY)));
        if then >= 16 { now } else { now * (16 + then * power) / (16 + age.min(16) * power) }
    }

    fn smoking(&mut self, visit: &Visit<'_>) {
        let (code, display) = match self.person.smoker {
            0..=5 => ("266919005", "Never smoked tobacco (finding)"),
            6..=7 => ("8517006", "Ex-smoker (finding)"),
            _ => ("449868002", "Smokes tobacco daily (finding)"),
        };
        let mut r = self.observation(
            visit,
            ("social-history", "Social History"),
            ("72166-2", "Tobacco smoking status"),
            &[],
        );
        r.set("valueCodeableConcept", snomed(code, display));
        self.push(r);
    }

    /// The value of a test for this patient, in its last decimal.
    fn level(&mut self, test: &Test, day: Date) -> i64 {
        let p = self.person;
        let age = i64::from(p.age(day));
        let (mut mean, mut deviation) = (test.mean, test.deviation);
        let mut shift = |by: i64, spread: i64| {
            mean += by;
            deviation = deviation.max(spread);
        };
        match test.loinc {
            "4548-4" if p.has(DIABETES, day) => shift(19, 8),
            "2345-7" if p.has(DIABETES, day) => shift(58, 24),
            "2160-0" if p.has("433144002", day) => shift(75, 21),
            "98979-8" if p.has("433144002", day) => shift(-48, 7),
            "98979-8" => shift(-((age - 40).max(0) / 2), 8),
            "2093-3" if p.has("55822004", day) => shift(46, 22),
            "13457-7" if p.has("55822004", day) => shift(40, 18),
            "2571-8" if p.has("55822004", day) || p.has(DIABETES, day) => shift(58, 35),
            "2085-9" if p.has(DIABETES, day) => shift(-10, 6),
            "718-7" if p.has("271737000", day) => shift(-37, 8),
            "4544-3" if p.has("271737000", day) => shift(-98, 22),
            "3016-3" if p.has("40930008", day) => shift(150, 140),
            "3084-1" if p.has("90560007", day) => shift(24, 9),
            "33762-6" if p.has("88805009", day) => shift(720, 230),
            "14959-1" if p.has(DIABETES, day) => shift(26, 10),
            _ => {}
        }
        self.dice.around(mean, deviation).max(test.mean / 10)
    }

    /// One result, and whether it lies within the reference range.
    fn laboratory(&mut self, visit: &Visit<'_>, test: &Test) -> (Resource, bool) {
        let value = self.level(test, visit.day);
        let mut r = self.observation(
            visit,
            ("laboratory", "Laboratory"),
            (test.loinc, test.display),
            visit.labels(),
        );
        let (flag, meaning) = if test.high.is_some_and(|high| value > high) {
            ("H", "High")
        } else if test.low.is_some_and(|low| value < low) {
            ("L", "Low")
        } else {
            ("N", "Normal")
        };
        let end = |count: i64| {
            json!({
                "value": decimal(count, test.decimals),
                "unit": test.unit,
                "system": "http://unitsofmeasure.org",
                "code": test.ucum,
            })
        };
        let mut range = serde_json::Map::new();
        for (name, bound) in [("low", test.low), ("high", test.high)] {
            if let Some(bound) = bound {
                range.insert(name.to_owned(), end(bound));
            }
        }
        r.set("issued", self.at(crate::person::plus(visit.day, 1), 7 * 60 + 10))
            .set("performer", json!([reference("Organization", &self.district.laboratory)]))
            .set("valueQuantity", quantity(value, test.decimals, test.unit, test.ucum))
            .set(
                "interpretation",
                json!([concept(hl7("v3-ObservationInterpretation", flag, meaning))]),
            )
            .set("referenceRange", json!([range]));
        (r, flag == "N")
    }

    fn panel(&mut self, visit: &Visit<'_>, panel: &Panel) {
        let mut results: Vec<Value> = Vec::new();
        let mut abnormal: Vec<&str> = Vec::new();
        for test in panel.tests {
            let (r, normal) = self.laboratory(visit, test);
            if !normal {
                abnormal.push(test.display);
            }
            results.push(r.reference());
            self.push(r);
        }
        let conclusion = if abnormal.is_empty() {
            "All values within the reference ranges.".to_owned()
        } else {
            format!("Outside the reference range: {}.", abnormal.join("; "))
        };
        let mut r = Resource::new("DiagnosticReport", self.ids.uuid(), visit.labels());
        let number = self.identifier("report");
        r.set("identifier", number)
            .set("status", "final")
            .set("category", json!([concept(hl7("v2-0074", "LAB", "Laboratory"))]))
            .set(
                "code",
                json!({
                    "coding": [coding(LOINC, panel.loinc, panel.display)],
                    "text": panel.display,
                }),
            )
            .set("subject", self.subject())
            .set("encounter", reference("Encounter", &visit.id))
            .set("effectiveDateTime", self.at(visit.day, visit.minute + 4))
            .set("issued", self.at(crate::person::plus(visit.day, 1), 7 * 60 + 20))
            .set("performer", json!([reference("Organization", &self.district.laboratory)]))
            .set("result", results)
            .set("conclusion", conclusion);
        self.push(r);
    }
}
