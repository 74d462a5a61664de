//! `phial demo`: each command of its tour does what the tour says of it.

use std::process::{Command, Stdio};

use phial_testkit::world::Running;
use serde_json::Value;

use crate::clinic::PHIAL;

struct Step {
    what: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Step {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}: {}", self.what, self.err);
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("{}: {e}: {}", self.what, self.out))
    }
}

fn entries(bundle: &Value) -> Vec<&Value> {
    bundle["entry"].as_array().into_iter().flatten().map(|e| &e["resource"]).collect()
}

#[test]
fn every_command_of_the_tour_does_what_it_says() {
    let has_curl = Command::new("curl").arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(has_curl, "the tour uses curl: `cargo xtask test` installs it");
    let scratch = tempfile::tempdir().unwrap();
    let mut demo = Command::new(PHIAL);
    demo.args(["--json", "demo", "--listen", "127.0.0.1:0", "--patients", "20"])
        .env("TMPDIR", scratch.path());
    let demo = Running::start(demo);
    let Some(line) = demo.line() else { panic!("the demo did not start: {:?}", demo.wait()) };
    let told: Value = serde_json::from_str(&line).unwrap();
    assert!(told["stored"].as_u64().unwrap() > 20 * 10, "{}", told["stored"]);
    let ran: Vec<Step> = told["tour"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let output = Command::new("sh")
                .args(["-c", step["command"].as_str().unwrap()])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            Step {
                what: step["what"].as_str().unwrap().to_owned(),
                code: output.status.code(),
                out: String::from_utf8_lossy(&output.stdout).into_owned(),
                err: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
        .collect();
    let [physician, billing, desk, refused, booked, url, posted, tail, verified, bend, named] =
        ran.as_slice()
    else {
        panic!("the tour has {} steps; this test knows eleven", ran.len());
    };

    let whole = physician.json();
    assert!(!entries(&whole).is_empty(), "the first patient has conditions");
    assert!(entries(&whole).iter().any(|c| c["note"][0]["text"].is_string()), "with notes");
    let part = billing.json();
    assert_eq!(entries(&part).len(), entries(&whole).len());
    for (c, of) in entries(&part).iter().zip(entries(&whole)) {
        assert_eq!(c["code"], of["code"]);
        assert!(c["code"]["coding"][0]["code"].is_string() && c.get("note").is_none(), "{c}");
    }
    let none = desk.json();
    assert_eq!(none["total"], 0, "{none}");
    assert!(entries(&none).is_empty());
    assert_eq!(refused.json()["issue"][0]["code"], "forbidden");
    let booked = booked.json();
    assert!(!entries(&booked).is_empty());
    assert!(entries(&booked).iter().all(|a| a["resourceType"] == "Appointment"));
    let url = url.json();
    assert_eq!(url["resourceType"], "OperationOutcome");
    assert!(url["issue"][0]["diagnostics"].as_str().unwrap().contains("_search"));
    assert_eq!(entries(&posted.json()).len(), 1);
    assert_eq!(tail.code, Some(0), "{}", tail.err);
    let lines: Vec<&str> = tail.out.trim_end().lines().collect();
    assert_eq!(lines.len(), 8, "{}", tail.out);
    assert!(lines.iter().any(|l| l.contains("user=demo-billing")), "{}", tail.out);
    assert!(lines.iter().any(|l| l.contains("denied")), "{}", tail.out);
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    assert!(verified.out.contains("verified"));
    assert_eq!(bend.code, Some(0), "{}", bend.err);
    assert_eq!(named.code, Some(1), "{}", named.out);
    assert!(named.out.contains("FINDING"), "{}", named.out);

    let ended = demo.stop().expect(0);
    assert!(ended.err.is_empty(), "{}", ended.err);
    let home = std::path::Path::new(told["home"].as_str().unwrap());
    assert!(!home.exists(), "the demo leaves nothing behind");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
