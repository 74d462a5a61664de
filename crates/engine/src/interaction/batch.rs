//! `batch`: several independent interactions in one request
//! (<https://hl7.org/fhir/R4/http.html#transaction>). Also what batch and
//! transaction share: reading the Bundle's entries and writing the answer.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use phial_audit::{EventKind, OutcomeCode};
use phial_base::{LogicalId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode, Severity, operation_outcome};
use phial_fhir::search::span;
use phial_fhir::{Doc, Edits, Node, Patch, Subset};
use phial_policy::Action;

use crate::caller::Caller;
use crate::condition::form;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::Engine;
use crate::interaction::changes::Changes;
use crate::interaction::history::History;
use crate::interaction::search::{Search, json_string};
use crate::interaction::search_system::SystemSearch;
use crate::released::Released;
use crate::view::part_of_one;
use crate::write::{Method, Return, Write, Written};

/// What a Bundle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// All or nothing.
    Transaction,
    /// Each by itself.
    Batch,
}

/// The kind of a Bundle that is posted to the base URL.
///
/// # Errors
/// [`Failure::Invalid`] for another resource or another kind of Bundle.
pub fn bundle_kind(doc: &Doc) -> Result<BundleKind, Failure> {
    let root = doc.root();
    if text(root, "resourceType").as_deref() != Some("Bundle") {
        return Err(Failure::invalid(
            IssueCode::Invalid,
            "resourceType",
            "only a Bundle can be posted here; post a resource to its type",
        ));
    }
    match text(root, "type").as_deref() {
        Some("transaction") => Ok(BundleKind::Transaction),
        Some("batch") => Ok(BundleKind::Batch),
        _ => Err(Failure::invalid(
            IssueCode::Invalid,
            "Bundle.type",
            "only transaction and batch Bundles can be posted",
        )),
    }
}

/// One entry of a Bundle, understood.
pub(crate) enum Asked {
    Write(Write),
    Read(ResourceType, LogicalId, Option<Subset>),
    Vread(ResourceType, LogicalId, Version, Option<Subset>),
    History(ResourceType, LogicalId, Vec<(String, String)>),
    Changes(Option<ResourceType>, Vec<(String, String)>),
    Search(ResourceType, Option<(ResourceType, LogicalId)>, Vec<(String, String)>),
    SearchSystem(Vec<(String, String)>),
}

/// An entry, and what the client has already of what it asks for.
pub(crate) type Entry = (Asked, Known);

/// How the entries of a Bundle are done and answered.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The FHIR base URL, as the client names it.
    pub base: Arc<str>,
    /// What the answer to each write carries.
    pub returning: Return,
    /// Whether a conditional delete may end more than one record.
    pub delete_many: bool,
}

/// What became of one entry.
pub(crate) enum Answered {
    /// A write, and what the client would have of it beside the status.
    Written(Written, Given),
    Released(Released),
    /// What the client has already.
    Unchanged(Released),
    Failed(Failure),
}

/// What the answer to a write carries.
pub(crate) enum Given {
    Nothing,
    Record(Released),
    Outcome,
}

fn text(node: Node<'_>, member: &str) -> Option<String> {
    node.member(member).and_then(|n| n.as_str().map(std::borrow::Cow::into_owned))
}

impl Engine {
    /// Does each entry by itself; one that fails does not keep the others from
    /// succeeding.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when the Bundle itself can't be read, [`Failure::Forbidden`]
    /// when the role sends no Bundles, and [`Failure::Busy`] when a store, the keys or the
    /// audit log can't be reached for any entry.
    pub async fn batch(
        &self,
        caller: &Caller,
        doc: &Doc,
        terms: &Terms,
    ) -> Result<Released, Failure> {
        self.may_send(caller, EventKind::Batch).await?;
        let asked = self.entries(doc, Some(terms))?;
        let names: HashSet<String> = asked
            .iter()
            .filter_map(|one| match one {
                Ok((Asked::Write(write), _)) => write.full_url.clone(),
                _ => None,
            })
            .collect();
        let mut answered = Vec::with_capacity(asked.len());
        for one in asked {
            let answer = match one.and_then(|one| independent(one, &names)) {
                Ok((one, known)) => self.answer(caller, one, &known, terms).await,
                Err(failure) => Answered::Failed(failure),
            };
            answered.push(answer);
        }
        // What was done before a store went away stays done, and is told. When nothing
        // was, the whole is unavailable.
        let busy = |a: &Answered| matches!(a, Answered::Failed(Failure::Busy(_)));
        if !answered.is_empty() && answered.iter().all(busy) {
            return Err(Failure::Busy(None));
        }
        Ok(assemble("batch-response", answered, &terms.base))
    }

    /// Refuses a Bundle from a role that sends none, before its entries are looked at.
    pub(crate) async fn may_send(&self, caller: &Caller, kind: EventKind) -> Result<(), Failure> {
        if self.policy().allows(&caller.subject, Action::Transaction) {
            return Ok(());
        }
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::Denied);
        e.action = Some(kind);
        let failure = Failure::forbidden("your role may not send a batch or transaction");
        Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await)
    }

    /// What the answer to a write that was done carries.
    pub(crate) async fn give_back(
        &self,
        caller: &Caller,
        written: Written,
        returning: Return,
    ) -> Answered {
        let given = match returning {
            Return::Minimal => Given::Nothing,
            Return::Outcome => Given::Outcome,
            // The write stands, whether or not it can be read back.
            Return::Representation => match self.read_back(caller, &written).await {
                Ok(Some(released)) => Given::Record(released),
                Ok(None) | Err(_) => Given::Nothing,
            },
        };
        Answered::Written(written, given)
    }

    pub(crate) async fn answer(
        &self,
        caller: &Caller,
        asked: Asked,
        known: &Known,
        terms: &Terms,
    ) -> Answered {
        let base = &terms.base;
        let released = match asked {
            Asked::Write(mut write) => {
                // In a batch an entry may not refer to another, so its name means nothing.
                write.full_url = None;
                return match self.write(caller, write, None).await {
                    Ok(written) => self.give_back(caller, written, terms.returning).await,
                    Err(failure) => Answered::Failed(failure),
                };
            }
            Asked::Read(ty, id, part) => self.read_part(caller, ty, &id, part.as_ref()).await,
            Asked::Vread(ty, id, version, part) => {
                self.vread_part(caller, ty, &id, version, part.as_ref()).await
            }
            Asked::History(ty, id, pairs) => {
                let history = History { ty, id, pairs, base: base.to_string() };
                self.history(caller, history).await
            }
            Asked::Changes(ty, pairs) => {
                self.changes(caller, Changes { ty, pairs, base: base.to_string() }).await
            }
            Asked::Search(ty, compartment, pairs) => {
                let base = base.to_string();
                let search = Search { ty, pairs, compartment, base, lenient: false };
                self.search(caller, search).await
            }
            Asked::SearchSystem(pairs) => {
                let search = SystemSearch { pairs, base: base.to_string(), lenient: false };
                self.search_system(caller, search).await
            }
        };
        match released {
            Ok(released) if known.covers(&released) => Answered::Unchanged(released),
            Ok(released) => Answered::Released(released),
            Err(failure) => Answered::Failed(failure),
        }
    }

    /// The entries of a Bundle, each understood or refused with its path.
    /// Of an import, which is asked for nothing, `terms` are none.
    pub(crate) fn entries(
        &self,
        doc: &Doc,
        terms: Option<&Terms>,
    ) -> Result<Vec<Result<Entry, Failure>>, Failure> {
        let Some(entries) = doc.root().member("entry") else { return Ok(Vec::new()) };
        let mut asked = Vec::new();
        for (i, entry) in entries.items().enumerate() {
            if i >= self.settings().max_bundle_entries {
                return Err(Failure::invalid(
                    IssueCode::TooLong,
                    "Bundle.entry",
                    format!(
                        "a Bundle may have at most {} entries: send several",
                        self.settings().max_bundle_entries
                    ),
                ));
            }
            asked.push(understand(entry, &format!("Bundle.entry[{i}]"), terms));
        }
        Ok(asked)
    }
}

/// Refuses an entry of a batch that refers to an entry by its `fullUrl`: that record has
/// no id yet, and whether it will ever exist is not this entry's to depend on
/// (<https://hl7.org/fhir/R4/http.html#trules>).
fn independent(asked: (Asked, Known), names: &HashSet<String>) -> Result<Entry, Failure> {
    if let (Asked::Write(Write { body: Some(doc), place, .. }), _) = &asked {
        let mut refers = false;
        Edits::new().rewrite_references(doc, &mut |link| {
            refers |= link.text().starts_with("urn:") && names.contains(link.text());
            None
        });
        if refers {
            return Err(Failure::invalid(
                IssueCode::BusinessRule,
                place.clone(),
                "an entry of a batch can't refer to another: send them as a transaction",
            ));
        }
    }
    Ok(asked)
}

/// Why entries were refused, for the fuzzer: each that was.
#[cfg(feature = "fuzz")]
pub(crate) fn understood(doc: &Doc, terms: Option<&Terms>, most: usize) -> Vec<Option<Failure>> {
    let entries = doc.root().member("entry").into_iter().flat_map(Node::items).take(most);
    entries
        .enumerate()
        .map(|(i, entry)| understand(entry, &format!("Bundle.entry[{i}]"), terms).err())
        .collect()
}

fn understand(entry: Node<'_>, place: &str, terms: Option<&Terms>) -> Result<Entry, Failure> {
    let bad = |path: &str, text: &str| {
        Failure::invalid(IssueCode::Invalid, format!("{place}.{path}"), text)
    };
    let request =
        entry.member("request").ok_or_else(|| bad("request", "each entry needs a request"))?;
    let method = text(request, "method")
        .ok_or_else(|| bad("request.method", "each request needs a method"))?;
    let url = text(request, "url").ok_or_else(|| bad("request.url", "each request needs a url"))?;
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (url.as_str(), None),
    };
    // Relative to the base, or the whole URL of something here.
    let own = terms
        .and_then(|t| path.strip_prefix(&*t.base))
        .filter(|p| p.is_empty() || p.starts_with('/'));
    let path = own.unwrap_or(path);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let known = Known {
        tag: text(request, "ifNoneMatch"),
        since: text(request, "ifModifiedSince").and_then(|t| span(&t)).map(|s| s.low),
    };
    if method == "GET" && segments == [""] {
        return Ok((Asked::SearchSystem(form(query.unwrap_or(""))), known));
    }
    if method == "GET" && segments == ["_history"] {
        return Ok((Asked::Changes(None, form(query.unwrap_or(""))), known));
    }
    let ty = segments
        .first()
        .and_then(|t| ResourceType::from_name(t))
        .ok_or_else(|| bad("request.url", "the url does not start with a resource type"))?;
    let id = |s: &str| {
        LogicalId::new(s).map_err(|_| bad("request.url", "the url has no valid logical id"))
    };
    let version = |s: &str| {
        s.parse().map(Version).map_err(|_| bad("request.url", "the url has no valid version"))
    };
    let if_match = match text(request, "ifMatch") {
        Some(tag) => Some(
            parse_etag(&tag)
                .ok_or_else(|| bad("request.ifMatch", "expected an ETag such as W/\"3\""))?,
        ),
        None => None,
    };
    let write = |method, id: Option<LogicalId>| -> Result<Asked, Failure> {
        let resource = match (method, entry.member("resource")) {
            (Method::Delete, _) => None,
            (_, None) => return Err(bad("resource", "a resource is needed")),
            (_, Some(node)) if node.is_object() => Some(Doc::from_node(node)),
            (_, Some(_)) => return Err(bad("resource", "a resource is a JSON object")),
        };
        let mut write = Write::new(method, ty, id);
        write.place = format!("{place}.resource");
        if method == Method::Patch {
            let patch = resource.as_ref().map(Patch::resource).transpose();
            write.patch = patch.map_err(|mut issues| {
                for issue in &mut issues {
                    issue.path = format!("{}.{}", write.place, issue.path);
                }
                Failure::Invalid(Refusal { issues })
            })?;
        } else {
            write.body = resource;
        }
        write.if_match = if_match;
        write.if_none_match = known.tag.as_deref() == Some("*");
        write.condition = match method {
            Method::Create => text(request, "ifNoneExist"),
            _ if write.id.is_none() => Some(query.unwrap_or("").to_owned()),
            _ => None,
        };
        write.many = terms.is_some_and(|t| t.delete_many);
        write.full_url = text(entry, "fullUrl");
        write.base = terms.map(|t| Arc::clone(&t.base));
        Ok(Asked::Write(write))
    };
    let part = |query: Option<&str>| part_of_one(query.unwrap_or(""));
    let asked = match (method.as_str(), segments.as_slice(), query) {
        ("POST", [_], None) => write(Method::Create, None),
        ("PUT", [_, s], None) => write(Method::Update, Some(id(s)?)),
        ("PATCH", [_, s], None) => write(Method::Patch, Some(id(s)?)),
        ("DELETE", [_, s], None) => write(Method::Delete, Some(id(s)?)),
        ("PUT", [_], Some(_)) => write(Method::Update, None),
        ("PATCH", [_], Some(_)) => write(Method::Patch, None),
        ("DELETE", [_], Some(_)) => write(Method::Delete, None),
        ("GET", [_, "_history"], query) => Ok(Asked::Changes(Some(ty), form(query.unwrap_or("")))),
        ("GET", [_, s], query) => Ok(Asked::Read(ty, id(s)?, part(query)?)),
        ("GET", [_, s, "_history", v], query) => {
            Ok(Asked::Vread(ty, id(s)?, version(v)?, part(query)?))
        }
        ("GET", [_, s, "_history"], query) => {
            Ok(Asked::History(ty, id(s)?, form(query.unwrap_or(""))))
        }
        ("GET", [_], query) => Ok(Asked::Search(ty, None, form(query.unwrap_or("")))),
        ("GET", [_, s, of], query) if ResourceType::from_name(of).is_some() => {
            let of = ResourceType::from_name(of).ok_or_else(|| bad("request.url", "no type"))?;
            Ok(Asked::Search(of, Some((ty, id(s)?)), form(query.unwrap_or(""))))
        }
        ("PUT" | "DELETE" | "PATCH" | "POST", ..) => Err(Failure::invalid(
            IssueCode::NotSupported,
            format!("{place}.request"),
            "this combination of method and url is not supported",
        )),
        _ => Err(bad("request.method", "expected GET, POST, PUT, PATCH or DELETE")),
    };
    Ok((asked?, known))
}

/// The version in an ETag: `W/"3"` or `"3"`.
pub fn parse_etag(tag: &str) -> Option<Version> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Version)
}

/// What a client has of a record already
/// (<https://hl7.org/fhir/R4/http.html#cread>; RFC 9110 §13.1.2, §13.1.3).
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// `If-None-Match`: tags of versions, or `*`.
    pub tag: Option<String>,
    /// `If-Modified-Since`, microseconds since the epoch. Without meaning beside a tag.
    pub since: Option<i64>,
}

impl Known {
    /// Whether this is what the client has. Only a record by itself has a version.
    #[must_use]
    pub fn covers(&self, released: &Released) -> bool {
        let Some(facts) = released.facts() else { return false };
        match &self.tag {
            Some(tags) if tags.trim() == "*" => true,
            Some(tags) => tags.split(',').any(|tag| parse_etag(tag) == Some(facts.version)),
            // HTTP's dates have no parts of seconds.
            None => self.since.is_some_and(|since| {
                facts.last_updated.div_euclid(1_000_000) <= since.div_euclid(1_000_000)
            }),
        }
    }
}

/// The answering Bundle. What it carries was released entry by entry.
pub(crate) fn assemble(kind: &str, answered: Vec<Answered>, base: &str) -> Released {
    let mut out = format!("{{\"resourceType\":\"Bundle\",\"type\":\"{kind}\"").into_bytes();
    let mut parts = Vec::new();
    let any = !answered.is_empty();
    for (i, answer) in answered.into_iter().enumerate() {
        out.extend_from_slice(if i == 0 { b",\"entry\":[" } else { b"," });
        match answer {
            Answered::Written(w, given) => {
                out.extend_from_slice(b"{");
                if let Given::Record(released) = &given {
                    out.extend_from_slice(b"\"resource\":");
                    out.extend_from_slice(released.body());
                    out.extend_from_slice(b",");
                }
                out.extend_from_slice(b"\"response\":{");
                out.extend_from_slice(written(&w, base).as_bytes());
                if let Given::Outcome = &given {
                    out.extend_from_slice(b",\"outcome\":");
                    out.extend_from_slice(&operation_outcome(&[w.outcome()]));
                }
                out.extend_from_slice(b"}}");
                if let Given::Record(released) = given {
                    parts.push(released);
                }
            }
            Answered::Released(released) => {
                out.extend_from_slice(b"{\"resource\":");
                out.extend_from_slice(released.body());
                out.extend_from_slice(b",\"response\":{\"status\":\"200 OK\"");
                if let Some(f) = released.facts() {
                    let etag = format!(",\"etag\":\"W/\\\"{}\\\"\"", f.version);
                    out.extend_from_slice(etag.as_bytes());
                    let date = format!(",\"lastModified\":\"{}\"", instant(f.last_updated));
                    out.extend_from_slice(date.as_bytes());
                }
                out.extend_from_slice(b"}}");
                parts.push(released);
            }
            Answered::Unchanged(released) => {
                let version = released.facts().map_or(Version(0), |f| f.version);
                let told = format!(
                    "{{\"response\":{{\"status\":\"304 Not Modified\",\"etag\":\"W/\\\"{version}\\\"\"}}}}"
                );
                out.extend_from_slice(told.as_bytes());
            }
            Answered::Failed(failure) => {
                let (status, issues) = status_of(&failure);
                out.extend_from_slice(b"{\"response\":{\"status\":");
                out.extend_from_slice(json_string(status).as_bytes());
                out.extend_from_slice(b",\"outcome\":");
                out.extend_from_slice(&operation_outcome(&issues));
                out.extend_from_slice(b"}}");
            }
        }
    }
    if any {
        out.extend_from_slice(b"]");
    }
    out.extend_from_slice(b"}");
    Released::assembled(&parts, Bytes::from(out))
}

/// The members of an entry's `response`.
fn written(w: &Written, base: &str) -> String {
    let status = match (w.deleted, w.created) {
        (true, _) => "204 No Content",
        (false, true) => "201 Created",
        (false, false) => "200 OK",
    };
    if w.version.0 == 0 {
        return format!("\"status\":\"{status}\"");
    }
    let location = format!("{base}/{}/{}/_history/{}", w.ty.name(), w.id.as_str(), w.version.0);
    format!(
        "\"status\":\"{status}\",\"location\":{},\"etag\":\"W/\\\"{}\\\"\",\"lastModified\":\"{}\"",
        json_string(&location),
        w.version.0,
        instant(w.last_updated)
    )
}

/// Microseconds since the epoch as a FHIR instant, to the millisecond.
pub fn instant(us: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

/// HTTP status line and issues of a failure: the one place where failures become
/// FHIR (the HTTP layer uses it too).
pub fn status_of(failure: &Failure) -> (&'static str, Vec<Issue>) {
    let one = |code, text: &str| {
        vec![Issue { severity: Severity::Error, code, path: String::new(), text: text.to_owned() }]
    };
    match failure {
        Failure::Invalid(r) => ("400 Bad Request", r.issues.clone()),
        Failure::TooLarge(r) => ("413 Content Too Large", r.issues.clone()),
        Failure::TooMany(r) => ("429 Too Many Requests", r.issues.clone()),
        Failure::Unprocessable(r) => ("422 Unprocessable Entity", r.issues.clone()),
        Failure::Unauthenticated => (
            "401 Unauthorized",
            one(IssueCode::Login, "a valid access token is needed: see `phial token --help`"),
        ),
        Failure::Forbidden(r) => ("403 Forbidden", r.issues.clone()),
        Failure::NotFound => {
            ("404 Not Found", one(IssueCode::NotFound, "there is no such record, or none for you"))
        }
        Failure::Gone => ("410 Gone", one(IssueCode::Deleted, "deleted, or no longer kept")),
        Failure::Conflict { precondition: true, refusal } => {
            ("412 Precondition Failed", refusal.issues.clone())
        }
        Failure::Conflict { precondition: false, refusal } => {
            ("409 Conflict", refusal.issues.clone())
        }
        Failure::Busy(_) => (
            "503 Service Unavailable",
            one(
                IssueCode::Transient,
                "a store, the keys or the audit log can't be reached; nothing was released or \
                 acknowledged: try again shortly",
            ),
        ),
        Failure::Internal { incident, .. } => (
            "500 Internal Server Error",
            one(
                IssueCode::Exception,
                &format!("an error of ours: tell the operator incident {incident}"),
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_weak_and_strong_are_read() {
        assert_eq!(parse_etag("W/\"3\""), Some(Version(3)));
        assert_eq!(parse_etag("\"12\""), Some(Version(12)));
        assert_eq!(parse_etag("3"), None);
    }
}
