//! What a subject may want to do: FHIR's interactions and a few of our own.

use std::fmt;

use phial_base::Scopes;
use phial_base::scope::Letters;

/// Something that a policy permits or forbids.
///
/// The numbers are written into nothing; the names are what policies, `roles.toml`
/// and audit entries use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// FHIR `read`: the current version of one record.
    Read,
    /// FHIR `vread`: one named version.
    Vread,
    /// FHIR `search-type`, compartment search and includes.
    Search,
    /// FHIR `history-instance`: the versions of one record.
    History,
    /// FHIR `create`, and the first version made by an update.
    Create,
    /// FHIR `update`: the whole record is replaced.
    Update,
    /// FHIR `patch`: named parts are replaced, the others carried over unopened.
    Patch,
    /// FHIR `delete`: the record is marked as deleted; versions stay.
    Delete,
    /// Bulk export of records.
    Export,
    /// FHIR `transaction` and `batch`: sending a bundle. Each entry is decided by itself.
    Transaction,
    /// Reading the audit log.
    ReadAudit,
    /// Checking the stores against the audit log.
    Verify,
    /// Adding and changing accounts.
    ManageUsers,
    /// Rotating and destroying keys.
    ManageKeys,
    /// Starting an import. Each record is decided by itself.
    Import,
    /// Keeping the register of vendors and their agreements.
    ManageVendors,
    /// Looking at jobs and ending them, whoever asked for them.
    ManageJobs,
    /// Asking for sight of one patient's records in an emergency (164.312(a)(2)(ii)).
    BreakGlass,
    /// Writing down who is assigned to, stands in for or is of the household of which
    /// patient, and restrictions that were agreed to (164.522(a)).
    ManageAccess,
    /// Seeing alerts, signing reviews of emergency access, and letting somebody read more
    /// than their cap.
    ReviewAccess,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 20] = [
        Action::Read,
        Action::Vread,
        Action::Search,
        Action::History,
        Action::Create,
        Action::Update,
        Action::Patch,
        Action::Delete,
        Action::Export,
        Action::Transaction,
        Action::ReadAudit,
        Action::Verify,
        Action::ManageUsers,
        Action::ManageKeys,
        Action::Import,
        Action::ManageVendors,
        Action::ManageJobs,
        Action::BreakGlass,
        Action::ManageAccess,
        Action::ReviewAccess,
    ];

    /// The name: FHIR's code for its interactions
    /// (<https://hl7.org/fhir/R4/valueset-type-restful-interaction.html>), ours otherwise.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Vread => "vread",
            Action::Search => "search-type",
            Action::History => "history-instance",
            Action::Create => "create",
            Action::Update => "update",
            Action::Patch => "patch",
            Action::Delete => "delete",
            Action::Export => "export",
            Action::Transaction => "transaction",
            Action::ReadAudit => "read-audit",
            Action::Verify => "verify",
            Action::ManageUsers => "manage-users",
            Action::ManageKeys => "manage-keys",
            Action::Import => "import",
            Action::ManageVendors => "manage-vendors",
            Action::ManageJobs => "manage-jobs",
            Action::BreakGlass => "break-glass",
            Action::ManageAccess => "manage-access",
            Action::ReviewAccess => "review-access",
        }
    }

    /// The action with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The letters of a scope that an app needs for it, all of them; none for what no
    /// scope gives.
    #[must_use]
    pub const fn letters(self) -> Letters {
        match self {
            Action::Read | Action::Vread | Action::History => Letters::R,
            Action::Search => Letters::S,
            Action::Export => Letters::R.or(Letters::S),
            Action::Create => Letters::C,
            Action::Update | Action::Patch => Letters::U,
            Action::Delete => Letters::D,
            _ => Letters::NONE,
        }
    }

    /// Whether an app with these scopes may begin it, where it is not about one record:
    /// each record in it is decided by itself.
    #[must_use]
    pub fn begun_with(self, scopes: &Scopes) -> bool {
        let writes = Letters::C.or(Letters::U).or(Letters::D);
        match self {
            Action::Transaction => scopes.ever(writes.or(Letters::R).or(Letters::S)),
            Action::Import => scopes.ever(Letters::C) && scopes.ever(Letters::U),
            _ => self.letters().each().all(|l| scopes.ever(l)) && !self.letters().is_empty(),
        }
    }

    /// Whether the action is about one record. The others are asked with
    /// [`PolicySet::allows`](crate::PolicySet::allows).
    #[must_use]
    pub const fn on_records(self) -> bool {
        self.reads() || self.writes()
    }

    /// Whether the action only shows a record.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(
            self,
            Action::Read | Action::Vread | Action::Search | Action::History | Action::Export
        )
    }

    /// Whether the action changes a record.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Action::Create | Action::Update | Action::Patch | Action::Delete)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_positions_are_numbers() {
        for (i, a) in Action::ALL.into_iter().enumerate() {
            assert_eq!(a as usize, i);
            assert_eq!(Action::from_name(a.name()), Some(a));
            assert!(!(a.reads() && a.writes()));
        }
        assert_eq!(Action::from_name("search"), None);
    }
}
