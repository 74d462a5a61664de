//! What is stored comes back as it was sent: HL7's own examples, when they are there,
//! and documents of our own that are harder.
//!
//! What is compared: both texts without white space between tokens, split into the
//! resource's members. Every member but `meta` must be the same bytes at the same place:
//! the text of numbers, the escapes of strings, the order of members. Of `meta` the same
//! holds for its members but `versionId` and `lastUpdated`, which the server sets. The
//! id is the document's own, since it is PUT there.

use std::path::{Path, PathBuf};

use phial_testkit::world::{Answer, Server, World, send};
use reqwest::Method;

use crate::clinic::{clinic, outcome};

/// JSON without white space between tokens. Written for this test, so that it does not
/// trust the parser under test.
fn plain(json: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for c in json.chars() {
        if inside {
            out.push(c);
            inside = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if !matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{feff}') {
            out.push(c);
            inside = c == '"';
        }
    }
    out
}

/// Names and values as they are written.
type Members<'t> = Vec<(&'t str, &'t str)>;

/// The members of an object, in their order.
fn members(object: &str) -> Members<'_> {
    let inner = object.strip_prefix('{').and_then(|o| o.strip_suffix('}')).unwrap();
    let (mut depth, mut inside, mut escaped, mut start) = (0, false, false, 0);
    let mut found = Vec::new();
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        if inside {
            inside = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => inside = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 && at > start => {
                let (name, value) = inner[start..at].split_once(':').unwrap();
                found.push((name, value));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// What the client decides of a resource: members beside `meta`, members of `meta`.
fn own(text: &str) -> (Members<'_>, Members<'_>) {
    let all = members(text);
    let meta = all.iter().find(|(n, _)| *n == "\"meta\"").map_or("{}", |(_, v)| v);
    let set = ["\"versionId\"", "\"lastUpdated\""];
    let meta = members(meta).into_iter().filter(|(n, _)| !set.contains(n)).collect();
    (all.into_iter().filter(|(n, _)| *n != "\"meta\"").collect(), meta)
}

fn put(server: &Server, text: &str) -> (String, Answer) {
    let json: serde_json::Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
    let path =
        format!("{}/{}", json["resourceType"].as_str().unwrap(), json["id"].as_str().unwrap());
    let request = server
        .request("import-client", Method::PUT, &path)
        .header("content-type", "application/fhir+json")
        .header("prefer", "return=minimal")
        .body(text.to_owned());
    (path, send(request))
}

/// Stores the document and reads it in every way that gives it whole.
fn comes_back(server: &Server, text: &str, name: &str) {
    let (path, stored) = put(server, text);
    assert!([200, 201].contains(&stored.status), "{name}: {} {}", stored.status, stored.text());
    let sent = plain(text);
    let get = |role, path: &str| {
        let request = server.request(role, Method::GET, path);
        send(request.header("accept", "application/fhir+json")).expect(200).text()
    };
    let read = get("import-client", &path);
    assert_eq!(plain(&read), read, "{name}: no white space is added");
    assert!(own(&read) == own(&sent), "{name}:\n{read}\n{sent}");
    let version = stored.header("etag").trim_start_matches("W/").trim_matches('"').to_owned();
    assert!(get("privacy-officer", &format!("{path}/_history/{version}")) == read, "{name}: vread");
    let history = get("privacy-officer", &format!("{path}/_history"));
    assert!(history.contains(&read), "{name}: history");
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn examples() -> Option<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/examples/hl7-r4-instances");
    if !dir.is_dir() {
        println!("skipped: ../shared/data/examples is not here");
        return None;
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    // Binaries last: their security context is to be there.
    files.sort_by_key(|f| (f.to_string_lossy().contains("/Binary-"), f.clone()));
    Some(files)
}

/// Examples that are refused, each with the code and place that its refusal names, and
/// the reason.
const REFUSED: [(&str, &str, &str); 2] = [
    // Questionnaire.item.linkId is 1..1 (https://hl7.org/fhir/R4/questionnaire.html), and
    // some of this example's items have none.
    ("Questionnaire-qs1.json", "required", "Questionnaire.item[0].item[0].linkId"),
    // Attachment.hash is the SHA-1 of the data, there so that the data can be verified
    // (https://hl7.org/fhir/R4/datatypes-definitions.html#Attachment.hash), and this
    // example's is that of other bytes: whoever follows the page takes the report for
    // damaged. A server that stored it would pass damage on.
    ("DiagnosticReport-example-pgx.json", "invariant", "DiagnosticReport.presentedForm[0].hash"),
];

#[test]
fn hl7s_examples_come_back_as_they_were_sent() {
    let Some(files) = examples() else { return };
    let world = clinic();
    may_tell_biliwatch(&world);
    let server = world.serve();
    let mut types = std::collections::BTreeSet::new();
    let mut accepted = 0;
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        if let Some((_, code, place)) = REFUSED.iter().find(|r| r.0 == name) {
            let (path, refused) = put(&server, &text);
            assert_eq!(refused.status, 400, "{name}");
            let issues = outcome(&refused);
            assert_eq!(issues[0].0, *code, "{issues:?}");
            assert_eq!(issues[0].1, *place, "{issues:?}");
            let _ = server.get("import-client", &path).expect(404);
            continue;
        }
        if name.starts_with("Subscription-") {
            comes_back_but_its_standing(&server, &text);
        } else {
            comes_back(&server, &text, name);
        }
        types.insert(name.split('-').next().unwrap().to_owned());
        accepted += 1;
    }
    assert_eq!((files.len(), accepted, types.len()), (750, 748, 140));
}

/// An agreement with the vendor at whose address
/// HL7's examples ask to be told. Nobody is called: their end lies in the past.
fn may_tell_biliwatch(world: &World) {
    let toml = "[subscriptions]\nhosts = [\"biliwatch.com\"]\n";
    std::fs::write(world.home().join("phial.toml"), toml).unwrap();
    let vendor = ["vendor", "add", "Biliwatch", "--contact", "c", "--baa-from", "2020-01-01"];
    let at = "https://biliwatch.com/customers/mount-auburn-miu/on-result";
    let _ = world.ok(&[&vendor[..], &["--endpoint", at]].concat());
}

/// A Subscription comes back but for what is the server's to say of it: its status, and why
/// (<https://hl7.org/fhir/R4/subscription-definitions.html#Subscription.status>); the
/// values of its headers, which may be secrets, are masked.
fn comes_back_but_its_standing(server: &Server, text: &str) {
    let (path, stored) = put(server, text);
    assert_eq!(stored.status, 201, "{}", stored.text());
    let own = |text: &str| {
        let mut all: serde_json::Value =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
        for member in ["status", "error", "meta"] {
            let _ = all.as_object_mut().unwrap().remove(member);
        }
        all
    };
    let mut sent = own(text);
    sent["channel"]["header"] = serde_json::json!(["Authorization: ********"]);
    loop {
        let read = server.get("import-client", &path).expect(200).text();
        assert_eq!(own(&read), sent);
        // Its end is in the past.
        if read.contains(r#""status":"off""#) {
            return;
        }
        crate::clinic::pause();
    }
}

/// Documents with what is easily lost on the way.
const HARD: [(&str, &str); 6] = [
    (
        "decimals as they were written",
        r#"{ "resourceType" : "Observation", "id" : "hard-1", "status" : "final",
            "code" : { "text" : "x" },
            "component" : [
                { "code" : { "text" : "a" }, "valueQuantity" : { "value" : 1.0e+2 } },
                { "code" : { "text" : "b" }, "valueQuantity" : { "value" : 10.000 } },
                { "code" : { "text" : "c" }, "valueQuantity" : { "value" : -0.0 } },
                { "code" : { "text" : "d" }, "valueQuantity" : { "value" : 0.1E-7 } },
                { "code" : { "text" : "e" },
                  "valueQuantity" : { "value" : 123456789012345678.901234567890123456789 } },
                { "code" : { "text" : "f" }, "valueInteger" : 2147483647 } ] }"#,
    ),
    (
        "members in an order of their own, meta last",
        r#"{"birthDate":"1970-03-30","name":[{"given":["A","B"],"family":"C","use":"usual"}],
            "id":"hard-2","gender":"other","resourceType":"Patient","active":true,
            "meta":{"tag":[{"code":"t","system":"urn:t"}],"source":"urn:s","versionId":"77",
                "profile":["http://example.org/p"],"lastUpdated":"2001-01-01T00:00:00Z"}}"#,
    ),
    (
        "primitives with extensions, and null where there is a value or none",
        r#"{"resourceType":"Patient","id":"hard-3",
            "_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthTime",
                "valueDateTime":"1974-12-25T14:35:45-05:00"}]},"birthDate":"1974-12-25",
            "name":[{"given":["A",null,"C"],"_given":[null,{"extension":[{"url":"urn:e",
                "valueString":"unknown"}]},{"id":"c"}],"_family":{"extension":[{
                "url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}}],
            "_gender":{"id":"g","extension":[{"url":"urn:f","extension":[{"url":"i",
                "valueDecimal":1.50},{"url":"j","valueBoolean":false}]}]}}"#,
    ),
    (
        "contained resources and references among them",
        r##"{"resourceType":"MedicationRequest","id":"hard-4","contained":[
            {"resourceType":"Medication","id":"m","ingredient":[{"itemReference":{"reference":"#s"},
                "strength":{"numerator":{"value":5.00},"denominator":{"value":1}}}]},
            {"id":"s","resourceType":"Substance","code":{"text":"z"}}],
            "status":"active","intent":"order","medicationReference":{"reference":"#m"},
            "subject":{"reference":"Patient/hard-2","display":"C, A"},
            "dosageInstruction":[{"text":"1 a day","doseAndRate":[{"doseQuantity":{"value":1.0}}]}]}"##,
    ),
    (
        "strings with every kind of escape",
        r#"{"resourceType":"Basic","id":"hard-5","code":{"text":"\u00e9 é \u0041 \ud83d\ude00 😀 \" \\ \/ / \n \t \r \u2028 \u200f"},
            "extension":[{"url":"urn:x","valueString":"  two  spaces , : { } [ ] "},
                {"valueMarkdown":"*a*\n\n1. b\n","url":"urn:y"}]}"#,
    ),
    (
        "narrative, attachments and identifiers beside each other",
        r#"{"resourceType":"DocumentReference","id":"hard-6","text":{"status":"generated",
            "div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a &lt; b &#160; c</p>\n <br/></div>"},
            "status":"current","identifier":[{"system":"urn:a","value":"1"},
                {"system":"http://hl7.org/fhir/sid/us-ssn","value":"999-11-2222"},{"value":"2"}],
            "subject":{"reference":"Patient/hard-3"},
            "content":[{"attachment":{"contentType":"text/plain","data":"SGVsbG8=","size":5}},
                {"attachment":{"url":"urn:b","title":"t"}}],"description":"d"}"#,
    ),
];

#[test]
fn hard_documents_come_back_as_they_were_sent() {
    let world = clinic();
    let server = world.serve();
    for (name, text) in HARD {
        comes_back(&server, text, name);
        // A second version of the same is the same.
        comes_back(&server, text, name);
    }
    // The comparison itself sees a difference.
    let sent = plain(HARD[0].1);
    assert!(own(&sent) != own(&sent.replace("10.000", "10.0")));
    assert!(
        own(&sent)
            != own(&sent
                .replace(r#""id":"hard-1","status":"final""#, r#""status":"final","id":"hard-1""#))
    );
}
