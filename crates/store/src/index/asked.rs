//! What a filter of a query asks, in the index's numbers: codes and URLs as terms, ids as
//! resources, texts folded.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use phial_base::ClassSet;
use phial_fhir::ResourceType;
use phial_fhir::search::{Filter, Modifier, On, Operand, ParamId, Prefix, SearchType, fold};
use rusqlite::{Connection, OptionalExtension};

use super::dict::Kind;
use super::list;
use super::plan::Planner;
use super::predicate::{Pred, Ratios, Sort, Test, UnitTest};
use super::stored::{known_term_text, resource, terms};
use super::write::{patient_type, typed};
use crate::error::Error;

/// More terms than this in one filter are looked up in a list of them.
const MANY_TERMS: usize = 16;

fn system(conn: &Connection, uri: &str) -> Result<Option<i64>, Error> {
    Ok(conn
        .prepare_cached("SELECT num FROM system WHERE uri=?1")?
        .query_row([uri], |r| r.get(0))
        .optional()?)
}

/// A filter's tests, and the patients that it asks for as targets.
#[derive(Default)]
struct Tests {
    tests: Vec<Test>,
    patients: Vec<i64>,
    unequal: bool,
}

impl Planner<'_> {
    fn token(
        &self,
        kind: Kind,
        sys: Option<Option<&str>>,
        code: Option<&str>,
        out: &mut Vec<Test>,
    ) -> Result<(), Error> {
        let number = match sys {
            None => None,
            Some(None) => Some(0),
            Some(Some(uri)) => match system(self.conn, uri)? {
                Some(n) => Some(n),
                None => return Ok(()),
            },
        };
        match code {
            Some(code) => {
                for t in terms(self.conn, number, code)? {
                    out.push(Test::Term { kind, low: t, high: t });
                }
            }
            None => {
                let (low, high) = number.map_or((0, i64::MAX), |s| (s << 32, ((s + 1) << 32) - 1));
                out.push(Test::Term { kind, low, high });
            }
        }
        Ok(())
    }

    fn reference(
        &self,
        of: &[ParamId],
        modifier: &Modifier,
        target: Option<ResourceType>,
        id: Option<&str>,
        url: Option<&str>,
        out: &mut Tests,
    ) -> Result<(), Error> {
        if let Some(id) = id {
            let forced = match modifier {
                Modifier::Type(t) => Some(*t),
                _ => target,
            };
            let mut types: Vec<ResourceType> = match forced {
                Some(t) => vec![t],
                None => of.iter().flat_map(|p| p.def().targets.iter().copied()).collect(),
            };
            if types.is_empty() {
                types = ResourceType::all().collect();
            }
            for t in types {
                if let Some(n) = resource(self.conn, t.number(), id)? {
                    out.tests.push(Test::Ref { target: n });
                    if t.number() == patient_type() {
                        out.patients.push(n);
                    }
                }
            }
        }
        // Asked of most references: whether any is by a URL is known in memory.
        let by_url = of.iter().any(|p| {
            let pcodes = self.names.of_param(self.ty.number(), p.number()).iter();
            pcodes.copied().any(|p| self.names.pcode(p).is_some_and(|p| p.kind == Kind::RefUrl))
        });
        if let Some(url) = url.filter(|_| by_url) {
            self.token(Kind::RefUrl, Some(None), Some(url), &mut out.tests)?;
        }
        Ok(())
    }

    fn tests(&self, of: &[ParamId], filter: &Filter) -> Result<Tests, Error> {
        self.tests_of(of, &filter.modifier, &filter.values)
    }

    fn tests_of(
        &self,
        of: &[ParamId],
        modifier: &Modifier,
        values: &[Operand],
    ) -> Result<Tests, Error> {
        let mut out = Tests::default();
        for operand in values {
            match operand {
                // A type of media, with whatever parameters.
                Operand::Token { system: None, code: Some(code) }
                    if *modifier == Modifier::Below && code.contains('/') =>
                {
                    let below = |other: &str| {
                        other.strip_prefix(&**code).is_some_and(|rest| {
                            rest.is_empty() || rest.trim_start().starts_with(';')
                        })
                    };
                    out.tests.extend(self.terms_like(of, Kind::Token, &below)?);
                }
                // What subsumes it was to be looked up before.
                Operand::Token { .. } if matches!(modifier, Modifier::Above | Modifier::Below) => {
                    return Err(Error::Invalid("search value"));
                }
                Operand::Token { system, code } => {
                    let kind = match modifier {
                        Modifier::Identifier => Kind::RefIdent,
                        _ => Kind::Token,
                    };
                    let system = system.as_ref().map(|s| s.as_deref());
                    self.token(kind, system, code.as_deref(), &mut out.tests)?;
                }
                Operand::Typed { system, code, value } => {
                    let term = typed(code, value);
                    self.token(Kind::Typed, Some(Some(system)), Some(&term), &mut out.tests)?;
                }
                Operand::Str(text) if *modifier == Modifier::Text => {
                    let folded = fold(text);
                    let says = |said: &str| fold(said).starts_with(&folded);
                    out.tests.extend(self.terms_like(of, Kind::Said, &says)?);
                }
                Operand::Str(text) => out.tests.push(match modifier {
                    Modifier::Exact => Test::Exact(text.clone()),
                    Modifier::Contains => Test::Contains(fold(text)),
                    Modifier::Whole | Modifier::Other => Test::Whole(fold(text)),
                    Modifier::Ends => Test::Ends(fold(text)),
                    _ => Test::Prefix(fold(text)),
                }),
                Operand::Phrase(text) => {
                    let words: Vec<Box<str>> = text.split(' ').map(Into::into).collect();
                    out.tests.push(Test::Phrase(words.into()));
                }
                Operand::Date { prefix, low, high } => {
                    out.unequal |= *prefix == Prefix::Ne;
                    out.tests.push(Test::Date { prefix: *prefix, low: *low, high: *high });
                }
                Operand::Number { prefix, value, low, high } => {
                    out.unequal |= *prefix == Prefix::Ne;
                    out.tests.push(Test::Num {
                        prefix: *prefix,
                        value: *value,
                        low: *low,
                        high: *high,
                        unit: None,
                    });
                }
                Operand::Quantity { prefix, value, low, high, system, code } => {
                    out.unequal |= *prefix == Prefix::Ne;
                    let ratios = Ratios::default();
                    let unit = UnitTest { system: system.clone(), code: code.clone(), ratios };
                    out.tests.push(Test::Num {
                        prefix: *prefix,
                        value: *value,
                        low: *low,
                        high: *high,
                        unit: Some(unit),
                    });
                }
                Operand::Ref { target, id, url } => {
                    self.reference(of, modifier, *target, id.as_deref(), url.as_deref(), &mut out)?;
                }
                Operand::Uri(_) if matches!(modifier, Modifier::In | Modifier::NotIn) => {
                    return Err(Error::Invalid("search value"));
                }
                Operand::Uri(canonical)
                    if *modifier == Modifier::Below
                        && of.iter().all(|p| p.kind() == SearchType::Reference) =>
                {
                    let versions = |other: &str| version_of(other, canonical);
                    out.tests.extend(self.terms_like(of, Kind::RefUrl, &versions)?);
                }
                Operand::Uri(uri) if *modifier == Modifier::Below => {
                    let below = |other: &str| other.starts_with(&**uri);
                    out.tests.extend(self.terms_like(of, Kind::Uri, &below)?);
                }
                Operand::Uri(uri) if *modifier == Modifier::Above => {
                    for (at, c) in uri.char_indices() {
                        let above = uri.get(..at + c.len_utf8()).unwrap_or(uri);
                        self.token(Kind::Uri, Some(None), Some(above), &mut out.tests)?;
                    }
                }
                Operand::Uri(uri) => {
                    self.token(Kind::Uri, Some(None), Some(uri), &mut out.tests)?;
                }
                Operand::Missing(_) | Operand::Id(_) | Operand::Parts(_) => {
                    return Err(Error::Invalid("search value"));
                }
            }
        }
        let single = |t: &Test| match t {
            Test::Term { kind, low, high } if low == high => Some((*kind, *low)),
            _ => None,
        };
        // Many codes, as of a value set, are looked up and not gone through.
        if out.tests.len() > MANY_TERMS
            && let Some(all) = out.tests.iter().map(single).collect::<Option<Vec<_>>>()
            && let Some((kind, _)) = all.first().copied()
            && all.iter().all(|(k, _)| *k == kind)
        {
            let all = all.into_iter().map(|(_, term)| term).collect();
            out.tests = one_of(kind, all).into_iter().collect();
        }
        if *modifier == Modifier::Other {
            let sort = match values.first() {
                Some(Operand::Token { .. }) => Sort::Token,
                Some(Operand::Str(_)) => Sort::Text,
                Some(Operand::Ref { .. }) => Sort::Reference,
                Some(Operand::Uri(_)) => Sort::Uri,
                _ => return Err(Error::Invalid("search value")),
            };
            out.tests = vec![Test::Other(sort, std::mem::take(&mut out.tests))];
            out.patients.clear();
            out.unequal = true;
        }
        Ok(out)
    }

    /// The terms of the parameters' values of a kind whose text is wanted.
    fn terms_like(
        &self,
        of: &[ParamId],
        kind: Kind,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Test>, Error> {
        let pcodes: Vec<u32> = of
            .iter()
            .flat_map(|p| self.names.of_param(self.ty.number(), p.number()).iter().copied())
            .filter(|p| self.names.pcode(*p).is_some_and(|p| p.kind == kind))
            .collect();
        let mut all = BTreeSet::new();
        self.names.facet_terms(&pcodes, &mut all);
        for pcode in &pcodes {
            list::terms(self.conn, *pcode, &mut all)?;
        }
        let mut found = Vec::new();
        for term in all {
            // A facet outlives the texts of those who were forgotten.
            if known_term_text(self.conn, term)?.is_some_and(|text| wanted(&text)) {
                found.push(term);
            }
        }
        Ok(one_of(kind, found))
    }

    /// A filter, and the patients that it names as targets.
    pub(super) fn filter(&self, filter: &Filter) -> Result<(Pred, Vec<i64>), Error> {
        let p = match &filter.on {
            On::Id => {
                let mut ids = HashSet::new();
                for v in &filter.values {
                    let Operand::Id(id) = v else { return Err(Error::Invalid("search value")) };
                    ids.extend(resource(self.conn, self.ty.number(), id.as_str())?);
                }
                return Ok((Pred::Ids(ids), Vec::new()));
            }
            On::LastUpdated => {
                let mut spans = Vec::new();
                for v in &filter.values {
                    match v {
                        Operand::Date { prefix, low, high } => spans.push((*prefix, *low, *high)),
                        // Every record has one.
                        Operand::Missing(true) => {}
                        Operand::Missing(false) => spans.push((Prefix::Ge, i64::MIN, i64::MIN)),
                        _ => return Err(Error::Invalid("search value")),
                    }
                }
                return Ok((Pred::Updated(spans), Vec::new()));
            }
            On::Param(p) => *p,
        };
        let classes = p.classes(self.ty);
        if p.kind() == SearchType::Composite {
            return Ok((self.composite(p, filter)?, Vec::new()));
        }
        if let [Operand::Missing(missing)] = filter.values.as_slice() {
            let pred = Pred::Missing { param: p.number(), missing: *missing, need: classes };
            return Ok((pred, Vec::new()));
        }
        let tests = self.tests(&[p], filter)?;
        let params = vec![p.number()];
        if matches!(filter.modifier, Modifier::Not | Modifier::NotIn) {
            let pred = Pred::HasNot { params, tests: tests.tests, need: classes };
            return Ok((pred, Vec::new()));
        }
        let need = if tests.unequal { classes } else { ClassSet::NONE };
        Ok((Pred::Has { params, tests: tests.tests, need }, tests.patients))
    }

    fn composite(&self, p: ParamId, filter: &Filter) -> Result<Pred, Error> {
        let components = p.components();
        let mut tests = Vec::with_capacity(filter.values.len());
        let mut unequal = false;
        for operand in &filter.values {
            let Operand::Parts(parts) = operand else { return Err(Error::Invalid("search value")) };
            if parts.len() != components.len() {
                return Err(Error::Invalid("search value"));
            }
            let mut all = Vec::with_capacity(parts.len());
            for (component, part) in components.iter().zip(parts) {
                let found =
                    self.tests_of(&[*component], &Modifier::None, std::slice::from_ref(part))?;
                unequal |= found.unequal;
                all.push(found.tests);
            }
            // A component that nothing can match rules the alternative out.
            if all.iter().all(|t| !t.is_empty()) {
                tests.push(all);
            }
        }
        let need = if unequal { p.classes(self.ty) } else { ClassSet::NONE };
        Ok(Pred::Parts { param: p.number(), tests, need })
    }
}

/// Whether a canonical URL is of the resource, and of the version or one beneath it, that
/// another names (<https://hl7.org/fhir/R4/search.html#versions>).
fn version_of(url: &str, wanted: &str) -> bool {
    let parts = |url: &str| match url.split_once('|') {
        Some((url, version)) => (url.to_owned(), Some(version.to_owned())),
        None => (url.to_owned(), None),
    };
    let ((url, version), (wanted, of)) = (parts(url), parts(wanted));
    url == wanted
        && of.is_none_or(|of| {
            version.is_some_and(|v| {
                v.strip_prefix(of.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        })
}

/// A test for one of these terms; `None` when there are none.
fn one_of(kind: Kind, mut all: Vec<i64>) -> Option<Test> {
    all.sort_unstable();
    all.dedup();
    match all.as_slice() {
        [] => None,
        [one] => Some(Test::Term { kind, low: *one, high: *one }),
        _ => Some(Test::Terms { kind, all: Rc::from(all) }),
    }
}
