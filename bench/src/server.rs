//! The program under measurement, run as its users run it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::report::Row;

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    home: PathBuf,
    phial: PathBuf,
}

fn json(phial: &Path, home: &Path, args: &[&str]) -> anyhow::Result<serde_json::Value> {
    let out = Command::new(phial)
        .args(args)
        .arg("--json")
        .arg("--home")
        .arg(home)
        .stderr(Stdio::inherit())
        .output()
        .context("the program can't be started")?;
    ensure!(
        out.status.success(),
        "phial {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&out.stdout)
    );
    serde_json::from_slice(&out.stdout).context("the program printed no JSON")
}

pub(crate) fn init(phial: &Path, home: &Path) -> anyhow::Result<()> {
    json(phial, home, &["init"])?;
    // A load generator reads more patients than a person does; they are counted all the same.
    let config = home.join("phial.toml");
    let mut text = std::fs::read_to_string(&config)?;
    text.push_str(
        "\n[caps]\npatients = { physician = 1000000000 }\nrationale = \"a load generator\"\n",
    );
    Ok(std::fs::write(&config, text)?)
}

pub(crate) fn import(
    phial: &Path,
    home: &Path,
    archive: Option<&Path>,
    patients: u32,
) -> anyhow::Result<u64> {
    let out = match archive {
        Some(path) => json(phial, home, &["import", &path.to_string_lossy()])?,
        None => json(phial, home, &["synth", "--import", "--patients", &patients.to_string()])?,
    };
    out.pointer("/stored").and_then(serde_json::Value::as_u64).context("no count of resources")
}

pub(crate) fn user(phial: &Path, home: &Path, name: &str, role: &str) -> anyhow::Result<()> {
    json(phial, home, &["user", "add", name, "--role", role]).map(|_| ())
}

pub(crate) fn token(phial: &Path, home: &Path, user: &str) -> anyhow::Result<String> {
    let out = json(phial, home, &["token", "--user", user])?;
    out.pointer("/token").and_then(|t| t.as_str()).map(str::to_owned).context("no token")
}

/// The link of a new invitation.
pub(crate) fn invite(phial: &Path, home: &Path, user: &str) -> anyhow::Result<String> {
    let out = json(phial, home, &["user", "invite", user])?;
    out.pointer("/link").and_then(|t| t.as_str()).map(str::to_owned).context("no link")
}

const STORES: &[&str] = &["data", "keys", "audit", "index", "sessions"];

/// Bytes on disk of all stores and the index, per resource, with each store's share.
pub(crate) fn disk(home: &Path, resources: u64) -> anyhow::Result<Row> {
    let mut parts = Vec::new();
    for dir in STORES {
        parts.push(format!("{dir} {}", size(&home.join(dir))? / resources.max(1)));
    }
    let each = bytes_each(home, resources)?;
    Ok(Row::limit("disk", &parts.join(", "), each, 1024.0, "bytes/resource"))
}

/// Bytes on disk of all stores and the index, per resource.
pub(crate) fn bytes_each(home: &Path, resources: u64) -> anyhow::Result<f64> {
    let mut total = 0;
    for dir in STORES {
        total += size(&home.join(dir))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    Ok(total as f64 / resources.max(1) as f64)
}

fn size(dir: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

impl Server {
    pub(crate) fn start(phial: &Path, home: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(phial)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--home"])
            .arg(home)
            .stdout(Stdio::piped())
            .spawn()
            .context("the program can't be started")?;
        let out = child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let ready: serde_json::Value =
            serde_json::from_str(&line).context("the server did not say that it is ready")?;
        let base = ready.pointer("/base").and_then(|b| b.as_str()).context("no base URL")?;
        let address = base
            .strip_prefix("https://")
            .and_then(|b| b.strip_suffix("/fhir"))
            .context("no address")?
            .parse()?;
        Ok(Server { child, address, home: home.to_owned(), phial: phial.to_owned() })
    }

    /// Bytes of resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// Processor time that the server has used, user and system, in seconds.
    pub(crate) fn processor(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after = stat.rsplit_once(") ").context("no stat")?.1;
        let ticks: Vec<f64> =
            after.split(' ').skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
        // Linux counts these in hundredths of a second, whatever the kernel's own clock.
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// How many durable audit commits there were.
    pub(crate) fn commits(&self) -> anyhow::Result<u64> {
        let out = json(&self.phial, &self.home, &["audit", "status"])?;
        out.pointer("/commits").and_then(serde_json::Value::as_u64).context("no count of commits")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
