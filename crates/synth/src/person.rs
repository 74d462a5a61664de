//! Who the patients are: households, names, addresses, identifiers, illnesses.
//! Everything follows from the seed and the patient's number, so that any one patient
//! can be made without the others.

use jiff::ToSpan;
use jiff::civil::{Date, date};

use crate::catalog::illness::{CHRONIC, DIABETES, HYPERTENSION, Illness, PROTECTED, Whom};
use crate::catalog::name::Heritage;
use crate::catalog::place::Town;
use crate::dice::Dice;
use crate::directory::{District, heritage, phone, street, town_of};

/// The day on which the world stands still: nothing recorded is later.
pub(crate) const TODAY: Date = date(2026, 6, 30);

/// Patients of one group of households.
const GROUP: u32 = 4;

/// A place in a household.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Head,
    Spouse,
    Child,
}

/// Which places the four patients of a group take, and who heads each one's household.
const PATTERNS: &[[(Place, u32); 4]] = {
    use Place::{Child, Head, Spouse};
    &[
        [(Head, 0), (Head, 1), (Head, 2), (Head, 3)],
        [(Head, 0), (Spouse, 0), (Head, 2), (Head, 3)],
        [(Head, 0), (Spouse, 0), (Child, 0), (Head, 3)],
        [(Head, 0), (Spouse, 0), (Child, 0), (Child, 0)],
        [(Head, 0), (Child, 0), (Head, 2), (Head, 3)],
    ]
};

/// What a household shares.
#[derive(Clone, Debug)]
pub(crate) struct Household {
    pub(crate) heritage: &'static Heritage,
    pub(crate) family: &'static str,
    pub(crate) line: String,
    pub(crate) town: &'static Town,
    pub(crate) zip: u32,
    pub(crate) phone: String,
    /// Index into the payers, for those who are neither old nor poor.
    pub(crate) payer: usize,
    pub(crate) member_number: String,
    head_birth: Date,
    head_female: bool,
}

/// One illness of one patient.
#[derive(Clone, Debug)]
pub(crate) struct Has {
    pub(crate) illness: &'static Illness,
    pub(crate) id: String,
    pub(crate) onset: Date,
}

/// One patient.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) index: u32,
    pub(crate) id: String,
    pub(crate) place: Place,
    /// The patient who heads the household, when that is another one.
    pub(crate) head: Option<String>,
    pub(crate) household: Household,
    pub(crate) female: bool,
    pub(crate) given: &'static str,
    pub(crate) middle: &'static str,
    pub(crate) birth: Date,
    pub(crate) race: (&'static str, &'static str),
    pub(crate) spanish_or_other: bool,
    pub(crate) married: bool,
    pub(crate) mrn: String,
    pub(crate) ssn: String,
    pub(crate) mobile: String,
    pub(crate) email: String,
    pub(crate) smoker: u8,
    /// Height in millimetres and weight in tenths of a kilogram.
    pub(crate) height: i64,
    pub(crate) weight: i64,
    pub(crate) chronic: Vec<Has>,
    /// Labels of the Patient record itself.
    pub(crate) labels: &'static [&'static str],
    /// Whether a field clinician is assigned, and which.
    pub(crate) field: Option<usize>,
}

/// The logical id of a patient.
pub(crate) fn patient_id(seed: u64, index: u32) -> String {
    Dice::new(seed, "patient", u64::from(index)).uuid()
}

/// Whole years from one day to another.
pub(crate) fn years(from: Date, to: Date) -> i32 {
    let before = (to.month(), to.day()) < (from.month(), from.day());
    i32::from(to.year()) - i32::from(from.year()) - i32::from(before)
}

/// A day some days after another; the calendar's end is out of reach here.
pub(crate) fn plus(day: Date, days: i64) -> Date {
    day.saturating_add(days.days())
}

/// Days from one day to another.
pub(crate) fn days_between(from: Date, to: Date) -> i64 {
    (to - from).get_days().into()
}

fn place_of(seed: u64, index: u32) -> (Place, u32) {
    let group = index / GROUP;
    let pattern = Dice::new(seed, "household", u64::from(group)).pick(PATTERNS);
    let at = (index % GROUP) as usize;
    let (place, head) = pattern.get(at).copied().unwrap_or((Place::Head, index % GROUP));
    (place, group * GROUP + head)
}

fn household(seed: u64, head: u32, district: &District) -> Household {
    let mut dice = Dice::new(seed, "head", u64::from(head));
    let heritage = heritage(&mut dice);
    // Of the first patient much is expected: middle-aged, so that chronic illness fits.
    let age = if head == 0 { dice.between(48, 66) } else { dice.between(21, 88) };
    let head_birth = plus(TODAY, -(age * 36525 / 100) - dice.between(1, 364));
    let town = town_of(district.region, dice.below(district.region.towns.len() as u64) as usize);
    Household {
        heritage,
        family: dice.pick::<&str>(heritage.families),
        line: {
            let line = street(&mut dice);
            if dice.chance(220) { format!("{line}, Apt {}", dice.between(1, 40)) } else { line }
        },
        town,
        zip: town.zip + dice.below(u64::from(town.zips)) as u32,
        phone: phone(&mut dice, town),
        payer: dice.between(1, 4) as usize,
        member_number: format!("{}{}", dice.pick(&["FX", "BL", "TW", "MH"]), dice.digits(9)),
        head_birth,
        head_female: dice.chance(510),
    }
}

impl Person {
    /// The patient of a number.
    pub(crate) fn new(seed: u64, index: u32, district: &District) -> Self {
        let (mut place, mut head) = place_of(seed, index);
        let mut shared = household(seed, head, district);
        // Parents of children at home are neither very young nor old.
        if place == Place::Child && !(26..=58).contains(&years(shared.head_birth, TODAY)) {
            (place, head) = (Place::Head, index);
            shared = household(seed, index, district);
        }
        let mut dice = Dice::new(seed, "person", u64::from(index));
        let female = match place {
            Place::Head => shared.head_female,
            Place::Spouse => !shared.head_female ^ dice.chance(30),
            Place::Child => dice.chance(490),
        };
        let birth = match place {
            Place::Head => shared.head_birth,
            Place::Spouse => {
                let born = plus(shared.head_birth, dice.between(-2200, 2200));
                born.min(plus(TODAY, -21 * 366))
            }
            Place::Child => {
                let parent = i64::from(years(shared.head_birth, TODAY));
                plus(TODAY, -dice.between(60, ((parent - 20).min(17)) * 365))
            }
        };
        let age = years(birth, TODAY);
        let names = if female { shared.heritage.female } else { shared.heritage.male };
        let given = *dice.pick(names);
        let middle = *dice.pick(names);
        let grown = age >= 18;
        let smoker = if grown { dice.below(10) as u8 } else { 0 };
        let mut person = Person {
            index,
            id: patient_id(seed, index),
            head: (place != Place::Head).then(|| patient_id(seed, head)),
            place,
            female,
            given,
            middle,
            birth,
            race: *dice.pick(shared.heritage.races),
            spanish_or_other: shared.heritage.language.is_some() && dice.chance(400),
            married: grown && (place == Place::Spouse || dice.chance(380)),
            mrn: format!("{:04}-{}", index + 1, dice.digits(6)),
            ssn: format!("999-{:02}-{:04}", dice.between(10, 99), dice.between(1000, 9999)),
            mobile: phone(&mut dice, shared.town),
            email: String::new(),
            smoker,
            height: 0,
            weight: 0,
            chronic: Vec::new(),
            labels: &[],
            field: index.is_multiple_of(3).then_some((index / 3 % 2) as usize),
            household: shared,
        };
        person.email = format!(
            "{}.{}{}@{}",
            crate::directory::ascii(person.given),
            crate::directory::ascii(person.household.family),
            dice.between(1, 99),
            dice.pick(&["mail.example.com", "post.example.net", "inbox.example.org"]),
        );
        person.labels = match (index % GROUP, index / GROUP % 25) {
            (0, 7) => &["VIP"],
            (0, 12) => &["EMP"],
            _ => &[],
        };
        person.fall_ill(seed, &mut dice);
        person.grow(&mut dice);
        person
    }

    /// The age in whole years on a day.
    pub(crate) fn age(&self, on: Date) -> i32 {
        years(self.birth, on)
    }

    /// Given and family name.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.given, self.household.family)
    }

    /// Whether the patient has the illness of a SNOMED CT code on a day.
    pub(crate) fn has(&self, snomed: &str, on: Date) -> bool {
        self.chronic.iter().any(|h| h.illness.snomed == snomed && h.onset <= on)
    }

    fn fall_ill(&mut self, seed: u64, dice: &mut Dice) {
        let age = self.age(TODAY);
        let band = usize::from(age >= 18) + usize::from(age >= 60);
        let heavy = dice.chance(300);
        for illness in CHRONIC {
            let sex = match illness.whom {
                Whom::All => true,
                Whom::Women => self.female,
                Whom::Men => !self.female,
            };
            let mut odds = illness.per_mille.get(band).copied().unwrap_or(0);
            // Sugar, pressure, fat and weight keep each other company.
            if heavy && [DIABETES, HYPERTENSION, "55822004", "162864005"].contains(&illness.snomed)
            {
                odds = odds * 17 / 10;
            }
            let certain = self.index == 0 && [DIABETES, HYPERTENSION].contains(&illness.snomed);
            // The first patient's chart is open to every clinician: nothing protected.
            let barred = self.index == 0 && !illness.labels.is_empty();
            if certain || (sex && age > illness.from && !barred && dice.chance(odds)) {
                self.contract(seed, illness, dice);
            }
        }
        let (at, group) = (self.index % GROUP, self.index / GROUP % 10);
        let protected = match (at, group) {
            (0, 2) => PROTECTED.first(),
            (0, 4) => PROTECTED.get(1),
            (0, 6) => PROTECTED.get(2),
            (0, 8) => PROTECTED.get(3),
            _ => None,
        };
        if let Some(illness) = protected.filter(|i| age > i.from) {
            self.contract(seed, illness, dice);
        }
        self.chronic.sort_by_key(|h| h.onset);
    }

    fn contract(&mut self, seed: u64, illness: &'static Illness, dice: &mut Dice) {
        let since = plus(self.birth, i64::from(illness.from) * 36525 / 100);
        let span = days_between(since, TODAY);
        let number = u64::from(self.index) << 8 | self.chronic.len() as u64;
        self.chronic.push(Has {
            illness,
            id: Dice::new(seed, "chronic", number).uuid(),
            // Recent onsets are likelier than old ones; none is younger than a month.
            onset: plus(
                TODAY,
                -(span.min(30)) - dice.below((span - 30).clamp(1, 6000) as u64) as i64,
            ),
        });
    }

    fn grow(&mut self, dice: &mut Dice) {
        let age = i64::from(self.age(TODAY));
        let grown = if self.female { dice.around(1630, 65) } else { dice.around(1760, 70) };
        // Children stand on a straight line from birth to sixteen; near enough.
        self.height = if age >= 16 {
            grown
        } else {
            let months = days_between(self.birth, TODAY) * 12 / 365;
            520 + (grown - 520) * months.min(192) / 192
        };
        let index = if age < 16 {
            dice.between(150, 210)
        } else if self.has("162864005", TODAY) {
            dice.between(305, 395)
        } else if self.has(DIABETES, TODAY) {
            dice.between(250, 320)
        } else {
            dice.around(250, 24)
        };
        // Tenths of a kilogram from tenths of an index and millimetres.
        self.weight = index * self.height * self.height / 1_000_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_turn_on_the_birthday() {
        assert_eq!(years(date(2000, 6, 30), date(2026, 6, 30)), 26);
        assert_eq!(years(date(2000, 7, 1), date(2026, 6, 30)), 25);
    }

    #[test]
    fn families_share_name_and_address() {
        let district = District::new(5, 0);
        let all: Vec<Person> = (0..80).map(|i| Person::new(5, i, &district)).collect();
        let mut relatives = 0;
        for person in &all {
            let Some(head) = &person.head else { continue };
            let head = all.iter().find(|p| &p.id == head).unwrap();
            assert_eq!(head.household.family, person.household.family);
            assert_eq!(head.household.line, person.household.line);
            assert!(head.index < person.index);
            relatives += 1;
        }
        assert!(relatives > 10, "{relatives} relatives");
    }
}
