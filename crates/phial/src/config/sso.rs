//! `[sso.NAME]`: identity providers at which people may log in (OpenID Connect).

use std::path::PathBuf;

use phial_base::TenantId;
use phial_identity::sso::RoleMap;
use serde::{Deserialize, Serialize};

/// How this server proves itself at a provider's token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Authentication {
    /// By the keys that are published at `/oauth/jwks` (RFC 7523).
    #[default]
    PrivateKeyJwt,
    /// By a secret from a file, in the header.
    ClientSecretBasic,
    /// By a secret from a file, in the form.
    ClientSecretPost,
}

/// An identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    /// Of which tenant.
    #[serde(default = "TenantId::default_tenant")]
    pub(crate) tenant: TenantId,
    /// What people read on the button.
    pub(crate) label: String,
    /// The provider's own name for itself, letter by letter.
    pub(crate) issuer: String,
    /// This server's name there.
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) authentication: Authentication,
    /// The file that holds the secret, for its owner alone.
    #[serde(default)]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// PEM file with the CAs that may vouch for the provider; the system's own list, when
    /// not given.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// Hosts (`HOST` or `HOST:PORT`) beside the issuer's own that its endpoints may be on.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Whether a person whose name there is an account's `externalId` of SCIM is that
    /// account: for a directory that gives both.
    #[serde(default)]
    pub(crate) scim_external_id: bool,
    /// What is asked for beside `openid`.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Classes of authentication (`acr`) that count as two factors. They are asked for.
    #[serde(default)]
    pub(crate) acr: Vec<String>,
    /// Methods of authentication (`amr`) of which one counts as a second factor.
    #[serde(default)]
    pub(crate) amr: Vec<String>,
    /// The claim that says roles; with a slash before it, a place in a claim.
    #[serde(default)]
    pub(crate) roles_claim: Option<String>,
    /// The provider's words, and which role each is.
    #[serde(default)]
    pub(crate) roles: RoleMap,
    /// Why a provider may give roles that give power over others.
    #[serde(default)]
    pub(crate) rationale: Option<String>,
}

/// Roles with power over accounts, keys, or what others may see.
const POWERFUL: [&str; 3] = ["operator", "privacy-officer", "security-administrator"];

impl Provider {
    /// What is wrong with it.
    pub(super) fn fault(&self, name: &str) -> Option<&'static str> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
            return Some("a provider's name is 1 to 32 of a-z 0-9 -");
        }
        if self.label.trim().is_empty() || self.label.chars().count() > 60 {
            return Some("label is what people read: 1 to 60 characters");
        }
        if phial_engine::Endpoint::parse(&self.issuer).is_none() {
            return Some("issuer is https://HOST[:PORT][/PATH]");
        }
        if self.client_id.is_empty() {
            return Some("client_id is this server's name at the provider");
        }
        if (self.authentication == Authentication::PrivateKeyJwt)
            == self.client_secret_file.is_some()
        {
            return Some(
                "client_secret_file goes with client_secret_basic and client_secret_post, and \
                 these with it",
            );
        }
        if !self.hosts.iter().all(|h| phial_engine::is_host(h)) {
            return Some("hosts are HOST or HOST:PORT");
        }
        let word = |w: &String| !w.is_empty() && w.bytes().all(|b| b.is_ascii_graphic());
        if !self.scopes.iter().chain(&self.acr).chain(&self.amr).all(word) {
            return Some("scopes, acr and amr are lists of words");
        }
        if self.roles_claim.is_none() != self.roles.is_empty() {
            return Some("roles_claim and roles go together: give both or neither");
        }
        None
    }

    /// Which roles with power over others it may give.
    pub(super) fn powerful(&self) -> Option<String> {
        let given = |role: &&&str| self.roles.values().any(|r| r == **role);
        let all: Vec<&str> = POWERFUL.iter().filter(given).copied().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "label = \"Clinic\"\nissuer = \"https://idp.example.org\"\n\
                         client_id = \"phial\"\n";

    fn check(name: &str, more: &str) -> Option<&'static str> {
        let text = format!("{PLAIN}{more}");
        let read: Provider = figment::Figment::new()
            .merge(figment::providers::Toml::string(&text))
            .extract()
            .unwrap();
        read.fault(name)
    }

    use figment::providers::Format as _;

    #[test]
    fn a_provider_is_whole_or_the_server_does_not_start() {
        assert_eq!(check("clinic", ""), None);
        for (name, more, place) in [
            ("Clinic", "", "name"),
            ("", "", "name"),
            ("clinic", "client_secret_file = \"/x\"\n", "client_secret_file"),
            ("clinic", "authentication = \"client_secret_basic\"\n", "client_secret_file"),
            ("clinic", "hosts = [\"https://x\"]\n", "hosts"),
            ("clinic", "acr = [\"a b\"]\n", "acr"),
            ("clinic", "roles_claim = \"groups\"\n", "roles_claim"),
            ("clinic", "[roles]\na = \"nurse\"\n", "roles_claim"),
        ] {
            let fault = check(name, more).unwrap_or_default();
            assert!(fault.contains(place), "{name} {more}: {fault}");
        }
    }

    #[test]
    fn power_over_others_is_named() {
        let map = |role: &str| {
            let text = format!("{PLAIN}roles_claim = \"groups\"\n[roles]\na = \"{role}\"\n");
            let toml = figment::providers::Toml::string(&text);
            let read: Provider = figment::Figment::new().merge(toml).extract().unwrap();
            read.powerful()
        };
        assert_eq!(map("nurse"), None);
        assert_eq!(map("operator").as_deref(), Some("operator"));
    }
}
