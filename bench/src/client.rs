//! The load generator: keep-alive HTTP/1.1 connections over TLS, each asking the
//! next question as soon as the last was answered.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One question.
#[derive(Clone)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    kind: &'static str,
    body: Bytes,
}

pub(crate) fn get(path: &str) -> Ask {
    Ask { method: Method::GET, path: path.to_owned(), kind: "", body: Bytes::new() }
}

pub(crate) fn post_form(path: &str, form: &str) -> Ask {
    Ask {
        method: Method::POST,
        path: path.to_owned(),
        kind: "application/x-www-form-urlencoded",
        body: Bytes::from(form.to_owned()),
    }
}

pub(crate) fn post_json(path: &str, json: &str) -> Ask {
    Ask {
        method: Method::POST,
        path: path.to_owned(),
        kind: "application/fhir+json",
        body: Bytes::from(json.to_owned()),
    }
}

/// Asks one server as one user.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    connector: TlsConnector,
    authorization: String,
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

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
        Ok(Client {
            address,
            connector: TlsConnector::from(Arc::new(config)),
            authorization: format!("Bearer {token}"),
        })
    }

    async fn connect(&self) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = self.connector.connect(name, stream).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn ask(&self, sender: &mut Sender, ask: &Ask) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(&ask.path)
            .header("host", "localhost")
            .header("authorization", &self.authorization);
        if !ask.kind.is_empty() {
            request = request.header("content-type", ask.kind);
        }
        let answer = sender.send_request(request.body(Full::new(ask.body.clone()))?).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// One question and its JSON answer.
    pub(crate) async fn json(&self, ask: &Ask) -> anyhow::Result<serde_json::Value> {
        let mut sender = self.connect().await?;
        let (status, body) = self.ask(&mut sender, ask).await?;
        ensure!(status.is_success(), "{} answered {status}", ask.path);
        serde_json::from_slice(&body).context("not JSON")
    }

    /// Asks over `connections` for `took`; the time of each answer in milliseconds.
    /// An answer that is no success stops the measurement.
    pub(crate) async fn run(
        &self,
        connections: usize,
        asks: &[Ask],
        took: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        ensure!(!asks.is_empty(), "nothing to ask");
        let asks: Arc<[Ask]> = asks.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        let end = Instant::now() + took;
        for _ in 0..connections {
            let (me, asks, next) = (self.clone(), Arc::clone(&asks), Arc::clone(&next));
            tasks.push(tokio::spawn(async move {
                let mut sender = me.connect().await?;
                let mut times = Vec::new();
                while Instant::now() < end {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(ask) = asks.get(n % asks.len()) else { break };
                    let begun = Instant::now();
                    let (status, _) = me.ask(&mut sender, ask).await?;
                    ensure!(status.is_success(), "{} answered {status}", ask.path);
                    times.push(begun.elapsed().as_secs_f64() * 1000.0);
                }
                anyhow::Ok(times)
            }));
        }
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await??);
        }
        Ok(all)
    }
}
