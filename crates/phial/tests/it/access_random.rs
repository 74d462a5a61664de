//! Random labels, consents, restrictions, ties and grants; and a plain evaluator of the
//! rules, written here alone: it knows no Cedar, no index and none of the program's code.
//! What a read gives is what it allows, no more and no less; what any other door gives is
//! within that.

use std::collections::{BTreeMap, BTreeSet};

use phial_testkit::fixture::{self, PEOPLE, Person, id};
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
    fn says(&self, who: &Who, record: &Record) -> Option<bool> {
        let speaks = !self.over
            && self.purpose.is_none_or(|p| p == who.purpose)
            && self.class.is_none_or(|c| c == record.ty)
            && self.label.is_none_or(|l| record.label == Some(l))
            && self.actor.is_none_or(|a| who.practitioner == Some(a));
        let excepted = self.except.is_some() && self.except == who.practitioner;
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

/// A record, as far as a rule looks at it.
#[derive(Debug)]
struct Record {
    ty: &'static str,
    id: String,
    patient: &'static str,
    label: Option<&'static str>,
}

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
    /// What the rules allow: `None`, or the parts that are to be seen.
    fn allows(&self, who: &Who, r: &Record) -> Option<BTreeSet<&'static str>> {
        let pair = (who.user, r.patient);
        let glass = self.glass.contains(&pair);
        let clinician = who.role != "billing";
        let care = self.assigned.contains(&pair)
            || who.role == "field-clinician" && fixture::TIED.iter().any(|p| p.id == r.patient);
        if self.household.contains(&pair) {
            return None;
        }
        if who.role == "field-clinician" && !care && !glass {
            return None;
        }
        if who.role == "billing" && r.ty == "Observation" {
            return None;
        }
        let provisions = self.consents.get(r.patient).map(Vec::as_slice).unwrap_or_default();
        let said: Vec<bool> = provisions.iter().filter_map(|p| p.says(who, r)).collect();
        let restricted = who.purpose == "HPAYMT" && self.restricted.contains(r.patient);
        let denied = said.contains(&true) || restricted;
        let permitted = said.contains(&false) && !denied;
        if denied && !glass {
            return None;
        }
        let allowed = match r.label {
            None => true,
            Some("HIPAASelfPay") => who.purpose != "HPAYMT",
            Some("VIP") => care || glass,
            Some("PSYTHPN") => who.role == "physician" && care,
            Some("42CFRPart2") => clinician && (care && permitted || glass),
            Some(_) => clinician && (care || glass),
        };
        if !allowed {
            return None;
        }
        let notes = clinician;
        let of_type = PARTS.iter().filter(|(ty, _)| *ty == r.ty).map(|(_, part)| *part);
        Some(of_type.filter(|part| notes || *part != "/note").collect())
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
        let label = if d.one_in(5) { Some("VIP") } else { None };
        write(server, &mut drawn, "Patient", fixture::patient(p), p, label);
        for n in 0..2 {
            let label = d.of(&labels);
            write(server, &mut drawn, "Condition", fixture::condition(p, n), p, label);
            let label = d.of(&labels);
            write(server, &mut drawn, "Observation", fixture::observation(p, n), p, label);
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

fn write(
    server: &Server,
    drawn: &mut Drawn,
    ty: &'static str,
    mut body: Value,
    p: &'static Person,
    label: Option<&'static str>,
) {
    if let Some(label) = label {
        body["meta"] = json!({"security": [{"system": ACT, "code": label}]});
    }
    let _ = server.put("import-client", &body).expect(200);
    let id = body["id"].as_str().unwrap().to_owned();
    drawn.records.push(Record { ty, id, patient: p.id, label });
}

/// Ids of all resources of a type that stand anywhere in an answer.
fn ids_of<'v>(value: &'v Value, ty: &str, out: &mut BTreeSet<&'v str>) {
    if value["resourceType"] == ty {
        out.extend(value["id"].as_str());
    }
    match value {
        Value::Array(all) => all.iter().for_each(|v| ids_of(v, ty, out)),
        Value::Object(all) => all.values().for_each(|v| ids_of(v, ty, out)),
        _ => {}
    }
}

fn one_world(seed: u64) {
    let world = clinic();
    let server = world.serve();
    let drawn = draw(&mut Dice(seed), &world, &server);
    let mut seen = 0;
    for who in &ASKING {
        let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for r in &drawn.records {
            let wanted = drawn.allows(who, r);
            let said = format!("seed {seed}: {} {}/{} {:?}", who.role, r.ty, r.id, r.label);
            let read = server.get(who.role, &format!("{}/{}", r.ty, r.id));
            match &wanted {
                None => assert_eq!(read.status, 404, "{said}: to be absent"),
                Some(parts) => {
                    assert_eq!(read.status, 200, "{said}: to be seen");
                    let json = read.json();
                    for (_, part) in PARTS.iter().filter(|(ty, _)| *ty == r.ty) {
                        let there = json.pointer(part).is_some();
                        assert_eq!(there, parts.contains(part), "{said}: {part}");
                    }
                    allowed.entry(r.ty).or_default().insert(r.id.as_str());
                    seen += 1;
                }
            }
            // A search says of each record what its read says.
            let found = server.search(who.role, r.ty, &format!("_id={}", r.id)).expect(200);
            assert_eq!(found.ids("match").len(), usize::from(wanted.is_some()), "{said}: search");
            assert_eq!(
                server.count(who.role, r.ty, &format!("_id={}", r.id)),
                u64::from(wanted.is_some()),
                "{said}: count"
            );
        }
        let nothing = BTreeSet::new();
        let within = |door: &str, answer: &Value| {
            for ty in ["Patient", "Condition", "Observation"] {
                let mut out = BTreeSet::new();
                ids_of(answer, ty, &mut out);
                let drawn: BTreeSet<&str> =
                    drawn.records.iter().filter(|r| r.ty == ty).map(|r| r.id.as_str()).collect();
                let may = allowed.get(ty).unwrap_or(&nothing);
                let more: Vec<&&str> =
                    out.iter().filter(|id| drawn.contains(*id) && !may.contains(*id)).collect();
                assert!(more.is_empty(), "seed {seed}: {} sees {ty} {more:?} by {door}", who.role);
            }
        };
        for p in PEOPLE {
            for path in [
                format!("Patient/{}/$everything?_count=1000", p.id),
                format!("Patient/{}/Condition?_count=1000", p.id),
                format!("Condition?patient={}&_include=Condition:subject", p.id),
                format!(
                    "Patient?_id={}&_revinclude=Condition:subject&_revinclude=Observation:subject",
                    p.id
                ),
                format!("Patient/{}/_history", p.id),
                format!("Condition/{}/_history", id("cond", p, 0)),
            ] {
                within(&path, &server.get(who.role, &path).json());
            }
            // Whether one is there is all that a chain tells; it must not tell of another.
            let chain = format!("Condition?subject:Patient.birthdate={}&_count=100", p.born);
            let chained = server.get(who.role, &chain);
            within(&chain, &chained.json());
            if !allowed.get("Patient").unwrap_or(&nothing).contains(p.id) && chained.status == 200 {
                let mut out = BTreeSet::new();
                let json = chained.json();
                ids_of(&json, "Condition", &mut out);
                assert!(out.is_empty(), "seed {seed}: {} through a hidden patient", who.role);
            }
        }
        let entries: Vec<Value> = drawn
            .records
            .iter()
            .map(|r| json!({"request": {"method": "GET", "url": format!("{}/{}", r.ty, r.id)}}))
            .collect();
        let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
        let batched = send(fhir(server.request(who.role, Method::POST, ""), &batch)).expect(200);
        within("a batch", &batched.json());
        within("changes", &server.get(who.role, "_history?_count=1000").json());
    }
    assert!(seen > 0, "seed {seed}: nothing was seen at all");
}

#[test]
fn what_comes_out_is_what_a_plain_evaluator_allows() {
    for seed in 0..4 {
        one_world(seed);
    }
}
