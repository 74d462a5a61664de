//! Totals that are kept, so that counting does not grow with what is counted: how many
//! current versions have each tag (`tagged`), and how many rows of a facet's timeline
//! that have settled fall into a month of the calendar (UTC) under each tag (`tally`).
//!
//! A tally takes a row in when the row settles, many to a page, and lets it go when its
//! version is superseded or taken out; a row whose version was superseded while it waited
//! is never in. A count adds the months that lie whole inside what is asked, and looks at
//! the rows of the others and at those that wait.
//!
//! A tag says of a version what the mask depends on, but for the viewer's relationship to
//! the patient: a total is taken from here only where every relationship that the viewer
//! has gives the same answer.

use std::collections::{BTreeMap, BTreeSet};

use phial_fhir::calendar::{date_of, days_of};
use rusqlite::{Connection, OptionalExtension, params};

use super::db;
use super::dict::{Kind, Names, Tag};
use super::pack::put_ordered;
use super::plan::{Scan, What};
use super::predicate::{Candidate, Pred, Test, Version};
use super::search::{Run, Searcher};
use super::timeline::{self, Moment, Part};
use super::values::{Cursor, DAY, NO_DATE, ODD_DATE, SPANS};
use super::walk::on_line;
use super::write::primary_date;
use crate::error::Error;

/// Months without a date, and with dates that the column can't tell.
const NO_MONTH: u64 = 0;
const ODD_MONTH: u64 = 1;
/// Months count from the year -300,000, before every date that the column can have.
const SHIFT: i64 = 300_000 * 12;

/// The month of a date column.
fn month_of(date: i64) -> u64 {
    match date {
        NO_DATE => NO_MONTH,
        ODD_DATE => ODD_MONTH,
        _ => {
            let (year, month, _) = date_of(date.div_euclid(DAY));
            u64::try_from(year * 12 + month - 1 + SHIFT).unwrap_or(ODD_MONTH)
        }
    }
}

/// Where a month begins, and the next.
fn span_of(month: u64) -> (i64, i64) {
    let start = |n: i64| {
        let n = n - SHIFT;
        days_of(n.div_euclid(12), n.rem_euclid(12) + 1, 1).saturating_mul(DAY)
    };
    let n = i64::try_from(month).unwrap_or(SHIFT);
    (start(n), start(n + 1))
}

/// What dates under a tag are whole multiples of, if they are as their length suggests.
fn step(tag: &Tag) -> i64 {
    match SPANS.get(usize::from(tag.span)) {
        Some(span) if *span >= DAY => DAY,
        Some(span) if *span > 0 => *span,
        _ => 1,
    }
}

/// Rows of a facet's timeline that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    facet: u32,
    month: u64,
    tag: u32,
    /// Its dates are not the multiples that their length suggests.
    uneven: bool,
}

impl Cell {
    fn of(m: &Moment, tag: &Tag) -> Cell {
        let dated = m.date != NO_DATE && m.date != ODD_DATE;
        Cell {
            facet: m.facet,
            month: month_of(m.date),
            tag: m.tag,
            uneven: dated && m.date.rem_euclid(step(tag)) != 0,
        }
    }

    fn key(&self) -> Vec<u8> {
        let mut key = start(self.facet, self.month);
        put_ordered(&mut key, u64::from(self.tag) << 1 | u64::from(self.uneven));
        key
    }

    fn read(key: &[u8]) -> Option<Cell> {
        let mut c = Cursor(key);
        let (facet, month, tag) = (c.ordered()?, c.ordered()?, c.ordered()?);
        Some(Cell {
            facet: u32::try_from(facet).ok()?,
            month,
            tag: u32::try_from(tag >> 1).ok()?,
            uneven: tag & 1 != 0,
        })
    }
}

fn start(facet: u32, month: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    put_ordered(&mut key, u64::from(facet));
    put_ordered(&mut key, month);
    key
}

/// What a batch adds to the totals, and takes from them.
#[derive(Default)]
pub(super) struct Changes {
    tagged: BTreeMap<u32, i64>,
    cells: BTreeMap<Cell, i64>,
}

impl Changes {
    /// A version with this tag became current.
    pub(super) fn came(&mut self, tag: u32) {
        *self.tagged.entry(tag).or_default() += 1;
    }

    /// A version is current no more: superseded, or taken out while it was.
    pub(super) fn left(
        &mut self,
        conn: &Connection,
        names: &Names,
        v: &Version,
    ) -> Result<(), Error> {
        let Some(tag) = names.tag(v.tag) else { return Ok(()) };
        *self.tagged.entry(v.tag).or_default() -= 1;
        if primary_date(v.ty).is_none() || names.facet(v.tag).is_empty() {
            return Ok(());
        }
        let (facet, date, seq, patient) = (tag.facet, v.date, v.seq, v.patient);
        let m = Moment { facet, date, seq, patient, tag: v.tag };
        let settled = conn
            .prepare_cached("SELECT 1 FROM line WHERE k=?1")?
            .query_row([m.key()], |_| Ok(()))
            .optional()?;
        if settled.is_some() {
            *self.cells.entry(Cell::of(&m, tag)).or_default() -= 1;
        }
        Ok(())
    }

    /// The rows of timelines that wait between these keys are about to settle.
    pub(super) fn settle(
        &mut self,
        conn: &Connection,
        names: &Names,
        (from, to): (&[u8], &[u8]),
    ) -> Result<(), Error> {
        let mut gone = conn.prepare_cached("SELECT 1 FROM gone WHERE vid=?1")?;
        let any = conn
            .prepare_cached("SELECT 1 FROM gone LIMIT 1")?
            .query_row([], |_| Ok(()))
            .optional()?
            .is_some();
        let mut s = conn.prepare_cached("SELECT k FROM line_young WHERE k>=?1 AND k<=?2")?;
        let mut rows = s.query([from, to])?;
        while let Some(r) = rows.next()? {
            let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
            let m = Moment::read(key).ok_or(Error::Unusable)?;
            let tag = names.tag(m.tag).ok_or(Error::Unusable)?;
            let vid = db::vid(tag.shape.ty.number(), m.seq);
            if !any || !gone.exists([vid])? {
                *self.cells.entry(Cell::of(&m, tag)).or_default() += 1;
            }
        }
        Ok(())
    }

    pub(super) fn write(self, conn: &Connection) -> Result<(), Error> {
        let mut s = conn.prepare_cached(
            "INSERT INTO tagged VALUES(?1, ?2) ON CONFLICT(tag) DO UPDATE SET n=n+?2",
        )?;
        for (tag, more) in self.tagged.into_iter().filter(|(_, more)| *more != 0) {
            s.execute(params![tag, more])?;
        }
        let mut s = conn.prepare_cached(
            "INSERT INTO tally VALUES(?1, ?2) ON CONFLICT(k) DO UPDATE SET n=n+?2",
        )?;
        let mut empty = conn.prepare_cached("DELETE FROM tally WHERE k=?1 AND n=0")?;
        for (cell, more) in self.cells.into_iter().filter(|(_, more)| *more != 0) {
            let key = cell.key();
            s.execute(params![key, more])?;
            if more < 0 {
                empty.execute([key])?;
            }
        }
        Ok(())
    }
}

/// Whether what is kept is what the other tables say.
pub(super) fn is_right(conn: &Connection, names: &Names) -> Result<bool, Error> {
    let mut tagged: BTreeMap<u32, i64> = BTreeMap::new();
    let mut s = conn.prepare(
        "SELECT body, vid FROM version WHERE vid NOT IN (SELECT vid FROM gone) ORDER BY vid",
    )?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let body = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        let head = super::stored::read_head(r.get(1)?, body).ok_or(Error::Unusable)?.0;
        if head.tag != 0 {
            *tagged.entry(head.tag).or_default() += 1;
        }
    }
    let mut s = conn.prepare("SELECT tag, n FROM tagged WHERE n<>0")?;
    let kept = s.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    if kept.collect::<Result<BTreeMap<u32, i64>, _>>()? != tagged {
        return Ok(false);
    }
    let mut cells: BTreeMap<Cell, i64> = BTreeMap::new();
    let mut gone = conn.prepare("SELECT 1 FROM gone WHERE vid=?1")?;
    let mut s = conn.prepare("SELECT k FROM line")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        let m = Moment::read(key).ok_or(Error::Unusable)?;
        let tag = names.tag(m.tag).ok_or(Error::Unusable)?;
        if !gone.exists([db::vid(tag.shape.ty.number(), m.seq)])? {
            *cells.entry(Cell::of(&m, tag)).or_default() += 1;
        }
    }
    let mut kept = BTreeMap::new();
    let mut s = conn.prepare("SELECT k, n FROM tally")?;
    let mut rows = s.query([])?;
    while let Some(r) = rows.next()? {
        let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
        kept.insert(Cell::read(key).ok_or(Error::Unusable)?, r.get::<_, i64>(1)?);
    }
    Ok(kept == cells)
}

/// The dates at which the answer of a filter by the primary date can change, for dates of
/// a length. `None`: the tag and the date column don't decide this filter.
fn turns(pred: &Pred, tag: &Tag) -> Option<Vec<i64>> {
    let Pred::Has { params, tests, .. } = pred else { return None };
    let mut turns = Vec::new();
    for test in tests {
        match test {
            Test::Term { kind: Kind::Token, .. } | Test::Terms { kind: Kind::Token, .. } => {}
            Test::Date { low, high, .. } => {
                if params.as_slice() != primary_date(tag.shape.ty.number()).as_slice() {
                    return None;
                }
                let span = SPANS.get(usize::from(tag.span))?;
                turns.extend([*low, *high]);
                turns.extend(low.checked_sub(*span).and_then(|n| n.checked_add(1)));
                turns.extend(high.checked_sub(*span).and_then(|n| n.checked_add(1)));
            }
            _ => return None,
        }
    }
    Some(turns)
}

fn is_dated(pred: &Pred) -> bool {
    matches!(pred, Pred::Has { tests, .. } if tests.iter().any(|t| matches!(t, Test::Date { .. })))
}

impl Searcher<'_, '_> {
    /// The number of all matches, from totals that are kept; `None` where they can't say.
    pub(super) fn kept_total(&self) -> Result<Option<u64>, Error> {
        let conn = self.run.conn;
        // What is kept is of the newest version of everything.
        if db::applied(conn)? != self.run.at.cast_unsigned() {
            return Ok(None);
        }
        if !self.plan.preds.iter().all(|p| matches!(p, Pred::Has { .. })) {
            return Ok(None);
        }
        match self.plan.preds.iter().any(is_dated) {
            true => self.by_months(),
            false => self.by_tags(),
        }
    }

    /// What a version with this tag and date is told by those alone, whomever it is about:
    /// a match, or none. `None`: they don't tell.
    fn says(&self, number: u32, tag: &Tag, date: i64) -> Option<bool> {
        let c =
            Candidate { seq: 0, tag: number, patient: 0, date: Some(date), pcode: 0, span: None };
        let names = &self.run.names;
        let mut answer = None;
        for mask in self.run.masks(number)? {
            let mut said = Run::sees(mask) && mask.covers(self.sort_need);
            for pred in &self.plan.preds {
                match pred.cheap(&c, tag, mask, names) {
                    _ if !said => break,
                    Some(is) => said = is,
                    None => return None,
                }
            }
            if *answer.get_or_insert(said) != said {
                return None;
            }
        }
        answer
    }

    fn by_tags(&self) -> Result<Option<u64>, Error> {
        let mut total = 0;
        let mut s = self.run.conn.prepare_cached("SELECT n FROM tagged WHERE tag=?1")?;
        for (number, tag) in self.run.names.tags_of(self.ty.number()) {
            if self.plan.preds.iter().any(|p| turns(p, tag).is_none()) {
                return Ok(None);
            }
            let said = self.says(number, tag, NO_DATE);
            if said == Some(false) {
                continue;
            }
            let n: i64 = s.query_row([number], |r| r.get(0)).optional()?.unwrap_or(0);
            match said {
                _ if n == 0 => {}
                Some(_) => total += n.cast_unsigned(),
                None => return Ok(None),
            }
        }
        Ok(Some(total))
    }

    fn by_months(&self) -> Result<Option<u64>, Error> {
        let mut total = 0;
        for scan in &self.plan.scans {
            let Scan { what: What::Line { facet, range }, .. } = scan else { return Ok(None) };
            match self.on_timeline(*facet, range.unwrap_or((ODD_DATE + 1, i64::MAX)))? {
                Some(n) => total += n,
                None => return Ok(None),
            }
        }
        Ok(Some(total))
    }

    fn on_timeline(&self, facet: u32, (low, high): (i64, i64)) -> Result<Option<u64>, Error> {
        let conn = self.run.conn;
        let low = low.max(ODD_DATE + 1);
        let (mut total, mut rough) = (0u64, BTreeSet::new());
        let mut s = conn.prepare_cached("SELECT k, n FROM tally WHERE k>=?1 AND k<=?2")?;
        let mut end = start(facet, month_of(high));
        end.push(0xff);
        end.extend_from_slice(&[0xff; 8]);
        let mut rows = s.query([start(facet, month_of(low)), end])?;
        while let Some(r) = rows.next()? {
            let key = r.get_ref(0)?.as_blob().map_err(|_| Error::Unusable)?;
            let cell = Cell::read(key).ok_or(Error::Unusable)?;
            let tag = self.run.names.tag(cell.tag).ok_or(Error::Unusable)?;
            match self.cell_says(&cell, tag) {
                Some(true) => total += r.get::<_, i64>(1)?.cast_unsigned(),
                Some(false) => {}
                None => {
                    rough.insert(cell);
                }
            }
        }
        let mut look = |part, range: (i64, i64), rough: Option<&BTreeSet<Cell>>| {
            timeline::part(conn, part, facet, range, &mut |m| {
                let wanted = match (rough, self.run.names.tag(m.tag)) {
                    (Some(rough), Some(tag)) => rough.contains(&Cell::of(&m, tag)),
                    (None, _) => true,
                    (_, None) => false,
                };
                if wanted && self.consider(on_line(m), None, None, false)?.is_some() {
                    total += 1;
                }
                Ok(())
            })
        };
        look(Part::Settled, (ODD_DATE, ODD_DATE), None)?;
        look(Part::Waiting, (ODD_DATE, ODD_DATE), None)?;
        look(Part::Waiting, (low, high), None)?;
        let months: BTreeSet<u64> = rough.iter().map(|cell| cell.month).collect();
        for month in months {
            let (from, to) = span_of(month);
            look(Part::Settled, (from.max(low), high.min(to - 1)), Some(&rough))?;
        }
        Ok(Some(total))
    }

    /// What all rows of a cell are told alike; `None`: each is to be looked at.
    fn cell_says(&self, cell: &Cell, tag: &Tag) -> Option<bool> {
        let (from, to) = span_of(cell.month);
        let step = if cell.uneven { 1 } else { step(tag) };
        for pred in &self.plan.preds {
            for turn in turns(pred, tag)? {
                // The first date that can be there and lies behind the turn.
                let beyond = turn.rem_euclid(step);
                let next = if beyond == 0 { turn } else { turn.saturating_add(step - beyond) };
                if from < next && next < to {
                    return None;
                }
            }
        }
        self.says(cell.tag, tag, from)
    }
}
