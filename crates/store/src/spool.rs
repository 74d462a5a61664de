//! The files of jobs: what an export puts out and what an import takes in, sealed.
//!
//! Each job has a key of its own in the keystore, and a directory. A file grows by frames,
//! and a frame is written whole or not at all, so that a job that was cut off goes on
//! where its record says it stood: what lies beyond is written over. When the key is
//! destroyed, every file is gone in every copy.
//!
//! A file is frames, one behind the other:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of what follows, big-endian |
//! | n | a small sealed thing (`phial_crypto::seal_small`); AAD: `"spool"`, tenant, job, file (u32), frame (u64) |
//!
//! A frame's text is padded to a multiple of 4,096 bytes: its length (u32), the text,
//! zeros. That a file ends where it should is known from the job's record alone, which
//! holds its [`Mark`].
//!
//! Refuses to give a frame that stands elsewhere than it was written.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phial_base::step::{Part, Step, durable};
use phial_base::{Rng, TenantId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::durable::make_dir;
use crate::error::Error;
use crate::keystore::HeldKey;

/// The most text in one frame.
pub const FRAME: usize = 1 << 20;
/// What a frame's text is padded to.
const PAD: usize = 4096;
/// More than a sealed frame can take.
const MOST_SEALED: usize = FRAME + 2 * PAD;

/// A place between two frames of a file. The beginning is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes before it.
    pub bytes: u64,
    /// Frames before it.
    pub frames: u64,
}

/// The files of one job.
pub struct Spool {
    dir: PathBuf,
    tenant: TenantId,
    job: String,
    key: Arc<HeldKey>,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spool(..)")
    }
}

impl Spool {
    pub(crate) fn make(
        dir: PathBuf,
        tenant: &TenantId,
        job: &str,
        key: Arc<HeldKey>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, Error> {
        make_dir(&dir)?;
        Ok(Self::over(dir, tenant, job, key, rng))
    }

    pub(crate) fn over(
        dir: PathBuf,
        tenant: &TenantId,
        job: &str,
        key: Arc<HeldKey>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Spool { dir, tenant: tenant.clone(), job: job.to_owned(), key, rng }
    }

    fn path(&self, file: u32) -> PathBuf {
        self.dir.join(file.to_string())
    }

    /// Adds `text` to a file behind `at`, durably, and says where it ends now. Whatever
    /// lay there is written over.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't be written: the same call again finishes it.
    pub fn append(&self, file: u32, at: Mark, text: &[u8]) -> Result<Mark, Error> {
        let mut end = at;
        let mut bytes = Vec::with_capacity(text.len() + text.len() / 64 + 2 * PAD);
        for part in text.chunks(FRAME) {
            let sealed = self.seal(file, end.frames, part)?;
            let length = u32::try_from(sealed.len()).map_err(|_| TOO_LONG)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&sealed);
            end.frames += 1;
        }
        end.bytes += bytes.len() as u64;
        let path = self.path(file);
        durable(Step::SpoolAppend, Part::Whole, &path, || -> Result<(), Error> {
            let mut to = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            to.set_len(at.bytes)?;
            to.seek(SeekFrom::Start(at.bytes))?;
            to.write_all(&bytes)?;
            to.sync_all()?;
            if at.bytes == 0 {
                fs::File::open(&self.dir)?.sync_all()?;
            }
            Ok(())
        })?;
        Ok(end)
    }

    fn seal(&self, file: u32, frame: u64, part: &[u8]) -> Result<Vec<u8>, Error> {
        let length = u32::try_from(part.len()).map_err(|_| TOO_LONG)?;
        let whole = (4 + part.len()).next_multiple_of(PAD);
        let mut text = Zeroizing::new(Vec::with_capacity(whole));
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(part);
        text.resize(whole, 0);
        let (file, frame) = (file.to_be_bytes(), frame.to_be_bytes());
        let aad = self.aad(&file, &frame);
        Ok(phial_crypto::seal_small(&self.key.key, &aad, &text, self.rng.as_ref()))
    }

    fn aad<'a>(&'a self, file: &'a [u8; 4], frame: &'a [u8; 8]) -> [&'a [u8]; 5] {
        [b"spool", self.tenant.as_str().as_bytes(), self.job.as_bytes(), file, frame]
    }

    /// The frame behind `at`, and where the next one begins. The caller knows where the
    /// file ends.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what was written there.
    pub fn read(&self, file: u32, at: Mark) -> Result<(Zeroizing<Vec<u8>>, Mark), Error> {
        const SHORT: Error = Error::Corrupt("a file of a job was cut");
        let mut from = fs::File::open(self.path(file))?;
        from.seek(SeekFrom::Start(at.bytes))?;
        let mut length = [0u8; 4];
        from.read_exact(&mut length).map_err(|_| SHORT)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MOST_SEALED {
            return Err(Error::Corrupt("a frame of a job's file is too long"));
        }
        let mut sealed = vec![0u8; length];
        from.read_exact(&mut sealed).map_err(|_| SHORT)?;
        let (number, frame) = (file.to_be_bytes(), at.frames.to_be_bytes());
        let mut text =
            phial_crypto::open_small(&self.key.key, &self.aad(&number, &frame), &sealed)?;
        let said = text.first_chunk().map(|n| u32::from_be_bytes(*n) as usize);
        let end = said.and_then(|n| n.checked_add(4)).filter(|end| *end <= text.len());
        let Some(end) = end else {
            return Err(Error::Corrupt("a frame of a job's file has no length"));
        };
        text.truncate(end);
        text.drain(..4);
        let next = Mark { bytes: at.bytes + 4 + length as u64, frames: at.frames + 1 };
        Ok((text, next))
    }
}

impl Spool {
    /// Deletes a file, if it is there. Its key lives on with the job's other files.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it can't be deleted.
    pub fn remove(&self, file: u32) -> Result<(), Error> {
        let path = self.path(file);
        if !path.exists() {
            return Ok(());
        }
        crate::durable::remove(Step::SpoolRemove, &path)
    }
}

const TOO_LONG: Error = Error::Invalid("a frame of a job's file is too long");

/// Deletes a job's directory and all in it, if it is there.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    if !dir.exists() {
        return Ok(());
    }
    durable(Step::SpoolRemove, Part::Whole, dir, || match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use phial_base::{KeyHandle, SeededRng};
    use phial_crypto::SecretKey;

    use super::*;

    fn spool(dir: &Path, job: &str) -> Spool {
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let key = Arc::new(HeldKey { handle: KeyHandle([1; 16]), version: 1, key });
        let tenant = TenantId::default_tenant();
        Spool::make(dir.join("a"), &tenant, job, key, Arc::new(SeededRng::new(1))).unwrap()
    }

    fn all(spool: &Spool, file: u32, end: Mark) -> Vec<u8> {
        let (mut at, mut text) = (Mark::default(), Vec::new());
        while at != end {
            let (part, next) = spool.read(file, at).unwrap();
            text.extend_from_slice(&part);
            at = next;
        }
        text
    }

    #[test]
    fn what_was_written_behind_a_mark_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let s = spool(dir.path(), "aa");
        let first = s.append(0, Mark::default(), b"one\n").unwrap();
        // The step after it was cut off, and is done again.
        s.append(0, first, &vec![b'x'; 3 * FRAME + 5]).unwrap();
        let second = s.append(0, first, b"two\n").unwrap();
        assert_eq!(all(&s, 0, second), b"one\ntwo\n");
        assert_eq!(second.frames, 2);
        let length = fs::metadata(dir.path().join("a/0")).unwrap().len();
        assert_eq!(length, second.bytes);
        let long = vec![b'y'; 2 * FRAME + 1];
        let third = s.append(0, second, &long).unwrap();
        assert_eq!(third.frames, 5);
        assert_eq!(all(&s, 0, third).len(), 8 + long.len());
    }

    #[test]
    fn a_frame_opens_only_where_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let s = spool(dir.path(), "aa");
        let first = s.append(0, Mark::default(), b"one").unwrap();
        let second = s.append(0, first, b"two").unwrap();
        let path = |n: u32| dir.path().join("a").join(n.to_string());
        let bytes = fs::read(path(0)).unwrap();
        // As another file, of another job, moved to the front, changed, and cut.
        fs::write(path(1), &bytes).unwrap();
        assert!(s.read(1, Mark::default()).is_err());
        let other = spool(dir.path(), "bb");
        assert!(other.read(0, Mark::default()).is_err());
        let cut = usize::try_from(first.bytes).unwrap();
        fs::write(path(0), &bytes[cut..]).unwrap();
        assert!(s.read(0, Mark::default()).is_err());
        let mut changed = bytes.clone();
        changed[40] ^= 1;
        fs::write(path(0), &changed).unwrap();
        assert!(s.read(0, Mark::default()).is_err());
        fs::write(path(0), &bytes[..bytes.len() - 1]).unwrap();
        assert!(s.read(0, Mark::default()).is_ok());
        assert!(s.read(0, first).is_err());
        assert!(s.read(0, second).is_err());
    }

    #[test]
    fn no_text_and_no_length_shows() {
        let dir = tempfile::tempdir().unwrap();
        let s = spool(dir.path(), "aa");
        let a = s.append(0, Mark::default(), b"Zephyrhaugen").unwrap();
        let b = s.append(1, Mark::default(), &[b'Z'; 3000]).unwrap();
        assert_eq!(a, b);
        let bytes = fs::read(dir.path().join("a/0")).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"Zephyr"));
    }
}
