//! Blobs as files: `HH/NAME`, where NAME is the name in hexadecimal and HH its first two
//! digits, and `new/NAME` while they come in. It refuses links and whatever else is no
//! file of that form.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use phial_base::RowId;
use phial_base::step::Step;

use crate::durable;
use crate::error::Error;

const NEW: &str = "new";

/// A directory of blobs.
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Directory { root }
    }

    fn path(&self, name: RowId) -> PathBuf {
        let name = hex::encode(name.0);
        let first: String = name.chars().take(2).collect();
        self.root.join(first).join(name)
    }

    /// Begins a file under a name that no reader looks for.
    pub(super) fn begin(&self, name: RowId) -> Result<Sink, Error> {
        let dir = self.root.join(NEW);
        durable::make_dir(&dir)?;
        let path = dir.join(hex::encode(name.0));
        let file = durable::begin_file(&path)?;
        let kept = Kept { path, target: self.path(name), published: AtomicBool::new(false) };
        Ok(Sink { file, kept })
    }

    pub(super) fn find(&self, name: RowId) -> Result<Option<Source>, Error> {
        let file = match fs::File::open(self.path(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let len = file.metadata()?.len();
        Ok(Some(Source { file, len }))
    }

    pub(super) fn names(&self) -> Result<Vec<RowId>, Error> {
        let mut names = Vec::new();
        let Some(dirs) = listed(&self.root)? else { return Ok(names) };
        for dir in dirs {
            let dir = dir?;
            if dir.file_name().len() != 2 || !dir.file_type()?.is_dir() {
                continue;
            }
            for file in listed(&dir.path())?.into_iter().flatten() {
                let mut name = RowId([0; 16]);
                let text = file?.file_name();
                if text.to_str().is_some_and(|t| hex::decode_to_slice(t, &mut name.0).is_ok()) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    pub(super) fn remove(&self, name: RowId) -> Result<(), Error> {
        // One that never took its name may still lie beside.
        for path in [self.path(name), self.root.join(NEW).join(hex::encode(name.0))] {
            if path.exists() {
                durable::remove(Step::BlobRemove, &path)?;
            }
        }
        Ok(())
    }

    pub(super) fn sweep(&self) -> Result<(), Error> {
        for file in listed(&self.root.join(NEW))?.into_iter().flatten() {
            durable::remove(Step::BlobRemove, &file?.path())?;
        }
        Ok(())
    }
}

/// What a directory holds; `None` when it is not there.
fn listed(path: &Path) -> Result<Option<fs::ReadDir>, Error> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(Some(entries)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A file that is being written.
pub(super) struct Sink {
    file: fs::File,
    kept: Kept,
}

impl Sink {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.file.write_all(bytes)?)
    }

    /// Syncs it.
    pub(super) fn finish(self) -> Result<Kept, Error> {
        durable::end_file(Step::BlobPut, &self.kept.path, &self.file)?;
        Ok(self.kept)
    }
}

/// A synced file that has not its name yet. Dropped before it has, it is deleted.
pub(super) struct Kept {
    path: PathBuf,
    target: PathBuf,
    published: AtomicBool,
}

impl Kept {
    pub(super) fn publish(&self) -> Result<(), Error> {
        if let Some(dir) = self.target.parent() {
            durable::make_dir(dir)?;
        }
        // What fails from here on is cleared up by whoever asked, under both names.
        self.published.store(true, Ordering::SeqCst);
        durable::name_file(Step::BlobPut, &self.path, &self.target)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.published.load(Ordering::SeqCst) {
            // What can't be deleted now is swept at the next start.
            let _ = durable::remove(Step::BlobRemove, &self.path);
        }
    }
}

/// A file to read from. It stays readable when its name goes.
pub(super) struct Source {
    file: fs::File,
    len: u64,
}

impl Source {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes from `at`.
    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; len];
        match self.file.read_exact_at(&mut out, at) {
            Ok(()) => Ok(out),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Error::Corrupt("a blob is shorter than it was"))
            }
            Err(e) => Err(e.into()),
        }
    }
}
