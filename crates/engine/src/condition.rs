//! Conditions on other records: conditional references (`Practitioner?identifier=…`),
//! `If-None-Exist`, and what stands for an id in conditional updates, patches and deletes.
//! All tell whether a record exists, so they need visibility over the whole type
//! (design §2).

use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{Query, parse_query};
use phial_policy::Action;

use crate::caller::Caller;
use crate::codes::looked_up;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;
use crate::write::Plan;

/// The most conditional references remembered per tenant.
const REMEMBERED: usize = 50_000;

impl Engine {
    /// A condition on records of `ty`, understood; refused to whoever does not see every
    /// record of the type.
    pub(crate) fn condition(
        &self,
        caller: &Caller,
        ty: ResourceType,
        condition: &str,
        path: &str,
    ) -> Result<Query, Failure> {
        self.sees_every(caller, ty)?;
        let pairs: Vec<(String, String)> = form(condition);
        let query = parse_query(ty, &pairs).map_err(|mut issues| {
            for issue in &mut issues {
                issue.path = format!("{path}: {}", issue.path);
            }
            Failure::Invalid(Refusal { issues })
        })?;
        // What is found would hang on records of other types, of which nobody asked whether
        // the caller sees every one.
        if !query.criteria.is_empty() {
            return Err(Failure::invalid(
                IssueCode::NotSupported,
                path,
                "a condition takes no chain, _has, _filter or _list",
            ));
        }
        if query.filters.iter().any(|f| looked_up(f).is_some()) {
            return Err(Failure::invalid(
                IssueCode::NotSupported,
                path,
                "a condition goes by no value set and no hierarchy of codes",
            ));
        }
        // One without a filter would mean every record of the type.
        if query.filters.is_empty() {
            return Err(Failure::invalid(
                IssueCode::Value,
                path,
                "a condition needs at least one search parameter",
            ));
        }
        Ok(query)
    }

    /// Refuses a condition on a type of which the caller does not see every record.
    fn sees_every(&self, caller: &Caller, ty: ResourceType) -> Result<(), Failure> {
        if self.policy().every_record(&caller.subject, Action::Search, ty.name()) {
            return Ok(());
        }
        Err(Failure::forbidden(format!(
            "conditions on {} need sight of every {}, which your role does not have",
            ty.name(),
            ty.name()
        )))
    }
}

impl Plan<'_> {
    /// What a conditional reference points at, among what is committed and what this
    /// transaction writes. Of what is committed alone it is remembered until a record of
    /// that type is written.
    pub(crate) fn resolve(
        &self,
        ty: ResourceType,
        condition: &str,
        path: &str,
    ) -> Result<LogicalId, Failure> {
        let Plan { engine, tenant, caller, .. } = self;
        let key = format!("{}?{condition}", ty.name());
        if let Some(id) = self.answers.borrow().get(&key) {
            return Ok(id.clone());
        }
        let own = self.settled.iter().any(|s| s.write.ty == ty);
        let seen = {
            let known = tenant.resolved();
            let writes = known.writes.get(&ty).copied().unwrap_or(0);
            match known.found.get(&key) {
                Some((id, at)) if *at == writes && !own => {
                    engine.sees_every(caller, ty)?;
                    return Ok(id.clone());
                }
                _ => writes,
            }
        };
        let query = engine.condition(caller, ty, condition, path)?;
        let found = {
            let mut overlay = self.overlay.borrow_mut();
            let own = own.then_some((&mut *overlay, self.settled, &self.names));
            engine.matching(tenant, caller, &query, 2, own)?
        };
        let refused = |code, what: &str| {
            Err(Failure::Conflict {
                precondition: true,
                refusal: Refusal::new(
                    code,
                    path,
                    format!("the conditional reference to {} matches {what}", ty.name()),
                ),
            })
        };
        match found.as_slice() {
            [id] => {
                self.answers.borrow_mut().insert(key.clone(), id.clone());
                if !own {
                    let mut known = tenant.resolved();
                    if known.found.len() >= REMEMBERED {
                        known.found.clear();
                    }
                    known.found.insert(key, (id.clone(), seen));
                }
                Ok(id.clone())
            }
            [] => refused(IssueCode::NotFound, "nothing"),
            _ => refused(IssueCode::MultipleMatches, "more than one"),
        }
    }
}

/// Decodes `a=b&c=d` (application/x-www-form-urlencoded).
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
