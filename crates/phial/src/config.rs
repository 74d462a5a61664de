//! `phial.toml`. An unknown key stops the start (invariant 7), and a departure from
//! a safe default needs a rationale (invariant 10).

mod access;
mod apps;
mod sso;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Toml};
use phial_engine::scan::{Address, Scanner};
use serde::{Deserialize, Serialize};

pub(crate) use access::{Caps, Labels, Mail, MailTls};
pub(crate) use apps::{Oauth, Registration, ScimRoles};
pub(crate) use sso::{Authentication, Provider};
pub(crate) use work::{Import, Jobs};

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) http: Http,
    pub(crate) session: Session,
    pub(crate) keys: Keys,
    pub(crate) tls: Tls,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) attachments: Attachments,
    pub(crate) fhir: Fhir,
    pub(crate) jobs: Jobs,
    pub(crate) import: Import,
    pub(crate) oauth: Oauth,
    pub(crate) scim: ScimRoles,
    /// Identity providers, by the names that they have here.
    pub(crate) sso: BTreeMap<String, Provider>,
    pub(crate) review: Review,
    pub(crate) labels: Labels,
    pub(crate) caps: Caps,
    pub(crate) mail: Mail,
}

/// `[fhir]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fhir {
    /// How many records a conditional delete may end.
    pub(crate) conditional_delete: ConditionalDelete,
}

impl Fhir {
    pub(crate) fn delete_many(&self) -> bool {
        self.conditional_delete == ConditionalDelete::Multiple
    }
}

/// How many records a conditional delete may end (R4 value set
/// `conditional-delete-status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConditionalDelete {
    /// One; when the condition matches more, none is ended.
    #[default]
    Single,
    /// All that match, together or not at all.
    Multiple,
}

/// What happens to a search by GET that names a direct identifier: URLs end up in
/// logs, histories and proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PhiInUrls {
    /// Refused, with an answer that names `POST _search`.
    #[default]
    RefuseIdentifiers,
    /// Every search parameter but paging and format is refused.
    Strict,
    /// Let through. Needs a rationale.
    Allow,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    pub(crate) phi_in_urls: PhiInUrls,
    pub(crate) phi_in_urls_rationale: Option<String>,
    /// Origins whose pages may ask. Needs a rationale.
    pub(crate) cors_origins: Vec<String>,
    pub(crate) cors_rationale: Option<String>,
    /// The address by which browsers know this server: `https://host[:port]`. Without one,
    /// pages are for this machine alone.
    pub(crate) public_url: Option<String>,
    /// Whether answers are compressed when the client asks.
    pub(crate) compression: bool,
    /// Largest request body, mebibytes.
    pub(crate) max_body_mib: usize,
    /// Longest time for one request, seconds.
    pub(crate) request_timeout_s: u64,
    /// Most connections at once.
    pub(crate) max_connections: usize,
    /// Longest time for requests that are under way when the server is told to end,
    /// seconds.
    pub(crate) drain_timeout_s: u64,
    /// Time between not being ready (`/readyz`) and accepting no more connections,
    /// seconds: for load balancers to notice.
    pub(crate) drain_notice_s: u64,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            phi_in_urls: PhiInUrls::default(),
            phi_in_urls_rationale: None,
            cors_origins: Vec::new(),
            cors_rationale: None,
            public_url: None,
            compression: true,
            max_body_mib: 32,
            request_timeout_s: 60,
            max_connections: 1024,
            drain_timeout_s: 30,
            drain_notice_s: 0,
        }
    }
}

/// `[session]` (164.312(a)(2)(iii))
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Session {
    /// Minutes without use after which a session ends. More than 30 needs a rationale.
    pub(crate) idle_minutes: i64,
    /// Hours after which a session ends in any case. More than 24 needs a rationale.
    pub(crate) absolute_hours: i64,
    /// `idle_minutes` for holders of a role. Longer than `idle_minutes` needs a rationale.
    pub(crate) idle_by_role: BTreeMap<String, i64>,
    pub(crate) rationale: Option<String>,
}

impl Default for Session {
    fn default() -> Self {
        let idle_by_role = BTreeMap::new();
        Session { idle_minutes: 15, absolute_hours: 12, idle_by_role, rationale: None }
    }
}

/// `[review]` (164.308(a)(4)(ii)(C))
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Review {
    /// Days after which somebody has to look at each account again. More than 366 needs a
    /// rationale.
    pub(crate) period_days: i64,
    pub(crate) rationale: Option<String>,
}

impl Default for Review {
    fn default() -> Self {
        Review { period_days: 90, rationale: None }
    }
}

/// `[keys]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    /// The root key's file, if it is kept elsewhere than in `keys/`.
    pub(crate) root_file: Option<PathBuf>,
    /// Days for which backups of the keystore are kept: until then a certificate of
    /// destruction says that an older copy could still decrypt.
    pub(crate) backup_retention_days: i64,
}

impl Default for Keys {
    fn default() -> Self {
        Keys { root_file: None, backup_retention_days: 35 }
    }
}

/// `[tls]`: a certificate of your own; without one, a development CA is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// PEM file with the certificate chain.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub(crate) key: Option<PathBuf>,
    /// Whether clients are asked for a certificate: services may prove themselves by one.
    pub(crate) client_certificates: bool,
    /// PEM file with the CAs whose word for the name of a client's certificate counts.
    pub(crate) client_ca: Option<PathBuf>,
}

/// `[subscriptions]`: whom the server may call, and how long it tries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Subscriptions {
    /// The hosts (`HOST` or `HOST:PORT`) that notifications may go to. None by default.
    pub(crate) hosts: Vec<String>,
    /// PEM file with the CAs that may vouch for those hosts; the system's own list, when
    /// not given.
    pub(crate) ca: Option<PathBuf>,
    /// The FHIR base URL that subscribers know this server by; `/t/TENANT/fhir` takes the
    /// place of `/fhir` for other tenants.
    pub(crate) base_url: Option<String>,
    /// Longest time for one notification, seconds.
    pub(crate) timeout_s: u64,
    /// The wait after a first failure, milliseconds; it doubles with each that follows.
    pub(crate) retry_first_ms: u64,
    /// The longest wait between two attempts, seconds.
    pub(crate) retry_most_s: u64,
    /// After so many failures in a row a subscription is in error.
    pub(crate) attempts: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions {
            hosts: Vec::new(),
            ca: None,
            base_url: None,
            timeout_s: 20,
            retry_first_ms: 5_000,
            retry_most_s: 900,
            attempts: 12,
        }
    }
}

/// Whether malware is looked for in attachments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scan {
    /// It is not.
    #[default]
    Off,
    /// What is not found clean is not stored.
    Required,
}

/// `[attachments]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attachments {
    /// Largest content that is uploaded by itself, mebibytes.
    pub(crate) max_mib: u64,
    /// Largest content inside a resource, kibibytes after decoding.
    pub(crate) max_inline_kib: u64,
    /// Longest time for one upload, seconds.
    pub(crate) timeout_s: u64,
    pub(crate) scan: Scan,
    /// Where ClamAV's daemon listens: `unix:/path` or `host:port`.
    pub(crate) scanner: Option<String>,
    /// Longest time for a piece to be taken by the scanner, and for its verdict, seconds.
    pub(crate) scan_timeout_s: u64,
    /// Why what is scanned may cross a network, unencrypted.
    pub(crate) scanner_rationale: Option<String>,
    /// The bucket that holds them; without one they lie under `data/`.
    pub(crate) s3: Option<S3>,
}

impl Default for Attachments {
    fn default() -> Self {
        Attachments {
            max_mib: 1024,
            max_inline_kib: 4096,
            timeout_s: 3600,
            scan: Scan::default(),
            scanner: None,
            scan_timeout_s: 60,
            scanner_rationale: None,
            s3: None,
        }
    }
}

impl Attachments {
    /// The scanner that is required, if any.
    pub(crate) fn scanner(&self) -> Option<Scanner> {
        let address = self.scanner.as_deref().filter(|_| self.scan == Scan::Required)?;
        let address = match address.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(address.to_owned()),
        };
        Some(Scanner { address, patience: Duration::from_secs(self.scan_timeout_s) })
    }

    /// Whether what is scanned leaves this machine.
    fn scans_elsewhere(&self) -> bool {
        let host = self.scanner.as_deref().unwrap_or("unix:").rsplit_once(':').map(|(h, _)| h);
        !matches!(host, Some("unix" | "127.0.0.1" | "localhost" | "[::1]"))
    }
}

/// `[attachments.s3]`: an S3-compatible bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    /// `https://host[:port]`; AWS itself without one.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) bucket: String,
    /// What the names of all objects begin with.
    #[serde(default)]
    pub(crate) prefix: String,
    pub(crate) access_key_id: String,
    /// The file that holds the access key's secret, for its owner alone.
    pub(crate) secret_access_key_file: PathBuf,
    /// PEM file of a certificate authority to trust beside the system's.
    #[serde(default)]
    pub(crate) authority_file: Option<PathBuf>,
    #[serde(default = "default_s3_timeout")]
    pub(crate) timeout_s: u64,
}

fn default_s3_timeout() -> u64 {
    30
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("phial.toml can't be read: {0}")]
    Read(Box<figment::Error>),
    #[error("phial.toml: {0}")]
    Rule(String),
}

/// A setting that departs from a safe default, with the reason given.
pub(crate) struct Departure {
    pub(crate) setting: &'static str,
    pub(crate) value: String,
    pub(crate) rationale: String,
}

impl Config {
    /// The files with secrets that it names, by their settings, each where it is read: that
    /// of mail and those of providers below `home` if they are not whole.
    pub(crate) fn secret_files(&self, home: &Path) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        let mut add = |setting: String, file: Option<PathBuf>| {
            files.extend(file.map(|file| (setting, file)));
        };
        add("keys.root_file".to_owned(), self.keys.root_file.clone());
        let s3 = self.attachments.s3.as_ref().map(|s3| s3.secret_access_key_file.clone());
        add("attachments.s3.secret_access_key_file".to_owned(), s3);
        let below = |file: &PathBuf| home.join(file);
        add("mail.password_file".to_owned(), self.mail.password_file.as_ref().map(below));
        for (name, provider) in &self.sso {
            let setting = format!("sso.{name}.client_secret_file");
            add(setting, provider.client_secret_file.as_ref().map(below));
        }
        files
    }

    /// Reads and checks `path`. An empty file means the defaults; none is an error.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let config: Config = Figment::new()
            .merge(Toml::file_exact(path))
            .extract()
            .map_err(|e| ConfigError::Read(Box::new(e)))?;
        config.departures()?;
        Ok(config)
    }

    /// The departures from safe defaults.
    ///
    /// # Errors
    /// One that has no rationale, or a value out of range.
    pub(crate) fn departures(&self) -> Result<Vec<Departure>, ConfigError> {
        let mut found = Vec::new();
        let mut depart =
            |setting: &'static str, value: String, rationale: &Option<String>, key: &str| {
                match rationale.as_deref().map(str::trim).filter(|r| !r.is_empty()) {
                    Some(r) => {
                        found.push(Departure { setting, value, rationale: r.to_owned() });
                        Ok(())
                    }
                    None => Err(ConfigError::Rule(format!(
                        "{setting} departs from the safe default; say why in {key} (the audit log \
                     and the evidence report quote it)"
                    ))),
                }
            };
        if self.http.phi_in_urls == PhiInUrls::Allow {
            depart(
                "http.phi_in_urls",
                "allow".to_owned(),
                &self.http.phi_in_urls_rationale,
                "http.phi_in_urls_rationale",
            )?;
        }
        if !self.http.cors_origins.is_empty() {
            depart(
                "http.cors_origins",
                self.http.cors_origins.join(" "),
                &self.http.cors_rationale,
                "http.cors_rationale",
            )?;
        }
        if !self.http.cors_origins.iter().all(|o| crate::http::is_origin(o)) {
            return Err(ConfigError::Rule(
                "http.cors_origins takes origins such as https://app.example, each in full; `*` \
                 is none"
                    .to_owned(),
            ));
        }
        if self.session.idle_minutes > 30 {
            let value = self.session.idle_minutes.to_string();
            depart("session.idle_minutes", value, &self.session.rationale, "session.rationale")?;
        }
        if self.session.absolute_hours > 24 {
            let value = self.session.absolute_hours.to_string();
            depart("session.absolute_hours", value, &self.session.rationale, "session.rationale")?;
        }
        let longer = |(_, minutes): &(&String, &i64)| **minutes > self.session.idle_minutes;
        let longer: Vec<String> = self
            .session
            .idle_by_role
            .iter()
            .filter(longer)
            .map(|(role, minutes)| format!("{role}={minutes}"))
            .collect();
        if !longer.is_empty() {
            let value = longer.join(" ");
            depart("session.idle_by_role", value, &self.session.rationale, "session.rationale")?;
        }
        if self.review.period_days > 366 {
            let value = self.review.period_days.to_string();
            depart("review.period_days", value, &self.review.rationale, "review.rationale")?;
        }
        if let Some(fault) = self.mail.fault() {
            return Err(ConfigError::Rule(fault.to_owned()));
        }
        if !(1..=168).contains(&self.caps.window_hours) {
            return Err(ConfigError::Rule("caps.window_hours is 1 to 168".to_owned()));
        }
        let wider = self.caps.wider();
        if !wider.is_empty() {
            depart("caps", wider.join(", "), &self.caps.rationale, "caps.rationale")?;
        }
        if !self.labels.automatic {
            let value = "false".to_owned();
            depart("labels.automatic", value, &self.labels.rationale, "labels.rationale")?;
        }
        if self.jobs.keep_hours > 168 {
            let value = self.jobs.keep_hours.to_string();
            depart("jobs.keep_hours", value, &self.jobs.rationale, "jobs.rationale")?;
        }
        if self.oauth.access_minutes > 60 {
            let value = self.oauth.access_minutes.to_string();
            depart("oauth.access_minutes", value, &self.oauth.rationale, "oauth.rationale")?;
        }
        if self.oauth.offline_days > 366 {
            let value = self.oauth.offline_days.to_string();
            depart("oauth.offline_days", value, &self.oauth.rationale, "oauth.rationale")?;
        }
        if self.oauth.registration == Registration::PatientApps {
            let value = "patient-apps".to_owned();
            depart("oauth.registration", value, &self.oauth.rationale, "oauth.rationale")?;
        }
        for (name, provider) in &self.sso {
            if let Some(fault) = provider.fault(name) {
                return Err(ConfigError::Rule(format!("sso.{name}: {fault}")));
            }
            if let Some(roles) = provider.powerful() {
                let value = format!("{name} gives {roles}");
                depart("sso", value, &provider.rationale, "the rationale of its section")?;
            }
        }
        if self.attachments.scan == Scan::Required && self.attachments.scanner.is_none() {
            return Err(ConfigError::Rule(
                "attachments.scan = \"required\" needs attachments.scanner: unix:/path or host:port"
                    .to_owned(),
            ));
        }
        if self.attachments.scan == Scan::Required && self.attachments.scans_elsewhere() {
            let value = self.attachments.scanner.clone().unwrap_or_default();
            depart(
                "attachments.scanner",
                value,
                &self.attachments.scanner_rationale,
                "attachments.scanner_rationale",
            )?;
        }
        let positive = [
            ("jobs.keep_hours", self.jobs.keep_hours > 0),
            ("jobs.spare_mib", self.jobs.spare_mib <= 1 << 40),
            ("import.max_mib", (1..=1 << 30).contains(&self.import.max_mib)),
            (
                "import.sources",
                self.import.sources.iter().all(|s| crate::sources::entry(s).is_some()),
            ),
            ("attachments.max_mib", (1..=1 << 20).contains(&self.attachments.max_mib)),
            ("attachments.max_inline_kib", self.attachments.max_inline_kib <= 1 << 20),
            ("attachments.timeout_s", self.attachments.timeout_s > 0),
            ("attachments.scan_timeout_s", self.attachments.scan_timeout_s > 0),
            ("session.idle_minutes", self.session.idle_minutes > 0),
            ("session.absolute_hours", self.session.absolute_hours > 0),
            ("oauth.access_minutes", self.oauth.access_minutes > 0),
            ("oauth.offline_days", (1..=3650).contains(&self.oauth.offline_days)),
            ("oauth.hosts", self.oauth.hosts.iter().all(|h| phial_engine::is_host(h))),
            ("session.idle_by_role", self.session.idle_by_role.values().all(|m| *m > 0)),
            ("review.period_days", self.review.period_days > 0),
            (
                "http.public_url",
                self.http
                    .public_url
                    .as_ref()
                    .is_none_or(|u| u.starts_with("https://") && crate::http::is_origin(u)),
            ),
            ("keys.backup_retention_days", self.keys.backup_retention_days >= 0),
            ("http.max_body_mib", (1..=1024).contains(&self.http.max_body_mib)),
            ("http.request_timeout_s", self.http.request_timeout_s > 0),
            ("http.max_connections", self.http.max_connections > 0),
            ("http.drain_timeout_s", (1..=3600).contains(&self.http.drain_timeout_s)),
            ("http.drain_notice_s", self.http.drain_notice_s <= 600),
            ("subscriptions.timeout_s", (1..=300).contains(&self.subscriptions.timeout_s)),
            (
                "subscriptions.retry_first_ms",
                (10..=600_000).contains(&self.subscriptions.retry_first_ms),
            ),
            ("subscriptions.retry_most_s", (1..=86_400).contains(&self.subscriptions.retry_most_s)),
            ("subscriptions.attempts", (1..=1_000).contains(&self.subscriptions.attempts)),
            (
                "subscriptions.hosts",
                self.subscriptions.hosts.iter().all(|h| phial_engine::is_host(h)),
            ),
            (
                "subscriptions.base_url",
                self.subscriptions.base_url.as_ref().is_none_or(|u| {
                    u.ends_with("/fhir") && phial_engine::Endpoint::parse(u).is_some()
                }),
            ),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, good)| !good) {
            return Err(ConfigError::Rule(format!("{name} is out of range")));
        }
        if self.tls.client_ca.is_some() && !self.tls.client_certificates {
            return Err(ConfigError::Rule(
                "tls.client_ca needs tls.client_certificates".to_owned(),
            ));
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(ConfigError::Rule(
                "tls.certificate and tls.key go together: give both or neither".to_owned(),
            ));
        }
        Ok(found)
    }
}

/// A setting that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its name, such as `http.max_body_mib`.
    pub(crate) setting: String,
    /// Before and after, as JSON.
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Settings that are read once, when the program starts.
pub(crate) const NEED_A_RESTART: [&str; 7] = [
    "import.max_mib",
    "import.sources",
    "jobs.keep_hours",
    "jobs.spare_mib",
    "keys.root_file",
    "oauth.access_minutes",
    "oauth.offline_days",
];

impl Config {
    /// What is different in `other`.
    pub(crate) fn changes(&self, other: &Config) -> Vec<Change> {
        let flat = |c: &Config| {
            let mut all = BTreeMap::new();
            let value = serde_json::to_value(c).unwrap_or_default();
            for (section, keys) in value.as_object().into_iter().flatten() {
                for (key, value) in keys.as_object().into_iter().flatten() {
                    all.insert(format!("{section}.{key}"), value.to_string());
                }
            }
            all
        };
        let old = flat(self);
        flat(other)
            .into_iter()
            .filter_map(|(setting, to)| {
                let from = old.get(&setting).cloned().unwrap_or_default();
                (from != to).then_some(Change { setting, from, to })
            })
            .collect()
    }

    /// `new`, where settings that need a restart stay as they are; and the names of
    /// those that would have changed.
    pub(crate) fn as_far_as_live(&self, mut new: Config) -> (Config, Vec<String>) {
        let waiting = self
            .changes(&new)
            .into_iter()
            .map(|c| c.setting)
            // The stores and the engine are made with these.
            .filter(|s| NEED_A_RESTART.contains(&s.as_str()) || s.starts_with("attachments."))
            .collect();
        new.keys.root_file.clone_from(&self.keys.root_file);
        new.jobs.keep_hours = self.jobs.keep_hours;
        new.oauth.access_minutes = self.oauth.access_minutes;
        new.oauth.offline_days = self.oauth.offline_days;
        new.jobs.spare_mib = self.jobs.spare_mib;
        new.import = self.import.clone();
        new.attachments.clone_from(&self.attachments);
        (new, waiting)
    }
}

/// The file that `phial init` writes.
pub(crate) const TEMPLATE: &str = "\
# Phial's configuration. Every key is optional; an unknown key stops the start.
# A departure from a safe default needs a rationale, which the audit log quotes.

[http]
# phi_in_urls = \"refuse-identifiers\"   # or \"strict\", or \"allow\" (needs phi_in_urls_rationale)
# cors_origins = [\"https://app.example\"] # pages that may ask (needs cors_rationale)
# public_url = \"https://phial.example.org\"  # by which browsers know this server; none: this machine alone
# compression = true                    # of answers, when the client asks
# max_body_mib = 32
# request_timeout_s = 60
# drain_timeout_s = 30                  # for requests under way at SIGTERM
# drain_notice_s = 0                    # not ready, but still accepting, for so long

[session]
# idle_minutes = 15                     # more than 30 needs a rationale
# absolute_hours = 12                   # more than 24 needs a rationale
# idle_by_role = { nurse = 10 }         # longer than idle_minutes needs a rationale

[review]
# period_days = 90                      # after which each account is to be looked at again

[keys]
# root_file = \"/etc/phial/root.key\"     # keep the root key on another volume than the data
# backup_retention_days = 35            # quoted in certificates of destruction

[attachments]
# max_mib = 1024                        # of a Binary that is uploaded by its content
# max_inline_kib = 4096                 # of content inside a resource
# timeout_s = 3600                      # for one upload
# scan = \"off\"                         # or \"required\": what ClamAV does not pass is not stored
# scanner = \"unix:/run/clamav/clamd.ctl\"

[tls]
# certificate = \"/etc/phial/server.pem\" # without one, a development CA is made in tls/
# key = \"/etc/phial/server.key\"
# client_certificates = false           # ask for one: services may prove themselves by it
# client_ca = \"/etc/phial/services.pem\"  # CAs whose names for them count

[subscriptions]
# hosts = [\"ehr.example.org\"]         # whom notifications may go to; nobody by default
# ca = \"/etc/phial/partners.pem\"      # who may vouch for them, if not the system's CAs
# base_url = \"https://phial.example.org/fhir\"

[fhir]
# conditional_delete = \"single\"         # or \"multiple\": DELETE Type?query may end several records

[jobs]
# keep_hours = 24                       # the files of exports; more than 168 needs a rationale
# spare_mib = 512                       # exports wait while less of the disk is free

[import]
# sources = [\"https://data.example.org/exports/\"]   # where $import may fetch; none: uploads alone
# max_mib = 10240

[oauth]
# hosts = [\"apps.example.org\"]         # where keys of apps and services may be fetched from
# ca = \"/etc/phial/partners.pem\"      # who may vouch for them, if not the system's CAs
# access_minutes = 10                   # of an app's access token; more than 60 needs a rationale
# offline_days = 90                     # of offline_access; more than 366 needs a rationale
# registration = \"off\"                  # or \"approval\": apps register themselves, and wait

[scim]
# roles = [\"nurse\", \"billing\"]          # that a directory may give and take; none by default

# [sso.clinic]                          # log-in at an identity provider; see docs/operations.md
# label = \"Clinic account\"
# issuer = \"https://idp.example.org\"
# client_id = \"phial\"
";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phial.toml");
        std::fs::write(&path, toml).unwrap();
        let config = Config::read(&path).map_err(|e| e.to_string())?;
        let departures = config.departures().map_err(|e| e.to_string())?;
        Ok(departures.into_iter().map(|d| d.setting.to_owned()).collect())
    }

    #[test]
    fn an_unknown_key_stops_the_start() {
        assert!(check("[http]\nphi_in_url = \"allow\"\n").unwrap_err().contains("phi_in_url"));
        assert!(check("surprise = 1\n").is_err());
    }

    #[test]
    fn a_departure_needs_a_rationale() {
        assert!(check("[http]\nphi_in_urls = \"allow\"\n").unwrap_err().contains("rationale"));
        assert!(check("[session]\nidle_minutes = 60\nrationale = \"  \"\n").is_err());
        let good = "[http]\nphi_in_urls = \"allow\"\nphi_in_urls_rationale = \"legacy client\"\n";
        assert_eq!(check(good).unwrap(), ["http.phi_in_urls"]);
        let origins = "[http]\ncors_origins = [\"https://app.example\"]\n";
        assert!(check(origins).unwrap_err().contains("cors_rationale"));
        let good = format!("{origins}cors_rationale = \"the portal is a page\"\n");
        assert_eq!(check(&good).unwrap(), ["http.cors_origins"]);
        let any = good.replace("https://app.example", "*");
        assert!(check(&any).unwrap_err().contains("each in full"));
    }

    #[test]
    fn a_scanner_elsewhere_needs_a_rationale() {
        let of = |scanner: &str, more: &str| {
            check(&format!("[attachments]\nscan = \"required\"\nscanner = \"{scanner}\"\n{more}"))
        };
        for here in ["unix:/run/clamd.ctl", "127.0.0.1:3310", "localhost:3310", "[::1]:3310"] {
            assert_eq!(of(here, "").unwrap(), Vec::<String>::new(), "{here}");
        }
        for there in ["10.0.0.7:3310", "localhost.example:3310"] {
            assert!(of(there, "").unwrap_err().contains("scanner_rationale"), "{there}");
            let why = "scanner_rationale = \"a tunnel of our own\"\n";
            assert_eq!(of(there, why).unwrap(), ["attachments.scanner"]);
        }
        assert!(check("[attachments]\nscan = \"required\"\n").unwrap_err().contains("scanner"));
        assert!(check("[attachments.s3]\nbucket = \"b\"\n").is_err());
    }

    #[test]
    fn changes_are_named_and_what_needs_a_restart_stays() {
        let old = Config::default();
        let mut new = old.clone();
        new.http.max_body_mib = 64;
        new.session.idle_minutes = 10;
        new.keys.root_file = Some("/elsewhere/root.key".into());
        new.jobs.keep_hours = 48;
        new.jobs.spare_mib = 7;
        new.import.sources = vec!["https://data.example.org/".to_owned()];
        new.import.max_mib = 1;
        new.oauth.access_minutes = 5;
        new.oauth.offline_days = 7;
        let names: Vec<_> = old.changes(&new).into_iter().map(|c| c.setting).collect();
        assert_eq!(
            names,
            [
                "http.max_body_mib",
                "import.max_mib",
                "import.sources",
                "jobs.keep_hours",
                "jobs.spare_mib",
                "keys.root_file",
                "oauth.access_minutes",
                "oauth.offline_days",
                "session.idle_minutes"
            ]
        );
        let mut other = new.clone();
        other.attachments.max_mib = 7;
        let (live, waiting) = old.as_far_as_live(other);
        assert_eq!((waiting[0].as_str(), live.attachments.max_mib), ("attachments.max_mib", 1024));
        let (live, waiting) = old.as_far_as_live(new);
        assert_eq!(waiting, NEED_A_RESTART);
        assert_eq!((live.http.max_body_mib, live.keys.root_file), (64, None));
    }

    #[test]
    fn the_template_is_the_default() {
        assert_eq!(check(TEMPLATE).unwrap(), Vec::<String>::new());
    }
}
