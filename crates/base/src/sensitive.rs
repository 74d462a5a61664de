//! A value that must not be shown by accident.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// Holds a value that may be PHI or a secret. Its `Debug` shows nothing, it has
/// no `Display`, and it is overwritten when dropped. Reading it takes a word:
/// [`Sensitive::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Sensitive<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Sensitive(Zeroizing::new(value))
    }

    /// The value. Every use is a place to look at in review.
    #[must_use]
    pub fn reveal(&self) -> &T {
        &self.0
    }

    /// The value, to change in place.
    pub fn reveal_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(..)")
    }
}

impl<T: Zeroize> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Sensitive::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Sensitive::new("Garcia".to_owned())), "Sensitive(..)");
    }
}
