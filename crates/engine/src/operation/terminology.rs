//! `$expand` and `$validate-code` on what the server holds
//! (<https://hl7.org/fhir/R4/valueset-operation-expand.html>,
//! <https://hl7.org/fhir/R4/valueset-operation-validate-code.html>,
//! <https://hl7.org/fhir/R4/codesystem-operation-validate-code.html>).
//!
//! Who may search may ask: HL7's terminology holds nothing of anyone. A stored value set
//! or code system takes part only when the caller may see it, and is written down then.

use bytes::Bytes;
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode};
use phial_fhir::terminology::{
    self, Asked, CodeSystem, Expand, NotHeld, Source, ValidateCode, ValueSet, asked, canonical,
};
use phial_fhir::{Doc, Severity};
use phial_policy::Action;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::released::Released;
use crate::terms::{Terms, trouble};

/// What an operation was sent: parameters of the URL, and a Parameters resource.
#[derive(Debug, Default)]
pub struct Sent {
    /// Of the URL, decoded.
    pub pairs: Vec<(String, String)>,
    /// The body.
    pub body: Option<Doc>,
}

impl Engine {
    /// The codes of a value set: of this record, or of the one that the parameters name.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the parameters can't be meant, and when the value set or
    /// what it needs is not held or not visible; [`Failure::NotFound`] when there is no
    /// such record for the caller; [`Failure::Forbidden`] when the role may not search;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn expand(
        &self,
        caller: &Caller,
        of: Option<LogicalId>,
        sent: Sent,
    ) -> Result<Released, Failure> {
        let at = caller.request.at.to_string();
        self.on_terminology(caller, "expand", |terms, e| {
            let asked = asked(&sent.pairs, sent.body.as_ref()).map_err(invalid)?;
            let how = Expand::of(&asked).map_err(invalid)?;
            let set = one_set(terms, of.as_ref(), &asked, e)?;
            let codes = terminology::expand(terms, &set).map_err(|t| trouble("url", &t))?;
            Ok(terminology::expansion(&set, codes, &how, &at))
        })
        .await
    }

    /// Whether a code is in a value set or, for `CodeSystem`, in a code system.
    ///
    /// # Errors
    /// As [`Engine::expand`].
    pub async fn validate_code(
        &self,
        caller: &Caller,
        ty: ResourceType,
        of: Option<LogicalId>,
        sent: Sent,
    ) -> Result<Released, Failure> {
        let on_code_system = ty.name() == "CodeSystem";
        self.on_terminology(caller, "validate-code", |terms, e| {
            let asked = asked(&sent.pairs, sent.body.as_ref()).map_err(invalid)?;
            let code = ValidateCode::of(&asked, on_code_system).map_err(invalid)?;
            let found = if on_code_system {
                let system = one_system(terms, of.as_ref(), &asked, e)?;
                code.in_code_system(&system)
            } else {
                let set = one_set(terms, of.as_ref(), &asked, e)?;
                code.in_value_set(terms, &set)
            };
            let found = found.map_err(|what| trouble("url", &what.into()))?;
            Ok(terminology::code_answer(&found))
        })
        .await
    }

    /// What both share: the role, the entry, the records that took part.
    async fn on_terminology(
        &self,
        caller: &Caller,
        name: &str,
        work: impl FnOnce(&Terms<'_>, &mut Entry) -> Result<Vec<u8>, Failure>,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Operation);
        entry::note(&mut e, DetailKey::Operation, format!("${name}"));
        if !self.policy().lists(&caller.subject, Action::Search) {
            let failure = Failure::forbidden(format!("your role may not use ${name}"));
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        let terms = Terms::new(self, tenant, caller);
        let done = work(&terms, &mut e);
        self.conclude(tenant, caller, e, terms, done).await
    }

    /// Releases what was made, or writes down why not. A look-up that failed goes before
    /// whatever was concluded without it.
    pub(crate) async fn conclude(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        mut e: Entry,
        terms: Terms<'_>,
        done: Result<Vec<u8>, Failure>,
    ) -> Result<Released, Failure> {
        let permits = terms.finish(&mut e)?;
        match done {
            Ok(body) => self.release(tenant, caller, e, &permits, Bytes::from(body), None).await,
            Err(failure) => {
                let outcome = match &failure {
                    Failure::Invalid(_) => OutcomeCode::Invalid,
                    Failure::NotFound | Failure::Gone => OutcomeCode::NotFound,
                    Failure::Forbidden(_) => OutcomeCode::Denied,
                    _ => return Err(failure),
                };
                Err(self.refuse(tenant, caller, e, outcome, failure).await)
            }
        }
    }
}

pub(crate) fn invalid(issue: Issue) -> Failure {
    Failure::Invalid(Refusal { issues: vec![Issue { severity: Severity::Error, ..issue }] })
}

/// The record that an operation is about: absent and invisible are answered alike.
pub(crate) fn record(
    terms: &Terms<'_>,
    ty: &str,
    id: &LogicalId,
    e: &mut Entry,
) -> Result<Doc, Failure> {
    let ty = ResourceType::from_name(ty).ok_or(Failure::NotFound)?;
    match terms.by_id(ty, id)? {
        Some(doc) => Ok(doc),
        None => {
            entry::absent(e, ty, terms.row(ty, id)?);
            Err(Failure::NotFound)
        }
    }
}

/// The value set that is asked of.
fn one_set(
    terms: &Terms<'_>,
    of: Option<&LogicalId>,
    asked: &Asked<'_>,
    e: &mut Entry,
) -> Result<std::sync::Arc<ValueSet>, Failure> {
    let own = asked.node("valueSet");
    let url = asked.text("url");
    one(usize::from(of.is_some()) + usize::from(own.is_some()) + usize::from(url.is_some()))?;
    if let Some(id) = of {
        return Ok(ValueSet::of(record(terms, "ValueSet", id, e)?.root()).into());
    }
    if let Some(node) = own {
        return Ok(ValueSet::of(node).into());
    }
    let url = url.unwrap_or_default();
    let (plain, version) = canonical(url);
    let version = version.or_else(|| asked.text("valueSetVersion"));
    terms
        .value_set(plain, version)
        .ok_or_else(|| trouble("url", &NotHeld::ValueSet(plain.into()).into()))
}

/// The code system that is asked of.
fn one_system(
    terms: &Terms<'_>,
    of: Option<&LogicalId>,
    asked: &Asked<'_>,
    e: &mut Entry,
) -> Result<std::sync::Arc<CodeSystem>, Failure> {
    let own = asked.node("codeSystem");
    let url = asked.text("url");
    one(usize::from(of.is_some()) + usize::from(own.is_some()) + usize::from(url.is_some()))?;
    let nothing =
        || Failure::invalid(IssueCode::NotSupported, "codeSystem", "there are no codes in it");
    if let Some(id) = of {
        let doc = record(terms, "CodeSystem", id, e)?;
        return CodeSystem::of(doc.root()).map(Into::into).ok_or_else(nothing);
    }
    if let Some(node) = own {
        return CodeSystem::of(node).map(Into::into).ok_or_else(nothing);
    }
    let (plain, version) = canonical(url.unwrap_or_default());
    let version = version.or_else(|| asked.text("version"));
    terms
        .code_system(plain, version)
        .ok_or_else(|| trouble("url", &NotHeld::CodeSystem(plain.into()).into()))
}

fn one(named: usize) -> Result<(), Failure> {
    if named == 1 {
        return Ok(());
    }
    let text = "exactly one value set or code system is to be named: by url, by id, or sent along";
    Err(Failure::invalid(IssueCode::Required, "url", text))
}
