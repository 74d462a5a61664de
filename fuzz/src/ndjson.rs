//! NDJSON that is imported.

use crate::Bytes;

/// What a client posts to `$import`: every byte belongs to a line, every line is stored
/// or told of in one line, and pieces of any size make no difference.
pub fn ndjson(data: &[u8]) {
    let mut from = Bytes(data);
    let most = usize::from(from.byte()) + 1;
    let text = from.rest();
    let small = phial_engine::fuzz::read_ndjson(text, most);
    let large = phial_engine::fuzz::read_ndjson(text, 1 << 20);
    assert!(small <= large, "a shorter limit let a line pass");
}
