//! The ledger against a record log that somebody has been at.

use jiff::Timestamp;
use phial_audit::{
    Entry, EventKind, LedgerFinding as F, OutcomeCode, RecordLedger, Seqs, Target, Write,
};
use phial_base::{RowId, Seq, Version};

use crate::world::row;

/// One committed row: number of the row, version, hash.
type Row = (u32, u32, u8);

#[derive(Default)]
struct World {
    ledger: RecordLedger,
    rows: Vec<(RowId, Version, Seq, [u8; 32])>,
    intents: u8,
}

fn entry(kind: EventKind) -> Entry {
    Entry::system(kind, Timestamp::UNIX_EPOCH)
}

impl World {
    fn announce(&mut self, rows: &[Row]) -> [u8; 16] {
        self.intents += 1;
        let write = |(n, v, h): &Row| Write { row: row(*n), version: Version(*v), hash: [*h; 32] };
        let id = [self.intents; 16];
        let writes = rows.iter().map(write).collect();
        self.ledger.feed(&entry(EventKind::Create).into_intent(id, EventKind::Create, writes));
        id
    }

    fn put(&mut self, rows: &[Row]) -> Seq {
        let first = Seq(self.rows.len() as u64 + 1);
        for (n, v, h) in rows {
            let seq = Seq(self.rows.len() as u64 + 1);
            self.rows.push((row(*n), Version(*v), seq, [*h; 32]));
        }
        first
    }

    fn close(&mut self, id: [u8; 16], committed: bool, seqs: Option<Seqs>) {
        self.ledger.feed(&entry(EventKind::Outcome).into_outcome(id, committed, seqs));
    }

    fn commit(&mut self, rows: &[Row]) {
        let id = self.announce(rows);
        let first = self.put(rows);
        self.close(id, true, Some(Seqs { first, count: rows.len() as u32 }));
    }

    fn of(rows: &[Row]) -> Self {
        let mut w = World::default();
        for r in rows {
            w.commit(std::slice::from_ref(r));
        }
        w
    }

    fn findings(self) -> Vec<F> {
        let mut expected = self.ledger.settle();
        for (row, version, seq, hash) in &self.rows {
            expected.check(*row, *version, *seq, hash);
        }
        expected.finish()
    }
}

fn three() -> World {
    World::of(&[(1, 1, 1), (1, 2, 2), (1, 3, 3), (2, 1, 4)])
}

#[test]
fn an_untouched_record_log_is_clean() {
    assert_eq!(three().findings(), []);
    let mut w = World::default();
    w.commit(&[(1, 1, 1), (2, 1, 2), (3, 1, 3)]);
    w.rows.reverse();
    assert_eq!(w.findings(), [], "in any order");
}

#[test]
fn an_altered_row_is_named() {
    let mut w = three();
    w.rows[1].3[31] ^= 1;
    assert_eq!(w.findings(), [F::Altered { row: row(1), version: Version(2) }]);
}

#[test]
fn a_missing_record_is_named() {
    let mut w = three();
    w.rows.retain(|r| r.0 != row(1));
    assert_eq!(w.findings(), [F::Missing { row: row(1), latest: Version(3) }]);
}

#[test]
fn a_rollback_is_named() {
    let mut w = three();
    w.rows.retain(|r| r.0 != row(1) || r.1 == Version(1));
    let (committed, found) = (Version(3), Version(1));
    assert_eq!(w.findings(), [F::RolledBack { row: row(1), committed, found }]);
}

#[test]
fn a_version_cut_out_is_named() {
    let mut w = three();
    w.rows.remove(1);
    assert_eq!(w.findings(), [F::VersionMissing { row: row(1), version: Version(2) }]);
}

#[test]
fn a_smuggled_row_is_named() {
    let mut w = three();
    w.put(&[(9, 1, 9), (1, 4, 9)]);
    assert_eq!(
        w.findings(),
        [
            F::NotAnnounced { row: row(9), version: Version(1) },
            F::NotAnnounced { row: row(1), version: Version(4) },
        ]
    );
}

#[test]
fn a_moved_and_a_repeated_row_are_named() {
    let mut w = three();
    w.rows[3].2 = Seq(77);
    let (committed, found) = (Seq(4), Seq(77));
    let moved = F::Moved { row: row(2), version: Version(1), committed, found };
    assert_eq!(w.findings(), [moved]);
    let mut w = three();
    w.rows.push(w.rows[0]);
    assert_eq!(w.findings(), [F::Repeated { row: row(1), version: Version(1) }]);
}

#[test]
fn an_open_intent_is_named_and_its_rows_are_neither_here_nor_there() {
    let mut w = three();
    let intent = w.announce(&[(1, 4, 5), (3, 1, 6)]);
    w.put(&[(1, 4, 5)]);
    assert_eq!(w.ledger.open_intents(), 1);
    assert_eq!(w.findings(), [F::IntentOpen { intent, writes: 2, present: 1 }]);

    let mut w = three();
    let intent = w.announce(&[(3, 1, 6)]);
    w.put(&[(3, 1, 7)]);
    assert_eq!(
        w.findings(),
        [
            F::Altered { row: row(3), version: Version(1) },
            F::IntentOpen { intent, writes: 1, present: 0 },
        ]
    );
}

#[test]
fn what_was_not_committed_must_not_be_there() {
    let mut w = three();
    let id = w.announce(&[(3, 1, 6)]);
    w.close(id, false, None);
    w.put(&[(3, 1, 6)]);
    assert_eq!(w.findings(), [F::NotAnnounced { row: row(3), version: Version(1) }]);
}

#[test]
fn a_second_outcome_says_nothing_and_one_from_nowhere_is_named() {
    let mut w = three();
    w.close([1; 16], true, None);
    w.close([200; 16], false, None);
    assert_eq!(w.findings(), []);
    let mut w = three();
    w.close([200; 16], true, None);
    assert_eq!(w.findings(), [F::OutcomeWithoutIntent { intent: [200; 16] }]);
}

#[test]
fn a_purged_record_is_not_missed_and_must_be_gone() {
    let purge = |what: Target| Entry { what: vec![what], ..entry(EventKind::Purge) };
    let mut w = three();
    w.ledger.feed(&purge(Target::new(row(1), None, "Patient")));
    let stale = w.rows[0];
    w.rows.retain(|r| r.0 != row(1));
    let mut back = World { rows: w.rows.clone(), ..World::default() };
    std::mem::swap(&mut back.ledger, &mut w.ledger);
    back.rows.push(stale);
    assert_eq!(back.findings(), [F::Purged { row: row(1), version: Version(1) }]);

    // Made anew after the purge, it must be there again.
    let mut w = three();
    w.ledger.feed(&purge(Target::new(row(1), None, "Patient")));
    w.rows.retain(|r| r.0 != row(1));
    let id = w.announce(&[(1, 1, 8)]);
    w.close(id, true, None);
    assert_eq!(w.findings(), [F::Missing { row: row(1), latest: Version(1) }]);

    // One version only.
    let mut w = three();
    w.ledger.feed(&purge(Target::new(row(1), Some(Version(2)), "Patient")));
    w.rows.remove(1);
    assert_eq!(w.findings(), []);

    // A purge that did not succeed excuses nothing.
    let mut w = three();
    let failed = purge(Target::new(row(2), None, "Patient")).with_outcome(OutcomeCode::Failed);
    w.ledger.feed(&failed);
    w.rows.pop();
    assert_eq!(w.findings(), [F::Missing { row: row(2), latest: Version(1) }]);
}

#[test]
fn a_reseal_takes_the_old_hashs_place() {
    let mut w = three();
    let id = w.announce(&[(2, 1, 40)]);
    w.close(id, true, None);
    let mut old = World { rows: w.rows.clone(), ..World::default() };
    w.rows[3].3 = [40; 32];
    std::mem::swap(&mut old.ledger, &mut w.ledger);
    assert_eq!(old.findings(), [F::Altered { row: row(2), version: Version(1) }]);

    let mut w = three();
    let id = w.announce(&[(2, 1, 40)]);
    w.close(id, true, None);
    w.rows[3].3 = [40; 32];
    assert_eq!(w.findings(), []);
}

#[test]
fn a_reseal_that_names_no_place_leaves_the_version_where_it_was() {
    let resealed = || {
        let mut w = three();
        let id = w.announce(&[(2, 1, 40)]);
        w.close(id, true, None);
        w.rows[3].3 = [40; 32];
        w
    };
    let mut w = resealed();
    let committed = w.rows[3].2;
    w.rows[3].2 = Seq(90);
    let moved = F::Moved { row: row(2), version: Version(1), committed, found: Seq(90) };
    assert_eq!(w.findings(), [moved]);
    // And it goes with what a restore gives up.
    let mut w = resealed();
    let mut restore = entry(EventKind::Restore);
    restore.seqs = Some(Seqs { first: Seq(committed.0), count: 1 });
    w.ledger.feed(&restore);
    w.rows.remove(3);
    assert_eq!(w.findings(), []);
}

#[test]
fn a_restore_gives_up_positions() {
    let mut w = three();
    let mut restore = entry(EventKind::Restore);
    restore.seqs = Some(Seqs { first: Seq(3), count: 2 });
    w.ledger.feed(&restore);
    w.rows.truncate(2);
    assert_eq!(w.findings(), []);
}

#[test]
fn an_intent_in_parts_is_one_intent() {
    let writes: Vec<_> =
        (0..2000u32).map(|i| Write { row: row(i), version: Version(1), hash: [1; 32] }).collect();
    let whole = entry(EventKind::Create).into_intent([3; 16], EventKind::Create, writes);
    let mut w = World::default();
    let parts = whole.split();
    assert!(parts.len() > 1);
    for p in &parts {
        w.ledger.feed(p);
    }
    let rows: Vec<Row> = (0..2000).map(|i| (i, 1, 1)).collect();
    let first = w.put(&rows);
    w.close([3; 16], true, Some(Seqs { first, count: 2000 }));
    assert_eq!(w.findings(), []);
}

#[test]
fn a_blob_is_announced_with_its_record_and_has_no_place() {
    let mut w = World::default();
    let id = w.announce(&[(1, 1, 10), (101, 0, 20), (2, 1, 11)]);
    let first = w.put(&[(1, 1, 10), (2, 1, 11)]);
    w.close(id, true, Some(Seqs { first, count: 2 }));
    w.rows.push((row(101), Version(0), Seq(0), [20; 32]));
    let rows = w.rows.clone();
    let with = |rows: Vec<_>| {
        let mut w = World::default();
        let id = w.announce(&[(1, 1, 10), (101, 0, 20), (2, 1, 11)]);
        w.close(id, true, Some(Seqs { first: Seq(1), count: 2 }));
        w.rows = rows;
        w.findings()
    };
    assert_eq!(with(rows.clone()), []);
    assert_eq!(
        with(rows[..2].to_vec()),
        [F::Missing { row: row(101), latest: Version(0) }],
        "a blob that is gone"
    );
    let mut altered = rows.clone();
    altered[2].3[0] ^= 1;
    let finding = F::Altered { row: row(101), version: Version(0) };
    assert!(finding.is_of_blob() && finding.to_string().contains("attachment"));
    assert_eq!(with(altered), [finding]);
    let mut moved = rows.clone();
    moved[1].2 = Seq(7);
    let found = with(moved);
    assert!(matches!(found[..], [F::Moved { .. }]), "records behind a blob keep their places");
    let mut more = rows;
    more.push((row(102), Version(0), Seq(0), [1; 32]));
    assert_eq!(with(more), [F::NotAnnounced { row: row(102), version: Version(0) }]);
}

#[test]
fn a_purged_and_a_given_up_blob_is_not_missed() {
    let mut w = World::default();
    let id = w.announce(&[(1, 1, 10), (101, 0, 20)]);
    w.close(id, true, Some(Seqs { first: Seq(1), count: 1 }));
    let mut purge = entry(EventKind::Purge);
    purge.what.push(Target::new(row(1), Some(Version(1)), ""));
    purge.what.push(Target::new(row(101), None, ""));
    w.ledger.feed(&purge);
    assert_eq!(w.findings(), []);
    let mut w = World::default();
    let id = w.announce(&[(1, 1, 10), (101, 0, 20)]);
    w.close(id, true, Some(Seqs { first: Seq(1), count: 1 }));
    let mut restore = entry(EventKind::Restore);
    restore.seqs = Some(Seqs { first: Seq(1), count: 1 });
    w.ledger.feed(&restore);
    assert_eq!(w.findings(), [], "given up with its record");
}
