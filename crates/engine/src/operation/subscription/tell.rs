//! What became of a notification, and how a subscription stands after it.

use jiff::SignedDuration;
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::RowId;
use phial_fhir::Doc;
use phial_fhir::Limits;
use phial_fhir::subscription::{Kind, Standing, rewritten};
use phial_policy::Action;
use phial_store::vessel::Unopened;

use super::next::{Next, Outgoing, SAME, parsed};
use super::subscription;
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::write::Write;

/// How often and how long an endpoint is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The wait after the first failure; it doubles with each that follows.
    pub first: SignedDuration,
    /// The longest wait.
    pub most: SignedDuration,
    /// After so many failures in a row the subscription is in error.
    pub attempts: u32,
}

impl Patience {
    fn wait(&self, failures: u32) -> SignedDuration {
        let doubled = 2_i32.checked_pow(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        self.first.checked_mul(doubled).unwrap_or(self.most).min(self.most)
    }
}

impl Engine {
    /// The endpoint took it.
    ///
    /// # Errors
    /// [`Failure::Busy`] when that can't be kept: it will be sent again.
    pub fn delivered(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        sent: &Outgoing,
    ) -> Result<(), Failure> {
        let failed = Self::store_failure(keeper);
        let mut held = tenant.subscriptions().map_err(&failed)?;
        let Some(mut place) = held.place(sent.row).cloned() else { return Ok(()) };
        // Written anew meanwhile: what was sent was for another.
        if place.version != sent.version {
            return Ok(());
        }
        match sent.kind {
            Kind::Handshake if place.standing == Standing::Requested => {
                place.standing = Standing::Active;
                place.reason = None;
            }
            Kind::Event => place.flight.clear(),
            _ => {}
        }
        place.attempts = 0;
        place.again = 0;
        place.told = self.clock().now().as_microsecond();
        held.keep(tenant.vessel.outbox(), place, &[], false).map_err(&failed)
    }

    /// The endpoint did not take it: tried again later, until patience ends. `why` names
    /// a status or a kind of failure, never what was answered.
    ///
    /// # Errors
    /// [`Failure::Busy`] when that can't be written down or kept.
    pub async fn not_delivered(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        sent: &Outgoing,
        why: &str,
        patience: Patience,
    ) -> Result<(), Failure> {
        let mut e = entry::of(keeper, EventKind::Notification);
        e.outcome = OutcomeCode::Failed;
        entry::note(&mut e, DetailKey::Job, sent.id.as_str().to_owned());
        entry::note(&mut e, DetailKey::Operation, sent.kind.code().to_owned());
        entry::note(&mut e, DetailKey::Recipient, sent.endpoint.authority());
        entry::note(&mut e, DetailKey::Reason, why.to_owned());
        self.record(tenant, keeper, vec![e], None).await?;
        let failed = Self::store_failure(keeper);
        let mut held = tenant.subscriptions().map_err(&failed)?;
        let Some(mut place) = held.place(sent.row).cloned() else { return Ok(()) };
        if place.version != sent.version {
            return Ok(());
        }
        place.attempts = place.attempts.saturating_add(1);
        let wait = patience.wait(place.attempts);
        let again = self.clock().now().checked_add(wait).unwrap_or(jiff::Timestamp::MAX);
        place.again = again.as_microsecond();
        place.reason = Some(why.to_owned());
        if place.attempts >= patience.attempts {
            place.standing = Standing::Error;
            // It is written down in its record at the next look.
            place.looked = i64::MIN;
        }
        held.keep(tenant.vessel.outbox(), place, &[], false).map_err(&failed)
    }

    /// From now on it stands so. That holds before its record says it.
    pub(super) async fn stand(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        found: &Unopened,
        standing: Standing,
        reason: Option<&str>,
    ) -> Result<Next, Failure> {
        {
            let failed = Self::store_failure(keeper);
            let mut held = tenant.subscriptions().map_err(&failed)?;
            let Some(mut place) = held.place(found.row).cloned() else { return Ok(Next::Gone) };
            if place.standing != standing {
                place.standing = standing;
                if let Some(reason) = reason.filter(|r| *r != SAME) {
                    place.reason = Some(reason.to_owned());
                }
                held.keep(tenant.vessel.outbox(), place, &[], false).map_err(&failed)?;
            }
        }
        if self.differs(tenant, keeper, found, standing)? {
            return self.write_standing(tenant, keeper, found).await;
        }
        Ok(Next::Quiet)
    }

    /// Whether the record says otherwise.
    pub(super) fn differs(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        found: &Unopened,
        standing: Standing,
    ) -> Result<bool, Failure> {
        let Some(doc) = self.as_kept(tenant, keeper, found)? else { return Ok(false) };
        let status = doc.root().member("status").and_then(|n| n.as_str().map(|s| s.into_owned()));
        Ok(status.as_deref() != Some(standing.code()))
    }

    /// The record as the keeper sees it.
    fn as_kept(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        found: &Unopened,
    ) -> Result<Option<Doc>, Failure> {
        let failed = Self::store_failure(keeper);
        let Ok(permit) = self.decide(tenant, keeper, Action::Read, found)? else {
            return Ok(None);
        };
        let opened = tenant.vessel.open_record(&permit, found).map_err(&failed)?;
        parsed(opened.body()).map(Some).map_err(&failed)
    }

    /// Writes into the record how it stands.
    pub(super) async fn write_standing(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        found: &Unopened,
    ) -> Result<Next, Failure> {
        let (standing, reason) = {
            let held = tenant.subscriptions().map_err(Self::store_failure(keeper))?;
            let Some(place) = held.place(found.row) else { return Ok(Next::Gone) };
            (place.standing, place.reason.clone())
        };
        let (Some(doc), Some(ty)) = (self.as_kept(tenant, keeper, found)?, subscription()) else {
            return Ok(Next::Quiet);
        };
        let reason = reason.filter(|_| matches!(standing, Standing::Error | Standing::Off));
        let text = rewritten(&doc, Some(standing.code()), reason.as_deref());
        let Ok(doc) = text.and_then(|text| Doc::parse(&text, &Limits::default())) else {
            return Ok(Next::Quiet);
        };
        let id = found.header.id.clone();
        let write = Write { if_match: Some(found.version), ..Write::update(ty, id, doc) };
        match self.write(keeper, write, None).await {
            Ok(_) | Err(Failure::Conflict { .. }) => Ok(Next::Again),
            Err(failure @ (Failure::Busy(_) | Failure::Internal { .. })) => Err(failure),
            Err(_) => {
                tracing::warn!("how a subscription stands can't be written into its record");
                Ok(Next::Quiet)
            }
        }
    }

    /// What of a subscription was looked at may be looked at again at once.
    pub fn look_again(&self, tenant: &Tenant, keeper: &Caller, row: RowId) -> Result<(), Failure> {
        let mut held = tenant.subscriptions().map_err(Self::store_failure(keeper))?;
        held.note(row, |p| p.looked = i64::MIN);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let p = Patience {
            first: SignedDuration::from_secs(2),
            most: SignedDuration::from_secs(60),
            attempts: 9,
        };
        let waits: Vec<i64> = (1..=8).map(|n| p.wait(n).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(p.wait(u32::MAX).as_secs(), 60);
    }
}
