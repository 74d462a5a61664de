//! Terminology that is held: code systems and value sets, which codes a value set has,
//! which codes stand below another. Those of R4 and US Core are compiled in as text and
//! read when they are asked for; what a caller stores comes in through [`Source`].
//!
//! It refuses to guess. What hangs on a code system that is not held (most of SNOMED CT
//! and LOINC) is answered with [`NotHeld`], never with yes or no.
//!
//! Source: <https://hl7.org/fhir/R4/valueset.html>,
//! <https://hl7.org/fhir/R4/terminology-service.html>

mod code_system;
mod expand;
mod held;
mod operation;
mod value_set;

use std::sync::Arc;

pub use code_system::{CodeSystem, Concept, Content};
pub use expand::{Answer, Code, MOST_CODES, Trouble, above, below, contains, expand, subsumes};
pub use held::{HELD, Held};
pub use operation::{Asked, Coded, Expand, Found, ValidateCode, asked, code_answer, expansion};
pub use value_set::{Filter, Part, ValueSet};

/// Where value sets and code systems are found.
pub trait Source {
    /// The value set of this canonical URL, which has no `|version`; the newest when no
    /// version is named.
    fn value_set(&self, url: &str, version: Option<&str>) -> Option<Arc<ValueSet>>;

    /// The code system of this URL; the newest when no version is named.
    fn code_system(&self, url: &str, version: Option<&str>) -> Option<Arc<CodeSystem>>;
}

/// A canonical URL without and with its version.
#[must_use]
pub fn canonical(url: &str) -> (&str, Option<&str>) {
    match url.split_once('|') {
        Some((url, version)) => (url, Some(version)),
        None => (url, None),
    }
}

/// What would have to be held to give an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotHeld {
    /// A value set; its URL.
    ValueSet(Box<str>),
    /// A code system, or the rest of one; its URL.
    CodeSystem(Box<str>),
    /// A filter that no code system held can answer, of a code system.
    Filter(Box<str>),
}

/// Code systems that everybody knows and whose licences keep them out of here. Their names
/// may stand in messages.
const KNOWN: [(&str, &str); 14] = [
    ("http://snomed.info/sct", "SNOMED CT"),
    ("http://loinc.org", "LOINC"),
    ("http://www.nlm.nih.gov/research/umls/rxnorm", "RxNorm"),
    ("http://hl7.org/fhir/sid/icd-10-cm", "ICD-10-CM"),
    ("http://hl7.org/fhir/sid/icd-10", "ICD-10"),
    ("http://www.cms.gov/Medicare/Coding/ICD10", "ICD-10-PCS"),
    ("http://www.ama-assn.org/go/cpt", "CPT"),
    ("http://hl7.org/fhir/sid/cvx", "CVX"),
    ("http://hl7.org/fhir/sid/ndc", "NDC"),
    ("http://unitsofmeasure.org", "UCUM"),
    ("urn:ietf:bcp:47", "the language tags of BCP 47"),
    ("urn:ietf:bcp:13", "the media types of BCP 13"),
    ("urn:iso:std:iso:3166", "the countries of ISO 3166"),
    ("urn:iso:std:iso:4217", "the currencies of ISO 4217"),
];

impl NotHeld {
    /// One sentence. A URL stands in it only when it is one that HL7 publishes: others
    /// came with a request or a record.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            NotHeld::ValueSet(url) if HELD.speaks_of(url) => {
                format!("the value set {url} is not held here")
            }
            NotHeld::ValueSet(_) => "this value set is not held here".to_owned(),
            NotHeld::CodeSystem(url) => format!("{} held here", Self::system(url, "is not")),
            NotHeld::Filter(url) => {
                format!(
                    "{} held in such a way that it can be filtered so",
                    Self::system(url, "is not")
                )
            }
        }
    }

    fn system(url: &str, verb: &str) -> String {
        match KNOWN.iter().find(|(known, _)| *known == url) {
            Some((_, name)) => format!("{name} {verb}"),
            None if HELD.speaks_of(url) => format!("the code system {url} {verb} wholly"),
            None => format!("a code system that is needed {verb}"),
        }
    }
}
