//! Accounts: one person or service each.

use phial_base::{LogicalId, Purpose, Subject, SubjectId, TenantId, Version};
use phial_policy::PolicySet;
use phial_store::control::ControlLog;
use serde::{Deserialize, Serialize};

use crate::error::Error;

const KIND: &str = "user";

/// One account. Field names are part of the control log's content: only append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its unique name.
    pub id: SubjectId,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// Organisational unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Logical id of the Practitioner that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub practitioner: Option<String>,
    /// Logical id of the Patient that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// False once suspended: none of its sessions opens anything.
    pub active: bool,
    /// What the person is called, for colleagues who look after accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// True once terminated: it stays suspended for good, and its id is nobody else's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// What the organization's directory calls the person (`externalId` of SCIM, RFC 7643
    /// section 3.1): one person's for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
}

impl Account {
    /// A new account with these roles, active.
    #[must_use]
    pub fn new(id: SubjectId, roles: Vec<String>) -> Self {
        Account {
            id,
            roles,
            unit: None,
            practitioner: None,
            patient: None,
            active: true,
            name: None,
            ended: false,
            external: None,
        }
    }

    /// Nobody changes what he himself may do, nor signs for it.
    ///
    /// # Errors
    /// [`Error::OwnAccount`]
    pub fn is_not(id: &SubjectId, by: &SubjectId) -> Result<(), Error> {
        if id == by { Err(Error::OwnAccount) } else { Ok(()) }
    }

    /// How it stands, in a word.
    #[must_use]
    pub fn standing(&self) -> &'static str {
        match (self.ended, self.active) {
            (true, _) => "ended",
            (false, true) => "active",
            (false, false) => "suspended",
        }
    }

    /// Who acts when a job acts on this account's behalf, for a purpose that a session of
    /// it once began with. `None` once it is suspended or ended.
    #[must_use]
    pub fn acting(&self, tenant: &TenantId, purpose: Purpose) -> Option<Subject> {
        self.active.then(|| Subject {
            tenant: tenant.clone(),
            practitioner: self.practitioner_id(),
            patient: self.patient_id(),
            id: self.id.clone(),
            roles: self.roles.clone(),
            unit: self.unit.clone(),
            purpose,
            mfa: 0,
            session: None,
            client: None,
            scopes: None,
        })
    }

    pub(crate) fn practitioner_id(&self) -> Option<LogicalId> {
        self.practitioner.as_deref().and_then(|id| LogicalId::new(id).ok())
    }

    pub(crate) fn patient_id(&self) -> Option<LogicalId> {
        self.patient.as_deref().and_then(|id| LogicalId::new(id).ok())
    }
}

/// The accounts of one tenant.
pub struct Accounts<'a> {
    control: &'a ControlLog,
    policy: &'a PolicySet,
}

impl<'a> Accounts<'a> {
    /// The accounts in this control log, with roles from this policy set.
    #[must_use]
    pub fn new(control: &'a ControlLog, policy: &'a PolicySet) -> Self {
        Accounts { control, policy }
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::UnknownRole`], [`Error::NoRole`], or a store's.
    pub fn add(&self, account: &Account) -> Result<(), Error> {
        self.check(account)?;
        if self.find(&account.id)?.is_some() {
            return Err(Error::Exists);
        }
        self.write(account, None)
    }

    /// Replaces an account's roles and standing.
    ///
    /// # Errors
    /// [`Error::NoAccount`], [`Error::Ended`], and those of [`Accounts::add`].
    pub fn change(&self, account: &Account) -> Result<(), Error> {
        self.check(account)?;
        let Some(current) = self.control.get(KIND, account.id.as_str())? else {
            return Err(Error::NoAccount);
        };
        let before: Account =
            serde_json::from_value(current.value.clone()).map_err(|_| Error::Damaged)?;
        if before.ended {
            return Err(Error::Ended);
        }
        self.write(account, Some(current.version))
    }

    fn check(&self, account: &Account) -> Result<(), Error> {
        if account.roles.is_empty() {
            return Err(Error::NoRole);
        }
        let known: Vec<&str> = self.policy.roles().map(|r| &*r.name).collect();
        if account.ended && account.active {
            return Err(Error::Ended);
        }
        match account.roles.iter().find(|r| !known.contains(&r.as_str())) {
            Some(bad) => Err(Error::UnknownRole(bad.clone(), known.join(", "))),
            None => Ok(()),
        }
    }

    fn write(&self, account: &Account, replaced: Option<Version>) -> Result<(), Error> {
        let value = serde_json::to_value(account).map_err(|_| Error::Damaged)?;
        self.control.put(KIND, account.id.as_str(), &value, replaced)?;
        Ok(())
    }

    /// The account of this name, suspended or not.
    ///
    /// # Errors
    /// A store's, or [`Error::Damaged`].
    pub fn find(&self, id: &SubjectId) -> Result<Option<Account>, Error> {
        match self.control.get(KIND, id.as_str())? {
            Some(record) => {
                serde_json::from_value(record.value).map(Some).map_err(|_| Error::Damaged)
            }
            None => Ok(None),
        }
    }

    /// The account that the directory calls so; one that was ended is nobody's. `None` also
    /// when there are several: then it is not known who is meant.
    ///
    /// # Errors
    /// As [`Accounts::find`].
    pub fn by_external(&self, external: &str) -> Result<Option<Account>, Error> {
        let called = |a: &Account| !a.ended && a.external.as_deref() == Some(external);
        let mut all = self.all()?.into_iter().filter(called);
        let first = all.next();
        Ok(first.filter(|_| all.next().is_none()))
    }

    /// Who acts under this name and for this purpose now, when there is no session: a job
    /// that the account asked for. `None` once it was suspended, or when none of its
    /// roles may claim the purpose any more.
    ///
    /// # Errors
    /// As [`Accounts::find`].
    pub fn acting(
        &self,
        tenant: &TenantId,
        id: &SubjectId,
        purpose: Purpose,
    ) -> Result<Option<Subject>, Error> {
        let account = self.find(id)?.filter(|a| a.active);
        let account =
            account.filter(|a| self.policy.may_claim(a.roles.iter().map(String::as_str), purpose));
        Ok(account.map(|account| Subject {
            tenant: tenant.clone(),
            practitioner: account.practitioner_id(),
            patient: account.patient_id(),
            id: account.id,
            roles: account.roles,
            unit: account.unit,
            purpose,
            mfa: 0,
            session: None,
            client: None,
            scopes: None,
        }))
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// As [`Accounts::find`].
    pub fn all(&self) -> Result<Vec<Account>, Error> {
        self.control
            .list(KIND)?
            .into_iter()
            .map(|r| serde_json::from_value(r.value).map_err(|_| Error::Damaged))
            .collect()
    }
}
