//! The record log as it goes on, for those who follow it: heads alone, segments sealed.

use phial_base::Seq;

use super::{Unopened, Vessel};
use crate::error::Error;

impl Vessel {
    /// The versions after `after` in the order of the log, at most `limit`, unopened;
    /// `None` for one whose key was destroyed.
    ///
    /// # Errors
    /// As [`Vessel::find`].
    pub fn changes(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, Option<Unopened>)>, Error> {
        let rows = self.records.changes(after, limit)?;
        rows.into_iter().map(|found| Ok((found.seq, self.unseal_head(found)?))).collect()
    }
}
