//! Patches, by those who see all of a resource and by those who see a part.

use phial_base::{ClassSet, DataClass, LogicalId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::patch::Unpatched;
use phial_fhir::split::{classes_in, split};
use phial_fhir::{Doc, IssueCode, Limits, Patch, Valid};
use proptest::prelude::*;
use serde_json::{Value, json};

fn doc(text: &str) -> Doc {
    Doc::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn json_patch(patch: &Value) -> Patch {
    Patch::json(&doc(&patch.to_string())).unwrap()
}

/// A FHIRPath Patch: each operation by its parts.
fn parameters(operations: &[Value]) -> Value {
    let all: Vec<Value> = operations
        .iter()
        .map(|o| {
            let parts: Vec<Value> = o
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, v)| match (name.as_str(), v) {
                    ("type", _) => json!({"name": name, "valueCode": v}),
                    ("index" | "source" | "destination", _) => {
                        json!({"name": name, "valueInteger": v})
                    }
                    ("value", v) => {
                        let mut part = v.clone();
                        part["name"] = json!("value");
                        part
                    }
                    _ => json!({"name": name, "valueString": v}),
                })
                .collect();
            json!({"name": "operation", "part": parts})
        })
        .collect();
    json!({"resourceType": "Parameters", "parameter": all})
}

fn fhirpath(operations: &[Value]) -> Patch {
    Patch::parameters(&doc(&parameters(operations).to_string())).unwrap()
}

fn applied(patch: &Patch, to: &str) -> Result<String, Unpatched> {
    patch.apply(&doc(to)).map(|d| d.text().to_owned())
}

fn unfit(patch: &Patch, to: &str) -> String {
    match patch.apply(&doc(to)) {
        Err(Unpatched::Unfit(issue)) => issue.path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn number_text_and_member_order_stay_as_sent() {
    let before = r#"{"z":1.50e+1,"a":{"n":0.10,"m":1e400},"list":[1.0,2.00]}"#;
    let patch = json_patch(&json!([
        {"op": "replace", "path": "/a/n", "value": "x"},
        {"op": "add", "path": "/list/1", "value": true},
        {"op": "copy", "from": "/z", "path": "/y"},
        {"op": "test", "path": "/list/0", "value": 1}]));
    let after = r#"{"z":1.50e+1,"a":{"n":"x","m":1e400},"list":[1.0,true,2.00],"y":1.50e+1}"#;
    assert_eq!(applied(&patch, before).unwrap(), after);
    let one = |value: &str| {
        let text = format!(r#"[{{"op":"add","path":"/v","value":{value}}}]"#);
        applied(&Patch::json(&doc(&text)).unwrap(), "{}").unwrap()
    };
    assert_eq!(one("1.500"), r#"{"v":1.500}"#);
    assert_eq!(one(r#"{"b":-0.0,"a":[1E2]}"#), r#"{"v":{"b":-0.0,"a":[1E2]}}"#);
}

#[test]
fn what_does_not_fit_is_named_by_its_operation() {
    let to = r#"{"a":{"b":[1,2]},"s":"x"}"#;
    let fine = json!({"op": "test", "path": "/s", "value": "x"});
    for bad in [
        json!({"op": "remove", "path": "/none"}),
        json!({"op": "remove", "path": ""}),
        json!({"op": "replace", "path": "/a/c", "value": 1}),
        json!({"op": "add", "path": "/a/b/3", "value": 1}),
        json!({"op": "add", "path": "/a/b/01", "value": 1}),
        json!({"op": "add", "path": "/s/x", "value": 1}),
        json!({"op": "add", "path": "/no/where", "value": 1}),
        json!({"op": "remove", "path": "/a/b/-"}),
        json!({"op": "move", "from": "/a", "path": "/a/b/0"}),
        json!({"op": "move", "from": "/a/b/0", "path": "/a/b/2"}),
        json!({"op": "copy", "from": "/none", "path": "/x"}),
        json!({"op": "test", "path": "/s", "value": "y"}),
        json!({"op": "test", "path": "/none", "value": null}),
    ] {
        assert_eq!(unfit(&json_patch(&json!([fine, bad])), to), "patch[1]", "{bad}");
    }
}

#[test]
fn what_is_no_patch_is_refused_with_its_place() {
    let path = |p: Value| Patch::json(&doc(&p.to_string())).unwrap_err().remove(0).path;
    assert_eq!(path(json!({})), "patch");
    assert_eq!(path(json!([{"op": "remove"}])), "patch[0].path");
    assert_eq!(path(json!([{"op": "remove", "path": "a"}])), "patch[0].path");
    assert_eq!(path(json!([{"op": "add", "path": "/a"}])), "patch[0].value");
    assert_eq!(path(json!([{"op": "move", "path": "/a"}])), "patch[0].from");
    assert_eq!(path(json!([{"op": "delete", "path": "/a"}])), "patch[0].op");
    assert_eq!(path(json!([7])), "patch[0].path");
    let path = |p: Value| Patch::parameters(&doc(&p.to_string())).unwrap_err().remove(0).path;
    assert_eq!(path(json!([])), "resourceType");
    let one = |o: Value| path(parameters(&[o]));
    assert_eq!(one(json!({"type": "delete"})), "Parameters.parameter[0].path");
    assert_eq!(one(json!({"type": "delete", "path": "a b"})), "Parameters.parameter[0].path");
    assert_eq!(one(json!({"type": "add", "path": "a"})), "Parameters.parameter[0].name");
    assert_eq!(one(json!({"type": "insert", "path": "a"})), "Parameters.parameter[0].index");
    assert_eq!(one(json!({"type": "x", "path": "a"})), "Parameters.parameter[0].type");
    let binary = json!({"resourceType": "Binary", "contentType": "text/plain", "data": "e30="});
    let refused = Patch::resource(&doc(&binary.to_string())).unwrap_err();
    assert_eq!(refused[0].path, "Binary.contentType");
    let many: Vec<Value> = vec![json!({"op": "test", "path": "", "value": 1}); 1001];
    assert_eq!(path_code(&json!(many)), IssueCode::TooLong);
}

fn path_code(patch: &Value) -> IssueCode {
    Patch::json(&doc(&patch.to_string())).unwrap_err().remove(0).code
}

#[test]
fn a_patch_that_copies_its_copies_ends() {
    let mut all = vec![json!({"op": "add", "path": "/a", "value": ["x".repeat(1000)]})];
    for _ in 0..200 {
        all.push(json!({"op": "copy", "from": "/a", "path": "/a/-"}));
    }
    for patch in [all, {
        // Deeper and deeper.
        let mut deep = vec![json!({"op": "add", "path": "/a", "value": {}})];
        for n in 0..200 {
            deep.push(json!({"op": "add", "path": format!("/b{n}"), "value": {}}));
            deep.push(json!({"op": "move", "from": "/a", "path": format!("/b{n}/a")}));
            deep.push(json!({"op": "move", "from": format!("/b{n}"), "path": "/a"}));
        }
        deep
    }] {
        assert!(matches!(applied(&json_patch(&json!(patch)), "{}"), Err(Unpatched::Invalid(_))));
    }
}

#[test]
fn fhirpath_patches_change_elements_whole() {
    let patient = r#"{"resourceType":"Patient","name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedBoolean":false}"#;
    for (operation, after) in [
        (
            json!({"type": "delete", "path": "Patient.name.given[0]"}),
            r#""name":[{"given":["B"],"_given":[{"id":"b"}]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedBoolean":false}"#,
        ),
        (
            json!({"type": "delete", "path": "Patient.name.given[1]"}),
            r#""name":[{"given":["A"]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedBoolean":false}"#,
        ),
        (
            json!({"type": "move", "path": "Patient.name.given", "source": 1, "destination": 0}),
            r#""name":[{"given":["B","A"],"_given":[{"id":"b"},null]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedBoolean":false}"#,
        ),
        (
            json!({"type": "insert", "path": "Patient.name.given", "index": 1,
                "value": {"valueString": "X", "_valueString": {"id": "x"}}}),
            r#""name":[{"given":["A","X","B"],"_given":[null,{"id":"x"},{"id":"b"}]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedBoolean":false}"#,
        ),
        (
            json!({"type": "replace", "path": "Patient.birthDate",
                "value": {"valueDate": "1980-02-02"}}),
            r#""name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"birthDate":"1980-02-02","deceasedBoolean":false}"#,
        ),
        (
            json!({"type": "replace", "path": "Patient.deceased",
                "value": {"valueDateTime": "2020"}}),
            r#""name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedDateTime":"2020"}"#,
        ),
        (
            json!({"type": "delete", "path": "Patient.birthDate"}),
            r#""name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"deceasedBoolean":false}"#,
        ),
        (
            json!({"type": "delete", "path": "Patient.photo"}),
            patient.strip_prefix(r#"{"resourceType":"Patient","#).unwrap(),
        ),
        (
            json!({"type": "insert", "path": "Patient.telecom", "index": 0,
                "value": {"valueContactPoint": {"value": "1"}}}),
            r#""name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"birthDate":"1970-01-01","_birthDate":{"id":"d"},"deceasedBoolean":false,"telecom":[{"value":"1"}]}"#,
        ),
        (
            json!({"type": "add", "path": "Patient.birthDate", "name": "extension",
                "value": {"part": [{"name": "url", "valueUri": "http://x"},
                    {"name": "value", "valueDecimal": 1.5}]}}),
            r#""name":[{"given":["A","B"],"_given":[null,{"id":"b"}]}],"birthDate":"1970-01-01","_birthDate":{"id":"d","extension":[{"url":"http://x","valueDecimal":1.5}]},"deceasedBoolean":false}"#,
        ),
    ] {
        let wanted = format!(r#"{{"resourceType":"Patient",{after}"#);
        assert_eq!(
            applied(&fhirpath(std::slice::from_ref(&operation)), patient).unwrap(),
            wanted,
            "{operation}"
        );
    }
    for bad in [
        json!({"type": "add", "path": "Patient", "name": "birthDate", "value": {"valueDate": "1"}}),
        json!({"type": "add", "path": "Patient", "name": "deceased",
            "value": {"valueDateTime": "2020"}}),
        json!({"type": "add", "path": "Patient", "name": "none", "value": {"valueString": "1"}}),
        json!({"type": "add", "path": "Patient.photo", "name": "title",
            "value": {"valueString": "1"}}),
        json!({"type": "delete", "path": "Patient"}),
        json!({"type": "delete", "path": "Patient.name.given"}),
        json!({"type": "replace", "path": "Patient.name.given.count()",
            "value": {"valueString": "1"}}),
        json!({"type": "insert", "path": "Patient.birthDate", "index": 0,
            "value": {"valueDate": "1"}}),
        json!({"type": "insert", "path": "Patient.name", "index": 2,
            "value": {"valueHumanName": {}}}),
        json!({"type": "move", "path": "Patient.name", "source": 0, "destination": 1}),
        json!({"type": "move", "path": "Patient.name.where(false)", "source": 0, "destination": 0}),
    ] {
        assert_eq!(
            unfit(&fhirpath(std::slice::from_ref(&bad)), patient),
            "Parameters.parameter[0]",
            "{bad}"
        );
    }
}

/// A patient with something of most classes.
const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","identifier":[{"system":"http://hl7.org/fhir/sid/us-ssn","value":"1"},{"system":"http://mrn","value":"2"}],"name":[{"given":["A","B"],"_given":[null,{"extension":[{"url":"http://x","valueString":"hidden"}]}]}],"telecom":[{"system":"phone","value":"3","extension":[{"url":"http://x","valueString":"hidden"}]},{"system":"phone","value":"4"}],"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">hidden</div>"}}"#;

/// What the front desk sees.
fn desk() -> ClassSet {
    use DataClass::{Administrative, Contact, Demographic, Identifier};
    [Administrative, Demographic, Contact, Identifier]
        .into_iter()
        .fold(ClassSet::NONE, ClassSet::with)
}

/// A patch as the engine applies it: what may not be written is refused first.
struct Carried {
    whole: Valid,
    touched: ClassSet,
}

fn finished(patch: &Patch, whole: &str, ty: &str, sees: ClassSet) -> Result<Carried, String> {
    let ty = ResourceType::from_name(ty).unwrap();
    let patched = patch.apply_seeing(&doc(whole), ty, sees).map_err(|e| format!("{e:?}"))?;
    let id = LogicalId::new("p").unwrap();
    let touched = patched.touched();
    if !sees.covers(touched) {
        return Err(format!("denied: {touched:?}"));
    }
    let whole = patched
        .finish(&id, Version(2), "2026-01-01T00:00:00Z", &mut |_| None)
        .map_err(|e| format!("{e:?}"))?;
    Ok(Carried { whole, touched })
}

fn whole(carried: &Carried) -> Value {
    let mut value: Value = serde_json::from_str(carried.whole.text()).unwrap();
    value.as_object_mut().unwrap().remove("meta");
    value
}

#[test]
fn what_is_withheld_is_carried_over_wherever_the_rest_goes() {
    let before: Value = serde_json::from_str(PATIENT).unwrap();
    let check = |patch: Value, change: &dyn Fn(&mut Value)| {
        let carried = finished(&json_patch(&patch), PATIENT, "Patient", desk())
            .unwrap_or_else(|e| panic!("{patch}: {e}"));
        let mut wanted = before.clone();
        change(&mut wanted);
        assert_eq!(whole(&carried), wanted, "{patch}");
        assert!(desk().covers(carried.touched), "{patch}");
        carried.touched
    };
    let contact = ClassSet::of(DataClass::Contact);
    let touched =
        check(json!([{"op": "replace", "path": "/telecom/0/value", "value": "9"}]), &|p| {
            p["telecom"][0]["value"] = json!("9");
        });
    assert_eq!(touched, contact);
    // What ends leaves behind what was withheld in it.
    check(json!([{"op": "remove", "path": "/telecom/0"}]), &|p| {
        let kept = p["telecom"][0].as_object_mut().unwrap();
        kept.retain(|name, _| name == "extension");
    });
    check(json!([{"op": "remove", "path": "/telecom"}]), &|p| {
        p["telecom"].as_array_mut().unwrap().truncate(1);
        p["telecom"][0].as_object_mut().unwrap().retain(|name, _| name == "extension");
    });
    check(json!([{"op": "move", "from": "/telecom/0", "path": "/telecom/1"}]), &|p| {
        p["telecom"].as_array_mut().unwrap().reverse();
    });
    // The first identifier that is seen is the second that is there.
    check(
        json!([{"op": "test", "path": "/identifier/0/value", "value": "2"},
        {"op": "add", "path": "/identifier/0", "value": {"value": "0"}}]),
        &|p| {
            p["identifier"].as_array_mut().unwrap().insert(1, json!({"value": "0"}));
        },
    );
    check(json!([{"op": "remove", "path": "/identifier"}]), &|p| {
        p["identifier"].as_array_mut().unwrap().truncate(1);
    });
    check(
        json!([{"op": "remove", "path": "/identifier"},
        {"op": "add", "path": "/identifier", "value": [{"value": "5"}]}]),
        &|p| {
            p["identifier"][1] = json!({"value": "5"});
        },
    );
    // What is said beside a value goes with the value, and stays in step with the others.
    check(json!([{"op": "add", "path": "/name/0/given/0", "value": "X"}]), &|p| {
        p["name"][0]["given"].as_array_mut().unwrap().insert(0, json!("X"));
        p["name"][0]["_given"].as_array_mut().unwrap().insert(0, Value::Null);
    });
    check(json!([{"op": "move", "from": "/name/0/given/0", "path": "/name/0/given/1"}]), &|p| {
        p["name"][0]["given"].as_array_mut().unwrap().reverse();
        p["name"][0]["_given"].as_array_mut().unwrap().reverse();
    });
    check(json!([{"op": "remove", "path": "/name/0/given/1"}]), &|p| {
        p["name"][0] = json!({"given": ["A"]});
    });
}

#[test]
fn what_is_withheld_takes_no_part_in_any_answer() {
    // The same, with other or no things withheld: no answer may differ.
    let others = [
        PATIENT.replace("hidden", "other"),
        PATIENT.replace(r#""value":"1""#, r#""value":"7""#),
        PATIENT.replace("sid/us-ssn", "sid/us-mbi"),
    ];
    let tests = [
        json!([{"op": "test", "path": "/identifier/1/value", "value": "1"}]),
        json!([{"op": "test", "path": "/identifier/0/value", "value": "1"}]),
        json!([{"op": "test", "path": "/text", "value": {"status": "generated"}}]),
        json!([{"op": "test", "path": "/text/div", "value": "<div xmlns=\"http://www.w3.org/1999/xhtml\">hidden</div>"}]),
        json!([{"op": "test", "path": "/telecom/0/extension", "value": [{"url": "http://x", "valueString": "hidden"}]}]),
        json!([{"op": "test", "path": "/name/0/_given/0", "value": null}]),
        json!([{"op": "test", "path": "/identifier", "value": [{"system": "http://mrn", "value": "2"}]}]),
        json!([{"op": "copy", "from": "/identifier/1", "path": "/identifier/-"}]),
        json!([{"op": "copy", "from": "/text", "path": "/language"}]),
        json!([{"op": "remove", "path": "/text"}]),
        json!([{"op": "add", "path": "/text", "value": {"status": "empty"}}]),
        json!([{"op": "add", "path": "/text/div", "value": "<div/>"}]),
        json!([{"op": "replace", "path": "", "value": {"resourceType": "Patient"}}]),
        json!([{"op": "remove", "path": "/identifier/1"}]),
    ];
    let answer =
        |patch: &Value, whole: &str| match finished(&json_patch(patch), whole, "Patient", desk()) {
            Ok(carried) => format!("{:?}", carried.touched),
            Err(e) => e,
        };
    for patch in &tests {
        let first = answer(patch, PATIENT);
        for other in &others {
            assert_eq!(answer(patch, other), first, "{patch}");
        }
        assert!(!first.contains("hidden"));
    }
    // Not there at all, to him.
    assert!(answer(&tests[0], PATIENT).contains("Unfit"));
    assert_eq!(answer(&tests[6], PATIENT), format!("{:?}", ClassSet::NONE));
    let by_path = fhirpath(&[json!({"type": "delete",
        "path": "Patient.name.where(Patient.identifier.value = '1')"})]);
    let _ = finished(&by_path, PATIENT, "Patient", desk());
}

#[test]
fn what_may_be_withheld_at_a_path_is_not_ended() {
    let withheld = |patch: Value, whole: &str, ty: &str, sees: ClassSet| {
        let ty = ResourceType::from_name(ty).unwrap();
        let done = json_patch(&patch).apply_seeing(&doc(whole), ty, sees);
        matches!(done, Err(Unpatched::Withheld(_)))
    };
    // Whether or not something clinical is in the item; some other thing is withheld.
    let claim = |item: &str| {
        format!(
            r#"{{"resourceType":"Claim","status":"active","identifier":[{{"value":"1"}}],"item":[{{"sequence":1,"productOrService":{{"text":"x"}}{item}}}]}}"#
        )
    };
    let sees = ClassSet::of(DataClass::Administrative).with(DataClass::Financial);
    for item in ["", r#","bodySite":{"text":"hidden"}"#] {
        let remove = json!([{"op": "remove", "path": "/item/0"}]);
        assert!(withheld(remove.clone(), &claim(item), "Claim", sees), "{item}");
        // Whoever sees the whole of it may.
        assert!(!withheld(remove, &claim(item), "Claim", ClassSet::ALL), "{item}");
        let one = json!([{"op": "remove", "path": "/item/0/productOrService/text"}]);
        assert!(!withheld(one, &claim(item), "Claim", sees), "{item}");
    }
    // Of value[x] another may stand there.
    use DataClass::{Administrative, Clinical};
    let sees = ClassSet::of(Administrative).with(Clinical);
    let answers = |hidden: &str| {
        format!(
            r#"{{"resourceType":"QuestionnaireResponse","status":"completed","item":[{{"linkId":"1","answer":[{hidden}]}},{{"linkId":"2","text":"x"}}]}}"#
        )
    };
    let add =
        json!([{"op": "add", "path": "/item/0/answer/0/valueCoding", "value": {"code": "x"}}]);
    let both = answers(r#"{"valueString":"n","item":[{"linkId":"1.1"}]}"#);
    assert!(withheld(add, &both, "QuestionnaireResponse", sees));
}

#[test]
fn a_class_that_is_not_seen_is_named_when_it_is_written() {
    let patch = json_patch(&json!([{"op": "add", "path": "/text", "value":
        {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}}]));
    // The same whether or not something of it is there.
    let without = PATIENT.split(r#","text":"#).next().unwrap().to_owned() + "}";
    for whole in [PATIENT, &without] {
        let refused = finished(&patch, whole, "Patient", desk()).err().unwrap();
        assert!(refused.starts_with("denied") && refused.contains("notes"), "{refused}");
    }
    let to_ssn = json_patch(&json!([{"op": "replace", "path": "/identifier/0/system",
        "value": "http://hl7.org/fhir/sid/us-ssn"}]));
    let refused = finished(&to_ssn, PATIENT, "Patient", desk()).err().unwrap();
    assert!(refused.contains("government"), "{refused}");
}

#[test]
fn an_issue_counts_when_the_patch_made_it() {
    // What is missing for being withheld is no fault of the patch.
    let whole_text = r#"{"resourceType":"Observation","id":"p","status":"final","code":{"text":"x"},"note":[{"text":"n"}]}"#;
    let sees = ClassSet::of(DataClass::Administrative);
    let check = |value: &str| {
        let patch = json_patch(&json!([{"op": "replace", "path": "/status", "value": value}]));
        finished(&patch, whole_text, "Observation", sees).map(|c| whole(&c)["status"].clone())
    };
    assert_eq!(check("amended").unwrap(), "amended");
    assert!(check("nonsense").unwrap_err().contains("Observation.status"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        "[a-c~/]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Adding and then removing leaves what was; a copy is equal to what was copied.
    #[test]
    fn operations_undo_each_other(whole in any_json(), value in any_json()) {
        let whole = json!({"root": whole});
        let text = whole.to_string();
        let undone = json_patch(&json!([{"op": "add", "path": "/new", "value": value},
            {"op": "copy", "from": "/new", "path": "/again"},
            {"op": "test", "path": "/again", "value": value},
            {"op": "move", "from": "/again", "path": "/third"},
            {"op": "remove", "path": "/third"},
            {"op": "test", "path": "/root", "value": whole["root"]},
            {"op": "remove", "path": "/new"}]));
        let after: Value = serde_json::from_str(&applied(&undone, &text).unwrap()).unwrap();
        prop_assert_eq!(after, whole);
    }

    /// Whoever patches nothing changes nothing, whatever he sees.
    #[test]
    fn nothing_done_changes_nothing(bits in 0u16..4096) {
        let sees = DataClass::ALL.into_iter().enumerate()
            .filter(|(n, _)| bits & (1 << n) != 0)
            .fold(ClassSet::of(DataClass::Administrative), |set, (_, c)| set.with(c));
        let carried = finished(&json_patch(&json!([])), PATIENT, "Patient", sees).unwrap();
        let before: Value = serde_json::from_str(PATIENT).unwrap();
        prop_assert_eq!(whole(&carried), before);
        prop_assert_eq!(carried.touched, ClassSet::NONE);
        let ty = ResourceType::from_name("Patient").unwrap();
        let all = classes_in(&doc(PATIENT), ty);
        prop_assert_eq!(split(&carried.whole).classes, all);
    }
}
