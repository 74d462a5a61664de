//! A home in this process whose durable steps are watched, the work that scenarios are
//! made of, and what must hold of the stores afterwards.

mod asking;
mod jobs;
mod labels;
mod sessions;
mod subscriber;
mod tickets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use phial_base::{
    Clock, LogicalId, ManualClock, Purpose, RequestId, RequestInfo, Rng, Seq, Subject, SubjectId,
    Surface, SystemRng, TenantId, Version,
};
use phial_crypto::{KeyFile, RootProvider, SecretKey};
use phial_engine::interaction::download::{Download, Part};
use phial_engine::interaction::upload::Upload;
use phial_engine::{Caller, Engine, Failure, Settings, Write};
use phial_fhir::definitions::ResourceType;
use phial_fhir::search::Extracted;
use phial_fhir::{Doc, Limits};
use phial_policy::PolicySet;
use phial_store::Options;
use phial_store::home::Home;
use phial_store::index::{Index, Indexed};
use phial_store::keystore::{Keystore, Tombstone};
use phial_store::making::{self, Making};
use phial_store::sessions::Sessions;
use phial_store::tickets::Tickets;
use phial_store::vessel::{Indexing, Vessel};
use phial_testkit::faults::{Faults, VFS};
use phial_testkit::points::Points;

/// One piece of work. Each can be asked for again after it failed, as a client would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `phial init`.
    Make,
    /// `phial init --tenant`.
    AddTenant,
    /// Open everything as a server does: recovery, and the sweep after a fresh index.
    Open,
    /// Close everything in order.
    Close,
    /// PUT a patient with a value.
    Put(&'static str, u32),
    /// Create a patient unless one with this identifier exists.
    CreateOnce(&'static str),
    Read(&'static str),
    Search,
    /// A checkpoint over everything.
    Flush,
    /// Writes of unknown fate are closed.
    Settle,
    AddAccount(&'static str),
    Suspend(&'static str),
    Issue,
    /// Use the token after half a minute.
    Use,
    Revoke,
    PurgeSessions,
    /// A refresh token of an app.
    Ticket,
    /// Another one for it.
    Exchange,
    /// Everything that was given is withdrawn.
    Withdraw,
    /// An assertion is marked as used.
    Mark,
    /// The account logged in from a browser.
    KnowBrowser,
    /// Its browsers are forgotten.
    ForgetBrowsers,
    /// A wrong guess is written down.
    Count,
    /// A one-time code is used: the step of this moment.
    UseCode,
    /// What accounts read is kept.
    Tally,
    RotateTenant,
    RotateRoot,
    /// Upload content, to be a Binary of its own and about this patient.
    Attach(&'static str, u32),
    /// PUT a record about both patients.
    PutJoint(&'static str, &'static str),
    /// Forget a patient.
    Destroy(&'static str),
    /// What follows a keystore that was restored from before a patient was forgotten.
    Replay(&'static str),
    /// Superseded versions leave the index.
    Expire,
    Rebuild,
    /// An index by itself takes in, forgets, closes, is deleted.
    IndexAlone,
    /// PUT a subscription to changes of patients.
    Subscribe,
    /// Its endpoint takes all that there is to tell.
    Tell,
    /// DELETE it.
    Unsubscribe,
    /// Keep the audit log's directory as it is; the stores are closed.
    KeepAudit,
    /// Put it back: someone rolled the audit log back.
    RollBackAudit,
    /// Someone wrote over the index; the stores are closed.
    DamageIndex,
    /// An export of everything: asked for unless there is one, done to its end, and read.
    Export,
    /// Every export is ended, and its files are destroyed.
    CancelExport,
    /// A start with other lists of codes: those that come with the program (0), or with
    /// what the patients and the subscription of the stage bear beside them (1).
    Relabel(u8),
}

/// What a record is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Is {
    Absent,
    Value(u32),
}

/// What clients were told, and what they asked without being told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    told: BTreeMap<&'static str, Is>,
    asked: BTreeMap<&'static str, BTreeSet<Is>>,
    /// Writes asked for by id: no record has more versions.
    tries: BTreeMap<&'static str, u32>,
    once: BTreeSet<&'static str>,
    /// Patients with content, what it may be, and whether it may be gone.
    content: BTreeMap<&'static str, BTreeSet<Is>>,
    accounts: BTreeMap<&'static str, bool>,
    rolled_back: bool,
    /// The lists of the last start.
    lists: u8,
    subscribed: bool,
    /// What the subscriber was told: events by number. It outlives every crash.
    pub(crate) heard: BTreeMap<u64, String>,
}

struct Live {
    engine: Engine,
    sessions: Sessions,
    tickets: Tickets,
    keystore: Arc<Keystore>,
}

pub(crate) struct Stage {
    /// The home's parent: copies and keys go beside it.
    pub(crate) dir: tempfile::TempDir,
    root: PathBuf,
    pub(crate) points: Points,
    _faults: Faults,
    clock: ManualClock,
    rng: Arc<dyn Rng>,
    options: Options,
    runtime: tokio::runtime::Runtime,
    live: Option<Live>,
    token: Option<(String, String)>,
    ticket: Option<String>,
    pub(crate) model: Model,
}

type Done = Result<(), String>;

fn said(e: impl std::fmt::Debug) -> String {
    format!("{e:?}")
}

fn id(name: &str) -> LogicalId {
    LogicalId::new(name).unwrap()
}

fn patient() -> ResourceType {
    ResourceType::from_name("Patient").unwrap()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

impl Stage {
    /// An empty directory, or a copy of a home.
    pub(crate) fn new(from: Option<&Path>, at: Timestamp) -> Self {
        let faults = Faults::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("home");
        // A crash before anything was made leaves nothing to copy.
        if let Some(from) = from.filter(|f| f.exists()) {
            copy(from, &root);
        }
        let points = Points::over(&root).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Stage {
            dir,
            root,
            points,
            _faults: faults,
            clock: ManualClock::new(at),
            rng: Arc::new(SystemRng::new()),
            options: Options { vfs: Some(VFS.to_owned()), ..Options::default() },
            runtime: runtime.unwrap(),
            live: None,
            token: None,
            ticket: None,
            model: Model::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    fn tenant(&self) -> TenantId {
        TenantId::default_tenant()
    }

    fn caller(&self, role: &str) -> Caller {
        let mut request = [0u8; 16];
        self.rng.fill(&mut request);
        Caller {
            subject: Arc::new(Subject {
                tenant: self.tenant(),
                id: SubjectId::new("ivo").unwrap(),
                roles: vec![role.to_owned()],
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
                id: RequestId(request),
                at: self.clock.now(),
                ip: None,
                device: None,
                surface: Surface::Job,
            },
        }
    }

    fn live(&self) -> Result<&Live, String> {
        self.live.as_ref().ok_or_else(|| "closed".to_owned())
    }

    /// The keystore under whichever root key opens it: that of the home, or the one that
    /// it was rotated to.
    fn keystore(&self) -> Result<Arc<Keystore>, String> {
        let home = Home::open(&self.root).map_err(said)?;
        let mut last = String::new();
        for name in ["root.key", "second.key"] {
            let Ok(key) = KeyFile::open(&home.keys().join(name), &[]) else { continue };
            let key: Arc<dyn RootProvider> = Arc::new(key);
            match Keystore::open(
                &home.keystore(),
                key,
                self.clock(),
                Arc::clone(&self.rng),
                &self.options,
            ) {
                Ok(keystore) => return Ok(Arc::new(keystore)),
                Err(e) => last = said(e),
            }
        }
        Err(last)
    }

    fn open(&mut self) -> Done {
        self.live = None;
        let home = Home::open(&self.root).map_err(said)?;
        let keystore = self.keystore()?;
        let mut vessels = Vec::new();
        for tenant in keystore.tenants().map_err(said)? {
            let vessel = Vessel::open(
                &home,
                &tenant,
                Arc::clone(&keystore),
                self.clock(),
                Arc::clone(&self.rng),
                &self.options,
                Indexing::Local,
            );
            vessels.push(vessel.map_err(said)?);
        }
        let sessions =
            Sessions::open(&home, Arc::clone(&keystore), Arc::clone(&self.rng), &self.options)
                .map_err(said)?;
        let tickets =
            Tickets::open(&home, Arc::clone(&keystore), Arc::clone(&self.rng), &self.options)
                .map_err(said)?;
        let engine = Engine::new(
            vessels,
            PolicySet::shipped().unwrap(),
            self.clock(),
            Arc::clone(&self.rng),
            Settings { labeller: Some(Arc::new(self.labeller())), ..Settings::default() },
        );
        engine.set_endpoint_hosts(&["hooks.example".to_owned()]);
        // As `phial serve` starts: recovery before anything is served.
        for tenant in engine.tenants().cloned().collect::<Vec<_>>() {
            let mut caller = self.caller("operator");
            caller.subject_mut().tenant = tenant.vessel.tenant().clone();
            self.wait(async { engine.recover(&tenant, &caller).await }).map_err(said)?;
            self.wait(async { engine.relabel(&tenant, &caller).await }).map_err(said)?;
            if tenant.vessel.has_fresh_index() {
                self.wait(async { engine.sweep(&tenant, &caller).await }).map_err(said)?;
            }
        }
        self.live = Some(Live { engine, sessions, tickets, keystore });
        Ok(())
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn vessel<R>(&self, look: impl FnOnce(&Vessel) -> R) -> Result<R, String> {
        let live = self.live()?;
        let tenant = live.engine.tenant(&self.tenant()).ok_or("no tenant")?;
        Ok(look(&tenant.vessel))
    }

    fn put(&self, name: &str, value: u32) -> Result<(), Failure> {
        let text = format!(
            r#"{{"resourceType":"Patient","id":"{name}","gender":"other","maritalStatus":{{"coding":[{{"system":"{}","code":"{}"}}]}},"multipleBirthInteger":{value}}}"#,
            labels::SYSTEM,
            labels::CODE
        );
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let engine = &self.live.as_ref().unwrap().engine;
        let caller = self.caller("import-client");
        self.wait(engine.write(&caller, Write::update(patient(), id(name), doc), None)).map(|_| ())
    }

    fn create_once(&self, name: &str) -> Result<(), Failure> {
        let text = format!(
            r#"{{"resourceType":"Patient","gender":"female","identifier":[{{"system":"urn:once","value":"{name}"}}]}}"#
        );
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let engine = &self.live.as_ref().unwrap().engine;
        let caller = self.caller("import-client");
        let condition = format!("identifier=urn:once|{name}");
        self.wait(engine.write(&caller, Write::create(patient(), doc, Some(condition)), None))
            .map(|_| ())
    }

    /// As a server does with an upload, in pieces.
    fn attach(&self, name: &str, value: u32) -> Result<(), Failure> {
        let engine = self.live.as_ref().unwrap().engine.clone();
        let caller = self.caller("import-client");
        let upload = Upload {
            id: Some(id(&format!("content-{name}"))),
            content_type: "a/b".to_owned(),
            security_context: Some(format!("Patient/{name}")),
            if_match: None,
            if_none_match: false,
            length: None,
            provenance: None,
        };
        let task = self.runtime.spawn(async move {
            let mut uploading = engine.upload(&caller, upload).await?;
            for _ in 0..3 {
                uploading.write(&vec![value as u8; 30_000]).await?;
            }
            uploading.finish().await.map(|_| ())
        });
        self.wait(task).unwrap()
    }

    /// What the content of a patient is now: read whole.
    fn content(&self, name: &str) -> Result<Is, Failure> {
        let engine = self.live.as_ref().unwrap().engine.clone();
        let (caller, id) = (self.caller("import-client"), id(&format!("content-{name}")));
        let task = self.runtime.spawn(async move {
            match engine.download(&caller, &id, None, |_| Part::Whole).await {
                Ok(Download::Content(mut content)) => {
                    let mut all = Vec::new();
                    while let Some(piece) = content.stream.piece().unwrap() {
                        all.extend_from_slice(&piece);
                    }
                    assert!(all.len() == 90_000 && all.iter().all(|b| *b == all[0]));
                    Ok(Is::Value(u32::from(all[0])))
                }
                Ok(_) => panic!("no content"),
                Err(Failure::NotFound | Failure::Gone) => Ok(Is::Absent),
                Err(e) => Err(e),
            }
        });
        self.wait(task).unwrap()
    }

    /// How many blobs there are, and how many versions of records name one.
    fn blobs(&self) -> (usize, usize) {
        let mut there = 0;
        let mut dirs = vec![self.root.join("data/default/blobs")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() { dirs.push(entry.path()) } else { there += 1 }
            }
        }
        let named = self.vessel(|v| {
            let mut rows = Vec::new();
            let log = v.records();
            log.all(&mut |_, row, version, _| {
                rows.push((row, version));
                Ok(())
            })
            .unwrap();
            rows.retain(|(row, version)| {
                v.find_version(*row, *version).unwrap().is_some_and(|f| f.header.blob.is_some())
            });
            rows.len()
        });
        (there, named.unwrap())
    }

    /// What a read says of a patient now.
    fn is(&self, name: &str) -> Result<Is, Failure> {
        let engine = &self.live.as_ref().unwrap().engine;
        let caller = self.caller("import-client");
        match self.wait(engine.read(&caller, patient(), &id(name))) {
            Ok(body) => {
                let json: serde_json::Value = serde_json::from_slice(body.body()).unwrap();
                let n = json["multipleBirthInteger"].as_u64().unwrap();
                Ok(Is::Value(u32::try_from(n).unwrap()))
            }
            Err(Failure::NotFound | Failure::Gone) => Ok(Is::Absent),
            Err(e) => Err(e),
        }
    }

    fn write(&mut self, name: &'static str, becomes: Is, done: Result<(), Failure>) -> Done {
        match done {
            Ok(()) => {
                self.model.told.insert(name, becomes);
                self.model.asked.remove(name);
                Ok(())
            }
            Err(e) => Err(said(e)),
        }
    }

    fn ask(&mut self, name: &'static str, becomes: Is) {
        self.model.asked.entry(name).or_default().insert(becomes);
        *self.model.tries.entry(name).or_default() += 1;
    }

    /// What is asked for before a step can fail, so that a crash in the middle finds it
    /// in the model.
    pub(crate) fn begin(&mut self, op: Op) {
        match op {
            Op::Put(name, value) => self.ask(name, Is::Value(value)),
            Op::Destroy(name) | Op::Replay(name) => {
                self.ask(name, Is::Absent);
                if let Some(may) = self.model.content.get_mut(name) {
                    may.insert(Is::Absent);
                }
            }
            Op::Attach(name, value) => {
                let may = self.model.content.entry(name).or_insert([Is::Absent].into());
                may.insert(Is::Value(value));
            }
            Op::Relabel(lists) => self.model.lists = lists,
            _ => {}
        }
    }

    pub(crate) fn run(&mut self, op: Op) -> Done {
        match op {
            Op::Make => {
                if Home::open(&self.root).is_ok() {
                    return Ok(());
                }
                let making = Making::begin(&self.root, "# empty\n").map_err(said)?;
                let key = making.home().root_key();
                let rng = Arc::clone(&self.rng);
                making.finish(&key, self.clock(), rng, &self.options).map_err(said)?;
                Ok(())
            }
            Op::AddTenant => {
                let home = Home::open(&self.root).map_err(said)?;
                let keystore = self.keystore()?;
                let second = TenantId::new("second").unwrap();
                let (clock, rng) = (self.clock(), Arc::clone(&self.rng));
                match making::add_tenant(&home, &keystore, &second, clock, rng, &self.options) {
                    Ok(()) | Err(phial_store::Error::TenantExists) => {}
                    Err(e) => return Err(said(e)),
                }
                let listed = keystore.tenants().map_err(said)?;
                if listed.contains(&second) { Ok(()) } else { Err("not listed".to_owned()) }
            }
            Op::Open => self.open(),
            Op::Close => {
                self.live = None;
                Ok(())
            }
            Op::Put(name, value) => {
                self.live()?;
                let done = self.put(name, value);
                self.write(name, Is::Value(value), done)
            }
            Op::CreateOnce(name) => {
                self.live()?;
                self.create_once(name).map_err(said)?;
                self.model.once.insert(name);
                Ok(())
            }
            Op::Read(name) => {
                self.live()?;
                self.is(name).map(|_| ()).map_err(said)
            }
            Op::Search => self.search(&[("gender", "other")]).map(|_| ()),
            Op::Flush => self.vessel(|v| v.audit().flush())?.map_err(said),
            Op::Settle => {
                let open = self.vessel(|v| v.records().settle())?;
                open.map_err(said)
            }
            Op::AddAccount(name) => {
                let value = serde_json::json!({ "active": true });
                let at = self.vessel(|v| v.control().get("user", name))?.map_err(said)?;
                if at.is_none() {
                    let put = self.vessel(|v| v.control().put("user", name, &value, None))?;
                    put.map_err(said)?;
                }
                self.model.accounts.insert(name, true);
                Ok(())
            }
            Op::Suspend(name) => {
                let value = serde_json::json!({ "active": false });
                let now = self.vessel(|v| v.control().get("user", name))?.map_err(said)?;
                let version = now.map(|r| r.version);
                let put = self.vessel(|v| v.control().put("user", name, &value, version))?;
                put.map_err(said)?;
                self.model.accounts.insert(name, false);
                Ok(())
            }
            Op::Ticket => self.new_ticket(),
            Op::Exchange => self.exchange(),
            Op::Withdraw => self.withdraw(),
            Op::Mark => self.mark(),
            Op::Issue
            | Op::Use
            | Op::Revoke
            | Op::PurgeSessions
            | Op::KnowBrowser
            | Op::ForgetBrowsers
            | Op::Count
            | Op::UseCode
            | Op::Tally => self.session(op),
            Op::RotateTenant => {
                let caller = self.caller("operator");
                let engine = self.live()?.engine.clone();
                self.wait(engine.rotate_tenant_key(&caller)).map(|_| ()).map_err(said)
            }
            Op::RotateRoot => {
                let path = self.root.join("keys").join("second.key");
                let key = if path.exists() {
                    KeyFile::open(&path, &[])
                } else {
                    KeyFile::create(&path, &[], self.rng.as_ref())
                };
                let key: Arc<dyn RootProvider> = Arc::new(key.map_err(said)?);
                self.live()?.keystore.rotate_root(key).map(|_| ()).map_err(said)
            }
            Op::Attach(name, value) => {
                self.live()?;
                self.attach(name, value).map_err(said)?;
                self.model.content.insert(name, [Is::Value(value)].into());
                Ok(())
            }
            Op::PutJoint(a, b) => {
                self.live()?;
                self.put_joint(a, b).map_err(said)
            }
            Op::Destroy(name) => {
                let caller = self.caller("operator");
                let engine = self.live()?.engine.clone();
                let who = id(name);
                let task = self.runtime.spawn(async move {
                    engine.destroy_patient(&caller, &who, SignedDuration::ZERO).await.map(|_| ())
                });
                let done = match self.wait(task).unwrap() {
                    // Asked again after it was done.
                    Err(Failure::NotFound) => Ok(()),
                    other => other,
                };
                self.write(name, Is::Absent, done)
            }
            Op::Replay(name) => self.replay(name),
            Op::Expire => {
                self.clock.advance(SignedDuration::from_mins(16));
                self.vessel(|v| v.catch_up().and_then(|_| v.expire_snapshots()))?.map_err(said)
            }
            Op::Rebuild => self.vessel(Vessel::rebuild_index)?.map_err(said),
            Op::IndexAlone => self.index_alone(),
            Op::Subscribe => self.subscribe(),
            Op::Tell => self.tell(),
            Op::Unsubscribe => self.unsubscribe(),
            Op::KeepAudit => {
                copy(&self.root.join("audit"), &self.root.join("keys").join("kept"));
                Ok(())
            }
            Op::RollBackAudit => {
                let (audit, kept) = (self.root.join("audit"), self.root.join("keys").join("kept"));
                fs::remove_dir_all(&audit).unwrap();
                fs::rename(kept, audit).unwrap();
                self.model.rolled_back = true;
                Ok(())
            }
            Op::Relabel(_) => self.open(),
            Op::Export => self.export(),
            Op::CancelExport => self.cancel_export(),
            Op::DamageIndex => {
                for file in fs::read_dir(self.root.join("index/default")).unwrap() {
                    let path = file.unwrap().path();
                    let mut bytes = fs::read(&path).unwrap();
                    bytes.iter_mut().skip(16).for_each(|b| *b ^= 0x55);
                    fs::write(&path, bytes).unwrap();
                }
                Ok(())
            }
        }
    }

    /// A keystore from before a patient was forgotten came back: the tombstones are
    /// replayed before anything is served, and the rows deleted.
    fn replay(&mut self, name: &'static str) -> Done {
        let tenant = self.tenant();
        let keystore = Arc::clone(&self.live()?.keystore);
        if let Some(key) = keystore.patient_key(&tenant, &id(name)).map_err(said)? {
            let at = self.clock.now();
            let tombstone =
                Tombstone { tenant: tenant.clone(), handle: key.handle, at, copies_until: at };
            keystore.replay_tombstones(&[tombstone]).map_err(said)?;
        }
        let engine = self.live()?.engine.clone();
        let caller = self.caller("operator");
        let task = self.runtime.spawn(async move {
            let home = engine.tenant(&caller.subject.tenant).unwrap();
            engine.sweep(home, &caller).await.map(|_| ())
        });
        let done = self.wait(task).unwrap();
        self.write(name, Is::Absent, done)
    }

    fn index_alone(&self) -> Done {
        let dir = self.root.join("index").join("alone");
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let open = || Index::open(&dir, 1, &key, &self.options);
        let index = match open() {
            Err(phial_store::Error::Unusable) => {
                Index::delete(&dir, 1).map_err(said)?;
                open()
            }
            other => other,
        };
        let index = index.map_err(said)?;
        let version = |seq: u64| Indexed {
            seq: Seq(seq),
            row: phial_base::RowId([1; 16]),
            version: Version(u32::try_from(seq).unwrap()),
            ty: ResourceType::from_name("Observation").unwrap(),
            id: id("o"),
            patients: vec![id("p")],
            labels: phial_base::LabelSet::default(),
            classes: phial_base::ClassSet::ALL,
            deleted: false,
            last_updated: 1,
            values: Extracted::default(),
        };
        let next = index.applied().0 + 1;
        index.apply(&[version(next)]).map_err(said)?;
        index.forget_patient(&id("p")).map_err(said)?;
        drop(index);
        Index::delete(&dir, 1).map_err(said)
    }

    /// What must hold whatever failed, in a process that goes on or one that came back.
    pub(crate) fn check(&mut self, why: &str) {
        if self.live.is_none() {
            self.open().unwrap_or_else(|e| panic!("{why}: {e}"));
        }
        let live = self.live.as_ref().unwrap();
        for tenant in live.engine.tenants() {
            tenant.vessel.settle().unwrap();
            tenant.vessel.audit().flush().unwrap();
            let open = tenant.vessel.audit().open_intents().unwrap();
            assert!(open.is_empty(), "{why}: {} intents are open", open.len());
        }
        let names: BTreeSet<&'static str> =
            self.model.told.keys().chain(self.model.asked.keys()).copied().collect();
        let mut present = 0;
        for name in names {
            let is = self.is(name).unwrap_or_else(|e| panic!("{why}: {name}: {e:?}"));
            let told = self.model.told.get(name).copied().unwrap_or(Is::Absent);
            let asked = self.model.asked.get(name).cloned().unwrap_or_default();
            assert!(is == told || asked.contains(&is), "{why}: {name} is {is:?}, not {told:?}");
            // From now on that is what it is.
            self.model.told.insert(name, is);
            self.model.asked.remove(name);
            present += usize::from(is != Is::Absent);
            let versions = self
                .vessel(|v| v.records().versions(v.row_id(patient(), &id(name)).unwrap()))
                .unwrap()
                .unwrap();
            let tries = self.model.tries.get(name).copied().unwrap_or(0) as usize;
            assert!(versions.len() <= tries, "{why}: {name} was doubled");
        }
        for (name, may) in self.model.content.clone() {
            let is = self.content(name).unwrap_or_else(|e| panic!("{why}: {name}: {e:?}"));
            assert!(may.contains(&is), "{why}: the content of {name} is {is:?}");
            self.model.content.insert(name, [is].into());
        }
        let (there, named) = self.blobs();
        assert_eq!(there, named, "{why}: no blob without its record, nor the reverse");
        assert_eq!(self.search(&[("gender", "other")]).unwrap(), present, "{why}");
        for name in &self.model.once {
            let found = self.search(&[("identifier", &format!("urn:once|{name}"))]).unwrap();
            assert_eq!(found, 1, "{why}: {name}");
        }
        for (name, active) in &self.model.accounts {
            let account = self.vessel(|v| v.control().get("user", name)).unwrap().unwrap();
            let now = account.unwrap().value["active"].as_bool().unwrap();
            // A suspension that was answered with an error may hold; never the reverse.
            assert!(now == *active || !now, "{why}: {name}");
        }
        self.all_was_told(why);
        self.labels_are_those_of_the_lists(why);
        self.walks_agree(why);
        self.vessel(|v| {
            let mut rows = Vec::new();
            v.records()
                .all(&mut |_, row, version, _| {
                    rows.push((row, version));
                    Ok(())
                })
                .unwrap();
            let gone: BTreeSet<_> = v.unreadable().unwrap().into_iter().collect();
            for (row, version) in rows {
                let found = v.find_version(row, version).unwrap();
                let orphan = found.is_none() && !gone.contains(&(row, version));
                assert!(!orphan, "{why}: {row} has no key");
            }
            let dump = v.index_dump().unwrap();
            v.rebuild_index().unwrap();
            assert_eq!(dump, v.index_dump().unwrap(), "{why}: the index");
        })
        .unwrap();
        // Closed, and verified by a look at the files alone.
        self.live = None;
        let home = Home::open(&self.root).unwrap();
        let keystore = self.keystore().unwrap();
        for tenant in keystore.tenants().unwrap() {
            let note = fs::read_to_string(home.checkpoint(&tenant)).ok();
            let report = phial_store::verify::verify(
                &home,
                &tenant,
                &keystore,
                &self.rng,
                note.as_deref(),
                &self.options,
            )
            .unwrap();
            if self.model.rolled_back && tenant == self.tenant() {
                assert!(!report.is_clean(), "{why}: the rolled back log is not noticed");
            } else {
                assert!(report.is_clean(), "{why}: {:?}", report.findings);
            }
            assert_eq!(report.open_intents, 0, "{why}");
        }
        assert_eq!(self.points.stray(), Vec::<String>::new(), "{why}: written outside a step");
    }
}
