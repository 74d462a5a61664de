//! The one thread that writes a record log.
//!
//! What a crash or a fault means at each durable step:
//! - before COMMIT: nothing is stored; every batch is told "unavailable".
//! - during COMMIT, or reported failed: it may be stored. Batches are told "unknown".
//!   Before anything else is served, a fence is committed: it takes the place of a
//!   half-written transaction in the write-ahead log, so that what was not readable
//!   then never comes up later.
//! - after COMMIT, before the answer: it is stored; whoever waited reads again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use phial_base::step::Step;
use phial_base::{RowId, Seq, Version};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{
    NewBytes, NewRow, Place, Readers, Removal, SCHEMA, head_of, of_row, place_of, seq_to_sql,
};
use crate::durable;
use crate::error::Error;
use crate::open::{CACHE_KIB, Db, Growing, Options, open_store};

/// Most batches in one transaction.
const MAX_BATCHES: usize = 256;
/// Most rows in one transaction, unless one batch alone has more.
const MAX_ROWS: usize = 8192;

/// Where an answer goes.
pub(super) enum Answer<T> {
    /// To a task that awaits it.
    Task(oneshot::Sender<Result<T, Error>>),
    /// To a thread that blocks on it.
    Thread(Sender<Result<T, Error>>),
}

impl<T> Answer<T> {
    fn give(self, result: Result<T, Error>) {
        // Whoever asked may have gone; the work is done all the same.
        match self {
            Answer::Task(to) => drop(to.send(result)),
            Answer::Thread(to) => drop(to.send(result)),
        }
    }
}

/// What to delete.
pub(super) enum Deletion {
    /// All versions of these rows.
    Rows(Vec<RowId>),
    /// These versions.
    Versions(Vec<(RowId, Version)>),
}

/// Work for the writer.
pub(super) enum Job {
    Append { rows: Vec<NewRow>, answer: Answer<Vec<Seq>> },
    Delete { what: Deletion, answer: Answer<Removal> },
    Replace { rows: Vec<NewBytes>, answer: Answer<Vec<Seq>> },
    Settle { answer: Answer<()> },
}

type Append = (Vec<NewRow>, Answer<Vec<Seq>>);

/// The writing connection and what is known of its state.
pub(super) struct Writer {
    path: PathBuf,
    options: Options,
    readers: Arc<Readers>,
    db: Option<Db>,
    /// A commit's fate is open until a fence has been committed.
    unsettled: bool,
    cache: Growing,
    cache_kib: u32,
}

impl Writer {
    pub(super) fn new(path: &Path, options: &Options, db: Db, readers: Arc<Readers>) -> Self {
        let least_kib = options.writer_cache_kib.unwrap_or(CACHE_KIB);
        Writer {
            path: path.to_owned(),
            options: options.clone(),
            readers,
            db: Some(db),
            unsettled: false,
            cache: Growing { least_kib, times: 16, part: 40 },
            cache_kib: least_kib,
        }
    }

    /// Works until every sender is gone and nothing waits.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let mut next = Some(job);
            let mut group: Vec<Append> = Vec::new();
            let mut rows_in_group = 0;
            while let Some(Job::Append { rows, answer }) = next {
                rows_in_group += rows.len();
                group.push((rows, answer));
                let room = group.len() < MAX_BATCHES && rows_in_group < MAX_ROWS;
                next = if room { jobs.try_recv().ok() } else { None };
            }
            if !group.is_empty() {
                self.append(group);
            }
            match next {
                Some(Job::Delete { what, answer }) => answer.give(self.delete(&what)),
                Some(Job::Replace { rows, answer }) => answer.give(self.replace(&rows)),
                Some(Job::Settle { answer }) => answer.give(self.settle()),
                Some(Job::Append { .. }) | None => {}
            }
        }
    }

    /// The connection: reopened when the file came back, fenced when a fate is open.
    fn ready(&mut self) -> Result<&mut Db, Error> {
        if self.db.as_ref().is_some_and(|db| db.check_present().is_err()) {
            self.readers.close_all();
            self.db = None;
        }
        let db = match &mut self.db {
            Some(db) => db,
            empty => {
                self.cache_kib = self.cache.least_kib;
                empty.insert(open_store(&self.path, &self.options, &SCHEMA)?)
            }
        };
        if self.unsettled {
            let fenced = fence(db);
            if let Err(e) = fenced {
                self.db = None;
                return Err(e);
            }
            self.unsettled = false;
        }
        // Borrowed anew, because the branch above may have dropped it.
        self.db.as_mut().ok_or(Error::Unknown)
    }

    /// Runs `work` in a transaction and commits it durably.
    fn commit<R>(
        &mut self,
        step: Step,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let db = self.ready()?;
        let (done, unsettled) = transact(step, db, work);
        if let (Ok(_), Some(db), Ok(file)) = (&done, &self.db, std::fs::metadata(&self.path)) {
            // A smaller cache is slower, and nothing worse.
            let _ = self.cache.fit(db, file.len(), &mut self.cache_kib);
        }
        self.unsettled |= unsettled;
        if done.is_err() && !matches!(done, Err(Error::Conflict { .. } | Error::Invalid(_))) {
            // Whatever state it is in, the next job starts with a new one.
            self.readers.close_all();
            self.db = None;
        }
        done
    }

    fn append(&mut self, group: Vec<Append>) {
        let (batches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let stored = self.commit(Step::RecordsAppend, |tx| {
            let mut next = last_seq(tx)?;
            batches.iter().map(|rows| append_batch(tx, rows, &mut next)).collect::<Result<_, _>>()
        });
        let stored: Result<Vec<Result<Vec<Seq>, Error>>, Error> = stored;
        match stored {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    answer.give(result);
                }
            }
            Err(e) => {
                for answer in answers {
                    answer.give(Err(e.clone()));
                }
            }
        }
    }

    fn delete(&mut self, what: &Deletion) -> Result<Removal, Error> {
        let removed = self.commit(Step::RecordsDelete, |tx| delete(tx, what))?;
        // The deletion stands whether or not the log could be emptied now.
        let scrubbed =
            self.ready().and_then(|db| durable::scrub(Step::RecordsScrub, db)).unwrap_or(false);
        Ok(Removal { removed, scrubbed })
    }

    fn replace(&mut self, rows: &[NewBytes]) -> Result<Vec<Seq>, Error> {
        self.commit(Step::RecordsReplace, |tx| replace(tx, rows))
    }

    fn settle(&mut self) -> Result<(), Error> {
        // Settling means writing, whatever is believed of the last commit.
        self.unsettled = true;
        durable::scrub(Step::RecordsScrub, self.ready()?)?;
        Ok(())
    }
}

/// The result, and whether the transaction's fate is open.
fn transact<R>(
    step: Step,
    db: &mut Db,
    work: impl FnOnce(&Transaction<'_>) -> Result<R, Error>,
) -> (Result<R, Error>, bool) {
    let tx = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(e) => return (Err(e.into()), false),
    };
    // Leaving without COMMIT rolls back.
    let done = match work(&tx) {
        Ok(done) => done,
        Err(e) => return (Err(e), false),
    };
    if durable::commit(step, tx).is_err() {
        return (Err(Error::Unknown), true);
    }
    // A commit into a file that was taken away meanwhile is not to be trusted.
    if db.check_saved().is_err() {
        return (Err(Error::Unknown), true);
    }
    (Ok(done), false)
}

fn fence(db: &mut Db) -> Result<(), Error> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("UPDATE meta SET value=value+1 WHERE name='fence'", [])?;
    durable::commit(Step::RecordsFence, tx)?;
    db.check_saved()
}

fn last_seq(conn: &Connection) -> Result<i64, Error> {
    Ok(seq_to_sql(head_of(conn)?))
}

/// Stores one batch after `last`, or nothing of it when a row has moved on. The outer
/// error fails the whole transaction, the inner one this batch.
fn append_batch(
    conn: &Connection,
    rows: &[NewRow],
    last: &mut i64,
) -> Result<Result<Vec<Seq>, Error>, Error> {
    let mut current = conn.prepare_cached(concat!(
        "SELECT version FROM record WHERE ",
        of_row!(),
        " ORDER BY version DESC LIMIT 1"
    ))?;
    let mut within: HashMap<RowId, u32> = HashMap::new();
    for new in rows {
        let before = match within.get(&new.row) {
            Some(version) => *version,
            None => current.query_row([new.row.0], |r| r.get(0)).optional()?.unwrap_or(0),
        };
        if before.checked_add(1) != Some(new.version.0) {
            return Ok(Err(Error::Conflict { row: new.row }));
        }
        if rows.len() > 1 {
            within.insert(new.row, new.version.0);
        }
    }
    let mut insert =
        conn.prepare_cached("INSERT INTO record(seq, row, version, blob) VALUES(?1, ?2, ?3, ?4)")?;
    let mut seqs = Vec::with_capacity(rows.len());
    for new in rows {
        *last += 1;
        insert.execute(params![*last, new.row.0, new.version.0, new.blob])?;
        seqs.push(Seq(last.unsigned_abs()));
    }
    Ok(Ok(seqs))
}

/// Replaces all of them; the error of one leaves all as they were.
fn replace(conn: &Connection, rows: &[NewBytes]) -> Result<Vec<Seq>, Error> {
    let mut stored = conn.prepare_cached(concat!(
        "SELECT seq, blob FROM record WHERE ",
        of_row!(),
        " AND version=?2"
    ))?;
    let mut update = conn.prepare_cached("UPDATE record SET blob=?2 WHERE seq=?1")?;
    let mut seqs = Vec::with_capacity(rows.len());
    for new in rows {
        let found = stored
            .query_row(params![new.row.0, new.version.0], |r| {
                let hash = phial_crypto::content_hash(r.get_ref(1)?.as_blob()?);
                Ok((r.get::<_, i64>(0)?, hash))
            })
            .optional()?;
        let Some((seq, _)) = found.filter(|(_, hash)| *hash == new.instead_of) else {
            return Err(Error::Conflict { row: new.row });
        };
        update.execute(params![seq, new.blob])?;
        seqs.push(Seq(seq.unsigned_abs()));
    }
    Ok(seqs)
}

fn delete(conn: &Connection, what: &Deletion) -> Result<Vec<Place>, Error> {
    let mut removed = Vec::new();
    match what {
        Deletion::Rows(rows) => {
            let mut statement = conn.prepare_cached(concat!(
                "DELETE FROM record WHERE ",
                of_row!(),
                " RETURNING seq, row, version"
            ))?;
            for row in rows {
                for place in statement.query_map([row.0], place_of)? {
                    removed.push(place?);
                }
            }
        }
        Deletion::Versions(versions) => {
            let mut statement = conn.prepare_cached(concat!(
                "DELETE FROM record WHERE ",
                of_row!(),
                " AND version=?2 RETURNING seq, row, version"
            ))?;
            for (row, version) in versions {
                for place in statement.query_map(params![row.0, version.0], place_of)? {
                    removed.push(place?);
                }
            }
        }
    }
    removed.sort_unstable_by_key(|p| p.seq);
    if let Some(last) = removed.last() {
        conn.execute(
            "UPDATE meta SET value=max(value, ?1) WHERE name='floor'",
            [seq_to_sql(last.seq)],
        )?;
    }
    Ok(removed)
}
