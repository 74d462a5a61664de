//! TLS 1.2 and 1.3 only (164.312(e)(2)(ii)). Without a certificate of the
//! operator's a development CA is made in `tls/`.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use phial_base::step::Step;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// The files of the development CA.
pub(crate) struct DevCa {
    /// The CA's certificate, for clients to trust.
    pub(crate) ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Makes a development CA and a server certificate in `dir`, or finds them there.
/// The server certificate is made anew when it does not name `ip`.
pub(crate) fn dev_ca(dir: &Path, ip: IpAddr, now: jiff::Timestamp) -> anyhow::Result<DevCa> {
    let files = DevCa {
        ca: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    let names = dir.join("server.names");
    let wanted = format!("localhost 127.0.0.1 ::1 {ip}");
    let known = fs::read_to_string(&names).unwrap_or_default();
    let complete = files.ca.exists() && files.certificate.exists() && files.key.exists();
    if complete && known.trim() == wanted {
        return Ok(files);
    }
    let start = time::OffsetDateTime::from_unix_timestamp(now.as_second())?;
    let ca_key_file = dir.join("ca.key");
    let ca_key = if ca_key_file.exists() && files.ca.exists() {
        KeyPair::from_pem(&fs::read_to_string(&ca_key_file)?)?
    } else {
        let key = KeyPair::generate()?;
        write_private(&ca_key_file, key.serialize_pem().as_bytes())?;
        key
    };
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named("Phial development CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_before = start - time::Duration::days(1);
    ca.not_after = start + time::Duration::days(3650);
    if !files.ca.exists() {
        write_private(&files.ca, ca.self_signed(&ca_key)?.pem().as_bytes())?;
    }
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server.distinguished_name = named("Phial development server");
    for ip in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), ip] {
        let san = SanType::IpAddress(ip);
        if !server.subject_alt_names.contains(&san) {
            server.subject_alt_names.push(san);
        }
    }
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    server.not_before = start - time::Duration::days(1);
    server.not_after = start + time::Duration::days(397);
    let certificate = server.signed_by(&key, &issuer)?;
    write_private(&files.key, key.serialize_pem().as_bytes())?;
    write_private(&files.certificate, certificate.pem().as_bytes())?;
    write_private(&names, wanted.as_bytes())?;
    Ok(files)
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), phial_store::Error> {
    phial_store::write_whole(Step::TlsFile, path, bytes)
}

/// The server's TLS configuration.
pub(crate) fn server_config(
    tls: &Tls,
    dir: &Path,
    ip: IpAddr,
    now: jiff::Timestamp,
) -> anyhow::Result<Arc<ServerConfig>> {
    let (certificate, key) = match (&tls.certificate, &tls.key) {
        (Some(c), Some(k)) => (c.clone(), k.clone()),
        _ => {
            let dev = dev_ca(dir, ip, now)?;
            (dev.certificate, dev.key)
        }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .with_context(|| "tls.certificate can't be read as PEM")?;
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| "tls.key can't be read as PEM")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and the key do not fit")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
