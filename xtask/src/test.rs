//! `cargo xtask test`: what CI runs, in the order in which mistakes show soonest.
#![expect(clippy::print_stdout, reason = "a chore tells what it does")]

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

pub(crate) fn run(without_clients: bool) -> anyhow::Result<()> {
    install()?;
    step("format", "cargo", &["fmt", "--all", "--check"])?;
    crate::tidy::run()?;
    step(
        "lints",
        "cargo",
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    )?;
    // What only a measurement is built with.
    step(
        "lints of measurements",
        "cargo",
        &[
            "clippy",
            "-p",
            "phial-bench",
            "--features",
            "permit",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    if !has("cargo-deny") {
        install_deny();
    }
    if has("cargo-deny") {
        step(
            "licences, bans and sources",
            "cargo",
            &["deny", "--offline", "check", "bans", "licenses", "sources"],
        )?;
    } else {
        println!("== cargo-deny can't be installed here: tidy has held licences and bans");
    }
    step("tests", "cargo", &["test", "--workspace", "--locked"])?;
    if without_clients {
        println!("== e2e: other people's clients were left out (--without-clients)");
        return Ok(());
    }
    // A machine without registries has told all that it can; `cargo xtask e2e` insists.
    match crate::e2e::install() {
        Ok(installed) => crate::e2e::run_with(&installed, None),
        Err(e) => {
            println!("== e2e: LEFT OUT, what it needs can't be installed here: {e:#}");
            Ok(())
        }
    }
}

/// Installs what the build and the tests need and the machine lacks.
fn install() -> anyhow::Result<()> {
    let needed = [("cc", "gcc"), ("make", "make"), ("perl", "perl"), ("curl", "curl")];
    let missing: Vec<&str> =
        needed.iter().filter(|(tool, _)| !has(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt_install(&missing)
}

pub(crate) fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    println!("== installing {}", packages.join(", "));
    step("package list", "apt-get", &["update", "-q"])?;
    let mut args = vec!["install", "-y", "-q", "--no-install-recommends"];
    args.extend(packages);
    step("packages", "apt-get", &args)
}

/// Builds cargo-deny, quickly rather than fast. Where that does not work (no registry),
/// tidy's own check of licences, bans and sources stands alone.
fn install_deny() {
    println!("== installing cargo-deny");
    let installed = Command::new("cargo")
        .args(["install", "cargo-deny", "--locked", "--version", "0.20.2"])
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .status();
    if !installed.is_ok_and(|s| s.success()) {
        println!("== cargo-deny was not installed");
    }
}

pub(crate) fn has(tool: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

pub(crate) fn step(what: &str, program: &str, args: &[&str]) -> anyhow::Result<()> {
    println!("== {what}: {program} {}", args.join(" "));
    let started = Instant::now();
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("{program} can't be started"))?;
    ensure!(status.success(), "{what} failed: run `{program} {}`", args.join(" "));
    println!("== {what}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
