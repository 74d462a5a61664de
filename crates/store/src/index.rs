//! The local index (design §4): one SQLCipher file per tenant and node, derived from
//! the record log and disposable. Search runs on it in full; searchable values exist
//! nowhere else, and none of them leaves this module except inside a sealed page key.
//!
//! What a viewer may not see takes no part in any answer: a version counts only when
//! its mask has the administrative class, a value matches only when its own class is
//! in the mask, and a negative filter or a sort key needs every class that the
//! parameter can have. All of this happens before counting and paging (invariant 2).
//!
//! It refuses to hold rules of access (they come as a function), to answer for a
//! position of the log that it has not applied, and to open a file that another key
//! wrote or that an operating-system crash may have left half written.
//!
//! Layout, with the numbers of one observation of patient 7 (`db::SCHEMA` has the SQL):
//!
//! | table | a row | serves |
//! |---|---|---|
//! | `res` | 9, type + id, current version's sequence | references, `_id`, `_include` |
//! | `version` | type << 40 \| sequence: record, res 9, tag 3, patient 7, date, values | hits, residual filters, scans of a type |
//! | `list` | pcode and term, or facet; patient 7: versions by date (see `list`) | token, reference, uri; everything about a patient |
//! | `dat` | pcode, start, sequence, end, patient 7, tag (see `span`) | ranges of time |
//! | `line` | facet, date, sequence, patient 7, tag (see `timeline`) | codes at a time, over all patients |
//! | `tagged`, `tally` | how many current versions have a tag; how many settled rows of a facet's timeline are of a month and a tag (see `tally`) | totals |
//! | `str` | pcode, folded text: versions (see `text`) | prefixes, `:contains` |
//! | `num` | pcode, value, sequence (see `amount`) | ranges |
//! | `term`, `system` | number, code or URI | what stands in `list` |
//! | `res_hash`, `term_hash` | 32 bits of SHA-256, number | a name's or a code's number |
//! | `*_young` | as the table of that name | rows that wait for their place (see `young`) |
//! | `facet` | number: pcodes and terms | codes that many versions have in common |
//! | `era` | a stretch of the log, earliest and latest writing | `_lastUpdated` |
//! | `gone` | version, superseded by, when | the last minutes of history |
//!
//! A *pcode* stands for type, kind of value, data class and the set of parameters that
//! share the value, so `code` and `combo-code` cost one entry. A *facet* is the set of
//! codes of a version, identifiers left out: a lab result has its status, category and
//! code in common with thousands, and one entry in the list of its facet stands for all of
//! them. A *tag* stands for access shape, length of the primary
//! date, facet and the pcode of the reference to the record's own patient, which therefore
//! needs no entry. Most candidates are decided on a row of `list` or `dat` alone.
//!
//! Each fact is written once where that is possible: a value's text in `term` and its
//! number elsewhere, the primary date in the version's date column and its length in the
//! tag, whole seconds without their microseconds.

mod amount;
mod asked;
mod beside;
mod db;
mod dict;
mod dump;
mod era;
mod include;
mod inner;
mod links;
mod list;
mod order;
mod pack;
mod plan;
mod predicate;
mod purge;
mod relate;
mod rows;
mod search;
mod span;
mod stored;
mod tally;
mod text;
mod timeline;
mod values;
mod walk;
mod write;
mod young;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use phial_base::step::Step;
use phial_base::{ClassSet, LabelSet, LogicalId, RowId, Seq, Version};
use phial_crypto::SecretKey;
use phial_fhir::ResourceType;
use phial_fhir::search::Extracted;
use phial_policy::RelationshipSet;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::open::{Growing, Options};
use crate::records::Place;

pub use order::{PageKey, SortKeyValue};

/// One version of a record, as the index takes it from the record log.
#[derive(Clone, Debug)]
pub struct Indexed {
    /// Its place in the record log.
    pub seq: Seq,
    /// What the record is called in the record log.
    pub row: RowId,
    /// The record's version.
    pub version: Version,
    /// The resource type.
    pub ty: ResourceType,
    /// The logical id.
    pub id: LogicalId,
    /// The patients that the record is about.
    pub patients: Vec<LogicalId>,
    /// The sensitivity labels.
    pub labels: LabelSet,
    /// The data classes that occur in it.
    pub classes: ClassSet,
    /// Whether this version says that the record was deleted.
    pub deleted: bool,
    /// When it was written, microseconds since the epoch, UTC.
    pub last_updated: i64,
    /// The searchable values.
    pub values: Extracted,
}

/// What access to a version depends on besides the relationship to its patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The resource type.
    pub ty: ResourceType,
    /// The sensitivity labels.
    pub labels: LabelSet,
    /// Whether it is about a patient.
    pub about_patient: bool,
}

/// What ties a viewer to a patient, and what else is decided patient by patient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tie {
    /// The relationships.
    pub relationships: RelationshipSet,
    /// A number under which the [`Sight`] that gave it knows what else there is (consents,
    /// the reach of a grant); 0 when there is nothing.
    pub decided: u32,
}

/// What the viewer sees. The index asks; what the answers rest on is not its business.
pub trait Sight {
    /// Which classes are seen of versions of a shape, under this tie to their patient. Asked
    /// at most once per distinct pair within one search.
    fn mask(&self, shape: &Shape, tie: Tie) -> ClassSet;

    /// The moment at which relationships must hold, microseconds since the epoch; `None`:
    /// any moment at all.
    fn now(&self) -> Option<i64> {
        None
    }

    /// Whether [`Sight::tied`] has something to say of any patient. If not, it is not asked.
    fn ties(&self) -> bool {
        false
    }

    /// What ties the viewer to a patient beside what stands in the records.
    fn tied(&self, _patient: &LogicalId) -> Tie {
        Tie::default()
    }

    /// The number for a record about patients of both numbers.
    fn both(&self, a: u32, b: u32) -> u32 {
        a.max(b)
    }
}

impl<F: Fn(&Shape, RelationshipSet) -> ClassSet> Sight for F {
    fn mask(&self, shape: &Shape, tie: Tie) -> ClassSet {
        self(shape, tie.relationships)
    }
}

/// What the viewer sees, for one search.
pub type Access<'a> = &'a dyn Sight;

/// Who searches, as far as relationships are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Viewer {
    /// Their Practitioner record.
    pub practitioner: Option<LogicalId>,
    /// Their Patient record.
    pub patient: Option<LogicalId>,
    /// The Patient record that the app in between was launched for.
    pub launch: Option<LogicalId>,
}

/// A version that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The record.
    pub row: RowId,
    /// The version that matched, as of the search's snapshot.
    pub version: Version,
    /// The resource type.
    pub ty: ResourceType,
    /// The version's place in the record log.
    pub seq: Seq,
    /// What it was sorted by.
    pub key: SortKeyValue,
}

impl Hit {
    /// Where it stands in the record log.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { seq: self.seq, row: self.row, version: self.version }
    }
}

/// A page of a search's result.
#[derive(Clone, Debug)]
pub struct Page {
    /// The hits, in order.
    pub hits: Vec<Hit>,
    /// Where the next page starts; `None` when this is the last.
    pub next: Option<PageKey>,
    /// The exact number of matches, when it was asked for.
    pub total: Option<u64>,
}

impl Page {
    /// Takes the page of another search with the same order in, up to `limit` hits of both.
    pub fn take(&mut self, other: Page, limit: u32) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.total = self.total.zip(other.total).map(|(a, b)| a + b);
        let mut more = self.next.is_some() || other.next.is_some();
        if self.hits.is_empty() {
            self.hits = other.hits;
        } else if !other.hits.is_empty() {
            self.hits.extend(other.hits);
            self.hits.sort_by(|a, b| a.key.cmp(&b.key));
        }
        more |= self.hits.len() > limit;
        self.hits.truncate(limit);
        self.next = self.hits.last().filter(|_| more).map(|h| PageKey(h.key.0.clone()));
    }
}

/// How much the index may use.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Reading connections.
    pub readers: usize,
    /// Page cache of all connections together, KiB, while the file is small; it grows with
    /// the file, to no more than twice or three times that.
    pub cache_kib: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Tuning { readers: (cores + 1).clamp(2, 16), cache_kib: 64 * 1024 }
    }
}

/// The local index of one tenant on this node.
pub struct Index {
    path: PathBuf,
    writer: Mutex<write::Writer>,
    readers: db::Pool,
    names: RwLock<std::sync::Arc<dict::Names>>,
    applied: AtomicU64,
    /// Superseded versions by sequence: superseded by which sequence.
    gone: RwLock<HashMap<i64, i64>>,
    viewers: Mutex<relate::Cache>,
    /// Ids of patients by their number, which never means another one.
    patients: Mutex<HashMap<i64, LogicalId>>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

/// What SQLite calls a damaged file is, for a derived file, one to rebuild.
fn unusable(e: Error) -> Error {
    match e {
        Error::Corrupt(_) | Error::Format { .. } => Error::Unusable,
        other => other,
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// Opens generation `generation` of the index in `dir`, or makes it. `key` is the
    /// raw page key of this generation.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file was written under another key or format, is
    /// damaged, or was open while the operating system went down: delete it (see
    /// [`Index::delete`]) and rebuild. Otherwise as the file system answers.
    pub fn open(
        dir: &Path,
        generation: u64,
        key: &SecretKey,
        opts: &Options,
    ) -> Result<Self, Error> {
        Self::open_tuned(dir, generation, key, opts, Tuning::default())
    }

    /// As [`Index::open`], with other bounds.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub fn open_tuned(
        dir: &Path,
        generation: u64,
        key: &SecretKey,
        opts: &Options,
        tuning: Tuning,
    ) -> Result<Self, Error> {
        let path = Self::file(dir, generation);
        Self::open_inner(path, key, opts, tuning).map_err(unusable)
    }

    fn open_inner(
        path: PathBuf,
        key: &SecretKey,
        opts: &Options,
        tuning: Tuning,
    ) -> Result<Self, Error> {
        let hex = Zeroizing::new(hex::encode(key.expose()));
        // A third of the cache for the writer, the rest for the readers.
        let writing = Growing { least_kib: tuning.cache_kib / 3, times: 3, part: 8 };
        let reading =
            Growing { least_kib: tuning.cache_kib - writing.least_kib, times: 2, part: 8 };
        let conn = db::open_writer(&path, &hex, opts, writing.least_kib)?;
        let names = dict::Names::load(&conn)?;
        let gone = db::load_gone(&conn)?;
        let applied = db::applied(&conn)?;
        let pool = db::Pool::open(&path, &hex, opts, tuning.readers, reading)?;
        let names = std::sync::Arc::new(names);
        let writer = write::Writer::new(conn, (*names).clone(), opts.rows_wait, writing)?;
        Ok(Index {
            path,
            writer: Mutex::new(writer),
            readers: pool,
            names: RwLock::new(names),
            applied: AtomicU64::new(applied),
            gone: RwLock::new(gone),
            viewers: Mutex::new(relate::Cache::default()),
            patients: Mutex::default(),
        })
    }

    /// The file of a generation.
    #[must_use]
    pub fn file(dir: &Path, generation: u64) -> PathBuf {
        dir.join(format!("gen-{generation}.db"))
    }

    /// Deletes a generation's files. It must not be open.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn delete(dir: &Path, generation: u64) -> Result<(), Error> {
        let file = Self::file(dir, generation);
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut name = file.as_os_str().to_owned();
            name.push(end);
            crate::durable::remove(Step::IndexRemove, Path::new(&name))?;
        }
        Ok(())
    }

    /// Everything up to here is found by a search.
    #[must_use]
    pub fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Bytes of the file and its write-ahead log.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        [self.path.clone(), PathBuf::from(wal)]
            .iter()
            .filter_map(|p| fs::metadata(p).ok())
            .map(|m| m.len())
            .sum()
    }

    fn names(&self) -> std::sync::Arc<dict::Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the version at `seq` was the current one at snapshot `at`.
    fn live(&self, seq: i64, at: i64) -> bool {
        if seq > at {
            return false;
        }
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner);
        gone.is_empty() || gone.get(&seq).is_none_or(|to| *to > at)
    }
}
