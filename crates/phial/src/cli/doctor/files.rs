//! Who may read and write the home.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use phial_store::home::Home;

use super::{Asked, Check};
use crate::config::Config;

const DIRECTORIES: Asked = Asked("files.directories", "312(a)(1)");
const SECRETS: Asked = Asked("files.secrets", "312(a)(2)(iv)");
const NAMED: Asked = Asked("files.named-secrets", "312(a)(2)(iv)");
const OWNER: Asked = Asked("files.owner", "312(a)(1)");

pub(super) fn checks(home: &Home, config: &Config) -> Vec<Check> {
    let mut directories = vec![home.root().to_owned()];
    let mut secrets = Vec::new();
    let mut all = vec![home.root().to_owned()];
    walk(home.root(), &mut |path, is_dir| {
        all.push(path.to_owned());
        if is_dir {
            directories.push(path.to_owned());
        } else if path.starts_with(home.keys()) || path.starts_with(home.tls()) {
            secrets.push(path.to_owned());
        }
    });
    vec![
        open_to_others(DIRECTORIES, home, &directories, "every directory is its owner's alone"),
        open_to_others(SECRETS, home, &secrets, "every file of keys and tls is its owner's alone"),
        named(home, config),
        owner(home, &all),
    ]
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path, bool)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        visit(&path, kind.is_dir());
        if kind.is_dir() {
            walk(&path, visit);
        }
    }
}

fn below(home: &Home, path: &Path) -> String {
    let rest = path.strip_prefix(home.root()).unwrap_or(path);
    if rest.as_os_str().is_empty() { ".".to_owned() } else { rest.display().to_string() }
}

/// The first few, and how many more.
fn some(found: &[String]) -> String {
    let more = found.len().saturating_sub(4);
    let first: Vec<&str> = found.iter().take(4).map(String::as_str).collect();
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", first.join(", "))
}

/// The mode of a file that others than its owner may get at.
fn open_mode(path: &Path) -> std::io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

fn open_to_others(asked: Asked, home: &Home, paths: &[PathBuf], good: &str) -> Check {
    let open: Vec<String> = paths
        .iter()
        .filter_map(|p| {
            let mode = open_mode(p).ok()??;
            Some(format!("{} ({mode:04o})", below(home, p)))
        })
        .collect();
    if open.is_empty() {
        return asked.ok(good);
    }
    asked.failure(
        format!("others may get at {}", some(&open)),
        "chmod -R go-rwx the home, and find out who looked",
    )
}

/// The files with secrets that the configuration names, wherever they lie.
fn named(home: &Home, config: &Config) -> Check {
    let files = config.secret_files(home.root());
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|(setting, path)| match open_mode(path) {
            Err(_) => Some(format!("{setting} (can't be looked at)")),
            Ok(mode) => mode.map(|mode| format!("{setting} ({mode:04o})")),
        })
        .collect();
    if wrong.is_empty() {
        return NAMED.ok(format!(
            "{} that the configuration names: each there, and its owner's alone",
            match files.len() {
                1 => "1 file with a secret".to_owned(),
                n => format!("{n} files with secrets"),
            }
        ));
    }
    NAMED.failure(
        format!("missing, or others may get at: {}", some(&wrong)),
        "chmod 600 the file that is named; change the secret if others have read it",
    )
}

fn owner(home: &Home, paths: &[PathBuf]) -> Check {
    let me = rustix::process::geteuid().as_raw();
    let strange: Vec<String> = paths
        .iter()
        .filter_map(|p| {
            let uid = fs::symlink_metadata(p).ok()?.uid();
            (uid != me).then(|| format!("{} (user {uid})", below(home, p)))
        })
        .collect();
    if !strange.is_empty() {
        return OWNER.warning(
            format!("user {me} looks, and others own {}", some(&strange)),
            "let one user own the home and run the server, and run this as that user",
        );
    }
    if me == 0 {
        return OWNER.warning(
            "root owns the home",
            "run the server as a user of its own: root can do more than it needs",
        );
    }
    OWNER.ok(format!("all of it belongs to user {me}"))
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::super::tests::{home, of};
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_read_fails() {
        let (_dir, home) = home();
        assert_eq!(of(&checks(&home, &Config::default()), "files.directories").0, Finding::Ok);
        mode(&home.root().join("data/default"), 0o750);
        let (finding, seen) = of(&checks(&home, &Config::default()), "files.directories");
        assert_eq!(finding, Finding::Failure);
        assert!(seen.contains("data/default (0750)"), "{seen}");
    }

    #[test]
    fn a_key_that_others_may_read_fails() {
        let (_dir, home) = home();
        assert_eq!(of(&checks(&home, &Config::default()), "files.secrets").0, Finding::Ok);
        mode(&home.root_key(), 0o640);
        let (finding, seen) = of(&checks(&home, &Config::default()), "files.secrets");
        assert!(finding == Finding::Failure && seen.contains("keys/root.key"), "{seen}");
    }

    #[test]
    fn a_file_that_the_configuration_names_must_be_there_and_private() {
        let (_dir, home) = home();
        let mut config = Config::default();
        let of = |config: &Config| of(&checks(&home, config), "files.named-secrets");
        assert_eq!(of(&config).0, Finding::Ok);
        config.mail.password_file = Some("mail.secret".into());
        let (finding, seen) = of(&config);
        assert!(finding == Finding::Failure && seen.contains("mail.password_file"), "{seen}");
        let file = home.root().join("mail.secret");
        fs::write(&file, "x").unwrap();
        mode(&file, 0o600);
        assert_eq!(of(&config).0, Finding::Ok);
        mode(&file, 0o644);
        let (finding, seen) = of(&config);
        assert!(
            finding == Finding::Failure && seen.contains("mail.password_file (0644)"),
            "{seen}"
        );
    }

    #[test]
    fn many_files_are_counted() {
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        assert_eq!(some(&names), "0, 1, 2, 3 and 5 more");
    }

    #[test]
    fn who_owns_the_home_is_said() {
        let (_dir, home) = home();
        let (finding, seen) = of(&checks(&home, &Config::default()), "files.owner");
        // Tests may run as root, which is worth a warning.
        let root = rustix::process::geteuid().is_root();
        assert_eq!(finding, if root { Finding::Warning } else { Finding::Ok }, "{seen}");
        if root {
            std::os::unix::fs::chown(home.config(), Some(12_345), None).unwrap();
            assert!(of(&checks(&home, &Config::default()), "files.owner").1.contains("12345"));
        }
    }
}
