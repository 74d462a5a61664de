//! `phial subscription`: how subscriptions stand. Nothing of what they filter is shown,
//! nor of what they were told.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use phial_base::{Surface, TenantId};
use phial_engine::operation::subscription::Shown;

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum SubscriptionCommand {
    /// Show all subscriptions.
    List(TenantArgs),
    /// Show one.
    Show(ShowArgs),
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// The subscription's logical id.
    id: String,
    #[command(flatten)]
    tenant: TenantArgs,
}

pub(super) fn run(
    home: &Path,
    command: &SubscriptionCommand,
    out: &Out,
) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let tenant = match command {
        SubscriptionCommand::List(args) => &args.tenant,
        SubscriptionCommand::Show(args) => &args.tenant.tenant,
    };
    app.engine.tenant(tenant).context("there is no such tenant")?;
    let caller = app.operator(tenant, Surface::Cli);
    let all =
        super::runtime()?.block_on(app.engine.subscriptions_shown(&caller)).map_err(into_anyhow)?;
    match command {
        SubscriptionCommand::List(_) => {
            let lines: Vec<String> = all.iter().map(line).collect();
            out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
        }
        SubscriptionCommand::Show(args) => {
            let one =
                all.iter().find(|s| s.id == args.id).context("there is no such subscription")?;
            let said = |what: &str, text: Option<&str>| {
                text.map(|t| format!("{what:<12} {t}")).unwrap_or_default()
            };
            let lines = [
                line(one),
                said("owner", one.owner.as_ref().map(|o| o.as_str())),
                said("endpoint", one.endpoint.as_deref()),
                said("because", one.reason.as_deref()),
                said("told", one.told.as_deref()),
                said("again", one.again.as_deref()),
                format!(
                    "{:<12} {} events, {} under way, {} changes to look at, {} failures in a row",
                    "so far", one.events, one.under_way, one.behind, one.attempts
                ),
            ];
            let lines: Vec<String> = lines.into_iter().filter(|l| !l.is_empty()).collect();
            out.result(&lines.join("\n"), &serde_json::to_value(one)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(s: &Shown) -> String {
    let host = s.endpoint.as_deref().unwrap_or("-");
    let owner = s.owner.as_ref().map_or("-", |o| o.as_str());
    format!("{:<40} {:<10} {owner:<20} {host}", s.id, s.status)
}
