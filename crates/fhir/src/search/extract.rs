//! Takes a resource's searchable values out of it, in one pass along the trie of the
//! type's expressions. Values of contained resources are not the container's: they stand
//! beside the references that lead to them.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#ptypes>

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use phial_base::{ClassSet, DataClass};

use super::chain::Condition;
use super::composite::Found;
use super::date::span;
use super::expression::{End, Program, Take, programs, usable};
use super::query_value::number;
use super::term::{Extracted, Term};
use super::words::{each_word, text_of_xhtml};
use super::{ParamId, SearchType, fold, param, primary_date_param};
use crate::definitions::{ResourceType, TypeId};
use crate::fhirpath::{self, Host, Item};
use crate::json::{Doc, Kind, Node};
use crate::reference::{RefKind, classify, last_two};
use crate::split;
use crate::validate::Valid;

/// The searchable values of a resource, no value twice, in the order of the parameters,
/// composites last.
/// `_id` and `_lastUpdated` are not among them: the record's header has them.
#[must_use]
pub fn extract(v: &Valid) -> Extracted {
    extract_again(v.doc(), v.resource_type())
}

/// As [`extract`], of a document that was found valid when it was stored, of type `ty`.
/// Classes beyond [`readable_classes`] may be missing from it.
#[must_use]
pub fn extract_again(doc: &Doc, ty: ResourceType) -> Extracted {
    let root = doc.root();
    let mut out = Out::of(ty, split::classes(doc, ty));
    own(root, ty, &mut out);
    held(root, ty, &mut out);
    inner(root, ty, &mut out);
    words(doc, ty, &mut out);
    let values = out.in_order();
    let primary = primary_date_param(ty);
    let primary_date = values.iter().find_map(|(p, _, term)| match term {
        Term::Date { low, high } if Some(*p) == primary => {
            Some(if *low == i64::MIN { *high } else { *low })
        }
        _ => None,
    });
    Extracted { values, primary_date }
}

/// Takes what the expressions of the type give of a resource.
fn own(root: Node<'_>, ty: ResourceType, out: &mut Out) {
    each_end(root, ty, &mut |end, node, path| {
        if end.part.is_some() {
            out.path.clear();
            out.path.extend_from_slice(path);
        }
        out.take(end, node);
    });
    evaluate(programs(ty), root, out);
    for param in &programs(ty).booleans {
        if !out.values.iter().any(|(p, ..)| p == param) {
            let class = param.classes(ty).iter().next().unwrap_or(DataClass::Notes);
            out.values.push((*param, class, token(None, Some("false".into()))));
        }
    }
}

/// Takes the values of contained resources that a reference of the container leads to: a
/// chain goes on into them (<https://hl7.org/fhir/R4/search.html#contained>). Their classes
/// are those of the container's elements; what is not read when the container is indexed
/// again is left out.
fn inner(root: Node<'_>, ty: ResourceType, out: &mut Out) {
    let Some(contained) = root.member("contained") else { return };
    // The parameter, the number of the reference, and which of those contained.
    let mut found: Vec<(ParamId, usize, usize)> = Vec::new();
    each_end(root, ty, &mut |end, node, _| {
        if end.part.is_some() || end.kind != SearchType::Reference {
            return;
        }
        let Some(place) = node.member("reference") else { return };
        let Some(text) = place.as_str() else { return };
        let RefKind::Contained(id) = classify(&text) else { return };
        let target = contained.items().position(|c| string(c, "id").is_some_and(|s| s == id));
        found.extend(target.map(|target| (end.param, place.index(), target)));
    });
    let readable = readable_classes(ty);
    // Several parameters may lead to one of them: its values are taken once.
    let mut known: HashMap<usize, Option<Term>> = HashMap::new();
    for (param, place, target) in found {
        let term = known.entry(target).or_insert_with(|| {
            let target = contained.items().nth(target)?;
            let of = ResourceType::from_name(&string(target, "resourceType")?)?;
            let mut within = Out::of(of, std::mem::take(&mut out.classes));
            own(target, of, &mut within);
            out.classes = std::mem::take(&mut within.classes);
            let mut values = within.in_order();
            values.retain(|(_, class, _)| readable.has(*class));
            Some(Term::Inner { ty: of, values: values.into() })
        });
        let Some(term) = term.clone() else { continue };
        let class = out.classes.get(place).copied().unwrap_or(DataClass::Notes);
        out.values.push((param, class, term));
    }
}

/// The classes that a resource of type `ty` may have values of, or that decide which
/// values it has: all but that of attachments, which no parameter reads in most types.
#[must_use]
pub fn readable_classes(ty: ResourceType) -> ClassSet {
    if !programs(ty).evaluated.is_empty() {
        // Such an expression may look anywhere.
        return ClassSet::ALL;
    }
    // Notes are read for their words.
    let unread = ClassSet::of(DataClass::Attachment);
    ClassSet::ALL.minus(unread.minus(programs(ty).all_classes()))
}

/// Takes for how long each participant of a care team is one, when any says so: who says
/// nothing is one for as long as the team is.
fn held(root: Node<'_>, ty: ResourceType, out: &mut Out) {
    let Some(by) = param(ty, "participant").filter(|_| ty.name() == "CareTeam") else { return };
    let members = root.member("participant").into_iter().flat_map(Node::items);
    let all: Vec<_> = members
        .filter_map(|p| {
            let place = p.member("member")?.member("reference")?;
            let text = place.as_str()?;
            let RefKind::Relative { type_, id, .. } = classify(&text) else { return None };
            let period = p.member("period").and_then(limits);
            Some((place, type_, id.to_owned(), period.map(|(_, low, high)| (low, high))))
        })
        .collect();
    if all.iter().all(|(.., period)| period.is_none()) {
        return;
    }
    for (place, target, id, period) in all {
        let class = out.classes.get(place.index()).copied().unwrap_or(DataClass::Notes);
        let (low, high) = period.unwrap_or((i64::MIN, i64::MAX));
        out.values.push((by, class, Term::Held { target, id: id.into(), low, high }));
    }
}

/// Takes the words of the narrative and of everything that is kept as notes, each once,
/// and the order in which they stand. Contained resources have words of their own, which
/// are not the container's.
fn words(doc: &Doc, ty: ResourceType, out: &mut Out) {
    let (text, content) = (param(ty, "_text"), param(ty, "_content"));
    let narrative = doc.root().member("text");
    // For each parameter its texts in order, those of one word alone left out.
    let mut order: Vec<(ParamId, String)> =
        text.into_iter().chain(content).map(|of| (of, String::new())).collect();
    let mut take = |node: Node<'_>, of: &[ParamId], seen: &mut HashSet<String>| {
        let class = out.classes.get(node.index()).copied().unwrap_or(DataClass::Notes);
        let Some(said) = node.as_str().filter(|_| class == super::words::CLASS) else { return };
        let plain = if said.starts_with("<div") { text_of_xhtml(&said).into() } else { said };
        let mut line = String::new();
        each_word(&plain, |word| {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
            if seen.insert(word.clone()) {
                for param in of {
                    let term = Term::Str { text: word.as_str().into() };
                    out.values.push((*param, class, term));
                }
            }
        });
        if line.contains(' ') {
            for (_, lines) in order.iter_mut().filter(|(param, _)| of.contains(param)) {
                if !lines.is_empty() {
                    lines.push('\n');
                }
                lines.push_str(&line);
            }
        }
    };
    let mut seen = HashSet::new();
    if let (Some(text), Some(div)) = (text, narrative.and_then(|n| n.member("div"))) {
        let both: Vec<ParamId> = std::iter::once(text).chain(content).collect();
        take(div, &both, &mut seen);
    }
    if let Some(content) = content {
        let mut open: Vec<Node<'_>> = doc
            .root()
            .members()
            .filter(|(name, _)| !matches!(*name, "text" | "contained"))
            .map(|(_, node)| node)
            .collect();
        open.reverse();
        while let Some(node) = open.pop() {
            match node.kind() {
                Kind::Array => open.extend(node.items()),
                Kind::Object => open.extend(node.members().map(|(_, node)| node)),
                _ => take(node, &[content], &mut seen),
            }
        }
    }
    for (param, words) in order.into_iter().filter(|(_, words)| !words.is_empty()) {
        out.values.push((param, super::words::CLASS, Term::Order { words: words.into() }));
    }
}

/// What the reference parameters with these codes point at, for a resource that may be
/// part of another: type and logical id.
pub(crate) fn references(
    resource: Node<'_>,
    ty: ResourceType,
    codes: &[&str],
) -> Vec<(ResourceType, String)> {
    let mut found = Vec::new();
    each_end(resource, ty, &mut |end, node, _| {
        if end.part.is_none()
            && end.kind == SearchType::Reference
            && codes.contains(&end.param.code())
        {
            let text = node.member("reference").and_then(Node::as_str);
            if let Some(RefKind::Relative { type_, id, .. }) = text.as_deref().map(classify) {
                found.push((type_, id.to_owned()));
            }
        }
    });
    found
}

/// Takes what the expressions that are no chains give. References are resolved as far as
/// their text tells, as [`Condition::ResolveIs`] does. What can't be evaluated finds nothing.
fn evaluate(program: &Program, root: Node<'_>, out: &mut Out) {
    if program.evaluated.is_empty() {
        return;
    }
    let host = ByText { root };
    let context = fhirpath::Context {
        host: Some(&host),
        many_as: fhirpath::ManyAs::Filter,
        ..fhirpath::Context::default()
    };
    let input: Vec<Item<'_>> =
        fhirpath::Place::resource(root).map(Item::Place).into_iter().collect();
    for (param, expr) in &program.evaluated {
        for item in fhirpath::evaluate(expr, &context, &input).unwrap_or_default() {
            let mut end = End {
                param: *param,
                kind: param.kind(),
                take: Take::ThereAndTrue,
                conditions: Vec::new(),
                part: None,
            };
            match &item {
                Item::Place(place) => {
                    let ty = value_type(place.type_id());
                    if let Some(node) = place.node().filter(|_| usable(end.kind, ty)) {
                        end.take = Take::Value(ty);
                        out.take(&end, node);
                    }
                }
                Item::Value(value) => out.value(&end, value),
            }
        }
    }
}

/// The values of those expressions alone.
#[cfg(test)]
pub(super) fn evaluated(program: &Program, doc: &Doc, ty: ResourceType) -> Vec<Term> {
    let mut out = Out::of(ty, split::classes(doc, ty));
    evaluate(program, doc.root(), &mut out);
    out.values.into_iter().map(|(.., term)| term).collect()
}

/// Resources are searched as such, whatever their type.
pub(super) fn value_type(ty: TypeId) -> TypeId {
    let any = TypeId::from_name("Resource").filter(|_| ty.resource().is_some());
    any.unwrap_or(ty)
}

/// Resolves a reference as far as its text tells.
pub(super) struct ByText<'a> {
    pub(super) root: Node<'a>,
}

impl<'a> Host<'a> for ByText<'_> {
    fn resolve(&self, item: &Item<'a>, _url: Option<&str>) -> Option<fhirpath::Place<'a>> {
        let node = item.place()?.node()?;
        resolves_to(self.root, node).map(fhirpath::Place::unseen)
    }
}

/// Takes a value at the end of a chain, and the numbers of the elements that lead there.
pub(super) type Visit<'v> = &'v mut dyn FnMut(&End, Node<'_>, &[usize]);

/// Calls `visit` for each value at the end of a chain whose conditions hold.
pub(super) fn each_end(root: Node<'_>, ty: ResourceType, visit: Visit<'_>) {
    follow(root, root, ty, 0, &mut Vec::with_capacity(8), visit);
}

fn follow(
    root: Node<'_>,
    node: Node<'_>,
    ty: ResourceType,
    place: usize,
    path: &mut Vec<usize>,
    visit: Visit<'_>,
) {
    let Some(place) = programs(ty).places.get(place) else { return };
    path.push(node.index());
    for end in &place.ends {
        if end.conditions.iter().all(|c| holds(root, node, 0, c)) {
            visit(end, node, path);
        }
    }
    let members = if place.edges.is_empty() { None } else { Some(node.members()) };
    for (name, child) in members.into_iter().flatten() {
        for edge in place.edges.iter().filter(|e| e.member == name) {
            if child.kind() == Kind::Array {
                for (n, item) in child.items().enumerate() {
                    if edge.conditions.iter().all(|c| holds(root, item, n, c)) {
                        follow(root, item, ty, edge.to, path, visit);
                    }
                }
            } else if edge.conditions.iter().all(|c| holds(root, child, 0, c)) {
                follow(root, child, ty, edge.to, path, visit);
            }
        }
    }
    path.pop();
}

fn holds(root: Node<'_>, node: Node<'_>, at: usize, condition: &Condition) -> bool {
    match condition {
        Condition::Index(n) => at == *n,
        Condition::Equals(name, value) => string(node, name).is_some_and(|s| *s == **value),
        Condition::ResolveIs(ty) => resolves_to(root, node) == Some(*ty),
    }
}

/// A Period's limits, and the member whose class is theirs. An end that is missing is
/// open.
fn limits(period: Node<'_>) -> Option<(Node<'_>, i64, i64)> {
    let limit = |name| period.member(name).and_then(Node::as_str).and_then(|s| span(&s));
    let place = period.member("start").or_else(|| period.member("end"))?;
    match (limit("start"), limit("end")) {
        (None, None) => None,
        (start, stop) => {
            Some((place, start.map_or(i64::MIN, |s| s.low), stop.map_or(i64::MAX, |s| s.high)))
        }
    }
}

/// The type of what a Reference points at, as far as its text tells.
fn resolves_to(root: Node<'_>, reference: Node<'_>) -> Option<ResourceType> {
    let text = string(reference, "reference");
    let told = match text.as_deref().map(classify) {
        Some(RefKind::Relative { type_, .. } | RefKind::Conditional { type_, .. }) => Some(type_),
        Some(RefKind::Absolute(url)) => last_two(url).map(|(ty, _)| ty),
        Some(RefKind::Contained(id)) => {
            let mut all = root.member("contained").into_iter().flat_map(Node::items);
            let target = all.find(|c| string(*c, "id").is_some_and(|s| s == id));
            target.and_then(|c| string(c, "resourceType")).and_then(|t| ResourceType::from_name(&t))
        }
        _ => None,
    };
    told.or_else(|| ResourceType::from_name(&string(reference, "type")?))
}

fn string<'a>(node: Node<'a>, member: &str) -> Option<Cow<'a, str>> {
    node.member(member)?.as_str()
}

fn boxed(node: Node<'_>, member: &str) -> Option<Box<str>> {
    string(node, member).map(Into::into)
}

fn token(system: Option<Box<str>>, code: Option<Box<str>>) -> Term {
    Term::Token { system, code }
}

/// Leaves out what stands before.
fn distinct(values: Vec<(ParamId, DataClass, Term)>) -> Vec<(ParamId, DataClass, Term)> {
    let mut out: Vec<(ParamId, DataClass, Term)> = Vec::with_capacity(values.len());
    if values.len() <= 64 {
        for value in values {
            if !out.contains(&value) {
                out.push(value);
            }
        }
    } else {
        let mut seen = HashSet::with_capacity(values.len());
        let first: Vec<bool> = values.iter().map(|value| seen.insert(value)).collect();
        out.extend(
            values.into_iter().zip(first).filter_map(|(value, first)| first.then_some(value)),
        );
    }
    out
}

struct Out {
    ty: ResourceType,
    /// The class of each value of the document.
    classes: Vec<DataClass>,
    values: Vec<(ParamId, DataClass, Term)>,
    parts: Found,
    /// The way to the value of a composite's part.
    path: Vec<usize>,
}

impl Out {
    fn of(ty: ResourceType, classes: Vec<DataClass>) -> Out {
        Out { ty, classes, values: Vec::new(), parts: Found::default(), path: Vec::new() }
    }

    /// What was taken, no value twice, in the order of the parameters, composites last.
    fn in_order(self) -> Vec<(ParamId, DataClass, Term)> {
        let mut values = self.values;
        values.sort_by_key(|(p, ..)| *p);
        // Last, since their parts stand before as values of their own.
        values.extend(self.parts.values());
        distinct(values)
    }

    /// Adds a term under the class of the value it was read from.
    fn add(&mut self, end: &End, from: Node<'_>, term: Term) {
        let class = self.classes.get(from.index()).copied().unwrap_or(DataClass::Notes);
        match end.part {
            None => self.values.push((end.param, class, term)),
            Some(part) => self.parts.take(end.param, part, &self.path, class, term),
        }
    }

    /// Adds what an expression made. It stands nowhere, and so may be of any class.
    fn value(&mut self, end: &End, value: &fhirpath::Value<'_>) {
        let Some(text) = value.text() else { return };
        let term = match (end.kind, value) {
            (SearchType::Token, _) => token(None, Some(text.into())),
            (SearchType::String, _) => Term::Str { text: text.into() },
            (SearchType::Uri, _) => Term::Uri { uri: text.into() },
            (SearchType::Date, fhirpath::Value::Date(_) | fhirpath::Value::DateTime(_)) => {
                let Some(s) = span(&text) else { return };
                Term::Date { low: s.low, high: s.high }
            }
            (SearchType::Number, _) => {
                let Some(n) = number(&text) else { return };
                Term::Number { low: n.low, high: n.high, value: n.value }
            }
            _ => return,
        };
        self.values.push((end.param, DataClass::Notes, term));
    }

    fn take(&mut self, end: &End, node: Node<'_>) {
        let Take::Value(ty) = end.take else {
            let there = node.as_bool() != Some(false);
            let text = if there { "true" } else { "false" };
            return self.add(end, node, token(None, Some(text.into())));
        };
        if node.is_null() {
            return;
        }
        match end.kind {
            SearchType::Token => self.token(end, ty.name(), node),
            SearchType::Date => self.date(end, ty.name(), node),
            SearchType::String => self.string(end, ty.name(), node),
            SearchType::Reference => self.reference(end, node),
            SearchType::Quantity => self.quantity(end, ty.name(), node),
            SearchType::Number => {
                if let Some(n) = node.number_text().and_then(number) {
                    let term = Term::Number { low: n.low, high: n.high, value: n.value };
                    self.add(end, node, term);
                }
            }
            SearchType::Uri => {
                if let Some(uri) = node.as_str() {
                    self.add(end, node, Term::Uri { uri: uri.into() });
                }
            }
            SearchType::Composite | SearchType::Special => {}
        }
    }

    fn token(&mut self, end: &End, ty: &str, node: Node<'_>) {
        let from = |name| node.member(name);
        match ty {
            "CodeableConcept" => {
                for coding in from("coding").into_iter().flat_map(Node::items) {
                    self.token(end, "Coding", coding);
                }
                self.said(end, from("text"));
            }
            "Coding" | "Identifier" => {
                if ty == "Coding" {
                    self.said(end, from("display"));
                } else {
                    self.typed(end, node);
                }
                let code = from(if ty == "Coding" { "code" } else { "value" });
                let Some(place) = code.or_else(|| from("system")) else { return };
                let code = code.and_then(Node::as_str).map(Into::into);
                self.add(end, place, token(boxed(node, "system"), code));
            }
            "ContactPoint" => {
                if let Some(value) = from("value") {
                    let term = token(boxed(node, "system"), value.as_str().map(Into::into));
                    self.add(end, value, term);
                }
            }
            "string" if programs(self.ty).folds(end.param) => {
                if let Some(text) = node.as_str() {
                    self.add(end, node, token(None, Some(text.to_lowercase().into())));
                }
            }
            _ => {
                let text = node.as_str().or_else(|| node.as_bool().map(|_| node.text().into()));
                if let Some(text) = text {
                    self.add(end, node, token(None, Some(text.into())));
                }
            }
        }
    }

    /// What a code says to people (`:text`). It is no part of a composite.
    fn said(&mut self, end: &End, text: Option<Node<'_>>) {
        if let (Some(node), None) = (text, end.part)
            && let Some(text) = node.as_str()
        {
            self.add(end, node, Term::Said { text: text.into() });
        }
    }

    /// An identifier's type (`:text`), and its value under each code of the type
    /// (`:of-type`).
    fn typed(&mut self, end: &End, identifier: Node<'_>) {
        let Some(ty) = identifier.member("type") else { return };
        self.said(end, ty.member("text"));
        let Some(place) = identifier.member("value").filter(|_| end.part.is_none()) else { return };
        let Some(value) = place.as_str() else { return };
        for coding in ty.member("coding").into_iter().flat_map(Node::items) {
            if let (Some(system), Some(code)) = (boxed(coding, "system"), boxed(coding, "code")) {
                let value = value.as_ref().into();
                self.add(end, place, Term::Typed { system, code, value });
            }
        }
    }

    fn date(&mut self, end: &End, ty: &str, node: Node<'_>) {
        match ty {
            "Period" => {
                if let Some((place, low, high)) = limits(node) {
                    self.add(end, place, Term::Date { low, high });
                }
            }
            // Of a schedule the outer limits alone matter.
            "Timing" => {
                let events = node.member("event").into_iter().flat_map(Node::items);
                let event = |e: Node<'_>| e.as_str().and_then(|s| span(&s));
                let bounds = node.member("repeat").and_then(|r| r.member("boundsPeriod"));
                let outer = events
                    .filter_map(|e| event(e).map(|s| (e, s.low, s.high)))
                    .chain(bounds.and_then(limits))
                    .reduce(|(place, a, b), (_, c, d)| (place, a.min(c), b.max(d)));
                if let Some((place, low, high)) = outer {
                    self.add(end, place, Term::Date { low, high });
                }
            }
            _ => {
                if let Some(s) = node.as_str().and_then(|s| span(&s)) {
                    self.add(end, node, Term::Date { low: s.low, high: s.high });
                }
            }
        }
    }

    fn string(&mut self, end: &End, ty: &str, node: Node<'_>) {
        let parts: &[&str] = match ty {
            "HumanName" => &["text", "family", "given", "prefix", "suffix"],
            "Address" => &["text", "line", "city", "district", "state", "postalCode", "country"],
            _ => {
                if let Some(text) = node.as_str() {
                    if end.param.code() == "family" {
                        self.later(end, node, &text);
                    }
                    self.add(end, node, Term::Str { text: text.into() });
                }
                return;
            }
        };
        if let Some(family) = node.member("family").filter(|_| ty == "HumanName")
            && let Some(text) = family.as_str()
        {
            self.later(end, family, &text);
        }
        for part in parts.iter().filter_map(|p| node.member(p)) {
            if part.kind() == Kind::Array {
                for item in part.items() {
                    self.string(end, "string", item);
                }
            } else {
                self.string(end, "string", part);
            }
        }
    }

    /// The later parts of a family name, each of which people search by.
    fn later(&mut self, end: &End, node: Node<'_>, family: &str) {
        for (at, _) in family.match_indices(' ') {
            let text = fold(family.get(at..).unwrap_or_default());
            if !text.is_empty() {
                self.add(end, node, Term::Later { text: text.into() });
            }
        }
    }

    fn reference(&mut self, end: &End, node: Node<'_>) {
        if let Some(url) = node.as_str() {
            // A canonical or uri.
            let term =
                Term::Ref { target: None, id: None, url: Some(url.into()), identifier: None };
            return self.add(end, node, term);
        }
        if let Some(name) = node.member("resourceType") {
            // The resource itself, as in `Bundle.entry[0].resource`: one that the parameter
            // is for. The first resource of a collection is no composition.
            let target = name.as_str().and_then(|t| ResourceType::from_name(&t));
            let meant = || {
                let bundle = ResourceType::from_name("Bundle")?;
                Some(end.param.targets(bundle).contains(&target?))
            };
            if let Some(id) = boxed(node, "id").filter(|_| meant() == Some(true)) {
                let term = Term::Ref { target, id: Some(id), url: None, identifier: None };
                self.add(end, name, term);
            }
            return;
        }
        let identifier = node.member("identifier");
        let by_number = identifier.and_then(|i| Some((boxed(i, "system"), boxed(i, "value")?)));
        let place = node.member("reference").or_else(|| identifier.and_then(|i| i.member("value")));
        let text = string(node, "reference");
        let (mut target, mut id, mut url) = (None, None, None);
        match text.as_deref().map(classify) {
            Some(RefKind::Relative { type_, id: of, .. }) => {
                (target, id) = (Some(type_), Some(of.into()));
            }
            Some(RefKind::Absolute(of)) => {
                (target, url) = (last_two(of).map(|(ty, _)| ty), Some(of.into()));
            }
            Some(RefKind::UrnUuid(of) | RefKind::UrnOid(of)) => url = Some(of.into()),
            _ => {}
        }
        if id.is_none() && url.is_none() {
            if by_number.is_none() {
                return;
            }
            target = ResourceType::from_name(&string(node, "type").unwrap_or_default());
        }
        let Some(place) = place else { return };
        // Numbers are of a class of their own: they stand in a value of their own.
        match (id.is_some() || url.is_some(), by_number) {
            (true, Some(number)) => {
                self.add(end, place, Term::Ref { target, id, url, identifier: None });
                let place = identifier.and_then(|i| i.member("value")).unwrap_or(place);
                let term = Term::Ref { target, id: None, url: None, identifier: Some(number) };
                self.add(end, place, term);
            }
            (_, identifier) => self.add(end, place, Term::Ref { target, id, url, identifier }),
        }
    }

    fn quantity(&mut self, end: &End, ty: &str, node: Node<'_>) {
        let read = |n: Node<'_>| n.member("value").and_then(Node::number_text).and_then(number);
        if ty == "Range" {
            let (low, high) = (node.member("low"), node.member("high"));
            let limits = (low.and_then(read), high.and_then(read));
            let known = low.filter(|_| limits.0.is_some()).or(high);
            let Some(place) = known.and_then(|k| k.member("value")) else { return };
            // Mostly both ends say the unit.
            let said = |end: Option<Node<'_>>| {
                end.map(units).filter(|(system, code, unit)| {
                    system.is_some() || code.is_some() || unit.is_some()
                })
            };
            let (system, code, unit) = said(low).or_else(|| said(high)).unwrap_or_default();
            let term = Term::Range {
                low: limits.0.map_or(f64::NEG_INFINITY, |n| n.value),
                high: limits.1.map_or(f64::INFINITY, |n| n.value),
                system,
                code,
                unit,
            };
            return self.add(end, place, term);
        }
        let (Some(n), Some(place)) = (read(node), node.member("value")) else { return };
        let (system, code, unit) = if ty == "Money" {
            (Some("urn:iso:std:iso:4217".into()), boxed(node, "currency"), None)
        } else {
            units(node)
        };
        // A comparator opens the side it points to.
        let (mut low, mut high) = (n.low, n.high);
        match string(node, "comparator").as_deref() {
            Some("<" | "<=") => low = f64::NEG_INFINITY,
            Some(">" | ">=") => high = f64::INFINITY,
            _ => {}
        }
        self.add(end, place, Term::Quantity { value: n.value, low, high, system, code, unit });
    }
}

type Units = (Option<Box<str>>, Option<Box<str>>, Option<Box<str>>);

/// System, code and text of a quantity's unit; the text only where it differs.
fn units(node: Node<'_>) -> Units {
    let code = boxed(node, "code");
    let unit = boxed(node, "unit").filter(|u| Some(u) != code.as_ref());
    (boxed(node, "system"), code, unit)
}
