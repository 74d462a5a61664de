//! A door on this machine that speaks TLS, with a CA of its own that vouches for it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) port: u16,
    /// The CA's certificate.
    pub(crate) ca: PathBuf,
    pub(crate) tls: Arc<ServerConfig>,
}

/// Listens at a free port; the CA's certificate is put into `dir` as `NAME-PORT.pem`.
pub(crate) fn listen(dir: &Path, name: &str) -> Listening {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let certificate = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(Vec::new()).unwrap();
    own.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
    let own = own.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ca = dir.join(format!("{name}-{port}.pem"));
    fs::write(&ca, certificate).unwrap();
    Listening { listener, port, ca, tls: Arc::new(tls) }
}
