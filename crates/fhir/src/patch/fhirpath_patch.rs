//! FHIRPath Patch (<https://hl7.org/fhir/R4/fhirpatch.html>): `add`, `insert`, `delete`,
//! `replace`, `move`, each at the place that an expression finds in what is seen.
//!
//! A primitive is its value and its `_name` together: both are changed as one element.

use super::sight::{Sight, owner};
use super::tree::{Id, Is, ROOT, Tree};
use super::{Fault, MOST_OPERATIONS};
use crate::class::json_name;
use crate::definitions::{Member, ResourceType, TypeId, TypeKind};
use crate::fhirpath::{self, Context, Expression, Item, ManyAs, Place};
use crate::issue::{Issue, IssueCode};
use crate::json::{Doc, Node, unescape};
use crate::limits::Limits;

/// Bytes of documents that one patch may have written and read again, a time for each
/// operation.
const MOST_BYTES: usize = 256 << 20;
/// Steps of FHIRPath that one patch may take.
const MOST_STEPS: u64 = 10_000_000;

/// The operations in their order.
#[derive(Clone)]
pub(super) struct FhirPathPatch(Vec<Operation>);

#[derive(Clone)]
struct Operation {
    path: Expression,
    what: What,
}

#[derive(Clone)]
enum What {
    Add(String, Doc),
    Insert(usize, Doc),
    Delete,
    Replace(Doc),
    Move(usize, usize),
}

impl FhirPathPatch {
    pub(super) fn read(doc: &Doc) -> Result<FhirPathPatch, Vec<Issue>> {
        let root = doc.root();
        let issue = |code, path: String, text: &str| vec![Issue::error(code, path, text)];
        if root.member("resourceType").and_then(Node::as_str).as_deref() != Some("Parameters") {
            let text = "a FHIRPath Patch is a Parameters resource";
            return Err(issue(IssueCode::Structure, "resourceType".to_owned(), text));
        }
        let mut all = Vec::new();
        for (n, node) in root.member("parameter").into_iter().flat_map(Node::items).enumerate() {
            let at = Self::place(n);
            if n >= MOST_OPERATIONS {
                let text = format!("a patch has at most {MOST_OPERATIONS} operations");
                return Err(issue(IssueCode::TooLong, at, &text));
            }
            if node.member("name").and_then(Node::as_str).as_deref() != Some("operation") {
                let text = "each parameter of a FHIRPath Patch is an operation";
                return Err(issue(IssueCode::Value, format!("{at}.name"), text));
            }
            all.push(operation(node, &at).map_err(|issue| vec![issue])?);
        }
        Ok(FhirPathPatch(all))
    }

    pub(super) fn place(n: usize) -> String {
        format!("Parameters.parameter[{n}]")
    }

    pub(super) fn apply(
        &self,
        tree: &mut Tree,
        sight: Option<&Sight>,
    ) -> Result<(), (usize, Fault)> {
        let mut bytes = MOST_BYTES;
        let share = u64::try_from(self.0.len().max(1)).unwrap_or(u64::MAX);
        let steps = (MOST_STEPS / share).max(20_000);
        for (n, operation) in self.0.iter().enumerate() {
            operation.apply(tree, sight, steps, &mut bytes).map_err(|fault| (n, fault))?;
        }
        Ok(())
    }
}

fn operation(node: Node<'_>, at: &str) -> Result<Operation, Issue> {
    let issue = |code, part: &str, text: &str| Issue::error(code, format!("{at}.{part}"), text);
    let missing = |part: &str| issue(IssueCode::Required, part, "this part is needed");
    let part = |name: &str| {
        node.member("part")
            .into_iter()
            .flat_map(Node::items)
            .find(|p| p.member("name").and_then(Node::as_str).as_deref() == Some(name))
    };
    let text = |name: &str| {
        let part = part(name)?;
        let value = ["valueString", "valueCode", "valueUri", "valueId"]
            .into_iter()
            .find_map(|member| part.member(member))?;
        value.as_str().map(std::borrow::Cow::into_owned)
    };
    let number = |name: &str| {
        let part = part(name).ok_or_else(|| missing(name))?;
        let value = ["valueInteger", "valueUnsignedInt", "valuePositiveInt"]
            .into_iter()
            .find_map(|member| part.member(member));
        value
            .and_then(Node::number_text)
            .and_then(|n| n.parse::<usize>().ok())
            .ok_or_else(|| issue(IssueCode::Value, name, "expected a whole number from 0 upwards"))
    };
    let value = || Ok(Doc::from_node(part("value").ok_or_else(|| missing("value"))?));
    let path = text("path").ok_or_else(|| missing("path"))?;
    let path = Expression::parse(&path)
        .map_err(|e| issue(IssueCode::Invalid, "path", &format!("no FHIRPath: {e}")))?;
    let what = match text("type").as_deref() {
        Some("add") => What::Add(text("name").ok_or_else(|| missing("name"))?, value()?),
        Some("insert") => What::Insert(number("index")?, value()?),
        Some("delete") => What::Delete,
        Some("replace") => What::Replace(value()?),
        Some("move") => What::Move(number("source")?, number("destination")?),
        _ => {
            let text = "expected add, insert, delete, replace or move";
            return Err(issue(IssueCode::Value, "type", text));
        }
    };
    Ok(Operation { path, what })
}

/// An element that an expression found.
#[derive(Clone, Copy)]
struct Target {
    node: Option<Id>,
    side: Option<Id>,
    ty: TypeId,
}

/// Where an element stands: the object, its member's name, and which item of the list.
struct Spot {
    object: Id,
    name: String,
    index: Option<usize>,
}

/// A value that was put together, and the type it was given as.
struct Made {
    node: Option<Id>,
    side: Option<Id>,
    ty: Option<TypeId>,
}

const NONE: Fault = Fault::Unfit("the path finds nothing");
const MANY: Fault = Fault::Unfit("the path finds more than one element");
const NO_LIST: Fault = Fault::Unfit("the path finds no list");
const NO_SUCH: Fault = Fault::Unfit("the list has no such place");

impl Operation {
    fn apply(
        &self,
        tree: &mut Tree,
        sight: Option<&Sight>,
        steps: u64,
        bytes: &mut usize,
    ) -> Result<(), Fault> {
        let found = find(tree, &self.path, steps, bytes)?;
        let root = root_type(tree).ok_or(NONE)?;
        match &self.what {
            What::Delete => {
                let Some(target) = one(&found)? else { return Ok(()) };
                delete(tree, sight, target)
            }
            What::Add(name, value) => {
                let target = one(&found)?.ok_or(NONE)?;
                add(tree, sight, target, name, value.root())
            }
            What::Replace(value) => {
                let target = one(&found)?.ok_or(NONE)?;
                replace(tree, sight, root, target, value.root())
            }
            What::Insert(index, value) => {
                let (object, name) = match found.first() {
                    Some(_) => list_of(tree, &found)?,
                    None => self.empty_list(tree, steps, bytes)?,
                };
                let member = owner(tree, root, object).and_then(|t| t.member(&name));
                let member = member.filter(|m| m.element().many).ok_or(NO_LIST)?;
                let made = make(tree, value.root(), member.ty)?;
                let list = List { object, name };
                if *index > list.len(tree) {
                    return Err(NO_SUCH);
                }
                list.insert(tree, *index, made)
            }
            What::Move(source, destination) => {
                let (object, name) = list_of(tree, &found)?;
                let list = List { object, name };
                let count = list.len(tree);
                if *source >= count || *destination >= count {
                    return Err(NO_SUCH);
                }
                list.shift(tree, *source, *destination)
            }
        }
    }

    /// The list that a path names which holds nothing yet: what stands before its last
    /// name is one element.
    fn empty_list(
        &self,
        tree: &Tree,
        steps: u64,
        bytes: &mut usize,
    ) -> Result<(Id, String), Fault> {
        let (head, name) = self.path.text().rsplit_once('.').ok_or(NO_LIST)?;
        let plain = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric());
        let head = Expression::parse(head).map_err(|_| NO_LIST)?;
        if !plain(name) {
            return Err(NO_LIST);
        }
        let target = one(&find(tree, &head, steps, bytes)?)?.ok_or(NONE)?;
        let object = target.node.filter(|id| tree.is(*id) == Is::Object).ok_or(NO_LIST)?;
        Ok((object, name.to_owned()))
    }
}

fn one(found: &[Target]) -> Result<Option<Target>, Fault> {
    match found {
        [] => Ok(None),
        [target] => Ok(Some(*target)),
        _ => Err(MANY),
    }
}

fn root_type(tree: &Tree) -> Option<ResourceType> {
    ResourceType::from_name(&tree.string(tree.member(ROOT, "resourceType")?)?)
}

/// What the expression finds in what is seen.
fn find(
    tree: &Tree,
    path: &Expression,
    steps: u64,
    bytes: &mut usize,
) -> Result<Vec<Target>, Fault> {
    let mut order = Vec::new();
    let text = tree.write(false, &mut order);
    *bytes = bytes.checked_sub(text.len()).ok_or(Fault::TooLarge)?;
    let doc = Doc::parse(text.as_bytes(), &Limits::default()).map_err(|_| Fault::TooLarge)?;
    let root = Place::resource(doc.root()).ok_or(NONE)?;
    let limits = fhirpath::Limits { steps, ..fhirpath::Limits::default() };
    let context = Context { limits, many_as: ManyAs::Filter, ..Context::default() };
    let items = path
        .evaluate(&context, &[Item::Place(root)])
        .map_err(|_| Fault::Unfit("the path can't be evaluated on this resource"))?;
    let id = |node: Option<Node<'_>>| node.and_then(|n| order.get(n.index()).copied());
    items
        .iter()
        .map(|item| match item {
            Item::Place(p) => {
                let target = Target { node: id(p.node()), side: id(p.side()), ty: p.type_id() };
                if target.node.is_none() && target.side.is_none() { Err(NONE) } else { Ok(target) }
            }
            Item::Value(_) => Err(Fault::Unfit("the path finds a value and no element")),
        })
        .collect()
}

fn spot(tree: &Tree, target: Target) -> Option<Spot> {
    let id = target.node.or(target.side)?;
    let parent = tree.parent(id)?;
    let plain = |id| {
        let name = unescape(tree.name(id)?);
        Some(name.strip_prefix('_').map_or(name.clone(), str::to_owned))
    };
    if tree.is(parent) == Is::Array {
        let index = tree.items(parent).iter().position(|c| *c == id)?;
        return Some(Spot {
            object: tree.parent(parent)?,
            name: plain(parent)?,
            index: Some(index),
        });
    }
    Some(Spot { object: parent, name: plain(id)?, index: None })
}

/// The one list that these are all the elements of.
fn list_of(tree: &Tree, found: &[Target]) -> Result<(Id, String), Fault> {
    let spots: Vec<Spot> =
        found.iter().map(|t| spot(tree, *t).ok_or(NO_LIST)).collect::<Result<_, _>>()?;
    let first = spots.first().ok_or(NONE)?;
    let same =
        spots.iter().all(|s| s.object == first.object && s.name == first.name && s.index.is_some());
    let list = List { object: first.object, name: first.name.clone() };
    if same && list.len(tree) == spots.len() { Ok((list.object, list.name)) } else { Err(NO_LIST) }
}

fn may_end(tree: &Tree, sight: Option<&Sight>, target: Target) -> Result<(), Fault> {
    let Some(sight) = sight.filter(|_| tree.is_partial()) else { return Ok(()) };
    let covered = [target.node, target.side].into_iter().flatten().all(|id| sight.covers(tree, id));
    if covered { Ok(()) } else { Err(Fault::Withheld) }
}

fn delete(tree: &mut Tree, sight: Option<&Sight>, target: Target) -> Result<(), Fault> {
    let spot = spot(tree, target).ok_or(Fault::Unfit("the resource itself can't be deleted"))?;
    may_end(tree, sight, target)?;
    if let Some(index) = spot.index {
        List { object: spot.object, name: spot.name }.remove(tree, index);
    } else {
        for id in [target.node, target.side].into_iter().flatten() {
            tree.remove(id);
        }
    }
    // An element that holds nothing is none (https://hl7.org/fhir/R4/json.html).
    tree.prune(spot.object);
    Ok(())
}

fn add(
    tree: &mut Tree,
    sight: Option<&Sight>,
    target: Target,
    name: &str,
    value: Node<'_>,
) -> Result<(), Fault> {
    let no_member = Fault::Unfit("the element at the path has no element of this name");
    let member = named(target.ty, name, value).ok_or(no_member)?;
    let made = make(tree, value, member.ty)?;
    let object = match target.node.filter(|id| tree.is(*id) == Is::Object) {
        Some(object) => object,
        // Of a primitive, what has names stands beside it.
        None if target.ty.kind() == TypeKind::Primitive => beside(tree, target)?,
        None => return Err(NONE),
    };
    let element = member.element();
    if element.many {
        let list = List { object, name: member.name.to_owned() };
        let count = list.len(tree);
        return list.insert(tree, count, made);
    }
    if tree.is_partial() && sight.is_some_and(|s| !s.covers_choice(tree, object, member.name)) {
        return Err(Fault::Withheld);
    }
    let there = tree.members(object).iter().any(|(n, _)| {
        let n = unescape(n);
        let plain = n.strip_prefix('_').unwrap_or(&n);
        target.ty.member(plain).is_some_and(|m| m.element().id == element.id)
    });
    if there {
        return Err(Fault::Unfit("there is such an element already: replace it"));
    }
    single(tree, object, member.name, made)
}

/// The object beside a primitive, made when there is none.
fn beside(tree: &mut Tree, target: Target) -> Result<Id, Fault> {
    if let Some(side) = target.side {
        return Ok(side);
    }
    let spot = spot(tree, target).ok_or(NONE)?;
    let side = tree.object()?;
    match spot.index {
        None => tree.put(spot.object, &format!("_{}", spot.name), side)?,
        Some(index) => {
            let list = List { object: spot.object, name: spot.name };
            let twin = list.twin_with(tree, index + 1)?;
            let old = tree.items(twin).get(index).copied().ok_or(NO_SUCH)?;
            tree.replace(old, side)?;
        }
    }
    Ok(side)
}

fn single(tree: &mut Tree, object: Id, name: &str, made: Made) -> Result<(), Fault> {
    if let Some(node) = made.node {
        tree.put(object, name, node)?;
    }
    if let Some(side) = made.side {
        tree.put(object, &format!("_{name}"), side)?;
    }
    Ok(())
}

fn replace(
    tree: &mut Tree,
    sight: Option<&Sight>,
    root: ResourceType,
    target: Target,
    value: Node<'_>,
) -> Result<(), Fault> {
    let spot = spot(tree, target).ok_or(Fault::Unfit("the resource itself can't be replaced"))?;
    may_end(tree, sight, target)?;
    let made = make(tree, value, target.ty)?;
    if let Some(index) = spot.index {
        return List { object: spot.object, name: spot.name }.replace(tree, index, made);
    }
    let member = owner(tree, root, spot.object).and_then(|t| t.member(&spot.name));
    let other = member.filter(|m| m.element().choice).zip(made.ty).map(|(m, ty)| {
        let element = m.element();
        json_name(element.name, element.types.contains(&ty), ty)
    });
    let renamed = other.filter(|name| *name != spot.name);
    if let Some(name) = renamed {
        // Of value[x] another: the name says the type.
        if tree.is_partial() && sight.is_some_and(|s| !s.covers_choice(tree, spot.object, &name)) {
            return Err(Fault::Withheld);
        }
        for id in [target.node, target.side].into_iter().flatten() {
            tree.remove(id);
        }
        return single(tree, spot.object, &name, made);
    }
    for (old, new, name) in [
        (target.node, made.node, spot.name.clone()),
        (target.side, made.side, format!("_{}", spot.name)),
    ] {
        match (old, new) {
            (Some(old), Some(new)) => tree.replace(old, new)?,
            (Some(old), None) => tree.remove(old),
            (None, Some(new)) => tree.put(spot.object, &name, new)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// The member that a name means: itself, or of a choice the one for the value's type.
fn named(ty: TypeId, name: &str, value: Node<'_>) -> Option<&'static Member> {
    if let Some(member) = ty.member(name) {
        return Some(member);
    }
    let element = ty.element(name).filter(|e| e.choice)?;
    let given = given(value).and_then(|(suffix, _)| type_named(suffix))?;
    ty.member(&json_name(element.name, true, given))
}

/// The `value[x]` of a part: what follows `value`, and the value.
fn given(part: Node<'_>) -> Option<(&str, Node<'_>)> {
    part.members().find_map(|(name, node)| {
        let suffix = name.strip_prefix("value")?;
        (!suffix.is_empty()).then_some((suffix, node))
    })
}

fn given_side(part: Node<'_>) -> Option<(&str, Node<'_>)> {
    part.members().find_map(|(name, node)| Some((name.strip_prefix("_value")?, node)))
}

/// The type that `value[x]` names with this ending: `CodeableConcept`, `DateTime`.
fn type_named(suffix: &str) -> Option<TypeId> {
    if let Some(ty) = TypeId::from_name(suffix) {
        return Some(ty);
    }
    let mut rest = suffix.chars();
    let first = rest.next()?.to_ascii_lowercase();
    TypeId::from_name(&format!("{first}{}", rest.as_str()))
}

/// Puts together what a part holds, for an element of type `ty`: a value, a resource, or,
/// of an element that has no type of its own, its elements as parts.
fn make(tree: &mut Tree, part: Node<'_>, ty: TypeId) -> Result<Made, Fault> {
    let (value, side) = (given(part), given_side(part));
    if let Some((suffix, _)) = value.or(side) {
        let node = value.map(|(_, node)| tree.take(node)).transpose()?;
        let side = side.map(|(_, node)| tree.take(node)).transpose()?;
        return Ok(Made { node, side, ty: type_named(suffix) });
    }
    if let Some(resource) = part.member("resource") {
        return Ok(Made { node: Some(tree.take(resource)?), side: None, ty: None });
    }
    let parts = part.member("part").ok_or(Fault::Unfit("the operation has no value"))?;
    let object = tree.object()?;
    for inner in parts.items() {
        let name = inner.member("name").and_then(Node::as_str).unwrap_or_default();
        let no_member = Fault::Unfit("a part of the value is no element of its type");
        let member = named(ty, &name, inner).ok_or(no_member)?;
        let made = make(tree, inner, member.ty)?;
        if member.element().many {
            let list = List { object, name: member.name.to_owned() };
            let count = list.len(tree);
            list.insert(tree, count, made)?;
        } else if tree.member(object, member.name).is_some() {
            return Err(Fault::Unfit("a part of the value stands twice and is no list"));
        } else {
            single(tree, object, member.name, made)?;
        }
    }
    Ok(Made { node: Some(object), side: None, ty: Some(ty) })
}

/// A repeating element: its array, and of primitives the one of what stands beside them.
struct List {
    object: Id,
    name: String,
}

impl List {
    fn values(&self, tree: &Tree) -> Option<Id> {
        tree.member(self.object, &self.name).filter(|id| tree.is(*id) == Is::Array)
    }

    fn twin(&self, tree: &Tree) -> Option<Id> {
        tree.member(self.object, &format!("_{}", self.name)).filter(|id| tree.is(*id) == Is::Array)
    }

    fn len(&self, tree: &Tree) -> usize {
        let count = |id: Option<Id>| id.map_or(0, |id| tree.items(id).len());
        count(self.values(tree)).max(count(self.twin(tree)))
    }

    /// The array beside the values, made and filled up to `count` entries.
    fn twin_with(&self, tree: &mut Tree, count: usize) -> Result<Id, Fault> {
        let twin = match self.twin(tree) {
            Some(twin) => twin,
            // Another may be there unseen, and the two could not be one.
            None if tree.is_partial() => return Err(Fault::Withheld),
            None => {
                let new = tree.array()?;
                tree.put(self.object, &format!("_{}", self.name), new)?;
                new
            }
        };
        fill(tree, twin, count)?;
        Ok(twin)
    }

    fn insert(&self, tree: &mut Tree, at: usize, made: Made) -> Result<(), Fault> {
        let values = match self.values(tree) {
            Some(values) => values,
            None => tree.array()?,
        };
        fill(tree, values, at)?;
        let node = match made.node {
            Some(node) => node,
            None => tree.scalar("null")?,
        };
        tree.insert(values, at, node)?;
        if tree.parent(values).is_none() {
            tree.put(self.object, &self.name, values)?;
        }
        match (made.side, self.twin(tree)) {
            (Some(side), _) => {
                let twin = self.twin_with(tree, at)?;
                tree.insert(twin, at, side)?;
            }
            (None, Some(twin)) if at < tree.items(twin).len() => {
                let null = tree.scalar("null")?;
                tree.insert(twin, at, null)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&self, tree: &mut Tree, at: usize) {
        for array in [self.values(tree), self.twin(tree)].into_iter().flatten() {
            if let Some(item) = tree.items(array).get(at).copied() {
                tree.remove(item);
            }
            let left = tree.items(array);
            if left.iter().all(|id| tree.text(*id) == Some("null")) {
                left.into_iter().for_each(|id| tree.detach(id));
            }
        }
        for array in [self.values(tree), self.twin(tree)].into_iter().flatten() {
            tree.prune(array);
        }
    }

    fn replace(&self, tree: &mut Tree, at: usize, made: Made) -> Result<(), Fault> {
        let node = match made.node {
            Some(node) => node,
            None => tree.scalar("null")?,
        };
        if let Some(old) = self.values(tree).and_then(|v| tree.items(v).get(at).copied()) {
            tree.replace(old, node)?;
        } else {
            return Err(NO_SUCH);
        }
        let old = self.twin(tree).and_then(|t| tree.items(t).get(at).copied());
        match (old, made.side) {
            (Some(old), Some(side)) => tree.replace(old, side)?,
            (Some(old), None) => {
                let null = tree.scalar("null")?;
                tree.replace(old, null)?;
            }
            (None, Some(side)) => {
                let twin = self.twin_with(tree, at)?;
                tree.insert(twin, at, side)?;
            }
            (None, None) => return Ok(()),
        }
        if let Some(twin) = self.twin(tree) {
            let left = tree.items(twin);
            if left.iter().all(|id| tree.text(*id) == Some("null")) {
                left.into_iter().for_each(|id| tree.detach(id));
                tree.prune(twin);
            }
        }
        Ok(())
    }

    fn shift(&self, tree: &mut Tree, from: usize, to: usize) -> Result<(), Fault> {
        if let Some(twin) = self.twin(tree) {
            fill(tree, twin, from.max(to) + 1)?;
        }
        for array in [self.values(tree), self.twin(tree)].into_iter().flatten() {
            if let Some(item) = tree.items(array).get(from).copied() {
                tree.reorder(array, item, to);
            }
        }
        Ok(())
    }
}

/// Adds nulls until the array has so many items.
fn fill(tree: &mut Tree, array: Id, count: usize) -> Result<(), Fault> {
    while tree.items(array).len() < count {
        let null = tree.scalar("null")?;
        let end = tree.items(array).len();
        tree.insert(array, end, null)?;
    }
    Ok(())
}
