//! The keystore: one key a patient, rotation, destruction, failing closed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};

use jiff::{SignedDuration, Timestamp};
use phial_base::{LogicalId, ManualClock, SeededRng, TenantId};
use phial_crypto::KeyFile;
use phial_store::home::Home;
use phial_store::keystore::{Keystore, RECORD_KEYS_LIFE, TENANT_KEYS_LIFE};
use phial_store::{Error, Fault, Options};

const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 30);

struct World {
    _dir: tempfile::TempDir,
    home: Home,
    clock: ManualClock,
    tenant: TenantId,
}

impl World {
    /// A home with a root key and a keystore of one tenant.
    fn new() -> (World, Keystore) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("phial")).unwrap();
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
        let world = World { _dir: dir, home, clock, tenant: TenantId::default_tenant() };
        let root = KeyFile::create(&world.home.root_key(), &[], &SeededRng::new(1)).unwrap();
        let keystore = Keystore::create(
            &world.home.keystore(),
            Arc::new(root),
            Arc::new(world.clock.clone()),
            Arc::new(SeededRng::new(2)),
            &Options::default(),
        )
        .unwrap();
        keystore.create_tenant(&world.tenant).unwrap();
        keystore.tenant_ready(&world.tenant).unwrap();
        (world, keystore)
    }

    /// What another process would open. Its randomness is its own.
    fn other_process(&self, seed: u64) -> Result<Keystore, Error> {
        let root = KeyFile::open(&self.home.root_key(), &[])?;
        Keystore::open(
            &self.home.keystore(),
            Arc::new(root),
            Arc::new(self.clock.clone()),
            Arc::new(SeededRng::new(seed)),
            &Options::default(),
        )
    }

    /// Every byte of every file in the directory of the keys.
    fn key_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fs::read_dir(self.home.keys())
            .unwrap()
            .map(|f| f.unwrap().path())
            .map(|p| (p.clone(), fs::read(p).unwrap()))
            .collect()
    }

    /// The wrapped bytes of all live keys, by handle, as they lie in the table.
    fn wrapped(&self) -> Vec<([u8; 16], Vec<u8>)> {
        let db = rusqlite::Connection::open(self.home.keystore()).unwrap();
        let mut s = db.prepare("SELECT handle, substr(wrapped, 5) FROM key WHERE live=1").unwrap();
        s.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect()
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    assert!(needle.len() > 8);
    haystack.windows(needle.len()).any(|w| w == needle)
}

/// How many of the needles occur in the haystack. Looks at the first eight bytes of
/// each, which are random, through a set: the files are large and the needles many.
fn occurrences(haystack: &[u8], needles: &[Vec<u8>]) -> usize {
    let starts: std::collections::HashMap<&[u8], &Vec<u8>> =
        needles.iter().map(|n| (n.get(16..24).unwrap(), n)).collect();
    haystack.windows(8).filter(|w| starts.contains_key(w)).count()
}

fn id(n: usize) -> LogicalId {
    LogicalId::new(&format!("patient-{n:05}")).unwrap()
}

fn ids(n: usize) -> Vec<LogicalId> {
    (0..n).map(id).collect()
}

#[test]
fn many_threads_make_one_key_a_patient() {
    let (world, keystore) = World::new();
    let other = world.other_process(77).unwrap();
    let barrier = Barrier::new(8);
    let handles: Vec<Vec<_>> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (world, barrier) = (&world, &barrier);
                let keystore = if n % 2 == 0 { &keystore } else { &other };
                s.spawn(move || {
                    barrier.wait();
                    let mut order = ids(200);
                    order.rotate_left(n * 25);
                    let mut made: Vec<_> = order
                        .chunks(7)
                        .flat_map(|some| {
                            let held = keystore.ensure_patient_keys(&world.tenant, some).unwrap();
                            some.iter().cloned().zip(held).collect::<Vec<_>>()
                        })
                        .map(|(id, held)| (id, held.handle, *held.key.expose()))
                        .collect();
                    made.sort();
                    made
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let first = handles.first().unwrap();
    assert_eq!(first.len(), 200);
    for other in &handles {
        assert!(other == first);
    }
    let distinct: std::collections::BTreeSet<_> = first.iter().map(|(_, h, _)| h).collect();
    assert_eq!(distinct.len(), 200);
}

#[test]
fn a_record_key_is_the_common_the_patients_or_the_joint_one() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let common = keystore.record_key(t, &[]).unwrap();
    assert_eq!(common.handle, keystore.tenant_keys(t).unwrap().common.handle);
    let one = keystore.record_key(t, &[id(1)]).unwrap();
    assert_eq!(one.handle, keystore.patient_key(t, &id(1)).unwrap().unwrap().handle);
    let joint = keystore.record_key(t, &[id(2), id(1)]).unwrap();
    assert_eq!(joint.handle, keystore.record_key(t, &[id(1), id(2), id(1)]).unwrap().handle);
    assert_ne!(joint.handle, keystore.record_key(t, &[id(1), id(3)]).unwrap().handle);
    for held in [&common, &one, &joint] {
        let again = world.other_process(9).unwrap().by_handle(t, held.handle).unwrap().unwrap();
        assert_eq!(again.key.expose(), held.key.expose());
    }
    assert!(keystore.patient_key(t, &id(9)).unwrap().is_none());
}

#[test]
fn a_key_of_another_tenant_or_kind_is_not_found() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let other = TenantId::new("other").unwrap();
    keystore.create_tenant(&other).unwrap();
    // Until its stores are whole, making it again takes up what was interrupted.
    keystore.create_tenant(&other).unwrap();
    keystore.tenant_ready(&other).unwrap();
    assert!(matches!(keystore.create_tenant(&other), Err(Error::TenantExists)));
    assert_eq!(keystore.tenants().unwrap(), [t.clone(), other.clone()]);
    let held = keystore.record_key(t, &[id(1)]).unwrap();
    let audit = keystore.audit_patient_key(t, &id(1)).unwrap();
    for k in [&keystore, &world.other_process(5).unwrap()] {
        assert!(k.by_handle(&other, held.handle).unwrap().is_none());
        assert!(k.by_handle(t, audit.handle).unwrap().is_none());
        assert!(k.audit_key_by_handle(t, held.handle).unwrap().is_none());
        assert!(k.audit_key_by_handle(t, audit.handle).unwrap().is_some());
    }
    let nobody = TenantId::new("nobody").unwrap();
    assert!(matches!(keystore.tenant_keys(&nobody), Err(Error::NoTenant)));
    let a = keystore.tenant_keys(t).unwrap();
    let b = keystore.tenant_keys(&other).unwrap();
    assert_ne!(a.row_ids.expose(), b.row_ids.expose());
    assert_ne!(a.signing.expose(), b.signing.expose());
}

#[test]
fn rotation_changes_every_wrap_and_no_key() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let elsewhere = world.other_process(11).unwrap();
    let before: Vec<_> = keystore
        .ensure_patient_keys(t, &ids(1500))
        .unwrap()
        .iter()
        .map(|h| (h.handle, h.version, *h.key.expose()))
        .collect();
    let row_ids = *keystore.tenant_keys(t).unwrap().row_ids.expose();
    elsewhere.tenant_keys(t).unwrap();
    let wrapped = world.wrapped();

    let rotation = keystore.rotate_tenant_key(t).unwrap();
    assert_eq!((rotation.from, rotation.to), (1, 2));
    // Patients and their audit keys, and the tenant's seven.
    assert_eq!(rotation.rewrapped, 3007);
    for k in [&keystore, &elsewhere, &world.other_process(12).unwrap()] {
        for (handle, version, key) in before.iter().step_by(100) {
            let held = k.by_handle(t, *handle).unwrap().unwrap();
            assert_eq!((held.version, held.key.expose()), (*version, key));
        }
        k.record_key(t, &[id(90_000)]).unwrap();
        assert_eq!(k.tenant_keys(t).unwrap().row_ids.expose(), &row_ids);
        assert_eq!(k.tenant_keys(t).unwrap().version, 2);
    }
    let old: Vec<Vec<u8>> = wrapped.into_iter().map(|(_, w)| w).collect();
    for (path, bytes) in world.key_files() {
        assert_eq!(occurrences(&bytes, &old), 0, "{}", path.display());
    }
}

#[test]
fn destruction_leaves_no_trace_in_any_file() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    // In several transactions and with a rotation in between, so that pages have a past.
    let everyone = ids(3000);
    for some in everyone.chunks(130) {
        keystore.ensure_patient_keys(t, some).unwrap();
    }
    keystore.record_key(t, &[id(4), id(5)]).unwrap();
    keystore.rotate_tenant_key(t).unwrap();
    let doomed: Vec<LogicalId> = everyone.iter().step_by(7).cloned().collect();
    let handles: Vec<_> =
        doomed.iter().map(|p| keystore.patient_key(t, p).unwrap().unwrap().handle).collect();
    let wrapped: Vec<Vec<u8>> = world
        .wrapped()
        .into_iter()
        .filter(|(h, _)| handles.iter().any(|d| d.0 == *h))
        .map(|(_, w)| w)
        .collect();
    assert_eq!(wrapped.len(), doomed.len());
    let there: usize = world.key_files().iter().map(|(_, b)| occurrences(b, &wrapped)).sum();
    assert!(there >= doomed.len(), "the scan must be able to find them");

    for p in &doomed {
        assert!(keystore.destroy_patient(t, p, RETENTION).unwrap().scrubbed);
    }
    for (path, bytes) in world.key_files() {
        assert_eq!(occurrences(&bytes, &wrapped), 0, "{}", path.display());
    }
    for (p, h) in doomed.iter().zip(&handles) {
        assert!(keystore.by_handle(t, *h).unwrap().is_none());
        assert!(keystore.patient_key(t, p).unwrap().is_none());
    }
    for p in everyone.iter().filter(|p| !doomed.contains(p)) {
        assert!(keystore.patient_key(t, p).unwrap().is_some());
    }
}

#[test]
fn a_destruction_is_certified_and_the_audit_key_stays() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let held = keystore.record_key(t, &[id(1)]).unwrap();
    let audit = keystore.audit_patient_key(t, &id(1)).unwrap();
    let joint = keystore.record_key(t, &[id(1), id(2)]).unwrap();
    let at: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();

    assert_eq!(keystore.joint_handles(t, &id(1)).unwrap(), [joint.handle]);
    let destroyed = keystore.destroy_patient(t, &id(1), RETENTION).unwrap();
    assert_eq!(destroyed.handles, [held.handle]);
    assert_eq!(destroyed.joint_handles, [joint.handle]);
    assert_eq!(destroyed.at, at);
    assert_eq!(destroyed.copies_until, at + RETENTION);

    world.clock.advance(SignedDuration::from_hours(5));
    assert_eq!(keystore.destroy_patient(t, &id(1), RETENTION).unwrap(), destroyed);
    assert!(keystore.audit_key_by_handle(t, audit.handle).unwrap().is_some());
    assert_eq!(keystore.audit_patient_key(t, &id(1)).unwrap().handle, audit.handle);

    // The joint key lives until its records are rewritten.
    assert!(keystore.by_handle(t, joint.handle).unwrap().is_some());
    assert!(keystore.destroy_joint(t, held.handle, RETENTION).is_err());
    let gone = keystore.destroy_joint(t, joint.handle, RETENTION).unwrap();
    assert_eq!(gone.handles, [joint.handle]);
    assert!(keystore.by_handle(t, joint.handle).unwrap().is_none());
    assert!(keystore.patient_key(t, &id(2)).unwrap().is_some());

    let stones = world.other_process(3).unwrap().tombstones(t).unwrap();
    let names: Vec<_> = stones.iter().map(|s| s.handle).collect();
    assert_eq!(names, [held.handle, joint.handle]);
    assert_eq!(stones.first().unwrap().copies_until, at + RETENTION);

    // A patient who comes back gets another key, and both are named when it goes too.
    let again = keystore.record_key(t, &[id(1)]).unwrap();
    assert_ne!(again.handle, held.handle);
    let both = keystore.destroy_patient(t, &id(1), RETENTION).unwrap();
    assert_eq!(both.handles, [held.handle, again.handle]);

    let never = keystore.destroy_patient(t, &id(50), RETENTION).unwrap();
    assert!(never.handles.is_empty());
}

#[test]
fn tombstones_kill_again_in_a_restored_copy() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let held = keystore.record_key(t, &[id(1)]).unwrap();
    let kept = keystore.record_key(t, &[id(2)]).unwrap();
    let copy = world.home.keys().join("copy.db");
    let db = rusqlite::Connection::open(world.home.keystore()).unwrap();
    db.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    drop(db);
    keystore.destroy_patient(t, &id(1), RETENTION).unwrap();
    let stones = keystore.tombstones(t).unwrap();
    drop(keystore);
    fs::rename(&copy, world.home.keystore()).unwrap();

    let restored = world.other_process(8).unwrap();
    assert!(restored.by_handle(t, held.handle).unwrap().is_some(), "an older copy opens still");
    assert_eq!(restored.replay_tombstones(&stones).unwrap(), 1);
    assert!(restored.by_handle(t, held.handle).unwrap().is_none());
    assert!(restored.by_handle(t, kept.handle).unwrap().is_some());
    assert_eq!(restored.tombstones(t).unwrap(), stones);
    assert_eq!(restored.replay_tombstones(&stones).unwrap(), 0);
}

#[test]
fn without_the_root_key_access_ends_with_the_caches_life_and_comes_back() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    keystore.tenant_keys(t).unwrap();
    let away = world.home.root().join("root.key.away");
    fs::rename(world.home.root_key(), &away).unwrap();
    keystore.tenant_keys(t).unwrap();
    world.clock.advance(TENANT_KEYS_LIFE);
    for _ in 0..2 {
        assert!(matches!(keystore.tenant_keys(t), Err(Error::Unavailable(Fault::RootKey))));
        let refused = keystore.record_key(t, &[id(1)]);
        assert!(matches!(refused, Err(Error::Unavailable(Fault::RootKey))));
    }
    fs::rename(&away, world.home.root_key()).unwrap();
    keystore.record_key(t, &[id(1)]).unwrap();
}

#[test]
fn without_the_keystore_access_ends_with_the_caches_life_and_comes_back() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let held = keystore.record_key(t, &[id(1)]).unwrap();
    let away = world.home.root().join("keystore.away");
    fs::rename(world.home.keystore(), &away).unwrap();
    assert!(keystore.by_handle(t, held.handle).unwrap().is_some());
    // A new key can't be had at all, an old one for a minute.
    assert!(matches!(keystore.record_key(t, &[id(2)]), Err(Error::Unavailable(Fault::Missing))));
    world.clock.advance(RECORD_KEYS_LIFE);
    for _ in 0..2 {
        assert!(matches!(
            keystore.by_handle(t, held.handle),
            Err(Error::Unavailable(Fault::Missing))
        ));
    }
    assert!(!world.home.keystore().exists(), "a lost keystore must not come back empty");
    fs::rename(&away, world.home.keystore()).unwrap();
    let back = keystore.by_handle(t, held.handle).unwrap().unwrap();
    assert_eq!(back.key.expose(), held.key.expose());
    assert!(matches!(keystore.record_key(t, &[id(2)]), Ok(k) if k.handle != held.handle));
}

#[test]
fn audit_periods_are_months_with_a_key_each() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let nov: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let dec: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let a = keystore.audit_period_key(t, nov).unwrap();
    let b = keystore.audit_period_key(t, dec).unwrap();
    assert_ne!(a.handle, b.handle);
    let elsewhere = world.other_process(4).unwrap();
    let late = nov + SignedDuration::from_hours(24 * 8);
    assert_eq!(elsewhere.audit_period_key(t, late).unwrap().handle, a.handle);
    assert!(keystore.destroy_audit_period(t, "november", RETENTION).is_err());
    let gone = keystore.destroy_audit_period(t, "2026-11", RETENTION).unwrap();
    assert_eq!(gone.handles, [a.handle]);
    assert!(keystore.audit_key_by_handle(t, a.handle).unwrap().is_none());
    assert!(keystore.audit_key_by_handle(t, b.handle).unwrap().is_some());
}

#[test]
fn a_retired_index_generation_never_opens_again() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    assert_eq!(keystore.index_generation(t).unwrap(), 1);
    let one = *keystore.index_key(t, 1).unwrap().expose();
    assert_eq!(keystore.index_key(t, 1).unwrap().expose(), &one);
    let two = *keystore.index_key(t, 2).unwrap().expose();
    assert_ne!(one, two);
    assert_eq!(keystore.index_generation(t).unwrap(), 2);
    keystore.retire_index_key(t, 1).unwrap();
    assert!(matches!(keystore.index_key(t, 1), Err(Error::Invalid(_))));
    assert_eq!(keystore.index_key(t, 2).unwrap().expose(), &two);
    keystore.retire_index_key(t, 2).unwrap();
    assert_eq!(keystore.index_generation(t).unwrap(), 3);
}

#[test]
fn another_root_key_is_refused_and_a_root_rotation_accepted() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let held = keystore.record_key(t, &[id(1)]).unwrap();
    let path = world.home.keys().join("new.key");
    let new = Arc::new(KeyFile::create(&path, &[], &SeededRng::new(40)).unwrap());
    let open = |root: Arc<KeyFile>| {
        Keystore::open(
            &world.home.keystore(),
            root,
            Arc::new(world.clock.clone()),
            Arc::new(SeededRng::new(41)),
            &Options::default(),
        )
    };
    assert!(matches!(open(Arc::clone(&new)), Err(Error::OtherRootKey)));
    assert_eq!(keystore.rotate_root(new.clone()).unwrap(), 1);
    for k in [&keystore, &open(new).unwrap()] {
        let same = k.by_handle(t, held.handle).unwrap().unwrap();
        assert_eq!(same.key.expose(), held.key.expose());
    }
    assert!(matches!(world.other_process(42), Err(Error::OtherRootKey)));
}

#[test]
fn a_changed_wrap_is_damage_and_a_swapped_one_too() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let a = keystore.record_key(t, &[id(1)]).unwrap();
    let b = keystore.record_key(t, &[id(2)]).unwrap();
    let db = rusqlite::Connection::open(world.home.keystore()).unwrap();
    db.execute(
        "UPDATE key SET wrapped=(SELECT wrapped FROM key WHERE handle=?2) WHERE handle=?1",
        [a.handle.0, b.handle.0],
    )
    .unwrap();
    drop(db);
    let other = world.other_process(4).unwrap();
    assert!(matches!(other.by_handle(t, a.handle), Err(Error::Corrupt(_))));
    assert!(other.by_handle(t, b.handle).unwrap().is_some());
}

#[test]
fn files_are_private_and_hold_no_logical_id_and_no_key() {
    let (world, keystore) = World::new();
    let t = &world.tenant;
    let held = keystore.ensure_patient_keys(t, &ids(50)).unwrap();
    keystore.record_key(t, &[id(1), id(2)]).unwrap();
    let files = world.key_files();
    assert!(files.len() >= 2);
    for (path, bytes) in files {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        assert!(!contains(&bytes, b"patient-0"), "{}", path.display());
        for h in &held {
            assert!(!contains(&bytes, h.key.expose()));
        }
    }
}

#[test]
fn a_file_of_an_unknown_format_is_refused() {
    let (world, keystore) = World::new();
    drop(keystore);
    let alter = |sql: &str| {
        let db = rusqlite::Connection::open(world.home.keystore()).unwrap();
        db.execute_batch(sql).unwrap();
    };
    alter("UPDATE meta SET value=2 WHERE name='format'");
    assert!(matches!(world.other_process(1), Err(Error::Format { found: 2, known: 1, .. })));
    alter("UPDATE meta SET value=1 WHERE name='format'");
    world.other_process(1).unwrap();
    alter("UPDATE meta SET value='00' WHERE name='migration.1'");
    assert!(matches!(world.other_process(1), Err(Error::Format { .. })));
    alter("UPDATE meta SET value='records' WHERE name='store'");
    assert!(matches!(world.other_process(1), Err(Error::Format { .. })));
    fs::write(world.home.keystore(), b"not a database, but long enough to be read as one").unwrap();
    assert!(matches!(world.other_process(1), Err(Error::Corrupt(_))));
}
