//! Writing a Subscription: what is checked before it is stored, and what is kept beside
//! it, so that its secrets stand in no record.
//!
//! Whoever writes it becomes its owner: nobody can turn another's subscription to an
//! address of his own and be told what he may not see.

use phial_base::{RowId, Version};
use phial_fhir::issue::{Issue, IssueCode, Severity};
use phial_fhir::subscription::{Content, MASKED, header, read, rewritten};
use phial_fhir::{Doc, Limits, Valid};
use phial_store::Error as StoreError;

use super::is_keeper;
use super::place::{Offer, Place, Secret, Subscriptions, Terms};
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::vendor::agreement;

/// The most subscriptions of a tenant: each looks at every change.
const MOST: usize = 500;
/// The most versions of one that may be on their way into the record log.
const MOST_OFFERS: usize = 16;

/// What of a version goes beside its record.
pub(crate) struct Offered {
    terms: Terms,
    kept: bool,
}

impl Tenant {
    /// The places of this tenant's subscriptions.
    pub(super) fn subscriptions(
        &self,
    ) -> Result<std::sync::MutexGuard<'_, Subscriptions>, StoreError> {
        let mut held = self.subscriptions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.read(self.vessel.outbox())?;
        Ok(held)
    }

    /// Keeps what goes beside a version that is about to be written. A crash before the
    /// record log holds it leaves an offer that nobody takes up.
    pub(crate) fn offer(
        &self,
        id: &phial_base::LogicalId,
        row: RowId,
        version: Version,
        hash: &[u8; 32],
        offered: Offered,
    ) -> Result<(), StoreError> {
        let head = self.vessel.records().head()?;
        let mut held = self.subscriptions()?;
        let mut place =
            held.place(row).cloned().unwrap_or_else(|| Place::new(row, id.clone(), head));
        place.offers.retain(|o| o.version > place.version);
        let excess = (place.offers.len() + 1).saturating_sub(MOST_OFFERS);
        place.offers.drain(..excess);
        place.offers.push(Offer {
            version: version.0,
            hash: hex::encode(hash),
            terms: offered.terms,
            kept: offered.kept,
            head: head.0,
        });
        held.keep(self.vessel.outbox(), place, &[], false)
    }
}

impl Tenant {
    /// What was kept for a version that nobody has taken up yet holds for the same version
    /// sealed again. Both are kept: which of them the record log holds, a crash decides.
    pub(crate) fn offer_again(
        &self,
        row: RowId,
        version: Version,
        was: &[u8; 32],
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let mut held = self.subscriptions()?;
        let Some(mut place) = held.place(row).cloned() else { return Ok(()) };
        let was = hex::encode(was);
        let known = place.offers.iter().find(|o| o.version == version.0 && o.hash == was);
        let Some(offer) = known.cloned() else { return Ok(()) };
        place.offers.push(Offer { hash: hex::encode(hash), ..offer });
        held.keep(self.vessel.outbox(), place, &[], false)
    }
}

fn at_channel(code: IssueCode, element: &str, text: &str) -> Issue {
    Issue {
        severity: Severity::Error,
        code,
        path: format!("Subscription.channel.{element}"),
        text: text.to_owned(),
    }
}

impl Engine {
    /// Checks a Subscription that is about to be written: the resource as it is stored,
    /// and what goes beside it.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] for an address that may not be called or may not be told so
    /// much, and for filters that the role may never search by; issues for what can't be
    /// kept.
    pub(crate) fn subscribe(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        row: RowId,
        valid: Valid,
    ) -> Result<Result<(Valid, Offered), Vec<Issue>>, Failure> {
        let failed = Self::store_failure(caller);
        let (before, others) = {
            let held = tenant.subscriptions().map_err(&failed)?;
            (held.place(row).cloned(), held.all().filter(|p| p.row != row).count())
        };
        if is_keeper(caller) {
            let terms = before.and_then(|p| p.terms).ok_or(Failure::NotFound)?;
            return Ok(Ok((valid, Offered { terms, kept: true })));
        }
        if caller.subject.scopes.is_some() {
            // Its owner's role would stand behind it when it tells, not the app's scopes.
            return Err(Failure::forbidden(
                "an app can't own a subscription: let its user or service account ask by itself",
            ));
        }
        if others >= MOST {
            return Err(Failure::forbidden("there are as many subscriptions as this server takes"));
        }
        let asked = match read(valid.doc()) {
            Ok(asked) => asked,
            Err(issues) => return Ok(Err(issues)),
        };
        let Some(endpoint) = Endpoint::parse(&asked.endpoint) else {
            return Ok(Err(vec![at_channel(
                IssueCode::Value,
                "endpoint",
                "an endpoint is https://HOST[:PORT][/PATH], without user, query or escapes",
            )]));
        };
        if asked.on {
            if !endpoint.is_among(&self.endpoint_hosts()) {
                return Err(Failure::forbidden(
                    "the endpoint's host is not one that this server calls (subscriptions.hosts)",
                ));
            }
            for query in &asked.filters {
                self.guard(caller, query)?;
            }
            if asked.content == Content::Full {
                let now = self.clock().now();
                let found = agreement(tenant.vessel.control(), &endpoint, now);
                if found.map_err(&failed)?.is_none() {
                    return Err(Failure::forbidden(
                        "full-resource goes only to endpoints of a vendor whose agreement is in \
                         force (phial vendor)",
                    ));
                }
            }
        }
        let Some(headers) = headers(caller, &endpoint, &asked.headers, before.as_ref()) else {
            return Ok(Err(vec![at_channel(
                IssueCode::Value,
                "header",
                "a masked header stands for a value that you gave for this endpoint: give the \
                 value",
            )]));
        };
        let status = if asked.on { "requested" } else { "off" };
        let stored = rewritten(valid.doc(), Some(status), None)
            .and_then(|text| Doc::parse(&text, &Limits::default()))
            .and_then(phial_fhir::validate);
        let terms = Terms {
            owner: caller.subject.id.clone(),
            purpose: caller.subject.purpose,
            endpoint: endpoint.to_string(),
            headers,
        };
        Ok(stored.map(|valid| (valid, Offered { terms, kept: false })))
    }
}

/// The headers with their values. A masked one stands for the value that the same owner
/// gave for the same endpoint, and for no other.
fn headers(
    caller: &Caller,
    endpoint: &Endpoint,
    given: &[String],
    before: Option<&Place>,
) -> Option<Vec<Secret>> {
    // Of versions on their way the latest is what the writer has seen.
    let known = before.and_then(|p| p.offers.last().map(|o| &o.terms).or(p.terms.as_ref()));
    let known = known
        .filter(|t| t.owner == caller.subject.id && t.endpoint == endpoint.to_string())
        .map_or(&[][..], |t| &t.headers);
    let mut all = Vec::with_capacity(given.len());
    let mut used = vec![false; known.len()];
    for text in given {
        let (name, value) = header(text)?;
        if value != MASKED {
            all.push(Secret(format!("{name}: {value}")));
            continue;
        }
        let (secret, mark) = known.iter().zip(&mut used).find(|(secret, used)| {
            !**used && header(&secret.0).is_some_and(|(n, _)| n.eq_ignore_ascii_case(name))
        })?;
        *mark = true;
        all.push(secret.clone());
    }
    Some(all)
}
