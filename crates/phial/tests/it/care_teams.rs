//! A care team ties its participants to its patient while the team and the participant's
//! part in it last, by each of the ways to ask.

use phial_base::{Clock as _, SystemClock};
use phial_testkit::fixture::{self, BY_TEAM, FIELD_PRACTITIONER, OTHER_PRACTITIONER, UNTIED, id};
use phial_testkit::world::{Server, World};
use serde_json::{Value, json};

use crate::clinic::{clinic, findings};

fn member(reference: &str, period: &Value) -> Value {
    let mut p = json!({"member": {"reference": reference}});
    if !period.is_null() {
        p["period"] = period.clone();
    }
    p
}

fn field(period: &Value) -> Value {
    member(&format!("Practitioner/{FIELD_PRACTITIONER}"), period)
}

fn other(period: &Value) -> Value {
    member(&format!("Practitioner/{OTHER_PRACTITIONER}"), period)
}

fn team(status: &str, period: &Value, participants: &[Value]) -> Value {
    let mut t = json!({"resourceType": "CareTeam", "id": "ct", "participant": participants,
        "subject": {"reference": format!("Patient/{}", UNTIED.id)}});
    if !status.is_empty() {
        t["status"] = json!(status);
    }
    if !period.is_null() {
        t["period"] = period.clone();
    }
    t
}

/// Whether the field clinician is tied by it: the same in a read, of what is labelled too,
/// in a search, in a count and in an explanation.
#[track_caller]
fn ties(server: &Server, team: &Value) -> bool {
    let done = server.put("import-client", team);
    assert!([200, 201].contains(&done.status), "{}", done.text());
    let role = "field-clinician";
    let read = server.get(role, &format!("Condition/{}", id("cond", UNTIED, 0))).status == 200;
    let labelled = server.get(role, &format!("Condition/{}", id("cond", UNTIED, 2))).status == 200;
    let patient = format!("patient=Patient/{}&_count=100", UNTIED.id);
    let found = server.search(role, "Condition", &patient).expect(200).ids("match").len();
    let counted = server.count(role, "Patient", &format!("_id={}", UNTIED.id)) == 1;
    let all = if read { fixture::CONDITIONS + 1 } else { 0 };
    assert_eq!((labelled, found, counted), (read, all, read), "{team}");
    read
}

fn is_sound(world: &World) {
    assert_eq!(findings(world, world.home(), &[]), Vec::<String>::new());
    assert_eq!(world.ok(&["index", "check"])["findings"], json!([]));
}

#[test]
fn a_participants_period_ends_the_tie_and_begins_it() {
    let world = clinic();
    let server = world.serve();
    let now = SystemClock.now();
    let year: i16 = now.strftime("%Y").to_string().parse().unwrap();
    let month = now.strftime("%Y-%m").to_string();
    let at = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).to_string();
    let none = Value::Null;
    let beside = other(&none);
    let rows = [
        (none.clone(), true, "it says nothing"),
        (json!({"end": "2020-01-01"}), false, "it is over"),
        (json!({"start": "2020-01-01", "end": "2020-02-01"}), false, "it was"),
        (json!({"start": "2090-01-01"}), false, "it is to come"),
        (json!({"start": "2020-01-01"}), true, "it goes on"),
        (json!({"end": "2090-01-01"}), true, "it will end"),
        (json!({"start": "2020-01-01", "end": "2090"}), true, "it is now"),
        (json!({"start": at(-1), "end": at(1)}), true, "now, by the second"),
        (json!({"start": at(1)}), false, "in an hour"),
        (json!({"end": at(-1)}), false, "until an hour ago"),
        // A date lasts as long as it says: to the end of the year, of the month.
        (json!({"end": year.to_string()}), true, "this year"),
        (json!({"start": year.to_string(), "end": year.to_string()}), true, "within this year"),
        (json!({"end": (year - 1).to_string()}), false, "last year"),
        (json!({"start": (year + 1).to_string()}), false, "next year"),
        (json!({"start": month, "end": month}), true, "this month"),
        // What is no time is none.
        (json!({"extension": [{"url": "urn:x", "valueString": "y"}]}), true, "no limit"),
    ];
    for (period, expected, what) in rows {
        let team = team("active", &none, &[beside.clone(), field(&period)]);
        assert_eq!(ties(&server, &team), expected, "{what}: {period}");
    }
    // Another's period is not his.
    let over = json!({"end": "2020-01-01"});
    assert!(ties(&server, &team("active", &none, &[other(&over), field(&none)])));
    assert!(!ties(&server, &team("active", &none, &[other(&none), field(&over)])));
    // One who came back.
    let back = [field(&over), field(&json!({"start": "2021-01-01"}))];
    assert!(ties(&server, &team("active", &none, &back)));
    let gone = [field(&over), field(&json!({"start": "2090-01-01"}))];
    assert!(!ties(&server, &team("active", &none, &gone)));
    // One whose team it never was is not tied by somebody's period.
    assert!(!ties(&server, &team("active", &none, &[other(&json!({"start": "2020"}))])));
    let _ = server.stop();
    is_sound(&world);
}

#[test]
fn a_team_ties_within_its_own_period_and_while_it_is_at_work() {
    let world = clinic();
    let server = world.serve();
    let none = Value::Null;
    let (over, on) = (json!({"end": "2020-01-01"}), json!({"start": "2020-01-01"}));
    let later = json!({"start": "2090-01-01"});
    for (status, period, own, expected) in [
        ("active", &none, &none, true),
        ("", &none, &none, true),
        ("proposed", &none, &none, false),
        ("suspended", &none, &none, false),
        ("inactive", &none, &none, false),
        ("entered-in-error", &none, &none, false),
        ("active", &over, &none, false),
        ("active", &later, &none, false),
        ("active", &on, &none, true),
        // Both must hold: a part in a team does not outlive it.
        ("active", &over, &on, false),
        ("active", &over, &later, false),
        ("active", &on, &over, false),
        ("active", &on, &on, true),
        ("suspended", &on, &on, false),
    ] {
        let team = team(status, period, &[field(own)]);
        assert_eq!(ties(&server, &team), expected, "{team}");
    }
    // Others' teams are as they were.
    let path = format!("Condition/{}", id("cond", BY_TEAM, 0));
    assert_eq!(server.get("field-clinician", &path).status, 200);
    let _ = server.stop();
    is_sound(&world);
}

#[test]
fn a_role_that_takes_part_for_a_time_ties_whoever_has_it() {
    let world = clinic();
    let server = world.serve();
    let role = json!({"resourceType": "PractitionerRole", "id": "pr", "active": true,
        "practitioner": {"reference": format!("Practitioner/{FIELD_PRACTITIONER}")}});
    let _ = server.put("import-client", &role).expect(201);
    let none = Value::Null;
    let of = |period: Value| team("active", &none, &[member("PractitionerRole/pr", &period)]);
    assert!(ties(&server, &of(json!({"start": "2020-01-01"}))));
    assert!(!ties(&server, &of(json!({"end": "2020-01-01"}))));
    // As himself he is over, by his role he is not.
    let over = json!({"end": "2020-01-01"});
    let both = [field(&over), member("PractitionerRole/pr", &json!({"start": "2020-01-01"}))];
    assert!(ties(&server, &team("active", &none, &both)));
    let _ = server.stop();
    let explained = world.ok(&[
        "policy",
        "explain",
        "fiona",
        &format!("Condition/{}", id("cond", UNTIED, 0)),
        "--as",
        "petra",
    ]);
    assert_eq!(explained["relationships"], json!(["CareTeam"]));
}
