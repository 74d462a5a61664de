//! What a patcher may end who does not see the whole of a record: told from the classes
//! that he sees and the place alone, so that a refusal says nothing of what is there.

use phial_base::ClassSet;

use super::tree::{Id, Is, ROOT, Tree};
use crate::class::{classes_possible, classes_seen_at, json_name};
use crate::definitions::{ResourceType, TypeId};
use crate::json::unescape;

/// The classes that the patcher sees of records of a type.
pub(super) struct Sight {
    pub(super) ty: ResourceType,
    pub(super) classes: ClassSet,
}

impl Sight {
    /// Whether every class that can stand at the place, by the map, is seen. Extensions
    /// are not counted: what is withheld of them stays behind.
    pub(super) fn covers(&self, tree: &Tree, id: Id) -> bool {
        self.possible(tree, id).is_some_and(|all| self.classes.covers(all))
    }

    fn possible(&self, tree: &Tree, id: Id) -> Option<ClassSet> {
        if id == ROOT {
            return Some(classes_possible(self.ty));
        }
        if let Some(ty) = resource(tree, id) {
            return Some(classes_possible(ty));
        }
        let (ty, path) = path(tree, self.ty, id)?;
        if path.iter().any(|n| n == "extension" || n == "modifierExtension") {
            // An extension is of one class, and this one is seen.
            return Some(ClassSet::NONE);
        }
        if path.last().is_some_and(|n| n == "contained") {
            let items = tree.items(id).into_iter();
            return items
                .map(|item| self.possible(tree, item))
                .try_fold(ClassSet::NONE, |all, one| Some(all.or(one?)));
        }
        let path: Vec<&str> = path.iter().map(|n| n.strip_prefix('_').unwrap_or(n)).collect();
        Some(classes_seen_at(ty, &path))
    }

    /// Whether an element may be given this member anew: of `value[x]` it can have one, and
    /// the patcher has to see that there is no other.
    pub(super) fn covers_choice(&self, tree: &Tree, object: Id, name: &str) -> bool {
        let Some((ty, path)) = path(tree, self.ty, object) else { return false };
        let owner = owner(tree, self.ty, object);
        let Some(element) = owner.and_then(|t| t.member(name)).map(|m| m.element()) else {
            return true;
        };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        !element.choice
            || element.types.iter().all(|t| {
                let other = json_name(element.name, true, *t);
                let path: Vec<&str> = path.iter().copied().chain([other.as_str()]).collect();
                self.classes.covers(classes_seen_at(ty, &path))
            })
    }
}

/// The type of the objects at a place, by the tables.
pub(super) fn owner(tree: &Tree, root: ResourceType, object: Id) -> Option<TypeId> {
    if object != ROOT
        && let Some(ty) = resource(tree, object)
    {
        return Some(ty.type_id());
    }
    let (ty, path) = path(tree, root, object)?;
    path.iter().try_fold(ty.type_id(), |at, step| match step.strip_prefix('_') {
        Some(_) => TypeId::from_name("Element"),
        None => at.member(step).map(|m| m.ty),
    })
}

/// The resource that the place is in, and the names that lead from there.
fn path(tree: &Tree, root: ResourceType, id: Id) -> Option<(ResourceType, Vec<String>)> {
    let mut names = Vec::new();
    let mut at = id;
    let ty = loop {
        if at == ROOT {
            break root;
        }
        if at != id
            && let Some(ty) = resource(tree, at)
        {
            break ty;
        }
        if let Some(name) = tree.name(at) {
            names.push(unescape(name));
        }
        at = tree.parent(at)?;
    };
    names.reverse();
    Some((ty, names))
}

/// The type of the resource that stands here, if one does.
fn resource(tree: &Tree, id: Id) -> Option<ResourceType> {
    if tree.is(id) != Is::Object {
        return None;
    }
    let name = tree.member(id, "resourceType")?;
    ResourceType::from_name(&tree.string(name)?)
}
