//! The control log: versions, other processes, tampering.

use std::sync::Arc;

use phial_base::Version;
use phial_store::Error;
use phial_store::control::ControlLog;
use serde_json::json;

use crate::auditlog_world::World;

fn try_open(w: &World) -> Result<ControlLog, Error> {
    ControlLog::open(&w.home, &w.tenant, Arc::clone(&w.keystore), Arc::clone(&w.rng), &w.options)
}

fn open(w: &World) -> ControlLog {
    try_open(w).unwrap()
}

#[test]
fn a_version_replaces_the_one_it_builds_on() {
    let w = World::new();
    let c = open(&w);
    assert_eq!(c.get("user", "ana").unwrap(), None);
    assert_eq!(c.put("user", "ana", &json!({"roles": ["nurse"]}), None).unwrap(), Version(1));
    let again = c.put("user", "ana", &json!({}), None);
    assert!(matches!(again, Err(Error::Conflict { .. })));
    let v2 = c.put("user", "ana", &json!({"roles": ["physician"]}), Some(Version(1))).unwrap();
    assert_eq!(v2, Version(2));
    assert!(c.put("user", "ana", &json!({}), Some(Version(1))).is_err());
    let now = c.get("user", "ana").unwrap().unwrap();
    assert_eq!((now.version, &now.value), (Version(2), &json!({"roles": ["physician"]})));
    assert_eq!(c.history("user", "ana").unwrap().len(), 2);
    assert_eq!(c.get("role", "ana").unwrap(), None);
    assert_eq!(c.version().unwrap(), 2);
}

#[test]
fn what_was_written_is_read_after_a_start() {
    let w = World::new();
    let c = open(&w);
    for (i, name) in ["ana", "bo", "cy"].iter().enumerate() {
        c.put("user", name, &json!({ "n": i }), None).unwrap();
    }
    c.end("user", "bo", Version(1)).unwrap();
    let head = c.head_hash().unwrap();
    drop(c);
    let c = open(&w);
    assert_eq!(c.head_hash().unwrap(), head);
    let names: Vec<_> = c.list("user").unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["ana", "cy"]);
    assert_eq!(c.get("user", "bo").unwrap(), None);
    // The name may be used again; its versions go on.
    assert_eq!(c.put("user", "bo", &json!(1), None).unwrap(), Version(3));
}

#[test]
fn another_processes_change_holds_at_once() {
    let w = World::new();
    let (a, b) = (open(&w), open(&w));
    a.put("user", "ana", &json!({"roles": ["nurse"]}), None).unwrap();
    assert!(b.get("user", "ana").unwrap().is_some());
    b.put("user", "ana", &json!({"roles": []}), Some(Version(1))).unwrap();
    assert_eq!(a.get("user", "ana").unwrap().unwrap().value, json!({"roles": []}));
    a.put("user", "bo", &json!(1), None).unwrap();
    b.put("user", "cy", &json!(1), None).unwrap();
    assert_eq!(a.list("user").unwrap().len(), 3);
    for n in 2..50 {
        for _ in 0..3 {
            assert_eq!(a.get("user", "ana").unwrap().unwrap().version, Version(n));
        }
        b.put("user", "ana", &json!(n), Some(Version(n))).unwrap();
        assert_eq!(a.get("user", "ana").unwrap().unwrap().value, json!(n));
    }
    assert_eq!(a.head_hash().unwrap(), b.head_hash().unwrap());
}

#[test]
fn a_missing_moved_or_altered_row_is_refused() {
    let fill = || {
        let w = World::new();
        let c = open(&w);
        for i in 0..4 {
            c.put("user", &format!("u{i}"), &json!({ "n": i }), None).unwrap();
        }
        w
    };
    for sql in [
        "DELETE FROM entry WHERE n = 2",
        "UPDATE entry SET n = n + 10 WHERE n = 4",
        "UPDATE entry SET sealed = (SELECT sealed FROM entry WHERE n = 1) WHERE n = 2",
        "UPDATE entry SET name = zeroblob(16) WHERE n = 3",
        "UPDATE entry SET version = 2 WHERE n = 3",
        "UPDATE entry SET sealed = substr(sealed, 1, 40) WHERE n = 1",
    ] {
        let w = fill();
        w.tamper(&w.home.control(&w.tenant), sql);
        assert!(try_open(&w).is_err(), "{sql}");
        assert!(w.findings(None).contains(&"store-damaged"), "{sql}");
    }
}

#[test]
fn a_log_cut_under_a_running_process_is_refused() {
    let w = World::new();
    let c = open(&w);
    for i in 0..3 {
        c.put("user", &format!("u{i}"), &json!({ "n": i }), None).unwrap();
    }
    w.tamper(&w.home.control(&w.tenant), "DELETE FROM entry WHERE n = 3");
    assert!(c.get("user", "u0").is_err());
}

#[test]
fn names_and_contents_are_not_in_the_file() {
    let w = World::new();
    let c = open(&w);
    c.put("marked-kind", "quintanilla", &json!({"note": "evergreen terrace"}), None).unwrap();
    drop(c);
    let scanner =
        phial_testkit::canary::Scanner::new(&["marked-kind", "quintanilla", "evergreen terrace"])
            .unwrap();
    let report = scanner.scan(&[w.dir.path()]).unwrap();
    assert!(report.is_clean(), "{report}");
}
