//! `$validate`: whether a resource is one that R4, the profiles it claims and the profiles
//! asked for would have
//! (<https://hl7.org/fhir/R4/resource-operation-validate.html>).
//!
//! What is posted touches no record: it is checked in memory and forgotten, and nothing of
//! it stands in the answer, in the audit entry or in a log. It is a rehearsal of a write, so
//! who may write may rehearse. A stored record is read for it like any other.

use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::LogicalId;
use phial_fhir::definitions::ResourceType;
use phial_fhir::fhirpath::Moment;
use phial_fhir::issue::{Issue, IssueCode, operation_outcome};
use phial_fhir::profile::{self, World};
use phial_fhir::terminology::{asked, canonical};
use phial_fhir::{Doc, Severity};
use phial_policy::Action;

use super::terminology::{Sent, invalid, record};
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::released::Released;
use crate::terms::Terms;

/// The parameters that are known.
const KNOWN: [&str; 3] = ["resource", "mode", "profile"];

impl Engine {
    /// Validates what was sent or, without any, the record of this id.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the parameters can't be meant or a profile is not held;
    /// [`Failure::NotFound`] when there is no such record for the caller;
    /// [`Failure::Forbidden`] when the role may not write (or, of a record, read);
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached. What is
    /// wrong with the resource is no error but the answer.
    pub async fn validate(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: Option<LogicalId>,
        sent: Sent,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Operation);
        entry::note(&mut e, DetailKey::Operation, "$validate".to_owned());
        let lists = |action| self.policy().lists(&caller.subject, action);
        let rehearses = lists(Action::Create) || lists(Action::Update);
        let reads = id.is_some() && sent.body.is_none() && lists(Action::Read);
        if !rehearses && !reads {
            let failure = Failure::forbidden("your role may not use $validate");
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        let terms = Terms::new(self, tenant, caller);
        let done = validate(&terms, caller, ty, id.as_ref(), &sent, &mut e);
        self.conclude(tenant, caller, e, terms, done).await
    }
}

/// What mode asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Content,
    Update,
    Delete,
}

fn validate(
    terms: &Terms<'_>,
    caller: &Caller,
    ty: ResourceType,
    id: Option<&LogicalId>,
    sent: &Sent,
    e: &mut Entry,
) -> Result<Vec<u8>, Failure> {
    // A resource by itself, or among parameters. A Parameters resource is what is to be
    // validated only where its type is asked of and it holds no `resource`.
    let is_parameters = |doc: &Doc| {
        let root = doc.root();
        let named =
            root.member("resourceType").and_then(|t| t.as_str()).as_deref() == Some("Parameters");
        let parameters = root.member("parameter").into_iter().flat_map(|p| p.items());
        let mut names = parameters.filter_map(|p| p.member("name")?.as_str());
        named && (ty.name() != "Parameters" || names.any(|n| n == "resource"))
    };
    let parameters = sent.body.as_ref().filter(|doc| is_parameters(doc));
    let asked = asked(&sent.pairs, parameters).map_err(invalid)?;
    asked.only(&KNOWN).map_err(invalid)?;
    let mode = match asked.text("mode") {
        None | Some("create") => Mode::Content,
        Some("update") => Mode::Update,
        Some("delete") => Mode::Delete,
        Some("profile") if asked.text("profile").is_some() => Mode::Content,
        Some("profile") => {
            let text = "the mode profile needs a profile";
            return Err(Failure::invalid(IssueCode::Required, "profile", text));
        }
        Some(_) => {
            let text = "create, update, delete or profile is expected";
            return Err(Failure::invalid(IssueCode::Value, "mode", text));
        }
    };
    if mode == Mode::Delete {
        let Some(id) = id else {
            let text = "the mode delete is for a record: use it with an id";
            return Err(Failure::invalid(IssueCode::Invalid, "mode", text));
        };
        return terms.deletable(ty, id, e).map(|()| operation_outcome(&[]));
    }
    let posted = match (parameters, &sent.body) {
        (Some(_), _) => asked.node("resource").map(Doc::from_node),
        (None, body) => body.clone(),
    };
    let mut issues = Vec::new();
    let doc = match (posted, id) {
        (Some(doc), _) => doc,
        (None, Some(id)) => {
            let doc = record(terms, ty.name(), id, e)?;
            if terms.withheld() {
                issues.push(Issue {
                    severity: Severity::Warning,
                    code: IssueCode::Suppressed,
                    path: ty.name().to_owned(),
                    text: "your role sees this record in part: what it does not see is not there \
                           for the check"
                        .to_owned(),
                });
            }
            doc
        }
        (None, None) => {
            let text = "there is no resource to validate";
            return Err(Failure::invalid(IssueCode::Required, "resource", text));
        }
    };
    let mut profiles = Vec::new();
    if let Some(url) = asked.text("profile") {
        let (plain, version) = canonical(url);
        let found = terms.structure(plain, version);
        profiles.push(found.ok_or_else(|| {
            let text = "this profile is not held here, or rests on one that is not";
            Failure::invalid(IssueCode::NotSupported, "profile", text)
        })?);
    }
    let of_type =
        doc.root().member("resourceType").and_then(|t| t.as_str()).as_deref() == Some(ty.name());
    if !of_type {
        let text = format!("a {} is expected: the URL says so", ty.name());
        issues.push(Issue::error(IssueCode::Invalid, "resourceType", text));
    }
    let same = |id: &LogicalId| {
        doc.root().member("id").and_then(|n| n.as_str()).is_some_and(|given| given == id.as_str())
    };
    if mode == Mode::Update && id.is_some_and(|id| !same(id)) {
        let text = "an update needs the record's own id in the resource";
        issues.push(Issue::error(IssueCode::Value, "id", text));
    }
    let now = Moment::date_time(&caller.request.at.to_string());
    let checked = profile::Asked { profiles, claimed: true, now, budget: None };
    issues.extend(profile::validate(doc, &checked, terms));
    issues.sort_by_key(|i| !matches!(i.severity, Severity::Error | Severity::Fatal));
    Ok(operation_outcome(&issues))
}
