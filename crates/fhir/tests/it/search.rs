//! What a query may say, row by row.

use phial_base::{ClassSet, DataClass, LogicalId};
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Criterion, Filter, Modifier, On, Operand, Query, Summary, Total, param, parse_query,
};

fn ty(name: &str) -> ResourceType {
    ResourceType::from_name(name).unwrap()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

fn parse(text: &str) -> Result<Query, String> {
    let (t, query) = text.split_once('?').unwrap();
    parse_query(ty(t), &pairs(query)).map_err(|issues| {
        let shown: Vec<String> =
            issues.iter().map(|i| format!("{} {}", i.code.code(), i.text)).collect();
        shown.join("; ")
    })
}

fn time(t: i64) -> String {
    jiff::Timestamp::from_microsecond(t).unwrap().to_string().replace("T00:00:00Z", "")
}

fn operand(o: &Operand) -> String {
    let b = |t: &Option<Box<str>>| t.as_deref().unwrap_or("").to_owned();
    match o {
        Operand::Token { system: None, code } => b(code),
        Operand::Token { system: Some(s), code } => format!("{}|{}", b(s), b(code)),
        Operand::Str(s) => s.to_string(),
        Operand::Phrase(s) => format!("\"{s}\""),
        Operand::Date { prefix, low, high } => {
            format!("{} {}~{}", prefix.code(), time(*low), time(*high))
        }
        Operand::Number { prefix, value, low, high } => {
            format!("{} {value} in {low}..{high}", prefix.code())
        }
        Operand::Quantity { prefix, value, low, high, system, code } => {
            format!("{} {value} in {low}..{high} {}|{}", prefix.code(), b(system), b(code))
        }
        Operand::Ref { target, id, url } => {
            let t = target.map_or("*", ResourceType::name);
            url.as_deref().map_or_else(|| format!("{t}/{}", b(id)), ToOwned::to_owned)
        }
        Operand::Uri(u) => u.to_string(),
        Operand::Missing(m) => format!("missing {m}"),
        Operand::Id(id) => id.as_str().to_owned(),
        Operand::Parts(parts) => parts.iter().map(operand).collect::<Vec<_>>().join(" $ "),
        Operand::Typed { system, code, value } => format!("{system}|{code} is {value}"),
    }
}

fn filter(f: &Filter) -> String {
    let modifier = match f.modifier {
        Modifier::None => String::new(),
        m => format!(":{m:?}"),
    };
    let values: Vec<String> = f.values.iter().map(operand).collect();
    format!("{}{modifier}={}", f.on.code(), values.join(" or "))
}

#[test]
fn filters_are_read_as_the_specification_means_them() {
    for (query, want) in [
        // Examples of the HL7 search page.
        ("Patient?_id=23", "_id=23"),
        ("Patient?_id=23,24", "_id=23 or 24"),
        ("Observation?_lastUpdated=gt2010-10-01", "_lastUpdated=gt 2010-10-01~2010-10-02"),
        (
            "Condition?_tag=http://acme.org/codes|needs-review",
            "_tag=http://acme.org/codes|needs-review",
        ),
        (
            "DiagnosticReport?_profile=http://hl7.org/fhir/StructureDefinition/lipid",
            "_profile=http://hl7.org/fhir/StructureDefinition/lipid",
        ),
        (
            "Condition?_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R",
            "_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R",
        ),
        ("RiskAssessment?probability=gt0.8", "probability=gt 0.8 in 0.75..0.85"),
        ("RiskAssessment?probability=100", "probability=eq 100 in 99.5..100.5"),
        ("RiskAssessment?probability=100.00", "probability=eq 100 in 99.995..100.005"),
        ("RiskAssessment?probability=1e2", "probability=eq 100 in 95..105"),
        ("RiskAssessment?probability=lt100", "probability=lt 100 in 99.5..100.5"),
        ("RiskAssessment?probability=ne100", "probability=ne 100 in 99.5..100.5"),
        ("Observation?date=2013-01-14", "date=eq 2013-01-14~2013-01-15"),
        ("Observation?date=ne2013-01-14", "date=ne 2013-01-14~2013-01-15"),
        (
            "Observation?date=lt2013-01-14T10:00",
            "date=lt 2013-01-14T10:00:00Z~2013-01-14T10:01:00Z",
        ),
        ("Observation?date=ge2013-03-14", "date=ge 2013-03-14~2013-03-15"),
        ("Observation?date=sa2013-03-14", "date=sa 2013-03-14~2013-03-15"),
        ("Observation?date=eb2013-03-14", "date=eb 2013-03-14~2013-03-15"),
        ("Observation?date=ap2013-03-14", "date=ap 2013-03-14~2013-03-15"),
        (
            "Observation?date=ge2010-01-01&date=le2011-12-31",
            "date=ge 2010-01-01~2010-01-02 & date=le 2011-12-31~2012-01-01",
        ),
        (
            "Observation?date=2013-01-14T10:00:00 01:00",
            "date=eq 2013-01-14T09:00:00Z~2013-01-14T09:00:01Z",
        ),
        (
            "Observation?date=2013-01-14T10:00:00+01:00,2014",
            "date=eq 2013-01-14T09:00:00Z~2013-01-14T09:00:01Z or eq 2014-01-01~2015-01-01",
        ),
        ("Patient?birthdate=1974", "birthdate=eq 1974-01-01~1975-01-01"),
        ("Patient?given=eve", "given=eve"),
        ("Patient?given:contains=eve", "given:Contains=eve"),
        ("Patient?given:exact=Eve", "given:Exact=Eve"),
        (r"Patient?name=a\,b,c", "name=a,b or c"),
        (r"Patient?name=a\|b\$c\\d", r"name=a|b$c\d"),
        ("ValueSet?url=http://acme.org/fhir/ValueSet/123", "url=http://acme.org/fhir/ValueSet/123"),
        ("ValueSet?url=urn:oid:1.2.3.4.5", "url=urn:oid:1.2.3.4.5"),
        (
            "Patient?identifier=http://acme.org/patient|2345",
            "identifier=http://acme.org/patient|2345",
        ),
        ("Patient?identifier=2345", "identifier=2345"),
        ("Patient?identifier=|2345", "identifier=|2345"),
        ("Patient?identifier=http://acme.org/patient|", "identifier=http://acme.org/patient|"),
        ("Patient?gender=male", "gender=male"),
        ("Patient?gender:not=male", "gender:Not=male"),
        ("Patient?gender:not=male,female", "gender:Not=male or female"),
        ("Patient?gender=http://hl7.org/fhir/administrative-gender|male", "gender=male"),
        ("Patient?gender=http://other|male", "gender=http://other|male"),
        ("Patient?gender:missing=true", "gender:Missing=missing true"),
        ("Patient?active=true", "active=true"),
        (
            "Condition?code=http://acme.org/conditions/codes|ha125",
            "code=http://acme.org/conditions/codes|ha125",
        ),
        ("Composition?section=48765-2", "section=48765-2"),
        (
            "Observation?value-quantity=5.4|http://unitsofmeasure.org|mg",
            "value-quantity=eq 5.4 in 5.35..5.45 http://unitsofmeasure.org|mg",
        ),
        (
            "Observation?value-quantity=5.40e-3|http://unitsofmeasure.org|g",
            "value-quantity=eq 0.0054 in 0.005395..0.005405 http://unitsofmeasure.org|g",
        ),
        ("Observation?value-quantity=5.4||mg", "value-quantity=eq 5.4 in 5.35..5.45 |mg"),
        ("Observation?value-quantity=5.4", "value-quantity=eq 5.4 in 5.35..5.45 |"),
        (
            "Observation?value-quantity=le5.4|http://unitsofmeasure.org|mg",
            "value-quantity=le 5.4 in 5.35..5.45 http://unitsofmeasure.org|mg",
        ),
        ("Observation?subject=Patient/123", "subject=Patient/123"),
        ("Observation?subject=Patient/123/_history/4", "subject=Patient/123"),
        (
            "Observation?subject=http://acme.org/fhir/Patient/123",
            "subject=http://acme.org/fhir/Patient/123",
        ),
        ("Observation?subject:Patient=123", "subject:Type(Patient)=Patient/123"),
        ("Observation?subject:Patient=Patient/123", "subject:Type(Patient)=Patient/123"),
        ("Observation?subject=123", "subject=*/123"),
        ("Observation?patient=123", "patient=Patient/123"),
        ("Observation?patient=123,Patient/4", "patient=Patient/123 or Patient/4"),
        ("Observation?patient=123,123", "patient=Patient/123"),
        ("Observation?encounter=9", "encounter=Encounter/9"),
        ("Condition?encounter=9", "encounter=Encounter/9"),
        ("Condition?patient:missing=false", "patient:Missing=missing false"),
        ("CarePlan?instantiates-canonical=http://a/b|1.0", "instantiates-canonical=http://a/b|1.0"),
        (
            "Observation?code-value-quantity=http://loinc.org|8480-6$gt5.4|http://unitsofmeasure.org|mm",
            "code-value-quantity=http://loinc.org|8480-6 $ gt 5.4 in 5.35..5.45 http://unitsofmeasure.org|mm",
        ),
        (
            r"Observation?combo-code-value-concept=a\$b$c,d$e",
            "combo-code-value-concept=a$b $ c or d $ e",
        ),
        ("Observation?code-value-string=a$b|c", "code-value-string=a $ b|c"),
        (
            "DocumentReference?relationship=DocumentReference/1$replaces",
            "relationship=DocumentReference/1 $ replaces",
        ),
        (
            "MolecularSequence?chromosome-variant-coordinate=7$lt5$gt6",
            "chromosome-variant-coordinate=7 $ lt 5 in 4.5..5.5 $ gt 6 in 5.5..6.5",
        ),
        ("Observation?status=final,amended", "status=final or amended"),
        ("Patient?", ""),
        ("Patient?_format=json&_pretty=true", ""),
    ] {
        match parse(query) {
            Ok(q) => {
                let got: Vec<String> = q.filters.iter().map(filter).collect();
                assert_eq!(got.join(" & "), want, "{query}");
            }
            Err(why) => panic!("{query}: {why}"),
        }
    }
}

fn criterion(c: &Criterion) -> String {
    let joined =
        |all: &[Criterion], by: &str| all.iter().map(criterion).collect::<Vec<_>>().join(by);
    match c {
        Criterion::Is(f) => filter(f),
        Criterion::Leads { by, to } => {
            let to: Vec<String> =
                to.iter().map(|(ty, c)| format!("{ty}({})", criterion(c))).collect();
            format!("{}>{}", by.code(), to.join(" or "))
        }
        Criterion::Named { from, by, that } => {
            format!("<{from}.{}({})", by.code(), criterion(that))
        }
        Criterion::All(all) => format!("({})", joined(all, " & ")),
        Criterion::Any(all) => format!("({})", joined(all, " | ")),
        Criterion::Not(c) => format!("!{}", criterion(c)),
    }
}

#[test]
fn chains_and_filters_are_read_as_the_specification_means_them() {
    for (query, want) in [
        // Examples of the HL7 search page: chaining and reverse chaining.
        ("DiagnosticReport?subject:Patient.name=peter", "subject>Patient(name=peter)"),
        ("Encounter?patient._has:Group:member:_id=102", "patient>Patient(<Group.member(_id=102))"),
        ("Patient?_has:Observation:patient:code=1234-5", "<Observation.patient(code=1234-5)"),
        (
            "Patient?_has:Observation:patient:_has:AuditEvent:entity:agent-name=MyUserId",
            "<Observation.patient(<AuditEvent.entity(agent-name=MyUserId))",
        ),
        (
            "Patient?general-practitioner.name=Joe",
            "general-practitioner>Organization(name=Joe) or Practitioner(name=Joe)",
        ),
        (
            "Patient?general-practitioner:PractitionerRole.practitioner.name=Joe",
            "general-practitioner>PractitionerRole(practitioner>Practitioner(name=Joe))",
        ),
        (
            "Observation?subject:Patient.birthdate=ge2000",
            "subject>Patient(birthdate=ge 2000-01-01~2001-01-01)",
        ),
        (
            "Observation?patient.identifier:of-type=a|b|c",
            "patient>Patient(identifier:OfType=a|b is c)",
        ),
        ("Patient?_list=42", "<List.item(_id=42)"),
        // Examples of the HL7 page on _filter.
        ("Patient?_filter=name co \"pet\"", "name:Contains=pet"),
        (
            "Patient?_filter=given eq \"peter\" and birthdate ge 2014-10-10",
            "given:Whole=peter & birthdate=ge 2014-10-10~2014-10-11",
        ),
        ("Observation?_filter=code eq http://loinc.org|1234-5", "code=http://loinc.org|1234-5"),
        ("Observation?_filter=patient.name co \"pet\"", "patient>Patient(name:Contains=pet)"),
        (
            "Observation?_filter=not (code eq a) or (code eq b and status ne final)",
            "(!code=a | (code=b & status:Other=final))",
        ),
        // Filters on the record itself come first.
        ("Observation?_filter=code eq a or code eq b and code eq c", "code=c & (code=a | code=b)"),
        (
            "Observation?_filter=subject:Patient[gender eq male and active pr true].name sw \"a b\\u0041\"",
            "subject>Patient(((gender=male & active:Missing=missing false) & name=a bA))",
        ),
        (
            "Patient?_filter=_has:Observation:patient:date po 2020",
            "<Observation.patient(date=ap 2020-01-01~2021-01-01)",
        ),
        ("Condition?_text=sore throat", "_text:Exact=sore & _text:Exact=throat"),
        (
            "Condition?_content=Sore AND (throat OR NOT ear),eye",
            "((_content:Exact=sore & (_content:Exact=throat | !_content:Exact=ear)) | _content:Exact=eye)",
        ),
    ] {
        let q = parse(query).unwrap_or_else(|why| panic!("{query}: {why}"));
        let mut all: Vec<String> = q.filters.iter().map(filter).collect();
        all.extend(q.criteria.iter().map(criterion));
        assert_eq!(all.join(" & "), want, "{query}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_name_and_without_the_value() {
    for (query, want) in [
        (
            "Patient?favourite=SECRET",
            "not-supported parameter favourite is not a search parameter of Patient",
        ),
        (
            "Patient?nAme=SECRET",
            "not-supported parameter nAme is not a search parameter of Patient",
        ),
        (
            "Patient?name:fuzzy=SECRET",
            "not-supported parameter name:fuzzy has a modifier that is not supported",
        ),
        (
            "Patient?gender:exact=SECRET",
            "not-supported parameter gender:exact has a modifier that is not supported",
        ),
        (
            "Patient?name:not=SECRET",
            "not-supported parameter name:not has a modifier that is not supported",
        ),
        (
            "Patient?identifier:of-type=a|SECRET",
            "value parameter identifier:of-type is not system|code|value",
        ),
        (
            "Patient?_revinclude=SECRET",
            "value parameter _revinclude is not *, Type:*, Type:parameter or Type:parameter:Target of a reference parameter",
        ),
        (
            "Patient?_revinclude=Observation:subject:Group",
            "not-supported parameter _revinclude must end at the type that is searched",
        ),
        (
            "Patient?_revinclude=Observation:encounter",
            "value parameter _revinclude names a parameter that never refers to the type that is searched",
        ),
        (
            "Patient?_include:iterate=SECRET",
            "value parameter _include:iterate is not *, Type:*, Type:parameter or Type:parameter:Target of a reference parameter",
        ),
        (
            "Patient?_revinclude:iterate=SECRET",
            "value parameter _revinclude:iterate is not *, Type:*, Type:parameter or Type:parameter:Target of a reference parameter",
        ),
        ("Patient?_total=SECRET", "value parameter _total is not none, estimate or accurate"),
        ("Patient?_total=none&_total=none", "duplicate parameter _total may be given once"),
        (
            "ValueSet?url:contains=SECRET",
            "not-supported parameter url:contains is no string parameter, and R4 has contains for strings only",
        ),
        (
            "Observation?code:contains=SECRET",
            "not-supported parameter code:contains is no string parameter, and R4 has contains for strings only",
        ),
        (
            "ValueSet?url:above=urn:oid:SECRET",
            "value parameter url:above is a URN, which has no parts above or below",
        ),
        (
            "Patient?_text=\"SECRET words",
            "value parameter _text has a quotation mark without its end",
        ),
        ("Patient?_content=(SECRET", "value parameter _content has a parenthesis without its end"),
        ("Patient?_text=. ,SECRET", "value parameter _text lacks a word"),
        ("Patient?_text=SECRET *", "value parameter _text lacks a word"),
        ("Patient?_content=\" . \"", "value parameter _content lacks a word"),
        ("Patient?_text:missing=true", "not-supported parameter _text:missing takes no modifier"),
        (
            "Observation?subject.nothing=SECRET",
            "not-supported parameter subject.nothing is not a search parameter of Device",
        ),
        (
            "Observation?code.nothing=SECRET",
            "not-supported parameter code.nothing goes by a parameter that is no reference",
        ),
        (
            "Observation?subject:Practitioner.name=SECRET",
            "not-supported parameter subject:Practitioner.name never refers to Practitioner",
        ),
        (
            "Observation?subject.birthdate=SECRET",
            "value parameter subject.birthdate is not a date with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap",
        ),
        (
            "Patient?_has:Observation:encounter:code=SECRET",
            "not-supported parameter _has:Observation:encounter:code goes by a parameter that never refers to Patient",
        ),
        (
            "Patient?_has:Observation:code=SECRET",
            "not-supported parameter _has:Observation:code is not _has:Type:reference:parameter with parameters of that type",
        ),
        (
            "Patient?_list=$current-SECRET",
            "not-supported parameter _list is by the id of a stored List: this server keeps no lists of what is current ($current-problems and the like), whose content R4 leaves to each server",
        ),
        ("Observation?code:above=SECRET,", "value parameter code:above has an empty value"),
        (
            "Observation?subject:below=Patient/SECRET",
            "value parameter subject:below is no record whose parts are known (Location, Organization), nor a canonical URL",
        ),
        ("Observation?code=SECRET\\x", "value parameter code has a backslash that escapes nothing"),
        (
            "Patient?_filter=name xx SECRET",
            "value parameter _filter has a test without an operator that _filter knows",
        ),
        (
            "Patient?_filter=(name eq SECRET",
            "value parameter _filter has a parenthesis without its end",
        ),
        ("Patient?_filter=name eq SECRET)", "value parameter _filter has something after its end"),
        (
            "Patient?_filter=name eq",
            "value parameter _filter has a test without an operator that _filter knows",
        ),
        (
            "Patient?_filter=name gt SECRET",
            "not-supported parameter _filter has an operator that does not go with the kind of the parameter",
        ),
        (
            "Patient?_filter=nothing eq SECRET",
            "not-supported parameter _filter names something that is no search parameter of Patient",
        ),
        (
            "Patient?_filter=birthdate ge lt2000-SECRET",
            "value parameter _filter has a prefix where an operator says the same",
        ),
        (
            "Location?near=SECRET",
            "not-supported parameter near cannot be used: distance search is not supported",
        ),
        (
            "Observation?code-value-quantity=SECRET",
            "value parameter code-value-quantity does not have one value for each component, joined by $",
        ),
        (
            "Observation?code-value-quantity=a$SECRET",
            "value parameter code-value-quantity is not [prefix]number or [prefix]number|system|code",
        ),
        (
            "Observation?code-value-quantity=$1",
            "value parameter code-value-quantity has an empty value",
        ),
        (
            "Observation?code-value-quantity:missing=true",
            "not-supported parameter code-value-quantity:missing is a composite, which takes no modifier",
        ),
        (
            "Patient?birthdate=SECRET",
            "value parameter birthdate is not a date with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap",
        ),
        (
            "Patient?birthdate=xx2000-01-01",
            "value parameter birthdate is not a date with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap",
        ),
        (
            "Patient?birthdate=2000-02-30",
            "value parameter birthdate is not a date with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap",
        ),
        (
            "RiskAssessment?probability=SECRET",
            "value parameter probability is not a number with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap",
        ),
        (
            "Observation?value-quantity=1|SECRET",
            "value parameter value-quantity is not [prefix]number or [prefix]number|system|code",
        ),
        (
            "Patient?identifier=a|b|SECRET",
            "value parameter identifier is not code, system|code, |code or system|",
        ),
        ("Patient?identifier=|", "value parameter identifier has an empty value"),
        ("Patient?name=", "value parameter name has an empty value"),
        ("Patient?name=a,,b", "value parameter name has an empty value"),
        (
            "Patient?gender:missing=SECRET",
            "value parameter gender:missing with :missing is not true or false",
        ),
        ("Patient?gender:missing=true,false", "value parameter gender:missing takes one value"),
        ("Patient?_id=SECRET ID", "value parameter _id is not a logical id"),
        (
            "Patient?_id:missing=true",
            "not-supported parameter _id:missing has a modifier that is not supported",
        ),
        (
            "Observation?subject=SECRET ID",
            "value parameter subject is not an id, Type/id or an absolute URL",
        ),
        (
            "Observation?subject:Patient=Group/SECRET",
            "value parameter subject:Patient names another type than its modifier",
        ),
        ("Patient?_sort=SECRET", "value parameter _sort names no search parameter of the type"),
        (
            "Observation?_sort=code-value-quantity",
            "not-supported parameter _sort cannot be by code-value-quantity",
        ),
        ("Patient?_count=SECRET", "value parameter _count is not a whole number"),
        ("Patient?_count=-1", "value parameter _count is not a whole number"),
        ("Patient?_count=1&_count=2", "duplicate parameter _count may be given once"),
        ("Patient?_summary=true", "value parameter _summary is supported as count or false"),
        (
            "Observation?_include=Observation:code",
            "value parameter _include is not *, Type:*, Type:parameter or Type:parameter:Target of a reference parameter",
        ),
        (
            "Observation?_include=Observation:subject:SECRET",
            "value parameter _include has an unknown target type",
        ),
        (
            "Observation?_include=Encounter:subject",
            "not-supported parameter _include must start at the type that is searched",
        ),
        (
            "Patient?SECRET VALUE=1",
            "not-supported parameter (unreadable name) is not a search parameter of Patient",
        ),
        (
            "Patient?a=1&b=2",
            "not-supported parameter a is not a search parameter of Patient; not-supported parameter b is not a search parameter of Patient",
        ),
    ] {
        let got = parse(query).map(|_| ()).unwrap_err();
        assert_eq!(got, want, "{query}");
        assert!(!got.contains("SECRET"));
    }
}

#[test]
fn result_parameters_shape_the_answer() {
    let q = parse("Observation?_sort=-date,_id,status&_count=20&_include=Observation:subject:Patient&_include=Observation:encounter&_page=abc").unwrap();
    let sort: Vec<(&str, bool)> = q.sort.iter().map(|s| (s.on.code(), s.descending)).collect();
    assert_eq!(sort, [("date", true), ("_id", false), ("status", false)]);
    assert_eq!((q.count, q.summary, q.page.as_deref()), (Some(20), Summary::No, Some("abc")));
    assert_eq!(q.include.len(), 2);
    assert_eq!(q.total, Total::IfKnown);
    for (text, total) in
        [("none", Total::None), ("estimate", Total::Estimate), ("accurate", Total::Accurate)]
    {
        assert_eq!(parse(&format!("Patient?_total={text}")).unwrap().total, total);
    }
    let q = parse("Patient?_revinclude=Observation:subject&_revinclude=Condition:patient:Patient&_revinclude=Observation:subject").unwrap();
    assert_eq!((q.include.len(), q.revinclude.len()), (0, 2));
    assert_eq!(q.revinclude[0].source, Some(ty("Observation")));
    let q =
        parse("Observation?_include=Observation:subject:Patient&_include=Observation:encounter")
            .unwrap();
    assert_eq!(q.include[0].target, Some(ty("Patient")));
    assert_eq!(q.include[1].param, param(ty("Observation"), "encounter"));
    let q = parse("Observation?_include=*&_include=Observation:*&_include:iterate=Patient:organization&_revinclude=Provenance:*").unwrap();
    assert_eq!((q.include.len(), q.revinclude.len()), (3, 1));
    assert_eq!(q.include[0].source, None);
    assert!(q.include[1].param.is_none() && q.include[2].iterate);
    assert_eq!(parse("Patient?_summary=count").unwrap().summary, Summary::Count);
    assert_eq!(parse("Patient?_summary=false").unwrap().summary, Summary::No);
    let none = parse("Patient?_count=0").unwrap();
    assert_eq!((none.summary, none.count), (Summary::Count, None));
}

#[test]
fn a_query_needs_the_classes_of_all_it_looks_at() {
    use DataClass::*;
    let needs = |q: &str| parse(q).unwrap().required_classes();
    assert_eq!(needs("Condition?patient=1"), ClassSet::of(Administrative));
    assert_eq!(needs("Condition?code=x"), ClassSet::of(Clinical));
    assert_eq!(needs("Condition?_sort=onset-date"), ClassSet::of(Clinical));
    assert_eq!(needs("Patient?name=x&phone=1"), ClassSet::of(Demographic).with(Contact));
    assert_eq!(needs("Patient?identifier=x"), ClassSet::of(Identifier).with(GovernmentIdentifier));
    assert_eq!(needs("Patient?_id=x&_lastUpdated=2020"), ClassSet::of(Administrative));
    let q = parse("Patient?name=x&name=y&_sort=name,_id").unwrap();
    assert_eq!(q.params(), [On::Id, On::Param(param(ty("Patient"), "name").unwrap())]);
}

#[test]
fn a_filter_by_time_orders_what_names_no_order() {
    let order = |q: &str| {
        let mut q = parse(q).unwrap();
        q.order_by_time();
        let by = |s: &phial_fhir::search::SortKey| {
            format!("{}{}", if s.descending { "-" } else { "" }, s.on.code())
        };
        q.sort.iter().map(by).collect::<Vec<_>>().join(",")
    };
    for (query, by) in [
        ("Observation?date=2020-05", "date"),
        ("Observation?code=x&date=ge2020&date=lt2021", "date"),
        ("Condition?onset-date=lt2020", "onset-date"),
        // An order of its own stands, and without a filter by time there is none.
        ("Observation?date=2020&_sort=-date", "-date"),
        ("Observation?date=2020&_sort=_id", "_id"),
        ("Observation?code=x", ""),
        ("Observation?date:missing=true", ""),
        ("Condition?recorded-date=2020", ""),
        ("Patient?birthdate=2020", ""),
    ] {
        assert_eq!(order(query), by, "{query}");
    }
}

#[test]
fn the_canonical_text_tells_queries_apart_and_only_by_what_they_ask() {
    let same = |a: &str, b: &str| parse(a).unwrap().canonical() == parse(b).unwrap().canonical();
    assert!(same("Patient?name=a&gender=male", "Patient?gender=male&name=a"));
    assert!(same("Patient?name=a,b", "Patient?name=b,a"));
    assert!(same("Patient?name=a&_count=5", "Patient?name=a&_count=9&_page=x&_format=json"));
    assert!(same("Observation?patient=1", "Observation?patient=Patient/1"));
    for (a, b) in [
        ("Patient?name=a", "Patient?name=b"),
        ("Patient?name=a", "Person?name=a"),
        ("Patient?name=a,b", "Patient?name=a&name=b"),
        ("Patient?name=a", "Patient?name:exact=a"),
        ("Patient?name=a", "Patient?given=a"),
        (r"Patient?name=a\,s1:b", "Patient?name=a,b"),
        ("Patient?identifier=a", "Patient?identifier=|a"),
        ("Patient?identifier=a|", "Patient?identifier=a"),
        ("Patient?_sort=name", "Patient?_sort=-name"),
        ("Patient?_sort=name,gender", "Patient?_sort=gender,name"),
        ("Patient?birthdate=2000", "Patient?birthdate=gt2000"),
        ("Patient?", "Patient?_summary=count"),
        (
            "Observation?_include=Observation:subject",
            "Observation?_include=Observation:subject:Patient",
        ),
        ("Observation?value-quantity=1", "Observation?value-quantity=1.0"),
        ("Observation?code-value-concept=a$b", "Observation?code-value-concept=b$a"),
        (r"Observation?code-value-concept=a\$b$c", r"Observation?code-value-concept=a$b\$c"),
        ("Patient?", "Patient?_revinclude=Observation:patient"),
    ] {
        assert!(!same(a, b), "{a} and {b}");
    }
    let mut q = Query::all(ty("Condition"));
    let bare = q.canonical();
    q.compartment = Some((ty("Patient"), LogicalId::new("1").unwrap()));
    assert_ne!(q.canonical(), bare);
}

#[test]
fn too_many_alternatives_are_refused() {
    let many = vec!["x".to_owned(); 10]
        .into_iter()
        .enumerate()
        .map(|(n, x)| format!("{x}{n}"))
        .collect::<Vec<_>>();
    let pair = ("name".to_owned(), many.join(","));
    assert!(parse_query(ty("Patient"), &vec![pair.clone(); 100]).is_ok());
    let issues = parse_query(ty("Patient"), &vec![pair; 101]).unwrap_err();
    assert_eq!(issues[0].code.code(), "too-costly");
}
