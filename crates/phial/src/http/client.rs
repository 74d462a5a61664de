//! The client by which this program speaks to another instance of itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::trust;

/// A client that trusts the CA in this file and nothing else.
pub(crate) fn client(ca: Option<&Path>) -> anyhow::Result<reqwest::blocking::Client> {
    let ca = ca.context("give the server's CA certificate with --ca FILE")?;
    Ok(reqwest::blocking::Client::builder()
        .tls_backend_preconfigured(trust::client(trust::own(ca)?)?)
        .https_only(true)
        .timeout(Duration::from_secs(600))
        .build()?)
}
