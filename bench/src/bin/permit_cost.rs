//! What authentication and the permit cost a read (design §8), without network, record and
//! audit: the token recognised, ties, consents and scopes looked up, policy asked. Prints
//! one line of JSON, in microseconds.
//!
//! `permit-cost HOME TOKEN PATIENT...`: the first patient has a consent on file. The home
//! must not be in use. Cold means keystore, stores, policies and engine opened anew, and
//! the first question after that; cached means the same question again.
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use phial_base::scope::{Scope, Scopes};
use phial_base::{
    Clock, LogicalId, RequestId, RequestInfo, Rng, Subject, Surface, SystemClock, SystemRng,
    TenantId,
};
use phial_crypto::{KeyFile, RootProvider};
use phial_engine::measure::Found;
use phial_engine::{Caller, Engine, Settings};
use phial_fhir::definitions::ResourceType;
use phial_identity::{Limits, Tokens};
use phial_policy::PolicySet;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::open::Options;
use phial_store::sessions::Sessions;
use phial_store::vessel::{Indexing, Vessel};

/// Questions of one cached row.
const ROUNDS: u32 = 200_000;
/// Openings of the cold row.
const OPENINGS: usize = 50;

/// What a read is decided by.
struct Gate {
    tokens: Tokens,
    engine: Engine,
}

fn open(home: &Path) -> anyhow::Result<Gate> {
    let home = Home::open(home)?;
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = Options::default();
    let root: Arc<dyn RootProvider> = Arc::new(KeyFile::open(&home.root_key(), &[])?);
    let keystore = Arc::new(Keystore::open(
        &home.keystore(),
        root,
        Arc::clone(&clock),
        Arc::clone(&rng),
        &options,
    )?);
    let vessel = Vessel::open(
        &home,
        &TenantId::default_tenant(),
        Arc::clone(&keystore),
        Arc::clone(&clock),
        Arc::clone(&rng),
        &options,
        Indexing::Local,
    )?;
    let sessions = Sessions::open(&home, keystore, Arc::clone(&rng), &options)?;
    let engine = Engine::new(vec![vessel], PolicySet::shipped()?, clock, rng, Settings::default());
    Ok(Gate { tokens: Tokens::new(sessions, Limits::default()), engine })
}

fn request() -> RequestInfo {
    RequestInfo {
        id: RequestId([7; 16]),
        at: SystemClock.now(),
        ip: None,
        device: None,
        surface: Surface::Fhir,
    }
}

impl Gate {
    fn recognise(&self, token: &str, request: &RequestInfo) -> anyhow::Result<Arc<Subject>> {
        let tenant = TenantId::default_tenant();
        let stores = self.engine.tenant(&tenant).context("no tenant")?;
        let (control, policy) = (stores.vessel.control(), self.engine.policy());
        let found = self.tokens.recognise(control, policy, &tenant, token, request.at)?;
        found.context("the token is not recognised")
    }

    fn find(&self, caller: &Caller, patient: &str) -> anyhow::Result<Found> {
        let ty = ResourceType::from_name("Patient").context("no such type")?;
        Ok(self.engine.find_to_measure(caller, ty, &LogicalId::new(patient)?)?)
    }

    /// Microseconds of one question, of many.
    fn cached(&self, token: &str, patient: &str, scopes: Option<&Scopes>) -> anyhow::Result<f64> {
        let request = request();
        let mut caller = Caller { subject: self.recognise(token, &request)?, request };
        let found = self.find(&caller, patient)?;
        let mut scoped = Arc::clone(&caller.subject);
        Arc::make_mut(&mut scoped).scopes = scopes.cloned().map(Arc::new);
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let subject = black_box(self.recognise(token, &caller.request)?);
            caller.subject = if scopes.is_some() { Arc::clone(&scoped) } else { subject };
            ensure!(self.engine.ask_to_measure(&caller, &found)?, "the read is not permitted");
        }
        Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [home, token, patients @ ..] = args.as_slice() else { bail!("HOME TOKEN PATIENT...") };
    let [consented, others @ ..] = patients else { bail!("HOME TOKEN PATIENT...") };
    let home = Path::new(home);
    let (mut cold, mut tokens) = (Vec::new(), Vec::new());
    for patient in others.iter().cycle().take(OPENINGS) {
        let gate = open(home)?;
        let request = request();
        // The row is found for a caller of its own, so that the token is new to the gate.
        let subject = Arc::new(nobody()?);
        let nobody = Caller { subject, request: request.clone() };
        let found = gate.find(&nobody, patient)?;
        // As a server does once it has started.
        gate.engine.prepare(&nobody)?;
        let began = Instant::now();
        let subject = gate.recognise(token, &request)?;
        tokens.push(began.elapsed().as_secs_f64() * 1e6);
        let permitted = gate.engine.ask_to_measure(&Caller { subject, request }, &found)?;
        cold.push(began.elapsed().as_secs_f64() * 1e6);
        ensure!(permitted, "the read is not permitted");
    }
    let at = |times: &mut Vec<f64>, q: usize| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() * q / 100).copied().unwrap_or(f64::NAN)
    };

    let gate = open(home)?;
    let plain = others.first().context("two patients at least")?;
    let all = Scopes::new(Scope::parse("user/*.rs"), None);
    let figures = serde_json::json!({
        "cold": at(&mut cold, 50),
        "coldest": at(&mut cold, 95),
        "cold_token": at(&mut tokens, 50),
        "cached": gate.cached(token, plain, None)?,
        "scoped": gate.cached(token, plain, Some(&all))?,
        "consented": gate.cached(token, consented, None)?,
    });
    println!("{figures}");
    Ok(())
}

/// Who finds rows and is never asked about.
fn nobody() -> anyhow::Result<Subject> {
    Ok(Subject {
        tenant: TenantId::default_tenant(),
        id: phial_base::SubjectId::new("nobody")?,
        roles: Vec::new(),
        unit: None,
        practitioner: None,
        patient: None,
        purpose: phial_base::Purpose::TREAT,
        mfa: 0,
        session: None,
        client: None,
        scopes: None,
    })
}
