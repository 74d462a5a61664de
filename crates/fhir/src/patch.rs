//! Patches: parts of a resource changed by name, the rest kept as it is
//! (<https://hl7.org/fhir/R4/http.html#patch>): JSON Patch (RFC 6902) and FHIRPath Patch
//! (<https://hl7.org/fhir/R4/fhirpatch.html>).
//!
//! Number text and member order stay as sent. Who sees a part of a resource patches that
//! part: to him what is withheld is not there, in no path, index, condition or `test`,
//! and none of it is ended (decision 0036). Whether a place may be changed by him is told
//! from his classes and the place alone. A message names the operation and never a value.

mod equal;
mod fhirpath_patch;
mod json_patch;
mod pointer;
mod sight;
mod tree;

use std::collections::BTreeMap;

use base64::Engine as _;
use phial_base::{ClassSet, LogicalId, Version};

use crate::attachment::Brought;
use crate::definitions::ResourceType;
use crate::issue::{Issue, IssueCode};
use crate::json::{Doc, Node};
use crate::limits::Limits;
use crate::split;
use crate::stamp::{Rewrite, stamp};
use crate::validate::{Valid, look, validate};
use fhirpath_patch::FhirPathPatch;
use json_patch::JsonPatch;
use sight::Sight;
use tree::{TooLarge, Tree};

/// The most operations of one patch.
pub const MOST_OPERATIONS: usize = 1_000;

/// A patch, read and not yet applied. Its values are overwritten when it is dropped.
#[derive(Clone)]
pub struct Patch(Form);

#[derive(Clone)]
enum Form {
    Json(JsonPatch),
    FhirPath(FhirPathPatch),
}

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Form::Json(_) => "Patch(JSON)",
            Form::FhirPath(_) => "Patch(FHIRPath)",
        })
    }
}

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpatched {
    /// It does not fit the resource as the patcher sees it: nothing at a path, a `test`
    /// that fails, more than one element where one is meant.
    Unfit(Issue),
    /// It would end, or might stand beside, what the patcher may not see. Told from his
    /// classes and the place alone.
    Withheld(Issue),
    /// What comes of it is no valid resource.
    Invalid(Vec<Issue>),
}

/// Why one operation was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Unfit(&'static str),
    Withheld,
    TooLarge,
}

impl From<TooLarge> for Fault {
    fn from(_: TooLarge) -> Self {
        Fault::TooLarge
    }
}

impl Patch {
    /// A JSON Patch document.
    ///
    /// # Errors
    /// What is no JSON Patch, with its place.
    pub fn json(doc: &Doc) -> Result<Patch, Vec<Issue>> {
        JsonPatch::read(doc).map(|p| Patch(Form::Json(p)))
    }

    /// A FHIRPath Patch: a Parameters resource.
    ///
    /// # Errors
    /// What is no FHIRPath Patch, with its place.
    pub fn parameters(doc: &Doc) -> Result<Patch, Vec<Issue>> {
        FhirPathPatch::read(doc).map(|p| Patch(Form::FhirPath(p)))
    }

    /// The patch in a Bundle's entry: Parameters, or a Binary that holds a JSON Patch
    /// (<https://hl7.org/fhir/R4/http.html#patch>).
    ///
    /// # Errors
    /// As [`Patch::json`] and [`Patch::parameters`].
    pub fn resource(doc: &Doc) -> Result<Patch, Vec<Issue>> {
        let root = doc.root();
        let text = |name: &str| root.member(name).and_then(Node::as_str);
        let issue =
            |path: &str, text: &str| vec![Issue::error(IssueCode::NotSupported, path, text)];
        match text("resourceType").as_deref() {
            Some("Parameters") => Patch::parameters(doc),
            Some("Binary") => {
                let kind = text("contentType").unwrap_or_default();
                let kind = kind.split(';').next().unwrap_or("").trim();
                if kind != "application/json-patch+json" {
                    let text = "a Binary holds application/json-patch+json to patch with";
                    return Err(issue("Binary.contentType", text));
                }
                let data: String = text("data")
                    .unwrap_or_default()
                    .chars()
                    .filter(|c| !c.is_ascii_whitespace())
                    .collect();
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(data.as_bytes())
                    .map(zeroize::Zeroizing::new)
                    .map_err(|_| issue("Binary.data", "this is no base64"))?;
                Patch::json(&Doc::parse(&bytes, &Limits::default())?)
            }
            _ => Err(issue("resourceType", "a patch is Parameters, or a JSON Patch in a Binary")),
        }
    }

    /// Applies the patch to a document of which everything is seen.
    ///
    /// # Errors
    /// [`Unpatched::Unfit`], and [`Unpatched::Invalid`] when what comes of it is too large.
    pub fn apply(&self, doc: &Doc) -> Result<Doc, Unpatched> {
        let mut tree = Tree::of(doc, &[]).map_err(|_| too_large())?;
        self.change(&mut tree, None)?;
        parsed(&tree, true)
    }

    /// Applies the patch to a whole resource of type `ty` for someone who sees these
    /// classes of it.
    ///
    /// # Errors
    /// Why not. None of it depends on what he does not see.
    pub fn apply_seeing(
        &self,
        whole: &Doc,
        ty: ResourceType,
        classes: ClassSet,
    ) -> Result<Patched, Unpatched> {
        let beyond = split::beyond(whole, ty, classes);
        let mut tree = Tree::of(whole, &beyond).map_err(|_| too_large())?;
        let partial = tree.is_partial();
        let before = parsed(&tree, false)?;
        self.change(&mut tree, Some(&Sight { ty, classes }))?;
        let seen = parsed(&tree, false)?;
        // The same names twice: of an element that is withheld and one of another kind.
        // What is seen by itself is then not valid, which is what is told.
        let whole = if partial { parsed(&tree, true).ok() } else { None };
        Ok(Patched { ty, partial, before, seen, whole })
    }

    fn change(&self, tree: &mut Tree, sight: Option<&Sight>) -> Result<(), Unpatched> {
        let (place, fault) = match &self.0 {
            Form::Json(patch) => match patch.apply(tree, sight) {
                Ok(()) => return Ok(()),
                Err((n, fault)) => (JsonPatch::place(n), fault),
            },
            Form::FhirPath(patch) => match patch.apply(tree, sight) {
                Ok(()) => return Ok(()),
                Err((n, fault)) => (FhirPathPatch::place(n), fault),
            },
        };
        Err(match fault {
            Fault::Unfit(text) => {
                Unpatched::Unfit(Issue::error(IssueCode::Processing, place, text))
            }
            Fault::Withheld => {
                let text = "your role may not change what can stand at this path";
                Unpatched::Withheld(Issue::error(IssueCode::Forbidden, place, text))
            }
            Fault::TooLarge => too_large(),
        })
    }
}

fn too_large() -> Unpatched {
    let text = "what comes of the patch is larger or deeper than a resource may be";
    Unpatched::Invalid(vec![Issue::error(IssueCode::TooLong, "patch", text)])
}

fn parsed(tree: &Tree, all: bool) -> Result<Doc, Unpatched> {
    let text = tree.write(all, &mut Vec::new());
    Doc::parse(text.as_bytes(), &Limits::default()).map_err(Unpatched::Invalid)
}

/// What came of a patch, before it gets its version. What the patcher does not see of it
/// stays in here: it can be stored and not looked at.
pub struct Patched {
    ty: ResourceType,
    partial: bool,
    before: Doc,
    seen: Doc,
    /// `None` when all of it is seen, or when it is no JSON that could be stored.
    whole: Option<Doc>,
}

impl Patched {
    /// The classes of which something that is seen is now otherwise than it was. One that
    /// the patcher does not see among them is one that he may not write: to be refused
    /// before anything else is made of this, whether or not something of it was there.
    #[must_use]
    pub fn touched(&self) -> ClassSet {
        touched(&self.before, &self.seen, self.ty)
    }

    /// The files that the patch brings, as far as they are seen: they are to be looked at
    /// like those of a resource that is put.
    #[must_use]
    pub fn brought(&self) -> Brought {
        Brought::new(self.ty, self.before.clone(), self.seen.clone())
    }

    /// Whether the patcher sees less than all of it.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// Gives the resource its version and time, resolves its references as
    /// [`fn@stamp`] does, and validates it. Where part of it is not seen, an issue counts
    /// when what is seen did not have it before: what is missing for being withheld is no
    /// fault of the patch. What it gives is the whole resource: for storing alone.
    ///
    /// # Errors
    /// The issues; none of them depends on what is not seen.
    pub fn finish(
        self,
        id: &LogicalId,
        version: Version,
        last_updated: &str,
        reference: Rewrite<'_>,
    ) -> Result<Valid, Vec<Issue>> {
        let mut stamped = |doc: &Doc| {
            let text = stamp(doc, id, version, last_updated, reference)?;
            Doc::parse(&zeroize::Zeroizing::new(text), &Limits::default())
        };
        let seen = stamped(&self.seen)?;
        if !self.partial {
            return validate(seen);
        }
        let (_, _, was) = look(&self.before);
        let (ty, _, now) = look(&seen);
        let new = beyond_those(&was, now);
        if ty != Some(self.ty) || !new.is_empty() {
            return Err(new);
        }
        let damaged = || {
            let text = "the patch can't be joined to the rest of the resource";
            vec![Issue::error(IssueCode::Processing, "patch", text)]
        };
        let whole = stamped(&self.whole.ok_or_else(damaged)?)?;
        Valid::joined(whole).ok_or_else(damaged)
    }
}

/// The issues that were not there before, places taken without their indexes.
fn beyond_those(was: &[Issue], now: Vec<Issue>) -> Vec<Issue> {
    let name = |issue: &Issue| {
        let mut path = String::new();
        let mut inside = false;
        for c in issue.path.chars() {
            match c {
                '[' => inside = true,
                ']' => inside = false,
                c if !inside => path.push(c),
                _ => {}
            }
        }
        (issue.code.code(), path, issue.text.clone())
    };
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for issue in was {
        *known.entry(name(issue)).or_default() += 1;
    }
    now.into_iter()
        .filter(|issue| match known.get_mut(&name(issue)) {
            Some(n) if *n > 0 => {
                *n -= 1;
                false
            }
            _ => true,
        })
        .collect()
}

/// The classes whose text differs.
fn touched(before: &Doc, after: &Doc, ty: ResourceType) -> ClassSet {
    let (a, b) = (split::texts(before, ty), split::texts(after, ty));
    a.keys()
        .chain(b.keys())
        .filter(|class| a.get(class) != b.get(class))
        .fold(ClassSet::NONE, |set, class| set.with(*class))
}
