//! `phial import`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use phial_base::Surface;
use phial_engine::{Caller, Failure};
use phial_fhir::{Doc, Limits};

use super::behind;
use super::out::Out;
use crate::app::{App, Use};

/// Import FHIR R4 JSON: transaction, batch and collection Bundles, NDJSON, single
/// resources; files, directories and tar or tar.xz archives. Files that others
/// depend on go first. Works with the server stopped, or against it with --server.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// Files, directories or archives.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Label every resource HTEST (test data).
    #[arg(long)]
    label_test: bool,
    /// Send to a running server: its FHIR base URL.
    #[arg(long, value_name = "URL", requires = "token_file")]
    server: Option<String>,
    /// File with the bearer token for --server.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// CA certificate of the server; HOME/tls/ca.pem when it is there.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Lines of NDJSON that go into one commit.
const NDJSON_BATCH: usize = 500;

/// One thing to import: a Bundle made of what a file holds.
struct Piece {
    /// File, and line for NDJSON; for reports.
    place: String,
    bundle: Vec<u8>,
    /// Bytes of input that it stands for.
    bytes: u64,
}

/// What came of an import.
#[derive(Default)]
struct Tally {
    stored: BTreeMap<&'static str, u64>,
    rejected: Vec<(String, String, String)>,
    failed: Vec<(String, String)>,
}

impl Tally {
    fn total(&self) -> u64 {
        self.stored.values().sum()
    }
}

pub(super) fn run(home: &Path, args: &ImportArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let started = std::time::Instant::now();
    let bar = if out.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) =
        ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes}  {elapsed}, {eta} left")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let tally = match &args.server {
        Some(server) => remote(home, server, args, &bar)?,
        None => local(home, args, &bar)?,
    };
    bar.finish_and_clear();
    report(&tally, started.elapsed(), out);
    let good = tally.rejected.is_empty() && tally.failed.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn report(tally: &Tally, elapsed: Duration, out: &Out) {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = tally.total() as f64 / elapsed.as_secs_f64().max(0.001);
    let mut text = String::new();
    for (ty, n) in &tally.stored {
        text.push_str(&format!("{n:>9}  {ty}\n"));
    }
    text.push_str(&format!(
        "{:>9}  resources stored in {:.1} s ({rate:.0}/s), {} rejected",
        tally.total(),
        elapsed.as_secs_f64(),
        tally.rejected.len()
    ));
    for (file, path, what) in &tally.rejected {
        text.push_str(&format!("\nrejected: {file}: {path}: {what}"));
    }
    for (file, what) in &tally.failed {
        text.push_str(&format!("\nnot imported: {file}: {what}"));
    }
    let rejected: Vec<_> = tally
        .rejected
        .iter()
        .map(|(f, p, w)| serde_json::json!({ "file": f, "path": p, "issue": w }))
        .collect();
    let failed: Vec<_> =
        tally.failed.iter().map(|(f, w)| serde_json::json!({ "file": f, "error": w })).collect();
    out.result(
        &text,
        &serde_json::json!({
            "stored": tally.total(),
            "types": tally.stored,
            "rejected": rejected,
            "failed": failed,
            "seconds": elapsed.as_secs_f64(),
        }),
    );
}

fn local(home: &Path, args: &ImportArgs, bar: &ProgressBar) -> anyhow::Result<Tally> {
    let app = Arc::new(App::open(home, Use::Alone)?);
    super::runtime()?.block_on(async {
        app.start().await?;
        let tally = behind::followed(&app, through_engine(&app, args, bar)).await;
        app.stop().await?;
        tally
    })
}

/// How many bundles are worked on at once.
const WORKERS: usize = 3;

async fn through_engine(
    app: &Arc<App>,
    args: &ImportArgs,
    bar: &ProgressBar,
) -> anyhow::Result<Tally> {
    let caller = app.local("import", &["import-client"], Surface::Job);
    let mut tally = Tally::default();
    for pass in [Pass::Depended, Pass::Rest] {
        let (send, receive) = tokio::sync::mpsc::channel::<Piece>(WORKERS);
        let receive = Arc::new(tokio::sync::Mutex::new(receive));
        let paths = args.paths.clone();
        let counting = bar.clone();
        let label = args.label_test;
        let reader = tokio::task::spawn_blocking(move || {
            pieces(&paths, pass, label, &counting, &mut |piece| {
                send.blocking_send(piece).map_err(|_| anyhow::anyhow!("the import was stopped"))
            })
        });
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let (receive, app, bar) = (Arc::clone(&receive), Arc::clone(app), bar.clone());
            let caller = caller.clone();
            workers.push(tokio::spawn(async move {
                let mut mine = Tally::default();
                loop {
                    let Some(piece) = receive.lock().await.recv().await else { return mine };
                    take_in(&app, &caller, &piece, &mut mine).await;
                    bar.inc(piece.bytes);
                }
            }));
        }
        for worker in workers {
            let mine = worker.await?;
            for (ty, n) in mine.stored {
                *tally.stored.entry(ty).or_default() += n;
            }
            tally.rejected.extend(mine.rejected);
            tally.failed.extend(mine.failed);
        }
        reader.await??;
    }
    Ok(tally)
}

async fn take_in(app: &App, caller: &Caller, piece: &Piece, tally: &mut Tally) {
    let mut caller = caller.clone();
    caller.request.id = app.engine.new_request_id();
    caller.request.at = app.clock.now();
    let doc = tokio::task::block_in_place(|| Doc::parse(&piece.bundle, &limits()));
    let doc = match doc {
        Ok(doc) => doc,
        Err(issues) => {
            for issue in issues {
                tally.rejected.push((piece.place.clone(), issue.path, issue.text));
            }
            return;
        }
    };
    match app.engine.import(&caller, &doc).await {
        Ok(done) => {
            for ty in done.stored {
                *tally.stored.entry(ty.name()).or_default() += 1;
            }
            for (_, issues) in done.rejected {
                for issue in issues {
                    tally.rejected.push((piece.place.clone(), issue.path, issue.text));
                }
            }
        }
        Err(Failure::Invalid(r) | Failure::Forbidden(r) | Failure::Conflict { refusal: r, .. }) => {
            for issue in r.issues {
                tally.rejected.push((piece.place.clone(), issue.path, issue.text));
            }
        }
        Err(failure) => tally.failed.push((piece.place.clone(), failure.to_string())),
    }
}

fn limits() -> Limits {
    Limits { max_bytes: 256 * 1024 * 1024, ..Limits::default() }
}

/// What others depend on (organizations, practitioners) is read first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Depended,
    Rest,
}

type Sink<'a> = &'a mut dyn FnMut(Piece) -> anyhow::Result<()>;

fn pieces(
    paths: &[PathBuf],
    pass: Pass,
    label: bool,
    bar: &ProgressBar,
    sink: Sink<'_>,
) -> anyhow::Result<()> {
    for path in paths {
        for file in files_of(path)? {
            let name = file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
            let reader = BufReader::new(
                File::open(&file).with_context(|| format!("{} can't be read", file.display()))?,
            );
            if name.ends_with(".tar.xz") || name.ends_with(".txz") {
                archive(liblzma::read::XzDecoder::new(reader), pass, label, bar, sink)?;
            } else if name.ends_with(".tar") {
                archive(reader, pass, label, bar, sink)?;
            } else {
                one_file(&name, reader, pass, label, bar, sink)?;
            }
        }
    }
    Ok(())
}

fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(path).with_context(|| format!("{} can't be read", path.display()))?
    {
        let entry = entry?.path();
        if entry.is_dir() {
            found.extend(files_of(&entry)?);
        } else if takes(&entry.to_string_lossy()) {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn takes(name: &str) -> bool {
    [".json", ".ndjson", ".jsonl", ".tar", ".tar.xz", ".txz"].iter().any(|e| name.ends_with(e))
}

fn archive(
    reader: impl Read,
    pass: Pass,
    label: bool,
    bar: &ProgressBar,
    sink: Sink<'_>,
) -> anyhow::Result<()> {
    let mut tar = tar::Archive::new(reader);
    for entry in tar.entries()? {
        let entry = entry?;
        let name =
            entry.path()?.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
        if entry.header().entry_type().is_file() && takes(&name) {
            one_file(&name, BufReader::new(entry), pass, label, bar, sink)?;
        }
    }
    Ok(())
}

fn one_file(
    name: &str,
    mut reader: impl BufRead,
    pass: Pass,
    label: bool,
    bar: &ProgressBar,
    sink: Sink<'_>,
) -> anyhow::Result<()> {
    if name.ends_with(".ndjson") || name.ends_with(".jsonl") {
        return ndjson(name, reader, pass, label, bar, sink);
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).with_context(|| format!("{name} can't be read"))?;
    if pass == Pass::Depended {
        bar.inc_length(bytes.len() as u64);
    }
    if wanted(&bytes, pass) {
        let size = bytes.len() as u64;
        sink(Piece { place: name.to_owned(), bundle: as_bundle(bytes, label), bytes: size })?;
    }
    Ok(())
}

fn ndjson(
    name: &str,
    reader: impl BufRead,
    pass: Pass,
    label: bool,
    bar: &ProgressBar,
    sink: Sink<'_>,
) -> anyhow::Result<()> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut first = 1;
    let mut size = 0;
    let mut flush = |lines: &mut Vec<Vec<u8>>, first: usize, last: usize, size: u64| {
        if lines.is_empty() {
            return Ok(());
        }
        let bundle = collect(lines.drain(..), label);
        sink(Piece { place: format!("{name} lines {first}-{last}"), bundle, bytes: size })
    };
    let mut number = 0;
    for line in reader.split(b'\n') {
        let line = line.with_context(|| format!("{name} can't be read"))?;
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if pass == Pass::Depended {
            bar.inc_length(line.len() as u64);
        }
        if wanted(&line, pass) {
            size += line.len() as u64;
            lines.push(line);
        }
        if lines.len() >= NDJSON_BATCH {
            flush(&mut lines, first, number, size)?;
            first = number + 1;
            size = 0;
        }
    }
    flush(&mut lines, first, number, size)
}

/// Whether a file belongs to this pass: the first takes what speaks of no patient.
fn wanted(bytes: &[u8], pass: Pass) -> bool {
    let about = [&b"\"Patient\""[..], b"\"Patient/"]
        .iter()
        .any(|p| memchr::memmem::find(bytes, p).is_some());
    (pass == Pass::Rest) == about
}

/// What a file holds as a Bundle of requests: transactions and batches as they are,
/// other Bundles and single resources as updates under their own ids.
fn as_bundle(bytes: Vec<u8>, label: bool) -> Vec<u8> {
    let Ok(doc) = Doc::parse(&bytes, &limits()) else { return bytes };
    let root = doc.root();
    let text = |name: &str| root.member(name).and_then(|n| n.as_str().map(|s| s.into_owned()));
    if text("resourceType").as_deref() != Some("Bundle") {
        return collect(std::iter::once(bytes), label);
    }
    let requests = matches!(text("type").as_deref(), Some("transaction" | "batch"));
    if requests && !label {
        return bytes;
    }
    let mut out = b"{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[".to_vec();
    let mut any = false;
    for entry in root.member("entry").into_iter().flat_map(|e| e.items()) {
        let Some(resource) = entry.member("resource") else { continue };
        if any {
            out.push(b',');
        }
        any = true;
        let resource = labelled(resource.text(), label);
        out.extend_from_slice(b"{");
        if let Some(url) = entry.member("fullUrl") {
            out.extend_from_slice(b"\"fullUrl\":");
            out.extend_from_slice(url.text().as_bytes());
            out.extend_from_slice(b",");
        }
        out.extend_from_slice(b"\"resource\":");
        out.extend_from_slice(resource.as_bytes());
        out.extend_from_slice(b",\"request\":");
        match entry.member("request").filter(|_| requests) {
            Some(request) => out.extend_from_slice(request.text().as_bytes()),
            None => out.extend_from_slice(put(&resource).as_bytes()),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// Single resources as a Bundle of updates under their own ids.
fn collect(resources: impl Iterator<Item = Vec<u8>>, label: bool) -> Vec<u8> {
    let mut out = b"{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[".to_vec();
    for (i, resource) in resources.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let text = String::from_utf8_lossy(&resource);
        let text = labelled(text.trim(), label);
        out.extend_from_slice(b"{\"resource\":");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b",\"request\":");
        out.extend_from_slice(put(&text).as_bytes());
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// The request that puts a resource under its own id, or creates it without one.
fn put(resource: &str) -> String {
    let named = Doc::parse(resource.as_bytes(), &limits()).ok().map(|doc| {
        let text =
            |name: &str| doc.root().member(name).and_then(|n| n.as_str().map(|s| s.into_owned()));
        (text("resourceType").unwrap_or_default(), text("id"))
    });
    let (method, url) = match named {
        Some((ty, Some(id))) => ("PUT", format!("{ty}/{id}")),
        Some((ty, None)) => ("POST", ty),
        None => ("POST", String::new()),
    };
    serde_json::json!({ "method": method, "url": url }).to_string()
}

/// `resource` with the label HTEST in `meta.security`, when asked for.
fn labelled(resource: &str, label: bool) -> String {
    const HTEST: &str =
        r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}"#;
    if !label {
        return resource.to_owned();
    }
    let Ok(doc) = Doc::parse(resource.as_bytes(), &limits()) else { return resource.to_owned() };
    let text = doc.root().text();
    let at = |node: phial_fhir::json::Node<'_>| node.range().start + 1;
    let (place, insert) = match doc.root().member("meta") {
        None => (at(doc.root()), format!(r#""meta":{{"security":[{HTEST}]}},"#)),
        Some(meta) => match meta.member("security") {
            None if meta.members().next().is_none() => {
                (at(meta), format!(r#""security":[{HTEST}]"#))
            }
            None => (at(meta), format!(r#""security":[{HTEST}],"#)),
            Some(list) if list.items().next().is_none() => (at(list), HTEST.to_owned()),
            Some(list) => (at(list), format!("{HTEST},")),
        },
    };
    match (text.get(..place), text.get(place..)) {
        (Some(before), Some(after)) => format!("{before}{insert}{after}"),
        _ => resource.to_owned(),
    }
}

fn remote(
    home: &Path,
    server: &str,
    args: &ImportArgs,
    bar: &ProgressBar,
) -> anyhow::Result<Tally> {
    let token_file = args.token_file.as_ref().context("--server needs --token-file")?;
    let token = std::fs::read_to_string(token_file).context("--token-file can't be read")?;
    let ca =
        args.ca.clone().or_else(|| Some(home.join("tls").join("ca.pem")).filter(|p| p.exists()));
    let client = crate::http::client(ca.as_deref())?;
    let mut tally = Tally::default();
    for pass in [Pass::Depended, Pass::Rest] {
        pieces(&args.paths, pass, args.label_test, bar, &mut |piece| {
            send(&client, server, token.trim(), &piece, &mut tally)?;
            bar.inc(piece.bytes);
            Ok(())
        })?;
    }
    Ok(tally)
}

fn send(
    client: &reqwest::blocking::Client,
    server: &str,
    token: &str,
    piece: &Piece,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let answer = client
        .post(server)
        .bearer_auth(token)
        .header("content-type", "application/fhir+json")
        .body(piece.bundle.clone())
        .send()
        .context("the server can't be reached")?;
    let status = answer.status();
    let body: serde_json::Value =
        serde_json::from_slice(&answer.bytes()?).unwrap_or(serde_json::Value::Null);
    if status.is_success() {
        for entry in body.pointer("/entry").and_then(|e| e.as_array()).into_iter().flatten() {
            let location = entry.pointer("/response/location").and_then(|l| l.as_str());
            let ty = location
                .and_then(|l| l.strip_prefix(server.trim_end_matches('/')))
                .and_then(|l| l.trim_start_matches('/').split('/').next())
                .and_then(phial_fhir::definitions::ResourceType::from_name);
            if let Some(ty) = ty {
                *tally.stored.entry(ty.name()).or_default() += 1;
            }
        }
        return Ok(());
    }
    anyhow::ensure!(status.as_u16() != 401, "the server does not accept the token");
    for issue in body.pointer("/issue").and_then(|i| i.as_array()).into_iter().flatten() {
        let at = |p: &str| issue.pointer(p).and_then(|v| v.as_str()).unwrap_or("").to_owned();
        tally.rejected.push((piece.place.clone(), at("/expression/0"), at("/diagnostics")));
    }
    if body.pointer("/issue").is_none() {
        tally.failed.push((piece.place.clone(), status.to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_added_wherever_meta_stands() {
        let check = |before: &str| {
            let after: serde_json::Value = serde_json::from_str(&labelled(before, true)).unwrap();
            assert_eq!(after.pointer("/meta/security/0/code").unwrap(), "HTEST", "{before}");
        };
        check(r#"{"resourceType":"Patient"}"#);
        check(r#"{"resourceType":"Patient","meta":{}}"#);
        check(r#"{"resourceType":"Patient","meta":{"profile":["x"]}}"#);
        check(r#"{"resourceType":"Patient","meta":{"security":[]}}"#);
        check(r#"{"resourceType":"Patient","meta":{"security":[{"code":"R"}]}}"#);
    }

    #[test]
    fn collections_become_updates() {
        let out = as_bundle(
            br#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"a"}}]}"#.to_vec(),
            false,
        );
        let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out.pointer("/entry/0/request/method").unwrap(), "PUT");
        assert_eq!(out.pointer("/entry/0/request/url").unwrap(), "Patient/a");
    }

    #[test]
    fn what_speaks_of_no_patient_goes_first() {
        assert!(wanted(br#"{"resourceType":"Organization"}"#, Pass::Depended));
        assert!(!wanted(br#"{"subject":{"reference":"Patient/a"}}"#, Pass::Depended));
    }
}
