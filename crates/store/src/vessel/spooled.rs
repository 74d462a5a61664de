//! The files of jobs that belong to this tenant.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;

use super::Vessel;
use crate::error::{Error, Fault};
use crate::spool::Spool;

impl Vessel {
    /// Bytes that are free where the files of jobs lie.
    ///
    /// # Errors
    /// [`Error`] when the file system does not say.
    pub fn room(&self) -> Result<u64, Error> {
        // The tenant's own directory: that of the jobs is made with the first of them.
        let dir = self.spool_dir.parent().unwrap_or(&self.spool_dir);
        let found = rustix::fs::statvfs(dir);
        let found = found.map_err(|e| Error::Unavailable(Fault::Io(e.raw_os_error())))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// The files of this job, to write to. Their key is made when there is none.
    ///
    /// # Errors
    /// [`Error`] when keys can't be had or the directory can't be made.
    pub fn spool(&self, job: &str) -> Result<Spool, Error> {
        let key = self.keystore().spool_key(self.tenant(), job)?;
        Spool::make(self.spool_of(job)?, self.tenant(), job, key, Arc::clone(&self.rng))
    }

    /// The files of this job, to read; `None` once they are destroyed. To be asked before
    /// each look, so that a destruction holds at once.
    ///
    /// # Errors
    /// [`Error`] when keys can't be had.
    pub fn spool_if_there(&self, job: &str) -> Result<Option<Spool>, Error> {
        let Some(key) = self.keystore().spool_key_if_there(self.tenant(), job)? else {
            return Ok(None);
        };
        let dir = self.spool_of(job)?;
        Ok(Some(Spool::over(dir, self.tenant(), job, key, Arc::clone(&self.rng))))
    }

    /// Destroys the key of this job's files, and then the files. Again does no harm.
    ///
    /// # Errors
    /// [`Error`] when the keystore or the directory can't be written.
    pub fn destroy_spool(&self, job: &str, copy_retention: SignedDuration) -> Result<(), Error> {
        if self.keystore().spool_key_if_there(self.tenant(), job)?.is_some() {
            self.keystore().destroy_spool(self.tenant(), job, copy_retention)?;
        }
        // Crash here: what is left can't be opened by anyone, and the next look at the
        // job deletes it.
        crate::spool::remove(&self.spool_of(job)?)
    }

    /// The jobs that have files here.
    ///
    /// # Errors
    /// [`Error`] when the directory can't be read.
    pub fn spooled(&self) -> Result<Vec<String>, Error> {
        if !self.spool_dir.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.spool_dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn spool_of(&self, job: &str) -> Result<PathBuf, Error> {
        // Jobs are named by this program; a name becomes a directory.
        if job.is_empty() || !job.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::Invalid("a job's name"));
        }
        Ok(self.spool_dir.join(job))
    }
}
