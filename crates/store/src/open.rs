//! Opening SQLite files: the one set of settings that every store uses, the
//! migrations, and the watch over the file under an open handle.
//!
//! Refuses a file of an unknown format, a file whose recorded migrations differ
//! from this program's, and any open that would make a file where one should be.
//!
//! Never open a database file by other means while a handle to it is open in the
//! same process: closing any descriptor of a file drops this process's POSIX locks
//! on it, SQLite's included. `stat` is harmless.

mod glance;

use std::cell::Cell;
use std::ffi::CString;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phial_base::step::Step;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

pub(crate) use self::glance::Glance;
use crate::blobs::Bucket;
use crate::durable;
use crate::error::{Error, Fault};

/// How files are opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of a registered SQLite VFS; `None` for the system's own. Tests inject
    /// faults through it.
    pub vfs: Option<String>,
    /// How long a writer waits for another process's transaction; 5 s when `None`.
    pub busy_timeout: Option<Duration>,
    /// Page cache of a writing connection in KiB; 4,096 when `None`. That of the record log
    /// grows with it.
    pub writer_cache_kib: Option<u32>,
    /// Page cache of a reading connection in KiB; 2,048 when `None`.
    pub reader_cache_kib: Option<u32>,
    /// Rows of the index that wait for their place, at most, give or take a batch: 65,536
    /// when `None`.
    pub rows_wait: Option<u32>,
    /// How long a look at whether a file is still in its place is good for, before work
    /// is done on it; `None`: not at all. After a commit it is looked at in any case.
    pub look_good_for: Option<Duration>,
    /// The bucket that holds attachments; a directory of the home when `None`.
    pub bucket: Option<Bucket>,
}

/// What a store's file must contain. Migration number i (from 1) leads to format
/// i; published migrations are never edited, only followed by others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// The store's name, recorded in the file.
    pub store: &'static str,
    /// Page size of a new file, bytes.
    pub page_size: u32,
    /// SQL of each migration.
    pub migrations: &'static [&'static str],
}

/// Device and inode of a file.
type FileId = (u64, u64);

/// The name of a file as the system takes it: it is asked for at every look.
fn name_of(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Unavailable(Fault::Missing))
}

/// A connection together with the identity of the files it was opened on.
#[derive(Debug)]
pub(crate) struct Db {
    conn: Connection,
    path: CString,
    wal_path: CString,
    main: FileId,
    wal: Option<FileId>,
    look_good_for: Option<Duration>,
    /// When the file was last seen in its place, and when with its write-ahead log.
    seen: Cell<Option<Instant>>,
    seen_whole: Cell<Option<Instant>>,
}

impl Deref for Db {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.conn
    }
}

impl DerefMut for Db {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.conn
    }
}

fn file_id(path: &CString) -> Result<FileId, Error> {
    match rustix::fs::stat(path.as_c_str()) {
        Ok(m) => Ok((m.st_dev, m.st_ino)),
        Err(rustix::io::Errno::NOENT) => Err(Error::Unavailable(Fault::Missing)),
        Err(e) => Err(Error::Unavailable(Fault::Io(e.raw_os_error()))),
    }
}

fn wal_path(path: &Path) -> Result<CString, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name_of(Path::new(&name))
}

impl Db {
    /// Checks that the path still leads to the file that this handle has open, or did a
    /// moment ago (see [`Options::look_good_for`]).
    pub(crate) fn check_main_present(&self) -> Result<(), Error> {
        self.lately(&self.seen, || self.is_main())
    }

    /// As [`Db::check_main_present`], and the same for the write-ahead log.
    pub(crate) fn check_present(&self) -> Result<(), Error> {
        self.lately(&self.seen_whole, || self.check_saved())
    }

    /// Checks that the path leads to this handle's file now, and that its write-ahead log
    /// is in place: a commit into an unlinked file would be acknowledged and lost.
    pub(crate) fn check_saved(&self) -> Result<(), Error> {
        self.is_main()?;
        if let Some(wal) = self.wal
            && file_id(&self.wal_path)? != wal
        {
            return Err(Error::Unavailable(Fault::Replaced));
        }
        Ok(())
    }

    fn is_main(&self) -> Result<(), Error> {
        if file_id(&self.path)? == self.main {
            Ok(())
        } else {
            Err(Error::Unavailable(Fault::Replaced))
        }
    }

    fn lately(
        &self,
        seen: &Cell<Option<Instant>>,
        look: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(good_for) = self.look_good_for else { return look() };
        let now = Instant::now();
        if seen.get().is_some_and(|at| now.duration_since(at) < good_for) {
            return Ok(());
        }
        look()?;
        seen.set(Some(now));
        Ok(())
    }

    /// What stands committed, as far as it can be seen without a transaction: two equal
    /// glances mean that no process committed between them, and that the path still
    /// leads to this handle's file. `None` when that can't be seen.
    pub(crate) fn glance(&self) -> Option<Glance> {
        self.check_main_present().ok()?;
        glance::glance(&self.conn)
    }
}

/// Page cache of a writing connection, KiB.
pub(crate) const CACHE_KIB: u32 = 4096;

/// A page cache that grows with its file: what is looked up at random is spread over more
/// pages, and a page that is not there is read, and decrypted, once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growing {
    /// In a small file, KiB.
    pub(crate) least_kib: u32,
    /// At most so many times that.
    pub(crate) times: u32,
    /// One byte for so many of the file.
    pub(crate) part: u64,
}

impl Growing {
    /// The cache for a file of so many bytes, KiB.
    pub(crate) fn kib(&self, bytes: u64) -> u32 {
        let kib = u32::try_from(bytes / self.part.max(1) / 1024).unwrap_or(u32::MAX);
        kib.clamp(self.least_kib, self.least_kib.saturating_mul(self.times.max(1)))
    }

    /// Lets the cache of a connection, which is `now` KiB, grow with its file, which has so
    /// many bytes.
    pub(crate) fn fit(&self, conn: &Connection, bytes: u64, now: &mut u32) -> Result<(), Error> {
        let wanted = self.kib(bytes);
        // Not for a little.
        if wanted.abs_diff(*now) > *now / 8 {
            set_cache(conn, wanted)?;
            *now = wanted;
        }
        Ok(())
    }
}

/// Sets the page cache of a connection, KiB.
pub(crate) fn set_cache(conn: &Connection, kib: u32) -> Result<(), Error> {
    Ok(conn.execute_batch(&format!("PRAGMA cache_size=-{kib};"))?)
}

/// Opens an existing file for reading and writing; every commit is synced before it
/// returns.
///
/// # Errors
/// [`Error::Unavailable`] when the file is missing or can't be opened,
/// [`Error::Corrupt`] when it is no database.
pub(crate) fn open_db(path: &Path, options: &Options) -> Result<Db, Error> {
    open_inner(path, options, false)
}

/// Opens an existing file for reading only.
///
/// # Errors
/// As [`open_db`].
pub(crate) fn open_read_only(path: &Path, options: &Options) -> Result<Db, Error> {
    open_inner(path, options, true)
}

fn connect(path: &Path, options: &Options, mode: OpenFlags) -> Result<Connection, Error> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    conn.busy_timeout(options.busy_timeout.unwrap_or(Duration::from_secs(5)))?;
    Ok(conn)
}

fn open_inner(path: &Path, options: &Options, read_only: bool) -> Result<Db, Error> {
    let (name, wal_path) = (name_of(path)?, wal_path(path)?);
    let main = file_id(&name)?;
    // An empty file was never a store. SQLite would take it for a new one and delete the
    // write-ahead log of the file whose place it took.
    if fs::metadata(path)?.len() == 0 {
        return Err(Error::Unavailable(Fault::Replaced));
    }
    let (mode, cache) = if read_only {
        (OpenFlags::SQLITE_OPEN_READ_ONLY, options.reader_cache_kib.unwrap_or(2048))
    } else {
        (OpenFlags::SQLITE_OPEN_READ_WRITE, options.writer_cache_kib.unwrap_or(CACHE_KIB))
    };
    let conn = connect(path, options, mode)?;
    // Nothing may reach a temporary file; a mapped page could change under our feet.
    conn.execute_batch(
        "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF; \
         PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON;",
    )?;
    set_cache(&conn, cache)?;
    conn.set_prepared_statement_cache_capacity(64);
    if !read_only {
        let mode: String = conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(Error::Unavailable(Fault::Permission));
        }
        conn.execute_batch(
            "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; \
             PRAGMA wal_autocheckpoint=2000; PRAGMA journal_size_limit=67108864;",
        )?;
    }
    // The first read makes SQLite open the write-ahead log, so that its identity is known.
    let _: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    let wal = file_id(&wal_path).ok();
    if file_id(&name)? != main {
        return Err(Error::Unavailable(Fault::Replaced));
    }
    Ok(Db {
        conn,
        path: name,
        wal_path,
        main,
        wal,
        look_good_for: options.look_good_for,
        seen: Cell::default(),
        seen_whole: Cell::default(),
    })
}

/// Makes a store's file (and its directory) and brings it to the newest format. An
/// existing file of the same store is opened.
pub(crate) fn create_store(path: &Path, options: &Options, schema: &Schema) -> Result<Db, Error> {
    if let Some(dir) = path.parent() {
        durable::make_dir(dir)?;
    }
    durable::make_file(Step::StoreFile, path)?;
    if fs::metadata(path)?.len() == 0 {
        // The page size is fixed by the first write, which is the change to WAL.
        let conn = connect(path, options, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        durable::execute(Step::StoreMode, &conn, || {
            conn.execute_batch(&format!("PRAGMA page_size={};", schema.page_size))?;
            let _: String = conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0))?;
            Ok(())
        })?;
    }
    let mut db = open_db(path, options)?;
    migrate(&mut db, schema, true)?;
    Ok(db)
}

/// Opens a store's existing file and brings it to the newest format. Never makes a
/// file: a store that vanished must not come back empty.
pub(crate) fn open_store(path: &Path, options: &Options, schema: &Schema) -> Result<Db, Error> {
    let mut db = open_db(path, options)?;
    migrate(&mut db, schema, false)?;
    Ok(db)
}

/// Checks the recorded format and migrations, then applies those that are missing,
/// all in one transaction.
pub(crate) fn migrate(db: &mut Db, schema: &Schema, may_be_new: bool) -> Result<(), Error> {
    let known = u32::try_from(schema.migrations.len()).unwrap_or(u32::MAX);
    let found = check_migrations(db, schema, known)?;
    if found == Some(known) {
        return Ok(());
    }
    if found.is_none() && !may_be_new {
        return Err(Error::Format { store: schema.store, found: 0, known });
    }
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let found = check_migrations(&tx, schema, known)?;
    if found.is_none() {
        tx.execute_batch("CREATE TABLE meta(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID")?;
        tx.execute("INSERT INTO meta VALUES('store', ?1)", [schema.store])?;
    }
    let done = usize::try_from(found.unwrap_or(0)).unwrap_or(0);
    for (i, sql) in schema.migrations.iter().enumerate().skip(done) {
        tx.execute_batch(sql)?;
        tx.execute(
            "INSERT INTO meta VALUES(?1, ?2)",
            rusqlite::params![format!("migration.{}", i + 1), checksum(sql)],
        )?;
    }
    tx.execute("INSERT OR REPLACE INTO meta VALUES('format', ?1)", [known])?;
    durable::commit(Step::StoreFormat, tx)
}

fn checksum(sql: &str) -> String {
    hex::encode(phial_crypto::sha256(sql.as_bytes()))
}

/// The format of the file; `None` for a new, empty one.
fn check_migrations(conn: &Connection, schema: &Schema, known: u32) -> Result<Option<u32>, Error> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    let refuse = |found| Error::Format { store: schema.store, found, known };
    let has_meta: bool = conn.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name='meta'",
        [],
        |r| r.get::<_, i64>(0).map(|n| n == 1),
    )?;
    if !has_meta {
        return Err(refuse(0));
    }
    let store: Option<String> =
        conn.query_row("SELECT value FROM meta WHERE name='store'", [], |r| r.get(0)).optional()?;
    let format: Option<u32> = conn
        .query_row("SELECT value FROM meta WHERE name='format'", [], |r| r.get(0))
        .optional()?;
    let found = format.unwrap_or(0);
    if store.as_deref() != Some(schema.store) || found == 0 || found > known {
        return Err(refuse(found));
    }
    for (i, sql) in schema.migrations.iter().enumerate().take(usize::try_from(found).unwrap_or(0)) {
        let recorded: Option<String> = conn
            .query_row(
                "SELECT value FROM meta WHERE name=?1",
                [format!("migration.{}", i + 1)],
                |r| r.get(0),
            )
            .optional()?;
        if recorded.as_deref() != Some(checksum(sql).as_str()) {
            return Err(refuse(found));
        }
    }
    Ok(Some(found))
}

/// A handle that heals: it notices that its file went away or failed, refuses
/// while that lasts, and opens again at the next call.
#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
    options: Options,
    schema: Schema,
    db: Option<Db>,
}

impl Slot {
    /// A slot holding a handle that was opened before.
    pub(crate) fn new(path: &Path, options: &Options, schema: Schema, db: Db) -> Self {
        Slot { path: path.to_owned(), options: options.clone(), schema, db: Some(db) }
    }

    /// [`Db::glance`] at the handle as it is, opening nothing. Whoever remembers what
    /// [`Slot::with`] gave may use it again while a later glance equals the one taken
    /// before it.
    pub(crate) fn glance(&self) -> Option<Glance> {
        self.db.as_ref()?.glance()
    }

    /// Runs `work` on the handle. On [`Error::Unavailable`], [`Error::Unknown`] and
    /// [`Error::Corrupt`] the handle is closed, and the next call opens a new one.
    pub(crate) fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Db) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if self.db.as_ref().is_some_and(|db| db.check_present().is_err()) {
            self.db = None;
        }
        let db = match &mut self.db {
            Some(db) => db,
            empty => empty.insert(open_store(&self.path, &self.options, &self.schema)?),
        };
        let mut done = work(db);
        // What was committed into a file that was taken away meanwhile is not stored.
        if done.is_ok() && db.check_saved().is_err() {
            done = Err(Error::Unknown);
        }
        if matches!(done, Err(Error::Unavailable(_) | Error::Unknown | Error::Corrupt(_))) {
            self.db = None;
        }
        done
    }
}
