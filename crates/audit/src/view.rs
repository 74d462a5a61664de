//! Entries for people and programs: one line, JSON, and (in [`balp`]) FHIR AuditEvents.
//!
//! A view shows what opening the entry gave and nothing more: ids of a patient and of the
//! patient's records appear only when the patient's audit key was held. Text that came
//! from outside (user names, user agents) is escaped, so that it can neither forge a line
//! nor drive a terminal.

pub mod balp;

use std::fmt::Write as _;

use phial_base::{ClassSet, Surface};
use serde_json::{Map, Value, json};

use crate::entry::{Entry, PatientPart, Target};
use crate::sealed::Place;

/// Where an entry stands, for views.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// Its position in the tenant's tree, once it has one.
    pub index: Option<u64>,
    /// Its tenant, node and number.
    pub place: &'a Place,
}

const fn surface(s: Surface) -> &'static str {
    match s {
        Surface::Fhir => "fhir",
        Surface::Cli => "cli",
        Surface::Job => "job",
        Surface::Page => "page",
    }
}

/// Bare when it is plain, else quoted with everything odd escaped.
fn plain(text: &str) -> String {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._@/:,".contains(&b);
    if !text.is_empty() && text.bytes().all(fine) { text.to_owned() } else { format!("{text:?}") }
}

fn classes(set: ClassSet) -> String {
    set.iter().map(phial_base::DataClass::name).collect::<Vec<_>>().join(",")
}

/// `Type/id` when the id is known, else `Type/#row`.
fn target_name(t: &Target) -> String {
    let name = match &t.id {
        Some(id) => format!("{}/{}", plain(&t.resource_type), id.as_str()),
        None => format!("{}/#{}", plain(&t.resource_type), t.row),
    };
    match t.version {
        Some(v) => format!("{name}@{v}"),
        None => name,
    }
}

fn patient_name(p: &PatientPart) -> String {
    match (&p.id, p.handle) {
        (Some(id), _) => id.as_str().to_owned(),
        (None, Some(handle)) => format!("sealed:{handle}"),
        (None, None) => "sealed".to_owned(),
    }
}

/// How many targets and patients a line shows by name.
const SHOWN: usize = 5;

fn list<T>(out: &mut String, label: &str, all: &[T], name: impl Fn(&T) -> String) {
    if all.is_empty() {
        return;
    }
    let shown = all.iter().take(SHOWN).map(name).collect::<Vec<_>>().join(" ");
    let _ = write!(out, " {label}=[{shown}");
    if all.len() > SHOWN {
        let _ = write!(out, " +{}", all.len() - SHOWN);
    }
    out.push(']');
}

/// The entry on one line, for `phial audit tail`. The query is not in it.
#[must_use]
pub fn line(entry: &Entry, at: Option<Position<'_>>) -> String {
    // Writing to a String never fails.
    let mut s = format!("{:.6}", entry.at);
    if let Some(at) = at {
        if let Some(index) = at.index {
            let _ = write!(s, " #{index}");
        }
        let node = hex::encode(at.place.node.get(..4).unwrap_or_default());
        let _ = write!(s, " {node}.{}", at.place.number);
    }
    let _ = write!(s, " {}", entry.kind.name());
    if let Some(a) = entry.action {
        let _ = write!(s, "({})", a.name());
    }
    let _ = write!(s, " {}", entry.outcome.name());
    let mut field = |label: &str, value: Option<String>| {
        if let Some(v) = value {
            let _ = write!(s, " {label}={v}");
        }
    };
    let text = |v: &Option<String>| v.as_deref().map(plain);
    field("user", text(&entry.who.user));
    let roles = &entry.who.roles;
    field("roles", (!roles.is_empty()).then(|| plain(&roles.join(","))));
    field("unit", text(&entry.who.unit));
    field("purpose", entry.purpose.map(|p| p.code().to_owned()));
    field("grant", text(&entry.grant));
    field("ip", entry.who.ip.map(|ip| ip.to_string()));
    field("via", entry.surface.map(|x| surface(x).to_owned()));
    field("intent", entry.intent.map(hex::encode));
    field("committed", entry.committed.map(|c| c.to_string()));
    field("seqs", entry.seqs.map(|q| format!("{}+{}", q.first, q.count)));
    field("writes", (!entry.writes.is_empty()).then(|| entry.writes.len().to_string()));
    list(&mut s, "what", &entry.what, |t| {
        let mut name = target_name(t);
        if !t.withheld.is_empty() {
            let _ = write!(name, "(-{})", classes(t.withheld));
        }
        name
    });
    list(&mut s, "patients", &entry.patients, patient_name);
    for (k, v) in &entry.detail {
        let _ = write!(s, " {}={}", k.name(), plain(v));
    }
    if let Some((part, of)) = entry.part {
        let _ = write!(s, " part={part}/{of}");
    }
    if let Some(r) = entry.request {
        let _ = write!(s, " request={r}");
    }
    s
}

/// The entry as JSON with `snake_case` members. Absent things are left out; a patient
/// whose part is closed has `"sealed": true` and no id.
#[must_use]
pub fn json(entry: &Entry, at: Option<Position<'_>>) -> Value {
    let mut o = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(v) = value {
            o.insert(name.to_owned(), v);
        }
    };
    let text = |v: &Option<String>| v.clone().map(Value::from);
    put("index", at.and_then(|a| a.index).map(Value::from));
    put("tenant", at.map(|a| a.place.tenant.as_str().into()));
    put("node", at.map(|a| hex::encode(a.place.node).into()));
    put("number", at.map(|a| a.place.number.into()));
    put("kind", Some(entry.kind.name().into()));
    put("kind_number", Some(entry.kind.number().into()));
    put("action", entry.action.map(|a| a.name().into()));
    put("at", Some(format!("{:.6}", entry.at).into()));
    put("outcome", Some(entry.outcome.name().into()));
    put("request", entry.request.map(|r| r.to_string().into()));
    put("surface", entry.surface.map(|s| surface(s).into()));
    put("who", who(entry));
    put("purpose", entry.purpose.map(|p| p.code().into()));
    put("grant", text(&entry.grant));
    let some = |all: Vec<Value>| (!all.is_empty()).then_some(Value::Array(all));
    put("what", some(entry.what.iter().map(target).collect()));
    put("patients", some(entry.patients.iter().map(patient).collect()));
    put("query", entry.query.as_ref().map(|q| q.reveal().as_str().into()));
    put("intent", entry.intent.map(|i| hex::encode(i).into()));
    let writes = entry.writes.iter().map(
        |w| json!({"row": w.row.to_string(), "version": w.version.0, "hash": hex::encode(w.hash)}),
    );
    put("writes", some(writes.collect()));
    put("committed", entry.committed.map(Value::from));
    put("first_seq", entry.seqs.map(|s| s.first.0.into()));
    put("seq_count", entry.seqs.map(|s| s.count.into()));
    let detail: Map<String, Value> =
        entry.detail.iter().map(|(k, v)| (k.name().to_owned(), v.as_str().into())).collect();
    put("detail", (!detail.is_empty()).then_some(Value::Object(detail)));
    put("part", entry.part.map(|(part, of)| json!([part, of])));
    Value::Object(o)
}

fn who(entry: &Entry) -> Option<Value> {
    let w = &entry.who;
    let mut o = Map::new();
    for (name, value) in [
        ("user", &w.user),
        ("unit", &w.unit),
        ("session", &w.session),
        ("client", &w.client),
        ("device", &w.device),
    ] {
        if let Some(v) = value {
            o.insert(name.to_owned(), v.as_str().into());
        }
    }
    if !w.roles.is_empty() {
        o.insert("roles".to_owned(), json!(w.roles));
    }
    if w.user.is_some() {
        o.insert("mfa".to_owned(), w.mfa.into());
    }
    if let Some(ip) = w.ip {
        o.insert("ip".to_owned(), ip.to_string().into());
    }
    (!o.is_empty()).then_some(Value::Object(o))
}

fn target(t: &Target) -> Value {
    let mut o = Map::new();
    let names = |set: ClassSet| set.iter().map(|c| Value::from(c.name())).collect::<Vec<_>>();
    o.insert("row".to_owned(), t.row.to_string().into());
    if let Some(v) = t.version {
        o.insert("version".to_owned(), v.0.into());
    }
    o.insert("resource_type".to_owned(), t.resource_type.as_str().into());
    if let Some(id) = &t.id {
        o.insert("id".to_owned(), id.as_str().into());
    }
    if let Some(a) = t.action {
        o.insert("action".to_owned(), a.name().into());
    }
    if !t.patients.is_empty() {
        o.insert("patients".to_owned(), json!(t.patients));
    }
    if !t.given.is_empty() {
        o.insert("classes_given".to_owned(), names(t.given).into());
    }
    if !t.withheld.is_empty() {
        o.insert("classes_withheld".to_owned(), names(t.withheld).into());
    }
    if !t.elements.is_empty() {
        o.insert("elements_withheld".to_owned(), json!(t.elements));
    }
    Value::Object(o)
}

fn patient(p: &PatientPart) -> Value {
    let mut o = Map::new();
    match &p.id {
        Some(id) => o.insert("id".to_owned(), id.as_str().into()),
        None => o.insert("sealed".to_owned(), true.into()),
    };
    if let Some(h) = p.handle {
        o.insert("audit_key".to_owned(), h.to_string().into());
    }
    Value::Object(o)
}
