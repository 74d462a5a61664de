//! Direct identifiers in URLs: refused by default, since URLs end up in proxies'
//! logs and browsers' histories (invariant 8).

use phial_fhir::definitions::ResourceType;
use phial_fhir::search::parse_criterion;

use crate::config::PhiInUrls;

/// The first parameter that may not stand in a URL, when these types are searched.
pub(crate) fn offending<'p>(
    mode: PhiInUrls,
    types: &[ResourceType],
    pairs: &'p [(String, String)],
) -> Option<&'p str> {
    if mode == PhiInUrls::Allow {
        return None;
    }
    let found = pairs.iter().find(|(name, text)| {
        let name = name.as_str();
        let control = matches!(
            name,
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
                | "_type"
        );
        if control || name.starts_with("_include:") || name.starts_with("_revinclude:") {
            return false;
        }
        if mode == PhiInUrls::Strict {
            return true;
        }
        // What can be read says by itself what it looks at, through chains and filters.
        let read = types.iter().filter_map(|ty| Some((*ty, parse_criterion(*ty, name, text)?)));
        if read.clone().any(|(ty, criterion)| criterion.identifies(ty)) {
            return true;
        }
        // What can't be read is refused later; its value is in the URL already.
        read.count() < types.len() && name.split(['.', ':']).any(names_a_person)
    });
    found.map(|(name, _)| name.as_str())
}

/// Whether a part of a name is that of an identifier in some type.
fn names_a_person(part: &str) -> bool {
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
            | "_filter"
            | "_text"
            | "_content"
    ) || part.starts_with("address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: PhiInUrls, ty: &str, name: &str) -> bool {
        let (name, value) = name.split_once('=').unwrap_or((name, "x"));
        let pairs = [(name.to_owned(), value.to_owned())];
        offending(mode, &[ResourceType::from_name(ty).unwrap()], &pairs).is_some()
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
        for (ty, name) in [
            ("Observation", "subject:Patient.birthdate=2000-01-01"),
            ("Observation", "subject.birthdate=not a date"),
            ("Patient", "_has:Encounter:patient:identifier=x"),
            ("Patient", "_has:RelatedPerson:patient:name=x"),
            ("Patient", "_filter=gender eq male or name co \"pet\""),
            ("Observation", "_filter=patient.family eq x"),
            ("Observation", "_filter=patient.family"),
            ("Patient", "_text=x"),
            ("Patient", "identifier:of-type=a|b|c"),
        ] {
            assert!(check(PhiInUrls::RefuseIdentifiers, ty, name), "{ty} {name}");
        }
        for (ty, name) in [
            ("Observation", "subject:Patient.gender=male"),
            ("Patient", "_has:Observation:patient:code=8480-6"),
            ("Patient", "_filter=gender eq male"),
            ("Observation", "_revinclude:iterate=Provenance:target"),
        ] {
            assert!(!check(PhiInUrls::RefuseIdentifiers, ty, name), "{ty} {name}");
        }
        assert!(check(PhiInUrls::Strict, "Observation", "code"));
        assert!(!check(PhiInUrls::Strict, "Observation", "_page"));
        assert!(!check(PhiInUrls::Allow, "Patient", "name"));
    }
}
