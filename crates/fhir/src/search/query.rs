//! What a search asks: filters on a record's own values, criteria that lead to other
//! records, the order, the page, what goes with the hits.
//!
//! Source: <https://hl7.org/fhir/R4/search.html>

use phial_base::{ClassSet, DataClass, LogicalId};

use super::query_value::{Operand, canonical};
use super::{ParamId, primary_date_param};
use crate::definitions::ResourceType;

/// A search of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The type that is searched.
    pub ty: ResourceType,
    /// All of these must hold.
    pub filters: Vec<Filter>,
    /// All of these must hold too: chains, reverse chains, `_filter`, `_list`.
    pub criteria: Vec<Criterion>,
    /// The order; without one, the server's own (see [`Query::order_by_time`]).
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

/// A condition that is more than one filter on the record itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Criterion {
    /// A filter.
    Is(Filter),
    /// A chain: a reference of the parameter leads to a record of one of these types that
    /// satisfies its criterion (<https://hl7.org/fhir/R4/search.html#chaining>).
    Leads {
        /// The reference parameter.
        by: ParamId,
        /// What the record at its end must be.
        to: Vec<(ResourceType, Criterion)>,
    },
    /// A reverse chain: a record of the type that satisfies the criterion refers to this
    /// one (<https://hl7.org/fhir/R4/search.html#has>).
    Named {
        /// The type that refers.
        from: ResourceType,
        /// Its reference parameter.
        by: ParamId,
        /// What the record that refers must be.
        that: Box<Criterion>,
    },
    /// All hold.
    All(Vec<Criterion>),
    /// One holds.
    Any(Vec<Criterion>),
    /// It is known not to hold.
    Not(Box<Criterion>),
}

/// What a query looks at, for those who decide whether it may.
#[derive(Debug, Clone, Copy)]
pub enum Look<'q> {
    /// A filter; with true, what it does not find is what is asked for.
    Filter(&'q Filter, bool),
    /// A reference that is followed.
    Reference(ParamId),
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
    /// Tokens whose text begins so, folded ([`Operand::Str`]).
    Text,
    /// Identifiers of a type ([`Operand::Typed`]).
    OfType,
    /// References by the identifier in them ([`Operand::Token`]).
    Identifier,
    /// URIs that the value begins with. Tokens: codes that subsume it, once they were looked
    /// up a list of [`Operand::Token`] under [`Modifier::In`].
    Above,
    /// URIs that begin with the value. Tokens: codes that it subsumes, as with `Above`.
    Below,
    /// Tokens of a value set: its URL ([`Operand::Uri`]), or once that was looked up its
    /// codes ([`Operand::Token`]; none of them: nothing matches).
    In,
    /// No token is of the value set.
    NotIn,
    /// Strings that are this when folded (`eq` of `_filter`).
    Whole,
    /// Strings that end so when folded (`ew` of `_filter`).
    Ends,
    /// Some value is another (`ne` of `_filter`).
    Other,
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
    /// The type that refers; `None` for every type.
    pub source: Option<ResourceType>,
    /// The reference parameter; `None` for every one that there is.
    pub param: Option<ParamId>,
    /// Only references to this type.
    pub target: Option<ResourceType>,
    /// Whether it goes on from what was added.
    pub iterate: bool,
}

impl Include {
    fn canonical(&self) -> String {
        format!(
            "{}{}:{}:{}",
            if self.iterate { "+" } else { "" },
            self.source.map_or("*", ResourceType::name),
            self.param.map_or("*", ParamId::code),
            self.target.map_or("", ResourceType::name)
        )
    }
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
            criteria: Vec::new(),
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

    /// Gives a query that names no order the one in which what it asks for lies together: a
    /// filter by the type's primary date asks for a stretch of time, which is read from its
    /// beginning. Which records match stays the same: the date is of one class, and who does
    /// not see it finds nothing by it.
    pub fn order_by_time(&mut self) {
        let Some(date) = primary_date_param(self.ty) else { return };
        let on = On::Param(date);
        let filtered = self.filters.iter().any(|f| f.on == on && f.modifier == Modifier::None);
        let one_class = on.classes(self.ty).iter().count() == 1;
        if self.sort.is_empty() && filtered && one_class {
            self.sort.push(SortKey { on, descending: false });
        }
    }

    /// What the query filters or sorts on in the type that is searched, each once; not what
    /// its criteria look at.
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

    /// Everything that the filters and criteria look at, by the type that it is looked at in.
    pub fn each_look<'q>(&'q self, look: &mut dyn FnMut(ResourceType, Look<'q>)) {
        for filter in &self.filters {
            look(self.ty, Look::Filter(filter, filter.modifier.negative()));
        }
        for criterion in &self.criteria {
            criterion.each_look(self.ty, false, look);
        }
    }

    /// Calls `change` with every filter, those inside of criteria too.
    ///
    /// # Errors
    /// The first that `change` gives.
    pub fn each_filter_mut<E>(
        &mut self,
        change: &mut dyn FnMut(ResourceType, &mut Filter) -> Result<(), E>,
    ) -> Result<(), E> {
        for filter in &mut self.filters {
            change(self.ty, filter)?;
        }
        self.criteria.iter_mut().try_for_each(|c| c.each_filter_mut(self.ty, change))
    }

    /// Text that two queries share when they ask the same of the same type; order of
    /// filters and of alternatives does not count, nor do page size and page. It holds
    /// the values: for keyed hashing, never for a log.
    #[must_use]
    pub fn canonical(&self) -> String {
        use std::fmt::Write as _;
        let mut filters: Vec<String> = self.filters.iter().map(Filter::canonical).collect();
        filters.extend(self.criteria.iter().map(Criterion::canonical));
        filters.sort();
        filters.dedup();
        let mut out = format!("{}?{}", self.ty, filters.join("&"));
        for key in &self.sort {
            let sign = if key.descending { '-' } else { '+' };
            // Writing to a String can't fail.
            let _ = write!(out, "^{sign}{}", key.on.code());
        }
        for (sign, all) in [('>', &self.include), ('<', &self.revinclude)] {
            let mut includes: Vec<String> = all.iter().map(Include::canonical).collect();
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

impl Modifier {
    /// Whether what has no such value is what is asked for.
    #[must_use]
    pub fn negative(self) -> bool {
        matches!(self, Modifier::Not | Modifier::Missing | Modifier::NotIn | Modifier::Other)
    }
}

impl Filter {
    /// The classes of the values that it compares, in resources of type `ty`.
    #[must_use]
    pub fn classes(&self, ty: ResourceType) -> ClassSet {
        if self.modifier == Modifier::Identifier {
            return ClassSet::of(DataClass::Identifier).with(DataClass::GovernmentIdentifier);
        }
        self.on.classes(ty)
    }

    fn canonical(&self) -> String {
        let mut values: Vec<String> = self
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
        format!("{}{:?}={}", self.on.code(), self.modifier, values.join(","))
    }
}

impl Criterion {
    /// Whether it looks for a person by what identifies them, in resources of type `ty` or
    /// in what it leads to; or for words, which may be anything. It has no place in a URL.
    #[must_use]
    pub fn identifies(&self, ty: ResourceType) -> bool {
        let mut found = false;
        self.each_look(ty, false, &mut |ty, look| {
            if let Look::Filter(filter, _) = look
                && let On::Param(p) = filter.on
            {
                found |= p.of_words()
                    || p.is_direct_identifier(ty)
                    || matches!(filter.modifier, Modifier::Identifier | Modifier::OfType);
            }
        });
        found
    }

    fn each_look<'q>(
        &'q self,
        ty: ResourceType,
        negated: bool,
        look: &mut dyn FnMut(ResourceType, Look<'q>),
    ) {
        match self {
            Criterion::Is(f) => look(ty, Look::Filter(f, negated || f.modifier.negative())),
            Criterion::Leads { by, to } => {
                look(ty, Look::Reference(*by));
                for (ty, that) in to {
                    that.each_look(*ty, negated, look);
                }
            }
            Criterion::Named { from, by, that } => {
                look(*from, Look::Reference(*by));
                that.each_look(*from, negated, look);
            }
            Criterion::All(all) | Criterion::Any(all) => {
                for c in all {
                    c.each_look(ty, negated, look);
                }
            }
            // Twice not is still an answer about what was not found.
            Criterion::Not(c) => c.each_look(ty, true, look),
        }
    }

    fn each_filter_mut<E>(
        &mut self,
        ty: ResourceType,
        change: &mut dyn FnMut(ResourceType, &mut Filter) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Criterion::Is(f) => change(ty, f),
            Criterion::Leads { to, .. } => {
                to.iter_mut().try_for_each(|(ty, c)| c.each_filter_mut(*ty, change))
            }
            Criterion::Named { from, that, .. } => that.each_filter_mut(*from, change),
            Criterion::All(all) | Criterion::Any(all) => {
                all.iter_mut().try_for_each(|c| c.each_filter_mut(ty, change))
            }
            Criterion::Not(c) => c.each_filter_mut(ty, change),
        }
    }

    /// How many filters and links there are in it.
    pub(super) fn size(&self) -> usize {
        match self {
            Criterion::Is(f) => f.values.len().max(1),
            Criterion::Leads { to, .. } => 1 + to.iter().map(|(_, c)| c.size()).sum::<usize>(),
            Criterion::Named { that, .. } => 1 + that.size(),
            Criterion::All(all) | Criterion::Any(all) => all.iter().map(Criterion::size).sum(),
            Criterion::Not(c) => c.size(),
        }
    }

    fn canonical(&self) -> String {
        let joined = |all: &[Criterion]| {
            let mut all: Vec<String> = all.iter().map(Criterion::canonical).collect();
            all.sort();
            all.dedup();
            all.join("\u{1}")
        };
        match self {
            Criterion::Is(f) => f.canonical(),
            Criterion::Leads { by, to } => {
                let mut all: Vec<String> =
                    to.iter().map(|(ty, c)| format!("{ty}({})", c.canonical())).collect();
                all.sort();
                format!("{}>({})", by.code(), all.join("\u{1}"))
            }
            Criterion::Named { from, by, that } => {
                format!("<{from}:{}({})", by.code(), that.canonical())
            }
            Criterion::All(all) => format!("&({})", joined(all)),
            Criterion::Any(all) => format!("/({})", joined(all)),
            Criterion::Not(c) => format!("!({})", c.canonical()),
        }
    }
}
