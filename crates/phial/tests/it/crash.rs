//! kill -9 at random times: what was acknowledged is there, nothing half-done is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use phial_base::{Rng as _, SeededRng};
use phial_testkit::fixture::{self, BY_TEAM};
use phial_testkit::torture::{self, Plan};
use phial_testkit::world::{World, fhir, kill, try_send};
use reqwest::Method;
use serde_json::json;

use crate::clinic::{PHIAL, clinic, findings};

fn number(rng: &SeededRng, below: u64) -> u64 {
    let mut b = [0u8; 8];
    rng.fill(&mut b);
    u64::from_le_bytes(b) % below
}

#[test]
fn a_write_that_was_acknowledged_survives_kill_9() {
    let rng = SeededRng::new(7);
    let world = clinic();
    let acknowledged: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    for round in 0..5 {
        let server = world.serve();
        // Written before the crash of the round before, and still there.
        for (path, (version, value)) in acknowledged.lock().unwrap().iter() {
            let read = server.get("physician", path).expect(200).json();
            let now: u64 = read["meta"]["versionId"].as_str().unwrap().parse().unwrap();
            assert!(now >= *version, "round {round}: {path} is at {now}, not {version}");
            if now == *version {
                assert_eq!(read["valueInteger"], *value, "round {round}: {path}");
            }
        }
        let (send, acks) = mpsc::channel();
        let enough = 5 + number(&rng, 60);
        std::thread::scope(|s| {
            for writer in 0..4 {
                let (send, server, next, acknowledged) =
                    (send.clone(), &server, &next, &acknowledged);
                s.spawn(move || {
                    loop {
                        let n = next.fetch_add(1, Ordering::SeqCst) as u64;
                        let mut o = json!({"resourceType": "Observation", "status": "final",
                            "code": {"text": "crash"}, "valueInteger": n,
                            "subject": {"reference": format!("Patient/{}", BY_TEAM.id)}});
                        // Two writers create, two update a record of their own each.
                        let answer = if writer < 2 {
                            try_send(fhir(
                                server.request("physician", Method::POST, "Observation"),
                                &o,
                            ))
                        } else {
                            o["id"] = json!(fixture::id("obs", BY_TEAM, writer));
                            try_send(server.put_request("physician", &o))
                        };
                        let Some(answer) = answer else { return };
                        assert!([200, 201].contains(&answer.status), "{}", answer.text());
                        let body = answer.json();
                        let path = format!("Observation/{}", body["id"].as_str().unwrap());
                        let version = body["meta"]["versionId"].as_str().unwrap().parse().unwrap();
                        acknowledged.lock().unwrap().insert(path, (version, n));
                        let _ = send.send(());
                    }
                });
            }
            let pid = server.pid();
            for _ in 0..enough {
                acks.recv().unwrap();
            }
            kill(pid);
        });
        let _ = server.kill();
    }
    let server = world.serve();
    let all = acknowledged.lock().unwrap();
    assert!(all.len() > 10);
    for (path, (version, _)) in all.iter() {
        let read = server.get("physician", path).expect(200).json();
        assert!(read["meta"]["versionId"].as_str().unwrap().parse::<u64>().unwrap() >= *version);
    }
    let created = all.keys().filter(|k| !k.contains("obs-")).count() as u64;
    let found = server.count("physician", "Observation", &format!("patient={}", BY_TEAM.id));
    assert!(found >= created + fixture::OBSERVATIONS as u64);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn an_import_that_was_killed_leaves_whole_records_and_can_be_run_again() {
    let rng = SeededRng::new(11);
    let files = tempfile::tempdir().unwrap();
    let all = fixture::records();
    for (n, some) in all.chunks(3).enumerate() {
        let lines: Vec<String> = some.iter().map(ToString::to_string).collect();
        fs::write(files.path().join(format!("{n:03}.ndjson")), lines.join("\n")).unwrap();
    }
    let dir = files.path().to_str().unwrap();
    let world = World::empty(PHIAL);
    let log = |world: &World| {
        ["records.db", "records.db-wal"]
            .iter()
            .map(|f| fs::metadata(world.home().join("data/default").join(f)).map_or(0, |m| m.len()))
            .sum::<u64>()
    };
    // A transaction as other systems write them: ids of ours, references by urn:uuid.
    for n in 0..40 {
        let patient = format!("urn:uuid:00000000-0000-4000-8000-{n:012}");
        let made = |o: serde_json::Value, ty: &str| json!({"resource": o, "request": {"method": "POST", "url": ty}});
        let mut entries =
            vec![made(json!({"resourceType": "Patient", "gender": "unknown"}), "Patient")];
        entries[0]["fullUrl"] = json!(patient);
        for value in 0..3 {
            let mut o = made(
                json!({"resourceType": "Observation", "status": "final",
                    "code": {"coding": [{"system": "urn:x", "code": "posted"}]},
                    "valueInteger": value, "subject": {"reference": patient}}),
                "Observation",
            );
            o["fullUrl"] = json!(format!("urn:uuid:{:08}-0000-4000-8000-{n:012}", value + 1));
            entries.push(o);
        }
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
        fs::write(files.path().join(format!("posted-{n:03}.json")), bundle.to_string()).unwrap();
    }
    let posted = 40 * 4;
    let mut interrupted = 0;
    for round in 0..4 {
        let mut importing = world.start(&["import", dir]);
        // Killed once the record log has grown by so much, wherever that is.
        let until = log(&world) + 1 + number(&rng, 200_000);
        while log(&world) < until && !importing.ended() {
            std::thread::yield_now();
        }
        if importing.kill().code.is_none() {
            interrupted += 1;
        }
        let server = world.serve();
        let _ = server.stop().expect(0);
        assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new(), "round {round}");
    }
    assert!(interrupted >= 2, "only {interrupted} imports were interrupted");
    let done = world.ok(&["import", dir]);
    assert_eq!(done["stored"], all.len() + posted);
    assert_eq!(done["rejected"], json!([]));
    // Every resource is there once, in one version, and a further run adds nothing.
    let versions = |world: &World| {
        let report = world.ok(&["verify"]);
        (report["records"].as_u64().unwrap(), report["versions"].as_u64().unwrap())
    };
    let n = (all.len() + posted) as u64;
    assert_eq!(versions(&world), (n, n));
    assert_eq!(world.ok(&["import", dir])["stored"], n);
    assert_eq!(versions(&world), (n, n));
    let mut world = world;
    world.user("ivo", "import-client", None);
    let server = world.serve();
    assert_eq!(server.count("import-client", "Patient", ""), fixture::PEOPLE.len() as u64 + 40);
    let observations = fixture::PEOPLE.len() * fixture::OBSERVATIONS + 40 * 3;
    assert_eq!(server.count("import-client", "Observation", ""), observations as u64);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

/// The same as `cargo xtask torture`, only short.
#[test]
fn a_short_torture_breaks_no_promise() {
    let plan = Plan {
        program: PathBuf::from(PHIAL),
        place: None,
        seed: 3,
        kills: 6,
        limit: Duration::from_secs(600),
        deep_every: 3,
        clients: 4,
    };
    let report = torture::run(&plan, &mut |_| {});
    assert_eq!(report.wrong, Vec::<String>::new(), "{}", report.table);
    assert!(report.kills.iter().sum::<u64>() >= 6, "{:?}", report.kills);
}

#[test]
fn a_lost_index_is_built_anew_with_the_same_answers() {
    let world = clinic();
    let answers = |world: &World| -> Vec<Vec<String>> {
        let server = world.serve();
        let all = [
            ("Observation", "date=gt2024-05-01&_sort=-date&_count=100"),
            ("Condition", "code=44054006&_count=100&_sort=onset-date"),
            ("Patient", "birthdate=lt1980&_sort=birthdate"),
        ]
        .map(|(ty, q)| server.search("physician", ty, q).expect(200).ids("match"));
        let _ = server.stop().expect(0);
        all.to_vec()
    };
    let before = answers(&world);
    assert!(before.iter().all(|a| !a.is_empty()));
    let index = world.home().join("index");
    fs::remove_dir_all(&index).unwrap();
    assert_eq!(answers(&world), before, "deleted");
    for file in fs::read_dir(index.join("default")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for b in bytes.iter_mut().skip(100) {
            *b ^= 0x55;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(answers(&world), before, "damaged");
}
