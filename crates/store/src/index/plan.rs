//! From a query to filters in the index's numbers, and to the scans that produce
//! candidates: the narrowest of those that the query allows.

mod lines;

use std::collections::{BTreeSet, HashSet};

use phial_base::{ClassSet, LogicalId};
use phial_fhir::ResourceType;
use phial_fhir::definitions::compartment;
use phial_fhir::search::{ParamId, Prefix, Query, fold, param, unit_ratio};
use rusqlite::Connection;

use super::dict::{Kind, Names, faceted, sayable};
use super::list::{ABOUT, facet_term};
use super::predicate::{Pred, Test, UnitTest};
use super::stored::resource;
use super::text::Like;
use super::values::LONG;
use super::write::{patient_type, primary_date};
use crate::error::Error;

/// More facets than this are read as one stretch, or within a patient by all that is
/// about them.
const MANY_FACETS: usize = 64;

/// Rows counted at most beside a list of a known length.
const COUNTED: u32 = 2048;

/// More targets of references than this in one filter are looked up in a set, and more than
/// [`MOST_TARGETS`] are no way to find a record.
pub(super) const MANY_TARGETS: usize = 64;
const MOST_TARGETS: usize = 4096;

/// Hits of a usual page, four times over for what other filters take away.
const PAGE: u64 = 80;

/// Rows to read.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The lists of a pcode with terms in a range; of one patient column, or of all.
    Post { pcode: u32, low: i64, high: i64, patient: Option<i64> },
    /// Everything of the type about a patient column.
    Member { patient: i64 },
    /// The timeline of a facet; only this stretch of the date column, and what the column
    /// can't tell.
    Line { facet: u32, range: Option<(i64, i64)> },
    /// `str` rows with such texts.
    Text { pcode: u32, like: Like },
    /// `dat` rows that start in this span.
    Date { pcode: u32, low: i64, high: i64 },
    /// `num` rows in this closed range.
    Num { pcode: u32, low: f64, high: f64 },
    /// Every version of the type.
    Type,
    /// The current versions of these resources.
    Res(Vec<i64>),
}

/// A scan, and the filter that its rows satisfy by themselves (class permitting).
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub what: What,
    pub by: Option<usize>,
}

impl Scan {
    /// Whether a version can come up more than once.
    pub(super) fn repeats(&self) -> bool {
        match &self.what {
            // A version has one facet.
            What::Post { pcode, low, high, .. } => *pcode != ABOUT && low != high,
            What::Member { .. } | What::Line { .. } | What::Type | What::Res(_) => false,
            What::Text { .. } | What::Date { .. } | What::Num { .. } => true,
        }
    }

    /// Whether it reads lists or timelines of facets: no version is in two of those.
    pub(super) fn of_facet(&self) -> bool {
        matches!(self.what, What::Post { pcode: ABOUT, .. } | What::Line { .. })
    }

    /// Whether its rows come in the order of the date column.
    pub(super) fn dated(&self) -> bool {
        match &self.what {
            What::Post { low, high, patient, .. } => low == high && patient.is_some(),
            What::Member { .. } | What::Line { .. } => true,
            _ => false,
        }
    }
}

/// A query in the index's numbers.
pub(super) struct Plan {
    pub preds: Vec<Pred>,
    pub scans: Vec<Scan>,
    /// A version may come up under several scans, whatever these are.
    pub repeats: bool,
    /// No row can match.
    pub empty: bool,
    /// The scans are expected to give so many rows that an ordered walk over all dates
    /// is the better start.
    pub broad: bool,
}

/// The sets of patients that one is in.
fn sets_of(conn: &Connection, patient: i64) -> Result<Vec<i64>, Error> {
    let mut s = conn.prepare_cached("SELECT num FROM pset WHERE patient=?1")?;
    let rows = s.query_map([patient], |r| r.get(0))?;
    rows.collect::<Result<_, _>>().map_err(Error::from)
}

/// A plan being made.
pub(super) struct Planner<'a> {
    pub conn: &'a Connection,
    pub names: &'a Names,
    pub ty: ResourceType,
    /// How long the log is.
    pub log: u64,
}

impl Planner<'_> {
    /// The scans by each component of a composite: what they find has one part of it.
    fn by_component(&self, pred: &Pred, columns: Option<&[i64]>) -> Vec<Vec<Scan>> {
        let Pred::Parts { param, tests, need } = pred else { return Vec::new() };
        let Some(param) = ParamId::from_number(*param) else { return Vec::new() };
        let mut options = Vec::new();
        for (at, component) in param.components().iter().enumerate() {
            let tests: Vec<Test> =
                tests.iter().filter_map(|t| t.get(at)).flatten().cloned().collect();
            // A reference to the record's own patient has no row.
            if tests.iter().any(|t| matches!(t, Test::Ref { .. } | Test::Refs(_)))
                && component.targets(self.ty).iter().any(|t| t.number() == patient_type())
            {
                continue;
            }
            let has = Pred::Has { params: vec![component.number()], tests, need: *need };
            if let Some(mut scans) = self.scans(0, &has, &[], columns) {
                for scan in &mut scans {
                    scan.by = None;
                }
                options.push(scans);
            }
        }
        options
    }

    /// The compartment's filter, and its patient columns if it is a patient's.
    fn compartment(&self, ty: ResourceType, id: &LogicalId) -> Result<(Pred, Vec<i64>), Error> {
        let found = resource(self.conn, ty.number(), id.as_str())?;
        if ty.number() == patient_type() {
            let mut columns = Vec::new();
            if let Some(p) = found {
                columns.push(p);
                columns.extend(sets_of(self.conn, p)?.iter().map(|s| -s));
            }
            return Ok((Pred::About(columns.iter().copied().collect()), columns));
        }
        if ty == self.ty {
            return Ok((Pred::Ids(found.into_iter().collect()), Vec::new()));
        }
        let params = compartment(ty, self.ty)
            .iter()
            .filter_map(|code| param(self.ty, code).map(ParamId::number))
            .collect();
        let tests = found.map(|target| Test::Ref { target }).into_iter().collect();
        Ok((Pred::Has { params, tests, need: ClassSet::NONE }, Vec::new()))
    }

    /// The scans that find everything that one positive filter can match; `None` when
    /// none does. `columns`: only of these patient columns.
    pub(super) fn scans(
        &self,
        at: usize,
        pred: &Pred,
        patients: &[i64],
        columns: Option<&[i64]>,
    ) -> Option<Vec<Scan>> {
        let Pred::Has { params, tests, .. } = pred else { return None };
        // References to a record's only patient have no rows: within a patient such a
        // filter narrows nothing.
        if columns.is_some() && !patients.is_empty() {
            return None;
        }
        // What is another value can stand anywhere; so do references to very many.
        let anywhere = tests.iter().any(|t| match t {
            Test::Other(..) => true,
            // The words themselves, which are asked for beside it, are the way to it.
            Test::Phrase(_) => true,
            Test::Refs(all) => columns.is_some() || all.len() > MOST_TARGETS,
            _ => false,
        });
        if anywhere {
            return None;
        }
        let mut scans = Vec::new();
        let pcodes: HashSet<u32> = params
            .iter()
            .flat_map(|p| self.names.of_param(self.ty.number(), *p).iter().copied())
            .collect();
        let mut pcodes: Vec<u32> = pcodes.into_iter().collect();
        pcodes.sort_unstable();
        let by = Some(at);
        let ty = self.ty.number();
        // Codes that versions share are looked up by their facets.
        let shared: Vec<u32> =
            pcodes.iter().copied().filter(|p| self.names.pcode(*p).is_some_and(faceted)).collect();
        let mut facets = BTreeSet::new();
        let saying: Vec<u32> =
            pcodes.iter().copied().filter(|p| self.names.pcode(*p).is_some_and(sayable)).collect();
        for test in tests {
            match test {
                Test::Term { kind: Kind::Token, low, high } => {
                    facets.append(&mut self.names.facets(ty, &shared, (*low, *high)));
                }
                Test::Terms { kind: Kind::Token, all } => {
                    facets.append(&mut self.names.facets_of(ty, &shared, all));
                }
                Test::Term { kind: Kind::Said, low, high } => {
                    facets.append(&mut self.names.facets(ty, &saying, (*low, *high)));
                }
                Test::Terms { kind: Kind::Said, all } => {
                    facets.append(&mut self.names.facets_of(ty, &saying, all));
                }
                _ => {}
            }
        }
        scans.extend(by_facets(ty, &facets, columns)?);
        if !self.names.unfaceted(ty) {
            pcodes.retain(|p| !shared.contains(p));
        }
        for test in tests {
            for pcode in &pcodes {
                let Some(kind) = self.names.pcode(*pcode).map(|p| p.kind) else { continue };
                let pcode = *pcode;
                match test {
                    Test::Term { kind: k, low, high } if *k == kind => {
                        let (low, high) = (*low, *high);
                        match columns {
                            Some(columns) if low == high => scans.extend(columns.iter().map(|c| {
                                let patient = Some(*c);
                                Scan { what: What::Post { pcode, low, high, patient }, by }
                            })),
                            Some(_) => return None,
                            None => scans.push(Scan {
                                what: What::Post { pcode, low, high, patient: None },
                                by,
                            }),
                        }
                    }
                    Test::Terms { kind: k, all } if *k == kind => match columns {
                        Some(columns) if all.len() <= MANY_FACETS => {
                            for (term, column) in
                                all.iter().flat_map(|t| columns.iter().map(move |c| (*t, *c)))
                            {
                                let patient = Some(column);
                                let what = What::Post { pcode, low: term, high: term, patient };
                                scans.push(Scan { what, by });
                            }
                        }
                        Some(_) => return None,
                        None => scans.extend(all.iter().map(|t| Scan {
                            what: What::Post { pcode, low: *t, high: *t, patient: None },
                            by,
                        })),
                    },
                    Test::Refs(all) if kind == Kind::Ref => {
                        let mut all: Vec<i64> = all.iter().copied().collect();
                        all.sort_unstable();
                        scans.extend(all.into_iter().map(|t| Scan {
                            what: What::Post { pcode, low: t, high: t, patient: None },
                            by,
                        }));
                    }
                    Test::Ref { target } if kind == Kind::Ref => {
                        let (low, high) = (*target, *target);
                        match columns {
                            Some(columns) => scans.extend(columns.iter().map(|c| {
                                let patient = Some(*c);
                                Scan { what: What::Post { pcode, low, high, patient }, by }
                            })),
                            None => scans.push(Scan {
                                what: What::Post { pcode, low, high, patient: None },
                                by,
                            }),
                        }
                    }
                    Test::Inner(to) if kind == Kind::Inner => {
                        for (of, _) in to.iter() {
                            let term = i64::from(of.number());
                            let post = |patient| Scan {
                                what: What::Post { pcode, low: term, high: term, patient },
                                by: None,
                            };
                            match columns {
                                Some(columns) => {
                                    scans.extend(columns.iter().map(|c| post(Some(*c))));
                                }
                                None => scans.push(post(None)),
                            }
                        }
                    }
                    Test::Term { .. }
                    | Test::Inner(_)
                    | Test::Terms { .. }
                    | Test::Ref { .. }
                    | Test::Refs(_)
                    | Test::Phrase(_)
                    | Test::Other(..) => {}
                    // These know no patient: no use within one.
                    _ if columns.is_some() => return None,
                    Test::Prefix(p) if matches!(kind, Kind::Str | Kind::Later) => {
                        scans.push(Scan {
                            what: What::Text { pcode, like: Like::Starts(p.clone()) },
                            by: None,
                        })
                    }
                    Test::Exact(t) if kind == Kind::Str => scans.push(Scan {
                        what: What::Text { pcode, like: Like::Starts(fold(t)) },
                        by: None,
                    }),
                    Test::Whole(t) if kind == Kind::Str => scans.push(Scan {
                        what: What::Text { pcode, like: Like::Starts(t.clone()) },
                        by: None,
                    }),
                    Test::Contains(p) | Test::Ends(p) if kind == Kind::Str => scans.push(Scan {
                        what: What::Text { pcode, like: Like::Holds(p.clone()) },
                        by: None,
                    }),
                    Test::Date { prefix, low, high }
                        if matches!(kind, Kind::Date | Kind::DateLong) =>
                    {
                        let (from, to) = date_range(*prefix, *low, *high, kind);
                        scans.push(Scan { what: What::Date { pcode, low: from, high: to }, by });
                    }
                    // A range may reach beyond any number: they are few.
                    Test::Num { .. } if kind == Kind::Range => scans.push(Scan {
                        what: What::Num { pcode, low: f64::NEG_INFINITY, high: f64::INFINITY },
                        by: None,
                    }),
                    Test::Num { prefix, value, low, high, unit } if kind == Kind::Num => {
                        let (low, high) = number_range(*prefix, *value, *low, *high);
                        let mut ranges = vec![(low, high)];
                        if let Some(wanted) = unit.as_ref().and_then(UnitTest::ucum) {
                            // The same amounts in the other units that there are.
                            for other in self.names.units()?.iter().filter(|u| &***u != wanted) {
                                let Some((times, by)) = unit_ratio(other, wanted) else { continue };
                                ranges.push(wider(low / times * by, high / times * by));
                            }
                        }
                        scans.extend(ranges.into_iter().map(|(low, high)| Scan {
                            what: What::Num { pcode, low, high },
                            by: None,
                        }));
                    }
                    _ => {}
                }
            }
        }
        if columns.is_none() {
            // References to a record's only patient have no rows of their own.
            for p in patients {
                scans.push(Scan { what: What::Member { patient: *p }, by: None });
            }
        }
        Some(scans)
    }

    /// How many rows the scans give, counted up to `cap`.
    fn estimate(&self, scans: &[Scan], cap: u32) -> Result<u32, Error> {
        let mut n = 0;
        for s in scans {
            if n >= cap {
                break;
            }
            n += super::walk::count_rows(self.conn, self.ty.number(), &s.what, cap - n)?;
        }
        Ok(n)
    }

    /// The option with the fewest rows, and whether even that one is broad. Counting
    /// stops at the caps, one after the other; what facets have need not be counted.
    fn narrowest(&self, options: Vec<Vec<Scan>>, caps: &[u32]) -> Result<(Vec<Scan>, bool), Error> {
        let mut at = 0;
        let mut broad = true;
        let known: Vec<Option<u32>> = options.iter().map(|o| self.known(o)).collect();
        let least = known.iter().enumerate().filter_map(|(i, n)| Some(((*n)?, i))).min();
        if let Some((_, i)) = least {
            at = i;
        }
        // A list of a known length is read sooner than much is counted.
        for cap in caps.iter().map(|cap| if least.is_some() { (*cap).min(COUNTED) } else { *cap }) {
            let mut best = cap;
            if let Some((n, i)) = least
                && n < best
            {
                (best, at) = (n, i);
                broad = false;
            }
            for (i, scans) in options.iter().enumerate() {
                if known.get(i).is_some_and(Option::is_some) {
                    continue;
                }
                let n = self.estimate(scans, best)?;
                if n < best {
                    (best, at) = (n, i);
                    broad = false;
                }
            }
            if !broad {
                break;
            }
        }
        if broad && let Some((n, _)) = least {
            broad = self.many(n);
        }
        Ok((options.into_iter().nth(at).unwrap_or_default(), broad))
    }

    /// Whether a page is found sooner in the log than among all `n` that match: in a log of N
    /// among about wanted * N / n, other filters thought of.
    fn many(&self, n: u32) -> bool {
        u64::from(n).saturating_mul(u64::from(n)) > self.log.saturating_mul(PAGE)
    }

    /// About how many rows the scans give, when all are of facets of all patients.
    fn known(&self, scans: &[Scan]) -> Option<u32> {
        let mut n: u32 = 0;
        for s in scans {
            let What::Post { pcode: ABOUT, low, high, patient: None } = &s.what else {
                return None;
            };
            let facet = |term: &i64| u32::try_from(term & 0xffff_ffff).unwrap_or(u32::MAX);
            n = n.saturating_add(self.names.size(facet(low)..=facet(high)));
        }
        Some(n)
    }
}

/// A range in which rounding loses nothing at the edges.
fn wider(low: f64, high: f64) -> (f64, f64) {
    (low - low.abs() * 1e-12, high + high.abs() * 1e-12)
}

/// The scans of facets; `None` when there are too many of them within patients. The tag
/// of each candidate says whether it is what was looked for.
fn by_facets(ty: u8, facets: &BTreeSet<u32>, columns: Option<&[i64]>) -> Option<Vec<Scan>> {
    let scan = |low, high, patient| {
        let (low, high) = (facet_term(ty, low), facet_term(ty, high));
        Scan { what: What::Post { pcode: ABOUT, low, high, patient }, by: None }
    };
    Some(match columns {
        Some(_) if facets.len() > MANY_FACETS => return None,
        Some(columns) => columns
            .iter()
            .flat_map(|c| facets.iter().map(move |f| (*f, Some(*c))))
            .map(|(f, c)| scan(f, f, c))
            .collect(),
        None if facets.len() > MANY_FACETS => {
            let (first, last) = (facets.first()?, facets.last()?);
            vec![scan(*first, *last, None)]
        }
        None => facets.iter().map(|f| scan(*f, *f, None)).collect(),
    })
}

/// Where rows that satisfy the prefix can start.
fn date_range(prefix: Prefix, low: i64, high: i64, kind: Kind) -> (i64, i64) {
    let back = |from: i64| match kind {
        Kind::DateLong => i64::MIN,
        _ => from.saturating_sub(LONG),
    };
    match prefix {
        Prefix::Eq => (low, high),
        Prefix::Ne => (i64::MIN, i64::MAX),
        Prefix::Gt => (back(high), i64::MAX),
        Prefix::Ge => (low.min(back(high)), i64::MAX),
        Prefix::Sa => (high, i64::MAX),
        Prefix::Lt | Prefix::Eb => (i64::MIN, low),
        Prefix::Le => (i64::MIN, high.max(low)),
        Prefix::Ap => (back(low), high),
    }
}

/// Where values that satisfy the prefix can lie.
fn number_range(prefix: Prefix, value: f64, low: f64, high: f64) -> (f64, f64) {
    match prefix {
        Prefix::Eq => (low, high),
        // A little more than a tenth: rounding must not lose the edge.
        Prefix::Ap => (low.min(value - value.abs() * 0.11), high.max(value + value.abs() * 0.11)),
        Prefix::Ne => (f64::NEG_INFINITY, f64::INFINITY),
        Prefix::Gt | Prefix::Sa | Prefix::Ge => (value, f64::INFINITY),
        Prefix::Lt | Prefix::Eb | Prefix::Le => (f64::NEG_INFINITY, value),
    }
}

/// Makes the plan.
/// `more` are the query's filters and criteria, each with the patients that it names.
pub(super) fn plan(
    planner: &Planner<'_>,
    q: &Query,
    more: Vec<(Pred, Vec<i64>)>,
) -> Result<Plan, Error> {
    let mut preds = Vec::new();
    // For each filter the patients that it names as targets.
    let mut patients: Vec<Vec<i64>> = Vec::new();
    let mut columns: Option<Vec<i64>> = None;
    if let Some((ty, id)) = &q.compartment {
        let (pred, cols) = planner.compartment(*ty, id)?;
        if matches!(pred, Pred::About(_)) {
            columns = Some(cols);
        }
        preds.push(pred);
        patients.push(Vec::new());
    }
    for (pred, named) in more {
        preds.push(pred);
        patients.push(named);
    }
    let mut plan = Plan { preds, scans: Vec::new(), repeats: false, empty: false, broad: false };
    plan.repeats = plan.preds.iter().any(|p| matches!(p, Pred::Tree(_)));
    plan.empty = plan.preds.iter().any(|p| match p {
        Pred::Ids(ids) => ids.is_empty(),
        Pred::About(columns) => columns.is_empty(),
        Pred::Has { tests, .. } => tests.is_empty(),
        Pred::Parts { tests, .. } => tests.is_empty(),
        Pred::Updated(spans) => spans.is_empty(),
        Pred::HasNot { .. } | Pred::Missing { .. } | Pred::Tree(_) => false,
    });
    if plan.empty {
        return Ok(plan);
    }
    let fewest = plan.preds.iter().filter_map(|p| match p {
        Pred::Ids(ids) => Some(ids),
        _ => None,
    });
    if let Some(ids) = fewest.min_by_key(|ids| ids.len()) {
        let mut ids: Vec<i64> = ids.iter().copied().collect();
        ids.sort_unstable();
        plan.scans = vec![Scan { what: What::Res(ids), by: None }];
        return Ok(plan);
    }
    // Records that name the patient without being about that one alone.
    let mut beside = Vec::new();
    let mut asked = None;
    if columns.is_none()
        && let Some((at, p)) =
            plan.preds.iter().zip(&patients).enumerate().find_map(|(at, (pred, named))| {
                match (pred, named.as_slice()) {
                    (Pred::Has { tests, .. }, [p]) if matches!(tests[..], [Test::Ref { .. }]) => {
                        Some((at, *p))
                    }
                    _ => None,
                }
            })
        && let Some(pred) = plan.preds.get(at)
    {
        beside = planner.scans(at, pred, &[], None).unwrap_or_default();
        columns = Some(vec![p]);
        asked = Some(at);
    }
    let mut options = Vec::new();
    for (at, (pred, named)) in plan.preds.iter().zip(&patients).enumerate() {
        if Some(at) != asked
            && let Some(scans) = planner.scans(at, pred, named, columns.as_deref())
        {
            options.push(scans);
        }
        options.extend(planner.by_component(pred, columns.as_deref()));
        if let Pred::Tree(tree) = pred {
            options.extend(planner.by_tree(tree, columns.as_deref()));
        }
    }
    match columns {
        Some(columns) => {
            if options.is_empty() {
                options.push(
                    columns
                        .iter()
                        .map(|p| Scan { what: What::Member { patient: *p }, by: None })
                        .collect(),
                );
            }
            plan.scans = match <[_; 1]>::try_from(options) {
                Ok([only]) => only,
                Err(options) => planner.narrowest(options, &[64, 2048])?.0,
            };
            plan.scans.extend(beside);
        }
        None if options.is_empty() => {
            plan.scans = vec![Scan { what: What::Type, by: None }];
            plan.broad = true;
        }
        None => {
            let (lines, range, instead) = planner.lines(&plan.preds, &q.sort, &options);
            (plan.scans, plan.broad) = if lines.is_empty() {
                planner.narrowest(options, &[512, 16_384])?
            } else {
                planner.along(lines, range, &instead, options)?
            };
        }
    }
    Ok(plan)
}

/// The scans that walk a type's primary dates in order, for a query that is broad
/// anyway.
pub(super) fn by_date(names: &Names, ty: ResourceType) -> Vec<Scan> {
    let Some(param) = primary_date(ty.number()) else { return Vec::new() };
    names
        .of_param(ty.number(), param)
        .iter()
        .filter(|p| names.pcode(**p).is_some_and(|p| matches!(p.kind, Kind::Date | Kind::DateLong)))
        .map(|p| Scan { what: What::Date { pcode: *p, low: i64::MIN, high: i64::MAX }, by: None })
        .collect()
}
