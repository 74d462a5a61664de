//! `phial review`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use phial_base::{SubjectId, Surface, TenantId};
use phial_identity::{Accounts, Due, Reviews};

use super::out::Out;
use crate::app::{App, Use};
use crate::people;

#[derive(Subcommand)]
pub(crate) enum ReviewCommand {
    /// Show who may do what, when it was last used, and whose turn it is.
    List(ListArgs),
    /// Sign that an account may still do what it may.
    Sign(SignArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Only those whose turn it is; exit code 1 when there are any.
    #[arg(long)]
    due: bool,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct SignArgs {
    /// The account that was looked at.
    name: SubjectId,
    /// What was looked at, or why it stays.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

pub(super) fn run(home: &Path, command: &ReviewCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    match command {
        ReviewCommand::List(args) => list(&app, args, out),
        ReviewCommand::Sign(args) => super::runtime()?.block_on(sign(&app, args, out)),
    }
}

fn list(app: &App, args: &ListArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
    let control = tenant.vessel.control();
    let reviews = Reviews::new(control);
    let uses = people::LastUse::of(app, &args.tenant)?;
    let period = SignedDuration::from_hours(24 * app.config().review.period_days);
    let (mut lines, mut values, mut waiting) = (Vec::new(), Vec::new(), false);
    for account in Accounts::new(control, app.engine.policy()).all()? {
        let due = reviews.due(&account, period, app.clock.now())?;
        if account.ended || args.due && !due.is_due() {
            continue;
        }
        waiting |= due.is_due();
        let last = reviews.last(&account.id)?;
        let used = uses.by(&account.id)?;
        let shown = match due {
            Due::Never => "nobody looked yet".to_owned(),
            Due::Changed => "changed since".to_owned(),
            Due::Since(at) => format!("overdue since {at}"),
            Due::Until(at) => format!("good until {at}"),
        };
        let used_shown = used.map_or("never".to_owned(), |at| at.to_string());
        let (id, state, roles) =
            (account.id.as_str(), account.standing(), account.roles.join(", "));
        lines.push(format!("{id:<24} {state:<10} {roles:<28} used {used_shown:<31} {shown}"));
        values.push(serde_json::json!({
            "user": id,
            "standing": state,
            "roles": account.roles,
            "unit": account.unit,
            "last_used": used.map(|at| at.to_string()),
            "due": due.is_due(),
            "review": shown,
            "last": last,
        }));
    }
    out.result(&lines.join("\n"), &values.into());
    let bad = args.due && waiting;
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

async fn sign(app: &App, args: &SignArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let caller = app.operator(&args.tenant, Surface::Cli);
    people::sign_review(app, &caller, &args.name, args.note.clone()).await?;
    let text = format!("{} was looked at and stays as it is", args.name);
    out.result(&text, &serde_json::json!({ "user": args.name.as_str(), "signed": true }));
    Ok(ExitCode::SUCCESS)
}
