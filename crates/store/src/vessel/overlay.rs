//! What of a transaction's own versions, which no log holds yet, satisfies a condition: an
//! index of their own, by the same code as the index proper, so that the two can't differ
//! in what matches (decision 0037). Its file is encrypted under a key that is never
//! stored, and ends with the transaction.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use phial_base::{RowId, Seq};
use phial_crypto::SecretKey;
use phial_fhir::search::Query;

use super::Vessel;
use crate::error::Error;
use crate::index::{Access, Index, Indexed, Tuning, Viewer};

/// Generations of the index proper are counted upwards from 1, these downwards.
static NEXT: AtomicU64 = AtomicU64::new(u64::MAX);

/// An index of versions that are not committed.
pub struct Among {
    index: Option<Index>,
    dir: PathBuf,
    generation: u64,
    last: u64,
}

impl Vessel {
    /// An empty one.
    ///
    /// # Errors
    /// [`Error`] when its file can't be made.
    pub fn among(&self) -> Result<Among, Error> {
        let generation = NEXT.fetch_sub(1, Ordering::Relaxed);
        let key = SecretKey::random(self.rng.as_ref());
        let small = Tuning { readers: 1, cache_kib: 1024 };
        let mut among = Among { index: None, dir: self.index_dir.clone(), generation, last: 0 };
        // Whatever was made of the file goes with it when this fails.
        among.index =
            Some(Index::open_tuned(&self.index_dir, generation, &key, &self.options, small)?);
        Ok(among)
    }
}

impl Among {
    /// Adds versions, the later ones of a row in the place of the earlier ones.
    ///
    /// # Errors
    /// [`Error`] when the index can't be written.
    pub fn add(&mut self, mut versions: Vec<Indexed>) -> Result<(), Error> {
        for version in &mut versions {
            self.last += 1;
            version.seq = Seq(self.last);
        }
        self.index()?.apply(&versions)
    }

    /// The rows that match, at most `limit`.
    ///
    /// # Errors
    /// [`Error`] when the index can't be read.
    pub fn find(
        &self,
        query: &Query,
        viewer: &Viewer,
        access: Access<'_>,
        limit: u32,
    ) -> Result<Vec<RowId>, Error> {
        let at = Seq(self.last);
        let page = self.index()?.search(query, viewer, access, at, None, limit, false)?;
        Ok(page.hits.into_iter().map(|hit| hit.row).collect())
    }

    fn index(&self) -> Result<&Index, Error> {
        self.index.as_ref().ok_or(Error::Invalid("this index has ended"))
    }
}

impl Drop for Among {
    fn drop(&mut self) {
        self.index = None;
        // What can't be removed now is at the next start: no key opens it.
        let _ = Index::delete(&self.dir, self.generation);
    }
}
