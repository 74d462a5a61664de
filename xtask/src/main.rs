//! The project's chores: `cargo xtask <chore>`.

mod bench;
mod definitions;
mod e2e;
mod fuzz;
mod test;
mod tidy;
mod torture;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that CI runs: format, lints, tidy, licences, all tests.
    Test {
        /// Leave out what needs PyPI and npm.
        #[arg(long)]
        without_clients: bool,
    },
    /// Other people's FHIR clients, and a fuzzer, against the real server.
    E2e {
        /// Only scripts whose name contains this.
        only: Option<String>,
    },
    /// The project's own rules: dependency order, who may use which library, file
    /// sizes, docs that name real modules and tests.
    Tidy,
    /// Measure the design's budgets with every protection on.
    Bench {
        /// Passed on to the benchmark: `--help` shows what it takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Kill the server at random times under load, a thousand times in half an hour,
    /// and look for what was lost, doubled or half done.
    Torture {
        /// Passed on: `--kills N`, `--minutes N`, `--seed N`; `--help` shows the rest.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the fuzz targets under libFuzzer, one after the other.
    Fuzz {
        /// One target: json, fhirpath, search, filter, page, envelope or proof.
        target: Option<String>,
        /// Minutes for each.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Where the fuzzer's choices start; 0: anywhere.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Regenerate the R4 fact tables of the fhir crate from HL7's definitions.
    Definitions {
        /// The directory that holds `r4-core/`.
        #[arg(long, default_value = "../shared/data/definitions")]
        from: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Test { without_clients } => test::run(without_clients),
        Chore::E2e { only } => e2e::run(only.as_deref()),
        Chore::Tidy => tidy::run(),
        Chore::Bench { args } => bench::run(&args),
        Chore::Torture { args } => torture::run(&args),
        Chore::Fuzz { target, minutes, seed } => fuzz::run(target.as_deref(), minutes, seed),
        Chore::Definitions { from } => definitions::run(&from),
    }
}
