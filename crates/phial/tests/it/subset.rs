//! `_elements` and `_summary`: a part of what the role may see, and never more.

use phial_testkit::fixture::{self, BY_TEAM, NOTE, id};
use phial_testkit::world::World;
use serde_json::{Value, json};

use crate::clinic::{clinic, outcome};

fn names(resource: &Value) -> Vec<&str> {
    let mut all: Vec<&str> = resource.as_object().unwrap().keys().map(String::as_str).collect();
    all.sort_unstable();
    all
}

fn tags(resource: &Value) -> usize {
    let tags = resource["meta"]["tag"].as_array().into_iter().flatten();
    tags.filter(|t| t["code"] == "SUBSETTED").count()
}

fn last(world: &World, kind: &str) -> Value {
    let tail = world.ok(&["audit", "tail", "-n", "10"]);
    tail.as_array().unwrap().iter().rev().find(|e| e["kind"] == kind).unwrap().clone()
}

#[test]
fn a_part_is_given_by_read_vread_search_history_and_batch_alike() {
    let world = clinic();
    let server = world.serve();
    let role = "physician";
    let path = format!("Condition/{}", id("cond", BY_TEAM, 0));
    for (query, expected) in [
        (
            "_elements=onset",
            &["clinicalStatus", "id", "meta", "onsetDateTime", "resourceType", "subject"][..],
        ),
        (
            "_summary=true",
            &[
                "clinicalStatus",
                "code",
                "id",
                "meta",
                "onsetDateTime",
                "recordedDate",
                "resourceType",
                "subject",
            ],
        ),
        ("_summary=text", &["id", "meta", "resourceType", "subject"]),
        (
            "_summary=data",
            &[
                "clinicalStatus",
                "code",
                "id",
                "meta",
                "note",
                "onsetDateTime",
                "recordedDate",
                "resourceType",
                "subject",
            ],
        ),
    ] {
        let read = server.get(role, &format!("{path}?{query}")).expect(200);
        assert_eq!(read.header("etag"), "W/\"1\"");
        let read = read.json();
        assert_eq!(names(&read), expected, "{query}");
        assert_eq!(tags(&read), 1, "{query}");
        let vread = server.get(role, &format!("{path}/_history/1?{query}")).expect(200).json();
        let found = format!("_id={}&{query}", id("cond", BY_TEAM, 0));
        let found = server.search(role, "Condition", &found).expect(200).entries("match");
        let history = server.get(role, &format!("{path}/_history?{query}")).expect(200).json();
        let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
            {"request": {"method": "GET", "url": format!("{path}?{query}")}}]});
        let batch = server.post(role, "", &batch).expect(200).json();
        for other in
            [&vread, &found[0], &history["entry"][0]["resource"], &batch["entry"][0]["resource"]]
        {
            assert_eq!(*other, read, "{query}");
        }
    }
    let whole = server.get(role, &path).expect(200).json();
    assert_eq!(server.get(role, &format!("{path}?_summary=false")).expect(200).json(), whole);
    assert_eq!(tags(&whole), 0);
}

#[test]
fn a_part_holds_nothing_that_the_whole_would_not() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Condition/{}", id("cond", BY_TEAM, 0));
    for query in ["_elements=note,code", "_summary=data"] {
        let part = server.get("billing", &format!("{path}?{query}")).expect(200);
        assert!(!part.text().contains(NOTE), "{query}");
        assert_eq!(tags(&part.json()), 1, "{query}: withheld and left out make one tag");
    }
    // What is denied stays absent, whatever part is asked for; what no record of the
    // type has is refused before any record is looked for.
    let hidden = format!("Condition/{}", id("cond", BY_TEAM, 2));
    for role in ["physician", "billing"] {
        for (query, status) in [("_summary=text", 404), ("_elements=nonsense", 400)] {
            for path in [&hidden, "Condition/absent"] {
                let _ = server.get(role, &format!("{path}?{query}")).expect(status);
                let _ = server.get(role, &format!("{path}/_history/1?{query}")).expect(status);
            }
        }
    }
    let page = server.search("billing", "Condition", "_elements=note&_count=2").expect(200);
    assert!(!page.text().contains(NOTE));
}

#[test]
fn what_is_not_asked_for_is_not_written_down_as_given() {
    let world = clinic();
    let server = world.serve();
    let path = format!("Patient/{}", BY_TEAM.id);
    let classes = |entry: &Value, name: &str| -> Vec<String> {
        let list = entry["what"][0][name].as_array().into_iter().flatten();
        list.map(|c| c.as_str().unwrap().to_owned()).collect()
    };
    let _ = server.get("physician", &path).expect(200);
    let whole = last(&world, "read");
    assert!(classes(&whole, "classes_given").contains(&"contact".to_owned()), "{whole}");
    let withheld = classes(&whole, "classes_withheld");
    assert_eq!(withheld, ["government-identifier"]);
    let part = server.get("physician", &format!("{path}?_elements=birthDate")).expect(200);
    assert_eq!(part.json()["birthDate"], BY_TEAM.born);
    assert!(!part.text().contains(BY_TEAM.phone));
    let read = last(&world, "read");
    assert_eq!(classes(&read, "classes_given"), ["administrative", "demographic"]);
    assert_eq!(classes(&read, "classes_withheld"), withheld, "withheld is what policy withholds");
    let _ = server.search("physician", "Patient", "_elements=birthDate&_count=1").expect(200);
    let search = last(&world, "search");
    assert_eq!(classes(&search, "classes_given"), ["administrative", "demographic"]);
}

#[test]
fn a_segment_that_holds_nothing_of_the_part_is_not_opened() {
    let world = clinic();
    let file = world.home().join("data/default/records.db");
    let _ = world.serve().stop().expect(0);
    let before = std::fs::read(&file).unwrap().len();
    let server = world.serve();
    // A picture so large and so random that nearly all of the sealed record is the picture.
    let mut seed = 88_172_645_463_325_252_u64;
    let data: String = (0..200_000)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            char::from(b'A' + u8::try_from(seed % 26).unwrap())
        })
        .collect();
    let patient = json!({"resourceType": "Patient", "id": "pictured", "gender": "other",
        "birthDate": "1970-01-01", "photo": [{"contentType": "image/png", "data": data}]});
    let _ = server.put("import-client", &patient).expect(201);
    let part = server.get("physician", "Patient/pictured?_elements=birthDate").expect(200);
    let _ = server.stop().expect(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = before + 70_000;
    bytes[at] ^= 0x10;
    std::fs::write(&file, &bytes).unwrap();
    let server = world.serve();
    let again = server.get("physician", "Patient/pictured?_elements=birthDate").expect(200);
    assert_eq!(again.body, part.body, "the damaged picture was never decrypted");
    let _ = server.get("physician", "Patient/pictured").expect(500);
}

#[test]
fn a_search_shapes_its_matches_and_what_it_adds() {
    let world = clinic();
    let server = world.serve();
    let role = "physician";
    let base = format!("_id={}&_include=Observation:encounter", id("obs", BY_TEAM, 0));
    let found = |query: &str| {
        let page = server.search(role, "Observation", &format!("{base}&{query}")).expect(200);
        (page.entries("match").remove(0), page.entries("include").remove(0))
    };
    let (o, e) = found("_elements=effective");
    assert_eq!(names(&o), ["code", "effectiveDateTime", "id", "meta", "resourceType", "status"]);
    assert_eq!((tags(&o), tags(&e)), (1, 0), "names of elements are of the type searched");
    assert!(e.get("participant").is_some());
    let (o, e) = found("_summary=true");
    assert!(o.get("valueQuantity").is_some() && o.get("note").is_none());
    assert_eq!((tags(&o), tags(&e)), (1, 1));
    let refused = server.search(role, "Observation", &format!("{base}&_summary=text")).expect(400);
    assert_eq!(outcome(&refused)[0].1, "_summary");
    // Pages after the first are of the same shape, and the total is not touched.
    let mut page = server.search(role, "Observation", "_count=25&_elements=status").expect(200);
    let mut seen = 0;
    loop {
        for o in page.entries("match") {
            assert_eq!(names(&o), ["code", "id", "meta", "resourceType", "status"]);
            seen += 1;
        }
        let Some(next) = page.link("next") else { break };
        page = server.get(role, &next).expect(200);
    }
    assert_eq!(seen, 5 * fixture::OBSERVATIONS);
    for query in ["_elements=nonsense", "_summary=some", "_elements=id&_summary=true", "_elements="]
    {
        let refused = server.search(role, "Observation", query).expect(400);
        assert!(["_elements", "_summary"].contains(&outcome(&refused)[0].1.as_str()), "{query}");
    }
    let _ = server.get(role, &format!("Patient/{}?_summary=count", BY_TEAM.id)).expect(400);
}
