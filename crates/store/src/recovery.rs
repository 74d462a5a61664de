//! How an announced write ends (design §2).
//!
//! Record log and audit log have no common commit. An intent is durable before its
//! rows are stored, and its outcome is written after. One function, [`outcome`], says
//! what came of a write: in normal running with what the record log answered, and where
//! that answer is missing (a crash, a commit of unknown fate, a request that went away)
//! with what the record log holds. It refuses to judge a write that may still be under
//! way: all open intents are closed at start, by the process that holds the home's
//! lock; later only those whose [`Announced`] is gone.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use phial_audit::{DetailKey, Entry, EventKind, IntentId, OutcomeCode, Seqs, Write};
use phial_base::{Clock, Seq};

use crate::auditlog::AuditLog;
use crate::blobs::{BLOB, Blobs};
use crate::error::Error;
use crate::records::RecordLog;

/// Outcomes appended at a time.
const AT_ONCE: usize = 1000;

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Intents whose rows are there.
    pub committed: u64,
    /// Intents whose rows are not.
    pub abandoned: u64,
}

/// What became of the rows of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are there, at these places.
    Stored(Vec<Seq>),
    /// None of them is, for this reason.
    NotStored(OutcomeCode),
}

/// The outcome of an intent for `action` that announced so many rows, on the grounds of
/// `entry`, which says who and when.
pub(crate) fn outcome(
    entry: Entry,
    intent: IntentId,
    action: Option<EventKind>,
    announced: usize,
    fate: &Fate,
) -> Entry {
    let mut e = match fate {
        Fate::Stored(seqs) => entry.into_outcome(intent, true, run_of(seqs, announced)),
        Fate::NotStored(why) => entry.into_outcome(intent, false, None).with_outcome(*why),
    };
    e.action = action;
    e
}

/// Intents of this process whose end nobody could say.
#[derive(Debug, Default)]
pub(crate) struct Unclosed(Mutex<BTreeSet<IntentId>>);

impl Unclosed {
    fn intents(&self) -> std::sync::MutexGuard<'_, BTreeSet<IntentId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An intent that is about to be announced.
    pub(crate) fn announce(&self, intent: IntentId) -> Announced<'_> {
        Announced { unclosed: self, intent, closed: false }
    }

    /// Closes what is left of them from the record log, and forgets them when done.
    pub(crate) fn close(
        &self,
        audit: &AuditLog,
        records: &RecordLog,
        blobs: &Blobs,
        clock: &dyn Clock,
    ) -> Result<Recovered, Error> {
        let known = self.intents().clone();
        if known.is_empty() {
            return Ok(Recovered::default());
        }
        // Intents and outcomes that are on their way are written first.
        audit.flush()?;
        let done = close(audit, records, blobs, clock, &|intent| known.contains(intent))?;
        self.intents().retain(|i| !known.contains(i));
        Ok(done)
    }
}

/// A write that is under way. Whatever ends it without an outcome, a commit of unknown
/// fate or a request that went away, leaves its intent to be closed from the record log.
pub struct Announced<'a> {
    unclosed: &'a Unclosed,
    intent: IntentId,
    closed: bool,
}

impl Announced<'_> {
    /// The intent.
    #[must_use]
    pub fn intent(&self) -> IntentId {
        self.intent
    }

    /// Its outcome is on the way to the log.
    pub(crate) fn closed(&mut self) {
        self.closed = true;
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if !self.closed {
            self.unclosed.intents().insert(self.intent);
        }
    }
}

/// Closes every open intent by an outcome marked as recovery's. Running it again, or
/// after a crash in the middle of it, changes nothing more.
///
/// # Errors
/// [`Error`] when a log can't be read or written: then nothing may be served yet.
pub fn close_open_intents(
    audit: &AuditLog,
    records: &RecordLog,
    blobs: &Blobs,
    clock: &dyn Clock,
) -> Result<Recovered, Error> {
    close(audit, records, blobs, clock, &|_| true)
}

fn close(
    audit: &AuditLog,
    records: &RecordLog,
    blobs: &Blobs,
    clock: &dyn Clock,
    wanted: &dyn Fn(&IntentId) -> bool,
) -> Result<Recovered, Error> {
    let mut open = audit.open_intents()?;
    open.retain(|(intent, _)| wanted(intent));
    let mut done = Recovered::default();
    if open.is_empty() {
        return Ok(done);
    }
    // What can't be read after this never will be there. It stands in line behind every
    // append that was handed over before.
    records.settle()?;
    let mut outcomes = Vec::new();
    for (intent, positions) in open {
        let (action, mut writes) = announced(audit, &intent, &positions)?;
        let announced_blobs: Vec<_> =
            writes.extract_if(.., |w| w.version == BLOB).map(|w| w.row).collect();
        let seqs = present(records, &writes)?;
        let fate = if seqs.is_empty() {
            // Crash before this line: the intent is still open, and so is this work.
            blobs.remove(&announced_blobs)?;
            done.abandoned += 1;
            Fate::NotStored(OutcomeCode::Unavailable)
        } else {
            done.committed += 1;
            Fate::Stored(seqs)
        };
        let entry = Entry::system(EventKind::Outcome, clock.now())
            .with_detail(DetailKey::Reason, "recovery");
        outcomes.push(outcome(entry, intent, action, writes.len(), &fate));
    }
    // Crash between two appends: the rest is still open and closed at the next start.
    while !outcomes.is_empty() {
        let rest = outcomes.split_off(outcomes.len().min(AT_ONCE));
        audit.append_blocking(outcomes, None)?;
        outcomes = rest;
    }
    Ok(done)
}

/// What the intent's entries announced; a large one has several.
fn announced(
    audit: &AuditLog,
    intent: &IntentId,
    positions: &[u64],
) -> Result<(Option<EventKind>, Vec<Write>), Error> {
    let mut action = None;
    let mut writes = Vec::new();
    for at in positions {
        let stored = audit.scan(*at, 1)?;
        let stored = stored.first().ok_or(Error::Corrupt("an intent's entry is missing"))?;
        let entry = audit.open_entry(stored)?;
        if stored.index != *at || entry.intent != Some(*intent) || entry.kind != EventKind::Intent {
            return Err(Error::Corrupt("an open intent points at another entry"));
        }
        action = entry.action;
        writes.extend(entry.writes);
    }
    Ok((action, writes))
}

/// Where the announced rows stand that are there exactly as announced. A batch is
/// stored whole or not at all, so one of them says that all were.
fn present(records: &RecordLog, writes: &[Write]) -> Result<Vec<Seq>, Error> {
    let mut seqs = Vec::new();
    for w in writes {
        if let Some(found) = records.get_version(w.row, w.version)?
            && phial_crypto::content_hash(&found.blob) == w.hash
        {
            seqs.push(found.seq);
        }
    }
    Ok(seqs)
}

/// The run that the rows make, when all are there, in order and without a gap.
fn run_of(seqs: &[Seq], announced: usize) -> Option<Seqs> {
    let first = *seqs.first()?;
    let whole = seqs.len() == announced
        && seqs.iter().zip(first.0..).all(|(seq, expected)| seq.0 == expected);
    whole.then(|| u32::try_from(seqs.len()).ok().map(|count| Seqs { first, count })).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_run_is_named() {
        let run = |seqs: &[u64], n| {
            run_of(&seqs.iter().copied().map(Seq).collect::<Vec<_>>(), n)
                .map(|s| (s.first.0, s.count))
        };
        assert_eq!(run(&[5, 6, 7], 3), Some((5, 3)));
        assert_eq!(run(&[5, 6], 3), None);
        assert_eq!(run(&[5, 7, 8], 3), None);
        assert_eq!(run(&[], 0), None);
    }
}
