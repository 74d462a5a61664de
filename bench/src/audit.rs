//! The audit log by itself: durable entries a second in batches, and how fast they are
//! verified, on a store of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use phial_audit::{Entry, EventKind, Target};
use phial_base::{ClassSet, Clock, LogicalId, RowId, SystemClock, SystemRng, TenantId, Version};
use phial_crypto::KeyFile;
use phial_store::Options;
use phial_store::auditlog::AuditLog;
use phial_store::home::Home;
use phial_store::keystore::Keystore;
use phial_store::verify::verify_audit_offline;

use crate::report::{Row, median};

/// Entries of one batch: what a page of a search, or a bundle, writes at once.
const BATCH: usize = 55;
const CALLERS: usize = 4;

/// Rows for appending and for verifying.
pub(crate) fn rows(dir: &Path, runs: usize, seconds: u64) -> anyhow::Result<Vec<Row>> {
    let home = Home::create(&dir.join("audit-only"))?;
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemRng::new()));
    let root = KeyFile::create(&home.root_key(), &[], rng.as_ref())?;
    let options = Options::default();
    let keystore =
        Keystore::create(&home.keystore(), Arc::new(root), clock.clone(), rng.clone(), &options)?;
    let keystore = Arc::new(keystore);
    let tenant = TenantId::default_tenant();
    keystore.create_tenant(&tenant)?;
    let log = AuditLog::create(&home, &tenant, keystore, clock.clone(), rng, &options)?;

    let mut rates = Vec::new();
    for _ in 0..runs {
        rates.push(append(&log, clock.as_ref(), Duration::from_secs(seconds))?);
    }
    log.flush()?;
    let entries = log.size()?;
    drop(log);
    let mut speeds = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        let file = home.audit(&tenant);
        let dir = file.parent().unwrap_or(dir);
        let report = verify_audit_offline(dir, &home.public_key(&tenant), None, &options)?;
        ensure!(report.findings.is_empty(), "the log that was just written does not verify");
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        speeds.push(entries as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(vec![
        Row::rate(
            "audit",
            "durable read entries, batches of 55, 4 callers",
            median(&mut rates),
            20_000.0,
            "entries/s",
        ),
        Row::rate(
            "audit verify",
            "chain, tree, checkpoints",
            median(&mut speeds),
            200_000.0,
            "entries/s",
        ),
    ])
}

fn append(log: &AuditLog, clock: &dyn Clock, took: Duration) -> anyhow::Result<f64> {
    let end = Instant::now() + took;
    let written: anyhow::Result<usize> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn(move || {
                    let mut written = 0;
                    while Instant::now() < end {
                        let patient = LogicalId::new(&format!("p{caller}-{}", written % 100))?;
                        let entries = (0..BATCH).map(|n| entry(clock, &patient, n)).collect();
                        log.append_blocking(entries, None)?;
                        written += BATCH;
                    }
                    anyhow::Ok(written)
                })
            })
            .collect();
        let mut sum = 0;
        for caller in callers {
            sum += caller.join().map_err(|_| anyhow::anyhow!("a caller ended early"))??;
        }
        Ok(sum)
    });
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(written? as f64 / took.as_secs_f64())
}

fn entry(clock: &dyn Clock, patient: &LogicalId, n: usize) -> Entry {
    let mut e = Entry::system(EventKind::Read, clock.now());
    let mut row = [2; 16];
    for (to, from) in row.iter_mut().zip(n.to_be_bytes()) {
        *to = from;
    }
    let mut t = Target::new(RowId(row), Some(Version(1)), "Observation");
    t.id = Some(patient.clone());
    t.given = ClassSet::ALL;
    e.target(t, std::slice::from_ref(patient));
    e
}
