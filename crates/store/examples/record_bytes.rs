//! Shows where the bytes of sealed records are: seals the resources of Bundle files and
//! prints the average of each part of the format.
//!
//! ```text
//! cargo run --release -p phial-store --example record_bytes -- DIRECTORY [--sizes]
//! ```
//!
//! With `--sizes` the sealed size of each record before padding, one a line, to choose
//! the size buckets by.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a measuring tool, not the product"
)]

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use phial_base::{KeyHandle, LogicalId, Rng, RowId, SystemRng, TenantId, Version};
use phial_crypto::{
    RecordKey, RecordName, SIZE_BUCKETS, SecretKey, Text, locate, seal_record, unlock_record,
};
use phial_fhir::json::{Doc, Node};
use phial_fhir::split::{Known, Mark, Piece, Short, shorten, splice, split};
use phial_fhir::{Limits, stamp, validate};
use phial_store::header::{Header, part_of};

/// Suite, salt, commitment, locator, its tag, the head's tag.
const FIXED: usize = 121;

#[derive(Default)]
struct Sum {
    count: usize,
    raw: usize,
    dense: usize,
    text: usize,
    packed: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes_only = arguments.iter().any(|a| a == "--sizes");
    let rng = SystemRng::new();
    let tenant = TenantId::new("default").unwrap();
    let (key, locator_key) = (SecretKey::random(&rng), SecretKey::random(&rng));
    let (mut records, mut json, mut sealed, mut padded) = (0, 0, 0, 0);
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut types: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut sealing, mut opening, mut again) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut files: Vec<_> =
        std::fs::read_dir(&arguments[0]).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files {
        let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
        let doc = Doc::parse(&std::fs::read(file).unwrap(), &limits).unwrap();
        let mut places: HashMap<String, String> = HashMap::new();
        for entry in doc.root().member("entry").into_iter().flat_map(Node::items) {
            let text = |name| entry.member(name).and_then(Node::as_str);
            let ty = entry.member("resource").and_then(|r| r.member("resourceType")?.as_str());
            let (Some(url), Some(ty)) = (text("fullUrl"), ty) else { continue };
            let id = url.strip_prefix("urn:uuid:").unwrap_or(&url).to_owned();
            places.insert(url.clone().into_owned(), format!("{ty}/{id}"));
        }
        let patient = places.values().find_map(|p| p.strip_prefix("Patient/").map(str::to_owned));
        for entry in doc.root().member("entry").into_iter().flat_map(Node::items) {
            let resource = entry.member("resource").unwrap();
            let mut bytes = [0; 18];
            rng.fill(&mut bytes);
            let id = match resource.member("id").and_then(Node::as_str) {
                Some(id) => id.into_owned(),
                None => continue,
            };
            let logical = LogicalId::new(&id).unwrap();
            let now = 1_795_000_000_000_000 + i64::from(bytes[0]) * 7_919_000;
            let at = jiff::Timestamp::from_microsecond(now).unwrap();
            let stamped = stamp(
                &Doc::from_node(resource),
                &logical,
                Version(1),
                &format!("{at:.3}"),
                &mut |r| match r.text().split_once('?') {
                    // As after a conditional reference was resolved.
                    Some((ty, query)) => {
                        let digest = phial_crypto::sha256(query.as_bytes());
                        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
                        Some(format!(
                            "{ty}/{}-{}-4{}-8{}-{}",
                            &hex[..8],
                            &hex[8..12],
                            &hex[13..16],
                            &hex[17..20],
                            &hex[20..32]
                        ))
                    }
                    None => places.get(r.text()).cloned(),
                },
            )
            .unwrap();
            let valid = validate(Doc::parse(&stamped, &limits).unwrap()).unwrap();
            let pieces = split(&valid);
            let header = Header {
                ty: valid.resource_type(),
                id: logical.clone(),
                patients: patient.iter().map(|p| LogicalId::new(p).unwrap()).collect(),
                labels: phial_base::LabelSet::NONE,
                classes: pieces.classes,
                deleted: false,
                last_updated: now,
                class_map: 1,
                plan: pieces.plan.clone(),
                blob: None,
                context: None,
            };
            let name = RecordName {
                tenant: &tenant,
                row: RowId(bytes[..16].try_into().unwrap()),
                version: Version(1),
            };
            let record_key = RecordKey { handle: KeyHandle([9; 16]), version: 1, key: &key };
            let started = Instant::now();
            let known = Known::new(&id, patient.as_deref(), now);
            let short: Vec<(phial_base::DataClass, Short)> =
                pieces.segments.iter().map(|(c, s)| (*c, shorten(s, &known))).collect();
            let parts: Vec<(u8, Text<'_>)> = short
                .iter()
                .map(|(c, s)| (part_of(*c), Text { dense: &s.dense, text: &s.text }))
                .collect();
            let dense = header.encode();
            let blob = seal_record(
                &name,
                &record_key,
                &locator_key,
                Text { dense: &dense, text: &header.plan },
                &parts,
                &rng,
            )
            .unwrap();
            sealing += started.elapsed();
            records += 1;
            json += valid.text().len();
            padded += blob.len();
            let started = Instant::now();
            let locator = locate(&blob, &name, &locator_key).unwrap();
            let opened = unlock_record(blob, &name, &locator, &key).unwrap();
            let plains: Vec<_> =
                short.iter().map(|(c, _)| (*c, opened.open(part_of(*c)).unwrap())).collect();
            let find = |c| {
                let (_, p) = plains.iter().find(|(k, _)| *k == c)?;
                Some(Piece { dense: p.dense(), text: p.text() })
            };
            let body =
                splice(&header.plan, pieces.classes, &known, &find, Mark::Subsetted).unwrap().body;
            opening += started.elapsed();
            assert_eq!(body, valid.text().as_bytes());
            let started = Instant::now();
            let doc = Doc::parse(&body, &limits).unwrap();
            let values = phial_fhir::search::extract_again(&doc, header.ty);
            again += started.elapsed();
            assert_eq!(values.values.len(), phial_fhir::search::extract(&valid).values.len());

            let mut size = FIXED + 1;
            for (n, (part, text, raw)) in std::iter::once((
                None,
                Text { dense: &dense, text: &header.plan },
                dense.len() + header.plan.len(),
            ))
            .chain(short.iter().zip(&pieces.segments).map(|((c, s), (_, raw))| {
                (Some(*c), Text { dense: &s.dense, text: &s.text }, raw.len())
            }))
            .enumerate()
            {
                let packed = phial_crypto::packed_len(part.map(part_of), text);
                size += packed + if packed < 128 { 1 } else { 2 } + usize::from(n > 0);
                if n > 0 && packed >= 1024 {
                    size += 16;
                }
                let sum = sums.entry(part.map_or("head".into(), |c| format!("{c:?}"))).or_default();
                sum.count += 1;
                sum.raw += raw;
                sum.dense += text.dense.len();
                sum.text += text.text.len();
                sum.packed += packed;
            }
            sealed += size;
            let ty = types.entry(header.ty.name()).or_default();
            ty.0 += 1;
            ty.1 += size;
            if sizes_only {
                println!("{size}");
            }
        }
    }
    if sizes_only {
        return;
    }
    let of = |n: usize| n as f64 / f64::from(records);
    println!("{records} records, JSON {:.0}", of(json));
    println!("sealed {:.1}, padded {:.1} (buckets {SIZE_BUCKETS:?})", of(sealed), of(padded));
    println!("part: share, bytes a record: raw, dense, text, packed; packed a part");
    for (name, s) in &sums {
        println!(
            "{name:22} {:.2} {:7.1} {:7.1} {:7.1} {:7.1} {:8.1}",
            of(s.count),
            of(s.raw),
            of(s.dense),
            of(s.text),
            of(s.packed),
            s.packed as f64 / s.count as f64
        );
    }
    let micros = |d: Duration| d.as_secs_f64() * 1e6 / f64::from(records);
    println!(
        "shorten and seal {:.1} µs, open and splice {:.1} µs, parse and extract {:.1} µs",
        micros(sealing),
        micros(opening),
        micros(again)
    );
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    for (ty, (count, bytes)) in types.into_iter().take(12) {
        println!("{ty:24} {count:6} {:7.1} {:7.1}", bytes as f64 / count as f64, of(bytes));
    }
}
