//! Who may see what (design §5): Cedar policies over roles, purposes, care
//! relationships and sensitivity labels, turned into a mask of data classes; the
//! only place that mints a [`Permit`].
//!
//! It does no I/O, knows neither FHIR's structure nor SQL, and refuses to guess:
//! whatever it does not know (a role, a label, a resource type, an annotation) and
//! whatever fails to evaluate is a denial (invariant 7).
//!
//! How a decision is made:
//!
//! 1. Of the subject's roles those stay that are known, may claim the session's
//!    purpose and may do the action at all (`roles.toml`). None left: denied.
//! 2. Cedar evaluates all permits, then all forbids: two evaluations for all
//!    classes. The mask is the classes of the satisfied permits without the classes
//!    of the satisfied forbids. A floor compiled into this crate is always among
//!    the forbids.
//! 3. [`PolicySet::decide`] holds the mask against the record's facts and gives a
//!    [`Permit`] or a [`Denial`].

mod action;
mod error;
mod evaluate;
mod facts;
mod load;
mod mask;
mod permit;
mod relationship;
mod role;
mod set;
pub mod tool;

pub use action::Action;
pub use error::{Error, Problem};
pub use facts::{Consent, Context, Facts, RecordRef};
pub use mask::{Effect, Explanation, Mask, Obligation, ObligationSet, Satisfied};
pub use permit::{Denial, DenialReason, Permit};
pub use relationship::{Relationship, RelationshipSet};
pub use role::Role;
pub use set::PolicySet;
