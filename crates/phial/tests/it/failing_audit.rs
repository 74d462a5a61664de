//! The audit store fails under a running server: everything answers 503, nothing is
//! released, nothing is stored, and service resumes by itself (invariant 7).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use phial_testkit::fixture::{self, BY_TEAM};
use phial_testkit::world::{Answer, Server, send};
use serde_json::json;

use crate::clinic::{clinic, findings};

/// One of each kind of request, writes under fresh ids.
fn everything(server: &Server) -> Vec<Answer> {
    let p = BY_TEAM;
    let mut o = fixture::observation(p, 2);
    o["valueQuantity"]["value"] = json!(666);
    let mut new = fixture::observation(p, 3);
    new.as_object_mut().unwrap().remove("id");
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": format!("Patient/{}", p.id)}}]});
    vec![
        server.get("physician", &format!("Patient/{}", p.id)),
        server.get("physician", &format!("Patient/{}/_history/1", p.id)),
        server.get("physician", "Patient/absent"),
        server.get("field-clinician", &format!("Patient/{}", fixture::UNTIED.id)),
        server.search("physician", "Observation", &format!("patient={}", p.id)),
        server.search("physician", "Observation", "_summary=count"),
        server.get("front-desk", "Condition?code=44054006"),
        server.put("physician", &o),
        server.post("physician", "Observation", &new),
        server.delete("physician", &format!("Observation/{}", fixture::id("obs", p, 4))),
        server.post("physician", "", &batch),
        send(server.client().get(format!("{}/Patient", server.base()))),
    ]
}

fn all_refused(server: &Server) {
    ready(server, 503);
    for a in everything(server) {
        assert_eq!(a.status, 503, "{}", a.text());
        assert_eq!(a.header("retry-after"), "1");
        silent(&a);
    }
}

/// Waits until `/readyz` says this; it believes its last look for a moment.
fn ready(server: &Server, status: u16) {
    let root = server.base().strip_suffix("/fhir").unwrap();
    let begun = Instant::now();
    while send(server.client().get(format!("{root}/readyz"))).status != status {
        assert!(begun.elapsed() < Duration::from_secs(60), "/readyz is not {status}");
    }
    assert_eq!(send(server.client().get(format!("{root}/healthz"))).status, 200);
}

/// Nothing of a record is in an answer.
fn silent(a: &Answer) {
    assert!(!a.text().contains(BY_TEAM.family) && !a.text().contains(BY_TEAM.id));
}

/// Asks until it is served again; how soon that is the server decides.
fn resumes(server: &Server) {
    let begun = Instant::now();
    loop {
        let a = server.get("physician", &format!("Patient/{}", BY_TEAM.id));
        if a.status == 200 {
            return ready(server, 200);
        }
        assert_eq!(a.status, 503, "{}", a.text());
        assert!(begun.elapsed() < Duration::from_secs(60), "service did not resume");
    }
}

/// Nothing of what was refused was stored.
fn nothing_stored(server: &Server) {
    let p = BY_TEAM;
    let query = format!("patient={}", p.id);
    assert_eq!(server.count("physician", "Observation", &query), fixture::OBSERVATIONS as u64);
    for n in [2, 4] {
        let path = format!("Observation/{}", fixture::id("obs", p, n));
        let read = server.get("physician", &path).expect(200);
        assert_eq!(read.json()["meta"]["versionId"], "1");
    }
}

const FILES: [&str; 3] = ["audit.db", "audit.db-wal", "audit.db-shm"];

fn moved(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in FILES {
        if from.join(name).exists() {
            fs::rename(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[test]
fn an_audit_log_that_was_removed_stops_everything_until_it_is_back() {
    let world = clinic();
    let server = world.serve();
    let _ = server.get("physician", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    let (log, away) = (world.home().join("audit/default"), world.dir().join("away"));
    moved(&log, &away);
    all_refused(&server);
    all_refused(&server);
    for name in FILES {
        let _ = fs::remove_file(log.join(name));
    }
    moved(&away, &log);
    resumes(&server);
    nothing_stored(&server);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn an_audit_log_replaced_by_another_is_not_taken_for_it() {
    let world = clinic();
    let server = world.serve();
    let (log, away) = (world.home().join("audit/default"), world.dir().join("away"));
    moved(&log, &away);
    fs::write(log.join("audit.db"), b"not a database at all".repeat(500)).unwrap();
    all_refused(&server);
    fs::remove_file(log.join("audit.db")).unwrap();
    moved(&away, &log);
    resumes(&server);
    nothing_stored(&server);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

/// A small file system over a directory, until it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where mounting is not permitted.
    fn over(dir: &Path, bytes: &str) -> Option<Small> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"])
            .arg(dir)
            .output()
            .ok()?;
        mounted.status.success().then(|| Small(dir.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Fills the file system that holds `file` to its last byte.
fn fill(file: &Path) {
    let mut out = fs::File::options().create(true).append(true).open(file).unwrap();
    for size in [1 << 16, 4096, 512, 64, 1] {
        let chunk = vec![0u8; size];
        while out.write(&chunk).is_ok_and(|n| n > 0) {}
    }
}

#[test]
fn a_full_file_system_under_the_audit_log_stops_everything_until_there_is_room() {
    let world = clinic();
    let audit = world.home().join("audit");
    let aside = world.dir().join("audit-aside");
    phial_testkit::world::copy_dir(&audit, &aside);
    let Some(small) = Small::over(&audit, "8m") else {
        eprintln!("skipped: mounting a file system is not permitted here");
        return;
    };
    phial_testkit::world::copy_dir(&aside, &audit);
    let server = world.serve();
    let _ = server.get("physician", &format!("Patient/{}", BY_TEAM.id)).expect(200);
    let filler = audit.join("filler");
    fill(&filler);
    // The log may have some room left in files that it has already; then none.
    let path = format!("Patient/{}", BY_TEAM.id);
    let served = (0..20_000).take_while(|_| server.get("physician", &path).status == 200).count();
    assert!(served < 20_000, "a full disk was never noticed");
    fill(&filler);
    all_refused(&server);
    fs::remove_file(&filler).unwrap();
    resumes(&server);
    nothing_stored(&server);
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
    drop(small);
}
