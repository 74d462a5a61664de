//! The truth beside the records agrees with them, and the records make sense.

use std::collections::{BTreeMap, BTreeSet};

use phial_synth::{SpanKind, World};
use serde_json::Value;

use crate::whole::{gather, of, resources};

/// Every string within a value.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|v| strings(v, found)),
        Value::Object(map) => map.values().for_each(|v| strings(v, found)),
        _ => {}
    }
}

fn unbase64(text: &str) -> Option<String> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(u32::from(b - b'A')),
        b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut word = 0;
        for i in 0..4 {
            word = word << 6 | chunk.get(i).map_or(Some(0), |b| digit(*b))?;
        }
        bytes.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    String::from_utf8(bytes).ok()
}

#[test]
fn every_note_is_in_its_record_and_its_spans_are_in_order() {
    let world = World::new(11, 48);
    let all = resources(&world);
    let mut kinds = BTreeSet::new();
    let mut texts = BTreeMap::new();
    for patient in 0..48 {
        for note in world.notes(patient) {
            let mut found = Vec::new();
            strings(&all[&note.resource], &mut found);
            let there = found.iter().any(|t| *t == note.text)
                || found.iter().any(|t| unbase64(t).is_some_and(|t| t == note.text));
            assert!(there, "{} {}", note.resource, note.element);
            let mut end = 0;
            for span in &note.spans {
                assert!(span.start >= end && span.len > 0);
                end = span.start + span.len;
                assert!(note.text.is_char_boundary(span.start) && note.text.is_char_boundary(end));
                kinds.insert(span.kind);
            }
            assert!(end <= note.text.len());
            if note.element == "DocumentReference.content.attachment.data" {
                *texts.entry(note.text).or_insert(0) += 1;
            }
        }
    }
    assert!(kinds.len() >= 13, "{kinds:?}");
    assert!(texts.len() > 150, "{}", texts.len());
    assert!(texts.values().all(|n| *n == 1), "no two documents are the same");
}

#[test]
fn whatever_identifies_the_patient_stands_in_a_span() {
    let world = World::new(12, 60);
    let all = resources(&world);
    for (number, id) in world.patient_ids().iter().enumerate() {
        let patient = &all[&format!("Patient/{id}")];
        let family = patient["name"][0]["family"].as_str().unwrap();
        let mut secrets: Vec<String> = Vec::new();
        for identifier in patient["identifier"].as_array().unwrap() {
            secrets.push(identifier["value"].as_str().unwrap().to_owned());
        }
        secrets.push(patient["address"][0]["line"][0].as_str().unwrap().to_owned());
        secrets.push(patient["birthDate"].as_str().unwrap().to_owned());
        for contact in patient["telecom"].as_array().unwrap() {
            let value = contact["value"].as_str().unwrap();
            secrets.push(value.get(value.len() - 8..).unwrap().to_owned());
        }
        for note in world.notes(number as u32) {
            let mut masked = note.text.clone().into_bytes();
            for span in &note.spans {
                masked[span.start..span.start + span.len].fill(b'_');
            }
            let masked = String::from_utf8(masked).unwrap();
            for secret in &secrets {
                assert!(!masked.contains(secret.as_str()), "{} {}", note.resource, note.element);
            }
            let told = masked.split(|c: char| !c.is_alphanumeric()).any(|w| w == family);
            assert!(!told, "{} {}", note.resource, note.element);
        }
    }
}

#[test]
fn spans_name_what_they_cover() {
    let world = World::new(13, 30);
    let all = resources(&world);
    for (number, id) in world.patient_ids().iter().enumerate() {
        let patient = &all[&format!("Patient/{id}")];
        let mrn = patient["identifier"][0]["value"].as_str().unwrap();
        for note in world.notes(number as u32) {
            for span in &note.spans {
                let text = &note.text[span.start..span.start + span.len];
                match span.kind {
                    SpanKind::RecordNumber => assert_eq!(text, mrn),
                    SpanKind::Email => assert!(text.contains('@')),
                    SpanKind::Phone => assert!(text.contains("555")),
                    SpanKind::Zip => assert_eq!(text.len(), 5),
                    _ => assert!(!text.trim().is_empty()),
                }
            }
        }
    }
}

#[test]
fn whoever_meets_a_patient_is_at_work() {
    let world = World::new(14, 48);
    let mut shifts: BTreeMap<String, Vec<phial_synth::Shift>> = BTreeMap::new();
    let mut met = 0;
    for patient in 0..48 {
        for meeting in world.meetings(patient) {
            let day = meeting.start.get(..10).unwrap().to_owned();
            let (year, month, date) = (&day[..4], &day[5..7], day[8..].parse::<u32>().unwrap());
            // A shift of the evening before reaches into this day, except at a month's turn.
            let before = format!("{year}-{month}-{:02}", date.saturating_sub(1).max(1));
            let on = [before, day].into_iter().any(|day| {
                let all = shifts.entry(day.clone()).or_insert_with(|| world.shifts(&day).collect());
                all.iter().any(|s| {
                    s.practitioner == meeting.practitioner
                        && s.location == meeting.location
                        && s.start <= meeting.start
                        && meeting.start < s.end
                })
            });
            let first = meeting.start.get(8..10) == Some("01");
            assert!(on || first, "{meeting:?}");
            met += 1;
        }
    }
    assert!(met > 200, "{met}");
}

#[test]
fn staff_who_are_patients_are_linked_by_number_name_birth_and_address() {
    let world = World::new(15, 240);
    let all = gather(world.bundles());
    let mut linked = 0;
    for staff in world.staff() {
        let Some(id) = &staff.patient else { continue };
        let patient = &all[&format!("Patient/{id}")];
        let worker = &all[&format!("Practitioner/{}", staff.practitioner)];
        assert!(patient["meta"]["security"].to_string().contains("\"EMP\""));
        assert_eq!(patient["birthDate"], worker["birthDate"]);
        assert_eq!(patient["address"], worker["address"]);
        assert_eq!(patient["gender"], worker["gender"]);
        let number = |r: &Value| {
            let all = r["identifier"].as_array().unwrap();
            let own = all.iter().find(|i| i["type"]["coding"][0]["code"] == "EI").unwrap();
            own["value"].as_str().unwrap().to_owned()
        };
        assert_eq!(number(patient), staff.employee);
        assert_eq!(number(worker), staff.employee);
        linked += 1;
    }
    assert!((4..=14).contains(&linked), "{linked}");
}

#[test]
fn households_share_an_address_and_mostly_a_name() {
    let world = World::new(16, 240);
    let all = gather(world.bundles());
    let (mut several, mut differing, mut patients) = (0, 0, 0);
    for home in world.households() {
        for id in &home.patients {
            let patient = &all[&format!("Patient/{id}")];
            assert_eq!(patient["address"][0]["line"][0], home.street.as_str());
            patients += 1;
        }
        let names: BTreeSet<&String> = home.families.iter().collect();
        several += usize::from(home.patients.len() > 1);
        differing += usize::from(names.len() > 1);
    }
    assert_eq!(patients, 240);
    assert!(several > 40 && differing > 8 && differing < several, "{several} {differing}");
}

#[test]
fn charts_make_sense_to_a_clinician() {
    let all = resources(&World::new(17, 180));
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let mut ages = [0; 4];
    for patient in of(&all, "Patient") {
        let id = format!("Patient/{}", text(&patient["id"]));
        let (birth, died) = (text(&patient["birthDate"]), text(&patient["deceasedDateTime"]));
        let age = 2026 - birth[..4].parse::<i32>().unwrap();
        ages[(age / 25).clamp(0, 3) as usize] += 1;
        for (name, r) in &all {
            if [&r["subject"], &r["patient"]].iter().all(|s| s["reference"] != id.as_str()) {
                continue;
            }
            let at = match r["resourceType"].as_str().unwrap() {
                "Encounter" => text(&r["period"]["start"]),
                "Observation" | "DiagnosticReport" => text(&r["effectiveDateTime"]),
                "MedicationRequest" => {
                    assert!(r["reasonReference"][0]["reference"].is_string(), "{name}: no reason");
                    text(&r["authoredOn"])
                }
                "Condition" => {
                    let code = &r["code"]["coding"][0]["code"];
                    let women = ["72892002", "19169002", "64859006", "254837009", "6738008"];
                    assert!(
                        patient["gender"] == "female" || !women.iter().any(|w| code == *w),
                        "{name}: not a man's"
                    );
                    assert!(text(&r["onsetDateTime"]) >= birth, "{name}: before birth");
                    continue;
                }
                _ => continue,
            };
            assert!(at.get(..10).unwrap() >= birth.as_str(), "{name}: before birth");
            assert!(died.is_empty() || at.get(..10) <= died.get(..10), "{name}: after death");
        }
    }
    assert!(ages.iter().zip([30, 30, 30, 8]).all(|(n, least)| *n >= least), "{ages:?}");
}
