//! TLS 1.2 and 1.3 only (164.312(e)(2)(ii)). Without a certificate of the
//! operator's a development CA is made in `tls/`.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use phial_base::step::Step;
use phial_identity::oauth::Called;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};

use super::x509::{About, about, called};
use crate::app::App;
use crate::config::Tls;
use crate::trust;

/// The files of the development CA.
struct DevCa {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Makes a development CA and a server certificate in `dir`, or finds them there.
/// The server certificate is made anew when it does not name `ip`.
fn dev_ca(dir: &Path, ip: IpAddr, now: Timestamp) -> anyhow::Result<()> {
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
        return Ok(());
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
    server.not_after = start + time::Duration::days(364);
    let certificate = server.signed_by(&key, &issuer)?;
    // The pair is whole only once this says whose it is: a new key beside an old
    // certificate is not taken for one.
    write_private(&names, b"")?;
    write_private(&files.key, key.serialize_pem().as_bytes())?;
    write_private(&files.certificate, certificate.pem().as_bytes())?;
    write_private(&names, wanted.as_bytes())?;
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), phial_store::Error> {
    phial_store::write_whole(Step::TlsFile, path, bytes)
}

/// The certificate in use, and how to take another without a stop (164.312(e)(1)).
pub(crate) struct Certificates {
    current: ArcSwap<Loaded>,
    dir: PathBuf,
    ip: IpAddr,
    /// The files as they were last looked at: taken once they are the same twice, so
    /// that a pair is not read while it is being replaced.
    seen: Mutex<[Stamp; 2]>,
}

/// A certificate that was read.
#[derive(Clone)]
pub(crate) struct Loaded {
    config: Arc<ServerConfig>,
    stamps: [Stamp; 2],
    /// SHA-256 of the certificate in DER, hexadecimal.
    pub(crate) fingerprint: String,
    /// What it says of itself; `None` when it can't be read.
    pub(crate) about: Option<About>,
    /// Whether certificates of clients are those of the CAs that the operator named.
    vouches: Option<Arc<dyn ClientCertVerifier>>,
}

/// How a file looks from outside; it changes when the file does.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let m = fs::metadata(path).ok()?;
    Some((m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
}

/// The versions of TLS that are offered.
pub(crate) const OFFERED: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// What a certificate in files says of itself.
pub(crate) struct Described {
    /// `None` when it has an unusual form.
    pub(crate) about: Option<About>,
}

/// Reads certificate and key, makes none, and says what the certificate says.
///
/// # Errors
/// When a file can't be read, or they do not fit each other.
pub(crate) fn describe(tls: &Tls, dir: &Path) -> anyhow::Result<Described> {
    Ok(Described { about: read(paths(tls, dir), tls)?.about })
}

/// The files of certificate and key.
fn paths(tls: &Tls, dir: &Path) -> [PathBuf; 2] {
    match (&tls.certificate, &tls.key) {
        (Some(c), Some(k)) => [c.clone(), k.clone()],
        _ => [dir.join("server.pem"), dir.join("server.key")],
    }
}

impl Certificates {
    /// Reads the certificate that the configuration names, or makes a development one.
    pub(crate) fn load(app: &App, ip: IpAddr) -> anyhow::Result<Self> {
        let dir = app.home.tls();
        let loaded = load(&app.config().tls, &dir, ip, app.clock.now())?;
        let seen = Mutex::new(loaded.stamps);
        Ok(Certificates { current: ArcSwap::from_pointee(loaded), dir, ip, seen })
    }

    /// What new connections are served with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// Whether the files have changed since they were last read or refused, and stay
    /// as they are now.
    pub(crate) fn have_changed(&self, tls: &Tls) -> bool {
        let found = paths(tls, &self.dir).map(|p| stamp(&p));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = std::mem::replace(&mut *seen, found) == found;
        stands && found != self.current.load().stamps
    }

    /// Reads another certificate. It is not in use before [`Certificates::take`].
    ///
    /// # Errors
    /// When files can't be read, do not fit each other, or the certificate does not hold
    /// at this moment. The same files are not tried again until they change.
    pub(crate) fn read(&self, tls: &Tls, now: Timestamp) -> anyhow::Result<Loaded> {
        let read = load(tls, &self.dir, self.ip, now).and_then(|loaded| {
            match &loaded.about {
                Some(a) if now < a.from => anyhow::bail!("the certificate holds from {}", a.from),
                Some(a) if a.until <= now => anyhow::bail!("the certificate ended at {}", a.until),
                _ => {}
            }
            Ok(loaded)
        });
        if read.is_err() {
            let old = self.current.load();
            let stamps = paths(tls, &self.dir).map(|p| stamp(&p));
            self.current.store(Arc::new(Loaded { stamps, ..Loaded::clone(&old) }));
        }
        read
    }

    /// Serves new connections with this one. Connections that are open keep theirs.
    pub(crate) fn take(&self, loaded: Loaded) {
        self.current.store(Arc::new(loaded));
    }

    /// Whether the one in use names this host. A wildcard names none: it says whose
    /// servers these may be, not which one this is.
    pub(crate) fn vouch_for(&self, host: &str) -> bool {
        let loaded = self.current.load();
        loaded.about.iter().flat_map(|a| &a.names).any(|n| n.eq_ignore_ascii_case(host))
    }

    /// Whose the certificate of a client is, when a CA of `tls.client_ca` vouches for it now
    /// (RFC 8705 section 2.1). The client has shown that it has the key.
    pub(crate) fn called(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Option<Called> {
        let loaded = self.current.load();
        let now = u64::try_from(now.as_second()).ok()?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        loaded.vouches.as_ref()?.verify_client_cert(own, others, now).ok()?;
        Some(called(own))
    }

    /// The fingerprint of the one in use.
    pub(crate) fn fingerprint(&self) -> String {
        self.current.load().fingerprint.clone()
    }
}

fn load(tls: &Tls, dir: &Path, ip: IpAddr, now: Timestamp) -> anyhow::Result<Loaded> {
    if tls.certificate.is_none() {
        dev_ca(dir, ip, now)?;
    }
    read(paths(tls, dir), tls)
}

fn read([certificate, key]: [PathBuf; 2], tls: &Tls) -> anyhow::Result<Loaded> {
    let ask = tls.client_certificates;
    // Before the reading: what is replaced meanwhile counts as changed.
    let stamps = [stamp(&certificate), stamp(&key)];
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .with_context(|| "tls.certificate can't be read as PEM")?;
    let first = chain.first().context("tls.certificate holds no certificate")?;
    let fingerprint = hex::encode(phial_crypto::sha256(first));
    let about = about(first);
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| "tls.key can't be read as PEM")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&OFFERED)?;
    let builder = if ask {
        builder.with_client_cert_verifier(Arc::new(Presented(provider)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config =
        builder.with_single_cert(chain, key).context("the certificate and the key do not fit")?;
    if ask {
        // A resumed session is not asked for its certificate again: whoever has its ticket
        // would have the certificate's name without its key.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    // Ours is the stronger order; testssl.sh asks for one.
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let vouches = match &tls.client_ca {
        Some(file) => {
            let roots = Arc::new(trust::own(file).context("tls.client_ca can't be used")?);
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            Some(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
        }
        None => None,
    };
    Ok(Loaded { config: Arc::new(config), stamps, fingerprint, about, vouches })
}

/// Takes any certificate that the client has the key of, or none (RFC 8705 section 2.2).
/// Nothing follows from having one: who it stands for is in the register of clients, by
/// its SHA-256, or by its name when a CA of `tls.client_ca` vouches for it, and only there.
#[derive(Debug)]
struct Presented(Arc<rustls::crypto::CryptoProvider>);

impl ClientCertVerifier for Presented {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_certificate_fails_at_every_step_both_ways() {
        use phial_base::step::{STEPS, Step};
        use phial_testkit::points::{How, Points};

        let row = STEPS.iter().find(|r| r.step == Step::TlsFile).unwrap();
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let [here, there] = ["127.0.0.1", "192.0.2.7"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for part in row.parts {
            for how in How::BOTH {
                let mut met = 0;
                loop {
                    let dir = tempfile::tempdir().unwrap();
                    let root = fs::canonicalize(dir.path()).unwrap();
                    let (tls, copy) = (root.join("tls"), root.join("crashed"));
                    fs::create_dir(&tls).unwrap();
                    dev_ca(&tls, here, now).unwrap();
                    let points = Points::over(&tls).unwrap();
                    points.arm(Step::TlsFile, *part, met, how, &copy);
                    let made = dev_ca(&tls, there, now);
                    if !points.hit() {
                        break;
                    }
                    let why = format!("{part:?} +{met} {how:?}");
                    assert!(made.is_err(), "{why}");
                    met += 1;
                    // Going on, or after a crash; for the new address or, put back, the old.
                    for (at, ip) in [(&tls, there), (&copy, here)] {
                        load(&Tls::default(), at, ip, now).unwrap_or_else(|e| panic!("{why}: {e}"));
                    }
                }
                assert!(met >= 3, "{part:?} {how:?}: met {met} times");
            }
        }
    }
}
