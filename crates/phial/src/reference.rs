//! `docs/reference`: the pages that are made from the program itself, and the test that
//! holds them to it. `PHIAL_WRITE_REFERENCE=1 cargo test -p phial reference` writes them
//! anew. Refuses to say anything that the program does not say.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, Command};
use phial_audit::{DetailKey, EventKind, OutcomeCode};

const MADE: &str = "<!-- Made from the program; do not edit. \
                    PHIAL_WRITE_REFERENCE=1 cargo test -p phial reference -->\n\n";

fn command_line() -> String {
    let mut root = crate::cli::command();
    root.build();
    let mut out = format!("{MADE}# The command line\n\n");
    command(&mut out, &root, 2);
    out
}

fn command(out: &mut String, of: &Command, depth: usize) {
    let name = of.get_bin_name().unwrap_or_else(|| of.get_name()).replace("phial-", "phial ");
    let about = of.get_long_about().or_else(|| of.get_about()).map(ToString::to_string);
    let _ = write!(out, "{} `{name}`\n\n{}\n\n", "#".repeat(depth), about.unwrap_or_default());
    if let Some(after) = of.get_after_help() {
        let _ = write!(out, "```text\n{after}\n```\n\n");
    }
    let own = |a: &&Arg| {
        !a.is_hide_set()
            && !["help", "version"].contains(&a.get_id().as_str())
            && (depth == 2 || !a.is_global_set())
    };
    let arguments: Vec<&Arg> = of.get_arguments().filter(own).collect();
    if !arguments.is_empty() {
        out.push_str("| argument | default | what |\n|---|---|---|\n");
        for a in arguments {
            argument(out, a);
        }
        out.push('\n');
    }
    for sub in of.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
        command(out, sub, (depth + 1).min(4));
    }
}

fn argument(out: &mut String, a: &Arg) {
    let value = a
        .get_value_names()
        .filter(|_| a.get_action().takes_values())
        .map(|v| v.iter().map(|v| format!("<{v}>")).collect::<Vec<_>>().join(" "));
    let mut name = match (a.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_default(),
    };
    if a.is_required_set() {
        name.push_str("` (required)");
    } else {
        name.push('`');
    }
    let default: Vec<String> = a
        .get_default_values()
        .iter()
        .filter(|_| a.get_action().takes_values())
        .map(|v| format!("`{}`", v.to_string_lossy()))
        .collect();
    let help = a.get_long_help().or_else(|| a.get_help()).map(ToString::to_string);
    let mut help = help.unwrap_or_default().replace('\n', " ");
    let possible: Vec<String> = a
        .get_possible_values()
        .iter()
        .filter(|_| a.get_action().takes_values())
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if !possible.is_empty() {
        let _ = write!(help, " One of {}.", possible.join(", "));
    }
    let _ = writeln!(out, "| `{name} | {} | {} |", default.join(" "), help.trim());
}

fn audit_events() -> String {
    let mut out = format!(
        "{MADE}# Audit events\n\nEvery entry says who (user, roles, session, client), what \
         (record, version, data classes given and withheld), which patients, when, from where, \
         why (purpose), with what outcome, and under which request id (164.312(b)). Numbers are \
         part of the sealed format and never change.\n\n## Events\n\n| event | number | what \
         happened |\n|---|---|---|\n"
    );
    for kind in EventKind::ALL {
        let (name, number) = (kind.name(), kind.number());
        let _ = writeln!(out, "| `{name}` | {number} | {} |", kind.meaning().trim());
    }
    out.push_str("\n## Outcomes\n\n| outcome | number | what |\n|---|---|---|\n");
    for outcome in OutcomeCode::ALL {
        let (name, number) = (outcome.name(), outcome.number());
        let _ = writeln!(out, "| `{name}` | {number} | {} |", outcome.meaning().trim());
    }
    out.push_str("\n## Details\n\n| detail | number | what |\n|---|---|---|\n");
    for key in DetailKey::ALL {
        let _ = writeln!(out, "| `{}` | {} | {} |", key.name(), key.number(), key.meaning().trim());
    }
    out
}

fn pages() -> Vec<(&'static str, String)> {
    vec![("command-line.md", command_line()), ("audit-events.md", audit_events())]
}

#[test]
fn the_reference_is_what_the_program_says() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let write = std::env::var_os("PHIAL_WRITE_REFERENCE").is_some();
    for (name, page) in pages() {
        let file = dir.join(name);
        if write {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&file, &page).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == page,
            "docs/reference/{name} is not what the program says now: \
             PHIAL_WRITE_REFERENCE=1 cargo test -p phial reference"
        );
    }
}
