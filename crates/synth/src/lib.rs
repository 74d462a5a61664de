//! Believable synthetic patients of our own: FHIR R4 transaction Bundles that follow
//! from a seed to the byte.
//!
//! Pure: no I/O, no clock (the world stands still on one day), no randomness but its
//! own, no floating point. Every resource carries the label HTEST (v3-ActReason), so that
//! nobody takes it for a person's; social security numbers begin with 999, telephone
//! numbers with 555, e-mail addresses lie under example domains. Refuses to imitate
//! anybody: names, sentences and places are drawn from lists in this crate.
//!
//! A world is made of districts of 1,992 patients (a health system with its staff), and
//! a district of blocks of twelve patients parted into households. A patient's content
//! depends on the seed and the patient's number alone, never on how many there are: a
//! larger world has the same patients and more. The one exception is that a household
//! at the end of a world may lack its last members.
//!
//! Beside the records stands the truth that tests of monitoring and of de-identification
//! need: who works where when ([`World::shifts`]), who lives with whom
//! ([`World::households`]), which members of the staff are patients ([`Staff::patient`]),
//! who met whom ([`World::meetings`]), and which bytes of which free text identify
//! ([`World::notes`]).

mod catalog;
mod chart;
mod day;
mod dice;
mod directory;
mod household;
mod json;
mod note;
mod person;
mod roster;
mod shape;
mod truth;

use std::ops::Range;

use day::Day;
use directory::{DISTRICT, District};
use household::{BLOCK, Household};
use json::Json;
use person::{Person, patient_id};
use shape::Id;

pub use note::{Note, Span, SpanKind};
pub use truth::{Home, Meeting, Shift, Staff};

/// A synthetic world: organizations, staff, patients.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    patients: u32,
    districts: Vec<District>,
    staff: Vec<Staff>,
}

/// What is shared by the patients of a district, in the order in which it is written.
type Part = (&'static str, fn(&District, &mut Json));
const PARTS: [Part; 5] = [
    ("0-organization", District::organizations),
    ("1-location", District::locations),
    ("2-practitioner", District::practitioners),
    ("3-practitioner-role", District::practitioner_roles),
    ("4-roster", District::rosters),
];

impl World {
    /// The world of a seed with so many patients. Cheap: charts are written when
    /// [`World::bundles`] is iterated.
    #[must_use]
    pub fn new(seed: u64, patients: u32) -> World {
        let count = patients.div_ceil(DISTRICT).max(1);
        let districts: Vec<District> = (0..count).map(|n| District::new(seed, n)).collect();
        let mut world = World { seed, patients, districts, staff: Vec::new() };
        world.staff = world.list_staff();
        world
    }

    /// The Bundles, as file name and compact JSON, each made when it is asked for:
    /// for each district what all its patients refer to, then one for each patient.
    /// Entries are PUTs under fixed ids, so that storing them twice makes no duplicates.
    pub fn bundles(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.districts.iter().flat_map(move |district| {
            let first = district.number * DISTRICT;
            self.shared(district).chain(self.charts(first..first + DISTRICT))
        })
    }

    /// The Bundles of what patients refer to: organizations, places, staff, rosters of
    /// all districts.
    pub fn directories(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.districts.iter().flat_map(|district| self.shared(district))
    }

    /// The Bundles of some patients, by their places in [`World::patient_ids`]; any part
    /// of a world can be made without the rest.
    pub fn charts(&self, patients: Range<u32>) -> impl Iterator<Item = (String, String)> + '_ {
        let (first, last) = (patients.start, patients.end.min(self.patients));
        (first / BLOCK..last.div_ceil(BLOCK)).flat_map(move |block| {
            let mut charts = Vec::with_capacity(BLOCK as usize);
            if let Some(district) = self.district_of(block * BLOCK) {
                let households = household::block(self.seed, block, district);
                self.each_of(&households, district, |person| {
                    if (first..last).contains(&person.index) {
                        let chart = chart::write(self.seed, person, district);
                        let name = format!("patient-{:07}.json", person.index + 1);
                        charts.push((name, chart.bundle));
                    }
                });
            }
            charts
        })
    }

    fn shared<'a>(
        &'a self,
        district: &'a District,
    ) -> impl Iterator<Item = (String, String)> + use<'a> {
        PARTS.iter().map(move |(name, write)| {
            let number = district.number;
            let id = Id::of(self.seed, name, u64::from(number));
            let mut to = shape::begin_bundle(id, 64 << 10);
            write(district, &mut to);
            (format!("{number:03}-{name}.json"), shape::end_bundle(to))
        })
    }

    /// Calls back with every patient of some households who is in this world.
    fn each_of(
        &self,
        households: &[Household],
        district: &District,
        mut then: impl FnMut(&Person<'_>),
    ) {
        for (ordinal, household) in households.iter().enumerate() {
            for member in household.members.iter().filter(|m| m.index < self.patients) {
                then(&Person::new(self.seed, household, ordinal, member, district));
            }
        }
    }

    /// The logical ids of the patients, in the order of their Bundles. The first has
    /// type 2 diabetes and high blood pressure with notes, an appointment to come, and
    /// nothing specially protected.
    #[must_use]
    pub fn patient_ids(&self) -> Vec<String> {
        (0..self.patients).map(|index| patient_id(self.seed, index).text()).collect()
    }

    /// The day on which the world stands still, as `2026-06-30`.
    #[must_use]
    pub fn today() -> String {
        day::TODAY.iso()
    }

    fn district_of(&self, index: u32) -> Option<&District> {
        self.districts.get((index / DISTRICT) as usize)
    }

    /// A written chart, for what stands beside its records.
    fn chart(&self, index: u32) -> Option<chart::Written> {
        let district = self.district_of(index).filter(|_| index < self.patients)?;
        let households = household::block(self.seed, index / BLOCK, district);
        households.iter().enumerate().find_map(|(ordinal, household)| {
            let member = household.members.iter().find(|m| m.index == index)?;
            let person = Person::new(self.seed, household, ordinal, member, district);
            Some(chart::write(self.seed, &person, district))
        })
    }
}

/// A day as text.
fn day_of(text: &str) -> Option<Day> {
    let mut parts = text.splitn(3, '-').map(str::parse::<i32>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let known =
        (1900..=2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    known.then(|| Day::new(year, month, day))
}
