//! The home directory: where each store of each tenant lies, and the lock that
//! lets one process at a time work in it.
//!
//! Data, keys, audit, index and sessions are separate directories, so that each
//! can have its own disk, credentials and backup (design §4). Refuses to take over
//! a directory that holds anything else.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use phial_base::TenantId;
use phial_base::step::Step;
use rustix::fs::FlockOperation;

use crate::durable::{make_dir, write_whole};
use crate::error::{Error, Fault};

/// What the marker file says. The number is the layout's version.
const MARKER_TEXT: &str = "phial home 1\n";
const MARKER: &str = "phial.home";
const LOCK: &str = "phial.lock";
const CONFIG: &str = "phial.toml";
const DIRECTORIES: [&str; 6] = ["data", "keys", "audit", "index", "sessions", "tls"];

/// A home directory.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Makes the directories of a new home, each with mode 0700. `root` may be
    /// absent, empty, hold only a `phial.toml`, or be a home whose making was
    /// interrupted.
    ///
    /// # Errors
    /// [`Error::NotAHome`] when the directory holds anything else or is a home
    /// already; [`Error::Unavailable`] when it can't be written.
    pub fn create(root: &Path) -> Result<Self, Error> {
        let (home, _) = Home::begin(root)?;
        home.finish()?;
        Ok(home)
    }

    /// The directories of a home that is not one yet, and whether an interrupted call
    /// began it before.
    pub(crate) fn begin(root: &Path) -> Result<(Self, bool), Error> {
        make_dir(root)?;
        let mut begun = false;
        for entry in fs::read_dir(root)? {
            let name = entry?.file_name();
            if name == MARKER {
                return Err(Error::NotAHome("there is a home here already"));
            }
            let directory = DIRECTORIES.iter().any(|d| name == *d);
            begun |= directory;
            let beside = [MARKER, CONFIG].iter().any(|f| name == *format!("{f}.new"));
            let ours = directory || beside || name == CONFIG || name == LOCK;
            if !ours {
                return Err(Error::NotAHome("the directory holds other files"));
            }
        }
        for dir in DIRECTORIES {
            make_dir(&root.join(dir))?;
        }
        Ok((Home { root: fs::canonicalize(root)? }, begun))
    }

    /// Says that the home is whole. Written last and put in place whole: a crash before
    /// leaves a directory that [`Home::create`] takes up again.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        write_whole(Step::HomeMarker, &self.root.join(MARKER), MARKER_TEXT.as_bytes())
    }

    /// Opens an existing home.
    ///
    /// # Errors
    /// [`Error::NotAHome`] when it is none, or of a layout not known here.
    pub fn open(root: &Path) -> Result<Self, Error> {
        match fs::read_to_string(root.join(MARKER)) {
            Ok(text) if text == MARKER_TEXT => Ok(Home { root: fs::canonicalize(root)? }),
            Ok(_) => Err(Error::NotAHome("its layout is of another version")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NotAHome("there is no home here; `phial init` makes one"))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join(CONFIG)
    }

    /// The tenant's record log.
    #[must_use]
    pub fn records(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("data").join(tenant.as_str()).join("records.db")
    }

    /// The directory of the tenant's blobs.
    #[must_use]
    pub fn blobs(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("data").join(tenant.as_str()).join("blobs")
    }

    /// The tenant's control log.
    #[must_use]
    pub fn control(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("data").join(tenant.as_str()).join("control.db")
    }

    /// How far the tenant's subscriptions have come.
    #[must_use]
    pub fn outbox(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("data").join(tenant.as_str()).join("outbox.db")
    }

    /// The directory of the files of the tenant's jobs.
    #[must_use]
    pub fn spool(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("data").join(tenant.as_str()).join("jobs")
    }

    /// The directory of the keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The root key's file (key-file provider).
    #[must_use]
    pub fn root_key(&self) -> PathBuf {
        self.keys().join("root.key")
    }

    /// The keystore.
    #[must_use]
    pub fn keystore(&self) -> PathBuf {
        self.keys().join("keystore.db")
    }

    /// The copy of the tenant's latest audit checkpoint that is kept beside the keys.
    #[must_use]
    pub fn checkpoint(&self, tenant: &TenantId) -> PathBuf {
        self.keys().join(format!("{tenant}.checkpoint"))
    }

    /// The tenant's public key for checkpoints.
    #[must_use]
    pub fn public_key(&self, tenant: &TenantId) -> PathBuf {
        self.keys().join(format!("{tenant}.pub"))
    }

    /// The tenant's audit log.
    #[must_use]
    pub fn audit(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("audit").join(tenant.as_str()).join("audit.db")
    }

    /// The directory of the tenant's index files.
    #[must_use]
    pub fn index(&self, tenant: &TenantId) -> PathBuf {
        self.root.join("index").join(tenant.as_str())
    }

    /// The sessions store.
    #[must_use]
    pub fn sessions(&self) -> PathBuf {
        self.root.join("sessions").join("sessions.db")
    }

    /// The store of tickets: what apps and services were given.
    #[must_use]
    pub fn tickets(&self) -> PathBuf {
        self.root.join("sessions").join("tickets.db")
    }

    /// The directory of certificates and their keys.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// Directories in which no root key may lie, since they are copied and backed up
    /// by others than the keys are.
    #[must_use]
    pub fn forbidden_for_keys(&self) -> Vec<PathBuf> {
        ["data", "audit", "index", "sessions"].iter().map(|d| self.root.join(d)).collect()
    }

    /// Takes the home for this process alone; the lock ends with the guard or the
    /// process. It is advisory (`flock`) and bound to the open file, so a killed
    /// process leaves nothing to clean up.
    ///
    /// # Errors
    /// [`Error::HomeLocked`] when another process, or another guard here, has it.
    pub fn lock_exclusive(&self) -> Result<HomeLock, Error> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.root.join(LOCK))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                let holder = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::HomeLocked { holder });
            }
            Err(e) => return Err(Error::Unavailable(Fault::Io(e.raw_os_error()))),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        Ok(HomeLock { file })
    }
}

/// Proof that this process has the home for itself.
#[derive(Debug)]
pub struct HomeLock {
    file: fs::File,
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // Forget who held it, so that a later refusal names no stranger. Closing the
        // file ends the lock in any case, so a failure here loses nothing.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_directory_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        assert!(matches!(Home::create(dir.path()), Err(Error::NotAHome(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(Home::open(dir.path()), Err(Error::NotAHome(_))));
    }

    #[test]
    fn an_interrupted_creation_is_taken_up_and_a_finished_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("phial.toml"), "").unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert!(home.keys().is_dir());
        assert!(matches!(Home::create(dir.path()), Err(Error::NotAHome(_))));
        Home::open(dir.path()).unwrap();
    }

    #[test]
    fn directories_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("phial");
        let home = Home::create(&root).unwrap();
        for d in [root.clone(), home.keys(), home.tls()] {
            assert_eq!(fs::metadata(d).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn one_lock_at_a_time_and_the_refusal_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("h")).unwrap();
        let first = home.lock_exclusive().unwrap();
        match home.lock_exclusive() {
            Err(e @ Error::HomeLocked { holder }) => {
                assert_eq!(holder, Some(std::process::id()));
                assert!(e.to_string().contains("stop it first"));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        home.lock_exclusive().unwrap();
    }
}
