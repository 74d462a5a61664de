//! Running a plan: candidates from the scans, each held against snapshot, mask and
//! filters, ranked, and cut into a page. Everything that the mask hides is gone before
//! anything is counted.

use std::cell::RefCell;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use phial_base::{ClassSet, DataClass, RowId, Seq, Version as RecordVersion};
use phial_fhir::ResourceType;
use phial_fhir::search::{Include, On, Query, SortKey, fold};
use phial_policy::RelationshipSet;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::dict::{Kind, Names};
use super::order::{PageKey, Rank, RankVal, SortKeyValue};
use super::plan::{Plan, Scan, What, by_date, plan};
use super::predicate::{Candidate, Pred, Test, Version, covers_all, date_matches};
use super::relate::Related;
use super::values::{NO_DATE, ODD_DATE, Val, decode, res_name};
use super::write::{members, primary_date};
use super::{Access, Hit, Index, Page, Viewer, db, unusable};
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

const VERSION_COLUMNS: &str = "vid, res, ver, tag, patient, date, updated, row, vals";

fn read_version(r: &Row<'_>) -> rusqlite::Result<(Version, bool)> {
    let vid: i64 = r.get(0)?;
    let vals = decode(r.get_ref(8)?.as_blob().unwrap_or_default());
    let whole = vals.is_ok();
    let version = Version {
        ty: db::type_of(vid),
        seq: db::seq_of(vid),
        res: r.get(1)?,
        ver: r.get(2)?,
        tag: r.get(3)?,
        patient: r.get(4)?,
        date: r.get(5)?,
        updated: r.get(6)?,
        row: r.get(7)?,
        vals: vals.unwrap_or_default(),
    };
    Ok((version, whole))
}

/// The version row, when it is there.
pub(super) fn fetch(conn: &Connection, vid: i64) -> Result<Option<Version>, Error> {
    let mut s = conn.prepare_cached(
        "SELECT vid, res, ver, tag, patient, date, updated, row, vals FROM version WHERE vid=?1",
    )?;
    match s.query_row([vid], read_version).optional()? {
        None => Ok(None),
        Some((v, true)) => Ok(Some(v)),
        Some((_, false)) => Err(Error::Unusable),
    }
}

/// One search under way.
pub(super) struct Run<'a> {
    pub index: &'a Index,
    pub conn: &'a Connection,
    pub names: Arc<Names>,
    pub related: Arc<Related>,
    pub access: Access<'a>,
    pub at: i64,
    masks: RefCell<HashMap<(u32, u8), ClassSet>>,
    sets: RefCell<HashMap<i64, RelationshipSet>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        index: &'a Index,
        conn: &'a Connection,
        related: Arc<Related>,
        access: Access<'a>,
        at: i64,
    ) -> Self {
        Run {
            index,
            conn,
            names: index.names(),
            related,
            access,
            at,
            masks: RefCell::default(),
            sets: RefCell::default(),
        }
    }

    /// The relationships of the viewer to what stands in a patient column.
    fn relationships(&self, patient: i64) -> Result<RelationshipSet, Error> {
        if patient >= 0 {
            return Ok(self.related.of(patient));
        }
        if let Some(r) = self.sets.borrow().get(&patient) {
            return Ok(*r);
        }
        let all = members(self.conn, -patient)?;
        let r = if all.is_empty() {
            RelationshipSet::NONE
        } else {
            all.iter().fold(RelationshipSet::ALL, |r, p| r.and(self.related.of(*p)))
        };
        self.sets.borrow_mut().insert(patient, r);
        Ok(r)
    }

    /// What the viewer sees of a version with this tag and patient column.
    fn mask(&self, tag: u32, patient: i64) -> Result<ClassSet, Error> {
        let Some(t) = self.names.tag(tag) else { return Ok(ClassSet::NONE) };
        let related = self.relationships(patient)?;
        let key = (tag, related.bits());
        if let Some(m) = self.masks.borrow().get(&key) {
            return Ok(*m);
        }
        // Tags that differ in no more than the form of the values share the answer.
        let same = self.masks.borrow().iter().find_map(|((other, bits), m)| {
            (*bits == related.bits() && self.names.tag(*other).is_some_and(|o| o.shape == t.shape))
                .then_some(*m)
        });
        let m = same.unwrap_or_else(|| (self.access)(&t.shape, related));
        self.masks.borrow_mut().insert(key, m);
        Ok(m)
    }

    fn sees(mask: ClassSet) -> bool {
        mask.has(DataClass::Administrative)
    }

    /// The version of a resource that was current at the snapshot and is visible.
    pub(super) fn current(&self, ty: u8, mut seq: i64) -> Result<Option<Version>, Error> {
        while seq != 0 {
            if seq <= self.at {
                let found = fetch(self.conn, db::vid(ty, seq))?;
                return Ok(match found {
                    Some(v) if v.tag != 0 && self.index.live(seq, self.at) => Some(v),
                    _ => None,
                });
            }
            let prev: Option<i64> = self
                .conn
                .prepare_cached("SELECT prev FROM version WHERE vid=?1")?
                .query_row([db::vid(ty, seq)], |r| r.get(0))
                .optional()?;
            seq = prev.unwrap_or(0);
        }
        Ok(None)
    }
}

/// A version that matched.
struct Match {
    rank: Rank,
    seq: i64,
    version: Option<Version>,
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}
impl Eq for Match {}
impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Match {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// A search with its plan.
struct Searcher<'r, 'a> {
    run: &'r Run<'a>,
    ty: ResourceType,
    plan: Plan,
    sort: &'r [SortKey],
    /// Classes that the mask must cover for the sort keys.
    sort_need: ClassSet,
    descending: bool,
    after: Option<&'r Rank>,
    /// Whether the total is wanted.
    count: bool,
}

impl Searcher<'_, '_> {
    /// Whether the only sort key is the primary date, and in which direction.
    fn by_primary_date(&self) -> Option<bool> {
        let [SortKey { on: On::Param(p), descending }] = self.sort else { return None };
        (primary_date(self.ty.number()) == Some(p.number())).then_some(*descending)
    }

    fn fetch(&self, seq: i64) -> Result<Option<Version>, Error> {
        fetch(self.run.conn, db::vid(self.ty.number(), seq))
    }

    /// Holds a candidate against snapshot, mask and filters. `rank`: whether its place
    /// in the order is wanted.
    fn consider(
        &self,
        mut c: Candidate,
        by: Option<usize>,
        mut version: Option<Version>,
        rank: bool,
    ) -> Result<Option<Match>, Error> {
        if !self.run.index.live(c.seq, self.run.at) {
            return Ok(None);
        }
        if c.tag == 0 {
            if version.is_none() {
                version = self.fetch(c.seq)?;
            }
            let Some(v) = &version else { return Ok(None) };
            (c.tag, c.patient, c.date) = (v.tag, v.patient, Some(v.date));
        }
        let Some(tag) = self.run.names.tag(c.tag) else { return Ok(None) };
        let mask = self.run.mask(c.tag, c.patient)?;
        if !Run::sees(mask) || !mask.covers(self.sort_need) {
            return Ok(None);
        }
        let mut open = Vec::new();
        for (at, pred) in self.plan.preds.iter().enumerate() {
            if by == Some(at) {
                if !self.row_satisfies(&c, pred, mask) {
                    return Ok(None);
                }
                continue;
            }
            match pred.cheap(&c, tag, mask, &self.run.names) {
                Some(true) => {}
                Some(false) => return Ok(None),
                None => open.push(pred),
            }
        }
        if !open.is_empty() {
            if version.is_none() {
                version = self.fetch(c.seq)?;
            }
            let Some(v) = &version else { return Ok(None) };
            if !open.iter().all(|p| p.full(v, mask, &self.run.names)) {
                return Ok(None);
            }
        }
        let vals = match self.vals(&c, &mut version, mask, rank)? {
            Some(vals) => vals,
            None => return Ok(None),
        };
        Ok(Some(Match { rank: Rank::new(vals, c.seq, self.descending), seq: c.seq, version }))
    }

    /// Whether the row that brought the candidate up satisfies its filter.
    fn row_satisfies(&self, c: &Candidate, pred: &Pred, mask: ClassSet) -> bool {
        let Some(p) = self.run.names.pcode(c.pcode) else { return false };
        let Pred::Has { tests, need, .. } = pred else { return false };
        mask.has(p.class)
            && mask.covers(*need)
            && c.span.is_none_or(|span| {
                tests.iter().any(|t| {
                    matches!(t, Test::Date { prefix, low, high }
                        if date_matches(*prefix, *low, *high, span))
                })
            })
    }

    /// The sort values; `None` when the mask does not cover what stands there.
    fn vals(
        &self,
        c: &Candidate,
        version: &mut Option<Version>,
        mask: ClassSet,
        rank: bool,
    ) -> Result<Option<Vec<RankVal>>, Error> {
        if self.sort.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if let (Some(descending), Some(date)) = (self.by_primary_date(), c.date)
            && date != ODD_DATE
        {
            // The column is the key; its class is among those that `sort_need` covers.
            let v = if date == NO_DATE { RankVal::Missing } else { RankVal::int(date, descending) };
            return Ok(Some(vec![v]));
        }
        if version.is_none() {
            *version = self.fetch(c.seq)?;
        }
        let Some(v) = version else { return Ok(None) };
        let mut out = Vec::with_capacity(self.sort.len());
        for key in self.sort {
            match &key.on {
                On::LastUpdated => out.push(RankVal::int(v.updated, key.descending)),
                On::Id if !rank => out.push(RankVal::Missing),
                On::Id => {
                    let name = res_text(self.run.conn, v.res)?;
                    out.push(RankVal::text(name.1, key.descending));
                }
                On::Param(p) => {
                    let param = p.number();
                    if !covers_all(v, &[param], p.classes(self.ty), mask, &self.run.names) {
                        return Ok(None);
                    }
                    let mut best: Option<RankVal> = None;
                    for val in &v.vals {
                        if self.run.names.has_param(val.pcode(), param)
                            && let Some(r) = self.rank_val(val, v.patient, key.descending)?
                            && best.as_ref().is_none_or(|b| r < *b)
                        {
                            best = Some(r);
                        }
                    }
                    out.push(best.unwrap_or(RankVal::Missing));
                }
            }
        }
        Ok(Some(out))
    }

    fn rank_val(&self, val: &Val, patient: i64, down: bool) -> Result<Option<RankVal>, Error> {
        let conn = self.run.conn;
        Ok(match val {
            Val::Date { low, .. } => Some(RankVal::int(*low, down)),
            Val::Num { value, .. } => Some(RankVal::real(*value, down)),
            Val::Str { text, .. } => Some(RankVal::text(fold(text), down)),
            Val::Own { .. } => Some(RankVal::text(ref_text(conn, patient)?, down)),
            Val::Post { pcode, term } => {
                let text = match self.run.names.pcode(*pcode).map(|p| p.kind) {
                    Some(Kind::Ref) => ref_text(conn, *term)?,
                    // What stands beside a reference is no place of its own.
                    Some(Kind::RefIdent) | None => return Ok(None),
                    _ => conn
                        .prepare_cached("SELECT code FROM term WHERE num=?1")?
                        .query_row([term], |r| r.get(0))?,
                };
                Some(RankVal::text(text, down))
            }
        })
    }

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
    fn gather(
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
    fn walk(
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

    fn hits(&self, matches: Vec<Match>) -> Result<Vec<Hit>, Error> {
        let mut hits = Vec::with_capacity(matches.len());
        for m in matches {
            let version = match m.version {
                Some(v) => Some((v.row, v.ver)),
                None => self
                    .run
                    .conn
                    .prepare_cached("SELECT row, ver FROM version WHERE vid=?1")?
                    .query_row([db::vid(self.ty.number(), m.seq)], |r| Ok((r.get(0)?, r.get(1)?)))
                    .optional()?,
            };
            // A version purged between two reads of one snapshot can't be; a missing row
            // is damage.
            let (row, ver): ([u8; 16], u32) = version.ok_or(Error::Unusable)?;
            hits.push(Hit {
                row: RowId(row),
                version: RecordVersion(ver),
                ty: self.ty,
                seq: Seq(m.seq.cast_unsigned()),
                key: SortKeyValue(m.rank),
            });
        }
        Ok(hits)
    }
}

/// `Type/id` of a resource.
fn ref_text(conn: &Connection, num: i64) -> Result<String, Error> {
    let (ty, id) = res_text(conn, num)?;
    let name = ResourceType::from_number(ty).map_or("", ResourceType::name);
    Ok(format!("{name}/{id}"))
}

pub(super) fn res_text(conn: &Connection, num: i64) -> Result<(u8, String), Error> {
    let key: Vec<u8> =
        conn.prepare_cached("SELECT key FROM res WHERE num=?1")?.query_row([num], |r| r.get(0))?;
    res_name(&key).ok_or(Error::Unusable)
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
                let only =
                    search.run.names.tag(tag).is_some_and(|t| t.span != super::values::SPAN_OTHER);
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

impl Index {
    /// Searches the snapshot at `at`. At most `limit` hits after the key `after`; the
    /// exact total when `count`; no hits at all with `limit` 0.
    ///
    /// Hits are sorted as the query says, else in the order of the log. The order of a
    /// date is that of its start; of several values the smallest counts ascending and
    /// the largest descending.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `at` is not applied yet, or `after` belongs to another
    /// sort; [`Error::Unusable`] when the file is damaged.
    #[expect(
        clippy::too_many_arguments,
        reason = "the interface that the engine is written against"
    )]
    pub fn search(
        &self,
        q: &Query,
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
        after: Option<&PageKey>,
        limit: u32,
        count: bool,
    ) -> Result<Page, Error> {
        self.search_inner(q, viewer, access, at, after, limit, count).map_err(unusable)
    }

    #[expect(clippy::too_many_arguments, reason = "as `search`")]
    fn search_inner(
        &self,
        q: &Query,
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
        after: Option<&PageKey>,
        limit: u32,
        count: bool,
    ) -> Result<Page, Error> {
        if at > self.applied() {
            return Err(Error::Invalid("snapshot is not applied yet"));
        }
        if after.is_some_and(|k| k.0.vals.len() != q.sort.len()) {
            return Err(Error::Invalid("page key of another sort"));
        }
        let at = i64::try_from(at.0).map_err(|_| Error::Invalid("sequence"))?;
        let related = self.related(viewer)?;
        let conn = self.readers.reader()?;
        let run = Run::new(self, &conn, related, access, at);
        let plan = plan(&conn, &run.names, q)?;
        let mut page = Page { hits: Vec::new(), next: None, total: count.then_some(0) };
        if plan.empty {
            return Ok(page);
        }
        let sort_need = q.sort.iter().fold(ClassSet::NONE, |need, k| match &k.on {
            On::Param(p) => need.or(p.classes(q.ty)),
            On::Id | On::LastUpdated => need,
        });
        let search = Searcher {
            run: &run,
            ty: q.ty,
            sort: &q.sort,
            sort_need,
            descending: q.sort.first().is_some_and(|k| k.descending),
            after: after.map(|k| &k.0),
            count,
            plan,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // One more than asked tells whether there is another page.
        let wanted = if limit == 0 { 0 } else { limit.saturating_add(1) };
        let mut found = None;
        if !count
            && wanted > 0
            && let Some(down) = search.by_primary_date()
        {
            if search.plan.scans.iter().any(Scan::dated) {
                found = search.walk(&search.plan.scans, wanted, down, false)?;
            } else if search.plan.broad
                && !matches!(search.after.and_then(|a| a.vals.first()), Some(RankVal::Missing))
            {
                found = search.walk(&by_date(&run.names, q.ty), wanted, down, true)?;
            }
        }
        let mut matches = match found {
            Some(found) => found,
            None => {
                let (found, total) = search.gather(&search.plan.scans, wanted, count)?;
                page.total = count.then_some(total);
                found
            }
        };
        if matches.len() > limit {
            matches.truncate(limit);
            page.next = matches.last().map(|m| PageKey(m.rank.clone()));
        }
        page.hits = search.hits(matches)?;
        Ok(page)
    }

    /// The records that the hits refer to by the given parameters, as far as the viewer
    /// sees both the reference and the record; each once, none that is a hit.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn includes(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
    ) -> Result<Vec<Hit>, Error> {
        self.includes_inner(include, hits, viewer, access, at).map_err(unusable)
    }

    fn includes_inner(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
    ) -> Result<Vec<Hit>, Error> {
        if include.is_empty() || hits.is_empty() {
            return Ok(Vec::new());
        }
        let at = i64::try_from(at.0).map_err(|_| Error::Invalid("sequence"))?;
        let related = self.related(viewer)?;
        let conn = self.readers.reader()?;
        let run = Run::new(self, &conn, related, access, at);
        let mut seen: HashSet<RowId> = hits.iter().map(|h| h.row).collect();
        let mut out = Vec::new();
        for hit in hits {
            let asked: Vec<&Include> = include.iter().filter(|i| i.source == hit.ty).collect();
            if asked.is_empty() {
                continue;
            }
            let seq = hit.seq.0.cast_signed();
            let Some(v) = fetch(&conn, db::vid(hit.ty.number(), seq))? else { continue };
            let mask = run.mask(v.tag, v.patient)?;
            if !Run::sees(mask) {
                continue;
            }
            for val in &v.vals {
                let Some(p) = run.names.pcode(val.pcode()) else { continue };
                let target = match val {
                    Val::Post { term, .. } if p.kind == Kind::Ref => *term,
                    Val::Own { .. } => v.patient,
                    _ => continue,
                };
                if !mask.has(p.class) {
                    continue;
                }
                let (key, cur): (Vec<u8>, i64) = conn
                    .prepare_cached("SELECT key, cur FROM res WHERE num=?1")?
                    .query_row([target], |r| Ok((r.get(0)?, r.get(1)?)))?;
                let Some(ty) = key.first().and_then(|t| ResourceType::from_number(*t)) else {
                    continue;
                };
                let wanted = asked.iter().any(|i| {
                    p.params.contains(&i.param.number()) && i.target.is_none_or(|t| t == ty)
                });
                if !wanted {
                    continue;
                }
                let Some(t) = run.current(ty.number(), cur)? else { continue };
                if Run::sees(run.mask(t.tag, t.patient)?) && seen.insert(RowId(t.row)) {
                    out.push(Hit {
                        row: RowId(t.row),
                        version: RecordVersion(t.ver),
                        ty,
                        seq: Seq(t.seq.cast_unsigned()),
                        key: SortKeyValue(Rank::new(Vec::new(), t.seq, false)),
                    });
                }
            }
        }
        Ok(out)
    }
}
