//! Measures the budgets of the design with every protection on: TLS, durable audit,
//! encryption and policy, the load generator on the same cores. It prints medians
//! and never fails because of a time.

mod audit;
mod client;
mod data;
mod export;
mod login;
mod made;
mod permit;
mod report;
mod scale;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;

use client::Client;
use report::{Row, median, percentile};
use server::Server;

/// Measure the budgets of design §8 with everything on.
#[derive(Parser)]
struct Args {
    /// The program, built for release.
    #[arg(long, default_value = "target/release/phial")]
    phial: PathBuf,
    /// Runs of each row; the median is printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// An archive to import instead of synthetic patients of our own.
    #[arg(long)]
    import: Option<PathBuf>,
    /// Synthetic patients, without --import.
    #[arg(long, default_value_t = 1000)]
    patients: u32,
    /// Only these: import, read, search, name, bundle, export, login, permit, audit, scale;
    /// separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Resources of the store in the rows about size, which grows from one number to the
    /// next; 0 leaves them out. It takes about 2 KB of disk for each.
    #[arg(long, value_delimiter = ',', default_value = "1000000,2000000,4000000")]
    large: Vec<u64>,
    /// Where the stores are made; the system's directory for temporary files if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave the stores of the rows about size in --dir.
    #[arg(long, requires = "dir")]
    keep: bool,
    /// Only ask a store that --keep left in this directory once more.
    #[arg(long)]
    again: Option<PathBuf>,
    /// Before that let it take in a hundred thousand resources more.
    #[arg(long, requires = "again")]
    grow: bool,
    /// Put the table, with today's date, into this file behind its introduction.
    #[arg(long)]
    write: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    run(&Args::parse())
}

fn run(args: &Args) -> anyhow::Result<()> {
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|o| o == name);
    let mut rows = Vec::new();
    if let Some(kept) = &args.again {
        report::print(&report::table(&scale::again(args, kept)?, 0, args.runs, args.seconds));
        return Ok(());
    }
    let mut dir = match &args.dir {
        Some(at) => tempfile::tempdir_in(at)?,
        None => tempfile::tempdir()?,
    };
    dir.disable_cleanup(args.keep);
    let home = dir.path().join("phial");

    let mut rates = Vec::new();
    let import_runs = if wanted("import") { args.runs } else { 1 };
    let mut stored = 0;
    for _ in 0..import_runs {
        let _ = std::fs::remove_dir_all(&home);
        server::init(&args.phial, &home)?;
        let took = Instant::now();
        stored = server::import(&args.phial, &home, args.import.as_deref(), args.patients)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        rates.push(stored as f64 / took.elapsed().as_secs_f64());
    }
    rows.push(Row::rate(
        "import",
        "`phial import`, start to end",
        median(&mut rates),
        8000.0,
        "resources/s",
    ));
    rows.push(server::disk(&home, stored)?);

    server::user(&args.phial, &home, "bench", "physician")?;
    server::user(&args.phial, &home, "loader", "import-client")?;
    server::user(&args.phial, &home, "exporter", "export-client")?;
    let started = Instant::now();
    let server = Server::start(&args.phial, &home)?;
    rows.push(Row::limit(
        "start",
        "to the first answer on an existing store",
        started.elapsed().as_secs_f64(),
        1.0,
        "s",
    ));
    let physician = server::token(&args.phial, &home, "bench")?;
    let loader = server::token(&args.phial, &home, "loader")?;
    let exporter = server::token(&args.phial, &home, "exporter")?;
    let client = Client::new(server.address, &home.join("tls").join("ca.pem"), &physician)?;
    let known = data::discover(&client).context("the store holds no patients to ask for")?;

    if wanted("read") {
        let paths: Vec<_> =
            known.patients.iter().map(|id| client::get(&format!("/fhir/Patient/{id}"))).collect();
        let found = load(args, &client, 16, &paths, &server)?;
        let what = "GET /Patient/{id}, 16 connections";
        rows.push(Row::rate("read", what, found.rate, 16_000.0, "reads/s"));
        rows.push(Row::limit("read p99", "", found.p99, 5.0, "ms"));
        rows.extend(found.notes("read"));
    }
    if wanted("search") {
        let paths: Vec<_> = known
            .codes
            .iter()
            .map(|(patient, code)| {
                client::get(&format!(
                    "/fhir/Observation?patient=Patient/{patient}&code={code}&_sort=-date&_count=20"
                ))
            })
            .collect();
        let found = load(args, &client, 16, &paths, &server)?;
        let what = "Observation?patient&code&_sort=-date&_count=20, 16 connections";
        rows.push(Row::rate("search", what, found.rate, 3000.0, "searches/s"));
        rows.push(Row::limit("search p99", "", found.p99, 15.0, "ms"));
        rows.extend(found.notes("search"));
    }
    if wanted("name") {
        let paths: Vec<_> = known
            .names
            .iter()
            .map(|(family, born)| {
                client::post_form(
                    "/fhir/Patient/_search",
                    &format!("family={family}&birthdate={born}"),
                )
            })
            .collect();
        let found = load(args, &client, 16, &paths, &server)?;
        let what = "Patient by name and birth date (POST _search), 16 connections";
        rows.push(Row::rate("name", what, found.rate, 5000.0, "searches/s"));
        rows.push(Row::limit("name p99", "", found.p99, 15.0, "ms"));
        rows.extend(found.notes("name"));
    }
    if wanted("bundle") {
        let writer = Client::new(server.address, &home.join("tls").join("ca.pem"), &loader)?;
        let bundles: Vec<_> =
            (0..400).map(|n| client::post_json("/fhir", data::bundle(n))).collect();
        let found = load(args, &writer, 4, &bundles, &server)?;
        let what = "transaction bundles of 55 resources, 4 clients";
        rows.push(Row::rate("bundle", what, found.rate * 55.0, 5000.0, "resources/s"));
        rows.extend(found.notes("bundle"));
    }
    if wanted("export") {
        let out = Client::new(server.address, &home.join("tls").join("ca.pem"), &exporter)?;
        let mut rates = Vec::new();
        for _ in 0..args.runs {
            rates.push(export::once(&out)?.0);
        }
        rows.push(Row::rate(
            "export",
            "$export of the system, kick-off to manifest",
            median(&mut rates),
            20_000.0,
            "resources/s",
        ));
    }
    if wanted("login") {
        rows.extend(login::rows(&args.phial, &home, &server, args.seconds)?);
    }
    rows.push(Row::limit(
        "memory",
        "resident, after the load",
        server.resident_mib()?,
        300.0,
        "MiB",
    ));
    if wanted("permit") {
        let writer = Client::new(server.address, &home.join("tls").join("ca.pem"), &loader)?;
        let consented = known.patients.first().context("a patient")?;
        permit::consent(&writer, consented)?;
    }
    drop(server);
    if wanted("permit") {
        let token = server::token(&args.phial, &home, "bench")?;
        rows.extend(permit::rows(&home, &token, &known.patients)?);
    }
    std::fs::remove_dir_all(&home)?;
    if wanted("audit") {
        rows.extend(audit::rows(dir.path(), args.runs, args.seconds)?);
    }
    let sizes: Vec<u64> = args.large.iter().copied().filter(|size| *size > 0).collect();
    if wanted("scale") && !sizes.is_empty() {
        rows.extend(scale::rows(args, dir.path(), &sizes)?);
    }
    let table = report::table(&rows, stored, args.runs, args.seconds);
    report::print(&table);
    if let Some(file) = &args.write {
        report::write(file, &table)?;
    }
    Ok(())
}

/// What a load was answered with; medians of the runs.
struct Load {
    /// Answers a second.
    rate: f64,
    /// Milliseconds.
    p99: f64,
    /// Durable audit commits a second.
    commits: f64,
    /// Microseconds of processor time that the server spent on an answer.
    processor: f64,
}

impl Load {
    fn notes(&self, name: &str) -> [Row; 2] {
        let commits = format!("{name} commits");
        let processor = format!("{name} processor");
        [
            Row::note(&commits, "durable audit commits", self.commits, "commits/s"),
            Row::note(&processor, "the server's, of both cores", self.processor, "µs each"),
        ]
    }
}

/// Runs a load several times.
fn load(
    args: &Args,
    client: &Client,
    connections: usize,
    requests: &[client::Ask],
    server: &Server,
) -> anyhow::Result<Load> {
    client.run(connections, requests, Duration::from_secs(2))?;
    let (mut rates, mut tails) = (Vec::new(), Vec::new());
    let (mut commits, mut processor) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let (before, used) = (server.commits()?, server.processor()?);
        let took = Duration::from_secs(args.seconds);
        let mut times = client.run(connections, requests, took)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        {
            rates.push(times.len() as f64 / took.as_secs_f64());
            processor.push((server.processor()? - used) * 1e6 / times.len().max(1) as f64);
            commits.push((server.commits()? - before) as f64 / took.as_secs_f64());
        }
        tails.push(percentile(&mut times, 0.99));
    }
    Ok(Load {
        rate: median(&mut rates),
        p99: median(&mut tails),
        commits: median(&mut commits),
        processor: median(&mut processor),
    })
}
