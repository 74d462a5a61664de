//! Sessions: tokens that are issued for an account and a purpose, and log-ins of people.
//! Both are looked up at every request.
//!
//! A token is for the header of a program's requests and opens no page; a log-in lives in
//! a browser's cookie, is bound to that browser, and opens no FHIR base. A log-in is never
//! changed: whenever more was proven, it is replaced by another one, so that a cookie that
//! somebody planted or saw before is worth nothing after.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use phial_base::{Purpose, Subject, SubjectId, TenantId};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use phial_store::sessions::{Issued, Login, NewSession, SessionRow, Sessions};

use crate::account::Accounts;
use crate::error::Error;

/// How long a session lasts (164.312(a)(2)(iii)).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Ends after so long without use.
    pub idle: SignedDuration,
    /// The same for holders of these roles; the shortest of an account's roles counts.
    pub idle_by_role: BTreeMap<String, SignedDuration>,
    /// Ends so long after it began.
    pub absolute: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            idle: SignedDuration::from_mins(15),
            idle_by_role: BTreeMap::new(),
            absolute: SignedDuration::from_hours(12),
        }
    }
}

impl Limits {
    /// After how long without use a session of an account with these roles ends.
    #[must_use]
    pub fn idle_of(&self, roles: &[String]) -> SignedDuration {
        let of_roles = roles.iter().filter_map(|r| self.idle_by_role.get(r)).min();
        of_roles.copied().unwrap_or(self.idle)
    }
}

/// What a log-in showed.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The browser that it is bound to.
    pub browser: String,
    /// Which factors: `password totp`.
    pub how: String,
    /// 1 for one factor, 2 for two.
    pub mfa: u8,
    /// The invitation that it came by, while first factors are being set.
    pub invitation: Option<String>,
    /// When it was shown, if that was before: to somebody else who vouches for it now.
    pub proven: Option<Timestamp>,
}

/// A person who is logged in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who, with the roles of this moment. `mfa` is 1 while a second factor is missing;
    /// such a subject sees no record and manages nothing.
    pub subject: Arc<Subject>,
    /// The session.
    pub session: Arc<SessionRow>,
    /// What the log-in is.
    pub login: Login,
}

impl Person {
    /// The handle that the log-in began as: what hangs on it goes on when a fresh proof puts
    /// another session in its place.
    #[must_use]
    pub fn began_as(&self) -> &str {
        self.login.first.as_deref().unwrap_or(&self.session.handle)
    }

    /// Whether the person proved to be who he is so recently.
    #[must_use]
    pub fn proven_within(&self, age: SignedDuration, now: Timestamp) -> bool {
        now.duration_since(self.login.proven) < age
    }
}

/// For so long the second factor is waited for.
const HALF: SignedDuration = SignedDuration::from_mins(10);
/// For so long first factors may be set, once an invitation was opened.
const FIRST: SignedDuration = SignedDuration::from_hours(1);

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
        let limits = self.limits();
        let new = NewSession {
            tenant: tenant.clone(),
            user: user.clone(),
            purpose,
            mfa: 0,
            login: None,
            idle: limits.idle_of(&account.roles),
            absolute: limits.absolute,
        };
        Ok((self.sessions.issue(&new, now)?, purpose))
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a log-in of an account that showed so much, for the first purpose of its
    /// roles. What it replaces, if anything, ends; its absolute end is inherited.
    ///
    /// # Errors
    /// [`Error::NoAccount`], or a store's.
    #[expect(clippy::too_many_arguments, reason = "the parts of one log-in")]
    pub fn log_in(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        user: &SubjectId,
        shown: &Shown,
        instead_of: Option<&SessionRow>,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let account = Accounts::new(control, policy)
            .find(user)?
            .filter(|a| a.active)
            .ok_or(Error::NoAccount)?;
        let limits = self.limits();
        let purpose = policy
            .roles()
            .filter(|r| account.roles.iter().any(|held| *held == *r.name))
            .find_map(|r| r.purposes.first().copied())
            .ok_or_else(|| Error::Purpose("any".to_owned(), "none".to_owned()))?;
        let absolute = match (shown.mfa, &shown.invitation) {
            // Half a log-in is for the page that asks for the other half.
            (1, None) => HALF,
            (1, Some(_)) => FIRST,
            _ => instead_of
                .filter(|old| old.mfa == shown.mfa)
                .map(|old| old.expires.duration_since(now))
                .filter(|left| *left > SignedDuration::ZERO)
                .unwrap_or(limits.absolute),
        };
        let new = NewSession {
            tenant: tenant.clone(),
            user: user.clone(),
            purpose,
            mfa: shown.mfa,
            login: Some(Login {
                browser: shown.browser.clone(),
                how: shown.how.clone(),
                proven: shown.proven.map_or(now, |at| at.min(now)),
                invitation: shown.invitation.clone(),
                first: instead_of
                    .filter(|old| old.user == *user && old.mfa == shown.mfa)
                    .and_then(|old| Some((old.login.as_ref()?, &old.handle)))
                    .map(|(login, handle)| login.first.clone().unwrap_or(handle.clone())),
            }),
            idle: limits.idle_of(&account.roles),
            absolute,
        };
        let issued = self.sessions.issue(&new, now)?;
        if let Some(old) = instead_of {
            self.sessions.revoke(tenant, &old.handle, now)?;
        }
        Ok(issued)
    }

    /// Who is logged in with this cookie, at this browser. `None` when the session is no
    /// log-in, is over, belongs to another tenant or browser, or the account is not active.
    ///
    /// # Errors
    /// A store's: nobody can be recognised then.
    pub fn logged_in(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        cookie: &str,
        browser: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Person>, Error> {
        let Some(session) = self.sessions.lookup(cookie, now)? else { return Ok(None) };
        let Some(login) = session.login.clone() else { return Ok(None) };
        if session.tenant != *tenant || browser != Some(login.browser.as_str()) {
            return Ok(None);
        }
        let subject = self.subject(control, policy, &session)?;
        Ok(subject.map(|subject| Person { subject, session, login }))
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
        if session.tenant != *tenant || session.login.is_some() {
            return Ok(None);
        }
        self.subject(control, policy, &session)
    }

    /// Who holds a living session, with the roles of this moment; `None` when the account
    /// is not active.
    fn subject(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        session: &Arc<SessionRow>,
    ) -> Result<Option<Arc<Subject>>, Error> {
        // Asked at each request, so that any change of any account is seen by it. What
        // follows depends on nothing but the session and the log at this version.
        let version = control.version()?;
        if let Some(known) = self.known().get(&session.handle)
            && Arc::ptr_eq(&known.session, session)
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
        let found =
            Known { control: version, subject: Arc::clone(&subject), session: Arc::clone(session) };
        known.insert(found.session.handle.clone(), found);
        Ok(Some(subject))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
