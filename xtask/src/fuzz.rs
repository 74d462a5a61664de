//! `cargo xtask fuzz`: each target under libFuzzer for some minutes, one after the
//! other, starting from the committed corpora. New inputs go to a directory of the
//! build, never into the tree; a finding is kept there and named.
#![expect(clippy::print_stdout, reason = "a chore tells what it does")]

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

const TARGETS: &[&str] = &[
    "json", "fhirpath", "search", "filter", "page", "patch", "bundle", "envelope", "proof",
    "ndjson",
];

pub(crate) fn run(only: Option<&str>, minutes: u64, seed: u64) -> anyhow::Result<()> {
    if !crate::test::has("cargo-fuzz") {
        println!("== installing cargo-fuzz");
        let built = Command::new("cargo")
            .args(["install", "cargo-fuzz", "--locked", "--version", "0.13.2"])
            .status()?;
        ensure!(built.success(), "cargo-fuzz can't be installed");
    }
    let mut found = Vec::new();
    for target in TARGETS.iter().filter(|t| only.is_none_or(|o| o == **t)) {
        let grown = format!("target/fuzz/corpus/{target}");
        let kept = format!("target/fuzz/found/{target}/");
        std::fs::create_dir_all(&grown)?;
        std::fs::create_dir_all(&kept)?;
        println!("== {target}: {minutes} min");
        let status = Command::new("cargo")
            // Coverage comes from stable code generation options; no sanitizer: the
            // product has no unsafe code of its own.
            .args(["fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer", "--sanitizer", "none"])
            .args(["--target-dir", "target/fuzz/build", target, &grown])
            .arg(format!("fuzz/corpus/{target}"))
            .arg("--")
            .arg(format!("-max_total_time={}", minutes * 60))
            .arg(format!("-seed={seed}"))
            .arg(format!("-artifact_prefix={kept}"))
            .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .status()
            .context("cargo can't be started")?;
        if !status.success() {
            found.push(*target);
        }
    }
    ensure!(found.is_empty(), "findings, kept under target/fuzz/found: {}", found.join(", "));
    ensure!(only.is_none_or(|o| TARGETS.contains(&o)), "targets are {}", TARGETS.join(", "));
    ensure!(Path::new("target/fuzz").is_dir(), "nothing was run");
    println!("== no finding");
    Ok(())
}
