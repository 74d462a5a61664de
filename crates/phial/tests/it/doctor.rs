//! `phial doctor` from outside: beside a server, at a stopped home, at a broken one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use phial_testkit::fixture;
use phial_testkit::world::World;
use serde_json::Value;

use crate::clinic::clinic;

/// The finding of one check.
fn finding(report: &Value, id: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    let one = checks.iter().find(|c| c["id"] == id);
    one.unwrap_or_else(|| panic!("no {id} in {report}"))["finding"].as_str().unwrap().to_owned()
}

/// All bytes of the home, by file.
fn bytes(world: &World) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![world.home().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.to_string_lossy().ends_with("-shm") {
                // The lock table of SQLite holds who reads, nothing more.
                all.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn the_doctor_looks_beside_a_server_and_at_a_stopped_home_and_writes_nothing() {
    let world = clinic();
    let server = world.serve();
    let beside = world.run(&["doctor"]).json();
    for id in ["audit.opens", "audit.checkpoint-copy", "keys.keystore", "tls.life", "index.state"] {
        assert_eq!(finding(&beside, id), "ok", "{beside}");
    }
    let _ = server.get("physician", &format!("Patient/{}", fixture::BY_TEAM.id)).expect(200);
    let _ = server.stop().expect(0);
    let before = bytes(&world);
    let stopped = world.run(&["doctor"]).json();
    assert_eq!(finding(&stopped, "audit.checkpoint"), "ok", "{stopped}");
    let after = bytes(&world);
    let names = |all: &[(String, Vec<u8>)]| -> Vec<String> {
        // An empty write-ahead log may come or go with its reader.
        all.iter().filter(|(_, b)| !b.is_empty()).map(|(n, _)| n.clone()).collect()
    };
    assert_eq!(names(&after), names(&before));
    assert!(before.iter().all(|b| b.1.is_empty() || after.contains(b)), "a file was written");
    for word in fixture::needles() {
        assert!(!stopped.to_string().contains(&word), "{word}");
    }
}

#[test]
fn a_failure_is_told_by_the_exit_code_and_the_table() {
    let world = clinic();
    let only = ["doctor", "--only", "files.secrets"];
    assert_eq!(world.run(&only).code, Some(0));
    let key = world.home().join("keys/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = world.run(&only).expect(1);
    assert_eq!(ran.json()["worst"], "failure");
    assert_eq!(finding(&ran.json(), "files.secrets"), "failure");
    let table = std::process::Command::new(world.program())
        .args(["doctor", "--home"])
        .arg(world.home())
        .output()
        .unwrap();
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains("failure  files.secrets"), "{text}");
    assert!(text.contains("to do: chmod"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let _ = world.run(&["doctor", "--only", "nothing"]).expect(1);
    fs::remove_file(world.home().join("phial.home")).unwrap();
    let _ = world.run(&["doctor"]).expect(1);
}

#[test]
fn who_proves_too_little_and_what_waits_for_too_long_is_named() {
    let world = clinic();
    let of = |id: &str| -> Value {
        let report = world.run(&["doctor", "--only", "people"]).json();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|c| c["id"] == id).unwrap().clone()
    };
    // The clinic's tokens were made on the command line.
    let factor = of("people.second-factor");
    assert_eq!((&factor["finding"], &factor["clause"]), (&"warning".into(), &"164.312(d)".into()));
    let seen = factor["seen"].as_str().unwrap();
    assert!(seen.contains("ana (1 token)") && !seen.contains("aude"), "{seen}");
    for user in ["ana", "bill", "dora", "fiona", "ingo", "ivo", "nils", "petra"] {
        let _ = world.ok(&["user", "sessions", user, "--end-all"]);
    }
    assert_eq!(of("people.second-factor")["finding"], "ok");
    // Nobody has looked at what they may do; then somebody has.
    let reviews = of("people.access-reviews");
    assert_eq!(reviews["finding"], "warning");
    assert!(reviews["seen"].as_str().unwrap().contains("ana (never)"), "{reviews}");
    let all = world.ok(&["user", "list"]);
    for user in all.as_array().unwrap() {
        let _ = world.ok(&["review", "sign", user["id"].as_str().unwrap()]);
    }
    assert_eq!(of("people.access-reviews")["finding"], "ok");
    assert_eq!(of("people.emergency-reviews")["finding"], "ok");
    assert_eq!(of("people.alerts")["finding"], "ok");
    // Without the accounts nothing is said to be well.
    fs::remove_file(world.home().join("data/default/control.db")).unwrap();
    assert_eq!(of("people.second-factor")["finding"], "unknown");
}
