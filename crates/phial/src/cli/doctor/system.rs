//! The machine: clock, disks, core dumps, swap, limits of the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use phial_store::home::Home;

use super::{Asked, Check};
use crate::config::Config;

const SANE: Asked = Asked("clock.sane", "312(b)");
const SYNCHRONISED: Asked = Asked("clock.synchronised", "312(b)");
const SPACE: Asked = Asked("disk.space", "308(a)(7)(i)");
const INODES: Asked = Asked("disk.inodes", "308(a)(7)(i)");
const CORES: Asked = Asked("process.core-dumps", "312(a)(2)(iv)");
const HANDLES: Asked = Asked("process.files", "308(a)(7)(i)");
const SWAP: Asked = Asked("memory.swap", "312(a)(2)(iv)");

/// Where the machine tells about itself.
pub(super) struct Places {
    proc: PathBuf,
    sys: PathBuf,
    run: PathBuf,
    timedatectl: PathBuf,
}

impl Places {
    pub(super) fn real() -> Self {
        Places {
            proc: "/proc".into(),
            sys: "/sys".into(),
            run: "/run".into(),
            timedatectl: "/usr/bin/timedatectl".into(),
        }
    }
}

pub(super) fn checks(home: &Home, config: &Config, now: Timestamp, at: &Places) -> Vec<Check> {
    let mut checks = vec![sane(now), synchronised(at)];
    checks.extend(disks(home));
    let server = server(home, at);
    let hardening = phial_crypto::harden_process();
    let pattern = fs::read_to_string(at.proc.join("sys/kernel/core_pattern")).ok();
    checks.push(cores(hardening.no_core_files, hardening.not_dumpable, pattern.as_deref()));
    checks.push(swap(at));
    checks.push(handles(open_files(at, server), server.is_some(), config.http.max_connections));
    checks
}

/// When this program was written, near enough: no clock may show less.
const WRITTEN: i64 = 1_767_225_600;

fn sane(now: Timestamp) -> Check {
    let years = (now.as_second() - WRITTEN) / (365 * 86_400);
    match years {
        0..30 if now.as_second() >= WRITTEN => SANE.ok(format!("it is {now}")),
        _ => SANE.failure(format!("it is {now}"), "set the clock; use NTP"),
    }
}

fn synchronised(at: &Places) -> Check {
    if at.run.join("systemd/timesync/synchronized").exists() {
        return SYNCHRONISED.ok("systemd-timesyncd has synchronised it");
    }
    let asked = Command::new(&at.timedatectl)
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    match asked.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).as_deref() {
        Ok("yes") => SYNCHRONISED.ok("the kernel says that it is"),
        Ok("no") => SYNCHRONISED.failure(
            "the kernel says that it is not",
            "run chrony or systemd-timesyncd: the audit log's times hang on it",
        ),
        _ => SYNCHRONISED
            .unknown("nothing on this machine tells", "see that the host keeps its clock by NTP"),
    }
}

/// Free and all, of blocks in bytes and of inodes.
#[derive(Clone, Copy, Debug)]
struct Volume {
    free: u64,
    all: u64,
    free_inodes: u64,
    all_inodes: u64,
}

fn volume(path: &Path) -> Option<Volume> {
    let v = rustix::fs::statvfs(path).ok()?;
    Some(Volume {
        free: v.f_bavail.saturating_mul(v.f_frsize),
        all: v.f_blocks.saturating_mul(v.f_frsize),
        free_inodes: v.f_favail,
        all_inodes: v.f_files,
    })
}

fn disks(home: &Home) -> Vec<Check> {
    let volumes: Vec<(&str, Option<Volume>)> = ["data", "keys", "audit", "index", "sessions"]
        .into_iter()
        .map(|d| (d, volume(&home.root().join(d))))
        .collect();
    let space: Vec<_> =
        volumes.iter().map(|(d, v)| (*d, v.map(|v| (v.free, v.all)), 256 << 20)).collect();
    let inodes: Vec<_> = volumes
        .iter()
        // Some file systems have no limit, and say 0.
        .map(|(d, v)| {
            (*d, v.filter(|v| v.all_inodes > 0).map(|v| (v.free_inodes, v.all_inodes)), 1000)
        })
        .collect();
    let unlimited = volumes.iter().all(|(_, v)| v.is_some_and(|v| v.all_inodes == 0));
    let inodes = match unlimited {
        true => INODES.ok("the file system has no limit"),
        false => room(INODES, &inodes),
    };
    vec![room(SPACE, &space), inodes]
}

/// A store's name, free and all of it, and what must be free.
type Room<'a> = (&'a str, Option<(u64, u64)>, u64);

/// Whether there is room for each: a tenth, or at least twice what is needed at once.
fn room(asked: Asked, of: &[Room<'_>]) -> Check {
    let percent = |(free, all): (u64, u64)| free.saturating_mul(100) / all.max(1);
    let mut least: Option<(u64, &str)> = None;
    let (mut full, mut low) = (Vec::new(), Vec::new());
    for (name, volume, needed) in of {
        let Some(v) = volume else { continue };
        let p = percent(*v);
        if v.0 < *needed || p < 2 {
            full.push(*name);
        } else if p < 10 {
            low.push(*name);
        }
        if least.is_none_or(|(l, _)| p < l) {
            least = Some((p, name));
        }
    }
    let Some((p, name)) = least else {
        return asked.unknown("the file systems don't tell", "look with df");
    };
    let todo = "make room: when a store is full, nothing is acknowledged and nothing released";
    if !full.is_empty() {
        asked.failure(format!("hardly any left for {}", full.join(", ")), todo)
    } else if !low.is_empty() {
        asked.warning(format!("less than a tenth left for {}", low.join(", ")), todo)
    } else {
        asked.ok(format!("{p}% free where least is: {name}"))
    }
}

/// The process that holds the home, if one does.
fn server(home: &Home, at: &Places) -> Option<u32> {
    let pid: u32 = fs::read_to_string(home.root().join("phial.lock")).ok()?.trim().parse().ok()?;
    let name = fs::read_to_string(at.proc.join(pid.to_string()).join("comm")).ok()?;
    name.starts_with("phial").then_some(pid)
}

/// The program forbids dumps of itself. A handler that dumps are piped to is not bound
/// by the limit of core files, only by the other (core(5)).
fn cores(no_core_files: bool, not_dumpable: bool, pattern: Option<&str>) -> Check {
    let pattern = pattern.map(str::trim);
    let piped = pattern.is_none_or(|p| p.starts_with('|'));
    let handler = pattern.unwrap_or("unknown");
    let seen = format!(
        "size limit {}, dumpable {}, handler {handler}",
        if no_core_files { "0" } else { "not 0" },
        if not_dumpable { "no" } else { "yes" },
    );
    let todo = "forbid core dumps for the service: LimitCORE=0, fs.suid_dumpable=0";
    match (no_core_files, not_dumpable) {
        (true, true) => CORES.ok(seen),
        (_, true) | (true, false) if !piped || not_dumpable => CORES.warning(seen, todo),
        _ => CORES.failure(seen, todo),
    }
}

fn swap(at: &Places) -> Check {
    let Ok(text) = fs::read_to_string(at.proc.join("swaps")) else {
        return SWAP.unknown("/proc/swaps can't be read", "see that swap is off or encrypted");
    };
    let devices: Vec<&str> =
        text.lines().skip(1).filter_map(|l| l.split_whitespace().next()).collect();
    if devices.is_empty() {
        return SWAP.ok("there is none");
    }
    let open: Vec<&str> = devices.iter().copied().filter(|d| !is_safe(d, at)).collect();
    if open.is_empty() {
        return SWAP.ok(format!("encrypted, or in memory: {}", devices.join(", ")));
    }
    SWAP.warning(
        format!("not known to be encrypted: {}", open.join(", ")),
        "encrypt it (dm-crypt with a random key) or turn it off: decrypted records may get there",
    )
}

/// Swap in memory, or on an encrypted device.
fn is_safe(device: &str, at: &Places) -> bool {
    let resolved = fs::canonicalize(device).unwrap_or_else(|_| device.into());
    let Some(name) = resolved.file_name().and_then(|n| n.to_str()) else { return false };
    if name.starts_with("zram") {
        return true;
    }
    let uuid = at.sys.join("block").join(name).join("dm/uuid");
    fs::read_to_string(uuid).is_ok_and(|u| u.starts_with("CRYPT-"))
}

/// How many files the server may have open; without one, a server started from here.
fn open_files(at: &Places, server: Option<u32>) -> Option<u64> {
    match server {
        None => {
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current.or(Some(u64::MAX))
        }
        Some(pid) => {
            let text = fs::read_to_string(at.proc.join(pid.to_string()).join("limits")).ok()?;
            let line = text.lines().find_map(|l| l.strip_prefix("Max open files"))?;
            match line.split_whitespace().next()? {
                "unlimited" => Some(u64::MAX),
                n => n.parse().ok(),
            }
        }
    }
}

/// Files that stores, index and listener need beside connections.
const OWN_FILES: u64 = 256;

fn handles(limit: Option<u64>, running: bool, connections: usize) -> Check {
    let whose = if running { "the running server" } else { "a server started from here" };
    let needed = OWN_FILES + connections as u64;
    let todo = "raise it (LimitNOFILE=65536), or lower http.max_connections";
    match limit {
        None => HANDLES.unknown("the limit can't be read", "see LimitNOFILE of the service"),
        Some(n) if n < OWN_FILES => HANDLES.failure(format!("{whose} may open {n} files"), todo),
        Some(n) if n < needed => HANDLES.warning(
            format!("{whose} may open {n} files; {connections} connections take {needed}"),
            todo,
        ),
        Some(u64::MAX) => HANDLES.ok(format!("{whose} has no limit")),
        Some(n) => HANDLES.ok(format!("{whose} may open {n} files")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Finding;
    use super::super::tests::home;
    use super::*;

    /// A machine of files.
    fn machine() -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let places = Places {
            proc: at("proc"),
            sys: at("sys"),
            run: at("run"),
            timedatectl: dir.path().join("timedatectl"),
        };
        (dir, places)
    }

    fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_clock_that_is_far_off_fails() {
        for (seconds, finding) in
            [(0, Finding::Failure), (WRITTEN + 1, Finding::Ok), (4_000_000_000, Finding::Failure)]
        {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(sane(now).finding, finding, "{now}");
        }
    }

    #[test]
    fn what_nothing_tells_about_the_clock_is_unknown() {
        let (_dir, at) = machine();
        assert_eq!(synchronised(&at).finding, Finding::Unknown);
        for (says, finding) in [("no", Finding::Failure), ("yes", Finding::Ok)] {
            // Written whole and then put in place: a program being written can't be run.
            let beside = at.timedatectl.with_extension("new");
            fs::copy("/bin/echo", &beside).unwrap();
            let script = format!("#!/bin/sh\necho {says}\n");
            fs::write(&beside, script).unwrap();
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o700)).unwrap();
            fs::rename(&beside, &at.timedatectl).unwrap();
            assert_eq!(synchronised(&at).finding, finding, "{says}");
        }
        put(at.run.join("systemd/timesync/synchronized"), "");
        assert_eq!(synchronised(&at).finding, Finding::Ok);
    }

    #[test]
    fn a_full_disk_fails_and_a_nearly_full_one_warns() {
        let of =
            |free| room(SPACE, &[("data", Some((free, 1000)), 10), ("keys", None, 10)]).finding;
        assert_eq!(of(5), Finding::Failure);
        assert_eq!(of(50), Finding::Warning);
        assert_eq!(of(500), Finding::Ok);
        assert_eq!(room(INODES, &[("data", None, 10)]).finding, Finding::Unknown);
        let (_dir, home) = home();
        assert_ne!(disks(&home)[0].finding, Finding::Unknown);
    }

    #[test]
    fn dumps_that_are_allowed_fail() {
        let pipe = Some("|/usr/lib/systemd/systemd-coredump %P");
        assert_eq!(cores(true, true, pipe).finding, Finding::Ok);
        assert_eq!(cores(true, false, pipe).finding, Finding::Failure);
        assert_eq!(cores(true, false, Some("core\n")).finding, Finding::Warning);
        assert_eq!(cores(false, false, Some("core")).finding, Finding::Failure);
        assert_eq!(cores(false, true, None).finding, Finding::Warning);
    }

    #[test]
    fn swap_that_is_not_encrypted_is_named() {
        let (_dir, at) = machine();
        assert_eq!(swap(&at).finding, Finding::Unknown);
        let with = |device: &str| {
            put(at.proc.join("swaps"), &format!("Filename Type Size\n{device} partition 9 0 -2\n"));
            swap(&at).finding
        };
        assert_eq!(with("/dev/sda9"), Finding::Warning);
        assert_eq!(with("/dev/zram0"), Finding::Ok);
        assert_eq!(with("/dev/dm-77"), Finding::Warning);
        put(at.sys.join("block/dm-77/dm/uuid"), "CRYPT-PLAIN-swap\n");
        assert_eq!(with("/dev/dm-77"), Finding::Ok);
        put(at.proc.join("swaps"), "Filename Type Size\n");
        assert_eq!(swap(&at).finding, Finding::Ok);
    }

    #[test]
    fn too_few_files_for_the_connections_are_named() {
        for (limit, finding) in [
            (None, Finding::Unknown),
            (Some(100), Finding::Failure),
            (Some(1024), Finding::Warning),
            (Some(65_536), Finding::Ok),
        ] {
            assert_eq!(handles(limit, true, 1024).finding, finding, "{limit:?}");
        }
    }

    #[test]
    fn a_running_server_is_looked_at_and_another_program_is_not() {
        let (_dir, home) = home();
        let (_machine, at) = machine();
        put(home.root().join("phial.lock"), "4242");
        assert_eq!(server(&home, &at), None);
        put(at.proc.join("4242/comm"), "vim\n");
        assert_eq!(server(&home, &at), None);
        put(at.proc.join("4242/comm"), "phial\n");
        assert_eq!(server(&home, &at), Some(4242));
        put(at.proc.join("4242/limits"), "Limit  Soft\nMax open files   77   99  files\n");
        assert_eq!(open_files(&at, Some(4242)), Some(77));
    }
}
