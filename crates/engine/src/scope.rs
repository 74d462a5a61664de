//! Scopes with a query (`patient/Observation.rs?category=laboratory`): the part of an
//! app's limits that hangs on what stands in a record
//! (<https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html#finer-grained-resource-constraints-using-search-parameters>).
//!
//! Which types and whose records is held by policy, in every mask. A query is held in two
//! places. [`Engine::decide`] opens what the permit allows and looks: no surface goes by
//! it, and what the permit withholds takes no part. A search has the condition among its
//! own, so that counts and pages are of what may be seen; and no search of another type
//! leads through a type that is narrowed, since that would answer about records beyond it.

use phial_base::scope::Letters;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{
    Candidate, Criterion, Look, Query, Summary, extract_again, is_local, matches, parse_query,
};
use phial_fhir::{Doc, Limits};
use phial_policy::{Action, Permit};
use phial_store::Error as StoreError;
use phial_store::vessel::Unopened;

use crate::caller::Caller;
use crate::condition::form;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

/// The query of a scope, if it is one that can be held against a record by itself: filters
/// of the type's own, no chains, no order, no pages.
#[must_use]
pub fn scope_query(ty: ResourceType, query: &str) -> Option<Query> {
    let query = parse_query(ty, &form(query)).ok()?;
    let plain = is_local(&query)
        && !query.filters.is_empty()
        && query.sort.is_empty()
        && query.include.is_empty()
        && query.revinclude.is_empty()
        && query.count.is_none()
        && query.page.is_none()
        && query.summary == Summary::No;
    plain.then_some(query)
}

/// The queries of which one must hold when this letter is used on the type; `None` when
/// there is no such condition. One that can't be read holds for nothing.
fn conditions(caller: &Caller, letter: Letters, ty: ResourceType) -> Option<Vec<Query>> {
    let scopes = caller.subject.scopes.as_ref()?;
    let queries = scopes.narrowed(letter, ty.name())?;
    Some(queries.into_iter().filter_map(|q| scope_query(ty, q)).collect())
}

/// Whether any record of the type is out of the app's reach for what stands in it.
fn is_narrowed(caller: &Caller, action: Action, ty: ResourceType) -> bool {
    let Some(scopes) = &caller.subject.scopes else { return false };
    action.letters().each().any(|l| scopes.narrowed(l, ty.name()).is_some())
}

impl Engine {
    /// Whether a record that policy permits satisfies the queries of the app's scopes.
    pub(crate) fn is_in_scope(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        permit: &Permit,
        found: &Unopened,
    ) -> Result<bool, Failure> {
        let ty = found.header.ty;
        let all: Vec<Vec<Query>> =
            permit.action().letters().each().filter_map(|l| conditions(caller, l, ty)).collect();
        if all.is_empty() {
            return Ok(true);
        }
        if found.header.deleted {
            // Nothing is left that could tell.
            return Ok(false);
        }
        let failed = Self::store_failure(caller);
        let opened = tenant.vessel.open_record(permit, found).map_err(&failed)?;
        let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
        let doc = Doc::parse(opened.body(), &limits)
            .map_err(|_| failed(StoreError::Corrupt("a record that was opened is no JSON")))?;
        let values = extract_again(&doc, ty);
        let candidate = Candidate {
            id: &found.header.id,
            last_updated: found.header.last_updated,
            values: &values.values,
            visible: permit.classes(),
        };
        Ok(all.iter().all(|any| any.iter().any(|q| matches(q, &candidate))))
    }

    /// Adds the conditions of the app's scopes to a search.
    pub(crate) fn narrow(&self, caller: &Caller, action: Action, query: &mut Query) {
        for letter in action.letters().each() {
            let Some(queries) = conditions(caller, letter, query.ty) else { continue };
            let one = |q: Query| {
                Criterion::All(q.filters.into_iter().map(Criterion::Is).collect::<Vec<_>>())
            };
            query.criteria.push(Criterion::Any(queries.into_iter().map(one).collect()));
        }
    }

    /// Refuses a search that leads through a type that is narrowed.
    pub(crate) fn leads_past_scopes(
        &self,
        caller: &Caller,
        action: Action,
        query: &Query,
    ) -> Result<(), Failure> {
        if !caller.subject.scopes.as_ref().is_some_and(|s| s.narrows()) {
            return Ok(());
        }
        let mut through = None;
        query.each_look(&mut |ty, look| {
            let other = ty != query.ty || matches!(look, Look::Reference(_));
            if other && ty != query.ty && is_narrowed(caller, action, ty) {
                through = Some(ty);
            }
        });
        // A chain that comes back to the searched type looks at other records of it.
        let chained = !query.criteria.is_empty() && is_narrowed(caller, action, query.ty);
        match through.or(chained.then_some(query.ty)) {
            None => Ok(()),
            Some(ty) => Err(Failure::Forbidden(Refusal::new(
                IssueCode::Forbidden,
                ty.name(),
                format!("the app may see some {} only: no search leads through them", ty.name()),
            ))),
        }
    }
}
