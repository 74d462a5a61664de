//! Attachments: content that comes and goes by itself, piece by piece, sealed beside the
//! record log; whose it is, who sees it, what is refused, and what someone finds who
//! holds the directory.

use std::fs;
use std::path::{Path, PathBuf};

use phial_testkit::clamd::{FakeClamd, INFECTED, Mood};
use phial_testkit::fixture::{BY_ENCOUNTER, BY_TEAM, UNTIED};
use phial_testkit::refusal::is_documented;
use phial_testkit::world::{Answer, Server, World, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, findings, outcome};

/// Content of `len` bytes, none of which is like the one a chunk later.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 65_521) as u8).collect()
}

pub(crate) fn context(p: &phial_testkit::fixture::Person) -> String {
    format!("Patient/{}", p.id)
}

/// Uploads content and gives the answer.
pub(crate) fn upload(
    server: &Server,
    role: &str,
    context: Option<&str>,
    kind: &str,
    content: &[u8],
) -> Answer {
    let mut request = server
        .request(role, Method::POST, "Binary")
        .header("content-type", kind)
        .body(content.to_vec());
    if let Some(context) = context {
        request = request.header("x-security-context", context);
    }
    documented(request)
}

/// Sends it; a refusal is one of those that are documented.
pub(crate) fn documented(request: reqwest::blocking::RequestBuilder) -> Answer {
    let answer = send(request);
    is_documented(&answer);
    answer
}

/// The path of what was written: `Binary/id`.
pub(crate) fn path_of(written: &Answer) -> String {
    let location = written.header("location");
    let from = location.find("Binary/").unwrap();
    location[from..].split("/_history").next().unwrap().to_owned()
}

fn read(server: &Server, role: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.request(role, Method::GET, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if headers.iter().any(|(name, _)| *name == "range") {
        // Content is no refusal, and need not be JSON.
        let answer = send(request);
        if answer.status == 416 {
            is_documented(&answer);
        }
        return answer;
    }
    send(request)
}

fn json_of(server: &Server, role: &str, path: &str) -> Answer {
    read(server, role, path, &[("accept", "application/fhir+json")])
}

/// Every file below the directory of blobs.
pub(crate) fn blobs(world: &World) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&world.home().join("data/default/blobs"), &mut found);
    found.sort();
    found
}

pub(crate) fn configure(world: &World, toml: &str) {
    fs::write(world.home().join("phial.toml"), toml).unwrap();
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn content_comes_back_whole_in_part_and_in_its_resource() {
    let world = clinic();
    let server = world.serve();
    // Within one chunk, several, and more than is read at a time.
    for len in [1, 70_000, 2_500_001] {
        let sent = content(len);
        let written =
            upload(&server, "physician", Some(&context(BY_TEAM)), "application/pdf", &sent);
        let written = written.expect(201);
        let path = path_of(&written);
        assert_eq!(written.header("etag"), "W/\"1\"");

        let whole = server.get("physician", &path).expect(200);
        assert!(whole.body == sent, "{len}");
        assert_eq!(whole.header("content-type"), "application/pdf");
        assert_eq!(whole.header("content-length"), len.to_string());
        assert_eq!(whole.header("accept-ranges"), "bytes");
        assert_eq!(whole.header("content-disposition"), "attachment");
        assert_eq!((whole.header("etag"), whole.header("cache-control")), ("W/\"1\"", "no-store"));
        assert!(whole.header("last-modified").ends_with("GMT"));

        let resource = json_of(&server, "physician", &path).expect(200);
        assert!(resource.header("content-type").starts_with("application/fhir+json"));
        assert_eq!(resource.header("content-length"), resource.body.len().to_string());
        let resource = resource.json();
        assert!(unbase64(resource["data"].as_str().unwrap()) == sent, "{len}");
        assert_eq!(resource["contentType"], "application/pdf");
        assert_eq!(resource["securityContext"]["reference"], context(BY_TEAM));
        assert_eq!(path, format!("Binary/{}", resource["id"].as_str().unwrap()));
        assert!(resource["meta"]["tag"].is_null(), "nothing was left out");

        let last = len - 1;
        let middle = len / 2;
        for (range, from, to) in [
            ("bytes=0-0".to_owned(), 0, 0),
            (format!("bytes={middle}-"), middle, last),
            (format!("bytes=-{}", len.min(7)), len - len.min(7), last),
            (format!("bytes=0-{}", len * 2), 0, last),
            (
                format!("bytes={}-{}", middle.min(65_530), last.min(65_550)),
                middle.min(65_530),
                last.min(65_550),
            ),
        ] {
            let part = read(&server, "physician", &path, &[("range", &range)]).expect(206);
            assert!(part.body == sent[from..=to], "{range} of {len}");
            assert_eq!(part.header("content-range"), format!("bytes {from}-{to}/{len}"));
            assert_eq!(part.header("content-length"), (to - from + 1).to_string());
        }
        let beyond = format!("bytes={len}-");
        let none = read(&server, "physician", &path, &[("range", &beyond)]).expect(416);
        assert_eq!(none.header("content-range"), format!("bytes */{len}"));
        // Several ranges, and a range of another version, are answered with all of it.
        for more in [
            [("range", "bytes=0-0,0-0"), ("x-a", "b")],
            [("range", "bytes=0-0"), ("if-range", "W/\"2\"")],
        ] {
            assert_eq!(read(&server, "physician", &path, &more).expect(200).body.len(), len);
        }
        let this = [("range", "bytes=0-0"), ("if-range", "\"1\"")];
        let _ = read(&server, "physician", &path, &this).expect(206);
        let known = read(&server, "physician", &path, &[("if-none-match", "W/\"1\"")]).expect(304);
        assert!(known.body.is_empty());
        // Its date tells too, unless there is a tag that does.
        let date = whole.header("last-modified").to_owned();
        let since = |extra: &[(&str, &str)]| {
            let headers = [&[("if-modified-since", date.as_str())], extra].concat();
            read(&server, "physician", &path, &headers)
        };
        assert!(since(&[]).expect(304).body.is_empty());
        let _ = since(&[("accept", "application/fhir+json")]).expect(304);
        assert_eq!(since(&[("if-none-match", "W/\"7\"")]).expect(200).body.len(), len);
        let old = [("if-modified-since", "Mon, 01 Jan 2001 00:00:00 GMT")];
        assert_eq!(read(&server, "physician", &path, &old).expect(200).body.len(), len);
        let head = send(server.request("physician", Method::HEAD, &path)).expect(200);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), len.to_string());
        assert_eq!(head.header("content-type"), "application/pdf");
    }
    assert_eq!(blobs(&world).len(), 3);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let said = log.to_string();
    assert!(said.contains("0-0/2500001"), "the log says which bytes were given");
}

#[test]
fn versions_of_content_stay_and_a_resource_without_content_keeps_it() {
    let world = clinic();
    let server = world.serve();
    let put = |kind: &str, body: &[u8], tag: Option<&str>| {
        let mut r = server
            .request("import-client", Method::PUT, "Binary/scan-1")
            .header("content-type", kind)
            .header("x-security-context", context(BY_TEAM))
            .body(body.to_vec());
        if let Some(tag) = tag {
            r = r.header("if-match", tag);
        }
        send(r)
    };
    let _ = put("image/png", b"first", None).expect(201);
    let _ = put("image/jpeg", b"second", Some("W/\"1\"")).expect(200);
    let _ = put("image/jpeg", b"late", Some("W/\"1\"")).expect(412);
    assert_eq!(blobs(&world).len(), 2, "what was refused left nothing");
    let old = server.get("privacy-officer", "Binary/scan-1/_history/1").expect(200);
    assert_eq!((old.body.as_slice(), old.header("content-type")), (&b"first"[..], "image/png"));
    let new = server.get("privacy-officer", "Binary/scan-1").expect(200);
    assert_eq!((new.body.as_slice(), new.header("etag")), (&b"second"[..], "W/\"2\""));

    // Everywhere but at its own door the content is left out, and that is said.
    let history = json_of(&server, "privacy-officer", "Binary/scan-1/_history").expect(200).json();
    let found = server.search("privacy-officer", "Binary", "_id=scan-1").expect(200).json();
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Binary/scan-1"}}]});
    let batch = server.post("import-client", "", &batch).expect(200).json();
    let shown: Vec<&Value> = [&history, &found, &batch]
        .into_iter()
        .flat_map(|b| b["entry"].as_array().unwrap())
        .map(|e| &e["resource"])
        .collect();
    assert_eq!(shown.len(), 4);
    for resource in shown {
        assert!(resource["data"].is_null() && resource["contentType"].is_string(), "{resource}");
        assert_eq!(resource["meta"]["tag"][0]["code"], "SUBSETTED", "{resource}");
    }
    // Such a resource, put back, loses nothing.
    let mut back = found["entry"][0]["resource"].clone();
    back["language"] = json!("en");
    let _ = server.put("import-client", &back).expect(200);
    let kept = json_of(&server, "import-client", "Binary/scan-1").expect(200).json();
    assert_eq!(unbase64(kept["data"].as_str().unwrap()), b"second");
    assert_eq!((&kept["language"], &kept["meta"]["tag"]), (&json!("en"), &Value::Null));
    // With another context it would be sealed for the wrong patient.
    back["securityContext"]["reference"] = json!(context(BY_ENCOUNTER));
    let _ = server.put("import-client", &back).expect(400);
    // JSON with content of its own takes its place.
    back["securityContext"]["reference"] = json!(context(BY_TEAM));
    back["data"] = json!(base64(b"third"));
    let _ = server.put("import-client", &back).expect(200);
    let third = server.get("import-client", "Binary/scan-1").expect(200);
    assert_eq!(third.body, b"third");
    let part = read(&server, "import-client", "Binary/scan-1", &[("range", "bytes=1-2")]);
    assert_eq!(part.expect(206).body, b"hi");
    let _ = server.delete("physician", "Binary/scan-1").expect(204);
    let _ = server.get("physician", "Binary/scan-1").expect(410);
    let old = server.get("privacy-officer", "Binary/scan-1/_history/2").expect(200);
    assert_eq!(old.body, b"second");
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn a_binary_is_treated_as_the_record_that_it_names() {
    let world = clinic();
    let server = world.serve();
    let document = |id: &str, p: &phial_testkit::fixture::Person, labels: &[&str]| {
        let labels: Vec<Value> = labels
            .iter()
            .map(|code| json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}))
            .collect();
        let mut doc = json!({"resourceType": "DocumentReference", "id": id, "status": "current",
            "subject": {"reference": context(p)},
            "content": [{"attachment": {"url": "Binary/later"}}]});
        if !labels.is_empty() {
            doc["meta"] = json!({"security": labels});
        }
        doc
    };
    let _ = server.put("import-client", &document("doc-1", BY_TEAM, &[])).expect(201);
    let _ = server.put("import-client", &document("doc-2", BY_TEAM, &["PSYTHPN"])).expect(201);
    let plain = upload(&server, "nurse", Some("DocumentReference/doc-1"), "text/plain", b"plain");
    let plain = path_of(&plain.expect(201));
    let secret =
        upload(&server, "import-client", Some("DocumentReference/doc-2"), "text/plain", b"s");
    let secret = path_of(&secret.expect(201));
    // It is about the patient of its context, whom the field clinician has a tie with.
    assert_eq!(server.get("field-clinician", &plain).expect(200).body, b"plain");
    // Labels come with it: a nurse sees no psychotherapy notes.
    let _ = server.get("nurse", &secret).expect(404);
    assert_eq!(server.count("nurse", "Binary", ""), 1);
    assert_eq!(server.count("privacy-officer", "Binary", ""), 2);
    assert_eq!(server.get("privacy-officer", &secret).expect(200).body, b"s");
    // A label set on the context later counts at once, at every door.
    let _ = server.put("import-client", &document("doc-1", BY_TEAM, &["PSYTHPN"])).expect(200);
    for path in [plain.clone(), format!("{plain}/_history/1"), format!("{plain}/_history")] {
        let _ = server.get("nurse", &path).expect(404);
        let _ = json_of(&server, "nurse", &path).expect(404);
    }
    let found = server.search("nurse", "Binary", "").expect(200).json();
    assert!(found["entry"].as_array().is_none_or(Vec::is_empty), "{found}");

    // No context: about no patient, for whoever sees such records with their attachments.
    let nobodys =
        path_of(&upload(&server, "physician", None, "text/plain", b"nobody's").expect(201));
    assert_eq!(server.get("nurse", &nobodys).expect(200).body, b"nobody's");
    let _ = server.get("field-clinician", &nobodys).expect(404);
    // Billing sees no attachment: content that is withheld and none at all are one answer.
    let _ = server.get("billing", &nobodys).expect(404);
    let _ = server.get("front-desk", &plain).expect(404);
    // A context that one can't see and one that is not there are refused alike.
    let hidden = upload(&server, "nurse", Some("DocumentReference/doc-2"), "text/plain", b"x");
    let absent = upload(&server, "nurse", Some("DocumentReference/none"), "text/plain", b"x");
    assert_eq!(outcome(&hidden.expect(400)), outcome(&absent.expect(400)));
    for bad in ["", "Patient", "nonsense", "https://elsewhere.example/fhir/Patient/1", "#a", &plain]
    {
        let _ = upload(&server, "physician", Some(bad), "text/plain", b"x").expect(400);
    }
    // The server's own URL is as good as a relative one.
    let own = format!("{}/{}", server.base(), context(BY_TEAM));
    let _ = upload(&server, "physician", Some(&own), "text/plain", b"x").expect(201);
    // Who has no tie with the patient writes nothing about the patient.
    let _ =
        upload(&server, "field-clinician", Some(&context(UNTIED)), "text/plain", b"x").expect(403);
    let _ =
        upload(&server, "field-clinician", Some(&context(BY_TEAM)), "text/plain", b"x").expect(201);
    for role in ["billing", "front-desk", "auditor", "privacy-officer"] {
        let _ = upload(&server, role, Some(&context(BY_TEAM)), "text/plain", b"x").expect(403);
    }
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn what_is_refused_is_refused_before_it_is_stored() {
    let world = clinic();
    configure(&world, "[attachments]\nmax_mib = 1\nmax_inline_kib = 1\n");
    let server = world.serve();
    let big = vec![7u8; (1 << 20) + 1];
    let patient = context(BY_TEAM);
    let announced = upload(&server, "physician", Some(&patient), "image/png", &big).expect(413);
    assert!(outcome(&announced)[0].2.contains("attachments.max_mib"));
    // The same when the length comes out on the way.
    let chunked = send(
        server
            .request("physician", Method::POST, "Binary")
            .header("content-type", "image/png")
            .header("x-security-context", &patient)
            .body(reqwest::blocking::Body::new(std::io::Cursor::new(big))),
    );
    let _ = chunked.expect(413);
    // And when far more comes than anyone reads.
    let endless = send(
        server
            .request("physician", Method::POST, "Binary")
            .header("content-type", "image/png")
            .header("x-security-context", &patient)
            .body(reqwest::blocking::Body::new(std::io::Read::take(std::io::repeat(7), 24 << 20))),
    );
    let _ = endless.expect(413);
    let _ = upload(&server, "physician", Some(&patient), "image/png", b"").expect(400);
    for kind in ["png", "image/", "a b/c"] {
        let _ = upload(&server, "physician", Some(&patient), kind, b"x").expect(400);
    }
    let coded = server
        .request("physician", Method::POST, "Binary")
        .header("content-type", "image/png")
        .header("content-encoding", "gzip")
        .body(b"x".to_vec());
    let _ = send(coded).expect(400);
    assert_eq!(blobs(&world), Vec::<PathBuf>::new());

    // Inside resources: a limit of its own, and what is said of the content must be true.
    let sha1_of_abc = "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    let note = |attachment: Value| {
        json!({"resourceType": "DocumentReference", "status": "current",
            "subject": {"reference": &patient}, "content": [{"attachment": attachment}]})
    };
    let post = |body: &Value| server.post("physician", "DocumentReference", body);
    let abc = base64(b"abc");
    let _ = post(&note(json!({"data": abc, "size": 3, "hash": sha1_of_abc}))).expect(201);
    for (bad, place) in
        [(json!({"data": abc, "size": 4}), "size"), (json!({"data": abc, "hash": "AAAA"}), "hash")]
    {
        let refused = post(&note(bad)).expect(400);
        let said = outcome(&refused);
        assert_eq!(said[0].1, format!("DocumentReference.content[0].attachment.{place}"));
    }
    let refused = post(&note(json!({"data": base64(&[1; 1025])}))).expect(413);
    assert!(outcome(&refused)[0].2.contains("upload it as a Binary"));
    let _ = post(&note(json!({"data": base64(&[1; 1024])}))).expect(201);
    // Of an uploaded Binary too, whose size and hash are known.
    let there =
        path_of(&upload(&server, "physician", Some(&patient), "text/plain", b"abc").expect(201));
    let _ = post(&note(json!({"url": there, "size": 3, "hash": sha1_of_abc}))).expect(201);
    let _ = post(&note(json!({"url": there, "size": 5}))).expect(400);
    let _ = post(&note(json!({"url": there, "hash": "AAAA"}))).expect(400);
    // Of one that is not there nothing is known, and nothing is told.
    let _ = post(&note(json!({"url": "Binary/none", "size": 5}))).expect(201);
    let entry = json!({"resource": note(json!({"data": abc, "size": 4})),
        "request": {"method": "POST", "url": "DocumentReference"}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry]});
    let _ = server.post("physician", "", &bundle).expect(400);
}

#[test]
fn a_forgotten_patients_attachments_are_gone() {
    let world = clinic();
    let server = world.serve();
    let mine = path_of(
        &upload(&server, "physician", Some(&context(BY_TEAM)), "a/b", &content(9000)).expect(201),
    );
    let other = path_of(
        &upload(&server, "physician", Some(&context(BY_ENCOUNTER)), "a/b", b"other").expect(201),
    );
    // One about both: it goes on without the forgotten one.
    let both = json!({"resourceType": "Provenance", "id": "both", "recorded": "2026-01-01T00:00:00Z",
        "target": [{"reference": context(BY_TEAM)}, {"reference": context(BY_ENCOUNTER)}],
        "agent": [{"who": {"display": "x"}}]});
    let _ = server.put("import-client", &both).expect(201);
    let shared = content(200_000);
    let joint = path_of(
        &upload(&server, "import-client", Some("Provenance/both"), "a/b", &shared).expect(201),
    );
    assert_eq!(blobs(&world).len(), 3);
    let earlier = world.dir().join("earlier");
    let _ = server.stop().expect(0);
    world.copy_home(&earlier);

    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    assert_eq!(blobs(&world).len(), 2, "the other's, and the shared one under its new key");
    let server = world.serve();
    let _ = server.get("privacy-officer", &mine).expect(404);
    assert_eq!(server.get("privacy-officer", &other).expect(200).body, b"other");
    assert!(server.get("privacy-officer", &joint).expect(200).body == shared);
    let _ = server.get("privacy-officer", &format!("{joint}/_history/1")).expect(404);
    let _ = server.stop().expect(0);

    // An older copy of the data beside today's keys brings nothing back.
    for store in ["data", "index"] {
        fs::remove_dir_all(world.home().join(store)).unwrap();
    }
    phial_testkit::world::copy_dir(&earlier.join("data"), &world.home().join("data"));
    fs::create_dir(world.home().join("index")).unwrap();
    assert_eq!(blobs(&world).len(), 3);
    let server = world.serve();
    let _ = server.get("privacy-officer", &mine).expect(404);
    assert_eq!(server.get("privacy-officer", &other).expect(200).body, b"other");
    let _ = server.stop().expect(0);
    assert_eq!(blobs(&world).len(), 1, "those under destroyed keys are swept");
}

#[test]
fn every_change_of_an_attachment_is_named() {
    let world = clinic();
    let server = world.serve();
    for n in 0..3u8 {
        let _ =
            upload(&server, "physician", Some(&context(BY_TEAM)), "a/b", &[n; 5000]).expect(201);
    }
    let path = path_of(
        &upload(&server, "physician", Some(&context(BY_TEAM)), "a/b", &content(200_000))
            .expect(201),
    );
    let _ = server.stop().expect(0);
    let files = blobs(&world);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    let big = files.iter().max_by_key(|f| f.metadata().unwrap().len()).unwrap().clone();
    let sound = |what: &str| {
        assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new(), "{what}")
    };
    let named = |words: &str| {
        let found = findings(&world, world.home(), &[]);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
    };
    let original = fs::read(&big).unwrap();
    for at in [0, 1, 40, 62, 70, 100_000, original.len() - 1] {
        let mut bad = original.clone();
        bad[at] ^= 1;
        fs::write(&big, bad).unwrap();
        named("was altered");
    }
    // A reader gets no byte of a chunk that was altered, nor an end.
    let mut bad = original.clone();
    bad[100_000] ^= 1;
    fs::write(&big, bad).unwrap();
    let server = world.serve();
    let cut = server.request("physician", Method::GET, &path).send();
    let body = cut.and_then(|r| r.bytes());
    assert!(body.is_err(), "an answer that can't be whole is cut off");
    let good = read(&server, "physician", &path, &[("range", "bytes=0-65535")]).expect(206);
    assert!(good.body == content(200_000)[..65_536], "what is sound is given");
    let _ = server.stop().expect(0);
    fs::write(&big, &original).unwrap();
    sound("put back");

    let aside = world.dir().join("aside");
    fs::rename(&big, &aside).unwrap();
    named("is missing");
    let server = world.serve();
    let _ = server.get("physician", &path).expect(503);
    let _ = server.stop().expect(0);
    fs::rename(&aside, &big).unwrap();
    sound("back again");

    let stranger = big.with_file_name(format!(
        "{}{}",
        &big.file_name().unwrap().to_str().unwrap()[..2],
        "0".repeat(30)
    ));
    fs::copy(&big, &stranger).unwrap();
    named("was never announced");
    fs::remove_file(&stranger).unwrap();
    // Two exchanged.
    fs::rename(&files[0], &aside).unwrap();
    fs::rename(&files[1], &files[0]).unwrap();
    fs::rename(&aside, &files[1]).unwrap();
    named("was altered");
}

#[test]
fn the_directory_shows_names_sizes_and_times_alone() {
    let world = clinic();
    let server = world.serve();
    let text = b"Hypertension of Aldner, Celia ".repeat(400);
    for len in [1, 100, 3000, 4096] {
        let _ = upload(&server, "physician", Some(&context(BY_TEAM)), "text/plain", &text[..len])
            .expect(201);
    }
    let _ = server.stop().expect(0);
    let files = blobs(&world);
    let sizes: Vec<u64> = files.iter().map(|f| f.metadata().unwrap().len()).collect();
    assert_eq!(sizes, [4247; 4], "small ones have one size");
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(file.parent().unwrap().file_name().unwrap().to_str().unwrap(), &name[..2]);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(file).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"Aldner" || w == b"Hypert"));
    }
}

#[test]
fn what_the_scanner_finds_is_not_stored() {
    let world = clinic();
    let scanner = FakeClamd::start(1 << 20);
    configure(
        &world,
        &format!(
            "[attachments]\nscan = \"required\"\nscanner = \"{}\"\nscan_timeout_s = 5\n",
            scanner.address()
        ),
    );
    let server = world.serve();
    let patient = context(BY_TEAM);
    let post = |content: &[u8]| upload(&server, "physician", Some(&patient), "a/b", content);
    let path = path_of(&post(&content(300_000)).expect(201));
    assert_eq!((scanner.scans(), blobs(&world).len()), (1, 1));
    // Across the border of two pieces, too.
    let mut bad = content(65_530);
    bad.extend_from_slice(INFECTED);
    bad.extend_from_slice(&content(70_000));
    let refused = post(&bad).expect(422);
    assert_eq!(outcome(&refused)[0].0, "security");
    assert_eq!(blobs(&world).len(), 1);
    // No side door: inside a resource, in a transaction, as the JSON of a Binary.
    let note = json!({"resourceType": "DocumentReference", "status": "current",
        "subject": {"reference": &patient}, "content": [{"attachment": {"data": base64(INFECTED)}}]});
    let binary = json!({"resourceType": "Binary", "contentType": "a/b", "data": base64(INFECTED),
        "securityContext": {"reference": &patient}});
    let _ = server.post("physician", "DocumentReference", &note).expect(422);
    let _ = server.post("physician", "Binary", &binary).expect(422);
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": note, "request": {"method": "POST", "url": "DocumentReference"}}]});
    let _ = server.post("physician", "", &bundle).expect(422);
    // Whatever is no verdict is no permission.
    for mood in [Mood::Fails, Mood::HangsUp, Mood::Mumbles] {
        scanner.is(mood);
        let _ = post(b"harmless").expect(503);
        let _ = server
            .post(
                "physician",
                "Binary",
                &json!({"resourceType": "Binary",
            "contentType": "a/b", "data": base64(b"harmless")}),
            )
            .expect(503);
    }
    scanner.is(Mood::Scans);
    let _ = post(&content((1 << 20) + 70_000)).expect(503);
    assert_eq!(blobs(&world).len(), 1, "nothing of all that was stored");
    let _ = post(b"harmless").expect(201);
    assert_eq!(server.get("physician", &path).expect(200).body.len(), 300_000, "reads need none");
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let found = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "denied" && e.to_string().contains("malware: Phial.Test-1"));
    assert_eq!(found.count(), 4, "each find is written down: {log}");
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());

    // Nobody listens there: nothing is stored.
    configure(&world, "[attachments]\nscan = \"required\"\nscanner = \"127.0.0.1:1\"\n");
    let server = world.serve();
    let refused = upload(&server, "physician", Some(&patient), "a/b", b"harmless").expect(503);
    assert_eq!(refused.header("retry-after"), "1");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    use std::io::Write as _;
    let world = clinic();
    let server = world.serve();
    let mut tls = crate::attachments::raw(&server);
    let head = format!(
        "POST /fhir/Binary HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: a/b\r\n\
         X-Security-Context: {}\r\nContent-Length: 1000000\r\n\r\n",
        server.authority(),
        server.token("physician"),
        context(BY_TEAM)
    );
    tls.write_all(head.as_bytes()).unwrap();
    tls.write_all(&content(500_000)).unwrap();
    tls.flush().unwrap();
    while blobs(&world).is_empty() {
        std::thread::yield_now();
    }
    drop(tls);
    while !blobs(&world).is_empty() {
        std::thread::yield_now();
    }
    // A crash in the middle of one: the next start clears up.
    let mut tls = raw(&server);
    tls.write_all(head.as_bytes()).unwrap();
    tls.write_all(&content(500_000)).unwrap();
    tls.flush().unwrap();
    while blobs(&world).is_empty() {
        std::thread::yield_now();
    }
    let _ = server.kill();
    drop(tls);
    assert_eq!(blobs(&world).len(), 1);
    let _ = world.serve().stop().expect(0);
    assert_eq!(blobs(&world), Vec::<PathBuf>::new());
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

/// A TLS connection by hand.
pub(crate) fn raw(
    server: &Server,
) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for cert in rustls::pki_types::CertificateDer::pem_file_iter(server.ca()).unwrap() {
        roots.add(cert.unwrap()).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = server.authority().rsplit_once(':').unwrap().0.to_owned();
    let name = rustls::pki_types::ServerName::try_from(host).unwrap();
    let tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(tls, std::net::TcpStream::connect(server.authority()).unwrap())
}

#[test]
fn a_binary_in_json_is_content_too() {
    let world = clinic();
    let server = world.serve();
    let binary = json!({"resourceType": "Binary", "contentType": "text/plain",
        "data": base64(b"in the record"), "securityContext": {"reference": context(BY_TEAM)}});
    let written =
        send(fhir(server.request("physician", Method::POST, "Binary"), &binary)).expect(201);
    let path = path_of(&written);
    let native = server.get("nurse", &path).expect(200);
    assert_eq!(
        (native.body.as_slice(), native.header("content-type")),
        (&b"in the record"[..], "text/plain")
    );
    assert_eq!(json_of(&server, "nurse", &path).expect(200).json()["data"], binary["data"]);
    assert_eq!(blobs(&world), Vec::<PathBuf>::new());
    let some = json_of(&server, "nurse", &format!("{path}?_elements=contentType")).expect(200);
    assert!(some.json()["data"].is_null());
    // It is sealed under the patient's key like everything of the patient.
    let _ = server.stop().expect(0);
    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    let server = world.serve();
    let _ = server.get("privacy-officer", &path).expect(404);
}
