//! Profiles: what a StructureDefinition asks of a resource beyond R4's own types, and the
//! check of a resource against both. Those of R4 and US Core are compiled in as text and
//! read when they are asked for; what a caller stores comes in through [`World`].
//!
//! Of a definition its differential is read, on top of what its base says; its snapshot
//! only where the base is not known. It refuses to guess: a binding to what is not held, or
//! an invariant that can't be evaluated, is said to be unchecked.
//!
//! Source: <https://hl7.org/fhir/R4/profiling.html>,
//! <https://hl7.org/fhir/R4/elementdefinition.html>,
//! <https://hl7.org/fhir/R4/validation.html>

mod check;
mod coded;
mod extension;
mod held;
mod host;
mod invariants;
mod rules;
mod slice;
mod structure;
mod values;

use std::sync::Arc;

pub use check::{Asked, check, validate};
pub use held::{claimable, speaks_of, structure as held_structure};
pub use structure::{NoBase, Structure};

use crate::terminology::Source;

/// Where profiles, value sets and code systems are found.
pub trait World: Source {
    /// The definition of this canonical URL, which has no `|version`; the newest when no
    /// version is named.
    fn structure(&self, url: &str, version: Option<&str>) -> Option<Arc<Structure>>;
}

/// Where R4 publishes its types.
const CORE: &str = "http://hl7.org/fhir/StructureDefinition/";
