//! FHIR R4 AuditEvents in IHE's Basic Audit Log Patterns (BALP 1.1.x), one event per
//! patient concerned.
//!
//! <https://profiles.ihe.net/ITI/BALP/>. Interactions become `IHE.BasicAudit.Read` and
//! its kin, the `Patient*` profile when a patient is concerned. Reads, searches and
//! histories give one event per patient; writes one per record and patient. An intent
//! gives the events of its writes, a committed outcome adds nothing to them, one that was
//! not committed gives an event that says so. Other entries become DICOM-coded events.
//! A profile is claimed for what succeeded; the profiles are for that alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::classes;
use crate::entry::{DetailKey, Entry, EventKind, OutcomeCode, PatientPart, Target};

const PROFILE: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const PROVENANCE: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const BALP_ENTITY: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
const OWN_EVENT: &str = "urn:phial:audit-event";
const OWN_ROW: &str = "urn:phial:row";
const OWN_KEY: &str = "urn:phial:audit-key";
const OWN_USER: &str = "urn:phial:user";

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({"system": system, "code": code, "display": display})
}

fn concept(system: &str, code: &str, display: &str) -> Value {
    json!({"coding": [coding(system, code, display)]})
}

/// The pattern that an interaction follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Create,
    Read,
    Update,
    Delete,
    Query,
}

impl Pattern {
    const fn of(kind: EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::Create => Pattern::Create,
            EventKind::Read | EventKind::Vread | EventKind::Print => Pattern::Read,
            EventKind::Update | EventKind::Patch => Pattern::Update,
            EventKind::Delete => Pattern::Delete,
            EventKind::Search | EventKind::History => Pattern::Query,
            _ => return None,
        })
    }

    /// Profile name, action code, v3 participation of the user.
    const fn codes(self) -> (&'static str, &'static str, (&'static str, &'static str)) {
        match self {
            Pattern::Create => ("Create", "C", ("AUT", "author (originator)")),
            Pattern::Read => ("Read", "R", ("IRCP", "information recipient")),
            Pattern::Update => ("Update", "U", ("AUT", "author (originator)")),
            Pattern::Delete => ("Delete", "D", ("CST", "custodian")),
            Pattern::Query => ("Query", "E", ("IRCP", "information recipient")),
        }
    }
}

/// FHIR's own code of an interaction.
const fn interaction(kind: EventKind) -> Option<&'static str> {
    Some(match kind {
        EventKind::Read => "read",
        EventKind::Vread => "vread",
        EventKind::Search => "search",
        EventKind::History => "history",
        EventKind::Create => "create",
        EventKind::Update => "update",
        EventKind::Patch => "patch",
        EventKind::Delete => "delete",
        EventKind::Transaction => "transaction",
        EventKind::Batch => "batch",
        EventKind::Operation => "operation",
        _ => return None,
    })
}

/// DICOM type and subtype of what is no interaction.
fn dicom(kind: EventKind) -> ((&'static str, &'static str), Option<(&'static str, &'static str)>) {
    let activity = ("110100", "Application Activity");
    let alert = ("110113", "Security Alert");
    let login = ("110114", "User Authentication");
    let configured = Some(("110129", "Security Configuration"));
    match kind {
        EventKind::Login | EventKind::LoginFailed | EventKind::TokenRefused => {
            (login, Some(("110122", "Login")))
        }
        EventKind::TokenIssued => (login, None),
        EventKind::Logout | EventKind::TokenRevoked => (login, Some(("110123", "Logout"))),
        EventKind::UserAdded | EventKind::UserChanged | EventKind::UserEnded => {
            (alert, Some(("110137", "User Security Attributes Changed")))
        }
        EventKind::PolicyChanged => (alert, Some(("110136", "Security Roles Changed"))),
        EventKind::Config
        | EventKind::KeyCreated
        | EventKind::KeyRotated
        | EventKind::KeyDestroyed => (alert, configured),
        EventKind::BreakGlass => (alert, Some(("110127", "Emergency Override Started"))),
        EventKind::BreakGlassEnded => (alert, Some(("110138", "Emergency Override Stopped"))),
        EventKind::Denied => (alert, Some(("110132", "Use of Restricted Function"))),
        EventKind::Start => (activity, Some(("110120", "Application Start"))),
        EventKind::Stop => (activity, Some(("110121", "Application Stop"))),
        EventKind::AuditRead => (("110101", "Audit Log Used"), None),
        EventKind::Export | EventKind::Notification => (("110106", "Export"), None),
        EventKind::Import => (("110107", "Import"), None),
        _ => (activity, None),
    }
}

const fn outcome(code: OutcomeCode) -> &'static str {
    match code {
        OutcomeCode::Success => "0",
        OutcomeCode::Denied
        | OutcomeCode::NotFound
        | OutcomeCode::Invalid
        | OutcomeCode::Conflict => "4",
        OutcomeCode::Failed | OutcomeCode::Other(_) => "8",
        OutcomeCode::Unavailable => "12",
    }
}

/// The events of `entry`, reported by a server of no particular name.
#[must_use]
pub fn to_audit_event(entry: &Entry) -> Vec<Value> {
    events_from(entry, "phial")
}

/// The events of `entry`, reported by the server `observer` (a host name).
#[must_use]
pub fn events_from(entry: &Entry, observer: &str) -> Vec<Value> {
    if entry.kind == EventKind::Outcome && entry.committed == Some(true) {
        return Vec::new();
    }
    let stated = match entry.kind {
        EventKind::Intent | EventKind::Outcome | EventKind::Denied => entry.action,
        kind => Some(kind),
    };
    let Some(stated) = stated else { return vec![event(entry, entry.kind, observer, None, &[])] };
    // Reads and writes are told record by record, searches and the like patient by patient.
    let each_record = |t: &Target| {
        let pattern = Pattern::of(t.action.unwrap_or(stated));
        pattern.is_some_and(|p| p != Pattern::Query)
    };
    let mut all = Vec::new();
    let mut told = vec![false; entry.patients.len()];
    let (single, together): (Vec<&Target>, Vec<&Target>) =
        entry.what.iter().partition(|t| each_record(t));
    for t in single {
        let kind = t.action.unwrap_or(stated);
        let before = all.len();
        for i in t.patients.iter().map(|p| *p as usize) {
            if let (Some(p), Some(told)) = (entry.patients.get(i), told.get_mut(i)) {
                *told = true;
                all.push(event(entry, kind, observer, Some(p), &[t]));
            }
        }
        if all.len() == before {
            all.push(event(entry, kind, observer, None, &[t]));
        }
    }
    for ((p, i), told) in entry.patients.iter().zip(0u32..).zip(told) {
        let of: Vec<&Target> =
            together.iter().copied().filter(|t| t.patients.contains(&i)).collect();
        if !told || !of.is_empty() {
            all.push(event(entry, stated, observer, Some(p), &of));
        }
    }
    let rest: Vec<&Target> = together.into_iter().filter(|t| t.patients.is_empty()).collect();
    if !rest.is_empty() || all.is_empty() {
        all.push(event(entry, stated, observer, None, &rest));
    }
    all
}

fn event(
    entry: &Entry,
    kind: EventKind,
    observer: &str,
    patient: Option<&PatientPart>,
    targets: &[&Target],
) -> Value {
    let pattern = Pattern::of(kind);
    let failed = entry.committed == Some(false);
    let code = if failed && entry.outcome == OutcomeCode::Success {
        OutcomeCode::Failed
    } else {
        entry.outcome
    };
    let mut e = Map::new();
    let mut put = |name: &str, v: Value| drop(e.insert(name.to_owned(), v));
    put("resourceType", "AuditEvent".into());
    if let (Some(p), OutcomeCode::Success) = (pattern, code) {
        let whose = if patient.is_some() { "Patient" } else { "" };
        put("meta", json!({"profile": [format!("{PROFILE}{whose}{}", p.codes().0)]}));
    }
    match interaction(kind) {
        Some(i) => {
            put("type", coding(EVENT_TYPE, "rest", "RESTful Operation"));
            put("subtype", json!([coding(INTERACTION, i, i)]));
        }
        None => {
            let ((code, display), subtype) = dicom(kind);
            put("type", coding(DCM, code, display));
            let own = json!({"system": OWN_EVENT, "code": kind.name()});
            let subtype = subtype.map(|(code, display)| coding(DCM, code, display));
            put("subtype", subtype.into_iter().chain([own]).collect());
        }
    }
    put("action", pattern.map_or("E", |p| p.codes().1).into());
    put("recorded", format!("{:.6}", entry.at).into());
    put("outcome", outcome(code).into());
    if code != OutcomeCode::Success {
        let reason = entry.detail.get(&DetailKey::Reason);
        let text = reason.map_or(code.name().to_owned(), |r| format!("{}: {r}", code.name()));
        put("outcomeDesc", text.into());
    }
    if let Some(p) = entry.purpose {
        put("purposeOfEvent", json!([{"coding": [{"system": ACT_REASON, "code": p.code()}]}]));
    }
    put("agent", agents(entry, pattern, observer).into());
    put(
        "source",
        json!({
            "observer": {"display": observer},
            "type": [coding(SOURCE_TYPE, "4", "Application Server")],
        }),
    );
    let entities = entities(entry, patient, targets);
    if !entities.is_empty() {
        put("entity", entities.into());
    }
    Value::Object(e)
}

fn agents(entry: &Entry, pattern: Option<Pattern>, observer: &str) -> Vec<Value> {
    let source = concept(DCM, "110153", "Source Role ID");
    let destination = concept(DCM, "110152", "Destination Role ID");
    // Who gives and who takes: a read flows to the client, everything else from it.
    let (client, server) = match pattern {
        Some(Pattern::Read) => (destination, source),
        Some(Pattern::Delete) => {
            (concept(DCM, "110150", "Application"), concept(PROVENANCE, "custodian", "Custodian"))
        }
        _ => (source, destination),
    };
    let who = &entry.who;
    let mut all = Vec::new();
    let remote = who.client.is_some() || who.device.is_some() || who.ip.is_some();
    let mut agent = Map::new();
    agent.insert("type".to_owned(), client);
    let name = who.client.as_deref().or(who.device.as_deref());
    agent.insert("who".to_owned(), json!({"display": name.unwrap_or("unknown")}));
    agent.insert("requestor".to_owned(), (who.user.is_none() && remote).into());
    if let Some(ip) = who.ip {
        agent.insert("network".to_owned(), json!({"address": ip.to_string(), "type": "2"}));
    }
    if remote {
        all.push(Value::Object(agent));
    }
    let alone = who.user.is_none() && !remote;
    all.push(json!({"type": server, "who": {"display": observer}, "requestor": alone}));
    if let Some(user) = &who.user {
        let (code, display) = pattern.map_or(("IRCP", "information recipient"), |p| p.codes().2);
        let mut agent = Map::new();
        agent.insert("type".to_owned(), concept(PARTICIPATION, code, display));
        let roles: Vec<Value> = who.roles.iter().map(|r| json!({"text": r})).collect();
        if !roles.is_empty() {
            agent.insert("role".to_owned(), roles.into());
        }
        let identifier = json!({"system": OWN_USER, "value": user});
        agent.insert("who".to_owned(), json!({"identifier": identifier}));
        if let Some(s) = &who.session {
            agent.insert("altId".to_owned(), s.as_str().into());
        }
        agent.insert("requestor".to_owned(), true.into());
        if let Some(grant) = &entry.grant {
            agent.insert("policy".to_owned(), json!([format!("urn:phial:grant:{grant}")]));
        }
        if let Some(p) = entry.purpose {
            let purpose = json!([{"coding": [{"system": ACT_REASON, "code": p.code()}]}]);
            agent.insert("purposeOfUse".to_owned(), purpose);
        }
        all.push(Value::Object(agent));
    }
    all
}

fn entities(entry: &Entry, patient: Option<&PatientPart>, targets: &[&Target]) -> Vec<Value> {
    let mut all: Vec<Value> = targets.iter().map(|t| data_entity(t)).collect();
    if let Some(p) = patient {
        let what = match (&p.id, p.handle) {
            (Some(id), _) => json!({"reference": format!("Patient/{}", id.as_str())}),
            (None, Some(key)) => json!({
                "type": "Patient",
                "identifier": {"system": OWN_KEY, "value": key.to_string()},
            }),
            (None, None) => json!({"type": "Patient", "display": "sealed"}),
        };
        all.push(json!({
            "what": what,
            "type": coding(ENTITY_TYPE, "1", "Person"),
            "role": coding(OBJECT_ROLE, "1", "Patient"),
        }));
    }
    if let Some(q) = &entry.query {
        all.push(json!({
            "type": coding(ENTITY_TYPE, "2", "System Object"),
            "role": coding(OBJECT_ROLE, "24", "Query"),
            "query": STANDARD.encode(q.reveal()),
        }));
    }
    if let Some(r) = entry.request {
        all.push(json!({
            "what": {"identifier": {"value": r.to_string()}},
            "type": {"system": BALP_ENTITY, "code": "XrequestId"},
        }));
    }
    all
}

fn data_entity(t: &Target) -> Value {
    let mut what = Map::new();
    match &t.id {
        Some(id) => {
            let mut reference = format!("{}/{}", t.resource_type, id.as_str());
            if let Some(v) = t.version {
                reference.push_str(&format!("/_history/{v}"));
            }
            what.insert("reference".to_owned(), reference.into());
        }
        None => {
            let row = json!({"system": OWN_ROW, "value": t.row.to_string()});
            what.insert("identifier".to_owned(), row);
        }
    }
    what.insert("type".to_owned(), t.resource_type.as_str().into());
    let mut entity = Map::new();
    entity.insert("what".to_owned(), Value::Object(what));
    entity.insert("type".to_owned(), coding(ENTITY_TYPE, "2", "System Object"));
    entity.insert("role".to_owned(), coding(OBJECT_ROLE, "4", "Domain Resource"));
    let mut detail = Vec::new();
    for (name, set) in [("classes-given", t.given), ("classes-withheld", t.withheld)] {
        if !set.is_empty() {
            detail.push(json!({"type": name, "valueString": classes(set)}));
        }
    }
    if !t.elements.is_empty() {
        let elements = t.elements.join(",");
        detail.push(json!({"type": "elements-withheld", "valueString": elements}));
    }
    if !detail.is_empty() {
        entity.insert("detail".to_owned(), detail.into());
    }
    Value::Object(entity)
}
