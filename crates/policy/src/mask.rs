//! The answer of an evaluation: which classes, under which duties, because of
//! which policies.

use std::fmt;
use std::sync::Arc;

use phial_base::ClassSet;

/// A duty that comes with a permit. A closed list: a policy that names another one
/// is refused at load, since a duty that nobody knows how to do would be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Obligation {
    /// The notice that prohibits redisclosure goes with the record (42 CFR 2.32).
    RedisclosureNotice,
    /// The access is flagged in the audit log for review.
    FlagAccess,
    /// The access rests on a break-glass grant, and the audit entry says so.
    BreakGlass,
}

impl Obligation {
    /// All obligations.
    pub const ALL: [Obligation; 3] =
        [Obligation::RedisclosureNotice, Obligation::FlagAccess, Obligation::BreakGlass];

    /// The name that `@obligation` and audit entries use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Obligation::RedisclosureNotice => "redisclosure-notice",
            Obligation::FlagAccess => "flag-access",
            Obligation::BreakGlass => "break-glass",
        }
    }

    /// The obligation with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.name() == name)
    }
}

/// A set of obligations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ObligationSet(u8);

impl ObligationSet {
    /// No obligation.
    pub const NONE: ObligationSet = ObligationSet(0);

    /// This set with `o` added.
    #[must_use]
    pub const fn with(self, o: Obligation) -> Self {
        ObligationSet(self.0 | 1 << o as u8)
    }

    /// Whether `o` is in the set.
    #[must_use]
    pub const fn has(self, o: Obligation) -> bool {
        self.0 & (1 << o as u8) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The obligations in the set.
    pub fn iter(self) -> impl Iterator<Item = Obligation> {
        Obligation::ALL.into_iter().filter(move |o| self.has(*o))
    }
}

impl FromIterator<Obligation> for ObligationSet {
    fn from_iter<I: IntoIterator<Item = Obligation>>(iter: I) -> Self {
        iter.into_iter().fold(ObligationSet::NONE, ObligationSet::with)
    }
}

impl fmt::Debug for ObligationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Obligation::name)).finish()
    }
}

/// What a subject sees of records of one shape in one set of circumstances. A mask
/// opens nothing by itself; only a [`Permit`](crate::Permit) does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Classes permitted and not forbidden.
    pub classes: ClassSet,
    /// Duties of the satisfied permits; none when no class is left.
    pub obligations: ObligationSet,
    /// Ids of every satisfied policy, permits and forbids, sorted.
    pub policies: Arc<[Arc<str>]>,
    /// Whether an evaluation failed. No class is left then.
    pub failed: bool,
}

impl Mask {
    /// The mask of nothing, without a policy that says so.
    #[must_use]
    pub fn nothing() -> Self {
        Mask {
            classes: ClassSet::NONE,
            obligations: ObligationSet::NONE,
            policies: Arc::new([]),
            failed: false,
        }
    }
}

/// Whether a policy gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// The policy permits its classes.
    Permit,
    /// The policy forbids its classes.
    Forbid,
}

/// A policy whose conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Satisfied {
    /// Its id.
    pub id: Arc<str>,
    /// The file that it stands in.
    pub file: Arc<str>,
    /// Whether it gives or takes.
    pub effect: Effect,
    /// The classes that it speaks of.
    pub classes: ClassSet,
    /// Its obligations.
    pub obligations: ObligationSet,
}

/// Why a mask is what it is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Roles that counted: known, may claim the purpose, may do the action.
    pub roles: Vec<Arc<str>>,
    /// Every satisfied policy, permits first, by id.
    pub satisfied: Vec<Satisfied>,
    /// Ids of the policies whose evaluation failed.
    pub failed: Vec<Arc<str>>,
    /// The outcome.
    pub mask: Mask,
}
