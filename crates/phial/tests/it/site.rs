//! Somebody else's server: HTTPS with a certificate of a CA of its own, on a free port. It
//! keeps what it is asked and answers as a test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::loopback::{self, Listening};

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A field of a form.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        pairs(&self.body).into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }
}

/// Names and values of a query or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let plain = |t: &str| {
        let mut out = Vec::new();
        let bytes = t.replace('+', " ").into_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'%' {
                let hex = std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap();
                out.push(u8::from_str_radix(hex, 16).unwrap());
                at += 3;
            } else {
                out.push(bytes[at]);
                at += 1;
            }
        }
        String::from_utf8(out).unwrap()
    };
    let all = text.split('&').filter_map(|p| p.split_once('='));
    all.map(|(n, v)| (plain(n), plain(v))).collect()
}

type Handler = dyn Fn(&Request) -> (u16, Value) + Send + Sync;

struct Shared {
    tls: Arc<ServerConfig>,
    calls: Mutex<Vec<Request>>,
    answer: Mutex<Arc<Handler>>,
}

/// The server. It ends with the process that tests run in.
pub(crate) struct Site {
    shared: Arc<Shared>,
    port: u16,
    ca: PathBuf,
}

impl Site {
    /// Starts one whose CA's certificate lies in `dir`.
    pub(crate) fn start(
        dir: &Path,
        answer: impl Fn(&Request) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let Listening { listener, port, ca: path, tls } = loopback::listen(dir, "site");
        let shared =
            Arc::new(Shared { tls, calls: Mutex::default(), answer: Mutex::new(Arc::new(answer)) });
        let there = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&there);
                std::thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Site { shared, port, ca: path }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.host())
    }

    /// The file with the certificate of its CA.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// From now on it answers so.
    pub(crate) fn answers(
        &self,
        answer: impl Fn(&Request) -> (u16, Value) + Send + Sync + 'static,
    ) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    /// What it was asked at this path.
    pub(crate) fn calls(&self, path: &str) -> Vec<Request> {
        let all = self.shared.calls.lock().unwrap();
        all.iter().filter(|c| c.path == path).cloned().collect()
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let tls = ServerConnection::new(Arc::clone(&shared.tls)).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(n, _)| n == "content-length");
        let length = length.and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let mut words = line.split(' ');
        let request = Request {
            path: words.nth(1).unwrap_or("").to_owned(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        shared.calls.lock().unwrap().push(request.clone());
        let answer = Arc::clone(&shared.answer.lock().unwrap());
        let (status, value) = answer(&request);
        let text = value.to_string();
        let length = text.len();
        let head = format!(
            "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             location: https://127.0.0.1:1/elsewhere\r\n\r\n"
        );
        stream.get_mut().write_all(format!("{head}{text}").as_bytes())?;
    }
}
