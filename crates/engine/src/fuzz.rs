//! What the fuzzer reaches of this crate: paging tokens, in their plain and their
//! sealed form. Compiled for the fuzzer only; refuses anything else.

use phial_base::SeededRng;
use phial_crypto::SecretKey;

use crate::paging::{HistoryToken, Token, decode, encode, open_text, seal_text};

fn key() -> SecretKey {
    SecretKey::random(&SeededRng::new(1))
}

const AAD: [&[u8]; 4] = [b"page", b"default", b"u1", b"TREAT"];

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
