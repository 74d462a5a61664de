//! Who a patient is beyond the household: numbers, work, body, illnesses, and whether
//! they are still alive.

use crate::catalog::illness::{
    CHRONIC, COPD, DIABETES, HEART_FAILURE, HYPERTENSION, Illness, LIPIDS, MILD, OBESITY, PROTECTED,
};
use crate::catalog::name::nickname;
use crate::catalog::place::{EMPLOYERS, MEDICARE, PUBLIC, SCHOOLS};
use crate::day::{Day, TODAY};
use crate::dice::Dice;
use crate::directory::{District, ascii};
use crate::household::{BLOCK, Household, Member, Place};
use crate::shape::{Id, Labels};

/// One illness of one patient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Has {
    pub(crate) illness: &'static Illness,
    pub(crate) id: Id,
    pub(crate) onset: Day,
}

/// One patient.
#[derive(Clone, Debug)]
pub(crate) struct Person<'a> {
    pub(crate) index: u32,
    pub(crate) id: Id,
    pub(crate) member: &'a Member,
    pub(crate) household: &'a Household,
    pub(crate) name: String,
    pub(crate) nick: &'static str,
    pub(crate) race: (&'static str, &'static str),
    pub(crate) language: Option<(&'static str, &'static str)>,
    pub(crate) mrn: String,
    pub(crate) ssn: String,
    pub(crate) email: String,
    /// What they do and for whom; a pupil's school, a pensioner's former work.
    pub(crate) job: &'static str,
    pub(crate) employer: &'a str,
    pub(crate) smoker: u8,
    /// Grown height in millimetres; body mass index in tenths; shares of the median of
    /// children, per mille; a year's gain in tenths of a kilogram; usual pressure above
    /// the average.
    height: i64,
    index_of_mass: i64,
    share: (i64, i64),
    gain: i64,
    pub(crate) tense: i64,
    pub(crate) chronic: Vec<Has>,
    /// What passes and is specially protected.
    pub(crate) events: Vec<&'static Illness>,
    pub(crate) died: Option<Day>,
    /// Labels of the Patient record itself.
    pub(crate) labels: Labels,
    /// Which field clinician is assigned.
    pub(crate) field: Option<usize>,
}

/// The logical id of a patient.
pub(crate) fn patient_id(seed: u64, index: u32) -> Id {
    Id::of(seed, "patient", u64::from(index))
}

/// Medians of boys and girls by whole years: millimetres, and tenths of a kilogram
/// (after the growth charts of the CDC, rounded).
#[rustfmt::skip]
const TALL: [[i64; 19]; 2] = [
    [500, 760, 870, 950, 1020, 1090, 1150, 1220, 1280, 1330, 1380, 1430, 1490, 1560, 1640, 1700, 1730, 1750, 1760],
    [490, 740, 860, 940, 1010, 1080, 1150, 1210, 1270, 1330, 1380, 1440, 1510, 1570, 1600, 1620, 1630, 1630, 1630],
];
#[rustfmt::skip]
const HEAVY: [[i64; 19]; 2] = [
    [35, 96, 126, 143, 163, 184, 207, 231, 256, 285, 320, 360, 400, 450, 510, 560, 610, 645, 670],
    [34, 90, 120, 139, 159, 180, 202, 228, 256, 290, 330, 370, 415, 460, 495, 520, 540, 555, 565],
];

/// The median at an age in days.
fn median(table: &[[i64; 19]; 2], female: bool, days: i64) -> i64 {
    let row = table.get(usize::from(female)).copied().unwrap_or([0; 19]);
    let year = (days / 365).clamp(0, 17);
    let at = |n: i64| row.get(n as usize).copied().unwrap_or(0);
    let (from, to) = (at(year), at(year + 1));
    let within = (days - year * 365).clamp(0, 365);
    if year == 0 {
        // Most of the first year's growth is in its first half.
        return from + (to - from) * within * (730 - within) / (365 * 365);
    }
    from + (to - from) * within / 365
}

impl<'a> Person<'a> {
    /// The patient of a place in a household.
    pub(crate) fn new(
        seed: u64,
        household: &'a Household,
        ordinal: usize,
        member: &'a Member,
        district: &'a District,
    ) -> Self {
        let index = member.index;
        let mut dice = Dice::new(seed, "person", u64::from(index));
        let age = member.age(TODAY);
        let worker = member.worker.and_then(|at| district.workers.get(at));
        let mut person = Person {
            index,
            id: patient_id(seed, index),
            member,
            household,
            name: member.name(),
            nick: nickname(member.given).unwrap_or(member.given),
            race: *dice.pick(member.heritage.races),
            language: member.heritage.language.filter(|_| dice.chance(350)),
            mrn: record_number(seed, index),
            ssn: format!("999-{:02}-{:04}", dice.between(10, 99), dice.between(1000, 9999)),
            email: format!(
                "{}.{}{}@{}",
                ascii(member.given),
                ascii(&member.family),
                dice.between(1, 99),
                dice.pick(&["mail.example.com", "post.example.net", "inbox.example.org"]),
            ),
            job: "",
            employer: "",
            smoker: if age >= 18 { dice.below(10) as u8 } else { 0 },
            height: if member.female { dice.around(1630, 65) } else { dice.around(1760, 70) },
            index_of_mass: 0,
            share: (dice.around(1000, 38), dice.around(1000, 95)),
            gain: dice.around(4, 9),
            tense: dice.around(0, 7),
            chronic: Vec::new(),
            events: Vec::new(),
            died: None,
            labels: &[],
            field: None,
        };
        person.work(&mut dice);
        let vip = ordinal == 2 && member.place == Place::Head && (index / BLOCK) % 8 == 3;
        if let Some(worker) = worker {
            (person.job, person.employer) = (worker.job.plain(), &district.system_name);
            person.labels = &["EMP"];
        } else if vip && age >= 25 {
            (person.job, person.labels) = (dice.pick(PUBLIC), &["VIP"]);
        }
        person.fall_ill(seed, ordinal, &mut dice);
        person.index_of_mass = if person.has(OBESITY, TODAY) {
            dice.between(305, 385)
        } else if person.has(DIABETES, TODAY) {
            dice.between(250, 298)
        } else {
            dice.around(244, 22).clamp(180, 298)
        };
        person.die(&mut dice);
        let frail = age >= 75 || person.has(HEART_FAILURE, TODAY);
        if index == 0 || (age >= 2 && dice.chance(if frail { 650 } else { 130 })) {
            person.field = Some(index as usize / 3 % 2);
        }
        person
    }

    /// The age in whole years on a day.
    pub(crate) fn age(&self, on: Day) -> i64 {
        self.member.age(on)
    }

    /// Whether the patient has the illness of a SNOMED CT code on a day.
    pub(crate) fn has(&self, snomed: &str, on: Day) -> bool {
        self.chronic.iter().any(|h| h.illness.snomed == snomed && h.onset <= on)
    }

    /// Whether the patient lives, or lived on the last day of the world.
    pub(crate) fn alive(&self) -> bool {
        self.died.is_none()
    }

    /// The last day on which something can have been recorded.
    pub(crate) fn last(&self) -> Day {
        self.died.unwrap_or(TODAY)
    }

    /// Index into the payers; none when uninsured.
    pub(crate) fn payer(&self) -> Option<usize> {
        if self.age(TODAY) >= 65 { Some(MEDICARE) } else { self.household.payer }
    }

    fn work(&mut self, dice: &mut Dice) {
        let age = self.age(TODAY);
        if age < 5 {
            return;
        }
        let (employer, jobs) = *dice.pick(EMPLOYERS);
        (self.job, self.employer) = match age {
            ..=10 => ("pupil", *dice.pick::<&str>(SCHOOLS.get(..2).unwrap_or(SCHOOLS))),
            11..=13 => ("pupil", *dice.pick::<&str>(SCHOOLS.get(2..4).unwrap_or(SCHOOLS))),
            14..=18 => ("student", *dice.pick::<&str>(SCHOOLS.get(4..).unwrap_or(SCHOOLS))),
            67.. => ("retired", employer),
            _ => (*dice.pick::<&str>(jobs), employer),
        };
    }

    fn fall_ill(&mut self, seed: u64, ordinal: usize, dice: &mut Dice) {
        let age = self.age(TODAY);
        let band = usize::from(age >= 18) + usize::from(age >= 60);
        let heavy = dice.chance(300);
        let female = self.member.female;
        let first = self.index == 0;
        for illness in CHRONIC.iter().chain(MILD).chain(PROTECTED) {
            let mut odds = illness.per_mille.get(band).copied().unwrap_or(0);
            // Sugar, pressure, fat and weight keep each other company.
            if heavy && [DIABETES, HYPERTENSION, LIPIDS, OBESITY].contains(&illness.snomed) {
                odds = odds * 17 / 10;
            }
            if self.smoker >= 8 && illness.snomed == COPD {
                odds *= 2;
            }
            // The first patient's chart is open to every clinician: nothing protected.
            let certain = first && [DIABETES, HYPERTENSION].contains(&illness.snomed);
            let barred = first && !illness.labels.is_empty();
            if certain || (!barred && illness.fits(female, age) && dice.chance(odds)) {
                self.contract(seed, illness, dice);
            }
        }
        // The first head of each later block has one of the protected illnesses in turn.
        let block = (self.index / BLOCK) as usize;
        if ordinal == 0 && self.member.place == Place::Head && block > 0 {
            let turn = PROTECTED.iter().cycle().skip((block - 1) % PROTECTED.len());
            let chosen = turn.take(PROTECTED.len()).find(|i| i.fits(female, age));
            let new = |i: &&Illness| !self.chronic.iter().any(|h| h.illness.snomed == i.snomed);
            if let Some(illness) = chosen.filter(new) {
                self.contract(seed, illness, dice);
            }
        }
        if self.smoker >= 8 && !first {
            return self.chronic.sort_by_key(|h| h.onset);
        }
        self.chronic.retain(|h| h.illness.icd != "F17.200");
        self.chronic.sort_by_key(|h| h.onset);
    }

    fn contract(&mut self, seed: u64, illness: &'static Illness, dice: &mut Dice) {
        if !illness.chronic {
            self.events.push(illness);
            return;
        }
        let since = self.member.birth.plus(illness.from * 36525 / 100);
        let span = since.until(TODAY);
        let number = u64::from(self.index) << 8 | self.chronic.len() as u64;
        // Recent onsets are likelier than old ones; none is younger than a month.
        let ago = span.min(30) + dice.below((span - 30).clamp(1, 5000) as u64) as i64;
        self.chronic.push(Has {
            illness,
            id: Id::of(seed, "chronic", number),
            onset: TODAY.plus(-ago),
        });
    }

    /// Some have died within the last years: more of the old and of the ill.
    fn die(&mut self, dice: &mut Dice) {
        let age = self.age(TODAY);
        let mut odds = match age {
            ..=39 => 2,
            40..=59 => 8,
            60..=69 => 25,
            70..=79 => 60,
            80..=87 => 140,
            _ => 260,
        };
        if self.has(HEART_FAILURE, TODAY) || self.has(COPD, TODAY) {
            odds *= 2;
        }
        let spared = self.index == 0 || self.member.worker.is_some() || age < 2;
        let ago = dice.between(12, 760);
        if dice.chance(odds) && !spared {
            let day = TODAY.plus(-ago);
            self.died = Some(day);
            self.chronic.retain(|h| h.onset.plus(20) < day);
        }
    }

    /// Height on a day, in millimetres.
    pub(crate) fn height(&self, day: Day) -> i64 {
        let days = self.member.birth.until(day);
        if days >= 18 * 365 {
            return self.height;
        }
        median(&TALL, self.member.female, days) * self.share.0 / 1000
    }

    /// Weight on a day, in tenths of a kilogram.
    pub(crate) fn weight(&self, day: Day) -> i64 {
        let days = self.member.birth.until(day);
        if days < 18 * 365 {
            let stout = if self.has(OBESITY, day) { 1320 } else { 1000 };
            let usual = median(&HEAVY, self.member.female, days);
            return usual * self.share.1 / 1000 * stout / 1000;
        }
        let now = self.index_of_mass * self.height * self.height / 1_000_000;
        now - self.gain * day.until(TODAY) / 365
    }
}

/// A medical record number: eight digits, no two patients with the same.
pub(crate) fn record_number(seed: u64, index: u32) -> String {
    const PRIME: u64 = 99_999_989;
    let start = Dice::new(seed, "mrn", 0).below(PRIME);
    let n = (start + (u64::from(index) + 1) * 48_271_017) % PRIME;
    let mut text = String::with_capacity(8);
    crate::json::whole(n, 8, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_grow_along_the_charts() {
        for female in [false, true] {
            let mut before = (0, 0);
            for days in (0..18 * 365).step_by(30) {
                let now = (median(&TALL, female, days), median(&HEAVY, female, days));
                assert!(now.0 >= before.0 && now.1 >= before.1, "{days}: {now:?} after {before:?}");
                before = now;
            }
        }
        // Half a year: a little under eight kilograms.
        assert!((75..=82).contains(&median(&HEAVY, false, 182)));
    }

    #[test]
    fn record_numbers_are_never_shared() {
        let mut all: Vec<String> = (0..5000).map(|i| record_number(3, i)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5000);
    }
}
