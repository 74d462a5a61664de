//! The parser accepts what JSON is and refuses the rest, with the place.

use phial_fhir::{Doc, IssueCode, Kind, Limits};
use proptest::prelude::*;

fn parse(input: &[u8]) -> Result<Doc, (String, &'static str)> {
    Doc::parse(input, &Limits::default()).map_err(|mut issues| {
        assert_eq!(issues.len(), 1);
        let issue = issues.remove(0);
        (issue.path, issue.code.code())
    })
}

#[test]
fn bad_json_is_refused_with_its_place() {
    let rows: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"   ", ""),
        (b"\xef\xbb\xbf{}", ""),
        (b"{} {}", ""),
        (b"{}x", ""),
        (b"nul", ""),
        (b"tru", ""),
        (b"NaN", ""),
        (b"'a'", ""),
        (b"[", "[0]"),
        (b"[1", "[0]"),
        (b"[1,", "[1]"),
        (b"[1,]", "[1]"),
        (b"[1 2]", "[0]"),
        (b"[1}", "[0]"),
        (b"[01]", "[0]"),
        (b"[-]", "[0]"),
        (b"[1.]", "[0]"),
        (b"[.5]", "[0]"),
        (b"[1e]", "[0]"),
        (b"[+1]", "[0]"),
        (b"[0x1]", "[0]"),
        (b"{", ""),
        (b"{a:1}", ""),
        (b"{\"a\"}", "a"),
        (b"{\"a\" 1}", "a"),
        (b"{\"a\":}", "a"),
        (b"{\"a\":1,}", "a"),
        (b"{\"a\":1 \"b\":2}", "a"),
        (b"{\"a\":1]", "a"),
        (b"{\"a\":[{\"b\":[1,tru]}]}", "a[0].b[1]"),
        (b"[\"\\x\"]", "[0]"),
        (b"[\"\\u12\"]", "[0]"),
        (b"[\"\\ud800\"]", "[0]"),
        (b"[\"\\ud800\\u0041\"]", "[0]"),
        (b"[\"\\udc00\"]", "[0]"),
        (b"[\"\\", "[0]"),
        (b"[\"a\nb\"]", "[0]"),
        (b"[\"a", "[0]"),
        (b"{\"a\":\"\xff\"}", "a"),
        (b"{\"a\":1,\"b\":2,\"a\":3}", "a"),
        (b"{\"a\":1,\"\\u0061\":3}", "a"),
        (
            b"{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"x\",]}]}",
            "Patient.name[0].given[1]",
        ),
        (b"{\"resourceType\":\"Patient\",\"name\":[{\"use\":1,\"use\":2}]}", "Patient.name[0].use"),
        (b"{\"resourceType\":\"Patient\",\"Anna Smith 1970\":tru}", "Patient.(unknown)"),
    ];
    for (input, path) in rows {
        let got = parse(input).unwrap_err();
        assert_eq!(got, ((*path).to_owned(), "structure"), "{}", String::from_utf8_lossy(input));
    }
}

#[test]
fn text_is_minified_and_otherwise_as_sent() {
    let rows = [
        (" { } ", "{}"),
        ("[ ]", "[]"),
        (
            "{ \"a\" : [ 1 , 2.50 , -0 , 1E+2 ] , \"b\" : { \"c\" : null } }",
            "{\"a\":[1,2.50,-0,1E+2],\"b\":{\"c\":null}}",
        ),
        ("[\" a \\u0041 \\/ \"]", "[\" a \\u0041 \\/ \"]"),
        ("{\"\\u0061\\/\\u0001\" : true, \"z\": false}", "{\"a/\\u0001\":true,\"z\":false}"),
    ];
    for (input, want) in rows {
        let doc = parse(input.as_bytes()).unwrap();
        assert_eq!(doc.text(), want);
        assert_eq!(doc.root().text(), want);
    }
}

#[test]
fn nodes_give_values_names_and_ranges() {
    let doc =
        parse(b"{ \"a\": [ 1, \"x\\n\\ud83d\\ude00\", true ], \"b\": {}, \"c\": null }").unwrap();
    let root = doc.root();
    let names: Vec<_> = root.members().map(|(n, v)| (n, v.kind())).collect();
    assert_eq!(names, [("a", Kind::Array), ("b", Kind::Object), ("c", Kind::Null)]);
    let a = root.member("a").unwrap();
    let items: Vec<_> = a.items().collect();
    assert_eq!(items[0].number_text(), Some("1"));
    assert_eq!(items[1].as_str().unwrap(), "x\n\u{1f600}");
    assert_eq!(items[2].as_bool(), Some(true));
    assert_eq!(&doc.text()[a.range()], a.text());
    assert!(root.member("b").unwrap().is_empty() && !a.is_empty());
    assert!(root.member("d").is_none() && a.member("a").is_none());
    assert_eq!(a.members().count() + root.items().count() + items[0].items().count(), 0);
}

#[test]
fn a_value_becomes_a_document_of_its_own() {
    let doc = parse(b"{\"entry\": [1, {\"a\": [true, {\"b\": \"c\"}]}]}").unwrap();
    let inner = doc.root().member("entry").unwrap().items().nth(1).unwrap();
    let own = Doc::from_node(inner);
    assert_eq!(own.text(), "{\"a\":[true,{\"b\":\"c\"}]}");
    let b = own.root().member("a").unwrap().items().nth(1).unwrap().member("b").unwrap();
    assert_eq!((b.as_str().unwrap().as_ref(), b.name()), ("c", "b"));
    assert_eq!(own.root().name(), "");
}

#[test]
fn limits_are_held() {
    let check = |input: &[u8], limits: Limits| {
        let issue = Doc::parse(input, &limits).unwrap_err().remove(0);
        (issue.code, issue.path)
    };
    let limits = Limits { max_bytes: 10, max_depth: 3, max_elements: 5 };
    assert_eq!(check(b"[1,2,3,4,5]", limits), (IssueCode::TooLong, String::new()));
    assert_eq!(check(b"[[[[1]]]]", limits), (IssueCode::TooCostly, "[0][0][0]".to_owned()));
    assert_eq!(check(b"[1,2,3,4,5]", Limits { max_bytes: 99, ..limits }).0, IssueCode::TooCostly);
    assert!(Doc::parse(b"[[[1]]]", &limits).is_ok());
    let deep = "[".repeat(100_000);
    assert_eq!(parse(deep.as_bytes()).unwrap_err().1, "too-costly");
}

#[test]
fn many_members_are_compared_quickly_and_rightly() {
    let names: Vec<String> = (0..50_000).map(|i| format!("\"n{i}\":0")).collect();
    let good = format!("{{{}}}", names.join(","));
    assert_eq!(parse(good.as_bytes()).unwrap().root().members().count(), 50_000);
    let bad = format!("{{{},\"n777\":1}}", names.join(","));
    assert_eq!(parse(bad.as_bytes()).unwrap_err(), ("n777".to_owned(), "structure"));
}

#[test]
fn debug_shows_no_content() {
    let doc = parse(b"{\"family\":\"Garcia\"}").unwrap();
    let shown = format!("{doc:?} {:?}", doc.root());
    assert!(!shown.contains("Garcia") && !shown.contains("family"));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Number, Value};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Number(n.into())),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Whether some object has a name twice; serde_json keeps the last one in silence.
fn has_duplicates(text: &[u8]) -> bool {
    parse(text).is_err_and(|e| e.1 == "structure")
        && Doc::parse(text, &Limits::default())
            .is_err_and(|i| i[0].text == "a member name occurs twice")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn json_like_text_is_judged_as_serde_json_does(text in "[\\[\\]{}:,\"\\\\ \\nabu01e.+\\-trufalsen]{0,40}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let ours = parse(text.as_bytes());
        let range = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        if !range && !has_duplicates(text.as_bytes()) {
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text);
        }
    }

    #[test]
    fn json_is_accepted_and_minifying_twice_changes_nothing(v in value(), cut in any::<prop::sample::Index>()) {
        let pretty = serde_json::to_string_pretty(&v).unwrap();
        let doc = parse(pretty.as_bytes()).unwrap();
        prop_assert_eq!(doc.text(), serde_json::to_string(&v).unwrap());
        let again = parse(doc.text().as_bytes()).unwrap();
        prop_assert_eq!(again.text(), doc.text());
        // Text that is cut short is refused, unless what is left is a whole value.
        let bytes = doc.text().as_bytes();
        let part = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(parse(part).is_ok(), serde_json::from_slice::<serde_json::Value>(part).is_ok());
    }

    #[test]
    fn strings_are_decoded_as_serde_json_does(s in any::<String>()) {
        let escaped: String = s.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
        for text in [serde_json::to_string(&s).unwrap(), format!("\"{escaped}\"")] {
            let doc = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(doc.root().as_str().unwrap(), s.as_str());
        }
        // As a member name, both spellings are one name.
        let twice = format!("{{{}:1,\"{escaped}\":2}}", serde_json::to_string(&s).unwrap());
        prop_assert!(parse(twice.as_bytes()).is_err());
    }
}
