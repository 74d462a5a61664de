//! `/healthz` and `/readyz`: for load balancers and supervisors. They say nothing of
//! what is stored, ask for no token, and write nothing down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;

use super::answer;
use crate::app::App;

/// A probe of the audit log is believed for so long.
const BELIEVED: Duration = Duration::from_secs(1);

/// Whether requests are welcome.
#[derive(Debug, Default)]
pub(crate) struct Health {
    draining: AtomicBool,
    probed: Mutex<Option<(Instant, bool)>>,
}

impl Health {
    /// From now on: not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the end was announced.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// The answer of `/healthz`.
    pub(crate) fn alive() -> Response<Body> {
        said(StatusCode::OK, "ok")
    }

    /// The answer of `/readyz`.
    pub(crate) async fn ready(&self, app: &Arc<App>) -> Response<Body> {
        if self.is_draining() {
            return said(StatusCode::SERVICE_UNAVAILABLE, "draining");
        }
        match self.audit(app).await {
            true => said(StatusCode::OK, "ready"),
            false => said(StatusCode::SERVICE_UNAVAILABLE, "audit log can't be written"),
        }
    }

    /// Whether every tenant's audit log takes a commit. Without it nothing is served
    /// (invariant 7).
    async fn audit(&self, app: &Arc<App>) -> bool {
        let known = *self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, writable)) = known
            && at.elapsed() < BELIEVED
        {
            return writable;
        }
        let app = Arc::clone(app);
        let probe = tokio::task::spawn_blocking(move || {
            app.engine.tenants().all(|t| t.vessel.audit().flush().is_ok())
        });
        let writable = probe.await.unwrap_or(false);
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), writable));
        writable
    }
}

fn said(status: StatusCode, text: &str) -> Response<Body> {
    answer::plain(status, Bytes::from(format!("{{\"status\":\"{text}\"}}")))
}
