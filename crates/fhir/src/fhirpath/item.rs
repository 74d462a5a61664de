//! Items of a collection: places in a document, with the type they have there, and
//! values. A place finds its elements by the tables: `value` is `valueQuantity` with the
//! type Quantity, and a primitive is its value and its `_name` together.

use std::borrow::Cow;
use std::fmt;

use super::decimal::Decimal;
use super::moment::{Moment, Span};
use super::value::{Measure, Quantity, SystemType, Value};
use crate::definitions::{Element, Form, ResourceType, TypeId, TypeKind};
use crate::json::{Kind, Node};

/// What an expression gives.
pub type Collection<'a> = Vec<Item<'a>>;

/// One item of a collection.
#[derive(Clone)]
pub enum Item<'a> {
    /// A place in a document.
    Place(Place<'a>),
    /// A value that stands nowhere.
    Value(Value<'a>),
}

/// A place in a document: an element with its type.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    node: Option<Node<'a>>,
    side: Option<Node<'a>>,
    ty: TypeId,
}

impl<'a> Item<'a> {
    /// The place, if it is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place<'a>> {
        match self {
            Item::Place(place) => Some(place),
            Item::Value(_) => None,
        }
    }

    /// The value as FHIRPath's operators see it: of a primitive or a Quantity too.
    /// `None` for other elements and for a primitive that has extensions only.
    #[must_use]
    pub fn value(&self) -> Option<Value<'a>> {
        match self {
            Item::Place(place) => place.value(),
            Item::Value(value) => Some(value.clone()),
        }
    }

    /// The text of a string, or of an element whose value is one.
    #[must_use]
    pub fn string(&self) -> Option<Cow<'a, str>> {
        match self.value()? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match self.value()? {
            Value::Boolean(value) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Place(place) => place.fmt(f),
            Item::Value(value) => value.fmt(f),
        }
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({}, {})", self.path(), self.ty.name())
    }
}

impl<'a> From<Place<'a>> for Item<'a> {
    fn from(place: Place<'a>) -> Self {
        Item::Place(place)
    }
}

impl<'a> From<Value<'a>> for Item<'a> {
    fn from(value: Value<'a>) -> Self {
        Item::Value(value)
    }
}

impl<'a> Place<'a> {
    /// The resource at this node, by its `resourceType`. `None` when that is no type.
    #[must_use]
    pub fn resource(node: Node<'a>) -> Option<Place<'a>> {
        let name = node.member("resourceType")?.as_str()?;
        let ty = ResourceType::from_name(&name)?.type_id();
        Some(Place { node: Some(node), side: None, ty })
    }

    /// A node of a known type.
    #[must_use]
    pub fn of(node: Node<'a>, ty: TypeId) -> Place<'a> {
        Place { node: Some(node), side: None, ty }
    }

    /// A resource of which only the type is known: `is` can be asked of it, and it has
    /// no elements. What a resolver gives that does not fetch.
    #[must_use]
    pub fn unseen(ty: ResourceType) -> Place<'static> {
        Place { node: None, side: None, ty: ty.type_id() }
    }

    /// The type. That of a resource, or the type of the element.
    #[must_use]
    pub fn type_id(&self) -> TypeId {
        self.ty
    }

    /// The JSON value, when there is one.
    #[must_use]
    pub fn node(&self) -> Option<Node<'a>> {
        self.node
    }

    /// The object of the `_name` beside a primitive, when there is one.
    #[must_use]
    pub fn side(&self) -> Option<Node<'a>> {
        self.side
    }

    fn any_node(&self) -> Option<Node<'a>> {
        self.node.or(self.side)
    }

    /// The path from the document's root, such as `Patient.name[0].given[1]`. Without
    /// values; empty for a place that is not in a document.
    #[must_use]
    pub fn path(&self) -> String {
        let Some(node) = self.any_node() else { return String::new() };
        let mut out = String::new();
        let mut in_array = None;
        for step in node.lineage() {
            if out.is_empty() {
                let name = Place::resource(step).map_or("", |p| p.ty.name());
                out.push_str(if name.is_empty() { "(root)" } else { name });
            } else if let Some(array) = in_array {
                let items = Node::items(array);
                let n = items.take_while(|i| i.index() < step.index()).count();
                out.push_str(&format!("[{n}]"));
            } else {
                let name = step.name();
                out.push('.');
                out.push_str(crate::json::path_name(name.strip_prefix('_').unwrap_or(name)));
            }
            in_array = (step.kind() == Kind::Array).then_some(step);
        }
        out
    }

    /// The resource that it stands in, and the one that contains that, which is the same
    /// unless it is contained. A Bundle does not contain its entries.
    #[must_use]
    pub(crate) fn resources(&self, seen: &mut usize) -> Option<(Place<'a>, Place<'a>)> {
        let mut found: Option<(Place<'a>, Place<'a>)> = None;
        let mut in_contained = false;
        for node in self.any_node()?.counted_lineage(seen) {
            if node.name() == "contained" {
                in_contained = true;
            } else if let Some(place) = Place::resource(node) {
                let container = found.map(|f| f.1).filter(|_| in_contained);
                found = Some((place, container.unwrap_or(place)));
                in_contained = false;
            }
        }
        found
    }

    /// What is at this member, `node` and `_name` together, each item by itself.
    fn items(ty: TypeId, node: Option<Node<'a>>, side: Option<Node<'a>>, out: &mut Collection<'a>) {
        let array = |n: Option<Node<'a>>| n.filter(|n| n.kind() == Kind::Array);
        if array(node).is_none() && array(side).is_none() {
            out.extend(Place::at(ty, node, side).map(Item::Place));
            return;
        }
        let mut nodes = array(node).into_iter().flat_map(Node::items);
        let mut sides = array(side).into_iter().flat_map(Node::items);
        loop {
            let (node, side) = (nodes.next(), sides.next());
            if node.is_none() && side.is_none() {
                return;
            }
            out.extend(Place::at(ty, node, side).map(Item::Place));
        }
    }

    fn at(ty: TypeId, node: Option<Node<'a>>, side: Option<Node<'a>>) -> Option<Place<'a>> {
        let node = node.filter(|n| !n.is_null());
        let side = side.filter(|n| n.is_object());
        if ty.kind() == TypeKind::Abstract && ty.name() == "Resource" {
            return node.and_then(Place::resource);
        }
        (node.is_some() || side.is_some()).then_some(Place { node, side, ty })
    }

    /// The object whose members are the elements: of a primitive, the one beside it.
    fn object(&self) -> Option<Node<'a>> {
        self.node.filter(|n| n.is_object()).or(self.side)
    }

    /// The element of this name, with all its items. Nothing for a name that the type
    /// does not have. Gives how many members were looked at.
    pub(crate) fn member(&self, name: &str, out: &mut Collection<'a>) -> usize {
        let (Some(object), Some(element)) = (self.object(), self.ty.element(name)) else {
            return 0;
        };
        let mut seen = 0;
        if !element.choice {
            let Some(ty) = element.types.first() else { return 0 };
            let (mut node, mut side) = (None, None);
            for (n, value) in object.members() {
                seen += 1;
                if n == name {
                    node = Some(value);
                } else if n.strip_prefix('_') == Some(name) {
                    side = Some(value);
                }
            }
            Place::items(*ty, node, side, out);
            return seen;
        }
        self.choice(object, element, out)
    }

    fn choice(&self, object: Node<'a>, element: &Element, out: &mut Collection<'a>) -> usize {
        let mut seen = 0;
        for (name, node) in object.members() {
            seen += 1;
            let plain = name.strip_prefix('_').unwrap_or(name);
            if !plain.starts_with(element.name) {
                continue;
            }
            let member = self.ty.member(plain).filter(|m| m.element().id == element.id);
            let Some(member) = member else { continue };
            if plain == name {
                let side = side_of(object, name, &mut seen);
                Place::items(member.ty, Some(node), side, out);
            } else if object.member(plain).is_none() {
                Place::items(member.ty, None, Some(node), out);
            }
        }
        seen
    }

    /// All elements that are there, in the order of the document. Gives how many members
    /// were looked at.
    pub(super) fn children(&self, out: &mut Collection<'a>) -> usize {
        let Some(object) = self.object() else { return 0 };
        let mut seen = object.members().count();
        let sides = object.members().filter(|(name, _)| name.starts_with('_')).count();
        for (name, node) in object.members() {
            let plain = name.strip_prefix('_').unwrap_or(name);
            let Some(member) = self.ty.member(plain) else { continue };
            if plain == name {
                let side = if sides == 0 { None } else { side_of(object, name, &mut seen) };
                Place::items(member.ty, Some(node), side, out);
            } else if object.member(plain).is_none() {
                Place::items(member.ty, None, Some(node), out);
            }
        }
        seen
    }

    /// Whether it is of this type or of one that derives from it.
    #[must_use]
    pub fn is(&self, ty: TypeId) -> bool {
        self.ty.lineage().any(|t| t == ty)
    }

    /// Whether it is a primitive that has a value.
    #[must_use]
    pub fn has_value(&self) -> bool {
        self.ty.kind() == TypeKind::Primitive && self.node.is_some()
    }

    /// The value as the operators see it. Text that is not of its type's form is a
    /// string; a number that can't be held exactly is none.
    #[must_use]
    pub fn value(&self) -> Option<Value<'a>> {
        let node = self.node?;
        if self.ty.kind() != TypeKind::Primitive {
            return self.quantity().map(Value::Quantity);
        }
        let form = self.ty.def().form();
        match node.kind() {
            Kind::Bool => return node.as_bool().map(Value::Boolean),
            Kind::Number => {
                let number = node.number_text()?;
                if form != Some(Form::Decimal)
                    && let Ok(n) = number.parse()
                {
                    return Some(Value::Integer(n));
                }
                return Decimal::parse(number).map(Value::Decimal);
            }
            _ => {}
        }
        let text = node.as_str()?;
        let moment = match form {
            Some(Form::Date) => Moment::date(&text).map(Value::Date),
            Some(Form::DateTime | Form::Instant) => Moment::date_time(&text).map(Value::DateTime),
            Some(Form::Time) => Moment::time(&text).map(Value::Time),
            _ => None,
        };
        Some(moment.unwrap_or(Value::String(text)))
    }

    /// A FHIR Quantity as an amount: by its UCUM code, a currency, or else its unit's
    /// text. `None` when it has a comparator, since it then is a range.
    /// <https://hl7.org/fhir/R4/fhirpath.html#quantity>
    fn quantity(&self) -> Option<Quantity<'a>> {
        let money = self.ty.name() == "Money";
        if !money && !self.ty.lineage().any(|t| t.name() == "Quantity") {
            return None;
        }
        let node = self.node?;
        let text = |name: &str| node.member(name)?.as_str();
        if node.member("comparator").is_some() {
            return None;
        }
        let value = Decimal::parse(node.member("value")?.number_text()?)?;
        if money {
            return Some(Quantity { value, measure: Measure::Code(text("currency")?) });
        }
        let ucum = text("system").as_deref() == Some("http://unitsofmeasure.org");
        let code = text("code");
        if let Some(span) = code.as_deref().filter(|_| ucum).and_then(Span::from_ucum) {
            return Some(Quantity { value, measure: Measure::Calendar(span) });
        }
        let measure = code.or_else(|| text("unit")).unwrap_or(Cow::Borrowed("1"));
        Some(Quantity { value, measure: Measure::Code(measure) })
    }

    /// What `type()` says: namespace and name.
    pub(super) fn type_info(&self) -> Value<'static> {
        Value::Type("FHIR", self.ty.name())
    }
}

/// The `_name` beside a member.
fn side_of<'a>(object: Node<'a>, name: &str, seen: &mut usize) -> Option<Node<'a>> {
    let mut all = object.members();
    let side = all.find(|(n, _)| {
        *seen += 1;
        n.strip_prefix('_') == Some(name)
    });
    side.map(|(_, node)| node)
}

/// What `type()` says of a value.
pub(super) fn type_info(value: &Value<'_>) -> Value<'static> {
    match value.system_type() {
        SystemType::Type => Value::Type("System", "Any"),
        ty => Value::Type("System", ty.name()),
    }
}
