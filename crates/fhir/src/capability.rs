//! What the server says that it can do: a CapabilityStatement made from the tables, so
//! that it names exactly the search parameters that [`crate::search::parse_query`] takes.
//!
//! Source: <https://hl7.org/fhir/R4/capabilitystatement.html>

use std::sync::OnceLock;

use crate::definitions::ResourceType;
use crate::issue::write_string;
use crate::search::{SearchType, params};
use crate::subscription::TOPICS;

/// What a server serves, as the table of its routes says.
#[derive(Debug, Clone, Default)]
pub struct Surface {
    /// `rest.interaction`: codes of value set `system-restful-interaction`.
    pub system: Vec<&'static str>,
    /// `rest.resource.interaction` of every type: codes of `type-restful-interaction`.
    pub interactions: Vec<&'static str>,
    /// `rest.resource.conditionalUpdate`
    pub conditional_update: bool,
    /// `rest.resource.conditionalDelete`: `single` or `multiple`.
    pub conditional_delete: Option<&'static str>,
    /// Operations.
    pub operations: Vec<Operation>,
    /// Whether pages of other origins may ask.
    pub cors: bool,
    /// What is no route of its own.
    pub features: Features,
}

impl Surface {
    /// Adds an operation; several routes of it are one operation.
    pub fn operation(&mut self, on: On, name: &'static str, definition: &'static str) {
        let operation = Operation { on, name, definition };
        if !self.operations.contains(&operation) {
            self.operations.push(operation);
        }
    }
}

/// Where an operation is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `rest.operation`
    System,
    /// `rest.resource.operation` of every type.
    EveryType,
    /// `rest.resource.operation` of one type.
    Type(ResourceType),
}

/// An operation that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Where.
    pub on: On,
    /// The name in URLs, without `$`.
    pub name: &'static str,
    /// The canonical URL of its definition.
    pub definition: &'static str,
}

/// What a server does on its routes beyond what every server does there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    /// Whether `If-None-Exist` is taken on create.
    pub conditional_create: bool,
    /// Whether `If-None-Match` and `If-Modified-Since` are taken on read: none of them,
    /// the first, or both.
    pub conditional_read: ConditionalRead,
    /// Whether PUT makes a resource that is not there yet.
    pub update_create: bool,
    /// Whether batches are taken where transactions are.
    pub batch: bool,
}

/// What differs from one installation to another.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The service's base URL.
    pub base: &'a str,
    /// The software's version.
    pub version: &'a str,
    /// When that was made, as an RFC 3339 date or time.
    pub date: &'a str,
    /// A sentence on how to get in.
    pub security: &'a str,
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

/// The CapabilityStatement in JSON.
#[must_use]
pub fn capability_statement(here: &Installation<'_>, surface: &Surface) -> Vec<u8> {
    let mut out = String::with_capacity(256 << 10);
    out.push_str(r#"{"resourceType":"CapabilityStatement","status":"active","date":"#);
    write_string(&mut out, here.date);
    out.push_str(r#","kind":"instance","software":{"name":"Phial","version":"#);
    write_string(&mut out, here.version);
    out.push_str(r#"},"implementation":{"description":"Phial","url":"#);
    write_string(&mut out, here.base);
    out.push_str(r#"},"fhirVersion":"4.0.1","#);
    if surface.operations.iter().any(|o| o.name == "export") {
        let bulk = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data";
        out.push_str(r#""instantiates":["#);
        write_string(&mut out, bulk);
        out.push_str("],");
    }
    out.push_str(r#""format":["application/fhir+json","json"],"#);
    if surface.interactions.contains(&"patch") {
        out.push_str(r#""patchFormat":["application/json-patch+json","application/fhir+json"],"#);
    }
    out.push_str(r#""rest":[{"mode":"server","documentation":"#);
    write_string(&mut out, DOCUMENTATION);
    out.push_str(r#","security":{"cors":"#);
    out.push_str(if surface.cors { "true" } else { "false" });
    out.push_str(r#","description":"#);
    write_string(&mut out, here.security);
    out.push_str(r#"},"resource":["#);
    for (n, ty) in stored_types().enumerate() {
        if n > 0 {
            out.push(',');
        }
        resource(&mut out, ty, surface);
    }
    out.push(']');
    let batch = surface.features.batch.then_some("batch");
    codes(&mut out, surface.system.iter().copied().chain(batch));
    operations(&mut out, surface, |on| on == On::System);
    // What every type can be searched by besides its own parameters.
    out.push_str(r#","searchParam":[{"name":"_filter","type":"special"},"#);
    out.push_str(r#"{"name":"_has","type":"special"},{"name":"_list","type":"special"},"#);
    out.push_str(r#"{"name":"_type","type":"special"}]}]}"#);
    out.into_bytes()
}

/// `interaction`, unless there is none.
fn codes(out: &mut String, codes: impl Iterator<Item = &'static str>) {
    let all: Vec<String> = codes.map(|c| format!("{{\"code\":\"{c}\"}}")).collect();
    if !all.is_empty() {
        out.push_str(",\"interaction\":[");
        out.push_str(&all.join(","));
        out.push(']');
    }
}

/// `operation`, unless there is none.
fn operations(out: &mut String, surface: &Surface, here: impl Fn(On) -> bool) {
    let mut first = true;
    for operation in surface.operations.iter().filter(|o| here(o.on)) {
        out.push_str(if first { ",\"operation\":[" } else { "," });
        first = false;
        out.push_str("{\"name\":");
        write_string(out, operation.name);
        out.push_str(",\"definition\":");
        write_string(out, operation.definition);
        out.push('}');
    }
    if !first {
        out.push(']');
    }
}

/// How content comes and goes by itself.
const CONTENT: &str = "Content by itself: POST and PUT in its own media type, with \
     X-Security-Context; GET gives it back unless a FHIR format is asked for, in parts too (Range). \
     Searches, histories and bundles leave uploaded content out. A Binary is replaced, not \
     patched.";

/// What a Subscription may ask for.
const SUBSCRIPTIONS: &str = "Criteria are a topic of this server, told by notification bundles \
     as the R5 Subscriptions Backport has them, or a search of one type without chains and value \
     sets, told in R4's own way: a POST without a body, or with channel.payload a PUT of the \
     record below the endpoint. Channel: rest-hook.";

fn resource(out: &mut String, ty: ResourceType, surface: &Surface) {
    let features = &surface.features;
    out.push_str("{\"type\":\"");
    out.push_str(ty.name());
    out.push('"');
    if ty.name() == "Subscription" {
        topics(out);
        out.push_str(",\"documentation\":");
        write_string(out, SUBSCRIPTIONS);
    }
    if ty.name() == "Binary" {
        out.push_str(",\"documentation\":");
        write_string(out, CONTENT);
    }
    // A Binary is replaced: its content lies apart.
    let patched = ty.name() != "Binary";
    codes(out, surface.interactions.iter().copied().filter(|code| patched || *code != "patch"));
    out.push_str(",\"versioning\":\"versioned-update\",\"readHistory\":true,\"updateCreate\":");
    out.push_str(if features.update_create { "true" } else { "false" });
    out.push_str(",\"conditionalCreate\":");
    out.push_str(if features.conditional_create { "true" } else { "false" });
    out.push_str(",\"conditionalRead\":\"");
    out.push_str(features.conditional_read.code());
    out.push_str("\",\"conditionalUpdate\":");
    out.push_str(if surface.conditional_update { "true" } else { "false" });
    out.push_str(",\"conditionalDelete\":\"");
    out.push_str(surface.conditional_delete.unwrap_or("not-supported"));
    out.push('"');
    supported_profiles(out, ty);
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
    out.push(']');
    operations(out, surface, |on| on == On::EveryType || on == On::Type(ty));
    out.push('}');
}

/// The profiles that `$validate` holds for the type.
fn supported_profiles(out: &mut String, ty: ResourceType) {
    let mut profiles: Vec<String> =
        crate::profile::claimable(ty).iter().map(|url| (*url).to_string()).collect();
    if ty.name() == "Subscription" {
        profiles.push(format!("{BACKPORT}/StructureDefinition/backport-subscription"));
    }
    for (n, url) in profiles.iter().enumerate() {
        out.push_str(if n == 0 { ",\"supportedProfile\":[" } else { "," });
        write_string(out, url);
    }
    if !profiles.is_empty() {
        out.push(']');
    }
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
        let mut surface = Surface {
            system: vec!["transaction"],
            interactions: vec!["read", "search-type"],
            features: Features { conditional_create: true, batch: true, ..Features::default() },
            ..Surface::default()
        };
        let patient = ResourceType::from_name("Patient").unwrap();
        for on in [On::System, On::EveryType, On::Type(patient), On::Type(patient)] {
            surface.operation(on, "do", "https://a.example/OperationDefinition/do");
        }
        let here = Installation {
            base: "https://a.example/fhir",
            version: "0.1.0",
            date: "2026-01-01T00:00:00Z",
            security: "Bearer tokens.",
        };
        let body = capability_statement(&here, &surface);
        let doc = crate::Doc::parse(&body, &crate::Limits::default()).unwrap();
        if let Err(issues) = crate::validate(doc) {
            panic!("{issues:?}");
        }
        let v: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let resources = v["rest"][0]["resource"].as_array().unwrap();
        assert_eq!(resources.len(), 144);
        let operations = |v: &serde_json::Value| v["operation"].as_array().map_or(0, Vec::len);
        assert_eq!(operations(&v["rest"][0]), 1);
        assert_eq!(v["rest"][0]["interaction"][1]["code"], "batch");
        for r in resources {
            let ty = ResourceType::from_name(r["type"].as_str().unwrap()).unwrap();
            assert_eq!(operations(r), if ty == patient { 2 } else { 1 });
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
