//! `capabilities`: what this server can do
//! (<https://hl7.org/fhir/R4/http.html#capabilities>). It holds nothing of anyone
//! and needs no permit.

use bytes::Bytes;
use phial_fhir::capability::{Installation, Surface, capability_statement};

use crate::gate::Engine;

/// When this version of the software was made.
const RELEASED: &str = "2026-11-22";

impl Engine {
    /// The CapabilityStatement, generated from the tables and from what the one who
    /// asks serves.
    #[must_use]
    pub fn capabilities(&self, base: &str, surface: &Surface) -> Bytes {
        let here = Installation {
            base,
            version: env!("CARGO_PKG_VERSION"),
            date: RELEASED,
            security: "Bearer tokens over TLS 1.2 or 1.3; what is shown depends on role and \
                       purpose of use.",
        };
        Bytes::from(capability_statement(&here, surface))
    }
}
