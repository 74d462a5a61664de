//! The gate: every interaction between a subject and the stores passes here.
//!
//! Facts are read, policy decides, permitted segments are opened, the audit log
//! holds the record durably, and only then does a [`Released`] exist. The engine
//! speaks no HTTP and knows no SQL.

pub mod access;
pub mod alert;
mod caller;
mod codes;
mod condition;
mod context;
mod endpoint;
mod entry;
mod failure;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gate;
mod inspect;
pub mod interaction;
pub mod job;
mod looks;
#[cfg(feature = "measure")]
pub mod measure;
pub mod operation;
mod own;
mod paging;
mod released;
pub mod scan;
mod scope;
mod streamed;
mod terms;
pub mod vendor;
mod view;
mod write;

pub use caller::Caller;
pub use endpoint::{Endpoint, is_host};
pub use failure::{Failure, Refusal};
pub use gate::{Attachments, Engine, Settings, Tenant};
pub use interaction::batch::{BundleKind, Known, Terms, bundle_kind};
pub use released::{Released, ReleasedFacts};
pub use scope::scope_query;
pub use streamed::ReleasedStream;
pub use view::part_of_one;
pub use write::{Method, Return, Write, Written};
