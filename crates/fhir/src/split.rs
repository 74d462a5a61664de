//! Splitting a resource into one segment per data class, and splicing the segments that
//! a reader may have back into JSON, without a parse. The plan that joins them holds
//! structure only: member names, lengths and brackets, no value.
//!
//! Plan, version 1 (the format is final): version `u8`, class bits `u16` little-endian,
//! then operations:
//!
//! | byte | operation |
//! |---|---|
//! | `0x00..=0xbf` | leaf: class in the high nibble; low 3 bits of the length, bit 3: a varint with the rest follows |
//! | `0xc0` | close the innermost object or array |
//! | `0xc1` | open an object in an array |
//! | `0xc2 name` | open an object member |
//! | `0xc3 name` | open an array member |
//! | `0xc4` | here a `tag` member belongs when something is withheld |
//! | `0xc5` | here an item of `tag` belongs when something is withheld |
//! | `0xc6` | here a `meta` member belongs when something is withheld |
//! | `0xc7 name` | `0xc3 name`, then `0xc1` |
//! | `0xc8` | `0xc0` twice |
//! | `0xc9` | `0xc0`, then `0xc1` |
//!
//! A name is its number in `split/names.txt` (append only), or 255, a varint length and
//! the bytes. A leaf is a run of whole members or items with the commas between them.
//!
//! | text | plan | segments |
//! |---|---|---|
//! | `{"id":"a","note":[{"text":"b"}]}` | leaf administrative 8, leaf notes 23, `c6` | `"id":"a"`, `"note":[{"text":"b"}]` |

mod plan;
mod walk;

use phial_base::{ClassSet, DataClass};

use crate::Error;
use crate::validate::Valid;
pub(crate) use walk::classes;

/// A resource in pieces.
#[derive(Clone, PartialEq, Eq)]
pub struct Split {
    /// How the pieces join. Structure only.
    pub plan: Vec<u8>,
    /// The text of each class that occurs, in the order of the classes' numbers.
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

/// Joins the segments that `segment` gives. Where it gives none, the class is withheld:
/// nothing of it is left, nor any container that it alone filled, and the body carries
/// the tag `SUBSETTED`. With every segment the body is the text that was split.
///
/// # Errors
/// [`Error::Stored`] when the plan is damaged or a segment is not the plan's.
pub fn splice<'s>(
    plan: &[u8],
    segment: &dyn Fn(DataClass) -> Option<&'s [u8]>,
) -> Result<Spliced, Error> {
    plan::splice(plan, segment)
}

/// The classes that a plan speaks of.
///
/// # Errors
/// [`Error::Stored`] when the plan is damaged.
pub fn plan_classes(plan: &[u8]) -> Result<ClassSet, Error> {
    plan::classes(plan)
}
