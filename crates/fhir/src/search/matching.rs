//! Whether one resource satisfies a query, without an index: for what is looked at once,
//! as it passes by.
//!
//! The rules are those of search: <https://hl7.org/fhir/R4/search.html>. A value of a
//! class that is not visible takes no part. What negates (`:not`, `:missing`, `ne`) holds
//! only where every class that the parameter can have is visible, so that it tells
//! nothing about what is not.

use phial_base::{ClassSet, DataClass, LogicalId};

use super::{
    Filter, Modifier, On, Operand, ParamId, Prefix, Query, Term, UCUM, date_matches, fold,
    has_phrase, number_matches, range_matches, unit_matches, unit_ratio,
};
use crate::definitions::ResourceType;

/// What a query is held against.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The logical id.
    pub id: &'a LogicalId,
    /// When the version was stored, microseconds since the epoch.
    pub last_updated: i64,
    /// Its values.
    pub values: &'a [(ParamId, DataClass, Term)],
    /// The classes that the asker may see of it.
    pub visible: ClassSet,
}

/// Whether every filter of the query can be decided without an index: no reference is
/// followed and no value set is asked.
#[must_use]
pub fn is_local(query: &Query) -> bool {
    query.compartment.is_none()
        && query.criteria.is_empty()
        && query.filters.iter().all(|f| {
            matches!(f.on, On::Id | On::LastUpdated | On::Param(_))
                && matches!(
                    f.modifier,
                    Modifier::None
                        | Modifier::Exact
                        | Modifier::Contains
                        | Modifier::Missing
                        | Modifier::Not
                        | Modifier::Type(_)
                )
        })
}

/// Whether all filters of the query hold. The order, includes and counts of a query are
/// not looked at.
#[must_use]
pub fn matches(query: &Query, of: &Candidate<'_>) -> bool {
    is_local(query) && query.filters.iter().all(|f| holds(query, f, of))
}

fn holds(query: &Query, filter: &Filter, of: &Candidate<'_>) -> bool {
    match filter.on {
        On::Id => filter.values.iter().any(|v| matches!(v, Operand::Id(id) if id == of.id)),
        On::LastUpdated => filter.values.iter().any(|v| match v {
            Operand::Date { prefix, low, high } => {
                let at = of.last_updated;
                date_matches(*prefix, *low, *high, (at, at.saturating_add(1)))
            }
            _ => false,
        }),
        On::Param(param) => on_param(query, filter, param, of),
        #[expect(unreachable_patterns, reason = "what search learns to look at is not local")]
        _ => false,
    }
}

fn on_param(query: &Query, filter: &Filter, param: ParamId, of: &Candidate<'_>) -> bool {
    let values = || of.values.iter().filter(|(p, ..)| *p == param);
    let all_visible =
        of.visible.covers(param.classes(query.ty)) && values().all(|(_, c, _)| of.visible.has(*c));
    let targets = param.targets(query.ty);
    let any = |filter: &Filter| {
        values().any(|(_, class, term)| {
            of.visible.has(*class)
                && filter.values.iter().any(|v| {
                    value(filter.modifier, v, term, of.visible) && is_meant(&targets, v, term)
                })
        })
    };
    match filter.modifier {
        Modifier::Missing => filter.values.iter().any(|v| {
            matches!(v, Operand::Missing(missing)
                if all_visible && values().any(|(.., term)| term.stands()) != *missing)
        }),
        Modifier::Not => all_visible && !any(filter),
        _ => (!filter.values.iter().any(negates) || all_visible) && any(filter),
    }
}

fn negates(operand: &Operand) -> bool {
    match operand {
        Operand::Date { prefix, .. }
        | Operand::Number { prefix, .. }
        | Operand::Quantity { prefix, .. } => *prefix == Prefix::Ne,
        Operand::Parts(parts) => parts.iter().any(negates),
        _ => false,
    }
}

fn value(modifier: Modifier, wanted: &Operand, term: &Term, visible: ClassSet) -> bool {
    match (wanted, term) {
        (Operand::Token { system, code }, Term::Token { system: s, code: c }) => {
            system.as_ref().is_none_or(|wanted| wanted == s)
                && code.as_ref().is_none_or(|wanted| Some(wanted) == c.as_ref())
        }
        // Of a part of a family name only the beginning counts.
        (Operand::Str(wanted), Term::Later { text }) => {
            modifier == Modifier::None && text.starts_with(&fold(wanted))
        }
        (Operand::Str(wanted), Term::Str { text }) => match modifier {
            Modifier::Exact => wanted == text,
            Modifier::Contains => fold(text).contains(&fold(wanted)),
            _ => fold(text).starts_with(&fold(wanted)),
        },
        (Operand::Date { prefix, low, high }, Term::Date { low: l, high: h }) => {
            date_matches(*prefix, *low, *high, (*l, *h))
        }
        (Operand::Number { prefix, value, low, high }, Term::Number { value: of, .. }) => {
            number_matches(*prefix, *value, *low, *high, *of)
        }
        (Operand::Number { prefix, value, low, high }, Term::Range { low: l, high: h, .. }) => {
            range_matches(*prefix, *value, (*low, *high), (*l, *h))
        }
        (
            Operand::Quantity { prefix, value, low, high, system, code },
            Term::Quantity { value: of, system: s, code: c, unit, .. },
        ) => {
            let unit = (s.as_deref(), c.as_deref(), unit.as_deref());
            amounts((system.as_deref(), code.as_deref()), unit, [*of])
                .is_some_and(|[of]| number_matches(*prefix, *value, *low, *high, of))
        }
        (
            Operand::Quantity { prefix, value, low, high, system, code },
            Term::Range { low: l, high: h, system: s, code: c, unit },
        ) => {
            let unit = (s.as_deref(), c.as_deref(), unit.as_deref());
            amounts((system.as_deref(), code.as_deref()), unit, [*l, *h])
                .is_some_and(|[l, h]| range_matches(*prefix, *value, (*low, *high), (l, h)))
        }
        (Operand::Ref { target, id, url }, Term::Ref { target: t, id: i, url: u, .. }) => {
            // Of an id with a URL, either: the two names of a record of this server.
            let of_type = target.is_none_or(|wanted| Some(wanted) == *t);
            let by_id = of_type && id.is_some() && id == i;
            by_id || (url.is_some() && url == u && (id.is_some() || of_type))
        }
        (Operand::Uri(wanted), Term::Uri { uri }) => wanted == uri,
        (Operand::Phrase(wanted), Term::Order { words }) => has_phrase(words, wanted),
        (Operand::Parts(wanted), Term::Parts { parts }) => {
            wanted.len() == parts.len()
                && wanted.iter().zip(parts).all(|(wanted, found)| {
                    found.iter().any(|(class, term): &(DataClass, Term)| {
                        visible.has(*class) && value(Modifier::None, wanted, term, visible)
                    })
                })
        }
        _ => false,
    }
}

/// Whether an id alone is of a type that the parameter is about (decision 49).
fn is_meant(targets: &[ResourceType], wanted: &Operand, term: &Term) -> bool {
    match (wanted, term) {
        (Operand::Ref { target: None, id: Some(_), .. }, Term::Ref { target: Some(of), .. }) => {
            targets.is_empty() || targets.contains(of)
        }
        _ => true,
    }
}

/// An amount in the unit that is searched for: as it stands, or by way of UCUM.
fn amounts<const N: usize>(
    wanted: (Option<&str>, Option<&str>),
    unit: (Option<&str>, Option<&str>, Option<&str>),
    of: [f64; N],
) -> Option<[f64; N]> {
    if unit_matches(wanted, unit) {
        return Some(of);
    }
    let (Some(UCUM), Some(to)) = wanted else { return None };
    let (Some(UCUM), Some(from), _) = unit else { return None };
    unit_ratio(from, to).map(|(times, by)| of.map(|n| n * times / by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{extract_again, parse_query};
    use crate::{Doc, Limits};

    const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o1","status":"final",
        "code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},
        "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T08:00:00Z",
        "valueQuantity":{"value":120,"system":"http://unitsofmeasure.org","code":"mm[Hg]","unit":"mmHg"}}"#;
    const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","gender":"female",
        "birthDate":"1970-02","name":[{"family":"Müller","given":["Ana"]}]}"#;

    fn check(body: &str, query: &str, visible: ClassSet) -> bool {
        let doc = Doc::parse(body.as_bytes(), &Limits::default()).unwrap();
        let (ty, rest) = query.split_once('?').unwrap();
        let ty = ResourceType::from_name(ty).unwrap();
        let pairs: Vec<(String, String)> = rest
            .split('&')
            .map(|p| p.split_once('=').unwrap())
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        let query = parse_query(ty, &pairs).unwrap();
        let id = doc.root().member("id").unwrap().as_str().unwrap().into_owned();
        let values = extract_again(&doc, ty);
        let id = LogicalId::new(&id).unwrap();
        matches(
            &query,
            &Candidate { id: &id, last_updated: 1_000, values: &values.values, visible },
        )
    }

    #[test]
    fn a_resource_satisfies_what_a_search_would_find_it_by() {
        for (query, expected) in [
            ("Observation?code=8480-6", true),
            ("Observation?code=http://loinc.org|8480-6", true),
            ("Observation?code=http://loinc.org|", true),
            ("Observation?code=|8480-6", false),
            ("Observation?code=other,8480-6", true),
            ("Observation?code:not=other", true),
            ("Observation?code:not=8480-6", false),
            ("Observation?status=final&code=other", false),
            ("Observation?subject=Patient/p1", true),
            ("Observation?patient=p1", true),
            ("Observation?subject=Patient/p2", false),
            ("Observation?date=2026-03-01", true),
            ("Observation?date=ge2026-03-02", false),
            ("Observation?date=lt2026-04", true),
            ("Observation?value-quantity=gt119", true),
            ("Observation?value-quantity=gt120", false),
            ("Observation?value-quantity=120|http://unitsofmeasure.org|mm[Hg]", true),
            ("Observation?value-quantity=120||mmHg", true),
            ("Observation?value-quantity=120||kPa", false),
            ("Observation?value-quantity=gt15|http://unitsofmeasure.org|kPa", true),
            ("Observation?value-quantity=gt17|http://unitsofmeasure.org|kPa", false),
            ("Observation?value-quantity=120|http://unitsofmeasure.org|mg", false),
            ("Observation?code-value-quantity=8480-6$gt100", true),
            ("Observation?code-value-quantity=8480-6$gt200", false),
            ("Observation?_id=o1", true),
            ("Observation?_id=o2", false),
            ("Observation?encounter:missing=true", true),
            ("Observation?code:missing=true", false),
            ("Observation?_lastUpdated=lt2000", true),
        ] {
            assert_eq!(check(OBSERVATION, query, ClassSet::ALL), expected, "{query}");
        }
        for (query, expected) in [
            ("Patient?family=mul", true),
            ("Patient?family:exact=mul", false),
            ("Patient?family:exact=Müller", true),
            ("Patient?family:contains=lle", true),
            ("Patient?birthdate=1970", true),
            ("Patient?gender=female,male", true),
            ("Patient?gender=male", false),
        ] {
            assert_eq!(check(PATIENT, query, ClassSet::ALL), expected, "{query}");
        }
    }

    #[test]
    fn a_record_of_this_server_has_two_names() {
        let patient = ResourceType::from_name("Patient");
        let of = |id: Option<&str>, url: Option<&str>| Term::Ref {
            target: patient.filter(|_| id.is_some()),
            id: id.map(Into::into),
            url: url.map(Into::into),
            identifier: None,
        };
        let url = "https://here.example/fhir/Patient/p1";
        let both = Operand::Ref { target: patient, id: Some("p1".into()), url: Some(url.into()) };
        for (term, expected) in [
            (of(Some("p1"), None), true),
            (of(None, Some(url)), true),
            (of(Some("p2"), None), false),
            (of(None, Some("https://there.example/fhir/Patient/p1")), false),
            (of(None, None), false),
        ] {
            assert_eq!(value(Modifier::None, &both, &term, ClassSet::ALL), expected, "{term:?}");
        }
    }

    #[test]
    fn what_is_not_visible_takes_no_part_on_either_side() {
        let without = ClassSet::ALL.minus(ClassSet::of(DataClass::Demographic));
        for query in [
            "Patient?family=mul",
            "Patient?family:missing=true",
            "Patient?family:missing=false",
            "Patient?gender:not=male",
            "Patient?gender:not=female",
            "Patient?birthdate=ne1999",
        ] {
            assert!(!check(PATIENT, query, without), "{query}");
        }
        assert!(check(PATIENT, "Patient?_id=p1", without));
    }
}
