//! How everybody stands, out of the control log: ties and break-glass grants by account,
//! restrictions by patient. Made anew when the control log has other versions of them,
//! so a grant begins and ends at once everywhere.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use phial_base::{ClassSet, LogicalId, SubjectId};
use phial_policy::{Relationship, RelationshipSet};
use phial_store::Error as StoreError;
use phial_store::control::ControlLog;

use super::cap::{self, Leave};
use super::consent::Directives;
use super::glass::{self, Grant};
use super::restriction::{self, Restriction};
use super::tie::{self, Kind, Tie};
use crate::gate::Tenant;

/// The kinds of control records that this is made from.
pub(crate) const KINDS: [&str; 4] = [tie::KIND, glass::KIND, restriction::KIND, cap::KIND];

/// What ties an account to one patient at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) relationships: RelationshipSet,
    pub(crate) scope: ClassSet,
}

impl Default for Found {
    fn default() -> Self {
        Found { relationships: RelationshipSet::NONE, scope: ClassSet::ALL }
    }
}

/// One tie, for a time.
struct Timed {
    relationships: RelationshipSet,
    scope: ClassSet,
    from: Timestamp,
    until: Option<Timestamp>,
    /// The break-glass grant that it is.
    grant: Option<String>,
}

impl Timed {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// What was written down of one account.
#[derive(Default)]
pub(crate) struct Own {
    by_patient: HashMap<LogicalId, Vec<Timed>>,
}

impl Own {
    /// What holds with a patient at a moment. Several grants of a proxy reach what each of
    /// them reaches.
    pub(crate) fn tie(&self, patient: &LogicalId, at: Timestamp) -> Found {
        let mut found = Found::default();
        let mut reach: Option<ClassSet> = None;
        for tie in self.by_patient.get(patient).into_iter().flatten().filter(|t| t.holds(at)) {
            found.relationships = found.relationships.or(tie.relationships);
            if tie.relationships.has(Relationship::Proxy) {
                reach = Some(reach.map_or(tie.scope, |r| r.or(tie.scope)));
            }
        }
        found.scope = reach.unwrap_or(ClassSet::ALL);
        found
    }

    /// The break-glass grants that hold with a patient at a moment, by name.
    pub(crate) fn grants(&self, patient: &LogicalId, at: Timestamp) -> impl Iterator<Item = &str> {
        let all = self.by_patient.get(patient).into_iter().flatten();
        all.filter(move |t| t.holds(at)).filter_map(|t| t.grant.as_deref())
    }
}

/// How everybody stands.
#[derive(Default)]
pub(crate) struct Standing {
    own: HashMap<SubjectId, Own>,
    restricted: HashMap<LogicalId, Vec<Arc<Directives>>>,
    leaves: HashMap<SubjectId, Vec<Leave>>,
}

impl Standing {
    pub(crate) fn read(control: &ControlLog) -> Result<Self, StoreError> {
        let mut standing = Standing::default();
        let mut add = |account: SubjectId, patient: LogicalId, timed: Timed| {
            let own = standing.own.entry(account).or_default();
            own.by_patient.entry(patient).or_default().push(timed);
        };
        for Tie { subject, patient, kind, protected, classes, from, until, .. } in
            tie::all(control)?
        {
            let mut relationships = RelationshipSet::of(kind.relationship());
            if kind == Kind::Proxy && protected {
                relationships = relationships.with(Relationship::ProxyProtected);
            }
            let scope = match classes {
                Some(names) => names.into_iter().collect(),
                None => ClassSet::ALL,
            };
            add(subject, patient, Timed { relationships, scope, from, until, grant: None });
        }
        for grant in glass::all(control)? {
            let until = Some(grant.ends());
            let Grant { id, subject, patient, from, .. } = grant;
            let relationships = RelationshipSet::of(Relationship::BreakGlass);
            let (scope, grant) = (ClassSet::ALL, Some(id));
            add(subject, patient, Timed { relationships, scope, from, until, grant });
        }
        for r in restriction::all(control)? {
            let Restriction { patient, .. } = &r;
            let of = standing.restricted.entry(patient.clone()).or_default();
            of.push(Arc::new(r.directives()));
        }
        for leave in cap::all(control)? {
            standing.leaves.entry(leave.subject.clone()).or_default().push(leave);
        }
        Ok(standing)
    }

    /// How many patients an account may read by leave, when it has one.
    pub(crate) fn leave(&self, account: &SubjectId, at: Timestamp) -> Option<u32> {
        let all = self.leaves.get(account).into_iter().flatten();
        all.filter(|l| l.holds(at)).map(|l| l.patients).max()
    }

    /// What was written down of an account; `None` when nothing was.
    pub(crate) fn of(&self, account: &SubjectId) -> Option<&Own> {
        self.own.get(account)
    }

    /// Whether there is any restriction.
    pub(crate) fn restricts(&self) -> bool {
        !self.restricted.is_empty()
    }

    /// The restrictions that were agreed to for a patient.
    pub(crate) fn restrictions(&self, patient: &LogicalId) -> Vec<Arc<Directives>> {
        self.restricted.get(patient).cloned().unwrap_or_default()
    }
}

impl Tenant {
    /// How everybody stands now.
    pub(crate) fn standing(&self) -> Result<Arc<Standing>, StoreError> {
        let control = self.vessel.control();
        let now = control.changed(&KINDS)?;
        let mut kept = self.kept_standing();
        if let Some((at, standing)) = &*kept
            && *at == now
        {
            return Ok(Arc::clone(standing));
        }
        // What is written between the two looks makes the number another one at the next.
        let standing = Arc::new(Standing::read(control)?);
        *kept = Some((now, Arc::clone(&standing)));
        Ok(standing)
    }
}
