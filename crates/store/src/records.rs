//! The record log: sealed record versions of one tenant, in the order in which they
//! were committed. One of the two logs that are the truth (invariant 4).
//!
//! Table `record`, one row a version:
//!
//! | seq | row | version | blob |
//! |---|---|---|---|
//! | 1 | `5e0c…` HMAC of type and logical id | 1 | sealed, one of a few sizes |
//! | 2 | `a97b…` | 1 | sealed |
//! | 3 | `5e0c…` | 2 | sealed |
//!
//! Sequence numbers rise with every commit and are never used twice, not even
//! after a purge. Appends go through one thread that takes all waiting batches into
//! one transaction; a batch is stored whole or not at all, and only when each of its
//! rows follows the row's latest version.
//!
//! An index finds rows by the first 4 bytes of their name and the version: rows that
//! share them are told apart by the table, and where there are millions the index stays
//! small.
//!
//! Refuses to know what a blob holds.

mod writer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};
use phial_base::{RowId, Seq, Version};
use rusqlite::{OptionalExtension, params};
use tokio::sync::oneshot;

use self::writer::{Answer, Deletion, Job, Writer};
use crate::error::{Error, Fault};
use crate::open::{Db, Options, Schema, create_store, open_read_only, open_store};

/// Format 1. `fence` counts the times that the log was settled after a failed commit;
/// `floor` is the greatest sequence number ever deleted.
const FORMAT_1: &str = "
CREATE TABLE record(
  seq INTEGER PRIMARY KEY, row BLOB NOT NULL, version INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE INDEX record_by_row ON record(substr(row, 1, 4), version);
INSERT INTO meta VALUES('fence', 0), ('floor', 0);
";

pub(crate) const SCHEMA: Schema =
    Schema { store: "records", page_size: 16_384, migrations: &[FORMAT_1] };

/// The condition by which the index finds a row, given as parameter 1.
macro_rules! of_row {
    () => {
        "substr(row, 1, 4)=substr(?1, 1, 4) AND row=?1"
    };
}
use of_row;

/// How many jobs may wait for the writer before it says that it is busy.
const WAITING: usize = 4096;
/// How many idle reading connections are kept.
const IDLE_READERS: usize = 8;
/// Page cache of a reading connection. A look-up touches two leaves of 16 KiB.
const READER_CACHE_KIB: u32 = 8192;
/// How many rows a streaming read takes in one read transaction, so that it never
/// holds up the write-back of the log for long.
const STREAM: u32 = 512;

/// Why an append failed: [`Error::Conflict`], [`Error::Unknown`] or
/// [`Error::Unavailable`].
pub type AppendError = Error;

/// A version to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// The row.
    pub row: RowId,
    /// The version that this will be; one more than the row's latest.
    pub version: Version,
    /// The sealed bytes.
    pub blob: Vec<u8>,
}

/// Other bytes for a version that is stored: the same content, sealed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBytes {
    /// The row.
    pub row: RowId,
    /// The version.
    pub version: Version,
    /// SHA-256 of the bytes whose place they take.
    pub instead_of: [u8; 32],
    /// The sealed bytes.
    pub blob: Vec<u8>,
}

/// A version as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the log.
    pub seq: Seq,
    /// The row.
    pub row: RowId,
    /// The version.
    pub version: Version,
    /// The sealed bytes.
    pub blob: Vec<u8>,
}

/// Where a version stands, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the log.
    pub seq: Seq,
    /// The row.
    pub row: RowId,
    /// The version.
    pub version: Version,
}

/// What a deletion did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The versions deleted, in the order of the log.
    pub removed: Vec<Place>,
    /// Whether their bytes are in no file of the log any more. When false, a reader
    /// held up the write-back; [`RecordLog::settle`] tries again.
    pub scrubbed: bool,
}

/// What [`RecordLog::all`] shows each version to: place, row, version, blob.
pub type Each<'a> = &'a mut dyn FnMut(Seq, RowId, Version, &[u8]) -> Result<(), Error>;

/// One tenant's record log.
pub struct RecordLog {
    readers: Arc<Readers>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for RecordLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordLog(..)")
    }
}

impl RecordLog {
    /// Makes the log's file, or opens it when it exists.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't be written, [`Error::Format`] when it is
    /// something else.
    pub fn create(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::over(path, create_store(path, options, &SCHEMA)?, options)
    }

    /// Opens an existing log.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file is missing, [`Error::Format`] when it is of
    /// an unknown form.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::over(path, open_store(path, options, &SCHEMA)?, options)
    }

    fn over(path: &Path, db: Db, options: &Options) -> Result<Self, Error> {
        let (jobs, waiting) = crossbeam_channel::bounded(WAITING);
        let reading = Options {
            reader_cache_kib: Some(options.reader_cache_kib.unwrap_or(READER_CACHE_KIB)),
            ..options.clone()
        };
        let readers = Arc::new(Readers {
            path: path.to_owned(),
            options: reading,
            idle: Mutex::new(Vec::new()),
            epoch: AtomicU64::new(0),
        });
        let writer = Writer::new(path, options, db, Arc::clone(&readers));
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(RecordLog { readers, jobs: Some(jobs), thread: Some(thread) })
    }

    fn try_send(&self, job: Job) -> Result<(), Error> {
        let jobs = self.jobs.as_ref().ok_or(Error::Unavailable(Fault::Stopped))?;
        jobs.try_send(job).map_err(|e| match e {
            TrySendError::Full(_) => Error::Unavailable(Fault::Busy),
            TrySendError::Disconnected(_) => Error::Unavailable(Fault::Stopped),
        })
    }

    /// Does a job of the writer's and waits for its answer on this thread.
    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Error> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let jobs = self.jobs.as_ref().ok_or(Error::Unavailable(Fault::Stopped))?;
        jobs.send(job(Answer::Thread(answer))).map_err(|_| Error::Unavailable(Fault::Stopped))?;
        // The writer answers every job it takes, unless it was killed in the middle of one.
        answered.recv().map_err(|_| Error::Unknown)?
    }

    /// Appends the rows, all or none, and syncs them to disk. Sequence numbers come
    /// back in the order of the rows. The work is handed over at once and is done even
    /// when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a row's latest version is not the one before;
    /// [`Error::Unavailable`] when nothing was stored; [`Error::Unknown`] when that is
    /// not certain: call [`RecordLog::settle`] and read again.
    pub fn append(
        &self,
        rows: Vec<NewRow>,
    ) -> impl Future<Output = Result<Vec<Seq>, AppendError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let sent = self.try_send(Job::Append { rows, answer: Answer::Task(answer) });
        async move {
            sent?;
            answered.await.map_err(|_| Error::Unknown)?
        }
    }

    /// As [`RecordLog::append`], waiting on this thread.
    ///
    /// # Errors
    /// As [`RecordLog::append`].
    pub fn append_blocking(&self, rows: Vec<NewRow>) -> Result<Vec<Seq>, AppendError> {
        self.ask(|answer| Job::Append { rows, answer })
    }

    /// Waits until the log can be written and every earlier append has a definite fate:
    /// what can be read afterwards is stored, what can't be never will be. Waits on
    /// this thread.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the fault lasts.
    pub fn settle(&self) -> Result<(), Error> {
        self.ask(|answer| Job::Settle { answer })
    }

    /// Deletes all versions of these rows and empties the write-ahead log. The place of
    /// the last one is remembered, so that no sequence number is used again. Waits on
    /// this thread.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nothing was deleted; [`Error::Unknown`] when that is
    /// not certain.
    pub fn delete_rows(&self, rows: &[RowId]) -> Result<Removal, Error> {
        let what = Deletion::Rows(rows.to_vec());
        self.ask(|answer| Job::Delete { what, answer })
    }

    /// Deletes these versions only. As [`RecordLog::delete_rows`].
    ///
    /// # Errors
    /// As [`RecordLog::delete_rows`].
    pub fn delete_versions(&self, versions: &[(RowId, Version)]) -> Result<Removal, Error> {
        let what = Deletion::Versions(versions.to_vec());
        self.ask(|answer| Job::Delete { what, answer })
    }

    /// Puts other bytes in the place of stored versions, all or none: each keeps its place
    /// in the log, its row and its version. Says where they stand. Waits on this thread.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a version is not there or not what it was;
    /// [`Error::Unavailable`] when nothing was replaced; [`Error::Unknown`] when that is
    /// not certain.
    pub fn replace(&self, rows: Vec<NewBytes>) -> Result<Vec<Seq>, Error> {
        self.ask(|answer| Job::Replace { rows, answer })
    }

    /// The row's latest version.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`] when the log can't be read.
    pub fn get(&self, row: RowId) -> Result<Option<Row>, Error> {
        self.readers.with(|db| {
            Ok(db
                .prepare_cached(concat!(
                    "SELECT seq, row, version, blob FROM record WHERE ",
                    of_row!(),
                    " ORDER BY version DESC LIMIT 1"
                ))?
                .query_row([row.0], row_of)
                .optional()?)
        })
    }

    /// One version of the row.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn get_version(&self, row: RowId, version: Version) -> Result<Option<Row>, Error> {
        self.readers.with(|db| {
            Ok(db
                .prepare_cached(concat!(
                    "SELECT seq, row, version, blob FROM record WHERE ",
                    of_row!(),
                    " AND version=?2"
                ))?
                .query_row(params![row.0, version.0], row_of)
                .optional()?)
        })
    }

    /// The version at this place of the log. `None` where there is none any more.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn at(&self, seq: Seq) -> Result<Option<Row>, Error> {
        self.readers.with(|db| {
            Ok(db
                .prepare_cached("SELECT seq, row, version, blob FROM record WHERE seq=?1")?
                .query_row([seq_to_sql(seq)], row_of)
                .optional()?)
        })
    }

    /// The versions at these places of the log, in the order asked, of one moment; `None`
    /// where another version stands, or none any more. Sooner than one by one: a place
    /// needs no look into the index of rows.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn at_each(&self, places: &[Place]) -> Result<Vec<Option<Row>>, Error> {
        self.readers.with(|db| {
            let one_moment = db.unchecked_transaction()?;
            let mut statement = one_moment
                .prepare_cached("SELECT seq, row, version, blob FROM record WHERE seq=?1")?;
            let mut at = |place: &Place| -> Result<Option<Row>, Error> {
                let found = statement.query_row([seq_to_sql(place.seq)], row_of).optional()?;
                Ok(found.filter(|f| (f.row, f.version) == (place.row, place.version)))
            };
            places.iter().map(&mut at).collect()
        })
    }

    /// Where the row's versions stand, oldest first.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn versions(&self, row: RowId) -> Result<Vec<Place>, Error> {
        self.readers.with(|db| {
            let mut statement = db.prepare_cached(concat!(
                "SELECT seq, row, version FROM record WHERE ",
                of_row!(),
                " ORDER BY version"
            ))?;
            Ok(statement.query_map([row.0], place_of)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Where the latest version of each row stands, in the order asked; `None` for a
    /// row that has none. No blob is read.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn heads(&self, rows: &[RowId]) -> Result<Vec<Option<Place>>, Error> {
        self.readers.with(|db| {
            let mut statement = db.prepare_cached(concat!(
                "SELECT seq, row, version FROM record WHERE ",
                of_row!(),
                " ORDER BY version DESC LIMIT 1"
            ))?;
            rows.iter().map(|row| Ok(statement.query_row([row.0], place_of).optional()?)).collect()
        })
    }

    /// The versions after `after`, in the order of the log, at most `limit`.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn changes(&self, after: Seq, limit: usize) -> Result<Vec<Row>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.readers.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT seq, row, version, blob FROM record WHERE seq>?1 ORDER BY seq LIMIT ?2",
            )?;
            Ok(statement
                .query_map(params![seq_to_sql(after), limit], row_of)?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The versions after `after` that were current at `at`, in the order of the log, at
    /// most `limit`; each with whether another has followed since `at`.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn current(&self, after: Seq, at: Seq, limit: usize) -> Result<Vec<(Row, bool)>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.readers.with(|db| {
            let mut statement = db.prepare_cached(
                "SELECT * FROM (
                   SELECT seq, row, version, blob, (SELECT min(n.seq) FROM record n
                     WHERE substr(n.row, 1, 4)=substr(r.row, 1, 4) AND n.version=r.version+1
                       AND n.row=r.row) AS next
                   FROM record r WHERE seq>?1 AND seq<=?2)
                 WHERE next IS NULL OR next>?2 ORDER BY seq LIMIT ?3",
            )?;
            Ok(statement
                .query_map(params![seq_to_sql(after), seq_to_sql(at), limit], |r| {
                    Ok((row_of(r)?, r.get::<_, Option<i64>>(4)?.is_some()))
                })?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The last place of the log, deleted ones included: everything that any process
    /// has committed stands at or before it. Costs two b-tree descents in cached pages,
    /// which is what asking SQLite whether another process wrote would cost as well.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn head(&self) -> Result<Seq, Error> {
        self.readers.with(|db| head_of(db))
    }

    /// How many versions there are. Reads the whole index.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn count(&self) -> Result<u64, Error> {
        self.readers.with(|db| {
            let n: i64 = db.query_row("SELECT count(*) FROM record", [], |r| r.get(0))?;
            u64::try_from(n).map_err(|_| Error::Corrupt("a negative count"))
        })
    }

    /// Shows every version to `each`, in the order of the log, until it fails. Versions
    /// committed meanwhile are shown too.
    ///
    /// # Errors
    /// The error of `each`, or as [`RecordLog::get`].
    pub fn all(&self, each: Each<'_>) -> Result<(), Error> {
        let mut after = Seq(0);
        loop {
            let shown = self.readers.with(|db| {
                let mut statement = db.prepare_cached(
                    "SELECT seq, row, version, blob FROM record WHERE seq>?1 ORDER BY seq LIMIT ?2",
                )?;
                let mut rows = statement.query(params![seq_to_sql(after), STREAM])?;
                let mut shown = 0;
                while let Some(r) = rows.next()? {
                    let place = place_of(r)?;
                    let blob = r.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
                    // The error of `each` is not the connection's.
                    if let Err(e) = each(place.seq, place.row, place.version, blob) {
                        return Ok(Err(e));
                    }
                    after = place.seq;
                    shown += 1;
                }
                Ok(Ok(shown))
            })??;
            if shown < STREAM {
                return Ok(());
            }
        }
    }

    /// The rows that have a version for which `wanted` says yes, each once, sorted.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn rows_by(
        &self,
        mut wanted: impl FnMut(RowId, Version, &[u8]) -> bool,
    ) -> Result<Vec<RowId>, Error> {
        let mut found = std::collections::BTreeSet::new();
        self.all(&mut |_, row, version, blob| {
            if wanted(row, version, blob) {
                found.insert(row);
            }
            Ok(())
        })?;
        Ok(found.into_iter().collect())
    }

    /// Has SQLite check the file: pages, order of the b-trees, and that the index
    /// matches the table. The findings are SQLite's own words and hold no content;
    /// none means sound.
    ///
    /// # Errors
    /// As [`RecordLog::get`].
    pub fn integrity(&self) -> Result<Vec<String>, Error> {
        self.readers.with(|db| {
            let mut statement = db.prepare("PRAGMA integrity_check(20)")?;
            let found: Vec<String> =
                statement.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok(found.into_iter().filter(|line| line != "ok").collect())
        })
    }
}

impl Drop for RecordLog {
    fn drop(&mut self) {
        // Readers first: the last connection to close empties the write-ahead log, and a
        // read-only one can't.
        self.readers.close_all();
        // Without a sender the writer finishes what waits and ends.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to save.
            let _ = thread.join();
        }
    }
}

fn seq_to_sql(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

fn seq_of(n: i64) -> rusqlite::Result<Seq> {
    u64::try_from(n).map(Seq).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, n))
}

fn place_of(r: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { seq: seq_of(r.get(0)?)?, row: RowId(r.get(1)?), version: Version(r.get(2)?) })
}

fn row_of(r: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let Place { seq, row, version } = place_of(r)?;
    Ok(Row { seq, row, version, blob: r.get_ref(3)?.as_blob()?.to_vec() })
}

fn head_of(conn: &rusqlite::Connection) -> Result<Seq, Error> {
    let n = conn
        .prepare_cached(
            "SELECT max(coalesce((SELECT max(seq) FROM record), 0),
                        (SELECT value FROM meta WHERE name='floor'))",
        )?
        .query_row([], |r| r.get(0))?;
    Ok(seq_of(n)?)
}

/// Reading connections, made when needed and kept when idle.
struct Readers {
    path: PathBuf,
    options: Options,
    idle: Mutex<Vec<Db>>,
    /// Connections opened before it last rose are not kept.
    epoch: AtomicU64,
}

impl Readers {
    fn idle(&self) -> MutexGuard<'_, Vec<Db>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the idle connections now and those in use when they come back. As long
    /// as one is open, SQLite keeps its shared view of files that may be gone.
    fn close_all(&self) {
        let mut idle = self.idle();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        idle.clear();
    }

    fn with<R>(&self, work: impl FnOnce(&Db) -> Result<R, Error>) -> Result<R, Error> {
        let mut epoch = self.epoch.load(Ordering::SeqCst);
        let mut taken = self.idle().pop();
        if taken.as_ref().is_some_and(|db| db.check_main_present().is_err()) {
            // All of them have the vanished file open.
            taken = None;
            self.close_all();
            epoch = self.epoch.load(Ordering::SeqCst);
        }
        let db = match taken {
            Some(db) => db,
            None => open_read_only(&self.path, &self.options)?,
        };
        let done = work(&db);
        if !matches!(done, Err(Error::Unavailable(_) | Error::Corrupt(_))) {
            let mut idle = self.idle();
            if idle.len() < IDLE_READERS && self.epoch.load(Ordering::SeqCst) == epoch {
                idle.push(db);
            }
        }
        done
    }
}
