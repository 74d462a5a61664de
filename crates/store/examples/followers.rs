//! Counts what following the record log costs those who are told of changes: heads that
//! are opened, and seconds, when each of many reads the log by itself, and when what one
//! learnt of a version's type serves the others.
//!
//! ```text
//! cargo run --release -p phial-store --example followers -- [VERSIONS] [FOLLOWERS]
//! ```
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool, not the product")]

use std::sync::Arc;
use std::time::Instant;

use phial_audit::{Entry, EventKind, Write};
use phial_base::{
    ClassSet, Clock, LabelSet, LogicalId, Rng, Seq, SystemClock, SystemRng, TenantId, Version,
};
use phial_crypto::{KeyFile, RootProvider};
use phial_fhir::definitions::ResourceType;
use phial_fhir::{Doc, Limits, validate};
use phial_store::Options;
use phial_store::keystore::Keystore;
use phial_store::making::Making;
use phial_store::vessel::{Content, Indexing, Sealing, Vessel};

const TYPES: [&str; 10] = [
    "Observation",
    "Condition",
    "Encounter",
    "Procedure",
    "Immunization",
    "Claim",
    "CarePlan",
    "CareTeam",
    "Goal",
    "Flag",
];

fn main() {
    let mut numbers = std::env::args().skip(1).map(|a| a.parse::<usize>().unwrap());
    let (versions, followers) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(100));
    let dir = tempfile::tempdir().unwrap();
    let vessel = vessel(&dir.path().join("home"));
    fill(&vessel, versions);
    let types: Vec<ResourceType> =
        TYPES.iter().map(|t| ResourceType::from_name(t).unwrap()).collect();
    let wanted = |n: usize| types.get(n % types.len()).copied().unwrap();

    let begun = Instant::now();
    let (mut opened, mut told) = (0, 0);
    for n in 0..followers {
        let mut after = Seq(0);
        loop {
            let some = vessel.records().changes(after, 200).unwrap();
            let Some(last) = some.last().map(|row| row.seq) else { break };
            opened += some.len();
            for row in some {
                let found = vessel.unseal_under(row, None).unwrap();
                told += usize::from(found.is_some_and(|f| f.header.ty == wanted(n)));
            }
            after = last;
        }
    }
    let alone = begun.elapsed();
    println!("each by itself: {opened} heads opened for {told} wanted, {alone:?}");

    let begun = Instant::now();
    let (mut opened, mut told) = (0, 0);
    for n in 0..followers {
        let mut after = Seq(0);
        loop {
            let most = (usize::MAX, 200);
            let s = vessel.changes_of(after, most, &|ty| ty == wanted(n)).unwrap();
            opened += s.opened;
            told += s.found.len();
            after = s.seen;
            if !s.more {
                break;
            }
        }
    }
    let shared = begun.elapsed();
    println!("types shared:   {opened} heads opened for {told} wanted, {shared:?}");
}

fn vessel(root: &std::path::Path) -> Vessel {
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = Options::default();
    let making = Making::begin(root, "").unwrap();
    let home = making.home().clone();
    let key = home.root_key();
    making.finish(&key, Arc::clone(&clock), Arc::clone(&rng), &options).unwrap();
    let root_key: Arc<dyn RootProvider> = Arc::new(KeyFile::open(&key, &[]).unwrap());
    let keystore =
        Keystore::open(&home.keystore(), root_key, Arc::clone(&clock), Arc::clone(&rng), &options);
    let tenant = TenantId::default_tenant();
    Vessel::open(&home, &tenant, Arc::new(keystore.unwrap()), clock, rng, &options, Indexing::None)
        .unwrap()
}

/// Versions of ten types in turn.
fn fill(vessel: &Vessel, versions: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    for from in (0..versions).step_by(1000) {
        let sealed: Vec<_> = (from..versions.min(from + 1000))
            .map(|n| {
                let ty = TYPES.get(n % TYPES.len()).unwrap();
                let text = format!(
                    r#"{{"resourceType":"Basic","id":"r{n}","code":{{"text":"x"}},"subject":{{"reference":"Patient/p{}"}}}}"#,
                    n % 500
                );
                let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
                let valid = validate(doc).unwrap();
                vessel
                    .seal(Sealing {
                        ty: ResourceType::from_name(ty).unwrap(),
                        id: LogicalId::new(&format!("r{n}")).unwrap(),
                        version: Version(1),
                        patients: vec![LogicalId::new(&format!("p{}", n % 500)).unwrap()],
                        labels: LabelSet::NONE,
                        last_updated: 1_790_000_000_000_000,
                        content: Some(Content::of(&valid)),
                        classes: ClassSet::NONE,
                        blob: None,
                        kept: None,
                        context: None,
                    })
                    .unwrap()
            })
            .collect();
        let entry = || Entry::system(EventKind::Import, SystemClock.now());
        let mut intent = [0; 16];
        SystemRng::new().fill(&mut intent);
        let writes: Vec<Write> = sealed.iter().flat_map(|s| s.announcement()).collect();
        let announced = vessel.announce(intent);
        runtime.block_on(async {
            let announcement = entry().into_intent(intent, EventKind::Import, writes);
            vessel.audit().append(vec![announcement], None).await.unwrap();
            vessel.append(announced, EventKind::Import, entry(), sealed).await.unwrap();
        });
    }
}
