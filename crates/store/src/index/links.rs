//! Conditions that lead to other records, and conditions of several parts.
//!
//! A chain (`subject.name`) and a reverse chain (`_has`) become sets of resources: a search
//! of the other type is run first, under the same snapshot, viewer and access, so that a
//! record which the viewer may not see, or of which they may not see the class that the
//! condition looks at, leads nowhere. A reference counts only when its own class is in
//! sight. On a page of an older snapshot a record must also be in sight as it is now.
//!
//! A tree of parts (`_filter`) is held against each version with three answers: yes, no,
//! and not known, when what decides is out of sight. What is not known is not found,
//! under `not` as without it (invariant 2).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use phial_base::ClassSet;
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Criterion, Filter, Modifier, On, Operand, ParamId, Query, SearchType, part_of,
};
use rusqlite::OptionalExtension;

use super::db;
use super::dict::Kind;
use super::plan::{MANY_TARGETS, Plan, Planner, Scan, What, plan};
use super::predicate::{Pred, Test, Version, covers_all, leads_within};
use super::search::{Run, Searcher};
use super::stored::{fetch, fetch_head, resource};
use super::values::Val;
use super::write::patient_type;
use crate::error::Error;

/// Of a hierarchy no more records than about these are followed.
const MOST_PARTS: usize = 100_000;

/// An answer that may be lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Yes,
    No,
    Unknown,
}

/// A condition of several parts.
#[derive(Debug)]
pub(super) enum Tree {
    Is(Part),
    /// A reference of the parameter leads to a record that satisfies the tree of its type.
    Leads {
        param: ParamId,
        to: Vec<(ResourceType, Tree)>,
        /// The same of contained resources.
        within: Vec<(ResourceType, Criterion)>,
        /// What was found of records, by number and type.
        known: RefCell<HashMap<i64, Told>>,
    },
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

/// A filter in a tree.
#[derive(Debug)]
pub(super) struct Part {
    pred: Pred,
    /// The parameter whose values it compares, with every class that they can have: who
    /// does not see all of them can't say that there is none. `None`: it is always known.
    all: Option<(u16, ClassSet)>,
}

impl Planner<'_> {
    /// Scans of which each list by itself finds everything that the tree can match. What
    /// is denied, or hangs on references, finds nothing by itself.
    pub(super) fn by_tree(&self, tree: &Tree, columns: Option<&[i64]>) -> Vec<Vec<Scan>> {
        match tree {
            Tree::Is(Part { pred: Pred::Ids(ids), .. }) => {
                let mut ids: Vec<i64> = ids.iter().copied().collect();
                ids.sort_unstable();
                vec![vec![Scan { what: What::Res(ids), by: None }]]
            }
            Tree::Is(Part { pred, .. }) => {
                let Pred::Has { tests, .. } = pred else { return Vec::new() };
                // References to a record's own patient have no rows.
                if tests.iter().any(|t| matches!(t, Test::Ref { .. } | Test::Refs(_))) {
                    return Vec::new();
                }
                let scans = self.scans(0, pred, &[], columns);
                let bare = |s: Scan| Scan { by: None, ..s };
                scans.map(|s| s.into_iter().map(bare).collect()).into_iter().collect()
            }
            Tree::All(parts) => parts.iter().flat_map(|p| self.by_tree(p, columns)).collect(),
            Tree::Any(parts) => {
                let of_each = parts.iter().map(|p| self.by_tree(p, columns).into_iter().next());
                let all: Option<Vec<Vec<Scan>>> = of_each.collect();
                all.map(|all| all.concat()).into_iter().collect()
            }
            Tree::Leads { .. } | Tree::Not(_) => Vec::new(),
        }
    }
}

impl Run<'_> {
    fn planner(&self, ty: ResourceType) -> Planner<'_> {
        Planner { conn: self.conn, names: &self.names, ty, log: self.at.unsigned_abs() }
    }

    /// Makes the plan of a query; what its criteria lead to is looked up on the way.
    pub(super) fn plan(&self, q: &Query) -> Result<Plan, Error> {
        let mut more = Vec::with_capacity(q.filters.len() + q.criteria.len());
        for filter in &q.filters {
            more.push(self.filter(q.ty, filter)?);
        }
        for criterion in &q.criteria {
            more.push(self.pred(q.ty, criterion)?);
        }
        plan(&self.planner(q.ty), q, more)
    }

    /// A filter, with the patients that it names as targets.
    fn filter(&self, ty: ResourceType, filter: &Filter) -> Result<(Pred, Vec<i64>), Error> {
        let up = match filter.modifier {
            Modifier::Above => true,
            Modifier::Below => false,
            _ => return self.planner(ty).filter(filter),
        };
        let On::Param(param) = filter.on else { return self.planner(ty).filter(filter) };
        if param.kind() != SearchType::Reference {
            return self.planner(ty).filter(filter);
        }
        // What is part of a record, or what it is part of, is found first.
        let mut targets = HashSet::new();
        let mut urls = Vec::new();
        for value in &filter.values {
            match value {
                Operand::Ref { target: Some(target), id: Some(id), .. } => {
                    self.parts(*target, id, up, &mut targets)?;
                }
                other => urls.push(other.clone()),
            }
        }
        let plain = Filter { values: urls, ..filter.clone() };
        let (pred, patients) = self.planner(ty).filter(&plain)?;
        let Pred::Has { params, mut tests, need } = pred else { return Ok((pred, patients)) };
        if !targets.is_empty() {
            tests.push(Test::Refs(Rc::new(targets)));
        }
        Ok((Pred::Has { params, tests, need }, patients))
    }

    /// The record, and the records that it is part of (`up`) or that are part of it, through
    /// records and references in sight.
    fn parts(
        &self,
        ty: ResourceType,
        id: &str,
        up: bool,
        out: &mut HashSet<i64>,
    ) -> Result<(), Error> {
        let Some(by) = part_of(ty) else { return Ok(()) };
        let Some(start) = resource(self.conn, ty.number(), id)? else { return Ok(()) };
        let mut last = vec![start];
        out.insert(start);
        while !last.is_empty() && out.len() < MOST_PARTS {
            let mut found = Vec::new();
            if up {
                for num in last {
                    let cur: Option<i64> = self
                        .conn
                        .prepare_cached("SELECT cur FROM res WHERE num=?1")?
                        .query_row([num], |r| r.get(0))
                        .optional()?;
                    let Some(v) = self.current(ty.number(), cur.unwrap_or(0))? else { continue };
                    let mask = self.mask(v.tag, v.patient)?;
                    if Run::sees(mask) && self.seen_now(&v)? {
                        found.extend(self.targets(&v, by, mask));
                    }
                }
            } else {
                let of = last.into_iter().collect();
                let pred = Pred::Has {
                    params: vec![by.number()],
                    tests: vec![Test::Refs(Rc::new(of))],
                    need: ClassSet::NONE,
                };
                let plan = plan(&self.planner(ty), &Query::all(ty), vec![(pred, Vec::new())])?;
                self.each_of(ty, plan, &mut |f| {
                    let v = f.head()?;
                    if self.seen_now(&v)? {
                        found.push(v.res);
                    }
                    Ok(())
                })?;
            }
            found.retain(|num| out.insert(*num));
            last = found;
        }
        Ok(())
    }

    /// A criterion as a filter, with the patients that it names as targets.
    fn pred(&self, ty: ResourceType, criterion: &Criterion) -> Result<(Pred, Vec<i64>), Error> {
        match criterion {
            Criterion::Is(filter) => self.filter(ty, filter),
            Criterion::Leads { by, to } => {
                let mut targets = HashSet::new();
                let mut patients = Vec::new();
                for (ty, that) in to {
                    let found = self.matching(*ty, that)?;
                    if ty.number() == patient_type() {
                        patients.extend(found.iter().copied());
                    }
                    targets.extend(found);
                }
                patients.sort_unstable();
                let mut tests = if targets.len() > MANY_TARGETS {
                    vec![Test::Refs(Rc::new(targets))]
                } else {
                    let mut all: Vec<i64> = targets.into_iter().collect();
                    all.sort_unstable();
                    all.into_iter().map(|target| Test::Ref { target }).collect()
                };
                if self.leads_within(ty, *by) {
                    tests.push(Test::Inner(to.clone().into()));
                }
                let params = vec![by.number()];
                Ok((Pred::Has { params, tests, need: ClassSet::NONE }, patients))
            }
            Criterion::Named { from, by, that } => {
                Ok((Pred::Ids(self.named(ty, *from, *by, that)?), Vec::new()))
            }
            Criterion::All(_) | Criterion::Any(_) | Criterion::Not(_) => {
                Ok((Pred::Tree(Rc::new(self.tree(ty, criterion)?)), Vec::new()))
            }
        }
    }

    /// Whether a reference of the parameter leads to what is contained, in any record.
    fn leads_within(&self, ty: ResourceType, by: ParamId) -> bool {
        let pcodes = self.names.of_param(ty.number(), by.number()).iter();
        pcodes.copied().any(|p| self.names.pcode(p).is_some_and(|p| p.kind == Kind::Inner))
    }

    /// Calls `each` with every version of the type that satisfies the criterion, as far as
    /// the viewer sees it at the snapshot and now.
    fn each_match(
        &self,
        ty: ResourceType,
        criterion: &Criterion,
        each: &mut dyn FnMut(Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut q = Query::all(ty);
        match criterion {
            Criterion::Is(filter) => q.filters.push(filter.clone()),
            Criterion::All(all) => q.criteria.extend(all.iter().cloned()),
            other => q.criteria.push(other.clone()),
        }
        let plan = self.plan(&q)?;
        self.each_of(ty, plan, each)
    }

    /// As [`Run::each_match`], of a plan.
    fn each_of(
        &self,
        ty: ResourceType,
        plan: Plan,
        each: &mut dyn FnMut(Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if plan.empty {
            return Ok(());
        }
        let search = Searcher {
            run: self,
            ty,
            plan,
            sort: &[],
            sort_need: ClassSet::NONE,
            descending: false,
            after: None,
            count: false,
        };
        let mut seen = HashSet::new();
        for scan in &search.plan.scans {
            search.rows(scan, &mut |c, version| {
                if seen.contains(&c.seq) {
                    return Ok(true);
                }
                let (seq, tag, patient) = (c.seq, c.tag, c.patient);
                let Some(m) = search.consider(c, scan.by, version, false)? else {
                    return Ok(true);
                };
                seen.insert(seq);
                each(Found { run: self, ty, seq, row: (tag, patient), version: m.version })?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// The resources of a type that satisfy the criterion.
    fn matching(&self, ty: ResourceType, criterion: &Criterion) -> Result<HashSet<i64>, Error> {
        let mut out = HashSet::new();
        self.each_match(ty, criterion, &mut |found| {
            // A patient's record is about itself: its number stands in the row.
            let (tag, patient) = found.row;
            if ty.number() == patient_type() && tag != 0 && patient > 0 && !self.is_older() {
                out.insert(patient);
                return Ok(());
            }
            let v = found.head()?;
            if self.seen_now(&v)? {
                out.insert(v.res);
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// The resources of `ty` that records of `from` refer to which satisfy the criterion.
    fn named(
        &self,
        ty: ResourceType,
        from: ResourceType,
        by: ParamId,
        that: &Criterion,
    ) -> Result<HashSet<i64>, Error> {
        let mut out = HashSet::new();
        // The tag tells of the reference to a record's only patient. Where there is no
        // other, it is all that is asked.
        let only_patient = by.single(from) && ty.number() == patient_type() && !self.is_older();
        self.each_match(from, that, &mut |found| {
            let (tag, patient) = found.row;
            if only_patient
                && patient > 0
                && let Some(own) = self.names.tag(tag).map(|t| t.own)
                && let Some(p) = self.names.pcode(own)
                && p.params.contains(&by.number())
            {
                if self.mask(tag, patient)?.has(p.class) {
                    out.insert(patient);
                }
                return Ok(());
            }
            let v = found.whole()?;
            if !self.seen_now(&v)? {
                return Ok(());
            }
            let mask = self.mask(v.tag, v.patient)?;
            out.extend(self.targets(&v, by, mask));
            Ok(())
        })?;
        if by.targets(from) != [ty] {
            // Numbers of resources don't say of which type they are.
            let mut of_type = HashSet::new();
            for num in out {
                if self.type_of(num)? == Some(ty.number()) {
                    of_type.insert(num);
                }
            }
            return Ok(of_type);
        }
        Ok(out)
    }

    fn type_of(&self, num: i64) -> Result<Option<u8>, Error> {
        let key: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT key FROM res WHERE num=?1")?
            .query_row([num], |r| r.get(0))
            .optional()?;
        Ok(key.and_then(|k| k.first().copied()))
    }

    /// What the version refers to by the parameter, as far as the references are in sight.
    fn targets(&self, v: &Version, by: ParamId, mask: ClassSet) -> Vec<i64> {
        let seen = v.vals.iter().filter_map(|val| {
            let p = self.names.pcode(val.pcode())?;
            if p.kind != Kind::Ref || !mask.has(p.class) || !p.params.contains(&by.number()) {
                return None;
            }
            match val {
                Val::Post { term, .. } => Some(*term),
                Val::Own { .. } => Some(v.patient),
                _ => None,
            }
        });
        seen.collect()
    }

    /// Whether the snapshot is not of everything that is applied.
    fn is_older(&self) -> bool {
        self.at.unsigned_abs() < self.index.applied().0
    }

    /// Whether a version that counts at the snapshot is in sight as the record is now, too:
    /// with no class less. A deletion takes no permission away, so the version before it
    /// is asked.
    fn seen_now(&self, v: &Version) -> Result<bool, Error> {
        if !self.is_older() {
            return Ok(true);
        }
        let mut seq: i64 = self
            .conn
            .prepare_cached("SELECT cur FROM res WHERE num=?1")?
            .query_row([v.res], |r| r.get(0))
            .optional()?
            .unwrap_or(0);
        while seq > v.seq {
            let Some(newer) = fetch_head(self.conn, db::vid(v.ty, seq))? else { break };
            if newer.tag != 0 {
                let (then, now) =
                    (self.mask(v.tag, v.patient)?, self.mask(newer.tag, newer.patient)?);
                return Ok(now.covers(then));
            }
            seq = newer.prev;
        }
        Ok(true)
    }

    fn tree(&self, ty: ResourceType, criterion: &Criterion) -> Result<Tree, Error> {
        let all =
            |all: &[Criterion]| all.iter().map(|c| self.tree(ty, c)).collect::<Result<_, _>>();
        Ok(match criterion {
            Criterion::Is(filter) => {
                let (pred, _) = self.filter(ty, filter)?;
                let all = match filter.on {
                    On::Param(p) => Some((p.number(), filter.classes(ty))),
                    On::Id | On::LastUpdated => None,
                };
                Tree::Is(Part { pred, all })
            }
            Criterion::Leads { by, to } => Tree::Leads {
                param: *by,
                to: to
                    .iter()
                    .map(|(ty, c)| Ok((*ty, self.tree(*ty, c)?)))
                    .collect::<Result<_, Error>>()?,
                within: if self.leads_within(ty, *by) { to.clone() } else { Vec::new() },
                known: RefCell::default(),
            },
            // Who refers to it is found from there: what is out of sight is absent.
            Criterion::Named { from, by, that } => {
                Tree::Is(Part { pred: Pred::Ids(self.named(ty, *from, *by, that)?), all: None })
            }
            Criterion::All(parts) => Tree::All(all(parts)?),
            Criterion::Any(parts) => Tree::Any(all(parts)?),
            Criterion::Not(part) => Tree::Not(Box::new(self.tree(ty, part)?)),
        })
    }

    /// Whether a version satisfies a filter of any sort.
    pub(super) fn full(&self, pred: &Pred, v: &Version, mask: ClassSet) -> Result<bool, Error> {
        match pred {
            Pred::Tree(tree) => Ok(self.told(tree, v, mask)? == Told::Yes),
            other => Ok(other.full(v, mask, &self.names)),
        }
    }

    fn told(&self, tree: &Tree, v: &Version, mask: ClassSet) -> Result<Told, Error> {
        Ok(match tree {
            Tree::Is(part) => {
                if part.pred.full(v, mask, &self.names) {
                    Told::Yes
                } else {
                    let sure =
                        part.all.is_none_or(|(p, all)| covers_all(v, &[p], all, mask, &self.names));
                    if sure { Told::No } else { Told::Unknown }
                }
            }
            Tree::Leads { param, to, within, known } => {
                let ty = ResourceType::from_number(v.ty).ok_or(Error::Unusable)?;
                let sure = covers_all(v, &[param.number()], param.classes(ty), mask, &self.names);
                let mut told = if sure { Told::No } else { Told::Unknown };
                for target in self.targets(v, *param, mask) {
                    let before = known.borrow().get(&target).copied();
                    let of_target = match before {
                        Some(told) => told,
                        None => {
                            let found = self.told_of(target, to)?;
                            known.borrow_mut().insert(target, found);
                            found
                        }
                    };
                    match of_target {
                        Told::Yes => return Ok(Told::Yes),
                        Told::Unknown => told = Told::Unknown,
                        Told::No => {}
                    }
                }
                for val in v.vals.iter().filter(|_| !within.is_empty()) {
                    let Some(p) = self.names.pcode(val.pcode()) else { continue };
                    if p.kind != Kind::Inner || !p.params.contains(&param.number()) {
                        continue;
                    }
                    if mask.has(p.class) && leads_within(val, within, mask) {
                        return Ok(Told::Yes);
                    }
                    // Some of what may be asked can't be told of it: no is not sure.
                    told = Told::Unknown;
                }
                told
            }
            Tree::All(parts) => {
                let mut told = Told::Yes;
                for part in parts {
                    match self.told(part, v, mask)? {
                        Told::No => return Ok(Told::No),
                        Told::Unknown => told = Told::Unknown,
                        Told::Yes => {}
                    }
                }
                told
            }
            Tree::Any(parts) => {
                let mut told = Told::No;
                for part in parts {
                    match self.told(part, v, mask)? {
                        Told::Yes => return Ok(Told::Yes),
                        Told::Unknown => told = Told::Unknown,
                        Told::No => {}
                    }
                }
                told
            }
            Tree::Not(part) => match self.told(part, v, mask)? {
                Told::Yes => Told::No,
                Told::No => Told::Yes,
                Told::Unknown => Told::Unknown,
            },
        })
    }

    /// Whether a resource is of one of the types and satisfies that type's tree. One that
    /// is out of sight is as one that is not there.
    fn told_of(&self, num: i64, to: &[(ResourceType, Tree)]) -> Result<Told, Error> {
        let found: Option<(Vec<u8>, i64)> = self
            .conn
            .prepare_cached("SELECT key, cur FROM res WHERE num=?1")?
            .query_row([num], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let Some((key, cur)) = found else { return Ok(Told::No) };
        let Some((ty, tree)) = to.iter().find(|(ty, _)| key.first() == Some(&ty.number())) else {
            return Ok(Told::No);
        };
        let Some(v) = self.current(ty.number(), cur)? else { return Ok(Told::No) };
        let mask = self.mask(v.tag, v.patient)?;
        if !Run::sees(mask) || !self.seen_now(&v)? {
            return Ok(Told::No);
        }
        self.told(tree, &v, mask)
    }
}

/// A version that a search on the way found.
struct Found<'r> {
    run: &'r Run<'r>,
    ty: ResourceType,
    seq: i64,
    /// Tag and patient column, as the row had them; the tag may be 0.
    row: (u32, i64),
    version: Option<Version>,
}

impl Found<'_> {
    fn head(self) -> Result<Version, Error> {
        match self.version {
            Some(v) => Ok(v),
            None => fetch_head(self.run.conn, db::vid(self.ty.number(), self.seq))?
                .ok_or(Error::Unusable),
        }
    }

    fn whole(self) -> Result<Version, Error> {
        match self.version {
            // One that was read without its values has none.
            Some(v) if !v.vals.is_empty() => Ok(v),
            _ => fetch(self.run.conn, &self.run.names, db::vid(self.ty.number(), self.seq))?
                .ok_or(Error::Unusable),
        }
    }
}
