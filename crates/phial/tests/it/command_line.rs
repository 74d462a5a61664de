//! The command line: exit codes, hints, and settings that stop the start.

use std::fs;

use phial_testkit::fixture;
use phial_testkit::world::World;

use crate::clinic::{PHIAL, clinic};

#[test]
fn usage_is_2_and_failure_is_1() {
    let world = World::empty(PHIAL);
    assert_eq!(world.run(&["frobnicate"]).code, Some(2));
    assert_eq!(world.run(&["user", "add"]).code, Some(2));
    assert_eq!(world.run(&["token", "--user", "nobody"]).code, Some(1));
    assert_eq!(world.run(&["init"]).code, Some(1), "a home is not made over");
    let nowhere = world.dir().join("nowhere");
    for args in [&["serve"][..], &["verify"], &["audit", "tail"], &["user", "list"]] {
        let ran = world.run_in(&nowhere, args).expect(1);
        assert!(ran.json()["hint"].as_str().unwrap().contains("phial init"), "{}", ran.out);
    }
    assert!(!nowhere.exists(), "no command but init makes a home");
}

#[test]
fn an_unknown_setting_stops_the_start() {
    let world = World::empty(PHIAL);
    let file = world.home().join("phial.toml");
    for bad in [
        "[http]\nphi_in_url = \"allow\"\n",
        "[http]\nphi_in_urls = \"allow\"\n",
        "[session]\nidle_minutes = 300\n",
        "[surprise]\n",
    ] {
        fs::write(&file, bad).unwrap();
        let Err(ran) = world.try_serve() else { panic!("it started with {bad}") };
        assert_eq!(ran.code, Some(1), "{bad}");
    }
}

#[test]
fn a_departure_from_a_default_is_written_down_with_its_reason() {
    let world = World::empty(PHIAL);
    let toml = "[http]\nphi_in_urls = \"allow\"\nphi_in_urls_rationale = \"an old client\"\n";
    fs::write(world.home().join("phial.toml"), toml).unwrap();
    let _ = world.serve().stop().expect(0);
    let tail = world.ok(&["audit", "tail", "-n", "20"]);
    let config = tail.as_array().unwrap().iter().find(|e| e["kind"] == "config").unwrap();
    assert_eq!(config["detail"]["rationale"], "an old client", "{config}");
}

#[test]
fn one_process_at_a_time_works_in_a_home() {
    let world = clinic();
    let server = world.serve();
    let Err(second) = world.try_serve() else { panic!("two servers in one home") };
    assert_eq!(second.code, Some(1));
    assert!(second.json()["hint"].as_str().unwrap().contains("stop the server"), "{}", second.out);
    assert_eq!(world.run(&["import", PHIAL]).code, Some(1));
    // Looking is possible beside it.
    let _ = world.run(&["audit", "tail"]).expect(0);
    let _ = world.run(&["user", "list"]).expect(0);
    let _ = server.get("physician", "Patient?_count=1").expect(200);
    let _ = server.stop().expect(0);
    let _ = world.serve().stop().expect(0);
}

#[test]
fn import_reports_what_it_rejects_and_stores_the_rest() {
    let world = World::empty(PHIAL);
    let file = world.dir().join("mixed.ndjson");
    let lines = [
        r#"{"resourceType":"Patient","id":"good","gender":"other"}"#,
        r#"{"resourceType":"Patient","id":"bad","gender":"Zanzibarian"}"#,
        r#"{"resourceType":"Observation","id":"worse","status":"final","subject":{"reference":"Patient/good"}}"#,
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let ran = world.run(&["import", file.to_str().unwrap()]).expect(1);
    let done = ran.json();
    assert_eq!(done["stored"], 1, "{done}");
    assert_eq!(done["types"]["Patient"], 1);
    let paths: Vec<&str> = done["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            assert!(r["file"].as_str().unwrap().starts_with("mixed.ndjson"), "{r}");
            r["path"].as_str().unwrap()
        })
        .collect();
    assert!(paths.iter().any(|p| p.ends_with("Patient.gender")), "{paths:?}");
    assert!(paths.iter().any(|p| p.contains("Observation")), "{paths:?}");
    assert!(!ran.out.contains("Zanzibarian"), "a value in a report: {}", ran.out);
}

#[test]
fn import_against_a_running_server_stores_the_same() {
    let world = clinic();
    let server = world.serve();
    let before = server.count("import-client", "Patient", "");
    let file = world.dir().join("more.ndjson");
    fs::write(&file, r#"{"resourceType":"Patient","id":"by-wire","gender":"other"}"#).unwrap();
    let token = world.dir().join("token");
    fs::write(&token, world.token("import-client")).unwrap();
    let done = world.ok(&[
        "import",
        file.to_str().unwrap(),
        "--server",
        server.base(),
        "--token-file",
        token.to_str().unwrap(),
    ]);
    assert_eq!(done["stored"], 1, "{done}");
    assert_eq!(server.count("import-client", "Patient", ""), before + 1);
}

#[test]
fn rotating_the_tenant_key_rewrites_no_record() {
    let world = clinic();
    let file = world.home().join("data/default/records.db");
    let before = fs::read(&file).unwrap();
    let rotated = world.ok(&["keys", "rotate"]);
    assert_eq!(rotated["to"].as_u64().unwrap(), rotated["from"].as_u64().unwrap() + 1);
    assert!(rotated["rewrapped"].as_u64().unwrap() > 5, "{rotated}");
    assert!(before == fs::read(&file).unwrap(), "the record log changed");
    let server = world.serve();
    assert_eq!(server.count("import-client", "Patient", ""), 5);
    let _ = server.stop().expect(0);
    let _ = world.run(&["verify"]).expect(0);
}

#[test]
fn an_archive_of_bundles_goes_in_whole_and_can_be_labelled_as_test_data() {
    let world = World::empty(PHIAL);
    let path = world.dir().join("clinic.tar.xz");
    let mut tar = tar::Builder::new(liblzma::write::XzEncoder::new(Vec::new(), 1));
    // Those who depend on others stand first; the import sees to the order.
    let mut records = fixture::records();
    records.reverse();
    for (n, some) in records.chunks(10).enumerate() {
        let entries: Vec<_> = some.iter().map(|r| serde_json::json!({"resource": r})).collect();
        let bundle =
            serde_json::json!({"resourceType": "Bundle", "type": "collection", "entry": entries})
                .to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(bundle.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append_data(&mut header, format!("dir/{n}.json"), bundle.as_bytes()).unwrap();
    }
    fs::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    let done = world.ok(&["import", "--label-test", path.to_str().unwrap()]);
    assert_eq!(done["stored"], records.len(), "{done}");
    let mut world = world;
    world.user("petra", "privacy-officer", None);
    let server = world.serve();
    let patients = server.search("privacy-officer", "Patient", "").expect(200);
    assert_eq!(patients.entries("match").len(), fixture::PEOPLE.len());
    for p in patients.entries("match") {
        assert_eq!(p["meta"]["security"][0]["code"], "HTEST", "{p}");
    }
    // A label that was there already stays.
    let query = "code=86406008";
    let labelled = server.search("privacy-officer", "Condition", query).expect(200);
    for c in labelled.entries("match") {
        let codes: Vec<&str> = c["meta"]["security"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l["code"].as_str().unwrap())
            .collect();
        assert!(codes.contains(&"HTEST") && codes.contains(&"HIV"), "{codes:?}");
    }
}

#[test]
fn the_same_seed_makes_the_same_patients_and_they_are_taken_in_whole() {
    let world = World::empty(PHIAL);
    let made = |name: &str, seed: &str| {
        let dir = world.dir().join(name);
        let _ =
            world.ok(&["synth", "--patients", "3", "--seed", seed, "--out", dir.to_str().unwrap()]);
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let one = made("one", "5");
    assert!(one == made("two", "5"), "the same seed");
    assert!(one != made("three", "6"), "another seed");
    let by_file = world.ok(&["import", world.dir().join("one").to_str().unwrap()]);
    assert_eq!(by_file["rejected"], serde_json::json!([]));
    assert_eq!(by_file["types"]["Patient"], 3);
    let other = World::empty(PHIAL);
    let by_seed = other.ok(&["synth", "--patients", "3", "--seed", "5", "--import"]);
    assert_eq!(by_seed["stored"], by_file["stored"]);
}
