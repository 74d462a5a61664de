//! `_include` and `_revinclude`: what goes with the hits of a search
//! (<https://hl7.org/fhir/R4/search.html#revinclude>).
//!
//! Every record that is added, and every reference that leads to it, is in the caller's
//! sight; `:iterate` goes on from such records only. A page that would carry too much is
//! refused rather than cut.

use std::collections::HashSet;

use phial_base::{RowId, Seq};
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{Include, Query};
use phial_store::index::{Access, Hit, Viewer};

use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// The most records that are added to one page. More would be cut off somewhere, and a
/// list that is silently short is worse than none.
const MOST: usize = 5_000;

/// How the index is looked at.
pub(crate) struct Look<'a> {
    pub(crate) viewer: &'a Viewer,
    pub(crate) access: Access<'a>,
    pub(crate) at: Seq,
    /// Whether the snapshot is of an earlier page.
    pub(crate) older: bool,
}

impl Engine {
    /// What the query adds to these hits, each record once.
    pub(crate) fn beside(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        query: &Query,
        hits: &[Hit],
        look: &Look<'_>,
    ) -> Result<Vec<Hit>, Failure> {
        let mut there: HashSet<RowId> = hits.iter().map(|h| h.row).collect();
        let mut added: Vec<Hit> = Vec::new();
        let again = |all: &[Include]| -> Vec<Include> {
            all.iter().filter(|i| i.iterate).copied().collect()
        };
        let (mut include, mut revinclude) = (query.include.clone(), query.revinclude.clone());
        let mut last: Vec<Hit> = hits.to_vec();
        let nothing_asked = |include: &[Include], revinclude: &[Include]| {
            include.is_empty() && revinclude.is_empty()
        };
        while !last.is_empty() && !nothing_asked(&include, &revinclude) {
            let Look { viewer, access, at, .. } = *look;
            let mut found = tenant
                .vessel
                .includes(&include, &last, viewer, access, at)
                .map_err(Self::store_failure(caller))?;
            let referring = tenant
                .vessel
                .referring(&revinclude, &last, viewer, access, at, MOST)
                .map_err(Self::store_failure(caller))?
                .ok_or_else(too_many)?;
            found.extend(referring);
            found.retain(|hit| there.insert(hit.row));
            // What of these a scope's query leaves out must not be gone on from either.
            if look.older || caller.subject.scopes.as_ref().is_some_and(|s| s.narrows()) {
                found = self.only_visible(tenant, caller, found)?;
            }
            if added.len() + found.len() > MOST {
                return Err(too_many());
            }
            added.extend(found.iter().cloned());
            last = found;
            (include, revinclude) = (again(&include), again(&revinclude));
        }
        Ok(added)
    }
}

fn too_many() -> Failure {
    Failure::invalid(
        IssueCode::TooCostly,
        "_revinclude",
        format!(
            "more than {MOST} records go with this page: ask for a smaller page, or search the \
             other type"
        ),
    )
}
