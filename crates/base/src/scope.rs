//! What an app may do of what its user may do: SMART App Launch 2 scopes
//! (<https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html>).
//!
//! A scope only ever narrows. The set travels in the [`Subject`](crate::Subject); policy
//! holds every mask against it, so that no surface goes by it. It refuses to guess: text
//! that is no scope of this form is none, and a type that no scope names is out of reach.

use std::fmt;

use crate::LogicalId;

/// Types whose records are about nobody, and that patients' records refer to. A scope of
/// one patient lets these be looked at, and no other record that is not that patient's:
/// an Observation without a subject is nobody's business.
const SHARED: [&str; 17] = [
    "ActivityDefinition",
    "CodeSystem",
    "ConceptMap",
    "Endpoint",
    "HealthcareService",
    "Library",
    "Location",
    "Measure",
    "Medication",
    "Organization",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "StructureDefinition",
    "Substance",
    "ValueSet",
];

/// The longest query that a scope may carry, bytes.
const LONGEST_QUERY: usize = 512;

/// Whose records a scope speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Those of the one patient that the app was launched for.
    Patient,
    /// All that the user may see.
    User,
    /// All that the service's own account may see.
    System,
}

impl Reach {
    /// The word in front of the slash.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reach::Patient => "patient",
            Reach::User => "user",
            Reach::System => "system",
        }
    }
}

/// A set of the letters `c`, `r`, `u`, `d`, `s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Letters(u8);

const LETTERS: [char; 5] = ['c', 'r', 'u', 'd', 's'];

impl Letters {
    /// No letter.
    pub const NONE: Letters = Letters(0);
    /// create
    pub const C: Letters = Letters(1);
    /// read, vread, the history of a record
    pub const R: Letters = Letters(2);
    /// update, patch
    pub const U: Letters = Letters(4);
    /// delete
    pub const D: Letters = Letters(8);
    /// search, the history of a type
    pub const S: Letters = Letters(16);

    /// Those in either set.
    #[must_use]
    pub const fn or(self, other: Letters) -> Letters {
        Letters(self.0 | other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Letters) -> Letters {
        Letters(self.0 & other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn minus(self, other: Letters) -> Letters {
        Letters(self.0 & !other.0)
    }

    /// Whether all of the other's are in here.
    #[must_use]
    pub const fn covers(self, other: Letters) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each letter by itself.
    pub fn each(self) -> impl Iterator<Item = Letters> {
        (0..5).map(|n| Letters(1 << n)).filter(move |l| self.covers(*l))
    }

    /// Version 2: letters in their order, each once. Version 1: `read`, `write`, `*`.
    fn parse(text: &str) -> Option<Letters> {
        match text {
            "read" => return Some(Letters::R.or(Letters::S)),
            "write" => return Some(Letters::C.or(Letters::U).or(Letters::D)),
            "*" => return Some(Letters(31)),
            _ => {}
        }
        let mut all = Letters::NONE;
        let mut next = 0;
        for c in text.chars() {
            let n = LETTERS.iter().position(|l| *l == c).filter(|n| *n >= next)?;
            next = n + 1;
            all = all.or(Letters(1 << n));
        }
        (!all.is_empty()).then_some(all)
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, letter) in LETTERS.iter().enumerate() {
            if self.0 & (1 << n) != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letters({self})")
    }
}

/// One scope about records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Whose records.
    pub reach: Reach,
    /// The resource type; `None` for all of them (`*`).
    pub ty: Option<Box<str>>,
    /// What may be done.
    pub letters: Letters,
    /// A search that the records must satisfy, still escaped as in a URL.
    pub query: Option<Box<str>>,
}

impl Scope {
    /// Reads `patient/Observation.rs?category=laboratory`, `user/*.cruds`, and version 1's
    /// `patient/*.read`. `None` for what has another form: it may be a scope of another
    /// kind. Whether there is such a type or parameter is not asked here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (reach, rest) = text.split_once('/')?;
        let reach =
            [Reach::Patient, Reach::User, Reach::System].into_iter().find(|r| r.name() == reach)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (ty, letters) = rest.split_once('.')?;
        let letters = Letters::parse(letters)?;
        let ty = match ty {
            "*" => None,
            name => Some(name).filter(|n| {
                n.starts_with(|c: char| c.is_ascii_uppercase())
                    && n.bytes().all(|b| b.is_ascii_alphanumeric())
            }),
        };
        if ty.is_none() && !rest.starts_with("*.") {
            return None;
        }
        let sound = |q: &&str| {
            !q.is_empty()
                && q.len() <= LONGEST_QUERY
                && q.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if query.is_some_and(|q| !sound(&q)) {
            return None;
        }
        Some(Scope { reach, ty: ty.map(Box::from), letters, query: query.map(Box::from) })
    }

    fn speaks_of(&self, ty: &str) -> bool {
        self.ty.as_deref().is_none_or(|own| own == ty)
    }

    /// Whether all that `other` allows is allowed by this one: what was registered covers
    /// what is asked for, what was granted covers what is asked for later.
    #[must_use]
    pub fn covers(&self, other: &Scope) -> bool {
        self.reach_covers(other)
            && self.letters.covers(other.letters)
            && (self.query.is_none() || self.query == other.query)
    }

    fn reach_covers(&self, other: &Scope) -> bool {
        let reach = self.reach == other.reach
            || (self.reach == Reach::User && other.reach == Reach::Patient);
        reach && (self.ty.is_none() || self.ty == other.ty)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.reach.name(), self.ty.as_deref().unwrap_or("*"), self.letters)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Whom a record is about, as far as scopes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// No patient.
    Nobody,
    /// The patient of the launch, and nobody else.
    Launched,
    /// Another patient, or that one and others.
    Others,
}

/// The scopes of an access token, ready to be asked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Scopes {
    all: Vec<Scope>,
    patient: Option<LogicalId>,
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.all.iter().map(Scope::to_string).collect();
        f.debug_tuple("Scopes").field(&shown).finish()
    }
}

impl Scopes {
    /// The set of these, for the patient of the launch.
    ///
    /// Put in a form in which each letter of a type is either allowed whole or under
    /// queries of one reach:
    /// - a query narrows reading and searching; other letters beside one are dropped;
    /// - a query says nothing about all types, so `*` with a query is dropped;
    /// - what a scope without a query allows needs none with one;
    /// - queries of the patient's reach count before those of the user's;
    /// - without a patient, what is of a patient's reach is dropped.
    ///
    /// Each of these makes the set smaller or leaves it as large as it was.
    #[must_use]
    pub fn new(scopes: impl IntoIterator<Item = Scope>, patient: Option<LogicalId>) -> Self {
        let mut all: Vec<Scope> = scopes
            .into_iter()
            .filter(|s| s.reach != Reach::Patient || patient.is_some())
            .filter(|s| s.query.is_none() || s.ty.is_some())
            .collect();
        for s in all.iter_mut().filter(|s| s.query.is_some()) {
            s.letters = s.letters.and(Letters::R.or(Letters::S));
        }
        let before = all.clone();
        for s in all.iter_mut().filter(|s| s.query.is_some()) {
            let ty = s.ty.as_deref().unwrap_or("");
            for other in before.iter().filter(|o| o.speaks_of(ty)) {
                let stronger = match &other.query {
                    None => true,
                    Some(_) => other.reach == Reach::Patient && s.reach != Reach::Patient,
                };
                if stronger {
                    s.letters = s.letters.minus(other.letters);
                }
            }
        }
        all.retain(|s| !s.letters.is_empty());
        all.sort();
        all.dedup();
        Scopes { all, patient }
    }

    /// The patient of the launch.
    #[must_use]
    pub fn patient(&self) -> Option<&LogicalId> {
        self.patient.as_ref()
    }

    /// The scopes.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.all.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether all of these letters may be used on records of this type about these
    /// people, as far as that can be said without looking into the record: where
    /// [`Scopes::narrowed`] has queries, one of them must hold too.
    #[must_use]
    pub fn admit(&self, letters: Letters, ty: &str, about: About) -> bool {
        let looks = Letters::R.or(Letters::S);
        let reached =
            self.all.iter().filter(|s| s.speaks_of(ty)).filter(|s| match (s.reach, about) {
                (Reach::Patient, About::Others) => false,
                (Reach::Patient, About::Nobody) => SHARED.contains(&ty),
                _ => true,
            });
        let allowed = reached.fold(Letters::NONE, |all, s| {
            let patients = s.reach == Reach::Patient && about == About::Nobody;
            all.or(if patients { s.letters.and(looks) } else { s.letters })
        });
        !letters.is_empty() && allowed.covers(letters)
    }

    /// Whether one of these letters may be used on anything at all.
    #[must_use]
    pub fn ever(&self, letters: Letters) -> bool {
        self.all.iter().any(|s| !s.letters.and(letters).is_empty())
    }

    /// The queries of which one must hold for a record of this type, when these letters
    /// are used; `None` when there is no such condition. With several letters, the
    /// conditions of the one are those of the other or the letters are asked one by one.
    #[must_use]
    pub fn narrowed(&self, letter: Letters, ty: &str) -> Option<Vec<&str>> {
        let of: Vec<&Scope> = self
            .all
            .iter()
            .filter(|s| s.speaks_of(ty) && !s.letters.and(letter).is_empty())
            .collect();
        if of.is_empty() || of.iter().any(|s| s.query.is_none()) {
            return None;
        }
        Some(of.iter().filter_map(|s| s.query.as_deref()).collect())
    }

    /// Whether any type is narrowed by a query.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.all.iter().any(|s| s.query.is_some())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, scope) in self.all.iter().enumerate() {
            write!(f, "{}{scope}", if n == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str, patient: bool) -> Scopes {
        let patient = patient.then(|| LogicalId::new("p").unwrap());
        Scopes::new(text.split(' ').filter_map(Scope::parse), patient)
    }

    #[test]
    fn both_versions_are_read_and_written_in_the_second() {
        for (text, expected) in [
            ("patient/Observation.rs", Some("patient/Observation.rs")),
            ("patient/Observation.read", Some("patient/Observation.rs")),
            ("user/*.write", Some("user/*.cud")),
            ("system/*.*", Some("system/*.cruds")),
            ("patient/Observation.rs?category=a|b", Some("patient/Observation.rs?category=a|b")),
            ("patient/Observation.sr", None),
            ("patient/Observation.rr", None),
            ("patient/Observation.", None),
            ("patient/.rs", None),
            ("patient/observation.rs", None),
            ("patient/Obs*.rs", None),
            ("patient/Observation.rs?", None),
            ("patient/Observation", None),
            ("Patient/Observation.rs", None),
            ("launch/patient", None),
            ("openid", None),
            ("patient/*.rsx", None),
        ] {
            assert_eq!(Scope::parse(text).map(|s| s.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_set_takes_its_form_and_gets_no_larger() {
        for (text, expected) in [
            ("patient/Observation.cruds?category=a", "patient/Observation.rs?category=a"),
            ("patient/*.rs?category=a", ""),
            ("patient/Observation.rs patient/Observation.rs?category=a", "patient/Observation.rs"),
            (
                "patient/Observation.r user/Observation.rs?category=a",
                "patient/Observation.r user/Observation.s?category=a",
            ),
            (
                "patient/Observation.rs?category=a user/Observation.rs?category=b",
                "patient/Observation.rs?category=a",
            ),
            (
                "patient/Observation.rs?category=a patient/Observation.rs?category=b",
                "patient/Observation.rs?category=a patient/Observation.rs?category=b",
            ),
        ] {
            assert_eq!(set(text, true).to_string(), expected, "{text}");
        }
        assert_eq!(set("patient/*.rs user/Patient.r", false).to_string(), "user/Patient.r");
    }

    #[test]
    fn a_patients_scope_reaches_that_patient_and_what_is_shared() {
        let s = set("patient/*.cruds", true);
        let all = [Letters::C, Letters::R, Letters::U, Letters::D, Letters::S];
        for letter in all {
            assert!(s.admit(letter, "Observation", About::Launched));
            assert!(!s.admit(letter, "Observation", About::Others));
            assert!(!s.admit(letter, "Observation", About::Nobody));
            let looks = letter == Letters::R || letter == Letters::S;
            assert_eq!(s.admit(letter, "Practitioner", About::Nobody), looks);
        }
        assert!(!s.admit(Letters::NONE, "Observation", About::Launched));
        let u = set("user/Observation.r", true);
        assert!(u.admit(Letters::R, "Observation", About::Others));
        assert!(!u.admit(Letters::S, "Observation", About::Others));
        assert!(!u.admit(Letters::R.or(Letters::S), "Observation", About::Others));
        assert!(!u.admit(Letters::R, "Condition", About::Others));
    }

    #[test]
    fn queries_are_asked_letter_by_letter() {
        let s = set("patient/Observation.r patient/Observation.s?category=a", true);
        assert_eq!(s.narrowed(Letters::R, "Observation"), None);
        assert_eq!(s.narrowed(Letters::S, "Observation"), Some(vec!["category=a"]));
        assert_eq!(s.narrowed(Letters::S, "Condition"), None);
        assert!(s.narrows());
    }

    #[test]
    fn what_was_granted_covers_less_and_never_more() {
        let covers = |a: &str, b: &str| Scope::parse(a).unwrap().covers(&Scope::parse(b).unwrap());
        assert!(covers("user/*.cruds", "patient/Observation.rs?category=a"));
        assert!(covers("patient/*.rs", "patient/Observation.r"));
        for (a, b) in [
            ("patient/*.rs", "user/*.rs"),
            ("patient/*.rs", "patient/*.cruds"),
            ("patient/Observation.rs", "patient/*.rs"),
            ("patient/Observation.rs?category=a", "patient/Observation.rs"),
            ("patient/Observation.rs?category=a", "patient/Observation.rs?category=b"),
            ("user/*.rs", "system/*.rs"),
            ("system/*.rs", "user/*.rs"),
        ] {
            assert!(!covers(a, b), "{a} {b}");
        }
    }

    fn scope() -> impl Strategy<Value = Scope> {
        (
            prop::sample::select(vec![Reach::Patient, Reach::User, Reach::System]),
            prop::option::of(prop::sample::select(vec!["Observation", "Practitioner", "Patient"])),
            1u8..32,
            prop::option::of(prop::sample::select(vec!["category=a", "category=b"])),
        )
            .prop_map(|(reach, ty, letters, query)| Scope {
                reach,
                ty: ty.map(Box::from),
                letters: Letters(letters),
                query: query.map(Box::from),
            })
    }

    proptest! {
        #[test]
        fn text_round_trips(s in scope()) {
            prop_assert_eq!(Scope::parse(&s.to_string()), Some(s));
        }

        #[test]
        fn a_set_allows_nothing_that_none_of_its_scopes_allows(
            scopes in prop::collection::vec(scope(), 0..5),
            with_patient: bool,
            letter in 0u8..5,
            ty in prop::sample::select(vec!["Observation", "Practitioner", "Patient"]),
            about in prop::sample::select(vec![About::Nobody, About::Launched, About::Others]),
        ) {
            let letter = Letters(1 << letter);
            let patient = with_patient.then(|| LogicalId::new("p").unwrap());
            let whole = Scopes::new(scopes.clone(), patient.clone());
            let one = |s: &Scope| Scopes::new([s.clone()], patient.clone());
            let any = scopes.iter().any(|s| one(s).admit(letter, ty, about));
            if whole.admit(letter, ty, about) {
                prop_assert!(any);
                // A condition is lifted only by a scope that has none.
                if whole.narrowed(letter, ty).is_none() {
                    let free = |s: &Scope| s.query.is_none() && one(s).admit(letter, ty, about);
                    prop_assert!(scopes.iter().any(free));
                }
            }
        }
    }
}
