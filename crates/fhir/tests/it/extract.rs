//! What is extracted from resources, row by row.
#![expect(clippy::panic, reason = "a helper of tests fails the test")]

use std::fs;

use phial_base::DataClass;
use phial_fhir::compartment::patients;
use phial_fhir::search::{Term, extract, param};
use phial_fhir::{Doc, Limits, ResourceType, Valid, validate};

fn valid(text: &str) -> Valid {
    validate(Doc::parse(text.as_bytes(), &Limits::default()).unwrap())
        .unwrap_or_else(|issues| panic!("{issues:?}"))
}

fn time(t: i64) -> String {
    match t {
        i64::MIN => "..".to_owned(),
        i64::MAX => "..".to_owned(),
        t => jiff::Timestamp::from_microsecond(t).unwrap().to_string().replace("T00:00:00Z", ""),
    }
}

fn show(term: &Term) -> String {
    let o = |t: &Option<Box<str>>| t.as_deref().unwrap_or("").to_owned();
    match term {
        Term::Token { system: None, code } => o(code),
        Term::Token { system, code } => format!("{}|{}", o(system), o(code)),
        Term::Str { text } => text.to_string(),
        Term::Date { low, high } => format!("{}~{}", time(*low), time(*high)),
        Term::Number { low, high, value } => format!("{value} in {low}..{high}"),
        Term::Quantity { value, low, high, system, code, unit } => {
            format!("{value} in {low}..{high} {}|{}|{}", o(system), o(code), o(unit))
        }
        Term::Ref { target, id, url, identifier } => {
            let mut out = match (target, id, url) {
                (Some(t), Some(id), _) => format!("{t}/{id}"),
                (_, _, Some(url)) => url.to_string(),
                _ => String::new(),
            };
            if let Some((system, value)) = identifier {
                out.push_str(&format!("#{}|{value}", o(system)));
            }
            out
        }
        Term::Uri { uri } => uri.to_string(),
        Term::Parts { parts } => {
            let of = |p: &[(DataClass, Term)]| p.iter().map(|(_, t)| show(t)).collect::<Vec<_>>();
            parts.iter().map(|p| of(p).join(" or ")).collect::<Vec<_>>().join(" $ ")
        }
        Term::Range { low, high, system, code, unit } => {
            format!("{low} to {high} {}|{}|{}", o(system), o(code), o(unit))
        }
        Term::Later { text } => format!("later {text}"),
        Term::Said { text } => format!("says {text}"),
        Term::Typed { system, code, value } => format!("{system}|{code} is {value}"),
        Term::Held { target, id, low, high } => {
            format!("{}/{id} holds {}~{}", target.name(), time(*low), time(*high))
        }
        Term::Inner { ty, values } => {
            let all: Vec<String> =
                values.iter().map(|(p, _, t)| format!("{}={}", p.code(), show(t))).collect();
            format!("{} {}", ty.name(), all.join(" "))
        }
        Term::Order { words } => words.replace('\n', " / "),
    }
}

fn values(v: &Valid, code: &str) -> Vec<String> {
    let p = param(v.resource_type(), code).unwrap_or_else(|| panic!("no {code}"));
    let all = extract(v).values;
    all.iter().filter(|(q, _, t)| *q == p && t.stands()).map(|(.., t)| show(t)).collect()
}

/// What codes say to people, and identifiers under their types.
fn beside(v: &Valid, code: &str) -> Vec<String> {
    let p = param(v.resource_type(), code).unwrap_or_else(|| panic!("no {code}"));
    let all = extract(v).values;
    all.iter().filter(|(q, _, t)| *q == p && !t.stands()).map(|(.., t)| show(t)).collect()
}

#[test]
fn participants_of_a_care_team_are_ones_for_a_time_when_any_is_said() {
    let of = |participants: &str| {
        let text = format!(
            r#"{{"resourceType":"CareTeam","subject":{{"reference":"Patient/p"}},"participant":[{participants}]}}"#
        );
        let v = valid(&text);
        (values(&v, "participant"), beside(&v, "participant"))
    };
    let a = r#"{"member":{"reference":"Practitioner/a"},"period":{"start":"2024-02","end":"2024-03-05"}}"#;
    let b = r#"{"member":{"reference":"Practitioner/b"}}"#;
    let open = r#"{"member":{"reference":"PractitionerRole/c"},"period":{"start":"2025"}}"#;
    let (all, held) = of(&format!("{a},{b},{open}"));
    assert_eq!(all, ["Practitioner/a", "Practitioner/b", "PractitionerRole/c"]);
    assert_eq!(
        held,
        [
            "Practitioner/a holds 2024-02-01~2024-03-06",
            "Practitioner/b holds ..~..",
            "PractitionerRole/c holds 2025-01-01~..",
        ]
    );
    // Of a team that says nothing of it nothing is kept.
    assert_eq!(of(b).1, [""; 0]);
}

#[test]
fn what_a_reference_leads_to_within_is_kept_beside_it_and_not_as_its_own() {
    let v = valid(
        r##"{"resourceType":"MedicationRequest","status":"active","intent":"order",
        "subject":{"reference":"Patient/p"},"medicationReference":{"reference":"#m"},
        "contained":[{"resourceType":"Medication","id":"m","status":"active",
          "ingredient":[{"itemCodeableConcept":{"coding":[{"code":"abc"}]}}]},
          {"resourceType":"Practitioner","id":"nobodys","active":true}],
        "note":[{"authorReference":{"reference":"#nobodys"},"text":"x"}]}"##,
    );
    assert_eq!(beside(&v, "medication"), ["Medication ingredient-code=abc status=active"]);
    let none: [&str; 0] = [];
    assert_eq!(values(&v, "medication"), none);
    assert_eq!(values(&v, "status"), ["active"]);
    // Classes are those of the elements in the container.
    let all = extract(&v).values;
    let inner = all.iter().find_map(|(_, _, t)| match t {
        Term::Inner { values, .. } => Some(values),
        _ => None,
    });
    let code = inner.unwrap().iter().find(|(p, ..)| p.code() == "ingredient-code").unwrap();
    assert_eq!(code.1, DataClass::Medication);
}

#[test]
fn words_are_kept_in_the_order_of_each_text() {
    let v = valid(
        r#"{"resourceType":"DetectedIssue","status":"final","detail":"Pain, relieved by rest",
        "text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Acute <b>chest pain</b></p><p>no pain</p></div>"}}"#,
    );
    assert_eq!(beside(&v, "_text"), ["acute chest pain no pain"]);
    assert_eq!(beside(&v, "_content"), ["acute chest pain no pain / pain relieved by rest"]);
    assert_eq!(values(&v, "_text"), ["acute", "chest", "pain", "no"]);
    let one = valid(r#"{"resourceType":"DetectedIssue","status":"final","detail":"Pain"}"#);
    assert_eq!(beside(&one, "_content"), [""; 0]);
}

#[test]
fn codes_have_texts_and_identifiers_have_types() {
    let v = valid(
        r#"{"resourceType":"Observation","status":"final",
        "identifier":[{"type":{"text":"Filler","coding":[{"system":"s","code":"FILL","display":"no"},{"code":"X"}]},"system":"u","value":"1|2"},{"value":"3"}],
        "code":{"coding":[{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure"},{"code":"bp","display":"BP"}],"text":"BP"},
        "component":[{"code":{"coding":[{"code":"x"}],"text":"Systolic"},"valueString":"a"}]}"#,
    );
    assert_eq!(beside(&v, "code"), ["says Blood pressure", "says BP"]);
    assert_eq!(beside(&v, "combo-code"), ["says Blood pressure", "says BP", "says Systolic"]);
    assert_eq!(beside(&v, "identifier"), ["says Filler", "s|FILL is 1|2"]);
    assert_eq!(values(&v, "code"), ["http://loinc.org|85354-9", "bp"]);
    let none: [&str; 0] = [];
    assert_eq!(beside(&v, "status"), none);
}

#[test]
fn a_family_name_is_found_by_its_later_parts_and_strings_without_case() {
    let v = valid(
        r#"{"resourceType":"Patient","name":[{"family":"Carreño Quiñones","given":["Maria Luz"]}]}"#,
    );
    assert_eq!(beside(&v, "family"), ["later quinones"]);
    assert_eq!(beside(&v, "name"), ["later quinones"]);
    let none: [&str; 0] = [];
    assert_eq!(beside(&v, "given"), none);
    check(
        r#"{"resourceType":"Medication","batch":{"lotNumber":"LOT-7x"}}"#,
        &[("lot-number", &["lot-7x"])],
    );
}

#[test]
fn notes_have_words_and_nothing_else_has() {
    let v = valid(
        r#"{"resourceType":"Condition","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Sore throat</p></div>"},
        "contained":[{"resourceType":"Basic","id":"b","code":{"text":"contained"}}],
        "code":{"text":"Angina"},"subject":{"reference":"Patient/p","display":"Zoe"},
        "note":[{"text":"Sore again; pus."}]}"#,
    );
    assert_eq!(values(&v, "_text"), ["sore", "throat"]);
    assert_eq!(values(&v, "_content"), ["sore", "throat", "again", "pus"]);
    for (p, class, _) in &extract(&v).values {
        assert_eq!(p.code() == "_text" || p.code() == "_content", *class == DataClass::Notes);
    }
}

#[test]
fn us_core_parameters_find_what_its_profiles_hold() {
    check(
        r#"{"resourceType":"Patient","extension":[
        {"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[
            {"url":"ombCategory","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3","display":"White"}},
            {"url":"detailed","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"1586-7"}},
            {"url":"text","valueString":"White"}]},
        {"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity","extension":[
            {"url":"ombCategory","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2186-5"}}]},
        {"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-genderIdentity","valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"446141000124107"}]}}]}"#,
        &[
            (
                "race",
                &[
                    "urn:oid:2.16.840.1.113883.6.238|2106-3",
                    "urn:oid:2.16.840.1.113883.6.238|1586-7",
                ],
            ),
            ("ethnicity", &["urn:oid:2.16.840.1.113883.6.238|2186-5"]),
            ("gender-identity", &["http://snomed.info/sct|446141000124107"]),
        ],
    );
    check(
        r#"{"resourceType":"Condition","subject":{"reference":"Patient/p"},"extension":[
        {"url":"http://hl7.org/fhir/StructureDefinition/condition-assertedDate","valueDateTime":"2020-03"}]}"#,
        &[("asserted-date", &["2020-03-01~2020-04-01"])],
    );
    let ty = |name: &str| ResourceType::from_name(name).unwrap();
    let classes = |t: &str, code: &str| param(ty(t), code).unwrap().classes(ty(t));
    let of = phial_base::ClassSet::of;
    assert_eq!(classes("Patient", "race"), of(DataClass::Demographic));
    assert_eq!(classes("Patient", "gender-identity"), of(DataClass::Demographic));
    assert_eq!(classes("Condition", "asserted-date"), of(DataClass::Notes));
    for (t, code) in
        [("CareTeam", "role"), ("Encounter", "discharge-disposition"), ("Goal", "description")]
    {
        assert!(!classes(t, code).is_empty(), "{t} {code}");
    }
}

fn check(text: &str, rows: &[(&str, &[&str])]) {
    let v = valid(text);
    for (code, want) in rows {
        assert_eq!(values(&v, code), *want, "{} {code}", v.resource_type());
    }
}

#[test]
fn a_patient_is_found_by_what_it_says() {
    check(
        r#"{"resourceType":"Patient","id":"1","meta":{"profile":["http://p/a"],"tag":[{"system":"s","code":"t"}],"security":[{"code":"VIP"}],"source":"urn:x"},
        "identifier":[{"system":"http://mrn","value":"12345"},{"value":"no-system"}],"active":true,
        "name":[{"use":"official","text":"Peter J. Chalmers","family":"Chalmers","given":["Peter","James"],"prefix":["Dr"]},{"family":"Windsor","given":["Peter"]}],
        "telecom":[{"system":"phone","value":"(03) 5555 6473"},{"system":"email","value":"p@example.org"},{"system":"url","value":"http://me"}],
        "gender":"male","birthDate":"1974-12","deceasedBoolean":false,
        "address":[{"use":"home","line":["534 Erewhon St"],"city":"PleasantVille","district":"Rainbow","state":"Vic","postalCode":"3999","country":"AU"}],
        "communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"en"}]}}],
        "generalPractitioner":[{"reference":"Practitioner/9/_history/2"}],"managingOrganization":{"reference":"Organization/1"},
        "link":[{"other":{"reference":"Patient/pat2"},"type":"seealso"}]}"#,
        &[
            ("identifier", &["http://mrn|12345", "no-system"]),
            ("active", &["true"]),
            ("name", &["Peter J. Chalmers", "Chalmers", "Peter", "James", "Dr", "Windsor"]),
            ("family", &["Chalmers", "Windsor"]),
            ("given", &["Peter", "James"]),
            ("phonetic", &["Peter J. Chalmers", "Chalmers", "Peter", "James", "Dr", "Windsor"]),
            ("telecom", &["phone|(03) 5555 6473", "email|p@example.org", "url|http://me"]),
            ("phone", &["phone|(03) 5555 6473"]),
            ("email", &["email|p@example.org"]),
            ("gender", &["male"]),
            ("birthdate", &["1974-12-01~1975-01-01"]),
            ("deceased", &["false"]),
            ("death-date", &[]),
            ("address", &["534 Erewhon St", "PleasantVille", "Rainbow", "Vic", "3999", "AU"]),
            ("address-city", &["PleasantVille"]),
            ("address-postalcode", &["3999"]),
            ("address-use", &["home"]),
            ("language", &["urn:ietf:bcp:47|en"]),
            ("general-practitioner", &["Practitioner/9"]),
            ("organization", &["Organization/1"]),
            ("link", &["Patient/pat2"]),
            ("_profile", &["http://p/a"]),
            ("_tag", &["s|t"]),
            ("_security", &["VIP"]),
            ("_source", &["urn:x"]),
        ],
    );
}

#[test]
fn death_is_known_by_date_or_flag() {
    check(
        r#"{"resourceType":"Patient","deceasedDateTime":"2015-02-14T13:42:00+10:00"}"#,
        &[("deceased", &["true"]), ("death-date", &["2015-02-14T03:42:00Z~2015-02-14T03:42:01Z"])],
    );
    check(r#"{"resourceType":"Patient","deceasedBoolean":true}"#, &[("deceased", &["true"])]);
    check(r#"{"resourceType":"Patient","gender":"other"}"#, &[("deceased", &["false"])]);
}

#[test]
fn an_observation_is_found_by_code_value_and_parts() {
    check(
        r#"{"resourceType":"Observation","status":"final","category":[{"coding":[{"system":"http://c","code":"vital-signs"}]}],
        "code":{"coding":[{"system":"http://loinc.org","code":"85354-9"},{"code":"bp"}],"text":"BP"},
        "subject":{"reference":"Patient/p"},"encounter":{"reference":"Encounter/e"},"effectiveDateTime":"2012-09-17","performer":[{"reference":"http://else.where/fhir/Practitioner/1"}],
        "valueQuantity":{"value":5.40,"unit":"mmol","system":"http://unitsofmeasure.org","code":"mmol/L"},
        "component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":107,"unit":"mm[Hg]","code":"mm[Hg]","comparator":">"}},
        {"code":{"coding":[{"code":"x"}]},"valueCodeableConcept":{"coding":[{"code":"pos"}]}}]}"#,
        &[
            ("code", &["http://loinc.org|85354-9", "bp"]),
            ("combo-code", &["http://loinc.org|85354-9", "bp", "http://loinc.org|8480-6", "x"]),
            ("component-code", &["http://loinc.org|8480-6", "x"]),
            ("component-value-concept", &["pos"]),
            ("value-quantity", &["5.4 in 5.395..5.405 http://unitsofmeasure.org|mmol/L|mmol"]),
            ("component-value-quantity", &["107 in 106.5..inf |mm[Hg]|"]),
            ("subject", &["Patient/p"]),
            ("patient", &["Patient/p"]),
            ("encounter", &["Encounter/e"]),
            ("date", &["2012-09-17~2012-09-18"]),
            ("performer", &["http://else.where/fhir/Practitioner/1"]),
            ("status", &["final"]),
            ("category", &["http://c|vital-signs"]),
        ],
    );
    check(
        r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Group/g"},
        "effectivePeriod":{"start":"2012-01-01T10:00:00Z"},"valueCodeableConcept":{"coding":[{"code":"neg"}],"text":"Negative"}}"#,
        &[
            ("subject", &["Group/g"]),
            ("patient", &[]),
            ("date", &["2012-01-01T10:00:00Z~.."]),
            ("value-concept", &["neg"]),
            ("value-string", &["Negative"]),
        ],
    );
}

#[test]
fn a_composite_holds_what_stands_in_one_element() {
    check(
        r#"{"resourceType":"Observation","status":"final",
        "code":{"coding":[{"system":"l","code":"bp"},{"code":"bp2"}]},"valueQuantity":{"value":5,"code":"u"},
        "component":[{"code":{"coding":[{"code":"sys"}]},"valueQuantity":{"value":120,"code":"mm"}},
        {"code":{"coding":[{"code":"dia"}]},"valueQuantity":{"value":80,"code":"mm"}},
        {"code":{"coding":[{"code":"arm"}]},"valueCodeableConcept":{"coding":[{"code":"left"}]}},
        {"code":{"text":"no code"},"valueQuantity":{"value":1}}]}"#,
        &[
            ("code-value-quantity", &["l|bp or bp2 $ 5 in 4.5..5.5 |u|"]),
            ("code-value-concept", &[]),
            (
                "component-code-value-quantity",
                &["sys $ 120 in 119.5..120.5 |mm|", "dia $ 80 in 79.5..80.5 |mm|"],
            ),
            ("component-code-value-concept", &["arm $ left"]),
            (
                "combo-code-value-quantity",
                &[
                    "l|bp or bp2 $ 5 in 4.5..5.5 |u|",
                    "sys $ 120 in 119.5..120.5 |mm|",
                    "dia $ 80 in 79.5..80.5 |mm|",
                ],
            ),
            ("combo-code-value-concept", &["arm $ left"]),
        ],
    );
    check(
        r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"code":"c"}]},"valueDateTime":"2020-01-02"}"#,
        &[("code-value-date", &["c $ 2020-01-02~2020-01-03"]), ("code-value-string", &[])],
    );
    check(
        r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"code":"c"}]},"valueString":"pale"}"#,
        &[("code-value-string", &["c $ pale"])],
    );
    check(
        r#"{"resourceType":"Group","type":"person","actual":false,"characteristic":[
        {"code":{"coding":[{"code":"sex"}]},"valueCodeableConcept":{"coding":[{"code":"f"}]},"exclude":false},
        {"code":{"coding":[{"code":"smoker"}]},"valueBoolean":true,"exclude":false}]}"#,
        &[("characteristic-value", &["sex $ f", "smoker $ true"])],
    );
    check(
        r#"{"resourceType":"ValueSet","status":"draft","useContext":[
        {"code":{"code":"age"},"valueRange":{"low":{"value":18}}},{"code":{"code":"focus"},"valueCodeableConcept":{"coding":[{"code":"x"}]}}]}"#,
        &[
            ("context-type-quantity", &["age $ 18 to inf ||"]),
            ("context-type-value", &["focus $ x"]),
        ],
    );
    check(
        r#"{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"url":"http://a"}}],
        "relatesTo":[{"code":"replaces","target":{"reference":"DocumentReference/1"}},{"code":"signs","target":{"reference":"DocumentReference/2"}}]}"#,
        &[("relationship", &["DocumentReference/1 $ replaces", "DocumentReference/2 $ signs"])],
    );
    // The chromosome stands beside the variants and goes with each of them.
    check(
        r#"{"resourceType":"MolecularSequence","coordinateSystem":0,"referenceSeq":{"chromosome":{"coding":[{"code":"7"}]},"referenceSeqId":{"coding":[{"code":"NC1"}]},"windowStart":1,"windowEnd":9},
        "variant":[{"start":2,"end":3},{"start":5,"end":6},{"start":8}]}"#,
        &[
            (
                "chromosome-variant-coordinate",
                &["7 $ 2 in 1.5..2.5 $ 3 in 2.5..3.5", "7 $ 5 in 4.5..5.5 $ 6 in 5.5..6.5"],
            ),
            ("referenceseqid-window-coordinate", &["NC1 $ 1 in 0.5..1.5 $ 9 in 8.5..9.5"]),
        ],
    );
}

#[test]
fn a_composite_touches_the_classes_of_all_its_components() {
    use DataClass::*;
    let ty = |t: &str| ResourceType::from_name(t).unwrap();
    let needs = |t: &str, code: &str| -> Vec<Vec<DataClass>> {
        param(ty(t), code).unwrap().needs(ty(t)).iter().map(|c| c.iter().collect()).collect()
    };
    assert_eq!(needs("Observation", "code-value-quantity"), [[Laboratory], [Laboratory]]);
    assert_eq!(needs("Observation", "code-value-string")[0], [Laboratory]);
    assert_eq!(needs("Patient", "name"), [[Demographic]]);
    let p = param(ty("DocumentReference"), "relationship").unwrap();
    let all = p
        .needs(ty("DocumentReference"))
        .into_iter()
        .fold(phial_base::ClassSet::NONE, phial_base::ClassSet::or);
    assert_eq!(p.classes(ty("DocumentReference")), all);
}

#[test]
fn spans_are_as_wide_as_what_is_known() {
    check(
        r#"{"resourceType":"Encounter","status":"planned","class":{"system":"http://a","code":"AMB"},"period":{"end":"2020-05"},"length":{"value":56.12,"unit":"minutes","system":"http://unitsofmeasure.org","code":"min"},
        "participant":[{"individual":{"reference":"Practitioner/1"}},{"individual":{"reference":"RelatedPerson/2"}}],"location":[{"location":{"reference":"Location/l"},"period":{"start":"2020-01-01","end":"2020-01-02"}}]}"#,
        &[
            ("date", &["..~2020-06-01"]),
            ("length", &["56.12 in 56.115..56.125 http://unitsofmeasure.org|min|minutes"]),
            ("participant", &["Practitioner/1", "RelatedPerson/2"]),
            ("practitioner", &["Practitioner/1"]),
            ("location", &["Location/l"]),
            ("location-period", &["2020-01-01~2020-01-03"]),
            ("class", &["http://a|AMB"]),
        ],
    );
    check(
        r#"{"resourceType":"Condition","subject":{"reference":"Patient/p"},"onsetRange":{"low":{"value":1},"high":{"value":3,"unit":"a"}},"abatementString":"spring","clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}]}}"#,
        &[("onset-age", &["1 to 3 ||a"]), ("abatement-string", &["spring"])],
    );
    check(
        r#"{"resourceType":"ServiceRequest","status":"active","intent":"order","subject":{"reference":"Patient/p"},"occurrenceTiming":{"event":["2020-01-01","2020-02"],"repeat":{"boundsPeriod":{"start":"2020-03-01","end":"2020-03-31"}}},"requisition":{"system":"http://r","value":"7"}}"#,
        &[("occurrence", &["2020-01-01~2020-04-01"]), ("requisition", &["http://r|7"])],
    );
}

#[test]
fn references_of_every_form_are_taken() {
    check(
        r##"{"resourceType":"Appointment","status":"booked","contained":[{"resourceType":"Practitioner","id":"c"}],"participant":[
        {"actor":{"reference":"Patient/1"},"status":"accepted"},{"actor":{"reference":"#c"},"status":"accepted"},
        {"actor":{"reference":"Location/2#x"},"status":"accepted"},{"actor":{"type":"Practitioner","identifier":{"system":"http://npi","value":"99"}},"status":"accepted"},
        {"actor":{"reference":"urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0","type":"Practitioner"},"status":"accepted"},
        {"actor":{"reference":"Practitioner/7","identifier":{"value":"77"}},"status":"accepted"}]}"##,
        &[
            (
                "actor",
                &[
                    "Patient/1",
                    "Location/2",
                    "#http://npi|99",
                    "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
                    "Practitioner/7",
                    "#|77",
                ],
            ),
            ("patient", &["Patient/1"]),
            ("location", &["Location/2"]),
            (
                "practitioner",
                &[
                    "#http://npi|99",
                    "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
                    "Practitioner/7",
                    "#|77",
                ],
            ),
        ],
    );
    check(
        r#"{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Composition","id":"c1","status":"final","type":{"text":"t"},"date":"2020","author":[{"display":"d"}],"title":"x"}},{"resource":{"resourceType":"Patient","id":"p"}}]}"#,
        &[("composition", &["Composition/c1"]), ("type", &["document"])],
    );
}

#[test]
fn uris_numbers_money_and_parts_of_definitions_are_taken() {
    check(
        r#"{"resourceType":"ValueSet","url":"http://a/vs","version":"1","status":"active","useContext":[{"code":{"code":"age"},"valueRange":{"low":{"value":18}}}],"compose":{"include":[{"system":"http://loinc.org"}]}}"#,
        &[
            ("url", &["http://a/vs"]),
            ("version", &["1"]),
            ("reference", &["http://loinc.org"]),
            ("context-quantity", &["18 to inf ||"]),
            ("context-type", &["age"]),
        ],
    );
    check(
        r#"{"resourceType":"RiskAssessment","status":"final","subject":{"reference":"Patient/p"},"prediction":[{"probabilityDecimal":0.000168}]}"#,
        &[("probability", &["0.000168 in 0.0001675..0.0001685"])],
    );
    check(
        r#"{"resourceType":"Invoice","status":"issued","totalGross":{"value":48.20,"currency":"USD"}}"#,
        &[("totalgross", &["48.2 in 48.195..48.205 urn:iso:std:iso:4217|USD|"])],
    );
    check(
        r#"{"resourceType":"PlanDefinition","status":"draft","relatedArtifact":[{"type":"composed-of","resource":"http://a|1"},{"type":"depends-on","resource":"http://b"}],"library":["http://lib"]}"#,
        &[
            ("composed-of", &["http://a|1"]),
            ("depends-on", &["http://b", "http://lib"]),
            ("successor", &[]),
        ],
    );
    check(
        r#"{"resourceType":"InsurancePlan","name":"Gold","alias":["Or"]}"#,
        &[("name", &["Gold", "Or"])],
    );
}

#[test]
fn each_value_carries_the_class_of_its_element() {
    use DataClass::*;
    let v = valid(
        r#"{"resourceType":"Patient","identifier":[{"system":"http://mrn","value":"1"},{"system":"http://hl7.org/fhir/sid/us-ssn","value":"2"}],"name":[{"family":"A","given":["B"]}],"telecom":[{"system":"phone","value":"5"}],"address":[{"city":"C"}],"generalPractitioner":[{"reference":"Practitioner/1","identifier":{"value":"n"}}],"birthDate":"2000-01-01"}"#,
    );
    for (code, want) in [
        ("identifier", &[Identifier, GovernmentIdentifier][..]),
        ("name", &[Demographic, Demographic]),
        ("given", &[Demographic]),
        ("telecom", &[Contact]),
        ("address-city", &[Contact]),
        ("general-practitioner", &[Administrative, Identifier]),
        ("birthdate", &[Demographic]),
        ("deceased", &[Demographic]),
    ] {
        let p = param(v.resource_type(), code).unwrap();
        let got: Vec<DataClass> =
            extract(&v).values.iter().filter(|(q, ..)| *q == p).map(|(_, c, _)| *c).collect();
        assert_eq!(got, want, "{code}");
    }
}

#[test]
fn the_primary_date_is_the_start_of_what_happened() {
    let at = |text: &str| extract(&valid(text)).primary_date.map(time);
    for (text, want) in [
        (
            r#"{"resourceType":"Encounter","status":"planned","class":{"code":"AMB"},"period":{"start":"2020-05-04","end":"2020-06"}}"#,
            Some("2020-05-04"),
        ),
        (
            r#"{"resourceType":"Encounter","status":"planned","class":{"code":"AMB"},"period":{"end":"2020-06"}}"#,
            Some("2020-07-01"),
        ),
        (r#"{"resourceType":"Encounter","status":"planned","class":{"code":"AMB"}}"#, None),
        (r#"{"resourceType":"Patient","birthDate":"2000-01-01"}"#, None),
        (
            r#"{"resourceType":"Immunization","status":"completed","vaccineCode":{"text":"x"},"patient":{"reference":"Patient/p"},"occurrenceDateTime":"2021-01-02"}"#,
            Some("2021-01-02"),
        ),
    ] {
        assert_eq!(at(text).as_deref(), want, "{text}");
    }
}

#[test]
fn patients_are_those_that_the_compartment_names() {
    for (text, want) in [
        (
            r#"{"resourceType":"Patient","id":"me","link":[{"other":{"reference":"Patient/other"},"type":"refer"}]}"#,
            &["me", "other"][..],
        ),
        (
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"},"performer":[{"reference":"Patient/a"}]}"#,
            &["a", "b"],
        ),
        (
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"http://else/Patient/b"}}"#,
            &[],
        ),
        (
            r#"{"resourceType":"Group","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/m1"}},{"entity":{"reference":"Patient/m2"}},{"entity":{"reference":"Patient/m1"}}]}"#,
            &["m1", "m2"],
        ),
        (r#"{"resourceType":"Practitioner","id":"x"}"#, &[]),
        (
            r#"{"resourceType":"Appointment","status":"booked","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"}]}"#,
            &["a"],
        ),
        (
            r#"{"resourceType":"Organization","contained":[{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/in"}},{"resourceType":"Patient","id":"local"}],"name":"o"}"#,
            &["in"],
        ),
        (
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{"resource":{"resourceType":"Encounter","status":"planned","class":{"code":"x"},"subject":{"reference":"Patient/q"}}}]}"#,
            &["p", "q"],
        ),
        (
            r#"{"resourceType":"Coverage","status":"active","beneficiary":{"reference":"Patient/b"},"subscriber":{"reference":"Patient/s"},"payor":[{"reference":"Patient/y"}]}"#,
            &["b", "s", "y"],
        ),
    ] {
        let got: Vec<String> =
            patients(&valid(text)).iter().map(|p| p.as_str().to_owned()).collect();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn every_hl7_example_gives_values_of_its_parameters_classes() {
    let Some(dir) = crate::shared("data/examples/hl7-r4-instances") else { return };
    let mut used = std::collections::BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let Ok(doc) = Doc::parse(&bytes, &Limits::default()) else { continue };
        let Ok(v) = validate(doc) else { continue };
        let e = extract(&v);
        for (p, class, term) in &e.values {
            assert!(!show(term).is_empty());
            let by_number = matches!(term, Term::Ref { identifier: Some(_), .. });
            let stated = p.classes(v.resource_type()).has(*class);
            assert!(stated || by_number, "{} {} is {class}", v.resource_type(), p.code());
            used.insert((v.resource_type(), *p));
        }
    }
    assert!(used.len() > 1_200, "{}", used.len());
}

#[test]
fn every_synthea_record_is_about_whom_it_says() {
    let (mut total, mut values) = (0_usize, 0_usize);
    crate::synthea(&mut |v| {
        total += 1;
        values += extract(v).values.len();
        let ty = ResourceType::name(v.resource_type());
        if ty == "Patient" {
            assert_eq!(patients(v).len(), 1);
        }
    });
    if let Some(mean) = values.checked_div(total) {
        assert_eq!(total, 92_114);
        println!("{mean} values a record");
    }
}
