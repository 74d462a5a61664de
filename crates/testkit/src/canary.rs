//! Finds planted text in anything that was written.
//!
//! It owns the search: raw bytes whatever their case, UTF-16, hexadecimal,
//! base64 in every alignment, and zstd frames and gzip members opened wherever their
//! magic numbers stand. It refuses to print what it found: a [`Hit`] names the
//! needle by its number, so that a failing test leaks nothing into its log.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use anyhow::Context as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter needles occur by chance everywhere and are refused.
pub const MIN_CHARS: usize = 4;
/// A pattern that says less than this occurs by chance in sealed bytes; see [`Report::is_clean`].
const CHANCE_BITS: u32 = 56;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Deflate, without flags that any writer of ours sets.
const GZIP_MAGIC: [u8; 4] = [0x1f, 0x8b, 0x08, 0x00];
const MAX_UNPACKED: u64 = 64 << 20;
const MAX_HITS: usize = 1000;

/// How the needle was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// As it is, in any case.
    Plain,
    /// UTF-16, little endian.
    Utf16Le,
    /// UTF-16, big endian.
    Utf16Be,
    /// Hexadecimal digits, in any case.
    Hex,
    /// Base64, either alphabet, any of the three alignments.
    Base64,
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The needle, by its place in the list given to [`Scanner::new`].
    pub needle: usize,
    /// How it was written.
    pub encoding: Encoding,
    /// In which file, or under which name bytes were given.
    pub place: PathBuf,
    /// At which byte; of what was packed, the byte at which that begins.
    pub offset: usize,
    /// Whether it was inside a zstd frame or a gzip member.
    pub packed: bool,
}

/// What a scan saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Occurrences of patterns long enough that chance explains none of them.
    pub hits: Vec<Hit>,
    /// Occurrences of short patterns, which random bytes hold now and then.
    pub weak: Vec<Hit>,
    /// How many of the weak ones so many random bytes would hold.
    pub expected_weak: f64,
    /// Bytes looked at, unpacked ones included.
    pub bytes: u64,
    /// Files looked at.
    pub files: u64,
    /// All occurrences, also those beyond the first thousand kept.
    pub total: u64,
    weak_total: u64,
}

impl Report {
    /// Whether nothing was found. Short needles count only when there are
    /// clearly more of them than random bytes of this amount hold.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.hits.is_empty() && self.weak_total as f64 <= 4.0 * self.expected_weak + 3.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} files, {} bytes: {} occurrences, {} of them of short needles ({:.1} expected by chance)",
            self.files, self.bytes, self.total, self.weak_total, self.expected_weak
        )?;
        for h in self.hits.iter().take(20) {
            writeln!(
                f,
                "  needle {} as {:?} in {} at {}{}",
                h.needle,
                h.encoding,
                h.place.display(),
                h.offset,
                if h.packed { " (packed)" } else { "" }
            )?;
        }
        Ok(())
    }
}

struct Pattern {
    needle: usize,
    encoding: Encoding,
    bits: u32,
}

/// A compiled set of needles.
pub struct Scanner {
    any_case: AhoCorasick,
    any_case_patterns: Vec<Pattern>,
    exact: AhoCorasick,
    exact_patterns: Vec<Pattern>,
    /// Expected chance occurrences of all weak patterns in one random byte.
    weak_rate: f64,
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scanner({} patterns)", self.any_case_patterns.len() + self.exact_patterns.len())
    }
}

fn letters(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|b| b.is_ascii_alphabetic()).count()).unwrap_or(u32::MAX)
}

fn bits(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(8)
}

/// The characters of base64 text that depend on `bytes` alone when `before`
/// (0 to 2) unknown bytes stand in front of them.
fn base64_core(engine: &impl base64::Engine, bytes: &[u8], before: usize) -> Vec<u8> {
    let mut padded = vec![0u8; before];
    padded.extend_from_slice(bytes);
    let whole = padded.len() * 8 / 6;
    let text = engine.encode(&padded).into_bytes();
    let first = (before * 8).div_ceil(6);
    text.into_iter().take(whole).skip(first).collect()
}

impl Scanner {
    /// Compiles the needles.
    ///
    /// # Errors
    /// A needle of fewer than [`MIN_CHARS`] characters, or too many in all.
    pub fn new<S: AsRef<str>>(needles: &[S]) -> anyhow::Result<Self> {
        let mut any_case = BTreeSet::new();
        let mut exact = BTreeSet::new();
        for (i, needle) in needles.iter().enumerate() {
            let needle = needle.as_ref();
            anyhow::ensure!(needle.chars().count() >= MIN_CHARS, "needle {i} is too short");
            let mut spellings = BTreeSet::from([needle.to_owned()]);
            spellings.insert(needle.to_lowercase());
            spellings.insert(needle.to_uppercase());
            for s in &spellings {
                let le: Vec<u8> = s.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let be: Vec<u8> = s.encode_utf16().flat_map(u16::to_be_bytes).collect();
                // ASCII case is the automaton's work; folding here keeps one copy.
                any_case.insert((s.as_bytes().to_ascii_lowercase(), Encoding::Plain, i));
                any_case.insert((le.to_ascii_lowercase(), Encoding::Utf16Le, i));
                any_case.insert((be.to_ascii_lowercase(), Encoding::Utf16Be, i));
                any_case.insert((hex::encode(s.as_bytes()).into_bytes(), Encoding::Hex, i));
                for before in 0..3 {
                    exact.insert((base64_core(&STANDARD_NO_PAD, s.as_bytes(), before), i));
                    exact.insert((base64_core(&URL_SAFE_NO_PAD, s.as_bytes(), before), i));
                }
            }
        }
        let any_case_patterns: Vec<Pattern> = any_case
            .iter()
            .map(|(b, encoding, needle)| Pattern {
                needle: *needle,
                encoding: *encoding,
                bits: bits(b) - letters(b),
            })
            .collect();
        let exact_patterns: Vec<Pattern> = exact
            .iter()
            .map(|(b, needle)| Pattern {
                needle: *needle,
                encoding: Encoding::Base64,
                bits: bits(b),
            })
            .collect();
        let weak_rate = any_case_patterns
            .iter()
            .chain(&exact_patterns)
            .filter(|p| p.bits < CHANCE_BITS)
            .map(|p| (-f64::from(p.bits)).exp2())
            .sum();
        let build = |insensitive: bool, patterns: Vec<&Vec<u8>>| {
            AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(insensitive)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(patterns)
        };
        Ok(Scanner {
            any_case: build(true, any_case.iter().map(|(b, ..)| b).collect())?,
            any_case_patterns,
            exact: build(false, exact.iter().map(|(b, _)| b).collect())?,
            exact_patterns,
            weak_rate,
        })
    }

    /// Looks at bytes; `place` is only their name in the report.
    pub fn bytes(&self, place: &Path, bytes: &[u8], report: &mut Report) {
        self.flat(place, bytes, 0, false, report);
        let mut from = 0;
        while let Some(rest) = bytes.get(from..) {
            let magic = |w: &[u8]| w == ZSTD_MAGIC || w == GZIP_MAGIC;
            let Some(at) = rest.windows(4).position(magic) else { break };
            if let Some(unpacked) = rest.get(at..).and_then(unpack) {
                self.flat(place, &unpacked, from + at, true, report);
            }
            from += at + 4;
        }
    }

    /// Looks at one file.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn file(&self, path: &Path, report: &mut Report) -> anyhow::Result<()> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        report.files += 1;
        self.bytes(path, &bytes, report);
        Ok(())
    }

    /// Looks at every file below `path`, names included, or at `path` itself.
    ///
    /// # Errors
    /// When something can't be read. A file that vanishes meanwhile is no error.
    pub fn tree(&self, path: &Path, report: &mut Report) -> anyhow::Result<()> {
        let meta = match std::fs::symlink_metadata(path) {
            Ok(m) => m,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        if let Some(name) = path.file_name() {
            self.bytes(path, name.as_encoded_bytes(), report);
        }
        if meta.is_dir() {
            for entry in std::fs::read_dir(path)? {
                self.tree(&entry?.path(), report)?;
            }
        } else if meta.is_file()
            && let Err(e) = self.file(path, report)
        {
            let gone = std::fs::symlink_metadata(path).is_err();
            anyhow::ensure!(gone, e);
        }
        Ok(())
    }

    /// Looks at every file below each of `paths`.
    ///
    /// # Errors
    /// When something can't be read.
    pub fn scan(&self, paths: &[&Path]) -> anyhow::Result<Report> {
        let mut report = Report::default();
        for path in paths {
            self.tree(path, &mut report)?;
        }
        Ok(report)
    }

    fn flat(&self, place: &Path, bytes: &[u8], base: usize, packed: bool, report: &mut Report) {
        report.bytes += bytes.len() as u64;
        report.expected_weak += bytes.len() as f64 * self.weak_rate;
        for (automaton, patterns) in
            [(&self.any_case, &self.any_case_patterns), (&self.exact, &self.exact_patterns)]
        {
            for found in automaton.find_overlapping_iter(bytes) {
                let Some(pattern) = patterns.get(found.pattern().as_usize()) else { continue };
                report.total += 1;
                let list = if pattern.bits < CHANCE_BITS {
                    report.weak_total += 1;
                    &mut report.weak
                } else {
                    &mut report.hits
                };
                if list.len() < MAX_HITS {
                    list.push(Hit {
                        needle: pattern.needle,
                        encoding: pattern.encoding,
                        place: place.to_owned(),
                        offset: if packed { base } else { found.start() },
                        packed,
                    });
                }
            }
        }
    }
}

/// `bytes` as a zstd frame, for decoys.
///
/// # Errors
/// When they can't be compressed.
pub fn pack(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(zstd::encode_all(bytes, 3)?)
}

/// What unpacks of the frame or member at the start of `bytes`; one that breaks off
/// gives what came before the break.
fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.starts_with(&GZIP_MAGIC) {
        return drain(flate2::read::GzDecoder::new(bytes));
    }
    drain(zstd::stream::read::Decoder::with_buffer(bytes).ok()?.single_frame())
}

fn drain(mut decoder: impl std::io::Read) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut chunk = vec![0u8; 64 << 10];
    while (out.len() as u64) < MAX_UNPACKED {
        match decoder.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => out.extend_from_slice(chunk.get(..n)?),
        }
    }
    (!out.is_empty()).then_some(out)
}
