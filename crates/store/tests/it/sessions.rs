//! Bearer tokens: limits, withdrawal across processes, and what the file shows.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use phial_base::{Clock, Purpose, SubjectId};
use phial_store::Error;
use phial_store::sessions::{NewSession, Sessions};

use crate::auditlog_world::World;

fn new_session(w: &World, user: &str) -> NewSession {
    NewSession {
        tenant: w.tenant.clone(),
        user: SubjectId::new(user).unwrap(),
        purpose: Purpose::TREAT,
        mfa: 0,
        login: None,
        idle: SignedDuration::from_mins(15),
        absolute: SignedDuration::from_hours(8),
    }
}

fn open(w: &World) -> Sessions {
    Sessions::create(&w.home, Arc::clone(&w.keystore), Arc::clone(&w.rng), &w.options).unwrap()
}

fn minutes(from: Timestamp, m: i64) -> Timestamp {
    from + SignedDuration::from_mins(m)
}

#[test]
fn a_token_stands_for_its_session() {
    let w = World::new();
    let s = open(&w);
    let now = w.clock.now();
    let issued = s.issue(&new_session(&w, "dr.ana"), now).unwrap();
    assert!(issued.token.starts_with("phial_") && issued.token.len() == 49);
    let row = s.lookup(&issued.token, now).unwrap().unwrap();
    assert_eq!((row.user.as_str(), row.purpose), ("dr.ana", Purpose::TREAT));
    assert_eq!(row.handle, issued.handle);
    for bad in ["", "phial_", &issued.token[..48], &issued.token.replace("phial_", "Phial_")] {
        assert_eq!(s.lookup(bad, now).unwrap(), None);
    }
    let mut other = issued.token.to_string();
    let last = if other.ends_with('A') { 'B' } else { 'A' };
    other.pop();
    other.push(last);
    assert_eq!(s.lookup(&other, now).unwrap(), None);
}

#[test]
fn an_idle_session_ends_and_use_keeps_it() {
    let w = World::new();
    let s = open(&w);
    let now = w.clock.now();
    let (used, unused) = (
        s.issue(&new_session(&w, "a"), now).unwrap(),
        s.issue(&new_session(&w, "b"), now).unwrap(),
    );
    for m in [10, 20, 29] {
        assert!(s.lookup(&used.token, minutes(now, m)).unwrap().is_some(), "{m}");
    }
    assert!(s.lookup(&unused.token, minutes(now, 15)).unwrap().is_none());
    // Also in a process that starts later.
    assert!(open(&w).lookup(&unused.token, minutes(now, 15)).unwrap().is_none());
    assert!(open(&w).lookup(&used.token, minutes(now, 43)).unwrap().is_some());
}

#[test]
fn a_session_ends_however_much_it_is_used() {
    let w = World::new();
    let s = open(&w);
    let now = w.clock.now();
    let issued = s.issue(&new_session(&w, "a"), now).unwrap();
    for m in (0..480).step_by(10) {
        assert!(s.lookup(&issued.token, minutes(now, m)).unwrap().is_some(), "{m}");
    }
    assert!(s.lookup(&issued.token, minutes(now, 480)).unwrap().is_none());
}

#[test]
fn a_withdrawal_elsewhere_holds_at_once() {
    let w = World::new();
    let (server, tool) = (open(&w), open(&w));
    let now = w.clock.now();
    let a = tool.issue(&new_session(&w, "a"), now).unwrap();
    let b = tool.issue(&new_session(&w, "b"), now).unwrap();
    let b2 = server.issue(&new_session(&w, "b"), now).unwrap();
    // More than once, so that what is remembered is what is asked.
    for t in [&a, &b, &b2, &a, &b, &b2, &a, &b, &b2] {
        assert!(server.lookup(&t.token, now).unwrap().is_some());
    }
    assert!(tool.revoke(&w.tenant, &a.handle, now).unwrap());
    assert!(!tool.revoke(&w.tenant, &a.handle, now).unwrap());
    assert!(server.lookup(&a.token, now).unwrap().is_none());
    assert!(server.lookup(&b.token, now).unwrap().is_some());
    assert_eq!(tool.revoke_user(&w.tenant, &SubjectId::new("b").unwrap(), now).unwrap(), 2);
    assert!(server.lookup(&b.token, now).unwrap().is_none());
    assert!(server.lookup(&b2.token, now).unwrap().is_none());
}

#[test]
fn each_of_many_withdrawals_holds_at_the_very_next_look() {
    let w = World::new();
    let (server, tool) = (open(&w), open(&w));
    let now = w.clock.now();
    let kept = tool.issue(&new_session(&w, "kept"), now).unwrap();
    for n in 0..100 {
        let t = tool.issue(&new_session(&w, "a"), now).unwrap();
        for _ in 0..3 {
            assert!(server.lookup(&t.token, now).unwrap().is_some());
            assert!(server.lookup(&kept.token, now).unwrap().is_some());
        }
        if n % 7 == 0 {
            // A write-back of the log between them changes nothing.
            let db = rusqlite::Connection::open(w.home.sessions()).unwrap();
            let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0));
        }
        assert!(tool.revoke(&w.tenant, &t.handle, now).unwrap());
        assert!(server.lookup(&t.token, now).unwrap().is_none(), "{n}");
    }
    assert!(server.lookup(&kept.token, now).unwrap().is_some());
}

#[test]
fn the_list_shows_and_the_purge_removes() {
    let w = World::new();
    let s = open(&w);
    let now = w.clock.now();
    s.issue(&new_session(&w, "a"), now).unwrap();
    s.issue(&new_session(&w, "b"), minutes(now, 10)).unwrap();
    let users: Vec<String> =
        s.list(&w.tenant).unwrap().into_iter().map(|r| r.user.as_str().to_owned()).collect();
    assert_eq!(users, ["a", "b"]);
    assert_eq!(s.purge(minutes(now, 20)).unwrap(), 1);
    assert_eq!(s.list(&w.tenant).unwrap().len(), 1);
}

#[test]
fn limits_must_be_positive() {
    let w = World::new();
    let mut n = new_session(&w, "a");
    n.idle = SignedDuration::ZERO;
    assert!(matches!(open(&w).issue(&n, w.clock.now()), Err(Error::Invalid(_))));
}

#[test]
fn neither_token_nor_holder_is_in_the_file() {
    let w = World::new();
    let s = open(&w);
    let issued = s.issue(&new_session(&w, "dr.quintanilla"), w.clock.now()).unwrap();
    let scanner = phial_testkit::canary::Scanner::new(&[
        issued.token.as_str(),
        &issued.token[6..],
        "dr.quintanilla",
    ])
    .unwrap();
    let report = scanner.scan(&[w.dir.path()]).unwrap();
    assert!(report.is_clean(), "{report}");
    drop(s);
    let report = scanner.scan(&[w.dir.path()]).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_session_moved_to_another_row_does_not_open() {
    let w = World::new();
    let s = open(&w);
    let now = w.clock.now();
    let a = s.issue(&new_session(&w, "admin"), now).unwrap();
    let b = s.issue(&new_session(&w, "guest"), now).unwrap();
    drop(s);
    w.tamper(
        &w.home.sessions(),
        &format!(
            "UPDATE session SET sealed = (SELECT sealed FROM session WHERE hex(handle) = upper('{}'))
             WHERE hex(handle) = upper('{}')",
            a.handle, b.handle
        ),
    );
    assert!(open(&w).lookup(&b.token, now).is_err());
}

#[test]
fn without_the_store_no_session_is_good() {
    let w = World::new();
    let s = open(&w);
    let now = w.clock.now();
    let issued = s.issue(&new_session(&w, "a"), now).unwrap();
    assert!(s.lookup(&issued.token, now).unwrap().is_some());
    assert!(s.lookup(&issued.token, now).unwrap().is_some());
    let (path, aside) = (w.home.sessions(), w.home.sessions().with_extension("aside"));
    std::fs::rename(&path, &aside).unwrap();
    assert!(matches!(s.lookup(&issued.token, now), Err(Error::Unavailable(_))));
    std::fs::rename(&aside, &path).unwrap();
    assert!(s.lookup(&issued.token, now).unwrap().is_some());
}
