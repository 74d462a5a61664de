//! What the text of `Reference.reference` can be.
//!
//! Source: <https://hl7.org/fhir/R4/references.html>, <https://hl7.org/fhir/R4/http.html#transaction>
//! (conditional references).

use crate::definitions::ResourceType;

/// A reference, taken apart. Nothing is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind<'a> {
    /// `Type/id` or `Type/id/_history/version`.
    Relative {
        /// The type of the target.
        type_: ResourceType,
        /// The target's logical id.
        id: &'a str,
        /// The version, if one is named.
        version: Option<&'a str>,
    },
    /// `http://…` or `https://…`, and other absolute URIs.
    Absolute(&'a str),
    /// `urn:uuid:…`, whole.
    UrnUuid(&'a str),
    /// `urn:oid:…`, whole.
    UrnOid(&'a str),
    /// `#fragment`, without the `#`; empty for the container itself.
    Contained(&'a str),
    /// `Type?query`, for transactions.
    Conditional {
        /// The type of the target.
        type_: ResourceType,
        /// The query, after the `?`.
        query: &'a str,
    },
    /// Something else.
    Other,
}

/// Takes a reference apart.
#[must_use]
pub fn classify(reference: &str) -> RefKind<'_> {
    if let Some(fragment) = reference.strip_prefix('#') {
        return RefKind::Contained(fragment);
    }
    if reference.starts_with("urn:uuid:") {
        return RefKind::UrnUuid(reference);
    }
    if reference.starts_with("urn:oid:") {
        return RefKind::UrnOid(reference);
    }
    if has_scheme(reference) {
        return RefKind::Absolute(reference);
    }
    if let Some((type_, query)) = reference.split_once('?') {
        return match ResourceType::from_name(type_) {
            Some(type_) if !query.is_empty() => RefKind::Conditional { type_, query },
            _ => RefKind::Other,
        };
    }
    relative(reference).unwrap_or(RefKind::Other)
}

fn relative(reference: &str) -> Option<RefKind<'_>> {
    // A fragment names a place within the target.
    let (path, fragment) = reference.split_once('#').unwrap_or((reference, "x"));
    let mut parts = path.split('/');
    let type_ = ResourceType::from_name(parts.next()?)?;
    let id = parts.next().filter(|id| is_id(id))?;
    let version = match (parts.next(), parts.next(), parts.next()) {
        (None, _, _) => None,
        (Some("_history"), Some(version), None) if is_id(version) => Some(version),
        _ => return None,
    };
    (!fragment.is_empty()).then_some(RefKind::Relative { type_, id, version })
}

/// Whether the text begins with a URI scheme (RFC 3986 §3.1).
pub(crate) fn has_scheme(s: &str) -> bool {
    s.split_once(':').is_some_and(|(scheme, _)| {
        scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

/// Whether the text has the form of a FHIR `id`.
pub(crate) fn is_id(s: &str) -> bool {
    (1..=64).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// The type and id that an absolute `http(s)` URL of the form `base/Type/id` names.
#[must_use]
pub fn last_two(url: &str) -> Option<(ResourceType, &str)> {
    let path = url.split_once("/_history/").map_or(url, |(head, _)| head);
    let (rest, id) = path.rsplit_once('/')?;
    let type_ = rest.rsplit_once('/').map_or(rest, |(_, t)| t);
    Some((ResourceType::from_name(type_)?, id)).filter(|(_, id)| is_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let patient = ResourceType::from_name("Patient").unwrap();
        let rel = |id, version| RefKind::Relative { type_: patient, id, version };
        for (text, kind) in [
            ("Patient/1", rel("1", None)),
            ("Patient/1/_history/2", rel("1", Some("2"))),
            ("Patient/1#frag", rel("1", None)),
            ("http://a.b/Patient/1", RefKind::Absolute("http://a.b/Patient/1")),
            ("urn:uuid:x", RefKind::UrnUuid("urn:uuid:x")),
            ("urn:oid:1.2", RefKind::UrnOid("urn:oid:1.2")),
            ("#a", RefKind::Contained("a")),
            ("#", RefKind::Contained("")),
            (
                "Patient?identifier=a|b",
                RefKind::Conditional { type_: patient, query: "identifier=a|b" },
            ),
            ("Patient?", RefKind::Other),
            ("Patient", RefKind::Other),
            ("Patient/", RefKind::Other),
            ("Patient/a b", RefKind::Other),
            ("Patient/1/2", RefKind::Other),
            ("Patient/1/_history", RefKind::Other),
            ("Nobody/1", RefKind::Other),
            ("/Patient/1", RefKind::Other),
            ("", RefKind::Other),
        ] {
            assert_eq!(classify(text), kind, "{text}");
        }
        assert_eq!(last_two("https://x/fhir/Patient/9/_history/1"), Some((patient, "9")));
        assert_eq!(last_two("https://x/fhir/none/9"), None);
    }
}
