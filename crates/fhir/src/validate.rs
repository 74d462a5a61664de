//! Structural validation of one resource against the R4 tables: elements, JSON types,
//! lexical forms, cardinality, choices, extensions, references, contained resources,
//! required bindings whose code list is held. It refuses to guess: whatever the tables
//! don't know is an issue. No profile, no FHIRPath invariant beyond those named here.
//!
//! Source: <https://hl7.org/fhir/R4/json.html>, <https://hl7.org/fhir/R4/validation.html>

mod form;
pub(crate) mod narrative;
mod place;

use std::borrow::Cow;

use phial_base::{Label, LabelSet, LogicalId};

use crate::definitions::{Element, Form, Member, ResourceType, Strength, TypeId, TypeKind};
use crate::issue::{Issue, IssueCode};
use crate::json::{Doc, Kind, Node};
use crate::reference::{RefKind, classify};
use place::Place;

/// Issues listed at most; a resource that is wrong throughout needs no longer list.
const MOST_ISSUES: usize = 50;

/// References that HL7's own examples make although the definitions don't list the
/// target's type. Senders copy the examples, so these pass too.
const ALSO_TARGETS: [(&str, &str); 4] = [
    ("DeviceMetric.parent", "DeviceDefinition"),
    ("DeviceUseStatement.reasonReference", "Procedure"),
    ("MedicationRequest.dispenseRequest.performer", "Practitioner"),
    ("Observation.performer", "Encounter"),
];

/// A resource that has passed [`validate`].
#[derive(Clone, Debug)]
pub struct Valid {
    doc: Doc,
    ty: ResourceType,
    id: Option<LogicalId>,
    labels: LabelSet,
}

impl Valid {
    /// The resource's type.
    #[must_use]
    pub fn resource_type(&self) -> ResourceType {
        self.ty
    }

    /// The logical id, if the resource has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(LogicalId::as_str)
    }

    /// The logical id, if the resource has one.
    #[must_use]
    pub fn logical_id(&self) -> Option<&LogicalId> {
        self.id.as_ref()
    }

    /// The document.
    #[must_use]
    pub fn doc(&self) -> &Doc {
        &self.doc
    }

    /// The minified text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.doc.text()
    }

    /// The sensitivity labels in `meta.security`, of the resource and of all resources
    /// within it (contained, Bundle entries, Parameters).
    #[must_use]
    pub fn labels(&self) -> LabelSet {
        self.labels
    }
}

/// Checks one resource.
///
/// # Errors
/// All issues found, at most 50. None of them holds a value of the resource.
pub fn validate(doc: Doc) -> Result<Valid, Vec<Issue>> {
    let (ty, labels, issues) = look(&doc);
    match ty {
        Some(ty) if issues.is_empty() => {
            let id = doc.root().member("id").and_then(|n| LogicalId::new(&n.as_str()?).ok());
            Ok(Valid { ty, id, labels, doc })
        }
        _ => Err(issues),
    }
}

impl Valid {
    /// A resource that was found valid when it was stored, perhaps by other rules than
    /// today's. `None` when so much is wrong by these that its labels are not known.
    #[must_use]
    pub fn again(doc: Doc) -> Option<Valid> {
        Valid::joined(doc)
    }

    /// A resource of which the parts were found valid, each in its own company: what a
    /// patch by someone who sees a part joins to what he does not see. `None` when that
    /// is no resource, or so much is wrong that its labels are not known.
    pub(crate) fn joined(doc: Doc) -> Option<Valid> {
        let (ty, labels, issues) = look(&doc);
        let ty = ty.filter(|_| issues.len() < MOST_ISSUES)?;
        let id = doc.root().member("id").and_then(|n| LogicalId::new(&n.as_str()?).ok());
        Some(Valid { ty, id, labels, doc })
    }
}

/// Type, labels and issues of a document.
pub(crate) fn look(doc: &Doc) -> (Option<ResourceType>, LabelSet, Vec<Issue>) {
    let mut checker = Checker {
        issues: Vec::new(),
        labels: LabelSet::NONE,
        types: Types::new(),
        contained: Vec::new(),
    };
    let ty = checker.resource(doc.root(), None, false);
    (ty, checker.labels, checker.issues)
}

/// The types that the rules speak of.
struct Types {
    element: Option<TypeId>,
    extension: Option<TypeId>,
    reference: Option<TypeId>,
    coding: Option<TypeId>,
    concept: Option<TypeId>,
    meta: Option<TypeId>,
}

impl Types {
    fn new() -> Self {
        Types {
            element: TypeId::from_name("Element"),
            extension: TypeId::from_name("Extension"),
            reference: TypeId::from_name("Reference"),
            coding: TypeId::from_name("Coding"),
            concept: TypeId::from_name("CodeableConcept"),
            meta: TypeId::from_name("Meta"),
        }
    }
}

struct Checker {
    issues: Vec<Issue>,
    labels: LabelSet,
    types: Types,
    /// The ids of the resources contained in the resource being checked, sorted.
    contained: Vec<String>,
}

impl Checker {
    fn full(&self) -> bool {
        self.issues.len() >= MOST_ISSUES
    }

    fn issue(&mut self, code: IssueCode, place: &Place<'_>, text: impl Into<String>) {
        if !self.full() {
            self.issues.push(Issue::error(code, place.path(), text));
        }
    }

    /// A resource: the outermost, a contained one, or one in a Bundle or Parameters.
    fn resource(
        &mut self,
        node: Node<'_>,
        place: Option<&Place<'_>>,
        contained: bool,
    ) -> Option<ResourceType> {
        let nowhere = Place::root("");
        let here = place.unwrap_or(&nowhere);
        if !node.is_object() {
            self.issue(IssueCode::Structure, here, "a resource (a JSON object) is expected");
            return None;
        }
        let Some(type_node) = node.member("resourceType") else {
            let place = here.member("resourceType");
            self.issue(IssueCode::Required, &place, "the resource does not say its type");
            return None;
        };
        let name = type_node.as_str().unwrap_or_default();
        let Some(ty) = ResourceType::from_name(&name) else {
            let place = here.member("resourceType");
            self.issue(IssueCode::NotSupported, &place, "this is not a resource type of R4");
            return None;
        };
        let root = Place::root(ty.name());
        let here = place.unwrap_or(&root);
        if contained {
            self.object(node, ty.type_id(), here);
            self.contained_rules(node, here);
        } else {
            // References in contained resources, too, speak of what this one contains.
            let ids = self.contained_ids(node, here);
            let outer = std::mem::replace(&mut self.contained, ids);
            self.object(node, ty.type_id(), here);
            self.contained = outer;
        }
        Some(ty)
    }

    /// What holds for a contained resource only (dom-2, dom-4).
    fn contained_rules(&mut self, node: Node<'_>, place: &Place<'_>) {
        if node.member("id").is_none() {
            let place = place.member("id");
            self.issue(IssueCode::Required, &place, "a contained resource needs an id");
        }
        if node.member("contained").is_some() {
            let place = place.member("contained");
            let text = "a contained resource can't contain resources";
            self.issue(IssueCode::Invariant, &place, text);
        }
        for name in ["versionId", "lastUpdated"] {
            if node.member("meta").and_then(|m| m.member(name)).is_some() {
                let (meta, text) = (place.member("meta"), "a contained resource has no version");
                self.issue(IssueCode::Invariant, &meta.member(name), text);
            }
        }
    }

    /// The ids of contained resources, sorted; they must tell them apart.
    fn contained_ids(&mut self, node: Node<'_>, place: &Place<'_>) -> Vec<String> {
        let Some(contained) = node.member("contained") else { return Vec::new() };
        let id = |r: Node<'_>| r.member("id").and_then(Node::as_str).map(Cow::into_owned);
        let mut ids: Vec<(String, usize)> =
            contained.items().enumerate().filter_map(|(i, r)| Some((id(r)?, i))).collect();
        ids.sort();
        for pair in ids.windows(2) {
            if let [a, b] = pair
                && a.0 == b.0
            {
                let list = place.member("contained");
                let item = list.item(b.1);
                let text = "two contained resources have one id";
                self.issue(IssueCode::Duplicate, &item.member("id"), text);
            }
        }
        ids.into_iter().map(|(id, _)| id).collect()
    }

    /// An object of a known type.
    fn object(&mut self, node: Node<'_>, ty: TypeId, place: &Place<'_>) {
        if node.is_empty() {
            self.issue(IssueCode::Structure, place, "an object can't be empty");
            return;
        }
        let def = ty.def();
        let is_resource = def.kind == TypeKind::Resource;
        let mut seen = 0u128;
        for (name, value) in node.members() {
            if self.full() {
                return;
            }
            if is_resource && name == "resourceType" {
                continue;
            }
            let (plain, beside) = match name.strip_prefix('_') {
                Some(plain) => (plain, true),
                None => (name, false),
            };
            let place = place.member(name);
            let member = ty
                .member(plain)
                .filter(|m| !beside || m.ty.def().form.is_some_and(|form| form != Form::Xhtml));
            let Some(member) = member else {
                let text = format!("this element is not known in {}", def.name);
                self.issue(IssueCode::Structure, &place, text);
                continue;
            };
            let element = member.element();
            let bit = 1u128 << (element.position() & 127);
            if seen & bit != 0 && element.choice && !only_choice(node, ty, member) {
                let text = format!("only one of {}[x] can be there", element.name);
                self.issue(IssueCode::Structure, &place, text);
            }
            seen |= bit;
            if beside {
                self.beside(node, value, member, element, &place);
            } else {
                self.member(node, value, member, element, &place);
            }
        }
        let mut missing = def.required & !seen;
        while missing != 0 {
            let position = missing.trailing_zeros() as usize;
            missing &= missing - 1;
            if let Some(e) = ty.elements().get(position) {
                let choice = if e.choice { "[x]" } else { "" };
                let name = format!("{}{choice}", e.name);
                let text = "this element is required";
                self.issue(IssueCode::Required, &place.known(&name), text);
            }
        }
        if Some(ty) == self.types.extension {
            self.extension(node, place);
        } else if Some(ty) == self.types.reference {
            self.reference(node, place);
        } else if Some(ty) == self.types.meta {
            self.collect_labels(node);
        }
    }

    /// A member that holds the element's value or values.
    fn member(
        &mut self,
        object: Node<'_>,
        value: Node<'_>,
        member: &Member,
        element: &Element,
        place: &Place<'_>,
    ) {
        let is_array = value.kind() == Kind::Array;
        if is_array != element.many {
            let text = if is_array {
                "this element does not repeat: no array is expected"
            } else if value.is_null() {
                "null stands for nothing here"
            } else {
                "this element repeats: an array is expected"
            };
            self.issue(IssueCode::Structure, place, text);
            return;
        }
        if !is_array {
            self.value(value, member.ty, element, place);
            return;
        }
        if value.is_empty() {
            self.issue(IssueCode::Structure, place, "an array can't be empty");
        }
        let primitive = member.ty.def().form.is_some();
        for (i, item) in value.items().enumerate() {
            if self.full() {
                return;
            }
            let place = place.item(i);
            if item.is_null() && primitive {
                // A gap is filled by what stands beside it in the other array.
                if beside_of(object, member.name).nth(i).is_none_or(|n| n.is_null()) {
                    self.issue(IssueCode::Structure, &place, "null stands for nothing here");
                }
            } else {
                self.value(item, member.ty, element, &place);
            }
        }
    }

    /// A member `_name`: ids and extensions of a primitive.
    fn beside(
        &mut self,
        object: Node<'_>,
        value: Node<'_>,
        member: &Member,
        element: &Element,
        place: &Place<'_>,
    ) {
        let Some(element_type) = self.types.element else { return };
        if !element.many {
            if value.is_object() {
                self.object(value, element_type, place);
            } else {
                self.issue(IssueCode::Structure, place, "an object is expected here");
            }
            return;
        }
        if value.kind() != Kind::Array || value.is_empty() {
            self.issue(IssueCode::Structure, place, "an array with something in it is expected");
            return;
        }
        let values = object.member(member.name);
        if let Some(values) = values
            && values.items().count() != value.items().count()
        {
            let text = "the two arrays of values and extensions differ in length";
            self.issue(IssueCode::Structure, place, text);
        }
        for (i, item) in value.items().enumerate() {
            let place = place.item(i);
            match item.kind() {
                Kind::Object => self.object(item, element_type, &place),
                // A value that is null too is reported with the values.
                Kind::Null if values.is_some() => {}
                Kind::Null => {
                    self.issue(IssueCode::Structure, &place, "null stands for nothing here");
                }
                _ => self.issue(IssueCode::Structure, &place, "an object is expected here"),
            }
        }
    }

    /// One value of a known type.
    fn value(&mut self, node: Node<'_>, ty: TypeId, element: &Element, place: &Place<'_>) {
        let def = ty.def();
        if let Some(form) = def.form {
            match form::check(form, node) {
                Ok(()) => self.binding_of_code(node, element, place),
                Err(fault) => self.issue(fault.code, place, fault.text),
            }
            return;
        }
        if def.kind == TypeKind::Abstract && def.name == "Resource" {
            self.resource(node, Some(place), element.name == "contained");
            return;
        }
        if !node.is_object() {
            let text = format!("an object ({}) is expected", def.name);
            self.issue(IssueCode::Structure, place, text);
            return;
        }
        self.object(node, ty, place);
        if Some(ty) == self.types.reference {
            self.target(node, element, place);
        } else if element.binding.is_some_and(|b| b.strength == Strength::Required) {
            self.binding_of_concept(node, ty, element, place);
        }
    }

    /// ext-1: a value or nested extensions, not both, not neither.
    fn extension(&mut self, node: Node<'_>, place: &Place<'_>) {
        let nested = node.member("extension").is_some();
        let value = node.members().any(|(n, _)| n.starts_with("value") || n.starts_with("_value"));
        if nested == value {
            let text = "an extension has either a value or extensions";
            self.issue(IssueCode::Extension, place, text);
        }
    }

    fn reference(&mut self, node: Node<'_>, place: &Place<'_>) {
        let Some(text) = node.member("reference").and_then(Node::as_str) else { return };
        let kind = classify(&text);
        if kind == RefKind::Other || text.contains(char::is_whitespace) {
            let place = place.member("reference");
            self.issue(IssueCode::Value, &place, "this is no form that a reference can have");
        } else if let RefKind::Contained(id) = kind
            && !id.is_empty()
            && self.contained.binary_search_by(|c| c.as_str().cmp(id)).is_err()
        {
            // ref-1
            let place = place.member("reference");
            self.issue(IssueCode::Invariant, &place, "no contained resource has this id");
        }
    }

    fn target(&mut self, node: Node<'_>, element: &Element, place: &Place<'_>) {
        if element.targets.is_empty() {
            return;
        }
        let Some(text) = node.member("reference").and_then(Node::as_str) else { return };
        if let RefKind::Relative { type_, .. } | RefKind::Conditional { type_, .. } =
            classify(&text)
            && !element.targets.contains(&type_)
            && !ALSO_TARGETS.contains(&(element.path().as_str(), type_.name()))
        {
            let text = format!("{} can't refer to a resource of this type", element.name);
            self.issue(IssueCode::Value, &place.member("reference"), text);
        }
    }

    fn binding_of_code(&mut self, node: Node<'_>, element: &Element, place: &Place<'_>) {
        let Some(binding) = element.binding else { return };
        if binding.strength != Strength::Required || !binding.set().listed() {
            return;
        }
        if let Some(code) = node.as_str()
            && !binding.set().has_code(&code)
        {
            self.not_in(binding.set().url, place);
        }
    }

    fn binding_of_concept(
        &mut self,
        node: Node<'_>,
        ty: TypeId,
        element: &Element,
        place: &Place<'_>,
    ) {
        let Some(binding) = element.binding else { return };
        let set = binding.set();
        if !set.listed() {
            return;
        }
        let inside = |coding: Node<'_>| {
            let part = |name| coding.member(name).and_then(Node::as_str);
            match (part("system"), part("code")) {
                (Some(system), Some(code)) => set.has_coding(&system, &code),
                (None, Some(code)) => set.has_code(&code),
                _ => true,
            }
        };
        let good = if Some(ty) == self.types.coding {
            inside(node)
        } else if Some(ty) == self.types.concept {
            // One coding of the set is enough; the others may translate it.
            let mut codings = node.member("coding").into_iter().flat_map(Node::items).peekable();
            codings.peek().is_none() || codings.any(inside)
        } else {
            true
        };
        if !good {
            self.not_in(set.url, place);
        }
    }

    fn not_in(&mut self, set: &str, place: &Place<'_>) {
        let text = format!("this code is not in the value set {set}");
        self.issue(IssueCode::CodeInvalid, place, text);
    }

    fn collect_labels(&mut self, meta: Node<'_>) {
        for coding in meta.member("security").into_iter().flat_map(Node::items) {
            let part = |name| coding.member(name).and_then(Node::as_str);
            let label = Label::from_coding(part("system").as_deref(), part("code").as_deref());
            if let Some(label) = label {
                self.labels = self.labels.with(label);
            }
        }
    }
}

/// Whether all members of a choice have one name, perhaps with `_` before it.
fn only_choice(object: Node<'_>, ty: TypeId, member: &Member) -> bool {
    object
        .members()
        .map(|(name, _)| name.strip_prefix('_').unwrap_or(name))
        .filter(|name| *name != member.name)
        .filter_map(|name| ty.member(name))
        .all(|other| other.element().id != member.element().id)
}

/// The items of the array beside a repeating primitive.
fn beside_of<'a>(object: Node<'a>, name: &str) -> impl Iterator<Item = Node<'a>> + use<'a> {
    object
        .members()
        .find(|(n, _)| n.strip_prefix('_') == Some(name))
        .into_iter()
        .flat_map(|(_, n)| n.items())
}
