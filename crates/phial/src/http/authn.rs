//! Authentication: from a bearer token to a subject (164.312(d)).

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use phial_audit::{DetailKey, EventKind};
use phial_base::{RequestInfo, Subject, SubjectId, TenantId};
use phial_engine::{Caller, Failure};
use phial_store::tickets::TicketKind;

use crate::app::App;

/// Recognises who asks, by a token of a person or of an app; `certificate` is the SHA-256
/// of the one that the connection was made with. A refusal is written down, durably, before it is answered.
pub(crate) async fn authenticate(
    app: &App,
    tenant: &TenantId,
    headers: &HeaderMap,
    certificate: Option<&str>,
    request: RequestInfo,
) -> Result<Caller, Failure> {
    let found = app.engine.tenant(tenant).ok_or(Failure::Unauthenticated)?;
    let incident = request.id;
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")));
    if let Some(token) = token {
        let (control, policy) = (found.vessel.control(), app.engine.policy());
        let token = token.trim();
        let recognised = if token.starts_with(TicketKind::Access.prefix()) {
            let alive = app.log_ins(tenant, request.at);
            app.apps.recognise(control, policy, tenant, token, certificate, &alive, request.at)
        } else {
            app.tokens.recognise(control, policy, tenant, token, request.at)
        };
        match recognised {
            Ok(Some(subject)) => return Ok(Caller { subject, request }),
            Ok(None) => {}
            Err(phial_identity::Error::Store(e)) => {
                return Err(Failure::from_store(e, incident));
            }
            Err(e) => {
                tracing::error!(incident = %incident, error = %e, "an account can't be read");
                return Err(Failure::Unauthenticated);
            }
        }
    }
    let reason = if token.is_some() { "not a living token" } else { "no token" };
    let nobody = Caller { subject: Arc::new(nobody(tenant)?), request };
    app.engine
        .record_event(&nobody, EventKind::TokenRefused, &[(DetailKey::Reason, reason.to_owned())])
        .await?;
    Err(Failure::Unauthenticated)
}

pub(crate) fn nobody(tenant: &TenantId) -> Result<Subject, Failure> {
    Ok(Subject {
        tenant: tenant.clone(),
        id: SubjectId::new("nobody").map_err(|_| Failure::Unauthenticated)?,
        roles: Vec::new(),
        unit: None,
        practitioner: None,
        patient: None,
        purpose: phial_base::Purpose::HOPERAT,
        mfa: 0,
        session: None,
        client: None,
        scopes: None,
    })
}
