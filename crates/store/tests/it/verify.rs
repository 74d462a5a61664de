//! `verify` names every way of altering the stores (invariant 6), and whatever it
//! does not name changes no answer.

use std::fs;
use std::path::Path;

use phial_base::{RowId, SeededRng, Version};
use phial_store::Options;
use phial_store::verify::verify_audit_offline;

use crate::auditlog_world::{World, choose, patient};

/// Copies a directory's files over those of another.
fn put_back(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for f in fs::read_dir(to).unwrap() {
        let f = f.unwrap().path();
        if f.is_file() {
            fs::remove_file(f).unwrap();
        }
    }
    for f in fs::read_dir(from).unwrap() {
        let f = f.unwrap();
        if f.path().is_file() {
            fs::copy(f.path(), to.join(f.file_name())).unwrap();
        } else {
            put_back(&f.path(), &to.join(f.file_name()));
        }
    }
}

#[test]
fn an_untouched_home_is_clean() {
    let w = World::new();
    w.fill(12);
    let report = w.verify(Some(&w.checkpoint_beside_keys()));
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.records, report.versions), (12, 14));
    assert_eq!(report.entries, 14 * 2 + 12);
    assert_eq!(report.covered, report.entries);
    assert_eq!((report.open_intents, report.forgotten), (0, 0));
}

#[test]
fn every_alteration_in_sql_is_named() {
    // (what is done, with records or audit log, what must be named)
    let flip = "CAST(substr(blob, 1, 99) || x'00' || substr(blob, 101) AS BLOB)";
    let cases = [
        ("records", format!("UPDATE record SET blob = {flip} WHERE seq = 5"), "record-altered"),
        ("records", "DELETE FROM record WHERE seq = 5".into(), "record-missing"),
        ("records", "DELETE FROM record WHERE version = 2 AND seq = 2".into(), "record-rolled-back"),
        ("records", "DELETE FROM record WHERE seq = 1".into(), "record-missing"),
        (
            "records",
            "UPDATE record SET blob = (SELECT blob FROM record WHERE seq = 4) WHERE seq = 5".into(),
            "record-altered",
        ),
        (
            "records",
            "INSERT INTO record SELECT 99, randomblob(16), 1, blob FROM record WHERE seq = 5".into(),
            "record-not-announced",
        ),
        (
            "records",
            "INSERT INTO record SELECT 99, row, version, blob FROM record WHERE seq = 5".into(),
            "record-repeated",
        ),
        ("records", "UPDATE record SET seq = 77 WHERE seq = 5".into(), "record-moved"),
        ("records", "UPDATE record SET row = zeroblob(16) WHERE seq = 5".into(), "record-locked"),
        ("audit", "DELETE FROM batch WHERE first = (SELECT min(first) FROM batch WHERE first > 9)".into(), "audit-entries-missing"),
        ("audit", "DELETE FROM batch WHERE first > 9".into(), "audit-truncated"),
        (
            "audit",
            "UPDATE batch SET entries = \
             CAST(substr(entries, 1, 60) || x'00' || substr(entries, 62) AS BLOB) WHERE first = (SELECT min(first) FROM batch WHERE first > 9)"
                .into(),
            "audit-chain-broken",
        ),
        ("audit", "UPDATE batch SET prev = zeroblob(32) WHERE first = 1".into(), "audit-chain-broken"),
        ("audit", "UPDATE checkpoint SET note = replace(note, 'phial', 'phia1')".into(), "audit-checkpoint-bad"),
        ("audit", "UPDATE node SET number = number - 1".into(), "audit-state-differs"),
        (
            "audit",
            "UPDATE tree SET frontier = \
             CAST(substr(frontier, 1, 8) || zeroblob(length(frontier) - 8) AS BLOB)"
                .into(),
            "audit-state-differs",
        ),
        // Older than the checkpoint with which it was written.
        ("audit", "UPDATE tree SET frontier = x'0000000000000000'".into(), "store-damaged"),
        ("audit", "DROP TABLE batch".into(), "store-damaged"),
        ("audit", "INSERT INTO open_intent VALUES(zeroblob(16), 3)".into(), "audit-state-differs"),
    ];
    let w = World::new();
    w.fill(12);
    let copy = tempfile::tempdir().unwrap();
    put_back(w.home.root(), copy.path());
    for (store, sql, expected) in cases {
        let file = if store == "records" { w.records_file() } else { w.audit_file() };
        w.tamper(&file, &sql);
        let found = w.findings(None);
        assert!(found.contains(&expected), "{sql}: {found:?}");
        put_back(copy.path(), w.home.root());
        assert!(w.verify(None).is_clean(), "put back");
    }
}

#[test]
fn a_missing_store_is_named() {
    for records in [true, false] {
        let w = World::new();
        w.fill(3);
        fs::remove_file(if records { w.records_file() } else { w.audit_file() }).unwrap();
        assert!(w.findings(None).contains(&"store-missing"));
    }
}

#[test]
fn rolling_data_and_audit_back_together_is_named() {
    let w = World::new();
    w.fill(4);
    let copy = tempfile::tempdir().unwrap();
    for part in ["data", "audit"] {
        put_back(&w.home.root().join(part), &copy.path().join(part));
    }
    {
        let (audit, records) = (w.audit(), w.records());
        w.write(&audit, &records, vec![w.seal(RowId([2; 16]), 2, &patient("p-two"), b"new")]);
    }
    let kept = w.checkpoint_beside_keys();
    assert!(w.verify(Some(&kept)).is_clean());
    for part in ["data", "audit"] {
        put_back(&copy.path().join(part), &w.home.root().join(part));
    }
    // Against the copy beside the keys.
    assert_eq!(w.findings(None), ["audit-truncated"]);
    // Against one kept elsewhere, when that copy was rolled back too.
    fs::remove_file(w.home.checkpoint(&w.tenant)).unwrap();
    assert!(w.findings(Some(&kept)).contains(&"audit-truncated"));
    // The service goes on writing; the old checkpoint still tells.
    fs::write(w.home.checkpoint(&w.tenant), &kept).unwrap();
    {
        let (audit, records) = (w.audit(), w.records());
        for i in 0..20 {
            let row = RowId([100 + i; 16]);
            w.write(&audit, &records, vec![w.seal(row, 1, &patient("p-two"), b"other")]);
        }
    }
    assert_eq!(w.findings(None), ["audit-root-mismatch"]);
}

#[test]
fn a_log_rebuilt_without_the_signing_key_is_named() {
    let w = World::new();
    w.fill(4);
    let kept = w.checkpoint_beside_keys();
    // Another home's log, with chain, tree and checkpoints of its own, in its place.
    let forger = World::new();
    forger.fill(6);
    put_back(forger.audit_file().parent().unwrap(), w.audit_file().parent().unwrap());
    let found = w.findings(Some(&kept));
    for expected in
        ["audit-checkpoint-bad", "audit-root-mismatch", "audit-entry-closed", "public-key-differs"]
    {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    let offline = |key: &Path, note: Option<&Path>| {
        verify_audit_offline(w.audit_file().parent().unwrap(), key, note, &Options::default())
            .unwrap()
    };
    assert!(!offline(&w.home.public_key(&w.tenant), None).is_clean());
    // With the forger's own key it is consistent: only a key or checkpoint kept tells.
    assert!(offline(&forger.home.public_key(&w.tenant), None).is_clean());
    let note = w.dir.path().join("kept");
    fs::write(&note, &kept).unwrap();
    assert!(!offline(&forger.home.public_key(&w.tenant), Some(&note)).is_clean());
}

#[test]
fn a_log_verifies_offline_from_files_and_the_public_key() {
    let w = World::new();
    w.fill(4);
    let away = tempfile::tempdir().unwrap();
    put_back(w.audit_file().parent().unwrap(), away.path());
    let key = away.path().join("log.pub");
    let report = verify_audit_offline(away.path(), &key, None, &Options::default()).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.entries, report.covered);
    let note = w.home.checkpoint(&w.tenant);
    assert!(
        verify_audit_offline(away.path(), &key, Some(&note), &Options::default())
            .unwrap()
            .is_clean()
    );
}

#[test]
fn a_destroyed_key_is_no_finding_and_a_lost_one_is() {
    let w = World::new();
    w.fill(6);
    w.keystore
        .destroy_patient(&w.tenant, &patient("p-one"), jiff::SignedDuration::from_hours(24))
        .unwrap();
    let report = w.verify(None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.forgotten, 3);
}

#[test]
fn findings_name_rows_and_no_values() {
    let w = World::new();
    w.fill(3);
    w.tamper(&w.records_file(), "DELETE FROM record WHERE seq = 3");
    let report = w.verify(None);
    let text: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [format!("records: record {} is missing, its last version was 1", "02".repeat(16))]
    );
}

/// All that a reader can be told: every version that unlocks, with its parts, and every
/// audit entry that opens.
fn answers(w: &World) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let records =
        phial_store::records::RecordLog::open(&w.records_file(), &Options::default()).ok()?;
    let keys = w.keystore.tenant_keys(&w.tenant).unwrap();
    for i in 1..=20u8 {
        for v in 1..=3 {
            let (row, version) = (RowId([i; 16]), Version(v));
            let found = records.get_version(row, version).ok()?;
            let Some(found) = found else { continue };
            let name = phial_crypto::RecordName { tenant: &w.tenant, row, version };
            let locator = phial_crypto::locate(&found.blob, &name, &keys.locator).ok()?;
            let held = w.keystore.by_handle(&w.tenant, locator.handle).unwrap()?;
            let open = phial_crypto::unlock_record(found.blob, &name, &locator, &held.key).ok()?;
            all.push(format!("{row} {version} {} {:?}", found.seq, open.open(23).ok()?.text()));
        }
        all.push(format!("{:?}", records.get(RowId([i; 16])).ok()?.map(|r| (r.version, r.seq))));
    }
    all.push(format!("{:?}", records.head().ok()?));
    let audit = w.try_audit().ok()?;
    for stored in audit.scan(0, 10_000).ok()? {
        all.push(format!("{} {:?}", stored.index, audit.open_entry(&stored).ok()?));
    }
    Some(all)
}

#[test]
fn a_byte_flipped_anywhere_is_named_or_harmless() {
    let w = World::new();
    w.fill(20);
    // Free pages too.
    w.tamper(&w.records_file(), "CREATE TABLE x AS SELECT randomblob(5000); DROP TABLE x");
    w.tamper(&w.audit_file(), "SELECT 1");
    assert!(w.verify(None).is_clean());
    let before = answers(&w).unwrap();
    let copy = tempfile::tempdir().unwrap();
    put_back(w.home.root(), copy.path());
    let rng = SeededRng::new(11);
    let (mut named, mut harmless) = (0, 0);
    for try_ in 0..160 {
        let file = if try_ % 2 == 0 { w.records_file() } else { w.audit_file() };
        let mut bytes = fs::read(&file).unwrap();
        // Half of the tries among the headers and first pages, where structure lies.
        let span = if try_ % 4 < 2 { bytes.len() } else { bytes.len().min(40_000) };
        let at = choose(&rng, span);
        let bit = choose(&rng, 8);
        bytes[at] ^= 1 << bit;
        fs::write(&file, bytes).unwrap();
        let clean = phial_store::verify::verify(
            &w.home,
            &w.tenant,
            &w.keystore,
            &w.rng,
            None,
            &Options::default(),
        )
        .is_ok_and(|r| r.is_clean());
        if clean {
            harmless += 1;
            assert_eq!(answers(&w).as_ref(), Some(&before), "byte {at} bit {bit} of {file:?}");
        } else {
            named += 1;
        }
        put_back(copy.path(), w.home.root());
    }
    assert!(named > 10 && harmless > 0, "{named} named, {harmless} harmless");
}
