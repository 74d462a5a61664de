//! Which parts of a record a role sees: what is withheld was never decrypted, and
//! can't be found by searching, sorting or writing either.

use std::fs;

use phial_testkit::fixture::{self, BY_TEAM, NOTE, id};
use phial_testkit::world::World;
use serde_json::{Value, json};

use crate::clinic::clinic;

fn subsetted(resource: &Value) -> bool {
    resource["meta"]["tag"].as_array().is_some_and(|tags| {
        tags.iter().any(|t| {
            t["code"] == "SUBSETTED"
                && t["system"] == "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
        })
    })
}

#[test]
fn billing_sees_the_code_and_not_the_note() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Condition/{}", id("cond", BY_TEAM, 0));
    let whole = server.get("physician", &path).expect(200).json();
    assert!(whole["note"][0]["text"].as_str().unwrap().starts_with(NOTE));
    assert!(!subsetted(&whole));
    let part = server.get("billing", &path).expect(200);
    assert!(!part.text().contains("gambling"));
    let part = part.json();
    assert_eq!(part["code"], whole["code"]);
    assert_eq!(part["onsetDateTime"], whole["onsetDateTime"]);
    assert!(part.get("note").is_none());
    assert!(subsetted(&part), "{part}");
    let page = server.search("billing", "Condition", "code=44054006").expect(200);
    assert_eq!(page.entries("match").len(), 5);
    assert!(page.entries("match").iter().all(|c| c.get("note").is_none() && subsetted(c)));
    // No result, no medicine: those types look empty.
    assert_eq!(server.count("billing", "Observation", ""), 0);
    assert_eq!(server.count("billing", "Claim", ""), 5);
    let claim = server.get("billing", &format!("Claim/{}", id("claim", BY_TEAM, 0))).expect(200);
    assert_eq!(claim.json()["item"][0]["net"]["value"], json!(120.5));
}

#[test]
fn a_government_number_is_for_the_privacy_officer() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Patient/{}", BY_TEAM.id);
    for (role, sees) in [
        ("physician", false),
        ("nurse", false),
        ("field-clinician", false),
        ("billing", false),
        ("front-desk", false),
        ("privacy-officer", true),
        ("import-client", true),
    ] {
        let read = server.get(role, &path).expect(200);
        assert_eq!(read.text().contains(BY_TEAM.ssn), sees, "{role}");
        assert!(read.text().contains(BY_TEAM.mrn), "{role} sees the record number");
        assert_eq!(subsetted(&read.json()), !sees, "{role}");
        let by_ssn = format!("identifier={}", BY_TEAM.ssn);
        assert_eq!(server.count(role, "Patient", &by_ssn), u64::from(sees), "{role}");
        let by_ssn = format!("identifier=http://hl7.org/fhir/sid/us-ssn|{}", BY_TEAM.ssn);
        assert_eq!(server.count(role, "Patient", &by_ssn), u64::from(sees), "{role}");
        assert_eq!(server.count(role, "Patient", &format!("identifier={}", BY_TEAM.mrn)), 1);
    }
}

#[test]
fn what_is_partly_withheld_is_neither_sorted_on_nor_asked_for_by_its_absence() {
    let world = clinic();
    let server = world.serve();
    for role in ["physician", "billing", "front-desk", "field-clinician"] {
        for query in ["_sort=identifier", "identifier:not=x", "identifier:missing=true"] {
            let refused = server.search(role, "Patient", query);
            assert_eq!(refused.status, 403, "{role} {query}: {}", refused.text());
        }
    }
    for query in ["identifier:not=x", "identifier:missing=true"] {
        let _ = server.search("privacy-officer", "Patient", query).expect(200);
    }
}

#[test]
fn nobody_overwrites_what_he_does_not_see() {
    let world = clinic();
    let server = world.serve();
    // The front desk may write patients, but this one has a number it does not see.
    let path = format!("Patient/{}", BY_TEAM.id);
    let shown = server.get("front-desk", &path).expect(200).json();
    let refused = server.put("front-desk", &shown);
    assert!([403, 404].contains(&refused.status), "{}", refused.text());
    let still = server.get("privacy-officer", &path).expect(200);
    assert!(still.text().contains(BY_TEAM.ssn));
    assert_eq!(still.header("etag"), "W/\"1\"");
    // Nor does anyone add what he may not write.
    let claim = json!({"resourceType": "Patient", "gender": "other",
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999-00-1234"}]});
    let _ = server.post("front-desk", "Patient", &claim).expect(403);
    let plain = json!({"resourceType": "Patient", "gender": "other"});
    let _ = server.post("front-desk", "Patient", &plain).expect(201);
    let _ = server.post("billing", "Patient", &plain).expect(403);
    let _ = server.post("privacy-officer", "Patient", &plain).expect(403);
}

#[test]
fn a_read_returns_what_was_sent_but_for_id_and_meta() {
    let world = clinic();
    let server = world.serve();
    let text = r#"{"resourceType":"Basic","code":{"text":"é \u00e9 \n \ud83d\ude00"},"extension":[{"url":"urn:x","valueDecimal":1.50},{"url":"urn:y","valueDecimal":10.0}]}"#;
    let made = phial_testkit::world::send(
        server
            .request("import-client", reqwest::Method::POST, "Basic")
            .header("content-type", "application/fhir+json")
            .body(text),
    )
    .expect(201);
    let at = made.header("location").split("/_history").next().unwrap();
    let read = server.get("import-client", at).expect(200).text();
    let code = text.find("\"code\"").unwrap();
    let rest = text.get(code..).unwrap();
    assert!(read.ends_with(rest), "{read}");
}

/// The pages that a record log's file has more than an earlier copy of it.
fn grown(world: &World, before: usize) -> std::ops::Range<usize> {
    let len = fs::read(world.home().join("data/default/records.db")).unwrap().len();
    before..len
}

#[test]
fn billing_works_unchanged_with_the_notes_unreadable_and_a_physicians_read_fails() {
    let world = clinic();
    let file = world.home().join("data/default/records.db");
    let _ = world.serve().stop().expect(0);
    let before = fs::read(&file).unwrap().len();
    // A note so long and so random that nearly all of the sealed record is the note.
    let mut seed = 88_172_645_463_325_252_u64;
    let note: String = (0..200_000)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            char::from(b'!' + u8::try_from(seed % 90).unwrap())
        })
        .map(|c| if c == '"' || c == '\\' { '-' } else { c })
        .collect();
    let mut c = fixture::condition(BY_TEAM, 0);
    c["id"] = json!("cond-long");
    c["note"] = json!([{"text": note}]);
    let server = world.serve();
    let _ = server.put("import-client", &c).expect(201);
    let whole = server.get("billing", "Condition/cond-long").expect(200);
    assert!(server.get("physician", "Condition/cond-long").expect(200).body.len() > 200_000);
    let _ = server.stop().expect(0);

    let new = grown(&world, before);
    assert!(new.len() > 100_000, "the file grew by {}", new.len());
    let mut bytes = fs::read(&file).unwrap();
    // What is sealed comes first, the padding up to the next size last; the note is so
    // much of what is sealed that this byte is one of its own.
    let inside = new.start + 70_000;
    assert_ne!(bytes[inside..inside + 16], [0; 16]);
    bytes[inside] ^= 0x10;
    fs::write(&file, &bytes).unwrap();

    let server = world.serve();
    let part = server.get("billing", "Condition/cond-long").expect(200);
    assert_eq!(part.body, whole.body, "billing is served as before");
    let failed = server.get("physician", "Condition/cond-long").expect(500);
    assert!(failed.text().contains("incident"), "{}", failed.text());
    assert!(!failed.text().contains("cond-long"));
    let search = server.search("billing", "Condition", "_id=cond-long").expect(200);
    assert_eq!(search.ids("match"), ["cond-long"]);
    let _ = server.stop().expect(0);
    let found = crate::clinic::findings(&world, world.home(), &[]);
    assert!(found.iter().any(|f| f.contains("altered")), "{found:?}");
}
