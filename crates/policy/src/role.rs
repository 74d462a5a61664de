//! Roles as data: what they are for, which purposes they may claim, which actions
//! they may do at all. What they see is in the policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phial_base::Purpose;
use serde::Deserialize;

use crate::{Action, Error};

/// A role of `roles.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name that accounts carry and policies use.
    pub name: Arc<str>,
    /// One sentence for people.
    pub description: String,
    /// Purposes of use that the role may claim; the first is its default.
    pub purposes: Vec<Purpose>,
    /// The most that the role may do; policies decide within it.
    pub actions: BTreeSet<Action>,
}

impl Role {
    /// The purpose of a session that names none.
    #[must_use]
    pub fn default_purpose(&self) -> Option<Purpose> {
        self.purposes.first().copied()
    }
}

/// How many roles a policy set may have: sets of roles are kept as bits.
const MOST: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    description: String,
    purposes: Vec<String>,
    actions: Vec<String>,
}

/// Reads `roles.toml`: one table per role, sorted by name.
pub(crate) fn parse(text: &str) -> Result<Vec<Role>, Error> {
    let written: BTreeMap<String, Written> =
        toml::from_str(text).map_err(|e| Error::Roles(e.message().to_owned()))?;
    if written.len() > MOST {
        return Err(Error::Roles(format!("more than {MOST} roles")));
    }
    written.into_iter().map(|(name, w)| role(name, w)).collect()
}

fn role(name: String, w: Written) -> Result<Role, Error> {
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        return Err(Error::Roles(format!("\"{name}\" is no role name; use a-z, 0-9 and -")));
    }
    if w.description.trim().is_empty() {
        return Err(Error::Roles(format!("role {name} has no description")));
    }
    let mut purposes = Vec::new();
    for code in &w.purposes {
        let p = Purpose::from_code(code).ok_or_else(|| {
            Error::Roles(format!("role {name} names \"{code}\", which is no purpose of use"))
        })?;
        if purposes.contains(&p) {
            return Err(Error::Roles(format!("role {name} names the purpose {code} twice")));
        }
        purposes.push(p);
    }
    if purposes.is_empty() {
        return Err(Error::Roles(format!("role {name} may claim no purpose")));
    }
    let mut actions = BTreeSet::new();
    for a in &w.actions {
        let action = Action::from_name(a).ok_or_else(|| {
            Error::Roles(format!("role {name} names \"{a}\", which is no action"))
        })?;
        if !actions.insert(action) {
            return Err(Error::Roles(format!("role {name} names the action {a} twice")));
        }
    }
    Ok(Role { name: name.into(), description: w.description, purposes, actions })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse(text) {
            Err(e) => e.to_string(),
            Ok(r) => panic!("accepted: {r:?}"),
        }
    }

    #[test]
    fn a_role_is_read_as_written() {
        let roles = parse(
            "[scribe]\ndescription = \"Writes notes.\"\npurposes = [\"TREAT\", \"HOPERAT\"]\nactions = [\"read\"]\n",
        )
        .unwrap();
        assert_eq!(roles.len(), 1);
        assert_eq!(&*roles[0].name, "scribe");
        assert_eq!(roles[0].default_purpose(), Some(Purpose::TREAT));
        assert!(roles[0].actions.contains(&Action::Read));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let with = |purposes: &str, actions: &str, more: &str| {
            format!(
                "[r]\ndescription = \"x\"\npurposes = [{purposes}]\nactions = [{actions}]\n{more}"
            )
        };
        assert!(refused(&with("\"TREAD\"", "\"read\"", "")).contains("no purpose of use"));
        assert!(refused(&with("\"TREAT\"", "\"search\"", "")).contains("no action"));
        assert!(refused(&with("\"TREAT\"", "\"read\"", "color = 1")).contains("unknown field"));
        assert!(refused(&with("", "\"read\"", "")).contains("no purpose"));
        assert!(refused(&with("\"TREAT\",\"TREAT\"", "", "")).contains("twice"));
        assert!(
            refused("[\"A b\"]\ndescription=\"x\"\npurposes=[\"TREAT\"]\nactions=[]")
                .contains("no role name")
        );
    }
}
