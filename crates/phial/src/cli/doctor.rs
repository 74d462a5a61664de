//! `phial doctor`: is this home, and the machine that it lies on, kept as it should be?
//!
//! It looks and writes nothing: beside a running server, at a stopped home, and at a
//! broken one. Every check says which clause it serves, what was seen and what to do.
//! What can't be learnt is "unknown" and never "ok". No value of a record is near.

mod audit;
mod config;
mod files;
mod keys;
mod people;
mod subscriptions;
mod system;
mod tls;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use phial_base::{Clock, Rng, SystemClock, SystemRng};
use phial_store::home::Home;
use phial_store::open::Options;

use super::out::Out;
use crate::app::open_keystore;
use crate::config::Config;

/// Check configuration, file modes, keys, clock, disks, memory, certificate, audit log,
/// index, sessions, second factors and overdue reviews. Works beside a running server, and writes nothing. Exit code 0
/// when nothing fails (warnings and unknowns included), 1 when something does.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Only checks whose id begins with this: `tls`, `audit.checkpoint`...
    #[arg(long, value_name = "ID")]
    only: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    Ok,
    Unknown,
    Warning,
    Failure,
}

impl Finding {
    fn name(self) -> &'static str {
        match self {
            Finding::Ok => "ok",
            Finding::Unknown => "unknown",
            Finding::Warning => "warning",
            Finding::Failure => "failure",
        }
    }

    /// Green, blue, yellow, red.
    fn colour(self) -> &'static str {
        match self {
            Finding::Ok => "\x1b[32m",
            Finding::Unknown => "\x1b[34m",
            Finding::Warning => "\x1b[33m",
            Finding::Failure => "\x1b[31m",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// Its name: area and what.
    id: &'static str,
    /// The clause of 45 CFR Part 164 that it serves, without "164.".
    clause: &'static str,
    finding: Finding,
    /// What was seen.
    seen: String,
    /// What to do; empty when nothing is.
    todo: String,
}

/// The name and clause of a check, waiting for what is seen.
#[derive(Clone, Copy)]
pub(super) struct Asked(&'static str, &'static str);

impl Asked {
    fn ok(self, seen: impl Into<String>) -> Check {
        self.with(Finding::Ok, seen, "")
    }

    fn unknown(self, seen: impl Into<String>, todo: impl Into<String>) -> Check {
        self.with(Finding::Unknown, seen, todo)
    }

    fn warning(self, seen: impl Into<String>, todo: impl Into<String>) -> Check {
        self.with(Finding::Warning, seen, todo)
    }

    fn failure(self, seen: impl Into<String>, todo: impl Into<String>) -> Check {
        self.with(Finding::Failure, seen, todo)
    }

    fn with(self, finding: Finding, seen: impl Into<String>, todo: impl Into<String>) -> Check {
        Check { id: self.0, clause: self.1, finding, seen: seen.into(), todo: todo.into() }
    }
}

pub(super) fn run(home: &Path, args: &DoctorArgs, out: &Out) -> anyhow::Result<ExitCode> {
    let home = Home::open(home)?;
    let mut checks = all(&home, SystemClock.now());
    if let Some(only) = &args.only {
        checks.retain(|c| c.id.starts_with(only.as_str()));
        anyhow::ensure!(!checks.is_empty(), "no check's id begins with {only}");
    }
    let worst = checks.iter().map(|c| c.finding).max().unwrap_or(Finding::Ok);
    let value: Vec<_> = checks
        .iter()
        .map(|c| {
            serde_json::json!({ "id": c.id, "clause": format!("164.{}", c.clause),
                "finding": c.finding.name(), "seen": c.seen, "todo": c.todo })
        })
        .collect();
    let text = table(&checks, std::io::stdout().is_terminal());
    out.result(&text, &serde_json::json!({ "worst": worst.name(), "checks": value }));
    Ok(ExitCode::from(u8::from(worst == Finding::Failure)))
}

/// Every check, in the order in which they are shown.
fn all(home: &Home, now: Timestamp) -> Vec<Check> {
    let read = Config::read(&home.config());
    let mut checks = config::checks(home, &read);
    // With an unusable file the rest is looked at as the defaults would have it.
    let config = read.unwrap_or_default();
    checks.extend(files::checks(home, &config));
    checks.extend(keys::root(home, &config, now));
    checks.extend(tls::checks(home, &config, now));
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
    let options = Options::default();
    let keystore = open_keystore(home, &config, &rng, &options);
    checks.extend(keys::tenants(home, keystore.as_ref(), now, &options));
    checks.extend(audit::checks(home, keystore.as_ref(), now, &options));
    checks.extend(subscriptions::checks(home, keystore.as_ref(), &options));
    checks.extend(people::checks(home, keystore.as_ref(), &config, &rng, now, &options));
    checks.extend(system::checks(home, &config, now, &system::Places::real()));
    checks
}

/// The longest line of a table.
const WIDTH: usize = 100;

fn table(checks: &[Check], coloured: bool) -> String {
    let width = checks.iter().map(|c| c.id.len()).max().unwrap_or(0);
    let clauses = checks.iter().map(|c| c.clause.len() + 4).max().unwrap_or(0);
    let indent = " ".repeat(9 + width + 2 + clauses + 2);
    let mut text = String::new();
    for c in checks {
        let (on, off) = if coloured { (c.finding.colour(), "\x1b[0m") } else { ("", "") };
        let name = c.finding.name();
        let clause = format!("164.{}", c.clause);
        text.push_str(&format!("{on}{name:<9}{off}{:<width$}  {clause:<clauses$}  ", c.id));
        text.push_str(&wrapped(&c.seen, &indent));
        if !c.todo.is_empty() {
            text.push_str(&format!("\n{indent}"));
            text.push_str(&wrapped(&format!("to do: {}", c.todo), &indent));
        }
        text.push('\n');
    }
    let count = |f: Finding| checks.iter().filter(|c| c.finding == f).count();
    text.push_str(&format!(
        "\n{} failures, {} warnings, {} unknown, {} ok",
        count(Finding::Failure),
        count(Finding::Warning),
        count(Finding::Unknown),
        count(Finding::Ok)
    ));
    text
}

/// The text in lines that fit beside the indentation.
fn wrapped(text: &str, indent: &str) -> String {
    let room = WIDTH.saturating_sub(indent.len()).max(40);
    let mut out = String::new();
    let mut line = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if line > 0 && line + 1 + length > room {
            out.push_str(&format!("\n{indent}"));
            line = 0;
        } else if line > 0 {
            out.push(' ');
            line += 1;
        }
        out.push_str(word);
        line += length;
    }
    out
}

/// A number of days and hours, for people.
fn age(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, _) => format!("{h} h"),
        (d, _, _) => format!("{d} days"),
    }
}

fn days(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs() / 86_400
}

/// An error and its causes, in one line.
fn causes(e: &anyhow::Error) -> String {
    format!("{e:#}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::app::App;

    /// A fresh home in a directory that goes with it.
    pub(crate) fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("phial");
        App::init(&root).unwrap();
        let home = Home::open(&root).unwrap();
        (dir, home)
    }

    /// The check of this name.
    pub(crate) fn of(checks: &[Check], id: &str) -> (Finding, String) {
        let c = checks.iter().find(|c| c.id == id).unwrap_or_else(|| panic!("no check {id}"));
        assert_eq!(c.finding == Finding::Ok, c.todo.is_empty(), "{c:?}");
        assert!(c.clause.starts_with('3'), "{c:?}");
        (c.finding, c.seen.clone())
    }

    #[test]
    fn a_new_home_has_no_failure() {
        let (_dir, home) = home();
        let checks = all(&home, SystemClock.now());
        let failures: Vec<&Check> = checks
            .iter()
            // The machine that the tests run on is what it is.
            .filter(|c| !["clock", "disk", "memory", "process"].iter().any(|a| c.id.starts_with(a)))
            .filter(|c| c.finding == Finding::Failure)
            .collect();
        assert!(failures.is_empty(), "{failures:#?}");
        assert!(checks.len() > 20, "{}", checks.len());
        let mut ids: Vec<_> = checks.iter().map(|c| c.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), checks.len());
    }

    #[test]
    fn the_table_is_aligned_and_without_colour_for_files() {
        let checks = [
            Asked("a.long-name", "312(b)").ok("fine"),
            Asked("b", "312(a)(2)(iv)").failure("broken ".repeat(20), "mend it"),
        ];
        let text = table(&checks, false);
        assert!(!text.contains('\x1b'));
        assert!(text.lines().all(|l| l.len() <= WIDTH), "{text}");
        assert!(text.contains("to do: mend it"), "{text}");
        assert!(text.ends_with("1 failures, 0 warnings, 0 unknown, 1 ok"));
        assert!(table(&checks, true).contains("\x1b[31mfailure"));
    }

    #[test]
    fn ages_are_in_the_unit_that_says_most() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        for (seconds, text) in [(5, "5 s"), (61, "1 min"), (7_300, "2 h"), (200_000, "2 days")] {
            assert_eq!(age(at(0), at(seconds)), text);
        }
    }
}
