//! Reading a Binary's content: by itself, whole or in part, or in its resource
//! (<https://hl7.org/fhir/R4/binary.html#rest>, RFC 9110 section 14).
//!
//! The content has this one door: every other read of a Binary whose content lies beside
//! the record log leaves `data` out and says so.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::STANDARD;
use phial_audit::{DetailKey, EventKind, OutcomeCode};
use phial_base::{ClassSet, DataClass, LogicalId, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::{Doc, Limits};
use phial_policy::Action;
use phial_store::Error as StoreError;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::entry;
use crate::failure::Failure;
use crate::gate::Engine;
use crate::released::ReleasedFacts;
use crate::streamed::{ReleasedStream, Shape, Source, StreamOutput};

/// What of the content is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it, as it is.
    #[default]
    Whole,
    /// From this byte on.
    From(u64),
    /// From this byte to that, both included.
    Between(u64, u64),
    /// The last so many bytes.
    Last(u64),
    /// All of it, in the JSON of the resource.
    Json,
}

impl Part {
    /// First byte, and the one after the last; `None` when there is none of these.
    fn of(self, len: u64) -> Option<(u64, u64)> {
        let (at, end) = match self {
            Part::Whole | Part::Json => return Some((0, len)),
            Part::From(at) => (at, len),
            Part::Between(at, last) => (at, last.saturating_add(1).min(len)),
            Part::Last(n) => (len.saturating_sub(n), len),
        };
        (at < end).then_some((at, end))
    }
}

/// Content that may leave.
pub struct Content {
    /// The bytes.
    pub stream: ReleasedStream,
    /// `Binary.contentType`.
    pub content_type: String,
    /// When only a part was asked for: its first byte and its last, both included.
    pub range: Option<(u64, u64)>,
    /// How many bytes the content has in all.
    pub total: u64,
}

/// What was asked for.
pub enum Download {
    /// This.
    Content(Box<Content>),
    /// The content is in the record, or there is none, or none for this caller: a read of
    /// the record is the answer.
    Resource,
    /// A part beyond the content, which has so many bytes.
    Unsatisfiable(u64),
}

impl Engine {
    /// The content of a Binary, the current version's or this one's. `part` is told the
    /// version, so that a condition on it (`If-Range`) can be held against it.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub async fn download(
        &self,
        caller: &Caller,
        id: &LogicalId,
        version: Option<Version>,
        part: impl Fn(&ReleasedFacts) -> Part,
    ) -> Result<Download, Failure> {
        let ty = ResourceType::from_name("Binary").ok_or(Failure::NotFound)?;
        let tenant = self.home(caller)?;
        let failed = Self::store_failure(caller);
        let (kind, action) = match version {
            Some(_) => (EventKind::Vread, Action::Vread),
            None => (EventKind::Read, Action::Read),
        };
        let current = tenant.vessel.find(ty, id).map_err(&failed)?;
        let found = match (current, version) {
            // As with `vread`: whoever may not see the current one sees none.
            (Some(c), Some(_)) if self.decide(tenant, caller, action, &c)?.is_err() => Some(c),
            (_, Some(version)) => {
                let row = tenant.vessel.row_id(ty, id).map_err(&failed)?;
                tenant.vessel.find_version(row, version).map_err(&failed)?
            }
            (current, None) => current,
        };
        let mut e = entry::of(caller, kind);
        let Some(found) = found else {
            let row = tenant.vessel.row_id(ty, id).map_err(&failed)?;
            entry::absent(&mut e, ty, row);
            let (code, failure) = (OutcomeCode::NotFound, Failure::NotFound);
            return Err(self.refuse(tenant, caller, e, code, failure).await);
        };
        let permit = match self.decide(tenant, caller, action, &found)? {
            Ok(permit) => permit,
            Err(denial) => {
                entry::denied(&mut e, &found, &denial);
                let (code, failure) = (OutcomeCode::Denied, Failure::NotFound);
                return Err(self.refuse(tenant, caller, e, code, failure).await);
            }
        };
        if found.header.deleted {
            entry::target(&mut e, &found, &permit);
            return Err(self.refuse(tenant, caller, e, OutcomeCode::NotFound, Failure::Gone).await);
        }
        let classes = permit.classes().and(found.header.classes);
        let facts =
            ReleasedFacts { ty, version: found.version, last_updated: found.header.last_updated };
        let part = part(&facts);
        let apart = found.header.blob.is_some() && classes.has(DataClass::Attachment);
        if part == Part::Json && !apart {
            return Ok(Download::Resource);
        }
        if !classes.has(DataClass::Attachment) {
            // Content that the caller may not have, and none at all, are one answer.
            entry::delivered(&mut e, &found, &permit, ClassSet::NONE);
            let (code, failure) = (OutcomeCode::NotFound, Failure::NotFound);
            return Err(self.refuse(tenant, caller, e, code, failure).await);
        }
        // It may wait for a disk or another machine.
        let (opened, blob) =
            tokio::task::block_in_place(|| tenant.vessel.open_with_blob(&permit, &found))
                .map_err(&failed)?;
        let text = opened.into_body();
        let damaged = || failed(StoreError::Corrupt("a Binary that was opened is none"));
        let Some(read) = Read::of(&text) else { return Err(damaged()) };
        let source = match blob {
            Some(blob) => Source::Blob(Box::new(blob)),
            None => {
                let written: String = read.data.split_ascii_whitespace().collect();
                let bytes = LENIENT.decode(written).map_err(|_| damaged())?;
                Source::Memory(Zeroizing::new(bytes))
            }
        };
        let total = source.len();
        let Some((at, end)) = part.of(total) else {
            entry::delivered(&mut e, &found, &permit, ClassSet::NONE);
            e.outcome = OutcomeCode::Invalid;
            self.record(tenant, caller, vec![e], None).await?;
            return Ok(Download::Unsatisfiable(total));
        };
        let shape = if part == Part::Json {
            Shape::Json(Zeroizing::new(read.before), Zeroizing::new(read.after))
        } else {
            Shape::Native
        };
        let output = StreamOutput::new(source, at, end, shape);
        entry::delivered(&mut e, &found, &permit, classes);
        let range = match part {
            Part::Whole | Part::Json => None,
            _ => Some((at, end - 1)),
        };
        if let Some((first, last)) = range {
            entry::note(&mut e, DetailKey::Range, format!("{first}-{last}/{total}"));
        }
        self.within_cap(tenant, caller, &e).await?;
        // Receipt before release: the first piece is read from what this makes.
        let receipt = self.record(tenant, caller, vec![e], Some(output.digest())).await?;
        let stream = ReleasedStream::new(&[permit], &receipt, output, facts)
            .map_err(|_| failed(StoreError::WrongPermit))?;
        let content_type = read.content_type;
        Ok(Download::Content(Box::new(Content { stream, content_type, range, total })))
    }
}

/// Base64 as R4 has it: padding is there, but what a sender left out is not held against
/// him.
pub(crate) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    base64::engine::general_purpose::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// A Binary's JSON, taken apart around its data.
struct Read {
    content_type: String,
    before: Vec<u8>,
    data: String,
    after: Vec<u8>,
}

impl Read {
    fn of(text: &[u8]) -> Option<Self> {
        let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
        let doc = Doc::parse(text, &limits).ok()?;
        let content_type = doc.root().member("contentType")?.as_str()?.into_owned();
        let data = doc.root().member("data")?;
        // Between the quotes.
        let range = data.range();
        let before = text.get(..range.start + 1)?.to_vec();
        let after = text.get(range.end.checked_sub(1)?..)?.to_vec();
        Some(Read { content_type, before, data: data.as_str()?.into_owned(), after })
    }
}

/// The stand-in for content that lies beside the record log: what the record's JSON has
/// where the content belongs. The header says that it is one.
pub(crate) fn stand_in() -> String {
    STANDARD.encode([0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_rfc_9110() {
        for (part, len, expected) in [
            (Part::Whole, 0, Some((0, 0))),
            (Part::From(3), 10, Some((3, 10))),
            (Part::From(10), 10, None),
            (Part::Between(0, 0), 10, Some((0, 1))),
            (Part::Between(9, 400), 10, Some((9, 10))),
            (Part::Between(10, 11), 10, None),
            (Part::Between(5, 4), 10, None),
            (Part::Between(0, u64::MAX), 10, Some((0, 10))),
            (Part::Last(3), 10, Some((7, 10))),
            (Part::Last(30), 10, Some((0, 10))),
            (Part::Last(0), 10, None),
            (Part::Last(1), 0, None),
        ] {
            assert_eq!(part.of(len), expected, "{part:?} of {len}");
        }
    }

    #[test]
    fn a_binary_is_taken_apart_around_its_data() {
        let text = br#"{"resourceType":"Binary","contentType":"a/b","data":"QQ==","id":"x"}"#;
        let r = Read::of(text).unwrap();
        assert_eq!(r.content_type, "a/b");
        assert_eq!(r.data, "QQ==");
        assert!(r.before.ends_with(br#""data":""#) && r.after == br#"","id":"x"}"#);
        assert!(Read::of(br#"{"resourceType":"Binary","contentType":"a/b"}"#).is_none());
    }
}
