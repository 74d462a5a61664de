//! `phial job`

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use phial_base::{Surface, TenantId};
use phial_engine::job::Job;
use serde_json::{Value, json};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

#[derive(Subcommand)]
pub(crate) enum JobCommand {
    /// Show all jobs of a tenant, oldest first: those under way, and those that ended
    /// within a day or whose files are kept.
    List(TenantArgs),
    /// Show one job: what kind, whose, how far.
    Show(OneArgs),
    /// End a job and destroy what it left. The server does so before the job's next step.
    Cancel(OneArgs),
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Args)]
pub(crate) struct OneArgs {
    /// The job.
    id: String,
    #[command(flatten)]
    tenant: TenantArgs,
}

pub(super) fn run(home: &Path, command: &JobCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let app = App::open(home, Use::Beside)?;
    super::runtime()?.block_on(async {
        let caller = |tenant: &TenantArgs| app.operator(&tenant.tenant, Surface::Cli);
        match command {
            JobCommand::List(args) => {
                let jobs = app.engine.jobs(&caller(args)).await.map_err(into_anyhow)?;
                let lines: Vec<String> = jobs.iter().map(line).collect();
                out.result(&lines.join("\n"), &jobs.iter().map(shown).collect::<Vec<_>>().into());
            }
            JobCommand::Show(args) => {
                let found = app.engine.job(&caller(&args.tenant), &args.id).await;
                let job = found.map_err(into_anyhow)?;
                let value = shown(&job);
                let lines: Vec<String> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(_, v)| !v.is_null())
                    .map(|(k, v)| {
                        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                        format!("{k:<10} {text}")
                    })
                    .collect();
                out.result(&lines.join("\n"), &value);
            }
            JobCommand::Cancel(args) => {
                let ended = app.engine.cancel_job(&caller(&args.tenant), &args.id).await;
                let job = ended.map_err(into_anyhow)?;
                out.result(&format!("{} is {}", job.id, job.state.name()), &shown(&job));
            }
        }
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What an operator may know of a job. What it works on is not among it.
fn shown(job: &Job) -> Value {
    let at = |us: Option<i64>| {
        us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok()).map(|t| format!("{t:.0}"))
    };
    json!({
        "id": job.id,
        "kind": job.kind,
        "owner": job.owner.as_str(),
        "purpose": job.purpose.code(),
        "state": job.state.name(),
        "reason": job.reason.map(phial_engine::job::Reason::name),
        "done": job.done,
        "of": job.of,
        "created": at(Some(job.created)),
        "rests": at(job.rests),
        "ended": at(job.ended),
        "until": at(job.until),
    })
}

fn line(job: &Job) -> String {
    let of = job.of.map_or_else(String::new, |of| format!(" of {of}"));
    format!(
        "{}  {:<8} {:<10} {:<20} {}{of}",
        job.id,
        job.kind,
        job.state.name(),
        job.owner.as_str(),
        job.done
    )
}
