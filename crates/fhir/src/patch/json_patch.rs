//! JSON Patch (RFC 6902): `add`, `remove`, `replace`, `move`, `copy`, `test`, one after
//! the other, all or none.

use crate::issue::{Issue, IssueCode};
use crate::json::{Doc, Kind, Node};
use crate::patch::equal::equal;
use crate::patch::pointer::{Pointer, index};
use crate::patch::sight::Sight;
use crate::patch::tree::{Id, Is, ROOT, Tree};
use crate::patch::{Fault, MOST_OPERATIONS};

/// The operations in their order.
#[derive(Clone)]
pub(super) struct JsonPatch(Vec<Operation>);

#[derive(Clone)]
struct Operation {
    path: Pointer,
    what: What,
}

#[derive(Clone)]
enum What {
    Add(Doc),
    Remove,
    Replace(Doc),
    Move(Pointer),
    Copy(Pointer),
    Test(Doc),
}

impl JsonPatch {
    /// RFC 6902 §3 and §4. Members that an operation does not have are ignored (§4).
    pub(super) fn read(doc: &Doc) -> Result<JsonPatch, Vec<Issue>> {
        let root = doc.root();
        if root.kind() != Kind::Array {
            let text = "a JSON Patch is an array of operations (RFC 6902)";
            return Err(vec![Issue::error(IssueCode::Structure, "patch", text)]);
        }
        let mut all = Vec::new();
        for (n, node) in root.items().enumerate() {
            if n >= MOST_OPERATIONS {
                let text = format!("a patch has at most {MOST_OPERATIONS} operations");
                return Err(vec![Issue::error(IssueCode::TooLong, "patch", text)]);
            }
            all.push(operation(node, &format!("patch[{n}]")).map_err(|issue| vec![issue])?);
        }
        Ok(JsonPatch(all))
    }

    /// Does all of it; the first that can't be done ends it, with its number.
    pub(super) fn apply(
        &self,
        tree: &mut Tree,
        sight: Option<&Sight>,
    ) -> Result<(), (usize, Fault)> {
        for (n, operation) in self.0.iter().enumerate() {
            operation.apply(tree, sight).map_err(|fault| (n, fault))?;
        }
        Ok(())
    }

    pub(super) fn place(n: usize) -> String {
        format!("patch[{n}]")
    }
}

fn operation(node: Node<'_>, at: &str) -> Result<Operation, Issue> {
    let issue = |member: &str, text: &str| {
        Issue::error(IssueCode::Structure, format!("{at}.{member}"), text)
    };
    let text = |member: &str| node.member(member).and_then(Node::as_str);
    let pointer = |member: &str| {
        let text = text(member).ok_or_else(|| issue(member, "a JSON Pointer is needed"))?;
        Pointer::parse(&text).ok_or_else(|| issue(member, "this is no JSON Pointer (RFC 6901)"))
    };
    let value = || {
        let node = node.member("value").ok_or_else(|| issue("value", "a value is needed"))?;
        Ok(Doc::from_node(node))
    };
    let path = pointer("path")?;
    let what = match text("op").as_deref() {
        Some("add") => What::Add(value()?),
        Some("remove") => What::Remove,
        Some("replace") => What::Replace(value()?),
        Some("move") => What::Move(pointer("from")?),
        Some("copy") => What::Copy(pointer("from")?),
        Some("test") => What::Test(value()?),
        _ => return Err(issue("op", "expected add, remove, replace, move, copy or test")),
    };
    Ok(Operation { path, what })
}

const NOTHING: Fault = Fault::Unfit("there is nothing at this path");

impl Operation {
    fn apply(&self, tree: &mut Tree, sight: Option<&Sight>) -> Result<(), Fault> {
        match &self.what {
            What::Add(value) => {
                let new = tree.take(value.root())?;
                self.add(tree, sight, new)
            }
            What::Remove => {
                let id = self.path.find(tree).ok_or(NOTHING)?;
                if id == ROOT {
                    return Err(Fault::Unfit("the whole resource can't be removed by a patch"));
                }
                may_end(tree, sight, id)?;
                tree.remove(id);
                Ok(())
            }
            What::Replace(value) => {
                let id = self.path.find(tree).ok_or(NOTHING)?;
                may_end(tree, sight, id)?;
                let new = tree.take(value.root())?;
                Ok(tree.replace(id, new)?)
            }
            What::Move(from) => self.relocate(tree, sight, from),
            What::Copy(from) => {
                let id = from.find(tree).ok_or(NOTHING)?;
                let new = tree.copy(id)?;
                self.add(tree, sight, new)
            }
            What::Test(value) => {
                let id = self.path.find(tree).ok_or(NOTHING)?;
                let wanted = tree.take(value.root())?;
                if equal(tree, id, wanted) {
                    Ok(())
                } else {
                    Err(Fault::Unfit("the value at this path is another: the test fails"))
                }
            }
        }
    }

    fn relocate(
        &self,
        tree: &mut Tree,
        sight: Option<&Sight>,
        from: &Pointer,
    ) -> Result<(), Fault> {
        let id = from.find(tree).ok_or(NOTHING)?;
        if *from == self.path {
            return Ok(());
        }
        if from.leads_to(&self.path) {
            return Err(Fault::Unfit("a value can't be moved into itself"));
        }
        let list = tree.parent(id).filter(|p| tree.is(*p) == Is::Array);
        if let (Some(list), Some((at, step))) = (list, self.path.place(tree))
            && at == list
        {
            // Within one list, what is withheld in the item goes with it.
            let last = tree.items(list).len().saturating_sub(1);
            let to = if step == "-" { Some(last) } else { index(step) };
            tree.reorder(list, id, to.filter(|n| *n <= last).ok_or(NOTHING)?);
            return Ok(());
        }
        may_end(tree, sight, id)?;
        let new = tree.copy(id)?;
        tree.remove(id);
        self.add(tree, sight, new)
    }

    /// RFC 6902 §4.1.
    fn add(&self, tree: &mut Tree, sight: Option<&Sight>, new: Id) -> Result<(), Fault> {
        if self.path.is_root() {
            may_end(tree, sight, ROOT)?;
            return Ok(tree.replace(ROOT, new)?);
        }
        let (at, step) = self.path.place(tree).ok_or(NOTHING)?;
        if tree.is(at) == Is::Array {
            let count = tree.items(at).len();
            let n = if step == "-" { Some(count) } else { index(step) };
            let n = n.filter(|n| *n <= count).ok_or(NOTHING)?;
            return Ok(tree.insert(at, n, new)?);
        }
        match tree.member(at, step) {
            Some(old) => {
                may_end(tree, sight, old)?;
                Ok(tree.replace(old, new)?)
            }
            None => {
                // Beside a list of primitives another may be there unseen, and the two could
                // not be one.
                let beside = step.starts_with('_') && tree.is(new) == Is::Array;
                let sees = |s: &Sight| !beside && s.covers_choice(tree, at, step);
                if tree.is_partial() && sight.is_some_and(|s| !sees(s)) {
                    return Err(Fault::Withheld);
                }
                Ok(tree.put(at, step, new)?)
            }
        }
    }
}

/// Whether all that can stand at the place is for the patcher to see: he ends nothing
/// that he does not see. Told from his role and the place alone, whatever is there.
fn may_end(tree: &Tree, sight: Option<&Sight>, id: Id) -> Result<(), Fault> {
    match sight {
        Some(sight) if tree.is_partial() && !sight.covers(tree, id) => Err(Fault::Withheld),
        _ => Ok(()),
    }
}
