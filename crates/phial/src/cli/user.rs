//! `phial user`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use phial_base::{LogicalId, SubjectId, Surface, TenantId};
use phial_identity::sso::Links;
use phial_identity::{Account, Accounts, Factors};
use phial_store::sessions::SessionRow;

use super::out::Out;
use crate::app::{App, Use};
use crate::people::{self, Standing};

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account: one person or service each.
    Add(AddArgs),
    /// Show all accounts.
    List(TenantArgs),
    /// Suspend an account and end its sessions at once.
    Suspend(NameArgs),
    /// Let a suspended account act again.
    Resume(NameArgs),
    /// Terminate an account for good: its sessions end at once, and its name stays taken.
    Terminate(NameArgs),
    /// Make a link by which a person sets password and second factor, once. It is shown
    /// this one time: give it in person, or by a way that only this person reads.
    Invite(InviteArgs),
    /// Show by what an account proves itself: kinds, names and dates, no secret.
    Factors(NameArgs),
    /// Tie an account to a person at an identity provider of `[sso.NAME]`, who logs in by
    /// it from then on; or undo that. Who it is there is said by the provider's own name for
    /// the person that never changes (`sub`), not by an e-mail address.
    Link(LinkArgs),
    /// Show where an account is logged in, or end that.
    Sessions(SessionsArgs),
    /// Show the roles that there are.
    Roles,
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct NameArgs {
    /// The account.
    name: SubjectId,
    #[command(flatten)]
    tenant: TenantArgs,
}

#[derive(Args)]
pub(crate) struct InviteArgs {
    #[command(flatten)]
    who: NameArgs,
    /// Take away the factors that the account has when the link is used: for somebody who
    /// lost them all. Be sure of who it is (SP 800-63B-4 §4.2).
    #[arg(long)]
    anew: bool,
    /// For how many hours it is good, 1 to 336.
    #[arg(long, default_value_t = 72, value_name = "HOURS", value_parser = clap::value_parser!(u16).range(1..=336))]
    hours: u16,
}

#[derive(Args)]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    who: NameArgs,
    /// The provider's name in `phial.toml`.
    #[arg(long, value_name = "NAME")]
    sso: String,
    /// The person's name there (`sub`).
    #[arg(long, value_name = "SUB", required_unless_present = "undo")]
    subject: Option<String>,
    /// Undo the tie, and end the account's sessions.
    #[arg(long, conflicts_with = "subject")]
    undo: bool,
}

#[derive(Args)]
pub(crate) struct SessionsArgs {
    #[command(flatten)]
    who: NameArgs,
    /// End the one with this handle.
    #[arg(long, value_name = "HANDLE", conflicts_with = "end_all")]
    end: Option<String>,
    /// End all of them.
    #[arg(long)]
    end_all: bool,
}

#[derive(Args)]
pub(crate) struct AddArgs {
    /// A unique name: a-z 0-9 . _ @ -
    name: SubjectId,
    /// A role (`phial user roles` lists them); may be given several times.
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<String>,
    /// Logical id of the Practitioner that this account is: care relationships hang
    /// on it.
    #[arg(long, value_name = "ID", value_parser = LogicalId::new)]
    practitioner: Option<LogicalId>,
    /// Logical id of the Patient that this account is: their own record hangs on it.
    #[arg(long, value_name = "ID", value_parser = LogicalId::new)]
    patient: Option<LogicalId>,
    /// Organisational unit.
    #[arg(long)]
    unit: Option<String>,
    /// What the person is called, for colleagues who look after accounts.
    #[arg(long = "name", value_name = "TEXT")]
    called: Option<String>,
    #[command(flatten)]
    tenant: TenantArgs,
}

pub(super) fn run(home: &Path, command: &UserCommand, out: &Out) -> anyhow::Result<ExitCode> {
    if let UserCommand::Roles = command {
        let policy = phial_policy::PolicySet::shipped()?;
        let text: Vec<String> =
            policy.roles().map(|r| format!("{:<18} {}", r.name, r.description)).collect();
        let value: Vec<_> = policy
            .roles()
            .map(|r| serde_json::json!({ "name": &*r.name, "description": r.description }))
            .collect();
        out.result(&text.join("\n"), &value.into());
        return Ok(ExitCode::SUCCESS);
    }
    let app = App::open(home, Use::Beside)?;
    super::runtime()?.block_on(async {
        match command {
            UserCommand::Roles => {}
            UserCommand::Add(args) => {
                let account = Account {
                    unit: args.unit.clone(),
                    practitioner: args.practitioner.as_ref().map(|p| p.as_str().to_owned()),
                    patient: args.patient.as_ref().map(|p| p.as_str().to_owned()),
                    name: args.called.clone(),
                    ..Account::new(args.name.clone(), args.roles.clone())
                };
                add(&app, &args.tenant.tenant, &account).await?;
                out.result(
                    &format!("{} may act as {}", account.id, account.roles.join(", ")),
                    &serde_json::to_value(&account)?,
                );
            }
            UserCommand::List(args) => {
                let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
                let all = Accounts::new(tenant.vessel.control(), app.engine.policy()).all()?;
                let lines: Vec<String> = all
                    .iter()
                    .map(|a| {
                        let (id, state) = (a.id.as_str(), a.standing());
                        format!("{id:<24} {state:<10} {}", a.roles.join(", "))
                    })
                    .collect();
                out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
            }
            UserCommand::Invite(args) => {
                let hours = SignedDuration::from_hours(i64::from(args.hours));
                let caller = app.operator(&args.who.tenant.tenant, Surface::Cli);
                let made = people::invite(&app, &caller, &args.who.name, args.anew, hours).await;
                let (path, until) = made?;
                let link = format!("{}{path}", origin(&app));
                out.result(
                    &format!("{link}\nIt works once, until {until}. Nobody can show it again."),
                    &serde_json::json!({ "link": link, "path": path, "until": until.to_string() }),
                );
            }
            UserCommand::Factors(args) => factors(&app, args, out)?,
            UserCommand::Link(args) => link(&app, args, out).await?,
            UserCommand::Sessions(args) => sessions(&app, args, out).await?,
            UserCommand::Suspend(args) => stand(&app, args, Standing::Suspended, out).await?,
            UserCommand::Resume(args) => stand(&app, args, Standing::Active, out).await?,
            UserCommand::Terminate(args) => stand(&app, args, Standing::Ended, out).await?,
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The address by which browsers know the server.
pub(super) fn origin(app: &App) -> String {
    let local = || "https://localhost:8443".to_owned();
    app.config().http.public_url.clone().unwrap_or_else(local)
}

fn factors(app: &App, args: &NameArgs, out: &Out) -> anyhow::Result<()> {
    let tenant = app.engine.tenant(&args.tenant.tenant).context("there is no such tenant")?;
    let account = people::find(app, &app.operator(&args.tenant.tenant, Surface::Cli), &args.name)?;
    let sessions = app.tokens.sessions();
    let found =
        Factors::new(tenant.vessel.control(), sessions, &args.tenant.tenant).of(&account.id)?;
    let mut lines = Vec::new();
    if let Some(since) = &found.password_since {
        lines.push(format!("password           since {since}"));
    }
    lines.extend(
        found.passkeys.iter().map(|p| format!("passkey            {}  added {}", p.name, p.added)),
    );
    lines.extend(
        found.totp.iter().map(|t| format!("authenticator app  {}  added {}", t.name, t.added)),
    );
    lines.push(format!("recovery codes     {} left", found.recovery.len()));
    let links = Links::new(tenant.vessel.control()).of(&account.id)?;
    lines.extend(
        links.iter().map(|l| format!("at a provider      {}  since {}", l.issuer, l.since)),
    );
    let named = |name: &str, added: &str| serde_json::json!({ "name": name, "added": added });
    let value = serde_json::json!({
        "user": account.id.as_str(),
        "password_since": found.password_since,
        "passkeys": found.passkeys.iter().map(|p| named(&p.name, &p.added)).collect::<Vec<_>>(),
        "apps": found.totp.iter().map(|t| named(&t.name, &t.added)).collect::<Vec<_>>(),
        "recovery_codes": found.recovery.len(),
        "providers": links.iter().map(|l| &l.issuer).collect::<Vec<_>>(),
    });
    out.result(&lines.join("\n"), &value);
    Ok(())
}

async fn link(app: &App, args: &LinkArgs, out: &Out) -> anyhow::Result<()> {
    let (user, tenant) = (&args.who.name, &args.who.tenant.tenant);
    let caller = app.operator(tenant, Surface::Cli);
    let config = app.config().clone();
    let provider = config.sso.get(&args.sso).filter(|p| p.tenant == *tenant);
    let provider = provider.context("phial.toml has no identity provider of that name")?;
    let named = (args.sso.as_str(), provider);
    let said = match &args.subject {
        Some(subject) => {
            people::link(app, &caller, user, named, subject).await?;
            "tied"
        }
        None if people::unlink(app, &caller, user, named).await? => "undone",
        None => "there was no tie",
    };
    out.result(said, &serde_json::json!({ "user": user.as_str(), "sso": args.sso, "is": said }));
    Ok(())
}

async fn sessions(app: &App, args: &SessionsArgs, out: &Out) -> anyhow::Result<()> {
    let (user, tenant) = (&args.who.name, &args.who.tenant.tenant);
    let caller = app.operator(tenant, Surface::Cli);
    let account = people::find(app, &caller, user)?;
    if args.end_all {
        let ended = people::end_sessions(app, &caller, &account.id).await?;
        out.result(&format!("{ended} ended"), &serde_json::json!({ "ended": ended }));
        return Ok(());
    }
    let store = app.tokens.sessions();
    let now = app.clock.now();
    let all = store.list(tenant)?;
    let living: Vec<_> = all.iter().filter(|s| s.user == *user && s.is_alive(now)).collect();
    if let Some(handle) = &args.end {
        anyhow::ensure!(
            living.iter().any(|s| s.handle == *handle),
            "the account has no living session of that handle"
        );
        let ended = people::end_session(app, &caller, user, handle).await?;
        out.result("ended", &serde_json::json!({ "ended": u8::from(ended) }));
        return Ok(());
    }
    let how = |s: &SessionRow| s.login.as_ref().map_or("token".to_owned(), |l| l.how.clone());
    let lines: Vec<String> = living
        .iter()
        .map(|s| format!("{}  {:<18} since {}  used {}", s.handle, how(s), s.created, s.last_used))
        .collect();
    let value: Vec<_> = living
        .iter()
        .map(|s| {
            serde_json::json!({
                "handle": s.handle, "how": how(s), "created": s.created.to_string(),
                "last_used": s.last_used.to_string(), "expires": s.expires.to_string(),
            })
        })
        .collect();
    out.result(&lines.join("\n"), &value.into());
    Ok(())
}

/// Adds an account, by the operator.
pub(super) async fn add(app: &App, tenant: &TenantId, account: &Account) -> anyhow::Result<()> {
    people::add(app, &app.operator(tenant, Surface::Cli), account).await
}

async fn stand(app: &App, args: &NameArgs, standing: Standing, out: &Out) -> anyhow::Result<()> {
    let caller = app.operator(&args.tenant.tenant, Surface::Cli);
    let account = people::stand(app, &caller, &args.name, standing).await?;
    let text = format!("{} is {}", account.id, account.standing());
    out.result(&text, &serde_json::to_value(&account)?);
    Ok(())
}
