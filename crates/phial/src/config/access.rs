//! Settings of who may see how much, what is labelled, and who is told: `[caps]`,
//! `[labels]`, `[mail]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[caps]`: how many patients' records one account may read in a window.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Caps {
    /// The window, hours.
    pub(crate) window_hours: i64,
    /// The most patients by role, in the place of what ships; 0 is no cap. More than what
    /// ships needs a rationale.
    pub(crate) patients: BTreeMap<String, u32>,
    pub(crate) rationale: Option<String>,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { window_hours: 24, patients: BTreeMap::new(), rationale: None }
    }
}

impl Caps {
    /// The caps in force.
    pub(crate) fn in_force(&self) -> phial_engine::access::cap::Caps {
        let mut caps = phial_engine::access::cap::Caps {
            window: jiff::SignedDuration::from_hours(self.window_hours),
            ..Default::default()
        };
        for (role, most) in &self.patients {
            if *most == 0 {
                caps.patients.remove(role);
            } else {
                caps.patients.insert(role.clone(), *most);
            }
        }
        caps
    }

    /// Roles that may read more than they ship with, and how much.
    pub(super) fn wider(&self) -> Vec<String> {
        let shipped = phial_engine::access::cap::SHIPPED;
        let of = |role: &str| shipped.iter().find(|(r, _)| *r == role).map(|(_, most)| *most);
        let wider = |role: &str, most: u32| of(role).is_some_and(|s| most == 0 || most > s);
        let named = self.patients.iter().filter(|(role, most)| wider(role, **most));
        let mut all: Vec<String> = named.map(|(role, most)| format!("{role} {most}")).collect();
        if self.window_hours < 24 {
            all.push(format!("{} hours", self.window_hours));
        }
        all
    }
}

/// How a connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MailTls {
    /// TLS from the first byte (port 465).
    #[default]
    Implicit,
    /// A plain greeting, then TLS or nothing (port 587).
    Starttls,
}

/// `[mail]`: where alerts go. They hold nothing of a patient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mail {
    /// The mail server, HOST:PORT. Nothing is mailed without one.
    pub(crate) server: Option<String>,
    pub(crate) tls: MailTls,
    /// PEM file of the CAs to trust; the system's, if not given.
    pub(crate) ca: Option<PathBuf>,
    /// The sender's address.
    pub(crate) from: String,
    /// Those who are told.
    pub(crate) to: Vec<String>,
    pub(crate) user: Option<String>,
    /// A file that holds the password and is for its owner alone.
    pub(crate) password_file: Option<PathBuf>,
}

impl Mail {
    pub(super) fn fault(&self) -> Option<&'static str> {
        let address = |a: &String| {
            a.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
                && a.len() <= 254
                && a.bytes().all(|b| b.is_ascii_graphic() && !b"<>,;:\"()[]\\".contains(&b))
        };
        let server = |s: &String| {
            s.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0)
            })
        };
        match &self.server {
            None if *self != Mail::default() => Some("mail needs mail.server: HOST:PORT"),
            None => None,
            Some(s) if !server(s) => Some("mail.server is HOST:PORT"),
            Some(_) if !address(&self.from) => Some("mail.from is an address"),
            Some(_) if self.to.is_empty() || !self.to.iter().all(address) => {
                Some("mail.to is a list of addresses")
            }
            Some(_) if self.user.is_some() != self.password_file.is_some() => {
                Some("mail.user and mail.password_file come together")
            }
            Some(_) => None,
        }
    }
}

/// `[labels]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Labels {
    /// Whether records are labelled for the codes in them. False needs a rationale.
    pub(crate) automatic: bool,
    pub(crate) rationale: Option<String>,
    /// A list of codes of one's own, beside the shipped ones.
    pub(crate) list: Option<PathBuf>,
}

impl Default for Labels {
    fn default() -> Self {
        Labels { automatic: true, rationale: None, list: None }
    }
}
