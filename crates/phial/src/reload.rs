//! Certificates and configuration, changed while the server runs.
//!
//! Written down first, in force after: a change that can't be recorded does not happen
//! (invariant 7). A file that can't be used changes nothing, and that is said in the
//! program's log and in the audit log. It refuses to change what is read once at the
//! start, and names it.

use std::sync::Arc;

use phial_audit::{DetailKey, EventKind};

use crate::app::App;
use crate::config::{Change, Config, Departure};
use crate::http::Serving;

/// The longest reason that an entry quotes, in characters.
const LONGEST: usize = 300;

/// Reads configuration and certificate again.
pub(crate) async fn all(app: &Arc<App>, serving: &Serving) {
    if let Err(e) = configuration(app, serving).await {
        refused(app, "phial.toml", &e).await;
    }
    if let Err(e) = certificate(app, serving).await {
        refused(app, "tls.certificate", &e).await;
    }
}

/// Takes a certificate whose files were replaced.
pub(crate) async fn certificate_if_changed(app: &Arc<App>, serving: &Serving) {
    let tls = app.config().tls.clone();
    if serving.front.certificates.have_changed(&tls)
        && let Err(e) = certificate(app, serving).await
    {
        refused(app, "tls.certificate", &e).await;
    }
}

async fn configuration(app: &Arc<App>, serving: &Serving) -> anyhow::Result<()> {
    let old = Config::clone(&app.config());
    let (new, waiting) = old.as_far_as_live(Config::read(&app.home.config())?);
    crate::sso::check(&new, app.engine.policy())?;
    let changes = old.changes(&new);
    let departures = new.departures()?;
    // A configuration whose certificate can't be used can't be used either.
    let certificate = match old.tls == new.tls {
        true => None,
        false => Some(serving.front.certificates.read(&new.tls, app.clock.now())?),
    };
    let said = match (changes.len(), waiting.len()) {
        (0, 0) => "read again, nothing changed".to_owned(),
        (n, 0) => format!("read again, settings changed: {n}"),
        (n, _) => {
            format!("read again, settings changed: {n}; needs a restart: {}", waiting.join(", "))
        }
    };
    note(app, &[(DetailKey::Setting, "phial.toml"), (DetailKey::Value, &said)]).await?;
    for change in &changes {
        note(app, &of(change, &departures)).await?;
    }
    app.reconfigure(new);
    if let Some(loaded) = certificate {
        serving.front.certificates.take(loaded);
    }
    serving.limits_changed();
    for change in &changes {
        tracing::info!("{} was {} and is {}", change.setting, change.from, change.to);
    }
    tracing::info!("phial.toml {said}");
    Ok(())
}

/// What the log says of a change: the new value, and why it departs from the default.
fn of<'a>(change: &'a Change, departures: &'a [Departure]) -> Vec<(DetailKey, &'a str)> {
    let mut detail =
        vec![(DetailKey::Setting, change.setting.as_str()), (DetailKey::Value, change.to.as_str())];
    if let Some(d) = departures.iter().find(|d| d.setting == change.setting) {
        detail.push((DetailKey::Rationale, d.rationale.as_str()));
    }
    detail
}

async fn certificate(app: &Arc<App>, serving: &Serving) -> anyhow::Result<()> {
    let certificates = &serving.front.certificates;
    let loaded = certificates.read(&app.config().tls, app.clock.now())?;
    if loaded.fingerprint == certificates.fingerprint() {
        // The same one, perhaps in files that were touched.
        certificates.take(loaded);
        return Ok(());
    }
    let until = loaded.about.as_ref().map_or_else(String::new, |a| a.until.to_string());
    note(
        app,
        &[
            (DetailKey::Setting, "tls.certificate"),
            (DetailKey::FileHash, &loaded.fingerprint),
            (DetailKey::Until, &until),
        ],
    )
    .await?;
    tracing::info!("another certificate is in use, sha-256 {}, until {until}", loaded.fingerprint);
    certificates.take(loaded);
    Ok(())
}

async fn note(app: &App, detail: &[(DetailKey, &str)]) -> anyhow::Result<()> {
    let detail: Vec<(DetailKey, String)> =
        detail.iter().map(|(k, v)| (*k, v.chars().take(LONGEST).collect())).collect();
    app.note(EventKind::Config, &detail).await
}

/// What could not be used, and why. Paths, settings and forms of files; nothing of a
/// record is near.
async fn refused(app: &App, setting: &str, e: &anyhow::Error) {
    let why = format!("refused, what was in force stays: {e:#}");
    tracing::error!("{setting}: {why}");
    if let Err(e) = note(app, &[(DetailKey::Setting, setting), (DetailKey::Reason, &why)]).await {
        tracing::error!(error = %e, "that could not be written into the audit log");
    }
}
