//! What the server says that it can do: a CapabilityStatement made from the tables, so
//! that it names exactly the search parameters that [`crate::search::parse_query`] takes.
//!
//! Source: <https://hl7.org/fhir/R4/capabilitystatement.html>

use std::sync::OnceLock;

use crate::definitions::ResourceType;
use crate::issue::write_string;
use crate::search::{SearchType, params};
use crate::subscription::TOPICS;

/// What differs from server to server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    /// Whether `If-None-Exist` is taken on create.
    pub conditional_create: bool,
    /// Whether `If-None-Match` and `If-Modified-Since` are taken on read: none of them,
    /// the first, or both.
    pub conditional_read: ConditionalRead,
    /// Whether `PUT [type]?query` is taken.
    pub conditional_update: bool,
    /// Whether `DELETE [type]?query` is taken, and for how many.
    pub conditional_delete: ConditionalDelete,
    /// Whether PUT makes a resource that is not there yet.
    pub update_create: bool,
}

/// R4 value set `conditional-read-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionalRead {
    /// No conditional reads.
    #[default]
    NotSupported,
    /// `If-Modified-Since` only.
    ModifiedSince,
    /// `If-None-Match` only.
    NotMatch,
    /// Both.
    FullSupport,
}

impl ConditionalRead {
    const fn code(self) -> &'static str {
        match self {
            ConditionalRead::NotSupported => "not-supported",
            ConditionalRead::ModifiedSince => "modified-since",
            ConditionalRead::NotMatch => "not-match",
            ConditionalRead::FullSupport => "full-support",
        }
    }
}

/// R4 value set `conditional-delete-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionalDelete {
    /// No conditional deletes.
    #[default]
    NotSupported,
    /// One record at most.
    Single,
    /// All that match.
    Multiple,
}

impl ConditionalDelete {
    const fn code(self) -> &'static str {
        match self {
            ConditionalDelete::NotSupported => "not-supported",
            ConditionalDelete::Single => "single",
            ConditionalDelete::Multiple => "multiple",
        }
    }
}

/// What can be said of writes in words alone.
const DOCUMENTATION: &str = "PATCH also of what a search finds (PATCH [type]?query), and in \
    bundles. X-Provenance is taken with create, update, patch, delete and transaction: the \
    Provenance is stored in the same commit, its target filled in.";

/// Types that have no place of their own on a server: they pass by in requests.
const PASSING: [&str; 2] = ["Parameters", "OperationOutcome"];

/// The types that can be stored.
pub fn stored_types() -> impl Iterator<Item = ResourceType> {
    ResourceType::all().filter(|t| !PASSING.contains(&t.name()))
}

/// The CapabilityStatement in JSON. `base` is the service's URL, `date` an RFC 3339
/// time of the software's making, `security` a sentence on how to get in.
#[must_use]
pub fn capability_statement(
    base: &str,
    software_version: &str,
    date: &str,
    security: &str,
    features: Features,
) -> Vec<u8> {
    let mut out = String::with_capacity(160 << 10);
    out.push_str(r#"{"resourceType":"CapabilityStatement","status":"active","date":"#);
    write_string(&mut out, date);
    out.push_str(r#","kind":"instance","software":{"name":"Phial","version":"#);
    write_string(&mut out, software_version);
    out.push_str(r#"},"implementation":{"description":"Phial","url":"#);
    write_string(&mut out, base);
    out.push_str(r#"},"fhirVersion":"4.0.1","format":["application/fhir+json","json"],"#);
    out.push_str(r#""patchFormat":["application/json-patch+json","application/fhir+json"],"#);
    out.push_str(r#""rest":[{"mode":"server","documentation":"#);
    write_string(&mut out, DOCUMENTATION);
    out.push_str(r#","security":{"cors":false,"description":"#);
    write_string(&mut out, security);
    out.push_str(r#"},"resource":["#);
    for (n, ty) in stored_types().enumerate() {
        if n > 0 {
            out.push(',');
        }
        resource(&mut out, ty, features);
    }
    out.push_str(
        r#"],"interaction":[{"code":"transaction"},{"code":"batch"},{"code":"search-system"},{"code":"history-system"}],"#,
    );
    // What every type can be searched by besides its own parameters.
    out.push_str(r#""searchParam":[{"name":"_filter","type":"special"},"#);
    out.push_str(r#"{"name":"_has","type":"special"},{"name":"_list","type":"special"},"#);
    out.push_str(r#"{"name":"_type","type":"special"}]}]}"#);
    out.into_bytes()
}

fn resource(out: &mut String, ty: ResourceType, features: Features) {
    out.push_str("{\"type\":\"");
    out.push_str(ty.name());
    out.push('"');
    if ty.name() == "Subscription" {
        topics(out);
    }
    out.push_str(",\"interaction\":[");
    let interactions = [
        "read",
        "vread",
        "history-instance",
        "history-type",
        "create",
        "update",
        "patch",
        "delete",
        "search-type",
    ];
    // A Subscription is replaced whole.
    let patched = ty.name() != "Subscription";
    let interactions = interactions.into_iter().filter(|code| patched || *code != "patch");
    for (n, code) in interactions.enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"code\":\"");
        out.push_str(code);
        out.push_str("\"}");
    }
    out.push_str("],\"versioning\":\"versioned-update\",\"readHistory\":true,\"updateCreate\":");
    out.push_str(if features.update_create { "true" } else { "false" });
    out.push_str(",\"conditionalCreate\":");
    out.push_str(if features.conditional_create { "true" } else { "false" });
    out.push_str(",\"conditionalRead\":\"");
    out.push_str(features.conditional_read.code());
    out.push_str("\",\"conditionalUpdate\":");
    out.push_str(if features.conditional_update { "true" } else { "false" });
    out.push_str(",\"conditionalDelete\":\"");
    out.push_str(features.conditional_delete.code());
    out.push('"');
    profiles_and_operations(out, ty);
    let usable = || params(ty).into_iter().filter(|p| p.unsearchable().is_none());
    let mut includes: Vec<String> = usable()
        .filter(|p| p.kind() == SearchType::Reference)
        .map(|p| format!("\"{}:{}\"", ty.name(), p.code()))
        .collect();
    if !includes.is_empty() {
        includes.push(format!("\"{}:*\"", ty.name()));
    }
    if !includes.is_empty() {
        out.push_str(",\"searchInclude\":[");
        out.push_str(&includes.join(","));
        out.push(']');
    }
    let referring = &referring().get(usize::from(ty.number())).map_or(&[][..], Vec::as_slice);
    if !referring.is_empty() {
        out.push_str(",\"searchRevInclude\":[");
        out.push_str(&referring.join(","));
        out.push(']');
    }
    out.push_str(",\"searchParam\":[");
    for (n, param) in usable().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"name\":\"");
        out.push_str(param.code());
        out.push_str("\",\"definition\":\"");
        if !param.def().url.starts_with("http") {
            out.push_str("http://hl7.org/fhir/SearchParameter/");
        }
        out.push_str(param.def().url);
        out.push_str("\",\"type\":\"");
        out.push_str(param.kind().code());
        out.push_str("\"}");
    }
    out.push_str("]}");
}

/// The profiles that `$validate` holds for the type, and the operations on it.
fn profiles_and_operations(out: &mut String, ty: ResourceType) {
    let subscription = ty.name() == "Subscription";
    let mut profiles: Vec<String> =
        crate::profile::claimable(ty).iter().map(|url| (*url).to_string()).collect();
    if subscription {
        profiles.push(format!("{BACKPORT}/StructureDefinition/backport-subscription"));
    }
    for (n, url) in profiles.iter().enumerate() {
        out.push_str(if n == 0 { ",\"supportedProfile\":[" } else { "," });
        write_string(out, url);
    }
    if !profiles.is_empty() {
        out.push(']');
    }
    out.push_str(",\"operation\":[");
    let own: &[(&str, &str)] = match ty.name() {
        "ValueSet" => &[("expand", "ValueSet-expand"), ("validate-code", "ValueSet-validate-code")],
        "CodeSystem" => &[("validate-code", "CodeSystem-validate-code")],
        _ => &[],
    };
    for (n, (name, definition)) in
        own.iter().chain(&[("validate", "Resource-validate")]).enumerate()
    {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"name\":\"");
        out.push_str(name);
        out.push_str("\",\"definition\":\"http://hl7.org/fhir/OperationDefinition/");
        out.push_str(definition);
        out.push_str("\"}");
    }
    for name in ["status", "events"].into_iter().filter(|_| subscription) {
        out.push_str(&format!(
            ",{{\"name\":\"{name}\",\"definition\":\
             \"{BACKPORT}/OperationDefinition/backport-subscription-{name}\"}}"
        ));
    }
    out.push(']');
}

/// The backport of subscriptions
/// (<http://hl7.org/fhir/uv/subscriptions-backport/STU1.1/conformance.html>).
const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport";

/// The topics that a Subscription may name.
fn topics(out: &mut String) {
    for (n, (topic, _)) in TOPICS.iter().enumerate() {
        let begin = if n == 0 { ",\"extension\":[" } else { "," };
        out.push_str(&format!(
            "{begin}{{\"url\":\"{BACKPORT}/StructureDefinition/\
             capabilitystatement-subscriptiontopic-canonical\",\"valueCanonical\":\"{topic}\"}}"
        ));
    }
    out.push(']');
}

/// By the number of each type: what `_revinclude` may name when it is searched. A
/// parameter that may refer to anything is not listed for every type.
fn referring() -> &'static Vec<Vec<String>> {
    static ALL: OnceLock<Vec<Vec<String>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = vec![Vec::new(); ResourceType::all().len()];
        for source in stored_types() {
            for p in params(source) {
                if p.kind() != SearchType::Reference || p.unsearchable().is_some() {
                    continue;
                }
                let targets = p.targets(source);
                if targets.len() >= ANYTHING {
                    continue;
                }
                for target in targets {
                    if let Some(list) = all.get_mut(usize::from(target.number())) {
                        list.push(format!("\"{}:{}\"", source.name(), p.code()));
                    }
                }
            }
        }
        all
    })
}

/// A parameter with so many types of targets may refer to anything.
const ANYTHING: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::parse_query;

    #[test]
    fn it_is_valid_and_names_what_a_query_may_use() {
        let body = capability_statement(
            "https://a.example/fhir",
            "0.1.0",
            "2026-01-01T00:00:00Z",
            "Bearer tokens.",
            Features { conditional_create: true, ..Features::default() },
        );
        let doc = crate::Doc::parse(&body, &crate::Limits::default()).unwrap();
        if let Err(issues) = crate::validate(doc) {
            panic!("{issues:?}");
        }
        let v: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let resources = v["rest"][0]["resource"].as_array().unwrap();
        assert_eq!(resources.len(), 144);
        for r in resources {
            let ty = ResourceType::from_name(r["type"].as_str().unwrap()).unwrap();
            for p in r["searchParam"].as_array().unwrap() {
                let value = |kind: &str| match kind {
                    "date" => "2020",
                    "number" | "quantity" => "1",
                    _ => "a",
                };
                let name = p["name"].as_str().unwrap();
                let value = match p["type"].as_str().unwrap() {
                    "composite" => {
                        let parts = crate::search::param(ty, name).unwrap().components();
                        let parts: Vec<_> = parts.iter().map(|c| value(c.kind().code())).collect();
                        parts.join("$")
                    }
                    kind => value(kind).to_owned(),
                };
                let pair = (name.to_owned(), value);
                let query = parse_query(ty, std::slice::from_ref(&pair));
                assert!(query.is_ok(), "{ty}?{}", pair.0);
            }
            for (name, list) in [("_include", "searchInclude"), ("_revinclude", "searchRevInclude")]
            {
                for value in r[list].as_array().into_iter().flatten() {
                    let pair = (name.to_owned(), value.as_str().unwrap().to_owned());
                    let query = parse_query(ty, std::slice::from_ref(&pair));
                    assert!(query.is_ok(), "{ty}?{name}={}", pair.1);
                }
            }
        }
    }
}
