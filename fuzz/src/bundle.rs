//! Bundles that ask for work.

use phial_engine::bundle_kind;
use phial_engine::fuzz::understand_bundle;
use phial_fhir::{Doc, Limits};

/// A Bundle as a client posts it: each entry is understood or refused, at a place within
/// it, in words that repeat no marked value of it. The mark is nothing that the name of an
/// element or a function could be: those are repeated.
pub fn bundle(data: &[u8]) {
    let Ok(doc) = Doc::parse(data, &Limits::default()) else { return };
    let _ = bundle_kind(&doc);
    for (path, text) in understand_bundle(&doc) {
        assert!(!text.is_empty(), "refused without a reason");
        for said in [path, text] {
            assert!(!said.contains("Secret-word"), "a message repeats a value");
        }
    }
}
