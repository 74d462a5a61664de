//! Subscriptions as the R5 Subscriptions Backport has them for R4: what a Subscription
//! asks for, the topics that the server holds, and the notification bundles. Also R4's
//! own kind, whose criteria are a search and which is told by a bare request.
//!
//! It refuses what could not be kept: channels other than rest-hook, filters that can't
//! be decided on one record, addresses that are none. Whether somebody may be told is
//! not decided here.
//!
//! Source: <http://hl7.org/fhir/uv/subscriptions-backport/STU1.1>,
//! <https://hl7.org/fhir/R4/subscription.html>

mod bundle;
mod topic;

use crate::definitions::ResourceType;
use crate::issue::{Issue, IssueCode};
use crate::json::{Doc, Node};
use crate::search::{Query, is_local, parse_query, span};

pub use bundle::{Content, Focus, Kind, Notification, Standing, notification, status_bundle};
pub use topic::{Change, TOPICS, Topic};

const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

/// The most events that one notification carries.
pub const MOST_EVENTS: u32 = 100;
/// How many it carries when the Subscription does not say.
const USUAL_EVENTS: u32 = 20;
/// The shortest time between two heartbeats, seconds.
const SHORTEST_HEARTBEAT: u32 = 10;
/// The most headers.
const MOST_HEADERS: usize = 10;

/// What a Subscription asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Whether it is to be told anything at all: false for `off`.
    pub on: bool,
    /// The topic.
    pub topic: Topic,
    /// Conditions; all that are of a record's type must hold for it.
    pub filters: Vec<Query>,
    /// The address as written.
    pub endpoint: String,
    /// Headers to send, as `Name: value`. They may be secrets; [`MASKED`] stands for a
    /// value that was taken in before.
    pub headers: Vec<String>,
    /// How much a notification says.
    pub content: Content,
    /// Seconds between two notifications at most; none: no heartbeats.
    pub heartbeat: Option<u32>,
    /// Seconds that the endpoint has for its answer.
    pub timeout: Option<u32>,
    /// The most events in a notification.
    pub most: u32,
    /// When it ends, microseconds since the epoch.
    pub end: Option<i64>,
}

/// What is shown in the place of a header's value.
pub const MASKED: &str = "********";

/// Headers that are HTTP's or the server's own.
const NOT_YOURS: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// Splits `Name: value` (RFC 9110 §5).
#[must_use]
pub fn header(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let value = value.trim_matches(' ');
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(token)
        && (1..=4096).contains(&value.len())
        && value.bytes().all(|b| (0x20..0x7f).contains(&b));
    good.then_some((name, value))
}

struct Reader {
    issues: Vec<Issue>,
}

impl Reader {
    fn refuse(&mut self, code: IssueCode, path: &str, text: impl Into<String>) {
        self.issues.push(Issue::error(code, format!("Subscription.{path}"), text));
    }

    /// A whole number that an extension gives.
    fn number(
        &mut self,
        at: Option<Node<'_>>,
        name: &str,
        value: &str,
        range: (u32, u32),
    ) -> Option<u32> {
        let node = extension(at?, name)?;
        let number = node.member(value).and_then(Node::number_text).and_then(|t| t.parse().ok());
        let number = number.filter(|n| (range.0..=range.1).contains(n));
        if number.is_none() {
            let text = format!("{name} takes {value}, {} to {}", range.0, range.1);
            self.refuse(IssueCode::Value, "channel.extension", text);
        }
        number
    }
}

/// The extension of the backport with this name.
fn extension<'a>(of: Node<'a>, name: &str) -> Option<Node<'a>> {
    extensions(of, name).next()
}

fn extensions<'a, 'n>(of: Node<'a>, name: &'n str) -> impl Iterator<Item = Node<'a>> + use<'a, 'n> {
    of.member("extension").into_iter().flat_map(Node::items).filter(move |e| {
        e.member("url")
            .and_then(Node::as_str)
            .is_some_and(|u| u.strip_prefix(BACKPORT).is_some_and(|rest| rest == name))
    })
}

fn text(of: Node<'_>, name: &str) -> Option<String> {
    of.member(name).and_then(Node::as_str).map(std::borrow::Cow::into_owned)
}

/// Reads a Subscription that was found valid.
///
/// # Errors
/// An issue for each thing that can't be kept.
pub fn read(doc: &Doc) -> Result<Asked, Vec<Issue>> {
    let root = doc.root();
    let mut r = Reader { issues: Vec::new() };
    let criteria = text(root, "criteria").unwrap_or_default();
    let mut filters = Vec::new();
    let of_type = criteria.split_once('?').and_then(|(ty, _)| ResourceType::from_name(ty));
    let topic = match of_type {
        Some(ty) => {
            match filter(&criteria) {
                Ok(query) => filters.push(query),
                Err(why) => r.refuse(IssueCode::NotSupported, "criteria", why),
            }
            Topic::of_search(ty)
        }
        None => Topic::from_url(&criteria),
    };
    if topic.is_none() {
        r.refuse(
            IssueCode::NotSupported,
            "criteria",
            "criteria is the canonical URL of a topic that this server holds (see the \
             CapabilityStatement), or a search such as Observation?code=1234-5",
        );
    }
    let plain = topic.as_ref().is_some_and(Topic::is_search);
    let below = root.member("_criteria");
    if plain && below.is_some_and(|n| extension(n, "backport-filter-criteria").is_some()) {
        r.refuse(
            IssueCode::Value,
            "criteria.extension",
            "criteria that are a search filter by themselves: filters go with a topic",
        );
    }
    for e in below.into_iter().flat_map(|n| extensions(n, "backport-filter-criteria")) {
        let Some(value) = text(e, "valueString") else {
            r.refuse(IssueCode::Value, "criteria.extension", "a filter takes valueString");
            continue;
        };
        match filter(&value) {
            Ok(query) => {
                if topic.as_ref().is_some_and(|t| !t.may_be(query.ty)) {
                    r.refuse(
                        IssueCode::Value,
                        "criteria.extension",
                        "a filter is of a type that the topic is never about",
                    );
                }
                filters.push(query);
            }
            Err(why) => r.refuse(IssueCode::Value, "criteria.extension", why),
        }
    }
    let channel = root.member("channel");
    let of_channel = |name: &str| channel.and_then(|c| text(c, name));
    if of_channel("type").as_deref() != Some("rest-hook")
        || channel.is_some_and(|c| extension(c, "backport-channel-type").is_some())
    {
        r.refuse(IssueCode::NotSupported, "channel.type", "only rest-hook is supported");
    }
    if let Some(mime) = of_channel("payload")
        && !matches!(
            mime.split(';').next().unwrap_or("").trim(),
            "application/fhir+json" | "application/json"
        )
    {
        r.refuse(
            IssueCode::NotSupported,
            "channel.payload",
            "notifications are application/fhir+json",
        );
    }
    let content = channel
        .and_then(|c| c.member("_payload"))
        .and_then(|p| extension(p, "backport-payload-content"))
        .map(|e| text(e, "valueCode").unwrap_or_default());
    let payload = of_channel("payload").is_some();
    let content = match content.as_deref() {
        // With a payload the record itself is sent, without one nothing is
        // (https://hl7.org/fhir/R4/subscription-definitions.html#Subscription.channel.payload).
        None if plain && payload => Content::Full,
        None if plain => Content::Empty,
        Some(_) if plain => {
            r.refuse(
                IssueCode::Value,
                "channel.payload.extension",
                "how much is told goes with a topic: with a search, channel.payload asks for \
                 the record itself, and without it nothing is sent but a bare request",
            );
            Content::Empty
        }
        None => Content::IdOnly,
        Some(code) => Content::from_code(code).unwrap_or_else(|| {
            r.refuse(
                IssueCode::Value,
                "channel.payload.extension",
                "the payload content is empty, id-only or full-resource",
            );
            Content::Empty
        }),
    };
    let headers: Vec<String> = channel
        .and_then(|c| c.member("header"))
        .into_iter()
        .flat_map(Node::items)
        .filter_map(|n| n.as_str().map(std::borrow::Cow::into_owned))
        .collect();
    let known = |h: &String| {
        header(h).is_some_and(|(name, _)| {
            let name = name.to_ascii_lowercase();
            !NOT_YOURS.contains(&name.as_str()) && !name.starts_with("proxy-")
        })
    };
    if headers.len() > MOST_HEADERS || !headers.iter().all(known) {
        r.refuse(
            IssueCode::Value,
            "channel.header",
            format!(
                "at most {MOST_HEADERS} headers, each as Name: value, and none that is HTTP's own"
            ),
        );
    }
    let heartbeat = r.number(
        channel,
        "backport-heartbeat-period",
        "valueUnsignedInt",
        (SHORTEST_HEARTBEAT, 31 * 86_400),
    );
    if plain && heartbeat.is_some() {
        let text = "a heartbeat goes with a topic: a bare request would tell of a change";
        r.refuse(IssueCode::Value, "channel.extension", text);
    }
    let timeout = r.number(channel, "backport-timeout", "valueUnsignedInt", (1, 3_600));
    let most = r.number(channel, "backport-max-count", "valuePositiveInt", (1, u32::MAX));
    let end = text(root, "end").and_then(|e| span(&e)).map(|s| s.low);
    let on = text(root, "status").as_deref() != Some("off");
    let endpoint = of_channel("endpoint").unwrap_or_default();
    match topic {
        Some(topic) if r.issues.is_empty() => Ok(Asked {
            on,
            topic,
            filters,
            endpoint,
            headers,
            content,
            heartbeat,
            timeout,
            // R4 tells of one record at a time.
            most: if plain { 1 } else { most.unwrap_or(USUAL_EVENTS).min(MOST_EVENTS) },
            end,
        }),
        _ => Err(r.issues),
    }
}

/// Reads `Type?name=value&...`.
fn filter(value: &str) -> Result<Query, String> {
    let (ty, rest) = value.split_once('?').ok_or("a filter is Type?name=value")?;
    let ty = ResourceType::from_name(ty).ok_or("a filter begins with a type of R4")?;
    let pairs: Vec<(String, String)> = rest
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    let query = parse_query(ty, &pairs).map_err(|issues| {
        issues.into_iter().next().map_or_else(|| "not a search".to_owned(), |i| i.text)
    })?;
    let plain = Query { filters: query.filters.clone(), ..Query::all(ty) };
    if plain != query || !is_local(&query) {
        return Err("a filter takes search parameters of the record itself: no result \
                    parameters, no chains, no value sets"
            .to_owned());
    }
    Ok(query)
}

/// Undoes percent-encoding; what is no UTF-8 then stays as it is.
fn decoded(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let escape = match (first, more) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h * 16 + l),
            _ => None,
        };
        match escape {
            Some(byte) => {
                out.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                out.push(if *first == b'+' { b' ' } else { *first });
                rest = more;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// Sets `status`, takes `error` out or puts another in, and masks the values of headers.
/// The result is text that [`Doc::parse`] takes.
///
/// # Errors
/// An issue when the text can't be edited, which what was found valid can.
pub fn rewritten(
    doc: &Doc,
    status: Option<&str>,
    error: Option<&str>,
) -> Result<Vec<u8>, Vec<Issue>> {
    let mut edits = crate::Edits::new();
    let root = doc.root();
    let quoted = |text: &str| {
        let mut out = String::new();
        crate::issue::write_string(&mut out, text);
        out
    };
    if let (Some(status), Some(node)) = (status, root.member("status")) {
        edits.replace(node.range(), quoted(status));
        match (root.member("error"), error) {
            (Some(node), Some(error)) => edits.replace(node.range(), quoted(error)),
            // An error that is over has no empty form in FHIR: the words say so.
            (Some(node), None) => edits.replace(node.range(), quoted("none since")),
            (None, Some(error)) => {
                let at = root.member("status").map_or(0, |n| n.range().end);
                edits.replace(at..at, format!(",\"error\":{}", quoted(error)));
            }
            (None, None) => {}
        }
    }
    for node in
        root.member("channel").and_then(|c| c.member("header")).into_iter().flat_map(Node::items)
    {
        if let Some((name, _)) = node.as_str().as_deref().and_then(header) {
            edits.replace(node.range(), quoted(&format!("{name}: {MASKED}")));
        }
    }
    edits.apply(doc).map_err(|e| vec![Issue::error(IssueCode::Structure, "", e.to_string())])
}

#[cfg(test)]
mod tests;
