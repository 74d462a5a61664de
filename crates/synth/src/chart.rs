//! One patient's chart: which visits there were, and every resource that tells of them.
//! Each part of the chart stands in its own module; this one puts the transaction
//! Bundle together and holds what the parts share.

use crate::catalog::illness::Illness;
use crate::day::{Day, Moment, TODAY};
use crate::dice::Dice;
use crate::directory::{Department, District, Job, Worker};
use crate::json::{Json, Put, set};
use crate::note::{Note, SpanKind, Text, dialled, written};
use crate::person::{Has, Person};
use crate::shape::{self, Id, Labels, Ref, Shown};

mod demographic;
mod document;
mod encounter;
mod finding;
mod insurance;
mod laboratory;
mod money;
mod plan;
mod problem;
mod relative;
mod treatment;

use plan::Visit;
use relative::Relative;

/// A chart being written.
struct Chart<'a> {
    p: &'a Person<'a>,
    d: &'a District,
    /// The physician whom the patient calls theirs, the nurse beside, the field clinician.
    doctor: &'a Worker,
    nurse: &'a Worker,
    field: Option<&'a Worker>,
    dice: Dice,
    ids: Dice,
    out: Json,
    visits: Vec<Visit<'a>>,
    relatives: Vec<Relative>,
    care_team: Id,
    covers: Vec<insurance::Cover>,
    /// Goals, by the place of their illness in the list.
    entries: usize,
    notes: Vec<Note>,
}

/// A written chart.
pub(crate) struct Written {
    /// The transaction Bundle, compact.
    pub(crate) bundle: String,
    /// Its free texts.
    pub(crate) notes: Vec<Note>,
    /// Who met the patient when and where.
    pub(crate) meetings: Vec<crate::Meeting>,
}

/// The transaction Bundle of one patient.
pub(crate) fn write<'a>(seed: u64, person: &'a Person<'a>, district: &'a District) -> Written {
    let number = u64::from(person.index);
    let mut dice = Dice::new(seed, "chart", number);
    let mut ids = Dice::new(seed, "records", number);
    let bundle = Id::draw(&mut ids);
    let (doctor, nurse) = own(person, district, &mut dice);
    let fields: Vec<&Worker> = district.of(Job::Field).collect();
    let mut chart = Chart {
        p: person,
        d: district,
        doctor,
        nurse,
        field: person
            .field
            .and_then(|at| fields.get(at % fields.len().max(1)).copied())
            .filter(|w| person.member.worker.is_none_or(|at| district.staff(at).id != w.id)),
        dice,
        care_team: Id::draw(&mut ids),
        ids,
        out: shape::begin_bundle(bundle, 160 << 10),
        visits: Vec::new(),
        relatives: Vec::new(),
        covers: Vec::new(),
        entries: 0,
        notes: Vec::new(),
    };
    chart.plan();
    chart.find_relatives();
    chart.demographics();
    chart.insurances();
    chart.encounters();
    chart.problems();
    chart.findings();
    chart.treatments();
    chart.documents();
    chart.appointments();
    chart.claims();
    let meetings = chart.meetings();
    Written { bundle: shape::end_bundle(chart.out), notes: chart.notes, meetings }
}

/// The patient's own physician and nurse.
fn own<'a>(
    person: &Person<'_>,
    district: &'a District,
    dice: &mut Dice,
) -> (&'a Worker, &'a Worker) {
    let child = person.age(TODAY) < 16;
    // Nobody is their own physician or nurse.
    let myself = person.member.worker.and_then(|at| district.workers.get(at)).map(|w| w.id);
    let mut doctors: Vec<&Worker> = if child {
        district.of(Job::Pediatrician).collect()
    } else {
        district.of(Job::Family).chain(district.of(Job::Internist)).collect()
    };
    doctors.retain(|w| Some(w.id) != myself);
    let first = district.staff(0);
    let drawn = dice.below(doctors.len() as u64) as usize;
    let doctor = if person.index == 0 { first } else { doctors.get(drawn).unwrap_or(&first) };
    let beside = |n: &&Worker| n.dept == doctor.dept && Some(n.id) != myself;
    let nurse = district.of(Job::Nurse).find(beside).unwrap_or(district.staff(4));
    (doctor, nurse)
}

/// What a text is about besides the patient.
#[derive(Clone, Copy)]
struct Scene<'a> {
    day: Day,
    worker: &'a Worker,
    place: &'a str,
    prev: Day,
    next: Day,
    /// How this author writes.
    hand: u64,
}

impl<'a> Chart<'a> {
    /// Begins a resource; [`Chart::end`] ends it.
    fn begin(&mut self, kind: &'static str, id: Id, profile: &str, labels: Labels) {
        shape::begin(&mut self.out, kind, id, profile, labels);
    }

    fn end(&mut self, kind: &'static str, id: Id) {
        shape::end(&mut self.out, kind, id);
        self.entries += 1;
    }

    fn id(&mut self) -> Id {
        Id::draw(&mut self.ids)
    }

    /// The reference to the patient.
    fn subject(&self) -> Ref {
        Ref("Patient", self.p.id)
    }

    /// The reference to the patient with the name.
    fn subject_shown(&self) -> Shown<'a> {
        Shown("Patient", self.p.id, &self.p.name)
    }

    fn at(&self, day: Day, minute: i64) -> Moment {
        self.d.at(day, minute)
    }

    fn department_of(&self, worker: &Worker) -> &'a Department {
        self.d.department(worker.dept)
    }

    /// The one who follows an illness: always the same one.
    fn follows(&self, illness: &Illness) -> &'a Worker {
        let own = matches!(illness.by, Job::Family | Job::Internist | Job::Pediatrician);
        let all: Vec<&'a Worker> = self.d.of(illness.by).collect();
        let at = self.p.index as usize / 3 % all.len().max(1);
        if own { self.doctor } else { all.get(at).copied().unwrap_or(self.doctor) }
    }

    /// An identifier of this world, as a member.
    fn identifier(&mut self, system: &str, prefix: &str) {
        let value = self.dice.digits(9);
        self.out.key("identifier");
        self.out.open('[');
        self.out.open('{');
        set!(self.out, "system": (shape::Sid(system)));
        self.out.key("value");
        self.out.pieces(&[prefix, &value]);
        self.out.close('}');
        self.out.close(']');
    }

    /// Writes a member that is text, and remembers what it tells.
    fn told(
        &mut self,
        member: &str,
        text: Text,
        record: (&'static str, Id),
        element: &'static str,
    ) {
        self.out.key(member);
        text.text.put(&mut self.out);
        self.remember(text, record, element);
    }

    fn remember(&mut self, text: Text, (kind, id): (&'static str, Id), element: &'static str) {
        let resource = format!("{kind}/{}", id.text());
        let Text { text, spans } = text;
        self.notes.push(Note { resource, element, text, spans });
    }

    /// What a text written on a day by someone speaks of.
    fn scene(&mut self, day: Day, worker: &'a Worker) -> Scene<'a> {
        let before = self.visits.iter().rev().find(|v| v.day < day).map(|v| v.day);
        let prev = before.unwrap_or(day.plus(-120)).max(self.p.member.birth);
        let next = day.plus(self.dice.between(12, 90)).open();
        let place = self.department_of(worker).name;
        let hand = worker.id.low() >> 8;
        Scene { day, worker, place, prev, next, hand }
    }

    /// Whether a template can be said of this patient.
    fn sayable(&self, template: &str, by: &Worker) -> bool {
        let says = |name: &str| template.contains(name);
        let works = !matches!(self.p.job, "" | "retired");
        // Nobody writes to themselves of themselves.
        (works || !(says("{employer}") || says("{job}")))
            && (by.id != self.doctor.id || !says("{gp}"))
            && (by.id != self.nurse.id || !says("{nurse}"))
            && (self.p.nick != self.p.member.given || !says("by {nick}") && !says("called {nick}"))
    }

    /// One of some templates that can be said.
    fn choose(&mut self, from: &'static [&'static str], by: &Worker) -> &'static str {
        let can: Vec<&'static str> = from.iter().copied().filter(|t| self.sayable(t, by)).collect();
        let drawn = self.dice.below(can.len() as u64) as usize;
        can.get(drawn).copied().unwrap_or("No new complaints.")
    }

    /// Adds a template about this patient.
    fn phrase(&mut self, to: &mut Text, template: &str, scene: Scene<'_>) {
        let (p, d) = (self.p, self.d);
        let (member, home) = (p.member, &p.household.home);
        let child = p.age(scene.day) < 18;
        let kin = self.relatives.first();
        let dice = &mut self.dice;
        to.fill(template, |to, name| {
            use SpanKind::{
                BirthDate, City, Date, Email, Employer, Facility, MemberNumber, PatientName, Phone,
                RecordNumber, RelativeName, StaffName, Street, Zip,
            };
            let pronoun =
                |she: &'static str, he: &'static str| if member.female { she } else { he };
            let date = |day: Day| written(day, scene.hand);
            match name {
                "name" => to.mark(PatientName, &p.name),
                "given" => to.mark(PatientName, member.given),
                "nick" => to.mark(PatientName, p.nick),
                "family" => to.mark(PatientName, &member.family),
                "CAPS" => {
                    let caps = format!("{}, {}", member.family, member.given).to_uppercase();
                    to.mark(PatientName, &caps)
                }
                "title" if child => to.mark(PatientName, member.given),
                "title" => to.plain(pronoun("Ms. ", "Mr. ")).mark(PatientName, &member.family),
                "he" => to.plain(pronoun("she", "he")),
                "He" => to.plain(pronoun("She", "He")),
                "his" => to.plain(pronoun("her", "his")),
                "His" => to.plain(pronoun("Her", "His")),
                "him" => to.plain(pronoun("her", "him")),
                "age" => match p.age(scene.day) {
                    age @ 90.. => to.mark(SpanKind::Age, &age.to_string()),
                    age => to.number(age),
                },
                "years" => match (p.age(scene.day), member.birth.until(scene.day)) {
                    (0, days @ ..=27) => to.number(days).plain("-day-old"),
                    (0 | 1, days) => to.number(days / 30).plain("-month-old"),
                    (age @ 90.., _) => to.mark(SpanKind::Age, &age.to_string()).plain("-year-old"),
                    (age, _) => to.number(age).plain("-year-old"),
                },
                "person" => to.plain(match (member.female, p.age(scene.day)) {
                    (true, ..=11) => "girl",
                    (false, ..=11) => "boy",
                    (true, 12..=17) => "young woman",
                    (false, 12..=17) => "young man",
                    (true, _) => "woman",
                    (false, _) => "man",
                }),
                "dob" => to.mark(BirthDate, &date(member.birth)),
                "mrn" => to.mark(RecordNumber, &p.mrn),
                "member" => to.mark(MemberNumber, &p.household.member_number),
                "phone" => to.mark(Phone, &dialled(&home.phone, scene.hand)),
                "mobile" if child => to.mark(Phone, &dialled(&home.phone, scene.hand)),
                "mobile" => to.mark(Phone, &dialled(&member.mobile, scene.hand)),
                "email" => to.mark(Email, &p.email),
                "street" => to.mark(Street, &home.line),
                "city" => to.mark(City, home.town.city),
                "zip" => to.mark(Zip, &home.zip),
                "state" => to.plain(d.region.state),
                "rel" => match kin {
                    Some(kin) => {
                        to.mark(RelativeName, kin.given);
                        if dice.chance(600) {
                            to.plain(" (").plain(kin.plain).plain(")");
                        }
                        to
                    }
                    None => to.plain("the neighbor"),
                },
                "kin" => match kin {
                    Some(kin) => {
                        to.mark(RelativeName, &kin.name()).plain(" (").plain(kin.plain).plain(")")
                    }
                    None => to.plain("the neighbor"),
                },
                "kinphone" => match kin {
                    Some(kin) => to.mark(Phone, &dialled(&kin.phone, scene.hand)),
                    None => to.plain("the number on file"),
                },
                "job" => to.plain(p.job),
                "employer" => to.mark(Employer, p.employer),
                "doctor" => to.mark(StaffName, &scene.worker.addressed),
                "signed" => to.mark(StaffName, &scene.worker.shown),
                "gp" => to.mark(StaffName, &self.doctor.addressed),
                "nurse" => to.mark(StaffName, &self.nurse.addressed),
                "clinic" => to.mark(Facility, scene.place),
                "hospital" => to.mark(Facility, &d.hospital_name),
                "date" => to.mark(Date, &date(scene.day)),
                "prev" => to.mark(Date, &date(scene.prev)),
                "next" => to.mark(Date, &date(scene.next)),
                _ => to,
            };
        });
    }

    /// What a clinician wrote about an illness.
    fn remark(&mut self, to: &mut Text, has: &Has, scene: Scene<'_>) {
        let template = self.choose(has.illness.notes, scene.worker);
        self.phrase(to, template, scene);
    }

    /// Who met the patient.
    fn meetings(&self) -> Vec<crate::Meeting> {
        let mut all: Vec<crate::Meeting> = Vec::new();
        for v in &self.visits {
            for worker in [Some(v.worker), v.nurse].into_iter().flatten() {
                all.push(crate::Meeting {
                    encounter: v.id.text(),
                    practitioner: worker.id.text(),
                    location: v.dept.location.text(),
                    start: self.at(v.day, v.minute).iso(),
                    end: self.at(v.day, v.minute + v.minutes).iso(),
                });
            }
        }
        all
    }
}
