//! How fast entries are sealed, opened, hashed and verified on this machine:
//! `cargo run --release -p phial-audit --example speed`.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use phial_audit::chain::{NodeChain, StoredRef};
use phial_audit::tree::Frontier;
use phial_audit::verify::{Source, Verifier};
use phial_audit::{
    Checkpoint, Entry, Error, EventKind, HeldKeys, NoteSigner, Place, RecordLedger, Seqs, Target,
    Write, open_entry, seal_entry,
};
use phial_base::{
    ClassSet, DataClass, KeyHandle, LogicalId, Purpose, RequestId, RowId, Seq, Surface, SystemRng,
    TenantId, Version,
};
use phial_crypto::{SecretKey, SigningKey};

const ENTRIES: u64 = 300_000;
const SEALS: u64 = 100_000;
const ROWS: u32 = 1_000_000;
const ORIGIN: &str = "phial.example/speed";

fn rate(what: &str, n: u64, took: Duration) {
    let each = took.as_secs_f64() / n as f64;
    println!("{what}: {:.2} µs each, {:.0}/s", each * 1e6, 1.0 / each);
}

fn read(patient: &LogicalId) -> Entry {
    let mut e = Entry::system(EventKind::Read, Timestamp::UNIX_EPOCH);
    e.request = Some(RequestId([1; 16]));
    e.surface = Some(Surface::Fhir);
    e.who.user = Some("dr.ana".into());
    e.who.roles = vec!["physician".into()];
    e.who.session = Some("s-4f1c2a".into());
    e.who.device = Some("clinic-app/3.1".into());
    e.purpose = Some(Purpose::TREAT);
    let mut t = Target::new(RowId([2; 16]), Some(Version(1)), "Observation");
    t.id = Some(patient.clone());
    t.given = ClassSet::of(DataClass::Laboratory);
    e.target(t, std::slice::from_ref(patient));
    e
}

fn sealing() -> Result<(), Box<dyn std::error::Error>> {
    let rng = SystemRng::new();
    let patient = LogicalId::new("0f8fad5b-d9cb-469f-a165-70867728950e")?;
    let entry = read(&patient);
    let (period, own) = (SecretKey::random(&rng), SecretKey::random(&rng));
    let (period_handle, own_handle) = (KeyHandle([3; 16]), KeyHandle([4; 16]));
    let find = |_: &LogicalId| Some((own_handle, &own));
    let place = |number| Place { tenant: TenantId::default_tenant(), node: [5; 16], number };
    let start = Instant::now();
    let mut size = 0;
    for n in 0..SEALS {
        size += seal_entry(&entry, &place(n), &(period_handle, &period), &find, &rng)?.len();
    }
    rate("seal a read entry", SEALS, start.elapsed());
    println!("  of {} bytes", size as u64 / SEALS);
    let sealed = seal_entry(&entry, &place(1), &(period_handle, &period), &find, &rng)?;
    let mut keys = HeldKeys::default();
    keys.periods.insert(period_handle, SecretKey::from_bytes(period.expose())?);
    keys.patients.insert(own_handle, SecretKey::from_bytes(own.expose())?);
    let start = Instant::now();
    for _ in 0..SEALS {
        std::hint::black_box(open_entry(&sealed, &place(1), &keys)?);
    }
    rate("open a read entry", SEALS, start.elapsed());
    Ok(())
}

fn verifying() -> Result<(), Error> {
    let seed = SecretKey::from_bytes(&[1; 32])?;
    let signer = NoteSigner::new(ORIGIN, SigningKey::from_seed(&seed)?)?;
    let mut chain = NodeChain::new([1; 16]);
    let mut frontier = Frontier::new();
    let mut log = Vec::new();
    let mut notes = Vec::new();
    let note = |f: &Frontier| {
        Checkpoint { origin: ORIGIN.into(), size: f.size(), root: f.root() }.sign(&signer)
    };
    let start = Instant::now();
    for n in 0..ENTRIES {
        // Of the shape of a sealed entry of 300 bytes.
        let mut bytes = vec![1];
        bytes.extend([7; 16]);
        bytes.extend([0x80 | 24, 2]);
        bytes.extend(n.to_be_bytes().into_iter().chain([9; 272]));
        bytes.push(0);
        let link = chain.append(&bytes);
        frontier.push(link.leaf);
        if n % 1000 == 0 {
            notes.push(note(&frontier));
        }
        log.push((link, bytes));
    }
    notes.push(note(&frontier));
    rate("append to chain and tree", ENTRIES, start.elapsed());
    let mut verifier = Verifier::new(*signer.verifier().key(), ORIGIN)?;
    let start = Instant::now();
    for n in &notes {
        verifier.checkpoint(n, Source::Log)?;
    }
    for (i, (link, bytes)) in (0u64..).zip(&log) {
        let (node, number, prev) = (&chain.node, link.number, &link.prev);
        verifier.feed(i, StoredRef { node, number, prev, bytes });
    }
    let report = verifier.finish(Some(ENTRIES));
    rate("verify, a checkpoint each 1000", ENTRIES, start.elapsed());
    println!(
        "  clean: {}, {} bytes an entry",
        report.is_clean(),
        log.first().map_or(0, |l| l.1.len())
    );
    Ok(())
}

fn ledger() {
    let row = |n: u32| {
        let mut b = [0; 16];
        for (to, from) in b.iter_mut().zip(n.wrapping_mul(2_654_435_761).to_be_bytes()) {
            *to = from;
        }
        RowId(b)
    };
    let mut ledger = RecordLedger::new();
    let start = Instant::now();
    for batch in 0..ROWS / 50 {
        let write = |n| Write { row: row(n), version: Version(1), hash: [9; 32] };
        let writes = (batch * 50..batch * 50 + 50).map(write).collect();
        let e = Entry::system(EventKind::Create, Timestamp::UNIX_EPOCH);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(batch.to_be_bytes()) {
            *to = from;
        }
        ledger.feed(&e.clone().into_intent(id, EventKind::Transaction, writes));
        let seqs = Seqs { first: Seq(u64::from(batch) * 50 + 1), count: 50 };
        ledger.feed(&e.into_outcome(id, true, Some(seqs)));
    }
    let mut expected = ledger.settle();
    rate("ledger: take in a row", u64::from(ROWS), start.elapsed());
    let start = Instant::now();
    for n in 0..ROWS {
        expected.check(row(n), Version(1), Seq(u64::from(n) + 1), &[9; 32]);
    }
    let findings = expected.finish();
    rate("ledger: check a row", u64::from(ROWS), start.elapsed());
    println!("  findings: {}", findings.len());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sealing()?;
    verifying()?;
    ledger();
    Ok(())
}
