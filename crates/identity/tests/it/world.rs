//! Stores in a directory of their own.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use phial_base::{Clock as _, ManualClock, Rng, SubjectId, SystemRng, TenantId};
use phial_crypto::KeyFile;
use phial_identity::{Account, Accounts, Factors, Limits, Tokens};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::open::Options;
use phial_store::sessions::Sessions;

pub(crate) struct World {
    _dir: tempfile::TempDir,
    home: Home,
    keystore: Arc<Keystore>,
    rng: Arc<dyn Rng>,
    pub(crate) clock: ManualClock,
    pub(crate) tenant: TenantId,
    pub(crate) control: ControlLog,
    pub(crate) policy: PolicySet,
    pub(crate) tokens: Tokens,
}

pub(crate) fn user(name: &str) -> SubjectId {
    SubjectId::new(name).unwrap()
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("phial")).unwrap();
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap());
        let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
        let root = KeyFile::create(&home.root_key(), &[], rng.as_ref()).unwrap();
        let options = Options::default();
        let (path, tenant) = (home.keystore(), TenantId::default_tenant());
        let (c, r) = (Arc::new(clock.clone()), Arc::clone(&rng));
        let keystore = Keystore::create(&path, Arc::new(root), c, r, &options).unwrap();
        keystore.create_tenant(&tenant).unwrap();
        let keystore = Arc::new(keystore);
        std::fs::create_dir_all(home.control(&tenant).parent().unwrap()).unwrap();
        let (k, r) = (Arc::clone(&keystore), Arc::clone(&rng));
        let control = ControlLog::create(&home, &tenant, k, r, &options).unwrap();
        let (k, r) = (Arc::clone(&keystore), Arc::clone(&rng));
        let sessions = Sessions::create(&home, k, r, &options).unwrap();
        World {
            _dir: dir,
            tokens: Tokens::new(sessions, Limits::default()),
            policy: PolicySet::shipped().unwrap(),
            home,
            keystore,
            rng,
            clock,
            tenant,
            control,
        }
    }

    /// The sessions store as another start of the program finds it.
    pub(crate) fn reopened(&self) -> Sessions {
        let (k, r) = (Arc::clone(&self.keystore), Arc::clone(&self.rng));
        Sessions::open(&self.home, k, r, &Options::default()).unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, time: SignedDuration) {
        self.clock.advance(time);
    }

    pub(crate) fn accounts(&self) -> Accounts<'_> {
        Accounts::new(&self.control, &self.policy)
    }

    pub(crate) fn factors(&self) -> Factors<'_> {
        Factors::new(&self.control, self.tokens.sessions(), &self.tenant)
    }

    pub(crate) fn add(&self, name: &str, role: &str) -> SubjectId {
        self.accounts().add(&Account::new(user(name), vec![role.to_owned()])).unwrap();
        user(name)
    }
}
