//! The clinic that most tests begin with: made once, copied for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use phial_testkit::world::{Answer, World};
use serde_json::Value;

/// The program under test.
pub(crate) const PHIAL: &str = env!("CARGO_BIN_EXE_phial");

/// Its tokens end after 15 minutes without use: before that it is made anew.
const GOOD_FOR: Duration = Duration::from_secs(8 * 60);

/// A home with the fixture's records and an account per role.
pub(crate) fn clinic() -> World {
    static ONE: Mutex<Option<(Instant, Arc<World>)>> = Mutex::new(None);
    let mut one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = one.take().filter(|(made, _)| made.elapsed() < GOOD_FOR);
    let (made, world) =
        kept.unwrap_or_else(|| (Instant::now(), Arc::new(World::peopled(PHIAL, &place()))));
    *one = Some((made, Arc::clone(&world)));
    drop(one);
    World::copy_of(&world)
}

/// Where the clinic lies that is copied. It lives as long as the process, which nothing
/// outlives to remove it: the next one does.
fn place() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(all).unwrap().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix("clinic-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let mine = all.join(format!("clinic-{}", std::process::id()));
    fs::create_dir_all(&mine).unwrap();
    mine
}

/// An answer without what differs between any two requests: its number, its date,
/// and the paging tokens, which are sealed with a fresh nonce.
pub(crate) fn face(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    headers.sort();
    (answer.status, headers, answer.text())
}

/// The codes of an OperationOutcome's issues, its paths and its words.
pub(crate) fn outcome(answer: &Answer) -> Vec<(String, String, String)> {
    let json = answer.json();
    assert_eq!(json["resourceType"], "OperationOutcome", "{}", answer.text());
    json["issue"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| {
            let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
            (text(&i["code"]), text(&i["expression"][0]), text(&i["diagnostics"]))
        })
        .collect()
}

/// What `phial verify` finds; empty when it is clean.
pub(crate) fn findings(world: &World, home: &Path, args: &[&str]) -> Vec<String> {
    let mut all = vec!["verify"];
    all.extend(args);
    let ran = world.run_in(home, &all);
    let json: Value = ran.json();
    match json["findings"].as_array() {
        Some(found) => {
            let found: Vec<String> = found.iter().map(|f| f.as_str().unwrap().to_owned()).collect();
            assert_eq!(ran.code, Some(i32::from(!found.is_empty())), "{}", ran.out);
            found
        }
        None => {
            // The stores can't even be opened: that is said, too.
            assert_eq!(ran.code, Some(1), "{}", ran.out);
            vec![json["error"].to_string()]
        }
    }
}

/// A little time for what goes on by itself, between two looks at it.
pub(crate) fn pause() {
    std::thread::park_timeout(std::time::Duration::from_millis(50));
}
