//! The load: clients over TLS that write, read and search until the server is gone.
//!
//! Each client has records of its own, whose state it always knows, so that it can say
//! at once when an answer is wrong; some records are fought over by all. What got no
//! answer goes into the ledger as a doubt. It refuses to send anything twice.
#![expect(clippy::indexing_slicing, reason = "JSON without a member reads as null")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::dice::{self, Dice, SYSTEM};
use super::ledger::{Attempt, Ledger, Look, Part, State, Target};
use crate::world::{Answer, fhir, try_send};

/// Records that all clients fight over.
pub const COUNTERS: [&str; 3] =
    ["Observation/counter-0", "Observation/counter-1", "Observation/counter-2"];

/// A server as the load sees it.
#[derive(Clone, Debug)]
pub struct Access {
    /// The FHIR base URL.
    pub base: String,
    /// The client that trusts it.
    pub client: Client,
    /// A bearer token.
    pub token: String,
}

impl Access {
    /// A request; `path` is relative to the base.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.is_empty() { self.base.clone() } else { format!("{}/{path}", self.base) };
        self.client.request(method, url).bearer_auth(&self.token)
    }

    /// `POST [type]/_search`; `None` when there is no answer.
    #[must_use]
    pub fn search(&self, ty: &str, query: String) -> Option<Answer> {
        try_send(
            self.request(Method::POST, &format!("{ty}/_search"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(query),
        )
    }
}

/// How a `read` or `vread` answers: a version's state, and which version it is.
#[must_use]
pub fn state_of(answer: &Answer) -> Option<(u64, State)> {
    match answer.status {
        200 => {
            let json = answer.json();
            let version = json["meta"]["versionId"].as_str()?.parse().ok()?;
            Some((version, State::Body(dice::fingerprint(&json))))
        }
        410 => Some((0, State::Gone)),
        _ => None,
    }
}

/// The ids in a searchset, as `Type/id`.
#[must_use]
pub fn found(ty: &str, answer: &Answer) -> Vec<String> {
    answer.ids("match").iter().map(|id| format!("{ty}/{id}")).collect()
}

/// A look through the server. An answer that is none stops the run: nothing may end the
/// server while it is looked at.
impl Look for Access {
    #[expect(clippy::panic, reason = "without an answer nothing can be said")]
    fn version(&self, path: &str, version: u64) -> Option<State> {
        let request = self.request(Method::GET, &format!("{path}/_history/{version}"));
        let Some(answer) = try_send(request) else { panic!("no answer to a vread of {path}") };
        match (answer.status, state_of(&answer)) {
            (404, _) => None,
            (410, _) => Some(State::Gone),
            (200, Some((v, state))) if v == version => Some(state),
            (status, _) => panic!("vread {version} of {path}: {status} {}", answer.text()),
        }
    }

    #[expect(clippy::panic, reason = "without an answer nothing can be said")]
    fn find(&self, ty: &str, marker: &str) -> Vec<String> {
        match self.search(ty, format!("identifier={SYSTEM}|{marker}")) {
            Some(answer) if answer.status == 200 => found(ty, &answer),
            other => panic!("search for {marker}: {:?}", other.map(|a| (a.status, a.text()))),
        }
    }
}

/// A record of a client's own.
#[derive(Clone, Debug)]
pub struct Own {
    ty: &'static str,
    path: String,
    marker: String,
}

/// What all clients share.
pub struct Shared<'a> {
    /// The server.
    pub access: Access,
    /// What was promised.
    pub ledger: &'a Mutex<Ledger>,
    /// Numbers operations.
    pub next: &'a AtomicU64,
    /// Which cycle this is.
    pub cycle: u64,
    /// When to stop even if the server still stands.
    pub until: Instant,
    /// What was answered with success: the number of each request.
    pub answered: &'a Mutex<Vec<(&'static str, String)>>,
}

impl Shared<'_> {
    fn heard(&self, kind: &'static str, answer: &Answer) {
        if answer.status < 300 {
            let number = answer.header("x-request-id").to_owned();
            self.answered.lock().unwrap_or_else(PoisonError::into_inner).push((kind, number));
        }
    }
}

/// One client. Its records live as long as the run.
pub struct Worker {
    id: u64,
    dice: Dice,
    own: Vec<Own>,
}

/// The end of a client's cycle: the server is gone.
struct Gone;

type Step = Result<(), Gone>;

impl Worker {
    /// Client number `id`.
    #[must_use]
    pub fn new(seed: u64, id: u64) -> Self {
        Worker { id, dice: Dice::new(seed, [id, 77]), own: Vec::new() }
    }

    /// Works until the server is gone.
    pub fn run(&mut self, shared: &Shared<'_>) {
        // Nobody sends on it: waiting on it is waiting for time to pass.
        let (_silent, clock) = std::sync::mpsc::channel::<()>();
        while Instant::now() < shared.until {
            if self.dice.chance(60) {
                let _ = clock.recv_timeout(Duration::from_millis(self.dice.below(40)));
            }
            let roll = self.dice.below(100);
            let step = match roll {
                0..18 => self.create(shared),
                18..24 => self.put_new(shared),
                24..44 => self.update(shared, true),
                44..49 => self.update(shared, false),
                49..52 => self.stale(shared),
                52..57 => self.delete(shared),
                57..64 => self.create_once(shared),
                64..70 => self.bundle(shared, true),
                70..75 => self.bundle(shared, false),
                75..80 => self.counter(shared),
                80..90 => self.read(shared),
                90..96 => self.search(shared),
                96..98 => self.history(shared),
                _ => self.old(shared),
            };
            if step.is_err() {
                return;
            }
        }
    }

    fn number(shared: &Shared<'_>) -> u64 {
        shared.next.fetch_add(1, Ordering::Relaxed)
    }

    fn marker(&self, shared: &Shared<'_>, n: u64) -> String {
        format!("c{}-w{}-n{n}", shared.cycle, self.id)
    }

    /// One of its own records whose state is certain, and that state.
    fn choose(&mut self, shared: &Shared<'_>, alive: bool) -> Option<(Own, u64, State)> {
        let recent = self.own.len().saturating_sub(60);
        let some = self.own.get(if self.dice.chance(70) { recent } else { 0 }..)?;
        let own = self.dice.pick(some)?.clone();
        let ledger = held(shared.ledger);
        let record = ledger.records.get(&own.path)?;
        let (version, state) = record.last()?;
        (!record.doubtful && (!alive || state != State::Gone)).then_some((own, version, state))
    }

    /// Sends a write and writes down what came of it. `refusable`: a refusal is an
    /// answer, too.
    fn write(
        &mut self,
        shared: &Shared<'_>,
        request: RequestBuilder,
        attempt: Attempt,
        refusable: bool,
    ) -> Result<Vec<String>, Gone> {
        held(shared.ledger).count(attempt.kind).sent += 1;
        let answer = try_send(request);
        if let Some(answer) = &answer {
            shared.heard(attempt.kind, answer);
        }
        let mut ledger = held(shared.ledger);
        let Some(answer) = answer else {
            ledger.doubt(attempt);
            return Err(Gone);
        };
        match answer.status {
            200 | 201 | 204 => {}
            412 | 409 if refusable => {
                ledger.count(attempt.kind).refused += 1;
                return Ok(Vec::new());
            }
            // Not acknowledged, and perhaps stored all the same.
            500..600 => {
                ledger.count("answered 5xx").sent += 1;
                ledger.doubt(attempt);
                return Ok(Vec::new());
            }
            status => {
                ledger.find(format!("{} was answered {status}: {}", attempt.kind, answer.text()));
                return Ok(Vec::new());
            }
        }
        let places = places(&answer, attempt.parts.len());
        if places.len() != attempt.parts.len() {
            ledger.find(format!(
                "{} of {} parts was answered with {} places: {}",
                attempt.kind,
                attempt.parts.len(),
                places.len(),
                answer.text()
            ));
            return Ok(Vec::new());
        }
        ledger.count(attempt.kind).acknowledged += 1;
        for (part, (path, version)) in attempt.parts.iter().zip(&places) {
            ledger.acknowledge(part, path, *version);
        }
        Ok(places.into_iter().map(|(path, _)| path).collect())
    }

    fn create(&mut self, shared: &Shared<'_>) -> Step {
        let n = Self::number(shared);
        let marker = self.marker(shared, n);
        let body = dice::observation(&mut self.dice, &marker, n);
        let part = Part {
            target: Target::New("Observation", marker.clone()),
            state: State::Body(dice::fingerprint(&body)),
            if_match: None,
        };
        let request = fhir(shared.access.request(Method::POST, "Observation"), &body)
            .header("prefer", self.preference());
        let made = self.write(shared, request, one("create", part), false)?;
        self.own.extend(made.into_iter().map(|path| Own {
            ty: "Observation",
            path,
            marker: marker.clone(),
        }));
        Ok(())
    }

    fn preference(&mut self) -> &'static str {
        if self.dice.chance(50) { "return=minimal" } else { "return=representation" }
    }

    fn put_new(&mut self, shared: &Shared<'_>) -> Step {
        let n = Self::number(shared);
        let marker = self.marker(shared, n);
        let mut body = dice::observation(&mut self.dice, &marker, n);
        body["id"] = json!(format!("put-{marker}"));
        let path = format!("Observation/put-{marker}");
        let part = Part {
            target: Target::Known(path.clone()),
            state: State::Body(dice::fingerprint(&body)),
            if_match: None,
        };
        let mut request = fhir(shared.access.request(Method::PUT, &path), &body);
        if self.dice.chance(50) {
            request = request.header("if-none-match", "*");
        }
        // Its own even without an answer: once settled, it may be written to again.
        self.own.push(Own { ty: "Observation", path, marker });
        self.write(shared, request, one("create by PUT", part), false).map(|_| ())
    }

    /// The next version of one of its own.
    fn next_of(&mut self, own: &Own, n: u64) -> Value {
        let mut body = match own.ty {
            "Patient" => dice::patient(&mut self.dice, &own.marker, n),
            _ => dice::observation(&mut self.dice, &own.marker, n),
        };
        body["id"] = json!(own.path.split('/').nth(1));
        body
    }

    /// With If-Match only what is there has a version to match (RFC 9110, 13.1.1);
    /// without, what was deleted comes back.
    fn update(&mut self, shared: &Shared<'_>, matched: bool) -> Step {
        let Some((own, version, _)) = self.choose(shared, matched) else { return Ok(()) };
        let n = Self::number(shared);
        let body = self.next_of(&own, n);
        let part = Part {
            target: Target::Known(own.path.clone()),
            state: State::Body(dice::fingerprint(&body)),
            if_match: Some(version),
        };
        let mut request = fhir(shared.access.request(Method::PUT, &own.path), &body)
            .header("prefer", self.preference());
        if matched {
            request = request.header("if-match", format!("W/\"{version}\""));
        }
        let kind = if matched { "update, If-Match" } else { "update" };
        self.write(shared, request, one(kind, part), false).map(|_| ())
    }

    /// An update of a version that is not the current one: refused, and nothing changes.
    fn stale(&mut self, shared: &Shared<'_>) -> Step {
        let Some((own, version, _)) = self.choose(shared, true) else { return Ok(()) };
        if version < 2 {
            return Ok(());
        }
        let n = Self::number(shared);
        let body = self.next_of(&own, n);
        let part = Part {
            target: Target::Known(own.path.clone()),
            state: State::Body(dice::fingerprint(&body)),
            if_match: Some(version - 1),
        };
        let request = fhir(shared.access.request(Method::PUT, &own.path), &body)
            .header("if-match", format!("W/\"{}\"", version - 1));
        self.write(shared, request, one("update, stale", part), true).map(|_| ())
    }

    fn delete(&mut self, shared: &Shared<'_>) -> Step {
        let Some((own, version, _)) = self.choose(shared, true) else { return Ok(()) };
        if own.ty == "Patient" {
            return Ok(());
        }
        let part = Part {
            target: Target::Known(own.path.clone()),
            state: State::Gone,
            if_match: Some(version),
        };
        let request = shared.access.request(Method::DELETE, &own.path);
        self.write(shared, request, one("delete", part), false).map(|_| ())
    }

    /// A conditional create that others try, too, in this cycle and the next.
    fn create_once(&mut self, shared: &Shared<'_>) -> Step {
        let cycle = shared.cycle.saturating_sub(u64::from(self.dice.chance(25)));
        let marker = format!("once-c{cycle}-{}", self.dice.below(12));
        let body = dice::contested(&marker);
        let part = Part {
            target: Target::One("Observation", marker.clone()),
            state: State::Body(dice::fingerprint(&body)),
            if_match: None,
        };
        let request = fhir(shared.access.request(Method::POST, "Observation"), &body)
            .header("if-none-exist", format!("identifier={SYSTEM}|{marker}"));
        self.write(shared, request, one("conditional create", part), false).map(|_| ())
    }

    /// A transaction or a batch: a new patient with observations, and a change to a
    /// record of its own. A transaction stands or falls as one.
    fn bundle(&mut self, shared: &Shared<'_>, atomic: bool) -> Step {
        let n = Self::number(shared);
        let mut parts = Vec::new();
        let mut entries = Vec::new();
        let mut fresh: Vec<(&'static str, String)> = Vec::new();
        let urn = "urn:uuid:00000000-0000-4000-8000-000000000001";
        for i in 0..self.dice.below(6) + 2 {
            let marker = format!("{}-{i}", self.marker(shared, n));
            let (ty, mut body) = match i {
                0 => ("Patient", dice::patient(&mut self.dice, &marker, n)),
                _ => ("Observation", dice::observation(&mut self.dice, &marker, n)),
            };
            if atomic && i > 0 {
                body["subject"] = json!({ "reference": urn });
            }
            parts.push(Part {
                target: Target::New(ty, marker.clone()),
                state: State::Body(dice::fingerprint(&body)),
                if_match: None,
            });
            let mut entry = json!({"resource": body, "request": {"method": "POST", "url": ty}});
            if i == 0 {
                entry["fullUrl"] = json!(urn);
                if self.dice.chance(40) {
                    entry["request"]["ifNoneExist"] =
                        json!(format!("identifier={SYSTEM}|{marker}"));
                }
            }
            entries.push(entry);
            fresh.push((ty, marker));
        }
        if let Some((own, version, _)) = self.choose(shared, true) {
            let body = self.next_of(&own, n);
            parts.push(Part {
                target: Target::Known(own.path.clone()),
                state: State::Body(dice::fingerprint(&body)),
                if_match: Some(version),
            });
            let tag = format!("W/\"{version}\"");
            entries.push(json!({"resource": body,
                "request": {"method": "PUT", "url": own.path, "ifMatch": tag}}));
        }
        let kind = if atomic { "transaction" } else { "batch" };
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
        let attempt = Attempt { kind, parts, atomic, acknowledged: false };
        let request = fhir(shared.access.request(Method::POST, ""), &bundle);
        let made = self.write(shared, request, attempt, false)?;
        for ((ty, marker), path) in fresh.into_iter().zip(made) {
            self.own.push(Own { ty, path, marker });
        }
        Ok(())
    }

    /// An update of what all fight over: for each version one of them wins.
    fn counter(&mut self, shared: &Shared<'_>) -> Step {
        let Some(path) = self.dice.pick(&COUNTERS) else { return Ok(()) };
        let version = {
            let ledger = held(shared.ledger);
            ledger.records.get(*path).and_then(|r| r.last()).map_or(0, |(v, _)| v)
        };
        let n = Self::number(shared);
        let own = Own { ty: "Observation", path: (*path).to_owned(), marker: (*path).to_owned() };
        let body = self.next_of(&own, n);
        let part = Part {
            target: Target::Known(own.path.clone()),
            state: State::Body(dice::fingerprint(&body)),
            if_match: (version > 0).then_some(version),
        };
        let request = fhir(shared.access.request(Method::PUT, path), &body);
        let request = match version {
            0 => request.header("if-none-match", "*"),
            v => request.header("if-match", format!("W/\"{v}\"")),
        };
        self.write(shared, request, one("update, contended", part), true).map(|_| ())
    }

    /// What was just written is read.
    fn read(&mut self, shared: &Shared<'_>) -> Step {
        let Some((own, version, state)) = self.choose(shared, false) else { return Ok(()) };
        let answer = self.ask(shared, "read", shared.access.request(Method::GET, &own.path))?;
        match state_of(&answer) {
            Some((v, found)) if found == state && (v == version || state == State::Gone) => {}
            _ => held(shared.ledger).find(format!(
                "a read of {} at version {version} was answered {}: {}",
                own.path,
                answer.status,
                answer.text()
            )),
        }
        Ok(())
    }

    /// An old version.
    fn old(&mut self, shared: &Shared<'_>) -> Step {
        let Some((own, version, _)) = self.choose(shared, false) else { return Ok(()) };
        let v = self.dice.below(version) + 1;
        let wanted = {
            let ledger = held(shared.ledger);
            ledger.records.get(&own.path).and_then(|r| r.versions.get(&v).copied())
        };
        let path = format!("{}/_history/{v}", own.path);
        let answer = self.ask(shared, "vread", shared.access.request(Method::GET, &path))?;
        if wanted.is_some() && state_of(&answer).map(|(_, s)| s) != wanted {
            held(shared.ledger).find(format!("a vread of {path} was answered {}", answer.status));
        }
        Ok(())
    }

    /// The history has every version, each once.
    fn history(&mut self, shared: &Shared<'_>) -> Step {
        let Some((own, version, _)) = self.choose(shared, false) else { return Ok(()) };
        let path = format!("{}/_history?_count=1000", own.path);
        let answer = self.ask(shared, "history", shared.access.request(Method::GET, &path))?;
        let json = answer.json();
        let listed = json["entry"].as_array().map_or(0, Vec::len) as u64;
        if json["total"].as_u64() != Some(version) || listed != version {
            held(shared.ledger).find(format!(
                "the history of {} at version {version} was answered {} with {listed} of {}",
                own.path, answer.status, json["total"]
            ));
        }
        Ok(())
    }

    /// What was just written is found, once; what was deleted is not.
    fn search(&mut self, shared: &Shared<'_>) -> Step {
        let Some((own, version, state)) = self.choose(shared, false) else { return Ok(()) };
        let query = format!("identifier={SYSTEM}|{}", own.marker);
        let request = shared
            .access
            .request(Method::POST, &format!("{}/_search", own.ty))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(query);
        let answer = self.ask(shared, "search", request)?;
        let wanted: &[String] =
            if state == State::Gone { &[] } else { std::slice::from_ref(&own.path) };
        let ids = found(own.ty, &answer);
        if answer.status != 200 || ids != wanted {
            held(shared.ledger).find(format!(
                "a search for {} (version {version}, {state:?}) was answered {} with {ids:?}",
                own.path, answer.status
            ));
        }
        Ok(())
    }

    fn ask(
        &mut self,
        shared: &Shared<'_>,
        kind: &'static str,
        request: RequestBuilder,
    ) -> Result<Answer, Gone> {
        held(shared.ledger).count(kind).sent += 1;
        let Some(answer) = try_send(request) else {
            held(shared.ledger).count(kind).absent += 1;
            return Err(Gone);
        };
        shared.heard(kind, &answer);
        held(shared.ledger).count(kind).acknowledged += 1;
        Ok(answer)
    }
}

fn one(kind: &'static str, part: Part) -> Attempt {
    Attempt { kind, parts: vec![part], atomic: true, acknowledged: false }
}

/// The ledger, also after a client has failed.
pub fn held(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an answer says that it wrote: of one write in its headers, of several in the
/// Bundle's entries.
fn places(answer: &Answer, parts: usize) -> Vec<(String, u64)> {
    let json = answer.json();
    if json["resourceType"] == "Bundle" {
        let entries = json["entry"].as_array().cloned().unwrap_or_default();
        return entries
            .iter()
            .filter_map(|e| place(e["response"]["location"].as_str()?))
            .take(parts)
            .collect();
    }
    place(answer.header("location")).into_iter().collect()
}

/// `…/Type/id/_history/3` as `Type/id` and 3.
fn place(location: &str) -> Option<(String, u64)> {
    let (rest, version) = location.rsplit_once("/_history/")?;
    let mut from_end = rest.rsplit('/');
    let (id, ty) = (from_end.next()?, from_end.next()?);
    Some((format!("{ty}/{id}"), version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_record_and_version() {
        let at = "https://localhost:1/fhir/Patient/x-1/_history/12";
        assert_eq!(place(at), Some(("Patient/x-1".to_owned(), 12)));
        assert_eq!(place("https://localhost:1/fhir/Patient/x-1"), None);
    }
}
