//! `phial vendor`: who receives data on the organisation's behalf, and under which
//! agreement (164.308(b)(3), 164.314(a)).

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::civil::Date;
use phial_base::{Surface, TenantId};
use phial_engine::Failure;
use phial_engine::vendor::{Baa, Vendor};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum VendorCommand {
    /// Write a vendor down.
    Add(AddArgs),
    /// Change a vendor: what is not given stays as it is.
    Change(ChangeArgs),
    /// Show all vendors.
    List(TenantArgs),
    /// Show a vendor, and how it came to be as it is.
    Show(NameArgs),
    /// End the agreement with a vendor: nothing of a patient goes to it from now on.
    End(NameArgs),
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct NameArgs {
    /// The vendor's name.
    name: String,
    #[command(flatten)]
    tenant: TenantArgs,
}

#[derive(Args)]
pub(crate) struct AddArgs {
    /// The vendor's name.
    name: String,
    /// Whom to reach there.
    #[arg(long)]
    contact: String,
    #[command(flatten)]
    baa: BaaArgs,
    /// An address of theirs (https://HOST[:PORT][/PATH]) and all below it; may be given
    /// several times.
    #[arg(long = "endpoint", value_name = "URL")]
    endpoints: Vec<String>,
    #[command(flatten)]
    tenant: TenantArgs,
}

#[derive(Args)]
pub(crate) struct ChangeArgs {
    /// The vendor's name.
    name: String,
    /// Whom to reach there.
    #[arg(long)]
    contact: Option<String>,
    #[command(flatten)]
    baa: BaaArgs,
    /// An address of theirs; those given replace those there were.
    #[arg(long = "endpoint", value_name = "URL")]
    endpoints: Vec<String>,
    #[command(flatten)]
    tenant: TenantArgs,
}

#[derive(Args)]
pub(crate) struct BaaArgs {
    /// The first day of the business associate agreement that was signed.
    #[arg(long, value_name = "DATE")]
    baa_from: Option<Date>,
    /// Its last day; without one it holds until it is ended.
    #[arg(long, value_name = "DATE", requires = "baa_from")]
    baa_until: Option<Date>,
}

impl BaaArgs {
    fn baa(&self) -> Option<Baa> {
        self.baa_from.map(|from| Baa::Executed { from, until: self.baa_until })
    }
}

pub(super) fn run(home: &Path, command: &VendorCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    super::runtime()?.block_on(run_in(&app, command, out))?;
    Ok(ExitCode::SUCCESS)
}

async fn run_in(app: &App, command: &VendorCommand, out: &Out) -> anyhow::Result<()> {
    let tenant = match command {
        VendorCommand::Add(a) => &a.tenant,
        VendorCommand::Change(a) => &a.tenant,
        VendorCommand::List(t) => t,
        VendorCommand::Show(a) | VendorCommand::End(a) => &a.tenant,
    };
    app.engine.tenant(&tenant.tenant).context("there is no such tenant")?;
    let caller = app.operator(&tenant.tenant, Surface::Cli);
    let now = caller.request.at;
    match command {
        VendorCommand::Add(args) => {
            let vendor = Vendor {
                name: args.name.clone(),
                contact: args.contact.clone(),
                baa: args.baa.baa().unwrap_or(Baa::None),
                endpoints: args.endpoints.clone(),
            };
            app.engine.put_vendor(&caller, &vendor, false).await.map_err(told)?;
            out.result(&line(&vendor, now), &json(&vendor, now)?);
        }
        VendorCommand::Change(args) => {
            let all = app.engine.vendors(&caller).await.map_err(into_anyhow)?;
            let mut vendor =
                all.into_iter().find(|v| v.name == args.name).context("there is no such vendor")?;
            if let Some(contact) = &args.contact {
                vendor.contact.clone_from(contact);
            }
            if let Some(baa) = args.baa.baa() {
                vendor.baa = baa;
            }
            if !args.endpoints.is_empty() {
                vendor.endpoints.clone_from(&args.endpoints);
            }
            app.engine.put_vendor(&caller, &vendor, true).await.map_err(told)?;
            out.result(&line(&vendor, now), &json(&vendor, now)?);
        }
        VendorCommand::List(_) => {
            let all = app.engine.vendors(&caller).await.map_err(into_anyhow)?;
            let lines: Vec<String> = all.iter().map(|v| line(v, now)).collect();
            let values = all.iter().map(|v| json(v, now)).collect::<anyhow::Result<Vec<_>>>()?;
            out.result(&lines.join("\n"), &values.into());
        }
        VendorCommand::Show(args) => {
            let history = app.engine.vendor_history(&caller, &args.name).await;
            let history = history.map_err(|f| named(f, "there is no such vendor"))?;
            let current = history.last().context("there is no such vendor")?;
            let mut lines =
                vec![line(&current.vendor, now), format!("contact: {}", current.vendor.contact)];
            lines.extend(current.vendor.endpoints.iter().map(|e| format!("endpoint: {e}")));
            lines.extend(
                history
                    .iter()
                    .map(|v| format!("version {}: agreement {}", v.version, words(&v.vendor.baa))),
            );
            let mut value = json(&current.vendor, now)?;
            if let Some(value) = value.as_object_mut() {
                value.insert("history".to_owned(), serde_json::to_value(&history)?);
            }
            out.result(&lines.join("\n"), &value);
        }
        VendorCommand::End(args) => {
            let ended = app.engine.end_vendor(&caller, &args.name).await;
            let ended = ended.map_err(|f| named(f, "there is no such vendor"))?;
            out.result(&line(&ended, now), &json(&ended, now)?);
        }
    }
    Ok(())
}

/// A refusal with its own words, which name what is wrong and no value.
fn told(failure: Failure) -> anyhow::Error {
    match &failure {
        Failure::Invalid(r) | Failure::Conflict { refusal: r, .. } => {
            let text = r.issues.first().map(|i| i.text.clone()).unwrap_or_default();
            anyhow::Error::msg(text)
        }
        Failure::NotFound => anyhow::Error::msg("there is no such vendor"),
        _ => into_anyhow(failure),
    }
}

fn named(failure: Failure, absent: &'static str) -> anyhow::Error {
    match failure {
        Failure::NotFound => anyhow::Error::msg(absent),
        other => into_anyhow(other),
    }
}

fn words(baa: &Baa) -> String {
    match baa {
        Baa::None => "none".to_owned(),
        Baa::Executed { from, until: None } => format!("from {from}"),
        Baa::Executed { from, until: Some(until) } => format!("from {from} until {until}"),
        Baa::Terminated { at } => format!("terminated {at:.0}"),
    }
}

fn line(vendor: &Vendor, now: jiff::Timestamp) -> String {
    let state = vendor.baa.state(now);
    let words = words(&vendor.baa);
    let more = if words == state { String::new() } else { format!(" ({words})") };
    format!("{:<32} agreement {state}{more}", vendor.name)
}

fn json(vendor: &Vendor, now: jiff::Timestamp) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(vendor)?;
    if let Some(value) = value.as_object_mut() {
        value.insert("agreement".to_owned(), vendor.baa.state(now).into());
    }
    Ok(value)
}
