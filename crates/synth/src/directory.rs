//! The houses and people of one district: a health system with its hospital, wards,
//! clinics and services, and who works in them. A district serves 1,992 patients; a
//! larger world has more of them, so that the content of a patient doesn't depend on
//! how many there are.

use crate::catalog::name::{HERITAGES, Heritage};
use crate::catalog::place::{PAYERS, REGIONS, Region, STREET_KINDS, STREETS, Town};
use crate::day::{Day, Moment, TODAY};
use crate::dice::Dice;
use crate::json::{Json, Put, whole};
use crate::roster::Pattern;
use crate::shape::{Id, Shown};

mod department;
mod write;

pub(crate) use department::{DEPARTMENTS, Dept};
pub(crate) use write::put_occupation;

/// Patients of one district: 166 blocks of twelve.
pub(crate) const DISTRICT: u32 = 1992;

/// What someone does, beyond the access role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Family,
    Internist,
    Pediatrician,
    Obstetrician,
    Midwife,
    Cardiologist,
    Oncologist,
    Infection,
    Psychiatrist,
    Therapist,
    Addiction,
    Emergency,
    Hospitalist,
    Surgeon,
    Nurse,
    Field,
    Pharmacist,
    Laboratory,
    Radiologist,
    Coordinator,
    Desk,
    Billing,
}

/// Someone who works in a district.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// The access role that this person would hold.
    pub(crate) role: &'static str,
    pub(crate) job: Job,
    pub(crate) title: &'static str,
    pub(crate) dept: Dept,
    pub(crate) pattern: Pattern,
    pub(crate) id: Id,
    pub(crate) role_id: Id,
    pub(crate) schedule: Id,
    /// The name as it is shown.
    pub(crate) shown: String,
    /// The title and family name, as colleagues write it.
    pub(crate) addressed: String,
    pub(crate) employee: String,
    pub(crate) npi: String,
    pub(crate) mail: String,
    /// Who it is outside of work.
    pub(crate) heritage: &'static Heritage,
    pub(crate) family: &'static str,
    pub(crate) given: &'static str,
    pub(crate) female: bool,
    pub(crate) birth: Day,
    pub(crate) home: Home,
}

impl Worker {
    /// The reference to the Practitioner.
    pub(crate) fn reference(&self) -> Shown<'_> {
        Shown("Practitioner", self.id, &self.shown)
    }

    /// Whether this one prescribes and diagnoses.
    pub(crate) fn prescribes(&self) -> bool {
        matches!(self.title, "MD" | "NP" | "CNM" | "PA")
    }
}

/// Where people live.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) line: String,
    pub(crate) town: &'static Town,
    pub(crate) zip: String,
    pub(crate) phone: String,
}

impl Home {
    pub(crate) fn draw(region: &'static Region, dice: &mut Dice) -> Home {
        let town = town_of(region, dice.below(region.towns.len() as u64) as usize);
        let mut line = street(dice);
        if dice.chance(220) {
            line.push_str(&format!(", Apt {}", dice.between(1, 40)));
        }
        Home { line, town, zip: zip(dice, town), phone: phone(dice, town) }
    }
}

/// A US address: use, line, place.
pub(crate) struct Address<'a>(
    pub(crate) &'static str,
    pub(crate) &'a str,
    pub(crate) &'static Town,
    pub(crate) &'a str,
    pub(crate) &'static Region,
);

impl Put for Address<'_> {
    fn put(&self, to: &mut Json) {
        let Address(used, line, town, zip, region) = *self;
        crate::json::put!(*to, {
            "use": (used), "type": "both", "line": [(line)], "city": (town.city),
            "district": (town.county), "state": (region.state), "postalCode": (zip),
            "country": "US",
        });
    }
}

/// One department of a district.
#[derive(Clone, Debug)]
pub(crate) struct Department {
    pub(crate) dept: Dept,
    pub(crate) name: &'static str,
    pub(crate) organization: Id,
    pub(crate) location: Id,
    /// Rooms or bays within the location.
    pub(crate) rooms: [(Id, String); 2],
    pub(crate) home: Home,
}

/// A district: its region, houses and people.
#[derive(Clone, Debug)]
pub(crate) struct District {
    pub(crate) seed: u64,
    pub(crate) number: u32,
    pub(crate) region: &'static Region,
    pub(crate) system: Id,
    pub(crate) system_name: String,
    pub(crate) hospital: Id,
    pub(crate) hospital_name: String,
    pub(crate) hospital_place: Id,
    pub(crate) hospital_home: Home,
    pub(crate) payers: Vec<Id>,
    pub(crate) departments: Vec<Department>,
    pub(crate) workers: Vec<Worker>,
}

/// A heritage, drawn by its share.
pub(crate) fn heritage(dice: &mut Dice) -> &'static Heritage {
    let mut at = dice.below(HERITAGES.iter().map(|h| h.share).sum());
    for heritage in HERITAGES.iter() {
        if at < heritage.share {
            return heritage;
        }
        at -= heritage.share;
    }
    dice.pick(&HERITAGES)
}

/// A given name for someone born on a day.
pub(crate) fn given(
    heritage: &'static Heritage,
    female: bool,
    birth: Day,
    dice: &mut Dice,
) -> &'static str {
    let young = birth > Day::new(1998, 1, 1);
    dice.pick::<&str>(match (female, young) {
        (true, false) => &heritage.female,
        (false, false) => &heritage.male,
        (true, true) => &heritage.girls,
        (false, true) => &heritage.boys,
    })
}

/// A street and number.
pub(crate) fn street(dice: &mut Dice) -> String {
    let number = dice.between(3, 2480);
    format!("{number} {} {}", dice.pick(STREETS), dice.pick(STREET_KINDS))
}

/// A number of the area that no telephone has (555).
pub(crate) fn phone(dice: &mut Dice, town: &Town) -> String {
    format!("({}) 555-{}", town.area, dice.digits(4))
}

fn zip(dice: &mut Dice, town: &Town) -> String {
    let mut text = String::with_capacity(5);
    whole(u64::from(town.zip) + dice.below(u64::from(town.zips)), 5, &mut text);
    text
}

/// A town of a region by its place in the list.
pub(crate) fn town_of(region: &'static Region, at: usize) -> &'static Town {
    const NOWHERE: Town =
        Town { city: "Springfield", county: "Clark", zip: 45501, zips: 1, area: "937" };
    region.towns.get(at).unwrap_or(&NOWHERE)
}

impl District {
    /// The district of a number.
    pub(crate) fn new(seed: u64, number: u32) -> Self {
        let mut dice = Dice::new(seed, "district", u64::from(number));
        let start = Dice::new(seed, "regions", 0).below(REGIONS.len() as u64) as usize;
        let region = REGIONS
            .get((start + number as usize) % REGIONS.len())
            .unwrap_or_else(|| dice.pick(REGIONS));
        // The second time round the regions, houses bear another name.
        let name = match number as usize / REGIONS.len() {
            0 => region.name.to_owned(),
            n => {
                let side = ["North", "South", "East", "West"].get((n - 1) % 4).unwrap_or(&"New");
                format!("{side} {}", region.name)
            }
        };
        let departments = DEPARTMENTS
            .iter()
            .map(|row| Department {
                dept: row.dept,
                name: row.name,
                organization: Id::draw(&mut dice),
                location: Id::draw(&mut dice),
                rooms: [1, 2].map(|n| (Id::draw(&mut dice), format!("{} {n}", row.room))),
                home: Home::draw(region, &mut dice),
            })
            .collect();
        let mut district = District {
            seed,
            number,
            region,
            system: Id::draw(&mut dice),
            system_name: format!("{name} Health"),
            hospital: Id::draw(&mut dice),
            hospital_name: format!("{name} Memorial Hospital"),
            hospital_place: Id::draw(&mut dice),
            hospital_home: Home::draw(region, &mut dice),
            payers: PAYERS.iter().map(|_| Id::draw(&mut dice)).collect(),
            departments,
            workers: Vec::new(),
        };
        district.workers = department::STAFF
            .iter()
            .enumerate()
            .map(|(at, row)| district.worker(at, row, &mut dice))
            .collect();
        district
    }

    fn worker(&self, at: usize, row: &department::Row, dice: &mut Dice) -> Worker {
        let (job, dept, pattern) = *row;
        let (role, title) = job.role();
        let heritage = heritage(dice);
        let nursing = matches!(job, Job::Nurse | Job::Midwife | Job::Field | Job::Desk);
        let female = job == Job::Midwife || dice.chance(if nursing { 850 } else { 480 });
        let age = dice.between(if title == "MD" { 31 } else { 24 }, 64);
        let birth = TODAY.plus(-(age * 36525 / 100) - dice.between(1, 364));
        let given = given(heritage, female, birth, dice);
        let family = *dice.pick::<&str>(&heritage.families);
        let doctor = title == "MD";
        Worker {
            role,
            job,
            title,
            dept,
            pattern,
            id: Id::draw(dice),
            role_id: Id::draw(dice),
            schedule: Id::draw(dice),
            shown: if doctor {
                format!("Dr. {given} {family}")
            } else if title.is_empty() {
                format!("{given} {family}")
            } else {
                format!("{given} {family}, {title}")
            },
            addressed: if doctor {
                format!("Dr. {family}")
            } else {
                format!("{} {family}", if female { "Ms." } else { "Mr." })
            },
            employee: format!("E{:02}{:03}{}", self.number + 10, at + 1, dice.digits(2)),
            // National provider identifiers begin with 1 or 2: these belong to nobody.
            npi: format!("9{}", dice.digits(9)),
            mail: format!("{}.{}@staff.example.org", ascii(given), ascii(family)),
            heritage,
            family,
            given,
            female,
            birth,
            home: Home::draw(self.region, dice),
        }
    }

    /// The department of a kind. Every district has all of them.
    #[expect(clippy::indexing_slicing, reason = "the departments stand in the order of Dept")]
    pub(crate) fn department(&self, dept: Dept) -> &Department {
        &self.departments[dept as usize]
    }

    /// The worker of a number, counted round.
    #[expect(clippy::indexing_slicing, reason = "the staff is never empty")]
    pub(crate) fn staff(&self, at: usize) -> &Worker {
        &self.workers[at % self.workers.len()]
    }

    /// The people of one job.
    pub(crate) fn of(&self, job: Job) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(move |w| w.job == job)
    }

    /// Someone of a job and, when given, a department, at work at a minute of a day.
    pub(crate) fn on_duty(
        &self,
        job: Job,
        dept: Option<Dept>,
        day: Day,
        minute: i64,
        dice: &mut Dice,
    ) -> Option<&Worker> {
        let fit = |w: &&Worker| {
            w.job == job && dept.is_none_or(|d| w.dept == d) && w.pattern.covers(day, minute)
        };
        let count = self.workers.iter().filter(fit).count();
        let at = dice.below(count as u64) as usize;
        self.workers.iter().filter(fit).nth(at)
    }

    /// The instant of a minute of a day here.
    pub(crate) fn at(&self, day: Day, minute: i64) -> Moment {
        Moment::new(day, minute, self.region.behind)
    }
}

/// Lower-case ASCII letters of a name, for e-mail addresses.
pub(crate) fn ascii(name: &str) -> String {
    name.chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            'a'..='z' => Some(c),
            'á' | 'à' | 'ä' | 'ą' => Some('a'),
            'č' | 'ć' => Some('c'),
            'é' | 'è' | 'ě' | 'ę' => Some('e'),
            'í' | 'ì' => Some('i'),
            'ł' => Some('l'),
            'ñ' => Some('n'),
            'ó' | 'ö' => Some('o'),
            'ř' => Some('r'),
            'ú' | 'ü' => Some('u'),
            _ => None,
        })
        .collect()
}
