//! The load generator: keep-alive HTTP/1.1 connections over TLS, each asking the next
//! question as soon as the last was answered. One thread serves them all, and it reads no
//! more of HTTP than the server under measurement speaks (a status, a length, a body),
//! since it takes its time from the same cores. Refuses any other answer.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

/// One question.
#[derive(Clone)]
pub(crate) struct Ask {
    line: String,
    kind: &'static str,
    body: String,
    later: bool,
}

impl Ask {
    /// The same question, whose answer may come later (`Prefer: respond-async`).
    pub(crate) fn later(self) -> Ask {
        Ask { later: true, ..self }
    }
}

pub(crate) fn get(path: &str) -> Ask {
    Ask { line: format!("GET {path}"), kind: "", body: String::new(), later: false }
}

pub(crate) fn post_form(path: &str, form: &str) -> Ask {
    Ask {
        line: format!("POST {path}"),
        kind: "application/x-www-form-urlencoded",
        body: form.to_owned(),
        later: false,
    }
}

pub(crate) fn post_json(path: &str, json: String) -> Ask {
    Ask { line: format!("POST {path}"), kind: "application/fhir+json", body: json, later: false }
}

/// What is done with an answer: its head, its body, its time in milliseconds.
type Each<'a> = dyn FnMut(&[u8], &[u8], f64) + 'a;

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
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut session = ClientConnection::new(Arc::clone(&self.tls), name)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        Ok(Connection { stream, session, buffer: Vec::new(), asked: 0, begun: Instant::now() })
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
        if ask.later {
            text.push_str("prefer: respond-async\r\n");
        }
        text.push_str("\r\n");
        text.push_str(&ask.body);
        text.into_bytes()
    }

    /// One question and its JSON answer.
    pub(crate) fn json(&self, ask: &Ask) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.whole(ask)?.1).context("not JSON")
    }

    /// One question; the head of its answer, and the body.
    pub(crate) fn whole(&self, ask: &Ask) -> anyhow::Result<(String, Vec<u8>)> {
        let mut answer = (String::new(), Vec::new());
        self.serve(1, std::slice::from_ref(ask), None, &mut |head, body, _| {
            answer = (String::from_utf8_lossy(head).into_owned(), body.to_vec());
        })?;
        Ok(answer)
    }

    /// Asks over `connections` for `took`; the time of each answer in milliseconds.
    /// An answer that is no success stops the measurement.
    pub(crate) fn run(
        &self,
        connections: usize,
        asks: &[Ask],
        took: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        self.serve(connections, asks, Some(took), &mut |_, _, ms| times.push(ms))?;
        Ok(times)
    }

    /// Asks the questions in turn until `took` is over, or one on each connection, and
    /// gives `each` answer's head and body, and its time in milliseconds.
    fn serve(
        &self,
        connections: usize,
        asks: &[Ask],
        took: Option<Duration>,
        each: &mut Each<'_>,
    ) -> anyhow::Result<()> {
        let questions: Vec<Vec<u8>> = asks.iter().map(|a| self.bytes(a)).collect();
        ensure!(!questions.is_empty(), "nothing to ask");
        let mut poll = Poll::new()?;
        let mut all = Vec::with_capacity(connections);
        for n in 0..connections {
            let mut connection = self.connect()?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.stream, Token(n), interest)?;
            all.push(connection);
        }
        let mut next = 0;
        let mut question = || {
            next += 1;
            (next - 1) % questions.len()
        };
        let end = took.map(|t| Instant::now() + t);
        for connection in &mut all {
            let n = question();
            connection.ask(n, questions.get(n).context("no question")?)?;
        }
        let mut open = connections;
        let mut events = Events::with_capacity(connections.max(16));
        while open > 0 {
            poll.poll(&mut events, Some(Duration::from_mins(2)))?;
            ensure!(!events.is_empty(), "no answer in two minutes");
            for event in &events {
                let Some(connection) = all.get_mut(event.token().0) else { continue };
                let about = connection.asked;
                let line = || asks.get(about).map(|a| a.line.clone()).unwrap_or_default();
                connection.send().with_context(line)?;
                let Some(body) = connection.answer().with_context(line)? else { continue };
                let took = connection.begun.elapsed().as_secs_f64() * 1000.0;
                let (head, body) =
                    connection.buffer.split_at_checked(body.start).context("no body")?;
                each(head, body, took);
                connection.buffer.clear();
                if end.is_some_and(|end| Instant::now() < end) {
                    let n = question();
                    connection.ask(n, questions.get(n).context("no question")?)?;
                } else {
                    open -= 1;
                }
            }
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    session: ClientConnection,
    buffer: Vec<u8>,
    /// The number of the question that waits for its answer, and since when.
    asked: usize,
    begun: Instant,
}

impl Connection {
    fn ask(&mut self, number: usize, question: &[u8]) -> anyhow::Result<()> {
        (self.asked, self.begun) = (number, Instant::now());
        self.session.writer().write_all(question)?;
        self.send()
    }

    /// Sends what the socket takes; the rest goes when it is writable again.
    fn send(&mut self) -> anyhow::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads what has arrived; where the body lies in the buffer, once it is whole.
    fn answer(&mut self) -> anyhow::Result<Option<std::ops::Range<usize>>> {
        loop {
            match self.session.read_tls(&mut self.stream) {
                Ok(n) => ensure!(n > 0, "the server closed the connection"),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e.into()),
            }
            let plain = self.session.process_new_packets()?.plaintext_bytes_to_read();
            let len = self.buffer.len();
            self.buffer.resize(len + plain, 0);
            self.session.reader().read_exact(self.buffer.get_mut(len..).unwrap_or_default())?;
            if let Some(body) = self.whole()? {
                return Ok(Some(body));
            }
        }
    }

    /// Where the body lies, if all of it is there.
    fn whole(&self) -> anyhow::Result<Option<std::ops::Range<usize>>> {
        let Some(head) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).context("no status")?;
        let length: usize = lines
            .filter_map(|l| l.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .context("an answer without a length")?
            .1
            .trim()
            .parse()?;
        let body = head + 4..head + 4 + length;
        ensure!(self.buffer.len() <= body.end, "more than one answer");
        let whole = self.buffer.len() == body.end;
        if whole && !status.starts_with('2') {
            let why = String::from_utf8_lossy(self.buffer.get(body).unwrap_or_default());
            bail!("answered {status}: {why}");
        }
        Ok(whole.then_some(body))
    }
}
