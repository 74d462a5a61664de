//! The audit log's tables and the reading of them.
//!
//! | table | one row is |
//! |---|---|
//! | `batch` | consecutive entries of one node, committed together |
//! | `tree` | the frontier of the Merkle tree as it was lately; always one row |
//! | `node` | a process that wrote: its random id, its last number and leaf hash at that time |
//! | `checkpoint` | a signed note |
//! | `open_intent` | an entry of an intent whose outcome is not written yet |
//!
//! `batch.entries` holds `count` sealed entries, each behind its length (u16,
//! big-endian). Entry i of a batch has tree index `first + i` and number
//! `number + i`; `prev` is the leaf hash before the first, the others follow from it.
//! So each entry is found by its index, and none can be dropped, altered or moved
//! without the chain and the tree showing it.
//!
//! `node`, `tree` and `open_intent` are what the appender needs to remember; all of
//! it follows from `batch`, and verification compares the two. `node` and `tree` are
//! written together with each checkpoint, or after [`UNSTORED`] entries, not with each
//! batch: whoever reads them goes on from there through the batches that came since
//! ([`tail`]).

use std::collections::BTreeMap;

use phial_audit::chain::{NodeChain, StoredRef};
use phial_audit::tree::{Frontier, Hash};
use phial_audit::{IntentId, NodeId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Error;
use crate::open::Schema;

pub(crate) const SCHEMA: Schema = Schema {
    store: "audit",
    page_size: 8192,
    migrations: &["CREATE TABLE node(
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE CHECK(length(name) = 16),
        number INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK(length(hash) = 32)
    );
    CREATE TABLE batch(
        first INTEGER PRIMARY KEY,
        count INTEGER NOT NULL CHECK(count > 0),
        node INTEGER NOT NULL REFERENCES node(id),
        number INTEGER NOT NULL CHECK(number > 0),
        prev BLOB NOT NULL CHECK(length(prev) = 32),
        entries BLOB NOT NULL
    );
    CREATE TABLE tree(
        id INTEGER PRIMARY KEY CHECK(id = 1),
        frontier BLOB NOT NULL
    );
    CREATE TABLE checkpoint(
        size INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        note TEXT NOT NULL
    );
    CREATE TABLE open_intent(
        intent BLOB NOT NULL CHECK(length(intent) = 16),
        entry INTEGER NOT NULL,
        PRIMARY KEY(intent, entry)
    ) WITHOUT ROWID;"],
};

/// Checkpoints kept whatever their age; of older ones one an hour is.
const RECENT: u32 = 256;
const HOUR_US: i64 = 3_600_000_000;

/// The end of the log is stored after so many entries at the latest: that many are read
/// again at the next start.
const UNSTORED: u64 = 8192;

fn int(n: u64) -> Result<i64, Error> {
    i64::try_from(n).map_err(|_| Error::Invalid("a number too large for the audit log"))
}

fn unsigned(n: i64) -> Result<u64, Error> {
    u64::try_from(n).map_err(|_| Error::Corrupt("a number in the audit log"))
}

/// How many batches there are: each was one durable commit.
pub(super) fn commits(db: &Connection) -> Result<u64, Error> {
    let n = db.prepare_cached("SELECT count(*) FROM batch")?.query_row([], |r| r.get(0))?;
    unsigned(n)
}

/// Where the log ends: what the next entry continues.
pub(crate) struct Tail {
    /// The tree over all entries.
    pub(crate) frontier: Frontier,
    /// The ends of all nodes' chains.
    chains: BTreeMap<NodeId, Chain>,
    /// The size of the tree that is stored; `None` in a new log.
    stored: Option<u64>,
}

struct Chain {
    /// The node's row.
    row: i64,
    end: NodeChain,
    /// Whether its end is stored.
    stored: bool,
}

impl Tail {
    /// The end of a node's chain and the node's row, which is made when it is new.
    pub(super) fn chain(
        &mut self,
        db: &Connection,
        node: &NodeId,
    ) -> Result<(i64, NodeChain), Error> {
        if let Some(chain) = self.chains.get(node) {
            return Ok((chain.row, chain.end));
        }
        let end = NodeChain::new(*node);
        db.prepare_cached("INSERT INTO node(name, number, hash) VALUES(?1, 0, ?2)")?
            .execute(params![node, end.hash])?;
        let row = db.last_insert_rowid();
        self.chains.insert(*node, Chain { row, end, stored: true });
        Ok((row, end))
    }

    /// Goes on by entries of one node.
    pub(super) fn advance(&mut self, frontier: Frontier, end: NodeChain) {
        self.frontier = frontier;
        if let Some(chain) = self.chains.get_mut(&end.node) {
            (chain.end, chain.stored) = (end, false);
        }
    }

    /// Whether so much came since the last time that it had better be stored.
    pub(super) fn is_due(&self) -> bool {
        self.stored.is_none_or(|at| self.frontier.size().saturating_sub(at) >= UNSTORED)
    }

    /// Stores it, if it is not.
    pub(super) fn store(&mut self, db: &Connection) -> Result<(), Error> {
        if self.stored == Some(self.frontier.size()) {
            return Ok(());
        }
        let mut s = db.prepare_cached("UPDATE node SET number = ?2, hash = ?3 WHERE id = ?1")?;
        for chain in self.chains.values_mut().filter(|c| !c.stored) {
            s.execute(params![chain.row, int(chain.end.number)?, chain.end.hash])?;
            chain.stored = true;
        }
        db.prepare_cached("INSERT OR REPLACE INTO tree VALUES(1, ?1)")?
            .execute([self.frontier.encode()])?;
        self.stored = Some(self.frontier.size());
        Ok(())
    }

    /// The ends of the chains, ordered by node.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &NodeChain> {
        self.chains.values().map(|c| &c.end)
    }
}

/// The number of entries in the batches.
pub(super) fn size(db: &Connection) -> Result<u64, Error> {
    let size: Option<i64> = db
        .prepare_cached("SELECT first + count FROM batch ORDER BY first DESC LIMIT 1")?
        .query_row([], |r| r.get(0))
        .optional()?;
    size.map_or(Ok(0), unsigned)
}

/// Reads where the log ends: what is stored, and the batches that came since.
///
/// # Errors
/// [`Error::Corrupt`] when what is stored is missing or older than the checkpoint with
/// which it was written, and as SQLite answers.
pub(crate) fn tail(db: &Connection) -> Result<Tail, Error> {
    let bytes: Option<Vec<u8>> = db
        .prepare_cached("SELECT frontier FROM tree WHERE id = 1")?
        .query_row([], |r| r.get(0))
        .optional()?;
    let mut chains = BTreeMap::new();
    let mut statement = db.prepare_cached("SELECT id, name, number, hash FROM node")?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        let node: NodeId = r.get(1)?;
        let end = NodeChain::resume(node, unsigned(r.get(2)?)?, r.get(3)?);
        chains.insert(node, Chain { row: r.get(0)?, end, stored: true });
    }
    let Some(bytes) = bytes else {
        if size(db)? > 0 {
            return Err(Error::Corrupt("the audit tree is missing"));
        }
        return Ok(Tail { frontier: Frontier::new(), chains, stored: None });
    };
    let mut frontier =
        Frontier::decode(&bytes).map_err(|_| Error::Corrupt("the audit tree's frontier"))?;
    let stored = frontier.size();
    if stored < checkpointed_size(db)? {
        return Err(Error::Corrupt("the audit tree is older than its checkpoint"));
    }
    each(db, stored, &mut |_, entry| {
        let leaf = entry.leaf_hash();
        frontier.push(leaf);
        let chain = chains
            .get_mut(entry.node)
            .ok_or(Error::Corrupt("a node of the audit log is missing"))?;
        chain.end = NodeChain::resume(*entry.node, entry.number, leaf);
        chain.stored = false;
        Ok(true)
    })?;
    Ok(Tail { frontier, chains, stored: Some(stored) })
}

/// Entries about to be written, of one node.
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) number: u64,
    pub(super) prev: Hash,
    pub(super) entries: Vec<u8>,
}

/// Appends one sealed entry to the bytes of a batch.
pub(super) fn push_entry(out: &mut Vec<u8>, sealed: &[u8]) -> Result<(), Error> {
    let len =
        u16::try_from(sealed.len()).map_err(|_| Error::Invalid("an audit entry is too large"))?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(sealed);
    Ok(())
}

pub(super) fn write_batch(db: &Connection, node_row: i64, batch: &Batch) -> Result<(), Error> {
    db.prepare_cached("INSERT INTO batch VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        int(batch.first)?,
        int(batch.count)?,
        node_row,
        int(batch.number)?,
        batch.prev,
        batch.entries
    ])?;
    Ok(())
}

pub(super) fn intent_opened(db: &Connection, intent: &IntentId, index: u64) -> Result<(), Error> {
    db.prepare_cached("INSERT OR IGNORE INTO open_intent VALUES(?1, ?2)")?
        .execute(params![intent, int(index)?])?;
    Ok(())
}

pub(super) fn intent_closed(db: &Connection, intent: &IntentId) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM open_intent WHERE intent = ?1")?.execute([intent])?;
    Ok(())
}

pub(super) fn is_open(db: &Connection, intent: &IntentId) -> Result<bool, Error> {
    Ok(db
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM open_intent WHERE intent = ?1)")?
        .query_row([intent], |r| r.get(0))?)
}

/// Intents without outcome, oldest first, with the indexes of their entries.
pub(crate) fn open_intents(db: &Connection) -> Result<Vec<(IntentId, Vec<u64>)>, Error> {
    let mut statement =
        db.prepare_cached("SELECT entry, intent FROM open_intent ORDER BY entry")?;
    let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, IntentId>(1)?)))?;
    let mut first: BTreeMap<IntentId, Vec<u64>> = BTreeMap::new();
    for row in rows {
        let (entry, intent) = row?;
        first.entry(intent).or_default().push(unsigned(entry)?);
    }
    let mut all: Vec<_> = first.into_iter().collect();
    all.sort_by_key(|(_, entries)| entries.first().copied());
    Ok(all)
}

/// Calls `visit` with index and entry from `from` on, until it says `false`. What is
/// read is what the rows say; whether it is true the verifier decides.
pub(crate) fn each(
    db: &Connection,
    from: u64,
    visit: &mut dyn FnMut(u64, StoredRef<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let start: Option<i64> = db
        .prepare_cached("SELECT max(first) FROM batch WHERE first <= ?1")?
        .query_row([int(from)?], |r| r.get(0))?;
    let mut statement = db.prepare_cached(
        "SELECT b.first, b.count, n.name, b.number, b.prev, b.entries \
         FROM batch b LEFT JOIN node n ON n.id = b.node WHERE b.first >= ?1 ORDER BY b.first",
    )?;
    let mut rows = statement.query([start.unwrap_or(0)])?;
    while let Some(row) = rows.next()? {
        let first = unsigned(row.get(0)?)?;
        let count = unsigned(row.get(1)?)?;
        let node: NodeId = row
            .get::<_, Option<NodeId>>(2)?
            .ok_or(Error::Corrupt("a batch of the audit log has no node"))?;
        let number = unsigned(row.get(3)?)?;
        let mut prev: Hash = row.get(4)?;
        let mut rest =
            row.get_ref(5)?.as_blob().map_err(|_| Error::Corrupt("a batch of the audit log"))?;
        let mut done = 0;
        while done < count {
            let (len, after) = rest
                .split_first_chunk::<2>()
                .ok_or(Error::Corrupt("a batch of the audit log is too short"))?;
            let (bytes, after) = after
                .split_at_checked(usize::from(u16::from_be_bytes(*len)))
                .ok_or(Error::Corrupt("a batch of the audit log is too short"))?;
            rest = after;
            let (index, number) = (first.saturating_add(done), number.saturating_add(done));
            let stored = StoredRef { node: &node, number, prev: &prev, bytes };
            if index >= from && !visit(index, stored)? {
                return Ok(());
            }
            done += 1;
            if done < count {
                prev = stored.leaf_hash();
            }
        }
        if !rest.is_empty() {
            return Err(Error::Corrupt("a batch of the audit log is too long"));
        }
    }
    Ok(())
}

pub(super) fn latest_checkpoint(db: &Connection) -> Result<Option<String>, Error> {
    Ok(db
        .prepare_cached("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")?
        .query_row([], |r| r.get(0))
        .optional()?)
}

/// Size and note of every checkpoint kept, by size.
pub(crate) fn checkpoints(db: &Connection) -> Result<Vec<(u64, String)>, Error> {
    let mut statement = db.prepare_cached("SELECT size, note FROM checkpoint ORDER BY size")?;
    let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?)))?;
    rows.map(|r| r.map_err(Error::from).and_then(|(size, note)| Ok((unsigned(size)?, note))))
        .collect()
}

pub(super) fn has_checkpoint(db: &Connection, note: &str) -> Result<bool, Error> {
    Ok(db
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM checkpoint WHERE note = ?1)")?
        .query_row([note], |r| r.get(0))?)
}

pub(super) fn checkpointed_size(db: &Connection) -> Result<u64, Error> {
    let size: Option<i64> =
        db.prepare_cached("SELECT max(size) FROM checkpoint")?.query_row([], |r| r.get(0))?;
    size.map_or(Ok(0), unsigned)
}

/// The size of the last checkpoint that was signed by `at_us`: no entry below it is later.
pub(super) fn checkpointed_by(db: &Connection, at_us: i64) -> Result<u64, Error> {
    let size: Option<i64> = db
        .prepare_cached("SELECT max(size) FROM checkpoint WHERE at <= ?1")?
        .query_row([at_us], |r| r.get(0))?;
    size.map_or(Ok(0), unsigned)
}

/// The size of the first checkpoint that was signed after `at_us`.
pub(super) fn checkpointed_after(db: &Connection, at_us: i64) -> Result<Option<u64>, Error> {
    let size: Option<i64> = db
        .prepare_cached("SELECT min(size) FROM checkpoint WHERE at > ?1")?
        .query_row([at_us], |r| r.get(0))?;
    size.map(unsigned).transpose()
}

pub(super) fn write_checkpoint(
    db: &Connection,
    size: u64,
    at_us: i64,
    note: &str,
) -> Result<(), Error> {
    db.prepare_cached("INSERT OR IGNORE INTO checkpoint VALUES(?1, ?2, ?3)")?.execute(params![
        int(size)?,
        at_us,
        note
    ])?;
    // One goes as one comes, unless it is the first of its hour.
    db.prepare_cached(
        "DELETE FROM checkpoint WHERE size = \
           (SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1 OFFSET ?1) \
         AND EXISTS(SELECT 1 FROM checkpoint older \
           WHERE older.size < checkpoint.size AND older.at / ?2 = checkpoint.at / ?2)",
    )?
    .execute(params![RECENT, HOUR_US])?;
    Ok(())
}
