//! Settings of apps, services and directories: `[oauth]`, `[scim]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whether apps may register themselves (RFC 7591).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Registration {
    /// They may not.
    #[default]
    Off,
    /// They may, and wait for an administrator's word.
    Approval,
    /// Those that ask for no more than reading one patient's record with that person's own
    /// word may act at once; others wait. Needs a rationale.
    PatientApps,
}

/// `[oauth]`: apps and services.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Oauth {
    /// The hosts (`HOST` or `HOST:PORT`) that keys of clients may be fetched from. None by
    /// default.
    pub(crate) hosts: Vec<String>,
    /// PEM file with the CAs that may vouch for those hosts; the system's own list, when
    /// not given.
    pub(crate) ca: Option<PathBuf>,
    /// Minutes for which an app's access token holds. More than 60 needs a rationale.
    pub(crate) access_minutes: i64,
    /// Days for which an app may refresh its access without its user (`offline_access`).
    /// More than 366 needs a rationale.
    pub(crate) offline_days: i64,
    /// Whether apps may register themselves (RFC 7591).
    pub(crate) registration: Registration,
    pub(crate) rationale: Option<String>,
}

impl Default for Oauth {
    fn default() -> Self {
        Oauth {
            hosts: Vec::new(),
            ca: None,
            access_minutes: 10,
            offline_days: 90,
            registration: Registration::default(),
            rationale: None,
        }
    }
}

/// `[scim]`: what a directory may say of accounts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScimRoles {
    /// The roles that a directory may give and take. None: it changes nothing.
    pub(crate) roles: Vec<String>,
}
