//! What every other crate agrees on: ids, tenants, subjects, data classes,
//! labels, scopes of apps, the clock, randomness, the table of durable steps, and `Sensitive<T>`, which
//! keeps values quiet.
//!
//! This crate knows no other Phial crate, does no I/O, and holds no rules.

mod class;
mod clock;
mod id;
mod label;
mod rng;
pub mod scope;
mod sensitive;
pub mod step;
mod subject;

pub use class::{ClassSet, DataClass, UnknownClass};
pub use clock::{Clock, ManualClock, SystemClock};
pub use id::{InvalidId, KeyHandle, LogicalId, RequestId, RowId, Seq, TenantId, Version};
pub use label::{Label, LabelSet};
pub use rng::{Rng, SeededRng, SystemRng, random_logical_id};
pub use scope::{Scope, Scopes};
pub use sensitive::Sensitive;
pub use subject::{Purpose, RequestInfo, Subject, SubjectId, Surface};
