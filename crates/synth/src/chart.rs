//! One patient's chart: which visits there were, and every resource that tells of them.
//! Each part of the chart stands in its own module; this one plans the visits and
//! puts the transaction Bundle together.

use jiff::civil::{Date, Weekday};
use serde_json::{Value, json};

use crate::catalog::illness::{ACUTE, Illness};
use crate::dice::Dice;
use crate::directory::{Clinic, District, Job, Worker};
use crate::person::{Has, Person, TODAY, days_between, plus};
use crate::shape::{Resource, bundle, moment, reference, shown};

mod demographic;
mod document;
mod finding;
mod money;
mod problem;
mod schedule;
mod treatment;
mod visit;

/// How far back the visits reach, in days.
const REACH: i64 = 1095;

/// What a visit was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wellness,
    FollowUp,
    Acute,
    Emergency,
    Home,
    Inpatient,
}

/// One visit.
#[derive(Clone, Debug)]
struct Visit<'a> {
    id: String,
    kind: Kind,
    day: Date,
    /// Minutes after midnight, and how long it took.
    minute: i64,
    minutes: i64,
    worker: &'a Worker,
    clinic: &'a Clinic,
    /// The illness it was about.
    about: Option<Has>,
}

impl Visit<'_> {
    /// The labels of everything that tells of this visit.
    fn labels(&self) -> &'static [&'static str] {
        self.about.as_ref().map_or(&[], |h| h.illness.labels)
    }

    fn last_day(&self) -> Date {
        if self.kind == Kind::Inpatient { plus(self.day, 3) } else { self.day }
    }
}

/// A chart being written.
struct Chart<'a> {
    person: &'a Person,
    district: &'a District,
    /// The physician whom the patient calls theirs, the nurse beside, the field clinician.
    doctor: &'a Worker,
    nurse: &'a Worker,
    field: Option<&'a Worker>,
    dice: Dice,
    ids: Dice,
    visits: Vec<Visit<'a>>,
    died: Option<Date>,
    /// Logical ids that several parts speak of.
    coverage: String,
    care_team: String,
    entries: Vec<Value>,
}

/// The transaction Bundle of one patient, as compact JSON.
pub(crate) fn write(seed: u64, person: &Person, district: &District) -> Option<String> {
    let number = u64::from(person.index);
    let mut dice = Dice::new(seed, "chart", number);
    let mut ids = Dice::new(seed, "records", number);
    let id = ids.uuid();
    let doctors: Vec<&Worker> = [district.of(Job::Family), district.of(Job::Internist)].concat();
    let nurses = district.of(Job::Nurse);
    let fields = district.of(Job::Field);
    let doctor = if person.index == 0 { doctors.first()? } else { dice.pick(&doctors) };
    let nurse = if person.index == 0 { nurses.first()? } else { dice.pick(&nurses) };
    let (coverage, care_team) = (ids.uuid(), ids.uuid());
    let mut chart = Chart {
        person,
        district,
        doctor,
        nurse,
        field: person.field.and_then(|at| fields.get(at % fields.len().max(1)).copied()),
        dice,
        ids,
        visits: Vec::new(),
        died: None,
        coverage,
        care_team,
        entries: Vec::new(),
    };
    chart.plan();
    chart.demographics();
    chart.encounters();
    chart.problems();
    chart.findings();
    chart.treatments();
    chart.documents();
    chart.appointments();
    chart.claims();
    Some(bundle(&id, chart.entries))
}

impl<'a> Chart<'a> {
    fn push(&mut self, resource: Resource) {
        self.entries.push(resource.entry());
    }

    /// The reference to the patient.
    fn subject(&self) -> Value {
        reference("Patient", &self.person.id)
    }

    /// The reference to the patient with the name.
    fn subject_shown(&self) -> Value {
        shown("Patient", &self.person.id, &self.person.name())
    }

    fn at(&self, day: Date, minute: i64) -> String {
        moment(day, minute, self.district.region.offset)
    }

    fn clinic_of(&self, worker: &Worker) -> Option<&'a Clinic> {
        let district = self.district;
        district.clinics.get(worker.clinic).or_else(|| district.clinics.first())
    }

    fn one_of(&mut self, job: Job) -> &'a Worker {
        let district = self.district;
        let of = district.of(job);
        if of.is_empty() { self.doctor } else { self.dice.pick::<&Worker>(&of) }
    }

    /// The one who treats an illness.
    fn specialist(&mut self, illness: &Illness) -> &'a Worker {
        match illness.snomed {
            "53741008" | "49436004" | "88805009" => self.one_of(Job::Cardiologist),
            "370143000" | "13746004" | "5602001" | "7200002" => self.one_of(Job::Psychiatrist),
            _ => self.doctor,
        }
    }

    /// Lays out the visits of the last three years.
    fn plan(&mut self) {
        let person = self.person;
        let count = self.dice.between(3, 5) + i64::from(person.chronic.len() > 3);
        let reach = days_between(person.birth, TODAY).min(REACH) - 8;
        let mut days: Vec<Date> = (0..count)
            .map(|i| {
                // One visit in each part of the time, so that they keep apart.
                let part = reach / count;
                let day = plus(TODAY, -reach + i * part + self.dice.between(0, (part - 4).max(0)));
                match day.weekday() {
                    Weekday::Saturday => plus(day, 2),
                    Weekday::Sunday => plus(day, 1),
                    _ => day,
                }
            })
            .collect();
        days.dedup();
        let last = days.len().saturating_sub(1);
        for (i, day) in days.into_iter().enumerate() {
            let known: Vec<&Has> = person.chronic.iter().filter(|h| h.onset <= day).collect();
            let protected = known.iter().find(|h| !h.illness.labels.is_empty()).copied();
            let chosen = match protected {
                // What is specially protected is followed closely.
                Some(has) if i % 2 == 1 => Some(has),
                _ if known.is_empty() => None,
                _ => Some(*self.dice.pick(&known)),
            };
            let (kind, about) = match chosen {
                _ if i == 0 => (Kind::Wellness, None),
                Some(has) if i % 2 == 1 || self.dice.chance(500) => {
                    let heart = ["88805009", "13645005"].contains(&has.illness.snomed);
                    let inside = heart && self.dice.chance(250) && day < plus(TODAY, -10);
                    (if inside { Kind::Inpatient } else { Kind::FollowUp }, Some(has.clone()))
                }
                _ if self.dice.chance(550) => {
                    let illness = self.acute();
                    let urgent = ["44465007", "283371005"].contains(&illness.snomed)
                        && self.dice.chance(500);
                    let has = Has {
                        illness,
                        id: self.ids.uuid(),
                        onset: plus(day, -self.dice.between(0, 4)).max(person.birth),
                    };
                    (if urgent { Kind::Emergency } else { Kind::Acute }, Some(has))
                }
                _ => (Kind::Wellness, None),
            };
            let (kind, worker) = match (self.field, about.as_ref()) {
                (Some(field), _) if i == last && kind != Kind::Inpatient => (Kind::Home, field),
                (_, Some(has)) => (kind, self.specialist(has.illness)),
                _ => (kind, self.doctor),
            };
            let Some(clinic) = self.clinic_of(worker) else { continue };
            let quarter = self.dice.between(0, 33);
            let visit = Visit {
                id: self.ids.uuid(),
                kind,
                day,
                minute: 8 * 60 + quarter * 15,
                minutes: 15 * self.dice.between(1, 3),
                worker,
                clinic,
                about,
            };
            self.visits.push(visit);
        }
        let age = person.age(TODAY);
        if age >= 76 && person.index != 0 && self.dice.chance(70) {
            let after = self.dice.between(4, 40);
            self.died = self.visits.last().map(|v| plus(v.day, after)).filter(|d| *d < TODAY);
        }
    }

    fn acute(&mut self) -> &'static Illness {
        let age = self.person.age(TODAY);
        let band = usize::from(age >= 18) + usize::from(age >= 60);
        let weight = |i: &Illness| i.per_mille.get(band).copied().unwrap_or(0);
        let mut at = self.dice.below(ACUTE.iter().map(weight).sum());
        for illness in ACUTE {
            if at < weight(illness) {
                return illness;
            }
            at -= weight(illness);
        }
        self.dice.pick(ACUTE)
    }

    /// A sentence of the catalogue about this patient.
    fn phrase(&self, text: &str, on: Date) -> String {
        let p = self.person;
        let (he, upper, his, him) =
            if p.female { ("she", "She", "her", "her") } else { ("he", "He", "his", "him") };
        let title = if p.age(on) < 18 {
            p.given.to_owned()
        } else {
            format!("{} {}", if p.female { "Ms." } else { "Mr." }, p.household.family)
        };
        text.replace("{name}", &p.name())
            .replace("{title}", &title)
            .replace("{he}", he)
            .replace("{He}", upper)
            .replace("{his}", his)
            .replace("{him}", him)
            .replace("{age}", &p.age(on).to_string())
    }

    fn identifier(&mut self, kind: &str) -> Value {
        json!([{
            "system": format!("https://phial.example/sid/{kind}"),
            "value": self.dice.digits(10),
        }])
    }
}
