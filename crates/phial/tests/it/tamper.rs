//! Tampering with the files of a home, seen from the command line. Each table and
//! each byte is the stores' own test; here is what an operator sees.

use std::fs;
use std::path::{Path, PathBuf};

use phial_base::{Rng as _, SeededRng};
use phial_testkit::fixture::{self, BY_TEAM};
use phial_testkit::world::{World, copy_dir};
use serde_json::json;

use crate::clinic::{clinic, findings};

/// A clinic with some more writes, stopped in order; and its checkpoint.
fn worked() -> (World, PathBuf) {
    let world = clinic();
    let server = world.serve();
    for n in 0..5 {
        let mut o = fixture::observation(BY_TEAM, n);
        o["valueQuantity"]["value"] = json!(200 + n);
        let _ = server.put("physician", &o).expect(200);
        let _ = server.get("billing", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    }
    let _ = server.stop().expect(0);
    let kept = world.dir().join("elsewhere.checkpoint");
    fs::copy(world.home().join("keys/default.checkpoint"), &kept).unwrap();
    (world, kept)
}

fn put_back(from: &Path, home: &Path, part: &str) {
    fs::remove_dir_all(home.join(part)).unwrap();
    copy_dir(&from.join(part), &home.join(part));
}

fn clean(world: &World, kept: &Path) {
    let kept = kept.to_str().unwrap();
    assert_eq!(findings(world, world.home(), &["--checkpoint", kept]), Vec::<String>::new());
    let audit = world.run(&["audit", "verify", "--checkpoint", kept]).expect(0);
    assert_eq!(audit.json()["findings"], json!([]));
}

#[test]
fn an_untouched_home_verifies_also_beside_a_running_server() {
    let (world, kept) = worked();
    clean(&world, &kept);
    let server = world.serve();
    let _ = server.get("physician", "Observation?_count=5").expect(200);
    clean(&world, &kept);
    let _ = server.kill();
    let _ = world.serve().stop().expect(0);
    clean(&world, &kept);
}

#[test]
fn a_home_verifies_while_others_write_in_it() {
    let (world, kept) = worked();
    let server = world.serve();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        for writer in 0..3 {
            let (server, over) = (&server, &over);
            s.spawn(move || {
                while !over.load(std::sync::atomic::Ordering::SeqCst) {
                    let o = fixture::observation(BY_TEAM, 6 + writer);
                    let _ = server.put("physician", &o).expect(200);
                    let _ = server.get("billing", "Condition?_count=2").expect(200);
                }
            });
        }
        let found: Vec<Vec<String>> = (0..5)
            .map(|_| findings(&world, world.home(), &["--checkpoint", kept.to_str().unwrap()]))
            .collect();
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(found.iter().all(Vec::is_empty), "{found:?}");
    });
    let _ = server.stop().expect(0);
    clean(&world, &kept);
}

#[test]
fn an_account_brought_back_by_rolling_back_the_control_log_is_named() {
    let (world, _) = worked();
    let earlier = world.dir().join("control-earlier.db");
    let control = world.home().join("data/default/control.db");
    fs::copy(&control, &earlier).unwrap();
    let _ = world.ok(&["user", "suspend", "ana"]);
    fs::copy(&earlier, &control).unwrap();
    let found = findings(&world, world.home(), &[]);
    assert!(found.iter().any(|f| f.contains("control log is at version")), "{found:?}");
}

#[test]
fn data_rolled_back_alone_is_named() {
    let earlier = clinic();
    let (world, _) = worked();
    put_back(earlier.home(), world.home(), "data");
    let found = findings(&world, world.home(), &[]);
    assert!(!found.is_empty());
    assert!(found.iter().any(|f| f.starts_with("records:")), "{found:?}");
}

#[test]
fn an_audit_log_rolled_back_alone_is_named() {
    let (world, kept) = worked();
    let earlier = clinic();
    put_back(earlier.home(), world.home(), "audit");
    assert!(!findings(&world, world.home(), &[]).is_empty());
    let ran = world.run(&["audit", "verify", "--checkpoint", kept.to_str().unwrap()]).expect(1);
    assert!(!ran.json()["findings"].as_array().unwrap().is_empty());
}

#[test]
fn data_and_audit_rolled_back_together_are_named_by_a_checkpoint_kept_elsewhere() {
    let earlier = clinic();
    let (world, kept) = worked();
    for part in ["data", "audit"] {
        put_back(earlier.home(), world.home(), part);
    }
    // The copy beside the keys tells it ...
    assert!(!findings(&world, world.home(), &[]).is_empty());
    // ... and when that was rolled back too, only the one kept elsewhere does.
    put_back(earlier.home(), world.home(), "keys");
    put_back(earlier.home(), world.home(), "index");
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    let kept = kept.to_str().unwrap();
    let found = findings(&world, world.home(), &["--checkpoint", kept]);
    assert!(!found.is_empty());
    let ran = world.run(&["audit", "verify", "--checkpoint", kept]).expect(1);
    assert!(!ran.json()["findings"].as_array().unwrap().is_empty());
}

#[test]
fn a_missing_store_is_named() {
    for file in ["data/default/records.db", "audit/default/audit.db"] {
        let (world, _) = worked();
        fs::remove_file(world.home().join(file)).unwrap();
        let found = findings(&world, world.home(), &[]);
        assert!(!found.is_empty(), "{file}");
    }
}

#[test]
fn a_flipped_byte_is_harmless_to_every_answer_or_named() {
    let (world, kept) = worked();
    let kept = kept.to_str().unwrap();
    let rng = SeededRng::new(20_261_122);
    let number = |below: usize| {
        let mut b = [0u8; 8];
        rng.fill(&mut b);
        usize::try_from(u64::from_le_bytes(b) % below as u64).unwrap()
    };
    for file in ["data/default/records.db", "audit/default/audit.db", "data/default/control.db"] {
        let mut named = 0;
        let bytes = fs::read(world.home().join(file)).unwrap();
        // Most of a file is unused space, which is zero: only bytes that say something.
        let said: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, b)| **b != 0).map(|(at, _)| at).collect();
        for _ in 0..10 {
            let bent = World::copy_of(&world);
            let mut changed = bytes.clone();
            let at = said[number(said.len())];
            *changed.get_mut(at).unwrap() ^= 1 << number(8);
            fs::write(bent.home().join(file), &changed).unwrap();
            if !findings(&bent, bent.home(), &["--checkpoint", kept]).is_empty() {
                named += 1;
                continue;
            }
            let server = bent.serve();
            for o in (0..5).map(|n| fixture::observation(BY_TEAM, n)) {
                let path = format!("Observation/{}", o["id"].as_str().unwrap());
                let read = server.get("physician", &path).expect(200).json();
                assert_eq!(read["meta"]["versionId"], "2", "{file} at {at}");
                assert_eq!(read["note"], o["note"], "{file} at {at}");
            }
            assert_eq!(server.count("privacy-officer", "Patient", ""), 5, "{file} at {at}");
        }
        assert!(named >= 5, "only {named} of 10 flips in {file} were named");
    }
}
