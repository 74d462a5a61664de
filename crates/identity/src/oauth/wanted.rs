//! Scopes as an app asks for them, and what may be given of them: what is registered for
//! it, what there is, and what its user leaves it.
//!
//! It refuses nothing by an error: what can't be given is left out, and the answer says
//! what was given (RFC 6749 section 3.3). What is no scope at all is left out too.

use std::collections::BTreeSet;
use std::fmt;

use phial_base::scope::Reach;
use phial_base::{LogicalId, Scope, Scopes};

/// A scope that is not about records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Special {
    /// `launch`: the context comes with the launch from an EHR.
    Launch,
    /// `launch/patient`: a patient is to be chosen.
    LaunchPatient,
    /// `launch/encounter`: an encounter, too, if there is one.
    LaunchEncounter,
    /// `openid`: an id_token.
    OpenId,
    /// `fhirUser`: which record its user is.
    FhirUser,
    /// `profile`, which is the same here.
    Profile,
    /// `online_access`: a refresh token for as long as its user is logged in.
    Online,
    /// `offline_access`: a refresh token beyond that.
    Offline,
    /// `scim`: accounts and groups over SCIM 2.0.
    Scim,
}

impl Special {
    /// All of them.
    pub const ALL: [Special; 9] = [
        Special::Launch,
        Special::LaunchPatient,
        Special::LaunchEncounter,
        Special::OpenId,
        Special::FhirUser,
        Special::Profile,
        Special::Online,
        Special::Offline,
        Special::Scim,
    ];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Special::Launch => "launch",
            Special::LaunchPatient => "launch/patient",
            Special::LaunchEncounter => "launch/encounter",
            Special::OpenId => "openid",
            Special::FhirUser => "fhirUser",
            Special::Profile => "profile",
            Special::Online => "online_access",
            Special::Offline => "offline_access",
            Special::Scim => "scim",
        }
    }
}

/// Scopes of both kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    special: BTreeSet<Special>,
    records: BTreeSet<Scope>,
}

impl Wanted {
    /// Reads a list of scopes with spaces between; what is none is left out.
    /// `is_query` says whether a query is one that can be held against records of a type.
    #[must_use]
    pub fn read(text: &str, is_query: &dyn Fn(&str, &str) -> bool) -> Self {
        let mut all = Wanted::default();
        for word in text.split(' ') {
            if let Some(special) = Special::ALL.into_iter().find(|s| s.name() == word) {
                all.special.insert(special);
            } else if let Some(scope) = Scope::parse(word) {
                let sound = match (&scope.ty, &scope.query) {
                    (_, None) => true,
                    (Some(ty), Some(query)) => is_query(ty, query),
                    (None, Some(_)) => false,
                };
                if sound {
                    all.records.insert(scope);
                }
            }
        }
        all
    }

    /// Whether a word is a scope of one of the kinds that there are.
    #[must_use]
    pub fn is_scope(word: &str) -> bool {
        Special::ALL.into_iter().any(|s| s.name() == word) || Scope::parse(word).is_some()
    }

    /// Whether this is among them.
    #[must_use]
    pub fn has(&self, special: Special) -> bool {
        self.special.contains(&special)
    }

    /// Those about records.
    pub fn records(&self) -> impl Iterator<Item = &Scope> {
        self.records.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.special.is_empty() && self.records.is_empty()
    }

    /// What of this is within `limits`. A scope that is covered in part is cut to that
    /// part: its letters one by one, and a type's that is registered where all types were
    /// asked for.
    #[must_use]
    pub fn within(&self, limits: &Wanted) -> Wanted {
        let special = self.special.intersection(&limits.special).copied().collect();
        let mut records = BTreeSet::new();
        for asked in &self.records {
            for limit in &limits.records {
                let mut cut = asked.clone();
                if cut.ty.is_none() {
                    cut.ty.clone_from(&limit.ty);
                }
                if cut.query.is_none() {
                    cut.query.clone_from(&limit.query);
                }
                if cut.reach == Reach::User && limit.reach == Reach::Patient {
                    cut.reach = Reach::Patient;
                }
                cut.letters = cut.letters.and(limit.letters);
                if !cut.letters.is_empty() && limit.covers(&cut) {
                    records.insert(cut);
                }
            }
        }
        // What another of them covers says nothing more.
        let all: Vec<Scope> = records.into_iter().collect();
        let records = all
            .iter()
            .filter(|s| !all.iter().any(|o| o != *s && o.covers(s) && !(s.covers(o) && o > *s)))
            .cloned()
            .collect();
        Wanted { special, records }
    }

    /// Without this one.
    #[must_use]
    pub fn without(mut self, special: Special) -> Self {
        self.special.remove(&special);
        self
    }

    /// Only those about records for which `keep` says so, and all of the others.
    #[must_use]
    pub fn keep(mut self, keep: impl FnMut(&Scope) -> bool) -> Self {
        self.records.retain(keep);
        self
    }

    /// Whether all of this is in `other` as well.
    #[must_use]
    pub fn is_covered_by(&self, other: &Wanted) -> bool {
        self.special.is_subset(&other.special)
            && self.records.iter().all(|s| other.records.iter().any(|o| o.covers(s)))
    }

    /// The set that goes with the subject.
    #[must_use]
    pub fn scopes(&self, patient: Option<LogicalId>) -> Scopes {
        Scopes::new(self.records.iter().cloned(), patient)
    }

    /// Whether any of these is of the reach.
    #[must_use]
    pub fn reaches(&self, reach: Reach) -> bool {
        self.records.iter().any(|s| s.reach == reach)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self
            .special
            .iter()
            .map(|s| s.name().to_owned())
            .chain(self.records.iter().map(Scope::to_string));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Wanted {
        Wanted::read(text, &|_, query| query.starts_with("category="))
    }

    #[test]
    fn what_is_asked_is_cut_to_what_is_registered() {
        for (asked, limits, given) in [
            ("openid patient/*.rs", "openid patient/*.rs", "openid patient/*.rs"),
            ("openid fhirUser user/*.cruds", "openid patient/*.rs", "openid patient/*.rs"),
            (
                "patient/*.rs",
                "patient/Observation.rs patient/Patient.r",
                "patient/Patient.r patient/Observation.rs",
            ),
            ("patient/Observation.read", "patient/*.cruds", "patient/Observation.rs"),
            ("patient/Observation.rs", "user/*.rs", "patient/Observation.rs"),
            ("system/*.rs", "user/*.rs", ""),
            (
                "patient/Observation.rs",
                "patient/Observation.rs?category=lab",
                "patient/Observation.rs?category=lab",
            ),
            (
                "patient/Observation.rs?category=lab",
                "patient/*.rs",
                "patient/Observation.rs?category=lab",
            ),
            ("patient/Observation.rs?code=x", "patient/*.rs", ""),
            ("nonsense patient/x", "patient/*.rs", ""),
        ] {
            let cut = read(asked).within(&read(limits));
            assert_eq!(sorted(&cut.to_string()), sorted(given), "{asked} within {limits}");
            assert!(cut.is_covered_by(&read(limits)));
        }
    }

    fn sorted(text: &str) -> Vec<&str> {
        let mut words: Vec<&str> = text.split(' ').collect();
        words.sort_unstable();
        words
    }

    #[test]
    fn each_scope_reads_as_it_is_written() {
        for special in Special::ALL {
            assert!(read(special.name()).has(special));
            assert!(Wanted::is_scope(special.name()));
        }
        assert!(!Wanted::is_scope("admin"));
    }
}
