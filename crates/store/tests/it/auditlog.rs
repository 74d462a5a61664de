//! The audit log: receipts, chains of several nodes, checkpoints, proofs.

use std::time::Duration;

use phial_audit::tree::{verify_consistency, verify_inclusion};
use phial_audit::{Checkpoint, DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{Clock, RowId, Version};
use phial_store::Error;
use phial_store::auditlog::hand_out_receipts;

use crate::auditlog_world::{World, patient};

#[test]
fn a_receipt_covers_what_was_given_and_nothing_else() {
    let w = World::new();
    let audit = w.audit();
    let mut denied = w.read_entry(9, &patient("p"));
    denied.outcome = OutcomeCode::Denied;
    let receipt =
        audit.append_blocking(vec![w.read_entry(1, &patient("p")), denied], Some([7; 32])).unwrap();
    assert!(receipt.covers(RowId([1; 16]), Version(1)));
    assert!(!receipt.covers(RowId([1; 16]), Version(2)));
    assert!(!receipt.covers(RowId([2; 16]), Version(1)));
    assert!(!receipt.covers(RowId([9; 16]), Version(1)), "a refusal must not help to release");
    assert_eq!(receipt.output_digest(), Some([7; 32]));
    assert_eq!(receipt.positions(), 0..2);
}

#[test]
fn nothing_appended_is_nothing_receipted() {
    let w = World::new();
    assert!(matches!(w.audit().append_blocking(Vec::new(), None), Err(Error::Invalid(_))));
}

#[test]
fn an_entry_reads_back_as_it_was_written() {
    let w = World::new();
    let audit = w.audit();
    let entry =
        w.read_entry(1, &patient("some-patient")).with_detail(DetailKey::Reason, "a reason");
    audit.append_blocking(vec![entry.clone()], None).unwrap();
    let stored = audit.tail(5).unwrap();
    assert_eq!(stored.len(), 1);
    let opened = audit.open_entry(&stored[0]).unwrap();
    assert_eq!(opened.what, entry.what);
    assert_eq!(opened.detail, entry.detail);
    assert_eq!(opened.patients[0].id, entry.patients[0].id);
}

#[test]
fn a_log_goes_on_after_each_start_as_another_node() {
    let w = World::new();
    for start in 0..3u8 {
        let audit = w.audit();
        assert_eq!(audit.size().unwrap(), u64::from(start) * 2);
        for i in 0..2 {
            audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None).unwrap();
        }
    }
    let nodes: std::collections::BTreeSet<_> =
        w.audit().scan(0, 10).unwrap().into_iter().map(|s| s.node).collect();
    assert_eq!(nodes.len(), 3);
    let report = w.verify(None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.entries, report.covered), (6, 6));
}

#[test]
fn two_processes_append_to_one_log() {
    let w = World::new();
    let (a, b) = (w.audit(), w.audit());
    std::thread::scope(|s| {
        for log in [&a, &b] {
            s.spawn(|| {
                for i in 0..40 {
                    log.append_blocking(vec![w.read_entry(i, &patient("p"))], None).unwrap();
                }
            });
        }
    });
    drop((a, b));
    let report = w.verify(None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.entries, 80);
}

#[test]
fn appends_that_wait_together_are_committed_together() {
    let w = World::new();
    let audit = w.audit();
    audit.set_linger(Duration::from_millis(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let positions = runtime.block_on(async {
        let appends = (0..200u8).map(|i| audit.append(vec![w.read_entry(i, &patient("p"))], None));
        let mut all = Vec::new();
        for receipt in futures_join(appends.collect()).await {
            all.extend(receipt.unwrap().positions());
        }
        all
    });
    let mut sorted = positions.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..200).collect::<Vec<u64>>());
    let t = audit.throughput();
    assert_eq!(t.entries, 200);
    assert!(t.commits < 100, "{} commits", t.commits);
}

/// Polls all of them together, as the tasks of a server would.
#[test]
fn a_thread_with_a_tray_gets_every_receipt_and_without_it_as_well() {
    let w = World::new();
    let audit = w.audit();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fifty = || {
        let appends = (0..50).map(|i| audit.append(vec![w.read_entry(i, &patient("p"))], None));
        futures_join(appends.map(Box::pin).collect())
    };
    for round in 0..3u64 {
        let receipts = runtime.block_on(async {
            if round == 1 {
                return fifty().await;
            }
            let mut tray = std::pin::pin!(hand_out_receipts());
            tokio::select! {
                never = &mut tray => match never {},
                receipts = fifty() => receipts,
            }
        });
        let mut at: Vec<u64> = receipts.into_iter().map(|r| r.unwrap().positions().start).collect();
        at.sort_unstable();
        assert_eq!(at, (round * 50..round * 50 + 50).collect::<Vec<_>>());
    }
    assert!(audit.throughput().commits < 150, "each group is one commit");
}

#[test]
fn who_waits_when_the_tray_is_taken_away_is_answered() {
    let w = World::new();
    let audit = w.audit();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for i in 0..20 {
        let answer = runtime.block_on(async {
            let tray = Box::pin(hand_out_receipts());
            let mut append = Box::pin(audit.append(vec![w.read_entry(i, &patient("p"))], None));
            // Polled once: the entry is on its way.
            let early = std::future::poll_fn(|cx| std::task::Poll::Ready(append.as_mut().poll(cx)));
            let early = early.await;
            assert!(early.is_pending());
            drop(tray);
            append.await
        });
        assert!(matches!(answer, Ok(_) | Err(Error::Unavailable(_))), "{answer:?}");
    }
}

async fn futures_join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut all = true;
        for (f, slot) in waiting.iter_mut().zip(&mut done) {
            if slot.is_none() {
                match f.as_mut().poll(cx) {
                    std::task::Poll::Ready(v) => *slot = Some(v),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[test]
fn unasked_entries_are_written_at_close() {
    let w = World::new();
    let audit = w.audit();
    audit.append_later(vec![Entry::system(EventKind::Stop, w.clock.now())]);
    drop(audit);
    assert_eq!(w.audit().size().unwrap(), 1);
}

#[test]
fn unasked_entries_and_checkpoints_come_by_themselves() {
    let w = World::new();
    let audit = w.audit();
    audit.append_later(vec![Entry::system(EventKind::Job, w.clock.now())]);
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    let mut tries = 0;
    while audit.checkpoint().unwrap().is_none() {
        let _ = never.recv_timeout(Duration::from_millis(20));
        tries += 1;
        assert!(tries < 1000, "no checkpoint came");
    }
    assert_eq!(audit.size().unwrap(), 1);
}

#[test]
fn the_checkpoint_beside_the_keys_is_the_logs_own() {
    let w = World::new();
    let audit = w.audit();
    audit.append_blocking(vec![w.read_entry(1, &patient("p"))], None).unwrap();
    audit.flush().unwrap();
    let note = w.checkpoint_beside_keys();
    assert_eq!(audit.checkpoint().unwrap().as_deref(), Some(note.as_str()));
    let verifier = audit.verifier();
    let c = Checkpoint::verify(&note, verifier.name(), verifier).unwrap();
    assert_eq!(c.size, 1);
    let published = std::fs::read_to_string(w.home.public_key(&w.tenant)).unwrap();
    assert_eq!(published.trim_end(), audit.public_key());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(w.home.checkpoint(&w.tenant)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_checkpoint_that_the_log_does_not_know_is_kept_aside() {
    let w = World::new();
    w.fill(5);
    let later = w.checkpoint_beside_keys();
    // The log goes back to nothing; its keys stay.
    for table in ["open_intent", "checkpoint", "batch", "tree", "node"] {
        w.tamper(&w.audit_file(), &format!("DELETE FROM {table}"));
    }
    let audit = w.audit();
    audit.append_blocking(vec![w.read_entry(1, &patient("p"))], None).unwrap();
    drop(audit);
    assert_ne!(w.checkpoint_beside_keys(), later);
    assert!(w.findings(None).contains(&"audit-truncated"));
}

#[test]
fn proofs_lead_to_the_signed_root() {
    let w = World::new();
    let audit = w.audit();
    let mut old = None;
    for i in 0..13 {
        audit.append_blocking(vec![w.read_entry(i, &patient("p"))], None).unwrap();
        if i == 4 {
            audit.flush().unwrap();
            old = audit.checkpoint().unwrap();
        }
    }
    audit.flush().unwrap();
    let read = |note: Option<String>| {
        Checkpoint::verify(&note.unwrap(), audit.verifier().name(), audit.verifier()).unwrap()
    };
    let (old, new) = (read(old), read(audit.checkpoint().unwrap()));
    assert_eq!((old.size, new.size), (5, 13));
    for stored in audit.scan(0, 100).unwrap() {
        let proof = audit.inclusion_proof(stored.index, 13).unwrap();
        let leaf = stored.as_ref().leaf_hash();
        verify_inclusion(stored.index, 13, &leaf, &proof, &new.root).unwrap();
    }
    let proof = audit.consistency_proof(5, 13).unwrap();
    verify_consistency(5, 13, &old.root, &new.root, &proof).unwrap();
    assert!(audit.inclusion_proof(13, 13).is_err());
}

#[test]
fn an_intent_too_large_for_one_leaf_is_one_commit() {
    let w = World::new();
    let audit = w.audit();
    let rows: Vec<_> = (0..3000u32)
        .map(|i| {
            let mut row = [0u8; 16];
            row[..4].copy_from_slice(&i.to_be_bytes());
            phial_store::records::NewRow { row: RowId(row), version: Version(1), blob: vec![1] }
        })
        .collect();
    let id = w.fresh_id();
    let before = audit.throughput().commits;
    let receipt = audit.append_blocking(vec![w.intent(id, &rows)], None).unwrap();
    assert!(receipt.positions().count() > 1);
    assert_eq!(audit.throughput().commits, before + 1);
    let open = audit.open_intents().unwrap();
    assert_eq!(open, [(id, receipt.positions().collect::<Vec<_>>())]);
    let announced: usize = audit
        .scan(0, 1000)
        .unwrap()
        .iter()
        .map(|s| audit.open_entry(s).unwrap().writes.len())
        .sum();
    assert_eq!(announced, 3000);
}

#[test]
fn nothing_of_a_patient_is_in_the_file() {
    let w = World::new();
    let audit = w.audit();
    let mut e = w.read_entry(1, &patient("3f1c2a77-marked-patient"));
    e.query = Some(phial_base::Sensitive::new("Patient?family=Quintanilla".to_owned()));
    e.who.user = Some("dr.oyelaran".to_owned());
    audit.append_blocking(vec![e], None).unwrap();
    drop(audit);
    let scanner = phial_testkit::canary::Scanner::new(&[
        "3f1c2a77-marked-patient",
        "Quintanilla",
        "dr.oyelaran",
        "Patient",
    ])
    .unwrap();
    let report = scanner.scan(&[w.dir.path()]).unwrap();
    assert!(report.is_clean(), "{report}");
}
