//! Tests: the fast extractor gives what the evaluator gives, parameter by parameter, on
//! HL7's examples and on resources made up from the tables, with every element in them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::chain::alternatives;
use super::expression::{Program, Take, compile_plain, parsed, programs, usable};
use super::extract::{ByText, each_end, value_type};
use super::{ParamId, SearchType, params};
use crate::definitions::{Form, ResourceType, TypeId, TypeKind};
use crate::fhirpath::{Collection, Context, Expression, Item, ManyAs, Place, evaluate};
use crate::json::{Doc, Node};
use crate::limits::Limits;

/// A value that was found: the parameter, its component if it is a part, and the place.
type Found = BTreeSet<(&'static str, Option<u8>, usize)>;

fn fast(root: Node<'_>, ty: ResourceType) -> (Found, BTreeSet<&'static str>) {
    let (mut found, mut present) = (Found::new(), BTreeSet::new());
    each_end(root, ty, &mut |end, node, _| {
        if end.take == Take::ThereAndTrue {
            if node.as_bool() != Some(false) && !node.is_null() {
                present.insert(end.param.def().url);
            }
        } else if !node.is_null() {
            found.insert((end.param.def().url, end.part.map(|p| p.component), node.index()));
        }
    });
    (found, present)
}

fn evaluated(root: Node<'_>, ty: ResourceType) -> (Found, BTreeSet<&'static str>) {
    let (mut found, mut present) = (Found::new(), BTreeSet::new());
    let host = ByText { root };
    let context = Context { host: Some(&host), many_as: ManyAs::Filter, ..Context::default() };
    let start = [Item::Place(Place::resource(root).unwrap())];
    let mut take = |param: ParamId, kind: SearchType, part: Option<u8>, items: Collection<'_>| {
        for item in items {
            match &item {
                Item::Value(_) => {
                    if item.boolean() == Some(true) {
                        present.insert(param.def().url);
                    }
                }
                Item::Place(place) => {
                    let Some(node) = place.node() else { continue };
                    if usable(kind, value_type(place.type_id())) {
                        found.insert((param.def().url, part, node.index()));
                    }
                }
            }
        }
    };
    for param in params(ty) {
        if param.unsearchable().is_some()
            || param.of_words()
            || matches!(param.code(), "_id" | "_lastUpdated")
        {
            continue;
        }
        let parsed = parsed(param).as_ref().unwrap();
        // Each alternative by itself: a union leaves out what equals an earlier item, and
        // 1.0 and 1.00 are equal but not the same to a search.
        for whole in alternatives(parsed.whole.root()) {
            let items = evaluate(whole, &context, &start).unwrap();
            if param.kind() != SearchType::Composite {
                take(param, param.kind(), None, items);
                continue;
            }
            for (n, component) in parsed.components.iter().enumerate() {
                let kind = param.components()[n].kind();
                for (item, part) in items
                    .iter()
                    .flat_map(|i| alternatives(component.root()).into_iter().map(move |a| (i, a)))
                {
                    let parts = evaluate(part, &context, std::slice::from_ref(item)).unwrap();
                    take(param, kind, u8::try_from(n).ok(), parts);
                }
            }
        }
    }
    (found, present)
}

/// Both ways on one resource.
fn agree(text: &str, what: &str) -> usize {
    let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
    let ty = Place::resource(doc.root()).unwrap().type_id().resource().unwrap();
    let (mut a, a_present) = fast(doc.root(), ty);
    let (b, b_present) = evaluated(doc.root(), ty);
    // The fast way finds parts that are the resource's own without the element they go
    // with; alone they make no value.
    a.retain(|(url, part, node)| {
        part.is_none()
            || b.contains(&(*url, *part, *node))
            || b.iter().any(|(u, p, _)| u == url && p.is_some())
    });
    let missing: Vec<_> = b.difference(&a).collect();
    let extra: Vec<_> = a.difference(&b).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{what}: only one way {missing:?} {extra:?}");
    assert_eq!(a_present, b_present, "{what}");
    b.len()
}

/// A small, reproducible source of choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }
}

/// Texts by the form of a primitive.
fn primitive(ty: TypeId, dice: &mut Dice, out: &mut String) {
    let text = match ty.def().form() {
        Some(Form::Boolean) => ["true", "false"][dice.roll(2)],
        Some(Form::Decimal) => "1.50",
        Some(Form::Integer | Form::PositiveInt | Form::UnsignedInt) => "3",
        Some(Form::Date) => "\"2014-03\"",
        Some(Form::DateTime) => "\"2014-03-01T10:30:00Z\"",
        Some(Form::Instant) => "\"2014-03-01T10:30:00.5+02:00\"",
        Some(Form::Time) => "\"10:30:00\"",
        _ => ["\"phone\"", "\"email\"", "\"successor\"", "\"composed-of\"", "\"x\""][dice.roll(5)],
    };
    out.push_str(text);
}

fn object(ty: TypeId, depth: usize, dice: &mut Dice, out: &mut String) {
    if ty.name() == "Reference" {
        let to = [
            "{\"reference\":\"Patient/1\"}",
            "{\"reference\":\"Practitioner/1\"}",
            "{\"reference\":\"http://x/Location/2\"}",
            "{\"reference\":\"urn:uuid:0\",\"type\":\"Patient\"}",
            "{\"reference\":\"#c\"}",
            "{\"type\":\"RelatedPerson\",\"identifier\":{\"value\":\"1\"}}",
        ];
        return out.push_str(to[dice.roll(to.len())]);
    }
    out.push('{');
    let mut first = true;
    if let Some(resource) = ty.resource() {
        write!(out, "\"resourceType\":\"{resource}\"").unwrap();
        first = false;
    }
    for element in ty.elements() {
        // Deep ones now and then only, and no resource within a resource within one.
        let of = element.types[dice.roll(element.types.len())];
        let complex = of.kind() != TypeKind::Primitive;
        if (complex && depth == 0) || element.name == "extension" || dice.roll(8) == 0 {
            continue;
        }
        let name = crate::class::json_name(element.name, element.choice, of);
        let one = |dice: &mut Dice, out: &mut String| {
            if of.name() == "Resource" {
                out.push_str("{\"resourceType\":\"Patient\",\"id\":\"c\"}");
            } else if complex {
                object(of, depth - 1, dice, out);
            } else {
                primitive(of, dice, out);
            }
        };
        if !first {
            out.push(',');
        }
        first = false;
        write!(out, "\"{name}\":").unwrap();
        if element.many {
            out.push('[');
            one(dice, out);
            for _ in 0..dice.roll(3) {
                out.push(',');
                one(dice, out);
            }
            out.push(']');
        } else {
            one(dice, out);
        }
    }
    out.push('}');
}

#[test]
fn fast_and_evaluated_extraction_agree_on_made_up_resources() {
    let mut dice = Dice(7);
    let mut found = 0;
    for round in 0..4 {
        for ty in ResourceType::all() {
            let mut text = String::new();
            object(ty.type_id(), 4, &mut dice, &mut text);
            found += agree(&text, &format!("{ty} of round {round}"));
        }
    }
    assert!(found > 5_000, "{found}");
}

#[test]
fn fast_and_evaluated_extraction_agree_on_hl7s_examples() {
    let dir =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/examples/hl7-r4-instances");
    let Ok(files) = std::fs::read_dir(dir) else {
        println!("skipped: HL7's examples are not here");
        return;
    };
    let mut found = 0;
    for file in files {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        found += agree(&text, &path.file_name().unwrap().to_string_lossy());
    }
    assert!(found > 5_000, "{found}");
}

#[test]
fn every_official_parameter_with_an_expression_is_extracted_by_chains() {
    let with = crate::definitions::search_params();
    let without: Vec<&str> =
        with.iter().filter(|p| p.expression.is_empty()).map(|p| p.url).collect();
    assert_eq!(without, ["DomainResource-text", "Resource-content", "Resource-query"]);
    assert_eq!(with.len() - without.len(), 1379);
    for ty in ResourceType::all() {
        assert!(programs(ty).evaluated.is_empty(), "{ty}");
    }
}

#[test]
fn what_is_no_chain_is_evaluated_and_needs_every_class() {
    let ty = ResourceType::from_name("Observation").unwrap();
    let text = "Observation.component.where(code.coding.code = 'x').value.ofType(Quantity) \
                | Observation.value.ofType(Quantity).where(value > 5)";
    let expression: &'static Expression = Box::leak(Box::new(Expression::parse(text).unwrap()));
    let param = super::param(ty, "value-quantity").unwrap();
    let mut program = Program::default();
    compile_plain(&mut program, ty, param, expression);
    assert_eq!((program.evaluated.len(), program.failures.len()), (2, 0));
    assert_eq!(program.classes(param), phial_base::ClassSet::ALL);
    let values = |body: &str| {
        let text = format!("{{\"resourceType\":\"Observation\",{body}}}");
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        super::extract::evaluated(&program, &doc, ty).len()
    };
    assert_eq!(values("\"valueQuantity\":{\"value\":7}"), 1);
    assert_eq!(values("\"valueQuantity\":{\"value\":3}"), 0);
    assert_eq!(
        values(
            "\"component\":[{\"code\":{\"coding\":[{\"code\":\"x\"}]},\"valueQuantity\":{\"value\":1}},\
             {\"code\":{\"coding\":[{\"code\":\"y\"}]},\"valueQuantity\":{\"value\":1}}]"
        ),
        1
    );
}
