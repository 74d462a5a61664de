//! Data classes: the kinds of PHI that a role may or may not see (design §5).

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the twelve data classes. A record is sealed in one segment per class
/// that occurs in it, so that a class outside a permit is never decrypted.
///
/// The numbers are part of the sealed format: never reorder, only append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum DataClass {
    /// Resource type, id, meta, status, and the references that hold a record together.
    Administrative = 0,
    /// Name, birth date, gender, photo, race and ethnicity, language, marital status.
    Demographic = 1,
    /// Addresses and telecoms.
    Contact = 2,
    /// Business identifiers: medical record number, account, claim number.
    Identifier = 3,
    /// Identifiers issued by a government: SSN, driver's licence, passport.
    GovernmentIdentifier = 4,
    /// Money: prices, payments, coverage, adjudication.
    Financial = 5,
    /// Appointments, slots, times and places of visits.
    Scheduling = 6,
    /// Diagnoses, procedures, allergies, care plans, findings.
    Clinical = 7,
    /// Medicines and immunizations.
    Medication = 8,
    /// Laboratory and measured results.
    Laboratory = 9,
    /// Free text: narratives, annotations, comments.
    Notes = 10,
    /// Attachments and binaries.
    Attachment = 11,
}

/// A name or number that is no data class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a data class")]
pub struct UnknownClass;

impl DataClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [DataClass; 12] = [
        DataClass::Administrative,
        DataClass::Demographic,
        DataClass::Contact,
        DataClass::Identifier,
        DataClass::GovernmentIdentifier,
        DataClass::Financial,
        DataClass::Scheduling,
        DataClass::Clinical,
        DataClass::Medication,
        DataClass::Laboratory,
        DataClass::Notes,
        DataClass::Attachment,
    ];

    /// The kebab-case name used in policies, audit entries and the class map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DataClass::Administrative => "administrative",
            DataClass::Demographic => "demographic",
            DataClass::Contact => "contact",
            DataClass::Identifier => "identifier",
            DataClass::GovernmentIdentifier => "government-identifier",
            DataClass::Financial => "financial",
            DataClass::Scheduling => "scheduling",
            DataClass::Clinical => "clinical",
            DataClass::Medication => "medication",
            DataClass::Laboratory => "laboratory",
            DataClass::Notes => "notes",
            DataClass::Attachment => "attachment",
        }
    }

    /// The class with this number.
    ///
    /// # Errors
    /// [`UnknownClass`] for a number that no class has.
    pub fn from_number(n: u8) -> Result<Self, UnknownClass> {
        Self::ALL.get(usize::from(n)).copied().ok_or(UnknownClass)
    }

    /// The class with this kebab-case name.
    ///
    /// # Errors
    /// [`UnknownClass`] for a name that no class has.
    pub fn from_name(name: &str) -> Result<Self, UnknownClass> {
        Self::ALL.into_iter().find(|c| c.name() == name).ok_or(UnknownClass)
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of data classes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassSet(u16);

impl ClassSet {
    /// The empty set.
    pub const NONE: ClassSet = ClassSet(0);
    /// Every class.
    pub const ALL: ClassSet = ClassSet(0x0fff);

    /// The set with exactly one class.
    #[must_use]
    pub const fn of(class: DataClass) -> Self {
        ClassSet(1 << class as u16)
    }

    /// This set with `class` added.
    #[must_use]
    pub const fn with(self, class: DataClass) -> Self {
        ClassSet(self.0 | 1 << class as u16)
    }

    /// Classes in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        ClassSet(self.0 | other.0)
    }

    /// Classes in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        ClassSet(self.0 & other.0)
    }

    /// Classes in this set and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        ClassSet(self.0 & !other.0)
    }

    /// Whether `class` is in the set.
    #[must_use]
    pub const fn has(self, class: DataClass) -> bool {
        self.0 & (1 << class as u16) != 0
    }

    /// Whether every class of `other` is in this set.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The classes in the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = DataClass> {
        DataClass::ALL.into_iter().filter(move |c| self.has(*c))
    }

    /// The set as bits, bit n for class number n.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set from bits; bits that no class has are dropped.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        ClassSet(bits & Self::ALL.0)
    }
}

impl FromIterator<DataClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = DataClass>>(iter: I) -> Self {
        iter.into_iter().fold(ClassSet::NONE, ClassSet::with)
    }
}

impl fmt::Debug for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(DataClass::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_round_trip() {
        for (i, c) in DataClass::ALL.into_iter().enumerate() {
            assert_eq!(c as usize, i);
            assert_eq!(DataClass::from_number(c as u8), Ok(c));
            assert_eq!(DataClass::from_name(c.name()), Ok(c));
        }
        assert_eq!(DataClass::from_number(12), Err(UnknownClass));
        assert_eq!(DataClass::ALL.into_iter().collect::<ClassSet>(), ClassSet::ALL);
    }

    #[test]
    fn a_set_covers_its_parts_only() {
        let s = ClassSet::of(DataClass::Notes).with(DataClass::Clinical);
        assert!(s.covers(ClassSet::of(DataClass::Notes)));
        assert!(!s.covers(ClassSet::of(DataClass::Contact)));
        assert!(s.minus(ClassSet::of(DataClass::Notes)).has(DataClass::Clinical));
    }
}
