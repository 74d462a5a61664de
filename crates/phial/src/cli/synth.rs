//! `phial synth`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use phial_base::Surface;
use phial_fhir::{Doc, Limits};
use phial_synth::World;

use super::behind;
use super::out::Out;
use crate::app::{App, Use, into_anyhow};

/// Make believable synthetic patients of our own: reproducible by seed, labelled
/// HTEST, whole (names, addresses, practitioners, care teams, encounters, conditions,
/// observations, medications, notes, appointments, claims).
#[derive(Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["out", "import"])))]
pub(crate) struct SynthArgs {
    /// How many patients.
    #[arg(long, default_value_t = 100, value_name = "N")]
    patients: u32,
    /// The seed: the same seed makes the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write one transaction Bundle per patient into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Import them into the home.
    #[arg(long)]
    import: bool,
}

pub(super) fn run(home: &Path, args: &SynthArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let world = World::new(args.seed, args.patients);
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
        let mut files = 0;
        for (name, bundle) in world.bundles() {
            std::fs::write(dir.join(name), bundle)?;
            files += 1;
        }
        out.result(
            &format!("{files} files in {}: `phial import {}`", dir.display(), dir.display()),
            &serde_json::json!({ "files": files, "directory": dir }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let app = Arc::new(App::open(home, Use::Alone)?);
    let stored = super::runtime()?.block_on(async {
        app.start().await?;
        let stored = behind::followed(&app, take_in(&app, &world)).await?;
        app.stop().await?;
        anyhow::Ok(stored)
    })?;
    out.result(
        &format!("{stored} resources of {} patients stored", args.patients),
        &serde_json::json!({ "patients": args.patients, "stored": stored }),
    );
    Ok(ExitCode::SUCCESS)
}

/// Takes in a synthetic world as the import subject.
pub(super) async fn take_in(app: &App, world: &World) -> anyhow::Result<usize> {
    let mut caller = app.local("import", &["import-client"], Surface::Job);
    let mut stored = 0;
    for (name, bundle) in world.bundles() {
        caller.request.id = app.engine.new_request_id();
        caller.request.at = app.clock.now();
        let doc = Doc::parse(bundle.as_bytes(), &Limits::default())
            .map_err(|_| anyhow::anyhow!("{name} is not JSON"))?;
        let done = app.engine.import(&caller, &doc).await.map_err(into_anyhow)?;
        if let Some((at, issues)) = done.rejected.first() {
            let what =
                issues.first().map_or_else(String::new, |i| format!("{}: {}", i.path, i.text));
            anyhow::bail!("{name}, entry {at}: {what}");
        }
        stored += done.stored.len();
    }
    Ok(stored)
}
