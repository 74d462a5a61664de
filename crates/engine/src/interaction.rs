//! FHIR's interactions, one a file, by their FHIR names
//! (<https://hl7.org/fhir/R4/http.html>).

pub mod batch;
pub mod capabilities;
pub mod changes;
pub mod create;
pub mod delete;
pub mod download;
pub mod history;
pub(crate) mod include;
pub mod patch;
pub mod read;
pub mod search;
pub mod search_system;
pub mod transaction;
pub mod update;
pub mod upload;
pub mod vread;
