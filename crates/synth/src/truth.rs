//! What is true of a world, beside its records: tests of access monitoring and of
//! de-identification are judged by it. Refuses to be exported with the data.

use crate::directory::{District, Worker};
use crate::household;
use crate::note::Note;
use crate::person::patient_id;
use crate::{BLOCK, DISTRICT, World, day_of};

/// Someone who works in the world and may hold an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staff {
    /// The access role that fits: `physician`, `nurse`, `field-clinician`,
    /// `pharmacist`, `laboratory`, `care-coordinator`, `front-desk`, `billing`.
    pub role: String,
    /// The logical id of the Practitioner.
    pub practitioner: String,
    /// The name as it is shown.
    pub name: String,
    /// What the department is called, and the logical id of its Location.
    pub department: String,
    /// The logical id of the department's Location.
    pub location: String,
    /// The number by which the health system employs this person: it stands in the
    /// Practitioner and, when this person is a patient too, in the Patient.
    pub employee: String,
    /// The logical id of the Patient who is this person, if one is.
    pub patient: Option<String>,
}

/// One shift of one member of the staff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The logical id of the Practitioner.
    pub practitioner: String,
    /// The logical id of the department's Location.
    pub location: String,
    /// When it begins: an instant with its offset.
    pub start: String,
    /// When it ends.
    pub end: String,
}

/// A time at which a member of the staff had to do with a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The logical id of the Encounter.
    pub encounter: String,
    /// The logical id of the Practitioner.
    pub practitioner: String,
    /// The logical id of the department's Location.
    pub location: String,
    /// When it began: an instant with its offset.
    pub start: String,
    /// When it ended.
    pub end: String,
}

/// Patients at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The logical ids of the Patients.
    pub patients: Vec<String>,
    /// Their family names, in the same order.
    pub families: Vec<String>,
    /// Street and number, which all their records show.
    pub street: String,
    /// The postal code.
    pub zip: String,
}

impl World {
    pub(crate) fn list_staff(&self) -> Vec<Staff> {
        let mut all = Vec::new();
        for district in &self.districts {
            for (at, worker) in district.workers.iter().enumerate() {
                let dept = district.department(worker.dept);
                all.push(Staff {
                    role: worker.role.to_owned(),
                    practitioner: worker.id.text(),
                    name: worker.shown.clone(),
                    department: dept.name.to_owned(),
                    location: dept.location.text(),
                    employee: worker.employee.clone(),
                    patient: self.patient_who_is(district, at),
                });
            }
        }
        all
    }

    /// The patient who is a member of the staff: the head of the second household of
    /// one block.
    fn patient_who_is(&self, district: &District, worker: usize) -> Option<String> {
        let number = district.number * (DISTRICT / BLOCK) + worker as u32 * 2;
        if number * BLOCK >= self.patients {
            return None;
        }
        let households = household::block(self.seed, number, district);
        let member = households
            .iter()
            .flat_map(|h| &h.members)
            .find(|m| m.worker == Some(worker) && m.index < self.patients)?;
        Some(patient_id(self.seed, member.index).text())
    }

    /// Everyone who works in the world. The first of each clinical role is known to the
    /// first patient; a field clinician is on the care teams of some patients only.
    #[must_use]
    pub fn staff(&self) -> &[Staff] {
        &self.staff
    }

    /// Every shift that begins on a day (`2026-06-28`), nights included; none when the
    /// text is no day. Shifts of the fortnight around today are in the records too, as
    /// Slots; the rosters of all other days follow the same rules.
    pub fn shifts(&self, day: &str) -> impl Iterator<Item = Shift> + '_ {
        let day = day_of(day);
        let all = self.districts.iter().flat_map(|d| d.workers.iter().map(move |w| (d, w)));
        all.filter_map(move |(district, worker): (&District, &Worker)| {
            let day = day?;
            let (from, long) = worker.pattern.shift(day)?;
            Some(Shift {
                practitioner: worker.id.text(),
                location: district.department(worker.dept).location.text(),
                start: district.at(day, from).iso(),
                end: district.at(day, from + long).iso(),
            })
        })
    }

    /// Who lives with whom, one after the other in the order of the patients.
    pub fn households(&self) -> impl Iterator<Item = Home> + '_ {
        (0..self.patients.div_ceil(BLOCK)).flat_map(move |block| {
            let district = self.district_of(block * BLOCK);
            let households =
                district.map(|d| household::block(self.seed, block, d)).unwrap_or_default();
            households.into_iter().filter_map(|household| {
                let here = || household.members.iter().filter(|m| m.index < self.patients);
                (here().count() > 0).then(|| Home {
                    patients: here().map(|m| patient_id(self.seed, m.index).text()).collect(),
                    families: here().map(|m| m.family.clone()).collect(),
                    street: household.home.line.clone(),
                    zip: household.home.zip.clone(),
                })
            })
        })
    }

    /// Who met a patient, by the patient's place in [`World::patient_ids`]; nobody when
    /// there is no such patient.
    #[must_use]
    pub fn meetings(&self, patient: u32) -> Vec<Meeting> {
        self.chart(patient).map(|c| c.meetings).unwrap_or_default()
    }

    /// Every free text of a patient's chart with its identifying spans, by the patient's
    /// place in [`World::patient_ids`]; none when there is no such patient.
    #[must_use]
    pub fn notes(&self, patient: u32) -> Vec<Note> {
        self.chart(patient).map(|c| c.notes).unwrap_or_default()
    }
}
