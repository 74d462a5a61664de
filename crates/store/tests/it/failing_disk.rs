//! Record log and keystore on a disk that fails: at each durable step, not saved, and
//! saved but reported failed (a fault-injecting VFS).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use phial_base::{LogicalId, RowId, SeededRng, SystemClock, TenantId, Version};
use phial_crypto::KeyFile;
use phial_store::keystore::Keystore;
use phial_store::records::{NewRow, RecordLog};
use phial_store::{Error, Options};
use phial_testkit::faults::{Failure, Faults, Op, VFS};

fn options() -> Options {
    Options { vfs: Some(VFS.to_owned()), ..Options::default() }
}

fn new(n: u8, version: u32) -> NewRow {
    NewRow { row: RowId([n; 16]), version: Version(version), blob: vec![n; 1024] }
}

struct Bench {
    dir: tempfile::TempDir,
    path: PathBuf,
    part: String,
    faults: Faults,
    log: RecordLog,
}

impl Bench {
    fn new() -> Self {
        let faults = Faults::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.db");
        let log = RecordLog::create(&path, &options()).unwrap();
        log.append_blocking(vec![new(1, 1)]).unwrap();
        let part = dir.path().to_str().unwrap().to_owned();
        Bench { dir, path, part, faults, log }
    }

    fn has(&self, n: u8) -> bool {
        self.log.get(RowId([n; 16])).unwrap().is_some()
    }

    /// Whether the row is there after a crash at this moment.
    fn would_have(&self, n: u8) -> bool {
        let copy = self.dir.path().join("crash").join("records.db");
        let _ = fs::remove_dir_all(copy.parent().unwrap());
        fs::create_dir(copy.parent().unwrap()).unwrap();
        for side in ["", "-wal"] {
            let with = |p: &Path| PathBuf::from(format!("{}{side}", p.display()));
            fs::copy(with(&self.path), with(&copy)).unwrap();
        }
        let log = RecordLog::open(&copy, &Options::default()).unwrap();
        log.get(RowId([n; 16])).unwrap().is_some()
    }
}

#[test]
fn a_full_disk_stores_nothing_and_service_resumes_by_itself() {
    for failure in [Failure::no_space(), Failure::io()] {
        let b = Bench::new();
        b.faults.fail_writes(&b.part, failure);
        for _ in 0..3 {
            let refused = b.log.append_blocking(vec![new(2, 1)]);
            assert!(matches!(refused, Err(Error::Unavailable(_) | Error::Unknown)), "{refused:?}");
            assert!(b.log.settle().is_err());
        }
        assert!(b.faults.failed() > 0);
        assert!(b.has(1), "what was stored can be read on a full disk");
        b.faults.clear();
        b.log.settle().unwrap();
        let there = b.has(2);
        assert_eq!(b.would_have(2), there);
        let next = if there { 2 } else { 1 };
        b.log.append_blocking(vec![new(2, next)]).unwrap();
        assert!(b.would_have(2));
    }
}

#[test]
fn a_commit_that_failed_at_any_step_has_one_fate() {
    // Let more and more operations pass before the fault, so that it meets each step of
    // the commit; both when the step was not done and when it was done but reported failed.
    for done in [false, true] {
        for op in [Op::Write, Op::Sync] {
            for pass in 0..8 {
                let b = Bench::new();
                // A second process keeps the shared view of the write-ahead log alive, so
                // that reopening does not recover it anew.
                let other = RecordLog::open(&b.path, &Options::default()).unwrap();
                assert!(other.get(RowId([1; 16])).unwrap().is_some());
                let failure = Failure::io().after(pass).times(1);
                b.faults.fail(&b.part, op, if done { failure.but_done() } else { failure });
                let answer = b.log.append_blocking(vec![new(2, 1), new(3, 1)]);
                b.faults.clear();
                let case = format!("{op:?} after {pass}, done {done}: {answer:?}");
                match answer {
                    Ok(_) => assert!(b.has(2), "{case}"),
                    Err(Error::Unavailable(_)) => assert!(!b.has(2), "{case}"),
                    Err(Error::Unknown) => {}
                    Err(_) => panic!("{case}"),
                }
                b.log.settle().unwrap();
                let fate = b.has(2);
                assert_eq!(b.has(3), fate, "whole or not at all: {case}");
                // Neither a crash nor what is written later changes it.
                assert_eq!(b.would_have(2), fate, "{case}");
                b.log.append_blocking(vec![new(4, 1)]).unwrap();
                assert_eq!(b.has(2), fate, "{case}");
                assert_eq!(b.would_have(2), fate, "{case}");
                assert!(b.would_have(4), "{case}");
            }
        }
    }
}

#[test]
fn a_failed_sync_is_never_acknowledged() {
    let b = Bench::new();
    b.faults.fail(&b.part, Op::Sync, Failure::io());
    let answer = b.log.append_blocking(vec![new(2, 1)]);
    assert!(matches!(answer, Err(Error::Unknown)), "{answer:?}");
    // As long as its fate is open, nothing else is stored either.
    assert!(b.log.append_blocking(vec![new(3, 1)]).is_err());
    b.faults.clear();
    b.log.append_blocking(vec![new(3, 1)]).unwrap();
}

#[test]
fn waiting_batches_share_one_sync() {
    let b = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let before = b.faults.syncs(&b.part);
    let waiting: Vec<_> = (2..=201).map(|n| b.log.append(vec![new(n, 1)])).collect();
    for answer in waiting {
        runtime.block_on(answer).unwrap();
    }
    let syncs = b.faults.syncs(&b.part) - before;
    assert!((1..200).contains(&syncs), "{syncs}");
}

#[test]
fn a_keystore_on_a_failing_disk_makes_no_key_and_one_afterwards() {
    let faults = Faults::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().to_str().unwrap().to_owned();
    let root_path = dir.path().join("keys").join("root.key");
    let root = KeyFile::create(&root_path, &[], &SeededRng::new(1)).unwrap();
    let keystore = Keystore::create(
        &dir.path().join("keystore.db"),
        Arc::new(root),
        Arc::new(SystemClock),
        Arc::new(SeededRng::new(2)),
        &options(),
    )
    .unwrap();
    let t = TenantId::default_tenant();
    keystore.create_tenant(&t).unwrap();
    let id = |n: u32| LogicalId::new(&format!("p{n}")).unwrap();
    let old = keystore.record_key(&t, &[id(0)]).unwrap();
    for (n, failure) in [
        (1, Failure::no_space()),
        (2, Failure::io()),
        (3, Failure::io().but_done()),
        (4, Failure::no_space().after(1)),
        (5, Failure::io().after(2)),
    ] {
        faults.fail_writes(&part, failure);
        for _ in 0..2 {
            let refused = keystore.record_key(&t, &[id(n)]);
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        }
        let refused = keystore.destroy_patient(&t, &id(0), SignedDuration::ZERO);
        assert!(refused.is_err());
        faults.clear();
        let made = keystore.record_key(&t, &[id(n)]).unwrap();
        let again = keystore.patient_key(&t, &id(n)).unwrap().unwrap();
        assert_eq!((made.handle, made.key.expose()), (again.handle, again.key.expose()));
    }
    // A destruction answered with an error may have happened; repeated, it is certain.
    let gone = keystore.destroy_patient(&t, &id(0), SignedDuration::ZERO).unwrap();
    assert_eq!(gone.handles, [old.handle]);
    assert!(gone.scrubbed);
    assert!(keystore.by_handle(&t, old.handle).unwrap().is_none());
}
