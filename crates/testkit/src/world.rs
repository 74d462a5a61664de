//! A real home, the real program, and actors by role.
//!
//! It owns one home in a directory of its own, runs the program's commands in it,
//! starts its server on a free port and speaks HTTPS to it. It refuses to guess
//! when something is ready: it waits for a line of output or for a process to end.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a world that can't be made fails the test that asked for it"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture;

/// How long anything may take before a test gives it up for dead.
const PATIENCE: Duration = Duration::from_secs(300);

/// Accounts of a peopled world: name, role and the practitioner that the account is.
pub const PEOPLE: [(&str, &str, Option<&str>); 9] = [
    ("ana", "physician", None),
    ("nils", "nurse", None),
    ("fiona", "field-clinician", Some(fixture::FIELD_PRACTITIONER)),
    ("bill", "billing", None),
    ("dora", "front-desk", None),
    ("petra", "privacy-officer", None),
    ("aude", "auditor", None),
    ("ivo", "import-client", None),
    ("ingo", "interface-engine", None),
];

/// One home and the program that works in it.
pub struct World {
    dir: TempDir,
    home: PathBuf,
    program: PathBuf,
    tokens: BTreeMap<String, String>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// The JSON that it printed.
    ///
    /// # Panics
    /// When it printed none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}\n{}", self.out, self.err))
    }

    /// Itself, when the exit code is the expected one.
    ///
    /// # Panics
    /// When it is another.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

impl World {
    /// An empty home, made by `phial init`.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn empty(program: &str) -> Self {
        World::made(program, tempfile::tempdir().unwrap())
    }

    /// As [`World::empty`], in a new directory inside `place`.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn empty_in(program: &str, place: &Path) -> Self {
        World::made(program, tempfile::tempdir_in(place).unwrap())
    }

    /// Leaves the home where it is, for someone to look at. Gives its path.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        let _ = self.dir.keep();
        self.home
    }

    fn made(program: &str, dir: TempDir) -> Self {
        let home = dir.path().join("phial");
        let world = World { home, dir, program: PathBuf::from(program), tokens: BTreeMap::new() };
        let _ = world.ok(&["init"]);
        world
    }

    /// A home with the fixture's records and one account per role, each with a token,
    /// in a new directory inside `place`.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn peopled(program: &str, place: &Path) -> Self {
        let mut world = World::made(program, tempfile::tempdir_in(place).unwrap());
        let files = world.dir.path().join("fixture");
        fixture::write(&files).unwrap();
        let done = world.ok(&["import", files.to_str().unwrap()]);
        assert_eq!(done["rejected"], serde_json::json!([]), "{done}");
        assert_eq!(done["failed"], serde_json::json!([]), "{done}");
        std::fs::remove_dir_all(&files).unwrap();
        for (name, role, practitioner) in PEOPLE {
            world.user(name, role, practitioner);
        }
        world
    }

    /// A copy of a stopped world, tokens included: cheaper than making one anew.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn copy_of(other: &World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("phial");
        copy_dir(&other.home, &home);
        World { home, dir, program: other.program.clone(), tokens: other.tokens.clone() }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The directory around the home, for a test's own files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, home: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let scratch = self.dir.path().join("tmp");
        std::fs::create_dir_all(&scratch).unwrap();
        command.arg("--json").arg("--home").arg(home).args(args);
        // What the program puts aside lies where a test can look at it.
        command.env("TMPDIR", scratch).stdin(Stdio::null());
        command
    }

    /// Runs a command of the program with this home and `--json`.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_in(&self.home, args)
    }

    /// As [`World::run`], with another home.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run_in(&self, home: &Path, args: &[&str]) -> Ran {
        let output = self.command(home, args).output().expect("the program starts");
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that must succeed, and gives the JSON that it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, args: &[&str]) -> Value {
        self.run(args).expect(0).json()
    }

    /// Starts a command and leaves it running.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(&self.home, args))
    }

    /// Adds an account and takes a token for it.
    ///
    /// # Panics
    /// When it can't be added.
    pub fn user(&mut self, name: &str, role: &str, practitioner: Option<&str>) {
        let mut args = vec!["user", "add", name, "--role", role];
        if let Some(p) = practitioner {
            args.extend(["--practitioner", p]);
        }
        let _ = self.ok(&args);
        let token = self.issue(name);
        self.tokens.insert(role.to_owned(), token);
    }

    /// A new token for an account.
    ///
    /// # Panics
    /// When none is given.
    #[must_use]
    pub fn issue(&self, name: &str) -> String {
        self.ok(&["token", "--user", name])["token"].as_str().unwrap().to_owned()
    }

    /// The token of the account with this role.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn token(&self, role: &str) -> &str {
        self.tokens.get(role).unwrap_or_else(|| panic!("no account is {role}"))
    }

    /// Starts the server on a free port and waits until it says that it serves.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn serve(&self) -> Server {
        self.try_serve().unwrap_or_else(|ran| panic!("the server did not start: {ran:?}"))
    }

    /// As [`World::serve`]; what the server said when it ended instead.
    ///
    /// # Errors
    /// What the process printed and its exit code.
    ///
    /// # Panics
    /// When the server neither serves nor ends.
    pub fn try_serve(&self) -> Result<Server, Ran> {
        self.try_serve_as(None)
    }

    /// Starts a server whose certificate this CA has signed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn serve_as(&self, ca: &Path) -> Server {
        let served = self.try_serve_as(Some(ca));
        served.unwrap_or_else(|ran| panic!("the server did not start: {ran:?}"))
    }

    fn try_serve_as(&self, ca: Option<&Path>) -> Result<Server, Ran> {
        let running = self.start(&["serve", "--listen", "127.0.0.1:0"]);
        let Some(line) = running.line() else { return Err(running.wait()) };
        let ready: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let Some(base) = ready["base"].as_str() else { return Err(running.wait()) };
        let ca = match ca {
            Some(ca) => ca.to_owned(),
            None => PathBuf::from(ready["ca"].as_str().unwrap()),
        };
        Ok(Server {
            base: base.to_owned(),
            client: client(&ca),
            ca,
            running,
            tokens: self.tokens.clone(),
        })
    }

    /// Copies the home, or a part of it, to `to`.
    ///
    /// # Panics
    /// When it can't be copied.
    pub fn copy_home(&self, to: &Path) {
        copy_dir(&self.home, to);
    }
}

/// Copies a directory, modes included.
///
/// # Panics
/// When it can't be copied. A file that vanishes meanwhile is no error.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if let Err(e) = std::fs::copy(entry.path(), &target) {
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{}", entry.path().display());
        }
    }
}

/// A client that trusts this CA and nothing else, and follows no redirect.
///
/// # Panics
/// When the file holds no certificate.
#[must_use]
pub fn client(ca: &Path) -> Client {
    client_with(ca, &[&rustls::version::TLS13, &rustls::version::TLS12])
}

/// As [`client`], offering only these versions of TLS.
///
/// # Panics
/// When the file holds no certificate.
#[must_use]
pub fn client_with(ca: &Path, versions: &[&'static rustls::SupportedProtocolVersion]) -> Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// Ends a process of ours at once, as a crash would (SIGKILL). Whoever started it
/// still waits for it.
///
/// # Panics
/// When there is no such process.
pub fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Asks a process of ours to end in order (SIGTERM).
///
/// # Panics
/// When there is no such process.
pub fn terminate(pid: u32) {
    signal(pid, rustix::process::Signal::TERM);
}

/// Bids a process of ours read its files again (SIGHUP).
///
/// # Panics
/// When there is no such process.
pub fn hang_up(pid: u32) {
    signal(pid, rustix::process::Signal::HUP);
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A process of ours, all of whose output is kept.
pub struct Running {
    child: Child,
    lines: Mutex<Receiver<String>>,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

fn held<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Starts a command.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (send, lines) = channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (kept_out, kept_err) = (Arc::clone(&output), Arc::clone(&errors));
        let readers = vec![
            std::thread::spawn(move || {
                let mut line = Vec::new();
                while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    held(&kept_out).extend_from_slice(&line);
                    let _ = send.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                }
            }),
            std::thread::spawn(move || {
                let mut chunk = [0u8; 4096];
                while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                    held(&kept_err).extend_from_slice(chunk.get(..n).unwrap_or_default());
                }
            }),
        ];
        Running { child, lines: Mutex::new(lines), output, errors, readers }
    }

    /// The next line of output; `None` when there will be none.
    ///
    /// # Panics
    /// When nothing comes and nothing ends for five minutes.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        use std::sync::mpsc::RecvTimeoutError;
        match held(&self.lines).recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line of output for five minutes"),
        }
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When the system can't say.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends it at once, as a crash would (SIGKILL).
    ///
    /// # Panics
    /// When it can't be ended.
    #[must_use]
    pub fn kill(mut self) -> Ran {
        self.child.kill().unwrap();
        self.wait()
    }

    /// Asks it to end in order (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// When it can't be asked.
    #[must_use]
    pub fn stop(self) -> Ran {
        terminate(self.child.id());
        self.wait()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When the system can't say.
    #[must_use]
    pub fn wait(mut self) -> Ran {
        let code = self.child.wait().unwrap().code();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let text = |m: &Mutex<Vec<u8>>| String::from_utf8_lossy(&held(m)).into_owned();
        Ran { code, out: text(&self.output), err: text(&self.errors) }
    }

    /// All that it printed so far, on both streams.
    #[must_use]
    pub fn printed(&self) -> Vec<u8> {
        let mut all = held(&self.output).clone();
        all.extend_from_slice(&held(&self.errors));
        all
    }
}

impl Drop for Running {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|s| s.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A server that serves.
pub struct Server {
    base: String,
    ca: PathBuf,
    client: Client,
    running: Running,
    tokens: BTreeMap<String, String>,
}

/// An answer, read to its end.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is empty or none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The logical ids of a searchset's entries with this search mode.
    #[must_use]
    pub fn ids(&self, mode: &str) -> Vec<String> {
        self.entries(mode).iter().filter_map(|r| r["id"].as_str().map(str::to_owned)).collect()
    }

    /// The resources of a searchset's entries with this search mode.
    #[must_use]
    pub fn entries(&self, mode: &str) -> Vec<Value> {
        let json = self.json();
        json["entry"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|e| e["search"]["mode"] == mode)
            .map(|e| e["resource"].clone())
            .collect()
    }

    /// The URL of a Bundle's link.
    #[must_use]
    pub fn link(&self, relation: &str) -> Option<String> {
        let json = self.json();
        let links = json["link"].as_array()?;
        let link = links.iter().find(|l| l["relation"] == relation)?;
        link["url"].as_str().map(str::to_owned)
    }

    /// Itself, when the status is the expected one.
    ///
    /// # Panics
    /// When it is another.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Server {
    /// The FHIR base URL, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `host:port`.
    ///
    /// # Panics
    /// Never: the base has this form.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.base.strip_prefix("https://").and_then(|b| b.strip_suffix("/fhir")).unwrap()
    }

    /// The file of the development CA.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The HTTPS client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The token of a role.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn token(&self, role: &str) -> &str {
        self.tokens.get(role).unwrap_or_else(|| panic!("no account is {role}"))
    }

    /// A request as a role; `path` is relative to the FHIR base, or a whole URL.
    ///
    /// # Panics
    /// When no account has the role.
    pub fn request(&self, role: &str, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("https://") {
            path.to_owned()
        } else {
            format!("{}/{path}", self.base)
        };
        self.client.request(method, url).bearer_auth(self.token(role))
    }

    /// GET as a role.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, role: &str, path: &str) -> Answer {
        send(self.request(role, Method::GET, path))
    }

    /// DELETE as a role.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn delete(&self, role: &str, path: &str) -> Answer {
        send(self.request(role, Method::DELETE, path))
    }

    /// POST of a resource as a role; an empty path posts to the base.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn post(&self, role: &str, path: &str, body: &Value) -> Answer {
        send(fhir(self.request(role, Method::POST, path), body))
    }

    /// PUT of a resource under its own type and id, as a role.
    ///
    /// # Panics
    /// When it has none, or there is no answer.
    #[must_use]
    pub fn put(&self, role: &str, body: &Value) -> Answer {
        send(self.put_request(role, body))
    }

    /// The request of [`Server::put`], to add headers to.
    ///
    /// # Panics
    /// When the resource has no type or id.
    pub fn put_request(&self, role: &str, body: &Value) -> RequestBuilder {
        let (ty, id) = (body["resourceType"].as_str().unwrap(), body["id"].as_str().unwrap());
        fhir(self.request(role, Method::PUT, &format!("{ty}/{id}")), body)
    }

    /// `POST [type]/_search` as a role; `query` as in a URL.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn search(&self, role: &str, ty: &str, query: &str) -> Answer {
        send(
            self.request(role, Method::POST, &format!("{ty}/_search"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(query.to_owned()),
        )
    }

    /// The number of matches, by `_summary=count`.
    ///
    /// # Panics
    /// When the search is refused.
    #[must_use]
    pub fn count(&self, role: &str, ty: &str, query: &str) -> u64 {
        let query = if query.is_empty() { String::new() } else { format!("{query}&") };
        let answer = self.search(role, ty, &format!("{query}_summary=count")).expect(200);
        answer.json()["total"].as_u64().unwrap_or_else(|| panic!("no total: {}", answer.text()))
    }

    /// All that the server printed so far.
    #[must_use]
    pub fn printed(&self) -> Vec<u8> {
        self.running.printed()
    }

    /// Its process id, to end it while others speak to it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Ends it as a crash would.
    #[must_use]
    pub fn kill(self) -> Ran {
        self.running.kill()
    }

    /// Ends it in order.
    #[must_use]
    pub fn stop(self) -> Ran {
        self.running.stop()
    }

    /// Waits until it has ended by itself.
    #[must_use]
    pub fn wait(self) -> Ran {
        self.running.wait()
    }
}

/// Adds a FHIR body to a request.
pub fn fhir(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/fhir+json").body(body.to_string())
}

/// Sends a request and reads the answer to its end.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn send(request: RequestBuilder) -> Answer {
    try_send(request).expect("the server answers")
}

/// As [`send`]; `None` when the connection breaks off.
#[must_use]
pub fn try_send(request: RequestBuilder) -> Option<Answer> {
    let answer = request.send().ok()?;
    let status: StatusCode = answer.status();
    let headers = answer.headers().clone();
    let body = answer.bytes().ok()?.to_vec();
    Some(Answer { status: status.as_u16(), headers, body })
}
