//! The grammar of a search: what may stand in a query, and nothing else. An unknown
//! parameter, modifier or prefix is refused by name; no value is ever repeated.
//!
//! Not supported, and refused as such: chained parameters, `_has`, `_include:iterate`,
//! `_revinclude:iterate`, `_text`, `_content`, `_query`, `_filter`, `_list`,
//! `_contained`, `:text`, `:of-type`, `:identifier`, `:above`, `:below`, `:in`, `:not-in`.
//!
//! Source: <https://hl7.org/fhir/R4/search.html>

use phial_base::{ClassSet, DataClass, LogicalId};

use super::query_value::{self as value, Operand, Wrong, canonical};
use super::{ParamId, SearchType, param};
use crate::definitions::ResourceType;
use crate::issue::{Issue, IssueCode};

/// The most alternatives that one query may have, all filters together.
const MOST_VALUES: usize = 1_000;

/// A search of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The type that is searched.
    pub ty: ResourceType,
    /// All of these must hold.
    pub filters: Vec<Filter>,
    /// The order; without one, the server's own.
    pub sort: Vec<SortKey>,
    /// The size of a page that was asked for.
    pub count: Option<u32>,
    /// Whether only the total is asked for.
    pub summary: Summary,
    /// What the total must be.
    pub total: Total,
    /// What to add to the hits: what they refer to.
    pub include: Vec<Include>,
    /// What to add to the hits: what refers to them.
    pub revinclude: Vec<Include>,
    /// The compartment that the search is limited to. Set by whoever routes the request.
    pub compartment: Option<(ResourceType, LogicalId)>,
    /// The token of a page.
    pub page: Option<String>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// What it looks at.
    pub on: On,
    /// How.
    pub modifier: Modifier,
    /// The values of which one must match. With [`Modifier::Not`], none may.
    pub values: Vec<Operand>,
}

/// What a filter or sort looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// The logical id.
    Id,
    /// When the version was stored.
    LastUpdated,
    /// An official search parameter.
    Param(ParamId),
}

/// What changes how a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modifier {
    /// Nothing: by the kind of the parameter.
    None,
    /// Strings match whole and as written.
    Exact,
    /// Folded strings hold the value anywhere.
    Contains,
    /// The one value is [`Operand::Missing`].
    Missing,
    /// No token matches.
    Not,
    /// References to this type; each operand's target says so too.
    Type(ResourceType),
}

/// Whether only a total is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Summary {
    /// Hits.
    #[default]
    No,
    /// The total alone (`_summary=count`, `_count=0`).
    Count,
}

/// How the number of all matches is given (`_total`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Total {
    /// Where it is known anyway.
    #[default]
    IfKnown,
    /// Not at all.
    None,
    /// It need not be exact.
    Estimate,
    /// Exactly.
    Accurate,
}

/// One key of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// What is looked at.
    pub on: On,
    /// Largest first.
    pub descending: bool,
}

/// Resources to add to the hits: those that the hits refer to (`_include`), or those that
/// refer to the hits (`_revinclude`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Include {
    /// The type that refers.
    pub source: ResourceType,
    /// The reference parameter.
    pub param: ParamId,
    /// Only references to this type.
    pub target: Option<ResourceType>,
}

impl On {
    /// The name in a query.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            On::Id => "_id",
            On::LastUpdated => "_lastUpdated",
            On::Param(p) => p.code(),
        }
    }

    /// The classes that it reads in resources of type `ty`.
    #[must_use]
    pub fn classes(self, ty: ResourceType) -> ClassSet {
        match self {
            On::Id | On::LastUpdated => ClassSet::of(DataClass::Administrative),
            On::Param(p) => p.classes(ty),
        }
    }
}

impl Query {
    /// A search for everything of the type.
    #[must_use]
    pub fn all(ty: ResourceType) -> Self {
        Query {
            ty,
            filters: Vec::new(),
            sort: Vec::new(),
            count: None,
            summary: Summary::No,
            total: Total::IfKnown,
            include: Vec::new(),
            revinclude: Vec::new(),
            compartment: None,
            page: None,
        }
    }

    /// What the query filters or sorts on, each once.
    #[must_use]
    pub fn params(&self) -> Vec<On> {
        let mut all: Vec<On> = self.filters.iter().map(|f| f.on).collect();
        all.extend(self.sort.iter().map(|s| s.on));
        all.sort();
        all.dedup();
        all
    }

    /// The classes of everything that the query filters or sorts on. An asker who may
    /// see none of a parameter's classes must not use it.
    #[must_use]
    pub fn required_classes(&self) -> ClassSet {
        self.params().into_iter().fold(ClassSet::NONE, |set, on| set.or(on.classes(self.ty)))
    }

    /// Text that two queries share when they ask the same of the same type; order of
    /// filters and of alternatives does not count, nor do page size and page. It holds
    /// the values: for keyed hashing, never for a log.
    #[must_use]
    pub fn canonical(&self) -> String {
        use std::fmt::Write as _;
        let mut filters: Vec<String> = self
            .filters
            .iter()
            .map(|f| {
                let mut values: Vec<String> = f
                    .values
                    .iter()
                    .map(|v| {
                        let mut out = String::new();
                        canonical(&mut out, v);
                        out
                    })
                    .collect();
                values.sort();
                values.dedup();
                format!("{}{:?}={}", f.on.code(), f.modifier, values.join(","))
            })
            .collect();
        filters.sort();
        filters.dedup();
        let mut out = format!("{}?{}", self.ty, filters.join("&"));
        for key in &self.sort {
            let sign = if key.descending { '-' } else { '+' };
            // Writing to a String can't fail.
            let _ = write!(out, "^{sign}{}", key.on.code());
        }
        for (sign, all) in [('>', &self.include), ('<', &self.revinclude)] {
            let mut includes: Vec<String> = all
                .iter()
                .map(|i| {
                    let target = i.target.map_or("", ResourceType::name);
                    format!("{}:{}:{target}", i.source, i.param.code())
                })
                .collect();
            includes.sort();
            includes.dedup();
            let _ = write!(out, "{sign}{}", includes.join(","));
        }
        if self.summary == Summary::Count {
            out.push('#');
        }
        if let Some((ty, id)) = &self.compartment {
            let _ = write!(out, "@{ty}/{}", id.as_str());
        }
        out
    }
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
    let values: usize = reader.query.filters.iter().map(|f| f.values.len()).sum();
    if values > MOST_VALUES {
        let text = format!("more than {MOST_VALUES} alternatives in one query");
        reader.issues.push(Issue::error(IssueCode::TooCostly, "", text));
    }
    if reader.issues.is_empty() { Ok(reader.query) } else { Err(reader.issues) }
}

struct Reader<'p> {
    query: Query,
    issues: Vec<Issue>,
    /// Result parameters that were seen and may stand once.
    once: Vec<&'p str>,
}

/// Parameters of R4 that are known and not supported.
const UNSUPPORTED: [&str; 9] = [
    "_has",
    "_elements",
    "_contained",
    "_containedType",
    "_filter",
    "_list",
    "_query",
    "_text",
    "_content",
];

/// A name fit to be repeated: only what a parameter's name can be made of. A name that
/// is anything else may carry a value.
fn shown(name: &str) -> &str {
    let plausible = !name.is_empty()
        && name.len() <= 64
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
                None => self.include(name, text, base == "_revinclude"),
                Some("iterate" | "recurse") => {
                    let why = "is not supported: only what the matches themselves refer to, \
                               or what refers to them, can be added";
                    self.refuse(IssueCode::NotSupported, name, why);
                }
                Some(_) => self.refuse(IssueCode::NotSupported, name, "is not supported"),
            },
            _ if UNSUPPORTED.contains(&base) || name.contains('.') => {
                self.refuse(IssueCode::NotSupported, name, "is not supported");
            }
            _ => self.filter(name, base, modifier, text),
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
            let Some(on) = self.on(code) else {
                let why = "names no search parameter of the type";
                return self.refuse(IssueCode::Value, name, why);
            };
            if let On::Param(p) = on
                && (p.unsearchable().is_some() || p.kind() == SearchType::Composite)
            {
                let why = format!("cannot be by {code}");
                return self.refuse(IssueCode::NotSupported, name, why);
            }
            self.query.sort.push(SortKey { on, descending });
        }
    }

    fn include(&mut self, name: &str, text: &str, reverse: bool) {
        let mut parts = text.split(':');
        let source = parts.next().and_then(ResourceType::from_name);
        let found = source.and_then(|s| Some((s, param(s, parts.next()?)?)));
        let Some((source, param)) = found.filter(|(_, p)| p.kind() == SearchType::Reference) else {
            let why = "is not Type:parameter or Type:parameter:Target of a reference parameter";
            return self.refuse(IssueCode::Value, name, why);
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
        if reverse {
            if target.is_some_and(|t| t != self.query.ty) {
                let why = "must end at the type that is searched";
                return self.refuse(IssueCode::NotSupported, name, why);
            }
            let targets = param.targets(source);
            if !targets.is_empty() && !targets.contains(&self.query.ty) {
                let why = "names a parameter that never refers to the type that is searched";
                return self.refuse(IssueCode::Value, name, why);
            }
        } else if source != self.query.ty {
            let why = "must start at the type that is searched";
            return self.refuse(IssueCode::NotSupported, name, why);
        }
        let include = Include { source, param, target };
        let all = if reverse { &mut self.query.revinclude } else { &mut self.query.include };
        if !all.contains(&include) {
            all.push(include);
        }
    }

    fn on(&self, code: &str) -> Option<On> {
        match code {
            "_id" => Some(On::Id),
            "_lastUpdated" => Some(On::LastUpdated),
            _ => param(self.query.ty, code).map(On::Param),
        }
    }

    fn filter(&mut self, name: &str, base: &str, modifier: Option<&str>, text: &str) {
        let Some(on) = self.on(base) else {
            let why = format!("is not a search parameter of {}", self.query.ty);
            return self.refuse(IssueCode::NotSupported, name, why);
        };
        let kind = match on {
            On::Id => SearchType::Token,
            On::LastUpdated => SearchType::Date,
            On::Param(p) => {
                if let Some(why) = p.unsearchable() {
                    return self.refuse(
                        IssueCode::NotSupported,
                        name,
                        format!("cannot be used: {why}"),
                    );
                }
                p.kind()
            }
        };
        let modifier = match (modifier, on, kind) {
            (None, _, _) => Modifier::None,
            (Some(_), _, SearchType::Composite) => {
                return self.refuse(
                    IssueCode::NotSupported,
                    name,
                    "is a composite, which takes no modifier",
                );
            }
            (Some("missing"), On::Param(_), _) => Modifier::Missing,
            (Some("exact"), _, SearchType::String) => Modifier::Exact,
            (Some("contains"), _, SearchType::String) => Modifier::Contains,
            (Some("not"), On::Param(_), SearchType::Token) => Modifier::Not,
            (Some("contains"), _, _) => {
                return self.refuse(
                    IssueCode::NotSupported,
                    name,
                    "is no string parameter, and R4 has contains for strings only",
                );
            }
            (Some(m), _, SearchType::Reference) => match ResourceType::from_name(m) {
                Some(ty) => Modifier::Type(ty),
                None => {
                    return self.refuse(
                        IssueCode::NotSupported,
                        name,
                        "has a modifier that is not supported",
                    );
                }
            },
            _ => {
                return self.refuse(
                    IssueCode::NotSupported,
                    name,
                    "has a modifier that is not supported",
                );
            }
        };
        let mut values = Vec::new();
        for piece in value::split(text, ',') {
            match self.operand(on, kind, modifier, piece) {
                Ok(operand) => {
                    if !values.contains(&operand) {
                        values.push(operand);
                    }
                }
                Err(why) => return self.refuse(IssueCode::Value, name, why),
            }
        }
        if modifier == Modifier::Missing && values.len() > 1 {
            return self.refuse(IssueCode::Value, name, "takes one value");
        }
        self.query.filters.push(Filter { on, modifier, values });
    }

    fn operand(
        &self,
        on: On,
        kind: SearchType,
        modifier: Modifier,
        text: &str,
    ) -> Result<Operand, Wrong> {
        if text.is_empty() {
            return Err("has an empty value");
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
        if kind == SearchType::Composite {
            return self.parts(param, text);
        }
        self.of_kind(param, kind, modifier, text)
    }

    /// The values of a composite's components, joined by `$`.
    fn parts(&self, param: ParamId, text: &str) -> Result<Operand, Wrong> {
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
            parts.push(self.of_kind(component, component.kind(), Modifier::None, piece)?);
        }
        Ok(Operand::Parts(parts.into()))
    }

    fn of_kind(
        &self,
        param: ParamId,
        kind: SearchType,
        modifier: Modifier,
        text: &str,
    ) -> Result<Operand, Wrong> {
        match kind {
            SearchType::Token => value::token(text).map(|t| self.plain_code(param, t)),
            SearchType::String => Ok(Operand::Str(value::unescape(text))),
            SearchType::Date => value::date(text),
            SearchType::Number => value::numeric(text),
            SearchType::Quantity => value::quantity(text),
            SearchType::Uri => Ok(Operand::Uri(value::unescape(text))),
            SearchType::Reference => {
                let wanted = if let Modifier::Type(ty) = modifier { Some(ty) } else { None };
                value::reference(text, wanted, &param.targets(self.query.ty))
            }
            SearchType::Composite | SearchType::Special => Err("cannot be used"),
        }
    }

    /// A plain code carries no system in the resource: naming the one that it is of
    /// asks for the same.
    fn plain_code(&self, param: ParamId, operand: Operand) -> Operand {
        match operand {
            Operand::Token { system: Some(Some(system)), code: Some(code) }
                if param.implied_systems(self.query.ty).contains(&&*system) =>
            {
                Operand::Token { system: None, code: Some(code) }
            }
            other => other,
        }
    }
}
