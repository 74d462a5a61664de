//! What the record log must hold, according to the audit log.
//!
//! [`RecordLedger`] is fed the opened entries in the order of the tree and keeps, for
//! every row version that was committed, the ciphertext's hash and position; purges,
//! restores and reseals are taken into account. [`Expected`] is then held against the
//! record log (invariant 6). 64 bytes a committed row version.
//!
//! What counts: an `Intent` announces, its `Outcome` commits or not (of an intent with
//! action `reseal`, the new hash takes the old one's place); a successful `Purge` names
//! rows (with a version: that one; without: all of the row so far); a successful
//! `Restore` names in `seqs` the positions of the record log that it gave up.
//!
//! A write of version 0 is a blob (an attachment beside the record log): it has that one
//! version, no position of its own, and is given up with the records of its intent.

use std::collections::{HashMap, HashSet};
use std::fmt;

use phial_base::{RowId, Seq, Version};

use crate::entry::{Entry, EventKind, IntentId, OutcomeCode, Write};

#[derive(Clone, Copy)]
struct Item {
    row: [u8; 16],
    hash: [u8; 32],
    /// 0: not said.
    seq: u64,
    version: u32,
    /// Counts the entries fed, so that "before the purge" can be told.
    order: u32,
}

/// Writes of open intents, by row and version.
type Announced = HashMap<([u8; 16], u32), Vec<([u8; 32], IntentId)>>;

struct Purged {
    row: [u8; 16],
    /// 0: all.
    version: u32,
    order: u32,
}

struct GivenUp {
    from: u64,
    to: u64,
    order: u32,
}

/// A difference between the record log and what the audit log announced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerFinding {
    /// A record is gone with all its versions.
    Missing {
        /// The row.
        row: RowId,
        /// Its latest committed version.
        latest: Version,
    },
    /// A version of a record is gone, later ones are there.
    VersionMissing {
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
    },
    /// The latest committed versions of a record are gone: an older state is shown.
    RolledBack {
        /// The row.
        row: RowId,
        /// The latest committed version.
        committed: Version,
        /// The latest version there.
        found: Version,
    },
    /// The sealed bytes are not the ones announced.
    Altered {
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
    },
    /// The row stands at another position than the one at which it was committed.
    Moved {
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
        /// The position committed.
        committed: Seq,
        /// The position found.
        found: Seq,
    },
    /// A row that no committed or open intent announced.
    NotAnnounced {
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
    },
    /// A row that was purged is there.
    Purged {
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
    },
    /// A row version occurs twice.
    Repeated {
        /// The row.
        row: RowId,
        /// The version.
        version: Version,
    },
    /// An intent was never closed. Ordinary right after a crash; recovery closes it.
    IntentOpen {
        /// The intent.
        intent: IntentId,
        /// How many rows it announced.
        writes: usize,
        /// How many of them are there as announced.
        present: usize,
    },
    /// A committed outcome whose intent is not in the log.
    OutcomeWithoutIntent {
        /// The intent.
        intent: IntentId,
    },
}

impl fmt::Display for LedgerFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerFinding::Missing { row, latest: Version(0) } => {
                write!(f, "attachment {row} is missing")
            }
            LedgerFinding::Altered { row, version: Version(0) } => {
                write!(f, "attachment {row} was altered")
            }
            LedgerFinding::NotAnnounced { row, version: Version(0) } => {
                write!(f, "attachment {row} was never announced")
            }
            LedgerFinding::Purged { row, version: Version(0) } => {
                write!(f, "attachment {row} was purged and is there")
            }
            LedgerFinding::Missing { row, latest } => {
                write!(f, "record {row} is missing, its last version was {latest}")
            }
            LedgerFinding::VersionMissing { row, version } => {
                write!(f, "version {version} of record {row} is missing")
            }
            LedgerFinding::RolledBack { row, committed, found } => {
                write!(f, "record {row} was rolled back from version {committed} to {found}")
            }
            LedgerFinding::Altered { row, version } => {
                write!(f, "version {version} of record {row} was altered")
            }
            LedgerFinding::Moved { row, version, committed, found } => {
                write!(f, "version {version} of record {row} moved from {committed} to {found}")
            }
            LedgerFinding::NotAnnounced { row, version } => {
                write!(f, "version {version} of record {row} was never announced")
            }
            LedgerFinding::Purged { row, version } => {
                write!(f, "version {version} of record {row} was purged and is there")
            }
            LedgerFinding::Repeated { row, version } => {
                write!(f, "version {version} of record {row} occurs again")
            }
            LedgerFinding::IntentOpen { intent, writes, present } => {
                let intent = hex::encode(intent);
                write!(f, "intent {intent} is open: {present} of {writes} rows are there")
            }
            LedgerFinding::OutcomeWithoutIntent { intent } => {
                write!(f, "outcome of an intent that was never announced: {}", hex::encode(intent))
            }
        }
    }
}

impl LedgerFinding {
    /// Whether it speaks of a blob, not of a record.
    #[must_use]
    pub fn is_of_blob(&self) -> bool {
        match self {
            LedgerFinding::Missing { latest: version, .. }
            | LedgerFinding::Altered { version, .. }
            | LedgerFinding::NotAnnounced { version, .. }
            | LedgerFinding::Repeated { version, .. }
            | LedgerFinding::Purged { version, .. } => *version == Version(0),
            _ => false,
        }
    }
}

/// Collects what the audit log says about the record log.
#[derive(Default)]
pub struct RecordLedger {
    items: Vec<Item>,
    open: HashMap<IntentId, Vec<Write>>,
    /// The first half of each closed intent's random id.
    closed: HashSet<u64>,
    purged: Vec<Purged>,
    given_up: Vec<GivenUp>,
    findings: Vec<LedgerFinding>,
    order: u32,
}

fn half(intent: &IntentId) -> u64 {
    intent.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

impl RecordLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next opened entry; those that say nothing about records are passed over.
    pub fn feed(&mut self, entry: &Entry) {
        self.order = self.order.saturating_add(1);
        let order = self.order;
        match (entry.kind, entry.intent) {
            (EventKind::Intent, Some(intent)) => {
                self.open.entry(intent).or_default().extend_from_slice(&entry.writes);
            }
            (EventKind::Outcome, Some(intent)) => self.close(intent, entry),
            (EventKind::Purge, _) if entry.outcome == OutcomeCode::Success => {
                self.purged.extend(entry.what.iter().map(|t| Purged {
                    row: t.row.0,
                    version: t.version.map_or(0, |v| v.0),
                    order,
                }));
            }
            (EventKind::Restore, _) if entry.outcome == OutcomeCode::Success => {
                self.given_up.extend(entry.seqs.map(|s| GivenUp {
                    from: s.first.0,
                    to: s.first.0.saturating_add(u64::from(s.count)),
                    order,
                }));
            }
            _ => {}
        }
    }

    fn close(&mut self, intent: IntentId, outcome: &Entry) {
        let committed = outcome.committed == Some(true);
        let Some(writes) = self.open.remove(&intent) else {
            // A second outcome, by a recovery that lost a race, says nothing new.
            if committed && !self.closed.contains(&half(&intent)) {
                self.findings.push(LedgerFinding::OutcomeWithoutIntent { intent });
            }
            return;
        };
        self.closed.insert(half(&intent));
        if !committed {
            return;
        }
        let first = outcome.seqs.map(|s| s.first.0);
        let mut records: u64 = 0;
        for w in &writes {
            // A blob follows its record and goes where that goes.
            if w.version != Version(0) {
                records += 1;
            }
            let seq = first.map_or(0, |f| f + u64::max(records, 1) - 1);
            self.items.push(Item {
                row: w.row.0,
                hash: w.hash,
                seq,
                version: w.version.0,
                order: self.order,
            });
        }
    }

    /// How many intents are open.
    #[must_use]
    pub fn open_intents(&self) -> usize {
        self.open.len()
    }

    /// The open intents and what they announced: what recovery has to close.
    pub fn open(&self) -> impl Iterator<Item = (&IntentId, &[Write])> {
        self.open.iter().map(|(id, writes)| (id, writes.as_slice()))
    }

    /// Ends the feeding.
    #[must_use]
    pub fn settle(self) -> Expected {
        let RecordLedger { mut items, open, mut purged, given_up, findings, .. } = self;
        // A reseal leaves a version where it stands and need not say where that is.
        items.sort_unstable_by_key(|i| (i.row, i.version, i.order));
        let mut before: Option<Item> = None;
        for item in &mut items {
            if let Some(b) = before.filter(|b| (b.row, b.version) == (item.row, item.version))
                && item.seq == 0
            {
                item.seq = b.seq;
            }
            before = Some(*item);
        }
        purged.sort_by_key(|p| (p.row, p.order));
        let gone = |i: &Item| {
            let restored =
                |g: &GivenUp| g.order > i.order && i.seq != 0 && (g.from..g.to).contains(&i.seq);
            given_up.iter().any(restored)
                || of_row(&purged, &i.row)
                    .any(|p| p.order > i.order && (p.version == 0 || p.version == i.version))
        };
        items.retain(|i| !gone(i));
        // Of several commits of one version (reseals) the last counts.
        items.sort_unstable_by_key(|i| (i.row, i.version, std::cmp::Reverse(i.order)));
        items.dedup_by_key(|i| (i.row, i.version));
        items.shrink_to_fit();
        let mut announced = Announced::new();
        let mut intents = HashMap::new();
        for (intent, writes) in open {
            intents.insert(intent, (writes.len(), 0));
            for w in writes {
                announced.entry((w.row.0, w.version.0)).or_default().push((w.hash, intent));
            }
        }
        let seen = vec![0; items.len().div_ceil(64)];
        Expected { items, seen, announced, intents, purged, findings }
    }
}

fn of_row<'p>(purged: &'p [Purged], row: &'p [u8; 16]) -> impl Iterator<Item = &'p Purged> {
    let from = purged.partition_point(|p| p.row < *row);
    purged.iter().skip(from).take_while(move |p| p.row == *row)
}

/// What the record log must hold. Feed it every row there is, in any order.
pub struct Expected {
    items: Vec<Item>,
    seen: Vec<u64>,
    /// Writes of open intents.
    announced: Announced,
    /// Open intents: how many rows announced, how many present.
    intents: HashMap<IntentId, (usize, usize)>,
    purged: Vec<Purged>,
    findings: Vec<LedgerFinding>,
}

impl Expected {
    /// How many row versions must be there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing must be there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn mark(&mut self, at: usize) -> bool {
        let bit = 1 << (at % 64);
        self.seen.get_mut(at / 64).is_some_and(|word| {
            let before = *word & bit != 0;
            *word |= bit;
            before
        })
    }

    fn is_seen(&self, at: usize) -> bool {
        self.seen.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Holds a row of the record log against what was announced; `hash` is the SHA-256 of
    /// its sealed bytes.
    pub fn check(&mut self, row: RowId, version: Version, seq: Seq, hash: &[u8; 32]) {
        let open = self.announced.get(&(row.0, version.0));
        let open = open.and_then(|all| all.iter().find(|(h, _)| h == hash)).map(|(_, i)| *i);
        if let Some((_, present)) = open.and_then(|i| self.intents.get_mut(&i)) {
            *present += 1;
        }
        match self.items.binary_search_by_key(&(row.0, version.0), |i| (i.row, i.version)) {
            Ok(at) => {
                if self.mark(at) {
                    self.findings.push(LedgerFinding::Repeated { row, version });
                    return;
                }
                let Some(item) = self.items.get(at) else { return };
                // An open reseal may have put the new bytes there already.
                if item.hash != *hash && open.is_none() {
                    self.findings.push(LedgerFinding::Altered { row, version });
                } else if version != Version(0)
                    && item.seq != 0
                    && item.seq != seq.0
                    && open.is_none()
                {
                    let committed = Seq(item.seq);
                    let found = seq;
                    self.findings.push(LedgerFinding::Moved { row, version, committed, found });
                }
            }
            Err(_) if open.is_some() => {}
            Err(_) => {
                let purged =
                    of_row(&self.purged, &row.0).any(|p| p.version == 0 || p.version == version.0);
                self.findings.push(if self.announced.contains_key(&(row.0, version.0)) {
                    LedgerFinding::Altered { row, version }
                } else if purged {
                    LedgerFinding::Purged { row, version }
                } else {
                    LedgerFinding::NotAnnounced { row, version }
                });
            }
        }
    }

    /// Ends the comparison: everything that was not seen is missing.
    #[must_use]
    pub fn finish(mut self) -> Vec<LedgerFinding> {
        let mut findings = std::mem::take(&mut self.findings);
        let mut at = 0;
        for versions in self.items.chunk_by(|a, b| a.row == b.row) {
            let start = at;
            at += versions.len();
            let Some(last) = versions.last() else { continue };
            let (row, latest) = (RowId(last.row), Version(last.version));
            let found = (0..versions.len()).rev().find(|i| self.is_seen(start + i));
            let Some(found) = found else {
                findings.push(LedgerFinding::Missing { row, latest });
                continue;
            };
            if found + 1 < versions.len() {
                let shown = versions.get(found).map_or(0, |i| i.version);
                findings.push(LedgerFinding::RolledBack {
                    row,
                    committed: latest,
                    found: Version(shown),
                });
            }
            for (i, item) in versions.iter().enumerate().take(found) {
                if !self.is_seen(start + i) {
                    let version = Version(item.version);
                    findings.push(LedgerFinding::VersionMissing { row, version });
                }
            }
        }
        let mut intents: Vec<_> = self.intents.into_iter().collect();
        intents.sort_unstable();
        findings.extend(intents.into_iter().map(|(intent, (writes, present))| {
            LedgerFinding::IntentOpen { intent, writes, present }
        }));
        findings
    }
}
