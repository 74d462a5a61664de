//! Measures the labelling lists: how many of the resources below a directory get which
//! label. `cargo run -p phial-fhir --example label_data DIR...`; Bundles are taken apart.
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use phial_fhir::json::Node;
use phial_fhir::{Doc, Limits, sensitive};

#[derive(Default)]
struct Tally {
    resources: usize,
    labelled: usize,
    by_label: BTreeMap<&'static str, BTreeMap<String, usize>>,
}

impl Tally {
    fn resource(&mut self, node: Node<'_>) {
        let ty = node.member("resourceType").and_then(Node::as_str).unwrap_or_default();
        if ty == "Bundle" {
            let entries = node.member("entry").into_iter().flat_map(Node::items);
            entries.filter_map(|e| e.member("resource")).for_each(|r| self.resource(r));
            return;
        }
        self.resources += 1;
        let labels = sensitive::shipped().labels(&Doc::from_node(node));
        self.labelled += usize::from(!labels.is_empty());
        for label in labels.iter() {
            let of = self.by_label.entry(label.code()).or_default();
            *of.entry(ty.clone().into_owned()).or_default() += 1;
        }
    }

    fn text(&mut self, text: &[u8]) {
        let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
        if let Ok(doc) = Doc::parse(text, &limits) {
            self.resource(doc.root());
        }
    }

    fn below(&mut self, path: &Path) -> std::io::Result<()> {
        if path.is_dir() {
            let mut all: Vec<PathBuf> =
                std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
            all.sort();
            return all.iter().try_for_each(|p| self.below(p));
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => self.text(&std::fs::read(path)?),
            Some("ndjson") => {
                let text = std::fs::read(path)?;
                text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).for_each(|l| self.text(l));
            }
            _ => {}
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    for dir in std::env::args_os().skip(1) {
        let mut tally = Tally::default();
        tally.below(Path::new(&dir))?;
        println!(
            "{}: {} resources, {} labelled",
            dir.to_string_lossy(),
            tally.resources,
            tally.labelled
        );
        for (label, of) in tally.by_label {
            let all: usize = of.values().sum();
            let types: Vec<String> = of.iter().map(|(ty, n)| format!("{ty} {n}")).collect();
            println!("| {label} | {all} | {} |", types.join(", "));
        }
    }
    Ok(())
}
