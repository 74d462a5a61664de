//! The candidates of a scan: counted, in the order in which they lie, or merged with
//! others in the order of the primary date and cut where the page is full.

use std::collections::{BinaryHeap, HashSet, VecDeque};

use phial_fhir::search::On;
use rusqlite::{Connection, OptionalExtension};

use super::amount;
use super::db;
use super::era::{eras, first_by_time, helps};
use super::list::{self, ABOUT, Entry, List, Which};
use super::order::{Rank, RankVal};
use super::plan::{Scan, What};
use super::predicate::{Candidate, Pred, Version};
use super::search::{Match, Searcher};
use super::span;
use super::stored::{read_body, read_head};
use super::text;
use super::timeline::{self, Moment};
use super::values::{NO_DATE, ODD_DATE, SPAN_OTHER};
use super::young::Order;
use crate::error::Error;

/// Sequences of the log in which a search for what is frequent looks first: some
/// milliseconds at most.
const EARLY: i64 = 1 << 15;

/// The lists that a scan reads, if it reads lists.
fn which(ty: u8, what: &What) -> Option<Which> {
    match what {
        What::Post { pcode, low, high, patient: Some(patient) } if low == high => {
            Some(Which::One(List { pcode: *pcode, term: *low, patient: *patient }))
        }
        What::Post { pcode, low, high, .. } => {
            Some(Which::Terms { pcode: *pcode, low: *low, high: *high })
        }
        What::Member { patient } => Some(Which::One(List::about(*patient, ty))),
        _ => None,
    }
}

fn in_list(list: &List, e: Entry) -> Candidate {
    Candidate {
        seq: e.seq,
        tag: e.tag,
        patient: list.patient,
        date: Some(e.date),
        pcode: list.pcode,
        span: None,
    }
}

pub(super) fn on_line(m: Moment) -> Candidate {
    Candidate {
        seq: m.seq,
        tag: m.tag,
        patient: m.patient,
        date: Some(m.date),
        pcode: ABOUT,
        span: None,
    }
}

/// Calls `each` with what a scan of a timeline gives: the range, after what the date column
/// can't tell.
fn line(
    conn: &Connection,
    facet: u32,
    range: Option<(i64, i64)>,
    each: &mut dyn FnMut(Moment) -> Result<bool, Error>,
) -> Result<(), Error> {
    let Some((low, high)) = range else {
        return timeline::scan(conn, facet, (i64::MIN, i64::MAX), Order::Up, each);
    };
    let mut on = true;
    timeline::scan(conn, facet, (ODD_DATE, ODD_DATE), Order::Up, &mut |m| {
        on = each(m)?;
        Ok(on)
    })?;
    if on {
        timeline::scan(conn, facet, (low.max(ODD_DATE + 1), high), Order::Up, each)?;
    }
    Ok(())
}

/// How many rows a scan gives, counted up to `cap`.
pub(super) fn count_rows(conn: &Connection, ty: u8, what: &What, cap: u32) -> Result<u32, Error> {
    let n = match what {
        What::Post { .. } | What::Member { .. } => {
            which(ty, what).map_or(Ok(0), |w| list::count(conn, w, cap))?
        }
        What::Line { facet, range } => {
            let mut n = 0;
            if cap > 0 {
                line(conn, *facet, *range, &mut |_| {
                    n += 1;
                    Ok(n < cap)
                })?;
            }
            n
        }
        What::Text { pcode, like } => {
            let mut n = 0;
            if cap > 0 {
                text::scan(conn, *pcode, like, &mut |_| {
                    n += 1;
                    Ok(n < cap)
                })?;
            }
            n
        }
        What::Date { pcode, low, high } => {
            let mut n = 0;
            if cap > 0 {
                span::scan(conn, *pcode, (*low, *high), Order::Up, &mut |_| {
                    n += 1;
                    Ok(n < cap)
                })?;
            }
            n
        }
        What::Num { pcode, low, high } => {
            let mut n = 0;
            if cap > 0 {
                amount::scan(conn, *pcode, (*low, *high), &mut |_| {
                    n += 1;
                    Ok(n < cap)
                })?;
            }
            n
        }
        What::Type => cap,
        What::Res(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
    };
    Ok(n)
}

impl Searcher<'_, '_> {
    /// Calls `each` with every row of a scan, until it says stop (false).
    pub(super) fn rows(
        &self,
        scan: &Scan,
        each: &mut dyn FnMut(Candidate, Option<Version>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let conn = self.run.conn;
        let ty = self.ty.number();
        let bare =
            |seq, pcode| Candidate { seq, tag: 0, patient: 0, date: None, pcode, span: None };
        match &scan.what {
            What::Post { .. } | What::Member { .. } => {
                if let Some(which) = which(ty, &scan.what) {
                    list::scan(conn, which, &mut |list, e| each(in_list(list, e), None))?;
                }
            }
            What::Line { facet, range } => {
                line(conn, *facet, *range, &mut |m| each(on_line(m), None))?;
            }
            What::Text { pcode, like } => {
                text::scan(conn, *pcode, like, &mut |seq| each(bare(seq, *pcode), None))?;
            }
            What::Date { pcode, low, high } => {
                span::scan(conn, *pcode, (*low, *high), Order::Up, &mut |d| {
                    let c = Candidate {
                        seq: d.seq,
                        tag: d.tag,
                        patient: d.patient,
                        date: None,
                        pcode: d.pcode,
                        span: Some((d.low, d.high)),
                    };
                    each(c, None)
                })?;
            }
            What::Num { pcode, low, high } => {
                amount::scan(conn, *pcode, (*low, *high), &mut |a| {
                    each(bare(a.seq, a.pcode), None)
                })?;
            }
            What::Type => {
                // A total counts from the beginning on every page.
                let from = match (self.after, self.sort.is_empty() && !self.count) {
                    (Some(rank), true) => rank.tie.clamp(0, (1 << 40) - 1),
                    _ => 0,
                };
                self.type_rows(from, self.run.at, each)?;
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

    /// The versions of the type after the sequence `from`, up to `to`.
    fn type_rows(
        &self,
        from: i64,
        to: i64,
        each: &mut dyn FnMut(Candidate, Option<Version>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        // Who asks for no value needs none read.
        let bare = self.sort.iter().all(|k| matches!(k.on, On::LastUpdated))
            && self.plan.preds.iter().all(|p| matches!(p, Pred::Updated(_) | Pred::About(_)));
        let ty = self.ty.number();
        let mut s = self.run.conn.prepare_cached(
            "SELECT vid, body FROM version WHERE vid>?1 AND vid<=?2 ORDER BY vid",
        )?;
        let mut rows = s.query([db::vid(ty, 0) + from.max(0), db::vid(ty, to)])?;
        while let Some(r) = rows.next()? {
            let vid = r.get(0)?;
            let body = r.get_ref(1)?.as_blob().map_err(|_| Error::Unusable)?;
            let (head, _) = read_head(vid, body).ok_or(Error::Unusable)?;
            let v = if bare {
                head
            } else if self.is_out(&head)? {
                continue;
            } else {
                read_body(vid, body, &self.run.names)?
            };
            let c = Candidate { seq: v.seq, tag: 0, patient: 0, date: None, pcode: 0, span: None };
            if !each(c, Some(v))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every match of the scans: the number of all, and the first `limit` after the key.
    pub(super) fn gather(
        &self,
        scans: &[Scan],
        limit: usize,
        count: bool,
    ) -> Result<(Vec<Match>, u64), Error> {
        let mut best = Best {
            search: self,
            limit,
            repeats: self.plan.repeats
                || scans.iter().any(Scan::repeats)
                || (scans.len() > 1 && !scans.iter().all(Scan::of_facet)),
            by_log: self.sort.is_empty() && !count && limit > 0,
            in_order: false,
            seen: HashSet::new(),
            heap: BinaryHeap::with_capacity(limit.min(4096) + 1),
            total: 0,
        };
        if let [scan @ Scan { what: What::Type, .. }] = scans {
            // The versions of a type come in the order of the log: stop when the page is
            // full.
            best.in_order = best.by_log;
            if helps(self) {
                self.gather_by_time(scan, &mut best, count)?;
                return Ok((best.heap.into_sorted_vec(), best.total));
            }
        }
        for scan in scans {
            self.rows(scan, &mut |c, version| best.offer(scan, c, version))?;
        }
        Ok((best.heap.into_sorted_vec(), best.total))
    }

    /// The first `limit` matches after the key, in the order of the log, from a short piece
    /// of it: what is found often is found there, however long the log is. `None`: not
    /// enough.
    pub(super) fn early(&self, limit: usize) -> Result<Option<Vec<Match>>, Error> {
        let scan = Scan { what: What::Type, by: None };
        let from = self.after.map_or(0, |rank| rank.tie.clamp(0, (1 << 40) - 1));
        let to = self.run.at.min(from.saturating_add(EARLY));
        let mut best = Best {
            search: self,
            limit,
            repeats: false,
            by_log: true,
            in_order: true,
            seen: HashSet::new(),
            heap: BinaryHeap::with_capacity(limit.min(4096) + 1),
            total: 0,
        };
        self.type_rows(from, to, &mut |c, version| best.offer(&scan, c, version))?;
        let enough = best.heap.len() >= limit || to == self.run.at;
        Ok(enough.then(|| best.heap.into_sorted_vec()))
    }

    /// As [`Searcher::gather`], of a whole type by the times of writing.
    fn gather_by_time(
        &self,
        scan: &Scan,
        best: &mut Best<'_, '_, '_>,
        count: bool,
    ) -> Result<(), Error> {
        for era in eras(self)? {
            if let Some(descending) = first_by_time(self).filter(|_| !count) {
                let (first, last) = era.ranks(descending);
                let worst = best.heap.peek().and_then(|m| m.rank.vals.first());
                if best.heap.len() >= best.limit && worst.is_some_and(|w| first > *w) {
                    break;
                }
                let after = self.after.and_then(|a| a.vals.first());
                if after.is_some_and(|a| last < *a) {
                    continue;
                }
            }
            let to = era.last().min(self.run.at);
            let mut each = |c, version| best.offer(scan, c, version);
            if !self.type_rows(era.before(), to, &mut each)? {
                break;
            }
        }
        Ok(())
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

/// The best matches so far.
struct Best<'s, 'r, 'a> {
    search: &'s Searcher<'r, 'a>,
    limit: usize,
    /// A version can come up more than once.
    repeats: bool,
    /// The order is that of the log, and nothing is counted.
    by_log: bool,
    /// Candidates come in the order of the matches.
    in_order: bool,
    seen: HashSet<i64>,
    heap: BinaryHeap<Match>,
    total: u64,
}

impl Best<'_, '_, '_> {
    /// Takes a candidate in, if it matches and is good enough. False: the page is full
    /// and no better will come.
    fn offer(&mut self, scan: &Scan, c: Candidate, v: Option<Version>) -> Result<bool, Error> {
        if self.repeats && self.seen.contains(&c.seq) {
            return Ok(true);
        }
        let after = self.search.after;
        let full = self.heap.len() >= self.limit;
        // In the order of the log its place is known before it is looked at.
        if self.by_log
            && (after.is_some_and(|a| c.seq <= a.tie)
                || (full && self.heap.peek().is_some_and(|worst| c.seq > worst.seq)))
        {
            return Ok(!(full && self.in_order));
        }
        let seq = c.seq;
        let Some(m) = self.search.consider(c, scan.by, v, self.limit > 0)? else {
            return Ok(true);
        };
        if self.repeats {
            self.seen.insert(seq);
        }
        self.total += 1;
        if self.limit == 0 || after.is_some_and(|after| m.rank <= *after) {
            return Ok(true);
        }
        if !full {
            self.heap.push(m);
        } else if self.heap.peek().is_some_and(|worst| m < *worst) {
            self.heap.pop();
            self.heap.push(m);
        }
        Ok(!(self.in_order && self.heap.len() >= self.limit))
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
        piece(search, scan, (ODD_DATE, ODD_DATE), None, true, usize::MAX)
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
            let rows = piece(search, self.scan, range, self.last, self.down, self.piece)?;
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
    limit: usize,
) -> Result<Vec<Candidate>, Error> {
    let conn = search.run.conn;
    let list = match &scan.what {
        What::Post { pcode, low, patient: Some(patient), .. } => {
            List { pcode: *pcode, term: *low, patient: *patient }
        }
        What::Member { patient } => List::about(*patient, search.ty.number()),
        What::Line { facet, range: stretch } => {
            // What the column can't tell may be anywhere.
            let stretch = stretch.filter(|_| range != (ODD_DATE, ODD_DATE));
            let (low, high) = stretch.unwrap_or(range);
            let range = (range.0.max(low), range.1.min(high));
            return moments(conn, *facet, range, last, down, limit);
        }
        What::Date { pcode, low, high } => {
            let range = (range.0.max(*low), range.1.min(*high));
            return dates(search, *pcode, range, last, down, limit);
        }
        _ => return Ok(Vec::new()),
    };
    let entries = list::piece(conn, &list, range, last, down, limit)?;
    Ok(entries.into_iter().map(|e| in_list(&list, e)).collect())
}

/// The stretch of dates that is left after `last`, and its order.
fn left((low, high): (i64, i64), last: Option<(i64, i64)>, down: bool) -> (Order, (i64, i64)) {
    match (last, down) {
        (Some((date, _)), true) => (Order::Down, (low, high.min(date))),
        (Some((date, _)), false) => (Order::Up, (low.max(date), high)),
        (None, true) => (Order::Down, (low, high)),
        (None, false) => (Order::Up, (low, high)),
    }
}

/// Whether what stands at this date and sequence comes after `last`.
fn beyond(at: (i64, i64), last: Option<(i64, i64)>, down: bool) -> bool {
    last.is_none_or(|last| if down { at < last } else { at > last })
}

/// As [`piece`], of a timeline.
fn moments(
    conn: &Connection,
    facet: u32,
    range: (i64, i64),
    last: Option<(i64, i64)>,
    down: bool,
    limit: usize,
) -> Result<Vec<Candidate>, Error> {
    let mut out = Vec::new();
    let (order, range) = left(range, last, down);
    timeline::scan(conn, facet, range, order, &mut |m| {
        if beyond((m.date, m.seq), last, down) {
            out.push(on_line(m));
        }
        Ok(out.len() < limit)
    })?;
    Ok(out)
}

/// As [`piece`], of the rows of dates.
fn dates(
    search: &Searcher<'_, '_>,
    pcode: u32,
    range: (i64, i64),
    last: Option<(i64, i64)>,
    down: bool,
    limit: usize,
) -> Result<Vec<Candidate>, Error> {
    let mut out = Vec::new();
    let (order, range) = left(range, last, down);
    span::scan(search.run.conn, pcode, range, order, &mut |d| {
        if beyond((d.low, d.seq), last, down) {
            // A tag with a span says that this is the only date; else the version does.
            let only = search.run.names.tag(d.tag).is_some_and(|t| t.span != SPAN_OTHER);
            out.push(Candidate {
                seq: d.seq,
                tag: d.tag,
                patient: d.patient,
                date: only.then_some(d.low),
                pcode,
                span: Some((d.low, d.high)),
            });
        }
        Ok(out.len() < limit)
    })?;
    Ok(out)
}
