//! Audit entries, Merkle tree, checkpoints, proofs, verification
