//! A record version between finding and opening: its head is known, its segments are
//! sealed. Refuses to open any by itself: the vessel does, under a permit, and so does
//! the indexer, which hands no value out.

use phial_base::{ClassSet, DataClass, LogicalId, RowId, Version};
use phial_crypto::{OpenRecord, Plain};
use phial_fhir::search::{Extracted, extract_again, readable_classes};
use phial_fhir::split::{Known, Mark, Piece, Spliced, splice};
use phial_fhir::{Doc, Limits};
use phial_policy::Facts;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::header::{Header, part_of};

/// A record that was taken in once is never too large to be indexed again.
pub(super) const NO_LIMITS: Limits =
    Limits { max_bytes: usize::MAX, max_elements: usize::MAX, max_depth: usize::MAX };

/// A record version whose facts are known and whose body is still sealed.
pub struct Unopened {
    /// Its name in the record log.
    pub row: RowId,
    /// Its version.
    pub version: Version,
    /// The facts about it.
    pub header: Header,
    pub(super) sealed: OpenRecord,
}

impl Unopened {
    /// What a policy may know of the record.
    #[must_use]
    pub fn facts(&self) -> Facts {
        facts_of(&self.header)
    }

    /// Decrypts the segments of these classes and splices them together.
    pub(super) fn join(&self, classes: ClassSet, mark: Mark) -> Result<Spliced, Error> {
        let mut parts: [Option<Plain>; DataClass::ALL.len()] = Default::default();
        for (slot, class) in parts.iter_mut().zip(DataClass::ALL) {
            if classes.has(class) {
                *slot = Some(self.sealed.open(part_of(class))?);
            }
        }
        let segment = |class: DataClass| {
            let part = parts.get(class as usize)?.as_ref()?;
            Some(Piece { dense: part.dense(), text: part.text() })
        };
        let h = &self.header;
        Ok(splice(&h.plan, h.classes, &known_of(h), &segment, mark)?)
    }

    /// The values to index. Attachments stay sealed unless a search parameter reads them.
    /// For the index alone.
    pub(super) fn values(&self) -> Result<Extracted, Error> {
        if self.header.deleted {
            return Ok(Extracted::default());
        }
        let wanted = readable_classes(self.header.ty).and(self.header.classes);
        let joined = match self.join(wanted, Mark::Nothing) {
            // A note that can't be opened must not keep the record from everybody, nor the
            // index from what comes after it: its words are not found, and `verify` and a
            // reader of the note are told.
            Err(_) if wanted.has(DataClass::Notes) => {
                self.join(wanted.minus(ClassSet::of(DataClass::Notes)), Mark::Nothing)?
            }
            other => other?,
        };
        let body = Zeroizing::new(joined.body);
        let doc = Doc::parse(&body, &NO_LIMITS)
            .map_err(|_| Error::Corrupt("a record's segments join to no JSON"))?;
        Ok(extract_again(&doc, self.header.ty))
    }
}

/// What the header of a record says, so that its segments need not.
pub(super) fn known_of(header: &Header) -> Known {
    let patient = header.patients.first().map(LogicalId::as_str);
    Known::new(header.id.as_str(), patient, header.last_updated)
}

/// What a policy may know of a record with this header.
#[must_use]
pub fn facts_of(header: &Header) -> Facts {
    Facts {
        resource_type: header.ty.name(),
        classes: header.classes,
        labels: header.labels,
        about_patient: !header.patients.is_empty(),
    }
}
