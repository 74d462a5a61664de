//! Random records and random searches, held against brute force: a property test over
//! the real server. What is written stays, so that later cases search what earlier ones
//! wrote, changed and deleted.

use std::cell::RefCell;
use std::fmt::Write as _;

use phial_testkit::torture::dice::Dice;
use phial_testkit::world::{Server, fhir, send};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::conformance::{LOADER, difference, empty, tally};
use crate::conformance_clinic::values;
use crate::oracle::{Facts, Oracle};

/// Batches of writes, and searches after each.
const CASES: u32 = 10;
const SEARCHES: usize = 60;

const TYPES: [&str; 8] = [
    "Patient",
    "Observation",
    "Encounter",
    "Condition",
    "ChargeItem",
    "ValueSet",
    "Location",
    "RiskAssessment",
];
const WORDS: [&str; 14] = [
    "Ana",
    "Anabel",
    "ánA",
    "O'Brien",
    "Smith-Jones",
    "smith  jones",
    "van der Berg",
    "Müller",
    "Muller",
    "Zoë",
    "St. Ives",
    "Ives",
    "a,b",
    "x|y$z",
];
const SYSTEMS: [&str; 3] = ["http://loinc.org", "http://snomed.info/sct", "urn:oid:1.2.3"];
const CODES: [&str; 8] = ["1", "10", "2339-0", "a", "A", "a,b", "x|y", "long-code-of-a-thing"];
const DAYS: [&str; 14] = [
    "2019",
    "2020",
    "2020-02",
    "2020-02-29",
    "2020-03",
    "2020-03-01",
    "2020-03-01T00:00:00Z",
    "2020-03-01T23:30:00-02:00",
    "2020-03-02T01:30:00Z",
    "2020-03-02T01:30:00.5Z",
    "2020-12-31",
    "2021-01",
    "2021-06-15T12:00:00+05:30",
    "1969-07-20",
];
const NUMBERS: [&str; 13] =
    ["0", "1", "1.0", "1.05", "5.35", "5.4", "5.44", "5.45", "99.5", "100", "100.5", "-7", "0.001"];
// None that can be turned into another: the oracle compares codes, and amounts in other units have
// rows of their own.
const UNITS: [&str; 3] = ["mg", "s", "mm[Hg]"];

/// What is random is made of these.
struct Made<'d>(&'d mut Dice);

impl Made<'_> {
    fn one<'t>(&mut self, all: &[&'t str]) -> &'t str {
        self.0.pick(all).copied().unwrap()
    }

    fn some<T>(&mut self, percent: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.chance(percent).then(|| make(self))
    }

    fn several(&mut self, most: u64, make: impl Fn(&mut Self) -> Value) -> Value {
        let n = self.0.below(most) + 1;
        Value::Array((0..n).map(|_| make(self)).collect())
    }

    fn coding(&mut self) -> Value {
        let mut v = json!({"code": self.one(&CODES)});
        if self.0.chance(70) {
            v["system"] = self.one(&SYSTEMS).into();
        }
        v
    }

    fn concept(&mut self) -> Value {
        let mut v = json!({"text": self.one(&WORDS)});
        if self.0.chance(90) {
            v["coding"] = self.several(2, Made::coding);
        }
        v
    }

    fn number(&mut self) -> Value {
        serde_json::from_str(self.one(&NUMBERS)).unwrap()
    }

    fn quantity(&mut self) -> Value {
        let mut v = json!({"value": self.number()});
        match self.0.below(4) {
            0 => {}
            1 => v["unit"] = self.one(&UNITS).into(),
            _ => {
                v["system"] = "http://unitsofmeasure.org".into();
                v["code"] = self.one(&UNITS).into();
            }
        }
        v
    }

    fn identifier(&mut self) -> Value {
        let mut v = json!({"value": self.one(&CODES)});
        if self.0.chance(70) {
            v["system"] = self.one(&SYSTEMS).into();
        }
        v
    }

    fn date(&mut self) -> Value {
        self.one(&DAYS).split('T').next().unwrap().into()
    }

    fn time(&mut self) -> Value {
        self.one(&DAYS).into()
    }

    fn period(&mut self) -> Value {
        let (a, b) = (self.one(&DAYS[..6]), self.one(&DAYS[10..13]));
        match self.0.below(4) {
            0 => json!({"start": a}),
            1 => json!({"end": b}),
            _ => json!({"start": a, "end": b}),
        }
    }

    fn subject(&mut self) -> Value {
        match self.0.below(12) {
            0 => json!({"reference": "Group/0"}),
            1 => json!({"reference": "http://elsewhere.example/fhir/Patient/0"}),
            2 => json!({"identifier": self.identifier()}),
            _ => json!({"reference": format!("Patient/Patient-{}", self.0.below(40))}),
        }
    }

    fn reference(&mut self, ty: &str) -> Value {
        json!({"reference": format!("{ty}/{ty}-{}", self.0.below(40))})
    }

    fn address(&mut self) -> Value {
        json!({"use": "home", "line": [self.one(&WORDS)], "city": self.one(&WORDS), "state": "MA"})
    }

    /// A record of the type, valid in R4, with most things left out now and then.
    fn record(&mut self, ty: &str, id: &str) -> Value {
        let mut r = json!({"resourceType": ty, "id": id});
        let mut put = |name: &str, v: Option<Value>| {
            if let Some(v) = v {
                r[name] = v;
            }
        };
        put("meta", self.some(30, |m| json!({"tag": [m.coding()]})));
        if ty != "RiskAssessment" || self.0.chance(50) {
            put("identifier", self.some(60, |m| m.several(2, Made::identifier)));
        }
        match ty {
            "Patient" => {
                put("active", self.some(50, |m| m.0.chance(50).into()));
                put("name", self.some(80, |m| {
                    m.several(2, |m| json!({"family": m.one(&WORDS), "given": [m.one(&WORDS), m.one(&WORDS)]}))
                }));
                put(
                    "telecom",
                    self.some(30, |m| json!([{"system": "phone", "value": m.one(&CODES)}])),
                );
                put(
                    "gender",
                    self.some(70, |m| m.one(&["male", "female", "other", "unknown"]).into()),
                );
                put("birthDate", self.some(80, Made::date));
                match self.0.below(4) {
                    0 => put("deceasedBoolean", Some(self.0.chance(50).into())),
                    1 => put("deceasedDateTime", Some(self.time())),
                    _ => {}
                }
                put("address", self.some(50, |m| m.several(2, Made::address)));
                put(
                    "communication",
                    self.some(50, |m| m.several(2, |m| json!({"language": m.concept()}))),
                );
                put(
                    "link",
                    self.some(
                        20,
                        |m| json!([{"other": m.reference("Patient"), "type": "seealso"}]),
                    ),
                );
            }
            "Observation" => {
                put("status", Some(self.one(&["final", "amended", "preliminary"]).into()));
                put("code", Some(self.concept()));
                put("category", self.some(60, |m| m.several(2, Made::concept)));
                put("subject", self.some(90, Made::subject));
                put("encounter", self.some(50, |m| m.reference("Encounter")));
                match self.0.below(5) {
                    0 => put("effectivePeriod", Some(self.period())),
                    1 => put("effectiveTiming", Some(json!({"event": [self.time()]}))),
                    2 => {}
                    _ => put("effectiveDateTime", Some(self.time())),
                }
                match self.0.below(7) {
                    0 => put("valueCodeableConcept", Some(self.concept())),
                    1 => put("valueString", Some(self.one(&WORDS).into())),
                    2 => put("valueDateTime", Some(self.time())),
                    3 => put("valuePeriod", Some(self.period())),
                    4 => {}
                    _ => put("valueQuantity", Some(self.quantity())),
                }
                put(
                    "component",
                    self.some(50, |m| {
                        m.several(
                            3,
                            |m| json!({"code": m.concept(), "valueQuantity": m.quantity()}),
                        )
                    }),
                );
                put("derivedFrom", self.some(20, |m| json!([m.reference("Observation")])));
            }
            "Encounter" => {
                put("status", Some(self.one(&["planned", "finished", "in-progress"]).into()));
                put("class", Some(self.coding()));
                put("type", self.some(60, |m| m.several(2, Made::concept)));
                put("subject", self.some(90, Made::subject));
                put("period", self.some(80, Made::period));
                put(
                    "length",
                    self.some(50, |m| {
                        json!({"value": m.number(), "unit": "min",
                    "system": "http://unitsofmeasure.org", "code": "min"})
                    }),
                );
                put("partOf", self.some(30, |m| m.reference("Encounter")));
                put("location", self.some(40, |m| json!([{"location": m.reference("Location")}])));
                put("reasonCode", self.some(40, |m| json!([m.concept()])));
            }
            "Condition" => {
                put("code", self.some(90, Made::concept));
                put("category", self.some(50, |m| m.several(2, Made::concept)));
                put("subject", Some(self.subject()));
                put("encounter", self.some(40, |m| m.reference("Encounter")));
                match self.0.below(5) {
                    0 => put("onsetPeriod", Some(self.period())),
                    1 => put("onsetString", Some(self.one(&WORDS).into())),
                    2 => put(
                        "onsetAge",
                        Some(json!({"value": self.0.below(90) + 1, "unit": "a",
                        "system": "http://unitsofmeasure.org", "code": "a"})),
                    ),
                    _ => put("onsetDateTime", Some(self.time())),
                }
                put("recordedDate", self.some(50, Made::time));
                put("bodySite", self.some(30, |m| json!([m.concept()])));
            }
            "ChargeItem" => {
                put("status", Some(self.one(&["billable", "billed", "planned"]).into()));
                put("code", Some(self.concept()));
                put("subject", Some(self.subject()));
                put("factorOverride", self.some(80, Made::number));
                put(
                    "priceOverride",
                    self.some(
                        50,
                        |m| json!({"value": m.number(), "currency": m.one(&["USD", "EUR"])}),
                    ),
                );
                put("quantity", self.some(50, Made::quantity));
                match self.0.below(3) {
                    0 => put("occurrencePeriod", Some(self.period())),
                    1 => put("occurrenceDateTime", Some(self.time())),
                    _ => {}
                }
                put("enteredDate", self.some(50, Made::time));
            }
            "ValueSet" => {
                put(
                    "url",
                    self.some(80, |m| {
                        format!("http://acme.org/vs/{}", m.one(&["a", "A", "b", "b/c", "d,e"]))
                            .into()
                    }),
                );
                // No two that differ in nothing but case: of a string it does not count, and
                // the oracle can't tell a string from a code.
                put("version", self.some(50, |m| m.one(&["1", "10", "2339-0", "b2"]).into()));
                put("name", self.some(60, |m| m.one(&["Aname", "aNAME", "Bname"]).into()));
                put("title", self.some(60, |m| m.one(&WORDS).into()));
                put("status", Some(self.one(&["draft", "active", "retired"]).into()));
                put("date", self.some(60, Made::time));
                put("description", self.some(40, |m| m.one(&WORDS).into()));
                put(
                    "useContext",
                    self.some(60, |m| {
                        m.several(2, |m| {
                            let mut c = json!({"code": m.coding()});
                            match m.0.below(2) {
                                0 => c["valueCodeableConcept"] = m.concept(),
                                _ => c["valueQuantity"] = m.quantity(),
                            }
                            c
                        })
                    }),
                );
            }
            "Location" => {
                put("name", self.some(80, |m| m.one(&WORDS).into()));
                put("status", self.some(60, |m| m.one(&["active", "inactive"]).into()));
                put("address", self.some(60, Made::address));
                put("partOf", self.some(50, |m| m.reference("Location")));
                put("type", self.some(40, |m| m.several(2, Made::concept)));
            }
            _ => {
                put("status", Some(self.one(&["final", "preliminary"]).into()));
                put("subject", Some(self.subject()));
                put(
                    "prediction",
                    self.some(80, |m| {
                        m.several(
                            2,
                            |m| json!({"outcome": m.concept(), "probabilityDecimal": m.number()}),
                        )
                    }),
                );
                put("occurrenceDateTime", self.some(50, Made::time));
            }
        }
        r
    }

    /// A condition on one parameter.
    fn condition(&mut self, oracle: &Oracle, ty: &str) -> Option<String> {
        let unasked =
            ["_content", "_query", "_source", "_text", "near", "_lastUpdated", "phonetic"];
        let all: Vec<_> = Facts::all()
            .of(ty)
            .into_iter()
            .filter(|p| p.kind != "special" && !unasked.contains(&p.code.as_str()))
            .collect();
        // A parameter of which there is anything, more often than not.
        let mut param = all[usize::try_from(self.0.below(all.len() as u64)).unwrap()];
        for _ in 0..8 {
            if oracle.of(ty).any(|r| !Oracle::elements(param, r).is_empty()) {
                break;
            }
            param = all[usize::try_from(self.0.below(all.len() as u64)).unwrap()];
        }
        let code = &param.code;
        if param.kind != "composite" && code != "_id" && self.0.chance(8) {
            return Some(format!("{code}:missing={}", self.0.chance(50)));
        }
        let n = if self.0.chance(25) { 2 } else { 1 };
        let mut texts = Vec::new();
        for _ in 0..n {
            if param.kind == "composite" {
                let mut pieces = Vec::new();
                for (number, _) in &param.parts {
                    let own = Facts::all().number(*number);
                    pieces.push(self.value(oracle, ty, &own.code, &own.kind)?);
                }
                texts.push(pieces.join("$"));
            } else {
                texts.push(self.value(oracle, ty, code, &param.kind)?);
            }
        }
        let modifier = match param.kind.as_str() {
            "string" => self.one(&["", "", ":exact", ":contains"]),
            "token" if code != "_id" => self.one(&["", "", "", ":not"]),
            _ => "",
        };
        let value: String = form_urlencoded::byte_serialize(texts.join(",").as_bytes()).collect();
        Some(format!("{code}{modifier}={value}"))
    }

    /// One value to ask for: mostly one that is there.
    fn value(&mut self, oracle: &Oracle, ty: &str, code: &str, kind: &str) -> Option<String> {
        let telecom = ["telecom", "phone", "email"].contains(&code);
        let form = match kind {
            "token" if telecom || code == "_id" => "code",
            "token" => self.one(&["", "", "code", "bare", "system"]),
            "date" => self.one(&["", "day", "month", "year"]),
            "string" => self.one(&["", "start", "upper", "inside", "two"]),
            "quantity" => self.one(&["", "value", "unit"]),
            "reference" => self.one(&["", "id"]),
            _ => "",
        };
        let all = if kind == "number" { Vec::new() } else { values(oracle, ty, code, form) };
        let there = self.0.pick(&all).cloned().filter(|_| self.0.chance(85));
        let plain = |s: &str| {
            s.replace('\\', "\\\\").replace(',', "\\,").replace('|', "\\|").replace('$', "\\$")
        };
        let text = match (there, kind) {
            (Some(text), _) => text,
            (None, "token") if code == "_id" => "absent".to_owned(),
            (None, "token") => plain(self.one(&CODES)),
            (None, "string") => plain(self.one(&WORDS)),
            (None, "date") => self.one(&DAYS).to_owned(),
            (None, "number" | "quantity") => self.one(&NUMBERS).to_owned(),
            (None, "reference") => format!("Patient/Patient-{}", self.0.below(40)),
            (None, _) => "http://acme.org/vs/a".to_owned(),
        };
        // A word that is nothing but punctuation asks for nothing.
        if kind == "string" && crate::oracle::text::fold(&text).is_empty() {
            return None;
        }
        let prefix = if ["date", "number", "quantity"].contains(&kind) {
            self.one(&["", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"])
        } else {
            ""
        };
        Some(format!("{prefix}{text}"))
    }

    /// A search of one to three conditions, sometimes in an order, sometimes by pages.
    fn search(&mut self, oracle: &Oracle) -> Option<String> {
        let ty = self.one(&TYPES);
        let mut parts = Vec::new();
        for _ in 0..self.0.below(3) + 1 {
            parts.push(self.condition(oracle, ty)?);
        }
        if self.0.chance(40) {
            let keys: &[&str] = match ty {
                "Patient" => &["birthdate", "family", "gender", "_id", "given"],
                "Observation" => &["date", "value-quantity", "code", "status", "_id"],
                "Encounter" => &["date", "status", "_id", "length"],
                "Condition" => &["onset-date", "recorded-date", "code", "_id"],
                "ChargeItem" => &["factor-override", "occurrence", "price-override", "_id"],
                "ValueSet" => &["name", "title", "date", "status", "_id"],
                "Location" => &["name", "address-city", "_id"],
                _ => &["probability", "date", "_id"],
            };
            let key = |m: &mut Self| format!("{}{}", m.one(&["", "-"]), m.one(keys));
            let mut sort = key(self);
            if self.0.chance(40) {
                sort = format!("{sort},{}", key(self));
            }
            parts.push(format!("_sort={sort}"));
        }
        let count = self.one(&["1000", "1000", "100", "7", "3"]);
        parts.push(format!("_count={count}"));
        if ty == "Observation" && self.0.chance(20) {
            parts.push(
                self.one(&["_include=Observation:patient", "_include=Observation:encounter"])
                    .into(),
            );
        }
        if ty == "Patient" && self.0.chance(20) {
            parts.push("_revinclude=Observation:patient".into());
        }
        Some(format!("{ty}?{}", parts.join("&")))
    }
}

/// Writes a batch: new records, changed ones, and deletions.
fn write(server: &Server, oracle: &mut Oracle, dice: &mut Dice) {
    let (mut entries, mut new) = (Vec::new(), Vec::new());
    for ty in TYPES {
        for _ in 0..6 {
            let id = format!("{ty}-{}", dice.below(40));
            if new.iter().any(|r: &Value| r["id"] == id) {
                continue;
            }
            let r = Made(dice).record(ty, &id);
            entries.push(
                json!({"resource": r, "request": {"method": "PUT", "url": format!("{ty}/{id}")}}),
            );
            new.push(r);
        }
    }
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    let done = send(fhir(server.request(LOADER, Method::POST, ""), &bundle)).expect(200).json();
    for (entry, r) in done["entry"].as_array().unwrap().iter().zip(new) {
        let status = entry["response"]["status"].as_str().unwrap_or("");
        assert!(status.starts_with("20"), "{r}: {entry}");
        oracle.put(r);
    }
    for ty in ["Observation", "Condition"] {
        let ids: Vec<String> =
            oracle.of(ty).map(|r| r["id"].as_str().unwrap().to_owned()).collect();
        if let Some(id) = dice.pick(&ids) {
            let gone = server.delete("physician", &format!("{ty}/{id}"));
            assert_eq!(gone.status, 204, "{}", gone.text());
            oracle.take(ty, id);
        }
    }
}

#[test]
fn random_searches_of_random_records_find_what_brute_force_finds() {
    let mut world = empty();
    world.user("ana", "physician", None);
    let server = world.serve();
    let oracle = RefCell::new(Oracle::at(server.base()));
    let found = RefCell::new(Vec::new());
    let config = Config {
        cases: CASES,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&any::<u64>(), |seed| {
            let mut dice = Dice::new(seed, [0, 0]);
            write(&server, &mut oracle.borrow_mut(), &mut dice);
            let oracle = oracle.borrow();
            let mut differences = String::new();
            for _ in 0..SEARCHES {
                let Some(request) = Made(&mut dice).search(&oracle) else { continue };
                let (ty, form) = request.split_once('?').unwrap();
                let n = oracle.search(ty, form).map_or(0, |a| a.matches.len());
                found.borrow_mut().push(n);
                if let Some(wrong) = difference(&oracle, &server, &request) {
                    let _ = writeln!(differences, "{request}\n    {wrong}");
                }
            }
            prop_assert!(differences.is_empty(), "\n{differences}");
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let tally = tally(found.into_inner());
    assert!(tally["a few"] + tally["many"] > tally["nothing"] / 2, "{tally:?}");
}
