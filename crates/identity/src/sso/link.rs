//! Which person at which provider is which account: one record each in the tenant's
//! control log, found by provider and the person's name there (`iss`, `sub`) and by nothing
//! else.
//!
//! A person there is one account, and an account is one person there; what an account that
//! was ended had is free again. It refuses to tie by whatever else a provider says of a
//! person.

use jiff::Timestamp;
use phial_base::SubjectId;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::account::Accounts;
use crate::error::Error;

const KIND: &str = "sso-link";

/// A tie. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The provider (`iss`).
    pub issuer: String,
    /// The person's name there (`sub`).
    pub subject: String,
    /// The account.
    pub user: SubjectId,
    /// Who tied them: an account, or `invitation`.
    pub by: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The ties of a tenant.
pub struct Links<'a> {
    control: &'a ControlLog,
}

/// Parts behind their lengths, hashed: a name that any two pairs differ in.
fn name(issuer: &str, subject: &str) -> String {
    let mut all = Vec::new();
    for part in [issuer, subject] {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    hex::encode(phial_crypto::sha256(&all))
}

impl<'a> Links<'a> {
    /// Those in this control log.
    #[must_use]
    pub fn new(control: &'a ControlLog) -> Self {
        Links { control }
    }

    /// The account of this person at this provider.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn find(&self, issuer: &str, subject: &str) -> Result<Option<Link>, Error> {
        match self.control.get(KIND, &name(issuer, subject))? {
            Some(r) => serde_json::from_value(r.value).map(Some).map_err(|_| Error::Damaged),
            None => Ok(None),
        }
    }

    /// The ties of an account.
    ///
    /// # Errors
    /// As [`Links::find`].
    pub fn of(&self, user: &SubjectId) -> Result<Vec<Link>, Error> {
        let mut found = Vec::new();
        for record in self.control.list(KIND)? {
            let link: Link = serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
            if link.user == *user {
                found.push(link);
            }
        }
        Ok(found)
    }

    /// Ties them. The same again is no error.
    ///
    /// # Errors
    /// [`Error::Linked`] when the person is another account's that was not ended, or the
    /// account another person's at this provider; a store's.
    pub fn tie(&self, accounts: &Accounts<'_>, link: &Link, now: Timestamp) -> Result<(), Error> {
        let good = (1..=255).contains(&link.subject.len())
            && link.subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if !good {
            return Err(Error::Linked("a subject is 1 to 255 ASCII characters"));
        }
        let of_account = self.of(&link.user)?;
        if let Some(known) = of_account.iter().find(|l| l.issuer == link.issuer) {
            return match known.subject == link.subject {
                true => Ok(()),
                false => Err(Error::Linked(
                    "the account belongs to another person at this identity provider: undo that \
                     first",
                )),
            };
        }
        let name = name(&link.issuer, &link.subject);
        let held = self.control.get(KIND, &name)?;
        if let Some(record) = &held {
            let other: Link =
                serde_json::from_value(record.value.clone()).map_err(|_| Error::Damaged)?;
            if accounts.find(&other.user)?.is_some_and(|a| !a.ended) {
                return Err(Error::Linked(
                    "this person of the identity provider has another account",
                ));
            }
        }
        let link = Link { since: now.to_string(), ..link.clone() };
        let value = serde_json::to_value(&link).map_err(|_| Error::Damaged)?;
        self.control.put(KIND, &name, &value, held.map(|r| r.version))?;
        Ok(())
    }

    /// Undoes an account's tie at this provider, or at all of them. How many there were.
    ///
    /// # Errors
    /// As [`Links::find`].
    pub fn undo(&self, user: &SubjectId, issuer: Option<&str>) -> Result<usize, Error> {
        let mut undone = 0;
        for record in self.control.list(KIND)? {
            let link: Link = serde_json::from_value(record.value).map_err(|_| Error::Damaged)?;
            if link.user == *user && issuer.is_none_or(|i| i == link.issuer) {
                self.control.end(KIND, &record.name, record.version)?;
                undone += 1;
            }
        }
        Ok(undone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_form_in_the_control_log_is_frozen() {
        let text = concat!(
            r#"{"issuer":"https://idp.example","subject":"s","user":"ana","by":"olaf","#,
            r#""since":"2026-11-28T00:00:00Z"}"#
        );
        let link: Link = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&link).unwrap(), text);
        assert!(serde_json::from_str::<Link>(&text.replacen('{', "{\"later\":1,", 1)).is_err());
        assert_eq!(
            name("https://idp.example", "s"),
            hex::encode(phial_crypto::sha256(
                b"\0\0\0\0\0\0\0\x13https://idp.example\0\0\0\0\0\0\0\x01s"
            ))
        );
        assert_ne!(name("ab", "c"), name("a", "bc"));
    }
}
