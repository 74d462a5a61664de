//! The register of vendors: written down, shown, ended, audited.

use phial_testkit::world::World;
use serde_json::Value;

use crate::clinic::{PHIAL, clinic, findings};

fn kinds(world: &World) -> Vec<Value> {
    let tail = world.ok(&["audit", "tail", "-n", "200"]);
    let all = tail.as_array().unwrap().clone();
    all.into_iter().filter(|e| e["kind"] == "vendor-changed").collect()
}

#[test]
fn a_vendor_is_added_shown_changed_and_ended_and_each_is_written_down() {
    let world = clinic();
    let added = world.ok(&[
        "vendor",
        "add",
        "Acme Billing, Inc.",
        "--contact",
        "security@acme.example",
        "--endpoint",
        "https://hooks.acme.example/in",
    ]);
    assert_eq!((&added["agreement"], &added["baa"]["state"]), (&"none".into(), &"none".into()));
    let signed = world.ok(&[
        "vendor",
        "change",
        "Acme Billing, Inc.",
        "--baa-from",
        "2020-01-01",
        "--baa-until",
        "2099-12-31",
    ]);
    assert_eq!(signed["agreement"], "active", "{signed}");
    assert_eq!(signed["contact"], "security@acme.example", "what was not given stays");
    let _ = world.ok(&[
        "vendor",
        "add",
        "Bolt",
        "--contact",
        "b",
        "--baa-from",
        "2020-01-01",
        "--baa-until",
        "2020-12-31",
    ]);
    let listed = world.ok(&["vendor", "list"]);
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|v| &v["agreement"]).collect();
    assert_eq!(states, ["active", "expired"]);
    let ended = world.ok(&["vendor", "end", "Acme Billing, Inc."]);
    assert_eq!(ended["agreement"], "terminated");
    let shown = world.ok(&["vendor", "show", "Acme Billing, Inc."]);
    let history: Vec<_> =
        shown["history"].as_array().unwrap().iter().map(|h| &h["vendor"]["baa"]["state"]).collect();
    assert_eq!(history, ["none", "executed", "terminated"], "{shown}");

    let log = kinds(&world);
    // Each change is announced before it is made, and the control log's head is told after.
    let told: Vec<(&str, &str, bool)> = log
        .iter()
        .map(|e| {
            let d = &e["detail"];
            (
                d["recipient"].as_str().unwrap(),
                d["value"].as_str().unwrap(),
                d["control_head"].is_string(),
            )
        })
        .collect();
    let acme = "Acme Billing, Inc.";
    assert_eq!(
        told,
        [
            (acme, "none", false),
            (acme, "none", true),
            (acme, "active", false),
            (acme, "active", true),
            ("Bolt", "expired", false),
            ("Bolt", "expired", true),
            (acme, "terminated", false),
            (acme, "terminated", true),
        ]
    );
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_can_t_be_a_vendor_is_refused_in_words() {
    let world = World::empty(PHIAL);
    let refused = |args: &[&str], code: i32| world.run(args).expect(code).out;
    let add = ["vendor", "add", "Acme", "--contact", "c"];
    let with = |more: &[&'static str]| [&add[..], more].concat();
    assert!(refused(&with(&["--endpoint", "http://acme.example/"]), 1).contains("endpoint"));
    assert!(refused(&with(&["--endpoint", "https://acme.example/?p=1"]), 1).contains("endpoint"));
    let back = ["--baa-from", "2026-02-01", "--baa-until", "2026-01-01"];
    assert!(refused(&with(&back), 1).contains("before it begins"));
    let _ = refused(&with(&["--baa-until", "2026-01-01"]), 2);
    let _ = world.ok(&add);
    assert!(refused(&add, 1).contains("there is a vendor of that name"));
    for args in [["vendor", "show", "Nobody"], ["vendor", "end", "Nobody"]] {
        assert!(refused(&args, 1).contains("no such vendor"));
    }
    assert!(
        refused(&["vendor", "change", "Nobody", "--contact", "x"], 1).contains("no such vendor")
    );
}

#[test]
fn a_vendor_changed_behind_the_programs_back_is_named() {
    let world = clinic();
    let _ = world.ok(&["vendor", "add", "Acme", "--contact", "c", "--baa-from", "2020-01-01"]);
    let earlier = world.dir().join("earlier");
    world.copy_home(&earlier);
    let _ = world.ok(&["vendor", "end", "Acme"]);
    // The control log of before, in which the agreement is in force.
    let control = |home: &std::path::Path| home.join("data/default/control.db");
    for file in ["control.db", "control.db-wal", "control.db-shm"] {
        let _ = std::fs::remove_file(world.home().join("data/default").join(file));
    }
    std::fs::copy(control(&earlier), control(world.home())).unwrap();
    let wal = earlier.join("data/default/control.db-wal");
    if wal.exists() {
        std::fs::copy(wal, world.home().join("data/default/control.db-wal")).unwrap();
    }
    let found = findings(&world, world.home(), &[]);
    assert!(!found.is_empty(), "a control log that was rolled back is named");
}
