//! Departments of a health system, and who is employed in each on what roster.

use super::Job;
use crate::roster::Pattern::{self, Office, Round};

/// A department. The numbers are places in [`DEPARTMENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dept {
    Riverside,
    NorthQuarter,
    Lindenfield,
    Pediatrics,
    Women,
    Heart,
    Behavioral,
    Recovery,
    Specialty,
    Emergency,
    Medicine,
    Surgery,
    Birth,
    HomeCare,
    Laboratory,
    Pharmacy,
    Imaging,
    Office,
}

/// What a department is.
#[derive(Debug)]
pub(crate) struct DepartmentRow {
    pub(crate) dept: Dept,
    pub(crate) name: &'static str,
    /// Whether it is a part of the hospital.
    pub(crate) hospital: bool,
    /// HL7 v3-RoleCode of its location.
    pub(crate) code: &'static str,
    pub(crate) display: &'static str,
    /// HL7 location-physical-type.
    pub(crate) physical: (&'static str, &'static str),
    pub(crate) room: &'static str,
}

const BUILDING: (&str, &str) = ("bu", "Building");
const WARD: (&str, &str) = ("wa", "Ward");
const WING: (&str, &str) = ("wi", "Wing");

const fn row(
    dept: Dept,
    name: &'static str,
    hospital: bool,
    (code, display): (&'static str, &'static str),
    physical: (&'static str, &'static str),
    room: &'static str,
) -> DepartmentRow {
    DepartmentRow { dept, name, hospital, code, display, physical, room }
}

#[rustfmt::skip]
pub(crate) const DEPARTMENTS: &[DepartmentRow] = &[
    row(Dept::Riverside, "Riverside Family Clinic", false, ("FMC", "Family medicine clinic"), BUILDING, "Examination room"),
    row(Dept::NorthQuarter, "North Quarter Health Center", false, ("FMC", "Family medicine clinic"), BUILDING, "Examination room"),
    row(Dept::Lindenfield, "Lindenfield Primary Care", false, ("PC", "Primary care clinic"), BUILDING, "Examination room"),
    row(Dept::Pediatrics, "Old Mill Pediatrics", false, ("PEDC", "Pediatrics clinic"), BUILDING, "Examination room"),
    row(Dept::Women, "Women's Health Clinic", false, ("GYN", "Gynecology clinic"), BUILDING, "Examination room"),
    row(Dept::Heart, "Heart Center", true, ("CVDX", "Cardiovascular diagnostics or therapeutics unit"), WING, "Room H"),
    row(Dept::Behavioral, "Larch Street Behavioral Health", false, ("PSYCHF", "Psychiatric care facility"), BUILDING, "Office"),
    row(Dept::Recovery, "Harbor Recovery Program", false, ("SURF", "Substance use rehabilitation facility"), BUILDING, "Office"),
    row(Dept::Specialty, "Specialty Clinics", true, ("OF", "Outpatient facility"), WING, "Room S"),
    row(Dept::Emergency, "Emergency Department", true, ("ER", "Emergency room"), WING, "Bay"),
    row(Dept::Medicine, "3 East Medicine", true, ("HU", "Hospital unit"), WARD, "Room 30"),
    row(Dept::Surgery, "4 West Surgery", true, ("HU", "Hospital unit"), WARD, "Room 40"),
    row(Dept::Birth, "Birth Center", true, ("HU", "Hospital unit"), WARD, "Birthing room"),
    row(Dept::HomeCare, "Home Care", false, ("OF", "Outpatient facility"), BUILDING, "Desk"),
    row(Dept::Laboratory, "Reference Laboratory", true, ("HU", "Hospital unit"), WING, "Bench"),
    row(Dept::Pharmacy, "Hospital Pharmacy", true, ("PHARM", "Pharmacy"), WING, "Window"),
    row(Dept::Imaging, "Diagnostic Imaging", true, ("RADDX", "Radiology diagnostics or therapeutics unit"), WING, "Suite"),
    row(Dept::Office, "Patient Accounts and Care Management", false, ("OF", "Outpatient facility"), BUILDING, "Desk"),
];

/// One position: job, department, roster.
pub(crate) type Row = (Job, Dept, Pattern);

/// Every position of a district. The first physician, nurse and field clinician know
/// the first patient.
#[rustfmt::skip]
pub(crate) const STAFF: &[Row] = &[
    (Job::Family, Dept::Riverside, Office(9)),
    (Job::Nurse, Dept::Riverside, Office(9)),
    (Job::Field, Dept::HomeCare, Office(9)),
    (Job::Internist, Dept::Riverside, Office(4)),
    (Job::Nurse, Dept::Riverside, Office(4)),
    (Job::Desk, Dept::Riverside, Office(9)),
    (Job::Family, Dept::NorthQuarter, Office(2)),
    (Job::Family, Dept::NorthQuarter, Office(4)),
    (Job::Internist, Dept::NorthQuarter, Office(0)),
    (Job::Nurse, Dept::NorthQuarter, Office(9)),
    (Job::Desk, Dept::NorthQuarter, Office(9)),
    (Job::Family, Dept::Lindenfield, Office(1)),
    (Job::Internist, Dept::Lindenfield, Office(3)),
    (Job::Nurse, Dept::Lindenfield, Office(9)),
    (Job::Desk, Dept::Lindenfield, Office(9)),
    (Job::Pediatrician, Dept::Pediatrics, Office(2)),
    (Job::Pediatrician, Dept::Pediatrics, Office(4)),
    (Job::Nurse, Dept::Pediatrics, Office(9)),
    (Job::Obstetrician, Dept::Women, Office(0)),
    (Job::Obstetrician, Dept::Women, Office(3)),
    (Job::Nurse, Dept::Women, Office(9)),
    (Job::Cardiologist, Dept::Heart, Office(2)),
    (Job::Cardiologist, Dept::Heart, Office(4)),
    (Job::Nurse, Dept::Heart, Office(9)),
    (Job::Psychiatrist, Dept::Behavioral, Office(9)),
    (Job::Therapist, Dept::Behavioral, Office(1)),
    (Job::Addiction, Dept::Recovery, Office(9)),
    (Job::Nurse, Dept::Recovery, Office(9)),
    (Job::Oncologist, Dept::Specialty, Office(9)),
    (Job::Infection, Dept::Specialty, Office(9)),
    (Job::Nurse, Dept::Specialty, Office(9)),
    (Job::Emergency, Dept::Emergency, Round(0)),
    (Job::Emergency, Dept::Emergency, Round(2)),
    (Job::Emergency, Dept::Emergency, Round(4)),
    (Job::Emergency, Dept::Emergency, Round(6)),
    (Job::Nurse, Dept::Emergency, Round(0)),
    (Job::Nurse, Dept::Emergency, Round(2)),
    (Job::Nurse, Dept::Emergency, Round(4)),
    (Job::Nurse, Dept::Emergency, Round(6)),
    (Job::Hospitalist, Dept::Medicine, Round(1)),
    (Job::Hospitalist, Dept::Medicine, Round(3)),
    (Job::Hospitalist, Dept::Medicine, Round(5)),
    (Job::Hospitalist, Dept::Medicine, Round(7)),
    (Job::Nurse, Dept::Medicine, Round(1)),
    (Job::Nurse, Dept::Medicine, Round(3)),
    (Job::Nurse, Dept::Medicine, Round(5)),
    (Job::Nurse, Dept::Medicine, Round(7)),
    (Job::Surgeon, Dept::Surgery, Round(0)),
    (Job::Surgeon, Dept::Surgery, Round(2)),
    (Job::Surgeon, Dept::Surgery, Round(4)),
    (Job::Surgeon, Dept::Surgery, Round(6)),
    (Job::Nurse, Dept::Surgery, Round(0)),
    (Job::Nurse, Dept::Surgery, Round(2)),
    (Job::Nurse, Dept::Surgery, Round(4)),
    (Job::Nurse, Dept::Surgery, Round(6)),
    (Job::Midwife, Dept::Birth, Round(1)),
    (Job::Midwife, Dept::Birth, Round(3)),
    (Job::Midwife, Dept::Birth, Round(5)),
    (Job::Midwife, Dept::Birth, Round(7)),
    (Job::Field, Dept::HomeCare, Office(4)),
    (Job::Laboratory, Dept::Laboratory, Office(9)),
    (Job::Pharmacist, Dept::Pharmacy, Office(9)),
    (Job::Radiologist, Dept::Imaging, Office(9)),
    (Job::Coordinator, Dept::Office, Office(9)),
    (Job::Billing, Dept::Office, Office(9)),
];

impl Job {
    /// The access role and the title.
    pub(crate) const fn role(self) -> (&'static str, &'static str) {
        match self {
            Job::Nurse => ("nurse", "RN"),
            Job::Midwife => ("nurse", "CNM"),
            Job::Field => ("field-clinician", "NP"),
            Job::Therapist => ("physician", "PhD"),
            Job::Pharmacist => ("pharmacist", "PharmD"),
            Job::Laboratory => ("laboratory", "MT"),
            Job::Coordinator => ("care-coordinator", "RN"),
            Job::Desk => ("front-desk", ""),
            Job::Billing => ("billing", ""),
            _ => ("physician", "MD"),
        }
    }

    /// The SNOMED CT occupation: code (empty where none is known), display.
    pub(crate) const fn occupation(self) -> (&'static str, &'static str) {
        match self {
            Job::Family => ("62247001", "Family medicine specialist (occupation)"),
            Job::Internist => ("56397003", "General physician (occupation)"),
            Job::Pediatrician => ("82296001", "Pediatrician (occupation)"),
            Job::Obstetrician => ("11935004", "Obstetrician (occupation)"),
            Job::Midwife => ("309453006", "Registered midwife (occupation)"),
            Job::Cardiologist => ("17561000", "Cardiologist (occupation)"),
            Job::Oncologist | Job::Infection | Job::Hospitalist => {
                ("309343006", "Physician (occupation)")
            }
            Job::Psychiatrist | Job::Addiction => ("80584001", "Psychiatrist (occupation)"),
            Job::Therapist => ("59944000", "Psychologist (occupation)"),
            Job::Emergency => ("309294001", "Accident and Emergency doctor (occupation)"),
            Job::Surgeon => ("304292004", "Surgeon (occupation)"),
            Job::Nurse => ("224535009", "Registered nurse (occupation)"),
            Job::Field => ("224571005", "Nurse practitioner (occupation)"),
            Job::Pharmacist => ("46255001", "Pharmacist (occupation)"),
            Job::Laboratory => ("159282002", "Laboratory technician (occupation)"),
            Job::Radiologist => ("66862007", "Radiologist (occupation)"),
            Job::Coordinator => ("768820003", "Care coordinator (occupation)"),
            Job::Desk => ("", "Receptionist"),
            Job::Billing => ("", "Billing clerk"),
        }
    }

    /// The NUCC provider taxonomy: code, display.
    pub(crate) const fn specialty(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Job::Family => ("207Q00000X", "Family Medicine Physician"),
            Job::Internist => ("207R00000X", "Internal Medicine Physician"),
            Job::Hospitalist => ("208M00000X", "Hospitalist Physician"),
            Job::Pediatrician => ("208000000X", "Pediatrics Physician"),
            Job::Obstetrician => ("207V00000X", "Obstetrics & Gynecology Physician"),
            Job::Midwife => ("367A00000X", "Advanced Practice Midwife"),
            Job::Cardiologist => ("207RC0000X", "Cardiovascular Disease Physician"),
            Job::Oncologist => ("207RX0202X", "Medical Oncology Physician"),
            Job::Infection => ("207RI0200X", "Infectious Disease Physician"),
            Job::Psychiatrist => ("2084P0800X", "Psychiatry Physician"),
            Job::Therapist => ("103T00000X", "Psychologist"),
            Job::Addiction => {
                ("2084A0401X", "Addiction Medicine (Psychiatry & Neurology) Physician")
            }
            Job::Emergency => ("207P00000X", "Emergency Medicine Physician"),
            Job::Surgeon => ("208600000X", "Surgery Physician"),
            Job::Nurse => ("163W00000X", "Registered Nurse"),
            Job::Field => ("363LF0000X", "Family Nurse Practitioner"),
            Job::Pharmacist => ("183500000X", "Pharmacist"),
            Job::Radiologist => ("2085R0202X", "Diagnostic Radiology Physician"),
            _ => return None,
        })
    }
}

impl Job {
    /// How plain people call it.
    pub(crate) const fn plain(self) -> &'static str {
        match self {
            Job::Nurse | Job::Coordinator => "nurse",
            Job::Field => "nurse practitioner",
            Job::Midwife => "midwife",
            Job::Therapist => "psychologist",
            Job::Pharmacist => "pharmacist",
            Job::Laboratory => "laboratory technician",
            Job::Desk => "receptionist",
            Job::Billing => "billing clerk",
            Job::Surgeon => "surgeon",
            _ => "physician",
        }
    }
}
