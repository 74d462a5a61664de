//! `phial verify`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use phial_audit::{DetailKey, EventKind};
use phial_base::{Surface, TenantId};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

/// Verify every record and every audit entry against each other: alterations,
/// deletions, rollbacks, forks and truncations are named. Also works beside a
/// running server.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// A checkpoint kept elsewhere: shows that data and audit log were not rolled
    /// back together.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    pub(crate) tenant: TenantId,
}

pub(super) fn run(home: &Path, args: &VerifyArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let checkpoint = args.checkpoint.as_ref().map(std::fs::read_to_string).transpose()?;
    // Damage is looked for before anything is written: even the entry that says so.
    let report = App::verify(home, &args.tenant, checkpoint.as_deref())?;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{} records in {} versions, {} attachments, {} audit entries",
        report.records, report.versions, report.blobs, report.entries
    );
    if findings.is_empty() {
        text.push_str("\nverified: every version is the one that was announced, the log is whole");
    }
    for f in &findings {
        text.push_str(&format!("\nFINDING: {f}"));
    }
    out.result(
        &text,
        &serde_json::json!({
            "records": report.records,
            "versions": report.versions,
            "attachments": report.blobs,
            "entries": report.entries,
            "open_intents": report.open_intents,
            "findings": findings,
        }),
    );
    if !findings.is_empty() {
        return Ok(ExitCode::from(1));
    }
    let app = App::open(home, Use::Beside)?;
    super::runtime()?.block_on(async {
        let caller = app.operator(&args.tenant, Surface::Cli);
        app.engine
            .record_event(&caller, EventKind::Verify, &[(DetailKey::Findings, "0".to_owned())])
            .await
            .map_err(into_anyhow)
    })?;
    Ok(ExitCode::SUCCESS)
}
