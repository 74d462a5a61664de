//! Tokens looked at and given back: introspection (RFC 7662), revocation (RFC 7009), and
//! userinfo (OpenID Connect Core section 5.3).

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use phial_audit::{DetailKey, EventKind};
use phial_identity::oauth::{ClientKind, Refused, RefusedCode, Special};
use serde_json::{Value, json};

use super::token::{claims, fhir_user};
use super::{Ask, Ends, json_answer, refused};
use crate::http::answer;

fn missing() -> Ends {
    refused(RefusedCode::InvalidRequest, "no token is named (token)")
}

/// What a token stands for, told to a client that proves itself. A public one is told
/// nothing: anybody could be it.
pub(super) async fn introspect(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let (client, _) = ask.client().await?;
    if client.kind == ClientKind::Public {
        let why = "a public app can't prove that it may ask";
        let refusal = Refused::new(RefusedCode::UnauthorizedClient, why);
        return Err(Ends::Refused(refusal, Some(client.id)));
    }
    let token = ask.field("token")?.ok_or_else(missing)?;
    let (control, policy) = (ask.control(), ask.app.engine.policy());
    let alive = ask.app.log_ins(&ask.tenant_id, ask.info.at);
    let found =
        ask.app.apps.inspect(control, policy, &ask.tenant_id, token, &alive, ask.info.at)?;
    let Some((ticket, s)) = found else {
        return Ok(json_answer(StatusCode::OK, &json!({"active": false})));
    };
    let mut said = json!({
        "active": true,
        "scope": s.scopes,
        "client_id": s.client,
        "sub": s.user.as_str(),
        "iss": ask.root,
        "aud": format!("{}/fhir", ask.root),
        "exp": ticket.expires.as_second(),
        "iat": ticket.created.as_second(),
        "token_type": "Bearer",
    });
    if let Some(said) = said.as_object_mut() {
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                said.insert(name.to_owned(), Value::from(value));
            }
        };
        put("patient", s.patient.clone());
        put("encounter", s.encounter.clone());
        if s.wanted().has(Special::FhirUser) {
            put("fhirUser", fhir_user(ask, &s)?);
        }
        if let Some(bound) = &s.bound {
            said.insert("cnf".to_owned(), json!({"x5t#S256": thumbprint(bound)}));
        }
    }
    Ok(json_answer(StatusCode::OK, &said))
}

/// A certificate's SHA-256 as RFC 8705 writes it.
fn thumbprint(hexadecimal: &str) -> String {
    use base64::Engine as _;
    let bytes = hex::decode(hexadecimal).unwrap_or_default();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A client gives a token back. What it does not know it gives back as well.
pub(super) async fn revoke(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let (client, _) = ask.client().await?;
    let token = ask.field("token")?.ok_or_else(missing)?;
    let found = ask.app.apps.revoke(&ask.tenant_id, &client, token, ask.info.at)?;
    if let Some(handle) = found {
        let detail = [(DetailKey::Client, client.id.clone()), (DetailKey::Token, handle)];
        ask.note(None, EventKind::TokenRevoked, &detail).await?;
    }
    Ok(answer::empty(StatusCode::OK))
}

/// Who the token's user is.
pub(super) async fn userinfo(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let bad = || refused(RefusedCode::InvalidToken, "no living access token of an app");
    let token = ask
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")))
        .ok_or_else(bad)?;
    let (control, policy) = (ask.control(), ask.app.engine.policy());
    let (apps, tenant, now) = (&ask.app.apps, &ask.tenant_id, ask.info.at);
    let token = token.trim();
    let certificate = ask.fingerprint();
    let alive = ask.app.log_ins(tenant, now);
    if apps.recognise(control, policy, tenant, token, certificate, &alive, now)?.is_none() {
        return Err(bad());
    }
    let found = apps.inspect(control, policy, tenant, token, &alive, now)?;
    let (_, s) = found.ok_or_else(bad)?;
    if !s.wanted().has(Special::OpenId) {
        return Err(refused(RefusedCode::AccessDenied, "the token has no scope openid"));
    }
    Ok(json_answer(StatusCode::OK, &Value::Object(claims(ask, &s)?)))
}
