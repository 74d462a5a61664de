//! The tickets of apps and services: given, recognised, withdrawn.
//!
//! An access token is opaque: what it stands for is looked up at each use, so that
//! whatever ends (the token, its app, its account, its user's word) ends at once. It
//! carries no role: roles are those of the moment, and scopes only narrow them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use phial_base::{LogicalId, Purpose, Subject, SubjectId, TenantId};
use phial_crypto::{constant_time_eq, sha256};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use phial_store::sessions::Issued;
use phial_store::tickets::{NewTicket, Taken, Ticket, TicketKind, Tickets, Which};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::client::{Client, ClientKind, Clients};
use super::refused::{self, Refused};
use super::wanted::{Special, Wanted};
use crate::account::Accounts;
use crate::error::Error;

/// Subjects remembered between requests.
const REMEMBERED: usize = 10_000;

/// How long tickets live.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// A code.
    pub code: SignedDuration,
    /// An app's access token.
    pub access: SignedDuration,
    /// A service's access token.
    pub service: SignedDuration,
    /// A refresh token of `offline_access`.
    pub offline: SignedDuration,
    /// A refresh token of `online_access`, at the most: it ends with its session.
    pub online: SignedDuration,
    /// A launch, and a request that waits for a person's word.
    pub waiting: SignedDuration,
}

impl Default for Lives {
    fn default() -> Self {
        Lives {
            code: SignedDuration::from_secs(60),
            access: SignedDuration::from_mins(10),
            service: SignedDuration::from_mins(5),
            offline: SignedDuration::from_hours(90 * 24),
            online: SignedDuration::from_hours(12),
            waiting: SignedDuration::from_mins(10),
        }
    }
}

/// What an access or refresh token stands for. Names are part of what is sealed: only
/// append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The app or service.
    pub client: String,
    /// The account.
    pub user: SubjectId,
    /// Why.
    pub purpose: Purpose,
    /// How the user was authenticated.
    pub mfa: u8,
    /// The scopes given.
    pub scopes: String,
    /// The patient of the launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The encounter of the launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// The log-in's public handle, when the token ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When the user logged in, seconds since the epoch.
    pub at: i64,
    /// SHA-256 of the certificate that it may be used with alone, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// The app's own mark of the log-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// When the authorization ends at the latest, seconds since the epoch.
    #[serde(default)]
    pub until: i64,
    /// Whether the app is to show whose record it is (`need_patient_banner`).
    #[serde(default)]
    pub banner: bool,
}

impl Standing {
    /// The scopes, read.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        // They were read before they were given.
        Wanted::read(&self.scopes, &|_, _| true)
    }
}

/// What a code stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// What is given for it.
    pub standing: Standing,
    /// Where it was sent.
    pub redirect_uri: String,
    /// The S256 challenge (RFC 7636).
    pub challenge: String,
}

/// A request that waits for a person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The app.
    pub client: String,
    /// Whose word it waits for.
    pub user: SubjectId,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// The app's own mark of the request.
    pub state: String,
    /// The S256 challenge.
    pub challenge: String,
    /// What may be given at most.
    pub scopes: String,
    /// The app's own mark of the log-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The patient, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The encounter, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// Whether it was launched from an EHR.
    #[serde(default)]
    pub launched: bool,
    /// Whether the app is to show whose record it is.
    #[serde(default)]
    pub banner: bool,
}

/// A launch from within an EHR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The app that is launched.
    pub client: String,
    /// By whom.
    pub user: SubjectId,
    /// For which patient.
    pub patient: String,
    /// In which encounter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// Whether the app is to show whose record it is.
    pub banner: bool,
}

/// What was given.
#[derive(Debug)]
pub struct Given {
    /// The access token.
    pub access: Issued,
    /// The refresh token.
    pub refresh: Option<Issued>,
    /// What they stand for.
    pub standing: Standing,
}

/// Whether an account's log-in lives that began as the session with this handle.
pub type LogIn<'a> = &'a dyn Fn(&SubjectId, &str) -> Result<bool, Error>;

struct Known {
    ticket: Arc<Ticket>,
    /// How many versions the control log held then.
    control: u64,
    subject: Arc<Subject>,
    bound: Option<String>,
    /// The log-in that it ends with.
    session: Option<String>,
}

/// The tickets of all tenants.
pub struct Apps {
    tickets: Tickets,
    lives: Lives,
    known: Mutex<HashMap<String, Known>>,
}

fn no(why: &'static str) -> Refused {
    Refused::new(refused::Code::InvalidGrant, why)
}

fn sealed<T: Serialize>(value: &T) -> Result<Zeroizing<Vec<u8>>, Error> {
    serde_json::to_vec(value).map(Zeroizing::new).map_err(|_| Error::DamagedClient)
}

fn opened<T: DeserializeOwned>(ticket: &Ticket) -> Result<T, Error> {
    serde_json::from_slice(&ticket.content).map_err(|_| Error::DamagedClient)
}

/// Whether a code verifier is the one of the challenge (RFC 7636 section 4.6). Only S256.
fn is_verifier(verifier: &str, challenge: &str) -> bool {
    let form = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let made = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
    form && constant_time_eq(made.as_bytes(), challenge.as_bytes())
}

impl Apps {
    /// Tickets kept in this store.
    #[must_use]
    pub fn new(tickets: Tickets, lives: Lives) -> Self {
        Apps { tickets, lives, known: Mutex::new(HashMap::new()) }
    }

    /// The store beneath.
    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// How long tickets live.
    #[must_use]
    pub fn lives(&self) -> &Lives {
        &self.lives
    }

    /// Keeps a value that is taken up once: a launch, a request that waits.
    ///
    /// # Errors
    /// A store's.
    pub fn keep<T: Serialize>(
        &self,
        tenant: &TenantId,
        kind: TicketKind,
        holder: &SubjectId,
        client: &str,
        value: &T,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let new = NewTicket {
            kind,
            family: self.tickets.family(),
            holder: holder.clone(),
            client: client.to_owned(),
            content: sealed(value)?,
            life: self.lives.waiting,
        };
        Ok(self.tickets.issue(tenant, &new, now)?)
    }

    /// Looks at such a value and leaves it.
    ///
    /// # Errors
    /// A store's.
    pub fn kept<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        kind: TicketKind,
        text: &str,
        now: Timestamp,
    ) -> Result<Option<T>, Error> {
        match self.tickets.look(tenant, kind, text, now)? {
            Some(ticket) => opened(&ticket).map(Some),
            None => Ok(None),
        }
    }

    /// Takes such a value up: it is there once.
    ///
    /// # Errors
    /// A store's.
    pub fn take<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        kind: TicketKind,
        text: &str,
        now: Timestamp,
    ) -> Result<Option<T>, Error> {
        match self.tickets.exchange::<Error>(tenant, kind, text, now, |_| Ok(Vec::new()))? {
            Taken::Given(ticket, _) => opened(&ticket).map(Some),
            Taken::No | Taken::Again(_) => Ok(None),
        }
    }

    /// Gives a code.
    ///
    /// # Errors
    /// A store's.
    pub fn give_code(
        &self,
        tenant: &TenantId,
        code: &Code,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let new = NewTicket {
            kind: TicketKind::Code,
            family: self.tickets.family(),
            holder: code.standing.user.clone(),
            client: code.standing.client.clone(),
            content: sealed(code)?,
            life: self.lives.code,
        };
        Ok(self.tickets.issue(tenant, &new, now)?)
    }

    /// What is given for a code.
    ///
    /// # Errors
    /// [`Refused`]: the code is none, another's or used, the verifier or the redirect URI
    /// is another. A code that is used twice takes everything with it that was made from
    /// it (RFC 6749 section 4.1.2).
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub fn redeem(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        client: &Client,
        (code, verifier, redirect_uri): (&str, &str, &str),
        bound: Option<&str>,
        is_alive: LogIn<'_>,
        now: Timestamp,
    ) -> Result<Given, Refused> {
        let mut standing = None;
        let taken = self.tickets.exchange(tenant, TicketKind::Code, code, now, |ticket| {
            let kept: Code = opened(ticket)?;
            if kept.standing.client != client.id {
                return Err(no("the code was given to another app"));
            }
            if kept.redirect_uri != redirect_uri {
                return Err(no("the redirect URI is another than the code was sent to"));
            }
            if !is_verifier(verifier, &kept.challenge) {
                return Err(no("the code verifier is not the one of the challenge (PKCE)"));
            }
            let mut s = kept.standing;
            who(control, policy, tenant, &s)?.ok_or(no("the account may not act any more"))?;
            if !log_in_lives(&s.user, s.session.as_deref(), is_alive)? {
                return Err(no("the log-in has ended that the code hangs on"));
            }
            s.bound = bound.map(str::to_owned);
            let wanted = s.wanted();
            let life =
                if wanted.has(Special::Offline) { self.lives.offline } else { self.lives.online };
            s.until = now.checked_add(life).map_or(i64::MAX, Timestamp::as_second);
            let news = self.tokens(ticket.family, &s, now)?;
            standing = Some(s);
            Ok(news)
        })?;
        self.given(
            tenant,
            taken,
            standing,
            now,
            "the code was used before: all that was made \
            from it is withdrawn",
        )
    }

    /// The access token, and a refresh token when the scopes ask for one.
    fn tokens(
        &self,
        family: [u8; 16],
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Vec<NewTicket>, Error> {
        let wanted = standing.wanted();
        let new = |kind, life, standing: &Standing| -> Result<NewTicket, Error> {
            Ok(NewTicket {
                kind,
                family,
                holder: standing.user.clone(),
                client: standing.client.clone(),
                content: sealed(standing)?,
                life,
            })
        };
        let mut news = vec![new(TicketKind::Access, self.lives.access, standing)?];
        if wanted.has(Special::Offline) || wanted.has(Special::Online) {
            let left = SignedDuration::from_secs(standing.until - now.as_second());
            if left > SignedDuration::ZERO {
                news.push(new(TicketKind::Refresh, left, standing)?);
            }
        }
        Ok(news)
    }

    fn given(
        &self,
        tenant: &TenantId,
        taken: Taken,
        standing: Option<Standing>,
        now: Timestamp,
        again: &'static str,
    ) -> Result<Given, Refused> {
        match taken {
            Taken::Given(_, issued) => {
                let mut issued = issued.into_iter();
                let (Some(access), Some(standing)) = (issued.next(), standing) else {
                    return Err(no("nothing was given"));
                };
                Ok(Given { access, refresh: issued.next(), standing })
            }
            Taken::Again(ticket) => {
                let which = Which { family: Some(ticket.family), ..Which::default() };
                self.tickets.revoke(tenant, &which, now)?;
                Err(no(again))
            }
            Taken::No => Err(no("there is none such, or it has ended")),
        }
    }

    /// What is given for a refresh token. It is used up, and its successor is given
    /// (RFC 9700 section 4.14.2). `asked` may leave scopes out for this access token.
    ///
    /// # Errors
    /// [`Refused`], as [`Apps::redeem`].
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub fn refresh(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        client: &Client,
        token: &str,
        asked: Option<&Wanted>,
        bound: Option<&str>,
        is_alive: LogIn<'_>,
        now: Timestamp,
    ) -> Result<Given, Refused> {
        let mut standing = None;
        let taken = self.tickets.exchange(tenant, TicketKind::Refresh, token, now, |ticket| {
            let s: Standing = opened(ticket)?;
            if s.client != client.id {
                return Err(no("the refresh token was given to another app"));
            }
            if s.bound.as_deref() != bound && s.bound.is_some() {
                return Err(no("the refresh token belongs to another certificate"));
            }
            who(control, policy, tenant, &s)?.ok_or(no("the account may not act any more"))?;
            if !log_in_lives(&s.user, s.session.as_deref(), is_alive)? {
                return Err(no("the log-in has ended that the refresh token hangs on"));
            }
            let mut now_given = s.clone();
            if let Some(asked) = asked {
                if !asked.is_covered_by(&s.wanted()) {
                    return Err(Refused::new(
                        refused::Code::InvalidScope,
                        "more is asked for than was given",
                    ));
                }
                now_given.scopes = asked.to_string();
            }
            let mut news = self.tokens(ticket.family, &s, now)?;
            if let Some(access) = news.first_mut() {
                access.content = sealed(&now_given)?;
            }
            standing = Some(now_given);
            Ok(news)
        })?;
        self.given(
            tenant,
            taken,
            standing,
            now,
            "the refresh token was used before: all that was made from it is withdrawn",
        )
    }

    /// The app that a refresh token was given to, whatever has become of it since.
    ///
    /// # Errors
    /// A store's.
    pub fn given_to(&self, tenant: &TenantId, refresh: &str) -> Result<Option<String>, Error> {
        match self.tickets.known(tenant, TicketKind::Refresh, refresh)? {
            Some(ticket) => opened::<Standing>(&ticket).map(|s| Some(s.client)),
            None => Ok(None),
        }
    }

    /// An access token for a service.
    ///
    /// # Errors
    /// [`Refused`] when its account may not act; a store's.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub fn give_service(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        client: &Client,
        scopes: &Wanted,
        bound: Option<&str>,
        now: Timestamp,
    ) -> Result<Given, Refused> {
        let refuse = |why| Refused::new(refused::Code::UnauthorizedClient, why);
        let user = client.account.clone().ok_or(refuse("the client is no service"))?;
        let accounts = Accounts::new(control, policy);
        let account = accounts.find(&user).map_err(Refused::from)?.filter(|a| a.active);
        let account = account.ok_or(refuse("the service's account may not act"))?;
        let purpose = match client.purpose {
            Some(purpose) => Some(purpose),
            None => policy
                .roles()
                .find(|r| account.roles.iter().any(|held| *held == *r.name))
                .and_then(|r| r.purposes.first().copied()),
        };
        let purpose = purpose.ok_or(refuse("the service's account has no purpose"))?;
        let standing = Standing {
            client: client.id.clone(),
            user,
            purpose,
            mfa: 0,
            scopes: scopes.to_string(),
            patient: None,
            encounter: None,
            session: None,
            at: now.as_second(),
            bound: bound.map(str::to_owned),
            nonce: None,
            until: 0,
            banner: false,
        };
        who(control, policy, tenant, &standing)?
            .ok_or(refuse("the service's account may not act for its purpose"))?;
        let new = NewTicket {
            kind: TicketKind::Access,
            family: self.tickets.family(),
            holder: standing.user.clone(),
            client: client.id.clone(),
            content: sealed(&standing)?,
            life: self.lives.service,
        };
        let access = self.tickets.issue(tenant, &new, now)?;
        Ok(Given { access, refresh: None, standing })
    }

    /// Who holds this access token, and through which app. `certificate` is the SHA-256
    /// of the one that the connection was made with. A token without `offline_access` ends
    /// with its user's log-in.
    ///
    /// # Errors
    /// A store's: nobody can be recognised then.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub fn recognise(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        token: &str,
        certificate: Option<&str>,
        is_alive: LogIn<'_>,
        now: Timestamp,
    ) -> Result<Option<Arc<Subject>>, Error> {
        let Some(ticket) = self.tickets.look(tenant, TicketKind::Access, token, now)? else {
            return Ok(None);
        };
        // Asked at each request, so that any change of an account or an app is seen by it.
        let version = control.version()?;
        let fits = |bound: Option<&str>| bound.is_none() || bound == certificate;
        let known = self
            .known()
            .get(&ticket.handle)
            .filter(|k| Arc::ptr_eq(&k.ticket, &ticket) && k.control == version)
            .map(|k| (fits(k.bound.as_deref()), Arc::clone(&k.subject), k.session.clone()));
        if let Some((fit, subject, session)) = known {
            let lives = log_in_lives(&subject.id, session.as_deref(), is_alive)?;
            return Ok((fit && lives).then_some(subject));
        }
        let standing: Standing = opened(&ticket)?;
        if !log_in_lives(&standing.user, standing.session.as_deref(), is_alive)? {
            return Ok(None);
        }
        let Some(mut subject) = who(control, policy, tenant, &standing)? else { return Ok(None) };
        subject.session = Some(ticket.handle.clone());
        let subject = Arc::new(subject);
        let fit = fits(standing.bound.as_deref());
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let handle = ticket.handle.clone();
        let found = Known {
            ticket,
            control: version,
            subject: Arc::clone(&subject),
            bound: standing.bound,
            session: standing.session,
        };
        known.insert(handle, found);
        Ok(fit.then_some(subject))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a living token stands for, of either kind, for RFC 7662.
    ///
    /// # Errors
    /// A store's.
    pub fn inspect(
        &self,
        control: &ControlLog,
        policy: &PolicySet,
        tenant: &TenantId,
        token: &str,
        is_alive: LogIn<'_>,
        now: Timestamp,
    ) -> Result<Option<(Arc<Ticket>, Standing)>, Error> {
        for kind in [TicketKind::Access, TicketKind::Refresh] {
            let Some(ticket) = self.tickets.look(tenant, kind, token, now)? else { continue };
            let standing: Standing = opened(&ticket)?;
            let alive = who(control, policy, tenant, &standing)?.is_some()
                && log_in_lives(&standing.user, standing.session.as_deref(), is_alive)?;
            return Ok(alive.then_some((ticket, standing)));
        }
        Ok(None)
    }

    /// Withdraws a client's token: with a refresh token everything of its authorization,
    /// with an access token that one (RFC 7009 section 2.1). The public handle of what
    /// was withdrawn; `None` when it was none of this client's.
    ///
    /// # Errors
    /// A store's.
    pub fn revoke(
        &self,
        tenant: &TenantId,
        client: &Client,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<String>, Error> {
        for kind in [TicketKind::Access, TicketKind::Refresh] {
            let Some(ticket) = self.tickets.look(tenant, kind, token, now)? else { continue };
            let standing: Standing = opened(&ticket)?;
            if standing.client != client.id {
                return Ok(None);
            }
            let which = match kind {
                TicketKind::Access => Which { handle: Some(&ticket.handle), ..Which::default() },
                _ => Which { family: Some(ticket.family), ..Which::default() },
            };
            self.tickets.revoke(tenant, &which, now)?;
            return Ok(Some(ticket.handle.clone()));
        }
        Ok(None)
    }

    /// Withdraws everything of an account, or of an app, or of an account at an app.
    ///
    /// # Errors
    /// A store's.
    pub fn withdraw(
        &self,
        tenant: &TenantId,
        holder: Option<&SubjectId>,
        client: Option<&str>,
        now: Timestamp,
    ) -> Result<usize, Error> {
        Ok(self.tickets.revoke(tenant, &Which { holder, client, ..Which::default() }, now)?)
    }
}

/// Whether the log-in lives that a token hangs on, if it hangs on one.
fn log_in_lives(
    user: &SubjectId,
    session: Option<&str>,
    is_alive: LogIn<'_>,
) -> Result<bool, Error> {
    session.map_or(Ok(true), |session| is_alive(user, session))
}

/// Who acts by what a token stands for, with the roles of this moment: nobody once the
/// app was removed, the account suspended, or the purpose may not be claimed any more.
fn who(
    control: &ControlLog,
    policy: &PolicySet,
    tenant: &TenantId,
    standing: &Standing,
) -> Result<Option<Subject>, Error> {
    let client = Clients::new(control).find(&standing.client)?.filter(Client::may_ask);
    let Some(client) = client else { return Ok(None) };
    let service = client.kind == ClientKind::Service;
    if service && client.account.as_ref() != Some(&standing.user) {
        return Ok(None);
    }
    let accounts = Accounts::new(control, policy);
    let Some(mut subject) = accounts.acting(tenant, &standing.user, standing.purpose)? else {
        return Ok(None);
    };
    let patient = standing.patient.as_deref().and_then(|p| LogicalId::new(p).ok());
    let wanted = standing.wanted();
    subject.mfa = standing.mfa;
    subject.client = Some(standing.client.as_str().into());
    subject.scopes = Some(Arc::new(wanted.scopes(patient)));
    Ok(Some(subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_that_of_its_challenge() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(is_verifier(verifier, challenge));
        assert!(!is_verifier(challenge, challenge), "plain is not spoken here");
        assert!(!is_verifier(verifier.get(1..).unwrap(), challenge));
        assert!(!is_verifier("", ""));
    }
}
