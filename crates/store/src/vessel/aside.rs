//! An index of a few patients' records, for a process that keeps none: whoever looks beside
//! a running server, which alone writes the index proper. It is made from the record log,
//! encrypted under a key that is never stored, and gone when the look is over.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use phial_base::{KeyHandle, LogicalId, RowId};
use phial_crypto::{RecordName, SecretKey};
use phial_fhir::ResourceType;

use super::{BATCH, Vessel};
use crate::error::Error;
use crate::index::{Index, Tuning};

/// While it lives, the vessel finds these patients' records by content.
pub struct Aside<'a> {
    vessel: &'a Vessel,
    /// `None` when the vessel has an index of its own.
    generation: Option<u64>,
}

impl Vessel {
    /// Makes records about these patients, and who has which role where, findable by
    /// content. Reads the whole record log, and opens of it what is theirs. Without effect
    /// where there is an index.
    ///
    /// # Errors
    /// [`Error`] when a store or a key can't be had.
    pub fn look_at(&self, patients: &[LogicalId]) -> Result<Aside<'_>, Error> {
        if self.index.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(Aside { vessel: self, generation: None });
        }
        let head = self.records.head()?;
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let mut handles: HashSet<KeyHandle> = HashSet::from([keys.common.handle]);
        for patient in patients {
            let own = self.keystore.patient_key(&self.tenant, patient)?;
            handles.extend(own.map(|key| key.handle));
            handles.extend(self.keystore.joint_handles(&self.tenant, patient)?);
        }
        let mut rows: HashSet<RowId> = HashSet::new();
        self.records.all(&mut |_, row, version, blob| {
            let name = RecordName { tenant: &self.tenant, row, version };
            if let Ok(l) = phial_crypto::locate(blob, &name, &keys.locator)
                && handles.contains(&l.handle)
            {
                rows.insert(row);
            }
            Ok(())
        })?;
        let role = ResourceType::from_name("PractitionerRole");
        let mut found = Vec::new();
        for row in rows {
            // As it is now: what was theirs once may be another's.
            let Some(current) = self.records.get(row)?.filter(|r| r.seq <= head) else { continue };
            let seq = current.seq;
            let Some(ix) = self.indexed(seq, current)? else { continue };
            if Some(ix.ty) == role || ix.patients.iter().any(|p| patients.contains(p)) {
                found.push(ix);
            }
        }
        found.sort_by_key(|ix| ix.seq);
        let mut number = [0u8; 8];
        self.rng.fill(&mut number);
        // Far from the generations of the index proper, which are counted from 1.
        let generation = u64::from_be_bytes(number) | 1 << 63;
        let aside = Aside { vessel: self, generation: Some(generation) };
        let key = SecretKey::random(self.rng.as_ref());
        let small = Tuning { readers: 1, cache_kib: 1024 };
        let index = Index::open_tuned(&self.index_dir, generation, &key, &self.options, small)?;
        for batch in found.chunks(BATCH) {
            index.apply(batch)?;
        }
        index.advance(head)?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(index));
        Ok(aside)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if let Some(generation) = self.generation {
            *self.vessel.index.write().unwrap_or_else(PoisonError::into_inner) = None;
            // What can't be removed now is at the server's next start: no key opens it.
            let _ = Index::delete(&self.vessel.index_dir, generation);
        }
    }
}
