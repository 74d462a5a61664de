//! The visits: which there were, when, where, and with whom. Offices see nobody on a
//! Sunday night, whoever sees a patient is at work, and nothing follows a death.

use super::Chart;
use crate::catalog::illness::{
    ACUTE, HEART_FAILURE, Illness, MISCARRIAGE, NEWBORN, PNEUMONIA, PREGNANCY,
};
use crate::day::{Day, TODAY};
use crate::directory::{Department, Dept, Job, Worker};
use crate::household::Place;
use crate::person::Has;
use crate::shape::{Id, Labels};

/// How far back the visits reach, in days.
const REACH: i64 = 1095;

/// What a visit was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wellness,
    FollowUp,
    Virtual,
    Acute,
    Emergency,
    Home,
    Inpatient,
    /// A mother's delivery, and a child's.
    Birth,
    Newborn,
}

/// One visit.
#[derive(Clone, Debug)]
pub(super) struct Visit<'a> {
    pub(super) id: Id,
    pub(super) kind: Kind,
    pub(super) day: Day,
    /// Minutes after midnight, and how long it took.
    pub(super) minute: i64,
    pub(super) minutes: i64,
    pub(super) worker: &'a Worker,
    pub(super) nurse: Option<&'a Worker>,
    pub(super) dept: &'a Department,
    /// The room, of the department's two.
    pub(super) room: usize,
    /// The illness it was about.
    pub(super) about: Option<Has>,
    /// The appointment that led to it.
    pub(super) appointment: Option<Id>,
    /// Whether the patient died during it.
    pub(super) fatal: bool,
}

impl Visit<'_> {
    /// The labels of everything that tells of this visit.
    pub(super) fn labels(&self) -> Labels {
        self.about.as_ref().map_or(&[], |h| h.illness.labels)
    }

    pub(super) fn end_minute(&self) -> i64 {
        self.minute + self.minutes
    }

    pub(super) fn last_day(&self) -> Day {
        self.day.plus(self.end_minute() / 1440)
    }

    pub(super) fn stays(&self) -> bool {
        matches!(self.kind, Kind::Inpatient | Kind::Birth | Kind::Newborn)
    }

    pub(super) fn illness(&self) -> Option<&'static Illness> {
        self.about.as_ref().map(|h| h.illness)
    }
}

/// A visit that ought to take place.
struct Want {
    day: Day,
    kind: Kind,
    about: Option<Has>,
}

impl<'a> Chart<'a> {
    /// Lays out the visits of the last three years.
    pub(super) fn plan(&mut self) {
        let p = self.p;
        let from = TODAY.plus(-REACH).max(p.member.birth);
        let until = p.last().plus(-2);
        let mut wants: Vec<Want> = Vec::new();
        self.wellness(from, until, &mut wants);
        self.follow_ups(from, until, &mut wants);
        self.pregnancies(from, until, &mut wants);
        self.acute(from, until, &mut wants);
        self.stays(from, until, &mut wants);
        if let Some(field) = self.field {
            let _: &Worker = field;
            let open: Vec<Has> =
                p.chronic.iter().filter(|h| h.illness.labels.is_empty()).copied().collect();
            for _ in 0..1 + self.dice.below(2) {
                let day = until.plus(-self.dice.between(3, 420)).max(from.plus(4));
                let about = if open.is_empty() { None } else { Some(*self.dice.pick(&open)) };
                wants.push(Want { day, kind: Kind::Home, about: about.filter(|h| h.onset < day) });
            }
        }
        if wants.is_empty() {
            let day = until.plus(-self.dice.between(3, 300)).max(from.plus(1));
            wants.push(Want { day, kind: Kind::Wellness, about: None });
        }
        wants.sort_by_key(|w| (w.day, w.kind as u8));
        let mut free = Day(i32::MIN);
        for want in wants {
            let fixed = matches!(want.kind, Kind::Birth | Kind::Newborn | Kind::Inpatient);
            if !fixed && want.day < free {
                continue;
            }
            if let Some(visit) = self.take_place(want, free, until) {
                free = visit.last_day().plus(3);
                self.visits.push(visit);
            }
        }
        self.visits.sort_by_key(|v| (v.day, v.minute));
        // Nobody is known by telephone alone.
        if self.visits.iter().all(|v| v.kind == Kind::Virtual)
            && let Some(first) = self.visits.first_mut()
        {
            first.kind = Kind::FollowUp;
        }
    }

    fn between(&mut self, from: Day, to: Day) -> Day {
        from.plus(self.dice.between(0, from.until(to).max(0)))
    }

    fn wellness(&mut self, from: Day, until: Day, wants: &mut Vec<Want>) {
        let birth = self.p.member.birth;
        let add = |day: Day, wants: &mut Vec<Want>| {
            if day > from && day < until {
                wants.push(Want { day, kind: Kind::Wellness, about: None });
            }
        };
        if birth.years_to(from) < 18 {
            const DUE: [i64; 11] = [1, 2, 4, 6, 9, 12, 15, 18, 24, 30, 36];
            let yearly = (4..19).map(|y| y * 12);
            for months in DUE.into_iter().chain(yearly) {
                let day = birth.plus(months * 3044 / 100 + self.dice.between(0, 18));
                if self.dice.chance(900) {
                    add(day, wants);
                }
            }
        }
        if birth.years_to(TODAY) >= 19 {
            for third in 0..3 {
                let start = TODAY.plus(-REACH + third * REACH / 3);
                let day = start.plus(self.dice.between(0, REACH / 3 - 1));
                if birth.years_to(day) >= 19 && (self.p.index == 0 || self.dice.chance(640)) {
                    add(day, wants);
                }
            }
        }
    }

    fn follow_ups(&mut self, from: Day, until: Day, wants: &mut Vec<Want>) {
        let mut budget = 7;
        // What is specially protected is followed closely, and first.
        let mut followed: Vec<Has> =
            self.p.chronic.iter().filter(|h| h.illness.visits > 0).copied().collect();
        followed.sort_by_key(|h| (h.illness.labels.is_empty(), h.onset));
        for has in followed {
            let count = has.illness.visits.min(budget);
            budget -= count;
            let start = from.max(has.onset.plus(1));
            let span = start.until(until);
            for n in 0..count {
                let day =
                    start.plus(span * n / count + self.dice.between(0, (span / count).max(0)));
                if day < until && day > has.onset {
                    let kind = if self.dice.chance(130) { Kind::Virtual } else { Kind::FollowUp };
                    wants.push(Want { day, kind, about: Some(has) });
                }
            }
        }
    }

    fn happening(&mut self, illness: &'static Illness, day: Day, before: i64) -> Has {
        let onset = day.plus(-before).max(self.p.member.birth);
        Has { illness, id: self.id(), onset }
    }

    fn pregnancies(&mut self, from: Day, until: Day, wants: &mut Vec<Want>) {
        let p = self.p;
        if p.member.birth > from {
            let has = Has { illness: &NEWBORN, id: self.id(), onset: p.member.birth };
            wants.push(Want { day: p.member.birth, kind: Kind::Newborn, about: Some(has) });
        }
        let grown = matches!(p.member.place, Place::Head | Place::Partner);
        let first_woman = p
            .household
            .members
            .iter()
            .find(|m| m.female && matches!(m.place, Place::Head | Place::Partner))
            .is_some_and(|m| m.index == p.index);
        if !p.member.female || p.index == 0 {
            return;
        }
        let mut lately = false;
        if grown && first_woman {
            for child in p.household.members.iter().filter(|m| m.place == Place::Child) {
                if child.birth <= from || child.birth > until {
                    continue;
                }
                lately = true;
                let has = Has {
                    illness: &PREGNANCY,
                    id: self.id(),
                    onset: child.birth.plus(-self.dice.between(262, 284)),
                };
                self.prenatal(has, child.birth.plus(-8), from, wants);
                wants.push(Want { day: child.birth, kind: Kind::Birth, about: Some(has) });
            }
        }
        let age = p.age(TODAY);
        if !lately && p.alive() && (20..=40).contains(&age) && p.member.married {
            if self.dice.chance(90) {
                let onset = TODAY.plus(-self.dice.between(75, 240));
                let has = Has { illness: &PREGNANCY, id: self.id(), onset };
                self.prenatal(has, TODAY.plus(-3), from, wants);
            } else if self.dice.chance(40) {
                let day = self.between(from.plus(60), until);
                let has = self.happening(&MISCARRIAGE, day, 2);
                wants.push(Want { day, kind: Kind::Acute, about: Some(has) });
            }
        }
    }

    fn prenatal(&mut self, has: Has, until: Day, from: Day, wants: &mut Vec<Want>) {
        for week in [9, 20, 30, 37] {
            let day = has.onset.plus(week * 7 + self.dice.between(0, 6));
            if day > from && day < until {
                wants.push(Want { day, kind: Kind::FollowUp, about: Some(has) });
            }
        }
    }

    fn acute(&mut self, from: Day, until: Day, wants: &mut Vec<Want>) {
        let p = self.p;
        let span = from.until(until);
        if span < 20 {
            return;
        }
        let most = if p.age(TODAY) < 12 { 3 } else { 2 };
        for _ in 0..self.dice.below(most + 1) {
            let day = self.between(from.plus(10), until);
            let Some(illness) = self.passing(day) else { continue };
            let before = self.dice.between(0, 4);
            let has = self.happening(illness, day, before);
            let kind = if illness.snomed == "74400008" {
                Kind::Inpatient
            } else if illness.urgent && self.dice.chance(650) {
                Kind::Emergency
            } else {
                Kind::Acute
            };
            wants.push(Want { day, kind, about: Some(has) });
        }
        for illness in &p.events {
            let day = self.between(from.plus(10), until);
            let has = self.happening(illness, day, 1);
            let kind = if illness.urgent { Kind::Emergency } else { Kind::Acute };
            wants.push(Want { day, kind, about: Some(has) });
        }
    }

    /// An illness that passes, drawn by age.
    fn passing(&mut self, day: Day) -> Option<&'static Illness> {
        let (age, female) = (self.p.age(day), self.p.member.female);
        let band = usize::from(age >= 18) + usize::from(age >= 60);
        let fits: Vec<&'static Illness> = ACUTE.iter().filter(|i| i.fits(female, age)).collect();
        let weights: Vec<u64> =
            fits.iter().map(|i| i.per_mille.get(band).copied().unwrap_or(0)).collect();
        let at = self.dice.weighted(&weights);
        fits.get(at).copied()
    }

    fn stays(&mut self, from: Day, until: Day, wants: &mut Vec<Want>) {
        let p = self.p;
        let frail = p.has(HEART_FAILURE, TODAY) || p.has("13645005", TODAY);
        let odds = match p.age(TODAY) {
            _ if frail => 420,
            65.. => 150,
            18.. => 30,
            _ => 12,
        };
        if p.index != 0 && from.until(until) > 60 && self.dice.chance(odds) {
            let day = self.between(from.plus(20), until.plus(-12));
            let about = self.reason_to_stay(day);
            wants.push(Want { day, kind: Kind::Inpatient, about: Some(about) });
        }
        if let Some(died) = p.died
            && self.dice.chance(560)
        {
            let day = died.plus(-self.dice.between(2, 8));
            let about = self.reason_to_stay(day);
            wants.push(Want { day, kind: Kind::Inpatient, about: Some(about) });
        }
    }

    fn reason_to_stay(&mut self, day: Day) -> Has {
        let grave = ["88805009", "13645005", "49436004", "53741008"];
        let known = self
            .p
            .chronic
            .iter()
            .find(|h| grave.contains(&h.illness.snomed) && h.onset.plus(10) < day)
            .copied();
        match known {
            Some(has) if self.dice.chance(600) => has,
            _ => self.happening(&PNEUMONIA, day, 2),
        }
    }

    /// Finds who sees the patient, and when exactly.
    fn take_place(&mut self, want: Want, free: Day, until: Day) -> Option<Visit<'a>> {
        let (p, d) = (self.p, self.d);
        let Want { mut day, kind, about } = want;
        let round = matches!(kind, Kind::Emergency | Kind::Inpatient | Kind::Birth | Kind::Newborn);
        let mut minute = if round {
            // Evenings are busy, small hours less.
            match self.dice.weighted(&[1, 4, 3]) {
                0 => self.dice.between(0, 7 * 60),
                1 => self.dice.between(8 * 60, 18 * 60),
                _ => self.dice.between(18 * 60, 1439),
            }
        } else {
            8 * 60 + self.dice.between(0, 33) * 15
        };
        if matches!(kind, Kind::Birth | Kind::Newborn) {
            // Mother and child tell the same hour.
            minute = i64::from(day.0.rem_euclid(97)) * 1439 / 97;
        }
        let surgical = about.as_ref().is_some_and(|h| h.illness.snomed == "74400008");
        let job = match kind {
            Kind::Emergency => Job::Emergency,
            Kind::Inpatient if surgical => Job::Surgeon,
            Kind::Inpatient => Job::Hospitalist,
            Kind::Birth | Kind::Newborn => Job::Midwife,
            _ => Job::Nurse,
        };
        let worker = match (kind, about.as_ref()) {
            _ if round => d.on_duty(job, None, day, minute, &mut self.dice)?,
            (Kind::Home, _) => self.field?,
            (Kind::FollowUp | Kind::Virtual, Some(has)) => self.follows(has.illness),
            (Kind::Acute, Some(has)) if has.illness.by == Job::Obstetrician => {
                self.follows(has.illness)
            }
            _ => self.doctor,
        };
        let myself = p.member.worker.and_then(|at| d.workers.get(at)).map(|w| w.id);
        if Some(worker.id) == myself {
            return None;
        }
        if !round {
            day = day.open();
            let mut tries = 0;
            while !worker.pattern.covers(day, minute) || day.closed() {
                day = day.plus(1);
                tries += 1;
                if tries > 12 {
                    return None;
                }
            }
            if day >= until || day < free {
                return None;
            }
        }
        let stays = matches!(kind, Kind::Inpatient | Kind::Birth | Kind::Newborn);
        let mut minutes = match kind {
            Kind::Emergency => self.dice.between(90, 420),
            Kind::Inpatient => self.dice.between(2, 6) * 1440 + self.dice.between(-200, 200),
            Kind::Birth | Kind::Newborn => 2 * 1440 + i64::from(day.0.rem_euclid(300)),
            _ => 15 * self.dice.between(1, 3),
        };
        // Whoever dies within the stay does so at its end; nobody is there after today.
        let mut fatal = false;
        if let Some(died) = p.died.filter(|died| day.plus((minute + minutes) / 1440 + 1) >= *died) {
            if kind != Kind::Inpatient {
                return None;
            }
            minutes = day.until(died) * 1440 + super::demographic::DEATH_MINUTE - minute;
            fatal = true;
        } else if day.plus((minute + minutes) / 1440) >= TODAY {
            return None;
        }
        let dept = d.department(worker.dept);
        let beside =
            if matches!(kind, Kind::Birth | Kind::Newborn) { Job::Midwife } else { Job::Nurse };
        let nurse = match kind {
            Kind::Home | Kind::Virtual => None,
            _ if stays
                || kind == Kind::Emergency
                || kind == Kind::Wellness
                || kind == Kind::Acute =>
            {
                d.on_duty(beside, Some(worker.dept), day, minute, &mut self.dice)
            }
            _ => None,
        };
        let scheduled =
            matches!(kind, Kind::Wellness | Kind::FollowUp | Kind::Virtual | Kind::Home);
        let appointment = scheduled.then(|| self.id());
        Some(Visit {
            id: self.id(),
            kind,
            day,
            minute,
            minutes,
            worker,
            nurse: nurse.filter(|n| n.id != worker.id && Some(n.id) != myself),
            dept,
            room: self.dice.below(2) as usize,
            about,
            appointment,
            fatal,
        })
    }
}

/// The department that a stay begins in.
pub(super) const fn ward(visit: &Visit<'_>) -> bool {
    matches!(visit.dept.dept, Dept::Medicine | Dept::Surgery | Dept::Birth)
}
