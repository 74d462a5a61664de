//! Cost against size: the same questions to a small and to a large store, the same
//! hundred thousand resources taken in by an empty one and by a large one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::Args;
use crate::client::{self, Ask, Client};
use crate::made;
use crate::report::{Row, median, percentile};
use crate::server::{self, Server};

/// Resources of the small set, and of the last part of the large one.
const SMALL: u64 = 100_000;
/// A patient, and what is about one.
const PER_PATIENT: u64 = made::EACH + 1;
/// The patient with many, and those.
const MANY_TOO: u64 = made::MANY + 1;
/// Patients of such a part.
const PART: u64 = SMALL / PER_PATIENT;
/// The file beside a kept store that says how many patients were made, and of how many
/// bytes of NDJSON.
const MADE: &str = "made";

/// A store, and what was measured of it at the size that it has.
struct Measured {
    resources: u64,
    ingest: f64,
    disk: f64,
    ndjson: u64,
    asked: Asked,
}

/// What a server said of a store.
struct Asked {
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

impl Search {
    fn row(&self, name: &str) -> Row {
        let (rate, p99, connections) = (self.rate, self.p99, self.connections);
        let what = format!("{rate:.0}/s, p99 {p99:.1} ms, {connections} connections");
        Row::note(name, &what, self.p95, "ms p95")
    }
}

/// A store that grows, each part of it the next patients.
struct Grown {
    home: PathBuf,
    file: PathBuf,
    patients: u64,
    resources: u64,
    /// Bytes of NDJSON that they came from.
    ndjson: u64,
}

/// All sizes, as rows. `sizes` are numbers of resources, beside the small set.
pub(crate) fn rows(args: &Args, dir: &Path, sizes: &[u64]) -> anyhow::Result<Vec<Row>> {
    let small = Grown::new(args, &dir.join("small"))?.measure(args, PART)?;
    let mut rows = noted(&small);
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let mut store = Grown::new(args, &dir.join("large"))?;
    for size in sizes {
        let all = (size.saturating_sub(MANY_TOO) / PER_PATIENT).max(store.patients + 2 * PART);
        store.take_in(args, all - PART)?;
        let large = store.measure(args, all)?;
        rows.extend(noted(&large));
        rows.extend(held(&small, &large, size));
    }
    Ok(rows)
}

/// What a kept store answers now, and with `grow` what it takes in before.
pub(crate) fn again(args: &Args, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let none = || format!("{} has no store that --keep left", dir.display());
    let text = std::fs::read_to_string(dir.join(MADE)).with_context(none)?;
    let (patients, ndjson) = text.split_once(' ').with_context(none)?;
    let (patients, ndjson): (u64, u64) = (patients.parse()?, ndjson.parse()?);
    let (home, file) = (dir.join("phial"), dir.join("set.ndjson"));
    let resources = MANY_TOO + patients * PER_PATIENT;
    let mut store = Grown { home, file, patients, resources, ndjson };
    if args.grow {
        return Ok(noted(&store.measure(args, patients + PART)?));
    }
    let found = asked(args, &store.home, patients)?;
    Ok(found.searches.iter().map(|s| s.row(s.name)).collect())
}

/// Figures of one size.
fn noted(m: &Measured) -> Vec<Row> {
    let label = |what: &str| format!("{what} at {} k", m.resources / 1000);
    let disk = format!("all stores and index, from NDJSON of {} bytes each", m.ndjson);
    let mut rows = vec![
        Row::note(&label("ingest"), "of 100 k into it", m.ingest, "resources/s"),
        Row::note(&label("disk"), &disk, m.disk, "bytes/resource"),
    ];
    rows.extend(m.asked.searches.iter().map(|s| s.row(&label(s.name))));
    rows
}

/// A large size beside the small one, and beside the budgets.
fn held(small: &Measured, large: &Measured, size: u64) -> Vec<Row> {
    let at = large.resources / 1000;
    let label = |what: &str| format!("{what} at {at} k");
    let goal = if size > 2_000_000 { 0.5 } else { 0.6 };
    let ratio = large.ingest / small.ingest;
    let mut rows = vec![Row::rate(&label("ingest ratio"), "to that at 100 k", ratio, goal, "")];
    for (s, l) in small.asked.searches.iter().zip(&large.asked.searches) {
        let name = label(&format!("{} ratio", s.name));
        rows.push(Row::limit(&name, "p95, to that at 100 k", l.p95 / s.p95, 1.5, ""));
    }
    let large = &large.asked;
    let of = |name: &str| large.searches.iter().find(|s| s.name == name);
    if let Some(s) = of("population") {
        let what = "code and month, page of 20";
        rows.push(Row::limit(&label("population p95"), what, s.p95, 30.0, "ms"));
    }
    if let Some(s) = of("population count") {
        let what = "_summary=count";
        rows.push(Row::limit(&label("population count p95"), what, s.p95, 100.0, "ms"));
    }
    if let Some(s) = of("many") {
        let what = "patient of 20,000 observations, code, newest 20, 16 connections";
        rows.push(Row::limit(&label("many p99"), what, s.p99, 25.0, "ms"));
    }
    rows.push(Row::limit(&label("start"), "to the first answer", large.start, 1.0, "s"));
    rows.push(Row::limit(&label("memory at rest"), "", large.at_rest, 300.0, "MiB"));
    rows.push(Row::note(&label("memory after searches"), "", large.after, "MiB"));
    rows
}

impl Grown {
    fn new(args: &Args, dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (home, file) = (dir.join("phial"), dir.join("set.ndjson"));
        server::init(&args.phial, &home)?;
        server::user(&args.phial, &home, "bench", "physician")?;
        Ok(Grown { home, file, patients: 0, resources: 0, ndjson: 0 })
    }

    /// Takes in the patients up to `until`; resources a second.
    fn take_in(&mut self, args: &Args, until: u64) -> anyhow::Result<f64> {
        let many = self.resources == 0;
        let written = made::write(&self.file, self.patients..until, many)?;
        self.ndjson += std::fs::metadata(&self.file)?.len();
        let begun = Instant::now();
        self.resources += server::import(&args.phial, &self.home, Some(&self.file), 0)?;
        let took = begun.elapsed().as_secs_f64();
        std::fs::remove_file(&self.file)?;
        self.patients = until;
        eprint(&format!("{} resources are in, {took:.0} s for {written}", self.resources));
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Ok(written as f64 / took)
    }

    /// Takes in the patients up to `until`, the part that is timed, and asks everything.
    fn measure(&mut self, args: &Args, until: u64) -> anyhow::Result<Measured> {
        let ingest = self.take_in(args, until)?;
        let disk = server::bytes_each(&self.home, self.resources)?;
        let asked = asked(args, &self.home, self.patients)?;
        if args.keep || args.grow {
            let made = format!("{} {}", self.patients, self.ndjson);
            std::fs::write(self.home.with_file_name(MADE), made)?;
        }
        let (resources, ndjson) = (self.resources, self.ndjson / self.resources.max(1));
        Ok(Measured { resources, ingest, disk, ndjson, asked })
    }
}

/// Starts a server on a store with so many patients and asks it everything.
fn asked(args: &Args, home: &Path, patients: u64) -> anyhow::Result<Asked> {
    let begun = Instant::now();
    let server = Server::start(&args.phial, home)?;
    let start = begun.elapsed().as_secs_f64();
    let at_rest = server.resident_mib()?;
    let token = server::token(&args.phial, home, "bench")?;
    let client = Client::new(server.address, &home.join("tls").join("ca.pem"), &token)?;
    let mut searches = Vec::new();
    for (name, connections, asks) in questions(patients) {
        searches.push(ask(args, &client, name, connections, &asks)?);
    }
    let after = server.resident_mib()?;
    Ok(Asked { start, at_rest, after, searches })
}

/// The questions: what each finds is of the same size in a small and in a large store,
/// but for the population's, of which a page of 20 is asked, and the count of a day.
fn questions(patients: u64) -> Vec<(&'static str, usize, Vec<Ask>)> {
    let spread = |n: u64| n * 7919 % patients;
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
