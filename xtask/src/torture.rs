//! `cargo xtask torture`: builds the program for release and kills it a thousand times.

use std::process::Command;

use anyhow::{Context, ensure};

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "phial", "--package", "phial-testkit"])
        .status()
        .context("cargo can't be started")?;
    ensure!(built.success(), "the release build failed");
    let ran = Command::new("target/release/phial-torture")
        .arg("--phial")
        .arg("target/release/phial")
        .args(args)
        .status()
        .context("the torture can't be started")?;
    ensure!(ran.success(), "a promise was broken: see above");
    Ok(())
}
