//! A mail server in few lines, which keeps what it is sent; over TLS from the first byte or
//! after STARTTLS. For tests alone.
#![expect(clippy::unwrap_used, reason = "a mail server that can't be served fails its test")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running mail server.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
    commands: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Sink {
    /// Starts one on a free port with this certificate and key. It serves until the process
    /// ends.
    ///
    /// # Panics
    /// When it can't listen, or the files can't be used.
    #[must_use]
    pub fn start(certificate: &Path, key: &Path, starttls: bool) -> Self {
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Sink {
            address: listener.local_addr().unwrap(),
            mails: Arc::default(),
            commands: Arc::default(),
            refuses: Arc::default(),
            calls: Arc::default(),
        };
        let (serving, tls) = (sink.clone(), Arc::new(tls));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sink, tls) = (serving.clone(), Arc::clone(&tls));
                thread::spawn(move || sink.take(stream, tls, starttls));
            }
        });
        sink
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was sent, whole mails.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was told, line by line.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Lets it refuse every mail from now on, or take them.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    fn take(&self, mut stream: TcpStream, tls: Arc<ServerConfig>, starttls: bool) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if starttls {
            // One byte at a time: what follows STARTTLS is not ours to read here.
            let _ = stream.write_all(b"220 sink\r\n");
            let mut line = Vec::new();
            let mut byte = [0u8];
            while stream.read_exact(&mut byte).is_ok() {
                line.extend(byte);
                if !line.ends_with(b"\r\n") {
                    continue;
                }
                let said = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let go = said == "STARTTLS";
                let answer: &[u8] =
                    if go { b"220 go\r\n" } else { b"250-sink\r\n250 STARTTLS\r\n" };
                let _ = stream.write_all(answer);
                self.note(said);
                if go {
                    break;
                }
            }
        }
        let Ok(connection) = ServerConnection::new(tls) else { return };
        let stream = BufReader::new(StreamOwned::new(connection, stream));
        self.talk(stream, !starttls);
    }

    fn talk<S: Read + Write>(&self, mut stream: BufReader<S>, greets: bool) {
        let say = |stream: &mut BufReader<S>, text: &str| {
            let out = stream.get_mut();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
        };
        if greets && !say(&mut stream, "220 sink\r\n") {
            return;
        }
        let mut mail: Option<String> = None;
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
            let said = std::mem::take(&mut line);
            if let Some(text) = &mut mail {
                if said == ".\r\n" {
                    let whole = mail.take().unwrap_or_default();
                    if self.refuses.load(Ordering::SeqCst) {
                        let _ = say(&mut stream, "451 not now\r\n");
                    } else {
                        self.mails.lock().unwrap_or_else(PoisonError::into_inner).push(whole);
                        let _ = say(&mut stream, "250 kept\r\n");
                    }
                } else {
                    text.push_str(said.strip_prefix('.').unwrap_or(&said));
                }
                continue;
            }
            let answer = match said.split_whitespace().next().unwrap_or_default() {
                "EHLO" => "250-sink\r\n250 AUTH PLAIN\r\n",
                "AUTH" => "235 welcome\r\n",
                "DATA" => "354 go on\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "250 ok\r\n",
            };
            if said.starts_with("DATA") {
                mail = Some(String::new());
            }
            self.note(said.trim_end().to_owned());
            if !say(&mut stream, answer) {
                return;
            }
        }
    }

    fn note(&self, line: String) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
