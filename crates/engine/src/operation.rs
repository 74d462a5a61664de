//! Operations of FHIR, and ours on whole patients, keys, logs and files.

pub mod import;
pub mod purge;
pub mod recover;
pub mod rotate;
pub mod subscription;
pub mod tail;
pub mod terminology;
pub mod validate;
