//! Sealed things: record versions, wrapped keys, small messages.

use std::sync::LazyLock;

use phial_base::{KeyHandle, RowId, SeededRng, TenantId, Version};
use phial_crypto::{
    Error, KeyKind, KeyLabel, RecordKey, RecordName, SecretKey, Text, locate, open_small,
    seal_record, unlock_record, unwrap,
};

use crate::Bytes;

struct World {
    tenant: TenantId,
    locator: SecretKey,
    record: SecretKey,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let rng = SeededRng::new(1);
    World {
        tenant: TenantId::default_tenant(),
        locator: SecretKey::random(&rng),
        record: SecretKey::random(&rng),
    }
});

/// Three readings of the bytes: as a blob, a wrapped key and a small message that
/// nobody sealed (refused), as a record to seal and open (the same comes back), and as
/// that record with some of its bytes changed (refused).
pub fn envelope(data: &[u8]) {
    let world = &*WORLD;
    let name = RecordName { tenant: &world.tenant, row: RowId([7; 16]), version: Version(3) };
    // Nothing is ever sealed as this row: a fuzzer that sees comparisons knows the other's.
    let other = RecordName { row: RowId([8; 16]), ..name };
    assert!(locate(data, &other, &world.locator).is_err(), "an unsealed blob was located");
    assert!(open_small(&world.record, &[b"x"], data).is_err(), "an unsealed message opened");
    let label = KeyLabel {
        tenant: world.tenant.clone(),
        kind: KeyKind::Patient,
        handle: KeyHandle([1; 16]),
        version: 1,
    };
    assert!(unwrap(&world.record, &label, data).is_err(), "an unwrapped key opened");

    let mut from = Bytes(data);
    let count = usize::from(from.byte() % 16);
    let (changes, header) = (from.byte() % 4, from.piece().to_vec());
    let parts: Vec<(u8, &[u8])> = (0..count).map(|_| (from.byte(), from.piece())).collect();
    let key = RecordKey { handle: KeyHandle([9; 16]), version: 1, key: &world.record };
    let rng = SeededRng::new(2);
    // Some of the header's bytes go uncompressed.
    let (dense, text) = header.split_at(header.len() / 3);
    let texts: Vec<(u8, Text<'_>)> = parts.iter().map(|(n, t)| (*n, Text::plain(t))).collect();
    let text = Text { dense, text };
    let blob = match seal_record(&name, &key, &world.locator, text, &texts, &rng) {
        Ok(blob) => blob,
        Err(Error::BadPart(_)) => return,
        other => other.expect("seals"),
    };
    let located = locate(&blob, &name, &world.locator).expect("locates");
    let open = unlock_record(blob.clone(), &name, &located, &world.record).expect("unlocks");
    let opened = open.header();
    assert_eq!((opened.dense(), opened.text()), (text.dense, text.text), "the header changed");
    for (part, text) in &parts {
        assert_eq!(open.open(*part).expect("opens").text(), *text, "a part changed");
    }

    let mut altered = blob.clone();
    for _ in 0..changes {
        let at = usize::try_from(from.number()).unwrap_or(0) % altered.len();
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= from.byte();
        }
    }
    let grow = from.byte();
    altered.extend(std::iter::repeat_n(grow, usize::from(from.byte())));
    if altered != blob {
        assert!(!opens(&altered, &name, &parts), "an altered record opened in whole");
    }
}

/// Whether all of a blob opens.
fn opens(blob: &[u8], name: &RecordName<'_>, parts: &[(u8, &[u8])]) -> bool {
    let Ok(located) = locate(blob, name, &WORLD.locator) else { return false };
    let Ok(open) = unlock_record(blob.to_vec(), name, &located, &WORLD.record) else {
        return false;
    };
    parts.iter().all(|(part, _)| open.open(*part).is_ok())
}
