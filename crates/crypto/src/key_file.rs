//! The development-grade root provider: one key in one file, kept apart from the
//! data. Refuses a file that others can reach, that lies among the data, or that
//! is no longer the one that was opened.
//!
//! # The file, format 1
//!
//! One line of text, fields separated by one space, ended by one line feed:
//!
//! | field | what |
//! |---|---|
//! | `phial-root-key` | |
//! | `1` | format |
//! | 16 hexadecimal digits | key id: HMAC-SHA-256 under the key over the one item `"phial root key id"` (length-prefixed), first 8 bytes |
//! | 44 characters | the 32 key bytes, Base64 (RFC 4648, 4, padded) |
//! | 16 hexadecimal digits | checksum: SHA-256 over all of the line before it, its last space included, first 8 bytes |
//!
//! # A payload wrapped by this provider, format 1
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format, `01` |
//! | 1 | 8 | key id |
//! | 9 | n | small sealed thing (see `small`) under `derive("phial root wrap 1")`, AAD: key id, context |
//!
//! Worked: a 62-byte payload is wrapped in 9 + 41 + 62 = 112 bytes.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use phial_base::step::{Part, Step, durable};
use phial_base::{Rng, SystemRng};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::encode::Reader;
use crate::{
    Error, KeyFileProblem, RootProvider, SecretKey, constant_time_eq, hmac_sha256, open_small,
    seal_small, sha256,
};

const FORMAT: u8 = 1;
const WORD: &str = "phial-root-key";
const WHAT: &str = "payload wrapped under the root key";
/// How a key's file is called until it gets its name.
const STRAY: &str = ".root-key-";
/// A well-formed line has 96 bytes; nothing longer is read.
const LONGEST: u64 = 256;

/// A root key in a file.
pub struct KeyFile {
    path: PathBuf,
    key: SecretKey,
    id: [u8; 8],
    rng: SystemRng,
}

impl KeyFile {
    /// Makes a new root key at `path`, in a directory that is made (mode 0700)
    /// when it is missing. An existing file is never overwritten. None of
    /// `forbidden`, the directories that hold data, may contain it.
    ///
    /// # Errors
    /// [`Error::KeyFile`] and [`Error::KeyFileIo`].
    pub fn create(path: &Path, forbidden: &[&Path], rng: &dyn Rng) -> Result<Self, Error> {
        let directory = directory(path)?;
        check_apart(path, directory, forbidden)?;
        let made = durable(Step::Directory, Part::Whole, directory, || {
            match DirBuilder::new().mode(0o700).create(directory) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
                _ => Ok(()),
            }
        });
        made.map_err(|e| io(directory, e))?;
        check_place(path, directory, forbidden)?;
        if fs::symlink_metadata(path).is_ok() {
            return Err(problem(path, KeyFileProblem::Exists));
        }

        let key = SecretKey::random(rng);
        let id = key_id(&key);
        let mut suffix = [0u8; 8];
        rng.fill(&mut suffix);
        let temporary = directory.join(format!("{STRAY}{}", hex::encode(suffix)));
        let written = durable(Step::RootKey, Part::Write, &temporary, || {
            write_new(&temporary, &line(&key, id))
        })
        .and_then(|()| {
            // A link, not a rename: it fails when the name is taken. A crash
            // before it leaves a stray temporary file and no key; nothing was
            // wrapped under that key yet.
            durable(Step::RootKey, Part::Name, path, || fs::hard_link(&temporary, path))
        });
        // Best effort: the stray file is as protected as the key file itself.
        let _ = fs::remove_file(&temporary);
        written.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => problem(path, KeyFileProblem::Exists),
            _ => io(path, e),
        })?;
        // The name must be durable before anything is wrapped under the key.
        let named = durable(Step::RootKey, Part::Sync, path, || {
            File::open(directory).and_then(|d| d.sync_all())
        });
        named.map_err(|e| io(directory, e))?;
        KeyFile::open(path, forbidden)
    }

    /// Opens the root key at `path`, which an interrupted [`KeyFile::create`] may have
    /// made, and deletes the copies of it that were on their way to that name.
    ///
    /// # Errors
    /// As [`KeyFile::open`].
    pub fn take_up(path: &Path, forbidden: &[&Path]) -> Result<Self, Error> {
        let opened = KeyFile::open(path, forbidden)?;
        let directory = directory(path)?;
        for entry in fs::read_dir(directory).map_err(|e| io(directory, e))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(STRAY) {
                fs::remove_file(entry.path()).map_err(|e| io(&entry.path(), e))?;
            }
        }
        Ok(opened)
    }

    /// Opens the root key at `path`.
    ///
    /// # Errors
    /// [`Error::KeyFile`], which says what is wrong and what to do, and
    /// [`Error::KeyFileIo`].
    pub fn open(path: &Path, forbidden: &[&Path]) -> Result<Self, Error> {
        let directory = directory(path)?;
        check_place(path, directory, forbidden)?;
        // Where it lies now, whatever the working directory becomes.
        let path = std::path::absolute(path).map_err(|e| io(path, e))?;
        let key = read(&path)?;
        let id = key_id(&key);
        Ok(KeyFile { path, key, id, rng: SystemRng::new() })
    }

    /// Fails unless the file is still there, still private and still holds this
    /// key. So taking the file away stops a running server within the time that
    /// it holds tenant keys, and nothing is wrapped under a key that is gone.
    fn still_there(&self) -> Result<(), Error> {
        if read(&self.path)? == self.key {
            Ok(())
        } else {
            Err(problem(&self.path, KeyFileProblem::Changed))
        }
    }

    fn wrapping_key(&self) -> SecretKey {
        self.key.derive(b"phial root wrap 1")
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RootProvider for KeyFile {
    fn name(&self) -> &'static str {
        "key-file"
    }

    fn key_id(&self) -> String {
        hex::encode(self.id)
    }

    fn wrap(&self, context: &[u8], payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.still_there()?;
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.id);
        out.extend(seal_small(&self.wrapping_key(), &[&self.id, context], payload, &self.rng));
        Ok(out)
    }

    fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.still_there()?;
        let mut r = Reader::new(wrapped);
        match r.byte() {
            Some(FORMAT) => {}
            Some(found) => return Err(Error::UnknownFormat { what: WHAT, found }),
            None => return Err(Error::Malformed(WHAT)),
        }
        let id: [u8; 8] = r.array().ok_or(Error::Malformed(WHAT))?;
        if id != self.id {
            return Err(Error::WrongRoot);
        }
        open_small(&self.wrapping_key(), &[&id, context], r.rest())
    }
}

fn problem(path: &Path, problem: KeyFileProblem) -> Error {
    Error::KeyFile { path: path.to_owned(), problem }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::KeyFileIo { path: path.to_owned(), source }
}

fn directory(path: &Path) -> Result<&Path, Error> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(_)) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        (Some(parent), Some(_)) => Ok(parent),
        _ => Err(problem(path, KeyFileProblem::NoDirectory)),
    }
}

/// The directory is private, ours, and not among the data.
fn check_place(path: &Path, directory: &Path, forbidden: &[&Path]) -> Result<(), Error> {
    let metadata = fs::metadata(directory).map_err(|e| match e.kind() {
        ErrorKind::NotFound => problem(path, KeyFileProblem::Missing),
        _ => io(directory, e),
    })?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(problem(path, KeyFileProblem::DirectoryMode(mode)));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(problem(path, KeyFileProblem::DirectoryOwner(metadata.uid())));
    }
    check_apart(path, directory, forbidden)
}

/// The directory is not among the data. Neither needs to exist yet.
fn check_apart(path: &Path, directory: &Path, forbidden: &[&Path]) -> Result<(), Error> {
    let place = canonical(directory).map_err(|e| io(directory, e))?;
    for data in forbidden {
        let data = canonical(data).map_err(|e| io(data, e))?;
        if place.starts_with(&data) {
            return Err(problem(path, KeyFileProblem::InsideData(data)));
        }
    }
    Ok(())
}

/// The canonical path, also of a directory that does not exist yet: links are
/// followed as far as the path exists.
fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match path.canonicalize() {
        Err(e) if e.kind() == ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(canonical(parent)?.join(name)),
            _ => Ok(path),
        },
        other => other,
    }
}

fn write_new(path: &Path, line: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line)?;
    // Durable before it gets its name.
    file.sync_all()
}

fn read(path: &Path) -> Result<SecretKey, Error> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| {
        if e.kind() == ErrorKind::NotFound {
            problem(path, KeyFileProblem::Missing)
        } else if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            problem(path, KeyFileProblem::NotAFile)
        } else {
            io(path, e)
        }
    })?;
    check_file(path, &file.metadata().map_err(|e| io(path, e))?)?;
    // Room from the start: growing would leave a copy of the key behind.
    let mut text = Zeroizing::new(vec![0u8; LONGEST as usize]);
    let mut len = 0;
    loop {
        match file.read(text.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(io(path, e)),
        }
    }
    parse(text.get(..len).unwrap_or_default()).map_err(|p| problem(path, p))
}

fn check_file(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        Err(problem(path, KeyFileProblem::NotAFile))
    } else if mode & 0o177 != 0 {
        Err(problem(path, KeyFileProblem::Mode(mode)))
    } else if metadata.uid() != geteuid().as_raw() {
        Err(problem(path, KeyFileProblem::Owner(metadata.uid())))
    } else {
        Ok(())
    }
}

fn key_id(key: &SecretKey) -> [u8; 8] {
    first_8(hmac_sha256(key, &[b"phial root key id"]))
}

fn first_8([a, b, c, d, e, f, g, h, ..]: [u8; 32]) -> [u8; 8] {
    [a, b, c, d, e, f, g, h]
}

fn line(key: &SecretKey, id: [u8; 8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    out.extend_from_slice(format!("{WORD} {FORMAT} {} ", hex::encode(id)).as_bytes());
    out.extend_from_slice(Zeroizing::new(STANDARD.encode(key.expose())).as_bytes());
    out.push(b' ');
    let checksum = hex::encode(first_8(sha256(&out)));
    out.extend_from_slice(checksum.as_bytes());
    out.push(b'\n');
    out
}

fn parse(text: &[u8]) -> Result<SecretKey, KeyFileProblem> {
    let content = || KeyFileProblem::Content;
    let text = std::str::from_utf8(text).map_err(|_| content())?;
    let text = text.strip_suffix('\n').ok_or_else(content)?;
    let (front, checksum) = text.rsplit_once(' ').ok_or_else(content)?;
    let mut fields = front.split(' ');
    if fields.next() != Some(WORD) {
        return Err(content());
    }
    if fields.next() != Some("1") {
        return Err(KeyFileProblem::Format);
    }
    let mut covered = Zeroizing::new(Vec::with_capacity(front.len() + 1));
    covered.extend_from_slice(front.as_bytes());
    covered.push(b' ');
    let expected = hex::encode(first_8(sha256(&covered)));
    if !constant_time_eq(expected.as_bytes(), checksum.as_bytes()) {
        return Err(KeyFileProblem::Checksum);
    }
    let (Some(id), Some(encoded), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(content());
    };
    // One byte more than needed: the decoder asks for room for its padding.
    let mut bytes = Zeroizing::new([0u8; 33]);
    let len = STANDARD.decode_slice(encoded, &mut bytes[..]).map_err(|_| content())?;
    let key = bytes.get(..len).and_then(|b| SecretKey::from_bytes(b).ok()).ok_or_else(content)?;
    if hex::encode(key_id(&key)) != id {
        return Err(KeyFileProblem::Checksum);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use phial_base::SeededRng;

    use super::*;

    struct Home {
        _directory: tempfile::TempDir,
        root: PathBuf,
        path: PathBuf,
    }

    fn home() -> Home {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        Home { _directory: directory, path: root.join("keys/root.key"), root }
    }

    fn created() -> (Home, KeyFile) {
        let home = home();
        let key = KeyFile::create(&home.path, &[], &SeededRng::new(1)).unwrap();
        (home, key)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn problem_of<T>(result: Result<T, Error>) -> KeyFileProblem {
        match result.map(|_| ()) {
            Err(Error::KeyFile { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_file_format_is_frozen() {
        let (home, key) = created();
        let frozen = "phial-root-key 1 215d03c42f01b847 Uy3qv4hynLQ5latanNSb+bkKB5kE3AZF7NqeR85zRak= c7041a938eea23ca\n";
        assert_eq!(fs::read_to_string(&home.path).unwrap(), frozen);
        assert_eq!(key.key_id(), "215d03c42f01b847");
        assert_eq!(key.name(), "key-file");
        assert_eq!(parse(frozen.as_bytes()).unwrap(), SecretKey::random(&SeededRng::new(1)));
    }

    #[test]
    fn the_wrapped_format_is_frozen() {
        let (_home, key) = created();
        let frozen = hex::decode("01215d03c42f01b84701000102030405060708090a0b0c0d0e0f10111213141516172bbd18cb62af5d1d3fe4934c98977a060fa59acf76d067").unwrap();
        assert_eq!(&**key.unwrap(b"context", &frozen).unwrap(), b"payload");
    }

    #[test]
    fn what_was_wrapped_opens_in_its_context_only() {
        let (home, key) = created();
        let wrapped = key.wrap(b"context", b"payload").unwrap();
        assert_eq!(wrapped.len(), 9 + 41 + 7);
        let again = KeyFile::open(&home.path, &[]).unwrap();
        assert_eq!(&**again.unwrap(b"context", &wrapped).unwrap(), b"payload");
        assert!(matches!(again.unwrap(b"contexu", &wrapped), Err(Error::Refused(_))));
        for bit in 0..wrapped.len() * 8 {
            let mut bad = wrapped.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(again.unwrap(b"context", &bad).is_err(), "bit {bit}");
        }
        assert!(again.unwrap(b"context", &[]).is_err());
        assert!(again.unwrap(b"context", &wrapped[..20]).is_err());
    }

    #[test]
    fn another_root_key_says_so() {
        let (_a, one) = created();
        let home = home();
        let two = KeyFile::create(&home.path, &[], &SeededRng::new(2)).unwrap();
        let wrapped = one.wrap(b"", b"payload").unwrap();
        assert!(matches!(two.unwrap(b"", &wrapped), Err(Error::WrongRoot)));
        // A forged id does not help.
        let forged = [&wrapped[..1], &two.id, &wrapped[9..]].concat();
        assert!(matches!(two.unwrap(b"", &forged), Err(Error::Refused(_))));
    }

    #[test]
    fn a_new_file_is_private_and_alone() {
        let (home, _) = created();
        assert_eq!(mode(&home.path), 0o600);
        assert_eq!(mode(home.path.parent().unwrap()), 0o700);
        let names: Vec<_> = fs::read_dir(home.path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let (home, _) = created();
        let before = fs::read(&home.path).unwrap();
        let again = KeyFile::create(&home.path, &[], &SeededRng::new(2));
        assert_eq!(problem_of(again), KeyFileProblem::Exists);
        assert_eq!(fs::read(&home.path).unwrap(), before);
        // Not even a link to nowhere.
        let dangling = home.path.with_file_name("dangling.key");
        symlink(home.root.join("nowhere"), &dangling).unwrap();
        let got = KeyFile::create(&dangling, &[], &SeededRng::new(2));
        assert_eq!(problem_of(got), KeyFileProblem::Exists);
        assert!(!home.root.join("nowhere").exists());
    }

    #[test]
    fn a_file_that_others_can_reach_is_refused() {
        let (home, key) = created();
        for bad in [0o640, 0o604, 0o620, 0o660, 0o610, 0o700] {
            fs::set_permissions(&home.path, Permissions::from_mode(bad)).unwrap();
            assert_eq!(problem_of(KeyFile::open(&home.path, &[])), KeyFileProblem::Mode(bad));
            assert_eq!(problem_of(key.wrap(b"", b"")), KeyFileProblem::Mode(bad));
        }
        fs::set_permissions(&home.path, Permissions::from_mode(0o400)).unwrap();
        assert!(KeyFile::open(&home.path, &[]).is_ok());
        let keys = home.path.parent().unwrap();
        for bad in [0o750, 0o705, 0o770, 0o711, 0o1777] {
            fs::set_permissions(keys, Permissions::from_mode(bad)).unwrap();
            let got = problem_of(KeyFile::open(&home.path, &[]));
            assert_eq!(got, KeyFileProblem::DirectoryMode(bad));
        }
    }

    #[test]
    fn a_key_among_the_data_is_refused() {
        let (home, _) = created();
        let keys = home.path.parent().unwrap();
        for data in [keys, &home.root, Path::new("/")] {
            let got = problem_of(KeyFile::open(&home.path, &[Path::new("/nowhere/at/all"), data]));
            assert!(matches!(got, KeyFileProblem::InsideData(_)));
        }
        // Neither a link nor dots hide it.
        let link = home.root.join("link");
        symlink(keys, &link).unwrap();
        let dotted = home.root.join("other/../keys");
        fs::create_dir(home.root.join("other")).unwrap();
        for data in [&link, &dotted] {
            let got = problem_of(KeyFile::open(&home.path, &[data]));
            assert!(matches!(got, KeyFileProblem::InsideData(_)));
        }
        let through = problem_of(KeyFile::open(&link.join("root.key"), &[keys]));
        assert!(matches!(through, KeyFileProblem::InsideData(_)));
        // A sibling whose name only begins alike is no parent.
        assert!(KeyFile::open(&home.path, &[&home.root.join("key")]).is_ok());
        // Nothing is left behind by a refused creation.
        let new = keys.join("new.key");
        assert!(KeyFile::create(&new, &[&home.root], &SeededRng::new(3)).is_err());
        assert!(!new.exists());
        let below = home.root.join("data/keys/new.key");
        fs::create_dir(home.root.join("data")).unwrap();
        assert!(KeyFile::create(&below, &[&home.root.join("data")], &SeededRng::new(3)).is_err());
        assert!(!below.parent().unwrap().exists());
    }

    #[test]
    fn a_key_that_goes_away_or_changes_stops_everything() {
        let (home, key) = created();
        let wrapped = key.wrap(b"", b"payload").unwrap();
        let aside = home.path.with_file_name("aside");
        fs::rename(&home.path, &aside).unwrap();
        assert_eq!(problem_of(key.unwrap(b"", &wrapped)), KeyFileProblem::Missing);
        assert_eq!(problem_of(key.wrap(b"", b"payload")), KeyFileProblem::Missing);
        KeyFile::create(&home.path, &[], &SeededRng::new(2)).unwrap();
        assert_eq!(problem_of(key.unwrap(b"", &wrapped)), KeyFileProblem::Changed);
        fs::rename(&aside, &home.path).unwrap();
        assert!(key.unwrap(b"", &wrapped).is_ok());
    }

    #[test]
    fn links_directories_and_absent_files_are_refused() {
        let (home, _) = created();
        let link = home.path.with_file_name("link.key");
        symlink(&home.path, &link).unwrap();
        assert_eq!(problem_of(KeyFile::open(&link, &[])), KeyFileProblem::NotAFile);
        let directory = home.path.with_file_name("directory");
        fs::create_dir(&directory).unwrap();
        assert_eq!(problem_of(KeyFile::open(&directory, &[])), KeyFileProblem::NotAFile);
        let absent = home.path.with_file_name("absent");
        assert_eq!(problem_of(KeyFile::open(&absent, &[])), KeyFileProblem::Missing);
        let nowhere = home.root.join("no/such/root.key");
        assert_eq!(problem_of(KeyFile::open(&nowhere, &[])), KeyFileProblem::Missing);
        assert!(KeyFile::open(Path::new("/"), &[]).is_err());
    }

    #[test]
    fn a_damaged_file_is_refused_and_never_repeated() {
        let (home, _) = created();
        let good = fs::read(&home.path).unwrap();
        for (at, what) in [
            (0, KeyFileProblem::Content),
            (15, KeyFileProblem::Format),
            (20, KeyFileProblem::Checksum),
            (50, KeyFileProblem::Checksum),
            (good.len() - 3, KeyFileProblem::Checksum),
            (good.len() - 1, KeyFileProblem::Content),
        ] {
            let mut bad = good.clone();
            bad[at] = if bad[at] == b'7' { b'8' } else { b'7' };
            fs::write(&home.path, &bad).unwrap();
            let error = KeyFile::open(&home.path, &[]).unwrap_err();
            let encoded = std::str::from_utf8(&good[34..54]).unwrap();
            assert!(!format!("{error} {error:?}").contains(encoded));
            assert_eq!(problem_of::<()>(Err(error)), what, "byte {at}");
        }
        for len in 0..good.len() {
            assert!(parse(&good[..len]).is_err(), "length {len}");
        }
        assert!(parse(&[&good[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn debug_shows_the_path_only() {
        let (_home, key) = created();
        let shown = format!("{key:?}");
        assert!(shown.contains("root.key") && !shown.contains(&hex::encode(key.key.expose())));
    }
}
