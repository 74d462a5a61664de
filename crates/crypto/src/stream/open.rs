//! Opening a stream, from its beginning or anywhere.

use std::io::{self, Read};

use zeroize::Zeroizing;

use super::{
    CHUNK, COUNT, SEALED_CHUNK, STREAM_HEADER, SUITE, StreamName, StreamShape, WHAT, nonce, padded,
};
use crate::encode::Reader;
use crate::{Error, SecretKey, aead, constant_time_eq};

/// Opens single chunks of one stream. It does no input or output.
pub struct StreamOpener {
    key: aead::Key,
    aad: Vec<u8>,
}

impl StreamOpener {
    /// Looks at a stream's header.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::UnknownFormat`]; [`Error::Refused`] when the key or
    /// the purpose is another than at sealing.
    pub fn new(header: &[u8], name: &StreamName<'_>, key: &SecretKey) -> Result<Self, Error> {
        let mut r = Reader::new(header);
        let suite = r.byte().ok_or(Error::Malformed(WHAT))?;
        if suite != SUITE {
            return Err(Error::UnknownFormat { what: WHAT, found: suite });
        }
        let salt = r.array().ok_or(Error::Malformed(WHAT))?;
        let stated: [u8; 32] = r.array().ok_or(Error::Malformed(WHAT))?;
        if !r.rest().is_empty() {
            return Err(Error::Malformed(WHAT));
        }
        let (key, commitment) = name.key(key, &salt);
        if !constant_time_eq(&commitment, &stated) {
            return Err(Error::Refused(WHAT));
        }
        Ok(StreamOpener { key, aad: name.aad() })
    }

    /// The length of all text up to the end of chunk `number`, and what the chunk holds
    /// of it, in `out`.
    fn open(
        &self,
        number: u64,
        last: bool,
        sealed: &[u8],
        out: &mut Zeroizing<Vec<u8>>,
    ) -> Result<u64, Error> {
        let len = sealed.len().checked_sub(aead::TAG).ok_or(Error::Malformed(WHAT))?;
        if len < COUNT || sealed.len() > SEALED_CHUNK {
            return Err(Error::Malformed(WHAT));
        }
        let (text, tag) = sealed.split_at_checked(len).ok_or(Error::Malformed(WHAT))?;
        out.clear();
        out.resize(len, 0);
        if self.key.open(nonce(number, last), &self.aad, text, tag, out).is_err() {
            // What the library left of it was not authenticated.
            zeroize::Zeroize::zeroize(&mut **out);
            return Err(Error::Refused(WHAT));
        }
        let mut r = Reader::new(out);
        let count = u64::from_be_bytes(r.array().ok_or(Error::Malformed(WHAT))?);
        let held = r.rest().len() as u64;
        let before = number * CHUNK;
        let own = count.saturating_sub(before).min(held);
        let own = usize::try_from(own).map_err(|_| Error::Malformed(WHAT))?;
        // Sealed under the key, so these hold unless whoever sealed it erred.
        let rest = r.rest().get(own..).unwrap_or_default();
        let whole = !last || padded(count) == before + held;
        if count > before + held || rest.iter().any(|b| *b != 0) || !whole {
            return Err(Error::Malformed(WHAT));
        }
        out.drain(..COUNT);
        out.truncate(own);
        Ok(count)
    }
}

/// A stream whose length is known and whose end was seen: any of its chunks can be
/// opened by itself.
pub struct OpenStream {
    opener: StreamOpener,
    shape: StreamShape,
    text: u64,
}

impl OpenStream {
    /// Opens a stream of this shape by its header and its last chunk, which proves that
    /// nothing was cut off or added.
    ///
    /// # Errors
    /// As [`StreamOpener::new`]; [`Error::Refused`] when this is not the last chunk.
    pub fn new(
        header: &[u8],
        shape: StreamShape,
        last: &[u8],
        name: &StreamName<'_>,
        key: &SecretKey,
    ) -> Result<Self, Error> {
        let opener = StreamOpener::new(header, name, key)?;
        let text = opener.open(shape.last(), true, last, &mut Zeroizing::new(Vec::new()))?;
        Ok(OpenStream { opener, shape, text })
    }

    /// How much text there is, in bytes.
    #[must_use]
    pub fn text_len(&self) -> u64 {
        self.text
    }

    /// Where its chunks stand.
    #[must_use]
    pub fn shape(&self) -> StreamShape {
        self.shape
    }

    /// The number of the chunk that holds the byte of text at `offset`.
    #[must_use]
    pub fn chunk_of(&self, offset: u64) -> u64 {
        offset / CHUNK
    }

    /// The text of chunk `number`, given as it is sealed.
    ///
    /// # Errors
    /// [`Error::Refused`] when this is not that chunk of this stream.
    pub fn chunk(&self, number: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut out = Zeroizing::new(Vec::with_capacity(SEALED_CHUNK));
        let count = self.opener.open(number, number == self.shape.last(), sealed, &mut out)?;
        if count != self.text.min((number + 1) * CHUNK) {
            return Err(Error::Malformed(WHAT));
        }
        Ok(out)
    }
}

/// Reads the text of a stream from its beginning. It comes to its end only after the last
/// chunk was authenticated; before that, whatever is wrong is an error of the kind
/// [`io::ErrorKind::InvalidData`], and whoever used the text so far must drop it.
pub struct StreamReader<R: Read> {
    from: R,
    opener: StreamOpener,
    /// What was read of the stream and not yet opened: a chunk, and a byte of the next.
    sealed: Vec<u8>,
    text: Zeroizing<Vec<u8>>,
    given: usize,
    number: u64,
    /// Text so far, once it fell short of its chunk.
    ended_at: Option<u64>,
    done: bool,
}

impl<R: Read> StreamReader<R> {
    /// Reads the header of a stream.
    ///
    /// # Errors
    /// Those of `from`; otherwise as [`StreamOpener::new`], in an [`io::Error`].
    pub fn new(mut from: R, name: &StreamName<'_>, key: &SecretKey) -> io::Result<Self> {
        let mut header = [0u8; STREAM_HEADER];
        from.read_exact(&mut header)?;
        let opener = StreamOpener::new(&header, name, key).map_err(invalid)?;
        Ok(StreamReader {
            from,
            opener,
            sealed: Vec::with_capacity(SEALED_CHUNK + 1),
            text: Zeroizing::new(Vec::with_capacity(SEALED_CHUNK)),
            given: 0,
            number: 0,
            ended_at: None,
            done: false,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        // One byte more than a chunk tells whether this is the last.
        let wanted = (SEALED_CHUNK + 1 - self.sealed.len()) as u64;
        Read::by_ref(&mut self.from).take(wanted).read_to_end(&mut self.sealed)?;
        let last = self.sealed.len() <= SEALED_CHUNK;
        let next = self.sealed.split_off(self.sealed.len().min(SEALED_CHUNK));
        let count =
            self.opener.open(self.number, last, &self.sealed, &mut self.text).map_err(invalid)?;
        let end = (self.number + 1) * CHUNK;
        if self.ended_at.is_some_and(|at| at != count) {
            return Err(invalid(Error::Malformed(WHAT)));
        }
        if count < end {
            self.ended_at = Some(count);
        }
        self.sealed.clear();
        self.sealed.extend_from_slice(&next);
        self.given = 0;
        self.number += 1;
        self.done = last;
        Ok(())
    }
}

fn invalid(e: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

impl<R: Read> Read for StreamReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.text.get(self.given..).unwrap_or_default();
            if !left.is_empty() || out.is_empty() {
                let n = left.len().min(out.len());
                for (to, from) in out.iter_mut().zip(left) {
                    *to = *from;
                }
                self.given += n;
                return Ok(n);
            }
            if self.done {
                return Ok(0);
            }
            if let Err(e) = self.next_chunk() {
                // What failed once is not read on.
                self.text.clear();
                self.given = 0;
                return Err(e);
            }
        }
    }
}
