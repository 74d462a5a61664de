//! From a row of the record log to a record whose head is open and whose body is not.

use std::collections::HashSet;

use phial_base::KeyHandle;
use phial_crypto::RecordName;

use super::{Unopened, Vessel};
use crate::error::Error;
use crate::header::Header;
use crate::records::Row;

impl Vessel {
    pub(super) fn unseal_head(&self, found: Row) -> Result<Option<Unopened>, Error> {
        self.unseal_under(found, None)
    }

    /// A row that was read before, unopened. `None` when its key was destroyed, or is none
    /// of `keys`, if there are any: then not even its head is opened.
    ///
    /// # Errors
    /// As [`Vessel::find`].
    pub fn unseal_under(
        &self,
        found: Row,
        keys: Option<&HashSet<KeyHandle>>,
    ) -> Result<Option<Unopened>, Error> {
        let Row { row, version, blob, .. } = found;
        let wanted = keys;
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let name = RecordName { tenant: &self.tenant, row, version };
        let locator = phial_crypto::locate(&blob, &name, &keys.locator)?;
        if wanted.is_some_and(|wanted| !wanted.contains(&locator.handle)) {
            return Ok(None);
        }
        let Some(key) = self.keystore.by_handle(&self.tenant, locator.handle)? else {
            return Ok(None);
        };
        let sealed = phial_crypto::unlock_record(blob, &name, &locator, &key.key)?;
        let header = Header::decode(sealed.header().dense(), sealed.header().text())?;
        Ok(Some(Unopened { row, version, header, sealed }))
    }
}
