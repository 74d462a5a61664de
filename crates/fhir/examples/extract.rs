//! Measures the extraction of search values: `extract FILE.tar.xz [ROUNDS]`, the file with
//! bundles of resources. Prints the processor's time for each resource, and a digest of all
//! that was extracted, so that two builds can be held against each other.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people at a terminal")]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;

use phial_fhir::search::extract;
use phial_fhir::{Doc, Limits, Valid, validate};

/// Processor time of this process in nanoseconds (Linux), as the scheduler counts it.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_default();
    let rounds: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(3);
    let xz = liblzma::read::XzDecoder::new(std::fs::File::open(file).unwrap());
    let mut tar = tar::Archive::new(std::io::BufReader::with_capacity(1 << 20, xz));
    let mut all: Vec<Valid> = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let bundle = Doc::parse(&bytes, &Limits::default()).unwrap();
        for entry in bundle.root().member("entry").unwrap().items() {
            let resource = Doc::from_node(entry.member("resource").unwrap());
            all.push(validate(resource).unwrap());
        }
    }
    let mut hasher = DefaultHasher::new();
    let mut values = 0;
    for v in &all {
        let found = extract(v);
        values += found.values.len();
        (found.values, found.primary_date).hash(&mut hasher);
    }
    println!("{} resources, {values} values, digest {:016x}", all.len(), hasher.finish());
    let mut least = u64::MAX;
    for _ in 0..rounds {
        let before = cpu();
        for v in &all {
            std::hint::black_box(extract(v));
        }
        least = least.min((cpu() - before) / all.len() as u64);
    }
    println!("{least} ns of processor time a resource, least of {rounds} rounds");
}
