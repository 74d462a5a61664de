//! `phial serve`

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use phial_base::Surface;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::behind;
use super::out::Out;
use crate::app::{App, Use};
use crate::{http, reload, subscriptions};

/// Serve FHIR over TLS 1.2/1.3. Without a certificate in phial.toml a development CA
/// is made: trust HOME/tls/ca.pem.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
}

pub(super) fn run(home: &Path, args: &ServeArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let app = Arc::new(App::open(home, Use::Alone)?);
    super::runtime()?.block_on(async {
        app.start().await?;
        let serving = http::serve(Arc::clone(&app), args.listen).await?;
        let told = Told::listen()?;
        announce(out, &app, serving.address());
        told.serve_until_the_end(&app, &serving, out).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn announce(out: &Out, app: &App, address: SocketAddr) {
    let base = format!("https://{address}/fhir");
    let ca = app.home.tls().join("ca.pem");
    let own = app.config().tls.certificate.is_some();
    let text = if own {
        format!("serving {base}")
    } else {
        format!("serving {base}  (development CA: {})", ca.display())
    };
    let ca = (!own).then_some(ca);
    out.result(&text, &serde_json::json!({ "base": base, "ca": ca }));
}

/// The signals that end a server, or bid it look at its files again. Heard from the
/// moment this is made, which is before the server says that it is ready: a stop right
/// then is a stop in order, too.
pub(super) struct Told {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// How often certificate files are looked at.
const LOOK: Duration = Duration::from_secs(2);

impl Told {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Told {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Serves until SIGINT or SIGTERM, and ends in order; a second of them ends at once.
    /// Meanwhile the index is kept near the head and old snapshots are dropped; SIGHUP
    /// reads configuration and certificate again, and a certificate that was replaced
    /// is taken without being told.
    pub(super) async fn serve_until_the_end(
        mut self,
        app: &Arc<App>,
        serving: &http::Serving,
        out: &Out,
    ) -> anyhow::Result<()> {
        let preparing = Arc::clone(app);
        tokio::task::spawn_blocking(move || prepare(&preparing));
        let indexing = tokio::spawn(behind::follow(Arc::clone(app)));
        let mailing = tokio::spawn(crate::mail::send_alerts(Arc::clone(app)));
        let keeping = tokio::spawn(keep_tallies(Arc::clone(app)));
        let telling = tokio::spawn(subscriptions::tell(Arc::clone(app), serving.address()));
        let (end_jobs, told_to_end) = tokio::sync::watch::channel(false);
        let runner = app.jobs.clone();
        let jobs = tokio::spawn(async move { runner.run(told_to_end).await });
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => break,
                _ = self.terminate.recv() => break,
                _ = self.hangup.recv() => reload::all(app, serving).await,
                _ = look.tick() => reload::certificate_if_changed(app, serving).await,
            }
        }
        telling.abort();
        mailing.abort();
        keeping.abort();
        indexing.abort();
        out.say("stopping: running requests finish, then the logs are closed");
        let ending = async {
            // The steps of jobs that are under way end; the jobs go on at the next start.
            let _ = end_jobs.send(true);
            let most = Duration::from_secs(app.config().http.drain_timeout_s);
            let (cut, ended) = tokio::join!(serving.stop(), tokio::time::timeout(most, jobs));
            if cut > 0 {
                tracing::warn!(count = cut, "connections were cut off: http.drain_timeout_s");
            }
            if ended.is_err() {
                tracing::warn!("a job's step was cut off: it is done once more");
            }
            app.stop().await
        };
        tokio::select! {
            ended = ending => ended,
            _ = self.interrupt.recv() => at_once(),
            _ = self.terminate.recv() => at_once(),
        }
    }
}

/// Ends without waiting for anyone. What was acknowledged is durable; what was not gets
/// no answer, and the next start closes what is open.
fn at_once() -> anyhow::Result<()> {
    tracing::warn!("told twice: ended at once");
    std::process::exit(1)
}

/// Finds out what the first permit of each tenant would have to wait for.
fn prepare(app: &App) {
    for tenant in app.engine.tenants() {
        let caller = app.operator(tenant.vessel.tenant(), Surface::Job);
        if let Err(e) = app.engine.prepare(&caller) {
            tracing::warn!(error = %e, "the first permit looks for consents itself");
        }
    }
}

/// Keeps what accounts read, for the caps, when it is time to.
async fn keep_tallies(app: Arc<App>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let app = Arc::clone(&app);
        // What fails is told there.
        let _ = tokio::task::spawn_blocking(move || app.keep_tallies(false)).await;
    }
}
