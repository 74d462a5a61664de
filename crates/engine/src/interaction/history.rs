//! `history-instance`: the versions of one record
//! (<https://hl7.org/fhir/R4/http.html#history>).
//!
//! Whoever may not see the current version sees none, as with `vread`. Beyond that each
//! version is decided by its own facts, since labels and patients change: one that the
//! caller may not see does not appear, is not counted, and does not end the time in
//! which the version before it was current.

use bytes::{BufMut, Bytes};
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{ClassSet, LogicalId, Version};
use phial_fhir::Subset;
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::{Issue, IssueCode};
use phial_fhir::search::{Span, span};
use phial_policy::{Action, Permit};
use phial_store::vessel::Unopened;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};
use crate::interaction::batch::instant;
use crate::interaction::read::fits;
use crate::interaction::search::json_string;
use crate::paging::{HistoryToken, Paging};
use crate::released::Released;
use crate::view::asked_part;

/// A history as it was asked for.
#[derive(Clone, Debug)]
pub struct History {
    /// The type of the record.
    pub ty: ResourceType,
    /// Its logical id.
    pub id: LogicalId,
    /// Parameters in the order given, decoded.
    pub pairs: Vec<(String, String)>,
    /// The FHIR base URL, for links and `fullUrl`.
    pub base: String,
}

/// What the parameters ask for.
#[derive(Default)]
pub(super) struct Wanted {
    /// The size of a page; 0 for the total alone.
    pub(super) count: Option<u32>,
    /// Versions made at this time or later, microseconds since the epoch.
    pub(super) since: Option<i64>,
    /// Versions that were current at some time in this span.
    pub(super) at: Option<Span>,
    /// The part of each version.
    pub(super) part: Option<Subset>,
}

impl Wanted {
    pub(super) fn matches(&self, from: i64, until: i64) -> bool {
        self.since.is_none_or(|since| from >= since)
            && self.at.is_none_or(|at| from < at.high && until > at.low)
    }
}

/// One version on the page.
pub(super) struct Shown {
    pub(super) found: Unopened,
    pub(super) permit: Permit,
    /// Whether the record came into being with it.
    pub(super) created: bool,
}

/// One page of versions, newest first.
struct Page {
    shown: Vec<Shown>,
    total: u64,
    /// Where the next page begins: below this version, which itself was current until
    /// the second, microseconds since the epoch.
    next: Option<(Version, i64)>,
}

impl Engine {
    /// One page of a record's versions as a history Bundle, newest first.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when the record is absent or its current version is
    /// invisible, the same in both cases; [`Failure::Invalid`] for a parameter that is
    /// none of history's; [`Failure::Gone`] for a paging token past its life;
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn history(&self, caller: &Caller, asked: History) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::History);
        let row = tenant.vessel.row_id(asked.ty, &asked.id).map_err(Self::store_failure(caller))?;
        let Some(current) = tenant.vessel.find_row(row).map_err(Self::store_failure(caller))?
        else {
            entry::absent(&mut e, asked.ty, row);
            let outcome = OutcomeCode::NotFound;
            return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
        };
        if let Err(denial) = self.decide(tenant, caller, Action::History, &current)? {
            entry::denied(&mut e, &current, &denial);
            let outcome = OutcomeCode::Denied;
            return Err(self.refuse(tenant, caller, e, outcome, Failure::NotFound).await);
        }
        match self.history_page(tenant, caller, asked, &current, &mut e) {
            Ok((body, permits)) => self.release(tenant, caller, e, &permits, body, None).await,
            Err(failure @ (Failure::Invalid(_) | Failure::Gone)) => {
                let mut e = entry::of(caller, EventKind::History);
                entry::absent(&mut e, current.header.ty, row);
                Err(self.refuse(tenant, caller, e, OutcomeCode::Invalid, failure).await)
            }
            Err(failure) => Err(failure),
        }
    }

    fn history_page(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        asked: History,
        current: &Unopened,
        e: &mut Entry,
    ) -> Result<(Bytes, Vec<Permit>), Failure> {
        let keys = tenant
            .vessel
            .keystore()
            .tenant_keys(&caller.subject.tenant)
            .map_err(Self::store_failure(caller))?;
        let name = format!("{}/{}", asked.ty.name(), asked.id.as_str());
        let token = HistoryToken::asked(&asked.pairs, &keys.paging, caller, |t| t.record == name)?;
        let pairs = token.as_ref().map_or(&asked.pairs, |t| &t.pairs);
        let wanted = understand(pairs)?;
        let part = wanted.part.as_ref();
        fits(part, asked.ty)?;
        let limit =
            wanted.count.unwrap_or(self.settings().page_size).min(self.settings().max_page_size);
        // A version made since the first page was taken is on none.
        let begin = match &token {
            Some(t) => (Version(t.below), t.until),
            None => (current.version.next(), i64::MAX),
        };
        let known = token.as_ref().map(|t| t.total);
        let page = self.versions(tenant, caller, current, &wanted, begin, limit, known)?;

        let link = |below: Version, until: i64| {
            let token = HistoryToken {
                record: name.clone(),
                pairs: pairs.clone(),
                below: below.0,
                until,
                total: page.total,
                taken: HistoryToken::since(token.as_ref(), caller),
            };
            format!(
                "{}/{name}/_history?_page={}",
                asked.base,
                token.seal(&keys.paging, caller, self)
            )
        };
        let mut out = Zeroizing::new(Vec::with_capacity(2048 * (1 + page.shown.len())));
        out.put_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"history\",\"total\":");
        out.put_slice(page.total.to_string().as_bytes());
        out.put_slice(b",\"link\":[{\"relation\":\"self\",\"url\":");
        out.put_slice(json_string(&link(begin.0, begin.1)).as_bytes());
        if let Some((below, until)) = page.next {
            out.put_slice(b"},{\"relation\":\"next\",\"url\":");
            out.put_slice(json_string(&link(below, until)).as_bytes());
        }
        out.put_slice(b"}]");
        let mut permits = Vec::with_capacity(page.shown.len());
        for (n, one) in page.shown.into_iter().enumerate() {
            out.put_slice(if n == 0 { b",\"entry\":[" } else { b"," });
            Self::show(tenant, caller, &asked.base, &name, &one, part, e, &mut out)?;
            permits.push(one.permit);
        }
        out.put_slice(if permits.is_empty() { b"}" } else { b"]}" });
        entry::note(e, DetailKey::Total, page.total.to_string());
        if permits.is_empty() {
            // Nothing is delivered; which record was asked for is still written down.
            entry::absent(e, current.header.ty, current.row);
        }
        Ok((Bytes::from_owner(out), permits))
    }

    /// The versions below `begin` that the caller may see and asked for.
    #[expect(clippy::too_many_arguments, reason = "one page is made from all of these")]
    fn versions(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        current: &Unopened,
        wanted: &Wanted,
        begin: (Version, i64),
        limit: u32,
        known: Option<u64>,
    ) -> Result<Page, Failure> {
        let failed = Self::store_failure(caller);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut page = Page { shown: Vec::new(), total: 0, next: None };
        let mut until = begin.1;
        // Whether the version just passed is the last one shown.
        let mut follows = false;
        for place in tenant.vessel.records().versions(current.row).map_err(&failed)?.iter().rev() {
            if place.version >= begin.0 {
                continue;
            }
            let found = tenant.vessel.find_version(current.row, place.version).map_err(&failed)?;
            // Purged meanwhile, or about a patient whose key was destroyed: absent.
            let Some(found) = found else { continue };
            let Ok(permit) = self.decide(tenant, caller, Action::History, &found)? else {
                continue;
            };
            if let Some(newer) = page.shown.last_mut().filter(|_| follows) {
                newer.created |=
                    found.header.deleted && found.version.next() == newer.found.version;
            }
            follows = false;
            let from = found.header.last_updated;
            let matches = wanted.matches(from, until);
            let full = page.shown.len() >= limit;
            if matches && full && page.next.is_none() && limit > 0 {
                page.next = Some((found.version.next(), until));
            }
            until = from;
            if matches {
                page.total += 1;
                if !full {
                    let created = found.version == Version(1);
                    page.shown.push(Shown { found, permit, created });
                    follows = true;
                }
            }
            // The total is counted once; a later page looks no further than it must.
            let done = known.is_some() && page.next.is_some();
            if done || wanted.since.is_some_and(|since| from < since) {
                break;
            }
        }
        page.total = known.unwrap_or(page.total);
        Ok(page)
    }

    #[expect(clippy::too_many_arguments, reason = "one version goes to all of these")]
    pub(super) fn show(
        tenant: &Tenant,
        caller: &Caller,
        base: &str,
        name: &str,
        one: &Shown,
        part: Option<&Subset>,
        e: &mut Entry,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let Shown { found, permit, created } = one;
        out.put_slice(b"{\"fullUrl\":");
        out.put_slice(json_string(&format!("{base}/{name}")).as_bytes());
        if found.header.deleted {
            // That it ended is all there is to give.
            entry::delivered(e, found, permit, ClassSet::NONE);
        } else {
            let view = Self::view(tenant, caller, permit, found, part)?;
            entry::delivered(e, found, permit, view.given);
            out.put_slice(b",\"resource\":");
            out.put_slice(&view.body);
        }
        // How a version was asked for is not kept; PUT is what leads to the same state.
        let (method, status) = match (found.header.deleted, *created) {
            (true, _) => ("DELETE", "204 No Content"),
            (false, true) => ("PUT", "201 Created"),
            (false, false) => ("PUT", "200 OK"),
        };
        let tail = format!(
            ",\"request\":{{\"method\":\"{method}\",\"url\":{}}},\"response\":{{\"status\":\
             \"{status}\",\"etag\":\"W/\\\"{}\\\"\",\"lastModified\":\"{}\"}}}}",
            json_string(name),
            found.version,
            instant(found.header.last_updated)
        );
        out.put_slice(tail.as_bytes());
        Ok(())
    }
}

/// Reads the parameters of a history; any other is refused by name.
pub(super) fn understand(pairs: &[(String, String)]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { part: asked_part(pairs)?, ..Wanted::default() };
    let mut issues = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (name, text) in pairs {
        let known =
            ["_count", "_since", "_at", "_summary", "_elements", "_page", "_format", "_pretty"];
        let Some(name) = known.into_iter().find(|k| *k == name.as_str()) else {
            issues.push(Issue::error(
                IssueCode::NotSupported,
                "_history",
                "a history takes _count, _since, _at, _elements and _summary",
            ));
            continue;
        };
        if seen.contains(&name) {
            issues.push(Issue::error(
                IssueCode::Duplicate,
                name,
                format!("{name} may be given once"),
            ));
            continue;
        }
        seen.push(name);
        let mut bad = |form: &str| {
            issues.push(Issue::error(IssueCode::Value, name, format!("{name} takes {form}")));
        };
        // A plus sign that was not escaped in the URL was read as a space.
        let moment = || span(&text.replace(' ', "+"));
        match name {
            "_count" => {
                let digits = text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
                match text.parse() {
                    Ok(n) if digits => wanted.count = Some(n),
                    _ => bad("a whole number"),
                }
            }
            "_summary" if text == "count" => wanted.count = Some(0),
            "_since" => match moment() {
                Some(span) => wanted.since = Some(span.low),
                None => bad("an instant such as 2026-01-31T08:00:00Z"),
            },
            "_at" => match moment() {
                Some(span) => wanted.at = Some(span),
                None => bad("a date or dateTime"),
            },
            _ => {}
        }
    }
    if issues.is_empty() { Ok(wanted) } else { Err(Failure::Invalid(Refusal { issues })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<Wanted, Vec<String>> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        understand(&pairs).map_err(|f| match f {
            Failure::Invalid(r) => r.issues.into_iter().map(|i| i.path).collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn parameters_are_histories_own() {
        let w = check(&[("_count", "3"), ("_since", "2026-01-01T00:00:00 01:00")]).ok().unwrap();
        assert_eq!(w.count, Some(3));
        assert_eq!(w.since, Some(span("2026-01-01T00:00:00+01:00").unwrap().low));
        for (name, value, path) in [
            ("_count", "-1", "_count"),
            ("_count", "", "_count"),
            ("_since", "yesterday", "_since"),
            ("_at", "2026-13", "_at"),
            ("_sort", "-_lastUpdated", "_history"),
            ("code", "x", "_history"),
        ] {
            assert_eq!(check(&[(name, value)]).err().unwrap(), [path], "{name}={value}");
        }
        assert_eq!(check(&[("_count", "1"), ("_count", "2")]).err().unwrap(), ["_count"]);
    }

    #[test]
    fn a_version_counts_while_it_is_current() {
        let at = |low, high| Wanted { at: Some(Span { low, high }), ..Wanted::default() };
        assert!(at(5, 6).matches(5, 9));
        assert!(at(8, 9).matches(5, 9));
        assert!(!at(9, 10).matches(5, 9));
        assert!(!at(4, 5).matches(5, 9));
        assert!(at(0, 100).matches(5, i64::MAX));
        let since = Wanted { since: Some(5), ..Wanted::default() };
        assert!(since.matches(5, 6) && !since.matches(4, 9));
    }
}
