//! What a directory finds out before it asks (RFC 7643 sections 5 to 7).

use serde_json::{Value, json};

pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

pub(super) fn config(base: &str) -> Value {
    let no = json!({"supported": false});
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": 1000},
        "changePassword": no,
        "sort": no,
        "etag": {"supported": true},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "OAuth Bearer Token",
            "description": "A token of a service with the scope scim (client_credentials).",
            "primary": true,
        }],
        "meta": {"resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig")},
    })
}

fn list(all: &[Value]) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": all.len(),
        "startIndex": 1,
        "itemsPerPage": all.len(),
        "Resources": all,
    })
}

pub(super) fn types(base: &str) -> Value {
    let one = |name: &str, endpoint: &str, schema: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name, "name": name, "endpoint": endpoint, "schema": schema,
            "meta": {"resourceType": "ResourceType",
                "location": format!("{base}/ResourceTypes/{name}")},
        })
    };
    list(&[one("User", "/Users", USER), one("Group", "/Groups", GROUP)])
}

fn attribute(name: &str, kind: &str, many: bool, must: bool, changes: &str, what: &str) -> Value {
    json!({
        "name": name, "type": kind, "multiValued": many, "required": must, "caseExact": true,
        "mutability": changes, "returned": "default",
        "uniqueness": if name == "userName" { "server" } else { "none" },
        "description": what,
    })
}

pub(super) fn all(base: &str) -> Value {
    let schema = |id: &str, name: &str, attributes: Vec<Value>| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id, "name": name, "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": format!("{base}/Schemas/{id}")},
        })
    };
    let user = vec![
        attribute("userName", "string", false, true, "immutable", "The account's name."),
        attribute(
            "displayName",
            "string",
            false,
            false,
            "readWrite",
            "What people call the person.",
        ),
        attribute("active", "boolean", false, false, "readWrite", "False: suspended."),
        attribute("roles", "complex", true, true, "readWrite", "Names of roles, as value."),
        attribute("groups", "complex", true, false, "readOnly", "The same, as groups."),
    ];
    let group = vec![
        attribute("displayName", "string", false, true, "readOnly", "The role's name."),
        attribute("members", "complex", true, false, "readWrite", "Who holds the role."),
    ];
    list(&[schema(USER, "User", user), schema(GROUP, "Group", group)])
}
