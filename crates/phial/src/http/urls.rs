//! Direct identifiers in URLs: refused by default, since URLs end up in proxies'
//! logs and browsers' histories (invariant 8).

use phial_fhir::definitions::ResourceType;
use phial_fhir::search::param;

use crate::config::PhiInUrls;

/// The first parameter that may not stand in a URL.
pub(crate) fn offending(
    mode: PhiInUrls,
    ty: ResourceType,
    pairs: &[(String, String)],
) -> Option<&str> {
    if mode == PhiInUrls::Allow {
        return None;
    }
    pairs.iter().map(|(name, _)| name.as_str()).find(|name| {
        let control = matches!(
            *name,
            "_page"
                | "_count"
                | "_sort"
                | "_format"
                | "_pretty"
                | "_summary"
                | "_include"
                | "_revinclude"
                | "_total"
                | "_elements"
        );
        if control {
            return false;
        }
        if mode == PhiInUrls::Strict {
            return true;
        }
        // Chains and modifiers: any part that names an identifier counts, and so does
        // the logical `:identifier` of a reference.
        let plain = name.split(':').next().unwrap_or(name);
        let direct = param(ty, plain).is_some_and(|p| p.is_direct_identifier(ty));
        let chained = name.split(['.', ':']).skip(1).any(|part| {
            matches!(
                part,
                "identifier"
                    | "name"
                    | "family"
                    | "given"
                    | "birthdate"
                    | "telecom"
                    | "phone"
                    | "email"
                    | "death-date"
            ) || part.starts_with("address")
        });
        direct || chained
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: PhiInUrls, ty: &str, name: &str) -> bool {
        let pairs = [(name.to_owned(), "x".to_owned())];
        offending(mode, ResourceType::from_name(ty).unwrap(), &pairs).is_some()
    }

    #[test]
    fn direct_identifiers_are_refused_and_references_are_not() {
        for name in ["name", "family:exact", "birthdate", "identifier", "phone", "address-city"] {
            assert!(check(PhiInUrls::RefuseIdentifiers, "Patient", name), "{name}");
        }
        for name in ["patient", "code", "date", "_count", "_page"] {
            assert!(!check(PhiInUrls::RefuseIdentifiers, "Observation", name), "{name}");
        }
        assert!(check(PhiInUrls::RefuseIdentifiers, "Observation", "patient.name"));
        assert!(check(PhiInUrls::RefuseIdentifiers, "Observation", "patient:identifier"));
        assert!(check(PhiInUrls::Strict, "Observation", "code"));
        assert!(!check(PhiInUrls::Strict, "Observation", "_page"));
        assert!(!check(PhiInUrls::Allow, "Patient", "name"));
    }
}
