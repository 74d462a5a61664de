//! Running a plan: each candidate of the scans held against snapshot, mask and filters,
//! and ranked. Everything that the mask hides is gone before
//! anything is counted.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use phial_base::{ClassSet, DataClass, RowId, Seq, Version as RecordVersion};
use phial_fhir::ResourceType;
use phial_fhir::search::{On, Query, SortKey, date_matches, fold};
use phial_policy::RelationshipSet;
use rusqlite::Connection;

use super::dict::{Kind, Names};
use super::order::{PageKey, Rank, RankVal, SortKeyValue};
use super::plan::{Plan, Scan, What, by_date};
use super::predicate::{Candidate, Pred, Test, Version, covers_all};
use super::relate::Related;
use super::stored::{fetch, fetch_head, ref_text, res_text, term_text};
use super::values::{NO_DATE, ODD_DATE, Val};
use super::write::{members, primary_date};
use super::{Access, Hit, Index, Page, Shape, Tie, Viewer, db, unusable};
use crate::error::Error;

/// One search under way.
pub(super) struct Run<'a> {
    pub index: &'a Index,
    pub conn: &'a Connection,
    pub names: Arc<Names>,
    pub related: Arc<Related>,
    pub access: Access<'a>,
    pub at: i64,
    masks: RefCell<HashMap<(u32, Tie), ClassSet>>,
    /// As `masks`, by what the answer depends on.
    by_shape: RefCell<HashMap<(Shape, Tie), ClassSet>>,
    ties: RefCell<HashMap<i64, Tie>>,
    /// Whether more ties there than stand in the records.
    more: bool,
    /// The moment at which relationships must hold; `None`: at any.
    now: Option<i64>,
    /// Every set of relationships that can be asked about, once it is needed.
    all_sets: OnceCell<HashSet<RelationshipSet>>,
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
            by_shape: RefCell::default(),
            ties: RefCell::default(),
            more: access.ties(),
            now: access.now(),
            all_sets: OnceCell::new(),
        }
    }

    /// What ties the viewer to what stands in a patient column.
    fn tie(&self, patient: i64) -> Result<Tie, Error> {
        if patient == 0 || (patient > 0 && !self.more) {
            return Ok(Tie { relationships: self.related.of(patient, self.now), decided: 0 });
        }
        if let Some(t) = self.ties.borrow().get(&patient) {
            return Ok(*t);
        }
        let tie = if patient > 0 {
            self.tie_to(patient)?
        } else {
            let mut all: Option<Tie> = None;
            for p in members(self.conn, -patient)? {
                let one = self.tie_to(p)?;
                all = Some(all.map_or(one, |t| Tie {
                    relationships: t.relationships.and(one.relationships),
                    decided: self.access.both(t.decided, one.decided),
                }));
            }
            all.unwrap_or_default()
        };
        self.ties.borrow_mut().insert(patient, tie);
        Ok(tie)
    }

    fn tie_to(&self, patient: i64) -> Result<Tie, Error> {
        let mut tie = Tie { relationships: self.related.of(patient, self.now), decided: 0 };
        if self.more
            && let Some(id) = self.index.patient(self.conn, patient)?
        {
            let more = self.access.tied(&id);
            tie.relationships = tie.relationships.or(more.relationships);
            tie.decided = more.decided;
        }
        Ok(tie)
    }

    /// What the viewer sees of a version with this tag and patient column.
    pub(super) fn mask(&self, tag: u32, patient: i64) -> Result<ClassSet, Error> {
        let tie = self.tie(patient)?;
        Ok(self.mask_for(tag, tie))
    }

    /// Every mask that a version with this tag can have for the viewer, whomever it is
    /// about; `None` when that is a matter of each patient.
    pub(super) fn masks(&self, tag: u32) -> Option<HashSet<ClassSet>> {
        let about_none = self.names.tag(tag).is_some_and(|t| !t.shape.about_patient);
        if about_none {
            return Some(HashSet::from([self.mask_for(tag, Tie::default())]));
        }
        if self.more {
            return None;
        }
        let sets = self.all_sets.get_or_init(|| self.related.sets(self.now));
        let tie = |relationships| Tie { relationships, decided: 0 };
        Some(sets.iter().map(|r| self.mask_for(tag, tie(*r))).collect())
    }

    fn mask_for(&self, tag: u32, tie: Tie) -> ClassSet {
        let Some(t) = self.names.tag(tag) else { return ClassSet::NONE };
        let key = (tag, tie);
        if let Some(m) = self.masks.borrow().get(&key) {
            return *m;
        }
        // Tags that differ in no more than the form of the values share the answer.
        let same = self.by_shape.borrow().get(&(t.shape, tie)).copied();
        let m = same.unwrap_or_else(|| self.access.mask(&t.shape, tie));
        self.by_shape.borrow_mut().insert((t.shape, tie), m);
        self.masks.borrow_mut().insert(key, m);
        m
    }

    pub(super) fn sees(mask: ClassSet) -> bool {
        mask.has(DataClass::Administrative)
    }

    /// The version of a resource that was current at the snapshot and is visible.
    pub(super) fn current(&self, ty: u8, mut seq: i64) -> Result<Option<Version>, Error> {
        while seq != 0 {
            if seq <= self.at {
                let found = fetch(self.conn, &self.names, db::vid(ty, seq))?;
                return Ok(match found {
                    Some(v) if v.tag != 0 && self.index.live(seq, self.at) => Some(v),
                    _ => None,
                });
            }
            let newer = fetch_head(self.conn, db::vid(ty, seq))?;
            seq = newer.map_or(0, |v| v.prev);
        }
        Ok(None)
    }
}

/// A version that matched.
pub(super) struct Match {
    pub rank: Rank,
    pub seq: i64,
    pub version: Option<Version>,
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
pub(super) struct Searcher<'r, 'a> {
    pub run: &'r Run<'a>,
    pub ty: ResourceType,
    pub plan: Plan,
    pub sort: &'r [SortKey],
    /// Classes that the mask must cover for the sort keys.
    pub sort_need: ClassSet,
    pub descending: bool,
    pub after: Option<&'r Rank>,
    /// Whether the total is wanted.
    pub count: bool,
}

impl Searcher<'_, '_> {
    /// Whether the only sort key is the primary date, and in which direction.
    fn by_primary_date(&self) -> Option<bool> {
        let [SortKey { on: On::Param(p), descending }] = self.sort else { return None };
        (primary_date(self.ty.number()) == Some(p.number())).then_some(*descending)
    }

    fn fetch(&self, seq: i64) -> Result<Option<Version>, Error> {
        fetch(self.run.conn, &self.run.names, db::vid(self.ty.number(), seq))
    }

    /// Whether what stands before its values shows that a version does not match.
    pub(super) fn is_out(&self, v: &Version) -> Result<bool, Error> {
        if !self.run.index.live(v.seq, self.run.at) {
            return Ok(true);
        }
        let Some(tag) = self.run.names.tag(v.tag) else { return Ok(true) };
        let mask = self.run.mask(v.tag, v.patient)?;
        let c = Candidate {
            seq: v.seq,
            tag: v.tag,
            patient: v.patient,
            date: Some(v.date),
            pcode: 0,
            span: None,
        };
        let mut preds = self.plan.preds.iter();
        Ok(!Run::sees(mask)
            || preds.any(|p| p.cheap(&c, tag, mask, &self.run.names) == Some(false)))
    }

    /// Holds a candidate against snapshot, mask and filters. `rank`: whether its place
    /// in the order is wanted.
    pub(super) fn consider(
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
            for pred in open {
                if !self.run.full(pred, v, mask)? {
                    return Ok(None);
                }
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
            // The end that is asked for first, or the one that there is.
            Val::Range { low, high, .. } => {
                let (first, last) = if down { (high, low) } else { (low, high) };
                Some(RankVal::real(if first.is_finite() { *first } else { *last }, down))
            }
            Val::Str { pcode, text } => {
                let whole = self.run.names.pcode(*pcode).is_some_and(|p| p.kind == Kind::Str);
                whole.then(|| RankVal::text(fold(text), down))
            }
            // No query sorts by a composite, nor by what stands beside a value.
            Val::Parts { .. } | Val::Held { .. } | Val::Order { .. } | Val::Inner { .. } => None,
            Val::Own { .. } => Some(RankVal::text(ref_text(conn, patient)?, down)),
            Val::Post { pcode, term } => {
                let text = match self.run.names.pcode(*pcode).map(|p| p.kind) {
                    Some(Kind::Ref) => ref_text(conn, *term)?,
                    // What stands beside a reference is no place of its own.
                    Some(Kind::RefIdent | Kind::Said | Kind::Typed) | None => return Ok(None),
                    _ => term_text(conn, *term)?,
                };
                Some(RankVal::text(text, down))
            }
        })
    }

    fn hits(&self, matches: Vec<Match>) -> Result<Vec<Hit>, Error> {
        let mut hits = Vec::with_capacity(matches.len());
        for m in matches {
            let version = match m.version {
                Some(v) => Some(v),
                None => fetch_head(self.run.conn, db::vid(self.ty.number(), m.seq))?,
            };
            // A version purged between two reads of one snapshot can't be; a missing row
            // is damage.
            let version = version.ok_or(Error::Unusable)?;
            hits.push(Hit {
                row: RowId(version.row),
                version: RecordVersion(version.ver),
                ty: self.ty,
                seq: Seq(m.seq.cast_unsigned()),
                key: SortKeyValue(m.rank),
            });
        }
        Ok(hits)
    }
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
        let plan = run.plan(q)?;
        let mut page = Page { hits: Vec::new(), next: None, total: count.then_some(0) };
        if plan.empty {
            return Ok(page);
        }
        let sort_need = q.sort.iter().fold(ClassSet::NONE, |need, k| match &k.on {
            On::Param(p) => need.or(p.classes(q.ty)),
            On::Id | On::LastUpdated => need,
        });
        let mut search = Searcher {
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
        if count && let Some(total) = search.kept_total()? {
            page.total = Some(total);
            search.count = false;
            if limit == 0 {
                return Ok(page);
            }
        }
        let count = search.count;
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
        if found.is_none()
            && !count
            && wanted > 0
            && search.plan.broad
            && search.sort.is_empty()
            && !search.plan.scans.iter().any(|s| matches!(s.what, What::Type))
        {
            found = search.early(wanted)?;
        }
        let mut matches = match found {
            Some(found) => found,
            None => {
                let (found, total) = search.gather(&search.plan.scans, wanted, count)?;
                if count {
                    page.total = Some(total);
                }
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
}
