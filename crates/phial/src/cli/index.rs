//! `phial index`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use phial_base::TenantId;

use super::out::Out;
use crate::app::{App, Use};

#[derive(Subcommand)]
pub(crate) enum IndexCommand {
    /// Build the index anew from the record log and say whether the old one held the
    /// same. Exit code 1 when it did not. The new one stays in use. With the server
    /// stopped.
    Check(TenantArgs),
    /// Build the index anew under a new page key, and destroy the old key. With the
    /// server stopped.
    Rebuild(TenantArgs),
}

#[derive(Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = TenantId::new)]
    tenant: TenantId,
}

pub(super) fn run(home: &Path, command: &IndexCommand, out: &Out) -> anyhow::Result<ExitCode> {
    let (IndexCommand::Check(args) | IndexCommand::Rebuild(args)) = command;
    let app = App::open(home, Use::Alone)?;
    let runtime = super::runtime()?;
    runtime.block_on(app.start())?;
    let tenant = app.engine.tenant(&args.tenant).context("there is no such tenant")?;
    let vessel = &tenant.vessel;
    let mut differ = Vec::new();
    let mut tables = 0;
    if let IndexCommand::Check(_) = command {
        let before = vessel.index_dump()?;
        vessel.rebuild_index()?;
        let after = vessel.index_dump()?;
        tables = after.len();
        // A table's line: its name, its rows, a digest of what they say.
        for (old, new) in before.iter().zip(&after).filter(|(old, new)| old != new) {
            differ.push(format!("{} where the rebuild has {}", rows(old), rows(new)));
        }
    } else {
        vessel.rebuild_index()?;
    }
    runtime.block_on(app.stop())?;
    let mut text = match command {
        IndexCommand::Rebuild(_) => "the index was built anew".to_owned(),
        IndexCommand::Check(_) if differ.is_empty() => {
            format!("the index held in all {tables} tables what its rebuild holds")
        }
        IndexCommand::Check(_) => "the index was not what the record log makes of it".to_owned(),
    };
    for d in &differ {
        text.push_str(&format!("\nFINDING: {d}"));
    }
    out.result(&text, &serde_json::json!({ "tables": tables, "findings": differ }));
    Ok(ExitCode::from(u8::from(!differ.is_empty())))
}

/// Name and number of rows of a table, without its digest.
fn rows(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(": ")
}
