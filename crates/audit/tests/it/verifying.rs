//! The verifier against a log that somebody has been at.

use phial_audit::chain::NodeChain;
use phial_audit::verify::{BadCheckpoint, Finding, Source, Verifier};
use phial_audit::{Checkpoint, Error};
use proptest::prelude::*;

use crate::world::{ORIGIN, Stored, frontier, log, note, note_by, shaped, signer, verify};

const TURNS: [u8; 12] = [0, 1, 0, 2, 1, 1, 0, 2, 0, 1, 2, 0];

fn outside(log: &[Stored]) -> (String, Source) {
    (note(log), Source::Elsewhere)
}

#[test]
fn an_untouched_log_is_clean() {
    let log = log(&TURNS);
    let notes: Vec<_> = (0..=log.len()).map(|n| (note(&log[..n]), Source::Log)).collect();
    let report = verify(&log, &notes, Some(12));
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.entries, report.checkpoints, report.covered), (12, 13, 12));
    assert_eq!(report.root, Some(frontier(&log).root()));
    assert_eq!(report.nodes.iter().map(|n| n.number).collect::<Vec<_>>(), [5, 4, 3]);
}

#[test]
fn a_run_can_be_resumed() {
    let log = log(&TURNS);
    let first = verify(&log[..7], &[], None);
    let key = *signer(1).verifier().key();
    let mut v = Verifier::resume(key, ORIGIN, first.frontier, &first.nodes).unwrap();
    v.checkpoint(&note(&log[..7]), Source::Elsewhere).unwrap();
    v.checkpoint(&note(&log), Source::Elsewhere).unwrap();
    assert!(matches!(
        v.checkpoint(&note(&log[..3]), Source::Log),
        Err(Error::CheckpointLate { size: 3, fed: 7 })
    ));
    for (i, s) in (0u64..).zip(&log).skip(7) {
        v.feed(i, s.as_ref());
    }
    let report = v.finish(Some(12));
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.covered, 12);
}

#[test]
fn a_dropped_entry_is_named() {
    let whole = log(&TURNS);
    let mut cut = whole.clone();
    cut.remove(4);
    let report = verify(&cut, &[outside(&whole)], None);
    assert_eq!(
        report.findings,
        [
            Finding::EntriesMissing { index: 4, node: [1; 16], from: 2, to: 2 },
            Finding::Truncated { size: 12, have: 11, source: Source::Elsewhere },
        ]
    );
}

#[test]
fn a_missing_position_is_named() {
    let whole = log(&TURNS);
    let mut v = Verifier::new(*signer(1).verifier().key(), ORIGIN).unwrap();
    v.checkpoint(&note(&whole[..3]), Source::Log).unwrap();
    v.checkpoint(&note(&whole), Source::Log).unwrap();
    for (i, s) in (0u64..).zip(&whole).filter(|(i, _)| !(5..7).contains(i)) {
        v.feed(i, s.as_ref());
    }
    let report = v.finish(None);
    assert_eq!(report.root, None);
    assert_eq!(report.covered, 3);
    assert_eq!(report.findings[0], Finding::IndexGap { expected: 5, found: 7 });
    assert!(report.findings.contains(&Finding::NotCompared { size: 12 }));
}

#[test]
fn an_edited_entry_is_named() {
    let whole = log(&TURNS);
    let mut edited = whole.clone();
    edited[2].bytes = shaped(99, 5);
    let notes = [(note(&whole[..2]), Source::Log), outside(&whole)];
    assert_eq!(
        verify(&edited, &notes, None).findings,
        [
            Finding::ChainBreak { index: 6, node: [0; 16], number: 3, before: Some(2) },
            Finding::RootMismatch { size: 12, agreed: 2, source: Source::Elsewhere },
        ]
    );
}

#[test]
fn a_mended_chain_still_fails_the_checkpoint() {
    let whole = log(&TURNS);
    let mut chains = [0u8, 1, 2].map(|n| NodeChain::new([n; 16]));
    let mut forged = whole.clone();
    forged[3].bytes = shaped(99, 5);
    for s in &mut forged {
        let link = chains[usize::from(s.node[0])].append(&s.bytes);
        s.prev = link.prev;
    }
    // Even its own checkpoints were signed again, by someone who holds the key.
    let notes = [(note(&forged), Source::Log), outside(&whole[..6])];
    assert_eq!(
        verify(&forged, &notes, None).findings,
        [Finding::RootMismatch { size: 6, agreed: 0, source: Source::Elsewhere }]
    );
    let notes = [(note(&forged), Source::Log), outside(&whole)];
    assert_eq!(
        verify(&forged, &notes, None).findings,
        [
            Finding::Fork { size: 12 },
            Finding::RootMismatch { size: 12, agreed: 12, source: Source::Elsewhere },
        ]
    );
}

#[test]
fn swapped_entries_are_named() {
    let whole = log(&TURNS);
    let mut swapped = whole.clone();
    swapped.swap(4, 5);
    let findings = verify(&swapped, &[outside(&whole)], None).findings;
    assert_eq!(findings[0], Finding::Reordered { index: 5, node: [1; 16], number: 2 });
    assert!(findings.iter().any(|f| matches!(f, Finding::RootMismatch { .. })));
    assert!(!findings.iter().any(|f| matches!(f, Finding::EntriesMissing { .. })));
}

#[test]
fn a_repeated_entry_is_named() {
    let whole = log(&TURNS);
    let mut twice = whole.clone();
    twice.insert(5, whole[4].clone());
    let findings = verify(&twice, &[outside(&whole)], Some(12)).findings;
    assert_eq!(findings[0], Finding::NumberRepeated { index: 5, node: [1; 16], number: 2 });
    assert_eq!(findings.last(), Some(&Finding::OtherSize { claimed: 12, have: 13 }));
}

#[test]
fn a_cut_tail_is_counted() {
    let whole = log(&TURNS);
    assert_eq!(
        verify(&whole[..9], &[outside(&whole)], None).findings,
        [Finding::Truncated { size: 12, have: 9, source: Source::Elsewhere }]
    );
    assert_eq!(
        verify(&[], &[outside(&whole)], None).findings,
        [Finding::Truncated { size: 12, have: 0, source: Source::Elsewhere }]
    );
}

#[test]
fn a_checkpoint_by_another_key_proves_nothing() {
    let whole = log(&TURNS);
    let signed_by_log = note(&whole);
    let tampered = signed_by_log.replacen("12\n", "11\n", 1);
    let other_log = Checkpoint { origin: "x".into(), size: 12, root: frontier(&whole).root() };
    // Signed by the log's key and name, for another origin.
    let other_log = other_log.sign(&signer(1));
    for (note, problem) in [
        (note_by(&signer(2), &whole), BadCheckpoint::OtherKey),
        (tampered, BadCheckpoint::Signature),
        (other_log, BadCheckpoint::OtherLog),
        ("nonsense".to_owned(), BadCheckpoint::Malformed),
    ] {
        let report = verify(&whole, &[(note, Source::Log)], None);
        assert_eq!(report.findings, [Finding::Checkpoint { source: Source::Log, problem }]);
        assert_eq!(report.covered, 0);
    }
}

#[test]
fn what_is_no_entry_is_named() {
    let mut whole = log(&TURNS);
    let last = whole.len() - 1;
    whole[last].bytes = vec![2, 3];
    let report = verify(&whole, &[], None);
    assert_eq!(report.findings, [Finding::Undecodable { index: 11 }]);
}

#[test]
fn a_node_must_begin_at_one() {
    let whole = log(&TURNS);
    let mut v = Verifier::new(*signer(1).verifier().key(), ORIGIN).unwrap();
    v.feed(0, whole[2].as_ref());
    let found = v.finish(None).findings;
    assert_eq!(found, [Finding::EntriesMissing { index: 0, node: [0; 16], from: 1, to: 1 }]);
}

proptest! {
    #[test]
    fn any_flipped_bit_is_found(
        turns in proptest::collection::vec(any::<u8>(), 1..40),
        at in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let whole = log(&turns);
        let mut bad = whole.clone();
        let entry = at.get(&whole).as_ref();
        let mut data = Vec::new();
        entry.leaf_data(&mut data);
        let bit = bit.index(data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
        let flipped = phial_audit::chain::StoredRef::from_leaf_data(&data).unwrap();
        bad[at.index(whole.len())] = Stored {
            node: *flipped.node,
            number: flipped.number,
            prev: *flipped.prev,
            bytes: flipped.bytes.to_vec(),
        };
        prop_assert!(!verify(&bad, &[outside(&whole)], None).is_clean());
    }

    #[test]
    fn any_drop_repeat_or_swap_is_found(
        turns in proptest::collection::vec(any::<u8>(), 2..40),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
    ) {
        let whole = log(&turns);
        let (a, b) = (a.index(whole.len()), b.index(whole.len()));
        let mut dropped = whole.clone();
        dropped.remove(a);
        prop_assert!(!verify(&dropped, &[outside(&whole)], None).is_clean());
        let mut repeated = whole.clone();
        repeated.insert(b, whole[a].clone());
        prop_assert!(!verify(&repeated, &[], None).is_clean(), "without any checkpoint");
        if a != b {
            let mut swapped = whole.clone();
            swapped.swap(a, b);
            prop_assert!(!verify(&swapped, &[outside(&whole)], None).is_clean());
        }
    }

    #[test]
    fn a_drop_before_a_nodes_last_entry_needs_no_checkpoint(
        turns in proptest::collection::vec(any::<u8>(), 2..40),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = log(&turns);
        let at = at.index(whole.len());
        let last = whole.iter().rposition(|s| s.node == whole[at].node);
        prop_assume!(last != Some(at));
        let mut dropped = whole.clone();
        dropped.remove(at);
        prop_assert!(!verify(&dropped, &[], None).is_clean());
        let mut edited = whole;
        edited[at].bytes = shaped(1000, 1);
        prop_assert!(!verify(&edited, &[], None).is_clean());
    }

    #[test]
    fn an_untouched_log_of_any_shape_is_clean(
        turns in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let whole = log(&turns);
        let report = verify(&whole, &[outside(&whole)], Some(whole.len() as u64));
        prop_assert!(report.is_clean());
        prop_assert_eq!(report.covered, whole.len() as u64);
    }
}
