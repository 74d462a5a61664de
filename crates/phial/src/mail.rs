//! Alerts by mail: what privacy officers have to look at, without anything of a patient.
//!
//! The control log is the outbox: an alert is there until it is written down that it went
//! out, so a mail server that is away delays it and loses nothing. It refuses: a connection
//! without TLS, a certificate that the configured CAs do not vouch for, and to put into a
//! mail more than an alert says, which names an account and no patient (RFC 5321, 8314).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use phial_base::{Surface, TenantId};
use phial_engine::Caller;
use phial_engine::alert::Alert;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::app::{App, private_file};
use crate::config::{Mail, MailTls};
use crate::trust;

/// How often it is looked for alerts that nobody told of.
const LOOK: Duration = Duration::from_secs(60);
/// The wait after a first failure; it doubles with each that follows.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const MOST: Duration = Duration::from_secs(300);
/// How long one mail may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends alerts until the task is ended.
pub(crate) async fn send_alerts(app: Arc<App>) {
    let (mut wait, mut failures) = (FIRST, 0_u32);
    loop {
        tokio::select! {
            () = app.engine.alerted().notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        let settings = app.config().mail.clone();
        wait = match send_all(&app, &settings).await {
            Ok(()) => {
                failures = 0;
                LOOK
            }
            Err(e) => {
                tracing::warn!(error = %e, "an alert can't be mailed now");
                let wait = FIRST.saturating_mul(1 << failures.min(16)).min(MOST);
                failures += 1;
                wait
            }
        };
    }
}

fn mailer(app: &App, tenant: &TenantId) -> Caller {
    let mut caller = app.local("mailer", &[], Surface::Job);
    caller.subject_mut().tenant = tenant.clone();
    caller
}

async fn send_all(app: &App, settings: &Mail) -> anyhow::Result<()> {
    let Some(server) = &settings.server else { return Ok(()) };
    for tenant in app.engine.tenants() {
        let caller = mailer(app, tenant.vessel.tenant());
        for alert in app.engine.unmailed(tenant, &caller)? {
            let text = text(settings, &alert, app.clock.now());
            let sending = deliver(settings, server, app.home.root(), &text);
            tokio::time::timeout(PATIENCE, sending).await.context("it took too long")??;
            // Crash before this line: the alert goes out once more.
            app.engine.mailed(tenant, &caller, &alert.id)?;
        }
    }
    Ok(())
}

/// The mail about an alert (RFC 5322).
fn text(settings: &Mail, alert: &Alert, now: Timestamp) -> String {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let domain = settings.from.rsplit('@').next().unwrap_or("localhost");
    let to = settings.to.join(", ");
    format!(
        "From: Phial <{from}>\r\nTo: {to}\r\nDate: {date}\r\nMessage-ID: <{id}@{domain}>\r\n\
         Subject: Phial: an alert ({what})\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         {subject} {sentence}.\r\n\r\nAlert {id}, {at:.0}.\r\n\
         It names no patient. See `phial alert list`.\r\n",
        from = settings.from,
        id = alert.id,
        what = alert.what.name(),
        subject = alert.subject,
        sentence = alert.what.sentence(),
        at = alert.at,
    )
}

async fn deliver(settings: &Mail, server: &str, home: &Path, text: &str) -> anyhow::Result<()> {
    let (host, _) = server.rsplit_once(':').context("mail.server is HOST:PORT")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).context("mail.server names no host")?;
    let tls = connector(settings, home)?;
    let stream = TcpStream::connect(server).await.context("no connection to the mail server")?;
    let stream = match settings.tls {
        MailTls::Implicit => stream,
        MailTls::Starttls => {
            let mut plain = Session(BufReader::new(stream));
            plain.expect(220).await?;
            plain.say("EHLO phial", 250).await?;
            plain.say("STARTTLS", 220).await?;
            // What came before the handshake would be read as if it came after it.
            ensure!(plain.0.buffer().is_empty(), "the mail server speaks out of turn");
            plain.0.into_inner()
        }
    };
    let stream = tls.connect(name, stream).await.context("no TLS with the mail server")?;
    let mut session = Session(BufReader::new(stream));
    if settings.tls == MailTls::Implicit {
        session.expect(220).await?;
    }
    session.say("EHLO phial", 250).await?;
    if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
        let password = private_file(&home.join(file), "mail.password_file")?;
        let plain = Zeroizing::new(format!("\0{user}\0{}", password.reveal()));
        let line = Zeroizing::new(format!("AUTH PLAIN {}", STANDARD.encode(plain.as_bytes())));
        session.say(&line, 235).await.context("the mail server takes no password")?;
    }
    session.say(&format!("MAIL FROM:<{}>", settings.from), 250).await?;
    for to in &settings.to {
        session.say(&format!("RCPT TO:<{to}>"), 250).await?;
    }
    session.say("DATA", 354).await?;
    let stuffed: String = text
        .split_inclusive("\r\n")
        .map(|line| if line.starts_with('.') { format!(".{line}") } else { line.to_owned() })
        .collect();
    session.say(&format!("{stuffed}."), 250).await?;
    // It has the mail: how it takes its leave does not matter.
    let _ = session.say("QUIT", 221).await;
    Ok(())
}

fn connector(settings: &Mail, home: &Path) -> anyhow::Result<TlsConnector> {
    let own = settings.ca.as_ref().map(|file| home.join(file));
    let roots = trust::own_or_systems(own, "give the CA of the mail server: mail.ca")?;
    Ok(TlsConnector::from(Arc::new(trust::client(roots)?)))
}

/// A talk with a mail server.
struct Session<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn say(&mut self, line: &str, code: u16) -> anyhow::Result<()> {
        let out = self.0.get_mut();
        out.write_all(line.as_bytes()).await?;
        out.write_all(b"\r\n").await?;
        out.flush().await?;
        self.expect(code).await
    }

    /// Reads one answer, of which the last line has a space behind its code.
    async fn expect(&mut self, code: u16) -> anyhow::Result<()> {
        for _ in 0..64 {
            let mut line = Vec::new();
            loop {
                let had = self.0.fill_buf().await?;
                ensure!(!had.is_empty(), "the mail server hung up");
                let end = had.iter().position(|b| *b == b'\n').map_or(had.len(), |at| at + 1);
                line.extend(had.iter().take(end));
                self.0.consume(end);
                if line.last() == Some(&b'\n') {
                    break;
                }
                ensure!(line.len() <= 2_048, "the mail server says too much");
            }
            let said = line.get(..3).and_then(|n| std::str::from_utf8(n).ok());
            let said: u16 =
                said.and_then(|n| n.parse().ok()).context("the mail server says no code")?;
            if line.get(3) == Some(&b'-') {
                continue;
            }
            // Only the code: its words may repeat what was sent.
            ensure!(said == code, "the mail server answered {said}");
            return Ok(());
        }
        bail!("the mail server says too much")
    }
}

#[cfg(test)]
mod tests {
    use phial_base::SubjectId;
    use phial_engine::alert::What;

    use super::*;

    #[test]
    fn a_mail_says_what_an_alert_says_and_names_no_patient() {
        let settings = Mail {
            from: "phial@clinic.example".to_owned(),
            to: vec!["privacy@clinic.example".to_owned()],
            ..Mail::default()
        };
        let at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let alert = Alert {
            id: "a1".to_owned(),
            what: What::BreakGlass,
            subject: SubjectId::new("ann").unwrap(),
            about: Some("grant".to_owned()),
            at,
            seen: None,
            mailed: None,
        };
        let text = text(&settings, &alert, at);
        assert!(text.contains("Subject: Phial: an alert (break-glass)\r\n"));
        assert!(text.contains("Date: Sun, 01 Mar 2026 12:00:00 +0000\r\n"));
        assert!(text.contains("ann has broken the glass"));
        assert!(!text.contains("grant"), "which grant is to be looked up");
        assert!(text.lines().all(|l| l.len() < 200));
    }
}
