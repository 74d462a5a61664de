//! What an operation is asked, by `GET` in the query or by `POST` in a Parameters
//! resource (<https://hl7.org/fhir/R4/operations.html#executing>). It owns the way from
//! the one to the other. It refuses parameters that are no plain values, by name and
//! never by value.

use phial_fhir::issue::IssueCode;
use phial_fhir::json::{Doc, Node};

use crate::failure::Failure;

/// Names and values of a Parameters resource, in the order given: numbers and booleans as
/// they were sent, a Reference as its `reference`.
///
/// # Errors
/// [`Failure::Invalid`] when the resource is another, or a parameter is no plain value.
pub fn pairs_of(doc: &Doc) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for (name, node) in parameters(doc)? {
        let value = node.members().find(|(member, _)| member.starts_with("value"));
        let plain = value.and_then(|(_, value)| match value.as_str() {
            Some(text) => Some(text.into_owned()),
            None if value.is_object() => {
                value.member("reference").and_then(|r| r.as_str()).map(|r| r.into_owned())
            }
            None => value
                .number_text()
                .map(str::to_owned)
                .or_else(|| value.as_bool().map(|b| b.to_string())),
        });
        let Some(plain) = plain else {
            return Err(Failure::invalid(
                IssueCode::Value,
                "Parameters.parameter",
                "a parameter of this operation is a plain value or a Reference",
            ));
        };
        pairs.push((name, plain));
    }
    Ok(pairs)
}

/// The parameters of a Parameters resource with their names, in the order given.
///
/// # Errors
/// [`Failure::Invalid`] when the resource is another, or a parameter has no name.
pub(crate) fn parameters(doc: &Doc) -> Result<Vec<(String, Node<'_>)>, Failure> {
    let root = doc.root();
    let is = root.member("resourceType").and_then(|t| t.as_str());
    if is.as_deref() != Some("Parameters") {
        return Err(Failure::invalid(
            IssueCode::Invalid,
            "resourceType",
            "an operation takes a Parameters resource",
        ));
    }
    let list = root.member("parameter").into_iter().flat_map(Node::items);
    list.map(|node| match node.member("name").and_then(|n| n.as_str()) {
        Some(name) => Ok((name.into_owned(), node)),
        None => Err(Failure::invalid(
            IssueCode::Required,
            "Parameters.parameter.name",
            "each parameter has a name",
        )),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use phial_fhir::Limits;

    use super::*;

    fn check(text: &str) -> Result<Vec<(String, String)>, Failure> {
        pairs_of(&Doc::parse(text.as_bytes(), &Limits::default()).unwrap())
    }

    #[test]
    fn plain_values_are_taken_as_they_were_sent() {
        let found = check(
            r#"{"resourceType":"Parameters","parameter":[
                {"name":"_count","valueInteger":10},{"name":"_type","valueCode":"Observation"},
                {"name":"patient","valueReference":{"reference":"Patient/1"}},
                {"name":"x","valueBoolean":true}]}"#,
        );
        let expected =
            [("_count", "10"), ("_type", "Observation"), ("patient", "Patient/1"), ("x", "true")];
        assert_eq!(found.unwrap(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(check(r#"{"resourceType":"Parameters"}"#).unwrap(), []);
    }

    #[test]
    fn what_is_no_parameters_or_no_plain_value_is_refused() {
        for bad in [
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"Parameters","parameter":[{"valueString":"a"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"a"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"a","part":[]}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"a","valueMeta":{"tag":[]}}]}"#,
        ] {
            assert!(matches!(check(bad), Err(Failure::Invalid(_))), "{bad}");
        }
    }
}
