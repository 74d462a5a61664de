//! Ids of tenants, rows, records, requests.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Text that is not a valid id of the kind asked for. The text is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(pub(crate) &'static str);

/// A tenant: 1 to 32 of `a-z 0-9 -`, starting with a letter. It names directories,
/// so nothing else is let through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks and wraps `name`.
    ///
    /// # Errors
    /// [`InvalidId`] when the name has another form.
    pub fn new(name: &str) -> Result<Self, InvalidId> {
        let good = name.len() <= 32
            && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if good { Ok(TenantId(name.into())) } else { Err(InvalidId("tenant name")) }
    }

    /// The tenant that requests without `/t/{tenant}` speak of.
    #[must_use]
    pub fn default_tenant() -> Self {
        TenantId("default".into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        TenantId::new(&s)
    }
}

impl From<TenantId> for String {
    fn from(t: TenantId) -> String {
        t.0.to_string()
    }
}

/// A FHIR logical id: 1 to 64 of `A-Z a-z 0-9 - .` (FHIR R4, `id`). It may identify
/// a patient, so its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogicalId(Box<str>);

impl LogicalId {
    /// Checks and wraps `id`.
    ///
    /// # Errors
    /// [`InvalidId`] when the id has another form.
    pub fn new(id: &str) -> Result<Self, InvalidId> {
        let good = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if good { Ok(LogicalId(id.into())) } else { Err(InvalidId("logical id")) }
    }

    /// An id made of bytes that were derived, not drawn: a version 8 UUID (RFC 9562 §5.8).
    #[must_use]
    pub fn derived(bytes: [u8; 16]) -> Self {
        Self::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    pub(crate) fn from_uuid(u: uuid::Uuid) -> Self {
        LogicalId(u.hyphenated().to_string().into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LogicalId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        LogicalId::new(&s)
    }
}

impl From<LogicalId> for String {
    fn from(id: LogicalId) -> String {
        id.0.into()
    }
}

impl fmt::Debug for LogicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogicalId(..)")
    }
}

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The id in these bytes.
            ///
            /// # Errors
            /// [`InvalidId`] unless there are exactly 16.
            pub fn from_slice(b: &[u8]) -> Result<Self, InvalidId> {
                b.try_into().map($name).map_err(|_| InvalidId($what))
            }

            /// The id in this hexadecimal text.
            ///
            /// # Errors
            /// [`InvalidId`] unless it is 32 hexadecimal digits.
            pub fn from_hex(s: &str) -> Result<Self, InvalidId> {
                let bytes = hex::decode(s).map_err(|_| InvalidId($what))?;
                Self::from_slice(&bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }
    };
}

bytes16!(
    /// What a record is called in the record log: HMAC-SHA-256 under the tenant's
    /// id-key over type and logical id, cut to 16 bytes. Says nothing without the key.
    RowId,
    "row id"
);
bytes16!(
    /// The random name of a key in the keystore.
    KeyHandle,
    "key handle"
);
bytes16!(
    /// One request or one unit of background work; ties audit entries together.
    RequestId,
    "request id"
);

/// A record's version, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u32);

impl Version {
    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Version(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in a tenant's record log, counted from 1; 0 is "before the first".
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_name_cannot_leave_its_directory() {
        for bad in ["", "..", "a/b", "A", "1a", "-a", &"a".repeat(33), "a.b", "a b"] {
            assert!(TenantId::new(bad).is_err(), "{bad}");
        }
        assert!(TenantId::new("clinic-7").is_ok());
    }

    #[test]
    fn a_logical_id_is_what_fhir_says() {
        for bad in ["", "a b", "a_b", "a/b", &"a".repeat(65), "é"] {
            assert!(LogicalId::new(bad).is_err());
        }
        assert!(LogicalId::new("A.b-9").is_ok());
        assert_eq!(format!("{:?}", LogicalId::new("x").unwrap()), "LogicalId(..)");
    }

    #[test]
    fn sixteen_bytes_round_trip_through_hex() {
        let r = RowId([7; 16]);
        assert_eq!(RowId::from_hex(&r.to_string()), Ok(r));
        assert!(RowId::from_hex("00").is_err());
    }
}
