//! Sets of any size for measuring cost against size: patients with a hundred
//! observations each, one of them with twenty thousand, as NDJSON with ids, in the
//! shape of vital signs and laboratory results that a monitor or a laboratory sends.
//! The same numbers make the same bytes.

use std::io::{BufWriter, Write};
use std::path::Path;

/// Observations of a usual patient.
pub(crate) const EACH: u64 = 100;
/// Observations of the patient with many.
pub(crate) const MANY: u64 = 20_000;
/// Distinct codes in a set.
const CODES: &[(&str, &str, &str)] = &[
    ("8867-4", "Heart rate", "/min"),
    ("8480-6", "Systolic blood pressure", "mm[Hg]"),
    ("8462-4", "Diastolic blood pressure", "mm[Hg]"),
    ("9279-1", "Respiratory rate", "/min"),
    ("8310-5", "Body temperature", "Cel"),
    ("29463-7", "Body weight", "kg"),
    ("8302-2", "Body height", "cm"),
    ("39156-5", "Body mass index", "kg/m2"),
    ("2339-0", "Glucose", "mg/dL"),
    ("4548-4", "Hemoglobin A1c", "%"),
    ("2160-0", "Creatinine", "mg/dL"),
    ("3094-0", "Urea nitrogen", "mg/dL"),
    ("2951-2", "Sodium", "mmol/L"),
    ("2823-3", "Potassium", "mmol/L"),
    ("2075-0", "Chloride", "mmol/L"),
    ("2028-9", "Carbon dioxide", "mmol/L"),
    ("718-7", "Hemoglobin", "g/dL"),
    ("6690-2", "Leukocytes", "10*3/uL"),
    ("777-3", "Platelets", "10*3/uL"),
    ("2093-3", "Cholesterol", "mg/dL"),
];
const FAMILIES: &[&str] = &[
    "Abara",
    "Brandt",
    "Castellan",
    "Dvorak",
    "Eriksen",
    "Farouk",
    "Grunwald",
    "Hashimoto",
    "Iversen",
    "Jankovic",
    "Kowalczyk",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okonkwo",
    "Petrov",
];

/// The code that the patient with many has.
pub(crate) const MANY_CODE: &str = "8867-4";
/// Name of the patient with many.
pub(crate) const MANY_ID: &str = "made-many";

/// A number that looks random, from one that does not (SplitMix64).
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pick<T: Copy>(from: &[T], n: u64) -> Option<T> {
    from.get(usize::try_from(n % from.len() as u64).unwrap_or(0)).copied()
}

/// A day from 2016 to 2025, and a time of it.
fn moment(n: u64) -> String {
    let (year, month, day) = (2016 + n % 10, n / 10 % 12 + 1, n / 120 % 28 + 1);
    let (hour, minute, second) = (n / 3360 % 24, n / 80_640 % 60, n / 4_838_400 % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A patient's family name and birth date, by number.
pub(crate) fn person(patient: u64) -> (String, String) {
    let n = mixed(patient ^ 0xfa_0000_0000);
    let family = format!("{}{}", pick(FAMILIES, n).unwrap_or("Abara"), n >> 8 & 0xfff);
    (family, format!("{}-{:02}-{:02}", 1930 + n % 90, n / 90 % 12 + 1, n / 1080 % 28 + 1))
}

/// A patient's id, by number.
pub(crate) fn id(patient: u64) -> String {
    let n = u128::from(mixed(patient)) << 64 | u128::from(mixed(!patient));
    let h = format!("{n:032x}");
    let (a, b) = h.split_at(16);
    let ((a, b), (c, d)) = (a.split_at(8), b.split_at(4));
    let (b, e) = b.split_at(4);
    format!("{a}-{b}-{e}-{c}-{d}")
}

/// A code of the set, by number.
pub(crate) fn code(n: u64) -> &'static str {
    pick(CODES, n).map_or("", |(code, ..)| code)
}

fn write_patient(out: &mut impl Write, id: &str, patient: u64) -> std::io::Result<()> {
    let (family, born) = person(patient);
    writeln!(
        out,
        r#"{{"resourceType":"Patient","id":"{id}","identifier":[{{"system":"http://hospital.example.org/mrn","value":"{patient:08}"}}],"name":[{{"use":"official","family":"{family}","given":["Load"]}}],"gender":"other","birthDate":"{born}"}}"#
    )
}

fn write_observation(
    out: &mut impl Write,
    id: &str,
    patient: &str,
    n: u64,
    with: Option<&str>,
) -> std::io::Result<()> {
    let r = mixed(n);
    let Some((code, name, unit)) =
        with.map_or_else(|| pick(CODES, r), |w| CODES.iter().copied().find(|c| c.0 == w))
    else {
        return Ok(());
    };
    let (kind, at) = (if r >> 40 & 1 == 0 { "vital-signs" } else { "laboratory" }, moment(r >> 8));
    writeln!(
        out,
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"{kind}","display":"{kind}"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}","display":"{name}"}}],"text":"{name}"}},"subject":{{"reference":"Patient/{patient}"}},"effectiveDateTime":"{at}","issued":"{at}","valueQuantity":{{"value":{}.{},"unit":"{unit}","system":"http://unitsofmeasure.org","code":"{unit}"}}}}"#,
        r >> 12 & 0xff,
        r >> 20 & 7
    )
}

/// Writes patients `patients` with [`EACH`] observations each, and with `many` the one
/// with [`MANY`]. The number of resources written.
pub(crate) fn write(
    path: &Path,
    patients: std::ops::Range<u64>,
    many: bool,
) -> anyhow::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut written = 0;
    if many {
        write_patient(&mut out, MANY_ID, u64::MAX)?;
        for n in 0..MANY {
            let of = format!("{MANY_ID}-{n}");
            write_observation(&mut out, &of, MANY_ID, u64::MAX / 2 + n, Some(MANY_CODE))?;
        }
        written += MANY + 1;
    }
    for p in patients {
        let who = id(p);
        write_patient(&mut out, &who, p)?;
        for n in 0..EACH {
            let number = p * EACH + n;
            write_observation(&mut out, &id(number | 1 << 62), &who, number, None)?;
        }
        written += EACH + 1;
    }
    out.flush()?;
    Ok(written)
}
