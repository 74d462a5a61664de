//! `history-type` and `history-system`: the versions of all records of a type, or of all
//! records (<https://hl7.org/fhir/R4/http.html#history>).
//!
//! As in the history of one record, whoever may not see the current version of a record
//! sees none of its versions, and each version is decided by its own facts besides. What
//! is hidden is passed over: nothing is counted, and a page is as full as what is left
//! allows. The log is read backwards from the place where the first page was taken, so
//! that later pages are of the same moment (decision 0038).

use std::collections::HashMap;

use bytes::{BufMut, Bytes};
use phial_audit::{Entry, EventKind, OutcomeCode};
use phial_base::{RowId, Sensitive, Seq, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_policy::{Action, Permit};
use phial_store::vessel::{Back, Unopened};
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::interaction::history::{Shown, Wanted, understand};
use crate::interaction::read::fits;
use crate::interaction::search::json_string;
use crate::paging::{LogToken, Paging};
use crate::released::Released;

/// The most versions opened for one page. Whoever may see few of very many gets a short
/// page and a link that goes on.
const MOST_OPENED: usize = 50_000;
/// How far the time of a version may stand before that of one earlier in the log: a write
/// is given its time before its place. Ten minutes is far beyond any request's life.
const DISORDER_US: i64 = 10 * 60 * 1_000_000;

/// A history of a type or of the system as it was asked for.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The type; none for the system.
    pub ty: Option<ResourceType>,
    /// Parameters in the order given, decoded.
    pub pairs: Vec<(String, String)>,
    /// The FHIR base URL, for links and `fullUrl`.
    pub base: String,
}

/// What a walk through the log remembers.
#[derive(Default)]
struct Walk {
    /// Whether the caller could ever see a record of the type.
    ever: HashMap<ResourceType, bool>,
    /// Whether the caller sees the record's current version.
    current: HashMap<RowId, bool>,
}

impl Engine {
    /// One page of versions as a history Bundle, newest first. A type of which the caller
    /// sees nothing has an empty history.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for a parameter that is none of history's; [`Failure::Gone`]
    /// for a paging token past its life; [`Failure::Busy`] when a store, the keys or the
    /// audit log can't be reached.
    pub async fn changes(&self, caller: &Caller, asked: Changes) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = entry::of(caller, EventKind::History);
        note_query(&mut e, asked.ty, &asked.pairs);
        match self.changes_page(tenant, caller, &asked, &mut e) {
            Ok((body, permits)) => self.release(tenant, caller, e, &permits, body, None).await,
            Err(failure @ (Failure::Invalid(_) | Failure::Gone)) => {
                Err(self.refuse(tenant, caller, e, OutcomeCode::Invalid, failure).await)
            }
            Err(failure) => Err(failure),
        }
    }

    fn changes_page(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        asked: &Changes,
        e: &mut Entry,
    ) -> Result<(Bytes, Vec<Permit>), Failure> {
        let failed = Self::store_failure(caller);
        let vessel = &tenant.vessel;
        let keys = vessel.keystore().tenant_keys(&caller.subject.tenant).map_err(&failed)?;
        let name = asked.ty.map_or("", ResourceType::name);
        let token = LogToken::asked(&asked.pairs, &keys.paging, caller, |t| t.ty == name)?;
        if let Some(token) = &token {
            note_query(e, asked.ty, &token.pairs);
        }
        let pairs = token.as_ref().map_or(&asked.pairs, |t| &t.pairs);
        let wanted = understand(pairs)?;
        if wanted.count == Some(0) {
            return Err(Failure::invalid(
                IssueCode::NotSupported,
                "_count",
                "the history of a type or of the system is not counted: _count is 1 or more",
            ));
        }
        if let (Some(part), Some(ty)) = (&wanted.part, asked.ty) {
            fits(Some(part), ty)?;
        }
        let begin = match &token {
            Some(t) => Seq(t.below),
            None => Seq(vessel.records().head().map_err(&failed)?.0 + 1),
        };
        let (shown, next) = self.walk(tenant, caller, asked.ty, &wanted, begin)?;

        let path = asked.ty.map_or_else(String::new, |ty| format!("/{}", ty.name()));
        let link = |below: Seq| {
            let token = LogToken {
                ty: name.to_owned(),
                pairs: pairs.clone(),
                below: below.0,
                taken: LogToken::since(token.as_ref(), caller),
            };
            let token = token.seal(&keys.paging, caller, self);
            format!("{}{path}/_history?_page={token}", asked.base)
        };
        let mut out = Zeroizing::new(Vec::with_capacity(2048 * (1 + shown.len())));
        out.put_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"history\",\"link\":[");
        out.put_slice(b"{\"relation\":\"self\",\"url\":");
        out.put_slice(json_string(&link(begin)).as_bytes());
        if let Some(below) = next {
            out.put_slice(b"},{\"relation\":\"next\",\"url\":");
            out.put_slice(json_string(&link(below)).as_bytes());
        }
        out.put_slice(b"}]");
        let mut permits = Vec::with_capacity(shown.len());
        for (n, one) in shown.into_iter().enumerate() {
            out.put_slice(if n == 0 { b",\"entry\":[" } else { b"," });
            let header = &one.found.header;
            let name = format!("{}/{}", header.ty.name(), header.id.as_str());
            // Elements are named of one type; of others the whole is given.
            let part = wanted.part.as_ref().filter(|p| p.fits(header.ty).is_ok());
            Self::show(tenant, caller, &asked.base, &name, &one, part, e, &mut out)?;
            permits.push(one.permit);
        }
        out.put_slice(if permits.is_empty() { b"}" } else { b"]}" });
        Ok((Bytes::from_owner(out), permits))
    }

    /// The versions below `begin` that the caller may see and asked for, a page of them,
    /// and where the next page begins.
    fn walk(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        only: Option<ResourceType>,
        wanted: &Wanted,
        begin: Seq,
    ) -> Result<(Vec<Shown>, Option<Seq>), Failure> {
        let settings = self.settings();
        let limit = wanted.count.unwrap_or(settings.page_size).min(settings.max_page_size);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut shown: Vec<Shown> = Vec::new();
        let mut walk = Walk::default();
        let mut budget = MOST_OPENED;
        let mut below = begin;
        loop {
            let mut of_interest = |ty: ResourceType| {
                only.is_none_or(|o| o == ty)
                    && *walk.ever.entry(ty).or_insert_with(|| {
                        let name = ty.name();
                        !self.policy().ever(&caller.subject, Action::History, name).is_empty()
                    })
            };
            let step = tenant.vessel.back(below, &mut of_interest, &mut budget);
            let (seq, found) = match step.map_err(Self::store_failure(caller))? {
                Back::Found(seq, found) => (seq, *found),
                Back::End => return Ok((shown, None)),
                Back::Paused(at) => return Ok((shown, Some(at))),
            };
            below = seq;
            let from = found.header.last_updated;
            if wanted.since.is_some_and(|since| from < since.saturating_sub(DISORDER_US)) {
                return Ok((shown, None));
            }
            let Some(one) = self.seen(tenant, caller, wanted, found, &mut walk.current)? else {
                continue;
            };
            if shown.len() >= limit {
                return Ok((shown, Some(Seq(seq.0 + 1))));
            }
            shown.push(one);
        }
    }

    /// The version, if the caller may see it and asked for it.
    fn seen(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        wanted: &Wanted,
        found: Unopened,
        current: &mut HashMap<RowId, bool>,
    ) -> Result<Option<Shown>, Failure> {
        let failed = Self::store_failure(caller);
        let visible = match current.get(&found.row) {
            Some(visible) => *visible,
            None => {
                let now = tenant.vessel.find_row(found.row).map_err(&failed)?;
                let visible = match now {
                    Some(now) => self.decide(tenant, caller, Action::History, &now)?.is_ok(),
                    None => false,
                };
                current.insert(found.row, visible);
                visible
            }
        };
        if !visible {
            return Ok(None);
        }
        let Ok(permit) = self.decide(tenant, caller, Action::History, &found)? else {
            return Ok(None);
        };
        let from = found.header.last_updated;
        let until = match wanted.at {
            Some(_) => self.superseded(tenant, caller, &found)?,
            None => i64::MAX,
        };
        if !wanted.matches(from, until) {
            return Ok(None);
        }
        let created = found.version == Version(1) || self.follows_end(tenant, caller, &found)?;
        Ok(Some(Shown { found, permit, created }))
    }

    /// When the version was followed by another that the caller may see.
    fn superseded(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        found: &Unopened,
    ) -> Result<i64, Failure> {
        let failed = Self::store_failure(caller);
        for place in tenant.vessel.records().versions(found.row).map_err(&failed)? {
            if place.version <= found.version {
                continue;
            }
            let later = tenant.vessel.find_version(found.row, place.version).map_err(&failed)?;
            if let Some(later) = later
                && self.decide(tenant, caller, Action::History, &later)?.is_ok()
            {
                return Ok(later.header.last_updated);
            }
        }
        Ok(i64::MAX)
    }

    /// Whether the version before is a deletion that the caller may see.
    fn follows_end(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        found: &Unopened,
    ) -> Result<bool, Failure> {
        let before = Version(found.version.0.saturating_sub(1));
        let before =
            tenant.vessel.find_version(found.row, before).map_err(Self::store_failure(caller))?;
        match before.filter(|b| b.header.deleted) {
            Some(before) => Ok(self.decide(tenant, caller, Action::History, &before)?.is_ok()),
            None => Ok(false),
        }
    }
}

/// Sets what was asked for, sealed inside the entry.
fn note_query(e: &mut Entry, ty: Option<ResourceType>, pairs: &[(String, String)]) {
    let text: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.iter().filter(|(k, _)| k != "_page"))
        .finish();
    let path = ty.map_or_else(String::new, |ty| format!("{}/", ty.name()));
    e.query = Some(Sensitive::new(format!("{path}_history?{text}")));
}
