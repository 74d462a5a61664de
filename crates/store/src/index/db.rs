//! The index's file: opening it under its page key, its schema, and the pool of
//! reading connections. Refuses a file that this key, this format or this run of the
//! operating system did not write.

use std::collections::HashMap;
use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use phial_base::step::Step;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use zeroize::Zeroizing;

use crate::durable;
use crate::error::Error;
use crate::open::{Growing, Options, set_cache};

/// Raised whenever the meaning of a row changes; another number is a rebuild.
const FORMAT: i64 = 8;

/// Chosen by measurement: half the depth of 4,096, and a page still decrypts in
/// about ten microseconds.
const PAGE_SIZE: u32 = 8192;

pub(super) const SCHEMA: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE res(num INTEGER PRIMARY KEY, key BLOB NOT NULL, cur INTEGER NOT NULL);
CREATE TABLE res_hash(hash INTEGER NOT NULL, num INTEGER NOT NULL, PRIMARY KEY(hash, num))
  WITHOUT ROWID;
CREATE TABLE res_hash_young(hash INTEGER NOT NULL, num INTEGER NOT NULL, PRIMARY KEY(hash, num))
  WITHOUT ROWID;
CREATE TABLE system(num INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE);
CREATE TABLE term(num INTEGER PRIMARY KEY, code BLOB NOT NULL);
CREATE TABLE term_hash(hash INTEGER NOT NULL, num INTEGER NOT NULL, PRIMARY KEY(hash, num))
  WITHOUT ROWID;
CREATE TABLE term_hash_young(hash INTEGER NOT NULL, num INTEGER NOT NULL, PRIMARY KEY(hash, num))
  WITHOUT ROWID;
CREATE TABLE pcode(num INTEGER PRIMARY KEY, key BLOB NOT NULL);
CREATE TABLE tag(num INTEGER PRIMARY KEY, ty INTEGER NOT NULL, labels INTEGER NOT NULL,
  about INTEGER NOT NULL, span INTEGER NOT NULL, own INTEGER NOT NULL, facet INTEGER NOT NULL);
CREATE TABLE facet(num INTEGER PRIMARY KEY, ty INTEGER NOT NULL, codes BLOB NOT NULL,
  versions INTEGER NOT NULL);
CREATE TABLE unit(num INTEGER PRIMARY KEY, code TEXT NOT NULL);
CREATE TABLE pset(num INTEGER NOT NULL, patient INTEGER NOT NULL, PRIMARY KEY(num, patient))
  WITHOUT ROWID;
CREATE INDEX pset_patient ON pset(patient);
CREATE TABLE version(vid INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE era(num INTEGER PRIMARY KEY, earliest INTEGER NOT NULL, latest INTEGER NOT NULL);
CREATE TABLE gone(vid INTEGER PRIMARY KEY, until INTEGER NOT NULL, since INTEGER NOT NULL);
CREATE TABLE list(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE str(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE dat(k BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE dat_young(k BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE line(k BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE line_young(k BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE tagged(tag INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE tally(k BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE num(k BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE num_young(k BLOB PRIMARY KEY) WITHOUT ROWID;
";

/// The number of a version: its type above, its place in the log below, so that the
/// versions of a type lie together in the order of the log.
pub(super) const fn vid(ty: u8, seq: i64) -> i64 {
    ((ty as i64) << 40) | seq
}

/// The place in the log of a version.
pub(super) const fn seq_of(vid: i64) -> i64 {
    vid & ((1 << 40) - 1)
}

/// The type number of a version.
pub(super) fn type_of(vid: i64) -> u8 {
    u8::try_from(vid >> 40).unwrap_or(u8::MAX)
}

fn open_keyed(
    path: &Path,
    hex: &str,
    opts: &Options,
    flags: OpenFlags,
    cache_kib: u32,
) -> Result<Connection, Error> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match &opts.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    // Without the cipher the file would be written in clear: refuse before anything is.
    let cipher: Option<String> =
        conn.query_row("PRAGMA cipher_version", [], |r| r.get(0)).optional()?;
    if cipher.is_none_or(|v| v.is_empty()) {
        return Err(Error::Invalid("this build has no page encryption"));
    }
    conn.busy_timeout(opts.busy_timeout.unwrap_or(Duration::from_secs(5)))?;
    // A file that does not open is rebuilt and told of by us; SQLCipher need not print.
    conn.query_row("PRAGMA cipher_log_level=NONE", [], |_| Ok(())).optional()?;
    let text = Zeroizing::new(format!("PRAGMA key = \"x'{hex}'\""));
    conn.execute_batch(&text)?;
    // A raw key: no key derivation. SHA-256 runs in hardware where SHA-512 does not.
    conn.execute_batch(&format!(
        "PRAGMA cipher_page_size={PAGE_SIZE}; PRAGMA cipher_memory_security=OFF; \
         PRAGMA cipher_hmac_algorithm=HMAC_SHA256; PRAGMA temp_store=MEMORY; \
         PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
    ))?;
    set_cache(&conn, cache_kib)?;
    conn.set_prepared_statement_cache_capacity(96);
    Ok(conn)
}

/// Opens the file for writing, makes it when it is new, and marks it as open.
pub(super) fn open_writer(
    path: &Path,
    hex: &str,
    opts: &Options,
    cache_kib: u32,
) -> Result<Connection, Error> {
    if let Some(dir) = path.parent() {
        durable::make_dir(dir)?;
    }
    durable::make_file(Step::IndexOpen, path)?;
    let mut conn = open_keyed(path, hex, opts, OpenFlags::SQLITE_OPEN_READ_WRITE, cache_kib)?;
    // The first read fails here when the key is another.
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    let _: String = durable::execute(Step::IndexOpen, &conn, || {
        Ok(conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0))?)
    })?;
    conn.execute_batch(
        "PRAGMA synchronous=OFF; PRAGMA secure_delete=ON; PRAGMA wal_autocheckpoint=2000; \
         PRAGMA journal_size_limit=67108864;",
    )?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if tables == 0 {
        tx.execute_batch(SCHEMA)?;
        put_meta(&tx, "format", FORMAT)?;
        put_meta(&tx, "applied", 0)?;
    } else if meta(&tx, "format")? != Some(FORMAT) {
        return Err(Error::Unusable);
    }
    // Nothing here is synced. After a power failure pages of different ages may lie
    // side by side, each valid by itself: only a clean close or the same boot is trusted.
    let boot = boot_id();
    let open: Option<String> =
        tx.query_row("SELECT value FROM meta WHERE name='open'", [], |r| r.get(0)).optional()?;
    if open.is_some_and(|was| was.is_empty() || was != boot) {
        return Err(Error::Unusable);
    }
    tx.execute("INSERT OR REPLACE INTO meta VALUES('open', ?1)", [&boot])?;
    durable::commit(Step::IndexOpen, tx)?;
    Ok(conn)
}

/// Says that the file is whole, and makes it so. Called once nothing else has it open.
pub(super) fn close_clean(conn: &Connection) -> Result<(), Error> {
    durable::execute(Step::IndexClose, conn, || {
        conn.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_checkpoint(TRUNCATE);")?;
        conn.execute("DELETE FROM meta WHERE name='open'", [])?;
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
        Ok(())
    })
}

/// What distinguishes this run of the operating system; empty when it can't be told.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

fn meta(conn: &Connection, name: &str) -> Result<Option<i64>, Error> {
    Ok(conn.query_row("SELECT value FROM meta WHERE name=?1", [name], |r| r.get(0)).optional()?)
}

fn put_meta(tx: &Transaction<'_>, name: &str, value: i64) -> Result<(), Error> {
    tx.prepare_cached("INSERT OR REPLACE INTO meta VALUES(?1, ?2)")?
        .execute(rusqlite::params![name, value])?;
    Ok(())
}

/// The last applied place of the log.
pub(super) fn applied(conn: &Connection) -> Result<u64, Error> {
    let at = meta(conn, "applied")?.ok_or(Error::Unusable)?;
    u64::try_from(at).map_err(|_| Error::Unusable)
}

pub(super) fn put_applied(tx: &Transaction<'_>, seq: i64) -> Result<(), Error> {
    put_meta(tx, "applied", seq)
}

/// Superseded versions that are still kept.
pub(super) fn load_gone(conn: &Connection) -> Result<HashMap<i64, i64>, Error> {
    let mut stmt = conn.prepare("SELECT vid, until FROM gone")?;
    let rows = stmt.query_map([], |r| Ok((seq_of(r.get(0)?), r.get::<_, i64>(1)?)))?;
    rows.collect::<Result<_, _>>().map_err(Error::from)
}

/// A fixed number of reading connections, lent one at a time: always the first one that is
/// there, so that few caches hold what is asked for often.
pub(super) struct Pool {
    /// Those that are not lent, the first one last.
    idle: Mutex<Vec<Pooled>>,
    returned: Condvar,
    /// How many there are, at least one.
    readers: u32,
    /// The cache of all of them together.
    cache: Growing,
    /// The same, for the file as it is now, KiB.
    cache_kib: AtomicU32,
}

/// A connection of the pool.
struct Pooled {
    /// The lowest of those that are there is lent.
    place: u32,
    conn: Connection,
    cache_kib: u32,
}

/// A lent connection.
pub(super) struct Reader<'p> {
    pool: &'p Pool,
    lent: Option<Pooled>,
}

/// What the last reader, which only a crowd needs, has of another's share.
const LAST: u32 = 4;

impl Pool {
    pub(super) fn open(
        path: &Path,
        hex: &str,
        opts: &Options,
        readers: usize,
        cache: Growing,
    ) -> Result<Self, Error> {
        let readers = u32::try_from(readers).unwrap_or(u32::MAX).max(1);
        let pool = Pool {
            idle: Mutex::default(),
            returned: Condvar::new(),
            readers,
            cache,
            cache_kib: AtomicU32::new(cache.kib(fs::metadata(path)?.len())),
        };
        let mut idle = Vec::new();
        for place in (0..readers).rev() {
            // Not read-only: a reader may have to make the write-ahead log's shared memory.
            let cache_kib = pool.share(place);
            let conn = open_keyed(path, hex, opts, OpenFlags::SQLITE_OPEN_READ_WRITE, cache_kib)?;
            conn.execute_batch("PRAGMA query_only=ON;")?;
            let _: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
            idle.push(Pooled { place, conn, cache_kib });
        }
        *pool.idle.lock().unwrap_or_else(PoisonError::into_inner) = idle;
        Ok(pool)
    }

    /// Lets the caches grow with the file, which has so many bytes.
    pub(super) fn fit(&self, bytes: u64) {
        self.cache_kib.store(self.cache.kib(bytes), Ordering::Relaxed);
    }

    /// The cache of the connection in a place, KiB.
    fn share(&self, place: u32) -> u32 {
        let all = self.cache_kib.load(Ordering::Relaxed);
        let others = self.readers - 1;
        if others == 0 {
            return all;
        }
        // Shares of the others, of which each is `LAST` parts, and the one part.
        let part = all / (others.saturating_mul(LAST) + 1);
        if place == others { part } else { part * LAST }
    }

    /// Waits for a connection and starts a read transaction on it: everything read
    /// until it is given back is of one snapshot.
    pub(super) fn reader(&self) -> Result<Reader<'_>, Error> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lent = loop {
            match idle.pop() {
                Some(lent) => break lent,
                None => {
                    idle = self.returned.wait(idle).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(idle);
        let cache_kib = self.share(lent.place);
        let fits = std::mem::replace(&mut lent.cache_kib, cache_kib) == cache_kib;
        let reader = Reader { pool: self, lent: Some(lent) };
        if !fits {
            set_cache(&reader, cache_kib)?;
        }
        reader.prepare_cached("BEGIN")?.execute([])?;
        Ok(reader)
    }

    /// Closes the connections that are not lent.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;
    #[expect(clippy::expect_used, reason = "what is lent is taken only by drop")]
    fn deref(&self) -> &Connection {
        &self.lent.as_ref().expect("held until drop").conn
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            let conn = &lent.conn;
            // A failed end leaves the transaction open; the next BEGIN would fail, and
            // the search with it, so roll back by the other way.
            if conn.prepare_cached("COMMIT").and_then(|mut s| s.execute([])).is_err()
                && !conn.is_autocommit()
            {
                drop(conn.execute_batch("ROLLBACK"));
            }
            let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let at = idle.partition_point(|other| other.place > lent.place);
            idle.insert(at, lent);
            drop(idle);
            self.pool.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn the_first_reader_that_is_there_is_lent_and_its_cache_grows_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, opts) = (dir.path().join("gen-1.db"), Options::default());
        let hex = "07".repeat(32);
        let _writer = open_writer(&path, &hex, &opts, 1024).unwrap();
        let cache = |least_kib| Growing { least_kib, times: 2, part: 8 };
        let pool = Pool::open(&path, &hex, &opts, 3, cache(9 * 1024)).unwrap();
        let size = |r: &Reader<'_>| -> i64 {
            r.query_row("PRAGMA cache_size", [], |row| row.get(0)).unwrap()
        };
        let place = |r: &Reader<'_>| r.lent.as_ref().unwrap().place;
        let (a, b, c) = (pool.reader().unwrap(), pool.reader().unwrap(), pool.reader().unwrap());
        assert_eq!([&a, &b, &c].map(place), [0, 1, 2]);
        assert_eq!([&a, &b, &c].map(size), [-4096, -4096, -1024]);
        drop(b);
        drop(c);
        drop(a);
        for (bytes, kib) in [(108 * MIB, 6144), (1 << 40, 8192), (0, 4096)] {
            pool.fit(bytes);
            let first = pool.reader().unwrap();
            assert_eq!((place(&first), size(&first)), (0, -kib), "{bytes}");
        }
        let one = Pool::open(&path, &hex, &opts, 1, cache(512)).unwrap();
        assert_eq!(size(&one.reader().unwrap()), -512);
    }
}
