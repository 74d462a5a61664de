//! Makes a world and says how large it is; with a patient's number, prints that chart.
//!
//! ```text
//! time cargo run --release -p phial-synth --example world -- SEED PATIENTS [PRINT]
//! ```

use std::io::{self, Write};

use phial_synth::World;

fn main() -> io::Result<()> {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [seed, patients, print @ ..] = numbers.as_slice() else {
        return Err(io::Error::other("usage: world SEED PATIENTS [PRINT]"));
    };
    let world = World::new(u64::from(*seed), *patients);
    let mut out = io::stdout().lock();
    if let Some(number) = print.first() {
        let name = format!("patient-{number:07}.json");
        for (_, bundle) in world.bundles().filter(|(n, _)| *n == name) {
            writeln!(out, "{bundle}")?;
        }
        return Ok(());
    }
    let (mut files, mut bytes, mut resources) = (0_u64, 0_u64, 0_u64);
    for (_, bundle) in world.bundles() {
        files += 1;
        bytes += bundle.len() as u64;
        resources += bundle.matches("\"method\":\"PUT\"").count() as u64;
    }
    writeln!(out, "{files} bundles, {resources} resources, {bytes} bytes")
}
