//! Labelling: which sensitivity labels a record gets for the codes that stand in it.
//!
//! It owns the lists of codes (ICD-10-CM, SNOMED CT, LOINC, RxNorm), each a file with its
//! source, date and size, and the form in which an organisation adds its own. A label that
//! is set here comes beside those that a sender set; it takes none away. It refuses to
//! judge by words: a diagnosis in free text alone gets no label.
//!
//! Form of a list: lines of `label NAME...`, which says what the codes below it mean, and
//! `SYSTEM code...`; SYSTEM is `icd10cm`, `snomed`, `loinc` or `rxnorm`. A code of
//! ICD-10-CM stands for itself and all below it, with or without its point. `#` begins a
//! comment. A list with an unknown word is refused whole.

use std::collections::HashMap;
use std::sync::OnceLock;

use phial_base::{Label, LabelSet};

use crate::json::{Doc, Kind, Node};

const LISTS: [(&str, &str); 6] = [
    ("genetic", include_str!("sensitive/genetic.txt")),
    ("hiv-sti", include_str!("sensitive/hiv-sti.txt")),
    ("mental-health", include_str!("sensitive/mental-health.txt")),
    ("reproductive", include_str!("sensitive/reproductive.txt")),
    ("substance-use", include_str!("sensitive/substance-use.txt")),
    ("violence", include_str!("sensitive/violence.txt")),
];

/// The way in which a record's codes are looked for, and a sender's labels are read. To be
/// raised when that changes, so that what is stored is looked at again.
const LOOKING: &str = "looking 1";

/// A system of codes that lists speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum System {
    /// ICD-10-CM, and ICD-10, whose categories it shares.
    Icd10,
    /// SNOMED CT.
    Snomed,
    /// LOINC.
    Loinc,
    /// RxNorm.
    RxNorm,
}

impl System {
    /// The system with this URI or OID.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Some(match uri {
            "http://hl7.org/fhir/sid/icd-10-cm"
            | "http://hl7.org/fhir/sid/icd-10"
            | "urn:oid:2.16.840.1.113883.6.90"
            | "urn:oid:2.16.840.1.113883.6.3" => System::Icd10,
            "http://snomed.info/sct" | "urn:oid:2.16.840.1.113883.6.96" => System::Snomed,
            "http://loinc.org" | "urn:oid:2.16.840.1.113883.6.1" => System::Loinc,
            "http://www.nlm.nih.gov/research/umls/rxnorm" | "urn:oid:2.16.840.1.113883.6.88" => {
                System::RxNorm
            }
            _ => return None,
        })
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "icd10cm" => System::Icd10,
            "snomed" => System::Snomed,
            "loinc" => System::Loinc,
            "rxnorm" => System::RxNorm,
            _ => return None,
        })
    }

    /// Its word in a list.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            System::Icd10 => "icd10cm",
            System::Snomed => "snomed",
            System::Loinc => "loinc",
            System::RxNorm => "rxnorm",
        }
    }
}

/// Why a list was refused: the line, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadList {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// What a list says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// Where its codes are from.
    pub source: &'static str,
    /// As of when.
    pub date: &'static str,
    /// How many codes it has.
    pub size: usize,
}

/// Codes and the labels they bring.
#[derive(Clone, Debug, Default)]
pub struct Labeller {
    codes: HashMap<(System, Box<str>), LabelSet>,
}

impl Labeller {
    /// The shipped lists and, beside them, one of one's own.
    ///
    /// # Errors
    /// [`BadList`] when it can't be read.
    pub fn with(text: &str) -> Result<Self, BadList> {
        let mut all = shipped().clone();
        all.add(text)?;
        Ok(all)
    }

    /// How many codes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Everything that decides which labels a record gets, as text: the way of looking and
    /// each code with its labels, a line each, sorted. Two that say the same label alike.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut lines: Vec<String> = self
            .codes
            .iter()
            .map(|((system, code), labels)| {
                let names: Vec<&str> = labels.iter().map(Label::code).collect();
                format!("{} {code} {}\n", system.word(), names.join(" "))
            })
            .collect();
        lines.sort_unstable();
        format!("{LOOKING}\n{}", lines.concat())
    }

    fn add(&mut self, text: &str) -> Result<(), BadList> {
        let mut labels = LabelSet::NONE;
        for (n, line) in text.lines().enumerate() {
            let bad = |what| BadList { line: n + 1, what };
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if first == "label" {
                labels = LabelSet::NONE;
                for word in words {
                    let label = Label::ALL.into_iter().find(|l| l.code() == word);
                    let label = label.filter(|l| *l != Label::Unknown);
                    labels = labels.with(label.ok_or_else(|| bad("no label of this name"))?);
                }
                if labels.is_empty() {
                    return Err(bad("name a label"));
                }
                continue;
            }
            let system = System::from_word(first)
                .ok_or_else(|| bad("begins with label, icd10cm, snomed, loinc or rxnorm"))?;
            if labels.is_empty() {
                return Err(bad("codes come below a label"));
            }
            for code in words {
                let code = plain(system, code);
                let good = (1..=18).contains(&code.len())
                    && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if !good {
                    return Err(bad("a code has another form"));
                }
                let of = self.codes.entry((system, code.into())).or_default();
                *of = of.or(labels);
            }
        }
        Ok(())
    }

    /// The labels that a code brings.
    #[must_use]
    pub fn labels_of(&self, system: &str, code: &str) -> LabelSet {
        let Some(system) = System::from_uri(system) else { return LabelSet::NONE };
        let code = plain(system, code);
        let at = |code: &str| self.codes.get(&(system, code.into())).copied().unwrap_or_default();
        if system != System::Icd10 {
            return at(&code);
        }
        // A code of ICD-10-CM has 3 to 7 characters.
        let parts = (3..=code.len().min(7)).filter_map(|n| code.get(..n));
        parts.fold(LabelSet::NONE, |all, part| all.or(at(part)))
    }

    /// The labels that a record's codes bring, those of contained resources included.
    #[must_use]
    pub fn labels(&self, doc: &Doc) -> LabelSet {
        let mut all = LabelSet::NONE;
        self.look(doc.root(), &mut all);
        all
    }

    fn look(&self, node: Node<'_>, all: &mut LabelSet) {
        match node.kind() {
            Kind::Object => {
                let mut system = None;
                let mut code = None;
                for (name, value) in node.members() {
                    match name {
                        "system" => system = value.raw_str(),
                        "code" => code = value.raw_str(),
                        _ => {}
                    }
                    if matches!(value.kind(), Kind::Object | Kind::Array) {
                        self.look(value, all);
                    }
                }
                if let (Some(system), Some(code)) = (system, code) {
                    *all = all.or(self.labels_of(system, code));
                }
            }
            Kind::Array => node.items().for_each(|item| self.look(item, all)),
            _ => {}
        }
    }
}

/// As lists hold it: ICD-10-CM without the point, in capitals.
fn plain(system: System, code: &str) -> String {
    match system {
        System::Icd10 => code
            .chars()
            .filter(|c| *c != '.' && !c.is_whitespace())
            .map(|c| c.to_ascii_uppercase())
            .collect(),
        _ => code.trim().to_owned(),
    }
}

/// The lists that come with the program.
pub fn shipped() -> &'static Labeller {
    static LABELLER: OnceLock<Labeller> = OnceLock::new();
    LABELLER.get_or_init(|| {
        let mut all = Labeller::default();
        for (_, text) in LISTS {
            // A test reads every list.
            let _ = all.add(text);
        }
        all
    })
}

/// What the shipped lists say of themselves.
pub fn lists() -> impl Iterator<Item = About> {
    LISTS.into_iter().map(|(name, text)| {
        let said = |key: &str| {
            let found = text.lines().find_map(|l| l.strip_prefix("# ")?.strip_prefix(key));
            found.map(str::trim).unwrap_or_default()
        };
        let size = said("size:").parse().unwrap_or(0);
        About { name, source: said("source:"), date: said("date:"), size }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn every_list_reads_and_says_its_source_date_and_size() {
        let mut total = 0;
        for (name, text) in LISTS {
            let mut one = Labeller::default();
            one.add(text).unwrap();
            let about = lists().find(|a| a.name == name).unwrap();
            assert_eq!(one.len(), about.size, "{name}: a code twice, or another size");
            assert!(!about.source.is_empty() && about.date.len() == 10, "{name}");
            total += about.size;
        }
        assert!(total >= 700, "{total}");
    }

    /// The check digit of SNOMED CT (Verhoeff).
    fn verhoeff(code: &str) -> bool {
        const FIVE: usize = 5;
        // The dihedral group of ten elements, and the permutation's powers.
        let times = |a: usize, b: usize| match (a < FIVE, b < FIVE) {
            (true, true) => (a + b) % FIVE,
            (true, false) => (a + b) % FIVE + FIVE,
            (false, true) => (a - b) % FIVE + FIVE,
            (false, false) => (a + 10 - b) % FIVE,
        };
        let step = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
        let sum = code.bytes().rev().enumerate().fold(0, |sum, (i, b)| {
            let digit = (0..i % 8).fold(usize::from(b - b'0'), |d, _| step[d]);
            times(sum, digit)
        });
        sum == 0
    }

    /// The check digit of LOINC (modulus 10, double and add).
    fn mod_10(code: &str) -> bool {
        let (number, check) = code.split_once('-').unwrap();
        let sum: u32 = number
            .bytes()
            .rev()
            .enumerate()
            .map(|(i, b)| {
                let v = u32::from(b - b'0') * if i % 2 == 0 { 2 } else { 1 };
                v / 10 + v % 10
            })
            .sum();
        (10 - sum % 10) % 10 == check.parse::<u32>().unwrap()
    }

    #[test]
    fn codes_with_check_digits_have_the_right_ones() {
        assert!(verhoeff("86406008") && !verhoeff("86406009"));
        assert!(mod_10("75622-1") && !mod_10("75622-2"));
        for (system, code) in shipped().codes.keys() {
            match system {
                System::Snomed => assert!(verhoeff(code), "{code}"),
                System::Loinc => assert!(mod_10(code), "{code}"),
                System::Icd10 => assert!((3..=7).contains(&code.len()), "{code}"),
                System::RxNorm => assert!(code.bytes().all(|b| b.is_ascii_digit()), "{code}"),
            }
        }
    }

    #[test]
    fn codes_bring_their_labels() {
        let of = |system: &str, code: &str| shipped().labels_of(system, code);
        let icd = "http://hl7.org/fhir/sid/icd-10-cm";
        for (system, code, label) in [
            (icd, "F10.20", Label::ETHUD),
            (icd, "f1120", Label::OPIOIDUD),
            (icd, "F32.9", Label::MH),
            (icd, "B20", Label::HIV),
            (icd, "Z33.2", Label::SEX),
            (icd, "T74.21XA", Label::SDV),
            (icd, "Z15.01", Label::GDIS),
            (icd, "A54.00", Label::STD),
            ("http://snomed.info/sct", "86406008", Label::HIV),
            ("http://loinc.org", "75622-1", Label::HIV),
            ("http://loinc.org", "44249-1", Label::MH),
            ("http://www.nlm.nih.gov/research/umls/rxnorm", "1819", Label::OPIOIDUD),
            ("urn:oid:2.16.840.1.113883.6.96", "7200002", Label::ETHUD),
        ] {
            assert!(of(system, code).has(label), "{code}");
        }
        for (system, code) in [
            (icd, "I10"),
            (icd, "E11.9"),
            (icd, "F1"),
            ("http://loinc.org", "2339-0"),
            ("http://snomed.info/sct", "44054006"),
            ("http://elsewhere.example", "F10.20"),
        ] {
            assert!(of(system, code).is_empty(), "{code}");
        }
    }

    #[test]
    fn a_record_is_labelled_for_codes_wherever_they_stand() {
        let doc = |text: &str| Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let deep = doc(
            r#"{"resourceType":"MedicationRequest","contained":[{"resourceType":"Condition","code":{"coding":[{"code":"B20","system":"http://hl7.org/fhir/sid/icd-10-cm"}]}}],"note":[{"text":"B20"}]}"#,
        );
        assert!(shipped().labels(&deep).has(Label::HIV));
        let words = doc(r#"{"resourceType":"Condition","code":{"text":"HIV disease"}}"#);
        assert!(shipped().labels(&words).is_empty());
    }

    #[test]
    fn what_labels_alike_says_the_same_of_itself_and_nothing_else_does() {
        let of = |text: &str| Labeller::with(text).unwrap().canonical();
        assert_eq!(of(""), shipped().canonical());
        // The order of lines is no difference, nor is a list that adds nothing.
        assert_eq!(
            of("label VIP\nloinc 1-1 1-2\nlabel HIV\nloinc 1-1"),
            of("label HIV VIP\nloinc 1-1\nlabel VIP\nloinc 1-2")
        );
        assert_eq!(of("label HIV\nloinc 75622-1"), shipped().canonical());
        for other in ["label VIP\nloinc 1-1", "label HIV\nloinc 1-1", "label VIP\nsnomed 11"] {
            assert_ne!(of(other), shipped().canonical(), "{other}");
        }
        assert_ne!(of("label VIP\nloinc 1-1"), of("label HIV\nloinc 1-1"));
    }

    #[test]
    fn a_list_of_ones_own_comes_beside_the_shipped_ones_or_is_refused_whole() {
        let mine = Labeller::with("label VIP # who\nloinc 0000-0\n").unwrap();
        assert!(mine.labels_of("http://loinc.org", "0000-0").has(Label::VIP));
        assert!(mine.labels_of("http://loinc.org", "75622-1").has(Label::HIV));
        for (text, line) in [
            ("loinc 1-1", 1),
            ("label NOPE", 1),
            ("label Unknown", 1),
            ("label HIV\n\ncpt 1", 3),
            ("label HIV\nloinc a_b", 2),
            ("label", 1),
        ] {
            assert_eq!(Labeller::with(text).unwrap_err().line, line, "{text}");
        }
    }
}
