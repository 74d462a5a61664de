//! Invariant 7 at the audit log: when it fails, nothing is minted, and it comes back
//! by itself.

use phial_store::{Error, Options};
use phial_testkit::faults::{Failure, Faults, Op, VFS};

use crate::auditlog_world::{World, patient};

fn world() -> (World, Faults, String) {
    let faults = Faults::install().unwrap();
    let w = World::with(Options { vfs: Some(VFS.to_owned()), ..Options::default() });
    let part = w.audit_file().to_string_lossy().into_owned();
    (w, faults, part)
}

#[test]
fn a_failing_disk_mints_nothing_and_service_resumes() {
    type Make = fn() -> Failure;
    let kinds: [(&str, Make); 2] = [("no space", Failure::no_space), ("i/o", Failure::io)];
    for (kind, make) in kinds {
        for op in [Op::Write, Op::Sync] {
            let (w, faults, part) = world();
            let audit = w.audit();
            let append = |i| audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None);
            append(1).unwrap();
            faults.fail(&part, op, make());
            for i in 2..5 {
                let refused = append(i);
                assert!(matches!(refused, Err(Error::Unavailable(_))), "{kind} {op:?} {refused:?}");
            }
            assert!(faults.failed() > 0);
            faults.clear();
            append(9).unwrap();
            drop(audit);
            let report = w.verify(None);
            assert!(report.is_clean(), "{kind} {op:?}: {:?}", report.findings);
            assert!(report.entries >= 2);
        }
    }
}

#[test]
fn a_failure_at_any_step_leaves_a_log_that_goes_on() {
    for op in [Op::Read, Op::Write, Op::Sync, Op::Shm, Op::Open, Op::Truncate] {
        for after in 0..6 {
            for done in [false, true] {
                let (w, faults, part) = world();
                let audit = w.audit();
                let append = |i| audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None);
                append(1).unwrap();
                let failure = Failure::io().after(after).times(2);
                faults.fail(&part, op, if done { failure.but_done() } else { failure });
                let receipts: Vec<_> = (2..10).filter_map(|i| append(i).ok()).collect();
                faults.clear();
                let last = append(10).unwrap();
                let size = audit.size().unwrap();
                drop(audit);
                let report = w.verify(None);
                let what = format!("{op:?} after {after} done {done}");
                assert!(report.is_clean(), "{what}: {:?}", report.findings);
                // What was receipted is there, each at a place of its own.
                let mut places: Vec<u64> =
                    receipts.iter().chain([&last]).flat_map(|r| r.positions()).collect();
                let n = places.len();
                places.sort_unstable();
                places.dedup();
                assert_eq!(places.len(), n, "{what}");
                assert!(places.iter().all(|p| *p < size), "{what}");
            }
        }
    }
}

#[test]
fn a_commit_saved_but_reported_failed_is_not_numbered_twice() {
    let (w, faults, part) = world();
    let audit = w.audit();
    let append = |i| audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None);
    append(1).unwrap();
    faults.fail(&part, Op::Sync, Failure::io().but_done().times(1));
    assert!(matches!(append(2), Err(Error::Unavailable(_))));
    let receipt = append(3).unwrap();
    let size = audit.size().unwrap();
    assert_eq!(receipt.positions().end, size);
    drop(audit);
    assert!(w.verify(None).is_clean());
}

#[test]
fn a_vanished_or_exchanged_file_takes_nothing_more() {
    let (w, _faults, _) = world();
    let audit = w.audit();
    let append = |i| audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None);
    append(1).unwrap();
    let (path, aside) = (w.audit_file(), w.audit_file().with_extension("aside"));
    std::fs::rename(&path, &aside).unwrap();
    for i in 2..4 {
        assert!(matches!(append(i), Err(Error::Unavailable(_))));
    }
    // A file made in its place, even an empty one, is not taken for it.
    std::fs::write(&path, b"").unwrap();
    assert!(append(4).is_err());
    std::fs::rename(&aside, &path).unwrap();
    append(5).unwrap();
    drop(audit);
    let report = w.verify(None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.entries, 2);
}

#[test]
fn outcomes_that_could_not_be_written_are_written_once_later() {
    let (w, faults, part) = world();
    let (audit, records) = (w.audit(), w.records());
    let row = w.seal(phial_base::RowId([1; 16]), 1, &patient("p"), b"x");
    let id = w.fresh_id();
    audit.append_blocking(vec![w.intent(id, std::slice::from_ref(&row))], None).unwrap();
    let seqs = records.append_blocking(vec![row]).unwrap();
    // Saved, and reported as failed: the second try must see that it is there.
    faults.fail(&part, Op::Sync, Failure::io().but_done().times(1));
    audit.append_later(vec![w.outcome(id, &seqs)]);
    let _ = audit.flush();
    faults.clear();
    audit.flush().unwrap();
    assert_eq!(audit.open_intents().unwrap(), []);
    let outcomes = audit
        .scan(0, 100)
        .unwrap()
        .iter()
        .filter(|s| audit.open_entry(s).unwrap().committed.is_some())
        .count();
    assert_eq!(outcomes, 1);
    drop((audit, records));
    assert!(w.verify(None).is_clean());
}

#[test]
fn without_the_root_key_nothing_is_appended() {
    let w = World::new();
    let audit = w.audit();
    let append = |i| audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None);
    append(1).unwrap();
    let (key, aside) = (w.home.root_key(), w.home.root_key().with_extension("aside"));
    std::fs::rename(&key, &aside).unwrap();
    w.clock.advance(phial_store::keystore::TENANT_KEYS_LIFE);
    assert!(matches!(append(2), Err(Error::Unavailable(_))));
    std::fs::rename(&aside, &key).unwrap();
    append(3).unwrap();
}

#[test]
fn sessions_and_control_log_fail_closed_and_resume() {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use phial_base::{Clock, Purpose, SubjectId};
    use phial_store::control::ControlLog;
    use phial_store::sessions::{NewSession, Sessions};

    let (w, faults, _) = world();
    let keystore = || Arc::clone(&w.keystore);
    let sessions = Sessions::create(&w.home, keystore(), Arc::clone(&w.rng), &w.options).unwrap();
    let control =
        ControlLog::open(&w.home, &w.tenant, keystore(), Arc::clone(&w.rng), &w.options).unwrap();
    let new = NewSession {
        tenant: w.tenant.clone(),
        user: SubjectId::new("ana").unwrap(),
        purpose: Purpose::TREAT,
        mfa: 0,
        login: None,
        idle: SignedDuration::from_mins(15),
        absolute: SignedDuration::from_hours(8),
    };
    let issued = sessions.issue(&new, w.clock.now()).unwrap();
    control.put("user", "ana", &serde_json::json!(1), None).unwrap();
    let root = w.home.root().to_string_lossy().into_owned();
    faults.fail_writes(&root, Failure::no_space());
    assert!(sessions.issue(&new, w.clock.now()).unwrap_err().is_unavailable());
    w.clock.advance(SignedDuration::from_mins(1));
    // Its use can't be written down, so it can't be judged.
    assert!(sessions.lookup(&issued.token, w.clock.now()).unwrap_err().is_unavailable());
    let put = control.put("user", "bo", &serde_json::json!(1), None);
    assert!(put.unwrap_err().is_unavailable());
    assert!(control.get("user", "bo").unwrap().is_none());
    faults.clear();
    assert!(sessions.lookup(&issued.token, w.clock.now()).unwrap().is_some());
    control.put("user", "bo", &serde_json::json!(1), None).unwrap();
    assert_eq!(control.list("user").unwrap().len(), 2);
}
