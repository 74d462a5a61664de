//! Notification bundles: a Bundle of type `history` whose first entry is the
//! subscription's status as a Parameters resource (profile
//! `backport-subscription-status-r4`).
//!
//! Source: <http://hl7.org/fhir/uv/subscriptions-backport/STU1.1/notifications.html>

use super::BACKPORT;
use super::topic::Change;
use crate::issue::write_string;

/// How much a notification says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// That something happened.
    Empty,
    /// To which record.
    IdOnly,
    /// The record as its subscriber may see it.
    Full,
}

impl Content {
    /// The code (value set `backport-content-value-set`).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Content::Empty => "empty",
            Content::IdOnly => "id-only",
            Content::Full => "full-resource",
        }
    }

    /// The content with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        [Content::Empty, Content::IdOnly, Content::Full].into_iter().find(|c| c.code() == code)
    }
}

/// Why a notification is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To see whether the endpoint takes it.
    Handshake,
    /// To show that nothing happened.
    Heartbeat,
    /// Something happened.
    Event,
    /// Somebody asked how it stands.
    QueryStatus,
    /// Somebody asked for events again.
    QueryEvent,
}

impl Kind {
    /// The code (R5 `subscription-notification-type`).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Kind::Handshake => "handshake",
            Kind::Heartbeat => "heartbeat",
            Kind::Event => "event-notification",
            Kind::QueryStatus => "query-status",
            Kind::QueryEvent => "query-event",
        }
    }
}

/// How a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Asked for; its endpoint has not answered yet.
    Requested,
    /// It is told what happens.
    Active,
    /// It can't be told, until it is asked for anew.
    Error,
    /// It is over, until it is asked for anew.
    Off,
}

impl Standing {
    /// The code (R4 `subscription-status`).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Standing::Requested => "requested",
            Standing::Active => "active",
            Standing::Error => "error",
            Standing::Off => "off",
        }
    }

    /// The standing with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        [Standing::Requested, Standing::Active, Standing::Error, Standing::Off]
            .into_iter()
            .find(|s| s.code() == code)
    }
}

/// What a notification says of its subscription.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'a> {
    /// The base URL of the server.
    pub base: &'a str,
    /// The subscription's logical id.
    pub subscription: &'a str,
    /// The topic's canonical URL.
    pub topic: &'a str,
    /// How it stands.
    pub standing: Standing,
    /// Why it can't be told, when it can't.
    pub error: Option<&'a str>,
    /// Why this is sent.
    pub kind: Kind,
    /// The number of the last event so far.
    pub events: u64,
    /// When this is made, RFC 3339.
    pub at: &'a str,
    /// A UUID for this bundle, and one for its status.
    pub ids: [&'a str; 2],
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub struct Focus<'a> {
    /// Its number.
    pub number: u64,
    /// When it happened, RFC 3339.
    pub at: &'a str,
    /// What happened.
    pub change: Change,
    /// `Type/id`; none for [`Content::Empty`].
    pub record: Option<(&'a str, &'a str)>,
    /// The record's JSON, for [`Content::Full`] of what was not deleted.
    pub body: Option<&'a [u8]>,
}

struct Out(Vec<u8>);

impl Out {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) {
        let mut quoted = String::with_capacity(text.len() + 2);
        write_string(&mut quoted, text);
        self.raw(&quoted);
    }

    fn parameter(&mut self, name: &str, value: &str, text: &str) {
        self.raw(",{\"name\":\"");
        self.raw(name);
        self.raw("\",\"");
        self.raw(value);
        self.raw("\":");
        self.string(text);
        self.raw("}");
    }

    fn reference(&mut self, url: &str) {
        self.raw("{\"reference\":");
        self.string(url);
        self.raw("}");
    }

    /// The Parameters.
    fn status(&mut self, n: &Notification<'_>, events: &[Focus<'_>]) {
        self.raw("{\"resourceType\":\"Parameters\",\"id\":");
        self.string(n.ids[1]);
        self.raw(",\"meta\":{\"profile\":[\"");
        self.raw(BACKPORT);
        self.raw("backport-subscription-status-r4\"]},\"parameter\":[");
        self.raw("{\"name\":\"subscription\",\"valueReference\":");
        self.reference(&format!("{}/Subscription/{}", n.base, n.subscription));
        self.raw("}");
        self.parameter("topic", "valueCanonical", n.topic);
        self.parameter("status", "valueCode", n.standing.code());
        self.parameter("type", "valueCode", n.kind.code());
        self.parameter("events-since-subscription-start", "valueString", &n.events.to_string());
        for e in events {
            self.raw(",{\"name\":\"notification-event\",\"part\":[{\"name\":\"event-number\",");
            self.raw("\"valueString\":");
            self.string(&e.number.to_string());
            self.raw("}");
            self.parameter("timestamp", "valueInstant", e.at);
            if let Some((ty, id)) = e.record {
                self.raw(",{\"name\":\"focus\",\"valueReference\":");
                self.reference(&format!("{}/{ty}/{id}", n.base));
                self.raw("}");
            }
            self.raw("]}");
        }
        if let Some(error) = n.error {
            self.raw(",{\"name\":\"error\",\"valueCodeableConcept\":{\"text\":");
            self.string(error);
            self.raw("}}");
        }
        self.raw("]}");
    }
}

/// The bundle of a notification, or of the answer to `$events`.
#[must_use]
pub fn notification(n: &Notification<'_>, events: &[Focus<'_>]) -> Vec<u8> {
    let room = events.iter().map(|e| 600 + e.body.map_or(0, <[u8]>::len)).sum::<usize>();
    let mut out = Out(Vec::with_capacity(1500 + room));
    out.raw("{\"resourceType\":\"Bundle\",\"id\":");
    out.string(n.ids[0]);
    out.raw(",\"meta\":{\"profile\":[\"");
    out.raw(BACKPORT);
    out.raw("backport-subscription-notification-r4\"]},\"type\":\"history\",\"timestamp\":");
    out.string(n.at);
    out.raw(",\"entry\":[{\"fullUrl\":");
    out.string(&format!("urn:uuid:{}", n.ids[1]));
    out.raw(",\"resource\":");
    out.status(n, events);
    out.raw(",\"request\":{\"method\":\"GET\",\"url\":");
    out.string(&format!("{}/Subscription/{}/$status", n.base, n.subscription));
    out.raw("},\"response\":{\"status\":\"200\"}}");
    for e in events {
        let Some((ty, id)) = e.record else { continue };
        let url = format!("{}/{ty}/{id}", n.base);
        out.raw(",{\"fullUrl\":");
        out.string(&url);
        if let Some(body) = e.body {
            out.raw(",\"resource\":");
            out.0.extend_from_slice(body);
        }
        let (method, status) = match e.change {
            Change::Created => ("PUT", "201"),
            Change::Updated => ("PUT", "200"),
            Change::Deleted => ("DELETE", "204"),
        };
        out.raw(",\"request\":{\"method\":\"");
        out.raw(method);
        out.raw("\",\"url\":");
        out.string(&format!("{ty}/{id}"));
        out.raw("},\"response\":{\"status\":\"");
        out.raw(status);
        out.raw("\"}}");
    }
    out.raw("]}");
    out.0
}

/// The answer to `$status`: a searchset with the status of each. `id` is a UUID for the
/// bundle, `at` when it is made.
#[must_use]
pub fn status_bundle(id: &str, at: &str, all: &[Notification<'_>]) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(500 + 1000 * all.len()));
    out.raw("{\"resourceType\":\"Bundle\",\"id\":");
    out.string(id);
    out.raw(",\"type\":\"searchset\",\"timestamp\":");
    out.string(at);
    out.raw(",\"total\":");
    out.raw(&all.len().to_string());
    for (i, n) in all.iter().enumerate() {
        out.raw(if i == 0 { ",\"entry\":[{\"fullUrl\":" } else { ",{\"fullUrl\":" });
        out.string(&format!("urn:uuid:{}", n.ids[1]));
        out.raw(",\"resource\":");
        out.status(n, &[]);
        out.raw(",\"search\":{\"mode\":\"match\"}}");
    }
    out.raw(if all.is_empty() { "}" } else { "]}" });
    out.0
}
