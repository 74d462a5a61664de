//! What a subscription is to be sent next, if anything.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use phial_audit::{DetailKey, Entry, EventKind};
use phial_base::{ClassSet, DataClass, LogicalId, Purpose, RowId, Seq, SubjectId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::issue::IssueCode;
use phial_fhir::search::{Candidate, Query, extract_again, matches};
use phial_fhir::subscription::{
    Asked, Change, Content, Focus, Kind, Notification, Standing, header, notification, read,
};
use phial_fhir::{Doc, Limits};
use phial_policy::{Action, Permit};
use phial_store::Error as StoreError;
use phial_store::vessel::Unopened;
use zeroize::Zeroizing;

use super::place::{Event, Place, Secret};
use super::subscription;
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};
use crate::interaction::batch::instant;
use crate::released::Released;
use crate::vendor::agreement;

/// How many changes are looked at before others get their turn.
const STRIDE: usize = 200;
/// Up to how many changes without an event are looked at again after a crash.
const UNKEPT: u64 = 2_000;
/// How often a subscription that has nothing to tell is looked at, microseconds: whether
/// its owner, its end and its vendor are as they were.
const LOOK_US: i64 = 15_000_000;

/// Finds who an account is now: `None` when it has ended.
pub type Owners<'a> =
    &'a (dyn Fn(&SubjectId, Purpose) -> Result<Option<Caller>, Failure> + Send + Sync);

/// What is to be done for a subscription.
pub enum Next {
    /// It is no more.
    Gone,
    /// Nothing now.
    Quiet,
    /// Something changed: ask again.
    Again,
    /// Send this, and say what became of it.
    Send(Box<Outgoing>),
}

/// How a notification is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A notification bundle, posted.
    Bundle,
    /// A post without a body: R4's notification without a payload.
    Bare,
    /// The record itself, put at this path below the endpoint: R4's notification with a
    /// payload (<https://hl7.org/fhir/R4/valueset-subscription-channel-type.html>).
    Record {
        /// `Type/id`
        path: String,
    },
}

/// A notification that may leave.
pub struct Outgoing {
    /// Whose.
    pub(super) row: RowId,
    pub(super) id: LogicalId,
    pub(super) version: u32,
    pub(super) kind: Kind,
    /// Whereto.
    pub endpoint: Endpoint,
    /// With which headers besides: name and value. Values may be secrets.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// How long the endpoint has for its answer, when the subscription says so.
    pub timeout: Option<Duration>,
    /// How it is put.
    pub form: Form,
    /// The bundle, the record, or nothing.
    pub body: Released,
}

/// A subscription that may be told something now.
struct Ready {
    place: Place,
    owner: Caller,
    asked: Asked,
    endpoint: Endpoint,
    /// The vendor under whose agreement records themselves may go there.
    vendor: Option<String>,
}

/// Either, or why it is told no more.
type Judged = Result<Ready, (Standing, &'static str)>;

impl Engine {
    /// The subscriptions that something is to be done for.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached.
    pub fn subscriptions_due(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
    ) -> Result<Vec<RowId>, Failure> {
        let failed = Self::store_failure(keeper);
        let now = self.clock().now().as_microsecond();
        let head = tenant.vessel.records().head().map_err(&failed)?;
        let held = tenant.subscriptions().map_err(&failed)?;
        Ok(held
            .all()
            .filter(|p| {
                let looked = now - LOOK_US < p.looked;
                let work = match p.standing {
                    Standing::Requested => true,
                    Standing::Active => p.seen < head || !p.flight.is_empty(),
                    Standing::Error | Standing::Off => false,
                };
                // What waits for its time, or has nothing to tell, is still looked at.
                !p.offers.is_empty() || (work && p.again <= now) || !looked
            })
            .map(|p| p.row)
            .collect())
    }

    /// Subscriptions in the record log of which nothing is kept, as after a restored
    /// backup, can't be told anything: nobody knows on whose behalf. They are marked.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached.
    pub fn find_strays(&self, tenant: &Tenant, keeper: &Caller) -> Result<usize, Failure> {
        let failed = Self::store_failure(keeper);
        let Some(ty) = subscription() else { return Ok(0) };
        let at = tenant.vessel.catch_up().map_err(&failed)?;
        let access = self.access(tenant, keeper, Action::Search)?;
        let (mut after, mut strays) = (None, 0);
        loop {
            let page = tenant
                .vessel
                .search(&Query::all(ty), &keeper.viewer(), &access, at, after.as_ref(), 500, false)
                .map_err(&failed)?;
            for hit in &page.hits {
                let found = tenant.vessel.find_row(hit.row).map_err(&failed)?;
                let Some(found) = found.filter(|f| !f.header.deleted) else { continue };
                let mut held = tenant.subscriptions().map_err(&failed)?;
                if held.place(hit.row).is_none() {
                    let mut place = Place::new(hit.row, found.header.id.clone(), at);
                    place.version = found.version.0;
                    place.standing = Standing::Error;
                    place.reason = Some(LOST.to_owned());
                    held.keep(tenant.vessel.outbox(), place, &[], false).map_err(&failed)?;
                    strays += 1;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(strays);
            }
        }
    }

    /// What this subscription is to be sent now. Whoever is sent something tells
    /// [`Engine::delivered`] or [`Engine::not_delivered`] before asking again.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store, the keys or the audit log can't be reached:
    /// nothing may be sent then.
    pub async fn next_notification(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        row: RowId,
        owners: Owners<'_>,
        base: &str,
    ) -> Result<Next, Failure> {
        let failed = Self::store_failure(keeper);
        let now = self.clock().now();
        let found = tenant.vessel.find_row(row).map_err(&failed)?;
        let Some(found) = found.filter(|f| !f.header.deleted) else {
            return self.gone(tenant, keeper, row);
        };
        let Some(place) = self.take_up(tenant, keeper, &found)? else { return Ok(Next::Gone) };
        let ready = match self.judge(tenant, keeper, &found, place, owners, now)? {
            Ok(ready) => ready,
            Err((standing, reason)) => {
                return self.stand(tenant, keeper, &found, standing, Some(reason)).await;
            }
        };
        if self.differs(tenant, keeper, &found, ready.place.standing)? {
            return self.write_standing(tenant, keeper, &found).await;
        }
        let at = now.as_microsecond();
        let mut ready = ready;
        if ready.place.again > at {
            return Ok(Next::Quiet);
        }
        if ready.place.standing == Standing::Requested {
            if ready.asked.topic.is_search() {
                // R4 knows no handshake: it is active once the server took it up.
                return self.stand(tenant, keeper, &found, Standing::Active, None).await;
            }
            return self.send(tenant, ready, Kind::Handshake, Vec::new(), base).await;
        }
        if ready.place.flight.is_empty() && !self.scan(tenant, &mut ready).await? {
            let Ready { place, asked, .. } = &ready;
            let due = asked.heartbeat.is_some_and(|s| at - place.told >= i64::from(s) * 1_000_000);
            if due {
                return self.send(tenant, ready, Kind::Heartbeat, Vec::new(), base).await;
            }
            return Ok(Next::Quiet);
        }
        let events = ready.place.flight.clone();
        self.send(tenant, ready, Kind::Event, events, base).await
    }

    /// The record is no more, or not yet: a version that was offered may be on its way, and
    /// is waited for.
    fn gone(&self, tenant: &Tenant, keeper: &Caller, row: RowId) -> Result<Next, Failure> {
        let failed = Self::store_failure(keeper);
        let now = self.clock().now().as_microsecond();
        let mut held = tenant.subscriptions().map_err(&failed)?;
        let Some(mut place) = held.place(row).cloned() else { return Ok(Next::Gone) };
        if !place.offers.is_empty() && (place.gone == i64::MIN || now - place.gone < LOOK_US) {
            if place.gone == i64::MIN {
                // What comes next begins anew.
                place.standing = Standing::Off;
                place.gone = now;
                held.keep(tenant.vessel.outbox(), place, &[], false).map_err(&failed)?;
            }
            return Ok(Next::Quiet);
        }
        held.forget(tenant.vessel.outbox(), row).map_err(&failed)?;
        Ok(Next::Gone)
    }

    /// The place, with the version that the record log holds taken up.
    fn take_up(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        found: &Unopened,
    ) -> Result<Option<Place>, Failure> {
        let failed = Self::store_failure(keeper);
        let now = self.clock().now().as_microsecond();
        let row = found.row;
        let mut held = tenant.subscriptions().map_err(&failed)?;
        held.note(row, |p| {
            p.looked = now;
            p.gone = i64::MIN;
        });
        let Some(mut place) = held.place(row).cloned() else { return Ok(None) };
        if place.version == found.version.0 {
            // Offers of older versions came to nothing.
            if place.offers.iter().any(|o| o.version <= place.version) {
                place.offers.retain(|o| o.version > place.version);
                held.keep(tenant.vessel.outbox(), place.clone(), &[], false).map_err(&failed)?;
            }
            return Ok(Some(place));
        }
        let stored = tenant.vessel.records().get_version(row, found.version).map_err(&failed)?;
        let hash = stored.map(|r| hex::encode(phial_crypto::content_hash(&r.blob)));
        let taken = place
            .offers
            .iter()
            .find(|o| o.version == found.version.0 && Some(&o.hash) == hash.as_ref())
            .cloned();
        let mut anew = false;
        match taken {
            Some(offer) if offer.kept => {}
            Some(offer) => {
                let same = place.terms.as_ref().is_some_and(|t| {
                    t.owner == offer.terms.owner && t.purpose == offer.terms.purpose
                });
                // One that was in error goes on where it stood: nothing is left out. One
                // that was off, or has another owner, begins now.
                if !same || place.standing == Standing::Off {
                    place.seen = Seq(offer.head);
                    place.flight.clear();
                }
                if !same {
                    place.number = 0;
                    anew = true;
                }
                place.terms = Some(offer.terms);
                place.standing = Standing::Requested;
                place.reason = None;
                place.attempts = 0;
                place.again = 0;
            }
            None => {
                place.terms = None;
                place.standing = Standing::Error;
                place.reason = Some(LOST.to_owned());
            }
        }
        place.version = found.version.0;
        place.offers.retain(|o| o.version > place.version);
        held.keep(tenant.vessel.outbox(), place.clone(), &[], anew).map_err(&failed)?;
        Ok(Some(place))
    }

    /// Whether it may be told anything at this moment.
    fn judge(
        &self,
        tenant: &Tenant,
        keeper: &Caller,
        found: &Unopened,
        place: Place,
        owners: Owners<'_>,
        now: Timestamp,
    ) -> Result<Judged, Failure> {
        let failed = Self::store_failure(keeper);
        if matches!(place.standing, Standing::Error | Standing::Off) {
            return Ok(Err((place.standing, SAME)));
        }
        let Some(terms) = &place.terms else { return Ok(Err((Standing::Error, LOST))) };
        let Some(owner) = owners(&terms.owner, terms.purpose)? else {
            return Ok(Err((Standing::Off, "its owner's account has ended")));
        };
        let may_keep = self.decide(tenant, &owner, Action::Update, found)?.is_ok();
        let permit = self.decide(tenant, &owner, Action::Read, found)?;
        let (Ok(permit), true) = (permit, may_keep) else {
            return Ok(Err((Standing::Off, "its owner may no longer keep subscriptions")));
        };
        let opened = tenant.vessel.open_record(&permit, found).map_err(&failed)?;
        let asked = parsed(opened.body()).ok().and_then(|doc| read(&doc).ok());
        let Some(asked) = asked else {
            return Ok(Err((Standing::Error, "it can't be read as its owner sees it")));
        };
        if !asked.on {
            return Ok(Err((Standing::Off, "it was asked to be off")));
        }
        if asked.end.is_some_and(|end| end <= now.as_microsecond()) {
            return Ok(Err((Standing::Off, "its end has come")));
        }
        if asked.filters.iter().any(|q| self.guard(&owner, q).is_err()) {
            return Ok(Err((Standing::Error, "its owner may no longer search by what it filters")));
        }
        let endpoint = Endpoint::parse(&asked.endpoint).filter(|e| e.to_string() == terms.endpoint);
        let Some(endpoint) = endpoint.filter(|e| e.is_among(&self.endpoint_hosts())) else {
            return Ok(Err((Standing::Error, "its endpoint is not one that this server calls")));
        };
        let mut vendor = None;
        if asked.content == Content::Full {
            let found = agreement(tenant.vessel.control(), &endpoint, now).map_err(&failed)?;
            let Some(agreement) = found else {
                return Ok(Err((
                    Standing::Error,
                    "no agreement is in force with the vendor of its endpoint",
                )));
            };
            vendor = Some(agreement.vendor);
        }
        Ok(Ok(Ready { place, owner, asked, endpoint, vendor }))
    }

    /// Looks for events from where it stands. True when there are some: they are numbered
    /// and kept then, before anything of them leaves.
    async fn scan(&self, tenant: &Tenant, ready: &mut Ready) -> Result<bool, Failure> {
        let most = usize::try_from(ready.asked.most).unwrap_or(1);
        loop {
            let (seen, events, done) =
                tokio::task::block_in_place(|| self.look_on(tenant, ready, most))?;
            if let Some(found) = self.looked_at(tenant, ready, seen, &events, done)? {
                return Ok(found);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Keeps what was found: whether there is something to tell, or `None` when there is
    /// more to look at.
    fn looked_at(
        &self,
        tenant: &Tenant,
        ready: &mut Ready,
        seen: Seq,
        events: &[Event],
        done: bool,
    ) -> Result<Option<bool>, Failure> {
        let failed = Self::store_failure(&ready.owner);
        let mut held = tenant.subscriptions().map_err(&failed)?;
        let Some(mut place) = held.place(ready.place.row).cloned() else {
            return Ok(Some(false));
        };
        if place.version != ready.place.version {
            return Ok(Some(false));
        }
        place.seen = seen;
        if let Some(last) = events.last() {
            place.number = last.number;
            place.flight = events.to_vec();
            held.keep(tenant.vessel.outbox(), place.clone(), events, false).map_err(&failed)?;
            ready.place = place;
            return Ok(Some(true));
        }
        if seen.0.saturating_sub(place.kept_seen.0) >= UNKEPT {
            held.keep(tenant.vessel.outbox(), place, &[], false).map_err(&failed)?;
        } else {
            held.note(place.row, |p| p.seen = seen);
        }
        ready.place.seen = seen;
        Ok(done.then_some(false))
    }

    /// Looks at some changes: up to where, what the owner is to be told of, and whether
    /// that was all.
    fn look_on(
        &self,
        tenant: &Tenant,
        ready: &Ready,
        most: usize,
    ) -> Result<(Seq, Vec<Event>, bool), Failure> {
        let failed = Self::store_failure(&ready.owner);
        let Asked { topic, filters, .. } = &ready.asked;
        // Of other types not even the head is opened, once anybody knows which they are.
        let wanted = |ty: ResourceType| {
            topic.may_be(ty) && (filters.is_empty() || filters.iter().any(|q| q.ty == ty))
        };
        // A patient who was forgotten makes no event.
        let most_now = (most.saturating_mul(2).max(16), STRIDE);
        let stretch =
            tenant.vessel.changes_of(ready.place.seen, most_now, &wanted).map_err(&failed)?;
        let mut events: Vec<Event> = Vec::new();
        for (seq, found) in stretch.found {
            let Some(change) = self.concerns(tenant, ready, &found)? else { continue };
            let last = events.last().map_or(ready.place.number, |e| e.number);
            events.push(Event {
                number: last + 1,
                row: found.row,
                version: found.version,
                at: found.header.last_updated,
                change,
            });
            if events.len() >= most {
                return Ok((seq, events, false));
            }
        }
        Ok((stretch.seen, events, !stretch.more))
    }

    /// Whether a version is one that the owner is to be told of.
    fn concerns(
        &self,
        tenant: &Tenant,
        ready: &Ready,
        found: &Unopened,
    ) -> Result<Option<Change>, Failure> {
        let ty = found.header.ty;
        if !ready.asked.topic.may_be(ty) {
            return Ok(None);
        }
        let filters: Vec<&Query> = ready.asked.filters.iter().filter(|q| q.ty == ty).collect();
        if filters.is_empty() && !ready.asked.filters.is_empty() {
            return Ok(None);
        }
        let failed = Self::store_failure(&ready.owner);
        let before = match found.version.0.checked_sub(1).filter(|v| *v > 0) {
            Some(v) => tenant.vessel.find_version(found.row, Version(v)).map_err(&failed)?,
            None => None,
        };
        let change = match (found.header.deleted, &before) {
            (true, _) => Change::Deleted,
            (false, Some(before)) if !before.header.deleted => Change::Updated,
            (false, None) if found.version.0 > 1 => Change::Updated,
            (false, _) => Change::Created,
        };
        if !ready.asked.topic.is_about(ty, change)
            || self.may_tell(tenant, &ready.owner, found)?.is_none()
        {
            return Ok(None);
        }
        if filters.is_empty() {
            return Ok(Some(change));
        }
        // What was deleted is judged by what it was.
        let judged = if found.header.deleted { before.as_ref() } else { Some(found) };
        let Some(judged) = judged else { return Ok(None) };
        let Some(permit) = self.may_tell(tenant, &ready.owner, judged)? else { return Ok(None) };
        // Only what the owner may see is opened, so nothing else can decide.
        let opened = tenant.vessel.open_record(&permit, judged).map_err(&failed)?;
        let doc = parsed(opened.body()).map_err(&failed)?;
        let values = extract_again(&doc, ty);
        let candidate = Candidate {
            id: &judged.header.id,
            last_updated: judged.header.last_updated,
            values: &values.values,
            visible: permit.classes(),
        };
        Ok(filters.iter().all(|q| matches(q, &candidate)).then_some(change))
    }

    /// The permit to tell the owner of a version, when both it and what the record is now
    /// may be seen: a label set since hides its older versions as well.
    pub(super) fn may_tell(
        &self,
        tenant: &Tenant,
        owner: &Caller,
        found: &Unopened,
    ) -> Result<Option<Permit>, Failure> {
        let Ok(permit) = self.decide(tenant, owner, Action::Read, found)? else {
            return Ok(None);
        };
        let now = tenant.vessel.find_row(found.row).map_err(Self::store_failure(owner))?;
        match now {
            Some(now) if now.version == found.version => Ok(Some(permit)),
            Some(now) => {
                Ok(self.decide(tenant, owner, Action::Read, &now)?.is_ok().then_some(permit))
            }
            None => Ok(None),
        }
    }

    /// Makes a notification and the receipt for it.
    async fn send(
        &self,
        tenant: &Tenant,
        ready: Ready,
        kind: Kind,
        events: Vec<Event>,
        base: &str,
    ) -> Result<Next, Failure> {
        let Ready { place, owner, asked, endpoint, vendor } = ready;
        let mut e = entry::of(&owner, EventKind::Notification);
        entry::note(&mut e, DetailKey::Job, place.id.as_str().to_owned());
        entry::note(&mut e, DetailKey::Operation, kind.code().to_owned());
        let host = endpoint.authority();
        let recipient = vendor.map_or_else(|| host.clone(), |v| format!("{v} ({host})"));
        entry::note(&mut e, DetailKey::Recipient, recipient);
        let told = self.render(tenant, &owner, &events, asked.content, &mut e)?;
        if kind == Kind::Event && told.events.is_empty() {
            // All of them are the owner's no more, or of somebody forgotten.
            let mut held = tenant.subscriptions().map_err(Self::store_failure(&owner))?;
            if let Some(mut now) = held.place(place.row).cloned() {
                now.flight.clear();
                held.keep(tenant.vessel.outbox(), now, &[], false)
                    .map_err(Self::store_failure(&owner))?;
            }
            return Ok(Next::Again);
        }
        if kind == Kind::Event {
            entry::note(&mut e, DetailKey::Count, told.events.len().to_string());
        }
        let (form, body) = if asked.topic.is_search() {
            plain(&told, asked.content)
        } else {
            let about = About {
                base,
                id: place.id.as_str(),
                topic: asked.topic.url(),
                standing: place.standing,
                error: None,
                kind,
                events: place.number,
            };
            (Form::Bundle, self.bundle(&about, asked.content, &told))
        };
        let body = self.release(tenant, &owner, e, &told.permits, body, None).await?;
        let headers = place.terms.iter().flat_map(|t| &t.headers).filter_map(split).collect();
        Ok(Next::Send(Box::new(Outgoing {
            row: place.row,
            id: place.id,
            version: place.version,
            kind,
            endpoint,
            headers,
            timeout: asked.timeout.map(|s| Duration::from_secs(u64::from(s))),
            form,
            body,
        })))
    }

    /// The events that the owner may be told of at this moment, written into the entry.
    pub(super) fn render(
        &self,
        tenant: &Tenant,
        owner: &Caller,
        events: &[Event],
        content: Content,
        e: &mut Entry,
    ) -> Result<Told, Failure> {
        let failed = Self::store_failure(owner);
        let mut told = Told { events: Vec::new(), permits: Vec::new() };
        for event in events {
            let found = tenant.vessel.find_version(event.row, event.version).map_err(&failed)?;
            let Some(found) = found else { continue };
            let Some(permit) = self.may_tell(tenant, owner, &found)? else { continue };
            let (body, given) = match content {
                Content::Empty => (None, ClassSet::NONE),
                Content::IdOnly => (None, ClassSet::of(DataClass::Administrative)),
                Content::Full if found.header.deleted => {
                    (None, ClassSet::of(DataClass::Administrative))
                }
                Content::Full => {
                    let opened = tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
                    let given = opened.given;
                    (Some(opened.into_body()), given)
                }
            };
            entry::delivered(e, &found, &permit, given);
            told.events.push(Rendered {
                number: event.number,
                at: instant(event.at),
                change: event.change,
                ty: found.header.ty.name(),
                id: found.header.id.clone(),
                body,
            });
            told.permits.push(permit);
        }
        Ok(told)
    }

    /// The bytes of a notification.
    pub(super) fn bundle(&self, about: &About<'_>, content: Content, told: &Told) -> Bytes {
        let ids = [self.uuid(), self.uuid()];
        let at = instant(self.clock().now().as_microsecond());
        let n = about.notification(&ids, &at);
        let events: Vec<Focus<'_>> = told
            .events
            .iter()
            .map(|r| Focus {
                number: r.number,
                at: &r.at,
                change: r.change,
                record: (content != Content::Empty).then_some((r.ty, r.id.as_str())),
                body: r.body.as_deref().map(Vec::as_slice),
            })
            .collect();
        Bytes::from_owner(Zeroizing::new(notification(&n, &events)))
    }

    /// A random UUID (RFC 9562, version 4).
    pub(super) fn uuid(&self) -> String {
        let mut bytes = [0u8; 16];
        self.rng().fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// What R4's own kind of subscription is told of the one record that an event is about.
fn plain(told: &Told, content: Content) -> (Form, Bytes) {
    let event = told.events.first().filter(|_| content == Content::Full);
    match event.and_then(|e| Some((e, e.body.as_ref()?))) {
        Some((event, body)) => {
            let path = format!("{}/{}", event.ty, event.id.as_str());
            (Form::Record { path }, Bytes::from_owner(body.clone()))
        }
        None => (Form::Bare, Bytes::new()),
    }
}

/// Said when it is not known on whose behalf a subscription would be told.
pub(super) const LOST: &str = "nobody knows whose it is: write it again";
/// Stands for the reason that is kept already.
pub(super) const SAME: &str = "";

/// What a bundle says of its subscription.
pub(super) struct About<'a> {
    pub(super) base: &'a str,
    pub(super) id: &'a str,
    pub(super) topic: &'a str,
    pub(super) standing: Standing,
    pub(super) error: Option<&'a str>,
    pub(super) kind: Kind,
    pub(super) events: u64,
}

impl<'a> About<'a> {
    pub(super) fn notification(&self, ids: &'a [String; 2], at: &'a str) -> Notification<'a> {
        let [bundle, status] = ids;
        Notification {
            base: self.base,
            subscription: self.id,
            topic: self.topic,
            standing: self.standing,
            error: self.error,
            kind: self.kind,
            events: self.events,
            at,
            ids: [bundle, status],
        }
    }
}

/// Events that may leave, and the permits for them.
pub(super) struct Told {
    pub(super) events: Vec<Rendered>,
    pub(super) permits: Vec<Permit>,
}

/// One event with what is given of its record.
pub(super) struct Rendered {
    number: u64,
    at: String,
    change: Change,
    ty: &'static str,
    id: LogicalId,
    body: Option<Zeroizing<Vec<u8>>>,
}

fn split(secret: &Secret) -> Option<(String, Zeroizing<String>)> {
    header(&secret.0).map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned())))
}

/// What was stored passed stricter limits.
pub(super) fn parsed(bytes: &[u8]) -> Result<Doc, StoreError> {
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    Doc::parse(bytes, &limits)
        .map_err(|_| StoreError::Corrupt("a record that was opened is no JSON"))
}

/// A refusal of a parameter by name.
pub(super) fn refused(name: &str, text: &str) -> Failure {
    Failure::invalid(IssueCode::Value, name, text)
}
