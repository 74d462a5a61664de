//! The engine over stores that fail to order, and over keys that are gone: each kind
//! of interaction, in one process with a clock that can be moved.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use phial_base::{
    Clock, LogicalId, ManualClock, Purpose, RequestId, RequestInfo, Rng, SeededRng, Subject,
    SubjectId, Surface, SystemRng, TenantId,
};
use phial_crypto::{KeyFile, RootProvider};
use phial_engine::interaction::search::Search;
use phial_engine::{Caller, Engine, Failure, Settings, Write};
use phial_fhir::definitions::ResourceType;
use phial_fhir::{Doc, Limits};
use phial_policy::PolicySet;
use phial_store::Options;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::vessel::{Indexing, Vessel};
use phial_testkit::faults::{self, Failure as Fault, Faults, Op};

struct Bench {
    engine: Engine,
    clock: ManualClock,
    home: Home,
    dir: tempfile::TempDir,
    faults: Faults,
    runtime: tokio::runtime::Runtime,
}

fn root_key(home: &Home, make: bool) -> Arc<dyn RootProvider> {
    let forbidden = home.forbidden_for_keys();
    let forbidden: Vec<&Path> = forbidden.iter().map(std::path::PathBuf::as_path).collect();
    Arc::new(if make {
        KeyFile::create(&home.root_key(), &forbidden, &SystemRng::new()).unwrap()
    } else {
        KeyFile::open(&home.root_key(), &forbidden).unwrap()
    })
}

impl Bench {
    fn new() -> Self {
        let faults = Faults::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("phial")).unwrap();
        let options = Options { vfs: Some(faults::VFS.to_owned()), ..Options::default() };
        let clock = ManualClock::new("2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap());
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
        let tenant = TenantId::default_tenant();
        let keystore = Arc::new(
            Keystore::create(
                &home.keystore(),
                root_key(&home, true),
                Arc::clone(&shared),
                Arc::clone(&rng),
                &options,
            )
            .unwrap(),
        );
        keystore.create_tenant(&tenant).unwrap();
        Vessel::create(
            &home,
            &tenant,
            Arc::clone(&keystore),
            Arc::clone(&shared),
            Arc::clone(&rng),
            &options,
        )
        .unwrap();
        let vessel = Vessel::open(
            &home,
            &tenant,
            keystore,
            Arc::clone(&shared),
            Arc::clone(&rng),
            &options,
            Indexing::Local,
        )
        .unwrap();
        let policy = PolicySet::shipped().unwrap();
        let engine = Engine::new(vec![vessel], policy, shared, rng, Settings::default());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Bench { engine, clock, home, dir, faults, runtime: runtime.unwrap() }
    }

    fn caller(&self) -> Caller {
        Caller {
            subject: Arc::new(Subject {
                tenant: TenantId::default_tenant(),
                id: SubjectId::new("ivo").unwrap(),
                roles: vec!["import-client".to_owned()],
                unit: None,
                practitioner: None,
                patient: None,
                purpose: Purpose::HOPERAT,
                mfa: 0,
                session: None,
                client: None,
                scopes: None,
            }),
            request: RequestInfo {
                id: RequestId([7; 16]),
                at: self.clock.now(),
                ip: None,
                device: None,
                surface: Surface::Job,
            },
        }
    }

    fn put(&self, id: &str) -> Result<(), Failure> {
        let text = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"other"}}"#);
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let ty = ResourceType::from_name("Patient").unwrap();
        let id = LogicalId::new(id).unwrap();
        let caller = self.caller();
        let write = Write::update(ty, id, doc);
        self.runtime.block_on(self.engine.write(&caller, write, None)).map(|_| ())
    }

    fn read(&self, id: &str) -> Result<usize, Failure> {
        let ty = ResourceType::from_name("Patient").unwrap();
        let id = LogicalId::new(id).unwrap();
        let caller = self.caller();
        self.runtime.block_on(self.engine.read(&caller, ty, &id)).map(|r| r.body().len())
    }

    fn search(&self) -> Result<usize, Failure> {
        let search = Search {
            lenient: false,
            ty: ResourceType::from_name("Patient").unwrap(),
            pairs: vec![("gender".to_owned(), "other".to_owned())],
            compartment: None,
            base: "https://here/fhir".to_owned(),
        };
        let caller = self.caller();
        let found = self.runtime.block_on(self.runtime_spawned(caller, search))?;
        let json: serde_json::Value = serde_json::from_slice(&found).unwrap();
        Ok(json["entry"].as_array().map_or(0, Vec::len))
    }

    /// A batch that stores patients under these ids; the status of each entry.
    fn batch(&self, ids: &[&str]) -> Result<Vec<String>, Failure> {
        let entry = |id: &&str| {
            format!(
                r#"{{"resource":{{"resourceType":"Patient","id":"{id}","gender":"other"}},"request":{{"method":"PUT","url":"Patient/{id}"}}}}"#
            )
        };
        let entries: Vec<String> = ids.iter().map(entry).collect();
        let text = format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{}]}}"#,
            entries.join(",")
        );
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let caller = self.caller();
        let terms = phial_engine::Terms {
            base: "https://here/fhir".into(),
            returning: phial_engine::Return::Minimal,
            delete_many: false,
        };
        let done = self.engine.batch(&caller, &doc, &terms);
        let released = self.runtime.block_on(done)?;
        let json: serde_json::Value = serde_json::from_slice(released.body()).unwrap();
        let entries = json["entry"].as_array().unwrap();
        let status = |e: &serde_json::Value| e["response"]["status"].as_str().unwrap().to_owned();
        Ok(entries.iter().map(status).collect())
    }

    async fn runtime_spawned(&self, caller: Caller, search: Search) -> Result<Vec<u8>, Failure> {
        let engine = self.engine.clone();
        let task = self
            .runtime
            .spawn(async move { engine.search(&caller, search).await.map(|r| r.body().to_vec()) });
        task.await.unwrap()
    }

    /// The part of the path that names this bench's file.
    fn file(&self, name: &str) -> String {
        format!("{}/phial/{name}", self.dir.path().file_name().unwrap().to_str().unwrap())
    }

    /// Nothing is given and nothing is taken.
    fn closed(&self, why: &str) {
        let busy = |r: Result<usize, Failure>, what: &str| match r {
            Err(Failure::Busy(_)) => {}
            Err(other) => panic!("{why}: {what} answered {other:?}"),
            Ok(_) => panic!("{why}: {what} was served"),
        };
        busy(self.read("known"), "read");
        busy(self.read("absent"), "read of what is absent");
        busy(self.search(), "search");
        busy(self.put("known").map(|()| 0), "update");
        busy(self.put("new").map(|()| 0), "create");
    }

    /// All is as it was, and goes on.
    fn open(&self, why: &str) {
        assert!(self.read("known").is_ok(), "{why}");
        assert!(matches!(self.read("new"), Err(Failure::NotFound)), "{why}: something was stored");
        assert_eq!(self.search().unwrap(), 1, "{why}");
        self.put("later").unwrap();
        assert_eq!(self.search().unwrap(), 2, "{why}");
    }
}

#[test]
fn a_full_or_broken_disk_under_the_audit_log_closes_everything() {
    for (why, fault) in [("no space", Fault::no_space()), ("I/O error", Fault::io())] {
        let b = Bench::new();
        b.put("known").unwrap();
        assert_eq!(b.search().unwrap(), 1);
        b.faults.fail_writes(&b.file("audit/"), fault);
        b.closed(why);
        b.closed(why);
        assert!(b.faults.failed() > 0);
        b.faults.clear();
        b.open(why);
    }
}

#[test]
fn an_audit_entry_that_was_not_made_durable_releases_nothing() {
    let b = Bench::new();
    b.put("known").unwrap();
    assert_eq!(b.search().unwrap(), 1);
    // Written, but the disk does not confirm it.
    b.faults.fail(&b.file("audit/"), Op::Sync, Fault::io());
    assert!(matches!(b.read("known"), Err(Failure::Busy(_))));
    assert!(matches!(b.search(), Err(Failure::Busy(_))));
    assert!(matches!(b.put("new"), Err(Failure::Busy(_))));
    b.faults.clear();
    b.open("after syncs that failed");
}

#[test]
fn a_full_disk_under_the_record_log_acknowledges_no_write_and_reads_go_on() {
    let b = Bench::new();
    b.put("known").unwrap();
    assert_eq!(b.search().unwrap(), 1);
    b.faults.fail_writes(&b.file("data/default/records.db"), Fault::no_space());
    assert!(matches!(b.put("new"), Err(Failure::Busy(_))));
    assert!(b.read("known").is_ok());
    assert_eq!(b.search().unwrap(), 1);
    b.faults.clear();
    b.open("with room again");
}

#[test]
fn without_the_root_key_everything_closes_once_the_caches_have_ended() {
    let b = Bench::new();
    b.put("known").unwrap();
    let (key, away) = (b.home.root_key(), b.dir.path().join("root.key"));
    std::fs::rename(&key, &away).unwrap();
    b.clock.advance(SignedDuration::from_secs(301));
    b.closed("no root key");
    std::fs::rename(&away, &key).unwrap();
    b.open("with the root key again");
}

#[test]
fn without_the_keystore_everything_closes_once_the_caches_have_ended() {
    let b = Bench::new();
    b.put("known").unwrap();
    let (keys, away) = (b.home.keys(), b.dir.path().join("away"));
    std::fs::rename(&keys, &away).unwrap();
    b.clock.advance(SignedDuration::from_secs(301));
    b.closed("no keystore");
    std::fs::rename(&away, &keys).unwrap();
    b.open("with the keystore again");
}

#[test]
fn a_fault_in_the_middle_of_a_batch_is_one_entrys_own() {
    let ids = ["a", "b", "c", "d", "e"];
    let (mut clean, mut hurt) = (0, 0);
    for store in ["data/", "audit/"] {
        for op in [Op::Write, Op::Sync] {
            for after in 0..8 {
                let b = Bench::new();
                b.put("known").unwrap();
                b.faults.fail(&b.file(store), op, Fault::io().after(after * 2).times(1));
                let why = format!("{store} {op:?} {after}");
                let Ok(statuses) = b.batch(&ids) else { panic!("{why}: all was refused") };
                assert_eq!(statuses.len(), ids.len(), "{why}");
                b.faults.clear();
                let failed = statuses.iter().filter(|s| !s.starts_with("201")).count();
                assert!(failed <= 1, "{why}: {statuses:?}");
                for (id, status) in ids.iter().zip(&statuses) {
                    let stored = b.read(id).is_ok();
                    // A failure that was reported may have been stored all the same.
                    assert!(stored || !status.starts_with("201"), "{why}: {id} {status}");
                }
                if failed == 0 {
                    clean += 1;
                } else {
                    hurt += 1;
                }
                b.put("after").unwrap();
                assert!(b.read("known").is_ok(), "{why}");
            }
        }
    }
    assert!(hurt > 3, "{hurt} of {} met a fault", clean + hurt);
}
