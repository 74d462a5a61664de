//! `phial relabel`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use phial_base::{Surface, TenantId};
use phial_engine::operation::relabel::{Moved, Relabelled};

use super::out::Out;
use crate::app::{App, Use, into_anyhow};

/// Give every stored version of a record the labels of the lists of codes in force, with
/// the server stopped: the start of a server does the same before it serves, so this is
/// for doing it at a time of one's own.
#[derive(Args)]
pub(crate) struct RelabelArgs {
    /// Change nothing: say how many versions would get or lose which label. Also works
    /// beside a running server.
    #[arg(long)]
    check: bool,
    /// With --check: the lists as they would be with this list in the place of
    /// `labels.list`.
    #[arg(long, value_name = "FILE", requires = "check")]
    list: Option<std::path::PathBuf>,
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

pub(super) fn run(home: &Path, args: &RelabelArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let use_ = if args.check { Use::Beside } else { Use::Alone };
    let app = App::open_labelling(home, use_, args.list.as_deref())?;
    let runtime = super::runtime()?;
    let said = runtime.block_on(async {
        let caller = app.operator(&args.tenant, Surface::Cli);
        if args.check {
            return app.engine.would_relabel(&caller).await.map_err(into_anyhow);
        }
        let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
        app.engine.recover(tenant, &caller).await.map_err(into_anyhow)?;
        let said = app.engine.relabel(tenant, &caller).await.map_err(into_anyhow)?;
        app.stop().await?;
        Ok(said)
    })?;
    out.result(&text(&said, args.check), &serde_json::to_value(&said)?);
    Ok(ExitCode::SUCCESS)
}

fn text(said: &Relabelled, check: bool) -> String {
    if !said.looked {
        return "the lists are those of the last time: there is nothing to do".to_owned();
    }
    let (other, got, lost) = if check {
        ("would have other labels", "would get it", "would lose it")
    } else {
        ("have other labels now", "got it", "lost it")
    };
    let mut text = format!("{} of {} stored versions {other}", said.changed, said.versions);
    for (label, moved) in &said.labels {
        let Moved { added, removed } = moved;
        text.push_str(&format!("\n{label:<12} {added:>8} {got} {removed:>8} {lost}"));
    }
    if said.closed > 0 {
        text.push_str(&format!("\n{} versions do not open: run phial verify", said.closed));
    }
    text
}
