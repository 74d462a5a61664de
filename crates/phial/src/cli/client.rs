//! `phial client`: the apps and services that may ask, and what they may ask for
//! (164.312(a)(1), 164.312(d)).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use phial_audit::{DetailKey, EventKind};
use phial_base::{Purpose, SubjectId, Surface, TenantId};
use phial_engine::Endpoint;
use phial_identity::oauth::{CertificateName, Client, ClientKind, Clients, New};
use phial_identity::{Accounts, Error};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    /// Register an app or a service.
    Add(Box<AddArgs>),
    /// Show all apps and services.
    List(TenantArgs),
    /// Show one.
    Show(NameArgs),
    /// Let an app that registered itself act. Look at what it is and wants first: `show`.
    Approve(ApproveArgs),
    /// Remove one: everything that it was given is withdrawn at once.
    Remove(NameArgs),
    /// Give an app another secret, or make new keys that sign id_tokens.
    #[command(subcommand)]
    Rotate(RotateCommand),
}

#[derive(Subcommand)]
pub(crate) enum RotateCommand {
    /// Another secret for an app; the one before is good no more.
    Secret(NameArgs),
    /// New keys that sign id_tokens; those before stay published for a while.
    Keys(TenantArgs),
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct NameArgs {
    /// The client's name (client_id).
    id: String,
    #[command(flatten)]
    tenant: TenantArgs,
}

#[derive(Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    who: NameArgs,
    /// The most that it may ask for, when that is less than it wants.
    #[arg(long = "scope", value_name = "SCOPES")]
    scopes: Option<String>,
}

/// The kinds of clients.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// An app that can keep no secret: in a browser or on a phone.
    Public,
    /// An app with a server of its own.
    Confidential,
    /// A service that acts under an account of its own.
    Service,
}

/// Register an app or a service.
///
/// A service proves itself by its keys and never by a shared secret:
///   phial user add lab-feed --role system-client
///   phial client add lab-feed --kind service --name "Lab feed" --account lab-feed
///     --jwks keys.json --scope "system/Observation.rs system/Patient.rs"
#[derive(Args)]
pub(crate) struct AddArgs {
    /// Its unique name (client_id): A-Z a-z 0-9 - . _
    id: String,
    /// What people read when they are asked.
    #[arg(long)]
    name: String,
    /// What kind of client it is.
    #[arg(long, value_enum)]
    kind: Kind,
    /// The most that it may ask for: SMART scopes with spaces between.
    #[arg(long = "scope", value_name = "SCOPES")]
    scopes: String,
    /// Where answers may go, letter by letter; may be given several times.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Where a launch from an EHR begins.
    #[arg(long, value_name = "URI")]
    launch_uri: Option<String>,
    /// File with its public keys, a JWK set.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Where its public keys are; the host must stand in oauth.hosts.
    #[arg(long, value_name = "URL", conflicts_with = "jwks")]
    jwks_uri: Option<String>,
    /// Make a secret for it and print it once. Keys are better.
    #[arg(long)]
    secret: bool,
    /// The account that a service acts under.
    #[arg(long, value_name = "USER")]
    account: Option<SubjectId>,
    /// What a service acts for (HL7 v3 code); its account's first purpose by default.
    #[arg(long, value_parser = purpose, value_name = "CODE")]
    purpose: Option<Purpose>,
    /// SHA-256 of a certificate that it may prove itself by, hexadecimal; may be given
    /// several times.
    #[arg(long = "certificate", value_name = "SHA256")]
    certificates: Vec<String>,
    /// The name of the certificates that it may prove itself by when a CA of `tls.client_ca`
    /// vouches for them: subject_dn=CN=feed,O=Clinic, or san_dns, san_uri, san_ip, san_email
    /// (RFC 8705 section 2.1).
    #[arg(long, value_parser = CertificateName::parse, value_name = "KIND=NAME")]
    certificate_name: Option<CertificateName>,
    /// The algorithm of its id_tokens: RS256 (the default) or ES384.
    #[arg(long, value_name = "ALG")]
    id_token_alg: Option<String>,
    #[command(flatten)]
    tenant: TenantArgs,
}

fn purpose(code: &str) -> Result<Purpose, String> {
    Purpose::from_code(code).ok_or_else(|| "not a purpose of use (TREAT, HOPERAT...)".to_owned())
}

pub(super) fn run(home: &Path, command: &ClientCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    super::runtime()?.block_on(run_in(&app, command, out))?;
    Ok(ExitCode::SUCCESS)
}

async fn run_in(app: &App, command: &ClientCommand, out: &Out) -> anyhow::Result<()> {
    match command {
        ClientCommand::Add(args) => add(app, args, out).await,
        ClientCommand::List(args) => {
            let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
            let all = Clients::new(tenant.vessel.control()).all()?;
            let lines: Vec<String> = all.iter().map(line).collect();
            let values = all.iter().map(shown).collect::<anyhow::Result<Vec<_>>>()?;
            out.result(&lines.join("\n"), &values.into());
            Ok(())
        }
        ClientCommand::Show(args) => {
            let client = found(app, args)?;
            let mut lines = vec![line(&client), format!("scopes: {}", client.scopes)];
            lines.extend(client.redirect_uris.iter().map(|u| format!("redirect URI: {u}")));
            lines.extend(client.launch_uri.iter().map(|u| format!("launch URI: {u}")));
            lines.extend(client.account.iter().map(|a| format!("account: {a}")));
            lines.extend(client.jwks_uri.iter().map(|u| format!("keys at: {u}")));
            if client.dynamic {
                lines
                    .push("it registered itself: whoever it says it is, nobody checked".to_owned());
            }
            out.result(&lines.join("\n"), &shown(&client)?);
            Ok(())
        }
        ClientCommand::Approve(args) => {
            let mut client = found(app, &args.who)?;
            anyhow::ensure!(client.waits, "{} does not wait: it may act already", client.id);
            client.waits = false;
            if let Some(scopes) = &args.scopes {
                client.scopes = scopes.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            let (tenant, id) = (&args.who.tenant.tenant, &args.who.id);
            changed(app, tenant, id, "approved", |app| {
                let tenant = app.engine.tenant(tenant).context("no such tenant")?;
                Ok(Clients::new(tenant.vessel.control()).change(&client)?)
            })
            .await?;
            out.result(&format!("{id} may act now: {}", client.scopes), &shown(&client)?);
            Ok(())
        }
        ClientCommand::Remove(args) => {
            let mut client = found(app, args)?;
            client.active = false;
            let clients = |app: &App| -> anyhow::Result<()> {
                let tenant = app.engine.tenant(&args.tenant.tenant).context("no such tenant")?;
                Ok(Clients::new(tenant.vessel.control()).change(&client)?)
            };
            changed(app, &args.tenant.tenant, &args.id, "removed", clients).await?;
            let now = app.clock.now();
            let ended = app.apps.withdraw(&args.tenant.tenant, None, Some(&args.id), now)?;
            out.result(
                &format!("{} is removed; what it was given is withdrawn", args.id),
                &serde_json::json!({"client": args.id, "withdrawn": ended}),
            );
            Ok(())
        }
        ClientCommand::Rotate(RotateCommand::Secret(args)) => {
            let _ = found(app, args)?;
            let mut new = None;
            changed(app, &args.tenant.tenant, &args.id, "secret rotated", |app| {
                let tenant = app.engine.tenant(&args.tenant.tenant).context("no such tenant")?;
                let clients = Clients::new(tenant.vessel.control());
                new = Some(clients.rotate(&args.id, app.rng.as_ref())?);
                Ok(())
            })
            .await?;
            print_new(new.context("nothing was made")?, out)
        }
        ClientCommand::Rotate(RotateCommand::Keys(args)) => {
            let mut made = Vec::new();
            changed(app, &args.tenant, "id_token keys", "rotated", |app| {
                let tenant = app.engine.tenant(&args.tenant).context("no such tenant")?;
                let (control, now) = (tenant.vessel.control(), app.clock.now());
                made = app.token_keys.rotate(control, app.rng.as_ref(), now)?;
                Ok(())
            })
            .await?;
            out.result(&made.join("\n"), &serde_json::json!({"keys": made}));
            Ok(())
        }
    }
}

fn found(app: &App, args: &NameArgs) -> anyhow::Result<Client> {
    let tenant = app.engine.tenant(&args.tenant.tenant).context("there is no such tenant")?;
    let found = Clients::new(tenant.vessel.control()).find(&args.id)?;
    found.filter(|c| c.active).ok_or_else(|| Error::NoClient.into())
}

async fn add(app: &App, args: &AddArgs, out: &Out) -> anyhow::Result<()> {
    let tenant_id = &args.tenant.tenant;
    let tenant = app.engine.tenant(tenant_id).context("there is no such tenant")?;
    let jwks = match &args.jwks {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} can't be read", path.display()))?;
            Some(serde_json::from_str(&text).context("the key set is no JSON")?)
        }
        None => None,
    };
    if let Some(uri) = &args.jwks_uri {
        let at = Endpoint::parse(uri).context("the keys' address is https://HOST[:PORT]/PATH")?;
        anyhow::ensure!(
            at.is_among(&app.config().oauth.hosts),
            "the server asks hosts that are listed, and no other: add \"{}\" to oauth.hosts in \
             phial.toml first",
            at.authority()
        );
    }
    if let Some(account) = &args.account {
        let accounts = Accounts::new(tenant.vessel.control(), app.engine.policy());
        let there = accounts.find(account)?.is_some_and(|a| a.active);
        anyhow::ensure!(
            there,
            "there is no active account {account}: phial user add {account} --role system-client"
        );
    }
    let client = Client {
        id: args.id.clone(),
        name: args.name.clone(),
        kind: match args.kind {
            Kind::Public => ClientKind::Public,
            Kind::Confidential => ClientKind::Confidential,
            Kind::Service => ClientKind::Service,
        },
        redirect_uris: args.redirect_uris.clone(),
        launch_uri: args.launch_uri.clone(),
        scopes: args.scopes.split_whitespace().collect::<Vec<_>>().join(" "),
        jwks,
        jwks_uri: args.jwks_uri.clone(),
        secret: None,
        account: args.account.clone(),
        purpose: args.purpose,
        certificates: args.certificates.iter().map(|c| c.to_ascii_lowercase()).collect(),
        certificate_name: args.certificate_name.clone(),
        id_token_alg: args.id_token_alg.clone(),
        dynamic: false,
        waits: false,
        active: true,
    };
    let mut new = None;
    changed(app, tenant_id, &args.id, "added", |app| {
        let clients = Clients::new(tenant.vessel.control());
        new = Some(clients.add(client, args.secret, app.rng.as_ref())?);
        Ok(())
    })
    .await?;
    print_new(new.context("nothing was made")?, out)
}

/// The log says what is about to change before it does, and how the control log stands
/// after it.
async fn changed(
    app: &App,
    tenant: &TenantId,
    client: &str,
    what: &str,
    change: impl FnOnce(&App) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let found = app.engine.tenant(tenant).context("there is no such tenant")?;
    let caller = app.operator(tenant, Surface::Cli);
    let mut detail =
        vec![(DetailKey::Client, client.to_owned()), (DetailKey::Value, what.to_owned())];
    let kind = EventKind::ClientChanged;
    app.engine.record_event(&caller, kind, &detail).await.map_err(into_anyhow)?;
    change(app)?;
    detail.push((DetailKey::ControlHead, found.vessel.control().head()?));
    app.engine.record_event(&caller, kind, &detail).await.map_err(into_anyhow)
}

fn line(client: &Client) -> String {
    let state = match (client.active, client.waits) {
        (true, false) => "active",
        (true, true) => "waits",
        (false, _) => "removed",
    };
    format!("{:<24} {:<13} {:<8} {}", client.id, client.kind.name(), state, client.name)
}

/// A client without what proves it.
fn shown(client: &Client) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(client)?;
    if let Some(value) = value.as_object_mut() {
        let secret = value.remove("secret").is_some();
        value.insert("has_secret".to_owned(), secret.into());
    }
    Ok(value)
}

fn print_new(new: New, out: &Out) -> anyhow::Result<()> {
    let mut value = shown(&new.client)?;
    let mut text = line(&new.client);
    if let Some(secret) = &new.secret {
        text = format!("{text}\nsecret, shown once: {}", secret.as_str());
        if let Some(value) = value.as_object_mut() {
            value.insert("secret".to_owned(), secret.as_str().into());
        }
    }
    out.result(&text, &value);
    Ok(())
}
