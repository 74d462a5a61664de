//! The tables of R4 and US Core, read as far as they are asked for.
//!
//! Formats (tab-separated, `#` starts a comment line):
//! - `systems.txt`: `=url version content case` opens a code system; then a line for each
//!   code, after a space and one more for each level that it stands below, `code name flags
//!   children`. Flags: `a` abstract, `i` inactive. Children: more than the indentation
//!   shows, by spaces.
//! - `sets.txt`: `=url version` opens a value set; then a line for each part: `+` or `-`
//!   and the system (with `|version` or without), and columns `.code`, `?property op value`, `^value set`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::code_system::{CodeSystem, Concept, Content};
use super::value_set::{Filter, Part, ValueSet};
use super::{Source, canonical};

const SYSTEMS: &str = include_str!("tables/systems.txt");
const SETS: &str = include_str!("tables/sets.txt");

/// The tables. There is one: [`HELD`].
pub struct Held {
    systems: Table<CodeSystem>,
    sets: Table<ValueSet>,
}

/// Terminology of R4 and US Core.
pub static HELD: Held =
    Held { systems: Table::new(SYSTEMS, read_system), sets: Table::new(SETS, read_set) };

/// A version, and where its entry stands in the text.
type Entry = (&'static str, std::ops::Range<usize>);

struct Table<T> {
    text: &'static str,
    read: fn(&'static str) -> Option<T>,
    /// By URL, in the order of the text.
    places: OnceLock<HashMap<&'static str, Vec<Entry>>>,
    /// What was read, by its place.
    read_before: Mutex<Option<HashMap<usize, Arc<T>>>>,
}

impl<T> Table<T> {
    const fn new(text: &'static str, read: fn(&'static str) -> Option<T>) -> Self {
        Table { text, read, places: OnceLock::new(), read_before: Mutex::new(None) }
    }

    fn places(&self) -> &HashMap<&'static str, Vec<Entry>> {
        self.places.get_or_init(|| places(self.text))
    }

    fn find(&self, url: &str, version: Option<&str>) -> Option<Arc<T>> {
        let all = self.places().get(url)?;
        let fits = |e: &&Entry| version.is_none_or(|v| e.0 == v);
        let (_, range) = all.iter().rev().find(fits)?;
        let mut before = self.read_before.lock().unwrap_or_else(PoisonError::into_inner);
        let before = before.get_or_insert_default();
        if let Some(found) = before.get(&range.start) {
            return Some(Arc::clone(found));
        }
        let found = Arc::new((self.read)(self.text.get(range.clone())?)?);
        before.insert(range.start, Arc::clone(&found));
        Some(found)
    }
}

/// Where each entry of a table stands: from its `=` to the next.
fn places(text: &'static str) -> HashMap<&'static str, Vec<Entry>> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some(head) = line.strip_prefix('=') {
            let mut columns = head.trim_end().split('\t');
            let url = columns.next().unwrap_or_default();
            starts.push((at, url, columns.next().unwrap_or_default()));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|s| s.0).chain([text.len()]);
    let mut out: HashMap<_, Vec<Entry>> = HashMap::new();
    for ((start, url, version), end) in starts.iter().zip(ends) {
        out.entry(*url).or_default().push((*version, *start..end));
    }
    out
}

fn not_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn read_system(text: &'static str) -> Option<CodeSystem> {
    let mut lines = text.lines();
    let mut head = lines.next()?.strip_prefix('=')?.split('\t');
    let url = head.next()?;
    let version = head.next().and_then(not_empty);
    let content = if head.next() == Some("part") { Content::Part } else { Content::Complete };
    let mut out = CodeSystem::new(url, version, content, head.next() != Some("any"));
    let mut above: Vec<u32> = Vec::new();
    let mut more: Vec<(u32, &str)> = Vec::new();
    for line in lines {
        let code = line.trim_start_matches(' ');
        let depth = (line.len() - code.len()).saturating_sub(1);
        let mut columns = code.split('\t');
        let code = columns.next()?;
        let display = columns.next().and_then(not_empty);
        let flags = columns.next().unwrap_or_default();
        above.truncate(depth);
        let concept = Concept {
            code: code.into(),
            display: display.map(Into::into),
            abstract_: flags.contains('a'),
            inactive: flags.contains('i'),
            ..Concept::default()
        };
        let number = out.add(concept, above.last().copied());
        above.push(number);
        let children = columns.next().unwrap_or_default().split(' ').filter(|c| !c.is_empty());
        more.extend(children.map(|child| (number, child)));
    }
    for (parent, child) in more {
        if let Some(child) = out.number(child) {
            out.link(parent, child);
        }
    }
    Some(out)
}

fn read_set(text: &'static str) -> Option<ValueSet> {
    let mut lines = text.lines();
    let mut head = lines.next()?.strip_prefix('=')?.split('\t');
    let mut out = ValueSet {
        url: head.next()?.into(),
        version: head.next().and_then(not_empty).map(Into::into),
        ..ValueSet::default()
    };
    for line in lines {
        let (sign, rest) = line.split_at_checked(1)?;
        let mut columns = rest.split('\t');
        let (system, version) = canonical(columns.next().unwrap_or_default());
        let mut part = Part {
            system: not_empty(system).map(Into::into),
            version: version.map(Into::into),
            ..Part::default()
        };
        for column in columns {
            let (kind, value) = column.split_at_checked(1)?;
            match kind {
                "." => part.concepts.push((value.into(), None)),
                "^" => part.sets.push(value.into()),
                _ => {
                    let mut words = value.splitn(3, ' ');
                    part.filters.push(Filter {
                        property: words.next()?.into(),
                        op: words.next()?.into(),
                        value: words.next()?.into(),
                    });
                }
            }
        }
        if sign == "+" { &mut out.include } else { &mut out.exclude }.push(part);
    }
    Some(out)
}

impl Held {
    /// Whether HL7 publishes something under this canonical URL with R4 or US Core, so
    /// that the URL itself says nothing of anyone.
    #[must_use]
    pub fn speaks_of(&self, url: &str) -> bool {
        let (url, _) = canonical(url);
        self.sets.places().contains_key(url) || self.systems.places().contains_key(url)
    }

    /// The URLs of all value sets, in no order.
    pub fn value_sets(&self) -> impl Iterator<Item = &'static str> {
        self.sets.places().keys().copied()
    }

    /// The URLs of all code systems, in no order.
    pub fn code_systems(&self) -> impl Iterator<Item = &'static str> {
        self.systems.places().keys().copied()
    }
}

impl Source for Held {
    fn value_set(&self, url: &str, version: Option<&str>) -> Option<Arc<ValueSet>> {
        self.sets.find(url, version)
    }

    fn code_system(&self, url: &str, version: Option<&str>) -> Option<Arc<CodeSystem>> {
        self.systems.find(url, version)
    }
}
