//! What clients find out before they ask: SMART's configuration
//! (<https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html>), OpenID Connect
//! Discovery 1.0, and the public keys of id_tokens. All of it is for everyone.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Ask, Ends, json_answer};
use crate::config::Registration;

/// SMART's capabilities that are there; what is not is not claimed.
const CAPABILITIES: [&str; 17] = [
    "launch-ehr",
    "launch-standalone",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "context-standalone-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
];

const SCOPES: [&str; 14] = [
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "online_access",
    "offline_access",
    "patient/*.cruds",
    "patient/*.rs",
    "user/*.cruds",
    "user/*.rs",
    "system/*.cruds",
    "system/*.rs",
];

/// What both documents say.
fn common(ask: &Ask<'_>) -> Value {
    let at = |path: &str| format!("{}{path}", ask.root);
    let config = ask.app.config();
    let mut said = json!({
        "issuer": ask.root,
        "jwks_uri": at("/oauth/jwks"),
        "authorization_endpoint": at("/oauth/authorize"),
        "token_endpoint": at("/oauth/token"),
        "introspection_endpoint": at("/oauth/introspect"),
        "revocation_endpoint": at("/oauth/revoke"),
        "userinfo_endpoint": at("/oauth/userinfo"),
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "scopes_supported": SCOPES,
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [
            "private_key_jwt", "client_secret_basic", "client_secret_post",
            "self_signed_tls_client_auth", "none",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_response_iss_parameter_supported": true,
    });
    // What is off is not claimed.
    if config.oauth.registration != Registration::Off
        && let Some(said) = said.as_object_mut()
    {
        said.insert("registration_endpoint".to_owned(), at("/oauth/register").into());
    }
    let ways = "token_endpoint_auth_methods_supported";
    if config.tls.client_ca.is_some()
        && let Some(ways) = said.get_mut(ways).and_then(Value::as_array_mut)
    {
        ways.push("tls_client_auth".into());
    }
    said
}

pub(super) fn smart(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let mut said = common(ask);
    if let Some(said) = said.as_object_mut() {
        said.insert("capabilities".to_owned(), json!(CAPABILITIES));
        said.insert("management_endpoint".to_owned(), json!(format!("{}/account/apps", ask.root)));
    }
    Ok(json_answer(StatusCode::OK, &said))
}

pub(super) fn openid(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let mut said = common(ask);
    if let Some(said) = said.as_object_mut() {
        said.insert("subject_types_supported".to_owned(), json!(["public"]));
        let algs = json!(["RS256", "ES384"]);
        said.insert("id_token_signing_alg_values_supported".to_owned(), algs);
        let claims = json!([
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "nonce",
            "acr",
            "fhirUser",
            "profile"
        ]);
        said.insert("claims_supported".to_owned(), claims);
        said.insert("request_parameter_supported".to_owned(), json!(false));
        said.insert("request_uri_parameter_supported".to_owned(), json!(false));
        said.insert("claims_parameter_supported".to_owned(), json!(false));
    }
    Ok(json_answer(StatusCode::OK, &said))
}

pub(super) fn jwks(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let all = ask.app.token_keys.published(ask.control(), ask.app.rng.as_ref(), ask.info.at)?;
    let keys: Vec<Value> = all.iter().map(|k| k.jwk.written()).collect();
    Ok(json_answer(StatusCode::OK, &json!({"keys": keys})))
}
