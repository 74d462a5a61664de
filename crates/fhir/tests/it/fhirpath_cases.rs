//! Our own cases of FHIRPath, which run without HL7's suite: what an expression gives for
//! one small resource, how errors speak, that limits end what is hostile, and that results
//! point at places.

use std::cell::RefCell;

use phial_fhir::fhirpath::{
    Context, ErrorKind, Expression, Host, Item, Limits as Bounds, ManyAs, Moment, Place, Value,
};
use phial_fhir::{Doc, Limits, TypeId};
use proptest::prelude::*;

const PATIENT: &str = r##"{"resourceType":"Patient","id":"p","active":true,
    "contained":[{"resourceType":"Organization","id":"o","name":"Clinic"}],
    "text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},
    "extension":[{"url":"http://x/size","valueQuantity":{"value":1.80,"unit":"m","system":"http://unitsofmeasure.org","code":"m"}},
        {"url":"http://x/n","valueInteger":3}],
    "name":[{"use":"official","family":"Zimt","given":["Ada","Bo"]},{"use":"usual","given":["Ada"],"_given":[{"extension":[{"url":"http://x/e","valueString":"e"}]}]}],
    "_birthDate":{"extension":[{"url":"http://x/t","valueDateTime":"2001-02-03T04:05:00Z"}]},
    "gender":"female","deceasedBoolean":false,"multipleBirthInteger":2,
    "managingOrganization":{"reference":"#o"},
    "generalPractitioner":[{"reference":"Practitioner/9"}]}"##;

fn doc(text: &str) -> Doc {
    Doc::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn start(doc: &Doc) -> Item<'_> {
    Item::Place(Place::resource(doc.root()).unwrap())
}

/// The texts of what is found; of elements, their paths.
fn found(expression: &str) -> Vec<String> {
    let doc = doc(PATIENT);
    let context =
        Context { now: Moment::date_time("2026-11-22T20:00:00.000+01:00"), ..Context::default() };
    let items = Expression::parse(expression).unwrap().evaluate(&context, &[start(&doc)]).unwrap();
    let text = |i: &Item<'_>| i.value().and_then(|v| v.text().map(|t| t.into_owned()));
    let path = |i: &Item<'_>| i.place().map(Place::path).unwrap_or_default();
    items.iter().map(|i| text(i).unwrap_or_else(|| path(i))).collect()
}

fn error(expression: &str) -> ErrorKind {
    let doc = doc(PATIENT);
    let parsed = match Expression::parse(expression) {
        Ok(parsed) => parsed,
        Err(error) => return error.kind,
    };
    parsed.evaluate(&Context::default(), &[start(&doc)]).unwrap_err().kind
}

#[test]
fn expressions_give_what_they_should() {
    for (expression, want) in [
        ("name.given", &["Ada", "Bo", "Ada"][..]),
        ("Patient.name", &["Patient.name[0]", "Patient.name[1]"]),
        ("DomainResource.id", &["p"]),
        ("deceased", &["false"]),
        ("deceased is boolean", &["true"]),
        ("deceased is Boolean", &["false"]),
        ("multipleBirth as integer", &["2"]),
        ("multipleBirth.ofType(boolean)", &[]),
        ("birthDate", &["Patient.birthDate"]),
        ("birthDate.hasValue()", &["false"]),
        ("birthDate.extension('http://x/t').value", &["2001-02-03T04:05:00Z"]),
        ("birthDate.extension('http://x/t').value < now()", &["true"]),
        ("birthDate < today()", &[]),
        ("name[1].given.extension.value", &["e"]),
        ("extension('http://x/size').value", &["1.80 'm'"]),
        ("extension('http://x/size').value > 179 'cm'", &["true"]),
        ("extension('http://x/size').value.value.toString()", &["1.80"]),
        ("extension('http://x/size').value is Quantity", &["true"]),
        ("extension('http://x/size').value is FHIR.Quantity", &["true"]),
        ("extension('http://x/size').value is System.Quantity", &["false"]),
        ("managingOrganization.resolve().name", &["Clinic"]),
        ("managingOrganization.resolve() is Organization", &["true"]),
        ("generalPractitioner.resolve()", &[]),
        ("contained.select(%resource.id & '/' & id & '/' & %rootResource.id)", &["p/o/p"]),
        ("%`vs-administrative-gender`", &["http://hl7.org/fhir/ValueSet/administrative-gender"]),
        ("%vs-administrative-gender", &["http://hl7.org/fhir/ValueSet/administrative-gender"]),
        ("%ext-a-b", &["http://hl7.org/fhir/StructureDefinition/a-b"]),
        ("gender.memberOf(%vs-administrative-gender)", &["true"]),
        ("'wibble'.memberOf(%vs-administrative-gender)", &["false"]),
        ("conformsTo('http://hl7.org/fhir/StructureDefinition/DomainResource')", &["true"]),
        ("text.`div`.htmlChecks()", &["true"]),
        ("type().name", &["Patient"]),
        ("active.type().namespace & '.' & active.type().name", &["FHIR.boolean"]),
        ("name.given.aggregate($total & $this, '')", &["AdaBoAda"]),
        ("(1 | 2 | 3 | 4).aggregate($this + $total, 0)", &["10"]),
        ("iif(active, 'yes', 1 / 0)", &["yes"]),
        ("repeat(contained | managingOrganization).count()", &["2"]),
        ("name.where(given contains 'Bo').family", &["Zimt"]),
        ("name.select(given.count())", &["2", "1"]),
        ("name.sort(use).use", &["official", "usual"]),
        ("name.sort(-use).use", &["usual", "official"]),
        ("children().where($this is HumanName).count()", &["2"]),
        ("descendants().where($this is HumanName).count()", &["2"]),
        ("0.1 + 0.2", &["0.3"]),
        ("1.10 * 1.0", &["1.100"]),
        ("7 div 2", &["3"]),
        ("-7.5 mod 2", &["-1.5"]),
        ("1 / 3 * 3 ~ 1", &["true"]),
        ("2147483647 + 1", &[]),
        ("@2024-02-29 + 1 year", &["2025-02-28"]),
        ("@T23:59 + 2 minutes", &["00:01"]),
        ("1 'kg' = 1000 'g'", &["true"]),
        ("1 'kg' + 1 'g'", &["1.001 'kg'"]),
        ("1 'kg' + 1 's'", &[]),
        ("6 'km' / 2 'h' = 3000 'm/h'", &["true"]),
        ("6 'km' / 2 'h'", &["3 'km/h'"]),
        ("1 'g' / 1 'mol/L' = 1 'g.L/mol'", &["true"]),
        ("12 months = 1 year", &["true"]),
        ("1 year = 365 days", &[]),
        ("'🔥🔥'.matches('^🔥+$')", &["true"]),
        ("'äöü'.substring(1, 1) & 'äöü'.length()", &["ö3"]),
        ("'a,b'.split(',').join(';')", &["a;b"]),
        ("'2014-03'.toDate() + 1 month", &["2014-04"]),
        ("'abc'.replaceMatches('(?<x>b)', '[${x}]')", &["a[b]c"]),
        ("{} = 1", &[]),
        ("true or {}", &["true"]),
        ("$this.id", &["p"]),
        ("name.select($index)", &["0", "1"]),
    ] {
        assert_eq!(found(expression), want, "{expression}");
    }
}

#[test]
fn errors_name_the_kind_and_the_place_and_no_value() {
    use ErrorKind as K;
    for (expression, want) in [
        ("", K::Syntax("the expression ends too early")),
        ("name.", K::Syntax("a name is missing")),
        ("'a", K::Syntax("a text without an end")),
        ("@2014-13", K::Syntax("a date or time that does not exist")),
        ("99999999999", K::Limit("large a number")),
        ("wibble()", K::UnknownFunction("wibble".into())),
        ("where()", K::Arguments("where")),
        ("id is Wibble", K::UnknownType("Wibble".into())),
        ("%wibble", K::UnknownVariable("wibble".into())),
        ("%'Zimt; DROP'", K::UnknownVariable("(unknown)".into())),
        ("name.single()", K::Singleton("single")),
        ("name.as(HumanName)", K::Singleton("as")),
        ("name[0] < 1", K::Type("a comparison")),
        ("name[0].family + 1", K::Type("this operator")),
        ("'a'.matches('(')", K::Operation("not a regular expression")),
        ("@2014 + 1 'kg'", K::Operation("a unit that no date or time moves by")),
        ("now()", K::Missing("the time")),
        ("gender.memberOf('http://x/vs')", K::Missing("this value set")),
        ("conformsTo('http://x/profile')", K::Missing("this profile")),
    ] {
        assert_eq!(error(expression), want, "{expression}");
    }
    let text = Expression::parse("name.family.foo('Zimt')").unwrap_err().to_string();
    assert_eq!(text, "no function foo() (at byte 12 of the expression)");
}

#[test]
fn a_checked_expression_names_elements_that_exist() {
    let patient = TypeId::from_name("Patient").unwrap();
    for good in [
        "name.given.first()",
        "deceased.ofType(dateTime)",
        "contained.anything.else",
        "link.other.resolve().x",
    ] {
        Expression::parse(good).unwrap().check(patient).unwrap();
    }
    for bad in [
        "name.givn",
        "Observation.code",
        "deceasedBoolean",
        "children().first()",
        "(deceased as dateTime).unit",
    ] {
        assert!(Expression::parse(bad).unwrap().check(patient).is_err(), "{bad}");
    }
}

#[test]
fn many_items_are_filtered_by_as_only_where_the_caller_says_so() {
    let doc = doc(PATIENT);
    let context = Context { many_as: ManyAs::Filter, ..Context::default() };
    let all = Expression::parse("extension.value as Quantity").unwrap();
    assert_eq!(all.evaluate(&context, &[start(&doc)]).unwrap().len(), 1);
    assert!(all.evaluate(&Context::default(), &[start(&doc)]).is_err());
}

#[test]
fn results_point_at_their_places() {
    let doc = doc(PATIENT);
    let expression = Expression::parse("name.given").unwrap();
    let items = expression.evaluate(&Context::default(), &[start(&doc)]).unwrap();
    let place = items[1].place().unwrap();
    assert_eq!(place.path(), "Patient.name[0].given[1]");
    assert_eq!(&doc.text()[place.node().unwrap().range()], "\"Bo\"");
    assert_eq!(items[2].place().unwrap().side().unwrap().kind(), phial_fhir::Kind::Object);
    assert!(!format!("{items:?}").contains("Bo"));
}

/// A host that knows one practitioner, and keeps what it was shown.
struct Known<'a> {
    practitioner: Place<'a>,
    traced: RefCell<Vec<(String, usize)>>,
}

impl<'a> Host<'a> for Known<'a> {
    fn resolve(&self, _item: &Item<'a>, url: Option<&str>) -> Option<Place<'a>> {
        (url == Some("Practitioner/9")).then_some(self.practitioner)
    }

    fn member_of(&self, _item: &Item<'a>, value_set: &str) -> Option<bool> {
        Some(value_set == "http://x/vs")
    }

    fn subsumes(&self, _above: &Item<'a>, _below: &Item<'a>) -> Option<bool> {
        Some(true)
    }

    fn conforms_to(&self, _item: &Item<'a>, profile: &str) -> Option<bool> {
        Some(profile == "http://x/profile")
    }

    fn trace(&self, name: &str, items: &[Item<'a>]) {
        self.traced.borrow_mut().push((name.to_owned(), items.len()));
    }
}

#[test]
fn what_lies_outside_is_asked_of_the_host() {
    let (patient, other) = (doc(PATIENT), doc(r#"{"resourceType":"Practitioner","id":"9"}"#));
    let host =
        Known { practitioner: Place::resource(other.root()).unwrap(), traced: RefCell::default() };
    let context = Context { host: Some(&host), ..Context::default() };
    for expression in [
        "generalPractitioner.resolve().id = '9'",
        "generalPractitioner.resolve() is Practitioner",
        "gender.memberOf('http://x/vs')",
        "gender.subsumes('female')",
        "conformsTo('http://x/profile')",
        "name.trace('names').count() = 2",
        "name.trace('given', given).count() = 2",
    ] {
        let parsed = Expression::parse(expression).unwrap();
        assert!(parsed.holds(&context, &[start(&patient)]).unwrap(), "{expression}");
    }
    let traced = host.traced.into_inner();
    assert_eq!(traced, [("names".to_owned(), 2), ("given".to_owned(), 3)]);
}

#[test]
fn limits_end_what_is_hostile() {
    let doc = doc(PATIENT);
    let limits = Bounds { steps: 200_000, items: 10_000, text: 100_000 };
    let end = |text: &str| {
        let parsed = match Expression::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => return error.kind,
        };
        let context = Context { limits, ..Context::default() };
        parsed.evaluate(&context, &[start(&doc)]).unwrap_err().kind
    };
    let doubled = format!("'a'{}", ".replace('a', 'aa')".repeat(40));
    assert_eq!(end(&doubled), ErrorKind::Limit("long a text"));
    let grown = format!("(1|2){}", ".select(1|2|3|4|5|6|7|8)".repeat(40));
    assert!(matches!(end(&grown), ErrorKind::Limit("many items" | "many steps")));
    assert_eq!(end("1.repeat($this + 1)"), ErrorKind::Limit("many steps"));
    let named = "'aaaaaaaaaa'.replaceMatches('.*', '$0$0$0$0$0$0$0$0$0$0')";
    assert_eq!(
        end(&format!("{named}{}", ".replaceMatches('.*', '$0$0$0$0$0$0$0$0$0$0')".repeat(9))),
        ErrorKind::Limit("long a text")
    );
    assert_eq!(
        end("'a'.matches('((a{1000}){1000}){1000}')"),
        ErrorKind::Operation("not a regular expression")
    );
    for deep in [
        format!("{}1{}", "(".repeat(5000), ")".repeat(5000)),
        "-".repeat(5000) + "1",
        "a".to_owned() + &".a".repeat(5000),
        "1".to_owned() + &" + 1".repeat(5000),
        "a".to_owned() + &"[0]".repeat(5000),
        "iif(".repeat(5000),
        "not()".to_owned() + &".not()".repeat(2000),
    ] {
        assert_eq!(end(&deep), ErrorKind::Limit("deep an expression"), "{}", &deep[..20]);
    }
    assert_eq!(end(&"1 ".repeat(40_000)), ErrorKind::Limit("long an expression"));
}

#[test]
fn what_is_as_deep_as_may_be_is_evaluated_on_a_small_stack() {
    let run = || {
        let doc = doc(PATIENT);
        for (text, want) in [
            ("iif(true, ".repeat(120) + "1" + &")".repeat(120), "1"),
            ("1 + (".repeat(60) + "1" + &")".repeat(60), "61"),
            ("$this.select(".repeat(60) + "id" + &")".repeat(60), "p"),
            ("id".to_owned() + &".first()".repeat(120), "p"),
            ("(".repeat(120) + "id" + &")".repeat(120), "p"),
            ("1".to_owned() + &" + 1".repeat(120), "121"),
        ] {
            let parsed = Expression::parse(&text).unwrap();
            parsed.check(TypeId::from_name("Patient").unwrap()).unwrap();
            let items = parsed.evaluate(&Context::default(), &[start(&doc)]).unwrap();
            assert_eq!(items[0].value().unwrap().text().unwrap(), want);
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

/// Pieces that expressions are made of.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "name",
        "given",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "|",
        "+",
        "-",
        "*",
        "/",
        "&",
        "=",
        "~",
        "!=",
        "!~",
        "<",
        ">=",
        " and ",
        " or ",
        " implies ",
        " is ",
        " as ",
        " in ",
        " contains ",
        " div ",
        " mod ",
        "where",
        "select",
        "repeat",
        "iif",
        "resolve()",
        "$this",
        "$index",
        "$total",
        "%resource",
        "%context",
        "%ucum",
        "1",
        "0",
        "2.5",
        "'a'",
        "'",
        "`x`",
        "@2014",
        "@T10:30",
        "@2014-01-01T10:00:00Z",
        " days",
        "'mg'",
        ",",
        "true",
        "Patient",
        "Quantity",
        "children()",
        "descendants()",
        "toString()",
        "sort",
        "aggregate",
        "matches",
        "replace",
        "substring",
        "lowBoundary()",
        "power",
        "ofType",
        "extension",
        "distinct()",
        "exists()",
        "not()",
        "/*",
        "//",
        "\\",
        "\u{1f525}",
        "%",
        "$",
        "@",
        "first()",
        "toQuantity()",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
        let _ = Expression::parse(&text);
    }

    #[test]
    fn whatever_parses_is_checked_and_evaluated_to_an_end(
        pieces in prop::collection::vec(piece(), 1..14),
    ) {
        let text = pieces.concat();
        if let Ok(parsed) = Expression::parse(&text) {
            let doc = doc(PATIENT);
            let limits = Bounds { steps: 50_000, items: 5_000, text: 50_000 };
            let context =
                Context { limits, now: Moment::date_time("2026-11-22T20:00:00Z"), ..Context::default() };
            let _ = parsed.check(TypeId::from_name("Patient").unwrap());
            let _ = parsed.evaluate(&context, &[start(&doc)]);
        }
    }

    #[test]
    fn arithmetic_on_any_numbers_and_dates_ends_without_panic(
        a in "-?[0-9]{1,38}(\\.[0-9]{1,30})?",
        b in "-?[0-9]{1,20}(\\.[0-9]{1,30})?",
        y in "[0-9]{4}(-[0-1][0-9](-[0-3][0-9](T[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,12})?)?(Z|\\+[0-1][0-9]:[0-5][0-9])?)?)?)?",
        unit in prop::sample::select(vec!["years", "months", "weeks", "days", "hours", "seconds", "\\'mg\\'", "\\'m2\\'", "\\'Cel\\'"]),
        op in prop::sample::select(vec!["+", "-", "*", "/", "div", "mod", "=", "~", "<", ">="]),
    ) {
        let doc = doc(PATIENT);
        let n = |t: &str| format!("'{t}'.toDecimal()");
        for text in [
            format!("{} {op} {}", n(&a), n(&b)),
            format!("{}.power({})", n(&a), n(&b)),
            format!("{}.round(3) | {}.sqrt() | {}.lowBoundary() | {}.ln()", n(&a), n(&a), n(&b), n(&a)),
            format!("'{y}'.toDateTime() {op} '{b} {unit}'.toQuantity()"),
            format!("'{y}'.toDateTime() {op} now()"),
            format!("'{a} {unit}'.toQuantity() {op} '{b} days'.toQuantity()"),
        ] {
            let context = Context { now: Moment::date_time("2026-11-22T20:00:00Z"), ..Context::default() };
            let parsed = Expression::parse(&text).unwrap();
            let _ = parsed.evaluate(&context, &[start(&doc)]);
        }
    }
}

#[test]
fn a_value_can_be_the_input() {
    let parsed = Expression::parse("$this + 1").unwrap();
    let got = parsed.evaluate(&Context::default(), &[Item::Value(Value::Integer(41))]).unwrap();
    assert_eq!(got[0].value().unwrap().text().unwrap(), "42");
}
