//! `phial audit`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use phial_base::{SubjectId, Surface, TenantId};
use phial_identity::Accounts;

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the last entries. Looking is itself written down.
    Tail(TailArgs),
    /// How long the log is, how many durable commits made it, and its latest checkpoint.
    Status(StatusArgs),
    /// Verify the audit log offline: its files and the public key are enough.
    Verify(VerifyArgs),
}

#[derive(Args)]
pub(crate) struct TailArgs {
    /// How many entries.
    #[arg(short = 'n', long, default_value_t = 20)]
    count: usize,
    /// Act as this account (it needs a role that may read the log); without it, as
    /// this machine's operator.
    #[arg(long, value_name = "NAME")]
    user: Option<SubjectId>,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// A checkpoint kept elsewhere.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The public key (vkey); the one beside the keys, or beside the log, when not
    /// given.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

pub(super) fn run(home: &Path, command: &AuditCommand, out: &Out) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Tail(args) => tail(home, args, out),
        AuditCommand::Status(args) => status(home, args, out),
        AuditCommand::Verify(args) => verify(home, args, out),
    }
}

fn tail(home: &Path, args: &TailArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let entries = super::runtime()?.block_on(async {
        let mut caller = app.local("operator", &["operator", "auditor"], Surface::Cli);
        caller.subject_mut().tenant = args.tenant.clone();
        if let Some(user) = &args.user {
            let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
            let account = Accounts::new(tenant.vessel.control(), app.engine.policy())
                .find(user)?
                .filter(|a| a.active)
                .ok_or(phial_identity::Error::NoAccount)?;
            caller.subject_mut().id = account.id;
            caller.subject_mut().roles = account.roles;
        }
        app.engine.audit_tail(&caller, args.count).await.map_err(into_anyhow)
    })?;
    let lines: Vec<String> =
        entries.iter().map(|l| phial_audit::view::line(&l.entry, Some(l.position()))).collect();
    let values: Vec<serde_json::Value> =
        entries.iter().map(|l| phial_audit::view::json(&l.entry, Some(l.position()))).collect();
    out.result(&lines.join("\n"), &values.into());
    Ok(ExitCode::SUCCESS)
}

fn status(home: &Path, args: &StatusArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
    let audit = tenant.vessel.audit();
    let (entries, commits) = (audit.size()?, audit.commits()?);
    let checkpoint = audit.checkpoint()?;
    let shown = checkpoint.as_deref().unwrap_or("none yet\n");
    out.result(
        &format!("{entries} entries in {commits} durable commits; latest checkpoint:\n\n{shown}"),
        &serde_json::json!({ "entries": entries, "commits": commits, "checkpoint": checkpoint }),
    );
    Ok(ExitCode::SUCCESS)
}

fn verify(home: &Path, args: &VerifyArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let home = phial_store::home::Home::open(home)?;
    let key = match &args.key {
        Some(file) => file.clone(),
        None => home.public_key(&args.tenant),
    };
    anyhow::ensure!(key.is_file(), "the public key {} is not there", key.display());
    let log = home.audit(&args.tenant);
    let report = phial_store::verify::verify_audit_offline(
        log.parent().context("the log has no directory")?,
        &key,
        args.checkpoint.as_deref(),
        &phial_store::Options::default(),
    )?;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let mut text = format!("{} audit entries", report.entries);
    if findings.is_empty() {
        text.push_str("\nverified: the log is whole and every checkpoint is signed");
    }
    for f in &findings {
        text.push_str(&format!("\nFINDING: {f}"));
    }
    out.result(&text, &serde_json::json!({ "entries": report.entries, "findings": findings }));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
