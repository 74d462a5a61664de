//! Kills the program at random times, again and again, and says whether it kept its
//! promises. Exit code 0: all kept; 1: something is wrong, and the home is kept.
#![expect(clippy::print_stdout, reason = "a program that prints what it found")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use phial_testkit::torture::{Plan, run};

/// Kill the server at random times under mixed load, and look for what was lost,
/// doubled or half done.
#[derive(Parser)]
struct Args {
    /// The program, built for release.
    #[arg(long, default_value = "target/release/phial")]
    phial: PathBuf,
    /// End after so many kills.
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// End after this time, whatever was reached.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The seed: the same dice, though not the same moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Look at everything after so many kills.
    #[arg(long, default_value_t = 100, value_name = "KILLS")]
    deep_every: u64,
    /// Clients at once.
    #[arg(long, default_value_t = 6)]
    clients: u64,
    /// Make the home in this directory.
    #[arg(long, value_name = "DIR")]
    place: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plan = Plan {
        program: args.phial,
        place: args.place,
        seed: args.seed,
        kills: args.kills,
        limit: Duration::from_secs(args.minutes * 60),
        deep_every: args.deep_every,
        clients: args.clients,
    };
    let report = run(&plan, &mut |line| println!("{line}"));
    println!("\n{}", report.table);
    for w in &report.wrong {
        println!("WRONG: {w}");
    }
    match report.home {
        None => {
            println!("nothing acknowledged was lost, doubled or changed; nothing is half done");
            ExitCode::SUCCESS
        }
        Some(home) => {
            println!("seed {}; the home is kept at {}", args.seed, home.display());
            ExitCode::from(1)
        }
    }
}
