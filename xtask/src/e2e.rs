//! `cargo xtask e2e`: other people's clients drive the real server over TLS. What they
//! are and what they do is in `e2e/README.md`.
#![expect(clippy::print_stdout, reason = "a chore tells what it does")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::test::{apt_install, has, step};

/// Each script, with what runs it.
const SCRIPTS: &[(&str, &str)] = &[
    ("python", "fhirpy_drive.py"),
    ("python", "fhirclient_drive.py"),
    ("node", "fhir_kit_client.mjs"),
    ("node", "medplum.mjs"),
    ("node", "smart.mjs"),
    ("node", "browser_people.mjs"),
    ("node", "browser_apps.mjs"),
    ("node", "browser_sso.mjs"),
    ("node", "bulk_authorization.mjs"),
    ("python", "tls_scan.py"),
    ("node", "browser_glass.mjs"),
    ("python", "fuzz.py"),
];

/// Accounts that the scripts speak as: name, role, and where they find its token.
const ACCOUNTS: &[(&str, &str, &str)] = &[
    ("ivo", "import-client", "PHIAL_TOKEN_WRITER"),
    ("ana", "physician", "PHIAL_TOKEN_PHYSICIAN"),
    ("dora", "front-desk", "PHIAL_TOKEN_DESK"),
    ("petra", "privacy-officer", "PHIAL_TOKEN_OFFICER"),
];

const NO_REGISTRY: &str = "the clients could not be installed: PyPI and npm have to be in reach. \
                           Where they are not, `--without-clients` leaves this part out";

/// What the scripts run with.
pub(crate) struct Installed {
    root: PathBuf,
    place: PathBuf,
    python: PathBuf,
    node: PathBuf,
}

/// Installs what the scripts need.
pub(crate) fn install() -> anyhow::Result<Installed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the root")?;
    let place = root.join("target/e2e");
    fs::create_dir_all(&place)?;
    tools()?;
    let python = python(root, &place).context(NO_REGISTRY)?;
    let node = node(root, &place).context(NO_REGISTRY)?;
    Ok(Installed { root: root.to_owned(), place, python, node })
}

/// Runs all scripts, or those whose name contains `only`.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<()> {
    run_with(&install()?, only)
}

/// As [`run`], with what is installed already.
pub(crate) fn run_with(installed: &Installed, only: Option<&str>) -> anyhow::Result<()> {
    let Installed { root, place, python, node } = installed;
    step("build", "cargo", &["build", "--locked", "--package", "phial"])?;
    let program = root.join("target/debug/phial");
    let mut home = Home::made(program, place.join("home"))?;
    home.serve()?;
    let mut failed = Vec::new();
    for (language, script) in SCRIPTS.iter().filter(|(_, s)| only.is_none_or(|o| s.contains(o))) {
        println!("== e2e: {script}");
        let started = Instant::now();
        let mut command = match *language {
            "python" => Command::new(python),
            _ => Command::new("node"),
        };
        let dir = if *language == "python" { root.join("e2e/python") } else { node.clone() };
        let status = home.tell(command.arg(script).current_dir(&dir)).status();
        if status.with_context(|| format!("{script} can't be started"))?.success() {
            println!("== e2e: {script}: {:.0} s", started.elapsed().as_secs_f64());
        } else {
            failed.push(*script);
        }
        ensure!(home.lives()?, "the server ended while {script} ran: {}", home.path.display());
    }
    home.stop()?;
    // Whatever they did, the stores agree with each other.
    home.run(&["verify"]).context("what the clients left behind does not verify")?;
    ensure!(failed.is_empty(), "{} failed: see above", failed.join(", "));
    Ok(())
}

/// Python with venv, Node and npm, Chromium, oathtool and testssl.sh; by apt where they are
/// missing.
fn tools() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    let venv = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    if !venv.is_ok_and(|v| v.status.success()) {
        missing.push("python3-venv");
    }
    if !has("node") {
        missing.push("nodejs");
    }
    if !has("npm") {
        missing.push("npm");
    }
    for (tool, package) in
        [("chromium", "chromium"), ("oathtool", "oathtool"), ("testssl", "testssl.sh")]
    {
        if !has(tool) {
            missing.push(package);
        }
    }
    if !missing.is_empty() {
        apt_install(&missing)?;
    }
    let version =
        Command::new("node").arg("--version").output().context("node can't be started")?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major =
        version.trim_start_matches('v').split('.').next().and_then(|v| v.parse::<u32>().ok());
    ensure!(major.is_some_and(|m| m >= 20), "the clients need Node 20 or later, this is {version}");
    Ok(())
}

/// Whether what is to be installed is what was installed last time.
fn is_installed(stamp: &Path, wanted: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|found| found == wanted)
}

/// A Python with the clients of `requirements.txt`.
fn python(root: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    let dir = place.join("python");
    let python = dir.join("bin/python");
    let list = root.join("e2e/python/requirements.txt");
    let (wanted, stamp) = (fs::read_to_string(&list)?, dir.join("installed"));
    if !is_installed(&stamp, &wanted) {
        let text = dir.display().to_string();
        step("python", "python3", &["-m", "venv", "--clear", &text])?;
        let list = list.display().to_string();
        let args = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            &list,
        ];
        step("python's clients", &python.display().to_string(), &args)?;
        fs::write(&stamp, wanted)?;
    }
    Ok(python)
}

/// A directory with the scripts for Node and the clients of `package-lock.json`.
fn node(root: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    let (from, dir) = (root.join("e2e/node"), place.join("node"));
    fs::create_dir_all(&dir)?;
    for entry in fs::read_dir(&from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), dir.join(entry.file_name()))?;
        }
    }
    let (wanted, stamp) =
        (fs::read_to_string(from.join("package-lock.json"))?, dir.join("installed"));
    if !is_installed(&stamp, &wanted) {
        let text = dir.display().to_string();
        step(
            "node's clients",
            "npm",
            &["ci", "--silent", "--ignore-scripts", "--legacy-peer-deps", "--prefix", &text],
        )?;
        fs::write(&stamp, wanted)?;
    }
    Ok(dir)
}

/// A home, and the program that serves it.
struct Home {
    program: PathBuf,
    path: PathBuf,
    tokens: Vec<(&'static str, String)>,
    serving: Option<(Child, String, String)>,
}

impl Home {
    fn made(program: PathBuf, path: PathBuf) -> anyhow::Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        let mut home = Home { program, path, tokens: Vec::new(), serving: None };
        home.run(&["init"])?;
        for (name, role, variable) in ACCOUNTS {
            home.run(&["user", "add", name, "--role", role])?;
            let token = home.run(&["token", "--user", name])?;
            let token = token.get("token").and_then(Value::as_str).context("no token was given")?;
            home.tokens.push((variable, token.to_owned()));
        }
        Ok(home)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--json").arg("--home").arg(&self.path).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<Value> {
        let done = self.command(args).output().context("the program can't be started")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if !done.status.success() {
            bail!("phial {}: {said}{}", args.join(" "), String::from_utf8_lossy(&done.stderr));
        }
        serde_json::from_str(&said)
            .with_context(|| format!("phial {} printed no JSON", args.join(" ")))
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut child = self
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .context("the program can't be started")?;
        let out = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("the server did not start")?;
        let text = |name: &str| said.get(name)?.as_str().map(str::to_owned);
        let base = text("base").context("the server named no base")?;
        let ca = text("ca").context("the server named no CA")?;
        self.serving = Some((child, base, ca));
        Ok(())
    }

    /// Tells a script where the server is and who it may be.
    fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some((_, base, ca)) = &self.serving {
            command.env("PHIAL_BASE", base).env("PHIAL_CA", ca);
            // Each library has a variable of its own for whom it trusts.
            command.env("NODE_EXTRA_CA_CERTS", ca).env("REQUESTS_CA_BUNDLE", ca);
            command.env("SSL_CERT_FILE", ca);
        }
        // Scripts that drive a browser make homes of their own.
        command.env("PHIAL_PROGRAM", &self.program);
        command.envs(self.tokens.iter().map(|(name, token)| (name, token)))
    }

    fn lives(&mut self) -> anyhow::Result<bool> {
        match &mut self.serving {
            Some((child, ..)) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some((mut child, ..)) = self.serving.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A script that could not be started leaves no server behind.
        let _ = self.stop();
    }
}
