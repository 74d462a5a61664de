//! Sealed entries: frozen bytes, sizes, round trips, and who can open what.

use std::collections::BTreeMap;

use jiff::Timestamp;
use phial_audit::{
    DetailKey, Entry, Error, EventKind, HeldKeys, OutcomeCode, Place, Seqs, Target, Write,
    key_handles, open_entry, seal_entry,
};
use phial_base::{
    ClassSet, DataClass, LogicalId, Purpose, SeededRng, Sensitive, Seq, Surface, TenantId, Version,
};
use proptest::prelude::*;

use crate::world::{PATIENT, PERIOD, id, key, patient_key, place, read, row, seal};

fn opened(mut entry: Entry) -> Entry {
    for p in &mut entry.patients {
        p.handle = p.id.as_ref().map(|id| patient_key(id).0);
    }
    entry
}

#[test]
fn a_sealed_read_is_frozen() {
    let (sealed, keys) = seal(&read(), &place(42), 7);
    let frozen = include_str!("../frozen/read.hex").trim_end();
    assert_eq!(hex::encode(&sealed), frozen, "suite 1 is final");
    let bytes = hex::decode(frozen).unwrap();
    assert_eq!(open_entry(&bytes, &place(42), &keys).unwrap(), opened(read()));
}

#[test]
fn a_read_is_at_most_300_bytes() {
    let (sealed, _) = seal(&read(), &place(u64::MAX), 1);
    assert!(sealed.len() <= 300, "{} bytes", sealed.len());
}

#[test]
fn an_intent_costs_at_most_60_bytes_a_write() {
    let types = ["Observation", "Claim", "Encounter", "Condition", "Procedure"];
    let mut e = Entry { what: Vec::new(), patients: Vec::new(), ..read() };
    let mut writes = Vec::new();
    for i in 0..55u32 {
        let mut t = Target::new(row(i), Some(Version(1)), types[i as usize % 5]);
        t.given = ClassSet::of(DataClass::Clinical);
        t.action = Some(EventKind::Create);
        e.target(t, &[id(PATIENT)]);
        writes.push(Write { row: row(i), version: Version(1), hash: [i as u8; 32] });
    }
    let e = e.into_intent([9; 16], EventKind::Transaction, writes);
    let (sealed, keys) = seal(&e, &place(1), 1);
    assert!(sealed.len() <= 60 * 55, "{} bytes a write", sealed.len() / 55);
    assert_eq!(open_entry(&sealed, &place(1), &keys).unwrap(), opened(e));
}

#[test]
fn a_forgotten_patient_is_named_nowhere() {
    let mut e = read();
    e.query = Some(Sensitive::new("patient=someone".into()));
    let (sealed, mut keys) = seal(&e, &place(1), 1);
    keys.patients.clear();
    let entry = open_entry(&sealed, &place(1), &keys).unwrap();
    assert_eq!(entry.patients[0].id, None);
    assert_eq!(entry.patients[0].handle, Some(patient_key(&id(PATIENT)).0));
    assert_eq!(entry.what[0].id, None);
    assert_eq!(entry.query, None, "the query of one patient goes with the patient");
    assert_eq!(entry.what[0].row, row(1), "row ids are opaque and stay");
    assert_eq!(entry.who, e.who);
}

#[test]
fn one_patients_key_opens_that_patient_only() {
    let mut e = read();
    let mut t = Target::new(row(2), None, "Patient");
    t.id = Some(id("other"));
    e.target(t, &[id("other")]);
    e.query = Some(Sensitive::new("name=x".into()));
    let (sealed, mut keys) = seal(&e, &place(1), 1);
    keys.patients.remove(&patient_key(&id(PATIENT)).0);
    let entry = open_entry(&sealed, &place(1), &keys).unwrap();
    assert_eq!((entry.what[0].id.clone(), entry.patients[0].id.clone()), (None, None));
    assert_eq!(entry.what[1].id, Some(id("other")));
    assert_eq!(entry.query, e.query, "a query over several patients is in the core");
}

#[test]
fn handles_are_read_without_a_key() {
    let (sealed, _) = seal(&read(), &place(1), 1);
    assert_eq!(key_handles(&sealed).unwrap(), (PERIOD, vec![patient_key(&id(PATIENT)).0]));
}

#[test]
fn nothing_opens_without_the_period_key() {
    let (sealed, mut keys) = seal(&read(), &place(1), 1);
    keys.periods.clear();
    assert!(
        matches!(open_entry(&sealed, &place(1), &keys), Err(Error::NoPeriodKey(h)) if h == PERIOD)
    );
}

#[test]
fn an_entry_opens_in_its_own_place_only() {
    let (sealed, keys) = seal(&read(), &place(5), 1);
    let tenant = TenantId::new("other").unwrap();
    for wrong in [place(6), Place { tenant, ..place(5) }, Place { node: [0; 16], ..place(5) }] {
        assert!(open_entry(&sealed, &wrong, &keys).is_err());
    }
}

#[test]
fn any_flipped_bit_and_any_cut_is_refused() {
    let (sealed, keys) = seal(&read(), &place(5), 1);
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // A patient's handle with another value is a key not held: refused below.
        let read = open_entry(&bad, &place(5), &keys);
        let forgotten = read.is_ok_and(|e| e.patients[0].id.is_some());
        assert!(!forgotten, "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(open_entry(&sealed[..len], &place(5), &keys).is_err(), "length {len}");
    }
    let longer = [sealed, vec![0]].concat();
    assert!(open_entry(&longer, &place(5), &keys).is_err());
}

#[test]
fn a_part_cannot_be_dropped_or_moved() {
    let mut e = read();
    e.patient(&id("b"));
    let (sealed, keys) = seal(&e, &place(1), 1);
    // Both parts, taken apart by their known lengths: core first.
    let core_len = usize::from(sealed[17] & 0x7f) | usize::from(sealed[18]) << 7;
    let parts_at = 19 + core_len;
    assert_eq!(sealed[parts_at], 2);
    let first_len = 17 + usize::from(sealed[parts_at + 17]);
    let (first, second) = sealed[parts_at + 1..].split_at(first_len);
    let build =
        |count: u8, parts: &[&[u8]]| [&sealed[..parts_at], &[count], &parts.concat()].concat();
    assert_eq!(build(2, &[first, second]), sealed);
    for bad in [
        build(1, &[first]),
        build(1, &[second]),
        build(0, &[]),
        build(2, &[second, first]),
        build(2, &[first, first]),
        build(3, &[first, second, second]),
    ] {
        assert!(open_entry(&bad, &place(1), &keys).is_err());
    }
}

#[test]
fn a_patient_without_a_key_is_not_sealed_away() {
    let none = |_: &LogicalId| None;
    let period = key(1);
    let sealed = seal_entry(&read(), &place(1), &(PERIOD, &period), &none, &SeededRng::new(1));
    assert!(matches!(sealed, Err(Error::NoPatientKey)));
    let mut e = read();
    e.what[0].patients = vec![7];
    let sealed = seal_entry(&e, &place(1), &(PERIOD, &period), &none, &SeededRng::new(1));
    assert!(matches!(sealed, Err(Error::PatientIndex { index: 7, count: 1 })));
}

#[test]
fn a_sealed_entry_shows_no_text() {
    let mut e = read();
    e.who.user = Some("canary-user".into());
    e.query = Some(Sensitive::new("name=canary-name".into()));
    e.detail.insert(DetailKey::Reason, "canary-reason".into());
    let (sealed, _) = seal(&e, &place(1), 1);
    let held = |needle: &[u8]| sealed.windows(needle.len()).any(|w| w == needle);
    assert!(!held(b"canary") && !held(b"Observation") && !held(b"physician"));
}

fn names() -> impl Strategy<Value = LogicalId> {
    prop_oneof![
        "[a-zA-Z0-9.-]{1,64}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    ]
    .prop_map(|s| id(&s))
}

prop_compose! {
    fn targets()(
        n in any::<u32>(),
        version in proptest::option::of(1..u32::MAX),
        ty in "[A-Z][a-z]{3,12}|Patient",
        name in proptest::option::of(names()),
        given in any::<u16>(),
        withheld in any::<u16>(),
        elements in proptest::collection::vec("[a-z.]{1,9}", 0..3),
        action in proptest::option::of(0u16..80),
        patients in proptest::collection::vec(names(), 0..3),
    ) -> (Target, Vec<LogicalId>) {
        let mut t = Target::new(row(n), version.map(Version), &ty);
        t.id = name;
        t.given = ClassSet::from_bits(given);
        t.withheld = ClassSet::from_bits(withheld);
        t.elements = elements;
        t.action = action.map(EventKind::from_number);
        (t, patients)
    }
}

prop_compose! {
    fn writes()(n in any::<u32>(), version in 1u32.., hash in any::<[u8; 32]>()) -> Write {
        Write { row: row(n), version: Version(version), hash }
    }
}

prop_compose! {
    fn entries()(
        kind in 0u16..100,
        at in -1_000_000_000_000_000i64..4_000_000_000_000_000,
        user in proptest::option::of(".{0,20}"),
        roles in proptest::collection::vec("[a-z ]{0,12}", 0..3),
        ip in proptest::option::of(any::<std::net::IpAddr>()),
        purpose in proptest::option::of(0usize..10),
        outcome in 0u16..10,
        what in proptest::collection::vec(targets(), 0..5),
        query in proptest::option::of(".{0,40}"),
        intent in proptest::option::of(any::<[u8; 16]>()),
        writes in proptest::collection::vec(writes(), 0..4),
        committed in proptest::option::of(any::<bool>()),
        seqs in proptest::option::of((any::<u64>(), any::<u32>())),
        detail in proptest::collection::btree_map(1u16..60, ".{0,20}", 0..4),
        part in proptest::option::of(any::<(u16, u16)>()),
        surface in proptest::option::of(0usize..3),
    ) -> Entry {
        let mut e = Entry::system(
            EventKind::from_number(kind),
            Timestamp::from_microsecond(at).unwrap(),
        );
        e.who.user = user;
        e.who.roles = roles;
        e.who.ip = ip;
        e.purpose = purpose.map(|p| Purpose::ALL[p]);
        e.surface = surface.map(|s| [Surface::Fhir, Surface::Cli, Surface::Job][s]);
        e.outcome = OutcomeCode::from_number(outcome);
        for (t, patients) in what {
            e.target(t, &patients);
        }
        e.query = query.map(Sensitive::new);
        e.intent = intent;
        e.writes = writes;
        e.committed = committed;
        e.seqs = seqs.map(|(first, count)| Seqs { first: Seq(first), count });
        let detail = detail.into_iter().map(|(k, v)| (DetailKey::from_number(k), v));
        e.detail = detail.collect::<BTreeMap<_, _>>();
        e.part = part;
        e
    }
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened(entry in entries(), number in any::<u64>()) {
        let (sealed, keys) = seal(&entry, &place(number), 3);
        prop_assert_eq!(open_entry(&sealed, &place(number), &keys).unwrap(), opened(entry));
    }

    #[test]
    fn no_bytes_crash_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut keys = HeldKeys::default();
        keys.periods.insert(PERIOD, key(1));
        let mut shaped = vec![1];
        shaped.extend(PERIOD.0);
        shaped.extend(&bytes);
        prop_assert!(open_entry(&bytes, &place(1), &keys).is_err());
        prop_assert!(open_entry(&shaped, &place(1), &keys).is_err());
    }
}
