//! `search-type`: records of one type that match
//! (<https://hl7.org/fhir/R4/http.html#search>).
//!
//! What a role may never search by is refused from role and parameters alone.
//! What is left is cut down by the access shapes before counting and paging, and
//! each record of a page passes policy once more before it is opened.

use std::collections::HashSet;

use bytes::{BufMut, Bytes};
use phial_audit::{Entry, EventKind, OutcomeCode};
use phial_base::{ClassSet, DataClass, LogicalId, RowId, Seq};
use phial_fhir::Subset;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, Severity, operation_outcome};
use phial_fhir::search::{Include, Modifier, On, Query, Summary, Total, parse_query};
use phial_policy::{Action, Context, Permit, RelationshipSet};
use phial_store::index::{Hit, Page, PageKey, Shape};
use phial_store::vessel::SNAPSHOT_LIFE_US;

use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::read::fits;
use crate::paging::Token;
use crate::released::Released;
use crate::view::asked_part;

/// The most records that `_revinclude` adds to one page. More would be cut off somewhere,
/// and a list that is silently short is worse than none.
const MOST_REFERRING: usize = 5_000;

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

impl Engine {
    /// One page of matches as a searchset Bundle, or the count alone.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for an unknown parameter, modifier or value;
    /// [`Failure::Forbidden`] for a parameter that the role may never use, before any
    /// data is touched; [`Failure::Gone`] for a paging token past its life;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn search(&self, caller: &Caller, search: Search) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Search);
        entry::query(&mut e, search.ty, &search.pairs);
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
        search: Search,
        e: &mut Entry,
    ) -> Result<Found, Failure> {
        let keys = tenant
            .vessel
            .keystore()
            .tenant_keys(&caller.subject.tenant)
            .map_err(Self::store_failure(caller))?;
        let token = match search.pairs.iter().find(|(k, _)| k == "_page") {
            Some((_, text)) => {
                let token = Token::open(text, &keys.paging, caller).ok_or_else(|| {
                    Failure::invalid(
                        IssueCode::Value,
                        "_page",
                        "this paging token is not valid here: search again",
                    )
                })?;
                if token.taken + SNAPSHOT_LIFE_US < caller.request.at.as_microsecond() {
                    return Err(Failure::Gone);
                }
                Some(token)
            }
            None => None,
        };
        let (ty, mut pairs, compartment) = match &token {
            Some(t) => (
                ResourceType::from_name(&t.ty).ok_or(Failure::NotFound)?,
                t.pairs.clone(),
                t.compartment.as_ref().and_then(|(ct, id)| {
                    Some((ResourceType::from_name(ct)?, LogicalId::new(id).ok()?))
                }),
            ),
            None => (search.ty, search.pairs, search.compartment),
        };
        if token.is_some() {
            entry::query(e, ty, &pairs);
        }
        // What is shown of a match is not what is searched.
        let part = asked_part(&pairs)?;
        fits(part.as_ref(), ty)?;
        let shapes = |(name, value): &(String, String)| match name.as_str() {
            "_elements" => true,
            "_summary" => value != "count",
            _ => false,
        };
        let left_out = if search.lenient { leave_out(ty, &mut pairs, shapes) } else { Vec::new() };
        let asked: Vec<_> = pairs.iter().filter(|p| !shapes(p)).cloned().collect();
        let mut query =
            parse_query(ty, &asked).map_err(|issues| Failure::Invalid(Refusal { issues }))?;
        let adds = !query.include.is_empty() || !query.revinclude.is_empty();
        if adds && part == Some(Subset::Text) {
            return Err(Failure::invalid(
                IssueCode::NotSupported,
                "_summary",
                "_summary=text can't be used with _include or _revinclude",
            ));
        }
        query.compartment = compartment.clone();
        self.guard(caller, &query)?;

        let limit =
            query.count.unwrap_or(self.settings().page_size).min(self.settings().max_page_size);
        let after = match token.as_ref().and_then(|t| t.after.as_deref()) {
            Some(bytes) => Some(PageKey::decode(bytes).ok_or_else(|| {
                Failure::invalid(
                    IssueCode::Value,
                    "_page",
                    "this paging token is of another version: search again",
                )
            })?),
            None => None,
        };
        let counting = query.summary == Summary::Count;
        let at = token.as_ref().map(Token::at);
        // Work of microseconds to a few milliseconds stays on its worker: handing it to
        // another thread costs more than it does (the runtime has workers to spare).
        let (at, page, included) =
            self.look_up(tenant, caller, &query, at, after.as_ref(), limit, counting)?;

        let next = page.next.as_ref().map(|key| Token {
            ty: ty.name().to_owned(),
            pairs: pairs.clone(),
            compartment: compartment
                .as_ref()
                .map(|(t, id)| (t.name().to_owned(), id.as_str().to_owned())),
            at: at.0,
            after: Some(key.encode()),
            taken: token.as_ref().map_or(caller.request.at.as_microsecond(), |t| t.taken),
        });
        let this = Token {
            ty: ty.name().to_owned(),
            pairs,
            compartment: compartment.map(|(t, id)| (t.name().to_owned(), id.as_str().to_owned())),
            at: at.0,
            after: token.as_ref().and_then(|t| t.after.clone()),
            taken: token.as_ref().map_or(caller.request.at.as_microsecond(), |t| t.taken),
        };
        let total = match (page.total, &next, &token) {
            _ if query.total == Total::None && !counting => None,
            (Some(total), _, _) => Some(total),
            (None, None, None) => Some(page.hits.len() as u64),
            _ => None,
        };

        let mut out = BundleWriter::new(&search.base, total, 4096 * (1 + page.hits.len()));
        let link = |t: &Token| {
            format!("{}/{}?_page={}", search.base, ty.name(), t.seal(&keys.paging, caller, self))
        };
        out.link("self", &link(&this));
        if let Some(next) = &next {
            out.link("next", &link(next));
        }
        let mut permits = Vec::new();
        if !counting {
            // A page of an older snapshot: what has become of its records since counts too.
            let older = token.is_some();
            for (hits, mode) in [(&page.hits, "match"), (&included, "include")] {
                // The elements are named of the type that is searched.
                let named = matches!(part, Some(Subset::Elements(_))) && mode == "include";
                let part = part.as_ref().filter(|_| !named);
                for hit in hits {
                    if older && !self.still_visible(tenant, caller, hit)? {
                        continue;
                    }
                    self.deliver(tenant, caller, hit, mode, part, e, &mut permits, &mut out)?;
                }
            }
        }
        if !left_out.is_empty() {
            out.outcome(&left_out);
        }
        Ok(Found { body: out.finish(), permits })
    }

    /// Refuses, before any data is touched, what the role may never search by. A
    /// type that the role never sees is no error but empty; naming one of its
    /// clinical elements is.
    pub(crate) fn guard(&self, caller: &Caller, query: &Query) -> Result<(), Failure> {
        let admin = ClassSet::of(DataClass::Administrative);
        let ever = self.policy().ever(&caller.subject, Action::Search, query.ty.name()).or(admin);
        let refused = |code: &str| {
            Failure::Forbidden(Refusal::new(
                IssueCode::Forbidden,
                format!("{}?{code}", query.ty.name()),
                format!("your role may not search {} by {code}", query.ty.name()),
            ))
        };
        for filter in &query.filters {
            let On::Param(param) = &filter.on else { continue };
            let negative = matches!(filter.modifier, Modifier::Not | Modifier::Missing);
            // A composite needs something of each component.
            let allowed = param.needs(query.ty).into_iter().all(|classes| {
                let some = !classes.and(ever).is_empty();
                classes.is_empty() || if negative { ever.covers(classes) } else { some }
            });
            if !allowed {
                return Err(refused(param.def().code));
            }
        }
        for key in &query.sort {
            let On::Param(param) = &key.on else { continue };
            if !ever.covers(param.classes(query.ty)) {
                return Err(refused(param.def().code));
            }
        }
        // Who never sees a reference may not follow it, in either direction.
        for Include { source, param, .. } in query.include.iter().chain(&query.revinclude) {
            let ever = self.policy().ever(&caller.subject, Action::Search, source.name()).or(admin);
            let classes = param.classes(*source);
            if !classes.is_empty() && classes.and(ever).is_empty() {
                return Err(Failure::Forbidden(Refusal::new(
                    IssueCode::Forbidden,
                    format!("{}:{}", source.name(), param.def().code),
                    format!("your role may not follow {} of {}", param.def().code, source.name()),
                )));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one look-up has these parts")]
    fn look_up(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        query: &Query,
        at: Option<Seq>,
        after: Option<&PageKey>,
        limit: u32,
        counting: bool,
    ) -> Result<(Seq, Page, Vec<Hit>), Failure> {
        // What is exact is good enough as an estimate.
        let total = counting || matches!(query.total, Total::Estimate | Total::Accurate);
        let caught_up = tenant.vessel.catch_up().map_err(Self::store_failure(caller))?;
        let at = at.unwrap_or(caught_up);
        let access = self.access(caller, Action::Search);
        let viewer = caller.viewer();
        let page = tenant
            .vessel
            .search(query, &viewer, &access, at, after, if counting { 0 } else { limit }, total)
            .map_err(Self::store_failure(caller))?;
        let mut included = Vec::new();
        if !counting && !page.hits.is_empty() {
            included = tenant
                .vessel
                .includes(&query.include, &page.hits, &viewer, &access, at)
                .map_err(Self::store_failure(caller))?;
            let referring = tenant
                .vessel
                .referring(&query.revinclude, &page.hits, &viewer, &access, at, MOST_REFERRING)
                .map_err(Self::store_failure(caller))?
                .ok_or_else(|| {
                    Failure::invalid(
                        IssueCode::TooCostly,
                        "_revinclude",
                        format!(
                            "more than {MOST_REFERRING} records refer to this page: ask for a \
                             smaller page, or search the other type"
                        ),
                    )
                })?;
            let there: HashSet<RowId> = included.iter().map(|h| h.row).collect();
            included.extend(referring.into_iter().filter(|h| !there.contains(&h.row)));
        }
        Ok((at, page, included))
    }

    /// The mask of a record version by its access shape and the caller's
    /// relationship to its patients.
    pub(crate) fn access<'a>(
        &'a self,
        caller: &'a Caller,
        action: Action,
    ) -> impl Fn(&Shape, RelationshipSet) -> ClassSet + 'a {
        move |shape, relationships| {
            self.policy()
                .mask(
                    &caller.subject,
                    action,
                    shape.ty.name(),
                    shape.labels,
                    shape.about_patient,
                    &Context { relationships, ..Context::default() },
                )
                .classes
        }
    }

    /// Whether the caller may see the record as it is now: a label set since the
    /// snapshot hides its older versions as well.
    fn still_visible(&self, tenant: &Tenant, caller: &Caller, hit: &Hit) -> Result<bool, Failure> {
        let now = tenant.vessel.find_row(hit.row).map_err(Self::store_failure(caller))?;
        match now {
            Some(now) => Ok(self.decide(tenant, caller, Action::Search, &now)?.is_ok()),
            None => Ok(false),
        }
    }

    /// Opens one match and adds it to the page, if policy still permits it.
    #[expect(clippy::too_many_arguments, reason = "one match goes to all of these")]
    fn deliver(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        hit: &Hit,
        mode: &str,
        part: Option<&Subset>,
        e: &mut Entry,
        permits: &mut Vec<Permit>,
        out: &mut BundleWriter,
    ) -> Result<(), Failure> {
        let found = tenant
            .vessel
            .find_version(hit.row, hit.version)
            .map_err(Self::store_failure(caller))?;
        // Purged since the page was looked up: absent.
        let Some(found) = found else { return Ok(()) };
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
    ty: ResourceType,
    pairs: &mut Vec<(String, String)>,
    known: impl Fn(&(String, String)) -> bool,
) -> Vec<Issue> {
    let mut issues = Vec::new();
    pairs.retain(|pair| {
        let name = &pair.0;
        if known(pair) {
            return true;
        }
        let plain = if name.contains('.') { name } else { name.split(':').next().unwrap_or(name) };
        let alone = [(plain.to_owned(), String::new())];
        let Err(found) = parse_query(ty, &alone) else { return true };
        let unknown = found.into_iter().find(|i| i.code == IssueCode::NotSupported);
        let keep = unknown.is_none();
        issues.extend(unknown.map(|i| Issue { severity: Severity::Warning, ..i }));
        keep
    });
    issues
}

struct Found {
    body: Bytes,
    permits: Vec<Permit>,
}

/// Splices a searchset Bundle together without parsing what it carries.
struct BundleWriter {
    base: String,
    out: Zeroizing<Vec<u8>>,
    links: usize,
    entries: usize,
}

impl BundleWriter {
    /// `room` is what the page is expected to need: growing leaves copies behind.
    fn new(base: &str, total: Option<u64>, room: usize) -> Self {
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        out.put_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
        if let Some(total) = total {
            out.put_slice(b",\"total\":");
            out.put_slice(total.to_string().as_bytes());
        }
        BundleWriter { base: base.to_owned(), out, links: 0, entries: 0 }
    }

    fn link(&mut self, relation: &str, url: &str) {
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

    fn finish(mut self) -> Bytes {
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
