//! The outbox: places replaced, events kept for a while, nothing legible, tampering named.

use std::sync::Arc;

use phial_base::RowId;
use phial_store::Error;
use phial_store::outbox::{KEPT, Outbox, look};

use crate::auditlog_world::World;

fn open(w: &World) -> Outbox {
    let (keystore, rng) = (Arc::clone(&w.keystore), Arc::clone(&w.rng));
    Outbox::create(&w.home, &w.tenant, keystore, rng, &w.options).unwrap()
}

fn row(n: u8) -> RowId {
    RowId([n; 16])
}

fn events(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

#[test]
fn a_place_is_replaced_and_its_events_are_found_by_number() {
    let w = World::new();
    let o = open(&w);
    assert!(o.places().unwrap().is_empty());
    o.keep(row(1), b"first", 0, &[], false).unwrap();
    o.keep(row(2), b"other", 1, &events(&["x"]), false).unwrap();
    o.keep(row(1), b"second", 1, &events(&["a", "b", "c"]), false).unwrap();
    drop(o);
    let o = open(&w);
    let mut places: Vec<Vec<u8>> = o.places().unwrap().iter().map(|p| p.to_vec()).collect();
    places.sort();
    assert_eq!(places, [b"other".to_vec(), b"second".to_vec()]);
    let found = |first, last, limit| -> Vec<(u64, Vec<u8>)> {
        let all = o.events(row(1), first, last, limit).unwrap();
        all.into_iter().map(|(n, text)| (n, text.to_vec())).collect()
    };
    assert_eq!(found(2, u64::MAX, 10), [(2, b"b".to_vec()), (3, b"c".to_vec())]);
    assert_eq!(found(0, 2, 1), [(1, b"a".to_vec())]);
    // Another owner begins anew.
    o.keep(row(1), b"third", 1, &events(&["d"]), true).unwrap();
    let all = o.events(row(1), 0, 9, 9).unwrap();
    assert_eq!((all.len(), all[0].1.as_slice()), (1, &b"d"[..]));
    o.forget(row(1)).unwrap();
    assert_eq!(o.places().unwrap().len(), 1);
    assert!(o.events(row(1), 0, 9, 9).unwrap().is_empty());
    assert_eq!(look(&w.home, &w.tenant, &w.keystore, &w.options).unwrap().len(), 1);
}

#[test]
fn events_long_told_are_dropped() {
    let w = World::new();
    let o = open(&w);
    for n in 1..=3u64 {
        let first = (n - 1) * KEPT + 1;
        let texts = vec![b"e".to_vec(); usize::try_from(KEPT).unwrap()];
        o.keep(row(1), b"p", first, &texts, false).unwrap();
    }
    let all = o.events(row(1), 0, u64::MAX, 10_000).unwrap();
    assert_eq!((all.len() as u64, all[0].0), (KEPT, 2 * KEPT + 1));
}

#[test]
fn nothing_is_legible_and_what_was_moved_or_altered_is_refused() {
    let fill = || {
        let w = World::new();
        let o = open(&w);
        o.keep(row(1), b"PLAINLY-ONE", 1, &events(&["PLAINLY-TWO", "x"]), false).unwrap();
        o.keep(row(2), b"y", 0, &[], false).unwrap();
        drop(o);
        w
    };
    let w = fill();
    let bytes = std::fs::read(w.home.outbox(&w.tenant)).unwrap();
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|at| at == needle);
    assert!(!has(b"PLAINLY") && !has(&row(1).0), "neither content nor row");
    assert!(w.findings(None).is_empty(), "{:?}", w.findings(None));
    for sql in [
        "UPDATE place SET sealed = (SELECT sealed FROM place ORDER BY name DESC LIMIT 1)",
        "UPDATE place SET sealed = substr(sealed, 1, 40)",
        "UPDATE place SET name = randomblob(16)",
    ] {
        let w = fill();
        w.tamper(&w.home.outbox(&w.tenant), sql);
        assert!(open(&w).places().is_err(), "{sql}");
        assert!(w.findings(None).contains(&"store-damaged"), "{sql}");
    }
    let w = fill();
    w.tamper(&w.home.outbox(&w.tenant), "UPDATE event SET number = number + 7");
    assert!(matches!(open(&w).events(row(1), 0, 99, 9), Err(Error::Crypto(_) | Error::Corrupt(_))));
}
