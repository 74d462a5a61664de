//! Attachments beside the record log, for the records that name them: received before
//! their record is sealed, opened under its permit. Refuses to open one by its name alone.

use phial_base::{DataClass, LogicalId, RowId};
use phial_fhir::split::{Mark, Spliced};
use phial_policy::Permit;
use zeroize::Zeroizing;

use super::{Opened, Unopened, Vessel};
use crate::blobs::{Blobs, Incoming, OpenBlob};
use crate::error::{Error, Fault};

impl Vessel {
    /// As [`Vessel::open_record`], and the blob that is its attachment, when it has one
    /// and the permit gives attachments. In the JSON a stand-in is where its text belongs.
    ///
    /// # Errors
    /// As [`Vessel::open_record`], and [`Error::Unavailable`] when the blob is not there.
    pub fn open_with_blob(
        &self,
        permit: &Permit,
        found: &Unopened,
    ) -> Result<(Opened, Option<OpenBlob>), Error> {
        let blob = found.header.blob.filter(|_| permit.classes().has(DataClass::Attachment));
        let Some(blob) = blob else { return Ok((self.open_record(permit, found)?, None)) };
        if permit.row() != found.row || permit.version() != found.version {
            return Err(Error::WrongPermit);
        }
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let key_of = |handle| self.keystore.by_handle(&self.tenant, handle);
        // The key opened the record's head a moment ago.
        let gone = Error::Unavailable(Fault::Missing);
        let open = self.blobs.open(&blob, &keys.locator, key_of)?.ok_or(gone)?;
        let given = permit.classes().and(found.header.classes);
        let Spliced { body, withheld } = found.join(given, Mark::Subsetted)?;
        let body = Zeroizing::new(body);
        let opened = Opened { row: found.row, version: found.version, body, given, withheld };
        Ok((opened, Some(open)))
    }

    /// Begins to receive the attachment of a record about these patients, sorted.
    ///
    /// # Errors
    /// [`Error`] when keys can't be had or the store can't be written.
    pub fn receive(&self, patients: &[LogicalId]) -> Result<Incoming, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let held = self.keystore.record_key(&self.tenant, patients)?;
        self.blobs.receive(&keys.locator, &held, self.rng.as_ref())
    }

    /// Deletes blobs whose key was destroyed; the log says so already.
    ///
    /// # Errors
    /// [`Error`] when one can't be deleted: asking again finishes it.
    pub fn forget_blobs(&self, names: &[RowId]) -> Result<(), Error> {
        self.blobs.remove(names)
    }

    /// The tenant's blobs.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Blobs whose key was destroyed.
    ///
    /// # Errors
    /// [`Error`] when a store fails.
    pub fn unreadable_blobs(&self) -> Result<Vec<RowId>, Error> {
        let destroyed =
            self.keystore.tombstones(&self.tenant)?.into_iter().map(|t| t.handle).collect();
        self.blobs.under(&destroyed, &self.keystore.tenant_keys(&self.tenant)?.locator)
    }
}
