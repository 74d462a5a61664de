//! `/oauth/token`: tokens for a code, a refresh token, or a service's assertion
//! (RFC 6749 sections 4.1.3, 4.4.2 and 6; SMART Backend Services).

use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use phial_audit::{DetailKey, EventKind};
use phial_base::scope::Reach;
use phial_identity::Accounts;
use phial_identity::oauth::{
    Client, ClientKind, Given, Proof, Refused, RefusedCode, Special, Standing,
};
use serde_json::{Map, Value, json};

use super::{Ask, Ends, json_answer, refused};

/// How long an id_token holds, seconds.
const ID_TOKEN_S: i64 = 300;

pub(super) async fn token(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    if ask.form.is_empty() {
        return Err(refused(
            RefusedCode::InvalidRequest,
            "the token endpoint takes application/x-www-form-urlencoded",
        ));
    }
    let grant = ask.field("grant_type")?;
    if !matches!(grant, Some("authorization_code" | "refresh_token" | "client_credentials")) {
        return Err(refused(RefusedCode::UnsupportedGrantType, "no grant_type that is known here"));
    }
    let (client, proof) = match ask.unnamed()? {
        Some(public) => (public, Proof::None),
        None => ask.client().await?,
    };
    let about = |r: Refused| Ends::Refused(r, Some(client.id.clone()));
    let refuse = |code, why| about(Refused::new(code, why));
    let needs = |name: &'static str| -> Result<&str, Ends> {
        ask.field(name)?.ok_or_else(|| {
            refuse(
                RefusedCode::InvalidRequest,
                "a parameter is missing: code, redirect_uri, \
                code_verifier, or refresh_token",
            )
        })
    };
    // A token that is given to a certificate is good with that alone (RFC 8705 section 3).
    let bound = ask.fingerprint().filter(|_| proof == Proof::Certificate);
    let (control, policy) = (ask.control(), ask.app.engine.policy());
    let (apps, tenant, now) = (&ask.app.apps, &ask.tenant_id, ask.info.at);
    let service = client.kind == ClientKind::Service;
    let alive = ask.app.log_ins(tenant, now);
    let unfit = || refuse(RefusedCode::UnauthorizedClient, "this grant is not for such a client");
    let given = match grant {
        Some("authorization_code") if !service => {
            let parts = (needs("code")?, needs("code_verifier")?, needs("redirect_uri")?);
            apps.redeem(control, policy, tenant, &client, parts, bound, &alive, now)
                .map_err(about)?
        }
        Some("refresh_token") if !service => {
            let token = needs("refresh_token")?;
            let asked = ask.field("scope")?.map(Ask::wanted);
            let asked = asked.as_ref();
            apps.refresh(control, policy, tenant, &client, token, asked, bound, &alive, now)
                .map_err(about)?
        }
        Some("client_credentials") if service => {
            let asked = ask.field("scope")?.ok_or_else(|| {
                refuse(RefusedCode::InvalidScope, "a service says what it wants (scope)")
            })?;
            // A service has no person: what takes one is a mistake, and is said to be one.
            let is_services = |word: &str| word == "scim" || word.starts_with("system/");
            if !asked.split(' ').filter(|w| !w.is_empty()).all(is_services) {
                return Err(refuse(
                    RefusedCode::InvalidScope,
                    "a service asks for system scopes alone",
                ));
            }
            let scopes =
                Ask::wanted(asked).within(&Ask::limits(&client)).keep(|s| s.reach == Reach::System);
            if scopes.is_empty() {
                return Err(refuse(
                    RefusedCode::InvalidScope,
                    "nothing that is asked for may be given to this service",
                ));
            }
            apps.give_service(control, policy, tenant, &client, &scopes, bound, now)
                .map_err(about)?
        }
        _ => return Err(unfit()),
    };
    // Shown only once its issue is on record.
    let mut detail = vec![
        (DetailKey::Client, client.id.clone()),
        (DetailKey::Account, given.standing.user.to_string()),
        (DetailKey::Token, given.access.handle.clone()),
        (DetailKey::Until, given.access.expires.to_string()),
        (DetailKey::Scope, given.standing.scopes.clone()),
    ];
    // Scopes with a query may be long.
    for (_, text) in &mut detail {
        text.truncate(text.char_indices().nth(1000).map_or(text.len(), |(at, _)| at));
    }
    ask.note(None, EventKind::TokenIssued, &detail).await?;
    answered(ask, &client, &given)
}

fn answered(ask: &Ask<'_>, client: &Client, given: &Given) -> Result<Response<Body>, Ends> {
    let s = &given.standing;
    let left = given.access.expires.duration_since(ask.info.at).as_secs();
    let mut said = json!({
        "access_token": given.access.token.as_str(),
        "token_type": "Bearer",
        "expires_in": left,
        "scope": s.scopes,
    });
    let wanted = s.wanted();
    if let Some(said) = said.as_object_mut() {
        let mut put = |name: &str, value: Value| said.insert(name.to_owned(), value);
        if let Some(refresh) = &given.refresh {
            put("refresh_token", refresh.token.as_str().into());
        }
        if let Some(patient) = &s.patient {
            put("patient", patient.as_str().into());
            put("need_patient_banner", s.banner.into());
        }
        if let Some(encounter) = &s.encounter {
            put("encounter", encounter.as_str().into());
        }
        if wanted.has(Special::OpenId) {
            put("id_token", id_token(ask, client, s)?.into());
        }
    }
    let mut response = json_answer(StatusCode::OK, &said);
    let name = HeaderName::from_static("pragma");
    response.headers_mut().insert(name, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Which record a token's user is.
pub(super) fn fhir_user(ask: &Ask<'_>, s: &Standing) -> Result<Option<String>, Ends> {
    let accounts = Accounts::new(ask.control(), ask.app.engine.policy());
    let account = accounts.find(&s.user)?;
    let of = account.and_then(|a| {
        let practitioner = a.practitioner.map(|id| format!("Practitioner/{id}"));
        practitioner.or_else(|| a.patient.map(|id| format!("Patient/{id}")))
    });
    Ok(of.map(|of| format!("{}/fhir/{of}", ask.root)))
}

/// What is said of the user, as far as the scopes ask for it.
pub(super) fn claims(ask: &Ask<'_>, s: &Standing) -> Result<Map<String, Value>, Ends> {
    let wanted = s.wanted();
    let mut all = Map::new();
    all.insert("sub".to_owned(), s.user.as_str().into());
    if let Some(user) = fhir_user(ask, s)? {
        if wanted.has(Special::FhirUser) {
            all.insert("fhirUser".to_owned(), user.as_str().into());
        }
        if wanted.has(Special::Profile) {
            all.insert("profile".to_owned(), user.into());
        }
    }
    Ok(all)
}

fn id_token(ask: &Ask<'_>, client: &Client, s: &Standing) -> Result<String, Ends> {
    let now = ask.info.at.as_second();
    let mut all = claims(ask, s)?;
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    put("iss", ask.root.as_str().into());
    put("aud", client.id.as_str().into());
    put("iat", now.into());
    put("exp", (now + ID_TOKEN_S).into());
    put("auth_time", s.at.into());
    // One factor, or two (NIST SP 800-63-4).
    put("acr", if s.mfa >= 2 { "urn:phial:acr:2" } else { "urn:phial:acr:1" }.into());
    if let Some(nonce) = &s.nonce {
        put("nonce", nonce.as_str().into());
    }
    let (app, alg) = (ask.app, client.id_token_alg());
    let claims = Value::Object(all);
    Ok(app.token_keys.sign(
        ask.control(),
        &ask.tenant_id,
        alg,
        &claims,
        app.rng.as_ref(),
        ask.info.at,
    )?)
}
