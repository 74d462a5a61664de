//! What an account proves itself by: password, passkeys, one-time codes, recovery codes.
//!
//! One record an account in the control log, changed by compare-and-set, so that of two
//! uses of one recovery code one loses. Secrets of one-time codes are sealed once more
//! under the sessions key, and recovery codes are kept as MACs: the control log's memory
//! holds neither. What is counted (steps of codes, counters of passkeys) lies with the
//! sessions. It refuses to take away the last second factor.

use jiff::Timestamp;
use phial_base::{SubjectId, TenantId, Version};
use phial_store::control::ControlLog;
use phial_store::sessions::Sessions;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::passkey::{Passkey, encoded};
use crate::{password, totp};

const KIND: &str = "credentials";
/// How many recovery codes are given.
const CODES: usize = 10;
/// Counters of used steps are kept for longer than any step can be used again.
const KEEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(24 * 3650);

/// An authenticator app. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totp {
    /// Its own random id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was added, RFC 3339.
    pub added: String,
    /// The secret, sealed under the sessions key, base64url.
    pub secret: String,
}

/// The credentials of one account. Field names are part of the control log's content:
/// only append.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The password's PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// When it was chosen, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_since: Option<String>,
    /// Passkeys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passkeys: Vec<Passkey>,
    /// Authenticator apps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub totp: Vec<Totp>,
    /// MACs of recovery codes that were not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<String>,
}

impl Credentials {
    /// An account's, out of a control log; nothing when none were ever set.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn of(control: &ControlLog, user: &SubjectId) -> Result<Self, Error> {
        match control.get(KIND, user.as_str())? {
            None => Ok(Credentials::default()),
            Some(record) => serde_json::from_value(record.value).map_err(|_| Error::Damaged),
        }
    }

    /// Whether there is a second factor.
    #[must_use]
    pub fn has_second(&self) -> bool {
        !self.passkeys.is_empty() || !self.totp.is_empty()
    }

    /// Names of the kinds of factors that there are.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        let all = [
            ("password", self.password.is_some()),
            ("passkey", !self.passkeys.is_empty()),
            ("totp", !self.totp.is_empty()),
            ("recovery", !self.recovery.is_empty()),
        ];
        all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

/// The credentials of a tenant's accounts.
#[derive(Clone, Copy)]
pub struct Factors<'a> {
    control: &'a ControlLog,
    sessions: &'a Sessions,
    tenant: &'a TenantId,
}

impl<'a> Factors<'a> {
    /// Those kept in these stores.
    #[must_use]
    pub fn new(control: &'a ControlLog, sessions: &'a Sessions, tenant: &'a TenantId) -> Self {
        Factors { control, sessions, tenant }
    }

    /// An account's; nothing when none were ever set.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn of(&self, user: &SubjectId) -> Result<Credentials, Error> {
        self.read(user).map(|(credentials, _)| credentials)
    }

    fn read(&self, user: &SubjectId) -> Result<(Credentials, Option<Version>), Error> {
        match self.control.get(KIND, user.as_str())? {
            None => Ok((Credentials::default(), None)),
            Some(record) => {
                let found = serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
                Ok((found, Some(record.version)))
            }
        }
    }

    /// Changes them; `change` may be asked more than once, when somebody else changed them
    /// meanwhile, and nothing is written when it refuses.
    fn change<T>(
        &self,
        user: &SubjectId,
        mut change: impl FnMut(&mut Credentials) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..4 {
            let (mut credentials, version) = self.read(user)?;
            let before = credentials.clone();
            let done = change(&mut credentials)?;
            if credentials == before {
                return Ok(done);
            }
            let value = serde_json::to_value(&credentials).map_err(|_| Error::Damaged)?;
            match self.control.put(KIND, user.as_str(), &value, version) {
                Ok(_) => return Ok(done),
                Err(phial_store::Error::Conflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Error::Busy)
    }

    /// Sets the password, of which the PHC string is given.
    ///
    /// # Errors
    /// A store's.
    pub fn set_password(&self, user: &SubjectId, phc: &str, now: Timestamp) -> Result<(), Error> {
        self.change(user, |c| {
            c.password = Some(phc.to_owned());
            c.password_since = Some(now.to_string());
            Ok(())
        })
    }

    /// Adds a passkey.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is there already; a store's.
    pub fn add_passkey(&self, user: &SubjectId, passkey: &Passkey) -> Result<(), Error> {
        self.change(user, |c| {
            if c.passkeys.iter().any(|p| p.id == passkey.id) {
                return Err(Error::Exists);
            }
            c.passkeys.push(passkey.clone());
            Ok(())
        })
    }

    /// Adds an authenticator app by its secret.
    ///
    /// # Errors
    /// A store's.
    pub fn add_totp(
        &self,
        user: &SubjectId,
        name: &str,
        secret: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = encoded(&self.sessions.random::<12>());
        let about: [&[u8]; 3] = [b"totp", user.as_str().as_bytes(), id.as_bytes()];
        let sealed = encoded(&self.sessions.seal(self.tenant, &about, secret)?);
        self.change(user, |c| {
            c.totp.push(Totp {
                id: id.clone(),
                name: name.to_owned(),
                added: now.to_string(),
                secret: sealed.clone(),
            });
            Ok(())
        })
    }

    /// Takes a passkey or an authenticator app away, by its id. Gives its kind.
    ///
    /// # Errors
    /// [`Error::LastFactor`], [`Error::NoFactor`], or a store's.
    pub fn remove(&self, user: &SubjectId, id: &str) -> Result<&'static str, Error> {
        self.change(user, |c| {
            let (passkeys, apps) = (c.passkeys.len(), c.totp.len());
            c.passkeys.retain(|p| p.id != id);
            c.totp.retain(|t| t.id != id);
            let kind = match (c.passkeys.len() < passkeys, c.totp.len() < apps) {
                (true, _) => "passkey",
                (_, true) => "totp",
                _ => return Err(Error::NoFactor),
            };
            if c.has_second() { Ok(kind) } else { Err(Error::LastFactor) }
        })
    }

    /// Takes everything away: the person begins anew by an invitation.
    ///
    /// # Errors
    /// A store's.
    pub fn clear(&self, user: &SubjectId) -> Result<(), Error> {
        self.change(user, |c| {
            *c = Credentials::default();
            Ok(())
        })
    }

    /// New recovery codes in the place of all that there were. They can't be shown again.
    ///
    /// # Errors
    /// A store's.
    pub fn new_codes(&self, user: &SubjectId) -> Result<Vec<Zeroizing<String>>, Error> {
        let mut codes = Vec::new();
        let mut macs = Vec::new();
        for _ in 0..CODES {
            let text = totp::base32(&self.sessions.random::<10>());
            let (a, b) = text.split_at_checked(8).unwrap_or(("", ""));
            let code = Zeroizing::new(format!("{a}-{b}"));
            macs.push(self.code_mac(user, &code)?);
            codes.push(code);
        }
        self.change(user, |c| {
            c.recovery.clone_from(&macs);
            Ok(())
        })?;
        Ok(codes)
    }

    fn code_mac(&self, user: &SubjectId, typed: &str) -> Result<String, Error> {
        let plain = Zeroizing::new(
            typed
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_uppercase())
                .collect::<String>(),
        );
        let parts: [&[u8]; 3] = [b"recovery code", user.as_str().as_bytes(), plain.as_bytes()];
        Ok(hex::encode(self.sessions.mac(self.tenant, &parts)?))
    }

    /// Uses up a recovery code. False when it is none, or was used.
    ///
    /// # Errors
    /// A store's.
    pub fn use_code(&self, user: &SubjectId, typed: &str) -> Result<bool, Error> {
        let mac = self.code_mac(user, typed)?;
        self.change(user, |c| {
            let before = c.recovery.len();
            c.recovery
                .retain(|kept| !phial_crypto::constant_time_eq(kept.as_bytes(), mac.as_bytes()));
            Ok(c.recovery.len() < before)
        })
    }

    /// Whether this is a code of one of the account's apps, for a step that was not used.
    /// From now on it was.
    ///
    /// # Errors
    /// A store's.
    pub fn use_totp(&self, user: &SubjectId, typed: &str, now: Timestamp) -> Result<bool, Error> {
        for app in self.of(user)?.totp {
            let about: [&[u8]; 3] = [b"totp", user.as_str().as_bytes(), app.id.as_bytes()];
            let sealed = crate::passkey::decoded(&app.secret).map_err(|_| Error::Damaged)?;
            let secret = self.sessions.unseal(self.tenant, &about, &sealed)?;
            if let Some(step) = totp::accepts(&secret, typed, now) {
                return Ok(self.sessions.raise(self.tenant, &about, step, now, KEEP)?);
            }
        }
        Ok(false)
    }

    /// Whether a passkey's counter rose, or it has none (WebAuthn §7.2, step 22). A counter
    /// that did not is the mark of a copy.
    ///
    /// # Errors
    /// A store's.
    pub fn count_passkey(
        &self,
        user: &SubjectId,
        id: &str,
        counter: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let name: [&[u8]; 3] = [b"passkey", user.as_str().as_bytes(), id.as_bytes()];
        if counter == 0 {
            return Ok(self.sessions.counter(self.tenant, &name)?.value == 0);
        }
        Ok(self.sessions.raise(self.tenant, &name, i64::from(counter), now, KEEP)?)
    }

    /// Whose passkey this is.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn owner(&self, credential: &str) -> Result<Option<(SubjectId, Passkey)>, Error> {
        for record in self.control.list(KIND)? {
            let found: Credentials =
                serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
            if let Some(passkey) = found.passkeys.into_iter().find(|p| p.id == credential) {
                let user = SubjectId::new(&record.name).map_err(|_| Error::Damaged)?;
                return Ok(Some((user, passkey)));
            }
        }
        Ok(None)
    }

    /// Whether a password may be this account's. `service`: what the service is called.
    ///
    /// # Errors
    /// Why not.
    pub fn fit(user: &SubjectId, typed: &str, service: &str) -> Result<(), password::Unfit> {
        password::fit(typed, &[user.as_str(), service, "phial"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Invitation, Review};

    fn frozen<T>(text: &str)
    where
        T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
    {
        let read: T = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        // What a later version adds is not read as if it were not there.
        let more = text.replacen('{', "{\"later\":1,", 1);
        assert!(serde_json::from_str::<T>(&more).is_err());
    }

    #[test]
    fn forms_in_the_control_log_are_frozen() {
        frozen::<Account>(r#"{"id":"ana","roles":["nurse"],"active":true}"#);
        frozen::<Account>(
            r#"{"id":"ana","roles":["nurse"],"unit":"icu","practitioner":"p","patient":"q","active":false,"name":"Ana","ended":true}"#,
        );
        frozen::<Account>(r#"{"id":"ana","roles":["nurse"],"active":true,"external":"e-1"}"#);
        frozen::<Credentials>("{}");
        frozen::<Credentials>(
            r#"{"password":"$argon2id$","password_since":"2026-11-28T00:00:00Z","passkeys":[{"id":"AA","key":{"alg":-7,"a":"AA","b":"BB"},"site":"s","name":"n","added":"t"},{"id":"BB","key":{"alg":-8,"a":"AA"},"site":"s","name":"n","added":"t"}],"totp":[{"id":"AA","name":"n","added":"t","secret":"AA"}],"recovery":["00"]}"#,
        );
        frozen::<Invitation>(
            r#"{"user":"ana","by":"adam","until":"2026-11-28T00:00:00Z","anew":true}"#,
        );
        frozen::<Review>(
            r#"{"by":"adam","at":"2026-11-28T00:00:00Z","roles":["nurse"],"unit":"icu","note":"n"}"#,
        );
    }
}
