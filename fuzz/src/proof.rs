//! What an auditor reads: proofs, checkpoints, tiles, sealed entries.

use std::sync::LazyLock;

use phial_audit::tiles::{self, Tile};
use phial_audit::tree::{
    Frontier, Hash, MemoryNodes, consistency_proof, inclusion_proof, leaf_hash, verify_consistency,
    verify_inclusion,
};
use phial_audit::{Checkpoint, HeldKeys, NoteVerifier, Place, key_handles, open_entry};
use phial_base::TenantId;
use phial_crypto::{SecretKey, SigningKey};

use crate::Bytes;

const LEAVES: u64 = 300;
const ORIGIN: &str = "phial.example/fuzz";

struct World {
    leaves: Vec<Hash>,
    nodes: MemoryNodes,
    /// The root of each size.
    roots: Vec<Hash>,
    verifier: NoteVerifier,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let leaves: Vec<Hash> = (0..LEAVES).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root()];
    for leaf in &leaves {
        frontier.push(*leaf);
        roots.push(frontier.root());
    }
    let seed = SecretKey::from_bytes(&[5; 32]).expect("a key");
    let key = SigningKey::from_seed(&seed).expect("a seed");
    World {
        nodes: MemoryNodes::of(leaves.iter().copied()),
        leaves,
        roots,
        verifier: NoteVerifier::new(ORIGIN, key.public()).expect("a key's name"),
    }
});

/// The bytes as a checkpoint, a verifier's key, a tile's path, a bundle of entries, a
/// sealed entry, a frontier: read or refused. Then as places and changes: a true proof
/// convinces, and with any change it does not.
pub fn proof(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(Checkpoint::verify(text, ORIGIN, &WORLD.verifier).is_err(), "never signed");
        if let Ok(body) = Checkpoint::from_body(text) {
            let again = Checkpoint::from_body(&body.body()).expect("reads what it wrote");
            assert_eq!(again.body(), body.body());
        }
        if let Ok(verifier) = NoteVerifier::from_vkey(text) {
            assert_eq!(verifier.vkey(), text, "a key has one form");
        }
        if let Ok(tile) = Tile::from_path(text) {
            assert_eq!(tile.path(), text, "a tile has one path");
        }
    }
    let mut from = Bytes(data);
    let width = u16::from(from.byte());
    if let Ok(entries) = tiles::entries(from.rest(), width) {
        let mut bundle = Vec::new();
        for entry in entries {
            tiles::push_entry(&mut bundle, entry).expect("an entry that was read is written");
        }
        assert_eq!(bundle, from.rest(), "a bundle has one form");
    }
    if let Ok(frontier) = Frontier::decode(data) {
        assert_eq!(frontier.encode(), data, "a frontier has one form");
        let _ = frontier.root();
    }
    let _ = key_handles(data);
    let place = Place { tenant: TenantId::default_tenant(), node: [0; 16], number: 1 };
    assert!(open_entry(data, &place, &HeldKeys::default()).is_err(), "an entry without keys");
    inclusion(&mut Bytes(data));
    consistency(&mut Bytes(data));
}

fn inclusion(from: &mut Bytes<'_>) {
    let size = 1 + from.number() % LEAVES;
    let index = from.number() % size;
    let mut proof = inclusion_proof(index, size, &WORLD.nodes).expect("a proof");
    let (mut leaf, mut root) = (leaf(index), root(size));
    verify_inclusion(index, size, &leaf, &proof, &root).expect("a true proof convinces");
    // The root of one leaf is that leaf: both changed alike is another true proof.
    if change(from, &mut proof, &mut [&mut leaf, &mut root])
        && (size > 1 || leaf != root || !proof.is_empty())
    {
        let wrong = verify_inclusion(index, size, &leaf, &proof, &root);
        assert!(wrong.is_err(), "a false inclusion proof convinced");
    }
    // Any other place, however large, ends with an answer.
    let _ = verify_inclusion(from.number(), from.number(), &leaf, &proof, &root);
}

fn consistency(from: &mut Bytes<'_>) {
    let new = from.number() % (LEAVES + 1);
    let old = from.number() % (new + 1);
    let mut proof = consistency_proof(old, new, &WORLD.nodes).expect("a proof");
    let (mut before, mut after) = (root(old), root(new));
    verify_consistency(old, new, &before, &after, &proof).expect("a true proof convinces");
    // With an old size of 0 the new root is not under proof: an empty tree is a prefix
    // of every tree.
    let changed = if old == 0 {
        change(from, &mut proof, &mut [&mut before])
    } else {
        change(from, &mut proof, &mut [&mut before, &mut after])
    };
    // A tree is a prefix of itself, whatever its root.
    if changed && (old != new || before != after || !proof.is_empty()) {
        let wrong = verify_consistency(old, new, &before, &after, &proof);
        assert!(wrong.is_err(), "a false consistency proof convinced");
    }
    let _ = verify_consistency(from.number(), from.number(), &before, &after, &proof);
}

/// Changes a proof or what it is about; whether anything is other than it was.
fn change(from: &mut Bytes<'_>, proof: &mut Vec<Hash>, ends: &mut [&mut Hash]) -> bool {
    let before = (proof.clone(), ends.iter().map(|e| **e).collect::<Vec<_>>());
    while !from.is_empty() {
        let at = usize::from(from.byte());
        let all = proof.len() + ends.len();
        match from.byte() % 4 {
            0 => proof.push([from.byte(); 32]),
            1 => drop(proof.pop()),
            2 if proof.len() > 1 => {
                let other = at % proof.len();
                proof.swap(other, 0);
            }
            _ => {
                let slot = match (at % all).checked_sub(proof.len()) {
                    Some(end) => ends.get_mut(end).map(|e| &mut **e),
                    None => proof.get_mut(at % all),
                };
                if let Some(byte) = slot.and_then(|s| s.get_mut(usize::from(from.byte()) % 32)) {
                    *byte ^= from.byte();
                }
            }
        }
        if proof.len() > 64 {
            break;
        }
    }
    before != (proof.clone(), ends.iter().map(|e| **e).collect())
}

fn leaf(index: u64) -> Hash {
    let at = usize::try_from(index).expect("small");
    *WORLD.leaves.get(at).expect("a leaf of the tree")
}

fn root(size: u64) -> Hash {
    let at = usize::try_from(size).expect("small");
    *WORLD.roots.get(at).expect("a size of the tree")
}
