//! The worker that tells subscribers: asks the engine what may be sent, sends it, and
//! says what became of it.
//!
//! Each subscription is a task of its own while it is told something, one notification
//! at a time, so that order is kept and a slow endpoint keeps nobody else waiting. The
//! engine decides what may leave, and to whom; here are only the bytes and the wire. It
//! refuses: redirects, proxies of the environment, certificates that the configured CAs
//! do not vouch for, and to read what an endpoint has to say beyond its status.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use phial_base::{Purpose, RequestId, RequestInfo, RowId, SubjectId, Surface, TenantId};
use phial_engine::operation::subscription::{Form, KEEPER, Next, Outgoing, Patience};
use phial_engine::{Caller, Failure, Tenant};
use phial_identity::Accounts;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::app::App;
use crate::config::Subscriptions;
use crate::trust;

/// How often it is looked whether there is something to tell.
const LOOK: Duration = Duration::from_millis(250);
/// After how many looks it is looked for subscriptions of which nothing is kept.
const STRAYS: u64 = 2_400;
/// After how many looks a configuration that could not be used is tried again.
const AGAIN: u64 = 240;
/// For how many subscriptions events are looked for at once.
const THINKING: usize = 2;
/// How many things in a row one task does for a subscription before it is looked at anew.
const IN_A_ROW: usize = 64;

/// Tells subscribers until the task is ended. Whatever is under way then is sent again
/// after the next start.
pub(crate) async fn tell(app: Arc<App>, address: SocketAddr) {
    let busy: Busy = Arc::default();
    // They end with this one.
    let mut tasks = JoinSet::new();
    let mut wire: Option<Wire> = None;
    let mut tried: Option<Subscriptions> = None;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for ticks in 0_u64.. {
        look.tick().await;
        while tasks.try_join_next().is_some() {}
        if ticks.is_multiple_of(STRAYS) {
            find_strays(&app);
        }
        let settings = app.config().subscriptions.clone();
        if tried.as_ref() != Some(&settings) || (wire.is_none() && ticks.is_multiple_of(AGAIN)) {
            wire = Wire::new(&settings, &app, address)
                .inspect_err(|e| tracing::warn!(error = %e, "notifications can't be sent"))
                .ok();
            tried = Some(settings);
        }
        let Some(wire) = &wire else { continue };
        for tenant in app.engine.tenants() {
            let due = app.engine.subscriptions_due(tenant, &keeper(&app, tenant));
            let due = due.unwrap_or_else(|e| {
                tracing::warn!(error = %e, "subscriptions can't be looked at");
                Vec::new()
            });
            for row in due {
                let Some(turn) = Turn::take(&busy, tenant.vessel.tenant(), row) else { continue };
                let (app, wire, tenant) = (Arc::clone(&app), wire.clone(), Arc::clone(tenant));
                tasks.spawn(async move {
                    let _turn = turn;
                    if let Err(e) = wire.tell_one(&app, &tenant, row).await {
                        tracing::warn!(error = %e, "a subscriber can't be told now");
                    }
                });
            }
        }
    }
}

fn find_strays(app: &App) {
    for tenant in app.engine.tenants() {
        match app.engine.find_strays(tenant, &keeper(app, tenant)) {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(count, "subscriptions of which nothing is kept are in error");
            }
            Err(e) => tracing::warn!(error = %e, "subscriptions can't be looked for"),
        }
    }
}

/// Subscriptions that a task is busy with.
type Busy = Arc<Mutex<BTreeSet<(TenantId, RowId)>>>;

/// One of them, until it is dropped.
struct Turn(Busy, (TenantId, RowId));

impl Turn {
    fn take(busy: &Busy, tenant: &TenantId, row: RowId) -> Option<Self> {
        let key = (tenant.clone(), row);
        let free = busy.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        free.then(|| Turn(Arc::clone(busy), key))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// The job that writes down how subscriptions stand.
fn keeper(app: &App, tenant: &Tenant) -> Caller {
    let mut caller = app.local("subscriptions", &[KEEPER], Surface::Job);
    caller.subject_mut().tenant = tenant.vessel.tenant().clone();
    caller
}

/// A job on an account's behalf, with the roles that it has now.
fn acting(
    app: &App,
    tenant: &Tenant,
    account: &SubjectId,
    purpose: Purpose,
) -> Result<Option<Caller>, Failure> {
    let request = RequestInfo {
        id: app.engine.new_request_id(),
        at: app.clock.now(),
        ip: None,
        device: None,
        surface: Surface::Job,
    };
    let failed = |incident: RequestId| {
        move |e| match e {
            phial_identity::Error::Store(e) => Failure::from_store(e, incident),
            _ => Failure::Unauthenticated,
        }
    };
    let found = Accounts::new(tenant.vessel.control(), app.engine.policy())
        .find(account)
        .map_err(failed(request.id))?;
    let subject = found.and_then(|a| a.acting(tenant.vessel.tenant(), purpose));
    Ok(subject.map(|subject| Caller { subject: Arc::new(subject), request }))
}

/// How notifications are sent.
#[derive(Clone)]
struct Wire {
    settings: Subscriptions,
    client: reqwest::Client,
    base: String,
    /// Looking for events and making notifications computes: only so many at once, so
    /// that requests are answered meanwhile. Sending waits for no one.
    thinking: Arc<Semaphore>,
}

impl Wire {
    fn new(settings: &Subscriptions, app: &App, address: SocketAddr) -> anyhow::Result<Self> {
        let base = settings.base_url.clone().unwrap_or_else(|| format!("https://{address}/fhir"));
        let client = client(settings, app.home.root())?;
        let thinking = Arc::new(Semaphore::new(THINKING));
        Ok(Wire { settings: settings.clone(), client, base, thinking })
    }

    fn base(&self, tenant: &TenantId) -> String {
        if *tenant == TenantId::default_tenant() {
            return self.base.clone();
        }
        let root = self.base.strip_suffix("/fhir").unwrap_or(&self.base);
        format!("{root}/t/{tenant}/fhir")
    }

    fn patience(&self) -> Patience {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Patience {
            first: SignedDuration::from_millis(whole(self.settings.retry_first_ms)),
            most: SignedDuration::from_secs(whole(self.settings.retry_most_s)),
            attempts: self.settings.attempts,
        }
    }

    /// Does for a subscription what there is to do.
    async fn tell_one(&self, app: &App, tenant: &Tenant, row: RowId) -> Result<(), Failure> {
        let base = self.base(tenant.vessel.tenant());
        let owners = |account: &SubjectId, purpose| acting(app, tenant, account, purpose);
        for _ in 0..IN_A_ROW {
            let keeper = keeper(app, tenant);
            let engine = &app.engine;
            let next = {
                let _thinks = self.thinking.acquire().await;
                engine.next_notification(tenant, &keeper, row, &owners, &base).await?
            };
            match next {
                Next::Gone | Next::Quiet => break,
                Next::Again => {}
                Next::Send(outgoing) => match self.post(&outgoing).await {
                    Ok(()) => engine.delivered(tenant, &keeper, &outgoing)?,
                    Err(why) => {
                        let patience = self.patience();
                        engine.not_delivered(tenant, &keeper, &outgoing, &why, patience).await?;
                    }
                },
            }
        }
        Ok(())
    }

    /// Sends one notification. What went wrong is named by its kind: nothing of what was
    /// sent or answered is in it.
    async fn post(&self, outgoing: &Outgoing) -> Result<(), String> {
        let most = Duration::from_secs(self.settings.timeout_s);
        let limit = outgoing.timeout.map_or(most, |t| t.min(most));
        let mut headers = HeaderMap::new();
        for (name, value) in &outgoing.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err("a header can't be sent".to_owned());
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let endpoint = outgoing.endpoint.to_string();
        let request = match &outgoing.form {
            Form::Bundle | Form::Bare => self.client.post(endpoint),
            Form::Record { path } => {
                self.client.put(format!("{}/{path}", endpoint.trim_end_matches('/')))
            }
        };
        if outgoing.form != Form::Bare {
            let kind = HeaderValue::from_static("application/fhir+json; charset=utf-8");
            headers.insert(CONTENT_TYPE, kind);
        }
        let sent =
            request.headers(headers).timeout(limit).body(outgoing.body.body().clone()).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered with status {}", answer.status().as_u16())),
            Err(e) if e.is_timeout() => Err("it did not answer in time".to_owned()),
            Err(e) if e.is_connect() => Err("there was no connection to it".to_owned()),
            Err(_) => Err("the connection to it broke".to_owned()),
        }
    }
}

/// A client that trusts the configured CAs and nothing else, follows nobody elsewhere,
/// and takes nothing from the environment.
fn client(settings: &Subscriptions, home: &Path) -> anyhow::Result<reqwest::Client> {
    // Where nobody may be called, nobody needs to be trusted.
    let roots = match settings.hosts.is_empty() {
        true => rustls::RootCertStore::empty(),
        false => {
            let own = settings.ca.as_ref().map(|file| home.join(file));
            trust::own_or_systems(own, "give the CAs of endpoints: subscriptions.ca")?
        }
    };
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(trust::client(roots)?)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("Phial/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(60))
        .build()?)
}
