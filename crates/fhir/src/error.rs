//! The crate's errors that are not about one resource's content (those are [`crate::Issue`]s).

/// What can go wrong besides a bad resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that were written by this crate earlier are not in a form it knows.
    #[error("stored {what} is damaged or of an unknown version")]
    Stored {
        /// What was read: a plan, a segment.
        what: &'static str,
    },
    /// Two edits of one document overlap.
    #[error("two edits of one document overlap")]
    Overlap,
}
