//! `POST /oauth/launch`: an EHR that its user is logged in to begins a launch. It names the
//! app and the patient, perhaps an encounter, and gets what the app is to be opened with
//! (<https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#launch-app-ehr-launch>).
//!
//! Whoever launches must be able to see the patient, and the launch is good for that
//! account, that app, ten minutes, once.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use phial_base::LogicalId;
use phial_engine::Failure;
use phial_fhir::definitions::ResourceType;
use phial_identity::oauth::{Launch, RefusedCode};
use phial_store::tickets::TicketKind;
use serde_json::{Value, json};

use super::{Ask, Ends, json_answer, refused};
use crate::http::authn::authenticate;

pub(super) async fn launch(ask: &Ask<'_>) -> Result<Response<Body>, Ends> {
    let certificate = ask.fingerprint();
    let info = ask.info.clone();
    let caller = authenticate(ask.app, &ask.tenant_id, ask.headers, certificate, info).await?;
    if caller.subject.scopes.is_some() {
        // An app's user did not ask for another app.
        return Err(Failure::forbidden("an app can't launch another app").into());
    }
    let body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let missing = || {
        refused(
            RefusedCode::InvalidRequest,
            "a launch names app and patient: {\"client\": \
            \"...\", \"patient\": \"...\"}",
        )
    };
    let client = ask.find(text("client").ok_or_else(missing)?)?;
    let launch_uri = client.launch_uri.clone().ok_or_else(|| {
        refused(RefusedCode::InvalidRequest, "the app has no launch URI (phial client add)")
    })?;
    let id = |name: &str| match text(name) {
        Some(text) => LogicalId::new(text).map(Some).map_err(|_| missing()),
        None => Ok(None),
    };
    let patient = id("patient")?.ok_or_else(missing)?;
    let encounter = id("encounter")?;
    let ty = |name| ResourceType::from_name(name).ok_or(Failure::NotFound);
    ask.app.engine.read(&caller, ty("Patient")?, &patient).await?;
    if let Some(encounter) = &encounter {
        ask.app.engine.read(&caller, ty("Encounter")?, encounter).await?;
    }
    let context = Launch {
        client: client.id.clone(),
        user: caller.subject.id.clone(),
        patient: patient.as_str().to_owned(),
        encounter: encounter.map(|e| e.as_str().to_owned()),
        banner: body.get("need_patient_banner").and_then(Value::as_bool).unwrap_or(true),
    };
    let (kind, user) = (TicketKind::Launch, &caller.subject.id);
    let kept = ask.app.apps.keep(&ask.tenant_id, kind, user, &client.id, &context, ask.info.at)?;
    let joint = if launch_uri.contains('?') { '&' } else { '?' };
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("iss", &format!("{}/fhir", ask.root))
        .append_pair("launch", kept.token.as_str())
        .finish();
    let said = json!({
        "launch": kept.token.as_str(),
        "url": format!("{launch_uri}{joint}{query}"),
    });
    Ok(json_answer(StatusCode::CREATED, &said))
}
