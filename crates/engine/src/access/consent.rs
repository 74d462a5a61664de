//! Patients' consents (FHIR Consent, <https://hl7.org/fhir/R4/consent.html>), compiled to
//! what a decision needs, kept per patient, and evaluated for one subject and one record.
//!
//! A provision is held against who asks (actor), for what (purpose), to do what (action),
//! of which records (class, securityLabel, code, data), and when (period). What of it this
//! program can't tell (an actor that is no account of ours, a code that is in no list, the
//! date that a record is about) counts as meant where the provision denies, and as not
//! meant where it permits: more may be denied than was asked, never less. Nested
//! provisions are exceptions to the one that they stand in; of several that fit, one that
//! denies wins, and so it does among several consents.
//!
//! It refuses to be the whole law: a consent never shows more than a role does.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use phial_audit::EventKind;
use phial_base::{Label, LabelSet, LogicalId, Purpose, RowId, Subject, SubjectId, Surface};
use phial_fhir::definitions::ResourceType;
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::search::{Query, span};
use phial_fhir::{Doc, Limits, Node, sensitive};
use phial_policy::{Action, Consent, Context, RecordRef, RelationshipSet};
use phial_store::index::Shape;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// The account and role of the server's own work on consents.
const KEEPER: &str = "consent-keeper";
/// Nested provisions deeper than this are one that can't be told.
const DEPTH: usize = 16;
/// Consents of one patient that are looked at; of a patient with more everything is
/// denied that a consent can deny.
const MOST: usize = 500;
const PAGE: u32 = 500;

/// One decision, as far as a consent can speak of it.
pub(crate) struct About<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) action: Action,
    pub(crate) ty: &'a str,
    pub(crate) labels: LabelSet,
    pub(crate) at: Timestamp,
}

/// How an element of a provision stands to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    Unknown,
    Yes,
}

impl Fit {
    fn any(fits: impl IntoIterator<Item = Fit>) -> Fit {
        fits.into_iter().max().unwrap_or(Fit::Yes)
    }
}

/// From when until when, microseconds since the epoch: `low` included, `high` not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Period {
    low: i64,
    high: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Actor {
    Practitioner(LogicalId),
    Patient(LogicalId),
    Organization(LogicalId),
    /// We who keep the records: whoever asks us.
    Keeper,
    Unknown,
}

/// Which records an element names by a type, a label or a code.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Type(ResourceType),
    /// Records with one of these labels; `exact` when those are all that is meant.
    Labels {
        labels: LabelSet,
        exact: bool,
    },
    /// Records without a sensitivity that was set: confidentiality N and below.
    Ordinary,
    Unknown,
}

/// A provision; an element that is not given is empty and fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Provision {
    /// `None`: this one neither permits nor denies, its exceptions do.
    denies: Option<bool>,
    /// `Some(None)`: a period that can't be read.
    period: Option<Option<Period>>,
    actors: Vec<Actor>,
    /// Whether one of the actions is to see; `None` when no action is named.
    sees: Option<Fit>,
    purposes: Vec<Option<Purpose>>,
    classes: Vec<Which>,
    labels: Vec<Which>,
    codes: Vec<Which>,
    data: Vec<Which>,
    /// Whether it says something that this program can't hold against a record.
    more: bool,
    exceptions: Vec<Provision>,
}

/// What one patient decided, or what was agreed with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    provisions: Vec<Provision>,
}

impl Directives {
    /// A denial for these purposes, types and labels; empty lists are all of them.
    pub(crate) fn denial(
        purposes: &[Purpose],
        types: &[ResourceType],
        labels: LabelSet,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Self {
        let high = until.map_or(i64::MAX, Timestamp::as_microsecond);
        let period = Period { low: from.as_microsecond(), high };
        let labels = if labels.is_empty() {
            Vec::new()
        } else {
            vec![Which::Labels { labels, exact: true }]
        };
        Directives {
            provisions: vec![Provision {
                denies: Some(true),
                period: Some(Some(period)),
                purposes: purposes.iter().copied().map(Some).collect(),
                classes: types.iter().copied().map(Which::Type).collect(),
                labels,
                ..Provision::default()
            }],
        }
    }

    /// Everything denied: what a consent that can't be read says.
    fn everything_denied() -> Self {
        let provision = Provision { denies: Some(true), ..Provision::default() };
        Directives { provisions: vec![provision] }
    }

    /// What holds of a record.
    pub(crate) fn says(&self, about: &About<'_>) -> Consent {
        let mut said = Consent::SILENT;
        for provision in &self.provisions {
            match provision.says(about) {
                Some(true) => said.denies = true,
                Some(false) => said.permits = true,
                None => {}
            }
        }
        said.permits &= !said.denies;
        said
    }
}

impl Provision {
    /// Whether it denies (`Some(true)`) or permits the record.
    fn says(&self, about: &About<'_>) -> Option<bool> {
        let fits = match self.denies {
            Some(true) => self.fits(about) != Fit::No,
            Some(false) => self.fits(about) == Fit::Yes,
            None => self.fits(about) != Fit::No,
        };
        if !fits {
            return None;
        }
        let mut excepted: Option<bool> = None;
        for exception in &self.exceptions {
            match exception.says(about) {
                Some(true) => return Some(true),
                Some(false) => excepted = Some(false),
                None => {}
            }
        }
        excepted.or(self.denies)
    }

    fn fits(&self, about: &About<'_>) -> Fit {
        let at = about.at.as_microsecond();
        let period = match self.period {
            None => Fit::Yes,
            Some(None) => Fit::Unknown,
            Some(Some(p)) if p.low <= at && at < p.high => Fit::Yes,
            Some(Some(_)) => Fit::No,
        };
        let purpose = Fit::any(self.purposes.iter().map(|p| match p {
            Some(p) if covers(*p, about.subject.purpose) => Fit::Yes,
            Some(_) => Fit::No,
            None => Fit::Unknown,
        }));
        // Whoever changes a record learns of it; whoever makes a new one does not.
        let new = about.action == Action::Create;
        let sees = if new { Fit::No } else { self.sees.unwrap_or(Fit::Yes) };
        let which = |all: &[Which]| Fit::any(all.iter().map(|w| w.fits(about)));
        [
            period,
            purpose,
            sees,
            Fit::any(self.actors.iter().map(|a| a.fits(about.subject))),
            which(&self.classes),
            which(&self.labels),
            which(&self.codes),
            which(&self.data),
            if self.more { Fit::Unknown } else { Fit::Yes },
        ]
        .into_iter()
        .min()
        .unwrap_or(Fit::Unknown)
    }
}

/// Whether a purpose named in a consent covers one that is claimed: an emergency is
/// treatment.
fn covers(named: Purpose, claimed: Purpose) -> bool {
    named == claimed || named == Purpose::TREAT && matches!(claimed, Purpose::ETREAT | Purpose::BTG)
}

impl Actor {
    fn fits(&self, subject: &Subject) -> Fit {
        let same = |a: Option<&LogicalId>, b: &LogicalId| match a {
            Some(a) if a == b => Fit::Yes,
            _ => Fit::No,
        };
        match self {
            Actor::Practitioner(id) => same(subject.practitioner.as_ref(), id),
            Actor::Patient(id) => same(subject.patient.as_ref(), id),
            Actor::Keeper => Fit::Yes,
            // An account is of the unit that it says, or it can't be told.
            Actor::Organization(id) => match &subject.unit {
                Some(unit) if unit == id.as_str() => Fit::Yes,
                Some(_) => Fit::No,
                None => Fit::Unknown,
            },
            Actor::Unknown => Fit::Unknown,
        }
    }
}

impl Which {
    fn fits(&self, about: &About<'_>) -> Fit {
        match self {
            Which::Type(ty) if ty.name() == about.ty => Fit::Yes,
            Which::Type(_) => Fit::No,
            Which::Labels { labels, exact } => {
                if !labels.iter().any(|l| about.labels.has(l)) {
                    Fit::No
                } else if *exact {
                    Fit::Yes
                } else {
                    Fit::Unknown
                }
            }
            Which::Ordinary => {
                let set = [Label::Restricted, Label::VeryRestricted, Label::Unknown];
                if set.into_iter().any(|l| about.labels.has(l)) { Fit::No } else { Fit::Yes }
            }
            Which::Unknown => Fit::Unknown,
        }
    }
}

/// What an active consent provides; `None` when it provides nothing for access.
pub(crate) fn compile(doc: &Doc) -> Option<Directives> {
    let root = doc.root();
    let text = |name: &str| root.member(name).and_then(Node::as_str);
    if text("status").as_deref() != Some("active") {
        return None;
    }
    // Of another scope (research, treatment, advance directives) it says nothing of access.
    let scopes: Vec<String> =
        root.member("scope").map(codings).unwrap_or_default().into_iter().map(|c| c.1).collect();
    let other = ["adr", "research", "treatment"];
    if !scopes.is_empty() && scopes.iter().all(|s| other.contains(&s.as_str())) {
        return None;
    }
    let general = general(root);
    let Some(provision) = root.member("provision") else {
        let provision = Provision { denies: Some(general?), ..Provision::default() };
        return Some(Directives { provisions: vec![provision] });
    };
    let mut compiled = provision_of(provision, None, 0);
    if compiled.denies.is_none() {
        compiled.denies = general;
    }
    Some(Directives { provisions: vec![compiled] })
}

/// What the policy rule says where no provision does: v3-ActCode OPTIN and OPTOUT.
fn general(root: Node<'_>) -> Option<bool> {
    let codes = root.member("policyRule").map(codings).unwrap_or_default();
    codes.iter().find_map(|(_, code)| match code.as_str() {
        "OPTIN" | "OPTINR" => Some(false),
        "OPTOUT" | "OPTOUTE" => Some(true),
        _ => None,
    })
}

fn provision_of(node: Node<'_>, outer: Option<bool>, depth: usize) -> Provision {
    let denies = match node.member("type").and_then(Node::as_str).as_deref() {
        Some("deny") => Some(true),
        Some("permit") => Some(false),
        // Some other word: it may deny.
        Some(_) => Some(true),
        // An exception that does not say is the contrary of what it is an exception to.
        None => outer.map(|denies| !denies),
    };
    if depth >= DEPTH {
        return Provision { denies: Some(true), ..Provision::default() };
    }
    let list = |name: &str| node.member(name).into_iter().flat_map(Node::items);
    let known = [
        "id",
        "extension",
        "type",
        "period",
        "actor",
        "action",
        "securityLabel",
        "purpose",
        "class",
        "code",
        "data",
        "provision",
    ];
    let actions: Vec<Fit> = list("action").map(action).collect();
    Provision {
        denies,
        period: node.member("period").map(period),
        actors: list("actor").map(actor).collect(),
        sees: if actions.is_empty() { None } else { Some(Fit::any(actions)) },
        purposes: list("purpose").map(|c| purpose(coding(c))).collect(),
        classes: list("class").map(|c| class(coding(c))).collect(),
        labels: list("securityLabel").map(|c| label(coding(c))).collect(),
        codes: list("code").map(code).collect(),
        data: list("data").map(data).collect(),
        more: node.members().any(|(name, _)| !known.contains(&name) && !name.starts_with('_'))
            || node.member("modifierExtension").is_some()
            || node.member("dataPeriod").is_some(),
        exceptions: list("provision").map(|p| provision_of(p, denies, depth + 1)).collect(),
    }
}

fn coding(node: Node<'_>) -> (String, String) {
    let text = |name: &str| {
        node.member(name).and_then(Node::as_str).map(|t| t.into_owned()).unwrap_or_default()
    };
    (text("system"), text("code"))
}

/// The codings of a CodeableConcept: system and code.
fn codings(concept: Node<'_>) -> Vec<(String, String)> {
    concept.member("coding").into_iter().flat_map(Node::items).map(coding).collect()
}

fn period(node: Node<'_>) -> Option<Period> {
    let end = |name: &str| node.member(name).map(|n| n.as_str().and_then(|t| span(&t)));
    let low = match end("start") {
        None => i64::MIN,
        Some(span) => span?.low,
    };
    let high = match end("end") {
        None => i64::MAX,
        // Until the last moment that it may mean.
        Some(span) => span?.high,
    };
    Some(Period { low, high })
}

fn action(concept: Node<'_>) -> Fit {
    const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
    Fit::any(codings(concept).into_iter().map(|(system, code)| {
        match (system.as_str(), code.as_str()) {
            (SYSTEM | "", "access" | "use" | "disclose") => Fit::Yes,
            (SYSTEM | "", "collect" | "correct") => Fit::No,
            _ => Fit::Unknown,
        }
    }))
}

fn purpose((system, code): (String, String)) -> Option<Purpose> {
    let ours = system.is_empty() || system == "http://terminology.hl7.org/CodeSystem/v3-ActReason";
    Purpose::from_code(&code).filter(|_| ours)
}

fn class((system, code): (String, String)) -> Which {
    let types = ["http://hl7.org/fhir/resource-types", "http://hl7.org/fhir/fhir-types", ""];
    match ResourceType::from_name(&code) {
        Some(ty) if types.contains(&system.as_str()) => Which::Type(ty),
        _ => Which::Unknown,
    }
}

fn label((system, code): (String, String)) -> Which {
    match Label::from_coding(Some(&system), Some(&code)) {
        Some(Label::Unknown) => Which::Unknown,
        Some(label) => Which::Labels { labels: LabelSet::NONE.with(label), exact: true },
        None if matches!(code.as_str(), "U" | "L" | "M" | "N") => Which::Ordinary,
        None => Which::Unknown,
    }
}

/// Codes of records are not known before a record is opened; but those that the labelling
/// lists hold left a label on it.
fn code(concept: Node<'_>) -> Which {
    let mut labels = LabelSet::NONE;
    for (system, code) in codings(concept) {
        let of = sensitive::shipped().labels_of(&system, &code);
        if of.is_empty() {
            return Which::Unknown;
        }
        labels = labels.or(of);
    }
    if labels.is_empty() { Which::Unknown } else { Which::Labels { labels, exact: false } }
}

/// Single records are not told apart in a search: an instance stands for all of its type.
fn data(node: Node<'_>) -> Which {
    let meaning = node.member("meaning").and_then(Node::as_str);
    let said = node.member("reference").and_then(|r| r.member("reference"));
    match (meaning.as_deref(), said.and_then(Node::as_str).as_deref().map(classify)) {
        (Some("instance"), Some(RefKind::Relative { type_, .. })) => Which::Type(type_),
        _ => Which::Unknown,
    }
}

fn actor(node: Node<'_>) -> Actor {
    // v3-ParticipationType CST: the custodian, who is to heed it.
    let roles = node.member("role").map(codings).unwrap_or_default();
    if roles.iter().any(|(_, code)| code == "CST") {
        return Actor::Keeper;
    }
    let said = node.member("reference").and_then(|r| r.member("reference"));
    let said = said.and_then(Node::as_str).unwrap_or_default();
    let RefKind::Relative { type_, id, .. } = classify(&said) else { return Actor::Unknown };
    let Ok(id) = LogicalId::new(id) else { return Actor::Unknown };
    match type_.name() {
        "Practitioner" => Actor::Practitioner(id),
        "Patient" => Actor::Patient(id),
        "Organization" => Actor::Organization(id),
        _ => Actor::Unknown,
    }
}

/// The compiled consents of a tenant, by patient. A patient who is not in it has none.
#[derive(Default)]
pub(crate) struct Consents(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Whether every patient with a consent is in it.
    whole: bool,
    of: HashMap<LogicalId, Kept>,
    /// How often a consent was written: what was read before one is not kept after it.
    writes: u64,
}

/// What is known of one patient's consents.
#[derive(Default)]
struct Kept {
    /// Records that are, or were, consents of this patient.
    rows: BTreeSet<RowId>,
    /// The latest write to one of them.
    stamp: u64,
    /// What they provide, when it was read since then.
    read: Option<Option<Arc<Directives>>>,
}

impl Consents {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before and after a consent of these patients is committed.
    pub(crate) fn touch(&self, row: RowId, patients: &[LogicalId]) {
        let mut known = self.known();
        known.writes += 1;
        let stamp = known.writes;
        for p in patients {
            let kept = known.of.entry(p.clone()).or_default();
            kept.rows.insert(row);
            kept.stamp = stamp;
            kept.read = None;
        }
    }

    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        !self.known().of.is_empty()
    }
}

fn consent_type() -> Option<ResourceType> {
    ResourceType::from_name("Consent")
}

impl Engine {
    fn consent_keeper(&self, tenant: &Tenant, caller: &Caller) -> Result<Caller, Failure> {
        let id = SubjectId::new(KEEPER).map_err(|_| Failure::NotFound)?;
        let mut request = caller.request.clone();
        request.surface = Surface::Job;
        let subject = Subject {
            tenant: tenant.vessel.tenant().clone(),
            id,
            roles: vec![KEEPER.to_owned()],
            unit: None,
            practitioner: None,
            patient: None,
            purpose: Purpose::HOPERAT,
            mfa: 0,
            session: None,
            client: None,
            scopes: None,
        };
        Ok(Caller { subject: Arc::new(subject), request })
    }

    /// Finds out now what the first permit would have to wait for: which patients of the
    /// caller's tenant have consents. For a server that has begun.
    ///
    /// # Errors
    /// [`Failure::Busy`] when a store can't be reached; the first permit tries again.
    pub fn prepare(&self, caller: &Caller) -> Result<(), Failure> {
        self.know_consents(self.home(caller)?, caller)
    }

    /// Finds out which patients have consents, once. Later ones are noted by whoever writes
    /// them. Not to be called within a search: it is one.
    pub(crate) fn know_consents(&self, tenant: &Tenant, caller: &Caller) -> Result<(), Failure> {
        if tenant.consents().known().whole {
            return Ok(());
        }
        let Some(ty) = consent_type() else { return Ok(()) };
        let keeper = self.consent_keeper(tenant, caller)?;
        let failed = Self::store_failure(&keeper);
        let at = tenant.vessel.catch_up().map_err(&failed)?;
        let access = |shape: &Shape, relationships: RelationshipSet| {
            let context = Context::new(relationships);
            let (ty, about) = (shape.ty.name(), shape.about_patient);
            let policy = self.policy();
            policy.mask(&keeper.subject, Action::Read, ty, shape.labels, about, &context).classes
        };
        let query = Query::all(ty);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = tenant
                .vessel
                .search(&query, &keeper.viewer(), &access, at, after.as_ref(), PAGE, false)
                .map_err(&failed)?;
            for hit in page.hits {
                if let Some(un) = tenant.vessel.find_row(hit.row).map_err(&failed)? {
                    found.push((hit.row, un.header.patients));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut known = tenant.consents().known();
        for (row, patients) in found {
            for p in patients {
                known.of.entry(p).or_default().rows.insert(row);
            }
        }
        known.whole = true;
        Ok(())
    }

    /// What a patient's consents provide, when there are any.
    pub(crate) fn consents_of(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        patient: &LogicalId,
    ) -> Result<Option<Arc<Directives>>, Failure> {
        self.know_consents(tenant, caller)?;
        let (rows, stamp) = match tenant.consents().known().of.get(patient) {
            None => return Ok(None),
            Some(Kept { read: Some(directives), .. }) => return Ok(directives.clone()),
            Some(kept) => (kept.rows.clone(), kept.stamp),
        };
        let read = self.read_consents(tenant, caller, patient, &rows)?.map(Arc::new);
        let mut known = tenant.consents().known();
        if let Some(kept) = known.of.get_mut(patient).filter(|kept| kept.stamp == stamp) {
            kept.read = Some(read.clone());
        }
        Ok(read)
    }

    /// Opens the current consents of a patient and compiles them. The keeper's look is
    /// written down; what it opened leaves no further than this.
    fn read_consents(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        patient: &LogicalId,
        rows: &BTreeSet<RowId>,
    ) -> Result<Option<Directives>, Failure> {
        if rows.len() > MOST {
            return Ok(Some(Directives::everything_denied()));
        }
        let keeper = self.consent_keeper(tenant, caller)?;
        let failed = Self::store_failure(&keeper);
        let mut all = Directives::default();
        let mut looks = Vec::new();
        for row in rows {
            let found = tenant.vessel.find_row(*row).map_err(&failed)?;
            let Some(found) = found.filter(|f| !f.header.deleted) else { continue };
            if !found.header.patients.contains(patient) {
                continue;
            }
            let record = RecordRef { row: found.row, version: found.version };
            let (context, facts) = (Context::default(), found.facts());
            let policy = self.policy();
            let decided = policy.decide(&keeper.subject, Action::Read, &record, &facts, &context);
            let provided = match decided {
                Ok(permit) => {
                    let opened = tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
                    let mut e = entry::of(&keeper, EventKind::Read);
                    entry::delivered(&mut e, &found, &permit, opened.given);
                    looks.push(e);
                    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
                    let doc = Doc::parse(opened.body(), &limits);
                    doc.map_or_else(|_| Some(Directives::everything_denied()), |d| compile(&d))
                }
                // One that even the keeper can't read may deny anything.
                Err(_) => Some(Directives::everything_denied()),
            };
            all.provisions.extend(provided.unwrap_or_default().provisions);
        }
        if !looks.is_empty() {
            tenant.vessel.audit().append_later(looks);
        }
        Ok((!all.provisions.is_empty()).then_some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(practitioner: &str, purpose: Purpose) -> Subject {
        Subject {
            tenant: phial_base::TenantId::default_tenant(),
            id: SubjectId::new("ann").unwrap(),
            roles: Vec::new(),
            unit: Some("ward".to_owned()),
            practitioner: LogicalId::new(practitioner).ok(),
            patient: None,
            purpose,
            mfa: 0,
            session: None,
            client: None,
            scopes: None,
        }
    }

    /// Says D (denied), P (permitted) or - (silent) of an unlabelled Condition for a
    /// physician's treatment.
    fn said(consent: &str, ty: &str, labels: &[Label], s: &Subject) -> char {
        let text = format!(
            "{{\"resourceType\":\"Consent\",\"status\":\"active\",\"scope\":{{\"coding\":[{{\"code\":\"patient-privacy\"}}]}},{consent}}}"
        );
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let at = "2026-06-01T12:00:00Z".parse().unwrap();
        let labels = labels.iter().copied().collect();
        let about = About { subject: s, action: Action::Read, ty, labels, at };
        let says = compile(&doc).unwrap_or_default().says(&about);
        match (says.denies, says.permits) {
            (true, _) => 'D',
            (_, true) => 'P',
            _ => '-',
        }
    }

    #[track_caller]
    fn check(consent: &str, want: char) {
        let s = subject("dr", Purpose::TREAT);
        assert_eq!(said(consent, "Condition", &[], &s), want, "{consent}");
    }

    const OTHER: &str = r#""actor":[{"role":{"coding":[{"code":"PRCP"}]},"reference":{"reference":"Practitioner/other"}}]"#;
    const ME: &str = r#""actor":[{"role":{"coding":[{"code":"PRCP"}]},"reference":{"reference":"Practitioner/dr"}}]"#;

    #[test]
    fn provisions_speak_of_whom_when_and_what_they_name() {
        let p = |inner: &str| format!("\"provision\":{{{inner}}}");
        check(&p(r#""type":"deny""#), 'D');
        check(&p(r#""type":"permit""#), 'P');
        check(&p(&format!(r#""type":"deny",{ME}"#)), 'D');
        check(&p(&format!(r#""type":"deny",{OTHER}"#)), '-');
        check(&p(&format!(r#""type":"permit",{OTHER}"#)), '-');
        for (period, there) in [
            (r#"{"start":"2026-01"}"#, true),
            (r#"{"end":"2026-06-01"}"#, true),
            (r#"{"end":"2026-05-31"}"#, false),
            (r#"{"start":"2026-06-02"}"#, false),
        ] {
            let want = if there { 'D' } else { '-' };
            check(&p(&format!(r#""type":"deny","period":{period}"#)), want);
        }
        for (code, want) in [("TREAT", 'D'), ("HPAYMT", '-'), ("WHATEVER", 'D')] {
            check(&p(&format!(r#""type":"deny","purpose":[{{"code":"{code}"}}]"#)), want);
        }
        for (code, want) in [("Condition", 'D'), ("Claim", '-'), ("urn:doc", 'D')] {
            check(&p(&format!(r#""type":"deny","class":[{{"code":"{code}"}}]"#)), want);
        }
        for (code, want) in [("access", 'D'), ("correct", '-'), ("strange", 'D')] {
            let action = format!(r#""action":[{{"coding":[{{"code":"{code}"}}]}}]"#);
            check(&p(&format!(r#""type":"deny",{action}"#)), want);
        }
    }

    #[test]
    fn what_cannot_be_told_is_denied_and_not_permitted() {
        let group = r#""actor":[{"role":{"coding":[{"code":"PRCP"}]},"reference":{"reference":"Group/g"}}]"#;
        let when = r#""dataPeriod":{"start":"2020"}"#;
        let code = r#""code":[{"coding":[{"system":"http://loinc.org","code":"0000-0"}]}]"#;
        let new = r#""anything":"else""#;
        for element in [group, when, code, new] {
            check(&format!(r#""provision":{{"type":"deny",{element}}}"#), 'D');
            check(&format!(r#""provision":{{"type":"permit",{element}}}"#), '-');
        }
    }

    #[test]
    fn exceptions_turn_what_they_are_exceptions_to() {
        let deny_but_me =
            format!(r#""provision":{{"type":"deny","provision":[{{"type":"permit",{ME}}}]}}"#);
        check(&deny_but_me, 'P');
        let deny_but_other =
            format!(r#""provision":{{"type":"deny","provision":[{{"type":"permit",{OTHER}}}]}}"#);
        check(&deny_but_other, 'D');
        let unsaid = format!(r#""provision":{{"type":"permit","provision":[{{{ME}}}]}}"#);
        check(&unsaid, 'D');
        let both = format!(
            r#""provision":{{"type":"deny","provision":[{{"type":"permit",{ME}}},{{"type":"deny","purpose":[{{"code":"TREAT"}}]}}]}}"#
        );
        check(&both, 'D');
        check(r#""policyRule":{"coding":[{"code":"OPTOUT"}]}"#, 'D');
        check(r#""policyRule":{"coding":[{"code":"OPTIN"}]}"#, 'P');
        check(r#""policyRule":{"coding":[{"code":"hipaa-npp"}]}"#, '-');
    }

    #[test]
    fn labels_and_codes_speak_of_labelled_records() {
        let s = subject("dr", Purpose::TREAT);
        let label = r#""provision":{"type":"deny","securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"HIV"}]}"#;
        assert_eq!(said(label, "Condition", &[Label::HIV], &s), 'D');
        assert_eq!(said(label, "Condition", &[Label::SUD], &s), '-');
        let code = r#""provision":{"type":"deny","code":[{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"B20"}]}]}"#;
        assert_eq!(said(code, "Condition", &[Label::HIV], &s), 'D');
        assert_eq!(said(code, "Condition", &[], &s), '-');
        let permit = code.replace("deny", "permit");
        assert_eq!(said(&permit, "Condition", &[Label::HIV], &s), '-', "another HIV code perhaps");
    }

    #[test]
    fn a_consent_that_is_not_in_force_or_not_about_access_says_nothing() {
        for text in [
            r#"{"resourceType":"Consent","status":"inactive","provision":{"type":"deny"}}"#,
            r#"{"resourceType":"Consent","status":"active","scope":{"coding":[{"code":"research"}]},"provision":{"type":"deny"}}"#,
        ] {
            let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(compile(&doc), None);
        }
    }
}
