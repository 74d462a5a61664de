//! Invariant 1: receipt before release.

use bytes::Bytes;
use phial_base::Version;
use phial_fhir::definitions::ResourceType;
use phial_policy::{Obligation, Permit};
use phial_store::auditlog::Receipt;

/// Bytes that may leave. It can only be made from the permits that allowed their
/// content and the receipt of the audit entry that names it; both have private
/// constructors, and the receipt carries the digest of these very bytes.
pub struct Released {
    body: Bytes,
    facts: Option<ReleasedFacts>,
    redisclosure: bool,
}

/// What HTTP headers need to know of a single released record.
#[derive(Clone, Debug)]
pub struct ReleasedFacts {
    /// Resource type.
    pub ty: ResourceType,
    /// Version, for the ETag.
    pub version: Version,
    /// Microseconds since the epoch, for Last-Modified.
    pub last_updated: i64,
}

/// Bytes on their way out, with their digest. The bytes can't be changed any more, so
/// the digest that the audit entry is written with is theirs when they leave.
pub(crate) struct Output {
    body: Bytes,
    digest: [u8; 32],
}

impl Output {
    pub(crate) fn new(body: Bytes) -> Self {
        Output { digest: phial_crypto::sha256(&body), body }
    }

    /// SHA-256 of the bytes.
    pub(crate) const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// A receipt that does not belong to these bytes or permits: a defect.
#[derive(Debug, thiserror::Error)]
#[error("the receipt does not cover what would be released")]
pub(crate) struct NotCovered;

impl Released {
    pub(crate) fn new(
        permits: &[Permit],
        receipt: &Receipt,
        output: Output,
        facts: Option<ReleasedFacts>,
    ) -> Result<Self, NotCovered> {
        let Output { body, digest } = output;
        let named = permits.iter().all(|p| receipt.covers(p.row(), p.version()));
        if receipt.output_digest() == Some(digest) && named {
            let owed = |p: &Permit| p.obligations().has(Obligation::RedisclosureNotice);
            let redisclosure = permits.iter().any(owed);
            Ok(Released { body, facts, redisclosure })
        } else {
            Err(NotCovered)
        }
    }

    /// An answer put together from parts, each released by itself, and text of ours
    /// (statuses, locations) that holds nothing of a record.
    pub(crate) fn assembled(parts: &[Released], body: Bytes) -> Self {
        let redisclosure = parts.iter().any(|p| p.redisclosure);
        Released { body, facts: None, redisclosure }
    }

    /// The bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes, to send.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// Whether the notice that prohibits redisclosure must go with it (42 CFR 2.32).
    #[must_use]
    pub fn owes_notice(&self) -> bool {
        self.redisclosure
    }

    /// Version and date of a single record; `None` for bundles.
    #[must_use]
    pub fn facts(&self) -> Option<&ReleasedFacts> {
        self.facts.as_ref()
    }
}
