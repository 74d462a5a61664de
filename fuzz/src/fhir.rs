//! The pure readers of the `fhir` crate.

use phial_base::ClassSet;
use phial_fhir::definitions::ResourceType;
use phial_fhir::fhirpath::{self, Context, Expression, Item, ManyAs, Place};
use phial_fhir::search::{extract, extract_again, parse_query, readable_classes};
use phial_fhir::split::{Known, Mark, Piece, Short, shorten, splice, split};
use phial_fhir::validate::validate;
use phial_fhir::{Doc, Limits};

/// A document as a client sends it: parsed, validated, split, spliced, its search
/// values extracted. What parses is kept to the byte but for white space; what splits
/// comes together again to the byte; no part of a message is longer than a message is.
pub fn json(data: &[u8]) {
    let doc = match Doc::parse(data, &Limits::default()) {
        Ok(doc) => doc,
        Err(issues) => return assert!(!issues.is_empty(), "refused without a reason"),
    };
    let again = Doc::parse(doc.text().as_bytes(), &Limits::default()).expect("parses again");
    assert_eq!(again.text(), doc.text(), "parsing changed the text");
    let valid = match validate(doc) {
        Ok(valid) => valid,
        Err(issues) => return assert!(!issues.is_empty(), "refused without a reason"),
    };
    let pieces = split(&valid);
    let known = Known::new("00000000-0000-0000-0000-000000000000", valid.id(), 0);
    let short: Vec<Short> = pieces.segments.iter().map(|(_, s)| shorten(s, &known)).collect();
    let piece = |class| {
        let at = pieces.segments.iter().position(|(c, _)| *c == class)?;
        short.get(at).map(|s| Piece { dense: &s.dense, text: &s.text })
    };
    let join = |classes: ClassSet, mark| {
        let piece = |class| if classes.has(class) { piece(class) } else { None };
        splice(&pieces.plan, pieces.classes, &known, &piece, mark).expect("splices")
    };
    let whole = join(ClassSet::ALL, Mark::Subsetted);
    assert_eq!(whole.body, valid.text().as_bytes(), "splitting lost something");
    assert_eq!(whole.withheld, ClassSet::NONE, "nothing was withheld");
    let nothing = Doc::parse(&join(ClassSet::NONE, Mark::Subsetted).body, &Limits::default());
    nothing.expect("what is left without any segment is JSON");

    let ty = valid.resource_type();
    let readable = join(readable_classes(ty), Mark::Nothing).body;
    let readable = Doc::parse(&readable, &Limits::default()).expect("what is indexed is JSON");
    assert!(extract_again(&readable, ty) == extract(&valid), "the index would be another");
}

/// An expression and a document, with a zero byte between: parsed, checked against the
/// document's type, evaluated with little room. Every place of the outcome has a
/// path. That no message repeats the document is tested where messages are made.
pub fn fhirpath(data: &[u8]) {
    let at = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    let (text, document) = data.split_at(at);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(expression) = Expression::parse(text) else { return };
    assert_eq!(expression.text(), text, "an expression keeps its text");
    let document = document.get(1..).unwrap_or_default();
    let document = Doc::parse(document, &Limits::default()).ok();
    let input: Vec<Item<'_>> =
        document.iter().filter_map(|d| Place::resource(d.root())).map(Item::Place).collect();
    if let Some(Item::Place(place)) = input.first() {
        let _ = expression.check(place.type_id());
    }
    let limits = fhirpath::Limits { steps: 200_000, items: 20_000, text: 1 << 16 };
    for many_as in [ManyAs::Error, ManyAs::Filter] {
        let context = Context { limits, many_as, ..Context::default() };
        if let Ok(found) = expression.evaluate(&context, &input) {
            assert!(found.len() <= 20_000, "more items than allowed");
            for place in found.iter().filter_map(Item::place) {
                assert!(!place.path().is_empty(), "a place without a path");
            }
        }
    }
}

/// A type's number, then a `_filter`: read, and again as its canonical form is taken; it
/// stands for no more tests than a query may have.
pub fn filter(data: &[u8]) {
    let Some((number, text)) = data.split_first() else { return };
    let all = ResourceType::all();
    let at = usize::from(*number) % all.len();
    let Some(ty) = ResourceType::all().nth(at) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let pair = [("_filter".to_owned(), text.to_owned())];
    match parse_query(ty, &pair) {
        Ok(query) => {
            let mut looks = 0;
            query.each_look(&mut |_, _| looks += 1);
            assert!(looks <= 4_000, "a filter that stands for too much");
            let canonical = query.canonical();
            let again = parse_query(ty, &pair).expect("parses again");
            assert_eq!(again.canonical(), canonical, "one filter has one canonical form");
        }
        Err(issues) => {
            assert_eq!(issues.len(), 1, "one parameter, one reason");
            // What is too much is said of the query as a whole.
            let named = issues.iter().all(|i| i.path == "_filter" || i.path.is_empty());
            assert!(named, "the reason names its place");
        }
    }
}

/// A type's number, then a query as a form: parsed as a search, its canonical form
/// taken.
pub fn search(data: &[u8]) {
    let Some((number, form)) = data.split_first() else { return };
    let all = ResourceType::all();
    let at = usize::from(*number) % all.len();
    let Some(ty) = ResourceType::all().nth(at) else { return };
    let pairs: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    match parse_query(ty, &pairs) {
        Ok(query) => {
            let canonical = query.canonical();
            let again = parse_query(ty, &pairs).expect("parses again");
            assert_eq!(again.canonical(), canonical, "one query has one canonical form");
            let _ = query.required_classes();
        }
        Err(issues) => assert!(!issues.is_empty(), "refused without a reason"),
    }
}
