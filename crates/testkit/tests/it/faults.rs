//! The fault-injecting VFS under a plain database.

use std::path::Path;

use phial_testkit::faults::{Failure, Faults, Op, VFS};
use rusqlite::{Connection, OpenFlags};

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let c = Connection::open_with_flags_and_vfs(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        VFS,
    )?;
    c.pragma_update(None, "journal_mode", "WAL")?;
    c.pragma_update(None, "synchronous", "FULL")?;
    c.execute_batch("CREATE TABLE IF NOT EXISTS t (x INTEGER, y BLOB)")?;
    Ok(c)
}

fn rows(c: &Connection) -> i64 {
    c.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap()
}

#[test]
fn without_rules_a_wal_database_works_and_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::install().unwrap();
    let path = dir.path().join("plain.db");
    let (a, b) = (open(&path).unwrap(), open(&path).unwrap());
    for i in 0..100 {
        a.execute("INSERT INTO t VALUES (?, zeroblob(5000))", [i]).unwrap();
    }
    assert_eq!(rows(&b), 100);
    let mode: String = b.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert!(faults.syncs(&path.to_string_lossy()) >= 100);
    assert_eq!(faults.failed(), 0);
}

#[test]
fn a_full_disk_refuses_a_commit_and_keeps_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::install().unwrap();
    let path = dir.path().join("full.db");
    let c = open(&path).unwrap();
    c.execute("INSERT INTO t VALUES (1, 'a')", []).unwrap();
    let part = path.to_string_lossy().into_owned();
    faults.fail_writes(&part, Failure::no_space());
    let e = c.execute("INSERT INTO t VALUES (2, 'b')", []).unwrap_err();
    assert_eq!(e.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    assert!(faults.failed() > 0);
    assert_eq!(rows(&c), 1);
    faults.clear();
    c.execute("INSERT INTO t VALUES (2, 'b')", []).unwrap();
    assert_eq!(rows(&c), 2);
}

#[test]
fn each_operation_can_fail() {
    for (op, n) in [(Op::Open, 0), (Op::Read, 1), (Op::Write, 2), (Op::Sync, 3), (Op::Shm, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::install().unwrap();
        let path = dir.path().join(format!("each-{n}.db"));
        drop(open(&path).unwrap());
        faults.fail(&path.to_string_lossy(), op, Failure::io());
        let refused = open(&path).and_then(|c| c.execute("INSERT INTO t VALUES (1, 2)", []));
        assert!(refused.is_err(), "{op:?}");
        faults.clear();
        assert_eq!(rows(&open(&path).unwrap()), 0, "{op:?}");
    }
}

#[test]
fn a_failure_waits_and_ends_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::install().unwrap();
    let path = dir.path().join("counted.db");
    let c = open(&path).unwrap();
    faults.fail(&path.to_string_lossy(), Op::Sync, Failure::io().after(2).times(1));
    let answers: Vec<bool> =
        (0..5).map(|i| c.execute("INSERT INTO t VALUES (?, 0)", [i]).is_ok()).collect();
    assert_eq!(answers.iter().filter(|ok| !**ok).count(), 1);
    assert_eq!(answers.first(), Some(&true));
    assert_eq!(faults.failed(), 1);
}

#[test]
fn a_commit_can_be_saved_and_reported_failed() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::install().unwrap();
    let path = dir.path().join("ambiguous.db");
    let c = open(&path).unwrap();
    faults.fail(&path.to_string_lossy(), Op::Sync, Failure::io().but_done().times(1));
    assert!(c.execute("INSERT INTO t VALUES (1, 0)", []).is_err());
    faults.clear();
    drop(c);
    let again = open(&path).unwrap();
    assert!(rows(&again) <= 1);
    let check: String = again.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn a_handle_clears_its_own_rules_only() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Faults::install().unwrap(), Faults::install().unwrap());
    let path = dir.path().join("own.db");
    let part = path.to_string_lossy().into_owned();
    let c = open(&path).unwrap();
    a.fail_writes(&part, Failure::io());
    b.fail_writes(&part, Failure::io());
    drop(a);
    assert!(c.execute("INSERT INTO t VALUES (1, 0)", []).is_err());
    drop(b);
    assert!(c.execute("INSERT INTO t VALUES (1, 0)", []).is_ok());
}
