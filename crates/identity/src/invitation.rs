//! Invitations: how a person comes to the first factors, or to new ones.
//!
//! A link with a random token, good once and for a while; the control log keeps its
//! SHA-256. It ends when password and second factor are set, so that a first log-in that
//! was broken off can be taken up again with the same link. A newer one ends all others
//! of the account.

use jiff::{SignedDuration, Timestamp};
use phial_base::{SubjectId, Version};
use phial_store::control::ControlLog;
use phial_store::sessions::Sessions;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::passkey::encoded;

const KIND: &str = "invitation";
/// For how long an invitation is good, when nothing else is said.
pub const VALID: SignedDuration = SignedDuration::from_hours(72);
/// Characters of a token: 32 bytes in base64url.
const TOKEN: usize = 43;

/// An invitation as it is kept. Field names are part of the control log's content: only
/// append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// Whom it is for.
    pub user: SubjectId,
    /// Who gave it.
    pub by: String,
    /// Until when it is good.
    pub until: Timestamp,
    /// Whether the factors that the account has are taken away when it is used: the person
    /// lost them.
    #[serde(default)]
    pub anew: bool,
}

/// The invitations of a tenant.
pub struct Invitations<'a> {
    control: &'a ControlLog,
}

impl<'a> Invitations<'a> {
    /// Those in this control log.
    #[must_use]
    pub fn new(control: &'a ControlLog) -> Self {
        Invitations { control }
    }

    /// Makes one. The token can't be shown again.
    ///
    /// # Errors
    /// A store's.
    pub fn make(
        &self,
        sessions: &Sessions,
        invitation: &Invitation,
    ) -> Result<Zeroizing<String>, Error> {
        self.end_all(&invitation.user)?;
        let token = Zeroizing::new(encoded(&self.bytes(sessions)[..]));
        let value = serde_json::to_value(invitation).map_err(|_| Error::Damaged)?;
        self.control.put(KIND, &name(&token), &value, None)?;
        Ok(token)
    }

    fn bytes(&self, sessions: &Sessions) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(sessions.random())
    }

    /// The invitation of this token, and its name, while it is good.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn find(&self, token: &str, now: Timestamp) -> Result<Option<(String, Invitation)>, Error> {
        if token.len() != TOKEN {
            return Ok(None);
        }
        let name = name(token);
        Ok(self.named(&name, now)?.map(|(invitation, _)| (name, invitation)))
    }

    fn named(&self, name: &str, now: Timestamp) -> Result<Option<(Invitation, Version)>, Error> {
        let Some(record) = self.control.get(KIND, name)? else { return Ok(None) };
        let found: Invitation = serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
        Ok((now < found.until).then_some((found, record.version)))
    }

    /// The invitation of this name, while it is good.
    ///
    /// # Errors
    /// As [`Invitations::find`].
    pub fn by_name(&self, name: &str, now: Timestamp) -> Result<Option<Invitation>, Error> {
        Ok(self.named(name, now)?.map(|(invitation, _)| invitation))
    }

    /// Whether the invitation of this name is still good.
    ///
    /// # Errors
    /// As [`Invitations::find`].
    pub fn is_good(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        Ok(self.named(name, now)?.is_some())
    }

    /// Uses it up. False when it was before, or is not good any more: of two, one loses.
    ///
    /// # Errors
    /// A store's.
    pub fn use_up(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        let Some((_, version)) = self.named(name, now)? else { return Ok(false) };
        match self.control.end(KIND, name, version) {
            Ok(_) => Ok(true),
            Err(phial_store::Error::Conflict { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends every invitation of an account, and says how many there were.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn end_all(&self, user: &SubjectId) -> Result<usize, Error> {
        let mut ended = 0;
        for record in self.control.list(KIND)? {
            let found: Invitation =
                serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
            if found.user == *user {
                self.control.end(KIND, &record.name, record.version)?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Until when an account's invitation is good; `None` when it has none.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn pending(&self, user: &SubjectId, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        for record in self.control.list(KIND)? {
            let found: Invitation =
                serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
            if found.user == *user && now < found.until {
                return Ok(Some(found.until));
            }
        }
        Ok(None)
    }
}

fn name(token: &str) -> String {
    hex::encode(phial_crypto::sha256(token.as_bytes()))
}
