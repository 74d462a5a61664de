//! The engine itself: tenants, policy, and the two steps that every interaction
//! shares: ask policy, then write down what was decided.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{ClassSet, Clock, LabelSet, LogicalId, RequestId, Rng, TenantId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::sensitive::{self, Labeller};
use phial_fhir::validate::Valid;
use phial_policy::{Action, Denial, Obligation, Permit, PolicySet, RecordRef};
use phial_store::Error as StoreError;
use phial_store::auditlog::Receipt;
use phial_store::vessel::{Unopened, Vessel};

use crate::access::cap::{Caps, Counters};
use crate::access::consent::Consents;
use crate::access::standing::Standing;
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::operation::subscription::Subscriptions;
use crate::released::{Output, Released, ReleasedFacts};
use crate::scan::Scanner;

/// Limits of the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Page size when the search does not say.
    pub page_size: u32,
    /// The largest page that a search may ask for.
    pub max_page_size: u32,
    /// The most entries in one bundle.
    pub max_bundle_entries: usize,
    /// The largest resource or bundle, in bytes.
    pub max_bytes: usize,
    /// What is taken in as attachments.
    pub attachments: Attachments,
    /// How much one account may read.
    pub caps: Caps,
    /// Who labels records for the codes in them; nobody when `None`.
    pub labeller: Option<Arc<Labeller>>,
}

/// What is taken in as attachments.
#[derive(Clone, Debug)]
pub struct Attachments {
    /// The largest content that is uploaded by itself, in bytes.
    pub max_bytes: u64,
    /// The largest content inside a resource, in bytes after decoding.
    pub max_inline: u64,
    /// Who looks for malware before anything is stored; nobody when `None`.
    pub scanner: Option<Scanner>,
}

impl Default for Attachments {
    fn default() -> Self {
        Attachments { max_bytes: 1 << 30, max_inline: 4 << 20, scanner: None }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            page_size: 20,
            max_page_size: 1000,
            max_bundle_entries: 20_000,
            max_bytes: 64 * 1024 * 1024,
            attachments: Attachments::default(),
            caps: Caps::default(),
            labeller: Some(Arc::new(sensitive::shipped().clone())),
        }
    }
}

/// One tenant as the engine holds it.
pub struct Tenant {
    /// Its stores.
    pub vessel: Vessel,
    /// Writers share it; a write whose condition looks at other records holds it
    /// alone, from looking to committing.
    pub(crate) writes: tokio::sync::RwLock<()>,
    /// Conditional references that were resolved before, with the number of writes
    /// to that type at which the answer held.
    pub(crate) resolved: Mutex<Resolved>,
    /// What is kept of its subscriptions.
    pub(crate) subscriptions: Mutex<Subscriptions>,
    /// How everybody stands, at a place of the control log.
    standing: Mutex<Option<(u64, Arc<Standing>)>>,
    consents: Consents,
    counters: Counters,
}

/// What conditional references were found to mean.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(crate) found: HashMap<String, (LogicalId, u64)>,
    pub(crate) writes: HashMap<ResourceType, u64>,
}

struct Inner {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    policy: PolicySet,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    settings: Settings,
    /// Hosts that notifications may go to. None, unless somebody says so.
    endpoint_hosts: RwLock<Arc<[String]>>,
    /// Tells the runner that there is something to do.
    jobs: tokio::sync::Notify,
    /// Tells the mailer that there is something to send.
    alerts: tokio::sync::Notify,
}

/// The gate between subjects and stores. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

impl Engine {
    /// An engine over these tenants' stores.
    pub fn new(
        vessels: Vec<Vessel>,
        policy: PolicySet,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        settings: Settings,
    ) -> Self {
        let tenants = vessels
            .into_iter()
            .map(|vessel| {
                let tenant = Tenant {
                    writes: tokio::sync::RwLock::new(()),
                    resolved: Mutex::new(Resolved::default()),
                    subscriptions: Mutex::new(Subscriptions::default()),
                    standing: Mutex::default(),
                    consents: Consents::default(),
                    counters: Counters::default(),
                    vessel,
                };
                (tenant.vessel.tenant().clone(), Arc::new(tenant))
            })
            .collect();
        let endpoint_hosts = RwLock::new(Arc::from(Vec::new()));
        let (jobs, alerts) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        Engine(Arc::new(Inner {
            tenants,
            policy,
            clock,
            rng,
            settings,
            endpoint_hosts,
            jobs,
            alerts,
        }))
    }

    /// The tenants served.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.0.tenants.values()
    }

    /// One tenant.
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.0.tenants.get(id)
    }

    /// The policies in force.
    pub fn policy(&self) -> &PolicySet {
        &self.0.policy
    }

    /// The sensitivity labels of a record: those that its sender set, and those that its
    /// codes bring.
    pub(crate) fn labels_of(&self, valid: &Valid) -> LabelSet {
        let computed = self.0.settings.labeller.as_ref().map(|l| l.labels(valid.doc()));
        valid.labels().or(computed.unwrap_or_default())
    }

    /// The limits in force.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The hosts (`HOST[:PORT]`) that notifications may go to from now on.
    pub fn set_endpoint_hosts(&self, hosts: &[String]) {
        *self.0.endpoint_hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts.into();
    }

    pub(crate) fn endpoint_hosts(&self) -> Arc<[String]> {
        Arc::clone(&self.0.endpoint_hosts.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn jobs_woken(&self) -> &tokio::sync::Notify {
        &self.0.jobs
    }

    /// Wakes whoever sends alerts by mail.
    pub fn alerted(&self) -> &tokio::sync::Notify {
        &self.0.alerts
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    pub(crate) fn rng(&self) -> &dyn Rng {
        self.0.rng.as_ref()
    }

    /// The caller's tenant.
    pub(crate) fn home(&self, caller: &Caller) -> Result<&Arc<Tenant>, Failure> {
        self.tenant(&caller.subject.tenant).ok_or(Failure::NotFound)
    }

    /// Asks policy about a record that was found. Care relationships are looked up
    /// only when the answer can depend on them. For a patch this asks whether any of the
    /// record may be patched: which classes it touches is asked once that is known.
    pub(crate) fn decide(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        action: Action,
        found: &Unopened,
    ) -> Result<Result<Permit, Denial>, Failure> {
        let record = RecordRef { row: found.row, version: found.version };
        let mut facts = found.facts();
        if action == Action::Patch {
            facts.classes = ClassSet::NONE;
        }
        let context = self.context(tenant, caller, action, &facts, &found.header.patients)?;
        let decided = self.policy().decide(&caller.subject, action, &record, &facts, &context);
        if let (Ok(_), Some(as_this)) = (&decided, &found.header.context)
            && !self.sees_context(tenant, caller, as_this)?
        {
            // To be treated as a record that this caller does not see.
            let reason = phial_policy::DenialReason::NotPermitted;
            return Ok(Err(Denial { reason, policies: Arc::from([]) }));
        }
        if let Ok(permit) = &decided
            && caller.subject.scopes.as_ref().is_some_and(|s| s.narrows())
            && !self.is_in_scope(tenant, caller, permit, found)?
        {
            let reason = phial_policy::DenialReason::Scope;
            return Ok(Err(Denial { reason, policies: Arc::from([]) }));
        }
        Ok(decided)
    }

    /// Writes down entries and waits until they are durable. Without that nothing
    /// goes on: no audit, no access (invariant 7).
    pub(crate) async fn record(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        mut entries: Vec<Entry>,
        output: Option<[u8; 32]>,
    ) -> Result<Receipt, Failure> {
        for e in &mut entries {
            Self::name_grant(tenant, caller, e)?;
        }
        tenant
            .vessel
            .audit()
            .append(entries, output)
            .await
            // Whatever is wrong with the log, damage included: no audit, no access, and
            // service resumes when it is mended.
            .map_err(|e| {
                let incident = caller.request.id;
                tracing::warn!(%incident, error = %e, "an audit entry was not made durable");
                Failure::Busy(Some(e))
            })
    }

    /// Names the break-glass grants under which it happens: when a permit came of one, and
    /// when something is written about a patient of one.
    fn name_grant(tenant: &Tenant, caller: &Caller, e: &mut Entry) -> Result<(), Failure> {
        let flagged = e
            .detail
            .get(&DetailKey::Obligations)
            .is_some_and(|all| all.split(',').any(|o| o == Obligation::BreakGlass.name()));
        if !(flagged || e.kind == EventKind::Intent) || e.grant.is_some() {
            return Ok(());
        }
        let standing = tenant.standing().map_err(Self::store_failure(caller))?;
        let Some(own) = standing.of(&caller.subject.id) else { return Ok(()) };
        let mut named: Vec<&str> = Vec::new();
        for patient in e.patients.iter().filter_map(|p| p.id.as_ref()) {
            for grant in own.grants(patient, caller.request.at) {
                if !named.contains(&grant) {
                    named.push(grant);
                }
            }
        }
        if !named.is_empty() {
            e.grant = Some(named.join(","));
            if !flagged {
                let all = [Obligation::FlagAccess.name(), Obligation::BreakGlass.name()];
                entry::note(e, DetailKey::Obligations, all.join(","));
            }
        }
        Ok(())
    }

    /// Writes down that nothing was given, and hands back the failure to answer
    /// with. If that can't be written down, the answer is that failure instead.
    pub(crate) async fn refuse(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        mut entry: Entry,
        outcome: OutcomeCode,
        failure: Failure,
    ) -> Failure {
        entry.outcome = outcome;
        match self.record(tenant, caller, vec![entry], None).await {
            Ok(_) => failure,
            Err(e) => e,
        }
    }

    /// Binds bytes to their receipt.
    pub(crate) async fn release(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        entry: Entry,
        permits: &[Permit],
        body: Bytes,
        facts: Option<ReleasedFacts>,
    ) -> Result<Released, Failure> {
        if !permits.is_empty() {
            self.within_cap(tenant, caller, &entry).await?;
        }
        let output = Output::new(body);
        let receipt = self.record(tenant, caller, vec![entry], Some(output.digest())).await?;
        Released::new(permits, &receipt, output, facts).map_err(|_| Failure::Internal {
            incident: caller.request.id,
            source: StoreError::WrongPermit,
        })
    }

    /// A failure of a store, for this caller.
    pub(crate) fn store_failure(caller: &Caller) -> impl Fn(StoreError) -> Failure + '_ {
        |e| Failure::from_store(e, caller.request.id)
    }

    /// A fresh random number for a request or an intent.
    pub fn new_request_id(&self) -> RequestId {
        let mut bytes = [0u8; 16];
        self.rng().fill(&mut bytes);
        RequestId(bytes)
    }

    /// Records an event that touches no patient's record: start, stop, log-in,
    /// a job, a look at the audit log.
    ///
    /// # Errors
    /// [`Failure::Busy`] when it can't be made durable.
    pub async fn record_event(
        &self,
        caller: &Caller,
        kind: EventKind,
        detail: &[(phial_audit::DetailKey, String)],
    ) -> Result<(), Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, kind);
        if matches!(
            kind,
            EventKind::TokenRefused
                | EventKind::LoginFailed
                | EventKind::Throttled
                | EventKind::Denied
                | EventKind::ClientRefused
        ) {
            e.outcome = OutcomeCode::Denied;
        }
        for (k, v) in detail {
            entry::note(&mut e, *k, v.clone());
        }
        self.record(tenant, caller, vec![e], None).await.map(|_| ())
    }
}

impl Tenant {
    pub(crate) fn kept_standing(&self) -> std::sync::MutexGuard<'_, Option<(u64, Arc<Standing>)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn consents(&self) -> &Consents {
        &self.consents
    }

    pub(crate) fn resolved(&self) -> std::sync::MutexGuard<'_, Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
