//! How the one who asks is tied to the patient a record is about. Found by `store`
//! in the records themselves, or written down in the control log by someone whose role
//! allows it; never claimed by the caller.

use std::fmt;

/// One tie between a subject and a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Relationship {
    /// A participant of one of the patient's care teams.
    CareTeam,
    /// A participant of one of the patient's encounters.
    Encounter,
    /// A participant of an appointment with the patient.
    Appointment,
    /// The patient's general practitioner.
    GeneralPractitioner,
    /// Assigned through a role at the organization that manages the patient, or by a
    /// record of ours with a first and a last day.
    Assignment,
    /// The patient.
    SelfPatient,
    /// The patient whom the app was launched for, whoever uses it. Scopes go by it;
    /// policies never see it, so it opens nothing by itself.
    Launch,
    /// Stands in for the patient: a personal representative or a caregiver whose grant
    /// is in force (164.502(g)).
    Proxy,
    /// A proxy whose grant names what is specially protected too.
    ProxyProtected,
    /// Of the patient's household: nobody looks at those through their job.
    Household,
    /// Of the Part 2 program that treats the patient, and has need of the record for that
    /// (42 CFR 2.12(c)(3)).
    Program,
    /// Holds a break-glass grant for the patient that is in force.
    BreakGlass,
}

impl Relationship {
    /// All relationships.
    pub const ALL: [Relationship; 12] = [
        Relationship::CareTeam,
        Relationship::Encounter,
        Relationship::Appointment,
        Relationship::GeneralPractitioner,
        Relationship::Assignment,
        Relationship::SelfPatient,
        Relationship::Launch,
        Relationship::Proxy,
        Relationship::ProxyProtected,
        Relationship::Household,
        Relationship::Program,
        Relationship::BreakGlass,
    ];

    /// Those that policies go by.
    pub fn of_policies() -> impl Iterator<Item = Relationship> {
        Self::ALL.into_iter().filter(|r| *r != Relationship::Launch)
    }

    /// The name that policies use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Relationship::CareTeam => "CareTeam",
            Relationship::Encounter => "Encounter",
            Relationship::Appointment => "Appointment",
            Relationship::GeneralPractitioner => "GeneralPractitioner",
            Relationship::Assignment => "Assignment",
            Relationship::SelfPatient => "SelfPatient",
            Relationship::Launch => "Launch",
            Relationship::Proxy => "Proxy",
            Relationship::ProxyProtected => "ProxyProtected",
            Relationship::Household => "Household",
            Relationship::Program => "Program",
            Relationship::BreakGlass => "BreakGlass",
        }
    }
}

impl fmt::Display for Relationship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of relationships. For a record about several patients: the relationships
/// that hold with every one of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelationshipSet(u16);

impl RelationshipSet {
    /// No relationship.
    pub const NONE: RelationshipSet = RelationshipSet(0);
    /// Every relationship.
    pub const ALL: RelationshipSet = RelationshipSet(0xfff);
    /// Those because of which a job role sees less, not more: nobody looks at themselves
    /// or their own through their job.
    pub const OWN: RelationshipSet =
        RelationshipSet::of(Relationship::SelfPatient).with(Relationship::Household);

    /// The set with exactly one relationship.
    #[must_use]
    pub const fn of(r: Relationship) -> Self {
        RelationshipSet(1 << r as u8)
    }

    /// This set with `r` added.
    #[must_use]
    pub const fn with(self, r: Relationship) -> Self {
        RelationshipSet(self.0 | 1 << r as u8)
    }

    /// This set with `r` taken out.
    #[must_use]
    pub const fn without(self, r: Relationship) -> Self {
        RelationshipSet(self.0 & !(1 << r as u8))
    }

    /// Relationships in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        RelationshipSet(self.0 | other.0)
    }

    /// Relationships in this set and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        RelationshipSet(self.0 & !other.0)
    }

    /// Relationships in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        RelationshipSet(self.0 & other.0)
    }

    /// Whether `r` is in the set.
    #[must_use]
    pub const fn has(self, r: Relationship) -> bool {
        self.0 & (1 << r as u8) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The relationships in the set.
    pub fn iter(self) -> impl Iterator<Item = Relationship> {
        Relationship::ALL.into_iter().filter(move |r| self.has(*r))
    }

    /// The set as bits, bit n for relationship number n.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set from bits; bits that no relationship has are dropped.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        RelationshipSet(bits & Self::ALL.0)
    }
}

impl FromIterator<Relationship> for RelationshipSet {
    fn from_iter<I: IntoIterator<Item = Relationship>>(iter: I) -> Self {
        iter.into_iter().fold(RelationshipSet::NONE, RelationshipSet::with)
    }
}

impl fmt::Debug for RelationshipSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_every_relationship_and_nothing_else() {
        assert_eq!(
            Relationship::ALL.into_iter().collect::<RelationshipSet>(),
            RelationshipSet::ALL
        );
        assert_eq!(RelationshipSet::from_bits(0xffff), RelationshipSet::ALL);
        for (i, r) in Relationship::ALL.into_iter().enumerate() {
            assert_eq!(r as usize, i);
            assert!(!RelationshipSet::ALL.without(r).has(r));
        }
    }
}
