//! Sealing a record version: its facts into the head, each class into a part. Refuses to
//! store anything: what is sealed is announced first.

use phial_audit::Write;
use phial_base::{ClassSet, DataClass, LabelSet, LogicalId, Seq, Version};
use phial_crypto::{RecordKey, RecordName, Text};
use phial_fhir::definitions::ResourceType;
use phial_fhir::search::Extracted;
use phial_fhir::split::{Short, shorten};
use zeroize::Zeroizing;

use super::unopened::known_of;
use super::{Content, Vessel};
use crate::blobs::{BLOB, BlobRef, Staged};
use crate::error::Error;
use crate::header::{Header, part_of};
use crate::index::Indexed;
use crate::records::NewRow;

/// Everything needed to seal one new record version.
pub struct Sealing {
    /// Type and logical id.
    pub ty: ResourceType,
    /// The logical id.
    pub id: LogicalId,
    /// The version this will be.
    pub version: Version,
    /// The patients it is about, sorted.
    pub patients: Vec<LogicalId>,
    /// Its sensitivity labels.
    pub labels: LabelSet,
    /// Microseconds since the epoch.
    pub last_updated: i64,
    /// What it holds; `None` for a deletion.
    pub content: Option<Content>,
    /// The classes that the record had before, kept for a deletion.
    pub classes: ClassSet,
    /// What its attachment was received as.
    pub blob: Option<Staged>,
    /// The attachment of the version before, when it stays: its key is the same.
    pub kept: Option<BlobRef>,
    /// The record that it is to be treated as.
    pub context: Option<(ResourceType, LogicalId)>,
}

/// A sealed version, ready to be announced and appended.
pub struct SealedVersion {
    /// The row to append.
    pub row: NewRow,
    /// SHA-256 of the blob, for the intent.
    pub hash: [u8; 32],
    /// Its attachment, which the intent announces too.
    pub blob: Option<Staged>,
    pub(super) indexed: Indexed,
}

impl SealedVersion {
    /// What the intent announces of it.
    #[must_use]
    pub fn announcement(&self) -> Vec<Write> {
        let record = Write { row: self.row.row, version: self.row.version, hash: self.hash };
        let blob = self.blob.as_ref();
        let blob = blob.map(|b| Write { row: b.blob().name, version: BLOB, hash: b.hash() });
        std::iter::once(record).chain(blob).collect()
    }
}

impl Vessel {
    /// Seals one new version. Nothing is stored yet; keys of patients met for the
    /// first time are.
    ///
    /// # Errors
    /// [`Error`] when keys can't be had.
    pub fn seal(&self, s: Sealing) -> Result<SealedVersion, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let row = phial_crypto::row_id(&keys.row_ids, s.ty.name(), s.id.as_str());
        let held = self.keystore.record_key(&self.tenant, &s.patients)?;
        if s.blob.as_ref().is_some_and(|b| b.handle() != held.handle) {
            // The key was destroyed while its attachment came in.
            return Err(Error::Conflict { row });
        }
        let (plan, segments, classes, values, deleted) = match s.content {
            Some(Content { split, values }) => {
                (split.plan, split.segments, split.classes, values, false)
            }
            None => (Vec::new(), Vec::new(), s.classes, Extracted::default(), true),
        };
        let header = Header {
            ty: s.ty,
            id: s.id,
            patients: s.patients,
            labels: s.labels,
            classes,
            deleted,
            last_updated: s.last_updated,
            class_map: phial_fhir::class::CLASS_MAP_VERSION,
            plan,
            blob: s.blob.as_ref().map(|b| *b.blob()).or(s.kept),
            context: s.context,
        };
        let known = known_of(&header);
        let segments: Vec<(DataClass, Short)> = segments
            .into_iter()
            .map(|(class, text)| (class, shorten(&Zeroizing::new(text), &known)))
            .collect();
        let parts: Vec<(u8, Text<'_>)> = segments
            .iter()
            .map(|(class, s)| (part_of(*class), Text { dense: &s.dense, text: &s.text }))
            .collect();
        let name = RecordName { tenant: &self.tenant, row, version: s.version };
        let key = RecordKey { handle: held.handle, version: held.version, key: &held.key };
        let blob = phial_crypto::seal_record(
            &name,
            &key,
            &keys.locator,
            Text { dense: &Zeroizing::new(header.encode()), text: &header.plan },
            &parts,
            self.rng.as_ref(),
        )?;
        let hash = phial_crypto::content_hash(&blob);
        let indexed = Indexed {
            seq: Seq(0),
            row,
            version: s.version,
            ty: header.ty,
            id: header.id,
            patients: header.patients,
            labels: header.labels,
            classes,
            deleted,
            last_updated: s.last_updated,
            values,
        };
        let row = NewRow { row, version: s.version, blob };
        Ok(SealedVersion { row, hash, blob: s.blob, indexed })
    }
}
