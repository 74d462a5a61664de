//! `capabilities`: what this server can do
//! (<https://hl7.org/fhir/R4/http.html#capabilities>). It holds nothing of anyone
//! and needs no permit.

use bytes::Bytes;
use phial_fhir::capability::{ConditionalDelete, ConditionalRead, Features, capability_statement};

use crate::gate::Engine;

/// When this version of the software was made.
const RELEASED: &str = "2026-11-22";

impl Engine {
    /// The CapabilityStatement, generated from the tables. `delete_many` says whether a
    /// conditional delete may end more than one record.
    #[must_use]
    pub fn capabilities(&self, base: &str, delete_many: bool) -> Bytes {
        let features = Features {
            conditional_create: true,
            conditional_read: ConditionalRead::FullSupport,
            conditional_update: true,
            conditional_delete: if delete_many {
                ConditionalDelete::Multiple
            } else {
                ConditionalDelete::Single
            },
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
