//! An endpoint for notifications: HTTPS with a certificate of a CA of its own, on a free
//! port. It keeps whatever it is sent and answers as it is told to.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::loopback::{self, Listening};

/// How long anything may take before a test gives it up for dead.
const PATIENCE: Duration = Duration::from_secs(240);

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// What was answered; 0 for nothing.
    pub(crate) answered: u16,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn parameters(&self, name: &str) -> Vec<Value> {
        let json = self.json();
        let all = json["entry"][0]["resource"]["parameter"].as_array().unwrap().clone();
        all.into_iter().filter(|p| p["name"] == name).collect()
    }

    /// `handshake`, `heartbeat` or `event-notification`.
    pub(crate) fn kind(&self) -> String {
        self.parameters("type")[0]["valueCode"].as_str().unwrap().to_owned()
    }

    /// Numbers of the events, and what each is about.
    pub(crate) fn events(&self) -> Vec<(u64, Option<String>)> {
        let part = |e: &Value, name: &str| {
            e["part"].as_array().unwrap().iter().find(|p| p["name"] == name).cloned()
        };
        self.parameters("notification-event")
            .iter()
            .map(|e| {
                let number = part(e, "event-number").unwrap();
                let focus = part(e, "focus").map(|f| {
                    let url = f["valueReference"]["reference"].as_str().unwrap().to_owned();
                    url.split("/fhir/").nth(1).unwrap().to_owned()
                });
                (number["valueString"].as_str().unwrap().parse().unwrap(), focus)
            })
            .collect()
    }
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    status: u16,
    location: Option<String>,
    held: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tls: Arc<ServerConfig>,
}

/// The endpoint.
pub(crate) struct Hook {
    shared: Arc<Shared>,
    port: u16,
    ca: PathBuf,
}

impl Hook {
    /// Starts one whose CA's certificate lies in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let Listening { listener, port, ca: path, tls } = loopback::listen(dir, "ca");
        let state = Mutex::new(State { status: 200, ..State::default() });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), tls });
        let there = Arc::clone(&shared);
        // It ends with the process that tests run in.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&there);
                std::thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Hook { shared, port, ca: path }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.host())
    }

    /// The certificate of its CA.
    pub(crate) fn ca(&self) -> String {
        fs::read_to_string(&self.ca).unwrap()
    }

    /// From now on it answers so.
    pub(crate) fn answer(&self, status: u16) {
        self.shared.state.lock().unwrap().status = status;
    }

    /// From now on it sends everyone elsewhere.
    pub(crate) fn redirect(&self, to: &str) {
        let mut state = self.shared.state.lock().unwrap();
        state.status = 307;
        state.location = Some(to.to_owned());
    }

    /// It keeps whoever calls waiting, until it is let go.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.state.lock().unwrap().held = held;
        self.shared.changed.notify_all();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.state.lock().unwrap().calls.clone()
    }

    /// Waits until the calls so far are such that `wanted` finds something.
    pub(crate) fn until<T>(&self, what: &str, wanted: impl Fn(&[Call]) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = wanted(&state.calls) {
                return found;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "{what} did not come: {:#?}", state.calls);
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for the n-th call (from 0) of this kind that it took.
    pub(crate) fn taken(&self, kind: &str, n: usize) -> Call {
        self.until(kind, |calls| {
            let good = |c: &&Call| (200..300).contains(&c.answered) && c.kind() == kind;
            calls.iter().filter(good).nth(n).cloned()
        })
    }

    /// What it was told and took: events by number, each once, in the order of first
    /// arrival.
    pub(crate) fn told(&self) -> Vec<(u64, Option<String>)> {
        let mut told: Vec<(u64, Option<String>)> = Vec::new();
        for call in self.calls().iter().filter(|c| (200..300).contains(&c.answered)) {
            for event in call.events() {
                match told.iter().find(|(n, _)| *n == event.0) {
                    Some(known) => assert_eq!(*known, event, "one number, one event"),
                    None => told.push(event),
                }
            }
        }
        told
    }

    /// Waits until it was told and took an event about this record.
    pub(crate) fn told_of(&self, record: &str) {
        self.until(record, |calls| {
            calls
                .iter()
                .filter(|c| (200..300).contains(&c.answered))
                .flat_map(Call::events)
                .any(|(_, focus)| focus.as_deref() == Some(record))
                .then_some(())
        });
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
        let (status, location) = {
            let mut state = shared.state.lock().unwrap();
            while state.held {
                state = shared.changed.wait(state).unwrap();
            }
            (state.status, state.location.clone())
        };
        let to = location.map(|l| format!("location: {l}\r\n")).unwrap_or_default();
        let answer = format!("HTTP/1.1 {status} So\r\n{to}content-length: 0\r\n\r\n");
        let sent = stream.get_mut().write_all(answer.as_bytes());
        let answered = if sent.is_ok() { status } else { 0 };
        let call = Call {
            line: line.trim_end().to_owned(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            answered,
        };
        shared.state.lock().unwrap().calls.push(call);
        shared.changed.notify_all();
        sent?;
    }
}
