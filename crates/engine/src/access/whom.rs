//! Whom somebody means who asks for emergency access: a patient by logical id, or by an
//! identifier that the patient or a companion can state, such as a record number.
//!
//! It asks policy what the caller would see were the glass broken, so nobody finds a
//! patient here by what their role never sees (a government's number, say). A patient who
//! is not there and one who can't be found this way are answered alike, and what was stated
//! is written down sealed.

use phial_audit::{EventKind, OutcomeCode};
use phial_base::{ClassSet, LogicalId};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::parse_query;
use phial_policy::{Action, Context, Relationship, RelationshipSet};
use phial_store::index::Shape;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;

/// The longest identifier that is looked for, characters.
const MOST_CHARS: usize = 200;

impl Engine {
    /// The patient that is meant by a logical id, an identifier's value, or
    /// `system|value`. That it is found grants nothing.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for those who may not ask for emergency access;
    /// [`Failure::NotFound`] when there is no such patient; [`Failure::Conflict`] when it
    /// may be several; [`Failure::Busy`] when a store can't be reached.
    pub async fn whom(&self, caller: &Caller, stated: &str) -> Result<LogicalId, Failure> {
        let tenant = self.home(caller)?;
        let (kind, what) = (EventKind::BreakGlass, "ask for emergency access");
        self.must(tenant, caller, Action::BreakGlass, kind, what).await?;
        let failed = Self::store_failure(caller);
        let ty = ResourceType::from_name("Patient").ok_or(Failure::NotFound)?;
        let stated = stated.trim();
        if let Ok(id) = LogicalId::new(stated)
            && tenant.vessel.find(ty, &id).map_err(&failed)?.is_some_and(|f| !f.header.deleted)
        {
            return Ok(id);
        }
        let mut found = Vec::new();
        // What means something in a search's value is a letter here, but the bar.
        let value = stated.replace('\\', "\\\\").replace(',', "\\,").replace('$', "\\$");
        let pairs = [("identifier".to_owned(), value)];
        let is_one = !stated.is_empty() && stated.chars().count() <= MOST_CHARS;
        if is_one && let Ok(query) = parse_query(ty, &pairs) {
            self.guard(caller, &query)?;
            let policy = self.policy();
            let as_if_broken = |shape: &Shape, found: RelationshipSet| -> ClassSet {
                let context = Context::new(found.with(Relationship::BreakGlass));
                let (ty, about) = (shape.ty.name(), shape.about_patient);
                let who = &caller.subject;
                policy.mask(who, Action::Search, ty, shape.labels, about, &context).classes
            };
            let viewer = caller.viewer();
            let at = tenant.vessel.catch_up().map_err(&failed)?;
            let page = tenant
                .vessel
                .search(&query, &viewer, &as_if_broken, at, None, 2, false)
                .map_err(&failed)?;
            for hit in page.hits {
                let one = tenant.vessel.find_version(hit.row, hit.version).map_err(&failed)?;
                found.extend(one.map(|f| f.header.id));
            }
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => {
                let mut e = entry::of(caller, kind);
                entry::query(&mut e, Some(ty), &pairs);
                let outcome = OutcomeCode::NotFound;
                Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await)
            }
            _ => {
                let mut e = entry::of(caller, kind);
                entry::query(&mut e, Some(ty), &pairs);
                let refusal = Refusal::new(
                    IssueCode::MultipleMatches,
                    "patient",
                    "more than one patient has this identifier: state it as system|value, or \
                     the patient's id",
                );
                let failure = Failure::Conflict { precondition: true, refusal };
                Err(self.refuse(tenant, caller, e, OutcomeCode::Conflict, failure).await)
            }
        }
    }
}
