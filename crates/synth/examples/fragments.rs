//! Writes what the compression dictionaries are trained on: the texts that are packed
//! when synthetic resources are sealed, one file a kind (the plan of the header, and each
//! class's segment in short), each text behind its length (u32, little-endian).
//!
//! ```text
//! cargo run --release -p phial-synth --example fragments -- DIRECTORY PATIENTS SEED...
//! cargo run --release -p phial-synth --example fragments -- DIRECTORY --bundles FILE...
//! ```
//!
//! With `--bundles` the texts of the resources in Bundle files, to measure dictionaries
//! on other data than they were made from. Output only: it trains nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phial_base::{LogicalId, Version};
use phial_fhir::json::{Doc, Node};
use phial_fhir::split::{Known, shorten, split};
use phial_fhir::{Limits, stamp, validate};
use phial_synth::World;

/// 2026-06-30T00:00:00Z in milliseconds since the epoch.
const DAY: i64 = 1_782_777_600_000;

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

/// The files, by kind.
struct Out {
    directory: PathBuf,
    files: BTreeMap<String, BufWriter<File>>,
}

impl Out {
    fn write(&mut self, kind: &str, text: &[u8]) -> io::Result<()> {
        if !self.files.contains_key(kind) {
            let file = File::create_new(self.directory.join(kind))?;
            self.files.insert(kind.to_owned(), BufWriter::new(file));
        }
        let Some(file) = self.files.get_mut(kind) else { return Ok(()) };
        let len = u32::try_from(text.len()).map_err(io::Error::other)?;
        file.write_all(&len.to_le_bytes())?;
        file.write_all(text)
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    let usage = || {
        io::Error::other(
            "usage: fragments DIRECTORY PATIENTS SEED... | DIRECTORY --bundles FILE...",
        )
    };
    let [directory, what, rest @ ..] = arguments else { return Err(usage()) };
    let directory = Path::new(directory).to_owned();
    fs::create_dir_all(&directory)?;
    let mut out = Out { directory, files: BTreeMap::new() };
    if what == "--bundles" {
        for file in rest {
            bundle(&fs::read(file)?, &mut out)?;
        }
    } else {
        let patients = what.parse().map_err(|_| usage())?;
        for seed in rest {
            let seed = seed.parse().map_err(|_| usage())?;
            for (_, text) in World::new(seed, patients).bundles() {
                bundle(text.as_bytes(), &mut out)?;
            }
        }
    }
    out.files.values_mut().try_for_each(Write::flush)
}

fn bundle(text: &[u8], out: &mut Out) -> io::Result<()> {
    let invalid = |_| io::Error::other("a resource is not valid");
    let limits = Limits { max_bytes: usize::MAX, max_elements: usize::MAX, ..Limits::default() };
    let doc = Doc::parse(text, &limits).map_err(invalid)?;
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut patient = None;
    for entry in doc.root().member("entry").into_iter().flat_map(Node::items) {
        let Some(resource) = entry.member("resource") else { continue };
        let (Some(ty), Some(id)) = (text_of(resource, "resourceType"), text_of(resource, "id"))
        else {
            continue;
        };
        if ty == "Patient" {
            patient = Some(id.clone().into_owned());
        }
        if let Some(url) = text_of(entry, "fullUrl") {
            places.insert(url.into_owned(), format!("{ty}/{id}"));
        }
    }
    for entry in doc.root().member("entry").into_iter().flat_map(Node::items) {
        let Some(resource) = entry.member("resource") else { continue };
        let wrong = || io::Error::other("a resource can't be stamped");
        let id = text_of(resource, "id").ok_or_else(wrong)?;
        let id = LogicalId::new(&id).map_err(|_| wrong())?;
        let (milli, time) = time_of(&id);
        // References are resolved as a transaction does.
        let stamped = stamp(&Doc::from_node(resource), &id, Version(1), &time, &mut |r| match r
            .text()
            .split_once('?')
        {
            Some((ty, _)) => Some(format!("{ty}/{}", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")),
            None => places.get(r.text()).cloned(),
        })
        .map_err(|_| wrong())?;
        let valid = validate(Doc::parse(&stamped, &limits).map_err(invalid)?).map_err(invalid)?;
        let pieces = split(&valid);
        out.write("header", &pieces.plan)?;
        let known = Known::new(id.as_str(), patient.as_deref(), milli * 1000);
        for (class, segment) in &pieces.segments {
            out.write(class.name(), &shorten(segment, &known).text)?;
        }
    }
    Ok(())
}

fn text_of<'a>(node: Node<'a>, name: &str) -> Option<Cow<'a, str>> {
    node.member(name)?.as_str()
}

/// Any time will do that differs from record to record.
fn time_of(id: &LogicalId) -> (i64, String) {
    let hash = id.as_str().bytes().fold(0u32, |n, b| n.wrapping_mul(31).wrapping_add(u32::from(b)));
    let milli = i64::from(hash % 86_400_000);
    let (second, rest) = (milli / 1000, milli % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    (DAY + milli, format!("2026-06-30T{hour:02}:{minute:02}:{second:02}.{rest:03}Z"))
}
