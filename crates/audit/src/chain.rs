//! Each node's hash chain, and the leaf of the tree that an entry becomes.
//!
//! A node numbers its entries from 1. Leaf data, final:
//!
//! | bytes | content |
//! |---|---|
//! | 16 | the node's id |
//! | 8 | the entry's number on that node, big-endian |
//! | 32 | `prev`: the leaf hash of the node's entry before, zeros for number 1 |
//! | .. | the sealed entry |
//!
//! The leaf hash (RFC 6962: SHA-256 of `00` and the leaf data) is at once the leaf of
//! the tenant's tree and the `prev` of the node's next entry, so one hash does both: an
//! entry can't be edited, dropped, repeated or moved without breaking the chain behind
//! it, before any checkpoint covers it.

use phial_crypto::sha256;

use crate::NodeId;
use crate::tree::{Hash, LEAF};

/// Bytes of leaf data before the sealed entry.
pub const LINK_LEN: usize = 16 + 8 + 32;

/// `prev` of a node's first entry.
pub const GENESIS: Hash = [0; 32];

/// An entry as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRef<'a> {
    /// The node that wrote it.
    pub node: &'a NodeId,
    /// Its number on that node, from 1.
    pub number: u64,
    /// Leaf hash of the node's entry before.
    pub prev: &'a Hash,
    /// The sealed entry.
    pub bytes: &'a [u8],
}

impl<'a> StoredRef<'a> {
    /// Appends the leaf data to `out`.
    pub fn leaf_data(&self, out: &mut Vec<u8>) {
        out.reserve(LINK_LEN + self.bytes.len());
        out.extend_from_slice(self.node);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(self.prev);
        out.extend_from_slice(self.bytes);
    }

    /// The leaf hash: this entry's leaf in the tree, and `prev` of the node's next.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        self.leaf_hash_in(&mut Vec::new())
    }

    /// [`Self::leaf_hash`] with a buffer to use again.
    pub(crate) fn leaf_hash_in(&self, buffer: &mut Vec<u8>) -> Hash {
        buffer.clear();
        buffer.reserve(1 + LINK_LEN + self.bytes.len());
        buffer.push(LEAF);
        self.leaf_data(buffer);
        sha256(buffer)
    }

    /// Reads leaf data, as it comes from an entries tile.
    #[must_use]
    pub fn from_leaf_data(data: &'a [u8]) -> Option<Self> {
        let (node, rest) = data.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (prev, bytes) = rest.split_first_chunk::<32>()?;
        Some(StoredRef { node, number: u64::from_be_bytes(*number), prev, bytes })
    }
}

/// The end of a node's chain: what its next entry continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeChain {
    /// The node.
    pub node: NodeId,
    /// Number of the last entry, 0 before the first.
    pub number: u64,
    /// Leaf hash of the last entry.
    pub hash: Hash,
}

/// Where a new entry stands in its node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The entry's number.
    pub number: u64,
    /// The leaf hash before.
    pub prev: Hash,
    /// The entry's own leaf hash.
    pub leaf: Hash,
}

impl NodeChain {
    /// The chain of a node that has written nothing.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        NodeChain { node, number: 0, hash: GENESIS }
    }

    /// The chain of a node whose last entry has this number and leaf hash.
    #[must_use]
    pub const fn resume(node: NodeId, number: u64, hash: Hash) -> Self {
        NodeChain { node, number, hash }
    }

    /// The number that the next entry is to be sealed for.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.number + 1
    }

    /// Takes the sealed entry in as the next one.
    pub fn append(&mut self, bytes: &[u8]) -> Link {
        let (number, prev) = (self.next_number(), self.hash);
        let leaf = StoredRef { node: &self.node, number, prev: &prev, bytes }.leaf_hash();
        (self.number, self.hash) = (number, leaf);
        Link { number, prev, leaf }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_resumes_where_it_ended() {
        let mut whole = NodeChain::new([7; 16]);
        whole.append(b"one");
        let mut resumed = NodeChain::resume([7; 16], whole.number, whole.hash);
        assert_eq!(whole.append(b"two"), resumed.append(b"two"));
    }

    #[test]
    fn leaf_data_is_node_number_prev_entry() {
        let entry = StoredRef { node: &[1; 16], number: 2, prev: &[3; 32], bytes: b"\x04" };
        let mut data = Vec::new();
        entry.leaf_data(&mut data);
        let expected = ["01".repeat(16), "0000000000000002".into(), "03".repeat(32), "04".into()];
        assert_eq!(hex::encode(&data), expected.concat());
        assert_eq!(StoredRef::from_leaf_data(&data), Some(entry));
        assert_eq!(StoredRef::from_leaf_data(&[0; 55]), None);
    }
}
