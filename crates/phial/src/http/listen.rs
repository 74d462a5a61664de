//! Listening: connections from their first byte to their last, and the end in order.
//!
//! The end has three steps. Not ready: `/readyz` says so and every answer asks its
//! connection to close. No more: the listener is closed, and shortly after it every
//! connection that waits for a request. Cut: what still runs after
//! `http.drain_timeout_s` is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::health::Health;
use super::oauth::PeerCertificate;
use super::readers::Readers;
use super::serve::handle;
use super::tls::Certificates;
use crate::app::App;

/// A request that was on its way when the listener closed still finds its connection.
const LAST_CALL: Duration = Duration::from_millis(500);

/// How long a TLS handshake may take, and a request's head.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What all requests of a listener share.
pub(crate) struct Front {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) certificates: Certificates,
    /// Where everything runs that may take long, so that it keeps no read waiting.
    pub(crate) long: tokio::runtime::Handle,
    open: Open,
}

impl Front {
    /// The origin that this server is asked under, when it goes by that name: the one of
    /// `http.public_url`, or without that one, a name that its certificate vouches for.
    pub(crate) fn origin(
        &self,
        headers: &axum::http::HeaderMap,
        uri: &axum::http::Uri,
    ) -> Option<String> {
        let host = headers
            .get(axum::http::header::HOST)
            .and_then(|v| v.to_str().ok())
            .or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))?;
        if let Some(url) = &self.app.config().http.public_url {
            return (url.strip_prefix("https://") == Some(host)).then(|| url.clone());
        }
        let is_port = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
        let name = match host.rsplit_once(':') {
            Some((name, port)) if is_port(port) => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        self.certificates.vouch_for(name).then(|| format!("https://{host}"))
    }
}

/// Connections that are open.
#[derive(Default)]
struct Open {
    count: AtomicUsize,
    /// One ended, or their limit changed. Heard by the one who accepts, or waits for
    /// the end.
    changed: Notify,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    NoMore,
    LastCall,
    Cut,
}

/// A server that listens.
pub(crate) struct Serving {
    /// What its requests share.
    pub(crate) front: Arc<Front>,
    phase: watch::Sender<Phase>,
    /// Ended last: what is cut off is cut off in order.
    _readers: Arc<Readers>,
}

impl Serving {
    /// Where.
    pub(crate) fn address(&self) -> SocketAddr {
        self.front.address
    }

    /// Limits were changed.
    pub(crate) fn limits_changed(&self) {
        self.front.open.changed.notify_one();
    }

    /// Stops accepting and lets running requests finish within `http.drain_timeout_s`.
    /// Gives the number of connections that were cut off.
    pub(crate) async fn stop(&self) -> usize {
        let http = self.front.app.config().http.clone();
        self.front.health.drain();
        tokio::time::sleep(Duration::from_secs(http.drain_notice_s)).await;
        self.phase.send_replace(Phase::NoMore);
        let drained = async {
            tokio::time::sleep(LAST_CALL).await;
            self.phase.send_replace(Phase::LastCall);
            while self.front.open.count.load(Ordering::SeqCst) > 0 {
                self.front.open.changed.notified().await;
            }
        };
        let limit = Duration::from_secs(http.drain_timeout_s);
        if tokio::time::timeout(limit, drained).await.is_ok() {
            return 0;
        }
        let cut = self.front.open.count.load(Ordering::SeqCst);
        self.phase.send_replace(Phase::Cut);
        cut
    }
}

/// Listens on `listen` with TLS; there is no plaintext listener.
pub(crate) async fn serve(app: Arc<App>, listen: SocketAddr) -> anyhow::Result<Serving> {
    let certificates = Certificates::load(&app, listen.ip())?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}: choose another with --listen"))?;
    let address = listener.local_addr()?;
    let (health, open) = (Health::default(), Open::default());
    let long = tokio::runtime::Handle::current();
    let front = Arc::new(Front { app, address, health, certificates, long, open });
    let (phase, phases) = watch::channel(Phase::Serving);
    let readers = Arc::new(Readers::start().context("can't start threads")?);
    tokio::spawn(accept(Arc::clone(&front), listener, Arc::clone(&readers), phases));
    Ok(Serving { front, phase, _readers: readers })
}

/// Counts a connection while it is open.
struct Counted(Arc<Front>);

impl Counted {
    fn new(front: &Arc<Front>) -> Self {
        front.open.count.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(front))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.count.fetch_sub(1, Ordering::SeqCst);
        self.0.open.changed.notify_one();
    }
}

async fn accept(
    front: Arc<Front>,
    listener: TcpListener,
    readers: Arc<Readers>,
    mut phases: watch::Receiver<Phase>,
) {
    loop {
        let full =
            front.open.count.load(Ordering::SeqCst) >= front.app.config().http.max_connections;
        let accepted = tokio::select! {
            accepted = listener.accept(), if !full => accepted,
            () = front.open.changed.notified() => continue,
            _ = phases.wait_for(|p| *p >= Phase::NoMore) => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file handles, most likely: the next one may fare better.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let counted = Counted::new(&front);
        let phases = phases.clone();
        // It leaves this thread's set of watched files and joins the reader's.
        let Ok(stream) = stream.into_std() else { continue };
        readers.give(Box::new(move || {
            Box::pin(async move {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    connection(&counted.0, stream, peer, phases).await;
                }
            })
        }));
    }
}

async fn connection(
    front: &Arc<Front>,
    stream: TcpStream,
    peer: SocketAddr,
    mut phases: watch::Receiver<Phase>,
) {
    let _ = stream.set_nodelay(true);
    // The certificate of this moment: a connection keeps the one it began with.
    let acceptor = TlsAcceptor::from(front.certificates.current());
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let Ok(Ok(stream)) = handshake else { return };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|all| all.split_first());
    let certificate = certificate.map(|(own, others)| PeerCertificate {
        sha256: hex::encode(phial_crypto::sha256(own)).into(),
        called: front.certificates.called(own, others, front.app.clock.now()).map(Arc::new),
    });
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
        let front = Arc::clone(front);
        let certificate = certificate.clone();
        async move {
            let mut request = request.map(Body::new);
            if let Some(certificate) = certificate {
                request.extensions_mut().insert(certificate);
            }
            Ok::<_, std::convert::Infallible>(handle(&front, peer, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .max_buf_size(64 * 1024)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(32 * 1024)
        .max_concurrent_streams(64);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = phases.wait_for(|p| *p >= Phase::LastCall) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        _ = phases.wait_for(|p| *p >= Phase::Cut) => {}
    }
}
