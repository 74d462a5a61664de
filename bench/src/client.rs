//! The load generator: keep-alive HTTP/1.1 connections over TLS, each on a thread of
//! its own, each asking the next question as soon as the last was answered. It reads
//! no more of HTTP than the server under measurement speaks (a status, a length, a
//! body), since it takes its time from the same cores. Refuses any other answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};

/// One question.
#[derive(Clone)]
pub(crate) struct Ask {
    line: String,
    kind: &'static str,
    body: String,
}

pub(crate) fn get(path: &str) -> Ask {
    Ask { line: format!("GET {path}"), kind: "", body: String::new() }
}

pub(crate) fn post_form(path: &str, form: &str) -> Ask {
    Ask {
        line: format!("POST {path}"),
        kind: "application/x-www-form-urlencoded",
        body: form.to_owned(),
    }
}

pub(crate) fn post_json(path: &str, json: String) -> Ask {
    Ask { line: format!("POST {path}"), kind: "application/fhir+json", body: json }
}

/// Asks one server as one user.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    token: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, ca: &Path, token: &str) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client { address, tls: Arc::new(config), token: token.to_owned() })
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(2)))?;
        let name = ServerName::try_from("localhost")?;
        let session = ClientConnection::new(Arc::clone(&self.tls), name)?;
        Ok(Connection { stream: StreamOwned::new(session, stream), buffer: Vec::new() })
    }

    /// The bytes of a question.
    fn bytes(&self, ask: &Ask) -> Vec<u8> {
        let mut text = format!(
            "{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n",
            ask.line, self.token
        );
        if !ask.kind.is_empty() {
            text.push_str(&format!(
                "content-type: {}\r\ncontent-length: {}\r\n",
                ask.kind,
                ask.body.len()
            ));
        }
        text.push_str("\r\n");
        text.push_str(&ask.body);
        text.into_bytes()
    }

    /// One question and its JSON answer.
    pub(crate) fn json(&self, ask: &Ask) -> anyhow::Result<serde_json::Value> {
        let mut connection = self.connect()?;
        let body = connection.ask(&self.bytes(ask)).with_context(|| ask.line.clone())?;
        serde_json::from_slice(connection.buffer.get(body).unwrap_or_default()).context("not JSON")
    }

    /// Asks over `connections` for `took`; the time of each answer in milliseconds.
    /// An answer that is no success stops the measurement.
    pub(crate) fn run(
        &self,
        connections: usize,
        asks: &[Ask],
        took: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        ensure!(!asks.is_empty(), "nothing to ask");
        let questions: Vec<Vec<u8>> = asks.iter().map(|a| self.bytes(a)).collect();
        let next = AtomicUsize::new(0);
        let end = Instant::now() + took;
        let one = || {
            let mut connection = self.connect()?;
            let mut times = Vec::new();
            while Instant::now() < end {
                let n = next.fetch_add(1, Ordering::Relaxed) % questions.len();
                let Some(question) = questions.get(n) else { break };
                let begun = Instant::now();
                connection
                    .ask(question)
                    .with_context(|| asks.get(n).map(|a| a.line.clone()).unwrap_or_default())?;
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(times)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
            let mut all = Vec::new();
            for thread in threads {
                match thread.join() {
                    Ok(times) => all.extend(times?),
                    Err(_) => bail!("a connection's thread ended early"),
                }
            }
            Ok(all)
        })
    }
}

struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a question and reads its answer into the buffer; where the body lies.
    fn ask(&mut self, question: &[u8]) -> anyhow::Result<std::ops::Range<usize>> {
        self.stream.write_all(question)?;
        self.buffer.clear();
        let head = loop {
            let seen = self.buffer.len();
            self.read_more()?;
            let from = seen.saturating_sub(3);
            if let Some(at) =
                self.buffer.get(from..).and_then(|b| b.windows(4).position(|w| w == b"\r\n\r\n"))
            {
                break from + at;
            }
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).context("no status")?;
        ensure!(status.starts_with('2'), "answered {status}");
        let length: usize = lines
            .filter_map(|l| l.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .context("an answer without a length")?
            .1
            .trim()
            .parse()?;
        let body = head + 4..head + 4 + length;
        while self.buffer.len() < body.end {
            self.read_more()?;
        }
        ensure!(self.buffer.len() == body.end, "more than one answer");
        Ok(body)
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        let len = self.buffer.len();
        self.buffer.resize(len + 16384, 0);
        let n = self.stream.read(self.buffer.get_mut(len..).unwrap_or_default())?;
        self.buffer.truncate(len + n);
        ensure!(n > 0, "the server closed the connection");
        Ok(())
    }
}
