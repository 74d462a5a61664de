//! A second opinion on search: every version held against every filter, one by one,
//! with nothing taken from the index but its public types.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use phial_base::{ClassSet, DataClass, LogicalId, Seq};
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Criterion, Filter, Modifier, On, Operand, ParamId, Prefix, Query, SortKey, Term, fold, param,
};
use phial_policy::{Relationship, RelationshipSet};
use phial_store::index::{Indexed, Shape, Viewer};

pub(crate) type Mask<'a> = &'a dyn Fn(&Shape, RelationshipSet) -> ClassSet;

pub(crate) struct Model<'a> {
    pub log: &'a [Indexed],
}

fn values(v: &Indexed, p: ParamId) -> impl Iterator<Item = (DataClass, &Term)> {
    v.values.values.iter().filter(move |(q, _, _)| *q == p).map(|(_, c, t)| (*c, t))
}

fn date_fits(prefix: Prefix, (ql, qh): (i64, i64), (l, h): (i64, i64)) -> bool {
    let contained = ql <= l && h <= qh;
    match prefix {
        Prefix::Eq => contained,
        Prefix::Ne => !contained,
        Prefix::Gt => h > qh,
        Prefix::Lt => l < ql,
        Prefix::Ge => contained || h > qh,
        Prefix::Le => contained || l < ql,
        Prefix::Sa => l >= qh,
        Prefix::Eb => h <= ql,
        Prefix::Ap => l < qh && ql < h,
    }
}

fn number_fits(prefix: Prefix, value: f64, low: f64, high: f64, x: f64) -> bool {
    match prefix {
        Prefix::Eq => low <= x && x < high,
        Prefix::Ne => !(low <= x && x < high),
        Prefix::Gt | Prefix::Sa => x > value,
        Prefix::Lt | Prefix::Eb => x < value,
        Prefix::Ge => x >= value,
        Prefix::Le => x <= value,
        Prefix::Ap => (low <= x && x < high) || (x - value).abs() <= value.abs() / 10.0,
    }
}

/// An amount in another unit of the same kind; the records here have two of them.
fn converted(x: f64, of: &str, to: &str) -> Option<f64> {
    match (of, to) {
        ("mg", "kg") => Some(x / 1e6),
        ("kg", "mg") => Some(x * 1e6),
        _ => None,
    }
}

fn fits(o: &Operand, modifier: Modifier, t: &Term) -> bool {
    match (o, t) {
        (Operand::Token { system, code }, Term::Ref { identifier: Some((s, c)), .. }) => {
            modifier == Modifier::Identifier
                && system.as_ref().is_none_or(|q| q == s)
                && code.as_ref().is_none_or(|q| q == c)
        }
        (Operand::Str(q), Term::Later { text }) => {
            modifier == Modifier::None && fold(text).starts_with(&fold(q))
        }
        (
            Operand::Quantity { prefix, value, low, high, system, code },
            Term::Range { low: l, high: h, system: s, code: c, unit },
        ) => {
            const UCUM: &str = "http://unitsofmeasure.org";
            let ucum = |u: &Option<Box<str>>| u.as_deref() == Some(UCUM);
            let same = match (system, code) {
                (None, None) => true,
                (None, Some(q)) => c.as_ref() == Some(q) || unit.as_ref() == Some(q),
                (Some(y), None) => s.as_ref() == Some(y),
                (Some(y), Some(q)) => s.as_ref() == Some(y) && c.as_ref() == Some(q),
            };
            let ends = match (code, c) {
                _ if same => Some((*l, *h)),
                (Some(to), Some(of)) if ucum(system) && ucum(s) => {
                    converted(*l, of, to).zip(converted(*h, of, to))
                }
                _ => None,
            };
            ends.is_some_and(|(l, h)| {
                let contained = *low <= l && h < *high;
                match prefix {
                    Prefix::Eq => contained,
                    Prefix::Ne => !contained,
                    Prefix::Gt => h > *value,
                    Prefix::Lt => l < *value,
                    Prefix::Ge => contained || h > *value,
                    Prefix::Le => contained || l < *value,
                    Prefix::Sa => l > *value,
                    Prefix::Eb => h < *value,
                    Prefix::Ap => {
                        let near = value.abs() / 10.0;
                        l < high.max(value + near) && h >= low.min(value - near)
                    }
                }
            })
        }
        (Operand::Str(q), Term::Said { text }) => fold(text).starts_with(&fold(q)),
        (Operand::Typed { system, code, value }, Term::Typed { system: s, code: c, value: v }) => {
            (system, code, value) == (s, c, v)
        }
        (Operand::Uri(q), Term::Uri { uri }) if modifier == Modifier::Below => {
            uri.starts_with(&**q)
        }
        (Operand::Uri(q), Term::Uri { uri }) if modifier == Modifier::Above => {
            q.starts_with(&**uri)
        }
        (Operand::Token { system, code }, Term::Token { system: s, code: c }) => {
            system.as_ref().is_none_or(|q| q == s)
                && code.as_ref().is_none_or(|q| c.as_ref() == Some(q))
        }
        (Operand::Str(q), Term::Str { text }) => match modifier {
            Modifier::Exact => q == text,
            Modifier::Contains => fold(text).contains(&fold(q)),
            Modifier::Whole | Modifier::Other => fold(text) == fold(q),
            Modifier::Ends => fold(text).ends_with(&fold(q)),
            _ => fold(text).starts_with(&fold(q)),
        },
        (Operand::Date { prefix, low, high }, Term::Date { low: l, high: h }) => {
            date_fits(*prefix, (*low, *high), (*l, *h))
        }
        (Operand::Number { prefix, value, low, high }, Term::Number { value: x, .. }) => {
            number_fits(*prefix, *value, *low, *high, *x)
        }
        (
            Operand::Quantity { prefix, value, low, high, system, code },
            Term::Quantity { value: x, system: s, code: c, unit, .. },
        ) => {
            let unit_fits = match (system, code) {
                (None, None) => true,
                (None, Some(q)) => c.as_ref() == Some(q) || unit.as_ref() == Some(q),
                (Some(y), None) => s.as_ref() == Some(y),
                (Some(y), Some(q)) => s.as_ref() == Some(y) && c.as_ref() == Some(q),
            };
            const UCUM: &str = "http://unitsofmeasure.org";
            let ucum = |u: &Option<Box<str>>| u.as_deref() == Some(UCUM);
            let other = match (code, c) {
                (Some(to), Some(of)) if ucum(system) && ucum(s) => converted(*x, of, to),
                _ => None,
            };
            unit_fits && number_fits(*prefix, *value, *low, *high, *x)
                || other.is_some_and(|x| number_fits(*prefix, *value, *low, *high, x))
        }
        (Operand::Ref { target, id, url }, Term::Ref { target: t, id: i, url: u, .. }) => {
            let by_id = id.is_some() && id == i && t.is_some() && (target.is_none() || target == t);
            let by_url = url.is_some() && url == u;
            by_id || by_url
        }
        (Operand::Uri(q), Term::Uri { uri }) => q == uri,
        // With every class in sight; see `composite`.
        (Operand::Parts(_), Term::Parts { .. }) => composite(o, t, ClassSet::ALL),
        _ => false,
    }
}

/// Each component has a visible value that fits, all of one element.
fn composite(o: &Operand, t: &Term, m: ClassSet) -> bool {
    let (Operand::Parts(wanted), Term::Parts { parts }) = (o, t) else { return false };
    wanted.len() == parts.len()
        && wanted
            .iter()
            .zip(parts)
            .all(|(o, values)| values.iter().any(|(c, t)| m.has(*c) && fits(o, Modifier::None, t)))
}

fn unequal(o: &Operand) -> bool {
    match o {
        Operand::Date { prefix, .. }
        | Operand::Number { prefix, .. }
        | Operand::Quantity { prefix, .. } => *prefix == Prefix::Ne,
        Operand::Parts(parts) => parts.iter().any(unequal),
        _ => false,
    }
}

/// A sort value in the direction of its key.
#[derive(Clone, Debug, PartialEq)]
enum Key {
    Int(i64),
    Real(f64),
    Text(String),
}

fn compare(a: &Key, b: &Key) -> Ordering {
    match (a, b) {
        (Key::Int(a), Key::Int(b)) => a.cmp(b),
        (Key::Real(a), Key::Real(b)) => a.partial_cmp(b).unwrap(),
        (Key::Text(a), Key::Text(b)) => a.cmp(b),
        _ => unreachable!("one parameter has one kind of value"),
    }
}

impl Model<'_> {
    fn current(&self, at: Seq) -> Vec<&Indexed> {
        let mut last = BTreeMap::new();
        for v in self.log.iter().filter(|v| v.seq <= at) {
            last.insert((v.ty, v.id.clone()), v);
        }
        let mut all: Vec<&Indexed> = last.into_values().filter(|v| !v.deleted).collect();
        all.sort_by_key(|v| v.seq);
        all
    }

    /// The relationships of a viewer to one patient, as of the end of the log.
    fn tied(&self, viewer: &Viewer, patient: &LogicalId) -> RelationshipSet {
        let mut out = RelationshipSet::NONE;
        if viewer.patient.as_ref() == Some(patient) {
            out = out.with(Relationship::SelfPatient);
        }
        if viewer.launch.as_ref() == Some(patient) {
            out = out.with(Relationship::Launch);
        }
        let Some(me) = &viewer.practitioner else { return out };
        let now = self.current(Seq(u64::MAX));
        let refs = |v: &Indexed, code: &str, ty: &str, id: &str| {
            param(v.ty, code).is_some_and(|p| {
                values(v, p).any(|(_, t)| {
                    matches!(t, Term::Ref { target: Some(t), id: Some(i), .. }
                        if t.name() == ty && &**i == id)
                })
            })
        };
        let code = |v: &Indexed, p: &str, codes: &[&str]| {
            param(v.ty, p).is_some_and(|p| {
                values(v, p).any(|(_, t)| {
                    matches!(t, Term::Token { code: Some(c), .. } if codes.contains(&&**c))
                })
            })
        };
        let roles: Vec<&&Indexed> = now
            .iter()
            .filter(|v| v.ty.name() == "PractitionerRole")
            .filter(|v| refs(v, "practitioner", "Practitioner", me.as_str()))
            .filter(|v| !code(v, "active", &["false"]))
            .collect();
        let names_me = |v: &Indexed, p: &str| {
            refs(v, p, "Practitioner", me.as_str())
                || roles.iter().any(|r| refs(v, p, "PractitionerRole", r.id.as_str()))
        };
        for v in &now {
            if !v.patients.contains(patient) {
                continue;
            }
            let names_patient = |p: &str| refs(v, p, "Patient", patient.as_str());
            match v.ty.name() {
                "CareTeam"
                    if names_me(v, "participant")
                        && !code(v, "status", &["inactive", "entered-in-error"])
                        && (names_patient("patient") || names_patient("subject")) =>
                {
                    out = out.with(Relationship::CareTeam);
                }
                "Encounter"
                    if (names_me(v, "participant") || names_me(v, "practitioner"))
                        && !code(v, "status", &["cancelled", "entered-in-error"])
                        && (names_patient("patient") || names_patient("subject")) =>
                {
                    out = out.with(Relationship::Encounter);
                }
                "Appointment"
                    if (names_me(v, "actor") || names_me(v, "practitioner"))
                        && !code(v, "status", &["cancelled", "noshow", "entered-in-error"])
                        && (names_patient("actor") || names_patient("patient")) =>
                {
                    out = out.with(Relationship::Appointment);
                }
                "Patient" if v.id == *patient => {
                    if names_me(v, "general-practitioner") {
                        out = out.with(Relationship::GeneralPractitioner);
                    }
                    let shared = roles.iter().any(|r| {
                        r.values.values.iter().any(|(q, _, t)| match t {
                            Term::Ref { target: Some(t), id: Some(o), .. } => {
                                q.code() == "organization"
                                    && t.name() == "Organization"
                                    && refs(v, "organization", "Organization", o)
                            }
                            _ => false,
                        })
                    });
                    if shared {
                        out = out.with(Relationship::Assignment);
                    }
                }
                _ => {}
            }
        }
        out
    }

    pub(crate) fn relationships(&self, viewer: &Viewer, patients: &[LogicalId]) -> RelationshipSet {
        if patients.is_empty() {
            return RelationshipSet::NONE;
        }
        patients.iter().fold(RelationshipSet::ALL, |r, p| r.and(self.tied(viewer, p)))
    }

    fn mask(&self, v: &Indexed, viewer: &Viewer, mask: Mask<'_>) -> ClassSet {
        let shape = Shape { ty: v.ty, labels: v.labels, about_patient: !v.patients.is_empty() };
        mask(&shape, self.relationships(viewer, &v.patients))
    }

    fn holds(&self, v: &Indexed, f: &Filter, m: ClassSet) -> bool {
        match f.on {
            On::Id => f.values.iter().any(|o| matches!(o, Operand::Id(id) if *id == v.id)),
            On::LastUpdated => f.values.iter().any(|o| {
                matches!(o, Operand::Date { prefix, low, high }
                    if date_fits(*prefix, (*low, *high), (v.last_updated, v.last_updated + 1)))
            }),
            On::Param(p) => {
                let all = m.covers(p.classes(v.ty));
                if let [Operand::Missing(missing)] = f.values.as_slice() {
                    let own = |t: &Term| {
                        !matches!(t, Term::Said { .. } | Term::Typed { .. } | Term::Later { .. })
                    };
                    return all && (values(v, p).any(|(_, t)| own(t)) != *missing);
                }
                if !p.components().is_empty() {
                    return (all || !f.values.iter().any(unequal))
                        && values(v, p).any(|(_, t)| f.values.iter().any(|o| composite(o, t, m)));
                }
                if f.modifier == Modifier::Other {
                    let sort = |t: &Term| match f.values[0] {
                        Operand::Token { .. } => matches!(t, Term::Token { .. }),
                        Operand::Ref { .. } => match t {
                            Term::Ref { id, url, .. } => id.is_some() || url.is_some(),
                            _ => false,
                        },
                        _ => !matches!(t, Term::Later { .. }),
                    };
                    return all
                        && values(v, p).any(|(c, t)| {
                            m.has(c)
                                && sort(t)
                                && !f.values.iter().any(|o| fits(o, Modifier::Other, t))
                        });
                }
                let unequal = f.values.iter().any(unequal);
                let any = |mask: ClassSet| {
                    values(v, p).any(|(c, t)| {
                        mask.has(c) && f.values.iter().any(|o| fits(o, f.modifier, t))
                    })
                };
                match f.modifier {
                    Modifier::Not | Modifier::NotIn => all && !any(ClassSet::ALL),
                    _ if unequal => all && any(m),
                    _ => any(m),
                }
            }
        }
    }

    /// The same record at the end of the log, or as it was before it was deleted, hides
    /// nothing that the version shows.
    fn seen_now(&self, v: &Indexed, viewer: &Viewer, mask: Mask<'_>) -> bool {
        let newer = self
            .log
            .iter()
            .rfind(|w| (w.ty, &w.id) == (v.ty, &v.id) && w.seq > v.seq && !w.deleted);
        newer.is_none_or(|w| self.mask(w, viewer, mask).covers(self.mask(v, viewer, mask)))
    }

    /// Whether a criterion holds of a version, `None` when what decides is out of sight.
    fn told(
        &self,
        v: &Indexed,
        c: &Criterion,
        viewer: &Viewer,
        mask: Mask<'_>,
        at: Seq,
    ) -> Option<bool> {
        let m = self.mask(v, viewer, mask);
        let refs = |v: &Indexed, p: ParamId, m: ClassSet| -> Vec<(ResourceType, Box<str>)> {
            values(v, p)
                .filter(|(c, _)| m.has(*c))
                .filter_map(|(_, t)| match t {
                    Term::Ref { target: Some(t), id: Some(i), .. } => Some((*t, i.clone())),
                    _ => None,
                })
                .collect()
        };
        let all_seen = |p: ParamId, classes: ClassSet| {
            m.covers(classes) && values(v, p).all(|(c, _)| m.has(c))
        };
        match c {
            Criterion::Is(f) => {
                let sure = match f.on {
                    On::Param(p) => all_seen(p, f.classes(v.ty)),
                    On::Id | On::LastUpdated => true,
                };
                if self.holds(v, f, m) { Some(true) } else { sure.then_some(false) }
            }
            Criterion::Leads { by, to } => {
                let mut told = all_seen(*by, by.classes(v.ty)).then_some(false);
                for (t, i) in refs(v, *by, m) {
                    let Some((_, that)) = to.iter().find(|(ty, _)| *ty == t) else { continue };
                    let now = self.current(at);
                    let Some(w) = now.iter().find(|w| w.ty == t && *w.id.as_str() == *i) else {
                        continue;
                    };
                    if !self.mask(w, viewer, mask).has(DataClass::Administrative)
                        || !self.seen_now(w, viewer, mask)
                    {
                        continue;
                    }
                    match self.told(w, that, viewer, mask, at) {
                        Some(true) => return Some(true),
                        None => told = None,
                        Some(false) => {}
                    }
                }
                told
            }
            Criterion::Named { from, by, that } => Some(self.current(at).iter().any(|w| {
                let m = self.mask(w, viewer, mask);
                w.ty == *from
                    && m.has(DataClass::Administrative)
                    && refs(w, *by, m).iter().any(|(t, i)| *t == v.ty && **i == *v.id.as_str())
                    && self.seen_now(w, viewer, mask)
                    && self.told(w, that, viewer, mask, at) == Some(true)
            })),
            Criterion::All(all) => {
                let told: Vec<_> = all.iter().map(|c| self.told(v, c, viewer, mask, at)).collect();
                if told.contains(&Some(false)) {
                    Some(false)
                } else {
                    (!told.contains(&None)).then_some(true)
                }
            }
            Criterion::Any(all) => {
                let told: Vec<_> = all.iter().map(|c| self.told(v, c, viewer, mask, at)).collect();
                if told.contains(&Some(true)) {
                    Some(true)
                } else {
                    (!told.contains(&None)).then_some(false)
                }
            }
            Criterion::Not(c) => self.told(v, c, viewer, mask, at).map(|told| !told),
        }
    }

    fn in_compartment(v: &Indexed, ty: ResourceType, id: &LogicalId, m: ClassSet) -> bool {
        if ty.name() == "Patient" {
            return v.patients.contains(id);
        }
        if v.ty == ty {
            return v.id == *id;
        }
        phial_fhir::definitions::compartment(ty, v.ty).iter().any(|code| {
            param(v.ty, code).is_some_and(|p| {
                values(v, p).any(|(c, t)| {
                    m.has(c)
                        && matches!(t, Term::Ref { target: Some(t), id: Some(i), .. }
                            if *t == ty && **i == *id.as_str())
                })
            })
        })
    }

    fn key(v: &Indexed, k: &SortKey) -> Option<Key> {
        let mut all: Vec<Key> = match k.on {
            On::Id => vec![Key::Text(v.id.as_str().to_owned())],
            On::LastUpdated => vec![Key::Int(v.last_updated)],
            On::Param(p) => values(v, p)
                .filter_map(|(_, t)| match t {
                    Term::Date { low, .. } => Some(Key::Int(*low)),
                    Term::Number { value, .. } | Term::Quantity { value, .. } => {
                        Some(Key::Real(*value))
                    }
                    Term::Range { low, high, .. } => {
                        let (first, last) = if k.descending { (high, low) } else { (low, high) };
                        Some(Key::Real(if first.is_finite() { *first } else { *last }))
                    }
                    Term::Str { text } => Some(Key::Text(fold(text))),
                    Term::Token { code, .. } => {
                        Some(Key::Text(code.as_deref().unwrap_or("").to_owned()))
                    }
                    Term::Ref { target: Some(t), id: Some(i), .. } => {
                        Some(Key::Text(format!("{}/{i}", t.name())))
                    }
                    Term::Ref { url: Some(u), .. } => Some(Key::Text(u.to_string())),
                    Term::Ref { .. } => None,
                    Term::Uri { uri } => Some(Key::Text(uri.to_string())),
                    Term::Parts { .. }
                    | Term::Said { .. }
                    | Term::Typed { .. }
                    | Term::Held { .. }
                    | Term::Inner { .. }
                    | Term::Order { .. }
                    | Term::Later { .. } => None,
                })
                .collect(),
        };
        all.sort_by(compare);
        if k.descending { all.pop() } else { all.into_iter().next() }
    }

    /// Sequences of all matches, in order.
    pub(crate) fn search(&self, q: &Query, viewer: &Viewer, mask: Mask<'_>, at: Seq) -> Vec<Seq> {
        let mut found: Vec<&Indexed> = self
            .current(at)
            .into_iter()
            .filter(|v| v.ty == q.ty)
            .filter(|v| {
                let m = self.mask(v, viewer, mask);
                m.has(DataClass::Administrative)
                    && q.filters.iter().all(|f| self.holds(v, f, m))
                    && q.criteria.iter().all(|c| self.told(v, c, viewer, mask, at) == Some(true))
                    && q.sort.iter().all(|k| match k.on {
                        On::Param(p) => m.covers(p.classes(v.ty)),
                        On::Id | On::LastUpdated => true,
                    })
                    && q.compartment
                        .as_ref()
                        .is_none_or(|(ty, id)| Self::in_compartment(v, *ty, id, m))
            })
            .collect();
        let down = q.sort.first().is_some_and(|k| k.descending);
        found.sort_by(|a, b| {
            for k in &q.sort {
                let order = match (Self::key(a, k), Self::key(b, k)) {
                    (None, None) => Ordering::Equal,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(_), None) => Ordering::Less,
                    (Some(x), Some(y)) if k.descending => compare(&y, &x),
                    (Some(x), Some(y)) => compare(&x, &y),
                };
                if order != Ordering::Equal {
                    return order;
                }
            }
            if down { b.seq.cmp(&a.seq) } else { a.seq.cmp(&b.seq) }
        });
        found.iter().map(|v| v.seq).collect()
    }

    /// What the hits lead to by a reference parameter.
    pub(crate) fn includes(
        &self,
        hits: &[Seq],
        source: ResourceType,
        p: ParamId,
        viewer: &Viewer,
        mask: Mask<'_>,
        at: Seq,
    ) -> BTreeSet<Seq> {
        let now = self.current(at);
        let mut out = BTreeSet::new();
        for v in self.log.iter().filter(|v| hits.contains(&v.seq) && v.ty == source) {
            let m = self.mask(v, viewer, mask);
            for (c, t) in values(v, p) {
                if let Term::Ref { target: Some(ty), id: Some(id), .. } = t
                    && m.has(c)
                    && let Some(found) = now.iter().find(|n| n.ty == *ty && *n.id.as_str() == **id)
                    && self.mask(found, viewer, mask).has(DataClass::Administrative)
                    && !hits.contains(&found.seq)
                {
                    out.insert(found.seq);
                }
            }
        }
        out
    }

    /// What leads to the hits by a reference parameter.
    pub(crate) fn referring(
        &self,
        hits: &[Seq],
        source: ResourceType,
        p: ParamId,
        viewer: &Viewer,
        mask: Mask<'_>,
        at: Seq,
    ) -> BTreeSet<Seq> {
        let of: Vec<&Indexed> = self.log.iter().filter(|v| hits.contains(&v.seq)).collect();
        let mut out = BTreeSet::new();
        for v in self.current(at).into_iter().filter(|v| v.ty == source) {
            let m = self.mask(v, viewer, mask);
            let refers = values(v, p).any(|(c, t)| {
                m.has(c)
                    && matches!(t, Term::Ref { target: Some(ty), id: Some(id), .. }
                        if of.iter().any(|h| h.ty == *ty && *h.id.as_str() == **id))
            });
            if refers && m.has(DataClass::Administrative) && !hits.contains(&v.seq) {
                out.insert(v.seq);
            }
        }
        out
    }
}
