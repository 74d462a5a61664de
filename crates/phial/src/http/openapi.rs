//! The OpenAPI 3.1 description of every route (<https://spec.openapis.org/oas/v3.1.0>),
//! made from the table of routes. FHIR itself is described by the CapabilityStatement;
//! this says the same in the words of tools that don't know FHIR, and what lies outside
//! the FHIR bases.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::Method;
use phial_fhir::capability::stored_types;
use serde_json::{Map, Value, json};

use super::oauth::{ENDPOINTS, EndpointRow};
use super::surface::{Claim, PLAIN, Plain, ROWS, Row};

/// The document as it is served.
pub(crate) fn served() -> Bytes {
    static MADE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_string()));
    MADE.clone()
}

/// The document.
pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for row in PLAIN {
        paths.insert(row.path.to_owned(), json!({"get": plain(row.route, row.about)}));
    }
    for row in ENDPOINTS {
        let path = paths.entry(row.path.to_owned()).or_insert_with(|| json!({}));
        if let Some(all) = path.as_object_mut() {
            for method in row.methods {
                all.insert(method.as_str().to_ascii_lowercase(), endpoint(row, method));
            }
        }
    }
    for (path, methods) in super::scim::ROUTES {
        let object = json!({"application/scim+json": {"schema": {"type": "object"}}});
        let refused = json!({"description": "Refused, in SCIM's form.", "content": object});
        let mut entry = Map::new();
        if path.contains("[id]") {
            entry.insert(
                "parameters".to_owned(),
                json!([{
                    "name": "id", "in": "path", "required": true, "schema": {"type": "string"},
                }]),
            );
        }
        for method in *methods {
            let mut said = json!({
                "operationId": format!("{method} {path}"),
                "summary": "SCIM 2.0 (RFC 7644), for a service with the scope scim.",
                "responses": {
                    "200": {"description": "Done.", "content": object},
                    "201": {"description": "Made.", "content": object},
                    "204": {"$ref": "#/components/responses/Done"},
                    "304": {"$ref": "#/components/responses/Unchanged"},
                    "400": refused, "401": refused, "403": refused, "404": refused,
                    "409": refused, "412": refused, "413": refused, "421": refused,
                    "503": {"$ref": "#/components/responses/Refused"},
                },
            });
            if matches!(*method, "POST" | "PUT" | "PATCH")
                && let Some(said) = said.as_object_mut()
            {
                said.insert("requestBody".to_owned(), json!({"content": object}));
            }
            entry.insert(method.to_ascii_lowercase(), said);
        }
        let path = path.replace("[id]", "{id}");
        paths.insert(path, Value::Object(entry));
    }
    for row in ROWS {
        let (path, parameters) = path(row);
        let entry = paths.entry(path).or_insert_with(|| json!({"parameters": parameters}));
        if let Some(methods) = entry.as_object_mut() {
            methods.insert(row.method.as_str().to_ascii_lowercase(), interaction(row));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Phial",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A sealed, audited FHIR R4 server.",
            "description": "FHIR is described in full by the CapabilityStatement at \
                /fhir/metadata. Another tenant's base is /t/TENANT/fhir. Which answer a role \
                gets is in docs/reference/routes.md, what each status means in \
                docs/reference/errors.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": components(),
    })
}

fn components() -> Value {
    let types: Vec<&str> =
        stored_types().map(phial_fhir::definitions::ResourceType::name).collect();
    json!({
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "description": "From `phial token`."},
        },
        "schemas": {
            "ResourceType": {"type": "string", "enum": types},
            "Id": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"},
            "VersionId": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
            "Word": {"type": "string", "pattern": "^[A-Za-z0-9]+$"},
            "Resource": {
                "type": "object",
                "properties": {"resourceType": {"type": "string"}},
                "required": ["resourceType"],
            },
            "Bundle": resource("Bundle", &json!({
                "type": {"type": "string"},
                "total": {"type": "integer", "minimum": 0},
                "link": {"type": "array"},
                "entry": {"type": "array"},
            })),
            "OperationOutcome": resource("OperationOutcome", &json!({
                "issue": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "severity": {"enum": ["fatal", "error", "warning", "information"]},
                            "code": {"type": "string"},
                            "diagnostics": {"type": "string"},
                            "expression": {"type": "array", "items": {"type": "string"}},
                        },
                        "required": ["severity", "code"],
                    },
                },
            })),
            "Status": {
                "type": "object",
                "properties": {"status": {"type": "string"}},
                "required": ["status"],
                "additionalProperties": false,
            },
        },
        "responses": {
            "Refused": {
                "description": "Refused, absent or failed: the OperationOutcome says why.",
                "content": fhir("OperationOutcome"),
            },
            "Unchanged": {"description": "What the client has is what there is."},
            "Done": {"description": "Done; there is nothing to say."},
        },
    })
}

fn resource(name: &str, properties: &Value) -> Value {
    let mut all = json!({"resourceType": {"const": name}});
    if let (Some(all), Some(more)) = (all.as_object_mut(), properties.as_object()) {
        all.extend(more.clone());
    }
    json!({"type": "object", "properties": all, "required": ["resourceType"]})
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A body in each of the names that FHIR's JSON has.
fn fhir(name: &str) -> Value {
    let body = json!({"schema": schema(name)});
    json!({"application/fhir+json": body, "application/json": body})
}

fn plain(route: Plain, about: &str) -> Value {
    let status = |description: &str| {
        let body = json!({"application/json": {"schema": schema("Status")}});
        json!({"description": description, "content": body})
    };
    let mut responses = json!({"200": match route {
        Plain::Alive | Plain::Ready => status("Yes."),
        Plain::OpenApi => json!({
            "description": "This document.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }),
    }});
    if let (Plain::Ready, Some(all)) = (route, responses.as_object_mut()) {
        all.insert("503".to_owned(), status("No, and why."));
    }
    json!({
        "operationId": format!("{route:?}"),
        "summary": about,
        "security": [],
        "responses": responses,
    })
}

/// An endpoint of the authorization server.
fn endpoint(row: &EndpointRow, method: &Method) -> Value {
    let object = json!({"application/json": {"schema": {"type": "object"}}});
    let refused = json!({
        "description": "Refused: `error` is a code of RFC 6749, `error_description` says why.",
        "content": object,
    });
    let mut said = json!({
        "operationId": format!("{} {}", method, row.path),
        "summary": row.about,
        "security": [],
        "responses": {
            "200": {"description": "Done.", "content": object},
            "201": {"description": "Made.", "content": object},
            "400": refused, "401": refused, "403": refused, "404": refused, "421": refused,
            "429": refused,
            "503": {"$ref": "#/components/responses/Refused"},
        },
    });
    if *method == Method::POST
        && let Some(said) = said.as_object_mut()
    {
        let form = match row.path {
            "/oauth/register" => object.clone(),
            _ => json!({"application/x-www-form-urlencoded": {
                "schema": {"type": "object", "additionalProperties": {"type": "string"}},
            }}),
        };
        said.insert("requestBody".to_owned(), json!({"required": true, "content": form}));
    }
    said
}

/// A row's path in OpenAPI's form, and the parameters in it.
fn path(row: &Row) -> (String, Value) {
    let mut parameters = Vec::new();
    let path: Vec<String> = row
        .path
        .split('/')
        .map(|segment| {
            let Some(name) = segment.strip_prefix('[').and_then(|s| s.strip_suffix(']')) else {
                return segment.to_owned();
            };
            let kind = match name {
                "id" => "Id",
                "vid" => "VersionId",
                "type" | "compartment" => "ResourceType",
                _ => "Word",
            };
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "schema": schema(kind),
            }));
            format!("{{{name}}}")
        })
        .collect();
    (format!("/fhir{}", path.join("/")), json!(parameters))
}

fn interaction(row: &Row) -> Value {
    let (name, page) = match row.claim {
        Claim::Operation(name, definition) => (format!("${name}"), definition.to_owned()),
        Claim::System(code) | Claim::Type(code) => (code.to_owned(), hl7(code)),
        Claim::ConditionalUpdate => ("conditional update".to_owned(), hl7("cond-update")),
        Claim::ConditionalDelete => ("conditional delete".to_owned(), hl7("3.1.0.7.1")),
        Claim::Unsaid if row.path == "/metadata" => {
            ("capabilities".to_owned(), hl7("capabilities"))
        }
        Claim::Unsaid if row.method == Method::PATCH => {
            ("conditional patch".to_owned(), hl7("patch"))
        }
        Claim::Unsaid => ("search".to_owned(), hl7("search")),
    };
    let mut said = json!({
        "operationId": format!("{} {}", row.method, row.path),
        "summary": name,
        "externalDocs": {"url": page},
        "responses": responses(row),
    });
    let Some(all) = said.as_object_mut() else { return said };
    if let Some(body) = body(row) {
        let required = !matches!(row.claim, Claim::Operation(..));
        all.insert("requestBody".to_owned(), json!({"required": required, "content": body}));
    }
    if row.path == "/metadata" {
        all.insert("security".to_owned(), json!([]));
    }
    said
}

fn hl7(place: &str) -> String {
    format!("https://hl7.org/fhir/R4/http.html#{place}")
}

/// What a route takes as a body.
fn body(row: &Row) -> Option<Value> {
    if row.path.ends_with("/_search") {
        let form =
            json!({"schema": {"type": "object", "additionalProperties": {"type": "string"}}});
        return Some(json!({"application/x-www-form-urlencoded": form}));
    }
    match row.method {
        Method::PATCH => Some(json!({
            "application/json-patch+json": {"schema": {"type": "array"}},
            "application/fhir+json": {"schema": schema("Resource")},
        })),
        Method::POST if row.path.is_empty() => Some(fhir("Bundle")),
        // Its definition says what an operation takes: of some nothing, and `$validate`
        // answers what does not hold with what is wrong in it.
        Method::POST if matches!(row.claim, Claim::Operation(..)) => {
            Some(json!({"application/fhir+json": {"schema": {}}}))
        }
        Method::POST | Method::PUT => Some(fhir("Resource")),
        _ => None,
    }
}

/// What a route may answer. A refusal that comes before the route is known, such as 405,
/// stands at every path.
fn responses(row: &Row) -> Value {
    let mut all = Map::new();
    let ok = |name: &str| json!({"description": "Done.", "content": fhir(name)});
    let writes = body(row).is_some() && !row.path.ends_with("/_search");
    let found = match row.claim {
        Claim::Unsaid if row.method == Method::PATCH => "Resource",
        Claim::System(_) => "Bundle",
        Claim::Type(code) if code.starts_with("history") || code.starts_with("search") => "Bundle",
        Claim::Unsaid if row.path != "/metadata" => "Bundle",
        _ => "Resource",
    };
    let operation = matches!(row.claim, Claim::Operation(..));
    if row.method != Method::DELETE {
        all.insert("200".to_owned(), ok(found));
    }
    if matches!(row.claim, Claim::Type("create" | "update") | Claim::ConditionalUpdate) {
        all.insert("201".to_owned(), ok("Resource"));
    }
    if operation {
        all.insert(
            "202".to_owned(),
            json!({"description": "Begun: Content-Location has its status."}),
        );
    }
    if row.method == Method::DELETE || operation {
        all.insert("204".to_owned(), json!({"$ref": "#/components/responses/Done"}));
    }
    if matches!(row.claim, Claim::Type("read" | "vread")) {
        all.insert("304".to_owned(), json!({"$ref": "#/components/responses/Unchanged"}));
    }
    let mut refused = vec![400, 401, 403, 404, 405, 406, 410, 414, 500, 503];
    if writes || row.method == Method::DELETE || operation {
        refused.extend([409, 412]);
    }
    if body(row).is_some() {
        refused.extend([413, 415, 422]);
    }
    refused.sort_unstable();
    for status in refused {
        all.insert(status.to_string(), json!({"$ref": "#/components/responses/Refused"}));
    }
    Value::Object(all)
}
