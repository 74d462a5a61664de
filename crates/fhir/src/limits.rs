//! How large a document may be.

/// Limits that the parser holds a document to. Each is refused with an issue that
/// names the place, before memory is spent on what lies beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of input. At most 256 MiB whatever is set.
    pub max_bytes: usize,
    /// Nested objects and arrays, the outermost counted.
    pub max_depth: usize,
    /// JSON values of any kind.
    pub max_elements: usize,
}

impl Default for Limits {
    /// 64 MiB (a whole patient's transaction bundle), 64 levels, 4,000,000 values.
    fn default() -> Self {
        Limits { max_bytes: 64 << 20, max_depth: 64, max_elements: 4_000_000 }
    }
}
