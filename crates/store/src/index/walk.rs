//! The candidates of a scan: counted, in the order in which they lie, or merged with
//! others in the order of the primary date and cut where the page is full.

use std::collections::{BinaryHeap, HashSet, VecDeque};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::db;
use super::order::{Rank, RankVal};
use super::plan::{Scan, What};
use super::predicate::{Candidate, Version};
use super::search::{Match, Searcher};
use super::stored::{VERSION_COLUMNS, read_version};
use super::values::{NO_DATE, ODD_DATE, SPAN_OTHER};
use crate::error::Error;

/// The end of a text range: every text with the prefix is below.
fn text_end(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// How many rows a scan gives, counted up to `cap`.
pub(super) fn count_rows(conn: &Connection, ty: u8, what: &What, cap: u32) -> Result<u32, Error> {
    let n = match what {
        What::Post { pcode, low, high, patient: Some(p) } => conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM post WHERE pcode=?1 AND term>=?2 AND term<=?3 \
                 AND patient=?4 LIMIT ?5)",
            )?
            .query_row(params![pcode, low, high, p, cap], |r| r.get(0))?,
        What::Post { pcode, low, high, patient: None } => conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM post WHERE pcode=?1 AND term>=?2 AND term<=?3 \
                 LIMIT ?4)",
            )?
            .query_row(params![pcode, low, high, cap], |r| r.get(0))?,
        What::Member { patient } => conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM member WHERE patient=?1 AND ty=?2 LIMIT ?3)",
            )?
            .query_row(params![patient, ty, cap], |r| r.get(0))?,
        What::Text { pcode, prefix } => conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM str WHERE pcode=?1 AND text>=?2 AND text<?3 \
                 LIMIT ?4)",
            )?
            .query_row(params![pcode, prefix, text_end(prefix), cap], |r| r.get(0))?,
        What::Date { pcode, low, high } => conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM dat WHERE pcode=?1 AND low>=?2 AND low<=?3 \
                 LIMIT ?4)",
            )?
            .query_row(params![pcode, low, high, cap], |r| r.get(0))?,
        What::Num { pcode, low, high } => conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM num WHERE pcode=?1 AND value>=?2 \
                 AND value<=?3 LIMIT ?4)",
            )?
            .query_row(params![pcode, low, high, cap], |r| r.get(0))?,
        What::Type => cap,
        What::Res(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
    };
    Ok(n)
}

impl Searcher<'_, '_> {
    /// Calls `each` with every row of a scan, until it says stop (false).
    fn rows(
        &self,
        scan: &Scan,
        each: &mut dyn FnMut(Candidate, Option<Version>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let conn = self.run.conn;
        let ty = self.ty.number();
        let bare =
            |seq, pcode| Candidate { seq, tag: 0, patient: 0, date: None, pcode, span: None };
        match &scan.what {
            What::Post { pcode, low, high, patient } => {
                let pcode = *pcode;
                let mut of = |r: &Row<'_>| -> Result<bool, Error> {
                    let c = Candidate {
                        seq: r.get(0)?,
                        tag: r.get(1)?,
                        patient: r.get(2)?,
                        date: Some(r.get(3)?),
                        pcode,
                        span: None,
                    };
                    each(c, None)
                };
                match patient {
                    Some(p) => {
                        let mut s = conn.prepare_cached(
                            "SELECT seq, tag, patient, date FROM post WHERE pcode=?1 AND term>=?2 \
                             AND term<=?3 AND patient=?4",
                        )?;
                        let mut rows = s.query(params![pcode, low, high, p])?;
                        while let Some(r) = rows.next()? {
                            if !of(r)? {
                                break;
                            }
                        }
                    }
                    None => {
                        let mut s = conn.prepare_cached(
                            "SELECT seq, tag, patient, date FROM post WHERE pcode=?1 AND term>=?2 \
                             AND term<=?3",
                        )?;
                        let mut rows = s.query(params![pcode, low, high])?;
                        while let Some(r) = rows.next()? {
                            if !of(r)? {
                                break;
                            }
                        }
                    }
                }
            }
            What::Member { patient } => {
                let mut s = conn.prepare_cached(
                    "SELECT seq, tag, date FROM member WHERE patient=?1 AND ty=?2",
                )?;
                let mut rows = s.query(params![patient, ty])?;
                while let Some(r) = rows.next()? {
                    let c = Candidate {
                        seq: r.get(0)?,
                        tag: r.get(1)?,
                        patient: *patient,
                        date: Some(r.get(2)?),
                        pcode: 0,
                        span: None,
                    };
                    if !each(c, None)? {
                        break;
                    }
                }
            }
            What::Text { pcode, prefix } => {
                let mut s = conn.prepare_cached(
                    "SELECT seq FROM str WHERE pcode=?1 AND text>=?2 AND text<?3",
                )?;
                let mut rows = s.query(params![pcode, prefix, text_end(prefix)])?;
                while let Some(r) = rows.next()? {
                    if !each(bare(r.get(0)?, *pcode), None)? {
                        break;
                    }
                }
            }
            What::Date { pcode, low, high } => {
                let mut s = conn.prepare_cached(
                    "SELECT seq, tag, patient, low, high FROM dat \
                     WHERE pcode=?1 AND low>=?2 AND low<=?3",
                )?;
                let mut rows = s.query(params![pcode, low, high])?;
                while let Some(r) = rows.next()? {
                    let c = Candidate {
                        seq: r.get(0)?,
                        tag: r.get(1)?,
                        patient: r.get(2)?,
                        date: None,
                        pcode: *pcode,
                        span: Some((r.get(3)?, r.get(4)?)),
                    };
                    if !each(c, None)? {
                        break;
                    }
                }
            }
            What::Num { pcode, low, high } => {
                let mut s = conn.prepare_cached(
                    "SELECT seq FROM num WHERE pcode=?1 AND value>=?2 AND value<=?3",
                )?;
                let mut rows = s.query(params![pcode, low, high])?;
                while let Some(r) = rows.next()? {
                    if !each(bare(r.get(0)?, *pcode), None)? {
                        break;
                    }
                }
            }
            What::Type => {
                // A total counts from the beginning on every page.
                let from = match (self.after, self.sort.is_empty() && !self.count) {
                    (Some(rank), true) => rank.tie.clamp(0, (1 << 40) - 1),
                    _ => 0,
                };
                let sql = format!(
                    "SELECT {VERSION_COLUMNS} FROM version WHERE vid>?1 AND vid<=?2 ORDER BY vid"
                );
                let mut s = conn.prepare_cached(&sql)?;
                let mut rows = s.query([db::vid(ty, from), db::vid(ty, self.run.at)])?;
                while let Some(r) = rows.next()? {
                    let (v, whole) = read_version(r)?;
                    if !whole {
                        return Err(Error::Unusable);
                    }
                    if !each(bare(v.seq, 0), Some(v))? {
                        break;
                    }
                }
            }
            What::Res(ids) => {
                for id in ids {
                    let cur: Option<i64> = conn
                        .prepare_cached("SELECT cur FROM res WHERE num=?1")?
                        .query_row([id], |r| r.get(0))
                        .optional()?;
                    if let Some(v) = self.run.current(ty, cur.unwrap_or(0))?
                        && !each(bare(v.seq, 0), Some(v))?
                    {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Every match of the scans: the number of all, and the first `limit` after the key.
    pub(super) fn gather(
        &self,
        scans: &[Scan],
        limit: usize,
        count: bool,
    ) -> Result<(Vec<Match>, u64), Error> {
        let repeats = scans.len() > 1 || scans.iter().any(Scan::repeats);
        // The versions of a type come in the order of the log: stop when the page is full.
        let in_order =
            self.sort.is_empty() && !count && matches!(scans, [Scan { what: What::Type, .. }]);
        let mut seen = HashSet::new();
        let mut heap: BinaryHeap<Match> = BinaryHeap::with_capacity(limit + 1);
        let mut total = 0;
        for scan in scans {
            self.rows(scan, &mut |c, version| {
                if repeats && seen.contains(&c.seq) {
                    return Ok(true);
                }
                let seq = c.seq;
                let Some(m) = self.consider(c, scan.by, version, limit > 0)? else {
                    return Ok(true);
                };
                if repeats {
                    seen.insert(seq);
                }
                total += 1;
                if limit == 0 || self.after.is_some_and(|after| m.rank <= *after) {
                    return Ok(true);
                }
                if heap.len() < limit {
                    heap.push(m);
                } else if heap.peek().is_some_and(|worst| m < *worst) {
                    heap.pop();
                    heap.push(m);
                }
                Ok(!(in_order && heap.len() >= limit))
            })?;
        }
        Ok((heap.into_sorted_vec(), total))
    }

    /// The first `limit` matches after the key, from scans whose rows come in the order
    /// of the primary date, merged; the others are gathered first. `None`: the walk
    /// ended before the page was full and can't know of records without a date.
    pub(super) fn walk(
        &self,
        scans: &[Scan],
        limit: usize,
        down: bool,
        over_dates: bool,
    ) -> Result<Option<Vec<Match>>, Error> {
        let mut streams = Vec::new();
        let mut others = Vec::new();
        for scan in scans {
            if scan.dated() || over_dates {
                streams.push(Stream::new(self, scan, down));
                if scan.dated() {
                    others.push((scan, true));
                }
            } else {
                others.push((scan, false));
            }
        }
        let mut seen = HashSet::new();
        let mut gathered: Vec<Match> = Vec::new();
        for (scan, odd_only) in others {
            let mut take = |c: Candidate, version| -> Result<bool, Error> {
                let seq = c.seq;
                if !seen.contains(&seq)
                    && let Some(m) = self.consider(c, scan.by, version, true)?
                {
                    seen.insert(seq);
                    if self.after.is_none_or(|after| m.rank > *after) {
                        gathered.push(m);
                    }
                }
                Ok(true)
            };
            if odd_only {
                for c in Stream::odd(self, scan)? {
                    take(c, None)?;
                }
            } else {
                self.rows(scan, &mut take)?;
            }
        }
        gathered.sort_unstable();
        let mut gathered: VecDeque<Match> = gathered.into();
        let mut out: Vec<Match> = Vec::with_capacity(limit);
        while out.len() < limit {
            // The stream whose next candidate comes first.
            let mut best: Option<(Rank, usize)> = None;
            for (i, s) in streams.iter_mut().enumerate() {
                if let Some(rank) = s.peek(self, limit)?
                    && best.as_ref().is_none_or(|(b, _)| rank < *b)
                {
                    best = Some((rank, i));
                }
            }
            let from_gathered = match (&best, gathered.front()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some((rank, _)), Some(m)) => m.rank < *rank,
            };
            if from_gathered {
                out.extend(gathered.pop_front());
                continue;
            }
            let Some((expected, i)) = best else { break };
            let Some(stream) = streams.get_mut(i) else { break };
            let Some(c) = stream.buffer.pop_front() else { continue };
            if seen.contains(&c.seq) {
                continue;
            }
            let (seq, by) = (c.seq, stream.scan.by);
            // A row of `dat` may be one of several dates: it counts where it is the key.
            if let Some(m) = self.consider(c, by, None, true)?
                && m.rank == expected
            {
                seen.insert(seq);
                if self.after.is_none_or(|after| m.rank > *after) {
                    out.push(m);
                }
            }
        }
        Ok((out.len() >= limit || !over_dates).then_some(out))
    }
}

/// A scan in the order of the date column, read in pieces.
struct Stream<'s> {
    scan: &'s Scan,
    down: bool,
    /// The place after which to read on.
    last: Option<(i64, i64)>,
    buffer: VecDeque<Candidate>,
    /// The dated rows are read; those without a date follow, if there can be any.
    undated: bool,
    done: bool,
    piece: usize,
}

impl<'s> Stream<'s> {
    fn new(search: &Searcher<'_, '_>, scan: &'s Scan, down: bool) -> Self {
        let mut stream = Stream {
            scan,
            down,
            last: None,
            buffer: VecDeque::new(),
            undated: false,
            done: false,
            piece: 0,
        };
        if let Some(after) = search.after {
            let seq = if down { !after.tie } else { after.tie };
            match after.vals.first() {
                Some(RankVal::Int(n)) => stream.last = Some((if down { !*n } else { *n }, seq)),
                _ => {
                    stream.undated = true;
                    stream.last = Some((NO_DATE, seq));
                }
            }
        }
        stream
    }

    /// The rows of a dated scan whose date column can't stand for the dates.
    fn odd(search: &Searcher<'_, '_>, scan: &Scan) -> Result<Vec<Candidate>, Error> {
        piece(search, scan, (ODD_DATE, ODD_DATE), None, true, i64::MAX)
    }

    /// The rank of the next candidate.
    fn peek(&mut self, search: &Searcher<'_, '_>, limit: usize) -> Result<Option<Rank>, Error> {
        while self.buffer.is_empty() && !self.done {
            self.piece = if self.piece == 0 { limit + 4 } else { (self.piece * 2).min(4096) };
            // A row of `dat` may start at `i64::MIN`, open: that is a date, and the first.
            let range = match (&self.scan.what, self.undated) {
                (What::Date { .. }, _) => (i64::MIN, i64::MAX),
                (_, true) => (NO_DATE, NO_DATE),
                (_, false) => (ODD_DATE + 1, i64::MAX),
            };
            let limit = i64::try_from(self.piece).unwrap_or(i64::MAX);
            let rows = piece(search, self.scan, range, self.last, self.down, limit)?;
            if rows.len() < self.piece {
                if self.undated || matches!(self.scan.what, What::Date { .. }) {
                    self.done = true;
                } else {
                    self.undated = true;
                    self.last = None;
                }
            }
            if rows.len() >= self.piece
                && let Some(c) = rows.last()
            {
                self.last = Some((date_of(c), c.seq));
            }
            self.buffer = rows.into();
        }
        Ok(self.buffer.front().map(|c| {
            let v = match date_of(c) {
                NO_DATE if c.span.is_none() => RankVal::Missing,
                date => RankVal::int(date, self.down),
            };
            Rank::new(vec![v], c.seq, self.down)
        }))
    }
}

fn date_of(c: &Candidate) -> i64 {
    c.span.map(|s| s.0).or(c.date).unwrap_or(NO_DATE)
}

/// Up to `limit` rows of a scan with dates in `range`, in order, after `last`.
fn piece(
    search: &Searcher<'_, '_>,
    scan: &Scan,
    range: (i64, i64),
    last: Option<(i64, i64)>,
    down: bool,
    limit: i64,
) -> Result<Vec<Candidate>, Error> {
    let conn = search.run.conn;
    // From the last date on; rows of that date up to the last sequence are passed over.
    let (low, high, edge, seq) = match (last, down) {
        (Some((date, seq)), true) => (range.0, range.1.min(date), date, seq),
        (Some((date, seq)), false) => (range.0.max(date), range.1, date, seq),
        (None, true) => (range.0, range.1, i64::MAX, i64::MAX),
        (None, false) => (range.0, range.1, i64::MIN, -1),
    };
    let (order, beyond) = if down { ("DESC", "<") } else { ("ASC", ">") };
    let mut out = Vec::new();
    match &scan.what {
        What::Post { pcode, low: term, patient: Some(patient), .. } => {
            let sql = format!(
                "SELECT date, seq, tag FROM post WHERE pcode=?1 AND term=?2 AND patient=?3 \
                 AND date>=?4 AND date<=?5 AND (date<>?6 OR seq{beyond}?7) \
                 ORDER BY date {order}, seq {order} LIMIT ?8"
            );
            let mut s = conn.prepare_cached(&sql)?;
            let mut rows = s.query(params![pcode, term, patient, low, high, edge, seq, limit])?;
            while let Some(r) = rows.next()? {
                out.push(Candidate {
                    seq: r.get(1)?,
                    tag: r.get(2)?,
                    patient: *patient,
                    date: Some(r.get(0)?),
                    pcode: *pcode,
                    span: None,
                });
            }
        }
        What::Member { patient } => {
            let sql = format!(
                "SELECT date, seq, tag FROM member WHERE patient=?1 AND ty=?2 \
                 AND date>=?3 AND date<=?4 AND (date<>?5 OR seq{beyond}?6) \
                 ORDER BY date {order}, seq {order} LIMIT ?7"
            );
            let mut s = conn.prepare_cached(&sql)?;
            let ty = search.ty.number();
            let mut rows = s.query(params![patient, ty, low, high, edge, seq, limit])?;
            while let Some(r) = rows.next()? {
                out.push(Candidate {
                    seq: r.get(1)?,
                    tag: r.get(2)?,
                    patient: *patient,
                    date: Some(r.get(0)?),
                    pcode: 0,
                    span: None,
                });
            }
        }
        What::Date { pcode, low: from, high: to } => {
            let sql = format!(
                "SELECT low, seq, high, patient, tag FROM dat WHERE pcode=?1 \
                 AND low>=?2 AND low<=?3 AND (low<>?4 OR seq{beyond}?5) \
                 ORDER BY low {order}, seq {order} LIMIT ?6"
            );
            let mut s = conn.prepare_cached(&sql)?;
            let (low, high) = (low.max(*from), high.min(*to));
            let mut rows = s.query(params![pcode, low, high, edge, seq, limit])?;
            while let Some(r) = rows.next()? {
                let tag: u32 = r.get(4)?;
                let span = (r.get(0)?, r.get(2)?);
                // A tag with a span says that this is the only date; else the version does.
                let only = search.run.names.tag(tag).is_some_and(|t| t.span != SPAN_OTHER);
                out.push(Candidate {
                    seq: r.get(1)?,
                    tag,
                    patient: r.get(3)?,
                    date: only.then_some(span.0),
                    pcode: *pcode,
                    span: Some(span),
                });
            }
        }
        _ => {}
    }
    Ok(out)
}
