//! Somebody else's patients: the Synthea set, when it is there.
//!
//! A release build takes all of it in; a debug build, which is many times slower,
//! takes the directory and the first patients. Both count what the archive itself
//! holds.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use phial_testkit::canary::Scanner;
use phial_testkit::world::World;
use serde_json::{Value, json};

use crate::clinic::{PHIAL, findings};

/// Patient bundles taken in by a debug build.
const SOME: usize = 6;

/// Resources by type, as the set's README states them.
const ALL: [(&str, u64); 24] = [
    ("Observation", 42_929),
    ("Claim", 9_856),
    ("DiagnosticReport", 8_229),
    ("MedicationRequest", 5_087),
    ("Encounter", 4_769),
    ("DocumentReference", 4_769),
    ("ExplanationOfBenefit", 4_769),
    ("Procedure", 3_608),
    ("SupplyDelivery", 1_886),
    ("Immunization", 1_616),
    ("Condition", 1_597),
    ("CareTeam", 540),
    ("CarePlan", 540),
    ("Medication", 326),
    ("MedicationAdministration", 326),
    ("Practitioner", 195),
    ("PractitionerRole", 195),
    ("Organization", 194),
    ("Location", 194),
    ("ImagingStudy", 145),
    ("Patient", 120),
    ("Provenance", 120),
    ("AllergyIntolerance", 76),
    ("Device", 28),
];

fn archive() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/synthea/synthea-blaze-120.tar.xz");
    path.is_file().then_some(path)
}

/// The archive's files: the two that others depend on, and the first `patients`.
fn files(archive: &Path, patients: usize) -> Vec<(String, Vec<u8>)> {
    let file = std::io::BufReader::new(std::fs::File::open(archive).unwrap());
    let mut tar = tar::Archive::new(liblzma::read::XzDecoder::new(file));
    let mut found = Vec::new();
    let mut people = 0;
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if !name.ends_with(".json") {
            continue;
        }
        if !name.starts_with("0-") {
            people += 1;
            if people > patients {
                continue;
            }
        }
        let name = name.to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.push((name, bytes));
    }
    found
}

/// Words of patients that may stand nowhere but inside a seal.
fn needles(bundles: &[Value]) -> Vec<String> {
    let mut words = std::collections::BTreeSet::new();
    let mut add = |v: &Value| {
        if let Some(s) = v.as_str()
            && s.len() >= 6
        {
            words.insert(s.to_owned());
        }
    };
    for resource in bundles.iter().flat_map(|b| b["entry"].as_array().into_iter().flatten()) {
        let r = &resource["resource"];
        if r["resourceType"] == "Patient" {
            add(&r["id"]);
            add(&r["name"][0]["family"]);
            add(&r["address"][0]["line"][0]);
            for t in r["telecom"].as_array().into_iter().flatten() {
                add(&t["value"]);
            }
            for i in r["identifier"].as_array().into_iter().flatten() {
                if i["system"] == "http://hl7.org/fhir/sid/us-ssn" {
                    add(&i["value"]);
                }
            }
        } else if r["resourceType"] == "Condition" || r["resourceType"] == "Observation" {
            add(&r["code"]["coding"][0]["display"]);
        }
    }
    words.into_iter().collect()
}

#[test]
fn the_synthea_set_goes_in_whole_comes_out_and_verifies() {
    let Some(archive) = archive() else {
        eprintln!("skipped: ../shared/data/synthea is not here");
        return;
    };
    let whole = !cfg!(debug_assertions);
    let files = files(&archive, if whole { usize::MAX } else { SOME });
    let mut world = World::empty(PHIAL);
    let bundles: Vec<Value> =
        files.iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect();
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for r in bundles.iter().flat_map(|b| b["entry"].as_array().unwrap()) {
        *held.entry(r["resource"]["resourceType"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let done = if whole {
        assert_eq!(held, ALL.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect());
        world.ok(&["import", archive.to_str().unwrap()])
    } else {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        world.ok(&["import", dir.path().to_str().unwrap()])
    };
    assert_eq!(done["rejected"], json!([]));
    assert_eq!(done["failed"], json!([]));
    assert_eq!(done["types"], json!(held));
    let total: u64 = held.values().sum();
    assert_eq!(done["stored"], total);
    if whole {
        assert_eq!(total, 92_114);
    }
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());

    let needles = needles(&bundles);
    assert!(needles.len() > 50, "{}", needles.len());
    let scanner = Scanner::new(&needles).unwrap();
    let at_rest = scanner.scan(&[world.dir()]).unwrap();
    assert!(at_rest.is_clean(), "{at_rest}");

    world.user("petra", "privacy-officer", None);
    let server = world.serve();
    for (ty, n) in &held {
        assert_eq!(server.count("privacy-officer", ty, ""), *n, "{ty}");
    }
    let patients = server.search("privacy-officer", "Patient", "_count=3").expect(200);
    for patient in patients.ids("match") {
        let one =
            server.get("privacy-officer", &format!("Patient/{patient}/Observation?_sort=-date"));
        assert!(!one.expect(200).ids("match").is_empty());
    }
    let mut serving = scanner.scan(&[world.dir()]).unwrap();
    scanner.bytes(Path::new("printed"), &server.printed(), &mut serving);
    assert!(serving.is_clean(), "{serving}");
    let _ = server.kill();
    let crashed = scanner.scan(&[world.dir()]).unwrap();
    assert!(crashed.is_clean(), "{crashed}");
    let _ = world.serve().stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}
