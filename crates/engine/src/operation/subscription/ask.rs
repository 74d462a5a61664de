//! Asking how a subscription stands, and for its events again: `$status` and `$events`
//! (<http://hl7.org/fhir/uv/subscriptions-backport/STU1.1/OperationDefinition-backport-subscription-status.html>).
//!
//! Only its owner is answered: how much happened tells something of what happened, and
//! somebody else may see less. Events are given by the asker's own permits.

use bytes::Bytes;
use phial_audit::{DetailKey, Entry, EventKind, OutcomeCode};
use phial_base::{LogicalId, Seq, SubjectId};
use phial_fhir::subscription::{Content, Kind, MOST_EVENTS, Standing, read, status_bundle};
use phial_policy::Action;
use phial_store::vessel::Unopened;
use zeroize::Zeroizing;

use super::next::{About, parsed, refused};
use super::place::{Event, Place};
use super::subscription;
use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::interaction::batch::instant;
use crate::released::Released;

/// What `$events` may be asked for.
#[derive(Clone, Debug, Default)]
pub struct EventsAsked {
    /// `eventsSinceNumber`: the first.
    pub since: Option<u64>,
    /// `eventsUntilNumber`: the last.
    pub until: Option<u64>,
    /// `content`: how much to say; as the subscription says, when not given.
    pub content: Option<String>,
}

/// What `$status` of the type may be asked for; nothing: all.
#[derive(Clone, Debug, Default)]
pub struct StatusAsked {
    /// `id`: these.
    pub ids: Vec<LogicalId>,
    /// `status`: those that stand so.
    pub statuses: Vec<String>,
}

impl StatusAsked {
    fn is_for(&self, place: &Place) -> bool {
        (self.ids.is_empty() || self.ids.contains(&place.id))
            && (self.statuses.is_empty()
                || self.statuses.iter().any(|s| s == place.standing.code()))
    }
}

/// A subscription as the operator sees it: nothing of what it filters.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    /// The subscription's logical id.
    pub id: String,
    /// Whose it is.
    pub owner: Option<SubjectId>,
    /// The host that is told.
    pub endpoint: Option<String>,
    /// How it stands.
    pub status: &'static str,
    /// Why it is told no more, or why the last attempt failed.
    pub reason: Option<String>,
    /// How many events it had.
    pub events: u64,
    /// How many of them are under way.
    pub under_way: usize,
    /// Changes of records that it has not looked at yet.
    pub behind: u64,
    /// Failures in a row.
    pub attempts: u32,
    /// When it is tried again.
    pub again: Option<String>,
    /// When its endpoint last took something.
    pub told: Option<String>,
}

impl Shown {
    fn of(p: &Place, head: Seq) -> Self {
        let moment = |us: i64| (us > 0).then(|| instant(us));
        let terms = p.terms.as_ref();
        Shown {
            id: p.id.as_str().to_owned(),
            owner: terms.map(|t| t.owner.clone()),
            endpoint: terms
                .and_then(|t| crate::Endpoint::parse(&t.endpoint))
                .map(|e| e.authority()),
            status: p.standing.code(),
            reason: p.reason.clone(),
            events: p.number,
            under_way: p.flight.len(),
            behind: match p.standing {
                Standing::Requested | Standing::Active => head.0.saturating_sub(p.seen.0),
                Standing::Error | Standing::Off => 0,
            },
            attempts: p.attempts,
            again: moment(p.again),
            told: moment(p.told),
        }
    }

    /// What is kept of subscriptions, as `phial_store::outbox::look` gives it.
    ///
    /// # Errors
    /// When one does not read as it should.
    pub fn read(
        places: &[Zeroizing<Vec<u8>>],
        head: Seq,
    ) -> Result<Vec<Shown>, phial_store::Error> {
        places.iter().map(|bytes| Ok(Shown::of(&Place::decode(bytes)?, head))).collect()
    }
}

impl Engine {
    /// How the subscriptions of a tenant stand. Nothing of a record is shown.
    ///
    /// # Errors
    /// [`Failure::Forbidden`] without the right to manage accounts, whose work this is;
    /// [`Failure::Busy`] when a store or the audit log can't be reached.
    pub async fn subscriptions_shown(&self, caller: &Caller) -> Result<Vec<Shown>, Failure> {
        let tenant = self.home(caller)?;
        if !self.policy().allows(&caller.subject, Action::ManageUsers) {
            let e = entry::of(caller, EventKind::Denied);
            let failure = Failure::forbidden("your role may not look at everyone's subscriptions");
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Denied, failure).await);
        }
        let failed = Self::store_failure(caller);
        let head = tenant.vessel.records().head().map_err(&failed)?;
        let held = tenant.subscriptions().map_err(&failed)?;
        Ok(held.all().map(|p| Shown::of(p, head)).collect())
    }

    /// `$status` of one subscription: a searchset with its status.
    ///
    /// # Errors
    /// [`Failure::NotFound`] when it is absent or invisible; [`Failure::Forbidden`] for
    /// anyone but its owner; [`Failure::Busy`] when a store, the keys or the audit log
    /// can't be reached.
    pub async fn subscription_status(
        &self,
        caller: &Caller,
        id: &LogicalId,
        base: &str,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = asked_of(caller, "status");
        let (found, place, topic, _) = match self.owned(tenant, caller, id, &mut e)? {
            Ok(owned) => owned,
            Err((outcome, failure)) => {
                return Err(self.refuse(tenant, caller, e, outcome, failure).await);
            }
        };
        let permit = self.decide(tenant, caller, Action::Read, &found)?;
        let Ok(permit) = permit else { return Err(Failure::NotFound) };
        entry::target(&mut e, &found, &permit);
        let body = self.statuses(&[(place, topic)], base);
        self.release(tenant, caller, e, &[permit], body, None).await
    }

    /// `$status` of the type: a searchset with the status of those of the caller's own
    /// subscriptions that are asked for. Those of others are not there.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached.
    pub async fn subscription_statuses(
        &self,
        caller: &Caller,
        asked: &StatusAsked,
        base: &str,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let failed = Self::store_failure(caller);
        let mut e = asked_of(caller, "status");
        let own: Vec<Place> = {
            let held = tenant.subscriptions().map_err(&failed)?;
            held.all().filter(|p| owns(caller, p) && asked.is_for(p)).cloned().collect()
        };
        let (mut all, mut permits) = (Vec::new(), Vec::new());
        for place in own {
            let found = tenant.vessel.find_row(place.row).map_err(&failed)?;
            let Some(found) = found.filter(|f| !f.header.deleted) else { continue };
            let Ok(permit) = self.decide(tenant, caller, Action::Read, &found)? else { continue };
            let opened = tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
            let doc = parsed(opened.body()).map_err(&failed)?;
            let Ok(asked) = read(&doc) else { continue };
            entry::target(&mut e, &found, &permit);
            permits.push(permit);
            all.push((place, asked.topic.url().to_owned()));
        }
        entry::note(&mut e, DetailKey::Count, all.len().to_string());
        let body = self.statuses(&all, base);
        self.release(tenant, caller, e, &permits, body, None).await
    }

    /// The bundle that says how these stand: each with its topic.
    fn statuses(&self, all: &[(Place, String)], base: &str) -> Bytes {
        let at = instant(self.clock().now().as_microsecond());
        let ids: Vec<[String; 2]> = all.iter().map(|_| [self.uuid(), self.uuid()]).collect();
        let abouts: Vec<About<'_>> =
            all.iter().map(|(place, topic)| about(place, topic, Kind::QueryStatus, base)).collect();
        let told: Vec<_> =
            abouts.iter().zip(&ids).map(|(about, ids)| about.notification(ids, &at)).collect();
        Bytes::from(status_bundle(&self.uuid(), &at, &told))
    }

    /// `$events` of one subscription: what it was told, as far as the asker may still be
    /// told of it.
    ///
    /// # Errors
    /// As [`Engine::subscription_status`], and [`Failure::Invalid`] for a content that is
    /// none or is more than the subscription is told.
    pub async fn subscription_events(
        &self,
        caller: &Caller,
        id: &LogicalId,
        asked: &EventsAsked,
        base: &str,
    ) -> Result<Released, Failure> {
        let tenant = self.home(caller)?;
        let mut e = asked_of(caller, "events");
        let (_, place, topic, own) = match self.owned(tenant, caller, id, &mut e)? {
            Ok(owned) => owned,
            Err((outcome, failure)) => {
                return Err(self.refuse(tenant, caller, e, outcome, failure).await);
            }
        };
        let content = match asked.content.as_deref() {
            None => Some(own),
            Some(code) => Content::from_code(code).filter(|c| amount(*c) <= amount(own)),
        };
        let Some(content) = content else {
            let failure = refused(
                "content",
                "the content is empty, id-only or what the subscription is told",
            );
            return Err(self.refuse(tenant, caller, e, OutcomeCode::Invalid, failure).await);
        };
        let (since, until) = (asked.since.unwrap_or(1), asked.until.unwrap_or(u64::MAX));
        let failed = Self::store_failure(caller);
        let kept = tenant.vessel.outbox().events(place.row, since, until, MOST_EVENTS);
        let events = kept
            .map_err(&failed)?
            .iter()
            .map(|(_, bytes)| Event::decode(bytes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(&failed)?;
        let told = self.render(tenant, caller, &events, content, &mut e)?;
        entry::note(&mut e, DetailKey::Count, told.events.len().to_string());
        let about = about(&place, &topic, Kind::QueryEvent, base);
        let body = self.bundle(&about, content, &told);
        self.release(tenant, caller, e, &told.permits, body, None).await
    }

    /// The subscription, its place, its topic and how much it is told, for its owner.
    #[expect(clippy::type_complexity, reason = "what two operations begin with")]
    fn owned(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        id: &LogicalId,
        e: &mut Entry,
    ) -> Result<Result<(Unopened, Place, String, Content), (OutcomeCode, Failure)>, Failure> {
        let failed = Self::store_failure(caller);
        let ty = subscription().ok_or(Failure::NotFound)?;
        let row = tenant.vessel.row_id(ty, id).map_err(&failed)?;
        let found = tenant.vessel.find(ty, id).map_err(&failed)?;
        let Some(found) = found.filter(|f| !f.header.deleted) else {
            entry::absent(e, ty, row);
            return Ok(Err((OutcomeCode::NotFound, Failure::NotFound)));
        };
        let permit = match self.decide(tenant, caller, Action::Read, &found)? {
            Ok(permit) => permit,
            Err(denial) => {
                entry::denied(e, &found, &denial);
                return Ok(Err((OutcomeCode::Denied, Failure::NotFound)));
            }
        };
        let place = tenant.subscriptions().map_err(&failed)?.place(row).cloned();
        let Some(place) = place.filter(|p| owns(caller, p)) else {
            entry::absent(e, ty, row);
            let failure = Failure::forbidden("only its owner is told how a subscription stands");
            return Ok(Err((OutcomeCode::Denied, failure)));
        };
        let opened = tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
        let doc = parsed(opened.body()).map_err(&failed)?;
        match read(&doc) {
            Ok(asked) => Ok(Ok((found, place, asked.topic.url().to_owned(), asked.content))),
            Err(_) => {
                entry::absent(e, ty, row);
                Ok(Err((OutcomeCode::NotFound, Failure::NotFound)))
            }
        }
    }
}

/// Whether the caller owns it. Before the first version was taken up, whoever offered it
/// does.
fn owns(caller: &Caller, place: &Place) -> bool {
    let terms = place.terms.as_ref().or_else(|| place.offers.last().map(|o| &o.terms));
    terms.is_some_and(|t| t.owner == caller.subject.id && t.purpose == caller.subject.purpose)
}

const fn amount(content: Content) -> u8 {
    match content {
        Content::Empty => 0,
        Content::IdOnly => 1,
        Content::Full => 2,
    }
}

fn asked_of(caller: &Caller, operation: &str) -> Entry {
    let mut e = entry::of(caller, EventKind::Operation);
    entry::note(&mut e, DetailKey::Operation, operation.to_owned());
    e
}

fn about<'a>(place: &'a Place, topic: &'a str, kind: Kind, base: &'a str) -> About<'a> {
    let over = matches!(place.standing, Standing::Error | Standing::Off);
    About {
        base,
        id: place.id.as_str(),
        topic,
        standing: place.standing,
        error: place.reason.as_deref().filter(|_| over),
        kind,
        events: place.number,
    }
}
