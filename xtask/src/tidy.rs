//! `cargo xtask tidy`: rules of the project that the compiler does not hold.
#![expect(clippy::print_stdout, reason = "a chore tells what it does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which crates of ours a crate may use (design §2): those of lower layers.
const LAYERS: &[&[&str]] = &[
    &["phial-base"],
    &["phial-crypto", "phial-fhir", "phial-policy", "phial-synth"],
    &["phial-audit"],
    &["phial-store"],
    &["phial-engine"],
    &["phial-identity"],
    &["phial"],
];

/// Libraries that only these crates may use directly, each with the reason.
const ROOMS: &[(&[&str], &[&str], &str)] = &[
    (
        &["rusqlite", "libsqlite3-sys", "tokio-postgres"],
        &["phial-store", "phial-testkit"],
        "SQL lives only in store",
    ),
    (
        &["axum", "hyper", "hyper-util", "tower", "reqwest", "tokio-rustls"],
        &["phial", "phial-bench", "phial-testkit"],
        "HTTP lives only in phial",
    ),
    (&["object_store"], &["phial-store"], "buckets are a store"),
    (&["cedar-policy"], &["phial-policy"], "Cedar stays behind one leaf crate"),
    (&["argon2"], &["phial-identity"], "passwords are identity's"),
    (&["maud"], &["phial"], "pages are the program's"),
    (&["tokio"], &["phial-store", "phial-engine", "phial", "phial-bench"], "pure cores do no I/O"),
];

/// Libraries that may not be in the tree at all.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one crypto library"),
    ("native-tls", "rustls is the one TLS library"),
    ("openssl", "only SQLCipher links OpenSSL, through openssl-sys"),
    ("sqlx", "it does not resolve beside rusqlite"),
];

/// Licences that dependencies may have.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "MPL-2.0",
    "CDLA-Permissive-2.0",
    "OpenSSL",
    // SQLite's own, and a part of SQLCipher's sources.
    "blessing",
    "WTFPL",
];

const MAX_LINES: usize = 800;

/// What changes durable state. Outside tests it stands only where a `Step` is taken, or
/// is no durable state at all.
const RAW: &[&str] = &[
    "fs::rename(",
    "fs::write(",
    "fs::remove_file(",
    "fs::remove_dir",
    "fs::hard_link(",
    "fs::copy(",
    "fs::create_dir",
    "fs::set_permissions(",
    "File::create(",
    "File::options(",
    "OpenOptions::new()",
    "DirBuilder::new()",
    ".set_len(",
    ".sync_all(",
    ".sync_data(",
    ".commit()",
    "\"COMMIT\"",
    "VACUUM",
    "wal_checkpoint(",
    "journal_mode=",
];

/// Where the words above may stand, how often, and why.
const STEPPED: &[(&str, &str, usize, &str)] = &[
    ("crates/crypto/src/key_file.rs", "DirBuilder::new()", 1, "Step::Directory"),
    ("crates/crypto/src/key_file.rs", "fs::hard_link(", 1, "Step::RootKey"),
    ("crates/crypto/src/key_file.rs", "OpenOptions::new()", 2, "Step::RootKey; and a read"),
    ("crates/crypto/src/key_file.rs", ".sync_all(", 2, "Step::RootKey"),
    ("crates/crypto/src/key_file.rs", "fs::remove_file(", 2, "temporary files"),
    ("crates/store/src/home.rs", "OpenOptions::new()", 1, "the lock, which no crash keeps"),
    ("crates/store/src/home.rs", ".set_len(", 2, "the lock, which no crash keeps"),
    ("crates/store/src/keystore/rotate.rs", "VACUUM", 1, "Step::KeysRebuild"),
    ("crates/store/src/open.rs", "journal_mode=", 2, "Step::StoreMode; and asked again"),
    ("crates/store/src/spool.rs", "OpenOptions::new()", 1, "Step::SpoolAppend"),
    ("crates/store/src/spool.rs", ".set_len(", 1, "Step::SpoolAppend"),
    ("crates/store/src/spool.rs", ".sync_all(", 2, "Step::SpoolAppend"),
    ("crates/store/src/spool.rs", "fs::remove_dir", 1, "Step::SpoolRemove"),
    ("crates/store/src/index/db.rs", "\"COMMIT\"", 1, "ends a read transaction"),
    ("crates/store/src/index/db.rs", "journal_mode=", 1, "Step::IndexOpen"),
    ("crates/store/src/index/db.rs", "wal_checkpoint(", 2, "Step::IndexClose"),
    ("crates/phial/src/reference.rs", "fs::create_dir", 1, "pages of the docs"),
    ("crates/phial/src/reference.rs", "fs::write(", 1, "pages of the docs"),
    ("crates/phial/src/cli/synth.rs", "fs::create_dir", 1, "files for whoever asked"),
    ("crates/phial/src/cli/synth.rs", "fs::write(", 1, "files for whoever asked"),
    ("crates/phial/src/reference.rs", "fs::create_dir", 1, "a test's golden pages"),
    ("crates/phial/src/reference.rs", "fs::write(", 1, "a test's golden pages"),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new()
        .other_options(["--locked".to_owned()])
        .exec()
        .context("cargo metadata failed")?;
    let mut wrong = Vec::new();
    dependency_order(&metadata, &mut wrong);
    rooms(&metadata, &mut wrong);
    supply_chain(&metadata, &mut wrong)?;
    let root = metadata.workspace_root.as_std_path();
    sources(root, &mut wrong)?;
    documents(root, &mut wrong)?;
    durable_steps(root, &mut wrong)?;
    for w in &wrong {
        println!("tidy: {w}");
    }
    ensure!(wrong.is_empty(), "{} rules are broken: see above", wrong.len());
    println!("== tidy: clean");
    Ok(())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|l| l.contains(&name))
}

fn dependency_order(metadata: &Metadata, wrong: &mut Vec<String>) {
    for package in metadata.workspace_packages() {
        let Some(own) = layer(&package.name) else {
            let dev = ["phial-testkit", "phial-bench", "phial-fuzz", "xtask"]
                .contains(&package.name.as_str());
            if !dev {
                wrong.push(format!("{} stands in no layer: add it to LAYERS", package.name));
            }
            continue;
        };
        for dep in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if dep.name == "phial-testkit" {
                wrong.push(format!("{} uses phial-testkit outside its tests", package.name));
            }
            if let Some(theirs) = layer(&dep.name)
                && theirs >= own
            {
                wrong.push(format!(
                    "{} may not use {}: design §2 has the order",
                    package.name, dep.name
                ));
            }
        }
    }
}

fn rooms(metadata: &Metadata, wrong: &mut Vec<String>) {
    for package in metadata.workspace_packages() {
        for dep in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            for (libraries, owners, why) in ROOMS {
                if libraries.contains(&dep.name.as_str())
                    && !owners.contains(&package.name.as_str())
                {
                    wrong.push(format!("{} may not use {}: {why}", package.name, dep.name));
                }
            }
        }
    }
}

/// Packages that are really built, by name, as `cargo tree` tells: what the lock file
/// holds for systems and features that are off does not count.
fn built() -> anyhow::Result<BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(["--edges", "normal,build,dev"])
        .output()
        .context("cargo tree failed")?;
    ensure!(out.status.success(), "cargo tree failed");
    let text = String::from_utf8(out.stdout)?;
    Ok(text.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect())
}

fn supply_chain(metadata: &Metadata, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let built = built()?;
    for (name, why) in BANNED {
        if built.contains(*name) {
            wrong.push(format!("{name} is in the tree: {why}"));
        }
    }
    for package in metadata.packages.iter().filter(|p| built.contains(p.name.as_str())) {
        let Some(licence) = &package.license else {
            if package.license_file.is_none() {
                wrong.push(format!("{} names no licence", package.name));
            }
            continue;
        };
        // One of the alternatives must be allowed, and of each all of its parts.
        let good = licence
            .replace('/', " OR ")
            .replace(['(', ')'], " ")
            .split(" OR ")
            .any(|alt| alt.split(" AND ").all(|part| LICENCES.contains(&part.trim())));
        if !good {
            wrong.push(format!("{} has the licence {licence}", package.name));
        }
        let source = package.source.as_ref().map(ToString::to_string).unwrap_or_default();
        if !source.is_empty() && !source.starts_with("registry+") {
            wrong.push(format!("{} does not come from the registry", package.name));
        }
    }
    Ok(())
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "node_modules" | "phial-home") {
                files(&path, found)?;
            }
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn sources(root: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for dir in ["crates", "bench", "xtask"] {
        files(&root.join(dir), &mut all)?;
    }
    for path in all.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(path)?;
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{shown} has {lines} lines: it is two files"));
        }
        if !text.trim_start().starts_with("//!") {
            wrong.push(format!("{shown} does not say what it owns (//!)"));
        }
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if matches!(name.as_str(), "utils" | "util" | "helpers" | "misc") {
            wrong.push(format!("{shown}: name it by what it does"));
        }
    }
    Ok(())
}

/// Durable state changes only in a step of the table in `crates/base/src/step.rs`, and
/// every step of the table is one that the program takes.
fn durable_steps(root: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let mut all = Vec::new();
    files(&root.join("crates"), &mut all)?;
    let mut program = String::new();
    for path in all.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let own = shown.contains("/src/") && !shown.contains("/tests/");
        if !own || shown.starts_with("crates/testkit/") || shown.ends_with("/tests.rs") {
            continue;
        }
        let text = fs::read_to_string(path)?;
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let table = shown == "crates/base/src/step.rs";
        if !table {
            program.push_str(code);
            if code.contains("step::watch(") {
                wrong.push(format!("{shown} watches durable steps: that is for tests"));
            }
        }
        if shown == "crates/store/src/durable.rs" {
            continue;
        }
        for word in RAW {
            let found = code
                .match_indices(word)
                // `KeyFile::create` is not `File::create`.
                .filter(|(at, _)| {
                    word.starts_with(['.', '"'])
                        || !code
                            .get(..*at)
                            .is_some_and(|c| c.ends_with(|c: char| c.is_alphanumeric()))
                })
                .count();
            let known = STEPPED.iter().find(|(file, w, ..)| *file == shown && w == word);
            let allowed = known.map_or(0, |(_, _, n, _)| *n);
            if found != allowed {
                wrong.push(format!(
                    "{shown} has `{word}` {found} times, not {allowed}: durable state changes \
                     only in a step, see crates/base/src/step.rs"
                ));
            }
        }
    }
    let table = fs::read_to_string(root.join("crates/base/src/step.rs"))?;
    for name in table.split("row(").skip(1).filter_map(|r| r.split("Step::").nth(1)) {
        let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if !name.is_empty() && !program.contains(&format!("Step::{name},")) {
            wrong.push(format!("Step::{name} is in the table and nowhere taken"));
        }
    }
    Ok(())
}

/// Every path in backquotes that looks like a file or a test of ours must exist.
fn documents(root: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let mut tests = String::new();
    let mut all = Vec::new();
    files(&root.join("crates"), &mut all)?;
    for path in all.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        tests.push_str(&fs::read_to_string(path)?);
    }
    for doc in ["ARCHITECTURE.md", "docs/safeguards.md", "docs/threat-model.md"] {
        let path = root.join(doc);
        if !path.exists() {
            wrong.push(format!("{doc} is missing"));
            continue;
        }
        let text = fs::read_to_string(&path)?;
        for word in text.split('`').skip(1).step_by(2) {
            if word.starts_with("crates/") && !root.join(word.trim_end_matches('/')).exists() {
                wrong.push(format!("{doc} names {word}, which does not exist"));
            }
            let test = word.contains('_')
                && word.len() > 16
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if test && !tests.contains(&format!("fn {word}(")) {
                wrong.push(format!("{doc} names the test {word}, which does not exist"));
            }
        }
    }
    Ok(())
}
