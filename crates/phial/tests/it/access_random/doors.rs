//! Every way by which records leave, asked in a world that was drawn, and held against
//! what the plain evaluator allows.
//!
//! What a door reaches is known here (the records were drawn), so most doors are held to
//! equality: of what is reached all that is allowed, and nothing else. Somebody who sees
//! everything goes through the same doors: to him each gives all that it reaches, which
//! shows that it is open. A door that answers with a refusal gives nothing.

use std::collections::{BTreeMap, BTreeSet};

use phial_testkit::fixture::{NOTE, PEOPLE, Person};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Drawn, EXPORTER, KEEPER, Record, TOLD, Who};
use crate::export::{exported, lines, names};
use crate::hook::{Call, Hook};
use crate::subscriptions::{active, changed, configure};

type Paths = BTreeSet<String>;

/// Paths of all resources that stand anywhere in an answer, with their versions.
fn carried(value: &Value, out: &mut BTreeMap<String, BTreeSet<String>>) {
    if let (Some(ty), Some(id)) = (value["resourceType"].as_str(), value["id"].as_str()) {
        let version = value["meta"]["versionId"].as_str().unwrap_or_default();
        out.entry(format!("{ty}/{id}")).or_default().insert(version.to_owned());
    }
    match value {
        Value::Array(all) => all.iter().for_each(|v| carried(v, out)),
        Value::Object(all) => all.values().for_each(|v| carried(v, out)),
        _ => {}
    }
}

/// One who goes through the doors.
struct Going<'a> {
    server: &'a Server,
    drawn: &'a Drawn,
    who: &'a Who,
    seed: u64,
    /// What the evaluator allows.
    may: Paths,
}

impl Going<'_> {
    fn said(&self, door: &str) -> String {
        format!("seed {}: {} through {door}", self.seed, self.who.role)
    }

    /// What of the drawn records an answer carries.
    fn carried(&self, answer: &Value) -> BTreeMap<String, BTreeSet<String>> {
        let mut out = BTreeMap::new();
        carried(answer, &mut out);
        let drawn: Paths = self.drawn.records.iter().map(Record::path).collect();
        out.retain(|path, _| drawn.contains(path));
        out
    }

    fn paths(&self, answer: &Answer) -> Paths {
        self.carried(&answer.json()).into_keys().collect()
    }

    /// Of what the door reaches, exactly what is allowed.
    #[track_caller]
    fn exactly(&self, door: &str, answer: &Answer, reach: &Paths) {
        let out = self.paths(answer);
        if [401, 403].contains(&answer.status) {
            assert!(out.is_empty() && self.who.role == "billing", "{}", self.said(door));
            return;
        }
        let wanted: Paths = reach.intersection(&self.may).cloned().collect();
        assert_eq!(out, wanted, "{}: {}", self.said(door), answer.status);
        if self.who.role == KEEPER.role {
            assert_eq!(&out, reach, "{}: not open at all", self.said(door));
        }
    }

    /// A search by POST, its count, and both held to the same.
    #[track_caller]
    fn searched(&self, ty: &str, query: &str, reach: &Paths) {
        let door = format!("{ty}?{query}");
        let found = self.server.search(self.who.role, ty, query);
        self.exactly(&door, &found, reach);
        if found.status == 200 {
            let matched = found.ids("match").len();
            let counted = self.server.count(self.who.role, ty, query);
            assert_eq!(counted, matched as u64, "{}: count", self.said(&door));
        }
    }

    /// Whether a search finds one of what `yes` asks; the answer is told by a count alone.
    #[track_caller]
    fn told_by_a_count(&self, ty: &str, query: &str, yes: bool) {
        let counted = self.server.search(self.who.role, ty, &format!("{query}&_summary=count"));
        let door = format!("the count of {ty}?{query}");
        match counted.status {
            200 => assert_eq!(counted.json()["total"], u64::from(yes), "{}", self.said(&door)),
            status => assert!(
                status == 403 && self.who.role == "billing",
                "{}: {}",
                self.said(&door),
                counted.text()
            ),
        }
    }

    fn of<'d>(&'d self, p: &'d Person, ty: &'static str) -> impl Iterator<Item = &'d Record> {
        self.drawn.records.iter().filter(move |r| r.patient == p.id && r.ty == ty)
    }

    fn seen(&self, path: &str) -> bool {
        self.may.contains(path)
    }
}

/// Everything that one person can ask.
pub(super) fn all(server: &Server, drawn: &Drawn, binaries: &[Record], who: &Who, seed: u64) {
    let may = drawn.records.iter().filter(|r| drawn.allows(who, r).is_some());
    let may = may.map(Record::path).collect();
    let going = Going { server, drawn, who, seed, may };
    one_by_one(&going);
    versions(&going);
    if who.role != KEEPER.role {
        bundles(&going);
    }
    for p in PEOPLE {
        charts(&going, p);
        links(&going, p);
    }
    many(&going);
    attached(&going, binaries);
}

fn one_by_one(g: &Going<'_>) {
    for r in &g.drawn.records {
        let (path, reach) = (r.path(), Paths::from([r.path()]));
        g.searched(r.ty, &format!("_id={}", r.id), &reach);
        let wanted = if g.seen(&path) { 200 } else { 404 };
        let head = send(g.server.request(g.who.role, Method::HEAD, &path));
        assert_eq!(head.status, wanted, "{}", g.said("HEAD"));
        let meta = g.server.get(g.who.role, &format!("{path}/$meta"));
        assert_eq!(meta.status, wanted, "{}: {path}", g.said("$meta"));
        // A version that it has not tells nothing of the one that it has.
        let absent = g.server.get(g.who.role, &format!("{path}/_history/99"));
        assert_eq!(absent.status, 404, "{}", g.said("a version that is not there"));
    }
}

/// The versions of a record that are to be seen, by their numbers.
fn shown(g: &Going<'_>, r: &Record) -> BTreeSet<String> {
    let all = (0..r.versions.len()).filter(|v| g.drawn.allows_version(g.who, r, *v, None));
    all.map(|v| (v + 1).to_string()).collect()
}

fn versions(g: &Going<'_>) {
    let role = g.who.role;
    let mut of_type: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for r in &g.drawn.records {
        let path = r.path();
        let wanted = shown(g, r);
        for n in 1..=r.versions.len() {
            let read = g.server.get(role, &format!("{path}/_history/{n}"));
            let seen = wanted.contains(&n.to_string());
            assert_eq!(
                read.status,
                if seen { 200 } else { 404 },
                "{}: {path} {n} of {:?}",
                g.said("vread"),
                r.versions
            );
            if seen && role == "billing" {
                assert_eq!(read.json().get("note"), None, "{}", g.said("vread"));
            }
        }
        let history = g.server.get(role, &format!("{path}/_history?_count=100"));
        if wanted.is_empty() {
            assert_eq!(history.status, 404, "{}: {path}", g.said("history"));
        } else {
            let json = history.expect(200).json();
            let listed = g.carried(&json).remove(&path).unwrap_or_default();
            assert_eq!(listed, wanted, "{}: {path}", g.said("history"));
            assert_eq!(json["total"], wanted.len(), "{}: {path}", g.said("history"));
            of_type.entry(r.ty).or_default().insert(path, wanted);
        }
    }
    for ty in ["Patient", "Condition", "Observation"] {
        let wanted = of_type.get(ty).cloned().unwrap_or_default();
        assert_eq!(walked(g, &format!("{ty}/_history?_count=200")), wanted, "{}", g.said(ty));
    }
    let everything: BTreeMap<_, _> = of_type.into_values().flatten().collect();
    let system = walked(g, "_history?_count=500");
    assert_eq!(system, everything, "{}", g.said("the system's history"));
}

/// The versions of drawn records on all pages of a history.
fn walked(g: &Going<'_>, path: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = g.server.get(g.who.role, &path).expect(200);
        for (path, versions) in g.carried(&page.json()) {
            all.entry(path).or_default().extend(versions);
        }
        next = page.link("next");
    }
    all
}

/// Reads within bundles are answered as reads by themselves, one by one.
fn bundles(g: &Going<'_>) {
    let mut wanted = Vec::new();
    let mut entries = Vec::new();
    let mut ask = |url: String, seen: bool| {
        entries.push(json!({"request": {"method": "GET", "url": url}}));
        wanted.push(if seen { "200" } else { "404" });
    };
    for r in &g.drawn.records {
        ask(r.path(), g.seen(&r.path()));
        for n in 1..=r.versions.len() {
            let seen = shown(g, r).contains(&n.to_string());
            ask(format!("{}/_history/{n}", r.path()), seen);
        }
    }
    for kind in ["batch", "transaction"] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
        let answer = send(fhir(g.server.request(g.who.role, Method::POST, ""), &bundle));
        let json = answer.expect(200).json();
        let given: Vec<&str> = json["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["response"]["status"].as_str().unwrap().split(' ').next().unwrap())
            .collect();
        assert_eq!(given, wanted, "{}", g.said(kind));
        let out: Paths = g.carried(&json).into_keys().collect();
        assert!(out.is_subset(&g.may), "{}: {out:?}", g.said(kind));
    }
}

/// What belongs to a patient.
fn charts(g: &Going<'_>, p: &Person) {
    let role = g.who.role;
    let patient = format!("Patient/{}", p.id);
    let all: Paths =
        g.drawn.records.iter().filter(|r| r.patient == p.id).map(Record::path).collect();
    // A chart begins with its patient: without him there is none.
    let everything = g.server.get(role, &format!("{patient}/$everything?_count=1000"));
    let reach = if g.seen(&patient) { all } else { Paths::new() };
    g.exactly("$everything", &everything, &reach);
    for ty in ["Condition", "Observation"] {
        let reach: Paths = g.of(p, ty).map(Record::path).collect();
        let found = g.server.get(role, &format!("{patient}/{ty}?_count=1000"));
        let out = g.paths(&found);
        let allowed: Paths = reach.intersection(&g.may).cloned().collect();
        assert!(out.is_subset(&allowed), "{}: {out:?}", g.said("a compartment"));
        g.searched(ty, &format!("patient={patient}&_count=1000"), &reach);
    }
}

/// What leads from one record to another, which must not lead past what is hidden.
fn links(g: &Going<'_>, p: &Person) {
    let patient = format!("Patient/{}", p.id);
    let reach = |records: &[&Record]| records.iter().map(|r| r.path()).collect::<Paths>();
    let conditions: Vec<&Record> = g.of(p, "Condition").collect();
    let observations: Vec<&Record> = g.of(p, "Observation").collect();
    let ids = |of: &[&Record]| of.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(",");
    let any = |of: &[&Record]| of.iter().any(|r| g.seen(&r.path()));

    // Includes go from what is seen to what is seen.
    let own = format!("_id={}", ids(&conditions));
    let mut there = reach(&conditions);
    if any(&conditions) {
        there.insert(patient.clone());
    }
    let included = g.server.search(
        g.who.role,
        "Condition",
        &format!("{own}&_include=Condition:subject&_count=100"),
    );
    g.exactly("_include", &included, &there);
    let mut around = Paths::new();
    if g.seen(&patient) {
        around.insert(patient.clone());
        around.extend(reach(&conditions));
        around.extend(reach(&observations));
    }
    let query =
        format!("_id={}&_revinclude=Condition:subject&_revinclude=Observation:subject", p.id);
    g.exactly("_revinclude", &g.server.search(g.who.role, "Patient", &query), &around);
    let mut further = reach(&observations);
    if any(&observations) && g.seen(&patient) {
        further.insert(patient.clone());
        further.extend(reach(&conditions));
    }
    let query = format!(
        "_id={}&_include=Observation:subject&_revinclude:iterate=Condition:subject",
        ids(&observations)
    );
    g.exactly("iterate", &g.server.search(g.who.role, "Observation", &query), &further);

    // Chains go through what is seen.
    let through = if g.seen(&patient) { reach(&conditions) } else { Paths::new() };
    g.searched("Condition", &format!("{own}&subject:Patient.birthdate={}", p.born), &through);
    g.searched("Condition", &format!("{own}&subject:Patient.birthdate=1800-01-01"), &Paths::new());
    for c in &conditions {
        let both = g.seen(&patient) && g.seen(&c.path());
        let query = format!("_id={}&_has:Condition:patient:_id={}", p.id, c.id);
        g.told_by_a_count("Patient", &query, both);
        for o in &observations {
            let all = both && g.seen(&o.path());
            let query =
                format!("_id={}&subject:Patient._has:Observation:patient:_id={}", c.id, o.id);
            g.told_by_a_count("Condition", &query, all);
            let query = format!(
                "_id={}&_has:Condition:patient:subject:Patient._has:Observation:patient:_id={}",
                p.id, o.id
            );
            let some = g.seen(&patient) && g.seen(&o.path());
            // Any condition of his that is seen is one on the way, the labelled one too.
            let third = Record {
                ty: "Condition",
                id: String::new(),
                patient: p.id,
                label: Some("HIV"),
                versions: vec![Some("HIV")],
            };
            let way = any(&conditions) || g.drawn.allows(g.who, &third).is_some();
            g.told_by_a_count("Patient", &query, some && way);
        }
    }
}

/// Pages over all, and the whole system.
fn many(g: &Going<'_>) {
    for ty in ["Patient", "Condition", "Observation"] {
        let of_type: Vec<&Record> = g.drawn.records.iter().filter(|r| r.ty == ty).collect();
        let ids: Vec<&str> = of_type.iter().map(|r| r.id.as_str()).collect();
        let wanted: Paths = of_type.iter().map(|r| r.path()).filter(|p| g.seen(p)).collect();
        let query = format!("_id={}&_sort=_lastUpdated&_count=3&_total=accurate", ids.join(","));
        let mut page = g.server.search(g.who.role, ty, &query);
        if page.status == 403 {
            assert_eq!(g.who.role, "billing");
            continue;
        }
        assert_eq!(page.json()["total"], wanted.len(), "{}: {ty}", g.said("pages"));
        let mut out = Paths::new();
        loop {
            let on = g.paths(&page);
            assert!(on.is_disjoint(&out), "{}: twice", g.said("pages"));
            out.extend(on);
            let Some(next) = page.link("next") else { break };
            page = g.server.get(g.who.role, &next).expect(200);
        }
        assert_eq!(out, wanted, "{}: {ty}", g.said("pages"));
    }
    let all: Vec<&str> = g.drawn.records.iter().map(|r| r.id.as_str()).collect();
    let types =
        if g.who.role == "billing" { "Patient,Condition" } else { "Patient,Condition,Observation" };
    let reach: Paths =
        g.drawn.records.iter().filter(|r| types.contains(r.ty)).map(Record::path).collect();
    let query = format!("_type={types}&_id={}&_count=1000", all.join(","));
    let request = g.server.request(g.who.role, Method::POST, "_search");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    g.exactly("the system", &send(request.body(query)), &reach);
}

/// A Binary to be treated as the first condition of each patient, once all is drawn.
pub(super) fn binaries(server: &Server, drawn: &Drawn) -> Vec<Record> {
    let of = |p: &Person| drawn.records.iter().find(|r| r.patient == p.id && r.ty == "Condition");
    PEOPLE
        .iter()
        .filter_map(|p| of(p))
        .map(|as_this| {
            let id = format!("b-{}", as_this.id);
            let body = json!({"resourceType": "Binary", "id": id, "contentType": "text/plain",
                "data": "d29yZHM=", "securityContext": {"reference": as_this.path()}});
            let _ = server.put("interface-engine", &body).expect(201);
            Record { ty: "Binary", id, versions: vec![as_this.label], ..as_this.clone() }
        })
        .collect()
}

/// A Binary is seen by who sees it and what it is to be treated as.
fn attached(g: &Going<'_>, binaries: &[Record]) {
    for b in binaries {
        let as_this = format!("Condition/{}", b.id.trim_start_matches("b-"));
        let seen = g.seen(&as_this) && g.drawn.allows(g.who, b).is_some();
        let wanted = if seen { 200 } else { 404 };
        for accept in ["application/fhir+json", "*/*"] {
            let request = g.server.request(g.who.role, Method::GET, &b.path());
            let read = send(request.header("accept", accept));
            assert_eq!(read.status, wanted, "{}: {} {:?}", g.said(accept), b.path(), b.label);
        }
        let version = g.server.get(g.who.role, &format!("{}/_history/1", b.path()));
        assert_eq!(version.status, wanted, "{}: {}", g.said("vread"), b.path());
    }
}

/// What goes out in bulk: of everything, of all patients, of a group.
pub(super) fn bulk(server: &Server, drawn: &Drawn, seed: u64) {
    let members = &PEOPLE[..3];
    let member: Vec<Value> = members
        .iter()
        .map(|p| json!({"entity": {"reference": format!("Patient/{}", p.id)}}))
        .collect();
    let group = json!({"resourceType": "Group", "id": "drawn", "type": "person", "actual": true,
        "member": member});
    let _ = server.put("import-client", &group).expect(201);
    let types = "_type=Patient,Condition,Observation";
    for who in [&EXPORTER, &KEEPER] {
        let said = |door: &str| format!("seed {seed}: {} through {door}", who.role);
        let out = |path: &str| {
            let manifest = exported(server, who.role, path);
            assert_eq!(manifest["deleted"], json!([]));
            let all = lines(server, who.role, &manifest["output"]);
            let text = serde_json::to_string(&all).unwrap();
            assert_eq!(text.contains(NOTE), who.role == KEEPER.role, "{}", said(path));
            let drawn: Paths = drawn.records.iter().map(Record::path).collect();
            names(&all).intersection(&drawn).cloned().collect::<Paths>()
        };
        let allowed = |of: &dyn Fn(&Record) -> bool| -> Paths {
            let all = drawn.records.iter().filter(|r| of(r) && drawn.exports(who, r));
            all.map(Record::path).collect()
        };
        for path in ["$export", "Patient/$export"] {
            assert_eq!(out(&format!("{path}?{types}")), allowed(&|_| true), "{}", said(path));
        }
        // The group is about its members: what hides it from the one who asks hides it.
        let group = |p: &&Person| {
            let ty = "Group";
            let versions = vec![None];
            Record { ty, id: "drawn".to_owned(), patient: p.id, label: None, versions }
        };
        let path = format!("Group/drawn/$export?{types}");
        if members.iter().all(|p| drawn.exports(who, &group(p))) {
            let of = |r: &Record| members.iter().any(|p| p.id == r.patient);
            assert_eq!(out(&path), allowed(&of), "{}", said(&path));
        } else {
            let asked = server.request(who.role, Method::GET, &path);
            let status = send(asked.header("prefer", "respond-async")).status;
            assert_eq!(status, 404, "{}", said(&path));
        }
    }
}

/// A subscriber of the world.
pub(super) struct Hooked {
    hook: Hook,
    _dir: tempfile::TempDir,
}

impl Hooked {
    /// Its address is one that the world's server may call.
    pub(super) fn over(world: &World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hook = Hook::start(dir.path());
        configure(world, &[&hook]);
        Hooked { hook, _dir: dir }
    }

    /// Everything is written once more, and it is told of what its owner may see.
    pub(super) fn told(self, server: &Server, drawn: &Drawn, seed: u64) {
        let types = ["Patient", "Condition", "Observation"];
        for ty in types {
            let topic = format!("urn:phial:topic:changed:{ty}");
            let _ = active(server, &changed(&topic, &self.hook));
        }
        for r in &drawn.records {
            let now = server.get("interface-engine", &r.path()).expect(200).json();
            let _ = server.put("interface-engine", &now).expect(200);
        }
        // What comes last of each type, and is hidden from nobody.
        let fresh = json!({"reference": "Patient/fresh"});
        for last in [
            json!({"resourceType": "Patient", "id": "fresh"}),
            json!({"resourceType": "Condition", "id": "fresh", "subject": fresh,
                "code": {"text": "x"}}),
            json!({"resourceType": "Observation", "id": "fresh", "status": "final",
                "code": {"text": "x"}}),
        ] {
            let _ = server.put("interface-engine", &last).expect(201);
        }
        for ty in types {
            self.hook.told_of(&format!("{ty}/fresh"));
        }
        let calls = self.hook.calls();
        let told: Paths =
            calls.iter().flat_map(Call::events).filter_map(|(_, focus)| focus).collect();
        let wanted: Paths = drawn
            .records
            .iter()
            .filter(|r| drawn.tells(r))
            .map(Record::path)
            .chain(types.map(|ty| format!("{ty}/fresh")))
            .collect();
        assert_eq!(told, wanted, "seed {seed}: {} is told", TOLD.role);
    }
}
