//! A document that can be changed: JSON values as a tree, text kept as sent, member order
//! kept. Some values may be withheld from whoever changes it: to him they are not there,
//! in no path, index, comparison or count, and no change of his moves or ends them.
//!
//! It refuses to grow or deepen beyond what the parser takes, so that a patch that copies
//! its own copies ends.

use zeroize::Zeroizing;

use crate::issue::write_string;
use crate::json::{Doc, Kind, Node, unescape};
use crate::limits::Limits;

/// A value's number in its tree.
pub(super) type Id = usize;

/// The outermost value.
pub(super) const ROOT: Id = 0;

/// The tree would become larger or deeper than a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

enum Content {
    /// Member names as they stand in JSON, escapes kept.
    Object(Vec<(Zeroizing<String>, Id)>),
    Array(Vec<Id>),
    /// A string, number, boolean or null, as sent.
    Scalar(Zeroizing<String>),
}

struct Slot {
    parent: Option<Id>,
    withheld: bool,
    content: Content,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Object,
    Array,
    Scalar,
}

pub(super) struct Tree {
    slots: Vec<Slot>,
    /// Whether anything in it is withheld: when nothing is, nothing need be looked for.
    partial: bool,
    /// Bytes that may still be added.
    room: usize,
    limits: Limits,
}

impl Tree {
    /// The document, with what lies in these ranges of its text withheld. They are sorted
    /// and don't overlap.
    pub(super) fn of(doc: &Doc, withheld: &[(usize, usize)]) -> Result<Tree, TooLarge> {
        let limits = Limits::default();
        let mut tree = Tree {
            slots: Vec::new(),
            partial: !withheld.is_empty(),
            room: limits.max_bytes,
            limits,
        };
        tree.graft(doc.root(), None, withheld)?;
        Ok(tree)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.room = self.room.checked_sub(bytes + 4).ok_or(TooLarge)?;
        Ok(())
    }

    fn push(
        &mut self,
        parent: Option<Id>,
        withheld: bool,
        content: Content,
    ) -> Result<Id, TooLarge> {
        if self.slots.len() >= self.limits.max_elements {
            return Err(TooLarge);
        }
        self.slots.push(Slot { parent, withheld, content });
        Ok(self.slots.len() - 1)
    }

    /// Adds a value of another document, not yet in any place.
    pub(super) fn take(&mut self, node: Node<'_>) -> Result<Id, TooLarge> {
        self.graft(node, None, &[])
    }

    fn graft(
        &mut self,
        node: Node<'_>,
        parent: Option<Id>,
        withheld: &[(usize, usize)],
    ) -> Result<Id, TooLarge> {
        let at = node.range().start;
        let before = withheld.partition_point(|(start, _)| *start <= at);
        let hidden =
            before.checked_sub(1).and_then(|i| withheld.get(i)).is_some_and(|(_, end)| at < *end);
        match node.kind() {
            Kind::Object => {
                let id = self.push(parent, hidden, Content::Object(Vec::new()))?;
                for (name, value) in node.members() {
                    self.spend(name.len())?;
                    let child = self.graft(value, Some(id), withheld)?;
                    self.append_member(id, Zeroizing::new(name.to_owned()), child);
                }
                Ok(id)
            }
            Kind::Array => {
                let id = self.push(parent, hidden, Content::Array(Vec::new()))?;
                for value in node.items() {
                    let child = self.graft(value, Some(id), withheld)?;
                    if let Some(Content::Array(items)) = self.content_mut(id) {
                        items.push(child);
                    }
                }
                Ok(id)
            }
            _ => {
                let text = node.text();
                self.spend(text.len())?;
                self.push(parent, hidden, Content::Scalar(Zeroizing::new(text.to_owned())))
            }
        }
    }

    /// A new value that holds this text of JSON, which is a scalar.
    pub(super) fn scalar(&mut self, text: &str) -> Result<Id, TooLarge> {
        self.spend(text.len())?;
        self.push(None, false, Content::Scalar(Zeroizing::new(text.to_owned())))
    }

    /// A new empty object.
    pub(super) fn object(&mut self) -> Result<Id, TooLarge> {
        self.push(None, false, Content::Object(Vec::new()))
    }

    /// A new empty array.
    pub(super) fn array(&mut self) -> Result<Id, TooLarge> {
        self.push(None, false, Content::Array(Vec::new()))
    }

    fn slot(&self, id: Id) -> Option<&Slot> {
        self.slots.get(id)
    }

    fn content_mut(&mut self, id: Id) -> Option<&mut Content> {
        self.slots.get_mut(id).map(|s| &mut s.content)
    }

    fn append_member(&mut self, object: Id, name: Zeroizing<String>, child: Id) {
        if let Some(Content::Object(members)) = self.content_mut(object) {
            members.push((name, child));
        }
        self.set_parent(child, Some(object));
    }

    fn set_parent(&mut self, id: Id, parent: Option<Id>) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.parent = parent;
        }
    }

    /// Every child, withheld or not.
    fn all(&self, id: Id) -> Vec<Id> {
        match self.slot(id).map(|s| &s.content) {
            Some(Content::Object(members)) => members.iter().map(|(_, c)| *c).collect(),
            Some(Content::Array(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn is(&self, id: Id) -> Is {
        match self.slot(id).map(|s| &s.content) {
            Some(Content::Object(_)) => Is::Object,
            Some(Content::Array(_)) => Is::Array,
            _ => Is::Scalar,
        }
    }

    /// Whether anything of the document is withheld.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    /// Whether the value is there for whoever changes the document. A container of which
    /// all is withheld is not.
    pub(super) fn sees(&self, id: Id) -> bool {
        if !self.partial || id == ROOT {
            return true;
        }
        let Some(slot) = self.slot(id) else { return false };
        if slot.withheld {
            return false;
        }
        let children = self.all(id);
        children.is_empty() || children.into_iter().any(|c| self.sees(c))
    }

    /// Whether anything in the value is withheld.
    fn holds_withheld(&self, id: Id) -> bool {
        self.partial
            && (self.slot(id).is_some_and(|s| s.withheld)
                || self.all(id).into_iter().any(|c| self.holds_withheld(c)))
    }

    pub(super) fn parent(&self, id: Id) -> Option<Id> {
        self.slot(id).and_then(|s| s.parent)
    }

    /// The members that are seen.
    pub(super) fn members(&self, object: Id) -> Vec<(&str, Id)> {
        match self.slot(object).map(|s| &s.content) {
            Some(Content::Object(members)) => members
                .iter()
                .filter(|(_, c)| self.sees(*c))
                .map(|(n, c)| (n.as_str(), *c))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The items that are seen.
    pub(super) fn items(&self, array: Id) -> Vec<Id> {
        match self.slot(array).map(|s| &s.content) {
            Some(Content::Array(items)) => {
                items.iter().copied().filter(|c| self.sees(*c)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The member of this name, decoded, if it is seen.
    pub(super) fn member(&self, object: Id, name: &str) -> Option<Id> {
        self.named(object, name, true)
    }

    fn named(&self, object: Id, name: &str, seen: bool) -> Option<Id> {
        let Some(Content::Object(members)) = self.slot(object).map(|s| &s.content) else {
            return None;
        };
        members.iter().find(|(n, c)| same_name(n, name) && self.sees(*c) == seen).map(|(_, c)| *c)
    }

    /// The member name that leads to a value, escapes kept; `None` for an item.
    pub(super) fn name(&self, id: Id) -> Option<&str> {
        match self.slot(self.parent(id)?).map(|s| &s.content) {
            Some(Content::Object(members)) => {
                members.iter().find(|(_, c)| *c == id).map(|(n, _)| n.as_str())
            }
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.slot(id).map(|s| &s.content) {
            Some(Content::Scalar(text)) => Some(text),
            _ => None,
        }
    }

    /// A string's value, decoded.
    pub(super) fn string(&self, id: Id) -> Option<String> {
        let text = self.text(id)?;
        text.strip_prefix('"')?.strip_suffix('"').map(unescape)
    }

    /// How many values stand above this one.
    fn depth(&self, id: Id) -> usize {
        std::iter::successors(self.parent(id), |p| self.parent(*p)).count()
    }

    fn height(&self, id: Id) -> usize {
        1 + self.all(id).into_iter().map(|c| self.height(c)).max().unwrap_or(0)
    }

    fn fits(&self, below: Id, child: Id) -> Result<(), TooLarge> {
        if self.depth(below) + 1 + self.height(child) > self.limits.max_depth {
            return Err(TooLarge);
        }
        Ok(())
    }

    /// A copy of what is seen of a value, not yet in any place.
    pub(super) fn copy(&mut self, id: Id) -> Result<Id, TooLarge> {
        match self.is(id) {
            Is::Scalar => {
                let text = Zeroizing::new(self.text(id).unwrap_or("null").to_owned());
                self.scalar(&text)
            }
            Is::Object => {
                let members: Vec<(Zeroizing<String>, Id)> = self
                    .members(id)
                    .into_iter()
                    .map(|(n, c)| (Zeroizing::new(n.to_owned()), c))
                    .collect();
                let new = self.object()?;
                for (name, child) in members {
                    self.spend(name.len())?;
                    let child = self.copy(child)?;
                    self.append_member(new, name, child);
                }
                Ok(new)
            }
            Is::Array => {
                let items = self.items(id);
                let new = self.array()?;
                for item in items {
                    let child = self.copy(item)?;
                    self.insert_raw(new, usize::MAX, child);
                }
                Ok(new)
            }
        }
    }

    fn insert_raw(&mut self, array: Id, at: usize, child: Id) {
        if let Some(Content::Array(items)) = self.content_mut(array) {
            let at = at.min(items.len());
            items.insert(at, child);
        }
        self.set_parent(child, Some(array));
    }

    /// Puts a value under a name that the object does not have, as far as is seen. Where
    /// it has it unseen, the two are joined.
    pub(super) fn put(&mut self, object: Id, name: &str, child: Id) -> Result<(), TooLarge> {
        self.fits(object, child)?;
        self.place(object, name, child)
    }

    fn place(&mut self, object: Id, name: &str, child: Id) -> Result<(), TooLarge> {
        if self.partial
            && let Some(hidden) = self.named(object, name, false)
            && self.join(hidden, child)?
        {
            return Ok(());
        }
        // Of another kind than what is withheld under this name: what is seen is not valid
        // then, since an element is of one kind, and is refused for that.
        let quoted = raw_name(name);
        self.spend(quoted.len())?;
        self.append_member(object, Zeroizing::new(quoted), child);
        Ok(())
    }

    /// Adds what is in `new` to what is withheld in `into`. False when the two are not of
    /// one kind.
    fn join(&mut self, into: Id, new: Id) -> Result<bool, TooLarge> {
        let kind = self.is(into);
        if kind != self.is(new) || kind == Is::Scalar {
            return Ok(false);
        }
        // A leaf that was withheld whole is now withheld in its parts.
        self.open(into);
        match kind {
            Is::Object => {
                let members: Vec<(String, Id)> =
                    self.members(new).into_iter().map(|(n, c)| (unescape(n), c)).collect();
                for (name, child) in members {
                    self.place(into, &name, child)?;
                }
            }
            _ => {
                for item in self.items(new) {
                    self.insert_raw(into, usize::MAX, item);
                }
            }
        }
        Ok(true)
    }

    /// Makes what is withheld as one withheld child by child.
    fn open(&mut self, id: Id) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if !std::mem::replace(&mut slot.withheld, false) {
            return;
        }
        for child in self.all(id) {
            if let Some(slot) = self.slots.get_mut(child) {
                slot.withheld = true;
            }
        }
    }

    /// Puts a value before the item that is seen as the `at`-th, or behind the last.
    pub(super) fn insert(&mut self, array: Id, at: usize, child: Id) -> Result<(), TooLarge> {
        self.fits(array, child)?;
        let seen = self.items(array);
        let all = self.all(array);
        let raw = match seen.get(at) {
            Some(item) => all.iter().position(|c| c == item).unwrap_or(all.len()),
            None => all.len(),
        };
        self.insert_raw(array, raw, child);
        self.twin_grows(array, raw)
    }

    /// Takes a value out of its place, as far as it is seen; what is withheld in it stays.
    pub(super) fn remove(&mut self, id: Id) {
        if self.holds_withheld(id) {
            for child in self.all(id) {
                if self.sees(child) {
                    self.remove(child);
                }
            }
            return;
        }
        self.detach(id);
    }

    /// Takes a value out of its place with all that is in it.
    pub(super) fn detach(&mut self, id: Id) {
        let Some(parent) = self.parent(id) else { return };
        let mut from = None;
        match self.content_mut(parent) {
            Some(Content::Object(members)) => members.retain(|(_, c)| *c != id),
            Some(Content::Array(items)) => {
                from = items.iter().position(|c| *c == id);
                items.retain(|c| *c != id);
            }
            _ => {}
        }
        self.set_parent(id, None);
        if let Some(at) = from {
            self.twin_shrinks(parent, at);
        }
    }

    /// Puts `new` in the place of what is seen of `id`.
    pub(super) fn replace(&mut self, id: Id, new: Id) -> Result<(), TooLarge> {
        let Some(parent) = self.parent(id) else {
            return self.replace_root(new);
        };
        self.fits(parent, new)?;
        if self.holds_withheld(id) {
            self.remove(id);
            if self.join(id, new)? {
                return Ok(());
            }
            let name = self.name(id).map(unescape);
            if let Some(name) = name {
                let quoted = Zeroizing::new(raw_name(&name));
                self.append_member(parent, quoted, new);
            } else {
                let at =
                    self.all(parent).iter().position(|c| *c == id).map_or(usize::MAX, |i| i + 1);
                self.insert_raw(parent, at, new);
            }
            return Ok(());
        }
        match self.content_mut(parent) {
            Some(Content::Object(members)) => {
                members.iter_mut().filter(|(_, c)| *c == id).for_each(|(_, c)| *c = new);
            }
            Some(Content::Array(items)) => {
                items.iter_mut().filter(|c| **c == id).for_each(|c| *c = new);
            }
            _ => {}
        }
        self.set_parent(id, None);
        self.set_parent(new, Some(parent));
        Ok(())
    }

    fn replace_root(&mut self, new: Id) -> Result<(), TooLarge> {
        if self.partial {
            self.remove(ROOT);
            if self.join(ROOT, new)? {
                return Ok(());
            }
        }
        let Some(slot) = self.slots.get_mut(new) else { return Ok(()) };
        let content = std::mem::replace(&mut slot.content, Content::Array(Vec::new()));
        if let Some(root) = self.slots.get_mut(ROOT) {
            root.content = content;
        }
        for child in self.all(ROOT) {
            self.set_parent(child, Some(ROOT));
        }
        Ok(())
    }

    /// The array beside an array of primitive values (`_given` beside `given`) when it is
    /// withheld: whoever does not see it can't keep the two in step, so it follows.
    fn hidden_twin(&self, array: Id) -> Option<Id> {
        if !self.partial {
            return None;
        }
        let name = format!("_{}", self.name(array)?);
        let twin = self.named(self.parent(array)?, &name, false)?;
        (self.is(twin) == Is::Array).then_some(twin)
    }

    fn twin_grows(&mut self, array: Id, at: usize) -> Result<(), TooLarge> {
        let Some(twin) = self.hidden_twin(array) else { return Ok(()) };
        if at < self.all(twin).len() {
            let null = self.scalar("null")?;
            if let Some(slot) = self.slots.get_mut(null) {
                slot.withheld = true;
            }
            self.insert_raw(twin, at, null);
        }
        Ok(())
    }

    fn twin_shrinks(&mut self, array: Id, at: usize) {
        let Some(twin) = self.hidden_twin(array) else { return };
        if let Some(entry) = self.all(twin).get(at).copied() {
            // What was said of a value goes with the value.
            self.detach(entry);
        }
        let empty = self.all(twin).into_iter().all(|c| self.text(c) == Some("null"));
        if empty {
            self.detach(twin);
        }
    }

    /// Moves an item that is seen to where it is the `to`-th of those seen, with what is
    /// withheld in it and beside it.
    pub(super) fn reorder(&mut self, array: Id, item: Id, to: usize) {
        let all = self.all(array);
        let Some(from) = all.iter().position(|c| *c == item) else { return };
        let rest: Vec<Id> = self.items(array).into_iter().filter(|c| *c != item).collect();
        let left: Vec<Id> = all.into_iter().filter(|c| *c != item).collect();
        let raw = match rest.get(to) {
            Some(next) => left.iter().position(|c| c == next).unwrap_or(left.len()),
            None => left.len(),
        };
        let shift = |items: &mut Vec<Id>| {
            if from < items.len() {
                let moved = items.remove(from);
                items.insert(raw.min(items.len()), moved);
            }
        };
        let twin = self.hidden_twin(array);
        if let Some(Content::Array(items)) = self.content_mut(array) {
            shift(items);
        }
        // A twin that ends before either place has nothing there to keep in step.
        if let Some(twin) = twin
            && from.max(raw) < self.all(twin).len()
            && let Some(Content::Array(items)) = self.content_mut(twin)
        {
            shift(items);
        }
    }

    /// Takes out containers that hold nothing, from here upwards.
    pub(super) fn prune(&mut self, mut at: Id) {
        while at != ROOT && self.is(at) != Is::Scalar && self.all(at).is_empty() {
            let Some(parent) = self.parent(at) else { return };
            self.detach(at);
            at = parent;
        }
    }

    /// The JSON of what is seen, or of all. `order` gets the values in the order in which
    /// they stand, which is that of the numbers a parser gives them.
    pub(super) fn write(&self, all: bool, order: &mut Vec<Id>) -> Zeroizing<String> {
        // As much as it can need, so that no copy is left behind by growing.
        let used = self.limits.max_bytes - self.room;
        let mut out = Zeroizing::new(String::with_capacity(used + 64));
        self.write_value(ROOT, all, &mut out, order);
        out
    }

    fn write_value(&self, id: Id, all: bool, out: &mut String, order: &mut Vec<Id>) {
        order.push(id);
        match self.slot(id).map(|s| &s.content) {
            Some(Content::Object(members)) => {
                out.push('{');
                let mut first = true;
                for (name, child) in members.iter().filter(|(_, c)| all || self.sees(*c)) {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    out.push('"');
                    out.push_str(name);
                    out.push_str("\":");
                    self.write_value(*child, all, out, order);
                }
                out.push('}');
            }
            Some(Content::Array(items)) => {
                out.push('[');
                let mut first = true;
                for child in items.iter().filter(|c| all || self.sees(**c)) {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    self.write_value(*child, all, out, order);
                }
                out.push(']');
            }
            Some(Content::Scalar(text)) => out.push_str(text),
            None => out.push_str("null"),
        }
    }
}

/// A name as it stands in JSON, without its quotes.
fn raw_name(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    write_string(&mut quoted, name);
    quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn same_name(raw: &str, name: &str) -> bool {
    if raw.contains('\\') { unescape(raw) == name } else { raw == name }
}
