//! The only ways in which this crate changes durable state. Each takes the
//! [`Step`] that it is, so that tests can make every one of them fail; tidy refuses the
//! raw calls elsewhere.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use phial_base::step::{Part, Step, durable};
use rusqlite::{Connection, Transaction};

use crate::error::Error;

fn file_of(db: &Connection) -> PathBuf {
    db.path().map(PathBuf::from).unwrap_or_default()
}

/// Commits. After an error the transaction is saved or not; who needs to know asks the
/// store again.
#[expect(clippy::disallowed_methods, reason = "the one place that commits")]
pub(crate) fn commit(step: Step, tx: Transaction<'_>) -> Result<(), Error> {
    let path = file_of(&tx);
    durable(step, Part::Whole, &path, || Ok(tx.commit()?))
}

/// Runs `write` as the one statement of a transaction of its own.
pub(crate) fn execute<T>(
    step: Step,
    db: &Connection,
    write: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    durable(step, Part::Whole, &file_of(db), write)
}

/// Commits the transaction that was begun by `BEGIN` on this connection.
pub(crate) fn commit_begun(step: Step, db: &Connection) -> Result<(), Error> {
    execute(step, db, || Ok(db.execute_batch("COMMIT")?))
}

/// Writes the log back and empties it, so that pages overwritten or deleted are in no
/// file any more. False when a reader held it up; try again later.
pub(crate) fn scrub(step: Step, db: &Connection) -> Result<bool, Error> {
    execute(step, db, || {
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))?;
        Ok(busy == 0)
    })
}

/// Puts `bytes` at `path` whole or not at all: written beside it with mode 0600,
/// synced, renamed over it, and the directory synced.
///
/// # Errors
/// [`Error::Unavailable`] or [`Error::File`] when a part fails. When that is the last
/// one, the file is there but might not survive a power cut.
pub fn write_whole(step: Step, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let dir = path.parent().ok_or(Error::Invalid("a file needs a directory"))?;
    let mut name = path.file_name().ok_or(Error::Invalid("a file needs a name"))?.to_owned();
    name.push(".new");
    let beside = dir.join(name);
    durable(step, Part::Write, &beside, || -> Result<(), Error> {
        // A file left by a crash keeps its mode; a new one gets ours.
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(())
    })?;
    durable(step, Part::Name, path, || fs::rename(&beside, path).map_err(Error::from))?;
    durable(step, Part::Sync, path, || sync_dir(dir))
}

/// Begins a file that is written bit by bit, mode 0600. It is durable with [`end_file`]
/// and has its name with [`name_file`].
pub(crate) fn begin_file(path: &Path) -> Result<fs::File, Error> {
    Ok(fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?)
}

/// Syncs what was written to a begun file.
pub(crate) fn end_file(step: Step, path: &Path, file: &fs::File) -> Result<(), Error> {
    durable(step, Part::Write, path, || Ok(file.sync_all()?))
}

/// Gives an ended file its name, and syncs the name's directory. A name is given once.
pub(crate) fn name_file(step: Step, path: &Path, name: &Path) -> Result<(), Error> {
    let dir = name.parent().ok_or(Error::Invalid("a file needs a directory"))?;
    durable(step, Part::Name, name, || fs::rename(path, name).map_err(Error::from))?;
    durable(step, Part::Sync, name, || sync_dir(dir))
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    Ok(fs::File::open(dir)?.sync_all()?)
}

/// Makes the directory and its parents, mode 0700 for each that is new.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    durable(Step::Directory, Part::Whole, path, || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // The name must outlive a power cut as what is put below it does.
        path.parent().map_or(Ok(()), |above| {
            sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above })
        })
    })
}

/// Makes an empty file, mode 0600, unless there is one. SQLite gives its side files
/// the same mode.
pub(crate) fn make_file(step: Step, path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    durable(step, Part::Whole, path, || {
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(Error::from(e)),
        }?;
        path.parent().map_or(Ok(()), sync_dir)
    })
}

/// Deletes a file that may be gone already.
pub(crate) fn remove(step: Step, path: &Path) -> Result<(), Error> {
    durable(step, Part::Whole, path, || match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_left_by_a_crash_lends_no_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker");
        let beside = dir.path().join("marker.new");
        fs::write(&beside, "half").unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o644)).unwrap();
        write_whole(Step::HomeMarker, &path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!beside.exists());
    }
}
