//! A home with every store of one tenant, for the tests of the audit log and of what
//! rests on it.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use phial_audit::{Entry, EventKind, IntentId, Seqs, Target, Write};
use phial_base::{
    ClassSet, Clock, LogicalId, ManualClock, Rng, RowId, SeededRng, Seq, TenantId, Version,
};
use phial_crypto::{KeyFile, RecordKey, RecordName, Text, content_hash, seal_record};
use phial_store::Options;
use phial_store::auditlog::AuditLog;
use phial_store::blobs::Blobs;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::records::{NewRow, RecordLog};
use phial_store::verify::{Report, verify};

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) home: Home,
    pub(crate) clock: ManualClock,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) tenant: TenantId,
    pub(crate) keystore: Arc<Keystore>,
    pub(crate) options: Options,
}

pub(crate) fn patient(name: &str) -> LogicalId {
    LogicalId::new(name).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    /// A world whose stores, but not its keystore, go through these options.
    pub(crate) fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("phial")).unwrap();
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap());
        let rng: Arc<dyn Rng> = Arc::new(phial_base::SystemRng::new());
        let root = KeyFile::create(&home.root_key(), &[], rng.as_ref()).unwrap();
        let keystore = Keystore::create(
            &home.keystore(),
            Arc::new(root),
            Arc::new(clock.clone()),
            Arc::clone(&rng),
            &Options::default(),
        )
        .unwrap();
        let tenant = TenantId::default_tenant();
        keystore.create_tenant(&tenant).unwrap();
        let world = World { dir, home, clock, rng, tenant, keystore: Arc::new(keystore), options };
        drop(RecordLog::create(&world.home.records(&world.tenant), &world.options).unwrap());
        let (tenant, options) = (&world.tenant, &world.options);
        let keystore = || Arc::clone(&world.keystore);
        drop(
            AuditLog::create(
                &world.home,
                tenant,
                keystore(),
                Arc::new(world.clock.clone()),
                Arc::clone(&world.rng),
                options,
            )
            .unwrap(),
        );
        drop(
            phial_store::control::ControlLog::create(
                &world.home,
                tenant,
                keystore(),
                Arc::clone(&world.rng),
                options,
            )
            .unwrap(),
        );
        drop(
            phial_store::outbox::Outbox::create(
                &world.home,
                tenant,
                keystore(),
                Arc::clone(&world.rng),
                options,
            )
            .unwrap(),
        );
        world
    }

    pub(crate) fn try_audit(&self) -> Result<AuditLog, phial_store::Error> {
        AuditLog::open(
            &self.home,
            &self.tenant,
            Arc::clone(&self.keystore),
            Arc::new(self.clock.clone()),
            Arc::clone(&self.rng),
            &self.options,
        )
    }

    pub(crate) fn audit(&self) -> AuditLog {
        self.try_audit().unwrap()
    }

    pub(crate) fn records(&self) -> RecordLog {
        RecordLog::open(&self.home.records(&self.tenant), &self.options).unwrap()
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::of(&self.tenant, self.home.blobs(&self.tenant), None)
    }

    pub(crate) fn read_entry(&self, row: u8, about: &LogicalId) -> Entry {
        let mut e = Entry::system(EventKind::Read, self.clock.now());
        let mut t = Target::new(RowId([row; 16]), Some(Version(1)), "Patient");
        t.id = Some(about.clone());
        t.given = ClassSet::ALL;
        e.target(t, std::slice::from_ref(about));
        e
    }

    /// Seals version `version` of a record about `about`.
    pub(crate) fn seal(&self, row: RowId, version: u32, about: &LogicalId, body: &[u8]) -> NewRow {
        let version = Version(version);
        let keys = self.keystore.tenant_keys(&self.tenant).unwrap();
        let held = self.keystore.record_key(&self.tenant, std::slice::from_ref(about)).unwrap();
        let name = RecordName { tenant: &self.tenant, row, version };
        let key = RecordKey { handle: held.handle, version: held.version, key: &held.key };
        let blob = seal_record(
            &name,
            &key,
            &keys.locator,
            Text::plain(b"header"),
            &[(17, Text::plain(b"other")), (23, Text::plain(body))],
            self.rng.as_ref(),
        )
        .unwrap();
        NewRow { row, version, blob }
    }

    pub(crate) fn intent(&self, id: IntentId, rows: &[NewRow]) -> Entry {
        let writes = rows
            .iter()
            .map(|r| Write { row: r.row, version: r.version, hash: content_hash(&r.blob) })
            .collect();
        let mut e = Entry::system(EventKind::Create, self.clock.now());
        for r in rows {
            e.target(Target::new(r.row, Some(r.version), "Observation"), &[]);
        }
        e.into_intent(id, EventKind::Create, writes)
    }

    pub(crate) fn outcome(&self, id: IntentId, seqs: &[Seq]) -> Entry {
        let seqs = seqs
            .first()
            .map(|first| Seqs { first: *first, count: u32::try_from(seqs.len()).unwrap() });
        let committed = seqs.is_some();
        Entry::system(EventKind::Create, self.clock.now()).into_outcome(id, committed, seqs)
    }

    pub(crate) fn fresh_id(&self) -> [u8; 16] {
        let mut id = [0u8; 16];
        self.rng.fill(&mut id);
        id
    }

    /// Writes rows as the engine does: intent, rows, outcome.
    pub(crate) fn write(&self, audit: &AuditLog, records: &RecordLog, rows: Vec<NewRow>) {
        let id = self.fresh_id();
        audit.append_blocking(vec![self.intent(id, &rows)], None).unwrap();
        let seqs = records.append_blocking(rows).unwrap();
        audit.append_later(vec![self.outcome(id, &seqs)]);
    }

    /// `n` records of three patients, and of each tenth a second version, read once.
    pub(crate) fn fill(&self, n: u8) {
        let (audit, records) = (self.audit(), self.records());
        let patients = ["p-one", "p-two", "p-three"].map(patient);
        for i in 0..n {
            let about = &patients[usize::from(i) % 3];
            let row = RowId([i + 1; 16]);
            self.write(&audit, &records, vec![self.seal(row, 1, about, &[i; 300])]);
            if i % 10 == 0 {
                self.write(&audit, &records, vec![self.seal(row, 2, about, &[i; 400])]);
            }
            audit.append_blocking(vec![self.read_entry(i + 1, about)], Some([i; 32])).unwrap();
        }
        audit.flush().unwrap();
    }

    pub(crate) fn verify(&self, external: Option<&str>) -> Report {
        verify(&self.home, &self.tenant, &self.keystore, &self.rng, external, &Options::default())
            .unwrap()
    }

    /// The names of what verification finds, sorted, each once.
    pub(crate) fn findings(&self, external: Option<&str>) -> Vec<&'static str> {
        let report = self.verify(external);
        let mut names: Vec<_> = report.findings.iter().map(|f| f.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Runs SQL on a store's file as someone would who holds the database.
    pub(crate) fn tamper(&self, path: &std::path::Path, sql: &str) {
        let c = rusqlite::Connection::open(path).unwrap();
        c.execute_batch(sql).unwrap();
        c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }

    pub(crate) fn checkpoint_beside_keys(&self) -> String {
        std::fs::read_to_string(self.home.checkpoint(&self.tenant)).unwrap()
    }

    /// The file of the audit log.
    pub(crate) fn audit_file(&self) -> PathBuf {
        self.home.audit(&self.tenant)
    }

    /// The file of the record log.
    pub(crate) fn records_file(&self) -> PathBuf {
        self.home.records(&self.tenant)
    }
}

/// Reproducible choices for tests that try places at random.
pub(crate) fn choose(rng: &SeededRng, below: usize) -> usize {
    let mut b = [0u8; 8];
    rng.fill(&mut b);
    usize::try_from(u64::from_be_bytes(b) % u64::try_from(below).unwrap()).unwrap()
}
