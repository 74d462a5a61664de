//! The end in order: what is under way is answered, what was answered is there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use phial_testkit::fixture::BY_TEAM;
use phial_testkit::world::{Server, World, fhir, terminate, try_send};
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::clinic::{clinic, findings};

/// A TLS connection of our own, to send a request in pieces.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn connect(server: &Server, ca: &std::path::Path) -> Tls {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(server.authority()).unwrap();
    let mut tls = StreamOwned::new(client, stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    tls
}

/// Reads one answer with a length, or to the end: its head and its body.
pub(crate) fn answer(tls: &mut Tls) -> (String, String) {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0usize);
            if body.len() >= length {
                return (head.to_ascii_lowercase(), body.to_owned());
            }
        }
        let n = tls.read(&mut chunk).unwrap();
        assert!(n > 0, "the connection ended after: {text}");
        bytes.extend_from_slice(&chunk[..n]);
    }
}

fn observation(n: usize) -> serde_json::Value {
    json!({"resourceType": "Observation", "status": "final", "code": {"text": "ending"},
        "valueInteger": n, "subject": {"reference": format!("Patient/{}", BY_TEAM.id)}})
}

fn count(world: &World) -> u64 {
    let server = world.serve();
    let n = server.count("physician", "Observation", &format!("patient={}", BY_TEAM.id));
    let _ = server.stop().expect(0);
    n
}

#[test]
fn requests_under_way_at_sigterm_are_answered_and_their_writes_are_there() {
    let world = clinic();
    let before = count(&world);
    let server = world.serve();
    // Half of a request is there when the server is told to end.
    let mut slow = connect(&server, server.ca());
    let body = observation(0).to_string();
    let (first, rest) = body.split_at(40);
    write!(
        slow,
        "POST /fhir/Observation HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
         application/fhir+json\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{first}",
        server.token("physician"),
        body.len()
    )
    .unwrap();
    slow.flush().unwrap();
    // Others write as fast as they can, and go on until they are refused.
    let acknowledged = AtomicUsize::new(0);
    let unanswered = AtomicUsize::new(0);
    std::thread::scope(|s| {
        let (send, begun) = std::sync::mpsc::channel();
        for writer in 0..4 {
            let (server, acknowledged, unanswered, send) =
                (&server, &acknowledged, &unanswered, send.clone());
            s.spawn(move || {
                let client = phial_testkit::world::client(server.ca());
                for n in 0.. {
                    let request = client
                        .request(Method::POST, format!("{}/Observation", server.base()))
                        .bearer_auth(server.token("physician"));
                    match fhir(request, &observation(writer * 100_000 + n)).send() {
                        Ok(a) => {
                            assert_eq!(a.status().as_u16(), 201);
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                            let _ = send.send(());
                        }
                        // No connection: nothing was sent.
                        Err(e) if e.is_connect() => return,
                        Err(_) => {
                            unanswered.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                }
            });
        }
        for _ in 0..12 {
            begun.recv().unwrap();
        }
        terminate(server.pid());
    });
    assert_eq!(unanswered.into_inner(), 0, "requests were sent and not answered");
    // All others are gone; this one is still waited for.
    slow.write_all(rest.as_bytes()).unwrap();
    slow.flush().unwrap();
    let (head, _) = answer(&mut slow);
    assert!(head.starts_with("http/1.1 201"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    let ran = server.wait().expect(0);
    assert!(!ran.err.contains("cut off"), "{}", ran.err);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    // The last checkpoint covers all of the log: nothing came after the stop.
    let tail = world.ok(&["audit", "tail", "-n", "3"]).to_string();
    assert!(tail.contains("\"stop\""), "{tail}");
    assert_eq!(count(&world), before + acknowledged.into_inner() as u64 + 1);
}

#[test]
fn a_second_signal_ends_at_once_and_the_next_start_is_clean() {
    let world = clinic();
    let server = world.serve();
    let mut slow = connect(&server, server.ca());
    write!(slow, "POST /fhir/Observation HTTP/1.1\r\nhost: localhost\r\n").unwrap();
    write!(slow, "content-type: application/fhir+json\r\ncontent-length: 500\r\n").unwrap();
    write!(slow, "authorization: Bearer {}\r\n\r\n{{", server.token("physician")).unwrap();
    slow.flush().unwrap();
    // It is draining once it accepts nobody; the half request keeps it from ending.
    terminate(server.pid());
    while TcpStream::connect(server.authority()).is_ok() {}
    terminate(server.pid());
    let ran = server.wait().expect(1);
    assert!(ran.err.contains("told twice"), "{}", ran.err);
    let _ = world.serve().stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_takes_longer_than_the_drain_is_cut_off() {
    let world = clinic();
    std::fs::write(world.home().join("phial.toml"), "[http]\ndrain_timeout_s = 1\n").unwrap();
    let server = world.serve();
    let mut slow = connect(&server, server.ca());
    write!(slow, "POST /fhir/Observation HTTP/1.1\r\nhost: localhost\r\n").unwrap();
    write!(slow, "content-type: application/fhir+json\r\ncontent-length: 500\r\n").unwrap();
    write!(slow, "authorization: Bearer {}\r\n\r\n{{", server.token("physician")).unwrap();
    slow.flush().unwrap();
    // Answered on another connection: the one above was accepted before.
    let _ = server.get("physician", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    let ran = server.stop().expect(0);
    assert!(ran.err.contains("cut off"), "{}", ran.err);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn readiness_ends_before_service_does() {
    let world = clinic();
    let config = "[http]\ndrain_notice_s = 600\n";
    std::fs::write(world.home().join("phial.toml"), config).unwrap();
    let server = world.serve();
    let root = server.base().strip_suffix("/fhir").unwrap().to_owned();
    let ask = |path: &str| {
        let a = try_send(server.client().get(format!("{root}{path}"))).unwrap();
        (a.status, a.header("connection").to_owned(), a.text())
    };
    let close = String::new;
    assert_eq!(ask("/healthz"), (200, close(), "{\"status\":\"ok\"}".to_owned()));
    assert_eq!(ask("/readyz"), (200, close(), "{\"status\":\"ready\"}".to_owned()));
    terminate(server.pid());
    // The signal is on its way; it is heard.
    while ask("/readyz").0 == 200 {}
    let draining = "{\"status\":\"draining\"}".to_owned();
    assert_eq!(ask("/readyz"), (503, "close".to_owned(), draining));
    assert_eq!(ask("/healthz").0, 200);
    let read = server.get("physician", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    assert_eq!(read.header("connection"), "close");
    terminate(server.pid());
    let _ = server.wait().expect(1);
}
