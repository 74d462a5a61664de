//! Stored versions under other labels: which those are that today's lists would label
//! otherwise, and the same content sealed again under a head that says so (decision 0089).
//!
//! What is read here to be labelled leaves this module as labels, or sealed under the
//! key that it lay under; it refuses to change anything else of a version: its place, its
//! number, its time and what it says stay.

use phial_audit::{Entry, EventKind, OutcomeCode, Write};
use phial_base::{ClassSet, DataClass, LabelSet, LogicalId, RowId, Seq, Version};
use phial_crypto::{PartId, Plain, RecordKey, RecordName, Text};
use phial_fhir::Doc;
use phial_fhir::definitions::ResourceType;
use phial_fhir::split::Mark;
use zeroize::Zeroizing;

use super::unopened::NO_LIMITS;
use super::{Unopened, Vessel};
use crate::error::{Error, Fault};
use crate::header::Header;
use crate::records::{NewBytes, Row};
use crate::recovery::{Announced, Fate, outcome};

/// Says which labels a document brings; the labels that its version has are given, for
/// what can't be told by it.
pub type Labelling<'a> = &'a (dyn Fn(Doc, LabelSet) -> LabelSet + Sync);

/// A version whose labels differ from those that its content brings.
pub struct Differs {
    /// The row.
    pub row: RowId,
    /// The version.
    pub version: Version,
    /// Its type.
    pub ty: ResourceType,
    /// The patients whom it is about.
    pub patients: Vec<LogicalId>,
    /// The classes that it has.
    pub classes: ClassSet,
    /// The labels that it has.
    pub before: LabelSet,
    /// The labels that its content brings.
    pub after: LabelSet,
    /// SHA-256 of the bytes as stored.
    pub was: [u8; 32],
    /// SHA-256 of the bytes that say the new labels.
    pub hash: [u8; 32],
    blob: Vec<u8>,
}

impl Differs {
    /// What the intent announces of it.
    #[must_use]
    pub fn announcement(&self) -> Write {
        Write { row: self.row, version: self.version, hash: self.hash }
    }
}

/// A stretch of the log that was looked through.
pub struct Looked {
    /// The place of the last version looked at.
    pub last: Seq,
    /// How many versions were looked at.
    pub seen: u64,
    /// Those of them that do not open: nobody reads them, and `verify` names them.
    pub closed: u64,
    /// Those that differ.
    pub differ: Vec<Differs>,
}

/// What one thread found.
#[derive(Default)]
struct Part {
    closed: u64,
    differ: Vec<Differs>,
}

impl Vessel {
    /// Looks at the versions after `after` up to `until`, at most `limit` of them, old ones
    /// and deletions included. `None` when there is none.
    ///
    /// # Errors
    /// [`Error`] when a store or the keys can't be had.
    pub fn look_for_labels(
        &self,
        after: Seq,
        until: Seq,
        limit: usize,
        label: Labelling<'_>,
    ) -> Result<Option<Looked>, Error> {
        let mut rows = self.records.changes(after, limit)?;
        rows.retain(|r| r.seq <= until);
        let Some(last) = rows.last().map(|r| r.seq) else { return Ok(None) };
        let seen = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let size = rows.len().div_ceil(threads).max(1);
        let mut shares = Vec::new();
        while !rows.is_empty() {
            let rest = rows.split_off(size.min(rows.len()));
            shares.push(std::mem::replace(&mut rows, rest));
        }
        let parts: Vec<Result<Part, Error>> = std::thread::scope(|scope| {
            let running: Vec<_> = shares
                .into_iter()
                .map(|share| scope.spawn(move || self.differing(share, label)))
                .collect();
            let stopped = |_| Err(Error::Unavailable(Fault::Stopped));
            running.into_iter().map(|t| t.join().unwrap_or_else(stopped)).collect()
        });
        let mut all = Looked { last, seen, closed: 0, differ: Vec::new() };
        for part in parts {
            let part = part?;
            all.closed += part.closed;
            all.differ.extend(part.differ);
        }
        Ok(Some(all))
    }

    fn differing(&self, rows: Vec<Row>, label: Labelling<'_>) -> Result<Part, Error> {
        let mut part = Part::default();
        for found in rows {
            let looked = self.unseal_head(found).and_then(|found| match found {
                // Its key was destroyed.
                None => Ok(None),
                Some(found) => {
                    let labels = self.labels_now(&found, label)?;
                    if labels == found.header.labels {
                        return Ok(None);
                    }
                    self.sealed_again(&found, labels).map(Some)
                }
            });
            match looked {
                Ok(differs) => part.differ.extend(differs),
                Err(Error::Corrupt(_) | Error::Crypto(_)) => part.closed += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(part)
    }

    /// The labels that a version's content brings, with those of the record that it is to
    /// be treated as. A deletion has those of the version that it ended.
    fn labels_now(&self, found: &Unopened, label: Labelling<'_>) -> Result<LabelSet, Error> {
        let header = &found.header;
        let own = if header.deleted {
            let ended = version_before(found.version);
            match ended.map(|v| self.find_version(found.row, v)).transpose()?.flatten() {
                // No deletion follows a deletion.
                Some(ended) if !ended.header.deleted => self.labels_now(&ended, label)?,
                _ => header.labels,
            }
        } else {
            let mut wanted = header.classes;
            if header.blob.is_some() {
                wanted = wanted.minus(ClassSet::of(DataClass::Attachment));
            }
            let body = Zeroizing::new(found.join(wanted, Mark::Nothing)?.body);
            let doc = Doc::parse(&body, &NO_LIMITS)
                .map_err(|_| Error::Corrupt("a record's segments join to no JSON"))?;
            label(doc, header.labels)
        };
        let Some((ty, id)) = &header.context else { return Ok(own) };
        Ok(match self.find(*ty, id)? {
            // What has a context is a Binary, and no Binary is another's context.
            Some(context) if context.header.context.is_none() => {
                own.or(self.labels_now(&context, label)?)
            }
            _ if ty.name() == "Patient" => own,
            // What it took over then can't be looked at any more.
            _ => own.or(header.labels),
        })
    }

    /// The version with these labels, under the key that it lies under.
    fn sealed_again(&self, found: &Unopened, labels: LabelSet) -> Result<Differs, Error> {
        let keys = self.keystore.tenant_keys(&self.tenant)?;
        let (row, version) = (found.row, found.version);
        let name = RecordName { tenant: &self.tenant, row, version };
        let locator = phial_crypto::locate(found.sealed.blob(), &name, &keys.locator)?;
        // Destroyed a moment ago: then it is nobody's to label.
        let held = self.keystore.by_handle(&self.tenant, locator.handle)?;
        let held = held.ok_or(Error::Corrupt("a record's key is gone"))?;
        let key = RecordKey { handle: locator.handle, version: locator.version, key: &held.key };
        let header = Header { labels, ..found.header.clone() };
        let parts: Vec<(PartId, Plain)> = found
            .sealed
            .parts()
            .map(|part| Ok((part, found.sealed.open(part)?)))
            .collect::<Result<_, Error>>()?;
        let texts: Vec<(PartId, Text<'_>)> = parts
            .iter()
            .map(|(part, plain)| (*part, Text { dense: plain.dense(), text: plain.text() }))
            .collect();
        let blob = phial_crypto::seal_record(
            &name,
            &key,
            &keys.locator,
            Text { dense: &Zeroizing::new(header.encode()), text: &header.plan },
            &texts,
            self.rng.as_ref(),
        )?;
        Ok(Differs {
            row,
            version,
            ty: header.ty,
            classes: header.classes,
            before: found.header.labels,
            after: labels,
            patients: header.patients,
            was: phial_crypto::content_hash(found.sealed.blob()),
            hash: phial_crypto::content_hash(&blob),
            blob,
        })
    }

    /// Puts the announced versions in the place of those that they were made from, all or
    /// none, and writes down what came of it; `entry` says who. The index must not be one
    /// that goes on with the old labels: it is retired before this.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a version is not what it was; [`Error::Unknown`] when the
    /// commit failed in a way that may or may not have stored it.
    pub fn put_labels(
        &self,
        mut announced: Announced<'_>,
        entry: Entry,
        differ: Vec<Differs>,
    ) -> Result<(), Error> {
        let count = differ.len();
        let rows = differ
            .into_iter()
            .map(|d| NewBytes { row: d.row, version: d.version, instead_of: d.was, blob: d.blob })
            .collect();
        let stored = self.records.replace(rows);
        // Crash here: the intent is open, and the record log tells what became of it.
        let fate = match &stored {
            Ok(seqs) => Some(Fate::Stored(seqs.clone())),
            Err(Error::Unknown) => None,
            Err(Error::Conflict { .. }) => Some(Fate::NotStored(OutcomeCode::Conflict)),
            Err(_) => Some(Fate::NotStored(OutcomeCode::Unavailable)),
        };
        if let Some(fate) = fate {
            let action = Some(EventKind::Reseal);
            let closing = outcome(entry, announced.intent(), action, count, &fate);
            if self.audit.append_later(vec![closing]) {
                announced.closed();
            }
        }
        stored.map(|_| ())
    }
}

/// The version that a deletion ended.
fn version_before(version: Version) -> Option<Version> {
    version.0.checked_sub(1).filter(|v| *v > 0).map(Version)
}
