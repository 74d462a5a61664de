//! Tokens: issued for an account and a purpose, looked up at every request.

use std::sync::{PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use phial_base::{Purpose, Subject, SubjectId, TenantId};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use phial_store::sessions::{Issued, NewSession, Sessions};

use crate::account::Accounts;
use crate::error::Error;

/// How long a session lasts (164.312(a)(2)(iii)).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Ends after so long without use.
    pub idle: SignedDuration,
    /// Ends so long after it began.
    pub absolute: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { idle: SignedDuration::from_mins(15), absolute: SignedDuration::from_hours(12) }
    }
}

/// Issues and recognises tokens.
pub struct Tokens {
    sessions: Sessions,
    limits: RwLock<Limits>,
}

impl Tokens {
    /// Tokens kept in this store, with these limits.
    #[must_use]
    pub fn new(sessions: Sessions, limits: Limits) -> Self {
        Tokens { sessions, limits: RwLock::new(limits) }
    }

    /// Other limits, for tokens issued from now on.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// The store beneath.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Makes a token for `user`, acting for `purpose`, or for the first purpose that
    /// the account's roles may claim.
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::Purpose`], or a store's.
    pub fn issue(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        user: &SubjectId,
        purpose: Option<Purpose>,
        now: Timestamp,
    ) -> Result<(Issued, Purpose), Error> {
        let account = Accounts::new(control, policy)
            .find(user)?
            .filter(|a| a.active)
            .ok_or(Error::NoAccount)?;
        let allowed: Vec<Purpose> = policy
            .roles()
            .filter(|r| account.roles.iter().any(|held| *held == *r.name))
            .flat_map(|r| r.purposes.iter().copied())
            .collect();
        let list = || allowed.iter().map(|p| p.code()).collect::<Vec<_>>().join(", ");
        let purpose = match purpose {
            Some(p) if allowed.contains(&p) => p,
            Some(p) => return Err(Error::Purpose(p.code().to_owned(), list())),
            None => *allowed
                .first()
                .ok_or_else(|| Error::Purpose("any".to_owned(), "none".to_owned()))?,
        };
        let limits = *self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let new = NewSession {
            tenant: tenant.clone(),
            user: user.clone(),
            purpose,
            mfa: 0,
            idle: limits.idle,
            absolute: limits.absolute,
        };
        Ok((self.sessions.issue(&new, now)?, purpose))
    }

    /// Who holds this token, if it is alive, belongs to `tenant`, and the account is
    /// active. Roles are those of this moment.
    ///
    /// # Errors
    /// A store's: nobody can be recognised then.
    pub fn recognise(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Subject>, Error> {
        let Some(session) = self.sessions.lookup(token, now)? else { return Ok(None) };
        if session.tenant != *tenant {
            return Ok(None);
        }
        let accounts = Accounts::new(control, policy);
        let Some(account) = accounts.find(&session.user)?.filter(|a| a.active) else {
            return Ok(None);
        };
        Ok(Some(Subject {
            tenant: session.tenant,
            practitioner: account.practitioner_id(),
            patient: account.patient_id(),
            id: account.id,
            roles: account.roles,
            unit: account.unit,
            purpose: session.purpose,
            mfa: session.mfa,
            session: Some(session.handle),
        }))
    }
}
