//! All invariants of R4's StructureDefinitions, evaluated on HL7's examples: none may fail
//! to parse or to be evaluated, and those that don't hold are in the list, with the reason.
//! Nothing is enforced here.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;

use phial_fhir::definitions::TypeKind;
use phial_fhir::fhirpath::{Collection, Context, Expression, Host, Item, ManyAs, Place};
use phial_fhir::{Doc, Limits, TypeId};

use crate::shared;

const LIST: &str = include_str!("../suites/invariants-r4.txt");

struct Invariant {
    key: String,
    severity: String,
    expression: Expression,
}

/// The invariants of R4's types by the path that states them: `Patient.contact`, `Period`.
fn invariants(dir: &std::path::Path) -> HashMap<String, Vec<Invariant>> {
    let mut out: HashMap<String, Vec<Invariant>> = HashMap::new();
    let limits = Limits { max_bytes: 256 << 20, max_elements: 20_000_000, ..Limits::default() };
    for name in ["types", "resources"] {
        let file = fs::File::open(dir.join(format!("Bundle-{name}.json.xz"))).unwrap();
        let mut bytes = Vec::new();
        liblzma::read::XzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        let bundle = Doc::parse(&bytes, &limits).unwrap();
        for entry in bundle.root().member("entry").unwrap().items() {
            let resource = entry.member("resource").unwrap();
            let Some(snapshot) = resource.member("snapshot") else { continue };
            for element in snapshot.member("element").unwrap().items() {
                let text = |node: phial_fhir::Node<'_>, name: &str| {
                    node.member(name).and_then(|n| n.as_str()).unwrap_or_default().into_owned()
                };
                let path = text(element, "path");
                // Profiles on Quantity that R4 publishes beside the types.
                if path.split('.').next() != Some(text(resource, "id").as_str()) {
                    continue;
                }
                for constraint in element.member("constraint").into_iter().flat_map(|c| c.items()) {
                    let (key, expression) =
                        (text(constraint, "key"), text(constraint, "expression"));
                    let all = out.entry(path.clone()).or_default();
                    // A profile on a type repeats the type's.
                    if all.iter().any(|i| i.key == key) {
                        continue;
                    }
                    let expression = Expression::parse(&expression)
                        .unwrap_or_else(|e| unreachable!("{path} {key}: {e}"));
                    all.push(Invariant { key, severity: text(constraint, "severity"), expression });
                }
            }
        }
    }
    out
}

/// Knows what type a reference says that it points at.
struct ByText;

impl<'a> Host<'a> for ByText {
    fn resolve(&self, _item: &Item<'a>, url: Option<&str>) -> Option<Place<'a>> {
        let mut parts = url?.rsplit('/').skip(1);
        Some(Place::unseen(phial_fhir::ResourceType::from_name(parts.next()?)?))
    }
}

/// The list: resource file, invariant, path, reason.
fn list() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let lines = LIST.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    lines
        .map(|l| {
            let columns: Vec<&str> = l.split('\t').collect();
            ((columns[0], columns[1]), columns[2])
        })
        .collect()
}

#[test]
fn every_invariant_of_r4_is_evaluated_on_hl7s_examples_and_fails_only_as_listed() {
    let Some(definitions) = shared("data/definitions/r4-core") else { return };
    let Some(examples) = shared("data/examples/hl7-r4-instances") else { return };
    let invariants = invariants(&definitions);
    let mut files: Vec<_> = fs::read_dir(examples).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let (mut asked, mut held, mut open, mut warned) = (0, 0, 0, 0);
    let mut failed: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    let mut errors = String::new();
    let walk = Expression::parse("descendants()").unwrap();
    for path in files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        let doc = Doc::parse(&bytes, &Limits::default()).unwrap();
        let host = ByText;
        let context = Context { host: Some(&host), many_as: ManyAs::Filter, ..Context::default() };
        let root = Item::Place(Place::resource(doc.root()).unwrap());
        let mut all: Collection<'_> = vec![root.clone()];
        all.extend(walk.evaluate(&context, &[root]).unwrap());
        for item in &all {
            let place = item.place().unwrap();
            // What the element states where it stands, and what its types state. Large
            // parts of the examples state the invariants of Element only.
            let mut paths: Vec<String> = Vec::new();
            let node = place.node().or(place.side()).unwrap();
            let lineage = node.lineage();
            if let Some(name) = lineage.iter().rev().map(|n| n.name()).find(|n| !n.is_empty()) {
                let owner = owner(&doc, &lineage);
                let plain = name.strip_prefix('_').unwrap_or(name);
                if let Some((owner, member)) = owner.and_then(|o| Some((o, o.member(plain)?))) {
                    let many = member.element();
                    let x = if many.choice { "[x]" } else { "" };
                    paths.push(format!("{}.{}{x}", owner.name(), many.name));
                }
            }
            paths.extend(place.type_id().lineage().map(|t| t.name().to_owned()));
            let mut done: Vec<&str> = Vec::new();
            for invariant in paths.iter().filter_map(|p| invariants.get(p)).flatten() {
                if done.contains(&invariant.key.as_str()) {
                    continue;
                }
                done.push(&invariant.key);
                asked += 1;
                match invariant.expression.evaluate(&context, std::slice::from_ref(item)) {
                    Ok(found) if found.is_empty() => open += 1,
                    Ok(found) if found.len() == 1 && found[0].boolean() == Some(true) => held += 1,
                    Ok(_) if invariant.severity == "warning" => warned += 1,
                    Ok(_) => {
                        let entry =
                            failed.entry((file.clone(), invariant.key.clone())).or_default();
                        entry.0 += 1;
                        entry.1 = place.path();
                    }
                    Err(error) => {
                        writeln!(errors, "{file} {} {}: {error}", place.path(), invariant.key)
                            .unwrap();
                    }
                }
            }
        }
    }
    println!(
        "{asked} asked: {held} hold, {open} have no answer (what they ask of is not there), \
         {warned} warn, {} fail",
        failed.values().map(|f| f.0).sum::<usize>()
    );
    assert!(errors.is_empty(), "{errors}");
    let mut expected = list();
    let mut wrong = String::new();
    for ((file, key), (count, path)) in &failed {
        if expected.remove(&(file.as_str(), key.as_str())).is_none() {
            writeln!(wrong, "{file}\t{key}\t{count} at {path}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "not in the list:\n{wrong}");
    assert!(expected.is_empty(), "in the list, and they hold: {:?}", expected.keys());
}

/// The type of the object that the last named value stands in.
fn owner(doc: &Doc, lineage: &[phial_fhir::Node<'_>]) -> Option<TypeId> {
    let mut ty = Place::resource(doc.root())?.type_id();
    let mut owner = None;
    for node in lineage.iter().skip(1) {
        if node.name().is_empty() {
            // An item of an array; of a resource, its own type.
            if let Some(place) = Place::resource(*node) {
                ty = place.type_id();
            }
            continue;
        }
        owner = Some(ty);
        let name = node.name();
        let member = ty.member(name.strip_prefix('_').unwrap_or(name))?;
        ty = member.ty;
        if ty.kind() == TypeKind::Abstract
            && let Some(place) = Place::resource(*node)
        {
            ty = place.type_id();
        }
    }
    owner
}
