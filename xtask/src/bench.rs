//! `cargo xtask bench`: builds the program and the load generator for release and
//! runs the one against the other.

use std::process::Command;

use anyhow::{Context, ensure};

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    // By themselves: what the measurements see of the engine, the program is not built with.
    for package in [&["phial"][..], &["phial-bench", "--features", "permit"]] {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--package"])
            .args(package)
            .status()
            .context("cargo can't be started")?;
        ensure!(built.success(), "the release build failed");
    }
    let ran = Command::new("target/release/phial-bench")
        .arg("--phial")
        .arg("target/release/phial")
        .args(args)
        .status()
        .context("the benchmark can't be started")?;
    ensure!(ran.success(), "the benchmark failed");
    Ok(())
}
