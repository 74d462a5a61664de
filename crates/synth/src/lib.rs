//! Believable synthetic patients of our own: FHIR R4 transaction Bundles that follow
//! from a seed to the byte.
//!
//! Pure: no I/O, no clock (the world stands still on one day), no randomness but its
//! own. Every resource carries the label HTEST (v3-ActReason), so that nobody takes it
//! for a person's; social security numbers begin with 999, telephone numbers with 555,
//! e-mail addresses lie under example domains. Refuses to imitate anybody: names,
//! sentences and places are drawn from lists in this crate.
//!
//! A patient's content depends on the seed and its number alone, never on how many
//! patients there are: a larger world begins with the same patients.

mod catalog;
mod chart;
mod dice;
mod directory;
mod person;
mod shape;

use dice::Dice;
use directory::{DISTRICT, District};
use person::{Person, patient_id};
use shape::{Resource, bundle};

/// Someone who works in the world and may hold an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staff {
    /// The access role that fits: `physician`, `nurse`, `field-clinician`,
    /// `pharmacist`, `laboratory`, `care-coordinator`.
    pub role: String,
    /// The logical id of the Practitioner.
    pub practitioner: String,
    /// The name as it is shown.
    pub name: String,
}

/// A synthetic world: organizations, staff, patients.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    patients: u32,
    districts: Vec<District>,
    staff: Vec<Staff>,
}

impl World {
    /// The world of a seed with so many patients. Cheap: charts are written when
    /// [`World::bundles`] is iterated.
    #[must_use]
    pub fn new(seed: u64, patients: u32) -> World {
        let count = patients.div_ceil(DISTRICT).max(1);
        let districts: Vec<District> = (0..count).map(|n| District::new(seed, n)).collect();
        let staff = districts
            .iter()
            .flat_map(|d| &d.workers)
            .map(|w| Staff { role: w.role.to_owned(), practitioner: w.id.clone(), name: w.shown() })
            .collect();
        World { seed, patients, districts, staff }
    }

    /// The Bundles, as file name and compact JSON, each made when it is asked for:
    /// first what all patients refer to, then one for each patient. Entries are PUTs
    /// under fixed ids, so that storing them twice makes no duplicates.
    pub fn bundles(&self) -> impl Iterator<Item = (String, String)> + '_ {
        type Part = fn(&District) -> Vec<Resource>;
        let shared: [(&str, Part); 4] = [
            ("0-organization.json", District::organizations),
            ("1-location.json", District::locations),
            ("2-practitioner.json", District::practitioners),
            ("3-practitioner-role.json", District::practitioner_roles),
        ];
        let shared = shared.into_iter().map(|(name, part)| {
            let entries =
                self.districts.iter().flat_map(part).map(Resource::entry).collect::<Vec<_>>();
            (name.to_owned(), bundle(&Dice::new(self.seed, name, 0).uuid(), entries))
        });
        let digits = self.patients.to_string().len().max(5);
        let charts = (0..self.patients).filter_map(move |index| {
            let district = self.districts.get((index / DISTRICT) as usize)?;
            let person = Person::new(self.seed, index, district);
            let chart = chart::write(self.seed, &person, district)?;
            Some((format!("patient-{:0digits$}.json", index + 1), chart))
        });
        shared.chain(charts)
    }

    /// Everyone who works in the world. The first of each role is known to the first
    /// patient; a field clinician is on the care teams of some patients only.
    #[must_use]
    pub fn staff(&self) -> &[Staff] {
        &self.staff
    }

    /// The logical ids of the patients, in the order of their Bundles. The first has
    /// type 2 diabetes and high blood pressure with notes, an appointment to come, and
    /// nothing specially protected.
    #[must_use]
    pub fn patient_ids(&self) -> Vec<String> {
        (0..self.patients).map(|index| patient_id(self.seed, index)).collect()
    }
}
