//! Tokens: issued for an account and a purpose, looked up at every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use phial_base::{Purpose, Subject, SubjectId, TenantId};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use phial_store::sessions::{Issued, NewSession, SessionRow, Sessions};

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

/// Subjects remembered between requests.
const REMEMBERED: usize = 10_000;

/// Who a session's holder was found to be.
struct Known {
    /// As it was found; another row, even an equal one, is looked at anew.
    session: Arc<SessionRow>,
    /// How many versions the control log held then.
    control: u64,
    subject: Arc<Subject>,
}

/// Issues and recognises tokens.
pub struct Tokens {
    sessions: Sessions,
    limits: RwLock<Limits>,
    known: Mutex<HashMap<String, Known>>,
}

impl Tokens {
    /// Tokens kept in this store, with these limits.
    #[must_use]
    pub fn new(sessions: Sessions, limits: Limits) -> Self {
        Tokens { sessions, limits: RwLock::new(limits), known: Mutex::new(HashMap::new()) }
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
    ) -> Result<Option<Arc<Subject>>, Error> {
        let Some(session) = self.sessions.lookup(token, now)? else { return Ok(None) };
        if session.tenant != *tenant {
            return Ok(None);
        }
        // Asked at each request, so that any change of any account is seen by it. What
        // follows depends on nothing but the session and the log at this version.
        let version = control.version()?;
        if let Some(known) = self.known().get(&session.handle)
            && Arc::ptr_eq(&known.session, &session)
            && known.control == version
        {
            return Ok(Some(Arc::clone(&known.subject)));
        }
        let accounts = Accounts::new(control, policy);
        let Some(account) = accounts.find(&session.user)?.filter(|a| a.active) else {
            return Ok(None);
        };
        let subject = Arc::new(Subject {
            tenant: session.tenant.clone(),
            practitioner: account.practitioner_id(),
            patient: account.patient_id(),
            id: account.id,
            roles: account.roles,
            unit: account.unit,
            purpose: session.purpose,
            mfa: session.mfa,
            session: Some(session.handle.clone()),
            client: None,
            scopes: None,
        });
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let found = Known { control: version, subject: Arc::clone(&subject), session };
        known.insert(found.session.handle.clone(), found);
        Ok(Some(subject))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
