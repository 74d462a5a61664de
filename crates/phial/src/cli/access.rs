//! `phial access`, `phial break-glass`, `phial alert`: who is tied to which patient, what
//! was restricted, and what privacy officers have to look at.
//!
//! What takes a person's judgement is done in a person's name (`--as`): that account must
//! have the right, and the log names it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use phial_base::{DataClass, Label, LogicalId, Purpose, SubjectId, Surface, TenantId};
use phial_engine::access::cap::Leave;
use phial_engine::access::glass::{Finding, Grant};
use phial_engine::access::restriction::Restriction;
use phial_engine::access::tie::{Kind, Tie};
use phial_engine::alert::Alert;
use phial_engine::{Caller, Failure};
use phial_identity::Accounts;

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum AccessCommand {
    /// Tie an account to a patient: assigned, a proxy, of the household, of a Part 2 program.
    Tie(TieArgs),
    /// End a tie at once.
    Untie(IdArgs),
    /// Show all ties.
    Ties(As),
    /// Restrict how a patient's records may be used (45 CFR 164.522(a)).
    Restrict(RestrictArgs),
    /// End a restriction at once.
    Unrestrict(IdArgs),
    /// Show all restrictions.
    Restrictions(As),
}

#[derive(Subcommand)]
pub(crate) enum GlassCommand {
    /// Show every break-glass grant and how its review stands.
    List(As),
    /// End a grant at once.
    End(IdArgs),
    /// Sign a review of a grant. Nobody reviews their own.
    Review(ReviewArgs),
}

#[derive(Subcommand)]
pub(crate) enum AlertCommand {
    /// Show all alerts.
    List(As),
    /// Write down that an alert was seen.
    See(IdArgs),
}

#[derive(Subcommand)]
pub(crate) enum CapCommand {
    /// Ask for leave to read more patients' records than your cap.
    Ask(CapArgs),
    /// Grant a leave. Nobody grants their own.
    Grant(IdArgs),
    /// Show every leave that was asked for.
    List(As),
}

#[derive(Args)]
pub(crate) struct CapArgs {
    /// How many patients in a window instead.
    #[arg(long)]
    patients: u32,
    /// For how many hours.
    #[arg(long, default_value_t = 8)]
    hours: i64,
    /// Why, in 10 to 1,000 characters.
    #[arg(long)]
    text: String,
    #[command(flatten)]
    by: As,
}

#[derive(Args)]
pub(crate) struct As {
    /// The account in whose name this is done; it needs the right to.
    #[arg(long = "as", value_name = "USER", value_parser = SubjectId::new)]
    user: SubjectId,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct IdArgs {
    /// Its name, as the list shows it.
    id: String,
    #[command(flatten)]
    by: As,
}

#[derive(Args)]
pub(crate) struct TieArgs {
    /// The account.
    #[arg(value_parser = SubjectId::new)]
    subject: SubjectId,
    /// Logical id of the patient.
    #[arg(value_parser = LogicalId::new)]
    patient: LogicalId,
    /// assignment, proxy, household or program.
    #[arg(long)]
    kind: Kind,
    /// Since when; now, if it is not said.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Until when, that moment not included.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// A proxy: what is specially protected, too.
    #[arg(long)]
    protected: bool,
    /// A proxy: a data class that the grant reaches; all, if none is named.
    #[arg(long = "class", value_name = "CLASS", value_parser = DataClass::from_name)]
    classes: Vec<DataClass>,
    #[command(flatten)]
    by: As,
}

#[derive(Args)]
pub(crate) struct RestrictArgs {
    /// Logical id of the patient.
    #[arg(value_parser = LogicalId::new)]
    patient: LogicalId,
    /// A purpose for which the records may not be used; HPAYMT, if none is named.
    #[arg(long = "purpose", value_name = "CODE", value_parser = purpose)]
    purposes: Vec<Purpose>,
    /// Records of a type; all, if none is named.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Records with a label; all, if none is named.
    #[arg(long = "label", value_name = "CODE", value_parser = label)]
    labels: Vec<Label>,
    /// Until when, that moment not included.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    #[command(flatten)]
    by: As,
}

#[derive(Args)]
pub(crate) struct ReviewArgs {
    /// The grant's name.
    id: String,
    /// appropriate, inappropriate or follow-up.
    #[arg(long)]
    finding: Finding,
    /// What you found, in 10 to 1,000 characters.
    #[arg(long)]
    text: String,
    #[command(flatten)]
    by: As,
}

fn purpose(code: &str) -> Result<Purpose, String> {
    Purpose::from_code(code).ok_or_else(|| "no purpose of use".to_owned())
}

fn label(code: &str) -> Result<Label, String> {
    let found = Label::ALL.into_iter().find(|l| l.code() == code && *l != Label::Unknown);
    found.ok_or_else(|| "no sensitivity label".to_owned())
}

/// The caller that an account is, for work begun on this machine.
pub(super) fn acting(app: &App, by: &As) -> anyhow::Result<Caller> {
    let tenant = app.engine.tenant(&by.tenant).context("there is no such tenant")?;
    let accounts = Accounts::new(tenant.vessel.control(), app.engine.policy());
    let account = accounts.find(&by.user)?;
    // For what the account's first role is for.
    let purpose = account
        .as_ref()
        .and_then(|a| a.roles.iter().find_map(|r| app.engine.policy().role(r)))
        .and_then(phial_policy::Role::default_purpose)
        .unwrap_or(Purpose::HOPERAT);
    let subject = accounts
        .acting(&by.tenant, &by.user, purpose)?
        .context("there is no such account, it is suspended, or it may not do this")?;
    let mut caller = app.local("operator", &[], Surface::Cli);
    *caller.subject_mut() = subject;
    Ok(caller)
}

pub(super) fn run(home: &Path, command: &AccessCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    super::runtime()?.block_on(access(&app, command, out))?;
    Ok(ExitCode::SUCCESS)
}

async fn access(app: &App, command: &AccessCommand, out: &Out) -> anyhow::Result<()> {
    let engine = &app.engine;
    match command {
        AccessCommand::Tie(args) => {
            let caller = acting(app, &args.by)?;
            let tie = Tie {
                id: String::new(),
                subject: args.subject.clone(),
                patient: args.patient.clone(),
                kind: args.kind,
                protected: args.protected,
                classes: (!args.classes.is_empty()).then(|| args.classes.clone()),
                from: args.from.unwrap_or(caller.request.at),
                until: args.until,
                by: caller.subject.id.clone(),
            };
            let tie = engine.tie(&caller, tie).await.map_err(told)?;
            out.result(&tie_line(&tie), &serde_json::to_value(&tie)?);
        }
        AccessCommand::Untie(args) => {
            let tie = engine.untie(&acting(app, &args.by)?, &args.id).await.map_err(told)?;
            out.result(&tie_line(&tie), &serde_json::to_value(&tie)?);
        }
        AccessCommand::Ties(by) => {
            let all = engine.all_ties(&acting(app, by)?).await.map_err(told)?;
            let lines: Vec<String> = all.iter().map(tie_line).collect();
            out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
        }
        AccessCommand::Restrict(args) => {
            let caller = acting(app, &args.by)?;
            let restriction = Restriction {
                id: String::new(),
                patient: args.patient.clone(),
                purposes: if args.purposes.is_empty() {
                    vec![Purpose::HPAYMT]
                } else {
                    args.purposes.clone()
                },
                types: args.types.clone(),
                labels: args.labels.clone(),
                from: caller.request.at,
                until: args.until,
                by: caller.subject.id.clone(),
            };
            let r = engine.restrict(&caller, restriction).await.map_err(told)?;
            out.result(&restriction_line(&r), &serde_json::to_value(&r)?);
        }
        AccessCommand::Unrestrict(args) => {
            let caller = acting(app, &args.by)?;
            let r = engine.end_restriction(&caller, &args.id).await.map_err(told)?;
            out.result(&restriction_line(&r), &serde_json::to_value(&r)?);
        }
        AccessCommand::Restrictions(by) => {
            let all = engine.restrictions(&acting(app, by)?).await.map_err(told)?;
            let lines: Vec<String> = all.iter().map(restriction_line).collect();
            out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
        }
    }
    Ok(())
}

pub(super) fn glass(home: &Path, command: &GlassCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let engine = &app.engine;
    super::runtime()?.block_on(async {
        match command {
            GlassCommand::List(by) => {
                let caller = acting(&app, by)?;
                let now = caller.request.at;
                let all = engine.grants(&caller).await.map_err(told)?;
                let lines: Vec<String> = all.iter().map(|g| grant_line(g, now)).collect();
                let values =
                    all.iter().map(|g| grant_json(g, now)).collect::<anyhow::Result<Vec<_>>>()?;
                out.result(&lines.join("\n"), &values.into());
            }
            GlassCommand::End(args) => {
                let caller = acting(&app, &args.by)?;
                let ended = engine.end_break_glass(&caller, None, Some(&args.id)).await;
                for g in ended.map_err(told)? {
                    let now = app.clock.now();
                    out.result(&grant_line(&g, now), &grant_json(&g, now)?);
                }
            }
            GlassCommand::Review(args) => {
                let caller = acting(&app, &args.by)?;
                let signed = engine.review(&caller, &args.id, args.finding, &args.text).await;
                let (g, now) = (signed.map_err(told)?, caller.request.at);
                out.result(&grant_line(&g, now), &grant_json(&g, now)?);
            }
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn alert(home: &Path, command: &AlertCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let engine = &app.engine;
    super::runtime()?.block_on(async {
        match command {
            AlertCommand::List(by) => {
                let all = engine.alerts(&acting(&app, by)?).await.map_err(told)?;
                let lines: Vec<String> = all.iter().map(alert_line).collect();
                out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
            }
            AlertCommand::See(args) => {
                let seen = engine.see_alert(&acting(&app, &args.by)?, &args.id).await;
                let seen = seen.map_err(told)?;
                out.result(&alert_line(&seen), &serde_json::to_value(&seen)?);
            }
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn cap(home: &Path, command: &CapCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let engine = &app.engine;
    super::runtime()?.block_on(async {
        match command {
            CapCommand::Ask(args) => {
                let caller = acting(&app, &args.by)?;
                let leave = Leave {
                    id: String::new(),
                    subject: caller.subject.id.clone(),
                    patients: args.patients,
                    hours: args.hours,
                    text: args.text.clone(),
                    asked: caller.request.at,
                    by: None,
                    from: None,
                };
                let asked = engine.ask_leave(&caller, leave).await.map_err(told)?;
                out.result(&leave_line(&asked), &serde_json::to_value(&asked)?);
            }
            CapCommand::Grant(args) => {
                let granted = engine.grant_leave(&acting(&app, &args.by)?, &args.id).await;
                let granted = granted.map_err(told)?;
                out.result(&leave_line(&granted), &serde_json::to_value(&granted)?);
            }
            CapCommand::List(by) => {
                let all = engine.leaves(&acting(&app, by)?).await.map_err(told)?;
                let lines: Vec<String> = all.iter().map(leave_line).collect();
                out.result(&lines.join("\n"), &serde_json::to_value(&all)?);
            }
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn leave_line(l: &Leave) -> String {
    let granted = match (&l.by, l.from) {
        (Some(by), Some(from)) => format!("granted by {by} at {from:.0}"),
        _ => "not granted".to_owned(),
    };
    format!("{}  {} {} patients for {} hours: {granted}", l.id, l.subject, l.patients, l.hours)
}

/// A refusal with its own words, which name what is wrong and no value.
pub(super) fn told(failure: Failure) -> anyhow::Error {
    match &failure {
        Failure::Invalid(r) | Failure::Forbidden(r) | Failure::Conflict { refusal: r, .. } => {
            let text = r.issues.first().map(|i| i.text.clone()).unwrap_or_default();
            anyhow::Error::msg(text)
        }
        Failure::NotFound => anyhow::Error::msg("there is none of this name"),
        _ => into_anyhow(failure),
    }
}

fn until(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "until it is ended".to_owned(), |at| format!("until {at:.0}"))
}

fn tie_line(tie: &Tie) -> String {
    let classes = tie.classes.as_ref().map_or_else(String::new, |c| {
        let names: Vec<&str> = c.iter().map(|c| c.name()).collect();
        format!(" ({})", names.join(", "))
    });
    format!(
        "{}  {:<10} {} of Patient/{}{}{} from {:.0} {}",
        tie.id,
        tie.kind.name(),
        tie.subject,
        tie.patient.as_str(),
        if tie.protected { " with what is protected" } else { "" },
        classes,
        tie.from,
        until(tie.until),
    )
}

fn restriction_line(r: &Restriction) -> String {
    let purposes: Vec<&str> = r.purposes.iter().map(|p| p.code()).collect();
    let labels: Vec<&str> = r.labels.iter().map(|l| l.code()).collect();
    format!(
        "{}  Patient/{} not for {}{}{} from {:.0} {}",
        r.id,
        r.patient.as_str(),
        if purposes.is_empty() { "anything".to_owned() } else { purposes.join(", ") },
        if r.types.is_empty() { String::new() } else { format!(": {}", r.types.join(", ")) },
        if labels.is_empty() { String::new() } else { format!(" labelled {}", labels.join(", ")) },
        r.from,
        until(r.until),
    )
}

fn grant_line(g: &Grant, now: Timestamp) -> String {
    let finding = g
        .review
        .as_ref()
        .map_or_else(String::new, |r| format!(" {} ({}, {:.0})", r.finding.name(), r.by, r.at));
    format!(
        "{}  {:<8} {} Patient/{} {} from {:.0} until {:.0}{finding}",
        g.id,
        g.state(now),
        g.subject,
        g.patient.as_str(),
        g.reason.code(),
        g.from,
        g.ends(),
    )
}

fn grant_json(g: &Grant, now: Timestamp) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(g)?;
    if let Some(value) = value.as_object_mut() {
        value.insert("state".to_owned(), g.state(now).into());
    }
    Ok(value)
}

fn alert_line(a: &Alert) -> String {
    let seen =
        a.seen.as_ref().map_or_else(|| "not seen".to_owned(), |s| format!("seen by {}", s.by));
    let about = a.about.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
    format!("{}  {:.0} {} {}{about}: {seen}", a.id, a.at, a.subject, a.what.sentence())
}
