//! Phial: the vessel that holds PHI. This crate is the program: its command line,
//! its configuration and its HTTP surface. It holds no rules of its own; those are
//! in `policy` and `engine`.

mod app;
mod cli;
mod config;
mod http;
mod jobs;
mod mail;
mod people;
#[cfg(test)]
mod reference;
mod reload;
mod sources;
mod sso;
mod subscriptions;
mod trust;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
