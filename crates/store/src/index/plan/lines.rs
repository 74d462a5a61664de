//! Codes at a time, over all patients: the timelines of the facets that have the codes, in
//! the place of all that has the codes or all of that time. It refuses nothing: where there
//! is no timeline to read, the other scans stand.

use phial_fhir::search::{On, Prefix, SortKey};

use super::{Planner, Scan, What, date_range};
use crate::error::Error;
use crate::index::dict::Kind;
use crate::index::list::ABOUT;
use crate::index::predicate::{Pred, Test};
use crate::index::timeline;
use crate::index::values::ODD_DATE;
use crate::index::write::primary_date;
use crate::index::young::Order;

/// The stretch of the date column in which all matches are, but for those whose dates it
/// does not tell; `None` when the query does not say.
type Range = Option<(i64, i64)>;

/// Rows counted of all timelines, and at least of each: how far these reach tells how many
/// there are, so that planning does not grow with what is found.
const SAMPLE: u32 = 64;
const LEAST: u32 = 8;

/// What other filters find is looked into when it is fewer than this.
const NARROW: u32 = 512;

impl Planner<'_> {
    /// The options that read timelines, made of those that read lists of facets; and the
    /// places of the options that they stand for. None without an order or a filter by the
    /// primary date.
    pub(super) fn lines(
        &self,
        preds: &[Pred],
        sort: &[SortKey],
        options: &[Vec<Scan>],
    ) -> (Vec<Vec<Scan>>, Range, Vec<usize>) {
        let none = (Vec::new(), None, Vec::new());
        let Some(primary) = primary_date(self.ty.number()) else { return none };
        let range = preds.iter().find_map(|p| self.range(primary, p));
        let sorted = matches!(sort,
            [SortKey { on: On::Param(p), .. }] if p.number() == primary);
        if range.is_none() && !sorted {
            return none;
        }
        let (mut lines, mut instead) = (Vec::new(), Vec::new());
        for (at, scans) in options.iter().enumerate() {
            let by_date = scans.iter().all(|s| matches!(s.what, What::Date { .. }));
            if let Some(option) = self.lined(scans, range) {
                lines.push(option);
                instead.push(at);
            } else if range.is_some() && by_date {
                instead.push(at);
            }
        }
        if lines.is_empty() { none } else { (lines, range, instead) }
    }

    /// Where the primary date of what satisfies the filter can start.
    fn range(&self, primary: u16, pred: &Pred) -> Range {
        let Pred::Has { params, tests, .. } = pred else { return None };
        if params.as_slice() != [primary] || tests.is_empty() {
            return None;
        }
        let long = self
            .names
            .of_param(self.ty.number(), primary)
            .iter()
            .any(|p| self.names.pcode(*p).is_some_and(|p| p.kind == Kind::DateLong));
        let kind = if long { Kind::DateLong } else { Kind::Date };
        let mut hull = (i64::MAX, i64::MIN);
        for test in tests {
            let Test::Date { prefix, low, high } = test else { return None };
            if *prefix == Prefix::Ne {
                return None;
            }
            let (from, to) = date_range(*prefix, *low, *high, kind);
            hull = (hull.0.min(from), hull.1.max(to));
        }
        Some(hull)
    }

    /// The same scans with timelines for the lists of facets, if all of them are that or
    /// lists of what has no facet.
    fn lined(&self, scans: &[Scan], range: Range) -> Option<Vec<Scan>> {
        let mut out = Vec::with_capacity(scans.len());
        let mut any = false;
        for scan in scans {
            out.push(match &scan.what {
                What::Post { pcode: ABOUT, low, high, patient: None } if low == high => {
                    any = true;
                    let facet = u32::try_from(low & 0xffff_ffff).ok()?;
                    Scan { what: What::Line { facet, range }, by: None }
                }
                What::Post { pcode, .. } if *pcode != ABOUT => scan.clone(),
                _ => return None,
            });
        }
        any.then_some(out)
    }

    /// The best of the timelines, unless another option is narrow; and whether it is broad.
    pub(super) fn along(
        &self,
        lines: Vec<Vec<Scan>>,
        range: Range,
        instead: &[usize],
        options: Vec<Vec<Scan>>,
    ) -> Result<(Vec<Scan>, bool), Error> {
        let facets = |scans: &[Scan]| {
            self.names.size(scans.iter().filter_map(|s| match s.what {
                What::Line { facet, .. } => Some(facet),
                _ => None,
            }))
        };
        let Some(best) = lines.into_iter().min_by_key(|scans| facets(scans)) else {
            return Ok((Vec::new(), true));
        };
        // In the order of time a page is at its beginning; else all in the range is read.
        let n = if range.is_some() { self.expected(&best)? } else { facets(&best) };
        let others = options.into_iter().enumerate().filter(|(at, _)| !instead.contains(at));
        let mut least = n.min(NARROW);
        let mut narrow = None;
        for (_, scans) in others {
            let found = self.estimate(&scans, least)?;
            if found < least {
                (least, narrow) = (found, Some(scans));
            }
        }
        Ok(narrow.map_or_else(|| (best, self.many(n)), |scans| (scans, false)))
    }

    /// About how many rows the timelines of an option give. They lie in the order of time:
    /// how far the first ones reach tells how many there are.
    pub(super) fn expected(&self, scans: &[Scan]) -> Result<u32, Error> {
        let share = u32::try_from(scans.len()).map_or(1, |n| SAMPLE / n.max(1));
        let mut all: u32 = 0;
        for scan in scans {
            let n = match &scan.what {
                What::Line { facet, range } => {
                    self.expected_of(*facet, *range, share.max(LEAST))?
                }
                what => super::super::walk::count_rows(self.conn, self.ty.number(), what, NARROW)?,
            };
            all = all.saturating_add(n);
        }
        Ok(all)
    }

    fn expected_of(&self, facet: u32, range: Range, cap: u32) -> Result<u32, Error> {
        let whole = self.names.size(std::iter::once(facet));
        let Some((low, high)) = range else { return Ok(whole) };
        let (low, high) = (low.max(ODD_DATE + 1), high);
        let mut n = 0;
        let (mut first, mut reached) = (None, 0);
        timeline::scan(self.conn, facet, (low, high), Order::Up, &mut |m| {
            first.get_or_insert(m.date);
            reached = m.date;
            n += 1;
            Ok(n < cap)
        })?;
        let Some(first) = first.filter(|_| n >= cap) else { return Ok(n) };
        let mut last = reached;
        timeline::scan(self.conn, facet, (reached, high), Order::Down, &mut |m| {
            last = m.date;
            Ok(false)
        })?;
        let span = |to: i64| to.saturating_sub(first).unsigned_abs();
        let n = u64::from(n).saturating_mul(span(last)).checked_div(span(reached));
        let n = n.and_then(|n| u32::try_from(n).ok()).unwrap_or(whole);
        Ok(n.min(whole).max(cap))
    }
}
