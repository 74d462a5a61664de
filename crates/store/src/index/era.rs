//! When versions were written, summed up: for each stretch of the log the earliest and
//! the latest time. Clocks of several nodes don't follow the log exactly, so a stretch
//! says only where not to look.

use std::collections::HashMap;

use phial_fhir::search::{On, Prefix};
use rusqlite::Connection;

use super::order::RankVal;
use super::predicate::Pred;
use super::search::Searcher;
use crate::error::Error;

/// Sequences of a stretch, as a power of two.
const STRETCH: u32 = 12;

/// The times of a stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Era {
    /// Its number: the upper bits of its sequences.
    pub at: i64,
    pub earliest: i64,
    pub latest: i64,
}

impl Era {
    /// The sequence before its first.
    pub(super) const fn before(&self) -> i64 {
        (self.at << STRETCH) - 1
    }

    /// Its last sequence.
    pub(super) const fn last(&self) -> i64 {
        ((self.at + 1) << STRETCH) - 1
    }

    /// Whether a time in it can stand so to the searched span.
    fn may(&self, prefix: Prefix, low: i64, high: i64) -> bool {
        let within = low <= self.latest && self.earliest < high;
        match prefix {
            Prefix::Ne => true,
            Prefix::Eq | Prefix::Ap => within,
            Prefix::Gt | Prefix::Sa => self.latest >= high,
            Prefix::Ge => self.latest >= high || within,
            Prefix::Lt | Prefix::Eb => self.earliest < low,
            Prefix::Le => self.earliest < low || within,
        }
    }

    /// The first and the last sort value that a time in it can have.
    pub(super) fn ranks(&self, descending: bool) -> (RankVal, RankVal) {
        let (a, b) =
            (RankVal::int(self.earliest, descending), RankVal::int(self.latest, descending));
        if descending { (b, a) } else { (a, b) }
    }
}

/// The times of a batch, by stretch.
#[derive(Debug, Default)]
pub(super) struct Eras(HashMap<i64, (i64, i64)>);

impl Eras {
    pub(super) fn add(&mut self, seq: i64, updated: i64) {
        let e = self.0.entry(seq >> STRETCH).or_insert((updated, updated));
        *e = (e.0.min(updated), e.1.max(updated));
    }

    pub(super) fn write(&self, conn: &Connection) -> Result<(), Error> {
        let mut s = conn.prepare_cached(
            "INSERT INTO era VALUES(?1, ?2, ?3) ON CONFLICT(num) DO UPDATE SET \
             earliest=min(earliest, excluded.earliest), latest=max(latest, excluded.latest)",
        )?;
        for (at, (earliest, latest)) in &self.0 {
            s.execute([at, earliest, latest])?;
        }
        Ok(())
    }
}

/// Whether times of writing narrow a walk over a whole type, or order it.
pub(super) fn helps(search: &Searcher<'_, '_>) -> bool {
    first_by_time(search).is_some()
        || search.plan.preds.iter().any(|p| matches!(p, Pred::Updated(_)))
}

/// Whether the first sort key is the time of writing, and in which direction.
pub(super) fn first_by_time(search: &Searcher<'_, '_>) -> Option<bool> {
    search.sort.first().filter(|k| matches!(k.on, On::LastUpdated)).map(|k| k.descending)
}

/// The stretches in which the search can find something, in the order of the log or of
/// the first sort key.
pub(super) fn eras(search: &Searcher<'_, '_>) -> Result<Vec<Era>, Error> {
    let mut s =
        search.run.conn.prepare_cached("SELECT num, earliest, latest FROM era ORDER BY num")?;
    let rows =
        s.query_map([], |r| Ok(Era { at: r.get(0)?, earliest: r.get(1)?, latest: r.get(2)? }))?;
    let mut all = Vec::new();
    for era in rows {
        let era = era?;
        let fits = search.plan.preds.iter().all(|p| match p {
            Pred::Updated(spans) => spans.iter().any(|(p, low, high)| era.may(*p, *low, *high)),
            _ => true,
        });
        if fits {
            all.push(era);
        }
    }
    if let Some(descending) = first_by_time(search) {
        all.sort_by(|a, b| a.ranks(descending).0.cmp(&b.ranks(descending).0));
    }
    Ok(all)
}
