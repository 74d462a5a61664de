//! Forgetting a patient: destroyed keys stay destroyed, whatever copy of the data
//! is put back, and nobody else is touched.

use std::fs;

use phial_testkit::fixture::{self, BY_ENCOUNTER, BY_TEAM, CONDITIONS, OBSERVATIONS, id};
use phial_testkit::world::{Server, World, copy_dir};
use serde_json::json;

use crate::clinic::{clinic, face, findings};

fn destroy(world: &World) -> serde_json::Value {
    world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"])
}

/// The patient is gone for everyone and in every way; the others are as before.
fn forgotten(server: &Server) {
    let mut paths = vec![format!("Patient/{}", BY_TEAM.id)];
    paths.extend(
        ["team", "enc", "appt", "claim"]
            .iter()
            .zip(["CareTeam", "Encounter", "Appointment", "Claim"])
            .map(|(k, ty)| format!("{ty}/{}", id(k, BY_TEAM, 0))),
    );
    paths.extend((0..=CONDITIONS).map(|n| format!("Condition/{}", id("cond", BY_TEAM, n))));
    paths.extend((0..OBSERVATIONS).map(|n| format!("Observation/{}", id("obs", BY_TEAM, n))));
    for path in &paths {
        for role in ["privacy-officer", "import-client"] {
            let gone = server.get(role, path).expect(404);
            let ty = path.split('/').next().unwrap();
            let absent = server.get(role, &format!("{ty}/absent"));
            assert_eq!(face(&gone), face(&absent), "{path}");
        }
        let _ = server.get("privacy-officer", &format!("{path}/_history/1")).expect(404);
    }
    let role = "privacy-officer";
    for (ty, of_each) in
        [("Patient", 1), ("Condition", CONDITIONS + 1), ("Observation", OBSERVATIONS), ("Claim", 1)]
    {
        assert_eq!(server.count(role, ty, ""), 4 * of_each as u64, "{ty}");
    }
    assert_eq!(server.count(role, "Patient", &format!("family={}", BY_TEAM.family)), 0);
    assert_eq!(server.count(role, "Patient", &format!("identifier={}", BY_TEAM.ssn)), 0);
    assert_eq!(server.count(role, "Condition", &format!("patient={}", BY_TEAM.id)), 0);
    for p in fixture::PEOPLE.iter().filter(|p| p.id != BY_TEAM.id) {
        let read = server.get(role, &format!("Patient/{}", p.id)).expect(200);
        assert_eq!(read.json()["name"][0]["family"], p.family);
        let note = server.get(role, &format!("Condition/{}", id("cond", p, 1))).expect(200);
        assert!(note.text().contains(fixture::NOTE));
        let query = format!("patient={}", p.id);
        assert_eq!(server.count(role, "Observation", &query), OBSERVATIONS as u64);
    }
}

#[test]
fn a_destroyed_patient_stays_unreadable_in_every_copy() {
    let world = clinic();
    let earlier = world.dir().join("earlier");
    world.copy_home(&earlier);

    assert_eq!(world.run(&["keys", "destroy", "--patient", BY_TEAM.id]).code, Some(1));
    assert_eq!(world.run(&["keys", "destroy", "--patient", "nobody", "--yes"]).code, Some(1));
    let certificate = destroy(&world);
    assert!(certificate["versions_deleted"].as_u64().unwrap() >= 20, "{certificate}");
    assert_eq!(certificate["tenant"], "default");
    assert!(!certificate["keys_destroyed"].as_array().unwrap().is_empty());
    assert_eq!(certificate["id"].as_str().unwrap().len(), 32);
    let at =
        |name: &str| -> jiff::Timestamp { certificate[name].as_str().unwrap().parse().unwrap() };
    let days = at("older_copies_readable_until").duration_since(at("destroyed_at")).as_hours() / 24;
    assert_eq!(days, 35, "the backups' retention of phial.toml's default");
    let statement = certificate["statement"].as_str().unwrap();
    let until = at("older_copies_readable_until").strftime("%-d %B %Y").to_string();
    assert!(statement.contains(&until) && statement.contains("root key"), "{statement}");
    assert!(!certificate.to_string().contains(BY_TEAM.id), "the certificate names no patient");
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());

    let server = world.serve();
    forgotten(&server);
    let _ = server.stop().expect(0);

    // Everything but the keys goes back to what it was before.
    let keys = world.dir().join("keys-now");
    copy_dir(&world.home().join("keys"), &keys);
    fs::remove_dir_all(world.home()).unwrap();
    copy_dir(&earlier, world.home());
    fs::remove_dir_all(world.home().join("keys")).unwrap();
    copy_dir(&keys, &world.home().join("keys"));
    let server = world.serve();
    forgotten(&server);
    let _ = server.kill();
    // Also when only the data came back, and the index of then with it.
    for part in ["data", "index"] {
        fs::remove_dir_all(world.home().join(part)).unwrap();
        copy_dir(&earlier.join(part), &world.home().join(part));
    }
    let server = world.serve();
    forgotten(&server);
}

#[test]
fn a_forgotten_patients_words_are_in_no_index_and_no_record() {
    // Sealed bytes can't be searched for words; what can be tested is that the index
    // of before is useless with today's keys, and that today's has no page of it.
    let world = clinic();
    let _ = world.serve().stop().expect(0);
    let index = world.home().join("index/default");
    let names = |dir: &std::path::Path| -> Vec<String> {
        fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.ends_with(".db"))
            .collect()
    };
    let before = names(&index);
    assert_eq!(before.len(), 1);
    let _ = destroy(&world);
    let after = names(&index);
    assert_eq!(after.len(), 1);
    assert_ne!(before, after, "the index that knew the patient is retired");
}

#[test]
fn a_record_about_two_patients_is_kept_for_the_other() {
    let world = clinic();
    let server = world.serve();
    let both = json!({"resourceType": "Appointment", "id": "appt-both", "status": "booked",
        "start": "2031-03-03T10:00:00Z", "end": "2031-03-03T11:00:00Z",
        "participant": [
            {"actor": {"reference": format!("Patient/{}", BY_TEAM.id)}, "status": "accepted"},
            {"actor": {"reference": format!("Patient/{}", BY_ENCOUNTER.id)}, "status": "accepted"}]});
    let _ = server.put("import-client", &both).expect(201);
    let _ = server.stop().expect(0);
    let _ = destroy(&world);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    let server = world.serve();
    let left = server.get("privacy-officer", "Appointment/appt-both").expect(200);
    assert!(left.text().contains(BY_ENCOUNTER.id));
    assert!(!left.text().contains(BY_TEAM.id), "{}", left.text());
    let by = |p: &str| server.count("privacy-officer", "Appointment", &format!("patient={p}"));
    assert_eq!(by(BY_TEAM.id), 0);
    assert_eq!(by(BY_ENCOUNTER.id), 2);
    let _ = server.get("privacy-officer", "Appointment/appt-both/_history/1").expect(404);
}

#[test]
fn destroying_again_certifies_it_again_and_destroys_nothing_new() {
    let world = clinic();
    let first = destroy(&world);
    let again = destroy(&world);
    assert_eq!(again["keys_destroyed"], first["keys_destroyed"]);
    assert_eq!(again["destroyed_at"], first["destroyed_at"]);
    assert_eq!(again["versions_deleted"], 0);
    assert_eq!(world.run(&["keys", "destroy", "--patient", "never", "--yes"]).code, Some(1));
    // The patient may come again, as someone new.
    let server = world.serve();
    let again = json!({"resourceType": "Patient", "id": BY_TEAM.id, "gender": "other"});
    let made = server.put("import-client", &again).expect(201);
    assert!(made.json().get("name").is_none());
    let _ = server.get("privacy-officer", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}
