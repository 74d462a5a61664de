//! The README's commands, run as they stand.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::clinic::PHIAL;

/// The lines after `$ ` in the README's console blocks, in order.
fn commands(readme: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in readme.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            inside = !inside && kind.trim() == "console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            found.push(command);
        }
    }
    found
}

#[test]
fn every_command_of_the_readme_works() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let all = commands(&readme);
    assert!(all.len() >= 5, "the README shows {} commands", all.len());
    let place = tempfile::tempdir().unwrap();
    // The README is read at the project's root, where this directory is.
    std::fs::create_dir(place.path().join("target")).unwrap();
    let programs = Path::new(PHIAL).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = vec![programs.to_owned()];
    paths.extend(std::env::split_paths(&path));
    for command in all {
        let ran = Command::new("sh")
            .args(["-c", command])
            .current_dir(place.path())
            .env("PATH", std::env::join_paths(&paths).unwrap())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "$ {command}\n{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
