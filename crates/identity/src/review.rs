//! Recertification: that somebody looked, account by account, at who has what, and said
//! that it is still right (164.308(a)(3)(ii)(A), (a)(4)(ii)(C)).
//!
//! A sign-off names the roles and the unit that were looked at. It counts no more once
//! they are others, and after the period of the configuration.

use jiff::{SignedDuration, Timestamp};
use phial_base::SubjectId;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::error::Error;

const KIND: &str = "access-review";

/// A sign-off. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// Who signed.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The roles that were looked at.
    pub roles: Vec<String>,
    /// The unit that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What was said beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How an account's review stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nobody ever signed.
    Never,
    /// What was signed is not what the account has now.
    Changed,
    /// The period is over: since then.
    Since(Timestamp),
    /// Good until then.
    Until(Timestamp),
}

impl Due {
    /// Whether somebody has to look.
    #[must_use]
    pub fn is_due(self) -> bool {
        !matches!(self, Due::Until(_))
    }
}

/// The reviews of a tenant.
pub struct Reviews<'a> {
    control: &'a ControlLog,
}

impl<'a> Reviews<'a> {
    /// Those in this control log.
    #[must_use]
    pub fn new(control: &'a ControlLog) -> Self {
        Reviews { control }
    }

    /// The last sign-off about an account.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn last(&self, user: &SubjectId) -> Result<Option<Review>, Error> {
        match self.control.get(KIND, user.as_str())? {
            None => Ok(None),
            Some(record) => {
                serde_json::from_value(record.value).map(Some).map_err(|_| Error::Damaged)
            }
        }
    }

    /// How it stands with this account.
    ///
    /// # Errors
    /// As [`Reviews::last`].
    pub fn due(
        &self,
        account: &Account,
        period: SignedDuration,
        now: Timestamp,
    ) -> Result<Due, Error> {
        let Some(last) = self.last(&account.id)? else { return Ok(Due::Never) };
        if last.roles != account.roles || last.unit != account.unit {
            return Ok(Due::Changed);
        }
        let until = last.at.checked_add(period).unwrap_or(Timestamp::MAX);
        Ok(if now < until { Due::Until(until) } else { Due::Since(until) })
    }

    /// Writes down that `by` looked at the account as it is, and left it so.
    ///
    /// # Errors
    /// [`Error::OwnAccount`]: nobody signs for himself; a store's.
    pub fn sign(
        &self,
        account: &Account,
        by: &SubjectId,
        note: Option<String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        Account::is_not(&account.id, by)?;
        let review = Review {
            by: by.to_string(),
            at: now,
            roles: account.roles.clone(),
            unit: account.unit.clone(),
            note,
        };
        let value = serde_json::to_value(&review).map_err(|_| Error::Damaged)?;
        let current = self.control.get(KIND, account.id.as_str())?.map(|r| r.version);
        self.control.put(KIND, account.id.as_str(), &value, current)?;
        Ok(())
    }
}
