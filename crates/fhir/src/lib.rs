//! FHIR R4: tables, parse, validate, search grammar and extraction, data classes.
//!
//! Pure: this crate does no I/O and reads no clock. Whatever it says about a resource
//! names places ([`Issue::path`]) and never repeats a value.

pub mod attachment;
pub mod calendar;
pub mod capability;
pub mod class;
pub mod compartment;
pub mod definitions;
mod error;
pub mod fhirpath;
pub mod issue;
pub mod json;
mod limits;
pub mod patch;
pub mod profile;
pub mod reference;
pub mod search;
pub mod sensitive;
pub mod split;
mod stamp;
pub mod subscription;
pub mod subset;
pub mod terminology;
pub mod validate;

pub use definitions::{ResourceType, TypeId};
pub use error::Error;
pub use issue::{Issue, IssueCode, Severity, operation_outcome};
pub use json::{Doc, Kind, Node};
pub use limits::Limits;
pub use patch::Patch;
pub use stamp::{Edits, Link, Rewrite, stamp};
pub use subset::Subset;
pub use validate::{Valid, validate};
