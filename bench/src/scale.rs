//! Cost against size: the same questions to a small and to a large store, the same
//! hundred thousand resources taken in by an empty one and by a large one.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Args;
use crate::client::{self, Ask, Client};
use crate::made;
use crate::report::{Row, median, percentile};
use crate::server::{self, Server};

/// Resources of the small set, and of the last part of the large one.
const SMALL: u64 = 100_000;

/// What was measured of one size.
struct Measured {
    resources: u64,
    ingest: f64,
    disk: f64,
    start: f64,
    at_rest: f64,
    after: f64,
    searches: Vec<Search>,
}

/// One kind of search.
struct Search {
    name: &'static str,
    connections: usize,
    rate: f64,
    p95: f64,
    p99: f64,
}

/// Both sizes, as rows. `large` is the number of resources of the large set.
pub(crate) fn rows(args: &Args, dir: &Path, large: u64) -> anyhow::Result<Vec<Row>> {
    let per_patient = made::EACH + 1;
    let part = SMALL / per_patient;
    let all = (large.saturating_sub(made::MANY) / per_patient).max(2 * part);
    let small = measure(args, &dir.join("small"), 0..0, 0..part)?;
    let big = measure(args, &dir.join("large"), 0..all - part, all - part..all)?;

    let mut rows = Vec::new();
    let label = |m: &Measured, what: &str| format!("{what} at {} k", m.resources / 1000);
    for m in [&small, &big] {
        rows.push(Row::note(&label(m, "ingest"), "of 100 k into it", m.ingest, "resources/s"));
        rows.push(Row::note(&label(m, "disk"), "all stores and index", m.disk, "bytes/resource"));
        for s in &m.searches {
            let what =
                format!("{:.0}/s, p99 {:.1} ms, {} connections", s.rate, s.p99, s.connections);
            rows.push(Row::note(&label(m, s.name), &what, s.p95, "ms p95"));
        }
    }
    rows.push(Row::rate("ingest ratio", "large to small", big.ingest / small.ingest, 0.6, ""));
    for (s, b) in small.searches.iter().zip(&big.searches) {
        let name = format!("{} ratio", s.name);
        rows.push(Row::limit(&name, "p95, large to small", b.p95 / s.p95, 1.5, ""));
    }
    let of = |name: &str| big.searches.iter().find(|s| s.name == name);
    if let Some(s) = of("population") {
        rows.push(Row::limit("population p95", "code and month, page of 20", s.p95, 30.0, "ms"));
    }
    if let Some(s) = of("population count") {
        rows.push(Row::limit("population count p95", "_summary=count", s.p95, 100.0, "ms"));
    }
    if let Some(s) = of("many") {
        let what = "patient of 20,000 observations, code, newest 20, 16 connections";
        rows.push(Row::limit("many p99", what, s.p99, 25.0, "ms"));
    }
    rows.push(Row::limit("start, large", "to the first answer", big.start, 1.0, "s"));
    rows.push(Row::limit("memory at rest, large", "", big.at_rest, 300.0, "MiB"));
    rows.push(Row::note("memory after searches, large", "", big.after, "MiB"));
    Ok(rows)
}

/// Makes a store of `base` and `last` (numbers of patients) and asks it everything.
fn measure(
    args: &Args,
    dir: &Path,
    base: std::ops::Range<u64>,
    last: std::ops::Range<u64>,
) -> anyhow::Result<Measured> {
    std::fs::create_dir_all(dir)?;
    let (home, file) = (dir.join("phial"), dir.join("set.ndjson"));
    let patients = base.start..last.end;
    server::init(&args.phial, &home)?;
    let mut resources = 0;
    if !base.is_empty() {
        let begun = Instant::now();
        made::write(&file, base, true)?;
        resources += server::import(&args.phial, &home, Some(&file), 0)?;
        eprint(&format!("{resources} resources taken in, {:.0} s", begun.elapsed().as_secs_f64()));
    }
    let many = resources == 0;
    let written = made::write(&file, last, many)?;
    let begun = Instant::now();
    resources += server::import(&args.phial, &home, Some(&file), 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let ingest = written as f64 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&file)?;
    let disk = server::bytes_each(&home, resources)?;

    server::user(&args.phial, &home, "bench", "physician")?;
    let begun = Instant::now();
    let server = Server::start(&args.phial, &home)?;
    let start = begun.elapsed().as_secs_f64();
    let at_rest = server.resident_mib()?;
    let token = server::token(&args.phial, &home, "bench")?;
    let client = Client::new(server.address, &home.join("tls").join("ca.pem"), &token)?;
    let mut searches = Vec::new();
    for (name, connections, asks) in questions(&patients) {
        searches.push(ask(args, &client, name, connections, &asks)?);
    }
    let after = server.resident_mib()?;
    Ok(Measured { resources, ingest, disk, start, at_rest, after, searches })
}

/// The questions: what each finds is of the same size in a small and in a large store,
/// but for the population's, of which a page of 20 is asked, and the count of a day.
fn questions(patients: &std::ops::Range<u64>) -> Vec<(&'static str, usize, Vec<Ask>)> {
    let spread = |n: u64| patients.start + n * 7919 % (patients.end - patients.start);
    let some = || (0..500).map(spread);
    let read = some().map(|p| client::get(&format!("/fhir/Patient/{}", made::id(p)))).collect();
    let in_patient = some()
        .map(|p| {
            client::get(&format!(
                "/fhir/Observation?patient=Patient/{}&code={}&_sort=-date&_count=20",
                made::id(p),
                made::code(p)
            ))
        })
        .collect();
    let by_name = some()
        .map(|p| {
            let (family, born) = made::person(p);
            client::post_form("/fhir/Patient/_search", &format!("family={family}&birthdate={born}"))
        })
        .collect();
    let many = vec![client::get(&format!(
        "/fhir/Observation?patient=Patient/{}&code={}&_sort=-date&_count=20",
        made::MANY_ID,
        made::MANY_CODE
    ))];
    let month = |n: u64| format!("{}-{:02}", 2016 + n % 10, n / 10 % 12 + 1);
    let day = |n: u64| format!("{}-{:02}", month(n), n % 28 + 1);
    let population = (0..200)
        .map(|n| {
            let (code, month) = (made::code(n), month(n));
            client::get(&format!("/fhir/Observation?code={code}&date={month}&_count=20"))
        })
        .collect();
    let count = (0..200)
        .map(|n| {
            let (code, month) = (made::code(n), month(n));
            client::get(&format!("/fhir/Observation?code={code}&date={month}&_summary=count"))
        })
        .collect();
    let count_day = (0..200)
        .map(|n| {
            let (code, day) = (made::code(n), day(n));
            client::get(&format!("/fhir/Observation?code={code}&date={day}&_summary=count"))
        })
        .collect();
    vec![
        ("read", 16, read),
        ("in-patient", 16, in_patient),
        ("name", 16, by_name),
        ("many", 16, many),
        ("population", 4, population),
        ("population count", 4, count),
        ("population count of a day", 4, count_day),
    ]
}

fn ask(
    args: &Args,
    client: &Client,
    name: &'static str,
    connections: usize,
    asks: &[Ask],
) -> anyhow::Result<Search> {
    client.run(connections, asks, Duration::from_secs(2))?;
    let (mut rates, mut p95, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let took = Duration::from_secs(args.seconds);
        let mut times = client.run(connections, asks, took)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        rates.push(times.len() as f64 / took.as_secs_f64());
        p95.push(percentile(&mut times, 0.95));
        p99.push(percentile(&mut times, 0.99));
    }
    let (rate, p95, p99) = (median(&mut rates), median(&mut p95), median(&mut p99));
    eprint(&format!("{name}: {rate:.0}/s, p95 {p95:.1} ms, p99 {p99:.1} ms"));
    Ok(Search { name, connections, rate, p95, p99 })
}

#[expect(clippy::print_stderr, reason = "it takes minutes: say how far it is")]
fn eprint(line: &str) {
    eprintln!("{line}");
}
