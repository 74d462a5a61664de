//! Files on their way out, piece by piece: invariant 1 where no answer is ever whole in
//! memory. What is bound to the receipt is which bytes these are: the record version
//! that the permit allows, the blob by its name, the part of it, and all text around it.
//! The receipt exists before the first piece does. A piece that does not prove to be what
//! was sealed ends the answer, and is not in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use phial_policy::{Obligation, Permit};
use phial_store::Error as StoreError;
use phial_store::auditlog::Receipt;
use phial_store::blobs::OpenBlob;
use zeroize::Zeroizing;

use crate::released::{NotCovered, ReleasedFacts};

/// Where the bytes are.
pub(crate) enum Source {
    /// In a record: there are few.
    Memory(Zeroizing<Vec<u8>>),
    /// Beside the record log.
    Blob(Box<OpenBlob>),
}

impl Source {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Blob(blob) => blob.text_len(),
        }
    }

    fn read(&self, at: u64, end: u64) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        match self {
            Source::Memory(bytes) => {
                let range = usize::try_from(at).ok().zip(usize::try_from(end).ok());
                let part = range.and_then(|(at, end)| bytes.get(at..end));
                Ok(Zeroizing::new(part.unwrap_or_default().to_vec()))
            }
            Source::Blob(blob) => blob.text(at, end),
        }
    }
}

/// How a file leaves.
pub(crate) enum Shape {
    /// As it came.
    Native,
    /// In the JSON of its record, as base64 between these texts.
    Json(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>),
}

/// A file, or a part of it, that is about to leave.
pub(crate) struct StreamOutput {
    source: Source,
    at: u64,
    end: u64,
    shape: Shape,
    digest: [u8; 32],
}

impl StreamOutput {
    /// The bytes from `at` to before `end`.
    pub(crate) fn new(source: Source, at: u64, end: u64, shape: Shape) -> Self {
        let mut digest = phial_crypto::Digest::sha256();
        let mut item = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        item(b"phial released stream 1");
        match &source {
            Source::Memory(bytes) => item(bytes),
            Source::Blob(blob) => item(&blob.name().0),
        }
        item(&at.to_be_bytes());
        item(&end.to_be_bytes());
        if let Shape::Json(before, after) = &shape {
            item(before);
            item(after);
        }
        let digest = digest.finish().try_into().unwrap_or_default();
        StreamOutput { source, at, end, shape, digest }
    }

    /// What the receipt must carry.
    pub(crate) const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// A file that may leave. Made from permits, the receipt that names their records, and
/// the output whose digest the receipt carries.
pub struct ReleasedStream {
    source: Source,
    at: u64,
    end: u64,
    len: u64,
    base64: bool,
    /// Bytes that wait for others to make three.
    rest: Zeroizing<Vec<u8>>,
    before: Option<Zeroizing<Vec<u8>>>,
    after: Option<Zeroizing<Vec<u8>>>,
    facts: ReleasedFacts,
    redisclosure: bool,
}

impl ReleasedStream {
    pub(crate) fn new(
        permits: &[Permit],
        receipt: &Receipt,
        output: StreamOutput,
        facts: ReleasedFacts,
    ) -> Result<Self, NotCovered> {
        let named = permits.iter().all(|p| receipt.covers(p.row(), p.version()));
        if permits.is_empty() || receipt.output_digest() != Some(output.digest) || !named {
            return Err(NotCovered);
        }
        let StreamOutput { source, at, end, shape, .. } = output;
        let bytes = end.saturating_sub(at);
        let (base64, len, before, after) = match shape {
            Shape::Native => (false, bytes, None, None),
            Shape::Json(before, after) => {
                let around = before.len() as u64 + after.len() as u64;
                (true, bytes.div_ceil(3) * 4 + around, Some(before), Some(after))
            }
        };
        let rest = Zeroizing::new(Vec::new());
        let owed = |p: &Permit| p.obligations().has(Obligation::RedisclosureNotice);
        let redisclosure = permits.iter().any(owed);
        Ok(ReleasedStream {
            source,
            at,
            end,
            len,
            base64,
            rest,
            before,
            after,
            facts,
            redisclosure,
        })
    }

    /// How many bytes will have left at the end.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length in bytes, not a collection's")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the notice that prohibits redisclosure must go with it (42 CFR 2.32).
    #[must_use]
    pub fn owes_notice(&self) -> bool {
        self.redisclosure
    }

    /// Version and date of the record.
    #[must_use]
    pub fn facts(&self) -> &ReleasedFacts {
        &self.facts
    }

    /// The next piece, about a mebibyte; `None` at the end. It may wait for a disk or
    /// another machine.
    ///
    /// # Errors
    /// [`StoreError`] when the bytes can't be had or are not what was sealed. There is
    /// nothing more then.
    pub fn piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(before) = self.before.take() {
            return Ok(Some(Bytes::from_owner(before)));
        }
        if self.at < self.end {
            let text = match self.source.read(self.at, self.end) {
                Ok(text) if !text.is_empty() => text,
                Ok(_) => return self.ended(StoreError::Corrupt("a file is shorter than it was")),
                Err(e) => return self.ended(e),
            };
            self.at += text.len() as u64;
            if !self.base64 {
                return Ok(Some(Bytes::from_owner(text)));
            }
            self.rest.extend_from_slice(&text);
            let whole = if self.at < self.end { self.rest.len() / 3 * 3 } else { self.rest.len() };
            let now = Zeroizing::new(self.rest.drain(..whole).collect::<Vec<u8>>());
            return Ok(Some(Bytes::from(STANDARD.encode(&*now))));
        }
        Ok(self.after.take().map(Bytes::from_owner))
    }

    fn ended(&mut self, e: StoreError) -> Result<Option<Bytes>, StoreError> {
        self.at = self.end;
        self.after = None;
        Err(e)
    }
}
