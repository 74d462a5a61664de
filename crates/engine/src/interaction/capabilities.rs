//! `capabilities`: what this server can do
//! (<https://hl7.org/fhir/R4/http.html#capabilities>). It holds nothing of anyone
//! and needs no permit.

use bytes::Bytes;
use phial_fhir::capability::{ConditionalRead, Features, capability_statement};

use crate::gate::Engine;

/// When this version of the software was made.
const RELEASED: &str = "2026-11-22";

impl Engine {
    /// The CapabilityStatement, generated from the tables.
    #[must_use]
    pub fn capabilities(&self, base: &str) -> Bytes {
        let features = Features {
            conditional_create: true,
            conditional_read: ConditionalRead::NotMatch,
            update_create: true,
        };
        Bytes::from(capability_statement(
            base,
            env!("CARGO_PKG_VERSION"),
            RELEASED,
            "Bearer tokens over TLS 1.2 or 1.3; what is shown depends on role and purpose of use.",
            features,
        ))
    }
}
