//! Splitting a resource into one segment per data class, and splicing the segments that
//! a reader may have back into JSON, without a parse. The plan that joins them holds
//! structure only: member names, lengths and brackets, no value.
//!
//! Plan, version 2 (the format is final; the head's version implies it): operations:
//!
//! | byte | operation |
//! |---|---|
//! | `0x00..=0x0b` | the next leaf of this class |
//! | `0x10` | close the innermost object or array |
//! | `0x11` | open an object in an array |
//! | `0x12 name` | open an object member |
//! | `0x13 name` | open an array member |
//! | `0x14` | here a `tag` member belongs when something is withheld |
//! | `0x15` | here an item of `tag` belongs when something is withheld |
//! | `0x16` | here a `meta` member belongs when something is withheld |
//! | `0x17 name` | `0x13 name`, then `0x11` |
//! | `0x18` | `0x10` twice |
//! | `0x19` | `0x10`, then `0x11` |
//!
//! A name is its number in `split/names.txt` (append only), or 255, a varint length and
//! the bytes. A leaf is a run of whole members or items with the commas between them. In
//! a segment leaves are parted by a byte 0; a plan holds no length, so records of one
//! shape have one plan.
//!
//! | text | plan | segments |
//! |---|---|---|
//! | `{"id":"a","note":[{"text":"b"}]}` | leaf administrative, leaf notes, `16` | `"id":"a"`, `"note":[{"text":"b"}]` |
//!
//! Segments are sealed in short, see [`shorten`].

mod plan;
mod short;
mod walk;

use phial_base::{ClassSet, DataClass};

use crate::Error;
use crate::definitions::ResourceType;
use crate::json::Doc;
use crate::validate::Valid;
pub(crate) use plan::TAG;
pub use short::{Known, Piece, Short, shorten};
pub(crate) use walk::{beyond, classes, tagged, texts};

/// A resource in pieces.
#[derive(Clone, PartialEq, Eq)]
pub struct Split {
    /// How the pieces join. Structure only.
    pub plan: Vec<u8>,
    /// The text of each class that occurs, leaves parted by a byte 0, in the order of the
    /// classes' numbers.
    pub segments: Vec<(DataClass, Vec<u8>)>,
    /// The classes that occur.
    pub classes: ClassSet,
}

/// What a reader gets.
#[derive(Clone, PartialEq, Eq)]
pub struct Spliced {
    /// The JSON text.
    pub body: Vec<u8>,
    /// The classes that the record has and the reader does not get.
    pub withheld: ClassSet,
}

/// Splits a resource by the current class map, contained resources by their own types'.
#[must_use]
pub fn split(v: &Valid) -> Split {
    let ops = walk::walk(v.doc(), v.resource_type());
    plan::write(&ops, v.text())
}

/// Whether a body says that something was withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// By the tag `SUBSETTED`.
    Subsetted,
    /// It does not: the body goes to no reader.
    Nothing,
}

/// Joins the segments that `segment` gives in short, of a record with these `classes`.
/// Where it gives none, the class is withheld: nothing of it is left, nor any container
/// that it alone filled, and the body is marked as `mark` says. With every segment the
/// body is the text that was split.
///
/// # Errors
/// [`Error::Stored`] when the plan is damaged or a segment is not the plan's.
pub fn splice<'s>(
    plan: &[u8],
    classes: ClassSet,
    known: &Known,
    segment: &dyn Fn(DataClass) -> Option<Piece<'s>>,
    mark: Mark,
) -> Result<Spliced, Error> {
    plan::splice(plan, classes, known, segment, mark)
}

/// The classes that occur in a document of type `ty`, such as a part of a resource.
#[must_use]
pub fn classes_in(doc: &Doc, ty: ResourceType) -> ClassSet {
    walk::walk(doc, ty).iter().fold(ClassSet::NONE, |set, op| match op {
        walk::Op::Leaf(class, _, _) => set.with(*class),
        _ => set,
    })
}
