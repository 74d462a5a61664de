//! `search-type`: records of one type that match
//! (<https://hl7.org/fhir/R4/http.html#search>).
//!
//! What a role may never search by is refused from role and parameters alone.
//! What is left is cut down by the access shapes before counting and paging, and
//! each record of a page passes policy once more before it is opened.

use bytes::{BufMut, Bytes};
use phial_audit::{Entry, EventKind, OutcomeCode};
use phial_base::{LogicalId, Seq};
use phial_fhir::Subset;
use phial_fhir::capability::stored_types;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, Severity, operation_outcome};
use phial_fhir::search::{On, Query, Summary, Total, parse_query};
use phial_policy::{Action, Permit};
use phial_store::index::{Hit, Page, PageKey};
use phial_store::vessel::Unopened;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::include::Look;
use crate::interaction::read::fits;
use crate::own::by_either_form;
use crate::paging::{Paging, Token};
use crate::released::Released;
use crate::view::asked_part;

/// Matches that are read at a time.
const AT_ONCE: usize = 32;

/// A search as it came in.
#[derive(Clone, Debug)]
pub struct Search {
    /// The type searched.
    pub ty: ResourceType,
    /// Parameters in the order given, decoded.
    pub pairs: Vec<(String, String)>,
    /// The compartment, for `Patient/123/Observation`.
    pub compartment: Option<(ResourceType, LogicalId)>,
    /// The FHIR base URL, for links and `fullUrl`.
    pub base: String,
    /// Whether parameters that mean nothing here are left out and named, rather than
    /// refused (`Prefer: handling=lenient`).
    pub lenient: bool,
}

/// A search of one type, or of several.
pub(crate) struct Asked {
    /// The type; `None` for those that `_type` names.
    pub(crate) scope: Option<ResourceType>,
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) compartment: Option<(ResourceType, LogicalId)>,
    pub(crate) base: String,
    pub(crate) lenient: bool,
}

impl Engine {
    /// One page of matches as a searchset Bundle, or the count alone.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for an unknown parameter, modifier or value;
    /// [`Failure::Forbidden`] for a parameter that the role may never use, before any
    /// data is touched; [`Failure::Gone`] for a paging token past its life;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn search(&self, caller: &Caller, search: Search) -> Result<Released, Failure> {
        let Search { ty, pairs, compartment, base, lenient } = search;
        self.search_scope(caller, Asked { scope: Some(ty), pairs, compartment, base, lenient })
            .await
    }

    /// As [`Engine::search`], of one type or (`None`) of those that `_type` names.
    pub(crate) async fn search_scope(
        &self,
        caller: &Caller,
        search: Asked,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Search);
        entry::query(&mut e, search.scope, &search.pairs);
        match self.search_page(tenant, caller, search, &mut e).await {
            Ok(found) => {
                let Found { body, permits } = found;
                self.release(tenant, caller, e, &permits, body, None).await
            }
            Err(failure) => {
                let outcome = match &failure {
                    Failure::Forbidden(_) => OutcomeCode::Denied,
                    Failure::Invalid(_) | Failure::Gone => OutcomeCode::Invalid,
                    _ => return Err(failure),
                };
                Err(self.refuse(tenant, caller, e, outcome, failure).await)
            }
        }
    }

    async fn search_page(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        search: Asked,
        e: &mut Entry,
    ) -> Result<Found, Failure> {
        let keys = tenant
            .vessel
            .keystore()
            .tenant_keys(&caller.subject.tenant)
            .map_err(Self::store_failure(caller))?;
        let token = Token::asked(&search.pairs, &keys.paging, caller, |_| true)?;
        let (scope, mut pairs, compartment) = match &token {
            Some(t) => (
                match t.ty.as_str() {
                    "" => None,
                    name => Some(ResourceType::from_name(name).ok_or(Failure::NotFound)?),
                },
                t.pairs.clone(),
                t.compartment.as_ref().and_then(|(ct, id)| {
                    Some((ResourceType::from_name(ct)?, LogicalId::new(id).ok()?))
                }),
            ),
            None => (search.scope, search.pairs, search.compartment),
        };
        if token.is_some() {
            entry::query(e, scope, &pairs);
        }
        let types = match scope {
            Some(ty) => vec![ty],
            None => types_of(&pairs)?,
        };
        // What is shown of a match is not what is searched.
        let part = asked_part(&pairs)?;
        for ty in &types {
            fits(part.as_ref(), *ty)?;
        }
        let shapes = |(name, value): &(String, String)| match name.as_str() {
            "_elements" => true,
            "_summary" => value != "count",
            "_type" => scope.is_none(),
            _ => false,
        };
        let left_out =
            if search.lenient { leave_out(&types, &mut pairs, shapes) } else { Vec::new() };
        let asked: Vec<_> = pairs.iter().filter(|p| !shapes(p)).cloned().collect();
        let mut queries =
            parse(&types, asked).map_err(|issues| Failure::Invalid(Refusal { issues }))?;
        for query in &mut queries {
            query.compartment = compartment.clone();
            self.guard(caller, query)?;
            self.narrow(caller, Action::Search, query);
        }
        match queries.as_mut_slice() {
            [only] => only.order_by_time(),
            several => one_order(several)?,
        }
        let mut permits = Vec::new();
        for query in &mut queries {
            by_either_form(query, &search.base);
            let at = token.as_ref().map(Token::at);
            self.look_up_codes(tenant, caller, query, at, (e, &mut permits))?;
        }
        let Some(query) = queries.first() else { return Err(Failure::NotFound) };
        let adds = !query.include.is_empty() || !query.revinclude.is_empty();
        if adds && part == Some(Subset::Text) {
            return Err(Failure::invalid(
                IssueCode::NotSupported,
                "_summary",
                "_summary=text can't be used with _include or _revinclude",
            ));
        }

        let limit =
            query.count.unwrap_or(self.settings().page_size).min(self.settings().max_page_size);
        let after = Token::behind(token.as_ref().and_then(|t| t.after.as_deref()))?;
        let counting = query.summary == Summary::Count;
        let at = token.as_ref().map(Token::at);
        // Work of microseconds to a few milliseconds stays on its worker: handing it to
        // another thread costs more than it does (the runtime has workers to spare).
        let from = Start { at, after: after.as_ref() };
        let (at, page, included) = self.look_up(tenant, caller, &queries, &from, limit)?;

        let next = page.next.as_ref().map(|key| Token {
            ty: scope.map_or("", ResourceType::name).to_owned(),
            pairs: pairs.clone(),
            compartment: compartment
                .as_ref()
                .map(|(t, id)| (t.name().to_owned(), id.as_str().to_owned())),
            at: at.0,
            after: Some(key.encode()),
            taken: Token::since(token.as_ref(), caller),
        });
        let this = Token {
            ty: scope.map_or("", ResourceType::name).to_owned(),
            pairs,
            compartment: compartment.map(|(t, id)| (t.name().to_owned(), id.as_str().to_owned())),
            at: at.0,
            after: token.as_ref().and_then(|t| t.after.clone()),
            taken: Token::since(token.as_ref(), caller),
        };
        let total = match (page.total, &next, &token) {
            _ if query.total == Total::None && !counting => None,
            (Some(total), _, _) => Some(total),
            (None, None, None) => Some(page.hits.len() as u64),
            _ => None,
        };

        let mut out = BundleWriter::new(&search.base, total, 4096 * (1 + page.hits.len()));
        let link = |t: &Token| {
            let path = scope.map(|ty| format!("/{ty}")).unwrap_or_default();
            format!("{}{path}?_page={}", search.base, t.seal(&keys.paging, caller, self))
        };
        out.link("self", &link(&this));
        if let Some(next) = &next {
            out.link("next", &link(next));
        }
        if !counting {
            for (hits, mode) in [(&page.hits, "match"), (&included, "include")] {
                // The elements are named of the type that is searched.
                let named = matches!(part, Some(Subset::Elements(_))) && mode == "include";
                let part = part.as_ref().filter(|_| !named);
                self.each_hit(tenant, caller, hits, &mut |_, found| {
                    self.deliver(tenant, caller, found, mode, part, e, &mut permits, &mut out)
                })?;
            }
        }
        if !left_out.is_empty() {
            out.outcome(&left_out);
        }
        Ok(Found { body: out.finish(), permits })
    }

    /// One page of the matches of all queries, in one order, and what goes with them.
    fn look_up(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        queries: &[Query],
        from: &Start<'_>,
        limit: u32,
    ) -> Result<(Seq, Page, Vec<Hit>), Failure> {
        let Some(first) = queries.first() else { return Err(Failure::NotFound) };
        let counting = first.summary == Summary::Count;
        // What is exact is good enough as an estimate.
        let total = counting || matches!(first.total, Total::Estimate | Total::Accurate);
        let caught_up = tenant.vessel.catch_up().map_err(Self::store_failure(caller))?;
        let at = from.at.unwrap_or(caught_up);
        let access = self.access(tenant, caller, Action::Search)?;
        let viewer = caller.viewer();
        let limit = if counting { 0 } else { limit };
        let mut page = Page { hits: Vec::new(), next: None, total: total.then_some(0) };
        for query in queries {
            let found = tenant
                .vessel
                .search(query, &viewer, &access, at, from.after, limit, total)
                .map_err(Self::store_failure(caller))?;
            page.take(found, limit);
        }
        let mut included = Vec::new();
        if !counting && !page.hits.is_empty() {
            // What has become of the records of an older snapshot since counts too.
            let older = from.at.is_some();
            if older {
                page.hits = self.only_visible(tenant, caller, std::mem::take(&mut page.hits))?;
            }
            let look = Look { viewer: &viewer, access: &access, at, older };
            included = self.beside(tenant, caller, first, &page.hits, &look)?;
        }
        Ok((at, page, included))
    }

    /// Those of the hits that the caller may see as they are now.
    pub(crate) fn only_visible(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        hits: Vec<Hit>,
    ) -> Result<Vec<Hit>, Failure> {
        let mut kept = Vec::with_capacity(hits.len());
        for hit in hits {
            if self.still_visible(tenant, caller, &hit)? {
                kept.push(hit);
            }
        }
        Ok(kept)
    }

    /// Whether the caller may see the record as it is now: a label set since the
    /// snapshot hides its older versions as well.
    pub(crate) fn still_visible(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        hit: &Hit,
    ) -> Result<bool, Failure> {
        let now = tenant.vessel.find_row(hit.row).map_err(Self::store_failure(caller))?;
        match now {
            Some(now) => Ok(self.decide(tenant, caller, Action::Search, &now)?.is_ok()),
            None => Ok(false),
        }
    }

    /// Calls `each` with the matches, unopened, in their order. What was purged since the
    /// page was looked up is absent.
    pub(crate) fn each_hit(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        hits: &[Hit],
        each: &mut dyn FnMut(&Hit, Unopened) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for some in hits.chunks(AT_ONCE) {
            let places: Vec<_> = some.iter().map(Hit::place).collect();
            let found = tenant.vessel.find_at(&places).map_err(Self::store_failure(caller))?;
            for (hit, found) in some.iter().zip(found) {
                if let Some(found) = found {
                    each(hit, found)?;
                }
            }
        }
        Ok(())
    }

    /// Opens one match and adds it to the page, if policy still permits it.
    #[expect(clippy::too_many_arguments, reason = "one match goes to all of these")]
    pub(crate) fn deliver(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        found: Unopened,
        mode: &str,
        part: Option<&Subset>,
        e: &mut Entry,
        permits: &mut Vec<Permit>,
        out: &mut BundleWriter,
    ) -> Result<(), Failure> {
        let Ok(permit) = self.decide(tenant, caller, Action::Search, &found)? else {
            return Ok(());
        };
        let view = Self::view(tenant, caller, &permit, &found, part)?;
        entry::delivered(e, &found, &permit, view.given);
        out.entry(found.header.ty, &found.header.id, &view.body, mode);
        permits.push(permit);
        Ok(())
    }
}

/// Takes out the parameters that the type does not have or this server does not support,
/// and says which. A modifier or a value that can't be used is still refused: without it
/// the search would be another (<https://hl7.org/fhir/R4/search.html#errors>).
fn leave_out(
    types: &[ResourceType],
    pairs: &mut Vec<(String, String)>,
    known: impl Fn(&(String, String)) -> bool,
) -> Vec<Issue> {
    let mut issues = Vec::new();
    pairs.retain(|pair| {
        let name = &pair.0;
        if known(pair) {
            return true;
        }
        let linked = name.contains('.') || name.starts_with("_has:");
        let plain = if linked { name } else { name.split(':').next().unwrap_or(name) };
        let alone = [(plain.to_owned(), String::new())];
        let found = types.iter().filter_map(|ty| parse_query(*ty, &alone).err()).flatten();
        let unknown = found.into_iter().find(|i| i.code == IssueCode::NotSupported);
        let keep = unknown.is_none();
        issues.extend(unknown.map(|i| Issue { severity: Severity::Warning, ..i }));
        keep
    });
    issues
}

/// The types that a search of the whole server looks at.
fn types_of(pairs: &[(String, String)]) -> Result<Vec<ResourceType>, Failure> {
    let mut said = pairs.iter().filter(|(name, _)| name == "_type").map(|(_, value)| value);
    let (Some(value), again) = (said.next(), said.next()) else {
        return Ok(stored_types().collect());
    };
    let refuse = |text| Err(Failure::invalid(IssueCode::Value, "_type", text));
    if again.is_some() {
        return refuse("_type may be given once");
    }
    let mut types = Vec::new();
    for name in value.split(',') {
        match ResourceType::from_name(name) {
            Some(ty) if !types.contains(&ty) => types.push(ty),
            Some(_) => {}
            None => return refuse("_type names something that is no type of R4"),
        }
    }
    Ok(types)
}

/// Reads the query once for each type. What is to be included starts or ends at one of the
/// types, and stands with the first query.
fn parse(types: &[ResourceType], pairs: Vec<(String, String)>) -> Result<Vec<Query>, Vec<Issue>> {
    if let [only] = types {
        return parse_query(*only, &pairs).map(|q| vec![q]);
    }
    let (includes, pairs): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .partition(|(name, _)| matches!(name.split(':').next(), Some("_include" | "_revinclude")));
    let mut queries =
        types.iter().map(|ty| parse_query(*ty, &pairs)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = queries.first_mut() else { return Ok(queries) };
    for pair in includes {
        let mut refused = Vec::new();
        let read = types.iter().find_map(|ty| {
            parse_query(*ty, std::slice::from_ref(&pair)).map_err(|issues| refused = issues).ok()
        });
        let Some(read) = read else { return Err(refused) };
        first.include.extend(read.include);
        first.revinclude.extend(read.revinclude);
    }
    Ok(queries)
}

/// Refuses an order whose keys are of another kind in another type.
fn one_order(queries: &[Query]) -> Result<(), Failure> {
    let kinds = |q: &Query| -> Vec<_> {
        q.sort
            .iter()
            .map(|k| match k.on {
                On::Param(p) => Some(p.kind()),
                On::Id | On::LastUpdated => None,
            })
            .collect()
    };
    if queries.windows(2).all(|two| matches!(two, [a, b] if kinds(a) == kinds(b))) {
        return Ok(());
    }
    Err(Failure::invalid(
        IssueCode::NotSupported,
        "_sort",
        "_sort goes by a parameter that is of another kind in another type",
    ))
}

/// Where a page starts.
struct Start<'k> {
    /// The snapshot of the first page.
    at: Option<Seq>,
    after: Option<&'k PageKey>,
}

pub(crate) struct Found {
    pub(crate) body: Bytes,
    pub(crate) permits: Vec<Permit>,
}

/// Splices a searchset Bundle together without parsing what it carries.
pub(crate) struct BundleWriter {
    base: String,
    out: Zeroizing<Vec<u8>>,
    links: usize,
    entries: usize,
}

impl BundleWriter {
    /// `room` is what the page is expected to need: growing leaves copies behind.
    pub(crate) fn new(base: &str, total: Option<u64>, room: usize) -> Self {
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        out.put_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
        if let Some(total) = total {
            out.put_slice(b",\"total\":");
            out.put_slice(total.to_string().as_bytes());
        }
        BundleWriter { base: base.to_owned(), out, links: 0, entries: 0 }
    }

    pub(crate) fn link(&mut self, relation: &str, url: &str) {
        self.out.put_slice(if self.links == 0 { b",\"link\":[" } else { b"," });
        self.links += 1;
        self.out.put_slice(b"{\"relation\":\"");
        self.out.put_slice(relation.as_bytes());
        self.out.put_slice(b"\",\"url\":");
        self.out.put_slice(json_string(url).as_bytes());
        self.out.put_slice(b"}");
    }

    /// An OperationOutcome about the search itself.
    fn outcome(&mut self, issues: &[Issue]) {
        self.begin();
        self.out.put_slice(b"{\"resource\":");
        self.out.put_slice(&operation_outcome(issues));
        self.out.put_slice(b",\"search\":{\"mode\":\"outcome\"}}");
    }

    fn begin(&mut self) {
        if self.entries == 0 {
            if self.links > 0 {
                self.out.put_slice(b"]");
                self.links = 0;
            }
            self.out.put_slice(b",\"entry\":[");
        } else {
            self.out.put_slice(b",");
        }
        self.entries += 1;
    }

    fn entry(&mut self, ty: ResourceType, id: &LogicalId, body: &[u8], mode: &str) {
        self.begin();
        self.out.put_slice(b"{\"fullUrl\":");
        let url = format!("{}/{}/{}", self.base, ty.name(), id.as_str());
        self.out.put_slice(json_string(&url).as_bytes());
        self.out.put_slice(b",\"resource\":");
        self.out.put_slice(body);
        self.out.put_slice(b",\"search\":{\"mode\":\"");
        self.out.put_slice(mode.as_bytes());
        self.out.put_slice(b"\"}}");
    }

    pub(crate) fn finish(mut self) -> Bytes {
        if self.links > 0 || self.entries > 0 {
            self.out.put_slice(b"]");
        }
        self.out.put_slice(b"}");
        Bytes::from_owner(self.out)
    }
}

/// `text` as a JSON string.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
