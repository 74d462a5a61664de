//! Conditions on other records: conditional references (`Practitioner?identifier=…`)
//! and `If-None-Exist`. Both tell whether a record exists, so they need
//! visibility over the whole type (design §2).

use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::parse_query;
use phial_policy::Action;

use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

/// The most conditional references remembered per tenant.
const REMEMBERED: usize = 50_000;

/// What a condition found.
pub(crate) enum Match {
    None,
    One(LogicalId),
    Many,
}

impl Engine {
    /// Records of `ty` that satisfy the condition, as the caller may see them.
    pub(crate) fn matching(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: ResourceType,
        condition: &str,
        path: &str,
    ) -> Result<Match, Failure> {
        self.sees_every(caller, ty)?;
        let pairs: Vec<(String, String)> = form(condition);
        if pairs.is_empty() {
            return Err(Failure::invalid(
                IssueCode::Value,
                path,
                "a condition needs at least one search parameter",
            ));
        }
        let query = parse_query(ty, &pairs).map_err(|mut issues| {
            for issue in &mut issues {
                issue.path = format!("{path}: {}", issue.path);
            }
            Failure::Invalid(Refusal { issues })
        })?;
        let at = tenant.vessel.catch_up().map_err(Self::store_failure(caller))?;
        let access = self.access(caller, Action::Search);
        let page = tenant
            .vessel
            .search(&query, &caller.viewer(), &access, at, None, 2, false)
            .map_err(Self::store_failure(caller))?;
        match page.hits.as_slice() {
            [] => Ok(Match::None),
            [hit] => {
                let found = tenant
                    .vessel
                    .find_version(hit.row, hit.version)
                    .map_err(Self::store_failure(caller))?;
                Ok(found.map_or(Match::None, |f| Match::One(f.header.id)))
            }
            _ => Ok(Match::Many),
        }
    }

    /// What a conditional reference points at. Remembered until a record of that
    /// type is written.
    pub(crate) fn resolve(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: ResourceType,
        condition: &str,
        path: &str,
    ) -> Result<LogicalId, Failure> {
        let key = format!("{}?{condition}", ty.name());
        let seen = {
            let known = tenant.resolved();
            let writes = known.writes.get(&ty).copied().unwrap_or(0);
            match known.found.get(&key) {
                Some((id, at)) if *at == writes => {
                    self.sees_every(caller, ty)?;
                    return Ok(id.clone());
                }
                _ => writes,
            }
        };
        match self.matching(tenant, caller, ty, condition, path)? {
            Match::One(id) => {
                let mut known = tenant.resolved();
                if known.found.len() >= REMEMBERED {
                    known.found.clear();
                }
                known.found.insert(key, (id.clone(), seen));
                Ok(id)
            }
            Match::None => Err(Failure::Conflict {
                precondition: true,
                refusal: Refusal::new(
                    IssueCode::NotFound,
                    path,
                    format!("the conditional reference to {} matches nothing", ty.name()),
                ),
            }),
            Match::Many => Err(Failure::Conflict {
                precondition: true,
                refusal: Refusal::new(
                    IssueCode::MultipleMatches,
                    path,
                    format!("the conditional reference to {} matches more than one", ty.name()),
                ),
            }),
        }
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

/// Decodes `a=b&c=d` (application/x-www-form-urlencoded).
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
