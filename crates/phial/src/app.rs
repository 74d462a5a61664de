//! Puts the program together: home, keys, stores, policy, engine, accounts. The one
//! wiring file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::{ArcSwap, Guard};
use jiff::{SignedDuration, Timestamp};
use phial_audit::{DetailKey, EventKind};
use phial_base::{
    Clock, Purpose, RequestId, RequestInfo, Rng, Sensitive, Subject, SubjectId, Surface,
    SystemClock, SystemRng, TenantId,
};
use phial_crypto::{KeyFile, RootProvider};
use phial_engine::job::Runner;
use phial_engine::{Attachments, Caller, Engine, Settings};
use phial_fhir::sensitive::Labeller;
use phial_identity::oauth::{Apps, Keys, Lives};
use phial_identity::throttle::Throttle;
use phial_identity::{Limits, Tokens};
use phial_policy::PolicySet;
use phial_store::blobs::{Bucket, BucketSettings};
use phial_store::home::{Home, HomeLock};
use phial_store::keystore::Keystore;
use phial_store::making::{self, Making};
use phial_store::open::Options;
use phial_store::sessions::Sessions;
use phial_store::tickets::Tickets;
use phial_store::verify::Report;
use phial_store::vessel::{Indexing, Vessel};

use crate::config::Config;
use crate::http::KeySets;
use crate::http::{Answered, Hashing};
use crate::jobs;
use crate::sso::{self, Discovered};

/// How long a look at a store's file is good for: a file that someone takes away is noticed
/// so late at most, and what is committed is looked at in any case. Looking before each
/// step of each read took a twentieth of a read's time.
const LOOK_GOOD_FOR: Duration = Duration::from_micros(500);

/// The program, put together over one home.
pub(crate) struct App {
    pub(crate) home: Home,
    config: ArcSwap<Config>,
    pub(crate) engine: Engine,
    pub(crate) tokens: Tokens,
    /// What apps and services were given.
    pub(crate) apps: Apps,
    /// The keys that sign id_tokens.
    pub(crate) token_keys: Keys,
    /// Key sets of clients, fetched.
    pub(crate) key_sets: KeySets,
    /// What identity providers say of themselves.
    pub(crate) providers: Discovered,
    pub(crate) throttle: Throttle,
    pub(crate) hashing: Hashing,
    /// Answers to passkey challenges that were used, until they are too old anyway.
    pub(crate) answered: Answered,
    pub(crate) jobs: Runner,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    /// Held by whoever writes records; a look or a token needs none.
    _lock: Option<HomeLock>,
}

/// What a command is going to do with the home.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Serve, import, destroy: one process at a time.
    Alone,
    /// Accounts, tokens, a look at the audit log: also beside a running server.
    Beside,
}

impl App {
    /// Makes a new home with the default tenant, or finishes one that was interrupted.
    pub(crate) fn init(root: &Path) -> anyhow::Result<()> {
        let making = Making::begin(root, crate::config::TEMPLATE)?;
        let config = Config::read(&making.home().config())?;
        let path = config.keys.root_file.clone().unwrap_or_else(|| making.home().root_key());
        let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
        making.finish(&path, Arc::new(SystemClock), rng, &Options::default())?;
        Ok(())
    }

    /// Adds a tenant to a home: keys and empty stores of its own.
    pub(crate) fn add_tenant(root: &Path, tenant: &TenantId) -> anyhow::Result<()> {
        let home = Home::open(root)?;
        let config = Config::read(&home.config())?;
        let _lock = home.lock_exclusive()?;
        let options = Options::default();
        let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
        let keystore = open_keystore(&home, &config, &rng, &options)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        making::add_tenant(&home, &keystore, tenant, clock, rng, &options)?;
        Ok(())
    }

    /// Opens a home.
    pub(crate) fn open(root: &Path, use_: Use) -> anyhow::Result<Self> {
        let options = Options { look_good_for: Some(LOOK_GOOD_FOR), ..Options::default() };
        Self::open_with(root, use_, &options)
    }

    /// As [`App::open`], labelling by another list of one's own than the configured one.
    pub(crate) fn open_labelling(
        root: &Path,
        use_: Use,
        list: Option<&Path>,
    ) -> anyhow::Result<Self> {
        Self::open_over(root, use_, &Options::default(), list)
    }

    pub(crate) fn open_with(root: &Path, use_: Use, options: &Options) -> anyhow::Result<Self> {
        Self::open_over(root, use_, options, None)
    }

    fn open_over(
        root: &Path,
        use_: Use,
        options: &Options,
        list: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let home = Home::open(root)?;
        let mut config = Config::read(&home.config())?;
        if let Some(list) = list {
            config.labels.list = Some(list.to_owned());
        }
        let lock = match use_ {
            Use::Alone => Some(home.lock_exclusive()?),
            Use::Beside => None,
        };
        let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keystore = open_keystore(&home, &config, &rng, options)?;
        let options = &Options { bucket: bucket(&config)?, ..options.clone() };
        let indexing = match use_ {
            Use::Alone => Indexing::Local,
            Use::Beside => Indexing::None,
        };
        let mut vessels = Vec::new();
        for tenant in keystore.tenants()? {
            vessels.push(Vessel::open(
                &home,
                &tenant,
                Arc::clone(&keystore),
                Arc::clone(&clock),
                Arc::clone(&rng),
                options,
                indexing,
            )?);
        }
        let sessions = Sessions::open(&home, Arc::clone(&keystore), Arc::clone(&rng), options)?;
        let tickets = Tickets::open(&home, keystore, Arc::clone(&rng), options)?;
        let limits = limits(&config);
        let attachments = Attachments {
            max_bytes: config.attachments.max_mib << 20,
            max_inline: config.attachments.max_inline_kib << 10,
            scanner: config.attachments.scanner(),
        };
        let max_bytes = max_bytes(&config);
        let labeller = labeller(&config)?;
        let caps = config.caps.in_force();
        let settings = Settings { max_bytes, attachments, labeller, caps, ..Settings::default() };
        let policy = PolicySet::shipped()?;
        sso::check(&config, &policy)?;
        let engine = Engine::new(vessels, policy, Arc::clone(&clock), Arc::clone(&rng), settings);
        engine.set_endpoint_hosts(&config.subscriptions.hosts);
        Ok(App {
            jobs: jobs::runner(&engine, &config),
            engine,
            tokens: Tokens::new(sessions, limits),
            apps: Apps::new(tickets, lives(&config)),
            token_keys: Keys::default(),
            key_sets: KeySets::default(),
            providers: Discovered::default(),
            throttle: Throttle::default(),
            hashing: Hashing::default(),
            answered: Answered::default(),
            home,
            config: ArcSwap::from_pointee(config),
            clock,
            rng,
            _lock: lock,
        })
    }

    /// Verifies the stores of a tenant, writing nothing.
    pub(crate) fn verify(
        root: &Path,
        tenant: &TenantId,
        checkpoint: Option<&str>,
    ) -> anyhow::Result<Report> {
        let home = Home::open(root)?;
        let config = Config::read(&home.config())?;
        let options = Options { bucket: bucket(&config)?, ..Options::default() };
        let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
        let keystore = open_keystore(&home, &config, &rng, &options)?;
        Ok(phial_store::verify::verify(&home, tenant, &keystore, &rng, checkpoint, &options)?)
    }

    /// Work of our own at start, before anything is served: open intents are closed
    /// from the record log, departures from safe defaults and the policy in force are
    /// written down, what is stored gets the labels of the lists in force, rows of
    /// destroyed keys are deleted.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        for tenant in self.engine.tenants() {
            let caller = self.operator(tenant.vessel.tenant(), Surface::Job);
            let policy = hex::encode(self.engine.policy().hash());
            self.engine.recover(tenant, &caller).await.map_err(into_anyhow)?;
            self.engine
                .record_event(
                    &caller,
                    EventKind::Start,
                    &[
                        (DetailKey::Software, env!("CARGO_PKG_VERSION").to_owned()),
                        (DetailKey::PolicyHash, policy),
                    ],
                )
                .await
                .map_err(into_anyhow)?;
            for d in self.config().departures()? {
                self.engine
                    .record_event(
                        &caller,
                        EventKind::Config,
                        &[
                            (DetailKey::Setting, d.setting.to_owned()),
                            (DetailKey::Value, d.value),
                            (DetailKey::Rationale, d.rationale),
                        ],
                    )
                    .await
                    .map_err(into_anyhow)?;
            }
            let kept = self.tokens.sessions().tallies(tenant.vessel.tenant())?;
            let read = self.engine.recount(tenant, &kept)?;
            tracing::debug!(count = read, "entries were counted again for the caps");
            self.engine.relabel(tenant, &caller).await.map_err(into_anyhow)?;
            if tenant.vessel.has_fresh_index() {
                self.engine.sweep(tenant, &caller).await.map_err(into_anyhow)?;
            }
        }
        self.jobs.sweep();
        Ok(())
    }

    /// Says of a tenant's log-ins whether they live, for what hangs on them.
    pub(crate) fn log_ins(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Fn(&SubjectId, &str) -> Result<bool, phial_identity::Error> {
        let (tenant, sessions) = (tenant.clone(), self.tokens.sessions());
        move |user, first| Ok(sessions.login_lives(&tenant, user, first, now)?)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Largest request body, bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        max_bytes(&self.config())
    }

    /// Another configuration is in force from now on.
    pub(crate) fn reconfigure(&self, config: Config) {
        self.tokens.set_limits(limits(&config));
        self.engine.set_endpoint_hosts(&config.subscriptions.hosts);
        self.config.store(Arc::new(config));
    }

    /// Writes an event about the program itself into every tenant's log.
    pub(crate) async fn note(
        &self,
        kind: EventKind,
        detail: &[(DetailKey, String)],
    ) -> anyhow::Result<()> {
        for tenant in self.engine.tenants() {
            let caller = self.operator(tenant.vessel.tenant(), Surface::Job);
            self.engine.record_event(&caller, kind, detail).await.map_err(into_anyhow)?;
        }
        Ok(())
    }

    /// Writes whose end nobody could say are closed from the record log.
    pub(crate) async fn close_intents(&self) -> anyhow::Result<()> {
        for tenant in self.engine.tenants() {
            let caller = self.operator(tenant.vessel.tenant(), Surface::Job);
            self.engine.close_intents(tenant, &caller).await.map_err(into_anyhow)?;
        }
        Ok(())
    }

    /// Keeps what accounts read within their window, when it is time to or `at_once`, so
    /// that the next start need not read a whole window of the log.
    pub(crate) fn keep_tallies(&self, at_once: bool) {
        for tenant in self.engine.tenants() {
            let kept = self.engine.to_be_kept(tenant, at_once).and_then(|tallies| {
                let Some(tallies) = tallies else { return Ok(()) };
                let (now, keep) = (self.clock.now(), self.engine.settings().caps.window);
                let sessions = self.tokens.sessions();
                let kept = sessions.keep_tallies(tenant.vessel.tenant(), &tallies, now, keep);
                kept.inspect_err(|_| self.engine.not_kept(tenant, &tallies))
            });
            if let Err(e) = kept {
                tracing::warn!(error = %e, "counts for the caps are not kept: the log has them");
            }
        }
    }

    /// The end in order: what was queued is made durable, checkpoints are signed.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.close_intents().await?;
        for tenant in self.engine.tenants() {
            let caller = self.operator(tenant.vessel.tenant(), Surface::Job);
            self.engine.record_event(&caller, EventKind::Stop, &[]).await.map_err(into_anyhow)?;
            tenant.vessel.audit().flush()?;
        }
        self.keep_tallies(true);
        Ok(())
    }

    /// The operator of this machine, in a tenant.
    pub(crate) fn operator(&self, tenant: &TenantId, surface: Surface) -> Caller {
        let mut caller = self.local("operator", &["operator"], surface);
        caller.subject_mut().tenant = tenant.clone();
        caller
    }

    /// A caller for work begun on this machine: the command line and jobs are
    /// subjects with roles and audit records like everyone else (invariant 9).
    pub(crate) fn local(&self, name: &str, roles: &[&str], surface: Surface) -> Caller {
        let mut id = [0u8; 16];
        self.rng.fill(&mut id);
        // The names used here are constants of this program and have the right form.
        let subject_id = SubjectId::new(name).or_else(|_| SubjectId::new("local"));
        #[expect(clippy::expect_used, reason = "a constant of this file")]
        let subject_id = subject_id.expect("`local` is a valid name");
        Caller {
            subject: Arc::new(Subject {
                tenant: TenantId::default_tenant(),
                id: subject_id,
                roles: roles.iter().map(|r| (*r).to_owned()).collect(),
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
                id: RequestId(id),
                at: self.clock.now(),
                ip: None,
                device: None,
                surface,
            },
        }
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        idle: SignedDuration::from_mins(config.session.idle_minutes),
        absolute: SignedDuration::from_hours(config.session.absolute_hours),
        idle_by_role: config
            .session
            .idle_by_role
            .iter()
            .map(|(role, minutes)| (role.clone(), SignedDuration::from_mins(*minutes)))
            .collect(),
    }
}

fn lives(config: &Config) -> Lives {
    Lives {
        access: SignedDuration::from_mins(config.oauth.access_minutes),
        offline: SignedDuration::from_hours(24 * config.oauth.offline_days),
        online: SignedDuration::from_hours(config.session.absolute_hours),
        ..Lives::default()
    }
}

fn max_bytes(config: &Config) -> usize {
    config.http.max_body_mib * 1024 * 1024
}

/// Who labels records for the codes in them.
fn labeller(config: &Config) -> anyhow::Result<Option<Arc<Labeller>>> {
    if !config.labels.automatic {
        return Ok(None);
    }
    let Some(path) = &config.labels.list else {
        return Ok(Some(Arc::new(phial_fhir::sensitive::shipped().clone())));
    };
    let about = || format!("labels.list {} can't be used", path.display());
    let text = std::fs::read_to_string(path).with_context(about)?;
    Ok(Some(Arc::new(Labeller::with(&text).with_context(about)?)))
}

/// The bucket that holds attachments, when the configuration names one.
fn bucket(config: &Config) -> anyhow::Result<Option<Bucket>> {
    let Some(s3) = &config.attachments.s3 else { return Ok(None) };
    let secret = private_file(&s3.secret_access_key_file, "attachments.s3.secret_access_key_file")?;
    let authority = s3.authority_file.as_ref().map(std::fs::read).transpose()?;
    let settings = BucketSettings {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: secret,
        authority,
        timeout: Duration::from_secs(s3.timeout_s),
        retries: 3,
    };
    Ok(Some(Bucket::new(settings)?))
}

/// A secret's text, from a file that is for its owner alone.
pub(crate) fn private_file(path: &Path, setting: &str) -> anyhow::Result<Sensitive<String>> {
    let shown = path.display();
    let about = || format!("{setting} {shown} can't be read");
    let mode = std::fs::metadata(path).with_context(about)?.permissions().mode();
    anyhow::ensure!(mode & 0o077 == 0, "{shown} may be read by others: run chmod 600 on it");
    let text = std::fs::read_to_string(path).with_context(about)?;
    Ok(Sensitive::new(text.trim().to_owned()))
}

/// Opens the keystore with the root key that the configuration names.
pub(crate) fn open_keystore(
    home: &Home,
    config: &Config,
    rng: &Arc<dyn Rng>,
    options: &Options,
) -> anyhow::Result<Arc<Keystore>> {
    let path = config.keys.root_file.clone().unwrap_or_else(|| home.root_key());
    let forbidden = home.forbidden_for_keys();
    let forbidden: Vec<&Path> = forbidden.iter().map(std::path::PathBuf::as_path).collect();
    let root_key: Arc<dyn RootProvider> = Arc::new(KeyFile::open(&path, &forbidden)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Ok(Arc::new(Keystore::open(&home.keystore(), root_key, clock, Arc::clone(rng), options)?))
}

/// A failure of the engine as an error of the command line.
pub(crate) fn into_anyhow(f: phial_engine::Failure) -> anyhow::Error {
    anyhow::Error::new(f)
}
