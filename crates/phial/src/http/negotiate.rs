//! Formats: which one an answer is in, and which one a body is in
//! (<https://hl7.org/fhir/R4/http.html#mime-type>, RFC 9110 §12.5.1). It owns the grammar
//! of `Accept`, `_format` and `Content-Type`. It speaks JSON, and refuses XML and Turtle
//! with words that say so.

use axum::http::header::{self, HeaderMap, HeaderValue};

use super::answer::FHIR_JSON;

/// The version of FHIR that is spoken, as the parameter `fhirVersion` gives it.
const VERSION: &str = "4.0";

/// The fields of a form; none when the body is none.
pub(crate) fn form(headers: &HeaderMap, body: &[u8]) -> Vec<(String, String)> {
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/x-www-form-urlencoded"));
    if is_form { form_urlencoded::parse(body).into_owned().collect() } else { Vec::new() }
}

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Spoken {
    name: Name,
    /// The client named the version, so the answer does too.
    versioned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Name {
    /// `application/fhir+json`
    #[default]
    Fhir,
    /// `application/json`
    Plain,
    /// `text/json`
    Text,
}

impl Spoken {
    /// The value of `Content-Type`.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match (self.name, self.versioned) {
            (Name::Fhir, false) => FHIR_JSON,
            (Name::Fhir, true) => "application/fhir+json; charset=utf-8; fhirVersion=4.0",
            (Name::Plain, false) => "application/json; charset=utf-8",
            (Name::Plain, true) => "application/json; charset=utf-8; fhirVersion=4.0",
            (Name::Text, false) => "text/json; charset=utf-8",
            (Name::Text, true) => "text/json; charset=utf-8; fhirVersion=4.0",
        })
    }
}

/// One media type with its parameters, in lower case.
struct Media {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Media {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(';');
        let name = parts.next().unwrap_or("").trim().to_ascii_lowercase();
        let parameters = parts
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.trim().to_ascii_lowercase(), v.trim().trim_matches('"').to_owned()))
            .collect();
        Media { name, parameters }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// Whether it names no version of FHIR, or this one.
    fn is_this_version(&self) -> bool {
        self.parameter("fhirversion").is_none_or(is_this_version)
    }
}

/// `4.0`, or the same with a patch number.
fn is_this_version(version: &str) -> bool {
    version.strip_prefix(VERSION).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The format for an answer; `None` when the client takes none that is spoken here.
/// `_format` comes before `Accept`, as FHIR demands.
pub(crate) fn wanted(headers: &HeaderMap, query: &str) -> Option<Spoken> {
    if query.contains("_format")
        && let Some((_, format)) =
            form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "_format")
    {
        return named(&format);
    }
    let mut lines = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let Some(first) = lines.next() else { return Some(Spoken::default()) };
    // What nearly every client says.
    if first == "application/fhir+json" || first == "*/*" {
        return Some(Spoken::default());
    }
    accepted(std::iter::once(first).chain(lines))
}

/// `_format`: a short name or a media type, in which a plus that was not escaped has
/// become a space.
fn named(format: &str) -> Option<Spoken> {
    let media = Media::parse(&format.replace(' ', "+").replace(";+", ";"));
    if !media.is_this_version() {
        return None;
    }
    let name = match media.name.as_str() {
        "json" | "application/fhir+json" | "fhir+json" | "*/*" => Name::Fhir,
        "application/json" => Name::Plain,
        "text/json" => Name::Text,
        _ => return None,
    };
    Some(Spoken { name, versioned: media.parameter("fhirversion").is_some() })
}

/// The best of what these lines of `Accept` take: the highest weight, then what is named
/// in full, then our own order.
fn accepted<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Spoken> {
    let ranges: Vec<Media> = lines
        .flat_map(|line| line.split(','))
        .filter(|r| !r.trim().is_empty())
        .map(Media::parse)
        .collect();
    if ranges.is_empty() {
        return Some(Spoken::default());
    }
    let offers = [
        (Name::Fhir, "application/fhir+json", "application/*"),
        (Name::Plain, "application/json", "application/*"),
        (Name::Text, "text/json", "text/*"),
    ];
    let mut best: Option<(u16, u8, Spoken)> = None;
    for (name, full, half) in offers {
        let exactness = |range: &Media| match range.name.as_str() {
            name if name == full => Some(2),
            name if name == half => Some(1),
            "*/*" => Some(0),
            _ => None,
        };
        // The range that says most about the type counts (RFC 9110 §12.5.1).
        let ours = ranges.iter().filter(|r| r.is_this_version());
        let said = ours.filter_map(|r| Some((exactness(r)?, r)));
        let Some((exactness, range)) = said.max_by_key(|(e, _)| *e) else { continue };
        let weight = weight(range.parameter("q"));
        let better = best.as_ref().is_none_or(|(w, e, _)| (weight, exactness) > (*w, *e));
        if weight > 0 && better {
            let versioned = range.parameter("fhirversion").is_some();
            best = Some((weight, exactness, Spoken { name, versioned }));
        }
    }
    best.map(|(.., spoken)| spoken)
}

/// A quality value in thousandths (RFC 9110 §12.4.2); what is none is 1.
pub(super) fn weight(q: Option<&str>) -> u16 {
    let Some(q) = q else { return 1000 };
    let (whole, part) = q.split_once('.').unwrap_or((q, ""));
    let good = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    match whole {
        "0" if good => format!("{part:0<3}").parse().unwrap_or(1000),
        _ => 1000,
    }
}

/// What a body says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyIs {
    /// FHIR in JSON.
    Json,
    /// FHIR in XML or Turtle: understood, and not spoken.
    OtherFhir,
    /// JSON or another, of another version of FHIR.
    OtherVersion,
    /// In a charset that is not UTF-8 (<https://hl7.org/fhir/R4/http.html#mime-type>).
    OtherCharset,
    /// Something else, or nothing at all.
    Unknown,
}

/// What `Content-Type` says of a resource's body.
pub(crate) fn sent(headers: &HeaderMap) -> BodyIs {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if text == "application/fhir+json" {
        return BodyIs::Json;
    }
    let media = Media::parse(text);
    match media.name.as_str() {
        "application/fhir+json" | "application/json" | "text/json" => {
            let utf8 =
                |c: &str| ["utf-8", "utf8", "us-ascii"].iter().any(|u| c.eq_ignore_ascii_case(u));
            match media.parameter("charset") {
                _ if !media.is_this_version() => BodyIs::OtherVersion,
                Some(charset) if !utf8(charset) => BodyIs::OtherCharset,
                _ => BodyIs::Json,
            }
        }
        "application/fhir+xml"
        | "application/xml"
        | "text/xml"
        | "application/fhir+turtle"
        | "text/turtle"
        | "application/x-turtle" => BodyIs::OtherFhir,
        _ => BodyIs::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &[&str], query: &str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT, line.parse().unwrap());
        }
        let found = wanted(&headers, query).map(Spoken::content_type);
        let found = found.as_ref().map(|v| v.to_str().unwrap());
        assert_eq!(found, expected, "{accept:?} {query}");
    }

    const FHIR: Option<&str> = Some(FHIR_JSON);
    const PLAIN: Option<&str> = Some("application/json; charset=utf-8");
    const TEXT: Option<&str> = Some("text/json; charset=utf-8");

    #[test]
    fn the_best_of_what_is_accepted_is_spoken() {
        check(&[], "", FHIR);
        check(&[""], "", FHIR);
        check(&["*/*"], "", FHIR);
        check(&["application/*"], "", FHIR);
        check(&["application/fhir+json"], "", FHIR);
        check(&["APPLICATION/FHIR+JSON ; q=0.5"], "", FHIR);
        check(&["application/json"], "", PLAIN);
        check(&["application/json, text/plain, */*"], "", PLAIN);
        check(&["application/json, application/fhir+json"], "", FHIR);
        check(&["application/json;q=0.9, application/fhir+json;q=0.8"], "", PLAIN);
        check(&["application/fhir+json;q=0, application/json"], "", PLAIN);
        check(&["application/fhir+json;q=0, */*"], "", PLAIN);
        check(&["text/json"], "", TEXT);
        check(&["text/*"], "", TEXT);
        check(&["text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8"], "", FHIR);
        check(&["application/fhir+xml", "application/fhir+json"], "", FHIR);
        check(&["application/fhir+xml, application/fhir+json;q=0.1"], "", FHIR);
        for other in [
            "application/fhir+xml",
            "application/xml",
            "text/xml",
            "text/turtle",
            "application/fhir+turtle",
            "text/html",
            "image/*",
            "application/fhir+ndjson",
            "application/fhir+json;q=0",
            "*/*;q=0.000",
            "nonsense",
        ] {
            check(&[other], "", None);
        }
    }

    #[test]
    fn the_parameter_comes_before_the_header() {
        let xml = &["application/fhir+xml"][..];
        check(xml, "_format=json", FHIR);
        check(xml, "a=b&_format=application%2Ffhir%2Bjson", FHIR);
        check(xml, "_format=application/fhir+json", FHIR);
        check(xml, "_format=application/json", PLAIN);
        check(xml, "_format=text/json", TEXT);
        check(&["application/fhir+json"], "_format=xml", None);
        check(&["application/fhir+json"], "_format=ttl", None);
        check(&[], "_format=", None);
        check(&[], "my_format=xml", FHIR);
    }

    #[test]
    fn another_version_of_fhir_is_not_spoken() {
        let ours = Some("application/fhir+json; charset=utf-8; fhirVersion=4.0");
        check(&["application/fhir+json; fhirVersion=4.0"], "", ours);
        check(&["application/fhir+json; fhirVersion=4.0.1"], "", ours);
        check(&["application/fhir+json; fhirversion=\"4.0\""], "", ours);
        check(&["application/fhir+json; fhirVersion=3.0"], "", None);
        check(&["application/fhir+json; fhirVersion=4.01"], "", None);
        let both = "application/fhir+json; fhirVersion=5.0, application/fhir+json; fhirVersion=4.0";
        check(&[both], "", ours);
        check(&[], "_format=application/fhir%2Bjson;%20fhirVersion=4.0", ours);
        check(&[], "_format=application/fhir%2Bjson;fhirVersion=5.0", None);
        let plain = Some("application/json; charset=utf-8; fhirVersion=4.0");
        check(&["application/json; fhirVersion=4.0"], "", plain);
    }

    #[test]
    fn bodies_are_what_they_say() {
        let check = |text: &str, expected: BodyIs| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            assert_eq!(sent(&headers), expected, "{text}");
        };
        assert_eq!(sent(&HeaderMap::new()), BodyIs::Unknown);
        check("application/fhir+json", BodyIs::Json);
        check("application/json", BodyIs::Json);
        check("Application/JSON; Charset=UTF-8", BodyIs::Json);
        check("application/fhir+json;charset=\"utf-8\"; fhirVersion=4.0", BodyIs::Json);
        check("text/json; charset=us-ascii", BodyIs::Json);
        check("application/json; charset=iso-8859-1", BodyIs::OtherCharset);
        check("application/fhir+json; charset=utf-16", BodyIs::OtherCharset);
        check("application/fhir+json; fhirVersion=5.0", BodyIs::OtherVersion);
        check("application/fhir+xml", BodyIs::OtherFhir);
        check("text/turtle; charset=utf-8", BodyIs::OtherFhir);
        check("application/json-patch+json", BodyIs::Unknown);
        check("text/plain", BodyIs::Unknown);
        check("", BodyIs::Unknown);
    }

    #[test]
    fn weights_are_thousandths() {
        for (q, expected) in [("1", 1000), ("0", 0), ("0.5", 500), ("0.05", 50), ("0.", 0)] {
            assert_eq!(weight(Some(q)), expected, "{q}");
        }
        for none in ["", "2", "-1", "0.1234", "0.x", "half"] {
            assert_eq!(weight(Some(none)), 1000, "{none}");
        }
    }
}
