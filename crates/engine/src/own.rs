//! References to records of this server by their full URL: `Patient/23` and
//! `[base]/Patient/23` are the same record, however a reference is written and however it is
//! asked for (<https://hl7.org/fhir/R4/search.html#reference>).
//!
//! The base is that of the request. It refuses to follow such references: chains and
//! includes go by relative ones.

use std::convert::Infallible;

use phial_fhir::definitions::ResourceType;
use phial_fhir::search::{On, Operand, Query};

/// A reference parameter that may point at more types is looked for by what is written only.
const MOST_TYPES: usize = 12;

/// Lets every filter by a reference of the query match both forms.
pub(crate) fn by_either_form(query: &mut Query, base: &str) {
    let done: Result<(), Infallible> = query.each_filter_mut(&mut |ty, filter| {
        let targets = match filter.on {
            On::Param(p) => p.targets(ty),
            On::Id | On::LastUpdated => Vec::new(),
        };
        let mut more = Vec::new();
        for value in &mut filter.values {
            match value {
                Operand::Ref { target: None, id: Some(id), url: None }
                    if targets.len() <= MOST_TYPES =>
                {
                    more.extend(targets.iter().map(|ty| Operand::Ref {
                        target: None,
                        id: None,
                        url: Some(format!("{base}/{ty}/{id}").into()),
                    }));
                }
                other => either(other, base),
            }
        }
        filter.values.extend(more);
        Ok(())
    });
    let Ok(()) = done;
}

fn either(value: &mut Operand, base: &str) {
    match value {
        Operand::Parts(parts) => parts.iter_mut().for_each(|p| either(p, base)),
        Operand::Ref { target: Some(ty), id: Some(id), url: url @ None } => {
            *url = Some(format!("{base}/{ty}/{id}").into());
        }
        Operand::Ref { target, id: id @ None, url: Some(url) } => {
            let path = url.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
            let mut parts = path.into_iter().flat_map(|p| p.split('/'));
            if let (Some(ty), Some(of)) =
                (parts.next().and_then(ResourceType::from_name), parts.next())
            {
                (*target, *id) = (Some(ty), Some(of.into()));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_asked_for_in_both_forms() {
        let ty = ResourceType::from_name("Observation").unwrap();
        let base = "https://here/fhir";
        for (value, url) in [
            ("Patient/23", Some("https://here/fhir/Patient/23")),
            ("https://here/fhir/Patient/23", Some("https://here/fhir/Patient/23")),
            (
                "https://here/fhir/Patient/23/_history/1",
                Some("https://here/fhir/Patient/23/_history/1"),
            ),
        ] {
            let pair = [("subject".to_owned(), value.to_owned())];
            let mut query = phial_fhir::search::parse_query(ty, &pair).unwrap();
            by_either_form(&mut query, base);
            let [Operand::Ref { target: Some(t), id: Some(id), url: u }] =
                query.filters[0].values.as_slice()
            else {
                panic!("one reference")
            };
            assert_eq!((t.name(), &**id, u.as_deref()), ("Patient", "23", url), "{value}");
        }
        let pair = [("subject".to_owned(), "http://other/fhir/Patient/23".to_owned())];
        let mut query = phial_fhir::search::parse_query(ty, &pair).unwrap();
        let before = query.clone();
        by_either_form(&mut query, base);
        assert_eq!(query, before, "another server's is another record");
    }
}
