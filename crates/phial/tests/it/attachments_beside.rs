//! What comes beside and inside other writes: a Provenance with an upload, files that a
//! patch brings.

use phial_testkit::clamd::{FakeClamd, INFECTED, Mood};
use phial_testkit::fixture::BY_TEAM;
use phial_testkit::world::{Answer, Server, fhir, send};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attachments::{base64, blobs, configure, content, context, documented, path_of, upload};
use crate::clinic::{clinic, findings, outcome};

#[test]
fn a_provenance_comes_with_an_upload_or_neither_does() {
    let world = clinic();
    let server = world.serve();
    let with = |provenance: &Value| {
        let request = server
            .request("import-client", Method::POST, "Binary")
            .header("content-type", "application/pdf")
            .header("x-security-context", context(BY_TEAM))
            .header("x-provenance", provenance.to_string())
            .body(content(70_000));
        send(request)
    };
    let good = json!({"resourceType": "Provenance", "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"who": {"display": "a scanner"}}]});
    let path = path_of(&with(&good).expect(201));
    let found = server.search("import-client", "Provenance", &format!("target={path}"));
    let found = found.expect(200).json();
    let target = &found["entry"][0]["resource"]["target"][0]["reference"];
    assert_eq!(*target, json!(format!("{path}/_history/1")), "{found}");
    let whole = server.get("import-client", &path).expect(200);
    assert_eq!(whole.body.len(), 70_000);
    // One that can't be stored takes the content with it.
    let before = (blobs(&world).len(), server.count("import-client", "Binary", ""));
    let mut bad = good.clone();
    bad.as_object_mut().unwrap().remove("agent");
    let said = outcome(&with(&bad).expect(400));
    assert_eq!(said[0].1, "X-Provenance.Provenance.agent", "{said:?}");
    let mut bad = good.clone();
    bad["target"] = json!([{"reference": context(BY_TEAM)}]);
    let _ = with(&bad).expect(400);
    let _ = with(&json!({"resourceType": "Patient"})).expect(400);
    assert_eq!((blobs(&world).len(), server.count("import-client", "Binary", "")), before);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

/// A JSON Patch as a physician.
fn patch(server: &Server, path: &str, operations: &Value) -> Answer {
    let request = server.request("physician", Method::PATCH, path);
    let request = request.header("content-type", "application/json-patch+json");
    documented(request.body(operations.to_string()))
}

#[test]
fn what_a_patch_brings_is_held_to_what_a_put_is_held_to() {
    let world = clinic();
    let scanner = FakeClamd::start(1 << 20);
    configure(
        &world,
        &format!(
            "[attachments]\nmax_inline_kib = 1\nscan = \"required\"\nscanner = \"{}\"\n\
             scan_timeout_s = 5\n",
            scanner.address()
        ),
    );
    let server = world.serve();
    let note = json!({"resourceType": "DocumentReference", "status": "current",
        "subject": {"reference": context(BY_TEAM)},
        "content": [{"attachment": {"data": base64(b"abc"), "size": 3}}]});
    let made = server.post("physician", "DocumentReference", &note).expect(201).json();
    let path = format!("DocumentReference/{}", made["id"].as_str().unwrap());
    assert_eq!(scanner.scans(), 1);
    let put = |member: &str, value: Value| {
        let at = format!("/content/0/attachment/{member}");
        patch(&server, &path, &json!([{"op": "add", "path": at, "value": value}]))
    };
    let refused = |answer: Answer, status: u16, code: &str, place: &str| {
        let said = outcome(&answer.expect(status));
        assert_eq!(said[0].0, code, "{said:?}");
        assert_eq!(said[0].1, format!("DocumentReference.content[{place}"), "{said:?}");
    };
    refused(put("size", json!(4)), 400, "invariant", "0].attachment.size");
    refused(put("hash", json!("AAAA")), 400, "invariant", "0].attachment.hash");
    refused(put("data", json!(base64(&[1; 1025]))), 413, "too-long", "0].attachment.data");
    refused(put("data", json!(base64(INFECTED))), 422, "security", "0].attachment.data");
    // It may come under another name first.
    let moved = json!([
        {"op": "add", "path": "/content/-",
            "value": {"attachment": {"title": base64(INFECTED)}}},
        {"op": "move", "from": "/content/1/attachment/title",
            "path": "/content/1/attachment/data"}]);
    refused(patch(&server, &path, &moved), 422, "security", "1].attachment.data");
    let inner = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "DocumentReference.content[0].attachment.data"},
        {"name": "value", "valueBase64Binary": base64(INFECTED)}]}]});
    let by_path = server.request("physician", Method::PATCH, &path);
    refused(send(fhir(by_path, &inner)), 422, "security", "0].attachment.data");
    let binary = json!({"resourceType": "Binary", "contentType": "application/json-patch+json",
        "data": base64(moved.to_string().as_bytes())});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": binary, "request": {"method": "PATCH", "url": path}}]});
    let said = outcome(&server.post("physician", "", &bundle).expect(422));
    let place = "Bundle.entry[0].resource.DocumentReference.content[1].attachment.data";
    assert_eq!(said[0].1, place, "{said:?}");
    // No verdict is no permission.
    scanner.is(Mood::Fails);
    let _ = put("data", json!(base64(b"abd"))).expect(503);
    scanner.is(Mood::Scans);
    let unchanged = server.get("physician", &path).expect(200).json();
    assert_eq!(unchanged["meta"]["versionId"], "1");

    // What is good is stored; what stays is not scanned again.
    let before = scanner.scans();
    let _ = put("hash", json!("qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")).expect(200);
    let _ = put("title", json!("a title")).expect(200);
    let _ = patch(
        &server,
        &path,
        &json!([{"op": "replace", "path": "/status", "value": "superseded"}]),
    )
    .expect(200);
    assert_eq!(scanner.scans(), before);
    let other = json!({"attachment": {"data": base64(b"more"), "size": 4}});
    let add = json!([{"op": "add", "path": "/content/0", "value": other}]);
    let _ = patch(&server, &path, &add).expect(200);
    assert_eq!(scanner.scans(), before + 1, "the new one alone");
    // A Binary is replaced, not patched: its content lies apart.
    let there = upload(&server, "physician", Some(&context(BY_TEAM)), "text/plain", b"abc");
    let there = path_of(&there.expect(201));
    let kind = json!([{"op": "replace", "path": "/contentType", "value": "a/b"}]);
    assert_eq!(outcome(&patch(&server, &there, &kind).expect(422))[0].0, "not-supported");
    let _ = server.stop().expect(0);
    let log = world.ok(&["audit", "tail", "-n", "100"]);
    let found = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] == "denied" && e.to_string().contains("malware: Phial.Test-1"));
    assert_eq!(found.count(), 4, "each find is written down: {log}");
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}
