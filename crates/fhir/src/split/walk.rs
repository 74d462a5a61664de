//! Goes through a document with the class map and says where each class lies.

use std::collections::BTreeMap;

use phial_base::{ClassSet, DataClass};

use crate::class::{Child, StateId, States, Within, is_government, states};
use crate::definitions::ResourceType;
use crate::json::{Doc, Kind, Node};

/// A step of the plan, with places in the document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op<'d> {
    /// A run of members or items of one class.
    Leaf(DataClass, usize, usize),
    /// Opens an object: a member's, or an array's item.
    Object(Option<&'d str>),
    /// Opens an array member.
    Array(&'d str),
    /// Closes the innermost.
    Close,
    /// Where `tag`, an item of it, or `meta` belongs when something is withheld.
    TagMember,
    TagItem,
    MetaMember,
}

struct Walk<'d> {
    map: &'static States,
    ops: Vec<Op<'d>>,
    /// The class of each value that holds no other, by its number in the document.
    classes: Option<Vec<DataClass>>,
}

/// The steps of the plan for a document.
pub(super) fn walk(doc: &Doc, ty: ResourceType) -> Vec<Op<'_>> {
    let map = states();
    let mut walk = Walk { map, ops: Vec::with_capacity(32), classes: None };
    walk.root(doc.root(), map.root(ty));
    walk.ops
}

/// The class of each value of a document by [`Node::index`]. What holds others of
/// several classes counts as notes, and so does what lies beyond the end; ask for what
/// it holds.
pub(crate) fn classes(doc: &Doc, ty: ResourceType) -> Vec<DataClass> {
    let map = states();
    let mut walk = Walk { map, ops: Vec::with_capacity(32), classes: Some(Vec::new()) };
    walk.members(doc.root(), map.root(ty));
    walk.classes.unwrap_or_default()
}

/// The ranges of the document's text that are of none of these classes, in order.
pub(crate) fn beyond(doc: &Doc, ty: ResourceType, classes: ClassSet) -> Vec<(usize, usize)> {
    walk(doc, ty)
        .iter()
        .filter_map(|op| match op {
            Op::Leaf(class, start, end) if !classes.has(*class) => Some((*start, *end)),
            _ => None,
        })
        .collect()
}

/// The text of each class that occurs, its leaves in order.
pub(crate) fn texts(doc: &Doc, ty: ResourceType) -> BTreeMap<DataClass, Vec<&str>> {
    let mut all: BTreeMap<DataClass, Vec<&str>> = BTreeMap::new();
    for op in walk(doc, ty) {
        if let Op::Leaf(class, start, end) = op {
            all.entry(class).or_default().push(doc.text().get(start..end).unwrap_or_default());
        }
    }
    all
}

const SUBSETTED: &str = "SUBSETTED";
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";

/// Whether the tag is among `meta.tag` already.
pub(crate) fn tagged(tags: Node<'_>) -> bool {
    let is = |tag: Node<'_>, name, value| {
        tag.member(name).and_then(Node::as_str).is_some_and(|v| v == value)
    };
    tags.items().any(|t| is(t, "code", SUBSETTED) && is(t, "system", OBSERVATION_VALUE))
}

impl<'d> Walk<'d> {
    fn root(&mut self, root: Node<'d>, state: StateId) {
        let mut meta_seen = false;
        for (name, node) in root.members() {
            let child = self.map.child(state, name).map(|c| c.within);
            if let ("meta", true, Some(Within::Object(state))) = (name, node.is_object(), child) {
                meta_seen = true;
                self.meta(node, state);
            } else {
                self.member(name, node, state);
            }
        }
        if !meta_seen {
            self.ops.push(Op::MetaMember);
        }
    }

    /// `meta` stays open, because a tag may have to be added.
    fn meta(&mut self, meta: Node<'d>, state: StateId) {
        self.ops.push(Op::Object(Some("meta")));
        let mut tags_seen = false;
        for (name, node) in meta.members() {
            if name == "tag" && node.kind() == Kind::Array {
                tags_seen = true;
                if !tagged(node) {
                    let tag = self.map.child(state, "tag").map(|c| c.within);
                    let Some(Within::Object(tag)) = tag else { continue };
                    self.ops.push(Op::Array("tag"));
                    for item in node.items() {
                        self.object(item, None, tag, DataClass::Administrative);
                    }
                    self.ops.push(Op::TagItem);
                    self.ops.push(Op::Close);
                    continue;
                }
            }
            self.member(name, node, state);
        }
        if !tags_seen {
            self.ops.push(Op::TagMember);
        }
        self.ops.push(Op::Close);
    }

    fn members(&mut self, object: Node<'d>, state: StateId) {
        for (name, node) in object.members() {
            self.member(name, node, state);
        }
    }

    fn member(&mut self, name: &'d str, node: Node<'d>, state: StateId) {
        let twin = name.strip_prefix('_');
        let Some(child) = self.map.child(state, twin.unwrap_or(name)) else {
            return self.leaf(DataClass::Notes, node, Some(name));
        };
        if let Within::Primitive(element) = child.within {
            return self.primitive(name, node, child, element);
        }
        if node.kind() == Kind::Array {
            let mark = self.ops.len();
            self.ops.push(Op::Array(name));
            for item in node.items() {
                self.value(item, None, child);
            }
            self.close(mark, node, Some(name), child.class);
        } else {
            self.value(node, Some(name), child);
        }
    }

    /// A complex value: a member when it has a name, an item otherwise.
    fn value(&mut self, node: Node<'d>, name: Option<&'d str>, child: Child) {
        match child.within {
            Within::Object(state) => self.object(node, name, state, child.class),
            Within::Identifier(plain, government) => {
                let (state, class) = if is_government(node) {
                    (government, DataClass::GovernmentIdentifier)
                } else {
                    (plain, child.class)
                };
                self.object(node, name, state, class);
            }
            Within::Extension => {
                let class = self.extension(node);
                self.leaf(class, node, name);
            }
            Within::Resource => {
                let ty = node.member("resourceType").and_then(Node::as_str);
                match ty.and_then(|t| ResourceType::from_name(&t)) {
                    Some(ty) => {
                        self.object(node, name, self.map.root(ty), DataClass::Administrative);
                    }
                    None => self.leaf(DataClass::Notes, node, name),
                }
            }
            Within::Primitive(_) => self.leaf(child.class, node, name),
        }
    }

    fn object(&mut self, node: Node<'d>, name: Option<&'d str>, state: StateId, class: DataClass) {
        let mark = self.ops.len();
        self.ops.push(Op::Object(name));
        self.members(node, state);
        self.close(mark, node, name, class);
    }

    fn extension(&self, extension: Node<'d>) -> DataClass {
        let url = extension.member("url").and_then(Node::as_str);
        url.map_or(DataClass::Notes, |u| self.map.extension(&u))
    }

    /// A primitive element, or its `_name` twin.
    fn primitive(&mut self, name: &'d str, node: Node<'d>, child: Child, element: StateId) {
        let is_twin = name.starts_with('_');
        if node.kind() == Kind::Array {
            // Values and their twins belong together by position, so a twin goes with its
            // values, unless it says what those who may see the values may not see.
            let foreign = if is_twin { self.foreign(node, child.class) } else { None };
            self.leaf(foreign.unwrap_or(child.class), node, Some(name));
            for item in node.items().filter(|_| !is_twin) {
                self.note(item, child.class);
            }
        } else if is_twin && node.is_object() {
            self.object(node, Some(name), element, child.class);
        } else {
            self.leaf(child.class, node, Some(name));
        }
    }

    /// The class of an extension in a `_name` array that is neither the values' class nor
    /// administrative; notes before any other.
    fn foreign(&self, twin: Node<'d>, own: DataClass) -> Option<DataClass> {
        let mut found = None;
        let elements = twin.items().filter_map(|e| e.member("extension"));
        for class in elements.flat_map(Node::items).map(|e| self.extension(e)) {
            if class == own || class == DataClass::Administrative {
                continue;
            }
            if class == DataClass::Notes {
                return Some(class);
            }
            found = found.or(Some(class));
        }
        found
    }

    fn note(&mut self, node: Node<'d>, class: DataClass) {
        if let Some(classes) = &mut self.classes {
            let at = node.index();
            if at >= classes.len() {
                classes.resize(at + 1, DataClass::Notes);
            }
            if let Some(slot) = classes.get_mut(at) {
                *slot = class;
            }
        }
    }

    fn leaf(&mut self, class: DataClass, node: Node<'d>, name: Option<&'d str>) {
        self.note(node, class);
        let range = node.range();
        // `"name":` stands before a member's value.
        let start = range.start - name.map_or(0, |n| n.len() + 3);
        self.run(class, start, range.end);
    }

    /// Adds a leaf; one that only a comma parts from the leaf before becomes part of it.
    fn run(&mut self, class: DataClass, start: usize, end: usize) {
        if let Some(Op::Leaf(c, _, e)) = self.ops.last_mut()
            && *c == class
            && *e + 1 == start
        {
            *e = end;
            return;
        }
        self.ops.push(Op::Leaf(class, start, end));
    }

    /// Ends what was opened at `mark`. What turned out to be of one class is a leaf.
    fn close(&mut self, mark: usize, node: Node<'d>, name: Option<&'d str>, class: DataClass) {
        let class = match self.ops.get(mark + 1..) {
            Some([Op::Leaf(class, _, _)]) => *class,
            Some([]) | None => class,
            Some(_) => {
                self.ops.push(Op::Close);
                return;
            }
        };
        self.ops.truncate(mark);
        self.leaf(class, node, name);
    }
}
