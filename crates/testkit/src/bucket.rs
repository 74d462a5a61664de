//! A bucket that speaks enough of S3 over real HTTP: objects in memory, ranges, listings,
//! uploads in parts, and failures on demand. It refuses requests that nobody signed. It
//! is plain HTTP on this machine, for tests alone.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a bucket that can't be served fails the test that asked for it"
)]

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The access key's id that requests are to be signed with.
pub const ACCESS_KEY_ID: &str = "phial-test";

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An object is put whole.
    Put,
    /// An upload in parts begins.
    Begin,
    /// A part of it comes.
    Part,
    /// It ends.
    Complete,
    /// It is given up.
    Abort,
    /// An object, or a range of it, is read.
    Get,
    /// An object is asked for.
    Head,
    /// An object is deleted.
    Delete,
    /// The objects are listed.
    List,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is answered 403 and not done.
    Refused,
    /// The connection is closed before it is done.
    Cut,
    /// It is done, and the connection is closed without an answer.
    DoneThenCut,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    begun: u32,
    trouble: Vec<(Asked, Trouble)>,
    log: Vec<Asked>,
}

/// A running bucket.
#[derive(Clone)]
pub struct FakeBucket {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl FakeBucket {
    /// Starts one named `bucket` on a free port. It serves until the process ends.
    ///
    /// # Panics
    /// When it can't listen.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bucket = FakeBucket { state: Arc::default(), address };
        let serving = bucket.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bucket = serving.clone();
                // A connection that fails ends alone.
                thread::spawn(move || bucket.serve(stream));
            }
        });
        bucket
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests of this kind fail.
    pub fn fail(&self, asked: Asked, trouble: Trouble, times: usize) {
        self.state().trouble.extend(std::iter::repeat_n((asked, trouble), times));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.state().trouble.clear();
    }

    /// The names of the objects.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// An object's bytes.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.state().objects.get(name).cloned()
    }

    /// Puts bytes in an object's place, as someone who holds the bucket could.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let _ = self.state().objects.insert(name.to_owned(), bytes);
    }

    /// Takes an object away.
    pub fn take(&self, name: &str) {
        let _ = self.state().objects.remove(name);
    }

    /// Uploads that were begun and neither ended nor given up.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.state().uploads.len()
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn log(&self) -> Vec<Asked> {
        self.state().log.clone()
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some(request) = read(&mut reader)? {
            let signed = request.headers.get("authorization").is_some_and(|a| {
                a.starts_with(&format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/"))
            });
            let asked = asked(&request);
            let trouble = {
                let mut state = self.state();
                state.log.push(asked);
                let at = state.trouble.iter().position(|(a, _)| *a == asked);
                at.map(|at| state.trouble.remove(at).1)
            };
            match trouble {
                Some(Trouble::Cut) => return Ok(()),
                Some(Trouble::Refused) => answer(&mut stream, 403, &[], b"", false)?,
                _ if !signed => answer(&mut stream, 403, &[], b"", false)?,
                _ => {
                    let (status, headers, body) = self.act(asked, &request);
                    if trouble == Some(Trouble::DoneThenCut) {
                        return Ok(());
                    }
                    answer(&mut stream, status, &headers, &body, asked == Asked::Head)?;
                }
            }
        }
        Ok(())
    }

    fn act(&self, asked: Asked, r: &Request) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let mut state = self.state();
        let name = r.path.trim_start_matches("/bucket").trim_start_matches('/').to_owned();
        let tag = |bytes: &[u8]| {
            vec![
                ("ETag".to_owned(), format!("\"{:x}\"", bytes.len())),
                ("Last-Modified".to_owned(), "Sun, 22 Nov 2026 12:00:00 GMT".to_owned()),
            ]
        };
        match asked {
            Asked::Put => {
                let headers = tag(&r.body);
                let _ = state.objects.insert(name, r.body.clone());
                (200, headers, Vec::new())
            }
            Asked::Begin => {
                state.begun += 1;
                let id = format!("upload-{}", state.begun);
                let _ = state.uploads.insert(id.clone(), BTreeMap::new());
                let body = format!(
                    "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{name}</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                (200, Vec::new(), body.into_bytes())
            }
            Asked::Part => {
                let number = r.query["partNumber"].parse().unwrap();
                match state.uploads.get_mut(&r.query["uploadId"]) {
                    Some(parts) => {
                        let headers = tag(&r.body);
                        let _ = parts.insert(number, r.body.clone());
                        (200, headers, Vec::new())
                    }
                    None => (404, Vec::new(), Vec::new()),
                }
            }
            Asked::Complete => match state.uploads.remove(&r.query["uploadId"]) {
                Some(parts) => {
                    // S3 wants at least 5 MiB of every part but the last.
                    let few = parts.values().rev().skip(1).any(|p| p.len() < 5 << 20);
                    if few {
                        return (400, Vec::new(), Vec::new());
                    }
                    let whole = parts.into_values().flatten().collect();
                    let _ = state.objects.insert(name.clone(), whole);
                    let body = format!(
                        "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>{name}</Key>\
                         <ETag>\"whole\"</ETag></CompleteMultipartUploadResult>"
                    );
                    (200, Vec::new(), body.into_bytes())
                }
                None => (404, Vec::new(), Vec::new()),
            },
            Asked::Abort => {
                let _ = state.uploads.remove(&r.query["uploadId"]);
                (204, Vec::new(), Vec::new())
            }
            Asked::Delete => {
                let _ = state.objects.remove(&name);
                (204, Vec::new(), Vec::new())
            }
            Asked::Head | Asked::Get => match state.objects.get(&name) {
                None => (404, Vec::new(), Vec::new()),
                Some(bytes) => get(r, bytes, tag(bytes)),
            },
            Asked::List => list(&state, r.query.get("prefix").map_or("", String::as_str)),
        }
    }
}

fn get(
    r: &Request,
    bytes: &[u8],
    mut headers: Vec<(String, String)>,
) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let range = r.headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else { return (200, headers, bytes.to_vec()) };
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(usize::MAX).min(bytes.len().saturating_sub(1));
    if first > last {
        return (416, headers, Vec::new());
    }
    let said = format!("bytes {first}-{last}/{}", bytes.len());
    headers.push(("Content-Range".to_owned(), said));
    (206, headers, bytes[first..=last].to_vec())
}

fn list(state: &State, prefix: &str) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut body =
        "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>".to_owned();
    for (name, bytes) in state.objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
        body.push_str(&format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-22T12:00:00.000Z</LastModified>\
             <ETag>\"x\"</ETag><Size>{}</Size></Contents>",
            bytes.len()
        ));
    }
    body.push_str("</ListBucketResult>");
    (200, vec![("Content-Type".to_owned(), "application/xml".to_owned())], body.into_bytes())
}

fn asked(r: &Request) -> Asked {
    let upload = r.query.contains_key("uploadId");
    match r.method.as_str() {
        "PUT" if upload => Asked::Part,
        "PUT" => Asked::Put,
        "POST" if upload => Asked::Complete,
        "POST" => Asked::Begin,
        "DELETE" if upload => Asked::Abort,
        "DELETE" => Asked::Delete,
        "HEAD" => Asked::Head,
        _ if r.query.contains_key("list-type") => Asked::List,
        _ => Asked::Get,
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

/// The next request of a connection; `None` at its end.
fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    });
    let mut request = Request {
        method: method.to_owned(),
        path: decoded(path),
        query: query.collect(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        let _ = from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let _ = request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let len = request.headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    request.body.resize(len, 0);
    from.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn answer(
    to: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
    head: bool,
) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    to.write_all(text.as_bytes())?;
    if !head {
        to.write_all(body)?;
    }
    to.flush()
}
