//! Paging tokens.

use phial_engine::fuzz::{open_page, read_history, read_log_history, read_page, seal_page};

use crate::Bytes;

/// What a client sends as a page's token, and what would be in one: nobody's text
/// opens, what was sealed opens as it was, and what does not decode is refused.
pub fn page(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(open_page(text).is_none(), "a token that was never sealed opened");
    }
    if let Some(bytes) = read_history(data) {
        assert_eq!(read_history(&bytes).as_ref(), Some(&bytes), "a token has one form");
    }
    if let Some(bytes) = read_log_history(data) {
        assert_eq!(read_log_history(&bytes).as_ref(), Some(&bytes), "a token has one form");
    }
    let Some(bytes) = read_page(data) else { return };
    let again = read_page(&bytes).expect("reads what it wrote");
    assert_eq!(again, bytes, "a token has one form");
    let sealed = seal_page(&bytes);
    assert_eq!(open_page(&sealed).expect("opens what it sealed"), bytes);
    let mut from = Bytes(data);
    let at = usize::try_from(from.number()).unwrap_or(0) % sealed.len();
    let mut altered = sealed.into_bytes();
    if let Some(byte) = altered.get_mut(at) {
        *byte ^= from.byte() | 1;
    }
    let altered = String::from_utf8_lossy(&altered);
    assert!(open_page(&altered).is_none(), "an altered token opened");
}
