//! Writes what the compression dictionary is trained on: the segments into which
//! synthetic resources are split, and their search blocks, one a line, as they would be
//! sealed.
//!
//! ```text
//! cargo run --release -p phial-synth --example fragments -- SEED PATIENTS > FILE
//! cargo run --release -p phial-synth --example fragments -- --bundles FILE... > FILE
//! ```
//!
//! With `--bundles` the segments of the resources in Bundle files, to
//! measure a dictionary on other data than it was made from. Output only: it trains
//! nothing.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use phial_base::{LogicalId, Version};
use phial_fhir::json::{Doc, Node};
use phial_fhir::search::extract;
use phial_fhir::{Limits, split, stamp, validate};
use phial_synth::World;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads a failure to write to standard error.
            let _ = writeln!(io::stderr(), "fragments: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    let usage = || io::Error::other("usage: fragments SEED PATIENTS | --bundles FILE...");
    let mut out = BufWriter::new(io::stdout().lock());
    match arguments {
        [flag, files @ ..] if flag == "--bundles" => {
            for file in files {
                bundle(&std::fs::read(file)?, &mut out)?;
            }
        }
        [seed, patients] => {
            let seed = seed.parse().map_err(|_| usage())?;
            let patients = patients.parse().map_err(|_| usage())?;
            for (_, text) in World::new(seed, patients).bundles() {
                bundle(text.as_bytes(), &mut out)?;
            }
        }
        _ => return Err(usage()),
    }
    out.flush()
}

fn bundle(text: &[u8], out: &mut impl Write) -> io::Result<()> {
    let invalid = |_| io::Error::other("a resource is not valid");
    let limits = Limits { max_bytes: usize::MAX, max_elements: usize::MAX, ..Limits::default() };
    let doc = Doc::parse(text, &limits).map_err(invalid)?;
    let entries = doc.root().member("entry");
    for entry in entries.into_iter().flat_map(Node::items) {
        let Some(resource) = entry.member("resource") else { continue };
        let valid = validate(stored(resource, &limits)?).map_err(invalid)?;
        for (_, segment) in split::split(&valid).segments {
            // Minified JSON text holds no line break.
            out.write_all(&segment)?;
            out.write_all(b"\n")?;
        }
        // A block of search values is binary: where it holds a line break, the trainer
        // takes it for two.
        out.write_all(&extract(&valid).encode())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The resource as a server stores it, with version and time in `meta`.
fn stored(resource: Node<'_>, limits: &Limits) -> io::Result<Doc> {
    let wrong = || io::Error::other("a resource can't be stamped");
    let id = resource.member("id").and_then(Node::as_str).ok_or_else(wrong)?;
    let id = LogicalId::new(&id).map_err(|_| wrong())?;
    // Any time will do that differs from record to record.
    let day = id.as_str().bytes().fold(0u32, |n, b| n.wrapping_mul(31).wrapping_add(u32::from(b)))
        % 86_400_000;
    let (second, milli) = (day / 1000, day % 1000);
    let time = format!(
        "2026-06-30T{:02}:{:02}:{:02}.{milli:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    let doc = Doc::from_node(resource);
    let text = stamp(&doc, &id, Version(1), &time, &mut |_| None).map_err(|_| wrong())?;
    Doc::parse(&text, limits).map_err(|_| wrong())
}
