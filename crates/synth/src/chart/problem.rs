//! Conditions, allergies, family history, goals and the care plan.

use super::Chart;
use super::plan::Visit;
use crate::catalog::illness::{
    ASTHMA, COPD, CORONARY, DIABETES, FIBRILLATION, HEART_FAILURE, HYPERTENSION,
};
use crate::day::TODAY;
use crate::json::{put, set};
use crate::note::{SpanKind, Text};
use crate::person::Has;
use crate::shape::{Concept, Id, Ref, Told, coding, hl7, icd, sct, untagged};

/// An allergen: substance, category, what it does, how badly.
type Allergen =
    ((&'static str, &'static str), &'static str, (&'static str, &'static str), &'static str);

const RASH: (&str, &str) = ("271807003", "Eruption of skin (disorder)");
const HIVES: (&str, &str) = ("126485001", "Urticaria (disorder)");
const WHEEZING: (&str, &str) = ("56018004", "Wheezing (finding)");
const SNEEZING: (&str, &str) = ("76067001", "Sneezing (finding)");
const ANAPHYLAXIS: (&str, &str) = ("39579001", "Anaphylaxis (disorder)");

/// What people are allergic to.
const ALLERGENS: &[Allergen] = &[
    (("764146007", "Penicillin (substance)"), "medication", RASH, "moderate"),
    (("387406002", "Sulfonamide (substance)"), "medication", HIVES, "mild"),
    (("387458008", "Aspirin (substance)"), "medication", WHEEZING, "moderate"),
    (("256349002", "Peanut - dietary (substance)"), "food", ANAPHYLAXIS, "severe"),
    (("735029006", "Shellfish (substance)"), "food", HIVES, "moderate"),
    (("102263004", "Eggs (edible) (substance)"), "food", RASH, "mild"),
    (("256277009", "Grass pollen (substance)"), "environment", SNEEZING, "mild"),
    (("260147004", "House dust mite (organism)"), "environment", WHEEZING, "mild"),
    (("111088007", "Latex (substance)"), "environment", RASH, "mild"),
];

/// What a care plan asks for.
fn activities(illness: &str) -> &'static [(&'static str, &'static str)] {
    match illness {
        DIABETES => &[
            ("698360004", "Diabetes self management plan (record artifact)"),
            ("160670007", "Diabetic diet (finding)"),
            ("229065009", "Exercise therapy (regime/therapy)"),
        ],
        HYPERTENSION => &[
            ("443402002", "Lifestyle education regarding hypertension (procedure)"),
            ("1151000175103", "Dietary approaches to stop hypertension diet (regime/therapy)"),
        ],
        ASTHMA => &[
            ("699728000", "Asthma self management (regime/therapy)"),
            ("58332002", "Allergy education (procedure)"),
        ],
        COPD => &[
            ("15081005", "Pulmonary rehabilitation (regime/therapy)"),
            ("229298005", "Breathing control (regime/therapy)"),
        ],
        CORONARY | HEART_FAILURE | FIBRILLATION => &[
            ("385715006", "Cardiac care (regime/therapy)"),
            ("386619000", "Low sodium diet (finding)"),
        ],
        _ => &[
            ("311401005", "Patient education (procedure)"),
            ("384758001", "Self-care interventions (procedure)"),
        ],
    }
}

impl<'a> Chart<'a> {
    pub(super) fn problems(&mut self) {
        let p = self.p;
        for has in &p.chronic {
            let visit = self.visits.iter().find(|v| v.about.is_some_and(|a| a.id == has.id));
            let visit = visit.cloned();
            self.condition(has, visit.as_ref());
        }
        let mut told: Vec<Id> = Vec::new();
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            if let Some(has) = visit.about.filter(|h| !h.illness.chronic)
                && !told.contains(&has.id)
            {
                told.push(has.id);
                self.condition(&has, Some(&visit));
            }
        }
        self.allergies();
        self.family_history();
        self.care_plan();
        self.provenance();
    }

    fn condition(&mut self, has: &Has, visit: Option<&Visit<'a>>) {
        let illness = has.illness;
        let listed = illness.chronic || illness.labels.contains(&"PREGNANT");
        let over = self.ended(has);
        let recorder = match visit {
            Some(visit) => visit.worker,
            None if illness.labels.is_empty() => self.doctor,
            None => self.follows(illness),
        };
        let recorded = match visit {
            Some(visit) if !illness.chronic => visit.day,
            _ => has.onset.max(TODAY.plus(-3000)).max(self.p.member.birth),
        };
        let (profile, category, shown) = if listed {
            ("us-core-condition-problems-health-concerns", "problem-list-item", "Problem List Item")
        } else {
            ("us-core-condition-encounter-diagnosis", "encounter-diagnosis", "Encounter Diagnosis")
        };
        self.begin("Condition", has.id, profile, illness.labels);
        match over {
            Some(_) => self.status("clinicalStatus", "condition-clinical", "resolved", "Resolved"),
            None => self.status("clinicalStatus", "condition-clinical", "active", "Active"),
        }
        self.status("verificationStatus", "condition-ver-status", "confirmed", "Confirmed");
        set!(self.out, "category": [(Told(hl7("condition-category", category, shown)))]);
        if self.dice.chance(250) {
            let (code, display) = *self.dice.pick(&[
                ("255604002", "Mild (qualifier value)"),
                ("6736007", "Moderate (severity modifier) (qualifier value)"),
            ]);
            set!(self.out, "severity": (Told(sct(code, display))));
        }
        set!(self.out,
            "code": {
                "coding": [
                    (sct(illness.snomed, illness.display)),
                    (icd(illness.icd, illness.icd_display)),
                ],
                "text": (untagged(illness.display)),
            },
            "subject": (self.subject()),
        );
        if let Some(visit) = visit {
            set!(self.out, "encounter": (Ref("Encounter", visit.id)));
        }
        set!(self.out, "onsetDateTime": (has.onset));
        if let Some(over) = over {
            set!(self.out, "abatementDateTime": (over));
        }
        set!(self.out, "recordedDate": (recorded), "recorder": (recorder.reference()));
        if self.p.index == 0 || self.dice.chance(500) {
            let (day, minute) = visit.map_or((recorded, 615), |v| (v.day, v.minute + 9));
            let scene = self.scene(day, recorder);
            let mut text = Text::default();
            self.remark(&mut text, has, scene);
            self.out.key("note");
            self.out.open('[');
            self.out.open('{');
            set!(self.out, "authorReference": (recorder.reference()), "time": (self.at(day, minute)));
            self.told("text", text, ("Condition", has.id), "Condition.note.text");
            self.out.close('}');
            self.out.close(']');
        }
        self.end("Condition", has.id);
    }

    fn allergies(&mut self) {
        let count = if self.dice.chance(380) { self.dice.between(1, 2) } else { 0 };
        let since = self.visits.first().map_or(self.p.member.birth, |v| v.day);
        let start = self.dice.below(ALLERGENS.len() as u64) as usize;
        for allergen in ALLERGENS.iter().cycle().skip(start).take(count as usize) {
            let (substance, _, sign, severity) = *allergen;
            let id = self.allergy(substance);
            set!(self.out,
                "recordedDate": (since),
                "recorder": (self.nurse.reference()),
                "reaction": [{
                    "manifestation": [(Told(sct(sign.0, sign.1)))], "severity": (severity),
                }],
            );
            self.end("AllergyIntolerance", id);
        }
        if count == 0 {
            let id = self.allergy(("716186003", "No known allergy (situation)"));
            set!(self.out, "recordedDate": (since), "recorder": (self.nurse.reference()));
            self.end("AllergyIntolerance", id);
        }
    }

    fn allergy(&mut self, (code, display): (&'static str, &'static str)) -> Id {
        let id = self.id();
        let row = ALLERGENS.iter().find(|a| a.0.0 == code);
        self.begin("AllergyIntolerance", id, "us-core-allergyintolerance", &[]);
        self.status("clinicalStatus", "allergyintolerance-clinical", "active", "Active");
        self.status(
            "verificationStatus",
            "allergyintolerance-verification",
            "confirmed",
            "Confirmed",
        );
        if let Some((_, category, _, severity)) = row {
            set!(self.out,
                "type": "allergy",
                "category": [(*category)],
                "criticality": (if *severity == "severe" { "high" } else { "low" }),
            );
        }
        set!(self.out, "code": (Told(sct(code, display))), "patient": (self.subject()));
        id
    }

    /// What a parent had: of the unprotected, and under its label of what is inherited.
    fn family_history(&mut self) {
        const COMMON: &[(&str, &str)] = &[
            ("44054006", "Diabetes mellitus type 2 (disorder)"),
            ("53741008", "Coronary arteriosclerosis (disorder)"),
            ("363406005", "Malignant tumor of colon (disorder)"),
            ("59621000", "Essential hypertension (disorder)"),
        ];
        let inherited = self.p.chronic.iter().find(|h| h.illness.labels.contains(&"GDIS")).copied();
        if inherited.is_none() && !(self.p.age(TODAY) >= 21 && self.dice.chance(300)) {
            return;
        }
        let (code, display) = match inherited {
            Some(has) if has.illness.icd == "G10" => (has.illness.snomed, has.illness.display),
            Some(_) => ("254837009", "Malignant neoplasm of breast (disorder)"),
            None => *self.dice.pick(COMMON),
        };
        let labels = inherited.map_or(&[] as &[&str], |h| h.illness.labels);
        let mother = inherited.is_some() || self.dice.chance(500);
        let age = self.dice.between(41, 68);
        let id = self.id();
        self.begin("FamilyMemberHistory", id, "", labels);
        let (relation, shown) = if mother { ("MTH", "mother") } else { ("FTH", "father") };
        set!(self.out,
            "status": "completed",
            "patient": (self.subject_shown()),
            "date": (self.visits.first().map_or(TODAY, |v| v.day)),
            "relationship": (Told(hl7("v3-RoleCode", relation, shown))),
            "condition": [{
                "code": (Told(sct(code, display))),
                "onsetAge": { "value": (age), "unit": "years", "system": "http://unitsofmeasure.org", "code": "a" },
            }],
        );
        self.end("FamilyMemberHistory", id);
    }

    fn care_plan(&mut self) {
        let p = self.p;
        // Plans are about what is not specially protected, so that whoever helps may know.
        let Some(has) = p.chronic.iter().find(|h| h.illness.labels.is_empty()).copied() else {
            return;
        };
        let alive = p.alive();
        let goal = (!has.illness.goal.is_empty()).then(|| self.goal(&has));
        let id = self.id();
        self.begin("CarePlan", id, "us-core-careplan", &[]);
        let mut text = Text::default();
        text.plain("<div xmlns=\"http://www.w3.org/1999/xhtml\">Care plan for ")
            .mark(SpanKind::PatientName, &p.name)
            .plain(": ")
            .plain(has.illness.plain)
            .plain("</div>");
        self.out.key("text");
        self.out.open('{');
        set!(self.out, "status": "generated");
        self.told("div", text, ("CarePlan", id), "CarePlan.text.div");
        self.out.close('}');
        set!(self.out,
            "status": (if alive { "active" } else { "completed" }),
            "intent": "plan",
            "category": [
                (Concept(coding(
                    "http://hl7.org/fhir/us/core/CodeSystem/careplan-category",
                    "assess-plan",
                    "Assessment and Plan of Treatment",
                ))),
                (Told(sct("734163000", "Care plan (record artifact)"))),
            ],
            "title": (has.illness.plain),
            "subject": (self.subject()),
            "period": { "start": (has.onset) },
            "author": (self.doctor.reference()),
            "careTeam": [(Ref("CareTeam", self.care_team))],
            "addresses": [(Ref("Condition", has.id))],
        );
        if let Some(goal) = goal {
            set!(self.out, "goal": [(Ref("Goal", goal))]);
        }
        self.out.key("activity");
        self.out.open('[');
        for (code, display) in activities(has.illness.snomed) {
            put!(self.out, { "detail": {
                "code": (Told(sct(code, display))),
                "status": (if alive { "in-progress" } else { "completed" }),
                "location": { "display": (self.d.system_name) },
            } });
        }
        self.out.close(']');
        self.end("CarePlan", id);
    }

    fn goal(&mut self, has: &Has) -> Id {
        let id = self.id();
        let due = TODAY.plus(self.dice.between(30, 300));
        self.begin("Goal", id, "us-core-goal", &[]);
        set!(self.out, "lifecycleStatus": (if self.p.alive() { "active" } else { "cancelled" }));
        let (code, display) = *self.dice.pick(&[
            ("in-progress", "In Progress"),
            ("achieved", "Achieved"),
            ("improving", "Improving"),
        ]);
        self.status("achievementStatus", "goal-achievement", code, display);
        set!(self.out,
            "description": { "text": (has.illness.goal) },
            "subject": (self.subject_shown()),
            "startDate": (has.onset),
            "target": [{ "dueDate": (due) }],
            "expressedBy": (self.doctor.reference()),
            "addresses": [(Ref("Condition", has.id))],
        );
        self.end("Goal", id);
        id
    }

    fn provenance(&mut self) {
        let Some(visit) = self.visits.last().cloned() else { return };
        let id = self.id();
        self.begin("Provenance", id, "us-core-provenance", visit.labels());
        let done = self.at(visit.day, visit.end_minute() + 5);
        set!(self.out,
            "target": [(self.subject()), (Ref("Encounter", visit.id))],
            "recorded": (done),
            "agent": [{
                "type": (Told(hl7("provenance-participant-type", "author", "Author"))),
                "who": (visit.worker.reference()),
                "onBehalfOf": (Ref("Organization", visit.dept.organization)),
            }],
        );
        self.end("Provenance", id);
    }
}
