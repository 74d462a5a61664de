//! Proofs over trees too large to try them all.

use std::sync::LazyLock;

use phial_audit::tree::{
    Frontier, MemoryNodes, NodeReader as _, consistency_proof, inclusion_proof, leaf_hash, root,
    verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

const SIZE: u64 = 30_000;
static NODES: LazyLock<MemoryNodes> =
    LazyLock::new(|| MemoryNodes::of((0..SIZE).map(|i| leaf_hash(&i.to_be_bytes()))));

proptest! {
    #[test]
    fn proofs_hold_and_hold_for_nothing_else(
        new in 131..=SIZE,
        old in any::<prop::sample::Index>(),
        index in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let old = 1 + old.index(new as usize) as u64;
        let index = index.index(new as usize) as u64;
        let (old_root, new_root) = (root(old, &*NODES).unwrap(), root(new, &*NODES).unwrap());
        prop_assert_eq!(Frontier::from_nodes(new, &*NODES).unwrap().root(), new_root);
        let leaf = NODES.node(0, index).unwrap();
        let mut inclusion = inclusion_proof(index, new, &*NODES).unwrap();
        verify_inclusion(index, new, &leaf, &inclusion, &new_root).unwrap();
        let mut consistency = consistency_proof(old, new, &*NODES).unwrap();
        verify_consistency(old, new, &old_root, &new_root, &consistency).unwrap();

        let at = flip.index(inclusion.len());
        inclusion[at][at % 32] ^= 4;
        prop_assert!(verify_inclusion(index, new, &leaf, &inclusion, &new_root).is_err());
        if !consistency.is_empty() {
            let at = flip.index(consistency.len());
            consistency[at][at % 32] ^= 4;
            let verified = verify_consistency(old, new, &old_root, &new_root, &consistency);
            prop_assert!(verified.is_err());
        }
    }

    #[test]
    fn no_bytes_crash_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Frontier::decode(&bytes);
        let _ = phial_audit::tiles::entries(&bytes, 3);
        prop_assert!(phial_audit::Checkpoint::from_body(&text).is_err());
        prop_assert!(phial_audit::NoteVerifier::from_vkey(&text).is_err());
        prop_assert!(phial_audit::tiles::Tile::from_path(&text).is_err());
    }
}
