//! What a crash left open is closed from the record log.

use phial_audit::{DetailKey, EventKind};
use phial_base::{RowId, Seq};
use phial_store::recovery::{Recovered, close_open_intents};

use crate::auditlog_world::{World, patient};

#[test]
fn open_intents_are_closed_by_what_the_record_log_holds() {
    let w = World::new();
    let p = patient("p");
    {
        let (audit, records) = (w.audit(), w.records());
        // Crash after the rows, after the intent, and not at all.
        let stored: Vec<_> = (1..=2).map(|i| w.seal(RowId([i; 16]), 1, &p, b"stored")).collect();
        audit.append_blocking(vec![w.intent(w.fresh_id(), &stored)], None).unwrap();
        records.append_blocking(stored).unwrap();
        let lost = vec![w.seal(RowId([3; 16]), 1, &p, b"lost")];
        audit.append_blocking(vec![w.intent(w.fresh_id(), &lost)], None).unwrap();
        w.write(&audit, &records, vec![w.seal(RowId([4; 16]), 1, &p, b"whole")]);
    }
    assert_eq!(w.verify(None).open_intents, 2);
    let (audit, records) = (w.audit(), w.records());
    let done = close_open_intents(&audit, &records, &w.blobs(), &w.clock).unwrap();
    assert_eq!(done, Recovered { committed: 1, abandoned: 1 });
    assert_eq!(audit.open_intents().unwrap(), []);
    let outcomes: Vec<_> = audit
        .scan(0, 100)
        .unwrap()
        .iter()
        .map(|s| audit.open_entry(s).unwrap())
        .filter(|e| e.detail.get(&DetailKey::Reason).is_some_and(|r| r == "recovery"))
        .map(|e| (e.kind, e.committed, e.seqs.map(|s| (s.first, s.count))))
        .collect();
    assert_eq!(
        outcomes,
        [
            (EventKind::Outcome, Some(true), Some((Seq(1), 2))),
            (EventKind::Outcome, Some(false), None)
        ]
    );
    let size = audit.size().unwrap();
    assert_eq!(
        close_open_intents(&audit, &records, &w.blobs(), &w.clock).unwrap(),
        Recovered::default()
    );
    assert_eq!(audit.size().unwrap(), size, "a second run says nothing more");
    drop((audit, records));
    let report = w.verify(None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.open_intents, report.versions), (0, 3));
}

#[test]
fn a_row_other_than_announced_is_not_taken_for_it() {
    let w = World::new();
    let p = patient("p");
    let (audit, records) = (w.audit(), w.records());
    let announced = vec![w.seal(RowId([1; 16]), 1, &p, b"announced")];
    audit.append_blocking(vec![w.intent(w.fresh_id(), &announced)], None).unwrap();
    records.append_blocking(vec![w.seal(RowId([1; 16]), 1, &p, b"another")]).unwrap();
    let done = close_open_intents(&audit, &records, &w.blobs(), &w.clock).unwrap();
    assert_eq!(done, Recovered { committed: 0, abandoned: 1 });
    drop((audit, records));
    assert_eq!(w.findings(None), ["record-not-announced"]);
}
