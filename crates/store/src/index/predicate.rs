//! What a filter of a query means for one version (HL7 R4 search): tests on values,
//! and the data classes that they need. A test that is positive needs the class of the
//! value that satisfies it; `:not`, `:missing` and `ne` need every class that the
//! parameter can have, or the version drops out.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use phial_base::ClassSet;
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Criterion, ParamId, Prefix, UCUM, date_matches, fold, number_matches, range_matches,
    unit_matches, unit_ratio,
};

use super::dict::{Kind, Names, Tag, faceted};
use super::inner;
use super::links::Tree;
use super::values::{NO_DATE, ODD_DATE, SPANS, Val};
use super::write::primary_date;

/// A version row, read.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub ty: u8,
    pub seq: i64,
    pub res: i64,
    pub ver: u32,
    pub tag: u32,
    pub patient: i64,
    pub date: i64,
    pub updated: i64,
    /// The sequence of the version before; 0: none is known.
    pub prev: i64,
    pub row: [u8; 16],
    pub vals: Vec<Val>,
}

/// The unit that a quantity must have.
#[derive(Clone, Debug)]
pub(super) struct UnitTest {
    /// `None`: any system, and the code may be the unit's text.
    pub system: Option<Box<str>>,
    pub code: Option<Box<str>>,
    /// How other UCUM units stand to this one, as far as it was asked.
    pub ratios: Ratios,
}

/// What amounts in a unit are times, and by, to be in the unit that is looked for.
pub(super) type Ratios = Rc<RefCell<HashMap<Box<str>, Option<(f64, f64)>>>>;

impl UnitTest {
    /// The UCUM code that is looked for, if it is one.
    pub(super) fn ucum(&self) -> Option<&str> {
        (self.system.as_deref() == Some(UCUM)).then_some(self.code.as_deref())?
    }

    /// The amount in the unit that is looked for; `None` when the units don't compare.
    fn amount(&self, value: f64, unit: Option<&super::values::Unit>) -> Option<f64> {
        if self.matches(unit) {
            return Some(value);
        }
        let wanted = self.ucum()?;
        let unit = unit.filter(|u| u.system.as_deref() == Some(UCUM))?;
        let code = unit.code.as_deref()?;
        let known = self.ratios.borrow().get(code).copied();
        let ratio = known.unwrap_or_else(|| {
            let ratio = unit_ratio(code, wanted);
            self.ratios.borrow_mut().insert(code.into(), ratio);
            ratio
        });
        ratio.map(|(times, by)| value * times / by)
    }

    fn matches(&self, unit: Option<&super::values::Unit>) -> bool {
        let (system, code, text) = unit.map_or((None, None, None), |u| {
            (u.system.as_deref(), u.code.as_deref(), u.unit.as_deref())
        });
        unit_matches((self.system.as_deref(), self.code.as_deref()), (system, code, text))
    }
}

/// A test on one value.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// A term or resource number in a range of them.
    Term {
        kind: Kind,
        low: i64,
        high: i64,
    },
    /// One of these terms, sorted.
    Terms {
        kind: Kind,
        all: Rc<[i64]>,
    },
    /// A reference to this resource.
    Ref {
        target: i64,
    },
    /// A reference to one of these resources.
    Refs(Rc<HashSet<i64>>),
    Prefix(String),
    Contains(String),
    Exact(Box<str>),
    /// The folded text is this.
    Whole(String),
    /// The folded text ends so.
    Ends(String),
    /// These words stand one after the other in one text. Asked of a whole version.
    Phrase(Rc<[Box<str>]>),
    /// It leads to a contained resource of one of the types that satisfies the type's
    /// criterion. Asked of a whole version.
    Inner(Rc<[(ResourceType, Criterion)]>),
    /// A value of this sort that satisfies none of these.
    Other(Sort, Vec<Test>),
    Date {
        prefix: Prefix,
        low: i64,
        high: i64,
    },
    Num {
        prefix: Prefix,
        value: f64,
        low: f64,
        high: f64,
        unit: Option<UnitTest>,
    },
}

/// Values that can be told from one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Token,
    Text,
    Reference,
    Uri,
}

impl Test {
    fn matches(&self, v: &Val, kind: Kind, patient: i64) -> bool {
        match (self, v) {
            (Test::Term { kind: k, low, high }, Val::Post { term, .. }) => {
                *k == kind && low <= term && term <= high
            }
            (Test::Terms { kind: k, all }, Val::Post { term, .. }) => {
                *k == kind && all.binary_search(term).is_ok()
            }
            (Test::Ref { target }, Val::Post { term, .. }) => kind == Kind::Ref && term == target,
            (Test::Ref { target }, Val::Own { .. }) => patient == *target,
            (Test::Refs(all), Val::Post { term, .. }) => kind == Kind::Ref && all.contains(term),
            (Test::Refs(all), Val::Own { .. }) => all.contains(&patient),
            (Test::Other(sort, tests), v) => {
                let told = match sort {
                    Sort::Token => kind == Kind::Token,
                    Sort::Text => kind == Kind::Str,
                    Sort::Reference => matches!(kind, Kind::Ref | Kind::RefUrl),
                    Sort::Uri => kind == Kind::Uri,
                };
                told && !tests.iter().any(|t| t.matches(v, kind, patient))
            }
            (Test::Prefix(p), Val::Str { text, .. }) => fold(text).starts_with(p.as_str()),
            // Of a part of a family name only the beginning counts.
            (_, Val::Str { .. }) if kind != Kind::Str => false,
            (Test::Contains(p), Val::Str { text, .. }) => fold(text).contains(p.as_str()),
            (Test::Exact(t), Val::Str { text, .. }) => t == text,
            (Test::Whole(t), Val::Str { text, .. }) => fold(text) == *t,
            (Test::Ends(t), Val::Str { text, .. }) => fold(text).ends_with(t.as_str()),
            (Test::Date { prefix, low, high }, Val::Date { low: l, high: h, .. }) => {
                date_matches(*prefix, *low, *high, (*l, *h))
            }
            (
                Test::Num { prefix, value, low, high, unit },
                Val::Range { low: l, high: h, unit: u, .. },
            ) => {
                let ends = match unit {
                    Some(unit) => unit.amount(*l, u.as_deref()).zip(unit.amount(*h, u.as_deref())),
                    None => Some((*l, *h)),
                };
                ends.is_some_and(|of| range_matches(*prefix, *value, (*low, *high), of))
            }
            (Test::Num { prefix, value, low, high, unit }, Val::Num { value: of, unit: u, .. }) => {
                let amount = match unit {
                    Some(unit) => unit.amount(*of, u.as_deref()),
                    None => Some(*of),
                };
                amount.is_some_and(|of| number_matches(*prefix, *value, *low, *high, of))
            }
            _ => false,
        }
    }
}

/// A filter.
#[derive(Clone, Debug)]
pub(super) enum Pred {
    /// One of these resources.
    Ids(HashSet<i64>),
    /// Written in one of these spans.
    Updated(Vec<(Prefix, i64, i64)>),
    /// These stand in the patient column: the Patient compartment.
    About(HashSet<i64>),
    /// Some value of the parameters satisfies some test.
    Has { params: Vec<u16>, tests: Vec<Test>, need: ClassSet },
    /// In some element, each component of the composite has a value that satisfies one of
    /// the component's tests. By alternative, then by component.
    Parts { param: u16, tests: Vec<Vec<Vec<Test>>>, need: ClassSet },
    /// No value does.
    HasNot { params: Vec<u16>, tests: Vec<Test>, need: ClassSet },
    /// There is no value (or there is one).
    Missing { param: u16, missing: bool, need: ClassSet },
    /// A condition of several parts. Who holds a version against it has a search under way.
    Tree(Rc<Tree>),
}

/// A candidate as a row of the index shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub seq: i64,
    pub tag: u32,
    pub patient: i64,
    /// The column, or `None` when the row has none.
    pub date: Option<i64>,
    /// The row's pcode; 0 for none.
    pub pcode: u32,
    /// The row's span, of a row of `dat`.
    pub span: Option<(i64, i64)>,
}

impl Pred {
    /// What the index row alone can say.
    pub(super) fn cheap(
        &self,
        c: &Candidate,
        tag: &Tag,
        mask: ClassSet,
        names: &Names,
    ) -> Option<bool> {
        match self {
            Pred::About(columns) => Some(columns.contains(&c.patient)),
            Pred::Has { params, tests, need } => {
                if !mask.covers(*need) {
                    return Some(false);
                }
                if tag.own != 0
                    && let Some(own) = names.pcode(tag.own)
                    && mask.has(own.class)
                    && own.params.iter().any(|p| params.contains(p))
                    && tests.iter().any(|t| match t {
                        Test::Ref { target } => *target == c.patient,
                        Test::Refs(all) => all.contains(&c.patient),
                        _ => false,
                    })
                {
                    return Some(true);
                }
                if only_own(tag, mask, names, params, tests) {
                    return Some(false);
                }
                by_facet(c, tag, mask, names, params, tests)
                    .or_else(|| self.by_column(c, tag, mask, params, tests))
            }
            Pred::HasNot { need, .. } | Pred::Missing { need, .. } => {
                (!mask.covers(*need)).then_some(false)
            }
            Pred::Parts { param, tests, need } => {
                let components =
                    ParamId::from_number(*param).map_or_else(Vec::new, ParamId::components);
                // An alternative of which one code is nowhere in the record can't hold.
                let out = |alternative: &Vec<Vec<Test>>| {
                    components.iter().zip(alternative).any(|(p, tests)| {
                        by_facet(c, tag, mask, names, &[p.number()], tests) == Some(false)
                    })
                };
                (!mask.covers(*need) || tests.iter().all(out)).then_some(false)
            }
            Pred::Ids(_) | Pred::Updated(_) | Pred::Tree(_) => None,
        }
    }

    /// The primary date, when the date column and the tag's span state it in full.
    fn by_column(
        &self,
        c: &Candidate,
        tag: &Tag,
        mask: ClassSet,
        params: &[u16],
        tests: &[Test],
    ) -> Option<bool> {
        let [param] = params else { return None };
        let low = c.date?;
        if low == ODD_DATE || primary_date(tag.shape.ty.number()) != Some(*param) {
            return None;
        }
        let id = phial_fhir::search::ParamId::from_number(*param)?;
        if !mask.covers(id.classes(tag.shape.ty)) {
            return None;
        }
        if low == NO_DATE {
            return Some(false);
        }
        let high = low.checked_add(*SPANS.get(usize::from(tag.span))?)?;
        Some(tests.iter().any(|t| {
            matches!(t, Test::Date { prefix, low: l, high: h }
                if date_matches(*prefix, *l, *h, (low, high)))
        }))
    }

    /// What the whole version says.
    pub(super) fn full(&self, v: &Version, mask: ClassSet, names: &Names) -> bool {
        match self {
            Pred::Ids(ids) => ids.contains(&v.res),
            Pred::Updated(spans) => spans
                .iter()
                .any(|(p, low, high)| date_matches(*p, *low, *high, (v.updated, v.updated + 1))),
            Pred::About(columns) => columns.contains(&v.patient),
            Pred::Has { params, tests, need } => {
                mask.covers(*need) && any(v, params, tests, mask, names)
            }
            Pred::Parts { param, tests, need } => {
                mask.covers(*need)
                    && v.vals.iter().any(|val| {
                        matches!(val, Val::Parts { pcode, parts }
                            if names.has_param(*pcode, *param)
                                && together(v, parts, tests, mask, names))
                    })
            }
            Pred::HasNot { params, tests, need } => {
                covers_all(v, params, *need, mask, names)
                    && !any(v, params, tests, ClassSet::ALL, names)
            }
            Pred::Missing { param, missing, need } => {
                // What stands beside a value is none: a code in words alone is missing.
                let of = |val: &Val| {
                    names
                        .pcode(val.pcode())
                        .is_some_and(|p| p.params.contains(param) && !p.kind.beside())
                };
                covers_all(v, &[*param], *need, mask, names) && v.vals.iter().any(of) != *missing
            }
            // Only a search can say; see `Run::full`.
            Pred::Tree(_) => false,
        }
    }
}

/// Whether the reference to the record's own patient is the only one that a filter by
/// targets could look at, and is in sight.
fn only_own(tag: &Tag, mask: ClassSet, names: &Names, params: &[u16], tests: &[Test]) -> bool {
    let [param] = params else { return false };
    tests.iter().all(|t| matches!(t, Test::Ref { .. } | Test::Refs(_)))
        && names.pcode(tag.own).is_some_and(|p| p.params.contains(param) && mask.has(p.class))
        && ParamId::from_number(*param).is_some_and(|p| p.single(tag.shape.ty))
}

/// What the facet says of a filter by codes: yes where one of its codes satisfies it; no
/// where none does and the parameters have codes nowhere else.
fn by_facet(
    c: &Candidate,
    tag: &Tag,
    mask: ClassSet,
    names: &Names,
    params: &[u16],
    tests: &[Test],
) -> Option<bool> {
    if tag.facet == 0 {
        return None;
    }
    let found = names.facet(c.tag).iter().any(|(pcode, term)| {
        names.pcode(*pcode).is_some_and(|p| {
            mask.has(p.class)
                && p.params.iter().any(|q| params.contains(q))
                && tests.iter().any(|t| match t {
                    Test::Term { kind, low, high } => {
                        *kind == p.kind && low <= term && term <= high
                    }
                    Test::Terms { kind, all } => *kind == p.kind && all.binary_search(term).is_ok(),
                    _ => false,
                })
        })
    });
    if found {
        return Some(true);
    }
    let codes = tests.iter().all(|t| {
        matches!(t, Test::Term { kind: Kind::Token, .. } | Test::Terms { kind: Kind::Token, .. })
    });
    let ty = tag.shape.ty.number();
    let elsewhere = params
        .iter()
        .flat_map(|q| names.of_param(ty, *q))
        .any(|pcode| names.pcode(*pcode).is_some_and(|p| p.kind == Kind::Token && !faceted(p)));
    (codes && !elsewhere).then_some(false)
}

/// Whether the mask covers what the parameter can have and what it does have here.
pub(super) fn covers_all(
    v: &Version,
    params: &[u16],
    need: ClassSet,
    mask: ClassSet,
    names: &Names,
) -> bool {
    mask.covers(need)
        && v.vals.iter().all(|val| {
            names
                .pcode(val.pcode())
                .is_some_and(|p| mask.has(p.class) || !p.params.iter().any(|q| params.contains(q)))
        })
}

/// Whether one alternative has, for each component, a visible value among its places.
fn together(
    v: &Version,
    parts: &[Box<[u16]>],
    tests: &[Vec<Vec<Test>>],
    mask: ClassSet,
    names: &Names,
) -> bool {
    tests.iter().any(|components| {
        components.len() == parts.len()
            && components.iter().zip(parts).all(|(tests, places)| {
                places.iter().filter_map(|at| v.vals.get(usize::from(*at))).any(|val| {
                    names.pcode(val.pcode()).is_some_and(|p| {
                        mask.has(p.class) && tests.iter().any(|t| t.matches(val, p.kind, v.patient))
                    })
                })
            })
    })
}

fn any(v: &Version, params: &[u16], tests: &[Test], mask: ClassSet, names: &Names) -> bool {
    v.vals.iter().any(|val| {
        names.pcode(val.pcode()).is_some_and(|p| {
            mask.has(p.class)
                && p.params.iter().any(|q| params.contains(q))
                && tests.iter().any(|t| match t {
                    Test::Phrase(words) => in_order(v, val, words),
                    Test::Inner(to) => leads_within(val, to, mask),
                    t => t.matches(val, p.kind, v.patient),
                })
        })
    })
}

/// Whether what `val` leads to within the record is of one of the types and satisfies that
/// type's criterion, as far as it is in sight.
pub(super) fn leads_within(val: &Val, to: &[(ResourceType, Criterion)], mask: ClassSet) -> bool {
    let Val::Inner { ty, values, .. } = val else { return false };
    let mut of_type = to.iter().filter(|(of, _)| of.number() == *ty);
    of_type.any(|(of, that)| inner::holds(that, *of, values, mask))
}

/// Whether the words stand one after the other in what `val` says of the order of words.
fn in_order(v: &Version, val: &Val, words: &[Box<str>]) -> bool {
    let Val::Order { at, .. } = val else { return false };
    let is = |place: &u16, word: &str| {
        let place = usize::from(*place).checked_sub(1);
        place
            .and_then(|p| v.vals.get(p))
            .is_some_and(|val| matches!(val, Val::Str { text, .. } if **text == *word))
    };
    !words.is_empty()
        && at.windows(words.len()).any(|some| some.iter().zip(words).all(|(p, w)| is(p, w)))
}
