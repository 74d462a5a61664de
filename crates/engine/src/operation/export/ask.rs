//! The kick-off: who may export, and what is asked for. What a role may never export or
//! search by is refused from role and parameters alone, before any record is looked at.

use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::LogicalId;
use phial_fhir::capability::stored_types;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::search::{parse_query, span};
use phial_policy::{Action, Permit};

use super::{Associated, Export, KIND};
use crate::caller::Caller;
use crate::condition::form;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::job::Job;

/// Of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// `[base]/$export`
    System,
    /// `[base]/Patient/$export`
    Patient,
    /// `[base]/Group/[id]/$export`
    Group(LogicalId),
}

/// An export as it was asked for.
#[derive(Clone, Debug)]
pub struct Kickoff {
    /// Of whom.
    pub level: Level,
    /// Parameters in the order given, decoded.
    pub pairs: Vec<(String, String)>,
    /// The request as it came: method of no account, URL with its query.
    pub request: String,
    /// Whether parameters that mean nothing here are ignored
    /// (`Prefer: handling=lenient`).
    pub lenient: bool,
}

/// The forms that `_outputFormat` may have (they all mean NDJSON).
const FORMATS: [&str; 3] = ["application/fhir+ndjson", "application/ndjson", "ndjson"];

fn bad(name: &str, expected: &str) -> Failure {
    Failure::invalid(IssueCode::Value, name, format!("{name} is not {expected}"))
}

/// `_typeFilter` holds queries behind each other with commas; a comma is also a part of
/// a query. A query begins with the name of a type and a question mark.
#[must_use]
pub fn filters(value: &str) -> Option<Vec<(ResourceType, String)>> {
    let mut found: Vec<(ResourceType, String)> = Vec::new();
    for part in value.split(',') {
        let begun = part.split_once('?').and_then(|(name, query)| {
            ResourceType::from_name(name.trim()).map(|ty| (ty, query.to_owned()))
        });
        match (begun, found.last_mut()) {
            (Some(one), _) => found.push(one),
            (None, Some((_, query))) => {
                query.push(',');
                query.push_str(part);
            }
            (None, None) => return None,
        }
    }
    Some(found)
}

impl Engine {
    /// Begins an export.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for a role that may not export, or may not search by what a
    /// filter names; [`Failure::NotFound`] for a Group that is absent or invisible;
    /// [`Failure::Invalid`] for a parameter that can't be used; else as
    /// [`Engine::start_job`].
    pub async fn export(&self, caller: &Caller, asked: Kickoff) -> Result<Job, Failure> {
        let tenant = self.home(caller)?;
        let mut taken = entry::of(caller, EventKind::Export);
        entry::note(&mut taken, DetailKey::Operation, KIND.to_owned());
        let mut permits = Vec::new();
        let prepared = self.prepare_export(tenant, caller, asked, (&mut taken, &mut permits));
        match prepared {
            Ok(export) => {
                if !permits.is_empty() {
                    // Value sets that filters name were read to see whether they are there.
                    self.record(tenant, caller, vec![taken], None).await?;
                }
                self.start_job(caller, KIND, export.written()).await
            }
            Err(failure) => {
                let mut e = entry::of(caller, EventKind::Export);
                entry::note(&mut e, DetailKey::Operation, KIND.to_owned());
                let outcome = match &failure {
                    Failure::Forbidden(_) => OutcomeCode::Denied,
                    Failure::NotFound => OutcomeCode::NotFound,
                    Failure::Invalid(_) => OutcomeCode::Invalid,
                    _ => return Err(failure),
                };
                Err(self.refuse(tenant, caller, e, outcome, failure).await)
            }
        }
    }

    fn prepare_export(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        asked: Kickoff,
        (e, permits): (&mut Entry, &mut Vec<Permit>),
    ) -> Result<Export, Failure> {
        // The role first: whoever may not export learns nothing from parameters.
        let may = |ty: &str| !self.policy().ever(&caller.subject, Action::Export, ty).is_empty();
        if !stored_types().any(|ty| may(ty.name())) {
            return Err(Failure::forbidden("your role may not export"));
        }
        let mut export = Export {
            request: asked.request,
            taken: caller.request.at.as_microsecond(),
            at: 0,
            patients: asked.level != Level::System,
            only: None,
            group: None,
            types: None,
            since: None,
            filters: Vec::new(),
            elements: Vec::new(),
            associated: None,
            under: self.standing(caller),
            after: 0,
            files: Vec::new(),
        };
        for (name, value) in &asked.pairs {
            if name == "_typeFilter" {
                self.type_filter(tenant, caller, &mut export, value, (&mut *e, &mut *permits))?;
            } else {
                Self::export_parameter(&mut export, &asked.level, name, value, asked.lenient)?;
            }
        }
        if let Some(types) = &export.types
            && let Some((ty, _)) = export.filters.iter().find(|(ty, _)| !types.contains(ty))
        {
            return Err(Failure::invalid(
                IssueCode::Invalid,
                "_typeFilter",
                format!("_typeFilter speaks of {ty}, which _type leaves out"),
            ));
        }
        if let Level::Group(id) = asked.level {
            let group = ResourceType::from_name("Group").ok_or(Failure::NotFound)?;
            let found = tenant.vessel.find(group, &id).map_err(Self::store_failure(caller))?;
            let found = found.filter(|f| !f.header.deleted).ok_or(Failure::NotFound)?;
            if self.decide(tenant, caller, Action::Export, &found)?.is_err() {
                return Err(Failure::NotFound);
            }
            export.group = Some((id.as_str().to_owned(), found.version.0));
        }
        export.at = tenant.vessel.records().head().map_err(Self::store_failure(caller))?.0;
        Ok(export)
    }

    /// `_typeFilter`: each is a search that the role may do. Value sets are looked up here
    /// to see that they are there, and again when they are used.
    fn type_filter(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &mut Export,
        value: &str,
        (e, permits): (&mut Entry, &mut Vec<Permit>),
    ) -> Result<(), Failure> {
        let all = filters(value).ok_or_else(|| {
            bad("_typeFilter", "searches such as Observation?category=laboratory")
        })?;
        for (ty, query) in all {
            let mut parsed = parse_query(ty, &form(&query))
                .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
            self.guard_as(caller, &parsed, Action::Export)?;
            self.look_up_codes(tenant, caller, &mut parsed, None, (&mut *e, &mut *permits))?;
            export.filters.push((ty.name().to_owned(), query));
        }
        Ok(())
    }

    fn export_parameter(
        export: &mut Export,
        level: &Level,
        name: &str,
        value: &str,
        lenient: bool,
    ) -> Result<(), Failure> {
        match name {
            "_outputFormat" => {
                // A plus of a URL that was not escaped arrives as a space.
                if !FORMATS.contains(&value.replace(' ', "+").as_str()) {
                    return Err(bad(name, "application/fhir+ndjson"));
                }
            }
            "_since" => {
                let at = span(value).filter(|_| value.contains('T'));
                let at = at.ok_or_else(|| bad(name, "an instant"))?;
                export.since = Some(at.low);
            }
            "_type" => {
                let types = export.types.get_or_insert_default();
                for one in value.split(',').map(str::trim) {
                    match ResourceType::from_name(one) {
                        Some(ty) => types.push(ty.name().to_owned()),
                        None if lenient => {}
                        None => return Err(bad(name, "names of resource types")),
                    }
                }
            }
            "_elements" => {
                for one in value.split(',').map(str::trim) {
                    let (ty, element) = match one.split_once('.') {
                        Some((ty, element)) => (Some(ty), element),
                        None => (None, one),
                    };
                    let known = ty.is_none_or(|ty| {
                        ResourceType::from_name(ty).is_some_and(|ty| {
                            let ty = ty.type_id();
                            ty.element(element).is_some() || ty.member(element).is_some()
                        })
                    });
                    let plain = !element.is_empty()
                        && element.len() <= 64
                        && element.bytes().all(|b| b.is_ascii_alphanumeric());
                    if !known || !plain {
                        return Err(bad(name, "names of elements such as Patient.birthDate"));
                    }
                    export.elements.push((ty.map(str::to_owned), element.to_owned()));
                }
            }
            "includeAssociatedData" => {
                for one in value.split(',').map(str::trim) {
                    export.associated = match one {
                        // Of several the one that leaves out least.
                        "RelevantProvenanceResources" => Some(Associated::Relevant),
                        "LatestProvenanceResources" => {
                            export.associated.or(Some(Associated::Latest))
                        }
                        _ if lenient => export.associated,
                        _ => {
                            let those = "LatestProvenanceResources or RelevantProvenanceResources";
                            return Err(bad(name, those));
                        }
                    };
                }
            }
            "patient" if *level != Level::System => {
                let only = export.only.get_or_insert_default();
                match classify(value) {
                    RefKind::Relative { type_, id, .. } if type_.name() == "Patient" => {
                        only.push(id.to_owned());
                    }
                    _ => return Err(bad(name, "a reference such as Patient/1")),
                }
            }
            "_format" | "_pretty" => {}
            _ if lenient => {}
            _ => {
                return Err(Failure::invalid(
                    IssueCode::NotSupported,
                    "",
                    "$export takes _outputFormat, _since, _type, _typeFilter, _elements and \
                     includeAssociatedData, and of patients or a group also patient",
                ));
            }
        }
        Ok(())
    }

    /// Under what the caller stands: roles, ties and policies. An export holds for as
    /// long as that does not change.
    pub(crate) fn standing(&self, caller: &Caller) -> String {
        let s = &caller.subject;
        let mut roles = s.roles.clone();
        roles.sort();
        let tie =
            |id: &Option<LogicalId>| id.as_ref().map(|i| i.as_str().to_owned()).unwrap_or_default();
        let mut parts = vec![
            hex::encode(self.policy().hash()),
            roles.join(","),
            s.unit.clone().unwrap_or_default(),
            tie(&s.practitioner),
            tie(&s.patient),
            s.purpose.code().to_owned(),
            s.mfa.to_string(),
        ];
        if let Some(scopes) = &s.scopes {
            parts.push(s.client.as_deref().unwrap_or_default().to_owned());
            parts.push(scopes.to_string());
            parts.push(tie(&scopes.patient().cloned()));
        }
        hex::encode(phial_crypto::sha256(parts.join("\n").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<&[(&str, &str)]>) {
        let found = filters(value).map(|all| {
            all.into_iter().map(|(ty, q)| (ty.name().to_owned(), q)).collect::<Vec<_>>()
        });
        let expected = expected.map(|all| {
            all.iter().map(|(t, q)| ((*t).to_owned(), (*q).to_owned())).collect::<Vec<_>>()
        });
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn filters_are_told_apart_by_the_types_they_begin_with() {
        check("Observation?code=a,b", Some(&[("Observation", "code=a,b")]));
        check(
            "Observation?code=a,b&status=final,Condition?code=c",
            Some(&[("Observation", "code=a,b&status=final"), ("Condition", "code=c")]),
        );
        check("Observation?", Some(&[("Observation", "")]));
        check("code=a", None);
        check("Nothing?code=a", None);
        check("", None);
    }
}
