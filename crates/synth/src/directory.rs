//! The houses and people of one district: organizations, locations, practitioners and
//! their roles. A district serves 250 patients; a larger world has more of them,
//! so that the content of a patient doesn't depend on how many there are.

use serde_json::{Value, json};

use crate::catalog::name::{HERITAGES, Heritage};
use crate::catalog::place::{CLINICS, PAYERS, REGIONS, Region, STREET_KINDS, STREETS, Town};
use crate::dice::Dice;
use crate::shape::{Resource, concept, hl7, reference, shown, snomed};

/// Patients of one district.
pub(crate) const DISTRICT: u32 = 250;

/// Someone who works in a district.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// The access role that this person would hold.
    pub(crate) role: &'static str,
    pub(crate) id: String,
    pub(crate) role_id: String,
    pub(crate) family: &'static str,
    pub(crate) given: &'static str,
    pub(crate) female: bool,
    pub(crate) title: &'static str,
    pub(crate) job: Job,
    pub(crate) clinic: usize,
}

impl Worker {
    /// The name as it is shown.
    pub(crate) fn shown(&self) -> String {
        if self.title.starts_with("MD") {
            format!("Dr. {} {}", self.given, self.family)
        } else {
            format!("{} {}, {}", self.given, self.family, self.title)
        }
    }

    /// The reference to the Practitioner.
    pub(crate) fn reference(&self) -> Value {
        shown("Practitioner", &self.id, &self.shown())
    }
}

/// What someone does, beyond the access role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Family,
    Internist,
    Cardiologist,
    Psychiatrist,
    Nurse,
    Field,
    Pharmacist,
    Laboratory,
    Coordinator,
}

impl Job {
    /// The SNOMED CT occupation: code, display.
    pub(crate) const fn occupation(self) -> (&'static str, &'static str) {
        match self {
            Job::Family => ("62247001", "Family medicine specialist (occupation)"),
            Job::Internist => ("56397003", "General physician (occupation)"),
            Job::Cardiologist => ("17561000", "Cardiologist (occupation)"),
            Job::Psychiatrist => ("80584001", "Psychiatrist (occupation)"),
            Job::Nurse => ("224535009", "Registered nurse (occupation)"),
            Job::Field => ("224547004", "District nurse (occupation)"),
            Job::Pharmacist => ("46255001", "Pharmacist (occupation)"),
            Job::Laboratory => ("159282002", "Laboratory technician (occupation)"),
            Job::Coordinator => ("768820003", "Care coordinator (occupation)"),
        }
    }

    const fn specialty(self) -> Option<(&'static str, &'static str)> {
        match self {
            Job::Family => Some(("419772000", "Family practice (qualifier value)")),
            Job::Internist => Some(("419192003", "Internal medicine (qualifier value)")),
            Job::Cardiologist => Some(("394579002", "Cardiology (qualifier value)")),
            Job::Psychiatrist => Some(("394587001", "Psychiatry (qualifier value)")),
            Job::Field => Some(("394814009", "General practice (specialty) (qualifier value)")),
            _ => None,
        }
    }
}

const JOBS: &[(Job, &str, &str)] = &[
    (Job::Family, "physician", "MD"),
    (Job::Nurse, "nurse", "RN"),
    (Job::Field, "field-clinician", "NP"),
    (Job::Internist, "physician", "MD"),
    (Job::Family, "physician", "MD"),
    (Job::Nurse, "nurse", "RN"),
    (Job::Family, "physician", "MD"),
    (Job::Internist, "physician", "MD"),
    (Job::Nurse, "nurse", "RN"),
    (Job::Field, "field-clinician", "NP"),
    (Job::Nurse, "nurse", "RN"),
    (Job::Cardiologist, "physician", "MD"),
    (Job::Psychiatrist, "physician", "MD"),
    (Job::Pharmacist, "pharmacist", "PharmD"),
    (Job::Laboratory, "laboratory", "MLS"),
    (Job::Coordinator, "care-coordinator", "RN"),
];

/// One clinic of a district.
#[derive(Clone, Debug)]
pub(crate) struct Clinic {
    pub(crate) name: &'static str,
    pub(crate) organization: String,
    pub(crate) location: String,
    /// An examination room within the location.
    pub(crate) room: String,
    town: usize,
    street: String,
    phone: String,
}

/// A district: its region, houses and people.
#[derive(Clone, Debug)]
pub(crate) struct District {
    pub(crate) region: &'static Region,
    pub(crate) health_system: String,
    pub(crate) laboratory: String,
    pub(crate) hospital: String,
    pub(crate) payers: Vec<String>,
    pub(crate) clinics: Vec<Clinic>,
    pub(crate) workers: Vec<Worker>,
    number: u32,
}

/// A heritage, drawn by its share.
pub(crate) fn heritage(dice: &mut Dice) -> &'static Heritage {
    let mut at = dice.below(HERITAGES.iter().map(|h| h.share).sum());
    for heritage in HERITAGES {
        if at < heritage.share {
            return heritage;
        }
        at -= heritage.share;
    }
    dice.pick(HERITAGES)
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

impl District {
    /// The district of a number.
    pub(crate) fn new(seed: u64, number: u32) -> Self {
        let mut dice = Dice::new(seed, "district", u64::from(number));
        let start = Dice::new(seed, "regions", 0).below(REGIONS.len() as u64) as usize;
        let region = REGIONS
            .iter()
            .cycle()
            .nth(start + number as usize % REGIONS.len())
            .unwrap_or_else(|| dice.pick(REGIONS));
        let (health_system, laboratory, hospital) = (dice.uuid(), dice.uuid(), dice.uuid());
        let payers = PAYERS.iter().map(|_| dice.uuid()).collect();
        let clinics = CLINICS
            .iter()
            .map(|name| {
                let town = dice.below(region.towns.len() as u64) as usize;
                Clinic {
                    name,
                    organization: dice.uuid(),
                    location: dice.uuid(),
                    room: dice.uuid(),
                    town,
                    street: street(&mut dice),
                    phone: format!("({}) 555-{}", town_of(region, town).area, dice.digits(4)),
                }
            })
            .collect::<Vec<_>>();
        let workers = JOBS
            .iter()
            .enumerate()
            .map(|(at, (job, role, title))| {
                let heritage = heritage(&mut dice);
                let female = dice.chance(580);
                Worker {
                    role,
                    id: dice.uuid(),
                    role_id: dice.uuid(),
                    family: dice.pick::<&str>(heritage.families),
                    given: dice.pick::<&str>(if female { heritage.female } else { heritage.male }),
                    female,
                    title,
                    job: *job,
                    clinic: at % clinics.len(),
                }
            })
            .collect();
        District { region, health_system, laboratory, hospital, payers, clinics, workers, number }
    }

    /// The people of one job.
    pub(crate) fn of(&self, job: Job) -> Vec<&Worker> {
        self.workers.iter().filter(|w| w.job == job).collect()
    }

    /// The name of the health system.
    pub(crate) fn system_name(&self) -> String {
        format!("{} Health", self.region.name)
    }

    fn hospital_name(&self) -> String {
        format!("{} Memorial Hospital", self.region.name)
    }

    /// Organizations: the system, its clinics, hospital and laboratory, the payers.
    pub(crate) fn organizations(&self) -> Vec<Resource> {
        let mut all = Vec::new();
        let own = [
            (&self.health_system, self.system_name(), "prov", "Healthcare Provider", None),
            (
                &self.hospital,
                self.hospital_name(),
                "prov",
                "Healthcare Provider",
                Some(&self.health_system),
            ),
            (
                &self.laboratory,
                format!("{} Reference Laboratory", self.region.name),
                "prov",
                "Healthcare Provider",
                Some(&self.health_system),
            ),
        ];
        for (id, name, code, display, part_of) in own {
            all.push(self.organization(id, &name, code, display, part_of, None));
        }
        for clinic in &self.clinics {
            all.push(self.organization(
                &clinic.organization,
                clinic.name,
                "prov",
                "Healthcare Provider",
                Some(&self.health_system),
                Some(clinic),
            ));
        }
        for (id, (name, ..)) in self.payers.iter().zip(PAYERS) {
            all.push(self.organization(id, name, "pay", "Payer", None, None));
        }
        all
    }

    fn organization(
        &self,
        id: &str,
        name: &str,
        code: &str,
        display: &str,
        part_of: Option<&String>,
        clinic: Option<&Clinic>,
    ) -> Resource {
        let mut dice = Dice::new(u64::from(self.number), id, 0);
        let town = clinic
            .map_or_else(|| town_of(self.region, 0), |clinic| town_of(self.region, clinic.town));
        let phone = clinic.map_or_else(|| phone(&mut dice, town), |c| c.phone.clone());
        let line = clinic.map_or_else(|| street(&mut dice), |c| c.street.clone());
        let mut o = Resource::new("Organization", id.to_owned(), &[]);
        o.set(
            "identifier",
            json!([{
                "system": "https://phial.example/sid/organization",
                "value": format!("ORG-{}", dice.digits(7)),
            }]),
        )
        .set("active", true)
        .set("type", json!([concept(hl7("organization-type", code, display))]))
        .set("name", name)
        .set("telecom", json!([{ "system": "phone", "value": phone, "use": "work" }]))
        .set("address", json!([self.address(town, &line)]))
        .set_some("partOf", part_of.map(|id| reference("Organization", id)));
        o
    }

    fn address(&self, town: &Town, line: &str) -> Value {
        json!({
            "use": "work",
            "line": [line],
            "city": town.city,
            "state": self.region.state,
            "postalCode": format!("{:05}", town.zip),
            "country": "US",
        })
    }

    /// Locations: each clinic, and a room in it.
    pub(crate) fn locations(&self) -> Vec<Resource> {
        let mut all = Vec::new();
        for (at, clinic) in self.clinics.iter().enumerate() {
            let town = town_of(self.region, clinic.town);
            let mut l = Resource::new("Location", clinic.location.clone(), &[]);
            l.set("status", "active")
                .set("name", clinic.name)
                .set("mode", "instance")
                .set("type", json!([concept(hl7("v3-RoleCode", "OF", "outpatient facility"))]))
                .set("telecom", json!([{ "system": "phone", "value": clinic.phone }]))
                .set("address", self.address(town, &clinic.street))
                .set("physicalType", concept(hl7("location-physical-type", "bu", "Building")))
                .set(
                    "position",
                    json!({
                        "longitude": self.region.longitude + at as f64 / 32.0,
                        "latitude": self.region.latitude - at as f64 / 64.0,
                    }),
                )
                .set("managingOrganization", reference("Organization", &clinic.organization));
            let building = l.reference();
            all.push(l);
            let mut room = Resource::new("Location", clinic.room.clone(), &[]);
            room.set("status", "active")
                .set("name", format!("Examination room {}", at + 1))
                .set("mode", "instance")
                .set("physicalType", concept(hl7("location-physical-type", "ro", "Room")))
                .set("managingOrganization", reference("Organization", &clinic.organization))
                .set("partOf", building);
            all.push(room);
        }
        all
    }

    /// Practitioners.
    pub(crate) fn practitioners(&self) -> Vec<Resource> {
        self.workers
            .iter()
            .map(|w| {
                let mut dice = Dice::new(u64::from(self.number), &w.id, 0);
                let mail = format!("{}.{}", ascii(w.given), ascii(w.family));
                let mut p = Resource::new("Practitioner", w.id.clone(), &[]);
                // National provider identifiers begin with 1 or 2: these belong to nobody.
                let npi = format!("9{}", dice.digits(9));
                let mut name = json!({
                    "use": "official",
                    "family": w.family,
                    "given": [w.given],
                    "suffix": [w.title],
                });
                if let (Some(name), true) = (name.as_object_mut(), w.title == "MD") {
                    name.insert("prefix".to_owned(), json!(["Dr."]));
                }
                p.set(
                    "identifier",
                    json!([{ "system": "http://hl7.org/fhir/sid/us-npi", "value": npi }]),
                )
                .set("active", true)
                .set("name", json!([name]))
                .set(
                    "telecom",
                    json!([{
                        "system": "email",
                        "value": format!("{mail}@staff.example.org"),
                        "use": "work",
                    }]),
                )
                .set("gender", if w.female { "female" } else { "male" })
                .set(
                    "qualification",
                    json!([{
                        "code": concept(hl7("v2-0360", if w.title == "MLS" { "MT" } else { w.title }, degree(w.title))),
                    }]),
                );
                p
            })
            .collect()
    }

    /// The role of each practitioner at one clinic.
    pub(crate) fn practitioner_roles(&self) -> Vec<Resource> {
        self.workers
            .iter()
            .map(|w| {
                let clinic = self.clinics.get(w.clinic);
                let (code, display) = w.job.occupation();
                let mut r = Resource::new("PractitionerRole", w.role_id.clone(), &[]);
                r.set("active", true)
                    .set("practitioner", w.reference())
                    .set_some(
                        "organization",
                        clinic.map(|c| shown("Organization", &c.organization, c.name)),
                    )
                    .set("code", json!([snomed(code, display)]))
                    .set_some(
                        "specialty",
                        w.job.specialty().map(|(code, display)| json!([snomed(code, display)])),
                    )
                    .set_some(
                        "location",
                        clinic.map(|c| json!([shown("Location", &c.location, c.name)])),
                    )
                    .set_some(
                        "telecom",
                        clinic.map(
                            |c| json!([{ "system": "phone", "value": c.phone, "use": "work" }]),
                        ),
                    );
                r
            })
            .collect()
    }
}

/// The degree behind a title (HL7 table 0360).
const fn degree(title: &str) -> &'static str {
    match title.as_bytes() {
        b"MD" => "Doctor of Medicine",
        b"RN" => "Registered Nurse",
        b"NP" => "Nurse Practitioner",
        b"PharmD" => "Doctor of Pharmacy",
        _ => "Medical Technician",
    }
}

/// A town of a region by its place in the list.
pub(crate) fn town_of(region: &'static Region, at: usize) -> &'static Town {
    const NOWHERE: Town =
        Town { city: "Springfield", county: "Clark", zip: 45501, zips: 1, area: "937" };
    region.towns.get(at).unwrap_or(&NOWHERE)
}

/// Lower-case ASCII letters of a name, for e-mail addresses.
pub(crate) fn ascii(name: &str) -> String {
    name.chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            'a'..='z' => Some(c),
            'á' | 'à' | 'ä' => Some('a'),
            'č' | 'ć' => Some('c'),
            'é' | 'è' | 'ě' => Some('e'),
            'í' | 'ì' => Some('i'),
            'ñ' => Some('n'),
            'ó' | 'ö' => Some('o'),
            'ř' => Some('r'),
            'ú' | 'ü' => Some('u'),
            _ => None,
        })
        .collect()
}
