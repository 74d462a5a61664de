//! What the fuzzer reaches of this crate: paging tokens, in their plain and their
//! sealed form, lines of NDJSON, and the entries of a Bundle as they are understood.
//! Compiled for the fuzzer only; refuses anything else.

use phial_base::SeededRng;
use phial_crypto::SecretKey;
use phial_fhir::Doc;

use crate::interaction::batch::{Terms, status_of, understood};
use crate::paging::{HistoryToken, LogToken, Token, decode, encode, open_text, seal_text};
use crate::write::Return;

fn key() -> SecretKey {
    SecretKey::random(&SeededRng::new(1))
}

const AAD: [&[u8]; 4] = [b"page", b"default", b"u1", b"TREAT"];

/// Understands each entry of a Bundle, as a transaction and as an import. Gives the place
/// and text of each refusal.
#[must_use]
pub fn understand_bundle(doc: &Doc) -> Vec<(String, String)> {
    let terms = Terms {
        base: "https://phial.example/fhir".into(),
        returning: Return::Minimal,
        delete_many: true,
    };
    let mut refused = Vec::new();
    for terms in [Some(&terms), None] {
        for failure in understood(doc, terms, 1_000).into_iter().flatten() {
            let issues = status_of(&failure).1;
            refused.extend(issues.into_iter().map(|i| (i.path, i.text)));
        }
    }
    refused
}

/// Reads the plain bytes of a search's token and writes them anew.
#[must_use]
pub fn read_page(bytes: &[u8]) -> Option<Vec<u8>> {
    decode::<Token>(bytes).map(|t| encode(&t))
}

/// Reads the plain bytes of a history's token and writes them anew.
#[must_use]
pub fn read_history(bytes: &[u8]) -> Option<Vec<u8>> {
    decode::<HistoryToken>(bytes).map(|t| encode(&t))
}

/// Reads the plain bytes of a token of a type's history and writes them anew.
#[must_use]
pub fn read_log_history(bytes: &[u8]) -> Option<Vec<u8>> {
    decode::<LogToken>(bytes).map(|t| encode(&t))
}

/// Seals a token's plain bytes.
#[must_use]
pub fn seal_page(bytes: &[u8]) -> String {
    seal_text(&key(), &AAD, bytes, &SeededRng::new(2))
}

/// Opens a token's text and reads it as a search's.
#[must_use]
pub fn open_page(text: &str) -> Option<Vec<u8>> {
    read_page(&open_text(text, &key(), &AAD)?)
}

/// Takes NDJSON apart as an import does; how many lines were good.
#[must_use]
pub fn read_ndjson(text: &[u8], most: usize) -> usize {
    crate::operation::ndjson::fuzz(text, most)
}
