//! `phial user`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use phial_audit::{DetailKey, EventKind};
use phial_base::{LogicalId, SubjectId, Surface, TenantId};
use phial_engine::Caller;
use phial_identity::{Account, Accounts};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

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
    /// Organisational unit.
    #[arg(long)]
    unit: Option<String>,
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
                    id: args.name.clone(),
                    roles: args.roles.clone(),
                    unit: args.unit.clone(),
                    practitioner: args.practitioner.as_ref().map(|p| p.as_str().to_owned()),
                    patient: None,
                    active: true,
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
                        let state = if a.active { "active" } else { "suspended" };
                        format!("{:<24} {:<10} {}", a.id.as_str(), state, a.roles.join(", "))
                    })
                    .collect();
                out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
            }
            UserCommand::Suspend(args) => set_active(&app, args, false, out).await?,
            UserCommand::Resume(args) => set_active(&app, args, true, out).await?,
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Adds an account; the log says so before it can act.
pub(super) async fn add(app: &App, tenant: &TenantId, account: &Account) -> anyhow::Result<()> {
    let found = app.engine.tenant(tenant).context("there is no such tenant")?;
    let mut caller = app.local("operator", &["operator"], Surface::Cli);
    caller.subject_mut().tenant = tenant.clone();
    app.engine
        .record_event(
            &caller,
            EventKind::UserAdded,
            &[
                (DetailKey::Account, account.id.to_string()),
                (DetailKey::RolesAfter, account.roles.join(",")),
            ],
        )
        .await
        .map_err(into_anyhow)?;
    Accounts::new(found.vessel.control(), app.engine.policy()).add(account)?;
    changed(app, &caller, account).await
}

/// Writes down the control log as it stands after a change, so that `verify` shows a
/// control log that was rolled back.
async fn changed(app: &App, caller: &Caller, account: &Account) -> anyhow::Result<()> {
    let tenant = app.engine.tenant(&caller.subject.tenant).context("there is no such tenant")?;
    let state = if account.active { "active" } else { "suspended" };
    app.engine
        .record_event(
            caller,
            EventKind::UserChanged,
            &[
                (DetailKey::Account, account.id.to_string()),
                (DetailKey::Value, state.to_owned()),
                (DetailKey::ControlHead, tenant.vessel.control().head()?),
            ],
        )
        .await
        .map_err(into_anyhow)
}

async fn set_active(app: &App, args: &NameArgs, active: bool, out: &Out) -> anyhow::Result<()> {
    let tenant = app.engine.tenant(&args.tenant.tenant).context("there is no such tenant")?;
    let accounts = Accounts::new(tenant.vessel.control(), app.engine.policy());
    let mut account = accounts.find(&args.name)?.ok_or(phial_identity::Error::NoAccount)?;
    account.active = active;
    let mut caller = app.local("operator", &["operator"], Surface::Cli);
    caller.subject_mut().tenant = args.tenant.tenant.clone();
    let state = if active { "active" } else { "suspended" };
    app.engine
        .record_event(
            &caller,
            EventKind::UserChanged,
            &[(DetailKey::Account, account.id.to_string()), (DetailKey::Value, state.to_owned())],
        )
        .await
        .map_err(into_anyhow)?;
    accounts.change(&account)?;
    changed(app, &caller, &account).await?;
    if !active {
        let now = app.clock.now();
        app.tokens.sessions().revoke_user(&args.tenant.tenant, &args.name, now)?;
        app.apps.withdraw(&args.tenant.tenant, Some(&args.name), None, now)?;
    }
    out.result(&format!("{} is {state}", account.id), &serde_json::to_value(&account)?);
    Ok(())
}
