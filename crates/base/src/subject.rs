//! Who asks, why, and from where.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{LogicalId, RequestId, Scopes, TenantId};

/// The unique name of an account (164.312(a)(2)(i)): 1 to 64 of `a-z 0-9 . _ @ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectId(Box<str>);

impl SubjectId {
    /// Checks and wraps `name`.
    ///
    /// # Errors
    /// [`crate::InvalidId`] when the name has another form.
    pub fn new(name: &str) -> Result<Self, crate::InvalidId> {
        let good = (1..=64).contains(&name.len())
            && name.bytes().all(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || matches!(b, b'.' | b'_' | b'@' | b'-')
            });
        if good { Ok(SubjectId(name.into())) } else { Err(crate::InvalidId("user name")) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SubjectId {
    type Error = crate::InvalidId;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        SubjectId::new(&s)
    }
}

impl std::str::FromStr for SubjectId {
    type Err = crate::InvalidId;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        SubjectId::new(s)
    }
}

impl From<SubjectId> for String {
    fn from(s: SubjectId) -> String {
        s.0.into()
    }
}

/// Purpose of use (HL7 v3-ActReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant is the HL7 code of the same spelling")]
pub enum Purpose {
    TREAT,
    ETREAT,
    BTG,
    HPAYMT,
    HOPERAT,
    HRESCH,
    PUBHLTH,
    PATRQT,
    HLEGAL,
    HTEST,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Purpose; 10] = [
        Purpose::TREAT,
        Purpose::ETREAT,
        Purpose::BTG,
        Purpose::HPAYMT,
        Purpose::HOPERAT,
        Purpose::HRESCH,
        Purpose::PUBHLTH,
        Purpose::PATRQT,
        Purpose::HLEGAL,
        Purpose::HTEST,
    ];

    /// The HL7 code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Purpose::TREAT => "TREAT",
            Purpose::ETREAT => "ETREAT",
            Purpose::BTG => "BTG",
            Purpose::HPAYMT => "HPAYMT",
            Purpose::HOPERAT => "HOPERAT",
            Purpose::HRESCH => "HRESCH",
            Purpose::PUBHLTH => "PUBHLTH",
            Purpose::PATRQT => "PATRQT",
            Purpose::HLEGAL => "HLEGAL",
            Purpose::HTEST => "HTEST",
        }
    }

    /// The purpose with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.code() == code)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Someone, or a job of ours, as policies and the audit log see them. Made by
/// `identity` from a session, or by the CLI for its own work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The tenant whose data is asked for.
    pub tenant: TenantId,
    /// The account.
    pub id: SubjectId,
    /// Names of the roles held; a role that policy does not know permits nothing.
    pub roles: Vec<String>,
    /// The organisational unit, if any.
    pub unit: Option<String>,
    /// Logical id of the Practitioner that this account is.
    pub practitioner: Option<LogicalId>,
    /// Logical id of the Patient that this account is.
    pub patient: Option<LogicalId>,
    /// Why the data is asked for, fixed when the session began.
    pub purpose: Purpose,
    /// How the account was authenticated: 0 for a local bearer token, 1 for one
    /// factor, 2 for two.
    pub mfa: u8,
    /// The session's public handle (never the token).
    pub session: Option<String>,
    /// The app or service through which the account acts, if any.
    pub client: Option<Arc<str>>,
    /// What that app may do of what the account may do; everything when `None`.
    pub scopes: Option<Arc<Scopes>>,
}

/// Through which door a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Surface {
    /// The FHIR API.
    Fhir,
    /// The command line.
    Cli,
    /// A background job.
    Job,
    /// A page for people.
    Page,
}

/// Where, when and under which number a request came.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The number that ties its audit entries together.
    pub id: RequestId,
    /// When it arrived.
    pub at: Timestamp,
    /// The peer's address, if there is a network.
    pub ip: Option<IpAddr>,
    /// The client's own name for itself (user agent), cut to 128 bytes.
    pub device: Option<String>,
    /// The door.
    pub surface: Surface,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_round_trip() {
        for p in Purpose::ALL {
            assert_eq!(Purpose::from_code(p.code()), Some(p));
        }
        assert_eq!(Purpose::from_code("treat"), None);
    }

    #[test]
    fn a_user_name_is_plain() {
        assert!(SubjectId::new("dr.ana@clinic-1").is_ok());
        for bad in ["", "A", "a b", "a/b", &"a".repeat(65)] {
            assert!(SubjectId::new(bad).is_err());
        }
    }
}
