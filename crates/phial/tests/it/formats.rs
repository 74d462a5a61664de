//! Formats over the wire: which is spoken, codings both ways, layout, HEAD, OPTIONS,
//! pages of other origins.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use phial_testkit::fixture::BY_TEAM;
use phial_testkit::refusal::is_documented;
use phial_testkit::world::{Answer, Server, World, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

const CODINGS: [&str; 3] = ["zstd", "gzip", "br"];

fn pack(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "zstd" => phial_testkit::canary::pack(bytes).unwrap(),
        "gzip" => {
            let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            e.write_all(bytes).unwrap();
            e.finish().unwrap()
        }
        _ => {
            let mut e = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 22);
            e.write_all(bytes).unwrap();
            e.into_inner()
        }
    }
}

fn unpack(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match coding {
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out),
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        _ => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
    };
    read.unwrap();
    out
}

fn coded(server: &Server, role: &str, path: &str, coding: &str) -> Answer {
    send(server.request(role, Method::GET, path).header("accept-encoding", coding))
}

/// Paging tokens are sealed anew each time.
fn without_links(answer: &Answer) -> Value {
    let mut json = answer.json();
    assert!(json.is_object(), "{}", answer.text());
    json["link"] = Value::Null;
    json
}

fn with_settings(text: &str) -> World {
    let world = clinic();
    std::fs::write(world.home().join("phial.toml"), text).unwrap();
    world
}

#[test]
fn an_answer_is_compressed_when_the_client_asks_and_it_is_worth_it() {
    let world = clinic();
    let server = world.serve();
    let patient = format!("Patient/{}", BY_TEAM.id);
    for path in ["metadata", &format!("{patient}/_history"), &format!("{patient}?_pretty=true")] {
        let plain = server.get("privacy-officer", path).expect(200);
        assert_eq!(plain.header("content-encoding"), "");
        assert!(plain.header("vary").contains("accept-encoding"));
        for coding in CODINGS {
            let packed = coded(&server, "privacy-officer", path, coding).expect(200);
            assert_eq!(packed.header("content-encoding"), coding, "{path}");
            assert!(packed.body.len() < plain.body.len(), "{path} {coding}");
            let found = Answer { body: unpack(coding, &packed.body), ..packed.clone() };
            assert_eq!(without_links(&found), without_links(&plain), "{path} {coding}");
            assert_eq!(packed.header("etag"), plain.header("etag"));
        }
    }
    // Small ones, refusals and empty ones go as they are.
    let small = coded(&server, "physician", "Patient/absent", "gzip").expect(404);
    assert_eq!(small.header("content-encoding"), "");
    let request = server.request("privacy-officer", Method::GET, &patient);
    let unchanged = request.header("accept-encoding", "gzip").header("if-none-match", "W/\"1\"");
    let unchanged = send(unchanged).expect(304);
    assert_eq!((unchanged.header("content-encoding"), unchanged.body.len()), ("", 0));
    // The length of the same answer is not the same twice.
    let path = format!("{patient}/_history");
    let lengths: BTreeSet<usize> =
        (0..30).map(|_| coded(&server, "privacy-officer", &path, "zstd").body.len()).collect();
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[test]
fn compression_can_be_switched_off() {
    let world = with_settings("[http]\ncompression = false\n");
    let server = world.serve();
    let answer = coded(&server, "physician", "metadata", "gzip").expect(200);
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(answer.json()["resourceType"], "CapabilityStatement");
}

#[test]
fn a_body_may_come_compressed_and_a_bomb_is_stopped() {
    let world = with_settings("[http]\nmax_body_mib = 1\n");
    let server = world.serve();
    let sent = |path: &str, coding: &str, body: Vec<u8>| {
        let kind = match path.ends_with("_search") {
            true => "application/x-www-form-urlencoded",
            false => "application/fhir+json",
        };
        let request = server.request("import-client", Method::POST, path);
        let request = request.header("content-type", kind).header("content-encoding", coding);
        send(request.body(body))
    };
    let org = json!({"resourceType": "Organization", "name": "Packed"}).to_string();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [{
        "resource": {"resourceType": "Organization", "name": "Packed"},
        "request": {"method": "POST", "url": "Organization"}}]});
    for coding in CODINGS {
        let made = sent("Organization", coding, pack(coding, org.as_bytes())).expect(201);
        assert_eq!(made.json()["name"], "Packed");
        let _ = sent("", coding, pack(coding, bundle.to_string().as_bytes())).expect(200);
        let found = sent("Organization/_search", coding, pack(coding, b"name=packed"));
        assert!(found.expect(200).json()["total"].as_u64().unwrap() >= 2);
    }
    let before = server.count("import-client", "Organization", "name=packed");
    for coding in CODINGS {
        let mut body = org.clone();
        body.push_str(&" ".repeat(64 << 20));
        let bomb = pack(coding, body.as_bytes());
        assert!(bomb.len() < 1 << 20);
        assert_eq!(sent("Organization", coding, bomb).status, 413, "{coding}");
        let good = pack(coding, org.as_bytes());
        let cut = good[..good.len() - 1].to_vec();
        assert_eq!(sent("Organization", coding, cut).status, 400, "{coding}");
        assert_eq!(sent("Organization", coding, org.clone().into_bytes()).status, 400, "{coding}");
        assert_eq!(sent("Organization", coding, Vec::new()).status, 400, "{coding}");
        let twice = pack("gzip", &good);
        let refused = sent("Organization", &format!("{coding}, gzip"), twice).expect(415);
        assert_eq!(refused.header("accept-encoding"), "zstd, gzip, br");
    }
    let refused = sent("Organization", "deflate", vec![1, 2, 3]).expect(415);
    assert_eq!(refused.header("accept-encoding"), "zstd, gzip, br");
    assert_eq!(server.count("import-client", "Organization", "name=packed"), before);
}

#[test]
fn json_is_spoken_under_its_names_and_nothing_else_is() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Patient/{}", BY_TEAM.id);
    let ask = |accept: &str, path: &str| {
        send(server.request("physician", Method::GET, path).header("accept", accept))
    };
    for (accept, kind) in [
        ("application/fhir+json", "application/fhir+json; charset=utf-8"),
        ("application/json", "application/json; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/fhir+json; charset=utf-8"),
        (
            "application/fhir+json; fhirVersion=4.0",
            "application/fhir+json; charset=utf-8; fhirVersion=4.0",
        ),
    ] {
        assert_eq!(ask(accept, &path).expect(200).header("content-type"), kind, "{accept}");
        // A refusal is in the same format.
        assert_eq!(ask(accept, "Patient/absent").expect(404).header("content-type"), kind);
    }
    for accept in [
        "application/fhir+xml",
        "application/fhir+turtle",
        "text/turtle",
        "application/fhir+json; fhirVersion=5.0",
        "image/png",
    ] {
        for path in [path.as_str(), "metadata", "Patient?_count=1"] {
            let refused = ask(accept, path).expect(406);
            let said = outcome(&refused);
            assert_eq!(said[0].0, "not-supported");
            assert!(said[0].2.contains("application/fhir+json"), "{said:?}");
        }
    }
    let _ = ask("application/fhir+xml", &format!("{path}?_format=json")).expect(200);
    let _ = ask("application/fhir+json", &format!("{path}?_format=xml")).expect(406);

    let body = json!({"resourceType": "Organization", "name": "X"}).to_string();
    for (kind, status) in [
        ("application/fhir+json", 201),
        ("application/json; charset=utf-8", 201),
        ("application/fhir+json; fhirVersion=4.0", 201),
        ("application/fhir+json; fhirVersion=3.0", 415),
        ("application/json; charset=utf-16", 415),
        ("application/fhir+xml", 415),
        ("text/turtle", 415),
        ("text/plain", 415),
    ] {
        let request = server.request("import-client", Method::POST, "Organization");
        let answer = send(request.header("content-type", kind).body(body.clone()));
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
        is_documented(&answer);
        if status == 415 {
            assert!(answer.header("accept").contains("application/fhir+json"), "{kind}");
            assert_eq!(outcome(&answer)[0].0, "not-supported");
        }
    }
}

#[test]
fn every_json_can_be_laid_out() {
    let world = clinic();
    let server = world.serve();
    for (path, status) in [
        ("metadata".to_owned(), 200),
        (format!("Patient/{}", BY_TEAM.id), 200),
        ("Patient?_count=1".to_owned(), 200),
        ("Patient/absent".to_owned(), 404),
        ("Nonsense".to_owned(), 404),
    ] {
        let plain = server.get("physician", &path).expect(status);
        let mark = if path.contains('?') { '&' } else { '?' };
        let laid = server.get("physician", &format!("{path}{mark}_pretty=true")).expect(status);
        assert!(!plain.text().contains('\n'), "{path}");
        assert!(laid.text().contains("\n  \""), "{path}");
        assert_eq!(without_links(&plain), without_links(&laid), "{path}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let world = clinic();
    let server = world.serve();
    for path in ["metadata", &format!("Patient/{}", BY_TEAM.id), "Patient/absent", "Nonsense/1"] {
        let get = server.get("physician", path);
        let head = send(server.request("physician", Method::HEAD, path));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "content-length", "etag", "last-modified"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        assert!(!head.header("content-length").is_empty(), "{path}");
    }
    let posted = send(server.request("physician", Method::HEAD, "Patient/_search")).expect(405);
    assert_eq!(posted.header("allow"), "OPTIONS, POST");
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let world = clinic();
    let server = world.serve();
    for (method, path, has) in [
        ("DELETE", "metadata", "GET, HEAD, OPTIONS"),
        ("GET", "Patient/_search", "OPTIONS, POST"),
        ("PUT", "../healthz", "GET, HEAD, OPTIONS"),
        ("POST", "../openapi.json", "GET, HEAD, OPTIONS"),
        ("QUERY", "Patient/a", "DELETE, GET, HEAD"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = send(server.request("physician", method, path)).expect(405);
        assert!(answer.header("allow").starts_with(has), "{path}: {}", answer.header("allow"));
        assert_eq!(outcome(&answer)[0].0, "not-supported");
    }
    // OPTIONS asks for that list, without a token, and is told nothing of any record.
    let options = |path: &str| {
        send(server.client().request(Method::OPTIONS, format!("{}/{path}", server.base())))
    };
    let known = options(&format!("Patient/{}", BY_TEAM.id)).expect(204);
    let unknown = options("Patient/absent").expect(204);
    assert_eq!(known.header("allow"), unknown.header("allow"));
    assert!(known.header("allow").contains("PUT"));
}

#[test]
fn pages_of_other_origins_may_not_ask_unless_they_are_named() {
    let asks = |server: &Server, origin: &str| {
        let request = server.request("physician", Method::GET, &format!("Patient/{}", BY_TEAM.id));
        let read = send(request.header("origin", origin));
        let url = format!("{}/Patient/a", server.base());
        let before = send(
            server
                .client()
                .request(Method::OPTIONS, url)
                .header("origin", origin)
                .header("access-control-request-method", "PUT")
                .header("access-control-request-headers", "authorization,content-type"),
        );
        (read, before)
    };
    let cors = |a: &Answer| {
        let all = a.headers.keys().filter(|k| k.as_str().starts_with("access-control-"));
        all.map(|k| k.as_str().to_owned()).collect::<Vec<_>>()
    };

    let closed = clinic();
    let server = closed.serve();
    let said = server.get("physician", "metadata").json();
    assert_eq!(said["rest"][0]["security"]["cors"], false);
    let (read, before) = asks(&server, "https://app.example");
    assert_eq!((read.status, before.status), (200, 204));
    assert!(cors(&read).is_empty() && cors(&before).is_empty());
    drop(server);

    let open = with_settings(
        "[http]\ncors_origins = [\"https://app.example\"]\ncors_rationale = \"the portal\"\n",
    );
    let server = open.serve();
    let said = server.get("physician", "metadata").json();
    assert_eq!(said["rest"][0]["security"]["cors"], true);
    let (read, before) = asks(&server, "https://app.example");
    for answer in [&read, &before] {
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        assert!(answer.headers.get_all("vary").iter().any(|v| v == "origin"));
        // No browser is ever told to send what it holds by itself.
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    assert!(read.header("access-control-expose-headers").contains("etag"));
    assert!(before.header("access-control-allow-methods").contains("PUT"));
    assert!(before.header("access-control-allow-headers").contains("authorization"));
    for other in ["https://app.example.evil", "null", "http://app.example", "https://evil"] {
        let (read, before) = asks(&server, other);
        assert!(cors(&read).is_empty() && cors(&before).is_empty(), "{other}");
    }
    drop(server);

    for bad in ["*", "null", "https://*.example"] {
        let text = format!("[http]\ncors_origins = [\"{bad}\"]\ncors_rationale = \"x\"\n");
        let world = with_settings(&text);
        let ran = world.try_serve().err().expect("it does not start");
        assert!(ran.err.contains("cors_origins") || ran.out.contains("cors_origins"), "{ran:?}");
    }
    let world = with_settings("[http]\ncors_origins = [\"https://app.example\"]\n");
    assert!(world.try_serve().is_err(), "a departure needs a reason");
}

#[test]
fn the_openapi_document_is_served_to_anyone() {
    let world = clinic();
    let server = world.serve();
    let url = format!("https://{}/openapi.json", server.authority());
    let answer = send(server.client().get(url)).expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    assert_eq!(json["openapi"], "3.1.0");
    for path in ["/healthz", "/readyz", "/openapi.json", "/fhir/metadata", "/fhir/{type}/{id}"] {
        assert!(json["paths"][path]["get"].is_object(), "{path}");
    }
}
