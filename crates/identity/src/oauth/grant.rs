//! What people let apps do: remembered until they take it back. One record in the control
//! log for each person and app.

use jiff::Timestamp;
use phial_base::SubjectId;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::error::Error;

const KIND: &str = "app-grant";

/// A person's word for an app. Field names are part of the control log's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Whose word.
    pub user: SubjectId,
    /// For which app.
    pub client: String,
    /// What it may do.
    pub scopes: String,
    /// Since when, seconds since the epoch.
    pub since: i64,
}

impl Grant {
    /// Since when.
    #[must_use]
    pub fn given(&self) -> Timestamp {
        Timestamp::from_second(self.since).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The grants of one tenant.
pub struct Grants<'a> {
    control: &'a ControlLog,
}

/// A slash is in neither name.
fn name(user: &SubjectId, client: &str) -> String {
    format!("{user}/{client}")
}

impl<'a> Grants<'a> {
    /// The grants in this control log.
    #[must_use]
    pub fn new(control: &'a ControlLog) -> Self {
        Grants { control }
    }

    /// What this person lets this app do.
    ///
    /// # Errors
    /// A store's, or [`Error::DamagedClient`].
    pub fn find(&self, user: &SubjectId, client: &str) -> Result<Option<Grant>, Error> {
        match self.control.get(KIND, &name(user, client))? {
            Some(r) => serde_json::from_value(r.value).map(Some).map_err(|_| Error::DamagedClient),
            None => Ok(None),
        }
    }

    /// All grants of this person, by app.
    ///
    /// # Errors
    /// As [`Grants::find`].
    pub fn of(&self, user: &SubjectId) -> Result<Vec<Grant>, Error> {
        let all: Result<Vec<Grant>, Error> = self
            .control
            .list(KIND)?
            .into_iter()
            .map(|r| serde_json::from_value(r.value).map_err(|_| Error::DamagedClient))
            .collect();
        Ok(all?.into_iter().filter(|g| g.user == *user).collect())
    }

    /// Remembers a person's word; the one before for the same app is replaced.
    ///
    /// # Errors
    /// As [`Grants::find`].
    pub fn give(&self, grant: &Grant) -> Result<(), Error> {
        let name = name(&grant.user, &grant.client);
        let before = self.control.get(KIND, &name)?.map(|r| r.version);
        let value = serde_json::to_value(grant).map_err(|_| Error::DamagedClient)?;
        self.control.put(KIND, &name, &value, before)?;
        Ok(())
    }

    /// Takes a person's word back. False when there was none.
    ///
    /// # Errors
    /// As [`Grants::find`].
    pub fn end(&self, user: &SubjectId, client: &str) -> Result<bool, Error> {
        let name = name(user, client);
        match self.control.get(KIND, &name)? {
            Some(r) => {
                self.control.end(KIND, &name, r.version)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
