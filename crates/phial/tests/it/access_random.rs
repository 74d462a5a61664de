//! Random labels, consents, restrictions, ties and grants; and a plain evaluator of the
//! rules, written here alone: it knows no Cedar, no index and none of the program's code.
//! What a read gives is what it allows, no more and no less; what any other door gives
//! ([`doors`]) is what that door reaches of it.
//!
//! That the test can fail is tested: the evaluator with one rule left out is another one in
//! the worlds that were drawn, and somebody who sees everything gets by each door all that
//! there is to get.

mod doors;

use std::collections::{BTreeMap, BTreeSet};

use phial_testkit::fixture::{self, PEOPLE, Person};
use phial_testkit::world::{Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::clinic;

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

/// A small generator of numbers (splitmix64), so that a seed is a world.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.next() % all.len() as u64).unwrap()]
    }
}

/// A provision, as it was drawn; what is `None` is not said.
#[derive(Debug)]
struct Provision {
    deny: bool,
    purpose: Option<&'static str>,
    class: Option<&'static str>,
    label: Option<&'static str>,
    actor: Option<&'static str>,
    over: bool,
    /// An actor for whom it does not hold.
    except: Option<&'static str>,
}

impl Provision {
    fn draw(d: &mut Dice) -> Self {
        let actors =
            [Some(fixture::FIELD_PRACTITIONER), Some(fixture::OTHER_PRACTITIONER), None, None];
        Provision {
            deny: !d.one_in(3),
            purpose: d.of(&[Some("TREAT"), Some("HPAYMT"), None]),
            class: d.of(&[Some("Condition"), Some("Observation"), None]),
            label: d.of(&[Some("HIV"), None, None]),
            actor: d.of(&actors),
            over: d.one_in(5),
            except: d.of(&[Some(fixture::FIELD_PRACTITIONER), None, None]),
        }
    }

    fn json(&self) -> Value {
        let actor = |id: &str| {
            json!([{"role": {"coding": [{"code": "PRCP"}]},
                "reference": {"reference": format!("Practitioner/{id}")}}])
        };
        let mut p = json!({"type": if self.deny { "deny" } else { "permit" }});
        if let Some(code) = self.purpose {
            p["purpose"] = json!([{"system": REASON, "code": code}]);
        }
        if let Some(code) = self.class {
            p["class"] = json!([{"system": "http://hl7.org/fhir/resource-types", "code": code}]);
        }
        if let Some(code) = self.label {
            p["securityLabel"] = json!([{"system": ACT, "code": code}]);
        }
        if let Some(id) = self.actor {
            p["actor"] = actor(id);
        }
        if self.over {
            p["period"] = json!({"start": "2010-01-01", "end": "2011-01-01"});
        }
        if let Some(id) = self.except {
            let contrary = if self.deny { "permit" } else { "deny" };
            p["provision"] = json!([{"type": contrary, "actor": actor(id)}]);
        }
        p
    }

    /// Whether it denies (true) or permits; `None` when it does not speak of this.
    fn says(&self, who: &Who, record: &Record, slip: Option<Slip>) -> Option<bool> {
        let speaks = (!self.over || slip == Some(Slip::Period))
            && self.purpose.is_none_or(|p| p == who.purpose)
            && self.class.is_none_or(|c| c == record.ty)
            && self.label.is_none_or(|l| record.label == Some(l))
            && self.actor.is_none_or(|a| who.practitioner == Some(a));
        let excepted = self.except.is_some()
            && self.except == who.practitioner
            && slip != Some(Slip::Exception);
        speaks.then_some(self.deny != excepted)
    }
}

/// One who asks.
struct Who {
    role: &'static str,
    user: &'static str,
    purpose: &'static str,
    practitioner: Option<&'static str>,
}

const ASKING: [Who; 4] = [
    Who { role: "physician", user: "ana", purpose: "TREAT", practitioner: None },
    Who { role: "nurse", user: "nils", purpose: "TREAT", practitioner: None },
    Who {
        role: "field-clinician",
        user: "fiona",
        purpose: "TREAT",
        practitioner: Some(fixture::FIELD_PRACTITIONER),
    },
    Who { role: "billing", user: "bill", purpose: "HPAYMT", practitioner: None },
];

/// Who answers for who saw what: sees everything, and so shows that a door is open.
const KEEPER: Who =
    Who { role: "privacy-officer", user: "petra", purpose: "HOPERAT", practitioner: None };
/// Who takes records out in bulk, beside the keeper.
const EXPORTER: Who =
    Who { role: "export-client", user: "exa", purpose: "HOPERAT", practitioner: None };
/// Who is told of changes.
const TOLD: Who = Who { role: "system-client", user: "sys", purpose: "TREAT", practitioner: None };

/// A record, as far as a rule looks at it.
#[derive(Clone, Debug)]
struct Record {
    ty: &'static str,
    id: String,
    patient: &'static str,
    label: Option<&'static str>,
    /// The label of each version, the first one first; the last is the record's.
    versions: Vec<Option<&'static str>>,
}

impl Record {
    fn path(&self) -> String {
        format!("{}/{}", self.ty, self.id)
    }
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slip {
    Household,
    Care,
    Glass,
    Consent,
    ConsentPermits,
    Exception,
    Period,
    Restriction,
    Label,
    Notes,
    OldVersions,
}

const SLIPS: [Slip; 11] = [
    Slip::Household,
    Slip::Care,
    Slip::Glass,
    Slip::Consent,
    Slip::ConsentPermits,
    Slip::Exception,
    Slip::Period,
    Slip::Restriction,
    Slip::Label,
    Slip::Notes,
    Slip::OldVersions,
];

/// Everything that was drawn.
#[derive(Default)]
struct Drawn {
    records: Vec<Record>,
    consents: BTreeMap<&'static str, Vec<Provision>>,
    /// Patients who may not be billed for.
    restricted: BTreeSet<&'static str>,
    /// User and patient.
    assigned: BTreeSet<(&'static str, &'static str)>,
    household: BTreeSet<(&'static str, &'static str)>,
    glass: BTreeSet<(&'static str, &'static str)>,
}

/// Parts of a record that tell which classes came out, and whether each is to.
const PARTS: [(&str, &str); 7] = [
    ("Condition", "/code"),
    ("Condition", "/note"),
    ("Observation", "/valueQuantity"),
    ("Observation", "/note"),
    ("Patient", "/name"),
    ("Patient", "/telecom"),
    ("Patient", "/birthDate"),
];

impl Drawn {
    /// What the patients said about it and whether it is restricted: denied, permitted.
    fn consents(&self, who: &Who, r: &Record, slip: Option<Slip>) -> (bool, bool) {
        let provisions = self.consents.get(r.patient).map(Vec::as_slice).unwrap_or_default();
        let said: Vec<bool> = provisions.iter().filter_map(|p| p.says(who, r, slip)).collect();
        let restricted = who.purpose == "HPAYMT"
            && self.restricted.contains(r.patient)
            && slip != Some(Slip::Restriction);
        let denied = said.contains(&true) && slip != Some(Slip::Consent) || restricted;
        (denied, said.contains(&false) && !denied && slip != Some(Slip::ConsentPermits))
    }

    /// What the rules allow: `None`, or the parts that are to be seen.
    fn allows(&self, who: &Who, r: &Record) -> Option<BTreeSet<&'static str>> {
        self.allows_but(who, r, None)
    }

    /// The same without one of them.
    fn allows_but(
        &self,
        who: &Who,
        r: &Record,
        slip: Option<Slip>,
    ) -> Option<BTreeSet<&'static str>> {
        let parts = |notes: bool| {
            let of_type = PARTS.iter().filter(|(ty, _)| *ty == r.ty).map(|(_, part)| *part);
            of_type.filter(|part| notes || *part != "/note").collect()
        };
        if who.role == KEEPER.role {
            return Some(parts(true));
        }
        let pair = (who.user, r.patient);
        let glass = self.glass.contains(&pair) && slip != Some(Slip::Glass);
        let clinician = who.role != "billing";
        let care = self.assigned.contains(&pair)
            || who.role == "field-clinician" && fixture::TIED.iter().any(|p| p.id == r.patient);
        let care = care && slip != Some(Slip::Care);
        if self.household.contains(&pair) && slip != Some(Slip::Household) {
            return None;
        }
        if who.role == "field-clinician" && !care && !glass {
            return None;
        }
        if who.role == "billing" && ["Observation", "Binary"].contains(&r.ty) {
            return None;
        }
        let (denied, permitted) = self.consents(who, r, slip);
        if denied && !glass {
            return None;
        }
        let allowed = match r.label {
            _ if slip == Some(Slip::Label) => true,
            None => true,
            Some("HIPAASelfPay") => who.purpose != "HPAYMT",
            Some("VIP") => care || glass,
            Some("PSYTHPN") => who.role == "physician" && care,
            Some("42CFRPart2") => clinician && (care && permitted || glass),
            Some(_) => clinician && (care || glass),
        };
        allowed.then(|| parts(clinician || slip == Some(Slip::Notes)))
    }

    /// Whether a version is to be seen: by its own label, and by that of the record now.
    fn allows_version(&self, who: &Who, r: &Record, version: usize, slip: Option<Slip>) -> bool {
        let old = Record { label: r.versions[version], ..r.clone() };
        self.allows_but(who, &old, slip).is_some()
            && (slip == Some(Slip::OldVersions) || self.allows_but(who, r, slip).is_some())
    }

    /// Whether it goes out in bulk: nothing that is specially protected does, for anybody.
    fn exports(&self, who: &Who, r: &Record) -> bool {
        matches!(r.label, None | Some("HIPAASelfPay")) && !self.consents(who, r, None).0
    }

    /// Whether a system without care relationships is told of it.
    fn tells(&self, r: &Record) -> bool {
        self.exports(&TOLD, r)
    }
}

fn draw(d: &mut Dice, world: &World, server: &Server) -> Drawn {
    let mut drawn = Drawn::default();
    let labels = [
        None,
        None,
        None,
        Some("HIV"),
        Some("42CFRPart2"),
        Some("VIP"),
        Some("PSYTHPN"),
        Some("HIPAASelfPay"),
    ];
    for p in PEOPLE {
        let mut of_a_kind = |drawn: &mut Drawn, ty, body: Value| {
            let mut own = Vec::new();
            for _ in 0..1 + d.next() % 2 {
                let patients = if d.one_in(5) { Some("VIP") } else { None };
                own.push(if ty == "Patient" { patients } else { d.of(&labels) });
            }
            write(server, drawn, ty, body, p, &own);
        };
        of_a_kind(&mut drawn, "Patient", fixture::patient(p));
        for n in 0..2 {
            of_a_kind(&mut drawn, "Condition", fixture::condition(p, n));
            of_a_kind(&mut drawn, "Observation", fixture::observation(p, n));
        }
        for n in 0..d.next() % 3 {
            let provision = Provision::draw(d);
            let consent = json!({"resourceType": "Consent", "id": format!("c{n}-{}", p.id),
                "status": "active",
                "scope": {"coding": [{"code": "patient-privacy"}]},
                "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
                "patient": {"reference": format!("Patient/{}", p.id)},
                "policyRule": {"coding": [{"system": ACT, "code": "HIPAAAuth"}]},
                "provision": provision.json()});
            let _ = server.put("import-client", &consent).expect(201);
            drawn.consents.entry(p.id).or_default().push(provision);
        }
        if d.one_in(4) {
            let _ = world.ok(&["access", "restrict", p.id, "--as", "petra"]);
            drawn.restricted.insert(p.id);
        }
        for who in &ASKING {
            let tie = |kind: &str, more: &[&str]| {
                let mut args =
                    vec!["access", "tie", who.user, p.id, "--kind", kind, "--as", "petra"];
                args.extend(more);
                let _ = world.ok(&args);
            };
            if d.one_in(3) {
                if d.one_in(3) {
                    tie(
                        "assignment",
                        &["--from", "2001-01-01T00:00:00Z", "--until", "2002-01-01T00:00:00Z"],
                    );
                } else {
                    tie("assignment", &[]);
                    drawn.assigned.insert((who.user, p.id));
                }
            }
            if d.one_in(9) {
                tie("household", &[]);
                drawn.household.insert((who.user, p.id));
            }
            if who.role != "billing" && d.one_in(5) {
                let body = json!({"resourceType": "Parameters", "parameter": [
                    {"name": "reason", "valueCode": "emergency-treatment"},
                    {"name": "text", "valueString": "drawn by the dice"}]});
                let path = format!("Patient/{}/$break-glass", p.id);
                let _ =
                    send(fhir(server.request(who.role, Method::POST, &path), &body)).expect(200);
                drawn.glass.insert((who.user, p.id));
            }
        }
    }
    drawn
}

/// Writes a version for each label. The first version is the fixture's, which has none.
fn write(
    server: &Server,
    drawn: &mut Drawn,
    ty: &'static str,
    mut body: Value,
    p: &'static Person,
    labels: &[Option<&'static str>],
) {
    let id = body["id"].as_str().unwrap().to_owned();
    let mut versions = vec![None];
    for label in labels {
        body["meta"] = match label {
            Some(label) => json!({"security": [{"system": ACT, "code": label}]}),
            None => json!({}),
        };
        let _ = server.put("import-client", &body).expect(200);
        versions.push(*label);
    }
    let label = *versions.last().unwrap();
    drawn.records.push(Record { ty, id, patient: p.id, label, versions });
}

/// Which rules mattered to somebody, somewhere in the worlds so far.
type Mattered = BTreeSet<Slip>;

fn what_mattered(drawn: &Drawn, out: &mut Mattered) {
    for slip in SLIPS {
        for who in &ASKING {
            for r in &drawn.records {
                let other = drawn.allows(who, r) != drawn.allows_but(who, r, Some(slip))
                    || (0..r.versions.len()).any(|v| {
                        drawn.allows_version(who, r, v, None)
                            != drawn.allows_version(who, r, v, Some(slip))
                    });
                if other {
                    out.insert(slip);
                }
            }
        }
    }
}

fn one_world(seed: u64, mattered: &mut Mattered) {
    let mut world = clinic();
    world.user(EXPORTER.user, EXPORTER.role, None);
    world.user(TOLD.user, TOLD.role, None);
    let hook = doors::Hooked::over(&world);
    let server = world.serve();
    let drawn = draw(&mut Dice(seed), &world, &server);
    what_mattered(&drawn, mattered);
    let binaries = doors::binaries(&server, &drawn);
    let mut seen = 0;
    for who in ASKING.iter().chain([&KEEPER]) {
        for r in &drawn.records {
            let wanted = drawn.allows(who, r);
            let said = format!("seed {seed}: {} {} {:?}", who.role, r.path(), r.label);
            let read = server.get(who.role, &r.path());
            match &wanted {
                None => assert_eq!(read.status, 404, "{said}: to be absent"),
                Some(parts) => {
                    assert_eq!(read.status, 200, "{said}: to be seen");
                    let json = read.json();
                    for (_, part) in PARTS.iter().filter(|(ty, _)| *ty == r.ty) {
                        let there = json.pointer(part).is_some();
                        assert_eq!(there, parts.contains(part), "{said}: {part}");
                    }
                    seen += 1;
                }
            }
        }
        doors::all(&server, &drawn, &binaries, who, seed);
    }
    assert!(seen > 0, "seed {seed}: nothing was seen at all");
    doors::bulk(&server, &drawn, seed);
    hook.told(&server, &drawn, seed);
}

#[test]
fn what_comes_out_is_what_a_plain_evaluator_allows() {
    let mut mattered = Mattered::new();
    for seed in 0..4 {
        one_world(seed, &mut mattered);
    }
    // An evaluator without any one of the rules would have been found out.
    let all: Mattered = SLIPS.into_iter().collect();
    assert_eq!(mattered, all, "rules on which nothing depended: draw more worlds");
}
