//! Sealing a stream.

use std::io::{self, Write};

use phial_base::Rng;
use zeroize::Zeroizing;

use super::{
    COUNT, MAX_TEXT, SEALED_CHUNK, STREAM_CHUNK, STREAM_HEADER, SUITE, StreamName, nonce, padded,
    sealed_stream_len,
};
use crate::{Error, SecretKey, aead};

/// Seals a text that comes piece by piece. It does no input or output: what is sealed is
/// handed out chunk by chunk, for whoever writes it, blocking or not.
pub struct StreamSealer {
    key: aead::Key,
    aad: Vec<u8>,
    chunk: u64,
    text: u64,
    /// The chunk being filled: its count, then text.
    filling: Zeroizing<Vec<u8>>,
}

impl StreamSealer {
    /// Begins a stream. The header is to be written before any chunk.
    #[must_use]
    pub fn new(
        name: &StreamName<'_>,
        key: &SecretKey,
        rng: &dyn Rng,
    ) -> (Self, [u8; STREAM_HEADER]) {
        let mut salt = [0u8; 32];
        rng.fill(&mut salt);
        let (own, commitment) = name.key(key, &salt);
        let mut header = [0u8; STREAM_HEADER];
        let parts = [&[SUITE][..], &salt, &commitment];
        for (to, from) in header.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let mut filling = Zeroizing::new(Vec::with_capacity(SEALED_CHUNK));
        filling.resize(COUNT, 0);
        (StreamSealer { key: own, aad: name.aad(), chunk: 0, text: 0, filling }, header)
    }

    /// How much text was taken in so far, in bytes.
    #[must_use]
    pub fn text_len(&self) -> u64 {
        self.text
    }

    /// Takes in more text and appends the chunks that became full to `out`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above 1 TiB in all.
    pub fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.text.saturating_add(text.len() as u64) > MAX_TEXT {
            return Err(Error::TooLarge { what: "stream", limit: 1 << 40 });
        }
        while !text.is_empty() {
            // A full chunk is sealed when more follows: until then it may be the last.
            if self.filling.len() == COUNT + STREAM_CHUNK {
                self.seal(false, out);
            }
            let room = COUNT + STREAM_CHUNK - self.filling.len();
            let (now, later) = text.split_at(room.min(text.len()));
            self.filling.extend_from_slice(now);
            self.text += now.len() as u64;
            text = later;
        }
        Ok(())
    }

    /// The end of the text. What remains of the stream is to be written to its end:
    /// without its last chunk no stream opens.
    #[must_use]
    pub fn finish(self) -> StreamTail {
        StreamTail { zeros: padded(self.text) - self.text, sealer: Some(self) }
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) {
        let count = self.text.to_be_bytes();
        for (to, from) in self.filling.iter_mut().zip(count) {
            *to = from;
        }
        let tag = self.key.seal(nonce(self.chunk, last), &self.aad, &mut self.filling);
        out.extend_from_slice(&self.filling);
        out.extend_from_slice(&tag);
        self.filling.truncate(COUNT);
        self.chunk += 1;
    }
}

/// What remains of a stream when its text has ended: the last text, zeros, the last
/// chunk. Each item is one sealed chunk.
pub struct StreamTail {
    sealer: Option<StreamSealer>,
    zeros: u64,
}

impl Iterator for StreamTail {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let sealer = self.sealer.as_mut()?;
        let mut out = Vec::with_capacity(SEALED_CHUNK);
        if sealer.filling.len() == COUNT + STREAM_CHUNK && self.zeros > 0 {
            sealer.seal(false, &mut out);
            return Some(out);
        }
        let room = (COUNT + STREAM_CHUNK - sealer.filling.len()) as u64;
        let now = room.min(self.zeros);
        let filled = sealer.filling.len() + usize::try_from(now).unwrap_or(0);
        sealer.filling.resize(filled, 0);
        self.zeros -= now;
        let last = self.zeros == 0;
        sealer.seal(last, &mut out);
        if last {
            self.sealer = None;
        }
        Some(out)
    }
}

/// What was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes of text.
    pub text: u64,
    /// Bytes of the whole stream.
    pub stream: u64,
}

/// Seals what is written to it and writes the stream to `W`. Without
/// [`SealingWriter::finish`] what was written does not open.
pub struct SealingWriter<W: Write> {
    to: W,
    sealer: StreamSealer,
    out: Vec<u8>,
}

impl<W: Write> SealingWriter<W> {
    /// Begins a stream: writes its header.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn new(
        mut to: W,
        name: &StreamName<'_>,
        key: &SecretKey,
        rng: &dyn Rng,
    ) -> io::Result<Self> {
        let (sealer, header) = StreamSealer::new(name, key, rng);
        to.write_all(&header)?;
        Ok(SealingWriter { to, sealer, out: Vec::new() })
    }

    /// Writes what remains, the last chunk included. Syncing is the caller's.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<(W, Sealed)> {
        let text = self.sealer.text_len();
        for chunk in self.sealer.finish() {
            self.to.write_all(&chunk)?;
        }
        self.to.flush()?;
        Ok((self.to, Sealed { text, stream: sealed_stream_len(text) }))
    }
}

impl<W: Write> Write for SealingWriter<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // At most one chunk at a time, so that little waits in memory.
        let (now, _) = text.split_at(text.len().min(STREAM_CHUNK));
        self.sealer.push(now, &mut self.out).map_err(io::Error::other)?;
        self.to.write_all(&self.out)?;
        self.out.clear();
        Ok(now.len())
    }

    /// Hands on what is sealed. A chunk that is not full waits.
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
