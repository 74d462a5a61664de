//! Values of contained resources, for chains that lead into them: written out in the block
//! of their container's version, and held against what a chain asks without the index.
//!
//! A contained resource is seen as its container is: each value by the class that it has
//! there. It refuses what it can't decide by itself (further chains, value sets, `not`):
//! that finds nothing.

use phial_base::{ClassSet, DataClass, LogicalId};
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Candidate, Criterion, InnerValues, On, ParamId, Query, Term, is_local, matches,
};

use super::values::{Cursor, put_int, put_optional, put_text, put_uint};

const TOKEN: u8 = 0;
const STR: u8 = 1;
const DATE: u8 = 2;
const NUMBER: u8 = 3;
const QUANTITY: u8 = 4;
const REF: u8 = 5;
const URI: u8 = 6;
const PARTS: u8 = 7;
const RANGE: u8 = 8;
const LATER: u8 = 9;
const SAID: u8 = 10;
const TYPED: u8 = 11;

/// Deeper than parts within values nothing is.
const DEEPEST: usize = 2;

fn put_real(out: &mut Vec<u8>, n: f64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Writes the values.
pub(super) fn put(values: &[(ParamId, DataClass, Term)], out: &mut Vec<u8>) {
    let own = |t: &Term| !matches!(t, Term::Held { .. } | Term::Order { .. } | Term::Inner { .. });
    let kept: Vec<_> = values.iter().filter(|(.., t)| own(t)).collect();
    put_uint(out, kept.len() as u64);
    for (param, class, term) in kept {
        put_uint(out, u64::from(param.number()));
        out.push(*class as u8);
        put_term(term, out);
    }
}

fn put_term(term: &Term, out: &mut Vec<u8>) {
    match term {
        Term::Token { system, code } => {
            out.push(TOKEN);
            put_optional(out, system.as_deref());
            put_optional(out, code.as_deref());
        }
        Term::Str { text } => {
            out.push(STR);
            put_text(out, text);
        }
        Term::Date { low, high } => {
            out.push(DATE);
            put_int(out, *low);
            put_int(out, *high);
        }
        Term::Number { low, high, value } => {
            out.push(NUMBER);
            [low, high, value].into_iter().for_each(|n| put_real(out, *n));
        }
        Term::Quantity { value, low, high, system, code, unit } => {
            out.push(QUANTITY);
            [value, low, high].into_iter().for_each(|n| put_real(out, *n));
            [system, code, unit].into_iter().for_each(|t| put_optional(out, t.as_deref()));
        }
        Term::Ref { target, id, url, identifier } => {
            out.push(REF);
            put_uint(out, target.map_or(0, |t| u64::from(t.number()) + 1));
            put_optional(out, id.as_deref());
            put_optional(out, url.as_deref());
            put_uint(out, u64::from(identifier.is_some()));
            if let Some((system, value)) = identifier {
                put_optional(out, system.as_deref());
                put_text(out, value);
            }
        }
        Term::Uri { uri } => {
            out.push(URI);
            put_text(out, uri);
        }
        Term::Parts { parts } => {
            out.push(PARTS);
            put_uint(out, parts.len() as u64);
            for part in parts {
                put_uint(out, part.len() as u64);
                for (class, term) in part {
                    out.push(*class as u8);
                    put_term(term, out);
                }
            }
        }
        Term::Range { low, high, system, code, unit } => {
            out.push(RANGE);
            [low, high].into_iter().for_each(|n| put_real(out, *n));
            [system, code, unit].into_iter().for_each(|t| put_optional(out, t.as_deref()));
        }
        Term::Later { text } => {
            out.push(LATER);
            put_text(out, text);
        }
        Term::Said { text } => {
            out.push(SAID);
            put_text(out, text);
        }
        Term::Typed { system, code, value } => {
            out.push(TYPED);
            [system, code, value].into_iter().for_each(|t| put_text(out, t));
        }
        // What `put` leaves out stands in no composite either.
        Term::Held { .. } | Term::Order { .. } | Term::Inner { .. } => {
            out.push(STR);
            put_text(out, "");
        }
    }
}

/// Reads what [`put`] wrote.
pub(super) fn values(c: &mut Cursor<'_>) -> Option<InnerValues> {
    let mut all = Vec::new();
    for _ in 0..c.uint()? {
        let param = ParamId::from_number(u16::try_from(c.uint()?).ok()?)?;
        let class = class(c)?;
        all.push((param, class, term(c, 0)?));
    }
    Some(all.into_boxed_slice())
}

fn class(c: &mut Cursor<'_>) -> Option<DataClass> {
    let [n] = *c.bytes(1)? else { return None };
    DataClass::ALL.into_iter().find(|class| *class as u8 == n)
}

fn term(c: &mut Cursor<'_>, depth: usize) -> Option<Term> {
    let text = |c: &mut Cursor<'_>| c.text().map(Box::<str>::from);
    let optional = |c: &mut Cursor<'_>| Some(c.optional()?.map(Box::<str>::from));
    let [sort] = *c.bytes(1)? else { return None };
    Some(match sort {
        TOKEN => Term::Token { system: optional(c)?, code: optional(c)? },
        STR => Term::Str { text: text(c)? },
        DATE => Term::Date { low: c.int()?, high: c.int()? },
        NUMBER => Term::Number { low: c.real()?, high: c.real()?, value: c.real()? },
        QUANTITY => Term::Quantity {
            value: c.real()?,
            low: c.real()?,
            high: c.real()?,
            system: optional(c)?,
            code: optional(c)?,
            unit: optional(c)?,
        },
        REF => {
            let target = match c.uint()?.checked_sub(1) {
                Some(n) => Some(ResourceType::from_number(u8::try_from(n).ok()?)?),
                None => None,
            };
            let (id, url) = (optional(c)?, optional(c)?);
            let identifier = if c.uint()? == 0 { None } else { Some((optional(c)?, text(c)?)) };
            Term::Ref { target, id, url, identifier }
        }
        URI => Term::Uri { uri: text(c)? },
        PARTS if depth < DEEPEST => {
            let mut parts = Vec::new();
            for _ in 0..c.uint()? {
                let mut part = Vec::new();
                for _ in 0..c.uint()? {
                    part.push((class(c)?, term(c, depth + 1)?));
                }
                parts.push(part.into_boxed_slice());
            }
            Term::Parts { parts: parts.into_boxed_slice() }
        }
        RANGE => Term::Range {
            low: c.real()?,
            high: c.real()?,
            system: optional(c)?,
            code: optional(c)?,
            unit: optional(c)?,
        },
        LATER => Term::Later { text: text(c)? },
        SAID => Term::Said { text: text(c)? },
        TYPED => Term::Typed { system: text(c)?, code: text(c)?, value: text(c)? },
        _ => return None,
    })
}

/// Whether a contained resource of type `ty` with these values satisfies the criterion, as
/// far as its values are in sight.
pub(super) fn holds(
    criterion: &Criterion,
    ty: ResourceType,
    values: &[(ParamId, DataClass, Term)],
    visible: ClassSet,
) -> bool {
    let Ok(id) = LogicalId::new("contained") else { return false };
    let candidate = Candidate { id: &id, last_updated: 0, values, visible };
    fn is(criterion: &Criterion, ty: ResourceType, of: &Candidate<'_>) -> bool {
        match criterion {
            // It has no id and no time of its own that a search could ask for.
            Criterion::Is(filter) if matches!(filter.on, On::Param(_)) => {
                let query = Query { filters: vec![filter.clone()], ..Query::all(ty) };
                is_local(&query) && matches(&query, of)
            }
            Criterion::All(all) => all.iter().all(|c| is(c, ty, of)),
            Criterion::Any(any) => any.iter().any(|c| is(c, ty, of)),
            Criterion::Is(_)
            | Criterion::Not(_)
            | Criterion::Leads { .. }
            | Criterion::Named { .. } => false,
        }
    }
    is(criterion, ty, &candidate)
}

#[cfg(test)]
mod tests {
    use phial_fhir::search::{extract_again, parse_query};
    use phial_fhir::{Doc, Limits};

    use super::*;

    const REQUEST: &str = r##"{"resourceType":"MedicationRequest","status":"active","intent":"order",
        "subject":{"reference":"#p"},"medicationReference":{"reference":"#m"},
        "contained":[
         {"resourceType":"Medication","id":"m","status":"active",
          "code":{"coding":[{"system":"urn:s","code":"c1","display":"One"}],"text":"One"},
          "ingredient":[{"itemCodeableConcept":{"coding":[{"code":"abc"}]}}]},
         {"resourceType":"Patient","id":"p","birthDate":"1970-02-01","gender":"female",
          "name":[{"family":"van Dyke","given":["Ana"]}],
          "identifier":[{"type":{"coding":[{"system":"t","code":"MR"}]},"system":"u","value":"1"}],
          "generalPractitioner":[{"reference":"Practitioner/g"}]}]}"##;

    fn inner(text: &str) -> Vec<(&'static str, ResourceType, InnerValues)> {
        let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
        let ty = ResourceType::from_name("MedicationRequest").unwrap();
        let all = extract_again(&doc, ty).values.into_iter();
        all.filter_map(|(p, _, t)| match t {
            Term::Inner { ty, values } => Some((p.code(), ty, values)),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn values_come_back_as_they_were_and_a_cut_is_no_value() {
        let all = inner(REQUEST);
        let mut codes: Vec<&str> = all.iter().map(|(code, ..)| *code).collect();
        codes.sort_unstable();
        assert_eq!(codes, ["medication", "patient", "subject"]);
        for (_, _, of) in &all {
            let mut out = Vec::new();
            put(of, &mut out);
            let mut cursor = Cursor(&out);
            let back = values(&mut cursor).unwrap();
            assert!(back == *of && cursor.0.is_empty());
            for cut in 0..out.len() {
                assert!(values(&mut Cursor(out.get(..cut).unwrap())).is_none(), "{cut}");
            }
        }
    }

    #[test]
    fn what_is_asked_is_held_against_what_is_in_sight() {
        let all = inner(REQUEST);
        let check = |of: &str, name: &str, text: &str, visible: ClassSet| {
            let (_, ty, values) = all.iter().find(|(code, ..)| *code == of).unwrap();
            let pairs = [(name.to_owned(), text.to_owned())];
            let query = parse_query(*ty, &pairs).unwrap();
            let filters = query.filters.into_iter().map(Criterion::Is);
            let criterion = Criterion::All(filters.chain(query.criteria).collect());
            holds(&criterion, *ty, values, visible)
        };
        for (of, name, text, expected) in [
            ("medication", "ingredient-code", "abc", true),
            ("medication", "ingredient-code", "abd", false),
            ("medication", "code", "urn:s|c1", true),
            ("medication", "code:not", "urn:s|c1", false),
            ("medication", "code:missing", "false", true),
            ("medication", "manufacturer:missing", "true", true),
            ("subject", "family", "dyk", true),
            ("subject", "family:exact", "van Dyke", true),
            ("patient", "birthdate", "lt1980", true),
            ("patient", "birthdate", "gt1980", false),
            ("patient", "deceased", "false", true),
            ("patient", "general-practitioner", "Practitioner/g", true),
            // Not known here.
            ("patient", "_id", "p", false),
            ("patient", "general-practitioner.family", "x", false),
        ] {
            assert_eq!(check(of, name, text, ClassSet::ALL), expected, "{of}.{name}={text}");
        }
        let without = ClassSet::ALL.minus(ClassSet::of(DataClass::Demographic));
        for (name, text) in
            [("family", "dyk"), ("family:missing", "true"), ("family:missing", "false")]
        {
            assert!(!check("patient", name, text, without), "{name}={text}");
        }
    }
}
