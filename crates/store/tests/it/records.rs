//! The record log: compare-and-set, durability, deletion, failing closed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use phial_base::{Rng, RowId, SeededRng, Seq, Version};
use phial_store::records::{NewBytes, NewRow, Place, RecordLog};
use phial_store::{Error, Fault, Options};

fn log() -> (tempfile::TempDir, PathBuf, RecordLog) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").join("records.db");
    let log = RecordLog::create(&path, &Options::default()).unwrap();
    (dir, path, log)
}

fn open(path: &Path) -> Result<RecordLog, Error> {
    RecordLog::open(path, &Options::default())
}

fn row(n: u64) -> RowId {
    let mut bytes = [0u8; 16];
    SeededRng::new(n).fill(&mut bytes);
    RowId(bytes)
}

fn new(n: u64, version: u32) -> NewRow {
    let mut blob = vec![0u8; 640];
    SeededRng::new(n * 1000 + u64::from(version)).fill(&mut blob);
    NewRow { row: row(n), version: Version(version), blob }
}

fn is_conflict<T>(r: &Result<T, Error>, n: u64) -> bool {
    matches!(r, Err(Error::Conflict { row: at }) if *at == row(n))
}

/// Copies the files as they lie on disk while the log is open: what a machine that
/// stops now would find again.
fn copy_files(from: &Path, to: &Path) {
    for side in ["", "-wal"] {
        let name = |p: &Path| PathBuf::from(format!("{}{side}", p.display()));
        if name(from).exists() {
            fs::copy(name(from), name(to)).unwrap();
        }
    }
}

fn anywhere(dir: &Path, needle: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|f| {
        let bytes = fs::read(f.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|w| w == needle)
    })
}

#[test]
fn of_two_threads_with_one_version_exactly_one_wins() {
    let (_dir, path, log) = log();
    let other = open(&path).unwrap();
    for round in 1..=60 {
        let barrier = Barrier::new(4);
        let won: Vec<bool> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    // Half of them are another process, as far as SQLite can tell.
                    let log = if n % 2 == 0 { &log } else { &other };
                    let barrier = &barrier;
                    s.spawn(move || {
                        let mut mine = new(1, round);
                        mine.blob = vec![n; 512];
                        barrier.wait();
                        match log.append_blocking(vec![mine]) {
                            Ok(_) => true,
                            Err(Error::Conflict { .. }) => false,
                            Err(e) => panic!("{e}"),
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|w| **w).count(), 1);
        let winner = u8::try_from(won.iter().position(|w| *w).unwrap()).unwrap();
        let stored = log.get(row(1)).unwrap().unwrap();
        assert_eq!((stored.version, stored.blob.first()), (Version(round), Some(&winner)));
    }
    assert_eq!(log.count().unwrap(), 60);
}

#[test]
fn a_version_must_follow_the_latest() {
    let (_dir, _path, log) = log();
    assert!(is_conflict(&log.append_blocking(vec![new(1, 2)]), 1));
    assert!(is_conflict(&log.append_blocking(vec![new(1, 0)]), 1));
    assert_eq!(log.append_blocking(vec![new(1, 1)]).unwrap(), [Seq(1)]);
    assert!(is_conflict(&log.append_blocking(vec![new(1, 1)]), 1));
    assert!(is_conflict(&log.append_blocking(vec![new(1, 3)]), 1));
    // Within one batch a row may move on twice, but not skip.
    assert_eq!(log.append_blocking(vec![new(1, 2), new(1, 3)]).unwrap(), [Seq(2), Seq(3)]);
    assert!(is_conflict(&log.append_blocking(vec![new(2, 1), new(2, 1)]), 2));
    assert!(log.get(row(2)).unwrap().is_none());
    assert_eq!(log.append_blocking(vec![]).unwrap(), []);
}

#[test]
fn a_batch_is_stored_whole_or_not_at_all_whoever_shares_its_transaction() {
    let (_dir, _path, log) = log();
    log.append_blocking(vec![new(0, 1)]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // All are handed over before any is awaited, so that they wait together.
    let waiting: Vec<_> = (1..=300u64)
        .map(|n| {
            let last = if n % 3 == 0 { new(0, 1) } else { new(n * 10 + 2, 1) };
            (n, log.append(vec![new(n * 10, 1), new(n * 10 + 1, 1), last]))
        })
        .collect();
    let mut seqs = Vec::new();
    for (n, answer) in waiting {
        let answer = runtime.block_on(answer);
        if n % 3 == 0 {
            assert!(is_conflict(&answer, 0));
        } else {
            seqs.extend(answer.unwrap());
        }
        for part in 0..3 {
            let there = log.get(row(n * 10 + part)).unwrap().is_some();
            assert_eq!(there, n % 3 != 0, "{n} {part}");
        }
    }
    let expected: Vec<Seq> = (2..=601).map(Seq).collect();
    assert_eq!(seqs, expected, "in the order of hand-over and without gaps");
    assert_eq!(log.head().unwrap(), Seq(601));
}

#[test]
fn an_append_is_done_even_when_nobody_waits_for_it() {
    let (_dir, _path, log) = log();
    drop(log.append(vec![new(1, 1)]));
    log.append_blocking(vec![new(2, 1)]).unwrap();
    assert!(log.get(row(1)).unwrap().is_some());
}

#[test]
fn everything_acknowledged_is_there_after_a_crash_and_nothing_else() {
    let (dir, path, log) = log();
    let after = dir.path().join("after.db");
    for n in 1..=50u64 {
        log.append_blocking(vec![new(n, 1), new(n, 2)]).unwrap();
        if n % 10 != 0 {
            continue;
        }
        // A writer in the middle of a transaction, which the crash cuts off.
        let mut half = rusqlite::Connection::open(&path).unwrap();
        let tx = half.transaction().unwrap();
        tx.execute("INSERT INTO record VALUES(9999, zeroblob(16), 1, zeroblob(5000000))", [])
            .unwrap();
        tx.execute("DELETE FROM record WHERE seq=1", []).unwrap();
        let _ = fs::remove_file(dir.path().join("after.db-wal"));
        let _ = fs::remove_file(dir.path().join("after.db-shm"));
        copy_files(&path, &after);
        drop(tx);
        let again = open(&after).unwrap();
        assert_eq!(again.count().unwrap(), n * 2);
        assert_eq!(again.head().unwrap(), Seq(n * 2));
        for m in 1..=n {
            assert_eq!(again.get(row(m)).unwrap().unwrap().blob, new(m, 2).blob);
        }
        assert!(again.integrity().unwrap().is_empty());
        assert_eq!(again.append_blocking(vec![new(777, 1)]).unwrap(), [Seq(n * 2 + 1)]);
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let (_dir, path, log) = log();
    let rows: Vec<NewRow> = (1..=700u64).flat_map(|n| (1..=2).map(move |v| new(n, v))).collect();
    for some in rows.chunks(90) {
        log.append_blocking(some.to_vec()).unwrap();
    }
    drop(log);
    let log = open(&path).unwrap();
    assert_eq!(log.get_version(row(5), Version(1)).unwrap().unwrap().blob, new(5, 1).blob);
    assert_eq!(log.get(row(5)).unwrap().unwrap().version, Version(2));
    assert!(log.get_version(row(5), Version(3)).unwrap().is_none());
    let versions: Vec<u32> =
        log.versions(row(9)).unwrap().into_iter().map(|p| p.version.0).collect();
    assert_eq!(versions, [1, 2]);
    let heads = log.heads(&[row(700), row(4000), row(1)]).unwrap();
    let seqs: Vec<Option<Seq>> = heads.into_iter().map(|h| h.map(|p| p.seq)).collect();
    assert_eq!(seqs, [Some(Seq(1400)), None, Some(Seq(2))]);

    // By their places, in the order asked, and no other's in the place of one.
    let place = |seq, n, version| Place { seq: Seq(seq), row: row(n), version: Version(version) };
    let asked =
        [place(1400, 700, 2), place(1, 1, 1), place(2, 1, 1), place(1, 2, 1), place(9000, 1, 1)];
    let found = log.at_each(&asked).unwrap();
    let blobs: Vec<Option<Vec<u8>>> = found.into_iter().map(|f| f.map(|f| f.blob)).collect();
    assert_eq!(blobs, [Some(new(700, 2).blob), Some(new(1, 1).blob), None, None, None]);

    let mut after = Seq(0);
    let mut seen = Vec::new();
    loop {
        let page = log.changes(after, 333).unwrap();
        let Some(last) = page.last() else { break };
        after = last.seq;
        seen.extend(page);
    }
    let mut streamed = Vec::new();
    log.all(&mut |seq, row, version, blob| {
        streamed.push(phial_store::records::Row { seq, row, version, blob: blob.to_vec() });
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, streamed);
    for (i, (stored, written)) in seen.iter().zip(&rows).enumerate() {
        assert_eq!(stored.seq, Seq(i as u64 + 1));
        assert_eq!((stored.row, stored.version), (written.row, written.version));
        assert_eq!(stored.blob, written.blob);
    }
    assert_eq!(seen.len(), rows.len());

    let stop = log.all(&mut |seq, _, _, _| {
        if seq == Seq(600) { Err(Error::Invalid("enough")) } else { Ok(()) }
    });
    assert!(matches!(stop, Err(Error::Invalid("enough"))));
    let found = log.rows_by(|_, version, blob| version == Version(1) && blob == new(3, 1).blob);
    assert_eq!(found.unwrap(), [row(3)]);
}

#[test]
fn a_purge_leaves_no_bytes_and_no_number_is_used_twice() {
    let (_dir, path, log) = log();
    for n in 1..=200u64 {
        log.append_blocking(vec![new(n, 1)]).unwrap();
    }
    log.append_blocking(vec![new(200, 2), new(150, 2)]).unwrap();
    let dir = path.parent().unwrap();
    let secret = new(200, 1).blob;
    assert!(anywhere(dir, &secret), "the scan must be able to find it");

    let gone = log.delete_rows(&[row(200), row(999)]).unwrap();
    assert!(gone.scrubbed);
    let places: Vec<_> = gone.removed.iter().map(|p| (p.seq.0, p.version.0)).collect();
    assert_eq!(places, [(200, 1), (201, 2)]);
    assert!(!anywhere(dir, &secret));
    assert!(!anywhere(dir, &new(200, 2).blob));
    assert!(log.get(row(200)).unwrap().is_none());

    let gone = log.delete_versions(&[(row(150), Version(1))]).unwrap();
    assert_eq!(gone.removed.len(), 1);
    assert_eq!(log.get(row(150)).unwrap().unwrap().version, Version(2));
    let last = log.delete_rows(&[row(150)]).unwrap();
    assert_eq!(last.removed.first().unwrap().seq, Seq(202));
    assert_eq!(log.head().unwrap(), Seq(202));
    drop(log);
    let log = open(&path).unwrap();
    assert_eq!(log.head().unwrap(), Seq(202));
    assert_eq!(log.append_blocking(vec![new(200, 1)]).unwrap(), [Seq(203)]);
    assert!(log.integrity().unwrap().is_empty());
}

#[test]
fn other_bytes_take_a_versions_place_when_it_is_what_it_was_or_all_stay() {
    let (_dir, path, log) = log();
    log.append_blocking(vec![new(1, 1), new(2, 1), new(1, 2)]).unwrap();
    let other = |n: u64, version: u32, instead_of: &[u8]| NewBytes {
        row: row(n),
        version: Version(version),
        instead_of: phial_crypto::content_hash(instead_of),
        blob: format!("other {n} {version}").into_bytes(),
    };
    let (first, second) = (new(1, 1).blob, new(2, 1).blob);
    for bad in [
        // Not what it was, no such version, no such row: each keeps the good one out, too.
        other(2, 1, b"something else"),
        other(2, 2, &second),
        other(9, 1, &second),
    ] {
        let row = bad.row;
        let failed = log.replace(vec![other(1, 1, &first), bad]);
        assert!(matches!(failed, Err(Error::Conflict { row: r }) if r == row), "{failed:?}");
        assert_eq!(
            log.get_version(crate::records::row(1), Version(1)).unwrap().unwrap().blob,
            first
        );
    }
    let done = log.replace(vec![other(1, 1, &first), other(2, 1, &second)]).unwrap();
    assert_eq!(done, [Seq(1), Seq(2)]);
    let at = |n, version| log.get_version(row(n), Version(version)).unwrap().unwrap();
    assert_eq!((at(1, 1).seq, at(1, 1).blob), (Seq(1), b"other 1 1".to_vec()));
    assert_eq!((at(2, 1).seq, at(2, 1).blob), (Seq(2), b"other 2 1".to_vec()));
    assert_eq!(at(1, 2).blob, new(1, 2).blob);
    assert_eq!((log.head().unwrap(), log.count().unwrap()), (Seq(3), 3));
    // A second time it is not what it was.
    assert!(matches!(log.replace(vec![other(1, 1, &first)]), Err(Error::Conflict { .. })));
    drop(log);
    let log = open(&path).unwrap();
    assert_eq!(log.get_version(row(1), Version(1)).unwrap().unwrap().blob, b"other 1 1");
    assert!(log.integrity().unwrap().is_empty());
}

#[test]
fn without_its_file_nothing_is_stored_or_read_until_it_is_back() {
    let (dir, path, log) = log();
    log.append_blocking(vec![new(1, 1)]).unwrap();
    log.get(row(1)).unwrap();
    let away = dir.path().join("away.db");
    fs::rename(&path, &away).unwrap();
    for _ in 0..2 {
        let refused = log.append_blocking(vec![new(2, 1)]);
        assert!(matches!(refused, Err(Error::Unavailable(Fault::Missing))), "{refused:?}");
        let refused = log.get(row(1));
        assert!(matches!(refused, Err(Error::Unavailable(Fault::Missing))), "{refused:?}");
        assert!(matches!(log.settle(), Err(Error::Unavailable(_))));
        assert!(matches!(log.delete_rows(&[row(1)]), Err(Error::Unavailable(_))));
    }
    assert!(!path.exists(), "a lost log must not come back empty");
    fs::rename(&away, &path).unwrap();
    assert!(log.get(row(2)).unwrap().is_none());
    assert_eq!(log.append_blocking(vec![new(2, 1)]).unwrap(), [Seq(2)]);
    assert_eq!(log.get(row(1)).unwrap().unwrap().blob, new(1, 1).blob);
}

#[test]
fn a_commit_never_goes_into_a_write_ahead_log_that_was_unlinked() {
    for with_reader in [false, true] {
        let (dir, path, log) = log();
        log.append_blocking(vec![new(1, 1)]).unwrap();
        if with_reader {
            log.get(row(1)).unwrap();
        }
        let wal = PathBuf::from(format!("{}-wal", path.display()));
        let away = dir.path().join("wal.away");
        fs::rename(&wal, &away).unwrap();
        let before = fs::metadata(&away).unwrap().size();
        // Reopened or refused, but not acknowledged into a file that nobody finds again.
        let first = log.append_blocking(vec![new(2, 1)]);
        let second = log.append_blocking(vec![new(3, 1)]);
        assert!(second.is_ok(), "service resumes: {second:?}");
        assert_eq!(fs::metadata(&away).unwrap().size(), before);
        let after = dir.path().join("after.db");
        copy_files(&path, &after);
        let found = open(&after).unwrap();
        assert_eq!(found.get(row(2)).unwrap().is_some(), first.is_ok());
        assert!(found.get(row(3)).unwrap().is_some());
        assert!(found.get(row(1)).unwrap().is_some());
    }
}

#[test]
fn a_file_put_in_its_place_is_taken_for_what_it_is() {
    let (dir, path, log) = log();
    log.append_blocking(vec![new(1, 1)]).unwrap();
    let copy = dir.path().join("copy.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    drop(db);
    log.append_blocking(vec![new(1, 2)]).unwrap();
    for side in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{side}", path.display()));
    }
    fs::rename(&copy, &path).unwrap();
    assert_eq!(log.get(row(1)).unwrap().unwrap().version, Version(1));
    assert_eq!(log.append_blocking(vec![new(1, 2)]).unwrap(), [Seq(2)]);
    assert_eq!(log.get(row(1)).unwrap().unwrap().version, Version(2));
}

#[test]
fn a_settled_log_has_moved_its_fence_and_nothing_else() {
    let (_dir, path, log) = log();
    log.append_blocking(vec![new(1, 1)]).unwrap();
    let fence = || -> i64 {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.query_row("SELECT value FROM meta WHERE name='fence'", [], |r| r.get(0)).unwrap()
    };
    assert_eq!(fence(), 0);
    log.settle().unwrap();
    assert_eq!(fence(), 1);
    assert_eq!(log.head().unwrap(), Seq(1));
}

#[test]
fn another_stores_file_is_refused() {
    let (_dir, path, log) = log();
    drop(log);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE meta SET value='audit' WHERE name='store'", []).unwrap();
    drop(db);
    assert!(matches!(open(&path), Err(Error::Format { store: "records", .. })));
    let foreign = path.with_file_name("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    assert!(matches!(open(&foreign), Err(Error::Format { found: 0, .. })));
}

#[test]
fn an_empty_file_in_its_place_does_not_cost_the_write_ahead_log() {
    let (dir, path, log) = log();
    log.append_blocking(vec![new(1, 1)]).unwrap();
    let away = dir.path().join("away.db");
    fs::rename(&path, &away).unwrap();
    fs::write(&path, b"").unwrap();
    for _ in 0..2 {
        assert!(matches!(log.get(row(1)), Err(Error::Unavailable(Fault::Replaced))));
        let refused = log.append_blocking(vec![new(2, 1)]);
        assert!(matches!(refused, Err(Error::Unavailable(Fault::Replaced))));
    }
    fs::rename(&away, &path).unwrap();
    assert_eq!(log.get(row(1)).unwrap().unwrap().blob, new(1, 1).blob);
    assert_eq!(log.append_blocking(vec![new(2, 1)]).unwrap(), [Seq(2)]);
}
