//! The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1), SHA-256.
//!
//! Owns hashing, the [`Frontier`] (all that an appender must remember), and proofs over
//! any source of node hashes ([`NodeReader`]). It keeps no tree: `tiles` says how nodes
//! are stored.
//!
//! A *node* here is always the root of a complete subtree: level 0 is the leaves, node i
//! of level l covers leaves `i << l` to `(i + 1) << l`.

use phial_crypto::sha256;

use crate::Error;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

pub(crate) const LEAF: u8 = 0;
const NODE: u8 = 1;
const FRONTIER: &str = "tree frontier";

/// Hash of a leaf: SHA-256(00 ‖ data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut buffer = Vec::with_capacity(1 + data.len());
    buffer.push(LEAF);
    buffer.extend_from_slice(data);
    sha256(&buffer)
}

/// Hash of an inner node: SHA-256(01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut buffer = [NODE; 65];
    let (l, r) = buffer.split_at_mut(33);
    if let Some(l) = l.get_mut(1..) {
        l.copy_from_slice(left);
    }
    r.copy_from_slice(right);
    sha256(&buffer)
}

/// Root of the tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The right edge of a tree: the roots of the complete subtrees that it consists of,
/// largest first, one for each bit of the size. Enough to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _, _| {});
    }

    /// Appends a leaf and calls `node(level, index, hash)` for it and for each inner
    /// node that it completes, lowest first: what an appender stores.
    pub fn push_with(&mut self, leaf: Hash, mut node: impl FnMut(u32, u64, &Hash)) {
        let mut hash = leaf;
        let index = self.size;
        node(0, index, &hash);
        for level in 0..index.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
                node(level + 1, index >> (level + 1), &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// Bytes: the size (8, big-endian), then the hashes, largest subtree first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.size.to_be_bytes().to_vec();
        out.extend(self.peaks.iter().flatten());
        out
    }

    /// What [`Self::encode`] gave.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless there is exactly one hash for each bit of the size.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (size, rest) = bytes.split_first_chunk().ok_or(Error::malformed(FRONTIER))?;
        let size = u64::from_be_bytes(*size);
        let (peaks, rest) = rest.as_chunks::<32>();
        if !rest.is_empty() || peaks.len() != size.count_ones() as usize {
            return Err(Error::malformed(FRONTIER));
        }
        Ok(Frontier { size, peaks: peaks.to_vec() })
    }

    /// The frontier of the first `size` leaves of a tree whose nodes can be read.
    ///
    /// # Errors
    /// [`Error::MissingNode`] when a node is not at hand.
    pub fn from_nodes(size: u64, nodes: &dyn NodeReader) -> Result<Self, Error> {
        let mut peaks = Vec::new();
        for (level, index) in complete(0, size) {
            peaks.push(read(nodes, level, index)?);
        }
        Ok(Frontier { size, peaks })
    }
}

/// Reads the hashes of complete subtrees.
pub trait NodeReader {
    /// The hash of node `index` of `level`, when it is at hand.
    fn node(&self, level: u32, index: u64) -> Option<Hash>;
}

/// All nodes of a tree in memory: for tests, small logs and single tiles.
#[derive(Clone, Debug, Default)]
pub struct MemoryNodes {
    frontier: Frontier,
    levels: Vec<Vec<Hash>>,
}

impl MemoryNodes {
    /// The tree of these leaf hashes.
    pub fn of(leaves: impl IntoIterator<Item = Hash>) -> Self {
        let mut nodes = Self::default();
        for leaf in leaves {
            nodes.push(leaf);
        }
        nodes
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push_with(leaf, |level, _, hash| {
            let level = level as usize;
            if levels.len() <= level {
                levels.push(Vec::new());
            }
            if let Some(l) = levels.get_mut(level) {
                l.push(*hash);
            }
        });
    }

    /// The right edge of the tree.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }
}

impl NodeReader for MemoryNodes {
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        self.levels.get(level as usize)?.get(usize::try_from(index).ok()?).copied()
    }
}

fn read(nodes: &dyn NodeReader, level: u32, index: u64) -> Result<Hash, Error> {
    nodes.node(level, index).ok_or(Error::MissingNode { level, index })
}

/// The complete subtrees, largest first, that leaves `from..to` consist of, where `from`
/// is a multiple of the largest power of two that fits into the range.
fn complete(from: u64, to: u64) -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    let mut at = from;
    while at < to {
        let level = (to - at).ilog2();
        all.push((level, at >> level));
        at += 1 << level;
    }
    all
}

/// The hash over leaves `from..to`, a range that occurs in the tree's definition.
fn range_hash(from: u64, to: u64, nodes: &dyn NodeReader) -> Result<Hash, Error> {
    let mut right: Option<Hash> = None;
    for (level, index) in complete(from, to).into_iter().rev() {
        let left = read(nodes, level, index)?;
        right = Some(right.map_or(left, |right| node_hash(&left, &right)));
    }
    right.ok_or(Error::OutsideTree)
}

/// The largest power of two below `n`, for n > 1.
const fn split_at(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The root of the first `size` leaves.
///
/// # Errors
/// [`Error::MissingNode`] when a node is not at hand.
pub fn root(size: u64, nodes: &dyn NodeReader) -> Result<Hash, Error> {
    if size == 0 { Ok(empty_root()) } else { range_hash(0, size, nodes) }
}

/// The proof that leaf `index` is in the tree of `size` leaves (RFC 6962 §2.1.1).
///
/// # Errors
/// [`Error::OutsideTree`] unless `index < size`; [`Error::MissingNode`].
pub fn inclusion_proof(index: u64, size: u64, nodes: &dyn NodeReader) -> Result<Vec<Hash>, Error> {
    if index >= size {
        return Err(Error::OutsideTree);
    }
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let middle = from + split_at(to - from);
        if index < middle {
            proof.push(range_hash(middle, to, nodes)?);
            to = middle;
        } else {
            proof.push(range_hash(from, middle, nodes)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Checks an inclusion proof (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`Error::OutsideTree`] unless `index < size`, [`Error::BadProof`] when it does not
/// lead to `root`.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    if index >= size {
        return Err(Error::OutsideTree);
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for p in proof {
        if last == 0 {
            return Err(Error::BadProof);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(p, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, p);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(Error::BadProof) }
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves
/// (RFC 6962 §2.1.2). Empty when the sizes are the same or `old` is 0.
///
/// # Errors
/// [`Error::OutsideTree`] unless `old <= new`; [`Error::MissingNode`].
pub fn consistency_proof(old: u64, new: u64, nodes: &dyn NodeReader) -> Result<Vec<Hash>, Error> {
    if old > new {
        return Err(Error::OutsideTree);
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut from, mut to) = (0, new);
    // Whether the old tree is still exactly a subtree that the verifier knows.
    let mut known = true;
    let mut proof = Vec::new();
    while old != to {
        let middle = from + split_at(to - from);
        if old <= middle {
            proof.push(range_hash(middle, to, nodes)?);
            to = middle;
        } else {
            proof.push(range_hash(from, middle, nodes)?);
            from = middle;
            known = false;
        }
    }
    if !known {
        proof.push(range_hash(from, to, nodes)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks a consistency proof (RFC 9162 §2.1.4.2).
///
/// # Errors
/// [`Error::OutsideTree`] unless `old <= new`, [`Error::BadProof`] when it does not show
/// that the one tree is a prefix of the other.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), Error> {
    if old > new {
        return Err(Error::OutsideTree);
    }
    let sure = |good| if good { Ok(()) } else { Err(Error::BadProof) };
    if old == new {
        return sure(proof.is_empty() && old_root == new_root);
    }
    if old == 0 {
        return sure(proof.is_empty() && *old_root == empty_root());
    }
    let mut path = proof.iter();
    let first =
        if old.is_power_of_two() { old_root } else { path.next().ok_or(Error::BadProof)? };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut small, mut large) = (*first, *first);
    for p in path {
        if last == 0 {
            return Err(Error::BadProof);
        }
        if at & 1 == 1 || at == last {
            small = node_hash(p, &small);
            large = node_hash(p, &large);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            large = node_hash(&large, p);
        }
        at >>= 1;
        last >>= 1;
    }
    sure(last == 0 && small == *old_root && large == *new_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hex_text: &str) -> Hash {
        hex::decode(hex_text).unwrap().try_into().unwrap()
    }

    /// The eight leaves that Certificate Transparency's implementations test with.
    fn ct() -> MemoryNodes {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        MemoryNodes::of(leaves.map(|l| leaf_hash(&hex::decode(l).unwrap())))
    }

    const CT_ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_the_published_ones() {
        for (size, expected) in (0u64..).zip(CT_ROOTS) {
            assert_eq!(root(size, &ct()).unwrap(), hash(expected));
            assert_eq!(Frontier::from_nodes(size, &ct()).unwrap().root(), hash(expected));
        }
    }

    #[test]
    fn proofs_are_the_published_ones() {
        let inclusion = inclusion_proof(5, 8, &ct()).unwrap();
        assert_eq!(
            inclusion.iter().map(hex::encode).collect::<Vec<_>>(),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        let consistency = consistency_proof(6, 8, &ct()).unwrap();
        assert_eq!(
            consistency.iter().map(hex::encode).collect::<Vec<_>>(),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn every_proof_up_to_130_leaves_verifies() {
        let nodes = MemoryNodes::of((0u32..130).map(|i| leaf_hash(&i.to_be_bytes())));
        for new in 0..=130u64 {
            let new_root = root(new, &nodes).unwrap();
            for index in 0..new {
                let proof = inclusion_proof(index, new, &nodes).unwrap();
                let leaf = nodes.node(0, index).unwrap();
                verify_inclusion(index, new, &leaf, &proof, &new_root).unwrap();
            }
            for old in 0..=new {
                let old_root = root(old, &nodes).unwrap();
                let proof = consistency_proof(old, new, &nodes).unwrap();
                verify_consistency(old, new, &old_root, &new_root, &proof).unwrap();
            }
        }
    }

    #[test]
    fn a_proof_shows_nothing_else() {
        let nodes = MemoryNodes::of((0u32..50).map(|i| leaf_hash(&i.to_be_bytes())));
        for size in 1..=50u64 {
            let good_root = root(size, &nodes).unwrap();
            for index in 0..size {
                let proof = inclusion_proof(index, size, &nodes).unwrap();
                let leaf = nodes.node(0, index).unwrap();
                let refused = |index, size, leaf: &Hash, proof: &[Hash], root: &Hash| {
                    assert!(verify_inclusion(index, size, leaf, proof, root).is_err());
                };
                refused(index, size, &[9; 32], &proof, &good_root);
                refused(index, size, &leaf, &proof, &[9; 32]);
                let longer = [proof.clone(), vec![[9; 32]]].concat();
                refused(index, size, &leaf, &longer, &good_root);
                for at in 0..proof.len() {
                    let mut bad = proof.clone();
                    bad[at][0] ^= 1;
                    refused(index, size, &leaf, &bad, &good_root);
                }
                if let Some((_, shorter)) = proof.split_last() {
                    refused(index, size, &leaf, shorter, &good_root);
                }
                for other in (0..size).filter(|o| *o != index) {
                    refused(other, size, &leaf, &proof, &good_root);
                }
            }
            for old in 1..size {
                let old_root = root(old, &nodes).unwrap();
                let proof = consistency_proof(old, size, &nodes).unwrap();
                let refused = |a: &Hash, b: &Hash, proof: &[Hash]| {
                    assert!(verify_consistency(old, size, a, b, proof).is_err());
                };
                refused(&[9; 32], &good_root, &proof);
                refused(&old_root, &[9; 32], &proof);
                refused(&old_root, &good_root, &[proof.clone(), vec![[9; 32]]].concat());
                for at in 0..proof.len() {
                    let mut bad = proof.clone();
                    bad[at][31] ^= 1;
                    refused(&old_root, &good_root, &bad);
                }
            }
        }
        assert!(verify_inclusion(3, 3, &[0; 32], &[], &[0; 32]).is_err());
        assert!(verify_consistency(4, 3, &[0; 32], &[0; 32], &[]).is_err());
    }

    #[test]
    fn a_frontier_survives_its_bytes() {
        let mut f = Frontier::new();
        for i in 0..300u32 {
            let decoded = Frontier::decode(&f.encode()).unwrap();
            assert_eq!(decoded, f);
            f = decoded;
            f.push(leaf_hash(&i.to_be_bytes()));
        }
        let bytes = f.encode();
        assert!(Frontier::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Frontier::decode(&bytes[..7]).is_err());
        assert!(Frontier::decode(&[bytes.as_slice(), &[0; 32]].concat()).is_err());
    }
}
