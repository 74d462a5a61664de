//! Permits and denials. A [`Permit`] is proof that policy said yes to one version
//! of one record; only [`PolicySet::decide`](crate::PolicySet::decide) makes one,
//! and it can't be copied, so it covers one use.

use std::sync::Arc;

use phial_base::{ClassSet, Purpose, RowId, SubjectId, TenantId, Version};

use crate::{Action, Facts, Mask, ObligationSet, RecordRef};

/// Policy said yes: this subject may do this to this version of this record, as
/// far as these classes.
#[derive(Debug)]
#[must_use = "a permit that nothing uses was not needed"]
pub struct Permit {
    tenant: TenantId,
    subject: SubjectId,
    purpose: Purpose,
    record: RecordRef,
    action: Action,
    mask: Mask,
    policy_hash: [u8; 32],
}

impl Permit {
    // INVARIANT: called by `PolicySet::decide` alone, after it held the mask against
    // the record's facts.
    pub(crate) fn mint(
        subject: &phial_base::Subject,
        record: RecordRef,
        action: Action,
        mask: Mask,
        policy_hash: [u8; 32],
    ) -> Self {
        Permit {
            tenant: subject.tenant.clone(),
            subject: subject.id.clone(),
            purpose: subject.purpose,
            record,
            action,
            mask,
            policy_hash,
        }
    }

    /// The tenant whose record it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The account that was permitted.
    #[must_use]
    pub fn subject(&self) -> &SubjectId {
        &self.subject
    }

    /// The purpose for which it was permitted.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The record.
    #[must_use]
    pub fn row(&self) -> RowId {
        self.record.row
    }

    /// The record's version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record.version
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The classes permitted, whether or not the record has them.
    #[must_use]
    pub fn classes(&self) -> ClassSet {
        self.mask.classes
    }

    /// Classes of the record that the permit gives.
    #[must_use]
    pub fn given(&self, facts: &Facts) -> ClassSet {
        facts.classes.and(self.mask.classes)
    }

    /// Classes of the record that the permit does not give.
    #[must_use]
    pub fn withheld(&self, facts: &Facts) -> ClassSet {
        facts.classes.minus(self.mask.classes)
    }

    /// Duties that come with it.
    #[must_use]
    pub fn obligations(&self) -> ObligationSet {
        self.mask.obligations
    }

    /// Ids of the policies that determined it, sorted.
    #[must_use]
    pub fn policies(&self) -> &Arc<[Arc<str>]> {
        &self.mask.policies
    }

    /// The hash of the policy set that said yes.
    #[must_use]
    pub fn policy_hash(&self) -> &[u8; 32] {
        &self.policy_hash
    }
}

/// Why policy said no. Goes into the audit log, never to the caller, to whom a
/// denied record looks absent (invariant 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// None of the subject's roles is known.
    NoRole,
    /// No known role of the subject may claim the purpose.
    Purpose,
    /// No role that may claim the purpose may do the action, or the action is not
    /// about records.
    Action,
    /// The resource type is not one that the policies know.
    ResourceType,
    /// The record carries a label that nobody knows.
    UnknownLabel,
    /// A forbid took away what a permit had given.
    Forbidden,
    /// No permit applies.
    NotPermitted,
    /// A write touches classes that the subject may not see.
    ClassesWithheld,
    /// A policy failed to evaluate.
    EvaluationFailed,
    /// The app's scopes do not reach the record.
    Scope,
}

impl DenialReason {
    /// The name that audit entries use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DenialReason::NoRole => "no-role",
            DenialReason::Purpose => "purpose",
            DenialReason::Action => "action",
            DenialReason::ResourceType => "resource-type",
            DenialReason::UnknownLabel => "unknown-label",
            DenialReason::Forbidden => "forbidden",
            DenialReason::NotPermitted => "not-permitted",
            DenialReason::ClassesWithheld => "classes-withheld",
            DenialReason::EvaluationFailed => "evaluation-failed",
            DenialReason::Scope => "scope",
        }
    }
}

/// Policy said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: DenialReason,
    /// Ids of the policies that were satisfied, permits and forbids, sorted.
    pub policies: Arc<[Arc<str>]>,
}
