//! Whom this program trusts when it calls others over TLS: the CAs of a file, or else the
//! system's list. Whoever is called decides nothing here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Where systems keep the CAs that they trust.
const SYSTEM_CAS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The CAs of one's own list: each has to be one that can be used.
///
/// # Errors
/// When the file can't be read, holds none, or one that can't be used.
pub(crate) fn own(file: &Path) -> anyhow::Result<RootCertStore> {
    read(file, true)
}

/// The CAs of one's own list, or when there is none, of the system's; `otherwise` is said
/// when there is neither.
///
/// # Errors
/// As [`own`]; a system's list may hold CAs that can't be used.
pub(crate) fn own_or_systems(
    own: Option<PathBuf>,
    otherwise: &'static str,
) -> anyhow::Result<RootCertStore> {
    match own {
        Some(file) => read(&file, true),
        None => {
            let file = SYSTEM_CAS.iter().map(Path::new).find(|p| p.is_file());
            read(file.context(otherwise)?, false)
        }
    }
}

fn read(file: &Path, strict: bool) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("{} can't be read", file.display()))?;
    for certificate in all {
        let added = roots.add(certificate?);
        if strict {
            added?;
        }
    }
    ensure!(!roots.is_empty(), "{} holds no certificate", file.display());
    Ok(roots)
}

/// TLS towards whoever these vouch for, and nobody else.
///
/// # Errors
/// None with the library that is built in.
pub(crate) fn client(roots: RootCertStore) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
