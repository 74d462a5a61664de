//! A blob whose key was found: its text, from anywhere. What was read is authenticated
//! piece by piece before any of it is given.

use phial_base::RowId;
use phial_crypto::{
    OpenStream, SEALED_CHUNK, STREAM_CHUNK, STREAM_HEADER, SecretKey, StreamName, StreamShape,
    Zeroizing,
};

use super::place::Source;
use super::{BlobRef, HEAD};
use crate::error::Error;

/// How many chunks are read at a time: a mebibyte.
const RUN: u64 = 16;

/// An open blob.
pub struct OpenBlob {
    name: RowId,
    source: Source,
    stream: OpenStream,
}

impl OpenBlob {
    pub(super) fn new(
        source: Source,
        blob: &BlobRef,
        name: &StreamName<'_>,
        key: &SecretKey,
    ) -> Result<Self, Error> {
        let len = source.len().saturating_sub(HEAD as u64);
        let shape = StreamShape::of(len)?;
        let header = source.read(HEAD as u64, STREAM_HEADER)?;
        let (at, size) = shape.place(shape.last()).ok_or(SHAPE)?;
        let last = source.read(HEAD as u64 + at, size)?;
        let stream = OpenStream::new(&header, shape, &last, name, key)?;
        if stream.text_len() != blob.len {
            return Err(Error::Corrupt("a blob has another length than its record says"));
        }
        Ok(OpenBlob { name: blob.name, source, stream })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> RowId {
        self.name
    }

    /// How many bytes the text has.
    #[must_use]
    pub fn text_len(&self) -> u64 {
        self.stream.text_len()
    }

    /// Text from `at` on: at least one byte when there is one, at most a mebibyte, and
    /// none beyond `end`.
    ///
    /// # Errors
    /// [`Error`] when the store can't be read or the blob is not what was sealed.
    pub fn text(&self, at: u64, end: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
        let end = end.min(self.text_len());
        if at >= end {
            return Ok(Zeroizing::new(Vec::new()));
        }
        let first = self.stream.chunk_of(at);
        let last = self.stream.chunk_of(end - 1).min(first + RUN - 1);
        let shape = self.stream.shape();
        let (from, _) = shape.place(first).ok_or(SHAPE)?;
        let (to, len) = shape.place(last).ok_or(SHAPE)?;
        let size = usize::try_from(to - from).map_err(|_| SHAPE)? + len;
        let sealed = self.source.read(HEAD as u64 + from, size)?;
        let mut text = Zeroizing::new(Vec::with_capacity(size));
        for (number, chunk) in (first..=last).zip(sealed.chunks(SEALED_CHUNK)) {
            text.extend_from_slice(&self.stream.chunk(number, chunk)?);
        }
        let begin = first * STREAM_CHUNK as u64;
        let short = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        text.truncate(short(end - begin));
        let before = short(at - begin).min(text.len());
        text.drain(..before);
        Ok(text)
    }
}

const SHAPE: Error = Error::Corrupt("a blob has no such chunk");
