//! Bad input is refused with the place and the kind of fault, and never with a value.

use phial_base::{Label, LabelSet, LogicalId, Version};
use phial_fhir::{Doc, Issue, Limits, Link, Valid, stamp, validate};
use proptest::prelude::*;

fn check(input: &str) -> Result<Valid, Vec<Issue>> {
    validate(Doc::parse(input.as_bytes(), &Limits::default()).unwrap())
}

/// Puts `members` into a resource that is valid without them.
fn within(ty: &str, members: &str) -> String {
    let base = match ty {
        "Observation" => r#""status":"final","code":{"text":"c"}"#,
        "Bundle" => r#""type":"batch""#,
        "Appointment" => {
            r#""status":"booked","participant":[{"actor":{"display":"d"},"status":"accepted"}]"#
        }
        _ => r#""id":"a""#,
    };
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"resourceType":"{ty}",{base}{comma}{members}}}"#)
}

#[test]
fn bad_resources_are_refused_with_place_and_code() {
    let rows: &[(&str, &str, &str, &str)] = &[
        // Elements that are not known, or not here.
        ("Patient", r#""nme":1"#, "Patient.nme", "structure"),
        ("Patient", r#""Anna 1970-01-01":1"#, "Patient.(unknown)", "structure"),
        ("Patient", r#""name":[{"first":"A"}]"#, "Patient.name[0].first", "structure"),
        (
            "Patient",
            r#""contact":[{"birthDate":"2000"}]"#,
            "Patient.contact[0].birthDate",
            "structure",
        ),
        ("Patient", r#""deceased":true"#, "Patient.deceased", "structure"),
        ("Patient", r#""deceasedString":"x""#, "Patient.deceasedString", "structure"),
        ("Patient", r#""_name":[{"id":"a"}]"#, "Patient._name", "structure"),
        ("Patient", r#""__gender":{"id":"a"}"#, "Patient.__gender", "structure"),
        ("Patient", r#""fhir_comments":["x"]"#, "Patient.fhir_comments", "structure"),
        (
            "Patient",
            r#""name":[{"resourceType":"HumanName","family":"F"}]"#,
            "Patient.name[0].resourceType",
            "structure",
        ),
        (
            "Bundle",
            r#""contained":[{"resourceType":"Patient","id":"p"}]"#,
            "Bundle.contained",
            "structure",
        ),
        // JSON types.
        ("Patient", r#""active":"true""#, "Patient.active", "structure"),
        ("Patient", r#""active":1"#, "Patient.active", "structure"),
        ("Patient", r#""active":{}"#, "Patient.active", "structure"),
        ("Patient", r#""gender":true"#, "Patient.gender", "structure"),
        ("Patient", r#""multipleBirthInteger":"2""#, "Patient.multipleBirthInteger", "structure"),
        ("Patient", r#""maritalStatus":"M""#, "Patient.maritalStatus", "structure"),
        ("Patient", r#""name":["Anna"]"#, "Patient.name[0]", "structure"),
        ("Patient", r#""name":[["Anna"]]"#, "Patient.name[0]", "structure"),
        (
            "Observation",
            r#""valueQuantity":{"value":"1.5"}"#,
            "Observation.valueQuantity.value",
            "structure",
        ),
        // Arrays, empty things, null.
        ("Patient", r#""name":{"family":"F"}"#, "Patient.name", "structure"),
        ("Patient", r#""gender":["male"]"#, "Patient.gender", "structure"),
        ("Patient", r#""name":[]"#, "Patient.name", "structure"),
        ("Patient", r#""name":[{}]"#, "Patient.name[0]", "structure"),
        ("Patient", r#""maritalStatus":{}"#, "Patient.maritalStatus", "structure"),
        ("Patient", r#""name":[null]"#, "Patient.name[0]", "structure"),
        ("Patient", r#""gender":null"#, "Patient.gender", "structure"),
        ("Patient", r#""maritalStatus":null"#, "Patient.maritalStatus", "structure"),
        ("Patient", r#""name":null"#, "Patient.name", "structure"),
        ("Patient", r#""name":[{"given":[null]}]"#, "Patient.name[0].given[0]", "structure"),
        // Ids and extensions of primitives.
        ("Patient", r#""_gender":"x""#, "Patient._gender", "structure"),
        ("Patient", r#""_gender":{}"#, "Patient._gender", "structure"),
        ("Patient", r#""_gender":null"#, "Patient._gender", "structure"),
        ("Patient", r#""_gender":{"value":"x"}"#, "Patient._gender.value", "structure"),
        (
            "Patient",
            r#""name":[{"given":["A","B"],"_given":[{"id":"x"}]}]"#,
            "Patient.name[0]._given",
            "structure",
        ),
        (
            "Patient",
            r#""name":[{"given":["A",null],"_given":[{"id":"x"},null]}]"#,
            "Patient.name[0].given[1]",
            "structure",
        ),
        ("Patient", r#""name":[{"_given":[null]}]"#, "Patient.name[0]._given[0]", "structure"),
        ("Patient", r#""name":[{"_given":[]}]"#, "Patient.name[0]._given", "structure"),
        ("Patient", r#""name":[{"_given":{"id":"x"}}]"#, "Patient.name[0]._given", "structure"),
        ("Patient", r#""name":[{"_given":["x"]}]"#, "Patient.name[0]._given[0]", "structure"),
        // Primitives.
        ("Patient", r#""birthDate":"""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1970-02-29""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1900-02-29""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1970-13""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1970-00-01""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1970-04-31""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"0000""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"70-01-01""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1970-1-1""#, "Patient.birthDate", "value"),
        ("Patient", r#""birthDate":"1970-01-01T00:00:00Z""#, "Patient.birthDate", "value"),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01T10:00:00""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01T10:00Z""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01T10:00:00Z""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01T24:00:00Z""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01T10:60:00Z""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01T10:00:00.Z""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01T10:00:00+14:01""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        (
            "Patient",
            r#""deceasedDateTime":"2020-01-01 10:00:00Z""#,
            "Patient.deceasedDateTime",
            "value",
        ),
        ("Observation", r#""issued":"2020-01-01""#, "Observation.issued", "value"),
        ("Observation", r#""valueTime":"10:00""#, "Observation.valueTime", "value"),
        ("Observation", r#""valueTime":"10:00:00Z""#, "Observation.valueTime", "value"),
        ("Observation", r#""valueInteger":1.0"#, "Observation.valueInteger", "value"),
        ("Observation", r#""valueInteger":1e3"#, "Observation.valueInteger", "value"),
        ("Observation", r#""valueInteger":2147483648"#, "Observation.valueInteger", "value"),
        ("Appointment", r#""minutesDuration":0"#, "Appointment.minutesDuration", "value"),
        ("Appointment", r#""priority":-1"#, "Appointment.priority", "value"),
        ("Patient", r#""photo":[{"data":"abc"}]"#, "Patient.photo[0].data", "value"),
        ("Patient", r#""photo":[{"data":"ab=c"}]"#, "Patient.photo[0].data", "value"),
        ("Patient", r#""photo":[{"url":"a b"}]"#, "Patient.photo[0].url", "value"),
        (
            "Patient",
            r#""photo":[{"contentType":" text/plain"}]"#,
            "Patient.photo[0].contentType",
            "value",
        ),
        ("Patient", r#""language":"en  us""#, "Patient.language", "value"),
        ("Patient", r#""implicitRules":"\u0000""#, "Patient.implicitRules", "value"),
        ("Patient", r#""name":[{"family":"a\u0007"}]"#, "Patient.name[0].family", "value"),
        ("Patient", r#""meta":{"versionId":"a b"}"#, "Patient.meta.versionId", "value"),
        (
            "Patient",
            r#""extension":[{"url":"u","valueOid":"1.2.3"}]"#,
            "Patient.extension[0].valueOid",
            "value",
        ),
        (
            "Patient",
            r#""extension":[{"url":"u","valueOid":"urn:oid:1.02"}]"#,
            "Patient.extension[0].valueOid",
            "value",
        ),
        (
            "Patient",
            r#""extension":[{"url":"u","valueUuid":"urn:uuid:C757873D-EC9A-4326-A141-556F43239520"}]"#,
            "Patient.extension[0].valueUuid",
            "value",
        ),
        ("Patient", r#""text":{"status":"generated","div":"hello"}"#, "Patient.text.div", "value"),
        (
            "Patient",
            r#""text":{"status":"generated","div":"<divx>a</divx>"}"#,
            "Patient.text.div",
            "value",
        ),
        (
            "Patient",
            r#""text":{"status":"generated","div":"<div>a</div><p/>x"}"#,
            "Patient.text.div",
            "value",
        ),
        (
            "Patient",
            r#""text":{"status":"generated","div":"<div><script>a</script></div>"}"#,
            "Patient.text.div",
            "value",
        ),
        (
            "Patient",
            r#""text":{"status":"generated","div":"<div onclick=\"a\">a</div>"}"#,
            "Patient.text.div",
            "value",
        ),
        // Cardinality.
        ("Patient", r#""text":{"status":"generated"}"#, "Patient.text.div", "required"),
        ("Patient", r#""link":[{"type":"seealso"}]"#, "Patient.link[0].other", "required"),
        (
            "Patient",
            r#""communication":[{"preferred":true}]"#,
            "Patient.communication[0].language",
            "required",
        ),
        (
            "Observation",
            r#""component":[{"valueString":"x"}]"#,
            "Observation.component[0].code",
            "required",
        ),
        // Choices.
        (
            "Patient",
            r#""deceasedBoolean":false,"deceasedDateTime":"2020""#,
            "Patient.deceasedDateTime",
            "structure",
        ),
        (
            "Patient",
            r#""deceasedBoolean":false,"_deceasedDateTime":{"id":"x"}"#,
            "Patient._deceasedDateTime",
            "structure",
        ),
        ("Observation", r#""valueMoney":{"value":1}"#, "Observation.valueMoney", "structure"),
        // Extensions.
        ("Patient", r#""extension":[{"valueString":"x"}]"#, "Patient.extension[0].url", "required"),
        ("Patient", r#""extension":[{"url":"u"}]"#, "Patient.extension[0]", "extension"),
        (
            "Patient",
            r#""extension":[{"url":"u","valueCode":"a","extension":[{"url":"v","valueCode":"a"}]}]"#,
            "Patient.extension[0]",
            "extension",
        ),
        (
            "Patient",
            r#""extension":[{"url":"u","valueCode":"a","valueString":"b"}]"#,
            "Patient.extension[0].valueString",
            "structure",
        ),
        (
            "Patient",
            r#""extension":[{"url":"u","valuePatient":{}}]"#,
            "Patient.extension[0].valuePatient",
            "structure",
        ),
        // Bindings.
        ("Patient", r#""gender":"F""#, "Patient.gender", "code-invalid"),
        ("Patient", r#""name":[{"use":"nick"}]"#, "Patient.name[0].use", "code-invalid"),
        (
            "AllergyIntolerance",
            r#""patient":{"reference":"Patient/1"},"clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical","code":"gone"}]}"#,
            "AllergyIntolerance.clinicalStatus",
            "code-invalid",
        ),
        (
            "AllergyIntolerance",
            r#""patient":{"reference":"Patient/1"},"clinicalStatus":{"coding":[{"system":"http://example.org","code":"active"}]}"#,
            "AllergyIntolerance.clinicalStatus",
            "code-invalid",
        ),
        // References.
        (
            "Observation",
            r#""subject":{"reference":"Patient"}"#,
            "Observation.subject.reference",
            "value",
        ),
        (
            "Observation",
            r#""subject":{"reference":"Patient/a b"}"#,
            "Observation.subject.reference",
            "value",
        ),
        (
            "Observation",
            r#""subject":{"reference":"Human/1"}"#,
            "Observation.subject.reference",
            "value",
        ),
        (
            "Observation",
            r#""subject":{"reference":"http://a b/Patient/1"}"#,
            "Observation.subject.reference",
            "value",
        ),
        (
            "Observation",
            r#""subject":{"reference":"Claim/1"}"#,
            "Observation.subject.reference",
            "value",
        ),
        (
            "Observation",
            r#""subject":{"reference":"Claim?identifier=1"}"#,
            "Observation.subject.reference",
            "value",
        ),
        ("Observation", r#""subject":"Patient/1""#, "Observation.subject", "structure"),
        (
            "Observation",
            r##""subject":{"reference":"#p"}"##,
            "Observation.subject.reference",
            "invariant",
        ),
        // Contained and nested resources.
        (
            "Patient",
            r#""contained":[{"resourceType":"Organization"}]"#,
            "Patient.contained[0].id",
            "required",
        ),
        ("Patient", r#""contained":[{"id":"o"}]"#, "Patient.contained[0].resourceType", "required"),
        (
            "Patient",
            r#""contained":[{"resourceType":"Human","id":"o"}]"#,
            "Patient.contained[0].resourceType",
            "not-supported",
        ),
        (
            "Patient",
            r#""contained":[{"resourceType":"Organization","id":"o","nam":"x"}]"#,
            "Patient.contained[0].nam",
            "structure",
        ),
        ("Patient", r#""contained":["x"]"#, "Patient.contained[0]", "structure"),
        (
            "Patient",
            r#""contained":[{"resourceType":"Organization","id":"o","contained":[{"resourceType":"Location","id":"l"}]}]"#,
            "Patient.contained[0].contained",
            "invariant",
        ),
        (
            "Patient",
            r#""contained":[{"resourceType":"Organization","id":"o","meta":{"versionId":"1"}}]"#,
            "Patient.contained[0].meta.versionId",
            "invariant",
        ),
        (
            "Patient",
            r#""contained":[{"resourceType":"Organization","id":"o"},{"resourceType":"Location","id":"o"}]"#,
            "Patient.contained[1].id",
            "duplicate",
        ),
        (
            "Bundle",
            r#""entry":[{"resource":{"resourceType":"Patient","gender":"x"}}]"#,
            "Bundle.entry[0].resource.gender",
            "code-invalid",
        ),
        (
            "Bundle",
            r#""entry":[{"resource":{"resourceType":"DomainResource","id":"x"}}]"#,
            "Bundle.entry[0].resource.resourceType",
            "not-supported",
        ),
    ];
    for (ty, members, path, code) in rows {
        let input = within(ty, members);
        let issues = match check(&input) {
            Ok(_) => panic!("accepted: {members}"),
            Err(issues) => issues,
        };
        let found: Vec<_> = issues.iter().map(|i| (i.path.as_str(), i.code.code())).collect();
        assert_eq!(found, [(*path, *code)], "{members}");
    }
}

#[test]
fn the_base_resources_of_these_tests_are_valid() {
    for ty in ["Patient", "Observation", "Bundle", "Appointment"] {
        let valid = check(&within(ty, ""));
        assert_eq!(valid.unwrap().resource_type().name(), ty);
    }
}

#[test]
fn good_forms_are_accepted() {
    let rows: &[(&str, &str)] = &[
        ("Patient", r#""birthDate":"2000-02-29""#),
        ("Patient", r#""birthDate":"1970""#),
        ("Patient", r#""deceasedDateTime":"2016-12-31T23:59:60.123456+14:00""#),
        ("Patient", r#""deceasedBoolean":true,"_deceasedBoolean":{"id":"x"}"#),
        ("Patient", r#""_deceasedBoolean":{"id":"x"},"deceasedBoolean":true"#),
        ("Patient", r#""_gender":{"extension":[{"url":"u","valueCode":"unknown"}]}"#),
        ("Patient", r#""name":[{"given":["A",null],"_given":[null,{"id":"x"}]}]"#),
        ("Patient", r#""name":[{"_given":[{"id":"x"}]}]"#),
        ("Patient", r#""extension":[{"url":"u","_valueString":{"id":"x"}}]"#),
        (
            "Patient",
            r#""extension":[{"url":"u","valueUuid":"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"}]"#,
        ),
        ("Patient", r#""name":[{"family":"a\u0009b\n"}]"#),
        ("Patient", r#""photo":[{"data":"QUJD RA==","contentType":"image/png","size":0}]"#),
        (
            "Patient",
            r#""text":{"status":"generated","div":" <div xmlns=\"http://www.w3.org/1999/xhtml\">a</div> "}"#,
        ),
        ("Patient", r#""text":{"status":"empty","div":"<div/>"}"#),
        ("Observation", r#""valueInteger":-2147483648"#),
        ("Observation", r#""valueQuantity":{"value":-1.50E-3}"#),
        (
            "Observation",
            r##""subject":{"reference":"#p"},"contained":[{"resourceType":"Patient","id":"p"}]"##,
        ),
        ("Observation", r#""subject":{"reference":"urn:uuid:a"}"#),
        ("Observation", r#""subject":{"reference":"Patient/1/_history/2"}"#),
        ("Observation", r#""subject":{"reference":"Patient?identifier=a|b"}"#),
        ("Observation", r#""subject":{"reference":"https://example.org/x"}"#),
        ("Observation", r#""subject":{"display":"somebody"}"#),
        (
            "AllergyIntolerance",
            r#""patient":{"reference":"Patient/1"},"clinicalStatus":{"coding":[{"system":"http://example.org","code":"x"},{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical","code":"active"}]}"#,
        ),
    ];
    for (ty, members) in rows {
        if let Err(issues) = check(&within(ty, members)) {
            panic!("{members}: {issues:?}");
        }
    }
}

#[test]
fn what_is_no_resource_is_refused() {
    for (input, path, code) in [
        ("[]", "", "structure"),
        ("1", "", "structure"),
        ("{}", "resourceType", "required"),
        (r#"{"resourceType":1}"#, "resourceType", "not-supported"),
        (r#"{"resourceType":"Human"}"#, "resourceType", "not-supported"),
        (r#"{"resourceType":"Resource"}"#, "resourceType", "not-supported"),
        (r#"{"resourceType":"HumanName"}"#, "resourceType", "not-supported"),
    ] {
        let issues = check(input).unwrap_err();
        assert_eq!((issues[0].path.as_str(), issues[0].code.code()), (path, code), "{input}");
    }
}

#[test]
fn all_issues_are_listed_up_to_fifty() {
    let three = within("Patient", r#""a":1,"gender":"x","birthDate":"y""#);
    assert_eq!(check(&three).unwrap_err().len(), 3);
    let names = vec![r#"{"use":"SECRET"}"#; 80].join(",");
    assert_eq!(check(&within("Patient", &format!(r#""name":[{names}]"#))).unwrap_err().len(), 50);
}

#[test]
fn no_issue_repeats_a_value() {
    let canary = "Zebediah";
    for members in [
        r#""Zebediah 1970":1"#,
        r#""gender":"Zebediah""#,
        r#""birthDate":"Zebediah""#,
        r#""name":[{"Zebediah-X":"Zebediah"}]"#,
        r#""managingOrganization":{"reference":"Zebediah"}"#,
        r#""photo":[{"data":"Zebediah!"}],"active":"Zebediah""#,
        r#""contained":[{"resourceType":"Zebediah","id":"Zebediah"}]"#,
        r#""maritalStatus":"Zebediah","extension":[{"url":"Zebediah"}]"#,
    ] {
        let issues = check(&within("Patient", members)).unwrap_err();
        let outcome = phial_fhir::operation_outcome(&issues);
        assert!(!String::from_utf8(outcome).unwrap().contains(canary), "{members}");
    }
}

#[test]
fn too_long_a_string_is_refused() {
    let long = "x".repeat((1 << 20) + 1);
    let issues = check(&within("Patient", &format!(r#""name":[{{"family":"{long}"}}]"#)));
    assert_eq!(issues.unwrap_err()[0].code.code(), "too-long");
    // The limit counts characters.
    let wide = "é".repeat(1 << 20);
    assert!(check(&within("Patient", &format!(r#""name":[{{"family":"{wide}"}}]"#))).is_ok());
}

#[test]
fn labels_of_the_resource_and_of_all_within_are_found() {
    let meta = |system: &str, code: &str| {
        format!(r#""meta":{{"security":[{{"system":"{system}","code":"{code}"}}]}}"#)
    };
    let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let inner = meta(act, "HIV");
    let text = within(
        "Patient",
        &format!(
            r#"{},"contained":[{{"resourceType":"Organization","id":"o",{inner}}}]"#,
            meta("http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "R")
        ),
    );
    let want = LabelSet::NONE.with(Label::Restricted).with(Label::HIV);
    assert_eq!(check(&text).unwrap().labels(), want);
    let bundle = within(
        "Bundle",
        &format!(r#""entry":[{{"resource":{{"resourceType":"Patient",{}}}}}]"#, meta("x", "y")),
    );
    assert_eq!(check(&bundle).unwrap().labels(), LabelSet::NONE.with(Label::Unknown));
    assert_eq!(check(&within("Patient", "")).unwrap().labels(), LabelSet::NONE);
}

#[test]
fn type_and_id_are_known_wherever_they_stand() {
    let valid = check(r#"{"active":true,"id":"a-1","resourceType":"Patient"}"#).unwrap();
    assert_eq!((valid.id(), valid.resource_type().name()), (Some("a-1"), "Patient"));
    assert_eq!(check(r#"{"resourceType":"Patient"}"#).unwrap().id(), None);
}

/// JSON that looks like a resource: names of the tables over values of any kind.
fn resource_like() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "id",
        "meta",
        "text",
        "div",
        "contained",
        "extension",
        "url",
        "valueString",
        "valueReference",
        "reference",
        "name",
        "given",
        "_given",
        "_birthDate",
        "birthDate",
        "identifier",
        "system",
        "value",
        "period",
        "start",
        "link",
        "other",
        "entry",
        "resource",
        "valueQuantity",
        "code",
        "coding",
        "security",
        "versionId",
        "_id",
        "subject",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1.50".to_owned()),
        prop::sample::select(vec![
            "Patient",
            "Bundle",
            "#a",
            "a",
            "urn:uuid:a",
            "2020-02-30",
            "<div/>",
            "<div><a href='",
            "\\u00e9",
            "Patient/1",
        ])
        .prop_map(|s| format!("\"{s}\"")),
    ];
    let types = prop::sample::select(vec!["Patient", "Bundle", "Observation", "Human"]);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let members = prop::collection::btree_map(names.clone(), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            (prop::option::of(types.clone()), members).prop_map(|(ty, members)| {
                let ty = ty.map(|ty| format!("\"resourceType\":\"{ty}\""));
                let members = members.iter().map(|(k, v)| format!("\"{k}\":{v}"));
                format!("{{{}}}", ty.into_iter().chain(members).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_looks_like_a_resource_is_judged_and_stamped_without_panic(text in resource_like()) {
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let id = LogicalId::new("n").unwrap();
        let mut rename = |l: Link<'_>| l.text().starts_with("urn:").then(|| "Patient/\"é".to_owned());
        if let Ok(out) = stamp(&doc, &id, Version(2), "2020-01-01T00:00:00Z", &mut rename) {
            let again = Doc::parse(&out, &Limits::default()).unwrap();
            prop_assert_eq!(again.root().member("id").unwrap().as_str().unwrap(), "n");
            prop_assert_eq!(again.text().as_bytes(), out.as_slice());
        }
        match validate(doc) {
            Ok(valid) => prop_assert!(valid.id().is_none_or(|i| !i.is_empty())),
            Err(issues) => prop_assert!(!issues.is_empty() && issues.len() <= 50),
        }
    }
}
