//! Certificates and configuration are changed under a running server.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use phial_testkit::fixture::BY_TEAM;
use phial_testkit::world::{Server, World, hang_up, try_send};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::clinic::clinic;
use crate::ending::{answer, connect};

/// A CA of the test's own, and files for what it signs.
struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(world: &World) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let dir = world.dir().to_owned();
        fs::write(dir.join("ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
        Authority { dir, issuer: Issuer::new(ca, key) }
    }

    /// Puts a certificate in place; its serial number tells it from others.
    fn issue(&self, serial: u64, until: i64) {
        let mut p = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        p.serial_number = Some(serial.into());
        p.not_after = time::OffsetDateTime::from_unix_timestamp(until).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = p.signed_by(&key, &self.issuer).unwrap();
        self.place(&signed.pem(), &key.serialize_pem());
    }

    fn place(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.pem", certificate), ("server.key", key)] {
            let beside = self.dir.join(format!("{name}.new"));
            fs::write(&beside, text).unwrap();
            fs::rename(&beside, self.dir.join(name)).unwrap();
        }
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    fn config(&self, more: &str) -> String {
        let d = self.dir.display();
        format!("{more}\n[tls]\ncertificate = \"{d}/server.pem\"\nkey = \"{d}/server.key\"\n")
    }
}

/// Long after any test.
const FAR: i64 = 4_000_000_000;
/// Long before.
const PAST: i64 = 1_000_000_000;

/// The certificate that a new connection is shown, in DER.
fn shown(server: &Server, ca: &Path) -> Vec<u8> {
    let tls = connect(server, ca);
    tls.conn.peer_certificates().unwrap()[0].to_vec()
}

fn settings(world: &World) -> Vec<serde_json::Value> {
    let tail = world.ok(&["audit", "tail", "-n", "200"]);
    let all = tail.as_array().unwrap().clone();
    all.into_iter().filter(|e| e["kind"] == "config").collect()
}

/// Waits until the server has said this.
fn said(server: &Server, what: &str) {
    while !String::from_utf8_lossy(&server.printed()).contains(what) {
        std::thread::yield_now();
    }
}

fn alive(server: &Server, tls: &mut crate::ending::Tls) {
    write!(
        tls,
        "GET /fhir/Patient/{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        BY_TEAM.id,
        server.token("physician")
    )
    .unwrap();
    let (head, _) = answer(tls);
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[test]
fn a_new_certificate_is_shown_while_an_old_connection_lives_on() {
    let world = clinic();
    let authority = Authority::new(&world);
    authority.issue(1, FAR);
    fs::write(world.home().join("phial.toml"), authority.config("")).unwrap();
    let server = world.serve_as(&authority.ca());
    let first = shown(&server, &authority.ca());
    let mut old = connect(&server, &authority.ca());
    alive(&server, &mut old);
    // Without being told: the files are looked at.
    authority.issue(2, FAR);
    said(&server, "another certificate");
    let second = shown(&server, &authority.ca());
    assert_ne!(second, first);
    alive(&server, &mut old);
    // Told.
    authority.issue(3, FAR);
    hang_up(server.pid());
    while shown(&server, &authority.ca()) == second {}
    alive(&server, &mut old);
    let third = shown(&server, &authority.ca());
    // What can't be used changes nothing, and that is said.
    authority.issue(4, PAST);
    said(&server, "the certificate ended at");
    assert_eq!(shown(&server, &authority.ca()), third);
    authority.place("no certificate", "no key");
    said(&server, "tls.certificate holds no certificate");
    assert_eq!(shown(&server, &authority.ca()), third);
    alive(&server, &mut old);
    let _ = server.stop().expect(0);
    let entries = settings(&world);
    let texts: Vec<String> = entries.iter().map(ToString::to_string).collect();
    let of = |what: &str| texts.iter().filter(|t| t.contains(what)).count();
    assert_eq!(of("file_hash"), 2, "{texts:#?}");
    assert_eq!(of("refused, what was in force stays"), 2, "{texts:#?}");
}

#[test]
fn a_configuration_is_read_again_and_an_unusable_one_changes_nothing() {
    let world = clinic();
    let file = world.home().join("phial.toml");
    let server = world.serve();
    let by_name = "Patient?family=Quandrazel";
    let _ = server.get("physician", by_name).expect(400);
    fs::write(
        &file,
        "[http]\nphi_in_urls = \"allow\"\nphi_in_urls_rationale = \"a client of 1999\"\n\
         max_body_mib = 2\n[keys]\nroot_file = \"/elsewhere/root.key\"\n",
    )
    .unwrap();
    hang_up(server.pid());
    said(&server, "needs a restart: keys.root_file");
    let _ = server.get("physician", by_name).expect(200);
    let long = "x".repeat(3 << 20);
    let request = server
        .request("physician", reqwest::Method::POST, "Observation")
        .header("content-type", "application/fhir+json")
        .body(long);
    // Refused by its size; a connection that ends meanwhile is a refusal, too.
    assert!(try_send(request).is_none_or(|a| a.status == 413));
    for (bad, why) in [
        ("[http]\nphi_in_url = \"strict\"\n", "unknown field"),
        ("[session]\nidle_minutes = 600\n", "say why in session.rationale"),
        ("[http\n", "can't be read"),
        ("[tls]\ncertificate = \"/nowhere.pem\"\nkey = \"/nowhere.key\"\n", "can't be read as PEM"),
    ] {
        fs::write(&file, bad).unwrap();
        hang_up(server.pid());
        said(&server, why);
        let _ = server.get("physician", by_name).expect(200);
    }
    fs::write(&file, "").unwrap();
    hang_up(server.pid());
    while server.get("physician", by_name).status == 200 {}
    let _ = server.stop().expect(0);
    let texts: Vec<String> = settings(&world).iter().map(ToString::to_string).collect();
    let one = |what: &[&str]| {
        let n = texts.iter().filter(|t| what.iter().all(|w| t.contains(w))).count();
        assert_eq!(n, 1, "{what:?} in {texts:#?}");
    };
    one(&["http.phi_in_urls", "allow", "a client of 1999"]);
    one(&["http.phi_in_urls", "refuse-identifiers"]);
    one(&["needs a restart: keys.root_file"]);
    assert_eq!(texts.iter().filter(|t| t.contains("refused, what was")).count(), 4, "{texts:#?}");
}
