//! What a search by value set or by hierarchy means in codes (`:in`, `:not-in`, `:above`,
//! `:below`): looked up before the index is asked, from ValueSets and CodeSystems that are
//! held here and that the caller may see. What can't be looked up is refused: an answer
//! that left codes out would be wrong and not look it.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#token>

use std::collections::HashSet;

use phial_base::Seq;
use phial_fhir::Limits;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::json::{Doc, Node};
use phial_fhir::search::{Filter, Modifier, On, Operand, Query, SortKey, param};
use phial_policy::Action;
use phial_store::Error as StoreError;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// The most codes that one filter may stand for.
const MOST_CODES: usize = 50_000;

/// The most value sets that are made of one another.
const MOST_DEEP: usize = 8;

type Code = (Box<str>, Option<Box<str>>);

impl Engine {
    /// Puts codes in the place of value sets and of hierarchies, in all filters: as they
    /// were at the snapshot of a search's first page, or (`None`) as they are.
    pub(crate) fn look_up_codes(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        query: &mut Query,
        at: Option<Seq>,
    ) -> Result<(), Failure> {
        query.each_filter_mut(&mut |ty, filter| self.codes_in(tenant, caller, ty, filter, at))
    }

    fn codes_in(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: ResourceType,
        filter: &mut Filter,
        at: Option<Seq>,
    ) -> Result<(), Failure> {
        let modifier = match filter.modifier {
            Modifier::In => "in",
            Modifier::NotIn => "not-in",
            Modifier::Above => "above",
            Modifier::Below => "below",
            _ => return Ok(()),
        };
        let name = format!("{}:{modifier}", filter.on.code());
        let look = Looking { engine: self, tenant, caller, name: &name, at };
        let mut codes: HashSet<Code> = HashSet::new();
        match filter.modifier {
            Modifier::In | Modifier::NotIn => {
                for value in &filter.values {
                    let Operand::Uri(url) = value else { return Ok(()) };
                    look.value_set(url, 0, &mut codes)?;
                }
            }
            Modifier::Above | Modifier::Below => {
                let below = filter.modifier == Modifier::Below;
                for value in &filter.values {
                    let Operand::Token { system, code } = value else { return Ok(()) };
                    // A type of media has parameters and no code system.
                    if below && system.is_none() && code.as_ref().is_some_and(|c| c.contains('/')) {
                        return Ok(());
                    }
                    let (Some(Some(system)), Some(code)) = (system, code) else {
                        return Err(look.refuse("needs a code with its system, as system|code"));
                    };
                    look.hierarchy(system, code, below, &mut codes)?;
                }
                filter.modifier = Modifier::In;
            }
            _ => return Ok(()),
        }
        if codes.len() > MOST_CODES {
            let text = format!("{name} stands for more than {MOST_CODES} codes");
            return Err(Failure::invalid(IssueCode::TooCostly, &name, text));
        }
        let mut codes: Vec<Code> = codes.into_iter().collect();
        codes.sort();
        let implied = match filter.on {
            On::Param(p) => p.plain_systems(ty),
            On::Id | On::LastUpdated => Vec::new(),
        };
        filter.values = codes
            .into_iter()
            .map(|(system, code)| {
                // A plain code carries no system in the resource.
                let plain = implied.contains(&&*system);
                Operand::Token { system: (!plain).then_some(Some(system)), code }
            })
            .collect();
        Ok(())
    }
}

/// Looking up for one filter.
struct Looking<'a> {
    engine: &'a Engine,
    tenant: &'a Tenant,
    caller: &'a Caller,
    name: &'a str,
    at: Option<Seq>,
}

impl Looking<'_> {
    fn refuse(&self, why: &str) -> Failure {
        Failure::invalid(IssueCode::NotSupported, self.name, format!("{} {why}", self.name))
    }

    /// The newest record of a type with this canonical URL (`url` or `url|version`) that the
    /// caller may see in full; a relative reference counts as well.
    fn held(&self, ty: &str, canonical: &str) -> Result<Option<Doc>, Failure> {
        let failed = Engine::store_failure(self.caller);
        let Some(ty) = ResourceType::from_name(ty) else { return Ok(None) };
        let mut query = Query::all(ty);
        let relative = canonical.strip_prefix(ty.name()).and_then(|rest| rest.strip_prefix('/'));
        let mut pair = |code: &str, value: Operand| {
            let on = if code == "_id" { Some(On::Id) } else { param(ty, code).map(On::Param) };
            let filter = on.map(|on| Filter { on, modifier: Modifier::None, values: vec![value] });
            query.filters.extend(filter);
        };
        if let Some(id) = relative {
            let Ok(id) = phial_base::LogicalId::new(id) else { return Ok(None) };
            pair("_id", Operand::Id(id));
        } else {
            let (url, version) = match canonical.split_once('|') {
                Some((url, version)) => (url, Some(version)),
                None => (canonical, None),
            };
            pair("url", Operand::Uri(url.into()));
            if let Some(version) = version {
                pair("version", Operand::Token { system: None, code: Some(version.into()) });
            }
        }
        query.sort.push(SortKey { on: On::LastUpdated, descending: true });
        let now = self.tenant.vessel.catch_up().map_err(&failed)?;
        let at = self.at.unwrap_or(now);
        let access = self.engine.access(self.caller, Action::Search);
        let viewer = self.caller.viewer();
        let page = self
            .tenant
            .vessel
            .search(&query, &viewer, &access, at, None, 1, false)
            .map_err(&failed)?;
        let Some(hit) = page.hits.first() else { return Ok(None) };
        if self.at.is_some() && !self.engine.still_visible(self.tenant, self.caller, hit)? {
            return Ok(None);
        }
        let found = self.tenant.vessel.find_version(hit.row, hit.version).map_err(&failed)?;
        let Some(found) = found else { return Ok(None) };
        let decided = self.engine.decide(self.tenant, self.caller, Action::Search, &found)?;
        let Ok(permit) = decided else { return Ok(None) };
        // A part of a value set is another value set.
        if !permit.classes().covers(found.header.classes) {
            return Ok(None);
        }
        let opened = self.tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
        let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
        Doc::parse(opened.body(), &limits)
            .map(Some)
            .map_err(|_| failed(StoreError::Corrupt("a record that was opened is no JSON")))
    }

    fn value_set(&self, url: &str, depth: usize, codes: &mut HashSet<Code>) -> Result<(), Failure> {
        if depth > MOST_DEEP {
            return Err(self.refuse("goes by value sets that are made of too many others"));
        }
        let Some(doc) = self.held("ValueSet", url)? else {
            return Err(self.refuse("names a value set that is not held here"));
        };
        let root = doc.root();
        let mut found = HashSet::new();
        let include = members(root.member("compose"), "include");
        if include.is_empty() {
            let expansion = root.member("expansion");
            let contains = members(expansion, "contains");
            let total = expansion
                .and_then(|e| e.member("total"))
                .and_then(Node::number_text)
                .and_then(|n| n.parse::<usize>().ok());
            for node in contains {
                expanded(node, &mut found);
            }
            if found.is_empty() || total.is_some_and(|n| n > found.len()) {
                return Err(
                    self.refuse("names a value set that says neither all its codes nor how")
                );
            }
        }
        for part in include {
            self.part(part, depth, &mut found)?;
        }
        let mut without = HashSet::new();
        for part in members(root.member("compose"), "exclude") {
            self.part(part, depth, &mut without)?;
        }
        // Whole systems less some codes, or less whole systems, are no list of codes.
        let whole = |set: &HashSet<Code>| set.iter().any(|(_, code)| code.is_none());
        if !without.is_empty() && (whole(&found) || whole(&without)) {
            return Err(self.refuse("names a value set that takes codes out of whole code systems"));
        }
        codes.extend(found.into_iter().filter(|code| !without.contains(code)));
        Ok(())
    }

    /// One `include` or `exclude`: the codes that are in all its parts.
    fn part(&self, part: Node<'_>, depth: usize, out: &mut HashSet<Code>) -> Result<(), Failure> {
        let mut found: Option<HashSet<Code>> = None;
        if let Some(system) = text(part, "system") {
            let mut here = HashSet::new();
            let concepts = members(Some(part), "concept");
            let filters = members(Some(part), "filter");
            if !filters.is_empty() {
                for filter in filters {
                    let mut some = HashSet::new();
                    self.filtered(&system, filter, &mut some)?;
                    here = if here.is_empty() { some } else { &here & &some };
                }
            } else if concepts.is_empty() {
                here.insert((system, None));
            } else {
                here.extend(
                    concepts
                        .into_iter()
                        .filter_map(|c| Some((system.clone(), Some(text(c, "code")?)))),
                );
            }
            found = Some(here);
        }
        for url in members(Some(part), "valueSet") {
            let mut of = HashSet::new();
            self.value_set(&url.as_str().unwrap_or_default(), depth + 1, &mut of)?;
            found = Some(match found {
                None => of,
                Some(before) => meet(&before, &of),
            });
        }
        out.extend(found.unwrap_or_default());
        Ok(())
    }

    /// `concept is-a code` and `concept descendent-of code`; other filters are refused.
    fn filtered(
        &self,
        system: &str,
        filter: Node<'_>,
        out: &mut HashSet<Code>,
    ) -> Result<(), Failure> {
        let is = |name: &str| text(filter, name);
        let (property, op, value) = (is("property"), is("op"), is("value"));
        match (property.as_deref(), op.as_deref(), value) {
            (Some("concept"), Some(op @ ("is-a" | "descendent-of")), Some(code)) => {
                self.hierarchy(system, &code, true, out)?;
                if op == "descendent-of" {
                    out.remove(&(system.into(), Some(code)));
                }
                Ok(())
            }
            _ => Err(self.refuse("names a value set with a filter that is not supported")),
        }
    }

    /// The code, and those below or above it in its code system.
    fn hierarchy(
        &self,
        system: &str,
        code: &str,
        below: bool,
        out: &mut HashSet<Code>,
    ) -> Result<(), Failure> {
        let Some(doc) = self.held("CodeSystem", system)? else {
            return Err(self.refuse("goes by a code system that is not held here"));
        };
        let root = doc.root();
        if text(root, "content").as_deref() != Some("complete")
            || text(root, "hierarchyMeaning").is_some_and(|m| &*m != "is-a")
        {
            return Err(
                self.refuse("goes by a code system of which no whole hierarchy is held here")
            );
        }
        // What is under another by a property counts as what is nested in it.
        let mut over: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut known = false;
        let mut open: Vec<(Node<'_>, Option<Box<str>>)> =
            members(Some(root), "concept").into_iter().map(|c| (c, None)).collect();
        while let Some((concept, parent)) = open.pop() {
            let Some(own) = text(concept, "code") else { continue };
            known |= &*own == code;
            over.extend(parent.map(|p| (own.clone(), p)));
            for property in members(Some(concept), "property") {
                let value = text(property, "valueCode").or_else(|| {
                    property.member("valueCoding").and_then(|coding| text(coding, "code"))
                });
                match (text(property, "code").as_deref(), value) {
                    (Some("parent" | "subsumedBy"), Some(parent)) => {
                        over.push((own.clone(), parent));
                    }
                    (Some("child"), Some(child)) => over.push((child, own.clone())),
                    _ => {}
                }
            }
            for child in members(Some(concept), "concept") {
                open.push((child, Some(own.clone())));
            }
        }
        if !known {
            return Ok(());
        }
        let mut found: HashSet<Box<str>> = HashSet::from([code.into()]);
        let mut last: Vec<Box<str>> = vec![code.into()];
        while let Some(at) = last.pop() {
            for (child, parent) in &over {
                let next = match below {
                    true if *parent == at => child,
                    false if *child == at => parent,
                    _ => continue,
                };
                if found.insert(next.clone()) {
                    last.push(next.clone());
                }
            }
        }
        out.extend(found.into_iter().map(|code| (system.into(), Some(code))));
        Ok(())
    }
}

/// The codes in both; a whole system has all its codes.
fn meet(a: &HashSet<Code>, b: &HashSet<Code>) -> HashSet<Code> {
    let in_other = |code: &Code, other: &HashSet<Code>| {
        other.contains(code) || other.contains(&(code.0.clone(), None))
    };
    let both = a.iter().filter(|c| in_other(c, b)).chain(b.iter().filter(|c| in_other(c, a)));
    both.cloned().collect()
}

fn expanded(node: Node<'_>, out: &mut HashSet<Code>) {
    if node.member("abstract").and_then(Node::as_bool) != Some(true)
        && let (Some(system), Some(code)) = (text(node, "system"), text(node, "code"))
    {
        out.insert((system, Some(code)));
    }
    for inner in members(Some(node), "contains") {
        expanded(inner, out);
    }
}

fn members<'a>(node: Option<Node<'a>>, name: &str) -> Vec<Node<'a>> {
    node.and_then(|n| n.member(name)).into_iter().flat_map(Node::items).collect()
}

fn text(node: Node<'_>, name: &str) -> Option<Box<str>> {
    node.member(name).and_then(Node::as_str).map(Into::into)
}
