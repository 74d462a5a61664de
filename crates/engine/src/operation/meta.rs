//! `$meta`, `$meta-add`, `$meta-delete`: profiles, tags and security labels by
//! themselves (<https://hl7.org/fhir/R4/resource-operation-meta.html>,
//! <https://hl7.org/fhir/R4/resource-operation-meta-add.html>,
//! <https://hl7.org/fhir/R4/resource-operation-meta-delete.html>).
//!
//! Adding and removing are writes like any other: a new version, announced before it is
//! stored, permitted over the facts of the old version and of the new one. So nobody
//! puts a label on, or takes one off, who may not write the record under both. Of type
//! and system, what is in use is gathered from records that the caller may see, each
//! named in the audit log.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{ClassSet, DataClass, LogicalId, RowId};
use phial_fhir::capability::stored_types;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::json::{Doc, Node};
use phial_fhir::search::parse_query;
use phial_fhir::{Edits, Limits};
use phial_policy::{Action, Permit};
use phial_store::Error as StoreError;
use phial_store::vessel::Unopened;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::search::json_string;
use crate::operation::parameters::parameters;
use crate::released::Released;
use crate::write::Write;

/// The most records that `$meta` of a type or of the system looks at.
const MOST: usize = 5_000;
/// How often a change is tried again when someone else's write came first.
const TRIES: usize = 4;

/// What is done to a record's `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `$meta-add`
    Add,
    /// `$meta-delete`
    Delete,
}

impl Engine {
    /// The `meta` of one record, as Parameters.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub async fn meta(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = operation(caller, "meta");
        let row = tenant.vessel.row_id(ty, id).map_err(Self::store_failure(caller))?;
        let Some(found) = tenant.vessel.find_row(row).map_err(Self::store_failure(caller))? else {
            entry::absent(&mut e, ty, row);
            let outcome = OutcomeCode::NotFound;
            return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
        };
        let permit = match self.decide(tenant, caller, Action::Read, &found)? {
            Ok(permit) => permit,
            Err(denial) => {
                entry::denied(&mut e, &found, &denial);
                let outcome = OutcomeCode::Denied;
                return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
            }
        };
        if found.header.deleted {
            entry::target(&mut e, &found, &permit);
            return Err(self.refuse(tenant, caller, e, OutcomeCode::NotFound, Failure::Gone).await);
        }
        let doc = self.opened_meta(tenant, caller, &permit, &found, &mut e)?;
        let body = returned(&Labels::of(doc.root().member("meta")).text(doc.root().member("meta")));
        self.release(tenant, caller, e, &[permit], body, None).await
    }

    /// Profiles, tags and security labels in use on records of a type, or of all, that
    /// the caller may see.
    ///
    /// # Errors
    /// [`Failure::Invalid`] (`too-costly`) when more than 5,000 records bear any;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn meta_in_use(
        &self,
        caller: &Caller,
        ty: Option<ResourceType>,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = operation(caller, "meta");
        match self.gathered(tenant, caller, ty, &mut e) {
            Ok((labels, permits)) => {
                let body = returned(&labels.text(None));
                self.release(tenant, caller, e, &permits, body, None).await
            }
            Err(failure @ Failure::Invalid(_)) => {
                let e = operation(caller, "meta");
                Err(self.refuse(tenant, caller, e, OutcomeCode::Invalid, failure).await)
            }
            Err(failure) => Err(failure),
        }
    }

    fn gathered(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: Option<ResourceType>,
        e: &mut Entry,
    ) -> Result<(Labels, Vec<Permit>), Failure> {
        let failed = Self::store_failure(caller);
        let at = tenant.vessel.catch_up().map_err(&failed)?;
        let access = self.access(tenant, caller, Action::Search)?;
        let viewer = caller.viewer();
        let mut seen: HashSet<RowId> = HashSet::new();
        let mut labels = Labels::default();
        let mut permits = Vec::new();
        for ty in stored_types().filter(|t| ty.is_none_or(|ty| ty == *t)) {
            if self.policy().ever(&caller.subject, Action::Search, ty.name()).is_empty() {
                continue;
            }
            for code in ["_profile", "_security", "_tag"] {
                let pair = (format!("{code}:missing"), "false".to_owned());
                let query = parse_query(ty, &[pair])
                    .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
                let most = u32::try_from(MOST + 1).unwrap_or(u32::MAX);
                let page = tenant
                    .vessel
                    .search(&query, &viewer, &access, at, None, most, false)
                    .map_err(&failed)?;
                for hit in page.hits {
                    if !seen.insert(hit.row) {
                        continue;
                    }
                    if seen.len() > MOST {
                        return Err(Failure::invalid(
                            IssueCode::TooCostly,
                            "",
                            format!(
                                "more than {MOST} records bear profiles, tags or labels: search \
                                 by _profile, _tag or _security"
                            ),
                        ));
                    }
                    let found =
                        tenant.vessel.find_version(hit.row, hit.version).map_err(&failed)?;
                    let Some(found) = found else { continue };
                    let Ok(permit) = self.decide(tenant, caller, Action::Search, &found)? else {
                        continue;
                    };
                    let doc = self.opened_meta(tenant, caller, &permit, &found, e)?;
                    labels.join(&Labels::of(doc.root().member("meta")));
                    permits.push(permit);
                }
            }
        }
        Ok((labels, permits))
    }

    /// The record with nothing but its administrative part open.
    fn opened_meta(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        permit: &Permit,
        found: &Unopened,
        e: &mut Entry,
    ) -> Result<Doc, Failure> {
        let wanted = ClassSet::of(DataClass::Administrative);
        let failed = Self::store_failure(caller);
        let opened = tenant.vessel.open_part(permit, found, wanted).map_err(&failed)?;
        entry::delivered(e, found, permit, opened.given);
        parsed(opened.body()).map_err(failed)
    }

    /// Adds profiles, tags and security labels to a record, or takes them away, and
    /// gives its `meta` afterwards when the caller may read it. What is there already, or
    /// not there, is left as it is; when that is all, no version is made.
    ///
    /// # Errors
    /// [`Failure::Invalid`] without a parameter `meta`; else as [`Engine::update`].
    pub async fn change_meta(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
        change: Change,
        asked: &Doc,
    ) -> Result<Option<Released>, Failure> {
        let tenant = self.home(caller)?;
        let asked = asked_meta(asked)?;
        for _ in 0..TRIES {
            let (found, permit) = self.changeable(tenant, caller, ty, id).await?;
            let failed = Self::store_failure(caller);
            let opened = tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
            let doc = parsed(opened.body()).map_err(&failed)?;
            let Some(text) = changed(&doc, change, &asked)? else {
                return self.meta_if_readable(caller, ty, id).await;
            };
            let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
            let body = Doc::parse(&text, &limits)
                .map_err(|issues| Failure::Invalid(Refusal { issues }))?;
            let write =
                Write { if_match: Some(found.version), ..Write::update(ty, id.clone(), body) };
            match self.write_all(caller, EventKind::Update, vec![write], None).await {
                // Someone else's write came first: what was looked at is no more.
                Err(Failure::Conflict { .. }) => continue,
                Err(failure) => return Err(failure),
                Ok(_) => {}
            }
            return self.meta_if_readable(caller, ty, id).await;
        }
        Err(Failure::Conflict {
            precondition: false,
            refusal: Refusal::new(
                IssueCode::Conflict,
                "",
                "the record was changed by someone else at the same time",
            ),
        })
    }

    /// Whoever may write a record need not be one who may read it.
    async fn meta_if_readable(
        &self,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
    ) -> Result<Option<Released>, Failure> {
        match self.meta(caller, ty, id).await {
            Ok(released) => Ok(Some(released)),
            Err(Failure::NotFound | Failure::Gone) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The current version with the permit to replace it, or the answer that an update
    /// would get.
    async fn changeable(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        ty: ResourceType,
        id: &LogicalId,
    ) -> Result<(Unopened, Permit), Failure> {
        let mut refused = entry::of(caller, EventKind::Denied);
        let row = tenant.vessel.row_id(ty, id).map_err(Self::store_failure(caller))?;
        let found = tenant.vessel.find_row(row).map_err(Self::store_failure(caller))?;
        let failure = match found {
            None => {
                entry::absent(&mut refused, ty, row);
                Failure::NotFound
            }
            Some(found) => match self.decide(tenant, caller, Action::Update, &found)? {
                Ok(permit) if !found.header.deleted => return Ok((found, permit)),
                Ok(permit) => {
                    entry::target(&mut refused, &found, &permit);
                    Failure::Gone
                }
                Err(denial) => {
                    entry::denied(&mut refused, &found, &denial);
                    let readable = self.decide(tenant, caller, Action::Read, &found)?.is_ok();
                    if readable && !found.header.deleted {
                        Failure::forbidden(format!("your role may not update this {}", ty.name()))
                    } else {
                        Failure::NotFound
                    }
                }
            },
        };
        Err(self.refuse_write(tenant, caller, EventKind::Update, refused, failure).await)
    }
}

fn operation(caller: &Caller, name: &str) -> Entry {
    let mut e = entry::of(caller, EventKind::Operation);
    entry::note(&mut e, DetailKey::Operation, name.to_owned());
    e
}

fn parsed(body: &[u8]) -> Result<Doc, StoreError> {
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    Doc::parse(body, &limits)
        .map_err(|_| StoreError::Corrupt("a record that was opened is no JSON"))
}

fn returned(meta: &str) -> Bytes {
    let text = format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"return","valueMeta":{meta}}}]}}"#
    );
    Bytes::from_owner(Zeroizing::new(text.into_bytes()))
}

/// System and code of a Coding, by which two are the same.
type Code = (Option<String>, Option<String>);

/// Profiles, tags and security labels: each with its text as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Labels {
    profile: Vec<String>,
    security: Vec<(Code, String)>,
    tag: Vec<(Code, String)>,
}

/// Says of a view that something was left out of it; no part of the record.
const SUBSETTED: (&str, &str) =
    ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "SUBSETTED");

impl Labels {
    fn of(meta: Option<Node<'_>>) -> Self {
        let list = |name: &str| -> Vec<(Code, String)> {
            let items = meta.and_then(|m| m.member(name)).into_iter().flat_map(Node::items);
            let mut all: Vec<(Code, String)> = Vec::new();
            for node in items {
                let text = |name: &str| {
                    node.member(name).and_then(|n| n.as_str()).map(std::borrow::Cow::into_owned)
                };
                let code = (text("system"), text("code"));
                let mark = code.0.as_deref() == Some(SUBSETTED.0)
                    && code.1.as_deref() == Some(SUBSETTED.1);
                if !mark && !all.iter().any(|(known, _)| *known == code) {
                    all.push((code, node.text().to_owned()));
                }
            }
            all
        };
        let profile = meta.and_then(|m| m.member("profile")).into_iter().flat_map(Node::items);
        let mut profiles: Vec<String> = Vec::new();
        for p in profile.filter_map(|p| p.as_str()) {
            if !profiles.iter().any(|known| *known == *p) {
                profiles.push(p.into_owned());
            }
        }
        Labels { profile: profiles, security: list("security"), tag: list("tag") }
    }

    /// Adds what is not there.
    fn join(&mut self, other: &Labels) {
        let known: BTreeSet<String> = self.profile.iter().cloned().collect();
        self.profile.extend(other.profile.iter().filter(|p| !known.contains(*p)).cloned());
        for (to, from) in [(&mut self.security, &other.security), (&mut self.tag, &other.tag)] {
            for (code, text) in from {
                if !to.iter().any(|(known, _)| known == code) {
                    to.push((code.clone(), text.clone()));
                }
            }
        }
    }

    /// Takes away what is there.
    fn part(&mut self, other: &Labels) {
        self.profile.retain(|p| !other.profile.contains(p));
        for (to, from) in [(&mut self.security, &other.security), (&mut self.tag, &other.tag)] {
            to.retain(|(code, _)| !from.iter().any(|(other, _)| other == code));
        }
    }

    /// A Meta with these, and with what else `before` has, as it was sent.
    fn text(&self, before: Option<Node<'_>>) -> String {
        const OWN: [&str; 3] = ["profile", "security", "tag"];
        let mut members: Vec<String> = before
            .into_iter()
            .flat_map(|m| m.members().collect::<Vec<_>>())
            .filter(|(name, _)| !OWN.contains(name) && !OWN.contains(&name.trim_start_matches('_')))
            .map(|(name, node)| format!("{}:{}", json_string(name), node.text()))
            .collect();
        let mut list = |name: &str, items: Vec<String>| {
            if !items.is_empty() {
                members.push(format!("\"{name}\":[{}]", items.join(",")));
            }
        };
        list("profile", self.profile.iter().map(|p| json_string(p)).collect());
        list("security", self.security.iter().map(|(_, t)| t.clone()).collect());
        list("tag", self.tag.iter().map(|(_, t)| t.clone()).collect());
        format!("{{{}}}", members.join(","))
    }
}

/// The Meta that the operation is called with.
fn asked_meta(asked: &Doc) -> Result<Labels, Failure> {
    let all = parameters(asked)?;
    let meta = all.iter().find(|(name, _)| name == "meta").and_then(|(_, n)| n.member("valueMeta"));
    match meta.filter(|m| m.is_object()) {
        Some(meta) => Ok(Labels::of(Some(meta))),
        None => Err(Failure::invalid(
            IssueCode::Required,
            "Parameters.parameter",
            "the operation needs a parameter meta with a valueMeta",
        )),
    }
}

/// The resource with the change made; `None` when it changes nothing.
fn changed(doc: &Doc, change: Change, asked: &Labels) -> Result<Option<Vec<u8>>, Failure> {
    let root = doc.root();
    let meta = root.member("meta");
    let before = Labels::of(meta);
    let mut after = before.clone();
    match change {
        Change::Add => after.join(asked),
        Change::Delete => after.part(asked),
    }
    // What was stored has a `meta`: its version is in it.
    let Some(meta) = meta.filter(|_| after != before) else { return Ok(None) };
    let mut edits = Edits::new();
    edits.replace(meta.range(), after.text(Some(meta)));
    edits.apply(doc).map(Some).map_err(|_| {
        Failure::invalid(IssueCode::Exception, "", "this record's meta can't be changed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Doc {
        Doc::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn check(record: &str, change: Change, meta: &str, expected: Option<&str>) {
        let asked = doc(&format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"meta","valueMeta":{meta}}}]}}"#
        ));
        let asked = asked_meta(&asked).unwrap();
        let got = changed(&doc(record), change, &asked).unwrap();
        assert_eq!(got.map(|b| String::from_utf8(b).unwrap()).as_deref(), expected);
    }

    const RECORD: &str = concat!(
        r#"{"resourceType":"Basic","meta":{"versionId":"1","profile":["p"],"#,
        r#""tag":[{"system":"s","code":"a","display":"A"}]},"code":{"text":"1.50"}}"#
    );

    #[test]
    fn what_is_not_there_is_added_and_the_rest_stays_as_it_was_sent() {
        check(
            RECORD,
            Change::Add,
            r#"{"profile":["p","q"],"tag":[{"system":"s","code":"a"}],"security":[{"system":"t","code":"R"}]}"#,
            Some(concat!(
                r#"{"resourceType":"Basic","meta":{"versionId":"1","profile":["p","q"],"#,
                r#""security":[{"system":"t","code":"R"}],"#,
                r#""tag":[{"system":"s","code":"a","display":"A"}]},"code":{"text":"1.50"}}"#
            )),
        );
    }

    #[test]
    fn what_is_there_is_removed_by_system_and_code() {
        check(
            RECORD,
            Change::Delete,
            r#"{"tag":[{"system":"s","code":"a","display":"other words"}]}"#,
            Some(concat!(
                r#"{"resourceType":"Basic","meta":{"versionId":"1","profile":["p"]},"#,
                r#""code":{"text":"1.50"}}"#
            )),
        );
    }

    #[test]
    fn what_changes_nothing_makes_no_version() {
        check(RECORD, Change::Add, r#"{"tag":[{"system":"s","code":"a"}]}"#, None);
        check(RECORD, Change::Delete, r#"{"tag":[{"system":"x","code":"a"}]}"#, None);
        check(RECORD, Change::Delete, r#"{"tag":[{"code":"a"}]}"#, None);
    }
}
