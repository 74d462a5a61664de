//! Somebody else's patients: the Synthea set, when it is there.
//!
//! All of it goes in. The search for its words through every file takes all patients
//! in a release build, and in a debug build, which is many times slower, the directory
//! and the first few.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use phial_testkit::canary::Scanner;
use phial_testkit::world::World;
use serde_json::{Value, json};

use crate::clinic::{PHIAL, findings};

/// Patient bundles whose words a debug build searches for.
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

/// Said when the set is not there.
const SKIPPED: &str = "skipped: ../shared/data/synthea is not here";

#[test]
fn the_whole_set_goes_in_comes_out_and_verifies() {
    let Some(archive) = archive() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let mut world = World::empty(PHIAL);
    let done = world.ok(&["import", archive.to_str().unwrap()]);
    assert_eq!(done["rejected"], json!([]));
    assert_eq!(done["failed"], json!([]));
    let all: BTreeMap<&str, u64> = ALL.into_iter().collect();
    assert_eq!(done["types"], json!(all));
    assert_eq!(done["stored"], 92_114);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    world.user("petra", "privacy-officer", None);
    let server = world.serve();
    for (ty, n) in all {
        assert_eq!(server.count("privacy-officer", ty, ""), n, "{ty}");
    }
    let patients = server.search("privacy-officer", "Patient", "_count=3").expect(200);
    for patient in patients.ids("match") {
        let one = format!("Patient/{patient}/Observation?_sort=-date");
        assert!(!server.get("privacy-officer", &one).expect(200).ids("match").is_empty());
    }
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn no_word_of_theirs_is_in_any_file_or_any_output() {
    let Some(archive) = archive() else {
        eprintln!("{SKIPPED}");
        return;
    };
    let files = files(&archive, if cfg!(debug_assertions) { SOME } else { usize::MAX });
    let bundles: Vec<Value> =
        files.iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect();
    let needles = needles(&bundles);
    assert!(needles.len() > 50, "{}", needles.len());
    let scanner = Scanner::new(&needles).unwrap();
    let mut world = World::empty(PHIAL);
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let ran = world.run(&["import", dir.path().to_str().unwrap()]).expect(0);
    assert_eq!(ran.json()["rejected"], json!([]));
    world.user("petra", "privacy-officer", None);
    let clean = |printed: &[u8], when: &str| {
        let mut report = scanner.scan(&[world.dir()]).unwrap();
        scanner.bytes(Path::new("printed"), printed, &mut report);
        assert!(report.is_clean(), "{when}: {report}");
    };
    clean(&[ran.out.as_bytes(), ran.err.as_bytes()].concat(), "after the import");
    let server = world.serve();
    for ty in ["Patient", "Observation", "Condition"] {
        let _ = server.search("privacy-officer", ty, "_count=200").expect(200);
    }
    for needle in needles.iter().take(20) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("name", needle)
            .append_pair("_sort", "family")
            .finish();
        let _ = server.search("privacy-officer", "Patient", &form).expect(200);
    }
    clean(&server.printed(), "while serving");
    let ended = server.kill();
    clean(&[ended.out.as_bytes(), ended.err.as_bytes()].concat(), "after kill -9");
    let _ = world.serve().stop().expect(0);
    clean(&[], "at rest");
}
