//! No surface is weaker than another: whatever a role asks, by whichever way in, the
//! answer is the same whether what it may not see is there or not, and whatever it says.
//!
//! Two homes begin alike. Then one gets records that the role may not see (or withheld
//! values of records that it sees in part), and the other does not (or gets other
//! values). Every request is put to both, and both answers must have the same face. The
//! control is a role that may see: to it the two homes must differ, surface by surface,
//! or the request proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use phial_testkit::fixture::{self, BY_TEAM, UNTIED, id};
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::clinic;

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// A request, and the surface that it is of.
struct Ask {
    surface: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<(&'static str, String)>,
}

impl Ask {
    fn new(surface: &'static str, method: Method, path: impl Into<String>) -> Ask {
        Ask { surface, method, path: path.into(), headers: Vec::new(), body: None }
    }

    fn header(mut self, name: &'static str, value: &str) -> Ask {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn json(mut self, ty: &'static str, body: &Value) -> Ask {
        self.body = Some((ty, body.to_string()));
        self
    }

    fn put(&self, server: &Server, role: &str) -> Answer {
        let mut request = server.request(role, self.method.clone(), &self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, value.replace("{base}", server.base()));
        }
        if let Some((ty, body)) = &self.body {
            request = request.header("content-type", *ty).body(body.clone());
        }
        send(request)
    }
}

const FHIR: &str = "application/fhir+json";

/// `POST Type/_search`
fn search(surface: &'static str, ty: &str, query: &str) -> Ask {
    let path = if ty.is_empty() { "_search".to_owned() } else { format!("{ty}/_search") };
    let mut ask = Ask::new(surface, Method::POST, path);
    ask.body = Some(("application/x-www-form-urlencoded", query.to_owned()));
    ask
}

fn get(surface: &'static str, path: impl Into<String>) -> Ask {
    Ask::new(surface, Method::GET, path)
}

/// An answer without what differs between any two homes: host, times, request numbers,
/// paging tokens, and the ids that a create makes up.
fn face(answer: &Answer, server: &Server, made_up: bool) -> String {
    fn plain(v: &mut Value, server: &Server, made_up: bool) {
        match v {
            Value::Object(members) => {
                for (name, value) in members.iter_mut() {
                    if ["lastUpdated", "lastModified", "timestamp", "transactionTime"]
                        .contains(&name.as_str())
                    {
                        *value = "(time)".into();
                    }
                    if made_up && ["id", "location", "fullUrl"].contains(&name.as_str()) {
                        *value = "(made up)".into();
                    }
                    plain(value, server, made_up);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|i| plain(i, server, made_up)),
            Value::String(s) => {
                *s = s.replace(server.authority(), "(host)");
                if let Some(at) = s.find("_page=") {
                    s.truncate(at + 6);
                }
            }
            _ => {}
        }
    }
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| {
            !["x-request-id", "date", "content-length", "last-modified"].contains(&name.as_str())
        })
        .map(|(name, value)| {
            let value =
                String::from_utf8_lossy(value.as_bytes()).replace(server.authority(), "(host)");
            let location = ["location", "content-location"].contains(&name.as_str());
            if location && (made_up || answer.status == 202) {
                format!("{name}: (made up)")
            } else {
                format!("{name}: {value}")
            }
        })
        .collect();
    headers.sort();
    let text = answer.text().replace(answer.header("x-request-id"), "(request)");
    let body = match serde_json::from_str::<Value>(&text) {
        Ok(mut v) => {
            plain(&mut v, server, made_up);
            v.to_string()
        }
        Err(_) => text,
    };
    format!("{} {headers:?} {body}", answer.status)
}

/// The faces of an answer and of the pages behind it.
fn faces(ask: &Ask, server: &Server, role: &str) -> Vec<String> {
    let made_up = ["create", "transaction"].contains(&ask.surface);
    let mut answer = ask.put(server, role);
    let mut all = vec![face(&answer, server, made_up)];
    for _ in 0..6 {
        let Some(next) = answer.link("next") else { break };
        answer = server.get(role, &next);
        all.push(face(&answer, server, made_up));
    }
    all
}

/// What may not be found out about, and by which words one could ask for it.
struct Hidden {
    /// Records that are there in one home only, or with other values.
    one: Vec<Value>,
    other: Vec<Value>,
    /// Words that no answer may hold.
    words: Vec<String>,
    roles: Vec<&'static str>,
    asks: Vec<Ask>,
}

/// Requests about one record, by every way in.
fn about(ty: &str, id: &str, code: &str, patient: &str) -> Vec<Ask> {
    let path = format!("{ty}/{id}");
    let by = if ty == "Patient" { format!("family={code}") } else { format!("code={code}") };
    let body = json!({"resourceType": ty, "id": id, "status": "final", "code": {"text": "x"},
        "subject": {"reference": format!("Patient/{patient}")}});
    let mut all = vec![
        get("read", &path),
        Ask::new("read", Method::HEAD, &path),
        get("read", &path).header("if-none-match", "W/\"1\""),
        get("read", &path).header("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        get("read", format!("{path}?_elements=code")),
        get("read", format!("{path}?_summary=true")),
        get("vread", format!("{path}/_history/1")),
        get("vread", format!("{path}/_history/2")),
        get("history", format!("{path}/_history")),
        get("history", format!("{path}/_history?_count=1")),
        get("type-history", format!("{ty}/_history?_count=200")),
        search("search", ty, &format!("_id={id}")),
        search("search", ty, &by),
        search("search", ty, &format!("{by}&_elements=id")),
        search("count", ty, "_summary=count"),
        search("count", ty, "_count=0"),
        search("count", ty, &format!("{by}&_summary=count")),
        search("count", ty, "_total=accurate&_count=1"),
        search("count", ty, "_lastUpdated=gt2020-01-01&_summary=count"),
        search("sort", ty, "_sort=_id&_count=3"),
        search("sort", ty, "_sort=-_lastUpdated&_count=2"),
        search("search", ty, "_tag=HTEST"),
        search("search", ty, "_security=HIV&_summary=count"),
        search("search", ty, "_security:not=HIV&_summary=count"),
        search("text-modifier", ty, "code:text=Hidden"),
        search("_text", ty, "_content=hiddenword"),
        search("_text", ty, "_text=hiddenword"),
        search("_list", ty, "_list=visible-list"),
        search("_filter", ty, &format!("_filter={} eq {code}", by.split('=').next().unwrap())),
        search("_filter", ty, &format!("_filter=not ({} eq never)&_summary=count", by.split('=').next().unwrap())),
        search("system-search", "", &format!("_type={ty}&_id={id}")),
        search("system-search", "", "_type=Condition,Observation,Encounter,Patient&_summary=count"),
        Ask::new("patch", Method::PATCH, &path)
            .json("application/json-patch+json", &json!([{"op": "test", "path": "/code/text", "value": "x"}])),
        Ask::new("patch", Method::PATCH, &path).json(FHIR, &json!({"resourceType": "Parameters",
            "parameter": [{"name": "operation", "part": [{"name": "type", "valueCode": "delete"},
                {"name": "path", "valueString": format!("{ty}.note")}]}]})),
        Ask::new("patch", Method::PATCH, format!("{ty}?{by}"))
            .json("application/json-patch+json", &json!([])),
        Ask::new("update", Method::PUT, &path).json(FHIR, &body),
        Ask::new("update", Method::PUT, &path).header("if-match", "W/\"1\"").json(FHIR, &body),
        Ask::new("update", Method::PUT, &path).header("if-match", "W/\"7\"").json(FHIR, &body),
        Ask::new("update", Method::PUT, &path).header("if-none-match", "*").json(FHIR, &body),
        Ask::new("conditional-update", Method::PUT, format!("{ty}?{by}")).json(FHIR, &json!({
            "resourceType": ty, "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{patient}")}})),
        Ask::new("delete", Method::DELETE, &path),
        Ask::new("conditional-delete", Method::DELETE, format!("{ty}?{by}")),
        Ask::new("create", Method::POST, ty).header("if-none-exist", &by).json(FHIR, &json!({
            "resourceType": ty, "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{patient}")}})),
        Ask::new("batch", Method::POST, "").json(FHIR, &json!({"resourceType": "Bundle", "type": "batch", "entry": [
            {"request": {"method": "GET", "url": path}},
            {"request": {"method": "GET", "url": format!("{path}/_history/1")}},
            {"request": {"method": "GET", "url": format!("{ty}?_id={id}")}},
            {"request": {"method": "DELETE", "url": path}}]})),
        Ask::new("transaction", Method::POST, "").json(FHIR, &json!({"resourceType": "Bundle", "type": "transaction",
            "entry": [{"resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                "subject": {"reference": format!("Patient/{}", BY_TEAM.id)},
                "focus": [{"reference": format!("{ty}?{by}")}]},
              "request": {"method": "POST", "url": "Observation"}}]})),
        get("$meta", format!("{path}/$meta")),
        get("$everything", format!("{path}/$everything")),
        get("$export", format!("{ty}/$export")).header("prefer", "respond-async"),
        get("read", format!("Binary/{id}")),
    ];
    if ty != "Patient" {
        all.push(get("compartment", format!("Patient/{patient}/{ty}?_summary=count")));
        all.push(get("compartment", format!("Patient/{patient}/{ty}?_count=50")));
        all.push(search("_has", "Patient", &format!("_has:{ty}:patient:code={code}")));
        all.push(search("_has", "Patient", &format!("_has:{ty}:patient:_id={id}&_summary=count")));
        all.push(search(
            "revinclude",
            "Patient",
            &format!("_id={patient}&_revinclude={ty}:patient"),
        ));
        all.push(search(
            "iterate",
            "Organization",
            &format!(
                "_revinclude:iterate=Encounter:service-provider&_revinclude:iterate={ty}:encounter"
            ),
        ));
    }
    all
}

/// Records that a label hides from all but the privacy officer and imports.
fn labelled() -> Hidden {
    let label = |code: &str| {
        json!({"security": [{"system": ACT, "code": code}],
        "tag": [{"code": "HTEST"}]})
    };
    let about_untied = json!({"reference": format!("Patient/{}", UNTIED.id)});
    let one = vec![
        json!({"resourceType": "Encounter", "id": "hidden-enc", "meta": label("PSY"), "status": "finished",
            "class": {"system": ACT, "code": "HIDCLS"}, "subject": about_untied,
            "period": {"start": "2035-01-01", "end": "2035-01-02"},
            "serviceProvider": {"reference": "Organization/org-clinic"}}),
        json!({"resourceType": "Condition", "id": "hidden-cond", "meta": label("HIV"),
            "code": {"coding": [{"system": "urn:hid", "code": "hidcode", "display": "Hiddendisplay"}], "text": "Hiddentext"},
            "subject": about_untied, "encounter": {"reference": "Encounter/hidden-enc"},
            "onsetDateTime": "2035-01-01", "note": [{"text": "hiddenword"}]}),
        json!({"resourceType": "Observation", "id": "hidden-obs", "meta": label("HIV"), "status": "final",
            "code": {"coding": [{"system": "urn:hid", "code": "hidcode"}]}, "subject": about_untied,
            "encounter": {"reference": "Encounter/hidden-enc"}, "effectiveDateTime": "2035-01-01",
            "valueQuantity": {"value": 77_777, "code": "mg", "system": "http://unitsofmeasure.org"}}),
        json!({"resourceType": "Patient", "id": "hidden-pat", "meta": label("VIP"),
            "name": [{"family": "Hiddenfamily"}], "birthDate": "1935-01-01", "gender": "other",
            "identifier": [{"type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": "urn:hid", "value": "hidmrn"}]}),
    ];
    let mut asks = Vec::new();
    for (ty, id, code) in [
        ("Condition", "hidden-cond", "hidcode"),
        ("Observation", "hidden-obs", "hidcode"),
        ("Patient", "hidden-pat", "Hiddenfamily"),
    ] {
        asks.extend(about(ty, id, code, UNTIED.id));
    }
    asks.extend([
        get("read", "Encounter/hidden-enc"),
        search("search", "Encounter", "class=HIDCLS"),
        search("search", "Encounter", "date=ge2035"),
        search("search", "Condition", "onset-date=ge2035&_summary=count"),
        search("search", "Condition", "code:not=hidcode&_summary=count"),
        search("search", "Condition", "encounter:missing=false&_summary=count"),
        search("search", "Observation", "value-quantity=gt70000"),
        search("search", "Observation", "value-quantity=ne5&_summary=count"),
        search("search", "Observation", "code-value-quantity=hidcode$gt1"),
        search("search", "Patient", "identifier=urn:hid|hidmrn"),
        search("search", "Patient", "birthdate=1935"),
        search("search", "Patient", "general-practitioner:missing=true&_summary=count"),
        search("of-type", "Patient", "identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|hidmrn"),
        search("sort", "Condition", "_sort=-onset-date&_count=2"),
        search("sort", "Observation", "_sort=-value-quantity&_count=3&code=hidcode,2339-0"),
        search("sort", "Patient", "_sort=family&_count=2"),
        search("sort", "Encounter", "_sort=-date&_count=2"),
        // What anyone may see points at what is hidden.
        search("include", "Observation", "_id=pointing&_include=Observation:encounter"),
        search("include", "Observation", "_id=pointing&_include=Observation:focus"),
        search("iterate", "Observation", "_id=pointing&_include=Observation:encounter&_include:iterate=Encounter:service-provider"),
        search("include", "List", "_id=visible-list&_include=List:item"),
        search("revinclude", "Organization", "_revinclude=Encounter:service-provider"),
        search("chain", "Observation", "encounter.class=HIDCLS"),
        search("chain", "Observation", "encounter.class:not=HIDCLS&_summary=count"),
        search("chain", "Observation", "_id=pointing&encounter.date=ge2035"),
        search("chain", "Observation", "_id=pointing&encounter.service-provider.name=clinic"),
        search("chain", "Observation", "focus:Condition.code=hidcode"),
        search("chain", "List", "item:Condition.code=hidcode"),
        search("_has", "Encounter", "_has:Observation:encounter:code=hidcode"),
        search("_has", "Organization", "_has:Encounter:service-provider:class=HIDCLS"),
        search("_has", "Patient", "_has:Observation:patient:encounter.class=HIDCLS"),
        search("_has", "Patient", "_has:Observation:patient:value-quantity=gt70000"),
        search("_filter", "Observation", "_filter=encounter.class eq HIDCLS"),
        search("_filter", "Observation", "_filter=value-quantity gt 70000"),
        search("of-type", "Observation", "code:in=http://example.org/none"),
        get("system-history", "_history?_count=300"),
        get("$everything", format!("Patient/{}/$everything", UNTIED.id)),
        get("$everything", "Encounter/hidden-enc/$everything"),
        get("$export", "Patient/$export?_type=Condition").header("prefer", "respond-async"),
        get("$export", "$export").header("prefer", "respond-async"),
        get("compartment", "Encounter/hidden-enc/Observation"),
        get("compartment", "Patient/hidden-pat/Observation"),
    ]);
    Hidden {
        one,
        other: Vec::new(),
        words: ["Hiddenfamily", "Hiddendisplay", "Hiddentext", "hiddenword", "77777", "hidmrn"]
            .map(str::to_owned)
            .into(),
        roles: vec!["physician", "nurse", "field-clinician", "billing", "front-desk", "auditor"],
        asks,
    }
}

/// Unlabelled clinical records of a patient whom the field clinician does not treat.
fn of_others() -> Hidden {
    let about_untied = json!({"reference": format!("Patient/{}", UNTIED.id)});
    let one = vec![
        json!({"resourceType": "Condition", "id": "hidden-cond",
            "code": {"coding": [{"system": "urn:hid", "code": "hidcode"}], "text": "Hiddentext"},
            "subject": about_untied, "encounter": {"reference": format!("Encounter/{}", id("enc", UNTIED, 0))},
            "onsetDateTime": "2035-01-01", "note": [{"text": "hiddenword"}]}),
        json!({"resourceType": "Observation", "id": "hidden-obs", "status": "final",
            "code": {"coding": [{"system": "urn:hid", "code": "hidcode"}]}, "subject": about_untied,
            "effectiveDateTime": "2035-01-01", "valueQuantity": {"value": 77_777}}),
    ];
    let mut asks = about("Condition", "hidden-cond", "hidcode", UNTIED.id);
    asks.extend(about("Observation", "hidden-obs", "hidcode", UNTIED.id));
    asks.extend([
        search("sort", "Condition", "_sort=-onset-date&_count=2"),
        search("sort", "Observation", "_sort=-date&_count=5"),
        search("search", "Observation", "value-quantity=gt70000"),
        search("chain", "Observation", &format!("patient.family={}", UNTIED.family)),
        search("chain", "Condition", &format!("encounter.class=AMB&patient={}", UNTIED.id)),
        search("_has", "Encounter", "_has:Condition:encounter:code=hidcode"),
        search(
            "_has",
            "Practitioner",
            "_has:Patient:general-practitioner:_has:Condition:patient:code=hidcode",
        ),
        search("revinclude", "Encounter", "_revinclude=Condition:encounter&_count=50"),
        get("$everything", format!("Patient/{}/$everything", UNTIED.id)),
        get("$export", "Patient/$export").header("prefer", "respond-async"),
    ]);
    Hidden {
        one,
        other: Vec::new(),
        words: ["Hiddentext", "hiddenword", "77777"].map(str::to_owned).into(),
        roles: vec!["field-clinician", "front-desk", "auditor"],
        asks,
    }
}

/// Values of classes that are withheld from a record which the role sees in part: notes
/// from billing, comments from the front desk, a government's number from everyone.
fn withheld_values() -> Hidden {
    let records = |word: &str, ssn: &str| {
        let mut c = fixture::condition(BY_TEAM, 0);
        c["id"] = json!("part-cond");
        c["note"] = json!([{"text": word}]);
        let mut p = fixture::patient(BY_TEAM);
        p["id"] = json!("part-pat");
        p["name"] = json!([{"family": "Partlyseen"}]);
        p["identifier"][0]["value"] = json!(ssn);
        p["generalPractitioner"] =
            json!([{"reference": format!("Practitioner/{}", fixture::FIELD_PRACTITIONER)}]);
        let mut a = fixture::others(BY_TEAM).remove(2);
        a["id"] = json!("part-appt");
        a["comment"] = json!(word);
        vec![p, c, a]
    };
    let words = ["wordnumberone", "wordnumbertwo"];
    let numbers = ["999-31-1111", "999-32-2222"];
    let mut asks = Vec::new();
    for path in ["Condition/part-cond", "Patient/part-pat", "Appointment/part-appt"] {
        let (ty, id) = path.split_once('/').unwrap();
        asks.extend([
            get("read", path),
            get("read", format!("{path}?_elements=note,comment,identifier")),
            get("read", format!("{path}?_summary=data")),
            get("vread", format!("{path}/_history/1")),
            get("history", format!("{path}/_history")),
            search("search", ty, &format!("_id={id}")),
            search("search", ty, &format!("_id={id}&_elements=note,comment,identifier")),
            get("$meta", format!("{path}/$meta")),
            get("$everything", "Patient/part-pat/$everything"),
            Ask::new("batch", Method::POST, "").json(
                FHIR,
                &json!({"resourceType": "Bundle", "type": "batch",
                "entry": [{"request": {"method": "GET", "url": path}}]}),
            ),
        ]);
        for (place, value) in [
            ("/note/0/text", words[0]),
            ("/comment", words[0]),
            ("/identifier/0/value", numbers[0]),
        ] {
            asks.push(Ask::new("patch", Method::PATCH, path).json(
                "application/json-patch+json",
                &json!([{"op": "test", "path": place, "value": value}]),
            ));
        }
        asks.push(Ask::new("patch", Method::PATCH, path).json(
            "application/json-patch+json",
            &json!([{"op": "copy", "from": "/identifier/0/value", "path": "/identifier/1/value"}]),
        ));
    }
    for ssn in numbers {
        asks.extend([
            search("search", "Patient", &format!("identifier={ssn}")),
            search("search", "Patient", &format!("identifier=http://hl7.org/fhir/sid/us-ssn|{ssn}&_summary=count")),
            search("search", "Patient", &format!("identifier:not={ssn}&_summary=count")),
            search("chain", "Condition", &format!("patient.identifier={ssn}")),
            search("_filter", "Patient", &format!("_filter=identifier eq {ssn}")),
            search("_has", "Practitioner", &format!("_has:Patient:general-practitioner:identifier={ssn}")),
            Ask::new("create", Method::POST, "Patient").header("if-none-exist", &format!("identifier={ssn}"))
                .json(FHIR, &json!({"resourceType": "Patient", "gender": "other"})),
            Ask::new("conditional-update", Method::PUT, format!("Patient?identifier={ssn}"))
                .json(FHIR, &json!({"resourceType": "Patient", "gender": "other"})),
            Ask::new("transaction", Method::POST, "").json(FHIR, &json!({"resourceType": "Bundle", "type": "transaction",
                "entry": [{"resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                    "subject": {"reference": format!("Patient?identifier={ssn}")}},
                  "request": {"method": "POST", "url": "Observation"}}]})),
        ]);
    }
    asks.push(search("sort", "Patient", "_sort=identifier&_count=2"));
    for word in words {
        asks.push(search("_text", "Condition", &format!("_content={word}")));
        asks.push(search("_text", "Appointment", &format!("_content={word}")));
    }
    Hidden {
        one: records(words[0], numbers[0]),
        other: records(words[1], numbers[1]),
        words: words.into_iter().chain(numbers).map(str::to_owned).collect(),
        roles: vec!["billing", "front-desk"],
        asks,
    }
}

/// The same, with the number alone, for those who may read notes.
fn withheld_numbers() -> Hidden {
    let mut hidden = withheld_values();
    for records in [&mut hidden.one, &mut hidden.other] {
        records.truncate(1);
    }
    hidden.words.retain(|w| w.starts_with("999"));
    hidden.asks.retain(|a| !a.path.contains("part-cond") && !a.path.contains("part-appt"));
    hidden.roles =
        vec!["physician", "nurse", "field-clinician", "billing", "front-desk", "auditor"];
    hidden
}

fn stage(hidden: &Hidden) -> (World, World) {
    let (one, other) = (clinic(), clinic());
    for (world, records) in [(&one, &hidden.one), (&other, &hidden.other)] {
        let server = world.serve();
        let mut pointing = fixture::observation(UNTIED, 0);
        pointing["id"] = json!("pointing");
        pointing["encounter"]["reference"] = json!("Encounter/hidden-enc");
        pointing["focus"] = json!([{"reference": "Condition/hidden-cond"}]);
        let list = json!({"resourceType": "List", "id": "visible-list", "status": "current", "mode": "working",
            "entry": [{"item": {"reference": "Condition/hidden-cond"}},
                {"item": {"reference": "Observation/hidden-obs"}}, {"item": {"reference": "Patient/hidden-pat"}}]});
        for r in [pointing, list].iter().chain(records) {
            let made = send(fhir(
                server.request(
                    "import-client",
                    Method::PUT,
                    &format!(
                        "{}/{}",
                        r["resourceType"].as_str().unwrap(),
                        r["id"].as_str().unwrap()
                    ),
                ),
                r,
            ));
            assert_eq!(made.status, 201, "{}", made.text());
        }
        let _ = server.stop().expect(0);
    }
    (one, other)
}

/// Which surfaces the control sees a difference on.
fn alike(hidden: &Hidden) -> BTreeSet<&'static str> {
    let (one, other) = stage(hidden);
    let (a, b) = (one.serve(), other.serve());
    let mut leaks = String::new();
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for role in &hidden.roles {
        for ask in &hidden.asks {
            let (left, right) = (faces(ask, &a, role), faces(ask, &b, role));
            *answers
                .entry(
                    left[0]
                        .split(' ')
                        .next()
                        .map_or("", |s| if s == "200" { "200" } else { "other" }),
                )
                .or_default() += 1;
            let what =
                format!("{} as {role}: {} {} {:?}", ask.surface, ask.method, ask.path, ask.body);
            if left != right {
                let _ = writeln!(leaks, "{what}\n    {left:?}\n    {right:?}");
            }
            for word in &hidden.words {
                if left.iter().chain(&right).any(|f| f.contains(word.as_str())) {
                    let _ = writeln!(leaks, "{what}\n    holds {word}");
                }
            }
        }
    }
    assert!(leaks.is_empty(), "\n{leaks}");
    assert!(answers.values().all(|n| *n > 20), "{answers:?}");
    let mut alive = BTreeSet::new();
    for control in ["privacy-officer", "import-client"] {
        for ask in &hidden.asks {
            if faces(ask, &a, control) != faces(ask, &b, control) {
                alive.insert(ask.surface);
            }
        }
    }
    alive
}

#[test]
fn labelled_records_leave_no_trace_on_any_surface() {
    let hidden = labelled();
    let alive = alike(&hidden);
    for surface in [
        "read",
        "vread",
        "history",
        "search",
        "count",
        "sort",
        "include",
        "revinclude",
        "compartment",
        "batch",
        "update",
        "create",
        "$everything",
    ] {
        assert!(alive.contains(surface), "{surface} proves nothing: {alive:?}");
    }
}

#[test]
fn records_of_patients_of_others_leave_no_trace_on_any_surface() {
    let hidden = of_others();
    let alive = alike(&hidden);
    for surface in ["read", "vread", "history", "search", "count", "sort", "revinclude", "batch"] {
        assert!(alive.contains(surface), "{surface} proves nothing: {alive:?}");
    }
}

#[test]
fn withheld_values_show_on_no_surface() {
    let hidden = withheld_values();
    let alive = alike(&hidden);
    for surface in ["read", "vread", "history", "search", "batch"] {
        assert!(alive.contains(surface), "{surface} proves nothing: {alive:?}");
    }
}

#[test]
fn withheld_numbers_show_on_no_surface() {
    let hidden = withheld_numbers();
    let alive = alike(&hidden);
    assert!(alive.contains("read") && alive.contains("search"), "{alive:?}");
}
