//! What a value set has: one code asked for, or all of them. Three answers: yes, no, and
//! what would have to be held to know.
//!
//! Source: <https://hl7.org/fhir/R4/valueset.html#compositions>,
//! <https://hl7.org/fhir/R4/valueset-filter-operator.html>

use std::collections::{BTreeSet, HashSet};

use regex::{Regex, RegexBuilder};

use super::code_system::{CodeSystem, Content};
use super::value_set::{Filter, Part, ValueSet};
use super::{NotHeld, Source, canonical};

/// The most codes of one expansion.
pub const MOST_CODES: usize = 20_000;
/// How deep value sets may import each other.
const MOST_DEPTH: usize = 12;
/// How many value sets one answer may look into: imports can fan out.
const MOST_SETS: usize = 2_000;

/// A code of a value set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code system.
    pub system: Box<str>,
    /// The code.
    pub code: Box<str>,
    /// Its name, where that is known.
    pub display: Option<Box<str>>,
    /// Whether it is not to be used any more.
    pub inactive: bool,
}

/// Whether a code is in a value set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It can't be said without this.
    Unknown(NotHeld),
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }

    fn and(self, other: impl FnOnce() -> Answer) -> Answer {
        match self {
            Answer::No => Answer::No,
            Answer::Yes => other(),
            Answer::Unknown(what) => match other() {
                Answer::No => Answer::No,
                _ => Answer::Unknown(what),
            },
        }
    }

    fn or(self, other: impl FnOnce() -> Answer) -> Answer {
        match self {
            Answer::Yes => Answer::Yes,
            Answer::No => other(),
            Answer::Unknown(what) => match other() {
                Answer::Yes => Answer::Yes,
                _ => Answer::Unknown(what),
            },
        }
    }
}

/// Why there is no list of codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// This would have to be held.
    NotHeld(BTreeSet<NotHeld>),
    /// There are more than [`MOST_CODES`].
    TooMany,
}

impl From<NotHeld> for Trouble {
    fn from(what: NotHeld) -> Self {
        Trouble::NotHeld(BTreeSet::from([what]))
    }
}

/// Whether the value set has this code, of this system or, for an element of type `code`,
/// of any.
pub fn contains(source: &dyn Source, set: &ValueSet, system: Option<&str>, code: &str) -> Answer {
    Walk { source, left: MOST_SETS }.contains(set, system, code, 0)
}

/// All codes of the value set, in its own order, each once.
///
/// # Errors
/// What would have to be held, or that there are too many.
pub fn expand(source: &dyn Source, set: &ValueSet) -> Result<Vec<Code>, Trouble> {
    Walk { source, left: MOST_SETS }.expand(set, 0)
}

/// The code and all codes that stand below it in its system.
///
/// # Errors
/// When the system is not held as a whole.
pub fn below(source: &dyn Source, system: &str, code: &str) -> Result<Vec<Box<str>>, Trouble> {
    closure(source, system, code, false)
}

/// The code and all codes that stand above it in its system.
///
/// # Errors
/// When the system is not held as a whole.
pub fn above(source: &dyn Source, system: &str, code: &str) -> Result<Vec<Box<str>>, Trouble> {
    closure(source, system, code, true)
}

fn closure(
    source: &dyn Source,
    system: &str,
    code: &str,
    up: bool,
) -> Result<Vec<Box<str>>, Trouble> {
    let held = source.code_system(system, None).filter(|s| s.content == Content::Complete);
    let Some(held) = held else { return Err(NotHeld::CodeSystem(system.into()).into()) };
    // A code that the system does not have stands above and below nothing but itself.
    let Some(number) = held.number(code) else { return Ok(vec![code.into()]) };
    let codes = held.closure(number, up);
    Ok(codes
        .into_iter()
        .filter_map(|n| Some(held.concepts.get(n as usize)?.code.clone()))
        .collect())
}

/// Whether the first code is the second or stands above it.
pub fn subsumes(source: &dyn Source, system: &str, upper: &str, lower: &str) -> Answer {
    if upper == lower {
        return Answer::Yes;
    }
    match above(source, system, lower) {
        Ok(all) => Answer::of(all.iter().any(|c| **c == *upper)),
        Err(_) => Answer::Unknown(NotHeld::CodeSystem(system.into())),
    }
}

struct Walk<'s> {
    source: &'s dyn Source,
    left: usize,
}

impl Walk<'_> {
    /// An imported value set; nothing when it is not held or the imports go on and on.
    fn import(&mut self, url: &str, depth: usize) -> Result<std::sync::Arc<ValueSet>, NotHeld> {
        let not_held = || NotHeld::ValueSet(url.into());
        self.left = self.left.checked_sub(1).ok_or_else(not_held)?;
        if depth >= MOST_DEPTH {
            return Err(not_held());
        }
        let (plain, version) = canonical(url);
        self.source.value_set(plain, version).ok_or_else(not_held)
    }

    fn contains(
        &mut self,
        set: &ValueSet,
        system: Option<&str>,
        code: &str,
        depth: usize,
    ) -> Answer {
        let composed = self.composed(set, system, code, depth);
        let Answer::Unknown(what) = composed else { return composed };
        let Some(expansion) = &set.expansion else { return Answer::Unknown(what) };
        let is = |c: &Code| &*c.code == code && system.is_none_or(|s| s == &*c.system);
        Answer::of(expansion.iter().any(is))
    }

    fn composed(
        &mut self,
        set: &ValueSet,
        system: Option<&str>,
        code: &str,
        depth: usize,
    ) -> Answer {
        if set.include.is_empty() {
            return Answer::Unknown(NotHeld::ValueSet(set.url.clone()));
        }
        let mut found = Answer::No;
        for part in &set.include {
            found = found.or(|| self.part_has(part, system, code, depth));
            if found == Answer::Yes {
                break;
            }
        }
        for part in &set.exclude {
            if found == Answer::No {
                break;
            }
            let excluded = self.part_has(part, system, code, depth);
            found = found.and(|| match excluded {
                Answer::Yes => Answer::No,
                Answer::No => Answer::Yes,
                unknown @ Answer::Unknown(_) => unknown,
            });
        }
        found
    }

    fn part_has(&mut self, part: &Part, system: Option<&str>, code: &str, depth: usize) -> Answer {
        let mut found = match &part.system {
            Some(own) if system.is_some_and(|s| s != &**own) => return Answer::No,
            Some(own) => self.system_has(part, own, code),
            None => Answer::of(!part.sets.is_empty()),
        };
        for url in &part.sets {
            found = found.and(|| match self.import(url, depth) {
                Ok(set) => self.contains(&set, system, code, depth + 1),
                Err(what) => Answer::Unknown(what),
            });
        }
        found
    }

    fn system_has(&self, part: &Part, system: &str, code: &str) -> Answer {
        let held = self.source.code_system(system, part.version.as_deref());
        if !part.concepts.is_empty() {
            let sensitive = held.is_none_or(|h| h.case_sensitive);
            return Answer::of(part.concepts.iter().any(|(c, _)| {
                **c == *code || !sensitive && c.to_lowercase() == code.to_lowercase()
            }));
        }
        let unknown = || Answer::Unknown(NotHeld::CodeSystem(system.into()));
        let Some(held) = held else {
            return if part.filters.is_empty() { by_form(system, code) } else { unknown() };
        };
        let Some(number) = held.number(code) else {
            return if held.content == Content::Complete { Answer::No } else { unknown() };
        };
        part.filters.iter().fold(Answer::Yes, |found, filter| {
            found.and(|| match Test::of(filter, &held) {
                Some(test) => Answer::of(test.passes(&held, number)),
                None => Answer::Unknown(NotHeld::Filter(system.into())),
            })
        })
    }

    fn expand(&mut self, set: &ValueSet, depth: usize) -> Result<Vec<Code>, Trouble> {
        match self.compose(set, depth) {
            Err(Trouble::NotHeld(what)) => set.expansion.clone().ok_or(Trouble::NotHeld(what)),
            other => other,
        }
    }

    fn compose(&mut self, set: &ValueSet, depth: usize) -> Result<Vec<Code>, Trouble> {
        if set.include.is_empty() {
            return Err(NotHeld::ValueSet(set.url.clone()).into());
        }
        let mut missing = BTreeSet::new();
        let mut out: Vec<Code> = Vec::new();
        let mut seen: HashSet<(Box<str>, Box<str>)> = HashSet::new();
        for part in &set.include {
            match self.part_codes(part, depth) {
                Ok(codes) => {
                    for c in codes {
                        if seen.insert((c.system.clone(), c.code.clone())) {
                            out.push(c);
                        }
                        if out.len() > MOST_CODES {
                            return Err(Trouble::TooMany);
                        }
                    }
                }
                Err(Trouble::NotHeld(what)) => missing.extend(what),
                Err(Trouble::TooMany) => return Err(Trouble::TooMany),
            }
        }
        for part in &set.exclude {
            out.retain(|c| match self.part_has(part, Some(&c.system), &c.code, depth) {
                Answer::No => true,
                Answer::Yes => false,
                Answer::Unknown(what) => {
                    missing.insert(what);
                    true
                }
            });
        }
        if missing.is_empty() { Ok(out) } else { Err(Trouble::NotHeld(missing)) }
    }

    fn part_codes(&mut self, part: &Part, depth: usize) -> Result<Vec<Code>, Trouble> {
        let mut sets = part.sets.iter();
        let mut codes = match &part.system {
            Some(system) => self.system_codes(part, system)?,
            None => match sets.next() {
                Some(url) => {
                    let set = self.import(url, depth)?;
                    self.expand(&set, depth + 1)?
                }
                None => return Ok(Vec::new()),
            },
        };
        for url in sets {
            let set = self.import(url, depth)?;
            let mut missing = BTreeSet::new();
            codes.retain(|c| match self.contains(&set, Some(&c.system), &c.code, depth + 1) {
                Answer::Yes => true,
                Answer::No => false,
                Answer::Unknown(what) => {
                    missing.insert(what);
                    false
                }
            });
            if !missing.is_empty() {
                return Err(Trouble::NotHeld(missing));
            }
        }
        Ok(codes)
    }

    fn system_codes(&self, part: &Part, system: &str) -> Result<Vec<Code>, Trouble> {
        let held = self.source.code_system(system, part.version.as_deref());
        if !part.concepts.is_empty() {
            return Ok(part
                .concepts
                .iter()
                .map(|(code, name)| {
                    let known = held.as_ref().and_then(|h| h.concept(code));
                    Code {
                        system: system.into(),
                        code: code.clone(),
                        display: name.clone().or_else(|| known?.display.clone()),
                        inactive: known.is_some_and(|k| k.inactive),
                    }
                })
                .collect());
        }
        let held = held
            .filter(|h| h.content == Content::Complete)
            .ok_or_else(|| NotHeld::CodeSystem(system.into()))?;
        let mut tests = Vec::new();
        for filter in &part.filters {
            tests.push(Test::of(filter, &held).ok_or_else(|| NotHeld::Filter(system.into()))?);
        }
        let mut out = Vec::new();
        for (n, c) in held.concepts.iter().enumerate() {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            // What is there for the hierarchy alone is not to be chosen from a list.
            if c.abstract_ || !tests.iter().all(|t| t.passes(&held, n)) {
                continue;
            }
            out.push(Code {
                system: system.into(),
                code: c.code.clone(),
                display: c.display.clone(),
                inactive: c.inactive,
            });
            if out.len() > MOST_CODES {
                return Err(Trouble::TooMany);
            }
        }
        Ok(out)
    }
}

/// A filter, made ready for one code system.
enum Test<'f> {
    /// The concept is one of these (or is none of them).
    Among(HashSet<u32>, bool),
    /// A property has one of these values (or none of them).
    Values(&'f str, Vec<&'f str>, bool),
    /// A property matches as a whole.
    Matches(&'f str, Regex),
    /// A property is there (or is not).
    Exists(&'f str, bool),
}

impl<'f> Test<'f> {
    /// Nothing for an operator that is not known or a property that the system can't show.
    fn of(filter: &'f Filter, system: &CodeSystem) -> Option<Test<'f>> {
        let (property, value): (&str, &str) = (&filter.property, &filter.value);
        let root = || system.number(value);
        // A root that is not there has nothing below it, if the system is whole.
        let whole = system.content == Content::Complete;
        let tree = |up: bool, itself: bool| -> Option<HashSet<u32>> {
            match root() {
                Some(n) => {
                    let all = system.closure(n, up).into_iter();
                    Some(all.filter(|m| itself || *m != n).collect())
                }
                None => whole.then(HashSet::new),
            }
        };
        let of_concept = matches!(property, "concept" | "code");
        Some(match &*filter.op {
            "is-a" if of_concept => Test::Among(tree(false, true)?, true),
            "descendent-of" if of_concept => Test::Among(tree(false, false)?, true),
            "is-not-a" if of_concept => Test::Among(tree(false, true)?, false),
            "generalizes" if of_concept => Test::Among(tree(true, true)?, true),
            "=" if property == "parent" => Test::Among(Self::next_to(system, root(), false), true),
            "=" if property == "child" => Test::Among(Self::next_to(system, root(), true), true),
            "=" => Test::Values(property, vec![value], true),
            "in" => Test::Values(property, value.split(',').map(str::trim).collect(), true),
            "not-in" => Test::Values(property, value.split(',').map(str::trim).collect(), false),
            "regex" => {
                let whole = format!("^(?:{value})$");
                Test::Matches(property, RegexBuilder::new(&whole).size_limit(1 << 20).build().ok()?)
            }
            "exists" => Test::Exists(property, value == "true"),
            _ => return None,
        })
    }

    fn next_to(system: &CodeSystem, of: Option<u32>, up: bool) -> HashSet<u32> {
        let concept = of.and_then(|n| system.concepts.get(n as usize));
        concept
            .map(|c| if up { &c.parents } else { &c.children })
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    fn passes(&self, system: &CodeSystem, number: u32) -> bool {
        let Some(concept) = system.concepts.get(number as usize) else { return false };
        let values = |property: &str| -> Vec<&str> {
            match property {
                "code" | "concept" => vec![&concept.code],
                "display" => concept.display.as_deref().into_iter().collect(),
                "inactive" => vec![if concept.inactive { "true" } else { "false" }],
                "notSelectable" => vec![if concept.abstract_ { "true" } else { "false" }],
                _ => {
                    let all = concept.properties.iter().filter(|(name, _)| **name == *property);
                    all.map(|(_, value)| &**value).collect()
                }
            }
        };
        match self {
            Test::Among(set, inside) => set.contains(&number) == *inside,
            Test::Values(property, wanted, inside) => {
                values(property).iter().any(|v| wanted.contains(v)) == *inside
            }
            Test::Matches(property, regex) => values(property).iter().any(|v| regex.is_match(v)),
            Test::Exists(property, there) => values(property).is_empty() != *there,
        }
    }
}

/// Code systems whose codes are made by a grammar. What is not of the form is no code of
/// theirs; for media types, which anybody may register, the form is all there is.
fn by_form(system: &str, code: &str) -> Answer {
    let unknown = || Answer::Unknown(NotHeld::CodeSystem(system.into()));
    match system {
        // `json` and `xml` stand for media types in places.
        "urn:ietf:bcp:13" if code.contains('/') => Answer::of(is_media_type(code)),
        "urn:ietf:bcp:47" if !is_language_tag(code) => Answer::No,
        "http://unitsofmeasure.org" if code.is_empty() || code.contains(char::is_whitespace) => {
            Answer::No
        }
        _ => unknown(),
    }
}

/// RFC 6838 §4.2, with or without parameters (RFC 2045 §5.1).
fn is_media_type(code: &str) -> bool {
    let (plain, _) = code.split_once(';').unwrap_or((code, ""));
    let Some((top, sub)) = plain.trim_end().split_once('/') else { return false };
    let name = |s: &str| {
        s.len() <= 127
            && s.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    name(top) && name(sub)
}

/// The shape of RFC 5646 §2.1: subtags of one to eight letters or digits, the first of
/// two to eight letters, or `x` or `i` and more.
fn is_language_tag(code: &str) -> bool {
    let mut parts = code.split('-');
    let first = parts.next().unwrap_or_default();
    let letters = first.bytes().all(|b| b.is_ascii_alphabetic());
    let private = matches!(first, "x" | "X" | "i" | "I") && code.len() > 2;
    letters
        && (private || (2..=8).contains(&first.len()))
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}
