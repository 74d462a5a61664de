//! What a role may search by: refused from role and parameters alone, before any data is
//! touched, inside of chains, `_has` and `_filter` as outside of them (invariant 2).

use phial_base::{ClassSet, DataClass};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{Filter, Include, Look, On, ParamId, Query};
use phial_policy::Action;

use crate::caller::Caller;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;

fn refused(ty: ResourceType, code: &str, what: &str) -> Failure {
    Failure::Forbidden(Refusal::new(
        IssueCode::Forbidden,
        format!("{}?{code}", ty.name()),
        format!("your role may not {what} {} by {code}", ty.name()),
    ))
}

impl Engine {
    /// Refuses, before any data is touched, what the role may never search by. A
    /// type that the role never sees is no error but empty; naming one of its
    /// clinical elements is. In a chain without types, every type that it may mean counts.
    pub(crate) fn guard(&self, caller: &Caller, query: &Query) -> Result<(), Failure> {
        self.guard_as(caller, query, Action::Search)
    }

    /// As [`Engine::guard`], for a search that is part of another action.
    pub(crate) fn guard_as(
        &self,
        caller: &Caller,
        query: &Query,
        action: Action,
    ) -> Result<(), Failure> {
        self.leads_past_scopes(caller, action, query)?;
        let admin = ClassSet::of(DataClass::Administrative);
        let ever =
            |ty: ResourceType| self.policy().ever(&caller.subject, action, ty.name()).or(admin);
        let mut found = Ok(());
        query.each_look(&mut |ty, look| {
            if found.is_ok() {
                found = match look {
                    Look::Filter(filter, negative) => filtered(ty, filter, negative, ever(ty)),
                    Look::Reference(param) => followed(ty, param, ever(ty)),
                };
            }
        });
        found?;
        for key in &query.sort {
            let On::Param(param) = &key.on else { continue };
            if !ever(query.ty).covers(param.classes(query.ty)) {
                return Err(refused(query.ty, param.def().code, "search"));
            }
        }
        // Who never sees a reference may not follow it, in either direction. Of all that
        // there are (`*`), those out of sight are not there.
        for Include { source, param, .. } in query.include.iter().chain(&query.revinclude) {
            if let (Some(source), Some(param)) = (source, param) {
                followed(*source, *param, ever(*source))?;
            }
        }
        Ok(())
    }
}

fn filtered(
    ty: ResourceType,
    filter: &Filter,
    negative: bool,
    ever: ClassSet,
) -> Result<(), Failure> {
    let On::Param(param) = &filter.on else { return Ok(()) };
    let own = filter.classes(ty);
    // A composite needs something of each component.
    let needs = if own == param.classes(ty) { param.needs(ty) } else { vec![own] };
    let allowed = needs.into_iter().all(|classes| {
        let some = !classes.and(ever).is_empty();
        classes.is_empty() || if negative { ever.covers(classes) } else { some }
    });
    if allowed { Ok(()) } else { Err(refused(ty, param.def().code, "search")) }
}

fn followed(ty: ResourceType, param: ParamId, ever: ClassSet) -> Result<(), Failure> {
    let classes = param.classes(ty);
    if classes.is_empty() || !classes.and(ever).is_empty() {
        return Ok(());
    }
    Err(Failure::Forbidden(Refusal::new(
        IssueCode::Forbidden,
        format!("{}:{}", ty.name(), param.def().code),
        format!("your role may not follow {} of {}", param.def().code, ty.name()),
    )))
}
