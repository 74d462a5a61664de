//! The grammar of a search: what may stand in a query, and nothing else. An unknown
//! parameter, modifier or prefix is refused by name; no value is ever repeated.
//!
//! Not supported, and refused as such: `_query`, `_contained`, functional lists
//! (`_list=$…`), distance, `:above` and `:below` of references.
//!
//! Source: <https://hl7.org/fhir/R4/search.html>

use std::borrow::Cow;

use phial_base::LogicalId;

use super::query::{Criterion, Filter, Include, Modifier, On, Query, SortKey, Summary, Total};
use super::query_value::{self as value, Operand, Wrong};
use super::{ParamId, SearchType, filter, param, words};
use crate::definitions::ResourceType;
use crate::issue::{Issue, IssueCode};

/// The most alternatives that one query may have, all filters together.
const MOST_VALUES: usize = 1_000;

/// The most links of a chain, and the most brackets within brackets.
pub(super) const MOST_LINKS: usize = 8;

/// Why something can't be part of a query.
pub(super) type Refused = (IssueCode, Cow<'static, str>);

pub(super) fn refused<T>(code: IssueCode, why: impl Into<Cow<'static, str>>) -> Result<T, Refused> {
    Err((code, why.into()))
}

/// Reads a query. The pairs are decoded, in the order that they were given. A parameter
/// that is given twice must hold twice.
///
/// # Errors
/// An issue for each pair that can't be used; its path is the parameter.
pub fn parse_query(ty: ResourceType, pairs: &[(String, String)]) -> Result<Query, Vec<Issue>> {
    let mut reader = Reader { query: Query::all(ty), issues: Vec::new(), once: Vec::new() };
    for (name, text) in pairs {
        reader.pair(name, text);
    }
    let criteria: usize = reader.query.criteria.iter().map(Criterion::size).sum();
    let values: usize = reader.query.filters.iter().map(|f| f.values.len()).sum();
    if values + criteria > MOST_VALUES {
        let text = format!("more than {MOST_VALUES} alternatives in one query");
        reader.issues.push(Issue::error(IssueCode::TooCostly, "", text));
    }
    if reader.issues.is_empty() { Ok(reader.query) } else { Err(reader.issues) }
}

/// The filters of one pair, if it can be read as such: for those who ask what a pair looks
/// at before the query is made.
#[must_use]
pub fn parse_criterion(ty: ResourceType, name: &str, text: &str) -> Option<Criterion> {
    criterion(ty, name, text, 0).ok()
}

struct Reader<'p> {
    query: Query,
    issues: Vec<Issue>,
    /// Result parameters that were seen and may stand once.
    once: Vec<&'p str>,
}

/// Parameters of R4 that are known and not supported.
const UNSUPPORTED: [&str; 4] = ["_elements", "_contained", "_containedType", "_query"];

/// A name fit to be repeated: only what a parameter's name can be made of. A name that
/// is anything else may carry a value.
fn shown(name: &str) -> &str {
    let plausible = !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.'));
    if plausible { name } else { "(unreadable name)" }
}

impl<'p> Reader<'p> {
    fn refuse(&mut self, code: IssueCode, name: &str, text: impl std::fmt::Display) {
        let name = shown(name);
        self.issues.push(Issue::error(code, name, format!("parameter {name} {text}")));
    }

    fn pair(&mut self, name: &'p str, text: &str) {
        let (base, modifier) = match name.split_once(':') {
            Some((base, modifier)) => (base, Some(modifier)),
            None => (name, None),
        };
        let result = matches!(
            base,
            "_count" | "_sort" | "_summary" | "_total" | "_page" | "_format" | "_pretty"
        );
        if result {
            if modifier.is_some() {
                return self.refuse(IssueCode::NotSupported, name, "takes no modifier");
            }
            if self.once.contains(&base) {
                return self.refuse(IssueCode::Duplicate, name, "may be given once");
            }
            self.once.push(base);
        }
        match base {
            "_format" | "_pretty" => {}
            "_count" => self.count(name, text),
            "_sort" => self.sort(name, text),
            "_summary" => match text {
                "count" => self.query.summary = Summary::Count,
                "false" => {}
                _ => self.refuse(IssueCode::Value, name, "is supported as count or false"),
            },
            "_page" => self.query.page = Some(text.to_owned()),
            "_total" => match text {
                "none" => self.query.total = Total::None,
                "estimate" => self.query.total = Total::Estimate,
                "accurate" => self.query.total = Total::Accurate,
                _ => self.refuse(IssueCode::Value, name, "is not none, estimate or accurate"),
            },
            "_include" | "_revinclude" => match modifier {
                None => self.include(name, text, base == "_revinclude", false),
                Some("iterate") => self.include(name, text, base == "_revinclude", true),
                Some(_) => self.refuse(IssueCode::NotSupported, name, "is not supported"),
            },
            _ => match criterion(self.query.ty, name, text, 0) {
                Ok(found) => self.take(found),
                Err((code, why)) => self.refuse(code, name, why),
            },
        }
    }

    /// What all must hold is that each must hold; filters go with the filters.
    fn take(&mut self, found: Criterion) {
        match found {
            Criterion::Is(filter) => self.query.filters.push(filter),
            Criterion::All(all) => all.into_iter().for_each(|c| self.take(c)),
            other => self.query.criteria.push(other),
        }
    }

    fn count(&mut self, name: &str, text: &str) {
        let digits =
            !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(0) if digits => self.query.summary = Summary::Count,
            Ok(n) if digits => self.query.count = Some(n),
            _ => self.refuse(IssueCode::Value, name, "is not a whole number"),
        }
    }

    fn sort(&mut self, name: &str, text: &str) {
        for key in text.split(',') {
            let (code, descending) = match key.strip_prefix('-') {
                Some(code) => (code, true),
                None => (key, false),
            };
            let Some(on) = on(self.query.ty, code) else {
                let why = "names no search parameter of the type";
                return self.refuse(IssueCode::Value, name, why);
            };
            if let On::Param(p) = on
                && (p.unsearchable().is_some() || p.of_words() || p.kind() == SearchType::Composite)
            {
                let why = format!("cannot be by {code}");
                return self.refuse(IssueCode::NotSupported, name, why);
            }
            self.query.sort.push(SortKey { on, descending });
        }
    }

    fn include(&mut self, name: &str, text: &str, reverse: bool, iterate: bool) {
        const WRONG: &str =
            "is not *, Type:*, Type:parameter or Type:parameter:Target of a reference parameter";
        let mut parts = text.split(':');
        let source = parts.next().unwrap_or_default();
        let source = match (source, ResourceType::from_name(source)) {
            ("*", _) => None,
            (_, Some(source)) => Some(source),
            _ => return self.refuse(IssueCode::Value, name, WRONG),
        };
        let by = match (source, parts.next()) {
            (None, None) | (Some(_), Some("*")) => None,
            (Some(source), Some(code)) => match param(source, code) {
                Some(by) if by.kind() == SearchType::Reference => Some(by),
                _ => return self.refuse(IssueCode::Value, name, WRONG),
            },
            _ => return self.refuse(IssueCode::Value, name, WRONG),
        };
        let target = match parts.next() {
            None => None,
            Some(target) => match ResourceType::from_name(target) {
                Some(target) => Some(target),
                None => return self.refuse(IssueCode::Value, name, "has an unknown target type"),
            },
        };
        if parts.next().is_some() {
            return self.refuse(IssueCode::Value, name, "has too many parts");
        }
        // What goes on from what was added may start and end anywhere.
        if !iterate && reverse {
            if target.is_some_and(|t| t != self.query.ty) {
                let why = "must end at the type that is searched";
                return self.refuse(IssueCode::NotSupported, name, why);
            }
            let targets = source.zip(by).map(|(s, p)| p.targets(s)).unwrap_or_default();
            if !targets.is_empty() && !targets.contains(&self.query.ty) {
                let why = "names a parameter that never refers to the type that is searched";
                return self.refuse(IssueCode::Value, name, why);
            }
        } else if !iterate && source.is_some_and(|s| s != self.query.ty) {
            let why = "must start at the type that is searched";
            return self.refuse(IssueCode::NotSupported, name, why);
        }
        let include = Include { source, param: by, target, iterate };
        let all = if reverse { &mut self.query.revinclude } else { &mut self.query.include };
        if !all.contains(&include) {
            all.push(include);
        }
    }
}

/// What a name stands for in resources of type `ty`.
pub(super) fn on(ty: ResourceType, code: &str) -> Option<On> {
    match code {
        "_id" => Some(On::Id),
        "_lastUpdated" => Some(On::LastUpdated),
        _ => param(ty, code).map(On::Param),
    }
}

/// Reads a parameter with its value as a condition on resources of type `ty`. `depth`
/// counts the links that led here.
pub(super) fn criterion(
    ty: ResourceType,
    name: &str,
    text: &str,
    depth: usize,
) -> Result<Criterion, Refused> {
    if depth > MOST_LINKS {
        return refused(IssueCode::TooCostly, format!("has more than {MOST_LINKS} links"));
    }
    if let Some(rest) = name.strip_prefix("_has:") {
        let (from, by, rest) = reverse(ty, rest)?;
        let that = Box::new(criterion(from, rest, text, depth + 1)?);
        return Ok(Criterion::Named { from, by, that });
    }
    if let Some((head, rest)) = name.split_once('.') {
        return chain(ty, head, |target| criterion(target, rest, text, depth + 1));
    }
    let (base, modifier) = match name.split_once(':') {
        Some((base, modifier)) => (base, Some(modifier)),
        None => (name, None),
    };
    match (base, modifier) {
        ("_filter", None) => filter::read(ty, text),
        ("_list", None) => list(ty, text),
        ("_text" | "_content", None) => match param(ty, base) {
            Some(p) => words::read(p, text),
            None => unknown(ty),
        },
        ("_filter" | "_list" | "_text" | "_content", Some(_)) => {
            refused(IssueCode::NotSupported, "takes no modifier")
        }
        _ if UNSUPPORTED.contains(&base) => refused(IssueCode::NotSupported, "is not supported"),
        _ => plain(ty, base, modifier, text).map(Criterion::Is),
    }
}

fn unknown<T>(ty: ResourceType) -> Result<T, Refused> {
    refused(IssueCode::NotSupported, format!("is not a search parameter of {ty}"))
}

/// Reads `Type:parameter:rest` after `_has:`.
pub(super) fn reverse(
    ty: ResourceType,
    rest: &str,
) -> Result<(ResourceType, ParamId, &str), Refused> {
    let mut parts = rest.splitn(3, ':');
    let from = parts.next().and_then(ResourceType::from_name);
    let by = from.zip(parts.next()).and_then(|(from, code)| param(from, code));
    let (Some(from), Some(by), Some(rest)) = (from, by, parts.next()) else {
        return refused(
            IssueCode::NotSupported,
            "is not _has:Type:reference:parameter with parameters of that type",
        );
    };
    if by.kind() != SearchType::Reference {
        return refused(IssueCode::NotSupported, "does not go by a reference parameter");
    }
    let targets = by.targets(from);
    if !targets.is_empty() && !targets.contains(&ty) {
        return refused(
            IssueCode::NotSupported,
            format!("goes by a parameter that never refers to {ty}"),
        );
    }
    Ok((from, by, rest))
}

/// Reads one link of a chain: `parameter` or `parameter:Type`. `further` reads the rest
/// for a type at its end. Without a type, every one that has such a parameter counts.
pub(super) fn chain(
    ty: ResourceType,
    head: &str,
    mut further: impl FnMut(ResourceType) -> Result<Criterion, Refused>,
) -> Result<Criterion, Refused> {
    let (base, wanted) = match head.split_once(':') {
        Some((base, wanted)) => (base, Some(wanted)),
        None => (head, None),
    };
    let Some(by) = param(ty, base) else { return unknown(ty) };
    if by.kind() != SearchType::Reference {
        return refused(IssueCode::NotSupported, "goes by a parameter that is no reference");
    }
    let targets = by.targets(ty);
    if let Some(wanted) = wanted {
        let Some(target) = ResourceType::from_name(wanted) else {
            return refused(IssueCode::NotSupported, "has a modifier that is not supported");
        };
        if !targets.is_empty() && !targets.contains(&target) {
            return refused(IssueCode::NotSupported, format!("never refers to {target}"));
        }
        return Ok(Criterion::Leads { by, to: vec![(target, further(target)?)] });
    }
    if targets.is_empty() {
        return refused(
            IssueCode::NotSupported,
            "may refer to anything: say to which type, as in parameter:Type.further",
        );
    }
    let (mut to, mut first, mut wrong) = (Vec::new(), None, None);
    for target in targets {
        match further(target) {
            Ok(criterion) => to.push((target, criterion)),
            // The type has no such parameter.
            Err(why) if why.0 == IssueCode::NotSupported => first = first.or(Some(why)),
            Err(why) => wrong = wrong.or(Some(why)),
        }
    }
    match (wrong, first) {
        // What is a code to one type may be no date to another.
        (Some(why), _) if to.is_empty() => Err(why),
        (_, Some(why)) if to.is_empty() => Err(why),
        _ => Ok(Criterion::Leads { by, to }),
    }
}

/// `_list`: what is an item of the List with such an id
/// (<https://hl7.org/fhir/R4/search.html#list>).
fn list(ty: ResourceType, text: &str) -> Result<Criterion, Refused> {
    let from = ResourceType::from_name("List");
    let Some((from, by)) = from.and_then(|l| Some((l, param(l, "item")?))) else {
        return unknown(ty);
    };
    if text.split(',').any(|id| id.starts_with('$')) {
        let text = "is by the id of a stored List: this server keeps no lists of what is current \
                    ($current-problems and the like), whose content R4 leaves to each server";
        return refused(IssueCode::NotSupported, text);
    }
    let that = Box::new(Criterion::Is(plain(from, "_id", None, text)?));
    Ok(Criterion::Named { from, by, that })
}

/// Reads a parameter of the type itself.
pub(super) fn plain(
    ty: ResourceType,
    base: &str,
    modifier: Option<&str>,
    text: &str,
) -> Result<Filter, Refused> {
    let Some(on) = on(ty, base) else { return unknown(ty) };
    let kind = kind_of(on)?;
    let modifier = modifier_of(on, kind, modifier)?;
    let mut values = Vec::new();
    for piece in value::split(text, ',') {
        let operand =
            operand(ty, on, kind, modifier, piece).map_err(|why| (IssueCode::Value, why.into()))?;
        if !values.contains(&operand) {
            values.push(operand);
        }
    }
    if modifier == Modifier::Missing && values.len() > 1 {
        return refused(IssueCode::Value, "takes one value");
    }
    Ok(Filter { on, modifier, values })
}

/// The kind of what a filter looks at, if it can be searched.
pub(super) fn kind_of(on: On) -> Result<SearchType, Refused> {
    match on {
        On::Id => Ok(SearchType::Token),
        On::LastUpdated => Ok(SearchType::Date),
        On::Param(p) => match p.unsearchable() {
            Some(why) => refused(IssueCode::NotSupported, format!("cannot be used: {why}")),
            None => Ok(p.kind()),
        },
    }
}

fn modifier_of(on: On, kind: SearchType, modifier: Option<&str>) -> Result<Modifier, Refused> {
    let Some(m) = modifier else { return Ok(Modifier::None) };
    let own = matches!(on, On::Param(_));
    Ok(match (m, kind) {
        (_, SearchType::Composite) => {
            return refused(IssueCode::NotSupported, "is a composite, which takes no modifier");
        }
        ("missing", _) if own => Modifier::Missing,
        ("exact", SearchType::String) => Modifier::Exact,
        ("contains", SearchType::String) => Modifier::Contains,
        ("not", SearchType::Token) if own => Modifier::Not,
        ("text", SearchType::Token) if own => Modifier::Text,
        ("of-type", SearchType::Token) if own => Modifier::OfType,
        ("in", SearchType::Token) if own => Modifier::In,
        ("not-in", SearchType::Token) if own => Modifier::NotIn,
        ("above", SearchType::Token | SearchType::Uri) if own => Modifier::Above,
        ("below", SearchType::Token | SearchType::Uri) if own => Modifier::Below,
        ("identifier", SearchType::Reference) => Modifier::Identifier,
        ("above", SearchType::Reference) => Modifier::Above,
        ("below", SearchType::Reference) => Modifier::Below,
        ("contains", _) => {
            return refused(
                IssueCode::NotSupported,
                "is no string parameter, and R4 has contains for strings only",
            );
        }
        (m, SearchType::Reference) if ResourceType::from_name(m).is_some() => {
            ResourceType::from_name(m).map_or(Modifier::None, Modifier::Type)
        }
        _ => return refused(IssueCode::NotSupported, "has a modifier that is not supported"),
    })
}

fn operand(
    ty: ResourceType,
    on: On,
    kind: SearchType,
    modifier: Modifier,
    text: &str,
) -> Result<Operand, Wrong> {
    if text.is_empty() {
        return Err("has an empty value");
    }
    if !value::well_escaped(text) {
        return Err("has a backslash that escapes nothing");
    }
    if modifier == Modifier::Missing {
        return value::missing(text);
    }
    let On::Param(param) = on else {
        return match on {
            On::Id => LogicalId::new(text).map(Operand::Id).map_err(|_| "is not a logical id"),
            _ => value::date(text),
        };
    };
    match (modifier, kind) {
        (Modifier::Text, _) => Ok(Operand::Str(value::unescape(text))),
        (Modifier::OfType, _) => value::of_type(text),
        (Modifier::Identifier, _) => value::token(text),
        (Modifier::In | Modifier::NotIn, _) => Ok(Operand::Uri(value::unescape(text))),
        (Modifier::Above | Modifier::Below, SearchType::Uri) => value::url(text),
        (Modifier::Above | Modifier::Below, SearchType::Reference) => {
            hierarchy(ty, param, modifier, text)
        }
        (_, SearchType::Composite) => parts(ty, param, text),
        _ => of_kind(ty, param, kind, modifier, text),
    }
}

/// Types whose records are parts of one another, and by which parameter.
const PARTS_OF: [(&str, &str); 2] = [("Location", "partof"), ("Organization", "partof")];

/// The parameter by which records of a type are part of one another.
#[must_use]
pub fn part_of(ty: ResourceType) -> Option<ParamId> {
    let (_, code) = PARTS_OF.iter().find(|(name, _)| *name == ty.name())?;
    param(ty, code)
}

/// A record with all that is part of it, or all that it is part of; or a canonical URL with
/// all its versions (<https://hl7.org/fhir/R4/search.html#recursive>).
fn hierarchy(
    ty: ResourceType,
    param: ParamId,
    modifier: Modifier,
    text: &str,
) -> Result<Operand, Wrong> {
    let targets = param.targets(ty);
    let whole = |t: &ResourceType| PARTS_OF.iter().any(|(name, _)| *name == t.name());
    let parts: Vec<ResourceType> = targets.iter().copied().filter(whole).collect();
    match value::reference(text, None, &parts)? {
        Operand::Ref { url: Some(url), id: None, .. } if modifier == Modifier::Below => {
            Ok(Operand::Uri(url))
        }
        Operand::Ref { target: Some(target), id: Some(id), .. } if whole(&target) => {
            Ok(Operand::Ref { target: Some(target), id: Some(id), url: None })
        }
        _ => {
            Err("is no record whose parts are known (Location, Organization), nor a canonical URL")
        }
    }
}

/// The values of a composite's components, joined by `$`.
fn parts(ty: ResourceType, param: ParamId, text: &str) -> Result<Operand, Wrong> {
    let components = param.components();
    let pieces = value::split(text, '$');
    if pieces.len() != components.len() {
        return Err("does not have one value for each component, joined by $");
    }
    let mut parts = Vec::with_capacity(pieces.len());
    for (component, piece) in components.into_iter().zip(pieces) {
        if piece.is_empty() {
            return Err("has an empty value");
        }
        parts.push(of_kind(ty, component, component.kind(), Modifier::None, piece)?);
    }
    Ok(Operand::Parts(parts.into()))
}

pub(super) fn of_kind(
    ty: ResourceType,
    param: ParamId,
    kind: SearchType,
    modifier: Modifier,
    text: &str,
) -> Result<Operand, Wrong> {
    match kind {
        SearchType::Token => value::token(text).map(|t| plain_code(ty, param, t)),
        SearchType::String => Ok(Operand::Str(value::unescape(text))),
        SearchType::Date => value::date(text),
        SearchType::Number => value::numeric(text),
        SearchType::Quantity => value::quantity(text),
        SearchType::Uri => Ok(Operand::Uri(value::unescape(text))),
        SearchType::Reference => {
            let wanted = if let Modifier::Type(ty) = modifier { Some(ty) } else { None };
            value::reference(text, wanted, &param.targets(ty))
        }
        SearchType::Composite | SearchType::Special => Err("cannot be used"),
    }
}

/// A plain code carries no system in the resource: naming the one that it is of asks for
/// the same.
fn plain_code(ty: ResourceType, param: ParamId, operand: Operand) -> Operand {
    match operand {
        Operand::Token { system: Some(Some(system)), code: Some(code) }
            if param.implied_systems(ty).contains(&&*system) =>
        {
            Operand::Token { system: None, code: Some(code) }
        }
        // Of strings case does not count.
        Operand::Token { system, code: Some(code) } if param.folds(ty) => {
            Operand::Token { system, code: Some(code.to_lowercase().into()) }
        }
        other => other,
    }
}
