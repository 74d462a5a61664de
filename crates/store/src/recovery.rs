//! Closing the intents that a crash left open (design §2).
//!
//! Record log and audit log have no common commit. An intent is durable before its
//! rows are stored, and its outcome is written after; whatever happened in between,
//! the record log says whether the rows are there. It refuses to run beside a living
//! writer: call it at start, by the process that holds the home's lock.

use phial_audit::{DetailKey, Entry, EventKind, IntentId, OutcomeCode, Seqs, Write};
use phial_base::{Clock, Seq};

use crate::auditlog::AuditLog;
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

/// Closes every open intent by an outcome marked as recovery's. Running it again, or
/// after a crash in the middle of it, changes nothing more.
///
/// # Errors
/// [`Error`] when a log can't be read or written: then nothing may be served yet.
pub fn close_open_intents(
    audit: &AuditLog,
    records: &RecordLog,
    clock: &dyn Clock,
) -> Result<Recovered, Error> {
    let open = audit.open_intents()?;
    let mut done = Recovered::default();
    if open.is_empty() {
        return Ok(done);
    }
    // What can't be read after this never will be there.
    records.settle()?;
    let mut outcomes = Vec::new();
    for (intent, positions) in open {
        let (action, writes) = announced(audit, &intent, &positions)?;
        let seqs = present(records, &writes)?;
        let committed = !seqs.is_empty();
        if committed {
            done.committed += 1;
        } else {
            done.abandoned += 1;
        }
        let mut e = Entry::system(EventKind::Outcome, clock.now())
            .into_outcome(intent, committed, run_of(&seqs, writes.len()))
            .with_detail(DetailKey::Reason, "recovery");
        e.action = action;
        if !committed {
            e = e.with_outcome(OutcomeCode::Unavailable);
        }
        outcomes.push(e);
    }
    // Crash between two appends: the rest is still open and closed at the next start.
    while !outcomes.is_empty() {
        let rest = outcomes.split_off(outcomes.len().min(AT_ONCE));
        audit.append_blocking(outcomes, None)?;
        outcomes = rest;
    }
    let told = Entry::system(EventKind::Recovery, clock.now())
        .with_detail(DetailKey::Count, (done.committed + done.abandoned).to_string());
    audit.append_blocking(vec![told], None)?;
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
