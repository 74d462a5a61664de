//! Entries, keys and logs to try things on.

use std::net::IpAddr;

use jiff::Timestamp;
use phial_audit::chain::{NodeChain, StoredRef};
use phial_audit::tree::{Frontier, Hash};
use phial_audit::verify::{Report, Source, Verifier};
use phial_audit::{
    Checkpoint, Entry, EventKind, HeldKeys, NodeId, NoteSigner, Place, Target, seal_entry,
};
use phial_base::{
    ClassSet, DataClass, KeyHandle, LogicalId, Purpose, RequestId, RowId, SeededRng, Surface,
    TenantId, Version,
};
use phial_crypto::{SecretKey, SigningKey, sha256};

pub(crate) const ORIGIN: &str = "phial.example/default";
pub(crate) const PATIENT: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

pub(crate) fn id(text: &str) -> LogicalId {
    LogicalId::new(text).unwrap()
}

pub(crate) fn row(n: u32) -> RowId {
    let hash = sha256(&n.to_be_bytes());
    RowId::from_slice(&hash[..16]).unwrap()
}

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

pub(crate) const PERIOD: KeyHandle = KeyHandle([0xa0; 16]);

/// The audit key of a patient, derived from the id.
pub(crate) fn patient_key(id: &LogicalId) -> (KeyHandle, SecretKey) {
    let hash = sha256(id.as_str().as_bytes());
    (KeyHandle::from_slice(&hash[..16]).unwrap(), SecretKey::from_bytes(&hash).unwrap())
}

pub(crate) fn place(number: u64) -> Place {
    Place { tenant: TenantId::default_tenant(), node: [0xd0; 16], number }
}

/// A physician's read of one Observation of one patient.
pub(crate) fn read() -> Entry {
    let at = Timestamp::from_microsecond(1_795_000_000_123_456).unwrap();
    let mut e = Entry::system(EventKind::Read, at);
    e.request = Some(RequestId([0xe0; 16]));
    e.surface = Some(Surface::Fhir);
    e.who.user = Some("dr.ana".into());
    e.who.roles = vec!["physician".into()];
    e.who.session = Some("s-4f1c2a".into());
    e.who.mfa = 2;
    e.who.device = Some("clinic-app/3.1".into());
    e.who.ip = Some(IpAddr::from([10, 0, 0, 7]));
    e.purpose = Some(Purpose::TREAT);
    let mut t = Target::new(row(1), Some(Version(3)), "Observation");
    t.id = Some(id("5b1c7a0e-4ac1-4b5c-9a36-6c1c8f0f0b11"));
    t.given = ClassSet::of(DataClass::Administrative).with(DataClass::Laboratory);
    t.withheld = ClassSet::of(DataClass::Notes);
    e.target(t, &[id(PATIENT)]);
    e
}

/// Seals with keys derived from each patient's id.
pub(crate) fn seal(entry: &Entry, place: &Place, seed: u64) -> (Vec<u8>, HeldKeys) {
    let mut keys = HeldKeys::default();
    let held: Vec<_> =
        entry.patients.iter().filter_map(|p| p.id.clone()).map(|p| (patient_key(&p), p)).collect();
    let find = |p: &LogicalId| {
        held.iter().find(|(_, id)| id == p).map(|((handle, key), _)| (*handle, key))
    };
    let period = key(0xa1);
    let sealed =
        seal_entry(entry, place, &(PERIOD, &period), &find, &SeededRng::new(seed)).unwrap();
    keys.periods.insert(PERIOD, period);
    keys.patients.extend(held.into_iter().map(|(k, _)| k));
    (sealed, keys)
}

pub(crate) fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, SigningKey::from_seed(&key(seed)).unwrap()).unwrap()
}

/// A stored entry, to be tampered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) node: NodeId,
    pub(crate) number: u64,
    pub(crate) prev: Hash,
    pub(crate) bytes: Vec<u8>,
}

/// Bytes of the shape of a sealed entry, distinct for each n.
pub(crate) fn shaped(n: u64, len: u8) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend([7; 16]);
    bytes.push(8 + len % 64);
    bytes.extend(n.to_be_bytes());
    bytes.extend(vec![9; usize::from(len % 64)]);
    bytes.push(0);
    bytes
}

/// A log whose entries come from the given nodes in turn.
pub(crate) fn log(turns: &[u8]) -> Vec<Stored> {
    let mut chains = [0u8, 1, 2].map(|n| NodeChain::new([n; 16]));
    let mut all = Vec::new();
    for (n, turn) in (0u64..).zip(turns) {
        let chain = &mut chains[usize::from(turn % 3)];
        let bytes = shaped(n, *turn);
        let link = chain.append(&bytes);
        all.push(Stored { node: chain.node, number: link.number, prev: link.prev, bytes });
    }
    all
}

impl Stored {
    pub(crate) fn as_ref(&self) -> StoredRef<'_> {
        let Stored { node, number, prev, bytes } = self;
        StoredRef { node, number: *number, prev, bytes }
    }
}

pub(crate) fn frontier(log: &[Stored]) -> Frontier {
    let mut f = Frontier::new();
    for s in log {
        f.push(s.as_ref().leaf_hash());
    }
    f
}

pub(crate) fn note_by(signer: &NoteSigner, log: &[Stored]) -> String {
    let f = frontier(log);
    Checkpoint { origin: ORIGIN.into(), size: f.size(), root: f.root() }.sign(signer)
}

pub(crate) fn note(log: &[Stored]) -> String {
    note_by(&signer(1), log)
}

/// Verifies the log against checkpoints.
pub(crate) fn verify(log: &[Stored], notes: &[(String, Source)], claimed: Option<u64>) -> Report {
    let key = *signer(1).verifier().key();
    let mut v = Verifier::new(key, ORIGIN).unwrap();
    for (note, source) in notes {
        v.checkpoint(note, *source).unwrap();
    }
    for (i, s) in (0u64..).zip(log) {
        v.feed(i, s.as_ref());
    }
    v.finish(claimed)
}
