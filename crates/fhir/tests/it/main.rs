//! Tests of the crate from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "test helpers, too, may fail loudly"
)]

mod compartment;
mod extract;
mod fhirpath_cases;
mod fhirpath_invariants;
mod fhirpath_suite;
mod json_parse;
mod patch;
mod patch_suite;
mod profile;
mod search;
mod split;
mod terminology;
mod validate_examples;
mod validate_rules;
mod validate_synthea;
mod validator_cases;

use std::path::PathBuf;

/// A directory or file of the shared test data, when it is there.
fn shared(path: &str) -> Option<PathBuf> {
    let at = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if !at.exists() {
        println!("skipped: ../shared/{path} is not here");
        return None;
    }
    Some(at)
}

/// Every resource of the Synthea set, with its references as they are sent.
fn synthea(each: &mut dyn FnMut(&phial_fhir::Valid)) {
    use std::io::Read as _;
    let Some(file) = shared("data/synthea/synthea-blaze-120.tar.xz") else { return };
    let xz = liblzma::read::XzDecoder::new(std::fs::File::open(file).unwrap());
    let mut tar = tar::Archive::new(std::io::BufReader::with_capacity(1 << 20, xz));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let limits = phial_fhir::Limits::default();
        let bundle = phial_fhir::Doc::parse(&bytes, &limits).unwrap();
        for entry in bundle.root().member("entry").unwrap().items() {
            let resource = phial_fhir::Doc::from_node(entry.member("resource").unwrap());
            each(&phial_fhir::validate(resource).unwrap());
        }
    }
}
