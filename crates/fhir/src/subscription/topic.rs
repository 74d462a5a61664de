//! The topics that the server holds: that a record was created, updated or deleted; of
//! every type, or of one.
//!
//! `urn:phial:topic:changed` is about every change of every record;
//! `urn:phial:topic:created`, `:updated` and `:deleted` are about one kind of change; with
//! a type at the end (`urn:phial:topic:changed:Observation`) a topic is about records of
//! that type. When filters name types, a topic of every type is about those types.
//!
//! A search as criteria, as R4 itself has them, stands for a topic too: that a record of
//! its type was created or updated, and is what the search finds.

use crate::definitions::ResourceType;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It came into being, or came back after it had been deleted.
    Created,
    /// It was replaced.
    Updated,
    /// It was deleted.
    Deleted,
}

impl Change {
    /// All.
    pub const ALL: [Change; 3] = [Change::Created, Change::Updated, Change::Deleted];

    /// Its name in topics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Deleted => "deleted",
        }
    }

    /// The change with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// The topics about records of every type: canonical URL and what it is about.
pub const TOPICS: [(&str, Option<Change>); 4] = [
    ("urn:phial:topic:changed", None),
    ("urn:phial:topic:created", Some(Change::Created)),
    ("urn:phial:topic:updated", Some(Change::Updated)),
    ("urn:phial:topic:deleted", Some(Change::Deleted)),
];

/// What is never told about: how subscriptions stand is theirs to ask, and a topic about
/// them would tell of its own telling.
const NEVER: &str = "Subscription";

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    url: String,
    change: Option<Change>,
    ty: Option<ResourceType>,
    /// Whether a search stands for it: then deletions are not told.
    search: bool,
}

impl Topic {
    /// The topic with this canonical URL, if there is one. A version (`|1`) is not part
    /// of any.
    #[must_use]
    pub fn from_url(url: &str) -> Option<Self> {
        let (change, rest) = TOPICS.iter().find_map(|(u, change)| {
            url.strip_prefix(u).filter(|r| r.is_empty() || r.starts_with(':')).map(|r| (*change, r))
        })?;
        let ty = match rest.strip_prefix(':') {
            None => None,
            Some(name) => Some(ResourceType::from_name(name).filter(|t| t.name() != NEVER)?),
        };
        Some(Topic { url: url.to_owned(), change, ty, search: false })
    }

    /// What a search of this type as criteria is about
    /// (<https://hl7.org/fhir/R4/subscription.html>: what is created or updated, judged by
    /// its new value, and never what is deleted).
    #[must_use]
    pub fn of_search(ty: ResourceType) -> Option<Self> {
        let url = format!("{}:{}", TOPICS[0].0, ty.name());
        (ty.name() != NEVER).then_some(Topic { url, change: None, ty: Some(ty), search: true })
    }

    /// Whether a search stands for it: R4's own kind of Subscription, which is told in
    /// R4's way.
    #[must_use]
    pub fn is_search(&self) -> bool {
        self.search
    }

    /// Its canonical URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it can be about a record of this type.
    #[must_use]
    pub fn may_be(&self, ty: ResourceType) -> bool {
        ty.name() != NEVER && self.ty.is_none_or(|own| own == ty)
    }

    /// Whether it is about this change of a record of this type.
    #[must_use]
    pub fn is_about(&self, ty: ResourceType, change: Change) -> bool {
        self.may_be(ty)
            && self.change.is_none_or(|own| own == change)
            && !(self.search && change == Change::Deleted)
    }
}
