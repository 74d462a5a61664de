//! One StructureDefinition as a tree of what it constrains. What it does not speak of is
//! not in the tree.

use std::collections::HashMap;

use super::{CORE, World};
use crate::definitions::{Strength, TypeId};
use crate::fhirpath::Expression;
use crate::json::{Doc, Node};
use crate::terminology::canonical;

/// A profile or extension.
#[derive(Debug)]
pub struct Structure {
    /// The canonical URL, without version.
    pub url: Box<str>,
    /// The version.
    pub version: Option<Box<str>>,
    /// The type that it constrains.
    pub ty: Box<str>,
    /// Where an extension may stand: kind and expression.
    pub(super) contexts: Vec<(Box<str>, Box<str>)>,
    pub(super) root: Elem,
}

/// What is asked of one element, or of one slice of it.
#[derive(Debug, Default, Clone)]
pub(super) struct Elem {
    /// The element's name, without `[x]`.
    pub(super) name: Box<str>,
    /// The slice's name.
    pub(super) slice: Option<Box<str>>,
    pub(super) min: Option<usize>,
    /// Nothing: not said. `usize::MAX`: any number.
    pub(super) max: Option<usize>,
    pub(super) types: Vec<Type>,
    pub(super) fixed: Option<Value>,
    pub(super) pattern: Option<Value>,
    pub(super) least: Option<Value>,
    pub(super) most: Option<Value>,
    pub(super) max_length: Option<usize>,
    pub(super) binding: Option<(Strength, Box<str>)>,
    pub(super) slicing: Option<Slicing>,
    pub(super) constraints: Vec<Constraint>,
    /// Elements within, by name.
    pub(super) children: Vec<Elem>,
    pub(super) slices: Vec<Elem>,
}

/// A value in a definition, with its type.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) doc: std::sync::Arc<Doc>,
    pub(super) ty: Option<TypeId>,
}

#[derive(Debug, Clone)]
pub(super) struct Type {
    pub(super) code: Box<str>,
    pub(super) profiles: Vec<Box<str>>,
    pub(super) targets: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
pub(super) struct Slicing {
    pub(super) discriminators: Vec<(Box<str>, Box<str>)>,
    pub(super) ordered: bool,
    pub(super) rules: Rules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    Open,
    Closed,
    OpenAtEnd,
}

#[derive(Debug, Clone)]
pub(super) struct Constraint {
    pub(super) key: Box<str>,
    pub(super) error: bool,
    /// Nothing for an expression that is no FHIRPath.
    pub(super) expression: Option<std::sync::Arc<Expression>>,
}

/// How deep a definition may speak. Trees are walked by recursion.
const MOST_STEPS: usize = 40;

/// The definition can't be read: it rests on one that is not held, or on itself, or it is
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBase;

fn text(node: Node<'_>, name: &str) -> Option<Box<str>> {
    node.member(name).and_then(Node::as_str).map(|t| t.as_ref().into())
}

fn texts(node: Node<'_>, name: &str) -> Vec<Box<str>> {
    let all = node.member(name).into_iter().flat_map(Node::items);
    all.filter_map(|n| n.as_str().map(|t| t.as_ref().into())).collect()
}

impl Structure {
    /// Reads a StructureDefinition, stored or from the tables.
    ///
    /// # Errors
    /// [`NoBase`].
    pub fn of(node: Node<'_>, world: &dyn World) -> Result<Structure, NoBase> {
        let ty = text(node, "type").ok_or(NoBase)?;
        let url = text(node, "url").unwrap_or_default();
        let base = text(node, "baseDefinition").unwrap_or_default();
        let (base, version) = canonical(&base);
        let named = base.strip_prefix(CORE).and_then(TypeId::from_name);
        let below = match named {
            Some(_) => Some(Elem::default()),
            None if base == &*url => None,
            None => world.structure(base, version).map(|s| s.root.clone()),
        };
        let elements = |name: &str| node.member(name).and_then(|d| d.member("element"));
        let (mut root, list) = match (below, elements("differential"), elements("snapshot")) {
            (Some(root), Some(differential), _) => (root, differential),
            (_, _, Some(snapshot)) => (Elem::default(), snapshot),
            (Some(root), None, None) => {
                return Ok(Structure::new(node, url, ty, root));
            }
            _ => return Err(NoBase),
        };
        let mut slices_at: HashMap<String, String> = HashMap::new();
        for e in list.items() {
            let Some(steps) = steps(e, &mut slices_at) else { continue };
            let slices = steps.iter().filter_map(|s| s.1.as_ref());
            if steps.len() + slices.map(|s| s.matches('/').count()).sum::<usize>() > MOST_STEPS {
                return Err(NoBase);
            }
            place(&mut root, &steps, &ty).constrain(e);
        }
        Ok(Structure::new(node, url, ty, root))
    }

    fn new(node: Node<'_>, url: Box<str>, ty: Box<str>, root: Elem) -> Structure {
        let contexts = node.member("context").into_iter().flat_map(Node::items);
        Structure {
            url,
            version: text(node, "version"),
            ty,
            contexts: contexts
                .filter_map(|c| Some((text(c, "type")?, text(c, "expression")?)))
                .collect(),
            root,
        }
    }
}

/// One step of an element's id: name and slice.
type Step = (String, Option<String>);

/// The steps below the root to an element, from its id; from path and slice name where
/// there is no id.
fn steps(e: Node<'_>, slices_at: &mut HashMap<String, String>) -> Option<Vec<Step>> {
    let split = |id: &str| -> Vec<Step> {
        let step = |s: &str| match s.split_once(':') {
            Some((name, slice)) => (name.to_owned(), Some(slice.to_owned())),
            None => (s.to_owned(), None),
        };
        // A slice's name may have dots; the parts of a path begin with a letter.
        id.split('.').skip(1).map(step).collect()
    };
    let path = text(e, "path");
    let id = text(e, "id");
    let slice = text(e, "sliceName");
    if let Some(id) = &id
        && path.as_ref().is_none_or(|p| p.split('.').count() == id.split('.').count())
        && (path.is_none()
            || slice.is_some() == id.rsplit('.').next().is_some_and(|s| s.contains(':')))
    {
        return Some(split(id));
    }
    let path = path?;
    slices_at.retain(|at, _| path.starts_with(&format!("{at}.")));
    if let Some(slice) = &slice {
        slices_at.insert(path.to_string(), slice.to_string());
    }
    let mut so_far = String::new();
    let mut out = Vec::new();
    for (n, name) in path.split('.').enumerate() {
        if n > 0 {
            so_far.push('.');
        }
        so_far.push_str(name);
        if n > 0 {
            out.push((name.to_owned(), slices_at.get(&so_far).cloned()));
        }
    }
    Some(out)
}

/// The element at these steps, made where it is not there yet.
fn place<'e>(root: &'e mut Elem, steps: &[Step], ty: &str) -> &'e mut Elem {
    let mut at = root;
    let mut here = TypeId::from_name(ty);
    for (name, slice) in steps {
        let mut slice = slice.clone();
        let mut plain = name.trim_end_matches("[x]");
        // `valueQuantity` speaks of the slice of `value[x]` that is a Quantity.
        let member =
            here.and_then(|t| t.element(plain).is_none().then(|| t.member(plain)).flatten());
        let mut only = None;
        if let Some(m) = member {
            slice = slice.or_else(|| Some(plain.to_owned()));
            plain = m.element().name;
            only = Some(m.ty.name());
        }
        here = match (member, here.and_then(|t| t.element(plain))) {
            (Some(m), _) => Some(m.ty),
            (None, Some(e)) if e.types.len() == 1 => e.types.first().copied(),
            _ => None,
        };
        at = child(at, plain);
        if let Some(slice) = slice {
            for part in slice.split('/') {
                at = sliced(at, part);
            }
            if let (Some(only), true) = (only, at.types.is_empty()) {
                at.types = vec![Type { code: only.into(), profiles: vec![], targets: vec![] }];
            }
        }
    }
    at
}

fn child<'e>(of: &'e mut Elem, name: &str) -> &'e mut Elem {
    let n = of.children.iter().position(|c| &*c.name == name).unwrap_or_else(|| {
        of.children.push(Elem { name: name.into(), ..Elem::default() });
        of.children.len() - 1
    });
    at(&mut of.children, n)
}

fn sliced<'e>(of: &'e mut Elem, slice: &str) -> &'e mut Elem {
    let n = of.slices.iter().position(|c| c.slice.as_deref() == Some(slice)).unwrap_or_else(|| {
        let name = of.name.clone();
        of.slices.push(Elem { name, slice: Some(slice.into()), ..Elem::default() });
        of.slices.len() - 1
    });
    at(&mut of.slices, n)
}

#[expect(clippy::indexing_slicing, reason = "the number was just found or made")]
fn at(all: &mut [Elem], n: usize) -> &mut Elem {
    &mut all[n]
}

impl Elem {
    /// Adds what an ElementDefinition says.
    fn constrain(&mut self, e: Node<'_>) {
        let number = |name: &str| -> Option<usize> { e.member(name)?.number_text()?.parse().ok() };
        if let Some(min) = number("min") {
            self.min = Some(min);
        }
        if let Some(max) = text(e, "max") {
            self.max =
                Some(if &*max == "*" { usize::MAX } else { max.parse().unwrap_or(usize::MAX) });
        }
        self.max_length = number("maxLength").or(self.max_length);
        for (name, node) in e.members() {
            for (kind, slot) in [
                ("fixed", &mut self.fixed),
                ("pattern", &mut self.pattern),
                ("minValue", &mut self.least),
                ("maxValue", &mut self.most),
            ] {
                let Some(ty) = name.strip_prefix(kind).filter(|ty| !ty.is_empty()) else {
                    continue;
                };
                *slot = Some(Value { doc: Doc::from_node(node).into(), ty: type_of_suffix(ty) });
            }
        }
        let types: Vec<Type> = e
            .member("type")
            .into_iter()
            .flat_map(Node::items)
            .filter_map(|t| {
                Some(Type {
                    code: text(t, "code")?,
                    profiles: texts(t, "profile"),
                    targets: texts(t, "targetProfile"),
                })
            })
            .collect();
        if !types.is_empty() {
            self.types = types;
        }
        if let Some(b) = e.member("binding")
            && let Some(set) = text(b, "valueSet")
        {
            let strength = match text(b, "strength").as_deref() {
                Some("required") => Strength::Required,
                Some("extensible") => Strength::Extensible,
                Some("preferred") => Strength::Preferred,
                _ => Strength::Example,
            };
            self.binding = Some((strength, set));
        }
        if let Some(s) = e.member("slicing") {
            let discriminators = s.member("discriminator").into_iter().flat_map(Node::items);
            self.slicing = Some(Slicing {
                discriminators: discriminators
                    .filter_map(|d| Some((text(d, "type")?, text(d, "path")?)))
                    .collect(),
                ordered: s.member("ordered").and_then(Node::as_bool) == Some(true),
                rules: match text(s, "rules").as_deref() {
                    Some("closed") => Rules::Closed,
                    Some("openAtEnd") => Rules::OpenAtEnd,
                    _ => Rules::Open,
                },
            });
        }
        for c in e.member("constraint").into_iter().flat_map(Node::items) {
            let (Some(key), Some(expression)) = (text(c, "key"), text(c, "expression")) else {
                continue;
            };
            if self.constraints.iter().any(|known| known.key == key) {
                continue;
            }
            self.constraints.push(Constraint {
                key,
                error: text(c, "severity").as_deref() != Some("warning"),
                expression: Expression::parse(&expression).ok().map(Into::into),
            });
        }
    }
}

/// `CodeableConcept` of `patternCodeableConcept`, `uri` of `fixedUri`.
fn type_of_suffix(suffix: &str) -> Option<TypeId> {
    let (first, rest) = suffix.split_at_checked(1)?;
    let primitive = format!("{}{rest}", first.to_ascii_lowercase());
    TypeId::from_name(suffix).or_else(|| TypeId::from_name(&primitive))
}
