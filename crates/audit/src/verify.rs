//! The streaming verifier of an audit log: feeds on stored entries in the order of the
//! tree, needs nothing but the public key, and names precisely what is wrong.
//!
//! What it relies on: each node's hash chain (shows an edit, a drop, a repeat or a move
//! at once, but an attacker who rewrites everything behind it can mend it) and signed
//! checkpoints (can't be mended without the signing key). Checkpoints kept elsewhere are
//! handed in as [`Source::Elsewhere`]: against them a rewritten, forked or shortened log
//! shows even when its own checkpoints were re-signed. Entries behind the last
//! checkpoint stand on their chain alone, and [`Report::covered`] says where that begins.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use phial_crypto::VerifyingKey;

use crate::chain::{GENESIS, NodeChain, StoredRef};
use crate::tree::{Frontier, Hash};
use crate::{Checkpoint, Error, NodeId, NoteVerifier, sealed};

/// Findings that a report lists; more are counted only.
pub const MAX_FINDINGS: usize = 10_000;

/// Where a checkpoint came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The log's own table of checkpoints.
    Log,
    /// A copy kept elsewhere: beside the keys, with a witness, on paper.
    Elsewhere,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Log => "the log's own",
            Source::Elsewhere => "an outside",
        })
    }
}

/// What is wrong with a checkpoint itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BadCheckpoint {
    /// It is no checkpoint.
    Malformed,
    /// It is not signed by the log's key.
    OtherKey,
    /// The log's key's signature does not verify.
    Signature,
    /// It is another log's.
    OtherLog,
}

/// Something wrong with an audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Entries are missing between two positions in the tree.
    IndexGap {
        /// The position expected next.
        expected: u64,
        /// The position that came.
        found: u64,
    },
    /// A position came again.
    IndexRepeated {
        /// The position.
        index: u64,
    },
    /// Entries of a node were dropped.
    EntriesMissing {
        /// The position behind the gap.
        index: u64,
        /// The node.
        node: NodeId,
        /// The first number missing.
        from: u64,
        /// The last number missing.
        to: u64,
    },
    /// An entry of a node comes after later ones.
    Reordered {
        /// Its position.
        index: u64,
        /// The node.
        node: NodeId,
        /// Its number.
        number: u64,
    },
    /// A number of a node came again.
    NumberRepeated {
        /// The second one's position.
        index: u64,
        /// The node.
        node: NodeId,
        /// The number.
        number: u64,
    },
    /// An entry does not continue the one before it on its node: one of the two was
    /// edited or replaced.
    ChainBreak {
        /// Position of the entry whose `prev` does not fit.
        index: u64,
        /// The node.
        node: NodeId,
        /// Its number.
        number: u64,
        /// Position of the entry before it on that node.
        before: Option<u64>,
    },
    /// The bytes are not a sealed entry.
    Undecodable {
        /// The position.
        index: u64,
    },
    /// A checkpoint that proves nothing.
    Checkpoint {
        /// Where it came from.
        source: Source,
        /// What is wrong with it.
        problem: BadCheckpoint,
    },
    /// The entries are not the ones that were signed: edited, or another branch.
    RootMismatch {
        /// The checkpoint's size.
        size: u64,
        /// The size up to which an earlier checkpoint agreed: the change is behind it.
        agreed: u64,
        /// Where the checkpoint came from.
        source: Source,
    },
    /// Two validly signed checkpoints of the same size have different roots.
    Fork {
        /// The size.
        size: u64,
    },
    /// The log is shorter than a checkpoint of it.
    Truncated {
        /// The checkpoint's size.
        size: u64,
        /// How many entries there are.
        have: u64,
        /// Where the checkpoint came from.
        source: Source,
    },
    /// A checkpoint could not be compared, because positions are missing before it.
    NotCompared {
        /// The checkpoint's size.
        size: u64,
    },
    /// The log claims another size than it has.
    OtherSize {
        /// What it claims.
        claimed: u64,
        /// How many entries there are.
        have: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = |n: &NodeId| hex::encode(n.get(..4).unwrap_or_default());
        match self {
            Finding::IndexGap { expected, found } => {
                write!(f, "positions {expected} to {} are missing", found.saturating_sub(1))
            }
            Finding::IndexRepeated { index } => write!(f, "position {index} occurs again"),
            Finding::EntriesMissing { index, node: n, from, to } => {
                let node = node(n);
                write!(f, "entries {from} to {to} of node {node} dropped before position {index}")
            }
            Finding::Reordered { index, node: n, number } => {
                write!(f, "entry {number} of node {} is out of order at position {index}", node(n))
            }
            Finding::NumberRepeated { index, node: n, number } => {
                write!(f, "entry {number} of node {} occurs again at position {index}", node(n))
            }
            Finding::ChainBreak { index, node: n, number, before } => {
                let node = node(n);
                write!(f, "entry {number} of node {node} at position {index} does not continue ")?;
                match before {
                    Some(b) => write!(f, "the one at position {b}: one of the two was altered"),
                    None => write!(f, "the start of the node's chain"),
                }
            }
            Finding::Undecodable { index } => write!(f, "position {index} holds no sealed entry"),
            Finding::Checkpoint { source, problem } => {
                write!(f, "{source} checkpoint ")?;
                f.write_str(match problem {
                    BadCheckpoint::Malformed => "is malformed",
                    BadCheckpoint::OtherKey => "is not signed by the log's key",
                    BadCheckpoint::Signature => "has a signature that does not verify",
                    BadCheckpoint::OtherLog => "is of another log",
                })
            }
            Finding::RootMismatch { size, agreed, source } => write!(
                f,
                "entries are not those that {source} checkpoint of size {size} signed; \
                 up to size {agreed} they agree"
            ),
            Finding::Fork { size } => {
                write!(f, "two signed checkpoints of size {size} differ: the log was forked")
            }
            Finding::Truncated { size, have, source } => write!(
                f,
                "log was cut: {source} checkpoint has size {size}, there are {have} entries, \
                 {} are missing",
                size.saturating_sub(*have)
            ),
            Finding::NotCompared { size } => {
                write!(f, "checkpoint of size {size} can't be compared: positions are missing")
            }
            Finding::OtherSize { claimed, have } => {
                write!(f, "log claims {claimed} entries and has {have}")
            }
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Entries in the tree, those before a resumed run included.
    pub entries: u64,
    /// The root over them, `None` when positions are missing.
    pub root: Option<Hash>,
    /// Signed checkpoints that agreed.
    pub checkpoints: u64,
    /// Entries under an agreeing checkpoint; those behind stand on their chain alone.
    pub covered: u64,
    /// The ends of the nodes' chains, ordered by node.
    pub nodes: Vec<NodeChain>,
    /// The right edge of the tree; with `nodes` enough to resume (see
    /// [`Verifier::resume`]). Meaningless when positions are missing.
    pub frontier: Frontier,
    /// What is wrong, in the order of finding, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }
}

struct NodeState {
    number: u64,
    hash: Hash,
    index: Option<u64>,
}

struct Gap {
    node: NodeId,
    from: u64,
    to: u64,
    index: u64,
}

/// Verifies a log that is fed to it, in time and memory that do not depend on the
/// entries' contents: one hash an entry, one state a node.
pub struct Verifier {
    key: NoteVerifier,
    origin: String,
    frontier: Frontier,
    /// Position expected next; the frontier's size unless positions are missing.
    next: u64,
    torn: bool,
    nodes: HashMap<NodeId, NodeState>,
    gaps: Vec<Gap>,
    /// Checkpoints not yet reached, and the size of the first of them.
    ahead: BTreeMap<u64, Vec<(Hash, Source)>>,
    first_ahead: u64,
    /// Roots at sizes that checkpoints named and that were passed.
    passed: BTreeMap<u64, Hash>,
    agreed: u64,
    checkpoints: u64,
    buffer: Vec<u8>,
    findings: Vec<Finding>,
    more: u64,
}

impl Verifier {
    /// A verifier of the log `origin`, whose checkpoints `key` signs.
    ///
    /// # Errors
    /// [`Error::KeyName`] when the origin can't be the name of a note's key.
    pub fn new(key: VerifyingKey, origin: &str) -> Result<Self, Error> {
        Self::resume(key, origin, Frontier::new(), &[])
    }

    /// A verifier that goes on where an earlier, clean run ended.
    ///
    /// # Errors
    /// [`Error::KeyName`].
    pub fn resume(
        key: VerifyingKey,
        origin: &str,
        frontier: Frontier,
        nodes: &[NodeChain],
    ) -> Result<Self, Error> {
        let state =
            |n: &NodeChain| (n.node, NodeState { number: n.number, hash: n.hash, index: None });
        let mut verifier = Verifier {
            key: NoteVerifier::new(origin, key)?,
            origin: origin.to_owned(),
            next: frontier.size(),
            frontier,
            torn: false,
            nodes: nodes.iter().map(state).collect(),
            gaps: Vec::new(),
            ahead: BTreeMap::new(),
            first_ahead: u64::MAX,
            passed: BTreeMap::new(),
            agreed: 0,
            checkpoints: 0,
            buffer: Vec::new(),
            findings: Vec::new(),
            more: 0,
        };
        verifier.passed.insert(verifier.next, verifier.frontier.root());
        Ok(verifier)
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Hands in a checkpoint, before the entry that it ends with is fed, or at once
    /// after it. One that is itself bad becomes a finding.
    ///
    /// # Errors
    /// [`Error::CheckpointLate`] when its place has been passed.
    pub fn checkpoint(&mut self, note: &str, source: Source) -> Result<(), Error> {
        let checkpoint = match Checkpoint::verify(note, &self.origin, &self.key) {
            Ok(c) => c,
            Err(e) => {
                let problem = match e {
                    Error::NotSigned => BadCheckpoint::OtherKey,
                    Error::BadSignature => BadCheckpoint::Signature,
                    Error::OtherOrigin => BadCheckpoint::OtherLog,
                    _ => BadCheckpoint::Malformed,
                };
                self.find(Finding::Checkpoint { source, problem });
                return Ok(());
            }
        };
        let Checkpoint { size, root, .. } = checkpoint;
        if size > self.next {
            let same = self.ahead.entry(size).or_default();
            let fork = same.iter().any(|(r, _)| *r != root);
            same.push((root, source));
            self.first_ahead = self.first_ahead.min(size);
            if fork {
                self.find(Finding::Fork { size });
            }
            return Ok(());
        }
        if self.torn {
            self.find(Finding::NotCompared { size });
            return Ok(());
        }
        if size == self.next && !self.passed.contains_key(&size) {
            self.passed.insert(size, self.frontier.root());
        }
        let Some(own) = self.passed.get(&size).copied() else {
            return Err(Error::CheckpointLate { size, fed: self.next });
        };
        self.compare(size, &own, &[(root, source)]);
        Ok(())
    }

    fn compare(&mut self, size: u64, own: &Hash, signed: &[(Hash, Source)]) {
        for (root, source) in signed {
            if root == own {
                self.checkpoints += 1;
                self.agreed = self.agreed.max(size);
            } else {
                let agreed = self.agreed;
                self.find(Finding::RootMismatch { size, agreed, source: *source });
            }
        }
    }

    /// Takes the next entry, at position `index` of the tree (from 0).
    pub fn feed(&mut self, index: u64, entry: StoredRef<'_>) {
        if index < self.next {
            return self.find(Finding::IndexRepeated { index });
        }
        if index > self.next {
            self.find(Finding::IndexGap { expected: self.next, found: index });
            self.torn = true;
        }
        self.next = index + 1;
        if sealed::check_shape(entry.bytes).is_err() {
            self.find(Finding::Undecodable { index });
        }
        let leaf = entry.leaf_hash_in(&mut self.buffer);
        self.follow(index, &entry, leaf);
        if !self.torn {
            self.frontier.push(leaf);
        }
        if self.next >= self.first_ahead {
            self.reach();
        }
    }

    /// Checks the entry against its node's chain.
    fn follow(&mut self, index: u64, entry: &StoredRef<'_>, leaf: Hash) {
        let (node, number) = (*entry.node, entry.number);
        let state =
            self.nodes.entry(node).or_insert(NodeState { number: 0, hash: GENESIS, index: None });
        let expected = state.number + 1;
        if number == expected {
            let before = state.index.replace(index);
            let fits = state.hash == *entry.prev;
            (state.number, state.hash) = (number, leaf);
            if !fits {
                self.find(Finding::ChainBreak { index, node, number, before });
            }
        } else if number > expected {
            *state = NodeState { number, hash: leaf, index: Some(index) };
            // Whether these were dropped or only moved shows later.
            if self.gaps.len() < MAX_FINDINGS {
                self.gaps.push(Gap { node, from: expected, to: number - 1, index });
            } else {
                self.more += 1;
            }
        } else if let Some(at) =
            self.gaps.iter().position(|g| g.node == node && (g.from..=g.to).contains(&number))
        {
            let gap = self.gaps.swap_remove(at);
            if gap.from < number {
                self.gaps.push(Gap { to: number - 1, ..gap });
            }
            if number < gap.to {
                self.gaps.push(Gap { from: number + 1, ..gap });
            }
            self.find(Finding::Reordered { index, node, number });
        } else {
            self.find(Finding::NumberRepeated { index, node, number });
        }
    }

    /// Compares the checkpoints that have been reached.
    fn reach(&mut self) {
        let behind = self.ahead.split_off(&(self.next + 1));
        let reached = std::mem::replace(&mut self.ahead, behind);
        self.first_ahead = self.ahead.keys().next().copied().unwrap_or(u64::MAX);
        for (size, signed) in reached {
            if self.torn {
                self.find(Finding::NotCompared { size });
            } else {
                let own = self.frontier.root();
                self.passed.insert(size, own);
                self.compare(size, &own, &signed);
            }
        }
    }

    /// Ends the run. `claimed` is the size that the log says it has, if it says one.
    #[must_use]
    pub fn finish(mut self, claimed: Option<u64>) -> Report {
        let have = self.next;
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.sort_by_key(|g| (g.index, g.from));
        for Gap { node, from, to, index } in gaps {
            self.find(Finding::EntriesMissing { index, node, from, to });
        }
        for (size, signed) in std::mem::take(&mut self.ahead) {
            for (_, source) in signed {
                self.find(Finding::Truncated { size, have, source });
            }
        }
        if let Some(claimed) = claimed.filter(|c| *c != have) {
            self.find(Finding::OtherSize { claimed, have });
        }
        let chain = |(node, s): (&NodeId, &NodeState)| NodeChain::resume(*node, s.number, s.hash);
        let mut nodes: Vec<NodeChain> = self.nodes.iter().map(chain).collect();
        nodes.sort_by_key(|n| n.node);
        Report {
            entries: have,
            root: (!self.torn).then(|| self.frontier.root()),
            checkpoints: self.checkpoints,
            covered: self.agreed,
            nodes,
            frontier: self.frontier,
            findings: self.findings,
            more: self.more,
        }
    }
}
