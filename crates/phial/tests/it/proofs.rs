//! How clients prove themselves by what lies elsewhere: keys at an address of theirs, and the
//! word of a CA for the name of their certificate (RFC 8705 section 2.1).

use std::fs;
use std::path::{Path, PathBuf};

use phial_crypto::JwsAlg;
use phial_testkit::fixture::{BY_TEAM, id};
use phial_testkit::world::{Answer, Server, World, send};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use serde_json::{Value, json};

use crate::clinic::clinic;
use crate::services::{Key, proven_with, root};
use crate::site::Site;

fn set(world: &World, section: &str, lines: &str) {
    let config = world.home().join("phial.toml");
    let text = fs::read_to_string(&config).unwrap();
    let with = text.replace(&format!("[{section}]\n"), &format!("[{section}]\n{lines}"));
    assert_ne!(text, with, "phial.toml has no [{section}]");
    fs::write(&config, with).unwrap();
}

fn service(world: &World, name: &str, more: &[&str]) {
    let _ = world.ok(&["user", "add", name, "--role", "interface-engine"]);
    let args = ["client", "add", name, "--kind", "service", "--name", "Feed", "--account", name];
    let _ = world.ok(&[&args[..], &["--scope", "system/*.rs"], more].concat());
}

fn refusals(world: &World) -> Vec<String> {
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let refused = log.as_array().unwrap().iter().filter(|e| e["kind"] == "client-refused");
    refused.map(|e| e["detail"]["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn keys_at_an_address_are_fetched_over_tls_from_hosts_that_are_listed_and_kept_for_a_while() {
    let world = clinic();
    let (first, second) = (Key::new(JwsAlg::ES384, "a"), Key::new(JwsAlg::RS384, "b"));
    let keys = |all: &[&Key]| json!({"keys": all.iter().map(|k| k.jwk()).collect::<Vec<_>>()});
    let given = keys(&[&first]);
    let site = Site::start(world.dir(), move |_| (200, given.clone()));
    let stranger = Site::start(world.dir(), |_| (200, json!({"keys": []})));
    set(
        &world,
        "oauth",
        &format!(
            "hosts = [\"{}\", \"{}\"]\nca = \"{}\"\n",
            site.host(),
            stranger.host(),
            site.ca().display()
        ),
    );
    service(&world, "feed", &["--jwks-uri", &site.url("/keys")]);
    service(&world, "odd", &["--jwks-uri", &stranger.url("/keys")]);
    let unlisted = ["client", "add", "x", "--kind", "service", "--name", "X", "--account", "feed"];
    let more = ["--scope", "system/*.rs", "--jwks-uri", "https://127.0.0.1:1/keys"];
    assert_eq!(world.run(&[&unlisted[..], &more].concat()).code, Some(1));
    let server = world.serve();
    let ask = |key: &Key, client: &str, n: &str| proven_with(&server, key, client, n);
    for n in ["1", "2"] {
        let _ = ask(&first, "feed", n).expect(200);
    }
    assert_eq!(site.calls("/keys").len(), 1, "kept for a while");
    // The client changes its keys: an unknown one is looked for, but not at each guess.
    let given = keys(&[&second]);
    site.answers(move |_| (200, given.clone()));
    for n in ["3", "4", "5"] {
        let _ = ask(&second, "feed", n).expect(401);
    }
    assert_eq!(site.calls("/keys").len(), 1, "not asked again within half a minute");
    // Whom the CA does not vouch for is told nothing, also when its host is listed.
    let _ = ask(&first, "odd", "6").expect(401);
    assert!(stranger.calls("/keys").is_empty());
    let _ = server.stop().expect(0);
    let server = world.serve();
    let ask = |key: &Key, client: &str, n: &str| proven_with(&server, key, client, n);
    let _ = ask(&second, "feed", "7").expect(200);
    let _ = ask(&first, "feed", "8").expect(401);
    // What is no key set, is elsewhere, or too large opens nothing, and is not asked for again
    // at each try.
    for (name, status, value) in [
        ("none", 200, json!("nonsense")),
        ("private", 200, json!({"keys": [{"kty": "EC", "crv": "P-384", "d": "AA"}]})),
        ("moved", 307, json!({})),
        ("broken", 500, json!({})),
        ("large", 200, json!({"keys": [], "x": "y".repeat(300_000)})),
    ] {
        let value: Value = value;
        site.answers(move |_| (status, value.clone()));
        service(&world, name, &["--jwks-uri", &site.url(&format!("/{name}"))]);
        for n in ["1", "2", "3"] {
            let _ = proven_with(&server, &first, name, n).expect(401);
        }
        assert_eq!(site.calls(&format!("/{name}")).len(), 1, "{name}");
    }
    let refused = refusals(&world);
    assert!(!json!(refused).to_string().contains("127.0.0.1"), "{refused:?}");
}

/// A CA for certificates of clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let mut dn = DistinguishedName::new();
        dn.push(DnType::CommonName, name);
        ca.distinguished_name = dn;
        let key = KeyPair::generate().unwrap();
        let file = dir.join(format!("{name}.pem"));
        fs::write(&file, ca.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(ca, key), file }
    }

    /// A client with a certificate of this authority, for this organization.
    fn client(&self, server: &Server, organization: &str, until: i64) -> reqwest::blocking::Client {
        let mut p = CertificateParams::new(vec!["feed.example".to_owned()]).unwrap();
        let mut dn = DistinguishedName::new();
        dn.push(DnType::OrganizationName, organization);
        dn.push(DnType::CommonName, "feed");
        p.distinguished_name = dn;
        p.subject_alt_names.push(SanType::URI("urn:feed".try_into().unwrap()));
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        p.not_after = time::OffsetDateTime::from_unix_timestamp(until).unwrap();
        let key = KeyPair::generate().unwrap();
        let made = p.signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        use rustls::pki_types::pem::PemObject as _;
        let ca = rustls::pki_types::CertificateDer::from_pem_file(server.ca()).unwrap();
        roots.add(ca).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![made.der().clone()], key)
            .unwrap();
        reqwest::blocking::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
    }
}

fn token(server: &Server, client: &reqwest::blocking::Client, name: &str) -> Answer {
    let form = format!("grant_type=client_credentials&client_id={name}&scope=system/*.rs");
    let request = client.post(format!("{}/oauth/token", root(server)));
    send(request.header("content-type", "application/x-www-form-urlencoded").body(form))
}

#[test]
fn a_certificates_name_proves_a_service_when_the_named_ca_vouches_for_it() {
    const FAR: i64 = 4_000_000_000;
    let world = clinic();
    let (ours, theirs) =
        (Authority::new(world.dir(), "ours"), Authority::new(world.dir(), "theirs"));
    let lines = format!("client_certificates = true\nclient_ca = \"{}\"\n", ours.file.display());
    set(&world, "tls", &lines);
    service(&world, "by-dn", &["--certificate-name", "subject_dn=CN=feed,O=Clinic"]);
    service(&world, "by-san", &["--certificate-name", "san_uri=urn:feed"]);
    service(&world, "by-dns", &["--certificate-name", "san_dns=other.example"]);
    let bad = [
        "client",
        "add",
        "x",
        "--kind",
        "service",
        "--name",
        "X",
        "--account",
        "by-dn",
        "--scope",
        "system/*.rs",
        "--certificate-name",
        "subject_dn=feed",
    ];
    assert_eq!(world.run(&bad).code, Some(2));
    let server = world.serve();
    let url = format!("{}/.well-known/smart-configuration", root(&server));
    let said = send(server.client().get(url)).json();
    let ways = said["token_endpoint_auth_methods_supported"].as_array().unwrap();
    assert!(ways.contains(&json!("tls_client_auth")), "{said}");
    let good = ours.client(&server, "Clinic", FAR);
    let given = token(&server, &good, "by-dn").expect(200).json();
    let _ = token(&server, &good, "by-san").expect(200);
    // Another name; the same name by another's word; a word that has ended; none.
    for (client, name, why) in [
        (good.clone(), "by-dns", "another name"),
        (ours.client(&server, "Other", FAR), "by-dn", "another organization"),
        (theirs.client(&server, "Clinic", FAR), "by-dn", "another CA"),
        (theirs.client(&server, "Clinic", FAR), "by-san", "another CA, beside the subject"),
        (ours.client(&server, "Clinic", 1_000_000_000), "by-dn", "ended"),
        (server.client().clone(), "by-dn", "no certificate"),
    ] {
        assert_eq!(
            token(&server, &client, name).expect(401).json()["error"],
            "invalid_client",
            "{why}"
        );
    }
    // The token is good with that very certificate (RFC 8705 section 3), not with its name.
    let url = format!("{}/Observation/{}", server.base(), id("obs", BY_TEAM, 0));
    let bearer = given["access_token"].as_str().unwrap();
    let read = |c: &reqwest::blocking::Client| send(c.get(&url).bearer_auth(bearer)).status;
    let same_name = ours.client(&server, "Clinic", FAR);
    assert_eq!((read(&good), read(&same_name), read(server.client())), (200, 401, 401));
    let refused = refusals(&world);
    assert_eq!(refused.len(), 6, "{refused:?}");
}
